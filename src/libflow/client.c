/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The client's connection: what is in flight, sending, receiving, and turning frames into events.
 *
 * Nothing here ever blocks in a write. Jobs are queued and leave in large writes, and whoever waits, waits for both directions
 * at once; so two full socket buffers cannot make flowd and the client wait for each other. When flowd hangs up there may still
 * be a frame to read that says why: so an error of a write is only noted, and told once the input is at its end.
 *
 * An event points straight into the stream's input, and is valid until the next call.
 */

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/str.h"
#include "libflow/client-internal.h"

int libflow_client_fail(FlowClient *c, int r, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(c->error, sizeof(c->error), format, ap);
        va_end(ap);
        return r;
}

int libflow_client_break(FlowClient *c, int r, const char *format, ...) {
        va_list ap;

        if (c->failed < 0)
                return c->failed;
        va_start(ap, format);
        (void) vsnprintf(c->error, sizeof(c->error), format, ap);
        va_end(ap);
        return c->failed = r;
}

const char *flow_client_error(const FlowClient *c) {
        return c->error[0] ? c->error : "no error";
}

/* --- what is in flight --- */

ClientSlot *libflow_client_slot(const FlowClient *c, uint64_t id) {
        uint64_t i = (id & UINT32_MAX) - 1;

        return id != 0 && i < c->n_slots && c->slots[i].id == id ? &c->slots[i] : NULL;
}

ClientSlot *libflow_client_slot_new(FlowClient *c, void *userdata) {
        if (c->first_free == 0) {
                uint32_t n = c->n_slots ? c->n_slots * 2 : 64;
                ClientSlot *p;

                if (n <= c->n_slots || !(p = reallocarray(c->slots, n, sizeof(ClientSlot))))
                        return NULL;
                c->slots = p;
                for (uint32_t i = n; i > c->n_slots; i--) {
                        c->slots[i - 1] = (ClientSlot) { .next_free = c->first_free };
                        c->first_free = i;
                }
                c->n_slots = n;
        }

        uint32_t number = c->first_free;
        ClientSlot *s = &c->slots[number - 1];
        c->first_free = s->next_free;
        *s = (ClientSlot) { .id = (uint64_t) ++c->generation << 32 | number, .userdata = userdata };
        c->in_flight++;
        return s;
}

void libflow_client_slot_free(FlowClient *c, ClientSlot *s) {
        s->id = 0;
        s->next_free = c->first_free;
        c->first_free = (uint32_t) (s - c->slots) + 1;
        c->in_flight--;
}

size_t flow_client_in_flight(const FlowClient *c) {
        return c->in_flight;
}

/* --- sending and receiving --- */

int libflow_client_flush(FlowClient *c) {
        int r;

        if (c->write_failed)
                return 0;
        r = libflow_stream_flush(&c->stream);
        c->held = r == -ETOOMANYREFS; /* too many descriptors under way, all of this user's programs together: flowd takes them out */
        if (c->held)
                return 1;
        if (r < 0) {
                c->write_failed = true;
                outq_done(&c->stream.output);
                return 0;
        }
        if (r == 0)
                c->n_memfds = 0;
        return r;
}

static int client_recv(FlowClient *c) {
        int r = libflow_stream_recv(&c->stream);

        if (r == -ENOMEM)
                return libflow_client_break(c, r, "Out of memory for what flowd sends");
        if (r < 0)
                return libflow_client_break(c, r, "Cannot receive from flowd: %s", strerror(-r));
        if (c->stream.eof)
                return 1; /* not the end yet: frames may stand in the buffer */
        return r;
}

int libflow_client_io(FlowClient *c, int64_t timeout_usec) {
        struct pollfd p = { .fd = c->stream.in, .events = POLLIN };

        if (libflow_client_flush(c) > 0 && !c->held)
                p.events |= POLLOUT;
        if (timeout_usec != 0) {
                uint64_t usec = timeout_usec < 0 ? USEC_INFINITY : (uint64_t) timeout_usec;
                bool shorter = c->held && usec > CLIENT_HELD_USEC;

                if (shorter)
                        usec = CLIENT_HELD_USEC;
                struct timespec ts = { .tv_sec = (time_t) (usec / USEC_PER_SEC), .tv_nsec = (long) (usec % USEC_PER_SEC * 1000) };
                int r = ppoll(&p, 1, usec == USEC_INFINITY ? NULL : &ts, NULL);

                if (r < 0 && errno == EINTR)
                        return libflow_client_fail(c, -EINTR, "Interrupted by a signal");
                if (r < 0)
                        return libflow_client_break(c, -errno, "Cannot wait for flowd: %s", strerror(errno));
                if (r == 0)
                        return shorter;
                if (p.revents & POLLOUT)
                        (void) libflow_client_flush(c);
                if (!(p.revents & ~POLLOUT))
                        return 1;
        }
        return client_recv(c);
}

/* --- frames become events --- */

void libflow_client_stash_free(ClientStash *s) {
        if (!s)
                return;
        list_remove(&s->link);
        libflow_frame_done(&s->frame);
        free(s);
}

