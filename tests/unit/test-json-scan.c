/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The JSON scanner: what is JSON and what is not, members, strings both ways, numbers. */

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <string.h>

#include "basic/str.h"
#include "proto/json-scan.h"
#include "unit.h"

static int check_text(const char *s, JsonType *ret) {
        return json_check(s, strlen(s), JSON_DEPTH_MAX, ret);
}

START_TEST(accepted) {
        static const struct {
                const char *text;
                JsonType type;
        } good[] = {
                { "null", JSON_NULL },
                { " true ", JSON_BOOL },
                { "false", JSON_BOOL },
                { "0", JSON_NUMBER },
                { "-0", JSON_NUMBER },
                { "10", JSON_NUMBER },
                { "-1.5e+10", JSON_NUMBER },
                { "0.0", JSON_NUMBER },
                { "1E-2", JSON_NUMBER },
                { "1e999999", JSON_NUMBER },
                { "\"\"", JSON_STRING },
                { "\"\\u0000\\\"\\\\\\/\\b\\f\\n\\r\\t\"", JSON_STRING },
                { "\"\\ud83d\\ude00 \\uD83D\\uDE00\"", JSON_STRING },
                { "\"größe € 😀 \x7f\"", JSON_STRING },
                { "[]", JSON_ARRAY },
                { "\t\r\n [ 1 , [ ] , { } , \"x\" ] ", JSON_ARRAY },
                { "{}", JSON_OBJECT },
                { "{\"a\":{\"b\":[{\"c\":null}]},\"\":0}", JSON_OBJECT },
                { "{ \"a\" : 1 , \"a\" : 2 }", JSON_OBJECT },
        };

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                JsonType type;

                ck_assert_msg(check_text(good[i].text, &type) == 0, "%s", good[i].text);
                ck_assert_int_eq(type, good[i].type);
        }
}
END_TEST

START_TEST(refused) {
        static const char *const bad[] = {
                "",
                " ",
                "nul",
                "nulll",
                "True",
                "NaN",
                "Infinity",
                "-Infinity",
                "01",
                "-01",
                "00",
                "-",
                "+1",
                "1.",
                ".5",
                "1e",
                "1e+",
                "1.e1",
                "0x10",
                "1 2",
                "\"",
                "\"a",
                "\"\\\"",
                "\"\\x41\"",
                "\"\\u12\"",
                "\"\\u12g4\"",
                "\"\\ud83d\"",
                "\"\\ude00\"",
                "\"\\ud83dx\"",
                "\"\\ud83d\\n\"",
                "\"\\ud83d\\u0041\"",
                "\"\\ud83d\\ud83d\"",
                "\"a\nb\"",
                "\"a\tb\"",
                "\"\x01\"",
                "\"\xff\"",
                "\"\xc0\x80\"",
                "\"\xed\xa0\x80\"",
                "\"\xf4\x90\x80\x80\"",
                "\"\xe2\x82\"",
                "\"abcdefgh\xe2\x82\"",
                "\xef\xbb\xbf{}",
                "'a'",
                "[",
                "]",
                "[1",
                "[1,",
                "[1,]",
                "[,1]",
                "[1 2]",
                "[}",
                "{]",
                "{",
                "}",
                "{\"a\"",
                "{\"a\":",
                "{\"a\":1",
                "{\"a\":1,",
                "{\"a\":1,}",
                "{,}",
                "{1:2}",
                "{a:1}",
                "{\"a\" 1}",
                "{\"a\":1 \"b\":2}",
                "[1}",
                "{\"a\":1]",
                "[]]",
                "{}{}",
                "[] x",
                "/*c*/1",
                "1//",
                "\"\xc2\xa0\" \xc2\xa0",
        };
        JsonType type = JSON_BOOL;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                JsonMember m;
                JsonScan scan;
                int r;

                ck_assert_msg(check_text(bad[i], &type) == -EBADMSG, "%s", bad[i]);
                json_scan_begin(&scan, bad[i], strlen(bad[i]));
                while ((r = json_scan_next(&scan, &m)) > 0)
                        ;
                ck_assert_int_eq(r, -EBADMSG);
                ck_assert_int_eq(json_scan_next(&scan, &m), -EBADMSG);
        }
        ck_assert_int_eq(type, JSON_BOOL);
        ck_assert_int_eq(json_check("1\0", 2, JSON_DEPTH_MAX, &type), -EBADMSG);
        ck_assert_int_eq(json_check("{}\0{}", 5, JSON_DEPTH_MAX, &type), -EBADMSG);
}
END_TEST

