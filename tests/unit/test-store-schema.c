/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Databases as earlier versions of flowd have left them, and what becomes of them. A new schema version adds its fixture here: the schema as it
 * makes it, and rows of every kind. Those before it stay for ever, so that each can be brought forward.
 */


#include <errno.h>

#include "store-kit.h"
#include "store/cache.h"
#include "unit.h"

static Kit kit;

#define SCHEMA_1(MORE) \
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;" \
        "CREATE TABLE jobs (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, durability INTEGER NOT NULL, uid INTEGER NOT NULL," \
        "  pool TEXT NOT NULL, method TEXT, session TEXT, key TEXT, trace TEXT," \
        "  kind INTEGER NOT NULL, payload_size INTEGER NOT NULL, priority INTEGER NOT NULL," \
        "  attempts INTEGER NOT NULL, crashes INTEGER NOT NULL, failures INTEGER NOT NULL, retries INTEGER NOT NULL, retry_usec INTEGER NOT NULL," \
        "  accepted INTEGER NOT NULL, not_before INTEGER NOT NULL, deadline INTEGER NOT NULL, timeout INTEGER NOT NULL," \
        "  dispatched INTEGER NOT NULL, finished INTEGER NOT NULL," \
        "  worker TEXT, code TEXT, error TEXT, retry INTEGER NOT NULL, result_kind INTEGER NOT NULL, result_size INTEGER NOT NULL," \
        "  payload_encoding INTEGER, payload_dictionary INTEGER, payload_stored INTEGER, payload_sum INTEGER, payload BLOB," \
        "  result_encoding INTEGER, result_dictionary INTEGER, result_stored INTEGER, result_sum INTEGER, result BLOB" MORE ") STRICT;" \
        "CREATE TABLE bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;" \
        "CREATE TABLE keys (uid INTEGER NOT NULL, key TEXT NOT NULL, job INTEGER NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (uid, key))" \
        "  STRICT, WITHOUT ROWID;" \
        "CREATE TABLE dictionaries (id INTEGER PRIMARY KEY, method TEXT NOT NULL, created INTEGER NOT NULL, body BLOB NOT NULL) STRICT;" \
        "CREATE INDEX keys_by_expiry ON keys (expires) WHERE expires > 0;" \
        "CREATE INDEX jobs_by_pool ON jobs (pool) WHERE state >= 2;" \
        "CREATE INDEX jobs_by_method ON jobs (method) WHERE state >= 2 AND method IS NOT NULL;" \
        "CREATE INDEX jobs_by_session ON jobs (session) WHERE state >= 2 AND session IS NOT NULL;" \
        "CREATE INDEX jobs_by_state ON jobs (state) WHERE state > 2;"
#define ROWS_1(MORE) \
        "INSERT INTO meta VALUES ('instance', 'first zeroth'), ('last_id', '999'), ('low', '100');" \
        "INSERT INTO jobs VALUES (100, 0, 2, 1000, 'p', NULL, NULL, 'k', NULL, 0, 5, -3, 1, 0, 0, 2, 0, 1700000000000000, 0, 0, 0, 0, 0," \
        "  NULL, NULL, NULL, 0, 0, 0, 0, 0, 5, 2279893644, x'68656c6c6f', NULL, NULL, NULL, NULL, NULL" MORE ");" \
        "INSERT INTO jobs VALUES (200, 1, 1, 1000, 'p', 'm', 's', NULL, 't', 2, 1800, 0, 2, 1, 0, 0, 0, 1700000000000000, 0, 0, 0," \
        "  1700000001000000, 0, 'p/0', NULL, NULL, 0, 0, 0, 1, 0, 23, 83261775, NULL, NULL, NULL, NULL, NULL, NULL" MORE ");" \
        "INSERT INTO bodies VALUES (400, x'28b52ffd6008066d000030666c6f7764200100ffe62f45');" \
        "INSERT INTO jobs VALUES (250, 1, 1, 1000, 'p', 'm', 's', NULL, 't', 2, 2000, 0, 2, 1, 0, 0, 0, 1700000000000000, 0, 0, 0," \
        "  1700000001000000, 0, 'p/0', NULL, NULL, 0, 0, 0, 0, 0, 2000, 343742838, NULL, NULL, NULL, NULL, NULL, NULL" MORE ");" \
        "INSERT INTO bodies VALUES (500, CAST(replace(hex(zeroblob(1000)), '0', 'x') AS BLOB));" \
        "INSERT INTO jobs VALUES (300, 3, 2, 1000, 'q', 'm', NULL, 'e', NULL, 0, 5, 0, 1, 0, 1, 0, 0, 1700000000000000, 0, 0, 0," \
        "  1700000001000000, 1700000002000000, 'q/1', 'Exit', 'exit status 1', 1, 1, 2," \
        "  0, 0, 5, 3417751964, x'616761696e', 0, 0, 2, 2693879856, x'7b7d'" MORE ");" \
        "INSERT INTO keys VALUES (1000, 'k', 100, 0), (1000, 'e', 300, 4102444800000000);"

