/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a client says: jobs, waits, cancellations; and the simple forms, which say one thing and wait for its answer.
 *
 * A payload is copied once, into the output queue or into a memfd. The queue has a limit, so that a caller who only submits is
 * stopped (-EAGAIN) rather than fed with memory; payloads in memfds have one of their own, since each costs a descriptor until
 * it is sent.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "libflow/client-internal.h"

#define READ_CHUNK (256U * 1024U)
#define WAIT_META_ROOM 32U /* of WAIT's items besides the id's bytes */

/* --- a payload from a descriptor --- */

/* Copies a regular file into a memfd, without passing it through our memory. -EOPNOTSUPP where that cannot be. */
static int payload_from_file(int fd, Blob **ret) {
        _cleanup_close_ int memfd = -1;
        struct stat st;
        uint64_t size;
        ssize_t n;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size < FRAME_MEMFD_MIN)
                return -EOPNOTSUPP;
        memfd = memfd_create("flowd-payload", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (memfd < 0)
                return -EOPNOTSUPP;
        while ((n = sendfile(memfd, fd, NULL, 64U * READ_CHUNK)) != 0)
                if (n < 0 && errno != EINTR) {
                        /* nothing was taken yet: some file systems cannot do this */
                        if ((errno == EINVAL || errno == ENOSYS) && lseek(memfd, 0, SEEK_CUR) == 0)
                                return -EOPNOTSUPP;
                        return -errno;
                } else if (n > 0 && lseek(memfd, 0, SEEK_CUR) > FLOW_STREAM_MEMFD_SIZE_MAX)
                        return -EMSGSIZE;
        r = memfd_seal(memfd);
        if (r < 0)
                return r;
        r = memfd_check(memfd, FLOW_STREAM_MEMFD_SIZE_MAX, &size);
        if (r < 0)
                return r;
        *ret = blob_new_memfd(memfd, size);
        if (!*ret)
                return -ENOMEM;
        TAKE_FD(memfd);
        return 0;
}

/* Reads whatever it is to its end, into memory. */
static int payload_from_stream(int fd, size_t max, void **ret, size_t *ret_size) {
        _cleanup_free_ uint8_t *buf = NULL;
        size_t size = 0, room = 0;

        for (;;) {
                if (size == room) {
                        if (size > max)
                                return -EMSGSIZE;
                        room = MAX(room * 2, (size_t) READ_CHUNK);
                        uint8_t *p = realloc(buf, room);
                        if (!p)
                                return -ENOMEM;
                        buf = p;
                }
                ssize_t n = read(fd, buf + size, room - size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (size_t) n;
        }
        *ret = TAKE_PTR(buf);
        *ret_size = size;
        return 0;
}

static int payload_from_fd(FlowClient *c, int fd, Blob **ret_memfd, void **ret, size_t *ret_size) {
        uint64_t size;
        int r;

        if (c->stream.peer_memfd) {
                if (memfd_check(fd, FLOW_STREAM_MEMFD_SIZE_MAX, &size) >= 0) {
                        int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);

                        if (own < 0)
                                return -errno;
                        *ret_memfd = blob_new_memfd(own, size);
                        if (*ret_memfd)
                                return 0;
                        fd_close(own);
                        return -ENOMEM;
                }
                r = payload_from_file(fd, ret_memfd);
                if (r != -EOPNOTSUPP)
                        return r;
        }
        return payload_from_stream(fd, c->stream.peer_memfd ? FLOW_STREAM_MEMFD_SIZE_MAX : c->stream.peer_frame_max, ret, ret_size);
}

/* --- submitting --- */

