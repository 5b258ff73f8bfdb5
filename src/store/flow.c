/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Flow sessions on disk. A change is applied as a whole or not at all. It names the revision that it changes: where the store has another one, or has
 * lost the session to damage, the change is refused (-ESTALE) and the room writes the session anew, whole. A change whose commit was said to
 * have failed, and has not, finds its own revision and is content.
 *
 * The number of a session and of its tasks never change, and are never given again, so a row is found by them and its texts can stay where they are.
 */

#include <errno.h>

#include "basic/fault.h"
#include "store/internal.h"

void flow_session_row_done(FlowSessionRow *r) {
        free(r->body);
        free(r->moving);
        *r = (FlowSessionRow) {};
}

void flow_task_row_done(FlowTaskRow *r) {
        free(r->body);
        free(r->moving);
        free(r->result);
        *r = (FlowTaskRow) {};
}

FlowChange *flow_change_free(FlowChange *c) {
        while (c) {
                FlowChange *next = c->next;

                for (size_t i = 0; i < c->n_tasks; i++)
                        flow_task_row_done(&c->tasks[i]);
                for (size_t i = 0; i < c->n_entries; i++)
                        free(c->entries[i].body);
                flow_session_row_done(&c->session);
                free(c->tasks);
                free(c->entries);
                free(c);
                c = next;
        }
        return NULL;
}

static void bind_text(sqlite3_stmt *st, int column, const char *s) {
        (void) sqlite3_bind_text(st, column, s, -1, SQLITE_STATIC);
}

static void bind_number(sqlite3_stmt *st, int column, uint64_t v) {
        (void) sqlite3_bind_int64(st, column, (int64_t) v);
}

static int run_numbered(Db *db, Statement which, uint64_t session, uint64_t number, const char *what) {
        sqlite3_stmt *st = db_statement(db, which);

        bind_number(st, 1, session);
        if (sqlite3_bind_parameter_count(st) > 1)
                bind_number(st, 2, number);
        return db_run(db, st, what);
}

/* Takes away all that there is of a session. */
static int remove_session(Db *db, uint64_t number) {
        int r;

        r = run_numbered(db, STATEMENT_FLOW_TASKS_DELETE, number, 0, "removing a session");
        if (r >= 0)
                r = run_numbered(db, STATEMENT_FLOW_ENTRIES_DELETE, number, UINT64_MAX >> 1, "removing a session");
        return r < 0 ? r : run_numbered(db, STATEMENT_FLOW_SESSION_DELETE, number, 0, "removing a session");
}

static int write_session(Db *db, const FlowSessionRow *s) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_FLOW_SESSION_SET);

        bind_number(st, 1, s->number);
        bind_number(st, 2, s->revision);
        bind_text(st, 3, s->body);
        bind_text(st, 4, s->moving);
        return db_run(db, st, "writing a session");
}

static int write_task(Db *db, const FlowTaskRow *t) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_FLOW_TASK_SET);

        bind_number(st, 1, t->session);
        bind_number(st, 2, t->seq);
        bind_text(st, 3, t->body);
        bind_text(st, 4, t->moving);
        if (t->has_result)
                (void) sqlite3_bind_blob64(st, 5, t->result ? t->result : "", t->result_size, SQLITE_STATIC);
        else
                (void) sqlite3_bind_null(st, 5);
        return db_run(db, st, "writing a task");
}

static int write_entry(Db *db, const FlowEntryRow *e) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_FLOW_ENTRY_SET);

        bind_number(st, 1, e->session);
        bind_number(st, 2, e->number);
        bind_text(st, 3, e->body);
        return db_run(db, st, "writing a work log");
}

/* Whether the change may be made: 1, 0 where it was made already, or -ESTALE. */
static int check_revision(Db *db, const Request *q, const FlowChange *c) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_FLOW_REVISION);
        int64_t revision = 0;
        int r;

        bind_number(st, 1, c->session.number);
        r = db_number(db, st, &revision);
        if (r < 0 && r != -ENOENT)
                return r;
        if (c->base == 0) /* whole: whatever is there is replaced */
                return 1;
        if (r < 0)
                return -ESTALE;
        if (q->repeated && (uint64_t) revision == c->session.revision)
                return 0;
        return (uint64_t) revision == c->base ? 1 : -ESTALE;
}

