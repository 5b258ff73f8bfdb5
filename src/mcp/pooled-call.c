/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Calls of pooled servers. A request becomes a job of the pool that offers what it is about: a tool's name is the job's method, its arguments the
 * payload, as text. The connection is the job's session, so that a client stays with one server where it can. The answer is the server's, byte for
 * byte, with what the modern era wants besides. A server that dies, or cannot be had, is a failure of the tool, as a model should see it.
 */

#include <errno.h>
#include <stdio.h>

#include "mcp/tools.h"
#include "pool/pool.h"
#include "worker/mcp-catalog.h"

/* --- failures --- */

static void fail(const McpReply *r, bool tool, const char *code, const char *text) {
        McpText t = {};

        if (!tool) {
                mcp_error(r, JSONRPC_INTERNAL_ERROR, NULL, "%s: %s", code, text);
                return;
        }
        /* no structured content: it would have to be as the tool's own schema says */
        put_raw(&t, "{\"content\":[{\"type\":\"text\",\"text\":");
        _cleanup_free_ char *whole = str_printf("flowd: %s: %s", code, text);
        put_text(&t, strempty(whole));
        put_raw(&t, "}],\"isError\":true}");
        if (t.error < 0)
                mcp_error(r, JSONRPC_INTERNAL_ERROR, NULL, "out of memory");
        else
                mcp_result_raw(r, (JsonSpan) { t.b.data, t.b.size }, false);
        mcp_text_done(&t);
}

/* --- beginnings --- */

/* A job of this client's for a pooled server; the payload is copied. NULL when out of memory. */
static Job *make_job(const McpClient *c, const char *method, JsonSpan payload) {
        _cleanup_(job_unrefp) Job *j = job_new();

        if (!j)
                return NULL;
        j->method = strdup(method);
        j->session = strdup(c->session);
        j->payload = blob_new_copy(payload.p, payload.size);
        j->payload_size = payload.size;
        j->kind = PAYLOAD_JSON;
        j->uid = c->peer.uid;
        return j->method && j->session && j->payload ? TAKE_PTR(j) : NULL;
}

/* Runs a job; its call answers. */
static void pass(McpRequest *q, McpCallKind kind, const char *pool, const char *method, JsonSpan payload) {
        McpClient *c = q->reply.client;
        bool tool = kind == MCP_CALL_TOOL;
        _cleanup_(job_unrefp) Job *j = NULL;
        _cleanup_free_ char *why = NULL;
        char text[200];
        McpCall *call;
        int r;

        if (mcp_level(&q->reply) < LEVEL_SUBMIT) {
                (void) snprintf(text, sizeof(text), "this needs membership of the group '%.64s'", strna(auth_group(&c->server->auth, LEVEL_SUBMIT)));
                fail(&q->reply, tool, "NotPermitted", text);
                return;
        }
        const char *code = run_refusal(c, 1, text, sizeof(text));
        if (code) {
                fail(&q->reply, tool, code, text);
                return;
        }
        j = make_job(c, method, payload);
        call = mcp_call_new(q, kind, 1);
        if (!j || !call || (q->meta.trace.p && q->meta.trace.size < JOB_TRACE_MAX && json_span_text(q->meta.trace, &j->trace) < 0)) {
                if (call)
                        mcp_call_free(call);
                fail(&q->reply, tool, "LimitReached", "out of memory");
                return;
        }
        RouteRequest request = { .pool = pool, .method = method, .session = j->session, .payload_size = j->payload_size };
        r = route_submit(c->server->router, j, &request, &why);
        if (r < 0) {
                mcp_call_free(call);
                fail(&q->reply, tool, route_refusal_code(r), strempty(why));
                return;
        }
        mcp_call_add(call, 0, j);
        mcp_call_start(call);
}

/* A tool whose name is a method of MCP's own is called by its whole request. */
static bool needs_envelope(const char *name) {
        return strchr(name, '/');
}

int mcp_pooled_call(McpRequest *q, JsonSpan name) {
        const McpEntry *e = mcp_pooled_find(q->reply.client->server, MCP_TOOLS, name);
        JsonSpan arguments = mcp_param(&q->params, MCP_PARAM_ARGUMENTS);

        if (!e)
                return 0;
        if (!arguments.p)
                arguments = JSON_SPAN("{}");
        if (!needs_envelope(e->name)) {
                pass(q, MCP_CALL_TOOL, e->pool, e->name, arguments);
                return 1;
        }
        _cleanup_mcp_text_ McpText t = {};
        put_raw(&t, "{\"name\":");
        put_text(&t, e->name);
        put_raw(&t, ",\"arguments\":");
        put_span(&t, arguments);
        put_raw(&t, "}");
        if (t.error < 0)
                fail(&q->reply, true, "LimitReached", "out of memory");
        else
                pass(q, MCP_CALL_TOOL, e->pool, "tools/call", (JsonSpan) { t.b.data, t.b.size });
        return 1;
}

