/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Load is the work in hand and queued over the capacity, never the number of workers, which would send everything to the smallest pool. Loads are
 * compared crosswise, so that equal ones are equal. Ties rotate: idle pools share. Two random choices keep the longest queue short without
 * looking at everything that looks the same, and without all submitters running to the same pool.
 */

#include <errno.h>

#include "basic/str.h"
#include "route/choose.h"

static const char *const names[_ROUTE_STRATEGY_MAX] = {
        [ROUTE_LEAST_LOADED] = "least_loaded",
        [ROUTE_ROUND_ROBIN] = "round_robin",
        [ROUTE_RANDOM] = "random",
        [ROUTE_AFFINITY] = "affinity",
};

const char *route_strategy_to_string(RouteStrategy s) {
        return (unsigned) s < _ROUTE_STRATEGY_MAX ? names[s] : NULL;
}

int route_strategy_from_string(const char *s) {
        for (int i = 0; i < _ROUTE_STRATEGY_MAX; i++)
                if (streq(s, names[i]))
                        return i;
        return -EINVAL;
}

bool route_less_loaded(const RouteCandidate *a, const RouteCandidate *b) {
        return (__uint128_t) a->work * b->capacity < (__uint128_t) b->work * a->capacity;
}

/* SplitMix64: enough for a choice, and the same everywhere for the same seed. */
static uint64_t next_random(uint64_t *seed) {
        uint64_t z = *seed += 0x9e3779b97f4a7c15ULL;

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
}

static uint64_t below(uint64_t *seed, uint64_t n) {
        return (uint64_t) (((__uint128_t) next_random(seed) * n) >> 64);
}

static ssize_t round_robin(const RouteCandidate *c, size_t n, RouteTurns *turns) {
        for (size_t k = 0, i = turns->round % n; k < n; k++, i = i + 1 == n ? 0 : i + 1)
                if (c[i].error == 0) {
                        turns->round = (uint32_t) (i + 1);
                        return (ssize_t) i;
                }
        return -ENOENT;
}

static ssize_t least_loaded(const RouteCandidate *c, size_t n, RouteTurns *turns) {
        ssize_t best = -ENOENT;
        bool tied = false;

        for (size_t k = 0, i = turns->ties % n; k < n; k++, i = i + 1 == n ? 0 : i + 1) {
                if (c[i].error != 0)
                        continue;
                if (best < 0 || route_less_loaded(c + i, c + best)) {
                        best = (ssize_t) i;
                        tied = false;
                } else
                        tied |= !route_less_loaded(c + best, c + i);
        }
        if (tied)
                turns->ties = (uint32_t) (best + 1);
        return best;
}

static size_t nth_usable(const RouteCandidate *c, uint64_t nth) {
        size_t i = 0;

        while (c[i].error != 0 || nth-- > 0)
                i++;
        return i;
}

static ssize_t two_choices(const RouteCandidate *c, size_t n, uint64_t *seed) {
        uint64_t usable = 0;

        for (size_t i = 0; i < n; i++)
                usable += c[i].error == 0;
        if (usable == 0)
                return -ENOENT;
        uint64_t a = below(seed, usable), b = usable > 1 ? below(seed, usable - 1) : a;
        if (usable > 1 && b >= a) /* two different ones */
                b++;
        size_t first = nth_usable(c, a), second = nth_usable(c, b);
        return (ssize_t) (route_less_loaded(c + second, c + first) ? second : first);
}

ssize_t route_choose(RouteStrategy s, const RouteCandidate *c, size_t n, RouteTurns *turns, uint64_t *seed) {
        if (n == 0)
                return -ENOENT;
        switch (s) {
        case ROUTE_ROUND_ROBIN:
                return round_robin(c, n, turns);
        case ROUTE_RANDOM:
                return two_choices(c, n, seed);
        default:
                return least_loaded(c, n, turns);
        }
}
