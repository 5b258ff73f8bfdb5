/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one owner of SIGCHLD: reaps workers and the orphans that they leave, and finds the living ones. */

#include "worker/host.h"

struct Worker;

typedef struct Reaper {
        Host *host;
        sd_event_source *source;
        void (*reaped)(struct Reaper *r); /* after processes were reaped */
} Reaper;

/* Becomes child subreaper and watches SIGCHLD, which must be blocked. */
int reaper_init(Reaper *r, Host *h, void (*reaped)(Reaper *r));
void reaper_done(Reaper *r);
/* Reaps whatever is there; also right after taking over from an earlier process image. */
void reaper_run(Reaper *r);

/* Kills the orphans that belong to no living worker, as their environment tells; `dead` is one that is being buried (or NULL).
 * Returns how many processes of `dead` are still there. */
unsigned orphans_kill(Host *h, const struct Worker *dead);
/* Kills the workers of earlier runs, and what they started: every process with one of `instances` (separated by blanks) as its FLOWD_INSTANCE.
 * Waits until they are gone, for 10 s at most. Returns how many there were. Only before the loop runs. */
unsigned leftovers_kill(Host *h, const char *instances);
