/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Queue, sessions, autoscaler and rates together, on a clock of their own: thousands of random schedules of jobs that come, run, fail and are
 * cancelled, and of workers that start, die and drain. There are no processes and no time passes. The dispatcher below has the rules of
 * src/pool/dispatch.c in their shortest form, and the pool of a job is chosen by choose_pool(), where another strategy can be put.
 *
 * What must hold: a job ends once, and runs once at a time; workers and sessions stay within their bounds; no job is overtaken by one that
 * neither its priority nor its user's turn entitles to it; a job of a session whose worker is free runs there, and waits for it no longer
 * than it may; exclusive workers never see two sessions. SIMULATION_SEED= runs another sequence, SIMULATION_ROUNDS= more of it.
 */

#include <inttypes.h>
#include <stdio.h>

#include "pool/bucket.h"
#include "pool/scale.h"
#include "pool/session.h"
#include "unit.h"

#define MS USEC_PER_MSEC
#define ROUNDS 2000U
#define POOLS 3U
#define WORKERS 8U
#define JOBS 400U
#define USERS 4U
#define PRIORITIES 3

typedef struct SimWorker {
        Worker worker;         /* only what session.c looks at */
        JobQueue parked;
        bool alive, ready;
        uint64_t ready_at;
        unsigned running;
        char served[16];       /* exclusive: the only session that it may see */
        uint64_t idle_since;
} SimWorker;

typedef struct SimPool {
        char name[8];
        JobQueue queue;
        SimWorker workers[WORKERS];
        unsigned slots, max;
        bool exclusive;
        uint64_t affinity_wait, idle;
        Scale scale;
        ScaleLimits limits;
        TokenBucket spawns;
        unsigned passed_over[PRIORITIES][USERS]; /* turns of others in the class, while one of the user waits */
} SimPool;

typedef struct SimJob {
        Job job;
        SimPool *pool;
        SimWorker *worker;
        uint64_t ends_at, runs_for;
        bool arrived, ended, crashes_worker;
        unsigned dispatches;
} SimJob;

typedef struct Sim {
        uint64_t random, now;
        SimPool pools[POOLS];
        unsigned n_pools;
        SimJob jobs[JOBS];
        unsigned n_arrived, n_ended, n_hits, n_parked;
        SessionTable sessions;
} Sim;

static uint64_t seed_of_round;
/* Not ck_assert_msg() for each: it writes a mark to a file, each time. */
#define MUST(cond) do { if (!(cond)) ck_abort_msg("seed %" PRIu64 ": %s", seed_of_round, #cond); } while (0)

static unsigned below(Sim *s, unsigned n) {
        return (unsigned) (unit_random(&s->random) % n);
}

static SimWorker *sim_worker(Worker *w) {
        return CONTAINER_OF(w, SimWorker, worker);
}

static SimJob *sim_job(Job *j) {
        return CONTAINER_OF(j, SimJob, job);
}

static bool has_slot(const SimPool *p, const SimWorker *w) {
        return w->alive && w->ready && w->running < p->slots;
}

/* --- set up and down --- */

static void pool_setup(Sim *s, SimPool *p, unsigned n) {
        static const uint64_t agings[] = { 0, 5 * MS, 100 * MS, 3600 * USEC_PER_SEC };

        snprintf(p->name, sizeof(p->name), "p%u", n);
        job_queue_init(&p->queue, agings[below(s, ELEMENTSOF(agings))], unit_random(&s->random));
        p->slots = 1 + below(s, 3);
        p->max = 1 + below(s, WORKERS);
        p->exclusive = below(s, 4) == 0;
        p->affinity_wait = below(s, 3) * 20 * MS;
        p->idle = 1 + below(s, 100) * MS;
        p->limits = (ScaleLimits) { .floor = below(s, p->max + 1), .max = p->max, .slots = p->slots, .up_at = below(s, 2) * 80,
                                    .down_at = below(s, 2) * 40, .cooldown_usec = below(s, 50) * MS, .prewarm = below(s, 2) };
        for (unsigned i = 0; i < WORKERS; i++) {
                list_init(&p->workers[i].worker.sessions);
                job_queue_init(&p->workers[i].parked, p->queue.aging, 1);
        }
}

