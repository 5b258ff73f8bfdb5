/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The cache among the store's requests: behind the jobs, gone before them, and no trouble of theirs. test-cache.c has its rows. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "store-kit.h"
#include "store/cache.h"
#include "store/internal.h"
#include "unit.h"

static Kit kit;

static StoreRequest *item_request(StoreOp op, uint64_t n) {
        StoreRequest *r = kit_request(op);

        ck_assert_int_eq(store_request_add_item(r), 0);
        memset(r->cache->key.bytes, 0, CACHE_KEY_SIZE);
        memcpy(r->cache->key.bytes, &(uint64_t) { n << 8 }, sizeof(n));
        return r;
}

static StoreRequest *put(uint64_t n, Blob *body) {
        StoreRequest *r = item_request(STORE_OP_CACHE_PUT, n);

        r->lazy = true;
        r->cache->method = strdup("m");
        r->cache->worker_type = strdup("w");
        r->cache->kind = PAYLOAD_BYTES;
        r->cache->created_usec = realtime_usec();
        r->cache->expires_usec = r->cache->created_usec + 3600 * USEC_PER_SEC;
        r->cache->body = body;
        return r;
}

static int find(Kit *k, uint64_t n, Blob *expected) {
        StoreRequest *r = kit_run(k, item_request(STORE_OP_CACHE_GET, n));
        int error = r->error;

        if (error >= 0 && expected)
                kit_same(r->cache->body, expected);
        store_request_free(r);
        return error;
}

static StoreStats stats(Kit *k) {
        StoreRequest *r = kit_run(k, kit_request(STORE_OP_STATS));
        StoreStats s = r->stats;

        ck_assert_int_eq(r->error, 0);
        store_request_free(r);
        return s;
}

static Blob *in_memfd(uint64_t n, size_t size) {
        _cleanup_(blob_unrefp) Blob *b = kit_blob(n, size);
        int fd = blob_memfd(b);

        ck_assert_int_ge(fd, 0);
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        ck_assert_int_ge(fd, 0);
        return blob_new_memfd(fd, size);
}

START_TEST(test_life_of_a_result) {
        Kit *k = &kit;
        StoreRequest *r;

        kit_init(k);
        k->config.cache_bytes = 64 << 20;
        kit_open_well(k);
        ck_assert_int_eq(find(k, 1, NULL), -ENOENT);
        ck_assert_int_eq(kit_result(k, put(1, kit_blob(1, 100))), 0);
        ck_assert_int_eq(kit_result(k, put(2, in_memfd(2, 300000))), 0);
        ck_assert_int_eq(kit_result(k, put(3, blob_new(0))), 0);
        _cleanup_(blob_unrefp) Blob *one = kit_blob(1, 100), *two = kit_blob(2, 300000), *none = blob_new(0);
        ck_assert_int_eq(find(k, 1, one), 0);
        ck_assert_int_eq(find(k, 2, two), 0);
        ck_assert_int_eq(find(k, 3, none), 0);

        r = kit_request(STORE_OP_CACHE_TOUCH);
        r->ids = new0(uint64_t, 2);
        r->n_ids = 2;
        r->ids[0] = r->ids[1] = (uint64_t) cache_id(&(CacheKey) { .bytes = { [1] = 1 } });
        ck_assert_int_eq(kit_result(k, r), 0);
        r = kit_run(k, item_request(STORE_OP_CACHE_LIST, 0));
        ck_assert_int_eq(r->error, 0);
        ck_assert_uint_eq(r->n_cache, 3);
        ck_assert_uint_eq(r->cache[0].hits, 2);
        store_request_free(r);
        ck_assert_uint_eq(stats(k).cache_entries, 3);
        ck_assert_uint_eq(stats(k).cache_raw_bytes, 300100);
        ck_assert_uint_eq(stats(k).cache_puts, 3);

        kit_reopen(k);
        ck_assert_int_eq(find(k, 2, two), 0);
        ck_assert_uint_eq(stats(k).cache_entries, 3);
        r = item_request(STORE_OP_CACHE_PURGE, 0);
        r->cache->method = strdup("other");
        r = kit_run(k, r);
        ck_assert_uint_eq(r->n, 0);
        store_request_free(r);
        r = kit_run(k, kit_request(STORE_OP_CACHE_PURGE));
        ck_assert_int_eq(r->error, 0);
        ck_assert_uint_eq(r->n, 3);
        store_request_free(r);
        ck_assert_int_eq(find(k, 1, NULL), -ENOENT);
        kit_done(k);
}
END_TEST

