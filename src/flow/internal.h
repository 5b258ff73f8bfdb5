/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the room's front share. */

#include "flow/flow.h"

#define FLOW_RETRY_USEC (10 * USEC_PER_SEC) /* until a job that no pool took is submitted again */
#define FLOW_REFUSED_MAX 64U /* of a session, until then: the others are not tried */
#define FLOW_RETRIED_MAX (FLOW_REFUSED_MAX / 2) /* of these, that were refused before: so that those get their turn which were not tried yet */
#define FLOW_LAZY_USEC (500 * USEC_PER_MSEC) /* how long progress may wait to be stored */

/* A session with what the room keeps beside it. */
typedef struct Kept {
        Flow *flow;
        FlowSession *session;
        List dirty_link;
        Timer timer;       /* rest, idleness, expiry, refused jobs */
        Timer lazy;        /* progress to be stored */
        List calls;        /* that wait for the next change to be stored */
        uint64_t retry_usec; /* when refused jobs are tried again, CLOCK_MONOTONIC; 0: there are none */
        uint64_t retried_seq; /* of the task that was the last one to be tried again: the next time those after it come first */
        unsigned n_refused; /* since the last time */
        FlowChange *others; /* changes of other sessions that are part of the next one */
        bool whole;        /* it is written anew */
} Kept;

struct Flow {
        Host *host;
        const FlowOps *ops;
        void *userdata;
        FlowConfig config;
        Store *store;
        bool loaded, stopping;
        bool rewritten;    /* because the store is damaged: all sessions, once */
        Map by_id;         /* FlowSession.by_id */
        List sessions;     /* FlowSession.link */
        unsigned n_sessions, n_archived;
        uint64_t last_number;
        FlowIndex index;
        List dirty;        /* Kept.dirty_link */
        List requests;     /* of the store: FlowWrite.link */
        List runs;         /* FlowRun.link, all of them */
        Defer flush;
};

static inline Kept *kept_of(const FlowSession *s) {
        return s->userdata;
}

/* A job of a task. */
typedef struct FlowRun {
        JobWatch watch;
        List link;         /* Flow.runs */
        Flow *flow;
        FlowTask *task;    /* NULL: it has ended meanwhile, nobody waits */
        Job *job;          /* a reference; NULL while only the store knows it */
} FlowRun;

/* flow.c */
/* Takes a new session in; it is the room's. Returns 0 or -ENOMEM, and then it is freed. */
int flow_keep(Flow *f, FlowSession *s);
/* Removes it here and in the store. */
void flow_drop(Flow *f, FlowSession *s);
/* `from` has nothing any more, `into` has it all: the one goes with the next change of the other, in one transaction. Returns 0 or -ENOMEM. */
int flow_merged(Flow *f, FlowSession *into, FlowSession *from);
/* Something was changed: settles, dispatches, ends jobs of tasks that have ended, and has it stored. `call` may be NULL. */
void flow_changed(Flow *f, FlowSession *s, FlowCall *call);
/* The same for progress, which may wait. */
void flow_moved(Flow *f, FlowSession *s);
/* Whether changes are taken now; else *ret_why. */
bool flow_accepts(const Flow *f, const char **ret_why);

/* run.c */
/* Submits what was activated, or goes on with the job that it has. */
void run_fresh(Flow *f, FlowSession *s);
/* Cancels the jobs of tasks that have ended without them. Returns whether there were any. */
void run_ended(Flow *f, FlowSession *s);
/* Queues again what no pool took. */
void run_retry(FlowSession *s, uint64_t now);
void run_free(FlowRun *r);
