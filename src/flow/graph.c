/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The graph, and the one place where tasks change their state. Each task counts those of its dependencies that are not met, so that an end costs its
 * dependents and nothing else. A task without dependents cannot be part of a cycle, so a new one is never searched for; a dependency that is
 * added late is, from its far end, without recursion. Ends that follow from an end are worked off in a list, since a chain of tasks may be long.
 */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "flow/session.h"

/* ---- descriptions */

typedef struct Description {
        MapNode node;
        List tasks; /* FlowTask.same_link */
        char text[];
} Description;

void flow_index_init(FlowIndex *x) {
        map_init(&x->by_text, random_u64());
}

void flow_index_done(FlowIndex *x) {
        map_done(&x->by_text);
}

/* Lower case, what is no letter and no digit is one blank. Returns false where nothing is left. */
static bool normalise(const char *s, char buf[FLOW_TEXT_MAX + 1]) {
        size_t n = 0;

        for (; *s && n < FLOW_TEXT_MAX; s++) {
                unsigned char c = (unsigned char) *s;

                if (c >= 0x80 || isalnum(c))
                        buf[n++] = (char) (c < 0x80 ? tolower(c) : c);
                else if (n > 0 && buf[n - 1] != ' ')
                        buf[n++] = ' ';
        }
        if (n > 0 && buf[n - 1] == ' ')
                n--;
        buf[n] = 0;
        return n > 0;
}

FlowTask *flow_index_find(const FlowIndex *x, const char *description, const FlowSession *session) {
        char text[FLOW_TEXT_MAX + 1];
        Description *d = normalise(description, text) ? map_get_name(&x->by_text, text, Description, node) : NULL;
        FlowTask *first = NULL;

        if (!d)
                return NULL;
        LIST_FOREACH(l, &d->tasks) {
                FlowTask *t = list_entry(l, FlowTask, same_link);

                if (t->session == session)
                        return t;
                first = first ? first : t;
        }
        return first;
}

static int index_add(FlowIndex *x, FlowTask *t) {
        char text[FLOW_TEXT_MAX + 1];
        Description *d;

        if (!normalise(t->description, text))
                return 0;
        d = map_get_name(&x->by_text, text, Description, node);
        if (!d) {
                d = malloc(sizeof(Description) + strlen(text) + 1);
                if (!d)
                        return -ENOMEM;
                list_init(&d->tasks);
                strcpy(d->text, text);
                if (map_add_name(&x->by_text, &d->node, d->text) < 0) {
                        free(d);
                        return -ENOMEM;
                }
        }
        list_append(&d->tasks, &t->same_link);
        t->description_node = d;
        return 0;
}

static void index_remove(FlowIndex *x, FlowTask *t) {
        Description *d = t->description_node;

        if (!d)
                return;
        list_remove(&t->same_link);
        t->description_node = NULL;
        if (list_empty(&d->tasks)) {
                map_remove(&x->by_text, &d->node);
                free(d);
        }
}

void graph_forget(FlowSession *s, FlowTask *t) {
        index_remove(s->index, t);
}

/* ---- edges */

FlowPolicy task_policy(const FlowTask *t) {
        return t->own_policy ? t->policy : t->session->policy;
}

bool graph_met(const FlowTask *on) {
        return on->state == TASK_COMPLETED || (task_ended(on) && task_policy(on) == FLOW_POLICY_CONTINUE);
}

/* Both ends, or none. The counts are the caller's. */
int graph_link(FlowTask *t, FlowTask *on) {
        FlowTask **needs, **by;

        if (on->n_needed_by == on->needed_by_room) {
                size_t room = MAX(on->needed_by_room * 2, (size_t) 4);

                by = reallocarray(on->needed_by, room, sizeof(*by));
                if (!by)
                        return -ENOMEM;
                on->needed_by = by;
                on->needed_by_room = room;
        }
        needs = reallocarray(t->needs, t->n_needs + 1, sizeof(*needs));
        if (!needs)
                return -ENOMEM;
        t->needs = needs;
        t->needs[t->n_needs++] = on;
        on->needed_by[on->n_needed_by++] = t;
        return 0;
}

typedef struct Step {
        FlowTask *task;
        size_t next;
} Step;

static char *format_path(const Step *steps, size_t n, const FlowTask *end) {
        char *path = NULL;

        for (size_t i = 0; i < n; i++) {
                char *longer = str_printf("%s%s -> ", strempty(path), steps[i].task->id);

                free(path);
                path = longer;
                if (!path)
                        return NULL;
        }
        char *whole = str_printf("%s%s", strempty(path), end->id);
        free(path);
        return whole;
}

int graph_path(FlowSession *s, FlowTask *from, FlowTask *to, char **ret_path) {
        _cleanup_free_ Step *steps = NULL;
        size_t n = 0, room = 0;
        FlowTask *t = from;

        s->walk++;
        for (;;) {
                if (t == to) {
                        *ret_path = format_path(steps, n, to);
                        return *ret_path ? 1 : -ENOMEM;
                }
                if (t && t->mark != s->walk) {
                        t->mark = s->walk;
                        if (n == room) {
                                room = MAX(room * 2, (size_t) 64);
                                Step *more = reallocarray(steps, room, sizeof(*more));
                                if (!more)
                                        return -ENOMEM;
                                steps = more;
                        }
                        steps[n++] = (Step) { .task = t };
                }
                while (n > 0 && steps[n - 1].next == steps[n - 1].task->n_needs)
                        n--;
                if (n == 0)
                        return 0;
                t = steps[n - 1].task->needs[steps[n - 1].next++];
        }
}

