/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Members of JSON objects, in and out, as the room uses them. */

#include <json-c/json.h>
#include <stdio.h>

#include "basic/macro.h"
#include "proto/varlink.h" /* _cleanup_json_ */

/* NULL is left out. */
static inline void put_text(json_object *o, const char *key, const char *v) {
        if (v)
                json_object_object_add(o, key, json_object_new_string(v));
}

static inline void put_int(json_object *o, const char *key, uint64_t v) {
        json_object_object_add(o, key, json_object_new_int64((int64_t) MIN(v, (uint64_t) INT64_MAX)));
}

static inline void put_bool(json_object *o, const char *key, bool v) {
        json_object_object_add(o, key, json_object_new_boolean(v));
}

static inline void put_momentum(json_object *o, const char *key, unsigned hundredths) {
        char text[32];

        snprintf(text, sizeof(text), "%u.%02u", hundredths / 100, hundredths % 100); /* the shortest that is exact; a double would print 17 digits */
        json_object_object_add(o, key, json_object_new_double_s(hundredths / 100.0, text));
}

/* A member that is there and not null. */
static inline json_object *get_member(json_object *o, const char *key) {
        json_object *v;

        return json_object_object_get_ex(o, key, &v) && !json_object_is_type(v, json_type_null) ? v : NULL;
}

/* NULL where it is absent, or no string. */
static inline const char *get_text(json_object *o, const char *key) {
        json_object *v = get_member(o, key);

        return v && json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

/* 0 likewise. */
static inline int64_t get_int(json_object *o, const char *key) {
        json_object *v = get_member(o, key);

        return v && json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : 0;
}

static inline bool get_bool(json_object *o, const char *key) {
        json_object *v = get_member(o, key);

        return v && json_object_get_boolean(v);
}

static inline size_t get_length(json_object *o) {
        return o && json_object_is_type(o, json_type_array) ? json_object_array_length(o) : 0;
}

static inline const char *json_plain(json_object *o) {
        return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}
