/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A pool. Jobs come in by pool_submit() and go out by the workers' callbacks. Everything that may change what should run is followed by a
 * deferred dispatch at the end of the round, which fills free slots from the queue and then looks at the size.
 *
 * Size: at least the target (Min=, or what an operator said), at most Max=; in between one more worker for each queued job that no free or
 * starting slot will take. After a crash nothing is started for a while, twice as long each time, until a worker has lived for
 * HealthyAfter=. Too many crashes in a window open the breaker: the pool is degraded, and one worker is tried after the cool-down.
 */

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/fault.h"
#include "pool/durable.h"
#include "pool/pool-internal.h"

#define RESTART_JITTER 20U                    /* percent */
#define CHECK_USEC (5 * USEC_PER_SEC)         /* how often ages and sizes are looked at when nothing happens */
#define SPAWN_ROUND_MAX 16U                   /* workers that are started in one round */
#define EXIT_PERMANENT 125

static void on_dispatch(Defer *d);
static void on_timer(Timer *t);
static void pool_check(Pool *p);

static const char *const state_names[_POOL_STATE_MAX] = {
        [POOL_STARTING] = "starting",
        [POOL_RUNNING] = "running",
        [POOL_DEGRADED] = "degraded",
        [POOL_PAUSED] = "paused",
        [POOL_FAILED] = "failed",
        [POOL_CLOSING] = "closing",
};

const char *pool_state_to_string(PoolState s) {
        return state_names[s];
}

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
        list_init(&p->queue);
        list_init(&p->waiting);
        p->dispatch.run = on_dispatch;
        p->timer.fire = on_timer;
        *ret = p;
        return 0;
}

