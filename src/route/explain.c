/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Routing in words. route_explain() makes the decision that route_submit() would make now, with copies of the turns and the seed, so that asking changes
 * nothing, and shows what each step and each pool had to say.
 */

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>

#include "route/route.h"

#define EXPLAIN_POOLS_MAX 100U /* candidates of a tier that are listed */

static const char *const affinity_names[_ROUTE_AFFINITY_MAX] = {
        [ROUTE_AFFINITY_NONE] = NULL,
        [ROUTE_AFFINITY_HIT] = "hit",
        [ROUTE_AFFINITY_MISS] = "miss",
        [ROUTE_AFFINITY_FALLBACK] = "fallback",
};

const char *route_affinity_to_string(RouteAffinity a) {
        return (unsigned) a < _ROUTE_AFFINITY_MAX ? affinity_names[a] : NULL;
}

const char *route_why_to_string(uint8_t why) {
        switch (why) {
        case ROUTE_WHY_TIER:
                return "tier";
        case ROUTE_WHY_POOL:
                return "pool";
        case ROUTE_WHY_HINT:
                return "hint";
        default:
                return route_step_to_string((RouteStep) why);
        }
}

static void add_text(json_object *o, const char *key, const char *v) {
        if (v)
                json_object_object_add(o, key, json_object_new_string(v));
}

static void add_int(json_object *o, const char *key, uint64_t v) {
        json_object_object_add(o, key, json_object_new_int64((int64_t) MIN(v, (uint64_t) INT64_MAX)));
}

static void add_bool(json_object *o, const char *key, bool v) {
        json_object_object_add(o, key, json_object_new_boolean(v));
}

struct json_object *route_job_object(const Job *j) {
        json_object *o, *attempts;

        if (!j->route.routed || !(o = json_object_new_object()))
                return NULL;
        add_text(o, "tier", tier_to_string((Tier) j->route.tier));
        add_text(o, "chosen", tier_to_string((Tier) j->route.chosen));
        add_text(o, "why", route_why_to_string(j->route.why));
        if (j->route.why != ROUTE_WHY_POOL) /* a pool that is named is not chosen */
                add_text(o, "strategy", route_strategy_to_string((RouteStrategy) j->route.strategy));
        add_text(o, "affinity", route_affinity_to_string((RouteAffinity) j->route.affinity));
        attempts = j->route.attempts ? json_tokener_parse(j->route.attempts) : NULL;
        json_object_object_add(o, "attempts", attempts ? attempts : json_object_new_array());
        return o;
}

struct json_object *route_tiers_object(const Router *r) {
        json_object *a = json_object_new_array();

        for (int t = 0; a && t < _TIER_MAX; t++) {
                json_object *o = json_object_new_object();

                add_text(o, "tier", tier_to_string((Tier) t));
                add_int(o, "routed", r->tiers[t].routed);
                add_int(o, "fallback_from", r->tiers[t].fallback_from);
                add_int(o, "fallback_to", r->tiers[t].fallback_to);
                add_int(o, "refused", r->tiers[t].refused);
                json_object_array_add(a, o);
        }
        return a;
}

struct json_object *route_methods_object(const Router *r) {
        const List *const lists[] = { &r->learn.known, &r->learn.fresh };
        json_object *a = json_object_new_array();

        for (size_t i = 0; a && i < ELEMENTSOF(lists); i++)
                LIST_FOREACH(n, (List *) lists[i]) {
                        const LearntMethod *m = list_entry(n, LearntMethod, lru);
                        json_object *o = json_object_new_object();

                        add_text(o, "method", m->name);
                        add_int(o, "samples", m->samples);
                        add_int(o, "p50_usec", learn_quantile(m, 50));
                        add_int(o, "p90_usec", learn_quantile(m, 90));
                        add_int(o, "decides_usec", learn_quantile(m, r->config.learn.quantile));
                        add_text(o, "tier", m->tier >= 0 ? tier_to_string((Tier) m->tier) : NULL);
                        add_int(o, "since_usec", m->since_usec);
                        add_int(o, "changes", m->changes);
                        json_object_array_add(a, o);
                }
        return a;
}

/* --- explaining --- */

static json_object *explain_steps(const RouteAnswer *answers, size_t n, uint8_t why) {
        json_object *a = json_object_new_array();

        for (size_t i = 0; i < n; i++) {
                json_object *o = json_object_new_object();

                add_text(o, "step", route_step_to_string(answers[i].step));
                add_text(o, "tier", answers[i].tier >= 0 ? tier_to_string((Tier) answers[i].tier) : NULL);
                add_text(o, "text", answers[i].text);
                add_bool(o, "decides", answers[i].step == (RouteStep) why);
                json_object_array_add(a, o);
        }
        return a;
}

