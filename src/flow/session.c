/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sessions: what is asked of one, checked and carried out. A call changes the graph and notes what has changed; it does not balance. Whoever has
 * made a change, or several that belong together, calls flow_session_settle(), then stores what is dirty and dispatches what is fresh.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "flow/session.h"

int flow_session_new(const char *id, uid_t uid, const FlowThresholds *limits, FlowIndex *index, uint64_t now, FlowSession **ret) {
        FlowSession *s = new0(FlowSession, 1);

        if (!s || !(s->id = strdup(id))) {
                free(s);
                return -ENOMEM;
        }
        s->uid = uid;
        s->limits = limits;
        s->index = index;
        s->created_usec = s->updated_usec = now;
        s->next_seq = s->next_entry = 1;
        map_init(&s->tasks_by_id, random_u64());
        list_init(&s->link);
        list_init(&s->tasks);
        list_init(&s->log);
        list_init(&s->dirty);
        list_init(&s->fresh);
        detector_init(&s->detector, now);
        flow_session_touch(s, NULL, true);
        *ret = s;
        return 0;
}

static void entry_free(FlowSession *s, FlowEntry *e) {
        list_remove(&e->link);
        s->n_log--;
        free(e->task);
        free(e->action);
        free(e->details);
        free(e);
}

FlowSession *flow_session_free(FlowSession *s) {
        List *l;

        if (!s)
                return NULL;
        while ((l = list_first(&s->tasks))) {
                FlowTask *t = list_entry(l, FlowTask, link);

                graph_forget(s, t);
                list_remove(&t->link);
                list_remove(&t->dirty_link);
                list_remove(&t->fresh_link);
        }
        for (MapNode *n; s->tasks_by_id.n > 0;)
                for (size_t i = 0; i < s->tasks_by_id.n_buckets; i++)
                        while ((n = s->tasks_by_id.buckets[i])) {
                                map_remove(&s->tasks_by_id, n);
                                flow_task_free(CONTAINER_OF(n, FlowTask, by_id));
                        }
        while ((l = list_first(&s->log)))
                entry_free(s, list_entry(l, FlowEntry, link));
        map_done(&s->tasks_by_id);
        free(s->id);
        free(s->purpose);
        free(s->context);
        free(s->todos);
        free(s->recommendations);
        free(s->meta);
        free(s);
        return NULL;
}

FlowTask *flow_session_find(const FlowSession *s, const char *id) {
        return map_get_name(&s->tasks_by_id, id, FlowTask, by_id);
}

int flow_session_log(FlowSession *s, const FlowTask *t, const char *action, const char *details, uint64_t now) {
        FlowEntry *e = new0(FlowEntry, 1);

        if (!e)
                return -ENOMEM;
        e->action = strndup(action, utf8_cut(action, strlen(action), FLOW_TEXT_MAX));
        e->details = details ? strndup(details, utf8_cut(details, strlen(details), FLOW_TEXT_MAX)) : NULL;
        e->task = t ? strdup(t->id) : NULL;
        e->number = s->next_entry++;
        e->usec = now;
        list_append(&s->log, &e->link);
        s->n_log++;
        if (!e->action || (details && !e->details) || (t && !e->task)) {
                entry_free(s, e);
                return -ENOMEM;
        }
        if (s->n_log > FLOW_LOG_MAX)
                entry_free(s, list_entry(list_first(&s->log), FlowEntry, link));
        flow_session_touch(s, NULL, false);
        return 0;
}

/* ---- refusals */

static int refuse(int error, char **reterr, const char *format, ...) _printf_(3, 4);
static int refuse(int error, char **reterr, const char *format, ...) {
        char text[FLOW_TEXT_MAX];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        *reterr = strdup(text);
        return error;
}

static int no_memory(char **reterr) {
        return refuse(-ENOMEM, reterr, "out of memory");
}

/* Whether the event can be. */
static int check(const FlowSession *s, const FlowTask *t, TaskEvent e, char **reterr) {
        if (s->archived)
                return refuse(-EALREADY, reterr, "session %s is archived; nothing in it changes any more", s->id);
        if (task_ended(t))
                return refuse(-EALREADY, reterr, "task %s has ended as %s", t->id, task_state_to_string(t->state));
        if (task_state_next(t->state, e) < 0)
                return refuse(-EINVAL, reterr, "task %s is %s", t->id, task_state_to_string(t->state));
        return 0;
}