static int apply(Db *db, const FlowChange *c) {
        int r = 0;

        if (c->gone || c->base == 0)
                r = remove_session(db, c->session.number);
        if (r < 0 || c->gone)
                return r;
        r = write_session(db, &c->session);
        for (size_t i = 0; i < c->n_tasks && r >= 0; i++)
                r = write_task(db, &c->tasks[i]);
        for (size_t i = 0; i < c->n_entries && r >= 0; i++)
                r = write_entry(db, &c->entries[i]);
        if (r >= 0 && c->entries_from > 0)
                r = run_numbered(db, STATEMENT_FLOW_ENTRIES_DELETE, c->session.number, c->entries_from, "shortening a work log");
        return r;
}

int db_flow_change(Db *db, Request *q) {
        bool wanted = false;
        int r;

        if (fault_point("flow") < 0)
                return -EIO;
        /* All are looked at before the first is made, so that a refusal leaves the transaction as it was. */
        for (const FlowChange *c = q->r.flow; c; c = c->next) {
                r = check_revision(db, q, c);
                if (r < 0)
                        return r;
                wanted |= r > 0;
        }
        for (const FlowChange *c = q->r.flow; c && wanted; c = c->next) {
                r = apply(db, c);
                if (r < 0)
                        return db->trouble != STORE_OK ? r : db_damaged(db, "session number %llu cannot be written", (unsigned long long) c->session.number);
        }
        return 0;
}

/* ---- loading */

static int take_text(sqlite3_stmt *st, int column, char **ret) {
        const char *text = (const char *) sqlite3_column_text(st, column);

        *ret = text ? strdup(text) : NULL;
        return *ret ? 0 : -ENOMEM;
}

static int load_tasks(Db *db, uint64_t number, const FlowSink *sink, void *userdata) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_FLOW_TASKS);
        int r = 0, code;

        bind_number(st, 1, number);
        while (r >= 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
                _cleanup_(flow_task_row_done) FlowTaskRow t = { .session = number, .seq = (uint64_t) sqlite3_column_int64(st, 0) };

                r = take_text(st, 1, &t.body);
                if (r >= 0)
                        r = take_text(st, 2, &t.moving);
                if (r >= 0 && sqlite3_column_type(st, 3) != SQLITE_NULL) {
                        t.has_result = true;
                        t.result_size = (size_t) sqlite3_column_bytes(st, 3);
                        t.result = malloc(t.result_size + 1);
                        if (!t.result)
                                r = -ENOMEM;
                        else if (t.result_size > 0)
                                memcpy(t.result, sqlite3_column_blob(st, 3), t.result_size);
                        if (t.result)
                                t.result[t.result_size] = 0;
                }
                if (r >= 0)
                        r = sink->task(&t, userdata);
        }
        (void) sqlite3_reset(st);
        return r < 0 ? r : code == SQLITE_DONE ? 0 : db_fail(db, code, "reading tasks");
}

static int load_entries(Db *db, uint64_t number, const FlowSink *sink, void *userdata) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_FLOW_ENTRIES);
        int r = 0, code;

        bind_number(st, 1, number);
        while (r >= 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
                FlowEntryRow e = { .session = number, .number = (uint64_t) sqlite3_column_int64(st, 0) };

                r = take_text(st, 1, &e.body);
                if (r >= 0)
                        r = sink->entry(&e, userdata);
                free(e.body);
        }
        (void) sqlite3_reset(st);
        return r < 0 ? r : code == SQLITE_DONE ? 0 : db_fail(db, code, "reading work logs");
}

int db_flow_load(Db *db, const FlowSink *sink, void *userdata) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_FLOW_SESSIONS);
        int r = 0, code;

        while (r >= 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
                _cleanup_(flow_session_row_done) FlowSessionRow s = {
                        .number = (uint64_t) sqlite3_column_int64(st, 0), .revision = (uint64_t) sqlite3_column_int64(st, 1),
                };
                uint64_t number = s.number;

                r = take_text(st, 2, &s.body);
                if (r >= 0)
                        r = take_text(st, 3, &s.moving);
                if (r >= 0)
                        r = sink->session(&s, userdata);
                if (r >= 0)
                        r = load_tasks(db, number, sink, userdata);
                if (r >= 0)
                        r = load_entries(db, number, sink, userdata);
        }
        (void) sqlite3_reset(st);
        return r < 0 ? r : code == SQLITE_DONE ? 0 : db_fail(db, code, "reading sessions");
}
