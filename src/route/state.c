/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a router takes along: across execve() all that it counts and knows, to another run what was learnt. */

#include <json-c/json.h>
#include <stdlib.h>

#include "route/route.h"

#define STATE_ROOM 32U /* bytes of text around the methods */

struct json_object *route_state_serialize(const Router *r) {
        json_object *o = json_object_new_object(), *methods = learn_serialize(&r->learn), *tiers = route_tiers_object(r);
        json_object *sessions = route_sessions_serialize(&r->sessions);

        if (!o || !methods || !tiers || !sessions) {
                json_object_put(o);
                json_object_put(methods);
                json_object_put(tiers);
                json_object_put(sessions);
                return NULL;
        }
        json_object_object_add(o, "sessions", sessions);
        json_object_object_add(o, "tiers", tiers);
        json_object_object_add(o, "methods", methods);
        return o;
}

static uint64_t get_count(const json_object *o, const char *key) {
        json_object *v;
        int64_t n = json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;

        return (uint64_t) MAX(n, 0);
}

int route_state_deserialize(Router *r, const struct json_object *o) {
        json_object *tiers, *methods, *sessions;

        if (!json_object_is_type(o, json_type_object))
                return 0;
        if (json_object_object_get_ex(o, "sessions", &sessions))
                route_sessions_deserialize(&r->sessions, sessions, r->by_name);
        if (json_object_object_get_ex(o, "tiers", &tiers) && json_object_is_type(tiers, json_type_array))
                for (size_t t = 0; t < json_object_array_length(tiers) && t < _TIER_MAX; t++) {
                        const json_object *e = json_object_array_get_idx(tiers, t);

                        if (!json_object_is_type(e, json_type_object))
                                continue;
                        r->tiers[t] = (RouteTierStats) {
                                .routed = get_count(e, "routed"),
                                .fallback_from = get_count(e, "fallback_from"),
                                .fallback_to = get_count(e, "fallback_to"),
                                .refused = get_count(e, "refused"),
                        };
                }
        return json_object_object_get_ex(o, "methods", &methods) ? learn_deserialize(&r->learn, methods) : 0;
}

/* Counters count since the start, as all of flowd's do: only what was learnt outlives it. */
struct json_object *route_state_save(const Router *r, size_t max) {
        json_object *o = json_object_new_object(), *methods = o ? learn_save(&r->learn, max > STATE_ROOM ? max - STATE_ROOM : 0) : NULL;

        if (!methods) {
                json_object_put(o);
                return NULL;
        }
        json_object_object_add(o, "methods", methods);
        return o;
}

int route_state_load(Router *r, const struct json_object *o) {
        json_object *methods;

        return json_object_object_get_ex(o, "methods", &methods) ? learn_deserialize(&r->learn, methods) : 0;
}
