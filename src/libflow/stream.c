/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Frames over a descriptor. Input is read in large pieces into a reference-counted buffer and parsed where it lies: a job that is
 * still in hand when its bytes are taken refers to the buffer, and the stream then goes on in a new one, so that nothing is
 * copied and nothing is allocated per frame. A frame larger than the buffer gets one of just its size.
 *
 * A stream socket may deliver a descriptor together with bytes that were sent before its frame, never later; so descriptors
 * queue, and frames that say that they own one take it in order.
 */

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "libflow/stream.h"

#define STREAM_BUFFER (64U * 1024U)
#define STREAM_READ_MIN 4096U /* less room than this is not worth a read */

static bool fd_is_socket(int fd, bool *ret_unix) {
        int domain = 0;
        socklen_t size = sizeof(domain);
        struct stat st;

        *ret_unix = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) >= 0 && domain == AF_UNIX;
        return fstat(fd, &st) >= 0 && S_ISSOCK(st.st_mode);
}

int libflow_stream_init(FlowStream *s, int in, int out) {
        bool in_unix, out_unix;
        int r;

        *s = (FlowStream) { .in = in, .out = out, .peer_frame_max = FRAME_BODY_MAX };
        outq_init(&s->output);
        s->in_socket = fd_is_socket(in, &in_unix);
        s->out_socket = fd_is_socket(out, &out_unix);
        s->memfd = in == out && in_unix;

        r = fd_set_nonblock(in, true);
        if (r >= 0)
                r = fd_set_nonblock(out, true);
        if (r < 0)
                libflow_stream_done(s);
        return r;
}

void libflow_stream_done(FlowStream *s) {
        while (s->n_fds > 0)
                fd_close(s->fds[--s->n_fds]);
        if (s->output.chunks.next)
                outq_done(&s->output);
        s->input = blob_unref(s->input);
        if (s->out != s->in)
                s->out = fd_close(s->out);
        s->in = s->out = fd_close(s->in);
}

/* Makes room behind s->end for what the frame at s->start still lacks, at least for a read that is worth it. */
static int stream_make_room(FlowStream *s) {
        size_t have = s->end - s->start, want = MAX(s->need, have + STREAM_READ_MIN);
        Blob *b = s->input;

        if (b && b->n_ref == 1 && have == 0) {
                if (b->size > STREAM_BUFFER) /* it was made for one large frame */
                        b = s->input = blob_unref(b);
                s->start = s->end = 0;
        }
        if (b && b->size - s->start >= want)
                return 0;
        if (b && b->n_ref == 1 && b->size >= want) {
                memmove(b->data, b->data + s->start, have);
        } else {
                Blob *fresh = blob_new(MAX(want, (size_t) STREAM_BUFFER));
                if (!fresh)
                        return -ENOMEM;
                if (have > 0)
                        memcpy(fresh->data, b->data + s->start, have);
                blob_unref(b);
                s->input = fresh;
        }
        s->start = 0;
        s->end = have;
        return 0;
}

int libflow_stream_recv(FlowStream *s) {
        size_t n_fds = 0;
        ssize_t n;
        int r;

        if (s->eof)
                return 0;
        r = stream_make_room(s);
        if (r < 0)
                return r;

        uint8_t *p = s->input->data + s->end;
        size_t room = s->input->size - s->end;
        do {
                if (s->in_socket)
                        n = fd_recv(s->in, p, room, s->fds + s->n_fds, FLOW_STREAM_FDS_MAX - s->n_fds, &n_fds);
                else {
                        n = read(s->in, p, room);
                        if (n < 0)
                                n = -errno;
                }
        } while (n == -EINTR);
        if (n == -EAGAIN)
                return 0;
        if (n == -ECONNRESET) { /* the peer closed before it had read all that we wrote: its end all the same */
                s->eof = true;
                return 0;
        }
        if (n < 0)
                return (int) n;
        s->n_fds += n_fds;
        s->end += (size_t) n;
        if (n == 0)
                s->eof = true;
        return n > 0;
}

/* The frame says that its payload is in a descriptor: that must be here already, sealed, and of the size that the frame says. */
static int stream_take_memfd(FlowStream *s, FlowFrame *f) {
        _cleanup_close_ int fd = -1;
        uint64_t announced, size;
        FrameMeta meta;
        int r;

        if (s->n_fds == 0 || !s->memfd)
                return -EBADMSG;
        fd = s->fds[0];
        memmove(s->fds, s->fds + 1, --s->n_fds * sizeof(int));

        r = frame_meta_decode(f->meta, f->h.meta, &meta);
        if (r < 0)
                return r;
        r = memfd_check(fd, FLOW_STREAM_MEMFD_SIZE_MAX, &size);
        if (r < 0)
                return r == -EMSGSIZE ? r : -EBADMSG;
        if (!frame_meta_u64(&meta, FRAME_META_SIZE, &announced) || announced != size)
                return -EBADMSG;
        f->memfd = blob_new_memfd(fd, size);
        if (!f->memfd)
                return -ENOMEM;
        TAKE_FD(fd);
        f->payload = NULL;
        f->payload_size = size;
        return 0;
}

