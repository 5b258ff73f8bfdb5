/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The exec adapter: one process, one job. The payload goes to its stdin and then comes EOF; what it writes to stdout until its exit is the
 * result, and the exit status decides, unless flowd was ending it: then the job is lost with it and tried again, as with the other protocols.
 * Output above ResultMax= ends it at once. Input that it does not read is no error.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/json-scan.h"
#include "worker/worker.h"

#define OUTPUT_ROOM_MIN (4U * 1024U)
#define ERROR_TAIL_MAX 1024U /* bytes of stderr in a failed job's error */

static int exec_start(Worker *w) {
        (void) w;
        return 1;
}

static int exec_assign(Worker *w, WorkerSlot *s) {
        int r = outq_blob(&w->out, s->job->payload);

        if (r >= 0 && outq_empty(&w->out))
                worker_close_input(w); /* nothing to send: EOF at once */
        return r;
}

static int exec_cancel(Worker *w, WorkerSlot *s) {
        (void) w;
        (void) s;
        return 0;
}

static int exec_input(Worker *w, size_t limit) {
        for (size_t total = 0; total < limit;) {
                ssize_t n;

                if (w->used == w->room) {
                        size_t room = MAX(w->room * 2, (size_t) OUTPUT_ROOM_MIN);
                        uint8_t *p;

                        if (w->used > w->type->result_max)
                                return -EMSGSIZE;
                        p = realloc(w->buffer, MIN(room, (size_t) w->type->result_max + OUTPUT_ROOM_MIN));
                        if (!p)
                                return -ENOMEM;
                        w->buffer = p;
                        w->room = MIN(room, (size_t) w->type->result_max + OUTPUT_ROOM_MIN);
                }
                do
                        n = read(w->io.fd, w->buffer + w->used, w->room - w->used);
                while (n < 0 && errno == EINTR);
                if (n == 0)
                        return -EPIPE;
                if (n < 0)
                        return -errno;
                w->used += (size_t) n;
                total += (size_t) n;
                if (w->used > w->type->result_max) {
                        char span[16];

                        worker_set_reason(w, "wrote more than ResultMax=%s", size_format(span, sizeof(span), w->type->result_max));
                        return -EMSGSIZE;
                }
        }
        return 0;
}

/* The result of a process that exited 0. */
static void result_success(Worker *w, JobResult *r) {
        JsonType type;

        r->kind = (PayloadKind) w->type->output;
        if (r->kind != PAYLOAD_BYTES && !utf8_valid(w->buffer, w->used)) {
                r->status = FRAME_FAILED;
                r->error = str_printf("its output is not valid UTF-8, and Output=%s; say Output=bytes", payload_kind_to_string(r->kind));
                return;
        }
        if (r->kind == PAYLOAD_JSON && json_check((const char *) w->buffer, w->used, JSON_DEPTH_MAX, &type) < 0) {
                r->status = FRAME_FAILED;
                r->error = strdup("its output is not JSON, and Output=json");
                return;
        }
        r->data = blob_new_copy(w->buffer, w->used);
        if (!r->data) {
                r->status = FRAME_FAILED;
                r->error = strdup("out of memory for the result");
        }
}

static void exec_exited(Worker *w) {
        WorkerSlot *s = &w->slots[0];
        char how[512];
        JobResult r = {};

        if (s->state != SLOT_RUNNING)
                return;
        if (w->stop_wanted && w->stop_step > 0)
                return; /* flowd made it end while it had a job, for an operator for instance: how it exits is not its own word */
        if (w->exit_code != CLD_EXITED && w->stop_step == 0 && !w->reason && !s->soft_told)
                return; /* killed from outside, or crashed: lost with its worker, and perhaps tried again */
        if (s->soft_told && (w->exit_code != CLD_EXITED || w->exit_status != 0))
                worker_set_cause(w, CAUSE_TIMEOUT);
        if (w->exit_code == CLD_EXITED && w->exit_status == 0 && !w->reason)
                result_success(w, &r);
        else {
                _cleanup_free_ char *tail = worker_stderr_tail(w, ERROR_TAIL_MAX);

                r.status = FRAME_FAILED;
                r.error = str_printf("%s %s%s%s", w->type->exec[0], worker_describe_exit(w, how, sizeof(how)), tail && *tail ? ": " : "", strempty(tail));
                if (w->used > w->type->result_max)
                        r.code = "ResultTooLarge";
        }
        worker_slot_result(s, &r);
}

static void exec_done(Worker *w) {
        (void) w;
}

const WorkerProtocol worker_protocol_exec = {
        .start = exec_start,
        .assign = exec_assign,
        .cancel = exec_cancel,
        .input = exec_input,
        .exited = exec_exited,
        .done = exec_done,
};
