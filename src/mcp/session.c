/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One message: what era it is of, whether it is one at all, and who handles it. The legacy era has a version for a connection, from `initialize`; a
 * second `initialize` begins anew, and whatever comes before the first is served as well, since clients do that. The modern era says everything in
 * each request, and nothing that one request says is remembered for another.
 */

#include <errno.h>
#include <stdio.h>

#include "mcp/internal.h"

#define DISCOVER_TTL_MS 60000U

/* --- what is no request --- */

void mcp_not_a_message(McpClient *c, int code, const char *text) {
        /* an error without an id is valid since 2025-11-25; an older client would not understand it */
        if (c->version >= 0 && c->version < MCP_2025_11_25) {
                log_write(c->server->host->log, LOG_DEBUG, "MCP client (uid %u, pid %d): %s", c->peer.uid, (int) c->peer.pid, text);
                return;
        }
        mcp_error(&(McpReply) { .client = c, .version = MCP_LATEST_LEGACY }, code, NULL, "%s", text);
}

static void handle_cancelled(McpClient *c, const McpParams *p) {
        JsonSpan id = mcp_param(p, MCP_PARAM_REQUEST_ID);
        McpCall *call = id.p ? mcp_call_find(c, id) : NULL;
        McpFetch *f = id.p ? mcp_fetch_find(c, id) : NULL;

        if (call)
                mcp_call_cancel(call);
        else if (f)
                mcp_fetch_cancel(f);
        else if (id.p)
                (void) mcp_unlisten(c, id); /* or it is answered already */
}

static void handle_notification(McpClient *c, const JsonrpcMessage *m) {
        McpParams p;

        if (mcp_method_of(m->method, false) == MCP_CANCELLED && mcp_params_parse(m->params, &p) >= 0)
                handle_cancelled(c, &p);
        /* all others are of no interest, known or not */
}

/* --- the beginning --- */

static json_object *capabilities(bool modern) {
        json_object *o = json_object_new_object(), *resources = json_object_new_object(), *tools = json_object_new_object(),
                    *prompts = json_object_new_object();

        json_object_object_add(resources, "subscribe", json_object_new_boolean(true));
        json_object_object_add(resources, "listChanged", json_object_new_boolean(true));
        json_object_object_add(tools, "listChanged", json_object_new_boolean(true));
        json_object_object_add(prompts, "listChanged", json_object_new_boolean(true));
        json_object_object_add(o, "tools", tools);
        json_object_object_add(o, "resources", resources);
        json_object_object_add(o, "prompts", prompts);
        json_object_object_add(o, "completions", json_object_new_object());
        json_object_object_add(o, "logging", json_object_new_object());
        if (modern) {
                json_object *extensions = json_object_new_object();

                json_object_object_add(extensions, MCP_EXTENSION_TASKS, json_object_new_object());
                json_object_object_add(o, "extensions", extensions);
        }
        return o;
}

static json_object *instructions(const McpReply *r) {
        const AuthConfig *auth = &r->client->server->auth;
        AuthLevel level = mcp_level(r), next = level < LEVEL_OBSERVE ? LEVEL_OBSERVE : level < LEVEL_SUBMIT ? LEVEL_SUBMIT : LEVEL_ADMIN;
        _cleanup_free_ char *more = NULL, *text = NULL;

        if (level < LEVEL_OPERATE)
                more = str_printf(" You may %s; members of the group '%s' may do more.",
                                  level < LEVEL_OBSERVE ? "do nothing here" : auth_level_to_string(level), strna(auth_group(auth, next)));
        text = str_printf("flowd keeps pools of worker processes and runs jobs on them. pool_list shows the pools; pool_execute runs one job and waits for it, "
                          "pool_execute_batch many; for work that may take longer than a call, use job_submit, then job_status and job_result. "
                          "flow://pools/NAME, flow://jobs/ID and flow://events can be read and subscribed to.%s", strempty(more));
        return json_object_new_string(strempty(text));
}

static json_object *server_info(void) {
        json_object *o = json_object_new_object();

        object_add_text(o, "name", "flowd");
        object_add_text(o, "title", "flowd worker pools");
        object_add_text(o, "version", PACKAGE_VERSION);
        return o;
}

static void handle_initialize(McpRequest *q) {
        McpClient *c = q->reply.client;
        json_object *o;
        int v = mcp_version_of(mcp_param(&q->params, MCP_PARAM_PROTOCOL_VERSION));

        if (!mcp_param_has(&q->params, MCP_PARAM_PROTOCOL_VERSION, JSON_STRING)) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "initialize needs a protocolVersion");
                return;
        }
        c->version = v < 0 || mcp_is_modern((McpVersion) v) ? MCP_LATEST_LEGACY : v;
        c->log_level = -1;
        c->features = mcp_param_has(&q->params, MCP_PARAM_CAPABILITIES, JSON_OBJECT) ? mcp_features_of(mcp_param(&q->params, MCP_PARAM_CAPABILITIES)) : 0;
        q->reply.version = (McpVersion) c->version;
        o = json_object_new_object();
        object_add_text(o, "protocolVersion", mcp_version_to_string((McpVersion) c->version));
        json_object_object_add(o, "capabilities", capabilities(false));
        json_object_object_add(o, "serverInfo", server_info());
        json_object_object_add(o, "instructions", instructions(&q->reply));
        mcp_result(&q->reply, o);
}

