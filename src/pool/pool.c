/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A pool. Jobs come in by pool_submit() and go out by the workers' callbacks. Everything that may change what should run is followed by a
 * deferred dispatch at the end of the round, which fills free slots from the queue and then looks at the size.
 *
 * Size: at least the target (Min=, or what an operator said), at most Max=; in between one more worker for each queued job that no free or
 * starting slot will take. What its states mean is in lifecycle.c, what follows from crashes in breaker.c.
 */

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/fault.h"
#include "pool/durable.h"
#include "pool/pool-internal.h"

#define CHECK_USEC (5 * USEC_PER_SEC)         /* how often ages and sizes are looked at when nothing happens */
#define EXIT_PERMANENT 125

static void on_timer(Timer *t);

int pool_new(Host *h, JobTable *t, PoolConfig *config, const char *name, Pool **ret) {
        Pool *p = new0(Pool, 1);

        if (!p)
                return -ENOMEM;
        p->crash_times = new0(uint64_t, BREAKER_CRASHES_MAX);
        if (!p->crash_times) {
                free(p);
                return -ENOMEM;
        }
        p->host = h;
        p->jobs = t;
        p->config = pool_config_ref(config);
        p->name = name;
        p->restart_delay = config->restart_usec;
        p->opened_usec = now_usec();
        list_init(&p->link);
        list_init(&p->workers);
        list_init(&p->free_workers);
        job_queue_init(&p->queue, config->priority_aging_usec, random_u64());
        list_init(&p->resumed);
        list_init(&p->session_wait);
        list_init(&p->waiting);
        p->dispatch.run = pool_on_dispatch;
        p->timer.fire = on_timer;
        hook_init(&p->hook);
        *ret = p;
        return 0;
}

Pool *pool_free(Pool *p) {
        if (!p)
                return NULL;
        assert(pool_empty(p));
        pool_forget_sessions(p);
        p->host->memory_planned -= p->memory_planned;
        timer_disarm(&p->host->timers, &p->timer);
        hot_undefer(&p->dispatch);
        hook_done(&p->hook, p->host);
        list_remove(&p->link);
        job_queue_done(&p->queue);
        pool_config_unref(p->config);
        free(p->crash_times);
        free(p->reason);
        free(p);
        return NULL;
}

EventFields pool_fields(const Pool *p) {
        return (EventFields) { .pool = p->name };
}

void pool_dispatch_later(Pool *p) {
        hot_defer(&p->host->hot, &p->dispatch);
}

void pool_set_reason(Pool *p, const char *text) {
        char *copy = text ? strdup(text) : NULL;

        free(p->reason);
        p->reason = copy;
}

void pool_settle(Pool *p) {
        if (p->settled)
                return;
        p->settled = true;
        if (p->changed)
                p->changed(p);
}

void pool_touched(Pool *p) {
        if (p->touched)
                p->touched(p);
}

Pool *pool_find(const Map *by_name, const List *pools, const char *name) {
        Pool *p = map_get_name(by_name, name, Pool, by_name);

        if (p)
                return p;
        LIST_FOREACH(l, (List *) pools) {
                p = list_entry(l, Pool, link);
                if (streq_ptr(p->config->id, name))
                        return p;
        }
        return NULL;
}

PoolHealth pool_health(const Pool *p) {
        if (p->permanent || (p->breaker != BREAKER_CLOSED && p->n_usable == 0) || p->state == POOL_CLOSING)
                return POOL_DOWN;
        if (p->settled && p->n_usable == 0 && pool_floor(p) > 0)
                return POOL_DOWN;
        if (p->breaker != BREAKER_CLOSED || pool_held(p) || (p->settled && p->n_usable < pool_floor(p) && p->state != POOL_SCALING))
                return POOL_IMPAIRED;
        return POOL_OK;
}

const char *pool_health_to_string(PoolHealth h) {
        static const char *const names[_POOL_HEALTH_MAX] = { "ok", "degraded", "down" };

        return names[h];
}

bool pool_held(const Pool *p) {
        return p->state == POOL_DRAINING || p->state == POOL_STOPPED;
}

unsigned pool_floor(const Pool *p) {
        if (p->config->tier == TIER_COLD)
                return 0;
        return MAX(p->target, p->config->min);
}