static void request_put(FrameWriter *w, const FlowRequest *q) {
        frame_put_text(w, FRAME_META_POOL, q->pool);
        frame_put_text(w, FRAME_META_TIER, q->tier);
        frame_put_text(w, FRAME_META_METHOD, q->method);
        frame_put_text(w, FRAME_META_SESSION, q->session);
        frame_put_text(w, FRAME_META_KEY, q->key);
        frame_put_text(w, FRAME_META_TRACE, q->trace);
        frame_put_text(w, FRAME_META_WORKER_TYPE, q->worker_type);
        frame_put_text(w, FRAME_META_STRATEGY, q->strategy);
        frame_put_text(w, FRAME_META_FALLBACK, q->fallback);
        if (q->weight > 0)
                frame_put_u32(w, FRAME_META_WEIGHT, q->weight);
        frame_put_u8(w, FRAME_META_KIND, (uint8_t) q->kind);
        if (q->timeout_usec > 0)
                frame_put_u64(w, FRAME_META_TIMEOUT, q->timeout_usec);
        if (q->deadline_usec > 0)
                frame_put_u64(w, FRAME_META_DEADLINE, q->deadline_usec);
        if (q->priority != 0)
                frame_put_u32(w, FRAME_META_PRIORITY, (uint32_t) q->priority);
        if (q->durable > 0)
                frame_put_u8(w, FRAME_META_DURABLE, (uint8_t) q->durable);
        if (q->detached)
                frame_put_u8(w, FRAME_META_DETACHED, 1);
        if (q->retries != 0)
                frame_put_u32(w, FRAME_META_RETRIES, (uint32_t) MAX(q->retries, 0));
        if (q->retry_delay_usec > 0)
                frame_put_u64(w, FRAME_META_RETRY_DELAY, q->retry_delay_usec);
        if (q->not_before_usec > 0)
                frame_put_u64(w, FRAME_META_NOT_BEFORE, q->not_before_usec);
}

static int client_may_queue(FlowClient *c) {
        if (c->failed < 0)
                return c->failed;
        if (c->stream.output.bytes > CLIENT_QUEUE_MAX || c->n_memfds > CLIENT_QUEUE_MEMFDS_MAX)
                (void) libflow_client_flush(c);
        if (c->stream.output.bytes > CLIENT_QUEUE_MAX || c->n_memfds > CLIENT_QUEUE_MEMFDS_MAX)
                return libflow_client_fail(c, -EAGAIN, "Too much waits to be sent: take events by flow_client_next() first");
        return 0;
}

int flow_client_submit(FlowClient *c, const FlowRequest *q, uint64_t *ret_id) {
        _cleanup_(blob_unrefp) Blob *memfd = NULL;
        _cleanup_free_ void *read = NULL;
        FrameHeader h = { .type = FRAME_JOB };
        const void *data = q->data;
        size_t size = q->size;
        ClientSlot *slot;
        FrameWriter w;
        int r;

        r = client_may_queue(c);
        if (r < 0)
                return r;
        if ((unsigned) q->kind >= _PAYLOAD_KIND_MAX || q->durable > FRAME_DURABLE_IF_POSSIBLE)
                return libflow_client_fail(c, -EINVAL, "The request says a kind of payload or of durability that there is not");
        if (q->from_fd) {
                r = payload_from_fd(c, q->fd, &memfd, &read, &size);
                if (r == -EMSGSIZE)
                        return libflow_client_fail(c, r, "The payload is too large for flowd");
                if (r < 0)
                        return libflow_client_fail(c, r, "Cannot read the payload from descriptor %d: %s", q->fd, strerror(-r));
                data = read;
        }

        slot = libflow_client_slot_new(c, q->userdata);
        if (!slot)
                return libflow_client_fail(c, -ENOMEM, "Out of memory");
        slot->detached = q->detached;
        h.job = slot->id;
        frame_writer_begin(&w, c->scratch, sizeof(c->scratch));
        request_put(&w, q);
        if (memfd)
                r = libflow_stream_put(&c->stream, &w, &h, NULL, 0, memfd);
        else
                r = libflow_stream_put_payload(&c->stream, &w, &h, data, size);
        if (r < 0) {
                libflow_client_slot_free(c, slot);
                if (r == -ENOBUFS)
                        return libflow_client_fail(c, -EMSGSIZE, "The request's texts (pool, method, session, key, ...) are above 64 KiB");
                return libflow_client_fail(c, r, r == -EMSGSIZE ? "The payload of %zu bytes is too large for flowd" :
                                        "Cannot queue a payload of %zu bytes: out of memory", size);
        }
        if (ret_id)
                *ret_id = h.job;
        if (h.flags & FRAME_MEMFD)
                c->n_memfds++;
        if (c->stream.output.bytes >= CLIENT_FLUSH_AT || (h.flags & FRAME_MEMFD))
                (void) libflow_client_flush(c);
        return 0;
}

