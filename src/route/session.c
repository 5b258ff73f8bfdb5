/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A session has a home in each tier, so that one whose jobs are partly short and partly long does not move to and fro between two pools. Two users'
 * sessions of one name are two.
 */

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "route/session.h"

#define KEY_MAX (JOB_NAME_MAX + 16U)

void route_sessions_init(RouteSessions *s, uint64_t seed) {
        *s = (RouteSessions) {};
        map_init(&s->by_key, seed);
        list_init(&s->lru);
}

static void forget(RouteSessions *s, RouteSession *e) {
        list_remove(&e->lru);
        map_remove(&s->by_key, &e->by_key);
        s->n--;
        free(e);
}

void route_sessions_done(RouteSessions *s) {
        List *n;

        while ((n = list_first(&s->lru)))
                forget(s, list_entry(n, RouteSession, lru));
        map_done(&s->by_key);
}

static void make_key(char key[KEY_MAX], uid_t uid, const char *name) {
        (void) snprintf(key, KEY_MAX, "%u %s", uid, name);
}

static RouteSession *find(const RouteSessions *s, const char *key) {
        return map_get_name(&s->by_key, key, RouteSession, by_key);
}

const char *route_session_pool(const RouteSessions *s, uid_t uid, const char *name, Tier t) {
        char key[KEY_MAX];
        RouteSession *e;

        if (!name)
                return NULL;
        make_key(key, uid, name);
        e = find(s, key);
        return e ? e->pool[t] : NULL;
}

static RouteSession *session_new(RouteSessions *s, const char *key) {
        size_t size = strlen(key) + 1;
        RouteSession *e;

        if (s->n >= ROUTE_SESSIONS_MAX)
                forget(s, list_entry(s->lru.prev, RouteSession, lru));
        e = calloc(1, sizeof(RouteSession) + size);
        if (!e)
                return NULL;
        memcpy(e->key, key, size);
        if (map_add_name(&s->by_key, &e->by_key, e->key) < 0) {
                free(e);
                return NULL;
        }
        s->n++;
        return e;
}

static RouteSession *use(RouteSessions *s, const char *key) {
        RouteSession *e = find(s, key);

        if (!e && !(e = session_new(s, key)))
                return NULL;
        list_remove(&e->lru);
        list_prepend(&s->lru, &e->lru);
        return e;
}

void route_session_note(RouteSessions *s, uid_t uid, const char *name, Tier t, const char *pool) {
        char key[KEY_MAX];
        RouteSession *e;

        make_key(key, uid, name);
        e = use(s, key);
        if (e)
                e->pool[t] = pool;
}

/* --- state: key, and a pool or null for each tier --- */

struct json_object *route_sessions_serialize(const RouteSessions *s) {
        json_object *a = json_object_new_array();

        LIST_FOREACH(n, (List *) &s->lru) {
                const RouteSession *e = list_entry(n, RouteSession, lru);
                json_object *o = a ? json_object_new_array() : NULL;

                if (!o || json_object_array_add(o, json_object_new_string(e->key)) < 0 || json_object_array_add(a, o) < 0) {
                        json_object_put(o);
                        json_object_put(a);
                        return NULL;
                }
                for (int t = 0; t < _TIER_MAX; t++)
                        (void) json_object_array_add(o, e->pool[t] ? json_object_new_string(e->pool[t]) : NULL);
        }
        return a;
}

void route_sessions_deserialize(RouteSessions *s, const struct json_object *array, const Map *pools) {
        if (!json_object_is_type(array, json_type_array))
                return;
        for (size_t i = json_object_array_length(array); i > 0; i--) { /* the last used one comes last, and stands first */
                json_object *o = json_object_array_get_idx(array, i - 1);
                RouteSession *e = NULL;

                if (!json_object_is_type(o, json_type_array) || json_object_array_length(o) != 1 + _TIER_MAX ||
                    !json_object_is_type(json_object_array_get_idx(o, 0), json_type_string))
                        continue;
                for (int t = 0; t < _TIER_MAX; t++) {
                        const char *name = json_object_get_string(json_object_array_get_idx(o, (size_t) t + 1));
                        Pool *p = name ? map_get_name(pools, name, Pool, by_name) : NULL;

                        if (p && (e || (e = use(s, json_object_get_string(json_object_array_get_idx(o, 0))))))
                                e->pool[t] = p->name;
                }
        }
}
