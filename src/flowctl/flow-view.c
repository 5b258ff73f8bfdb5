/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sessions in a terminal. A graph is drawn as a tree: a task stands below the first of its dependencies that is drawn, with what depends on
 * it below it; where it is met again there is only its name, with an arrow.
 */

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#include "basic/map.h"
#include "basic/str.h"
#include "flowctl/flow-view.h"

#define BAR_WIDTH 10
#define TREE_DEPTH_MAX 200U

static const char *const states[] = { "in_progress", "active", "blocked", "resting", "queued", "failed", "cancelled", "completed" };

static Colour task_colour(const char *state) {
        if (streq(state, "completed"))
                return COLOUR_GREEN;
        if (streq(state, "failed"))
                return COLOUR_RED;
        if (streq(state, "active") || streq(state, "in-progress"))
                return COLOUR_BLUE;
        return streq(state, "blocked") || streq(state, "resting") ? COLOUR_YELLOW : COLOUR_DIM;
}

static const char *task_mark(const char *state, bool utf8) {
        static const char *const marks[][3] = {
                { "completed", "✔", "+" }, { "failed", "✘", "x" },   { "cancelled", "⊘", "-" }, { "active", "▶", ">" },
                { "in-progress", "▶", ">" }, { "blocked", "■", "!" }, { "resting", "◌", "~" },   { "queued", "○", "." },
        };

        for (size_t i = 0; i < ELEMENTSOF(marks); i++)
                if (streq(marks[i][0], state))
                        return marks[i][utf8 ? 1 : 2];
        return "?";
}

/* "[####......]" */
static void print_bar(double percent, bool utf8) {
        int full = (int) (percent * BAR_WIDTH / 100 + 0.5);

        putchar('[');
        for (int i = 0; i < BAR_WIDTH; i++)
                fputs(i < full ? (utf8 ? "█" : "#") : (utf8 ? "·" : "."), stdout);
        putchar(']');
}

/* What somebody has written, on one line; it must not control the terminal. */
static void print_plain(const char *s) {
        for (; *s; s++)
                putchar((unsigned char) *s < 0x20 || *s == 0x7f ? ' ' : *s);
}

static void print_task_line(json_object *t, bool colours, bool utf8) {
        const char *state = strna(json_text(t, "state")), *id = strna(json_text(t, "id")), *description = json_text(t, "description");
        const char *error = json_text(t, "error");

        printf("%s%s%s %s%s%s ", colour(colours, task_colour(state)), task_mark(state, utf8), colour(colours, COLOUR_NORMAL),
               colour(colours, COLOUR_BOLD), id, colour(colours, COLOUR_NORMAL));
        print_bar(json_float(t, "momentum"), utf8);
        printf(" %s%s%s", colour(colours, task_colour(state)), state, colour(colours, COLOUR_NORMAL));
        if (description && !streq(description, id)) {
                fputs("  ", stdout);
                print_plain(description);
        }
        if (error && !streq(state, "completed")) {
                printf("  %s(", colour(colours, COLOUR_DIM));
                print_plain(error);
                printf(")%s", colour(colours, COLOUR_NORMAL));
        }
        putchar('\n');
}

