/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The session table. A session is of one pool and one user: two users' sessions of the same name have nothing in common. It is bound to a
 * worker while that can take jobs, and no longer; who was bound to a worker that is gone begins anew elsewhere. Sessions without a job
 * are listed by their last use, so that the next to expire and the next to make room is the first of the list.
 */

#include <errno.h>

#include "basic/str.h"
#include "pool/session.h"

#define KEY_MAX (NAME_LENGTH_MAX + 16U + JOB_NAME_MAX)

void session_table_init(SessionTable *t, uint64_t seed) {
        *t = (SessionTable) { .max = UINT32_MAX, .ttl_usec = USEC_INFINITY };
        map_init(&t->by_name, seed);
        list_init(&t->idle);
        list_init(&t->busy);
}

static void session_free(Session *s) {
        if (s->jobs) {
                job_queue_done(s->jobs);
                free(s->jobs);
        }
        free(s->key);
        free(s);
}

void session_table_done(SessionTable *t) {
        List *n;

        while ((n = list_first(&t->idle)))
                session_drop(t, list_entry(n, Session, use));
        assert(list_empty(&t->busy));
        map_done(&t->by_name);
}

/* Neither a pool's name nor a number has a blank. Returns where the session's name begins, or 0 where it is too long to be one. */
static size_t make_key(char buf[static KEY_MAX], const char *pool, uid_t uid, const char *name) {
        size_t n = strlen(pool), length = strlen(name);

        if (n > NAME_LENGTH_MAX || length >= JOB_NAME_MAX)
                return 0;
        memcpy(buf, pool, n);
        buf[n++] = ' ';
        for (int shift = 28; shift >= 0; shift -= 4) /* for each job of a session: printf() would be half of it */
                buf[n++] = "0123456789abcdef"[uid >> shift & 15];
        buf[n++] = ' ';
        memcpy(buf + n, name, length + 1);
        return n;
}

Session *session_find(const SessionTable *t, const char *pool, uid_t uid, const char *name) {
        char key[KEY_MAX];

        if (t->n == 0 || make_key(key, pool, uid, name) == 0)
                return NULL;
        return map_get_name(&t->by_name, key, Session, by_name);
}

static void trim_to(SessionTable *t, unsigned max) {
        List *n;

        while (t->n > max && (n = list_first(&t->idle))) {
                t->evicted++;
                session_drop(t, list_entry(n, Session, use));
        }
}

void session_table_trim(SessionTable *t) {
        trim_to(t, t->max);
}

int session_new(SessionTable *t, const char *pool, uid_t uid, const char *name, uint64_t now, Session **ret) {
        char key[KEY_MAX];
        size_t at = make_key(key, pool, uid, name);
        Session *s;

        if (at == 0)
                return -EINVAL;
        if (t->max > 0)
                trim_to(t, t->max - 1);
        if (t->n >= t->max)
                return -ENOSPC;
        s = new0(Session, 1);
        if (!s || !(s->key = strdup(key)) || map_add_name(&t->by_name, &s->by_name, s->key) < 0) {
                if (s)
                        free(s->key);
                free(s);
                return -ENOMEM;
        }
        s->pool = pool;
        s->uid = uid;
        s->name = s->key + at;
        s->created_usec = s->used_usec = now;
        list_init(&s->link);
        list_init(&s->wait);
        list_init(&s->use);
        list_append(&t->idle, &s->use);
        t->n++;
        *ret = s;
        return 0;
}

void session_place(SessionTable *t, Session *s, Session **at) {
        List *l = *at ? &(*at)->use : &t->idle;

        list_remove(&s->use);
        while (l->next != &t->idle && list_entry(l->next, Session, use)->used_usec <= s->used_usec)
                l = l->next;
        list_prepend(l, &s->use);
        *at = s;
}

static void unbind(Session *s) {
        if (!s->worker)
                return;
        list_remove(&s->link);
        s->worker->n_sessions--;
        s->worker = NULL;
}

void session_bind(Session *s, Worker *w) {
        unbind(s);
        list_append(&w->sessions, &s->link);
        w->n_sessions++;
        s->worker = w;
}

void session_enter(SessionTable *t, Session *s, uint64_t now) {
        s->used_usec = now;
        if (s->n_jobs++ > 0 || s->dropped)
                return;
        list_remove(&s->use);
        list_append(&t->busy, &s->use);
}

void session_leave(SessionTable *t, Session *s, uint64_t now) {
        if (--s->n_jobs > 0)
                return;
        if (s->dropped) {
                session_free(s);
                return;
        }
        s->used_usec = now;
        list_remove(&s->use);
        list_append(&t->idle, &s->use);
}

void session_drop(SessionTable *t, Session *s) {
        Worker *w = s->worker;

        if (s->dropped)
                return;
        s->dropped = true;
        map_remove(&t->by_name, &s->by_name);
        list_remove(&s->use);
        list_remove(&s->wait);
        t->n--;
        unbind(s);
        if (w && t->unbound)
                t->unbound(t, s, w);
        if (s->n_jobs == 0)
                session_free(s);
}

void session_worker_gone(SessionTable *t, Worker *w) {
        List *n;

        while ((n = list_first(&w->sessions)))
                session_drop(t, list_entry(n, Session, link));
}

uint64_t session_table_expire(SessionTable *t, uint64_t now) {
        List *n;

        if (t->ttl_usec == USEC_INFINITY)
                return USEC_INFINITY;
        while ((n = list_first(&t->idle))) {
                Session *s = list_entry(n, Session, use);

                if (now < s->used_usec + t->ttl_usec)
                        return s->used_usec + t->ttl_usec;
                t->expired++;
                session_drop(t, s);
        }
        return USEC_INFINITY;
}
