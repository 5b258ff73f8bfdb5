/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The job table. Ids grow with time, so that those of two runs of flowd never meet. A result is
 * kept only for a detached job, whose submitter comes back for it; the oldest results go first when ResultsMax= is reached.
 */

#include "basic/str.h"
#include "pool/job-table.h"

#define DROPPED_TELL_USEC (10 * USEC_PER_SEC)

void job_table_init(JobTable *t, Host *h) {
        *t = (JobTable) { .host = h };
        map_init(&t->by_id, random_u64());
        list_init(&t->live);
        list_init(&t->aside);
        list_init(&t->ended);
        list_init(&t->results);
        cached_init(t);
}

static void forget(JobTable *t, Job *j) {
        list_remove(&j->table_link);
        list_remove(&j->queue_link);
        map_remove(&t->by_id, &j->by_id);
        job_unref(j);
}

static void forget_ended(JobTable *t, Job *j) {
        if (j->detached) {
                t->n_results--;
                t->results_bytes -= blob_size(j->result);
        } else
                t->n_ended--;
        forget(t, j);
}

void job_table_done(JobTable *t) {
        List *n;

        cached_done(t);
        while ((n = list_first(&t->ended)) || (n = list_first(&t->results)))
                forget_ended(t, list_entry(n, Job, table_link));
        while ((n = list_first(&t->live)))
                forget(t, list_entry(n, Job, table_link));
        map_done(&t->by_id);
}

int job_table_restore(JobTable *t, Job *j) {
        int r = map_add(&t->by_id, &j->by_id, j->id);

        if (r < 0)
                return r;
        job_ref(j);
        list_append(&t->live, &j->table_link);
        t->n_live++;
        t->last_id = MAX(t->last_id, j->id);
        return 0;
}

int job_table_add(JobTable *t, Job *j) {
        j->id = MAX(t->last_id + 1, job_id_at(realtime_usec()));
        return job_table_restore(t, j);
}

void job_table_forget(JobTable *t, Job *j) {
        t->n_live--;
        cached_abandon(j);
        forget(t, j);
}

void job_table_end(JobTable *t, Job *j) {
        list_remove(&j->table_link);
        t->n_live--;
        t->totals[j->state]++;
        if (j->stored) {
                forget(t, j);
                return;
        }
        if (j->detached) {
                list_append(&t->results, &j->table_link);
                t->n_results++;
                t->results_bytes += blob_size(j->result);
        } else {
                list_append(&t->ended, &j->table_link);
                t->n_ended++;
        }
        job_table_trim(t);
}

static void drop_result(JobTable *t, Job *j) {
        EventFields f = { .job = j->id, .pool = j->pool_name };
        uint64_t now = now_usec();

        t->dropped++;
        if (t->dropped_told_usec == 0 || now - t->dropped_told_usec > DROPPED_TELL_USEC) {
                t->dropped_told_usec = now;
                event_send(t->host, EVENT_RESULT_DROPPED, &f, "A kept result was dropped to make room (ResultsMax=, ResultsCountMax=), %llu so far",
                           (unsigned long long) t->dropped);
        }
        forget_ended(t, j);
}

void job_table_trim(JobTable *t) {
        List *n;

        while (t->n_ended > JOB_HISTORY_MAX && (n = list_first(&t->ended)))
                forget_ended(t, list_entry(n, Job, table_link));
        while ((t->n_results > t->results_count_max || t->results_bytes > t->results_max) && (n = list_first(&t->results)))
                drop_result(t, list_entry(n, Job, table_link));
}

Job *job_table_find(JobTable *t, uint64_t id) {
        return map_get(&t->by_id, id, Job, by_id);
}