START_TEST(cut_anywhere) {
        static const char text[] =
                "{\"a\":[1,-2.5e3,\"\\ud83d\\ude00é\",{\"b\":null}],\"c\":true,\"d\":\"0123456789 abcdefghij\"}";
        JsonType type;

        for (size_t n = 0; n < sizeof(text) - 1; n++) {
                _cleanup_free_ char *copy = malloc(n ? n : 1); /* of exactly that size, for the sanitizers */

                memcpy(copy, text, n);
                ck_assert_int_eq(json_check(copy, n, JSON_DEPTH_MAX, &type), -EBADMSG);
        }
        ck_assert_int_eq(json_check(text, sizeof(text) - 1, JSON_DEPTH_MAX, &type), 0);
}
END_TEST

/* Each kind of string at each offset from the eight bytes that are looked at together. */
START_TEST(string_offsets) {
        static const struct {
                const char *text;
                bool good;
        } parts[] = { { "é", true },     { "\\n", true },   { "\\\"", true }, { "\x7f", true },
                      { "\xff", false }, { "\x1f", false }, { "\n", false },  { "\\", false } };
        JsonType type;

        for (size_t before = 0; before < 20; before++)
                for (size_t after = 0; after < 20; after++)
                        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                                _cleanup_free_ char *s = str_printf("\"%.*s%s%.*s\"", (int) before, "aaaaaaaaaaaaaaaaaaaa",
                                                                    parts[i].text, (int) after, "zzzzzzzzzzzzzzzzzzzz");

                                ck_assert_msg((check_text(s, &type) == 0) == parts[i].good, "%s", s);
                        }
}
END_TEST

static char *nested(unsigned depth, const char *open, const char *inner, const char *close) {
        JsonBuffer b = {};

        for (unsigned i = 0; i < depth; i++)
                ck_assert_int_eq(json_append(&b, open, strlen(open)), 0);
        ck_assert_int_eq(json_append(&b, inner, strlen(inner)), 0);
        for (unsigned i = 0; i < depth; i++)
                ck_assert_int_eq(json_append(&b, close, strlen(close)), 0);
        ck_assert_int_eq(json_append(&b, "", 1), 0);
        return b.data;
}

START_TEST(depth) {
        JsonType type;

        for (unsigned d = 0; d < 200; d++) {
                _cleanup_free_ char *a = nested(d, "[", "1", "]"), *o = nested(d, "{\"a\":", "{}", "}");
                JsonMember m;
                JsonScan scan;
                int r;

                ck_assert_int_eq(check_text(a, &type), d <= JSON_DEPTH_MAX ? 0 : -E2BIG);
                ck_assert_int_eq(check_text(o, &type), d < JSON_DEPTH_MAX ? 0 : -E2BIG);
                ck_assert_int_eq(json_check(a, strlen(a), 10, &type), d <= 10 ? 0 : -E2BIG);
                json_scan_begin(&scan, o, strlen(o));
                while ((r = json_scan_next(&scan, &m)) > 0)
                        ;
                ck_assert_int_eq(r, d < JSON_DEPTH_MAX ? 0 : -E2BIG);
        }
        ck_assert_int_eq(json_check("[]", 2, 0, &type), -E2BIG);
        ck_assert_int_eq(json_check("1", 1, 0, &type), 0);
}
END_TEST

