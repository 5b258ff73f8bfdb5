/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* dead list, show, requeue, purge: jobs that killed as many workers as they may, kept for somebody to look at. */

#include <inttypes.h>

#include "basic/str.h"
#include "flowctl/job-table.h"

#define DEAD_PAGE 500U /* of those that --all is about, so many are asked for at once */

int verb_dead_list(Flowctl *c, int argc _unused_, char **argv _unused_) {
        static const TableColumn columns[] = {
                { "JOB", 13, 0 },          { "POOL", 0.1, SCOLS_FL_TRUNC },       { "METHOD", 0.1, SCOLS_FL_TRUNC },
                { "TRIES", 5, SCOLS_FL_RIGHT }, { "CRASHES", 7, SCOLS_FL_RIGHT }, { "SIZE", 5, SCOLS_FL_RIGHT },
                { "DEAD FOR", 8, SCOLS_FL_RIGHT }, { "LAST WORKER", 0.1, SCOLS_FL_TRUNC }, { "CAUSE", 0.3, SCOLS_FL_TRUNC },
        };
        _cleanup_json_ json_object *reply = NULL;
        _cleanup_(table_done) Table t = {};
        char buf[NUMBER_SIZE];
        int r;

        r = jobs_fetch(c, "dead", &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(json_member(reply, "jobs")); i++) {
                json_object *j = json_object_array_get_idx(json_member(reply, "jobs"), i);

                table_row(&t);
                table_cell(&t, COLOUR_BOLD, json_text(j, "id"));
                table_cell(&t, COLOUR_NORMAL, json_text(j, "pool"));
                table_cell(&t, COLOUR_NORMAL, json_text(j, "method"));
                table_cell_number(&t, json_int(j, "attempts"));
                table_cell_number(&t, json_int(j, "crashes"));
                table_cell(&t, COLOUR_NORMAL, format_bytes(buf, (uint64_t) json_int(j, "size")));
                table_cell(&t, COLOUR_NORMAL, format_age(buf, (uint64_t) json_int(j, "finished_usec")));
                table_cell(&t, COLOUR_NORMAL, json_text(j, "worker"));
                table_cell_line(&t, COLOUR_RED, json_text(j, "error"));
        }
        table_print(&t, c, "dead job");
        return STATUS_OK;
}

/* A job that must be dead: these verbs are not for others. Returns 0 with it, or an exit status, told. */
static int dead_fetch(Flowctl *c, const char *id, json_object **ret) {
        _cleanup_json_ json_object *job = NULL;
        int r = job_fetch(c, id, &job);

        if (r > 0)
                return r;
        const char *state = strna(json_text(job, "state"));
        if (!streq(state, "dead")) {
                error_print("job %s is %s, not dead; see 'flowctl job show %s'.", id, state, id);
                return STATUS_FAILED;
        }
        *ret = TAKE_PTR(job);
        return 0;
}

int verb_dead_show(Flowctl *c, int argc, char **argv) {
        bool colours = colours_wanted(stdout);

        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *job = NULL;
                int r = dead_fetch(c, argv[i], &job);

                if (r > 0)
                        return r;
                if (option(c, OPTION_JSON)) {
                        json_print(job, argc == 1);
                        continue;
                }
                if (i > 0)
                        putchar('\n');
                job_print(job, colours, false);
                const char *error = json_text(job, "error"), *code = json_text(job, "code");
                printf("\nIts cause%s%s%s:\n%s%s%s\n", code && *code ? " (" : "", strempty(code), code && *code ? ")" : "",
                       colour(colours, COLOUR_RED), error && *error ? error : "none was recorded", colour(colours, COLOUR_NORMAL));
                printf("\nOnce that is mended, 'flowctl dead requeue %s' has it tried again with the same payload;\n"
                       "'flowctl dead purge %s' removes it.\n", argv[i], argv[i]);
        }
        return STATUS_OK;
}

