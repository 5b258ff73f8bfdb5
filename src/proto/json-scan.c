/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * JSON where a tree would cost more than the job: the envelope's members are found and its payload is passed on as the text that
 * it is. Because that text is put into other messages, everything is checked, down to the UTF-8 of a string in the deepest array;
 * what passes here is JSON to any parser. It is stricter than json-c in that: no NaN or Infinity, no raw control characters in
 * strings, no half surrogate pairs, no overlong UTF-8, no "1." or "1e". The fuzzer holds the two against each other.
 *
 * Nesting is a bit a level in one word (object or array), not recursion, so a hostile text costs no stack. Strings are
 * walked eight bytes at a time: the masks below have the top bit of each interesting byte set, and on a little-endian word the
 * lowest of them is exact (the subtraction's borrow can only blur those above it), which is all that is used.
 */

#include <endian.h>
#include <errno.h>
#include <math.h>

#include "basic/str.h"
#include "proto/json-scan.h"

#define POWER_STEP 300 /* a power of ten that any double holds */

#define ONES UINT64_C(0x0101010101010101)
#define TOPS UINT64_C(0x8080808080808080)
#define HAS_ZERO(w) (((w) -ONES) & ~(w) & TOPS)
#define HAS_BYTE(w, c) HAS_ZERO((w) ^ (ONES * (uint8_t) (c)))
#define HAS_CONTROL(w) (((w) -ONES * 0x20) & ~(w) & TOPS)

static inline uint64_t load_word(const char *p) {
        uint64_t w;

        memcpy(&w, p, sizeof(w));
        return le64toh(w);
}

static inline size_t first_byte(uint64_t mask) {
        return (size_t) __builtin_ctzll(mask) / 8;
}

static inline const char *skip_blanks(const char *p, const char *end) {
        while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
                p++;
        return p;
}

static inline bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

/* Four hex digits at `p`, which are there. Returns the value or -1. */
static int32_t hex4(const char *p) {
        int32_t v = 0;

        for (unsigned i = 0; i < 4; i++) {
                char c = p[i];
                if (is_digit(c))
                        v = v << 4 | (c - '0');
                else if (c >= 'a' && c <= 'f')
                        v = v << 4 | (c - 'a' + 10);
                else if (c >= 'A' && c <= 'F')
                        v = v << 4 | (c - 'A' + 10);
                else
                        return -1;
        }
        return v;
}

/* One escape at the backslash. Returns the character and the byte behind the escape (both halves of a pair), or NULL. */
static const char *read_escape(const char *p, const char *end, uint32_t *ret) {
        int32_t high, low;

        if (end - p < 2)
                return NULL;
        switch (p[1]) {
        case '"':
        case '\\':
        case '/':
                *ret = (uint8_t) p[1];
                return p + 2;
        case 'b':
                *ret = '\b';
                return p + 2;
        case 'f':
                *ret = '\f';
                return p + 2;
        case 'n':
                *ret = '\n';
                return p + 2;
        case 'r':
                *ret = '\r';
                return p + 2;
        case 't':
                *ret = '\t';
                return p + 2;
        case 'u':
                if (end - p < 6 || (high = hex4(p + 2)) < 0)
                        return NULL;
                if (high < 0xd800 || high > 0xdfff) {
                        *ret = (uint32_t) high;
                        return p + 6;
                }
                if (high > 0xdbff || end - p < 12 || p[6] != '\\' || p[7] != 'u')
                        return NULL;
                low = hex4(p + 8);
                if (low < 0xdc00 || low > 0xdfff)
                        return NULL;
                *ret = 0x10000 + (((uint32_t) high & 0x3ff) << 10 | ((uint32_t) low & 0x3ff));
                return p + 12;
        default:
                return NULL;
        }
}

/* A string at its opening quote. Returns the byte behind the closing one, or NULL. */
static const char *scan_string(const char *p, const char *end) {
        const char *start = ++p;
        uint64_t high = 0;
        uint32_t c;

        for (;;) {
                while (end - p >= 8) {
                        uint64_t w = load_word(p), stop = HAS_BYTE(w, '"') | HAS_BYTE(w, '\\') | HAS_CONTROL(w);

                        high |= w & TOPS; /* a few bytes too many at the end of the string: then UTF-8 is checked for nothing */
                        if (stop) {
                                p += first_byte(stop);
                                break;
                        }
                        p += 8;
                }
                if (p >= end)
                        return NULL;
                if (*p == '"')
                        break;
                if ((uint8_t) *p < 0x20)
                        return NULL;
                if (*p == '\\') {
                        p = read_escape(p, end, &c);
                        if (!p)
                                return NULL;
                } else {
                        high |= (uint8_t) *p & 0x80;
                        p++;
                }
        }
        if (high && !utf8_valid(start, (size_t) (p - start)))
                return NULL;
        return p + 1;
}

static const char *scan_number(const char *p, const char *end) {
        if (p < end && *p == '-')
                p++;
        if (p >= end || !is_digit(*p))
                return NULL;
        if (*p == '0')
                p++;
        else
                while (p < end && is_digit(*p))
                        p++;
        if (p < end && *p == '.') {
                p++;
                if (p >= end || !is_digit(*p))
                        return NULL;
                while (p < end && is_digit(*p))
                        p++;
        }
        if (p < end && (*p == 'e' || *p == 'E')) {
                p++;
                if (p < end && (*p == '+' || *p == '-'))
                        p++;
                if (p >= end || !is_digit(*p))
                        return NULL;
                while (p < end && is_digit(*p))
                        p++;
        }
        return p;
}

static const char *scan_literal(const char *p, const char *end, const char *text, size_t size) {
        return (size_t) (end - p) >= size && memcmp(p, text, size) == 0 ? p + size : NULL;
}

/* A value that is no object or array. Returns the byte behind it, or NULL. */
static const char *scan_scalar(const char *p, const char *end, JsonType *ret) {
        switch (*p) {
        case '"':
                *ret = JSON_STRING;
                return scan_string(p, end);
        case 't':
                *ret = JSON_BOOL;
                return scan_literal(p, end, "true", 4);
        case 'f':
                *ret = JSON_BOOL;
                return scan_literal(p, end, "false", 5);
        case 'n':
                *ret = JSON_NULL;
                return scan_literal(p, end, "null", 4);
        default:
                *ret = JSON_NUMBER;
                return scan_number(p, end);
        }
}

/* A key with its colon, at the first byte that is no blank. Returns the byte behind the colon, or NULL. */
static const char *scan_key(const char *p, const char *end, size_t *ret_size) {
        const char *start = p;

        if (p >= end || *p != '"')
                return NULL;
        p = scan_string(p, end);
        if (!p)
                return NULL;
        *ret_size = (size_t) (p - start);
        p = skip_blanks(p, end);
        return p < end && *p == ':' ? p + 1 : NULL;
}

/* One value, whose first byte is at `*at`, with at most `depth_max` levels in it.
 * Returns 0 with `*at` behind the value, -EBADMSG, -E2BIG. */
static int scan_value(const char **at, const char *end, unsigned depth_max, JsonType *ret) {
        const char *p = *at;
        uint64_t objects = 0; /* bit 0: the innermost level is an object, and so on outwards */
        unsigned depth = 0;
        JsonType type, outer = _JSON_TYPE_MAX;
        size_t unused;

        for (;;) {
                /* at a value */
                if (p >= end)
                        return -EBADMSG;
                if (*p == '{' || *p == '[') {
                        bool object = *p == '{';

                        if (depth >= depth_max)
                                return -E2BIG;
                        depth++;
                        objects = objects << 1 | object;
                        if (outer == _JSON_TYPE_MAX)
                                outer = object ? JSON_OBJECT : JSON_ARRAY;
                        p = skip_blanks(p + 1, end);
                        if (p < end && *p != (object ? '}' : ']')) {
                                if (object) {
                                        p = scan_key(p, end, &unused);
                                        if (!p)
                                                return -EBADMSG;
                                        p = skip_blanks(p, end);
                                }
                                continue;
                        }
                } else {
                        p = scan_scalar(p, end, &type);
                        if (!p)
                                return -EBADMSG;
                        if (outer == _JSON_TYPE_MAX)
                                outer = type;
                }

                /* behind a value, or at the end of an empty level: leave the levels that end here */
                while (depth > 0) {
                        p = skip_blanks(p, end);
                        if (p >= end)
                                return -EBADMSG;
                        if (*p == ',')
                                break;
                        if (*p != (objects & 1 ? '}' : ']'))
                                return -EBADMSG;
                        p++;
                        depth--;
                        objects >>= 1;
                }
                if (depth == 0)
                        break;
                p = skip_blanks(p + 1, end);
                if (objects & 1) {
                        p = scan_key(p, end, &unused);
                        if (!p)
                                return -EBADMSG;
                        p = skip_blanks(p, end);
                }
        }
        *at = p;
        *ret = outer;
        return 0;
}

int json_check(const char *s, size_t size, unsigned depth_max, JsonType *ret) {
        const char *end = s + size, *p = skip_blanks(s, end);
        JsonType type;
        int r;

        r = scan_value(&p, end, MIN(depth_max, JSON_DEPTH_MAX), &type);
        if (r < 0)
                return r;
        if (skip_blanks(p, end) != end)
                return -EBADMSG;
        *ret = type;
        return 0;
}

enum {
        SCAN_BEGIN, /* before the brace */
        SCAN_AFTER, /* behind a member */
        SCAN_END,
        SCAN_BAD,
        SCAN_DEEP,
};

void json_scan_begin(JsonScan *scan, const char *s, size_t size) {
        *scan = (JsonScan) { .p = s, .end = s + size, .state = SCAN_BEGIN };
}

void json_scan_elements(JsonScan *scan, const char *s, size_t size) {
        *scan = (JsonScan) { .p = s, .end = s + size, .state = SCAN_BEGIN, .array = true };
}

static int scan_failed(JsonScan *scan, int r) {
        scan->state = r == -E2BIG ? SCAN_DEEP : SCAN_BAD;
        return r;
}

int json_scan_next(JsonScan *scan, JsonMember *ret) {
        const char *p = scan->p, *end = scan->end;
        JsonMember m = {};
        bool first = scan->state == SCAN_BEGIN;
        int r;

        if (scan->state >= SCAN_END)
                return scan->state == SCAN_END ? 0 : scan->state == SCAN_DEEP ? -E2BIG : -EBADMSG;

        p = skip_blanks(p, end);
        if (first) {
                if (p >= end || *p != (scan->array ? '[' : '{'))
                        return scan_failed(scan, -EBADMSG);
                p = skip_blanks(p + 1, end);
        }
        if (p < end && *p == (scan->array ? ']' : '}')) {
                if (skip_blanks(p + 1, end) != end)
                        return scan_failed(scan, -EBADMSG);
                scan->state = SCAN_END;
                return 0;
        }
        if (!first) {
                if (p >= end || *p != ',')
                        return scan_failed(scan, -EBADMSG);
                p = skip_blanks(p + 1, end);
        }

        if (!scan->array) {
                m.key = p;
                p = scan_key(p, end, &m.key_size);
                if (!p)
                        return scan_failed(scan, -EBADMSG);
                p = skip_blanks(p, end);
        }
        m.value = p;
        r = scan_value(&p, end, JSON_DEPTH_MAX - 1, &m.type);
        if (r < 0)
                return scan_failed(scan, r);
        m.value_size = (size_t) (p - m.value);

        scan->p = p;
        scan->state = SCAN_AFTER;
        *ret = m;
        return 1;
}

static char *put_utf8(char *o, uint32_t c) {
        if (c < 0x80)
                *o++ = (char) c;
        else if (c < 0x800) {
                *o++ = (char) (0xc0 | c >> 6);
                *o++ = (char) (0x80 | (c & 0x3f));
        } else if (c < 0x10000) {
                *o++ = (char) (0xe0 | c >> 12);
                *o++ = (char) (0x80 | (c >> 6 & 0x3f));
                *o++ = (char) (0x80 | (c & 0x3f));
        } else {
                *o++ = (char) (0xf0 | c >> 18);
                *o++ = (char) (0x80 | (c >> 12 & 0x3f));
                *o++ = (char) (0x80 | (c >> 6 & 0x3f));
                *o++ = (char) (0x80 | (c & 0x3f));
        }
        return o;
}

bool json_member_is(const JsonMember *m, const char *name) {
        const char *p = m->key + 1, *end = m->key + m->key_size - 1;
        size_t length = strlen(name);
        char buf[4];
        uint32_t c;

        if (m->key_size == length + 2 && memcmp(p, name, length) == 0)
                return true; /* `name` has no backslash, so what equals it has no escape */
        if (m->key_size <= length + 2)
                return false; /* no escape is shorter than what it stands for */
        while (p < end) {
                size_t n = 1;

                buf[0] = *p;
                if (*p == '\\') {
                        p = read_escape(p, end, &c);
                        if (!p)
                                return false;
                        n = (size_t) (put_utf8(buf, c) - buf);
                } else
                        p++;
                if (n > length || memcmp(buf, name, n) != 0)
                        return false;
                name += n;
                length -= n;
        }
        return length == 0;
}

int json_unescape_into(const char *raw, size_t size, char *room, size_t *ret_size) {
        const char *p, *end;
        char *o = room;
        uint32_t c;

        if (size < 2 || raw[0] != '"' || raw[size - 1] != '"')
                return -EBADMSG;
        p = raw + 1;
        end = raw + size - 1;
        while (p < end) {
                const char *stop = memchr(p, '\\', (size_t) (end - p));
                size_t n = (size_t) ((stop ? stop : end) - p);

                memcpy(o, p, n);
                o += n;
                if (!stop)
                        break;
                p = read_escape(stop, end, &c);
                if (!p)
                        return -EBADMSG;
                o = put_utf8(o, c);
        }
        *ret_size = (size_t) (o - room);
        return 0;
}

int json_unescape(const char *raw, size_t size, char **ret, size_t *ret_size) {
        _cleanup_free_ char *buf = NULL;
        size_t n;
        int r;

        if (size < 2)
                return -EBADMSG;
        buf = malloc(size - 1); /* no escape is shorter than what it stands for */
        if (!buf)
                return -ENOMEM;
        r = json_unescape_into(raw, size, buf, &n);
        if (r < 0)
                return r;
        buf[n] = 0;
        *ret_size = n;
        *ret = TAKE_PTR(buf);
        return 0;
}

int json_number(const char *raw, size_t size, double *ret) {
        const char *p = raw, *end = raw + size;
        bool negative = false, point = false;
        long double v = 0;
        int exponent = 0, e = 0;

        if (size == 0 || scan_number(raw, end) != end)
                return -EBADMSG;
        if (*p == '-') {
                negative = true;
                p++;
        }
        for (; p < end && *p != 'e' && *p != 'E'; p++) {
                if (*p == '.') {
                        point = true;
                        continue;
                }
                if (v < 1e30L) {
                        v = v * 10 + (*p - '0');
                        exponent -= point;
                } else
                        exponent += !point; /* beyond all precision: only its magnitude counts */
        }
        if (p < end) {
                bool minus = *++p == '-';

                if (*p == '-' || *p == '+')
                        p++;
                for (; p < end; p++)
                        if (e < 100000)
                                e = e * 10 + (*p - '0');
                exponent += minus ? -e : e;
        }
        /* Divided, not multiplied by a tenth that no float holds: 100e-2 is 1.
         * In steps, which neither overflow nor vanish before v does. */
        for (; exponent < 0 && v != 0; exponent += MIN(-exponent, POWER_STEP))
                v /= powl(10, MIN(-exponent, POWER_STEP));
        for (; exponent > 0 && v != 0 && isfinite(v); exponent -= MIN(exponent, POWER_STEP))
                v *= powl(10, MIN(exponent, POWER_STEP));
        *ret = (double) (negative ? -v : v);
        return 0;
}

int json_buffer_reserve(JsonBuffer *b, size_t size) {
        size_t need, room;
        char *p;

        if (b->room - b->size >= size)
                return 0;
        if (__builtin_add_overflow(b->size, size, &need))
                return -ENOMEM;
        room = MAX(need, b->room + b->room / 2);
        p = realloc(b->data, room);
        if (!p)
                return -ENOMEM;
        b->data = p;
        b->room = room;
        return 0;
}

int json_append(JsonBuffer *b, const char *s, size_t size) {
        int r = json_buffer_reserve(b, size);

        if (r < 0)
                return r;
        if (size > 0)
                memcpy(b->data + b->size, s, size);
        b->size += size;
        return 0;
}

/* U+2028 or U+2029 at `p`: line ends to some readers of lines (Node's readline is one), though not to JSON. */
static bool is_line_separator(const char *p, const char *end) {
        return end - p >= 3 && (uint8_t) p[0] == 0xe2 && (uint8_t) p[1] == 0x80 && ((uint8_t) p[2] | 1) == 0xa9;
}

/* The escape of what stands at `p`. Returns its length, and how many bytes it stands for; 0 where nothing needs an escape. */
static size_t escape(const char *p, const char *end, char ret[static 6], size_t *ret_from) {
        static const char digits[] = "0123456789abcdef";
        char letter = 0;

        *ret_from = 1;
        switch (*p) {
        case '"':
        case '\\':
                letter = *p;
                break;
        case '\b':
                letter = 'b';
                break;
        case '\f':
                letter = 'f';
                break;
        case '\n':
                letter = 'n';
                break;
        case '\r':
                letter = 'r';
                break;
        case '\t':
                letter = 't';
                break;
        default:
                if ((uint8_t) *p < 0x20) {
                        memcpy(ret, "\\u00", 4);
                        ret[4] = digits[*p >> 4];
                        ret[5] = digits[*p & 15];
                        return 6;
                }
                if (is_line_separator(p, end)) {
                        memcpy(ret, p[2] & 1 ? "\\u2029" : "\\u2028", 6);
                        *ret_from = 3;
                        return 6;
                }
                return 0;
        }
        ret[0] = '\\';
        ret[1] = letter;
        return 2;
}

/* The first byte from `p` on that may have to be escaped, or `end`. */
static const char *find_escape(const char *p, const char *end) {
        while (end - p >= 8) {
                uint64_t w = load_word(p), stop = HAS_BYTE(w, '"') | HAS_BYTE(w, '\\') | HAS_BYTE(w, 0xe2) | HAS_CONTROL(w);

                if (stop)
                        return p + first_byte(stop);
                p += 8;
        }
        while (p < end && *p != '"' && *p != '\\' && (uint8_t) *p >= 0x20 && (uint8_t) *p != 0xe2)
                p++;
        return p;
}

int json_escape_append(JsonBuffer *b, const char *s, size_t size) {
        char text[6];
        size_t n, from;
        int r;

        if (size == 0)
                return json_append(b, "\"\"", 2); /* `s` may be NULL */

        const char *p = s, *end = s + size;

        if (!utf8_valid(s, size))
                return -EBADMSG;
        r = json_buffer_reserve(b, size + 2);
        if (r < 0)
                return r;
        b->data[b->size++] = '"';
        while (p < end) {
                const char *stop = find_escape(p, end);

                n = stop < end ? escape(stop, end, text, &from) : 0;
                if (stop < end && n == 0)
                        stop++; /* it only looked like one */
                r = json_append(b, p, (size_t) (stop - p));
                if (r < 0)
                        return r;
                p = stop;
                if (n > 0) {
                        r = json_append(b, text, n);
                        if (r < 0)
                                return r;
                        p += from;
                }
        }
        return json_append(b, "\"", 1);
}

int json_append_oneline(JsonBuffer *b, const char *s, size_t size) {
        size_t start = b->size;
        int r;

        if (size == 0)
                return 0;

        const char *end = s + size;

        /* Both line separators start with 0xe2, and can stand in strings only. */
        while (s < end) {
                const char *stop = memchr(s, 0xe2, (size_t) (end - s));

                if (!stop)
                        stop = end;
                r = json_append(b, s, (size_t) (stop - s));
                if (r < 0)
                        return r;
                s = stop;
                if (s == end)
                        break;
                if (is_line_separator(s, end)) {
                        r = json_append(b, s[2] & 1 ? "\\u2029" : "\\u2028", 6);
                        s += 3;
                } else
                        r = json_append(b, s++, 1);
                if (r < 0)
                        return r;
        }
        /* CR and LF stand between tokens only */
        for (char *p = b->data + start; (p = memchr(p, '\n', (size_t) (b->data + b->size - p)));)
                *p = ' ';
        for (char *p = b->data + start; (p = memchr(p, '\r', (size_t) (b->data + b->size - p)));)
                *p = ' ';
        return 0;
}
