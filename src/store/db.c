/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A connection to SQLite, and what its failures mean. There are two kinds. A request's own (its key is taken, its job has ended) is its errno
 * and leaves the transaction as it was. The others are the disk's: they set db->trouble, the transaction is void, and what becomes of its
 * requests is decided by whoever began it.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "basic/fault.h"
#include "store/cache.h"
#include "store/internal.h"

#define WAL_FRAME_HEADER 24U

static const struct {
        const char *name;
        int error;
} healths[_STORE_HEALTH_MAX] = {
        [STORE_OK] = { "ok", 0 },
        [STORE_OFF] = { "off", EOPNOTSUPP },
        [STORE_FULL] = { "full", ENOSPC },
        [STORE_LOCKED] = { "locked", EBUSY },
        [STORE_READ_ONLY] = { "read-only", EROFS },
        [STORE_FAILED] = { "failed", EIO },
        [STORE_DAMAGED] = { "damaged", EBADMSG },
        [STORE_NEWER] = { "newer", EPROTO },
};

const char *store_health_to_string(StoreHealth h) {
        return healths[h].name;
}

int store_health_errno(StoreHealth h) {
        return -healths[h].error;
}

static StoreHealth health_of_errno(int error) {
        switch (error) {
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
                return STORE_FULL;
        case EROFS:
        case EACCES:
        case EPERM:
                return STORE_READ_ONLY;
        default:
                return STORE_FAILED;
        }
}

/* STORE_OK for what is a request's own. */
static StoreHealth health_of(int code, int error) {
        switch (code & 0xff) {
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return STORE_DAMAGED;
        case SQLITE_FULL:
                return STORE_FULL;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return STORE_LOCKED;
        case SQLITE_READONLY:
                return code == SQLITE_READONLY_DBMOVED ? STORE_FAILED : STORE_READ_ONLY;
        case SQLITE_PERM:
        case SQLITE_AUTH:
                return STORE_READ_ONLY;
        case SQLITE_CANTOPEN:
        case SQLITE_IOERR:
                return code == SQLITE_IOERR_CORRUPTFS ? STORE_DAMAGED : health_of_errno(error);
        case SQLITE_CONSTRAINT:
        case SQLITE_TOOBIG:
        case SQLITE_INTERRUPT:
                return STORE_OK;
        default: /* SQLITE_NOMEM, and what is our own mistake */
                return STORE_FAILED;
        }
}

