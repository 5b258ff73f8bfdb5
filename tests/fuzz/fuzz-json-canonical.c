/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Canonical JSON: it is taken where the scanner takes the text, it says to json-c what the text said, and it is its own canonical form. */

#include <errno.h>
#include <json-c/json.h>

#include "fuzz.h"
#include "proto/json-canonical.h"

static json_object *parse(const char *s, size_t size) {
        struct json_tokener *t = json_tokener_new_ex(JSON_DEPTH_MAX + 2);
        json_object *o;

        CHECK(t);
        o = json_tokener_parse_ex(t, s, (int) size);
        if (json_tokener_get_error(t) == json_tokener_continue)
                o = json_tokener_parse_ex(t, " ", 1); /* which ends a number */
        CHECK(json_tokener_get_error(t) == json_tokener_success);
        json_tokener_free(t);
        return o;
}

/* json-c 0.16 reads some surrogate pairs as U+FFFD (those of U+1D800 to U+1DFFF), and cuts keys at a NUL. */
static bool is_misread(const char *s, size_t size) {
        for (size_t i = 0; i + 3 <= size; i++)
                if (memcmp(s + i, "\\ud", 3) == 0 || memcmp(s + i, "\\uD", 3) == 0)
                        return true;
        return memmem(s, size, "\\u0000", 6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        JsonBuffer once = {}, twice = {};
        JsonType type, canonical_type;
        const char *s = (const char *) data;
        int r, valid = json_check(s, size, JSON_DEPTH_MAX, &type);

        r = json_canonical(s, size, &once);
        CHECK(r == valid);
        if (r == 0) {
                CHECK(json_check(once.data, once.size, JSON_DEPTH_MAX, &canonical_type) == 0 && canonical_type == type);
                CHECK(json_canonical(once.data, once.size, &twice) == 0);
                CHECK(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);

                json_object *a = parse(s, size), *b = parse(once.data, once.size);
                CHECK(is_misread(s, size) || json_object_equal(a, b));
                json_object_put(a);
                json_object_put(b);
        }
        json_buffer_clear(&once);
        json_buffer_clear(&twice);
        return 0;
}
