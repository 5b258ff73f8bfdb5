/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the store share: a connection to SQLite with its statements, and what a transaction does to jobs. */

#include <sqlite3.h>

#include "basic/str.h"
#include "store/codec.h"
#include "store/store.h"

/* Measured; docs/store.md has the figures. */
#define STORE_PAGE_SIZE 4096U
#define STORE_CACHE_KIB 8192           /* pages that each connection keeps in memory */
#define STORE_INLINE_MAX 1900U         /* a body that takes no more stands in its job's row */
#define STORE_WAL_PAGES 1000U          /* of WAL before an idle writer makes a checkpoint */
#define STORE_WAL_PAGES_BUSY (4 * STORE_WAL_PAGES) /* before a busy one does */
#define STORE_WAL_CHUNK (1U << 20)     /* bytes by which the WAL is made longer ahead of its use */
#define STORE_WAL_AHEAD 64U            /* pages that must be left in it before it is */
#define STORE_WAL_SPACE_MIN (64ULL << 20) /* bytes that the file system must have left for that */
#define STORE_WAL_LIMIT (64 << 20)     /* bytes that a WAL keeps for its next round */
#define STORE_BUSY_MSEC 2000           /* for somebody with a shell on our database */
#define STORE_ID_MAX (INT64_MAX / 2)   /* bodies are stored under 2 * id and 2 * id + 1 */
#define STORE_PURGE_SLICE 512U         /* jobs that one transaction takes away */
#define STORE_SCAN_SLICE 4096U         /* rows that one looks at */
#define STORE_BODY_MAX FRAME_BODY_MAX
#define STORE_VACUUM_SLICE 256         /* pages that one slice gives back */

#define STORE_NEW_FILE STORE_FILE ".new"           /* what is being salvaged */
#define STORE_SALVAGED_FILE STORE_FILE ".salvaged" /* the same when it is whole, until it stands in its place */
#define STORE_LOCK_FILE "flowd.lock"

typedef enum Statement {
        STATEMENT_BEGIN,
        STATEMENT_COMMIT,
        STATEMENT_ROLLBACK,
        STATEMENT_PAGES,
        STATEMENT_FREE_PAGES,
        STATEMENT_META_SET,
        STATEMENT_META_GET,
        STATEMENT_ADD,
        STATEMENT_HEAD,
        STATEMENT_ATTEMPT,
        STATEMENT_REQUEUE,
        STATEMENT_END,
        STATEMENT_END_COMPLETED,
        STATEMENT_RETRY,
        STATEMENT_DELETE,
        STATEMENT_GET,
        STATEMENT_LIVE,
        STATEMENT_NEXT_LIVE,
        STATEMENT_OLDEST,
        STATEMENT_BODY_ADD,
        STATEMENT_BODY_GET,
        STATEMENT_BODY_DELETE,
        STATEMENT_KEY_GET,
        STATEMENT_KEY_SET,
        STATEMENT_KEY_EXPIRE,
        STATEMENT_KEY_DELETE,
        STATEMENT_KEYS_EXPIRED,
        STATEMENT_DICTIONARIES,
        STATEMENT_DICTIONARIES_GET,
        STATEMENT_DICTIONARY_ADD,
        STATEMENT_STATE_PUT,
        STATEMENT_STATE_DELETE,
        STATEMENT_STATE_ALL,
        STATEMENT_FLOW_REVISION,
        STATEMENT_FLOW_SESSIONS,
        STATEMENT_FLOW_SESSION_SET,
        STATEMENT_FLOW_SESSION_DELETE,
        STATEMENT_FLOW_TASKS,
        STATEMENT_FLOW_TASK_SET,
        STATEMENT_FLOW_TASKS_DELETE,
        STATEMENT_FLOW_ENTRIES,
        STATEMENT_FLOW_ENTRY_SET,
        STATEMENT_FLOW_ENTRIES_DELETE,
        _STATEMENT_MAX,
} Statement;

/* What the committed transactions did; what an open one does stands beside it until then. */
typedef struct Tally {
        int64_t jobs[_JOB_STATE_MAX];
        uint64_t payload_bytes, payload_stored, result_bytes, result_stored;
} Tally;

