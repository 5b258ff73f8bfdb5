/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The readers. Each has a connection that cannot write, opened when it is first needed. When the database is replaced they are shut out:
 * what they are at is interrupted, their connections are closed under them, and they begin again with the new one. A reader that sees damage
 * leaves the mending to the writer.
 */

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "store/threads.h"

#define READ_TRIES_MAX 3 /* of one request, when it is interrupted */

static uint64_t file_size(const char *path, const char *suffix) {
        _cleanup_free_ char *name = str_printf("%s%s", path, suffix);
        struct stat st;

        return name && stat(name, &st) >= 0 ? (uint64_t) st.st_size : 0;
}

static int read_stats(Store *s, Db *db, StoreStats *ret) {
        StoreStats stats = { .bytes = file_size(s->path, ""), .wal_bytes = file_size(s->path, "-wal") };
        int64_t n = 0;

        (void) pthread_mutex_lock(&s->lock);
        stats.health = s->health;
        for (int i = 0; i < _JOB_STATE_MAX; i++)
                stats.jobs[i] = (uint64_t) MAX(s->shown.jobs[i], 0);
        stats.payload_bytes = s->shown.payload_bytes;
        stats.payload_stored = s->shown.payload_stored;
        stats.result_bytes = s->shown.result_bytes;
        stats.result_stored = s->shown.result_stored;
        stats.groups = s->groups;
        stats.synced_groups = s->synced_groups;
        stats.requests = s->requests;
        stats.cache_entries = s->shown_cache.entries;
        stats.cache_bytes = s->shown_cache.stored_bytes;
        stats.cache_raw_bytes = s->shown_cache.raw_bytes;
        stats.cache_evicted = s->shown_cache.evicted;
        stats.cache_puts = s->puts;
        (void) pthread_mutex_unlock(&s->lock);
        if (db->sql) {
                int r = db_number(db, db_statement(db, STATEMENT_FREE_PAGES), &n);

                stats.free_bytes = (uint64_t) n * STORE_PAGE_SIZE;
                if (r >= 0)
                        r = db_number(db, db_statement(db, STATEMENT_DICTIONARIES), &n);
                if (r < 0)
                        return r;
                stats.dictionaries = (uint64_t) n;
        }
        *ret = stats;
        return 0;
}

static int read_once(Reader *reader, Request *q) {
        Store *s = reader->store;
        StoreRequest *r = &q->r;
        Db *db = &reader->db;
        unsigned limit;

        switch (r->op) {
        case STORE_OP_GET:
                job_record_done(&r->record);
                return job_get(db, r->id, r->want, &r->record);
        case STORE_OP_LIST:
                limit = r->filter.limit > 0 ? MIN(r->filter.limit, STORE_LIST_MAX) : STORE_LIST_MAX;
                return job_list(db, &r->filter, false, limit, &r->records, &r->n);
        case STORE_OP_STATS:
                return read_stats(s, db, &r->stats);
        case STORE_OP_CHECK:
                return db_check(db, &r->text);
        case STORE_OP_BACKUP:
                return db_backup(db, r->path, &r->n);
        case STORE_OP_CACHE_GET:
                return cache_op_get(db, q);
        case STORE_OP_CACHE_LIST:
                return cache_op_list(db, q);
        default:
                return -EOPNOTSUPP;
        }
}

/* Opens where needed; where there is nothing to open, says why not. Statistics can do without. */
static int reader_open(Reader *reader, Request *q) {
        Store *s = reader->store;
        char why[STORE_TEXT_MAX];
        StoreHealth health;
        int r;

        (void) pthread_mutex_lock(&s->lock);
        bool readable = s->opened || s->health == STORE_READ_ONLY, excluded = s->exclude;
        reader->alone = !s->opened; /* nobody writes; when that changes, readers are shut out */
        health = s->health;
        memcpy(why, s->why, sizeof(why));
        reader->db.low = s->low;
        (void) pthread_mutex_unlock(&s->lock);
        if (excluded)
                return -EINTR;
        if (!readable) {
                if (q->r.op == STORE_OP_STATS)
                        return 0;
                request_fail(q, store_health_errno(health), why);
                return health == STORE_OK ? -EAGAIN : store_health_errno(health);
        }
        if (reader->db.sql)
                return 0;
        r = db_open_reader(&reader->db, s->path, reader->alone);
        (void) pthread_mutex_lock(&s->lock);
        reader->handle = reader->db.sql;
        (void) pthread_mutex_unlock(&s->lock);
        return r;
}

