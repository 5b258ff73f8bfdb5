/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where sessions were: for each tier the pool that a session's last job went to. Names come from clients: the last used ones are kept. */

#include "basic/list.h"
#include "basic/map.h"
#include "pool/pool-config.h"

#define ROUTE_SESSIONS_MAX 10000U

typedef struct RouteSession {
        MapNode by_name;
        List lru;                     /* the last used first */
        const char *pool[_TIER_MAX];  /* interned, or NULL */
        char name[];
} RouteSession;

typedef struct RouteSessions {
        Map by_name;
        List lru;
        unsigned n;
} RouteSessions;

void route_sessions_init(RouteSessions *s, uint64_t seed);
void route_sessions_done(RouteSessions *s);
/* Where it was in that tier; NULL where it was nowhere. `name` may be NULL. */
const char *route_session_pool(const RouteSessions *s, const char *name, Tier t);
/* It is there now. Without memory it is forgotten where it was. */
void route_session_note(RouteSessions *s, const char *name, Tier t, const char *pool);
