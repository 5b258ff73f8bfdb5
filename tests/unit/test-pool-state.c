/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The states of a pool: the table in the code is the one that docs/ARCHITECTURE.md shows, and it leaves nobody stuck. */

#include <stdio.h>

#include "pool/pool.h"
#include "unit.h"

#define DOCUMENT "docs/ARCHITECTURE.md"

/* In the documentation closing, which is shown as draining, has a name of its own. */
static const char *state_name(PoolState s) {
        return s == POOL_CLOSING ? "closing" : pool_state_to_string(s);
}

/* The cells of a line "| a | b |", in place. Returns how many. */
static size_t split(char *line, char *cells[], size_t max) {
        size_t n = 0;

        for (char *p = strtok(line, "|\n"); p && n < max; p = strtok(NULL, "|\n")) {
                size_t l;

                p += strspn(p, " ");
                l = strlen(p);
                while (l > 0 && p[l - 1] == ' ')
                        p[--l] = 0;
                cells[n++] = p;
        }
        return n;
}

static void expect_row(PoolEvent e, char *cells[]) {
        ck_assert_str_eq(cells[0], pool_event_to_string(e));
        for (PoolState s = 0; s < _POOL_STATE_MAX; s++) {
                bool bug;
                PoolState next = pool_state_next(s, e, &bug);

                ck_assert_msg(streq(cells[s + 1], bug ? "!" : next == s ? "·" : state_name(next)), "%s in %s: the code says %s%s, " DOCUMENT " says %s",
                              pool_event_to_string(e), state_name(s), state_name(next), bug ? " (cannot be)" : "", cells[s + 1]);
                if (bug)
                        ck_assert_int_eq(next, s);
        }
}

START_TEST(test_documented) {
        const char *top = getenv("top_srcdir");
        _cleanup_free_ char *path = str_printf("%s/" DOCUMENT, top ? top : "."), *line = NULL;
        char *cells[_POOL_STATE_MAX + 2];
        unsigned n_rows = 0;
        size_t size = 0;
        FILE *f = fopen(path, "r");

        ck_assert_msg(f != NULL, "%s cannot be read", path);
        while (getline(&line, &size, f) >= 0 && strncmp(line, "| event |", 9) != 0)
                ;
        ck_assert_uint_eq(split(line, cells, ELEMENTSOF(cells)), _POOL_STATE_MAX + 1);
        for (PoolState s = 0; s < _POOL_STATE_MAX; s++)
                ck_assert_str_eq(cells[s + 1], state_name(s));
        ck_assert(getline(&line, &size, f) >= 0); /* |---| */
        while (getline(&line, &size, f) >= 0 && *line == '|') {
                ck_assert_uint_lt(n_rows, _POOL_EVENT_MAX);
                ck_assert_uint_eq(split(line, cells, ELEMENTSOF(cells)), _POOL_STATE_MAX + 1);
                expect_row((PoolEvent) n_rows++, cells);
        }
        ck_assert_uint_eq(n_rows, _POOL_EVENT_MAX);
        fclose(f);
}
END_TEST

/* Whatever has happened to a pool, it can run again, and it can be closed; scaling is no state to be stuck in. */
START_TEST(test_no_dead_ends) {
        for (PoolState s = 0; s < _POOL_STATE_MAX; s++) {
                bool bug, reached[_POOL_STATE_MAX] = {};

                ck_assert_int_eq(pool_state_next(s, POOL_EV_CLOSE, &bug), POOL_CLOSING);
                ck_assert(!bug);
                reached[s] = true;
                for (unsigned round = 0; round < _POOL_STATE_MAX; round++)
                        for (PoolState t = 0; t < _POOL_STATE_MAX; t++)
                                for (PoolEvent e = 0; e < _POOL_EVENT_MAX && reached[t]; e++) {
                                        PoolState next = pool_state_next(t, e, &bug);

                                        reached[next] |= !bug;
                                }
                ck_assert_msg(reached[POOL_RUNNING], "from %s no way leads to running", state_name(s));
        }
        bool bug;
        ck_assert_int_eq(pool_state_next(POOL_SCALING, POOL_EV_BREAKER_OPENED, &bug), POOL_DEGRADED);
        ck_assert_int_eq(pool_state_next(POOL_SCALING, POOL_EV_FULL, &bug), POOL_RUNNING);
        ck_assert_int_eq(pool_state_next(POOL_SCALING, POOL_EV_DRAIN, &bug), POOL_DRAINING);
}
END_TEST

/* Only what an operator, a changed definition or a file does brings a pool out of failed, stopped and closing. */
START_TEST(test_who_decides) {
        for (PoolEvent e = 0; e < _POOL_EVENT_MAX; e++) {
                bool bug;

                if (e != POOL_EV_REOPEN)
                        ck_assert_int_eq(pool_state_next(POOL_CLOSING, e, &bug), POOL_CLOSING);
                if (e != POOL_EV_RESUME && e != POOL_EV_RENEWED && e != POOL_EV_CLOSE && e != POOL_EV_DRAIN)
                        ck_assert_int_eq(pool_state_next(POOL_FAILED, e, &bug), POOL_FAILED);
                if (e != POOL_EV_RESUME && e != POOL_EV_CLOSE && e != POOL_EV_PERMANENT)
                        ck_assert_int_eq(pool_state_next(POOL_STOPPED, e, &bug), POOL_STOPPED);
        }
}
END_TEST

UNIT_MAIN("pool-state", test_documented, test_no_dead_ends, test_who_decides)
