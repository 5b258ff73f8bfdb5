/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Durable jobs. Three moments of a job's life wait for a commit, and nothing else does: its acceptance (the submitter is answered
 * afterwards), the record that another attempt may begin (made when it is queued again, so that a dispatch never waits), and its end (told
 * afterwards). The acceptance reserves the first attempt, and needs no second record.
 *
 * So the store's count of attempts is that of dispatches that may have happened. A job found there after a crash goes on with a higher
 * number than any that a worker can have seen.
 *
 * While a job is recorded, `recording` is set and it stands in its pool's list of waiting jobs; a cancellation is remembered. While its end
 * is recorded, it stands nowhere but in the job table. A record that cannot be written now, because the disk is full, is kept by the store
 * until it can; the submitter of a new job is refused instead.
 */

#include <errno.h>
#include <stdio.h>

#include "basic/fault.h"
#include "pool/durable.h"

static int copy(const char *s, char **ret) {
        if (s && !(*ret = strdup(s)))
                return -ENOMEM;
        return 0;
}

/* What every record of a job says. */
static StoreRequest *request_new(Job *j, StoreOp op, StoreDone done) {
        StoreRequest *r = store_request_new(op, done, job_ref(j));

        if (!r) {
                job_unref(j);
                return NULL;
        }
        r->id = j->id;
        r->sync = j->durability == DURABLE_YES;
        r->record.id = j->id;
        r->record.durability = j->durability;
        r->record.uid = j->uid;
        r->record.attempts = j->attempts + 1;
        r->record.crashes = j->crashes;
        r->record.failures = j->failures;
        r->record.not_before_usec = j->not_before_usec;
        return r;
}

/* And the rest of it: for a job that the store does not have yet, or has lost to damage. */
static int fill_record(const Job *j, JobRecord *k) {
        if (copy(j->pool_name, &k->pool) < 0 || copy(j->method, &k->method) < 0 || copy(j->session, &k->session) < 0 ||
            copy(j->key, &k->key) < 0 || copy(j->trace, &k->trace) < 0)
                return -ENOMEM;
        k->kind = j->kind;
        k->payload_size = j->payload_size;
        k->payload = blob_ref(j->payload);
        k->priority = j->priority;
        k->retries = j->own_retries ? j->retries : UINT32_MAX;
        k->retry_usec = j->retry_usec;
        k->accepted_usec = j->accepted_real_usec;
        k->deadline_usec = j->deadline_usec;
        k->timeout_usec = j->timeout_usec;
        return 0;
}

static Job *request_done(StoreRequest *r) {
        Job *j = r->userdata;

        store_request_free(r);
        return j;
}

/* --- acceptance --- */

static void on_added(StoreRequest *r) {
        int error = r->error;
        JobRefusal why = { .duplicate_of = error == -EEXIST ? r->id : 0, .code = "StoreUnavailable" };
        _cleanup_free_ char *text = TAKE_PTR(r->text);
        _cleanup_(job_unrefp) Job *j = request_done(r);
        Pool *p = j->pool;

        j->recording = false;
        if (error >= 0) {
                j->stored = true;
                pool_recorded(p, j, true);
                return;
        }
        why.text = text ? text : strerror(-error);
        pool_not_recorded(p, j, &why);
}

Durability durable_default(const JobTable *t) {
        return t->store && store_health(t->store) != STORE_OFF ? DURABLE_YES : DURABLE_NO;
}

int durable_add(JobTable *t, Job *j, char **reterr_text) {
        const char *why = "flowd runs without a store (Store=no)";
        StoreRequest *r;

        if (!t->store || !store_accepts(t->store, &why)) {
                *reterr_text = str_printf("%s; a job that need not survive can be submitted with --durable=no", why);
                return -EROFS;
        }
        r = request_new(j, STORE_OP_ADD, on_added);
        if (!r)
                return -ENOMEM;
        if (fill_record(j, &r->record) < 0) {
                job_unref(request_done(r));
                return -ENOMEM;
        }
        (void) fault_point("accept");
        r->record.state = JOB_QUEUED;
        j->recording = true;
        store_submit(t->store, r);
        return 0;
}

/* --- another attempt --- */

static int requeue(Pool *p, Job *j, const char *code, const char *cause, bool whole);

