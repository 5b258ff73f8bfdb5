/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Token buckets in the form of GCRA: what is kept is not the number of tokens but how long the bucket has yet to fill, in microseconds, so
 * nothing is lost by rounding and no timer refills anything. A change of rate or size applies from the next token on.
 */

#include "basic/str.h"
#include "pool/bucket.h"

typedef struct UserBucket {
        MapNode by_uid;
        List link;
        TokenBucket bucket;
} UserBucket;

uint64_t token_bucket_fills(const TokenBucket *b, uint64_t now) {
        uint64_t since = now > b->at ? now - b->at : 0;

        return b->credit > since ? b->credit - since : 0;
}

/* How long a token takes to fill in, and all of them. */
static void measure(unsigned rate, unsigned burst, uint64_t *ret_each, uint64_t *ret_room) {
        *ret_each = MAX(USEC_PER_SEC / rate, (uint64_t) 1);
        *ret_room = *ret_each * MAX(burst > 0 ? burst : rate, 1U);
}

uint64_t token_bucket_wait(const TokenBucket *b, unsigned rate, unsigned burst, uint64_t now) {
        uint64_t each, room;

        if (rate == 0)
                return 0;
        measure(rate, burst, &each, &room);
        uint64_t used = MIN(token_bucket_fills(b, now), room);
        return used + each > room ? used + each - room : 0;
}

bool token_bucket_take(TokenBucket *b, unsigned rate, unsigned burst, uint64_t now, uint64_t *ret_wait) {
        uint64_t each, room, wait = token_bucket_wait(b, rate, burst, now);

        if (wait > 0) {
                *ret_wait = wait;
                return false;
        }
        if (rate == 0)
                return true;
        measure(rate, burst, &each, &room);
        *b = (TokenBucket) { .credit = MIN(token_bucket_fills(b, now), room) + each, .at = now };
        return true;
}

void bucket_table_init(BucketTable *t, uint64_t seed) {
        *t = (BucketTable) {};
        map_init(&t->by_uid, seed);
        list_init(&t->used);
}

static void forget(BucketTable *t, UserBucket *u) {
        map_remove(&t->by_uid, &u->by_uid);
        list_remove(&u->link);
        t->n--;
        free(u);
}

void bucket_table_done(BucketTable *t) {
        UserBucket *u;

        while ((u = list_first_entry(&t->used, UserBucket, link)))
                forget(t, u);
        map_done(&t->by_uid);
}

static UserBucket *user_get(BucketTable *t, uid_t uid, uint64_t now) {
        UserBucket *u = map_get(&t->by_uid, uid, UserBucket, by_uid), *oldest;

        if (u)
                return u;
        while ((oldest = list_first_entry(&t->used, UserBucket, link)) && (t->n >= BUCKET_USERS_MAX || token_bucket_fills(&oldest->bucket, now) == 0))
                forget(t, oldest);
        u = new0(UserBucket, 1);
        if (!u || map_add(&t->by_uid, &u->by_uid, uid) < 0) {
                free(u);
                return NULL;
        }
        list_init(&u->link);
        list_append(&t->used, &u->link);
        t->n++;
        return u;
}

bool bucket_table_take(BucketTable *t, uid_t uid, unsigned rate, unsigned burst, uint64_t now, uint64_t *ret_wait) {
        if (rate == 0)
                return true;
        UserBucket *u = user_get(t, uid, now);

        if (!u)
                return true;
        list_remove(&u->link);
        list_append(&t->used, &u->link);
        return token_bucket_take(&u->bucket, rate, burst, now, ret_wait);
}
