/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One spelling for all JSON texts that say the same; and the digest that names them. */

#include <errno.h>
#include <stdio.h>

#include "basic/blake2b.h"
#include "proto/json-canonical.h"
#include "unit.h"

static void check(const char *text, const char *expect) {
        JsonBuffer b = {};

        ck_assert_int_eq(json_canonical(text, strlen(text), &b), 0);
        ck_assert_uint_eq(b.size, strlen(expect));
        ck_assert_int_eq(memcmp(b.data, expect, b.size), 0);
        json_buffer_clear(&b);
}

START_TEST(spellings) {
        check(" null ", "null");
        check("-1.50e+3", "-1.50e+3");
        check("\"a\"", "\"a\"");
        check("[ ]", "[]");
        check("{ }", "{}");
        check("[ 1 , [ ] , { } , \"x\" ]", "[1,[],{},\"x\"]");
        check("{\"b\":1,\"a\":2}", "{\"a\":2,\"b\":1}");
        check("{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2}");
        check("{\"b\":1,\"ab\":2,\"a\":3,\"\":4}", "{\"\":4,\"a\":3,\"ab\":2,\"b\":1}");
        check("{\"z\":{\"y\":{\"b\":[{\"d\":1,\"c\":2}],\"a\":0},\"x\":1},\"w\":2}", "{\"w\":2,\"z\":{\"x\":1,\"y\":{\"a\":0,\"b\":[{\"c\":2,\"d\":1}]}}}");
        check("{\"b\":1,\"a\":2,\"b\":0}", "{\"a\":2,\"b\":1,\"b\":0}"); /* whoever reads it may take the first or the last */
        check("{\"\\u0062\":1,\"a\":2,\"b\":0}", "{\"a\":2,\"b\":1,\"b\":0}");
        check("\"\\u0041\\/\\u00e9\\t\\u0009\\\"\\\\\"", "\"A/\xc3\xa9\\t\\t\\\"\\\\\"");
        check("\"\\ud83d\\ude00\\u0000\"", "\"\xf0\x9f\x98\x80\\u0000\"");
        check("\"\xe2\x80\xa8\"", "\"\\u2028\"");
        check("\"\\u2028\"", "\"\\u2028\"");
        check("[\"]\",\"}\",\",\",\"\\\\\",\"\\\"\",true,1]", "[\"]\",\"}\",\",\",\"\\\\\",\"\\\"\",true,1]");
}
END_TEST

START_TEST(no_JSON) {
        static const char *const bad[] = { "", " ", "{", "[1,]", "{\"a\"}", "{\"a\":1,}", "nul", "01", "\"\\x\"", "1 2", "\"\xff\"" };
        JsonBuffer b = {};

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ck_assert_int_eq(json_canonical(bad[i], strlen(bad[i]), &b), -EBADMSG);
        json_buffer_clear(&b);
}
END_TEST

START_TEST(nesting) {
        char text[2 * JSON_DEPTH_MAX + 3];
        JsonBuffer b = {};

        memset(text, '[', JSON_DEPTH_MAX + 1);
        memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
        ck_assert_int_eq(json_canonical(text, 2 * JSON_DEPTH_MAX + 2, &b), -E2BIG);
        ck_assert_int_eq(json_canonical(text + 1, 2 * JSON_DEPTH_MAX, &b), 0);
        ck_assert_uint_eq(b.size, 2 * JSON_DEPTH_MAX);
        json_buffer_clear(&b);
}
END_TEST

START_TEST(appends) {
        JsonBuffer b = {};

        ck_assert_int_eq(json_append(&b, "x=", 2), 0);
        ck_assert_int_eq(json_canonical("{\"b\":1,\"a\":2}", 13, &b), 0);
        ck_assert_uint_eq(b.size, 15);
        ck_assert_int_eq(memcmp(b.data, "x={\"a\":2,\"b\":1}", 15), 0);
        json_buffer_clear(&b);
}
END_TEST