static void pass_text(McpRequest *q, McpCallKind kind, const char *pool, const char *method, McpText *t) {
        if (t->error < 0)
                fail(&q->reply, false, "LimitReached", "out of memory");
        else
                pass(q, kind, pool, method, (JsonSpan) { t->b.data, t->b.size });
}

int mcp_pooled_read(McpRequest *q, const char *uri) {
        const char *pool = mcp_pooled_owner(q->reply.client->server, uri);
        _cleanup_mcp_text_ McpText t = {};

        if (!pool)
                return 0;
        put_raw(&t, "{\"uri\":");
        put_text(&t, uri);
        put_raw(&t, "}");
        pass_text(q, MCP_CALL_READ, pool, "resources/read", &t);
        return 1;
}

int mcp_pooled_get(McpRequest *q, JsonSpan name) {
        const McpEntry *e = mcp_pooled_find(q->reply.client->server, MCP_PROMPTS, name);
        _cleanup_mcp_text_ McpText t = {};

        if (!e)
                return 0;
        put_raw(&t, "{\"name\":");
        put_text(&t, e->name);
        if (mcp_param_has(&q->params, MCP_PARAM_ARGUMENTS, JSON_OBJECT)) {
                put_raw(&t, ",\"arguments\":");
                put_span(&t, mcp_param(&q->params, MCP_PARAM_ARGUMENTS));
        }
        put_raw(&t, "}");
        pass_text(q, MCP_CALL_REQUEST, e->pool, "prompts/get", &t);
        return 1;
}

int mcp_pooled_complete(McpRequest *q) {
        const McpServer *s = q->reply.client->server;
        JsonSpan ref = mcp_param(&q->params, MCP_PARAM_REF);
        _cleanup_mcp_text_ McpText t = {};
        _cleanup_(json_buffer_clear) JsonBuffer named = {};
        const McpEntry *e = NULL;
        JsonMember m;

        if (json_find(ref, "name", &m) > 0 && m.type == JSON_STRING)
                e = mcp_pooled_find(s, MCP_PROMPTS, (JsonSpan) { m.value, m.value_size });
        else if (json_find(ref, "uri", &m) > 0 && m.type == JSON_STRING) {
                e = mcp_pooled_find(s, MCP_TEMPLATES, (JsonSpan) { m.value, m.value_size });
                if (!e)
                        e = mcp_pooled_find(s, MCP_RESOURCES, (JsonSpan) { m.value, m.value_size });
        }
        if (!e)
                return 0;
        if (streq(e->key, e->name))
                t.error = json_append(&named, ref.p, ref.size);
        else {
                _cleanup_mcp_text_ McpText name = {};

                put_text(&name, e->name);
                t.error = name.error < 0 ? name.error : json_append_with(&named, ref, "name", (JsonSpan) { name.b.data, name.b.size });
        }
        put_raw(&t, "{\"ref\":");
        put_span(&t, (JsonSpan) { named.data, named.size });
        put_raw(&t, ",\"argument\":");
        put_span(&t, mcp_param(&q->params, MCP_PARAM_ARGUMENT));
        if (mcp_param_has(&q->params, MCP_PARAM_CONTEXT, JSON_OBJECT)) {
                put_raw(&t, ",\"context\":");
                put_span(&t, mcp_param(&q->params, MCP_PARAM_CONTEXT));
        }
        put_raw(&t, "}");
        pass_text(q, MCP_CALL_REQUEST, e->pool, "completion/complete", &t);
        return 1;
}

/* --- ends --- */

/* An error as the server wrote it, but that the modern era has another number for what is not there. */
static void pass_error(const McpReply *r, JsonSpan error) {
        _cleanup_free_ char *text = NULL;
        int64_t code = 0;

        if (mcp_is_modern(r->version) && jsonrpc_error_parse(error, &code, &text, NULL) >= 0 && code == MCP_RESOURCE_NOT_FOUND)
                mcp_error(r, JSONRPC_INVALID_PARAMS, NULL, "%s", text);
        else
                mcp_error_raw(r, error);
}

