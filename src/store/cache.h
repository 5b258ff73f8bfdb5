/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Results that need not be computed twice: where they stand in the database, how they are found, and which give way. */

#include <sqlite3.h>

#include "basic/blob.h"
#include "store/codec.h"

#define CACHE_KEY_SIZE 32U
#define CACHE_ARGUMENTS_MAX (256U << 10) /* bytes of arguments: a millisecond of the loop's time for a key */
#define CACHE_ROW_COST 256U              /* bytes that a result counts besides its body */
#define CACHE_ITEM_SHARE 16U             /* one result takes at most one part in so many of the cache */
#define CACHE_EVICT_MAX 256U             /* results that give way to one */
#define CACHE_LIST_MAX 10000U

/* Two tables, so that what changes at each access is apart from the bodies, which would be read and partly rewritten with it: at 64 KiB a touch takes
 * 4 µs instead of 250, at 4 KiB 15 instead of 36, and putting takes a third less; a search takes a microsecond more. The id is 63 bits of the key: no
 * index over keys is needed, and where two have the same one the later takes the other's place. Bodies come one behind the other as they
 * are put. The two indexes say who gives way first: what has come to its end, and what was not asked for for longest. */
#define CACHE_SCHEMA \
        "CREATE TABLE cache (id INTEGER PRIMARY KEY, key BLOB NOT NULL, body INTEGER NOT NULL, method TEXT NOT NULL, worker_type TEXT NOT NULL," \
        "  kind INTEGER NOT NULL, status INTEGER NOT NULL, code TEXT, encoding INTEGER NOT NULL, dictionary INTEGER NOT NULL, sum INTEGER NOT NULL," \
        "  raw_size INTEGER NOT NULL, stored_size INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL," \
        "  stale_until INTEGER NOT NULL, last_access INTEGER NOT NULL, hits INTEGER NOT NULL) STRICT;" \
        "CREATE TABLE cache_bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;" \
        "CREATE INDEX cache_by_access ON cache (last_access);" \
        "CREATE INDEX cache_by_end ON cache (stale_until);"

typedef struct CacheKey {
        uint8_t bytes[CACHE_KEY_SIZE];
} CacheKey;

typedef enum CacheFreshness {
        CACHE_MISS = 0,
        CACHE_FRESH = 1,
        CACHE_STALE = 2, /* beyond `expires`, not yet beyond `stale_until`: to be given, and computed anew */
} CacheFreshness;

/* A result as it is put, found or listed. Times are µs of CLOCK_REALTIME. */
typedef struct CacheItem {
        CacheKey key;
        char *method, *worker_type; /* owned, as are the next two; by these it is listed and purged */
        const char *label;          /* in: what the codec knows such results by, borrowed; NULL: by their method */
        char *code;                 /* of a failure, or NULL */
        Blob *body;                 /* the result; of a failure its text */
        PayloadKind kind;
        FrameStatus status;         /* a failure may be kept too, for a shorter time */
        uint64_t created_usec, expires_usec, stale_until_usec;
        /* in, for a search: encodings that the body may be given in, 1 << Encoding; ENCODING_IDENTITY always may */
        unsigned accept;
        /* out */
        CacheFreshness freshness;
        Encoding encoding;          /* of `body`, or of what is stored where there is no body */
        uint64_t raw_size, stored_size, last_access_usec, hits;
} CacheItem;

/* The statements of one connection, used by one thread at a time. */
typedef struct CacheStatements CacheStatements;

typedef struct CacheStats {
        uint64_t entries, stored_bytes, raw_bytes;
        uint64_t cost; /* what counts against CacheMaxBytes=: stored bytes and CACHE_ROW_COST for each */
        uint64_t evicted; /* that have given way since the statements were prepared; the writer knows */
} CacheStats;

/* The key of a question. Arguments that are JSON are put into one spelling before (proto/json-canonical.h), others count as they are; which
 * of the two is part of the key. NULL differs from "". `version` is what the worker type says of itself (Version=).
 * Returns 0, -E2BIG where they are larger than CACHE_ARGUMENTS_MAX or nested too deeply, -EBADMSG where JSON is none, -ENOMEM. */
