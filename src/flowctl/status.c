/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* status: the daemon on one page, in the manner of systemctl status. */

#include <inttypes.h>

#include "flowctl/pool-table.h"
#include "flowctl/term.h"

static void print_state(json_object *s, bool colours) {
        const char *state = strna(json_text(s, "state")), *summary = json_text(s, "summary");
        Colour c = state_colour(state);

        if (summary && strncmp(summary, state, strlen(state)) == 0) /* it begins with the state, which is said already */
                summary += strlen(state);

        printf("%s%s%s flowd - pools of worker processes\n", colour(colours, c), utf8_wanted() ? "●" : "*",
               colour(colours, COLOUR_NORMAL));
        field_begin(colours, "State");
        printf("%s%s%s%s\n", colour(colours, c), state, colour(colours, COLOUR_NORMAL), strempty(summary));
}

static void print_process(json_object *s, bool colours) {
        char since[NUMBER_SIZE], age[NUMBER_SIZE], rss[NUMBER_SIZE];
        uint64_t started = (uint64_t) json_int(s, "started_usec");

        field_begin(colours, "Process");
        printf("%" PRId64 ", since %s; %s ago", json_int(s, "pid"), format_time(since, started), format_age(age, started));
        if (json_int(s, "reloads") > 0)
                printf(", reloaded %" PRId64 " time%s", json_int(s, "reloads"), json_int(s, "reloads") == 1 ? "" : "s");
        if (json_int(s, "reexecs") > 0)
                printf(", re-executed %" PRId64 " time%s", json_int(s, "reexecs"), json_int(s, "reexecs") == 1 ? "" : "s");
        putchar('\n');
        field_print(colours, "Version", "%s", strna(json_text(s, "version")));
        field_print(colours, "Instance", "%s, sockets in %s", strna(json_text(s, "mode")), strna(json_text(s, "runtime")));
        field_print(colours, "Uses", "%s of memory, %" PRId64 " descriptors, %" PRId64 " client%s",
                    format_bytes(rss, (uint64_t) json_int(s, "rss")), json_int(s, "fds"), json_int(s, "clients"),
                    json_int(s, "clients") == 1 ? "" : "s");
        if (json_text(s, "limits") && *json_text(s, "limits"))
                field_print(colours, "Limits", "%s", json_text(s, "limits"));
}

static void print_jobs(json_object *s, bool colours) {
        static const char *const kinds[] = { "completed", "failed", "timeout", "cancelled", "refused" };
        char a[NUMBER_SIZE], b[NUMBER_SIZE];

        field_begin(colours, "Jobs");
        printf("%s running, %s queued", format_count(a, (uint64_t) json_int(s, "jobs_running")),
               format_count(b, (uint64_t) json_int(s, "jobs_queued")));
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                char key[32];

                snprintf(key, sizeof(key), "jobs_%s", kinds[i]);
                int64_t n = json_int(s, key);
                bool bad = n > 0 && (streq(kinds[i], "failed") || streq(kinds[i], "timeout"));

                if (i == 0 || n > 0)
                        printf("%s %s%s %s%s", i == 0 ? ";" : ",", colour(colours && bad, COLOUR_YELLOW),
                               format_count(a, (uint64_t) n), kinds[i], colour(colours && bad, COLOUR_NORMAL));
        }
        putchar('\n');
        if (json_int(s, "results_kept") > 0)
                field_print(colours, "Results", "%s kept in memory until flowd stops, %s of %s",
                            format_count(a, (uint64_t) json_int(s, "results_kept")),
                            format_bytes(b, (uint64_t) json_int(s, "results_bytes")),
                            format_bytes((char[NUMBER_SIZE]){}, (uint64_t) json_int(s, "results_max")));
}

/* Where jobs went, once some of them could not go where they should. */
static void print_tiers(json_object *tiers, bool colours) {
        bool told = false;
        char a[NUMBER_SIZE];

        for (size_t i = 0; i < json_length(tiers); i++) {
                json_object *t = json_object_array_get_idx(tiers, i);
                int64_t from = json_int(t, "fallback_from"), refused = json_int(t, "refused");

                if (from == 0 && refused == 0)
                        continue;
                if (!told)
                        field_begin(colours, "Fallback");
                printf("%s%s%s of tier %s went elsewhere", told ? "; " : "", colour(colours && from > 0, COLOUR_YELLOW), format_count(a, (uint64_t) from),
                       strna(json_text(t, "tier")));
                printf("%s, %s nowhere", colour(colours && from > 0, COLOUR_NORMAL), format_count(a, (uint64_t) refused));
                told = true;
        }
        if (told)
                putchar('\n');
}

static void print_warnings(json_object *s, bool colours) {
        const char *config = json_text(s, "config_error");

        if (config && *config) {
                field_begin(colours, "Config");
                printf("%sthe files have errors, what runs is older: %s%s\n", colour(colours, COLOUR_RED), config,
                       colour(colours, COLOUR_NORMAL));
        }
        if (json_int(s, "log_dropped") > 0)
                field_print(colours, "Log", "%" PRId64 " record%s dropped", json_int(s, "log_dropped"), json_int(s, "log_dropped") == 1 ? " was" : "s were");
}

int verb_status(Flowctl *c, int argc _unused_, char **argv _unused_) {
        _cleanup_json_ json_object *s = NULL;
        bool colours = colours_wanted(stdout);
        int r;

        r = control_call(c, "Status", NULL, &s);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(s, true);
        print_state(s, colours);
        print_process(s, colours);
        print_jobs(s, colours);
        print_tiers(json_member(s, "tiers"), colours);
        print_warnings(s, colours);
        if (json_length(json_member(s, "pools")) > 0) {
                putchar('\n');
                pool_table_print(c, json_member(s, "pools"), NULL);
                pool_reasons_print(json_member(s, "pools"), colours);
        } else if (!option(c, OPTION_QUIET))
                printf("\nThere are no pools: put a NAME.worker and a NAME.pool into the configuration, see flowd.pool(5).\n");
        return STATUS_OK;
}
