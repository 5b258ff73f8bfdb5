/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* flow ...: sessions and their tasks. What a session looks like is in flow-view.c. */

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "basic/str.h"
#include "flowctl/flow-view.h"
#include "flowctl/source.h"

#define FOLLOW_USEC USEC_PER_SEC

static json_object *session_parameters(const char *session) {
        json_object *p = json_object_new_object();

        json_object_object_add(p, "session", json_object_new_string(session));
        return p;
}

static void add_text(json_object *p, const char *key, const char *v) {
        if (v)
                json_object_object_add(p, key, json_object_new_string(v));
}

static void print_warnings(const Flowctl *c, json_object *reply) {
        json_object *a = json_member(reply, "warnings");

        for (size_t i = 0; i < json_length(a) && !option(c, OPTION_QUIET); i++)
                fprintf(stderr, "Note: %s.\n", strempty(json_object_get_string(json_object_array_get_idx(a, i))));
}

/* Calls, and tells what has come of it; `what` is a sentence about the session, NULL: none. Takes over `p`. */
static int change(Flowctl *c, const char *method, json_object *p, const char *what) {
        _cleanup_json_ json_object *reply = NULL;
        int r = control_call(c, method, p, &reply);

        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        print_warnings(c, reply);
        if (!option(c, OPTION_QUIET))
                flow_print_change(reply, what);
        return STATUS_OK;
}

/* A file, or standard input, whole. Returns 0 or an exit status, told. */
static int read_file(const char *path, char **ret, size_t *ret_size) {
        FILE *f = streq(path, "-") ? stdin : fopen(path, "re");
        _cleanup_free_ char *text = NULL;
        size_t size = 0, room = 0;

        if (!f) {
                error_print("cannot open %s: %s", path, strerror(errno));
                return STATUS_FAILED;
        }
        for (;;) {
                if (size + 65536 > room) {
                        room = MAX(room * 2, (size_t) 131072);
                        char *more = room <= SOURCE_PAYLOAD_MAX ? realloc(text, room + 1) : NULL;
                        if (!more) {
                                error_print("%s is too large.", path);
                                break;
                        }
                        text = more;
                }
                size_t n = fread(text + size, 1, 65536, f);
                size += n;
                if (n > 0)
                        continue;
                if (ferror(f)) {
                        error_print("cannot read %s: %s", path, strerror(errno));
                        break;
                }
                if (f != stdin)
                        fclose(f);
                text[size] = 0;
                *ret = TAKE_PTR(text);
                *ret_size = size;
                return 0;
        }
        if (f != stdin)
                fclose(f);
        return STATUS_FAILED;
}

static int read_json(const char *path, json_object **ret) {
        _cleanup_free_ char *text = NULL;
        enum json_tokener_error e;
        size_t size;
        int r = read_file(path, &text, &size);

        if (r > 0)
                return r;
        *ret = json_tokener_parse_verbose(text, &e);
        if (*ret)
                return 0;
        error_print("%s is no JSON: %s.", path, json_tokener_error_desc(e));
        return STATUS_FAILED;
}

int verb_flow_create(Flowctl *c, int argc, char **argv) {
        json_object *p = json_object_new_object();

        if (argc > 0)
                add_text(p, "session", argv[0]);
        if (argc > 1)
                add_text(p, "purpose", argv[1]);
        if (option(c, OPTION_ON_FAILURE))
                add_text(p, "on_failure", c->options[OPTION_ON_FAILURE]);
        return change(c, "FlowCreate", p, "is created");
}

