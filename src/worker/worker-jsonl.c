/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The jsonl adapter: a job a line out, a message a line in. */

#include <errno.h>

#include "proto/jsonl.h"
#include "worker/worker.h"

static int jsonl_start(Worker *w) {
        return w->type->ready_explicit ? 0 : 1;
}

static int jsonl_assign(Worker *w, WorkerSlot *s) {
        Job *j = s->job;
        _cleanup_free_ char *line = NULL;
        char id[JOB_ID_TEXT_MAX];
        const uint8_t *data = NULL;
        size_t size;
        int r;

        if (blob_size(j->payload) > w->host->json_max)
                return -EMSGSIZE;
        if (j->payload) {
                r = blob_data(j->payload, &data);
                if (r < 0)
                        return r;
        }
        JsonlJob job = {
                .id = job_id_format(j->id, id),
                .attempt = s->attempt,
                .method = j->method,
                .session = j->session,
                .deadline_usec = j->deadline_usec,
                .kind = j->kind,
                .payload = data ? (const void *) data : "",
                .payload_size = blob_size(j->payload),
        };
        r = jsonl_job_encode(&job, &line, &size);
        if (r < 0)
                return r;
        if (size > w->host->json_max)
                return -EMSGSIZE;
        return outq_bytes(&w->out, line, size);
}

static int jsonl_cancel(Worker *w, WorkerSlot *s) {
        _cleanup_free_ char *line = NULL;
        char id[JOB_ID_TEXT_MAX];
        size_t size;

        if (jsonl_cancel_encode(job_id_format(s->job_id, id), s->state == SLOT_RUNNING ? "soft-timeout" : NULL, &line, &size) < 0)
                return 0;
        return outq_bytes(&w->out, line, size) < 0 ? 0 : 1;
}

static void on_result(Worker *w, WorkerSlot *s, JsonlMessage *m) {
        JobResult r = { .status = m->type == JSONL_RESULT ? FRAME_COMPLETED : FRAME_FAILED, .kind = m->kind, .retry = m->retry,
                        .final = m->retry_said && !m->retry };

        if (m->type == JSONL_ERROR)
                r.error = memdup_text(strempty(m->data), utf8_cut(strempty(m->data), m->size, JOB_ERROR_TEXT_MAX)); /* kept for long: short */
        else if (m->size > w->type->result_max) {
                char a[16], b[16];

                r.status = FRAME_FAILED;
                r.code = "ResultTooLarge";
                r.final = true;
                r.error = str_printf("the result has %s, above ResultMax=%s", size_format(a, sizeof(a), m->size),
                                     size_format(b, sizeof(b), w->type->result_max));
        } else {
                r.data = blob_new_copy(m->data, m->size);
                if (!r.data) {
                        r.status = FRAME_FAILED;
                        r.error = strdup("out of memory for the result");
                }
        }
        worker_slot_result(s, &r);
}

static int on_line(Worker *w, const char *line, size_t size) {
        _cleanup_jsonl_message_ JsonlMessage m = {};
        const char *why = NULL;
        uint64_t id = 0;
        int r;

        r = jsonl_message_decode(line, size, &m, &why);
        if (r == 0)
                return 0;
        if (r < 0) {
                worker_set_reason(w, "sent a line that is no message: %s%s", strna(why),
                                  size > 0 && line[0] == '{' ? "" : "; does something in it print to stdout?");
                return r;
        }
        if (m.type == JSONL_READY) {
                if (w->state == WORKER_STARTING)
                        worker_event(w, WORKER_EV_READY);
                return 0;
        }
        WorkerSlot *s = job_id_parse(m.job, &id) < 0 ? NULL : worker_find_slot(w, id, 0);
        switch (m.type) {
        case JSONL_RESULT:
        case JSONL_ERROR:
                if (!s)
                        return worker_stray_result(w, id, 0);
                on_result(w, s, &m);
                return 0;
        case JSONL_PROGRESS:
                if (s && s->state == SLOT_RUNNING)
                        job_progress(s->job, (uint32_t) (m.fraction * 1e6), strempty(m.data), m.size);
                return 0;
        case JSONL_LOG:
                worker_log_line(w, s && s->state == SLOT_RUNNING ? s->job : NULL, m.level, strempty(m.data), m.size);
                return 0;
        default:
                return 0;
        }
}

static int jsonl_input(Worker *w, size_t limit) {
        return worker_read_lines(w, limit, on_line);
}

static void jsonl_nothing(Worker *w) {
        (void) w;
}

const WorkerProtocol worker_protocol_jsonl = {
        .start = jsonl_start,
        .assign = jsonl_assign,
        .cancel = jsonl_cancel,
        .input = jsonl_input,
        .exited = jsonl_nothing,
        .done = jsonl_nothing,
};
