/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the writer does to jobs. Every function finds out whether it can before it changes anything, so that its own refusal leaves the group's
 * transaction as it was; what goes wrong later is the disk's failure and voids the whole group.
 *
 * An end is recorded once: each change of a live job looks at the state first, in the same transaction.
 */

#include <errno.h>

#include "basic/fault.h"
#include "store/internal.h"

/* What must be known of a job before it is changed. */
typedef struct Head {
        JobState state;
        uid_t uid;
        char *key;
        char *method;
        bool payload_apart, result_apart; /* they stand in `bodies` */
} Head;

static void head_done(Head *h) {
        free(h->key);
        free(h->method);
        *h = (Head) {};
}

static int head_read(Db *db, uint64_t id, Head *ret) {
        sqlite3_stmt *st;
        int r = 0, code;

        if (id == 0 || id > STORE_ID_MAX)
                return -ENOENT;
        st = db_statement(db, STATEMENT_HEAD);
        (void) sqlite3_bind_int64(st, 1, (int64_t) id);
        code = sqlite3_step(st);
        if (code == SQLITE_ROW) {
                const char *key = (const char *) sqlite3_column_text(st, 2), *method = (const char *) sqlite3_column_text(st, 5);
                int64_t state = sqlite3_column_int64(st, 0);

                if (state < 0 || state >= _JOB_STATE_MAX)
                        r = db_damaged(db, "job number %llu has the state %lld", (unsigned long long) id, (long long) state);
                else
                        *ret = (Head) {
                                .state = (JobState) state,
                                .uid = (uid_t) sqlite3_column_int64(st, 1),
                                .key = key ? strdup(key) : NULL,
                                .method = method ? strdup(method) : NULL, /* only what is learnt goes by it: NULL does no harm */
                                .payload_apart = sqlite3_column_int(st, 3),
                                .result_apart = sqlite3_column_int(st, 4),
                        };
                if (r >= 0 && sqlite3_column_type(st, 2) != SQLITE_NULL && !ret->key)
                        r = db_fail(db, SQLITE_NOMEM, "reading a key");
        } else
                r = code == SQLITE_DONE ? -ENOENT : db_fail(db, code, "looking at a job");
        (void) sqlite3_reset(st);
        return r;
}

static void bind_text(sqlite3_stmt *st, int column, const char *text) {
        (void) sqlite3_bind_text(st, column, text, -1, SQLITE_STATIC); /* NULL where it is NULL */
}

static void bind_u64(sqlite3_stmt *st, int column, uint64_t v) {
        (void) sqlite3_bind_int64(st, column, (int64_t) v);
}

/* A live job below the mark moves it, on the disk too. */
static int note_live(Db *db, uint64_t id) {
        int r;

        if (id >= db->new_low)
                return 0;
        r = db_meta_set_id(db, "low", id);
        if (r >= 0)
                db->new_low = id;
        return r;
}

static void note_ended(Db *db, uint64_t id) {
        db->oldest = MIN(db->oldest, id);
        db->aged = MIN(db->aged, id);
}

/* -EEXIST: *ret is the job that has the key. */
static int key_check(Db *db, const JobRecord *j, uint64_t *ret) {
        sqlite3_stmt *st;
        int r = 0, code;

        if (!j->key)
                return 0;
        st = db_statement(db, STATEMENT_KEY_GET);
        (void) sqlite3_bind_int64(st, 1, j->uid);
        bind_text(st, 2, j->key);
        code = sqlite3_step(st);
        if (code == SQLITE_ROW) {
                uint64_t expires = (uint64_t) sqlite3_column_int64(st, 1);

                if (expires == 0 || expires > realtime_usec()) {
                        *ret = (uint64_t) sqlite3_column_int64(st, 0);
                        r = -EEXIST;
                }
        } else if (code != SQLITE_DONE)
                r = db_fail(db, code, "looking for a key");
        (void) sqlite3_reset(st);
        return r;
}

