/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text: parsing and printing of spans, sizes and command lines as systemd writes them; UTF-8; names. */

#include <sys/types.h>

#include "basic/macro.h"

#define USEC_INFINITY UINT64_MAX
#define USEC_PER_MSEC 1000ULL
#define USEC_PER_SEC 1000000ULL
#define NAME_LENGTH_MAX 64 /* bytes of a pool's or worker type's name */

/* "30s", "5min 20s", "1h", "250ms", "infinity"; a bare number is seconds. Returns 0, -EINVAL, -ERANGE. */
int usec_parse(const char *s, uint64_t *ret);
/* The shortest exact form: "1h 2min", "250ms", "infinity". Returns `buf`. */
char *usec_format(char *buf, size_t size, uint64_t usec);
/* "512M", "1.5G", "64K", a bare number is bytes, powers of 1024; "infinity" is UINT64_MAX. Returns 0, -EINVAL, -ERANGE. */
int size_parse(const char *s, uint64_t *ret);
/* "1.5G", "512M", "17B". Returns `buf`. */
char *size_format(char *buf, size_t size, uint64_t bytes);
/* yes/no, true/false, on/off, 1/0. Returns 0 or -EINVAL. */
int bool_parse(const char *s, bool *ret);
/* A whole decimal number in [min, max]. Returns 0, -EINVAL, -ERANGE. */
int u64_parse(const char *s, uint64_t min, uint64_t max, uint64_t *ret);

bool utf8_valid(const void *data, size_t size);
/* How many of `size` bytes of UTF-8 to keep, at most `max`, so that no character is cut. */
size_t utf8_cut(const void *data, size_t size, size_t max);
/* Letters, digits, "_", "-", ".", not first "." or "-", at most NAME_LENGTH_MAX bytes. */
bool name_valid(const char *s);

/* A NULL-terminated array of strings, owned. */
void strv_free(char **v);
static inline void strv_freep(char ***v) {
        strv_free(*v);
}
size_t strv_length(char *const *v);
bool strv_equal(char *const *a, char *const *b);
/* Appends a copy. Returns 0 or -ENOMEM. */
int strv_append(char ***v, const char *s);
/* A deep copy; NULL for NULL. Returns 0 or -ENOMEM. */
int strv_copy(char *const *v, char ***ret);

/* Splits as systemd splits Exec= lines: blanks separate, "double" and 'single' quotes group, backslash escapes (\n \t \\ \" \s \xHH ...).
 * Returns 0, -EINVAL for an open quote or a bad escape, -ENOMEM. */
int str_split_quoted(const char *s, char ***ret);

/* A copy of bytes that need not be terminated, with a NUL behind them; NULL when out of memory. */
char *memdup_text(const void *data, size_t size);
/* asprintf() that returns the string or NULL. */
char *str_printf(const char *format, ...) _printf_(1, 2);
/* Copies at most size-1 bytes, always terminated; cut at a UTF-8 boundary. */
void str_copy(char *buf, size_t size, const char *s);

uint64_t now_usec(void);      /* CLOCK_MONOTONIC */
uint64_t realtime_usec(void); /* CLOCK_REALTIME */

/* Random bits from the kernel; good for jitter, ids and hash seeds. */
uint64_t random_u64(void);
/* now_usec() and so much more; USEC_INFINITY stays that. */
uint64_t usec_after(uint64_t usec);
/* `usec` varied by up to ±percent. */
uint64_t usec_jitter(uint64_t usec, unsigned percent);

/* What follows a noun that is counted. */
static inline const char *plural(uint64_t n) {
        return n == 1 ? "" : "s";
}

/* base64, as RFC 4648 writes it with padding. */
char *base64_encode(const void *data, size_t size); /* owned by the caller; NULL when out of memory */
int base64_decode(const char *s, size_t length, void **ret, size_t *ret_size); /* -EBADMSG, -ENOMEM */
