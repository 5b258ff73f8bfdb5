/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* events: what flowd tells of itself while it happens; logs: the journal, through journalctl, which has all the ways of looking
 * at it. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "client/runtime.h"
#include "flowctl/term.h"

#define EVENTS_DEFAULT 20U
#define EVENTS_MAX 256U /* as many as flowd keeps */

static void event_print(json_object *e, bool colours) {
        static const char *const members[] = { "pool", "worker", "job" };
        static const char *const levels[] = { "emerg", "alert", "crit", "error", "warning", "notice", "info", "debug" };
        uint64_t usec = (uint64_t) json_int(e, "time_usec");
        int64_t level = json_int(e, "level");
        Colour c = level <= LOG_ERR       ? COLOUR_RED
                   : level == LOG_WARNING ? COLOUR_YELLOW
                   : level >= LOG_DEBUG   ? COLOUR_DIM
                                          : COLOUR_NORMAL;
        time_t t = (time_t) (usec / USEC_PER_SEC);
        struct tm tm;
        char when[32] = "";

        if (localtime_r(&t, &tm))
                strftime(when, sizeof(when), "%b %d %H:%M:%S", &tm);
        printf("%s.%03u %s%-7s %s%s: %s", when, (unsigned) (usec % USEC_PER_SEC / 1000), colour(colours, c),
               level >= 0 && level < (int64_t) ELEMENTSOF(levels) ? levels[level] : "?", strna(json_text(e, "name")),
               colour(colours, COLOUR_NORMAL), strempty(json_text(e, "message")));
        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                if (json_text(e, members[i]) && *json_text(e, members[i]))
                        printf(" %s%s=%s%s", colour(colours, COLOUR_DIM), members[i], json_text(e, members[i]),
                               colour(colours, COLOUR_NORMAL));
        putchar('\n');
}

/* A reply is one event, or has several in "events". */
static void events_print(const Flowctl *c, json_object *reply, bool colours) {
        json_object *events = json_member(reply, "events");
        size_t n = events ? json_length(events) : json_member(reply, "name") ? 1 : 0;

        for (size_t i = 0; i < n; i++) {
                json_object *e = events ? json_object_array_get_idx(events, i) : reply;

                if (option(c, OPTION_JSON))
                        json_print(e, false);
                else
                        event_print(e, colours);
        }
        fflush(stdout);
}

int verb_events(Flowctl *c, int argc _unused_, char **argv _unused_) {
        json_object *parameters;
        uint64_t limit = option(c, OPTION_FOLLOW) ? 0 : EVENTS_DEFAULT;
        bool continues = true;
        int r;

        r = option_number(c, OPTION_LIMIT, 1, EVENTS_MAX, &limit);
        if (r > 0)
                return r;
        r = control_connect(c);
        if (r > 0)
                return r;
        parameters = json_object_new_object();
        if (option(c, OPTION_POOL))
                json_object_object_add(parameters, "pool", json_object_new_string(c->options[OPTION_POOL]));
        if (limit > 0)
                json_object_object_add(parameters, "limit", json_object_new_int64((int64_t) limit));
        r = varlink_client_send(c->client, "io.flowd.Events", parameters, option(c, OPTION_FOLLOW));
        if (r < 0)
                return control_failed(c, r);
        while (continues) {
                _cleanup_json_ json_object *reply = NULL;

                r = control_next(c, &reply, &continues);
                if (r >= 0)
                        return r;
                events_print(c, reply, colours_wanted(stdout));
        }
        return STATUS_OK;
}

/* A private instance writes to its standard error: says where that goes. Returns an exit status. */
static int logs_private(const Flowctl *c, int64_t pid) {
        char link[64], path[4096];
        ssize_t n;

        if (pid <= 0) {
                error_print("the instance at %s does not run; a private one logs to its standard error, not to the journal.",
                            c->runtime);
                return STATUS_NO_DAEMON;
        }
        snprintf(link, sizeof(link), "/proc/%" PRId64 "/fd/2", pid);
        n = readlink(link, path, sizeof(path) - 1);
        path[MAX(n, (ssize_t) 0)] = 0;
        if (n > 0 && *path == '/')
                error_print("the instance at %s is a private one, it logs to its standard error: %s", c->runtime, path);
        else
                error_print("the instance at %s (process %" PRId64 ") is a private one, it logs to its standard error: look "
                            "where it was started.", c->runtime, pid);
        fprintf(stderr, "'flowctl events' and 'flowctl worker show' tell what happened last.\n");
        return STATUS_FAILED;
}

/* The journal of which manager? 's'ystem or 'u'ser; 'p' for none. What runs knows best, but logs must work when nothing does. */
static char logs_mode(Flowctl *c, int64_t *ret_pid) {
        _cleanup_(varlink_error_freep) VarlinkError *e = NULL;
        _cleanup_json_ json_object *s = NULL;
        const char *mode;

        if (varlink_client_new(c->runtime, &c->client) >= 0 &&
            varlink_client_call(c->client, "io.flowd.Status", NULL, 5 * USEC_PER_SEC, &s, &e) > 0 &&
            (mode = json_text(s, "mode"))) {
                *ret_pid = json_int(s, "pid");
                return mode[0];
        }
        if (streq(c->runtime, RUNTIME_SYSTEM))
                return 's';
        return runtime_is_user(c->runtime) ? 'u' : 'p';
}

int verb_logs(Flowctl *c, int argc _unused_, char **argv _unused_) {
        static const struct {
                OptionId id;
                const char *field;
        } matches[] = { { OPTION_POOL, "FLOWD_POOL" }, { OPTION_WORKER, "FLOWD_WORKER" }, { OPTION_JOB, "FLOWD_JOB" } };
        char *args[16] = { (char *) "journalctl" };
        uint64_t limit = 0;
        int64_t pid = 0;
        size_t n = 1;
        char mode;
        int r;

        r = option_number(c, OPTION_LIMIT, 0, INT32_MAX, &limit);
        if (r > 0)
                return r;
        mode = logs_mode(c, &pid);
        if (mode == 'p')
                return logs_private(c, pid);
        args[n++] = (char *) (mode == 'u' ? "--user" : "--system");
        if (option(c, OPTION_FOLLOW))
                args[n++] = (char *) "--follow";
        if (option(c, OPTION_JSON))
                args[n++] = (char *) "--output=json";
        if (option(c, OPTION_NO_PAGER))
                args[n++] = (char *) "--no-pager";
        if (option(c, OPTION_QUIET))
                args[n++] = (char *) "--quiet";
        if (option(c, OPTION_LIMIT)) {
                args[n] = str_printf("--lines=%" PRIu64, limit);
                if (args[n])
                        n++;
        }
        args[n++] = (char *) "SYSLOG_IDENTIFIER=flowd";
        for (size_t i = 0; i < ELEMENTSOF(matches); i++)
                if (option(c, matches[i].id)) {
                        args[n] = str_printf("%s=%s", matches[i].field, c->options[matches[i].id]);
                        if (args[n])
                                n++;
                }
        fflush(stdout);
        execvp("journalctl", args);
        error_print("cannot execute journalctl: %s", strerror(errno));
        return STATUS_FAILED;
}
