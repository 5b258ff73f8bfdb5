/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A job as a request of an MCP server, and its answer as the job's end. A method that MCP has is passed on with the payload as its params;
 * any other is the name of a tool, and the payload its arguments. The result is the JSON-RPC result, byte for byte. A tool that says isError
 * has failed, and so has its job; the whole result (of a JSON-RPC error: the error object) stays with the job, for those who want more than
 * the text.
 */

#include <errno.h>
#include <stdio.h>
#include <syslog.h>

#include "proto/varlink.h"
#include "worker/worker-mcp.h"

typedef enum Kind {
        KIND_TOOL,    /* the method is a tool's name */
        KIND_CALL,    /* tools/call: the payload says which */
        KIND_REQUEST,
        KIND_OWN,     /* only flowd itself may send it */
} Kind;

static Kind kind_of(const char *method) {
        static const struct {
                const char *method;
                Kind kind;
        } methods[] = {
                { "tools/call", KIND_CALL },
                { "tools/list", KIND_REQUEST },
                { "resources/list", KIND_REQUEST },
                { "resources/read", KIND_REQUEST },
                { "resources/templates/list", KIND_REQUEST },
                { "resources/subscribe", KIND_REQUEST },
                { "resources/unsubscribe", KIND_REQUEST },
                { "prompts/list", KIND_REQUEST },
                { "prompts/get", KIND_REQUEST },
                { "completion/complete", KIND_REQUEST },
                { "logging/setLevel", KIND_REQUEST },
                { "server/discover", KIND_REQUEST },
                { "tasks/get", KIND_REQUEST },
                { "tasks/list", KIND_REQUEST },
                { "tasks/result", KIND_REQUEST },
                { "tasks/update", KIND_REQUEST },
                { "tasks/cancel", KIND_REQUEST },
                { "subscriptions/listen", KIND_OWN },
        };

        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (streq(method, methods[i].method))
                        return methods[i].kind;
        return strncmp(method, "notifications/", 14) == 0 ? KIND_OWN : KIND_TOOL;
}

/* The payload as an object. Nothing is an empty one. */
static int payload_object(Job *j, JsonSpan *ret) {
        const uint8_t *data = NULL;
        size_t size = blob_size(j->payload);
        JsonType type;
        int r;

        if (size == 0) {
                *ret = JSON_SPAN("{}");
                return 0;
        }
        if (j->kind == PAYLOAD_BYTES)
                return -EINVAL;
        r = blob_data(j->payload, &data);
        if (r < 0)
                return r;
        r = json_check((const char *) data, size, JSON_DEPTH_MAX - 3, &type);
        if (r == -EBADMSG && j->kind == PAYLOAD_TEXT)
                return -EINVAL;
        if (r < 0)
                return r;
        if (type != JSON_OBJECT)
                return -EINVAL;
        *ret = (JsonSpan) { (const char *) data, size };
        return 0;
}

static int append_text(JsonBuffer *b, const char *s) {
        return json_append(b, s, strlen(s));
}

static int tool_params(const McpWorker *m, const Job *j, uint64_t id, JsonSpan arguments, JsonBuffer *b) {
        int r = append_text(b, "{\"name\":");

        if (r >= 0)
                r = json_escape_append(b, j->method, strlen(j->method));
        if (r >= 0)
                r = append_text(b, ",\"arguments\":");
        if (r >= 0)
                r = json_append(b, arguments.p, arguments.size);
        if (r >= 0)
                r = append_text(b, ",\"_meta\":");
        if (r >= 0)
                r = mcp_worker_append_meta(m, id, (JsonSpan) {}, b);
        return r < 0 ? r : append_text(b, "}");
}

