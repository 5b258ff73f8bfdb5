/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON without a tree: checks a text, finds the members of its outermost object, reads and writes strings. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/macro.h"

#define JSON_DEPTH_MAX 64U /* objects and arrays within each other, the outermost counted */

typedef enum JsonType {
        JSON_NULL,
        JSON_BOOL,
        JSON_NUMBER,
        JSON_STRING,
        JSON_ARRAY,
        JSON_OBJECT,
        _JSON_TYPE_MAX,
} JsonType;

/* A member as it stands in the text: both spans point into it. */
typedef struct JsonMember {
        const char *key; /* with its quotes and escapes: compare with json_member_is() */
        size_t key_size;
        const char *value; /* the value's own text, which may be put into any other JSON text */
        size_t value_size;
        JsonType type;
} JsonMember;

typedef struct JsonScan {
        const char *p, *end;
        unsigned state;
        bool array;
} JsonScan;

/* Checks that the text is one JSON value (RFC 8259) and nothing else but blanks, in valid UTF-8 and without lone surrogates.
 * Returns 0 with its type, -EBADMSG, or -E2BIG when nested deeper than `depth_max` (at most JSON_DEPTH_MAX). */
int json_check(const char *s, size_t size, unsigned depth_max, JsonType *ret);

/* Walks the members of an object in their order; duplicates are the caller's to judge. `s` stays the caller's, and must stay. */
void json_scan_begin(JsonScan *scan, const char *s, size_t size);
/* The same for the elements of an array, whose keys are NULL. */
void json_scan_elements(JsonScan *scan, const char *s, size_t size);
/* Returns 1 with the next member, 0 at the end, -EBADMSG where the text is no JSON object (or array), -E2BIG where it is nested too deeply.
 * Only the 0 says that the whole text is valid: act on nothing before it. After an error it stays that error. */
int json_scan_next(JsonScan *scan, JsonMember *ret);

/* True where the member's key is `name`, in whatever way it was escaped. `name` itself has no backslash. */
bool json_member_is(const JsonMember *m, const char *name);

/* The content of a string, given with its quotes as the scanner delivered it, as UTF-8. It may hold NULs: *ret_size says how long
 * it is; one more NUL is added. Escapes are checked, raw UTF-8 is not again. *ret is the caller's.
 * Returns 0, -EBADMSG, -ENOMEM. */
int json_unescape(const char *raw, size_t size, char **ret, size_t *ret_size);

/* The same into the caller's room of at least size - 2 bytes; no NUL is added. Returns 0 or -EBADMSG. */
int json_unescape_into(const char *raw, size_t size, char *room, size_t *ret_size);

/* A number's value, to the precision of a double, whatever the locale says about the point.
 * Returns 0, or -EBADMSG where it is no number. */
int json_number(const char *raw, size_t size, double *ret);

/* A growing text. Zero it to begin with; `data` is the caller's, to free() or take, and not NUL-terminated. */
typedef struct JsonBuffer {
        char *data;
        size_t size, room;
} JsonBuffer;

static inline void json_buffer_clear(JsonBuffer *b) {
        free(b->data);
        *b = (JsonBuffer) {};
}

/* Makes room for `size` more bytes. Returns 0 or -ENOMEM. */
int json_buffer_reserve(JsonBuffer *b, size_t size);
/* Appends text as it is. Returns 0 or -ENOMEM. */
int json_append(JsonBuffer *b, const char *s, size_t size);
/* Appends a string literal, quotes and all. Returns 0, -EBADMSG for invalid UTF-8, -ENOMEM. */
int json_escape_append(JsonBuffer *b, const char *s, size_t size);
/* Appends a valid JSON text so that it is one line for every reader: blanks for CR and LF, escapes for U+2028 and U+2029.
 * Returns 0 or -ENOMEM. */
int json_append_oneline(JsonBuffer *b, const char *s, size_t size);
