/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The scanner against json-c: what the scanner takes, json-c takes too and sees the same members; what only json-c takes is one
 * of the things of which is_laxer() knows. Strings and numbers are compared by their values.
 */

#include <errno.h>
#include <json-c/json.h>
#include <math.h>

#include "basic/str.h"
#include "fuzz.h"
#include "proto/json-scan.h"

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

/* A number's part that ends too soon, or a zero before other digits: "1.", "1e+", "-.5", "00". */
static bool is_lax_number(const char *start, const char *p, const char *end) {
        char next = p + 1 < end ? p[1] : 0, second = p + 2 < end ? p[2] : 0, last = p > start ? p[-1] : 0;

        switch (*p) {
        case '0':
                return is_digit(next) && !is_digit(last) && last != '.';
        case '.':
                return !is_digit(next);
        case 'e':
        case 'E':
                return !is_digit(next) && !((next == '+' || next == '-') && is_digit(second));
        case '-':
                return !is_digit(next);
        default:
                return false;
        }
}

/* json-c 0.16, strict and with UTF-8 validation, takes besides JSON: */
static bool is_laxer(const char *s, size_t size) {
        if (!utf8_valid(s, size)) /* overlong forms, surrogates and what is beyond U+10FFFF */
                return true;
        if (memmem(s, size, "NaN", 3) || memmem(s, size, "Infinity", 8))
                return true;
        for (size_t i = 0; i < size; i++) {
                if ((uint8_t) s[i] < 0x20) /* raw control characters in strings; further blanks; anything behind a NUL */
                        return true;
                if (s[i] == '\\' && i + 2 < size && s[i + 1] == 'u' && (s[i + 2] == 'd' || s[i + 2] == 'D'))
                        return true; /* half surrogate pairs */
                if (is_lax_number(s, s + i, s + size))
                        return true;
        }
        return false;
}

static json_object *parse(const char *s, size_t size, bool *ret_accepted) {
        struct json_tokener *t = json_tokener_new_ex(JSON_DEPTH_MAX + 2);
        json_object *o;

        CHECK(t);
        json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(t, s, (int) size + 1); /* with its NUL, which ends a number */
        *ret_accepted = json_tokener_get_error(t) == json_tokener_success && json_tokener_get_parse_end(t) >= size;
        json_tokener_free(t);
        return o;
}

static void check_value(const JsonMember *m, json_object *o) {
        static const json_type types[_JSON_TYPE_MAX] = { json_type_null, json_type_boolean, json_type_double, json_type_string,
                                                         json_type_array, json_type_object };
        _cleanup_free_ char *text = NULL;
        double number;
        JsonType type;
        size_t n;

        CHECK(json_check(m->value, m->value_size, JSON_DEPTH_MAX, &type) == 0 && type == m->type);
        if (type != JSON_NUMBER)
                CHECK(json_object_get_type(o) == types[type]);
        switch (type) {
        case JSON_NUMBER:
                CHECK(json_number(m->value, m->value_size, &number) == 0);
                if (json_object_is_type(o, json_type_double)) {
                        double other = json_object_get_double(o);

                        CHECK(number == other || (isinf(number) && isinf(other)) || fabs(number - other) <= fabs(other) * 1e-12 ||
                              fabs(other) < 1e-300);
                } else
                        CHECK(json_object_is_type(o, json_type_int));
                break;
        case JSON_STRING:
                CHECK(json_unescape(m->value, m->value_size, &text, &n) == 0);
                CHECK((size_t) json_object_get_string_len(o) == n && memcmp(json_object_get_string(o), text, n) == 0);
                break;
        case JSON_BOOL:
                CHECK(json_object_get_boolean(o) == (m->value[0] == 't'));
                break;
        default:
                break;
        }
}

static bool same_key(const JsonMember *a, const char *key, size_t size) {
        _cleanup_free_ char *k = NULL;
        size_t n;

        CHECK(json_unescape(a->key, a->key_size, &k, &n) == 0);
        return n == size && memcmp(k, key, n) == 0;
}

/* Every member is in the tree, with the value of the last one of its name. */
static void check_members(const char *s, size_t size, json_object *o) {
        JsonMember m, other;
        JsonScan scan;
        int r;

        json_scan_begin(&scan, s, size);
        while ((r = json_scan_next(&scan, &m)) > 0) {
                _cleanup_free_ char *key = NULL;
                JsonScan rest = scan;
                json_object *value;
                size_t n;
                bool last = true;

                CHECK(json_unescape(m.key, m.key_size, &key, &n) == 0);
                if (strlen(key) != n)
                        continue; /* json-c cuts such a key at its NUL */
                CHECK(strchr(key, 0x5c) || json_member_is(&m, key));
                CHECK(json_object_object_get_ex(o, key, &value));
                while (json_scan_next(&rest, &other) > 0)
                        if (same_key(&other, key, n) || memmem(other.key, other.key_size, "\\u0000", 6))
                                last = false;
                if (last)
                        check_value(&m, value);
        }
        CHECK(r == 0);
}

/* What the writers write, the scanner reads. */
static void check_writers(const char *s, size_t size, bool valid) {
        _cleanup_(json_buffer_clear) JsonBuffer b = {}, line = {};
        _cleanup_free_ char *back = NULL;
        JsonType type;
        size_t n;
        int r;

        r = json_escape_append(&b, s, size);
        CHECK(r == (utf8_valid(s, size) ? 0 : -EBADMSG));
        if (r == 0) {
                CHECK(json_check(b.data, b.size, JSON_DEPTH_MAX, &type) == 0 && type == JSON_STRING);
                CHECK(json_unescape(b.data, b.size, &back, &n) == 0);
                CHECK(n == size && memcmp(back, s, size) == 0);
        }
        if (valid) {
                CHECK(json_append_oneline(&line, s, size) == 0);
                CHECK(json_check(line.data, line.size, JSON_DEPTH_MAX, &type) == 0);
                CHECK(!memchr(line.data, '\n', line.size) && !memchr(line.data, '\r', line.size));
                CHECK(!memmem(line.data, line.size, "\xe2\x80\xa8", 3) && !memmem(line.data, line.size, "\xe2\x80\xa9", 3));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *s = malloc(size + 1), *text = NULL;
        JsonType type;
        json_object *o;
        bool accepted;
        size_t n;
        int r;

        CHECK(s);
        if (size > 0)
                memcpy(s, data, size);
        s[size] = 0;

        (void) json_unescape((const char *) data, size, &text, &n); /* must bear what was never scanned */
        r = json_check(s, size, JSON_DEPTH_MAX, &type);
        CHECK(r == 0 || r == -EBADMSG || r == -E2BIG);
        check_writers(s, size, r == 0);

        o = parse(s, size, &accepted);
        if (r == 0) {
                CHECK(accepted);
                if (type == JSON_OBJECT)
                        check_members(s, size, o);
        } else if (r == -EBADMSG && accepted)
                CHECK(is_laxer(s, size));
        if (r != 0 || type != JSON_OBJECT) {
                JsonMember m;
                JsonScan scan;
                int k;

                json_scan_begin(&scan, s, size);
                while ((k = json_scan_next(&scan, &m)) > 0)
                        ;
                CHECK(k == -EBADMSG || (r == -E2BIG && k == -E2BIG));
        }
        json_object_put(o);
        return 0;
}
