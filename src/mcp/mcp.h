/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The MCP server: a socket that speaks the Model Context Protocol, a JSON-RPC message a line. */

#include "flow/flow.h"
#include "service/auth.h"
#include "service/events.h"
#include "service/spawn.h"
#include "route/route.h"

struct json_object;
struct StateWriter;
struct StateReader;

typedef struct McpLimits {
        unsigned connections_max, connections_per_user;
        unsigned jobs_per_client;   /* in flight */
        uint64_t json_max;          /* bytes of a message, either way */
        uint64_t client_buffer_max; /* bytes that may wait for a client that does not read */
} McpLimits;

/* What the tools need of the manager; both as in ServerOps of the control room. */
typedef struct McpOps {
        int (*spawn_pool)(void *userdata, const PoolSpawn *spec, StoreRequest *keep, Pool **ret, char **reterr_text);
        int (*close_pool)(void *userdata, Pool *p, uint64_t timeout_usec, char **reterr_text);
} McpOps;

typedef struct McpServer {
        Host *host;
        JobTable *jobs;
        Router *router;
        Flow *flow;
        const EventHistory *events; /* the manager's */
        AuthConfig auth;
        McpLimits limits;
        const McpOps *ops;
        void *userdata;

        int fd;
        sd_event_source *source;
        List clients;
        unsigned n_clients;
        unsigned n_fetches;         /* calls that the store has not answered */
        uint64_t refused_told;
        bool stopping;              /* no new jobs are taken */

        uint64_t secret[2];         /* what makes a task's id unguessable; kept in the state directory */
        Timer watch;                /* looks at what is subscribed to */
        Defer changed;              /* perhaps the pools are others */
        uint64_t pools_hash;        /* of the pools' names */
        struct McpPooled *pooled;   /* what pooled MCP servers offer */
        uint64_t sessions_seen;     /* what flow_list_version() said last */
} McpServer;

/* `state_dir` is where the secret is kept. Returns 0 or -errno. */
int mcp_server_init(McpServer *s, Host *h, JobTable *t, Router *r, const EventHistory *events, const char *state_dir);
void mcp_server_done(McpServer *s);
/* Takes over a listening socket. */
int mcp_server_listen(McpServer *s, int fd);
/* To be called for every event that is kept. */
void mcp_server_event(McpServer *s, const KeptEvent *e);
/* Pools are gone: answers those who wait for that. */
void mcp_server_pool_gone(McpServer *s);
/* flowd stops: no new jobs are taken, and nobody is asked any more. */
void mcp_server_stop(McpServer *s);
/* What the MCP servers of a pool offer has become known, or has changed. */
void mcp_server_catalog(McpServer *s);
/* A notification of one of them, as it stands. */
void mcp_server_notify(McpServer *s, Pool *p, Worker *w, const char *text, size_t size);
/* A session has changed, as FlowOps.changed tells: those who subscribed to it are told at the next look. */
void mcp_server_session_changed(McpServer *s, const char *session);
/* Reads from the clients again, after Host.hold. */
void mcp_server_resume(McpServer *s);

int mcp_server_serialize(McpServer *s, struct StateWriter *sw, struct json_object *o);
int mcp_server_deserialize(McpServer *s, const struct StateReader *sr, const struct json_object *o);
