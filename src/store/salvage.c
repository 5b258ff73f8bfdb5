/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * After damage. What SQLite can still read of the old database is copied, row by row and checked, into a new one; where a page cannot be read,
 * the ids are searched for what lies behind it. The old file is put aside with its WAL, for people; nothing in it is changed.
 *
 * The new one is written under a name of its own (STORE_NEW_FILE), then called STORE_SALVAGED_FILE, and only then takes the old one's place: a
 * crash before that name leaves the old one as it was, a crash after it is continued at the next start. A WAL never stays behind without its
 * database, because SQLite would play it into whatever lies there next.
 */

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "basic/fd.h"
#include "store/internal.h"

/* Halvings of a range in which nothing was found until it is given up. */
#define SEARCH_DEPTH 8
/* Looks in all; each is a few pages. */
#define SEARCH_MAX 200000U

typedef struct Salvager {
        Db *new;
        sqlite3 *old;
        sqlite3_stmt *up, *down, *body;
        unsigned looks;
        Salvage *found;
        uint64_t last_id;
} Salvager;

static char *path_of(const char *directory, const char *file, const char *suffix) {
        return str_printf("%s/%s%s", directory, file, suffix);
}

/* What is read no more can be damage, or a bad sector; what is no memory is neither. */
static bool is_hole(int code) {
        return (code & 0xff) != SQLITE_NOMEM && (code & 0xff) != SQLITE_BUSY && (code & 0xff) != SQLITE_LOCKED;
}

/* The body of a job in the old database. Returns 1 where it is sound, with the statement at its row where it stands apart. */
static int old_body(Salvager *s, sqlite3_stmt *row, int column, const JobRecord *j, BodyPart part) {
        int code;

        if (sqlite3_column_type(row, column + BODY_COLUMNS - 1) != SQLITE_NULL)
                return body_valid(row, column, j, part, sqlite3_column_blob(row, column + BODY_COLUMNS - 1),
                                  (size_t) sqlite3_column_bytes(row, column + BODY_COLUMNS - 1));
        (void) sqlite3_bind_int64(s->body, 1, body_id(j->id, part));
        code = sqlite3_step(s->body);
        if (code != SQLITE_ROW)
                return code == SQLITE_DONE || is_hole(code) ? 0 : db_fail(s->new, code, "salvaging");
        return body_valid(row, column, j, part, sqlite3_column_blob(s->body, 0), (size_t) sqlite3_column_bytes(s->body, 0));
}

/* Binds a body's columns as they are, or as none, and copies what stands apart. */
static int copy_body(Salvager *s, sqlite3_stmt *to, sqlite3_stmt *row, int column, const JobRecord *j, BodyPart part) {
        bool there = sqlite3_column_type(row, column) != SQLITE_NULL;
        int r;

        r = there ? old_body(s, row, column, j, part) : 0;
        if (r > 0)
                for (int i = 0; i < BODY_COLUMNS; i++)
                        (void) sqlite3_bind_value(to, column + 1 + i, sqlite3_column_value(row, column + i));
        else if (there && r == 0)
                s->found->bodies++;
        if (r > 0 && sqlite3_column_type(row, column + BODY_COLUMNS - 1) == SQLITE_NULL) {
                sqlite3_stmt *st = db_statement(s->new, STATEMENT_BODY_ADD);

                (void) sqlite3_bind_int64(st, 1, body_id(j->id, part));
                (void) sqlite3_bind_value(st, 2, sqlite3_column_value(s->body, 0));
                r = db_run(s->new, st, "salvaging");
        }
        (void) sqlite3_reset(s->body);
        return r == -EEXIST ? 0 : r < 0 ? r : 0;
}