static void sim_setup(Sim *s, uint64_t seed) {
        *s = (Sim) { .random = seed | 1, .now = USEC_PER_SEC };
        s->n_pools = 1 + below(s, POOLS);
        session_table_init(&s->sessions, seed);
        s->sessions.max = 2 + below(s, 30);
        s->sessions.ttl_usec = below(s, 2) ? USEC_INFINITY : (10 + below(s, 500)) * MS;
        for (unsigned i = 0; i < s->n_pools; i++)
                pool_setup(s, &s->pools[i], i);
        for (unsigned i = 0; i < s->n_pools; i++)
                if (s->pools[i].exclusive)
                        s->sessions.ttl_usec = MIN(s->sessions.ttl_usec, 20 * MS); /* or who comes last waits for as long as that takes */
        for (unsigned i = 0; i < JOBS; i++) {
                list_init(&s->jobs[i].job.queue_link);
                list_init(&s->jobs[i].job.class_link);
        }
}

static void sim_done(Sim *s) {
        session_table_done(&s->sessions);
        for (unsigned i = 0; i < s->n_pools; i++) {
                job_queue_done(&s->pools[i].queue);
                for (unsigned k = 0; k < WORKERS; k++)
                        job_queue_done(&s->pools[i].workers[k].parked);
        }
        for (unsigned i = 0; i < JOBS; i++)
                free(s->jobs[i].job.session);
}

/* --- jobs --- */

static bool waits(const SimJob *k, const SimPool *p) {
        return k->arrived && !k->ended && !k->worker && !k->job.parked && k->pool == p;
}

/* Into the queue; who was not waiting in that class is the last of the round. */
static void enqueue(Sim *s, SimPool *p, SimJob *j) {
        bool others = false;

        for (unsigned i = 0; i < s->n_arrived; i++) {
                const SimJob *k = &s->jobs[i];

                others |= k != j && waits(k, p) && k->job.uid == j->job.uid && k->job.priority == j->job.priority;
        }
        if (!others)
                p->passed_over[j->job.priority][j->job.uid] = 0;
        job_queue_add(&p->queue, &j->job);
}

/* The least loaded; a strategy of src/route could stand here. */
static SimPool *choose_pool(Sim *s) {
        SimPool *best = NULL;
        unsigned least = 0;

        for (unsigned i = 0; i < s->n_pools; i++) {
                SimPool *p = &s->pools[i];
                unsigned load = p->queue.n;

                for (unsigned k = 0; k < WORKERS; k++)
                        load += p->workers[k].running + p->workers[k].parked.n;
                load = load * 100 / (p->max * p->slots);
                if (!best || load < least) {
                        best = p;
                        least = load;
                }
        }
        return best;
}

static void arrive(Sim *s) {
        SimJob *j = &s->jobs[s->n_arrived++];
        SimPool *p = choose_pool(s);
        char name[16];

        j->arrived = true;
        j->pool = p;
        j->job.id = s->n_arrived;
        j->job.uid = below(s, USERS);
        j->job.priority = (int32_t) below(s, PRIORITIES);
        j->job.queued_usec = s->now;
        j->runs_for = below(s, 10 * MS);
        j->crashes_worker = below(s, 50) == 0;
        if (p->exclusive || below(s, 2)) {
                snprintf(name, sizeof(name), "s%u", below(s, 12));
                j->job.session = strdup(name);
                MUST(j->job.session);
        }
        scale_arrived(&p->scale, s->now);
        enqueue(s, p, j);
}

static void leave_session(Sim *s, SimJob *j) {
        Session *k = j->job.bound;

        j->job.bound = NULL;
        if (k)
                session_leave(&s->sessions, k, s->now);
}

static void end(Sim *s, SimJob *j) {
        MUST(j->arrived && !j->ended && !j->worker);
        j->ended = true;
        s->n_ended++;
}

static void stop_running(Sim *s, SimJob *j) {
        MUST(j->worker && j->worker->running > 0);
        j->worker->running--;
        j->worker->idle_since = s->now;
        j->worker = NULL;
        leave_session(s, j);
}

static void unpark(Sim *s, SimJob *j) {
        job_queue_remove(&j->job);
        j->job.parked = false;
        leave_session(s, j);
        enqueue(s, j->pool, j);
}

