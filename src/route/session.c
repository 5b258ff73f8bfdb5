/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A session has a home in each tier, so that one whose jobs are partly short and partly long does not move to and fro between two pools. */

#include <stdlib.h>
#include <string.h>

#include "route/session.h"

void route_sessions_init(RouteSessions *s, uint64_t seed) {
        *s = (RouteSessions) {};
        map_init(&s->by_name, seed);
        list_init(&s->lru);
}

static void forget(RouteSessions *s, RouteSession *e) {
        list_remove(&e->lru);
        map_remove(&s->by_name, &e->by_name);
        s->n--;
        free(e);
}

void route_sessions_done(RouteSessions *s) {
        List *n;

        while ((n = list_first(&s->lru)))
                forget(s, list_entry(n, RouteSession, lru));
        map_done(&s->by_name);
}

const char *route_session_pool(const RouteSessions *s, const char *name, Tier t) {
        RouteSession *e = name ? map_get_name(&s->by_name, name, RouteSession, by_name) : NULL;

        return e ? e->pool[t] : NULL;
}

static RouteSession *session_new(RouteSessions *s, const char *name) {
        size_t size = strlen(name) + 1;
        RouteSession *e;

        if (s->n >= ROUTE_SESSIONS_MAX)
                forget(s, list_entry(s->lru.prev, RouteSession, lru));
        e = calloc(1, sizeof(RouteSession) + size);
        if (!e)
                return NULL;
        memcpy(e->name, name, size);
        if (map_add_name(&s->by_name, &e->by_name, e->name) < 0) {
                free(e);
                return NULL;
        }
        s->n++;
        return e;
}

void route_session_note(RouteSessions *s, const char *name, Tier t, const char *pool) {
        RouteSession *e = map_get_name(&s->by_name, name, RouteSession, by_name);

        if (!e && !(e = session_new(s, name)))
                return;
        e->pool[t] = pool;
        list_remove(&e->lru);
        list_prepend(&s->lru, &e->lru);
}
