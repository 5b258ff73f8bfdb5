/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The durable store: what every operation does, and that it is still so after the store was closed and opened again. */

#include "basic/fd.h"
#include "store-kit.h"
#include "unit.h"

static Kit kit;

START_TEST(test_life_of_a_job) {
        Kit *k = &kit;
        _cleanup_(blob_unrefp) Blob *payload = kit_blob(9, 3000), *result = kit_noise(9, 5000);

        kit_init(k);
        kit_open_well(k);
        ck_assert_uint_eq(k->n_jobs, 0);
        ck_assert_int_eq(kit_result(k, kit_add(9, blob_ref(payload))), 0);
        ck_assert_uint_eq(store_last_id(k->store), 9);
        kit_reopen(k);

        /* As it was given. */
        ck_assert_uint_eq(k->n_jobs, 1);
        JobRecord *j = &k->jobs[0];
        ck_assert_uint_eq(j->id, 9);
        ck_assert_int_eq(j->state, JOB_QUEUED);
        ck_assert_int_eq(j->durability, DURABLE_YES);
        ck_assert_uint_eq(j->uid, 1000);
        ck_assert_str_eq(j->pool, "p");
        ck_assert_str_eq(j->method, "m");
        ck_assert_str_eq(j->session, "s");
        ck_assert_ptr_null(j->key);
        ck_assert_str_eq(j->trace, "00-trace");
        ck_assert_int_eq(j->kind, PAYLOAD_BYTES);
        ck_assert_int_eq(j->priority, -7);
        ck_assert_uint_eq(j->attempts, 1);
        ck_assert_uint_eq(j->retries, 3);
        ck_assert_uint_eq(j->retry_usec, 5000);
        ck_assert_uint_eq(j->timeout_usec, 77);
        ck_assert_uint_gt(j->accepted_usec, 0);
        ck_assert_uint_gt(j->deadline_usec, j->accepted_usec);
        kit_same(j->payload, payload);
        ck_assert_uint_eq(store_last_id(k->store), 9);

        ck_assert_int_eq(kit_result(k, kit_end(9, JOB_COMPLETED, blob_ref(result))), 0);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 0);
        StoreRequest *r = kit_get(k, 9, STORE_WANT_PAYLOAD | STORE_WANT_RESULT);
        ck_assert_int_eq(r->error, 0);
        ck_assert_int_eq(r->record.state, JOB_COMPLETED);
        ck_assert_str_eq(r->record.worker, "p/0");
        ck_assert_uint_gt(r->record.finished_usec, 0);
        ck_assert_ptr_null(r->record.payload); /* of no use any more */
        ck_assert_uint_eq(r->record.payload_size, 3000);
        kit_same(r->record.result, result);
        store_request_free(r);
        ck_assert_uint_eq(store_last_id(k->store), 9);
        ck_assert_uint_eq(store_pending(k->store), 0);
        kit_done(k);
}
END_TEST


/* Sizes around every limit; what can be made smaller and what cannot; in memory and in a memfd. */
START_TEST(test_bodies) {
        static const size_t sizes[] = { 0, 1, 511, 512, 1899, 1900, 1901, 4000, 4096, 5000, 70000, 1 << 20 };
        Kit *k = &kit;
        uint64_t id = 1;

        kit_init(k);
        kit_open_well(k);
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++)
                for (int memfd = 0; memfd < 2; memfd++) {
                        for (int noise = 0; noise < 2; noise++, id++) {
                                _cleanup_(blob_unrefp) Blob *b = noise ? kit_noise(id, sizes[i]) : kit_blob(id, sizes[i]);
                                Blob *payload = blob_ref(b);

                                if (memfd && sizes[i] > 0) {
                                        int fd = memfd_new_sealed("payload", b->data, b->size);

                                        ck_assert_int_ge(fd, 0);
                                        blob_unref(payload);
                                        payload = blob_new_memfd(fd, b->size);
                                        ck_assert_ptr_nonnull(payload);
                                }
                                ck_assert_int_eq(kit_result(k, kit_add(id, payload)), 0);
                                ck_assert_int_eq(kit_result(k, kit_end(id, JOB_FAILED, blob_ref(b))), 0);
                                StoreRequest *r = kit_get(k, id, STORE_WANT_PAYLOAD | STORE_WANT_RESULT);
                                ck_assert_int_eq(r->error, 0);
                                kit_same(r->record.payload, b);
                                kit_same(r->record.result, b);
                                store_request_free(r);
                                r = kit_get(k, id, 0);
                                ck_assert_ptr_null(r->record.payload);
                                ck_assert_ptr_null(r->record.result);
                                ck_assert_uint_eq(r->record.result_size, sizes[i]);
                                store_request_free(r);
                        }
                }
        StoreStats stats;
        kit_stats(k, &stats);
        ck_assert_uint_eq(stats.jobs[JOB_FAILED], id - 1);
        ck_assert_uint_lt(stats.payload_stored, stats.payload_bytes * 3 / 4);
        ck_assert_uint_gt(stats.payload_stored, stats.payload_bytes / 3);
        ck_assert_uint_eq(stats.payload_bytes, stats.result_bytes);

        /* One that is not kept, and one that is empty. */
        kit_add_job(k, id);
        ck_assert_int_eq(kit_result(k, kit_end(id, JOB_COMPLETED, NULL)), 0);
        StoreRequest *r = kit_get(k, id, STORE_WANT_RESULT);
        ck_assert_ptr_null(r->record.result);
        store_request_free(r);
        kit_add_job(k, ++id);
        ck_assert_int_eq(kit_result(k, kit_end(id, JOB_COMPLETED, blob_new(0))), 0);
        r = kit_get(k, id, STORE_WANT_RESULT);
        ck_assert_ptr_nonnull(r->record.result);
        store_request_free(r);
        kit_done(k);
}
END_TEST

