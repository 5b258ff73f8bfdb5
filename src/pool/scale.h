/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The autoscaler's decision: how many workers a pool should have, and why. Pure: the time is passed in. */

#include "basic/macro.h"

typedef enum ScaleReason {
        SCALE_FLOOR,       /* Min=, or what an operator said */
        SCALE_QUEUE,       /* jobs wait that no free or starting slot will take */
        SCALE_UTILISATION, /* ScaleUpAt= */
        SCALE_ARRIVALS,    /* PreWarm=: so much work is expected */
        SCALE_HAVE,        /* those that are there */
        _SCALE_REASON_MAX,
} ScaleReason;

/* What the decision remembers. Zeroed: nothing has happened yet. */
typedef struct Scale {
        uint64_t arrived_usec;      /* the last job */
        double gap_usec;            /* between two jobs, a moving average; 0: there were none */
        double run_usec;            /* of a job, likewise */
        double busy;                /* slots in use, a moving average over time */
        unsigned running;           /* ... and since `looked_usec` */
        uint64_t looked_usec;
        uint64_t grown_usec, shrunk_usec; /* when workers were last started, or stopped, for one of the reasons above */
} Scale;

typedef struct ScaleLimits {
        unsigned floor, max;        /* workers */
        unsigned slots;             /* of one */
        unsigned up_at, down_at;    /* ScaleUpAt=, ScaleDownAt=: percent of the slots; 0: not heeded */
        uint64_t cooldown_usec;     /* ScaleCooldown= */
        bool prewarm;
} ScaleLimits;

typedef struct ScaleInput {
        uint64_t now;
        unsigned usable, starting;  /* workers */
        unsigned running, queued;   /* jobs */
        unsigned free_slots;        /* of both kinds of workers */
} ScaleInput;

typedef struct ScaleDecision {
        unsigned wanted;            /* workers to have: more are started until there are so many */
        unsigned keep;              /* workers not to go below, where idle ones are stopped */
        ScaleReason reason;         /* of wanted */
        uint64_t next_usec;         /* when time alone may change this; USEC_INFINITY: never */
} ScaleDecision;

/* A job was accepted; one has run for so long. */
void scale_arrived(Scale *s, uint64_t now);
void scale_ran(Scale *s, uint64_t usec);
ScaleDecision scale_decide(Scale *s, const ScaleInput *in, const ScaleLimits *l);
void scale_grown(Scale *s, uint64_t now);
void scale_shrunk(Scale *s, uint64_t now);
/* Of the slots of so many workers, 0 to 100 and above. */
double scale_utilisation(const Scale *s, unsigned workers, unsigned slots);
/* Jobs a second that come, as it looks now. */
double scale_rate(const Scale *s, uint64_t now);
const char *scale_reason_to_string(ScaleReason r);
/* Slots that a worker that has been ready for `age_usec` may have in use: one at first, all of them at `ramp_usec` (SlowStart=). */
unsigned slow_start_slots(unsigned slots, uint64_t age_usec, uint64_t ramp_usec);