/* ---- adding */

static int copy(const char *s, char **ret) {
        *ret = s ? strdup(s) : NULL;
        return s && !*ret ? -ENOMEM : 0;
}

static int make_id(FlowSession *s, char **ret) {
        char id[32];

        for (uint64_t n = s->next_seq;; n++) {
                snprintf(id, sizeof(id), "t%llu", (unsigned long long) n);
                if (!flow_session_find(s, id))
                        return copy(id, ret);
        }
}

static int check_spec(const FlowSession *s, const FlowTaskSpec *spec, char **reterr) {
        if (s->archived)
                return refuse(-EALREADY, reterr, "session %s is archived; nothing in it changes any more", s->id);
        if (!spec->description || !*spec->description)
                return refuse(-EINVAL, reterr, "a task needs a description");
        if (strlen(spec->description) > FLOW_TEXT_MAX)
                return refuse(-EINVAL, reterr, "the description is longer than %u bytes; the rest belongs into the context", FLOW_TEXT_MAX);
        if (spec->id && !name_valid(spec->id))
                return refuse(-EINVAL, reterr, "'%.80s' is no id: letters, digits, '_', '-' and '.', not first '-' or '.', at most %u", spec->id, FLOW_ID_MAX);
        if (spec->id && flow_session_find(s, spec->id))
                return refuse(-EEXIST, reterr, "session %s has a task %s already", s->id, spec->id);
        if (spec->weight > FLOW_WEIGHT_MAX)
                return refuse(-EINVAL, reterr, "a weight is from 1 to %u", FLOW_WEIGHT_MAX);
        if (spec->n_needs > FLOW_NEEDS_MAX)
                return refuse(-EINVAL, reterr, "a task can depend on %u others, not more", FLOW_NEEDS_MAX);
        return 0;
}

static void unlink_needs(FlowTask *t) {
        for (size_t i = 0; i < t->n_needs; i++)
                t->needs[i]->n_needed_by--; /* it was the last one that was linked */
        t->n_needs = 0;
}

void flow_session_begin(FlowSession *s, FlowTask *t, uint64_t now) {
        for (size_t i = 0; i < t->n_needs; i++) {
                const FlowTask *on = t->needs[i];

                if (!task_ended(on) || graph_met(on))
                        continue;
                free(t->error);
                t->error = str_printf("its dependency %s %s", on->id, on->state == TASK_FAILED ? "failed" : "was cancelled");
                flow_session_event(s, t, on->state == TASK_FAILED && task_policy(on) == FLOW_POLICY_FAIL ? TASK_EVENT_FAIL : TASK_EVENT_CANCEL, now);
                return;
        }
}

int flow_session_add(FlowSession *s, FlowTaskSpec *spec, uint64_t now, FlowTask **ret, char **reterr) {
        FlowTask *t;
        int r;

        r = check_spec(s, spec, reterr);
        if (r < 0) {
                spec->work = flow_work_free(spec->work);
                return r;
        }
        t = new0(FlowTask, 1);
        if (!t) {
                spec->work = flow_work_free(spec->work);
                return no_memory(reterr);
        }
        t->work = TAKE_PTR(spec->work);
        t->weight = spec->weight > 0 ? spec->weight : FLOW_WEIGHT_DEFAULT;
        t->priority = spec->priority;
        t->policy = spec->policy;
        t->own_policy = spec->own_policy;
        t->created_usec = now;
        t->seq = s->next_seq;
        r = spec->id ? copy(spec->id, &t->id) : make_id(s, &t->id);
        if (r >= 0)
                r = copy(spec->description, &t->description);
        if (r >= 0)
                r = copy(spec->notes, &t->notes);
        if (r >= 0)
                r = copy(spec->context, &t->context);
        if (r >= 0)
                r = copy(spec->parent, &t->parent);
        s->walk++;
        for (size_t i = 0; i < spec->n_needs && r >= 0; i++) {
                if (spec->needs[i]->mark == s->walk) /* it was named before */
                        continue;
                spec->needs[i]->mark = s->walk;
                r = graph_link(t, spec->needs[i]);
        }
        if (r >= 0)
                r = flow_session_insert(s, t);
        if (r < 0) {
                unlink_needs(t);
                flow_task_free(t);
                return no_memory(reterr);
        }
        s->next_seq++;
        flow_session_touch(s, t, true);
        flow_session_begin(s, t, now);
        *ret = t;
        return 0;
}

