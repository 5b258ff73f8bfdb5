/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* flowd: options, mode, guardian; then the manager's loop. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fault.h"
#include "basic/fd.h"
#include "flowd/manager.h"

typedef struct Options {
        bool user, check;
        const char *config, *runtime, *state;
        int log_level;
} Options;

static void help(void) {
        puts("flowd [OPTIONS...]\n\n"
             "Keeps tiered pools of worker processes alive and routes jobs to them.\n\n"
             "      --user             Run for one user, with the XDG directories\n"
             "      --config=DIR       Read the configuration from DIR only (a private instance)\n"
             "      --runtime=DIR      Put the sockets into DIR\n"
             "      --state=DIR        Keep state in DIR\n"
             "      --check-config     Check the configuration and exit: 0 good, 1 with errors\n"
             "      --log-level=LEVEL  emerg, alert, crit, err, warning, notice, info, debug\n"
             "  -h, --help             Show this help\n"
             "      --version          Show the version\n\n"
             "See flowd(8), flowd.conf(5), flowctl(1).");
}

/* Returns 1 to go on, 0 when done, -EINVAL for a usage error. */
static int parse_options(int argc, char **argv, Options *o) {
        enum { OPT_USER = 256, OPT_CONFIG, OPT_RUNTIME, OPT_STATE, OPT_CHECK, OPT_LEVEL, OPT_VERSION };
        static const struct option options[] = {
                { "user", no_argument, NULL, OPT_USER },
                { "config", required_argument, NULL, OPT_CONFIG },
                { "runtime", required_argument, NULL, OPT_RUNTIME },
                { "state", required_argument, NULL, OPT_STATE },
                { "check-config", no_argument, NULL, OPT_CHECK },
                { "log-level", required_argument, NULL, OPT_LEVEL },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPT_VERSION },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case OPT_USER:
                        o->user = true;
                        break;
                case OPT_CONFIG:
                        o->config = optarg;
                        break;
                case OPT_RUNTIME:
                        o->runtime = optarg;
                        break;
                case OPT_STATE:
                        o->state = optarg;
                        break;
                case OPT_CHECK:
                        o->check = true;
                        break;
                case OPT_LEVEL:
                        o->log_level = log_level_from_string(optarg);
                        if (o->log_level < 0) {
                                fprintf(stderr, "flowd: --log-level=%s: emerg, alert, crit, err, warning, notice, info or debug is allowed\n", optarg);
                                return -EINVAL;
                        }
                        break;
                case 'h':
                        help();
                        return 0;
                case OPT_VERSION:
                        puts("flowd " PACKAGE_VERSION);
                        return 0;
                default:
                        fputs("Try 'flowd --help'.\n", stderr);
                        return -EINVAL;
                }
        if (optind < argc) {
                fprintf(stderr, "flowd: unexpected argument '%s'; try 'flowd --help'\n", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

static int find_paths(const Options *o, ConfigPaths *ret) {
        bool private = o->config || o->runtime || o->state || getenv("FLOWD_CONFIG");
        RunMode mode = o->user ? RUN_USER : private ? RUN_PRIVATE : RUN_SYSTEM;
        int r;

        r = config_paths_init(ret, mode, o->config, o->runtime, o->state);
        if (r == -EINVAL)
                fprintf(stderr, "flowd: a private instance needs --config=DIR, --runtime=DIR and --state=DIR; %s is missing\n",
                        strna(config_paths_missing(o->config, o->runtime, o->state)));
        else if (r == -ENAMETOOLONG)
                fputs("flowd: the path of the runtime directory is too long for sockets in it; choose a shorter --runtime=DIR\n", stderr);
        else if (r < 0)
                fprintf(stderr, "flowd: cannot tell where the configuration is: %s\n", strerror(-r));
        return r;
}

static int check_config(const ConfigPaths *paths) {
        _cleanup_(config_freep) Config *c = NULL;
        int r = config_load(paths, &c);

        if (r < 0) {
                fprintf(stderr, "flowd: cannot load the configuration: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }
        for (size_t i = 0; i < c->n_messages; i++) {
                _cleanup_free_ char *text = config_message_format(&c->messages[i]);

                fprintf(stderr, "%s\n", strna(text));
        }
        printf("The configuration %s: %zu worker type%s, %zu pool%s, in", c->n_errors == 0 ? "is good" : "has errors", c->n_types,
               c->n_types == 1 ? "" : "s", c->n_pools, c->n_pools == 1 ? "" : "s");
        for (char **d = paths->dirs; d && *d; d++)
                printf(" %s", *d);
        puts(".");
        return c->n_errors > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The standard descriptors must be open, so that no other ever gets their numbers. */
static int open_standard_fds(void) {
        for (;;) {
                int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

                if (fd < 0)
                        return -errno;
                if (fd > STDERR_FILENO)
                        return close(fd), 0;
                (void) fd_set_cloexec(fd, false);
        }
}

static LogTarget log_target(RunMode mode) {
        if (mode == RUN_PRIVATE || access("/run/systemd/journal/socket", W_OK) < 0)
                return LOG_TARGET_STDERR;
        return LOG_TARGET_JOURNAL;
}

static int state_fd(void) {
        const char *s = getenv(STATE_FD_ENV);
        uint64_t fd;
        int r = s ? u64_parse(s, 3, INT32_MAX, &fd) : -ENOENT;

        (void) unsetenv(STATE_FD_ENV);
        return r < 0 ? -1 : (int) fd;
}

int main(int argc, char **argv) {
        _cleanup_(config_paths_done) ConfigPaths paths = {};
        _cleanup_free_ char *why = NULL;
        Options o = { .log_level = -1 };
        int r, status, from;
        Manager m;

        r = parse_options(argc, argv, &o);
        if (r <= 0)
                return r < 0 ? 2 : 0;
        if (open_standard_fds() < 0 || find_paths(&o, &paths) < 0)
                return 2;
        if (o.check)
                return check_config(&paths);

        r = fault_arm(getenv(FAULT_ENVIRONMENT), &why);
        if (r < 0) {
                fprintf(stderr, "flowd: " FAULT_ENVIRONMENT ": %s\n", why ? why : strerror(-r));
                return 2;
        }
        from = state_fd();
        /* systemd's cgroup does what the guardian does, and wants its messages from the process that it started */
        if (from < 0 && (paths.mode == RUN_PRIVATE || !getenv("NOTIFY_SOCKET"))) {
                r = guardian_start(&status);
                if (r > 0)
                        return status;
                if (r < 0)
                        fprintf(stderr, "flowd: no guardian, orphans of workers may survive flowd: %s\n", strerror(-r));
        }
        r = manager_init(&m, &paths, log_target(paths.mode), o.log_level, argv, from);
        if (r >= 0)
                r = manager_run(&m);
        else if (r != -EBADMSG)
                fprintf(stderr, "flowd: cannot start: %s\n", strerror(-r));
        manager_done(&m);
        return r >= 0 ? EXIT_SUCCESS : r == -EBADMSG ? EXIT_CONFIG : EXIT_FAILURE;
}
