/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A peer: a queue made of Redis lists, in memory, over its unix socket, with hiredis. Jobs go into one list and results
 * into another; workers and client block in BRPOP. Commands share a write wherever the protocol lets them: a worker sends
 * a result together with the demand for its next job (one job at a time, as in the other rows), the client sends all the
 * jobs that it may and the demand for answers together, and takes every answer that is there in one go (RPOP with a count).
 */

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/bench.h"

#define NAME_SIZE 32

static redisContext *connect_redis(const Bench *b) {
        redisContext *c;

        if (!b->socket)
                bench_die("--socket= is needed: where redis-server listens.");
        c = redisConnectUnix(b->socket);
        if (!c || c->err)
                bench_die("%s: %s", b->socket, c ? c->errstr : "out of memory");
        return c;
}

static redisReply *reply_get(redisContext *c) {
        redisReply *r = NULL;

        if (redisGetReply(c, (void **) &r) != REDIS_OK)
                bench_die("redis: %s", c->errstr);
        if (r->type == REDIS_REPLY_ERROR)
                bench_die("redis: %s", r->str);
        return r;
}

/* The answer to a BRPOP without timeout: the list's name and the element. */
static redisReply *reply_get_popped(redisContext *c) {
        redisReply *r = reply_get(c);

        if (r->type != REDIS_REPLY_ARRAY || r->elements != 2)
                bench_die("redis: BRPOP was answered by something else.");
        return r;
}

_noreturn_ static void worker_run(const Bench *b, const char *jobs, const char *results) {
        redisContext *c = connect_redis(b);

        redisAppendCommand(c, "BRPOP %s 0", jobs);
        for (;;) {
                redisReply *r = reply_get_popped(c);

                redisAppendCommand(c, "LPUSH %s %b", results, r->element[1]->str, (size_t) r->element[1]->len);
                redisAppendCommand(c, "BRPOP %s 0", jobs);
                freeReplyObject(r);
                freeReplyObject(reply_get(c));
        }
}

static void client_submit(Bench *b, redisContext *c, const char *jobs, uint8_t *payloads, const char **args, size_t *sizes) {
        uint64_t now = bench_now();
        int n = 2;

        args[0] = "LPUSH";
        sizes[0] = 5;
        args[1] = jobs;
        sizes[1] = strlen(jobs);
        for (; bench_can_submit(b); n++) {
                uint8_t *p = payloads + (size_t) (n - 2) * b->size;

                bench_submit(b, p, now);
                args[n] = (const char *) p;
                sizes[n] = b->size;
        }
        if (n > 2)
                redisAppendCommandArgv(c, n, args, sizes);
}

static void client_collect(Bench *b, redisContext *c, bool submitted) {
        redisReply *r;

        if (submitted)
                freeReplyObject(reply_get(c));
        r = reply_get_popped(c);
        bench_complete(b, r->element[1]->str, (size_t) r->element[1]->len, bench_now());
        freeReplyObject(r);
        if (b->window == 1)
                return;
        r = reply_get(c);
        uint64_t now = bench_now();
        for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements; i++)
                bench_complete(b, r->element[i]->str, (size_t) r->element[i]->len, now);
        freeReplyObject(r);
}

static void client_run(Bench *b, redisContext *c, const char *jobs, const char *results) {
        _cleanup_free_ uint8_t *payloads = malloc(b->size * b->window);
        _cleanup_free_ const char **args = new0(const char *, b->window + 2);
        _cleanup_free_ size_t *sizes = new0(size_t, b->window + 2);

        if (!payloads || !args || !sizes)
                bench_die("out of memory.");
        bench_start(b);
        for (bool running = true; running || bench_outstanding(b) > 0; running = bench_running(b, bench_now())) {
                bool submitted = running && bench_can_submit(b);

                if (submitted)
                        client_submit(b, c, jobs, payloads, args, sizes);
                redisAppendCommand(c, "BRPOP %s 0", results);
                if (b->window > 1)
                        redisAppendCommand(c, "RPOP %s %u", results, b->window);
                client_collect(b, c, submitted);
        }
}

int main(int argc, char *argv[]) {
        char jobs[NAME_SIZE], results[NAME_SIZE];
        Bench b;

        bench_init(&b, argc, argv);
        snprintf(jobs, sizeof(jobs), "jobs-%d", (int) getpid());
        snprintf(results, sizeof(results), "results-%d", (int) getpid());
        for (unsigned i = 0; i < b.workers; i++)
                if (bench_fork() == 0)
                        worker_run(&b, jobs, results);
        redisContext *c = connect_redis(&b);
        client_run(&b, c, jobs, results);
        bench_report(&b);
        redisFree(c);
        return EXIT_SUCCESS;
}
