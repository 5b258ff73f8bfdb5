/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JSON-RPC: which lines are messages and of what type, why others are none, and the lines that are written, to the byte. */

#include <errno.h>
#include <string.h>

#include "basic/str.h"
#include "proto/jsonrpc.h"
#include "unit.h"

static bool is(JsonSpan span, const char *text) {
        return span.p && span.size == strlen(text) && memcmp(span.p, text, span.size) == 0;
}

static JsonrpcMessage parsed(const char *text, JsonrpcType type) {
        const char *why = NULL;
        JsonrpcMessage m;

        ck_assert_int_eq(jsonrpc_parse(text, strlen(text), &m, &why), 1);
        ck_assert_int_eq(m.type, type);
        ck_assert(!why);
        return m;
}

START_TEST(messages) {
        JsonrpcMessage m;

        m = parsed("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r\n", JSONRPC_REQUEST);
        ck_assert(is(m.id, "1") && json_span_is(m.method, "ping") && !json_span_is(m.method, "pin") && !m.params.p);
        m = parsed(" { \"params\" : {\"a\": 1.0} , \"method\":\"p\\u0069ng\", \"id\":\"x\\\"y\", \"jsonrpc\":\"2.0\", \"other\":[] } ", JSONRPC_REQUEST);
        ck_assert(is(m.id, "\"x\\\"y\"") && json_span_is(m.method, "ping") && is(m.params, "{\"a\": 1.0}"));
        m = parsed("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}", JSONRPC_NOTIFICATION);
        ck_assert(!m.id.p && !m.result.p && !m.error.p);
        m = parsed("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{ \"n\" :12345678901234567890.10 }}", JSONRPC_RESULT);
        ck_assert(is(m.result, "{ \"n\" :12345678901234567890.10 }"));
        m = parsed("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{},\"error\":null}", JSONRPC_RESULT);
        m = parsed("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":null,\"error\":{\"code\":1,\"message\":\"no\"}}", JSONRPC_ERROR);
        ck_assert(is(m.id, "2") && !m.result.p);
        m = parsed("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{}}", JSONRPC_ERROR);
        ck_assert(!m.id.p);
        m = parsed("{\"jsonrpc\":\"2.0\",\"error\":{}}", JSONRPC_ERROR);
        ck_assert(!m.id.p);
}
END_TEST

static void refused(const char *text, int error, const char *id, const char *reason) {
        const char *why = NULL;
        JsonrpcMessage m = { .id = error == -EINVAL ? (JsonSpan) { "left over", 9 } : (JsonSpan) {} };

        ck_assert_int_eq(jsonrpc_parse(text, strlen(text), &m, &why), error);
        ck_assert_str_eq(why, reason);
        ck_assert(id ? is(m.id, id) : !m.id.p);
        ck_assert(!m.method.p && !m.params.p && !m.result.p && !m.error.p);
}