/* What makes a task executable. Returns 0 or an exit status, told. */
static int add_work(Flowctl *c, json_object *task, const char *payload) {
        _cleanup_free_ char *text = NULL;
        uint64_t timeout = 0, retries = UINT64_MAX;
        size_t size = 0;
        int r = option_text(c, OPTION_METHOD, JOB_TEXT_MAX);

        if (r > 0)
                return r;
        add_text(task, "pool", c->options[OPTION_POOL]);
        add_text(task, "tier", c->options[OPTION_TIER]);
        add_text(task, "method", c->options[OPTION_METHOD]);
        add_text(task, "kind", c->options[OPTION_PAYLOAD]);
        r = option_usec(c, OPTION_TIMEOUT, &timeout);
        if (r == 0)
                r = option_number(c, OPTION_RETRIES, 0, 1000, &retries);
        if (r > 0)
                return r;
        if (timeout > 0)
                json_object_object_add(task, "timeout_usec", json_object_new_int64((int64_t) timeout));
        if (retries != UINT64_MAX)
                json_object_object_add(task, "retries", json_object_new_int64((int64_t) retries));
        if (option(c, OPTION_FILE) && payload)
                return usage_error(c, "the payload is either an argument or a file");
        if (option(c, OPTION_FILE) || (payload && streq(payload, "-"))) {
                r = read_file(payload ? payload : c->options[OPTION_FILE], &text, &size);
                if (r > 0)
                        return r;
                payload = text;
        }
        if (payload && !utf8_valid(payload, strlen(payload)))
                return usage_error(c, "the payload of a task is text or JSON, and this is no UTF-8");
        add_text(task, "payload", payload);
        return 0;
}

int verb_flow_add(Flowctl *c, int argc, char **argv) {
        _cleanup_json_ json_object *task = json_object_new_object();
        static const char *const priorities[] = { "high", "medium", "low" };
        uint64_t weight = 0;
        json_object *p;
        int r;

        add_text(task, "description", argv[1]);
        add_text(task, "id", c->options[OPTION_ID]);
        add_text(task, "on_failure", c->options[OPTION_ON_FAILURE]);
        r = option_number(c, OPTION_WEIGHT, 1, 10, &weight);
        if (r > 0)
                return r;
        if (weight > 0)
                json_object_object_add(task, "weight", json_object_new_int64((int64_t) weight));
        if (option(c, OPTION_PRIORITY)) {
                bool known = false;

                for (size_t i = 0; i < ELEMENTSOF(priorities); i++)
                        known |= streq(priorities[i], c->options[OPTION_PRIORITY]);
                if (!known)
                        return usage_error(c, "--priority=%s: that of a task is high, medium or low", c->options[OPTION_PRIORITY]);
                add_text(task, "priority", c->options[OPTION_PRIORITY]);
        }
        if (option(c, OPTION_NEEDS)) {
                _cleanup_free_ char *names = strdup(c->options[OPTION_NEEDS]);
                json_object *a = json_object_new_array();
                char *save = NULL;

                for (char *n = names ? strtok_r(names, ", ", &save) : NULL; n; n = strtok_r(NULL, ", ", &save))
                        json_object_array_add(a, json_object_new_string(n));
                json_object_object_add(task, "dependencies", a);
        }
        r = add_work(c, task, argc > 2 ? argv[2] : NULL);
        if (r > 0)
                return r;
        p = session_parameters(argv[0]);
        json_object_object_add(p, "task", TAKE_PTR(task));
        if (option(c, OPTION_FORCE))
                json_object_object_add(p, "force", json_object_new_boolean(true));
        return change(c, "FlowAdd", p, NULL);
}

int verb_flow_submit(Flowctl *c, int argc _unused_, char **argv) {
        json_object *graph = NULL, *p;
        int r = read_json(argv[0], &graph);

        if (r > 0)
                return r;
        p = json_object_new_object();
        json_object_object_add(p, "graph", graph);
        add_text(p, "session", c->options[OPTION_SESSION]);
        if (option(c, OPTION_FORCE))
                json_object_object_add(p, "force", json_object_new_boolean(true));
        return change(c, "FlowSubmit", p, "has got the graph");
}

int verb_flow_complete(Flowctl *c, int argc, char **argv) {
        json_object *p = session_parameters(argv[0]);

        add_text(p, "task", argv[1]);
        add_text(p, "notes", argc > 2 ? argv[2] : NULL);
        add_text(p, "error", c->options[OPTION_FAILED]);
        return change(c, "FlowComplete", p, NULL);
}

