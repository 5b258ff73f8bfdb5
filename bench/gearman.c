/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A peer: gearmand, with workers and a client in C on its own library, foreground jobs. One job outstanding is
 * gearman_client_do(). More are sets of --window= tasks given to gearman_client_run_tasks(), which is all the concurrency
 * that the library offers on one connection: the set ends before the next one begins.
 */

#include <libgearman/gearman.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/bench.h"

#define HOST "127.0.0.1"

static void *echo(gearman_job_st *job, void *context _unused_, size_t *ret_size, gearman_return_t *ret) {
        size_t size = gearman_job_workload_size(job);
        void *copy = malloc(size); /* the library frees it */

        if (!copy) {
                *ret = GEARMAN_WORK_FAIL;
                return NULL;
        }
        memcpy(copy, gearman_job_workload(job), size);
        *ret_size = size;
        *ret = GEARMAN_SUCCESS;
        return copy;
}

_noreturn_ static void worker_run(const Bench *b, const char *function, int ready) {
        gearman_worker_st *w = gearman_worker_create(NULL);

        if (!w || gearman_failed(gearman_worker_add_server(w, HOST, (in_port_t) b->port)) ||
            gearman_failed(gearman_worker_add_function(w, function, 0, echo, NULL)))
                bench_die("cannot set up a gearman worker: %s", w ? gearman_worker_error(w) : "out of memory");
        if (write(ready, "", 1) != 1)
                bench_die("write: %m");
        for (;;)
                if (gearman_failed(gearman_worker_work(w)))
                        bench_die("gearman worker: %s", gearman_worker_error(w));
}

static gearman_return_t completed(gearman_task_st *task) {
        bench_complete(gearman_task_context(task), gearman_task_data(task), gearman_task_data_size(task), bench_now());
        return GEARMAN_SUCCESS;
}

static gearman_return_t failed(gearman_task_st *task) {
        bench_die("gearmand failed a job: %s", gearman_task_error(task));
}

static void run_one(Bench *b, gearman_client_st *c, const char *function, uint8_t *payload) {
        gearman_return_t ret;
        size_t size;

        bench_submit(b, payload, bench_now());
        void *result = gearman_client_do(c, function, NULL, payload, b->size, &size, &ret);
        if (gearman_failed(ret))
                bench_die("gearmand: %s", gearman_client_error(c));
        bench_complete(b, result, size, bench_now());
        free(result);
}

static void run_set(Bench *b, gearman_client_st *c, const char *function, uint8_t *payloads) {
        while (bench_can_submit(b)) {
                uint8_t *p = payloads + b->n_idle * b->size - b->size;
                char unique[24];
                gearman_return_t ret;

                snprintf(unique, sizeof(unique), "%llx", (unsigned long long) b->sequence);
                bench_submit(b, p, bench_now());
                if (!gearman_client_add_task(c, NULL, b, function, unique, p, b->size, &ret) || gearman_failed(ret))
                        bench_die("gearmand: %s", gearman_client_error(c));
        }
        if (gearman_failed(gearman_client_run_tasks(c)))
                bench_die("gearmand: %s", gearman_client_error(c));
        if (bench_outstanding(b) > 0)
                bench_die("gearmand left %u jobs without an answer.", bench_outstanding(b));
        gearman_client_task_free_all(c);
}

int main(int argc, char *argv[]) {
        char function[32], c;
        int ready[2];
        Bench b;

        bench_init(&b, argc, argv);
        bench_socketpair(ready);
        snprintf(function, sizeof(function), "echo-%d", (int) getpid());
        for (unsigned i = 0; i < b.workers; i++)
                if (bench_fork() == 0)
                        worker_run(&b, function, ready[1]);
        for (unsigned i = 0; i < b.workers; i++)
                if (read(ready[0], &c, 1) != 1)
                        bench_die("a gearman worker did not start.");

        _cleanup_free_ uint8_t *payloads = malloc(b.size * b.window);
        gearman_client_st *client = gearman_client_create(NULL);
        if (!payloads || !client)
                bench_die("out of memory.");
        if (gearman_failed(gearman_client_add_server(client, HOST, (in_port_t) b.port)))
                bench_die("gearmand: %s", gearman_client_error(client));
        gearman_client_set_complete_fn(client, completed);
        gearman_client_set_fail_fn(client, failed);

        bench_start(&b);
        while (bench_running(&b, bench_now()))
                if (b.window == 1)
                        run_one(&b, client, function, payloads);
                else
                        run_set(&b, client, function, payloads);
        bench_report(&b);
        gearman_client_free(client);
        return EXIT_SUCCESS;
}
