/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * JSON-RPC without a tree. A broker between clients and servers reads the few members that it routes by and passes the rest on as text,
 * byte for byte: numbers keep their digits, objects the order of their members. So whatever it reads it has to read as the next one will:
 * a member that stands there twice is refused, not picked.
 */

#include <errno.h>
#include <stdio.h>

#include "proto/jsonrpc.h"

bool json_span_is(JsonSpan span, const char *s) {
        JsonMember m = { .key = span.p, .key_size = span.size };

        return span.p && span.size >= 2 && span.p[0] == '"' && json_member_is(&m, s);
}

int json_find(JsonSpan object, const char *name, JsonMember *ret) {
        JsonMember m, found = {};
        JsonScan scan;
        int r;

        if (!object.p)
                return 0;
        json_scan_begin(&scan, object.p, object.size);
        while ((r = json_scan_next(&scan, &m)) > 0)
                if (json_member_is(&m, name)) {
                        if (found.value)
                                return -EBADMSG;
                        found = m;
                }
        if (r < 0)
                return r;
        if (!found.value)
                return 0;
        *ret = found;
        return 1;
}

int json_span_text(JsonSpan span, char **ret) {
        _cleanup_free_ char *s = NULL;
        size_t n;
        int r;

        if (!span.p)
                return -EBADMSG;
        r = json_unescape(span.p, span.size, &s, &n);
        if (r < 0)
                return r;
        if (strlen(s) != n)
                return -EBADMSG;
        *ret = TAKE_PTR(s);
        return 0;
}

int json_span_u64(JsonSpan span, uint64_t *ret) {
        uint64_t v = 0;

        if (!span.p || span.size == 0 || (span.size > 1 && span.p[0] == '0'))
                return -EBADMSG;
        for (size_t i = 0; i < span.size; i++) {
                if (span.p[i] < '0' || span.p[i] > '9' || __builtin_mul_overflow(v, 10U, &v) ||
                    __builtin_add_overflow(v, (uint64_t) (span.p[i] - '0'), &v))
                        return -EBADMSG;
        }
        *ret = v;
        return 0;
}

/* --- reading --- */

enum { MEMBER_VERSION, MEMBER_ID, MEMBER_METHOD, MEMBER_PARAMS, MEMBER_RESULT, MEMBER_ERROR, _MEMBER_MAX };

static const char *const member_names[_MEMBER_MAX] = {
        [MEMBER_VERSION] = "jsonrpc",
        [MEMBER_ID] = "id",
        [MEMBER_METHOD] = "method",
        [MEMBER_PARAMS] = "params",
        [MEMBER_RESULT] = "result",
        [MEMBER_ERROR] = "error",
};

static JsonSpan span_of(const JsonMember *m) {
        return (JsonSpan) { m->value, m->value_size };
}

/* Collects the known members. Returns 0, -EBADMSG, -E2BIG, or -EINVAL where one stands there twice. */
static int collect(const char *text, size_t size, JsonMember found[static _MEMBER_MAX]) {
        bool twice = false;
        JsonMember m;
        JsonScan scan;
        int r;

        json_scan_begin(&scan, text, size);
        while ((r = json_scan_next(&scan, &m)) > 0)
                for (unsigned i = 0; i < _MEMBER_MAX; i++)
                        if (json_member_is(&m, member_names[i])) {
                                twice |= found[i].value != NULL;
                                found[i] = m;
                                break;
                        }
        return r < 0 ? r : twice ? -EINVAL : 0;
}

/* What makes it no message, or NULL. The id is judged on its own, because the answer needs it. */
static const char *judge_id(const JsonMember *id) {
        if (id->type != JSON_STRING && id->type != JSON_NUMBER)
                return "its id is neither a string nor a number";
        return id->value_size > JSONRPC_ID_MAX ? "its id is too long" : NULL;
}

