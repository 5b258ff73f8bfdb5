/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Text. The spans, sizes and quoting rules are systemd's, because the same people write both kinds of file: see systemd.time(7)
 * and systemd.syntax(7). Only what flowd's own files need is here; calendar expressions, for instance, are left to timers.
 */

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "basic/str.h"

static const struct {
        const char *name;
        uint64_t usec;
} units[] = {
        { "seconds", USEC_PER_SEC },
        { "second", USEC_PER_SEC },
        { "sec", USEC_PER_SEC },
        { "s", USEC_PER_SEC },
        { "minutes", 60 * USEC_PER_SEC },
        { "minute", 60 * USEC_PER_SEC },
        { "min", 60 * USEC_PER_SEC },
        { "msec", USEC_PER_MSEC },
        { "ms", USEC_PER_MSEC },
        { "m", 60 * USEC_PER_SEC },
        { "hours", 3600 * USEC_PER_SEC },
        { "hour", 3600 * USEC_PER_SEC },
        { "hr", 3600 * USEC_PER_SEC },
        { "h", 3600 * USEC_PER_SEC },
        { "days", 86400 * USEC_PER_SEC },
        { "day", 86400 * USEC_PER_SEC },
        { "d", 86400 * USEC_PER_SEC },
        { "weeks", 7 * 86400 * USEC_PER_SEC },
        { "week", 7 * 86400 * USEC_PER_SEC },
        { "w", 7 * 86400 * USEC_PER_SEC },
        { "usec", 1 },
        { "us", 1 },
        { "µs", 1 },
};

static const char *skip_blanks(const char *s) {
        while (*s == ' ' || *s == '\t' || *s == '\n')
                s++;
        return s;
}

/* Reads digits with an optional fraction; signs, exponents and hex, which strtod() would take, are refused. */
static int number_parse(const char **s, long double *ret) {
        const char *p = *s;
        long double v = 0, scale = 1;
        bool digits = false;

        for (; isdigit((unsigned char) *p); p++, digits = true)
                v = v * 10 + (*p - '0');
        if (*p == '.')
                for (p++; isdigit((unsigned char) *p); p++, digits = true)
                        v += (*p - '0') * (scale /= 10);
        if (!digits)
                return -EINVAL;
        *s = p;
        *ret = v;
        return 0;
}

int usec_parse(const char *s, uint64_t *ret) {
        long double total = 0;
        bool any = false;

        s = skip_blanks(s);
        if (strncmp(s, "infinity", 8) == 0 && !*skip_blanks(s + 8)) {
                *ret = USEC_INFINITY;
                return 0;
        }
        while (*s) {
                long double v;
                uint64_t unit = USEC_PER_SEC;

                int r = number_parse(&s, &v);
                if (r < 0)
                        return r;
                s = skip_blanks(s);
                if (*s && !isdigit((unsigned char) *s)) {
                        size_t best = 0;

                        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                                size_t l = strlen(units[i].name);
                                if (l > best && strncmp(s, units[i].name, l) == 0) {
                                        best = l;
                                        unit = units[i].usec;
                                }
                        }
                        if (best == 0 || isalpha((unsigned char) s[best]))
                                return -EINVAL;
                        s += best;
                }
                total += v * unit;
                any = true;
                s = skip_blanks(s);
        }
        if (!any)
                return -EINVAL;
        if (total >= 9.2e18L)
                return -ERANGE;
        *ret = (uint64_t) llroundl(total);
        return 0;
}

char *usec_format(char *buf, size_t size, uint64_t usec) {
        static const struct {
                const char *name;
                uint64_t usec;
        } out[] = {
                { "w", 7 * 86400 * USEC_PER_SEC },
                { "d", 86400 * USEC_PER_SEC },
                { "h", 3600 * USEC_PER_SEC },
                { "min", 60 * USEC_PER_SEC },
                { "s", USEC_PER_SEC },
                { "ms", USEC_PER_MSEC },
                { "us", 1 },
        };
        size_t used = 0;

        if (usec == USEC_INFINITY) {
                str_copy(buf, size, "infinity");
                return buf;
        }
        if (usec == 0) {
                str_copy(buf, size, "0");
                return buf;
        }
        buf[0] = 0;
        for (size_t i = 0; i < ELEMENTSOF(out) && used < size; i++) {
                uint64_t n = usec / out[i].usec;

                if (n == 0)
                        continue;
                usec %= out[i].usec;
                int k = snprintf(buf + used, size - used, "%s%" PRIu64 "%s", used ? " " : "", n, out[i].name);
                if (k < 0)
                        break;
                used += (size_t) k;
        }
        return buf;
}

int size_parse(const char *s, uint64_t *ret) {
        static const char suffixes[] = "BKMGTPE";
        unsigned shift = 0;
        long double v;

        s = skip_blanks(s);
        if (strncmp(s, "infinity", 8) == 0 && !*skip_blanks(s + 8)) {
                *ret = UINT64_MAX;
                return 0;
        }
        int r = number_parse(&s, &v);
        if (r < 0)
                return r;
        s = skip_blanks(s);
        if (*s) {
                const char *k = strchr(suffixes, *s);

                if (!k)
                        return -EINVAL;
                shift = (unsigned) (k - suffixes) * 10;
                if (*skip_blanks(s + 1))
                        return -EINVAL;
        }
        v = ldexpl(v, (int) shift);
        if (v >= 9.2e18L)
                return -ERANGE;
        *ret = (uint64_t) v;
        return 0;
}

