/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The durable store: one SQLite database, written by a thread of its own in groups. The loop queues requests and hears of their ends. */

#include "basic/hot.h"
#include "basic/log.h"
#include "store/flow-record.h"
#include "store/record.h"

typedef struct Store Store;
typedef struct StoreRequest StoreRequest;

#define STORE_FILE "flowd.db"
#define STORE_APPLICATION_ID 0x666c6f77 /* "flow" */
#define STORE_SCHEMA 4                  /* PRAGMA user_version */
#define STORE_LIST_MAX 10000U
#define STORE_TEXT_MAX 512U
#define STORE_INSTANCES_MAX 8U
#define STORE_STATE_KEY_MAX 320U         /* bytes of a key of the state, with its final NUL */
#define STORE_STATE_VALUE_MAX (1U << 20) /* bytes of a value */

typedef enum StoreHealth {
        STORE_OK,
        STORE_OFF,       /* Store=no */
        STORE_FULL,      /* no space left, or StoreMaxBytes= reached; tried again every STORE_RETRY_USEC */
        STORE_LOCKED,    /* another process holds it */
        STORE_READ_ONLY,
        STORE_FAILED,    /* I/O errors; tried again */
        STORE_DAMAGED,   /* was corrupt; salvaged into a new file that is used, until somebody accepts the loss */
        STORE_NEWER,     /* written by a newer flowd, or by another program: it is not touched */
        _STORE_HEALTH_MAX,
} StoreHealth;

typedef struct StoreConfig {
        const char *directory;      /* made with mode 0700 where it is missing */
        const char *instance;       /* FLOWD_INSTANCE of this run, without blanks; kept for store_last_instances() of the next. May be NULL */
        bool off;                   /* Store=no */
        uint64_t compress_min;      /* StoreCompressMin=512: payloads and results from this size on are compressed */
        int compress_level;         /* StoreCompressLevel=3 */
        uint64_t max_age_usec;      /* StoreMaxAge=30d of ended jobs */
        uint64_t max_jobs;          /* StoreMaxJobs=1000000 ended ones */
        uint64_t max_bytes;         /* StoreMaxBytes=4G of the database, without what is free in it */
        uint64_t key_usec;          /* KeyRetention=1d: how long after its end a job's key still finds it */
        uint64_t cache_bytes;       /* CacheMaxBytes=256M of stored bodies */
} StoreConfig;

/* Called on the loop, in the order of the groups; frees the request with store_request_free(). */
typedef void (*StoreDone)(StoreRequest *r);

