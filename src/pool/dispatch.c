/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Dispatch: from the queue to free slots, at the end of each round in which something of that has changed.
 *
 * A job of a session goes to the worker that its session is bound to (pool/session.h). Where that is busy and another worker would be free,
 * the job leaves the queue and is *parked*: it stands in the worker's own queue for AffinityWait=, after which it goes back to its place in
 * the pool's, for any worker. So a queue full of such jobs is passed over once, not at each dispatch. A worker that gets a slot takes what
 * is parked for it, unless something that comes before that waits in the pool's queue. A worker that stops taking jobs, for whatever
 * reason, gives up its sessions and its parked jobs in that moment (pool_worker_unusable()); nothing waits for a timer then.
 *
 * In an exclusive pool a worker is bound to one session for as long as that lasts, and serves no other one before or after. A session that
 * finds no worker waits for one, with its jobs, and the pool grows while there are such. What a session leaves behind is a worker that has
 * worked and is bound to nobody: it is stopped, and a fresh one takes its place.
 */

#include <errno.h>
#include <stdio.h>

#include "basic/fault.h"
#include "pool/pool-internal.h"

#define DISPATCH_ROUND_MAX 1024U /* jobs that are looked at before others have their turn */
#define PARKED_MAX 256U          /* jobs that wait for one worker, where they may go to another */

bool pool_single_job(const Pool *p) {
        return p->config->type->protocol == PROTOCOL_EXEC || p->config->tier == TIER_COLD;
}

bool pool_exclusive(const Pool *p) {
        return p->config->session_exclusive && !pool_single_job(p);
}

static bool heeds_sessions(const Pool *p) {
        return p->sessions && !pool_single_job(p) && (p->config->session_exclusive || p->config->affinity != POOL_AFFINITY_NONE);
}

/* --- jobs and the sessions that they are with --- */

void pool_leave_session(Pool *p, Job *j) {
        Session *s = j->bound;

        j->bound = NULL;
        if (!s)
                return;
        if (s->n_jobs == 1) /* nothing of it waits for a worker any more */
                pool_unwait_session(p, s);
        session_leave(p->sessions, s, now_usec());
}

static void enter_session(Pool *p, Job *j, Session *s) {
        j->bound = s;
        session_enter(p->sessions, s, now_usec());
}

static void count_affinity(Pool *p, Session *s, FrameAffinity a) {
        SessionTable *t = p->sessions;

        switch (a) {
        case FRAME_AFFINITY_HIT:
                s->hits++;
                t->hits++;
                p->stats.affinity_hits++;
                return;
        case FRAME_AFFINITY_MISS:
                if (s)
                        s->misses++;
                t->misses++;
                p->stats.affinity_misses++;
                return;
        case FRAME_AFFINITY_FALLBACK:
                s->fallbacks++;
                t->fallbacks++;
                p->stats.affinity_fallbacks++;
                return;
        default:
                return;
        }
}

/* --- to a worker --- */

/* Returns false where the job cannot be carried, and has ended. `s`, which may be NULL, is the session that it is with from now on. */
static bool give(Pool *p, Worker *w, Job *j, Session *s, FrameAffinity affinity) {
        _cleanup_free_ char *why = NULL;
        int r;

        if (s)
                session_enter(p->sessions, s, now_usec()); /* before it leaves the one that it waits with, which may be the same */
        pool_unqueue(p, j);
        j->bound = s;
        j->affinity = affinity;
        j->elsewhere = false;
        j->queue_until = 0; /* when it is queued again, its time there begins anew */
        if (affinity != FRAME_AFFINITY_NONE)
                count_affinity(p, s, affinity);
        (void) fault_point("dispatch");
        r = worker_assign(w, j, &why);
        if (r < 0) {
                JobResult res = { .status = FRAME_FAILED, .code = r == -EMSGSIZE ? "PayloadTooLarge" : "NotCarried",
                                  .error = why ? TAKE_PTR(why) : strdup(strerror(-r)) };

                pool_finish(p, j, &res);
                return false;
        }
        p->n_running++;
        (void) fault_point("dispatched");
        if (!worker_has_slot(w))
                list_remove(&w->free_link);
        else if (list_first(&p->free_workers) == &w->free_link && w->n_slots > 1) {
                list_remove(&w->free_link); /* several slots: spread over the workers */
                list_append(&p->free_workers, &w->free_link);
        }
        return true;
}

