/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* MCP's words: versions and eras, methods, parameters, _meta, levels; and when two ids are one. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "basic/str.h"
#include "proto/mcp.h"
#include "unit.h"

static JsonSpan span(const char *s) {
        return (JsonSpan) { s, strlen(s) };
}

START_TEST(versions) {
        ck_assert_int_eq(mcp_version_of(span("\"2024-11-05\"")), MCP_2024_11_05);
        ck_assert_int_eq(mcp_version_of(span("\"2026-07-\\u0032\\u0038\"")), MCP_2026_07_28);
        ck_assert_int_eq(mcp_version_of(span("\"2025-11-24\"")), -EINVAL);
        ck_assert_int_eq(mcp_version_of(span("20251125")), -EINVAL);
        ck_assert_int_eq(mcp_version_of((JsonSpan) {}), -EINVAL);
        for (int v = 0; v < _MCP_VERSION_MAX; v++) {
                char text[32];

                (void) snprintf(text, sizeof(text), "\"%s\"", mcp_version_to_string((McpVersion) v));
                ck_assert_int_eq(mcp_version_of(span(text)), v);
                ck_assert_int_eq(mcp_is_modern((McpVersion) v), v == MCP_2026_07_28);
        }
        ck_assert_str_eq(mcp_version_to_string(MCP_LATEST_LEGACY), "2025-11-25");
}
END_TEST

START_TEST(methods) {
        static const struct {
                const char *name;
                bool legacy, modern;
        } known[] = {
                { "\"initialize\"", true, false },
                { "\"ping\"", true, false },
                { "\"logging/setLevel\"", true, false },
                { "\"resources/subscribe\"", true, false },
                { "\"resources/unsubscribe\"", true, false },
                { "\"server/discover\"", false, true },
                { "\"subscriptions/listen\"", false, true },
                { "\"tasks/get\"", false, true },
                { "\"tools/list\"", true, true },
                { "\"tools\\/call\"", true, true },
                { "\"notifications/cancelled\"", true, true },
                { "\"Tools/list\"", false, false },
                { "\"\"", false, false },
                { "5", false, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(known); i++) {
                ck_assert_int_eq(mcp_method_of(span(known[i].name), false) != _MCP_METHOD_MAX, known[i].legacy);
                ck_assert_int_eq(mcp_method_of(span(known[i].name), true) != _MCP_METHOD_MAX, known[i].modern);
        }
        for (unsigned m = 0; m < _MCP_METHOD_MAX; m++) {
                char text[64];

                (void) snprintf(text, sizeof(text), "\"%s\"", mcp_method_to_string((McpMethod) m));
                ck_assert(mcp_method_of(span(text), false) == m || mcp_method_of(span(text), true) == m);
        }
}
END_TEST

START_TEST(parameters) {
        McpParams p;

        ck_assert_int_eq(mcp_params_parse((JsonSpan) {}, &p), 0);
        for (unsigned i = 0; i < _MCP_PARAM_MAX; i++)
                ck_assert(!p.of[i].value);
        ck_assert_int_eq(mcp_params_parse(span("{\"n\\u0061me\": \"x\", \"other\": 1, \"arguments\":{\"name\":2}, \"cursor\":null}"), &p), 0);
        ck_assert(mcp_param_has(&p, MCP_PARAM_NAME, JSON_STRING) && json_span_is(mcp_param(&p, MCP_PARAM_NAME), "x"));
        ck_assert(mcp_param_has(&p, MCP_PARAM_ARGUMENTS, JSON_OBJECT) && mcp_param_has(&p, MCP_PARAM_CURSOR, JSON_NULL));
        ck_assert(!mcp_param_has(&p, MCP_PARAM_NAME, JSON_OBJECT) && !mcp_param_has(&p, MCP_PARAM_URI, JSON_STRING));
        ck_assert_int_eq(mcp_params_parse(span("{\"name\":1,\"n\\u0061me\":2}"), &p), -EBADMSG);
        ck_assert_int_eq(mcp_params_parse(span("[]"), &p), -EBADMSG);
}
END_TEST

static int meta(const char *text, McpMeta *ret, const char **why) {
        McpParams p;

        ck_assert_int_eq(mcp_params_parse(span(text), &p), 0);
        return mcp_meta_parse(&p, ret, why);
}

START_TEST(metas) {
        static const char *const bad[] = {
                "{\"_meta\":5}",
                "{\"_meta\":{\"progressToken\":{}}}",
                "{\"_meta\":{\"progressToken\":1,\"progressToken\":2}}",
                "{\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":5}}",
                "{\"_meta\":{\"io.modelcontextprotocol/clientCapabilities\":[]}}",
                "{\"_meta\":{\"io.modelcontextprotocol/logLevel\":\"loud\"}}",
                "{\"_meta\":{\"traceparent\":1}}",
        };
        const char *why = NULL;
        McpMeta m;

        ck_assert_int_eq(meta("{}", &m, &why), 0);
        ck_assert(!m.version.p && !m.progress.p && m.log_level == -1);
        ck_assert_int_eq(meta("{\"_meta\":{\"x\":{},\"progressToken\":\"a\\\"b\",\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\","
                              "\"io.modelcontextprotocol/clientCapabilities\":{\"a\":1},\"io.modelcontextprotocol/logLevel\":\"warning\","
                              "\"traceparent\":\"00-1-2-3\"}}", &m, &why), 0);
        ck_assert(m.progress.size == 6 && memcmp(m.progress.p, "\"a\\\"b\"", 6) == 0 && mcp_version_of(m.version) == MCP_2026_07_28);
        ck_assert(m.capabilities.size == 7 && m.log_level == LOG_WARNING && json_span_is(m.trace, "00-1-2-3"));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                why = NULL;
                ck_assert_int_eq(meta(bad[i], &m, &why), -EBADMSG);
                ck_assert(why);
        }
        /* what is kept with a call has a limit */
        char text[1024];
        (void) snprintf(text, sizeof(text), "{\"_meta\":{\"progressToken\":\"%0*d\"}}", (int) JSONRPC_ID_MAX, 0);
        ck_assert_int_eq(meta(text, &m, &why), -EBADMSG);
}
END_TEST

START_TEST(levels) {
        for (int l = LOG_EMERG; l <= LOG_DEBUG; l++) {
                char text[32];

                (void) snprintf(text, sizeof(text), "\"%s\"", mcp_level_to_string(l));
                ck_assert_int_eq(mcp_level_of(span(text)), l);
        }
        ck_assert_int_eq(mcp_level_of(span("\"warn\"")), -EINVAL);
        ck_assert_int_eq(mcp_level_of(span("3")), -EINVAL);
        ck_assert_str_eq(mcp_level_to_string(99), "debug");
        ck_assert_str_eq(mcp_level_to_string(-1), "emergency");
}
END_TEST

START_TEST(ids) {
        ck_assert(mcp_id_equal(span("1"), span("1")) && !mcp_id_equal(span("1"), span("1.0")) && !mcp_id_equal(span("1"), span("\"1\"")));
        ck_assert(mcp_id_equal(span("\"a\""), span("\"\\u0061\"")) && !mcp_id_equal(span("\"a\""), span("\"a\\u0000\"")));
        ck_assert(!mcp_id_equal((JsonSpan) {}, (JsonSpan) {}) && !mcp_id_equal(span("1"), (JsonSpan) {}));
        ck_assert(mcp_id_equal(span("123456789012345678901234567890"), span("123456789012345678901234567890")));
}
END_TEST

UNIT_MAIN("mcp", versions, methods, parameters, metas, levels, ids)
