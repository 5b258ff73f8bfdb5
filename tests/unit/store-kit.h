/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A store in a folder of its own, driven by a real loop: what the tests of the store share. */

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/str.h"
#include "store/store.h"

#define KIT_WAIT_USEC (60 * USEC_PER_SEC) /* for what must happen */
#define KIT_JOBS_MAX 4096U

typedef struct Kit {
        char directory[64];
        char path[96]; /* of the database */
        sd_event *event;
        HotSet hot;
        Store *store;
        StoreConfig config;
        unsigned changes;
        JobRecord jobs[KIT_JOBS_MAX]; /* that the last load gave */
        size_t n_jobs;
        unsigned done;                /* requests of kit_submit() */
        int last_error;
} Kit;

static _unused_ void kit_init(Kit *k) {
        *k = (Kit) {
                .config = {
                        .compress_min = 512, .compress_level = 3, .max_age_usec = 30 * 86400 * USEC_PER_SEC, .max_jobs = 1000000,
                        .max_bytes = 4ULL << 30, .key_usec = 86400 * USEC_PER_SEC, .cache_bytes = 1 << 20,
                },
        };
        snprintf(k->directory, sizeof(k->directory), "%s/test-store-XXXXXX", access("/dev/shm", W_OK) >= 0 ? "/dev/shm" : "/tmp");
        ck_assert_ptr_nonnull(mkdtemp(k->directory));
        snprintf(k->path, sizeof(k->path), "%s/%s", k->directory, STORE_FILE);
        k->config.directory = k->directory;
        ck_assert_int_ge(sd_event_new(&k->event), 0);
        ck_assert_int_ge(hot_init(&k->hot, k->event, 0), 0);
}

static _unused_ void kit_forget_jobs(Kit *k) {
        while (k->n_jobs > 0)
                job_record_done(&k->jobs[--k->n_jobs]);
}

static _unused_ void kit_close(Kit *k) {
        k->store = store_close(k->store);
        kit_forget_jobs(k);
}

static _unused_ int kit_remove(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
        (void) st;
        (void) flag;
        (void) ftw;
        return remove(path);
}

