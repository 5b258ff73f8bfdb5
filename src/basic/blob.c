/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Payloads. One blob is read into once, then only shared: by the job that owns it, the output queue that sends it, the result that keeps it. */

#include <errno.h>
#include <sys/mman.h>

#include "basic/blob.h"
#include "basic/fd.h"

static Blob *blob_alloc(size_t room, size_t size, int fd) {
        Blob *b = malloc(sizeof(Blob) + room);

        if (!b)
                return NULL;
        b->n_ref = 1;
        b->fd = fd;
        b->size = size;
        b->data = fd < 0 ? b->bytes : NULL;
        return b;
}

Blob *blob_new(size_t size) {
        return blob_alloc(size, size, -1);
}

Blob *blob_new_copy(const void *data, size_t size) {
        Blob *b = blob_new(size);

        if (b && size > 0)
                memcpy(b->bytes, data, size);
        return b;
}

Blob *blob_new_memfd(int fd, size_t size) {
        return blob_alloc(0, size, fd);
}

Blob *blob_ref(Blob *b) {
        if (b)
                b->n_ref++;
        return b;
}

Blob *blob_unref(Blob *b) {
        if (!b || --b->n_ref > 0)
                return NULL;
        if (b->data && b->data != b->bytes)
                (void) munmap(b->data, b->size);
        fd_close(b->fd);
        free(b);
        return NULL;
}

int blob_data(Blob *b, const uint8_t **ret) {
        if (!b->data && b->size > 0) {
                void *p;
                int r = memfd_map(b->fd, b->size, &p);

                if (r < 0)
                        return r;
                b->data = p;
        }
        *ret = b->data;
        return 0;
}

int blob_memfd(Blob *b) {
        if (b->fd < 0) {
                int fd = memfd_new_sealed("flowd-payload", b->data, b->size);

                if (fd < 0)
                        return fd;
                b->fd = fd;
        }
        return b->fd;
}
