/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A pool: workers of one type, their number, and the queue of jobs that wait for them. */

#include "basic/histogram.h"
#include "pool/job-table.h"
#include "pool/pool-config.h"
#include "worker/worker.h"

typedef enum PoolState {
        POOL_STARTING,  /* its first workers are not ready yet */
        POOL_RUNNING,
        POOL_DEGRADED,  /* too many crashes: the breaker is open */
        POOL_PAUSED,    /* drained by an operator: queues, dispatches nothing */
        POOL_FAILED,    /* its worker said "do not restart" */
        POOL_CLOSING,   /* no longer configured: finishes what it has */
        _POOL_STATE_MAX,
} PoolState;

typedef struct PoolStats {
        uint64_t completed, failed, timeout, cancelled, refused;
        uint64_t spawned, crashes;
        Histogram latency; /* acceptance to end, µs */
        Histogram run;     /* dispatch to end, µs */
} PoolStats;

typedef struct Pool {
        Host *host;
        JobTable *jobs;
        PoolConfig *config;
        const char *name;        /* interned: outlives the pool */
        MapNode by_name;
        List link;               /* among the manager's pools */
        PoolState state;
        uint64_t opened_usec;    /* when its first workers were to be started */
        bool stopping;           /* flowd stops: recorded jobs are left to its next run */
        bool settled;            /* was ready, or has failed to be, once: READY=1 waits for that */
        char *reason;            /* why it is degraded or failed */

        List workers;            /* all */
        List free_workers;       /* with a free slot; the most recently used first */
        unsigned n_workers, n_starting, n_usable, n_running;
        unsigned target;         /* 0: Min= */

        List queue;
        List waiting;            /* jobs that may not be dispatched yet: being recorded, delayed, or with an attempt not proven over */
        unsigned n_queued, n_waiting;
        uint64_t queued_bytes;   /* of both */
        Defer dispatch;
        Timer timer;             /* the next look at sizes, backoff and ages */

        uint64_t restart_delay;  /* the next one */
        uint64_t spawn_after;    /* not before */
        uint64_t breaker_until;
        uint64_t *crash_times;   /* a ring of breaker_crashes */
        unsigned crash_at;
        uint64_t full_told;
        char last_exit[256];

        PoolStats stats;
        void (*changed)(struct Pool *p); /* its state has changed */
        /* of MCP servers, for those who serve what they offer; may be NULL */
        void (*catalog)(struct Pool *p, struct McpCatalog *c); /* what they offer is known, or has changed */
        void (*notify)(struct Pool *p, const char *text, size_t size); /* a notification for all clients, as it stands */
        void *userdata;
} Pool;

/* Takes a reference to the configuration. Returns 0 or -ENOMEM. `name` must outlive the pool. */
int pool_new(Host *h, JobTable *t, PoolConfig *config, const char *name, Pool **ret);
/* Only without workers and queued jobs. */
Pool *pool_free(Pool *p);
/* Starts its first workers, and from then on keeps it at its size. */
void pool_start(Pool *p);

/* Accepts a job (adds it to the table, queues it) or refuses it: -EXFULL (queue full), -ENOTCONN (unavailable), -EMSGSIZE (payload too
 * large), -EROFS (the store takes no durable job), -ENOMEM, with a text for a person, owned by the caller. Returns 0; or 1 for a durable job,
 * which is accepted, or refused, when its watches are told so. */
int pool_submit(Pool *p, Job *j, char **reterr_text);
/* The name that programs know a refusal by: "QueueFull", ... */
const char *pool_refusal_code(int error);
/* 0 where a new job with such a payload could be taken now, or what pool_submit() would refuse it with; the text is made unless it is NULL. */
int pool_admits(const Pool *p, uint64_t payload_size, char **reterr_text);
/* An operator holds it back: it would queue a job, and leave it there. */
bool pool_held(const Pool *p);
/* A job was not even submitted for that reason: counted, and told of, as a refusal. */
void pool_refused(Pool *p, int error);

/* Takes a queued job over from its pool; whether it admits it was asked before. The store does not hear of it: should flowd die, its next run gives
 * a recorded job to the pool that it was accepted in. */
void pool_move(Pool *to, Job *j);
/* Ends a queued or running job as cancelled. */
void pool_cancel(Pool *p, Job *j);
/* The same for any job, also one without a pool. Returns false for one that has ended, or whose end is being recorded. */
bool pool_cancel_job(JobTable *t, Job *j);
/* Starts to dispatch again, after Host.hold. */
void pool_resume_dispatch(Pool *p);
/* Takes a job that was recorded by an earlier run of flowd: it is queued when its next attempt is recorded. */
void pool_adopt(Pool *p, Job *j);
/* The store has a job that waited for it: `accepted` for the first time. */
void pool_recorded(Pool *p, Job *j, bool accepted);
void pool_not_recorded(Pool *p, Job *j, const JobRefusal *why);
/* Capacity in jobs at a time, and work in hand and queued. */
unsigned pool_capacity(const Pool *p);

/* target within [Min, Max], else -ERANGE. */
int pool_scale(Pool *p, unsigned target);
void pool_pause(Pool *p);
void pool_resume(Pool *p);
/* Takes over a changed configuration: workers whose type has changed are replaced when idle. */
void pool_reconfigure(Pool *p, PoolConfig *config);
/* Finishes what it has, takes nothing more; pool_empty() tells when it can be freed. */
void pool_close(Pool *p);
/* The same because flowd stops: recorded jobs that do not run leave memory, those that run are not ended by pool_abort(). */
void pool_stop(Pool *p);
bool pool_empty(const Pool *p);
/* Stops everything now; queued jobs fail. */
void pool_abort(Pool *p, const char *why);
void pool_recycle(Pool *p, Worker *w);
Worker *pool_find_worker(Pool *p, unsigned slot);

const char *pool_state_to_string(PoolState s);

/* Counts its workers by state anew. */
void pool_recount(Pool *p);
/* What a worker of this pool is started from; `job` is the one that it is started for, or NULL. */
WorkerSpec pool_worker_spec(Pool *p, const Job *job);

/* State across execve(). */
int pool_serialize(Pool *p, struct StateWriter *sw, struct json_object *o);
int pool_deserialize(Pool *p, const struct StateReader *sr, const struct json_object *o);
/* Puts a job back where it was: at the end of the queue. */
void pool_requeue_restored(Pool *p, Job *j);