int flow_client_wait_job(FlowClient *c, const char *job_id, void *userdata, uint64_t *ret_id) {
        return flow_client_wait_part(c, job_id, 0, 0, userdata, ret_id);
}

int flow_client_wait_part(FlowClient *c, const char *job_id, uint64_t offset, uint64_t length, void *userdata, uint64_t *ret_id) {
        uint8_t buf[FRAME_HEADER_SIZE + FLOW_JOB_ID_SIZE + WAIT_META_ROOM];
        FrameHeader h = { .type = FRAME_WAIT };
        ClientSlot *slot;
        FrameWriter w;
        int r;

        r = client_may_queue(c);
        if (r < 0)
                return r;
        if (!job_id || !*job_id || strlen(job_id) >= FLOW_JOB_ID_SIZE)
                return libflow_client_fail(c, -EINVAL, "'%.64s' is no job's id", strna(job_id));
        slot = libflow_client_slot_new(c, userdata);
        if (!slot)
                return libflow_client_fail(c, -ENOMEM, "Out of memory");
        slot->wait = true;
        str_copy(slot->job_id, sizeof(slot->job_id), job_id);
        h.job = slot->id;
        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_text(&w, FRAME_META_JOB_ID, job_id);
        if (offset > 0)
                frame_put_u64(&w, FRAME_META_OFFSET, offset);
        if (length > 0)
                frame_put_u64(&w, FRAME_META_LENGTH, length);
        r = libflow_stream_put(&c->stream, &w, &h, NULL, 0, NULL);
        if (r < 0) {
                libflow_client_slot_free(c, slot);
                return libflow_client_fail(c, r, "Cannot queue the request: %s", strerror(-r));
        }
        if (ret_id)
                *ret_id = h.job;
        return 0;
}

int flow_client_cancel(FlowClient *c, uint64_t id) {
        ClientSlot *slot = libflow_client_slot(c, id);
        int r;

        if (c->failed < 0)
                return c->failed;
        if (!slot || slot->wait)
                return libflow_client_fail(c, -ENOENT, "No job is in flight under that id");
        r = libflow_stream_put_bare(&c->stream, FRAME_CANCEL, id, 0);
        if (r < 0)
                return libflow_client_fail(c, r, "Cannot queue the cancellation: %s", strerror(-r));
        (void) libflow_client_flush(c);
        return 0;
}

/* --- results that outlive their event --- */

typedef struct ResultMemory {
        Blob *blob;
        char bytes[];
} ResultMemory;

static size_t text_room(const char *s) {
        return s ? strlen(s) + 1 : 0;
}

static const char *text_keep(char **p, const char *s) {
        size_t n = text_room(s);
        char *at = *p;

        if (!s)
                return NULL;
        memcpy(at, s, n);
        *p += n;
        return at;
}

