/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Words that the compiler lacks: cleanup attributes, ownership moves, containers. */

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define _cleanup_(f) __attribute__((__cleanup__(f)))
#define _printf_(a, b) __attribute__((__format__(__printf__, a, b)))
#define _unused_ __attribute__((__unused__))
#define _pure_ __attribute__((__pure__))
#define _noreturn_ __attribute__((__noreturn__))

#define ELEMENTSOF(x) (sizeof(x) / sizeof((x)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *) ((char *) (ptr) - offsetof(type, member)))

/* Their variables are numbered, so that one may stand within another without shadowing it. */
#define _PASTE(a, b) a##b
#define _PICK(n, a, op, b)                                                          \
        ({                                                                          \
                __typeof__(a) _PASTE(_a, n) = (a);                                  \
                __typeof__(b) _PASTE(_b, n) = (b);                                  \
                _PASTE(_a, n) op _PASTE(_b, n) ? _PASTE(_a, n) : _PASTE(_b, n);     \
        })
#define _PICK_NUMBERED(n, a, op, b) _PICK(n, a, op, b)
#define MIN(a, b) _PICK_NUMBERED(__COUNTER__, a, <, b)
#define MAX(a, b) _PICK_NUMBERED(__COUNTER__, a, >, b)

/* Moves a pointer out of a variable, which becomes NULL. */
#define TAKE_PTR(p) ({ __typeof__(p) *_pp = &(p); __typeof__(p) _p = *_pp; *_pp = NULL; _p; })
/* Moves a descriptor out of a variable, which becomes -EBADF's neutral value, -1. */
#define TAKE_FD(fd) ({ int *_fp = &(fd); int _f = *_fp; *_fp = -1; _f; })

#define streq(a, b) (strcmp((a), (b)) == 0)

static inline bool streq_ptr(const char *a, const char *b) {
        return a == b || (a && b && streq(a, b));
}

static inline const char *strna(const char *s) {
        return s ? s : "n/a";
}

static inline const char *strempty(const char *s) {
        return s ? s : "";
}

static inline void freep(void *p) {
        free(*(void **) p);
}
#define _cleanup_free_ _cleanup_(freep)

#define new0(type, n) ((type *) calloc((n), sizeof(type)))

/* Declares `name##p` for _cleanup_(), over a destructor that takes NULL. */
#define DEFINE_CLEANUP(type, func)                     \
        static inline void func##p(type *p) {          \
                if (*p)                                \
                        func(*p);                      \
        }                                              \
        struct __cleanup_semicolon_##func
