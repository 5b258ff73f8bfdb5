/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The cache: keys that tell questions apart and spellings not, results that come back as they were put, and who gives way when. */

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/str.h"
#include "store/cache.h"
#include "unit.h"

#define NOW UINT64_C(1800000000000000)
#define HOUR (UINT64_C(3600) * USEC_PER_SEC)
#define ROOM (1U << 20)
#define COMPRESS_MIN 512U

typedef struct Kit {
        char dir[32], path[64];
        sqlite3 *write, *read;
        CacheStatements *writer, *reader;
        Codec *codec;
} Kit;

static void must(sqlite3 *sql, const char *text) {
        char *error = NULL;

        ck_assert_msg(sqlite3_exec(sql, text, NULL, NULL, &error) == SQLITE_OK, "%s: %s", text, strna(error));
}

static void kit_open(Kit *k) {
        *k = (Kit) { .dir = "/tmp/test-cache-XXXXXX" };
        ck_assert_ptr_nonnull(mkdtemp(k->dir));
        snprintf(k->path, sizeof(k->path), "%s/db", k->dir);
        ck_assert_int_eq(sqlite3_open(k->path, &k->write), SQLITE_OK);
        must(k->write, "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;" CACHE_SCHEMA);
        ck_assert_int_eq(sqlite3_open_v2(k->path, &k->read, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
        ck_assert_int_eq(cache_statements_prepare(k->write, true, &k->writer), 0);
        ck_assert_int_eq(cache_statements_prepare(k->read, false, &k->reader), 0);
        ck_assert_int_eq(codec_new(3, &k->codec), 0);
        must(k->write, "BEGIN");
}

/* What the writer has done so far is there for the reader. */
static void kit_commit(Kit *k) {
        must(k->write, "COMMIT; BEGIN");
}

static void kit_close(Kit *k) {
        static const char *const ends[] = { "", "-wal", "-shm" };
        char path[80];

        must(k->write, "COMMIT");
        cache_statements_free(k->writer);
        cache_statements_free(k->reader);
        ck_assert_int_eq(sqlite3_close(k->read), SQLITE_OK); /* no statement is left */
        ck_assert_int_eq(sqlite3_close(k->write), SQLITE_OK);
        codec_free(k->codec);
        for (size_t i = 0; i < ELEMENTSOF(ends); i++) {
                snprintf(path, sizeof(path), "%s%s", k->path, ends[i]);
                (void) unlink(path);
        }
        ck_assert_int_eq(rmdir(k->dir), 0);
}

static CacheKey key_of(const char *arguments) {
        CacheKey key;

        ck_assert_int_eq(cache_key("type", "1", "method", NULL, PAYLOAD_TEXT, arguments, strlen(arguments), &key), 0);
        return key;
}

static CacheItem item_of(const char *arguments) {
        return (CacheItem) { .key = key_of(arguments), .method = (char *) "method", .worker_type = (char *) "type", .kind = PAYLOAD_JSON,
                             .created_usec = NOW, .expires_usec = NOW + HOUR };
}

static int put(Kit *k, const CacheItem *item, const void *body, size_t size) {
        return cache_put(k->writer, k->codec, item, body, size, COMPRESS_MIN, ROOM);
}

static void put_text(Kit *k, const char *arguments, const char *body) {
        CacheItem item = item_of(arguments);

        ck_assert_int_eq(put(k, &item, body, strlen(body)), 0);
}

/* What is found, to be freed by cache_items_free(); NULL for a miss. */
static CacheItem *get(Kit *k, const char *arguments, uint64_t now, unsigned accept) {
        CacheItem *item = new0(CacheItem, 1);
        int r;

        item->key = key_of(arguments);
        item->accept = accept;
        r = cache_get(k->reader, k->codec, now, item);
        ck_assert_int_ge(r, 0);
        if (r == CACHE_MISS) {
                ck_assert_ptr_null(item->body);
                return cache_items_free(item, 1);
        }
        ck_assert_int_eq(item->freshness, r);
        return item;
}

static bool is_there(Kit *k, const char *arguments) {
        CacheItem *item = get(k, arguments, NOW, 0);
        bool b = item;

        cache_items_free(item, b);
        return b;
}

static void check_stats(Kit *k) {
        CacheStats counted, known;
        CacheStatements *fresh;

        ck_assert_int_eq(cache_statements_prepare(k->write, true, &fresh), 0);
        ck_assert_int_eq(cache_stats(fresh, &counted), 0);
        ck_assert_int_eq(cache_stats(k->writer, &known), 0);
        ck_assert_uint_eq(counted.entries, known.entries);
        ck_assert_uint_eq(counted.stored_bytes, known.stored_bytes);
        ck_assert_uint_eq(counted.raw_bytes, known.raw_bytes);
        ck_assert_uint_eq(counted.cost, known.cost);
        cache_statements_free(fresh);

        sqlite3_stmt *st;
        ck_assert_int_eq(sqlite3_prepare_v2(k->write, "SELECT count(*) FROM cache_bodies WHERE id NOT IN (SELECT body FROM cache)", -1, &st, NULL), SQLITE_OK);
        ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
        ck_assert_int_eq(sqlite3_column_int(st, 0), 0); /* no body without its row */
        sqlite3_finalize(st);
}

/* --------------------------------------------------------------------------------------------------------------- keys */

static bool same(PayloadKind kind, const char *a, const char *b) {
        CacheKey x, y;

        ck_assert_int_eq(cache_key("t", NULL, "m", NULL, kind, a, strlen(a), &x), 0);
        ck_assert_int_eq(cache_key("t", NULL, "m", NULL, kind, b, strlen(b), &y), 0);
        return memcmp(&x, &y, sizeof(x)) == 0;
}

START_TEST(keys_of_one_question_in_many_spellings) {
        ck_assert(same(PAYLOAD_JSON, "{\"a\":1,\"b\":[true,null]}", " { \"b\" : [ true , null ] ,\n\"a\":1}\n"));
        ck_assert(same(PAYLOAD_JSON, "{\"a\":{\"x\":\"\\u00e9\\/\",\"y\":2}}", "{\"a\":{\"y\":2,\"\\u0078\":\"\xc3\xa9/\"}}"));
        ck_assert(!same(PAYLOAD_JSON, "[1,2]", "[2,1]"));
        ck_assert(!same(PAYLOAD_JSON, "1", "1.0"));
        ck_assert(!same(PAYLOAD_JSON, "{\"a\":1}", "{\"a\":\"1\"}"));
        ck_assert(!same(PAYLOAD_JSON, "\"\"", "null"));
        ck_assert(!same(PAYLOAD_TEXT, "{\"a\":1}", "{ \"a\":1}")); /* text is text */
        ck_assert(!same(PAYLOAD_BYTES, "", " "));
        ck_assert(same(PAYLOAD_BYTES, "x", "x"));
}
END_TEST

START_TEST(keys_of_different_questions) {
        static const struct {
                const char *type, *version, *method, *session, *arguments;
                PayloadKind kind;
        } all[] = {
                { "t", NULL, "m", NULL, "1", PAYLOAD_TEXT },
                { "t", "", "m", NULL, "1", PAYLOAD_TEXT },
                { "t", NULL, "m", "", "1", PAYLOAD_TEXT },
                { "t", NULL, NULL, "m", "1", PAYLOAD_TEXT },
                { "t", "m", NULL, NULL, "1", PAYLOAD_TEXT },
                { "tm", NULL, NULL, NULL, "1", PAYLOAD_TEXT },
                { "t", NULL, "m", NULL, "1", PAYLOAD_JSON },
                { "t", NULL, "m", NULL, "1", PAYLOAD_BYTES },
                { "t", NULL, "m1", NULL, "", PAYLOAD_TEXT },
                { "t", NULL, "m", "1", "", PAYLOAD_TEXT },
                { "t", NULL, "m", NULL, "", PAYLOAD_TEXT },
                { "u", NULL, "m", NULL, "1", PAYLOAD_TEXT },
        };
        CacheKey keys[ELEMENTSOF(all)];

        for (size_t i = 0; i < ELEMENTSOF(all); i++) {
                ck_assert_int_eq(cache_key(all[i].type, all[i].version, all[i].method, all[i].session, all[i].kind, all[i].arguments,
                                           strlen(all[i].arguments), &keys[i]), 0);
                ck_assert_int_gt(cache_id(&keys[i]), 0);
                for (size_t j = 0; j < i; j++)
                        ck_assert(memcmp(&keys[i], &keys[j], sizeof(keys[i])) != 0 && cache_id(&keys[i]) != cache_id(&keys[j]));
        }
        ck_assert_int_eq(cache_key("t", NULL, "m", NULL, PAYLOAD_BYTES, NULL, 0, &keys[0]), 0); /* nothing may be NULL */
}
END_TEST

START_TEST(keys_that_cannot_be) {
        static char large[CACHE_ARGUMENTS_MAX + 1];
        CacheKey key;

        memset(large, '1', sizeof(large));
        ck_assert_int_eq(cache_key("t", NULL, "m", NULL, PAYLOAD_BYTES, large, sizeof(large), &key), -E2BIG);
        ck_assert_int_eq(cache_key("t", NULL, "m", NULL, PAYLOAD_BYTES, large, sizeof(large) - 1, &key), 0);
        ck_assert_int_eq(cache_key("t", NULL, "m", NULL, PAYLOAD_JSON, "{", 1, &key), -EBADMSG);
        memset(large, '[', sizeof(large));
        ck_assert_int_eq(cache_key("t", NULL, "m", NULL, PAYLOAD_JSON, large, 1000, &key), -E2BIG);
        ck_assert_int_eq(cache_id(&(CacheKey) {}), 1); /* 0 is where a purge begins */
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- put and get */

START_TEST(a_result_comes_back) {
        static const size_t sizes[] = { 0, 1, COMPRESS_MIN - 1, COMPRESS_MIN, 5000, 50000 };
        CacheItem *found;
        Kit k;

        kit_open(&k);
        for (unsigned text = 0; text < 2; text++)
                for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                        CacheItem item = item_of("question");
                        _cleanup_free_ uint8_t *body = malloc(sizes[i] + 1);
                        uint64_t seed = UNIT_SEED;

                        unit_random_bytes(&seed, body, sizes[i]);
                        if (text)
                                for (size_t j = 0; j < sizes[i]; j++)
                                        body[j] = (uint8_t) ("{\"name\": 1}"[j % 11] + (body[j] == 7));
                        item.code = (char *) (i % 2 ? "NotFound" : NULL);
                        item.status = i % 2 ? FRAME_FAILED : FRAME_COMPLETED;
                        item.stale_until_usec = NOW + 2 * HOUR;
                        ck_assert_int_eq(put(&k, &item, body, sizes[i]), 0);
                        kit_commit(&k);

                        found = get(&k, "question", NOW + 1, 0);
                        ck_assert_ptr_nonnull(found);
                        ck_assert_int_eq(found->freshness, CACHE_FRESH);
                        ck_assert_int_eq(found->encoding, ENCODING_IDENTITY);
                        ck_assert_uint_eq(found->body->size, sizes[i]);
                        ck_assert(sizes[i] == 0 || memcmp(found->body->data, body, sizes[i]) == 0);
                        ck_assert_uint_eq(found->raw_size, sizes[i]);
                        ck_assert_int_eq(found->stored_size < sizes[i], text && sizes[i] >= COMPRESS_MIN);
                        ck_assert_int_eq(found->kind, PAYLOAD_JSON);
                        ck_assert_int_eq(found->status, item.status);
                        ck_assert(streq_ptr(found->code, item.code));
                        ck_assert_str_eq(found->method, "method");
                        ck_assert_str_eq(found->worker_type, "type");
                        ck_assert_uint_eq(found->created_usec, NOW);
                        ck_assert_uint_eq(found->expires_usec, NOW + HOUR);
                        ck_assert_uint_eq(found->stale_until_usec, NOW + 2 * HOUR);
                        ck_assert_uint_eq(found->last_access_usec, NOW);
                        ck_assert_uint_eq(found->hits, 0);
                        cache_items_free(found, 1);
                        check_stats(&k); /* each took the place of the one before */
                }
        ck_assert(!is_there(&k, "another question"));
        kit_close(&k);
}
END_TEST

START_TEST(a_body_in_the_encoding_that_is_taken) {
        _cleanup_free_ void *raw = NULL;
        char body[4000];
        CacheItem *found;
        Kit k;

        memset(body, 'x', sizeof(body) - 1);
        body[sizeof(body) - 1] = 0;
        kit_open(&k);
        put_text(&k, "q", body);
        kit_commit(&k);
        found = get(&k, "q", NOW, 1U << ENCODING_GZIP);
        ck_assert_int_eq(found->encoding, ENCODING_IDENTITY);
        ck_assert_uint_eq(found->body->size, sizeof(body) - 1);
        cache_items_free(found, 1);
        found = get(&k, "q", NOW, 1U << ENCODING_GZIP | 1U << ENCODING_ZSTD);
        ck_assert_int_eq(found->encoding, ENCODING_ZSTD);
        ck_assert_uint_eq(found->body->size, found->stored_size);
        ck_assert_int_eq(codec_decompress(k.codec, ENCODING_ZSTD, 0, found->body->data, found->body->size, sizeof(body) - 1, &raw), 0);
        ck_assert_int_eq(memcmp(raw, body, sizeof(body) - 1), 0);
        cache_items_free(found, 1);
        kit_close(&k);
}
END_TEST

static void on_trained(const char *method, const void *body, size_t size, void *userdata) {
        ck_assert_str_eq(method, "method");
        ck_assert_int_eq(codec_add_dictionary(userdata, 1, method, body, size), 0);
}

START_TEST(results_teach_a_dictionary_and_it_stays_at_home) {
        char name[32], body[1024];
        CacheItem *found;
        Kit k;

        kit_open(&k);
        codec_set_trained(k.codec, on_trained, k.codec);
        for (unsigned i = 0; i < 400; i++) {
                snprintf(name, sizeof(name), "q%u", i);
                snprintf(body, sizeof(body), "{\"answer\":%u,\"explanation\":\"%0600u\",\"related\":[\"https://example.org/%u\"],\"%u\":%u}",
                         i * 7919, i, i * 31, i * 17, i * 104729);
                put_text(&k, name, body);
        }
        ck_assert_int_eq(codec_train_one(k.codec), 1);
        ck_assert_uint_eq(codec_dictionaries(k.codec), 1);
        put_text(&k, name, body);
        kit_commit(&k);
        found = get(&k, name, NOW, 1U << ENCODING_ZSTD); /* nobody else has the dictionary */
        ck_assert_int_eq(found->encoding, ENCODING_IDENTITY);
        ck_assert_uint_lt(found->stored_size, 80);
        ck_assert_uint_eq(found->body->size, strlen(body));
        ck_assert_int_eq(memcmp(found->body->data, body, strlen(body)), 0);
        cache_items_free(found, 1);
        kit_close(&k);
}
END_TEST

START_TEST(fresh_stale_and_gone) {
        CacheItem item = item_of("q"), *found;
        Kit k;

        kit_open(&k);
        item.stale_until_usec = NOW + 2 * HOUR;
        ck_assert_int_eq(put(&k, &item, "x", 1), 0);
        item = item_of("no grace");
        ck_assert_int_eq(put(&k, &item, "x", 1), 0);
        kit_commit(&k);
        found = get(&k, "q", NOW + HOUR - 1, 0);
        ck_assert_int_eq(found->freshness, CACHE_FRESH);
        cache_items_free(found, 1);
        found = get(&k, "q", NOW + HOUR, 0);
        ck_assert_int_eq(found->freshness, CACHE_STALE);
        cache_items_free(found, 1);
        ck_assert_ptr_null(get(&k, "q", NOW + 2 * HOUR, 0));
        ck_assert_ptr_null(get(&k, "no grace", NOW + HOUR, 0));
        kit_close(&k);
}
END_TEST

START_TEST(uses_are_counted) {
        int64_t ids[4];
        CacheItem *found;
        CacheKey key = key_of("q"), other = key_of("other"), gone = key_of("gone");
        Kit k;

        kit_open(&k);
        put_text(&k, "q", "x");
        put_text(&k, "other", "x");
        ids[0] = ids[2] = cache_id(&key);
        ids[1] = cache_id(&gone);
        ids[3] = cache_id(&other);
        ck_assert_int_eq(cache_touch(k.writer, ids, 4, NOW + 5), 0);
        ck_assert_int_eq(cache_touch(k.writer, ids, 1, NOW - 5), 0); /* a clock that was set back */
        kit_commit(&k);
        found = get(&k, "q", NOW, 0);
        ck_assert_uint_eq(found->hits, 3);
        ck_assert_uint_eq(found->last_access_usec, NOW + 5);
        cache_items_free(found, 1);
        put_text(&k, "q", "y"); /* another result begins anew */
        kit_commit(&k);
        found = get(&k, "q", NOW, 0);
        ck_assert_uint_eq(found->hits, 0);
        cache_items_free(found, 1);
        kit_close(&k);
}
END_TEST

/* --------------------------------------------------------------------------------------------------- who gives way when */

static void number_name(char buf[16], unsigned i) {
        snprintf(buf, 16, "%u", i);
}

START_TEST(the_one_not_used_for_longest_gives_way) {
        static uint8_t body[ROOM / CACHE_ITEM_SHARE - CACHE_ROW_COST];
        uint64_t seed = UNIT_SEED, max = ROOM;
        CacheStats stats;
        char name[16];
        int64_t id;
        Kit k;

        kit_open(&k);
        unit_random_bytes(&seed, body, sizeof(body));
        for (unsigned i = 0; i < CACHE_ITEM_SHARE; i++) {
                number_name(name, i);
                CacheItem item = item_of(name);
                item.created_usec = NOW - HOUR + i;
                ck_assert_int_eq(put(&k, &item, body, sizeof(body)), 0);
        }
        ck_assert_int_eq(cache_stats(k.writer, &stats), 0);
        ck_assert_uint_eq(stats.entries, CACHE_ITEM_SHARE);
        ck_assert_uint_eq(stats.cost, max); /* to the last byte */
        CacheKey key = key_of("0");
        id = cache_id(&key);
        ck_assert_int_eq(cache_touch(k.writer, &id, 1, NOW), 0);
        put_text(&k, "new", "x");
        kit_commit(&k);
        ck_assert(is_there(&k, "0"));
        ck_assert(!is_there(&k, "1"));
        ck_assert(is_there(&k, "2"));
        ck_assert(is_there(&k, "new"));
        check_stats(&k);

        /* another value for the same key needs no room but its own */
        CacheItem item = item_of("2");
        ck_assert_int_eq(put(&k, &item, body, sizeof(body)), 0);
        kit_commit(&k);
        ck_assert(is_there(&k, "3"));
        check_stats(&k);
        kit_close(&k);
}
END_TEST

START_TEST(what_is_too_large_is_not_kept) {
        static uint8_t body[ROOM / CACHE_ITEM_SHARE];
        uint64_t seed = UNIT_SEED;
        CacheItem item = item_of("large");
        Kit k;

        kit_open(&k);
        unit_random_bytes(&seed, body, sizeof(body));
        put_text(&k, "small", "x");
        ck_assert_int_eq(put(&k, &item, body, sizeof(body) - CACHE_ROW_COST + 1), -EFBIG);
        ck_assert_int_eq(put(&k, &item, body, sizeof(body) - CACHE_ROW_COST), 0);
        kit_commit(&k);
        ck_assert(is_there(&k, "small"));
        memset(body, 'x', sizeof(body)); /* it is the stored size that counts */
        ck_assert_int_eq(put(&k, &item, body, sizeof(body)), 0);
        ck_assert_int_eq(cache_put(k.writer, k.codec, &item, body, 1, COMPRESS_MIN, 0), -EFBIG);
        check_stats(&k);
        kit_close(&k);
}
END_TEST

START_TEST(one_does_not_drive_out_too_many) {
        static uint8_t body[200U << 10];
        uint64_t seed = UNIT_SEED, max = 4 * ROOM;
        CacheItem item = item_of("large");
        CacheStats before, after;
        unsigned tries = 0;
        char name[16];
        Kit k;
        int r;

        kit_open(&k);
        unit_random_bytes(&seed, body, sizeof(body));
        for (unsigned i = 0; i < max / (CACHE_ROW_COST + 1); i++) {
                number_name(name, i);
                CacheItem small = item_of(name);
                ck_assert_int_eq(cache_put(k.writer, k.codec, &small, "x", 1, COMPRESS_MIN, max), 0);
        }
        do {
                ck_assert_int_eq(cache_stats(k.writer, &before), 0);
                r = cache_put(k.writer, k.codec, &item, body, sizeof(body), COMPRESS_MIN, max);
                ck_assert_int_eq(cache_stats(k.writer, &after), 0);
                ck_assert_uint_le(after.cost, max);
                if (r == -EAGAIN)
                        ck_assert_uint_eq(after.entries, before.entries - CACHE_EVICT_MAX);
                tries++;
        } while (r == -EAGAIN && tries < 100);
        ck_assert_int_eq(r, 0);
        ck_assert_uint_eq(tries, (sizeof(body) + CACHE_ROW_COST) / (CACHE_EVICT_MAX * (CACHE_ROW_COST + 1)) + 1);
        check_stats(&k);
        kit_close(&k);
}
END_TEST

START_TEST(trimming) {
        CacheStats stats;
        uint64_t n = 0;
        char name[16];
        Kit k;

        kit_open(&k);
        ck_assert_int_eq(cache_trim(k.writer, NOW, 0, 10, &n), 0); /* nothing in it */
        for (unsigned i = 0; i < 100; i++) {
                number_name(name, i);
                CacheItem item = item_of(name);
                item.created_usec = NOW - 1000 + i;
                item.expires_usec = i % 10 == 0 ? NOW : NOW + HOUR; /* every tenth has ended */
                item.stale_until_usec = i % 20 == 0 ? NOW + 1 : 0;  /* but half of those may still be given */
                ck_assert_int_eq(put(&k, &item, "x", 1), 0);
        }
        ck_assert_int_eq(cache_trim(k.writer, NOW, ROOM, 3, &n), 1);
        ck_assert_uint_eq(n, 3);
        ck_assert_int_eq(cache_trim(k.writer, NOW, ROOM, 3, &n), 0);
        ck_assert_uint_eq(n, 5);
        check_stats(&k);
        /* now a smaller cache: 95 to 50, the oldest first, in slices */
        for (n = 0; cache_trim(k.writer, NOW, 50 * (CACHE_ROW_COST + 1), 7, &n) == 1;)
                ck_assert_uint_le(n, 45);
        ck_assert_uint_eq(n, 45);
        kit_commit(&k);
        ck_assert(!is_there(&k, "44"));
        ck_assert(is_there(&k, "51"));
        ck_assert(is_there(&k, "99"));
        ck_assert_int_eq(cache_stats(k.writer, &stats), 0);
        ck_assert_uint_eq(stats.entries, 50);
        check_stats(&k);
        kit_close(&k);
}
END_TEST

START_TEST(purging) {
        int64_t cursor = 0;
        uint64_t n = 0;
        unsigned turns = 0;
        char name[16];
        Kit k;

        kit_open(&k);
        for (unsigned i = 0; i < 120; i++) {
                number_name(name, i);
                CacheItem item = item_of(name);
                item.method = (char *) (i % 2 ? "odd" : "even");
                item.worker_type = (char *) (i % 3 ? "some" : "third");
                ck_assert_int_eq(put(&k, &item, "x", 1), 0);
        }
        ck_assert_int_eq(cache_purge(k.writer, "neither", NULL, 10, &cursor, &n), 0);
        ck_assert_uint_eq(n, 0);
        ck_assert_int_eq(cache_purge(k.writer, "odd", "third", 100, &cursor, &n), 0);
        ck_assert_uint_eq(n, 20);
        check_stats(&k);
        for (cursor = 0, n = 0; cache_purge(k.writer, "odd", NULL, 7, &cursor, &n) == 1; turns++)
                ;
        ck_assert_uint_eq(n, 40);
        ck_assert_uint_eq(turns, 5);
        kit_commit(&k);
        ck_assert(!is_there(&k, "1") && is_there(&k, "0") && is_there(&k, "2"));
        for (cursor = 0, n = 0; cache_purge(k.writer, NULL, "third", 100, &cursor, &n) == 1;)
                ;
        ck_assert_uint_eq(n, 20);
        for (cursor = 0, n = 0; cache_purge(k.writer, NULL, NULL, 20, &cursor, &n) == 1;)
                ;
        ck_assert_uint_eq(n, 40);
        check_stats(&k);
        kit_close(&k);
}
END_TEST

START_TEST(lists) {
        CacheItem *items;
        char name[16];
        size_t n;
        Kit k;

        kit_open(&k);
        for (unsigned i = 0; i < 30; i++) {
                number_name(name, i);
                CacheItem item = item_of(name);
                item.created_usec = NOW + i;
                item.method = (char *) (i % 2 ? "odd" : "even");
                ck_assert_int_eq(put(&k, &item, "abc", 3), 0);
        }
        kit_commit(&k);
        ck_assert_int_eq(cache_list(k.reader, NULL, 20, &items, &n), 0);
        ck_assert_uint_eq(n, 20);
        for (size_t i = 0; i < n; i++) {
                ck_assert_uint_eq(items[i].last_access_usec, NOW + 29 - i);
                ck_assert_uint_eq(items[i].raw_size, 3);
                ck_assert_ptr_null(items[i].body);
        }
        cache_items_free(items, n);
        ck_assert_int_eq(cache_list(k.reader, "odd", 100, &items, &n), 0);
        ck_assert_uint_eq(n, 15);
        for (size_t i = 0; i < n; i++)
                ck_assert_str_eq(items[i].method, "odd");
        cache_items_free(items, n);
        ck_assert_int_eq(cache_list(k.reader, "neither", 100, &items, &n), 0);
        ck_assert_uint_eq(n, 0);
        ck_assert_ptr_null(cache_items_free(items, n));
        kit_close(&k);
}
END_TEST

START_TEST(what_is_rolled_back_was_not_counted) {
        CacheStats stats;
        Kit k;

        kit_open(&k);
        put_text(&k, "a", "x");
        kit_commit(&k);
        put_text(&k, "b", "x");
        must(k.write, "ROLLBACK; BEGIN");
        cache_rolled_back(k.writer);
        ck_assert_int_eq(cache_stats(k.writer, &stats), 0);
        ck_assert_uint_eq(stats.entries, 1);
        put_text(&k, "c", "x");
        kit_commit(&k);
        check_stats(&k);
        ck_assert_int_eq(cache_stats(k.reader, &stats), 0);
        ck_assert_uint_eq(stats.entries, 2);
        kit_close(&k);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------------- damage */

static int try_get(Kit *k, const char *arguments) {
        CacheItem item = { .key = key_of(arguments) };
        int r = cache_get(k->reader, k->codec, NOW, &item);

        if (r < 0)
                ck_assert_ptr_null(item.body);
        free(item.method);
        free(item.worker_type);
        free(item.code);
        blob_unref(item.body);
        return r;
}

START_TEST(damage_is_seen_and_mended) {
        static const struct {
                const char *sql;
                int expect;
        } damages[] = {
                { "UPDATE cache_bodies SET body = x'00'", -EBADMSG },
                { "UPDATE cache_bodies SET body = zeroblob(length(body))", -EBADMSG },
                { "UPDATE cache_bodies SET body = CAST(body || x'00' AS BLOB)", -EBADMSG },
                { "UPDATE cache SET raw_size = raw_size + 1 WHERE encoding = 1; UPDATE cache SET raw_size = 1 WHERE encoding = 0", -EBADMSG },
                { "UPDATE cache SET raw_size = 9223372036854775807", -EBADMSG },
                { "UPDATE cache SET stored_size = -1", -EBADMSG },
                { "UPDATE cache SET encoding = 2", -EBADMSG },
                { "UPDATE cache SET encoding = 77", -EBADMSG },
                { "UPDATE cache SET dictionary = 5 WHERE encoding = 1; UPDATE cache SET sum = sum + 1 WHERE encoding = 0", -EBADMSG },
                { "UPDATE cache SET kind = 9", -EBADMSG },
                { "UPDATE cache SET status = -1, kind = 77", -EBADMSG },
                { "UPDATE cache SET key = zeroblob(32)", CACHE_MISS },
                { "UPDATE cache SET key = x'01'", CACHE_MISS },
                { "DELETE FROM cache_bodies", CACHE_MISS },
        };
        char large[2000];
        Kit k;

        memset(large, 'x', sizeof(large));
        kit_open(&k);
        for (size_t i = 0; i < ELEMENTSOF(damages); i++)
                for (unsigned compressed = 0; compressed < 2; compressed++) {
                        CacheItem item = item_of("q");
                        size_t size = compressed ? sizeof(large) : 100;

                        ck_assert_int_eq(put(&k, &item, large, size), 0);
                        kit_commit(&k);
                        ck_assert_int_eq(try_get(&k, "q"), CACHE_FRESH);
                        must(k.write, damages[i].sql);
                        kit_commit(&k);
                        ck_assert_msg(try_get(&k, "q") == damages[i].expect, "%s: %d", damages[i].sql, try_get(&k, "q"));
                        cache_rolled_back(k.writer); /* somebody else has written */
                }
        put_text(&k, "q", "x");
        kit_commit(&k);
        ck_assert_int_eq(try_get(&k, "q"), CACHE_FRESH);
        kit_close(&k);
}
END_TEST

START_TEST(a_database_without_the_cache) {
        CacheStatements *c = NULL;
        sqlite3 *sql;

        ck_assert_int_eq(sqlite3_open(":memory:", &sql), SQLITE_OK);
        ck_assert_int_eq(cache_statements_prepare(sql, true, &c), -EIO);
        ck_assert_int_eq(cache_statements_prepare(sql, false, &c), -EIO);
        ck_assert_ptr_null(c);
        ck_assert_int_eq(sqlite3_extended_errcode(sql), SQLITE_ERROR);
        ck_assert_int_eq(sqlite3_close(sql), SQLITE_OK);
}
END_TEST

START_TEST(a_failure_of_SQLite_is_told) {
        CacheItem item = item_of("q");
        Kit k;

        kit_open(&k);
        must(k.write, "COMMIT; PRAGMA query_only = 1; BEGIN");
        ck_assert_int_eq(put(&k, &item, "x", 1), -EIO);
        ck_assert_int_eq(cache_sqlite_code(k.writer) & 0xff, SQLITE_READONLY);
        kit_close(&k);
}
END_TEST

UNIT_MAIN("cache", keys_of_one_question_in_many_spellings, keys_of_different_questions, keys_that_cannot_be, a_result_comes_back,
          a_body_in_the_encoding_that_is_taken, results_teach_a_dictionary_and_it_stays_at_home, fresh_stale_and_gone, uses_are_counted,
          the_one_not_used_for_longest_gives_way, what_is_too_large_is_not_kept, one_does_not_drive_out_too_many, trimming, purging, lists,
          what_is_rolled_back_was_not_counted, damage_is_seen_and_mended, a_database_without_the_cache, a_failure_of_SQLite_is_told)
