/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The session table: who is found, who makes room, and what a worker's end leaves. */

#include <errno.h>
#include <stdio.h>

#include "pool/session.h"
#include "unit.h"

static void worker_init(Worker *w) {
        *w = (Worker) {};
        list_init(&w->sessions);
}

static Session *add(SessionTable *t, Worker *w, const char *name, uint64_t now) {
        Session *s = NULL;

        ck_assert_int_eq(session_new(t, "p", 1000, name, now, &s), 0);
        session_bind(s, w);
        return s;
}

START_TEST(found_by_pool_user_and_name) {
        SessionTable t;
        Session *s, *other;
        Worker w;

        worker_init(&w);
        session_table_init(&t, 1);
        ck_assert_ptr_null(session_find(&t, "p", 1000, "a"));
        s = add(&t, &w, "a", 1);
        ck_assert_ptr_eq(session_find(&t, "p", 1000, "a"), s);
        ck_assert_str_eq(s->name, "a");
        ck_assert_ptr_null(session_find(&t, "q", 1000, "a"));
        ck_assert_ptr_null(session_find(&t, "p", 1001, "a"));
        ck_assert_ptr_null(session_find(&t, "p", 1000, "b"));
        /* a name that looks like another's key */
        ck_assert_int_eq(session_new(&t, "p", 1, "000 a", 1, &other), 0);
        ck_assert_ptr_eq(session_find(&t, "p", 1000, "a"), s);
        ck_assert_ptr_eq(session_find(&t, "p", 1, "000 a"), other);
        ck_assert_uint_eq(t.n, 2);
        session_table_done(&t);
        ck_assert_uint_eq(w.n_sessions, 0);
}
END_TEST

START_TEST(the_longest_unused_makes_room) {
        SessionTable t;
        Session *a, *s;
        Worker w;

        worker_init(&w);
        session_table_init(&t, 1);
        t.max = 3;
        a = add(&t, &w, "a", 1);
        (void) add(&t, &w, "b", 2);
        (void) add(&t, &w, "c", 3);
        session_enter(&t, a, 4);
        session_leave(&t, a, 5);
        (void) add(&t, &w, "d", 6);
        ck_assert_ptr_null(session_find(&t, "p", 1000, "b"));
        ck_assert_ptr_nonnull(session_find(&t, "p", 1000, "a"));
        ck_assert_uint_eq(t.n, 3);
        ck_assert_uint_eq(w.n_sessions, 3);
        ck_assert_uint_eq(t.evicted, 1);
        /* those in use do not */
        for (const char *name = "acd"; *name; name++)
                session_enter(&t, session_find(&t, "p", 1000, (char[]) { *name, 0 }), 7);
        ck_assert_int_eq(session_new(&t, "p", 1000, "e", 8, &s), -ENOSPC);
        t.max = 1; /* a reload */
        session_table_trim(&t);
        ck_assert_uint_eq(t.n, 3);
        for (const char *name = "acd"; *name; name++)
                session_leave(&t, session_find(&t, "p", 1000, (char[]) { *name, 0 }), 9);
        session_table_trim(&t);
        ck_assert_uint_eq(t.n, 1);
        ck_assert_ptr_nonnull(session_find(&t, "p", 1000, "d"));
        session_table_done(&t);
}
END_TEST

START_TEST(the_unused_expire) {
        SessionTable t;
        Session *b;
        Worker w;

        worker_init(&w);
        session_table_init(&t, 1);
        ck_assert_uint_eq(session_table_expire(&t, UINT64_MAX / 2), USEC_INFINITY);
        t.ttl_usec = 100;
        (void) add(&t, &w, "a", 10);
        b = add(&t, &w, "b", 20);
        (void) add(&t, &w, "c", 30);
        session_enter(&t, b, 40);
        ck_assert_uint_eq(session_table_expire(&t, 109), 110);
        ck_assert_uint_eq(session_table_expire(&t, 110), 130);
        ck_assert_ptr_null(session_find(&t, "p", 1000, "a"));
        ck_assert_uint_eq(session_table_expire(&t, 5000), USEC_INFINITY); /* not while it has a job */
        ck_assert_ptr_eq(session_find(&t, "p", 1000, "b"), b);
        session_leave(&t, b, 5000);
        ck_assert_uint_eq(session_table_expire(&t, 5001), 5100);
        ck_assert_uint_eq(t.expired, 2);
        session_table_done(&t);
}
END_TEST

START_TEST(restored_in_the_order_of_their_use) {
        static const uint64_t used[2][3] = { { 10, 30, 50 }, { 5, 40, 60 } };
        SessionTable t;
        Worker w;

        worker_init(&w);
        session_table_init(&t, 1);
        for (unsigned pool = 0; pool < 2; pool++) {
                Session *at = NULL;

                for (unsigned i = 0; i < 3; i++) {
                        Session *s;

                        ck_assert_int_eq(session_new(&t, pool ? "q" : "p", 0, (char[]) { (char) ('a' + i), 0 }, used[pool][i], &s), 0);
                        session_place(&t, s, &at);
                        session_bind(s, &w);
                }
        }
        uint64_t last = 0;
        LIST_FOREACH(l, &t.idle) {
                ck_assert_uint_ge(list_entry(l, Session, use)->used_usec, last);
                last = list_entry(l, Session, use)->used_usec;
        }
        ck_assert_uint_eq(last, 60);
        session_table_done(&t);
}
END_TEST

static unsigned n_unbound;
static void on_unbound(SessionTable *t, Session *s, Worker *w) {
        ck_assert_ptr_nonnull(t);
        ck_assert_ptr_null(s->worker);
        ck_assert_ptr_nonnull(w);
        n_unbound++;
}

START_TEST(a_workers_end_is_its_sessions_end) {
        SessionTable t;
        Session *a;
        Worker v, w;

        n_unbound = 0;
        worker_init(&v);
        worker_init(&w);
        session_table_init(&t, 1);
        t.unbound = on_unbound;
        a = add(&t, &v, "a", 1);
        (void) add(&t, &v, "b", 1);
        (void) add(&t, &w, "c", 1);
        session_enter(&t, a, 2);
        session_worker_gone(&t, &v);
        ck_assert_uint_eq(n_unbound, 2);
        ck_assert_uint_eq(v.n_sessions, 0);
        ck_assert_ptr_null(session_find(&t, "p", 1000, "a"));
        ck_assert_ptr_nonnull(session_find(&t, "p", 1000, "c"));
        Session *again = add(&t, &w, "a", 3); /* while a job of the former one is on its way out */
        ck_assert_ptr_ne(again, a);
        session_leave(&t, a, 4);
        ck_assert_ptr_eq(session_find(&t, "p", 1000, "a"), again);
        session_bind(again, &v);
        ck_assert_uint_eq(v.n_sessions, 1);
        ck_assert_uint_eq(w.n_sessions, 1);
        session_table_done(&t);
}
END_TEST

UNIT_MAIN("session", found_by_pool_user_and_name, the_longest_unused_makes_room, the_unused_expire, restored_in_the_order_of_their_use,
          a_workers_end_is_its_sessions_end)