START_TEST(test_attempts) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        kit_add_job(k, 5);
        StoreRequest *r = kit_request(STORE_OP_ATTEMPT);
        r->record = (JobRecord) { .id = 5, .attempts = 2, .crashes = 1, .worker = strdup("p/3"), .dispatched_usec = 12345 };
        ck_assert_int_eq(kit_result(k, r), 0);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 1);
        ck_assert_int_eq(k->jobs[0].state, JOB_RUNNING);
        ck_assert_uint_eq(k->jobs[0].attempts, 2);
        ck_assert_uint_eq(k->jobs[0].crashes, 1);
        ck_assert_str_eq(k->jobs[0].worker, "p/3");
        ck_assert_uint_eq(k->jobs[0].dispatched_usec, 12345);
        ck_assert_uint_eq(blob_size(k->jobs[0].payload), 100);

        r = kit_request(STORE_OP_REQUEUE);
        r->record = (JobRecord) { .id = 5, .attempts = 2, .crashes = 1, .failures = 1, .not_before_usec = 999, .code = strdup("Exit"), .error = strdup("why") };
        ck_assert_int_eq(kit_result(k, r), 0);
        StoreStats stats;
        kit_stats(k, &stats);
        ck_assert_uint_eq(stats.jobs[JOB_QUEUED], 1);
        ck_assert_uint_eq(stats.jobs[JOB_RUNNING], 0);
        kit_reopen(k);
        ck_assert_int_eq(k->jobs[0].state, JOB_QUEUED);
        ck_assert_uint_eq(k->jobs[0].failures, 1);
        ck_assert_uint_eq(k->jobs[0].not_before_usec, 999);
        ck_assert_str_eq(k->jobs[0].code, "Exit");
        ck_assert_str_eq(k->jobs[0].error, "why");

        /* An end is recorded once, and nothing comes after it. */
        kit_end_job(k, 5, JOB_DEAD);
        ck_assert_int_eq(kit_result(k, kit_end(5, JOB_COMPLETED, NULL)), -EALREADY);
        ck_assert_int_eq(kit_result(k, kit_end(5, JOB_DEAD, NULL)), -EALREADY);
        r = kit_request(STORE_OP_ATTEMPT);
        r->record = (JobRecord) { .id = 5, .attempts = 3 };
        ck_assert_int_eq(kit_result(k, r), -EALREADY);
        r = kit_request(STORE_OP_REQUEUE);
        r->record = (JobRecord) { .id = 5, .attempts = 3 };
        ck_assert_int_eq(kit_result(k, r), -EALREADY);
        r = kit_get(k, 5, STORE_WANT_PAYLOAD);
        ck_assert_int_eq(r->record.state, JOB_DEAD);
        ck_assert_str_eq(r->record.code, "Code");
        ck_assert_uint_eq(r->record.attempts, 1); /* the END's word */
        ck_assert_ptr_nonnull(r->record.payload);
        store_request_free(r);

        /* What is not there, and what cannot be. */
        ck_assert_int_eq(kit_result(k, kit_end(6, JOB_COMPLETED, NULL)), -ENOENT);
        ck_assert_int_eq(kit_result(k, kit_end(5, JOB_RUNNING, NULL)), -EINVAL);
        ck_assert_int_eq(kit_result(k, kit_add(0, kit_blob(0, 1))), -EINVAL);
        ck_assert_int_eq(kit_result(k, kit_add(UINT64_MAX / 2, kit_blob(0, 1))), -EINVAL);
        ck_assert_int_eq(kit_result(k, kit_add(5, kit_blob(5, 1))), -EEXIST);
        r = kit_get(k, 6, 0);
        ck_assert_int_eq(r->error, -ENOENT);
        store_request_free(r);
        r = kit_get(k, UINT64_MAX, 0);
        ck_assert_int_eq(r->error, -ENOENT);
        store_request_free(r);
        kit_done(k);
}
END_TEST