/* A connection. Used by one thread at a time. */
typedef struct Db {
        sqlite3 *sql;
        sqlite3_stmt *statements[_STATEMENT_MAX];
        Codec *codec;           /* borrowed; it serves all threads */
        uint64_t dictionaries[CODEC_DICTIONARIES_MAX]; /* ids of those that the database has */
        unsigned n_dictionaries;
        uint64_t dictionary_id; /* no id above it was ever given */
        uint64_t compress_min, key_usec;
        struct CacheStatements *cache; /* store/cache.h */
        uint64_t cache_bytes;   /* CacheMaxBytes= */
        uint64_t max_bytes;
        bool over;              /* max_bytes is reached: no job is added */
        bool full;              /* what `synchronous` is set to: FULL, else NORMAL */
        unsigned wal_pages;     /* after the last commit */
        uint64_t wal_size;      /* bytes of its file, as far as we know; UINT64_MAX: it is left as it is */
        uint64_t low;           /* no job below this id is live; as it stands in meta */
        uint64_t new_low;       /* the same in the transaction that is open */
        uint64_t oldest;        /* no job below this id has ended */
        uint64_t aged;          /* where the search for old jobs goes on */
        uint64_t used;          /* bytes, at the last look */
        uint64_t last_id;
        uint64_t saved_id, new_saved_id; /* what meta has for it, and has in the transaction that is open */
        Tally total, change;
        /* A failure that is not a request's own, but the disk's: the transaction is void. STORE_OK while there is none. */
        StoreHealth trouble;
        char text[STORE_TEXT_MAX];
} Db;

/* A request with what the loop does not see. */
typedef struct Request {
        StoreRequest r;
        const uint8_t *data;    /* the body to be written, where it is in memory */
        int fd;                 /* where it is in a memfd, else -1 */
        size_t size;
        bool body;              /* whether there is one, of 0 bytes maybe */
        bool refused;           /* CACHE_PUT: there were too many already */
        bool repeated;          /* a commit that had it failed, or so it was said */
        /* PURGE, VACUUM: how far this transaction gets, and how far those before it got; the number so far is r.n */
        uint64_t at, committed_at;
        uint64_t n;
} Request;

/* ---- schema.c: opening, versions, failures */

/* Opens a database for writing; makes it where it is missing, brings it to STORE_SCHEMA where it is older. Only the connection, trouble and
 * text are set. Without `wal` it has a rollback journal, so that the file can be moved alone. Returns 0 or -errno, with db->trouble and db->text
 * set and the connection closed. */
int db_open(Db *db, const char *path, bool wal);
/* Opens for reading. `closed`: nobody writes to it, so that it can be read where no index of a WAL can be made. */
int db_open_reader(Db *db, const char *path, bool closed);
/* Keeps the WAL as it is, where `keep_wal`: for a file that is evidence. */
void db_close(Db *db, bool keep_wal);
/* Records a failure of SQLite, with `what` was being done. Returns its -errno, never 0. */
int db_fail(Db *db, int code, const char *what);
/* The same for a system call on the database's file; `error` is positive. */
int db_fail_errno(Db *db, int error, const char *what);
/* The same for damage that we find ourselves. Returns -EBADMSG. */
int db_damaged(Db *db, const char *format, ...) _printf_(2, 3);
int store_health_errno(StoreHealth h);
/* A statement, ready to be bound. */
sqlite3_stmt *db_statement(Db *db, Statement which);
/* Steps a statement that gives no row, or whose rows do not matter, and resets it. Returns 0 or -errno. */
int db_run(Db *db, sqlite3_stmt *st, const char *what);
int db_exec(Db *db, const char *sql);
/* Runs a statement that gives one number. */
int db_number(Db *db, sqlite3_stmt *st, int64_t *ret);
int db_meta_get(Db *db, const char *name, char **ret); /* NULL where there is none */
int db_meta_set(Db *db, const char *name, const char *value);
int db_meta_get_id(Db *db, const char *name, uint64_t *ret);
int db_meta_set_id(Db *db, const char *name, uint64_t value);
/* BEGIN IMMEDIATE, with `synchronous` as asked for. */
int db_begin(Db *db, bool full);
int db_commit(Db *db);
void db_rollback(Db *db);
/* Syncs what was committed without. */
int db_sync(Db *db);
/* Copies the WAL into the database; `truncate` gives its space back too. Returns 0 also where a reader is in the way. */
int db_checkpoint(Db *db, bool truncate);
/* Makes the WAL longer before it is needed. A failure does not matter. Between transactions. */
void db_extend_wal(Db *db);
/* Whether the file is not where it was opened any more. */
bool db_moved(Db *db);
/* Bytes that are in use. */
int db_used(Db *db, uint64_t *ret);

/* ---- body.c: payloads and results as they are stored */

typedef enum BodyPart {
        BODY_PAYLOAD,
        BODY_RESULT,
} BodyPart;

#define BODY_COLUMNS 5 /* encoding, dictionary, stored, sum, body: where the first is NULL there is none, where the last is it is in `bodies` */

