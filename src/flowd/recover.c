/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The store, as the manager sees it: opened at the start, asked for the jobs of an earlier run, watched for its health. A job of an earlier
 * run may still be in the hands of a worker of that run, where flowd was killed and nothing has cleaned up after it; so these are killed, and
 * gone, before any job of theirs is queued again. This is the one place where flowd waits for something, and it does not serve yet.
 */

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "flowd/manager.h"
#include "flowd/persist.h"
#include "pool/durable.h"

#define LOAD_SLICE 256U /* jobs that one turn of the loop takes; some 3 ms with small payloads */

static StoreConfig store_config(const Manager *m) {
        const Config *c = m->config;

        return (StoreConfig) {
                .directory = m->paths.state,
                .off = !c->store,
                .instance = m->host.instance,
                .compress_min = c->store_compress_min,
                .compress_level = (int) c->store_compress_level,
                .max_age_usec = c->store_max_age_usec,
                .max_jobs = c->store_max_jobs,
                .max_bytes = c->store_max_bytes,
                .key_usec = c->key_usec,
                .cache_bytes = c->cache_max_bytes,
        };
}

void manager_configure_store(Manager *m) {
        StoreConfig c = store_config(m);

        if (m->store)
                store_configure(m->store, &c);
}

typedef struct Loading {
        Manager *m;
        unsigned n, n_waiting;
} Loading;

static void give(Manager *m, Job *j, unsigned *n_waiting) {
        Pool *p = manager_pool(m, j->pool_name);

        if (p && p->state != POOL_CLOSING) {
                pool_adopt(p, j);
                return;
        }
        durable_set_aside(&m->jobs, j);
        if (n_waiting)
                ++*n_waiting;
}

static int take_record(Manager *m, JobRecord *r, unsigned *n_waiting) {
        const char *name = manager_intern(m, r->pool);
        Job *j;
        int k;

        k = name ? durable_restore(&m->jobs, r, &j) : -ENOMEM;
        job_record_done(r);
        if (k < 0)
                return k;
        j->pool_name = name;
        give(m, j, n_waiting);
        job_unref(j);
        return 0;
}

static int take(JobRecord *r, void *userdata) {
        Loading *l = userdata;
        int k;

        if (job_table_find(&l->m->jobs, r->id)) { /* it came with the image before */
                job_record_done(r);
                return 0;
        }
        k = take_record(l->m, r, &l->n_waiting);
        if (k >= 0)
                l->n++;
        return k;
}

int manager_retried(Manager *m, JobRecord *r) {
        r->attempts--; /* the one that comes was counted, and will be again */
        return take_record(m, r, NULL);
}

/* At most `max` of them. Returns 1 where there are more. */
static int load(Manager *m, unsigned max) {
        Loading l = { .m = m, .n = m->n_loaded, .n_waiting = m->n_waiting };
        int r = store_load_slice(m->store, max, take, &l);

        m->jobs.last_id = MAX(m->jobs.last_id, store_last_id(m->store));
        m->n_loaded = l.n;
        m->n_waiting = l.n_waiting;
        if (r > 0)
                return r;
        if (l.n > 0)
                event_send(&m->host, EVENT_JOB_RECOVERED, NULL, "%u job%s of an earlier run go%s on, %u of them when %s pool is configured again", l.n,
                           plural(l.n), l.n == 1 ? "es" : "", l.n_waiting, l.n == 1 ? "its" : "their");
        m->n_loaded = m->n_waiting = 0;
        return r;
}

/* The sessions come after the jobs that are theirs. */
static void load_flow(Manager *m) {
        if (flow_load(m->flow, m->store) < 0)
                event_send(&m->host, EVENT_STORE, NULL, "The sessions of an earlier run cannot be taken: out of memory; restart flowd");
}

/* While flowd serves: in slices, between which the loop turns. */
static void load_late(Timer *t) {
        Manager *m = CONTAINER_OF(t, Manager, load_timer);
        int r = load(m, LOAD_SLICE);

        if (r > 0)
                timer_arm(&m->host.timers, &m->load_timer, now_usec());
        else if (r < 0)
                event_send(&m->host, EVENT_STORE, NULL, "The jobs of an earlier run cannot be taken: %s; restart flowd", strerror(-r));
        else
                load_flow(m);
}

static void on_changed(Store *s, void *userdata) {
        Manager *m = userdata;
        const char *why = store_why(s);

        if (store_needs_load(s) && !m->load_timer.armed) { /* it could not be opened earlier */
                if (store_last_instances(s) && m->n_loaded == 0)
                        (void) leftovers_kill(&m->host, store_last_instances(s));
                if (m->n_loaded == 0) { /* the pools first: their jobs go to them */
                        int r = persist_load(m);

                        if (r < 0)
                                event_send(&m->host, EVENT_STORE, NULL, "What an earlier run has kept cannot be taken: %s; restart flowd", strerror(-r));
                        manager_start_pools(m);
                }
                m->load_timer.fire = load_late;
                load_late(&m->load_timer);
        }
        if (!m->load_timer.armed)
                load_flow(m);
        event_send(&m->host, EVENT_STORE, NULL, "The store is %s%s%s", store_health_to_string(store_health(s)), why ? ": " : " again", strempty(why));
        hot_defer(&m->host.hot, &m->changed);
}

int manager_open_store(Manager *m, bool resumed) {
        StoreConfig c = store_config(m);
        const char *why;
        int r;

        r = store_open(&c, &m->host.hot, m->host.log, on_changed, m, &m->store);
        if (r < 0)
                return r;
        m->jobs.store = m->store;
        if (!resumed && store_last_instances(m->store)) {
                unsigned n = leftovers_kill(&m->host, store_last_instances(m->store));

                if (n > 0)
                        event_send(&m->host, EVENT_ORPHAN_KILLED, NULL, "Killed %u process%s that an earlier run of flowd had left behind", n,
                                   n == 1 ? "" : "es");
        }
        why = store_why(m->store);
        if (why)
                event_send(&m->host, EVENT_STORE, NULL, "The store is %s: %s", store_health_to_string(store_health(m->store)), why);
        if (!resumed) { /* the pools first: their jobs go to them */
                r = persist_load(m);
                if (r < 0)
                        return r;
        }
        r = load(m, UINT_MAX);
        return r < 0 ? r : flow_load(m->flow, m->store);
}

void manager_adopt_waiting(Manager *m) {
        List aside = LIST_INIT(aside);
        List *l;

        while ((l = list_first(&m->jobs.aside))) {
                list_remove(l);
                list_append(&aside, l);
        }
        while ((l = list_first(&aside))) {
                list_remove(l);
                give(m, list_entry(l, Job, queue_link), NULL);
        }
}
