/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What sessions look like from outside. Job ids are text; times are µs of CLOCK_REALTIME; momentum is in percent. */

#include <stdarg.h>

#include "flow/json.h"
#include "flow/view.h"
#include "store/record.h"

#define STATUS_TASKS_MAX 200U /* of a state that a status lists */
#define LOAD_TEXT_MAX 128U

static const char *const band_names[_FLOW_BAND_MAX] = { "light", "medium", "heavy" };

json_object *view_value(const char *text) {
        return text ? json_tokener_parse(text) : NULL;
}

static void put_value(json_object *o, const char *key, const char *text) {
        if (text)
                json_object_object_add(o, key, view_value(text));
}

static json_object *needs_of(const FlowTask *t, bool unmet_only) {
        json_object *a = json_object_new_array();

        for (size_t i = 0; i < t->n_needs; i++)
                if (!unmet_only || !graph_met(t->needs[i]))
                        json_object_array_add(a, json_object_new_string(t->needs[i]->id));
        return a;
}

static void put_work(json_object *o, const FlowTask *t, bool whole) {
        const FlowWork *w = t->work;
        char id[JOB_ID_TEXT_MAX];

        put_text(o, "pool", w->pool);
        put_text(o, "tier", w->tier);
        put_text(o, "method", w->method);
        put_text(o, "kind", payload_kind_to_string(w->kind));
        if (w->timeout_usec > 0)
                put_int(o, "timeout_usec", w->timeout_usec);
        if (w->retries >= 0)
                put_int(o, "retries", (uint64_t) w->retries);
        put_int(o, "runs", t->runs);
        if (t->job_id > 0)
                put_text(o, "job", job_id_format(t->job_id, id));
        if (whole)
                put_text(o, "payload", w->payload);
}

static void put_result(json_object *o, const FlowTask *t) {
        if (!t->result_kept)
                return;
        if (t->result_kind == PAYLOAD_JSON) {
                put_value(o, "result", t->result);
                return;
        }
        if (utf8_valid(t->result, t->result_size) && !memchr(t->result, 0, t->result_size)) {
                json_object_object_add(o, "result", json_object_new_string_len(t->result, (int) t->result_size));
                return;
        }
        _cleanup_free_ char *text = base64_encode(t->result, t->result_size);
        json_object *bytes = json_object_new_object();

        put_text(bytes, "base64", text);
        json_object_object_add(o, "result", bytes);
}

json_object *view_task(const FlowTask *t, bool whole) {
        json_object *o = json_object_new_object();

        put_text(o, "id", t->id);
        put_text(o, "description", t->description);
        put_text(o, "state", task_state_to_string(t->state));
        put_momentum(o, "momentum", t->momentum);
        put_int(o, "weight", t->weight);
        put_text(o, "weight_band", band_names[task_band(t->weight)]);
        put_text(o, "momentum_band", momentum_band(t->session->limits, t->momentum));
        put_text(o, "priority", flow_priority_to_string(t->priority));
        json_object_object_add(o, "dependencies", needs_of(t, false));
        put_int(o, "unmet", task_ended(t) ? 0 : t->n_unmet);
        put_text(o, "on_failure", flow_policy_to_string(task_policy(t)));
        put_bool(o, "executable", t->work != NULL);
        put_bool(o, "finished", t->finished);
        put_text(o, "parent", t->parent);
        put_text(o, "error", t->error);
        put_int(o, "created_usec", t->created_usec);
        put_int(o, "activated_usec", t->activated_usec);
        put_int(o, "ended_usec", t->ended_usec);
        if (t->work)
                put_work(o, t, whole);
        if (!whole)
                return o;
        put_text(o, "notes", t->notes);
        put_value(o, "context", t->context);
        put_result(o, t);
        return o;
}

json_object *view_session(const FlowSession *s) {
        json_object *o = json_object_new_object();

        put_text(o, "id", s->id);
        put_text(o, "purpose", s->purpose);
        put_int(o, "uid", s->uid);
        put_text(o, "state", s->archived ? "archived" : flow_state_to_string(s->detector.state));
        put_momentum(o, "momentum", flow_session_momentum(s));
        put_int(o, "load", s->load);
        put_int(o, "capacity", flow_session_capacity(s));
        put_int(o, "tasks", s->n_tasks);
        for (TaskState t = 0; t < _TASK_STATE_MAX; t++)
                put_int(o, t == TASK_IN_PROGRESS ? "in_progress" : task_state_to_string(t), s->counts[t]);
        put_text(o, "on_failure", flow_policy_to_string(s->policy));
        put_bool(o, "archived", s->archived);
        put_bool(o, "rest_mode", s->rest_mode);
        if (s->rest_mode && s->rest_until != USEC_INFINITY)
                put_int(o, "rest_until_usec", s->rest_until);
        put_int(o, "created_usec", s->created_usec);
        put_int(o, "updated_usec", s->updated_usec);
        put_int(o, "revision", s->revision);
        return o;
}

