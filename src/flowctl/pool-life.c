/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pool spawn, close, close-all, health, monitor. */

#include <inttypes.h>

#include "basic/str.h"
#include "flowctl/pool-table.h"
#include "flowctl/term.h"

/* --- spawn and close --- */

static int add_number(Flowctl *c, OptionId id, json_object *parameters) {
        uint64_t n = 0;
        int r = option_number(c, id, 0, INT32_MAX, &n);

        if (r == 0 && option(c, id))
                json_object_object_add(parameters, option_name(id), json_object_new_int64((int64_t) n));
        return r;
}

/* KEY=VALUE, as in a .pool file. */
static int add_settings(Flowctl *c, int argc, char **argv, json_object *parameters) {
        static const struct {
                const char *key;
                OptionId option;
        } also[] = { { "Tier", OPTION_TIER }, { "Min", OPTION_MIN }, { "Max", OPTION_MAX } };
        json_object *settings = json_object_new_object();

        json_object_object_add(parameters, "settings", settings);
        for (int i = 0; i < argc; i++) {
                const char *equals = strchr(argv[i], '=');
                _cleanup_free_ char *key = equals && equals > argv[i] ? strndup(argv[i], (size_t) (equals - argv[i])) : NULL;

                if (!key && !option(c, OPTION_WORKER_TYPE) && !equals)
                        return usage_error(c, "'%s' is no setting, which is KEY=VALUE; for the worker type say --worker-type=%s", argv[i], argv[i]);
                if (!key)
                        return usage_error(c, "'%s' is no setting: they are KEY=VALUE, as in flowd.pool(5)", argv[i]);
                for (size_t k = 0; k < ELEMENTSOF(also); k++)
                        if (streq(key, also[k].key) && option(c, also[k].option))
                                return usage_error(c, "%s= is given twice: as --%s= and as a setting", key, option_name(also[k].option));
                if (json_member(settings, key))
                        return usage_error(c, "%s= is given twice", key);
                json_object_object_add(settings, key, json_object_new_string(equals + 1));
        }
        return 0;
}

int verb_pool_spawn(Flowctl *c, int argc, char **argv) {
        static const OptionId texts[] = { OPTION_NAME, OPTION_POOL_TYPE, OPTION_TIER };
        _cleanup_json_ json_object *parameters = json_object_new_object(), *reply = NULL;
        int r = argc > 0 ? add_settings(c, argc, argv, parameters) : 0;

        if (r > 0)
                return r;
        if (!option(c, OPTION_WORKER_TYPE))
                return usage_error(c, "--worker-type=TYPE is missing: the name of a .worker file; 'flowctl config cat' shows those that there are");
        json_object_object_add(parameters, "worker_type", json_object_new_string(c->options[OPTION_WORKER_TYPE]));
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (option(c, texts[i]))
                        json_object_object_add(parameters, texts[i] == OPTION_POOL_TYPE ? "pool_type" : option_name(texts[i]),
                                               json_object_new_string(c->options[texts[i]]));
        r = add_number(c, OPTION_MIN, parameters);
        if (r == 0)
                r = add_number(c, OPTION_MAX, parameters);
        if (r > 0)
                return r;
        r = control_call(c, "SpawnPool", TAKE_PTR(parameters), &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        printf("%s %s\n", strempty(json_text(reply, "id")), strempty(json_text(reply, "name")));
        if (json_text(reply, "notice") && !option(c, OPTION_QUIET))
                fprintf(stderr, "Note: %s.\n", json_text(reply, "notice"));
        return STATUS_OK;
}

static int close_call(Flowctl *c, const char *method, const char *pool, json_object **ret) {
        _cleanup_json_ json_object *parameters = json_object_new_object();
        uint64_t timeout = 0;
        int r = option_usec(c, OPTION_TIMEOUT, &timeout);

        if (r > 0)
                return r;
        if (pool)
                json_object_object_add(parameters, "pool", json_object_new_string(pool));
        if (timeout > 0)
                json_object_object_add(parameters, "timeout_usec", json_object_new_int64((int64_t) timeout));
        return control_call(c, method, TAKE_PTR(parameters), ret);
}

int verb_pool_close(Flowctl *c, int argc, char **argv) {
        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *reply = NULL;
                int r = close_call(c, "ClosePool", argv[i], &reply);

                if (r > 0)
                        return r;
                if (option(c, OPTION_JSON))
                        json_print(reply, false);
                else if (!option(c, OPTION_QUIET))
                        printf("Pool %s is closed.\n", argv[i]);
        }
        return STATUS_OK;
}

