/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The reaper. One SIGCHLD source owns every waitid(): sd-event's own child sources do not reap what a subreaper adopts. Exits are looked at
 * with WNOWAIT first, so that a worker's zombie pins its numbers until its output is drained and its group is killed.
 *
 * An orphan that flowd has adopted can only descend from a worker. Where workers have cgroups, those kill everything; where they have not,
 * each process carries its worker's name and generation in its environment, which survives setsid() and a double fork. What belongs to no
 * living worker, or hides it, is killed.
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
#include "worker/reaper.h"
#include "worker/worker.h"

#define ENVIRON_MAX (256U * 1024U)
#define CHILDREN_MAX (4U * 1024U * 1024U)
#define PASSES_MAX 16U /* over the children in a row, while they keep dying by themselves */

void reaper_run(Reaper *r) {
        bool any = false;

        for (;;) { /* all of them: one SIGCHLD may stand for many */
                siginfo_t si = {};

                if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
                        break;
                any = true;
                Worker *w = map_get(&r->host->by_pid, (uint64_t) si.si_pid, Worker, by_pid);
                if (w)
                        worker_exited(w, si.si_code, si.si_status);
                else
                        (void) waitid(P_PID, (id_t) si.si_pid, &si, WEXITED);
        }
        if (any)
                r->reaped(r);
}

static int on_sigchld(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        (void) s;
        (void) si;
        reaper_run(userdata);
        return 0;
}

int reaper_init(Reaper *r, Host *h, void (*reaped)(Reaper *r)) {
        int k;

        *r = (Reaper) { .host = h, .reaped = reaped };
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return -errno;
        k = sd_event_add_signal(h->event, &r->source, SIGCHLD, on_sigchld, r);
        if (k < 0)
                return k;
        (void) sd_event_source_set_description(r->source, "reaper");
        return sd_event_source_set_priority(r->source, PRIORITY_CHILD);
}

void reaper_done(Reaper *r) {
        r->source = sd_event_source_disable_unref(r->source);
}

/* Whose descendant a process is: a living worker's (returned), `dead`'s (*ret_dead), or nobody's. */
static bool belongs_to_living(Host *h, pid_t pid, const Worker *dead, bool *ret_dead) {
        _cleanup_free_ char *env = NULL;
        const char *name = NULL, *generation = NULL, *instance = NULL;
        char path[40], wanted[24];
        size_t size;

        *ret_dead = false;
        snprintf(path, sizeof(path), "/proc/%d/environ", (int) pid);
        if (file_read(AT_FDCWD, path, ENVIRON_MAX, &env, &size) < 0)
                return false;
        for (const char *p = env; p < env + size; p += strlen(p) + 1)
                if (strncmp(p, "FLOWD_WORKER=", 13) == 0)
                        name = p + 13;
                else if (strncmp(p, "FLOWD_GENERATION=", 17) == 0)
                        generation = p + 17;
                else if (strncmp(p, "FLOWD_INSTANCE=", 15) == 0)
                        instance = p + 15;
        if (!name || !generation || !instance || !streq(instance, h->instance))
                return false;
        if (dead) {
                snprintf(wanted, sizeof(wanted), "%llu", (unsigned long long) dead->generation);
                if (streq(generation, wanted)) {
                        *ret_dead = true;
                        return false;
                }
        }
        for (size_t b = 0; b < h->by_pid.n_buckets; b++)
                for (MapNode *n = h->by_pid.buckets[b]; n; n = n->next) {
                        Worker *w = CONTAINER_OF(n, Worker, by_pid);

                        snprintf(wanted, sizeof(wanted), "%llu", (unsigned long long) w->generation);
                        if (streq(generation, wanted) && streq(name, w->name))
                                return true;
                }
        return false;
}

/* One pass over our children; returns how many were killed, which is not yet gone, and whether a zombie was found. */
static unsigned kill_once(Host *h, const Worker *dead, bool *ret_zombie) {
        _cleanup_free_ char *text = NULL;
        char path[64];
        unsigned n = 0;

        *ret_zombie = false;
        snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int) getpid());
        int r = file_read(AT_FDCWD, path, CHILDREN_MAX, &text, NULL);
        if (r < 0)
                return r != -ENOENT; /* what cannot be seen is not proven to be gone; a kernel without that file leaves no choice */
        for (char *save, *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
                uint64_t v;
                bool of_dead;

                if (u64_parse(word, 1, INT32_MAX, &v) < 0)
                        continue;
                pid_t pid = (pid_t) v;
                if (map_find(&h->by_pid, v) || belongs_to_living(h, pid, dead, &of_dead))
                        continue;
                siginfo_t si = {};
                if (waitid(P_PID, (id_t) pid, &si, WEXITED | WNOHANG) == 0 && si.si_pid == pid) {
                        *ret_zombie = true;
                        continue;
                }
                if (kill(pid, SIGKILL) == 0) { /* our child, not reaped: the number is its own */
                        EventFields f = { .pid = pid, .worker = dead ? dead->name : NULL, .pool = dead ? dead->pool_name : NULL };

                        n++;
                        if (h->last_orphan == pid)
                                continue;
                        h->last_orphan = pid;
                        event_send(h, EVENT_ORPHAN_KILLED, &f, "Killed pid %d, an orphan%s%s", (int) pid, dead ? " of " : "", dead ? dead->name : "");
                }
        }
        return n;
}

unsigned orphans_kill(Host *h, const Worker *dead) {
        for (unsigned i = 0; i < PASSES_MAX; i++) {
                bool zombie;
                unsigned n = kill_once(h, dead, &zombie);

                /* what a zombie leaves became ours when it died, which may have been after the list was read: only a list without one is
                 * a proof */
                if (n > 0 || !zombie)
                        return n;
        }
        return 1;
}
