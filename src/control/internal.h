/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The Varlink side: a connection, the call that it is waiting for, and the methods. */

#include "control/server.h"
#include "proto/varlink.h"
#include "service/objects.h"

typedef enum Pending {
        PENDING_NONE,
        PENDING_RUN,     /* answered at the job's end */
        PENDING_SUBMIT,  /* answered when the job is recorded */
        PENDING_WAIT,
        PENDING_STORE,   /* answered when the store has done something; no re-exec happens before */
        PENDING_FLOW,    /* the same for a change of a session */
        PENDING_EVENTS,  /* until the peer goes away */
        PENDING_WATCH,
        PENDING_REEXEC,
        PENDING_CLOSE,   /* until pools that close are gone; no re-exec happens before */
} Pending;

typedef struct StoreCall StoreCall;

typedef struct ControlClient {
        Server *server;
        List link;
        HotFd io;
        OutQueue out;
        Defer flush;
        Peer peer;
        char *buffer;       /* what was received and is not handled yet */
        size_t used, room, scanned;
        bool closing;

        Pending pending;    /* one call at a time, as Varlink wants it */
        bool more, oneway;  /* of the call in hand */
        Job *job;           /* RUN, SUBMIT, WAIT: a reference */
        StoreCall *call;    /* STORE: what the store is asked for */
        FlowCall flow;      /* FLOW */
        JobWatch watch;
        Timer timer;        /* WATCH */
        uint64_t interval;
        char *pool_filter;  /* EVENTS; CLOSE: the pool's id, NULL: all */
        unsigned n_closed;  /* CLOSE */
} ControlClient;

typedef struct Method {
        const char *name;
        void (*call)(ControlClient *c, json_object *parameters);
        AuthLevel level;
} Method;

#define SESSIONS_LISTED 1000U /* at most, in one answer */

/* The methods of io.flowd, ended by a NULL name. */
extern const Method control_methods[];

/* Answers the call in hand; `parameters` are taken over, NULL is an empty object. */
void control_reply(ControlClient *c, json_object *parameters, bool continues);
void control_error(ControlClient *c, const char *error, json_object *parameters);
/* An error of io.flowd whose parameters are a few of its own (taken over, may be NULL) and a message. */
void control_fail(ControlClient *c, const char *name, json_object *parameters, const char *format, ...) _printf_(4, 5);
/* The job is not the peer's own, and it may not look at others'. */
void control_others_job(ControlClient *c);
void control_others_session(ControlClient *c);
void control_invalid(ControlClient *c, const char *parameter);
void control_events_start(ControlClient *c, const char *pool, unsigned limit);
void control_watch_start(ControlClient *c, uint64_t interval);
void control_pending_done(ControlClient *c);
void control_job_start(ControlClient *c, Job *j, Pending pending);
void control_submitted(ControlClient *c, uint64_t job, bool duplicate);
/* Answers with the result of a job that has ended. */
void control_job_answer(ControlClient *c, Job *j);
/* Answers at the end of a job that is live, or with the result of one that has ended, here or in the store. */
void control_wait_start(ControlClient *c, uint64_t job);
json_object *control_job_result(Job *j, bool *ret_too_large, uint64_t json_max);

/* parameters.c: absent and null are the same. The latter two return 1, 0 where absent, or -EINVAL after having answered. */
bool parameter_get(json_object *p, const char *key, json_object **ret);
int parameter_text(ControlClient *c, json_object *p, const char *key, const char **ret);
int parameter_int(ControlClient *c, json_object *p, const char *key, int64_t min, int64_t max, int64_t *ret);
/* A job's id, which must be there. Returns 0, or -EINVAL after having answered. */
int parameter_job(ControlClient *c, json_object *p, const char *key, uint64_t *ret);

/*
 * store-call.c: a call that the store answers. It outlives its client, who may leave meanwhile: what was asked for still happens, and nobody is told.
 */
struct StoreCall {
        ControlClient *client;  /* NULL: gone */
        Server *server;
        void (*answer)(ControlClient *c, StoreCall *call); /* answers exactly once, or starts another call */
        void (*done)(StoreCall *call); /* NULL, or called before that, however it has ended and also when the client is gone; may set found->error */
        bool lenient;           /* `answer` is called for failures too */
        StoreRequest *found;    /* what the store has done */
        uint64_t id;            /* of a job that the call is about, or 0 */
        bool owned;             /* the job must be the peer's, unless that may operate */
        uint64_t offset, length;/* JobResult */
        json_object *listed;    /* ListJobs: those that memory has */
};

