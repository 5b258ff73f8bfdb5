/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The text is checked first, by the scanner, so that the walk here may trust it: a quote begins a string that ends, a brace has its
 * match, nesting is bounded. The walk writes the values in the order in which they stand, and notes where each member of an open
 * object begins; when the object closes, its members are sorted, which moves them within the output. A member deep inside is moved
 * once for each level around it at the most.
 */

#include <errno.h>

#include "proto/json-canonical.h"

/* A member in the output, its key first: of an object that is open, or that is about to be sorted. */
typedef struct Member {
        size_t at, key_size, size;
        size_t order; /* among the members of its object */
} Member;

typedef struct Level {
        size_t first;  /* of its members; for an array unused */
        bool object;
} Level;

typedef struct Walk {
        const char *p, *end;
        JsonBuffer *out;
        Member *members; /* of all open objects, one behind the other */
        size_t n, room;
        JsonBuffer scratch;
        Level levels[JSON_DEPTH_MAX];
        unsigned depth;
} Walk;

static bool is_blank(char c) {
        return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void skip_blanks(Walk *w) {
        while (w->p < w->end && is_blank(*w->p))
                w->p++;
}

/* The byte behind a string that begins at `p`. */
static const char *string_end(const char *p) {
        for (p++; *p != '"'; p++)
                if (*p == '\\')
                        p++;
        return p + 1;
}

static int put_string(Walk *w) {
        const char *start = w->p, *end = string_end(start);
        _cleanup_free_ char *text = NULL;
        size_t size = (size_t) (end - start), text_size;
        int r;

        w->p = end;
        /* Without an escape it is its own shortest form, unless it holds what json_escape_append() escapes for the sake of readers of lines. */
        if (!memchr(start, '\\', size) && !memchr(start, 0xe2, size))
                return json_append(w->out, start, size);
        r = json_unescape(start, size, &text, &text_size);
        if (r < 0)
                return r;
        return json_escape_append(w->out, text, text_size);
}

static int put_other(Walk *w) {
        const char *start = w->p;

        while (w->p < w->end && !is_blank(*w->p) && !memchr(",]}", *w->p, 3))
                w->p++;
        return json_append(w->out, start, (size_t) (w->p - start));
}

/* A key and its colon: a member begins. */
static int put_key(Walk *w) {
        Member m = { .at = w->out->size, .order = w->n };
        int r;

        if (w->n == w->room) {
                size_t room = MAX(w->room * 2, (size_t) 16);
                Member *p = reallocarray(w->members, room, sizeof(Member));

                if (!p)
                        return -ENOMEM;
                w->members = p;
                w->room = room;
        }
        r = put_string(w);
        if (r < 0)
                return r;
        m.key_size = w->out->size - m.at;
        w->members[w->n++] = m;
        skip_blanks(w);
        w->p++;
        skip_blanks(w);
        return json_append(w->out, ":", 1);
}

static int compare_members(const void *x, const void *y, void *userdata) {
        const Member *a = x, *b = y;
        const char *text = userdata;
        int r = memcmp(text + a->at, text + b->at, MIN(a->key_size, b->key_size));

        if (r == 0 && a->key_size != b->key_size)
                r = a->key_size < b->key_size ? -1 : 1;
        return r != 0 ? r : a->order < b->order ? -1 : 1;
}

/* Puts the members of an object, which are the last thing in the output, into their order. */
static int sort_members(Walk *w, size_t first) {
        size_t n = w->n - first, begin;
        Member *m;
        int r = 0;

        w->n = first;
        if (n < 2)
                return 0;
        m = w->members + first;
        begin = m[0].at;
        for (size_t i = 0; i < n; i++) /* the comma in between is none's */
                m[i].size = (i + 1 < n ? m[i + 1].at - 1 : w->out->size) - m[i].at;
        for (size_t i = 1; i < n && r <= 0; i++)
                r = compare_members(&m[i - 1], &m[i], w->out->data);
        if (r <= 0)
                return 0; /* as most are */
        qsort_r(m, n, sizeof(Member), compare_members, w->out->data);
        w->scratch.size = 0;
        for (size_t i = 0; i < n; i++) {
                r = i > 0 ? json_append(&w->scratch, ",", 1) : 0;
                if (r >= 0)
                        r = json_append(&w->scratch, w->out->data + m[i].at, m[i].size);
                if (r < 0)
                        return r;
        }
        memcpy(w->out->data + begin, w->scratch.data, w->scratch.size);
        return 0;
}

/* Behind a value: closes what ends here. At the end of the text depth is 0. */
static int leave(Walk *w) {
        int r;

        for (skip_blanks(w); w->depth > 0 && *w->p != ','; skip_blanks(w)) {
                const Level *l = &w->levels[--w->depth];

                r = l->object ? sort_members(w, l->first) : 0;
                if (r >= 0)
                        r = json_append(w->out, w->p++, 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* At an opening bracket. Returns 1 where the level has something in it. */
static int enter(Walk *w) {
        bool object = *w->p == '{';
        int r = json_append(w->out, w->p++, 1);

        if (r < 0)
                return r;
        w->levels[w->depth++] = (Level) { .first = w->n, .object = object };
        skip_blanks(w);
        if (*w->p == (object ? '}' : ']'))
                return 0;
        if (object) {
                r = put_key(w);
                if (r < 0)
                        return r;
        }
        return 1;
}

static int walk(Walk *w) {
        int r;

        skip_blanks(w);
        for (;;) {
                if (*w->p == '{' || *w->p == '[') {
                        r = enter(w);
                        if (r > 0)
                                continue;
                } else
                        r = *w->p == '"' ? put_string(w) : put_other(w);
                if (r >= 0)
                        r = leave(w);
                if (r < 0 || w->depth == 0)
                        return r;
                r = json_append(w->out, w->p++, 1); /* the comma */
                skip_blanks(w);
                if (r >= 0 && w->levels[w->depth - 1].object)
                        r = put_key(w);
                if (r < 0)
                        return r;
        }
}

int json_canonical(const char *s, size_t size, JsonBuffer *ret) {
        Walk w = { .p = s, .end = s + size, .out = ret };
        JsonType type;
        int r;

        r = json_check(s, size, JSON_DEPTH_MAX, &type);
        if (r < 0)
                return r;
        r = json_buffer_reserve(ret, size);
        if (r < 0)
                return r;
        r = walk(&w);
        free(w.members);
        json_buffer_clear(&w.scratch);
        return r;
}
