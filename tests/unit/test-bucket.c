/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Token buckets. */

#include "basic/str.h"
#include "pool/bucket.h"
#include "unit.h"

START_TEST(a_burst_and_then_the_rate) {
        TokenBucket b = {};
        uint64_t now = 1000, wait = 0;

        for (unsigned i = 0; i < 5; i++)
                ck_assert(token_bucket_take(&b, 10, 5, now, &wait));
        ck_assert(!token_bucket_take(&b, 10, 5, now, &wait));
        ck_assert_uint_eq(wait, 100000);
        ck_assert(!token_bucket_take(&b, 10, 5, now + 99999, &wait));
        ck_assert_uint_eq(wait, 1);
        ck_assert(token_bucket_take(&b, 10, 5, now + 100000, &wait));
        ck_assert(!token_bucket_take(&b, 10, 5, now + 100000, &wait));
        ck_assert_uint_eq(token_bucket_fills(&b, now + 100000), 500000);
        ck_assert_uint_eq(token_bucket_fills(&b, now + 700000), 0);
        for (unsigned i = 0; i < 5; i++) /* no more than its room, however long that was */
                ck_assert(token_bucket_take(&b, 10, 5, now + 3600 * USEC_PER_SEC, &wait));
        ck_assert(!token_bucket_take(&b, 10, 5, now + 3600 * USEC_PER_SEC, &wait));
}
END_TEST

START_TEST(limits_that_are_none_or_change) {
        TokenBucket b = {};
        uint64_t wait = 7;

        for (unsigned i = 0; i < 1000; i++)
                ck_assert(token_bucket_take(&b, 0, 0, 1, &wait));
        for (unsigned i = 0; i < 3; i++) /* without a size: a second's worth */
                ck_assert(token_bucket_take(&b, 3, 0, 1, &wait));
        ck_assert(!token_bucket_take(&b, 3, 0, 1, &wait));
        ck_assert(token_bucket_take(&b, 3, 10, 1, &wait)); /* a reload made it larger */
        ck_assert(token_bucket_take(&b, 1000000, 1, 10 * USEC_PER_SEC, &wait));
        ck_assert(!token_bucket_take(&b, 1000000, 1, 10 * USEC_PER_SEC, &wait));
        ck_assert(token_bucket_take(&b, 1000000, 1, 10 * USEC_PER_SEC + 1, &wait));
}
END_TEST

START_TEST(over_a_long_time_the_rate_is_kept) {
        uint64_t random = UNIT_SEED, now = 1, n = 0, wait;
        TokenBucket b = {};

        while (now < 1000 * USEC_PER_SEC) {
                now += unit_random(&random) % 5000;
                n += token_bucket_take(&b, 100, 20, now, &wait);
        }
        ck_assert_uint_le(n, 100 * 1000 + 21);
        ck_assert_uint_ge(n, 100 * 1000 * 99 / 100);
}
END_TEST

START_TEST(users_have_their_own) {
        BucketTable t;
        uint64_t wait;

        bucket_table_init(&t, 1);
        for (uid_t uid = 0; uid < 100; uid++) {
                ck_assert(bucket_table_take(&t, uid, 1, 1, 1000, &wait));
                ck_assert(!bucket_table_take(&t, uid, 1, 1, 1000, &wait));
        }
        ck_assert_uint_eq(t.n, 100);
        ck_assert(bucket_table_take(&t, 1000, 1, 1, 1000 + USEC_PER_SEC, &wait));
        ck_assert_uint_eq(t.n, 1); /* those that are full again are not kept */
        for (uid_t uid = 0; uid < BUCKET_USERS_MAX + 10; uid++)
                ck_assert(bucket_table_take(&t, 2000 + uid, 1, 1, 1000 + USEC_PER_SEC, &wait));
        ck_assert_uint_eq(t.n, BUCKET_USERS_MAX);
        bucket_table_done(&t);
}
END_TEST

UNIT_MAIN("bucket", a_burst_and_then_the_rate, limits_that_are_none_or_change, over_a_long_time_the_rate_is_kept, users_have_their_own)
