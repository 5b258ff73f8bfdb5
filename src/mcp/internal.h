/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside the MCP server: connections, requests, answers, calls in flight. */

#include <json-c/json.h>

#include "basic/outq.h"
#include "mcp/mcp.h"
#include "proto/mcp.h"
#include "service/objects.h"

#define MCP_PAGE 50U                 /* entries of a list in one answer */
#define MCP_URI_MAX 1024U            /* bytes of a resource's URI, NUL included */
#define MCP_SUBSCRIPTIONS_MAX 256U   /* of one connection, those of its listens counted */
#define MCP_BATCH_MAX 100U           /* messages of one batch */
#define MCP_FETCHES_MAX 16U          /* of one connection; before the next line is looked at */

typedef struct McpClient McpClient;
typedef struct McpCall McpCall;
typedef struct McpFetch McpFetch;

/* The answers to a batch, which leave together. */
typedef struct McpBatch {
        List link;          /* of its client */
        McpClient *client;
        JsonBuffer out;
        size_t size;        /* of it, as its client's `batched` counts it */
        unsigned pending;   /* requests that are not answered */
        bool open;          /* more of it is to be handled */
        unsigned number;    /* across execve() */
} McpBatch;

/* Where an answer goes to. */
typedef struct McpReply {
        McpClient *client;
        McpBatch *batch;    /* or NULL */
        JsonSpan id;
        McpVersion version;
} McpReply;

typedef struct McpListen {
        List link;
        char *id;           /* of the request, as it stood; NULL for what a legacy client subscribed to */
        bool tools, prompts, resources; /* list_changed */
} McpListen;

typedef struct McpSubscription {
        List link;
        McpListen *listen;  /* NULL: legacy */
        uint64_t seen;      /* what mcp_resource_state() said last */
        char uri[];
} McpSubscription;

struct McpClient {
        McpServer *server;
        List link;
        HotFd io;
        OutQueue out;
        Defer flush;
        Timer timer;        /* after everybody else's turn */
        Peer peer;
        char *buffer;       /* what was received and is not handled yet */
        size_t used, room, scanned;
        bool skipping;      /* an oversized line is passed over */
        bool closing;

        int version;        /* of `initialize`: a McpVersion, or -1 */
        int log_level;      /* of logging/setLevel: a syslog level, or -1 */
        List calls;         /* McpCall.link */
        List fetches;       /* McpFetch.link */
        List batches;
        List listens;
        List subscriptions;
        List asks;          /* McpAsk.link: what it was asked and has not answered */
        unsigned features;  /* of `initialize`: bits of McpFeature, what it may be asked for */
        unsigned n_jobs, n_subscriptions, n_asks, n_fetches;
        size_t batched;     /* bytes of answers that wait for the rest of their batches */
        uint64_t asked;     /* the number of the last question */
        char session[24];   /* of its calls to pooled servers */
};

/* A request while it is handled. */
typedef struct McpRequest {
        McpReply reply;
        McpMethod method;
        McpParams params;
        McpMeta meta;
} McpRequest;

/* --- connection.c --- */
McpClient *mcp_client_alloc(McpServer *s, int fd);
void mcp_client_new(McpServer *s, int fd);
void mcp_client_free(McpClient *c);
int mcp_client_watch(McpClient *c);
void mcp_client_flush(McpClient *c); /* later */
/* Queues a whole message, with its newline. */
void mcp_client_send(McpClient *c, const char *text, size_t size);
int mcp_client_serialize(McpClient *c, struct StateWriter *sw, json_object *o);
int mcp_client_deserialize(McpServer *s, const struct StateReader *sr, const json_object *o);

/* --- session.c --- */
/* Handles one line. */
void mcp_handle_line(McpClient *c, const char *line, size_t size);
/* Tells of what is no message: an error without an id, where the client's version has such a thing. */
void mcp_not_a_message(McpClient *c, int code, const char *text);

/* --- reply.c: text with a sticky error, and answers --- */
typedef struct McpText {
        JsonBuffer b;
        int error;
} McpText;

static inline void mcp_text_done(McpText *t) {
        json_buffer_clear(&t->b);
}
#define _cleanup_mcp_text_ _cleanup_(mcp_text_done)

void put_raw(McpText *t, const char *s);
void put_span(McpText *t, JsonSpan s);
/* A string literal; bytes that are no UTF-8 become U+FFFD. */
void put_string(McpText *t, const char *s, size_t size);
void put_text(McpText *t, const char *s);
void put_format(McpText *t, const char *format, ...) _printf_(2, 3);
/* An object or array as it prints; stays the caller's. */
void put_json(McpText *t, json_object *o);

