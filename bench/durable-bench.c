/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Submitters of detached jobs, through the whole daemon: bench-durable OPTIONS no|yes [FILE]. --window= is how many there are. Each has a
 * connection of its own, submits one job, and the next one when that was accepted, so that no submitter ever has more than one under way.
 * With "yes" the jobs are durable: then an answer means that the job is on the disk.
 *
 * The ids of all jobs that were accepted go to FILE, a line each, so that whoever has started this can look whether they are there. The same
 * id given twice ends it with words.
 */

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "bench/bench.h"
#include "flow/client.h"

#define DURABLE_ON_DISK 2U /* FlowRequest.durable */

typedef struct Submitter {
        FlowClient *client;
        uint64_t begin;
        bool waits;
} Submitter;

typedef struct Run {
        Bench bench;
        Submitter *submitters;
        struct pollfd *polls;
        unsigned durable, outstanding;
        uint8_t *payload;
        char (*ids)[FLOW_JOB_ID_SIZE];
        size_t n_ids, n_allocated;
} Run;

static void note_id(Run *run, const char *id) {
        if (run->n_ids == run->n_allocated) {
                run->n_allocated = MAX(run->n_allocated * 2, (size_t) 65536);
                run->ids = reallocarray(run->ids, run->n_allocated, sizeof(*run->ids));
                if (!run->ids)
                        bench_die("out of memory.");
        }
        if (!id || strlen(id) >= FLOW_JOB_ID_SIZE)
                bench_die("a job was accepted without an id.");
        strcpy(run->ids[run->n_ids++], id);
}

static void take(Run *run, Submitter *s) {
        const FlowEvent *e;
        int r;

        if (flow_client_process(s->client) < 0)
                bench_die("%s", flow_client_error(s->client));
        while ((r = flow_client_next(s->client, 0, &e)) == 1) {
                if (e->type == FLOW_EVENT_RESULT)
                        bench_die("a job was %s: %s", flow_status_to_string(e->result.status), e->result.error ? e->result.error : "no reason given");
                if (e->type != FLOW_EVENT_ACCEPTED || !s->waits)
                        bench_die("an answer belongs to no job that is outstanding.");
                note_id(run, e->job_id);
                bench_sample(&run->bench, s->begin, bench_now());
                s->waits = false;
                run->outstanding--;
        }
        if (r < 0)
                bench_die("%s", flow_client_error(s->client));
}

static void submit(Run *run, Submitter *s, uint64_t now) {
        FlowRequest request = {
                .pool = run->bench.pool, .data = run->payload, .size = run->bench.size, .detached = true, .durable = run->durable,
        };

        (void) bench_submit(&run->bench, run->payload, now);
        s->begin = now;
        s->waits = true;
        run->outstanding++;
        if (flow_client_submit(s->client, &request, NULL) < 0)
                bench_die("cannot submit: %s", flow_client_error(s->client));
        take(run, s); /* sends; and what has come meanwhile would wait in the library, where poll() does not see it */
}

static void run_all(Run *run) {
        Bench *b = &run->bench;

        bench_start(b);
        for (uint64_t now = bench_now(); bench_running(b, now) || run->outstanding > 0; now = bench_now()) {
                for (unsigned i = 0; i < b->window; i++) {
                        Submitter *s = &run->submitters[i];

                        while (!s->waits && bench_running(b, now)) {
                                b->idle[0] = i; /* the place in the window is the submitter's own */
                                b->n_idle = 1;
                                now = bench_now();
                                submit(run, s, now);
                        }
                        run->polls[i] = (struct pollfd) { .fd = flow_client_fd(s->client), .events = flow_client_events(s->client) };
                }
                if (run->outstanding > 0 && poll(run->polls, b->window, -1) < 0)
                        bench_die("poll: %m");
                for (unsigned i = 0; i < b->window; i++)
                        if (run->polls[i].revents)
                                take(run, &run->submitters[i]);
        }
}

static int compare_ids(const void *a, const void *b) {
        return strcmp(a, b);
}

static void write_ids(Run *run, const char *path) {
        FILE *f = fopen(path, "we");

        if (!f)
                bench_die("%s: %m.", path);
        qsort(run->ids, run->n_ids, sizeof(*run->ids), compare_ids);
        for (size_t i = 0; i < run->n_ids; i++) {
                if (i > 0 && streq(run->ids[i], run->ids[i - 1]))
                        bench_die("the id %s was given twice.", run->ids[i]);
                fprintf(f, "%s\n", run->ids[i]);
        }
        if (ferror(f) || fclose(f) != 0)
                bench_die("cannot write %s.", path);
}

int main(int argc, char *argv[]) {
        char *error = NULL;
        Run run = {};
        Bench *b = &run.bench;

        bench_init(b, argc, argv);
        if (!b->pool || !b->rest || !b->rest[0] || (!streq(b->rest[0], "no") && !streq(b->rest[0], "yes")))
                bench_die("usage: bench-durable --socket=RUNTIME --pool=POOL [--window=N] [--size=BYTES] [--seconds=S] no|yes [FILE]");
        run.durable = streq(b->rest[0], "yes") ? DURABLE_ON_DISK : 0;
        run.submitters = new0(Submitter, b->window);
        run.polls = new0(struct pollfd, b->window);
        run.payload = malloc(b->size);
        if (!run.submitters || !run.polls || !run.payload)
                bench_die("out of memory.");
        for (unsigned i = 0; i < b->window; i++)
                if (flow_client_open(b->socket, &run.submitters[i].client, &error) < 0) /* --socket= is the runtime directory here */
                        bench_die("%s", error ? error : "out of memory");
        run_all(&run);
        if (b->rest[1])
                write_ids(&run, b->rest[1]);
        bench_report(b);
        for (unsigned i = 0; i < b->window; i++)
                flow_client_close(run.submitters[i].client);
        free(run.submitters);
        free(run.polls);
        free(run.payload);
        free(run.ids);
        free(error);
        return EXIT_SUCCESS;
}
