/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Payloads: reference-counted bytes, in memory or in a sealed memfd that is mapped only when somebody looks. */

#include "basic/macro.h"

typedef struct Blob {
        unsigned n_ref;
        int fd;         /* a sealed memfd, or -1 */
        size_t size;
        uint8_t *data;  /* NULL for a memfd that was not mapped yet, and for nothing */
        uint8_t bytes[]; /* data points here, unless mapped */
} Blob;

/* Uninitialised room for `size` bytes; NULL when out of memory. */
Blob *blob_new(size_t size);
Blob *blob_new_copy(const void *data, size_t size);
/* Takes over a sealed memfd that was checked by memfd_check(). On failure the descriptor is still the caller's. */
Blob *blob_new_memfd(int fd, size_t size);
Blob *blob_ref(Blob *b);
Blob *blob_unref(Blob *b);
DEFINE_CLEANUP(Blob *, blob_unref);

/* The bytes, mapped where needed. Returns 0 or -errno. */
int blob_data(Blob *b, const uint8_t **ret);
/* Its sealed memfd, made where needed; still owned by the blob. Returns a descriptor or -errno. */
int blob_memfd(Blob *b);

static inline size_t blob_size(const Blob *b) {
        return b ? b->size : 0;
}
