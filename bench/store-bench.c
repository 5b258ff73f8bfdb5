/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The durable store by itself, beside the least that an answer after the commit can cost: bench-store OPTIONS MODE DIRECTORY [FILE].
 *
 *   append  4 KiB appended to a file, then fdatasync(): the floor, one at a time
 *   sqlite  SQLite with its defaults, WAL and synchronous=FULL: a row with the payload each; --window= of them are a transaction
 *   add     the store: --window= submitters, each of which waits for its ADD before the next
 *   life    the same, and each job is ended, with a result as large as the payload, before its submitter goes on
 *
 * And for what measures flowd:
 *
 *   fill    --jobs= ended jobs, a millisecond apart until now, then --queued= that are to begin in a month. Pool "echo"; of 100 methods and 1000 sessions
 *           ("m0", "s0" and so on) a job has the one of its number's remainder; one in 100 has failed. Nothing is measured
 *   verify  whether the jobs whose ids stand in a FILE, a line each, have not ended, and have the payload that bench-durable gave them
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

                if (b->window > 1)
                        sql_or_die(db, sqlite3_exec(db, "BEGIN", NULL, NULL, NULL));
                for (unsigned i = 0; i < b->window; i++) {
                        (void) sqlite3_bind_int64(add, 1, ++id);
                        (void) sqlite3_bind_blob(add, 2, b->pattern, (int) b->size, SQLITE_STATIC);
                        if (sqlite3_step(add) != SQLITE_DONE)
                                bench_die("SQLite: %s.", sqlite3_errmsg(db));
                        (void) sqlite3_reset(add);
                }
                if (b->window > 1)
                        sql_or_die(db, sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
                now = bench_now();
                for (unsigned i = 0; i < b->window; i++)
                        bench_sample(b, begin, now);
        }
        (void) sqlite3_finalize(add);
        sqlite3_stmt *count = NULL;
        sql_or_die(db, sqlite3_prepare_v2(db, "SELECT count(*), count(DISTINCT payload) FROM jobs", -1, &count, NULL));
        if (sqlite3_step(count) != SQLITE_ROW || sqlite3_column_int64(count, 0) != id || sqlite3_column_int64(count, 1) != 1)
                bench_die("not all rows are there.");
        (void) sqlite3_finalize(count);
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

static void open_store(const char *directory, sd_event **ret_event, HotSet *hot) {
        StoreConfig config = {
                .directory = directory, .compress_min = 512, .compress_level = 3, .max_age_usec = USEC_INFINITY, .max_jobs = UINT64_MAX,
                .max_bytes = 64ULL << 30, .key_usec = 86400 * USEC_PER_SEC,
        };

        if (sd_event_new(ret_event) < 0 || hot_init(hot, *ret_event, 0) < 0 || store_open(&config, hot, NULL, NULL, NULL, &store) < 0)
                bench_die("cannot open a store.");
        if (store_health(store) != STORE_OK)
                bench_die("the store does not work: %s.", strna(store_why(store)));
}

static void close_store(sd_event *event, HotSet *hot) {
        store = store_close(store);
        hot_done(hot);
        sd_event_unref(event);
}

static void run_until_done(sd_event *event) {
        while (running > 0)
                if (sd_event_run(event, UINT64_MAX) < 0)
                        bench_die("the loop failed.");
}

static void through_store(Bench *b, const char *directory) {
        sd_event *event;
        HotSet hot;

        open_store(directory, &event, &hot);
        if (store_load(store, no_job, NULL) < 0)
                bench_die("the store cannot be read.");
        next_id = job_id_at(realtime_usec());
        bench_start(b);
        for (unsigned i = 0; i < b->window; i++)
                submit(&submitters[i]);
        run_until_done(event);
        close_store(event, &hot);
}

/* ---------------------------------------------------------------------------------------------------------------- fill */

#define FILL_WINDOW 4096U
#define FILL_METHODS 100U
#define FILL_SESSIONS 1000U
#define FILL_FAILED 100U /* one in so many */

static struct {
        uint64_t jobs, all, next, begin_usec;
} filling;

static void fill_next(void);

static void on_filled(StoreRequest *r) {
        uint64_t id = r->record.id, i = id > 0 ? (r->record.accepted_usec - filling.begin_usec) / USEC_PER_MSEC : 0;
        uint64_t accepted = r->record.accepted_usec;

        if (r->error < 0)
                bench_die("a request failed: %s (%s).", strerror(-r->error), strna(r->text));
        bool ends = r->op == STORE_OP_ADD && i < filling.jobs;
        store_request_free(r);
        running--;
        if (!ends) {
                fill_next();
                return;
        }
        r = store_request_new(STORE_OP_END, on_filled, NULL);
        if (!r)
                bench_die("out of memory.");
        bool fails = i % FILL_FAILED == 0;
        r->record = (JobRecord) {
                .id = id, .state = fails ? JOB_FAILED : JOB_COMPLETED, .attempts = 1, .worker = strdup("echo/0"), .accepted_usec = accepted,
                .dispatched_usec = accepted, .finished_usec = accepted + USEC_PER_MSEC, .result_kind = PAYLOAD_BYTES,
                .code = fails ? strdup("Failed") : NULL, .result = fails ? NULL : blob_new_copy(bench.pattern, bench.size),
        };
        running++;
        store_submit(store, r);
}

