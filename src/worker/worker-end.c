/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How a worker ended, exactly. What flowd decided comes before what the process then did: a worker that was killed because its job timed out has died
 * of the timeout, whatever the signal. Only the want of memory comes before that, because it is nobody's decision.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/worker.h"

#define EXIT_PERMANENT 125

static const char *const cause_names[_CAUSE_MAX] = {
        [CAUSE_NONE] = "none",
        [CAUSE_EXIT] = "exit",
        [CAUSE_PERMANENT] = "permanent",
        [CAUSE_SIGNAL] = "signal",
        [CAUSE_CORE] = "core",
        [CAUSE_OOM] = "oom",
        [CAUSE_TIMEOUT] = "timeout",
        [CAUSE_CANCELLED] = "cancelled",
        [CAUSE_HEARTBEAT] = "heartbeat",
        [CAUSE_PROTOCOL] = "protocol",
        [CAUSE_START] = "start-timeout",
        [CAUSE_STOPPED] = "stopped",
};

const char *worker_cause_to_string(WorkerCause c) {
        return cause_names[c];
}

void worker_set_cause(Worker *w, WorkerCause c) {
        if (w->cause == CAUSE_NONE)
                w->cause = c;
}

WorkerCause worker_cause(const Worker *w) {
        if (w->oom != CGROUP_OOM_NONE)
                return CAUSE_OOM;
        if (w->cause != CAUSE_NONE || w->exit_code == 0)
                return w->cause;
        switch (w->exit_code) {
        case CLD_EXITED:
                return w->exit_status == EXIT_PERMANENT ? CAUSE_PERMANENT : CAUSE_EXIT;
        case CLD_DUMPED:
                return CAUSE_CORE;
        default:
                return CAUSE_SIGNAL;
        }
}

WorkerEnd worker_end(const Worker *w) {
        return (WorkerEnd) {
                .cause = cause_names[worker_cause(w)],
                .code = w->exit_code,
                .status = w->exit_status,
                .user_usec = w->user_usec,
                .system_usec = w->system_usec,
                .max_rss = w->max_rss,
        };
}

static uint64_t usec_of(struct timeval t) {
        return (uint64_t) t.tv_sec * USEC_PER_SEC + (uint64_t) t.tv_usec;
}

void worker_reap(Worker *w) {
        struct rusage ru = {};
        siginfo_t si;

        /* the C library's waitid() has no rusage */
        while (syscall(SYS_waitid, P_PID, w->pid, &si, WEXITED, &ru) < 0 && errno == EINTR)
                ;
        w->user_usec = usec_of(ru.ru_utime);
        w->system_usec = usec_of(ru.ru_stime);
        w->max_rss = (uint64_t) ru.ru_maxrss * 1024;
}

char *worker_describe_exit(const Worker *w, char *buf, size_t size) {
        static const char *const oom[] = {
                [CGROUP_OOM_NONE] = "",
                [CGROUP_OOM_OWN] = " (out of memory: MemoryMax=)",
                [CGROUP_OOM_OUTER] = " (out of memory: the limit of the service, or the machine's)",
        };
        const char *name = w->exit_status > 0 && w->exit_status < NSIG ? sigabbrev_np(w->exit_status) : NULL;
        char what[128];

        if (w->exit_code == 0)
                snprintf(what, sizeof(what), "runs");
        else if (w->exit_code == CLD_EXITED)
                snprintf(what, sizeof(what), "exited with status %d", w->exit_status);
        else
                snprintf(what, sizeof(what), "was killed by SIG%s%s%s", strna(name), w->exit_code == CLD_DUMPED ? " (core dumped)" : "",
                         oom[w->oom]);
        if (w->reason)
                snprintf(buf, size, "%s; it %s", w->reason, what);
        else
                snprintf(buf, size, "%s", what);
        return buf;
}

