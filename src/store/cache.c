/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The cache's rows. The writer's functions run within the transaction of its group, the reader's beside it on a connection of its own; what
 * a search finds may be gone or newer a moment later, and nobody minds.
 *
 * The writer knows the cache's size without asking: it counts with each row that comes and goes. What was counted in a transaction that is
 * rolled back is wrong, so cache_rolled_back() forgets it, and the next one who needs it counts the rows.
 *
 * Whatever is read from the file may be damaged. Numbers are checked before they are used, compressed bodies carry a checksum in their frame, the others
 * have one beside them; the key is compared whole, so a row under the wrong id is a miss.
 */

#include <errno.h>
#include <zlib.h>

#include "basic/blake2b.h"
#include "proto/json-canonical.h"
#include "store/cache.h"

#define ITEM_COLUMNS "c.key, c.method, c.worker_type, c.kind, c.status, c.code, c.encoding, c.dictionary, c.sum, c.raw_size, c.stored_size, c.created, " \
                     "c.expires, c.stale_until, c.last_access, c.hits"
#define VICTIM_COLUMNS "id, body, raw_size, stored_size"

enum { /* ITEM_COLUMNS */
        ITEM_KEY, ITEM_METHOD, ITEM_WORKER_TYPE, ITEM_KIND, ITEM_STATUS, ITEM_CODE, ITEM_ENCODING, ITEM_DICTIONARY, ITEM_SUM, ITEM_RAW_SIZE,
        ITEM_STORED_SIZE, ITEM_CREATED, ITEM_EXPIRES, ITEM_STALE_UNTIL, ITEM_LAST_ACCESS, ITEM_HITS,
        ITEM_BODY, /* of a search */
};

typedef enum Statement {
        /* the writer's */
        PUT_BODY,
        PUT,
        FIND,
        DELETE,
        DELETE_BODY,
        TOUCH,
        NEXT_TO_PURGE,
        ENDED,
        UNUSED,
        /* the reader's */
        GET,
        LIST,
        /* both */
        STATS,
        _STATEMENT_MAX,
        _WRITER_END = GET,
        _READER_BEGIN = GET,
} Statement;

static const char *const statements[_STATEMENT_MAX] = {
        [PUT_BODY] = "INSERT INTO cache_bodies (body) VALUES (?1)",
        [PUT] = "INSERT INTO cache (id, key, body, method, worker_type, kind, status, code, encoding, dictionary, sum, raw_size, stored_size, created,"
                " expires, stale_until, last_access, hits) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?14, 0)",
        [FIND] = "SELECT " VICTIM_COLUMNS " FROM cache WHERE id = ?1",
        [DELETE] = "DELETE FROM cache WHERE id = ?1",
        [DELETE_BODY] = "DELETE FROM cache_bodies WHERE id = ?1",
        [TOUCH] = "UPDATE cache SET last_access = max(last_access, ?2), hits = hits + 1 WHERE id = ?1",
        [NEXT_TO_PURGE] = "SELECT " VICTIM_COLUMNS " FROM cache WHERE id > ?1 AND (?2 IS NULL OR method = ?2)"
                " AND (?3 IS NULL OR worker_type = ?3) ORDER BY id LIMIT ?4",
        [ENDED] = "SELECT " VICTIM_COLUMNS " FROM cache INDEXED BY cache_by_end WHERE stale_until <= ?1 ORDER BY stale_until LIMIT ?2",
        [UNUSED] = "SELECT " VICTIM_COLUMNS " FROM cache INDEXED BY cache_by_access ORDER BY last_access LIMIT ?1",
        [GET] = "SELECT " ITEM_COLUMNS ", b.body FROM cache AS c JOIN cache_bodies AS b ON b.id = c.body WHERE c.id = ?1",
        [LIST] = "SELECT " ITEM_COLUMNS " FROM cache AS c INDEXED BY cache_by_access WHERE ?1 IS NULL OR c.method = ?1"
                " ORDER BY c.last_access DESC LIMIT ?2",
        [STATS] = "SELECT count(*), coalesce(sum(stored_size), 0), coalesce(sum(raw_size), 0) FROM cache",
};

struct CacheStatements {
        sqlite3 *sql;
        sqlite3_stmt *statements[_STATEMENT_MAX];
        int code;
        bool known; /* what `stats` says is so, in the transaction that is open too */
        CacheStats stats;
};

