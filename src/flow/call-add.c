/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls that make sessions and tasks: create, add, submit, merge, import. */

#include <errno.h>

#include "flow/call.h"
#include "flow/plan.h"
#include "flow/record.h"
#include "flow/transfer.h"
#include "flow/view.h"

#define DUPLICATES_TOLD 10U

/* A new session, not kept yet. Returns NULL after having failed the call. */
static FlowSession *new_session(Call *c, const char *id) {
        char made[FLOW_ID_MAX + 1], job[JOB_ID_TEXT_MAX];
        FlowSession *s;

        if (!id) {
                snprintf(made, sizeof(made), "s-%s", job_id_format(job_id_at(c->now) + c->flow->n_sessions, job));
                id = made;
        }
        if (!name_valid(id)) {
                (void) call_fail(c, "FlowRefused", "'%.80s' is no id: letters, digits, '_', '-' and '.', not first '-' or '.', at most %u", id, FLOW_ID_MAX);
                return NULL;
        }
        if (flow_find(c->flow, id)) {
                (void) call_fail(c, "FlowRefused", "there is a session %s already", id);
                return NULL;
        }
        if (flow_sessions(c->flow) >= c->flow->config.sessions_max) {
                (void) call_fail(c, "LimitReached", "there are FlowSessionsMax=%u sessions: archive some", c->flow->config.sessions_max);
                return NULL;
        }
        if (flow_session_new(id, c->who->uid, &c->flow->config.limits, &c->flow->index, c->now, &s) < 0) {
                (void) call_refused(c, -ENOMEM, NULL);
                return NULL;
        }
        return s;
}

static bool take_value(Call *c, json_object *v, const char *what, char **ret) {
        if (!v)
                return true;
        *ret = strdup(json_plain(v));
        if (!*ret) {
                (void) call_refused(c, -ENOMEM, NULL);
                return false;
        }
        if (strlen(*ret) > FLOW_CONTEXT_MAX) {
                (void) call_fail(c, "FlowRefused", "the %s is larger than %u bytes", what, FLOW_CONTEXT_MAX);
                return false;
        }
        return true;
}

/* Words of the session, out of the call's arguments or a graph. */
static bool take_words(Call *c, FlowSession *s, json_object *o) {
        const char *purpose = get_text(o, "purpose"), *policy = get_text(o, "on_failure");
        json_object *todos = get_member(o, "todos");
        int k = policy ? flow_policy_from_string(policy) : 0;

        if (k < 0) {
                (void) call_fail(c, "FlowRefused", "'%.40s' is no policy for on_failure; fail, skip and continue are", policy);
                return false;
        }
        if (purpose && (strlen(purpose) > FLOW_TEXT_MAX || !(s->purpose = strdup(purpose)))) {
                (void) call_fail(c, "FlowRefused", "the purpose is longer than %u bytes", FLOW_TEXT_MAX);
                return false;
        }
        s->policy = (FlowPolicy) k;
        return take_value(c, get_member(o, "context"), "context", &s->context) && take_value(c, todos, "todos", &s->todos);
}

/* The new session is the room's, and the call's. */
static int keep(Call *c, FlowSession *s) {
        c->session = s;
        return flow_keep(c->flow, s) < 0 ? -ENOMEM : 0;
}

int verb_create(Call *c) {
        _cleanup_(flow_session_freep) FlowSession *s = NULL;
        const char *id = NULL;

        if (!call_text(c, "session", FLOW_ID_MAX, &id))
                return 0;
        s = new_session(c, id);
        if (!s || !take_words(c, s, c->args))
                return 0;
        (void) flow_session_log(s, NULL, "created", s->purpose, c->now);
        if (keep(c, TAKE_PTR(s)) < 0)
                return call_refused(c, -ENOMEM, NULL);
        return call_changed(c, NULL);
}

/* Unfinished tasks with the same description. Returns false after having failed the call; with `force` they are warnings. */
static bool check_duplicates(Call *c, const Plan *p, const FlowSession *s, json_object *warnings) {
        _cleanup_free_ char *all = NULL;
        unsigned n = 0;

        for (size_t i = 0; i < p->n; i++) {
                const FlowTask *same = flow_index_find(&c->flow->index, p->tasks[i].spec.description, s);
                _cleanup_free_ char *text = NULL;

                if (!same || ++n > DUPLICATES_TOLD)
                        continue;
                text = str_printf("task %s of %ssession %s is unfinished and has the same description: \"%.200s\"", same->id, same->session == s ? "this " : "",
                                  same->session->id, same->description);
                if (!text)
                        continue;
                json_object_array_add(warnings, json_object_new_string(text));
                char *longer = str_printf("%s%s%s", strempty(all), all ? "; " : "", text);
                free(all);
                all = longer;
        }
        if (n == 0 || get_bool(c->args, "force"))
                return true;
        (void) call_fail(c, "FlowRefused", "%s%s. To have it all the same: --force (force: true)", strempty(all), n > DUPLICATES_TOLD ? "; and more" : "");
        return false;
}

