/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What outlives a restart. Pools that were spawned have a row each, written when they are spawned and removed when they are closed (spawned.c). The rest
 * are items: each is one JSON text, made whole and written when it differs from what was written last: at most every PERSIST_USEC, sooner after
 * something has happened, when flowd stops, and before an operator who has changed something on the control socket is answered. When flowd is
 * killed, what has changed since is lost, and only that; nothing of it is needed for a job.
 *
 * A write that fails is tried again at the next turn. Times are kept as CLOCK_REALTIME, because the other clock begins anew with each boot.
 */

#include <errno.h>
#include <json-c/json.h>

#include "basic/state.h"
#include "flowd/persist.h"
#include "flowd/spawned.h"
#include "worker/mcp-catalog.h"

#define PERSIST_USEC (30 * USEC_PER_SEC)
#define PERSIST_SOON_USEC (1 * USEC_PER_SEC)
#define REASON_KEPT 200U /* bytes */
#define CATALOGS_FRAME 64U /* bytes around the list of catalogs */

/* --- pools: breakers, and what operators have set --- */

static json_object *save_pool(const Pool *p) {
        json_object *o = json_object_new_object();
        char reason[REASON_KEPT + 1];

        if (p->breaker != BREAKER_CLOSED) {
                json_object_object_add(o, "breaker", json_object_new_string(breaker_to_string(p->breaker)));
                json_object_object_add(o, "until", json_object_new_int64((int64_t) p->breaker_until_real));
                size_t n = utf8_cut(strempty(p->reason), strlen(strempty(p->reason)), REASON_KEPT);
                memcpy(reason, strempty(p->reason), n);
                reason[n] = 0;
                json_object_object_add(o, "reason", json_object_new_string(reason));
        }
        if (pool_held(p))
                json_object_object_add(o, "drained", json_object_new_boolean(true));
        if (p->target > 0)
                json_object_object_add(o, "target", json_object_new_int64(p->target));
        if (json_object_object_length(o) > 0)
                return o;
        json_object_put(o);
        return NULL;
}

static json_object *save_pools(Manager *m) {
        json_object *all = json_object_new_object();

        LIST_FOREACH(l, &m->pools) {
                const Pool *p = list_entry(l, Pool, link);
                json_object *o = p->state == POOL_CLOSING ? NULL : save_pool(p);

                if (o)
                        json_object_object_add(all, p->name, o);
        }
        return all;
}

static void load_pools(Manager *m, const json_object *all) {
        json_object_object_foreach((json_object *) all, name, o) {
                Pool *p = manager_pool(m, name);
                const char *breaker = state_get_text(o, "breaker");
                uint64_t until = (uint64_t) state_get_int(o, "until"), now = realtime_usec();

                if (!p || p->state != POOL_PENDING) /* closed, or running since before there was a store */
                        continue;
                if (breaker) /* a clock that was set back makes no longer cool-down of it than it was */
                        pool_breaker_resume(p, BREAKER_OPEN, until > now ? MIN(until - now, 2 * p->config->breaker_cooldown_usec) : 0,
                                            state_get_text(o, "reason"));
                if (state_get_int(o, "target") > 0)
                        p->target = (unsigned) MAX((int64_t) p->config->min, MIN(state_get_int(o, "target"), (int64_t) p->config->max));
                if (json_object_get_boolean(state_get_object(o, "drained")))
                        pool_drain(p);
        }
}

/* --- routing: run times that were learnt, and where sessions are --- */

static json_object *save_route(Manager *m) {
        return route_state_save(&m->router, STORE_STATE_VALUE_MAX);
}

static void load_route(Manager *m, const json_object *o) {
        if (route_state_load(&m->router, o) < 0)
                log_write(m->host.log, LOG_WARNING, "Out of memory: some of what was learnt of methods in an earlier run is forgotten");
}

/* --- what MCP servers offer --- */

/* Each as a string, since a tree would lose numbers and orders of members. What there is no room for is asked again. */
static json_object *save_catalogs(Manager *m) {
        json_object *o = json_object_new_object(), *a = json_object_new_array();
        size_t size = 0;

        LIST_FOREACH(l, &m->host.mcp_catalogs) {
                _cleanup_(json_buffer_clear) JsonBuffer b = {};
                json_object *text;

                if (mcp_catalog_serialize(list_entry(l, McpCatalog, link), &b) < 0)
                        continue;
                text = json_object_new_string_len(b.data, (int) b.size);
                size_t n = strlen(json_object_to_json_string_ext(text, JSON_C_TO_STRING_PLAIN)) + 2;
                if (size + n + CATALOGS_FRAME > STORE_STATE_VALUE_MAX) {
                        json_object_put(text);
                        continue;
                }
                size += n;
                json_object_array_add(a, text);
        }
        json_object_object_add(o, "catalogs", a);
        return o;
}

static bool is_configured(const Manager *m, const McpCatalog *c) {
        for (size_t i = 0; i < m->config->n_types; i++)
                if (streq(m->config->types[i]->name, c->type) && worker_type_fingerprint(m->config->types[i]) == c->fingerprint)
                        return true;
        return false;
}

