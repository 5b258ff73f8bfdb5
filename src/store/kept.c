/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What flowd itself wants to find again after a restart: texts by key. What they say is no concern of the store's. */

#include <errno.h>

#include "store/internal.h"

int state_put(Db *db, Request *q) {
        const StoreRequest *r = &q->r;

        if (!r->state_key || !r->state_value || strlen(r->state_key) >= STORE_STATE_KEY_MAX || strlen(r->state_value) > STORE_STATE_VALUE_MAX)
                return -EMSGSIZE;
        sqlite3_stmt *st = db_statement(db, STATEMENT_STATE_PUT);
        (void) sqlite3_bind_text(st, 1, r->state_key, -1, SQLITE_STATIC);
        (void) sqlite3_bind_text(st, 2, r->state_value, -1, SQLITE_STATIC);
        return db_run(db, st, "keeping state");
}

int state_delete(Db *db, Request *q) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_STATE_DELETE);

        (void) sqlite3_bind_text(st, 1, q->r.state_key, -1, SQLITE_STATIC);
        return db_run(db, st, "forgetting state");
}

int state_each(Db *db, int (*entry)(const char *key, const char *value, void *userdata), void *userdata) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_STATE_ALL);
        int r = 0, code;

        while ((code = sqlite3_step(st)) == SQLITE_ROW && r >= 0) {
                const char *key = (const char *) sqlite3_column_text(st, 0), *value = (const char *) sqlite3_column_text(st, 1);

                r = key && value ? entry(key, value, userdata) : db_fail(db, SQLITE_NOMEM, "reading state");
        }
        if (r >= 0 && code != SQLITE_DONE)
                r = db_fail(db, code, "reading state");
        (void) sqlite3_reset(st);
        return r;
}