static int request_params(const McpWorker *m, uint64_t id, JsonSpan payload, JsonBuffer *b) {
        _cleanup_(json_buffer_clear) JsonBuffer meta = {};
        JsonSpan was = {};
        JsonMember member;
        int r = json_find(payload, "_meta", &member);

        if (r < 0)
                return r;
        if (r > 0 && member.type != JSON_OBJECT)
                return -EBADMSG;
        if (r > 0)
                was = (JsonSpan) { member.value, member.value_size };
        r = mcp_worker_append_meta(m, id, was, &meta);
        return r < 0 ? r : json_append_with(b, payload, "_meta", (JsonSpan) { meta.data, meta.size });
}

int mcp_worker_call_encode(const McpWorker *m, Job *j, uint64_t id, JsonBuffer *b) {
        _cleanup_(json_buffer_clear) JsonBuffer params = {};
        JsonSpan payload;
        char buf[24];
        int r;

        if (!j->method || !*j->method)
                return -ENODATA;
        Kind kind = kind_of(j->method);
        if (kind == KIND_OWN)
                return -EOPNOTSUPP;
        r = payload_object(j, &payload);
        if (r < 0)
                return r;
        if (kind == KIND_TOOL)
                r = tool_params(m, j, id, payload, &params);
        else
                r = request_params(m, id, payload, &params);
        if (r < 0)
                return r;
        return jsonrpc_append_request(b, mcp_worker_id_span(id, buf), kind == KIND_TOOL ? "tools/call" : j->method, (JsonSpan) { params.data, params.size });
}

/* --- answers --- */

/* What the text parts of a tool's result say, for a person. */
static char *content_text(JsonSpan result) {
        _cleanup_json_ json_object *o = NULL;
        _cleanup_(json_buffer_clear) JsonBuffer b = {};
        json_object *content, *text;

        if (json_parse(result.p, result.size, JSON_DEPTH_MAX, &o) < 0 || !json_object_object_get_ex(o, "content", &content) ||
            !json_object_is_type(content, json_type_array))
                return NULL;
        for (size_t i = 0; i < json_object_array_length(content) && b.size < JOB_ERROR_TEXT_MAX; i++) {
                json_object *part = json_object_array_get_idx(content, i);

                if (!json_object_object_get_ex(part, "text", &text) || !json_object_is_type(text, json_type_string))
                        continue;
                if ((b.size > 0 && json_append(&b, "\n", 1) < 0) || append_text(&b, json_object_get_string(text)) < 0)
                        return NULL;
        }
        return b.size > 0 ? memdup_text(b.data, utf8_cut(b.data, b.size, JOB_ERROR_TEXT_MAX)) : NULL;
}

/* True where it says isError. */
static bool is_error(JsonSpan result) {
        JsonMember m;

        return json_find(result, "isError", &m) > 0 && m.type == JSON_BOOL && m.value[0] == 't';
}

/* An error that another attempt of the same request would meet again. */
static bool is_final(int64_t code) {
        return code == JSONRPC_INVALID_REQUEST || code == JSONRPC_METHOD_NOT_FOUND || code == JSONRPC_INVALID_PARAMS;
}

static void keep(JobResult *r, JsonSpan data, uint64_t result_max) {
        char a[16], b[16];

        r->kind = PAYLOAD_JSON;
        if (data.size > result_max) {
                if (r->status != FRAME_COMPLETED)
                        return; /* its text says enough */
                *r = (JobResult) { .status = FRAME_FAILED, .code = "ResultTooLarge", .final = true,
                                   .error = str_printf("the result has %s, above ResultMax=%s", size_format(a, sizeof(a), data.size),
                                                       size_format(b, sizeof(b), result_max)) };
                return;
        }
        r->data = blob_new_copy(data.p, data.size);
        if (!r->data && r->status == FRAME_COMPLETED) {
                r->status = FRAME_FAILED;
                r->error = strdup("out of memory for the result");
        }
}