static StoreRequest *add_with_key(uint64_t id, uid_t uid, const char *key) {
        StoreRequest *r = kit_add(id, kit_blob(id, 10));

        r->record.uid = uid;
        r->record.key = strdup(key);
        return r;
}

static void expect_duplicate(Kit *k, uint64_t id, uid_t uid, const char *key, uint64_t holder) {
        StoreRequest *r = kit_run(k, add_with_key(id, uid, key));

        ck_assert_int_eq(r->error, -EEXIST);
        ck_assert_uint_eq(r->id, holder);
        store_request_free(r);
        r = kit_get(k, id, 0);
        ck_assert_int_eq(r->error, -ENOENT); /* nothing of it was written */
        store_request_free(r);
}

START_TEST(test_keys) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        ck_assert_int_eq(kit_result(k, add_with_key(1, 1000, "a")), 0);
        expect_duplicate(k, 2, 1000, "a", 1);
        ck_assert_int_eq(kit_result(k, add_with_key(3, 1001, "a")), 0); /* another user's */
        ck_assert_int_eq(kit_result(k, add_with_key(4, 1000, "b")), 0);
        kit_end_job(k, 1, JOB_COMPLETED);
        kit_reopen(k);
        ck_assert_str_eq(k->jobs[1].key, "b");
        expect_duplicate(k, 5, 1000, "a", 1); /* for KeyRetention= after its end */

        /* The second of two in one group finds the first. */
        k->done = 0;
        kit_submit(k, add_with_key(10, 1000, "c"));
        kit_submit(k, add_with_key(11, 1000, "c"));
        kit_until(k, k->done == 2);
        ck_assert_int_eq(k->last_error, -EEXIST);

        /* A purge forgets the key, and age does. */
        StoreRequest *r = kit_request(STORE_OP_PURGE);
        r->ids = new0(uint64_t, 1);
        r->ids[0] = 1;
        r->n_ids = 1;
        r = kit_run(k, r);
        ck_assert_int_eq(r->error, 0);
        ck_assert_uint_eq(r->n, 1);
        store_request_free(r);
        ck_assert_int_eq(kit_result(k, add_with_key(12, 1000, "a")), 0);
        k->config.key_usec = 0;
        store_configure(k->store, &k->config);
        kit_end_job(k, 4, JOB_FAILED);
        ck_assert_int_eq(kit_result(k, add_with_key(13, 1000, "b")), 0);

        /* Tried again, the first one has its key back only where nobody else took it. */
        r = kit_request(STORE_OP_RETRY);
        r->id = 4;
        ck_assert_int_eq(kit_result(k, r), 0);
        expect_duplicate(k, 14, 1000, "b", 13);
        kit_end_job(k, 4, JOB_FAILED);
        expect_duplicate(k, 15, 1000, "b", 13);
        kit_end_job(k, 12, JOB_FAILED);
        r = kit_request(STORE_OP_RETRY);
        r->id = 12;
        ck_assert_int_eq(kit_result(k, r), 0);
        expect_duplicate(k, 16, 1000, "a", 12);
        kit_done(k);
}
END_TEST

START_TEST(test_retry) {
        Kit *k = &kit;
        _cleanup_(blob_unrefp) Blob *b = kit_blob(7, 5000);

        kit_init(k);
        kit_open_well(k);
        ck_assert_int_eq(kit_result(k, kit_add(7, blob_ref(b))), 0);
        StoreRequest *r = kit_request(STORE_OP_RETRY);
        r->id = 7;
        ck_assert_int_eq(kit_result(k, r), -EALREADY);
        r = kit_end(7, JOB_TIMEOUT, kit_noise(7, 9000));
        r->record.attempts = 4;
        r->record.failures = 4;
        ck_assert_int_eq(kit_result(k, r), 0);

        r = kit_request(STORE_OP_RETRY);
        r->id = 7;
        r->record.not_before_usec = realtime_usec() + 1000;
        uint64_t not_before = r->record.not_before_usec;
        r = kit_run(k, r);
        ck_assert_int_eq(r->error, 0);
        kit_same(r->record.payload, b);
        ck_assert_uint_eq(r->record.attempts, 5);
        ck_assert_uint_eq(r->record.failures, 0);
        ck_assert_uint_eq(r->record.not_before_usec, not_before);
        ck_assert_uint_gt(r->record.deadline_usec, 0);
        ck_assert_str_eq(r->record.pool, "p");
        ck_assert_ptr_null(r->record.code);
        store_request_free(r);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 1);
        ck_assert_int_eq(k->jobs[0].state, JOB_QUEUED);
        ck_assert_uint_eq(k->jobs[0].attempts, 5);
        ck_assert_uint_eq(k->jobs[0].result_size, 0);
        ck_assert_ptr_null(k->jobs[0].error);
        kit_same(k->jobs[0].payload, b);

        kit_end_job(k, 7, JOB_COMPLETED);
        r = kit_request(STORE_OP_RETRY);
        r->id = 7;
        ck_assert_int_eq(kit_result(k, r), -ENODATA);
        r = kit_request(STORE_OP_RETRY);
        r->id = 8;
        ck_assert_int_eq(kit_result(k, r), -ENOENT);

        /* A deadline that has passed is none any more; a job of old is found at the next start, though its id is far below. */
        for (uint64_t id = 20; id < 30; id++)
                kit_add_job(k, id);
        r = kit_add(19, kit_blob(19, 0));
        r->record.deadline_usec = 1;
        ck_assert_int_eq(kit_result(k, r), 0);
        for (uint64_t id = 19; id < 30; id++)
                kit_end_job(k, id, JOB_FAILED);
        kit_reopen(k);
        r = kit_request(STORE_OP_RETRY);
        r->id = 19;
        r = kit_run(k, r);
        ck_assert_int_eq(r->error, 0);
        ck_assert_uint_eq(r->record.deadline_usec, 0);
        store_request_free(r);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 1);
        ck_assert_uint_eq(k->jobs[0].id, 19);
        kit_done(k);
}
END_TEST