static int key_run(Db *db, Statement which, uid_t uid, const char *key, uint64_t id, uint64_t expires) {
        sqlite3_stmt *st;

        if (!key)
                return 0;
        st = db_statement(db, which);
        (void) sqlite3_bind_int64(st, 1, uid);
        bind_text(st, 2, key);
        bind_u64(st, 3, id);
        if (which == STATEMENT_KEY_EXPIRE)
                bind_u64(st, 4, expires);
        return db_run(db, st, "writing a key");
}

static int key_expire(Db *db, uid_t uid, const char *key, uint64_t id) {
        return key_run(db, STATEMENT_KEY_EXPIRE, uid, key, id, MAX(realtime_usec() + db->key_usec, 1U));
}

/* Writes a whole row, with the bodies that are given. */
static int insert(Db *db, const JobRecord *j, const Body *payload, const Body *result) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_ADD);
        int r, code;

        bind_u64(st, 1, j->id);
        (void) sqlite3_bind_int(st, 2, (int) j->state);
        (void) sqlite3_bind_int(st, 3, (int) j->durability);
        (void) sqlite3_bind_int64(st, 4, j->uid);
        bind_text(st, 5, j->pool);
        bind_text(st, 6, j->method);
        bind_text(st, 7, j->session);
        bind_text(st, 8, j->key);
        bind_text(st, 9, j->trace);
        (void) sqlite3_bind_int(st, 10, (int) j->kind);
        bind_u64(st, 11, j->payload_size);
        (void) sqlite3_bind_int(st, 12, j->priority);
        (void) sqlite3_bind_int64(st, 13, j->attempts);
        (void) sqlite3_bind_int64(st, 14, j->crashes);
        (void) sqlite3_bind_int64(st, 15, j->failures);
        (void) sqlite3_bind_int64(st, 16, j->retries);
        bind_u64(st, 17, j->retry_usec);
        bind_u64(st, 18, j->accepted_usec);
        bind_u64(st, 19, j->not_before_usec);
        bind_u64(st, 20, j->deadline_usec);
        bind_u64(st, 21, j->timeout_usec);
        bind_u64(st, 22, j->dispatched_usec);
        bind_u64(st, 23, j->finished_usec);
        bind_text(st, 24, j->worker);
        bind_text(st, 25, j->code);
        bind_text(st, 26, j->error);
        (void) sqlite3_bind_int(st, 27, j->retry);
        (void) sqlite3_bind_int(st, 28, (int) j->result_kind);
        bind_u64(st, 29, j->result_size);
        (void) sqlite3_bind_int(st, 30, (int) j->cache);
        code = body_bind(st, 31, payload);
        if (code == SQLITE_OK)
                code = body_bind(st, 31 + BODY_COLUMNS, result);
        r = code == SQLITE_OK ? db_run(db, st, "adding a job") : db_fail(db, code, "adding a job");
        if (r < 0)
                return r;
        r = body_store(db, j->id, BODY_PAYLOAD, payload);
        if (r >= 0)
                r = body_store(db, j->id, BODY_RESULT, result);
        if (r >= 0 && j->key)
                r = key_run(db, STATEMENT_KEY_SET, j->uid, j->key, j->id, 0);
        if (r >= 0 && j->state >= JOB_COMPLETED)
                r = key_expire(db, j->uid, j->key, j->id);
        if (r >= 0 && j->state < JOB_COMPLETED)
                r = note_live(db, j->id);
        if (r < 0)
                return db->trouble != STORE_OK ? r : db_damaged(db, "what belongs to job number %llu is there without it", (unsigned long long) j->id);
        if (j->state >= JOB_COMPLETED)
                note_ended(db, j->id);
        db->change.jobs[j->state]++;
        db->last_id = MAX(db->last_id, j->id);
        return 0;
}

static bool record_valid(const JobRecord *j) {
        return j->id > 0 && j->id <= STORE_ID_MAX && j->pool && j->state >= 0 && j->state < _JOB_STATE_MAX && j->kind >= 0 &&
                j->kind < _PAYLOAD_KIND_MAX && j->result_kind >= 0 && j->result_kind < _PAYLOAD_KIND_MAX && j->durability >= 0 &&
                j->durability < _DURABLE_MAX;
}