void flow_print_list(const Flowctl *c, json_object *sessions) {
        static const TableColumn columns[] = {
                { "SESSION", 0.2, SCOLS_FL_TRUNC }, { "STATE", 8, 0 }, { "LOAD", 7, SCOLS_FL_RIGHT }, { "MOMENTUM", 8, SCOLS_FL_RIGHT },
                { "OPEN", 4, SCOLS_FL_RIGHT }, { "DONE", 4, SCOLS_FL_RIGHT }, { "FAILED", 6, SCOLS_FL_RIGHT },
                { "CHANGED", 8, SCOLS_FL_RIGHT }, { "PURPOSE", 0.4, SCOLS_FL_TRUNC },
        };
        _cleanup_(table_done) Table t = {};
        char buf[NUMBER_SIZE];

        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(sessions); i++) {
                json_object *s = json_object_array_get_idx(sessions, i);
                int64_t ended = json_int(s, "completed") + json_int(s, "failed") + json_int(s, "cancelled");

                table_row(&t);
                table_cell(&t, COLOUR_BOLD, json_text(s, "id"));
                table_cell(&t, COLOUR_NORMAL, json_text(s, "state"));
                snprintf(buf, sizeof(buf), "%" PRId64 "/%" PRId64, json_int(s, "load"), json_int(s, "capacity"));
                table_cell(&t, COLOUR_NORMAL, buf);
                snprintf(buf, sizeof(buf), "%.0f%%", json_float(s, "momentum"));
                table_cell(&t, COLOUR_NORMAL, buf);
                table_cell_number(&t, json_int(s, "tasks") - ended);
                table_cell_number(&t, json_int(s, "completed"));
                table_cell_number(&t, json_int(s, "failed"));
                table_cell(&t, COLOUR_NORMAL, format_age(buf, (uint64_t) json_int(s, "updated_usec")));
                table_cell(&t, COLOUR_NORMAL, json_text(s, "purpose"));
        }
        table_print(&t, c, "session");
}

static void print_head(json_object *s, bool colours) {
        const char *purpose = json_text(s, "purpose");
        char buf[NUMBER_SIZE];

        printf("%s%s%s%s", colour(colours, COLOUR_BOLD), strna(json_text(s, "id")), colour(colours, COLOUR_NORMAL), purpose ? " - " : "");
        print_plain(strempty(purpose));
        putchar('\n');
        field_print(colours, "State", "%s", strna(json_text(s, "state")));
        if (json_text(s, "why"))
                field_print(colours, "Why", "%s", json_text(s, "why"));
        if (json_int(s, "rest_until_usec") > 0)
                field_print(colours, "Rests", "until %s", format_time(buf, (uint64_t) json_int(s, "rest_until_usec")));
        field_print(colours, "Momentum", "%.1f%%", json_float(s, "momentum"));
        if (json_text(s, "load_text"))
                field_print(colours, "Load", "%s", json_text(s, "load_text"));
        else
                field_print(colours, "Load", "%" PRId64 "/%" PRId64, json_int(s, "load"), json_int(s, "capacity"));
        field_begin(colours, "Tasks");
        printf("%" PRId64, json_int(s, "tasks"));
        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                if (json_int(s, states[i]) > 0)
                        printf(", %" PRId64 " %s", json_int(s, states[i]), streq(states[i], "in_progress") ? "in progress" : states[i]);
        putchar('\n');
}