int db_fail(Db *db, int code, const char *what) {
        int last = errno, error = db->sql ? sqlite3_system_errno(db->sql) : 0;

        if (error == 0 && (code & 0xff) == SQLITE_IOERR)
                error = last; /* SQLite does not note it for a COMMIT; whoever steps has cleared it */
        StoreHealth h = health_of(code, error);

        if (h == STORE_OK && !sqlite3_get_autocommit(db->sql))
                return (code & 0xff) == SQLITE_CONSTRAINT ? -EEXIST : (code & 0xff) == SQLITE_TOOBIG ? -EFBIG : -EINTR;
        if ((code & 0xff) == SQLITE_INTERRUPT)
                return -EINTR;
        if (h == STORE_OK)
                h = STORE_FAILED;
        db->trouble = h;
        bool system = error > 0 && ((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN);
        snprintf(db->text, sizeof(db->text), "%.80s: %.200s%s%s%s", what, db->sql ? sqlite3_errmsg(db->sql) : sqlite3_errstr(code),
                 system ? " (" : "", system ? strerrordesc_np(error) : "", system ? ")" : "");
        return store_health_errno(h);
}

int db_fail_errno(Db *db, int error, const char *what) {
        db->trouble = health_of_errno(error);
        snprintf(db->text, sizeof(db->text), "%s: %s", what, strerrordesc_np(error));
        return store_health_errno(db->trouble);
}

int db_damaged(Db *db, const char *format, ...) {
        va_list ap;

        db->trouble = STORE_DAMAGED;
        va_start(ap, format);
        (void) vsnprintf(db->text, sizeof(db->text), format, ap);
        va_end(ap);
        return -EBADMSG;
}

sqlite3_stmt *db_statement(Db *db, Statement which) {
        sqlite3_stmt *st = db->statements[which];

        (void) sqlite3_reset(st);
        return st;
}

int db_run(Db *db, sqlite3_stmt *st, const char *what) {
        int code, r = 0;

        errno = 0;
        code = sqlite3_step(st);
        if (code != SQLITE_DONE && code != SQLITE_ROW)
                r = db_fail(db, code, what);
        (void) sqlite3_reset(st);
        (void) sqlite3_clear_bindings(st);
        return r;
}

int db_exec(Db *db, const char *sql) {
        int code;

        errno = 0;
        code = sqlite3_exec(db->sql, sql, NULL, NULL, NULL);
        return code == SQLITE_OK ? 0 : db_fail(db, code, sql);
}

int db_number(Db *db, sqlite3_stmt *st, int64_t *ret) {
        int code = sqlite3_step(st), r = 0;

        if (code == SQLITE_ROW)
                *ret = sqlite3_column_int64(st, 0);
        else if (code == SQLITE_DONE)
                r = -ENOENT;
        else
                r = db_fail(db, code, sqlite3_sql(st));
        (void) sqlite3_reset(st);
        return r;
}

int db_meta_get(Db *db, const char *name, char **ret) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_META_GET);
        _cleanup_free_ char *value = NULL;
        int r = 0, code;

        (void) sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
        code = sqlite3_step(st);
        if (code == SQLITE_ROW) {
                const char *text = (const char *) sqlite3_column_text(st, 0);

                value = text ? strdup(text) : NULL;
                if (!value)
                        r = db_fail(db, SQLITE_NOMEM, "reading");
        } else if (code != SQLITE_DONE)
                r = db_fail(db, code, "reading meta");
        (void) sqlite3_reset(st);
        if (r >= 0)
                *ret = TAKE_PTR(value);
        return r;
}

int db_meta_set(Db *db, const char *name, const char *value) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_META_SET);

        (void) sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
        (void) sqlite3_bind_text(st, 2, value, -1, SQLITE_STATIC);
        return db_run(db, st, "writing meta");
}

int db_meta_get_id(Db *db, const char *name, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        uint64_t v = 0;
        int r;

        r = db_meta_get(db, name, &text);
        if (r < 0)
                return r;
        if (text && u64_parse(text, 0, STORE_ID_MAX, &v) < 0)
                return db_damaged(db, "meta has \"%.40s\" for %s", text, name);
        *ret = v;
        return 0;
}

int db_meta_set_id(Db *db, const char *name, uint64_t value) {
        char text[24];

        snprintf(text, sizeof(text), "%" PRIu64, value);
        return db_meta_set(db, name, text);
}

