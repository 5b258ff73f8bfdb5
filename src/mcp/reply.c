/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Answers. A message is written once, from its envelope to its newline, into a growing text whose first failure sticks: it can only be want of
 * memory, and then the connection is of no use any more. What a worker wrote may be in any encoding; it becomes UTF-8 here, at the last moment.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "mcp/internal.h"

#define REPLACEMENT "\xef\xbf\xbd"

/* --- text --- */

static void put(McpText *t, const char *s, size_t size) {
        if (t->error >= 0)
                t->error = json_append(&t->b, s, size);
}

void put_raw(McpText *t, const char *s) {
        put(t, s, strlen(s));
}

void put_span(McpText *t, JsonSpan s) {
        if (t->error >= 0)
                t->error = json_append_oneline(&t->b, s.p, s.size);
}

/* The bytes of the character at `p`, or 0 where there is none. */
static size_t character(const char *p, size_t size) {
        for (size_t n = 1; n <= MIN(size, (size_t) 4); n++)
                if (utf8_valid(p, n))
                        return n;
        return 0;
}

/* A copy in valid UTF-8. */
static char *cleaned(const char *s, size_t size, size_t *ret_size) {
        char *copy = malloc(size * 3 + 1);
        size_t n = 0;

        if (!copy)
                return NULL;
        while (size > 0) {
                size_t k = character(s, size);

                memcpy(copy + n, k > 0 ? s : REPLACEMENT, k > 0 ? k : 3);
                n += k > 0 ? k : 3;
                k = MAX(k, (size_t) 1);
                s += k;
                size -= k;
        }
        *ret_size = n;
        return copy;
}

void put_string(McpText *t, const char *s, size_t size) {
        _cleanup_free_ char *copy = NULL;

        if (t->error < 0)
                return;
        t->error = json_escape_append(&t->b, s, size);
        if (t->error != -EBADMSG)
                return;
        copy = cleaned(s, size, &size);
        t->error = copy ? json_escape_append(&t->b, copy, size) : -ENOMEM;
}

void put_text(McpText *t, const char *s) {
        put_string(t, s, strlen(s));
}

void put_format(McpText *t, const char *format, ...) {
        char text[512];
        va_list ap;

        va_start(ap, format);
        int n = vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        put(t, text, MIN((size_t) MAX(n, 0), sizeof(text) - 1));
}

void put_json(McpText *t, json_object *o) {
        _cleanup_free_ char *copy = NULL;
        size_t size;
        const char *s = json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &size);

        if (!s)
                t->error = -ENOMEM;
        else if (utf8_valid(s, size))
                put_span(t, (JsonSpan) { s, size });
        else if ((copy = cleaned(s, size, &size)))
                put_span(t, (JsonSpan) { copy, size });
        else
                t->error = -ENOMEM;
}

/* --- answers --- */

static void answer_begin(const McpReply *r, McpText *t) {
        put_raw(t, "{\"jsonrpc\":\"2.0\"");
        if (r->id.p) {
                put_raw(t, ",\"id\":");
                put_span(t, r->id);
        }
}

/* What waits for the rest of a batch has the bound of what waits for the client. */
static void batched(McpBatch *b, size_t size) {
        McpClient *c = b->client;
        uint64_t max = c->server->limits.client_buffer_max;
        char a[16];

        b->size += size;
        c->batched += size;
        if (c->batched <= max || c->closing)
                return;
        event_send(c->server->host, EVENT_CLIENT_DROPPED, NULL,
                   "Disconnected an MCP client (uid %u, pid %d): more than %s of answers wait for the rest of their batches (ClientBufferMax=)", c->peer.uid,
                   (int) c->peer.pid, size_format(a, sizeof(a), max));
        c->closing = true;
}

/* Sends a whole answer, or adds it to those of its batch. */
static void answer_end(const McpReply *r, McpText *t) {
        McpClient *c = r->client;
        McpBatch *b = r->batch;

        put_raw(t, b ? "}" : "}\n");
        if (t->error < 0)
                c->closing = true;
        else if (b) {
                if (json_append(&b->out, b->out.size == 0 ? "[" : ",", 1) < 0 || json_append(&b->out, t->b.data, t->b.size) < 0)
                        c->closing = true;
                else
                        batched(b, t->b.size + 1);
        } else
                mcp_client_send(c, t->b.data, t->b.size);
        json_buffer_clear(&t->b);
        mcp_reply_drop(r);
        mcp_client_flush(c);
}

bool mcp_result_begin(const McpReply *r, McpText *t, const char *type) {
        answer_begin(r, t);
        put_raw(t, ",\"result\":{");
        if (!mcp_is_modern(r->version))
                return false;
        put_raw(t, "\"resultType\":");
        put_text(t, type);
        put_raw(t, ",\"_meta\":{\"" MCP_META_SERVER_INFO "\":{\"name\":\"flowd\",\"version\":\"" PACKAGE_VERSION "\"}}");
        return true;
}

