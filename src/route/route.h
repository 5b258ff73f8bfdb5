/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which pool a job goes to. */

#include "pool/pool.h"

typedef struct Router {
        List *pools;      /* Pool.link */
        Map *by_name;     /* Pool.by_name */
        unsigned turn;    /* rotates ties */
} Router;

/* Submits a job to the pool that it names; or, where it names a tier, to the least loaded pool of that tier; or, where it names neither,
 * to the first tier from hot to cold that takes it. Returns 0, or what the last pool refused it with (-ENOENT where there is none), with a
 * text for a person, owned by the caller. `pool` and `tier` may be NULL. */
int route_submit(Router *r, Job *j, const char *pool, const char *tier, char **reterr_text);