/* A random value, twice: `b` says the same as `a` in another spelling. */
static void random_value(uint64_t *seed, unsigned depth, JsonBuffer *a, JsonBuffer *b) {
        static const char *const words[][2] = { { "1", " 1" }, { "\"x\"", "\"\\u0078\" " }, { "null", "\tnull" }, { "[]", "[ ]" }, { "{}", "{\n}" },
                                                { "-2.5e7", "-2.5e7" } };
        static const char *const blanks[] = { "", " ", "\n\t" };
        unsigned n = (unsigned) (unit_random(seed) % 6), kind = depth == 0 ? 0 : (unsigned) (unit_random(seed) % 3), offset;
        JsonBuffer x[6] = {}, y[6] = {};

        if (kind == 0) {
                unsigned i = (unsigned) (unit_random(seed) % ELEMENTSOF(words));

                ck_assert_int_eq(json_append(a, words[i][0], strlen(words[i][0])), 0);
                ck_assert_int_eq(json_append(b, words[i][1], strlen(words[i][1])), 0);
                return;
        }
        for (unsigned i = 0; i < n; i++) {
                if (kind == 1) {
                        char plain[] = "\"key?\":", escaped[] = "\"\\u006bey?\" : ";

                        plain[4] = (char) ('0' + i);
                        escaped[9] = plain[4];
                        ck_assert_int_eq(json_append(&x[i], plain, strlen(plain)), 0);
                        const char *other = unit_random(seed) % 2 ? plain : escaped;
                        ck_assert_int_eq(json_append(&y[i], other, strlen(other)), 0);
                }
                random_value(seed, depth - 1, &x[i], &y[i]);
        }
        offset = kind == 1 && n > 0 ? (unsigned) (unit_random(seed) % n) : 0; /* members in another order */
        ck_assert_int_eq(json_append(a, kind == 1 ? "{" : "[", 1), 0);
        ck_assert_int_eq(json_append(b, kind == 1 ? "{" : "[", 1), 0);
        for (unsigned i = 0; i < n; i++) {
                const JsonBuffer *p = &x[i], *q = &y[(i + offset) % n];
                const char *blank = blanks[unit_random(seed) % 3];

                ck_assert_int_eq(json_append(a, ",", i > 0), 0);
                ck_assert_int_eq(json_append(b, ",", i > 0), 0);
                ck_assert_int_eq(json_append(b, blank, strlen(blank)), 0);
                ck_assert_int_eq(json_append(a, p->data, p->size), 0);
                ck_assert_int_eq(json_append(b, q->data, q->size), 0);
        }
        ck_assert_int_eq(json_append(a, kind == 1 ? "}" : "]", 1), 0);
        ck_assert_int_eq(json_append(b, kind == 1 ? "}" : "]", 1), 0);
        for (unsigned i = 0; i < n; i++) {
                json_buffer_clear(&x[i]);
                json_buffer_clear(&y[i]);
        }
}

START_TEST(random_texts_and_their_other_spellings) {
        uint64_t seed = UNIT_SEED;

        for (unsigned i = 0; i < 3000; i++) {
                JsonBuffer a = {}, b = {}, x = {}, y = {}, again = {};

                random_value(&seed, 5, &a, &b);
                ck_assert_int_eq(json_canonical(a.data, a.size, &x), 0);
                ck_assert_int_eq(json_canonical(b.data, b.size, &y), 0);
                ck_assert_msg(x.size == y.size && memcmp(x.data, y.data, x.size) == 0, "%.*s\n%.*s\n%.*s\n%.*s", (int) a.size, a.data, (int) b.size, b.data,
                              (int) x.size, x.data, (int) y.size, y.data);
                ck_assert_int_eq(json_canonical(x.data, x.size, &again), 0);
                ck_assert(x.size == again.size && memcmp(x.data, again.data, x.size) == 0);
                json_buffer_clear(&a);
                json_buffer_clear(&b);
                json_buffer_clear(&x);
                json_buffer_clear(&y);
                json_buffer_clear(&again);
        }
}
END_TEST

/* ------------------------------------------------------------------------------------------------------------- digest */

static void check_digest(const void *data, size_t size, size_t digest_size, const char *expect) {
        static const size_t steps[] = { 1, 3, 127, 128, 129, 1000000 };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                uint8_t digest[BLAKE2B_MAX];
                char text[2 * BLAKE2B_MAX + 1];
                Blake2b b;

                blake2b_begin(&b, digest_size);
                for (size_t at = 0; at < size; at += steps[i])
                        blake2b_add(&b, (const uint8_t *) data + at, MIN(steps[i], size - at));
                blake2b_end(&b, digest);
                for (size_t j = 0; j < digest_size; j++)
                        snprintf(text + 2 * j, 3, "%02x", digest[j]);
                ck_assert_str_eq(text, expect);
        }
}

START_TEST(blake2b) {
        uint8_t bytes[1000];

        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t) (i % 251);
        /* the first is RFC 7693's own, the others are what Python's hashlib says */
        check_digest("abc", 3, 64, "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
                     "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923");
        check_digest("", 0, 32, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
        check_digest(bytes, 127, 32, "f2fe67ff342e21b8f45e8f2e0bcd1d9243245d50ee6c78042e9c491388791c72");
        check_digest(bytes, 128, 32, "c3582f71ebb2be66fa5dd750f80baae97554f3b015663c8be377cfcb2488c1d1");
        check_digest(bytes, 129, 32, "f7f3c46ba2564ff4c4c162da1f5b605f9f1c4aa6a20652a9f9a337c1a2f5b9c9");
        check_digest(bytes, 256, 20, "cd885d4187d2a1bee1e536edd1a23a87f993980c");
        check_digest(bytes, 1000, 1, "b7");
}
END_TEST

UNIT_MAIN("json-canonical", spellings, no_JSON, nesting, appends, random_texts_and_their_other_spellings, blake2b)
