/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The durable store by itself, beside the least that an answer after the commit can cost: bench-store OPTIONS MODE DIRECTORY.
 *
 *   append  4 KiB appended to a file, then fdatasync(): the floor, one at a time
 *   sqlite  SQLite with its defaults, WAL and synchronous=FULL: a row with the payload in a transaction of its own, one at a time
 *   add     the store: --window= submitters, each of which waits for its ADD before the next
 *   life    the same, and each job is ended, with a result as large as the payload, before its submitter goes on
 */

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "bench/bench.h"
#include "store/store.h"

#define APPEND_SIZE 4096U

static Bench bench;

/* What compression cannot make smaller, so that sizes are what they say. */
static void fill(Bench *b) {
        uint64_t state = 1;

        for (size_t i = 0; i < b->size; i++) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                b->pattern[i] = (uint8_t) (state >> 32);
        }
}

static void append(Bench *b, const char *directory) {
        _cleanup_free_ char *path = str_printf("%s/append", directory);
        static uint8_t block[APPEND_SIZE];
        int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600) : -1;

        if (fd < 0)
                bench_die("cannot make a file in %s: %m.", directory);
        memset(block, 'x', sizeof(block));
        bench_start(b);
        for (uint64_t now = bench_now(); bench_running(b, now);) {
                uint64_t begin = now;

                if (write(fd, block, sizeof(block)) != sizeof(block) || fdatasync(fd) < 0)
                        bench_die("cannot write: %m.");
                now = bench_now();
                bench_sample(b, begin, now);
        }
        close(fd);
}

static void sql_or_die(sqlite3 *db, int code) {
        if (code != SQLITE_OK)
                bench_die("SQLite: %s.", sqlite3_errmsg(db));
}

static void plain(Bench *b, const char *directory) {
        _cleanup_free_ char *path = str_printf("%s/plain.db", directory);
        sqlite3_stmt *add = NULL;
        sqlite3 *db = NULL;
        int64_t id = 0;

        if (!path || sqlite3_open(path, &db) != SQLITE_OK)
                bench_die("cannot make a database in %s.", directory);
        sql_or_die(db, sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                                        "CREATE TABLE jobs (id INTEGER PRIMARY KEY, pool TEXT, state INTEGER, payload BLOB)", NULL, NULL, NULL));
        sql_or_die(db, sqlite3_prepare_v2(db, "INSERT INTO jobs VALUES (?, 'p', 0, ?)", -1, &add, NULL));
        bench_start(b);
        for (uint64_t now = bench_now(); bench_running(b, now);) {
                uint64_t begin = now;

                (void) sqlite3_bind_int64(add, 1, ++id);
                (void) sqlite3_bind_blob(add, 2, b->pattern, (int) b->size, SQLITE_STATIC);
                if (sqlite3_step(add) != SQLITE_DONE)
                        bench_die("SQLite: %s.", sqlite3_errmsg(db));
                (void) sqlite3_reset(add);
                now = bench_now();
                bench_sample(b, begin, now);
        }
        (void) sqlite3_finalize(add);
        (void) sqlite3_close(db);
}

typedef struct Submitter {
        uint64_t begin, id;
} Submitter;

static Store *store;
static Submitter submitters[BENCH_WINDOW_MAX];
static uint64_t next_id;
static unsigned running;
static bool whole_life;

static void submit(Submitter *s);

static void on_end(StoreRequest *r) {
        Submitter *s = r->userdata;
        uint64_t now = bench_now();

        if (r->error < 0)
                bench_die("a request failed: %s (%s).", strerror(-r->error), strna(r->text));
        store_request_free(r);
        bench_sample(&bench, s->begin, now);
        running--;
        if (bench_running(&bench, now))
                submit(s);
}

static void on_add(StoreRequest *r) {
        Submitter *s = r->userdata;

        if (r->error < 0 || !whole_life) {
                on_end(r);
                return;
        }
        store_request_free(r);
        r = store_request_new(STORE_OP_END, on_end, s);
        if (!r)
                bench_die("out of memory.");
        r->sync = true;
        r->record = (JobRecord) {
                .id = s->id, .state = JOB_COMPLETED, .attempts = 1, .worker = strdup("p/0"), .dispatched_usec = realtime_usec(),
                .finished_usec = realtime_usec(), .result_kind = PAYLOAD_BYTES, .result = blob_new_copy(bench.pattern, bench.size),
        };
        store_submit(store, r);
}

static void submit(Submitter *s) {
        StoreRequest *r = store_request_new(STORE_OP_ADD, on_add, s);

        if (!r)
                bench_die("out of memory.");
        s->begin = bench_now();
        s->id = ++next_id;
        running++;
        r->sync = true;
        r->record = (JobRecord) {
                .id = s->id, .durability = DURABLE_YES, .uid = getuid(), .pool = strdup("p"), .method = strdup("method"), .kind = PAYLOAD_BYTES,
                .attempts = 1, .accepted_usec = realtime_usec(), .payload = blob_new_copy(bench.pattern, bench.size),
        };
        store_submit(store, r);
}

static int no_job(JobRecord *r, void *userdata) {
        bench_die("the directory is not empty.");
}

static void through_store(Bench *b, const char *directory) {
        StoreConfig config = {
                .directory = directory, .compress_min = 512, .compress_level = 3, .max_age_usec = USEC_INFINITY, .max_jobs = 1000000,
                .max_bytes = 4ULL << 30, .key_usec = 86400 * USEC_PER_SEC,
        };
        sd_event *event = NULL;
        HotSet hot;

        if (sd_event_new(&event) < 0 || hot_init(&hot, event, 0) < 0 || store_open(&config, &hot, NULL, NULL, NULL, &store) < 0)
                bench_die("cannot open a store.");
        if (store_health(store) != STORE_OK || store_load(store, no_job, NULL) < 0)
                bench_die("the store does not work: %s.", strna(store_why(store)));
        next_id = job_id_at(realtime_usec());
        bench_start(b);
        for (unsigned i = 0; i < b->window; i++)
                submit(&submitters[i]);
        while (running > 0)
                if (sd_event_run(event, UINT64_MAX) < 0)
                        bench_die("the loop failed.");
        store = store_close(store);
        hot_done(&hot);
        sd_event_unref(event);
}

int main(int argc, char *argv[]) {
        Bench *b = &bench;

        bench_init(b, argc, argv);
        if (!b->rest || !b->rest[0] || !b->rest[1])
                bench_die("usage: bench-store [--window=N] [--size=BYTES] [--seconds=S] append|sqlite|add|life DIRECTORY");
        fill(b);
        whole_life = streq(b->rest[0], "life");
        if (streq(b->rest[0], "append"))
                append(b, b->rest[1]);
        else if (streq(b->rest[0], "sqlite"))
                plain(b, b->rest[1]);
        else if (whole_life || streq(b->rest[0], "add"))
                through_store(b, b->rest[1]);
        else
                bench_die("there is no mode \"%s\".", b->rest[0]);
        bench_report(b);
        return EXIT_SUCCESS;
}
