/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The autoscaler's decision. */

#include <stdio.h>

#include "basic/str.h"
#include "pool/scale.h"
#include "unit.h"

#define SEC USEC_PER_SEC

static const ScaleLimits plain = { .floor = 2, .max = 10, .slots = 1 };

static ScaleDecision at(Scale *s, uint64_t now, unsigned usable, unsigned running, unsigned queued, const ScaleLimits *l) {
        ScaleInput in = { .now = now, .usable = usable, .running = running, .queued = queued,
                          .free_slots = usable * l->slots > running ? usable * l->slots - running : 0 };

        return scale_decide(s, &in, l);
}

START_TEST(a_worker_for_each_job_that_waits) {
        Scale s = {};
        ScaleDecision d;

        d = at(&s, 1, 0, 0, 0, &plain);
        ck_assert_uint_eq(d.wanted, 2);
        ck_assert_int_eq(d.reason, SCALE_FLOOR);
        d = at(&s, 2, 2, 2, 3, &plain);
        ck_assert_uint_eq(d.wanted, 5);
        ck_assert_int_eq(d.reason, SCALE_QUEUE);
        ck_assert_uint_eq(d.keep, 2);
        ck_assert_uint_eq(at(&s, 3, 4, 2, 2, &plain).wanted, 4); /* there are free ones for them */
        ck_assert_uint_eq(at(&s, 4, 2, 2, 1000000, &plain).wanted, 10);
        ck_assert_uint_eq(at(&s, 5, 2, 4, 9, &(ScaleLimits) { .max = 10, .slots = 4 }).wanted, 4); /* four free slots, and five jobs more */
        ScaleInput starting = { .now = 6, .usable = 2, .starting = 3, .running = 2, .queued = 3, .free_slots = 3 };
        ck_assert_uint_eq(scale_decide(&s, &starting, &plain).wanted, 5); /* those that start will take them */
}
END_TEST

START_TEST(utilisation_and_its_cooldown) {
        ScaleLimits l = { .floor = 1, .max = 10, .slots = 2, .up_at = 80, .down_at = 40, .cooldown_usec = 30 * SEC };
        ScaleDecision d = {};
        uint64_t now = 100 * SEC;
        Scale s = {};

        for (unsigned i = 0; i < 3; i++)
                d = at(&s, now += SEC, 5, 10, 0, &l);
        ck_assert_uint_eq(d.wanted, 5); /* not for a moment's rush */
        for (unsigned i = 0; i < 30; i++)
                d = at(&s, now += SEC, 5, 10, 0, &l);
        ck_assert_uint_eq(d.wanted, 6);
        ck_assert_int_eq(d.reason, SCALE_UTILISATION);
        scale_grown(&s, now);
        d = at(&s, now += SEC, 6, 12, 0, &l);
        ck_assert_uint_eq(d.wanted, 6);
        ck_assert_uint_ge(d.keep, 6); /* nor down again at once */
        ck_assert_uint_eq(d.next_usec, s.grown_usec + 30 * SEC);
        d = at(&s, now += 40 * SEC, 6, 12, 0, &l);
        ck_assert_uint_eq(d.wanted, 7);
        for (unsigned i = 0; i < 60; i++)
                d = at(&s, now += SEC, 7, 4, 0, &l);
        ck_assert_uint_eq(d.wanted, 7);
        ck_assert_uint_ge(d.keep, 5); /* four slots of ten are forty percent */
        ck_assert_uint_le(d.keep, 6);
        ck_assert_double_eq_tol(scale_utilisation(&s, 7, 2), 100.0 * 4 / 14, 1);
        for (unsigned i = 0; i < 60; i++)
                d = at(&s, now += SEC, 7, 0, 0, &l);
        ck_assert_uint_eq(d.keep, 1);
        ck_assert_double_eq_tol(scale_utilisation(&s, 0, 1), 0, 1e-9); /* not what is no number */
        ck_assert_double_eq_tol(scale_utilisation(&(Scale) {}, 1, 0), 0, 1e-9);
}
END_TEST