json_object *view_entry(const FlowEntry *e) {
        json_object *o = json_object_new_object();

        put_int(o, "time_usec", e->usec);
        put_text(o, "task", e->task);
        put_text(o, "action", e->action);
        put_text(o, "details", e->details);
        return o;
}

json_object *view_session_whole(const FlowSession *s, bool own, bool whole, size_t entries) {
        json_object *o = view_session(s), *tasks = json_object_new_array(), *log = json_object_new_array();
        size_t skip = s->n_log > entries ? s->n_log - entries : 0;

        if (own)
                put_value(o, "context", s->context);
        put_value(o, "todos", s->todos);
        LIST_FOREACH(l, (List *) &s->tasks)
                json_object_array_add(tasks, view_task(list_entry(l, FlowTask, link), whole));
        LIST_FOREACH(l, (List *) &s->log) {
                if (skip > 0) {
                        skip--;
                        continue;
                }
                json_object_array_add(log, view_entry(list_entry(l, FlowEntry, link)));
        }
        json_object_object_add(o, "graph", tasks);
        json_object_object_add(o, "log", log);
        return o;
}

/* ---- status */

static void load_text(const FlowSession *s, char buf[LOAD_TEXT_MAX]) {
        unsigned capacity = flow_session_capacity(s);
        const char *words = s->load * 100 > capacity * s->limits->load_high ? "high load - light tasks first" :
                s->load * 100 < capacity * s->limits->load_low ? "light load - can handle more" : "balanced load";

        snprintf(buf, LOAD_TEXT_MAX, "%u/%u (%s)", s->load, capacity, words);
}

