/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The complexity heuristic: which tier suits a job that names none, step by step, and why. Pure; and the router's configuration. */

#include "route/choose.h"
#include "route/learn.h"

#define ROUTE_WEIGHT_MAX 10U          /* of a job: 1 is light, 10 heavy */
#define ROUTE_METHOD_TIERS_MAX 1024U  /* entries of RouteMethodTier= */
#define ROUTE_STEP_TEXT_MAX 224U

typedef enum RouteStep {
        ROUTE_STEP_METHOD,  /* RouteMethodTier= says so */
        ROUTE_STEP_WEIGHT,  /* the job's own word */
        ROUTE_STEP_LEARNT,  /* how long the method has taken */
        ROUTE_STEP_SIZE,    /* bytes of payload */
        _ROUTE_STEP_MAX,
} RouteStep;

/* The steps in their order; those that are missing are left out. */
typedef struct RouteSteps {
        uint8_t n, step[_ROUTE_STEP_MAX];
} RouteSteps;

/* Where a job goes that the chosen tier cannot take. */
typedef struct RouteOrder {
        enum {
                ROUTE_ORDER_AUTO, /* to the colder tiers, then back up */
                ROUTE_ORDER_LIST, /* to these; an empty list: nowhere */
        } kind;
        uint8_t n, tier[_TIER_MAX];
} RouteOrder;

typedef struct RouteConfig {
        RouteStrategy strategy;     /* RouteStrategy=least_loaded */
        RouteOrder fallback;        /* RouteFallback=auto */
        RouteSteps steps;           /* RouteSteps=method weight learnt size */
        LearnRules learn;
        uint64_t hot_payload_max;   /* RouteHotPayloadMax=64K */
        uint64_t warm_payload_max;  /* RouteWarmPayloadMax=1M */
        unsigned hot_weight_max;    /* RouteHotWeightMax=3 */
        unsigned warm_weight_max;   /* RouteWarmWeightMax=6 */
        char **method_tiers;        /* RouteMethodTier=METHOD=TIER ..., globs too; owned */
} RouteConfig;

/* What is known of a job before it runs. */
typedef struct RouteQuestion {
        const char *method;         /* may be NULL */
        uint64_t payload_size;
        unsigned weight;            /* 0: not said */
        const char *table_entry;    /* the entry of RouteMethodTier= that holds, or NULL ... */
        int table_tier;             /* ... and its tier */
        const LearntMethod *learnt; /* or NULL */
} RouteQuestion;

/* What one step says. */
typedef struct RouteAnswer {
        RouteStep step;
        int tier;                   /* -1: nothing */
        char text[ROUTE_STEP_TEXT_MAX];
} RouteAnswer;

void route_config_init(RouteConfig *c); /* the defaults */

/* The first step that says something decides. Returns the tier; *ret_step is the step, or _ROUTE_STEP_MAX where none said anything, which means hot.
 * `ret` is NULL, or has room for _ROUTE_STEP_MAX answers: all steps are then asked and explained, *ret_n of them. */
Tier route_heuristic(const RouteConfig *c, const RouteQuestion *q, RouteStep *ret_step, RouteAnswer *ret, size_t *ret_n);
/* The tiers that a job is offered to, the chosen one first. Returns how many. */
size_t route_order_chain(const RouteOrder *o, Tier chosen, Tier ret[_TIER_MAX]);

const char *route_step_to_string(RouteStep s); /* "method"; "default" for none of them */
int route_step_from_string(const char *s);     /* -EINVAL */
/* "auto", "none", or tiers. Returns 0 or -EINVAL; `*ret` is untouched then. */
int route_order_parse(const char *s, RouteOrder *ret);
/* Words, each step at most once. Returns 0 or -EINVAL; likewise. */
int route_steps_parse(const char *s, RouteSteps *ret);
/* Splits "METHOD=TIER" at its last "=". Returns the tier, and the length of the method in *ret_length, or -EINVAL. */
int route_method_tier_parse(const char *entry, size_t *ret_length);
