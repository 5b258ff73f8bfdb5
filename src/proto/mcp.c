/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The two eras of MCP are told apart message by message: a request that says its version in `_meta` is modern, any other is legacy. Both may come on
 * one connection, since a client that tries the modern one first goes on with `initialize` where that is refused.
 */

#include <errno.h>
#include <syslog.h>

#include "proto/mcp.h"

#define META_PREFIX "io.modelcontextprotocol/"

static const char *const versions[_MCP_VERSION_MAX] = {
        [MCP_2024_11_05] = "2024-11-05",
        [MCP_2025_03_26] = "2025-03-26",
        [MCP_2025_06_18] = "2025-06-18",
        [MCP_2025_11_25] = "2025-11-25",
        [MCP_2026_07_28] = "2026-07-28",
};

const char *mcp_version_to_string(McpVersion v) {
        return versions[v];
}

int mcp_version_of(JsonSpan s) {
        for (int i = 0; i < _MCP_VERSION_MAX; i++)
                if (json_span_is(s, versions[i]))
                        return i;
        return -EINVAL;
}

enum { LEGACY = 1 << 0, MODERN = 1 << 1, BOTH = LEGACY | MODERN };

static const struct {
        const char *name;
        unsigned eras;
} methods[_MCP_METHOD_MAX] = {
        [MCP_INITIALIZE] = { "initialize", LEGACY },
        [MCP_PING] = { "ping", LEGACY },
        [MCP_DISCOVER] = { "server/discover", MODERN },
        [MCP_TOOLS_LIST] = { "tools/list", BOTH },
        [MCP_TOOLS_CALL] = { "tools/call", BOTH },
        [MCP_RESOURCES_LIST] = { "resources/list", BOTH },
        [MCP_RESOURCES_TEMPLATES] = { "resources/templates/list", BOTH },
        [MCP_RESOURCES_READ] = { "resources/read", BOTH },
        [MCP_RESOURCES_SUBSCRIBE] = { "resources/subscribe", LEGACY },
        [MCP_RESOURCES_UNSUBSCRIBE] = { "resources/unsubscribe", LEGACY },
        [MCP_PROMPTS_LIST] = { "prompts/list", BOTH },
        [MCP_PROMPTS_GET] = { "prompts/get", BOTH },
        [MCP_COMPLETE] = { "completion/complete", BOTH },
        [MCP_SET_LEVEL] = { "logging/setLevel", LEGACY },
        [MCP_LISTEN] = { "subscriptions/listen", MODERN },
        [MCP_TASKS_GET] = { "tasks/get", MODERN },
        [MCP_TASKS_UPDATE] = { "tasks/update", MODERN },
        [MCP_TASKS_CANCEL] = { "tasks/cancel", MODERN },
        [MCP_INITIALIZED] = { "notifications/initialized", BOTH },
        [MCP_CANCELLED] = { "notifications/cancelled", BOTH },
};

const char *mcp_method_to_string(McpMethod m) {
        return methods[m].name;
}

McpMethod mcp_method_of(JsonSpan method, bool modern) {
        for (unsigned i = 0; i < _MCP_METHOD_MAX; i++)
                if (methods[i].eras & (modern ? MODERN : LEGACY) && json_span_is(method, methods[i].name))
                        return (McpMethod) i;
        return _MCP_METHOD_MAX;
}

static const char *const params_names[_MCP_PARAM_MAX] = {
        [MCP_PARAM_META] = "_meta",
        [MCP_PARAM_NAME] = "name",
        [MCP_PARAM_ARGUMENTS] = "arguments",
        [MCP_PARAM_URI] = "uri",
        [MCP_PARAM_CURSOR] = "cursor",
        [MCP_PARAM_LEVEL] = "level",
        [MCP_PARAM_REF] = "ref",
        [MCP_PARAM_ARGUMENT] = "argument",
        [MCP_PARAM_CONTEXT] = "context",
        [MCP_PARAM_REQUEST_ID] = "requestId",
        [MCP_PARAM_PROTOCOL_VERSION] = "protocolVersion",
        [MCP_PARAM_CAPABILITIES] = "capabilities",
        [MCP_PARAM_NOTIFICATIONS] = "notifications",
        [MCP_PARAM_TASK_ID] = "taskId",
        [MCP_PARAM_INPUT_RESPONSES] = "inputResponses",
        [MCP_PARAM_REQUEST_STATE] = "requestState",
};