/* Its key, where the table of keys did not have it. */
static int copy_key(Salvager *s, const JobRecord *j) {
        sqlite3_stmt *st;
        int64_t holder = 0;
        int r;

        if (!j->key || (j->state >= JOB_COMPLETED && j->finished_usec + s->new->key_usec <= realtime_usec()))
                return 0;
        st = db_statement(s->new, STATEMENT_KEY_GET);
        (void) sqlite3_bind_int64(st, 1, j->uid);
        (void) sqlite3_bind_text(st, 2, j->key, -1, SQLITE_STATIC);
        r = db_number(s->new, st, &holder);
        if (r >= 0 && (j->state >= JOB_COMPLETED || holder == (int64_t) j->id))
                return 0;
        if (r < 0 && r != -ENOENT)
                return r;
        st = db_statement(s->new, STATEMENT_KEY_SET);
        (void) sqlite3_bind_int64(st, 1, j->uid);
        (void) sqlite3_bind_text(st, 2, j->key, -1, SQLITE_STATIC);
        (void) sqlite3_bind_int64(st, 3, (int64_t) j->id);
        r = db_run(s->new, st, "salvaging");
        if (r < 0 || j->state < JOB_COMPLETED)
                return r;
        st = db_statement(s->new, STATEMENT_KEY_EXPIRE);
        (void) sqlite3_bind_int64(st, 1, j->uid);
        (void) sqlite3_bind_text(st, 2, j->key, -1, SQLITE_STATIC);
        (void) sqlite3_bind_int64(st, 3, (int64_t) j->id);
        (void) sqlite3_bind_int64(st, 4, (int64_t) (j->finished_usec + s->new->key_usec));
        return db_run(s->new, st, "salvaging");
}

/* One row, if it can be one of ours. */
static int copy_job(Salvager *s, sqlite3_stmt *row) {
        _cleanup_(job_record_done) JobRecord j = {};
        sqlite3_stmt *st;
        int r;

        r = row_read(row, &j);
        if (r == -EBADMSG) {
                s->found->holes++;
                return 0;
        }
        if (r < 0)
                return db_fail(s->new, SQLITE_NOMEM, "salvaging");
        st = db_statement(s->new, STATEMENT_ADD);
        (void) sqlite3_clear_bindings(st);
        for (int i = 0; i < ROW_PAYLOAD; i++)
                (void) sqlite3_bind_value(st, i + 1, sqlite3_column_value(row, i));
        r = copy_body(s, st, row, ROW_PAYLOAD, &j, BODY_PAYLOAD);
        if (r >= 0)
                r = copy_body(s, st, row, ROW_RESULT, &j, BODY_RESULT);
        if (r >= 0)
                r = db_run(s->new, st, "salvaging");
        if (r == -EEXIST) /* a tree that is tied in a knot gives a row twice */
                return 0;
        if (r >= 0)
                r = copy_key(s, &j);
        if (r < 0)
                return r;
        s->last_id = MAX(s->last_id, j.id);
        s->found->jobs++;
        s->found->live += j.state < JOB_COMPLETED;
        return 0;
}

/* Copies rows one way until the end (1), or until one cannot be read (0). *at is behind the last one that was read. */
static int walk(Salvager *s, bool up, int64_t low, int64_t high, int64_t *at) {
        sqlite3_stmt *st = up ? s->up : s->down;
        int code, r = 0;

        s->looks++;
        *at = up ? low : high;
        (void) sqlite3_bind_int64(st, 1, low);
        (void) sqlite3_bind_int64(st, 2, high);
        while ((code = sqlite3_step(st)) == SQLITE_ROW) {
                int64_t id = sqlite3_column_int64(st, 0);

                r = copy_job(s, st);
                if (r < 0)
                        break;
                if (id < low || id > high)
                        continue;
                *at = up ? id + 1 : id - 1;
        }
        (void) sqlite3_reset(st);
        if (r < 0)
                return r;
        if (code != SQLITE_DONE && !is_hole(code))
                return db_fail(s->new, code, "salvaging");
        return code == SQLITE_DONE;
}

/* All of a range of ids that can be read: from both ends up to the damage, then what may lie within. */
static int search(Salvager *s, int64_t low, int64_t high, unsigned depth) {
        int64_t from, to;
        int r;

        if (low > high)
                return 0;
        if (s->looks >= SEARCH_MAX) {
                s->found->holes++;
                return 0;
        }
        r = walk(s, true, low, high, &from);
        if (r != 0)
                return r < 0 ? r : 0;
        r = walk(s, false, from, high, &to);
        if (r != 0)
                return r < 0 ? r : 0;
        if (from > low || to < high)
                depth = 0;
        if (depth == 0)
                s->found->holes++;
        if (from >= to || depth == SEARCH_DEPTH)
                return 0;
        int64_t middle = from + (to - from) / 2;
        r = search(s, from, middle, depth + 1);
        return r < 0 ? r : search(s, middle + 1, to, depth + 1);
}

