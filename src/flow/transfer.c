/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Files of sessions. What the flow balancer wrote is read as it is: its words (sessionId, comprehensive_todos, workLog), its ids, states and
 * momenta; members that have no meaning here are kept in `meta` and written again. What is exported has the same words, and beside them what
 * only flowd knows. Tasks come in by the same way as any graph, so a file with a cycle is refused, and the cycle shown; but a dependency on
 * a task that is not in the file is dropped, and told.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <time.h>

#include "flow/json.h"
#include "flow/plan.h"
#include "flow/transfer.h"
#include "flow/view.h"

static int refuse(int error, char **reterr, const char *format, ...) _printf_(3, 4);
static int refuse(int error, char **reterr, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(reterr, format, ap) < 0)
                *reterr = NULL;
        va_end(ap);
        return error;
}

static int no_memory(char **reterr) {
        return refuse(-ENOMEM, reterr, "out of memory");
}

static void put_time(json_object *o, const char *key, uint64_t usec) {
        time_t t = (time_t) (usec / USEC_PER_SEC);
        char text[40], day[32];
        struct tm tm;

        if (usec == 0 || !gmtime_r(&t, &tm))
                return;
        (void) strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(text, sizeof(text), "%s.%03uZ", day, (unsigned) (usec % USEC_PER_SEC / 1000));
        put_text(o, key, text);
}

/* ISO 8601 in UTC, with or without a fraction; 0 where it is none. */
static uint64_t parse_time(const char *s) {
        struct tm tm = {};
        const char *end = s ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
        uint64_t usec, scale = USEC_PER_SEC / 10;

        if (!end)
                return 0;
        usec = (uint64_t) timegm(&tm) * USEC_PER_SEC;
        if (*end == '.')
                for (end++; *end >= '0' && *end <= '9'; end++, scale /= 10)
                        usec += (uint64_t) (*end - '0') * scale;
        return usec;
}

/* ---- out */

static json_object *export_task(const FlowTask *t) {
        json_object *o = view_task(t, true);

        if (t->work) /* what it did here means nothing elsewhere */
                json_object_object_del(o, "job");
        if (!t->own_policy)
                json_object_object_del(o, "on_failure");
        put_time(o, "created", t->created_usec);
        return o;
}

json_object *transfer_export(const FlowSession *s) {
        json_object *o = json_object_new_object(), *tasks = json_object_new_array(), *log = json_object_new_array();
        json_object *momentum = json_object_new_object();

        put_text(o, "format", "flow-session");
        put_text(o, "sessionId", s->id);
        put_text(o, "purpose", s->purpose);
        put_time(o, "created", s->created_usec);
        put_time(o, "updated", s->updated_usec);
        put_text(o, "status", s->archived ? "archived" : flow_state_to_string(s->detector.state));
        put_text(o, "on_failure", flow_policy_to_string(s->policy));
        json_object_object_add(o, "context", s->context ? view_value(s->context) : json_object_new_object());
        json_object_object_add(o, "comprehensive_todos", s->todos ? view_value(s->todos) : json_object_new_array());
        LIST_FOREACH(l, (List *) &s->tasks)
                json_object_array_add(tasks, export_task(list_entry(l, FlowTask, link)));
        json_object_object_add(o, "tasks", tasks);
        LIST_FOREACH(l, (List *) &s->log) {
                const FlowEntry *e = list_entry(l, FlowEntry, link);
                json_object *entry = json_object_new_object();

                put_time(entry, "timestamp", e->usec);
                put_text(entry, "action", e->action);
                put_text(entry, "details", e->details);
                put_text(entry, "taskId", e->task);
                json_object_array_add(log, entry);
        }
        json_object_object_add(o, "workLog", log);
        put_momentum(momentum, "overall", flow_session_momentum(s));
        json_object_object_add(o, "momentum", momentum);
        if (s->recommendations)
                json_object_object_add(o, "recommendations", view_value(s->recommendations));
        if (s->meta)
                json_object_object_add(o, "meta", view_value(s->meta));
        return o;
}

/* ---- in */

const char *transfer_id(json_object *o) {
        const char *id = get_text(o, "sessionId");

        return id ? id : get_text(o, "id");
}