static const char *judge(const JsonMember m[static _MEMBER_MAX], JsonrpcMessage *msg) {
        const JsonMember *id = &m[MEMBER_ID], *error = &m[MEMBER_ERROR], *result = &m[MEMBER_RESULT];
        bool has_error = error->value && error->type != JSON_NULL; /* some write the one that it is not as null */

        if (!m[MEMBER_VERSION].value || !json_span_is(span_of(&m[MEMBER_VERSION]), "2.0"))
                return "it does not say \"jsonrpc\":\"2.0\"";
        if (m[MEMBER_METHOD].value) {
                if (result->value || error->value)
                        return "it has a method and a result or an error";
                if (m[MEMBER_METHOD].type != JSON_STRING)
                        return "its method is no string";
                if (m[MEMBER_PARAMS].value && m[MEMBER_PARAMS].type != JSON_OBJECT)
                        return "its params are no object";
                msg->type = id->value ? JSONRPC_REQUEST : JSONRPC_NOTIFICATION;
                return id->value ? judge_id(id) : NULL;
        }
        if (has_error) {
                if (result->value && result->type != JSON_NULL)
                        return "it has both a result and an error";
                if (error->type != JSON_OBJECT)
                        return "its error is no object";
                msg->type = JSONRPC_ERROR;
                return id->value && id->type != JSON_NULL ? judge_id(id) : NULL;
        }
        if (!result->value)
                return "it has neither a method nor a result nor an error";
        msg->type = JSONRPC_RESULT;
        return id->value ? judge_id(id) : "it has a result but no id";
}

int jsonrpc_parse(const char *text, size_t size, JsonrpcMessage *ret, const char **reterr_reason) {
        JsonMember m[_MEMBER_MAX] = {};
        JsonrpcMessage msg = {};
        const char *why;
        JsonType type;
        int r;

        while (size > 0 && strchr("\r\n \t", text[size - 1]) && text[size - 1])
                size--;
        if (size == 0)
                return 0;
        r = collect(text, size, m);
        if (r == -EBADMSG && json_check(text, size, JSON_DEPTH_MAX, &type) == 0) {
                *ret = (JsonrpcMessage) {};
                *reterr_reason = type == JSON_ARRAY ? "it is an array" : "it is no object";
                return -EINVAL;
        }
        if (r == -EBADMSG || r == -E2BIG) {
                *reterr_reason = r == -E2BIG ? "it is nested too deeply" : "it is no JSON";
                return r;
        }
        why = r == -EINVAL ? "it has a member twice" : judge(m, &msg);
        if (m[MEMBER_ID].value && !judge_id(&m[MEMBER_ID]) && r != -EINVAL)
                msg.id = span_of(&m[MEMBER_ID]);
        if (why) {
                *ret = (JsonrpcMessage) { .id = msg.id };
                *reterr_reason = why;
                return -EINVAL;
        }
        switch (msg.type) {
        case JSONRPC_REQUEST:
        case JSONRPC_NOTIFICATION:
                msg.method = span_of(&m[MEMBER_METHOD]);
                msg.params = span_of(&m[MEMBER_PARAMS]);
                break;
        case JSONRPC_RESULT:
                msg.result = span_of(&m[MEMBER_RESULT]);
                break;
        default:
                msg.error = span_of(&m[MEMBER_ERROR]);
        }
        *ret = msg;
        return 1;
}

int jsonrpc_error_parse(JsonSpan error, int64_t *ret_code, char **ret_message, JsonSpan *ret_data) {
        _cleanup_free_ char *message = NULL;
        JsonMember m;
        double code = 0;
        size_t n;
        int r;

        r = json_find(error, "code", &m);
        if (r > 0 && (m.type != JSON_NUMBER || json_number(m.value, m.value_size, &code) < 0 || code < -9e15 || code > 9e15))
                r = -EBADMSG;
        if (r < 0)
                return r;
        r = json_find(error, "message", &m);
        if (r < 0)
                return r;
        if (r > 0 && m.type == JSON_STRING)
                r = json_unescape(m.value, m.value_size, &message, &n);
        else
                r = (message = strdup("")) ? 0 : -ENOMEM;
        if (r < 0)
                return r;
        r = json_find(error, "data", &m);
        if (r < 0)
                return r;
        if (ret_data)
                *ret_data = r > 0 ? span_of(&m) : (JsonSpan) {};
        *ret_code = (int64_t) code;
        *ret_message = TAKE_PTR(message);
        return 0;
}

