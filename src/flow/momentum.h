/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Momentum and flow state: what a session is doing as a whole, seen from its last pulses and completions; every threshold is in a struct. */

#include "basic/macro.h"
#include "basic/str.h"

/* A momentum is counted in hundredths of a percent. */
#define MOMENTUM_FULL 10000U
#define MOMENTUM_PERCENT 100U

#define DETECTOR_PULSES 32U      /* of the past that are looked at, at most */
#define DETECTOR_COMPLETIONS 32U
#define DETECTOR_TEXT_MAX 2048U

typedef enum FlowState {
        FLOW_WARMING = 0, /* these stand on disk */
        FLOW_FLOWING = 1,
        FLOW_SURGING = 2,
        FLOW_WANING = 3,
        FLOW_RESTING = 4,
        _FLOW_STATE_MAX,
} FlowState;

const char *flow_state_to_string(FlowState s);
int flow_state_from_string(const char *s); /* -EINVAL */

/* Percents, counts and µs; flow_thresholds_default() has the published values. */
typedef struct FlowThresholds {
        unsigned capacity[_FLOW_STATE_MAX]; /* FlowCapacity=: weight that may be active in each state */
        unsigned load_high;         /* above it light tasks come first */
        unsigned load_low;          /* below it heavy ones */
        unsigned stall_pulses;      /* pulses of a task without progress after which it rests */
        unsigned momentum_start;    /* of a task that is activated */
        unsigned pulse_gain;        /* of a pulse that names no momentum */
        unsigned band_draft, band_refine, band_done; /* where the bands of momentum end: draft, refinement, near done; done */
        uint64_t window_usec;       /* pulses and completions older than this do not count */
        uint64_t idle_usec;         /* without any: resting */
        unsigned flow_pulses;       /* in the window: flowing, where momentum is flow_momentum or something was completed */
        unsigned flow_momentum;     /* mean of the active tasks */
        unsigned surge_completions; /* in the window: surging, where the load is surge_load */
        unsigned surge_load;
        unsigned wane_pulses;       /* one after the other without gain: waning; or so many that gain less than half of those before */
        unsigned confirm;           /* times in a row that another state must be seen */
        unsigned expand_weight;     /* manual tasks from this weight on are expanded when they are added; 0: none */
} FlowThresholds;

void flow_thresholds_default(FlowThresholds *t);

typedef struct FlowPulse {
        uint64_t usec;
        int gain;      /* of momentum */
} FlowPulse;

/* The past of one session, as far as the state depends on it. Zeroed: a new one, but `since` and `last`. */
typedef struct FlowDetector {
        FlowState state;
        uint64_t since;                     /* in that state; µs of CLOCK_REALTIME, as all times here */
        uint64_t last;                      /* the last pulse or completion, or its creation */
        FlowState candidate;                /* another state that was seen, */
        unsigned agree;                     /* so many times in a row */
        FlowPulse pulses[DETECTOR_PULSES];  /* rings */
        uint64_t completions[DETECTOR_COMPLETIONS];
        unsigned pulse_at, n_pulses, completion_at, n_completions;
} FlowDetector;

/* What the detector must know of its session at that moment. */
typedef struct FlowSituation {
        bool rest_mode;
        bool busy;             /* a job of it runs */
        unsigned open;         /* tasks that have not ended */
        unsigned load, capacity;
        unsigned momentum;     /* mean of the active tasks */
} FlowSituation;

/* What a state was derived from. */
typedef struct FlowFigures {
        unsigned pulses, completions;       /* in the window */
        unsigned without_gain;              /* last pulses in a row that gained nothing */
        int gain_before, gain_now;          /* mean gains of the wane_pulses before the last ones, and of these; valid where `trend` */
        bool trend;
        uint64_t idle_usec;
        FlowState verdict;                  /* what this moment alone looks like */
        char why[256];
} FlowFigures;

void detector_init(FlowDetector *d, uint64_t now);
/* Notes a pulse (with what it gained), or a completion. */
void detector_pulse(FlowDetector *d, int gain, uint64_t now);
void detector_complete(FlowDetector *d, uint64_t now);
/* Somebody is there, without anything that could be counted. */
void detector_touch(FlowDetector *d, uint64_t now);
/* What this moment looks like; changes nothing. */
void detector_look(const FlowDetector *d, const FlowSituation *s, const FlowThresholds *t, uint64_t now, FlowFigures *ret);
/* Looks, and moves the state where that is confirmed, or at once into and out of rest. `event`: something was noted since the last
 * time, so that it counts as a confirmation. Returns true where the state has changed. */
bool detector_judge(FlowDetector *d, const FlowSituation *s, const FlowThresholds *t, bool event, uint64_t now);
/* When the passing of time alone may change the state; USEC_INFINITY: never. */
uint64_t detector_next(const FlowDetector *d, const FlowSituation *s, const FlowThresholds *t);

/* As text, for the store, and back. Returns 0 or -EBADMSG. */
void detector_format(const FlowDetector *d, char buf[DETECTOR_TEXT_MAX]);
int detector_parse(const char *text, FlowDetector *ret);

/* "draft", "refinement", "near done", "done" */
const char *momentum_band(const FlowThresholds *t, unsigned momentum);