Pool *pool_free(Pool *p) {
        if (!p)
                return NULL;
        assert(pool_empty(p));
        timer_disarm(&p->host->timers, &p->timer);
        hot_undefer(&p->dispatch);
        list_remove(&p->link);
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

static void set_state(Pool *p, PoolState s) {
        if (p->state == s)
                return;
        p->state = s;
        if (p->changed)
                p->changed(p);
}

static void set_reason(Pool *p, const char *text) {
        char *copy = text ? strdup(text) : NULL;

        free(p->reason);
        p->reason = copy;
}

static void settle(Pool *p) {
        if (p->settled)
                return;
        p->settled = true;
        if (p->changed)
                p->changed(p);
}

static unsigned pool_floor(const Pool *p) {
        if (p->config->tier == TIER_COLD)
                return 0;
        return MAX(p->target, p->config->min);
}

static bool single_job(const Pool *p) {
        return p->config->type->protocol == PROTOCOL_EXEC || p->config->tier == TIER_COLD;
}

unsigned pool_capacity(const Pool *p) {
        unsigned slots = single_job(p) ? 1 : p->config->type->slots;

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
        if (p->n_usable + p->n_starting < p->config->max && p->n_workers < 2 * p->config->max && p->state != POOL_DEGRADED && p->state != POOL_FAILED &&
            now_usec() >= p->spawn_after)
                room += (uint64_t) (p->config->max - p->n_usable - p->n_starting) * slots;
        return p->state == POOL_PAUSED ? 0 : room;
}

bool pool_held(const Pool *p) {
        return p->state == POOL_PAUSED;
}

/* --- workers --- */

static void pool_worker_gone(Pool *p, Worker *w) {
        p->n_workers--;
        worker_free(w);
}

void pool_recount(Pool *p) {
        p->n_starting = p->n_usable = 0;
        LIST_FOREACH(l, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                p->n_starting += w->state == WORKER_STARTING;
                p->n_usable += w->state == WORKER_READY || w->state == WORKER_BUSY;
        }
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
        if (w->jobs_done == 0 && w->state == WORKER_READY && w->n_running == 0) {
                EventFields f = worker_fields(w);

                event_send(p->host, EVENT_WORKER_READY, &f, "%s is ready", w->name);
                pool_recount(p);
        }
        pool_dispatch_later(p);
}

/* Jobs that may go elsewhere do, the others end. */
static void fail_queue(Pool *p, const char *code, const char *why) {
        EventFields f = pool_fields(p);
        unsigned moved = 0;
        Job *j;

        while ((j = list_first_entry(&p->queue, Job, queue_link)))
                if (p->state != POOL_CLOSING && p->jobs->stranded && p->jobs->stranded(p->jobs, j))
                        moved++;
                else
                        pool_end_queued(p, j, FRAME_FAILED, code, why);
        if (moved > 0)
                event_send(p->host, EVENT_JOB_REQUEUED, &f, "%u queued job%s of pool %s went to other pools: %s", moved, plural(moved), p->name, strna(why));
}

/* After a crash of a worker that was ready for `lived`, or that could not even be started: backoff, and the breaker. */
static void count_crash(Pool *p, uint64_t lived, const char *how, bool of_pool) {
        const PoolConfig *c = p->config;
        uint64_t now = now_usec();
        unsigned limit = c->breaker_crashes > 0 ? MIN(c->breaker_crashes, BREAKER_CRASHES_MAX) : 1;
        EventFields f = pool_fields(p);
        char span[64];

        p->stats.crashes++;
        if (lived >= c->healthy_usec)
                p->restart_delay = c->restart_usec;
        p->spawn_after = now + usec_jitter(p->restart_delay, RESTART_JITTER);
        p->restart_delay = MIN(p->restart_delay * 2, c->restart_max_usec);

        if (!of_pool) /* a job that has killed workers before: it will be given up, the pool is not to blame */
                return;
        p->crash_times[p->crash_at++ % limit] = now;
        uint64_t oldest = p->crash_times[p->crash_at % limit];
        bool probing = p->state == POOL_DEGRADED && lived < c->healthy_usec;
        if (c->breaker_crashes == 0 || (!probing && (oldest == 0 || now - oldest > c->breaker_window_usec)))
                return;
        p->breaker_until = p->spawn_after = now + usec_jitter(c->breaker_cooldown_usec, RESTART_JITTER);
        _cleanup_free_ char *text = str_printf("%u workers crashed within %s, the last one %s", limit,
                                               usec_format(span, sizeof(span), c->breaker_window_usec), how);
        if (p->state == POOL_DEGRADED)
                return;
        set_reason(p, text);
        event_send(p->host, EVENT_POOL_DEGRADED, &f, "Pool %s is degraded: %s; trying again in %s", p->name, strna(text),
                   usec_format(span, sizeof(span), c->breaker_cooldown_usec));
        if (p->state != POOL_PAUSED && p->state != POOL_CLOSING)
                set_state(p, POOL_DEGRADED);
        settle(p);
        if (p->n_usable == 0) /* like a new one, which would be refused */
                fail_queue(p, "PoolUnavailable", p->reason);
}

static void permanent(Pool *p, Worker *w) {
        EventFields f = worker_fields(w);

        set_reason(p, "its worker exited with status 125, which means: do not restart");
        event_send(p->host, EVENT_WORKER_PERMANENT, &f, "%s exited with status 125: pool %s is not restarted until 'flowctl pool resume %s'",
                   w->name, p->name, p->name);
        if (p->state != POOL_CLOSING)
                set_state(p, POOL_FAILED);
        settle(p);
        if (p->n_usable == 0)
                fail_queue(p, "PoolUnavailable", p->reason);
}

static void on_worker_dead(Worker *w) {
        Pool *p = w->pool;
        EventFields f = worker_fields(w);
        char how[400];
        bool by_job = w->single_job && w->jobs_done > 0; /* exec: its exit was the job's end */

        worker_describe_exit(w, how, sizeof(how));
        snprintf(p->last_exit, sizeof(p->last_exit), "%s %.150s", w->name, how);
        pool_recount(p);
        if (w->exit_code == CLD_EXITED && w->exit_status == EXIT_PERMANENT && !by_job && p->config->tier != TIER_COLD)
                permanent(p, w);
        else if (w->stop_wanted || by_job)
                event_send(p->host, EVENT_WORKER_EXITED, &f, "%s %s", w->name, how);
        else if (w->exit_status == 0 && w->exit_code == CLD_EXITED && !w->failed_start && !w->reason)
                event_send(p->host, EVENT_WORKER_EXITED, &f, "%s %s by itself", w->name, how); /* allowed: it is replaced */
        else {
                _cleanup_free_ char *tail = worker_stderr_tail(w, 512);

                event_send(p->host, w->failed_start ? EVENT_WORKER_FAILED : EVENT_WORKER_CRASHED, &f, "%s %s%s%s%s", w->name,
                           w->failed_start ? "failed to start: it " : "", how, tail && *tail ? "; it last said: " : "", strempty(tail));
                count_crash(p, w->ready_usec > 0 ? now_usec() - w->ready_usec : 0, how, !w->poisoned);
        }
        pool_worker_gone(p, w);
        pool_recount(p);
        if (p->state == POOL_FAILED && p->n_usable == 0)
                fail_queue(p, "PoolUnavailable", p->reason);
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
                p->notify(p, text, size);
}

static const WorkerOps worker_ops = {
        .ready = on_worker_ready,
        .job_end = pool_job_end,
        .job_lost = pool_job_lost,
        .job_released = pool_job_released,
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
                .single_job = single_job(p),
                .job = job,
        };
}

