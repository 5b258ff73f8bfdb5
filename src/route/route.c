/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Routing. A job that names a pool goes there or is refused. For any other job route_decide() finds the pools that may take it (its method, its worker
 * type), the strategy, the tier that it is meant for and the tiers that follow; then route_choose_pool() is asked tier by tier. The same two
 * are what 'flowctl route explain' shows, so that it tells what happens.
 *
 * A pool is offered a job once: one that takes it, also when it has to be recorded first, ends the search. Of each pool that could not take it is
 * kept why; when no tier is left these reasons, in their order, are the error.
 */

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "route/route.h"

typedef struct Attempt {
        Tier tier;
        const char *pool; /* NULL: the tier has none */
        int error;
        char *reason;
} Attempt;

typedef struct Attempts {
        Attempt list[ROUTE_ATTEMPTS_MAX];
        size_t n, more;
        bool any_full, all_too_large;
} Attempts;

/* --- life --- */

/* An attempt of a job has ended in its worker: the run time of its method is known better. */
static void on_attempt(JobTable *t, const Job *j, FrameStatus status, uint64_t run_usec) {
        Router *r = t->userdata;
        LearnChange c;
        char run[64];

        if (!j->method || status == FRAME_CANCELLED)
                return;
        r->unsaved = true;
        if (learn_add(&r->learn, j->method, run_usec, status == FRAME_TIMEOUT, realtime_usec(), &c) <= 0 || c.from < 0)
                return;
        EventFields f = { .job = j->id, .pool = j->pool_name };
        event_send(r->host, EVENT_METHOD_MOVED, &f, "Method %s now belongs to tier %s, not %s: %u%% of its runs take up to %s", j->method,
                   tier_to_string((Tier) c.to), tier_to_string((Tier) c.from), r->config.learn.quantile, usec_format(run, sizeof(run), c.run_usec));
}

void route_init(Router *r, Host *h, JobTable *t, List *pools, Map *by_name) {
        *r = (Router) { .host = h, .jobs = t, .pools = pools, .by_name = by_name, .seed = random_u64() };
        route_config_init(&r->config);
        route_index_init(&r->index, pools);
        route_sessions_init(&r->sessions, random_u64());
        learn_init(&r->learn, &r->config.learn, random_u64());
        t->attempt_ended = on_attempt;
        t->stranded = route_stranded;
        t->userdata = r;
}

void route_done(Router *r) {
        if (!r->pools)
                return;
        r->jobs->attempt_ended = NULL;
        r->jobs->stranded = NULL;
        route_index_done(&r->index);
        route_sessions_done(&r->sessions);
        learn_done(&r->learn);
        strv_free(r->config.method_tiers);
        free(r->candidates);
        *r = (Router) {};
}

int route_configure(Router *r, const RouteConfig *c) {
        char **tiers = NULL;
        int k = strv_copy(c->method_tiers, &tiers);

        if (k < 0)
                return k;
        route_index_forget(&r->index);
        strv_free(r->config.method_tiers);
        r->config = *c;
        r->config.method_tiers = r->index.method_tiers = tiers;
        learn_configure(&r->learn, &c->learn);
        return 0;
}

void route_pools_changed(Router *r) {
        if (r->pools)
                route_index_forget(&r->index);
}

/* --- the decision --- */

static Pool *find_pool(Router *r, const char *name) {
        return pool_find(r->by_name, r->pools, name);
}

static int no_pool(Router *r, const char *name, char **reterr_text) {
        _cleanup_free_ char *known = NULL;

        LIST_FOREACH(l, r->pools) {
                char *s = str_printf("%s%s%s", strempty(known), known ? ", " : "", list_entry(l, Pool, link)->name);

                free(known);
                known = s;
        }
        *reterr_text = str_printf("there is no pool '%s'; the pools are: %s", name, known ? known : "none");
        return -ENOENT;
}

