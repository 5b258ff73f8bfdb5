/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The strategies: what is exact is compared, what is random is counted, from a seed that is printed. */

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "route/choose.h"
#include "unit.h"

static uint64_t print_seed(void) {
        const char *given = getenv("ROUTE_SEED");
        uint64_t seed = given ? strtoull(given, NULL, 0) : UNIT_SEED;

        printf("seed %#llx (ROUTE_SEED= takes another)\n", (unsigned long long) seed);
        return seed;
}

START_TEST(round_robin_is_exact) {
        RouteCandidate c[7];
        RouteTurns turns = {};
        uint64_t seed = 1;

        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                c[i] = (RouteCandidate) { .work = i * 100, .capacity = 1 + i };
        for (unsigned n = 0; n < 700; n++)
                ck_assert_int_eq(route_choose(ROUTE_ROUND_ROBIN, c, ELEMENTSOF(c), &turns, &seed), n % 7);
        /* those that cannot be chosen are passed over, and nobody else loses his turn */
        unsigned got[7] = {};
        c[2].error = -ENOTCONN;
        c[3].error = -EXFULL;
        for (unsigned n = 0; n < 500; n++)
                got[route_choose(ROUTE_ROUND_ROBIN, c, ELEMENTSOF(c), &turns, &seed)]++;
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                ck_assert_uint_eq(got[i], c[i].error ? 0 : 100);
}
END_TEST

START_TEST(least_loaded_is_never_the_busier_one) {
        uint64_t seed = print_seed(), state = seed;
        RouteTurns turns = {};

        for (unsigned n = 0; n < 20000; n++) {
                RouteCandidate c[12];
                size_t size = 1 + unit_random(&state) % ELEMENTSOF(c);

                for (size_t i = 0; i < size; i++)
                        c[i] = (RouteCandidate) {
                                .work = unit_random(&state) % 30,
                                .capacity = 1 + unit_random(&state) % 16,
                                .error = unit_random(&state) % 4 == 0 ? -ENOTCONN : 0,
                        };
                ssize_t got = route_choose(ROUTE_LEAST_LOADED, c, size, &turns, &seed);
                for (size_t i = 0; i < size; i++)
                        if (got < 0)
                                ck_assert_int_ne(c[i].error, 0);
                        else {
                                ck_assert_int_eq(c[got].error, 0);
                                ck_assert(c[i].error != 0 || c[got].work * c[i].capacity <= c[i].work * c[got].capacity);
                        }
        }
}
END_TEST

/* The number of workers is no load: a small pool that is busy does not get everything. */
START_TEST(a_small_pool_does_not_get_everything) {
        RouteCandidate c[] = { { .capacity = 1 }, { .capacity = 10 } };
        RouteTurns turns = {};
        uint64_t seed = 1;

        for (unsigned n = 0; n < 110; n++)
                c[route_choose(ROUTE_LEAST_LOADED, c, 2, &turns, &seed)].work++;
        ck_assert_uint_eq(c[0].work, 10);
        ck_assert_uint_eq(c[1].work, 100);
}
END_TEST

START_TEST(ties_rotate) {
        RouteCandidate c[] = { { 3, 6, 0 }, { 9, 9, 0 }, { 1, 2, 0 }, { 0, 1, -EXFULL }, { 2, 4, 0 } }; /* 1/2 three times */
        RouteTurns turns = {};
        unsigned got[5] = {};
        uint64_t seed = 1;

        for (unsigned n = 0; n < 300; n++)
                got[route_choose(ROUTE_LEAST_LOADED, c, ELEMENTSOF(c), &turns, &seed)]++;
        ck_assert_uint_eq(got[0], 100);
        ck_assert_uint_eq(got[2], 100);
        ck_assert_uint_eq(got[4], 100);
}
END_TEST

START_TEST(loads_are_compared_exactly) {
        const RouteCandidate a = { .work = (1ULL << 62) + 1, .capacity = 1ULL << 62 }, b = { .work = 1ULL << 62, .capacity = 1ULL << 62 };

        ck_assert(route_less_loaded(&b, &a));
        ck_assert(!route_less_loaded(&a, &b));
        ck_assert(!route_less_loaded(&a, &a));
}
END_TEST

/* Of two different ones at random the better: with n candidates of different loads, the k-th best is taken in 2(n-k) of n(n-1) cases. */
START_TEST(two_random_choices) {
        uint64_t seed = print_seed();
        RouteCandidate c[10];
        RouteTurns turns = {};
        unsigned got[10] = {};
        const unsigned rounds = 90000;

        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                c[i] = (RouteCandidate) { .work = 9 - i, .capacity = 1 };
        for (unsigned n = 0; n < rounds; n++)
                got[c[route_choose(ROUTE_RANDOM, c, ELEMENTSOF(c), &turns, &seed)].work]++;
        ck_assert_uint_eq(got[9], 0); /* the worst is never the better of two */
        for (unsigned k = 1; k < 10; k++) {
                double want = 2.0 * (10 - k) / 90 * rounds;

                ck_assert_msg(got[k - 1] > want * 0.9 && got[k - 1] < want * 1.1, "number %u was taken %u times, expected about %.0f", k, got[k - 1], want);
        }
        /* one that can be chosen among many that cannot */
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                c[i].error = i == 6 ? 0 : -ENOTCONN;
        for (unsigned n = 0; n < 100; n++)
                ck_assert_int_eq(route_choose(ROUTE_RANDOM, c, ELEMENTSOF(c), &turns, &seed), 6);
        c[6].error = -EXFULL;
        ck_assert_int_eq(route_choose(ROUTE_RANDOM, c, ELEMENTSOF(c), &turns, &seed), -ENOENT);
}
END_TEST

/* Jobs that never end: two choices leave the longest queue a little above the mean, where one choice would be far off. */
START_TEST(two_choices_keep_queues_even) {
        uint64_t seed = print_seed(), most = 0;
        RouteCandidate c[100];
        RouteTurns turns = {};

        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                c[i] = (RouteCandidate) { .capacity = 1 };
        for (unsigned n = 0; n < 10000; n++)
                c[route_choose(ROUTE_RANDOM, c, ELEMENTSOF(c), &turns, &seed)].work++;
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                most = c[i].work > most ? c[i].work : most;
        ck_assert_uint_le(most, 106); /* one choice: about 100 + 3 * sqrt(100) */
}
END_TEST

START_TEST(nothing_to_choose_from) {
        RouteCandidate c[3] = { { .error = -EXFULL, .capacity = 1 }, { .error = -ENOTCONN, .capacity = 1 }, { .error = -EMSGSIZE, .capacity = 1 } };
        RouteTurns turns = { 17, 23 };
        uint64_t seed = 1;

        for (int s = 0; s < _ROUTE_STRATEGY_MAX; s++) {
                ck_assert_int_eq(route_choose((RouteStrategy) s, c, 3, &turns, &seed), -ENOENT);
                ck_assert_int_eq(route_choose((RouteStrategy) s, c, 0, &turns, &seed), -ENOENT);
                ck_assert_int_eq(route_strategy_from_string(route_strategy_to_string((RouteStrategy) s)), s);
        }
        ck_assert_int_eq(route_strategy_from_string("best"), -EINVAL);
}
END_TEST

UNIT_MAIN("route-choose", round_robin_is_exact, least_loaded_is_never_the_busier_one, a_small_pool_does_not_get_everything, ties_rotate,
          loads_are_compared_exactly, two_random_choices, two_choices_keep_queues_even, nothing_to_choose_from)