/* A row that goes. */
typedef struct Victim {
        int64_t id, body;
        uint64_t raw_size, stored_size;
} Victim;

/* --------------------------------------------------------------------------------------------------------------- keys */

/* With its length before it, so that no two sequences of fields are the same bytes; NULL has a length that no text has. */
static void key_add(Blake2b *b, const void *data, size_t size) {
        uint64_t length = htole64(data ? size : UINT64_MAX);

        blake2b_add(b, &length, sizeof(length));
        if (data)
                blake2b_add(b, data, size);
}

static void key_add_text(Blake2b *b, const char *s) {
        key_add(b, s, s ? strlen(s) : 0);
}

int cache_key(const char *worker_type, const char *version, const char *method, const char *session, PayloadKind kind, const void *arguments,
              size_t size, CacheKey *ret) {
        JsonBuffer canonical = {};
        uint8_t kind_byte = (uint8_t) kind;
        Blake2b b;
        int r;

        if (size > CACHE_ARGUMENTS_MAX)
                return -E2BIG;
        if (kind == PAYLOAD_JSON) {
                r = json_canonical(arguments, size, &canonical);
                if (r < 0) {
                        json_buffer_clear(&canonical);
                        return r;
                }
                arguments = canonical.data;
                size = canonical.size;
        }
        blake2b_begin(&b, CACHE_KEY_SIZE);
        key_add_text(&b, worker_type);
        key_add_text(&b, version);
        key_add_text(&b, method);
        key_add_text(&b, session);
        key_add(&b, &kind_byte, sizeof(kind_byte));
        key_add(&b, size > 0 ? arguments : "", size);
        blake2b_end(&b, ret->bytes);
        json_buffer_clear(&canonical);
        return 0;
}

int64_t cache_id(const CacheKey *key) {
        uint64_t id;

        memcpy(&id, key->bytes, sizeof(id));
        return (int64_t) MAX(le64toh(id) >> 1, UINT64_C(1)); /* above 0, where a purge begins */
}

static void item_done(CacheItem *item) {
        free(item->method);
        free(item->worker_type);
        free(item->code);
        blob_unref(item->body);
}

CacheItem *cache_items_free(CacheItem *items, size_t n) {
        for (size_t i = 0; i < n; i++)
                item_done(&items[i]);
        free(items);
        return NULL;
}

/* --------------------------------------------------------------------------------------------------------- statements */

static int failed(CacheStatements *c, int code) {
        if ((code & 0xff) == SQLITE_NOMEM)
                return -ENOMEM;
        c->code = code;
        return -EIO;
}

static sqlite3_stmt *statement(CacheStatements *c, Statement which) {
        return c->statements[which];
}

/* Ends the use of a statement, whose last step said `code`. */
static int finish(CacheStatements *c, sqlite3_stmt *st, int code) {
        int extended = sqlite3_extended_errcode(c->sql);

        (void) sqlite3_reset(st);
        (void) sqlite3_clear_bindings(st);
        if (code == SQLITE_DONE || code == SQLITE_ROW)
                return 0;
        return failed(c, (extended & 0xff) == (code & 0xff) ? extended : code);
}

/* Binds a text; NULL stays NULL. Bindings of all kinds can fail only for want of memory, or because the text is too long for SQLite, and then the
 * statement fails, or finds nothing, because NULL is bound. */
static void bind_text(sqlite3_stmt *st, int n, const char *s) {
        if (s)
                (void) sqlite3_bind_text(st, n, s, -1, SQLITE_STATIC);
}

static void bind_number(sqlite3_stmt *st, int n, uint64_t v) {
        (void) sqlite3_bind_int64(st, n, (int64_t) MIN(v, (uint64_t) INT64_MAX));
}

CacheStatements *cache_statements_free(CacheStatements *c) {
        if (!c)
                return NULL;
        for (Statement s = 0; s < _STATEMENT_MAX; s++)
                (void) sqlite3_finalize(c->statements[s]);
        free(c);
        return NULL;
}

