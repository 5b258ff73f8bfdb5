/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Compression: what comes back is what was given, whatever was given; what is damaged is refused; dictionaries are learnt when they pay. */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <zlib.h>

#include "basic/str.h"
#include "store/codec-internal.h"
#include "unit.h"

#define DOCUMENT_ROOM 4096U
#define LARGE (3U << 20)

/* A document as a job's result may be: much that all have in common, some that is its own. Returns its size. */
static size_t make_document(uint64_t *seed, char buf[DOCUMENT_ROOM]) {
        static const char *const states[] = { "completed", "failed, and will be tried again", "cancelled by its owner" };
        uint64_t a = unit_random(seed), b = unit_random(seed);
        int n = snprintf(buf, DOCUMENT_ROOM,
                         "{\"schema\":\"https://example.org/schemas/build-result/v3.json\",\"identifier\":\"%016llx\",\"state\":\"%s\","
                         "\"repository\":{\"type\":\"git\",\"url\":\"git+https://example.org/projects/%llu.git\",\"directory\":\"packages/%llu\"},"
                         "\"maintainers\":[{\"name\":\"user%llu\",\"email\":\"user%llu@example.org\"}],\"duration_seconds\":%llu.%03llu,"
                         "\"artifacts\":[{\"kind\":\"archive\",\"media_type\":\"application/x-xz\",\"size_bytes\":%llu,\"checksum\":\"%016llx%016llx\"}]}",
                         (unsigned long long) a, states[a % 3], (unsigned long long) (b % 1000), (unsigned long long) (b % 77),
                         (unsigned long long) (a % 50), (unsigned long long) (a % 50), (unsigned long long) (a % 900), (unsigned long long) (b % 1000),
                         (unsigned long long) (b % 10000000), (unsigned long long) a, (unsigned long long) b);

        ck_assert(n > 0 && (size_t) n < DOCUMENT_ROOM);
        return (size_t) n;
}

/* `size` bytes that compress, but not to nothing. Owned by the caller. */
static uint8_t *make_text(size_t size) {
        uint64_t seed = UNIT_SEED;
        uint8_t *p = malloc(MAX(size, (size_t) 1));

        ck_assert_ptr_nonnull(p);
        for (size_t i = 0; i < size; i++)
                p[i] = i % 7 == 0 ? (uint8_t) ('a' + unit_random(&seed) % 26) : (uint8_t) "\"name\": "[i % 8];
        return p;
}

static Codec *make_codec(void) {
        Codec *c;

        ck_assert_int_eq(codec_new(3, &c), 0);
        return c;
}

static void check_returns(Codec *c, Encoding e, uint64_t dictionary, const void *stored, size_t stored_size, const void *raw, size_t raw_size) {
        void *p;

        ck_assert_int_eq(codec_decompress(c, e, dictionary, stored, stored_size, raw_size, &p), 0);
        ck_assert_ptr_nonnull(p);
        ck_assert(raw_size == 0 || memcmp(p, raw, raw_size) == 0);
        free(p);
}

static void check_refused(Codec *c, Encoding e, uint64_t dictionary, const void *stored, size_t stored_size, size_t raw_size) {
        void *p = (void *) 1;

        ck_assert_int_eq(codec_decompress(c, e, dictionary, stored, stored_size, raw_size, &p), -EBADMSG);
        ck_assert_ptr_eq(p, (void *) 1); /* untouched */
}

START_TEST(what_gains_nothing_stays_as_it_is) {
        static const size_t sizes[] = { 0, 1, STORE_GAIN_BYTES_MIN, 40, 1000, 200000 };
        Codec *c = make_codec();
        uint64_t seed = UNIT_SEED;

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_free_ uint8_t *raw = malloc(sizes[i] + 1);
                Encoding e = _ENCODING_MAX;
                uint64_t dictionary = 1;
                void *p = raw;
                size_t n = 0;

                unit_random_bytes(&seed, raw, sizes[i]);
                ck_assert_int_eq(codec_compress(c, "m", raw, sizes[i], &e, &dictionary, &p, &n), 0);
                ck_assert_int_eq(e, ENCODING_IDENTITY);
                ck_assert_uint_eq(dictionary, 0);
                ck_assert_ptr_null(p);
                ck_assert_uint_eq(n, sizes[i]);
                check_returns(c, e, 0, raw, sizes[i], raw, sizes[i]);
        }
        codec_free(c);
}
END_TEST