START_TEST(members) {
        static const char text[] = " { \"job\" : \"x\\n\" , \"j\\u006fb2\":[1, 2 ],\"n\":-1.50 ,\"o\":{\"p\":{}},\"\":null}\n";
        static const struct {
                const char *name, *value;
                JsonType type;
        } expected[] = {
                { "job", "\"x\\n\"", JSON_STRING }, { "job2", "[1, 2 ]", JSON_ARRAY }, { "n", "-1.50", JSON_NUMBER },
                { "o", "{\"p\":{}}", JSON_OBJECT }, { "", "null", JSON_NULL },
        };
        JsonMember m = {};
        JsonScan scan;

        json_scan_begin(&scan, text, sizeof(text) - 1);
        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                ck_assert_int_eq(json_scan_next(&scan, &m), 1);
                ck_assert_int_eq(m.type, expected[i].type);
                ck_assert_uint_eq(m.value_size, strlen(expected[i].value));
                ck_assert_mem_eq(m.value, expected[i].value, m.value_size);
                for (size_t k = 0; k < ELEMENTSOF(expected); k++)
                        ck_assert_int_eq(json_member_is(&m, expected[k].name), i == k);
        }
        ck_assert_int_eq(json_scan_next(&scan, &m), 0);
        ck_assert_int_eq(json_scan_next(&scan, &m), 0);

        json_scan_begin(&scan, "{}", 2);
        ck_assert_int_eq(json_scan_next(&scan, &m), 0);
        json_scan_begin(&scan, "[]", 2);
        ck_assert_int_eq(json_scan_next(&scan, &m), -EBADMSG);
        json_scan_begin(&scan, "{} x", 4);
        ck_assert_int_eq(json_scan_next(&scan, &m), -EBADMSG);
        json_scan_begin(&scan, "{\"job\\u0000\":1}", 15);
        ck_assert_int_eq(json_scan_next(&scan, &m), 1);
        ck_assert(!json_member_is(&m, "job"));
}
END_TEST

START_TEST(elements) {
        static const char text[] = " [ 1, \"a]\" , [2,[3]], {\"k\":[4]} ] ";
        static const char *const expected[] = { "1", "\"a]\"", "[2,[3]]", "{\"k\":[4]}" };
        static const char *const bad[] = { "{}", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[]x", "5", "" };
        JsonMember m;
        JsonScan scan;

        json_scan_elements(&scan, text, strlen(text));
        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                ck_assert_int_eq(json_scan_next(&scan, &m), 1);
                ck_assert(!m.key && m.value_size == strlen(expected[i]) && memcmp(m.value, expected[i], m.value_size) == 0);
        }
        ck_assert_int_eq(json_scan_next(&scan, &m), 0);
        ck_assert_int_eq(json_scan_next(&scan, &m), 0);
        json_scan_elements(&scan, "[ ]", 3);
        ck_assert_int_eq(json_scan_next(&scan, &m), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                int r;

                json_scan_elements(&scan, bad[i], strlen(bad[i]));
                while ((r = json_scan_next(&scan, &m)) > 0)
                        ;
                ck_assert_int_eq(r, -EBADMSG);
        }
        json_scan_begin(&scan, "[]", 2);
        ck_assert_int_eq(json_scan_next(&scan, &m), -EBADMSG);
}
END_TEST