int cache_statements_prepare(sqlite3 *sql, bool writer, CacheStatements **ret) {
        _cleanup_(cache_statements_freep) CacheStatements *c = new0(CacheStatements, 1);

        if (!c)
                return -ENOMEM;
        c->sql = sql;
        for (Statement s = 0; s < _STATEMENT_MAX; s++) {
                if (s != STATS && writer != (s < _WRITER_END))
                        continue;
                int code = sqlite3_prepare_v3(sql, statements[s], -1, SQLITE_PREPARE_PERSISTENT, &c->statements[s], NULL);
                if (code != SQLITE_OK)
                        return code == SQLITE_NOMEM ? -ENOMEM : -EIO;
        }
        *ret = TAKE_PTR(c);
        return 0;
}

int cache_sqlite_code(const CacheStatements *c) {
        return c->code;
}

void cache_rolled_back(CacheStatements *c) {
        c->known = false;
}

static uint64_t cost(uint64_t stored_size) {
        return stored_size + CACHE_ROW_COST;
}

int cache_stats(CacheStatements *c, CacheStats *ret) {
        sqlite3_stmt *st = statement(c, STATS);
        CacheStats stats = { .evicted = c->stats.evicted };
        int code, r;

        if (c->known) {
                *ret = c->stats;
                return 0;
        }
        code = sqlite3_step(st);
        if (code == SQLITE_ROW) {
                stats.entries = (uint64_t) sqlite3_column_int64(st, 0);
                stats.stored_bytes = (uint64_t) sqlite3_column_int64(st, 1);
                stats.raw_bytes = (uint64_t) sqlite3_column_int64(st, 2);
                stats.cost = stats.stored_bytes + stats.entries * CACHE_ROW_COST;
        }
        r = finish(c, st, code);
        if (r < 0)
                return r;
        c->stats = stats;
        c->known = statement(c, PUT); /* the reader does not see what changes */
        *ret = stats;
        return 0;
}

bool cache_known(const CacheStatements *c, CacheStats *ret) {
        if (c->known)
                *ret = c->stats;
        return c->known;
}

/* ------------------------------------------------------------------------------------------------------------- writer */

/* Numbers that a damaged file gives may say that more goes than there was. */
static void count_down(uint64_t *n, uint64_t by) {
        *n -= MIN(*n, by);
}

static int run(CacheStatements *c, Statement which, int64_t id) {
        sqlite3_stmt *st = statement(c, which);

        (void) sqlite3_bind_int64(st, 1, id);
        return finish(c, st, sqlite3_step(st));
}

static int take_away(CacheStatements *c, const Victim *v) {
        int r;

        r = run(c, DELETE_BODY, v->body);
        if (r >= 0)
                r = run(c, DELETE, v->id);
        if (r < 0)
                return r;
        count_down(&c->stats.entries, 1);
        count_down(&c->stats.stored_bytes, v->stored_size);
        count_down(&c->stats.raw_bytes, v->raw_size);
        count_down(&c->stats.cost, cost(v->stored_size));
        return 0;
}

/* The next rows of a statement with VICTIM_COLUMNS, up to `max` of them; the statement is bound, and done afterwards: rows are not taken away while it
 * stands on them. */
static int next_victims(CacheStatements *c, sqlite3_stmt *st, Victim *ret, size_t max, size_t *ret_n) {
        size_t n = 0;
        int code = SQLITE_DONE;

        while (n < max && (code = sqlite3_step(st)) == SQLITE_ROW)
                ret[n++] = (Victim) {
                        .id = sqlite3_column_int64(st, 0),
                        .body = sqlite3_column_int64(st, 1),
                        .raw_size = (uint64_t) MAX(sqlite3_column_int64(st, 2), 0),
                        .stored_size = (uint64_t) MAX(sqlite3_column_int64(st, 3), 0),
                };
        *ret_n = n;
        return finish(c, st, code);
}

/* Takes those away that were not used for longest until at most `max_bytes` are left, but no more than `limit`.
 * Returns 1 where that was not enough. */
