/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The store, as the manager sees it: opened at the start, asked for the jobs of an earlier run, watched for its health. A job of an earlier
 * run may still be in the hands of a worker of that run, where flowd was killed and nothing has cleaned up after it; so these are killed, and
 * gone, before any job of theirs is queued again. This is the one place where flowd waits for something, and it does not serve yet.
 */

#include <errno.h>
#include <stdio.h>

#include "flowd/manager.h"
#include "pool/durable.h"

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

static int load(Manager *m) {
        Loading l = { .m = m };
        int r = store_load(m->store, take, &l);

        m->jobs.last_id = MAX(m->jobs.last_id, store_last_id(m->store));
        if (l.n > 0)
                event_send(&m->host, EVENT_JOB_RECOVERED, NULL, "%u jobs of an earlier run go on, %u of them when their pool is configured again", l.n,
                           l.n_waiting);
        return r;
}

static void on_changed(Store *s, void *userdata) {
        Manager *m = userdata;
        const char *why = store_why(s);

        if (store_needs_load(s)) { /* it could not be opened earlier */
                int r;

                if (store_last_instances(s))
                        (void) leftovers_kill(&m->host, store_last_instances(s));
                r = load(m);
                if (r < 0)
                        event_send(&m->host, EVENT_STORE, NULL, "The jobs of an earlier run cannot be taken: %s; restart flowd", strerror(-r));
        }
        if (flow_load(m->flow, s) < 0)
                event_send(&m->host, EVENT_STORE, NULL, "The sessions of an earlier run cannot be taken: out of memory; restart flowd");
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
                        event_send(&m->host, EVENT_ORPHAN_KILLED, NULL, "Killed %u processes that an earlier run of flowd had left behind", n);
        }
        why = store_why(m->store);
        if (why)
                event_send(&m->host, EVENT_STORE, NULL, "The store is %s: %s", store_health_to_string(store_health(m->store)), why);
        r = load(m);
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