char *size_format(char *buf, size_t size, uint64_t bytes) {
        static const char suffixes[] = "BKMGTPE";
        double v = (double) bytes;
        size_t i = 0;

        if (bytes == UINT64_MAX) {
                str_copy(buf, size, "infinity");
                return buf;
        }
        while (v >= 1024 && i + 1 < strlen(suffixes)) {
                v /= 1024;
                i++;
        }
        snprintf(buf, size, i == 0 || v >= 100 || v == floor(v) ? "%.0f%c" : "%.1f%c", v, suffixes[i]);
        return buf;
}

int bool_parse(const char *s, bool *ret) {
        static const char *const yes[] = { "yes", "true", "on", "1", "y", "t" }, *const no[] = { "no", "false", "off", "0", "n", "f" };

        for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
                if (strcasecmp(s, yes[i]) == 0) {
                        *ret = true;
                        return 0;
                }
                if (strcasecmp(s, no[i]) == 0) {
                        *ret = false;
                        return 0;
                }
        }
        return -EINVAL;
}

int u64_parse(const char *s, uint64_t min, uint64_t max, uint64_t *ret) {
        uint64_t v = 0;

        if (!*s)
                return -EINVAL;
        for (; *s; s++) {
                if (!isdigit((unsigned char) *s))
                        return -EINVAL;
                if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t) (*s - '0'), &v))
                        return -ERANGE;
        }
        if (v < min || v > max)
                return -ERANGE;
        *ret = v;
        return 0;
}

bool utf8_valid(const void *data, size_t size) {
        const uint8_t *p = data, *end = p + size;

        while (p < end) {
                uint64_t word;

                /* eight ASCII bytes at a time: most payloads are nothing else */
                while (end - p >= 8) {
                        memcpy(&word, p, 8);
                        if (word & 0x8080808080808080ULL)
                                break;
                        p += 8;
                }
                if (p >= end)
                        break;
                if (*p < 0x80) {
                        p++;
                        continue;
                }
                unsigned n = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
                uint32_t c;

                if (*p < 0xc2 || *p > 0xf4 || (size_t) (end - p) <= n)
                        return false;
                c = *p & (0x3f >> n);
                for (unsigned i = 1; i <= n; i++) {
                        if ((p[i] & 0xc0) != 0x80)
                                return false;
                        c = c << 6 | (p[i] & 0x3f);
                }
                if ((n == 2 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) || (n == 3 && (c < 0x10000 || c > 0x10ffff)))
                        return false;
                p += n + 1;
        }
        return true;
}

size_t utf8_cut(const void *data, size_t size, size_t max) {
        const uint8_t *p = data;

        if (size <= max)
                return size;
        while (max > 0 && (p[max] & 0xc0) == 0x80)
                max--;
        return max;
}

bool name_valid(const char *s) {
        size_t l = strlen(s);

        if (l == 0 || l > NAME_LENGTH_MAX || *s == '.' || *s == '-')
                return false;
        for (; *s; s++)
                if (!isalnum((unsigned char) *s) && !strchr("_-.", *s))
                        return false;
        return true;
}

void strv_free(char **v) {
        if (!v)
                return;
        for (char **i = v; *i; i++)
                free(*i);
        free(v);
}

size_t strv_length(char *const *v) {
        size_t n = 0;

        while (v && v[n])
                n++;
        return n;
}

bool strv_equal(char *const *a, char *const *b) {
        size_t n = strv_length(a);

        if (n != strv_length(b))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!streq(a[i], b[i]))
                        return false;
        return true;
}

int strv_append(char ***v, const char *s) {
        size_t n = strv_length(*v);
        _cleanup_free_ char *copy = strdup(s);
        char **bigger;

        if (!copy)
                return -ENOMEM;
        bigger = realloc(*v, (n + 2) * sizeof(char *));
        if (!bigger)
                return -ENOMEM;
        bigger[n] = TAKE_PTR(copy);
        bigger[n + 1] = NULL;
        *v = bigger;
        return 0;
}

