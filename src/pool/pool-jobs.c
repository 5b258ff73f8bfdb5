/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The jobs of a pool: accepted or refused, queued, waiting for their time or for the store, tried again, ended. A job that is with a pool stands in
 * its queue (it may be dispatched), among its waiting ones (it may not yet), or in a worker's slot; where it stands, and nothing else, says
 * which. What ends it here ends it once: pool_finish() takes it out of the pool first.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/fault.h"
#include "pool/durable.h"
#include "pool/pool-internal.h"

#define FULL_TELL_USEC (60 * USEC_PER_SEC)    /* a full queue is told of so often */

/* --- the end of jobs --- */

static void count_end(Pool *p, const Job *j, JobState state) {
        uint64_t *counters[_JOB_STATE_MAX] = {
                [JOB_COMPLETED] = &p->stats.completed,
                [JOB_FAILED] = &p->stats.failed,
                [JOB_TIMEOUT] = &p->stats.timeout,
                [JOB_CANCELLED] = &p->stats.cancelled,
                [JOB_DEAD] = &p->stats.failed,
        };
        uint64_t now = now_usec();

        ++*counters[state];
        histogram_add(&p->stats.latency, now - j->accepted_usec);
        if (j->dispatched_usec > 0)
                histogram_add(&p->stats.run, now - j->dispatched_usec);
}

/* Ends a job that is in no queue and with no worker any more. */
void pool_finish(Pool *p, Job *j, JobResult *r) {
        static const char *const codes[_FRAME_STATUS_MAX] = { NULL, "Failed", "Timeout", "Cancelled", "Refused" };
        EventFields f = pool_fields(p);

        pool_leave_session(p, j);
        job_ref(j);
        f.job = j->id;
        f.session = j->session;
        if (!r->code)
                r->code = codes[r->status];
        if (r->status == FRAME_FAILED)
                event_send(p->host, EVENT_JOB_FAILED, &f, "A job of pool %s failed: %s", p->name, r->error ? r->error : "the worker gave no reason");
        timer_disarm(&p->host->timers, &j->timer);
        cached_end(p, j, r);
        count_end(p, j, r->dead ? JOB_DEAD : job_state_of(r->status));
        j->pool = j->worker = NULL;
        if (j->stored)
                durable_end(p->jobs, j, r);
        else {
                job_end(j, r);
                job_table_end(p->jobs, j);
                if (!j->detached) /* whoever waited has it; nobody else will ask */
                        j->result = blob_unref(j->result);
        }
        job_unref(j);
}

/* Out of the queue, or out of those that may not be dispatched yet. */
void pool_unqueue(Pool *p, Job *j) {
        if (j->waiting) {
                list_remove(&j->queue_link);
                p->n_waiting--;
        } else {
                job_queue_remove(j);
                p->n_queued--;
                p->n_parked -= j->parked;
        }
        j->waiting = j->parked = false;
        pool_leave_session(p, j);
        p->queued_bytes -= j->payload_size;
        timer_disarm(&p->host->timers, &j->timer);
        cached_unqueued(j);
}

void pool_end_queued(Pool *p, Job *j, FrameStatus status, const char *code, const char *text) {
        JobResult r = { .status = status, .code = code, .error = text ? strdup(text) : NULL };

        pool_unqueue(p, j);
        pool_finish(p, j, &r);
        pool_dispatch_later(p);
}

/* flowd stops: a recorded job leaves memory as it is, and goes on when flowd is there again. */
void pool_suspend_job(Pool *p, Job *j) {
        char id[JOB_ID_TEXT_MAX], text[160];

        if (!j->stored || j->recording)
                return;
        if (list_linked(&j->queue_link))
                pool_unqueue(p, j);
        pool_leave_session(p, j);
        j->pool = NULL;
        snprintf(text, sizeof(text), "flowd is stopping; the job is recorded and goes on when flowd runs again: flowctl wait %s", job_id_format(j->id, id));
        job_ref(j);
        job_table_forget(p->jobs, j);
        job_refuse(j, &(JobRefusal) { .code = "Stopping", .text = text });
        job_unref(j);
        pool_dispatch_later(p);
}

void pool_cancel(Pool *p, Job *j) {
        if (j->recording)
                j->cancel_wanted = true;
        else if (j->state == JOB_QUEUED)
                pool_end_queued(p, j, FRAME_CANCELLED, NULL, "cancelled while it was queued");
        else if (j->state == JOB_RUNNING && j->worker)
                worker_end_job(j->worker, j, FRAME_CANCELLED, "cancelled while it was running");
}