int db_begin(Db *db, bool full) {
        int r;

        db->trouble = STORE_OK;
        db->change = (Tally) {};
        db->new_low = db->low;
        db->new_saved_id = db->saved_id;
        if (full != db->full) {
                r = db_exec(db, full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
                if (r < 0)
                        return r;
                db->full = full;
        }
        return db_run(db, db_statement(db, STATEMENT_BEGIN), "beginning");
}

static void tally_add(Tally *t, const Tally *change) {
        for (int i = 0; i < _JOB_STATE_MAX; i++)
                t->jobs[i] += change->jobs[i];
        t->payload_bytes += change->payload_bytes;
        t->payload_stored += change->payload_stored;
        t->result_bytes += change->result_bytes;
        t->result_stored += change->result_stored;
}

int db_commit(Db *db) {
        int r = 0;

        if (fault_point("commit") < 0) {
                db->trouble = STORE_FAILED;
                snprintf(db->text, sizeof(db->text), "a fault was injected before the commit");
                return -EIO;
        }
        r = db_run(db, db_statement(db, STATEMENT_COMMIT), "committing");
        if (r < 0) {
                if (db->trouble == STORE_OK) /* whatever it was, it is not one request's */
                        db->trouble = STORE_FAILED;
                return r;
        }
        tally_add(&db->total, &db->change);
        db->low = db->new_low;
        db->saved_id = db->new_saved_id;
        if (fault_point("committed") < 0) {
                db->trouble = STORE_FAILED;
                snprintf(db->text, sizeof(db->text), "a fault was injected after the commit");
                return -EIO;
        }
        return 0;
}

void db_rollback(Db *db) {
        if (!sqlite3_get_autocommit(db->sql)) {
                sqlite3_stmt *st = db_statement(db, STATEMENT_ROLLBACK);

                (void) sqlite3_step(st); /* a failure leaves no transaction either */
                (void) sqlite3_reset(st);
        }
        db->change = (Tally) {};
        if (db->cache)
                cache_rolled_back(db->cache);
}

int db_sync(Db *db) {
        sqlite3_file *wal = NULL;
        int code = sqlite3_file_control(db->sql, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);

        if (code == SQLITE_OK && wal && wal->pMethods)
                code = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
        return code == SQLITE_OK ? 0 : db_fail(db, code, "syncing the WAL");
}

int db_checkpoint(Db *db, bool truncate) {
        int pages = 0, copied = 0;

        if (fault_point("checkpoint") < 0)
                return db_fail(db, SQLITE_IOERR, "a fault was injected before the checkpoint");
        errno = 0;
        int code = sqlite3_wal_checkpoint_v2(db->sql, "main", truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, &pages, &copied);
        if (code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY)
                return db_fail(db, code, "making a checkpoint");
        if (db->wal_size == UINT64_MAX || truncate)
                db->wal_size = 0; /* it is looked at again */
        if (pages >= 0 && copied == pages)
                db->wal_pages = 0; /* the next commit begins it anew */
        if (fault_point("checkpointed") < 0)
                return db_fail(db, SQLITE_IOERR, "a fault was injected after the checkpoint");
        return 0;
}

/*
 * A sync of bytes that make a file longer also writes the file's size: a commit of the file system's own journal, which takes as long again.
 * So the WAL is filled with zeroes ahead of its use. To SQLite they are what lies behind the last frame, which is anything: a frame of
 * zeroes is none.
 */
void db_extend_wal(Db *db) {
        static const uint8_t zeroes[64 * 1024];
        sqlite3_file *wal = NULL;
        struct statvfs fs;
        sqlite3_int64 size;

        if (db->wal_size == UINT64_MAX || (db->wal_pages + STORE_WAL_AHEAD) * (uint64_t) (STORE_PAGE_SIZE + WAL_FRAME_HEADER) < db->wal_size)
                return;
        if (sqlite3_file_control(db->sql, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal) != SQLITE_OK || !wal || !wal->pMethods ||
            wal->pMethods->xFileSize(wal, &size) != SQLITE_OK)
                return;
        db->wal_size = (uint64_t) size;
        if ((db->wal_pages + STORE_WAL_AHEAD) * (uint64_t) (STORE_PAGE_SIZE + WAL_FRAME_HEADER) < db->wal_size)
                return;
        if (statvfs(sqlite3_db_filename(db->sql, "main"), &fs) < 0 || (uint64_t) fs.f_bavail * fs.f_frsize < STORE_WAL_SPACE_MIN) {
                db->wal_size = UINT64_MAX;
                return;
        }
        for (uint64_t n = 0; n < STORE_WAL_CHUNK; n += sizeof(zeroes)) {
                if (wal->pMethods->xWrite(wal, zeroes, sizeof(zeroes), size) != SQLITE_OK) {
                        db->wal_size = UINT64_MAX;
                        return;
                }
                size += (sqlite3_int64) sizeof(zeroes);
        }
        db->wal_size = (uint64_t) size;
}

bool db_moved(Db *db) {
        int moved = 0;

        return sqlite3_file_control(db->sql, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved;
}

int db_used(Db *db, uint64_t *ret) {
        int64_t pages, free_pages;
        int r;

        r = db_number(db, db_statement(db, STATEMENT_PAGES), &pages);
        if (r >= 0)
                r = db_number(db, db_statement(db, STATEMENT_FREE_PAGES), &free_pages);
        if (r >= 0)
                *ret = (uint64_t) (pages - free_pages) * STORE_PAGE_SIZE;
        return r;
}