int verb_pool_close_all(Flowctl *c, int argc _unused_, char **argv _unused_) {
        _cleanup_json_ json_object *reply = NULL;
        int r = close_call(c, "CloseAllPools", NULL, &reply);

        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        if (!option(c, OPTION_QUIET))
                printf("%" PRId64 " pool%s closed; those from files are not closed but drained, or removed with their file.\n", json_int(reply, "closed"),
                       json_int(reply, "closed") == 1 ? " was" : "s were");
        return STATUS_OK;
}

/* --- health --- */

static Colour health_colour(const char *health) {
        return streq(health, "ok") ? COLOUR_GREEN : streq(health, "down") ? COLOUR_RED : COLOUR_YELLOW;
}

/* The worst of them. */
static const char *verdict(json_object *pools) {
        const char *worst = "ok";

        for (size_t i = 0; i < json_length(pools); i++) {
                const char *h = strempty(json_text(json_object_array_get_idx(pools, i), "health"));

                if (streq(h, "down"))
                        worst = "down";
                else if (!streq(h, "ok") && !streq(worst, "down"))
                        worst = "degraded";
        }
        return worst;
}

static json_object *health_object(json_object *pools) {
        static const char *const texts[] = { "name", "health", "state", "breaker", "reason", "last_failure" };
        static const char *const numbers[] = { "ready", "busy", "min", "queued", "restarts", "last_failure_usec" };
        json_object *all = json_object_new_object(), *a = json_object_new_array();

        json_object_object_add(all, "health", json_object_new_string(verdict(pools)));
        for (size_t i = 0; i < json_length(pools); i++) {
                json_object *p = json_object_array_get_idx(pools, i), *o = json_object_new_object();

                for (size_t k = 0; k < ELEMENTSOF(texts); k++)
                        if (json_text(p, texts[k]))
                                json_object_object_add(o, texts[k], json_object_new_string(json_text(p, texts[k])));
                for (size_t k = 0; k < ELEMENTSOF(numbers); k++)
                        json_object_object_add(o, numbers[k], json_object_new_int64(json_int(p, numbers[k])));
                json_object_array_add(a, o);
        }
        json_object_object_add(all, "pools", a);
        return all;
}

static void health_table(Flowctl *c, json_object *pools) {
        static const TableColumn columns[] = {
                { "POOL", 0.2, 0 }, { "HEALTH", 8, 0 },
                { "STATE", 12, 0 },              { "BREAKER", 9, 0 },
                { "READY", 5, SCOLS_FL_RIGHT },  { "QUEUED", 6, SCOLS_FL_RIGHT },
                { "RESTARTS", 8, SCOLS_FL_RIGHT }, { "LAST FAILURE", 0.4, SCOLS_FL_TRUNC },
        };
        _cleanup_(table_done) Table t = {};
        char buf[NUMBER_SIZE];

        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(pools); i++) {
                json_object *p = json_object_array_get_idx(pools, i);
                const char *health = strna(json_text(p, "health")), *state = strna(json_text(p, "state"));

                table_row(&t);
                table_cell(&t, COLOUR_BOLD, json_text(p, "name"));
                table_cell(&t, health_colour(health), health);
                table_cell(&t, state_colour(state), state);
                table_cell(&t, COLOUR_NORMAL, json_text(p, "breaker"));
                snprintf(buf, sizeof(buf), "%" PRId64 "/%" PRId64, json_int(p, "ready") + json_int(p, "busy"), json_int(p, "min"));
                table_cell(&t, COLOUR_NORMAL, buf);
                table_cell_count(&t, (uint64_t) json_int(p, "queued"));
                table_cell_count(&t, (uint64_t) json_int(p, "restarts"));
                table_cell(&t, COLOUR_NORMAL, strempty(json_text(p, "last_failure")));
        }
        table_print(&t, c, "pool");
}

