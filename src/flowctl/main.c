/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * flowctl: what people and scripts have of flowd. Each verb is a function that returns the exit status, having told on stderr why
 * it is not 0. Answers are printed from the daemon's own JSON objects, as tables or, with --json, as they are.
 */

#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "client/runtime.h"
#include "flowctl/flowctl.h"
#include "flowctl/term.h"

void error_print(const char *format, ...) {
        va_list ap;

        fflush(stdout);
        flockfile(stderr);
        fputs("flowctl: ", stderr);
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fputc('\n', stderr);
        funlockfile(stderr);
}

int usage_error(const Flowctl *c, const char *format, ...) {
        va_list ap;

        fputs("flowctl: ", stderr);
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fprintf(stderr, "\nSee 'flowctl %s%s--help'.\n", c && c->verb ? c->verb->name : "", c && c->verb ? " " : "");
        return STATUS_USAGE;
}

static int flowctl_main(Flowctl *c, int argc, char **argv) {
        InstanceKind kind = INSTANCE_ANY;
        char **args;
        int r, n;

        r = options_parse(c, argc, argv, &args, &n);
        if (r >= 0)
                return r;
        if (option(c, OPTION_RUNTIME) + option(c, OPTION_USER) + option(c, OPTION_SYSTEM) > 1)
                return usage_error(c, "only one of --runtime, --user and --system can be given");
        if (option(c, OPTION_USER))
                kind = INSTANCE_USER;
        else if (option(c, OPTION_SYSTEM))
                kind = INSTANCE_SYSTEM;
        r = runtime_find(c->options[OPTION_RUNTIME], kind, &c->runtime);
        if (r < 0) {
                error_print("out of memory");
                return STATUS_FAILED;
        }
        return c->verb->run(c, n, args);
}

int main(int argc, char **argv) {
        Flowctl c = {};

        /* Widths of characters are the terminal's; numbers stay C's, which is what JSON and scripts read. */
        setlocale(LC_CTYPE, "");
        int r = flowctl_main(&c, argc, argv);
        free(c.runtime);
        varlink_client_free(c.client);
        if ((fflush(stdout) == EOF || ferror(stdout)) && r == STATUS_OK) {
                error_print("cannot write the output: %s", strerror(errno));
                r = STATUS_FAILED;
        }
        return r;
}
