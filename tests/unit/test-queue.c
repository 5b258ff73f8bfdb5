/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The order of jobs: pool/queue.c against the rules that its header gives, and with a million jobs. */

#include <stdio.h>
#include <time.h>

#include "pool/queue.h"
#include "unit.h"

#define AGING (10 * USEC_PER_SEC)

static Job *job(JobQueue *q, uint64_t id, int32_t priority, uid_t uid, uint64_t when) {
        Job *j = job_new();

        ck_assert_ptr_nonnull(j);
        j->id = id;
        j->priority = priority;
        j->uid = uid;
        j->queued_usec = when;
        job_queue_add(q, j);
        return j;
}

/* What is dispatched next; 0 where there is nothing. */
static uint64_t take(JobQueue *q) {
        Job *j = job_queue_first(q);
        uint64_t id = j ? j->id : 0;

        if (!j)
                return 0;
        job_queue_turn(j);
        job_queue_remove(j);
        job_unref(j);
        return id;
}

START_TEST(first_in_first_out) {
        JobQueue q;

        job_queue_init(&q, AGING, 1);
        ck_assert_ptr_null(job_queue_first(&q));
        for (uint64_t i = 1; i <= 100; i++)
                (void) job(&q, i, 0, 1000, 5); /* all of the same moment */
        for (uint64_t i = 1; i <= 100; i++)
                ck_assert_uint_eq(take(&q), i);
        ck_assert_uint_eq(take(&q), 0);
        job_queue_done(&q);
}
END_TEST

START_TEST(a_higher_priority_goes_first) {
        static const int32_t priorities[] = { 0, 5, -3, INT32_MAX, INT32_MIN, 5, 0, 1 };
        static const uint64_t order[] = { 4, 2, 6, 8, 1, 7, 3, 5 };
        JobQueue q;

        for (unsigned k = 0; k < 3; k++) {
                uint64_t aging = k == 0 ? AGING : k == 1 ? 0 : 3600 * USEC_PER_SEC; /* the latter is what a pool may have at the most */

                job_queue_init(&q, aging, 1);
                for (uint64_t i = 0; i < ELEMENTSOF(priorities); i++)
                        (void) job(&q, i + 1, priorities[i], 1000, 100 + i);
                for (size_t i = 0; i < ELEMENTSOF(order); i++)
                        ck_assert_uint_eq(take(&q), order[i]);
                job_queue_done(&q);
        }
}
END_TEST

START_TEST(waiting_counts_as_priority) {
        JobQueue q;

        job_queue_init(&q, AGING, 1);
        (void) job(&q, 1, 0, 1000, 1 * USEC_PER_SEC);
        (void) job(&q, 2, 2, 1000, 20 * USEC_PER_SEC); /* two steps above, and less than two spans later */
        (void) job(&q, 3, 2, 1000, 22 * USEC_PER_SEC); /* more than that */
        (void) job(&q, 4, 0, 1000, 23 * USEC_PER_SEC);
        ck_assert_uint_eq(take(&q), 2);
        ck_assert_uint_eq(take(&q), 1);
        ck_assert_uint_eq(take(&q), 3);
        ck_assert_uint_eq(take(&q), 4);
        job_queue_done(&q);

        job_queue_init(&q, 0, 1); /* without it, it never does */
        (void) job(&q, 1, 0, 1000, 1);
        (void) job(&q, 2, 1, 1000, UINT64_C(1) << 60);
        ck_assert_uint_eq(take(&q), 2);
        (void) job(&q, 3, 1, 1000, UINT64_C(1) << 60);
        job_queue_set_aging(&q, AGING); /* as a reload does */
        ck_assert_uint_eq(take(&q), 1);
        ck_assert_uint_eq(take(&q), 3);
        job_queue_done(&q);
}
END_TEST

