/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls: arguments out of JSON, who may, what is done, and the answer. Everything that control, MCP and flowctl can ask comes through here. */

#include <errno.h>
#include <stdarg.h>
#include <strings.h>
#include <time.h>

#include "flow/call.h"
#include "flow/transfer.h"
#include "flow/view.h"

#define SHOWN_ENTRIES 100U
#define OVERNIGHT_HOUR 8
#define EXTENDED_USEC (3 * 86400 * USEC_PER_SEC)

/* ---- arguments and answers */

int call_fail(Call *c, const char *error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&c->call->message, format, ap) < 0)
                c->call->message = NULL;
        va_end(ap);
        c->call->error = error;
        return 0;
}

int call_refused(Call *c, int r, char *why) {
        c->call->error = r == -ENOMEM ? "LimitReached" : r == -ENOENT ? "NoSuchTask" : "FlowRefused";
        c->call->message = why ? why : strdup(strerror(-r));
        return 0;
}

json_object *call_member(const Call *c, const char *name) {
        static const char *const others[][2] = { { "session", "sessionId" }, { "task", "taskId" }, { "from", "fromSessionId" } };
        json_object *v = get_member(c->args, name);

        for (size_t i = 0; i < ELEMENTSOF(others) && !v; i++)
                if (streq(name, others[i][0]))
                        v = get_member(c->args, others[i][1]);
        return v;
}

bool call_text(Call *c, const char *name, size_t max, const char **ret) {
        json_object *v = call_member(c, name);

        if (!v)
                return true;
        if (!json_object_is_type(v, json_type_string) || (size_t) json_object_get_string_len(v) > max) {
                (void) call_fail(c, "FlowRefused", "%s must be a text of at most %zu bytes", name, max);
                return false;
        }
        *ret = json_object_get_string(v);
        return true;
}

int call_changed(Call *c, json_object *o) {
        json_object *activated = json_object_new_array();
        FlowSession *s = c->session;

        flow_changed(c->flow, s, c->call);
        LIST_FOREACH(l, &s->dirty) {
                const FlowTask *t = list_entry(l, FlowTask, dirty_link);

                if (task_loads(t) && t->activated_usec >= c->now)
                        json_object_array_add(activated, json_object_new_string(t->id));
        }
        if (!o)
                o = json_object_new_object();
        json_object_object_add(o, "session", view_session(s));
        if (c->task)
                json_object_object_add(o, "task", view_task(c->task, false));
        json_object_object_add(o, "activated", activated);
        c->call->result = o;
        return 1;
}

/* ---- tasks */

static int verb_complete(Call *c) {
        const char *error = NULL, *notes = NULL;
        char *why = NULL;
        int r;

        if (!call_text(c, "error", FLOW_TEXT_MAX, &error) || !call_text(c, "notes", FLOW_TEXT_MAX, &notes))
                return 0;
        r = error ? flow_session_fail(c->session, c->task, error, c->now, &why) : flow_session_complete(c->session, c->task, c->now, &why);
        if (r < 0)
                return call_refused(c, r, why);
        (void) flow_session_log(c->session, c->task, error ? "failed" : r > 0 ? "finished before its dependencies" : "completed", error ? error : notes,
                                c->now);
        json_object *o = json_object_new_object();
        put_bool(o, "waits", r > 0);
        return call_changed(c, o);
}

static int verb_pulse(Call *c) {
        json_object *m = call_member(c, "momentum");
        const char *action = NULL, *details = NULL, *blocked = NULL;
        double momentum = m ? json_object_get_double(m) : -1;
        char *why = NULL;
        int r;

        if (!call_text(c, "action", FLOW_TEXT_MAX, &action) || !call_text(c, "details", FLOW_TEXT_MAX, &details) ||
            !call_text(c, "blocked", FLOW_TEXT_MAX, &blocked))
                return 0;
        if (m && (!(json_object_is_type(m, json_type_int) || json_object_is_type(m, json_type_double)) || !(momentum >= 0) || momentum > 1e6))
                return call_fail(c, "FlowRefused", "momentum is a number from 0 to 100");
        if ((m || blocked) && !c->task)
                return call_fail(c, "FlowRefused", "momentum and blocked are of a task: name it");
        if (blocked)
                r = flow_session_block(c->session, c->task, blocked, c->now, &why);
        else
                r = flow_session_pulse(c->session, c->task, m ? (int) (MIN(momentum, 100.0) * MOMENTUM_PERCENT) : -1, c->now, &why);
        if (r < 0)
                return call_refused(c, r, why);
        (void) flow_session_log(c->session, c->task, action ? action : blocked ? "blocked" : "pulse", details ? details : blocked, c->now);
        return call_changed(c, NULL);
}

