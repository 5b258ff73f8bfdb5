/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How many workers. Jobs that wait are answered at once: a worker more for each that no free or starting slot will take. The other reasons look
 * ahead, and may be turned off: a pool that is busier than ScaleUpAt= grows by one before anybody waits, once in a ScaleCooldown=; a warm pool
 * with PreWarm=yes keeps as many workers as its arrivals will need. By Little's law that is the rate of arrival times the run time; on top
 * of it goes its square root, which is the spread of arrivals that are independent of each other.
 *
 * What is expected is forgotten as it fails to come: the time since the last arrival is itself a bound for the rate, and after PREWARM_GAPS
 * times the usual gap nothing is expected any more. Downwards there is hysteresis: not within the cooldown after growing, and with
 * ScaleDownAt= not so far that those that stay would be busier than that.
 */

#include "basic/str.h"
#include "pool/scale.h"

#define GAP_WEIGHT 0.125          /* of the newest gap, and run time, in their averages */
#define BUSY_USEC (5 * USEC_PER_SEC) /* over so long is the utilisation averaged */
#define PREWARM_GAPS 4.0

void scale_arrived(Scale *s, uint64_t now) {
        double gap = s->arrived_usec > 0 && now > s->arrived_usec ? (double) (now - s->arrived_usec) : 0;

        if (s->arrived_usec > 0)
                s->gap_usec = s->gap_usec > 0 ? s->gap_usec + (gap - s->gap_usec) * GAP_WEIGHT : MAX(gap, 1.0);
        s->arrived_usec = now;
}

void scale_ran(Scale *s, uint64_t usec) {
        s->run_usec = s->run_usec > 0 ? s->run_usec + ((double) usec - s->run_usec) * GAP_WEIGHT : (double) usec;
}

void scale_grown(Scale *s, uint64_t now) {
        s->grown_usec = now;
}

void scale_shrunk(Scale *s, uint64_t now) {
        s->shrunk_usec = now;
}

double scale_rate(const Scale *s, uint64_t now) {
        if (s->gap_usec <= 0)
                return 0;
        double since = now > s->arrived_usec ? (double) (now - s->arrived_usec) : 0;

        return since > PREWARM_GAPS * s->gap_usec ? 0 : 1e6 / MAX(s->gap_usec, since);
}

double scale_utilisation(const Scale *s, unsigned workers, unsigned slots) {
        return workers > 0 && slots > 0 ? 100.0 * s->busy / ((double) workers * slots) : 0;
}

/* The average is of what was, not of what has just become. */
static void look(Scale *s, const ScaleInput *in) {
        double dt = s->looked_usec > 0 && in->now > s->looked_usec ? (double) (in->now - s->looked_usec) : 0;

        s->busy += ((double) s->running - s->busy) * dt / (dt + (double) BUSY_USEC);
        s->running = in->running;
        s->looked_usec = in->now;
}

static double root(double v) {
        double r = v > 1 ? v : 1;

        for (unsigned i = 0; i < 40; i++) /* Newton; libm is not needed for this alone */
                r = (r + v / r) / 2;
        return v > 0 ? r : 0;
}

/* Workers for what is expected to come. */
static unsigned expected(const Scale *s, const ScaleInput *in, const ScaleLimits *l, uint64_t *ret_next) {
        double rate = scale_rate(s, in->now), jobs = rate * s->run_usec / 1e6;

        if (rate <= 0)
                return 0;
        *ret_next = s->arrived_usec + (uint64_t) (PREWARM_GAPS * s->gap_usec) + 1;
        double workers = (jobs + root(jobs)) / l->slots;
        unsigned n = (unsigned) MIN(workers, (double) l->max);

        return MIN(n + (workers > (double) n), l->max);
}

/* Workers that `busy` slots need, so that they are at most `percent` busy. */
static unsigned needed(double busy, unsigned percent, const ScaleLimits *l) {
        double workers = MIN(busy * 100 / ((double) percent * l->slots), (double) l->max);
        unsigned n = (unsigned) workers;

        return n + (workers > (double) n);
}

static void raise(ScaleDecision *d, unsigned n, ScaleReason reason) {
        if (n <= d->wanted)
                return;
        d->wanted = n;
        d->reason = reason;
}

ScaleDecision scale_decide(Scale *s, const ScaleInput *in, const ScaleLimits *l) {
        unsigned have = in->usable + in->starting, slots = MAX(l->slots, 1U);
        uint64_t changed = MAX(s->grown_usec, s->shrunk_usec), next = USEC_INFINITY;
        ScaleDecision d = { .wanted = l->floor, .keep = l->floor, .reason = SCALE_FLOOR };
        bool cool = changed == 0 || in->now >= changed + l->cooldown_usec;

        look(s, in);
        raise(&d, MIN(have, l->max), SCALE_HAVE);
        if (in->queued > in->free_slots)
                raise(&d, MIN(have + (in->queued - in->free_slots + slots - 1) / slots, l->max), SCALE_QUEUE);
        if (l->up_at > 0 && in->starting == 0 && in->usable > 0 && scale_utilisation(s, in->usable, slots) >= l->up_at) {
                if (cool)
                        raise(&d, MIN(have + 1, l->max), SCALE_UTILISATION);
                else
                        next = changed + l->cooldown_usec;
        }
        if (l->prewarm) {
                unsigned n = expected(s, in, l, &next);

                raise(&d, n, SCALE_ARRIVALS);
                d.keep = MAX(d.keep, n);
        }
        if (l->down_at > 0)
                d.keep = MAX(d.keep, needed(s->busy, l->down_at, l));
        if (s->grown_usec > 0 && in->now < s->grown_usec + l->cooldown_usec) {
                d.keep = MAX(d.keep, have);
                next = MIN(next, s->grown_usec + l->cooldown_usec);
        }
        d.keep = MIN(d.keep, MAX(l->max, l->floor));
        d.next_usec = next;
        return d;
}

const char *scale_reason_to_string(ScaleReason r) {
        static const char *const names[_SCALE_REASON_MAX] = {
                [SCALE_FLOOR] = "floor",
                [SCALE_QUEUE] = "queue",
                [SCALE_UTILISATION] = "utilisation",
                [SCALE_ARRIVALS] = "arrivals",
                [SCALE_HAVE] = "enough",
        };

        return (unsigned) r < _SCALE_REASON_MAX ? names[r] : NULL;
}

unsigned slow_start_slots(unsigned slots, uint64_t age_usec, uint64_t ramp_usec) {
        if (slots <= 1 || age_usec >= ramp_usec)
                return slots;
        return 1 + (unsigned) ((double) (slots - 1) * (double) age_usec / (double) ramp_usec);
}