/* clang-format off */
#define SCHEMA_FLOW \
        "CREATE TABLE flow_sessions (number INTEGER PRIMARY KEY, revision INTEGER NOT NULL, body TEXT NOT NULL, moving TEXT NOT NULL) STRICT;" \
        "CREATE TABLE flow_tasks (session INTEGER NOT NULL, seq INTEGER NOT NULL, body TEXT NOT NULL, moving TEXT NOT NULL, result BLOB," \
        "  PRIMARY KEY (session, seq)) STRICT, WITHOUT ROWID;" \
        "CREATE TABLE flow_log (session INTEGER NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (session, number))" \
        "  STRICT, WITHOUT ROWID;"

#define ROWS_FLOW \
        "INSERT INTO flow_sessions VALUES (4, 9, '{\"id\":\"s\"}', '{}');" \
        "INSERT INTO flow_tasks VALUES (4, 1, '{\"id\":\"a\"}', '{\"state\":3}', x'6f6b'), (4, 2, '{\"id\":\"b\"}', '{}', NULL);" \
        "INSERT INTO flow_log VALUES (4, 3, '{\"action\":\"x\"}');"
/* clang-format on */

/* What every fixture holds: job 100 queued, with a payload in its row; 200 running, with one apart, compressed; 250 the same, not compressed;
 * 300 failed, with a result; key "k" of job 100, live; key "e" of job 300, until 2100. From version 2 on job 300 is stale from the cache, and
 * there is a result of the method "m" in it. */
static const struct {
        int version;
        const char *schema; /* as it stands in sqlite_schema, in the order in which it was made */
        const char *rows;
} fixtures[] = {
        { 1, SCHEMA_1(""), ROWS_1("") },
        {
                2,
                SCHEMA_1(", cache INTEGER NOT NULL DEFAULT 0")
                "CREATE TABLE cache (id INTEGER PRIMARY KEY, key BLOB NOT NULL, body INTEGER NOT NULL, method TEXT NOT NULL, worker_type TEXT NOT NULL,"
                "  kind INTEGER NOT NULL, status INTEGER NOT NULL, code TEXT, encoding INTEGER NOT NULL, dictionary INTEGER NOT NULL, sum INTEGER NOT NULL,"
                "  raw_size INTEGER NOT NULL, stored_size INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL,"
                "  stale_until INTEGER NOT NULL, last_access INTEGER NOT NULL, hits INTEGER NOT NULL) STRICT;"
                "CREATE TABLE cache_bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;"
                "CREATE INDEX cache_by_access ON cache (last_access);"
                "CREATE INDEX cache_by_end ON cache (stale_until);",

                ROWS_1(", 0")
                "UPDATE jobs SET cache = 2 WHERE id = 300;"
                "INSERT INTO cache VALUES (72340172838076673, CAST(replace(hex(zeroblob(16)), '0', x'02') AS BLOB), 1, 'm', 'w', 0, 0, NULL, 0, 0, 907060870,"
                "  5, 5, 1700000000000000, 4102444800000000, 4102444800000000, 1700000000000000, 0);"
                "INSERT INTO cache_bodies VALUES (1, x'68656c6c6f');",
        },
        {
                3,
                SCHEMA_1(", cache INTEGER NOT NULL DEFAULT 0")
                "CREATE TABLE cache (id INTEGER PRIMARY KEY, key BLOB NOT NULL, body INTEGER NOT NULL, method TEXT NOT NULL, worker_type TEXT NOT NULL,"
                "  kind INTEGER NOT NULL, status INTEGER NOT NULL, code TEXT, encoding INTEGER NOT NULL, dictionary INTEGER NOT NULL, sum INTEGER NOT NULL,"
                "  raw_size INTEGER NOT NULL, stored_size INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL,"
                "  stale_until INTEGER NOT NULL, last_access INTEGER NOT NULL, hits INTEGER NOT NULL) STRICT;"
                "CREATE TABLE cache_bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;"
                "CREATE INDEX cache_by_access ON cache (last_access);"
                "CREATE INDEX cache_by_end ON cache (stale_until);"
                "CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;",

                ROWS_1(", 0")
                "UPDATE jobs SET cache = 2 WHERE id = 300;"
                "INSERT INTO cache VALUES (72340172838076673, CAST(replace(hex(zeroblob(16)), '0', x'02') AS BLOB), 1, 'm', 'w', 0, 0, NULL, 0, 0, 907060870,"
                "  5, 5, 1700000000000000, 4102444800000000, 4102444800000000, 1700000000000000, 0);"
                "INSERT INTO cache_bodies VALUES (1, x'68656c6c6f');"
                "INSERT INTO state VALUES ('item/pools', '{}');",
        },
        {
                4,
                SCHEMA_1(", cache INTEGER NOT NULL DEFAULT 0")
                "CREATE TABLE cache (id INTEGER PRIMARY KEY, key BLOB NOT NULL, body INTEGER NOT NULL, method TEXT NOT NULL, worker_type TEXT NOT NULL,"
                "  kind INTEGER NOT NULL, status INTEGER NOT NULL, code TEXT, encoding INTEGER NOT NULL, dictionary INTEGER NOT NULL, sum INTEGER NOT NULL,"
                "  raw_size INTEGER NOT NULL, stored_size INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL,"
                "  stale_until INTEGER NOT NULL, last_access INTEGER NOT NULL, hits INTEGER NOT NULL) STRICT;"
                "CREATE TABLE cache_bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;"
                "CREATE INDEX cache_by_access ON cache (last_access);"
                "CREATE INDEX cache_by_end ON cache (stale_until);"
                "CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
                SCHEMA_FLOW,

                ROWS_1(", 0")
                "UPDATE jobs SET cache = 2 WHERE id = 300;"
                "INSERT INTO cache VALUES (72340172838076673, CAST(replace(hex(zeroblob(16)), '0', x'02') AS BLOB), 1, 'm', 'w', 0, 0, NULL, 0, 0, 907060870,"
                "  5, 5, 1700000000000000, 4102444800000000, 4102444800000000, 1700000000000000, 0);"
                "INSERT INTO cache_bodies VALUES (1, x'68656c6c6f');"
                "INSERT INTO state VALUES ('item/pools', '{}');"
                ROWS_FLOW,
        },
};

