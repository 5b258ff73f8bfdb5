/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Names of what pooled servers offer. A client's model sees POOL__NAME, and most clients take letters, digits, "_", "-" and 64 bytes of them; what
 * does not fit is made to, with a hash behind it, so that a name stays the same from run to run and two that differ stay different.
 */

#include <stdio.h>

#include "mcp/internal.h"

#define HASH_DIGITS 8U

static uint64_t add(uint64_t h, const char *s) {
        for (;; s++) {
                h = (h ^ (uint8_t) *s) * 0x100000001b3ULL;
                if (!*s)
                        return h;
        }
}

static bool plain(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

void mcp_pooled_name(const char *prefix, const char *name, char buf[static MCP_NAME_MAX + 1]) {
        uint64_t h = add(add(0xcbf29ce484222325ULL, prefix), name);
        bool changed = false;
        size_t n = 0;

        for (const char *p = prefix; *p; p++, n++)
                if (n < MCP_NAME_MAX)
                        buf[n] = *p;
        for (const char *p = "__"; *p; p++, n++)
                if (n < MCP_NAME_MAX)
                        buf[n] = *p;
        for (const char *p = name; *p; p++, n++) {
                changed |= !plain(*p);
                if (n < MCP_NAME_MAX)
                        buf[n] = plain(*p) ? *p : '_';
        }
        if (changed || n > MCP_NAME_MAX) {
                n = MIN(n, (size_t) MCP_NAME_MAX - HASH_DIGITS - 1);
                n += (size_t) snprintf(buf + n, MCP_NAME_MAX + 1 - n, "_%08x", (unsigned) (h ^ h >> 32));
        }
        buf[n] = 0;
}

/* Of a variable: {x} is a piece of a path, {+x} and {#x} may hold more of them, {?x} and {&x} are a query or nothing, {/x} pieces, {.x} a suffix. */
static bool match(const char *t, const char *u, unsigned depth, unsigned *steps) {
        for (; *t; t++, u++) {
                const char *end = *t == '{' ? strchr(t, '}') : NULL;

                if (!end) {
                        if (*t != *u)
                                return false;
                        continue;
                }
                if (depth == 0)
                        return false;
                char op = t[1];
                bool many = op == '+' || op == '#' || op == '/', query = op == '?' || op == '&';
                if (query && (*u == 0 || *u != op))
                        return match(end + 1, u, depth - 1, steps);
                for (size_t n = query ? 1 : 0;; n++) {
                        if (n > 0 && match(end + 1, u + n, depth - 1, steps))
                                return true;
                        if (*steps == 0)
                                return false;
                        --*steps;
                        if (!u[n] || (!many && !query && (u[n] == '/' || u[n] == '?' || u[n] == '#')))
                                return false;
                }
        }
        return *u == 0;
}

#define VARIABLES_MAX 4U /* looked at: each one multiplies the work */
#define STEPS_MAX 100000U /* places that are tried for their ends: the loop waits for it */

bool mcp_template_matches(const char *template, const char *uri) {
        unsigned steps = STEPS_MAX;

        return match(template, uri, VARIABLES_MAX, &steps);
}
