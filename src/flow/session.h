/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A session: a graph of tasks, balanced. No I/O; time is passed in, as µs of CLOCK_REALTIME. */

#include <sys/types.h>

#include "flow/task.h"

#define FLOW_LOG_MAX 1000U /* entries of a session's work log that are kept */

/* Descriptions of unfinished tasks, of all sessions: two of the same are told. */
typedef struct FlowIndex {
        Map by_text;
} FlowIndex;

void flow_index_init(FlowIndex *x);
void flow_index_done(FlowIndex *x);
/* An unfinished task with the same description, but for case, blanks and punctuation, or NULL. One of `session` comes first. */
FlowTask *flow_index_find(const FlowIndex *x, const char *description, const struct FlowSession *session);

/* An entry of the work log. */
typedef struct FlowEntry {
        List link;
        uint64_t number;      /* never given again in that session */
        uint64_t usec;
        char *task;           /* an id, or NULL */
        char *action, *details; /* the latter may be NULL */
        bool stored;
} FlowEntry;

typedef struct FlowSession {
        MapNode by_id;
        List link;
        uint64_t number;          /* the store's */
        char *id, *purpose;       /* the purpose may be NULL */
        uid_t uid;
        char *context, *todos, *recommendations, *meta; /* JSON texts; NULL where unset */
        FlowPolicy policy;
        bool archived;
        uint64_t created_usec, updated_usec;
        uint64_t revision;        /* of what the store has, or was asked for */
        const FlowThresholds *limits;
        FlowIndex *index;

        Map tasks_by_id;
        List tasks;
        size_t n_tasks;
        uint64_t next_seq;
        unsigned walk;            /* the last mark */

        /* kept up with every change */
        unsigned counts[_TASK_STATE_MAX];
        unsigned n_ready;
        unsigned load;
        uint64_t active_momentum; /* sum, of the active ones */
        uint64_t weights, weighted; /* of all but the cancelled: sums of weight, and of weight times momentum */
        unsigned n_running;       /* jobs */
        Heap ready[_FLOW_PRIORITY_MAX][FLOW_WEIGHT_MAX + 1];
        Heap movable;                 /* active manual tasks, the lowest momentum first */

        FlowDetector detector;
        bool noted;               /* a pulse or completion that was not judged yet */
        bool rest_mode;
        uint64_t rest_until;      /* USEC_INFINITY: until it is woken */

        List log;
        size_t n_log;
        uint64_t next_entry;

        /* what whoever keeps the session has to do */
        List dirty;               /* FlowTask.dirty_link */
        List fresh;               /* FlowTask.fresh_link */
        bool dirty_head, dirty_body; /* the session's own row; what seldom changes in it */
        void *userdata;
} FlowSession;

/* What a new task is made of; the strings are copied. */
typedef struct FlowTaskSpec {
        const char *id;           /* NULL: one is made */
        const char *description, *notes, *context, *parent;
        unsigned weight;          /* 0: FLOW_WEIGHT_DEFAULT */
        FlowPriority priority;
        FlowPolicy policy;
        bool own_policy;
        FlowWork *work;           /* taken over, also where it fails */
        FlowTask *const *needs;
        size_t n_needs;
} FlowTaskSpec;

/* `limits` and `index` must outlive it. */
int flow_session_new(const char *id, uid_t uid, const FlowThresholds *limits, FlowIndex *index, uint64_t now, FlowSession **ret);
FlowSession *flow_session_free(FlowSession *s);
DEFINE_CLEANUP(FlowSession *, flow_session_free);

FlowTask *flow_session_find(const FlowSession *s, const char *id);
/* Each of these changes the session and returns 0, or -errno with a text for a person (owned by the caller) and has changed nothing. None of
 * them balances: flow_session_settle() comes behind one or more of them. -EEXIST: the id is taken; -EINVAL; -EALREADY: the task has ended; -ENOMEM. */