/* Ids of a LIST, as text: "9 7 5". */
static const char *list(Kit *k, StoreFilter f) {
        static char text[4096];
        StoreRequest *r = kit_request(STORE_OP_LIST);
        size_t n = 0;

        r->filter = f;
        r->filter.pool = f.pool ? strdup(f.pool) : NULL;
        r->filter.method = f.method ? strdup(f.method) : NULL;
        r->filter.session = f.session ? strdup(f.session) : NULL;
        r = kit_run(k, r);
        ck_assert_int_eq(r->error, 0);
        text[0] = 0;
        for (uint64_t i = 0; i < r->n; i++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, "%s%llu", i > 0 ? " " : "", (unsigned long long) r->records[i].id);
        store_request_free(r);
        return text;
}

static void add_of(Kit *k, uint64_t id, const char *pool, const char *method, const char *session, JobState state) {
        StoreRequest *r = kit_add(id, kit_blob(id, 10));

        free(r->record.pool);
        free(r->record.method);
        free(r->record.session);
        r->record.pool = strdup(pool);
        r->record.method = method ? strdup(method) : NULL;
        r->record.session = session ? strdup(session) : NULL;
        ck_assert_int_eq(kit_result(k, r), 0);
        if (state >= JOB_COMPLETED)
                kit_end_job(k, id, state);
}

START_TEST(test_list) {
        Kit *k = &kit;
        uint64_t late = job_id_at(realtime_usec());

        kit_init(k);
        kit_open_well(k);
        add_of(k, 1, "p", "m", "s", JOB_COMPLETED);
        add_of(k, 2, "p", "n", NULL, JOB_FAILED);
        add_of(k, 3, "q", "m", "s", JOB_DEAD);
        add_of(k, 4, "q", NULL, "t", JOB_COMPLETED);
        add_of(k, 5, "p", "m", "s", JOB_QUEUED);
        add_of(k, 6, "p", "m", "s", JOB_FAILED);
        add_of(k, 7, "p", NULL, NULL, JOB_CANCELLED);
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1 }), "7 6 4 3 2 1");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = JOB_QUEUED }), "5");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = JOB_RUNNING }), "");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = JOB_COMPLETED }), "4 1");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = JOB_FAILED }), "6 2");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = JOB_FAILED, .method = (char *) "m" }), "6");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1, .pool = (char *) "q" }), "4 3");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1, .method = (char *) "m" }), "6 3 1");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1, .session = (char *) "s" }), "6 3 1");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = JOB_COMPLETED, .session = (char *) "s" }), "1");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = JOB_DEAD, .session = (char *) "s", .pool = (char *) "q", .method = (char *) "m" }), "3");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1, .pool = (char *) "p", .method = (char *) "n" }), "2");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1, .pool = (char *) "none" }), "");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1, .limit = 2 }), "7 6");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1, .limit = 2, .before_id = 6 }), "4 3");
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1, .since_usec = realtime_usec() - 1000000 }), "");
        add_of(k, late, "p", NULL, NULL, JOB_FAILED);
        char expected[32];
        snprintf(expected, sizeof(expected), "%llu", (unsigned long long) late);
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1, .since_usec = realtime_usec() - 60 * USEC_PER_SEC }), expected);
        ck_assert_str_eq(list(k, (StoreFilter) { .state = JOB_FAILED, .before_id = late, .limit = 1 }), "6");
        kit_done(k);
}
END_TEST