static int client_stash(FlowClient *c, FlowFrame *f) {
        ClientStash *s = malloc(sizeof(ClientStash) + f->h.body);

        if (!s) {
                libflow_frame_done(f);
                return -ENOMEM;
        }
        s->frame = *f;
        memcpy(s->bytes, f->meta, f->h.body); /* the payload follows the metadata */
        s->frame.meta = s->bytes;
        s->frame.payload = f->memfd ? NULL : s->bytes + f->h.meta;
        list_append(&c->stash, &s->link);
        return 0;
}

void libflow_client_release(FlowClient *c) {
        if (c->stashed)
                libflow_client_stash_free(c->stashed);
        else
                libflow_frame_done(&c->frame);
        c->stashed = NULL;
        c->frame = (FlowFrame) {};
        c->event = (FlowEvent) {};
        c->text_used = 0;
}

/* A text item as a string that lives as long as the event; NULL where absent or unfit. */
static const char *client_text(FlowClient *c, const FrameMeta *m, FrameTag tag) {
        char *p = c->text + c->text_used;

        if (frame_meta_text(m, tag, p, sizeof(c->text) - c->text_used) <= 0)
                return NULL;
        c->text_used += m->items[tag].size + 1U;
        return p;
}

static int client_payload(FlowClient *c, const void **ret, size_t *ret_size) {
        const uint8_t *p = c->frame.payload;

        if (c->frame.memfd) {
                int r = blob_data(c->frame.memfd, &p);
                if (r < 0)
                        return r;
        }
        *ret = p ? (const void *) p : "";
        *ret_size = c->frame.payload_size;
        return 0;
}

static int client_result(FlowClient *c, const FrameMeta *m, ClientSlot *slot) {
        FlowResult *result = &c->event.result;
        uint8_t status, kind = FLOW_BYTES, retry = 0;
        uint32_t attempts = 0;
        int r;

        if (!frame_meta_u8(m, FRAME_META_STATUS, &status) || status >= _FRAME_STATUS_MAX)
                return -EBADMSG;
        if (frame_meta_u8(m, FRAME_META_KIND, &kind) && kind >= _PAYLOAD_KIND_MAX)
                return -EBADMSG;
        (void) frame_meta_u8(m, FRAME_META_RETRY, &retry);
        (void) frame_meta_u32(m, FRAME_META_ATTEMPTS, &attempts);
        (void) frame_meta_u64(m, FRAME_META_RUN_USEC, &result->run_usec);
        (void) frame_meta_u64(m, FRAME_META_WAIT_USEC, &result->wait_usec);
        r = client_payload(c, &result->data, &result->size);
        if (r < 0)
                return r;
        result->size_all = result->size;
        (void) frame_meta_u64(m, FRAME_META_SIZE_ALL, &result->size_all);
        result->status = (FlowStatus) status;
        result->kind = (FlowKind) kind;
        result->retry = retry;
        result->attempts = attempts;
        result->error = client_text(c, m, FRAME_META_ERROR);
        result->code = client_text(c, m, FRAME_META_CODE);
        result->worker = client_text(c, m, FRAME_META_WORKER);
        result->tier = client_text(c, m, FRAME_META_RAN_TIER);
        if (c->event.job_id)
                str_copy(slot->job_id, sizeof(slot->job_id), c->event.job_id);
        if (slot->job_id[0]) {
                /* the slot may be used again while the event is looked at */
                char *p = c->text + c->text_used;
                str_copy(p, sizeof(c->text) - c->text_used, slot->job_id);
                result->job_id = c->event.job_id = p;
        }
        c->event.type = FLOW_EVENT_RESULT;
        libflow_client_slot_free(c, slot);
        return 1;
}

/* What a frame about a job in flight means. Returns 1 with an event, 0 for none, -errno. */
static int client_job_frame(FlowClient *c, const FrameMeta *m, ClientSlot *slot) {
        FlowEvent *e = &c->event;
        uint32_t fraction;
        uint8_t level, duplicate;
        const void *text = NULL;
        int r;

        e->id = slot->id;
        e->userdata = slot->userdata;
        e->job_id = client_text(c, m, FRAME_META_JOB_ID);
        switch (c->frame.h.type) {

        case FRAME_ACCEPTED:
                if (!e->job_id)
                        return -EBADMSG;
                e->type = FLOW_EVENT_ACCEPTED;
                e->duplicate = frame_meta_u8(m, FRAME_META_DUPLICATE, &duplicate) && duplicate;
                str_copy(slot->job_id, sizeof(slot->job_id), e->job_id);
                if (slot->detached)
                        libflow_client_slot_free(c, slot);
                return 1;

        case FRAME_PROGRESS:
        case FRAME_LOG:
                e->type = c->frame.h.type == FRAME_LOG ? FLOW_EVENT_LOG : FLOW_EVENT_PROGRESS;
                e->fraction = frame_meta_u32(m, FRAME_META_FRACTION, &fraction) ? MIN(fraction, 1000000U) / 1e6 : -1;
                e->level = frame_meta_u8(m, FRAME_META_LEVEL, &level) ? level & 7 : FLOW_LOG_INFO;
                r = client_payload(c, &text, &e->text_size);
                e->text = text;
                return r < 0 ? r : 1;

        default:
                return client_result(c, m, slot);
        }
}