int verb_pool_health(Flowctl *c, int argc, char **argv) {
        _cleanup_json_ json_object *reply = NULL;
        json_object *pools;
        int r = pools_get(c, argc, argv, &reply);

        if (r > 0)
                return r;
        pools = json_member(reply, "pools");
        if (option(c, OPTION_JSON)) {
                _cleanup_json_ json_object *o = health_object(pools);

                json_print(o, true);
        } else
                health_table(c, pools);
        return streq(verdict(pools), "ok") ? STATUS_OK : STATUS_FAILED;
}

/* --- monitor --- */

static bool is_named(int argc, char **argv, json_object *pool) {
        for (int i = 0; i < argc; i++)
                if (streq_ptr(argv[i], json_text(pool, "name")) || streq_ptr(argv[i], json_text(pool, "id")))
                        return true;
        return argc == 0;
}

/* What a pool did since the snapshot before, by name. */
static int64_t done_since(json_object *before, json_object *pool) {
        for (size_t i = 0; i < json_length(before); i++) {
                json_object *p = json_object_array_get_idx(before, i);

                if (streq_ptr(json_text(p, "name"), json_text(pool, "name")))
                        return json_int(pool, "completed") - json_int(p, "completed");
        }
        return 0;
}

static void monitor_table(Flowctl *c, json_object *pools, json_object *before, uint64_t interval, int argc, char **argv) {
        static const TableColumn columns[] = {
                { "POOL", 0.2, 0 }, POOL_WORK_COLUMNS, { "JOBS/S", 6, SCOLS_FL_RIGHT },
                POOL_LATENCY_COLUMNS, { "RESTARTS", 8, SCOLS_FL_RIGHT },
        };
        _cleanup_(table_done) Table t = {};
        char buf[NUMBER_SIZE];

        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(pools); i++) {
                json_object *p = json_object_array_get_idx(pools, i);

                if (!is_named(argc, argv, p))
                        continue;
                table_row(&t);
                table_cell(&t, COLOUR_BOLD, json_text(p, "name"));
                pool_table_work(&t, p);
                snprintf(buf, sizeof(buf), "%.1f", (double) done_since(before, p) * 1e6 / (double) interval);
                table_cell(&t, COLOUR_NORMAL, before ? buf : "-");
                pool_table_latency(&t, p);
                table_cell_count(&t, (uint64_t) json_int(p, "restarts"));
        }
        table_print(&t, c, NULL);
}

static void monitor_json(json_object *pools, int argc, char **argv) {
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *a = json_object_new_array();

        for (size_t i = 0; i < json_length(pools); i++) {
                json_object *p = json_object_array_get_idx(pools, i);

                if (is_named(argc, argv, p))
                        json_object_array_add(a, json_object_get(p));
        }
        json_object_object_add(o, "time_usec", json_object_new_int64((int64_t) realtime_usec()));
        json_object_object_add(o, "pools", a);
        json_print(o, false);
}

int verb_pool_monitor(Flowctl *c, int argc, char **argv) {
        _cleanup_json_ json_object *before = NULL;
        uint64_t interval = USEC_PER_SEC, count = 0;
        bool continues = true;
        json_object *parameters;
        int r = option_usec(c, OPTION_INTERVAL, &interval);

        if (r == 0)
                r = option_number(c, OPTION_COUNT, 1, UINT32_MAX, &count);
        for (int i = 0; i < argc && r == 0; i++)
                r = pool_check(c, argv[i]);
        if (r == 0)
                r = control_connect(c);
        if (r > 0)
                return r;
        if (!option(c, OPTION_FOLLOW) && count == 0)
                count = 1;
        parameters = json_object_new_object();
        json_object_object_add(parameters, "interval_usec", json_object_new_int64((int64_t) interval));
        r = varlink_client_send(c->client, "io.flowd.Watch", parameters, true);
        if (r < 0)
                return control_failed(c, r);
        for (uint64_t n = 0; continues && (count == 0 || n < count); n++) {
                _cleanup_json_ json_object *reply = NULL;

                r = control_next(c, &reply, &continues);
                if (r >= 0)
                        return r;
                json_object *pools = json_member(json_member(reply, "status"), "pools");
                if (option(c, OPTION_JSON))
                        monitor_json(pools, argc, argv);
                else {
                        if (n > 0)
                                putchar('\n');
                        monitor_table(c, pools, before, interval, argc, argv);
                }
                if (fflush(stdout) == EOF)
                        return STATUS_FAILED;
                json_object_put(before);
                before = json_object_get(pools);
        }
        return STATUS_OK;
}