void mcp_worker_call_end(WorkerSlot *s, const JsonrpcMessage *msg) {
        uint64_t max = s->worker->type->result_max;

        mcp_worker_ask_end(s->worker, s->job_id);
        JobResult r = { .status = FRAME_COMPLETED };

        if (msg->type == JSONRPC_ERROR) {
                _cleanup_free_ char *text = NULL;
                int64_t code = 0;

                r.status = FRAME_FAILED;
                r.code = "RpcError";
                if (jsonrpc_error_parse(msg->error, &code, &text, NULL) < 0)
                        r.error = strdup("the server answered with an error that says nothing");
                else
                        r.error = str_printf("error %lld: %.*s", (long long) code, (int) utf8_cut(text, strlen(text), JOB_ERROR_TEXT_MAX - 32), text);
                r.final = is_final(code);
                keep(&r, msg->error, max);
        } else {
                Kind kind = s->job && s->job->method ? kind_of(s->job->method) : KIND_REQUEST;

                if ((kind == KIND_TOOL || kind == KIND_CALL) && is_error(msg->result)) {
                        r.status = FRAME_FAILED;
                        r.code = "ToolError";
                        r.error = content_text(msg->result);
                        if (!r.error)
                                r.error = strdup("the tool failed, and gave no reason");
                }
                keep(&r, msg->result, max);
        }
        worker_slot_result(s, &r);
}

/* --- meanwhile --- */

void mcp_worker_call_progress(Worker *w, JsonSpan params) {
        _cleanup_free_ char *text = NULL;
        JsonMember token, progress, total, message;
        double done = 0, all = 0;
        uint64_t id;
        size_t size = 0;

        if (json_find(params, "progressToken", &token) <= 0 || json_span_u64((JsonSpan) { token.value, token.value_size }, &id) < 0)
                return;
        unsigned index = id & MCP_INDEX_MASK;
        if (index >= w->n_slots || w->slots[index].state != SLOT_RUNNING || w->slots[index].request != id)
                return;
        Job *j = w->slots[index].job;
        if (json_find(params, "progress", &progress) <= 0 || json_number(progress.value, progress.value_size, &done) < 0)
                return;
        if (json_find(params, "total", &total) > 0)
                (void) json_number(total.value, total.value_size, &all);
        if (json_find(params, "message", &message) > 0 && message.type == JSON_STRING)
                (void) json_unescape(message.value, message.value_size, &text, &size);
        if (!text && !(all > 0)) { /* how much of how much is not known: then how much */
                text = memdup_text(progress.value, progress.value_size);
                size = text ? progress.value_size : 0;
        }
        uint32_t millionths = all > 0 && done >= 0 ? (uint32_t) (MIN(done / all, 1.0) * 1e6) : j->progress;
        job_progress(j, millionths, strempty(text), size);
}

static int level_from_span(JsonSpan span) {
        static const char *const names[] = { "emergency", "alert", "critical", "error", "warning", "notice", "info", "debug" };

        for (int i = 0; i < (int) ELEMENTSOF(names); i++)
                if (json_span_is(span, names[i]))
                        return i;
        return LOG_INFO;
}

void mcp_worker_log(Worker *w, JsonSpan params) {
        _cleanup_(json_buffer_clear) JsonBuffer b = {};
        _cleanup_free_ char *logger = NULL, *text = NULL;
        JsonMember level, name, data;
        size_t size = 0;
        int l = LOG_INFO;

        if (json_find(params, "data", &data) <= 0)
                return;
        if (json_find(params, "level", &level) > 0)
                l = level_from_span((JsonSpan) { level.value, level.value_size });
        if (json_find(params, "logger", &name) > 0 && json_span_text((JsonSpan) { name.value, name.value_size }, &logger) >= 0 &&
            (append_text(&b, logger) < 0 || append_text(&b, ": ") < 0))
                return;
        if (data.type == JSON_STRING) {
                if (json_unescape(data.value, data.value_size, &text, &size) < 0 || json_append(&b, text, size) < 0)
                        return;
        } else if (json_append(&b, data.value, data.value_size) < 0)
                return;
        worker_log_line(w, worker_only_job(w), l, b.data, b.size);
}