static void handle_discover(McpRequest *q) {
        json_object *o = json_object_new_object(), *versions = json_object_new_array();
        bool comma;
        McpText t = {};

        for (int v = MCP_2026_07_28; v < _MCP_VERSION_MAX; v++)
                json_object_array_add(versions, json_object_new_string(mcp_version_to_string((McpVersion) v)));
        json_object *caps = capabilities(true), *text = instructions(&q->reply);
        comma = mcp_result_begin(&q->reply, &t, "complete");
        put_raw(&t, comma ? ",\"supportedVersions\":" : "\"supportedVersions\":");
        put_json(&t, versions);
        put_raw(&t, ",\"capabilities\":");
        put_json(&t, caps);
        put_raw(&t, ",\"instructions\":");
        put_json(&t, text);
        mcp_put_cache(&q->reply, &t, DISCOVER_TTL_MS);
        json_object_put(o);
        json_object_put(versions);
        json_object_put(caps);
        json_object_put(text);
        mcp_result_end(&q->reply, &t);
}

static void handle_set_level(McpRequest *q) {
        int level = mcp_level_of(mcp_param(&q->params, MCP_PARAM_LEVEL));

        if (level < 0) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL,
                          "level is one of debug, info, notice, warning, error, critical, alert, emergency");
                return;
        }
        q->reply.client->log_level = level;
        mcp_result(&q->reply, NULL);
}

/* --- requests --- */

static void dispatch(McpRequest *q) {
        switch (q->method) {
        case MCP_INITIALIZE:
                handle_initialize(q);
                return;
        case MCP_PING:
                mcp_result(&q->reply, NULL);
                return;
        case MCP_DISCOVER:
                handle_discover(q);
                return;
        case MCP_TOOLS_LIST:
                mcp_list(q, MCP_TOOLS);
                return;
        case MCP_TOOLS_CALL:
                mcp_call_tool(q);
                return;
        case MCP_RESOURCES_LIST:
                mcp_list(q, MCP_RESOURCES);
                return;
        case MCP_RESOURCES_TEMPLATES:
                mcp_list(q, MCP_TEMPLATES);
                return;
        case MCP_RESOURCES_READ:
                mcp_read_resource(q);
                return;
        case MCP_RESOURCES_SUBSCRIBE:
                mcp_subscribe(q);
                return;
        case MCP_RESOURCES_UNSUBSCRIBE:
                mcp_unsubscribe(q);
                return;
        case MCP_PROMPTS_LIST:
                mcp_list(q, MCP_PROMPTS);
                return;
        case MCP_PROMPTS_GET:
                mcp_get_prompt(q);
                return;
        case MCP_COMPLETE:
                mcp_complete(q);
                return;
        case MCP_SET_LEVEL:
                handle_set_level(q);
                return;
        case MCP_LISTEN:
                mcp_listen(q);
                return;
        case MCP_TASKS_GET:
                mcp_tasks_get(q);
                return;
        case MCP_TASKS_UPDATE:
                mcp_tasks_update(q);
                return;
        case MCP_TASKS_CANCEL:
                mcp_tasks_cancel(q);
                return;
        default: /* a notification's name with an id, or no name at all */
                mcp_error(&q->reply, JSONRPC_METHOD_NOT_FOUND, NULL, "there is no such method here");
        }
}

/* Checks what the modern era wants of every request. Returns 0 or -EINVAL after having answered. */
static int check_modern(McpRequest *q) {
        int v = mcp_version_of(q->meta.version);

        if (v < 0 || !mcp_is_modern((McpVersion) v)) {
                _cleanup_mcp_text_ McpText data = {};

                put_format(&data, "{\"supported\":[\"%s\"],\"requested\":", mcp_version_to_string(MCP_2026_07_28));
                put_span(&data, q->meta.version);
                put_raw(&data, "}");
                if (data.error >= 0)
                        data.error = json_append(&data.b, "", 1);
                q->reply.version = MCP_2026_07_28;
                mcp_error(&q->reply, MCP_UNSUPPORTED_VERSION, data.error < 0 ? NULL : data.b.data, "unsupported protocol version");
                return -EINVAL;
        }
        q->reply.version = (McpVersion) v;
        if (!q->meta.capabilities.p) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "_meta lacks io.modelcontextprotocol/clientCapabilities");
                return -EINVAL;
        }
        return 0;
}