int verb_flow_pulse(Flowctl *c, int argc, char **argv) {
        json_object *p = session_parameters(argv[0]);

        add_text(p, "action", argv[1]);
        add_text(p, "task", argc > 2 ? argv[2] : NULL);
        add_text(p, "blocked", c->options[OPTION_BLOCKED]);
        if (option(c, OPTION_MOMENTUM)) {
                char *end;
                double m = strtod(c->options[OPTION_MOMENTUM], &end);

                if (end == c->options[OPTION_MOMENTUM] || *end || !(m >= 0 && m <= 100)) {
                        json_object_put(p);
                        return usage_error(c, "--momentum=%s: this takes a number from 0 to 100", c->options[OPTION_MOMENTUM]);
                }
                json_object_object_add(p, "momentum", json_object_new_double(m));
        }
        return change(c, "FlowPulse", p, "has noted it");
}

int verb_flow_todos(Flowctl *c, int argc, char **argv) {
        json_object *p = session_parameters(argv[0]), *a;

        if (argc == 1) {
                _cleanup_json_ json_object *reply = NULL;
                int r = control_call(c, "FlowStatus", p, &reply);

                if (r > 0)
                        return r;
                json_object *todos = json_member(json_member(reply, "status"), "todos");
                if (option(c, OPTION_JSON))
                        return json_print(todos, true);
                for (size_t i = 0; i < json_length(todos); i++)
                        printf("%2zu. %s\n", i + 1, strempty(json_object_get_string(json_object_array_get_idx(todos, i))));
                return STATUS_OK;
        }
        a = json_object_new_array();
        for (int i = 1; i < argc; i++)
                json_object_array_add(a, json_object_new_string(argv[i]));
        json_object_object_add(p, "todos", a);
        return change(c, "FlowTodos", p, "has new todos");
}

int verb_flow_rest(Flowctl *c, int argc, char **argv) {
        json_object *p = session_parameters(argv[0]);

        add_text(p, "duration", argc > 1 ? argv[1] : NULL);
        return change(c, "FlowRest", p, "rests");
}

/* The verbs of a session, or of one of its tasks, and nothing else. */
static int simple(Flowctl *c, int argc, char **argv, const char *method, const char *key, const char *what) {
        json_object *p = session_parameters(argv[0]);

        if (argc > 1)
                add_text(p, key, argv[1]);
        return change(c, method, p, what);
}

int verb_flow_wake(Flowctl *c, int argc, char **argv) {
        return simple(c, argc, argv, "FlowWake", "task", "is awake");
}

int verb_flow_rebalance(Flowctl *c, int argc, char **argv) {
        return simple(c, argc, argv, "FlowRebalance", NULL, "is balanced");
}

int verb_flow_expand(Flowctl *c, int argc, char **argv) {
        return simple(c, argc, argv, "FlowExpand", "task", NULL);
}

int verb_flow_cancel(Flowctl *c, int argc, char **argv) {
        json_object *p = session_parameters(argv[0]);

        add_text(p, "task", argv[1]);
        add_text(p, "reason", argc > 2 ? argv[2] : NULL);
        return change(c, "FlowCancel", p, NULL);
}

int verb_flow_depend(Flowctl *c, int argc _unused_, char **argv) {
        json_object *p = session_parameters(argv[0]);

        add_text(p, "task", argv[1]);
        add_text(p, "on", argv[2]);
        return change(c, "FlowDepend", p, NULL);
}

int verb_flow_archive(Flowctl *c, int argc, char **argv) {
        return simple(c, argc, argv, "FlowArchive", NULL, "is archived");
}

int verb_flow_merge(Flowctl *c, int argc, char **argv) {
        return simple(c, argc, argv, "FlowMerge", "from", "has it all");
}

int verb_flow_import(Flowctl *c, int argc, char **argv) {
        json_object *file = NULL, *p;
        int r = read_json(argv[0], &file);

        if (r > 0)
                return r;
        p = json_object_new_object();
        json_object_object_add(p, "file", file);
        add_text(p, "session", argc > 1 ? argv[1] : NULL);
        return change(c, "FlowImport", p, "is imported");
}