static int evict(CacheStatements *c, uint64_t max_bytes, unsigned limit, uint64_t *gone) {
        Victim victims[CACHE_EVICT_MAX];
        size_t n;
        int r;

        while (c->stats.cost > max_bytes && limit > 0) {
                sqlite3_stmt *st = statement(c, UNUSED);
                size_t want = MIN(limit, ELEMENTSOF(victims));

                if (c->stats.cost - max_bytes < max_bytes / CACHE_EVICT_MAX)
                        want = MIN(want, (size_t) 8); /* mostly one will do */
                bind_number(st, 1, want);
                r = next_victims(c, st, victims, want, &n);
                if (r < 0)
                        return r;
                if (n == 0) { /* there is nothing, whatever was counted */
                        c->known = false;
                        return 0;
                }
                for (size_t i = 0; i < n && c->stats.cost > max_bytes; i++) {
                        r = take_away(c, &victims[i]);
                        if (r < 0)
                                return r;
                        limit--;
                        (*gone)++;
                        c->stats.evicted++;
                }
        }
        return c->stats.cost > max_bytes;
}

static int put_row(CacheStatements *c, const CacheItem *item, Encoding encoding, uint64_t dictionary, const void *stored, size_t stored_size,
                   size_t raw_size) {
        sqlite3_stmt *st = statement(c, PUT_BODY);
        int r;

        (void) sqlite3_bind_blob64(st, 1, stored_size > 0 ? stored : "", stored_size, SQLITE_STATIC);
        r = finish(c, st, sqlite3_step(st));
        if (r < 0)
                return r;
        st = statement(c, PUT);
        bind_number(st, 1, (uint64_t) cache_id(&item->key));
        (void) sqlite3_bind_blob(st, 2, item->key.bytes, CACHE_KEY_SIZE, SQLITE_STATIC);
        (void) sqlite3_bind_int64(st, 3, sqlite3_last_insert_rowid(c->sql));
        bind_text(st, 4, strempty(item->method));
        bind_text(st, 5, strempty(item->worker_type));
        bind_number(st, 6, item->kind);
        bind_number(st, 7, item->status);
        bind_text(st, 8, item->code);
        bind_number(st, 9, encoding);
        bind_number(st, 10, dictionary);
        bind_number(st, 11, encoding == ENCODING_IDENTITY ? crc32_z(0, stored, stored_size) : 0);
        bind_number(st, 12, raw_size);
        bind_number(st, 13, stored_size);
        bind_number(st, 14, item->created_usec);
        bind_number(st, 15, item->expires_usec);
        bind_number(st, 16, MAX(item->expires_usec, item->stale_until_usec));
        r = finish(c, st, sqlite3_step(st));
        if (r < 0)
                return r;
        c->stats.entries++;
        c->stats.stored_bytes += stored_size;
        c->stats.raw_bytes += raw_size;
        c->stats.cost += cost(stored_size);
        return 0;
}

int cache_put(CacheStatements *c, Codec *codec, const CacheItem *item, const void *body, size_t size, uint64_t compress_min, uint64_t max_bytes) {
        const char *label = item->label ? item->label : item->method;
        _cleanup_free_ void *compressed = NULL;
        Encoding encoding = ENCODING_IDENTITY;
        uint64_t dictionary = 0, gone = 0;
        size_t stored_size = size, n;
        CacheStats stats;
        sqlite3_stmt *st;
        Victim old;
        int r;

        if (size >= compress_min) {
                r = codec_compress(codec, label, body, size, &encoding, &dictionary, &compressed, &stored_size);
                if (r < 0)
                        return r;
        }
        if (cost(stored_size) > max_bytes / CACHE_ITEM_SHARE)
                return -EFBIG;
        r = cache_stats(c, &stats); /* so that they are known */
        if (r < 0)
                return r;
        st = statement(c, FIND);
        (void) sqlite3_bind_int64(st, 1, cache_id(&item->key));
        r = next_victims(c, st, &old, 1, &n);
        if (r >= 0 && n > 0)
                r = take_away(c, &old);
        if (r >= 0)
                r = evict(c, max_bytes - cost(stored_size), CACHE_EVICT_MAX, &gone);
        if (r != 0)
                return r < 0 ? r : -EAGAIN;
        if (size >= compress_min)
                codec_sample(codec, label, body, size);
        return put_row(c, item, encoding, dictionary, compressed ? compressed : body, stored_size, size);
}

int cache_touch(CacheStatements *c, const int64_t *ids, size_t n, uint64_t now_usec) {
        sqlite3_stmt *st = statement(c, TOUCH);
        int r = 0;

        for (size_t i = 0; i < n && r >= 0; i++) {
                (void) sqlite3_bind_int64(st, 1, ids[i]);
                bind_number(st, 2, now_usec);
                r = finish(c, st, sqlite3_step(st));
        }
        return r;
}

