/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Compression: whatever is read back, nothing reads or writes beyond it, and what is accepted has the size that was asked for and
 * survives the way there and back in every encoding. The first byte says how the rest was encoded and with which dictionary, the next
 * three how large it was.
 */

#include <errno.h>
#include <zdict.h>

#include "fuzz.h"
#include "store/codec.h"

#define HEADER 4U
#define RAW_MAX (256U << 10) /* two blocks; more would only be slower */
#define SAMPLES 64U

/* Trained once, and the same on every run: what many similar documents have in common. */
static void add_dictionary(Codec *c) {
        static char body[4096];
        static size_t n;

        if (n == 0) {
                char samples[SAMPLES * 128];
                size_t sizes[SAMPLES], at = 0;

                for (unsigned i = 0; i < SAMPLES; i++) {
                        sizes[i] = (size_t) snprintf(samples + at, sizeof(samples) - at,
                                                     "{\"job\":%u,\"status\":\"completed\",\"pool\":\"echo\",\"value\":%u}", i * 7919, i * 104729);
                        at += sizes[i];
                }
                n = ZDICT_trainFromBuffer(body, sizeof(body), samples, sizes, SAMPLES);
                CHECK(!ZDICT_isError(n));
        }
        CHECK(codec_add_dictionary(c, 1, "m", body, n) == 0);
}

static void check_same(Codec *c, Encoding e, uint64_t dictionary, const void *stored, size_t n, const void *raw, size_t size) {
        void *p;

        CHECK(codec_decompress(c, e, dictionary, stored, n, size, &p) == 0);
        CHECK(size == 0 || memcmp(p, raw, size) == 0);
        free(p);
}

static void check_accepted(Codec *c, Encoding e, uint64_t dictionary, const uint8_t *data, size_t size, const void *raw, size_t raw_size) {
        void *p;
        size_t n;
        uint64_t used;
        Encoding made;

        for (Encoding to = 0; to < _ENCODING_MAX; to++) {
                CHECK(codec_transcode(c, e, dictionary, data, size, raw_size, to, &p, &n) == 0);
                check_same(c, to, 0, p ? p : data, n, raw, raw_size);
                free(p);
        }
        CHECK(codec_compress(c, dictionary ? "m" : NULL, raw, raw_size, &made, &used, &p, &n) == 0);
        CHECK(n <= raw_size && (used == 0 || used == dictionary) && !p == (made == ENCODING_IDENTITY));
        check_same(c, made, used, p ? p : raw, n, raw, raw_size);
        free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Codec *c;

        if (size < HEADER)
                return 0;
        Encoding e = data[0] & 3; /* _ENCODING_MAX among them */
        uint64_t dictionary = data[0] >> 2 & 3;
        size_t raw_size = (size_t) data[1] | (size_t) data[2] << 8 | (size_t) data[3] << 16;
        void *raw = NULL;

        if (raw_size > RAW_MAX)
                return 0;
        data += HEADER;
        size -= HEADER;
        CHECK(codec_new(1, &c) == 0);
        if (dictionary == 1)
                add_dictionary(c);
        int r = codec_decompress(c, e, dictionary, data, size, raw_size, &raw);
        CHECK(r == 0 || (r == -EBADMSG && !raw));
        if (r == 0) {
                check_accepted(c, e, dictionary, data, size, raw, raw_size);
                free(raw);
        }
        (void) codec_add_dictionary(c, 2, "garbage", data, size);
        codec_free(c);
        return 0;
}
