/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which pools may take a job of a method, of a worker type: by tier, ready to be chosen from. */

#include "pool/pool.h"
#include "route/choose.h"

#define ROUTE_MEMO_MAX 1024U  /* pairs of worker type and method whose pools are at hand, the last used ones: methods come from clients */

/* Pools that may take the same jobs. */
typedef struct RouteSet {
        Pool **pools[_TIER_MAX];
        unsigned n[_TIER_MAX];
        RouteTurns turns[_TIER_MAX];
} RouteSet;

/* What is known of a worker type and a method. */
typedef struct RouteMemo {
        MapNode by_key;
        List lru;
        RouteSet *set;             /* of its own, or shared; without any pool where there is none */
        bool own;
        const char *table_entry;   /* of RouteMethodTier=, or NULL */
        int table_tier;
        char *key;                 /* behind the struct */
} RouteMemo;

typedef struct RouteNamedSet RouteNamedSet;
typedef struct RouteGlob RouteGlob;

typedef struct RouteIndex {
        List *pools;               /* Pool.link */
        char **method_tiers;       /* RouteMethodTier=; not owned */
        bool valid;
        RouteSet open;             /* pools that take any method: without Methods=, or with "*" among them */
        RouteSet all;              /* for worker types */
        Map by_method;             /* RouteNamedSet: pools that name it */
        Map by_type;               /* RouteNamedSet */
        RouteGlob *globs;          /* of Methods= */
        size_t n_globs;
        size_t n_pools;
        Map memo;
        List memo_lru;
        unsigned n_memo;
        RouteMemo any;             /* jobs with neither method nor worker type: no memory is asked for them */
} RouteIndex;

void route_index_init(RouteIndex *x, List *pools);
void route_index_done(RouteIndex *x);
/* Pools came, went, or changed what they say: everything is looked at anew when it is asked for next. */
void route_index_forget(RouteIndex *x);
/* Either may be NULL. The memo is good until the next call of any of these. Returns 0 or -ENOMEM. */
int route_index_find(RouteIndex *x, const char *type, const char *method, const RouteMemo **ret);

/* "*" stands for any number of characters, "?" for one byte; no brackets. */
bool route_glob_match(const char *pattern, const char *s);
static inline bool route_is_glob(const char *s) {
        return strpbrk(s, "*?");
}