/* The words of a request. Returns 0 or -EINVAL. */
static int read_words(Router *r, const RouteRequest *q, RouteDecision *d, RouteOrder *ret_order, int *ret_tier, char **reterr_text) {
        int s = q->strategy ? route_strategy_from_string(q->strategy) : 0;

        if (s < 0)
                *reterr_text = str_printf("'%.64s' is no strategy; least_loaded, round_robin, random and affinity are", q->strategy);
        d->strategy = q->strategy ? (RouteStrategy) s : q->session && !q->pool ? ROUTE_AFFINITY : r->config.strategy;
        *ret_order = r->config.fallback;
        if (s >= 0 && q->fallback && (s = route_order_parse(q->fallback, ret_order)) < 0)
                *reterr_text = str_printf("'%.64s' is no order of tiers to fall back to; auto, none, or some of hot, warm and cold are", q->fallback);
        *ret_tier = -1;
        if (s >= 0 && q->tier && (*ret_tier = s = tier_from_string(q->tier)) < 0)
                *reterr_text = str_printf("'%.64s' is no tier; hot, warm and cold are", q->tier);
        if (s >= 0 && q->weight > ROUTE_WEIGHT_MAX) {
                s = -EINVAL;
                *reterr_text = str_printf("a weight of %u; 1 (light) to %u (heavy) are allowed", q->weight, ROUTE_WEIGHT_MAX);
        }
        if (s >= 0 && q->method && strlen(q->method) >= JOB_NAME_MAX) {
                s = -EINVAL;
                *reterr_text = str_printf("the method has more than %u bytes", JOB_NAME_MAX - 1);
        }
        return MIN(s, 0);
}

static int check_named(const Pool *p, const RouteRequest *q, char **reterr_text) {
        if (!q->worker_type || streq(q->worker_type, p->config->type->name))
                return 0;
        *reterr_text = str_printf("the workers of pool %s are of type %s, not '%.64s'", p->name, p->config->type->name, q->worker_type);
        return -ENOENT;
}

/* No pool at all may take such a job. */
static int no_candidates(const RouteRequest *q, char **reterr_text) {
        if (q->worker_type && q->method)
                *reterr_text = str_printf("no pool has workers of type '%.64s' and takes jobs of method '%.64s'", q->worker_type, q->method);
        else if (q->worker_type)
                *reterr_text = str_printf("no pool has workers of type '%.64s'", q->worker_type);
        else if (q->method)
                *reterr_text = str_printf("no pool takes jobs of method '%.64s': all declare other Methods=", q->method);
        else
                *reterr_text = strdup("no pool takes jobs that name no method: there is none, or all declare Methods=");
        return -ENOENT;
}

static unsigned n_pools(const RouteDecision *d, Tier t) {
        return d->memo->set->n[t] + (d->hint && d->hint->config->tier == t);
}

/* Tiers without a pool are passed over, but not one that the job asks for, and not all of them: somebody has to say why. */
static void trim_chain(RouteDecision *d) {
        size_t n = 0;

        for (size_t i = 0; i < d->n_chain; i++)
                if (n_pools(d, d->chain[i]) > 0 || (i == 0 && d->why == ROUTE_WHY_TIER))
                        d->chain[n++] = d->chain[i];
        d->n_chain = MAX(n, (size_t) 1); /* the first one is still the chosen one then */
}

