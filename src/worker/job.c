/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Jobs. A job's end is told exactly once: job_end() moves it to a terminal state first, and every watch is unlinked before it is called. */

#include <errno.h>

#include "worker/job.h"

void job_result_done(JobResult *r) {
        r->data = blob_unref(r->data);
        free(r->error);
        r->error = NULL;
}

Job *job_new(void) {
        Job *j = new0(Job, 1);

        if (!j)
                return NULL;
        j->n_ref = 1;
        list_init(&j->watches);
        list_init(&j->queue_link);
        list_init(&j->class_link);
        list_init(&j->table_link);
        list_init(&j->flight_link);
        return j;
}

Job *job_ref(Job *j) {
        if (j)
                j->n_ref++;
        return j;
}

Job *job_unref(Job *j) {
        if (!j || --j->n_ref > 0)
                return NULL;
        assert(list_empty(&j->watches) && !list_linked(&j->queue_link) && !j->timer.armed && !j->flight);
        blob_unref(j->payload);
        blob_unref(j->result);
        free(j->method);
        free(j->session);
        free(j->key);
        free(j->trace);
        free(j->route.attempts);
        free(j->progress_text);
        free(j->error);
        if (j->ending)
                job_result_done(j->ending);
        free(j->ending);
        free(j);
        return NULL;
}

void job_progress(Job *j, uint32_t millionths, const char *text, size_t size) {
        size = utf8_cut(text, size, JOB_ERROR_TEXT_MAX);
        j->progress = millionths;
        if (size > 0) {
                char *copy = memdup_text(text, size);

                if (copy) {
                        free(j->progress_text);
                        j->progress_text = copy;
                }
        }
        LIST_FOREACH_SAFE(l, next, &j->watches) {
                JobWatch *w = list_entry(l, JobWatch, link);

                if (w->progress)
                        w->progress(w, j, millionths, text, size);
        }
}

void job_log(Job *j, int level, const char *text, size_t size) {
        LIST_FOREACH_SAFE(l, next, &j->watches) {
                JobWatch *w = list_entry(l, JobWatch, link);

                if (w->log)
                        w->log(w, j, level, text, size);
        }
}

bool job_ask(Job *j, const JobQuestion *q) {
        LIST_FOREACH_SAFE(l, next, &j->watches) {
                JobWatch *w = list_entry(l, JobWatch, link);

                if (w->ask && w->ask(w, j, q))
                        return true;
        }
        return false;
}

JobState job_state_of(FrameStatus s) {
        static const JobState states[_FRAME_STATUS_MAX] = {
                [FRAME_COMPLETED] = JOB_COMPLETED,
                [FRAME_FAILED] = JOB_FAILED,
                [FRAME_TIMEOUT] = JOB_TIMEOUT,
                [FRAME_CANCELLED] = JOB_CANCELLED,
                [FRAME_REFUSED] = JOB_FAILED,
        };

        return states[s];
}

void job_end(Job *j, JobResult *r) {
        List *n;

        assert(!job_ended(j));
        j->state = r->dead ? JOB_DEAD : job_state_of(r->status);
        if (!j->stored) /* else when the end was known, not when it was recorded */
                j->finished_usec = now_usec();
        j->result = TAKE_PTR(r->data);
        j->result_kind = r->kind;
        j->encoding = r->encoding;
        j->cache = r->cache;
        free(j->error);
        j->error = TAKE_PTR(r->error);
        j->code = r->code;
        j->retry = r->retry;
        j->payload = blob_unref(j->payload);
        j->worker = NULL;
        j->pool = NULL;
        while ((n = list_first(&j->watches))) {
                JobWatch *w = list_entry(n, JobWatch, link);

                list_remove(&w->link);
                w->end(w, j);
        }
}

void job_accept(Job *j) {
        LIST_FOREACH_SAFE(l, next, &j->watches) {
                JobWatch *w = list_entry(l, JobWatch, link);

                if (w->accepted)
                        w->accepted(w, j);
        }
}

void job_refuse(Job *j, const JobRefusal *r) {
        List *n;

        while ((n = list_first(&j->watches))) {
                JobWatch *w = list_entry(n, JobWatch, link);

                list_remove(&w->link);
                w->refused(w, j, r);
        }
}

FrameStatus job_status(const Job *j) {
        switch (j->state) {
        case JOB_COMPLETED:
                return FRAME_COMPLETED;
        case JOB_TIMEOUT:
                return FRAME_TIMEOUT;
        case JOB_CANCELLED:
                return FRAME_CANCELLED;
        default:
                return FRAME_FAILED;
        }
}
