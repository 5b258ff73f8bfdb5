/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading. A row is believed only where each of its columns can be one of ours; what cannot is damage, as much as a page that SQLite cannot read.
 * Lists choose their index by hand: the planner has no statistics, and the wrong choice is a scan of a million jobs.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "store/internal.h"

enum {
        ROW_ID, ROW_STATE, ROW_DURABILITY, ROW_UID, ROW_POOL, ROW_METHOD, ROW_SESSION, ROW_KEY, ROW_TRACE, ROW_KIND, ROW_PAYLOAD_SIZE, ROW_PRIORITY,
        ROW_ATTEMPTS, ROW_CRASHES, ROW_FAILURES, ROW_RETRIES, ROW_RETRY_USEC, ROW_ACCEPTED, ROW_NOT_BEFORE, ROW_DEADLINE, ROW_TIMEOUT,
        ROW_DISPATCHED, ROW_FINISHED, ROW_WORKER, ROW_CODE, ROW_ERROR, ROW_RETRY, ROW_RESULT_KIND, ROW_RESULT_SIZE, ROW_CACHE,
};

static int read_text(sqlite3_stmt *st, int column, bool needed, char **ret) {
        const char *text;

        switch (sqlite3_column_type(st, column)) {
        case SQLITE_NULL:
                return needed ? -EBADMSG : 0;
        case SQLITE_TEXT:
                text = (const char *) sqlite3_column_text(st, column);
                if (!text)
                        return -ENOMEM;
                if (strlen(text) != (size_t) sqlite3_column_bytes(st, column))
                        return -EBADMSG;
                *ret = strdup(text);
                return *ret ? 0 : -ENOMEM;
        default:
                return -EBADMSG;
        }
}

static int read_numbers(sqlite3_stmt *st, JobRecord *j) {
        static const struct {
                int column;
                int64_t max;
        } limits[] = {
                { ROW_ID, STORE_ID_MAX }, { ROW_STATE, _JOB_STATE_MAX - 1 }, { ROW_DURABILITY, _DURABLE_MAX - 1 }, { ROW_UID, UINT32_MAX },
                { ROW_KIND, _PAYLOAD_KIND_MAX - 1 }, { ROW_RESULT_KIND, _PAYLOAD_KIND_MAX - 1 }, { ROW_PAYLOAD_SIZE, INT64_MAX },
                { ROW_RESULT_SIZE, INT64_MAX }, { ROW_ATTEMPTS, UINT32_MAX }, { ROW_CRASHES, UINT32_MAX }, { ROW_FAILURES, UINT32_MAX },
                { ROW_RETRIES, UINT32_MAX }, { ROW_RETRY, 1 }, { ROW_CACHE, _FRAME_CACHE_MAX - 1 },
        };
        for (size_t i = 0; i < ELEMENTSOF(limits); i++) {
                int64_t v = sqlite3_column_int64(st, limits[i].column);

                if (sqlite3_column_type(st, limits[i].column) != SQLITE_INTEGER || v < 0 || v > limits[i].max)
                        return -EBADMSG;
        }
        *j = (JobRecord) {
                .id = (uint64_t) sqlite3_column_int64(st, ROW_ID),
                .state = (JobState) sqlite3_column_int(st, ROW_STATE),
                .durability = (Durability) sqlite3_column_int(st, ROW_DURABILITY),
                .uid = (uid_t) sqlite3_column_int64(st, ROW_UID),
                .kind = (PayloadKind) sqlite3_column_int(st, ROW_KIND),
                .payload_size = (uint64_t) sqlite3_column_int64(st, ROW_PAYLOAD_SIZE),
                .priority = sqlite3_column_int(st, ROW_PRIORITY),
                .attempts = (uint32_t) sqlite3_column_int64(st, ROW_ATTEMPTS),
                .crashes = (uint32_t) sqlite3_column_int64(st, ROW_CRASHES),
                .failures = (uint32_t) sqlite3_column_int64(st, ROW_FAILURES),
                .retries = (uint32_t) sqlite3_column_int64(st, ROW_RETRIES),
                .retry_usec = (uint64_t) sqlite3_column_int64(st, ROW_RETRY_USEC),
                .accepted_usec = (uint64_t) sqlite3_column_int64(st, ROW_ACCEPTED),
                .not_before_usec = (uint64_t) sqlite3_column_int64(st, ROW_NOT_BEFORE),
                .deadline_usec = (uint64_t) sqlite3_column_int64(st, ROW_DEADLINE),
                .timeout_usec = (uint64_t) sqlite3_column_int64(st, ROW_TIMEOUT),
                .dispatched_usec = (uint64_t) sqlite3_column_int64(st, ROW_DISPATCHED),
                .finished_usec = (uint64_t) sqlite3_column_int64(st, ROW_FINISHED),
                .retry = sqlite3_column_int(st, ROW_RETRY) > 0,
                .result_kind = (PayloadKind) sqlite3_column_int(st, ROW_RESULT_KIND),
                .result_size = (uint64_t) sqlite3_column_int64(st, ROW_RESULT_SIZE),
                .cache = (FrameCache) sqlite3_column_int(st, ROW_CACHE),
        };
        return j->id > 0 ? 0 : -EBADMSG;
}