static void recommend(json_object *a, const char *format, ...) _printf_(2, 3);
static void recommend(json_object *a, const char *format, ...) {
        char text[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        json_object_array_add(a, json_object_new_string(text));
}

static json_object *recommendations(const FlowSession *s, const FlowSituation *situation) {
        json_object *a = json_object_new_array();
        unsigned active = s->counts[TASK_ACTIVE] + s->counts[TASK_IN_PROGRESS];

        if (s->archived)
                recommend(a, "The session is archived; create a new one to go on");
        else if (s->rest_mode)
                recommend(a, "Rest mode: nothing new is activated until it ends or is ended ('flowctl flow wake %s')", s->id);
        else if (situation->open == 0)
                recommend(a, s->n_tasks > 0 ? "All tasks have ended: add more, or archive the session" : "There are no tasks yet: add some");
        if (s->counts[TASK_RESTING] > 0)
                recommend(a, "Resting after %u pulses without progress, to be moved, woken, split or cancelled: %u", s->limits->stall_pulses,
                          s->counts[TASK_RESTING]);
        if (s->counts[TASK_BLOCKED] > 0)
                recommend(a, "Blocked, to be woken when what they wait for is settled: %u", s->counts[TASK_BLOCKED]);
        if (s->counts[TASK_FAILED] > 0)
                recommend(a, "Failed: %u", s->counts[TASK_FAILED]);
        if (situation->open > 0 && active == 0 && s->n_ready == 0 && s->counts[TASK_RESTING] + s->counts[TASK_BLOCKED] == 0 && !s->rest_mode)
                recommend(a, "Nothing can be activated: every open task waits for another one");
        if (s->detector.state == FLOW_WANING && !s->rest_mode)
                recommend(a, "Momentum is waning: finish what is near done, or rest");
        if (!s->archived && !s->rest_mode && active > 0 && s->load * 100 < flow_session_capacity(s) * s->limits->load_low && s->n_ready == 0)
                recommend(a, "The load is light and nothing is ready: more could be added");
        json_object *own = view_value(s->recommendations); /* those of an imported session */
        json_object *next = own && json_object_is_type(own, json_type_object) ? get_member(own, "nextSession") : own;
        for (size_t i = 0; i < get_length(next); i++)
                json_object_array_add(a, json_object_get(json_object_array_get_idx(next, i)));
        json_object_put(own);
        return a;
}

json_object *view_status(const FlowSession *s, uint64_t now) {
        json_object *o = view_session(s), *lists[_TASK_STATE_MAX];
        FlowSituation situation = flow_session_situation(s);
        char text[LOAD_TEXT_MAX];
        FlowFigures f;

        detector_look(&s->detector, &situation, s->limits, now, &f);
        load_text(s, text);
        put_text(o, "load_text", text);
        put_text(o, "why", f.why);
        put_int(o, "since_usec", s->detector.since);
        put_int(o, "pulses", f.pulses);
        put_int(o, "completions", f.completions);
        put_int(o, "last_pulse_usec", s->detector.last);
        put_value(o, "todos", s->todos);
        for (TaskState t = 0; t < _TASK_STATE_MAX; t++)
                lists[t] = json_object_new_array();
        /* the newest first of those that have ended: they are the ones of interest */
        for (List *l = s->tasks.prev; l != &s->tasks; l = l->prev) {
                const FlowTask *t = list_entry(l, FlowTask, link);

                if (task_ended(t) && get_length(lists[t->state]) < STATUS_TASKS_MAX)
                        json_object_array_add(lists[t->state], view_task(t, false));
        }
        LIST_FOREACH(l, (List *) &s->tasks) {
                const FlowTask *t = list_entry(l, FlowTask, link);

                if (task_ended(t) || get_length(lists[t->state]) >= STATUS_TASKS_MAX)
                        continue;
                json_object *task = view_task(t, false);
                if (t->n_unmet > 0)
                        json_object_object_add(task, "waits_for", needs_of(t, true));
                json_object_array_add(lists[t->state], task);
        }
        json_object *all = json_object_new_object();
        for (TaskState t = 0; t < _TASK_STATE_MAX; t++)
                json_object_object_add(all, t == TASK_IN_PROGRESS ? "in_progress" : task_state_to_string(t), lists[t]);
        json_object_object_add(o, "by_state", all);
        json_object_object_add(o, "recommendations", recommendations(s, &situation));
        return o;
}

/* ---- explain */

static json_object *thresholds(const FlowThresholds *t) {
        json_object *o = json_object_new_object();

        put_int(o, "FlowCapacityWarming", t->capacity[FLOW_WARMING]);
        put_int(o, "FlowCapacityFlowing", t->capacity[FLOW_FLOWING]);
        put_int(o, "FlowCapacitySurging", t->capacity[FLOW_SURGING]);
        put_int(o, "FlowCapacityWaning", t->capacity[FLOW_WANING]);
        put_int(o, "FlowCapacityResting", t->capacity[FLOW_RESTING]);
        put_int(o, "FlowLoadHigh", t->load_high);
        put_int(o, "FlowLoadLow", t->load_low);
        put_int(o, "FlowStallPulses", t->stall_pulses);
        put_int(o, "FlowPulseGain", t->pulse_gain);
        put_int(o, "FlowWindow", t->window_usec);
        put_int(o, "FlowIdle", t->idle_usec);
        put_int(o, "FlowPulses", t->flow_pulses);
        put_int(o, "FlowMomentum", t->flow_momentum);
        put_int(o, "FlowSurgeCompletions", t->surge_completions);
        put_int(o, "FlowSurgeLoad", t->surge_load);
        put_int(o, "FlowWanePulses", t->wane_pulses);
        put_int(o, "FlowConfirm", t->confirm);
        return o;
}

json_object *view_explain(const FlowSession *s, uint64_t now) {
        FlowSituation situation = flow_session_situation(s);
        json_object *o = json_object_new_object();
        char text[LOAD_TEXT_MAX];
        FlowFigures f;

        detector_look(&s->detector, &situation, s->limits, now, &f);
        load_text(s, text);
        put_text(o, "id", s->id);
        put_text(o, "state", flow_state_to_string(s->detector.state));
        put_int(o, "since_usec", s->detector.since);
        put_text(o, "verdict", flow_state_to_string(f.verdict));
        put_text(o, "why", f.why);
        if (f.verdict != s->detector.state) {
                put_int(o, "confirmed", s->detector.candidate == f.verdict ? s->detector.agree : 0);
                put_int(o, "confirmations_needed", s->limits->confirm);
        }
        put_int(o, "pulses", f.pulses);
        put_int(o, "completions", f.completions);
        put_int(o, "pulses_without_gain", f.without_gain);
        if (f.trend) {
                json_object_object_add(o, "gain_before", json_object_new_double(f.gain_before / 100.0));
                json_object_object_add(o, "gain_now", json_object_new_double(f.gain_now / 100.0));
        }
        put_int(o, "idle_usec", f.idle_usec);
        put_text(o, "load", text);
        put_momentum(o, "active_momentum", situation.momentum);
        put_int(o, "jobs_running", s->n_running);
        json_object_object_add(o, "thresholds", thresholds(s->limits));
        return o;
}