/* The schema that a database has, as in the fixtures. */
static char *schema_of(const char *path, int *ret_version) {
        sqlite3_stmt *st;
        sqlite3 *db;
        char *text = strdup("");

        ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
        ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid", -1, &st, NULL), SQLITE_OK);
        while (sqlite3_step(st) == SQLITE_ROW) {
                char *longer = str_printf("%s%s;", text, (const char *) sqlite3_column_text(st, 0));

                free(text);
                text = longer;
                ck_assert_ptr_nonnull(text);
        }
        sqlite3_finalize(st);
        ck_assert_int_eq(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL), SQLITE_OK);
        ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
        *ret_version = sqlite3_column_int(st, 0);
        sqlite3_finalize(st);
        sqlite3_close(db);
        return text;
}

static void expect_text(const Blob *b, const char *text, size_t repeated) {
        size_t l = strlen(text);

        ck_assert_ptr_nonnull(b);
        ck_assert_uint_eq(b->size, l * repeated);
        for (size_t i = 0; i < repeated; i++)
                ck_assert_int_eq(memcmp(b->data + i * l, text, l), 0);
}

static void expect_jobs(Kit *k, int version) {
        ck_assert_uint_eq(k->n_jobs, 3);
        ck_assert_uint_eq(k->jobs[0].id, 100);
        ck_assert_str_eq(k->jobs[0].key, "k");
        ck_assert_int_eq(k->jobs[0].priority, -3);
        expect_text(k->jobs[0].payload, "hello", 1);
        ck_assert_uint_eq(k->jobs[1].id, 200);
        ck_assert_int_eq(k->jobs[1].state, JOB_RUNNING);
        ck_assert_uint_eq(k->jobs[1].crashes, 1);
        expect_text(k->jobs[1].payload, "flowd ", 300);
        ck_assert_uint_eq(k->jobs[2].id, 250);
        expect_text(k->jobs[2].payload, "x", 2000);

        StoreRequest *r = kit_get(k, 300, STORE_WANT_PAYLOAD | STORE_WANT_RESULT);
        ck_assert_int_eq(r->error, 0);
        ck_assert_int_eq(r->record.state, JOB_FAILED);
        ck_assert_str_eq(r->record.error, "exit status 1");
        ck_assert(r->record.retry);
        ck_assert_uint_eq(r->record.finished_usec, 1700000002000000);
        expect_text(r->record.payload, "again", 1);
        expect_text(r->record.result, "{}", 1);
        ck_assert_int_eq(r->record.cache, version >= 2 ? FRAME_CACHE_STALE : 0);
        store_request_free(r);

        r = kit_request(STORE_OP_CACHE_GET);
        ck_assert_int_eq(store_request_add_item(r), 0);
        memset(r->cache->key.bytes, 2, CACHE_KEY_SIZE);
        r = kit_run(k, r);
        ck_assert_int_eq(r->error, version >= 2 ? 0 : -ENOENT);
        if (version >= 2)
                expect_text(r->cache->body, "hello", 1);
        store_request_free(r);
        ck_assert_str_eq(store_last_instances(k->store), "first zeroth");
        ck_assert_uint_eq(store_last_id(k->store), 999);
}