int verb_flow_export(Flowctl *c, int argc _unused_, char **argv) {
        _cleanup_json_ json_object *reply = NULL;
        int r = control_call(c, "FlowExport", session_parameters(argv[0]), &reply);

        if (r > 0)
                return r;
        puts(json_object_to_json_string_ext(json_member(reply, "file"), JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
        return STATUS_OK;
}

int verb_flow_list(Flowctl *c, int argc _unused_, char **argv _unused_) {
        _cleanup_json_ json_object *reply = NULL;
        json_object *p = json_object_new_object();
        int r;

        if (option(c, OPTION_ALL))
                json_object_object_add(p, "all", json_object_new_boolean(true));
        r = control_call(c, "FlowList", p, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        flow_print_list(c, json_member(reply, "sessions"));
        return STATUS_OK;
}

int verb_flow_show(Flowctl *c, int argc, char **argv) {
        _cleanup_json_ json_object *reply = NULL;
        json_object *p = session_parameters(argv[0]);
        int r;

        add_text(p, "task", argc > 1 ? argv[1] : NULL);
        if (option(c, OPTION_ALL))
                json_object_object_add(p, "all", json_object_new_boolean(true));
        r = control_call(c, "FlowShow", p, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(json_member(reply, "session"), true);
        flow_print_session(c, json_member(reply, "session"), argc > 1);
        return STATUS_OK;
}

int verb_flow_graph(Flowctl *c, int argc _unused_, char **argv) {
        _cleanup_json_ json_object *reply = NULL;
        int r = control_call(c, "FlowShow", session_parameters(argv[0]), &reply);

        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(json_member(json_member(reply, "session"), "graph"), true);
        return flow_print_graph(json_member(reply, "session"), option(c, OPTION_DOT));
}

int verb_flow_explain(Flowctl *c, int argc _unused_, char **argv) {
        _cleanup_json_ json_object *reply = NULL;
        int r = control_call(c, "FlowExplain", session_parameters(argv[0]), &reply);

        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(json_member(reply, "explanation"), true);
        flow_print_explanation(json_member(reply, "explanation"));
        return STATUS_OK;
}

/* ---- status */

/* Whether anything of it may still happen by itself or by somebody. */
static bool is_over(json_object *status) {
        return json_int(status, "queued") + json_int(status, "active") + json_int(status, "in_progress") + json_int(status, "resting") +
                json_int(status, "blocked") == 0;
}

static int follow(Flowctl *c, const char *session) {
        uint64_t interval = FOLLOW_USEC;
        int64_t revision = -1;
        FlowFollow f = {};
        int r;

        r = option_usec(c, OPTION_INTERVAL, &interval);
        if (r > 0)
                return r;
        for (;;) {
                _cleanup_json_ json_object *reply = NULL;

                r = control_call(c, "FlowStatus", session_parameters(session), &reply);
                if (r > 0)
                        break;
                json_object *status = json_member(reply, "status");
                if (json_int(status, "revision") != revision) {
                        revision = json_int(status, "revision");
                        if (option(c, OPTION_JSON))
                                json_print(status, false);
                        else
                                flow_follow_print(&f, status);
                        (void) fflush(stdout);
                }
                if (json_int(status, "tasks") > 0 && is_over(status)) {
                        r = json_int(status, "failed") > 0 ? STATUS_FAILED : STATUS_OK;
                        break;
                }
                struct timespec ts = { (time_t) (interval / USEC_PER_SEC), (long) (interval % USEC_PER_SEC * 1000) };
                if (nanosleep(&ts, NULL) < 0) {
                        r = STATUS_CANCELLED;
                        break;
                }
        }
        flow_follow_done(&f);
        return r;
}

int verb_flow_status(Flowctl *c, int argc _unused_, char **argv) {
        _cleanup_json_ json_object *reply = NULL;
        int r;

        if (option(c, OPTION_FOLLOW))
                return follow(c, argv[0]);
        r = control_call(c, "FlowStatus", session_parameters(argv[0]), &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(json_member(reply, "status"), true);
        flow_print_status(json_member(reply, "status"));
        return STATUS_OK;
}
