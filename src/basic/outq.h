/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An output queue: bytes, shared blobs and descriptors waiting to be written to a nonblocking descriptor. */

#include "basic/blob.h"
#include "basic/list.h"

typedef struct OutQueue {
        List chunks;
        size_t bytes;  /* waiting */
        size_t held;   /* bytes in the memfds that wait */
} OutQueue;

void outq_init(OutQueue *q);
void outq_done(OutQueue *q); /* drops what waits */

static inline bool outq_empty(const OutQueue *q) {
        return list_empty(&q->chunks);
}

/* Room for `size` contiguous bytes at the end, to be filled in by the caller at once and then counted by outq_commit(). NULL when out of memory. */
uint8_t *outq_reserve(OutQueue *q, size_t size);
void outq_commit(OutQueue *q, size_t used);
/* Copies bytes to the end. Returns 0 or -ENOMEM. */
int outq_bytes(OutQueue *q, const void *data, size_t size);
/* Appends a blob's bytes: copied when small, referenced otherwise. */
int outq_blob(OutQueue *q, Blob *b);
/* Appends bytes that travel together with a blob's memfd. */
int outq_bytes_memfd(OutQueue *q, const void *data, size_t size, Blob *b);

/* Writes until empty or full. `is_socket`: by sendmsg(). Returns 0 when all is out, 1 when the descriptor is full, -errno. */
int outq_flush(OutQueue *q, int fd, bool is_socket);

/* What waits, as one piece of memory, for hand-over to another process image; only where no memfd waits (-EBUSY). */
int outq_copy(const OutQueue *q, uint8_t **ret, size_t *ret_size);