int flow_session_add(FlowSession *s, FlowTaskSpec *spec, uint64_t now, FlowTask **ret, char **reterr);
/* -ELOOP: a cycle, which the text shows. */
int flow_session_depend(FlowSession *s, FlowTask *t, FlowTask *on, uint64_t now, char **reterr);
/* Of a task with open dependencies: it is done when they are, and 1 is returned. */
int flow_session_complete(FlowSession *s, FlowTask *t, uint64_t now, char **reterr);
int flow_session_fail(FlowSession *s, FlowTask *t, const char *why, uint64_t now, char **reterr);
int flow_session_cancel(FlowSession *s, FlowTask *t, const char *why, uint64_t now, char **reterr);
int flow_session_block(FlowSession *s, FlowTask *t, const char *why, uint64_t now, char **reterr);
int flow_session_wake_task(FlowSession *s, FlowTask *t, uint64_t now, char **reterr);
/* A pulse of a task, or of the session as a whole (NULL). `momentum` -1: it grows by pulse_gain. MOMENTUM_FULL completes. */
int flow_session_pulse(FlowSession *s, FlowTask *t, int momentum, uint64_t now, char **reterr);
/* Progress of an executable task. Never completes it, and never falls. */
void flow_session_progress(FlowSession *s, FlowTask *t, unsigned momentum, uint64_t now);
/* A heavy task becomes Plan -> Implement -> Test -> Document, and ends with the last of them. */
int flow_session_expand(FlowSession *s, FlowTask *t, uint64_t now, FlowTask *ret[4], char **reterr);
/* Back to the queue, by hand or because its job could not be accepted. */
int flow_session_requeue(FlowSession *s, FlowTask *t, uint64_t now);
void flow_session_rest(FlowSession *s, uint64_t until, uint64_t now);
void flow_session_wake(FlowSession *s, uint64_t now);
/* Activates nothing any more, and all its open tasks are cancelled. */
void flow_session_archive(FlowSession *s, uint64_t now);
/* A job of the task has begun, or is over. */
void flow_session_running(FlowSession *s, FlowTask *t, bool running);

/* Balances, judges the flow state, and balances again where that has changed. Ends a rest whose time is over. */
void flow_session_settle(FlowSession *s, uint64_t now);
/* When it is to be settled next, though nothing has happened; USEC_INFINITY: never. */
uint64_t flow_session_next(const FlowSession *s);

/* An entry of the work log. */
int flow_session_log(FlowSession *s, const FlowTask *t, const char *action, const char *details, uint64_t now);

FlowSituation flow_session_situation(const FlowSession *s);
/* Mean momentum of all tasks but the cancelled, by weight. */
unsigned flow_session_momentum(const FlowSession *s);
FlowPolicy task_policy(const FlowTask *t);

/* --- inside the room --- */

/* balance.c */
unsigned flow_session_capacity(const FlowSession *s);
/* The task that would be activated next, or sent back to the queue next; NULL: none. */
FlowTask *balance_pick(const FlowSession *s);
FlowTask *balance_excess(const FlowSession *s);
/* Does both until neither finds anything. */
void flow_session_balance(FlowSession *s, uint64_t now);
void balance_insert(FlowSession *s, FlowTask *t);
void balance_remove(FlowSession *s, FlowTask *t);

/* graph.c */
/* Whether `to` can be reached from `from` along dependencies; then *ret_path is "A -> B -> ... " from `from` to `to`. Returns 1, 0 or -ENOMEM. */
int graph_path(FlowSession *s, FlowTask *from, FlowTask *to, char **ret_path);
int graph_link(FlowTask *t, FlowTask *on);
bool graph_met(const FlowTask *on);
/* Adds a restored or new task, with its needs, to all that the session keeps up. */
int flow_session_insert(FlowSession *s, FlowTask *t);
/* Out of the index of descriptions: its session goes. */
void graph_forget(FlowSession *s, FlowTask *t);
/* It ends at once where something that it depends on has not ended well. */
void flow_session_begin(FlowSession *s, FlowTask *t, uint64_t now);
/* Moves a task to a state that the table allows; the caller has looked. Keeps everything up, and goes on with those that depend on it. */
void flow_session_event(FlowSession *s, FlowTask *t, TaskEvent e, uint64_t now);
void flow_session_set_momentum(FlowSession *s, FlowTask *t, unsigned momentum);
void flow_session_touch(FlowSession *s, FlowTask *t, bool body);
