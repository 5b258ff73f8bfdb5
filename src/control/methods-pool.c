/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The methods about the life of a pool: scaled, drained, spawned, closed. What they do is done in the manager's and the pool's rooms. */

#include <errno.h>

#include "control/internal.h"

static void answer_kept(ControlClient *c, StoreCall *call) {
        control_reply(c, TAKE_PTR(call->listed), false);
}

/* Answers when what was changed is on the disk, so that the next run of flowd knows it; at once where the store takes nothing. */
static void reply_kept(ControlClient *c, json_object *o) {
        Store *s = c->server->jobs->store;
        StoreRequest *r;

        c->server->ops->keep(c->server->userdata);
        if (!s || !store_accepts(s, NULL)) {
                control_reply(c, o, false);
                return;
        }
        r = store_call_new(c, STORE_OP_SYNC, answer_kept);
        if (!r) {
                json_object_put(o);
                return;
        }
        r->sync = r->impatient = true;
        c->call->lenient = true; /* it is done, and written once more at the next turn */
        c->call->listed = o;
        store_call_start(r);
}

Pool *need_pool(ControlClient *c, json_object *p, const char *key) {
        const char *name = NULL;
        Pool *pool;
        int r = parameter_text(c, p, key, &name);

        if (r < 0)
                return NULL;
        if (r == 0) {
                control_invalid(c, key);
                return NULL;
        }
        pool = pool_find(c->server->router->by_name, c->server->router->pools, name);
        if (!pool) {
                json_object *o = json_object_new_object();

                object_add_text(o, "pool", name);
                control_fail(c, "NoSuchPool", o, "there is no pool '%s'; see 'flowctl pool list'", name);
        }
        return pool;
}

static void pool_unavailable(ControlClient *c, const Pool *pool) {
        json_object *o = json_object_new_object();

        object_add_text(o, "pool", pool->name);
        control_fail(c, "PoolUnavailable", o, "pool %s is closing", pool->name);
}

void method_scale_pool(ControlClient *c, json_object *p) {
        Pool *pool = need_pool(c, p, "pool");
        int64_t target = 0;
        json_object *o;

        if (!pool)
                return;
        int r = parameter_int(c, p, "target", INT64_MIN, INT64_MAX, &target);
        if (r <= 0) {
                if (r == 0)
                        control_invalid(c, "target");
                return;
        }
        o = json_object_new_object();
        if (pool->config->tier == TIER_COLD) {
                object_add_text(o, "parameter", "pool");
                object_add_int(o, "min", 0);
                object_add_int(o, "max", 0);
                control_fail(c, "OutOfRange", o, "pool %s is cold: its workers are started for their jobs, up to Max=%u", pool->name, pool->config->max);
                return;
        }
        r = target < 0 || target > POOL_WORKERS_MAX ? -ERANGE : pool_scale(pool, (unsigned) target);
        if (r == -ESHUTDOWN) {
                json_object_put(o);
                pool_unavailable(c, pool);
                return;
        }
        if (r < 0) {
                object_add_text(o, "parameter", "target");
                object_add_int(o, "min", pool->config->min);
                object_add_int(o, "max", pool->config->max);
                control_fail(c, "OutOfRange", o, "pool %s can have from Min=%u to Max=%u workers", pool->name, pool->config->min, pool->config->max);
                return;
        }
        object_add_int(o, "target", (uint64_t) target);
        reply_kept(c, o);
}

void method_drain_pool(ControlClient *c, json_object *p) {
        Pool *pool = need_pool(c, p, "pool");

        if (!pool)
                return;
        pool_drain(pool);
        reply_kept(c, NULL);
}

void method_resume_pool(ControlClient *c, json_object *p) {
        Pool *pool = need_pool(c, p, "pool");

        if (!pool)
                return;
        pool_resume(pool);
        reply_kept(c, NULL);
}

/* --- spawn --- */

static void spawn_refused(ControlClient *c, int r, const PoolSpawn *spec, const char *why) {
        json_object *o = json_object_new_object();

        if (r == -EEXIST) {
                object_add_text(o, "pool", strempty(spec->name));
                control_fail(c, "PoolExists", o, "%s", why ? why : "no name is left for it; give one");
        } else if (r == -EINVAL || r == -EBADMSG)
                control_fail(c, "InvalidPool", o, "%s", strna(why));
        else if (r == -ESHUTDOWN) {
                object_add_text(o, "pool", strempty(spec->name));
                control_fail(c, "PoolUnavailable", o, "%s", strna(why));
        } else {
                object_add_text(o, "limit", r == -ENOSPC ? "pools" : "memory");
                control_fail(c, "LimitReached", o, "%s", why ? why : strerror(-r));
        }
}

static void answer_spawned(ControlClient *c, StoreCall *call) {
        json_object *o = TAKE_PTR(call->listed);
        const StoreRequest *r = call->found;

        json_object_object_add(o, "kept", json_object_new_boolean(r->error >= 0));
        if (r->error < 0)
                object_add_text(o, "notice", r->text ? r->text : strerror(-r->error));
        control_reply(c, o, false);
}