int flow_event_take_result(const FlowEvent *event, FlowResult *ret) {
        FlowClient *c = CONTAINER_OF(event, FlowClient, event);
        const FlowResult *from = &event->result;
        ResultMemory *m;
        FlowResult to = *from;
        Blob *b = NULL;

        if (event->type != FLOW_EVENT_RESULT)
                return libflow_client_fail(c, -EINVAL, "The event is no result");
        if (c->frame.memfd)
                b = c->frame.memfd;
        else if (!c->stashed && from->size >= c->stream.input->size / 2) /* else it would keep much memory for little */
                b = c->stream.input;

        m = malloc(sizeof(ResultMemory) + text_room(from->error) + text_room(from->code) + text_room(from->job_id) + text_room(from->worker) +
                   text_room(from->tier) +
                   (b ? 0 : from->size));
        if (!m)
                return libflow_client_fail(c, -ENOMEM, "Out of memory for a result of %zu bytes", from->size);
        m->blob = blob_ref(b);
        char *p = m->bytes;
        to.error = text_keep(&p, from->error);
        to.code = text_keep(&p, from->code);
        to.job_id = text_keep(&p, from->job_id);
        to.worker = text_keep(&p, from->worker);
        to.tier = text_keep(&p, from->tier);
        if (!b) {
                memcpy(p, from->data, from->size);
                to.data = p;
        }
        to.memory = m;
        *ret = to;
        return 0;
}

void flow_result_clear(FlowResult *result) {
        ResultMemory *m = result->memory;

        if (m)
                blob_unref(m->blob);
        free(m);
        *result = (FlowResult) {};
}

/* --- one at a time --- */

/* Blocks for the first event of that id that is no progress and no log. */
static int client_wait_for(FlowClient *c, uint64_t id, bool accepted) {
        int r;

        for (;;) {
                while ((r = libflow_client_take(c, id)) > 0)
                        if (c->event.type == FLOW_EVENT_RESULT || (accepted && c->event.type == FLOW_EVENT_ACCEPTED))
                                return 0;
                if (r < 0)
                        return r;
                r = libflow_client_io(c, -1);
                if (r < 0 && r != -EINTR)
                        return r;
        }
}

int flow_run(FlowClient *c, const FlowRequest *request, FlowResult *ret) {
        uint64_t id;
        int r;

        if (request->detached)
                return libflow_client_fail(c, -EINVAL, "A detached job has no result here: use flow_submit(), then flow_wait()");
        r = flow_client_submit(c, request, &id);
        if (r < 0)
                return r;
        r = client_wait_for(c, id, false);
        return r < 0 ? r : flow_event_take_result(&c->event, ret);
}

int flow_submit(FlowClient *c, const FlowRequest *request, char *ret_job_id) {
        FlowRequest q = *request;
        uint64_t id;
        int r;

        q.detached = true;
        r = flow_client_submit(c, &q, &id);
        if (r < 0)
                return r;
        r = client_wait_for(c, id, true);
        if (r < 0)
                return r;
        if (c->event.type == FLOW_EVENT_RESULT)
                return libflow_client_fail(c, -EREMOTEIO, "flowd refused the job: %s%s%s%s", strna(c->event.result.error),
                                        c->event.result.code ? " (" : "", strempty(c->event.result.code), c->event.result.code ? ")" : "");
        str_copy(ret_job_id, FLOW_JOB_ID_SIZE, c->event.job_id);
        return c->event.duplicate;
}

int flow_wait(FlowClient *c, const char *job_id, FlowResult *ret) {
        return flow_wait_part(c, job_id, 0, 0, ret);
}

int flow_wait_part(FlowClient *c, const char *job_id, uint64_t offset, uint64_t length, FlowResult *ret) {
        uint64_t id;
        int r;

        r = flow_client_wait_part(c, job_id, offset, length, NULL, &id);
        if (r < 0)
                return r;
        r = client_wait_for(c, id, false);
        return r < 0 ? r : flow_event_take_result(&c->event, ret);
}

const char *flow_status_to_string(FlowStatus status) {
        return frame_status_to_string((FrameStatus) status);
}

const char *flow_kind_to_string(FlowKind kind) {
        return payload_kind_to_string((PayloadKind) kind);
}