/* A body on its way to the disk. */
typedef struct Body {
        bool there;
        Encoding encoding;
        uint64_t dictionary;
        uint32_t sum;
        const void *data;
        size_t size;
        void *map, *own; /* what data points into */
        size_t map_size;
} Body;

void body_done(Body *b);
/* Takes the request's body, compressed where that is worth it. The job's columns that the sum covers must be set. */
int body_encode(Db *db, const Request *q, const JobRecord *job, BodyPart part, Body *ret);
/* Binds BODY_COLUMNS from `column` on; the data must live until the statement is reset. */
int body_bind(sqlite3_stmt *st, int column, const Body *b);
/* Writes it to `bodies`, where it is too large for a row. */
int body_store(Db *db, uint64_t id, BodyPart part, const Body *b);
int body_delete(Db *db, uint64_t id, BodyPart part);
/* Reads a body from the columns of a row, and from `bodies`. *ret is NULL where there is none. Returns 0, -ENOMEM, -EBADMSG where it is not
 * what was stored (and db->trouble is STORE_DAMAGED), or another -errno with db->trouble set. */
int body_read(Db *db, sqlite3_stmt *st, int column, const JobRecord *job, BodyPart part, Blob **ret);
/* The same, in one of the encodings `accept` where that is of use. */
int body_read_accepted(Db *db, sqlite3_stmt *st, int column, const JobRecord *job, BodyPart part, unsigned accept, Encoding *ret_encoding, Blob **ret);
/* Whether the columns and the body belong together, without decoding: for the salvage. `data` NULL: it is in none. */
bool body_valid(sqlite3_stmt *st, int column, const JobRecord *job, BodyPart part, const void *data, size_t size);
static inline int64_t body_id(uint64_t id, BodyPart part) {
        return (int64_t) (id * 2 + part);
}

/* ---- dictionary.c: what compression has learnt; for the writer */

#define DICTIONARY_LABEL_MAX (CODEC_METHOD_LENGTH_MAX + 1)

/* What the codec knows a kind of documents by; NULL where there is no method, or its name is too long. */
const char *dictionary_label(const char *method, BodyPart part, char buf[DICTIONARY_LABEL_MAX]);
/* Gives all that the database has to the codec. */
int dictionaries_load(Db *db);
/* In a transaction of its own; the codec has it when that is committed. */
int dictionary_store(Db *db, const char *label, const void *body, size_t size);
bool dictionary_known(const Db *db, uint64_t id);

/* ---- jobs.c: what the writer does. Each returns 0 or -errno; the request's own failure leaves the transaction as it was. 1: there is more to
 * do, in the next transaction. */

int job_add(Db *db, Request *q);
int job_attempt(Db *db, Request *q);
int job_requeue(Db *db, Request *q);
int db_job_end(Db *db, Request *q);
int job_retry(Db *db, Request *q);
int job_purge(Db *db, Request *q);
/* Takes an ended job away. -ENOENT, -EALREADY where it has not ended. */
int job_delete(Db *db, uint64_t id, bool with_key);
/* Ends a live job whose payload is gone. */
int job_lost(Db *db, uint64_t id);
/* Writes last_id down, before the row that has it may go. */
int job_save_last_id(Db *db);
/* The oldest live id, found step by step; keeps what it has found. */
int job_low(Db *db);

/* ---- flow.c: sessions */

/* -ESTALE: the session is not what the change changes; nothing was done. */
int db_flow_change(Db *db, Request *q);
/* Returns 0, what the sink returned below 0, or -errno with db->trouble set. */
int db_flow_load(Db *db, const FlowSink *sink, void *userdata);

/* ---- read.c: rows become records */

/* The columns of a record, in the order of ROW_*; the bodies' own follow. */
#define ROW_COLUMNS_1 "id, state, durability, uid, pool, method, session, key, trace, kind, payload_size, priority, attempts, crashes, failures, " \
                    "retries, retry_usec, accepted, not_before, deadline, timeout, dispatched, finished, worker, code, error, retry, result_kind, result_size"
#define ROW_COLUMNS ROW_COLUMNS_1 ", cache" /* and version 2 */
#define PAYLOAD_COLUMNS "payload_encoding, payload_dictionary, payload_stored, payload_sum, payload"
#define RESULT_COLUMNS "result_encoding, result_dictionary, result_stored, result_sum, result"
#define ROW_PAYLOAD 30 /* the first of PAYLOAD_COLUMNS behind ROW_COLUMNS */
#define ROW_RESULT (ROW_PAYLOAD + BODY_COLUMNS)

