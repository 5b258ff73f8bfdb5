/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The last failures of a pool's workers, so that somebody can be told exactly what happened after the worker is gone. */

#include <stdio.h>

#include "basic/state.h"
#include "pool/pool-internal.h"

void pool_note_death(Pool *p, const Worker *w, const char *how) {
        PoolDeath *d = &p->deaths[p->n_deaths++ % POOL_DEATHS_KEPT];
        _cleanup_free_ char *tail = w ? worker_stderr_tail(w, POOL_DEATH_TAIL) : NULL;

        *d = (PoolDeath) { .real_usec = realtime_usec() };
        str_copy(d->how, sizeof(d->how), how);
        str_copy(d->cause, sizeof(d->cause), w ? worker_cause_to_string(worker_cause(w)) : "start");
        if (!w)
                return;
        str_copy(d->worker, sizeof(d->worker), w->name);
        str_copy(d->tail, sizeof(d->tail), strempty(tail));
        d->generation = w->generation;
        d->job = w->died_with;
        d->end = worker_end(w);
        d->end.cause = NULL; /* in a copy, above */
        d->lived_usec = now_usec() - w->started_usec;
}

const PoolDeath *pool_last_death(const Pool *p, const char *worker) {
        unsigned n = MIN(p->n_deaths, POOL_DEATHS_KEPT);

        for (unsigned i = 1; i <= n; i++) {
                const PoolDeath *d = &p->deaths[(p->n_deaths - i) % POOL_DEATHS_KEPT];

                if (!worker || streq(d->worker, worker))
                        return d;
        }
        return NULL;
}

json_object *pool_deaths_serialize(const Pool *p, StateWriter *sw) {
        json_object *a = json_object_new_array();
        unsigned n = MIN(p->n_deaths, POOL_DEATHS_KEPT);

        for (unsigned i = n; i > 0; i--) {
                const PoolDeath *d = &p->deaths[(p->n_deaths - i) % POOL_DEATHS_KEPT];
                json_object *o = json_object_new_object();

                state_put_text(sw, o, "worker", d->worker);
                state_put_text(sw, o, "cause", d->cause);
                state_put_text(sw, o, "how", d->how);
                state_put_text(sw, o, "tail", d->tail);
                state_put_int(sw, o, "generation", (int64_t) d->generation);
                state_put_int(sw, o, "job", (int64_t) d->job);
                state_put_int(sw, o, "time", (int64_t) d->real_usec);
                state_put_int(sw, o, "lived", (int64_t) d->lived_usec);
                state_put_int(sw, o, "code", d->end.code);
                state_put_int(sw, o, "status", d->end.status);
                state_put_int(sw, o, "user", (int64_t) d->end.user_usec);
                state_put_int(sw, o, "system", (int64_t) d->end.system_usec);
                state_put_int(sw, o, "max_rss", (int64_t) d->end.max_rss);
                json_object_array_add(a, o);
        }
        return a;
}

void pool_deaths_deserialize(Pool *p, const json_object *a) {
        for (size_t i = 0; a && i < json_object_array_length(a) && i < POOL_DEATHS_KEPT; i++) {
                json_object *o = json_object_array_get_idx(a, i);
                PoolDeath *d = &p->deaths[p->n_deaths++ % POOL_DEATHS_KEPT];

                str_copy(d->worker, sizeof(d->worker), strempty(state_get_text(o, "worker")));
                str_copy(d->cause, sizeof(d->cause), strempty(state_get_text(o, "cause")));
                str_copy(d->how, sizeof(d->how), strempty(state_get_text(o, "how")));
                str_copy(d->tail, sizeof(d->tail), strempty(state_get_text(o, "tail")));
                d->generation = (uint64_t) state_get_int(o, "generation");
                d->job = (uint64_t) state_get_int(o, "job");
                d->real_usec = (uint64_t) state_get_int(o, "time");
                d->lived_usec = (uint64_t) state_get_int(o, "lived");
                d->end.code = (int) state_get_int(o, "code");
                d->end.status = (int) state_get_int(o, "status");
                d->end.user_usec = (uint64_t) state_get_int(o, "user");
                d->end.system_usec = (uint64_t) state_get_int(o, "system");
                d->end.max_rss = (uint64_t) state_get_int(o, "max_rss");
        }
}