static Worker *next_free(Pool *p) {
        LIST_FOREACH_SAFE(l, n, &p->free_workers) {
                Worker *w = list_entry(l, Worker, free_link);

                if (pool_has_room(p, w))
                        return w;
                if (!worker_has_slot(w))
                        list_remove(&w->free_link);
        }
        return NULL;
}

/* --- parked jobs --- */

static JobQueue *parked_new(const Pool *p) {
        JobQueue *q = new0(JobQueue, 1);

        if (q)
                job_queue_init(q, p->config->priority_aging_usec, random_u64());
        return q;
}

static void park(Pool *p, Worker *w, Job *j, Session *s, uint64_t until) {
        job_queue_turn(j);
        job_queue_remove(j);
        enter_session(p, j, s);
        job_queue_add(w ? w->parked : s->jobs, j);
        j->parked = true;
        j->park_until = until;
        p->n_parked++;
        pool_arm_job(p, j);
}

/* Back to where it was in the pool's queue. */
void pool_unpark(Pool *p, Job *j) {
        job_queue_remove(j);
        j->parked = false;
        p->n_parked--;
        pool_leave_session(p, j);
        job_queue_add(&p->queue, j);
        pool_arm_job(p, j);
        pool_dispatch_later(p);
}

static void unpark_one(Job *j, void *userdata) {
        Pool *p = userdata;

        j->parked = false;
        p->n_parked--;
        pool_leave_session(p, j);
        pool_arm_job(p, j);
}

static void unpark_all(Pool *p, JobQueue *q) {
        job_queue_foreach(q, unpark_one, p);
        job_queue_move(&p->queue, q);
}

void pool_worker_unusable(Worker *w) {
        Pool *p = w->pool;

        list_remove(&w->parked_link);
        if (w->parked && !job_queue_empty(w->parked)) {
                unpark_all(p, w->parked);
                pool_dispatch_later(p);
        }
        if (p->sessions)
                session_worker_gone(p->sessions, w);
}

void pool_worker_resumed(Pool *p, Worker *w) {
        list_remove(&w->parked_link);
        if (w->parked && !job_queue_empty(w->parked) && worker_has_slot(w))
                list_append(&p->resumed, &w->parked_link);
}

void pool_forget_parked(Worker *w) {
        if (!w->parked)
                return;
        job_queue_done(w->parked);
        free(w->parked);
        w->parked = NULL;
}

/* A slot of a worker goes to one of those that wait for it. */
static void serve_parked(Pool *p, Worker *w) {
        Job *j = job_queue_first(w->parked);
        Session *s = j->bound;

        job_queue_turn(j);
        (void) give(p, w, j, s, s->hits + s->misses > 0 ? FRAME_AFFINITY_HIT : FRAME_AFFINITY_MISS);
}

/* --- soft: to its worker, if that is free in time --- */

/* The free worker with the fewest sessions; of these the least busy. */
static Worker *least_bound(Pool *p) {
        Worker *best = NULL;

        LIST_FOREACH(l, &p->free_workers) {
                Worker *w = list_entry(l, Worker, free_link);

                if (!pool_has_room(p, w))
                        continue;
                if (!best || w->n_sessions < best->n_sessions || (w->n_sessions == best->n_sessions && w->n_running < best->n_running))
                        best = w;
        }
        return best;
}

static bool may_wait(const Pool *p, Worker *w, const Job *j) {
        if (j->elsewhere || p->config->affinity_wait_usec == 0)
                return false;
        if (!w->parked)
                w->parked = parked_new(p);
        return w->parked && w->parked->n < PARKED_MAX;
}

