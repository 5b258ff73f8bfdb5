/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where sessions were: for each tier the pool that a session's last job went to. Names come from clients: the last used ones are kept. */

#include "basic/list.h"
#include "pool/pool.h"

#define ROUTE_SESSIONS_MAX 10000U

struct json_object;

typedef struct RouteSession {
        MapNode by_key;
        List lru;                     /* the last used first */
        const char *pool[_TIER_MAX];  /* interned, or NULL */
        char key[];                   /* its user and its name */
} RouteSession;

typedef struct RouteSessions {
        Map by_key;
        List lru;
        unsigned n;
} RouteSessions;

void route_sessions_init(RouteSessions *s, uint64_t seed);
void route_sessions_done(RouteSessions *s);
/* Where that user's session was in that tier; NULL where it was nowhere. `name` may be NULL. */
const char *route_session_pool(const RouteSessions *s, uid_t uid, const char *name, Tier t);
/* It is there now. Without memory it is forgotten where it was. */
void route_session_note(RouteSessions *s, uid_t uid, const char *name, Tier t, const char *pool);

/* An array, the last used first; NULL when out of memory. Coming back, pools that are not there any more are left out. */
struct json_object *route_sessions_serialize(const RouteSessions *s);
void route_sessions_deserialize(RouteSessions *s, const struct json_object *array, const Map *pools);
