/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * config cat and check, reload, reexec. What is in force only the daemon knows; what the files say only flowd's own parser does,
 * so config check is flowd itself, executed with --check-config over the directories of the instance that was named.
 */

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "basic/str.h"
#include "client/runtime.h"
#include "flowctl/term.h"

#define REEXEC_TIMEOUT_USEC (60 * USEC_PER_SEC) /* until the new image answers */
#define REEXEC_POLL_USEC (50 * USEC_PER_MSEC)

int verb_config_cat(Flowctl *c, int argc, char **argv) {
        _cleanup_json_ json_object *reply = NULL, *parameters = json_object_new_object();
        const char *text;
        int r;

        if (argc > 0 && !strchr(argv[0], '.'))
                return usage_error(c, "'%s' is no unit; perhaps %s.pool or %s.worker is", argv[0], argv[0], argv[0]);
        if (argc > 0)
                json_object_object_add(parameters, "unit", json_object_new_string(argv[0]));
        r = control_call(c, "ShowConfig", TAKE_PTR(parameters), &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        text = strempty(json_text(reply, "text"));
        printf("%s%s", text, *text && text[strlen(text) - 1] != '\n' ? "\n" : "");
        return STATUS_OK;
}

/* flowd beside this flowctl, so that a build tree checks with its own; else the installed one; else the first in PATH. */
static void flowd_exec(char **args) {
        char self[4096];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 16);

        if (n > 0) {
                self[n] = 0;
                char *slash = strrchr(self, '/');

                if (slash) {
                        strcpy(slash, "/flowd");
                        if (access(self, X_OK) == 0)
                                execv(self, args);
                }
        }
        execv(BINDIR "/flowd", args);
        execvp("flowd", args);
}

int verb_config_check(Flowctl *c, int argc, char **argv) {
        _cleanup_free_ char *config = NULL, *runtime = NULL, *state = NULL;
        char *args[8] = { (char *) "flowd", (char *) "--check-config" };
        const char *env = getenv("FLOWD_CONFIG");
        size_t n = 2;

        if (option(c, OPTION_USER))
                args[n++] = (char *) "--user";
        if (argc > 0) {
                config = str_printf("--config=%s", argv[0]);
                args[n++] = config;
        } else if (option(c, OPTION_RUNTIME) && !(env && *env)) {
                error_print("where is that instance's configuration? Say 'flowctl config check DIR', or set FLOWD_CONFIG.");
                return STATUS_USAGE;
        }
        if (config || option(c, OPTION_RUNTIME)) {
                /* A private instance has all three; a check looks at the first one only. */
                runtime = str_printf("--runtime=%s", c->runtime);
                state = str_printf("--state=%s/state", c->runtime);
                args[n++] = runtime;
                args[n++] = state;
        }
        flowd_exec(args);
        error_print("cannot execute flowd: %s; is it installed?", strerror(errno));
        return STATUS_FAILED;
}

int verb_reload(Flowctl *c, int argc _unused_, char **argv _unused_) {
        _cleanup_json_ json_object *reply = NULL;
        json_object *warnings, *changed, *settings;
        int r;

        r = control_call(c, "Reload", NULL, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        warnings = json_member(reply, "warnings");
        changed = json_member(reply, "changed");
        settings = json_member(reply, "settings");
        for (size_t i = 0; i < json_length(warnings); i++)
                fprintf(stderr, "%s\n", strempty(json_object_get_string(json_object_array_get_idx(warnings, i))));
        if (option(c, OPTION_QUIET))
                return STATUS_OK;
        for (size_t i = 0; i < json_length(changed); i++)
                printf("Changed: %s\n", strempty(json_object_get_string(json_object_array_get_idx(changed, i))));
        for (size_t i = 0; i < json_length(settings); i++)
                printf("%s%s=%s", i == 0 ? "Changed: flowd.conf: " : " ", strempty(json_object_get_string(json_object_array_get_idx(settings, i))),
                       i + 1 == json_length(settings) ? "\n" : "");
        if (json_length(changed) + json_length(settings) == 0)
                printf("Nothing has changed.\n");
        return STATUS_OK;
}

/* Asks a fresh connection for Status, whatever becomes of it. Returns 1 with the reply, else 0. */
static int status_try(Flowctl *c, uint64_t timeout_usec, json_object **ret) {
        _cleanup_(varlink_error_freep) VarlinkError *e = NULL;

        c->client = varlink_client_free(c->client);
        if (varlink_client_new(c->runtime, &c->client) < 0)
                return 0;
        return varlink_client_call(c->client, "io.flowd.Status", NULL, timeout_usec, ret, &e) > 0;
}

/* Waits until the image that answers is a later one than `before`. */
static int reexec_wait(Flowctl *c, int64_t before, json_object **ret) {
        uint64_t until = now_usec() + REEXEC_TIMEOUT_USEC;

        for (uint64_t now; (now = now_usec()) < until; usleep(REEXEC_POLL_USEC)) {
                _cleanup_json_ json_object *s = NULL;

                if (status_try(c, until - now, &s) > 0 && json_int(s, "reexecs") > before) {
                        *ret = TAKE_PTR(s);
                        return 0;
                }
        }
        error_print("no new image of flowd answers at %s/control. See 'flowctl logs' for what it says.", c->runtime);
        return STATUS_FAILED;
}

int verb_reexec(Flowctl *c, int argc _unused_, char **argv _unused_) {
        _cleanup_json_ json_object *before = NULL, *reply = NULL, *after = NULL;
        _cleanup_(varlink_error_freep) VarlinkError *e = NULL;
        int r;

        r = control_call(c, "Status", NULL, &before);
        if (r > 0)
                return r;
        /* The answer is the new image's. Should it hang up instead, the verdict is in its Status. */
        r = varlink_client_call(c->client, "io.flowd.Reexec", NULL, REEXEC_TIMEOUT_USEC, &reply, &e);
        if (r == 0)
                return control_error(c, e);
        if (r < 0 && r != -ECONNRESET && r != -ETIMEDOUT)
                return control_failed(c, r);
        r = reexec_wait(c, json_int(before, "reexecs"), &after);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(after, true);
        if (!option(c, OPTION_QUIET))
                printf("flowd %s runs now, process %" PRId64 " as before.\n", strna(json_text(after, "version")),
                       json_int(after, "pid"));
        return STATUS_OK;
}