/* ---- changes */

void flow_session_touch(FlowSession *s, FlowTask *t, bool body) {
        s->dirty_head = true;
        if (!t) {
                s->dirty_body |= body;
                return;
        }
        t->dirty_body |= body;
        if (!list_linked(&t->dirty_link))
                list_append(&s->dirty, &t->dirty_link);
}

int flow_session_insert(FlowSession *s, FlowTask *t) {
        t->session = s;
        t->mark = 0; /* of a walk through another session, perhaps */
        if (!task_ended(t) && index_add(s->index, t) < 0)
                return -ENOMEM;
        if (map_add_name(&s->tasks_by_id, &t->by_id, t->id) < 0) {
                index_remove(s->index, t);
                return -ENOMEM;
        }
        list_append(&s->tasks, &t->link);
        s->n_tasks++;
        s->counts[t->state]++;
        if (t->state != TASK_CANCELLED) {
                s->weights += t->weight;
                s->weighted += (uint64_t) t->weight * t->momentum;
        }
        t->n_unmet = 0;
        for (size_t i = 0; i < t->n_needs; i++)
                t->n_unmet += !graph_met(t->needs[i]);
        balance_insert(s, t);
        return 0;
}

void flow_session_set_momentum(FlowSession *s, FlowTask *t, unsigned momentum) {
        if (t->momentum == momentum)
                return;
        balance_remove(s, t);
        if (t->state != TASK_CANCELLED)
                s->weighted += (uint64_t) t->weight * momentum - (uint64_t) t->weight * t->momentum;
        t->momentum = momentum;
        balance_insert(s, t);
        flow_session_touch(s, t, false);
}

/* Whether an event leads from the one state to the other. */
static bool leads(TaskState from, TaskState to) {
        for (TaskEvent e = 0; e < _TASK_EVENT_MAX; e++)
                if (task_state_next(from, e) == (int) to)
                        return true;
        return false;
}

static void apply(FlowSession *s, FlowTask *t, TaskState state, uint64_t now) {
        if (state == t->state)
                return;
        assert(leads(t->state, state));
        balance_remove(s, t);
        s->counts[t->state]--;
        s->counts[state]++;
        t->state = state;
        if (state == TASK_CANCELLED) {
                s->weights -= t->weight;
                s->weighted -= (uint64_t) t->weight * t->momentum;
        }
        balance_insert(s, t);
        if (state == TASK_COMPLETED)
                flow_session_set_momentum(s, t, MOMENTUM_FULL);
        if (task_ended(t)) {
                t->ended_usec = now;
                t->stalls = 0;
                index_remove(s->index, t);
                list_remove(&t->fresh_link);
        }
        flow_session_touch(s, t, false);
}

static void explain_end(FlowTask *t, const FlowTask *on) {
        free(t->error);
        t->error = str_printf("its dependency %s %s", on->id, on->state == TASK_FAILED ? "failed" : "was cancelled");
}

/* What the end of `on` means for one that depends on it. Returns true where that has ended, too. */
static bool follow(FlowSession *s, FlowTask *on, FlowTask *t, uint64_t now) {
        if (task_ended(t))
                return false;
        if (graph_met(on)) {
                balance_remove(s, t);
                t->n_unmet--;
                balance_insert(s, t);
                if (t->n_unmet > 0 || !t->finished)
                        return false;
                apply(s, t, TASK_COMPLETED, now);
                detector_complete(&s->detector, now);
                s->noted = true;
                return true;
        }
        explain_end(t, on);
        apply(s, t, on->state == TASK_FAILED && task_policy(on) == FLOW_POLICY_FAIL ? TASK_FAILED : TASK_CANCELLED, now);
        return true;
}

void flow_session_event(FlowSession *s, FlowTask *t, TaskEvent e, uint64_t now) {
        List ended = LIST_INIT(ended);
        int next = task_state_next(t->state, e);
        unsigned failed = 0, cancelled = 0;
        List *l;

        assert(next >= 0);
        if (e == TASK_EVENT_ACTIVATE) {
                t->activated_usec = now;
                flow_session_set_momentum(s, t, MAX(t->momentum, s->limits->momentum_start * MOMENTUM_PERCENT));
                if (t->work && !list_linked(&t->fresh_link))
                        list_append(&s->fresh, &t->fresh_link);
        } else if (next == TASK_QUEUED)
                list_remove(&t->fresh_link);
        apply(s, t, (TaskState) next, now);
        if (!task_ended(t))
                return;
        list_append(&ended, &t->cascade_link);
        while ((l = list_first(&ended))) {
                FlowTask *on = list_entry(l, FlowTask, cascade_link);

                list_remove(l);
                for (size_t i = 0; i < on->n_needed_by; i++) {
                        FlowTask *d = on->needed_by[i];

                        if (!follow(s, on, d, now))
                                continue;
                        failed += d->state == TASK_FAILED;
                        cancelled += d->state == TASK_CANCELLED;
                        list_append(&ended, &d->cascade_link);
                }
        }
        if (failed + cancelled > 0) {
                char text[128];

                snprintf(text, sizeof(text), "of the tasks that depend on it %u failed and %u were cancelled (policy %s)", failed, cancelled,
                         flow_policy_to_string(task_policy(t)));
                (void) flow_session_log(s, t, t->state == TASK_FAILED ? "failure propagated" : "cancellation propagated", text, now);
        }
}
