/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Varlink messages: calls and replies from text and to it, and names. */

#include <errno.h>
#include <math.h>
#include <string.h>

#include "basic/str.h"
#include "proto/json-scan.h"
#include "proto/varlink.h"
#include "unit.h"

static int parse_call(const char *text, VarlinkCall *ret) {
        return varlink_call_parse(text, strlen(text), ret);
}

static int parse_reply(const char *text, VarlinkReply *ret) {
        return varlink_reply_parse(text, strlen(text), ret);
}

START_TEST(calls) {
        _cleanup_varlink_call_ VarlinkCall a = {}, b = {}, c = {};

        ck_assert_int_eq(
                parse_call("{\"method\":\"io.flowd.Run\",\"parameters\":{\"pool\":\"hot\"},\"more\":true,\"new\":[]}", &a), 0);
        ck_assert_str_eq(a.method, "io.flowd.Run");
        ck_assert_str_eq(json_object_get_string(json_object_object_get(a.parameters, "pool")), "hot");
        ck_assert(a.more && !a.oneway && !a.upgrade);

        ck_assert_int_eq(parse_call(" {\"method\":\"a.b.C\",\"parameters\":null,\"oneway\":true,\"more\":null}\n", &b), 0);
        ck_assert_int_eq(json_object_object_length(b.parameters), 0);
        ck_assert(b.oneway && !b.more);

        ck_assert_int_eq(parse_call("{\"method\":\"a.b.C\",\"upgrade\":true}", &c), 0);
        ck_assert(c.upgrade && json_object_is_type(c.parameters, json_type_object));
}
END_TEST

