/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What compression has learnt. A dictionary belongs to the database whose bodies were compressed with it: it is committed before the codec has
 * it, so no body refers to one that a power cut took away, and a body is only compressed with one that this database has. Ids are never
 * given twice, not even in a database that has lost some: a body that refers to a lost one must not be read with another.
 *
 * Payloads and results of a method look different, so each has a dictionary of its own.
 */

#include <errno.h>
#include <stdio.h>

#include "store/internal.h"

const char *dictionary_label(const char *method, BodyPart part, char buf[DICTIONARY_LABEL_MAX]) {
        int n;

        if (!method)
                return NULL;
        n = snprintf(buf, DICTIONARY_LABEL_MAX, "%s/%s", method, part == BODY_PAYLOAD ? "payload" : "result");
        return n < (int) DICTIONARY_LABEL_MAX ? buf : NULL;
}

bool dictionary_known(const Db *db, uint64_t id) {
        for (unsigned i = 0; i < db->n_dictionaries; i++)
                if (db->dictionaries[i] == id)
                        return true;
        return false;
}

static int know(Db *db, uint64_t id, const char *label, const void *body, size_t size) {
        int r = codec_add_dictionary(db->codec, id, label, body, size);

        db->dictionary_id = MAX(db->dictionary_id, id);
        if (r < 0 && r != -EEXIST) /* EEXIST: it was here when the database was opened before */
                return r;
        if (!dictionary_known(db, id) && db->n_dictionaries < ELEMENTSOF(db->dictionaries))
                db->dictionaries[db->n_dictionaries++] = id;
        return 0;
}

int dictionaries_load(Db *db) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_DICTIONARIES_GET);
        int code, r = 0;

        db->n_dictionaries = 0;
        while (r >= 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
                const char *label = (const char *) sqlite3_column_text(st, 1);
                const void *body = sqlite3_column_blob(st, 2);
                int64_t id = sqlite3_column_int64(st, 0);

                if (id <= 0 || !label || !body || know(db, (uint64_t) id, label, body, (size_t) sqlite3_column_bytes(st, 2)) == -EBADMSG)
                        r = db_damaged(db, "dictionary number %lld is none", (long long) id);
        }
        if (r >= 0 && code != SQLITE_DONE)
                r = db_fail(db, code, "reading dictionaries");
        (void) sqlite3_reset(st);
        return r;
}

int dictionary_store(Db *db, const char *label, const void *body, size_t size) {
        uint64_t id = db->dictionary_id + 1;
        sqlite3_stmt *st;
        int r;

        if (db->n_dictionaries == ELEMENTSOF(db->dictionaries))
                return 0;
        r = db_begin(db, false);
        if (r < 0)
                return r;
        st = db_statement(db, STATEMENT_DICTIONARY_ADD);
        (void) sqlite3_bind_int64(st, 1, (int64_t) id);
        (void) sqlite3_bind_text(st, 2, label, -1, SQLITE_STATIC);
        (void) sqlite3_bind_int64(st, 3, (int64_t) realtime_usec());
        (void) sqlite3_bind_blob(st, 4, body, (int) size, SQLITE_STATIC);
        r = db_run(db, st, "storing a dictionary");
        if (r >= 0)
                r = db_commit(db);
        if (r < 0) {
                db_rollback(db);
                return r;
        }
        (void) know(db, id, label, body, size); /* without memory it is in use after the next start */
        return 0;
}