/* Frames that are about the connection. Returns 0 or -errno. */
static int client_own_frame(FlowClient *c, const FlowFrame *f) {
        switch (f->h.type) {

        case FRAME_HELLO:
                if (c->stream.hello)
                        return -EBADMSG;
                return libflow_stream_take_hello(&c->stream, f);

        case FRAME_PING:
                if (c->write_failed || c->stream.output.bytes > CLIENT_QUEUE_MAX)
                        return 0;
                return libflow_stream_put_bare(&c->stream, FRAME_PONG, f->h.job, 0);

        case FRAME_PONG:
                return 0;

        case FRAME_ERROR: {
                char text[CLIENT_ERROR_MAX - 64] = "";
                FrameMeta m;

                if (frame_meta_decode(f->meta, f->h.meta, &m) >= 0)
                        (void) frame_meta_text(&m, FRAME_META_ERROR, text, sizeof(text));
                return libflow_client_break(c, -ECONNABORTED, "flowd ends the connection: %s", text[0] ? text : "it does not say why");
        }
        default:
                return -EBADMSG; /* nothing that flowd says to a client */
        }
}

static bool frame_is_about_job(FrameType t) {
        return t == FRAME_ACCEPTED || t == FRAME_PROGRESS || t == FRAME_LOG || t == FRAME_RESULT;
}

/* Takes over `f`. Returns 1 with c->event, 0 for nothing that the caller must know, -errno. */
static int client_frame(FlowClient *c, FlowFrame *f) {
        ClientSlot *slot;
        FrameMeta m;
        int r;

        c->frame = *f;
        if (!frame_is_about_job(f->h.type))
                return client_own_frame(c, f);
        slot = libflow_client_slot(c, f->h.job);
        if (!slot)
                return 0; /* a late word about a job that has ended */
        r = frame_meta_decode(f->meta, f->h.meta, &m);
        return r < 0 ? r : client_job_frame(c, &m, slot);
}

int libflow_client_take(FlowClient *c, uint64_t only) {
        FlowFrame f;
        int r;

        for (;;) {
                libflow_client_release(c);
                if (only == 0 && (c->stashed = list_first_entry(&c->stash, ClientStash, link)))
                        f = c->stashed->frame; /* it came before whatever broke the connection */
                else if (c->failed < 0)
                        return c->failed;
                else if ((r = libflow_stream_next(&c->stream, &f)) == 0) {
                        if (!c->stream.eof)
                                return 0;
                        return libflow_client_break(c, -ECONNRESET, c->in_flight > 0 ? "flowd closed the connection; jobs without an answer: %zu" :
                                                 "flowd closed the connection", c->in_flight);
                } else if (r < 0)
                        return libflow_client_break(c, -EPROTO, "flowd sent what is no frame: %s", strerror(-r));
                if (only != 0 && frame_is_about_job(f.h.type) && f.h.job != only) {
                        r = client_stash(c, &f);
                        if (r < 0)
                                return libflow_client_break(c, r, "Out of memory for what flowd sends");
                        continue;
                }
                r = client_frame(c, &f);
                if (r > 0)
                        return r;
                if (r < 0 && c->failed >= 0)
                        return libflow_client_break(c, r == -ENOMEM ? r : -EPROTO, "flowd sent a frame that makes no sense here (%s): %s",
                                                 frame_type_to_string(f.h.type), strerror(-r));
        }
}

int flow_client_next(FlowClient *c, int64_t timeout_usec, const FlowEvent **ret) {
        uint64_t until = timeout_usec > 0 ? now_usec() + (uint64_t) timeout_usec : 0;
        bool tried = false;
        int r;

        for (;;) {
                int64_t left = timeout_usec;

                r = libflow_client_take(c, 0);
                if (r < 0)
                        return r;
                if (r > 0) {
                        *ret = &c->event;
                        return 1;
                }
                if (c->in_flight == 0) /* nothing will come; but what waits must go, and a lost connection be noticed */
                        left = 0;
                else if (timeout_usec > 0) {
                        uint64_t now = now_usec();
                        left = now < until ? (int64_t) (until - now) : 0;
                }
                if (left == 0 && tried)
                        return 0;
                r = libflow_client_io(c, left);
                if (r < 0)
                        return r;
                tried = true;
        }
}

int flow_client_fd(const FlowClient *c) {
        return c->stream.in;
}

short flow_client_events(const FlowClient *c) {
        return (short) (POLLIN | (outq_empty(&c->stream.output) ? 0 : POLLOUT));
}

int flow_client_process(FlowClient *c) {
        int r;

        if (c->failed < 0)
                return c->failed;
        r = libflow_client_io(c, 0);
        if (r < 0)
                return r;
        return !list_empty(&c->stash) || c->stream.end > c->stream.start || c->stream.eof;
}