int flow_session_depend(FlowSession *s, FlowTask *t, FlowTask *on, uint64_t now, char **reterr) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = check(s, t, TASK_EVENT_REQUEUE, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < t->n_needs; i++)
                if (t->needs[i] == on)
                        return 0;
        if (t->work && (t->run || t->job_id > 0) && task_loads(t))
                return refuse(-EBUSY, reterr, "task %s runs already; it can depend on nothing more", t->id);
        if (t->n_needs >= FLOW_NEEDS_MAX)
                return refuse(-EINVAL, reterr, "a task can depend on %u others, not more", FLOW_NEEDS_MAX);
        r = graph_path(s, on, t, &path);
        if (r > 0)
                return refuse(-ELOOP, reterr, "that would be a cycle: %s -> %s", t->id, path);
        if (r < 0)
                return no_memory(reterr);
        balance_remove(s, t);
        r = graph_link(t, on);
        if (r >= 0 && !graph_met(on))
                t->n_unmet++;
        balance_insert(s, t);
        if (r < 0)
                return no_memory(reterr);
        flow_session_touch(s, t, true);
        if (task_ended(on) || t->n_unmet == 0)
                flow_session_begin(s, t, now);
        else if (task_loads(t))
                flow_session_event(s, t, TASK_EVENT_REQUEUE, now);
        return 0;
}

/* ---- ends */

static void note_completion(FlowSession *s, uint64_t now) {
        detector_complete(&s->detector, now);
        s->noted = true;
}

int flow_session_complete(FlowSession *s, FlowTask *t, uint64_t now, char **reterr) {
        int r;

        r = check(s, t, TASK_EVENT_COMPLETE, reterr);
        if (r < 0)
                return r;
        if (t->n_unmet > 0) {
                t->finished = true;
                flow_session_touch(s, t, false);
                if (t->state != TASK_QUEUED)
                        flow_session_event(s, t, TASK_EVENT_REQUEUE, now);
                return 1;
        }
        flow_session_event(s, t, TASK_EVENT_COMPLETE, now);
        note_completion(s, now);
        return 0;
}

static int explain(FlowTask *t, const char *why) {
        char *text = why ? strndup(why, utf8_cut(why, strlen(why), FLOW_TEXT_MAX)) : NULL;

        if (why && !text)
                return -ENOMEM;
        free(t->error);
        t->error = text;
        return 0;
}

static int end(FlowSession *s, FlowTask *t, TaskEvent e, const char *why, uint64_t now, char **reterr) {
        int r;

        r = check(s, t, e, reterr);
        if (r < 0)
                return r;
        if (explain(t, why) < 0)
                return no_memory(reterr);
        flow_session_event(s, t, e, now);
        return 0;
}

int flow_session_fail(FlowSession *s, FlowTask *t, const char *why, uint64_t now, char **reterr) {
        return end(s, t, TASK_EVENT_FAIL, why, now, reterr);
}

int flow_session_cancel(FlowSession *s, FlowTask *t, const char *why, uint64_t now, char **reterr) {
        return end(s, t, TASK_EVENT_CANCEL, why, now, reterr);
}

int flow_session_block(FlowSession *s, FlowTask *t, const char *why, uint64_t now, char **reterr) {
        if (t->run)
                return refuse(-EBUSY, reterr, "task %s runs", t->id);
        return end(s, t, TASK_EVENT_BLOCK, why, now, reterr);
}

int flow_session_wake_task(FlowSession *s, FlowTask *t, uint64_t now, char **reterr) {
        int r;

        r = check(s, t, TASK_EVENT_WAKE, reterr);
        if (r < 0)
                return r;
        t->stalls = 0;
        (void) explain(t, NULL);
        flow_session_touch(s, t, false);
        flow_session_event(s, t, TASK_EVENT_WAKE, now);
        return 0;
}