START_TEST(gains_are_real_and_reversible) {
        Codec *c = make_codec();

        for (size_t size = 64; size < LARGE; size = size * 3 + 1) {
                _cleanup_free_ uint8_t *raw = make_text(size);
                _cleanup_free_ void *p = NULL;
                uint64_t dictionary;
                Encoding e;
                size_t n;

                ck_assert_int_eq(codec_compress(c, NULL, raw, size, &e, &dictionary, &p, &n), 0);
                if (e == ENCODING_IDENTITY) {
                        ck_assert_uint_lt(size, 300); /* only what is small may gain nothing */
                        continue;
                }
                ck_assert_int_eq(e, ENCODING_ZSTD);
                ck_assert_uint_eq(dictionary, 0);
                ck_assert_uint_le(n, size - MAX(size * STORE_GAIN_MIN / 100, (size_t) STORE_GAIN_BYTES_MIN));
                check_returns(c, e, 0, p, n, raw, size);
        }
        codec_free(c);
}
END_TEST

START_TEST(levels_out_of_range_are_the_nearest) {
        static const int levels[] = { -100, CODEC_LEVEL_MIN, CODEC_LEVEL_MAX, 1000 };
        char raw[16 * DOCUMENT_ROOM];
        size_t sizes[ELEMENTSOF(levels)], size = 0;
        uint64_t seed = UNIT_SEED;
        Codec *c = make_codec();

        for (unsigned i = 0; i < 16; i++)
                size += make_document(&seed, raw + size);
        for (size_t i = 0; i < ELEMENTSOF(levels); i++) {
                _cleanup_free_ void *p = NULL;
                uint64_t dictionary;
                Encoding e;

                codec_set_level(c, levels[i]);
                ck_assert_int_eq(codec_compress(c, NULL, raw, size, &e, &dictionary, &p, &sizes[i]), 0);
                check_returns(c, e, 0, p, sizes[i], raw, size);
        }
        ck_assert_uint_eq(sizes[0], sizes[1]);
        ck_assert_uint_eq(sizes[2], sizes[3]);
        ck_assert_uint_lt(sizes[2], sizes[0]);
        codec_free(c);
}
END_TEST

START_TEST(transcoding_among_all) {
        _cleanup_free_ uint8_t *raw = make_text(LARGE);
        static const size_t sizes[] = { 0, 1, 700, LARGE };
        Codec *c = make_codec();

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++)
                for (Encoding from = 0; from < _ENCODING_MAX; from++)
                        for (Encoding to = 0; to < _ENCODING_MAX; to++) {
                                _cleanup_free_ void *a = NULL, *b = NULL;
                                size_t an, bn;

                                ck_assert_int_eq(codec_transcode(c, ENCODING_IDENTITY, 0, raw, sizes[i], sizes[i], from, &a, &an), 0);
                                ck_assert_int_eq(!a, from == ENCODING_IDENTITY);
                                const void *stored = a ? a : raw;
                                check_returns(c, from, 0, stored, an, raw, sizes[i]);
                                ck_assert_int_eq(codec_transcode(c, from, 0, stored, an, sizes[i], to, &b, &bn), 0);
                                ck_assert_int_eq(!b, from == to); /* what is right already is not touched */
                                check_returns(c, to, 0, b ? b : stored, bn, raw, sizes[i]);
                        }
        codec_free(c);
}
END_TEST

START_TEST(gzip_is_what_zlib_reads) {
        _cleanup_free_ uint8_t *raw = make_text(10000);
        _cleanup_free_ void *p = NULL;
        uint8_t back[10001];
        Codec *c = make_codec();
        z_stream z = {};
        size_t n;

        ck_assert_int_eq(codec_transcode(c, ENCODING_IDENTITY, 0, raw, 10000, 10000, ENCODING_GZIP, &p, &n), 0);
        ck_assert_int_eq(inflateInit2(&z, MAX_WBITS + 16), Z_OK);
        z.next_in = p;
        z.avail_in = (uInt) n;
        z.next_out = back;
        z.avail_out = sizeof(back);
        ck_assert_int_eq(inflate(&z, Z_FINISH), Z_STREAM_END);
        ck_assert_uint_eq(z.total_out, 10000);
        ck_assert_int_eq(memcmp(back, raw, 10000), 0);
        inflateEnd(&z);
        codec_free(c);
}
END_TEST