START_TEST(test_purge) {
        const unsigned n = 1500; /* more than one slice */
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        for (unsigned i = 1; i <= n; i++)
                kit_submit(k, kit_add(i, kit_noise(i, i % 3 == 0 ? 2000 : 20)));
        for (unsigned i = 1; i <= n; i++)
                if (i % 5 > 0)
                        kit_submit(k, kit_end(i, i % 2 ? JOB_FAILED : JOB_COMPLETED, kit_noise(i, i % 7 == 0 ? 3000 : 30)));
        kit_until(k, store_pending(k->store) == 0);
        ck_assert_int_eq(k->last_error, 0);

        StoreRequest *r = kit_request(STORE_OP_PURGE);
        r->ids = new0(uint64_t, 4);
        memcpy(r->ids, ((uint64_t[]) { 1, 5, 2, 9999999 }), 4 * sizeof(uint64_t)); /* 5 is queued */
        r->n_ids = 4;
        r = kit_run(k, r);
        ck_assert_int_eq(r->error, 0);
        ck_assert_uint_eq(r->n, 2);
        store_request_free(r);
        r = kit_request(STORE_OP_PURGE);
        r->filter.state = JOB_FAILED;
        r->filter.before_id = 1001;
        r = kit_run(k, r);
        ck_assert_uint_eq(r->n, 399);
        store_request_free(r);
        r = kit_request(STORE_OP_PURGE);
        r = kit_run(k, r);
        ck_assert_int_eq(r->error, 0);
        ck_assert_uint_eq(r->n, n / 5 * 4 - 2 - 399);
        store_request_free(r);
        r = kit_request(STORE_OP_PURGE);
        r->filter.state = JOB_QUEUED;
        ck_assert_int_eq(kit_result(k, r), -EINVAL);

        /* The bodies have gone with their jobs, and what was live is there. */
        StoreStats stats;
        kit_stats(k, &stats);
        ck_assert_uint_eq(stats.jobs[JOB_FAILED] + stats.jobs[JOB_COMPLETED], 0);
        ck_assert_uint_eq(stats.jobs[JOB_QUEUED], n / 5);
        ck_assert_uint_gt(stats.free_bytes, 0);
        r = kit_run(k, kit_request(STORE_OP_VACUUM));
        ck_assert_int_eq(r->error, 0);
        ck_assert_uint_gt(r->n, 0);
        store_request_free(r);
        uint64_t bytes = stats.bytes;
        kit_stats(k, &stats);
        ck_assert_uint_eq(stats.free_bytes, 0);
        ck_assert_uint_lt(stats.bytes, MAX(bytes, (uint64_t) 1 << 21));
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, n / 5);
        for (unsigned i = 0; i < n / 5; i++) {
                _cleanup_(blob_unrefp) Blob *b = kit_noise(k->jobs[i].id, k->jobs[i].id % 3 == 0 ? 2000 : 20);

                ck_assert_uint_eq(k->jobs[i].id, (i + 1) * 5);
                kit_same(k->jobs[i].payload, b);
        }
        /* Ids are not given twice, though the highest one has gone. */
        ck_assert_uint_eq(store_last_id(k->store), n);
        kit_done(k);
}
END_TEST

static unsigned order_next;

static void on_ordered(StoreRequest *r) {
        ck_assert_uint_eq((uintptr_t) r->userdata, order_next);
        order_next++;
        store_request_free(r);
}

START_TEST(test_groups) {
        Kit *k = &kit;
        StoreStats before, after;

        kit_init(k);
        kit_open_well(k);
        kit_stats(k, &before);
        for (unsigned i = 0; i < 64; i++) {
                StoreRequest *r = kit_add(i + 1, kit_blob(i, 100));

                r->done = on_ordered;
                r->userdata = (void *) (uintptr_t) i;
                store_submit(k->store, r);
        }
        ck_assert_uint_eq(store_pending(k->store), 64);
        kit_until(k, order_next == 64);
        kit_stats(k, &after);
        ck_assert_uint_eq(after.groups - before.groups, 1);
        ck_assert_uint_eq(after.synced_groups - before.synced_groups, 1);
        ck_assert_uint_eq(after.requests - before.requests, 64);

        /* Without sync it is not on the disk yet; the next one that asks for it brings both there. */
        StoreRequest *r = kit_end(1, JOB_COMPLETED, NULL);
        r->sync = false;
        r->lazy = true;
        r = kit_run(k, r);
        uint64_t group = r->group;
        store_request_free(r);
        ck_assert(!store_synced(k->store, group));
        r = kit_run(k, kit_request(STORE_OP_SYNC));
        ck_assert_int_eq(r->error, 0);
        store_request_free(r);
        ck_assert(store_synced(k->store, group));
        r = kit_end(2, JOB_COMPLETED, NULL);
        r->sync = false;
        r = kit_run(k, r);
        group = r->group;
        store_request_free(r);
        ck_assert(!store_synced(k->store, group));
        kit_end_job(k, 3, JOB_COMPLETED);
        ck_assert(store_synced(k->store, group));

        /* What is queued is committed when the store is closed. */
        k->done = 0;
        for (unsigned i = 4; i <= 64; i++)
                kit_submit(k, kit_end(i, JOB_COMPLETED, kit_blob(i, 3)));
        kit_close(k);
        ck_assert_uint_eq(k->done, 61);
        ck_assert_int_eq(k->last_error, 0);
        kit_open_well(k);
        ck_assert_uint_eq(k->n_jobs, 0);
        kit_done(k);
}
END_TEST