static int keep(json_object *v, char **ret, char **reterr) {
        if (!v)
                return 0;
        *ret = strdup(json_plain(v));
        if (!*ret)
                return no_memory(reterr);
        return strlen(*ret) > FLOW_CONTEXT_MAX ? refuse(-EINVAL, reterr, "its context, todos or meta are larger than %u bytes", FLOW_CONTEXT_MAX) : 0;
}

static int import_words(FlowSession *s, json_object *o, uint64_t now, char **reterr) {
        json_object *context = get_member(o, "context"), *todos = get_member(o, "comprehensive_todos");
        const char *purpose = get_text(o, "purpose"), *policy = get_text(o, "on_failure"), *status = get_text(o, "status");
        int r, k = policy ? flow_policy_from_string(policy) : 0;

        if (!purpose && context && json_object_is_type(context, json_type_object))
                purpose = get_text(context, "objective");
        if (k < 0)
                return refuse(-EINVAL, reterr, "'%s' is no policy for on_failure; fail, skip and continue are", policy);
        s->policy = (FlowPolicy) k;
        if (purpose && !(s->purpose = strndup(purpose, utf8_cut(purpose, strlen(purpose), FLOW_TEXT_MAX))))
                return no_memory(reterr);
        r = keep(context, &s->context, reterr);
        if (r >= 0)
                r = keep(todos ? todos : get_member(o, "todos"), &s->todos, reterr);
        if (r >= 0)
                r = keep(get_member(o, "recommendations"), &s->recommendations, reterr);
        if (r >= 0)
                r = keep(get_member(o, "meta"), &s->meta, reterr);
        if (r < 0)
                return r;
        uint64_t created = parse_time(get_text(o, "created"));
        if (created > 0 && created <= now)
                s->created_usec = created;
        k = status ? flow_state_from_string(status) : -EINVAL;
        if (k >= 0 && k != FLOW_RESTING)
                s->detector.state = s->detector.candidate = (FlowState) k;
        return 0;
}

/* Results and errors of what has ended; only flowd writes them. */
static int import_result(FlowTask *t, json_object *o, char **reterr) {
        json_object *v = get_member(o, "result");
        const char *error = get_text(o, "error");

        if (error && !t->error && !(t->error = strndup(error, utf8_cut(error, strlen(error), FLOW_TEXT_MAX))))
                return no_memory(reterr);
        if (!v || !t->work || t->state != TASK_COMPLETED)
                return 0;
        const char *bytes = json_object_is_type(v, json_type_object) ? get_text(v, "base64") : NULL;
        if (bytes && json_object_object_length(v) == 1) {
                if (base64_decode(bytes, strlen(bytes), (void **) &t->result, &t->result_size) < 0)
                        return refuse(-EINVAL, reterr, "the result of task %s is no base64", t->id);
                t->result_kind = PAYLOAD_BYTES;
        } else {
                t->result = plan_text(v);
                if (!t->result)
                        return no_memory(reterr);
                t->result_size = strlen(t->result);
                t->result_kind = json_object_is_type(v, json_type_string) ? PAYLOAD_TEXT : PAYLOAD_JSON;
        }
        t->result_kept = true;
        return 0;
}

/* Its state, as far as it can be one here. Counts are kept up by hand: this is no event. */
static int import_state(FlowSession *s, FlowTask *t, json_object *o, uint64_t now, char **reterr) {
        json_object *momentum = get_member(o, "momentum");
        const char *name = get_text(o, "state");
        int state = name ? task_state_from_string(streq(name, "in_progress") ? "in-progress" : name) : TASK_QUEUED;
        double m = momentum ? json_object_get_double(momentum) : 0;

        if (state < 0)
                return refuse(-EINVAL, reterr, "task %s has the state '%.40s', which is unknown", t->id, name);
        if (!task_state_ended((TaskState) state) && (t->n_unmet > 0 || t->work))
                state = TASK_QUEUED;
        balance_remove(s, t);
        s->counts[t->state]--;
        if (t->state != TASK_CANCELLED)
                s->weights -= t->weight, s->weighted -= (uint64_t) t->weight * t->momentum;
        t->state = (TaskState) state;
        t->momentum = t->state == TASK_COMPLETED ? MOMENTUM_FULL : (unsigned) (MIN(MAX(m, 0.0), 99.0) * MOMENTUM_PERCENT);
        s->counts[t->state]++;
        if (t->state != TASK_CANCELLED)
                s->weights += t->weight, s->weighted += (uint64_t) t->weight * t->momentum;
        balance_insert(s, t);
        if (task_ended(t)) {
                t->ended_usec = (uint64_t) MAX(get_int(o, "ended_usec"), 0);
                graph_forget(s, t);
        }
        t->activated_usec = task_loads(t) ? now : 0;
        uint64_t created = parse_time(get_text(o, "created"));
        if (created > 0 && created <= now)
                t->created_usec = created;
        t->finished = get_bool(o, "finished");
        return import_result(t, o, reterr);
}