static _unused_ void kit_done(Kit *k) {
        kit_close(k);
        hot_done(&k->hot);
        sd_event_unref(k->event);
        ck_assert_int_eq(nftw(k->directory, kit_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static _unused_ int kit_take(JobRecord *r, void *userdata) {
        Kit *k = userdata;

        ck_assert_uint_lt(k->n_jobs, KIT_JOBS_MAX);
        k->jobs[k->n_jobs++] = *r;
        *r = (JobRecord) {};
        return 0;
}

static _unused_ void kit_load(Kit *k) {
        kit_forget_jobs(k);
        ck_assert_int_eq(store_load(k->store, kit_take, k), 0);
}

static _unused_ void kit_changed(Store *s, void *userdata) {
        Kit *k = userdata;

        k->changes++;
        if (store_needs_load(s))
                kit_load(k);
}

/* Opens, whatever comes of it, and loads. */
static _unused_ void kit_open(Kit *k) {
        ck_assert_int_eq(store_open(&k->config, &k->hot, NULL, kit_changed, k, &k->store), 0);
        kit_load(k);
}

/* The same, and it must be well. */
static _unused_ void kit_open_well(Kit *k) {
        kit_open(k);
        ck_assert_msg(store_health(k->store) == STORE_OK, "%s", strempty(store_why(k->store)));
        ck_assert(store_accepts(k->store, NULL));
}

static _unused_ void kit_reopen(Kit *k) {
        kit_close(k);
        kit_open_well(k);
}

/* One turn of the loop. Fails where nothing happens for too long. */
static _unused_ void kit_turn(Kit *k, uint64_t until) {
        ck_assert_msg(now_usec() < until, "waited in vain");
        ck_assert_int_ge(sd_event_run(k->event, 100 * USEC_PER_MSEC), 0);
}

#define kit_until(k, condition)                                         \
        do {                                                            \
                uint64_t _until = now_usec() + KIT_WAIT_USEC;           \
                while (!(condition))                                    \
                        kit_turn(k, _until);                            \
        } while (0)

static _unused_ void kit_on_done(StoreRequest *r) {
        *(bool *) r->userdata = true;
}

/* Submits and waits; the request is the caller's. */
static _unused_ StoreRequest *kit_run(Kit *k, StoreRequest *r) {
        bool done = false;

        r->done = kit_on_done;
        r->userdata = &done;
        store_submit(k->store, r);
        ck_assert(!done);
        kit_until(k, done);
        return r;
}

/* The same for its errno alone. */
static _unused_ int kit_result(Kit *k, StoreRequest *r) {
        int error = kit_run(k, r)->error;

        store_request_free(r);
        return error;
}

static _unused_ void kit_on_counted(StoreRequest *r) {
        Kit *k = r->userdata;

        k->done++;
        k->last_error = r->error;
        store_request_free(r);
}

/* Submits without waiting. */
static _unused_ void kit_submit(Kit *k, StoreRequest *r) {
        r->done = kit_on_counted;
        r->userdata = k;
        store_submit(k->store, r);
}

static _unused_ StoreRequest *kit_request(StoreOp op) {
        StoreRequest *r = store_request_new(op, NULL, NULL);

        ck_assert_ptr_nonnull(r);
        return r;
}

/* Bytes that belong to an id, and to no other. */
static _unused_ Blob *kit_blob(uint64_t id, size_t size) {
        Blob *b = blob_new(size);

        ck_assert_ptr_nonnull(b);
        for (size_t i = 0; i < size; i++)
                b->data[i] = (uint8_t) (id * 31 + i / 7);
        return b;
}

/* The same without any order in them: nothing makes them smaller. */
static _unused_ Blob *kit_noise(uint64_t id, size_t size) {
        Blob *b = blob_new(size);
        uint64_t state = id * UINT64_C(0x9e3779b97f4a7c15) + 1;

        ck_assert_ptr_nonnull(b);
        for (size_t i = 0; i < size; i++) {
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                b->data[i] = (uint8_t) ((state * UINT64_C(0x2545f4914f6cdd1d)) >> 56);
        }
        return b;
}

static _unused_ void kit_same(const Blob *a, const Blob *b) {
        ck_assert_ptr_nonnull(a);
        ck_assert_uint_eq(a->size, b->size);
        ck_assert(a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

/* An ADD of a job that has everything. Takes the payload over. */
static _unused_ StoreRequest *kit_add(uint64_t id, Blob *payload) {
        StoreRequest *r = kit_request(STORE_OP_ADD);

        r->sync = true;
        r->record = (JobRecord) {
                .id = id, .durability = DURABLE_YES, .uid = 1000, .pool = strdup("p"), .method = strdup("m"), .session = strdup("s"),
                .trace = strdup("00-trace"), .kind = PAYLOAD_BYTES, .priority = -7, .attempts = 1, .retries = 3, .retry_usec = 5000,
                .accepted_usec = realtime_usec(), .deadline_usec = realtime_usec() + 3600 * USEC_PER_SEC, .timeout_usec = 77, .payload = payload,
        };
        return r;
}

/* An END. Takes the result over. */
static _unused_ StoreRequest *kit_end(uint64_t id, JobState state, Blob *result) {
        StoreRequest *r = kit_request(STORE_OP_END);

        r->sync = true;
        r->record = (JobRecord) {
                .id = id, .state = state, .attempts = 1, .worker = strdup("p/0"), .dispatched_usec = realtime_usec(), .finished_usec = realtime_usec(),
                .result_kind = PAYLOAD_BYTES, .result = result,
                .code = state == JOB_COMPLETED ? NULL : strdup("Code"), .error = state == JOB_COMPLETED ? NULL : strdup("an error"),
        };
        return r;
}

static _unused_ void kit_add_job(Kit *k, uint64_t id) {
        ck_assert_int_eq(kit_result(k, kit_add(id, kit_blob(id, 100))), 0);
}

static _unused_ void kit_end_job(Kit *k, uint64_t id, JobState state) {
        ck_assert_int_eq(kit_result(k, kit_end(id, state, kit_blob(id, 50))), 0);
}

static _unused_ StoreRequest *kit_get(Kit *k, uint64_t id, unsigned want) {
        StoreRequest *r = kit_request(STORE_OP_GET);

        r->id = id;
        r->want = want;
        return kit_run(k, r);
}

/* Past flowd, on a database that is closed. */
static _unused_ void kit_sql(const char *path, const char *text) {
        sqlite3 *db;
        char *wrong = NULL;

        ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
        ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &wrong) == SQLITE_OK, "%s", wrong);
        sqlite3_close(db);
}

static _unused_ int64_t kit_number(const char *path, const char *text) {
        sqlite3_stmt *st;
        sqlite3 *db;
        int64_t n;

        ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
        ck_assert_int_eq(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
        ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
        n = sqlite3_column_int64(st, 0);
        (void) sqlite3_finalize(st);
        sqlite3_close(db);
        return n;
}

static _unused_ void kit_stats(Kit *k, StoreStats *ret) {
        StoreRequest *r = kit_run(k, kit_request(STORE_OP_STATS));

        ck_assert_int_eq(r->error, 0);
        *ret = r->stats;
        store_request_free(r);
}