void mcp_result_end(const McpReply *r, McpText *t) {
        put_raw(t, "}");
        answer_end(r, t);
}

static bool has(JsonSpan object, const char *name) {
        JsonMember m;

        return json_find(object, name, &m) != 0;
}

void mcp_result_raw(const McpReply *r, JsonSpan result, bool cacheable) {
        size_t n = result.size;
        bool empty;
        McpText t = {};

        answer_begin(r, &t);
        put_raw(&t, ",\"result\":");
        if (!mcp_is_modern(r->version)) {
                put_span(&t, result);
                answer_end(r, &t);
                return;
        }
        while (n > 0 && result.p[n - 1] != '}')
                n--;
        n -= n > 0;
        put_span(&t, (JsonSpan) { result.p, n }); /* up to its last brace */
        while (n > 0 && strchr(" \t\r\n", result.p[n - 1]))
                n--;
        empty = n > 0 && result.p[n - 1] == '{';
        if (!has(result, "resultType")) {
                put_raw(&t, empty ? "\"resultType\":\"complete\"" : ",\"resultType\":\"complete\"");
                empty = false;
        }
        if (!has(result, "_meta")) {
                put_raw(&t, empty ? "" : ",");
                put_raw(&t, "\"_meta\":{\"" MCP_META_SERVER_INFO "\":{\"name\":\"flowd\",\"version\":\"" PACKAGE_VERSION "\"}}");
        }
        if (cacheable && !has(result, "ttlMs") && !has(result, "cacheScope"))
                mcp_put_cache(r, &t, 0);
        mcp_result_end(r, &t);
}

void mcp_error_raw(const McpReply *r, JsonSpan error) {
        McpText t = {};

        answer_begin(r, &t);
        put_raw(&t, ",\"error\":");
        put_span(&t, error);
        answer_end(r, &t);
}

void mcp_result(const McpReply *r, json_object *members) {
        bool comma;
        McpText t = {};

        comma = mcp_result_begin(r, &t, "complete");
        if (members && json_object_object_length(members) > 0) {
                McpText inner = {};

                put_json(&inner, members);
                if (inner.error < 0)
                        t.error = inner.error;
                else {
                        put_raw(&t, comma ? "," : "");
                        put(&t, inner.b.data + 1, inner.b.size - 2); /* without its braces */
                }
                mcp_text_done(&inner);
        }
        json_object_put(members);
        mcp_result_end(r, &t);
}

void mcp_error(const McpReply *r, int code, const char *data, const char *format, ...) {
        char text[1024];
        McpText t = {};
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        answer_begin(r, &t);
        put_format(&t, ",\"error\":{\"code\":%d,\"message\":", code);
        put_string(&t, text, utf8_cut(text, strlen(text), sizeof(text)));
        if (data) {
                put_raw(&t, ",\"data\":");
                put_raw(&t, data);
        }
        put_raw(&t, "}");
        answer_end(r, &t);
}

void mcp_notify(McpClient *c, const char *method, const McpText *params) {
        _cleanup_mcp_text_ McpText t = {};

        put_raw(&t, "{\"jsonrpc\":\"2.0\",\"method\":");
        put_text(&t, method);
        if (params) {
                put_raw(&t, ",\"params\":");
                put(&t, params->b.data, params->b.size);
        }
        put_raw(&t, "}\n");
        if (t.error < 0 || (params && params->error < 0))
                c->closing = true;
        else
                mcp_client_send(c, t.b.data, t.b.size);
        mcp_client_flush(c);
}

void mcp_put_cache(const McpReply *r, McpText *t, unsigned ttl_ms) {
        if (mcp_is_modern(r->version)) /* what is listed depends on who asks */
                put_format(t, ",\"ttlMs\":%u,\"cacheScope\":\"private\"", ttl_ms);
}

/* --- batches --- */

McpBatch *mcp_batch_free(McpBatch *b) {
        list_remove(&b->link);
        b->client->batched -= b->size;
        json_buffer_clear(&b->out);
        free(b);
        return NULL;
}

/* Sends the answers when there are all. */
void mcp_batch_end(McpBatch *b) {
        McpClient *c = b->client;

        if (b->open || b->pending > 0)
                return;
        if (b->out.size > 0) { /* one of notifications only has no answer */
                if (json_append(&b->out, "]\n", 2) < 0)
                        c->closing = true;
                else
                        mcp_client_send(c, b->out.data, b->out.size);
                mcp_client_flush(c);
        }
        mcp_batch_free(b);
}

void mcp_reply_drop(const McpReply *r) {
        if (!r->batch)
                return;
        r->batch->pending--;
        mcp_batch_end(r->batch);
}