int flow_session_requeue(FlowSession *s, FlowTask *t, uint64_t now) {
        if (task_state_next(t->state, TASK_EVENT_REQUEUE) < 0)
                return -EALREADY;
        flow_session_event(s, t, TASK_EVENT_REQUEUE, now);
        return 0;
}

/* ---- momentum */

int flow_session_pulse(FlowSession *s, FlowTask *t, int momentum, uint64_t now, char **reterr) {
        int gain;
        int r;

        if (!t) {
                if (s->archived)
                        return refuse(-EALREADY, reterr, "session %s is archived; nothing in it changes any more", s->id);
                detector_touch(&s->detector, now);
                flow_session_touch(s, NULL, false);
                return 0;
        }
        r = check(s, t, TASK_EVENT_PROGRESS, reterr);
        if (r < 0)
                return r;
        if (momentum < 0)
                momentum = (int) MIN(t->momentum + s->limits->pulse_gain * MOMENTUM_PERCENT, MOMENTUM_FULL);
        gain = momentum - (int) t->momentum;
        detector_pulse(&s->detector, gain, now);
        s->noted = true;
        flow_session_touch(s, t, false);
        if (momentum >= (int) MOMENTUM_FULL && !t->work) {
                r = flow_session_complete(s, t, now, reterr);
                return r < 0 ? r : 0;
        }
        flow_session_set_momentum(s, t, MIN((unsigned) momentum, MOMENTUM_FULL - MOMENTUM_PERCENT));
        if (gain > 0) {
                t->stalls = 0;
                flow_session_event(s, t, TASK_EVENT_PROGRESS, now);
        } else if (++t->stalls >= s->limits->stall_pulses && !t->run && !t->work)
                flow_session_event(s, t, TASK_EVENT_STALL, now);
        return 0;
}

void flow_session_progress(FlowSession *s, FlowTask *t, unsigned momentum, uint64_t now) {
        unsigned start = s->limits->momentum_start * MOMENTUM_PERCENT;

        /* From where it was activated to just before the end, so that a job that starts anew does not fall back. */
        momentum = start + (unsigned) ((uint64_t) MIN(momentum, MOMENTUM_FULL) * (MOMENTUM_FULL - MOMENTUM_PERCENT - start) / MOMENTUM_FULL);
        if (!task_loads(t) || momentum <= t->momentum)
                return;
        detector_pulse(&s->detector, (int) (momentum - t->momentum), now);
        s->noted = true;
        flow_session_set_momentum(s, t, momentum);
        flow_session_event(s, t, TASK_EVENT_PROGRESS, now);
}

/* ---- expanding */

int flow_session_expand(FlowSession *s, FlowTask *t, uint64_t now, FlowTask *ret[4], char **reterr) {
        static const char *const phases[4][2] = { { "plan", "Plan" }, { "implement", "Implement" }, { "test", "Test" }, { "document", "Document" } };
        static const unsigned shares[4] = { 2, 4, 3, 1 }; /* tenths of the weight */
        FlowTask *before = NULL;
        int r;

        r = check(s, t, TASK_EVENT_REQUEUE, reterr);
        if (r < 0)
                return r;
        if (t->work)
                return refuse(-EINVAL, reterr, "task %s is executable; only manual ones are expanded", t->id);
        if (t->umbrella)
                return refuse(-EALREADY, reterr, "task %s was expanded already", t->id);
        if (strlen(t->id) + sizeof("implement") > FLOW_ID_MAX || strlen(t->description) + sizeof("Implement: ") > FLOW_TEXT_MAX)
                return refuse(-EINVAL, reterr, "the id or the description of task %s is too long to be expanded", t->id);
        for (int i = 0; i < 4; i++) {
                char id[FLOW_ID_MAX + 16];

                snprintf(id, sizeof(id), "%s.%s", t->id, phases[i][0]);
                if (flow_session_find(s, id))
                        return refuse(-EEXIST, reterr, "session %s has a task %s already", s->id, id);
        }
        for (int i = 0; i < 4; i++) {
                char id[FLOW_ID_MAX + 16], description[FLOW_TEXT_MAX + 32];
                FlowTaskSpec spec = {
                        .id = id, .description = description, .parent = t->id, .priority = t->priority, .policy = t->policy,
                        .own_policy = t->own_policy, .weight = MAX((t->weight * shares[i] + 5) / 10, 1U),
                        .needs = i == 0 ? t->needs : &before, .n_needs = i == 0 ? t->n_needs : 1,
                };

                snprintf(id, sizeof(id), "%s.%s", t->id, phases[i][0]);
                snprintf(description, sizeof(description), "%s: %s", phases[i][1], t->description);
                r = flow_session_add(s, &spec, now, &ret[i], reterr);
                if (r < 0)
                        return r; /* without memory; what was added stays, as tasks of their own */
                before = ret[i];
        }
        r = flow_session_depend(s, t, before, now, reterr);
        if (r < 0)
                return r;
        t->umbrella = t->finished = true;
        flow_session_touch(s, t, false);
        return 0;
}

