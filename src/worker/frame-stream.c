/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Receiving frames. Small ones are parsed where they lie in the buffer and copied by whoever keeps them. A large payload gets its blob as
 * soon as its header is complete, and the rest is received straight into it. Descriptors can arrive earlier than the frame that owns them,
 * never later; they wait in a queue and the frame's header says that it takes one.
 */

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/fd.h"
#include "worker/frame-stream.h"

void frame_stream_init(FrameStream *s, size_t body_max, size_t memfd_max) {
        *s = (FrameStream) { .body_max = body_max, .memfd_max = memfd_max, .socket = true };
}

static void large_done(FrameStream *s) {
        if (!s->large)
                return;
        if (s->inbound)
                *s->inbound -= s->large_blob->size;
        free(s->large_meta);
        blob_unref(s->large_blob);
        s->large_meta = NULL;
        s->large_blob = NULL;
        s->large = false;
}

void frame_stream_done(FrameStream *s) {
        large_done(s);
        while (s->n_fds > 0)
                fd_close(s->fds[--s->n_fds]);
        free(s->buf);
        s->buf = NULL;
        s->start = s->end = 0;
}

ssize_t frame_stream_receive(FrameStream *s, int fd) {
        uint8_t *into;
        size_t room, n_fds = 0;
        ssize_t n;

        if (s->large) {
                into = s->large_blob->data + s->large_got;
                room = s->large_blob->size - s->large_got;
        } else {
                if (!s->buf) {
                        s->buf = malloc(FRAME_STREAM_BUFFER);
                        if (!s->buf)
                                return -ENOMEM;
                }
                if (s->start > 0) {
                        memmove(s->buf, s->buf + s->start, s->end - s->start);
                        s->end -= s->start;
                        s->start = 0;
                }
                into = s->buf + s->end;
                room = FRAME_STREAM_BUFFER - s->end;
        }
        if (room == 0) /* a whole frame waits to be taken */
                return -EAGAIN;
        do {
                if (s->socket)
                        n = fd_recv(fd, into, room, s->fds + s->n_fds, FRAME_STREAM_FDS - s->n_fds, &n_fds);
                else {
                        n = read(fd, into, room);
                        if (n < 0)
                                n = -errno;
                }
        } while (n == -EINTR);
        if (n <= 0)
                return n;
        s->n_fds += n_fds;
        if (s->large)
                s->large_got += (size_t) n;
        else
                s->end += (size_t) n;
        return n;
}

/* Starts receiving a payload into its own blob: header and metadata are complete, part of the payload may be. */
static int large_begin(FrameStream *s, const FrameHeader *h) {
        size_t size = h->body - h->meta, have;

        if (s->inbound && *s->inbound + size > s->inbound_max)
                return -EBUSY;
        s->large_blob = blob_new(size);
        s->large_meta = malloc(h->meta + 1);
        if (!s->large_blob || !s->large_meta) {
                s->large_blob = blob_unref(s->large_blob);
                free(s->large_meta);
                s->large_meta = NULL;
                return -ENOMEM;
        }
        if (s->inbound)
                *s->inbound += size;
        s->large = true;
        s->large_header = *h;
        memcpy(s->large_meta, s->buf + s->start + FRAME_HEADER_SIZE, h->meta);
        s->start += FRAME_HEADER_SIZE + h->meta;
        have = MIN(s->end - s->start, size);
        memcpy(s->large_blob->data, s->buf + s->start, have);
        s->start += have;
        s->large_got = have;
        return 0;
}

static int large_next(FrameStream *s, Frame *ret) {
        Frame f = { .header = s->large_header };
        int r;

        if (s->large_got < s->large_blob->size)
                return 0;
        /* the metadata must outlive this call: it goes to the front of the buffer, of which nothing is in use */
        assert(s->start == s->end);
        memcpy(s->buf, s->large_meta, f.header.meta);
        r = frame_meta_decode(s->buf, f.header.meta, &f.meta);
        if (r < 0)
                return r;
        f.size = s->large_blob->size;
        f.blob = blob_ref(s->large_blob);
        large_done(s);
        s->start = s->end = 0;
        *ret = f;
        return 1;
}

/* Takes the descriptor that belongs to the frame, and the blob that it holds. */
static int take_memfd(FrameStream *s, Frame *f) {
        uint64_t size, announced = 0;
        int r;

        if (s->n_fds == 0)
                return -EBADMSG;
        int fd = s->fds[0];
        memmove(s->fds, s->fds + 1, --s->n_fds * sizeof(int));
        r = memfd_check(fd, s->memfd_max, &size);
        if (r >= 0 && (!frame_meta_u64(&f->meta, FRAME_META_SIZE, &announced) || announced != size))
                r = -EBADMSG;
        if (r >= 0) {
                f->blob = blob_new_memfd(fd, size);
                if (!f->blob)
                        r = -ENOMEM;
        }
        if (r < 0) {
                fd_close(fd);
                return r;
        }
        f->size = size;
        return 0;
}

int frame_stream_next(FrameStream *s, Frame *ret) {
        Frame f;
        int r;

        if (s->large)
                return large_next(s, ret);
        if (s->start == s->end)
                return 0;
        ssize_t n = frame_header_decode(s->buf + s->start, s->end - s->start, s->body_max, &f.header);
        if (n <= 0)
                return (int) n;
        size_t have = s->end - s->start - FRAME_HEADER_SIZE, payload = f.header.body - f.header.meta;

        if (payload >= FRAME_STREAM_DIRECT && have < f.header.body) { /* what is here already is parsed where it lies */
                if (have < f.header.meta)
                        return 0;
                r = large_begin(s, &f.header);
                return r < 0 ? r : large_next(s, ret);
        }
        if (have < f.header.body)
                return 0;
        const uint8_t *body = s->buf + s->start + FRAME_HEADER_SIZE;
        r = frame_meta_decode(body, f.header.meta, &f.meta);
        if (r < 0)
                return r;
        f.payload = body + f.header.meta;
        f.size = payload;
        f.blob = NULL;
        if (f.header.flags & FRAME_MEMFD) {
                if (payload > 0)
                        return -EBADMSG;
                f.payload = NULL;
                r = take_memfd(s, &f);
                if (r < 0)
                        return r;
        }
        s->start += FRAME_HEADER_SIZE + f.header.body;
        *ret = f;
        return 1;
}

void frame_done(Frame *f) {
        f->blob = blob_unref(f->blob);
}

Blob *frame_take_blob(Frame *f) {
        return f->blob ? TAKE_PTR(f->blob) : blob_new_copy(f->payload, f->size);
}