int job_add(Db *db, Request *q) {
        _cleanup_(body_done) Body payload = {};
        const Body none = {};
        JobRecord *j = &q->r.record;
        uint64_t holder = 0;
        int r;

        if (fault_point("add") < 0)
                return -EIO;
        if (!record_valid(j) || j->state >= JOB_COMPLETED || !q->body)
                return -EINVAL;
        if (db->over)
                return -ENOSPC;
        r = key_check(db, j, &holder);
        if (r == -EEXIST) {
                if (q->repeated && holder == j->id)
                        return 0; /* the commit that was said to have failed has not */
                q->r.id = holder;
        }
        if (r < 0)
                return r;
        r = body_encode(db, q, j, BODY_PAYLOAD, &payload);
        if (r < 0)
                return r;
        r = insert(db, j, &payload, &none);
        if (r == -EEXIST) {
                if (q->repeated)
                        return 0;
                q->r.id = j->id;
        }
        return r;
}

/* A change of a job that is not there: it was lost to damage, and the loop has it still. */
static int add_lost(Db *db, Request *q) {
        _cleanup_(body_done) Body body = {};
        const Body none = {};
        JobRecord *j = &q->r.record;
        bool ended = j->state >= JOB_COMPLETED;
        int r;

        if (!record_valid(j) || (!ended && !q->body))
                return -ENOENT;
        r = body_encode(db, q, j, ended ? BODY_RESULT : BODY_PAYLOAD, &body);
        if (r < 0)
                return r;
        return ended ? insert(db, j, &none, &body) : insert(db, j, &body, &none);
}

/* The head of a live job. -EALREADY where it has ended. */
static int head_live(Db *db, uint64_t id, Head *ret) {
        int r = head_read(db, id, ret);

        return r < 0 ? r : ret->state >= JOB_COMPLETED ? -EALREADY : 0;
}

static void note_change(Db *db, JobState from, JobState to) {
        db->change.jobs[from]--;
        db->change.jobs[to]++;
}

int job_attempt(Db *db, Request *q) {
        _cleanup_(head_done) Head h = {};
        JobRecord *j = &q->r.record;
        sqlite3_stmt *st;
        int r;

        j->state = JOB_RUNNING;
        r = head_live(db, j->id, &h);
        if (r == -ENOENT)
                return add_lost(db, q);
        if (r < 0)
                return r;
        st = db_statement(db, STATEMENT_ATTEMPT);
        bind_u64(st, 1, j->id);
        (void) sqlite3_bind_int64(st, 2, j->attempts);
        (void) sqlite3_bind_int64(st, 3, j->crashes);
        (void) sqlite3_bind_int64(st, 4, j->failures);
        bind_text(st, 5, j->worker);
        bind_u64(st, 6, j->dispatched_usec);
        r = db_run(db, st, "recording an attempt");
        if (r >= 0)
                note_change(db, h.state, JOB_RUNNING);
        return r;
}

int job_requeue(Db *db, Request *q) {
        _cleanup_(head_done) Head h = {};
        JobRecord *j = &q->r.record;
        sqlite3_stmt *st;
        int r;

        j->state = JOB_QUEUED;
        r = head_live(db, j->id, &h);
        if (r == -ENOENT)
                return add_lost(db, q);
        if (r < 0)
                return r;
        st = db_statement(db, STATEMENT_REQUEUE);
        bind_u64(st, 1, j->id);
        (void) sqlite3_bind_int64(st, 2, j->attempts);
        (void) sqlite3_bind_int64(st, 3, j->crashes);
        (void) sqlite3_bind_int64(st, 4, j->failures);
        bind_u64(st, 5, j->not_before_usec);
        bind_text(st, 6, j->code);
        bind_text(st, 7, j->error);
        r = db_run(db, st, "queueing a job again");
        if (r >= 0)
                note_change(db, h.state, JOB_QUEUED);
        return r;
}