int route_decide(Router *r, const RouteRequest *q, RouteDecision *ret, RouteAnswer *answers, size_t *ret_answers, char **reterr_text) {
        RouteDecision d = {};
        RouteOrder order;
        RouteStep step;
        int k, tier;

        k = read_words(r, q, &d, &order, &tier, reterr_text);
        if (k < 0)
                return k;
        Pool *p = q->pool ? find_pool(r, q->pool) : NULL;
        d.hinted = q->pool && q->strategy && d.strategy == ROUTE_AFFINITY;
        if (q->pool && !d.hinted) {
                k = p ? check_named(p, q, reterr_text) : no_pool(r, q->pool, reterr_text);
                if (k < 0)
                        return k;
                d.named = p;
                d.why = ROUTE_WHY_POOL;
                d.chosen = d.chain[d.n_chain++] = p->config->tier;
                *ret = d;
                return 0;
        }
        if (q->worker_type && strlen(q->worker_type) > NAME_LENGTH_MAX)
                return no_candidates(q, reterr_text);
        d.hint = p && (!q->worker_type || streq(q->worker_type, p->config->type->name)) ? p : NULL;
        k = route_index_find(&r->index, q->worker_type, q->method, &d.memo);
        if (k < 0) {
                *reterr_text = strdup("out of memory");
                return k;
        }
        d.chosen = route_heuristic(&r->config, &(RouteQuestion) {
                .method = q->method,
                .payload_size = q->payload_size,
                .weight = q->weight,
                .table_entry = d.memo->table_entry,
                .table_tier = d.memo->table_tier,
                .learnt = q->method ? learn_find(&r->learn, q->method) : NULL,
        }, &step, answers, ret_answers);
        d.why = (uint8_t) step;
        if (tier >= 0 || d.hint) {
                d.chosen = tier >= 0 ? (Tier) tier : d.hint->config->tier;
                d.why = tier >= 0 ? ROUTE_WHY_TIER : ROUTE_WHY_HINT;
        }
        d.n_chain = route_order_chain(&order, d.chosen, d.chain);
        trim_chain(&d);
        if (n_pools(&d, TIER_HOT) + n_pools(&d, TIER_WARM) + n_pools(&d, TIER_COLD) == 0)
                return no_candidates(q, reterr_text);
        *ret = d;
        return 0;
}

/* Where the job would rather go, if that is in this tier; *ret_wanted where that is, or was, somewhere. */
static Pool *preferred(Router *r, const RouteDecision *d, const RouteRequest *q, Tier t, bool *ret_wanted) {
        const char *name = route_session_pool(&r->sessions, q->uid, q->session, t);
        const RouteSet *set = d->memo->set;

        *ret_wanted = d->hinted || name;
        if (d->hinted)
                return d->hint && d->hint->config->tier == t ? d->hint : NULL;
        Pool *p = name ? find_pool(r, name) : NULL;
        for (unsigned i = 0; p && p->config->tier == t && i < set->n[t]; i++)
                if (set->pools[t][i] == p)
                        return p;
        return NULL;
}

int route_admits(const Pool *p, const RouteRequest *q, bool named, char **reterr_text) {
        int k = pool_admits(p, q->payload_size, q->session, reterr_text);

        if (k < 0 || named || !pool_held(p))
                return k;
        if (reterr_text)
                *reterr_text = str_printf("pool %s is %s; 'flowctl pool resume %s' ends that", p->name, pool_state_to_string(p->state), p->name);
        return -ENOTCONN;
}

/* Fills in r->candidates. The room was made by route_ensure_room(). */
static void gather(Router *r, const RouteSet *set, Tier t, const RouteRequest *q) {
        for (unsigned i = 0; i < set->n[t]; i++) {
                const Pool *p = set->pools[t][i];

                r->candidates[i] = (RouteCandidate) {
                        .work = (uint64_t) p->n_running + p->n_queued + p->n_waiting,
                        .capacity = pool_capacity(p),
                        .error = route_admits(p, q, false, NULL),
                };
        }
}

int route_ensure_room(Router *r) {
        size_t n = r->index.n_pools;
        RouteCandidate *bigger;

        if (n <= r->candidates_room)
                return 0;
        bigger = realloc(r->candidates, n * 2 * sizeof(RouteCandidate));
        if (!bigger)
                return -ENOMEM;
        r->candidates = bigger;
        r->candidates_room = n * 2;
        return 0;
}