static void dispatch_soft(Pool *p, Job *j) {
        Session *s = session_find(p->sessions, p->name, j->uid, j->session);
        Worker *w;

        if (s && s->worker && pool_has_room(p, s->worker)) {
                job_queue_turn(j);
                (void) give(p, s->worker, j, s, FRAME_AFFINITY_HIT);
                return;
        }
        if (s && s->worker && may_wait(p, s->worker, j)) {
                park(p, s->worker, j, s, usec_after(p->config->affinity_wait_usec));
                return;
        }
        w = least_bound(p);
        job_queue_turn(j);
        if (s && !s->worker) { /* of another time, when the pool was exclusive */
                session_bind(s, w);
                (void) give(p, w, j, s, FRAME_AFFINITY_MISS);
        } else if (s) { /* it stays bound, unless that worker has more than its share of sessions */
                if (s->worker->n_sessions > w->n_sessions + 1)
                        session_bind(s, w);
                (void) give(p, w, j, s, FRAME_AFFINITY_FALLBACK);
        } else if (session_new(p->sessions, p->name, j->uid, j->session, now_usec(), &s) >= 0) {
                session_bind(s, w);
                (void) give(p, w, j, s, FRAME_AFFINITY_MISS);
        } else
                (void) give(p, w, j, NULL, FRAME_AFFINITY_MISS); /* all that may be remembered are in use */
}

/* --- exclusive: to its worker, or to none --- */

static void dispatch_exclusive(Pool *p, Job *j) {
        Session *s = j->session ? session_find(p->sessions, p->name, j->uid, j->session) : NULL;
        int r = 0;

        if (!j->session) { /* refused at its submission, unless the pool was another one then */
                pool_end_queued(p, j, FRAME_FAILED, "SessionRequired", "the pool has become one for jobs of sessions only (SessionExclusive=yes)");
                return;
        }
        if (!s)
                r = session_new(p->sessions, p->name, j->uid, j->session, now_usec(), &s);
        if (r >= 0 && !s->worker && !s->jobs && !(s->jobs = parked_new(p)))
                r = -ENOMEM;
        if (r >= 0 && s->worker && !s->worker->parked && !(s->worker->parked = parked_new(p)))
                r = -ENOMEM;
        if (r < 0) {
                pool_end_queued(p, j, FRAME_FAILED, "LimitReached", r == -ENOSPC ? "as many sessions as SessionsMax= allows are in use" : "out of memory");
                return;
        }
        if (s->worker && pool_has_room(p, s->worker) && job_queue_empty(s->worker->parked)) {
                job_queue_turn(j);
                (void) give(p, s->worker, j, s, s->hits + s->misses > 0 ? FRAME_AFFINITY_HIT : FRAME_AFFINITY_MISS);
                return;
        }
        park(p, s->worker, j, s, USEC_INFINITY);
        if (s->worker)
                pool_worker_resumed(p, s->worker);
        else if (!list_linked(&s->wait)) {
                list_append(&p->session_wait, &s->wait);
                p->n_session_wait++;
        }
}

bool pool_worker_fresh(const Worker *w) {
        return w->n_sessions == 0 && w->jobs_done == 0 && w->n_running + w->n_fenced == 0 && !w->recycle;
}

/* Gives workers that nobody has used to sessions that wait. */
static void seat_sessions(Pool *p) {
        if (list_empty(&p->session_wait))
                return;
        LIST_FOREACH(l, &p->free_workers) {
                Worker *w = list_entry(l, Worker, free_link);
                Session *s = list_first_entry(&p->session_wait, Session, wait);

                if (!s)
                        return;
                if (!worker_has_slot(w) || !pool_worker_fresh(w))
                        continue;
                pool_unwait_session(p, s);
                session_bind(s, w);
                pool_forget_parked(w);
                w->parked = TAKE_PTR(s->jobs);
                pool_worker_resumed(p, w);
        }
}

void pool_unwait_session(Pool *p, Session *s) {
        if (!list_linked(&s->wait))
                return;
        list_remove(&s->wait);
        p->n_session_wait--;
}

void pool_session_unbound(SessionTable *t, Session *s, Worker *w) {
        Pool *p = w->pool;

        (void) t;
        (void) s;
        pool_dispatch_later(p); /* an exclusive one replaces it */
}

static void leave_wait(Pool *p) {
        List *n;

        while ((n = list_first(&p->session_wait))) {
                Session *s = list_entry(n, Session, wait);

                pool_unwait_session(p, s);
                s->n_jobs++; /* kept while its jobs leave it */
                if (s->jobs)
                        unpark_all(p, s->jobs);
                session_leave(p->sessions, s, now_usec());
        }
}

typedef struct Leaving {
        Pool *pool;
        const Session *session;
} Leaving;

static void unpark_its(Job *j, void *userdata) {
        const Leaving *l = userdata;

        if (j->bound == l->session)
                pool_unpark(l->pool, j);
}

