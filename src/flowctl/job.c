/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* job list, show, cancel. */

#include <inttypes.h>

#include "basic/str.h"
#include "flowctl/term.h"

/* The job's time so far: from its acceptance to its end, or to now. */
static char *format_job_time(char *buf, json_object *j) {
        uint64_t accepted = (uint64_t) json_int(j, "accepted_usec"), finished = (uint64_t) json_int(j, "finished_usec");

        if (finished > accepted)
                return format_span(buf, finished - accepted);
        return finished > 0 ? format_span(buf, 1) : format_age(buf, accepted);
}

static void job_table_row(Table *t, json_object *j) {
        const char *state = strna(json_text(j, "state"));
        char buf[NUMBER_SIZE];

        table_row(t);
        table_cell(t, COLOUR_BOLD, json_text(j, "id"));
        table_cell(t, COLOUR_NORMAL, json_text(j, "pool"));
        table_cell(t, state_colour(state), state);
        if (json_float(j, "progress") > 0 && streq(state, "running")) {
                snprintf(buf, sizeof(buf), "%.0f%%", json_float(j, "progress") * 100);
                table_cell(t, COLOUR_NORMAL, buf);
        } else
                table_cell(t, COLOUR_NORMAL, NULL);
        table_cell(t, COLOUR_NORMAL, json_text(j, "worker"));
        table_cell_number(t, json_int(j, "attempts"));
        table_cell(t, COLOUR_NORMAL, format_bytes(buf, (uint64_t) json_int(j, "size")));
        table_cell(t, COLOUR_NORMAL, format_job_time(buf, j));
        table_cell(t, COLOUR_DIM, json_text(j, "error"));
}