/* Begins an answer, up to within the result's object: members may follow, each with a comma in front of it where *begin said true. `type` is the modern
 * era's resultType. */
bool mcp_result_begin(const McpReply *r, McpText *t, const char *type);
/* Ends and sends it. */
void mcp_result_end(const McpReply *r, McpText *t);
/* The same with the members of an object, which is taken over; NULL is an empty one. */
void mcp_result(const McpReply *r, json_object *members);
/* An error; `data` is a JSON text or NULL. */
void mcp_error(const McpReply *r, int code, const char *data, const char *format, ...) _printf_(4, 5);
/* No answer will ever come: a batch no longer waits for it. */
void mcp_reply_drop(const McpReply *r);
/* A notification; `params` is a JSON text. */
void mcp_notify(McpClient *c, const char *method, const McpText *params);
/* Passes on an object that some server wrote, with the members that the modern era wants besides (`cacheable`: also those of an answer that
 * may be cached). */
void mcp_result_raw(const McpReply *r, JsonSpan result, bool cacheable);
/* Likewise an error object. */
void mcp_error_raw(const McpReply *r, JsonSpan error);
/* The members that the modern era wants of an answer that may be cached. */
void mcp_put_cache(const McpReply *r, McpText *t, unsigned ttl_ms);

void mcp_batch_end(McpBatch *b);
McpBatch *mcp_batch_free(McpBatch *b);

/* --- call.c: calls that wait for jobs --- */
typedef enum McpCallKind {
        MCP_CALL_EXECUTE,  /* answered at the job's end */
        MCP_CALL_BATCH,    /* at the end of all of them */
        MCP_CALL_SUBMIT,   /* when the job is recorded */
        MCP_CALL_TASK,     /* at its end, or with a task when that takes long */
        MCP_CALL_CLOSE,    /* when the pools are gone; no re-exec happens before */
        MCP_CALL_RESULT,   /* at the end of a job that is not its own, or after so long */
        MCP_CALL_TOOL,     /* of a pooled server: its answer is passed on, or what its worker died of, as a tool's failure */
        MCP_CALL_READ,     /* likewise resources/read */
        MCP_CALL_REQUEST,  /* and other requests; failures are errors */
        _MCP_CALL_KIND_MAX,
} McpCallKind;

typedef struct McpCallJob {
        JobWatch watch;
        McpCall *call;
        Job *job;              /* a reference; NULL: was not accepted */
        Blob *result;          /* BATCH: what is kept of it until the others have ended */
        char *refusal;         /* why */
        const char *code;
        uint64_t duplicate_of; /* the key is that of another job */
} McpCallJob;

struct McpCall {
        List link;
        McpCallKind kind;
        McpReply reply;        /* its id is ours */
        char *progress;        /* the token as it stood, or NULL */
        int log_level;         /* modern: of this request; -1 */
        double told;           /* the last progress that was told */
        Timer timer;           /* the next sign of life, or the end of the wait */
        uint64_t wait_until;   /* RESULT, TASK; 0: to the end */
        uint64_t offset, length; /* RESULT */
        unsigned n_jobs, n_pending;
        char *pool;            /* CLOSE: the id of the pool; NULL: of all that close */
        unsigned n_closed;
        uint64_t held;         /* bytes of results that are kept */
        McpCallJob jobs[];
};

/* A call with room for that many jobs, in its client's list; NULL when out of memory. */
McpCall *mcp_call_new(const McpRequest *q, McpCallKind kind, unsigned n);
/* Watches a job. */
void mcp_call_add(McpCall *call, unsigned i, Job *j);
/* To be called when all jobs were added: answers now where nothing is to wait for. */
void mcp_call_start(McpCall *call);
/* Without an answer; its jobs go on. */
void mcp_call_free(McpCall *call);
/* Likewise, but its jobs are cancelled: nobody wants their results. */
void mcp_call_cancel(McpCall *call);
void mcp_call_done(McpCall *call); /* with its answer */
McpCall *mcp_call_find(McpClient *c, JsonSpan id);
/* call-state.c */
int mcp_call_serialize(McpCall *call, struct StateWriter *sw, json_object *o);
int mcp_call_deserialize(McpClient *c, const struct StateReader *sr, const json_object *o);

