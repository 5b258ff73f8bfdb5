/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where a job wants to go, out of its JOB frame. */

#include "proto/frame.h"
#include "route/route.h"

/* The texts that a RouteRequest points to. */
typedef struct JobWishes {
        char pool[NAME_LENGTH_MAX + 1], tier[16], worker_type[NAME_LENGTH_MAX + 1], strategy[32], fallback[32];
} JobWishes;

/* Returns 0, -ENOBUFS for a text that is too long, -EBADMSG for one that is none. What the words mean is not looked at. */
int job_wishes_read(const FrameMeta *m, JobWishes *w, RouteRequest *ret);