START_TEST(test_retention) {
        Kit *k = &kit;
        StoreStats stats;

        kit_init(k);
        k->config.max_jobs = 10;
        kit_open_well(k);
        for (unsigned i = 1; i <= 40; i++) {
                kit_add_job(k, i);
                if (i != 3)
                        kit_end_job(k, i, JOB_FAILED);
        }
        do
                kit_stats(k, &stats);
        while (stats.jobs[JOB_FAILED] > 10);
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1 }), "40 39 38 37 36 35 34 33 32 31");
        ck_assert_uint_eq(stats.jobs[JOB_QUEUED], 1); /* the oldest of all, and live */
        kit_end_job(k, 3, JOB_FAILED);
        do
                kit_stats(k, &stats);
        while (stats.jobs[JOB_FAILED] > 10);
        ck_assert_str_eq(list(k, (StoreFilter) { .state = -1, .limit = 1 }), "40");
        kit_reopen(k);
        kit_stats(k, &stats);
        ck_assert_uint_eq(stats.jobs[JOB_FAILED], 10); /* counted anew */
        ck_assert_uint_eq(k->n_jobs, 0);

        /* By age: what was accepted and has ended before. */
        StoreRequest *r = kit_add(job_id_at(realtime_usec()), kit_blob(1, 10));
        uint64_t young = r->record.id;
        ck_assert_int_eq(kit_result(k, r), 0);
        kit_end_job(k, young, JOB_FAILED);
        r = kit_add(50, kit_blob(1, 10));
        ck_assert_int_eq(kit_result(k, r), 0);
        r = kit_end(50, JOB_FAILED, NULL);
        r->record.finished_usec = realtime_usec() - 3600 * USEC_PER_SEC;
        ck_assert_int_eq(kit_result(k, r), 0);
        k->config.max_jobs = 1000;
        k->config.max_age_usec = 1800 * USEC_PER_SEC;
        store_configure(k->store, &k->config);
        do
                r = kit_get(k, 50, 0);
        while (r->error == 0 && (store_request_free(r), true));
        ck_assert_int_eq(r->error, -ENOENT);
        store_request_free(r);
        r = kit_get(k, 40, 0); /* old by its id, but it has ended just now */
        ck_assert_int_eq(r->error, 0);
        store_request_free(r);
        kit_done(k);
}
END_TEST

/* Jobs that have ended make room; those that have not fill the store. */
START_TEST(test_max_bytes) {
        Kit *k = &kit;
        StoreStats stats;
        const char *why = NULL;
        uint64_t id;

        kit_init(k);
        k->config.max_bytes = 2 << 20;
        kit_open_well(k);
        for (id = 1; id <= 1000; id++) {
                ck_assert_int_eq(kit_result(k, kit_add(id, kit_noise(id, 8000))), 0);
                kit_end_job(k, id, JOB_FAILED);
        }
        kit_stats(k, &stats);
        ck_assert_uint_lt(stats.jobs[JOB_FAILED], 300);
        ck_assert_uint_lt(stats.bytes, 4 << 20);
        int r = 0;
        for (; r == 0 && id < 2000; id++)
                r = kit_result(k, kit_add(id, kit_noise(id, 8000)));
        ck_assert_int_eq(r, -ENOSPC);
        kit_until(k, store_health(k->store) == STORE_FULL);
        ck_assert(!store_accepts(k->store, &why));
        ck_assert_ptr_nonnull(strstr(why, "StoreMaxBytes="));
        r = kit_result(k, kit_add(id, kit_noise(id, 1)));
        ck_assert_int_eq(r, -ENOSPC);
        /* Their ends are taken, and bring it back to life by themselves. */
        kit_stats(k, &stats);
        ck_assert_uint_gt(stats.jobs[JOB_QUEUED], 150);
        for (uint64_t i = 1001; i < 1101; i++)
                (void) kit_result(k, kit_end(i, JOB_COMPLETED, NULL));
        kit_until(k, store_health(k->store) == STORE_OK);
        ck_assert_int_eq(kit_result(k, kit_add(id + 1, kit_noise(id, 8000))), 0);
        kit_done(k);
}
END_TEST