/* Every cut, every flipped bit, wrong sizes, and what follows: refused, or (where a bit means nothing) the same bytes. */
static void check_damage(Codec *c, Encoding e, uint64_t dictionary, const uint8_t *stored, size_t n, const uint8_t *raw, size_t raw_size) {
        unsigned same = 0;

        for (size_t cut = 0; cut < n; cut++) {
                _cleanup_free_ uint8_t *copy = malloc(MAX(cut, (size_t) 1)); /* of that size, so that ASan sees a read beyond it */

                memcpy(copy, stored, cut);
                check_refused(c, e, dictionary, copy, cut, raw_size);
        }
        for (size_t bit = 0; bit < n * 8; bit++) {
                _cleanup_free_ uint8_t *copy = malloc(n);
                void *p = NULL;
                int r;

                memcpy(copy, stored, n);
                copy[bit / 8] ^= (uint8_t) (1U << bit % 8);
                r = codec_decompress(c, e, dictionary, copy, n, raw_size, &p);
                ck_assert(r == -EBADMSG || r == 0);
                ck_assert(r < 0 || memcmp(p, raw, raw_size) == 0);
                same += r == 0;
                free(p);
        }
        ck_assert_uint_le(same, 80); /* gzip's time, system and flags; one unused bit of zstd's */
        for (size_t size = 0; size < raw_size + 70000; size += size < 3 || raw_size - size < 3 ? 1 : 997)
                if (size != raw_size)
                        check_refused(c, e, dictionary, stored, n, size);
        check_refused(c, e, dictionary, stored, n, raw_size - 1);
        check_refused(c, e, dictionary, stored, n, raw_size + 1);
        check_refused(c, e, dictionary, stored, n, SIZE_MAX);

        _cleanup_free_ uint8_t *longer = malloc(n * 2);
        memcpy(longer, stored, n);
        memcpy(longer + n, stored, n);
        check_refused(c, e, dictionary, longer, n + 1, raw_size);
        check_refused(c, e, dictionary, longer, n * 2, raw_size);
        check_refused(c, e, dictionary, longer, n * 2, raw_size * 2); /* two of them are not one */
}

START_TEST(damage_is_found) {
        _cleanup_free_ uint8_t *raw = make_text(2000);
        Codec *c = make_codec();

        for (Encoding e = ENCODING_ZSTD; e < _ENCODING_MAX; e++) {
                _cleanup_free_ void *p = NULL;
                size_t n;

                ck_assert_int_eq(codec_transcode(c, ENCODING_IDENTITY, 0, raw, 2000, 2000, e, &p, &n), 0);
                check_damage(c, e, 0, p, n, raw, 2000);
                for (Encoding to = 0; to < _ENCODING_MAX; to++) {
                        void *out = (void *) 1;
                        size_t out_size = 1;

                        ck_assert_int_eq(codec_transcode(c, e, 0, p, n - 1, 2000, to, &out, &out_size), -EBADMSG);
                        ck_assert_ptr_eq(out, (void *) 1);
                        ck_assert_uint_eq(out_size, 1);
                }
                check_refused(c, e, 7, p, n, 2000); /* an unknown dictionary, or one where there is none */
        }
        check_refused(c, ENCODING_IDENTITY, 0, raw, 2000, 1999);
        check_refused(c, ENCODING_IDENTITY, 7, raw, 2000, 2000);
        check_refused(c, _ENCODING_MAX, 0, raw, 2000, 2000);
        codec_free(c);
}
END_TEST