/* Copies a table that is of help but not the point, as far as it can be read. */
static int copy_table(Salvager *s, const char *from, const char *to, int columns) {
        sqlite3_stmt *in = NULL, *out = NULL;
        int r = 0, code;

        if (sqlite3_prepare_v2(s->old, from, -1, &in, NULL) != SQLITE_OK)
                return 0;
        code = sqlite3_prepare_v2(s->new->sql, to, -1, &out, NULL);
        if (code != SQLITE_OK)
                r = db_fail(s->new, code, "salvaging");
        while (r >= 0 && sqlite3_step(in) == SQLITE_ROW) {
                for (int i = 0; i < columns; i++)
                        (void) sqlite3_bind_value(out, i + 1, sqlite3_column_value(in, i));
                r = db_run(s->new, out, "salvaging");
                if (r == -EEXIST)
                        r = 0;
        }
        (void) sqlite3_finalize(in);
        (void) sqlite3_finalize(out);
        return r;
}

/* The two statements of walk(), over rows with these columns; false where the old database has none of that kind. */
static bool prepare_walk(Salvager *s, const char *columns) {
        _cleanup_free_ char *up = str_printf("SELECT %s, " PAYLOAD_COLUMNS ", " RESULT_COLUMNS " FROM jobs NOT INDEXED WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
                                             columns);
        _cleanup_free_ char *down = up ? str_printf("%s DESC", up) : NULL;

        (void) sqlite3_finalize(s->up);
        (void) sqlite3_finalize(s->down);
        s->up = s->down = NULL;
        return down && sqlite3_prepare_v2(s->old, up, -1, &s->up, NULL) == SQLITE_OK && sqlite3_prepare_v2(s->old, down, -1, &s->down, NULL) == SQLITE_OK;
}

static int copy_all(Salvager *s) {
        uint64_t id;
        int r;

        /* Words only, the rest is found anew. A loss that nobody has accepted is told once more. */
        r = copy_table(s, "SELECT name, value FROM meta WHERE name IN ('instance', 'last_id', 'loss')", "INSERT INTO meta (name, value) VALUES (?1, ?2)", 2);
        if (r >= 0)
                r = copy_table(s, "SELECT id, method, created, body FROM dictionaries",
                               "INSERT INTO dictionaries (id, method, created, body) VALUES (?1, ?2, ?3, ?4)", 4);
        if (r >= 0)
                r = copy_table(s, "SELECT key, value FROM state", "INSERT INTO state (key, value) VALUES (?1, ?2)", 2);
        if (r >= 0)
                r = copy_table(s, "SELECT uid, key, job, expires FROM keys", "INSERT INTO keys (uid, key, job, expires) VALUES (?1, ?2, ?3, ?4)", 4);
        if (r >= 0)
                /* Rows of tasks may be missing: a running flowd, which has all of them, is to find another revision than it knows, and to write
                 * the session anew. */
                r = copy_table(s, "SELECT number, revision + 1000000, body, moving FROM flow_sessions",
                               "INSERT INTO flow_sessions (number, revision, body, moving) VALUES (?1, ?2, ?3, ?4)", 4);
        if (r >= 0)
                r = copy_table(s, "SELECT session, seq, body, moving, result FROM flow_tasks",
                               "INSERT INTO flow_tasks (session, seq, body, moving, result) VALUES (?1, ?2, ?3, ?4, ?5)", 5);
        if (r >= 0)
                r = copy_table(s, "SELECT session, number, body FROM flow_log", "INSERT INTO flow_log (session, number, body) VALUES (?1, ?2, ?3)", 3);
        if (r < 0)
                return r;
        if (db_meta_get_id(s->new, "last_id", &id) >= 0)
                s->last_id = id;
        s->new->trouble = STORE_OK;
        if ((!prepare_walk(s, ROW_COLUMNS) && !prepare_walk(s, ROW_COLUMNS_1 ", 0")) ||
            sqlite3_prepare_v2(s->old, "SELECT body FROM bodies WHERE id = ?1", -1, &s->body, NULL) != SQLITE_OK) {
                s->found->holes++; /* not even the schema */
                return 0;
        }
        return search(s, 1, STORE_ID_MAX, 0);
}

