/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* store stats, check, backup, vacuum, accept-loss. */

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "basic/str.h"
#include "flowctl/term.h"

static void print_health(json_object *s, bool colours) {
        const char *health = strna(json_text(s, "health")), *why = json_text(s, "why");
        Colour c = streq(health, "ok") ? COLOUR_GREEN : streq(health, "off") ? COLOUR_NORMAL : COLOUR_RED;

        printf("%s%s%s store - durable jobs and their results\n", colour(colours, c), utf8_wanted() ? "●" : "*",
               colour(colours, COLOUR_NORMAL));
        field_begin(colours, "Health");
        printf("%s%s%s%s%s\n", colour(colours, c), health, colour(colours, COLOUR_NORMAL), why && *why ? ": " : "", strempty(why));
}

static void print_jobs(json_object *s, bool colours) {
        static const char *const states[] = { "queued", "running", "completed", "failed", "timeout", "cancelled", "dead" };
        char a[NUMBER_SIZE];

        field_begin(colours, "Jobs");
        for (size_t i = 0; i < ELEMENTSOF(states); i++) {
                char key[32];

                snprintf(key, sizeof(key), "jobs_%s", states[i]);
                int64_t n = json_int(s, key);
                bool bad = n > 0 && streq(states[i], "dead");

                printf("%s%s%s %s%s", i == 0 ? "" : i == 2 ? "; " : ", ", colour(colours && bad, COLOUR_RED),
                       format_count(a, (uint64_t) n), states[i], colour(colours && bad, COLOUR_NORMAL));
        }
        putchar('\n');
}

/* "3.1M in 1.2M (2.6 to 1)" */
static void print_ratio(json_object *s, bool colours, const char *name, const char *raw_key, const char *stored_key) {
        uint64_t raw = (uint64_t) json_int(s, raw_key), stored = (uint64_t) json_int(s, stored_key);
        char a[NUMBER_SIZE], b[NUMBER_SIZE];

        field_begin(colours, name);
        printf("%s since flowd was started, stored as %s", format_bytes(a, raw), format_bytes(b, stored));
        if (stored > 0)
                printf(" (%.1f to 1)", (double) raw / (double) stored);
        putchar('\n');
}

static void print_commits(json_object *s, bool colours) {
        uint64_t groups = (uint64_t) json_int(s, "groups"), requests = (uint64_t) json_int(s, "requests");
        char a[NUMBER_SIZE], b[NUMBER_SIZE], c[NUMBER_SIZE];

        field_begin(colours, "Commits");
        printf("%s for %s requests", format_count(a, groups), format_count(b, requests));
        if (groups > 0)
                printf(" (%.1f each)", (double) requests / (double) groups);
        printf(", %s of them synced", format_count(c, (uint64_t) json_int(s, "synced_groups")));
        if (json_int(s, "pending") > 0)
                printf("; %s requests under way", format_count(a, (uint64_t) json_int(s, "pending")));
        putchar('\n');
}

int verb_store_stats(Flowctl *c, int argc _unused_, char **argv _unused_) {
        bool colours = colours_wanted(stdout);
        _cleanup_json_ json_object *s = NULL;
        char x[NUMBER_SIZE], y[NUMBER_SIZE], z[NUMBER_SIZE];
        int r;

        r = control_call(c, "StoreStats", NULL, &s);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(s, true);
        print_health(s, colours);
        if (streq_ptr(json_text(s, "health"), "off"))
                return STATUS_OK;
        field_print(colours, "Size", "%s, %s of it free; %s of log before it", format_bytes(x, (uint64_t) json_int(s, "bytes")),
                    format_bytes(y, (uint64_t) json_int(s, "free_bytes")), format_bytes(z, (uint64_t) json_int(s, "wal_bytes")));
        print_jobs(s, colours);
        print_ratio(s, colours, "Payloads", "payload_bytes", "payload_stored");
        print_ratio(s, colours, "Results", "result_bytes", "result_stored");
        print_commits(s, colours);
        if (json_int(s, "dictionaries") > 0)
                field_print(colours, "Compression", "%" PRId64 " dictionar%s, trained on earlier jobs", json_int(s, "dictionaries"),
                            json_int(s, "dictionaries") == 1 ? "y" : "ies");
        field_print(colours, "Cache", "%s results, %s, stored as %s", format_count(x, (uint64_t) json_int(s, "cache_entries")),
                    format_bytes(y, (uint64_t) json_int(s, "cache_raw_bytes")), format_bytes(z, (uint64_t) json_int(s, "cache_bytes")));
        return STATUS_OK;
}

int verb_store_check(Flowctl *c, int argc _unused_, char **argv _unused_) {
        _cleanup_json_ json_object *reply = NULL;
        int r;

        r = control_call(c, "CheckStore", NULL, &reply);
        if (r > 0)
                return r;
        bool ok = json_object_get_boolean(json_member(reply, "ok"));
        if (option(c, OPTION_JSON))
                json_print(reply, true);
        else if (!ok || !option(c, OPTION_QUIET))
                puts(strempty(json_text(reply, "text")));
        if (!ok && !option(c, OPTION_JSON))
                error_print("the store is damaged. Make a copy with 'flowctl store backup', and restart flowd: it saves what can be read "
                            "into a new file.");
        return ok ? STATUS_OK : STATUS_FAILED;
}

int verb_store_backup(Flowctl *c, int argc _unused_, char **argv) {
        _cleanup_free_ char *cwd = NULL, *path = NULL;
        _cleanup_json_ json_object *reply = NULL;
        json_object *parameters;
        char a[NUMBER_SIZE];
        int r;

        if (!*argv[0])
                return usage_error(c, "the file's name is empty");
        if (*argv[0] != '/' && !(cwd = getcwd(NULL, 0))) {
                error_print("cannot tell the current directory: %s; name the file with its whole path.", strerror(errno));
                return STATUS_FAILED;
        }
        path = *argv[0] == '/' ? strdup(argv[0]) : str_printf("%s/%s", cwd, argv[0]);
        if (!path) {
                error_print("out of memory");
                return STATUS_FAILED;
        }
        parameters = json_object_new_object();
        json_object_object_add(parameters, "path", json_object_new_string(path));
        r = control_call(c, "BackupStore", parameters, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        if (!option(c, OPTION_QUIET))
                printf("%s: %s (%" PRId64 " bytes) written.\n", path, format_bytes(a, (uint64_t) json_int(reply, "bytes")),
                       json_int(reply, "bytes"));
        return STATUS_OK;
}

int verb_store_vacuum(Flowctl *c, int argc _unused_, char **argv _unused_) {
        _cleanup_json_ json_object *reply = NULL;
        char a[NUMBER_SIZE];
        int r;

        r = control_call(c, "VacuumStore", NULL, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        if (!option(c, OPTION_QUIET))
                printf("%s freed.\n", format_bytes(a, (uint64_t) json_int(reply, "freed")));
        return STATUS_OK;
}

int verb_store_accept_loss(Flowctl *c, int argc _unused_, char **argv _unused_) {
        int r = control_call(c, "AcceptLoss", NULL, NULL);

        if (r == 0 && !option(c, OPTION_QUIET) && !option(c, OPTION_JSON))
                printf("Durable jobs are taken again.\n");
        return r;
}
