/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libflow for programs that submit jobs: a connection to flowd's jobs socket. See libflow(3). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One connection, one thread at a time. Functions return a negative errno on failure, and flow_client_error() then says in
 * words what went wrong; `ret` arguments are untouched on failure. Once the connection itself has failed, every call fails with
 * the same error.
 *
 * Two ways to use it. Simple: flow_run() submits one job and blocks for its result. Pipelined: flow_client_submit() any number
 * of jobs, and take what comes from flow_client_next(). Both may be mixed on one connection.
 */
typedef struct FlowClient FlowClient;

/* A job to submit; zeroed members take the defaults. Everything is copied: the caller may reuse it at once. */
typedef struct FlowRequest {
        const char *pool;       /* the pool; NULL: any of the tier, or as flowd chooses */
        const char *tier;       /* "hot", "warm", "cold", or NULL */
        const char *method;     /* for the worker, may be NULL; and so the next three */
        const char *session;
        const char *key;        /* of a durable job also: a second one of that user with the same key is the first one again */
        const char *trace;      /* a W3C traceparent */
        FlowKind kind;          /* what the payload is; FLOW_TEXT by default */
        const void *data;       /* the payload ... */
        size_t size;            /* ... and its bytes */
        bool from_fd;           /* true: the payload is what `fd` holds from its offset to its end, in place of data and size. */
        int fd;                 /* Not closed. A sealed memfd is passed on as it is; anything else is read, blocking */
        uint64_t timeout_usec;  /* run time of one attempt; 0: as the worker type says */
        uint64_t deadline_usec; /* µs since the epoch at which the job ends, run or not; 0: none */
        int priority;
        unsigned durable;       /* 0: lost when flowd dies, 1: survives that, 2: survives a power cut too, 3: as 2, or as 0 where flowd
                                 * has no store (Store=no) */
        bool detached;          /* the job outlives the connection; the only event about it is FLOW_EVENT_ACCEPTED (or a refusal) */
        void *userdata;         /* comes back in the job's events */
        int retries;            /* how many failed attempts are followed by another one; 0: as the worker type says, negative: none */
        uint64_t retry_delay_usec; /* the first delay of the backoff between them; 0: as the worker type says */
        uint64_t not_before_usec;  /* µs since the epoch before which no attempt begins; 0: at once */
        unsigned accept;        /* encodings that the result may come in besides none: the sum of 1 << FlowEncoding. See FlowResult.encoding */
        const char *worker_type; /* only pools with workers of that type, or NULL */
        const char *strategy;   /* how the pool is chosen: "least_loaded", "round_robin", "random", "affinity"; NULL: as flowd is configured */
        const char *fallback;   /* "auto", "none", or the tiers that follow the chosen one, as in "warm cold"; NULL: as flowd is configured */
        unsigned weight;        /* from 1 (light) to 10 (heavy), for the choice of a tier; 0: not said */
        uint64_t queue_timeout_usec; /* how long it may wait for a worker; 0: as the pool says */
} FlowRequest;

/* How a job ended. */
typedef struct FlowResult {
        FlowStatus status;
        FlowKind kind;
        const void *data;       /* the result, not NUL-terminated; never NULL */
        size_t size;
        const char *error;      /* for a person; NULL where there is nothing to tell */
        const char *code;       /* for programs: "QueueFull", "NoSuchPool", "PayloadTooLarge", "NotPermitted" ...; NULL where there is none */
        const char *job_id;     /* flowd's id of the job; NULL where it was refused */
        const char *worker;     /* POOL/SLOT of the last attempt; NULL where it never ran */
        bool retry;             /* the same job may succeed when it is submitted again */
        unsigned attempts;
        uint64_t run_usec;      /* run time of the last attempt */
        uint64_t wait_usec;     /* from acceptance to the last attempt's dispatch */
        const char *tier;       /* "hot", "warm", "cold": that of the pool where it went; NULL where flowd does not say */
        uint64_t size_all;      /* bytes of the whole result: more than `size` where a part was asked for */
        FlowCache cache;        /* how it was answered without being run */
        FlowEncoding encoding;  /* what `data` is in; none but where the request or flow_client_accept() says so, and
                                 * only for results from the cache, or from the store */
        const char *affinity;   /* of a job with a session: "hit", it ran on the worker that the session is bound to, "miss", it was bound to none
                                 * before, "fallback", that one was busy for too long; else NULL */
        void *memory;           /* what the pointers above point into; for flow_result_clear() */
} FlowResult;

typedef enum FlowEventType {
        FLOW_EVENT_ACCEPTED = 1, /* job_id. For a detached job this is the end */
        FLOW_EVENT_PROGRESS = 2, /* fraction, text */
        FLOW_EVENT_LOG = 3,      /* level, text */
        FLOW_EVENT_RESULT = 4,   /* result. The end: `id` is free afterwards */
} FlowEventType;

/* Something that happened to a job. It belongs to the client, as does all that it points to, until the next call with that
 * client. */
typedef struct FlowEvent {
        FlowEventType type;
        uint64_t id;            /* as flow_client_submit() or flow_client_wait_job() gave it */
        void *userdata;         /* the request's */
        const char *job_id;
        double fraction;        /* 0.0 to 1.0, negative where it is unknown */
        int level;              /* a syslog level */
        const char *text;       /* not NUL-terminated */
        size_t text_size;
        FlowResult result;
        bool duplicate;         /* ACCEPTED: the request's key had been given before; job_id is the job that it was given with */
} FlowEvent;

/* --- the connection --- */