START_TEST(users_take_turns) {
        JobQueue q;
        uint64_t at = 0;

        job_queue_init(&q, AGING, 1);
        for (uint64_t i = 0; i < 1000; i++)
                (void) job(&q, 1000 + i, 0, 1, ++at);
        for (uint64_t i = 0; i < 10; i++)
                (void) job(&q, 2000 + i, 0, 2, ++at);
        for (uint64_t i = 0; i < 5; i++)
                (void) job(&q, 3000 + i, 0, 3, ++at);
        for (unsigned i = 0; i < 5; i++)
                for (uint64_t u = 1; u <= 3; u++)
                        ck_assert_uint_eq(take(&q), u * 1000 + i);
        (void) job(&q, 4000, 0, 4, ++at); /* who has just come is behind the others of the round, not behind their jobs */
        for (unsigned i = 5; i < 10; i++) {
                ck_assert_uint_eq(take(&q), 1000 + i);
                ck_assert_uint_eq(take(&q), 2000 + i);
                if (i == 5)
                        ck_assert_uint_eq(take(&q), 4000);
        }
        for (unsigned i = 10; i < 1000; i++)
                ck_assert_uint_eq(take(&q), 1000 + i);
        job_queue_done(&q);
}
END_TEST

START_TEST(a_turn_is_no_excuse_to_fall_behind) {
        JobQueue q;

        /* the high class has an old job; that it is a younger user's turn there must not let the low class ahead */
        job_queue_init(&q, AGING, 1);
        (void) job(&q, 1, 1, 1, 1 * USEC_PER_SEC);
        (void) job(&q, 2, 1, 1, 2 * USEC_PER_SEC);
        (void) job(&q, 3, 1, 2, 30 * USEC_PER_SEC);
        (void) job(&q, 4, 0, 3, 3 * USEC_PER_SEC);
        ck_assert_uint_eq(take(&q), 1);
        ck_assert_uint_eq(take(&q), 3);
        ck_assert_uint_eq(take(&q), 2);
        ck_assert_uint_eq(take(&q), 4);
        job_queue_done(&q);
}
END_TEST

START_TEST(what_comes_back_keeps_its_age) {
        JobQueue q, other;
        Job *jobs[6];

        job_queue_init(&q, AGING, 1);
        job_queue_init(&other, AGING, 2);
        for (unsigned i = 1; i < 6; i++)
                jobs[i] = job(&q, i, 0, 1, i * USEC_PER_SEC);
        job_queue_remove(jobs[2]);
        job_queue_remove(jobs[4]);
        job_queue_add(&q, jobs[4]);
        job_queue_add(&q, jobs[2]);
        for (uint64_t i = 1; i < 6; i++)
                ck_assert_uint_eq(take(&q), i);

        /* all at once, from another queue */
        for (uint64_t i = 0; i < 10; i++)
                (void) job(i % 2 ? &q : &other, 1 + i, i < 5 ? 1 : 0, 1 + (uid_t) i % 3, i);
        job_queue_move(&q, &other);
        ck_assert(job_queue_empty(&other));
        ck_assert_uint_eq(q.n, 10);
        for (uint64_t i = 0; i < 10; i++)
                ck_assert_uint_ne(take(&q), 0);
        job_queue_done(&q);
        job_queue_done(&other);
}
END_TEST

static void drop(Job *j, void *userdata) {
        unsigned *n = userdata;

        ++*n;
        job_queue_remove(j);
        job_unref(j);
}

START_TEST(each_may_be_removed) {
        JobQueue q;
        unsigned n = 0;

        job_queue_init(&q, AGING, 1);
        for (uint64_t i = 0; i < 1000; i++)
                (void) job(&q, 1 + i, (int32_t) (i % 17), (uid_t) (i % 5), i);
        job_queue_foreach(&q, drop, &n);
        ck_assert_uint_eq(n, 1000);
        ck_assert(job_queue_empty(&q));
        ck_assert_uint_eq(q.classes.n + q.shares.n, 0);
        job_queue_done(&q);
}
END_TEST

/* The class that is next, as the header says it, by looking at all jobs. */
static uint64_t best_key(Job *const *jobs, size_t n) {
        int64_t best = INT64_MAX;

        for (size_t i = 0; i < n; i++)
                if (jobs[i])
                        best = MIN(best, (int64_t) jobs[i]->queued_usec - (int64_t) jobs[i]->priority * (int64_t) AGING);
        return (uint64_t) best;
}

