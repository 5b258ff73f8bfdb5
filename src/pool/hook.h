/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* OnFailure=: a command that is run when something has gone wrong in a pool. */

#include "worker/worker.h"

/* The most urgent first: of what is pending, that is told first. */
typedef enum HookEvent {
        HOOK_POOL_FAILED,    /* exit status 125 */
        HOOK_BREAKER_OPEN,
        HOOK_DEAD_JOB,       /* it has killed MaxCrashes= workers */
        HOOK_BREAKER_CLOSED,
        HOOK_CRASH,
        _HOOK_MAX,
} HookEvent;

/* What has happened since the hook ran for it; of several only the last is told, and how many there were. */
typedef struct HookCall {
        unsigned count;
        char cause[16];
        char worker[NAME_LENGTH_MAX + 16];
        uint64_t job;
        char *message;
} HookCall;

typedef struct Hook {
        Worker *worker;          /* the command, while it runs */
        HookEvent event;         /* what it was told */
        HookCall pending[_HOOK_MAX];
        uint64_t not_before;
        Timer timer;
} Hook;

struct Pool;
struct StateWriter;
struct json_object;

void hook_init(Hook *h);
/* Without a command that runs. */
void hook_done(Hook *h, Host *host);
/* Something has happened: the command is run soon. `cause`, `worker` may be NULL, `job` 0. */
void hook_tell(struct Pool *p, HookEvent e, const char *cause, const char *worker, uint64_t job, const char *message);
/* Forgets what is pending; one that runs may end. */
void hook_drop(struct Pool *p);
/* One that runs ends within `usec`. */
#define HOOK_CLOSE_USEC (3 * USEC_PER_SEC) /* when its pool closes, or flowd stops */
void hook_hurry(struct Pool *p, uint64_t usec);

/* What is pending, across execve(); no command may run. */
struct json_object *hook_serialize(const Hook *h, struct StateWriter *sw);
void hook_deserialize(struct Pool *p, const struct json_object *a);
