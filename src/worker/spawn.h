/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starting a process for a worker: vfork-cheap, always exec, with clean descriptors, signals, ids and limits. */

#include <sys/types.h>

#include "worker/worker-type.h"

typedef struct SpawnSpec {
        const WorkerType *type;
        char *const *environment; /* complete */
        const char *directory;
        int stdio[3];             /* become 0, 1 and 2 */
        int cgroup_procs;         /* an open cgroup.procs that the process joins, or -1 */
} SpawnSpec;

/* Starts type->exec. To be called from the main thread only: PDEATHSIG is tied to the thread that started the process.
 * Returns 0 with the pid and a pidfd, or -errno with the name of the step that failed ("exec", "setuid", ...). */
int spawn_process(const SpawnSpec *spec, pid_t *ret_pid, int *ret_pidfd, const char **reterr_step);
