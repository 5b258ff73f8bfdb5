/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A pool across execve(): its workers, counters, breaker and backoff. The queue is restored by whoever restores the jobs, in their order. */

#include <errno.h>

#include "basic/state.h"
#include "pool/pool-internal.h"

static json_object *serialize_histogram(StateWriter *sw, const Histogram *h) {
        json_object *o = json_object_new_object();

        state_put_bytes(sw, o, "counts", h->counts, sizeof(h->counts));
        state_put_int(sw, o, "n", (int64_t) h->n);
        state_put_int(sw, o, "max", (int64_t) h->max);
        return o;
}

static void deserialize_histogram(const StateReader *sr, const json_object *o, Histogram *h) {
        const uint8_t *p;
        size_t n;

        if (!state_get_bytes(sr, o, "counts", &p, &n) || n != sizeof(h->counts))
                return; /* other buckets in the other image: begin anew */
        memcpy(h->counts, p, n);
        h->n = (uint64_t) state_get_int(o, "n");
        h->max = (uint64_t) state_get_int(o, "max");
}

/* The longest unused first. */
static json_object *serialize_sessions(StateWriter *sw, const Pool *p) {
        json_object *a = json_object_new_array();

        for (unsigned busy = 0; p->sessions && busy < 2; busy++)
                LIST_FOREACH(l, busy ? &p->sessions->busy : &p->sessions->idle) {
                        const Session *s = list_entry(l, Session, use);
                        json_object *o;

                        if (s->pool != p->name || !s->worker)
                                continue;
                        o = json_object_new_object();
                        state_put_text(sw, o, "name", s->name);
                        state_put_int(sw, o, "uid", s->uid);
                        state_put_int(sw, o, "generation", (int64_t) s->worker->generation);
                        state_put_int(sw, o, "created", (int64_t) s->created_usec);
                        state_put_int(sw, o, "used", (int64_t) s->used_usec);
                        state_put_int(sw, o, "hits", (int64_t) s->hits);
                        state_put_int(sw, o, "misses", (int64_t) s->misses);
                        state_put_int(sw, o, "fallbacks", (int64_t) s->fallbacks);
                        (void) json_object_array_add(a, o);
                }
        return a;
}

static Worker *find_generation(const Pool *p, uint64_t generation) {
        LIST_FOREACH(l, (List *) &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                if (w->generation == generation)
                        return w;
        }
        return NULL;
}

/* One whose worker takes no jobs any more was forgotten before, and is not among them. */
static int deserialize_sessions(Pool *p, const json_object *a) {
        Session *at = NULL;

        for (size_t i = 0; p->sessions && a && i < json_object_array_length(a); i++) {
                const json_object *o = json_object_array_get_idx(a, i);
                Worker *w = find_generation(p, (uint64_t) state_get_int(o, "generation"));
                const char *name = state_get_text(o, "name");
                uid_t uid = (uid_t) state_get_int(o, "uid");
                Session *s;

                if (!w || !name || session_find(p->sessions, p->name, uid, name))
                        continue;
                int r = session_new(p->sessions, p->name, uid, name, (uint64_t) state_get_int(o, "used"), &s);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        continue;
                s->created_usec = (uint64_t) state_get_int(o, "created");
                s->hits = (uint64_t) state_get_int(o, "hits");
                s->misses = (uint64_t) state_get_int(o, "misses");
                s->fallbacks = (uint64_t) state_get_int(o, "fallbacks");
                session_place(p->sessions, s, &at);
                session_bind(s, w);
        }
        return 0;
}

/* Running jobs are with their session again. */
static void enter_sessions(Pool *p, Worker *w) {
        for (unsigned i = 0; p->sessions && i < w->n_slots; i++) {
                Job *j = w->slots[i].state == SLOT_RUNNING ? w->slots[i].job : NULL;
                Session *s = j && j->session ? session_find(p->sessions, p->name, j->uid, j->session) : NULL;

                if (!s || s->worker != w)
                        continue;
                session_enter(p->sessions, s, s->used_usec);
                j->bound = s;
        }
}

