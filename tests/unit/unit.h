/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What every unit test has: a main() over its suite, and random bytes that are the same on every run. */

#include <check.h>
#include <stdint.h>
#include <stdlib.h>

#define UNIT_SEED UINT64_C(0x9e3779b97f4a7c15)

/* xorshift64*: a failure found by it is found again. */
static inline uint64_t unit_random(uint64_t *state) {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static inline void unit_random_bytes(uint64_t *state, void *buf, size_t size) {
        uint8_t *p = buf;

        for (size_t i = 0; i < size; i++)
                p[i] = (uint8_t) (unit_random(state) >> 56);
}

/* Defines main() over the tests that stand in `...`. */
#define UNIT_MAIN(name, ...)                                                            \
        int main(void) {                                                                \
                const TTest *tests[] = { __VA_ARGS__ };                                 \
                Suite *suite = suite_create(name);                                      \
                TCase *tcase = tcase_create(name);                                      \
                                                                                        \
                tcase_set_timeout(tcase, 120); /* valgrind is slow */                   \
                suite_add_tcase(suite, tcase);                                          \
                for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)           \
                        tcase_add_test(tcase, tests[i]);                                \
                SRunner *runner = srunner_create(suite);                                \
                srunner_run_all(runner, CK_NORMAL);                                     \
                int failed = srunner_ntests_failed(runner);                             \
                srunner_free(runner);                                                   \
                return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;                       \
        }