START_TEST(calls_refused) {
        static const struct {
                const char *text;
                int error;
        } bad[] = {
                { "", -EBADMSG },
                { "{", -EBADMSG },
                { "GET / HTTP/1.1\r\n", -EBADMSG },
                { "{\"method\":\"a.b.C\"}{}", -EBADMSG },
                { "{\"method\":\"a.b.C\",\"parameters\":{\"x\":NaN}}", -EBADMSG },
                { "{\"method\":\"a.b.C\",\"parameters\":{\"x\":\"\xff\"}}", -EBADMSG },
                { "{\"method\":\"a.b.C\",\"parameters\":{\"x\":\"\n\"}}", -EBADMSG },
                { "null", -EINVAL },
                { "7", -EINVAL },
                { "[]", -EINVAL },
                { "\"x\"", -EINVAL },
                { "{}", -EINVAL },
                { "{\"method\":null}", -EINVAL },
                { "{\"method\":7}", -EINVAL },
                { "{\"method\":\"\"}", -EINVAL },
                { "{\"method\":\"a.b.C\\u0000\"}", -EINVAL },
                { "{\"method\":\"a.b.C\",\"parameters\":[]}", -EINVAL },
                { "{\"method\":\"a.b.C\",\"more\":1}", -EINVAL },
                { "{\"method\":\"a.b.C\",\"oneway\":\"true\"}", -EINVAL },
                { "{\"method\":\"a.b.C\",\"oneway\":true,\"more\":true}", -EINVAL },
                { "{\"method\":\"a.b.C\",\"oneway\":true,\"upgrade\":true}", -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                VarlinkCall c = {};

                ck_assert_msg(parse_call(bad[i].text, &c) == bad[i].error, "%s", bad[i].text);
                ck_assert(!c.method && !c.parameters);
        }
        VarlinkCall c = {};
        ck_assert_int_eq(varlink_call_parse("{\"method\":\"a.b.C\"}\0", 19, &c), -EBADMSG); /* the NUL is not the message's */
}
END_TEST

START_TEST(name_length) {
        for (size_t n = VARLINK_NAME_MAX - 2; n < VARLINK_NAME_MAX + 2; n++) {
                _cleanup_varlink_call_ VarlinkCall c = {};
                _cleanup_free_ char *text = str_printf("{\"method\":\"%0*d\"}", (int) n, 1);

                ck_assert_int_eq(parse_call(text, &c), n < VARLINK_NAME_MAX ? 0 : -EINVAL);
        }
}
END_TEST

START_TEST(depth) {
        for (unsigned d = 0; d < 80; d++) {
                _cleanup_varlink_call_ VarlinkCall c = {};
                char text[600] = "{\"method\":\"a.b.C\",\"parameters\":";
                size_t n = strlen(text);

                for (unsigned i = 0; i < d; i++, n += 5)
                        memcpy(text + n, "{\"a\":", 5);
                memcpy(text + n, "{}", 2);
                memset(text + n + 2, '}', d + 1);
                text[n + 3 + d] = 0;
                ck_assert_int_eq(parse_call(text, &c), d + 2 <= VARLINK_DEPTH_MAX ? 0 : -E2BIG);
        }
}
END_TEST

START_TEST(cut_anywhere) {
        static const char text[] = "{\"method\":\"io.flowd.Run\",\"parameters\":{\"pool\":\"h\\u00f6t\"},\"more\":true}";

        for (size_t n = 0; n < sizeof(text) - 1; n++) {
                VarlinkCall c = {};

                ck_assert_int_eq(varlink_call_parse(text, n, &c), -EBADMSG);
        }
}
END_TEST

START_TEST(replies) {
        _cleanup_varlink_reply_ VarlinkReply a = {}, b = {}, c = {};
        VarlinkReply bad = {};

        ck_assert_int_eq(parse_reply("{\"parameters\":{\"x\":1},\"continues\":true}", &a), 0);
        ck_assert(!a.error && a.continues && json_object_get_int(json_object_object_get(a.parameters, "x")) == 1);
        ck_assert_int_eq(parse_reply("{\"error\":\"io.flowd.NoSuchPool\",\"parameters\":{\"pool\":\"x\"}}", &b), 0);
        ck_assert(streq(b.error, "io.flowd.NoSuchPool") && !b.continues);
        ck_assert_int_eq(parse_reply("{}", &c), 0);
        ck_assert(!c.error && json_object_object_length(c.parameters) == 0);
        ck_assert_int_eq(parse_reply("{\"error\":7}", &bad), -EINVAL);
        ck_assert_int_eq(parse_reply("{\"error\":\"a.B\",\"continues\":true}", &bad), -EINVAL);
        ck_assert_int_eq(parse_reply("{\"parameters\":7}", &bad), -EINVAL);
        ck_assert_int_eq(parse_reply("{\"continues\":7}", &bad), -EINVAL);
        ck_assert_int_eq(parse_reply("x", &bad), -EBADMSG);
        ck_assert(!bad.error && !bad.parameters);
}
END_TEST

static void expect_text(int r, char *text, size_t size, const char *expected) {
        ck_assert_int_eq(r, 0);
        ck_assert_str_eq(text, expected);
        ck_assert_uint_eq(size, strlen(expected) + 1); /* with its NUL */
        free(text);
}

START_TEST(format) {
        _cleanup_json_ json_object *p = json_object_new_object();
        char *s = NULL;
        size_t n = 0;
        int r;

        json_object_object_add(p, "path", json_object_new_string("/a\"é\n"));
        r = varlink_call_format("a.b.C", p, false, false, &s, &n);
        expect_text(r, s, n, "{\"method\":\"a.b.C\",\"parameters\":{\"path\":\"/a\\\"é\\n\"}}");
        r = varlink_call_format("a.b.C", NULL, true, false, &s, &n);
        expect_text(r, s, n, "{\"method\":\"a.b.C\",\"parameters\":{},\"more\":true}");
        r = varlink_call_format("a.b.C", NULL, false, true, &s, &n);
        expect_text(r, s, n, "{\"method\":\"a.b.C\",\"parameters\":{},\"oneway\":true}");
        r = varlink_reply_format(NULL, false, &s, &n);
        expect_text(r, s, n, "{\"parameters\":{}}");
        r = varlink_reply_format(p, true, &s, &n);
        expect_text(r, s, n, "{\"parameters\":{\"path\":\"/a\\\"é\\n\"},\"continues\":true}");
        r = varlink_error_format(VARLINK_ERROR_INVALID_PARAMETER, p, &s, &n);
        expect_text(r, s, n, "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"path\":\"/a\\\"é\\n\"}}");
}
END_TEST

START_TEST(format_refused) {
        _cleanup_json_ json_object *list = json_object_new_array(), *nan_object = json_object_new_object(),
                                   *deep = json_object_new_object();
        char *s = NULL;
        size_t n = 7;

        json_object_object_add(nan_object, "x", json_object_new_double(NAN));
        for (unsigned i = 0; i < VARLINK_DEPTH_MAX; i++) {
                json_object *outer = json_object_new_object();

                json_object_object_add(outer, "x", deep);
                deep = outer;
        }
        ck_assert_int_eq(varlink_reply_format(list, false, &s, &n), -EINVAL);
        ck_assert_int_eq(varlink_reply_format(nan_object, false, &s, &n), -EINVAL);
        ck_assert_int_eq(varlink_reply_format(deep, false, &s, &n), -E2BIG);
        ck_assert_int_eq(varlink_error_format("\xff", NULL, &s, &n), -EINVAL);
        ck_assert_int_eq(varlink_call_format("a.B", NULL, true, true, &s, &n), -EINVAL);
        ck_assert(!s && n == 7);
}
END_TEST

START_TEST(format_bytes) {
        static const struct {
                const char *in, *out;
        } cases[] = {
                { "ok", "ok" },
                { "\xff", "\ufffd" },
                { "a\xff\xfe é\xe2\x82", "a\ufffd\ufffd é\ufffd\ufffd" },
                { "\xc3", "\ufffd" },
                { "\xf0\x9f\x98\x80\xf0\x9f\x98", "\U0001f600\ufffd\ufffd\ufffd" },
                { "\xed\xa0\x80", "\ufffd\ufffd\ufffd" },
                { "\xc3\xff\xc3\xa9", "\ufffd\ufffdé" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_json_ json_object *p = json_object_new_object();
                _cleanup_varlink_reply_ VarlinkReply reply = {};
                _cleanup_free_ char *s = NULL;
                size_t n;

                json_object_object_add(p, "stderr", json_object_new_string(cases[i].in));
                ck_assert_int_eq(varlink_reply_format(p, false, &s, &n), 0);
                ck_assert_int_eq(varlink_reply_parse(s, n - 1, &reply), 0);
                ck_assert_str_eq(json_object_get_string(json_object_object_get(reply.parameters, "stderr")), cases[i].out);
        }
}
END_TEST

START_TEST(parse_values) {
        static const char *const values[] = { "7", "-1.5", "\"x\"", "true", "[1,2]", "{\"a\":null}", " 12 ", "0" };
        json_object *o = (json_object *) values;

        for (size_t i = 0; i < ELEMENTSOF(values); i++) {
                _cleanup_json_ json_object *v = NULL;
                _cleanup_free_ char *exact = malloc(strlen(values[i])); /* without a NUL: it may be the middle of a buffer */

                memcpy(exact, values[i], strlen(values[i]));
                ck_assert_int_eq(json_parse(exact, strlen(values[i]), JSON_DEPTH_MAX, &v), 0);
                ck_assert_ptr_nonnull(v);
        }
        ck_assert_int_eq(json_parse("1 2", 3, JSON_DEPTH_MAX, &o), -EBADMSG);
        ck_assert_ptr_eq(o, (json_object *) values);
        ck_assert_int_eq(json_parse("null", 4, JSON_DEPTH_MAX, &o), 0);
        ck_assert_ptr_null(o);
}
END_TEST

START_TEST(names) {
        static const struct {
                const char *name, *interface, *method;
        } good[] = {
                { "io.flowd.Run", "io.flowd", "Run" },
                { "org.varlink.service.GetInfo", "org.varlink.service", "GetInfo" },
                { "xn--lgbbat1ad8j.example.algeria.A9", "xn--lgbbat1ad8j.example.algeria", "A9" },
                { "a.9.B", "a.9", "B" },
        };
        static const char *const bad[] = { "",
                                           ".",
                                           "Run",
                                           "flowd.Run",
                                           "io.flowd.run",
                                           "io.flowd.",
                                           ".io.flowd.Run",
                                           "io..flowd.Run",
                                           "io.flowd-.Run",
                                           "io.-flowd.Run",
                                           "9.flowd.Run",
                                           "io.flowd.Run ",
                                           "io.flowd.Ru-n",
                                           "io.fl_owd.Run",
                                           "io.größe.Run",
                                           "-.a.B" };
        char interface[40] = "x";
        const char *method = NULL;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ck_assert_msg(varlink_name_split(bad[i], interface, sizeof(interface), &method) == -EINVAL, "%s", bad[i]);
        ck_assert_int_eq(varlink_name_split("io.flowd.Run", interface, 8, &method), -ENOBUFS);
        ck_assert(streq(interface, "x") && !method);
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                ck_assert_int_eq(varlink_name_split(good[i].name, interface, sizeof(interface), &method), 0);
                ck_assert_str_eq(interface, good[i].interface);
                ck_assert_str_eq(method, good[i].method);
        }
        ck_assert_int_eq(varlink_name_split("io.flowd.Run", interface, 9, &method), 0);
}
END_TEST

UNIT_MAIN("varlink", calls, calls_refused, name_length, depth, cut_anywhere, replies, format, format_refused, format_bytes,
          parse_values, names)