/* Dependencies are counted anew: those that have ended were not when the tasks were added. */
static void recount(FlowSession *s, FlowTask *t) {
        balance_remove(s, t);
        t->n_unmet = 0;
        for (size_t i = 0; i < t->n_needs; i++)
                t->n_unmet += !graph_met(t->needs[i]);
        balance_insert(s, t);
}

static void warn(json_object *warnings, const char *format, ...) _printf_(2, 3);
static void warn(json_object *warnings, const char *format, ...) {
        char text[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        json_object_array_add(warnings, json_object_new_string(text));
}

static int import_tasks(FlowSession *s, json_object *o, uint64_t now, json_object *warnings, char **reterr) {
        _cleanup_(plan_done) Plan plan = {};
        _cleanup_free_ FlowTask **tasks = NULL;
        _cleanup_free_ size_t *wanted = NULL;
        json_object *a = get_member(o, "tasks");
        int r;

        if (get_length(a) == 0)
                return 0;
        r = plan_parse(&plan, a, true, reterr);
        if (r < 0)
                return r;
        tasks = new0(FlowTask *, plan.n + 1);
        wanted = new0(size_t, plan.n + 1);
        if (!tasks || !wanted)
                return no_memory(reterr);
        for (size_t i = 0; i < plan.n; i++)
                wanted[i] = plan.tasks[i].n_needs;
        r = plan_check(&plan, s, true, reterr);
        if (r >= 0)
                r = plan_add(&plan, s, now, tasks, reterr);
        for (size_t i = 0; i < plan.n && r >= 0; i++) {
                if (wanted[i] > plan.tasks[i].n_needs)
                        warn(warnings, "task %s depended on %zu tasks that are not in the file", tasks[i]->id, wanted[i] - plan.tasks[i].n_needs);
                const char *state = get_text(plan.tasks[i].object, "state");
                if (state && (streq(state, "completed") || streq(state, "failed") || streq(state, "cancelled")))
                        r = import_state(s, tasks[i], plan.tasks[i].object, now, reterr);
        }
        for (size_t i = 0; i < plan.n && r >= 0; i++)
                recount(s, tasks[i]);
        for (size_t i = 0; i < plan.n && r >= 0; i++)
                if (!task_ended(tasks[i]))
                        r = import_state(s, tasks[i], plan.tasks[i].object, now, reterr);
        for (size_t i = 0; i < plan.n && r >= 0; i++)
                if (!task_ended(tasks[i]))
                        flow_session_begin(s, tasks[i], now);
        return r;
}

static int import_log(FlowSession *s, json_object *o, uint64_t now, char **reterr) {
        json_object *a = get_member(o, "workLog");

        for (size_t i = 0; i < get_length(a); i++) {
                json_object *e = json_object_array_get_idx(a, i), *details;
                const char *action, *id;
                _cleanup_free_ char *text = NULL;
                uint64_t usec;

                if (!json_object_is_type(e, json_type_object) || !(action = get_text(e, "action")))
                        continue;
                details = get_member(e, "details");
                text = details ? plan_text(details) : NULL;
                if (details && !text)
                        return no_memory(reterr);
                usec = parse_time(get_text(e, "timestamp"));
                id = get_text(e, "taskId");
                if (flow_session_log(s, id ? flow_session_find(s, id) : NULL, action, text, usec > 0 ? usec : now) < 0)
                        return no_memory(reterr);
        }
        return 0;
}

int transfer_import(FlowSession *s, json_object *o, uint64_t now, json_object *warnings, char **reterr) {
        int r;

        if (!json_object_is_type(o, json_type_object))
                return refuse(-EINVAL, reterr, "a file of a session is one JSON object");
        r = import_words(s, o, now, reterr);
        if (r >= 0)
                r = import_tasks(s, o, now, warnings, reterr);
        if (r >= 0)
                r = import_log(s, o, now, reterr);
        if (r < 0)
                return r;
        if (flow_session_log(s, NULL, "imported", NULL, now) < 0)
                return no_memory(reterr);
        if (streq(strempty(get_text(o, "status")), "archived"))
                flow_session_archive(s, now);
        return 0;
}

/* ---- merging */

static int check_merge(const FlowSession *to, const FlowSession *from, char **reterr) {
        if (to == from)
                return refuse(-EINVAL, reterr, "a session cannot be merged with itself");
        if (to->archived)
                return refuse(-EINVAL, reterr, "session %s is archived; nothing in it changes any more", to->id);
        if (from->n_running > 0)
                return refuse(-EBUSY, reterr, "jobs of session %s run: rest it ('flowctl flow rest %s'), and merge it when they are done", from->id, from->id);
        if (strlen(from->id) + 1 > FLOW_ID_MAX / 2)
                return refuse(-EINVAL, reterr, "the id of session %s is too long to stand before those of its tasks", from->id);
        LIST_FOREACH(l, (List *) &from->tasks) {
                const FlowTask *t = list_entry(l, FlowTask, link);
                char id[FLOW_ID_MAX * 2 + 2];

                if (!flow_session_find(to, t->id))
                        continue;
                snprintf(id, sizeof(id), "%s.%s", from->id, t->id);
                if (strlen(id) > FLOW_ID_MAX || flow_session_find(to, id) || flow_session_find(from, id))
                        return refuse(-EINVAL, reterr, "both sessions have a task %s, and %s is too long or taken, too", t->id, id);
        }
        return 0;
}

int transfer_merge(FlowSession *to, FlowSession *from, uint64_t now, char **reterr) {
        _cleanup_free_ char **ids = new0(char *, from->n_tasks + 1);
        size_t i = 0;
        List *l;
        int r;

        r = check_merge(to, from, reterr);
        if (r < 0)
                return r;
        if (!ids)
                return no_memory(reterr);
        LIST_FOREACH(k, &from->tasks) {
                const FlowTask *t = list_entry(k, FlowTask, link);

                if (flow_session_find(to, t->id) && !(ids[i] = str_printf("%s.%s", from->id, t->id))) {
                        while (i > 0)
                                free(ids[--i]);
                        return no_memory(reterr);
                }
                i++;
        }
        i = 0;
        LIST_FOREACH(k, &from->tasks) { /* what was to be dispatched is, in the other session */
                FlowTask *t = list_entry(k, FlowTask, link);

                if (t->work && task_loads(t))
                        (void) flow_session_requeue(from, t, now);
        }
        while ((l = list_first(&from->tasks))) {
                FlowTask *t = list_entry(l, FlowTask, link);

                list_remove(&t->link);
                list_remove(&t->dirty_link);
                list_remove(&t->fresh_link);
                balance_remove(from, t);
                graph_forget(from, t);
                map_remove(&from->tasks_by_id, &t->by_id);
                from->counts[t->state]--;
                from->n_tasks--;
                if (ids[i]) {
                        free(t->id);
                        t->id = ids[i];
                }
                i++;
                if (!t->own_policy) { /* what it was subject to, it stays */
                        t->own_policy = true;
                        t->policy = from->policy;
                }
                t->seq = to->next_seq++;
                t->stored = false;
                if (flow_session_insert(to, t) < 0) /* the index of descriptions, or a first bucket: the task goes without its description being known */
                        return no_memory(reterr);
                flow_session_touch(to, t, true);
        }
        LIST_FOREACH(k, &from->log) {
                const FlowEntry *e = list_entry(k, FlowEntry, link);

                if (flow_session_log(to, e->task ? flow_session_find(to, e->task) : NULL, e->action, e->details, e->usec) < 0)
                        return no_memory(reterr);
        }
        return flow_session_log(to, NULL, "merged", from->id, now) < 0 ? no_memory(reterr) : 0;
}