static void on_requeued(StoreRequest *r) {
        int error = r->error;
        bool whole = r->record.pool;
        _cleanup_(job_unrefp) Job *j = request_done(r);

        if (error == -ENOENT && !whole && requeue(j->pool, j, j->code, j->error, true) >= 0)
                return; /* its row was lost to damage: it is written anew */
        j->recording = false;
        if (error >= 0) {
                pool_recorded(j->pool, j, false);
                return;
        }
        /* The store has tried again while it could. An attempt that is not recorded does not begin: the job is left to the next run. */
        pool_not_recorded(j->pool, j, &(JobRefusal) { .code = "StoreUnavailable", .text = strerror(-error) });
}

static int requeue(Pool *p, Job *j, const char *code, const char *cause, bool whole) {
        StoreRequest *r = request_new(j, STORE_OP_REQUEUE, on_requeued);

        if (!r)
                return -ENOMEM;
        r->sync = false; /* a power cut ends the worker, too: the attempt cannot be going on */
        if (copy(code, &r->record.code) < 0 || copy(cause, &r->record.error) < 0 || (whole && fill_record(j, &r->record) < 0)) {
                job_unref(request_done(r));
                return -ENOMEM;
        }
        r->record.state = JOB_QUEUED;
        j->recording = true;
        (void) fault_point("attempt");
        store_submit(p->jobs->store, r);
        return 0;
}

int durable_requeue(Pool *p, Job *j, const char *code, const char *cause) {
        return requeue(p, j, code, cause, false);
}

/* --- the end --- */

static void end_now(JobTable *t, Job *j) {
        JobResult *result = TAKE_PTR(j->ending);

        (void) fault_point("ended");
        job_end(j, result);
        (void) fault_point("told");
        free(result);
        job_table_end(t, j);
}

typedef struct EndRequest {
        JobTable *table;
        Job *job;
} EndRequest;

/* It could not be recorded: nothing is told that the next run of flowd would not know, and do again. */
static void end_unknown(JobTable *t, Job *j, const char *why) {
        char text[STORE_TEXT_MAX];

        snprintf(text, sizeof(text), "its end could not be recorded (%.300s); the job is done again when flowd runs again", why);
        if (j->ending)
                job_result_done(j->ending);
        free(j->ending);
        j->ending = NULL;
        job_ref(j);
        job_table_forget(t, j);
        job_refuse(j, &(JobRefusal) { .code = "StoreUnavailable", .text = text });
        job_unref(j);
}

/* Told to somebody who came while it was recorded for nobody: it is on the disk now, too. */
static void on_end_synced(StoreRequest *r) {
        EndRequest *e = r->userdata;
        _cleanup_(job_unrefp) Job *j = e->job;
        int error = r->error;

        store_request_free(r);
        if (error < 0)
                end_unknown(e->table, j, strerror(-error));
        else
                end_now(e->table, j);
        free(e);
}

static int record_end(JobTable *t, Job *j, bool whole);

static void on_ended(StoreRequest *r) {
        EndRequest *e = r->userdata;
        JobTable *t = e->table;
        int error = r->error;
        bool whole = r->record.pool, unsynced;
        _cleanup_(job_unrefp) Job *j = e->job;

        unsynced = error >= 0 && !r->sync && j->durability == DURABLE_YES && !list_empty(&j->watches);
        store_request_free(r);
        if (unsynced && (r = store_request_new(STORE_OP_SYNC, on_end_synced, e))) {
                e->job = job_ref(j);
                r->sync = true;
                store_submit(t->store, r);
                return;
        }
        free(e);
        if (error == -ENOENT && !whole && record_end(t, j, true) >= 0)
                return; /* its row was lost to damage: it is written anew */
        if (error < 0 && error != -EALREADY) /* that: it has this end already */
                end_unknown(t, j, strerror(-error));
        else
                end_now(t, j);
}

static int record_end(JobTable *t, Job *j, bool whole) {
        const JobResult *result = j->ending;
        uint64_t offset = j->accepted_real_usec - j->accepted_usec;
        EndRequest *e = new0(EndRequest, 1);
        StoreRequest *r = e ? request_new(j, STORE_OP_END, on_ended) : NULL;
        JobRecord *k;

        if (!r || copy(result->code, &r->record.code) < 0 || copy(result->error, &r->record.error) < 0 || copy(j->ran_on, &r->record.worker) < 0 ||
            (whole && fill_record(j, &r->record) < 0)) {
                if (r)
                        job_unref(request_done(r));
                free(e);
                return -ENOMEM;
        }
        *e = (EndRequest) { .table = t, .job = j };
        r->userdata = e;
        k = &r->record;
        k->attempts = j->attempts;
        k->state = result->dead ? JOB_DEAD : job_state_of(result->status);
        k->retry = result->retry;
        k->result_kind = result->kind;
        k->result_size = blob_size(result->data);
        k->cache = result->cache;
        k->result = blob_ref(result->data);
        k->dispatched_usec = j->dispatched_usec > 0 ? j->dispatched_usec + offset : 0;
        k->finished_usec = j->finished_usec + offset;
        r->lazy = list_empty(&j->watches);
        r->sync = r->sync && !r->lazy; /* whoever asks later waits for the disk then */
        store_submit(t->store, r);
        return 0;
}

