/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The cache's storage: what a search and a result cost, without anything around them.
 *
 *      bench-cache --size=BYTES [--seconds=N] [--total=BYTES] [--compress] [--mmap] [--directory=DIR]
 *
 * A database in a temporary folder is filled with results of that size until it has --total= of them (64 MiB), in transactions of 64 as the
 * store's writer makes them under load (WAL, synchronous=NORMAL); then a second connection searches in random order. Without --compress
 * bodies stand as they are. Arguments are a JSON text of some 60 bytes; making the key is a part of a search.
 */

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/str.h"
#include "bench/bench.h"
#include "store/cache.h"

#define GROUP 64U
#define TOTAL_DEFAULT (64U << 20)
#define SIZE_MAX_BYTES (16U << 20)
#define SECONDS_DEFAULT 0.3
#define NOW UINT64_C(1800000000000000)
#define PRAGMAS "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" \
                "PRAGMA wal_autocheckpoint = 4000;" /* the store's own, when it is busy */

typedef struct Run {
        size_t size, total;
        double seconds;
        bool compress, mmap;
        const char *directory;
        char dir[256], path[300];
        sqlite3 *write, *read;
        CacheStatements *writer, *reader;
        Codec *codec;
        uint8_t *body;
        unsigned n; /* results */
        uint64_t random;
} Run;

typedef struct Times {
        uint32_t *ns;
        size_t n, room;
} Times;

static void times_add(Times *t, uint64_t ns) {
        if (t->n == t->room) {
                t->room = MAX(t->room * 2, (size_t) 4096);
                t->ns = reallocarray(t->ns, t->room, sizeof(uint32_t));
                if (!t->ns)
                        bench_die("out of memory");
        }
        t->ns[t->n++] = (uint32_t) MIN(ns, (uint64_t) UINT32_MAX);
}

static int compare_ns(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return x < y ? -1 : x > y;
}

/* Prints, and empties. */
static void times_report(Times *t, const char *name, const char *end) {
        qsort(t->ns, t->n, sizeof(uint32_t), compare_ns);
        printf("\"%s\":{\"p50\":%.3f,\"p99\":%.3f}%s", name, t->ns[t->n / 2] / 1e3, t->ns[t->n - 1 - t->n / 100] / 1e3, end);
        t->n = 0;
}

static void must(sqlite3 *sql, const char *text) {
        if (sqlite3_exec(sql, text, NULL, NULL, NULL) != SQLITE_OK)
                bench_die("%s: %s", text, sqlite3_errmsg(sql));
}

