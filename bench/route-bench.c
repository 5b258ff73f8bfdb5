/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a routing decision costs, in one process and without workers: from the request to the pool, not its queue.
 *
 *      bench-route [--pools=N] [--queued=N] [--seconds=N]
 *
 * The pools are a third of each tier, every tenth declares methods, and the queued jobs are spread over them at random. Each way to name a pool, or
 * none, is a line of the report, in nanoseconds.
 */

#include <getopt.h>
#include <stdio.h>

#include "bench/bench.h"
#include "route/route.h"

#define SAMPLES_MAX 2000000U
#define METHODS 200U

typedef struct Setup {
        Host host;
        JobTable jobs;
        List pools;
        Map by_name;
        Router router;
        unsigned n_pools, n_queued;
        double seconds;
        uint32_t *samples;
} Setup;

static void add_pool(Setup *s, unsigned i, WorkerType *type) {
        char *name = str_printf("pool-%u", i);
        PoolConfig *c = name ? pool_config_new(name) : NULL;
        char methods[64];
        Pool *p;

        if (!c)
                bench_die("out of memory");
        c->type = worker_type_ref(type);
        c->tier = (Tier) (i % _TIER_MAX);
        c->max = 4;
        snprintf(methods, sizeof(methods), "method-%u family-%u.*", i % METHODS, i);
        if (i % 10 == 0 && str_split_quoted(methods, &c->methods) < 0)
                bench_die("out of memory");
        if (pool_new(&s->host, &s->jobs, c, name, &p) < 0 || map_add_name(&s->by_name, &p->by_name, p->name) < 0)
                bench_die("out of memory");
        pool_config_unref(c);
        p->state = POOL_RUNNING;
        list_append(&s->pools, &p->link);
}

static void setup(Setup *s) {
        WorkerType *type = worker_type_new("echo");

        list_init(&s->pools);
        map_init(&s->by_name, random_u64());
        job_table_init(&s->jobs, &s->host);
        route_init(&s->router, &s->host, &s->jobs, &s->pools, &s->by_name);
        s->samples = new0(uint32_t, SAMPLES_MAX);
        if (!type || !s->samples)
                bench_die("out of memory");
        for (unsigned i = 0; i < s->n_pools; i++)
                add_pool(s, i, type);
        for (unsigned i = 0; i < s->n_queued; i++) {
                char name[32];

                snprintf(name, sizeof(name), "pool-%u", (unsigned) (random_u64() % s->n_pools));
                map_get_name(&s->by_name, name, Pool, by_name)->n_queued++;
        }
        for (unsigned i = 0; i < METHODS; i++) {
                char name[32];
                LearnChange change;

                snprintf(name, sizeof(name), "method-%u", i);
                for (unsigned k = 0; k < 30; k++)
                        if (learn_add(&s->router.learn, name, i * 10000, false, 1, &change) < 0)
                                bench_die("out of memory");
        }
}

static bool decide(Setup *s, const RouteRequest *q) {
        RouteAffinity affinity = ROUTE_AFFINITY_NONE;
        char *why = NULL;
        RouteDecision d;

        if (route_decide(&s->router, q, &d, NULL, NULL, &why) < 0 || route_ensure_room(&s->router) < 0)
                bench_die("%s", strna(why));
        if (d.named)
                return pool_admits(d.named, q->payload_size, NULL, NULL) == 0;
        for (size_t i = 0; i < d.n_chain; i++)
                if (route_choose_pool(&s->router, &d, q, d.chain[i], d.memo->set->turns + d.chain[i], &s->router.seed, &affinity))
                        return true;
        return false;
}

static int compare(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return x < y ? -1 : x > y;
}

/* `unknown`: each job has a method that nobody has heard of. */
static void measure(Setup *s, const char *what, RouteRequest q, bool unknown, bool last) {
        uint64_t end = bench_now() + (uint64_t) (s->seconds * 1e9), now, total = 0;
        const char *prefix = q.method;
        size_t n = 0;

        while (n < SAMPLES_MAX && (now = bench_now()) < end) {
                char method[64];

                if (prefix) {
                        snprintf(method, sizeof(method), "%s%zu", prefix, unknown ? n : n % METHODS);
                        q.method = method;
                        now = bench_now();
                }
                if (!decide(s, &q))
                        bench_die("%s: no pool takes the job", what);
                s->samples[n] = (uint32_t) (bench_now() - now);
                total += s->samples[n++];
        }
        qsort(s->samples, n, sizeof(uint32_t), compare);
        printf("  {\"what\": \"%s\", \"n\": %zu, \"mean_ns\": %llu, \"p50_ns\": %u, \"p99_ns\": %u, \"max_ns\": %u}%s\n", what, n,
               (unsigned long long) (total / n), s->samples[n / 2], s->samples[n * 99 / 100], s->samples[n - 1], last ? "" : ",");
}

static unsigned number(const char *text, unsigned max) {
        uint64_t n;

        if (u64_parse(text, 1, max, &n) < 0)
                bench_die("%s: this takes a whole number from 1 to %u", text, max);
        return (unsigned) n;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "pools", required_argument, NULL, 'p' }, { "queued", required_argument, NULL, 'q' }, { "seconds", required_argument, NULL, 's' }, {},
        };
        Setup s = { .n_pools = 100, .n_queued = 10000, .seconds = 1 };
        int o;

        while ((o = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (o) {
                case 'p':
                        s.n_pools = number(optarg, 4096);
                        break;
                case 'q':
                        s.n_queued = number(optarg, 1000000);
                        break;
                case 's':
                        s.seconds = number(optarg, 3600);
                        break;
                default:
                        return EXIT_FAILURE;
                }
        setup(&s);
        printf("{\"pools\": %u, \"queued\": %u, \"rows\": [\n", s.n_pools, s.n_queued);
        measure(&s, "a pool by name", (RouteRequest) { .pool = "pool-7" }, false, false);
        measure(&s, "a tier, least loaded", (RouteRequest) { .tier = "warm" }, false, false);
        measure(&s, "a tier, round robin", (RouteRequest) { .tier = "warm", .strategy = "round_robin" }, false, false);
        measure(&s, "a tier, two random choices", (RouteRequest) { .tier = "warm", .strategy = "random" }, false, false);
        measure(&s, "a known method", (RouteRequest) { .method = "method-" }, false, false);
        measure(&s, "a method by pattern", (RouteRequest) { .method = "family-0." }, false, false);
        measure(&s, "a new method each time", (RouteRequest) { .method = "unheard-of-" }, true, false);
        measure(&s, "a worker type", (RouteRequest) { .worker_type = "echo" }, false, false);
        measure(&s, "nothing", (RouteRequest) { .payload_size = 100 }, false, true);
        printf("]}\n");
        return EXIT_SUCCESS;
}