static bool id_in_use(McpClient *c, JsonSpan id) {
        if (mcp_call_find(c, id) || mcp_fetch_find(c, id))
                return true;
        LIST_FOREACH(l, &c->listens) {
                const char *other = list_entry(l, McpListen, link)->id;

                if (other && mcp_id_equal(id, (JsonSpan) { other, strlen(other) }))
                        return true;
        }
        return false;
}

static void handle_request(McpClient *c, const JsonrpcMessage *m, McpBatch *batch) {
        McpRequest q = {
                .reply = { .client = c, .batch = batch, .id = m->id, .version = c->version >= 0 ? (McpVersion) c->version : MCP_LATEST_LEGACY },
        };
        const char *why = "a parameter stands there twice";
        bool modern;

        if (batch)
                batch->pending++;
        if (mcp_params_parse(m->params, &q.params) < 0 || mcp_meta_parse(&q.params, &q.meta, &why) < 0) {
                mcp_error(&q.reply, JSONRPC_INVALID_PARAMS, NULL, "%s", why);
                return;
        }
        if (id_in_use(c, m->id)) {
                mcp_error(&q.reply, JSONRPC_INVALID_REQUEST, NULL, "a request with this id is in flight");
                return;
        }
        /* only the modern era has this method, so its version is what is missing */
        modern = q.meta.version.p || mcp_method_of(m->method, false) == _MCP_METHOD_MAX;
        q.method = mcp_method_of(m->method, modern);
        if (modern && !q.meta.version.p && q.method != _MCP_METHOD_MAX) {
                mcp_error(&q.reply, JSONRPC_INVALID_PARAMS, NULL, "_meta lacks io.modelcontextprotocol/protocolVersion");
                return;
        }
        if (q.meta.version.p && check_modern(&q) < 0)
                return;
        if (batch && (q.method == MCP_INITIALIZE || q.method == MCP_LISTEN)) { /* the latter's answer would hold up the others for ever */
                mcp_error(&q.reply, JSONRPC_INVALID_REQUEST, NULL, "%s cannot stand in a batch", mcp_method_to_string(q.method));
                return;
        }
        dispatch(&q);
}

/* One message that is no batch. */
static void handle_message(McpClient *c, const char *text, size_t size, McpBatch *batch) {
        const char *why = NULL;
        JsonrpcMessage m = {};
        int r = jsonrpc_parse(text, size, &m, &why);

        if (r == 0)
                return;
        if (r > 0) {
                if (m.type == JSONRPC_REQUEST)
                        handle_request(c, &m, batch);
                else if (m.type == JSONRPC_NOTIFICATION)
                        handle_notification(c, &m);
                else
                        mcp_ask_answered(c, &m);
                return;
        }
        if (r == -EINVAL && m.id.p) {
                McpReply reply = { .client = c, .batch = batch, .id = m.id, .version = MCP_LATEST_LEGACY };

                if (batch)
                        batch->pending++;
                mcp_error(&reply, JSONRPC_INVALID_REQUEST, NULL, "this is no JSON-RPC message: %s", why);
                return;
        }
        char reason[200];
        (void) snprintf(reason, sizeof(reason), "this is no JSON-RPC message: %s", strna(why));
        mcp_not_a_message(c, r == -EINVAL ? JSONRPC_INVALID_REQUEST : JSONRPC_PARSE_ERROR, reason);
}

static void handle_batch(McpClient *c, const char *line, size_t size) {
        McpBatch *b;
        JsonMember m;
        JsonScan scan;
        unsigned n = 0;
        int r;

        json_scan_elements(&scan, line, size);
        while ((r = json_scan_next(&scan, &m)) > 0)
                n++;
        if (r < 0 || n == 0 || n > MCP_BATCH_MAX) {
                mcp_not_a_message(c, r < 0 ? JSONRPC_PARSE_ERROR : JSONRPC_INVALID_REQUEST,
                                  r < 0 ? "this is no JSON" : n == 0 ? "a batch of nothing" : "a batch of too many messages");
                return;
        }
        b = new0(McpBatch, 1);
        if (!b) {
                c->closing = true;
                return;
        }
        b->client = c;
        b->open = true;
        list_append(&c->batches, &b->link);
        json_scan_elements(&scan, line, size);
        while (json_scan_next(&scan, &m) > 0)
                handle_message(c, m.value, m.value_size, b);
        b->open = false;
        mcp_batch_end(b);
}

void mcp_handle_line(McpClient *c, const char *line, size_t size) {
        size_t at = 0;

        while (at < size && strchr(" \t\r", line[at]) && line[at])
                at++;
        if (at < size && line[at] == '[' && c->version == MCP_2025_03_26)
                handle_batch(c, line, size);
        else
                handle_message(c, line, size, NULL);
}