static void print_value(bool colours, const char *name, json_object *v) {
        if (v)
                field_print(colours, name, "%s", json_object_is_type(v, json_type_string) ? json_object_get_string(v) :
                            json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void print_task(json_object *t, bool colours) {
        static const char *const fields[][2] = {
                { "Priority", "priority" }, { "On failure", "on_failure" }, { "Pool", "pool" }, { "Tier", "tier" }, { "Method", "method" },
                { "Job", "job" }, { "Error", "error" }, { "Notes", "notes" }, { "Payload", "payload" },
        };
        json_object *needs = json_member(t, "dependencies");
        char buf[NUMBER_SIZE];

        print_task_line(t, colours, utf8_wanted());
        field_print(colours, "Weight", "%" PRId64 " (%s)", json_int(t, "weight"), strna(json_text(t, "weight_band")));
        field_print(colours, "Momentum", "%.1f%% (%s)", json_float(t, "momentum"), strna(json_text(t, "momentum_band")));
        if (json_length(needs) > 0) {
                field_begin(colours, "Depends on");
                for (size_t i = 0; i < json_length(needs); i++)
                        printf("%s%s", i > 0 ? ", " : "", json_object_get_string(json_object_array_get_idx(needs, i)));
                printf("%s\n", json_int(t, "unmet") > 0 ? " (not all of them are done)" : "");
        }
        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                if (json_text(t, fields[i][1]))
                        field_print(colours, fields[i][0], "%s", json_text(t, fields[i][1]));
        print_value(colours, "Context", json_member(t, "context"));
        print_value(colours, "Result", json_member(t, "result"));
        field_print(colours, "Created", "%s", format_time(buf, (uint64_t) json_int(t, "created_usec")));
        if (json_int(t, "ended_usec") > 0)
                field_print(colours, "Ended", "%s", format_time(buf, (uint64_t) json_int(t, "ended_usec")));
}

void flow_print_session(const Flowctl *c, json_object *s, bool task) {
        bool colours = colours_wanted(stdout);
        json_object *tasks = json_member(s, "graph"), *log = json_member(s, "log");
        char buf[NUMBER_SIZE];

        if (task) {
                print_task(json_object_array_get_idx(tasks, 0), colours);
                return;
        }
        print_head(s, colours);
        print_value(colours, "Context", json_member(s, "context"));
        print_value(colours, "Todos", json_member(s, "todos"));
        putchar('\n');
        for (size_t i = 0; i < json_length(tasks); i++) {
                if (option(c, OPTION_ALL))
                        print_task(json_object_array_get_idx(tasks, i), colours);
                else
                        print_task_line(json_object_array_get_idx(tasks, i), colours, utf8_wanted());
        }
        if (json_length(log) > 0)
                puts("\nWork log:");
        for (size_t i = 0; i < json_length(log); i++) {
                json_object *e = json_object_array_get_idx(log, i);
                const char *of = json_text(e, "task"), *details = json_text(e, "details");

                printf("  %s  %s%s", format_time(buf, (uint64_t) json_int(e, "time_usec")), strempty(of), of ? ": " : "");
                print_plain(strempty(json_text(e, "action")));
                if (details) {
                        fputs(" (", stdout);
                        print_plain(details);
                        putchar(')');
                }
                putchar('\n');
        }
}

void flow_print_status(json_object *s) {
        bool colours = colours_wanted(stdout), utf8 = utf8_wanted();
        json_object *by_state = json_member(s, "by_state"), *recommendations = json_member(s, "recommendations");

        print_head(s, colours);
        putchar('\n');
        for (size_t i = 0; i < ELEMENTSOF(states); i++) {
                json_object *a = json_member(by_state, states[i]);

                for (size_t k = 0; k < json_length(a); k++)
                        print_task_line(json_object_array_get_idx(a, k), colours, utf8);
                if (json_int(s, states[i]) > (int64_t) json_length(a))
                        printf("  and %" PRId64 " more %s ones\n", json_int(s, states[i]) - (int64_t) json_length(a), states[i]);
        }
        for (size_t i = 0; i < json_length(recommendations); i++) {
                fputs(i == 0 ? "\n" : "", stdout);
                print_plain(strempty(json_object_get_string(json_object_array_get_idx(recommendations, i))));
                puts(".");
        }
}

void flow_print_explanation(json_object *e) {
        bool colours = colours_wanted(stdout);
        const char *state = strna(json_text(e, "state")), *verdict = strna(json_text(e, "verdict"));
        json_object *thresholds = json_member(e, "thresholds");
        char buf[NUMBER_SIZE];

        printf("%s is %s%s%s", strna(json_text(e, "id")), colour(colours, COLOUR_BOLD), state, colour(colours, COLOUR_NORMAL));
        printf(", since %s.\n", format_time(buf, (uint64_t) json_int(e, "since_usec")));
        if (streq(state, verdict))
                printf("The reason: %s.\n", strna(json_text(e, "why")));
        else
                printf("This moment looks %s: %s. That was seen %" PRId64 " time%s in a row, and %" PRId64 " are needed.\n", verdict,
                       strna(json_text(e, "why")), json_int(e, "confirmed"), plural((uint64_t) json_int(e, "confirmed")), json_int(e, "confirmations_needed"));
        field_print(colours, "Pulses", "%" PRId64 ", the last %" PRId64 " without gain", json_int(e, "pulses"), json_int(e, "pulses_without_gain"));
        field_print(colours, "Completions", "%" PRId64, json_int(e, "completions"));
        if (json_member(e, "gain_now"))
                field_print(colours, "Trend", "%.1f%% a pulse, before that %.1f%%", json_float(e, "gain_now"), json_float(e, "gain_before"));
        field_print(colours, "Last sign", "%s ago", format_span(buf, (uint64_t) json_int(e, "idle_usec")));
        field_print(colours, "Load", "%s", strna(json_text(e, "load")));
        field_print(colours, "Jobs", "%" PRId64 " running", json_int(e, "jobs_running"));
        puts("\nThresholds (flowd.conf):");
        if (!thresholds)
                return;
        json_object_object_foreach(thresholds, key, v) {
                bool span = streq(key, "FlowWindow") || streq(key, "FlowIdle");

                printf("  %s=%s\n", key, span ? usec_format(buf, sizeof(buf), (uint64_t) json_object_get_int64(v)) : json_object_get_string(v));
        }
}

void flow_print_change(json_object *reply, const char *what) {
        json_object *s = json_member(reply, "session"), *t = json_member(reply, "task"), *activated = json_member(reply, "activated");

        if (t)
                print_task_line(t, colours_wanted(stdout), utf8_wanted());
        if (what)
                printf("Session %s %s: %s, load %" PRId64 "/%" PRId64 ".\n", strna(json_text(s, "id")), what, strna(json_text(s, "state")),
                       json_int(s, "load"), json_int(s, "capacity"));
        for (size_t i = 0; i < json_length(activated); i++)
                printf("%s%s%s", i == 0 ? "Activated: " : ", ", json_object_get_string(json_object_array_get_idx(activated, i)),
                       i + 1 == json_length(activated) ? ".\n" : "");
}

/* ---- the graph */

typedef struct Node {
        MapNode by_id;
        json_object *task;
        bool drawn;
        size_t *below, n_below, room;
} Node;

typedef struct Tree {
        Node *nodes;
        size_t n;
        Map by_id;
        bool colours, utf8;
        char prefix[TREE_DEPTH_MAX * 8];
} Tree;

static void draw(Tree *t, size_t at, size_t length, unsigned depth) {
        Node *n = &t->nodes[at];
        bool again = n->drawn;

        n->drawn = true;
        if (again || depth >= TREE_DEPTH_MAX) {
                printf("%s%s %s%s\n", colour(t->colours, COLOUR_DIM), t->utf8 ? "↑" : "^", strna(json_text(n->task, "id")), colour(t->colours, COLOUR_NORMAL));
                return;
        }
        print_task_line(n->task, t->colours, t->utf8);
        for (size_t i = 0; i < n->n_below; i++) {
                bool last = i + 1 == n->n_below;
                const char *branch = t->utf8 ? (last ? "└─" : "├─") : (last ? "`-" : "|-"), *further = last ? "  " : t->utf8 ? "│ " : "| ";

                printf("%.*s%s", (int) length, t->prefix, branch);
                memcpy(t->prefix + length, further, strlen(further));
                draw(t, n->below[i], length + strlen(further), depth + 1);
        }
}

static void quote(const char *s) {
        putchar('"');
        for (; *s; s++) {
                if (*s == '"' || *s == '\\')
                        putchar('\\');
                putchar(*s == '\n' ? ' ' : *s);
        }
        putchar('"');
}

static void print_dot(json_object *session) {
        static const char *const colours[][2] = {
                { "completed", "palegreen" }, { "failed", "salmon" }, { "active", "lightblue" }, { "in-progress", "lightblue" }, { "blocked", "khaki" },
                { "resting", "khaki" }, { "cancelled", "lightgrey" },
        };
        json_object *tasks = json_member(session, "graph");

        printf("digraph ");
        quote(strempty(json_text(session, "id")));
        puts(" {\n  rankdir=LR; node [shape=box style=\"rounded,filled\" fillcolor=white];");
        for (size_t i = 0; i < json_length(tasks); i++) {
                json_object *t = json_object_array_get_idx(tasks, i), *needs = json_member(t, "dependencies");
                const char *state = strempty(json_text(t, "state")), *fill = NULL;

                for (size_t k = 0; k < ELEMENTSOF(colours); k++)
                        if (streq(colours[k][0], state))
                                fill = colours[k][1];
                printf("  ");
                quote(strempty(json_text(t, "id")));
                printf(" [tooltip=");
                quote(strempty(json_text(t, "description")));
                printf("%s%s];\n", fill ? " fillcolor=" : "", strempty(fill));
                for (size_t k = 0; k < json_length(needs); k++) {
                        printf("  ");
                        quote(strempty(json_object_get_string(json_object_array_get_idx(needs, k))));
                        printf(" -> ");
                        quote(strempty(json_text(t, "id")));
                        puts(";");
                }
        }
        puts("}");
}

static int tree_build(Tree *t, json_object *tasks) {
        t->n = json_length(tasks);
        t->nodes = new0(Node, t->n + 1);
        map_init(&t->by_id, random_u64());
        if (!t->nodes)
                return -1;
        for (size_t i = 0; i < t->n; i++) {
                t->nodes[i].task = json_object_array_get_idx(tasks, i);
                if (map_add_name(&t->by_id, &t->nodes[i].by_id, strempty(json_text(t->nodes[i].task, "id"))) < 0)
                        return -1;
        }
        for (size_t i = 0; i < t->n; i++) {
                json_object *needs = json_member(t->nodes[i].task, "dependencies");

                for (size_t k = 0; k < json_length(needs); k++) {
                        Node *on = map_get_name(&t->by_id, strempty(json_object_get_string(json_object_array_get_idx(needs, k))), Node, by_id);

                        if (!on)
                                continue;
                        if (on->n_below == on->room) {
                                on->room = MAX(on->room * 2, (size_t) 4);
                                size_t *more = reallocarray(on->below, on->room, sizeof(*more));
                                if (!more)
                                        return -1;
                                on->below = more;
                        }
                        on->below[on->n_below++] = i;
                }
        }
        return 0;
}

int flow_print_graph(json_object *session, bool dot) {
        Tree t = { .colours = colours_wanted(stdout), .utf8 = utf8_wanted() };
        int r = STATUS_OK;

        if (dot) {
                print_dot(session);
                return STATUS_OK;
        }
        if (tree_build(&t, json_member(session, "graph")) < 0) {
                error_print("out of memory");
                r = STATUS_FAILED;
        } else
                for (size_t i = 0; i < t.n; i++)
                        if (json_length(json_member(t.nodes[i].task, "dependencies")) == 0)
                                draw(&t, i, 0, 0);
        for (size_t i = 0; t.nodes && i < t.n; i++)
                free(t.nodes[i].below);
        map_done(&t.by_id);
        free(t.nodes);
        return r;
}

/* ---- following */

void flow_follow_print(FlowFollow *f, json_object *status) {
        json_object *by_state = json_member(status, "by_state");
        time_t now = time(NULL);
        char clock[16];
        struct tm tm;

        if (isatty(STDOUT_FILENO)) {
                fputs("\033[H\033[J", stdout);
                flow_print_status(status);
                return;
        }
        (void) strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&now, &tm));
        if (!f->seen)
                f->seen = json_object_new_object();
        const char *before = json_text(f->seen, " "), *state = strna(json_text(status, "state"));
        if (!before || !streq(before, state))
                printf("%s the session is %s, load %" PRId64 "/%" PRId64 "\n", clock, state, json_int(status, "load"), json_int(status, "capacity"));
        json_object_object_add(f->seen, " ", json_object_new_string(state)); /* no id is a blank */
        for (size_t i = 0; i < ELEMENTSOF(states); i++) {
                json_object *a = json_member(by_state, states[i]);

                for (size_t k = 0; k < json_length(a); k++) {
                        json_object *t = json_object_array_get_idx(a, k);
                        const char *id = strna(json_text(t, "id")), *s = strna(json_text(t, "state")), *seen = json_text(f->seen, id);

                        if (seen && streq(seen, s))
                                continue;
                        json_object_object_add(f->seen, id, json_object_new_string(s));
                        printf("%s ", clock);
                        print_task_line(t, false, false);
                }
        }
}

void flow_follow_done(FlowFollow *f) {
        json_object_put(f->seen);
        f->seen = NULL;
}
