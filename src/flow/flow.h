/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The room's front: all sessions of this flowd, kept in the store; their executable tasks are durable jobs; calls for control and MCP. */

#include <json-c/json.h>

#include "basic/timer.h"
#include "flow/session.h"
#include "store/store.h"
#include "worker/host.h"
#include "worker/job.h"

typedef struct Flow Flow;

typedef struct FlowConfig {
        FlowThresholds limits;
        unsigned sessions_max;   /* FlowSessionsMax=1000 that are not archived */
        unsigned tasks_max;      /* FlowTasksMax=20000 of a session */
        uint64_t expire_usec;    /* FlowExpire=30d: unchanged for so long, a session is archived, and an archived one removed */
} FlowConfig;

void flow_config_default(FlowConfig *c);

/* What the room needs of the house above it. */
typedef struct FlowOps {
        /* As route_submit(). */
        int (*submit)(void *userdata, Job *j, const char *pool, const char *tier, char **reterr_text);
        void (*cancel)(void *userdata, Job *j);
        Job *(*find)(void *userdata, uint64_t id); /* a live job, or NULL */
        /* Something of that session has changed; at most once in a round of the loop. May be NULL. */
        void (*changed)(void *userdata, const char *session);
} FlowOps;

/* `host` must outlive it. Nothing is loaded yet. */
int flow_new(Host *host, const FlowConfig *config, const FlowOps *ops, void *userdata, Flow **ret);
/* Behind the store's end. */
Flow *flow_free(Flow *f);
DEFINE_CLEANUP(Flow *, flow_free);
/* Changed thresholds, and limits. */
void flow_configure(Flow *f, const FlowConfig *config);
/* The store is there, or its health has changed: takes over the sessions of an earlier run, once its jobs are loaded; what is active goes on.
 * NULL takes the store away. Returns 0 or -errno. */
int flow_load(Flow *f, Store *store);
/* Progress that waits to be stored does not wait any longer: before a re-exec. */
void flow_flush(Flow *f);
/* Whether something is on its way to the store: not in its queue yet. */
bool flow_pending(const Flow *f);
/* flowd stops: nothing is taken any more, what has changed goes to the store. Ends of jobs that still run are taken. */
void flow_stop(Flow *f);

FlowSession *flow_find(const Flow *f, const char *id);
unsigned flow_sessions(const Flow *f); /* that are not archived */
List *flow_session_list(Flow *f); /* FlowSession.link, archived ones too */
/* Changes whenever there are other sessions than before, archived or not. */
uint64_t flow_list_version(const Flow *f);

/* ---- calls: what control, MCP and flowctl ask. Arguments and results are JSON objects; docs/flow.md has them. */

typedef enum FlowVerb {
        VERB_CREATE,    /* create_session */
        VERB_ADD,       /* add_task */
        VERB_SUBMIT,    /* add_tasks */
        VERB_COMPLETE,  /* complete_task */
        VERB_PULSE,     /* pulse */
        VERB_TODOS,     /* set_comprehensive_todos */
        VERB_REST,      /* enter_rest_mode */
        VERB_WAKE,
        VERB_REBALANCE, /* rebalance_flow */
        VERB_EXPAND,
        VERB_CANCEL,    /* cancel_task */
        VERB_DEPEND,
        VERB_ARCHIVE,   /* session_archive */
        VERB_MERGE,
        VERB_IMPORT,
        VERB_STATUS,    /* flow_status; this and what follows change nothing, and are for everybody who may look */
        VERB_LIST,      /* session_list */
        VERB_SHOW,
        VERB_EXPLAIN,
        VERB_EXPORT,
        _VERB_MAX,
        _VERB_READ = VERB_STATUS,
} FlowVerb;

/* "create_session", or NULL where MCP has no tool of it. */
const char *flow_verb_tool(FlowVerb v);

typedef struct FlowCaller {
        uid_t uid;
        bool operator_;          /* may change what belongs to others */
} FlowCaller;

typedef struct FlowCall {
        List link;
        /* Called later, where flow_call() has returned 1, when the change is on the disk. */
        void (*done)(struct FlowCall *c);
        void *userdata;
        json_object *result;     /* the caller's to put */
        const char *error;       /* NULL, or "NoSuchSession", "NoSuchTask", "FlowRefused", "NotPermitted", "StoreUnavailable", "LimitReached" */
        char *message;           /* for a person, with an error; the caller's to free */
} FlowCall;

/* Carries a call out. Members of `args` may be named as Varlink does (session, task) or as the tools do (sessionId, taskId). `c` is zeroed, but for
 * `done` and `userdata`. Returns 0 when it is done, well or not, and 1 when c->done() will be called. */
int flow_call(Flow *f, FlowVerb verb, const FlowCaller *who, json_object *args, FlowCall *c);
/* The caller goes away: nobody is told. */
void flow_call_abandon(FlowCall *c);
/* Frees result and message. */
void flow_call_done(FlowCall *c);

/* "8 hours", "overnight" (until 8 o'clock), "extended" (3 days), "30min", "infinity" (until it is woken): when a rest that begins now ends, or -EINVAL. */
int flow_rest_until(const char *duration, uint64_t now, uint64_t *ret);
