/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which pool a job goes to: the chosen tier, the pool in it, and where it goes when that cannot be. */

#include "route/heuristic.h"
#include "route/index.h"
#include "route/session.h"

#define ROUTE_ATTEMPTS_MAX 16U  /* pools of which is kept why a job did not go there; more are counted */

/* What a job says about where it wants to go. Texts may be NULL; they are checked here. */
typedef struct RouteRequest {
        const char *pool;        /* this one; with the strategy "affinity" rather this one */
        const char *tier;
        const char *worker_type;
        const char *strategy;
        const char *fallback;    /* as RouteFallback= */
        unsigned weight;         /* 1 to ROUTE_WEIGHT_MAX; 0: not said */
        const char *method, *session;
        uid_t uid;               /* whose session it is */
        uint64_t payload_size;
} RouteRequest;

/* Why a job was meant for its tier: a RouteStep, or one of these. In Job.route. */
enum {
        ROUTE_WHY_DEFAULT = _ROUTE_STEP_MAX,
        ROUTE_WHY_TIER,          /* the job names the tier */
        ROUTE_WHY_POOL,          /* the job names the pool */
        ROUTE_WHY_HINT,          /* it is that of the pool that the job would rather go to */
        _ROUTE_WHY_MAX,
};

typedef enum RouteAffinity {
        ROUTE_AFFINITY_NONE,     /* there was nothing to stay with */
        ROUTE_AFFINITY_HIT,
        ROUTE_AFFINITY_MISS,     /* the session was in none of these pools yet */
        ROUTE_AFFINITY_FALLBACK, /* it was, or a pool was named, and that cannot take the job now */
        _ROUTE_AFFINITY_MAX,
} RouteAffinity;

typedef struct RouteTierStats {
        uint64_t routed;         /* jobs that were accepted in this tier */
        uint64_t fallback_from;  /* jobs that were meant for it and went elsewhere */
        uint64_t fallback_to;    /* jobs that came here from elsewhere; among the routed ones */
        uint64_t refused;        /* jobs that were meant for it, and went nowhere */
} RouteTierStats;

typedef struct Router {
        Host *host;
        JobTable *jobs;
        List *pools;             /* Pool.link */
        Map *by_name;            /* Pool.by_name */
        RouteConfig config;      /* its own copy */
        RouteIndex index;
        RouteSessions sessions;
        Learn learn;
        uint64_t seed;           /* of random choices */
        RouteCandidate *candidates; /* room for all pools */
        size_t candidates_room;
        RouteTierStats tiers[_TIER_MAX];
} Router;

/* Learns from the attempts of the job table from then on, and finds other pools for queued jobs whose pool has failed. The
 * configuration is the default until route_configure(). */
void route_init(Router *r, Host *h, JobTable *t, List *pools, Map *by_name);
void route_done(Router *r);
/* Returns 0 or -ENOMEM, with nothing changed. */
int route_configure(Router *r, const RouteConfig *c);
/* Pools came, will go, or have another configuration: to be called before the next job, and before a pool is freed. */
void route_pools_changed(Router *r);

/* Submits a job to the pool that it names; or else to one that takes its method and is of its worker type, in the tier that it names, or that
 * the heuristic chooses, by the strategy; or in the tiers that follow. Job.route says how that went, also of a job that was refused. The
 * request's method, session, uid and payload_size are the job's. Returns 0 or 1, as pool_submit(); or, with a text for a person, owned by the caller:
 * -EINVAL (a word that is none), -ENOENT (no such pool), what a named pool refused it with, -EMSGSIZE (too large for all),
 * -EHOSTDOWN (no tier can take it), -EHOSTUNREACH (likewise, but some queue was only full). */
int route_submit(Router *r, Job *j, const RouteRequest *q, char **reterr_text);
/* The same decision, and every step of it, for a job that is not submitted: the answer of ExplainRoute(). Returns 0, -EINVAL with the text, -ENOMEM. */
int route_explain(Router *r, const RouteRequest *q, struct json_object **ret, char **reterr_text);
/* The name that programs know a refusal by, and whether the same job may be accepted when its queue has moved on. */
const char *route_refusal_code(int error);
bool route_refusal_passes(int error);

/* Job.route, for people and programs: {"tier", "chosen", "why", "strategy", "affinity", "attempts"}; NULL where the job was not routed. */
struct json_object *route_job_object(const Job *j);
/* The counters of all tiers, and what was learnt of all methods, as the interface has them. */
struct json_object *route_tiers_object(const Router *r);
struct json_object *route_methods_object(const Router *r);

/* All that is counted and known, across execve(). NULL when out of memory; 0 or -ENOMEM, NULL being nothing. */
struct json_object *route_state_serialize(const Router *r);
int route_state_deserialize(Router *r, const struct json_object *o);
/* What was learnt, for another run of flowd, at most `max` bytes as text: the methods that were used last. What makes no sense in it is ignored. */
struct json_object *route_state_save(const Router *r, size_t max);
int route_state_load(Router *r, const struct json_object *o);

/* --- inside the room --- */

typedef struct RouteDecision {
        RouteStrategy strategy;
        Pool *named;              /* the job goes there, or nowhere */
        Pool *hint;               /* rather there */
        bool hinted;              /* a pool was hinted at, which may be none */
        const RouteMemo *memo;
        uint8_t why;
        Tier chosen;
        Tier chain[_TIER_MAX];    /* tiers that are tried, the first being the chosen one where it has pools */
        size_t n_chain;
} RouteDecision;

/* Everything but the choice among pools. `answers` (may be NULL) are the heuristic's. Returns 0, or what route_submit() returns. */
int route_decide(Router *r, const RouteRequest *q, RouteDecision *ret, RouteAnswer *answers, size_t *ret_answers, char **reterr_text);
/* 0 where the pool could take the job now and work at it, or why not; the text is made unless it is NULL. `named`: it may wait there, too. */
int route_admits(const Pool *p, const RouteRequest *q, bool named, char **reterr_text);
/* Room for all candidates, of which route_choose_pool() makes use. Returns 0 or -ENOMEM. */
int route_ensure_room(Router *r);
/* The pool for the job in one tier, or NULL. Turns and seed are moved on. */
Pool *route_choose_pool(Router *r, const RouteDecision *d, const RouteRequest *q, Tier t, RouteTurns *turns, uint64_t *seed, RouteAffinity *affinity);
/* JobTable.stranded */
bool route_stranded(JobTable *t, Job *j);
const char *route_why_to_string(uint8_t why);
const char *route_affinity_to_string(RouteAffinity a);