/* Takes all rows away that a bound statement gives. */
static int take_all(CacheStatements *c, sqlite3_stmt *st, unsigned limit, int64_t *cursor, size_t *ret_n) {
        _cleanup_free_ Victim *victims = new0(Victim, limit);
        size_t n;
        int r;

        if (!victims) {
                (void) finish(c, st, SQLITE_DONE);
                return -ENOMEM;
        }
        r = next_victims(c, st, victims, limit, &n);
        for (size_t i = 0; i < n && r >= 0; i++) {
                r = take_away(c, &victims[i]);
                if (cursor)
                        *cursor = victims[i].id;
        }
        if (r < 0)
                return r;
        *ret_n = n;
        return 0;
}

int cache_purge(CacheStatements *c, const char *method, const char *worker_type, unsigned limit, int64_t *cursor, uint64_t *n) {
        sqlite3_stmt *st = statement(c, NEXT_TO_PURGE);
        size_t gone;
        int r;

        (void) sqlite3_bind_int64(st, 1, *cursor);
        bind_text(st, 2, method);
        bind_text(st, 3, worker_type);
        bind_number(st, 4, limit);
        r = take_all(c, st, limit, cursor, &gone);
        if (r < 0)
                return r;
        *n += gone;
        return gone == limit;
}

int cache_trim(CacheStatements *c, uint64_t now_usec, uint64_t max_bytes, unsigned limit, uint64_t *n) {
        sqlite3_stmt *st = statement(c, ENDED);
        CacheStats stats;
        size_t gone;
        int r;

        r = cache_stats(c, &stats);
        if (r < 0)
                return r;
        bind_number(st, 1, now_usec);
        bind_number(st, 2, limit);
        r = take_all(c, st, limit, NULL, &gone);
        if (r < 0)
                return r;
        *n += gone;
        if (gone == limit)
                return 1;
        return evict(c, max_bytes, limit - (unsigned) gone, n);
}

/* ------------------------------------------------------------------------------------------------------------- reader */

/* A text column as a copy; NULL where it is NULL. */
static int column_text(sqlite3_stmt *st, int column, char **ret) {
        const unsigned char *s = sqlite3_column_text(st, column);

        if (!s)
                return sqlite3_column_type(st, column) == SQLITE_NULL ? 0 : -ENOMEM;
        *ret = strdup((const char *) s);
        return *ret ? 0 : -ENOMEM;
}

static uint64_t column_number(sqlite3_stmt *st, int column) {
        return (uint64_t) MAX(sqlite3_column_int64(st, column), 0);
}

/* All of a row but its body. Returns 0, -EBADMSG, -ENOMEM; `ret` is freed by the caller in any case. */
static int read_item(sqlite3_stmt *st, CacheItem *ret) {
        const void *key = sqlite3_column_blob(st, ITEM_KEY);
        uint64_t kind = column_number(st, ITEM_KIND), status = column_number(st, ITEM_STATUS), encoding = column_number(st, ITEM_ENCODING);
        int r;

        if (!key || sqlite3_column_bytes(st, ITEM_KEY) != CACHE_KEY_SIZE || kind >= _PAYLOAD_KIND_MAX || status >= _FRAME_STATUS_MAX ||
            encoding >= _ENCODING_MAX)
                return -EBADMSG;
        memcpy(ret->key.bytes, key, CACHE_KEY_SIZE);
        r = column_text(st, ITEM_METHOD, &ret->method);
        if (r >= 0)
                r = column_text(st, ITEM_WORKER_TYPE, &ret->worker_type);
        if (r >= 0)
                r = column_text(st, ITEM_CODE, &ret->code);
        if (r < 0)
                return r;
        ret->kind = (PayloadKind) kind;
        ret->status = (FrameStatus) status;
        ret->encoding = (Encoding) encoding;
        ret->raw_size = column_number(st, ITEM_RAW_SIZE);
        ret->stored_size = column_number(st, ITEM_STORED_SIZE);
        ret->created_usec = column_number(st, ITEM_CREATED);
        ret->expires_usec = column_number(st, ITEM_EXPIRES);
        ret->stale_until_usec = column_number(st, ITEM_STALE_UNTIL);
        ret->last_access_usec = column_number(st, ITEM_LAST_ACCESS);
        ret->hits = column_number(st, ITEM_HITS);
        return 0;
}

