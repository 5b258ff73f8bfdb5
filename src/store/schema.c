/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The schema, and opening a database that has it. A version is a step of SQL from the one before; a new database takes all of them, an older
 * one those that it lacks, in one transaction. A step that was released is never changed.
 *
 * Nothing is opened before its header was read: the file of a newer flowd, or of another program, is left as it is, WAL and all. (The header
 * is right without its WAL, because whoever changes it makes a checkpoint.) The descriptor for that is closed before SQLite opens one: closing
 * any descriptor of a file drops all locks that the process has on it.
 *
 * There is no mmap: a page that the disk cannot read would kill the process with SIGBUS, where read() says EIO.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "store/cache.h"
#include "store/internal.h"

#define HEADER_SIZE 100U
#define HEADER_MAGIC "SQLite format 3"
#define HEADER_USER_VERSION 60
#define HEADER_APPLICATION_ID 68

/* versions[n] makes version n + 1 of version n. Indexes are of ended jobs only, so that accepting one costs no page of an index. */
#define VERSION_FLOW /* sessions; `body` seldom changes, `moving` with each change */ \
        "CREATE TABLE flow_sessions (number INTEGER PRIMARY KEY, revision INTEGER NOT NULL, body TEXT NOT NULL, moving TEXT NOT NULL) STRICT;" \
        "CREATE TABLE flow_tasks (session INTEGER NOT NULL, seq INTEGER NOT NULL, body TEXT NOT NULL, moving TEXT NOT NULL, result BLOB," \
        "  PRIMARY KEY (session, seq)) STRICT, WITHOUT ROWID;" \
        "CREATE TABLE flow_log (session INTEGER NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (session, number))" \
        "  STRICT, WITHOUT ROWID;"

