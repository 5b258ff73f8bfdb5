/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The size of a pool: what scale.c decides is done here, within what may be started: SpawnRate= of the pool, and MemoryBudget= of all pools
 * together. The budget counts each worker as the largest resident set that any worker of its pool has been seen with (before that, as
 * MemoryMax=; where there is none, one worker is started alone, so that it can be looked at). Workers up to Min= are always started. Where
 * the budget is passed nevertheless, because workers have grown, idle ones above Min= are stopped without waiting for IdleTimeout=.
 */

#include <stdarg.h>
#include <stdio.h>

#include "pool/pool-internal.h"

#define SPAWN_ROUND_MAX 16U                      /* workers that are started in one round */
#define SCALE_TELL_USEC (10 * USEC_PER_SEC)      /* the same decision is told of so often */
#define LIMIT_TELL_USEC (60 * USEC_PER_SEC)      /* a limit that is hit likewise */
#define LIMIT_CHECK_USEC (100 * USEC_PER_MSEC)   /* how often is looked whether another pool has given memory back */
#define RSS_SAMPLE_USEC (100 * USEC_PER_MSEC)    /* one worker is looked at so often */

/* --- slow start --- */

static uint64_t ramp_left(const Pool *p, const Worker *w, uint64_t now) {
        uint64_t age = now - MIN(w->ready_usec, now);

        return w->n_slots > 1 && age < p->config->slow_start_usec ? p->config->slow_start_usec - age : 0;
}

bool pool_has_room(const Pool *p, const Worker *w) {
        if (!worker_has_slot(w))
                return false;
        if (p->config->slow_start_usec == 0 || w->n_slots == 1)
                return true;
        uint64_t now = now_usec();
        return w->n_running + w->n_fenced < slow_start_slots(w->n_slots, now - MIN(w->ready_usec, now), p->config->slow_start_usec);
}

/* When a worker may take another job because it has grown older. */
static uint64_t next_slot(const Pool *p, uint64_t now) {
        uint64_t next = USEC_INFINITY;

        if (p->config->slow_start_usec == 0 || p->n_queued == 0)
                return next;
        LIST_FOREACH(l, (List *) &p->free_workers) {
                const Worker *w = list_entry(l, Worker, free_link);

                if (ramp_left(p, w, now) > 0)
                        next = MIN(next, now + p->config->slow_start_usec / w->n_slots + 1);
        }
        return next;
}

/* --- memory --- */

void pool_count_memory(Pool *p) {
        uint64_t planned = p->n_workers * p->memory_each;

        p->host->memory_planned += planned - p->memory_planned;
        p->memory_planned = planned;
}

void pool_sample_memory(Pool *p, Worker *w) {
        if (p->host->memory_budget == UINT64_MAX)
                return;
        uint64_t rss = worker_rss(w);
        if (rss > p->memory_seen) {
                p->memory_seen = p->memory_each = rss;
                pool_count_memory(p);
        }
}

static void sample_one(Pool *p, uint64_t now) {
        unsigned n = 0;

        if (p->host->memory_budget == UINT64_MAX || now < p->sampled_usec + RSS_SAMPLE_USEC || p->n_workers == 0)
                return;
        p->sampled_usec = now;
        p->sample_at++;
        LIST_FOREACH(l, &p->workers)
                if (n++ == p->sample_at % p->n_workers) {
                        pool_sample_memory(p, list_entry(l, Worker, link));
                        break;
                }
        pool_count_memory(p);
}

static bool over_budget(const Pool *p) {
        return p->host->memory_planned > p->host->memory_budget;
}

/* --- what may be started --- */

static void tell_limit(Pool *p, uint64_t now, const char *format, ...) _printf_(3, 4);
static void tell_limit(Pool *p, uint64_t now, const char *format, ...) {
        EventFields f = pool_fields(p);
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(p->limited, sizeof(p->limited), format, ap);
        va_end(ap);
        if (p->limit_told > 0 && now - p->limit_told < LIMIT_TELL_USEC)
                return;
        p->limit_told = now;
        event_send(p->host, EVENT_POOL_LIMITED, &f, "Pool %s wants another worker than its %u, and may not start it: %s", p->name, p->n_workers, p->limited);
}