static void unpark_cb(Job *j, void *userdata) {
        unpark(userdata, sim_job(j));
}

/* What job_queue_first() gave is entitled to it. */
static void check_order(Sim *s, SimPool *p, const Job *first) {
        uint64_t aging = p->queue.aging, step = aging > 0 ? aging : 1;

        for (unsigned i = 0; i < s->n_arrived; i++) {
                const SimJob *k = &s->jobs[i];

                if (!waits(k, p) || k->job.uid != first->uid || &k->job == first)
                        continue;
                if (k->job.priority == first->priority)
                        MUST(k->job.queued_usec >= first->queued_usec);
                /* a user's jobs of another class may only be passed for the sake of somebody's older job in this one */
                if (aging == 0 && k->job.priority > first->priority)
                        MUST(!"a job of a lower priority went first");
                if (aging > 0) {
                        int64_t rank = (int64_t) k->job.queued_usec - (int64_t) k->job.priority * (int64_t) step;

                        MUST((uint64_t) rank + (UINT64_C(1) << 63) >= job_queue_key(&p->queue));
                }
        }
}

/* A user whose job waits in a class is not passed over for more than a round. */
static void count_turns(Sim *s, SimPool *p, const Job *taken) {
        bool waiting[USERS] = {};

        for (unsigned i = 0; i < s->n_arrived; i++) {
                const SimJob *k = &s->jobs[i];

                if (waits(k, p) && k->job.priority == taken->priority && &k->job != taken)
                        waiting[k->job.uid] = true;
        }
        for (unsigned u = 0; u < USERS; u++) {
                unsigned *n = &p->passed_over[taken->priority][u];

                *n = waiting[u] && u != taken->uid ? *n + 1 : 0;
                MUST(*n < USERS);
        }
}

static void run(Sim *s, SimPool *p, SimWorker *w, SimJob *j, Session *k) {
        MUST(!j->worker && !j->ended && has_slot(p, w));
        if (k)
                session_enter(&s->sessions, k, s->now);
        job_queue_remove(&j->job);
        j->job.parked = j->job.elsewhere = false;
        leave_session(s, j);
        j->job.bound = k;
        if (p->exclusive) {
                if (w->served[0] == 0)
                        snprintf(w->served, sizeof(w->served), "%u.%s", j->job.uid, j->job.session);
                char mine[16];
                snprintf(mine, sizeof(mine), "%u.%s", j->job.uid, j->job.session);
                MUST(strcmp(w->served, mine) == 0);
        }
        j->worker = w;
        j->dispatches++;
        j->ends_at = s->now + j->runs_for;
        w->running++;
        MUST(w->running <= p->slots);
}

static void park(Sim *s, SimPool *p, SimWorker *w, SimJob *j, Session *k) {
        job_queue_remove(&j->job);
        session_enter(&s->sessions, k, s->now);
        j->job.bound = k;
        j->job.parked = true;
        j->job.park_until = p->exclusive ? USEC_INFINITY : s->now + p->affinity_wait;
        job_queue_add(&w->parked, &j->job);
        s->n_parked++;
}

/* --- dispatch --- */

static SimWorker *least_bound(SimPool *p) {
        SimWorker *best = NULL;

        for (unsigned i = 0; i < WORKERS; i++) {
                SimWorker *w = &p->workers[i];

                if (has_slot(p, w) && (!p->exclusive || w->served[0] == 0) && (!best || w->worker.n_sessions < best->worker.n_sessions))
                        best = w;
        }
        return best;
}

static bool serve_parked(Sim *s, SimPool *p) {
        for (unsigned i = 0; i < WORKERS; i++) {
                SimWorker *w = &p->workers[i];
                Job *j = job_queue_first(&w->parked);

                if (!j || !has_slot(p, w))
                        continue;
                Session *k = j->bound;
                MUST(k && (k->dropped || k->worker == &w->worker));
                job_queue_turn(j);
                run(s, p, w, sim_job(j), k);
                s->n_hits++;
                return true;
        }
        return false;
}