typedef enum StoreOp {
        /* by the writer, in the order in which they were queued */
        STORE_OP_ADD,      /* a job: record, payload. -EEXIST: `id` is the job that has the key */
        /* The next three: -ENOENT, or -EALREADY where it has ended. A job that was lost to damage is written anew, where pool is set and,
         * unless it ends, its payload is there. */
        STORE_OP_ATTEMPT,  /* record: attempts, crashes, failures, worker, dispatched_usec; state running */
        STORE_OP_REQUEUE,  /* record: attempts, crashes, failures, not_before_usec, code, error; state queued */
        STORE_OP_END,      /* record: state and all of the end, attempts, worker, times; result, NULL where there is none or it is not kept */
        STORE_OP_RETRY,    /* an ended job is queued again: id, record.not_before_usec. Then record is all of it, with its payload, and the attempt
                            * that comes is counted already, as by an ADD. -ENOENT; -EALREADY: it has not ended; -ENODATA: its payload is gone */
        STORE_OP_FLOW,     /* flow: changes of sessions, all or none. -ESTALE: a session is not of the revision that the change is based on */
        STORE_OP_PURGE,    /* ended jobs by id (`ids`), or all that match the filter: n is how many went */
        STORE_OP_SYNC,     /* everything before it is on the disk when it is done */
        STORE_OP_VACUUM,   /* gives free pages back to the file system; n: how many bytes */
        STORE_OP_ACCEPT_LOSS,
        STORE_OP_STATE_PUT,    /* what flowd itself wants to find again: state_key, state_value. -EMSGSIZE where either is too long */
        STORE_OP_STATE_DELETE, /* state_key. No failure where there is none */
        /* The next three never hold up those before. */
        STORE_OP_CACHE_PUT,   /* cache: an item with its body. -EAGAIN, -EFBIG, or whatever else: it is not kept, and nobody minds */
        STORE_OP_CACHE_TOUCH, /* ids, as cache_id() makes them: these were used, once for each time that they stand there */
        STORE_OP_CACHE_PURGE, /* cache: results of that method and worker type, where these are set: n is how many went */
        /* by the reader, beside it */
        STORE_OP_GET,      /* id, want: record; payload or result is NULL where it is gone. -ENOENT */
        STORE_OP_LIST,     /* filter: records, n. Newest first. Without a state: those that have ended, as whoever asks has the others in memory */
        STORE_OP_STATS,    /* stats */
        STORE_OP_CHECK,    /* text: "ok", or what integrity_check and the sums of payloads and results say: then it is salvaged, as after any damage */
        STORE_OP_BACKUP,   /* path: absolute, of a file that does not exist. n: its bytes. -EEXIST */
        STORE_OP_CACHE_GET,   /* cache: key and accept; then the item. -ENOENT */
        STORE_OP_CACHE_LIST,  /* cache: the method, where it is set; filter.limit. Then cache: n_cache items */
        _STORE_OP_MAX,
        _STORE_OP_READ = STORE_OP_GET,
} StoreOp;

enum { /* StoreRequest.want */
        STORE_WANT_PAYLOAD = 1 << 0,
        STORE_WANT_RESULT = 1 << 1,
        STORE_WANT_ACCEPT_SHIFT = 8, /* above it: encodings that the result may come in, 1 << Encoding each */
};

/* Zeroed members match everything, but state, which is -1 in a new request. Strings are owned by the request. */
typedef struct StoreFilter {
        int state;              /* a JobState, or -1 */
        char *pool, *method, *session;
        uint64_t since_usec;    /* accepted not before */
        uint64_t before_id;     /* 0, or: only ids below it (the next page) */
        unsigned limit;         /* 0: STORE_LIST_MAX. PURGE has none */
} StoreFilter;

typedef struct StoreStats {
        StoreHealth health;
        uint64_t bytes, wal_bytes, free_bytes; /* the file, its WAL, pages that are free in it */
        uint64_t jobs[_JOB_STATE_MAX];         /* as stored */
        uint64_t payload_bytes, payload_stored, result_bytes, result_stored; /* what was given, and what it takes, since the start */
        uint64_t groups, synced_groups, requests; /* commits, those with fsync, and requests in them, since the start */
        uint64_t dictionaries;
        uint64_t cache_entries, cache_bytes, cache_raw_bytes;
        uint64_t cache_puts, cache_evicted;    /* since the start */
} StoreStats;

struct StoreRequest {
        List link;
        StoreOp op;
        StoreDone done;
        void *userdata;
        uint64_t queued_usec;
        bool lazy;             /* nobody waits: it may share the next group, for at most STORE_LAZY_USEC */
        bool impatient;        /* SYNC: where the store is in trouble it fails, unless all is on the disk; else it waits until that is over */
        bool sync;             /* the group is synced before it is done (DURABLE_YES) */
        /* in */
        uint64_t id;
        unsigned want;
        JobRecord record;      /* what it owns is freed with the request */
        StoreFilter filter;
        FlowChange *flow;      /* freed with the request */
        uint64_t *ids;
        size_t n_ids;
        char *path;
        char *state_key, *state_value;
        struct CacheItem *cache; /* store/cache.h: one, or as many as were listed */
        size_t n_cache;
        /* out */
        int error;             /* 0 or -errno */
        uint64_t group;        /* in which it was committed: for store_synced() */
        uint64_t n;
        JobRecord *records;
        StoreStats stats;
        char *text;            /* of an error or a verdict, for a person */
};