/* --- store-call.c: what the store is asked for --- */
struct McpFetch {
        List link;
        McpServer *server;
        McpClient *counted;    /* whose limit it counts for, also when cancelled; NULL: gone */
        McpReply reply;        /* client NULL: gone, or cancelled */
        char *id;              /* the text of reply.id */
        void (*answer)(McpFetch *f); /* answers exactly once */
        StoreRequest *found;
        uint64_t job;
        bool owned;            /* the job must be the peer's, unless that may operate */
        bool resource;         /* errors are JSON-RPC's, not a tool's */
        uint64_t offset, length;
        json_object *kept;     /* what memory has */
        char *text;            /* a query, or a URI */
        FlowCall flow;         /* of a call that waits for a session's change to be stored */
        bool lenient;          /* `answer` is called for failures, too */
        unsigned limit;
};

/* A request of the store; NULL after having answered. */
McpFetch *mcp_fetch_new(const McpReply *r, StoreOp op, bool resource, void (*answer)(McpFetch *f), StoreRequest **ret);
void mcp_fetch_start(StoreRequest *r);
void mcp_fetch_abandon(StoreRequest *r); /* out of memory: answers */
/* A job's record. */
void mcp_fetch_job(const McpReply *r, uint64_t job, unsigned want, bool owned, bool resource, const char *text, void (*answer)(McpFetch *f));
/* Without an answer. What was asked for is still on its way, so it still counts. */
void mcp_fetch_cancel(McpFetch *f);
/* Likewise, for a client that goes away. */
void mcp_fetch_detach(McpFetch *f);
/* One that waits for something else; NULL after having answered. Its end is mcp_fetch_free(), where `reply.client` says whether anybody is to be told. */
McpFetch *mcp_fetch_alloc(const McpReply *r, bool resource, void (*answer)(McpFetch *f));
void mcp_fetch_free(McpFetch *f);
McpFetch *mcp_fetch_find(McpClient *c, JsonSpan id);

/* --- provider.c --- */
typedef enum McpKind {
        MCP_TOOLS,
        MCP_RESOURCES,
        MCP_TEMPLATES,
        MCP_PROMPTS,
        _MCP_KIND_MAX,
} McpKind;

/* A list on its way into an answer. */
typedef struct McpLister {
        const McpReply *reply;
        McpText *text;
        unsigned n;
        const char *after;   /* only entries whose key is above it; NULL: all */
        char last[MCP_URI_MAX]; /* the key of the last entry */
        bool full;
} McpLister;

/* True where the entry is to be written now; it is counted. Keys must come in ascending order. */
bool mcp_list_want(McpLister *l, const char *key);

/* Where tools, resources and prompts come from. Each list is in the order of its keys; members may be NULL. */
typedef struct McpProvider {
        const char *name;
        void (*list[_MCP_KIND_MAX])(McpServer *s, McpLister *l);
        /* Each returns 1 having answered, or being about to; 0 where that is not its own. */
        int (*call)(McpRequest *q, JsonSpan name);
        int (*read)(McpRequest *q, const char *uri);
        int (*get)(McpRequest *q, JsonSpan name);
        /* What a resource is like now: changes when the resource does; 0 where it is not its own or does not exist. */
        uint64_t (*state)(McpClient *c, const char *uri);
} McpProvider;

extern const McpProvider mcp_own_provider;
extern const McpProvider mcp_flow_provider;
void mcp_list(McpRequest *q, McpKind kind);
void mcp_call_tool(McpRequest *q);
void mcp_read_resource(McpRequest *q);
void mcp_get_prompt(McpRequest *q);
uint64_t mcp_resource_state(McpClient *c, const char *uri);

/* resources.c, prompts.c, complete.c: flowd's own */
void mcp_resources_list(McpServer *s, McpLister *l);
void mcp_templates_list(McpServer *s, McpLister *l);
int mcp_resource_read(McpRequest *q, const char *uri);
uint64_t mcp_own_resource_state(McpClient *c, const char *uri);
void mcp_resource_answer(const McpReply *r, const char *uri, json_object *o); /* takes it over */
void mcp_resource_gone(const McpReply *r, const char *uri);
void mcp_prompts_list(McpServer *s, McpLister *l);
int mcp_prompt_get(McpRequest *q, JsonSpan name);
void mcp_complete(McpRequest *q);

/* pooled.c: what the MCP servers that are workers offer, in flowd's own lists */
typedef struct McpEntry {
        char *key;        /* POOL__NAME; of a resource its URI, of a template itself */
        char *name;       /* what the server calls it */
        const char *pool; /* interned */
        char *text;       /* the item as clients see it: the server's text, with that name */
        size_t size;
        size_t order;
} McpEntry;