unsigned pool_capacity(const Pool *p) {
        unsigned slots = pool_single_job(p) ? 1 : p->config->type->slots;

        return MAX(p->config->max, 1U) * slots;
}

/* Jobs in the queue that need not wait: there is a slot for them, or will be as soon as a worker has started. */
uint64_t pool_room(const Pool *p) {
        unsigned slots = pool_capacity(p) / MAX(p->config->max, 1U);
        uint64_t room = 0;

        LIST_FOREACH(l, (List *) &p->workers) {
                const Worker *w = list_entry(l, Worker, link);

                if (w->state == WORKER_STARTING || worker_has_slot(w))
                        room += w->n_slots - w->n_running - w->n_fenced;
        }
        if (p->n_usable + p->n_starting < p->config->max && p->n_workers < 2 * p->config->max && p->breaker == BREAKER_CLOSED && !p->permanent &&
            now_usec() >= p->spawn_after)
                room += (uint64_t) (p->config->max - p->n_usable - p->n_starting) * slots;
        return pool_held(p) ? 0 : room;
}

/* --- workers --- */

static void pool_worker_gone(Pool *p, Worker *w) {
        p->n_workers--;
        pool_forget_parked(w);
        worker_free(w);
}

void pool_recount(Pool *p) {
        p->n_starting = p->n_usable = 0;
        LIST_FOREACH(l, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                p->n_starting += w->state == WORKER_STARTING;
                p->n_usable += w->state == WORKER_READY || w->state == WORKER_BUSY;
        }
        pool_count_memory(p);
}

static void on_worker_ready(Worker *w) {
        Pool *p = w->pool;

        if (w->single_job && w->jobs_done > 0 && w->type->protocol != PROTOCOL_EXEC) {
                worker_drain(w, USEC_INFINITY, NULL); /* it was started for that one job */
                return;
        }
        if (worker_has_slot(w)) {
                list_remove(&w->free_link);
                list_prepend(&p->free_workers, &w->free_link);
        }
        pool_worker_resumed(p, w);
        if (w->jobs_done == 0 && w->state == WORKER_READY && w->n_running == 0) {
                EventFields f = worker_fields(w);

                pool_sample_memory(p, w);
                event_send(p->host, EVENT_WORKER_READY, &f, "%s is ready", w->name);
                pool_recount(p);
        }
        pool_dispatch_later(p);
}

typedef struct QueuedEnd {
        Pool *pool;
        const char *code, *why;
        unsigned moved;
        bool keep; /* those that cannot go elsewhere */
} QueuedEnd;

/* Jobs that may go elsewhere do, the others end. */
static void fail_one(Job *j, void *userdata) {
        QueuedEnd *e = userdata;
        Pool *p = e->pool;

        if (p->state != POOL_CLOSING && p->jobs->stranded && p->jobs->stranded(p->jobs, j))
                e->moved++;
        else if (!e->keep)
                pool_end_queued(p, j, FRAME_FAILED, e->code, e->why);
}

static void leave_queue(Pool *p, const char *code, const char *why, bool keep) {
        QueuedEnd end = { .pool = p, .code = code, .why = why, .keep = keep };
        EventFields f = pool_fields(p);

        pool_foreach_queued(p, fail_one, &end);
        if (end.moved > 0)
                event_send(p->host, EVENT_JOB_REQUEUED, &f, "%u queued job%s of pool %s went to other pools: %s", end.moved, plural(end.moved), p->name,
                           strna(why));
}

void pool_fail_late(Pool *p, Job *j) {
        QueuedEnd end = { .pool = p, .code = "PoolUnavailable", .why = p->reason };

        if ((p->permanent || p->breaker != BREAKER_CLOSED) && p->n_usable == 0)
                fail_one(j, &end);
}

void pool_fail_queue(Pool *p, const char *code, const char *why) {
        leave_queue(p, code, why, false);
}

/* Where it will be tried again, those that can go nowhere else wait for that: they were accepted for more than one attempt. */
void pool_check_late(Pool *p) {
        if (!p->late || p->n_usable > 0 || pool_held(p))
                return;
        p->late = false;
        if (p->permanent || p->state == POOL_DEGRADED)
                leave_queue(p, "PoolUnavailable", p->reason, !p->permanent);
}