START_TEST(garbage_is_refused) {
        Codec *c = make_codec();
        uint64_t seed = UNIT_SEED;

        for (unsigned i = 0; i < 20000; i++) {
                size_t n = unit_random(&seed) % 300;
                _cleanup_free_ uint8_t *p = malloc(n + 1);
                static const uint8_t magic[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x20 }, gzip[] = { 0x1f, 0x8b, 8, 0 };

                unit_random_bytes(&seed, p, n);
                if (i % 3 == 1 && n >= sizeof(magic))
                        memcpy(p, magic, sizeof(magic)); /* its next byte is the content size */
                if (i % 3 == 2 && n >= sizeof(gzip))
                        memcpy(p, gzip, sizeof(gzip));
                check_refused(c, i % 3 == 2 ? ENCODING_GZIP : ENCODING_ZSTD, 0, p, n, n > 5 ? p[5] : 0);
        }
        codec_free(c);
}
END_TEST

START_TEST(a_lying_header_allocates_nothing) {
        /* a frame of one segment and 8 bytes of content size, then an empty last block */
        uint8_t zstd[] = { 0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0 };
        uint8_t gzip[] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
        Codec *c = make_codec();

        ck_assert_int_eq(codec_check(ENCODING_ZSTD, zstd, sizeof(zstd), 0), 0);
        ck_assert_int_eq(codec_check(ENCODING_GZIP, gzip, sizeof(gzip), 0), 0);
        check_returns(c, ENCODING_GZIP, 0, gzip, sizeof(gzip), "", 0);
        for (unsigned shift = 20; shift < 64; shift++) {
                uint64_t size = UINT64_C(1) << shift;

                for (unsigned i = 0; i < 8; i++)
                        zstd[5 + i] = (uint8_t) (size >> 8 * i);
                for (unsigned i = 0; i < 4; i++)
                        gzip[16 + i] = (uint8_t) (size >> 8 * i);
                /* codec_check() has nothing to allocate with, and both callers ask it first */
                ck_assert_int_eq(codec_check(ENCODING_ZSTD, zstd, sizeof(zstd), size), -EBADMSG);
                ck_assert_int_eq(codec_check(ENCODING_GZIP, gzip, sizeof(gzip), size), -EBADMSG);
                check_refused(c, ENCODING_ZSTD, 0, zstd, sizeof(zstd), size);
                check_refused(c, ENCODING_GZIP, 0, gzip, sizeof(gzip), size);
        }
        codec_free(c);
}
END_TEST

