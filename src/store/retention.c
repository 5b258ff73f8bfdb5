/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is there, and what goes. Ended jobs go by age, by number and by size, the oldest first, in slices that a client does not notice; live
 * ones never do: when they alone fill the store, it takes no more. A key outlives its job's row until KeyRetention= is over, so that a client
 * that comes back late is still told that its job was had.
 *
 * Free pages stay in the file for the jobs to come, unless they are many.
 */

#include <errno.h>
#include <stdio.h>

#include "store/internal.h"

/* How far below it the store takes jobs again: a part of it. */
#define OVER_HYSTERESIS 32
/* While free pages are more than one in so many, and these bytes, they are given back. */
#define VACUUM_SHARE 4
#define VACUUM_BYTES_MIN (16U << 20)

/* Runs a SELECT of pairs, a state and a count. */
static int count_states(Db *db, const char *sql, uint64_t low, int64_t *jobs) {
        sqlite3_stmt *st = NULL;
        int r = 0, code = sqlite3_prepare_v2(db->sql, sql, -1, &st, NULL);

        if (code == SQLITE_OK) {
                (void) sqlite3_bind_int64(st, 1, (int64_t) low);
                while ((code = sqlite3_step(st)) == SQLITE_ROW) {
                        int64_t state = sqlite3_column_int64(st, 0);

                        if (state < 0 || state >= _JOB_STATE_MAX)
                                r = db_damaged(db, "there are jobs in a state %lld", (long long) state);
                        else
                                jobs[state] = sqlite3_column_int64(st, 1);
                }
        }
        if (r >= 0 && code != SQLITE_DONE)
                r = db_fail(db, code, "counting jobs");
        (void) sqlite3_finalize(st);
        return r;
}

int db_survey(Db *db) {
        int64_t jobs[_JOB_STATE_MAX] = {}, all[_JOB_STATE_MAX] = {};
        sqlite3_stmt *st = NULL;
        int64_t highest = 0;
        int r, code;

        r = db_meta_get_id(db, "low", &db->low);
        if (r >= 0)
                r = db_meta_get_id(db, "last_id", &db->saved_id);
        if (r < 0)
                return r;
        code = sqlite3_prepare_v2(db->sql, "SELECT ifnull(max(id), 0) FROM jobs", -1, &st, NULL);
        if (code != SQLITE_OK)
                return db_fail(db, code, "reading ids");
        r = db_number(db, st, &highest);
        (void) sqlite3_finalize(st);
        if (r < 0)
                return r;
        if (highest < 0 || highest > STORE_ID_MAX)
                return db_damaged(db, "there is a job number %lld", (long long) highest);
        db->last_id = MAX(MAX(db->last_id, db->saved_id), (uint64_t) highest);
        db->oldest = db->aged = 0;

        /* The indexes know how many have ended; those that have not are few, or must be read at a start anyway. */
        r = count_states(db, "SELECT 2, count(*) FROM jobs INDEXED BY jobs_by_pool WHERE state >= 2", 0, all);
        if (r >= 0)
                r = count_states(db, "SELECT state, count(*) FROM jobs INDEXED BY jobs_by_state WHERE state > 2 GROUP BY state", 0, jobs);
        jobs[JOB_COMPLETED] = all[JOB_COMPLETED];
        for (int i = JOB_COMPLETED + 1; i < _JOB_STATE_MAX; i++)
                jobs[JOB_COMPLETED] -= jobs[i];
        if (r >= 0)
                r = count_states(db, "SELECT state, count(*) FROM jobs NOT INDEXED WHERE id >= ?1 AND state < 2 GROUP BY state", db->low, jobs);
        if (r >= 0)
                memcpy(db->total.jobs, jobs, sizeof(jobs));
        return r;
}

static uint64_t ended(const Db *db) {
        int64_t n = 0;

        for (int i = JOB_COMPLETED; i < _JOB_STATE_MAX; i++)
                n += db->total.jobs[i] + db->change.jobs[i];
        return n > 0 ? (uint64_t) n : 0;
}

/* Bytes that jobs take: the cache gives way to them, so its own do not count against them. */
static uint64_t used_by_jobs(Db *db) {
        return db->used - MIN(db->used, cache_used(db));
}

static bool is_tight(const StoreConfig *c, uint64_t used) {
        return used > c->max_bytes / 8 * RETENTION_EIGHTHS;
}

int retention_due(Db *db, const StoreConfig *c) {
        int r = db_used(db, &db->used);

        if (r >= 0)
                r = cache_survey(db); /* after a rollback it is not known what the cache takes, and it would count as the jobs' */
        if (r < 0)
                return r;
        if (used_by_jobs(db) >= c->max_bytes)
                db->over = true;
        else if (used_by_jobs(db) < c->max_bytes - c->max_bytes / OVER_HYSTERESIS)
                db->over = false;
        if (is_tight(c, db->used) && cache_used(db) > 0)
                return 1;
        return (ended(db) > c->max_jobs || is_tight(c, used_by_jobs(db))) && ended(db) > 0;
}