static int verb_todos(Call *c) {
        json_object *todos = call_member(c, "todos");
        char *text;

        if (!todos || !json_object_is_type(todos, json_type_array))
                return call_fail(c, "FlowRefused", "todos must be an array");
        if (c->session->archived)
                return call_fail(c, "FlowRefused", "session %s is archived; nothing in it changes any more", c->session->id);
        text = strdup(json_plain(todos));
        if (!text)
                return call_refused(c, -ENOMEM, NULL);
        if (strlen(text) > FLOW_CONTEXT_MAX) {
                free(text);
                return call_fail(c, "FlowRefused", "the todos are larger than %u bytes", FLOW_CONTEXT_MAX);
        }
        free(c->session->todos);
        c->session->todos = text;
        flow_session_touch(c->session, NULL, true);
        (void) flow_session_log(c->session, NULL, "todos", NULL, c->now);
        return call_changed(c, NULL);
}

static int verb_cancel(Call *c) {
        const char *reason = "cancelled by hand";
        char *why = NULL;
        int r;

        if (!call_text(c, "reason", FLOW_TEXT_MAX, &reason))
                return 0;
        r = flow_session_cancel(c->session, c->task, reason, c->now, &why);
        if (r < 0)
                return call_refused(c, r, why);
        (void) flow_session_log(c->session, c->task, "cancelled", reason, c->now);
        return call_changed(c, NULL);
}

static int verb_depend(Call *c) {
        const char *on = NULL;
        char *why = NULL;
        FlowTask *t;
        int r;

        if (!call_text(c, "on", FLOW_ID_MAX, &on))
                return 0;
        if (!on || !(t = flow_session_find(c->session, on)))
                return call_fail(c, "NoSuchTask", "session %s has no task '%s'", c->session->id, strempty(on));
        r = flow_session_depend(c->session, c->task, t, c->now, &why);
        return r < 0 ? call_refused(c, r, why) : call_changed(c, NULL);
}

static int verb_expand(Call *c) {
        FlowTask *parts[4] = {};
        json_object *o, *a;
        char *why = NULL;
        int r;

        if (c->session->n_tasks + 4 > c->flow->config.tasks_max)
                return call_fail(c, "LimitReached", "session %s has %zu tasks, and FlowTasksMax=%u", c->session->id, c->session->n_tasks,
                                 c->flow->config.tasks_max);
        r = flow_session_expand(c->session, c->task, c->now, parts, &why);
        if (r < 0)
                return call_refused(c, r, why);
        (void) flow_session_log(c->session, c->task, "expanded", NULL, c->now);
        o = json_object_new_object();
        a = json_object_new_array();
        for (int i = 0; i < 4; i++)
                json_object_array_add(a, view_task(parts[i], false));
        json_object_object_add(o, "parts", a);
        return call_changed(c, o);
}

/* ---- the session */

int flow_rest_until(const char *duration, uint64_t now, uint64_t *ret) {
        time_t t = (time_t) (now / USEC_PER_SEC);
        uint64_t span;
        struct tm tm;

        if (strcasecmp(duration, "overnight") == 0) {
                if (!localtime_r(&t, &tm))
                        return -EINVAL;
                tm.tm_mday += tm.tm_hour >= OVERNIGHT_HOUR;
                tm.tm_hour = OVERNIGHT_HOUR;
                tm.tm_min = tm.tm_sec = 0;
                tm.tm_isdst = -1;
                t = mktime(&tm);
                if (t < 0)
                        return -EINVAL;
                *ret = (uint64_t) t * USEC_PER_SEC;
                return 0;
        }
        if (strcasecmp(duration, "extended") == 0) {
                *ret = now + EXTENDED_USEC;
                return 0;
        }
        if (usec_parse(duration, &span) < 0 || span == 0)
                return -EINVAL;
        *ret = span == USEC_INFINITY || now + span < now ? USEC_INFINITY : now + span;
        return 0;
}