bool pool_cancel_job(JobTable *t, Job *j) {
        JobResult r = { .status = FRAME_CANCELLED, .code = "Cancelled" };

        if (job_ended(j) || j->ending)
                return false;
        if (j->pool)
                pool_cancel(j->pool, j);
        else if (j->stored) { /* its pool is not configured any more */
                list_remove(&j->queue_link);
                r.error = strdup("cancelled while it waited for its pool");
                durable_end(t, j, &r);
        }
        return true;
}

/* --- the queue --- */

/* Jobs that may not be dispatched yet: they are being recorded, their time has not come, or their last attempt is not proven over. */
static void wait_in(Pool *p, Job *j) {
        j->state = JOB_QUEUED;
        j->worker = NULL;
        j->waiting = true;
        list_append(&p->waiting, &j->queue_link);
        p->n_waiting++;
        p->queued_bytes += j->payload_size;
}

/* Where its priority and its age put it; a job that is tried again after a crash keeps its age. */
static void enqueue(Pool *p, Job *j) {
        uint64_t now = now_usec();

        if (j->queued_usec == 0 && j->attempts == 0) /* not what needs no worker, and no attempt but the first */
                scale_arrived(&p->scale, now);
        if (!j->again || j->queued_usec == 0)
                j->queued_usec = now;
        j->again = j->elsewhere = false;
        job_queue_add(&p->queue, j);
        p->late |= p->permanent || p->state == POOL_DEGRADED;
        p->n_queued++;
        p->queued_bytes += j->payload_size;
        j->state = JOB_QUEUED;
        j->worker = NULL;
        pool_dispatch_later(p);
}

static void on_job_timer(Timer *t);

/* Out of a pool that is not configured any more, in no list of which it stands: a recorded job waits for one of its name, another has ended. */
static void leave_closing(Pool *p, Job *j) {
        JobResult r = { .status = FRAME_FAILED, .code = "PoolUnavailable" };

        if (j->stored) {
                cached_abandon(j);
                durable_set_aside(p->jobs, j);
                return;
        }
        r.error = strdup("its pool is not configured any more");
        pool_finish(p, j, &r);
}

static void leave_queue(Job *j, void *userdata) {
        Pool *p = userdata;

        if (!j->stored || p->stopping)
                return;
        if (p->jobs->stranded && p->jobs->stranded(p->jobs, j)) /* it did not ask for this pool, whose name may never be seen again */
                return;
        pool_unqueue(p, j);
        leave_closing(p, j);
}

void pool_leave_queue(Pool *p) {
        pool_foreach_queued(p, leave_queue, p);
}

void pool_leave_waiting(Pool *p, bool followers) {
        LIST_FOREACH_SAFE(l, n, &p->waiting) {
                Job *j = list_entry(l, Job, queue_link);

                if (j->recording || (cached_waits(j) && !(followers && j->stored)))
                        continue;
                pool_unqueue(p, j);
                leave_closing(p, j);
        }
}

static uint64_t queue_timeout(const Pool *p, const Job *j) {
        return j->queue_timeout_usec > 0 ? j->queue_timeout_usec : p->config->queue_timeout_usec;
}

/* A time of CLOCK_REALTIME on the clock of timers. */
static uint64_t monotonic_of(uint64_t real_usec) {
        uint64_t real = realtime_usec();

        return now_usec() + (real_usec > real ? real_usec - real : 0);
}

void pool_arm_job(Pool *p, Job *j) {
        uint64_t until = j->deadline_usec > 0 ? monotonic_of(j->deadline_usec) : USEC_INFINITY;

        if (j->waiting)
                until = j->not_before_usec > 0 && !cached_waits(j) ? MIN(until, monotonic_of(j->not_before_usec)) : until;
        else
                until = MIN(until, j->queue_until);
        if (j->parked)
                until = MIN(until, j->park_until);
        j->timer.fire = on_job_timer;
        if (until != USEC_INFINITY || j->timer.armed)
                timer_arm(&p->host->timers, &j->timer, until);
}

/* Into the queue, or where it waits for its time. */
static void place(Pool *p, Job *j) {
        if (j->not_before_usec > 0 && j->not_before_usec > realtime_usec()) {
                /* what is to begin later would keep a pool that closes for as long as somebody likes */
                if (p->state == POOL_CLOSING && !p->stopping) {
                        leave_closing(p, j);
                        return;
                }
                wait_in(p, j);
        } else if (cached_begin(p, j))
                wait_in(p, j);
        else {
                enqueue(p, j);
                j->queue_until = usec_after(queue_timeout(p, j));
        }
        pool_arm_job(p, j);
}