static json_object *explain_pool(const Pool *p, const RouteRequest *q, bool named, const Pool *chosen) {
        json_object *o = json_object_new_object();
        uint64_t work = (uint64_t) p->n_running + p->n_queued + p->n_waiting;
        _cleanup_free_ char *reason = NULL;
        bool usable = route_admits(p, q, named, &reason) == 0;

        add_text(o, "pool", p->name);
        add_text(o, "state", pool_state_to_string(p->state));
        add_int(o, "work", work);
        add_int(o, "capacity", pool_capacity(p));
        json_object_object_add(o, "load", json_object_new_double((double) work / pool_capacity(p)));
        add_bool(o, "usable", usable);
        add_text(o, "reason", reason);
        add_bool(o, "chosen", p == chosen);
        return o;
}

/* One tier, with its pools; `chosen` is NULL where none takes the job. */
static json_object *explain_tier(const RouteDecision *d, const RouteRequest *q, Tier t, const Pool *chosen) {
        json_object *o = json_object_new_object(), *pools = json_object_new_array();
        const RouteSet *set = d->memo->set;
        bool hint_listed = false;

        for (unsigned i = 0; i < set->n[t] && i < EXPLAIN_POOLS_MAX; i++) {
                json_object_array_add(pools, explain_pool(set->pools[t][i], q, false, chosen));
                hint_listed |= set->pools[t][i] == d->hint;
        }
        if (d->hint && d->hint->config->tier == t && !hint_listed)
                json_object_array_add(pools, explain_pool(d->hint, q, false, chosen));
        add_text(o, "tier", tier_to_string(t));
        json_object_object_add(o, "pools", pools);
        add_int(o, "not_listed", set->n[t] > EXPLAIN_POOLS_MAX ? set->n[t] - EXPLAIN_POOLS_MAX : 0);
        return o;
}

static void explain_named(const RouteDecision *d, const RouteRequest *q, json_object *o) {
        json_object *tiers = json_object_new_array(), *tier = json_object_new_object(), *pools = json_object_new_array();
        _cleanup_free_ char *reason = NULL;
        bool admits = route_admits(d->named, q, true, &reason) == 0;

        json_object_array_add(pools, explain_pool(d->named, q, true, admits ? d->named : NULL));
        add_text(tier, "tier", tier_to_string(d->chosen));
        json_object_object_add(tier, "pools", pools);
        add_int(tier, "not_listed", 0);
        json_object_array_add(tiers, tier);
        json_object_object_add(o, "tiers", tiers);
        if (admits) {
                add_text(o, "pool", d->named->name);
                add_text(o, "tier", tier_to_string(d->chosen));
        } else
                add_text(o, "refusal", strna(reason));
}

static void explain_chain(Router *r, const RouteDecision *d, const RouteRequest *q, json_object *o) {
        json_object *tiers = json_object_new_array();
        RouteAffinity affinity = ROUTE_AFFINITY_NONE;
        uint64_t seed = r->seed;
        Pool *found = NULL;

        for (size_t i = 0; i < d->n_chain; i++) {
                Tier t = d->chain[i];
                RouteTurns turns = d->memo->set->turns[t];
                Pool *p = found ? NULL : route_choose_pool(r, d, q, t, &turns, &seed, &affinity);

                json_object_array_add(tiers, explain_tier(d, q, t, p));
                found = found ? found : p;
        }
        json_object_object_add(o, "tiers", tiers);
        add_text(o, "affinity", route_affinity_to_string(affinity));
        if (found) {
                add_text(o, "pool", found->name);
                add_text(o, "tier", tier_to_string(found->config->tier));
        } else
                add_text(o, "refusal", "no tier can take the job");
}

int route_explain(Router *r, const RouteRequest *q, struct json_object **ret, char **reterr_text) {
        RouteAnswer answers[_ROUTE_STEP_MAX];
        json_object *o, *order;
        size_t n_answers = 0;
        RouteDecision d;
        int k;

        k = route_decide(r, q, &d, answers, &n_answers, reterr_text);
        if (k >= 0)
                k = route_ensure_room(r);
        if (k < 0)
                return k;
        o = json_object_new_object();
        order = json_object_new_array();
        add_text(o, "why", route_why_to_string(d.why));
        add_text(o, "chosen", tier_to_string(d.chosen));
        if (!d.named)
                add_text(o, "strategy", route_strategy_to_string(d.strategy));
        json_object_object_add(o, "steps", explain_steps(answers, n_answers, d.why));
        for (size_t i = 0; i < d.n_chain; i++)
                json_object_array_add(order, json_object_new_string(tier_to_string(d.chain[i])));
        json_object_object_add(o, "order", order);
        if (d.named)
                explain_named(&d, q, o);
        else
                explain_chain(r, &d, q, o);
        *ret = o;
        return 0;
}
