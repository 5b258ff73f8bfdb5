/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* worker list, show, kill, recycle. */

#include <ctype.h>
#include <inttypes.h>
#include <signal.h>

#include "basic/str.h"
#include "flowctl/term.h"

/* "a b c" of an array of strings; "" for none. */
static char *texts_join(json_object *array) {
        char *s = strdup("");

        for (size_t i = 0; s && i < json_length(array); i++) {
                char *longer = str_printf("%s%s%s", s, i > 0 ? " " : "",
                                          strempty(json_object_get_string(json_object_array_get_idx(array, i))));

                free(s);
                s = longer;
        }
        return s;
}

static void worker_table_row(Table *t, json_object *w) {
        _cleanup_free_ char *jobs = texts_join(json_member(w, "jobs"));
        const char *state = strna(json_text(w, "state"));
        char buf[NUMBER_SIZE];

        table_row(t);
        table_cell(t, COLOUR_BOLD, json_text(w, "id"));
        table_cell_number(t, json_int(w, "generation"));
        table_cell(t, state_colour(state), state);
        snprintf(buf, sizeof(buf), "%" PRId64, json_int(w, "pid"));
        table_cell(t, COLOUR_NORMAL, json_int(w, "pid") > 0 ? buf : NULL);
        snprintf(buf, sizeof(buf), "%" PRId64 "/%" PRId64, json_int(w, "running"), json_int(w, "slots"));
        table_cell(t, COLOUR_NORMAL, buf);
        table_cell_count(t, (uint64_t) json_int(w, "done"));
        table_cell(t, COLOUR_NORMAL, format_age(buf, (uint64_t) json_int(w, "started_usec")));
        table_cell(t, COLOUR_NORMAL, json_int(w, "rss") > 0 ? format_bytes(buf, (uint64_t) json_int(w, "rss")) : NULL);
        table_cell(t, COLOUR_DIM, jobs);
        table_cell(t, COLOUR_DIM, json_text(w, "last_exit"));
}

int verb_worker_list(Flowctl *c, int argc, char **argv) {
        static const TableColumn columns[] = {
                { "WORKER", 0.2, 0 }, { "GEN", 3, SCOLS_FL_RIGHT },       { "STATE", 8, 0 },
                { "PID", 6, SCOLS_FL_RIGHT },      { "JOBS", 4, SCOLS_FL_RIGHT },      { "DONE", 5, SCOLS_FL_RIGHT },
                { "AGE", 7, SCOLS_FL_RIGHT },      { "MEMORY", 6, SCOLS_FL_RIGHT },    { "JOB", 0.2, SCOLS_FL_TRUNC },
                { "LAST EXIT", 0.2, SCOLS_FL_TRUNC },
        };
        const char *pool = argc > 0 ? argv[0] : c->options[OPTION_POOL];
        _cleanup_json_ json_object *reply = NULL, *parameters = json_object_new_object();
        _cleanup_(table_done) Table t = {};
        int r;

        if (pool)
                json_object_object_add(parameters, "pool", json_object_new_string(pool));
        r = control_call(c, "ListWorkers", TAKE_PTR(parameters), &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(json_member(reply, "workers")); i++)
                worker_table_row(&t, json_object_array_get_idx(json_member(reply, "workers"), i));
        table_print(&t, c, "worker");
        return STATUS_OK;
}

/* What happened to the worker that had this slot before. */
static void failure_print(json_object *w, bool colours) {
        const char *how = json_text(w, "last_failure"), *job = json_text(w, "last_failure_job"), *err = json_text(w, "last_failure_stderr");
        char a[NUMBER_SIZE], b[NUMBER_SIZE], c[NUMBER_SIZE];

        if (!how)
                return;
        field_print(colours, "Last failure", "%s (%s), %s ago, after %s%s%s", how, strna(json_text(w, "last_failure_cause")),
                    format_age(a, (uint64_t) json_int(w, "last_failure_usec")), format_span(b, (uint64_t) json_int(w, "last_failure_lived_usec")),
                    job ? ", with job " : "", strempty(job));
        field_print(colours, "It had used", "%s of CPU time, %s in the kernel, %s of memory", format_span(a, (uint64_t) json_int(w, "last_failure_user_usec")),
                    format_span(b, (uint64_t) json_int(w, "last_failure_system_usec")), format_bytes(c, (uint64_t) json_int(w, "last_failure_max_rss")));
        if (err && *err)
                printf("The end of what it said:\n%s%s", err, err[strlen(err) - 1] == '\n' ? "" : "\n");
}