static Worker *spawn_one(Pool *p, const Job *job) {
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
                count_crash(p, 0, text, true);
                return NULL;
        }
        p->stats.spawned++;
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

/* --- dispatch --- */

static bool give(Pool *p, Worker *w, Job *j) {
        _cleanup_free_ char *why = NULL;
        int r;

        pool_unqueue(p, j);
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
        return true;
}

static Worker *next_free(Pool *p) {
        List *n;

        while ((n = list_first(&p->free_workers))) {
                Worker *w = list_entry(n, Worker, free_link);

                if (worker_has_slot(w))
                        return w;
                list_remove(&w->free_link);
        }
        return NULL;
}

static bool may_spawn(const Pool *p, uint64_t now) {
        /* one process a job: those that are ending count. Others may be replaced while they finish what they have. */
        unsigned bound = single_job(p) ? p->config->max : 2 * p->config->max;

        return p->n_workers < bound && p->n_usable + p->n_starting < p->config->max && now >= p->spawn_after && p->state != POOL_FAILED;
}

/* exec and cold: a worker is started for the job, so that its environment can name it. */
static bool spawn_for(Pool *p, Job *j) {
        if (!may_spawn(p, now_usec()) || (p->state == POOL_DEGRADED && p->n_workers > 0))
                return false;
        Worker *w = spawn_one(p, j);
        return w && w->state == WORKER_READY && give(p, w, j);
}

static void on_dispatch(Defer *d) {
        Pool *p = CONTAINER_OF(d, Pool, dispatch);
        Job *j;

        while (p->state != POOL_PAUSED && !p->host->hold && (j = list_first_entry(&p->queue, Job, queue_link))) {
                Worker *w = next_free(p);

                if (!w) {
                        if (p->config->tier == TIER_COLD && p->config->type->protocol == PROTOCOL_EXEC && spawn_for(p, j))
                                continue;
                        break;
                }
                (void) give(p, w, j);
                if (!worker_has_slot(w))
                        list_remove(&w->free_link);
                else if (list_first(&p->free_workers) == &w->free_link && w->n_slots > 1) {
                        list_remove(&w->free_link); /* several slots: spread over the workers */
                        list_append(&p->free_workers, &w->free_link);
                }
        }
        pool_check(p);
}

/* --- size --- */

