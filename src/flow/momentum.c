/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The flow state. Two rings, of the last pulses and the last completions, are all that is kept of the past, so that a look costs the same
 * whatever the session's size. A look gives a verdict on the moment. A verdict becomes the state only when it was confirmed by further
 * events, and surging and flowing are left later than they are entered; so a session that stands at a threshold does not flap. Rest is
 * entered and left at once, because it decides whether anything is activated.
 *
 * Completions have a ring of their own, so that many pulses cannot push them out, and do not count for the trend of gains: a task that was
 * completed in one step would make every pulse after it look like the end of the flow.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "flow/momentum.h"

static const char *const state_names[_FLOW_STATE_MAX] = { "warming", "flowing", "surging", "waning", "resting" };

const char *flow_state_to_string(FlowState s) {
        return state_names[s];
}

int flow_state_from_string(const char *s) {
        for (int i = 0; i < _FLOW_STATE_MAX; i++)
                if (streq(state_names[i], s))
                        return i;
        return -EINVAL;
}

void flow_thresholds_default(FlowThresholds *t) {
        *t = (FlowThresholds) {
                .capacity = { [FLOW_WARMING] = 30, [FLOW_FLOWING] = 50, [FLOW_SURGING] = 50, [FLOW_WANING] = 30, [FLOW_RESTING] = 10 },
                .load_high = 80,
                .load_low = 30,
                .stall_pulses = 3,
                .momentum_start = 10,
                .pulse_gain = 10,
                .band_draft = 20,
                .band_refine = 60,
                .band_done = 90,
                .window_usec = 600 * USEC_PER_SEC,
                .idle_usec = 1800 * USEC_PER_SEC,
                .flow_pulses = 3,
                .flow_momentum = 20,
                .surge_completions = 3,
                .surge_load = 50,
                .wane_pulses = 3,
                .confirm = 2,
        };
}

void detector_init(FlowDetector *d, uint64_t now) {
        *d = (FlowDetector) { .since = now, .last = now };
}

void detector_pulse(FlowDetector *d, int gain, uint64_t now) {
        d->pulses[d->pulse_at] = (FlowPulse) { now, gain };
        d->pulse_at = (d->pulse_at + 1) % DETECTOR_PULSES;
        d->n_pulses = MIN(d->n_pulses + 1, DETECTOR_PULSES);
        d->last = now;
}

void detector_touch(FlowDetector *d, uint64_t now) {
        d->last = now;
}

void detector_complete(FlowDetector *d, uint64_t now) {
        d->completions[d->completion_at] = now;
        d->completion_at = (d->completion_at + 1) % DETECTOR_COMPLETIONS;
        d->n_completions = MIN(d->n_completions + 1, DETECTOR_COMPLETIONS);
        d->last = now;
}

/* The nth pulse from the newest. */
static const FlowPulse *pulse_back(const FlowDetector *d, unsigned n) {
        return &d->pulses[(d->pulse_at + 2 * DETECTOR_PULSES - 1 - n) % DETECTOR_PULSES];
}

/* How long ago; a clock that was set back makes it now. */
static uint64_t age(uint64_t now, uint64_t then) {
        return now > then ? now - then : 0;
}

static int mean_gain(const FlowDetector *d, unsigned from, unsigned n) {
        int sum = 0;

        for (unsigned i = from; i < from + n; i++)
                sum += pulse_back(d, i)->gain;
        return sum / (int) n;
}

static void count(const FlowDetector *d, const FlowThresholds *t, uint64_t now, FlowFigures *f) {
        uint64_t newest = 0;
        unsigned n = t->wane_pulses;

        for (unsigned i = 0; i < d->n_completions; i++)
                if (age(now, d->completions[i]) <= t->window_usec) {
                        f->completions++;
                        newest = MAX(newest, d->completions[i]);
                }
        while (f->pulses < d->n_pulses && age(now, pulse_back(d, f->pulses)->usec) <= t->window_usec)
                f->pulses++;
        while (f->without_gain < f->pulses && pulse_back(d, f->without_gain)->gain <= 0 && pulse_back(d, f->without_gain)->usec > newest)
                f->without_gain++;
        f->trend = f->pulses >= 2 * n && (newest == 0 || pulse_back(d, n - 1)->usec > newest);
        if (f->trend) {
                f->gain_now = mean_gain(d, 0, n);
                f->gain_before = mean_gain(d, n, n);
        }
}

static void say(FlowFigures *f, FlowState verdict, const char *format, ...) _printf_(3, 4);
static void say(FlowFigures *f, FlowState verdict, const char *format, ...) {
        va_list ap;

        f->verdict = verdict;
        va_start(ap, format);
        (void) vsnprintf(f->why, sizeof(f->why), format, ap);
        va_end(ap);
}

/* Surging is held on to with one completion less, and half the load. */
static bool surges(const FlowDetector *d, const FlowSituation *s, const FlowThresholds *t, const FlowFigures *f) {
        bool on = d->state == FLOW_SURGING;
        unsigned wanted = on && t->surge_completions > 1 ? t->surge_completions - 1 : t->surge_completions;

        return f->completions >= wanted && s->load * 100 >= s->capacity * (on ? t->surge_load / 2 : t->surge_load);
}

static bool flows(const FlowDetector *d, const FlowSituation *s, const FlowThresholds *t, const FlowFigures *f) {
        if (d->state == FLOW_FLOWING || d->state == FLOW_SURGING)
                return f->pulses + f->completions > 0;
        return f->pulses + f->completions >= t->flow_pulses && (f->completions > 0 || s->momentum >= t->flow_momentum * MOMENTUM_PERCENT);
}

