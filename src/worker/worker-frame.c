/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The frame adapter. One read per round, all whole frames in it handled; jobs are encoded straight into the output queue and leave in
 * one write at the end of the round. A payload is copied once at most; a memfd is handed on unread.
 */

#include <errno.h>

#include "worker/worker.h"

#define JOB_META_ROOM (FRAME_HEADER_SIZE + 4 * JOB_NAME_MAX + 256U)
#define OVERDUE_ROOM (FRAME_HEADER_SIZE + 64U)

static int frame_start(Worker *w) {
        uint8_t *p = outq_reserve(&w->out, 128);
        FrameHeader h = { .type = FRAME_HELLO };
        FrameWriter fw;

        if (!p)
                return -ENOMEM;
        frame_stream_init(&w->stream, MIN((uint64_t) FRAME_BODY_MAX, w->type->result_max + FRAME_META_MAX), FRAME_BODY_MAX);
        frame_writer_begin(&fw, p, 128);
        frame_put_u32(&fw, FRAME_META_VERSION, FRAME_VERSION);
        frame_put_u32(&fw, FRAME_META_FEATURES, FRAME_FEATURE_MEMFD);
        frame_put_u32(&fw, FRAME_META_FRAME_MAX, FRAME_BODY_MAX);
        if (w->type->heartbeat_usec > 0)
                frame_put_u64(&fw, FRAME_META_HEARTBEAT, w->type->heartbeat_usec);
        outq_commit(&w->out, (size_t) frame_writer_end(&fw, &h, 0));
        worker_flush_later(w);
        return 0;
}

static int frame_assign(Worker *w, WorkerSlot *s) {
        Job *j = s->job;
        size_t size = blob_size(j->payload);
        bool memfd = size > 0 && (j->payload->fd >= 0 || size >= FRAME_MEMFD_MIN) && (w->peer_features & FRAME_FEATURE_MEMFD);
        FrameHeader h = { .type = FRAME_JOB, .attempt = s->attempt, .job = j->id, .flags = memfd ? FRAME_MEMFD : 0, .fds = memfd };
        uint8_t stack[JOB_META_ROOM], *p = memfd ? stack : outq_reserve(&w->out, JOB_META_ROOM);
        char id[JOB_ID_TEXT_MAX];
        FrameWriter fw;

        const uint8_t *data;

        if (!p)
                return -ENOMEM;
        if (!memfd && size > 0) { /* mapped before the header is on its way */
                int r = blob_data(j->payload, &data);

                if (r < 0) {
                        outq_commit(&w->out, 0);
                        return r;
                }
        }
        if (!memfd && size > w->peer_frame_max - MIN((uint32_t) JOB_META_ROOM, w->peer_frame_max)) {
                outq_commit(&w->out, 0);
                return -EMSGSIZE;
        }
        frame_writer_begin(&fw, p, JOB_META_ROOM);
        frame_put_text(&fw, FRAME_META_JOB_ID, job_id_format(j->id, id));
        frame_put_text(&fw, FRAME_META_METHOD, j->method);
        frame_put_text(&fw, FRAME_META_SESSION, j->session);
        frame_put_text(&fw, FRAME_META_KEY, j->key);
        frame_put_text(&fw, FRAME_META_TRACE, j->trace);
        frame_put_u8(&fw, FRAME_META_KIND, (uint8_t) j->kind);
        if (j->deadline_usec > 0)
                frame_put_u64(&fw, FRAME_META_DEADLINE, j->deadline_usec);
        if (memfd)
                frame_put_u64(&fw, FRAME_META_SIZE, size);
        ssize_t n = frame_writer_end(&fw, &h, memfd ? 0 : size);
        if (memfd)
                return n < 0 ? (int) n : outq_bytes_memfd(&w->out, stack, (size_t) n, j->payload);
        outq_commit(&w->out, n < 0 ? 0 : (size_t) n);
        return n < 0 ? (int) n : outq_blob(&w->out, j->payload);
}

/* A frame without metadata and payload. Returns false when out of memory. */
static bool send_empty(Worker *w, FrameType type, uint64_t job, uint32_t attempt) {
        FrameHeader h = { .type = type, .attempt = attempt, .job = job };
        uint8_t *p = outq_reserve(&w->out, FRAME_HEADER_SIZE);

        if (!p)
                return false;
        frame_header_encode(&h, p);
        outq_commit(&w->out, FRAME_HEADER_SIZE);
        return true;
}