/* What it has learnt of its load, and what it has used of its limits. */
static json_object *serialize_load(StateWriter *sw, const Pool *p) {
        json_object *o = json_object_new_object();

        state_put_int(sw, o, "arrived", (int64_t) p->scale.arrived_usec);
        state_put_int(sw, o, "gap", (int64_t) p->scale.gap_usec);
        state_put_int(sw, o, "run", (int64_t) p->scale.run_usec);
        state_put_int(sw, o, "grown", (int64_t) p->scale.grown_usec);
        state_put_int(sw, o, "shrunk", (int64_t) p->scale.shrunk_usec);
        state_put_int(sw, o, "memory_seen", (int64_t) p->memory_seen);
        state_put_int(sw, o, "rate", (int64_t) p->rate.credit);
        state_put_int(sw, o, "rate_at", (int64_t) p->rate.at);
        state_put_int(sw, o, "spawns", (int64_t) p->spawns.credit);
        state_put_int(sw, o, "spawns_at", (int64_t) p->spawns.at);
        return o;
}

static void deserialize_load(Pool *p, const json_object *o) {
        if (!o)
                return;
        p->scale.arrived_usec = (uint64_t) state_get_int(o, "arrived");
        p->scale.gap_usec = (double) state_get_int(o, "gap");
        p->scale.run_usec = (double) state_get_int(o, "run");
        p->scale.grown_usec = (uint64_t) state_get_int(o, "grown");
        p->scale.shrunk_usec = (uint64_t) state_get_int(o, "shrunk");
        p->memory_seen = p->memory_each = (uint64_t) state_get_int(o, "memory_seen");
        p->rate = (TokenBucket) { (uint64_t) state_get_int(o, "rate"), (uint64_t) state_get_int(o, "rate_at") };
        p->spawns = (TokenBucket) { (uint64_t) state_get_int(o, "spawns"), (uint64_t) state_get_int(o, "spawns_at") };
}

int pool_serialize(Pool *p, StateWriter *sw, json_object *o) {
        json_object *workers = json_object_new_array();

        state_put_text(sw, o, "name", p->name);
        state_put_int(sw, o, "lifecycle", p->state);
        state_put_int(sw, o, "permanent", p->permanent);
        state_put_int(sw, o, "settled", p->settled);
        state_put_text(sw, o, "reason", p->reason);
        state_put_int(sw, o, "target", p->target);
        state_put_int(sw, o, "restart_delay", (int64_t) p->restart_delay);
        state_put_int(sw, o, "spawn_after", (int64_t) p->spawn_after);
        state_put_int(sw, o, "breaker", p->breaker);
        state_put_int(sw, o, "breaker_until", (int64_t) p->breaker_until);
        state_put_int(sw, o, "half_open", (int64_t) p->half_open_usec);
        state_put_int(sw, o, "probe_needed", p->probe_needed);
        state_put_int(sw, o, "probes", p->probes);
        state_put_int(sw, o, "to_restart", p->to_restart);
        state_put_bytes(sw, o, "crash_times", p->crash_times, BREAKER_CRASHES_MAX * sizeof(uint64_t));
        state_put_int(sw, o, "crash_at", p->crash_at);
        state_put_int(sw, o, "crash_run", p->crash_run);
        state_put_text(sw, o, "last_exit", p->last_exit);
        state_put_int(sw, o, "completed", (int64_t) p->stats.completed);
        state_put_int(sw, o, "failed", (int64_t) p->stats.failed);
        state_put_int(sw, o, "timeout", (int64_t) p->stats.timeout);
        state_put_int(sw, o, "cancelled", (int64_t) p->stats.cancelled);
        state_put_int(sw, o, "refused", (int64_t) p->stats.refused);
        state_put_int(sw, o, "spawned", (int64_t) p->stats.spawned);
        state_put_int(sw, o, "crashes", (int64_t) p->stats.crashes);
        state_put_int(sw, o, "restarts", (int64_t) p->stats.restarts);
        state_put_int(sw, o, "breaker_opened", (int64_t) p->stats.breaker_opened);
        state_put_object(sw, o, "hook", hook_serialize(&p->hook, sw));
        state_put_object(sw, o, "deaths", pool_deaths_serialize(p, sw));
        state_put_object(sw, o, "latency", serialize_histogram(sw, &p->stats.latency));
        state_put_object(sw, o, "run", serialize_histogram(sw, &p->stats.run));
        LIST_FOREACH(l, &p->workers) {
                json_object *w = json_object_new_object();
                int r = worker_serialize(list_entry(l, Worker, link), sw, w);

                (void) json_object_array_add(workers, w);
                if (r < 0) {
                        json_object_put(workers);
                        return r;
                }
        }
        state_put_object(sw, o, "workers", workers);
        state_put_int(sw, o, "hits", (int64_t) p->stats.affinity_hits);
        state_put_int(sw, o, "misses", (int64_t) p->stats.affinity_misses);
        state_put_int(sw, o, "fallbacks", (int64_t) p->stats.affinity_fallbacks);
        state_put_object(sw, o, "sessions", serialize_sessions(sw, p));
        state_put_object(sw, o, "load", serialize_load(sw, p));
        return sw->error;
}