void detector_look(const FlowDetector *d, const FlowSituation *s, const FlowThresholds *t, uint64_t now, FlowFigures *ret) {
        FlowFigures f = { .idle_usec = age(now, d->last) };
        char span[64], window[64];

        (void) usec_format(window, sizeof(window), t->window_usec);
        (void) usec_format(span, sizeof(span), f.idle_usec / USEC_PER_SEC * USEC_PER_SEC);
        count(d, t, now, &f);
        if (s->rest_mode)
                say(&f, FLOW_RESTING, "it is in rest mode: running jobs finish, nothing new is activated");
        else if (f.idle_usec >= t->idle_usec && !s->busy)
                say(&f, FLOW_RESTING, "no pulse and no completion for %s, and no job runs", span);
        else if (f.without_gain >= t->wane_pulses)
                say(&f, FLOW_WANING, "the last %u pulses gained nothing (%u are enough)", f.without_gain, t->wane_pulses);
        else if (f.trend && f.gain_before > 0 && f.gain_now * 2 < f.gain_before)
                say(&f, FLOW_WANING, "the last %u pulses gained %.1f %% each, those before them %.1f %%: less than half", t->wane_pulses,
                    f.gain_now / 100.0, f.gain_before / 100.0);
        else if (f.idle_usec >= t->window_usec && s->load > 0 && !s->busy)
                say(&f, FLOW_WANING, "there is active work, but no pulse and no completion for %s", span);
        else if (surges(d, s, t, &f))
                say(&f, FLOW_SURGING, "%u completions in the last %s, with %u of %u of the capacity in use", f.completions, window, s->load, s->capacity);
        else if (flows(d, s, t, &f))
                say(&f, FLOW_FLOWING, "%u pulses and %u completions in the last %s, mean momentum of what is active %.1f %%", f.pulses, f.completions, window,
                    s->momentum / 100.0);
        else
                say(&f, FLOW_WARMING, "%u pulses and %u completions in the last %s: flowing begins with %u, and a completion or a mean momentum of %u %%",
                    f.pulses, f.completions, window, t->flow_pulses, t->flow_momentum);
        *ret = f;
}

static bool move_to(FlowDetector *d, FlowState state, uint64_t now) {
        d->state = d->candidate = state;
        d->agree = 0;
        d->since = now;
        return true;
}

bool detector_judge(FlowDetector *d, const FlowSituation *s, const FlowThresholds *t, bool event, uint64_t now) {
        FlowFigures f;

        detector_look(d, s, t, now, &f);
        if (f.verdict == d->state) {
                d->candidate = d->state;
                d->agree = 0;
                return false;
        }
        /* Time alone has been waited for long enough. */
        if (f.verdict == FLOW_RESTING || d->state == FLOW_RESTING || f.idle_usec >= t->window_usec)
                return move_to(d, f.verdict, now);
        if (!event)
                return false;
        d->agree = f.verdict == d->candidate ? d->agree + 1 : 1;
        d->candidate = f.verdict;
        return d->agree >= t->confirm ? move_to(d, f.verdict, now) : false;
}

uint64_t detector_next(const FlowDetector *d, const FlowSituation *s, const FlowThresholds *t) {
        if (s->rest_mode || s->busy || d->state == FLOW_RESTING)
                return USEC_INFINITY;
        return d->last + (d->state == FLOW_WANING || s->load == 0 ? t->idle_usec : MIN(t->window_usec, t->idle_usec));
}

/* ---- as text: "STATE SINCE LAST CANDIDATE AGREE p USEC GAIN ... c USEC ...", the oldest first */

void detector_format(const FlowDetector *d, char buf[DETECTOR_TEXT_MAX]) {
        int n = snprintf(buf, DETECTOR_TEXT_MAX, "%d %" PRIu64 " %" PRIu64 " %d %u", (int) d->state, d->since, d->last, (int) d->candidate, d->agree);

        for (unsigned i = d->n_pulses; i-- > 0;)
                n += snprintf(buf + n, DETECTOR_TEXT_MAX - (size_t) n, " p%" PRIu64 " %d", pulse_back(d, i)->usec, pulse_back(d, i)->gain);
        for (unsigned i = d->n_completions; i > 0; i--)
                n += snprintf(buf + n, DETECTOR_TEXT_MAX - (size_t) n, " c%" PRIu64,
                              d->completions[(d->completion_at + DETECTOR_COMPLETIONS - i) % DETECTOR_COMPLETIONS]);
}

int detector_parse(const char *text, FlowDetector *ret) {
        FlowDetector d = {};
        uint64_t since, last, usec;
        int state, candidate, gain, n = 0;
        unsigned agree;

        if (sscanf(text, "%d %" SCNu64 " %" SCNu64 " %d %u%n", &state, &since, &last, &candidate, &agree, &n) != 5 || state < 0 ||
            state >= _FLOW_STATE_MAX || candidate < 0 || candidate >= _FLOW_STATE_MAX)
                return -EBADMSG;
        for (const char *p = text + n; *p; p += n) {
                if (sscanf(p, " p%" SCNu64 " %d%n", &usec, &gain, &n) == 2)
                        detector_pulse(&d, gain, usec);
                else if (sscanf(p, " c%" SCNu64 "%n", &usec, &n) == 1)
                        detector_complete(&d, usec);
                else
                        return -EBADMSG;
        }
        d.state = (FlowState) state;
        d.since = since;
        d.last = last;
        d.candidate = (FlowState) candidate;
        d.agree = agree;
        *ret = d;
        return 0;
}

const char *momentum_band(const FlowThresholds *t, unsigned momentum) {
        return momentum < t->band_draft * MOMENTUM_PERCENT ? "draft" : momentum < t->band_refine * MOMENTUM_PERCENT ? "refinement" :
                momentum < t->band_done * MOMENTUM_PERCENT ? "near done" : "done";
}
