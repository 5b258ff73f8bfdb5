/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* BLAKE2b (RFC 7693, without key): names for content, such that nobody can make two contents with one name. */

#include "basic/macro.h"

#define BLAKE2B_BLOCK 128U
#define BLAKE2B_MAX 64U /* bytes of a digest */

typedef struct Blake2b {
        uint64_t h[8];
        uint64_t total; /* bytes compressed; a content of 2^64 of them is nobody's */
        size_t size;    /* of the digest */
        size_t used;
        uint8_t block[BLAKE2B_BLOCK];
} Blake2b;

/* `size`: bytes of the digest, 1 to BLAKE2B_MAX; digests of different sizes have nothing in common. */
void blake2b_begin(Blake2b *b, size_t size);
void blake2b_add(Blake2b *b, const void *data, size_t size);
/* Writes the digest, and wipes the state. */
void blake2b_end(Blake2b *b, uint8_t *ret);