int verb_job_list(Flowctl *c, int argc _unused_, char **argv _unused_) {
        static const TableColumn columns[] = {
                { "JOB", 13, 0 },         { "POOL", 0.1, SCOLS_FL_TRUNC }, { "STATE", 9, 0 },
                { "DONE", 4, SCOLS_FL_RIGHT }, { "WORKER", 0.1, SCOLS_FL_TRUNC }, { "TRIES", 5, SCOLS_FL_RIGHT },
                { "SIZE", 5, SCOLS_FL_RIGHT }, { "TIME", 7, SCOLS_FL_RIGHT }, { "ERROR", 0.2, SCOLS_FL_TRUNC },
        };
        static const char *const states[] = { "queued", "running", "completed", "failed", "timeout", "cancelled" };
        _cleanup_json_ json_object *reply = NULL, *parameters = json_object_new_object();
        _cleanup_(table_done) Table t = {};
        const char *state = c->options[OPTION_STATE];
        uint64_t limit = 0;
        bool known = false;
        int r;

        r = option_number(c, OPTION_LIMIT, 1, INT32_MAX, &limit);
        if (r > 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                known = known || streq_ptr(state, states[i]);
        if (state && !known)
                return usage_error(c, "--state=%s: this takes queued, running, completed, failed, timeout or cancelled", state);
        if (option(c, OPTION_POOL))
                json_object_object_add(parameters, "pool", json_object_new_string(c->options[OPTION_POOL]));
        if (state)
                json_object_object_add(parameters, "state", json_object_new_string(state));
        if (limit > 0)
                json_object_object_add(parameters, "limit", json_object_new_int64((int64_t) limit));
        r = control_call(c, "ListJobs", TAKE_PTR(parameters), &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(json_member(reply, "jobs")); i++)
                job_table_row(&t, json_object_array_get_idx(json_member(reply, "jobs"), i));
        table_print(&t, c, "jobs");
        return STATUS_OK;
}

static void job_print(json_object *j, bool colours) {
        static const char *const texts[][2] = {
                { "Pool", "pool" }, { "Method", "method" }, { "Session", "session" }, { "Worker", "worker" }
        };
        static const char *const times[][2] = { { "Accepted", "accepted_usec" },
                                                { "Started", "dispatched_usec" },
                                                { "Ended", "finished_usec" },
                                                { "Deadline", "deadline_usec" } };
        const char *state = strna(json_text(j, "state")), *error = json_text(j, "error"), *code = json_text(j, "code");
        char a[NUMBER_SIZE];

        printf("%s%s%s %s%s%s\n", colour(colours, state_colour(state)), utf8_wanted() ? "●" : "*", colour(colours, COLOUR_NORMAL),
               colour(colours, COLOUR_BOLD), strna(json_text(j, "id")), colour(colours, COLOUR_NORMAL));
        field_begin(colours, "State");
        printf("%s%s%s", colour(colours, state_colour(state)), state, colour(colours, COLOUR_NORMAL));
        printf(" after %s\n", format_job_time(a, j));
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (json_text(j, texts[i][1]) && *json_text(j, texts[i][1]))
                        field_print(colours, texts[i][0], "%s", json_text(j, texts[i][1]));
        field_print(colours, "Payload", "%s, %s%s", strna(json_text(j, "kind")), format_bytes(a, (uint64_t) json_int(j, "size")),
                    json_object_get_boolean(json_member(j, "detached")) ? "; submitted, its result is kept" : "");
        field_print(colours, "Attempts", "%" PRId64 ", %" PRId64 " crashes of its worker", json_int(j, "attempts"),
                    json_int(j, "crashes"));
        for (size_t i = 0; i < ELEMENTSOF(times); i++)
                if (json_int(j, times[i][1]) > 0)
                        field_print(colours, times[i][0], "%s", format_time(a, (uint64_t) json_int(j, times[i][1])));
        if (json_float(j, "progress") > 0 || (json_text(j, "progress_message") && *json_text(j, "progress_message")))
                field_print(colours, "Progress", "%.0f%% %s", json_float(j, "progress") * 100,
                            strempty(json_text(j, "progress_message")));
        if (json_int(j, "finished_usec") > 0)
                field_print(colours, "Result", "%s", format_bytes(a, (uint64_t) json_int(j, "result_size")));
        field_print(colours, "User id", "%" PRId64, json_int(j, "uid"));
        if (error && *error)
                field_print(colours, "Error", "%s%s%s%s", error, code && *code ? " (" : "", strempty(code),
                            code && *code ? ")" : "");
}

int verb_job_show(Flowctl *c, int argc, char **argv) {
        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *reply = NULL, *parameters = json_object_new_object();

                json_object_object_add(parameters, "id", json_object_new_string(argv[i]));
                int r = control_call(c, "ShowJob", TAKE_PTR(parameters), &reply);
                if (r > 0)
                        return r;
                if (option(c, OPTION_JSON)) {
                        json_print(reply, argc == 1);
                        continue;
                }
                if (i > 0)
                        putchar('\n');
                job_print(json_member(reply, "job"), colours_wanted(stdout));
        }
        return STATUS_OK;
}

int verb_job_cancel(Flowctl *c, int argc, char **argv) {
        int status = STATUS_OK;

        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *reply = NULL, *parameters = json_object_new_object();

                json_object_object_add(parameters, "id", json_object_new_string(argv[i]));
                json_object *v;
                int r = control_call(c, "CancelJob", TAKE_PTR(parameters), &reply);
                if (r == STATUS_FAILED) /* one that has ended meanwhile does not save the others */
                        status = r;
                else if (r > 0)
                        return r;
                else if (option(c, OPTION_JSON))
                        json_print(reply, false);
                else if (json_object_object_get_ex(reply, "cancelled", &v) && !json_object_get_boolean(v)) {
                        json_object *state;

                        fprintf(stderr, "flowctl: job %s had ended before: %s\n", argv[i],
                                json_object_object_get_ex(reply, "state", &state) ? json_object_get_string(state) : "see 'flowctl job show'");
                        status = STATUS_FAILED;
                } else if (!option(c, OPTION_QUIET))
                        printf("Job %s: cancelled.\n", argv[i]);
        }
        return status;
}