START_TEST(any_order_of_coming_and_going) {
        enum { N = 300, ROUNDS = 20000 };
        Job *jobs[N] = {};
        uint64_t random = UNIT_SEED, now = USEC_PER_SEC * 1000, turns[4] = {}, waited[4] = {};
        JobQueue q;

        job_queue_init(&q, AGING, 7);
        for (unsigned round = 0; round < ROUNDS; round++) {
                unsigned at = (unsigned) (unit_random(&random) % N);

                now += unit_random(&random) % USEC_PER_SEC;
                if (!jobs[at])
                        jobs[at] = job(&q, at + 1, (int32_t) (unit_random(&random) % 7) - 3, (uid_t) (unit_random(&random) % 4), now);
                else if (unit_random(&random) % 4 == 0) { /* cancelled, or parked and back */
                        Job *j = jobs[at];

                        job_queue_remove(j);
                        if (unit_random(&random) % 2)
                                job_queue_add(&q, j);
                        else
                                jobs[at] = job_unref(j);
                } else {
                        Job *j = job_queue_first(&q);
                        uint64_t id = j->id;

                        ck_assert_uint_eq(job_queue_key(&q) - (UINT64_C(1) << 63), best_key(jobs, N));
                        for (unsigned i = 0; i < N; i++) /* of a user and a priority the oldest */
                                if (jobs[i] && jobs[i]->uid == j->uid && jobs[i]->priority == j->priority)
                                        ck_assert_uint_le(j->queued_usec, jobs[i]->queued_usec);
                        turns[j->uid]++;
                        waited[j->uid] = MAX(waited[j->uid], now - j->queued_usec);
                        jobs[id - 1] = NULL;
                        ck_assert_uint_eq(take(&q), id);
                }
        }
        for (unsigned u = 0; u < 4; u++)
                ck_assert_uint_gt(turns[u], ROUNDS / 20);
        for (unsigned i = 0; i < N; i++)
                if (jobs[i]) {
                        job_queue_remove(jobs[i]);
                        job_unref(jobs[i]);
                }
        ck_assert(job_queue_empty(&q));
        job_queue_done(&q);
}
END_TEST

static double seconds(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* Seconds for a thousand jobs of the highest priority, put in front of `n` others, and taken. */
static double ahead_of(Job *jobs, uint64_t n) {
        uint64_t random = UNIT_SEED;
        Job ahead[1000] = {};
        JobQueue q;
        double t;

        job_queue_init(&q, AGING, 1);
        for (uint64_t i = 0; i < n; i++) {
                jobs[i] = (Job) { .id = i, .priority = (int32_t) (unit_random(&random) % 100), .uid = (uid_t) (unit_random(&random) % 10),
                                  .queued_usec = i };
                job_queue_add(&q, &jobs[i]);
        }
        t = seconds();
        for (unsigned round = 0; round < 10; round++) {
                for (unsigned i = 0; i < 1000; i++) {
                        ahead[i].priority = 1000;
                        ahead[i].queued_usec = n + i;
                        job_queue_add(&q, &ahead[i]);
                }
                for (unsigned i = 0; i < 1000; i++) {
                        Job *j = job_queue_first(&q);

                        ck_assert_ptr_eq(j, &ahead[i]);
                        job_queue_remove(j);
                }
        }
        t = seconds() - t;
        while (job_queue_first(&q))
                job_queue_remove(job_queue_first(&q));
        job_queue_done(&q);
        return t;
}

START_TEST(a_million_jobs) {
        uint64_t n = 1000000;
        Job *jobs = calloc(n, sizeof(Job));

        ck_assert_ptr_nonnull(jobs);
        double few = ahead_of(jobs, 100), many = ahead_of(jobs, n);

        /* linear would be ten thousand times as long */
        ck_assert_msg(many < 100 * few + 0.05, "10000 jobs go past 100 others in %.6f s, past %llu in %.6f s", few, (unsigned long long) n, many);
        free(jobs);
}
END_TEST

UNIT_MAIN("queue", first_in_first_out, a_higher_priority_goes_first, waiting_counts_as_priority, users_take_turns,
          a_turn_is_no_excuse_to_fall_behind, what_comes_back_keeps_its_age, each_may_be_removed, any_order_of_coming_and_going, a_million_jobs)