START_TEST(no_messages) {
        _cleanup_free_ char *deep = NULL, *long_id = NULL;
        const char *why = NULL;
        char many[80], id[300];
        JsonrpcMessage m;

        ck_assert_int_eq(jsonrpc_parse("", 0, &m, &why), 0);
        ck_assert_int_eq(jsonrpc_parse(" \r\n", 3, &m, &why), 0);
        refused("Server started", -EBADMSG, NULL, "it is no JSON");
        refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"", -EBADMSG, NULL, "it is no JSON");
        refused("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]", -EINVAL, NULL, "it is an array");
        refused("\"log\"", -EINVAL, NULL, "it is no object");
        refused("{\"id\":1,\"method\":\"ping\"}", -EINVAL, "1", "it does not say \"jsonrpc\":\"2.0\"");
        refused("{\"jsonrpc\":2.0,\"id\":1,\"method\":\"ping\"}", -EINVAL, "1", "it does not say \"jsonrpc\":\"2.0\"");
        refused("{\"jsonrpc\":\"2.0\",\"id\":1}", -EINVAL, "1", "it has neither a method nor a result nor an error");
        refused("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", -EINVAL, NULL, "its id is neither a string nor a number");
        refused("{\"jsonrpc\":\"2.0\",\"id\":[1],\"method\":\"ping\"}", -EINVAL, NULL, "its id is neither a string nor a number");
        refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", -EINVAL, "1", "its method is no string");
        refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":[1]}", -EINVAL, "1", "its params are no object");
        refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"result\":{}}", -EINVAL, "1", "it has a method and a result or an error");
        refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{},\"result\":{}}", -EINVAL, "1", "it has both a result and an error");
        refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":\"no\"}", -EINVAL, "1", "its error is no object");
        refused("{\"jsonrpc\":\"2.0\",\"result\":{}}", -EINVAL, NULL, "it has a result but no id");
        refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"\\u0069d\":2,\"method\":\"a\"}", -EINVAL, NULL, "it has a member twice");
        refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"method\":\"b\"}", -EINVAL, NULL, "it has a member twice");

        memset(many, '[', sizeof(many));
        deep = str_printf("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":%.*s", (int) sizeof(many), many);
        refused(deep, -E2BIG, NULL, "it is nested too deeply");
        memset(id, '7', sizeof(id));
        long_id = str_printf("{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"method\":\"a\"}", (int) JSONRPC_ID_MAX + 1, id);
        refused(long_id, -EINVAL, NULL, "its id is too long");
}
END_TEST

START_TEST(cut_anywhere) {
        static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"b\",\"params\":{\"c\":[1,{\"d\":\"e\"}]}}";
        const char *why;
        JsonrpcMessage m;

        for (size_t n = 1; n < sizeof(text) - 1; n++) {
                _cleanup_free_ char *part = strndup(text, n); /* so that a sanitizer sees a byte too many */

                ck_assert_int_eq(jsonrpc_parse(part, n, &m, &why), -EBADMSG);
        }
}
END_TEST

START_TEST(finding) {
        JsonSpan o = JSON_SPAN("{\"a\":1,\"b\":\"x\\n\",\"c\":{\"a\":2},\"d\":1,\"d\":2}");
        _cleanup_free_ char *s = NULL;
        uint64_t u = 7;
        JsonMember m;

        ck_assert_int_eq(json_find(o, "a", &m), 1);
        ck_assert(m.type == JSON_NUMBER && m.value_size == 1 && *m.value == '1');
        ck_assert_int_eq(json_find(o, "b", &m), 1);
        ck_assert_int_eq(json_span_text((JsonSpan) { m.value, m.value_size }, &s), 0);
        ck_assert_str_eq(s, "x\n");
        ck_assert_int_eq(json_find(o, "e", &m), 0);
        ck_assert_int_eq(json_find(o, "d", &m), -EBADMSG);
        ck_assert_int_eq(json_find(JSON_SPAN("[1]"), "a", &m), -EBADMSG);
        ck_assert_int_eq(json_find((JsonSpan) {}, "a", &m), 0);
        ck_assert_int_eq(json_span_text(JSON_SPAN("\"a\\u0000b\""), &s), -EBADMSG);
        ck_assert_int_eq(json_span_text(JSON_SPAN("12"), &s), -EBADMSG);

        ck_assert_int_eq(json_span_u64(JSON_SPAN("0"), &u), 0);
        ck_assert_uint_eq(u, 0);
        ck_assert_int_eq(json_span_u64(JSON_SPAN("18446744073709551615"), &u), 0);
        ck_assert_uint_eq(u, UINT64_MAX);
        ck_assert_int_eq(json_span_u64(JSON_SPAN("18446744073709551616"), &u), -EBADMSG);
        ck_assert_int_eq(json_span_u64(JSON_SPAN("01"), &u), -EBADMSG);
        ck_assert_int_eq(json_span_u64(JSON_SPAN("1.0"), &u), -EBADMSG);
        ck_assert_int_eq(json_span_u64(JSON_SPAN("-1"), &u), -EBADMSG);
        ck_assert_int_eq(json_span_u64(JSON_SPAN("\"1\""), &u), -EBADMSG);
        ck_assert_int_eq(json_span_u64((JsonSpan) {}, &u), -EBADMSG);
}
END_TEST

