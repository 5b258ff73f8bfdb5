/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Jobs whose pool has failed while they were queued in it: its breaker has opened, or its worker said that it is not to be started again. One that
 * named its pool ends with it; any other goes on along the tiers that it was given when it was submitted, from the first, and what its pool had to
 * say is one more attempt of its route. It is still one job, with the crashes and failures that it had.
 */

#include <json-c/json.h>
#include <stdlib.h>

#include "route/route.h"

/* Adds why it does not stay. Without memory that is not known afterwards. */
static void note(Job *j, const Pool *from) {
        json_object *a = j->route.attempts ? json_tokener_parse(j->route.attempts) : json_object_new_array(), *o = json_object_new_object();
        _cleanup_free_ char *reason = NULL;
        const char *text;
        char *copy;

        if (!json_object_is_type(a, json_type_array) || !o || json_object_array_length(a) >= ROUTE_ATTEMPTS_MAX) {
                json_object_put(a);
                json_object_put(o);
                return;
        }
        int error = pool_admits(from, j->payload_size, &reason);

        json_object_object_add(o, "tier", json_object_new_string(tier_to_string(from->config->tier)));
        json_object_object_add(o, "pool", json_object_new_string(from->name));
        json_object_object_add(o, "code", json_object_new_string(route_refusal_code(error)));
        json_object_object_add(o, "reason", json_object_new_string(strna(reason)));
        json_object_array_add(a, o);
        text = json_object_to_json_string_ext(a, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        copy = text ? strdup(text) : NULL;
        json_object_put(a);
        if (!copy)
                return;
        free(j->route.attempts);
        j->route.attempts = copy;
}

bool route_stranded(JobTable *t, Job *j) {
        Router *r = t->userdata;
        Pool *from = j->pool;
        RouteRequest q = {
                .method = j->method,
                .session = j->session,
                .uid = j->uid,
                .payload_size = j->payload_size,
                .worker_type = j->route.typed ? from->config->type->name : NULL,
        };
        RouteDecision d = { .strategy = (RouteStrategy) j->route.strategy };
        RouteAffinity affinity = ROUTE_AFFINITY_NONE;

        if (!j->route.routed || j->route.why == ROUTE_WHY_POOL || d.strategy >= _ROUTE_STRATEGY_MAX)
                return false;
        if (route_index_find(&r->index, q.worker_type, q.method, &d.memo) < 0 || route_ensure_room(r) < 0)
                return false;
        for (size_t i = 0; i < j->route.n_chain; i++) {
                Tier tier = (Tier) MIN(j->route.chain[i], (uint8_t) TIER_COLD);
                Pool *p = route_choose_pool(r, &d, &q, tier, d.memo->set->turns + tier, &r->seed, &affinity);

                if (!p || p == from)
                        continue;
                note(j, from);
                if (tier != from->config->tier) {
                        r->tiers[from->config->tier].fallback_from++;
                        r->tiers[tier].fallback_to++;
                        r->tiers[tier].routed++;
                }
                j->route.tier = (uint8_t) tier;
                if (affinity != ROUTE_AFFINITY_NONE)
                        j->route.affinity = (uint8_t) affinity;
                if (j->session)
                        route_session_note(&r->sessions, j->uid, j->session, tier, p->name);
                pool_move(p, j);
                return true;
        }
        return false;
}
