/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The tools that make and close pools at run time. What they do is done in the manager's room; a call that closes waits until the pools are gone. */

#include <errno.h>

#include "mcp/tools.h"

#define CLOSE_SECONDS 30

static const char *spawn_code(int error) {
        switch (error) {
        case -EEXIST:
                return "PoolExists";
        case -EINVAL:
        case -EBADMSG:
                return "InvalidPool";
        case -ESHUTDOWN:
                return "PoolUnavailable";
        default:
                return "LimitReached";
        }
}

static json_object *spawned_object(const Pool *p, const char *pool_type) {
        json_object *o = json_object_new_object();

        object_add_text(o, "pool_id", p->config->id);
        object_add_text(o, "pool_type", pool_type ? pool_type : "local");
        object_add_text(o, "name", p->name);
        object_add_text(o, "status", "created");
        object_add_int(o, "min_workers", p->config->min);
        object_add_int(o, "max_workers", p->config->max);
        return o;
}

static void answer_spawned(McpFetch *f) {
        json_object *o = TAKE_PTR(f->kept);
        const StoreRequest *r = f->found;

        json_object_object_add(o, "kept", json_object_new_boolean(r->error >= 0));
        if (r->error < 0)
                object_add_text(o, "notice", r->text ? r->text : strerror(-r->error));
        tool_answer(&f->reply, o, false);
}

/* The request was filled in by nobody: it goes, and its fetch with it, without an answer. */
static void drop_fetch(McpFetch *f, StoreRequest *keep) {
        store_request_free(keep);
        mcp_fetch_free(f);
}

static void spawn(McpRequest *q, const PoolSpawn *spec) {
        McpServer *s = q->reply.client->server;
        Store *store = s->jobs->store;
        _cleanup_free_ char *why = NULL;
        StoreRequest *keep = NULL;
        McpFetch *f = NULL;
        Pool *pool;
        int r;

        if (store && store_health(store) != STORE_OFF) {
                f = mcp_fetch_new(&q->reply, STORE_OP_STATE_PUT, false, answer_spawned, &keep);
                if (!f)
                        return;
        }
        r = s->ops->spawn_pool(s->userdata, spec, keep, &pool, &why);
        if (r < 0) {
                if (f)
                        drop_fetch(f, keep);
                tool_failed(&q->reply, NULL, spawn_code(r), "%s", why ? why : strerror(-r));
                return;
        }
        json_object *o = spawned_object(pool, spec->pool_type);
        if (f) {
                keep->sync = true;
                f->kept = o;
                f->lenient = true;
                mcp_fetch_start(keep);
                return;
        }
        json_object_object_add(o, "kept", json_object_new_boolean(false));
        object_add_text(o, "notice", "there is no store: the pool is kept across reload and re-exec, but not when flowd stops");
        tool_answer(&q->reply, o, false);
}

void tool_pool_spawn(McpRequest *q, const McpArguments *a) {
        _cleanup_free_ char *type = NULL, *name = NULL, *worker_type = NULL, *tier = NULL;
        PoolSpawn spec = {
                .uid = q->reply.client->peer.uid,
                .min = (unsigned) argument_int(a, "min_workers", 0),
                .max = (unsigned) argument_int(a, "max_workers", 0),
                .min_set = argument_span(a, "min_workers").p,
                .max_set = argument_span(a, "max_workers").p,
        };

        if (argument_text(a, "pool_type", &type) < 0 || argument_text(a, "name", &name) < 0 || argument_text(a, "worker_type", &worker_type) < 0 ||
            argument_text(a, "tier", &tier) < 0) {
                tool_no_memory(&q->reply);
                return;
        }
        spec.pool_type = type;
        spec.name = name;
        spec.worker_type = worker_type;
        spec.tier = tier;
        spawn(q, &spec);
}

/* --- close --- */

static bool closes(const Pool *p) {
        return p->config->id && p->state == POOL_CLOSING;
}

static bool still_closing(const McpCall *call) {
        const Router *r = call->reply.client->server->router;

        LIST_FOREACH(l, r->pools) {
                const Pool *p = list_entry(l, Pool, link);

                if (closes(p) && (!call->pool || streq(p->config->id, call->pool)))
                        return true;
        }
        return false;
}

void pool_closed(McpClient *c) {
        LIST_FOREACH_SAFE(l, n, &c->calls) {
                McpCall *call = list_entry(l, McpCall, link);

                if (call->kind == MCP_CALL_CLOSE && !still_closing(call))
                        mcp_call_done(call);
        }
}

