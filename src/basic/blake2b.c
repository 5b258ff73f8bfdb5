/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * BLAKE2b, because none of the libraries that flowd links has a hash that holds against somebody who looks for collisions, and because
 * on 64-bit machines it is the fastest of those that are written in a page: about a nanosecond a byte.
 */

#include <endian.h>

#include "basic/blake2b.h"

#define ROUNDS 12U

static const uint64_t iv[8] = {
        UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b), UINT64_C(0x3c6ef372fe94f82b), UINT64_C(0xa54ff53a5f1d36f1),
        UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f), UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179),
};

static const uint8_t sigma[ROUNDS][16] = {
        { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }, { 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3 },
        { 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4 }, { 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8 },
        { 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13 }, { 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9 },
        { 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11 }, { 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10 },
        { 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5 }, { 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0 },
        { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }, { 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3 },
};

static inline uint64_t rotate(uint64_t v, unsigned n) {
        return v >> n | v << (64 - n);
}

static inline void mix(uint64_t *a, uint64_t *b, uint64_t *c, uint64_t *d, uint64_t x, uint64_t y) {
        *a += *b + x;
        *d = rotate(*d ^ *a, 32);
        *c += *d;
        *b = rotate(*b ^ *c, 24);
        *a += *b + y;
        *d = rotate(*d ^ *a, 16);
        *c += *d;
        *b = rotate(*b ^ *c, 63);
}

static void compress(Blake2b *b, const uint8_t block[BLAKE2B_BLOCK], bool last) {
        uint64_t v[16], m[16];

        memcpy(m, block, sizeof(m));
        for (unsigned i = 0; i < 16; i++)
                m[i] = le64toh(m[i]);
        for (unsigned i = 0; i < 8; i++) {
                v[i] = b->h[i];
                v[i + 8] = iv[i];
        }
        v[12] ^= b->total;
        if (last)
                v[14] = ~v[14];
        for (unsigned i = 0; i < ROUNDS; i++) {
                const uint8_t *s = sigma[i];

                mix(&v[0], &v[4], &v[8], &v[12], m[s[0]], m[s[1]]);
                mix(&v[1], &v[5], &v[9], &v[13], m[s[2]], m[s[3]]);
                mix(&v[2], &v[6], &v[10], &v[14], m[s[4]], m[s[5]]);
                mix(&v[3], &v[7], &v[11], &v[15], m[s[6]], m[s[7]]);
                mix(&v[0], &v[5], &v[10], &v[15], m[s[8]], m[s[9]]);
                mix(&v[1], &v[6], &v[11], &v[12], m[s[10]], m[s[11]]);
                mix(&v[2], &v[7], &v[8], &v[13], m[s[12]], m[s[13]]);
                mix(&v[3], &v[4], &v[9], &v[14], m[s[14]], m[s[15]]);
        }
        for (unsigned i = 0; i < 8; i++)
                b->h[i] ^= v[i] ^ v[i + 8];
}

void blake2b_begin(Blake2b *b, size_t size) {
        assert(size > 0 && size <= BLAKE2B_MAX);
        *b = (Blake2b) { .size = size };
        memcpy(b->h, iv, sizeof(iv));
        b->h[0] ^= UINT64_C(0x01010000) ^ size;
}

void blake2b_add(Blake2b *b, const void *data, size_t size) {
        const uint8_t *p = data;

        /* the last block is compressed by blake2b_end(), so a full one waits for what follows */
        while (size > 0) {
                if (b->used == BLAKE2B_BLOCK) {
                        b->total += BLAKE2B_BLOCK;
                        compress(b, b->block, false);
                        b->used = 0;
                }
                size_t n = MIN(size, BLAKE2B_BLOCK - b->used);

                memcpy(b->block + b->used, p, n);
                b->used += n;
                p += n;
                size -= n;
        }
}

void blake2b_end(Blake2b *b, uint8_t *ret) {
        memset(b->block + b->used, 0, BLAKE2B_BLOCK - b->used);
        b->total += b->used;
        compress(b, b->block, true);
        for (unsigned i = 0; i < 8; i++)
                b->h[i] = htole64(b->h[i]);
        memcpy(ret, b->h, b->size);
        *b = (Blake2b) {};
}