static int end(Db *db, const JobRecord *j, const Head *h, const Body *result) {
        sqlite3_stmt *st = db_statement(db, j->state == JOB_COMPLETED ? STATEMENT_END_COMPLETED : STATEMENT_END);
        int r, code;

        bind_u64(st, 1, j->id);
        (void) sqlite3_bind_int(st, 2, (int) j->state);
        (void) sqlite3_bind_int64(st, 3, j->attempts);
        (void) sqlite3_bind_int64(st, 4, j->crashes);
        (void) sqlite3_bind_int64(st, 5, j->failures);
        bind_u64(st, 6, j->dispatched_usec);
        bind_u64(st, 7, j->finished_usec);
        bind_text(st, 8, j->worker);
        bind_text(st, 9, j->code);
        bind_text(st, 10, j->error);
        (void) sqlite3_bind_int(st, 11, j->retry);
        (void) sqlite3_bind_int(st, 12, (int) j->result_kind);
        bind_u64(st, 13, j->result_size);
        code = body_bind(st, 14, result);
        (void) sqlite3_bind_int(st, 19, (int) j->cache);
        r = code == SQLITE_OK ? db_run(db, st, "ending a job") : db_fail(db, code, "ending a job");
        if (r >= 0)
                r = body_store(db, j->id, BODY_RESULT, result);
        if (r >= 0 && j->state == JOB_COMPLETED && h->payload_apart)
                r = body_delete(db, j->id, BODY_PAYLOAD);
        if (r >= 0)
                r = key_expire(db, h->uid, h->key, j->id);
        if (r < 0)
                return db->trouble != STORE_OK ? r : db_damaged(db, "job number %llu cannot be ended", (unsigned long long) j->id);
        note_change(db, h->state, j->state);
        note_ended(db, j->id);
        return 0;
}

int db_job_end(Db *db, Request *q) {
        _cleanup_(body_done) Body result = {};
        _cleanup_(head_done) Head h = {};
        JobRecord *j = &q->r.record;
        uid_t uid = j->uid;
        int r;

        if (j->state < JOB_COMPLETED || j->state >= _JOB_STATE_MAX || j->result_kind < 0 || j->result_kind >= _PAYLOAD_KIND_MAX)
                return -EINVAL;
        r = head_live(db, j->id, &h);
        if (r == -ENOENT)
                return add_lost(db, q);
        if (r == -EALREADY && q->repeated && h.state == j->state)
                return 0;
        if (r < 0)
                return r;
        j->uid = h.uid; /* the sum covers it, and the loop need not have set it */
        if (!j->method)
                j->method = TAKE_PTR(h.method);
        r = body_encode(db, q, j, BODY_RESULT, &result);
        if (r >= 0)
                r = end(db, j, &h, &result);
        j->uid = uid;
        return r;
}

int job_lost(Db *db, uint64_t id) {
        _cleanup_(head_done) Head h = {};
        _cleanup_(job_record_done) JobRecord j = {};
        const Body none = {};
        int r;

        r = head_live(db, id, &h);
        if (r >= 0)
                r = job_get(db, id, 0, &j);
        if (r < 0)
                return r;
        free(j.code);
        free(j.error);
        j.code = strdup("PayloadDamaged");
        j.error = strdup("its payload was damaged on the disk, so it cannot be run: submit it again");
        if (!j.code || !j.error)
                return db_fail(db, SQLITE_NOMEM, "ending a job");
        j.state = JOB_FAILED;
        j.finished_usec = realtime_usec();
        return end(db, &j, &h, &none);
}