static void fill_next(void) {
        StoreRequest *r;
        uint64_t i, at;

        if (filling.next == filling.all)
                return;
        i = filling.next++;
        at = filling.begin_usec + i * USEC_PER_MSEC;
        r = store_request_new(STORE_OP_ADD, on_filled, NULL);
        if (!r)
                bench_die("out of memory.");
        r->record = (JobRecord) {
                .id = job_id_at(at), .durability = DURABLE_YES, .uid = getuid(), .pool = strdup("echo"), .kind = PAYLOAD_BYTES, .attempts = 1,
                .method = str_printf("m%llu", (unsigned long long) (i % FILL_METHODS)), .retries = UINT32_MAX,
                .not_before_usec = i < filling.jobs ? 0 : realtime_usec() + 30 * 86400 * USEC_PER_SEC,
                .session = str_printf("s%llu", (unsigned long long) (i % FILL_SESSIONS)),
                .accepted_usec = at, .payload = blob_new_copy(bench.pattern, bench.size),
        };
        if (!r->record.method || !r->record.session || !r->record.payload)
                bench_die("out of memory.");
        running++;
        store_submit(store, r);
}

static void fill_store(const char *directory) {
        sd_event *event;
        HotSet hot;

        open_store(directory, &event, &hot);
        if (store_load(store, no_job, NULL) < 0)
                bench_die("the store cannot be read.");
        filling.jobs = bench.jobs;
        filling.all = bench.jobs + bench.queued;
        filling.begin_usec = realtime_usec() - (filling.all + 1) * USEC_PER_MSEC;
        for (unsigned i = 0; i < FILL_WINDOW; i++)
                fill_next();
        run_until_done(event);
        close_store(event, &hot);
        printf("{\"begin_usec\":%llu,\"step_usec\":%llu}\n", (unsigned long long) filling.begin_usec, USEC_PER_MSEC);
}

/* -------------------------------------------------------------------------------------------------------------- verify */

static struct {
        uint64_t *ids;
        size_t n, found;
} wanted;

static int compare_ids(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

static int check_job(JobRecord *r, void *userdata) {
        const Bench *b = userdata;
        const uint8_t *data;

        if (!bsearch(&r->id, wanted.ids, wanted.n, sizeof(uint64_t), compare_ids))
                return 0; /* its answer did not come any more */
        if (r->durability != DURABLE_YES || blob_size(r->payload) != b->size || blob_data(r->payload, &data) < 0 ||
            memcmp(data + BENCH_TAG_SIZE, b->pattern + BENCH_TAG_SIZE, b->size - BENCH_TAG_SIZE) != 0)
                bench_die("a job is not what was submitted.");
        wanted.found++;
        return 0;
}

static void verify(Bench *b, const char *directory, const char *path) {
        _cleanup_free_ char *text = NULL;
        char *save = NULL;
        size_t size;
        sd_event *event;
        HotSet hot;
        int r = file_read(AT_FDCWD, path, 1U << 30, &text, &size);

        if (r < 0)
                bench_die("%s: %s.", path, strerror(-r));
        wanted.ids = new0(uint64_t, size / 2 + 1);
        if (!wanted.ids)
                bench_die("out of memory.");
        for (char *id = strtok_r(text, "\n", &save); id; id = strtok_r(NULL, "\n", &save))
                if (job_id_parse(id, &wanted.ids[wanted.n++]) < 0)
                        bench_die("%s: \"%s\" is no id.", path, id);
        qsort(wanted.ids, wanted.n, sizeof(uint64_t), compare_ids);
        open_store(directory, &event, &hot);
        if (store_load(store, check_job, b) < 0)
                bench_die("the store cannot be read.");
        close_store(event, &hot);
        if (wanted.found != wanted.n || wanted.n == 0)
                bench_die("of %zu jobs that were accepted, %zu are there.", wanted.n, wanted.found);
        free(wanted.ids);
        printf("{\"jobs\":%zu}\n", wanted.n);
}

int main(int argc, char *argv[]) {
        Bench *b = &bench;

        bench_init(b, argc, argv);
        if (!b->rest || !b->rest[0] || !b->rest[1])
                bench_die("usage: bench-store [--window=N] [--size=BYTES] [--seconds=S] append|sqlite|add|life DIRECTORY\n"
                          "       bench-store [--size=BYTES] [--jobs=N] [--queued=N] fill DIRECTORY\n"
                          "       bench-store [--size=BYTES] verify DIRECTORY FILE");
        if (streq(b->rest[0], "verify") && b->rest[2]) {
                verify(b, b->rest[1], b->rest[2]);
                return EXIT_SUCCESS;
        }
        fill(b);
        if (streq(b->rest[0], "fill")) {
                fill_store(b->rest[1]);
                return EXIT_SUCCESS;
        }
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