static void permanent(Pool *p, Worker *w, const EventFields *f) {
        pool_note_death(p, w, "exited with status 125");
        p->permanent = true;
        pool_set_reason(p, "its worker exited with status 125, which means: do not restart");
        event_send(p->host, EVENT_WORKER_PERMANENT, f, "%s exited with status 125: pool %s is not restarted until 'flowctl pool resume %s'",
                   w->name, p->name, p->name);
        pool_event(p, POOL_EV_PERMANENT);
        hook_tell(p, HOOK_POOL_FAILED, f->end->cause, w->name, f->job, p->reason);
        pool_settle(p);
        if (p->n_usable == 0)
                pool_fail_queue(p, "PoolUnavailable", p->reason);
}

static void on_worker_dead(Worker *w) {
        Pool *p = w->pool;
        EventFields f = worker_fields(w);
        WorkerEnd end = worker_end(w);
        char how[400];
        bool by_job = w->single_job && w->jobs_done > 0; /* exec: its exit was the job's end */

        f.end = &end;
        f.job = w->died_with;
        worker_describe_exit(w, how, sizeof(how));
        snprintf(p->last_exit, sizeof(p->last_exit), "%s %.150s", w->name, how);
        pool_recount(p);
        if (w->exit_code == CLD_EXITED && w->exit_status == EXIT_PERMANENT && !by_job && p->config->tier != TIER_COLD)
                permanent(p, w, &f);
        else if (w->stop_wanted || by_job)
                event_send(p->host, EVENT_WORKER_EXITED, &f, "%s %s", w->name, how);
        else if (w->exit_status == 0 && w->exit_code == CLD_EXITED && !w->failed_start && !w->reason)
                event_send(p->host, EVENT_WORKER_EXITED, &f, "%s %s by itself", w->name, how); /* allowed: it is replaced */
        else {
                _cleanup_free_ char *tail = worker_stderr_tail(w, 512);

                event_send(p->host, w->failed_start ? EVENT_WORKER_FAILED : EVENT_WORKER_CRASHED, &f, "%s %s%s%s%s", w->name,
                           w->failed_start ? "failed to start: it " : "", how, tail && *tail ? "; it last said: " : "", strempty(tail));
                pool_note_death(p, w, how);
                hook_tell(p, HOOK_CRASH, end.cause, w->name, w->died_with, how);
                pool_crashed(p, w->ready_usec > 0 ? now_usec() - w->ready_usec : 0, how, w->died_with > 0, w->poisoned);
        }
        pool_worker_gone(p, w);
        pool_recount(p);
        if (p->permanent && p->n_usable == 0 && !pool_held(p))
                pool_fail_queue(p, "PoolUnavailable", p->reason);
        pool_dispatch_later(p);
}

static void on_worker_catalog(Worker *w, struct McpCatalog *c) {
        Pool *p = w->pool;

        if (p->catalog)
                p->catalog(p, c);
}

static void on_worker_notify(Worker *w, const char *text, size_t size) {
        Pool *p = w->pool;

        if (p->notify)
                p->notify(p, w, text, size);
}

static const WorkerOps worker_ops = {
        .ready = on_worker_ready,
        .job_end = pool_job_end,
        .job_lost = pool_job_lost,
        .job_released = pool_job_released,
        .unusable = pool_worker_unusable,
        .dead = on_worker_dead,
        .catalog = on_worker_catalog,
        .notify = on_worker_notify,
};

static unsigned free_slot_number(const Pool *p) {
        for (unsigned i = 0;; i++) {
                bool taken = false;

                LIST_FOREACH(l, &p->workers)
                        taken |= list_entry(l, Worker, link)->slot_number == i;
                if (!taken)
                        return i;
        }
}

WorkerSpec pool_worker_spec(Pool *p, const Job *job) {
        return (WorkerSpec) {
                .host = p->host,
                .type = p->config->type,
                .ops = &worker_ops,
                .pool = p,
                .pool_name = p->name,
                .single_job = pool_single_job(p),
                .job = job,
        };
}

