/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The store's threads, and what they and the loop share. */

#include <pthread.h>

#include "store/cache.h"
#include "store/internal.h"

#define STORE_GROUP_MAX 4096U             /* requests in one commit */
#define STORE_GROUP_BYTES (16U << 20)     /* bytes of bodies after which it takes no more */
#define STORE_LAZY_USEC (2 * USEC_PER_MSEC)
#define STORE_CACHE_GROUP_MAX 64U         /* writes to the cache in one commit ... */
#define STORE_CACHE_GROUP_BYTES (1U << 20) /* ... and bytes of bodies after which it takes no more */
#define STORE_CACHE_PATIENCE_USEC (50 * USEC_PER_MSEC) /* so long they let others go first */
#define STORE_CACHE_PUTS_MAX 1024U        /* results that wait to be kept; beyond, they are not ... */
#define STORE_CACHE_PUTS_BYTES (32U << 20) /* ... and bytes of them */
#define STORE_IDLE_USEC (20 * USEC_PER_MSEC) /* without requests, until the writer sees to the WAL and the old jobs */
#define STORE_RETRY_USEC USEC_PER_SEC
#define STORE_SALVAGE_RETRY_USEC (30 * USEC_PER_SEC) /* it reads the whole file */
#define STORE_RETENTION_USEC (60 * USEC_PER_SEC)
#define STORE_DONE_BUDGET 16U             /* requests that one round of the loop hears of: what is more must not keep other peers waiting */
#define STORE_PAGES_SPARE 1024U           /* above a quarter more than StoreMaxBytes= says: the file's own limit */
#define STORE_PROBE_BYTES (64U << 10)     /* what must fit before a full disk counts as recovered */

enum {
        READER_QUICK, /* GET, LIST, STATS */
        READER_CACHE, /* CACHE_GET: somebody waits for it, and perhaps a job */
        READER_SLOW,  /* CHECK, BACKUP: they read everything */
        _READER_MAX,
};

typedef struct Reader {
        Store *store;
        pthread_t thread;
        pthread_cond_t more;
        List queue;            /* under store->lock */
        sqlite3 *handle;       /* under store->lock: what to interrupt; NULL while it is not open */
        pthread_mutex_t busy;  /* held while the connection is used */
        bool alone;            /* of this request: the writer has not opened the database yet, and perhaps cannot */
        Db db;
} Reader;

struct Store {
        HotSet *hot;
        Log *log;
        void (*changed)(Store *s, void *userdata);
        void *userdata;
        char *directory, *path, *instance;
        Codec *codec;

        /* the loop's own */
        HotFd event;              /* an eventfd: something is done, or the health has changed */
        Defer flush;
        List fresh;               /* submitted in this round */
        List ready;               /* done, and not told yet */
        unsigned pending;
        unsigned cache_puts;      /* CACHE_PUTs among them */
        size_t cache_put_bytes;
        uint64_t highest;         /* id that an ADD had */
        StoreHealth told_health;
        char told_why[STORE_TEXT_MAX];
        bool told_needs_load;
        bool unsaid;              /* what was told has changed, and `changed` was not called yet */

        /* under `lock`, which is held for moments only */
        pthread_mutex_t lock;
        pthread_cond_t more;      /* for the writer */
        pthread_cond_t open_door; /* for readers that `exclude` keeps out */
        List queue;
        unsigned eager;           /* requests in it that do not wait for company */
        List cache_queue;         /* CACHE_PUT, _TOUCH, _PURGE */
        List done;
        List learnt;              /* by the codec's thread */
        bool stop, reconfigured, exclude;
        StoreConfig config;
        StoreHealth health;
        char why[STORE_TEXT_MAX];
        bool opened, needs_load;
        bool suspect;             /* a reader saw damage */
        char suspect_text[STORE_TEXT_MAX];
        Tally shown;
        struct CacheStats shown_cache;
        uint64_t puts;            /* results that were kept */
        uint64_t groups, synced_groups, requests;
        uint64_t group, synced;   /* the last group, and the last one that is on the disk */
        uint64_t low, last_id;
        char *last_instances;

        /* under `db_lock`: the writer's, and store_load()'s */
        pthread_mutex_t db_lock;
        Db db;
        StoreConfig limits;
        int lock_fd;
        bool registered, loaded;
        uint64_t load_last;
        char loss[STORE_TEXT_MAX];    /* empty: none */
        StoreHealth trouble;          /* why it does not work now; STORE_OK while it does */
        char trouble_text[STORE_TEXT_MAX];
        bool damaged;                 /* the file must be salvaged before it is used again */
        char damaged_text[STORE_TEXT_MAX];
        uint64_t retry_usec;          /* when it is tried again */
        List kept;                    /* ends and the like of jobs that were accepted, which wait for the disk */
        List slow;                    /* requests that go on in slices */
        List to_store;                /* what was learnt */
        uint64_t retention_usec;      /* when old jobs are looked for next */
        bool retention_more, vacuum_more;
        uint64_t cache_usec;          /* when the cache is looked at next */
        uint64_t busy_usec;           /* the last request */

        bool writer_runs, readers_run[_READER_MAX];
        pthread_t writer;
        Reader readers[_READER_MAX];
};

/* A dictionary on its way from the codec's thread to the writer. */
typedef struct Learnt {
        List link;
        char *label;
        size_t size;
        uint8_t body[];
} Learnt;

/* ---- writer.c */
/* CodecTrained */
void writer_learn(const char *label, const void *body, size_t size, void *userdata);
Learnt *learnt_free(Learnt *l);
void *writer_thread(void *userdata);
/* Opens the database, where that is possible, and sets trouble where it is not. With db_lock. */
void writer_open(Store *s);
/* What is to be done about a failure of the database. With db_lock; returns 0 where it was damage and is mended, else what is wrong. */
int writer_trouble(Store *s);
/* Lets the loop know how it is. With db_lock. */
void writer_publish(Store *s);
void writer_apply_limits(Store *s, const StoreConfig *c);

/* ---- reader.c */
void *reader_thread(void *userdata);
/* Shuts readers out and closes their connections; lets them in again. */
void readers_exclude(Store *s);
void readers_admit(Store *s);

/* ---- store.c */
/* Wakes the loop. */
void store_wake(Store *s);
static inline Request *request_of(List *l) {
        return list_entry(l, Request, r.link);
}
/* Sets the outcome, and a copy of the text where there is one. */
void request_fail(Request *q, int error, const char *text);
/* Hands a list of requests to the loop. */
void store_post(Store *s, List *requests);
static inline void list_move_all(List *to, List *from) {
        List *n;

        while ((n = list_first(from))) {
                list_remove(n);
                list_append(to, n);
        }
}