int cache_key(const char *worker_type, const char *version, const char *method, const char *session, PayloadKind kind, const void *arguments,
              size_t size, CacheKey *ret);
/* What a row of that key has as its id: for cache_touch(). */
int64_t cache_id(const CacheKey *key);

/* Frees `n` items that stand one behind the other in one allocation, with what they own. Returns NULL. */
CacheItem *cache_items_free(CacheItem *items, size_t n);

/* Prepares the statements: all that write with `writer`, else all that read. The database has CACHE_SCHEMA.
 * Returns 0, -ENOMEM, -EIO (sqlite3_extended_errcode(sql) says what). */
int cache_statements_prepare(sqlite3 *sql, bool writer, CacheStatements **ret);
CacheStatements *cache_statements_free(CacheStatements *c);
DEFINE_CLEANUP(CacheStatements *, cache_statements_free);
/* The result code of SQLite behind the last -EIO. */
int cache_sqlite_code(const CacheStatements *c);

/* ---- By the writer, in a transaction that is open. After -EIO it must be rolled back. */

/* The transaction was rolled back: what is known of the cache's size no longer holds. */
void cache_rolled_back(CacheStatements *c);
/* Puts a result in the place of what was there under its key. Of the item only what is not marked "out" counts, and not the body: that is `size`
 * bytes at `body`, because Blobs do not go from thread to thread. It is compressed from `compress_min` bytes on. Others give way where there is no
 * room. Returns 0; -EFBIG where it is too large for a cache of `max_bytes`; -EAGAIN where it would take more than CACHE_EVICT_MAX others (they are gone,
 * so the next time may succeed); -ENOMEM, -EIO. */
int cache_put(CacheStatements *c, Codec *codec, const CacheItem *item, const void *body, size_t size, uint64_t compress_min, uint64_t max_bytes);
/* Marks results as used now, once for each time that they stand in `ids`. Those that are gone are passed over. Returns 0, -EIO. */
int cache_touch(CacheStatements *c, const int64_t *ids, size_t n, uint64_t now_usec);
/* Takes at most `limit` away that are of that method and worker type; NULL: of any. *cursor is 0 to begin with, and says how far it got;
 * *n grows by how many went. Returns 0 when there are no more, 1 when there may be, -ENOMEM, -EIO. */
int cache_purge(CacheStatements *c, const char *method, const char *worker_type, unsigned limit, int64_t *cursor, uint64_t *n);
/* Takes at most `limit` away: first those whose end has come, then those not used for longest, until the cache has `max_bytes` or less.
 * Returns 0 when there is nothing more to do, 1 when there is, -ENOMEM, -EIO. */
int cache_trim(CacheStatements *c, uint64_t now_usec, uint64_t max_bytes, unsigned limit, uint64_t *n);

/* ---- By the reader */

/* Looks for item->key, and fills in all but the key. item->body is a new Blob, in an encoding of item->accept: as it is stored where that is
 * possible, else as raw bytes; on a miss everything stays as it was. Does not write: whoever is told of a hit remembers it for cache_touch().
 * Returns a CacheFreshness; -EBADMSG where the row or its body is damaged, which the next cache_put() mends; -ENOMEM, -EIO. */
int cache_get(CacheStatements *c, Codec *codec, uint64_t now_usec, CacheItem *item);
/* Results without their bodies, those used last first; of one method or (NULL) all. Returns 0, -EBADMSG, -ENOMEM, -EIO. */
int cache_list(CacheStatements *c, const char *method, unsigned limit, CacheItem **ret, size_t *ret_n);

/* By either. Returns 0 or -EIO. */
int cache_stats(CacheStatements *c, CacheStats *ret);
/* The same for the writer, where it need not count. */
bool cache_known(const CacheStatements *c, CacheStats *ret);