START_TEST(what_shrinks_most_still_comes_back) {
        size_t size = 8U << 20;
        _cleanup_free_ uint8_t *zeros = calloc(1, size);
        Codec *c = make_codec();

        for (Encoding e = ENCODING_ZSTD; e < _ENCODING_MAX; e++) {
                _cleanup_free_ void *p = NULL;
                size_t n;

                ck_assert_int_eq(codec_transcode(c, ENCODING_IDENTITY, 0, zeros, size, size, e, &p, &n), 0);
                check_returns(c, e, 0, p, n, zeros, size);
        }
        codec_free(c);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- dictionaries */

typedef struct Owner {
        pthread_mutex_t mutex;
        Codec *codec;  /* to which new ones are given back at once, or NULL */
        unsigned n;
        uint64_t next; /* id */
        char method[CODEC_METHOD_LENGTH_MAX + 1];
        uint8_t body[CODEC_DICTIONARY_MAX];
        size_t size;
} Owner;

static void on_trained(const char *method, const void *body, size_t size, void *userdata) {
        Owner *o = userdata;

        pthread_mutex_lock(&o->mutex);
        o->n++;
        strcpy(o->method, method);
        memcpy(o->body, body, size);
        o->size = size;
        if (o->codec)
                ck_assert_int_eq(codec_add_dictionary(o->codec, ++o->next, method, body, size), 0);
        pthread_mutex_unlock(&o->mutex);
}

static void sample_documents(Codec *c, const char *method, uint64_t *seed, unsigned n) {
        char buf[DOCUMENT_ROOM];

        for (unsigned i = 0; i < n; i++)
                codec_sample(c, method, buf, make_document(seed, buf));
}

START_TEST(a_dictionary_is_learnt_and_pays) {
        _cleanup_free_ void *plain = NULL, *with = NULL, *wire = NULL, *raw = NULL;
        Owner owner = { .mutex = PTHREAD_MUTEX_INITIALIZER };
        Codec *c = make_codec(), *other = make_codec();
        uint64_t seed = UNIT_SEED, dictionary;
        char document[DOCUMENT_ROOM];
        size_t size, plain_size, with_size, wire_size;
        Encoding e;

        codec_set_trained(c, on_trained, &owner);
        sample_documents(c, "build", &seed, 100);
        ck_assert_int_eq(codec_train_one(c), 0); /* not enough */
        sample_documents(c, "build", &seed, 400);
        ck_assert_int_eq(codec_train_one(c), 1);
        ck_assert_int_eq(codec_train_one(c), 0); /* its samples are gone */
        ck_assert_uint_eq(owner.n, 1);
        ck_assert_str_eq(owner.method, "build");

        /* it is not used before its owner has stored it */
        size = make_document(&seed, document);
        ck_assert_int_eq(codec_compress(c, "build", document, size, &e, &dictionary, &plain, &plain_size), 0);
        ck_assert_uint_eq(dictionary, 0);
        ck_assert_int_eq(codec_add_dictionary(c, 9, "build", owner.body, owner.size), 0);
        ck_assert_int_eq(codec_add_dictionary(c, 9, "build", owner.body, owner.size), -EEXIST);
        ck_assert_uint_eq(codec_dictionaries(c), 1);
        ck_assert_int_eq(codec_compress(c, "build", document, size, &e, &dictionary, &with, &with_size), 0);
        ck_assert_int_eq(e, ENCODING_ZSTD);
        ck_assert_uint_eq(dictionary, 9);
        ck_assert_uint_lt(with_size * 2, plain_size);
        check_returns(c, e, 9, with, with_size, document, size);
        check_damage(c, e, 9, with, with_size, (uint8_t *) document, size);

        /* a codec after a restart: it knows what was stored, and nothing else */
        check_refused(other, e, 9, with, with_size, size);
        check_refused(other, e, 0, with, with_size, size);
        ck_assert_int_eq(codec_add_dictionary(other, 9, "build", owner.body, owner.size), 0);
        check_returns(other, e, 9, with, with_size, document, size);

        /* on the wire there is no dictionary, though both are zstd */
        ck_assert_int_eq(codec_transcode(c, e, 9, with, with_size, size, ENCODING_ZSTD, &wire, &wire_size), 0);
        ck_assert_ptr_nonnull(wire);
        raw = malloc(size);
        ck_assert_uint_eq(ZSTD_decompress(raw, size, wire, wire_size), size);
        ck_assert_int_eq(memcmp(raw, document, size), 0);
        codec_free(c);
        codec_free(other);
}
END_TEST

START_TEST(a_dictionary_that_does_not_pay_is_not_taken) {
        Owner owner = { .mutex = PTHREAD_MUTEX_INITIALIZER };
        Codec *c = make_codec();
        uint64_t seed = UNIT_SEED;
        uint8_t noise[2000];

        codec_set_trained(c, on_trained, &owner);
        for (unsigned i = 0; i < 400; i++) {
                unit_random_bytes(&seed, noise, sizeof(noise));
                codec_sample(c, "noise", noise, sizeof(noise));
        }
        ck_assert_int_eq(codec_train_one(c), 1);
        ck_assert_uint_eq(owner.n, 0);

        /* one like the one in use does not pay either, and is not tried soon */
        owner.codec = c;
        sample_documents(c, "build", &seed, 1000);
        ck_assert_int_eq(codec_train_one(c), 1);
        ck_assert_uint_eq(owner.n, 1);
        sample_documents(c, "build", &seed, 1000);
        ck_assert_int_eq(codec_train_one(c), 0);
        sample_documents(c, "build", &seed, CODEC_RETRAIN_AFTER * 2);
        ck_assert_int_eq(codec_train_one(c), 1);
        ck_assert_uint_eq(owner.n, 1);
        ck_assert_uint_eq(codec_dictionaries(c), 1);
        codec_free(c);
}
END_TEST

START_TEST(a_newer_dictionary_is_used_and_the_older_kept) {
        Owner a = { .mutex = PTHREAD_MUTEX_INITIALIZER }, b = a;
        Codec *c = make_codec(), *learner = make_codec();
        uint64_t seed = UNIT_SEED, dictionary;
        char document[DOCUMENT_ROOM];
        _cleanup_free_ void *first = NULL, *second = NULL;
        size_t size = make_document(&seed, document), first_size, second_size;
        Encoding e;

        codec_set_trained(learner, on_trained, &a);
        sample_documents(learner, "build", &seed, 500);
        ck_assert_int_eq(codec_train_one(learner), 1);
        codec_set_trained(learner, on_trained, &b);
        sample_documents(learner, "build2", &seed, 800);
        ck_assert_int_eq(codec_train_one(learner), 1);
        ck_assert(a.size > 0 && b.size > 0);

        ck_assert_int_eq(codec_add_dictionary(c, 5, "m", a.body, a.size), 0);
        ck_assert_int_eq(codec_compress(c, "m", document, size, &e, &dictionary, &first, &first_size), 0);
        ck_assert_uint_eq(dictionary, 5);
        ck_assert_int_eq(codec_add_dictionary(c, 7, "m", b.body, b.size), 0);
        ck_assert_int_eq(codec_add_dictionary(c, 6, "m", a.body, a.size), 0);
        ck_assert_int_eq(codec_compress(c, "m", document, size, &e, &dictionary, &second, &second_size), 0);
        ck_assert_uint_eq(dictionary, 7);
        check_returns(c, e, 5, first, first_size, document, size);
        check_returns(c, e, 7, second, second_size, document, size);
        check_refused(c, e, 7, first, first_size, size); /* the wrong one */
        codec_free(c);
        codec_free(learner);
}
END_TEST

START_TEST(dictionaries_that_are_none) {
        char long_name[CODEC_METHOD_LENGTH_MAX + 2] = {};
        uint8_t noise[2000];
        Codec *c = make_codec();
        uint64_t seed = UNIT_SEED;

        unit_random_bytes(&seed, noise, sizeof(noise));
        memset(long_name, 'm', sizeof(long_name) - 1);
        ck_assert_int_eq(codec_add_dictionary(c, 1, "m", noise, sizeof(noise)), -EBADMSG);
        ck_assert_int_eq(codec_add_dictionary(c, 1, "m", noise, 0), -EBADMSG);
        ck_assert_int_eq(codec_add_dictionary(c, 0, "m", noise, sizeof(noise)), -EBADMSG);
        memcpy(noise, "\x37\xa4\x30\xec", 4); /* the right magic, and nothing behind it */
        ck_assert_int_eq(codec_add_dictionary(c, 1, "m", noise, sizeof(noise)), -EBADMSG);
        ck_assert_int_eq(codec_add_dictionary(c, 1, long_name, noise, sizeof(noise)), -EBADMSG);
        ck_assert_uint_eq(codec_dictionaries(c), 0);
        codec_free(c);
}
END_TEST

START_TEST(samples_are_bounded) {
        static uint8_t large[CODEC_DOCUMENT_MAX + 1];
        Owner owner = { .mutex = PTHREAD_MUTEX_INITIALIZER };
        char long_name[CODEC_METHOD_LENGTH_MAX + 2] = {}, name[32];
        Codec *c = make_codec();
        uint64_t seed = UNIT_SEED;

        codec_sample(c, "nobody", large, sizeof(large) - 1); /* there is no owner yet */
        ck_assert_uint_eq(c->n_methods, 0);
        codec_set_trained(c, on_trained, &owner);
        memset(long_name, 'm', sizeof(long_name) - 1);
        codec_sample(c, NULL, large, 1000);
        codec_sample(c, long_name, large, 1000);
        codec_sample(c, "m", large, CODEC_SAMPLE_MIN - 1);
        codec_sample(c, "m", large, sizeof(large));
        ck_assert_uint_eq(c->n_methods, 0);

        for (unsigned i = 0; i < 20000; i++) {
                snprintf(name, sizeof(name), "method-%u", i % 100 < 90 ? i / 500 : i);
                codec_sample(c, name, large, unit_random(&seed) % sizeof(large));
                ck_assert_uint_le(c->n_methods, CODEC_METHODS_MAX);
                ck_assert_uint_le(c->sample_room, CODEC_SAMPLES_TOTAL_MAX);
        }
        LIST_FOREACH(i, &c->methods) {
                Method *m = list_entry(i, Method, link);

                ck_assert(m->n <= CODEC_SAMPLES_MAX && m->bytes <= m->room && m->room <= CODEC_SAMPLES_BYTES_MAX);
        }
        codec_free(c);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------------ threads */

#define THREADS 4U
#define TURNS 500U

typedef struct Party {
        Codec *codec;
        uint64_t seed;
        unsigned with_dictionary;
} Party;

static void *one_thread(void *userdata) {
        Party *party = userdata;
        char document[DOCUMENT_ROOM], name[16];

        for (unsigned i = 0; i < TURNS; i++) {
                _cleanup_free_ void *p = NULL;
                size_t size = make_document(&party->seed, document), n;
                uint64_t dictionary;
                Encoding e;

                snprintf(name, sizeof(name), "m%u", i % 3);
                codec_sample(party->codec, name, document, size);
                ck_assert_int_eq(codec_compress(party->codec, name, document, size, &e, &dictionary, &p, &n), 0);
                check_returns(party->codec, e, dictionary, p ? p : document, n, document, size);
                party->with_dictionary += dictionary != 0;
        }
        return NULL;
}

START_TEST(many_threads_and_the_trainer) {
        Owner owner = { .mutex = PTHREAD_MUTEX_INITIALIZER };
        Party parties[THREADS];
        pthread_t threads[THREADS];
        unsigned with = 0;
        uint64_t until;

        owner.codec = make_codec();
        codec_set_trained(owner.codec, on_trained, &owner);
        ck_assert_int_eq(codec_start_trainer(owner.codec), 0);
        for (unsigned i = 0; i < THREADS; i++) {
                parties[i] = (Party) { .codec = owner.codec, .seed = UNIT_SEED + i };
                ck_assert_int_eq(pthread_create(&threads[i], NULL, one_thread, &parties[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        /* all three methods are due by now: the trainer has had them, or will */
        until = now_usec() + 60 * USEC_PER_SEC;
        while (codec_dictionaries(owner.codec) < 3 && now_usec() < until)
                sched_yield();
        ck_assert_uint_eq(codec_dictionaries(owner.codec), 3);
        ck_assert_ptr_null(one_thread(&parties[0]));
        for (unsigned i = 0; i < THREADS; i++)
                with += parties[i].with_dictionary;
        ck_assert_uint_ge(with, TURNS);
        ck_assert_uint_le(owner.codec->n_contexts, CODEC_CONTEXTS_KEPT);
        codec_free(owner.codec);
}
END_TEST

START_TEST(the_end_does_not_wait_for_samples) {
        Owner owner = { .mutex = PTHREAD_MUTEX_INITIALIZER };
        uint64_t seed = UNIT_SEED;

        for (unsigned n = 0; n < 600; n += 150) { /* before, while and after it trains */
                Codec *c = make_codec();

                codec_set_trained(c, on_trained, &owner);
                ck_assert_int_eq(codec_start_trainer(c), 0);
                sample_documents(c, "build", &seed, n);
                codec_free(c);
        }
}
END_TEST

START_TEST(names) {
        for (int e = 0; e < _ENCODING_MAX; e++)
                ck_assert_int_eq(encoding_from_string(encoding_to_string(e)), e);
        ck_assert_ptr_null(encoding_to_string(_ENCODING_MAX));
        ck_assert_int_eq(encoding_from_string("br"), -EINVAL);
}
END_TEST

UNIT_MAIN("codec", what_gains_nothing_stays_as_it_is, gains_are_real_and_reversible, levels_out_of_range_are_the_nearest,
          transcoding_among_all, gzip_is_what_zlib_reads, damage_is_found, garbage_is_refused, a_lying_header_allocates_nothing,
          what_shrinks_most_still_comes_back, a_dictionary_is_learnt_and_pays, a_dictionary_that_does_not_pay_is_not_taken,
          a_newer_dictionary_is_used_and_the_older_kept, dictionaries_that_are_none, samples_are_bounded,
          many_threads_and_the_trainer, the_end_does_not_wait_for_samples, names)
