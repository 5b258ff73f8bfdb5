/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pool list, show, scale, drain, resume. */

#include <inttypes.h>

#include "basic/str.h"
#include "flowctl/pool-table.h"
#include "flowctl/term.h"

void pool_table_work(Table *t, json_object *p) {
        const char *state = strna(json_text(p, "state"));
        uint64_t failed = (uint64_t) (json_int(p, "failed") + json_int(p, "timeout"));
        char buf[NUMBER_SIZE];

        table_cell(t, state_colour(state), state);
        snprintf(buf, sizeof(buf), "%" PRId64 "/%" PRId64, json_int(p, "workers"), json_int(p, "max"));
        table_cell(t, COLOUR_NORMAL, buf);
        table_cell_count(t, (uint64_t) json_int(p, "busy"));
        table_cell_count(t, (uint64_t) json_int(p, "queued"));
        table_cell_count(t, (uint64_t) json_int(p, "completed"));
        table_cell(t, failed > 0 ? COLOUR_YELLOW : COLOUR_NORMAL, format_count(buf, failed));
}

void pool_table_latency(Table *t, json_object *p) {
        char buf[NUMBER_SIZE];

        table_cell(t, COLOUR_NORMAL, format_span(buf, (uint64_t) json_int(p, "latency_p50_usec")));
        table_cell(t, COLOUR_NORMAL, format_span(buf, (uint64_t) json_int(p, "latency_p99_usec")));
}

void pool_table_print(const Flowctl *c, json_object *pools, const char *what) {
        static const TableColumn columns[] = {
                { "POOL", 0.2, 0 }, { "TIER", 4, 0 }, POOL_WORK_COLUMNS, POOL_LATENCY_COLUMNS, { "TYPE", 0.1, SCOLS_FL_TRUNC },
        };
        _cleanup_(table_done) Table t = {};

        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(pools); i++) {
                json_object *p = json_object_array_get_idx(pools, i);

                table_row(&t);
                table_cell(&t, COLOUR_BOLD, json_text(p, "name"));
                table_cell(&t, COLOUR_NORMAL, json_text(p, "tier"));
                pool_table_work(&t, p);
                pool_table_latency(&t, p);
                table_cell(&t, COLOUR_DIM, json_text(p, "worker_type"));
        }
        table_print(&t, c, what);
}

void pool_reasons_print(json_object *pools, bool colours) {
        bool first = true;

        for (size_t i = 0; i < json_length(pools); i++) {
                json_object *p = json_object_array_get_idx(pools, i);
                const char *reason = json_text(p, "reason");

                if (!reason || !*reason)
                        continue;
                printf("%s%s%s%s: %s\n", first ? "\n" : "", colour(colours, state_colour(json_text(p, "state"))),
                       strna(json_text(p, "name")), colour(colours, COLOUR_NORMAL), reason);
                first = false;
        }
}

static int pool_get(Flowctl *c, const char *name, json_object **ret) {
        _cleanup_json_ json_object *one = NULL, *parameters = json_object_new_object();

        json_object_object_add(parameters, "name", json_object_new_string(name));
        int r = control_call(c, "ListPools", TAKE_PTR(parameters), &one);
        if (r > 0)
                return r;
        if (json_length(json_member(one, "pools")) == 0) {
                error_print("there is no pool '%s'; 'flowctl pool list' lists them.", name);
                return STATUS_FAILED;
        }
        *ret = TAKE_PTR(one);
        return 0;
}

int pool_check(Flowctl *c, const char *name) {
        _cleanup_json_ json_object *one = NULL;

        return pool_get(c, name, &one);
}

int pools_get(Flowctl *c, int argc, char **argv, json_object **ret) {
        _cleanup_json_ json_object *all = NULL;
        int r;

        if (argc == 0)
                return control_call(c, "ListPools", NULL, ret);
        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *one = NULL;

                r = pool_get(c, argv[i], &one);
                if (r > 0)
                        return r;
                if (!all)
                        all = TAKE_PTR(one);
                else
                        json_object_array_add(json_member(all, "pools"),
                                              json_object_get(json_object_array_get_idx(json_member(one, "pools"), 0)));
        }
        *ret = TAKE_PTR(all);
        return 0;
}

