/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The strategies: which of several pools gets the next job. Pure: no pools, no I/O, and what is random comes from the caller's seed. */

#include <sys/types.h>

#include "basic/macro.h"

typedef enum RouteStrategy {
        ROUTE_LEAST_LOADED, /* the least work in hand and queued over capacity; ties rotate */
        ROUTE_ROUND_ROBIN,  /* each in its turn */
        ROUTE_RANDOM,       /* two at random, and of these the one with less load */
        ROUTE_AFFINITY,     /* where the session was, or the pool that is named, while that can be; else the least loaded */
        _ROUTE_STRATEGY_MAX,
} RouteStrategy;

typedef struct RouteCandidate {
        uint64_t work;      /* jobs in hand and queued */
        uint64_t capacity;  /* jobs at a time, at least 1 */
        int error;          /* 0, or why it cannot be chosen */
} RouteCandidate;

/* Whose turn it is among the candidates of one place. */
typedef struct RouteTurns {
        uint32_t round; /* round robin: the candidate that is next */
        uint32_t ties;  /* where the search for the first of several with the least load begins */
} RouteTurns;

/* Returns the index of the chosen one, or -ENOENT where none can be chosen. */
ssize_t route_choose(RouteStrategy s, const RouteCandidate *c, size_t n, RouteTurns *turns, uint64_t *seed);
/* True where `a` has less load than `b`: exact, without division. */
bool route_less_loaded(const RouteCandidate *a, const RouteCandidate *b);

const char *route_strategy_to_string(RouteStrategy s);
int route_strategy_from_string(const char *s); /* -EINVAL */