static void worker_print(json_object *w, bool colours) {
        const char *state = strna(json_text(w, "state")), *err = json_text(w, "stderr");
        _cleanup_free_ char *jobs = texts_join(json_member(w, "jobs"));
        uint64_t started = (uint64_t) json_int(w, "started_usec");
        int64_t running = json_int(w, "running"), slots = json_int(w, "slots"), done = json_int(w, "done");
        char a[NUMBER_SIZE], b[NUMBER_SIZE];

        printf("%s%s%s %s%s%s - generation %" PRId64 "\n", colour(colours, state_colour(state)), utf8_wanted() ? "●" : "*",
               colour(colours, COLOUR_NORMAL), colour(colours, COLOUR_BOLD), strna(json_text(w, "id")),
               colour(colours, COLOUR_NORMAL), json_int(w, "generation"));
        field_begin(colours, "State");
        printf("%s%s%s\n", colour(colours, state_colour(state)), state, colour(colours, COLOUR_NORMAL));
        if (json_int(w, "pid") > 0)
                field_print(colours, "Process", "%" PRId64 ", since %s; %s ago", json_int(w, "pid"), format_time(a, started),
                            format_age(b, started));
        if (json_int(w, "rss") > 0)
                field_print(colours, "Memory", "%s", format_bytes(a, (uint64_t) json_int(w, "rss")));
        field_print(colours, "Running", "%" PRId64 " job%s in %" PRId64 " slot%s%s%s", running, plural((uint64_t) running), slots, plural((uint64_t) slots),
                    jobs && *jobs ? ": " : "", strempty(jobs));
        field_print(colours, "Done", "%" PRId64 " job%s", done, plural((uint64_t) done));
        if (json_text(w, "last_exit") && *json_text(w, "last_exit"))
                field_print(colours, "Last exit", "%s", json_text(w, "last_exit"));
        failure_print(w, colours);
        if (err && *err)
                printf("\nThe end of its standard error:\n%s%s", err, err[strlen(err) - 1] == '\n' ? "" : "\n");
}

int verb_worker_show(Flowctl *c, int argc, char **argv) {
        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *reply = NULL, *parameters = json_object_new_object();

                json_object_object_add(parameters, "id", json_object_new_string(argv[i]));
                int r = control_call(c, "ShowWorker", TAKE_PTR(parameters), &reply);
                if (r > 0)
                        return r;
                if (option(c, OPTION_JSON)) {
                        json_print(reply, argc == 1);
                        continue;
                }
                if (i > 0)
                        putchar('\n');
                worker_print(json_member(reply, "worker"), colours_wanted(stdout));
        }
        return STATUS_OK;
}

/* "KILL", "SIGKILL", "kill", "9". Returns 0 where it is no signal. */
static int signal_from_string(const char *s) {
        uint64_t n;

        if (u64_parse(s, 1, (uint64_t) SIGRTMAX, &n) >= 0)
                return (int) n;
        if (strncasecmp(s, "SIG", 3) == 0)
                s += 3;
        for (int i = 1; i < NSIG; i++)
                if (sigabbrev_np(i) && strcasecmp(sigabbrev_np(i), s) == 0)
                        return i;
        return 0;
}

static int workers_each(Flowctl *c, const char *method, int signal, int argc, char **argv, const char *done) {
        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *reply = NULL, *parameters = json_object_new_object();

                json_object_object_add(parameters, "id", json_object_new_string(argv[i]));
                if (signal > 0)
                        json_object_object_add(parameters, "signal", json_object_new_int(signal));
                int r = control_call(c, method, TAKE_PTR(parameters), &reply);
                if (r > 0)
                        return r;
                if (option(c, OPTION_JSON))
                        json_print(reply, false);
                else if (!option(c, OPTION_QUIET))
                        printf("Worker %s: %s\n", argv[i], done);
        }
        return STATUS_OK;
}

int verb_worker_kill(Flowctl *c, int argc, char **argv) {
        const char *name = c->options[OPTION_SIGNAL];
        int signal = 0;

        if (name && (signal = signal_from_string(name)) == 0)
                return usage_error(c, "--signal=%s: this takes a signal's name, such as KILL, or its number", name);
        return workers_each(c, "KillWorker", signal, argc, argv, "is being killed.");
}

int verb_worker_recycle(Flowctl *c, int argc, char **argv) {
        return workers_each(c, "RecycleWorker", 0, argc, argv, "will be replaced as soon as it is idle.");
}
