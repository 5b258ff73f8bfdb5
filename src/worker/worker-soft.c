/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * JobSoftTimeout=: a worker is asked to come to an end with a job, and the job is still its own. What it answers in time counts, a partial result for
 * instance; any other answer than a result is the timeout. At JobTimeout= the job is taken from it all the same.
 */

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "worker/worker.h"

static void on_soft_timer(Timer *t) {
        WorkerSlot *s = CONTAINER_OF(t, WorkerSlot, soft);
        Worker *w = s->worker;
        EventFields f = worker_fields(w);
        char span[64];

        if (s->state != SLOT_RUNNING || w->state >= WORKER_STOPPING)
                return;
        s->soft_told = true;
        f.job = s->job_id;
        event_send(w->host, EVENT_JOB_OVERDUE, &f, "A job on %s is asked to end: no result within JobSoftTimeout=%s", w->name,
                   usec_format(span, sizeof(span), w->type->soft_timeout_usec));
        if (w->protocol->cancel(w, s) > 0)
                worker_flush_later(w);
        else
                (void) worker_signal_group(w, SIGTERM); /* exec */
}

void worker_soft_arm(WorkerSlot *s, uint64_t now, uint64_t until) {
        Worker *w = s->worker;
        uint64_t soft = w->type->soft_timeout_usec;

        s->soft.fire = on_soft_timer;
        s->soft_told = false;
        if (soft < USEC_INFINITY - now && now + soft < until)
                timer_arm(&w->host->timers, &s->soft, now + soft);
}

void worker_soft_disarm(WorkerSlot *s) {
        timer_disarm(&s->worker->host->timers, &s->soft);
}

void worker_soft_result(WorkerSlot *s, JobResult *r) {
        Worker *w = s->worker;
        char span[64];

        if (!s->soft_told || (r->status != FRAME_FAILED && r->status != FRAME_CANCELLED))
                return;
        char *error = str_printf("no result within JobSoftTimeout=%s; its worker says: %s", usec_format(span, sizeof(span), w->type->soft_timeout_usec),
                                 r->error ? r->error : frame_status_to_string(r->status));
        r->status = FRAME_TIMEOUT;
        r->code = NULL;
        free(r->error);
        r->error = error;
}

void worker_soft_restore(WorkerSlot *s, bool told, uint64_t until) {
        s->soft.fire = on_soft_timer;
        s->soft_told = told;
        if (until > 0)
                timer_arm(&s->worker->host->timers, &s->soft, until);
}