/* One that it may still answer: it is told why. */
static int send_overdue(Worker *w, WorkerSlot *s) {
        FrameHeader h = { .type = FRAME_CANCEL, .job = s->job_id, .attempt = s->attempt };
        uint8_t *p = outq_reserve(&w->out, OVERDUE_ROOM);
        FrameWriter fw;

        if (!p)
                return false;
        frame_writer_begin(&fw, p, OVERDUE_ROOM);
        frame_put_text(&fw, FRAME_META_CODE, "SoftTimeout");
        outq_commit(&w->out, (size_t) frame_writer_end(&fw, &h, 0));
        return true;
}

static int frame_cancel(Worker *w, WorkerSlot *s) {
        if (s->state == SLOT_RUNNING)
                return send_overdue(w, s);
        return send_empty(w, FRAME_CANCEL, s->job_id, s->attempt);
}

static int on_hello(Worker *w, Frame *f) {
        uint32_t version = 0, slots = 0;

        if (w->state != WORKER_STARTING) {
                worker_set_reason(w, "sent a second HELLO");
                return -EBADMSG;
        }
        if (!frame_meta_u32(&f->meta, FRAME_META_VERSION, &version) || version != FRAME_VERSION) {
                worker_set_reason(w, "speaks version %u of the frame protocol, and this flowd speaks %u", version, FRAME_VERSION);
                return -EBADMSG;
        }
        (void) frame_meta_u32(&f->meta, FRAME_META_FEATURES, &w->peer_features);
        w->peer_frame_max = FRAME_BODY_MAX;
        (void) frame_meta_u32(&f->meta, FRAME_META_FRAME_MAX, &w->peer_frame_max);
        if (frame_meta_u32(&f->meta, FRAME_META_SLOTS, &slots) && slots > 0 && slots < w->n_slots)
                w->n_slots = slots; /* it takes fewer than Slots= offers */
        worker_event(w, WORKER_EV_READY);
        return 0;
}

static int on_result(Worker *w, Frame *f) {
        WorkerSlot *s = f->header.attempt > 0 ? worker_find_slot(w, f->header.job, f->header.attempt) : NULL;
        uint8_t status = FRAME_COMPLETED, kind = PAYLOAD_BYTES, retry = 0;
        JobResult r = {};

        if (!s)
                return worker_stray_result(w, f->header.job, f->header.attempt);
        (void) frame_meta_u8(&f->meta, FRAME_META_STATUS, &status);
        (void) frame_meta_u8(&f->meta, FRAME_META_KIND, &kind);
        (void) frame_meta_u8(&f->meta, FRAME_META_RETRY, &retry);
        if (status > FRAME_CANCELLED || kind >= _PAYLOAD_KIND_MAX) {
                worker_set_reason(w, "sent a result with an unknown status or kind");
                return -EBADMSG;
        }
        r.status = status == FRAME_COMPLETED ? FRAME_COMPLETED : FRAME_FAILED; /* the rest is flowd's to say */
        r.kind = kind;
        r.retry = retry;
        r.final = !retry && r.status == FRAME_FAILED;
        const FrameItem *e = &f->meta.items[FRAME_META_ERROR];
        if (e->data && utf8_valid(e->data, e->size))
                r.error = memdup_text(e->data, utf8_cut(e->data, e->size, JOB_ERROR_TEXT_MAX));
        if (f->size > w->type->result_max) {
                char a[16], b[16];

                free(r.error);
                r = (JobResult) { .status = FRAME_FAILED, .code = "ResultTooLarge",
                                  .error = str_printf("the result has %s, above ResultMax=%s", size_format(a, sizeof(a), f->size),
                                                      size_format(b, sizeof(b), w->type->result_max)) };
        } else {
                r.data = frame_take_blob(f);
                if (!r.data) {
                        free(r.error);
                        return -ENOMEM;
                }
                if (r.kind == PAYLOAD_TEXT && r.data->fd < 0 && !utf8_valid(r.data->data, r.data->size))
                        r.kind = PAYLOAD_BYTES;
        }
        worker_slot_result(s, &r);
        return 0;
}

