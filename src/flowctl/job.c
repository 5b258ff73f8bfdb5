/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* job list, show, cancel, retry, result. */

#include <inttypes.h>

#include "basic/str.h"
#include "flowctl/batch.h"
#include "flowctl/job-table.h"
#include "flowctl/pool-table.h"

#define JOBS_PAGE 1000U /* jobs of one answer: flowd serves others between two */

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
        table_cell_line(t, COLOUR_DIM, json_text(j, "error"));
}

void table_cell_line(Table *t, Colour c, const char *text) {
        _cleanup_free_ char *line = text ? strndup(text, strcspn(text, "\n")) : NULL;

        table_cell(t, c, line);
}

int jobs_fetch_page(Flowctl *c, const char *state, const char *before, uint64_t limit, json_object **ret) {
        static const struct {
                OptionId option;
                const char *parameter;
        } texts[] = { { OPTION_POOL, "pool" }, { OPTION_METHOD, "method" }, { OPTION_SESSION, "session" } };
        json_object *parameters = json_object_new_object();
        uint64_t since = 0;
        int r;

        r = option_time(c, OPTION_SINCE, &since);
        if (r > 0) {
                json_object_put(parameters);
                return r;
        }
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (option(c, texts[i].option))
                        json_object_object_add(parameters, texts[i].parameter, json_object_new_string(c->options[texts[i].option]));
        if (state)
                json_object_object_add(parameters, "state", json_object_new_string(state));
        if (since > 0)
                json_object_object_add(parameters, "since_usec", json_object_new_int64((int64_t) MIN(since, (uint64_t) INT64_MAX)));
        if (before)
                json_object_object_add(parameters, "before", json_object_new_string(before));
        if (limit > 0)
                json_object_object_add(parameters, "limit", json_object_new_int64((int64_t) limit));
        return control_call(c, "ListJobs", parameters, ret);
}

int jobs_fetch(Flowctl *c, const char *state, json_object **ret) {
        _cleanup_json_ json_object *all = NULL, *page = NULL;
        uint64_t limit = 0;
        int r;

        r = option_number(c, OPTION_LIMIT, 1, INT32_MAX, &limit);
        if (r > 0)
                return r;
        r = jobs_fetch_page(c, state, NULL, MIN(limit, (uint64_t) JOBS_PAGE), &all);
        if (r > 0)
                return r;
        json_object *jobs = json_member(all, "jobs");
        for (size_t n = json_length(jobs), last = n; last == JOBS_PAGE && n < limit; n += last) {
                const char *before = json_text(json_object_array_get_idx(jobs, n - 1), "id");

                json_object_put(page);
                page = NULL;
                r = jobs_fetch_page(c, state, before, MIN(limit - n, (uint64_t) JOBS_PAGE), &page);
                if (r > 0)
                        return r;
                last = json_length(json_member(page, "jobs"));
                for (size_t i = 0; i < last; i++)
                        json_object_array_add(jobs, json_object_get(json_object_array_get_idx(json_member(page, "jobs"), i)));
        }
        *ret = TAKE_PTR(all);
        return 0;
}

int job_fetch(Flowctl *c, const char *id, json_object **ret_job) {
        _cleanup_json_ json_object *reply = NULL, *parameters = json_object_new_object();

        json_object_object_add(parameters, "id", json_object_new_string(id));
        int r = control_call(c, "ShowJob", TAKE_PTR(parameters), &reply);
        if (r > 0)
                return r;
        *ret_job = json_object_get(json_member(reply, "job"));
        return 0;
}

int verb_job_list(Flowctl *c, int argc _unused_, char **argv _unused_) {
        static const TableColumn columns[] = {
                { "JOB", 13, 0 },         { "POOL", 0.1, SCOLS_FL_TRUNC }, { "STATE", 9, 0 },
                { "DONE", 4, SCOLS_FL_RIGHT }, { "WORKER", 0.1, SCOLS_FL_TRUNC }, { "TRIES", 5, SCOLS_FL_RIGHT },
                { "SIZE", 5, SCOLS_FL_RIGHT }, { "TIME", 7, SCOLS_FL_RIGHT }, { "ERROR", 0.2, SCOLS_FL_TRUNC },
        };
        static const char *const states[] = { "queued", "running", "completed", "failed", "timeout", "cancelled", "dead" };
        _cleanup_json_ json_object *reply = NULL;
        _cleanup_(table_done) Table t = {};
        const char *state = c->options[OPTION_STATE];
        bool known = false;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                known = known || streq_ptr(state, states[i]);
        if (state && !known)
                return usage_error(c, "--state=%s: this takes queued, running, completed, failed, timeout, cancelled or dead", state);
        r = jobs_fetch(c, state, &reply);
        if (r == 0 && json_length(json_member(reply, "jobs")) == 0 && option(c, OPTION_POOL))
                r = pool_check(c, c->options[OPTION_POOL]); /* jobs may outlive their pool, so it is not asked for first */
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(json_member(reply, "jobs")); i++)
                job_table_row(&t, json_object_array_get_idx(json_member(reply, "jobs"), i));
        table_print(&t, c, "job");
        return STATUS_OK;
}

