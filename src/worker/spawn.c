/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Spawning. clone(CLONE_VM|CLONE_VFORK) on a stack of its own, as posix_spawn() does it: fork() would copy the page tables of the whole
 * supervisor. The child shares our memory until it execs, so it makes system calls and nothing else: raw ones for the ids, because glibc's
 * wrappers would signal our other threads. All signals are blocked around it, so that no handler runs in the child.
 *
 * PDEATHSIG is set after the ids, because changing them clears it, and the parent is checked after that: had it died in between, the signal
 * would never come. The child reports a failure through the shared memory, which we read once CLONE_VFORK lets us go on.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/fd.h"
#include "worker/spawn.h"

#define SPAWN_STACK_SIZE (64U * 1024U)
#define WORKER_UMASK 0022

typedef struct SpawnChild {
        const SpawnSpec *spec;
        pid_t parent;
        sigset_t no_signals;
        volatile int error;
        const char *volatile step;
} SpawnChild;

/* AddressSanitizer would remember the child's frames on a stack that is about to be unmapped. */
#define _on_child_stack_ __attribute__((__no_sanitize__("address"), __noinline__))

_on_child_stack_ static int set_ids(const WorkerType *t, const char *volatile *step) {
        if (t->uid == (uid_t) -1)
                return 0;
        *step = "setgroups";
        if (syscall(SYS_setgroups, t->n_groups, t->groups) < 0)
                return -1;
        *step = "setgid";
        if (syscall(SYS_setresgid, t->gid, t->gid, t->gid) < 0)
                return -1;
        *step = "setuid";
        return (int) syscall(SYS_setresuid, t->uid, t->uid, t->uid);
}

_on_child_stack_ static int child_setup(SpawnChild *c) {
        const SpawnSpec *s = c->spec;
        static const unsigned long default_action[8]; /* the kernel's struct sigaction: SIG_DFL, no flags, no mask */

        c->step = "setsid";
        if (setsid() < 0)
                return -1;
        c->step = "join its cgroup";
        if (s->cgroup_procs >= 0 && write(s->cgroup_procs, "0", 1) < 0)
                return -1;
        for (int sig = 1; sig < NSIG; sig++) /* the C library would keep two for itself, which may be ignored too */
                if (sig != SIGKILL && sig != SIGSTOP)
                        (void) syscall(SYS_rt_sigaction, sig, default_action, NULL, sizeof(uint64_t));
        c->step = "set the limits";
        for (int i = 0; i < WORKER_RLIMITS; i++)
                if (s->type->limit_set[i] && setrlimit((__rlimit_resource_t) i, &s->type->limit[i]) < 0)
                        return -1;
        c->step = "set up stdin, stdout and stderr";
        for (int i = 0; i < 3; i++)
                if (dup2(s->stdio[i], i) < 0) /* the sources are above 2, so that none is overwritten before its turn */
                        return -1;
        if (syscall(SYS_close_range, 3U, ~0U, 0) < 0)
                return -1;
        umask(WORKER_UMASK);
        if (set_ids(s->type, &c->step) < 0)
                return -1;
        c->step = "chdir";
        if (chdir(s->directory) < 0)
                return -1;
        c->step = "prctl";
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                return -1;
        if (getppid() != c->parent)
                _exit(127);
        (void) sigprocmask(SIG_SETMASK, &c->no_signals, NULL);
        c->step = "exec";
        (void) execve(s->type->exec[0], s->type->exec, s->environment);
        return -1;
}

_on_child_stack_ static int child_main(void *userdata) {
        SpawnChild *c = userdata;

        (void) child_setup(c);
        c->error = errno;
        _exit(127);
}

int spawn_process(const SpawnSpec *spec, pid_t *ret_pid, int *ret_pidfd, const char **reterr_step) {
        SpawnChild c = { .spec = spec, .parent = getpid() };
        sigset_t all, saved;
        int pidfd = -1, error = 0;

        char *stack = mmap(NULL, SPAWN_STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (stack == MAP_FAILED) {
                *reterr_step = "allocate a stack";
                return -errno;
        }
        (void) sigemptyset(&c.no_signals);
        (void) sigfillset(&all);
        (void) sigprocmask(SIG_SETMASK, &all, &saved);
        pid_t pid = clone(child_main, stack + SPAWN_STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &c, &pidfd);
        if (pid < 0)
                error = errno;
        (void) sigprocmask(SIG_SETMASK, &saved, NULL);
        (void) munmap(stack, SPAWN_STACK_SIZE);
        if (pid < 0) {
                *reterr_step = "clone";
                return -error;
        }
        if (c.error > 0) {
                siginfo_t si;

                while (waitid(P_PID, (id_t) pid, &si, WEXITED) < 0 && errno == EINTR)
                        ;
                fd_close(pidfd);
                *reterr_step = c.step;
                return -c.error;
        }
        *ret_pid = pid;
        *ret_pidfd = pidfd;
        return 0;
}