int job_retry(Db *db, Request *q) {
        _cleanup_(job_record_done) JobRecord j = {};
        _cleanup_(head_done) Head h = {};
        uint64_t not_before = q->r.record.not_before_usec;
        sqlite3_stmt *st;
        int r;

        r = head_read(db, q->r.id, &h);
        if (r < 0)
                return r;
        if (h.state < JOB_COMPLETED)
                return -EALREADY;
        r = job_get(db, q->r.id, STORE_WANT_PAYLOAD, &j);
        if (r < 0)
                return r;
        if (!j.payload)
                return -ENODATA;
        if (j.deadline_usec <= MAX(realtime_usec(), not_before))
                j.deadline_usec = 0; /* it has passed, or would before the job may begin */
        j.attempts++;
        st = db_statement(db, STATEMENT_RETRY);
        bind_u64(st, 1, j.id);
        (void) sqlite3_bind_int64(st, 2, j.attempts);
        bind_u64(st, 3, not_before);
        bind_u64(st, 4, j.deadline_usec);
        r = db_run(db, st, "queueing a job again");
        if (r >= 0 && h.result_apart)
                r = body_delete(db, j.id, BODY_RESULT);
        if (r >= 0)
                r = key_run(db, STATEMENT_KEY_EXPIRE, h.uid, h.key, j.id, 0);
        if (r >= 0)
                r = note_live(db, j.id);
        if (r < 0)
                return r;
        note_change(db, h.state, JOB_QUEUED);
        free(j.code);
        free(j.error);
        j.code = j.error = NULL;
        j.state = JOB_QUEUED;
        j.crashes = j.failures = 0;
        j.not_before_usec = not_before;
        j.finished_usec = j.result_size = 0;
        j.result_kind = PAYLOAD_TEXT;
        j.retry = false;
        /* What the request owned until now had no blob: the loop may free it, and nobody else. */
        job_record_done(&q->r.record);
        q->r.record = j;
        j = (JobRecord) {};
        return 0;
}

int job_delete(Db *db, uint64_t id, bool with_key) {
        _cleanup_(head_done) Head h = {};
        sqlite3_stmt *st;
        int r;

        r = head_read(db, id, &h);
        if (r < 0)
                return r;
        if (h.state < JOB_COMPLETED)
                return -EALREADY;
        st = db_statement(db, STATEMENT_DELETE);
        bind_u64(st, 1, id);
        r = db_run(db, st, "taking a job away");
        if (r >= 0 && h.payload_apart)
                r = body_delete(db, id, BODY_PAYLOAD);
        if (r >= 0 && h.result_apart)
                r = body_delete(db, id, BODY_RESULT);
        if (r >= 0 && with_key)
                r = key_run(db, STATEMENT_KEY_DELETE, h.uid, h.key, id, 0);
        if (r >= 0)
                db->change.jobs[h.state]--;
        return r;
}

int job_save_last_id(Db *db) {
        int r;

        if (db->last_id == db->new_saved_id)
                return 0;
        r = db_meta_set_id(db, "last_id", db->last_id);
        if (r >= 0)
                db->new_saved_id = db->last_id;
        return r;
}

int job_purge(Db *db, Request *q) {
        uint64_t n = 0, *ids = q->r.ids;
        JobRecord *found = NULL;
        int r;

        if (!ids && q->r.filter.state >= 0 && q->r.filter.state < JOB_COMPLETED)
                return -EINVAL;
        r = job_save_last_id(db);
        if (r < 0)
                return r;
        q->at = q->committed_at;
        q->n = q->r.n;
        if (ids) {
                for (; q->at < q->r.n_ids && n < STORE_PURGE_SLICE; n++) {
                        r = job_delete(db, ids[q->at++], true);
                        if (r >= 0)
                                q->n++;
                        else if (db->trouble != STORE_OK)
                                return r;
                }
                return q->at < q->r.n_ids;
        }
        r = job_list(db, &q->r.filter, true, STORE_PURGE_SLICE, &found, &n);
        for (uint64_t i = 0; r >= 0 && i < n; i++)
                r = job_delete(db, found[i].id, true);
        if (r >= 0)
                q->n += n;
        free(found);
        return r < 0 ? r : n == STORE_PURGE_SLICE;
}

int job_low(Db *db) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_NEXT_LIVE);
        uint64_t low = db->last_id + 1;
        unsigned n = 0;
        int code;

        bind_u64(st, 1, db->new_low);
        while ((code = sqlite3_step(st)) == SQLITE_ROW) {
                low = (uint64_t) sqlite3_column_int64(st, 0);
                if (sqlite3_column_int(st, 1) < JOB_COMPLETED || ++n == STORE_SCAN_SLICE)
                        break;
        }
        (void) sqlite3_reset(st);
        if (code != SQLITE_ROW && code != SQLITE_DONE)
                return db_fail(db, code, "looking for live jobs");
        if (low <= db->new_low)
                return 0;
        int r = db_meta_set_id(db, "low", low);
        if (r < 0)
                return r;
        db->new_low = low;
        return n == STORE_SCAN_SLICE;
}