static void on_job_timer(Timer *t) {
        Job *j = CONTAINER_OF(t, Job, timer);
        Pool *p = j->pool;
        uint64_t now = now_usec();
        char text[160], span[64];

        if (j->deadline_usec > 0 && realtime_usec() >= j->deadline_usec)
                pool_end_queued(p, j, FRAME_TIMEOUT, NULL, "the job's deadline passed while it was queued");
        else if (j->waiting) {
                pool_unqueue(p, j);
                place(p, j);
        } else if (now >= j->queue_until) {
                snprintf(text, sizeof(text), "the job waited in the queue of pool %s for %s (QueueTimeout=)", p->name,
                         usec_format(span, sizeof(span), queue_timeout(p, j)));
                pool_end_queued(p, j, FRAME_TIMEOUT, "QueueTimeout", text);
        } else if (j->parked && now >= j->park_until) {
                j->elsewhere = true;
                pool_unpark(p, j);
        } else
                pool_arm_job(p, j);
}

void pool_requeue_restored(Pool *p, Job *j) {
        j->pool = p;
        j->pool_name = p->name;
        if (j->recording) {
                wait_in(p, j); /* its slot says when it may go on */
                return;
        }
        uint64_t until = j->queue_until;
        j->again = until > 0;
        place(p, j);
        if (until > 0 && j->pool && !j->waiting) {
                j->queue_until = until;
                pool_arm_job(p, j);
        }
}

void pool_adopt(Pool *p, Job *j) {
        j->pool = p;
        j->pool_name = p->name;
        LIST_FOREACH(l, &p->workers)
                if (worker_hold(list_entry(l, Worker, link), j)) { /* retried by hand while its last attempt is not over yet */
                        j->recording = true;
                        wait_in(p, j);
                        return;
                }
        if (durable_requeue(p, j, NULL, NULL) >= 0)
                wait_in(p, j);
        else
                place(p, j);
}

void pool_move(Pool *to, Job *j) {
        Pool *from = j->pool;
        uint64_t until = j->queue_until, wait;

        pool_unqueue(from, j);
        pool_dispatch_later(from);
        j->pool = to;
        j->pool_name = to->name;
        cached_moved(to, j);
        if (to->config->rate_limit > 0)
                (void) token_bucket_take(&to->rate, to->config->rate_limit, to->config->rate_burst, now_usec(), &wait);
        scale_arrived(&to->scale, now_usec());
        place(to, j); /* its attempt is recorded, and so is the pool that has accepted it, for good: the payload's sum covers that */
        if (until > 0 && !j->waiting) { /* its patience is not longer for that */
                j->queue_until = MIN(j->queue_until, until);
                pool_arm_job(to, j);
        }
}

/* Its attempt is proven over, and is to be followed by another. */
static void try_again(Pool *p, Job *j) {
        if (j->stored && durable_requeue(p, j, j->code, j->error) >= 0)
                wait_in(p, j);
        else
                place(p, j);
        if (j->cancel_wanted && !j->recording)
                (void) pool_cancel_job(p->jobs, j);
}

void pool_recorded(Pool *p, Job *j, bool accepted) {
        pool_unqueue(p, j);
        place(p, j);
        if (accepted)
                job_accept(j);
        if (j->cancel_wanted)
                (void) pool_cancel_job(p->jobs, j);
        else if (p->stopping && j->pool == p)
                pool_suspend_job(p, j);
}

void pool_not_recorded(Pool *p, Job *j, const JobRefusal *why) {
        pool_unqueue(p, j);
        j->pool = NULL;
        if (why->duplicate_of == 0) {
                p->stats.refused++;
                p->jobs->refused++;
        }
        job_ref(j);
        job_table_forget(p->jobs, j);
        job_refuse(j, why);
        job_unref(j);
        pool_dispatch_later(p);
}

static void tell_full(Pool *p) {
        EventFields f = pool_fields(p);
        uint64_t now = now_usec();

        if (p->full_told > 0 && now - p->full_told < FULL_TELL_USEC)
                return;
        p->full_told = now;
        event_send(p->host, EVENT_POOL_FULL, &f, "Pool %s is saturated: %u job%s (QueueMax=%u), %u of Max=%u workers run", p->name, p->n_queued,
                   p->n_queued == 1 ? " waits" : "s wait", p->config->queue_max, p->n_workers, p->config->max);
}

void pool_refused(Pool *p, int error) {
        p->stats.refused++;
        if (error == -EXFULL)
                tell_full(p);
}