/* Either arguments or --all. Returns 0 or an exit status, told. */
static int check_all(const Flowctl *c, int argc) {
        static const OptionId filters[] = { OPTION_POOL, OPTION_METHOD };

        if (option(c, OPTION_ALL) && argc > 0)
                return usage_error(c, "either jobs are named, or --all is given");
        if (!option(c, OPTION_ALL) && argc == 0)
                return usage_error(c, "which jobs? Name them, or say --all");
        for (size_t i = 0; i < ELEMENTSOF(filters); i++)
                if (option(c, filters[i]) && argc > 0)
                        return usage_error(c, "--%s is about --all", option_name(filters[i]));
        return 0;
}

static int requeue_all(Flowctl *c, uint64_t delay, uint64_t *n) {
        _cleanup_free_ char *before = NULL;
        int status = STATUS_OK, r;

        for (size_t last = DEAD_PAGE; last == DEAD_PAGE;) {
                _cleanup_json_ json_object *page = NULL;

                r = jobs_fetch_page(c, "dead", before, DEAD_PAGE, &page);
                if (r > 0)
                        return r;
                json_object *jobs = json_member(page, "jobs");
                last = json_length(jobs);
                for (size_t i = 0; i < last; i++) {
                        const char *id = strempty(json_text(json_object_array_get_idx(jobs, i), "id"));

                        r = job_retry(c, id, delay);
                        if (r > STATUS_FAILED)
                                return r;
                        if (r > 0)
                                status = r;
                        else
                                (*n)++;
                        if (i == last - 1) {
                                free(before);
                                before = strdup(id);
                        }
                }
                if (last > 0 && !before) {
                        error_print("out of memory");
                        return STATUS_FAILED;
                }
        }
        return status;
}

int verb_dead_requeue(Flowctl *c, int argc, char **argv) {
        uint64_t delay = 0, n = 0;
        int status = STATUS_OK, r;

        r = check_all(c, argc);
        if (r == 0)
                r = option_usec(c, OPTION_DELAY, &delay);
        if (r > 0)
                return r;
        if (option(c, OPTION_ALL))
                status = requeue_all(c, delay, &n);
        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *job = NULL;

                r = dead_fetch(c, argv[i], &job);
                if (r == 0)
                        r = job_retry(c, argv[i], delay);
                if (r > STATUS_FAILED)
                        return r;
                if (r > 0)
                        status = r;
                else
                        n++;
        }
        if (option(c, OPTION_JSON))
                printf("{\"requeued\":%" PRIu64 "}\n", n);
        else if (!option(c, OPTION_QUIET))
                printf("%" PRIu64 " job%s queued again.\n", n, n == 1 ? "" : "s");
        return status;
}

int verb_dead_purge(Flowctl *c, int argc, char **argv) {
        _cleanup_json_ json_object *reply = NULL, *parameters = json_object_new_object(), *ids = NULL;
        int status = STATUS_OK, r;

        r = check_all(c, argc);
        if (r > 0)
                return r;
        if (option(c, OPTION_ALL)) {
                json_object_object_add(parameters, "state", json_object_new_string("dead"));
                if (option(c, OPTION_POOL))
                        json_object_object_add(parameters, "pool", json_object_new_string(c->options[OPTION_POOL]));
                if (option(c, OPTION_METHOD))
                        json_object_object_add(parameters, "method", json_object_new_string(c->options[OPTION_METHOD]));
        } else {
                ids = json_object_new_array();
                for (int i = 0; i < argc; i++) {
                        _cleanup_json_ json_object *job = NULL;

                        r = dead_fetch(c, argv[i], &job);
                        if (r > STATUS_FAILED)
                                return r;
                        if (r > 0)
                                status = r;
                        else
                                json_object_array_add(ids, json_object_new_string(argv[i]));
                }
                json_object_object_add(parameters, "ids", json_object_get(ids));
        }
        if (option(c, OPTION_ALL) || json_length(ids) > 0) {
                r = control_call(c, "PurgeJobs", TAKE_PTR(parameters), &reply);
                if (r > 0)
                        return r;
        }
        if (option(c, OPTION_JSON))
                printf("{\"purged\":%" PRId64 "}\n", json_int(reply, "purged"));
        else if (!option(c, OPTION_QUIET))
                printf("%" PRId64 " job%s removed.\n", json_int(reply, "purged"), json_int(reply, "purged") == 1 ? "" : "s");
        return status;
}
