/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tasks: words, and the one table that their states move along. */

#include <errno.h>

#include "flow/task.h"

static const char *const state_names[_TASK_STATE_MAX] = {
        "queued", "active", "in-progress", "completed", "resting", "failed", "cancelled", "blocked",
};
static const char *const priority_names[_FLOW_PRIORITY_MAX] = { "high", "medium", "low" };
static const char *const policy_names[_FLOW_POLICY_MAX] = { "fail", "skip", "continue" };

static int find(const char *const *names, size_t n, const char *s) {
        for (size_t i = 0; i < n; i++)
                if (streq(names[i], s))
                        return (int) i;
        return -EINVAL;
}

const char *task_state_to_string(TaskState s) {
        return state_names[s];
}

int task_state_from_string(const char *s) {
        return find(state_names, _TASK_STATE_MAX, s);
}

const char *flow_priority_to_string(FlowPriority p) {
        return priority_names[p];
}

int flow_priority_from_string(const char *s) {
        return find(priority_names, _FLOW_PRIORITY_MAX, s);
}

const char *flow_policy_to_string(FlowPolicy p) {
        return policy_names[p];
}

int flow_policy_from_string(const char *s) {
        return find(policy_names, _FLOW_POLICY_MAX, s);
}

/* clang-format off */
#define NO (-1)
static const int8_t table[_TASK_STATE_MAX][_TASK_EVENT_MAX] = {
        /*                     ACTIVATE     REQUEUE      PROGRESS          STALL         WAKE         BLOCK         COMPLETE        FAIL         CANCEL */
        [TASK_QUEUED]      = { TASK_ACTIVE, TASK_QUEUED, TASK_QUEUED,      TASK_RESTING, TASK_QUEUED, TASK_BLOCKED, TASK_COMPLETED, TASK_FAILED, TASK_CANCELLED },
        [TASK_ACTIVE]      = { NO,          TASK_QUEUED, TASK_IN_PROGRESS, TASK_RESTING, TASK_ACTIVE, TASK_BLOCKED, TASK_COMPLETED, TASK_FAILED, TASK_CANCELLED },
        [TASK_IN_PROGRESS] = { NO,          TASK_QUEUED, TASK_IN_PROGRESS, TASK_RESTING, TASK_IN_PROGRESS, TASK_BLOCKED, TASK_COMPLETED, TASK_FAILED, TASK_CANCELLED },
        [TASK_COMPLETED]   = { NO,          NO,          NO,               NO,           NO,          NO,           NO,             NO,          NO },
        [TASK_RESTING]     = { NO,          TASK_QUEUED, TASK_QUEUED,      TASK_RESTING, TASK_QUEUED, TASK_BLOCKED, TASK_COMPLETED, TASK_FAILED, TASK_CANCELLED },
        [TASK_FAILED]      = { NO,          NO,          NO,               NO,           NO,          NO,           NO,             NO,          NO },
        [TASK_CANCELLED]   = { NO,          NO,          NO,               NO,           NO,          NO,           NO,             NO,          NO },
        [TASK_BLOCKED]     = { NO,          TASK_QUEUED, TASK_QUEUED,      TASK_BLOCKED, TASK_QUEUED, TASK_BLOCKED, TASK_COMPLETED, TASK_FAILED, TASK_CANCELLED },
};
/* clang-format on */

int task_state_next(TaskState s, TaskEvent e) {
        return table[s][e] == NO ? -EINVAL : table[s][e];
}

FlowWork *flow_work_free(FlowWork *w) {
        if (!w)
                return NULL;
        free(w->pool);
        free(w->tier);
        free(w->method);
        free(w->payload);
        free(w);
        return NULL;
}

FlowTask *flow_task_free(FlowTask *t) {
        if (!t)
                return NULL;
        free(t->id);
        free(t->description);
        free(t->notes);
        free(t->context);
        free(t->parent);
        free(t->error);
        free(t->result);
        free(t->needs);
        free(t->needed_by);
        flow_work_free(t->work);
        free(t);
        return NULL;
}