/* A request, with the call as its userdata; NULL after having answered. What it owns is freed in the end. */
StoreRequest *store_call_new(ControlClient *c, StoreOp op, void (*answer)(ControlClient *c, StoreCall *call));
void store_call_start(StoreRequest *r);
/* In place of that: there is no memory for what the request needs. */
void store_call_abandon(ControlClient *c, StoreRequest *r);
/* A job's record, from the store; what it tells of the job is on the disk. */
void store_call_job(ControlClient *c, uint64_t id, unsigned want, bool owned, void (*answer)(ControlClient *c, StoreCall *call));
/* Answers for a job that neither memory nor the store knows, for one that runs, and for one that cannot be queued again. */
void control_no_such_job(ControlClient *c, const char *id);
void control_not_ended(ControlClient *c, uint64_t id);
void control_payload_gone(ControlClient *c, uint64_t id);

/* The pool that a parameter names; NULL after having answered. */
Pool *need_pool(ControlClient *c, json_object *p, const char *key);

/* methods-mcp.c */
void method_pool_tools(ControlClient *c, json_object *p);

/* methods-route.c */
/* Where a job wants to go, out of the parameters of Submit(), Run() and ExplainRoute(); the texts are theirs. 0, or -EINVAL after having answered. */
int control_route_request(ControlClient *c, json_object *p, RouteRequest *ret);
void method_explain_route(ControlClient *c, json_object *p);
void method_list_methods(ControlClient *c, json_object *p);

/* Drops a request that was not started, and goes on without. */
void store_call_drop(StoreRequest *r);

/* methods-pool.c */
void method_scale_pool(ControlClient *c, json_object *p);
void method_drain_pool(ControlClient *c, json_object *p);
void method_resume_pool(ControlClient *c, json_object *p);
void method_spawn_pool(ControlClient *c, json_object *p);
void method_close_pool(ControlClient *c, json_object *p);
void method_close_all_pools(ControlClient *c, json_object *p);

/* methods-store.c */
void method_list_jobs(ControlClient *c, json_object *p);
void method_show_job(ControlClient *c, json_object *p);
void method_retry_job(ControlClient *c, json_object *p);
void method_job_result(ControlClient *c, json_object *p);
void method_purge_jobs(ControlClient *c, json_object *p);
void method_store_stats(ControlClient *c, json_object *p);
void method_check_store(ControlClient *c, json_object *p);
void method_backup_store(ControlClient *c, json_object *p);
void method_vacuum_store(ControlClient *c, json_object *p);
void method_accept_loss(ControlClient *c, json_object *p);
void method_cache_stats(ControlClient *c, json_object *p);
void method_list_cache(ControlClient *c, json_object *p);
void method_purge_cache(ControlClient *c, json_object *p);

/* methods-session.c */
void method_list_sessions(ControlClient *c, json_object *p);
void method_forget_session(ControlClient *c, json_object *p);

/* methods-flow.c */
void method_flow_create(ControlClient *c, json_object *p);
void method_flow_add(ControlClient *c, json_object *p);
void method_flow_submit(ControlClient *c, json_object *p);
void method_flow_complete(ControlClient *c, json_object *p);
void method_flow_pulse(ControlClient *c, json_object *p);
void method_flow_todos(ControlClient *c, json_object *p);
void method_flow_rest(ControlClient *c, json_object *p);
void method_flow_wake(ControlClient *c, json_object *p);
void method_flow_rebalance(ControlClient *c, json_object *p);
void method_flow_expand(ControlClient *c, json_object *p);
void method_flow_cancel(ControlClient *c, json_object *p);
void method_flow_depend(ControlClient *c, json_object *p);
void method_flow_archive(ControlClient *c, json_object *p);
void method_flow_merge(ControlClient *c, json_object *p);
void method_flow_import(ControlClient *c, json_object *p);
void method_flow_status(ControlClient *c, json_object *p);
void method_flow_list(ControlClient *c, json_object *p);
void method_flow_show(ControlClient *c, json_object *p);
void method_flow_explain(ControlClient *c, json_object *p);
void method_flow_export(ControlClient *c, json_object *p);