static void reader_close(Reader *reader) {
        (void) pthread_mutex_lock(&reader->store->lock);
        reader->handle = NULL;
        (void) pthread_mutex_unlock(&reader->store->lock);
        db_close(&reader->db, true);
}

static void report_damage(Store *s, const char *text) {
        (void) pthread_mutex_lock(&s->lock);
        s->suspect = true;
        str_copy(s->suspect_text, sizeof(s->suspect_text), text);
        (void) pthread_cond_signal(&s->more);
        (void) pthread_mutex_unlock(&s->lock);
}

/* With `busy`. Returns false where it was interrupted, and is to be done again. */
static bool read_request(Reader *reader, Request *q) {
        int r;

        reader->db.trouble = STORE_OK;
        r = reader_open(reader, q);
        if (r >= 0)
                r = read_once(reader, q);
        if (r == -EINTR)
                return false;
        q->r.error = r;
        if (reader->db.trouble == STORE_DAMAGED)
                report_damage(reader->store, reader->db.text);
        if (r < 0 && reader->db.trouble != STORE_OK) {
                char text[STORE_TEXT_MAX];

                snprintf(text, sizeof(text), reader->db.trouble == STORE_DAMAGED ? "the store is damaged (%.400s); it is being salvaged: ask again"
                         : "the store cannot be read: %.400s", reader->db.text);
                request_fail(q, r, text);
                reader_close(reader);
        }
        if (reader->alone)
                reader_close(reader);
        return true;
}

static void serve(Reader *reader, Request *q) {
        Store *s = reader->store;
        List one = LIST_INIT(one);
        bool done = false, stop = false;

        for (unsigned i = 0; i < READ_TRIES_MAX && !done && !stop; i++) {
                (void) pthread_mutex_lock(&s->lock);
                while (s->exclude && !s->stop)
                        (void) pthread_cond_wait(&s->open_door, &s->lock);
                stop = s->stop;
                (void) pthread_mutex_unlock(&s->lock);
                if (stop)
                        break;
                (void) pthread_mutex_lock(&reader->busy);
                done = read_request(reader, q);
                (void) pthread_mutex_unlock(&reader->busy);
        }
        if (!done)
                request_fail(q, -ECANCELED, NULL);
        list_append(&one, &q->r.link);
        store_post(s, &one);
}

void *reader_thread(void *userdata) {
        Reader *reader = userdata;
        Store *s = reader->store;

        (void) pthread_mutex_lock(&s->lock);
        for (;;) {
                while (list_empty(&reader->queue) && !s->stop)
                        (void) pthread_cond_wait(&reader->more, &s->lock);
                if (s->stop)
                        break;
                List *l = list_first(&reader->queue);
                list_remove(l);
                (void) pthread_mutex_unlock(&s->lock);
                serve(reader, request_of(l));
                (void) pthread_mutex_lock(&s->lock);
        }
        (void) pthread_mutex_unlock(&s->lock);
        return NULL;
}

void readers_exclude(Store *s) {
        (void) pthread_mutex_lock(&s->lock);
        s->exclude = true;
        for (int i = 0; i < _READER_MAX; i++)
                if (s->readers[i].handle)
                        sqlite3_interrupt(s->readers[i].handle);
        (void) pthread_mutex_unlock(&s->lock);
        for (int i = 0; i < _READER_MAX; i++) {
                (void) pthread_mutex_lock(&s->readers[i].busy);
                reader_close(&s->readers[i]);
                (void) pthread_mutex_unlock(&s->readers[i].busy);
        }
}

void readers_admit(Store *s) {
        (void) pthread_mutex_lock(&s->lock);
        s->exclude = false;
        (void) pthread_cond_broadcast(&s->open_door);
        (void) pthread_mutex_unlock(&s->lock);
}