START_TEST(test_backup_and_check) {
        Kit *k = &kit;
        _cleanup_free_ char *path = NULL;
        struct stat st;

        kit_init(k);
        kit_open_well(k);
        for (uint64_t id = 1; id <= 100; id++) {
                ck_assert_int_eq(kit_result(k, kit_add(id, kit_noise(id, 3000))), 0);
                if (id % 2)
                        kit_end_job(k, id, JOB_FAILED);
        }
        StoreRequest *r = kit_run(k, kit_request(STORE_OP_CHECK));
        ck_assert_int_eq(r->error, 0);
        ck_assert_str_eq(r->text, "ok");
        store_request_free(r);

        path = str_printf("%s/backup", k->directory);
        ck_assert_ptr_nonnull(path);
        r = kit_request(STORE_OP_BACKUP);
        r->path = strdup(path);
        r = kit_run(k, r);
        ck_assert_int_eq(r->error, 0);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq((uint64_t) st.st_size, r->n);
        ck_assert_uint_eq(st.st_mode & 0777, 0600);
        store_request_free(r);
        r = kit_request(STORE_OP_BACKUP);
        r->path = strdup(path);
        ck_assert_int_eq(kit_result(k, r), -EEXIST);
        r = kit_request(STORE_OP_BACKUP);
        r->path = strdup("backup");
        ck_assert_int_eq(kit_result(k, r), -EINVAL);
        r = kit_request(STORE_OP_BACKUP);
        r->path = strdup("/nowhere/at/all");
        ck_assert_int_eq(kit_result(k, r), -ENOENT);

        /* It is a store like the other. */
        kit_close(k);
        ck_assert_int_eq(rename(path, k->path), 0);
        kit_open_well(k);
        ck_assert_uint_eq(k->n_jobs, 50);
        ck_assert_int_eq(stat(k->directory, &st), 0);
        kit_done(k);
}
END_TEST

START_TEST(test_instances) {
        Kit *k = &kit;
        char name[16];

        kit_init(k);
        k->config.instance = "one";
        kit_open_well(k);
        ck_assert_ptr_null(store_last_instances(k->store));
        kit_reopen(k); /* the same once more: it has only executed itself anew */
        ck_assert_ptr_null(store_last_instances(k->store));
        k->config.instance = "two";
        kit_reopen(k);
        ck_assert_str_eq(store_last_instances(k->store), "one");
        k->config.instance = "three";
        kit_reopen(k);
        ck_assert_str_eq(store_last_instances(k->store), "two one");
        for (int i = 0; i < 20; i++) {
                snprintf(name, sizeof(name), "n%d", i);
                k->config.instance = name;
                kit_reopen(k);
        }
        ck_assert_str_eq(store_last_instances(k->store), "n18 n17 n16 n15 n14 n13 n12");
        kit_done(k);
}
END_TEST

/* The loop still has a job that the file has lost. */
START_TEST(test_lost_rows_come_back) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        StoreRequest *r = kit_end(77, JOB_COMPLETED, kit_blob(77, 20));
        r->record.pool = strdup("p");
        r->record.payload_size = 5;
        ck_assert_int_eq(kit_result(k, r), 0);
        r = kit_request(STORE_OP_REQUEUE);
        r->record = (JobRecord) { .id = 78, .attempts = 2, .pool = strdup("p"), .payload = kit_blob(78, 9) };
        ck_assert_int_eq(kit_result(k, r), 0);
        r = kit_request(STORE_OP_ATTEMPT);
        r->record = (JobRecord) { .id = 79, .attempts = 2, .pool = strdup("p") };
        ck_assert_int_eq(kit_result(k, r), -ENOENT);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 1);
        ck_assert_uint_eq(k->jobs[0].id, 78);
        ck_assert_uint_eq(blob_size(k->jobs[0].payload), 9);
        r = kit_get(k, 77, STORE_WANT_RESULT);
        ck_assert_int_eq(r->record.state, JOB_COMPLETED);
        ck_assert_uint_eq(blob_size(r->record.result), 20);
        store_request_free(r);
        kit_done(k);
}
END_TEST

START_TEST(test_words) {
        char text[JOB_ID_TEXT_MAX];
        uint64_t id, now = realtime_usec();

        for (int i = 0; i < _JOB_STATE_MAX; i++)
                ck_assert_int_eq(job_state_from_string(job_state_to_string((JobState) i)), i);
        for (int i = 0; i < _DURABLE_MAX; i++)
                ck_assert_int_eq(durability_from_string(durability_to_string((Durability) i)), i);
        for (int i = 0; i < _STORE_HEALTH_MAX; i++)
                ck_assert_ptr_nonnull(store_health_to_string((StoreHealth) i));
        ck_assert_int_eq(job_state_from_string("lost"), -EINVAL);
        ck_assert_int_eq(durability_from_string("perhaps"), -EINVAL);
        ck_assert_uint_eq(job_id_at(0), 0);
        ck_assert_uint_eq(job_id_at(JOB_ID_EPOCH_USEC + 5000), 5ULL << JOB_ID_SEQUENCE_BITS);
        ck_assert_uint_lt(job_id_at(now), job_id_at(now + 1000));
        ck_assert_uint_le(job_id_at(UINT64_MAX), UINT64_MAX >> 2);
        id = job_id_at(now) + 17;
        uint64_t back;
        ck_assert_int_eq(job_id_parse(job_id_format(id, text), &back), 0);
        ck_assert_uint_eq(back, id);
}
END_TEST

