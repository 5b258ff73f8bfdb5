/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A task of a session: its words, its state table, and where it stands in graph and balance. */

#include "basic/list.h"
#include "basic/map.h"
#include "basic/heap.h"
#include "flow/momentum.h"
#include "proto/frame.h"

#define FLOW_ID_MAX NAME_LENGTH_MAX       /* bytes of an id of a session or a task */
#define FLOW_TEXT_MAX 4096U               /* of a description, an action, an error */
#define FLOW_CONTEXT_MAX (256U << 10)     /* of a context, notes, todos, as JSON or text */
#define FLOW_PAYLOAD_MAX (1U << 20)       /* of a payload, before and after results stand in it */
#define FLOW_RESULT_MAX (256U << 10)      /* of a result that is kept with its task */
#define FLOW_NEEDS_MAX 4096U              /* dependencies of a task */
#define FLOW_WEIGHT_MAX 10U
#define FLOW_WEIGHT_DEFAULT 5U

typedef enum TaskState { /* these stand on disk */
        TASK_QUEUED = 0,      /* waits for its dependencies, or for room */
        TASK_ACTIVE = 1,      /* counts for the load */
        TASK_IN_PROGRESS = 2, /* the same, and has moved */
        TASK_COMPLETED = 3,
        TASK_RESTING = 4,     /* stalled: it takes no room until it moves, or is woken */
        TASK_FAILED = 5,
        TASK_CANCELLED = 6,
        TASK_BLOCKED = 7,     /* waits for something outside */
        _TASK_STATE_MAX,
} TaskState;

typedef enum TaskEvent {
        TASK_EVENT_ACTIVATE, /* by the balance */
        TASK_EVENT_REQUEUE,  /* by the balance: there is no room, or a dependency was added */
        TASK_EVENT_PROGRESS, /* its momentum has grown */
        TASK_EVENT_STALL,    /* so many pulses without progress */
        TASK_EVENT_WAKE,
        TASK_EVENT_BLOCK,
        TASK_EVENT_COMPLETE,
        TASK_EVENT_FAIL,
        TASK_EVENT_CANCEL,
        _TASK_EVENT_MAX,
} TaskEvent;

typedef enum FlowPriority {
        FLOW_HIGH,
        FLOW_MEDIUM,
        FLOW_LOW,
        _FLOW_PRIORITY_MAX,
} FlowPriority;

typedef enum FlowBand { /* of weight: 1-3, 4-6, 7-10 */
        FLOW_LIGHT,
        FLOW_MIDDLE,
        FLOW_HEAVY,
        _FLOW_BAND_MAX,
} FlowBand;

/* What the failure of a task means for those that depend on it. */
typedef enum FlowPolicy {
        FLOW_POLICY_FAIL,     /* they fail, too */
        FLOW_POLICY_SKIP,     /* they are cancelled */
        FLOW_POLICY_CONTINUE, /* they run all the same */
        _FLOW_POLICY_MAX,
} FlowPolicy;

/* What an executable task is to run. */
typedef struct FlowWork {
        char *pool, *tier, *method; /* NULL where unset */
        PayloadKind kind;
        char *payload;              /* text, with ${task.ID.result} in it perhaps */
        size_t payload_size;
        uint64_t timeout_usec;      /* 0: the worker type's */
        int64_t retries;            /* -1: the worker type's */
} FlowWork;

typedef struct FlowTask FlowTask;
struct FlowTask {
        MapNode by_id;
        List link;               /* in its session, in the order of seq */
        uint64_t seq;            /* never given again in that session */
        char *id, *description, *notes, *context; /* the latter two may be NULL; the context is JSON text */
        unsigned weight;
        FlowPriority priority;
        FlowPolicy policy;
        bool own_policy;         /* else the session's */
        FlowWork *work;          /* NULL: manual */
        char *parent;            /* the id of the task that it was expanded from */
        uint64_t created_usec, activated_usec, ended_usec;

        TaskState state;
        unsigned momentum;
        unsigned stalls;         /* pulses in a row without progress */
        bool finished;           /* was completed before its dependencies were: ends with the last of them */
        bool umbrella;           /* was expanded: it ends with its parts */
        char *error;             /* why it failed, was cancelled or is blocked */

        FlowTask **needs, **needed_by;
        size_t n_needs, n_needed_by, needed_by_room;
        size_t n_unmet;          /* dependencies that have not ended well enough */
        unsigned mark;           /* of a walk through the graph */

        HeapNode node;               /* ready: among its priority and weight, by age; active and manual: among those, by momentum */
        List dirty_link;         /* changed, and not handed to the store yet */
        bool dirty_body;         /* what seldom changes has, too */
        bool stored;             /* the store has a row of it, or was asked for one */
        List fresh_link;         /* activated and executable: to be dispatched */
        List cascade_link;       /* has ended, and those that depend on it were not looked at yet */

        /* executable */
        uint64_t job_id;         /* of the last job, 0: none */
        uint32_t runs;           /* jobs so far: a new one has a key of its own */
        char *result;            /* NULL: none, or not kept */
        size_t result_size;
        PayloadKind result_kind;
        bool result_kept;
        bool refused;            /* blocked because no pool took its job: it is tried again */
        struct FlowRun *run;     /* the room's, while its job lives */

        void *description_node;  /* among those of the same description */
        List same_link;
        struct FlowSession *session;
};

const char *task_state_to_string(TaskState s);
int task_state_from_string(const char *s); /* -EINVAL */
const char *flow_priority_to_string(FlowPriority p);
int flow_priority_from_string(const char *s);
const char *flow_policy_to_string(FlowPolicy p);
int flow_policy_from_string(const char *s);

/* The state that follows, or -EINVAL where the event cannot be in that state. */
int task_state_next(TaskState s, TaskEvent e);

static inline bool task_state_ended(TaskState s) {
        return s == TASK_COMPLETED || s == TASK_FAILED || s == TASK_CANCELLED;
}
static inline bool task_ended(const FlowTask *t) {
        return task_state_ended(t->state);
}
static inline bool task_loads(const FlowTask *t) {
        return t->state == TASK_ACTIVE || t->state == TASK_IN_PROGRESS;
}
static inline FlowBand task_band(unsigned weight) {
        return weight <= 3 ? FLOW_LIGHT : weight <= 6 ? FLOW_MIDDLE : FLOW_HEAVY;
}

FlowWork *flow_work_free(FlowWork *w);
/* Only of one that stands nowhere. */
FlowTask *flow_task_free(FlowTask *t);
DEFINE_CLEANUP(FlowTask *, flow_task_free);