static int unwilling(int error, char **reterr_text, const char *format, ...) _printf_(3, 4);
static int unwilling(int error, char **reterr_text, const char *format, ...) {
        va_list ap;
        char *text;

        if (!reterr_text) /* the router only asks whether */
                return error;
        va_start(ap, format);
        int r = vasprintf(&text, format, ap);
        va_end(ap);
        *reterr_text = r < 0 ? NULL : text;
        return error;
}

int pool_admits(const Pool *p, uint64_t payload_size, const char *session, char **reterr_text) {
        char a[16], b[16], span[64];
        uint64_t wait;

        if (payload_size > p->config->type->payload_max)
                return unwilling(-EMSGSIZE, reterr_text, "the payload has %s, and worker type %s takes PayloadMax=%s", size_format(a, sizeof(a), payload_size),
                                 p->config->type->name, size_format(b, sizeof(b), p->config->type->payload_max));
        if (p->state == POOL_CLOSING)
                return unwilling(-ENOTCONN, reterr_text, "pool %s is closing", p->name);
        if ((p->state == POOL_FAILED || p->state == POOL_DEGRADED) && p->n_usable == 0)
                return unwilling(-ENOTCONN, reterr_text, "pool %s is %s: %s; see 'flowctl pool show %s'", p->name, pool_state_to_string(p->state),
                                 strna(p->reason), p->name);
        if (pool_exclusive(p) && !session)
                return unwilling(-EDESTADDRREQ, reterr_text, "pool %s takes jobs of sessions only (SessionExclusive=yes); name one, such as with --session=",
                                 p->name);
        if (p->n_queued + p->n_waiting >= p->config->queue_max && p->n_queued + p->n_waiting >= p->config->queue_max + pool_room(p))
                return unwilling(-EXFULL, reterr_text, "the queue of pool %s is full: %u job%s, QueueMax=%u", p->name, p->n_queued + p->n_waiting,
                                 p->n_queued + p->n_waiting == 1 ? " waits" : "s wait", p->config->queue_max);
        if (p->queued_bytes + payload_size > p->config->queue_bytes_max)
                return unwilling(-EXFULL, reterr_text, "the queue of pool %s is full: %s of payload wait, QueueBytesMax=%s", p->name,
                                 size_format(a, sizeof(a), p->queued_bytes), size_format(b, sizeof(b), p->config->queue_bytes_max));
        wait = p->config->rate_limit > 0 ? token_bucket_wait(&p->rate, p->config->rate_limit, p->config->rate_burst, now_usec()) : 0;
        if (wait > 0)
                return unwilling(-EDQUOT, reterr_text, "pool %s takes RateLimit=%u jobs a second; come again in %s", p->name, p->config->rate_limit,
                                 usec_format(span, sizeof(span), wait));
        return 0;
}

static int submit(Pool *p, Job *j, char **reterr_text) {
        uint64_t wait;
        int r;

        r = pool_admits(p, j->payload_size, j->session, reterr_text);
        j->probing = r < 0 && cached_may_probe(p, j, r); /* what is in the cache needs no room here */
        if (r < 0 && !j->probing)
                return r;
        if (j->probing) {
                free(*reterr_text);
                *reterr_text = NULL;
        }
        if (p->config->rate_limit > 0)
                (void) token_bucket_take(&p->rate, p->config->rate_limit, p->config->rate_burst, now_usec(), &wait);
        r = job_table_add(p->jobs, j);
        if (r < 0) {
                *reterr_text = strdup("out of memory");
                return r;
        }
        j->pool = p;
        j->pool_name = p->name;
        j->accepted_usec = now_usec();
        j->accepted_real_usec = realtime_usec();
        if (j->durability == DURABLE_NO) {
                place(p, j);
                return cached_probes(j);
        }
        r = durable_add(p->jobs, j, reterr_text);
        if (r < 0) {
                j->pool = NULL;
                job_table_forget(p->jobs, j);
                return r;
        }
        wait_in(p, j);
        return 1;
}

int pool_submit(Pool *p, Job *j, char **reterr_text) {
        int r = submit(p, j, reterr_text);

        if (r < 0) {
                pool_refused(p, r);
                p->jobs->refused++;
        }
        return r;
}

const char *pool_refusal_code(int error) {
        switch (error) {
        case -EXFULL:
                return "QueueFull";
        case -ENOTCONN:
                return "PoolUnavailable";
        case -EMSGSIZE:
                return "PayloadTooLarge";
        case -ENOENT:
                return "NoSuchPool";
        case -EPERM:
                return "NotPermitted";
        case -EDQUOT:
                return "RateLimited";
        case -EDESTADDRREQ:
                return "SessionRequired";
        case -EROFS:
                return "StoreUnavailable";
        default:
                return "LimitReached";
        }
}

/* --- what workers say of them --- */

