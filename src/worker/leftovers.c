/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an earlier run has left behind. Its workers and their descendants have its FLOWD_INSTANCE in their environment. They are no children
 * of ours, so each is held by a pidfd before its environment is looked at: what is killed is what was looked at.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/fd.h"
#include "worker/reaper.h"

#define LEFTOVERS_ENVIRON_MAX (1024U * 1024U)
#define LEFTOVERS_WAIT_MSEC 10000 /* for all of them; what the kernel holds longer is told of, and left */
#define LEFTOVERS_ROUNDS 100U     /* they may start others meanwhile */

static bool one_of(const char *instance, const char *list) {
        size_t n = strlen(instance);

        for (const char *p = list; n > 0 && (p = strstr(p, instance)); p += n)
                if ((p == list || p[-1] == ' ') && (p[n] == 0 || p[n] == ' '))
                        return true;
        return false;
}

/* Kills it where it is one; waits until it is gone. Returns 1, 0, or -ETIMEDOUT. */
static int kill_one(Host *h, pid_t pid, const char *instances, uint64_t until) {
        _cleanup_close_ int pidfd = (int) syscall(SYS_pidfd_open, pid, 0);
        _cleanup_free_ char *env = NULL;
        const char *instance = NULL;
        char path[40];
        size_t size;

        snprintf(path, sizeof(path), "/proc/%d/environ", (int) pid);
        if (pidfd < 0 || file_read(AT_FDCWD, path, LEFTOVERS_ENVIRON_MAX, &env, &size) < 0)
                return 0;
        for (const char *p = env; p < env + size; p += strlen(p) + 1)
                if (strncmp(p, "FLOWD_INSTANCE=", 15) == 0)
                        instance = p + 15;
        if (!instance || streq(instance, h->instance) || !one_of(instance, instances))
                return 0;
        if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0)
                return errno == ESRCH ? 0 : -errno;
        struct pollfd pfd = { .fd = pidfd, .events = POLLIN };
        uint64_t now = now_usec();
        int r = poll(&pfd, 1, now < until ? (int) ((until - now) / 1000 + 1) : 0);
        return r > 0 ? 1 : -ETIMEDOUT;
}

unsigned leftovers_kill(Host *h, const char *instances) {
        uint64_t until = now_usec() + LEFTOVERS_WAIT_MSEC * 1000ULL;
        unsigned total = 0, n = 1;

        for (unsigned round = 0; n > 0 && round < LEFTOVERS_ROUNDS; round++) {
                DIR *d = opendir("/proc");
                struct dirent *e;

                if (!d) {
                        log_write(h->log, LOG_WARNING, "Cannot look for processes of an earlier run: /proc: %s", strerror(errno));
                        return total;
                }
                n = 0;
                while ((e = readdir(d))) {
                        uint64_t pid;

                        if (u64_parse(e->d_name, 1, INT32_MAX, &pid) < 0)
                                continue;
                        int r = kill_one(h, (pid_t) pid, instances, until);
                        if (r < 0) {
                                log_write(h->log, LOG_ERR, "Process %d of an earlier run cannot be killed: %s; going on without proof of its end",
                                          (int) pid, strerror(-r));
                                continue;
                        }
                        n += (unsigned) r;
                }
                (void) closedir(d);
                total += n;
        }
        return total;
}