int libflow_stream_next(FlowStream *s, FlowFrame *ret) {
        size_t have = s->end - s->start;
        FlowFrame f = {};

        if (have == 0) {
                s->need = 0;
                return 0;
        }
        const uint8_t *p = s->input->data + s->start;
        ssize_t n = frame_header_decode(p, have, FRAME_BODY_MAX, &f.h);
        if (n <= 0) {
                s->need = FRAME_HEADER_SIZE;
                return (int) n;
        }
        if (have < FRAME_HEADER_SIZE + (size_t) f.h.body) {
                s->need = FRAME_HEADER_SIZE + (size_t) f.h.body;
                return 0;
        }
        f.meta = p + FRAME_HEADER_SIZE;
        f.payload = f.meta + f.h.meta;
        f.payload_size = f.h.body - f.h.meta;
        if (f.h.flags & FRAME_MEMFD) {
                int r = stream_take_memfd(s, &f);
                if (r < 0)
                        return r;
        }
        s->need = 0;
        s->start += FRAME_HEADER_SIZE + (size_t) f.h.body;
        *ret = f;
        return 1;
}

int libflow_stream_put(FlowStream *s, FrameWriter *w, FrameHeader *h, const void *data, size_t size, Blob *memfd) {
        uint8_t *p;
        ssize_t n;

        if (memfd) {
                frame_put_u64(w, FRAME_META_SIZE, memfd->size);
                h->flags |= FRAME_MEMFD;
                h->fds = 1;
                size = 0;
        }
        n = frame_writer_end(w, h, size);
        if (n < 0)
                return (int) n;
        if (h->body > s->peer_frame_max)
                return -EMSGSIZE;
        if (memfd)
                return outq_bytes_memfd(&s->output, w->buf, (size_t) n, memfd);

        p = outq_reserve(&s->output, (size_t) n + size);
        if (!p)
                return -ENOMEM;
        memcpy(p, w->buf, (size_t) n);
        if (size > 0)
                memcpy(p + n, data, size);
        outq_commit(&s->output, (size_t) n + size);
        return 0;
}

int libflow_stream_put_payload(FlowStream *s, FrameWriter *w, FrameHeader *h, const void *data, size_t size) {
        if (size >= FRAME_MEMFD_MIN && s->peer_memfd) {
                int fd = memfd_new_sealed("flowd-payload", data, size);

                if (fd >= 0) {
                        _cleanup_(blob_unrefp) Blob *b = blob_new_memfd(fd, size);
                        if (!b) {
                                fd_close(fd);
                                return -ENOMEM;
                        }
                        return libflow_stream_put(s, w, h, NULL, 0, b);
                }
                /* no descriptor left, or no memory for it: it may still fit into the stream */
        }
        if (size > s->peer_frame_max)
                return -EMSGSIZE;
        return libflow_stream_put(s, w, h, data, size, NULL);
}

int libflow_stream_put_bare(FlowStream *s, FrameType type, uint64_t job, uint32_t attempt) {
        uint8_t buf[FRAME_HEADER_SIZE];
        FrameHeader h = { .type = type, .job = job, .attempt = attempt };
        FrameWriter w;

        frame_writer_begin(&w, buf, sizeof(buf));
        return libflow_stream_put(s, &w, &h, NULL, 0, NULL);
}

int libflow_stream_flush(FlowStream *s) {
        return outq_empty(&s->output) ? 0 : outq_flush(&s->output, s->out, s->out_socket);
}

int libflow_stream_put_hello(FlowStream *s, unsigned slots) {
        uint8_t buf[FRAME_HEADER_SIZE + 64];
        FrameHeader h = { .type = FRAME_HELLO };
        FrameWriter w;

        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_u32(&w, FRAME_META_VERSION, FRAME_VERSION);
        frame_put_u32(&w, FRAME_META_FEATURES, s->memfd ? FRAME_FEATURE_MEMFD : 0);
        frame_put_u32(&w, FRAME_META_FRAME_MAX, FRAME_BODY_MAX);
        if (slots > 0)
                frame_put_u32(&w, FRAME_META_SLOTS, slots);
        return libflow_stream_put(s, &w, &h, NULL, 0, NULL);
}

int libflow_stream_take_hello(FlowStream *s, const FlowFrame *f) {
        uint32_t version, features = 0, frame_max = FRAME_BODY_MAX;
        FrameMeta meta;
        int r;

        r = frame_meta_decode(f->meta, f->h.meta, &meta);
        if (r < 0)
                return r;
        if (!frame_meta_u32(&meta, FRAME_META_VERSION, &version))
                return -EBADMSG;
        if (version < FRAME_VERSION)
                return -EPROTONOSUPPORT;
        (void) frame_meta_u32(&meta, FRAME_META_FEATURES, &features);
        (void) frame_meta_u32(&meta, FRAME_META_FRAME_MAX, &frame_max);
        (void) frame_meta_u64(&meta, FRAME_META_HEARTBEAT, &s->heartbeat_usec);
        s->peer_memfd = s->memfd && (features & FRAME_FEATURE_MEMFD);
        s->peer_frame_max = MIN(frame_max, FRAME_BODY_MAX);
        s->hello = true;
        return 0;
}