/* Takes ended jobs from `*from` on, oldest first: at most `max`, finished before `finished`, with ids below `below`. *from moves behind what was
 * looked at, or to UINT64_MAX where nothing is left to look at. Returns how many went. */
static int take_oldest(Db *db, uint64_t *from, uint64_t max, uint64_t finished, uint64_t below) {
        uint64_t ids[STORE_PURGE_SLICE], next = UINT64_MAX;
        sqlite3_stmt *st = db_statement(db, STATEMENT_OLDEST);
        unsigned n = 0, seen = 0;
        int code, r = 0;

        max = MIN(max, (uint64_t) STORE_PURGE_SLICE);
        (void) sqlite3_bind_int64(st, 1, (int64_t) MIN(*from, (uint64_t) INT64_MAX));
        while ((code = sqlite3_step(st)) == SQLITE_ROW) {
                uint64_t id = (uint64_t) sqlite3_column_int64(st, 0);

                if (id >= below || n == max || seen++ == STORE_SCAN_SLICE) {
                        next = id >= below ? UINT64_MAX : id;
                        break;
                }
                if (sqlite3_column_int(st, 1) >= JOB_COMPLETED && (uint64_t) sqlite3_column_int64(st, 2) < finished)
                        ids[n++] = id;
        }
        (void) sqlite3_reset(st);
        if (code != SQLITE_ROW && code != SQLITE_DONE)
                return db_fail(db, code, "looking for old jobs");
        for (unsigned i = 0; i < n && r >= 0; i++)
                r = job_delete(db, ids[i], false);
        if (r < 0)
                return r;
        *from = next;
        return (int) n;
}

int retention_slice(Db *db, const StoreConfig *c) {
        uint64_t now = realtime_usec(), excess = 0, n_ended = ended(db), old = now > c->max_age_usec ? now - c->max_age_usec : 0;
        sqlite3_stmt *st;
        int r, more = 0;

        r = job_save_last_id(db);
        if (r < 0)
                return r;
        st = db_statement(db, STATEMENT_KEYS_EXPIRED);
        (void) sqlite3_bind_int64(st, 1, (int64_t) now);
        (void) sqlite3_bind_int64(st, 2, STORE_PURGE_SLICE);
        r = db_run(db, st, "forgetting keys");
        if (r < 0)
                return r;
        more |= sqlite3_changes(db->sql) == STORE_PURGE_SLICE;

        if (n_ended > c->max_jobs)
                excess = n_ended - c->max_jobs;
        if (is_tight(c, db->used) && cache_used(db) > 0) {
                r = cache_retain(db, true);
                if (r < 0)
                        return r;
                more |= r;
        }
        if (is_tight(c, used_by_jobs(db)))
                excess = MAX(excess, (uint64_t) STORE_PURGE_SLICE / 8); /* then it is measured again */
        if (excess > 0 && n_ended > 0) {
                r = take_oldest(db, &db->oldest, excess, UINT64_MAX, UINT64_MAX);
                if (r < 0)
                        return r;
                more |= db->oldest != UINT64_MAX && ended(db) > c->max_jobs;
        }
        if (old > 0 && c->max_age_usec != USEC_INFINITY) {
                r = take_oldest(db, &db->aged, STORE_PURGE_SLICE, old, job_id_at(old));
                if (r < 0)
                        return r;
                more |= db->aged != UINT64_MAX;
        }
        r = job_low(db);
        return r < 0 ? r : more | r;
}

int vacuum_slice(Db *db, bool all, uint64_t *freed) {
        int64_t pages, free_pages, left;
        char sql[64];
        int r;

        r = db_number(db, db_statement(db, STATEMENT_PAGES), &pages);
        if (r >= 0)
                r = db_number(db, db_statement(db, STATEMENT_FREE_PAGES), &free_pages);
        if (r < 0)
                return r;
        if (free_pages == 0 || (!all && (free_pages < pages / VACUUM_SHARE || free_pages * STORE_PAGE_SIZE < VACUUM_BYTES_MIN)))
                return 0;
        (void) snprintf(sql, sizeof(sql), "PRAGMA incremental_vacuum(%d)", STORE_VACUUM_SLICE);
        r = db_exec(db, sql);
        if (r >= 0)
                r = db_number(db, db_statement(db, STATEMENT_FREE_PAGES), &left);
        if (r < 0)
                return r;
        if (left < free_pages && freed)
                *freed += (uint64_t) (free_pages - left) * STORE_PAGE_SIZE;
        return left > 0 && left < free_pages;
}