Pool *route_choose_pool(Router *r, const RouteDecision *d, const RouteRequest *q, Tier t, RouteTurns *turns, uint64_t *seed, RouteAffinity *affinity) {
        const RouteSet *set = d->memo->set;
        bool wanted = false;

        if (d->strategy == ROUTE_AFFINITY) {
                Pool *p = preferred(r, d, q, t, &wanted);

                if (p && route_admits(p, q, false, NULL) == 0) {
                        *affinity = ROUTE_AFFINITY_HIT;
                        return p;
                }
                if (*affinity != ROUTE_AFFINITY_FALLBACK)
                        *affinity = wanted ? ROUTE_AFFINITY_FALLBACK : q->session ? ROUTE_AFFINITY_MISS : ROUTE_AFFINITY_NONE;
        }
        gather(r, set, t, q);
        ssize_t i = route_choose(d->strategy, r->candidates, set->n[t], turns, seed);
        return i >= 0 ? set->pools[t][i] : NULL;
}

/* --- attempts --- */

static void attempts_done(Attempts *a) {
        for (size_t i = 0; i < a->n; i++)
                free(a->list[i].reason);
}

static void attempt_add(Attempts *a, Tier t, const char *pool, int error, char *reason) {
        a->any_full |= error == -EXFULL || error == -EDQUOT;
        a->all_too_large &= error == -EMSGSIZE;
        if (a->n < ROUTE_ATTEMPTS_MAX)
                a->list[a->n++] = (Attempt) { .tier = t, .pool = pool, .error = error, .reason = reason };
        else {
                a->more++;
                free(reason);
        }
}

static void attempt_pool(Attempts *a, Pool *p, const RouteRequest *q) {
        char *reason = NULL;
        int error = route_admits(p, q, false, &reason);

        pool_refused(p, error);
        attempt_add(a, p->config->tier, p->name, error, reason);
}

/* No pool of the tier could take the job. */
static void attempt_tier(Attempts *a, const RouteDecision *d, Tier t, const RouteRequest *q) {
        const RouteSet *set = d->memo->set;
        bool hint_told = false;

        for (unsigned i = 0; i < set->n[t]; i++) {
                attempt_pool(a, set->pools[t][i], q);
                hint_told |= set->pools[t][i] == d->hint;
        }
        if (d->hint && d->hint->config->tier == t && !hint_told)
                attempt_pool(a, d->hint, q);
        if (n_pools(d, t) == 0)
                attempt_add(a, t, NULL, -ENOENT, str_printf("no pool of tier %s may take the job", tier_to_string(t)));
}