void durable_end(JobTable *t, Job *j, JobResult *result) {
        j->finished_usec = now_usec();
        j->ending = new0(JobResult, 1);
        if (j->ending) {
                *j->ending = *result;
                *result = (JobResult) {};
        }
        if (!j->ending || record_end(t, j, false) < 0) {
                job_result_done(result);
                end_unknown(t, j, "out of memory");
        }
}

/* --- without a pool --- */

void durable_set_aside(JobTable *t, Job *j) {
        j->state = JOB_QUEUED;
        j->pool = j->worker = NULL;
        list_append(&t->aside, &j->queue_link);
}

void durable_check_aside(JobTable *t) {
        uint64_t now = realtime_usec();

        LIST_FOREACH_SAFE(l, n, &t->aside) {
                Job *j = list_entry(l, Job, queue_link);
                JobResult r = { .status = FRAME_TIMEOUT, .code = "Timeout" };

                if (j->deadline_usec == 0 || now < j->deadline_usec)
                        continue;
                r.error = strdup("the job's deadline passed while it waited for its pool to be configured");
                list_remove(&j->queue_link);
                durable_end(t, j, &r);
        }
}

/* --- after a restart --- */

static Job *from_record(JobRecord *r) {
        Job *j = job_new();

        if (!j)
                return NULL;
        j->id = r->id;
        j->durability = r->durability;
        j->uid = r->uid;
        j->method = TAKE_PTR(r->method);
        j->session = TAKE_PTR(r->session);
        j->key = TAKE_PTR(r->key);
        j->trace = TAKE_PTR(r->trace);
        j->kind = r->kind;
        j->payload_size = r->payload_size;
        j->priority = r->priority;
        j->attempts = r->attempts;
        j->crashes = r->crashes;
        j->failures = r->failures;
        j->own_retries = r->retries != UINT32_MAX;
        j->retries = j->own_retries ? r->retries : 0;
        j->retry_usec = r->retry_usec;
        j->not_before_usec = r->not_before_usec;
        j->deadline_usec = r->deadline_usec;
        j->timeout_usec = r->timeout_usec;
        j->accepted_real_usec = r->accepted_usec;
        /* before this boot, perhaps: then times in between are counted from now on */
        uint64_t now = now_usec(), real = realtime_usec(), ago = real > r->accepted_usec ? real - r->accepted_usec : 0;
        j->accepted_usec = now > ago ? now - ago : 0;
        j->detached = true;
        j->stored = true;
        if (r->worker)
                str_copy(j->ran_on, sizeof(j->ran_on), r->worker);
        return j;
}

int durable_ended(JobRecord *r, Job **ret) {
        Job *j;

        if (r->state < JOB_COMPLETED)
                return -EAGAIN;
        j = from_record(r);
        if (!j)
                return -ENOMEM;
        j->state = r->state;
        j->result = TAKE_PTR(r->result);
        j->result_kind = r->result_kind;
        j->encoding = r->result_encoding;
        j->cache = r->cache;
        j->error = TAKE_PTR(r->error);
        j->code = job_known_code(r->code);
        j->retry = r->retry;
        if (r->dispatched_usec > 0)
                j->dispatched_usec = j->accepted_usec + (r->dispatched_usec - r->accepted_usec);
        j->finished_usec = j->accepted_usec + (r->finished_usec - r->accepted_usec);
        *ret = j;
        return 0;
}

int durable_restore(JobTable *t, JobRecord *r, Job **ret) {
        _cleanup_(job_unrefp) Job *j = from_record(r);
        int k;

        if (!j)
                return -ENOMEM;
        j->state = JOB_QUEUED;
        j->payload = r->payload ? TAKE_PTR(r->payload) : blob_new(0);
        if (!j->payload)
                return -ENOMEM;
        j->payload_size = blob_size(j->payload);
        k = job_table_restore(t, j);
        if (k < 0)
                return k;
        *ret = TAKE_PTR(j);
        return 0;
}