/* Returns false where nothing can be dispatched. */
static bool dispatch_one(Sim *s, SimPool *p) {
        if (serve_parked(s, p))
                return true;
        SimWorker *w = least_bound(p);
        Job *j = job_queue_first(&p->queue);
        if (!j)
                return false;
        Session *k = j->session ? session_find(&s->sessions, p->name, j->uid, j->session) : NULL;
        if (!w && !(p->exclusive && k && k->worker))
                return false;
        check_order(s, p, j);
        count_turns(s, p, j);
        job_queue_turn(j);
        if (k && has_slot(p, sim_worker(k->worker))) {
                run(s, p, sim_worker(k->worker), sim_job(j), k);
                s->n_hits++;
        } else if (k && (p->exclusive || (p->affinity_wait > 0 && !j->elsewhere)))
                park(s, p, sim_worker(k->worker), sim_job(j), k);
        else {
                if (j->session && !k && session_new(&s->sessions, p->name, j->uid, j->session, s->now, &k) >= 0)
                        session_bind(k, &w->worker);
                else if (p->exclusive) { /* as many sessions as there may be: it fails */
                        job_queue_remove(j);
                        end(s, sim_job(j));
                        return true;
                }
                run(s, p, w, sim_job(j), k);
        }
        return true;
}

/* --- workers --- */

static void worker_unusable(Sim *s, SimWorker *w) {
        job_queue_foreach(&w->parked, unpark_cb, s);
        session_worker_gone(&s->sessions, &w->worker);
        MUST(w->worker.n_sessions == 0 && job_queue_empty(&w->parked));
        w->alive = w->ready = false;
}

static void worker_dies(Sim *s, SimWorker *w) {
        for (unsigned i = 0; i < s->n_arrived; i++) {
                SimJob *j = &s->jobs[i];

                if (j->worker != w)
                        continue;
                stop_running(s, j);
                j->crashes_worker = false;
                enqueue(s, j->pool, j); /* with its age */
        }
        worker_unusable(s, w);
}

static void resize(Sim *s, SimPool *p) {
        ScaleInput in = { .now = s->now, .queued = p->queue.n };
        uint64_t wait;

        for (unsigned i = 0; i < WORKERS; i++) {
                SimWorker *w = &p->workers[i];

                if (!w->alive)
                        continue;
                if (p->exclusive && w->served[0] && w->worker.n_sessions == 0 && w->running == 0) {
                        worker_unusable(s, w); /* what its session has left is nobody's */
                        continue;
                }
                in.usable += w->ready;
                in.starting += !w->ready;
                in.running += w->running;
                if (!p->exclusive || w->served[0] == 0)
                        in.free_slots += p->slots - w->running;
        }
        ScaleDecision d = scale_decide(&p->scale, &in, &p->limits);
        MUST(d.wanted >= p->limits.floor && d.wanted <= p->max);
        unsigned have = in.usable + in.starting;
        for (unsigned i = 0; i < WORKERS && have < d.wanted; i++) {
                SimWorker *w = &p->workers[i];

                if (w->alive || w->running > 0 || !token_bucket_take(&p->spawns, 1000, 5, s->now, &wait))
                        continue;
                w->alive = true;
                w->ready = false;
                w->served[0] = 0;
                w->ready_at = w->idle_since = s->now + below(s, 5 * MS);
                have++;
                scale_grown(&p->scale, s->now);
        }
        for (unsigned i = 0; i < WORKERS && have > d.keep; i++) {
                SimWorker *w = &p->workers[i];

                if (!w->alive || !w->ready || w->running > 0 || w->parked.n > 0 || (p->exclusive && w->worker.n_sessions > 0) ||
                    s->now < w->idle_since + p->idle)
                        continue;
                worker_unusable(s, w);
                have--;
                scale_shrunk(&p->scale, s->now);
        }
        MUST(have <= p->max);
}

/* --- time --- */

