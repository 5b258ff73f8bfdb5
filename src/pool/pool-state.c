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
        p->state = (PoolState) MIN((uint64_t) state_get_int(o, "lifecycle"), (uint64_t) POOL_CLOSING);
        p->permanent = state_get_int(o, "permanent");
        p->settled = state_get_int(o, "settled");
        p->reason = state_get_text(o, "reason") ? strdup(state_get_text(o, "reason")) : NULL;
        p->target = (unsigned) state_get_int(o, "target");
        p->restart_delay = (uint64_t) state_get_int(o, "restart_delay");
        p->spawn_after = (uint64_t) state_get_int(o, "spawn_after");
        p->breaker = (BreakerState) MIN((uint64_t) state_get_int(o, "breaker"), (uint64_t) BREAKER_HALF_OPEN);
        p->breaker_until = (uint64_t) state_get_int(o, "breaker_until");
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
        return 0;
}