START_TEST(errors) {
        _cleanup_free_ char *message = NULL, *none = NULL;
        int64_t code;
        JsonSpan data;

        ck_assert_int_eq(jsonrpc_error_parse(JSON_SPAN("{\"code\":-32602,\"message\":\"no \\\"x\\\"\",\"data\":{\"a\":1}}"), &code, &message, &data), 0);
        ck_assert_int_eq(code, -32602);
        ck_assert_str_eq(message, "no \"x\"");
        ck_assert(is(data, "{\"a\":1}"));
        ck_assert_int_eq(jsonrpc_error_parse(JSON_SPAN("{}"), &code, &none, &data), 0);
        ck_assert(code == 0 && streq(none, "") && !data.p);
        ck_assert_int_eq(jsonrpc_error_parse(JSON_SPAN("{\"code\":\"x\"}"), &code, &message, NULL), -EBADMSG);
        ck_assert_int_eq(jsonrpc_error_parse(JSON_SPAN("{\"code\":1e300}"), &code, &message, NULL), -EBADMSG);
}
END_TEST

START_TEST(lines) {
        JsonBuffer b = {};
        static const char expected[] =
                "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{ \"a\": 1.0 }}\n"
                "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n"
                "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{}}\n"
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"no \\\"x\\\"\",\"data\":[1]}}\n"
                "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32700,\"message\":\"\"}}\n";

        ck_assert_int_eq(jsonrpc_append_request(&b, JSON_SPAN("7"), "tools/call", JSON_SPAN("{\n\"a\":\r1.0 }")), 0);
        ck_assert_int_eq(jsonrpc_append_request(&b, (JsonSpan) {}, "notifications/initialized", (JsonSpan) {}), 0);
        ck_assert_int_eq(jsonrpc_append_result(&b, JSON_SPAN("\"x\""), JSON_SPAN("{}")), 0);
        ck_assert_int_eq(jsonrpc_append_error(&b, JSON_SPAN("1"), JSONRPC_METHOD_NOT_FOUND, "no \"x\"", JSON_SPAN("[1]")), 0);
        ck_assert_int_eq(jsonrpc_append_error(&b, (JsonSpan) {}, JSONRPC_PARSE_ERROR, "", (JsonSpan) {}), 0);
        ck_assert_int_eq(jsonrpc_append_request(&b, JSON_SPAN("8"), "a\xff", (JsonSpan) {}), -EBADMSG);
        ck_assert_uint_eq(b.size, sizeof(expected) - 1);
        ck_assert(memcmp(b.data, expected, b.size) == 0);
        json_buffer_clear(&b);
}
END_TEST

static void with(JsonSpan object, const char *expected) {
        JsonBuffer b = {};

        ck_assert_int_eq(json_append_with(&b, object, "_meta", JSON_SPAN("{\"n\":1}")), 0);
        ck_assert_uint_eq(b.size, strlen(expected));
        ck_assert(memcmp(b.data, expected, b.size) == 0);
        json_buffer_clear(&b);
}

START_TEST(splicing) {
        JsonBuffer b = {};

        with((JsonSpan) {}, "{\"_meta\":{\"n\":1}}");
        with(JSON_SPAN("{}"), "{\"_meta\":{\"n\":1}}");
        with(JSON_SPAN(" { \"a\" : 1.00 } "), "{\"a\":1.00,\"_meta\":{\"n\":1}}");
        with(JSON_SPAN("{\"\\u005fmeta\":[],\"a\":{\"_meta\":2},\"_meta\":3}"), "{\"\\u005fmeta\":{\"n\":1},\"a\":{\"_meta\":2}}");
        ck_assert_int_eq(json_append_with(&b, JSON_SPAN("[]"), "a", JSON_SPAN("1")), -EBADMSG);
        ck_assert_int_eq(json_append_with(&b, JSON_SPAN("{\"a\":1"), "a", JSON_SPAN("1")), -EBADMSG);
        ck_assert_uint_eq(b.size, 0);
        json_buffer_clear(&b);
}
END_TEST

UNIT_MAIN("jsonrpc", messages, no_messages, cut_anywhere, finding, errors, lines, splicing)