static bool has_room(Call *c, const FlowSession *s, size_t n) {
        if (s->n_tasks + n <= c->flow->config.tasks_max)
                return true;
        (void) call_fail(c, "LimitReached", "session %s would have %zu tasks, more than FlowTasksMax=%u", s->id, s->n_tasks + n, c->flow->config.tasks_max);
        return false;
}

/* Heavy manual tasks, where FlowExpandWeight= says so. */
static void expand(Call *c, FlowTask *const *tasks, size_t n) {
        unsigned from = c->flow->config.limits.expand_weight;
        FlowTask *parts[4];
        char *why = NULL;

        for (size_t i = 0; i < n; i++) {
                if (from == 0 || tasks[i]->work || tasks[i]->weight < from || task_ended(tasks[i]))
                        continue;
                if (!has_room(c, tasks[i]->session, 4))
                        break;
                (void) flow_session_expand(tasks[i]->session, tasks[i], c->now, parts, &why);
                free(why);
                why = NULL;
        }
        flow_call_done(c->call); /* what had no room is not expanded; that is no error */
}

/* Adds what was parsed. Returns 0, or -1 after having failed the call. */
static int add_plan(Call *c, Plan *p, FlowSession *s, json_object *warnings, FlowTask **tasks) {
        char *why = NULL;
        int r;

        if (!has_room(c, s, p->n))
                return -1;
        r = plan_check(p, s, false, &why);
        if (r >= 0 && !check_duplicates(c, p, s, warnings))
                return -1;
        if (r >= 0)
                r = plan_add(p, s, c->now, tasks, &why);
        if (r < 0) {
                (void) call_refused(c, r, why);
                return -1;
        }
        expand(c, tasks, p->n);
        return 0;
}

int verb_add(Call *c) {
        static const char *const others[] = { "session", "sessionId", "force" };
        json_object *task = get_member(c->args, "task"), *result;
        _cleanup_json_ json_object *own = NULL, *warnings = json_object_new_array();
        _cleanup_(plan_done) Plan plan = {};
        char *why = NULL;
        int r;

        if (!task || !json_object_is_type(task, json_type_object)) { /* its members stand among the arguments */
                own = task = json_object_new_object();
                json_object_object_foreach(c->args, key, v) {
                        bool other = false;

                        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                                other |= streq(key, others[i]);
                        if (!other)
                                json_object_object_add(own, streq(key, "taskId") ? "id" : key, json_object_get(v));
                }
        }
        r = plan_parse(&plan, task, false, &why);
        if (r < 0)
                return call_refused(c, r, why);
        if (add_plan(c, &plan, c->session, warnings, &c->task) < 0)
                return 0;
        (void) flow_session_log(c->session, c->task, "added", c->task->description, c->now);
        result = json_object_new_object();
        json_object_object_add(result, "warnings", TAKE_PTR(warnings));
        return call_changed(c, result);
}

/* The session that a graph goes to: it is there, or new. Returns NULL after having failed the call. */
static FlowSession *submit_to(Call *c, json_object *graph, bool *ret_new) {
        const char *id = NULL;
        FlowSession *s;

        if (!call_text(c, "session", FLOW_ID_MAX, &id))
                return NULL;
        if (!id && json_object_is_type(graph, json_type_object))
                id = get_text(graph, "session");
        s = id ? flow_find(c->flow, id) : NULL;
        *ret_new = !s;
        if (s && s->uid != c->who->uid && !c->who->operator_) {
                (void) call_fail(c, "NotPermitted", "session %s belongs to uid %u", id, (unsigned) s->uid);
                return NULL;
        }
        if (s)
                return s;
        s = new_session(c, id);
        if (s && json_object_is_type(graph, json_type_object) && !take_words(c, s, graph))
                return flow_session_free(s);
        return s;
}