static void describe(Salvage *f, const char *reason, bool earlier) {
        char when[32];
        time_t now = time(NULL);
        struct tm tm;

        (void) strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&now, &tm));
        _cleanup_free_ char *text = str_printf(
                 "the store was damaged on %s (%.100s): %llu jobs were salvaged, %llu of them not ended; %llu payloads or results and %llu places in "
                 "the table of jobs could not be read. The damaged file is kept as %s.%s See what is missing, check the disk, then: flowctl store accept-loss",
                 when, reason, (unsigned long long) f->jobs, (unsigned long long) f->live, (unsigned long long) f->bodies,
                 (unsigned long long) f->holes, f->corrupt, earlier ? " It was not the first time." : "");
        str_copy(f->loss, sizeof(f->loss), text ? text : "the store was damaged, and salvaged: see what is missing, then: flowctl store accept-loss");
}

static int write_new(Salvager *s, const char *reason) {
        _cleanup_free_ char *earlier = NULL;
        int r;

        r = db_exec(s->new, "BEGIN IMMEDIATE");
        if (r >= 0)
                r = copy_all(s);
        if (r >= 0)
                r = db_meta_get(s->new, "loss", &earlier);
        if (r < 0)
                return r;
        describe(s->found, reason, earlier);
        r = db_meta_set(s->new, "loss", s->found->loss);
        if (r >= 0)
                r = db_meta_set_id(s->new, "last_id", MAX(s->last_id, s->new->last_id));
        return r < 0 ? r : db_exec(s->new, "COMMIT");
}

/* Opened so that nothing of it is changed; a WAL is read as far as it is whole. */
static int open_old(Salvager *s, const char *path) {
        int on, code = sqlite3_open_v2(path, &s->old, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);

        if (code != SQLITE_OK)
                return is_hole(code) ? 0 : db_fail(s->new, code, "opening what is damaged");
        (void) sqlite3_busy_timeout(s->old, STORE_BUSY_MSEC);
        (void) sqlite3_db_config(s->old, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, &on);
        (void) sqlite3_db_config(s->old, SQLITE_DBCONFIG_WRITABLE_SCHEMA, 1, &on); /* a schema that is damaged in part is read in part */
        (void) sqlite3_exec(s->old, "PRAGMA query_only = ON; PRAGMA mmap_size = 0; PRAGMA cell_size_check = OFF;", NULL, NULL, NULL);
        return 0;
}

static void salvager_done(Salvager *s) {
        (void) sqlite3_finalize(s->up);
        (void) sqlite3_finalize(s->down);
        (void) sqlite3_finalize(s->body);
        (void) sqlite3_close_v2(s->old);
}

static int move(Db *db, const char *directory, const char *from, const char *from_suffix, const char *to, const char *to_suffix) {
        _cleanup_free_ char *a = path_of(directory, from, from_suffix), *b = path_of(directory, to, to_suffix);

        if (!a || !b)
                return db_fail(db, SQLITE_NOMEM, "moving files");
        return rename(a, b) < 0 && errno != ENOENT ? db_fail_errno(db, errno, "moving files") : 0;
}

static int sync_directory(Db *db, const char *directory) {
        int r = dir_sync(directory);

        return r < 0 ? db_fail_errno(db, -r, "syncing the directory") : 0;
}

/* A name that nothing has yet. */
static int choose_name(Db *db, const char *directory, char *buf, size_t size) {
        char when[32];
        time_t now = time(NULL);
        struct tm tm;

        (void) strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
        for (unsigned n = 1; n < 1000; n++) {
                if (n == 1)
                        snprintf(buf, size, STORE_FILE ".corrupt-%s", when);
                else
                        snprintf(buf, size, STORE_FILE ".corrupt-%s-%u", when, n);
                _cleanup_free_ char *path = path_of(directory, buf, ""), *wal = path_of(directory, buf, "-wal");
                if (!path || !wal)
                        return db_fail(db, SQLITE_NOMEM, "moving files");
                if (access(path, F_OK) < 0 && access(wal, F_OK) < 0)
                        return 0;
        }
        return db_fail_errno(db, EEXIST, "moving files");
}

