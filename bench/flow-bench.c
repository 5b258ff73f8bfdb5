/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * flowd's row: a client of its jobs socket, as anybody would write it with libflow. The window is filled, one event is
 * taken, and so on: what is batched into which read and write is the library's affair and flowd's. Payloads are not
 * prepared beforehand: a large one is written into a memfd by the library for each job.
 */

#include <stdio.h>

#include "bench/bench.h"
#include "flow/client.h"

static void submit(Bench *b, FlowClient *c, uint8_t *payload, uint64_t now) {
        bench_submit(b, payload, now);
        int r = flow_client_submit(c, &(FlowRequest) { .pool = b->pool, .data = payload, .size = b->size }, NULL);
        if (r < 0)
                bench_die("cannot submit: %s", flow_client_error(c));
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

        bench_start(&b);
        for (uint64_t now = bench_now(); bench_running(&b, now) || bench_outstanding(&b) > 0;) {
                const FlowEvent *e;

                while (bench_running(&b, now) && bench_can_submit(&b))
                        submit(&b, c, payload, now);
                if (bench_outstanding(&b) == 0) {
                        now = bench_now();
                        continue;
                }
                if (flow_client_next(c, -1, &e) != 1)
                        bench_die("%s", flow_client_error(c));
                if (e->type != FLOW_EVENT_RESULT)
                        continue;
                now = bench_now();
                if (e->result.status != FLOW_COMPLETED)
                        bench_die("a job was %s: %s", flow_status_to_string(e->result.status),
                                  e->result.error ? e->result.error : "no reason given");
                bench_complete(&b, e->result.data, e->result.size, now);
        }
        bench_report(&b);
        flow_client_close(c);
        return EXIT_SUCCESS;
}
