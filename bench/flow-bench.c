/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * flowd's row: a client of its jobs socket, as anybody would write it with libflow. The window is filled, one event is
 * taken, and so on: what is batched into which read and write is the library's affair and flowd's. Payloads are not
 * prepared beforehand: a large one is written into a memfd by the library for each job.
 *
 * With --rate= jobs are due at times that lie evenly, whatever became of those before, and a job's time counts from when it was due: a server
 * that stands still for a while cannot hide it by getting fewer jobs meanwhile. With --durable the jobs are.
 */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>

#include "bench/bench.h"
#include "flow/client.h"

static void submit(Bench *b, FlowClient *c, uint8_t *payload, uint64_t now) {
        bench_submit(b, payload, now);
        int r = flow_client_submit(c, &(FlowRequest) { .pool = b->pool, .data = payload, .size = b->size, .durable = b->durable ? 2 : 0 }, NULL);
        if (r < 0)
                bench_die("cannot submit: %s", flow_client_error(c));
}

static void wait_until(uint64_t ns) {
        struct timespec ts = { .tv_sec = (time_t) (ns / 1000000000U), .tv_nsec = (long) (ns % 1000000000U) };

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
                ;
}

/* By the nanosecond, where the library waits by the millisecond. */
static void wait_for_events(FlowClient *c, uint64_t ns) {
        struct pollfd p = { .fd = flow_client_fd(c), .events = flow_client_events(c) };
        struct timespec ts = { .tv_sec = (time_t) (ns / 1000000000U), .tv_nsec = (long) (ns % 1000000000U) };

        if (ppoll(&p, 1, &ts, NULL) < 0 && errno != EINTR)
                bench_die("poll: %m");
        if (flow_client_process(c) < 0)
                bench_die("%s", flow_client_error(c));
}

int main(int argc, char *argv[]) {
        char *error = NULL;
        FlowClient *c;
        Bench b;

        bench_init(&b, argc, argv);
        if (!b.pool)
                bench_die("--pool= is needed.");
        _cleanup_free_ uint8_t *payload = malloc(b.size);
        if (!payload)
                bench_die("out of memory.");
        if (flow_client_open(b.socket, &c, &error) < 0) /* --socket= is the runtime directory here */
                bench_die("%s", error ? error : "out of memory");

        (void) prctl(PR_SET_TIMERSLACK, 1UL); /* 50 µs else, as long as a job takes */
        bench_start(&b);
        uint64_t step = b.rate > 0 ? (uint64_t) (1e9 / b.rate) : 0, due = bench_now();
        for (uint64_t now = due; bench_running(&b, now) || bench_outstanding(&b) > 0;) {
                const FlowEvent *e;
                int r;

                while (bench_running(&b, now) && bench_can_submit(&b) && (step == 0 || due <= now)) {
                        submit(&b, c, payload, step > 0 ? due : now);
                        due += step;
                }
                if (bench_outstanding(&b) == 0) {
                        if (step > 0)
                                wait_until(due);
                        now = bench_now();
                        continue;
                }
                bool paced = step > 0 && bench_running(&b, now) && bench_can_submit(&b);
                r = flow_client_next(c, paced ? 0 : -1, &e);
                now = bench_now();
                if (r == 0 && paced) {
                        wait_for_events(c, due > now ? due - now : 0);
                        now = bench_now();
                        continue;
                }
                if (r != 1)
                        bench_die("%s", flow_client_error(c));
                if (e->type != FLOW_EVENT_RESULT)
                        continue;
                if (e->result.status != FLOW_COMPLETED)
                        bench_die("a job was %s: %s", flow_status_to_string(e->result.status),
                                  e->result.error ? e->result.error : "no reason given");
                bench_complete(&b, e->result.data, e->result.size, now);
        }
        bench_report(&b);
        flow_client_close(c);
        return EXIT_SUCCESS;
}