void pool_answer_closed(McpCall *call) {
        json_object *o = json_object_new_object();

        if (call->pool) {
                object_add_text(o, "pool_id", call->pool);
                object_add_text(o, "status", "closed");
        } else {
                object_add_int(o, "pools_closed", call->n_closed);
                object_add_text(o, "status", "all_closed");
        }
        tool_answer(&call->reply, o, false);
}

/* Waits for the ends of the pools, if there are any to wait for. */
static void wait_for(McpCall *call) {
        call->n_pending = still_closing(call);
        mcp_call_start(call);
}

void tool_pool_close(McpRequest *q, const McpArguments *a) {
        McpServer *s = q->reply.client->server;
        Pool *pool = argument_pool(q, a, "pool_id");
        _cleanup_free_ char *why = NULL;
        McpCall *call;

        if (!pool)
                return;
        call = mcp_call_new(q, MCP_CALL_CLOSE, 0);
        if (!call || !pool->config->id || !(call->pool = strdup(pool->config->id))) {
                if (call)
                        mcp_call_free(call);
                if (pool->config->id)
                        tool_no_memory(&q->reply);
                else
                        tool_failed(&q->reply, NULL, "NotSpawned", "pool %s is from a file; remove it and reload to close it", pool->name);
                return;
        }
        if (s->ops->close_pool(s->userdata, pool, (uint64_t) argument_int(a, "timeout", CLOSE_SECONDS) * USEC_PER_SEC, &why) < 0) {
                mcp_call_free(call);
                tool_failed(&q->reply, NULL, "NotSpawned", "%s", strempty(why));
                return;
        }
        wait_for(call);
}

/* A person is asked, where a modern client can do that: it is a great deal to lose by a model's mistake. Returns whether there is a yes. */
static bool confirmed(McpRequest *q) {
        JsonMember elicitation, answer, action, content, yes;
        JsonSpan responses = mcp_param(&q->params, MCP_PARAM_INPUT_RESPONSES);
        McpText t = {};

        if (!mcp_is_modern(q->reply.version) || json_find(q->meta.capabilities, "elicitation", &elicitation) <= 0)
                return true;
        if (mcp_param_has(&q->params, MCP_PARAM_INPUT_RESPONSES, JSON_OBJECT) && json_find(responses, "confirm", &answer) > 0) {
                JsonSpan given = { answer.value, answer.value_size };

                if (json_find(given, "action", &action) > 0 && json_span_is((JsonSpan) { action.value, action.value_size }, "accept") &&
                    json_find(given, "content", &content) > 0 &&
                    json_find((JsonSpan) { content.value, content.value_size }, "confirm", &yes) > 0 && yes.type == JSON_BOOL && yes.value[0] == 't')
                        return true;
                tool_failed(&q->reply, NULL, "Cancelled", "it was not confirmed; no pool was closed");
                return false;
        }
        (void) mcp_result_begin(&q->reply, &t, "input_required");
        put_raw(&t, ",\"inputRequests\":{\"confirm\":{\"method\":\"elicitation/create\",\"params\":{\"mode\":\"form\",\"message\":"
                    "\"Close every pool that was spawned? Jobs that wait in them are lost.\",\"requestedSchema\":{\"type\":\"object\",\"properties\":{"
                    "\"confirm\":{\"type\":\"boolean\",\"description\":\"Close all of them\"}},\"required\":[\"confirm\"]}}}}");
        mcp_result_end(&q->reply, &t);
        return false;
}

void tool_pool_close_all(McpRequest *q, const McpArguments *a) {
        McpServer *s = q->reply.client->server;
        uint64_t timeout = (uint64_t) argument_int(a, "timeout", CLOSE_SECONDS) * USEC_PER_SEC;
        McpCall *call;

        if (!confirmed(q))
                return;
        call = mcp_call_new(q, MCP_CALL_CLOSE, 0);
        if (!call) {
                tool_no_memory(&q->reply);
                return;
        }
        LIST_FOREACH(l, s->router->pools) {
                Pool *pool = list_entry(l, Pool, link);
                _cleanup_free_ char *why = NULL;

                if (pool->config->id && s->ops->close_pool(s->userdata, pool, timeout, &why) >= 0)
                        call->n_closed++;
        }
        wait_for(call);
}
