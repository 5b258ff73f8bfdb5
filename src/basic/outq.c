/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The output queue. Small messages gather in a buffer, so that a round's worth of them leaves in one write; a large blob is a chunk that
 * points to it; a memfd begins a chunk of its own, because a descriptor must travel with the first byte of its message.
 */

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/outq.h"

#define OUTQ_CHUNK_SIZE (16U * 1024U)
#define OUTQ_COPY_MAX 4096U /* a blob up to this size is copied: cheaper than an iovec of its own */
#define OUTQ_IOV_MAX 64

typedef struct Chunk {
        List link;
        Blob *blob;      /* the bytes, or where `pass` the descriptor that goes with them */
        bool pass;
        size_t start, end, room;
        uint8_t bytes[];
} Chunk;

static Chunk *chunk_new(OutQueue *q, size_t room) {
        Chunk *c = malloc(sizeof(Chunk) + room);

        if (!c)
                return NULL;
        *c = (Chunk) { .room = room };
        list_append(&q->chunks, &c->link);
        return c;
}

static void chunk_free(Chunk *c) {
        list_remove(&c->link);
        blob_unref(c->blob);
        free(c);
}

void outq_init(OutQueue *q) {
        list_init(&q->chunks);
        q->bytes = q->held = 0;
}

void outq_done(OutQueue *q) {
        List *n;

        while (q->chunks.next && (n = list_first(&q->chunks)))
                chunk_free(list_entry(n, Chunk, link));
        q->bytes = q->held = 0;
}

static Chunk *outq_tail(OutQueue *q, size_t size) {
        Chunk *c = list_empty(&q->chunks) ? NULL : list_entry(q->chunks.prev, Chunk, link);

        if (c && !c->blob && c->room - c->end >= size)
                return c;
        return chunk_new(q, MAX(size, (size_t) OUTQ_CHUNK_SIZE));
}

uint8_t *outq_reserve(OutQueue *q, size_t size) {
        Chunk *c = outq_tail(q, size);

        return c ? c->bytes + c->end : NULL;
}

void outq_commit(OutQueue *q, size_t used) {
        Chunk *c = list_entry(q->chunks.prev, Chunk, link);

        assert(c->room - c->end >= used);
        c->end += used;
        q->bytes += used;
        if (c->start == c->end) /* nothing was written after all */
                chunk_free(c);
}

int outq_bytes(OutQueue *q, const void *data, size_t size) {
        if (size == 0)
                return 0;
        uint8_t *p = outq_reserve(q, size);
        if (!p)
                return -ENOMEM;
        memcpy(p, data, size);
        outq_commit(q, size);
        return 0;
}

int outq_blob(OutQueue *q, Blob *b) {
        const uint8_t *data;
        Chunk *c;
        int r;

        if (blob_size(b) == 0)
                return 0;
        r = blob_data(b, &data);
        if (r < 0)
                return r;
        if (b->size <= OUTQ_COPY_MAX)
                return outq_bytes(q, data, b->size);
        c = chunk_new(q, 0);
        if (!c)
                return -ENOMEM;
        c->blob = blob_ref(b);
        c->end = b->size;
        q->bytes += b->size;
        return 0;
}

int outq_bytes_memfd(OutQueue *q, const void *data, size_t size, Blob *b) {
        Chunk *c;
        int r;

        r = blob_memfd(b);
        if (r < 0)
                return r;
        c = chunk_new(q, size);
        if (!c)
                return -ENOMEM;
        memcpy(c->bytes, data, size);
        c->blob = blob_ref(b);
        c->pass = true;
        q->held += b->size;
        c->end = size;
        q->bytes += size;
        return 0;
}

static const uint8_t *chunk_data(const Chunk *c) {
        return c->blob && !c->pass ? c->blob->data : c->bytes;
}

/* Gathers the chunks that may leave in one call: up to the next descriptor, which must begin its own. */
static size_t outq_gather(OutQueue *q, struct iovec *iov, int *ret_fd, size_t *ret_bytes) {
        size_t n = 0, bytes = 0;

        *ret_fd = -1;
        LIST_FOREACH(l, &q->chunks) {
                Chunk *c = list_entry(l, Chunk, link);

                if (n == OUTQ_IOV_MAX || (c->pass && n > 0))
                        break;
                if (c->pass)
                        *ret_fd = c->blob->fd;
                iov[n].iov_base = (void *) (chunk_data(c) + c->start);
                iov[n].iov_len = c->end - c->start;
                bytes += iov[n++].iov_len;
        }
        *ret_bytes = bytes;
        return n;
}

static void outq_consume(OutQueue *q, size_t n) {
        q->bytes -= n;
        while (n > 0) {
                Chunk *c = list_first_entry(&q->chunks, Chunk, link);
                size_t k = MIN(n, c->end - c->start);

                c->start += k;
                n -= k;
                if (c->pass) { /* its first byte is out, and the descriptor with it */
                        q->held -= c->blob->size;
                        c->blob = blob_unref(c->blob);
                        c->pass = false;
                }
                if (c->start == c->end)
                        chunk_free(c);
        }
}

int outq_flush(OutQueue *q, int fd, bool is_socket) {
        struct iovec iov[OUTQ_IOV_MAX];

        while (!list_empty(&q->chunks)) {
                int pass_fd;
                size_t bytes, n_iov = outq_gather(q, iov, &pass_fd, &bytes);
                ssize_t n;

                if (is_socket)
                        n = fd_send(fd, iov, n_iov, pass_fd);
                else {
                        n = writev(fd, iov, (int) n_iov);
                        if (n < 0)
                                n = -errno;
                }
                if (n == -EINTR)
                        continue;
                if (n == -EAGAIN)
                        return 1;
                if (n < 0)
                        return (int) n;
                outq_consume(q, (size_t) n);
                if ((size_t) n < bytes)
                        return 1; /* full: the next call would only say EAGAIN */
        }
        return 0;
}

int outq_copy(const OutQueue *q, uint8_t **ret, size_t *ret_size) {
        _cleanup_free_ uint8_t *buf = malloc(q->bytes + 1);
        size_t n = 0;

        if (!buf)
                return -ENOMEM;
        LIST_FOREACH(l, &q->chunks) {
                Chunk *c = list_entry(l, Chunk, link);

                if (c->pass)
                        return -EBUSY;
                memcpy(buf + n, chunk_data(c) + c->start, c->end - c->start);
                n += c->end - c->start;
        }
        *ret = TAKE_PTR(buf);
        *ret_size = n;
        return 0;
}
