/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between the files of the MCP adapter: messages (worker-mcp.c), calls (worker-mcp-call.c), lists (worker-mcp-lists.c). */

#include "worker/mcp-catalog.h"
#include "worker/worker.h"

typedef enum McpPhase {
        MCP_HANDSHAKE,
        MCP_SERVING,
        MCP_REFUSED, /* the handshake has failed: nothing that it says counts any more */
} McpPhase;

/* Requests of flowd's own: one of each at a time. */
typedef enum McpOwn {
        MCP_OWN_DISCOVER,
        MCP_OWN_INITIALIZE,
        MCP_OWN_LIST,
        MCP_OWN_LISTEN, /* modern: for as long as the server lives */
        _MCP_OWN_MAX,
} McpOwn;

/* What the server asks, and a client has not answered. */
typedef struct McpQuestion {
        uint64_t id;   /* for the client; 0: none */
        uint64_t job;  /* whose client is asked */
        char *request; /* the server's id, as it wrote it */
} McpQuestion;

#define MCP_QUESTIONS_MAX 16U

typedef struct McpWorker {
        Worker *worker;
        McpPhase phase;
        McpRevision version;
        uint64_t sequence;          /* of the last request */
        uint64_t own[_MCP_OWN_MAX]; /* their ids while they wait for an answer, else 0 */
        unsigned noise;             /* lines in a row that were of no use */
        unsigned unread;            /* answers to it that wait in the output queue, at the most */

        McpQuestion questions[MCP_QUESTIONS_MAX];
        uint64_t question;          /* the id of the last one */

        /* lists */
        unsigned offers;            /* bits of McpList */
        unsigned todo;              /* bits: to be asked for in this go */
        McpList current;
        JsonBuffer text;            /* its items so far */
        unsigned n, pages;
        bool ready_after;           /* it is told to be ready when the lists are there */
        Timer timer;                /* the answer is late; or: it is time to ask anew */
} McpWorker;

#define MCP_NOISE_MAX 10000U          /* lines without an answer between them that are no messages, or about nothing */
#define MCP_UNREAD_MAX 4096U          /* answers to a server that asks and does not read */
#define MCP_LIST_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define MCP_LIST_PAUSE_USEC (1 * USEC_PER_SEC) /* between two goes, however often it says that its lists have changed */

/* An id for a request: flowd's own numbers, never used twice, and they say what they are for. */
#define MCP_INDEX_BITS 11U
#define MCP_INDEX_MASK ((1U << MCP_INDEX_BITS) - 1)
uint64_t mcp_worker_next_id(McpWorker *m, unsigned index);

int mcp_worker_send_own(Worker *w, McpOwn own, const char *method, JsonSpan params);
/* The _meta of a request: flowd's own members, and those of `meta` (which may have no text) that they do not stand for. */
int mcp_worker_append_meta(const McpWorker *m, uint64_t id, JsonSpan meta, JsonBuffer *b);
JsonSpan mcp_worker_id_span(uint64_t id, char buf[static 24]);

/* --- calls --- */

/* The request line of a job. Returns 0, -ENODATA (no method), -EINVAL (the payload is no object), -EOPNOTSUPP (a method that only flowd may use),
 * -EBADMSG, -E2BIG, -ENOMEM. */
int mcp_worker_call_encode(const McpWorker *m, Job *j, uint64_t id, JsonBuffer *b);
/* A slot's answer. */
void mcp_worker_call_end(WorkerSlot *s, const JsonrpcMessage *msg);
void mcp_worker_call_progress(Worker *w, JsonSpan params);
/* A log message of the server. */
void mcp_worker_log(Worker *w, JsonSpan params);

/* --- questions --- */

/* A request of the server's that is no ping: hands it to the client whose call is in hand, or appends the answer that there is none.
 * Returns 0 or -ENOMEM. */
int mcp_worker_ask(Worker *w, const JsonrpcMessage *msg, JsonBuffer *b);
/* The server does not want to know any more. */
void mcp_worker_ask_cancelled(Worker *w, JsonSpan params);
/* The call has ended (0: all have, and the server with them). */
void mcp_worker_ask_end(Worker *w, uint64_t job);
void mcp_worker_ask_serialize(const McpWorker *m, struct StateWriter *sw, struct json_object *o);
int mcp_worker_ask_deserialize(McpWorker *m, const struct json_object *o);

/* --- lists --- */

/* The handshake is over: `answer` is the server's word about itself. Tells that the worker is ready, now or when the lists are there. */
void mcp_worker_lists_begin(Worker *w, JsonSpan answer, JsonSpan capabilities);
void mcp_worker_lists_answer(Worker *w, const JsonrpcMessage *msg);
/* The server says that a list has changed. */
void mcp_worker_lists_changed(Worker *w, McpList l);
/* After a re-exec. */
void mcp_worker_lists_resume(Worker *w);
void mcp_worker_lists_end(Worker *w);
