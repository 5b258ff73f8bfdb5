/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The circuit breaker of a pool, and the backoff before each start of a worker.
 *
 * After a crash nothing is started for RestartDelay=, twice as long each time, until a worker has lived for HealthyAfter=, or workers could be started
 * for so long without a crash. BreakerCrashes= crashes
 * within BreakerWindow= open the breaker: nothing is started for BreakerCooldown=. Then it is half open: one worker at a time is a probe. One that lives
 * for HealthyAfter=, or BreakerProbes= jobs that are answered, close it; a crash of a probe opens it anew.
 *
 * A job that has killed a worker before does not count there (it will be given up), and neither does what flowd itself ended. But where no job
 * is answered between crashes, all of them count, however far apart the backoff keeps them: as many as BreakerCrashes=, and more than one job
 * alone may cause (MaxCrashes=), open the breaker as well.
 */

#include <stdio.h>

#include "pool/pool-internal.h"

#define RESTART_JITTER 20U /* percent */

static const char *const breaker_names[_BREAKER_MAX] = {
        [BREAKER_CLOSED] = "closed",
        [BREAKER_OPEN] = "open",
        [BREAKER_HALF_OPEN] = "half-open",
};

const char *breaker_to_string(BreakerState b) {
        return breaker_names[b];
}

void pool_breaker_reset(Pool *p) {
        p->breaker = BREAKER_CLOSED;
        p->breaker_until = p->spawn_after = 0;
        p->probes = 0;
        p->crash_run = 0;
        p->restart_delay = p->config->restart_usec;
        memset(p->crash_times, 0, BREAKER_CRASHES_MAX * sizeof(uint64_t));
}

static void breaker_open(Pool *p, uint64_t now, bool in_window, const char *how) {
        const PoolConfig *c = p->config;
        EventFields f = pool_fields(p);
        bool again = p->breaker != BREAKER_CLOSED;
        char a[64], b[64];

        p->breaker = BREAKER_OPEN;
        p->breaker_until = p->spawn_after = now + usec_jitter(c->breaker_cooldown_usec, RESTART_JITTER);
        p->breaker_until_real = realtime_usec() + (p->breaker_until - now);
        p->probes = 0;
        p->stats.breaker_opened++;
        if (again) /* a probe has crashed: nothing new to tell */
                event_send(p->host, EVENT_BREAKER_OPEN, &f, "The probe of pool %s crashed too: it %s; trying again in %s", p->name, how,
                           usec_format(a, sizeof(a), p->breaker_until - now));
        else {
                _cleanup_free_ char *text =
                        in_window ? str_printf("%u worker%s crashed within %s, the last one %s", c->breaker_crashes, plural(c->breaker_crashes),
                                               usec_format(a, sizeof(a), c->breaker_window_usec), how) :
                                    str_printf("%u workers crashed and no job was answered in between, the last one %s", p->crash_run, how);

                pool_set_reason(p, text);
                event_send(p->host, EVENT_POOL_DEGRADED, &f, "Pool %s is degraded: %s; trying again in %s", p->name, strna(text),
                           usec_format(b, sizeof(b), c->breaker_cooldown_usec));
                const PoolDeath *d = pool_last_death(p, NULL);
                hook_tell(p, HOOK_BREAKER_OPEN, d ? d->cause : NULL, d ? d->worker : NULL, d ? d->job : 0, text);
        }
        pool_event(p, POOL_EV_BREAKER_OPENED);
        pool_settle(p);
        if (p->n_usable == 0 && (p->state == POOL_DEGRADED || p->state == POOL_CLOSING)) /* like a new one, which would be refused */
                pool_fail_queue(p, "PoolUnavailable", p->reason);
        pool_touched(p);
}