static int verb_rest(Call *c) {
        const char *duration = "infinity";
        uint64_t until;

        if (!call_text(c, "duration", FLOW_TEXT_MAX, &duration))
                return 0;
        if (flow_rest_until(duration, c->now, &until) < 0)
                return call_fail(c, "FlowRefused", "'%.80s' is no duration; \"8 hours\", \"30min\", \"overnight\", \"extended\" and \"infinity\" are",
                                 duration);
        if (c->session->archived)
                return call_fail(c, "FlowRefused", "session %s is archived", c->session->id);
        flow_session_rest(c->session, until, c->now);
        return call_changed(c, NULL);
}

static int verb_wake(Call *c) {
        char *why = NULL;
        int r;

        if (!c->task)
                flow_session_wake(c->session, c->now);
        else {
                r = flow_session_wake_task(c->session, c->task, c->now, &why);
                if (r < 0)
                        return call_refused(c, r, why);
                (void) flow_session_log(c->session, c->task, "woken", NULL, c->now);
        }
        return call_changed(c, NULL);
}

static int verb_rebalance(Call *c) {
        return call_changed(c, NULL);
}

static int verb_archive(Call *c) {
        if (!c->session->archived) {
                flow_session_archive(c->session, c->now);
                c->flow->n_archived++;
        }
        return call_changed(c, NULL);
}

/* ---- looking */

static int verb_status(Call *c) {
        c->call->result = json_object_new_object();
        json_object_object_add(c->call->result, "status", view_status(c->session, c->now));
        return 0;
}

static int verb_list(Call *c) {
        json_object *o = json_object_new_object(), *a = json_object_new_array();
        bool all = get_bool(c->args, "all");

        LIST_FOREACH(l, &c->flow->sessions) {
                const FlowSession *s = list_entry(l, FlowSession, link);

                if (all || !s->archived)
                        json_object_array_add(a, view_session(s));
        }
        json_object_object_add(o, "sessions", a);
        c->call->result = o;
        return 0;
}

/* Payloads, results and contexts are for those whose they are, as those of jobs. */
static bool may_read(const Call *c) {
        return c->who->operator_ || c->session->uid == c->who->uid;
}

static int verb_show(Call *c) {
        if (!c->task) {
                bool own = may_read(c);

                c->call->result = json_object_new_object();
                json_object_object_add(c->call->result, "session", view_session_whole(c->session, own, own && get_bool(c->args, "all"), SHOWN_ENTRIES));
                return 0;
        }
        json_object *o = view_session(c->session), *a = json_object_new_array();
        json_object_array_add(a, view_task(c->task, may_read(c)));
        json_object_object_add(o, "graph", a);
        c->call->result = json_object_new_object();
        json_object_object_add(c->call->result, "session", o);
        return 0;
}

static int verb_explain(Call *c) {
        c->call->result = json_object_new_object();
        json_object_object_add(c->call->result, "explanation", view_explain(c->session, c->now));
        return 0;
}

static int verb_export(Call *c) {
        if (!may_read(c))
                return call_fail(c, "NotPermitted", "session %s belongs to uid %u", c->session->id, (unsigned) c->session->uid);
        c->call->result = json_object_new_object();
        json_object_object_add(c->call->result, "file", transfer_export(c->session));
        return 0;
}

/* ---- the table */

enum {
        NEED_SESSION = 1 << 0,
        NEED_TASK = 1 << 1,
        MAY_TASK = 1 << 2,
};