void mcp_pooled_answer(McpCall *call) {
        const McpCallJob *cj = &call->jobs[0];
        const McpReply *r = &call->reply;
        bool tool = call->kind == MCP_CALL_TOOL;
        Job *j = cj->job;
        const uint8_t *data = NULL;
        JsonSpan text = {};
        JsonType type;

        if (!j) {
                fail(r, tool, cj->code ? cj->code : "Crashed", cj->duplicate_of > 0 ? "another job has that key" : strempty(cj->refusal));
                return;
        }
        if (blob_size(j->result) > 0 && blob_data(j->result, &data) >= 0 &&
            json_check((const char *) data, blob_size(j->result), JSON_DEPTH_MAX - 1, &type) >= 0 && type == JSON_OBJECT)
                text = (JsonSpan) { (const char *) data, blob_size(j->result) };
        if (text.p && (j->state == JOB_COMPLETED || (tool && streq_ptr(j->code, "ToolError"))))
                mcp_result_raw(r, text, call->kind == MCP_CALL_READ);
        else if (text.p && streq_ptr(j->code, "RpcError"))
                pass_error(r, text);
        else if (j->state == JOB_COMPLETED)
                fail(r, tool, "Failed", "the server's answer is no object");
        else
                fail(r, tool, j->code ? j->code : frame_status_to_string(job_status(j)), j->error ? j->error : frame_status_to_string(job_status(j)));
}

void mcp_pooled_forget(McpClient *c) {
        McpServer *s = c->server;

        if (s->stopping)
                return;
        LIST_FOREACH(l, s->router->pools) {
                Pool *p = list_entry(l, Pool, link);
                bool may = p->config->type->protocol == PROTOCOL_MCP && p->sessions;
                Session *session = may ? session_find(p->sessions, p->name, c->peer.uid, c->session) : NULL;

                if (session)
                        pool_forget_session(p, session);
        }
}

/* --- notifications --- */

/* True where its servers said that they can be asked to tell of changes. */
static bool can_subscribe(const Pool *p) {
        const WorkerType *t = p->config->type;
        const McpCatalog *c = mcp_catalog_find(&p->host->mcp_catalogs, t->name, worker_type_fingerprint(t));
        JsonMember m = {};
        static const char *const path[] = { "capabilities", "resources", "subscribe" };
        JsonSpan at = c ? (JsonSpan) { c->server.data, c->server.size } : (JsonSpan) {};

        for (size_t i = 0; i < ELEMENTSOF(path); i++) {
                if (!at.p || json_find(at, path[i], &m) <= 0)
                        return false;
                at = (JsonSpan) { m.value, m.value_size };
        }
        return m.type == JSON_BOOL && m.value[0] == 't';
}

void mcp_pooled_subscribed(McpClient *c, const char *uri) {
        McpServer *s = c->server;
        const char *owner = c->peer.level >= LEVEL_SUBMIT && !s->stopping ? mcp_pooled_owner(s, uri) : NULL;
        const Pool *p = owner ? map_get_name(s->router->by_name, owner, Pool, by_name) : NULL;
        _cleanup_(job_unrefp) Job *j = NULL;
        _cleanup_mcp_text_ McpText t = {};
        _cleanup_free_ char *why = NULL;

        if (!p || !can_subscribe(p))
                return;
        put_raw(&t, "{\"uri\":");
        put_text(&t, uri);
        put_raw(&t, "}");
        j = t.error < 0 ? NULL : make_job(c, "resources/subscribe", (JsonSpan) { t.b.data, t.b.size });
        if (!j)
                return;
        RouteRequest request = { .pool = owner, .method = j->method, .session = j->session, .payload_size = j->payload_size };
        if (route_submit(s->router, j, &request, &why) < 0)
                log_write(s->host->log, LOG_NOTICE, "An MCP client will not hear of changes of %s: %s", uri, strempty(why));
}

typedef struct Concerned {
        Pool *pool;
        Worker *worker;
} Concerned;

/* A server that serves one session speaks to nobody else. */
static bool concerns(const McpClient *c, void *userdata) {
        const Concerned *x = userdata;
        const Session *s = x->pool->config->session_exclusive ? session_find(x->pool->sessions, x->pool->name, c->peer.uid, c->session) : NULL;

        return !x->pool->config->session_exclusive || (s && s->worker == x->worker);
}

void mcp_server_notify(McpServer *s, Pool *p, Worker *w, const char *text, size_t size) {
        _cleanup_free_ char *uri = NULL;
        const char *why, *owner;
        JsonrpcMessage msg;
        JsonMember m;

        if (jsonrpc_parse(text, size, &msg, &why) <= 0 || json_find(msg.params, "uri", &m) <= 0 ||
            json_span_text((JsonSpan) { m.value, m.value_size }, &uri) < 0)
                return;
        owner = mcp_pooled_owner(s, uri);
        if (owner && streq(owner, p->name))
                mcp_resource_updated(s, uri, concerns, &(Concerned) { p, w });
}