int verb_pool_list(Flowctl *c, int argc, char **argv) {
        _cleanup_json_ json_object *reply = NULL;
        int r;

        r = pools_get(c, argc, argv, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        pool_table_print(c, json_member(reply, "pools"), "pool");
        return STATUS_OK;
}

static void breaker_print(json_object *p, bool colours) {
        const char *breaker = strna(json_text(p, "breaker"));
        uint64_t until = (uint64_t) json_int(p, "breaker_until_usec");
        char when[NUMBER_SIZE];

        field_begin(colours, "Breaker");
        printf("%s", breaker);
        if (until > 0)
                printf(" until %s", format_time(when, until));
        if (streq(breaker, "half-open"))
                printf(", %" PRId64 " probe%s answered", json_int(p, "breaker_probes"), plural((uint64_t) json_int(p, "breaker_probes")));
        if (json_int(p, "breaker_opened") > 0)
                printf("; opened %" PRId64 " time%s", json_int(p, "breaker_opened"), json_int(p, "breaker_opened") == 1 ? "" : "s");
        putchar('\n');
}

static void failure_print(json_object *p, bool colours) {
        const char *how = json_text(p, "last_failure"), *worker = json_text(p, "last_failure_worker"), *job = json_text(p, "last_failure_job");
        char age[NUMBER_SIZE];

        if (how)
                field_print(colours, "Failure", "%s%s%s (%s), %s ago%s%s", strempty(worker), worker ? " " : "", how, strna(json_text(p, "last_failure_cause")),
                            format_age(age, (uint64_t) json_int(p, "last_failure_usec")), job ? "; it had job " : "", strempty(job));
}

static void pool_print(json_object *p, bool colours) {
        const char *state = strna(json_text(p, "state")), *reason = json_text(p, "reason");
        int64_t spawned = json_int(p, "spawned"), crashes = json_int(p, "crashes"), running = json_int(p, "running"), slots = json_int(p, "slots");
        char a[NUMBER_SIZE], b[NUMBER_SIZE];

        printf("%s%s%s %s%s%s - %s workers of type %s (%s)\n", colour(colours, state_colour(state)), utf8_wanted() ? "●" : "*",
               colour(colours, COLOUR_NORMAL), colour(colours, COLOUR_BOLD), strna(json_text(p, "name")),
               colour(colours, COLOUR_NORMAL), strna(json_text(p, "tier")), strna(json_text(p, "worker_type")),
               strna(json_text(p, "protocol")));
        if (json_text(p, "id"))
                field_print(colours, "Id", "%s (spawned)", json_text(p, "id"));
        field_begin(colours, "State");
        printf("%s%s%s%s%s%s%s\n", colour(colours, state_colour(state)), state, colour(colours, COLOUR_NORMAL),
               json_int(p, "closing") ? ", to be closed" : "", reason && *reason ? " (" : "", strempty(reason), reason && *reason ? ")" : "");
        field_print(colours, "Workers",
                    "%" PRId64 " of at most %" PRId64 " (Min=%" PRId64 ", wanted %" PRId64 "); %" PRId64 " ready, %" PRId64
                    " busy",
                    json_int(p, "workers"), json_int(p, "max"), json_int(p, "min"), json_int(p, "target"), json_int(p, "ready"),
                    json_int(p, "busy"));
        const char *limited = json_text(p, "limited_by"), *wanted_for = json_text(p, "wanted_for");
        field_print(colours, "Scaling", "wants %" PRId64 " (%s), %.0f%% busy, %.3g jobs/s come%s%s", json_int(p, "wanted"), strna(wanted_for),
                    json_float(p, "utilisation"), json_float(p, "arrival_rate"), limited && *limited ? "; it may not start more: " : "",
                    strempty(limited));
        field_print(colours, "Started", "%" PRId64 " worker%s so far, %" PRId64 " %s, %" PRId64 " restarted", spawned, plural((uint64_t) spawned), crashes,
                    crashes == 1 ? "crash" : "crashes", json_int(p, "restarts"));
        breaker_print(p, colours);
        failure_print(p, colours);
        field_print(colours, "Running", "%" PRId64 " job%s in %" PRId64 " slot%s", running, plural((uint64_t) running), slots, plural((uint64_t) slots));
        field_print(colours, "Queued", "%" PRId64 " of at most %" PRId64 ", %s", json_int(p, "queued"),
                    json_int(p, "queue_max"), format_bytes(a, (uint64_t) json_int(p, "queued_bytes")));
        uint64_t hits = (uint64_t) json_int(p, "affinity_hits"), misses = (uint64_t) json_int(p, "affinity_misses"),
                 fallbacks = (uint64_t) json_int(p, "affinity_fallbacks");
        if (hits + misses + fallbacks > 0)
                field_print(colours, "Affinity", "%.1f%% hits; %" PRIu64 " hit%s, %" PRIu64 " miss%s, %" PRIu64 " fallback%s; %" PRId64
                            " job%s for a busy worker", 100.0 * (double) hits / (double) (hits + misses + fallbacks), hits, plural(hits),
                            misses, misses == 1 ? "" : "es", fallbacks, plural(fallbacks), json_int(p, "parked"),
                            json_int(p, "parked") == 1 ? " waits" : "s wait");
        field_print(colours, "Ended",
                    "%" PRId64 " completed, %" PRId64 " failed, %" PRId64 " timeout, %" PRId64 " cancelled; %" PRId64 " refused",
                    json_int(p, "completed"), json_int(p, "failed"), json_int(p, "timeout"), json_int(p, "cancelled"),
                    json_int(p, "refused"));
        field_print(colours, "Latency", "p50 %s, p99 %s", format_span(a, (uint64_t) json_int(p, "latency_p50_usec")),
                    format_span(b, (uint64_t) json_int(p, "latency_p99_usec")));
        field_print(colours, "Run time", "p50 %s, p99 %s", format_span(a, (uint64_t) json_int(p, "run_p50_usec")),
                    format_span(b, (uint64_t) json_int(p, "run_p99_usec")));
}

int verb_pool_show(Flowctl *c, int argc, char **argv) {
        _cleanup_json_ json_object *reply = NULL;
        json_object *pools;
        int r;

        r = pools_get(c, argc, argv, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        pools = json_member(reply, "pools");
        for (size_t i = 0; i < json_length(pools); i++) {
                if (i > 0)
                        putchar('\n');
                pool_print(json_object_array_get_idx(pools, i), colours_wanted(stdout));
        }
        return STATUS_OK;
}

int verb_pool_scale(Flowctl *c, int argc _unused_, char **argv) {
        _cleanup_json_ json_object *reply = NULL;
        json_object *parameters;
        uint64_t n;
        int r;

        if (u64_parse(argv[1], 0, INT32_MAX, &n) < 0)
                return usage_error(c, "'%s' is no number of workers", argv[1]);
        parameters = json_object_new_object();
        json_object_object_add(parameters, "pool", json_object_new_string(argv[0]));
        json_object_object_add(parameters, "target", json_object_new_int64((int64_t) n));
        r = control_call(c, "ScalePool", parameters, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        if (!option(c, OPTION_QUIET))
                printf("Pool %s: %" PRId64 " worker%s wanted.\n", argv[0], json_int(reply, "target"), plural((uint64_t) json_int(reply, "target")));
        return STATUS_OK;
}

/* Calls `method` for each argument as its parameter `key`; the first refusal ends it. */
static int pools_each(Flowctl *c, const char *method, int argc, char **argv, const char *done) {
        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *reply = NULL;
                json_object *parameters = json_object_new_object();

                json_object_object_add(parameters, "pool", json_object_new_string(argv[i]));
                int r = control_call(c, method, parameters, &reply);
                if (r > 0)
                        return r;
                if (option(c, OPTION_JSON))
                        json_print(reply, false);
                else if (!option(c, OPTION_QUIET))
                        printf("Pool %s: %s\n", argv[i], done);
        }
        return STATUS_OK;
}

int verb_pool_drain(Flowctl *c, int argc, char **argv) {
        return pools_each(c, "DrainPool", argc, argv, "starts no more jobs; 'flowctl pool resume' ends that.");
}

int verb_pool_resume(Flowctl *c, int argc, char **argv) {
        return pools_each(c, "ResumePool", argc, argv, "starts jobs again.");
}