static const char *const versions[STORE_SCHEMA] = {
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE TABLE jobs (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, durability INTEGER NOT NULL, uid INTEGER NOT NULL,"
        "  pool TEXT NOT NULL, method TEXT, session TEXT, key TEXT, trace TEXT,"
        "  kind INTEGER NOT NULL, payload_size INTEGER NOT NULL, priority INTEGER NOT NULL,"
        "  attempts INTEGER NOT NULL, crashes INTEGER NOT NULL, failures INTEGER NOT NULL, retries INTEGER NOT NULL, retry_usec INTEGER NOT NULL,"
        "  accepted INTEGER NOT NULL, not_before INTEGER NOT NULL, deadline INTEGER NOT NULL, timeout INTEGER NOT NULL,"
        "  dispatched INTEGER NOT NULL, finished INTEGER NOT NULL,"
        "  worker TEXT, code TEXT, error TEXT, retry INTEGER NOT NULL, result_kind INTEGER NOT NULL, result_size INTEGER NOT NULL,"
        "  payload_encoding INTEGER, payload_dictionary INTEGER, payload_stored INTEGER, payload_sum INTEGER, payload BLOB,"
        "  result_encoding INTEGER, result_dictionary INTEGER, result_stored INTEGER, result_sum INTEGER, result BLOB) STRICT;"
        "CREATE TABLE bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;"
        "CREATE TABLE keys (uid INTEGER NOT NULL, key TEXT NOT NULL, job INTEGER NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (uid, key))"
        "  STRICT, WITHOUT ROWID;"
        "CREATE TABLE dictionaries (id INTEGER PRIMARY KEY, method TEXT NOT NULL, created INTEGER NOT NULL, body BLOB NOT NULL) STRICT;"
        "CREATE INDEX keys_by_expiry ON keys (expires) WHERE expires > 0;"
        "CREATE INDEX jobs_by_pool ON jobs (pool) WHERE state >= 2;"
        "CREATE INDEX jobs_by_method ON jobs (method) WHERE state >= 2 AND method IS NOT NULL;"
        "CREATE INDEX jobs_by_session ON jobs (session) WHERE state >= 2 AND session IS NOT NULL;"
        "CREATE INDEX jobs_by_state ON jobs (state) WHERE state > 2;",

        CACHE_SCHEMA
        "ALTER TABLE jobs ADD COLUMN cache INTEGER NOT NULL DEFAULT 0;",

        "CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;",
        VERSION_FLOW,
};

static const char *const statements[_STATEMENT_MAX] = {
        [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
        [STATEMENT_COMMIT] = "COMMIT",
        [STATEMENT_ROLLBACK] = "ROLLBACK",
        [STATEMENT_PAGES] = "PRAGMA page_count",
        [STATEMENT_FREE_PAGES] = "PRAGMA freelist_count",
        [STATEMENT_META_SET] = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        [STATEMENT_META_GET] = "SELECT value FROM meta WHERE name = ?1",
        [STATEMENT_ADD] = "INSERT INTO jobs (" ROW_COLUMNS ", " PAYLOAD_COLUMNS ", " RESULT_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                " ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34,"
                " ?35, ?36, ?37, ?38, ?39, ?40)",
        [STATEMENT_HEAD] = "SELECT state, uid, key, payload_encoding IS NOT NULL AND payload IS NULL, result_encoding IS NOT NULL AND result IS NULL"
                ", method FROM jobs WHERE id = ?1",
        [STATEMENT_ATTEMPT] = "UPDATE jobs SET state = 1, attempts = ?2, crashes = ?3, failures = ?4, worker = ?5, dispatched = ?6 WHERE id = ?1",
        [STATEMENT_REQUEUE] = "UPDATE jobs SET state = 0, attempts = ?2, crashes = ?3, failures = ?4, not_before = ?5, code = ?6, error = ?7"
                " WHERE id = ?1",
        [STATEMENT_END] = "UPDATE jobs SET state = ?2, attempts = ?3, crashes = ?4, failures = ?5, dispatched = ?6, finished = ?7, worker = ?8,"
                " code = ?9, error = ?10, retry = ?11, result_kind = ?12, result_size = ?13,"
                " result_encoding = ?14, result_dictionary = ?15, result_stored = ?16, result_sum = ?17, result = ?18, cache = ?19 WHERE id = ?1",
        [STATEMENT_END_COMPLETED] = "UPDATE jobs SET state = ?2, attempts = ?3, crashes = ?4, failures = ?5, dispatched = ?6, finished = ?7,"
                " worker = ?8, code = ?9, error = ?10, retry = ?11, result_kind = ?12, result_size = ?13,"
                " result_encoding = ?14, result_dictionary = ?15, result_stored = ?16, result_sum = ?17, result = ?18, cache = ?19,"
                " payload_encoding = NULL, payload_dictionary = NULL, payload_stored = NULL, payload_sum = NULL, payload = NULL WHERE id = ?1",
        [STATEMENT_RETRY] = "UPDATE jobs SET state = 0, attempts = ?2, crashes = 0, failures = 0, not_before = ?3, deadline = ?4, finished = 0,"
                " code = NULL, error = NULL, retry = 0, result_kind = 0, result_size = 0, cache = 0,"
                " result_encoding = NULL, result_dictionary = NULL, result_stored = NULL, result_sum = NULL, result = NULL WHERE id = ?1",
        [STATEMENT_DELETE] = "DELETE FROM jobs WHERE id = ?1",
        [STATEMENT_GET] = "SELECT " ROW_COLUMNS ", " PAYLOAD_COLUMNS ", " RESULT_COLUMNS " FROM jobs WHERE id = ?1",
        [STATEMENT_LIVE] = "SELECT " ROW_COLUMNS ", " PAYLOAD_COLUMNS " FROM jobs NOT INDEXED WHERE id >= ?1 AND state < 2 ORDER BY id",
        [STATEMENT_NEXT_LIVE] = "SELECT id, state FROM jobs NOT INDEXED WHERE id >= ?1 ORDER BY id",
        [STATEMENT_OLDEST] = "SELECT id, state, finished FROM jobs NOT INDEXED WHERE id >= ?1 ORDER BY id",
        [STATEMENT_BODY_ADD] = "INSERT INTO bodies (id, body) VALUES (?1, ?2)",
        [STATEMENT_BODY_GET] = "SELECT body FROM bodies WHERE id = ?1",
        [STATEMENT_BODY_DELETE] = "DELETE FROM bodies WHERE id = ?1",
        [STATEMENT_KEY_GET] = "SELECT job, expires FROM keys WHERE uid = ?1 AND key = ?2",
        [STATEMENT_KEY_SET] = "INSERT INTO keys (uid, key, job, expires) VALUES (?1, ?2, ?3, 0)"
                " ON CONFLICT (uid, key) DO UPDATE SET job = ?3, expires = 0",
        [STATEMENT_KEY_EXPIRE] = "UPDATE keys SET expires = ?4 WHERE uid = ?1 AND key = ?2 AND job = ?3",
        [STATEMENT_KEY_DELETE] = "DELETE FROM keys WHERE uid = ?1 AND key = ?2 AND job = ?3",
        [STATEMENT_KEYS_EXPIRED] = "DELETE FROM keys WHERE (uid, key) IN (SELECT uid, key FROM keys INDEXED BY keys_by_expiry"
                " WHERE expires > 0 AND expires <= ?1 LIMIT ?2)",
        [STATEMENT_DICTIONARIES] = "SELECT count(*) FROM dictionaries",
        [STATEMENT_DICTIONARIES_GET] = "SELECT id, method, body FROM dictionaries ORDER BY id",
        [STATEMENT_DICTIONARY_ADD] = "INSERT INTO dictionaries (id, method, created, body) VALUES (?1, ?2, ?3, ?4)",
        [STATEMENT_STATE_PUT] = "INSERT INTO state (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
        [STATEMENT_STATE_DELETE] = "DELETE FROM state WHERE key = ?1",
        [STATEMENT_STATE_ALL] = "SELECT key, value FROM state ORDER BY key",
        [STATEMENT_FLOW_REVISION] = "SELECT revision FROM flow_sessions WHERE number = ?1",
        [STATEMENT_FLOW_SESSIONS] = "SELECT number, revision, body, moving FROM flow_sessions ORDER BY number",
        [STATEMENT_FLOW_SESSION_SET] = "INSERT INTO flow_sessions (number, revision, body, moving) VALUES (?1, ?2, ifnull(?3, '{}'), ?4)"
                " ON CONFLICT (number) DO UPDATE SET revision = ?2, body = ifnull(?3, body), moving = ?4",
        [STATEMENT_FLOW_SESSION_DELETE] = "DELETE FROM flow_sessions WHERE number = ?1",
        [STATEMENT_FLOW_TASKS] = "SELECT seq, body, moving, result FROM flow_tasks WHERE session = ?1 ORDER BY seq",
        [STATEMENT_FLOW_TASK_SET] = "INSERT INTO flow_tasks (session, seq, body, moving, result) VALUES (?1, ?2, ifnull(?3, '{}'), ?4, ?5)"
                " ON CONFLICT (session, seq) DO UPDATE SET body = ifnull(?3, body), moving = ?4, result = ifnull(?5, result)",
        [STATEMENT_FLOW_TASKS_DELETE] = "DELETE FROM flow_tasks WHERE session = ?1",
        [STATEMENT_FLOW_ENTRIES] = "SELECT number, body FROM flow_log WHERE session = ?1 ORDER BY number",
        [STATEMENT_FLOW_ENTRY_SET] = "INSERT OR REPLACE INTO flow_log (session, number, body) VALUES (?1, ?2, ?3)",
        [STATEMENT_FLOW_ENTRIES_DELETE] = "DELETE FROM flow_log WHERE session = ?1 AND number < ?2",
};

/* Those that a connection for reading has. */
static bool for_reader(Statement s) {
        return s == STATEMENT_GET || s == STATEMENT_BODY_GET || s == STATEMENT_FREE_PAGES || s == STATEMENT_PAGES || s == STATEMENT_DICTIONARIES;
}

static int prepare(Db *db, bool reader) {
        for (Statement s = 0; s < _STATEMENT_MAX; s++) {
                if (reader && !for_reader(s))
                        continue;
                int code = sqlite3_prepare_v3(db->sql, statements[s], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[s], NULL);

                /* Tables or columns are missing that the version says are there. */
                if (code == SQLITE_ERROR)
                        return db_damaged(db, "the schema is not what its version says: %s", sqlite3_errmsg(db->sql));
                if (code != SQLITE_OK)
                        return db_fail(db, code, "preparing");
        }
        return cache_open(db, !reader);
}

static int32_t header_number(const uint8_t *p) {
        return (int32_t) ((uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3]);
}

/* By their ids alone; `version` is of no interest where the application is another. */
static int check_ids(Db *db, const char *path, int32_t application, int32_t version) {
        if (application != STORE_APPLICATION_ID) {
                db->trouble = STORE_NEWER;
                snprintf(db->text, sizeof(db->text), "%s is the database of another program (application id 0x%08x): move it away, or give flowd "
                         "another state directory. It was not touched", path, (unsigned) application);
                return -EPROTO;
        }
        if (version > STORE_SCHEMA) {
                db->trouble = STORE_NEWER;
                snprintf(db->text, sizeof(db->text), "%s was written by a newer flowd (schema %d, this one knows %d): install that version again, or "
                         "move the file away. It was not touched", path, version, STORE_SCHEMA);
                return -EPROTO;
        }
        if (version < 0)
                return db_damaged(db, "the schema version %d cannot be", version);
        return 0;
}

/* Looks at the file before SQLite does. *ret_empty where there is nothing in it yet. */
static int check_header(Db *db, const char *path, bool *ret_empty) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        uint8_t h[HEADER_SIZE] = {};
        struct stat st;

        *ret_empty = false;
        if (fd < 0)
                return db_fail_errno(db, errno, "opening");
        if (fstat(fd, &st) < 0)
                return db_fail_errno(db, errno, "looking at");
        if (!S_ISREG(st.st_mode)) {
                db->trouble = STORE_FAILED;
                snprintf(db->text, sizeof(db->text), "%s is no regular file: move it away", path);
                return -EIO;
        }
        ssize_t n = pread(fd, h, sizeof(h), 0);
        if (n < 0)
                return db_fail_errno(db, errno, "reading");
        if (n == 0) {
                *ret_empty = true;
                return 0;
        }
        if ((size_t) n < sizeof(h) || memcmp(h, HEADER_MAGIC, sizeof(HEADER_MAGIC)) != 0)
                return db_damaged(db, "it does not begin as a database does");
        int32_t application = header_number(h + HEADER_APPLICATION_ID), version = header_number(h + HEADER_USER_VERSION);
        if (application == 0 && version == 0) {
                *ret_empty = true; /* perhaps: cut off while it was made. SQLite will say */
                return 0;
        }
        return check_ids(db, path, application, version);
}

static int on_commit(void *userdata, sqlite3 *sql, const char *name, int pages) {
        Db *db = userdata;

        (void) sql;
        (void) name;
        db->wal_pages = (unsigned) pages;
        return SQLITE_OK;
}

static int connect_to(Db *db, const char *path, int flags) {
        sqlite3 *sql = NULL;
        int on, code = sqlite3_open_v2(path, &sql, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE, NULL);

        db->sql = sql;
        if (code != SQLITE_OK)
                return db_fail(db, code, "opening");
        (void) sqlite3_busy_timeout(sql, STORE_BUSY_MSEC);
        (void) sqlite3_db_config(sql, SQLITE_DBCONFIG_DEFENSIVE, 1, &on);
        (void) sqlite3_db_config(sql, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, &on);
        char *pragmas = sqlite3_mprintf("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -%d;",
                                        STORE_CACHE_KIB);
        int r = pragmas ? db_exec(db, pragmas) : db_fail(db, SQLITE_NOMEM, "opening");
        sqlite3_free(pragmas);
        return r;
}

static int read_pragma(Db *db, const char *pragma, int64_t *ret) {
        sqlite3_stmt *st = NULL;
        int code = sqlite3_prepare_v2(db->sql, pragma, -1, &st, NULL);

        if (code != SQLITE_OK)
                return db_fail(db, code, pragma);
        int r = db_number(db, st, ret);
        sqlite3_finalize(st);
        return r;
}

/* What the database says of itself, its WAL included. */
static int read_ids(Db *db, int64_t *ret_application, int64_t *ret_version) {
        int r = read_pragma(db, "PRAGMA application_id", ret_application);

        return r < 0 ? r : read_pragma(db, "PRAGMA user_version", ret_version);
}

/* Sets up what can only be set in an empty database; one with tables is not ours to set up. */
static int create(Db *db, const char *path) {
        int64_t n, application, version;
        int r = read_pragma(db, "SELECT count(*) FROM sqlite_schema", &n);

        if (r >= 0)
                r = read_ids(db, &application, &version);
        if (r < 0)
                return r;
        if (n > 0)
                return check_ids(db, path, (int32_t) application, (int32_t) version);
        char *pragmas = sqlite3_mprintf("PRAGMA page_size = %u; PRAGMA auto_vacuum = INCREMENTAL;", STORE_PAGE_SIZE);
        r = pragmas ? db_exec(db, pragmas) : db_fail(db, SQLITE_NOMEM, "making");
        sqlite3_free(pragmas);
        return r;
}

/* Brings the schema to STORE_SCHEMA. */
static int migrate(Db *db, const char *path) {
        char set[96];
        int64_t version, application;
        int r = read_ids(db, &application, &version);

        if (r < 0)
                return r;
        if (version == 0 && application == 0)
                r = create(db, path);
        else
                r = check_ids(db, path, (int32_t) application, (int32_t) version);
        if (r < 0 || version == STORE_SCHEMA)
                return r;
        r = db_exec(db, "BEGIN IMMEDIATE");
        for (int64_t v = version; r >= 0 && v < STORE_SCHEMA; v++)
                r = db_exec(db, versions[v]);
        if (r < 0)
                return r;
        snprintf(set, sizeof(set), "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", STORE_APPLICATION_ID, STORE_SCHEMA);
        return db_exec(db, set);
}

/* Made here, so that nobody else can ever read it; SQLite gives the WAL the same mode. */
static int make_file(Db *db, const char *path) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);

        if (fd < 0)
                return db_fail_errno(db, errno, "opening");
        fd_close(fd);
        return 0;
}

