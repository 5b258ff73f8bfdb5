/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a pool that is spawned at run time is asked to be, on whichever socket. */

#include "pool/pool.h"

struct json_object;

/* A pool to be spawned. Texts may be NULL, but worker_type. */
typedef struct PoolSpawn {
        const char *worker_type;       /* a .worker file's name */
        const char *name;              /* NULL: one is made of the worker type's */
        const char *pool_type;         /* "local", the default, or its alias "mahavishnu" */
        const char *tier;
        unsigned min, max;             /* 1 and 10, where they are not set */
        bool min_set, max_set;
        struct json_object *settings;  /* NULL, or further keys of flowd.pool(5) with texts */
        uid_t uid;                     /* who asks */
        bool is_admin;                 /* and may say what is executed, which is otherwise for files only */
} PoolSpawn;