/* What takes many slices. */
START_TEST(test_purge_of_many) {
        Kit *k = &kit;

        kit_init(k);
        k->config.cache_bytes = 64 << 20;
        kit_open_well(k);
        for (unsigned i = 0; i < 2000; i += 500) {
                k->done = 0;
                for (unsigned n = i; n < i + 500; n++)
                        kit_submit(k, put(n + 1, kit_blob(n, 10)));
                kit_until(k, k->done == 500);
        }
        StoreRequest *r = kit_run(k, kit_request(STORE_OP_CACHE_PURGE));
        ck_assert_uint_eq(r->n, 2000);
        store_request_free(r);
        ck_assert_uint_eq(stats(k).cache_entries, 0);
        kit_done(k);
}
END_TEST

/* A job that comes behind them is before them. */
START_TEST(test_jobs_go_first) {
        Kit *k = &kit;

        kit_init(k);
        k->config.cache_bytes = 64 << 20;
        kit_open_well(k);
        k->done = 0;
        for (unsigned n = 1; n <= 200; n++)
                kit_submit(k, put(n, kit_noise(n, 10000)));
        StoreRequest *r = kit_run(k, kit_add(1, kit_blob(1, 10)));
        ck_assert_int_eq(r->error, 0);
        ck_assert_uint_eq(k->done, 0);
        store_request_free(r);
        kit_until(k, k->done == 200);
        ck_assert_uint_eq(stats(k).cache_entries, 200);
        kit_done(k);
}
END_TEST

/* Beyond what the writer keeps up with, results are not kept; and it is heard of all of them. */
START_TEST(test_too_many_at_once) {
        Kit *k = &kit;

        kit_init(k);
        k->config.cache_bytes = 64 << 20;
        kit_open_well(k);
        k->done = 0;
        for (unsigned n = 1; n <= 1200; n++)
                kit_submit(k, put(n, kit_blob(n, 10)));
        kit_until(k, k->done == 1200);
        ck_assert_uint_eq(stats(k).cache_puts, 1024);
        ck_assert_int_eq(kit_result(k, put(1, kit_blob(1, 10))), 0);
        kit_done(k);
}
END_TEST

/* It lies in the same file, and no job is refused for it. */
START_TEST(test_gives_way_to_jobs) {
        Kit *k = &kit;
        uint64_t before;

        kit_init(k);
        k->config.max_bytes = 4 << 20;
        k->config.cache_bytes = 64 << 20;
        kit_open_well(k);
        for (unsigned n = 1; n <= 40; n++)
                (void) kit_result(k, put(n, kit_noise(n, 40000)));
        before = stats(k).cache_bytes;
        k->config.max_bytes = 1 << 20; /* it would be full with that */
        kit_close(k);
        kit_open_well(k);
        ck_assert_int_eq(kit_result(k, kit_add(200, kit_blob(200, 10))), 0);
        kit_until(k, stats(k).cache_bytes < before);
        k->config.max_bytes = 4 << 20;
        kit_reopen(k);
        ck_assert_uint_gt(before, 900 << 10);
        ck_assert_uint_le(before, 1 << 20); /* a quarter */
        for (unsigned n = 1; n <= 92; n++)
                ck_assert_int_eq(kit_result(k, kit_add(n, kit_noise(n, 40000))), 0);
        kit_until(k, stats(k).cache_entries == 0);
        ck_assert_int_eq(store_health(k->store), STORE_OK);
        ck_assert_int_eq(kit_result(k, put(1, kit_noise(1, 40000))), -EAGAIN);
        ck_assert_uint_eq(stats(k).cache_entries, 0);
        kit_done(k);
}
END_TEST

/* What was counted in a transaction that is void is counted again, before anything is taken away for it. */
START_TEST(test_jobs_do_not_go_for_what_is_not_known) {
        StoreConfig limits = { .max_bytes = 1 << 30, .max_jobs = 1000 };
        Db db = { .compress_min = 512, .cache_bytes = 1 << 20, .max_bytes = 1 << 30 };
        Request q = { .fd = -1, .size = 100000, .r = { .op = STORE_OP_CACHE_PUT } };
        _cleanup_(blob_unrefp) Blob *body = kit_noise(1, 100000);
        StoreRequest *item = put(1, NULL);
        CacheStats known;
        Kit *k = &kit;

        kit_init(k);
        ck_assert_int_eq(codec_new(3, &db.codec), 0);
        ck_assert_int_eq(db_open(&db, k->path, true), 0);
        limits.max_bytes = 8 << 20;
        db.cache_bytes = db.max_bytes = 64 << 20;
        ck_assert_int_eq(db_begin(&db, false), 0);
        q.data = body->data;
        q.r.cache = item->cache;
        ck_assert_int_eq(cache_op_put(&db, &q), 0);
        ck_assert_int_eq(db_commit(&db), 0);
        ck_assert_int_eq(retention_due(&db, &limits), 0);
        ck_assert_uint_gt(cache_used(&db), 100000);
        limits.max_bytes = 110000; /* full, but not of jobs */
        ck_assert_int_eq(db_begin(&db, false), 0);
        db_rollback(&db);
        ck_assert_int_eq(retention_due(&db, &limits), 1);
        ck_assert(!db.over);
        ck_assert(cache_known(db.cache, &known));
        db_close(&db, false);
        codec_free(db.codec);
        store_request_free(item);
        kit_done(k);
}
END_TEST