/* Returns 0, -ENOMEM, or -EBADMSG where the row cannot be one of ours; `ret` is then empty. */
int row_read(sqlite3_stmt *st, JobRecord *ret);
/* The same with the bodies that are wanted (their columns must stand in the row up to the last of those), and damage is told to `db`. */
int row_read_whole(Db *db, sqlite3_stmt *st, unsigned want, JobRecord *ret);
int job_get(Db *db, uint64_t id, unsigned want, JobRecord *ret);
/* Ids (`ids_only`) or records that match. */
int job_list(Db *db, const StoreFilter *f, bool ids_only, unsigned limit, JobRecord **ret, uint64_t *ret_n);
/* Live jobs with an id above `after`, with their payloads; those whose payload is gone are counted and put into *ret_lost (the caller's to free).
 * At most `max`: then 1 is returned, where there are more.
 * Returns 0, what `job` returned below 0, or -errno with db->trouble set. *last is the last one that was given. */
int job_load(Db *db, uint64_t *last, unsigned max, int (*job)(JobRecord *r, void *userdata), void *userdata, uint64_t **ret_lost, size_t *ret_n_lost);
/* ---- inspect.c: long readings */

/* *ret is "ok", or what is wrong, and then db->trouble is STORE_DAMAGED and 0 is returned all the same. */
int db_check(Db *db, char **ret);
/* A copy in a new file, mode 0600, on the disk when it returns. */
int db_backup(Db *db, const char *path, uint64_t *ret_bytes);

/* ---- kept.c: the state that flowd keeps for its next run */

int state_put(Db *db, Request *q);
int state_delete(Db *db, Request *q);
int state_each(Db *db, int (*entry)(const char *key, const char *value, void *userdata), void *userdata);

/* ---- cache-ops.c: what is done to the cache. A failure other than the request's own sets db->trouble, and voids the transaction. */

/* Prepares the statements of a connection. */
int cache_open(Db *db, bool writer);
int cache_op_put(Db *db, Request *q);
int cache_op_touch(Db *db, Request *q);
int cache_op_purge(Db *db, Request *q);
int cache_op_get(Db *db, Request *q);
int cache_op_list(Db *db, Request *q);
/* Bytes that it takes, about; 0 where that is not known. For the writer, as what follows. */
uint64_t cache_used(Db *db);
/* Counts what is there, which reads the whole table once. */
int cache_survey(Db *db);
/* One slice of what has come to its end, or is too much, in a transaction that is open. `spare`: the jobs need the room. Returns 1 where there is more. */
int cache_retain(Db *db, bool spare);

/* ---- retention.c: what is there, and what goes */

/* Of StoreMaxBytes=, in eighths: where ended jobs begin to go, and the cache before them. */
#define RETENTION_EIGHTHS 7

/* Reads what the writer must know of what is there: counts, ids. */
int db_survey(Db *db);
/* One slice, in a transaction that is open. Returns 1 where there is more to do at once. */
int retention_slice(Db *db, const StoreConfig *c);
/* Measures what is in use, in a transaction that is open, or without; sets db->over. Returns 1 where count or size ask for a slice before its time. */
int retention_due(Db *db, const StoreConfig *c);
/* Gives at most STORE_VACUUM_SLICE pages back, in a transaction of its own; `all`: down to none, else while there are many.
 * Returns 1 where there is more. */
int vacuum_slice(Db *db, bool all, uint64_t *freed);

/* ---- salvage.c */

typedef struct Salvage {
        uint64_t jobs, live;     /* that were saved, and how many of those had not ended */
        uint64_t bodies;         /* payloads and results that were lost while their job was saved */
        uint64_t holes;          /* ranges of ids that cannot be read */
        char corrupt[64];        /* the name of what was damaged, in the same directory */
        char loss[STORE_TEXT_MAX]; /* all that for a person */
} Salvage;

/* Makes a new database in `directory` of what can be read of the damaged one, which is put aside. `reason` is how the damage was seen.
 * No connection may be open. Returns 0, or -errno with trouble and text in `db`, and then the damaged one is where it was. */
int store_salvage(Db *db, const char *directory, const char *reason, Salvage *ret);
/* The database was moved away, removed or replaced, and we have it open still: writes it down once more in its place, whatever stands there is put
 * aside. Returns 0 and the connection is closed, or -errno with trouble and text in `db`. */
int store_rescue(Db *db, const char *directory);
/* Ends what a salvage that was cut off has begun. Called before a database is opened. */
int store_salvage_finish(Db *db, const char *directory);