static int open_writer(Db *db, const char *path, bool wal) {
        bool empty;
        int r;

        r = make_file(db, path);
        if (r >= 0)
                r = check_header(db, path, &empty);
        if (r >= 0)
                r = connect_to(db, path, SQLITE_OPEN_READWRITE);
        if (r >= 0 && !empty && sqlite3_db_readonly(db->sql, "main") > 0)
                r = db_fail(db, SQLITE_READONLY, "opening");
        if (r >= 0 && !wal)
                r = db_exec(db, "PRAGMA synchronous = FULL; PRAGMA journal_mode = DELETE;");
        if (r >= 0 && !wal)
                return migrate(db, path);
        if (r >= 0 && empty) {
                r = create(db, path);
                if (r < 0)
                        return r;
        }
        if (r >= 0)
                r = db_exec(db, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = FULL;");
        if (r < 0)
                return r;
        db->full = true;
        (void) sqlite3_wal_hook(db->sql, on_commit, db);
        r = migrate(db, path);
        if (r >= 0 && db->wal_pages > 0)
                r = db_checkpoint(db, true); /* the header, for those who look at the file alone */
        if (r < 0)
                return r;
        char limit[64];
        snprintf(limit, sizeof(limit), "PRAGMA journal_size_limit = %d", STORE_WAL_LIMIT);
        return db_exec(db, limit);
}

int db_open(Db *db, const char *path, bool wal) {
        int r;

        db->trouble = STORE_OK;
        r = open_writer(db, path, wal);
        if (r >= 0)
                r = prepare(db, false);
        if (r < 0)
                db_close(db, db->trouble == STORE_DAMAGED);
        return r;
}

/* A path as a URI of SQLite's, with a parameter. NULL when out of memory. */
static char *uri(const char *path, const char *parameter) {
        sqlite3_str *s = sqlite3_str_new(NULL);

        sqlite3_str_appendall(s, "file:");
        for (const char *p = path; *p; p++)
                if (strchr("?#%", *p))
                        sqlite3_str_appendf(s, "%%%02x", (unsigned) *p);
                else
                        sqlite3_str_appendchar(s, 1, *p);
        sqlite3_str_appendf(s, "?%s", parameter);
        return sqlite3_str_finish(s);
}

/* A database with a WAL that is in a directory where none can be made, and that has none, is whole by itself; SQLite must be told to believe it. */
static int connect_to_closed(Db *db, const char *path) {
        char *name = uri(path, "immutable=1");
        int r = name ? connect_to(db, name, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI) : db_fail(db, SQLITE_NOMEM, "opening");

        sqlite3_free(name);
        return r;
}

int db_open_reader(Db *db, const char *path, bool closed) {
        _cleanup_free_ char *wal = str_printf("%s-wal", path);
        int r;

        db->trouble = STORE_OK;
        if (!wal)
                return db_fail(db, SQLITE_NOMEM, "opening");
        if (closed && access(wal, F_OK) < 0 && errno == ENOENT)
                r = connect_to_closed(db, path);
        else
                r = connect_to(db, path, SQLITE_OPEN_READONLY);
        if (r >= 0)
                r = prepare(db, true);
        if (r < 0)
                db_close(db, true);
        return r;
}

void db_close(Db *db, bool keep_wal) {
        int on;

        if (!db->sql)
                return;
        for (Statement s = 0; s < _STATEMENT_MAX; s++) {
                (void) sqlite3_finalize(db->statements[s]);
                db->statements[s] = NULL;
        }
        db->cache = cache_statements_free(db->cache);
        (void) sqlite3_wal_hook(db->sql, NULL, NULL);
        if (keep_wal)
                (void) sqlite3_db_config(db->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, &on);
        (void) sqlite3_close_v2(db->sql);
        db->sql = NULL;
        db->wal_pages = 0;
        db->wal_size = 0;
}
