/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Token buckets: how often something may happen. Pure: the time is passed in. */

#include <sys/types.h>

#include "basic/list.h"
#include "basic/map.h"

/* Starts full when it is zeroed. */
typedef struct TokenBucket {
        uint64_t credit; /* µs of filling that were used and are not made up for yet, at ... */
        uint64_t at;     /* ... that time, CLOCK_MONOTONIC */
} TokenBucket;

/* Takes a token from a bucket that gets `rate` of them a second and has room for `burst` (0: as many as `rate`). Returns true; or false, with
 * *ret_wait set to the µs until there is one. A rate of 0 is no limit. */
bool token_bucket_take(TokenBucket *b, unsigned rate, unsigned burst, uint64_t now, uint64_t *ret_wait);
/* How long it takes until there is a token to take: 0 where there is one. */
uint64_t token_bucket_wait(const TokenBucket *b, unsigned rate, unsigned burst, uint64_t now);
/* When it is full again, µs from now: from then on it is like a new one. */
uint64_t token_bucket_fills(const TokenBucket *b, uint64_t now);

#define BUCKET_USERS_MAX 65536U /* buckets that are remembered; above it the oldest is forgotten, which is then full */

/* A bucket for each user. */
typedef struct BucketTable {
        Map by_uid;
        List used; /* the longest unused first */
        unsigned n;
} BucketTable;

void bucket_table_init(BucketTable *t, uint64_t seed);
void bucket_table_done(BucketTable *t);
/* As above, from the bucket of a user. Without memory for one nothing is limited. */
bool bucket_table_take(BucketTable *t, uid_t uid, unsigned rate, unsigned burst, uint64_t now, uint64_t *ret_wait);
