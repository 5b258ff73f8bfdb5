/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The floor of a process for each job: posix_spawn() in a loop, --window= processes at a time, the payload into a pipe and
 * the result out of another until the end of the file, then the exit status. The command is what follows the options. Its
 * output is compared with what the first run of it gave for the same payload, so all payloads are alike here.
 */

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/fd.h"
#include "bench/bench.h"

#define OUTPUT_MAX 4096U

typedef struct Run {
        pid_t pid;
        int out;
        uint64_t started;
        size_t n;
        char output[OUTPUT_MAX];
} Run;

static void run_start(const Bench *b, Run *r, uint64_t now) {
        posix_spawn_file_actions_t actions;
        int in[2], out[2];

        if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
                bench_die("pipe2: %m");
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
        int k = posix_spawnp(&r->pid, b->rest[0], &actions, NULL, b->rest, environ);
        if (k != 0)
                bench_die("%s: %s", b->rest[0], strerror(k));
        posix_spawn_file_actions_destroy(&actions);
        fd_close(in[0]);
        fd_close(out[1]);
        if (write(in[1], b->pattern, b->size) != (ssize_t) b->size) /* at most a page: the pipe takes it whole */
                bench_die("write to a pipe: %m");
        fd_close(in[1]);
        r->out = out[0];
        r->started = now;
        r->n = 0;
}

/* Reads once; true when the process is over. */
static bool run_read(Run *r) {
        int status;

        ssize_t n = read(r->out, r->output + r->n, OUTPUT_MAX - r->n);
        if (n < 0)
                bench_die("read from a pipe: %m");
        r->n += (size_t) n;
        if (r->n == OUTPUT_MAX)
                bench_die("the command's output is above %u bytes.", OUTPUT_MAX);
        if (n > 0)
                return false;
        r->out = fd_close(r->out);
        if (waitpid(r->pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
                bench_die("the command failed.");
        r->pid = 0;
        return true;
}

int main(int argc, char *argv[]) {
        char first[OUTPUT_MAX];
        size_t n_first = 0;
        Bench b;

        bench_init(&b, argc, argv);
        if (!b.rest[0])
                bench_die("a command is wanted.");
        if (b.size > OUTPUT_MAX)
                bench_die("--size= must be at most %u.", OUTPUT_MAX);
        _cleanup_free_ Run *runs = new0(Run, b.window);
        _cleanup_free_ struct pollfd *fds = new0(struct pollfd, b.window);
        if (!runs || !fds)
                bench_die("out of memory.");

        bench_start(&b);
        uint64_t now = bench_now();
        for (unsigned busy = 0; bench_running(&b, now) || busy > 0;) {
                for (unsigned i = 0; i < b.window; i++) {
                        if (runs[i].pid == 0 && bench_running(&b, now)) {
                                run_start(&b, runs + i, now);
                                busy++;
                        }
                        fds[i] = (struct pollfd) { .fd = runs[i].pid ? runs[i].out : -1, .events = POLLIN };
                }
                if (busy > 0 && poll(fds, b.window, -1) < 0)
                        bench_die("poll: %m");
                for (unsigned i = 0; i < b.window; i++) {
                        if (!fds[i].revents || !run_read(runs + i))
                                continue;
                        busy--;
                        if (n_first == 0)
                                memcpy(first, runs[i].output, n_first = runs[i].n);
                        if (runs[i].n != n_first || memcmp(first, runs[i].output, n_first) != 0)
                                bench_die("the command's output differs from its first.");
                        bench_sample(&b, runs[i].started, bench_now());
                }
                now = bench_now();
        }
        bench_report(&b);
        return EXIT_SUCCESS;
}