/* JSON, or NULL where there was none, or no memory. */
static char *attempts_text(const Attempts *a) {
        json_object *array;
        char *text = NULL;

        if (a->n == 0 || !(array = json_object_new_array()))
                return NULL;
        for (size_t i = 0; i < a->n; i++) {
                json_object *o = json_object_new_object();

                json_object_object_add(o, "tier", json_object_new_string(tier_to_string(a->list[i].tier)));
                if (a->list[i].pool)
                        json_object_object_add(o, "pool", json_object_new_string(a->list[i].pool));
                json_object_object_add(o, "code", json_object_new_string(route_refusal_code(a->list[i].error)));
                json_object_object_add(o, "reason", json_object_new_string(strna(a->list[i].reason)));
                json_object_array_add(array, o);
        }
        const char *s = json_object_to_json_string_ext(array, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        if (s)
                text = strdup(s);
        json_object_put(array);
        return text;
}

static int all_failed(Router *r, const Attempts *a, char **reterr_text) {
        _cleanup_free_ char *list = NULL;

        r->jobs->refused++;
        for (size_t i = 0; i < a->n; i++) {
                const Attempt *t = a->list + i;
                char *longer = str_printf("%s%s%s: %s", strempty(list), list ? "; " : "", tier_to_string(t->tier), strna(t->reason));

                free(list);
                list = longer;
        }
        if (a->all_too_large) {
                *reterr_text = TAKE_PTR(list);
                return -EMSGSIZE;
        }
        *reterr_text = a->more > 0 ? str_printf("no tier can take the job: %s; and %zu more pools", strna(list), a->more) :
                                     str_printf("no tier can take the job: %s", strna(list));
        return a->any_full ? -EHOSTUNREACH : -EHOSTDOWN;
}

const char *route_refusal_code(int error) {
        switch (error) {
        case -EHOSTDOWN:
        case -EHOSTUNREACH:
                return "AllTiersFailed";
        case -EINVAL:
                return "InvalidJob";
        default:
                return pool_refusal_code(error);
        }
}

bool route_refusal_passes(int error) {
        return error == -EXFULL || error == -EHOSTUNREACH;
}

/* --- submitting --- */

static void note_session(Router *r, const Job *j, Tier t, const Pool *p) {
        if (!j->session)
                return;
        route_session_note(&r->sessions, j->uid, j->session, t, p->name);
        r->unsaved = true;
}

static int submit_named(Router *r, Job *j, const RouteDecision *d, char **reterr_text) {
        int k = pool_submit(d->named, j, reterr_text);

        if (k < 0) {
                r->tiers[d->chosen].refused++;
                return k;
        }
        r->tiers[d->chosen].routed++;
        note_session(r, j, d->chosen, d->named);
        return k;
}

static void count_accepted(Router *r, const RouteDecision *d, Tier t) {
        r->tiers[t].routed++;
        if (t == d->chain[0])
                return;
        r->tiers[t].fallback_to++;
        r->tiers[d->chain[0]].fallback_from++;
}

/* Tier by tier, until a pool has taken the job. */
static int submit_chain(Router *r, Job *j, const RouteDecision *d, const RouteRequest *q, Attempts *a, char **reterr_text) {
        RouteAffinity affinity = ROUTE_AFFINITY_NONE;

        for (size_t i = 0; i < d->n_chain; i++) {
                Tier t = d->chain[i];
                Pool *p = route_choose_pool(r, d, q, t, d->memo->set->turns + t, &r->seed, &affinity);

                if (!p) {
                        attempt_tier(a, d, t, q);
                        continue;
                }
                int k = pool_submit(p, j, reterr_text);
                if (k < 0) { /* it would have taken it: the store refuses, or there is no memory, which is the same everywhere */
                        r->tiers[d->chain[0]].refused++;
                        return k;
                }
                count_accepted(r, d, t);
                j->route.tier = (uint8_t) t;
                j->route.affinity = (uint8_t) affinity;
                note_session(r, j, t, p);
                return k;
        }
        r->tiers[d->chain[0]].refused++;
        return all_failed(r, a, reterr_text);
}

int route_submit(Router *r, Job *j, const RouteRequest *request, char **reterr_text) {
        RouteRequest q = *request;
        RouteDecision d;
        Attempts a;
        int k;

        q.method = j->method;
        q.session = j->session;
        q.uid = j->uid;
        q.payload_size = j->payload_size;
        k = route_decide(r, &q, &d, NULL, NULL, reterr_text);
        if (k >= 0)
                k = route_ensure_room(r);
        if (k < 0)
                return k;
        j->route.routed = true;
        j->route.why = d.why;
        j->route.strategy = (uint8_t) d.strategy;
        j->route.chosen = j->route.tier = (uint8_t) d.chosen;
        j->route.typed = q.worker_type;
        j->route.n_chain = (uint8_t) d.n_chain;
        for (size_t i = 0; i < d.n_chain; i++)
                j->route.chain[i] = (uint8_t) d.chain[i];
        if (d.named)
                return submit_named(r, j, &d, reterr_text);
        a.n = a.more = 0;
        a.any_full = false;
        a.all_too_large = true;
        k = submit_chain(r, j, &d, &q, &a, reterr_text);
        if (a.n > 0) {
                free(j->route.attempts);
                j->route.attempts = attempts_text(&a);
                attempts_done(&a);
        }
        return k;
}