/* Rows of a session, of one that has them: counted, and what one holds. */
typedef struct FlowRows {
        unsigned sessions, tasks, entries;
} FlowRows;

static int on_session(FlowSessionRow *r, void *userdata) {
        ((FlowRows *) userdata)->sessions++;
        ck_assert_uint_eq(r->number, 4);
        ck_assert_uint_eq(r->revision, 9);
        ck_assert_str_eq(r->body, "{\"id\":\"s\"}");
        return 0;
}

static int on_task(FlowTaskRow *r, void *userdata) {
        ((FlowRows *) userdata)->tasks++;
        ck_assert(r->has_result == (r->seq == 1));
        if (r->has_result)
                ck_assert_str_eq(r->result, "ok");
        return 0;
}

static int on_entry(FlowEntryRow *r, void *userdata) {
        ((FlowRows *) userdata)->entries++;
        ck_assert_uint_eq(r->number, 3);
        return 0;
}

static void expect_flow(Kit *k, bool there) {
        static const FlowSink sink = { on_session, on_task, on_entry, NULL };
        FlowRows n = {};

        ck_assert_int_eq(store_load_flow(k->store, &sink, &n), 1);
        ck_assert_uint_eq(n.sessions, there ? 1 : 0);
        ck_assert_uint_eq(n.tasks, there ? 2 : 0);
        ck_assert_uint_eq(n.entries, there ? 1 : 0);
}

START_TEST(test_bring_forward) {
        Kit *k = &kit;

        for (size_t i = 0; i < ELEMENTSOF(fixtures); i++) {
                char set[96];

                kit_init(k);
                k->config.key_usec = 50ULL * 365 * 86400 * USEC_PER_SEC;
                k->config.max_age_usec = USEC_INFINITY;
                snprintf(set, sizeof(set), "PRAGMA application_id = %d; PRAGMA user_version = %d", STORE_APPLICATION_ID, fixtures[i].version);
                kit_sql(k->path, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL");
                kit_sql(k->path, fixtures[i].schema);
                kit_sql(k->path, fixtures[i].rows);
                kit_sql(k->path, set);
                kit_open_well(k);
                expect_jobs(k, fixtures[i].version);
                expect_flow(k, strstr(fixtures[i].schema, "flow_sessions"));

                /* It works as any other. */
                StoreRequest *r = kit_add(1000, kit_blob(1, 1));
                r->record.key = strdup("e");
                r = kit_run(k, r);
                ck_assert_int_eq(r->error, -EEXIST);
                ck_assert_uint_eq(r->id, 300);
                store_request_free(r);
                kit_add_job(k, 1001);
                kit_end_job(k, 100, JOB_COMPLETED);
                kit_end_job(k, 200, JOB_FAILED);
                r = kit_run(k, kit_request(STORE_OP_CHECK));
                ck_assert_str_eq(r->text, "ok");
                store_request_free(r);
                kit_done(k);
        }
}
END_TEST

/* A new database is what the last fixture says: a change of the schema is a new version, with a fixture of its own. */
START_TEST(test_new_database) {
        Kit *k = &kit;
        int version;

        kit_init(k);
        kit_open_well(k);
        kit_close(k);
        _cleanup_free_ char *schema = schema_of(k->path, &version);
        ck_assert_int_eq(version, STORE_SCHEMA);
        ck_assert_int_eq(fixtures[ELEMENTSOF(fixtures) - 1].version, STORE_SCHEMA);
        ck_assert_uint_eq(ELEMENTSOF(fixtures), STORE_SCHEMA);
        ck_assert_str_eq(schema, fixtures[ELEMENTSOF(fixtures) - 1].schema);
        kit_done(k);
}
END_TEST

/* Tables that do not go with the version are damage: what can be read of them is kept. */
START_TEST(test_schema_in_disorder) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        kit_add_job(k, 1);
        kit_add_job(k, 2);
        kit_end_job(k, 2, JOB_FAILED);
        kit_close(k);
        kit_sql(k->path, "DROP TABLE keys; DROP INDEX jobs_by_pool");
        kit_open(k);
        ck_assert_int_eq(store_health(k->store), STORE_DAMAGED);
        ck_assert_uint_eq(k->n_jobs, 1);
        StoreRequest *r = kit_get(k, 2, STORE_WANT_RESULT);
        ck_assert_int_eq(r->error, 0);
        ck_assert_ptr_nonnull(r->record.result);
        store_request_free(r);
        kit_done(k);
}
END_TEST

UNIT_MAIN("store-schema", test_bring_forward, test_new_database, test_schema_in_disorder)