/* The salvaged file takes the place of the damaged one. May be cut off anywhere, and done again. */
static int settle(Db *db, const char *directory, const char *corrupt) {
        int r;

        r = move(db, directory, STORE_FILE, "-wal", corrupt, "-wal");
        if (r >= 0)
                r = move(db, directory, STORE_FILE, "-shm", corrupt, "-shm");
        if (r >= 0)
                r = move(db, directory, STORE_FILE, "", corrupt, "");
        if (r >= 0)
                r = sync_directory(db, directory);
        if (r >= 0)
                r = move(db, directory, STORE_SALVAGED_FILE, "", STORE_FILE, "");
        return r < 0 ? r : sync_directory(db, directory);
}

static void remove_new(const char *directory) {
        _cleanup_free_ char *new = path_of(directory, STORE_NEW_FILE, ""), *journal = path_of(directory, STORE_NEW_FILE, "-journal");

        if (new)
                (void) unlink(new);
        if (journal)
                (void) unlink(journal);
}

int store_salvage(Db *db, const char *directory, const char *reason, Salvage *ret) {
        _cleanup_free_ char *old_path = path_of(directory, STORE_FILE, ""), *new_path = path_of(directory, STORE_NEW_FILE, "");
        Db new = { .key_usec = db->key_usec, .last_id = db->last_id };
        Salvage found = {};
        Salvager s = { .new = &new, .found = &found };
        int r;

        if (!old_path || !new_path)
                return db_fail(db, SQLITE_NOMEM, "salvaging");
        remove_new(directory);
        r = choose_name(&new, directory, found.corrupt, sizeof(found.corrupt));
        if (r >= 0)
                r = db_open(&new, new_path, false);
        if (r >= 0)
                r = open_old(&s, old_path);
        if (r >= 0)
                r = write_new(&s, reason);
        salvager_done(&s);
        db_close(&new, false);
        if (r >= 0)
                r = move(&new, directory, STORE_NEW_FILE, "", STORE_SALVAGED_FILE, "");
        if (r >= 0)
                r = settle(&new, directory, found.corrupt);
        if (r < 0) {
                remove_new(directory);
                db->trouble = new.trouble == STORE_OK || new.trouble == STORE_DAMAGED ? STORE_FAILED : new.trouble;
                snprintf(db->text, sizeof(db->text), "it is damaged (%.150s), and cannot be salvaged: %.250s", reason, new.text);
                return store_health_errno(db->trouble);
        }
        db->trouble = STORE_OK;
        *ret = found;
        return 0;
}

int store_rescue(Db *db, const char *directory) {
        _cleanup_free_ char *new = path_of(directory, STORE_NEW_FILE, "");
        char aside[64];
        uint64_t bytes;
        int r;

        if (!new)
                return db_fail(db, SQLITE_NOMEM, "writing the database down again");
        remove_new(directory);
        r = choose_name(db, directory, aside, sizeof(aside));
        if (r >= 0)
                r = db_backup(db, new, &bytes);
        if (r < 0 && db->trouble == STORE_OK)
                r = db_fail_errno(db, -r, "writing the database down again");
        if (r < 0)
                return r;
        db_close(db, true);
        r = move(db, directory, STORE_NEW_FILE, "", STORE_SALVAGED_FILE, "");
        return r < 0 ? r : settle(db, directory, aside);
}

int store_salvage_finish(Db *db, const char *directory) {
        _cleanup_free_ char *salvaged = path_of(directory, STORE_SALVAGED_FILE, ""), *path = path_of(directory, STORE_FILE, ""),
                            *wal = path_of(directory, STORE_FILE, "-wal");
        char corrupt[64];
        int r;

        if (!salvaged || !path || !wal)
                return db_fail(db, SQLITE_NOMEM, "opening");
        remove_new(directory);
        bool cut_off = access(salvaged, F_OK) >= 0, orphan = access(path, F_OK) < 0 && access(wal, F_OK) >= 0;
        if (!cut_off && !orphan)
                return 0;
        r = choose_name(db, directory, corrupt, sizeof(corrupt));
        return r < 0 ? r : settle(db, directory, corrupt);
}