/* ---- the session as a whole */

void flow_session_rest(FlowSession *s, uint64_t until, uint64_t now) {
        s->rest_mode = true;
        s->rest_until = until;
        (void) flow_session_log(s, NULL, "rest mode", NULL, now);
        flow_session_touch(s, NULL, false);
}

void flow_session_wake(FlowSession *s, uint64_t now) {
        if (!s->rest_mode)
                return;
        s->rest_mode = false;
        s->rest_until = 0;
        s->detector.last = now; /* it was not idle: it was told to rest */
        (void) flow_session_log(s, NULL, "rest mode ended", NULL, now);
        flow_session_touch(s, NULL, false);
}

void flow_session_archive(FlowSession *s, uint64_t now) {
        LIST_FOREACH_SAFE(l, n, &s->tasks) {
                FlowTask *t = list_entry(l, FlowTask, link);

                if (task_ended(t))
                        continue;
                (void) explain(t, "its session was archived");
                flow_session_event(s, t, TASK_EVENT_CANCEL, now);
        }
        (void) flow_session_log(s, NULL, "archived", NULL, now);
        s->archived = true;
        s->rest_mode = false;
        flow_session_touch(s, NULL, false);
}

void flow_session_running(FlowSession *s, FlowTask *t, bool running) {
        (void) t;
        if (running)
                s->n_running++;
        else
                s->n_running--;
}

unsigned flow_session_momentum(const FlowSession *s) {
        return s->weights > 0 ? (unsigned) (s->weighted / s->weights) : 0;
}

FlowSituation flow_session_situation(const FlowSession *s) {
        unsigned active = s->counts[TASK_ACTIVE] + s->counts[TASK_IN_PROGRESS];

        return (FlowSituation) {
                .rest_mode = s->rest_mode,
                .busy = s->n_running > 0,
                .open = (unsigned) s->n_tasks - s->counts[TASK_COMPLETED] - s->counts[TASK_FAILED] - s->counts[TASK_CANCELLED],
                .load = s->load,
                .capacity = flow_session_capacity(s),
                .momentum = active > 0 ? (unsigned) (s->active_momentum / active) : 0,
        };
}

static bool judge(FlowSession *s, uint64_t now) {
        FlowSituation situation = flow_session_situation(s);
        FlowState before = s->detector.state;
        bool event = s->noted;

        s->noted = false;
        if (!detector_judge(&s->detector, &situation, s->limits, event, now))
                return false;
        char text[64];
        snprintf(text, sizeof(text), "%s -> %s", flow_state_to_string(before), flow_state_to_string(s->detector.state));
        (void) flow_session_log(s, NULL, "flow state", text, now);
        flow_session_touch(s, NULL, false);
        return true;
}

void flow_session_settle(FlowSession *s, uint64_t now) {
        if (s->rest_mode && now >= s->rest_until)
                flow_session_wake(s, now);
        if (s->detector.state != FLOW_RESTING) /* else what it wakes to decides how much there is room for */
                flow_session_balance(s, now);
        if (!s->archived) {
                (void) judge(s, now);
                flow_session_balance(s, now);
        }
        if (s->dirty_head)
                s->updated_usec = MAX(now, s->updated_usec);
}

uint64_t flow_session_next(const FlowSession *s) {
        FlowSituation situation = flow_session_situation(s);

        if (s->archived)
                return USEC_INFINITY;
        return s->rest_mode ? s->rest_until : detector_next(&s->detector, &situation, s->limits);
}