static Job *find_job(void *userdata, uint64_t id) {
        Job *j = job_table_find(userdata, id);

        return j && !job_ended(j) ? j : NULL;
}

int pool_deserialize(Pool *p, const StateReader *sr, const json_object *o) {
        json_object *workers = state_get_object(o, "workers");
        const uint8_t *times;
        size_t n;

        if (state_get_bytes(sr, o, "crash_times", &times, &n) && n == BREAKER_CRASHES_MAX * sizeof(uint64_t)) {
                memcpy(p->crash_times, times, n);
                p->crash_at = (unsigned) state_get_int(o, "crash_at");
        }
        p->crash_run = (unsigned) state_get_int(o, "crash_run");
        p->state = (PoolState) MIN((uint64_t) state_get_int(o, "lifecycle"), (uint64_t) POOL_CLOSING);
        p->permanent = state_get_int(o, "permanent");
        p->settled = state_get_int(o, "settled");
        p->reason = state_get_text(o, "reason") ? strdup(state_get_text(o, "reason")) : NULL;
        p->target = (unsigned) state_get_int(o, "target");
        p->restart_delay = (uint64_t) state_get_int(o, "restart_delay");
        p->spawn_after = (uint64_t) state_get_int(o, "spawn_after");
        p->breaker = (BreakerState) MIN((uint64_t) state_get_int(o, "breaker"), (uint64_t) BREAKER_HALF_OPEN);
        p->breaker_until = (uint64_t) state_get_int(o, "breaker_until");
        if (p->breaker == BREAKER_OPEN)
                p->breaker_until_real = realtime_usec() + (p->breaker_until - MIN(p->breaker_until, now_usec()));
        p->half_open_usec = (uint64_t) state_get_int(o, "half_open");
        p->probe_needed = state_get_int(o, "probe_needed");
        p->probes = (unsigned) state_get_int(o, "probes");
        p->to_restart = (unsigned) state_get_int(o, "to_restart");
        str_copy(p->last_exit, sizeof(p->last_exit), strempty(state_get_text(o, "last_exit")));
        p->stats.completed = (uint64_t) state_get_int(o, "completed");
        p->stats.failed = (uint64_t) state_get_int(o, "failed");
        p->stats.timeout = (uint64_t) state_get_int(o, "timeout");
        p->stats.cancelled = (uint64_t) state_get_int(o, "cancelled");
        p->stats.refused = (uint64_t) state_get_int(o, "refused");
        p->stats.spawned = (uint64_t) state_get_int(o, "spawned");
        p->stats.crashes = (uint64_t) state_get_int(o, "crashes");
        p->stats.restarts = (uint64_t) state_get_int(o, "restarts");
        p->stats.breaker_opened = (uint64_t) state_get_int(o, "breaker_opened");
        hook_deserialize(p, state_get_object(o, "hook"));
        pool_deaths_deserialize(p, state_get_object(o, "deaths"));
        deserialize_histogram(sr, state_get_object(o, "latency"), &p->stats.latency);
        deserialize_histogram(sr, state_get_object(o, "run"), &p->stats.run);
        deserialize_load(p, state_get_object(o, "load"));
        for (size_t i = 0; workers && i < json_object_array_length(workers); i++) {
                WorkerSpec spec = pool_worker_spec(p, NULL);
                Worker *w;
                int r = worker_deserialize(&spec, sr, json_object_array_get_idx(workers, i), find_job, p->jobs, &w);

                if (r < 0)
                        return r;
                list_append(&p->workers, &w->link);
                p->n_workers++;
                p->n_running += w->n_running;
                for (unsigned k = 0; k < w->n_slots; k++)
                        if (w->slots[k].state == SLOT_RUNNING && w->slots[k].job)
                                cached_resume(p, w, w->slots[k].job);
                if (worker_has_slot(w))
                        list_append(&p->free_workers, &w->free_link);
        }
        pool_recount(p);
        p->stats.affinity_hits = (uint64_t) state_get_int(o, "hits");
        p->stats.affinity_misses = (uint64_t) state_get_int(o, "misses");
        p->stats.affinity_fallbacks = (uint64_t) state_get_int(o, "fallbacks");
        int r = deserialize_sessions(p, state_get_object(o, "sessions"));
        LIST_FOREACH(l, &p->workers)
                enter_sessions(p, list_entry(l, Worker, link));
        return r;
}
