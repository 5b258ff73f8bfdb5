/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The cache among the store's requests: what the writer and the readers do with it, and what its failures mean. A result that cannot be kept is
 * refused, a row that cannot be read is a miss; only what is the disk's failure is the store's.
 *
 * The cache lies in the same file as the jobs and gives way to them: it never takes more than a quarter of StoreMaxBytes=, takes nothing when that
 * is nearly reached, and goes before any job does.
 */

#include <errno.h>

#include <sys/mman.h>

#include "basic/fd.h"
#include "store/cache.h"
#include "store/internal.h"

#define CACHE_STORE_SHARE 4U /* of StoreMaxBytes=: one part in so many, at most */
#define CACHE_TRIM_SLICE 256U

/* What cache.c said, in the store's words. */
static int failed(Db *db, int r, const char *what) {
        if (r != -EIO && r != -ENOMEM)
                return r;
        r = db_fail(db, r == -EIO ? cache_sqlite_code(db->cache) : SQLITE_NOMEM, what);
        if (r == -EEXIST) /* an index and its table disagree */
                return db_damaged(db, "%s: %s", what, sqlite3_errmsg(db->sql));
        if (db->trouble == STORE_OK && r != -EINTR) /* in part done: the transaction is void all the same */
                db->trouble = STORE_FAILED;
        return r;
}

int cache_open(Db *db, bool writer) {
        int r = cache_statements_prepare(db->sql, writer, &db->cache);

        if (r == -EIO && (sqlite3_errcode(db->sql) & 0xff) == SQLITE_ERROR)
                return db_damaged(db, "the schema is not what its version says: %s", sqlite3_errmsg(db->sql));
        if (r < 0)
                return db_fail(db, r == -ENOMEM ? SQLITE_NOMEM : sqlite3_extended_errcode(db->sql), "preparing");
        return 0;
}

static uint64_t limit(const Db *db) {
        return MIN(db->cache_bytes, db->max_bytes / CACHE_STORE_SHARE);
}

uint64_t cache_used(Db *db) {
        CacheStats stats;

        return db->cache && cache_known(db->cache, &stats) ? stats.cost : 0;
}

int cache_survey(Db *db) {
        CacheStats stats;

        return failed(db, cache_stats(db->cache, &stats), "counting the cache");
}

int cache_retain(Db *db, bool spare) {
        uint64_t max = limit(db), n = 0;

        if (spare)
                max = MIN(max, cache_used(db) / 2);
        if (max < CACHE_ROW_COST * CACHE_ITEM_SHARE) /* it can hold nothing */
                max = 0;
        return failed(db, cache_trim(db->cache, realtime_usec(), max, CACHE_TRIM_SLICE, &n), "trimming the cache");
}

int cache_op_put(Db *db, Request *q) {
        CacheItem *item = q->r.cache;
        char buf[DICTIONARY_LABEL_MAX];
        const void *data = q->data;
        void *map = NULL;
        int r;

        if (!item || q->size > STORE_BODY_MAX)
                return -EFBIG;
        if (db->used > db->max_bytes / 8 * RETENTION_EIGHTHS) /* the jobs need the room */
                return -EAGAIN;
        if (q->fd >= 0) {
                r = memfd_map(q->fd, q->size, &map);
                if (r < 0)
                        return r;
                data = map;
        }
        item->label = dictionary_label(item->method, BODY_RESULT, buf);
        r = failed(db, cache_put(db->cache, db->codec, item, data ? data : "", q->size, db->compress_min, limit(db)), "keeping a result");
        item->label = NULL;
        if (map)
                (void) munmap(map, q->size);
        return r;
}

int cache_op_touch(Db *db, Request *q) {
        return failed(db, cache_touch(db->cache, (const int64_t *) q->r.ids, q->r.n_ids, realtime_usec()), "noting that results were used");
}

int cache_op_purge(Db *db, Request *q) {
        const CacheItem *item = q->r.cache;
        int64_t cursor = (int64_t) q->committed_at;
        int r;

        q->n = q->r.n;
        r = failed(db, cache_purge(db->cache, item ? item->method : NULL, item ? item->worker_type : NULL, STORE_PURGE_SLICE, &cursor, &q->n),
                   "purging the cache");
        q->at = (uint64_t) cursor;
        return r;
}

int cache_op_get(Db *db, Request *q) {
        int r;

        if (!q->r.cache)
                return -EINVAL;
        r = cache_get(db->cache, db->codec, realtime_usec(), q->r.cache);
        if (r == CACHE_MISS || r == -EBADMSG) /* damaged: the result that is put in its place mends it */
                return -ENOENT;
        return r > 0 ? 0 : failed(db, r, "looking for a result");
}

int cache_op_list(Db *db, Request *q) {
        unsigned max = q->r.filter.limit > 0 ? q->r.filter.limit : CACHE_LIST_MAX;
        CacheItem *items;
        size_t n;
        int r;

        r = failed(db, cache_list(db->cache, q->r.cache ? q->r.cache->method : NULL, max, &items, &n), "listing the cache");
        if (r < 0)
                return r;
        (void) cache_items_free(q->r.cache, q->r.n_cache);
        q->r.cache = items;
        q->r.n_cache = n;
        return 0;
}