int mcp_params_parse(JsonSpan params, McpParams *ret) {
        JsonMember m;
        JsonScan scan;
        int r;

        *ret = (McpParams) {};
        if (!params.p)
                return 0;
        json_scan_begin(&scan, params.p, params.size);
        while ((r = json_scan_next(&scan, &m)) > 0)
                for (unsigned i = 0; i < _MCP_PARAM_MAX; i++)
                        if (json_member_is(&m, params_names[i])) {
                                if (ret->of[i].value)
                                        return -EBADMSG;
                                ret->of[i] = m;
                                break;
                        }
        return r < 0 ? -EBADMSG : 0;
}

static int meta_member(const JsonMember *m, McpMeta *meta, const char **reterr_reason) {
        static const struct {
                const char *name, *why;
                size_t offset;
                unsigned types;
        } known[] = {
                { META_PREFIX "protocolVersion", "_meta: the protocol version is no string", offsetof(McpMeta, version), 1U << JSON_STRING },
                { META_PREFIX "clientCapabilities", "_meta: the client's capabilities are no object", offsetof(McpMeta, capabilities), 1U << JSON_OBJECT },
                { "progressToken", "_meta: the progress token is neither a string nor a number", offsetof(McpMeta, progress),
                  1U << JSON_STRING | 1U << JSON_NUMBER },
                { "traceparent", "_meta: traceparent is no string", offsetof(McpMeta, trace), 1U << JSON_STRING },
        };

        for (size_t i = 0; i < ELEMENTSOF(known); i++) {
                JsonSpan *span = (JsonSpan *) ((char *) meta + known[i].offset);

                if (!json_member_is(m, known[i].name))
                        continue;
                if (!(known[i].types & 1U << m->type) || span->p || m->value_size > (m->type == JSON_OBJECT ? SIZE_MAX : JSONRPC_ID_MAX)) {
                        *reterr_reason = span->p ? "_meta has a member twice" : known[i].why;
                        return -EBADMSG;
                }
                *span = (JsonSpan) { m->value, m->value_size };
                return 0;
        }
        if (json_member_is(m, META_PREFIX "logLevel")) {
                meta->log_level = mcp_level_of((JsonSpan) { m->value, m->value_size });
                if (meta->log_level < 0) {
                        *reterr_reason = "_meta: that is no log level";
                        return -EBADMSG;
                }
        }
        return 0;
}

int mcp_meta_parse(const McpParams *p, McpMeta *ret, const char **reterr_reason) {
        const JsonMember *meta = &p->of[MCP_PARAM_META];
        JsonMember m;
        JsonScan scan;
        int r;

        *ret = (McpMeta) { .log_level = -1 };
        if (!meta->value)
                return 0;
        if (meta->type != JSON_OBJECT) {
                *reterr_reason = "_meta is no object";
                return -EBADMSG;
        }
        json_scan_begin(&scan, meta->value, meta->value_size);
        while ((r = json_scan_next(&scan, &m)) > 0) {
                r = meta_member(&m, ret, reterr_reason);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                *reterr_reason = "_meta is no object";
        return r;
}

static const char *const levels[] = {
        [LOG_EMERG] = "emergency", [LOG_ALERT] = "alert",   [LOG_CRIT] = "critical", [LOG_ERR] = "error",
        [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice", [LOG_INFO] = "info",     [LOG_DEBUG] = "debug",
};

int mcp_level_of(JsonSpan s) {
        for (int i = 0; i < (int) ELEMENTSOF(levels); i++)
                if (json_span_is(s, levels[i]))
                        return i;
        return -EINVAL;
}

const char *mcp_level_to_string(int level) {
        return levels[level < 0 ? 0 : level > LOG_DEBUG ? LOG_DEBUG : level];
}

bool mcp_id_equal(JsonSpan a, JsonSpan b) {
        _cleanup_free_ char *x = NULL, *y = NULL;
        size_t n, k;

        if (!a.p || !b.p)
                return false;
        if (a.size == b.size && memcmp(a.p, b.p, a.size) == 0)
                return true;
        return a.p[0] == '"' && b.p[0] == '"' && json_unescape(a.p, a.size, &x, &n) >= 0 && json_unescape(b.p, b.size, &y, &k) >= 0 && n == k &&
               memcmp(x, y, n) == 0;
}