Worker *pool_spawn(Pool *p, const Job *job) {
        WorkerSpec spec = pool_worker_spec(p, job);
        _cleanup_free_ char *why = NULL;
        Worker *w;
        int r;

        spec.slot_number = free_slot_number(p);
        /* counted before, because worker_spawn() may call back */
        p->n_workers++;
        r = worker_spawn(&spec, &w, &why);
        if (r < 0) {
                EventFields f = pool_fields(p);
                char text[256];

                p->n_workers--;
                snprintf(text, sizeof(text), "%s", why ? why : strerror(-r));
                snprintf(p->last_exit, sizeof(p->last_exit), "%s", text);
                event_send(p->host, EVENT_WORKER_FAILED, &f, "Pool %s cannot start a worker: %s", p->name, text);
                pool_note_death(p, NULL, text);
                hook_tell(p, HOOK_CRASH, "start", NULL, 0, text);
                pool_crashed(p, 0, text, false, false);
                return NULL;
        }
        p->stats.spawned++;
        if (p->to_restart > 0) {
                p->to_restart--;
                p->stats.restarts++;
        }
        list_append(&p->workers, &w->link);
        pool_recount(p);
        return w;
}

Worker *pool_find_worker(Pool *p, unsigned slot) {
        LIST_FOREACH(l, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                if (w->slot_number == slot && w->state != WORKER_DEAD)
                        return w;
        }
        return NULL;
}

bool pool_may_spawn(const Pool *p, uint64_t now) {
        /* one process a job: those that are ending count. Others may be replaced while they finish what they have. */
        unsigned bound = pool_single_job(p) ? p->config->max : 2 * p->config->max;

        return p->n_workers < bound && p->n_usable + p->n_starting < p->config->max && now >= p->spawn_after && !p->permanent &&
               p->breaker != BREAKER_OPEN;
}

/* --- size --- */

/* As many workers are ready as are wanted: at the start, and after an operator has scaled it. */
static void check_full(Pool *p) {
        if (p->state != POOL_INITIALIZING && p->state != POOL_SCALING)
                return;
        unsigned wanted = pool_floor(p);
        if (p->n_usable < wanted)
                return;
        if (p->state == POOL_INITIALIZING) {
                EventFields f = pool_fields(p);

                event_send(p->host, EVENT_POOL_READY, &f, "Pool %s is ready with %u worker%s", p->name, p->n_usable, plural(p->n_usable));
                pool_set_reason(p, NULL);
                pool_event(p, POOL_EV_FULL);
                pool_settle(p);
        } else if (p->n_usable == wanted || p->n_queued > 0) /* with a queue, it has more for that */
                pool_event(p, POOL_EV_FULL);
}

static bool anything_in_hand(const Pool *p) {
        LIST_FOREACH(l, (List *) &p->workers) {
                const Worker *w = list_entry(l, Worker, link);

                if (w->n_running + w->n_fenced > 0)
                        return true;
        }
        return false;
}

static void check_drained(Pool *p) {
        unsigned waiting = p->n_queued + p->n_waiting;

        if (p->state != POOL_DRAINING || anything_in_hand(p))
                return;
        EventFields f = pool_fields(p);
        pool_event(p, POOL_EV_IDLE);
        event_send(p->host, EVENT_POOL_STOPPED, &f, "Pool %s is stopped: nothing runs, %u job%s for 'flowctl pool resume %s'", p->name,
                   waiting, waiting == 1 ? " waits" : "s wait", p->name);
}

static bool over_age(const Worker *w, uint64_t now) {
        const WorkerType *t = w->type;

        if (w->retire_usec > 0 && now >= w->retire_usec)
                return true;
        return t->max_rss != UINT64_MAX && worker_rss(w) > t->max_rss;
}

static bool is_due(const Pool *p, const Worker *w, uint64_t now) {
        return w->recycle || w->type != p->config->type || (w->jobs_max > 0 && w->jobs_done >= w->jobs_max) || over_age(w, now);
}

/* Recycling: one at a time, the replacement first. A worker that is due works on until its replacement is ready, then finishes what it
 * has. Returns true while one is being replaced. */