/* --- writing --- */

static int append_text(JsonBuffer *b, const char *s) {
        return json_append(b, s, strlen(s));
}

/* `before` the span, as one line; nothing where there is none. */
static int append_span(JsonBuffer *b, const char *before, JsonSpan span) {
        int r;

        if (!span.p)
                return 0;
        r = append_text(b, before);
        return r < 0 ? r : json_append_oneline(b, span.p, span.size);
}

/* What every message begins with: up to its id. */
static int append_head(JsonBuffer *b, JsonSpan id) {
        int r = append_text(b, "{\"jsonrpc\":\"2.0\"");

        return r < 0 ? r : append_span(b, ",\"id\":", id);
}

static int finish(JsonBuffer *b, size_t was, int r) {
        if (r >= 0)
                r = append_text(b, "}\n");
        if (r < 0)
                b->size = was;
        return r;
}

int jsonrpc_append_request(JsonBuffer *b, JsonSpan id, const char *method, JsonSpan params) {
        size_t was = b->size;
        int r = append_head(b, id);

        if (r >= 0)
                r = append_text(b, ",\"method\":");
        if (r >= 0)
                r = json_escape_append(b, method, strlen(method));
        if (r >= 0)
                r = append_span(b, ",\"params\":", params);
        return finish(b, was, r);
}

int jsonrpc_append_result(JsonBuffer *b, JsonSpan id, JsonSpan result) {
        size_t was = b->size;
        int r = append_head(b, id);

        if (r >= 0)
                r = append_span(b, ",\"result\":", result);
        return finish(b, was, r);
}

int jsonrpc_append_error(JsonBuffer *b, JsonSpan id, int64_t code, const char *message, JsonSpan data) {
        size_t was = b->size;
        char text[64];
        int r = append_head(b, id);

        snprintf(text, sizeof(text), ",\"error\":{\"code\":%lld,\"message\":", (long long) code);
        if (r >= 0)
                r = append_text(b, text);
        if (r >= 0)
                r = json_escape_append(b, message, strlen(message));
        if (r >= 0)
                r = append_span(b, ",\"data\":", data);
        if (r >= 0)
                r = append_text(b, "}");
        return finish(b, was, r);
}

static int append_member(JsonBuffer *b, bool *first, const char *key, size_t key_size, JsonSpan value) {
        int r = append_text(b, *first ? "{" : ",");

        *first = false;
        if (r >= 0)
                r = json_append(b, key, key_size);
        return r < 0 ? r : append_span(b, ":", value);
}

int json_append_with(JsonBuffer *b, JsonSpan object, const char *name, JsonSpan value) {
        JsonSpan from = object.p ? object : JSON_SPAN("{}");
        size_t was = b->size;
        bool first = true, done = false;
        _cleanup_free_ char *quoted = NULL;
        JsonBuffer key = {};
        JsonMember m;
        JsonScan scan;
        int r;

        r = json_escape_append(&key, name, strlen(name));
        quoted = key.data;
        if (r < 0)
                return r;
        json_scan_begin(&scan, from.p, from.size);
        while ((r = json_scan_next(&scan, &m)) > 0) {
                bool it = json_member_is(&m, name);

                if (it && done)
                        continue;
                done |= it;
                r = append_member(b, &first, m.key, m.key_size, it ? value : span_of(&m));
                if (r < 0)
                        break;
        }
        if (r >= 0 && !done)
                r = append_member(b, &first, quoted, key.size, value);
        if (r >= 0)
                r = append_text(b, "}");
        if (r < 0)
                b->size = was;
        return r;
}