static void run_open(Run *run) {
        snprintf(run->dir, sizeof(run->dir), "%s/flow-bench-cache-XXXXXX", run->directory);
        if (!mkdtemp(run->dir))
                bench_die("%s: %m", run->dir);
        snprintf(run->path, sizeof(run->path), "%s/db", run->dir);
        if (sqlite3_open(run->path, &run->write) != SQLITE_OK)
                bench_die("%s: %s", run->path, sqlite3_errmsg(run->write));
        must(run->write, PRAGMAS);
        must(run->write, CACHE_SCHEMA);
        if (sqlite3_open_v2(run->path, &run->read, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
                bench_die("%s: %s", run->path, sqlite3_errmsg(run->read));
        must(run->read, run->mmap ? "PRAGMA mmap_size = 1073741824" : "PRAGMA cache_size = -8192; PRAGMA mmap_size = 0");
        if (cache_statements_prepare(run->write, true, &run->writer) < 0 || cache_statements_prepare(run->read, false, &run->reader) < 0)
                bench_die("prepare: %s", sqlite3_errmsg(run->write));
        if (codec_new(3, &run->codec) < 0)
                bench_die("out of memory");
}

static void run_close(Run *run) {
        static const char *const ends[] = { "", "-wal", "-shm" };
        char path[320];

        cache_statements_free(run->reader);
        cache_statements_free(run->writer);
        (void) sqlite3_close(run->read);
        (void) sqlite3_close(run->write);
        codec_free(run->codec);
        for (size_t i = 0; i < ELEMENTSOF(ends); i++) {
                snprintf(path, sizeof(path), "%s%s", run->path, ends[i]);
                (void) unlink(path);
        }
        (void) rmdir(run->dir);
        free(run->body);
}

static void make_key(unsigned i, CacheKey *ret) {
        char arguments[128];
        int n = snprintf(arguments, sizeof(arguments), "{ \"package\": \"number-%u\", \"range\": \">=1.0.0\", \"limit\": 20 }", i);

        if (cache_key("registry", "1", "view", NULL, PAYLOAD_JSON, arguments, (size_t) n, ret) < 0)
                bench_die("cache_key fails");
}

static uint64_t next_random(Run *run) {
        run->random ^= run->random << 13;
        run->random ^= run->random >> 7;
        run->random ^= run->random << 17;
        return run->random;
}

/* A body of this number: JSON-like, about as compressible as JSON is. */
static void make_body(Run *run, unsigned i) {
        static const char *const words[] = { "\"name\":", "\"version\":\"1.", "\"https://", ".example.org/", "},{", "\"description\":\"", "null,", "0," };
        size_t at = 0;

        run->random = UINT64_C(0x9e3779b97f4a7c15) ^ i;
        while (at < run->size) {
                uint64_t r = next_random(run);
                char piece[48];
                int n = snprintf(piece, sizeof(piece), "%s%llx", words[r % ELEMENTSOF(words)], (unsigned long long) (r >> 40));
                size_t size = MIN((size_t) n, run->size - at);

                memcpy(run->body + at, piece, size);
                at += size;
        }
}

/* Microseconds of its share of a transaction are a result's time; keys and bodies are made outside of it. */
static void put_all(Run *run, Times *t) {
        uint64_t group = 0;

        for (unsigned i = 0; i < run->n; i++) {
                CacheItem item = { .method = (char *) "view", .worker_type = (char *) "registry", .kind = PAYLOAD_JSON, .created_usec = NOW,
                                   .expires_usec = NOW + USEC_PER_SEC };

                make_key(i, &item.key);
                make_body(run, i);
                uint64_t begin = bench_now();
                if (i % GROUP == 0)
                        must(run->write, "BEGIN IMMEDIATE");
                int r = cache_put(run->writer, run->codec, &item, run->body, run->size, run->compress ? 0 : UINT64_MAX, UINT32_MAX);
                if (r < 0)
                        bench_die("cache_put: %s", strerror(-r));
                if (i % GROUP == GROUP - 1 || i == run->n - 1)
                        must(run->write, "COMMIT");
                group += bench_now() - begin;
                if (i % GROUP == GROUP - 1) {
                        times_add(t, group / GROUP);
                        group = 0;
                }
        }
}

static void search(Run *run, Times *t, bool hit) {
        uint64_t end = bench_now() + (uint64_t) (run->seconds * 1e9), begin;

        do {
                unsigned i = (unsigned) (next_random(run) % run->n) + (hit ? 0 : run->n);
                CacheItem item = {};

                begin = bench_now();
                make_key(i, &item.key);
                int r = cache_get(run->reader, run->codec, NOW, &item);
                if (r != (hit ? CACHE_FRESH : CACHE_MISS) || blob_size(item.body) != (hit ? run->size : 0))
                        bench_die("a search gives %d, which is wrong", r);
                free(item.method);
                free(item.worker_type);
                blob_unref(item.body);
                times_add(t, bench_now() - begin);
        } while (begin < end);
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "size", required_argument, NULL, 's' },
                { "seconds", required_argument, NULL, 't' },
                { "total", required_argument, NULL, 'T' },
                { "compress", no_argument, NULL, 'c' },
                { "mmap", no_argument, NULL, 'm' },
                { "directory", required_argument, NULL, 'd' },
                {},
        };
        const char *tmp = getenv("TMPDIR");
        Run run = { .total = TOTAL_DEFAULT, .seconds = SECONDS_DEFAULT, .directory = tmp ? tmp : "/tmp" };
        uint64_t n;
        Times t = {};
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 's':
                        run.size = size_parse(optarg, &n) >= 0 && n <= SIZE_MAX_BYTES ? (size_t) n : 0;
                        break;
                case 't':
                        run.seconds = strtod(optarg, NULL);
                        break;
                case 'T':
                        run.total = size_parse(optarg, &n) >= 0 && n <= UINT32_MAX / 2 ? (size_t) n : 0;
                        break;
                case 'c':
                        run.compress = true;
                        break;
                case 'm':
                        run.mmap = true;
                        break;
                case 'd':
                        run.directory = optarg;
                        break;
                default:
                        return 2;
                }
        if (optind < argc || run.size == 0 || run.total < run.size * GROUP || run.seconds <= 0)
                bench_die("usage: bench-cache --size=BYTES [--seconds=N] [--total=BYTES] [--compress] [--mmap] [--directory=DIR]");
        run.n = (unsigned) (run.total / run.size);
        run.body = malloc(run.size);
        if (!run.body)
                bench_die("out of memory");
        run_open(&run);
        printf("{\"results\":%u,", run.n);
        put_all(&run, &t);
        times_report(&t, "put", ",");
        must(run.write, "PRAGMA wal_checkpoint(PASSIVE)");
        search(&run, &t, true); /* a warm-up */
        t.n = 0;
        search(&run, &t, true);
        times_report(&t, "hit", ",");
        search(&run, &t, false);
        times_report(&t, "miss", "}\n");
        free(t.ns);
        run_close(&run);
        return 0;
}