START_TEST(unescape) {
        _cleanup_free_ char *s = NULL, *t = NULL;
        size_t n = 7;
        static const char *const bad[] = { "",       "\"",      "a",         "\"a",         "a\"",
                                           "\"\\\"", "\"\\x\"", "\"\\u00\"", "\"\\ud83d\"", "\"\\ud83d\\u00\"" };

        static const char raw[] = "\"a\\u0000b\\n\\u00e9\\u20ac\\ud83d\\ude00é\"";

        ck_assert_int_eq(json_unescape(raw, sizeof(raw) - 1, &s, &n), 0);
        ck_assert_uint_eq(n, 15);
        ck_assert_mem_eq(s, "a\0b\né€😀é", 15);
        ck_assert_int_eq(s[n], 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ck_assert_msg(json_unescape(bad[i], strlen(bad[i]), &t, &n) == -EBADMSG, "%s", bad[i]);
        ck_assert_ptr_null(t);
        ck_assert_uint_eq(n, 15);
}
END_TEST

START_TEST(escape) {
        _cleanup_(json_buffer_clear) JsonBuffer b = {};
        static const char text[] = "\"\\\b\f\n\r\t\x01\x1f\x7f/é\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa\0z";
        static const char expected[] = "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\x7f/é\\u2028\\u2029\xe2\x80\xaa\\u0000z\"";

        ck_assert_int_eq(json_escape_append(&b, text, sizeof(text) - 1), 0);
        ck_assert_uint_eq(b.size, sizeof(expected) - 1);
        ck_assert_mem_eq(b.data, expected, b.size);
        ck_assert_int_eq(json_escape_append(&b, "\xff", 1), -EBADMSG);
        ck_assert_uint_eq(b.size, sizeof(expected) - 1);
        ck_assert_int_eq(json_escape_append(&b, NULL, 0), 0);
        ck_assert_mem_eq(b.data + b.size - 2, "\"\"", 2);
}
END_TEST

/* A random character: ASCII, of any length, or one of those that need care. */
static size_t random_character(uint64_t *seed, char *o) {
        static const char *const special[] = { "\"",           "\\", "\n",           "\x01", "\xe2\x80\xa8", "\xe2\x80\xa9",
                                               "\xe2\x80\xaa", "é",  "\xed\x9f\xbf", "😀",    "\x7f",         "€" };
        uint64_t x = unit_random(seed) >> 32;

        if (x % 3 == 0) {
                const char *s = special[x / 3 % ELEMENTSOF(special)];

                memcpy(o, s, strlen(s));
                return strlen(s);
        }
        *o = (char) (x / 3 % 128);
        return 1;
}

START_TEST(round_trip) {
        uint64_t seed = UNIT_SEED;

        for (unsigned round = 0; round < 20000; round++) {
                _cleanup_(json_buffer_clear) JsonBuffer b = {}, line = {};
                _cleanup_free_ char *back = NULL;
                size_t n = 0, count = unit_random(&seed) % 30, size;
                char text[128];
                JsonType type;

                for (size_t i = 0; i < count; i++)
                        n += random_character(&seed, text + n);
                ck_assert_int_eq(json_escape_append(&b, text, n), 0);
                ck_assert_int_eq(json_check(b.data, b.size, JSON_DEPTH_MAX, &type), 0);
                ck_assert_int_eq(type, JSON_STRING);
                ck_assert_int_eq(json_unescape(b.data, b.size, &back, &size), 0);
                ck_assert_uint_eq(size, n);
                ck_assert(memcmp(back, text, n) == 0);
                ck_assert_ptr_null(memchr(b.data, '\n', b.size));
                ck_assert_int_eq(json_append_oneline(&line, b.data, b.size), 0);
                ck_assert(line.size == b.size && memcmp(line.data, b.data, b.size) == 0);
        }
}
END_TEST

START_TEST(oneline) {
        _cleanup_(json_buffer_clear) JsonBuffer b = {};
        static const char text[] = "{\r\n \"a\":\n\"x\xe2\x80\xa8y\xe2\x82\xac\xe2\x80\xa9\"\r}",
                          expected[] = "{   \"a\": \"x\\u2028y\xe2\x82\xac\\u2029\" }";

        ck_assert_int_eq(json_append(&b, "keep\n", 5), 0);
        ck_assert_int_eq(json_append_oneline(&b, text, sizeof(text) - 1), 0);
        ck_assert_uint_eq(b.size, 5 + sizeof(expected) - 1);
        ck_assert_mem_eq(b.data, "keep\n", 5);
        ck_assert_mem_eq(b.data + 5, expected, sizeof(expected) - 1);
        ck_assert_int_eq(json_append_oneline(&b, NULL, 0), 0);
}
END_TEST

START_TEST(numbers) {
        static const char *const good[] = { "0",
                                            "-0",
                                            "1",
                                            "-1",
                                            "0.5",
                                            "1e3",
                                            "1E+3",
                                            "25e-2",
                                            "123456789.125",
                                            "0.1",
                                            "1e308",
                                            "1e-300",
                                            "4.9e-324",
                                            "1e400",
                                            "-1e400",
                                            "1e-400",
                                            "100000000000000000000000000000000000000000000000000",
                                            "0.000000000000000000000000000000000001e36",
                                            "0e999999999999",
                                            "1e99999999999999",
                                            "1e-99999999999999",
                                            "3.141592653589793238462643383279" };
        static const char *const bad[] = { "", "-", "1.", "x", "1 ", "nan", "inf", "0x1", "1e", "01" };
        double v = 7;

        (void) setlocale(LC_ALL, "de_DE.UTF-8"); /* where it exists, its point is a comma */
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                double expected;

                ck_assert_int_eq(json_number(good[i], strlen(good[i]), &v), 0);
                (void) setlocale(LC_ALL, "C");
                expected = strtod(good[i], NULL);
                ck_assert_msg(v == expected || fabs(v - expected) <= fabs(expected) * 1e-14 || fabs(expected) < 1e-320,
                              "%s: %.17g", good[i], v);
                ck_assert_int_eq(signbit(v), signbit(expected));
        }
        v = 7;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ck_assert_int_eq(json_number(bad[i], strlen(bad[i]), &v), -EBADMSG);
        ck_assert(v == 7);
}
END_TEST

UNIT_MAIN("json-scan", accepted, refused, cut_anywhere, string_offsets, depth, members, elements, unescape, escape, round_trip, oneline,
          numbers)