static const struct {
        int (*run)(Call *c);
        unsigned need;
        const char *tool;
} verbs[_VERB_MAX] = {
        [VERB_CREATE] = { verb_create, 0, "create_session" },
        [VERB_ADD] = { verb_add, NEED_SESSION, "add_task" },
        [VERB_SUBMIT] = { verb_submit, 0, "add_tasks" },
        [VERB_COMPLETE] = { verb_complete, NEED_SESSION | NEED_TASK, "complete_task" },
        [VERB_PULSE] = { verb_pulse, NEED_SESSION | MAY_TASK, "pulse" },
        [VERB_TODOS] = { verb_todos, NEED_SESSION, "set_comprehensive_todos" },
        [VERB_REST] = { verb_rest, NEED_SESSION, "enter_rest_mode" },
        [VERB_WAKE] = { verb_wake, NEED_SESSION | MAY_TASK, NULL },
        [VERB_REBALANCE] = { verb_rebalance, NEED_SESSION, "rebalance_flow" },
        [VERB_EXPAND] = { verb_expand, NEED_SESSION | NEED_TASK, NULL },
        [VERB_CANCEL] = { verb_cancel, NEED_SESSION | NEED_TASK, "cancel_task" },
        [VERB_DEPEND] = { verb_depend, NEED_SESSION | NEED_TASK, NULL },
        [VERB_ARCHIVE] = { verb_archive, NEED_SESSION, "session_archive" },
        [VERB_MERGE] = { verb_merge, NEED_SESSION, NULL },
        [VERB_IMPORT] = { verb_import, 0, NULL },
        [VERB_STATUS] = { verb_status, NEED_SESSION, "flow_status" },
        [VERB_LIST] = { verb_list, 0, "session_list" },
        [VERB_SHOW] = { verb_show, NEED_SESSION | MAY_TASK, NULL },
        [VERB_EXPLAIN] = { verb_explain, NEED_SESSION, NULL },
        [VERB_EXPORT] = { verb_export, NEED_SESSION, NULL },
};

const char *flow_verb_tool(FlowVerb v) {
        return verbs[v].tool;
}

static bool find_session(Call *c, FlowVerb v) {
        const char *id = NULL;

        if (!call_text(c, "session", FLOW_ID_MAX, &id))
                return false;
        c->session = id ? flow_find(c->flow, id) : NULL;
        if (!c->session) {
                (void) call_fail(c, "NoSuchSession", id ? "there is no session '%s'; see 'flowctl flow list'" : "name a session%s", strempty(id));
                return false;
        }
        if (v < _VERB_READ && c->session->uid != c->who->uid && !c->who->operator_) {
                (void) call_fail(c, "NotPermitted", "session %s belongs to uid %u", id, (unsigned) c->session->uid);
                return false;
        }
        return true;
}

static bool find_task(Call *c, bool needed) {
        const char *id = NULL;

        if (!call_text(c, "task", FLOW_ID_MAX, &id))
                return false;
        c->task = id ? flow_session_find(c->session, id) : NULL;
        if (c->task || (!id && !needed))
                return true;
        (void) call_fail(c, "NoSuchTask", id ? "session %s has no task '%s'; see 'flowctl flow show %s'" : "name a task of session %s", c->session->id,
                         strempty(id), c->session->id);
        return false;
}

int flow_call(Flow *f, FlowVerb v, const FlowCaller *who, json_object *args, FlowCall *call) {
        Call c = { .flow = f, .who = who, .args = args, .call = call, .now = realtime_usec() };
        const char *why = NULL;

        list_init(&call->link);
        if (v < _VERB_READ && !flow_accepts(f, &why))
                return call_fail(&c, "StoreUnavailable", "%s", strna(why));
        if (verbs[v].need & NEED_SESSION && !find_session(&c, v))
                return 0;
        if (verbs[v].need & (NEED_TASK | MAY_TASK) && !find_task(&c, verbs[v].need & NEED_TASK))
                return 0;
        return verbs[v].run(&c);
}

void flow_call_abandon(FlowCall *c) {
        list_remove(&c->link);
}

void flow_call_done(FlowCall *c) {
        json_object_put(c->result);
        free(c->message);
        c->result = NULL;
        c->message = NULL;
        c->error = NULL;
}
