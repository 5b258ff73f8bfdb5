/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Jobs. A job's end is told exactly once: job_end() moves it to a terminal state first, and every watch is unlinked before it is called. */

#include <errno.h>

#include "worker/job.h"

static const char id_alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

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
        list_init(&j->table_link);
        return j;
}

Job *job_ref(Job *j) {
        j->n_ref++;
        return j;
}

Job *job_unref(Job *j) {
        if (!j || --j->n_ref > 0)
                return NULL;
        assert(list_empty(&j->watches) && !list_linked(&j->queue_link) && !j->timer.armed);
        blob_unref(j->payload);
        blob_unref(j->result);
        free(j->method);
        free(j->session);
        free(j->key);
        free(j->trace);
        free(j->progress_text);
        free(j->error);
        free(j);
        return NULL;
}

void job_progress(Job *j, uint32_t millionths, const char *text, size_t size) {
        size = utf8_cut(text, size, JOB_ERROR_TEXT_MAX);
        j->progress = millionths;
        if (size > 0) {
                char *copy = strndup(text, size);

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

void job_end(Job *j, JobResult *r) {
        static const JobState states[_FRAME_STATUS_MAX] = {
                [FRAME_COMPLETED] = JOB_COMPLETED,
                [FRAME_FAILED] = JOB_FAILED,
                [FRAME_TIMEOUT] = JOB_TIMEOUT,
                [FRAME_CANCELLED] = JOB_CANCELLED,
                [FRAME_REFUSED] = JOB_FAILED,
        };
        List *n;

        assert(!job_ended(j));
        j->state = states[r->status];
        j->finished_usec = now_usec();
        j->result = TAKE_PTR(r->data);
        j->result_kind = r->kind;
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

static const char *const state_names[_JOB_STATE_MAX] = {
        [JOB_QUEUED] = "queued",
        [JOB_RUNNING] = "running",
        [JOB_COMPLETED] = "completed",
        [JOB_FAILED] = "failed",
        [JOB_TIMEOUT] = "timeout",
        [JOB_CANCELLED] = "cancelled",
};

const char *job_state_to_string(JobState s) {
        return state_names[s];
}

int job_state_from_string(const char *s) {
        for (int i = 0; i < _JOB_STATE_MAX; i++)
                if (streq(state_names[i], s))
                        return i;
        return -EINVAL;
}

char *job_id_format(uint64_t id, char buf[JOB_ID_TEXT_MAX]) {
        char *p = buf + JOB_ID_TEXT_MAX - 1;

        *p = 0;
        do {
                *--p = id_alphabet[id & 31];
                id >>= 5;
        } while (id > 0);
        memmove(buf, p, (size_t) (buf + JOB_ID_TEXT_MAX - p));
        return buf;
}

int job_id_parse(const char *s, uint64_t *ret) {
        uint64_t v = 0;
        size_t l = strlen(s);

        if (l == 0 || l > 13)
                return -EINVAL;
        for (; *s; s++) {
                const char *k = strchr(id_alphabet, *s);

                if (!k || v >> 59)
                        return -EINVAL;
                v = v << 5 | (uint64_t) (k - id_alphabet);
        }
        *ret = v;
        return 0;
}
