/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A message is read as json-c reads it, or refused; what the builders make of its parts is one line, which reads the same. */

#include <errno.h>
#include <json-c/json.h>

#include "basic/str.h"
#include "fuzz.h"
#include "proto/jsonrpc.h"
#include "proto/varlink.h"

/* The span means what json-c finds under that name. */
static void check_span(json_object *whole, const char *name, JsonSpan span) {
        _cleanup_json_ json_object *part = NULL;
        json_object *same;

        if (!span.p)
                return;
        CHECK(json_object_object_get_ex(whole, name, &same));
        CHECK(json_parse(span.p, span.size, JSON_DEPTH_MAX, &part) == 0);
        CHECK(json_object_equal(part, same));
}

static void check_rebuilt(const JsonrpcMessage *m) {
        _cleanup_free_ char *method = NULL, *message = NULL, *line = NULL;
        const char *reason = NULL;
        JsonrpcMessage again;
        JsonBuffer b = {};
        JsonSpan data;
        int64_t code;
        int r = -EBADMSG;

        if (m->method.p && json_span_text(m->method, &method) == 0)
                r = jsonrpc_append_request(&b, m->id, method, m->params);
        else if (m->result.p)
                r = jsonrpc_append_result(&b, m->id, m->result);
        else if (m->error.p && jsonrpc_error_parse(m->error, &code, &message, &data) == 0)
                r = jsonrpc_append_error(&b, m->id, code, message, data);
        line = b.data;
        if (r < 0) {
                CHECK(r == -EBADMSG && b.size == 0);
                return;
        }
        CHECK(memchr(b.data, '\n', b.size) == b.data + b.size - 1 && !memchr(b.data, '\r', b.size));
        CHECK(jsonrpc_parse(b.data, b.size, &again, &reason) == 1);
        CHECK(again.type == m->type && again.id.size == m->id.size && memcmp(again.id.p ? again.id.p : "", m->id.p ? m->id.p : "", m->id.size) == 0);
        if (method)
                CHECK(json_span_is(again.method, method) || strchr(method, '\\'));
        if (message) {
                _cleanup_free_ char *said = NULL;

                CHECK(jsonrpc_error_parse(again.error, &code, &said, &data) == 0 && streq(said, message));
        }
}

static void check_message(const char *text, size_t size) {
        _cleanup_json_ json_object *whole = NULL;
        const char *reason = NULL;
        JsonrpcMessage m = {};
        int r;

        r = jsonrpc_parse(text, size, &m, &reason);
        if (r <= 0) {
                CHECK(r == 0 || r == -EBADMSG || r == -EINVAL || r == -E2BIG);
                CHECK((r < 0) == !!reason && !m.method.p && !m.result.p && !m.error.p && !m.params.p);
                return;
        }
        CHECK(m.type < _JSONRPC_TYPE_MAX && !reason);
        CHECK(json_parse(text, size, JSON_DEPTH_MAX, &whole) == 0);
        check_span(whole, "id", m.id);
        check_span(whole, "method", m.method);
        check_span(whole, "params", m.params);
        check_span(whole, "result", m.result);
        check_span(whole, "error", m.error);
        check_rebuilt(&m);
}

static void check_with(const char *text, size_t size) {
        _cleanup_json_ json_object *a = NULL, *b = NULL;
        _cleanup_free_ char *out = NULL;
        JsonSpan value = JSON_SPAN("{\"new\": 1}");
        JsonBuffer buffer = {};
        JsonMember m;
        int r;

        r = json_append_with(&buffer, (JsonSpan) { text, size }, "_meta", value);
        out = buffer.data;
        if (r < 0) {
                CHECK((r == -EBADMSG || r == -E2BIG) && buffer.size == 0);
                return;
        }
        CHECK(json_find((JsonSpan) { buffer.data, buffer.size }, "_meta", &m) == 1);
        CHECK(m.value_size == value.size && memcmp(m.value, value.p, value.size) == 0);
        CHECK(!memchr(buffer.data, '\n', buffer.size));
        /* all others are as they were */
        if (json_parse(text, size, JSON_DEPTH_MAX, &a) < 0)
                return;
        CHECK(json_parse(buffer.data, buffer.size, JSON_DEPTH_MAX, &b) == 0);
        json_object_object_del(a, "_meta");
        json_object_object_del(b, "_meta");
        CHECK(json_object_equal(a, b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        check_message((const char *) data, size);
        check_with((const char *) data, size);
        return 0;
}