int strv_copy(char *const *v, char ***ret) {
        _cleanup_(strv_freep) char **copy = NULL;

        for (size_t i = 0; v && v[i]; i++) {
                int r = strv_append(&copy, v[i]);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(copy);
        return 0;
}

/* One escape, behind the backslash. Returns the bytes consumed, or -EINVAL. */
static int unescape(const char *s, char *ret) {
        static const char from[] = "abfnrtv\\\"'s", to[] = "\a\b\f\n\r\t\v\\\"' ";
        const char *k;

        if (*s == 'x') {
                if (!isxdigit((unsigned char) s[1]) || !isxdigit((unsigned char) s[2]))
                        return -EINVAL;
                char hex[3] = { s[1], s[2], 0 };
                *ret = (char) strtoul(hex, NULL, 16);
                return *ret ? 3 : -EINVAL;
        }
        if (!*s || !(k = strchr(from, *s)))
                return -EINVAL;
        *ret = to[k - from];
        return 1;
}

int str_split_quoted(const char *s, char ***ret) {
        _cleanup_(strv_freep) char **v = NULL;
        _cleanup_free_ char *word = malloc(strlen(s) + 1);
        int r;

        if (!word)
                return -ENOMEM;
        for (s = skip_blanks(s); *s; s = skip_blanks(s)) {
                size_t n = 0;
                char quote = 0;

                for (; *s; s++) {
                        if (*s == '\\') {
                                r = unescape(s + 1, word + n);
                                if (r < 0)
                                        return r;
                                n++;
                                s += r;
                        } else if (quote) {
                                if (*s == quote)
                                        quote = 0;
                                else
                                        word[n++] = *s;
                        } else if (*s == '"' || *s == '\'')
                                quote = *s;
                        else if (*s == ' ' || *s == '\t' || *s == '\n')
                                break;
                        else
                                word[n++] = *s;
                }
                if (quote)
                        return -EINVAL;
                word[n] = 0;
                r = strv_append(&v, word);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(v);
        return 0;
}

char *str_printf(const char *format, ...) {
        va_list ap;
        char *s;

        va_start(ap, format);
        int r = vasprintf(&s, format, ap);
        va_end(ap);
        return r < 0 ? NULL : s;
}

char *memdup_text(const void *data, size_t size) {
        char *s = malloc(size + 1);

        if (!s)
                return NULL;
        if (size > 0)
                memcpy(s, data, size);
        s[size] = 0;
        return s;
}

void str_copy(char *buf, size_t size, const char *s) {
        size_t n = utf8_cut(s, strlen(s), size - 1);

        memcpy(buf, s, n);
        buf[n] = 0;
}

static uint64_t clock_usec(clockid_t id) {
        struct timespec ts;

        (void) clock_gettime(id, &ts); /* cannot fail for these clocks */
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

uint64_t now_usec(void) {
        return clock_usec(CLOCK_MONOTONIC);
}

uint64_t realtime_usec(void) {
        return clock_usec(CLOCK_REALTIME);
}

uint64_t random_u64(void) {
        uint64_t v;

        if (getrandom(&v, sizeof(v), 0) != sizeof(v)) /* only before the pool is seeded, at early boot, with a signal */
                v = now_usec() * 0x9e3779b97f4a7c15ULL;
        return v;
}

uint64_t usec_after(uint64_t usec) {
        if (usec == USEC_INFINITY)
                return usec;
        uint64_t now = now_usec();
        return usec >= USEC_INFINITY - now ? USEC_INFINITY : now + usec;
}

uint64_t usec_jitter(uint64_t usec, unsigned percent) {
        uint64_t span = usec / 100 * percent;

        if (usec == USEC_INFINITY || span == 0)
                return usec;
        return usec - span + random_u64() % (2 * span + 1);
}

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t size) {
        const uint8_t *p = data;
        char *s = malloc((size + 2) / 3 * 4 + 1), *o = s;

        if (!s)
                return NULL;
        for (; size >= 3; size -= 3, p += 3) {
                uint32_t v = (uint32_t) p[0] << 16 | (uint32_t) p[1] << 8 | p[2];

                for (int shift = 18; shift >= 0; shift -= 6)
                        *o++ = base64_alphabet[v >> shift & 63];
        }
        if (size > 0) {
                uint32_t v = (uint32_t) p[0] << 16 | (size == 2 ? (uint32_t) p[1] << 8 : 0);

                *o++ = base64_alphabet[v >> 18 & 63];
                *o++ = base64_alphabet[v >> 12 & 63];
                *o++ = size == 2 ? base64_alphabet[v >> 6 & 63] : '=';
                *o++ = '=';
        }
        *o = 0;
        return s;
}

static int base64_value(char c) {
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *s, size_t length, void **ret, size_t *ret_size) {
        _cleanup_free_ uint8_t *buf = NULL;
        size_t n = 0;

        if (length % 4 != 0)
                return -EBADMSG;
        buf = malloc(length / 4 * 3 + 1);
        if (!buf)
                return -ENOMEM;
        for (size_t i = 0; i < length; i += 4) {
                unsigned pad = 0;
                uint32_t v = 0;

                for (unsigned k = 0; k < 4; k++) {
                        int x = base64_value(s[i + k]);

                        if (s[i + k] == '=' && i + 4 == length && k >= 2) {
                                pad++;
                                x = 0;
                        } else if (x < 0 || pad > 0)
                                return -EBADMSG;
                        v = v << 6 | (uint32_t) x;
                }
                buf[n++] = (uint8_t) (v >> 16);
                if (pad < 2)
                        buf[n++] = (uint8_t) (v >> 8);
                if (pad < 1)
                        buf[n++] = (uint8_t) v;
        }
        buf[n] = 0;
        *ret = TAKE_PTR(buf);
        *ret_size = n;
        return 0;
}
