/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The jsonl protocol: the lines that a worker gets, to the byte, and the lines that it may send. */

#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "basic/str.h"
#include "proto/json-scan.h"
#include "proto/jsonl.h"
#include "unit.h"

static void expect_line(const JsonlJob *job, const char *expected) {
        _cleanup_free_ char *line = NULL;
        size_t n;

        ck_assert_int_eq(jsonl_job_encode(job, &line, &n), 0);
        ck_assert_str_eq(line, expected);
        ck_assert_uint_eq(n, strlen(expected));
}

static void expect_refusal(PayloadKind kind, const char *payload, size_t size, int error) {
        char *line = NULL;
        size_t n = 7;

        ck_assert_int_eq(
                jsonl_job_encode(&(JsonlJob) { .id = "a", .kind = kind, .payload = payload, .payload_size = size }, &line, &n),
                error);
        ck_assert(!line && n == 7);
}

START_TEST(job_lines) {
        expect_line(
                &(JsonlJob) { .id = "abc",
                             .attempt = 2,
                             .method = "count",
                             .session = "s\"1",
                             .deadline_usec = 1700000000250000,
                             .payload = "größe\n",
                             .payload_size = 8 },
                "{\"job\":\"abc\",\"attempt\":2,\"method\":\"count\",\"session\":\"s\\\"1\",\"deadline\":1700000000.25,"
                "\"payload\":\"größe\\n\"}\n");
        expect_line(
                &(JsonlJob) {
                        .id = "abc", .attempt = 1, .kind = PAYLOAD_JSON, .payload = "{\n \"a\": 1.0\r}", .payload_size = 13 },
                "{\"job\":\"abc\",\"attempt\":1,\"payload\":{  \"a\": 1.0 }}\n");
        expect_line(&(JsonlJob) { .id = "abc", .attempt = 1, .kind = PAYLOAD_BYTES, .payload = "\0\xff\n", .payload_size = 3 },
                    "{\"job\":\"abc\",\"attempt\":1,\"payload\":{\"base64\":\"AP8K\"}}\n");
        expect_line(&(JsonlJob) { .id = "a", .attempt = 1 }, "{\"job\":\"a\",\"attempt\":1,\"payload\":\"\"}\n");
        expect_line(&(JsonlJob) { .id = "a", .kind = PAYLOAD_BYTES },
                    "{\"job\":\"a\",\"attempt\":0,\"payload\":{\"base64\":\"\"}}\n");
        expect_line(&(JsonlJob) { .id = "a", .payload = "a\0b", .payload_size = 3 },
                    "{\"job\":\"a\",\"attempt\":0,\"payload\":\"a\\u0000b\"}\n");
        expect_line(&(JsonlJob) { .id = "a", .kind = PAYLOAD_JSON, .payload = "\"x\xe2\x80\xa8\"", .payload_size = 6 },
                    "{\"job\":\"a\",\"attempt\":0,\"payload\":\"x\\u2028\"}\n");
}
END_TEST