void mcp_pooled_init(McpServer *s);
void mcp_pooled_done(McpServer *s);
/* Servers that are being asked need not answer any more. */
void mcp_pooled_stop(McpServer *s);
/* Makes the lists anew where pools, or what they offer, have changed, and tells the clients. */
void mcp_pooled_refresh(McpServer *s);
const McpEntry *mcp_pooled_find(const McpServer *s, McpKind kind, JsonSpan key);
/* Whose resource it is: one that is listed, or that a template matches. NULL: nobody's. */
const char *mcp_pooled_owner(const McpServer *s, const char *uri);
/* The name that clients know something by: at most MCP_NAME_MAX bytes of letters, digits, "_", "-" and ".". */
#define MCP_NAME_MAX 64U
void mcp_pooled_name(const char *prefix, const char *name, char buf[static MCP_NAME_MAX + 1]);
/* Whether a template of RFC 6570 may have made the URI. */
bool mcp_template_matches(const char *template, const char *uri);

/* pooled-call.c */
int mcp_pooled_call(McpRequest *q, JsonSpan name);
int mcp_pooled_read(McpRequest *q, const char *uri);
int mcp_pooled_get(McpRequest *q, JsonSpan name);
/* Returns 1 having answered, or being about to; 0 where the reference is none of a pooled server. */
int mcp_pooled_complete(McpRequest *q);
void mcp_pooled_answer(McpCall *call);
/* The client wants to hear of that resource: its server is told, where it is a pooled one and can say so. */
void mcp_pooled_subscribed(McpClient *c, const char *uri);
/* The connection is gone, and so is its session with the pooled servers. */
void mcp_pooled_forget(McpClient *c);
extern const McpProvider mcp_pooled_provider;

/* pooled-ask.c: what a pooled server asks the client whose call it has in hand */
typedef struct McpAsk {
        List link;
        uint64_t id, job, question;
} McpAsk;

bool mcp_ask(McpCall *call, const Job *j, const JobQuestion *q);
/* An answer of the client's. */
void mcp_ask_answered(McpClient *c, const JsonrpcMessage *m);
/* The job has ended (0: all of them, and the client with them): nobody waits for the answer. */
void mcp_asks_drop(McpClient *c, uint64_t job);
unsigned mcp_features_of(JsonSpan capabilities);
void mcp_asks_serialize(McpClient *c, struct StateWriter *sw, json_object *o);
int mcp_asks_deserialize(McpClient *c, const json_object *o);

/* subscriptions.c */
void mcp_subscribe(McpRequest *q);
void mcp_unsubscribe(McpRequest *q);
void mcp_listen(McpRequest *q);
/* Ends the listen of that id. Returns false where there is none. */
bool mcp_unlisten(McpClient *c, JsonSpan id);
void mcp_subscriptions_done(McpClient *c, bool answer);
void mcp_subscriptions_look(McpServer *s);
void mcp_list_changed(McpServer *s, McpKind kind);
/* A pooled server says so of a resource; `session` (NULL: everybody's) is whose server it is. */
void mcp_resource_updated(McpServer *s, const char *uri, bool (*concerns)(const McpClient *c, void *userdata), void *userdata);
void mcp_subscriptions_serialize(McpClient *c, struct StateWriter *sw, json_object *o);
int mcp_subscriptions_deserialize(McpClient *c, const json_object *o);

/* resources-flow.c: sessions */
void mcp_flow_resources_list(McpServer *s, McpLister *l);
void mcp_flow_templates_list(McpServer *s, McpLister *l);
int mcp_flow_resource_read(McpRequest *q, const char *uri);
uint64_t mcp_flow_resource_state(McpClient *c, const char *uri);
void mcp_flow_subscriptions_mark(McpServer *s, const char *session);
/* A call that changes nothing, for whoever that is: its result, or NULL. */
json_object *mcp_flow_look(const McpReply *r, FlowVerb verb, const char *session, const char *task, bool all);

/* tasks.c */
bool mcp_wants_task(const McpRequest *q);
void mcp_task_created(const McpReply *r, const Job *j);
void mcp_tasks_get(McpRequest *q);
void mcp_tasks_update(McpRequest *q);
void mcp_tasks_cancel(McpRequest *q);

/* Helpers */
static inline AuthLevel mcp_level(const McpReply *r) {
        return r->client->peer.level;
}

/* One's own jobs, or any for who may operate. */
static inline bool mcp_may_see(const McpReply *r, uid_t uid) {
        return mcp_level(r) >= LEVEL_OPERATE || r->client->peer.uid == uid;
}
