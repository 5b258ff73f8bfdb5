/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libflow for worker authors: a program that takes jobs from flowd over the frame protocol on its stdin and stdout. See
 * libflow(3). */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Everything here is for one thread. Functions return a negative errno on failure.
 *
 * The library takes stdin and stdout over: from flow_worker_new() on, fd 0 is /dev/null and fd 1 is what stderr is, so that a
 * stray printf() goes to the journal and corrupts nothing. SIGPIPE is ignored from then on.
 */
typedef struct FlowWorker FlowWorker;
typedef struct FlowJob FlowJob;

/* What a handler returns when it will complete the job later. */
#define FLOW_LATER 1

/* Called for each job. Returns 0 once it has called flow_job_complete() or flow_job_fail(), and FLOW_LATER when it will.
 * A negative errno, and 0 without either call, fail the job: with -ECANCELED as cancelled, with -EAGAIN as one that may be
 * tried again. */
typedef int (*FlowHandler)(FlowJob *job, void *userdata);
/* Called when flowd cancels a job that the handler returned FLOW_LATER for; such a job must be completed or failed soon after,
 * here or later. */
typedef void (*FlowCancelled)(FlowJob *job, void *userdata);

typedef struct FlowWorkerOptions {
        unsigned slots;          /* jobs that may be in hand at a time; 0 is 1 */
        FlowCancelled cancelled; /* may be NULL: then flow_job_cancelled() tells */
        bool batch;              /* the handler never takes long: results of jobs that came together may leave together */
} FlowWorkerOptions;

/* --- the simple form --- */

/* Serves jobs until flowd closes the connection, and what is in hand then is done. NULL options are the defaults.
 * Returns an exit status for main(): 0, or 1 after a line on stderr that says what went wrong. */
int flow_worker_run(FlowHandler handler, void *userdata, const FlowWorkerOptions *options);

/* --- for programs with a loop of their own --- */

/* Takes stdin and stdout over and announces the worker, so that flowd knows it as ready.
 * Returns 0; -ENOTSOCK when stdin and stdout are no sockets or pipes: somebody started the program by hand; -ENOMEM; -errno. */
int flow_worker_new(FlowHandler handler, void *userdata, const FlowWorkerOptions *options, FlowWorker **ret);
/* The same over other descriptors, which may be one and the same; the worker owns them from then on, also on failure. */
int flow_worker_new_fds(int in, int out, FlowHandler handler, void *userdata, const FlowWorkerOptions *options, FlowWorker **ret);
/* A descriptor that is readable (POLLIN) whenever flow_worker_process() has something to do. It belongs to the worker. */
int flow_worker_fd(const FlowWorker *w);
/* Receives, calls the handler for what came, and sends, without blocking.
 * Returns 1: go on; 0: flowd has closed the connection, and all is done and sent; -errno: the connection is broken (-EBADMSG,
 * -EPROTO: not by frames; -ECONNRESET, -EPIPE: flowd went away in the midst). */
int flow_worker_process(FlowWorker *w);
/* Jobs in hand: those that a handler returned FLOW_LATER for, and those that wait for the handler. */
size_t flow_worker_jobs(const FlowWorker *w);
/* Frees the worker; jobs in hand are gone with it, unanswered. Takes NULL, returns NULL. */
FlowWorker *flow_worker_free(FlowWorker *w);

/* --- a job: what the pointers point to lives as long as the job --- */

const char *flow_job_id(const FlowJob *job);           /* as flowctl prints it */
unsigned flow_job_attempt(const FlowJob *job);         /* 1 for the first */
const char *flow_job_method(const FlowJob *job);       /* NULL where the client gave none; and so the next three */
const char *flow_job_session(const FlowJob *job);
const char *flow_job_key(const FlowJob *job);
const char *flow_job_trace(const FlowJob *job);        /* a W3C traceparent */
uint64_t flow_job_deadline(const FlowJob *job);        /* µs since the epoch; 0: none */
FlowKind flow_job_kind(const FlowJob *job);
/* The payload: *ret_size bytes (ret_size may be NULL), not NUL-terminated, not to be written to. Never NULL. */
const void *flow_job_data(const FlowJob *job, size_t *ret_size);
FlowWorker *flow_job_worker(const FlowJob *job);
/* A pointer of the program's own, NULL at first. */
void flow_job_set_userdata(FlowJob *job, void *userdata);
void *flow_job_userdata(const FlowJob *job);

/* --- ending it: the job is gone afterwards, unless the call failed or its handler has not returned yet --- */

/* Sends the result; the data are copied, except that a payload given back unchanged is passed on where it lies.
 * Returns 0, -EMSGSIZE when flowd does not take so much, -ENOMEM, -EALREADY. */
int flow_job_complete(FlowJob *job, FlowKind kind, const void *data, size_t size);
/* Ends it as failed. retry: the same job may succeed when it is tried again. Returns as flow_job_complete(). */
int flow_job_fail(FlowJob *job, const char *message, bool retry);

/* --- while it runs --- */

/* fraction: 0.0 to 1.0, or negative where that is unknown; message may be NULL. Also a sign of life. Returns 0 or -errno; when
 * flowd does not read, reports are dropped. */
int flow_job_progress(FlowJob *job, double fraction, const char *message);
/* A line for whoever waits for the job and for the journal, at most 8 KiB of it; level is a syslog level. Returns 0, -EAGAIN
 * when flowd does not read. */
int flow_job_log(FlowJob *job, int level, const char *format, ...) __attribute__((__format__(__printf__, 3, 4)));
int flow_job_logv(FlowJob *job, int level, const char *format, va_list ap) __attribute__((__format__(__printf__, 3, 0)));
/* Has flowd cancelled the job, or gone away? Looks at the connection, without blocking; also a sign of life. Call it now and
 * then in a handler that takes long, and return -ECANCELED when it is true. */
bool flow_job_cancelled(FlowJob *job);
/* A sign of life from a handler that takes long, for workers with HeartbeatInterval=; cheap enough for a loop. */
void flow_job_alive(FlowJob *job);

#ifdef __cplusplus
}
#endif
