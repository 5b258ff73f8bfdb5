/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* session list, show, forget: which worker a session's jobs go to. */

#include <inttypes.h>

#include "basic/str.h"
#include "flowctl/term.h"

static int sessions_get(Flowctl *c, const char *method, const char *session, json_object **ret) {
        json_object *parameters = json_object_new_object();

        if (option(c, OPTION_POOL))
                json_object_object_add(parameters, "pool", json_object_new_string(c->options[OPTION_POOL]));
        if (session)
                json_object_object_add(parameters, "session", json_object_new_string(session));
        return control_call(c, method, parameters, ret);
}

static void session_row(Table *t, json_object *s) {
        char buf[NUMBER_SIZE];

        table_row(t);
        table_cell(t, COLOUR_BOLD, json_text(s, "session"));
        table_cell(t, COLOUR_NORMAL, json_text(s, "pool"));
        table_cell(t, COLOUR_NORMAL, json_text(s, "worker"));
        table_cell_number(t, json_int(s, "uid"));
        table_cell_number(t, json_int(s, "jobs"));
        table_cell_count(t, (uint64_t) json_int(s, "hits"));
        table_cell_count(t, (uint64_t) json_int(s, "misses"));
        table_cell_count(t, (uint64_t) json_int(s, "fallbacks"));
        table_cell(t, COLOUR_NORMAL, format_age(buf, (uint64_t) json_int(s, "used_usec")));
}

int verb_session_list(Flowctl *c, int argc _unused_, char **argv _unused_) {
        static const TableColumn columns[] = {
                { "SESSION", 0.3, SCOLS_FL_WRAP }, { "POOL", 0.1, SCOLS_FL_TRUNC }, { "WORKER", 0.1, SCOLS_FL_TRUNC },
                { "UID", 5, SCOLS_FL_RIGHT },       { "JOBS", 4, SCOLS_FL_RIGHT },   { "HITS", 5, SCOLS_FL_RIGHT },
                { "MISSES", 5, SCOLS_FL_RIGHT },    { "FALLBACKS", 5, SCOLS_FL_RIGHT }, { "USED", 7, SCOLS_FL_RIGHT },
        };
        _cleanup_json_ json_object *reply = NULL;
        _cleanup_(table_done) Table t = {};
        int r;

        r = sessions_get(c, "ListSessions", NULL, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(json_member(reply, "sessions")); i++)
                session_row(&t, json_object_array_get_idx(json_member(reply, "sessions"), i));
        table_print(&t, c, "session");
        if (json_int(reply, "total") > (int64_t) t.n && !option(c, OPTION_QUIET))
                fprintf(stderr, "There are %" PRId64 "; these are the last used.\n", json_int(reply, "total"));
        return STATUS_OK;
}

static void session_print(json_object *s, bool colours) {
        char a[NUMBER_SIZE], b[NUMBER_SIZE];
        uint64_t used = (uint64_t) json_int(s, "used_usec"), created = (uint64_t) json_int(s, "created_usec");
        int64_t hits = json_int(s, "hits"), misses = json_int(s, "misses"), fallbacks = json_int(s, "fallbacks");

        printf("%s %s", utf8_wanted() ? "●" : "*", colour(colours, COLOUR_BOLD));
        text_put(stdout, strna(json_text(s, "session")));
        printf("%s - a session of pool %s\n", colour(colours, COLOUR_NORMAL), strna(json_text(s, "pool")));
        field_print(colours, "Worker", "%s", json_text(s, "worker") ? json_text(s, "worker") : "none yet, it waits for one");
        field_print(colours, "Jobs", "%" PRId64 " that run%s or wait%s", json_int(s, "jobs"),
                    json_int(s, "jobs") == 1 ? "s" : "", json_int(s, "jobs") == 1 ? "s" : "");
        field_print(colours, "Affinity", "%" PRId64 " hit%s, %" PRId64 " miss%s, %" PRId64 " fallback%s", hits, plural((uint64_t) hits), misses,
                    misses == 1 ? "" : "es", fallbacks, plural((uint64_t) fallbacks));
        field_print(colours, "Since", "%s; %s ago", format_time(a, created), format_age(b, created));
        field_print(colours, "Used", "%s; %s ago", format_time(a, used), format_age(b, used));
        field_print(colours, "User id", "%" PRId64, json_int(s, "uid"));
}

static int no_session(const char *name) {
        error_print("there is no session '%s'; see 'flowctl session list'", name);
        return STATUS_FAILED;
}

int verb_session_show(Flowctl *c, int argc, char **argv) {
        int status = STATUS_OK;

        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *reply = NULL;
                json_object *sessions;
                int r = sessions_get(c, "ListSessions", argv[i], &reply);

                if (r > 0)
                        return r;
                sessions = json_member(reply, "sessions");
                if (option(c, OPTION_JSON))
                        json_print(reply, argc == 1);
                else
                        for (size_t k = 0; k < json_length(sessions); k++) {
                                if (i > 0 || k > 0)
                                        putchar('\n');
                                session_print(json_object_array_get_idx(sessions, k), colours_wanted(stdout));
                        }
                if (json_length(sessions) == 0)
                        status = no_session(argv[i]);
        }
        return status;
}

int verb_session_forget(Flowctl *c, int argc, char **argv) {
        int status = STATUS_OK;

        for (int i = 0; i < argc; i++) {
                _cleanup_json_ json_object *reply = NULL;
                int r = sessions_get(c, "ForgetSession", argv[i], &reply);

                if (r > 0)
                        return r;
                if (option(c, OPTION_JSON))
                        json_print(reply, argc == 1);
                if (json_int(reply, "forgotten") == 0)
                        status = no_session(argv[i]);
                else if (!option(c, OPTION_JSON) && !option(c, OPTION_QUIET)) {
                        fputs("Session ", stdout);
                        text_put(stdout, argv[i]);
                        puts(": forgotten; its next job begins anew.");
                }
        }
        return status;
}