static bool check_recycling(Pool *p, uint64_t now) {
        Worker *due = NULL;

        if (p->config->tier == TIER_COLD || p->config->type->protocol == PROTOCOL_EXEC)
                return false;
        LIST_FOREACH(l, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                if (w->recycle && w->state >= WORKER_DRAINING)
                        return true;
                if (!due && (w->state == WORKER_READY || w->state == WORKER_BUSY) && is_due(p, w, now))
                        due = w;
        }
        if (!due)
                return false;
        due->recycle = true;
        if (p->n_usable > pool_floor(p)) {
                EventFields f = worker_fields(due);

                event_send(p->host, EVENT_WORKER_RECYCLED, &f, "%s is being replaced after %llu jobs", due->name, (unsigned long long) due->jobs_done);
                worker_drain(due, USEC_INFINITY, "is being replaced");
                pool_recount(p);
        } else if (!pool_memory_left(p)) /* no room for both: the successor starts when it is gone */
                worker_drain(due, USEC_INFINITY, "is being replaced");
        else if (p->n_starting == 0 && now >= p->spawn_after)
                (void) pool_spawn(p, NULL); /* one above Max= for a moment */
        return true;
}

/* A pool that is not full within StartTimeout= keeps nobody waiting any longer. Returns when that is. */
static uint64_t settle_late(Pool *p, uint64_t now) {
        uint64_t timeout = p->config->type->start_timeout_usec;

        if (timeout == USEC_INFINITY || now - p->opened_usec < timeout)
                return timeout == USEC_INFINITY ? USEC_INFINITY : p->opened_usec + timeout;
        if (!p->reason)
                pool_set_reason(p, "its workers were not ready within StartTimeout=");
        pool_settle(p);
        return USEC_INFINITY;
}

/* Returns when the time of one that closes is over. */
static uint64_t check_close(Pool *p, uint64_t now) {
        if (now < p->close_until)
                return p->close_until;
        p->close_until = 0;
        pool_abort(p, "its pool was closed, and the time for that is over");
        return USEC_INFINITY;
}

void pool_check(Pool *p) {
        uint64_t now = now_usec(), next = now + CHECK_USEC;

        pool_recount(p);
        pool_breaker_check(p, now);
        pool_check_late(p);
        check_full(p);
        if (p->permanent || p->state == POOL_CLOSING || !check_recycling(p, now))
                next = MIN(next, pool_shrink(p, now));
        pool_grow(p, now);
        next = MIN(next, p->spawn_next);
        check_full(p);
        check_drained(p);
        if (!p->settled)
                next = MIN(next, settle_late(p, now));
        if (p->close_until > 0)
                next = MIN(next, check_close(p, now));
        if (p->spawn_after > now)
                next = MIN(next, p->spawn_after);
        if (p->breaker == BREAKER_HALF_OPEN)
                next = MIN(next, now + MIN(p->config->healthy_usec, (uint64_t) USEC_PER_SEC));
        timer_arm(&p->host->timers, &p->timer, next);
        if (p->state == POOL_CLOSING && p->changed && pool_empty(p))
                p->changed(p);
}

static void on_timer(Timer *t) {
        pool_dispatch_later(CONTAINER_OF(t, Pool, timer));
}

void pool_start(Pool *p) {
        pool_event(p, POOL_EV_BEGIN);
        pool_dispatch_later(p);
}

void pool_resume_dispatch(Pool *p) {
        pool_dispatch_later(p);
}

int pool_scale(Pool *p, unsigned target) {
        EventFields f = pool_fields(p);

        if (p->state == POOL_CLOSING)
                return -ESHUTDOWN;
        if (target < p->config->min || target > p->config->max)
                return -ERANGE;
        p->target = target;
        event_send(p->host, EVENT_POOL_SCALED, &f, "Pool %s is scaled to %u worker%s", p->name, target, plural(target));
        pool_event(p, POOL_EV_SCALE);
        pool_touched(p);
        pool_dispatch_later(p);
        return 0;
}

void pool_drain(Pool *p) {
        EventFields f = pool_fields(p);

        if (p->state == POOL_CLOSING || pool_held(p))
                return;
        event_send(p->host, EVENT_POOL_DRAINED, &f, "Pool %s is drained: running jobs finish, queued ones wait", p->name);
        pool_event(p, POOL_EV_DRAIN);
        pool_touched(p);
        pool_dispatch_later(p);
}

void pool_resume(Pool *p) {
        EventFields f = pool_fields(p);

        if (p->state == POOL_CLOSING || (p->state == POOL_RUNNING && p->breaker == BREAKER_CLOSED))
                return;
        event_send(p->host, EVENT_POOL_RESUMED, &f, "Pool %s is resumed", p->name);
        pool_set_reason(p, NULL);
        pool_breaker_reset(p);
        p->permanent = false;
        pool_event(p, POOL_EV_RESUME);
        pool_touched(p);
        pool_dispatch_later(p);
}