static int on_frame(Worker *w, Frame *f) {
        WorkerSlot *s;
        uint32_t fraction = 0;
        uint8_t level = LOG_INFO;

        if (w->state == WORKER_STARTING && f->header.type != FRAME_HELLO) {
                worker_set_reason(w, "sent something else before its HELLO");
                return -EBADMSG;
        }
        switch (f->header.type) {
        case FRAME_HELLO:
                return on_hello(w, f);
        case FRAME_RESULT:
                return on_result(w, f);
        case FRAME_PROGRESS:
                s = worker_find_slot(w, f->header.job, f->header.attempt);
                if (!s || s->state != SLOT_RUNNING || !f->payload)
                        return 0;
                fraction = s->job->progress; /* a message alone changes nothing else */
                (void) frame_meta_u32(&f->meta, FRAME_META_FRACTION, &fraction);
                job_progress(s->job, MIN(fraction, 1000000U), (const char *) f->payload, utf8_valid(f->payload, f->size) ? f->size : 0);
                return 0;
        case FRAME_LOG:
                s = worker_find_slot(w, f->header.job, f->header.attempt);
                (void) frame_meta_u8(&f->meta, FRAME_META_LEVEL, &level);
                if (f->payload)
                        worker_log_line(w, s && s->state == SLOT_RUNNING ? s->job : NULL, MIN(level, LOG_DEBUG), (const char *) f->payload, f->size);
                return 0;
        case FRAME_PING:
                send_empty(w, FRAME_PONG, f->header.job, 0);
                worker_flush_later(w);
                return 0;
        case FRAME_PONG:
                return 0; /* being heard is all */
        default:
                worker_set_reason(w, "sent a %s frame, which is not a worker's to send", strna(frame_type_to_string(f->header.type)));
                return -EBADMSG;
        }
}

/* A frame that is not even received. When it is a result, its job has ended, whatever becomes of the worker. */
static void result_too_large(Worker *w) {
        const FrameStream *st = &w->stream;
        JobResult r = { .status = FRAME_FAILED, .code = "ResultTooLarge" };
        FrameHeader h;
        char span[16];

        if (frame_header_decode(st->buf + st->start, st->end - st->start, UINT32_MAX, &h) <= 0 || h.type != FRAME_RESULT)
                return;
        WorkerSlot *s = worker_find_slot(w, h.job, h.attempt);
        if (!s)
                return;
        r.error = str_printf("the result is above ResultMax=%s", size_format(span, sizeof(span), w->type->result_max));
        worker_slot_result(s, &r);
}

static int frame_input(Worker *w, size_t limit) {
        for (size_t total = 0; total < limit;) {
                ssize_t n = frame_stream_receive(&w->stream, w->io.fd);

                if (n == 0) {
                        if (frame_stream_partial(&w->stream) && w->n_running > 0)
                                worker_set_reason(w, "ended in the middle of a frame");
                        return -EPIPE;
                }
                if (n < 0)
                        return (int) n;
                total += (size_t) n;
                w->heard_usec = now_usec();
                for (;;) {
                        _cleanup_(frame_done) Frame f = {};
                        int r = frame_stream_next(&w->stream, &f);

                        if (r == 0)
                                break;
                        if (r == -EMSGSIZE)
                                result_too_large(w);
                        if (r == -EMSGSIZE)
                                worker_set_reason(w, "announced a frame above its limit (ResultMax= and %u bytes of metadata)", FRAME_META_MAX);
                        else if (r == -EBADMSG)
                                worker_set_reason(w, "sent what is no frame; does something in it print to stdout?");
                        if (r > 0)
                                r = on_frame(w, &f);
                        if (r < 0)
                                return r;
                }
                if (n < FRAME_STREAM_DIRECT && w->state < WORKER_STOPPING && !w->draining_end)
                        return 0; /* that was all: another call would only say so */
        }
        return 0;
}

static void frame_exited(Worker *w) {
        (void) w;
}

const WorkerProtocol worker_protocol_frame = {
        .start = frame_start,
        .assign = frame_assign,
        .cancel = frame_cancel,
        .input = frame_input,
        .exited = frame_exited,
        .done = frame_exited,
};