/* What it survives, how often it is tried. */
static void job_print_durable(json_object *j, bool colours) {
        const char *durable = json_text(j, "durable"), *key = json_text(j, "key");
        int64_t crashes = json_int(j, "crashes"), failures = json_int(j, "failures");
        char a[NUMBER_SIZE];

        field_print(colours, "Durable", "%s%s", strna(durable),
                    streq_ptr(durable, "yes") ? ", it survives a power cut" : streq_ptr(durable, "process") ? ", it survives flowd" :
                    ", it ends with flowd");
        if (key && *key)
                field_text(colours, "Key", key);
        field_print(colours, "Attempts", "%" PRId64 ", %" PRId64 " %s of its worker, %" PRId64 " failure%s of %" PRId64
                    " that are tried again", json_int(j, "attempts"), crashes, crashes == 1 ? "crash" : "crashes", failures,
                    plural((uint64_t) failures), json_int(j, "retries"));
        if (json_int(j, "not_before_usec") > 0 && json_int(j, "finished_usec") == 0)
                field_print(colours, "Not before", "%s", format_time(a, (uint64_t) json_int(j, "not_before_usec")));
}

/* How it came to its pool. */
static void job_print_route(json_object *route, bool colours) {
        const char *tier = strna(json_text(route, "tier")), *chosen = strna(json_text(route, "chosen")), *affinity = json_text(route, "affinity");
        json_object *attempts = json_member(route, "attempts");

        if (streq_ptr(json_text(route, "why"), "pool"))
                return; /* it is the one that was named */
        field_print(colours, "Route", "%s%s%s, by %s; %s%s%s", chosen, streq(tier, chosen) ? "" : ", but went to ", streq(tier, chosen) ? "" : tier,
                    strna(json_text(route, "why")), strna(json_text(route, "strategy")), affinity ? ", affinity: " : "", strempty(affinity));
        for (size_t i = 0; i < json_length(attempts); i++) {
                json_object *a = json_object_array_get_idx(attempts, i);

                field_print(colours, "Not in", "%s: %s", strna(json_text(a, "tier")), strna(json_text(a, "reason")));
        }
}