static void happen(Sim *s) {
        for (unsigned i = 0; i < s->n_pools; i++)
                for (unsigned k = 0; k < WORKERS; k++) {
                        SimWorker *w = &s->pools[i].workers[k];

                        if (w->alive && !w->ready && s->now >= w->ready_at)
                                w->ready = true;
                }
        for (unsigned i = 0; i < s->n_arrived; i++) {
                SimJob *j = &s->jobs[i];

                if (j->worker && s->now >= j->ends_at) {
                        SimWorker *w = j->worker;

                        if (j->crashes_worker) {
                                worker_dies(s, w);
                                continue;
                        }
                        scale_ran(&j->pool->scale, j->runs_for);
                        stop_running(s, j);
                        end(s, j);
                } else if (j->job.parked && s->now >= j->job.park_until) {
                        MUST(s->now <= j->job.park_until + MS); /* looked at each millisecond */
                        j->job.elsewhere = true;
                        unpark(s, j);
                }
        }
        (void) session_table_expire(&s->sessions, s->now);
        MUST(s->sessions.n <= s->sessions.max);
}

static void mischief(Sim *s) {
        SimPool *p = &s->pools[below(s, s->n_pools)];
        SimWorker *w = &p->workers[below(s, WORKERS)];
        SimJob *j = s->n_arrived > 0 ? &s->jobs[below(s, s->n_arrived)] : NULL;

        if (below(s, 60) == 0 && w->alive)
                worker_dies(s, w);
        if (below(s, 40) == 0 && w->alive && w->ready && w->running == 0)
                worker_unusable(s, w); /* drained */
        if (below(s, 30) == 0 && j && !j->ended) { /* cancelled, wherever it is */
                if (j->worker)
                        stop_running(s, j);
                else {
                        job_queue_remove(&j->job);
                        j->job.parked = false;
                        leave_session(s, j);
                }
                end(s, j);
        }
        if (below(s, 100) == 0)
                job_queue_set_aging(&p->queue, below(s, 2) * 20 * MS); /* a reload */
        if (below(s, 100) == 0) {
                s->sessions.max = 2 + below(s, 30);
                session_table_trim(&s->sessions);
                s->sessions.max = MAX(s->sessions.max, s->sessions.n);
        }
}

static void one_schedule(Sim *s, uint64_t seed) {
        unsigned n_jobs = 50, steps = 0;

        sim_setup(s, seed);
        n_jobs += below(s, JOBS - 50);
        unsigned burst = 1 + below(s, 8), calm = below(s, 4);
        while (s->n_ended < n_jobs) {
                s->now += MS / 2;
                MUST(steps++ < 200000); /* nothing is left behind, and nobody waits for ever */
                if (below(s, calm + 1) == 0)
                        for (unsigned i = below(s, burst + 1); i > 0 && s->n_arrived < n_jobs; i--)
                                arrive(s);
                happen(s);
                if (s->n_arrived < n_jobs)
                        mischief(s);
                for (unsigned i = 0; i < s->n_pools; i++) {
                        while (dispatch_one(s, &s->pools[i]))
                                ;
                        resize(s, &s->pools[i]);
                }
        }
        for (unsigned i = 0; i < n_jobs; i++)
                MUST(s->jobs[i].ended && !s->jobs[i].worker && !s->jobs[i].job.parked && !s->jobs[i].job.bound);
        MUST(s->n_ended == n_jobs);
        MUST(list_empty(&s->sessions.busy));
        for (unsigned i = 0; i < s->n_pools; i++)
                MUST(job_queue_empty(&s->pools[i].queue));
        sim_done(s);
}

static uint64_t number_of(const char *name, uint64_t otherwise) {
        const char *text = getenv(name);

        return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

START_TEST(random_schedules) {
        uint64_t seed = number_of("SIMULATION_SEED", UNIT_SEED), rounds = number_of("SIMULATION_ROUNDS", ROUNDS), hits = 0, parked = 0;
        Sim *s = calloc(1, sizeof(Sim));

        ck_assert_ptr_nonnull(s);
        printf("SIMULATION_SEED=%" PRIu64 " SIMULATION_ROUNDS=%" PRIu64 "\n", seed, rounds);
        fflush(stdout);
        for (uint64_t i = 0; i < rounds; i++) {
                seed_of_round = seed;
                one_schedule(s, seed);
                hits += s->n_hits;
                parked += s->n_parked;
                (void) unit_random(&seed);
        }
        ck_assert_uint_gt(hits, rounds); /* there was something to see */
        ck_assert_uint_gt(parked, rounds);
        free(s);
}
END_TEST

UNIT_MAIN("simulation", random_schedules)