static void limit_files(rlim_t size) {
        struct rlimit limit = { .rlim_cur = size, .rlim_max = RLIM_INFINITY };

        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

START_TEST(test_full_disk) {
        Kit *k = &kit;
        unsigned n = 0;
        int r;

        kit_init(k);
        k->config.cache_bytes = 256 << 20;
        kit_open_well(k);
        kit_add_job(k, 1);
        ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
        limit_files(3 << 20);
        do {
                n++;
                r = kit_result(k, put(n, kit_noise(n, 200000)));
        } while (r >= 0 && n < 100);
        ck_assert_int_eq(r, -ENOSPC);
        ck_assert_int_eq(store_health(k->store), STORE_OK);
        ck_assert_int_eq(find(k, 1, NULL), 0);
        limit_files(RLIM_INFINITY);
        ck_assert_int_eq(kit_result(k, put(n, kit_noise(n, 200000))), 0);
        kit_end_job(k, 1, JOB_COMPLETED);
        kit_done(k);
}
END_TEST

START_TEST(test_damage) {
        Kit *k = &kit;

        kit_init(k);
        k->config.cache_bytes = 64 << 20;
        kit_open_well(k);
        kit_add_job(k, 1);
        _cleanup_(blob_unrefp) Blob *body = kit_noise(1, 1000);
        ck_assert_int_eq(kit_result(k, put(1, blob_ref(body))), 0);
        kit_close(k);

        /* a row that is not what was stored is a miss, and is mended by the next result */
        kit_sql(k->path, "UPDATE cache_bodies SET body = zeroblob(length(body))");
        kit_open_well(k);
        ck_assert_int_eq(find(k, 1, NULL), -ENOENT);
        ck_assert_int_eq(store_health(k->store), STORE_OK);
        ck_assert_int_eq(kit_result(k, put(1, blob_ref(body))), 0);
        ck_assert_int_eq(find(k, 1, body), 0);
        kit_close(k);

        /* a file that must be salvaged keeps its jobs, and the cache begins anew */
        kit_sql(k->path, "DROP TABLE keys");
        kit_open(k);
        ck_assert_int_eq(store_health(k->store), STORE_DAMAGED);
        ck_assert_uint_eq(k->n_jobs, 1);
        ck_assert_int_eq(find(k, 1, NULL), -ENOENT);
        ck_assert_int_eq(kit_result(k, put(1, blob_ref(body))), 0);
        ck_assert_int_eq(find(k, 1, body), 0);
        kit_done(k);
}
END_TEST

/* A damaged database of the version before is salvaged as well, though its rows lack a column. */
START_TEST(test_salvage_of_version_1) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        kit_add_job(k, 1);
        kit_close(k);
        kit_sql(k->path, "DROP TABLE cache; DROP TABLE cache_bodies; ALTER TABLE jobs DROP COLUMN cache; PRAGMA user_version = -1");
        kit_open(k);
        ck_assert_int_eq(store_health(k->store), STORE_DAMAGED);
        ck_assert_uint_eq(k->n_jobs, 1);
        kit_done(k);
}
END_TEST

START_TEST(test_without_a_store) {
        Kit *k = &kit;

        kit_init(k);
        k->config.off = true;
        kit_open(k);
        ck_assert_int_lt(find(k, 1, NULL), 0);
        ck_assert_int_lt(kit_result(k, put(1, kit_blob(1, 10))), 0);
        ck_assert_int_lt(kit_result(k, kit_request(STORE_OP_CACHE_PURGE)), 0);
        kit_done(k);
}
END_TEST

UNIT_MAIN("store-cache", test_life_of_a_result, test_purge_of_many, test_jobs_go_first, test_too_many_at_once, test_gives_way_to_jobs,
          test_jobs_do_not_go_for_what_is_not_known, test_full_disk, test_damage, test_salvage_of_version_1, test_without_a_store)