static void recovered(Pool *p) {
        EventFields f = pool_fields(p);

        if (p->state == POOL_STARTING) {
                if (p->n_usable < pool_floor(p))
                        return;
                event_send(p->host, EVENT_POOL_READY, &f, "Pool %s is ready with %u workers", p->name, p->n_usable);
                set_reason(p, NULL);
                set_state(p, POOL_RUNNING);
                settle(p);
                return;
        }
        /* degraded: a worker has to have lived through HealthyAfter= first */
        LIST_FOREACH(l, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                if ((w->state == WORKER_READY || w->state == WORKER_BUSY) && w->ready_usec > 0 && now_usec() - w->ready_usec >= p->config->healthy_usec) {
                        p->restart_delay = p->config->restart_usec;
                        memset(p->crash_times, 0, BREAKER_CRASHES_MAX * sizeof(uint64_t));
                        set_reason(p, NULL);
                        event_send(p->host, EVENT_POOL_RECOVERED, &f, "Pool %s has recovered", p->name);
                        set_state(p, POOL_RUNNING);
                        return;
                }
        }
        if (p->config->tier == TIER_COLD || pool_floor(p) == 0) {
                if (now_usec() >= p->breaker_until && p->n_workers == 0 && p->breaker_until > 0) {
                        p->breaker_until = 0;
                        set_reason(p, NULL);
                        event_send(p->host, EVENT_POOL_RECOVERED, &f, "Pool %s is tried again after its cool-down", p->name);
                        set_state(p, POOL_RUNNING);
                }
        }
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
        } else if (p->n_starting == 0 && now >= p->spawn_after)
                (void) spawn_one(p, NULL); /* one above Max= for a moment */
        return true;
}

static unsigned wanted_workers(const Pool *p) {
        unsigned slots = MAX(pool_capacity(p) / MAX(p->config->max, 1U), 1U), free_slots = 0;

        LIST_FOREACH(l, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                if (w->state == WORKER_STARTING)
                        free_slots += w->n_slots;
                else if (worker_has_slot(w))
                        free_slots += w->n_slots - w->n_running - w->n_fenced;
        }
        unsigned have = p->n_usable + p->n_starting, more = 0;
        if (p->n_queued > free_slots && p->state != POOL_PAUSED)
                more = (p->n_queued - free_slots + slots - 1) / slots;
        return MAX(pool_floor(p), MIN(have + more, p->config->max));
}

static void grow(Pool *p, uint64_t now) {
        unsigned wanted = wanted_workers(p);

        if (p->config->tier == TIER_COLD && p->config->type->protocol == PROTOCOL_EXEC)
                return; /* started by dispatch, for their job */
        if (p->state == POOL_DEGRADED)
                wanted = p->n_usable + MIN(wanted - MIN(wanted, p->n_usable), 1U); /* a probe at a time */
        if (p->state == POOL_CLOSING && p->n_queued == 0)
                return;
        for (unsigned i = 0; p->n_usable + p->n_starting < wanted && may_spawn(p, now); i++) {
                if (i == SPAWN_ROUND_MAX) { /* the rest after everybody else's turn */
                        p->spawn_after = now + 1;
                        return;
                }
                if (!spawn_one(p, NULL))
                        return;
        }
}

/* Stops workers above the floor that have been idle for long, or are above Max=; never a busy one. Returns when to look again. */
static uint64_t shrink(Pool *p, uint64_t now) {
        unsigned floor_ = p->state == POOL_CLOSING && p->n_queued == 0 ? 0 : pool_floor(p), usable = p->n_usable;
        uint64_t next = USEC_INFINITY, idle = p->config->idle_timeout_usec;

        if (p->target > 0) /* scaled by hand: down to it at once */
                idle = 0;
        if (p->state == POOL_CLOSING && p->n_queued == 0)
                idle = 0;
        LIST_FOREACH_SAFE(l, n, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                if (usable <= floor_)
                        break;
                if (w->state != WORKER_READY)
                        continue;
                if (usable > p->config->max || idle == 0 || (idle != USEC_INFINITY && now >= w->idle_usec + idle)) {
                        usable--;
                        worker_drain(w, USEC_INFINITY, NULL);
                } else if (idle != USEC_INFINITY)
                        next = MIN(next, w->idle_usec + idle);
        }
        pool_recount(p);
        return next;
}

/* A pool that is not full within StartTimeout= keeps nobody waiting any longer. Returns when that is. */
static uint64_t settle_late(Pool *p, uint64_t now) {
        uint64_t timeout = p->config->type->start_timeout_usec;

        if (timeout == USEC_INFINITY || now - p->opened_usec < timeout)
                return timeout == USEC_INFINITY ? USEC_INFINITY : p->opened_usec + timeout;
        if (!p->reason)
                set_reason(p, "its workers were not ready within StartTimeout=");
        settle(p);
        return USEC_INFINITY;
}