/* The delay before attempt `failures` + 1: full jitter under an exponential bound. */
static uint64_t retry_delay(const WorkerType *t, const Job *j) {
        uint64_t bound = j->retry_usec > 0 ? j->retry_usec : t->retry_usec;

        for (uint32_t i = 1; i < j->failures && bound < t->retry_max_usec; i++)
                bound *= 2;
        bound = MIN(bound, t->retry_max_usec);
        return bound > 0 ? random_u64() % (bound + 1) : 0;
}

/* Counts the failure, too. */
static bool may_retry(const Pool *p, Job *j, const JobResult *r) {
        uint32_t retries = j->own_retries ? j->retries : p->config->type->retries;

        if (r->status != FRAME_FAILED && r->status != FRAME_TIMEOUT)
                return false;
        j->failures++;
        if (r->final || j->failures > retries || (p->stopping && !j->stored)) /* a recorded job has its next attempt in flowd's next run */
                return false;
        return j->deadline_usec == 0 || realtime_usec() < j->deadline_usec;
}

/* Another attempt, after a delay; at the earliest when this one is proven over. */
static void retry(Pool *p, Worker *w, Job *j, JobResult *r) {
        EventFields f = worker_fields(w);
        char span[64];

        uint64_t delay = retry_delay(p->config->type, j);
        f.job = j->id;
        f.session = j->session;
        event_send(p->host, EVENT_JOB_RETRIED, &f, "Attempt %u of a job of pool %s ended as %s: %s; it is tried again in %s", j->attempts, p->name,
                   frame_status_to_string(r->status), r->error ? r->error : "no reason was given", usec_format(span, sizeof(span), delay));
        j->not_before_usec = delay > 0 ? realtime_usec() + delay : 0;
        free(j->error);
        j->error = TAKE_PTR(r->error);
        j->code = r->code;
        job_result_done(r);
        if (worker_hold(w, j)) { /* timed out: its worker has been told, and has not confirmed */
                j->recording = true;
                wait_in(p, j);
        } else
                try_again(p, j);
}

void pool_job_end(Worker *w, Job *j, JobResult *r) {
        Pool *p = w->pool;

        p->n_running--;
        if (p->jobs->attempt_ended)
                p->jobs->attempt_ended(p->jobs, j, r->status, now_usec() - j->dispatched_usec);
        scale_ran(&p->scale, now_usec() - j->dispatched_usec);
        pool_leave_session(p, j);
        pool_breaker_probe(p, w, r->status);
        if (may_retry(p, j, r))
                retry(p, w, j, r);
        else
                pool_finish(p, j, r);
}

void pool_job_released(Worker *w, Job *j) {
        Pool *p = w->pool;

        j->recording = false;
        pool_unqueue(p, j);
        if (p->stopping && j->stored && !j->cancel_wanted)
                pool_suspend_job(p, j);
        else
                try_again(p, j);
}

void pool_job_lost(Worker *w, Job *j) {
        Pool *p = w->pool;
        EventFields f = worker_fields(w);
        WorkerEnd end = worker_end(w);
        char how[400], a[64], b[16];

        p->n_running--;
        pool_leave_session(p, j);
        f.job = j->id;
        f.end = &end;
        worker_describe_exit(w, how, sizeof(how));
        if (p->stopping && j->stored) {
                pool_suspend_job(p, j);
                return;
        }
        if (!w->stop_wanted)
                w->poisoned = ++j->crashes > 1;
        if (j->crashes >= w->type->max_crashes) {
                _cleanup_free_ char *tail = worker_stderr_tail(w, 512);
                JobResult r = { .status = FRAME_FAILED, .code = "Crashed", .dead = j->stored,
                                .error = str_printf("its worker %s %s; cause: %s; attempt %u, %u crashes, MaxCrashes=%u; it had used %s of CPU time and %s of "
                                                    "memory%s%s",
                                                    w->name, how, end.cause, j->attempts, j->crashes, w->type->max_crashes,
                                                    usec_format(a, sizeof(a), end.user_usec + end.system_usec), size_format(b, sizeof(b), end.max_rss),
                                                    tail && *tail ? "; it last said: " : "", strempty(tail)) };

                event_send(p->host, EVENT_JOB_DEAD, &f, "Gave up a job of pool %s: %s", p->name, strna(r.error));
                hook_tell(p, HOOK_DEAD_JOB, end.cause, w->name, j->id, r.error);
                pool_finish(p, j, &r);
                return;
        }
        event_send(p->host, EVENT_JOB_REQUEUED, &f, "%s %s; its job is queued again", w->name, how);
        j->again = true;
        try_again(p, j);
}
