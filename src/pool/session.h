/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which worker a session's jobs go to: bounded in number and age, and forgotten at once when that worker is of no use any more. */

#include "pool/queue.h"
#include "worker/worker.h"

typedef struct Session {
        MapNode by_name;
        char *key;             /* POOL, uid and session, as they are looked up */
        const char *pool;      /* interned */
        uid_t uid;
        const char *name;      /* within key */

        Worker *worker;        /* NULL: it waits for one */
        List link;             /* among its worker's */
        List use;              /* SessionTable.idle, the longest unused first, or SessionTable.busy */
        unsigned n_jobs;       /* that run on its worker, or wait for it */
        uint64_t created_usec, used_usec; /* CLOCK_MONOTONIC */
        uint64_t hits, misses, fallbacks; /* of its jobs */
        bool dropped;          /* in no table any more: freed when its last job has left */

        List wait;             /* exclusive: among its pool's sessions that wait for a worker */
        JobQueue *jobs;        /* likewise: its jobs meanwhile */
} Session;

typedef struct SessionTable {
        Map by_name;
        List idle, busy;
        unsigned n;
        unsigned max;          /* SessionsMax= */
        uint64_t ttl_usec;     /* SessionTTL= */
        /* A session that had a worker is forgotten; the worker may be in any state. */
        void (*unbound)(struct SessionTable *t, Session *s, Worker *w);
        uint64_t hits, misses, fallbacks, evicted, expired;
} SessionTable;

void session_table_init(SessionTable *t, uint64_t seed);
/* Only when no job is with any of them. */
void session_table_done(SessionTable *t);

/* The pool's session of that user and name, or NULL. */
Session *session_find(const SessionTable *t, const char *pool, uid_t uid, const char *name);
/* Makes one that is not there yet, without a worker; `pool` is interned. The one that has not been used for longest makes room. Returns 0,
 * -ENOSPC where all are in use, -ENOMEM. */
int session_new(SessionTable *t, const char *pool, uid_t uid, const char *name, uint64_t now, Session **ret);
/* Puts one that has no job where it belongs by its used_usec, which is not before that of the one that *at is at; NULL for the first. */
void session_place(SessionTable *t, Session *s, Session **at);
/* Binds it to a worker, in place of the one that it has. */
void session_bind(Session *s, Worker *w);
/* A job is given to its worker, or waits for it; and is not, or does not, any more. */
void session_enter(SessionTable *t, Session *s, uint64_t now);
void session_leave(SessionTable *t, Session *s, uint64_t now);
/* Forgets it; jobs that are with it keep it until they leave it. */
void session_drop(SessionTable *t, Session *s);
/* Forgets all of a worker. */
void session_worker_gone(SessionTable *t, Worker *w);
/* Forgets what has not been used for ttl_usec. Returns when to look again, or USEC_INFINITY. */
uint64_t session_table_expire(SessionTable *t, uint64_t now);
/* Forgets what is above SessionsMax=, and is not in use. */
void session_table_trim(SessionTable *t);
