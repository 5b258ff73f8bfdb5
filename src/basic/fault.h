/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Fault points: named places where a test can kill this process or let an operation fail. Only in builds with --enable-fault-injection. */

#include "basic/macro.h"

#define FAULT_ENVIRONMENT "FLOWD_FAULT" /* POINT:kill|error[:N][,...] */
#define FAULT_PASSING_MAX 1000000000U   /* the largest N */

#ifdef FLOWD_FAULTS

/* Arms what `spec` (the value of FLOWD_FAULT; NULL: nothing) says, in place of what was armed. Before there are threads.
 * Returns 0, or -EINVAL with a text for a person, owned by the caller (NULL when out of memory), and nothing is armed. */
int fault_arm(const char *spec, char **ret_why);
/* Passes a point; it must be one of the table in fault.c. At the Nth passing the process is killed, or -EIO is returned, once. From any thread. */
int fault_point(const char *name);

#else

static inline int fault_arm(const char *spec, char **ret_why) {
        (void) spec;
        (void) ret_why;
        return 0;
}

static inline int fault_point(const char *name) {
        (void) name;
        return 0;
}

#endif
