/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The delegated cgroup v2 subtree: one leaf for flowd itself, one for each worker. */

#include "worker/worker-type.h"

typedef struct CgroupRoot {
        int fd;           /* the delegated cgroup's folder, or -1 where there is none */
        char *path;
        bool memory, pids, cpu; /* controllers that the workers' leaves have */
} CgroupRoot;

typedef enum CgroupOom {
        CGROUP_OOM_NONE,
        CGROUP_OOM_OWN,   /* its own limit was hit: MemoryMax= */
        CGROUP_OOM_OUTER, /* the limit of a cgroup above it, or all of the machine's memory */
} CgroupOom;

/* Finds out whether this process was given a cgroup subtree (systemd's Delegate=), moves the process to a leaf of it and enables the
 * controllers. Returns 1, 0 where nothing is delegated (ret->fd is -1), or -errno. */
int cgroup_root_init(CgroupRoot *ret);
/* The same for a root that an earlier process image had set up. */
int cgroup_root_resume(CgroupRoot *ret, const char *path);
void cgroup_root_done(CgroupRoot *c);

/* Makes a worker's leaf and writes the type's limits. `name` becomes the folder. Returns its open folder or -errno. */
int cgroup_worker_new(const CgroupRoot *c, const char *name, const WorkerType *type);
/* SIGKILL for everything in it. */
int cgroup_kill(int fd);
/* Returns 1 where any process is in it, 0 where none is, or -errno. */
int cgroup_populated(int fd);
/* Removes an empty leaf. */
int cgroup_worker_remove(const CgroupRoot *c, const char *name);
/* Whether the OOM killer struck in it, and for whose want of memory; CGROUP_OOM_NONE where that cannot be known. */
CgroupOom cgroup_oom(int fd);