bool pool_admit_spawn(Pool *p, uint64_t now) {
        const Host *h = p->host;
        char a[16], b[16];
        uint64_t wait = 0;

        if (p->n_usable + p->n_starting < p->config->min)
                return true;
        if (h->memory_budget != UINT64_MAX) {
                uint64_t each = p->memory_each > 0 ? p->memory_each : p->config->type->memory_max != UINT64_MAX ? p->config->type->memory_max : 0;

                if (p->memory_each == 0) {
                        p->memory_each = each;
                        pool_count_memory(p);
                }
                if (each == 0 && p->n_workers > 0) { /* the first one is not measured yet */
                        p->spawn_next = MIN(p->spawn_next, now + LIMIT_CHECK_USEC);
                        return false;
                }
                if (h->memory_planned + each > h->memory_budget || h->memory_planned >= h->memory_budget) {
                        p->spawn_next = MIN(p->spawn_next, now + LIMIT_CHECK_USEC);
                        tell_limit(p, now, "MemoryBudget=%s, of which %s are in use", size_format(a, sizeof(a), h->memory_budget),
                                   size_format(b, sizeof(b), h->memory_planned));
                        return false;
                }
        }
        if (!token_bucket_take(&p->spawns, p->config->spawn_rate, p->config->spawn_burst, now, &wait)) {
                p->spawn_next = MIN(p->spawn_next, now + wait);
                tell_limit(p, now, "SpawnRate=%u a second", p->config->spawn_rate);
                return false;
        }
        p->limited[0] = 0;
        return true;
}

bool pool_memory_left(const Pool *p) {
        return p->host->memory_budget == UINT64_MAX || p->host->memory_planned + p->memory_each <= p->host->memory_budget;
}

/* --- the decision --- */

static ScaleDecision decide(Pool *p, uint64_t now) {
        const PoolConfig *c = p->config;
        ScaleInput in = { .now = now, .usable = p->n_usable, .starting = p->n_starting, .running = p->n_running };
        ScaleLimits l = {
                .floor = pool_floor(p),
                .max = c->max,
                .slots = MAX(pool_capacity(p) / MAX(c->max, 1U), 1U),
                .up_at = c->scale_up_at,
                .down_at = c->scale_down_at,
                .cooldown_usec = c->scale_cooldown_usec,
                .prewarm = c->prewarm && c->tier == TIER_WARM && !pool_held(p),
        };

        if (!pool_held(p))
                in.queued = p->n_queued - p->n_parked;
        LIST_FOREACH(k, &p->workers) {
                Worker *w = list_entry(k, Worker, link);

                if (w->state == WORKER_STARTING)
                        in.free_slots += w->n_slots;
                else if (worker_has_slot(w))
                        in.free_slots += w->n_slots - w->n_running - w->n_fenced;
        }
        ScaleDecision d = scale_decide(&p->scale, &in, &l);
        p->scale_wanted = d.wanted;
        p->scale_reason = d.reason;
        return d;
}

static void tell_scaled(Pool *p, uint64_t now, unsigned from, unsigned to, ScaleReason reason) {
        EventFields f = pool_fields(p);
        const char *why = to < from ? "they had nothing to do" : reason == SCALE_UTILISATION ? "they are busier than ScaleUpAt=" :
                          reason == SCALE_ARRIVALS ? "so much work is expected (PreWarm=)" : "jobs wait";
        bool same = (to > from) == p->scale_told_up && reason == p->scale_told;

        if (p->scale_told_usec > 0 && same && now - p->scale_told_usec < SCALE_TELL_USEC)
                return;
        p->scale_told_usec = now;
        p->scale_told = reason;
        p->scale_told_up = to > from;
        event_send(p->host, EVENT_POOL_AUTOSCALED, &f, "Pool %s goes from %u worker%s to %u: %s", p->name, from, plural(from), to, why);
}

/* --- exclusive --- */