void pool_reopen(Pool *p) {
        pool_event(p, POOL_EV_REOPEN);
        pool_set_reason(p, NULL);
        pool_breaker_reset(p);
        p->permanent = p->settled = false;
        p->close_until = 0;
        p->opened_usec = now_usec();
}

void pool_reconfigure(Pool *p, PoolConfig *config) {
        PoolConfig *old = p->config;

        p->config = pool_config_ref(config);
        job_queue_set_aging(&p->queue, config->priority_aging_usec);
        if (old->session_exclusive != config->session_exclusive || old->affinity != config->affinity || old->tier != config->tier)
                pool_forget_sessions(p);
        if (worker_type_equal(old->type, config->type)) /* the same in other words: running workers stay */
                LIST_FOREACH(l, &p->workers) {
                        Worker *w = list_entry(l, Worker, link);

                        if (w->type == old->type) {
                                worker_type_unref(w->type);
                                w->type = worker_type_ref(config->type);
                        }
                }
        else { /* those that run finish what they have; new jobs are for new workers */
                LIST_FOREACH_SAFE(l, n, &p->workers)
                        worker_drain(list_entry(l, Worker, link), USEC_INFINITY, "is being replaced: its definition has changed");
                p->memory_seen = p->memory_each = 0;
                pool_recount(p);
                /* and what was broken may be mended */
                if (p->breaker != BREAKER_CLOSED || p->permanent)
                        pool_set_reason(p, NULL);
                pool_breaker_reset(p);
                p->permanent = false;
                pool_event(p, POOL_EV_RENEWED);
        }
        if (p->target > 0)
                p->target = MAX(config->min, MIN(p->target, config->max));
        pool_config_unref(old);
        pool_dispatch_later(p);
}

void pool_close(Pool *p) {
        pool_event(p, POOL_EV_CLOSE);
        hook_drop(p);
        hook_hurry(p, HOOK_CLOSE_USEC);
        p->target = 0;
        if (!p->stopping)
                pool_leave_waiting(p, false);
        pool_dispatch_later(p);
}

static void suspend_one(Job *j, void *userdata) {
        pool_suspend_job(userdata, j);
}

void pool_close_by(Pool *p, uint64_t usec) {
        uint64_t until = usec >= USEC_INFINITY - now_usec() ? USEC_INFINITY : now_usec() + usec;

        p->close_until = p->close_until == 0 ? until : MIN(p->close_until, until);
        pool_dispatch_later(p);
}

void pool_stop(Pool *p) {
        p->stopping = true;
        pool_foreach_queued(p, suspend_one, p);
        LIST_FOREACH_SAFE(l, n, &p->waiting)
                pool_suspend_job(p, list_entry(l, Job, queue_link));
        pool_close(p);
}

bool pool_empty(const Pool *p) {
        return list_empty(&p->workers) && p->n_queued == 0 && list_empty(&p->waiting) && !p->hook.worker;
}

void pool_abort(Pool *p, const char *why) {
        pool_leave_queue(p);
        if (!p->stopping)
                pool_leave_waiting(p, true);
        pool_fail_queue(p, "PoolUnavailable", why);
        LIST_FOREACH_SAFE(l, n, &p->waiting) {
                Job *j = list_entry(l, Job, queue_link);

                if (j->stored)
                        continue; /* it is on its way to the next run */
                if (j->recording)
                        j->cancel_wanted = true;
                else
                        pool_end_queued(p, j, FRAME_CANCELLED, NULL, why);
        }
        LIST_FOREACH_SAFE(l, n, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                for (unsigned i = 0; i < w->n_slots; i++)
                        if (w->slots[i].state == SLOT_RUNNING && !(p->stopping && w->slots[i].job->stored))
                                worker_end_job(w, w->slots[i].job, FRAME_CANCELLED, why);
                worker_stop(w, why);
        }
        if (p->hook.worker)
                worker_stop(p->hook.worker, why);
}

void pool_recycle(Pool *p, Worker *w) {
        if (w->state >= WORKER_DRAINING)
                return;
        w->recycle = true;
        pool_dispatch_later(p);
}
