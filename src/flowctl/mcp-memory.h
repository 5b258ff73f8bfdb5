/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the bridge remembers of a session, so that a flowd that was restarted can be told: its handshake, level, subscriptions, and what is in flight. */

#include "basic/list.h"
#include "proto/jsonrpc.h"

#define MCP_REPLAY_MAX (64U * 1024U) /* bytes of a request that is sent again; a larger one gets an error */

typedef struct McpMemory {
        char *initialize;     /* the whole line, without its end; NULL: none yet */
        char *initialized;
        char *level;
        List subscriptions;   /* by URI */
        List flights;         /* requests without an answer, oldest first */
        List replayed;        /* ids whose answers are not the client's: it has had them */
        unsigned n_flights;
        unsigned n_swallow;   /* acknowledgements likewise */
        size_t kept;          /* bytes of requests that flowd has not been told of */
} McpMemory;

void mcp_memory_init(McpMemory *m);
void mcp_memory_done(McpMemory *m);

/* A line on its way to flowd; which is `away` if it is to be sent when there is one again. Returns 0 or -ENOMEM. */
int mcp_memory_sent(McpMemory *m, const char *line, size_t size, bool away);
/* A line on its way to the client: whether it is to be passed on. */
bool mcp_memory_received(McpMemory *m, const char *line, size_t size);
/* The connection is lost: appends an error for every request that may not be done twice. Returns 0 or -ENOMEM. */
int mcp_memory_lost(McpMemory *m, JsonBuffer *to_client);
/* There is a new one: appends all that flowd has to know, and then the requests that wait; and for the client that lists may have changed.
 * Returns 0 or -ENOMEM. */
int mcp_memory_replay(McpMemory *m, JsonBuffer *to_server, JsonBuffer *to_client);
/* Nobody will answer: appends an error with that text for everything that waits. Returns 0 or -ENOMEM. */
int mcp_memory_refuse(McpMemory *m, JsonBuffer *to_client, const char *text);