int row_read(sqlite3_stmt *st, JobRecord *ret) {
        _cleanup_(job_record_done) JobRecord j = {};
        int r;

        r = read_numbers(st, &j);
        if (r >= 0)
                r = read_text(st, ROW_POOL, true, &j.pool);
        if (r >= 0)
                r = read_text(st, ROW_METHOD, false, &j.method);
        if (r >= 0)
                r = read_text(st, ROW_SESSION, false, &j.session);
        if (r >= 0)
                r = read_text(st, ROW_KEY, false, &j.key);
        if (r >= 0)
                r = read_text(st, ROW_TRACE, false, &j.trace);
        if (r >= 0)
                r = read_text(st, ROW_WORKER, false, &j.worker);
        if (r >= 0)
                r = read_text(st, ROW_CODE, false, &j.code);
        if (r >= 0)
                r = read_text(st, ROW_ERROR, false, &j.error);
        if (r < 0)
                return r;
        *ret = j;
        j = (JobRecord) {};
        return 0;
}

/* The same, with damage told. */
static int read_row(Db *db, sqlite3_stmt *st, JobRecord *ret) {
        int r = row_read(st, ret);

        if (r == -EBADMSG)
                return db_damaged(db, "the row of job number %lld cannot be", (long long) sqlite3_column_int64(st, ROW_ID));
        return r == -ENOMEM ? db_fail(db, SQLITE_NOMEM, "reading a row") : r;
}

int row_read_whole(Db *db, sqlite3_stmt *st, unsigned want, JobRecord *ret) {
        _cleanup_(job_record_done) JobRecord j = {};
        int r;

        r = read_row(db, st, &j);
        if (r >= 0 && want & STORE_WANT_PAYLOAD)
                r = body_read(db, st, ROW_PAYLOAD, &j, BODY_PAYLOAD, &j.payload);
        if (r >= 0 && want & STORE_WANT_RESULT)
                r = body_read_accepted(db, st, ROW_RESULT, &j, BODY_RESULT, want >> STORE_WANT_ACCEPT_SHIFT, &j.result_encoding, &j.result);
        if (r < 0)
                return r;
        *ret = j;
        j = (JobRecord) {};
        return 0;
}

int job_get(Db *db, uint64_t id, unsigned want, JobRecord *ret) {
        sqlite3_stmt *st;
        int r, code;

        if (id == 0 || id > STORE_ID_MAX)
                return -ENOENT;
        st = db_statement(db, STATEMENT_GET);
        (void) sqlite3_bind_int64(st, 1, (int64_t) id);
        code = sqlite3_step(st); /* its snapshot lasts until the reset, so a body that is read meanwhile is of the same moment */
        if (code == SQLITE_ROW)
                r = row_read_whole(db, st, want, ret);
        else
                r = code == SQLITE_DONE ? -ENOENT : db_fail(db, code, "reading a job");
        (void) sqlite3_reset(st);
        return r;
}

/* Appends a condition. */
static void add(sqlite3_str *sql, const char *condition) {
        sqlite3_str_appendf(sql, " AND %s", condition);
}

static sqlite3_stmt *prepare_list(Db *db, const StoreFilter *f, bool ids_only, int *ret_code) {
        sqlite3_str *sql = sqlite3_str_new(db->sql);
        bool ended = f->state < 0 || f->state >= JOB_COMPLETED;
        sqlite3_stmt *st = NULL;
        const char *from;

        if (!ended)
                from = "NOT INDEXED";
        else if (f->session)
                from = "INDEXED BY jobs_by_session";
        else if (f->state > JOB_COMPLETED)
                from = "INDEXED BY jobs_by_state";
        else if (f->method)
                from = "INDEXED BY jobs_by_method";
        else if (f->pool)
                from = "INDEXED BY jobs_by_pool";
        else
                from = "NOT INDEXED";
        /* The conditions of the partial indexes must stand word for word. */
        sqlite3_str_appendf(sql, "SELECT %s FROM jobs %s WHERE %s AND id >= ?1 AND id < ?2", ids_only ? "id" : ROW_COLUMNS, from,
                            ended ? "state >= 2" : "state < 2");
        if (f->state >= 0)
                add(sql, "state = ?4");
        if (f->state > JOB_COMPLETED)
                add(sql, "state > 2");
        if (f->session)
                add(sql, "session = ?5");
        if (f->method)
                add(sql, "method = ?6");
        if (f->pool)
                add(sql, "pool = ?7");
        sqlite3_str_appendall(sql, " ORDER BY id DESC LIMIT ?3");
        char *text = sqlite3_str_finish(sql);
        *ret_code = text ? sqlite3_prepare_v2(db->sql, text, -1, &st, NULL) : SQLITE_NOMEM;
        sqlite3_free(text);
        return st;
}

