/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A blocking MCP client of flowd's socket: one request at a time, of the latest legacy version. */

#include <json-c/json.h>

#include "basic/macro.h"

#define MCP_CONNECTION_LINE_MAX (64U * 1024U * 1024U) /* bytes of one message */

typedef struct McpConnection McpConnection;

/* Connects and shakes hands; *ret_hello (may be NULL) is what the server said of itself, the caller's.
 * Returns 0, what runtime_connect() returns, or what mcp_connection_call() returns. */
int mcp_connection_open(const char *runtime, McpConnection **ret, json_object **ret_hello);
McpConnection *mcp_connection_close(McpConnection *c);
DEFINE_CLEANUP(McpConnection *, mcp_connection_close);

/* Sends a request and waits for its answer; `params` are taken over, NULL: none. `note` (may be NULL) is told of each notification meanwhile.
 * Returns 0 with the result, -EREMOTEIO with the server's error in *reterr_text (both are the caller's), -ECONNRESET, -EBADMSG, -ENOMEM, or -errno. */
int mcp_connection_call(McpConnection *c, const char *method, json_object *params, void (*note)(const char *method, json_object *params), json_object **ret,
                    char **reterr_text);
