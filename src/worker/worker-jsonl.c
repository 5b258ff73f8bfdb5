/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The jsonl adapter: a job a line out, a message a line in. A line may be as long as JsonMax=, and is scanned for its end only once. */

#include <errno.h>
#include <unistd.h>

#include "proto/jsonl.h"
#include "worker/worker.h"

#define LINE_ROOM_MIN (64U * 1024U)

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
                r.error = strndup(strempty(m->data), utf8_cut(strempty(m->data), m->size, JOB_ERROR_TEXT_MAX)); /* kept for long: short */
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

/* Handles the whole lines in the buffer, and moves what is left to its front. */
static int take_lines(Worker *w) {
        size_t start = 0;
        uint8_t *nl;

        while ((nl = memchr(w->buffer + w->scanned, '\n', w->used - w->scanned))) {
                int r = on_line(w, (char *) w->buffer + start, (size_t) (nl - w->buffer) - start);

                if (r < 0)
                        return r;
                start = w->scanned = (size_t) (nl - w->buffer) + 1;
        }
        memmove(w->buffer, w->buffer + start, w->used - start);
        w->used -= start;
        w->scanned = w->used;
        if (w->used == 0 && w->room > LINE_ROOM_MIN) { /* a long line's room is not kept */
                free(w->buffer);
                w->buffer = NULL;
                w->room = 0;
        }
        return 0;
}

/* Where only one job can be meant, it has ended: another attempt would say the same. */
static void line_too_long(Worker *w) {
        char span[16];

        worker_set_reason(w, "sent a line above JsonMax=%s", size_format(span, sizeof(span), w->host->json_max));
        for (unsigned i = 0; i < w->n_slots && w->n_running == 1; i++)
                if (w->slots[i].state == SLOT_RUNNING) {
                        JobResult r = { .status = FRAME_FAILED, .code = "ResultTooLarge", .final = true,
                                        .error = str_printf("the worker %s", strna(w->reason)) };

                        worker_slot_result(&w->slots[i], &r);
                        return;
                }
}

static int make_room(Worker *w) {
        size_t max = w->host->json_max + LINE_ROOM_MIN;
        uint8_t *p;

        if (w->room - w->used >= 4096)
                return 0;
        if (w->room >= max) {
                line_too_long(w);
                return -EMSGSIZE;
        }
        size_t room = MIN(MAX(w->room * 2, (size_t) LINE_ROOM_MIN), max);
        p = realloc(w->buffer, room);
        if (!p)
                return -ENOMEM;
        w->buffer = p;
        w->room = room;
        return 0;
}

static int jsonl_input(Worker *w, size_t limit) {
        for (size_t total = 0; total < limit;) {
                ssize_t n;
                int r = make_room(w);

                if (r < 0)
                        return r;
                size_t room = w->room - w->used;
                do
                        n = read(w->io.fd, w->buffer + w->used, room);
                while (n < 0 && errno == EINTR);
                if (n == 0) {
                        if (w->used > 0 && w->n_running > 0)
                                worker_set_reason(w, "ended in the middle of a line");
                        return -EPIPE;
                }
                if (n < 0)
                        return -errno;
                w->used += (size_t) n;
                total += (size_t) n;
                w->heard_usec = now_usec();
                r = take_lines(w);
                if (r < 0)
                        return r;
        }
        return 0;
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
