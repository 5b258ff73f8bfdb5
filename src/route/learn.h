/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What was learnt of methods: how long each runs, and the tier that follows from it. No I/O; the time is passed in. */

#include "basic/list.h"
#include "basic/map.h"
#include "pool/pool-config.h"

struct json_object;

#define LEARN_METHODS_MAX 1024U  /* methods whose run time is known, the last used ones */
#define LEARN_NEW_MAX 256U       /* methods that have not run LearnAfter times yet: names come from clients, and anybody can invent some */
#define LEARN_UNIT_USEC 16U      /* what is shorter is all the same */
#define LEARN_SUB_BITS 2U        /* buckets are 19 % wide, from there up to 12 days */
#define LEARN_BUCKETS (37U << LEARN_SUB_BITS)
#define LEARN_MEMORY 32U         /* a run counts for 1/e after so many further ones */
#define LEARN_AFTER_MAX 10000U

typedef struct LearnRules {
        unsigned quantile;       /* RouteQuantile=75 percent: the run time that decides is not exceeded by so many runs */
        unsigned hysteresis;     /* RouteHysteresis=20 percent beyond a threshold before a tier is left */
        unsigned after;          /* RouteLearnAfter=20 runs */
        uint64_t hot_max_usec;   /* RouteHotMax=100ms */
        uint64_t warm_max_usec;  /* RouteWarmMax=1s */
} LearnRules;

typedef struct LearntMethod {
        MapNode by_name;
        List lru;                /* the last used first */
        bool known;              /* has run `after` times: stands among the known ones, not the new ones */
        int tier;                /* TIER_*, or -1: not known yet */
        uint64_t since_usec;     /* CLOCK_REALTIME: in that tier */
        uint64_t samples;        /* runs, ever */
        uint32_t changes;        /* of tier, after the first */
        float weight;            /* of the next run */
        float total;
        float counts[LEARN_BUCKETS];
        char name[];
} LearntMethod;

typedef struct Learn {
        LearnRules rules;
        Map methods;
        List known, fresh;
        unsigned n_known, n_fresh;
        uint64_t forgotten;      /* methods that had to make room */
} Learn;

/* What a run has changed. */
typedef struct LearnChange {
        LearntMethod *method;
        int from, to;            /* tiers; `from` is -1 for the first time */
        uint64_t run_usec;       /* the quantile that decided */
} LearnChange;

void learn_init(Learn *l, const LearnRules *rules, uint64_t seed);
void learn_done(Learn *l);
/* Tiers follow the new thresholds at each method's next run. */
void learn_configure(Learn *l, const LearnRules *rules);
/* A run of a method. `at_least`: it was cut off, and would have taken longer. Returns 1 with *ret where its tier changed, 0, or -ENOMEM. */
int learn_add(Learn *l, const char *method, uint64_t run_usec, bool at_least, uint64_t now_real_usec, LearnChange *ret);
/* Does not count as use. NULL where nothing is known. */
LearntMethod *learn_find(const Learn *l, const char *method);
/* The run time that `percent` of the runs do not exceed, recent ones counting more; 0 where there are none. */
uint64_t learn_quantile(const LearntMethod *m, unsigned percent);
/* The tier of a run time, seen from a tier (or -1): a threshold must be passed by the hysteresis to leave it. */
int learn_tier(const LearnRules *rules, int from, uint64_t run_usec);

/* An array, an element a method, the last used first. NULL when out of memory. */
struct json_object *learn_serialize(const Learn *l);
/* The same for another run, at most `max` bytes as text: what has run often enough, and of that what was used last. */
struct json_object *learn_save(const Learn *l, size_t max);
/* What does not fit is left out: it is only knowledge. Returns 0 or -ENOMEM. */
int learn_deserialize(Learn *l, const struct json_object *array);