START_TEST(arrivals_are_expected_and_forgotten) {
        ScaleLimits l = { .max = 20, .slots = 1, .prewarm = true };
        uint64_t now = 1000 * SEC;
        Scale s = {};
        ScaleDecision d;

        ck_assert_uint_eq(at(&s, now, 0, 0, 0, &l).wanted, 0);
        for (unsigned i = 0; i < 200; i++) { /* ten jobs a second of half a second: five at a time, and two for the spread */
                scale_arrived(&s, now += SEC / 10);
                scale_ran(&s, SEC / 2);
        }
        ck_assert_double_eq_tol(scale_rate(&s, now), 10, 0.01);
        d = at(&s, now, 0, 0, 0, &l);
        ck_assert_uint_eq(d.wanted, 8);
        ck_assert_int_eq(d.reason, SCALE_ARRIVALS);
        ck_assert_uint_eq(d.keep, 8);
        d = at(&s, now + SEC * 3 / 10, 8, 0, 0, &l);
        ck_assert_uint_lt(d.keep, 8);
        ck_assert_uint_ge(d.keep, 1);
        ck_assert_uint_le(d.next_usec, now + SEC * 4 / 10 + 2);
        d = at(&s, now + SEC / 2, 8, 0, 0, &l);
        ck_assert_uint_eq(d.keep, 0);
        for (unsigned i = 0; i < 50; i++) { /* one in a minute still keeps one */
                scale_arrived(&s, now += 60 * SEC);
                scale_ran(&s, SEC / 2);
        }
        ck_assert_uint_eq(at(&s, now + 100 * SEC, 1, 0, 0, &l).keep, 1);
        ck_assert_uint_eq(at(&s, now + 300 * SEC, 1, 0, 0, &l).keep, 0);
        l.max = 3;
        for (unsigned i = 0; i < 1000; i++) {
                scale_arrived(&s, now += 1000);
                scale_ran(&s, SEC);
        }
        ck_assert_uint_eq(at(&s, now, 0, 0, 0, &l).wanted, 3);
}
END_TEST

START_TEST(slow_start) {
        ck_assert_uint_eq(slow_start_slots(8, 0, 0), 8);
        ck_assert_uint_eq(slow_start_slots(1, 0, SEC), 1);
        ck_assert_uint_eq(slow_start_slots(9, 0, SEC), 1);
        ck_assert_uint_eq(slow_start_slots(9, SEC / 2, SEC), 5);
        ck_assert_uint_eq(slow_start_slots(9, SEC - 1, SEC), 8);
        ck_assert_uint_eq(slow_start_slots(9, SEC, SEC), 9);
}
END_TEST

START_TEST(never_beyond_its_bounds) {
        uint64_t random = UNIT_SEED, now = SEC;
        Scale s = {};

        for (unsigned i = 0; i < 100000; i++) {
                ScaleLimits l = { .floor = (unsigned) (unit_random(&random) % 5), .slots = 1 + (unsigned) (unit_random(&random) % 4),
                                  .up_at = (unsigned) (unit_random(&random) % 101), .down_at = (unsigned) (unit_random(&random) % 101),
                                  .cooldown_usec = unit_random(&random) % (10 * SEC), .prewarm = unit_random(&random) % 2 };

                l.max = MAX(l.floor, (unsigned) (unit_random(&random) % 20));
                now += unit_random(&random) % SEC;
                if (unit_random(&random) % 2)
                        scale_arrived(&s, now);
                if (unit_random(&random) % 2)
                        scale_ran(&s, unit_random(&random) % (100 * SEC));
                if (unit_random(&random) % 8 == 0)
                        scale_grown(&s, now);
                ScaleDecision d = at(&s, now, (unsigned) (unit_random(&random) % 30), (unsigned) (unit_random(&random) % 100),
                                     (unsigned) (unit_random(&random) % 1000), &l);
                ck_assert_uint_ge(d.wanted, l.floor);
                ck_assert_uint_le(d.wanted, l.max);
                ck_assert_uint_ge(d.keep, l.floor);
                ck_assert_uint_le(d.keep, l.max);
                ck_assert_uint_gt(d.next_usec, 0);
        }
}
END_TEST

UNIT_MAIN("scale", a_worker_for_each_job_that_waits, utilisation_and_its_cooldown, arrivals_are_expected_and_forgotten, slow_start,
          never_beyond_its_bounds)
