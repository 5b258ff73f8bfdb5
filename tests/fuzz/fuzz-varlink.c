/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Varlink messages: what is read as a call or a reply can be written, and is then read as the same. */

#include <errno.h>

#include "basic/str.h"
#include "fuzz.h"
#include "proto/json-scan.h"
#include "proto/varlink.h"

static void check_name(const char *name) {
        char interface[VARLINK_NAME_MAX];
        const char *method;

        if (varlink_name_split(name, interface, sizeof(interface), &method) < 0)
                return;
        CHECK(strlen(interface) + 1 + strlen(method) == strlen(name));
        CHECK(strncmp(name, interface, strlen(interface)) == 0 && *method >= 'A' && *method <= 'Z');
}

static void check_call(const char *text, size_t size) {
        _cleanup_varlink_call_ VarlinkCall c = {}, again = {};
        _cleanup_free_ char *out = NULL;
        size_t n;
        int r;

        r = varlink_call_parse(text, size, &c);
        if (r < 0) {
                CHECK(r == -EBADMSG || r == -E2BIG || r == -EINVAL);
                CHECK(!c.method && !c.parameters);
                return;
        }
        check_name(c.method);
        CHECK(varlink_call_format(c.method, c.parameters, c.more, c.oneway, &out, &n) == 0);
        CHECK(out[n - 1] == 0 && strlen(out) == n - 1);
        CHECK(varlink_call_parse(out, n - 1, &again) == 0);
        CHECK(streq(c.method, again.method) && c.more == again.more && c.oneway == again.oneway);
        CHECK(json_object_equal(c.parameters, again.parameters));
}

static void check_reply(const char *text, size_t size) {
        _cleanup_varlink_reply_ VarlinkReply reply = {}, again = {};
        _cleanup_free_ char *out = NULL;
        size_t n;
        int r;

        r = varlink_reply_parse(text, size, &reply);
        if (r < 0)
                return;
        if (reply.error)
                r = varlink_error_format(reply.error, reply.parameters, &out, &n);
        else
                r = varlink_reply_format(reply.parameters, reply.continues, &out, &n);
        CHECK(r == 0 && out[n - 1] == 0 && strlen(out) == n - 1);
        CHECK(varlink_reply_parse(out, n - 1, &again) == 0);
        CHECK(streq_ptr(reply.error, again.error) && reply.continues == again.continues);
        CHECK(json_object_equal(reply.parameters, again.parameters));
}

/* Any bytes in a string make a message that can be read. */
static void check_bytes(const char *data, size_t size) {
        _cleanup_json_ json_object *o = json_object_new_object();
        _cleanup_varlink_reply_ VarlinkReply reply = {};
        _cleanup_free_ char *out = NULL;
        json_object *s;
        size_t n;

        CHECK(o);
        json_object_object_add(o, "text", json_object_new_string_len(data, (int) size));
        CHECK(varlink_error_format("io.flowd.Failed", o, &out, &n) == 0);
        CHECK(varlink_reply_parse(out, n - 1, &reply) == 0);
        s = json_object_object_get(reply.parameters, "text");
        if (utf8_valid(data, size))
                CHECK((size_t) json_object_get_string_len(s) == size && memcmp(json_object_get_string(s), data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        check_call((const char *) data, size);
        check_reply((const char *) data, size);
        check_bytes((const char *) data, size);
        return 0;
}