void pool_forget_session(Pool *p, Session *s) {
        Worker *w = s->worker;

        s->n_jobs++; /* likewise */
        pool_unwait_session(p, s);
        if (s->jobs)
                unpark_all(p, s->jobs);
        if (w && w->parked && pool_exclusive(p))
                unpark_all(p, w->parked);
        else if (w && w->parked)
                job_queue_foreach(w->parked, unpark_its, &(Leaving) { p, s });
        session_drop(p->sessions, s);
        session_leave(p->sessions, s, now_usec());
        pool_dispatch_later(p);
}

void pool_forget_sessions(Pool *p) {
        if (!p->sessions)
                return;
        leave_wait(p);
        LIST_FOREACH(l, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                list_remove(&w->parked_link);
                if (w->parked)
                        unpark_all(p, w->parked);
                session_worker_gone(p->sessions, w);
        }
        pool_dispatch_later(p);
}

void pool_foreach_queued(Pool *p, void (*f)(Job *j, void *userdata), void *userdata) {
        job_queue_foreach(&p->queue, f, userdata);
        LIST_FOREACH_SAFE(l, n, &p->workers) {
                const Worker *w = list_entry(l, Worker, link);

                if (w->parked)
                        job_queue_foreach(w->parked, f, userdata);
        }
        LIST_FOREACH_SAFE(l, n, &p->session_wait)
                job_queue_foreach(list_entry(l, Session, wait)->jobs, f, userdata);
}

/* --- dispatch --- */

/* exec and cold: a worker is started for the job, so that its environment can name it. */
static bool spawn_for(Pool *p, Job *j) {
        uint64_t now = now_usec();

        if (!pool_may_spawn(p, now) || (p->breaker != BREAKER_CLOSED && p->n_workers > 0) || !pool_admit_spawn(p, now))
                return false;
        Worker *w = pool_spawn(p, j);
        if (!w || w->state != WORKER_READY)
                return false;
        job_queue_turn(j);
        return give(p, w, j, NULL, FRAME_AFFINITY_NONE);
}

static bool dispatch_one(Pool *p) {
        Worker *w = list_first_entry(&p->resumed, Worker, parked_link);
        Job *j = job_queue_first(&p->queue);

        if (w && (!pool_has_room(p, w) || job_queue_empty(w->parked))) {
                list_remove(&w->parked_link);
                return true;
        }
        if (w && (!j || pool_exclusive(p) || job_queue_key(w->parked) <= job_queue_key(&p->queue))) {
                serve_parked(p, w);
                return true;
        }
        if (!j)
                return false;
        if (heeds_sessions(p) && p->config->session_exclusive) {
                dispatch_exclusive(p, j);
                return true;
        }
        w = next_free(p);
        if (!w)
                return p->config->tier == TIER_COLD && p->config->type->protocol == PROTOCOL_EXEC && spawn_for(p, j);
        if (j->session && heeds_sessions(p))
                dispatch_soft(p, j);
        else {
                job_queue_turn(j);
                (void) give(p, w, j, NULL, FRAME_AFFINITY_NONE);
        }
        return true;
}

/* Workers that may take more than before, only because they are older now. */
static void resume_ramped(Pool *p) {
        LIST_FOREACH(l, &p->free_workers) {
                Worker *w = list_entry(l, Worker, free_link);

                if (!list_linked(&w->parked_link) && pool_has_room(p, w))
                        pool_worker_resumed(p, w);
        }
}

void pool_on_dispatch(Defer *d) {
        Pool *p = CONTAINER_OF(d, Pool, dispatch);
        unsigned n = 0;

        if (p->config->slow_start_usec > 0 && p->n_parked > 0)
                resume_ramped(p);
        if (!pool_held(p) && !p->host->hold)
                do
                        seat_sessions(p);
                while (dispatch_one(p) && ++n < DISPATCH_ROUND_MAX);
        pool_check(p);
        if (n == DISPATCH_ROUND_MAX) /* not deferred: what is deferred in a round still belongs to it */
                timer_arm(&p->host->timers, &p->timer, now_usec());
}

bool pool_stalled(const Pool *p) {
        const Worker *w = list_first_entry((List *) &p->free_workers, Worker, free_link);

        return !job_queue_empty(&p->queue) && p->state == POOL_RUNNING && w && pool_has_room(p, w) && !list_linked(&p->dispatch.link);
}