/* Connects and exchanges HELLOs, for at most 30 seconds. The socket is RUNTIME/jobs, where RUNTIME is the argument, else
 * $FLOWD_RUNTIME, else /run/flowd when the caller is root or that socket exists, else $XDG_RUNTIME_DIR/flowd, else
 * /run/user/UID/flowd. On failure *ret_error (when ret_error is not NULL) is a text for a person, to be freed with free(); NULL
 * when out of memory. Returns 0; -ENOENT or -ECONNREFUSED: no flowd there; -EACCES: no permission; -ETIMEDOUT; -EPROTO:
 * something else answers there; -ECONNRESET: it hung up; -ENAMETOOLONG; -ENOMEM. */
int flow_client_open(const char *runtime, FlowClient **ret, char **ret_error);
/* The same over a connected stream socket, which the client owns from then on, also on failure. */
int flow_client_open_fd(int fd, FlowClient **ret, char **ret_error);
/* Closes the connection; jobs in flight that are not detached are cancelled by flowd. Takes NULL, returns NULL. */
FlowClient *flow_client_close(FlowClient *c);
/* What went wrong in the last call that failed: one line without a newline, valid until the next failure. Never NULL. */
const char *flow_client_error(const FlowClient *c);

/* --- simple: one at a time --- */

/* Submits a job and blocks until it has ended. Events of other jobs are kept for flow_client_next().
 * Returns 0 with *ret, to be freed with flow_result_clear(), however the job ended: see ret->status. Else -errno. */
int flow_run(FlowClient *c, const FlowRequest *request, FlowResult *ret);
/* Submits a detached job and blocks until flowd has accepted it. The id is written to `ret_job_id`, which has room for
 * FLOW_JOB_ID_SIZE bytes. Returns 0, 1 when it is that of an earlier job with the request's key, -EREMOTEIO when it was refused
 * (flow_client_error() has the reason), or -errno. */
int flow_submit(FlowClient *c, const FlowRequest *request, char *ret_job_id);
/* Blocks until the job of that id has ended. Returns as flow_run() does; an unknown id is a result of status FLOW_REFUSED. */
int flow_wait(FlowClient *c, const char *job_id, FlowResult *ret);
/* The same, but takes only `length` bytes of the result from `offset` on, or fewer where it ends before; 0: all that follow. */
int flow_wait_part(FlowClient *c, const char *job_id, uint64_t offset, uint64_t length, FlowResult *ret);

/* Room for a job's id as text, with its NUL. */
#define FLOW_JOB_ID_SIZE 32

/* Frees what a result owns; takes a zeroed one too. */
void flow_result_clear(FlowResult *result);

/* --- pipelined --- */

/* Queues a job, without blocking: it leaves with the next flow_client_next(), flow_client_process(), or together with enough
 * others. *ret_id (may be NULL) is the job's id on this connection, never 0.
 * Returns 0; -EAGAIN: too much waits to be sent, take events first; -EMSGSIZE: the payload or its metadata is too large;
 * -EINVAL; -ENOMEM; or the connection's or the descriptor's error. */
int flow_client_submit(FlowClient *c, const FlowRequest *request, uint64_t *ret_id);
/* Asks for the result of a detached job, of this or another connection: it comes as FLOW_EVENT_RESULT under *ret_id. Does not
 * block. */
int flow_client_wait_job(FlowClient *c, const char *job_id, void *userdata, uint64_t *ret_id);
/* The same for a part of the result, as flow_wait_part() takes it. */
int flow_client_wait_part(FlowClient *c, const char *job_id, uint64_t offset, uint64_t length, void *userdata, uint64_t *ret_id);
/* Encodings that results may come in which are waited for from now on by the functions above, besides none: the sum of 1 << FlowEncoding; see
 * FlowResult.encoding. Results that are in flowd's store come as they are stored where that is accepted. */
void flow_client_accept(FlowClient *c, unsigned encodings);
/* Asks flowd to end a job of this connection. Its FLOW_EVENT_RESULT still comes. Does not block.
 * Returns 0, -ENOENT when no such job is in flight. */
int flow_client_cancel(FlowClient *c, uint64_t id);
/* Jobs and waits whose last event was not taken yet. flowd allows so many on a connection (JobsPerClient=, 4096 by default). */
size_t flow_client_in_flight(const FlowClient *c);

/* Sends, receives, and takes the next event. timeout_usec: how long to wait for one, 0 not at all, negative for ever.
 * Never deadlocks, however much is in flight: it reads while it writes.
 * Returns 1 with *ret; 0 when the time is over, and at once when nothing is in flight; -EINTR when a signal came while it
 * waited (call again); or -errno. */
int flow_client_next(FlowClient *c, int64_t timeout_usec, const FlowEvent **ret);
/* Moves the result out of a FLOW_EVENT_RESULT, so that it outlives the event; to be freed with flow_result_clear(). Returns 0
 * or -ENOMEM. */
int flow_event_take_result(const FlowEvent *event, FlowResult *ret);

/* --- for programs with a loop of their own --- */

/* The socket, and what to poll it for: POLLIN, and POLLOUT while something waits to be sent. Ask anew before each poll. */
int flow_client_fd(const FlowClient *c);
short flow_client_events(const FlowClient *c);
/* Sends what waits and receives what is there, without blocking; then take events by flow_client_next(c, 0, &event) until it
 * returns 0. Returns 1 when events wait, 0 when not, or -errno. */
int flow_client_process(FlowClient *c);

const char *flow_status_to_string(FlowStatus status); /* "completed" ...; NULL where unknown */
const char *flow_kind_to_string(FlowKind kind);       /* "text" ...; NULL where unknown */

#ifdef __cplusplus
}
#endif
