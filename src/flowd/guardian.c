/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The guardian. Where no cgroup holds flowd's processes together, a small parent does: it is child subreaper, so that whatever flowd leaves
 * behind becomes its child, and kills that when flowd has ended, however it ended. Should the guardian itself be killed, flowd gets SIGQUIT
 * by PDEATHSIG and stops everything at once.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "flowd/manager.h"

#define CHILDREN_MAX (4U * 1024U * 1024U)
#define KILL_TIMEOUT_USEC (10 * USEC_PER_SEC)
#define KILL_POLL_NSEC 5000000L

/* Kills our children, again and again: their children become ours. */
static void kill_children(void) {
        uint64_t until = now_usec() + KILL_TIMEOUT_USEC;
        char path[64];

        snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int) getpid());
        while (now_usec() < until) {
                _cleanup_free_ char *text = NULL;
                siginfo_t si;
                uint64_t pid;

                if (file_read(AT_FDCWD, path, CHILDREN_MAX, &text, NULL) >= 0)
                        for (char *save, *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
                                if (u64_parse(word, 1, INT32_MAX, &pid) >= 0)
                                        (void) kill((pid_t) pid, SIGKILL); /* a child of ours: the number is its own */
                for (;;) {
                        si.si_pid = 0;
                        if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG) < 0) {
                                if (errno == ECHILD)
                                        return;
                                break;
                        }
                        if (si.si_pid == 0)
                                break;
                }
                (void) nanosleep(&(struct timespec) { .tv_nsec = KILL_POLL_NSEC }, NULL);
        }
}

static int guard(pid_t child, const sigset_t *signals) {
        for (;;) {
                siginfo_t si = {};
                int sig = sigwaitinfo(signals, &si);

                if (sig < 0)
                        continue;
                if (sig != SIGCHLD) {
                        (void) kill(child, sig); /* not reaped yet: the number is its own */
                        continue;
                }
                while (waitid(P_ALL, 0, &si, WEXITED | WNOHANG) == 0 && si.si_pid > 0) {
                        if (si.si_pid != child) {
                                si.si_pid = 0;
                                continue;
                        }
                        kill_children();
                        return si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
                }
        }
}

int guardian_start(int *ret_status) {
        sigset_t signals, saved;
        pid_t self = getpid(), child;

        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return -errno;
        (void) sigemptyset(&signals);
        (void) sigaddset(&signals, SIGCHLD);
        (void) sigaddset(&signals, SIGTERM);
        (void) sigaddset(&signals, SIGINT);
        (void) sigaddset(&signals, SIGHUP);
        (void) sigaddset(&signals, SIGQUIT);
        (void) sigprocmask(SIG_BLOCK, &signals, &saved);

        child = fork(); /* at the very start: there is nothing to copy yet */
        if (child < 0)
                return -errno;
        if (child == 0) {
                if (prctl(PR_SET_PDEATHSIG, SIGQUIT) < 0 || getppid() != self)
                        _exit(EXIT_FAILURE);
                (void) setpgid(0, 0); /* the terminal's Ctrl-C goes to the guardian, which passes it on: once */
                return 0;
        }
        (void) saved;
        *ret_status = guard(child, &signals);
        return 1;
}