START_TEST(deadlines) {
        static const struct {
                uint64_t usec;
                const char *text;
        } cases[] = {
                { 1, ",\"deadline\":0.000001" },
                { USEC_PER_SEC, ",\"deadline\":1" },
                { 100 * USEC_PER_SEC, ",\"deadline\":100" },
                { 1700000000123456, ",\"deadline\":1700000000.123456" },
                { 1700000000100000, ",\"deadline\":1700000000.1" },
                { USEC_INFINITY - 1, ",\"deadline\":18446744073709.551614" },
                { USEC_INFINITY, "" },
                { 0, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *expected = str_printf("{\"job\":\"a\",\"attempt\":0%s,\"payload\":\"\"}\n", cases[i].text);

                expect_line(&(JsonlJob) { .id = "a", .deadline_usec = cases[i].usec }, expected);
        }
}
END_TEST

START_TEST(job_refused) {
        expect_refusal(PAYLOAD_TEXT, "\xff", 1, -EBADMSG);
        expect_refusal(PAYLOAD_JSON, "", 0, -EBADMSG);
        expect_refusal(PAYLOAD_JSON, NULL, 0, -EBADMSG);
        expect_refusal(PAYLOAD_JSON, "{} {}", 5, -EBADMSG);
        expect_refusal(PAYLOAD_JSON, "1,\"x\":2", 7, -EBADMSG);
        expect_refusal(PAYLOAD_JSON, "\"a\nb\"", 5, -EBADMSG);
        expect_refusal(_PAYLOAD_KIND_MAX, "", 0, -EBADMSG);
}
END_TEST

START_TEST(job_depth) {
        char text[2 * JSON_DEPTH_MAX];

        for (unsigned d = 1; d <= JSON_DEPTH_MAX; d++) {
                _cleanup_free_ char *line = NULL;
                JsonType type;
                size_t n;
                int r;

                memset(text, '[', d);
                memset(text + d, ']', d);
                r = jsonl_job_encode(&(JsonlJob) { .id = "a", .kind = PAYLOAD_JSON, .payload = text, .payload_size = 2 * d },
                                     &line, &n);
                ck_assert_int_eq(r, d < JSON_DEPTH_MAX ? 0 : -E2BIG);
                if (r == 0) /* what was written can be read */
                        ck_assert_int_eq(json_check(line, n, JSON_DEPTH_MAX, &type), 0);
        }
}
END_TEST

START_TEST(cancel_line) {
        _cleanup_free_ char *line = NULL;
        size_t n;

        ck_assert_int_eq(jsonl_cancel_encode("abc", NULL, &line, &n), 0);
        ck_assert_str_eq(line, "{\"cancel\":\"abc\"}\n");
        ck_assert_uint_eq(n, strlen(line));
}
END_TEST

static int decode(const char *line, JsonlMessage *ret) {
        const char *reason = NULL;
        int r;

        r = jsonl_message_decode(line, strlen(line), ret, &reason);
        ck_assert_msg((r < 0) == !!reason, "%s", line);
        return r;
}

START_TEST(ready_and_blank) {
        static const char *const blank[] = { "", "\n", "\r\n", " \t \n" };
        _cleanup_jsonl_message_ JsonlMessage m = { .level = 99 };

        for (size_t i = 0; i < ELEMENTSOF(blank); i++)
                ck_assert_int_eq(decode(blank[i], &m), 0);
        ck_assert_int_eq(m.level, 99);
        ck_assert_int_eq(decode("{\"ready\":true}\n", &m), 1);
        ck_assert_int_eq(m.type, JSONL_READY);
        ck_assert_str_eq(m.job, "");
        ck_assert_ptr_null(m.data);
}
END_TEST

START_TEST(results) {
        static const struct {
                const char *members;
                PayloadKind kind;
                const char *data;
                size_t size;
        } cases[] = {
                { "\"result\":\"a\\u0000\\n\\u00e9\"", PAYLOAD_TEXT, "a\0\né", 5 },
                { "\"result\":\"\"", PAYLOAD_TEXT, "", 0 },
                { "\"result\":{ \"n\": 1.50 }", PAYLOAD_JSON, "{ \"n\": 1.50 }", 13 },
                { "\"result\":null", PAYLOAD_JSON, "null", 4 },
                { "\"result\":false", PAYLOAD_JSON, "false", 5 },
                { "\"result\":12345678901234567890123", PAYLOAD_JSON, "12345678901234567890123", 23 },
                { "\"result\":\"x\",\"kind\":null", PAYLOAD_TEXT, "x", 1 },
                { "\"result\":\"x\",\"kind\":\"text\"", PAYLOAD_TEXT, "x", 1 },
                { "\"kind\":\"json\",\"result\":\"x\"", PAYLOAD_JSON, "\"x\"", 3 },
                { "\"kind\":\"bytes\",\"result\":{\"base64\":\"AP8K\"}", PAYLOAD_BYTES, "\0\xff\n", 3 },
                { "\"kind\":\"bytes\",\"result\":{\"base64\":\"\\/w==\",\"more\":1}", PAYLOAD_BYTES, "\xff", 1 },
                { "\"kind\":\"bytes\",\"result\":{\"base64\":\"\"}", PAYLOAD_BYTES, "", 0 },
                { "\"result\":7,\"error\":null,\"new\":{\"x\":[]}", PAYLOAD_JSON, "7", 1 },
                { "\"r\\u0065sult\":7", PAYLOAD_JSON, "7", 1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *line = str_printf("{\"job\":\"abc\",%s}\r\n", cases[i].members);
                _cleanup_jsonl_message_ JsonlMessage m = {};

                ck_assert_msg(decode(line, &m) == 1, "%s", line);
                ck_assert_int_eq(m.type, JSONL_RESULT);
                ck_assert_str_eq(m.job, "abc");
                ck_assert_int_eq(m.kind, cases[i].kind);
                ck_assert_uint_eq(m.size, cases[i].size);
                ck_assert(memcmp(m.data, cases[i].data, m.size + 1) == 0);
        }
}
END_TEST

START_TEST(errors) {
        _cleanup_jsonl_message_ JsonlMessage a = {}, b = {}, c = {};

        ck_assert_int_eq(decode("{\"job\":\"abc\",\"error\":{\"message\":\"no \\u00e9\",\"retry\":true,\"code\":7}}", &a), 1);
        ck_assert(a.type == JSONL_ERROR && a.retry && streq(a.data, "no é") && a.size == strlen(a.data));
        ck_assert_int_eq(decode("{\"error\":{\"message\":\"\"},\"job\":\"abc\"}", &b), 1);
        ck_assert(b.type == JSONL_ERROR && !b.retry && streq(b.data, "") && streq(b.job, "abc"));
        ck_assert_int_eq(decode("{\"job\":\"abc\",\"result\":null,\"error\":{\"retry\":false,\"message\":\"x\"}}", &c), 1);
        ck_assert(c.type == JSONL_ERROR && !c.retry);
}
END_TEST

START_TEST(progress) {
        static const struct {
                const char *text;
                double fraction;
        } cases[] = { { "0", 0 }, { "1", 1 }, { "0.5", 0.5 }, { "1e-2", 0.01 }, { "1.0", 1 }, { "-0", 0 }, { "100e-2", 1 } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *line = str_printf("{\"job\":\"a\",\"progress\":%s}", cases[i].text);
                _cleanup_jsonl_message_ JsonlMessage m = {};

                ck_assert_int_eq(decode(line, &m), 1);
                ck_assert_int_eq(m.type, JSONL_PROGRESS);
                ck_assert_double_eq_tol(m.fraction, cases[i].fraction, 1e-15);
                ck_assert_ptr_null(m.data);
        }
        _cleanup_jsonl_message_ JsonlMessage m = {};
        ck_assert_int_eq(decode("{\"job\":\"a\",\"progress\":0.25,\"message\":\"a quarter\"}", &m), 1);
        ck_assert_str_eq(m.data, "a quarter");
}
END_TEST

START_TEST(logs) {
        static const struct {
                const char *name;
                int level;
        } levels[] = {
                { "\"emerg\"", LOG_EMERG },   { "\"alert\"", LOG_ALERT }, { "\"crit\"", LOG_CRIT },
                { "\"err\"", LOG_ERR },       { "\"error\"", LOG_ERR },   { "\"warning\"", LOG_WARNING },
                { "\"notice\"", LOG_NOTICE }, { "\"info\"", LOG_INFO },   { "\"debug\"", LOG_DEBUG },
                { "null", LOG_INFO },
        };

        for (size_t i = 0; i < ELEMENTSOF(levels); i++) {
                _cleanup_free_ char *line = str_printf("{\"job\":\"a\",\"log\":\"text\",\"level\":%s}", levels[i].name);
                _cleanup_jsonl_message_ JsonlMessage m = {};

                ck_assert_int_eq(decode(line, &m), 1);
                ck_assert_int_eq(m.type, JSONL_LOG);
                ck_assert_int_eq(m.level, levels[i].level);
                ck_assert_str_eq(m.data, "text");
        }
        _cleanup_jsonl_message_ JsonlMessage m = {};
        ck_assert_int_eq(decode("{\"job\":\"a\",\"log\":\"\"}", &m), 1);
        ck_assert_int_eq(m.level, LOG_INFO);
}
END_TEST

START_TEST(messages_refused) {
        static const char *const bad[] = {
                "x",
                "[]",
                "null",
                "{",
                "{} {}",
                "{}",
                "{\"job\":\"a\"}",
                "{\"ready\":false}",
                "{\"ready\":1}",
                "{\"ready\":null}",
                "{\"ready\":true,\"job\":\"a\",\"result\":1}",
                "{\"result\":1}",
                "{\"job\":null,\"result\":1}",
                "{\"job\":7,\"result\":1}",
                "{\"job\":\"\",\"result\":1}",
                "{\"job\":\"a\\u0000b\",\"result\":1}",
                "{\"job\":\"0123456789abcdef0123456789abcdef\",\"result\":1}",
                "{\"job\":\"a\",\"job\":\"a\",\"result\":1}",
                "{\"job\":\"a\",\"result\":1,\"result\":1}",
                "{\"job\":\"a\",\"result\":1,\"r\\u0065sult\":2}",
                "{\"job\":\"a\",\"result\":1,\"error\":{\"message\":\"x\"}}",
                "{\"job\":\"a\",\"result\":null,\"log\":\"x\",\"progress\":1}",
                "{\"job\":\"a\",\"result\":\"\\ud83d\"}",
                "{\"job\":\"a\",\"result\":\"\xff\"}",
                "{\"job\":\"a\",\"result\":NaN}",
                "{\"job\":\"a\",\"result\":1,\"kind\":\"text\"}",
                "{\"job\":\"a\",\"result\":1,\"kind\":\"xml\"}",
                "{\"job\":\"a\",\"result\":1,\"kind\":7}",
                "{\"job\":\"a\",\"result\":\"x\",\"kind\":\"bytes\"}",
                "{\"job\":\"a\",\"result\":{},\"kind\":\"bytes\"}",
                "{\"job\":\"a\",\"result\":{\"base64\":7},\"kind\":\"bytes\"}",
                "{\"job\":\"a\",\"result\":{\"base64\":\"A\"},\"kind\":\"bytes\"}",
                "{\"job\":\"a\",\"result\":{\"base64\":\"AA==\",\"base64\":\"AA==\"},\"kind\":\"bytes\"}",
                "{\"job\":\"a\",\"error\":\"x\"}",
                "{\"job\":\"a\",\"error\":{}}",
                "{\"job\":\"a\",\"error\":{\"message\":7}}",
                "{\"job\":\"a\",\"error\":{\"message\":null}}",
                "{\"job\":\"a\",\"error\":{\"message\":\"x\",\"retry\":\"yes\"}}",
                "{\"job\":\"a\",\"error\":{\"message\":\"x\",\"message\":\"x\"}}",
                "{\"job\":\"a\",\"error\":{\"message\":\"x\",\"retry\":true,\"retry\":true}}",
                "{\"job\":\"a\",\"progress\":\"0.5\"}",
                "{\"job\":\"a\",\"progress\":1.0000001}",
                "{\"job\":\"a\",\"progress\":-0.1}",
                "{\"job\":\"a\",\"progress\":1e999}",
                "{\"job\":\"a\",\"progress\":0.5,\"message\":7}",
                "{\"job\":\"a\",\"log\":7}",
                "{\"job\":\"a\",\"log\":\"x\",\"level\":\"loud\"}",
                "{\"job\":\"a\",\"log\":\"x\",\"level\":6}",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                JsonlMessage m = { .level = 99 };

                ck_assert_msg(decode(bad[i], &m) == -EBADMSG, "%s", bad[i]);
                ck_assert(m.level == 99 && !m.data);
        }
}
END_TEST

START_TEST(cut_anywhere) {
        static const char *const lines[] = {
                "{\"job\":\"abc\",\"result\":{\"base64\":\"AP8K\"},\"kind\":\"bytes\"}",
                "{\"job\":\"abc\",\"error\":{\"message\":\"é\",\"retry\":true}}",
                "{\"job\":\"abc\",\"progress\":0.5,\"message\":\"\\ud83d\\ude00\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(lines); i++)
                for (size_t n = 1; n < strlen(lines[i]); n++) {
                        _cleanup_free_ char *cut = strndup(lines[i], n);
                        JsonlMessage m = {};

                        ck_assert_int_eq(decode(cut, &m), -EBADMSG);
                }
}
END_TEST

/* Bytes go to a worker and come back from one that echoes its payload, whatever they are. */
START_TEST(bytes_round_trip) {
        uint64_t seed = UNIT_SEED;

        for (unsigned round = 0; round < 3000; round++) {
                _cleanup_free_ char *line = NULL, *answer = NULL;
                _cleanup_jsonl_message_ JsonlMessage m = {};
                uint8_t data[100];
                size_t n = unit_random(&seed) % sizeof(data), size;

                unit_random_bytes(&seed, data, n);
                ck_assert_int_eq(
                        jsonl_job_encode(&(JsonlJob) { .id = "abc", .kind = PAYLOAD_BYTES, .payload = data, .payload_size = n },
                                         &line, &size),
                        0);
                ck_assert_ptr_eq(memchr(line, '\n', size), line + size - 1);
                line[size - 2] = 0; /* the closing brace: what stands before it is the payload */
                answer = str_printf("{\"job\":\"abc\",\"kind\":\"bytes\",\"result\":%s}", strstr(line, "{\"base64\""));
                ck_assert_int_eq(decode(answer, &m), 1);
                ck_assert_uint_eq(m.size, n);
                ck_assert(memcmp(m.data, data, n) == 0);
        }
}
END_TEST

UNIT_MAIN("jsonl", job_lines, deadlines, job_refused, job_depth, cancel_line, ready_and_blank, results, errors, progress, logs,
          messages_refused, cut_anywhere, bytes_round_trip)