static void bind_list(sqlite3_stmt *st, const Db *db, const StoreFilter *f, unsigned limit) {
        uint64_t since = f->since_usec > 0 ? job_id_at(f->since_usec) : 0;

        if (f->state >= 0 && f->state < JOB_COMPLETED)
                since = MAX(since, db->low);
        (void) sqlite3_bind_int64(st, 1, (int64_t) since);
        (void) sqlite3_bind_int64(st, 2, f->before_id > 0 && f->before_id <= STORE_ID_MAX ? (int64_t) f->before_id : INT64_MAX);
        (void) sqlite3_bind_int64(st, 3, limit);
        /* A parameter that the text does not have is out of range, and that is all right. */
        (void) sqlite3_bind_int(st, 4, f->state);
        (void) sqlite3_bind_text(st, 5, f->session, -1, SQLITE_STATIC);
        (void) sqlite3_bind_text(st, 6, f->method, -1, SQLITE_STATIC);
        (void) sqlite3_bind_text(st, 7, f->pool, -1, SQLITE_STATIC);
}

int job_list(Db *db, const StoreFilter *f, bool ids_only, unsigned limit, JobRecord **ret, uint64_t *ret_n) {
        size_t n = 0, allocated = 0;
        JobRecord *list = NULL;
        int r = 0, code;
        sqlite3_stmt *st = prepare_list(db, f, ids_only, &code);

        if (!st)
                return db_fail(db, code, "listing jobs");
        bind_list(st, db, f, limit);
        while ((code = sqlite3_step(st)) == SQLITE_ROW) {
                if (n == allocated) {
                        size_t more = allocated > 0 ? allocated * 2 : 64;
                        JobRecord *longer = reallocarray(list, more, sizeof(*list));

                        if (!longer) {
                                r = -ENOMEM;
                                break;
                        }
                        list = longer;
                        allocated = more;
                }
                list[n] = (JobRecord) {};
                if (ids_only)
                        list[n].id = (uint64_t) sqlite3_column_int64(st, 0);
                else
                        r = read_row(db, st, &list[n]);
                if (r < 0)
                        break;
                n++;
        }
        if (r >= 0 && code != SQLITE_DONE)
                r = db_fail(db, code, "listing jobs");
        (void) sqlite3_finalize(st);
        if (r < 0) {
                while (n > 0)
                        job_record_done(&list[--n]);
                free(list);
                return r;
        }
        *ret = list;
        *ret_n = n;
        return 0;
}

static int note_lost(uint64_t **ids, size_t *n, uint64_t id) {
        uint64_t *longer = reallocarray(*ids, *n + 1, sizeof(**ids));

        if (!longer)
                return -ENOMEM;
        *ids = longer;
        longer[(*n)++] = id;
        return 0;
}

int job_load(Db *db, uint64_t *last, unsigned max, int (*job)(JobRecord *r, void *userdata), void *userdata, uint64_t **ret_lost, size_t *ret_n_lost) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_LIVE);
        unsigned n = 0;
        int r = 0, code;

        (void) sqlite3_bind_int64(st, 1, (int64_t) MAX(db->low, *last + 1));
        while ((code = sqlite3_step(st)) == SQLITE_ROW) {
                _cleanup_(job_record_done) JobRecord j = {};

                if (n++ == max) {
                        (void) sqlite3_reset(st);
                        return 1;
                }
                r = row_read_whole(db, st, STORE_WANT_PAYLOAD, &j);
                if (r == -ENOMEM)
                        r = db_fail(db, SQLITE_NOMEM, "loading a job");
                if (r < 0)
                        break;
                *last = j.id;
                r = j.payload ? job(&j, userdata) : note_lost(ret_lost, ret_n_lost, j.id);
                if (r < 0)
                        break;
        }
        if (r >= 0 && code != SQLITE_DONE)
                r = db_fail(db, code, "loading jobs");
        (void) sqlite3_reset(st);
        return r;
}