void job_print(json_object *j, bool colours, bool show_error) {
        static const char *const texts[][2] = {
                { "Pool", "pool" }, { "Method", "method" }, { "Session", "session" }, { "Worker", "worker" }, { "Affinity", "affinity" },
                { "Cache", "cache" }
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
                        field_text(colours, texts[i][0], json_text(j, texts[i][1]));
        field_print(colours, "Payload", "%s, %s%s", strna(json_text(j, "kind")), format_bytes(a, (uint64_t) json_int(j, "size")),
                    json_object_get_boolean(json_member(j, "stored")) ? "; stored, as will be its result" :
                    json_object_get_boolean(json_member(j, "detached")) ? "; submitted, its result is kept in memory" : "");
        if (json_member(j, "route"))
                job_print_route(json_member(j, "route"), colours);
        job_print_durable(j, colours);
        for (size_t i = 0; i < ELEMENTSOF(times); i++)
                if (json_int(j, times[i][1]) > 0)
                        field_print(colours, times[i][0], "%s", format_time(a, (uint64_t) json_int(j, times[i][1])));
        if (json_float(j, "progress") > 0 || (json_text(j, "progress_message") && *json_text(j, "progress_message")))
                field_print(colours, "Progress", "%.0f%% %s", json_float(j, "progress") * 100,
                            strempty(json_text(j, "progress_message")));
        if (json_int(j, "finished_usec") > 0)
                field_print(colours, "Result", "%s", format_bytes(a, (uint64_t) json_int(j, "result_size")));
        field_print(colours, "User id", "%" PRId64, json_int(j, "uid"));
        if (error && *error && show_error)
                field_print(colours, "Error", "%s%s%s%s", error, code && *code ? " (" : "", strempty(code),
                            code && *code ? ")" : "");
}

int verb_job_show(Flowctl *c, int argc, char **argv) {
        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *reply = json_object_new_object(), *job = NULL;

                int r = job_fetch(c, argv[i], &job);
                if (r > 0)
                        return r;
                if (option(c, OPTION_JSON)) {
                        json_object_object_add(reply, "job", TAKE_PTR(job));
                        json_print(reply, argc == 1);
                        continue;
                }
                if (i > 0)
                        putchar('\n');
                job_print(job, colours_wanted(stdout), true);
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

int job_retry(Flowctl *c, const char *id, uint64_t delay_usec) {
        json_object *parameters = json_object_new_object();

        json_object_object_add(parameters, "id", json_object_new_string(id));
        if (delay_usec > 0)
                json_object_object_add(parameters, "delay_usec", json_object_new_int64((int64_t) delay_usec));
        return control_call(c, "RetryJob", parameters, NULL);
}

int verb_job_retry(Flowctl *c, int argc, char **argv) {
        uint64_t delay = 0;
        int status = STATUS_OK;
        int r = option_usec(c, OPTION_DELAY, &delay);

        if (r > 0)
                return r;
        for (int i = 0; i < argc; i++) {
                r = job_retry(c, argv[i], delay);
                if (r == STATUS_FAILED) /* one that runs, or whose payload is gone, does not hold up the others */
                        status = r;
                else if (r > 0)
                        return r;
                else if (!option(c, OPTION_QUIET) && !option(c, OPTION_JSON))
                        printf("Job %s: queued again.\n", argv[i]);
        }
        return status;
}

/* --- results --- */

typedef struct ResultParts {
        JsonBuffer data;
        FlowStatus status;
        FlowKind kind;
        char *error, *code; /* owned */
        uint64_t size;      /* of the whole result */
} ResultParts;

static void result_parts_done(ResultParts *p) {
        json_buffer_clear(&p->data);
        free(p->error);
        free(p->code);
}

static int enum_from_string(const char *s, const char *(*name)(unsigned), unsigned n) {
        for (unsigned i = 0; i < n; i++)
                if (streq_ptr(s, name(i)))
                        return (int) i;
        return -1;
}

static const char *status_name(unsigned i) {
        return flow_status_to_string((FlowStatus) i);
}

static const char *kind_name(unsigned i) {
        return flow_kind_to_string((FlowKind) i);
}

/* Takes what one answer has. Returns its bytes, or -1 where it makes no sense. */
static ssize_t result_part_take(ResultParts *p, json_object *reply) {
        const char *data = strempty(json_text(reply, "data")), *status = json_text(reply, "status");
        int s = enum_from_string(status, status_name, FLOW_REFUSED);
        int k = enum_from_string(json_text(reply, "kind"), kind_name, FLOW_BYTES + 1);
        _cleanup_free_ void *bytes = NULL;
        size_t size;

        if (s < 0 || k < 0 || base64_decode(data, strlen(data), &bytes, &size) < 0)
                return -1;
        if (json_append(&p->data, bytes, size) < 0) {
                error_print("out of memory");
                exit(STATUS_FAILED);
        }
        p->status = (FlowStatus) s;
        p->kind = (FlowKind) k;
        p->size = (uint64_t) json_int(reply, "size");
        if (!p->error && json_text(reply, "error"))
                p->error = strdup(json_text(reply, "error"));
        if (!p->code && json_text(reply, "code"))
                p->code = strdup(json_text(reply, "code"));
        return (ssize_t) size;
}

/* Asks until all is there: an answer has no more than fits into a message. */
static int result_fetch(Flowctl *c, const char *id, uint64_t offset, uint64_t length, ResultParts *p) {
        for (;;) {
                _cleanup_json_ json_object *reply = NULL;
                json_object *parameters = json_object_new_object();

                json_object_object_add(parameters, "job", json_object_new_string(id));
                json_object_object_add(parameters, "offset", json_object_new_int64((int64_t) offset));
                if (length < INT64_MAX)
                        json_object_object_add(parameters, "length", json_object_new_int64((int64_t) length));
                int r = control_call(c, "JobResult", parameters, &reply);
                if (r > 0)
                        return r;
                ssize_t n = result_part_take(p, reply);
                if (n < 0) {
                        error_print("flowd at %s answers what is no result: it is of another version than this flowctl.", c->runtime);
                        return STATUS_FAILED;
                }
                offset += (uint64_t) n;
                length -= MIN(length, (uint64_t) n);
                if (n == 0 || length == 0 || offset >= p->size)
                        return 0;
        }
}

int verb_job_result(Flowctl *c, int argc _unused_, char **argv) {
        _cleanup_(result_parts_done) ResultParts p = {};
        Batch b = { .c = c, .kind = BATCH_WAIT, .single = true, .json = option(c, OPTION_JSON), .separator = '\n' };
        uint64_t offset = 0, length = INT64_MAX;
        int r;

        r = option_number(c, OPTION_OFFSET, 0, INT64_MAX, &offset);
        if (r == 0)
                r = option_number(c, OPTION_LENGTH, 1, INT64_MAX, &length);
        if (r == 0)
                r = result_fetch(c, argv[0], offset, length, &p);
        if (r > 0)
                return r;
        outcome_print(&b, &(Outcome) { .number = 1, .job_id = argv[0], .status = p.status, .kind = p.kind, .data = strempty(p.data.data),
                                       .size = p.data.size, .error = p.error, .code = p.code });
        if (outcome_flush(&b) < 0)
                b.status = STATUS_FAILED;
        json_buffer_clear(&b.out);
        return b.status;
}