static bool check_graph(Call *c, json_object *graph) {
        static const char *const known[] = { "session", "purpose", "context", "todos", "on_failure", "tasks" };

        if (!json_object_is_type(graph, json_type_object))
                return true;
        json_object_object_foreach(graph, key, v) {
                bool found = false;

                (void) v;
                for (size_t i = 0; i < ELEMENTSOF(known); i++)
                        found |= streq(key, known[i]);
                if (!found) {
                        (void) call_fail(c, "FlowRefused", "'%.80s' is no member of a graph; session, purpose, context, todos, on_failure and tasks are", key);
                        return false;
                }
        }
        return true;
}

int verb_submit(Call *c) {
        json_object *graph = get_member(c->args, "graph"), *tasks = graph ? graph : get_member(c->args, "tasks"), *o, *ids;
        _cleanup_json_ json_object *warnings = json_object_new_array();
        _cleanup_free_ FlowTask **added = NULL;
        _cleanup_(plan_done) Plan plan = {};
        char *why = NULL;
        FlowSession *s;
        bool is_new;
        int r;

        if (graph && json_object_is_type(graph, json_type_object))
                tasks = get_member(graph, "tasks");
        if (!tasks || !json_object_is_type(tasks, json_type_array))
                return call_fail(c, "FlowRefused", "a graph is an array of tasks, or an object that has one as its \"tasks\"");
        if (graph && !check_graph(c, graph))
                return 0;
        r = plan_parse(&plan, tasks, false, &why);
        if (r < 0)
                return call_refused(c, r, why);
        s = submit_to(c, graph ? graph : c->args, &is_new);
        if (!s)
                return 0;
        added = new0(FlowTask *, plan.n + 1);
        if (!added || add_plan(c, &plan, s, warnings, added) < 0) {
                if (is_new)
                        flow_session_free(s);
                return added ? 0 : call_refused(c, -ENOMEM, NULL);
        }
        (void) flow_session_log(s, NULL, "graph submitted", NULL, c->now);
        c->session = s;
        if (is_new && keep(c, s) < 0)
                return call_refused(c, -ENOMEM, NULL);
        o = json_object_new_object();
        ids = json_object_new_array();
        for (size_t i = 0; i < plan.n; i++)
                json_object_array_add(ids, json_object_new_string(added[i]->id));
        json_object_object_add(o, "tasks", ids);
        json_object_object_add(o, "warnings", TAKE_PTR(warnings));
        return call_changed(c, o);
}

int verb_import(Call *c) {
        _cleanup_json_ json_object *warnings = json_object_new_array();
        _cleanup_(flow_session_freep) FlowSession *s = NULL;
        json_object *file = get_member(c->args, "file"), *o;
        const char *id = NULL;
        char *why = NULL;
        int r;

        if (!call_text(c, "session", FLOW_ID_MAX, &id))
                return 0;
        if (!file || !json_object_is_type(file, json_type_object))
                return call_fail(c, "FlowRefused", "a file of a session is one JSON object");
        id = id ? id : transfer_id(file);
        if (!id)
                return call_fail(c, "FlowRefused", "the file has no sessionId: name one");
        s = new_session(c, id);
        if (!s)
                return 0;
        if (!has_room(c, s, get_length(get_member(file, "tasks"))))
                return 0;
        r = transfer_import(s, file, c->now, warnings, &why);
        if (r < 0)
                return call_refused(c, r, why);
        if (keep(c, TAKE_PTR(s)) < 0)
                return call_refused(c, -ENOMEM, NULL);
        o = json_object_new_object();
        json_object_object_add(o, "warnings", TAKE_PTR(warnings));
        return call_changed(c, o);
}

int verb_merge(Call *c) {
        const char *id = NULL;
        FlowSession *from;
        char *why = NULL;
        int r;

        if (!call_text(c, "from", FLOW_ID_MAX, &id))
                return 0;
        from = id ? flow_find(c->flow, id) : NULL;
        if (!from)
                return call_fail(c, "NoSuchSession", "there is no session '%s' to merge", strempty(id));
        if (from->uid != c->who->uid && !c->who->operator_)
                return call_fail(c, "NotPermitted", "session %s belongs to uid %u", id, (unsigned) from->uid);
        if (!has_room(c, c->session, from->n_tasks))
                return 0;
        r = transfer_merge(c->session, from, c->now, &why);
        if (r < 0)
                return call_refused(c, r, why);
        /* What is written next is both at once: the one whole, the other gone. */
        if (flow_merged(c->flow, c->session, from) < 0)
                return call_refused(c, -ENOMEM, NULL);
        return call_changed(c, NULL);
}
