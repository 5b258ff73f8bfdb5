/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The words of MCP: versions and eras, methods, error codes, levels, and the parameters of a request as spans. Pure: no I/O. */

#include "proto/jsonrpc.h"

/* Up to MCP_LATEST_LEGACY a connection begins with `initialize`; after it each request says what it speaks. */
typedef enum McpVersion {
        MCP_2024_11_05,
        MCP_2025_03_26, /* the only one with batches */
        MCP_2025_06_18,
        MCP_2025_11_25,
        MCP_2026_07_28,
        _MCP_VERSION_MAX,
        MCP_LATEST_LEGACY = MCP_2025_11_25,
} McpVersion;

static inline bool mcp_is_modern(McpVersion v) {
        return v > MCP_LATEST_LEGACY;
}

const char *mcp_version_to_string(McpVersion v); /* "2025-11-25" */
/* Returns the version that a string says, or -EINVAL. */
int mcp_version_of(JsonSpan s);

enum { /* besides those of JSON-RPC */
        MCP_RESOURCE_NOT_FOUND = -32002,      /* legacy; JSONRPC_INVALID_PARAMS in the modern era */
        MCP_MISSING_CAPABILITY = -32021,      /* modern */
        MCP_UNSUPPORTED_VERSION = -32022,     /* modern */
};

#define MCP_EXTENSION_TASKS "io.modelcontextprotocol/tasks"
#define MCP_META_SERVER_INFO "io.modelcontextprotocol/serverInfo"
#define MCP_META_SUBSCRIPTION "io.modelcontextprotocol/subscriptionId"

typedef enum McpMethod {
        MCP_INITIALIZE,
        MCP_PING,
        MCP_DISCOVER,
        MCP_TOOLS_LIST,
        MCP_TOOLS_CALL,
        MCP_RESOURCES_LIST,
        MCP_RESOURCES_TEMPLATES,
        MCP_RESOURCES_READ,
        MCP_RESOURCES_SUBSCRIBE,
        MCP_RESOURCES_UNSUBSCRIBE,
        MCP_PROMPTS_LIST,
        MCP_PROMPTS_GET,
        MCP_COMPLETE,
        MCP_SET_LEVEL,
        MCP_LISTEN,
        MCP_TASKS_GET,
        MCP_TASKS_UPDATE,
        MCP_TASKS_CANCEL,
        /* notifications */
        MCP_INITIALIZED,
        MCP_CANCELLED,
        _MCP_METHOD_MAX,
} McpMethod;

const char *mcp_method_to_string(McpMethod m);
/* What a message's method is, in that era; _MCP_METHOD_MAX where it is unknown there. */
McpMethod mcp_method_of(JsonSpan method, bool modern);

/* Every parameter that some method has. */
typedef enum McpParam {
        MCP_PARAM_META,
        MCP_PARAM_NAME,
        MCP_PARAM_ARGUMENTS,
        MCP_PARAM_URI,
        MCP_PARAM_CURSOR,
        MCP_PARAM_LEVEL,
        MCP_PARAM_REF,
        MCP_PARAM_ARGUMENT,
        MCP_PARAM_CONTEXT,
        MCP_PARAM_REQUEST_ID,
        MCP_PARAM_PROTOCOL_VERSION,
        MCP_PARAM_CAPABILITIES,
        MCP_PARAM_NOTIFICATIONS,
        MCP_PARAM_TASK_ID,
        MCP_PARAM_INPUT_RESPONSES,
        MCP_PARAM_REQUEST_STATE,
        _MCP_PARAM_MAX,
} McpParam;

typedef struct McpParams {
        JsonMember of[_MCP_PARAM_MAX]; /* value NULL: absent */
} McpParams;

/* Finds the known parameters; `params` may have no text. Returns 0, or -EBADMSG where one stands there twice. */
int mcp_params_parse(JsonSpan params, McpParams *ret);

static inline bool mcp_param_has(const McpParams *p, McpParam which, JsonType type) {
        return p->of[which].value && p->of[which].type == type;
}

static inline JsonSpan mcp_param(const McpParams *p, McpParam which) {
        return (JsonSpan) { p->of[which].value, p->of[which].value_size };
}

/* What `_meta` of a request says; without a text where it does not. */
typedef struct McpMeta {
        JsonSpan version;       /* modern, if it is there */
        JsonSpan capabilities;  /* modern: an object */
        JsonSpan progress;      /* a string or a number */
        JsonSpan trace;         /* W3C traceparent: a string */
        int log_level;          /* modern: a syslog level, or -1 */
} McpMeta;

/* Returns 0, or -EBADMSG with a reason for a person (a constant) where something in it is not what it must be. */
int mcp_meta_parse(const McpParams *p, McpMeta *ret, const char **reterr_reason);

/* A syslog level of MCP's name for it, or -EINVAL. */
int mcp_level_of(JsonSpan s);
const char *mcp_level_to_string(int level);

/* True where two ids, or progress tokens, are the same: strings by what they say, numbers as they stand. */
bool mcp_id_equal(JsonSpan a, JsonSpan b);