/* Workers that belong to a session, or finish what one has left. */
static unsigned n_bound(const Pool *p) {
        unsigned n = 0;

        LIST_FOREACH(l, (List *) &p->workers) {
                const Worker *w = list_entry(l, Worker, link);

                n += (w->state == WORKER_READY || w->state == WORKER_BUSY) && !pool_worker_fresh(w);
        }
        return n;
}

/* What a session has left is not for another one. Nobody can use it, so its successor need not be there first. */
static void replace_used(Pool *p) {
        LIST_FOREACH_SAFE(l, n, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                if (w->state == WORKER_READY && w->n_sessions == 0 && !pool_worker_fresh(w) && w->n_running + w->n_fenced == 0)
                        worker_drain(w, USEC_INFINITY, NULL);
        }
        pool_recount(p);
}

/* --- up and down --- */

void pool_grow(Pool *p, uint64_t now) {
        ScaleDecision d = decide(p, now);
        unsigned have = p->n_usable + p->n_starting;

        p->spawn_next = MIN(d.next_usec, next_slot(p, now));
        if (p->config->tier == TIER_COLD && p->config->type->protocol == PROTOCOL_EXEC)
                return; /* started by dispatch, for their job */
        if (pool_exclusive(p)) {
                d.wanted = MAX(pool_floor(p), MIN(n_bound(p) + p->n_session_wait + p->queue.n, p->config->max));
                d.reason = SCALE_QUEUE;
        }
        if (p->breaker != BREAKER_CLOSED)
                d.wanted = p->n_usable + MIN(d.wanted - MIN(d.wanted, p->n_usable), 1U); /* a probe at a time */
        if (p->state == POOL_CLOSING && p->n_queued == 0)
                return;
        if (have >= d.wanted)
                p->limited[0] = 0;
        for (unsigned i = 0; p->n_usable + p->n_starting < d.wanted && pool_may_spawn(p, now) && pool_admit_spawn(p, now); i++) {
                if (i == SPAWN_ROUND_MAX) { /* the rest after everybody else's turn */
                        p->spawn_after = now + 1;
                        break;
                }
                if (!pool_spawn(p, NULL))
                        return;
        }
        if (p->n_usable + p->n_starting > have && d.reason != SCALE_FLOOR && have >= pool_floor(p)) {
                scale_grown(&p->scale, now);
                tell_scaled(p, now, have, p->n_usable + p->n_starting, d.reason);
        }
}

/* It closes, and nothing waits for them any more. */
static void drain_starting(Pool *p) {
        LIST_FOREACH_SAFE(l, n, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                if (w->state == WORKER_STARTING)
                        worker_drain(w, USEC_INFINITY, NULL);
        }
        pool_recount(p);
}

uint64_t pool_shrink(Pool *p, uint64_t now) {
        bool ending = p->state == POOL_CLOSING && p->n_queued == 0;
        unsigned floor_ = ending ? 0 : pool_floor(p), keep = floor_, usable;
        uint64_t next = USEC_INFINITY, idle = p->config->idle_timeout_usec;

        sample_one(p, now);
        if (pool_exclusive(p) && p->state != POOL_CLOSING)
                replace_used(p);
        if (ending && p->n_starting > 0)
                drain_starting(p);
        usable = p->n_usable;
        if (usable <= floor_)
                return next;
        if (p->target > 0 || ending || over_budget(p)) /* scaled by hand: down to it at once */
                idle = 0;
        else
                keep = decide(p, now).keep;
        LIST_FOREACH_SAFE(l, n, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                if (usable <= keep)
                        break;
                if (w->state != WORKER_READY || (w->n_sessions > 0 && pool_exclusive(p) && !ending))
                        continue;
                if (usable > p->config->max || idle == 0 || (idle != USEC_INFINITY && now >= w->idle_usec + idle)) {
                        usable--;
                        worker_drain(w, USEC_INFINITY, NULL);
                } else if (idle != USEC_INFINITY)
                        next = MIN(next, w->idle_usec + idle);
        }
        if (usable < p->n_usable && !ending && p->target == 0) {
                scale_shrunk(&p->scale, now);
                tell_scaled(p, now, p->n_usable, usable, SCALE_HAVE);
        }
        pool_recount(p);
        return next;
}