StoreRequest *store_request_new(StoreOp op, StoreDone done, void *userdata);
StoreRequest *store_request_free(StoreRequest *r);
/* Does what a GET or LIST has found tell of an end that a power cut could take back? Whoever is told of it waits for a SYNC first. */
bool store_tells_end(const StoreRequest *r);
/* Gives it an empty item. Returns 0 or -ENOMEM. */
int store_request_add_item(StoreRequest *r);
DEFINE_CLEANUP(StoreRequest *, store_request_free);

/* Opens, or makes, the database, and starts the threads. Whatever is wrong with it is no failure of this call: see store_health().
 * `changed` is called on the loop when the health, or its text, has changed, or store_needs_load() has come true.
 * Returns 0, -ENOMEM, or what threads and descriptors failed with. */
int store_open(const StoreConfig *c, HotSet *hot, Log *log, void (*changed)(Store *s, void *userdata), void *userdata, Store **ret);
/* Commits what was queued and closes. Requests that are not done are done with -ECANCELED where they could not be carried out.
 * Not from within a callback of the store. Returns NULL. */
Store *store_close(Store *s);
DEFINE_CLEANUP(Store *, store_close);
/* Limits that may change while it runs: all but the directory, the instance and Store=. */
void store_configure(Store *s, const StoreConfig *c);

/* Every job that has not ended, oldest first, with its payload: before the loop runs. It blocks for as long as that
 * takes. `job` takes over what is in the record. Jobs whose payload was damaged are not among them: they are ended as failed, with code "PayloadDamaged".
 * Returns 0, or what `job` returned below 0. */
int store_load(Store *s, int (*job)(JobRecord *r, void *userdata), void *userdata);
/* All of the state, by key; likewise before the loop runs, or when store_needs_load(). Returns 0, what `entry` returned below 0, or -errno where the
 * store could not be read. */
int store_load_state(Store *s, int (*entry)(const char *key, const char *value, void *userdata), void *userdata);
/* The next `max` of them, when store_needs_load(). Those that were had may go on meanwhile. Returns 1 when there are more, else as store_load(). */
int store_load_slice(Store *s, unsigned max, int (*job)(JobRecord *r, void *userdata), void *userdata);
/* Every flow session, as store_load() does it, behind that. Returns 1; 0 where they cannot be read now (again when
 * `changed` was called); or what the sink returned below 0. */
int store_load_flow(Store *s, const FlowSink *sink, void *userdata);
/* Whether there is a database whose jobs were not loaded yet; it could not be opened earlier. No job is accepted until they are. */
bool store_needs_load(const Store *s);

/* Queues a request; it is done later, never from within. A store that cannot take it (store_accepts()) answers likewise.
 * What is submitted in one round of the loop shares a group. */
void store_submit(Store *s, StoreRequest *r);
/* Whether new durable jobs are taken, else *ret_why is a text for a person that lives until the next `changed`. */
bool store_accepts(const Store *s, const char **ret_why);
StoreHealth store_health(const Store *s);
/* What is wrong and what to do about it; NULL where nothing is. Lives until the next `changed`. */
const char *store_why(const Store *s);
const char *store_health_to_string(StoreHealth h);
/* Whether a group is on the disk; else a SYNC brings it there. */
bool store_synced(const Store *s, uint64_t group);
/* Requests that are not done yet. */
unsigned store_pending(const Store *s);
/* An id that is not below any that was ever stored: the next one given must be above it. */
uint64_t store_last_id(const Store *s);
/* Whose workers may still be there: FLOWD_INSTANCE of the last STORE_INSTANCES_MAX runs, newest first, separated by blanks; NULL where there was none.
 * More than one, since a run may have died before it had cleaned up after another. */
const char *store_last_instances(const Store *s);
