/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Gives each payload back: the worker of tests and benchmarks, and a way to see what flowd itself costs. Answers to jobs that
 * came together leave together, and a payload in a memfd is passed on unread.
 *
 * With --delay= each job is answered so long after it came, as if something slow were done meanwhile; since all wait equally
 * long, a list in order of arrival is all that it takes.
 */

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>

#include "basic/list.h"
#include "basic/str.h"
#include "flow/worker.h"

#define SLOTS_MAX 1024U
#define SIZE_MAX_BYTES (64ULL * 1024 * 1024)

typedef struct Delayed {
        List link;
        FlowJob *job;
        uint64_t due;
} Delayed;

typedef struct Echo {
        uint64_t delay_usec;
        char *filler; /* with --size=: the result, in place of the payload */
        uint64_t size;
        List delayed;
} Echo;

static int answer(const Echo *echo, FlowJob *job) {
        size_t size;
        const void *data = flow_job_data(job, &size);

        if (echo->filler)
                return flow_job_complete(job, FLOW_BYTES, echo->filler, echo->size);
        return flow_job_complete(job, flow_job_kind(job), data, size);
}

static int handle(FlowJob *job, void *userdata) {
        Echo *echo = userdata;

        if (echo->delay_usec == 0)
                return answer(echo, job);

        Delayed *d = new0(Delayed, 1);
        if (!d)
                return -ENOMEM;
        d->job = job;
        d->due = now_usec() + echo->delay_usec;
        list_append(&echo->delayed, &d->link);
        flow_job_set_userdata(job, d);
        return FLOW_LATER;
}

static void delayed_end(Delayed *d) {
        list_remove(&d->link);
        free(d);
}

static void cancelled(FlowJob *job, void *userdata _unused_) {
        delayed_end(flow_job_userdata(job));
        (void) flow_job_fail(job, "Cancelled", false);
}

/* Answers what is due. Returns milliseconds until the next is, -1 when none waits. */
static int answer_due(Echo *echo) {
        Delayed *d;

        while ((d = list_first_entry(&echo->delayed, Delayed, link))) {
                uint64_t now = now_usec();
                FlowJob *job = d->job;

                if (d->due > now)
                        return (int) MIN((d->due - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC, (uint64_t) INT32_MAX);
                delayed_end(d);
                if (answer(echo, job) < 0)
                        (void) flow_job_fail(job, "The worker cannot answer: out of memory", true);
        }
        return -1;
}

static int run_delayed(Echo *echo, const FlowWorkerOptions *options) {
        FlowWorker *w;
        Delayed *d;
        int r;

        r = flow_worker_new(handle, echo, options, &w);
        if (r < 0) {
                fprintf(stderr, "flow-worker-echo: cannot talk to flowd over stdin: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }
        while ((r = flow_worker_process(w)) > 0) {
                struct pollfd p = { .fd = flow_worker_fd(w), .events = POLLIN };

                (void) poll(&p, 1, answer_due(echo));
        }
        flow_worker_free(w);
        while ((d = list_first_entry(&echo->delayed, Delayed, link)))
                delayed_end(d);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int usage(FILE *to) {
        fputs("flow-worker-echo [OPTION...]\n\n"
              "A worker for flowd that gives each payload back. flowd starts it, from a worker type with Protocol=frame.\n\n"
              "     --delay=TIME   answer so long after a job came, such as 20ms\n"
              "     --slots=N      take N jobs at a time (1)\n"
              "     --size=BYTES   answer with so many bytes in place of the payload, such as 64K\n"
              "  -h --help         show this\n", to);
        return to == stderr ? 2 : EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        enum { OPTION_DELAY = 256, OPTION_SLOTS, OPTION_SIZE };
        static const struct option options[] = {
                { "delay", required_argument, NULL, OPTION_DELAY },
                { "slots", required_argument, NULL, OPTION_SLOTS },
                { "size", required_argument, NULL, OPTION_SIZE },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        FlowWorkerOptions o = { .slots = 1, .batch = true, .cancelled = cancelled };
        Echo echo = {};
        uint64_t n;
        int c;

        list_init(&echo.delayed);
        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case OPTION_DELAY:
                        if (usec_parse(optarg, &echo.delay_usec) < 0 || echo.delay_usec == USEC_INFINITY)
                                return usage(stderr);
                        break;
                case OPTION_SLOTS:
                        if (u64_parse(optarg, 1, SLOTS_MAX, &n) < 0)
                                return usage(stderr);
                        o.slots = (unsigned) n;
                        break;
                case OPTION_SIZE:
                        free(echo.filler);
                        if (size_parse(optarg, &echo.size) < 0 || echo.size > SIZE_MAX_BYTES || !(echo.filler = malloc(echo.size + 1)))
                                return usage(stderr);
                        memset(echo.filler, 'x', echo.size);
                        break;
                case 'h':
                        return usage(stdout);
                default:
                        return usage(stderr);
                }
        if (optind < argc)
                return usage(stderr);

        int r = echo.delay_usec == 0 ? flow_worker_run(handle, &echo, &o) : run_delayed(&echo, &o);
        free(echo.filler);
        return r;
}