static void pool_check(Pool *p) {
        uint64_t now = now_usec(), next = now + CHECK_USEC;

        pool_recount(p);
        if (p->state == POOL_STARTING || p->state == POOL_DEGRADED)
                recovered(p);
        if (p->state == POOL_FAILED || p->state == POOL_CLOSING || !check_recycling(p, now))
                next = MIN(next, shrink(p, now));
        grow(p, now);
        if (p->state == POOL_STARTING)
                recovered(p);
        if (!p->settled)
                next = MIN(next, settle_late(p, now));
        if (p->spawn_after > now)
                next = MIN(next, p->spawn_after);
        if (p->state == POOL_DEGRADED)
                next = MIN(next, now + MIN(p->config->healthy_usec, (uint64_t) USEC_PER_SEC));
        timer_arm(&p->host->timers, &p->timer, next);
        if (p->state == POOL_CLOSING && p->changed && pool_empty(p))
                p->changed(p);
}

static void on_timer(Timer *t) {
        pool_dispatch_later(CONTAINER_OF(t, Pool, timer));
}

void pool_start(Pool *p) {
        pool_dispatch_later(p);
}

void pool_resume_dispatch(Pool *p) {
        pool_dispatch_later(p);
}

int pool_scale(Pool *p, unsigned target) {
        EventFields f = pool_fields(p);

        if (target < p->config->min || target > p->config->max)
                return -ERANGE;
        p->target = target;
        event_send(p->host, EVENT_POOL_SCALED, &f, "Pool %s is scaled to %u workers", p->name, target);
        pool_dispatch_later(p);
        return 0;
}

void pool_pause(Pool *p) {
        EventFields f = pool_fields(p);

        if (p->state == POOL_CLOSING || p->state == POOL_PAUSED)
                return;
        event_send(p->host, EVENT_POOL_DRAINED, &f, "Pool %s is drained: running jobs finish, queued ones wait", p->name);
        set_state(p, POOL_PAUSED);
}

void pool_resume(Pool *p) {
        EventFields f = pool_fields(p);

        if (p->state == POOL_CLOSING || p->state == POOL_RUNNING)
                return;
        event_send(p->host, EVENT_POOL_RESUMED, &f, "Pool %s is resumed", p->name);
        set_reason(p, NULL);
        p->spawn_after = p->breaker_until = 0;
        p->restart_delay = p->config->restart_usec;
        memset(p->crash_times, 0, BREAKER_CRASHES_MAX * sizeof(uint64_t));
        set_state(p, POOL_STARTING);
        pool_dispatch_later(p);
}

void pool_reconfigure(Pool *p, PoolConfig *config) {
        PoolConfig *old = p->config;

        p->config = pool_config_ref(config);
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
                pool_recount(p);
                /* and what was broken may be mended */
                p->spawn_after = p->breaker_until = 0;
                p->restart_delay = config->restart_usec;
                if (p->state == POOL_DEGRADED || p->state == POOL_FAILED)
                        set_state(p, POOL_STARTING);
        }
        if (p->target > 0)
                p->target = MAX(config->min, MIN(p->target, config->max));
        pool_config_unref(old);
        pool_dispatch_later(p);
}

void pool_close(Pool *p) {
        set_state(p, POOL_CLOSING);
        p->target = 0;
        if (!p->stopping)
                pool_leave_waiting(p);
        pool_dispatch_later(p);
}

void pool_stop(Pool *p) {
        List *const lists[] = { &p->queue, &p->waiting };

        p->stopping = true;
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                LIST_FOREACH_SAFE(l, n, lists[i])
                        pool_suspend_job(p, list_entry(l, Job, queue_link));
        pool_close(p);
}

bool pool_empty(const Pool *p) {
        return list_empty(&p->workers) && list_empty(&p->queue) && list_empty(&p->waiting);
}

void pool_abort(Pool *p, const char *why) {
        fail_queue(p, "PoolUnavailable", why);
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
}

void pool_recycle(Pool *p, Worker *w) {
        if (w->state >= WORKER_DRAINING)
                return;
        w->recycle = true;
        pool_dispatch_later(p);
}