void pool_crashed(Pool *p, uint64_t lived, const char *how, bool with_job, bool poisoned) {
        const PoolConfig *c = p->config;
        uint64_t now = now_usec();
        unsigned limit = MIN(MAX(c->breaker_crashes, 1U), BREAKER_CRASHES_MAX);

        p->stats.crashes++;
        p->to_restart++;
        /* or nothing has crashed for so long: where a worker is started for each job, none lives that long */
        if (lived >= c->healthy_usec || (p->spawn_after > 0 && now >= p->spawn_after + c->healthy_usec)) {
                p->restart_delay = c->restart_usec;
                if (!with_job)
                        p->crash_run = 0;
        }
        p->spawn_after = MAX(p->spawn_after, now + usec_jitter(p->restart_delay, RESTART_JITTER));
        p->restart_delay = MIN(p->restart_delay * 2, c->restart_max_usec);

        if (poisoned && p->crash_run == 0) /* the others are answered */
                return;
        p->crash_run++;
        bool in_window = false, in_a_row = p->crash_run >= MAX(limit, c->type->max_crashes + 1);
        if (!poisoned) {
                p->crash_times[p->crash_at++ % limit] = now;
                uint64_t oldest = p->crash_times[p->crash_at % limit];
                in_window = oldest > 0 && now - oldest <= c->breaker_window_usec;
        }
        bool probe = p->breaker == BREAKER_HALF_OPEN && lived < c->healthy_usec;
        if (c->breaker_crashes == 0 || (!probe && !in_window && !in_a_row))
                return;
        if (p->breaker != BREAKER_OPEN) /* those that were left may go on dying while it is */
                breaker_open(p, now, in_window, how);
}

static void breaker_close(Pool *p, const char *why) {
        EventFields f = pool_fields(p);

        pool_breaker_reset(p);
        pool_set_reason(p, NULL);
        event_send(p->host, EVENT_POOL_RECOVERED, &f, "Pool %s has recovered: %s", p->name, why);
        pool_event(p, POOL_EV_RECOVERED);
        hook_tell(p, HOOK_BREAKER_CLOSED, NULL, NULL, 0, why);
        pool_touched(p);
}

/* One that was started since. Where none need be, because enough were left then, these are asked. */
static bool is_probe(const Pool *p, const Worker *w) {
        return w->started_usec >= p->half_open_usec || !p->probe_needed;
}

void pool_breaker_check(Pool *p, uint64_t now) {
        const PoolConfig *c = p->config;
        char span[64], why[96];

        if (p->breaker == BREAKER_CLOSED)
                return;
        if (p->breaker == BREAKER_OPEN && now >= p->breaker_until) {
                p->breaker = BREAKER_HALF_OPEN;
                p->breaker_until = 0;
                p->half_open_usec = now;
                p->probe_needed = p->n_usable < pool_floor(p);
                EventFields f = pool_fields(p);
                event_send(p->host, EVENT_BREAKER_HALF_OPEN, &f,
                           "Pool %s is tried again: one worker at a time, until one has lived for %s or %u job%s answered",
                           p->name, usec_format(span, sizeof(span), c->healthy_usec), c->breaker_probes, c->breaker_probes == 1 ? " was" : "s were");
                if (pool_floor(p) == 0) /* it keeps no worker that could be the probe: its next job is */
                        pool_event(p, POOL_EV_RECOVERED);
                pool_touched(p);
        }
        if (p->breaker != BREAKER_HALF_OPEN)
                return;
        if (p->probes >= c->breaker_probes) {
                snprintf(why, sizeof(why), "%u job%s answered", p->probes, p->probes == 1 ? " was" : "s were");
                breaker_close(p, why);
                return;
        }
        LIST_FOREACH(l, &p->workers) {
                Worker *w = list_entry(l, Worker, link);

                if (is_probe(p, w) && (w->state == WORKER_READY || w->state == WORKER_BUSY) && w->ready_usec > 0 && now - w->ready_usec >= c->healthy_usec) {
                        snprintf(why, sizeof(why), "%s has lived for %s", w->name, usec_format(span, sizeof(span), c->healthy_usec));
                        breaker_close(p, why);
                        return;
                }
        }
}

void pool_breaker_probe(Pool *p, const Worker *w, FrameStatus status) {
        if (status != FRAME_COMPLETED && status != FRAME_FAILED)
                return;
        p->crash_run = 0;
        if (p->breaker != BREAKER_HALF_OPEN || !is_probe(p, w))
                return;
        p->probes++;
        pool_dispatch_later(p);
}

void pool_breaker_resume(Pool *p, BreakerState state, uint64_t left_usec, const char *reason) {
        if (state == BREAKER_CLOSED || p->config->breaker_crashes == 0)
                return;
        p->breaker = BREAKER_OPEN; /* half open: the probe has died with the run before */
        p->breaker_until = p->spawn_after = now_usec() + left_usec;
        p->breaker_until_real = realtime_usec() + left_usec;
        pool_set_reason(p, reason);
        pool_event(p, POOL_EV_BREAKER_OPENED);
        pool_settle(p);
}