/* They are good for listing; the next server that starts is asked whether it still is so, because its program may be another by now. */
static void load_catalogs(Manager *m, const json_object *o) {
        json_object *a = state_get_object(o, "catalogs");

        for (size_t i = 0; json_object_is_type(a, json_type_array) && i < json_object_array_length(a); i++) {
                json_object *text = json_object_array_get_idx(a, i);
                McpCatalog *c = NULL;

                if (!json_object_is_type(text, json_type_string) ||
                    mcp_catalog_deserialize((JsonSpan) { json_object_get_string(text), (size_t) json_object_get_string_len(text) }, &c) < 0)
                        continue;
                if (!is_configured(m, c) || mcp_catalog_find(&m->host.mcp_catalogs, c->type, c->fingerprint)) {
                        mcp_catalog_free(c);
                        continue;
                }
                c->stale = MCP_LISTS_ALL;
                list_append(&m->host.mcp_catalogs, &c->link);
        }
        mcp_server_catalog(&m->mcp);
}

static const PersistItem items[] = {
        { "pools", save_pools, load_pools, false },
        { "route", save_route, load_route, true },
        { "catalog", save_catalogs, load_catalogs, true },
};

_Static_assert(ELEMENTSOF(items) <= PERSIST_ITEMS_MAX, "Manager.persisted has no room for them");

/* --- when --- */

static void on_timer(Timer *t) {
        persist_save(CONTAINER_OF(t, Manager, persist_timer));
}

void persist_touched(Manager *m, bool soon) {
        uint64_t now = now_usec(), at = soon ? now + PERSIST_SOON_USEC : MAX(m->persist_usec + PERSIST_USEC, now + PERSIST_SOON_USEC);

        if (m->stopping || (m->persist_timer.armed && m->persist_timer.node.key <= at))
                return;
        m->persist_timer.fire = on_timer;
        timer_arm(&m->host.timers, &m->persist_timer, at);
}

/* --- writing --- */

typedef struct Write {
        Manager *m;
        size_t item; /* ELEMENTSOF(items): a row that was forgotten */
} Write;

static void on_written(StoreRequest *r) {
        Write *w = r->userdata;

        if (r->error < 0 && r->error != -ECANCELED && w->item < ELEMENTSOF(items)) {
                free(w->m->persisted[w->item]); /* once more at the next turn */
                w->m->persisted[w->item] = NULL;
                persist_touched(w->m, false);
        }
        free(w);
        store_request_free(r);
}

static StoreRequest *request_new(Manager *m, StoreOp op, size_t item) {
        Write *w;
        StoreRequest *r;

        if (!m->store || store_health(m->store) == STORE_OFF)
                return NULL;
        w = new0(Write, 1);
        r = w ? store_request_new(op, on_written, w) : NULL;
        if (!r) {
                free(w);
                return NULL;
        }
        *w = (Write) { m, item };
        r->lazy = true;
        return r;
}

static void save_item(Manager *m, size_t i) {
        json_object *o = items[i].save(m);
        const char *text = o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : NULL;
        StoreRequest *r;

        if (text && !streq_ptr(text, m->persisted[i]) && (r = request_new(m, STORE_OP_STATE_PUT, i))) {
                r->state_key = str_printf(PERSIST_ITEM "%s", items[i].name);
                r->state_value = strdup(text);
                free(m->persisted[i]);
                m->persisted[i] = strdup(text);
                store_submit(m->store, r);
        }
        json_object_put(o);
}

void persist_save(Manager *m) {
        timer_disarm(&m->host.timers, &m->persist_timer);
        m->persist_usec = now_usec();
        for (size_t i = 0; i < ELEMENTSOF(items); i++)
                save_item(m, i);
}

void persist_forget(Manager *m, const char *prefix, const char *name) {
        StoreRequest *r = request_new(m, STORE_OP_STATE_DELETE, ELEMENTSOF(items));

        if (!r)
                return;
        r->lazy = false;
        r->sync = true;
        r->state_key = str_printf("%s%s", prefix, name);
        if (r->state_key)
                store_submit(m->store, r);
        else {
                free(r->userdata);
                store_request_free(r);
        }
}

json_object *persist_serialize(Manager *m) {
        json_object *all = json_object_new_object();

        for (size_t i = 0; i < ELEMENTSOF(items); i++) {
                json_object *o = items[i].apart ? NULL : items[i].save(m);

                if (o)
                        json_object_object_add(all, items[i].name, o);
        }
        return all;
}

static void load_items(Manager *m, const json_object *all) {
        for (size_t i = 0; all && i < ELEMENTSOF(items); i++) {
                json_object *o = state_get_object(all, items[i].name);

                if (json_object_is_type(o, json_type_object))
                        items[i].load(m, o);
        }
}

void persist_deserialize(Manager *m, const json_object *all) {
        load_items(m, all);
}

void persist_done(Manager *m) {
        for (size_t i = 0; i < PERSIST_ITEMS_MAX; i++)
                free(m->persisted[i]);
}

/* --- reading --- */

typedef struct Loaded {
        Manager *m;
        json_object *items;
} Loaded;

static int on_entry(const char *key, const char *value, void *userdata) {
        static const char pool[] = PERSIST_POOL, item[] = PERSIST_ITEM;
        Loaded *l = userdata;

        if (strncmp(key, pool, sizeof(pool) - 1) == 0)
                return spawned_load(l->m, key + sizeof(pool) - 1, value);
        if (strncmp(key, item, sizeof(item) - 1) == 0)
                json_object_object_add(l->items, key + sizeof(item) - 1, json_tokener_parse(value));
        return 0; /* others are a newer flowd's */
}

int persist_load(Manager *m) {
        Loaded l = { .m = m, .items = json_object_new_object() };
        int r = store_load_state(m->store, on_entry, &l);

        if (r >= 0)
                load_items(m, l.items);
        json_object_put(l.items);
        return r == -ENOMEM ? r : 0; /* what cannot be read is told of by the store, and flowd does without */
}