/* The body of a row that was read into `item`, in an encoding that is accepted. */
static int read_body(Codec *codec, sqlite3_stmt *st, unsigned accept, CacheItem *item) {
        uint64_t dictionary = column_number(st, ITEM_DICTIONARY);
        const void *stored = sqlite3_column_blob(st, ITEM_BODY);
        size_t size = (size_t) sqlite3_column_bytes(st, ITEM_BODY);
        _cleanup_free_ void *other = NULL;
        Encoding e = ENCODING_IDENTITY;
        size_t n = size;
        Blob *b;
        int r;

        if (size > 0 && !stored)
                return -ENOMEM;
        if (size != item->stored_size)
                return -EBADMSG;
        if (item->encoding == ENCODING_IDENTITY && crc32_z(0, stored, size) != column_number(st, ITEM_SUM))
                return -EBADMSG;
        r = codec_check(item->encoding, stored, size, item->raw_size);
        if (r < 0)
                return r;
        r = codec_transcode_accepted(codec, accept, item->encoding, dictionary, stored, size, item->raw_size, &e, &other, &n);
        if (r < 0)
                return r;
        b = r > 0 || item->encoding == ENCODING_IDENTITY ? blob_new_copy(other ? other : stored, n) : blob_new(item->raw_size);
        if (!b)
                return -ENOMEM;
        if (r == 0 && item->encoding != ENCODING_IDENTITY) {
                r = codec_decompress_into(codec, item->encoding, dictionary, stored, size, b->data, item->raw_size);
                if (r < 0) {
                        blob_unref(b);
                        return r;
                }
        }
        item->encoding = e;
        item->body = b;
        return 0;
}

/* At a row, where there is one: what it is to a search at that time. */
static int get_row(Codec *codec, sqlite3_stmt *st, uint64_t now_usec, CacheItem *item) {
        uint64_t expires = column_number(st, ITEM_EXPIRES), end = column_number(st, ITEM_STALE_UNTIL);
        const void *key = sqlite3_column_blob(st, ITEM_KEY);
        CacheItem found = { .freshness = now_usec < expires ? CACHE_FRESH : CACHE_STALE, .accept = item->accept };
        int r;

        if (now_usec >= expires && now_usec >= end)
                return CACHE_MISS;
        if (!key || sqlite3_column_bytes(st, ITEM_KEY) != CACHE_KEY_SIZE || memcmp(key, item->key.bytes, CACHE_KEY_SIZE) != 0)
                return CACHE_MISS;
        r = read_item(st, &found);
        if (r >= 0)
                r = read_body(codec, st, item->accept, &found);
        if (r < 0) {
                item_done(&found);
                return r;
        }
        item_done(item);
        *item = found;
        return (int) found.freshness;
}

int cache_get(CacheStatements *c, Codec *codec, uint64_t now_usec, CacheItem *item) {
        sqlite3_stmt *st = statement(c, GET);
        int code, r, found = CACHE_MISS;

        (void) sqlite3_bind_int64(st, 1, cache_id(&item->key));
        code = sqlite3_step(st);
        if (code == SQLITE_ROW)
                found = get_row(codec, st, now_usec, item);
        r = finish(c, st, code);
        return r < 0 ? r : found;
}

int cache_list(CacheStatements *c, const char *method, unsigned limit, CacheItem **ret, size_t *ret_n) {
        sqlite3_stmt *st = statement(c, LIST);
        CacheItem *items = NULL;
        size_t n = 0, room = 0;
        int code, r = 0, q;

        bind_text(st, 1, method);
        bind_number(st, 2, MIN(limit, CACHE_LIST_MAX));
        while ((code = sqlite3_step(st)) == SQLITE_ROW && r >= 0) {
                if (n == room) {
                        room = MAX(room * 2, (size_t) 16);
                        CacheItem *p = reallocarray(items, room, sizeof(CacheItem));

                        if (!p) {
                                r = -ENOMEM;
                                break;
                        }
                        items = p;
                }
                items[n] = (CacheItem) {};
                r = read_item(st, &items[n++]);
        }
        q = finish(c, st, code);
        if (r < 0 || q < 0) {
                cache_items_free(items, n);
                return r < 0 ? r : q;
        }
        *ret = items;
        *ret_n = n;
        return 0;
}