/* A JSON document as a method's jobs have them: alike, and none the same. */
static Blob *document(uint64_t n) {
        char text[2048];
        unsigned long long v = n;
        int size = snprintf(text, sizeof(text), "{\"name\":\"package-%llu\",\"version\":\"1.%llu.0\",\"description\":\"What package %llu is for\",",
                            v, v % 7, v * 31);

        for (unsigned i = 0; i < 12; i++)
                size += snprintf(text + size, sizeof(text) - (size_t) size, "\"dependency-%u\":{\"range\":\"^%llu.%u.1\",\"resolved\":\"registry/%llx\"},",
                                 i, v % 13, i, v * 2654435761U + i);
        return blob_new_copy(text, (size_t) size);
}

/* Learnt beside the work, in use when it is committed, and read with after a restart. */
START_TEST(test_dictionaries) {
        const uint64_t n = 600, more = 100;
        Kit *k = &kit;
        StoreRequest *r;

        kit_init(k);
        kit_open_well(k);
        for (uint64_t id = 1; id <= n + more; id++) {
                if (id == n + 1) /* enough to learn from */
                        for (uint64_t found = 0; found == 0;) {
                                r = kit_run(k, kit_request(STORE_OP_STATS));
                                found = r->stats.dictionaries;
                                store_request_free(r);
                        }
                ck_assert_int_eq(kit_result(k, kit_add(id, document(id))), 0);
        }
        kit_close(k);
        int64_t with = kit_number(k->path, "SELECT count(*) FROM jobs WHERE payload_dictionary > 0");
        ck_assert_int_ge(with, (int64_t) more / 2);
        ck_assert_int_lt(kit_number(k->path, "SELECT max(payload_stored) FROM jobs WHERE payload_dictionary > 0"),
                         kit_number(k->path, "SELECT min(payload_stored) FROM jobs WHERE payload_dictionary = 0"));
        kit_open_well(k);
        ck_assert_uint_eq(k->n_jobs, n + more);
        for (uint64_t id = 1; id <= n + more; id++) {
                _cleanup_(blob_unrefp) Blob *b = document(id);

                r = kit_get(k, id, STORE_WANT_PAYLOAD);
                kit_same(r->record.payload, b);
                store_request_free(r);
        }
        /* Lost to damage: what was compressed with it is gone, and only that; nothing is read with another. */
        kit_close(k);
        kit_sql(k->path, "DELETE FROM dictionaries");
        kit_open_well(k);
        ck_assert_uint_eq(k->n_jobs, n + more - (uint64_t) with);
        kit_done(k);
}
END_TEST

/* Where it was opened late, jobs are loaded while others go on already. */
START_TEST(test_load_in_slices) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        for (uint64_t id = 1; id <= 10; id++)
                kit_submit(k, kit_add(id, kit_blob(id, 100)));
        kit_until(k, store_pending(k->store) == 0);
        kit_close(k);
        ck_assert_int_eq(store_open(&k->config, &k->hot, NULL, kit_changed, k, &k->store), 0);
        ck_assert(store_needs_load(k->store));
        ck_assert_int_eq(store_load_slice(k->store, 4, kit_take, k), 1);
        ck_assert_uint_eq(k->n_jobs, 4);
        ck_assert(store_needs_load(k->store));
        ck_assert(!store_accepts(k->store, NULL));
        ck_assert_int_eq(store_load_slice(k->store, 4, kit_take, k), 1);
        StoreRequest *end = kit_end(2, JOB_COMPLETED, kit_blob(2, 50)); /* by hand: kit_run() would load all that is left */
        kit_submit(k, end);
        ck_assert_int_eq(store_load_slice(k->store, 4, kit_take, k), 0);
        kit_until(k, store_pending(k->store) == 0);
        ck_assert_int_eq(k->last_error, 0);
        ck_assert_uint_eq(k->n_jobs, 10);
        for (size_t i = 0; i < k->n_jobs; i++)
                ck_assert_uint_eq(k->jobs[i].id, i + 1);
        ck_assert(store_accepts(k->store, NULL));
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 9);
        kit_done(k);
}
END_TEST

UNIT_MAIN("store", test_life_of_a_job, test_bodies, test_dictionaries, test_attempts, test_keys, test_retry, test_list, test_purge, test_groups, test_retention,
          test_max_bytes, test_backup_and_check, test_instances, test_lost_rows_come_back, test_words, test_load_in_slices)