void method_spawn_pool(ControlClient *c, json_object *p) {
        PoolSpawn spec = { .uid = c->peer.uid, .is_admin = c->peer.level >= LEVEL_ADMIN };
        Store *store = c->server->jobs->store;
        _cleanup_free_ char *why = NULL;
        int64_t min = 0, max = 0;
        StoreRequest *keep = NULL;
        Pool *pool;

        if (parameter_text(c, p, "worker_type", &spec.worker_type) < 0 || parameter_text(c, p, "name", &spec.name) < 0 ||
            parameter_text(c, p, "pool_type", &spec.pool_type) < 0 || parameter_text(c, p, "tier", &spec.tier) < 0)
                return;
        int has_min = parameter_int(c, p, "min", 0, POOL_WORKERS_MAX, &min), has_max = has_min < 0 ? -1 : parameter_int(c, p, "max", 1, POOL_WORKERS_MAX, &max);
        if (has_min < 0 || has_max < 0)
                return;
        if (!spec.worker_type || (parameter_get(p, "settings", &spec.settings) && !json_object_is_type(spec.settings, json_type_object))) {
                control_invalid(c, spec.worker_type ? "settings" : "worker_type");
                return;
        }
        spec.min = (unsigned) min;
        spec.max = (unsigned) max;
        spec.min_set = has_min > 0;
        spec.max_set = has_max > 0;
        if (store && store_health(store) != STORE_OFF) {
                keep = store_call_new(c, STORE_OP_STATE_PUT, answer_spawned);
                if (!keep)
                        return;
        }
        int r = c->server->ops->spawn_pool(c->server->userdata, &spec, keep, &pool, &why);
        if (r < 0) {
                if (keep)
                        store_call_drop(keep);
                spawn_refused(c, r, &spec, why);
                return;
        }
        json_object *o = json_object_new_object();
        object_add_text(o, "name", pool->name);
        object_add_text(o, "id", pool->config->id);
        object_add_text(o, "state", pool_state_to_string(pool->state));
        if (keep) {
                keep->sync = true;
                c->call->lenient = true;
                c->call->listed = o;
                store_call_start(keep);
                return;
        }
        json_object_object_add(o, "kept", json_object_new_boolean(false));
        object_add_text(o, "notice", "there is no store: the pool is kept across reload and reexec, but not when flowd stops");
        control_reply(c, o, false);
}

/* --- close --- */

static bool closes(const Pool *p) {
        return p->config->id && p->state == POOL_CLOSING;
}

/* What a call waits for: one pool's end, or that of all that close. */
static bool still_closing(const ControlClient *c) {
        const Router *r = c->server->router;

        LIST_FOREACH(l, r->pools) {
                const Pool *p = list_entry(l, Pool, link);

                if (closes(p) && (!c->pool_filter || streq(p->config->id, c->pool_filter)))
                        return true;
        }
        return false;
}

static void closed(ControlClient *c) {
        json_object *o = json_object_new_object();

        if (c->pool_filter)
                object_add_text(o, "id", c->pool_filter);
        else
                object_add_int(o, "closed", c->n_closed);
        control_reply(c, o, false);
}

void server_pool_gone(Server *s) {
        LIST_FOREACH_SAFE(l, n, &s->control_clients) {
                ControlClient *c = list_entry(l, ControlClient, link);

                if (c->pending == PENDING_CLOSE && !still_closing(c))
                        closed(c);
        }
}

static int close_timeout(ControlClient *c, json_object *p, uint64_t *ret) {
        int64_t timeout = 0;
        int r = parameter_int(c, p, "timeout_usec", 1, INT64_MAX / 2, &timeout);

        *ret = (uint64_t) timeout;
        return r;
}

void method_close_pool(ControlClient *c, json_object *p) {
        Pool *pool = need_pool(c, p, "pool");
        _cleanup_free_ char *why = NULL;
        uint64_t timeout;

        if (!pool || close_timeout(c, p, &timeout) < 0)
                return;
        if (c->server->ops->close_pool(c->server->userdata, pool, timeout, &why) < 0) {
                json_object *o = json_object_new_object();

                object_add_text(o, "pool", pool->name);
                control_fail(c, "NotSpawned", o, "%s", strna(why));
                return;
        }
        c->pool_filter = strdup(pool->config->id);
        if (!c->pool_filter) {
                control_fail(c, "LimitReached", NULL, "out of memory");
                return;
        }
        c->pending = PENDING_CLOSE;
}

void method_close_all_pools(ControlClient *c, json_object *p) {
        uint64_t timeout;
        unsigned n = 0;

        if (close_timeout(c, p, &timeout) < 0)
                return;
        LIST_FOREACH(l, c->server->router->pools) {
                Pool *pool = list_entry(l, Pool, link);
                char *why = NULL;

                if (pool->config->id && c->server->ops->close_pool(c->server->userdata, pool, timeout, &why) >= 0)
                        n++;
                free(why);
        }
        c->n_closed = n;
        c->pending = PENDING_CLOSE;
        if (!still_closing(c))
                closed(c);
}
