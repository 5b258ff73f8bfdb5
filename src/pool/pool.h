/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A pool: workers of one type, their number, and the queue of jobs that wait for them. */

#include "basic/histogram.h"
#include "pool/bucket.h"
#include "pool/hook.h"
#include "pool/job-table.h"
#include "pool/pool-config.h"
#include "pool/scale.h"
#include "pool/session.h"
#include "worker/worker.h"

typedef enum PoolState {
        POOL_PENDING,      /* there, and not begun */
        POOL_INITIALIZING, /* its first workers are not ready yet */
        POOL_RUNNING,
        POOL_SCALING,      /* scaled by an operator, and not there yet */
        POOL_DEGRADED,     /* too many crashes: the breaker is open, or half open */
        POOL_DRAINING,     /* drained by an operator: queues, dispatches nothing, what runs ends */
        POOL_STOPPED,      /* the same, and nothing runs any more */
        POOL_FAILED,       /* its worker said "do not restart" */
        POOL_CLOSING,      /* shown as draining: takes nothing more, finishes what it has, then it is gone */
        _POOL_STATE_MAX,
} PoolState;

typedef enum PoolEvent {
        POOL_EV_BEGIN,          /* workers may be started */
        POOL_EV_FULL,           /* as many are ready as are wanted */
        POOL_EV_SCALE,          /* an operator wants another number of them */
        POOL_EV_BREAKER_OPENED,
        POOL_EV_RECOVERED,      /* a probe has held; or, where it keeps no workers, the cool-down is over */
        POOL_EV_PERMANENT,      /* a resident worker exited with 125 */
        POOL_EV_DRAIN,          /* an operator drains it */
        POOL_EV_IDLE,           /* nothing is in hand any more */
        POOL_EV_RESUME,         /* an operator resumes it */
        POOL_EV_RENEWED,        /* its worker type was changed */
        POOL_EV_CLOSE,
        POOL_EV_REOPEN,         /* it closed, and is configured again */
        _POOL_EVENT_MAX,
} PoolEvent;

typedef enum BreakerState {
        BREAKER_CLOSED,
        BREAKER_OPEN,      /* nothing is started */
        BREAKER_HALF_OPEN, /* one worker at a time is a probe */
        _BREAKER_MAX,
} BreakerState;

typedef struct PoolStats {
        uint64_t completed, failed, timeout, cancelled, refused;
        uint64_t spawned, crashes;
        uint64_t affinity_hits, affinity_misses, affinity_fallbacks;
        uint64_t restarts;       /* workers started in place of one that had crashed */
        uint64_t breaker_opened; /* times, probes that crashed included */
        Histogram latency; /* acceptance to end, µs */
        Histogram run;     /* dispatch to end, µs */
} PoolStats;

#define POOL_DEATHS_KEPT 8U
#define POOL_DEATH_TAIL 1024U /* bytes of a dead worker's stderr */

/* A worker that failed. */
typedef struct PoolDeath {
        char worker[NAME_LENGTH_MAX + 16]; /* "" where it could not even be started */
        uint64_t generation;
        char cause[16];
        char how[256];
        uint64_t job;            /* that it had in hand, or 0 */
        uint64_t real_usec;      /* CLOCK_REALTIME */
        uint64_t lived_usec;
        WorkerEnd end;           /* without its cause */
        char tail[POOL_DEATH_TAIL + 1];
} PoolDeath;

typedef struct Pool {
        Host *host;
        JobTable *jobs;
        PoolConfig *config;
        const char *name;        /* interned: outlives the pool */
        MapNode by_name;
        List link;               /* among the manager's pools */
        PoolState state;
        uint64_t opened_usec;    /* when its first workers were to be started */
        bool permanent;          /* nothing is started: a worker exited with 125 */
        bool stopping;           /* flowd stops: recorded jobs are left to its next run */
        bool settled;            /* was ready, or has failed to be, once: READY=1 waits for that */
        char *reason;            /* why it is degraded or failed */

        List workers;            /* all */
        List free_workers;       /* with a free slot; the most recently used first */
        unsigned n_workers, n_starting, n_usable, n_running;
        unsigned target;         /* 0: Min= */

        JobQueue queue;          /* dispatch.c: those that may go to any worker */
        List waiting;            /* jobs that may not be dispatched yet: being recorded, delayed, or with an attempt not proven over */
        List resumed;            /* Worker.parked_link: a slot, and jobs that wait for just this worker */
        SessionTable *sessions;  /* NULL: there is no affinity */
        List session_wait;       /* Session.wait: exclusive ones without a worker, in the order of their coming */
        unsigned n_queued, n_waiting;
        unsigned n_parked;       /* of n_queued: jobs that wait for the worker of their session */
        unsigned n_session_wait;
        bool late;               /* a job was queued after the others were sent away because the pool has failed */
        uint64_t queued_bytes;   /* of both */
        TokenBucket rate;        /* RateLimit= */
        TokenBucket spawns;      /* SpawnRate= */

        Scale scale;
        unsigned scale_wanted;   /* what it decided last */
        ScaleReason scale_reason;
        ScaleReason scale_told;
        bool scale_told_up;
        uint64_t scale_told_usec, limit_told;
        char limited[96];        /* why it has fewer workers than it wants; "": it has not */
        uint64_t spawn_next;     /* when to look again whether to start one */
        uint64_t memory_seen;    /* the largest resident set of any of its workers */
        uint64_t memory_each;    /* what a worker is counted as */
        uint64_t memory_planned; /* its part of Host.memory_planned */
        uint64_t sampled_usec;
        unsigned sample_at;

        Defer dispatch;
        uint64_t close_until;    /* closing: what is not done by then is aborted; 0: never */
        Timer timer;             /* the next look at sizes, backoff and ages */

        uint64_t restart_delay;  /* the next one */
        uint64_t spawn_after;    /* not before */
        BreakerState breaker;
        uint64_t breaker_until;  /* while it is open */
        uint64_t breaker_until_real; /* the same by CLOCK_REALTIME, for the next run */
        uint64_t half_open_usec; /* since when it is that */
        bool probe_needed;       /* then there were fewer workers than it keeps */
        unsigned probes;         /* jobs that were answered since */
        unsigned to_restart;     /* workers that have crashed and were not replaced yet */
        uint64_t *crash_times;   /* a ring of breaker_crashes */
        unsigned crash_at;
        unsigned crash_run;      /* crashes since a job was answered, or a worker lived for HealthyAfter= */
        uint64_t full_told;
        char last_exit[256];
        PoolDeath deaths[POOL_DEATHS_KEPT]; /* a ring */
        unsigned n_deaths;
        Hook hook;

        PoolStats stats;
        void (*changed)(struct Pool *p); /* its state has changed */
        void (*touched)(struct Pool *p); /* something of it that is kept for the next run of flowd has changed */
        /* of MCP servers, for those who serve what they offer; may be NULL */
        void (*catalog)(struct Pool *p, struct McpCatalog *c); /* what they offer is known, or has changed */
        void (*notify)(struct Pool *p, Worker *w, const char *text, size_t size); /* a notification for all clients, as it stands */
        void *userdata;
} Pool;

/* Takes a reference to the configuration. Returns 0 or -ENOMEM. `name` must outlive the pool. */
int pool_new(Host *h, JobTable *t, PoolConfig *config, const char *name, Pool **ret);
/* By its name, or the id of one that was spawned. */
Pool *pool_find(const Map *by_name, const List *pools, const char *name);
/* Only without workers and queued jobs. */
Pool *pool_free(Pool *p);
/* Starts its first workers (pending → initializing), and from then on keeps it at its size. */
void pool_start(Pool *p);

/* Accepts a job (adds it to the table, queues it) or refuses it: -EXFULL (queue full), -EDQUOT (above RateLimit=), -ENOTCONN (unavailable),
 * -EDESTADDRREQ (it has no session, and the pool is exclusive), -EMSGSIZE (payload too large), -EROFS (the store takes no durable job), -ENOMEM,
 * with a text for a person, owned by the caller. Returns 0; or 1 for a durable job, and for one that has no room here but may be in the cache: it
 * is accepted, or refused, when its watches are told so. */
int pool_submit(Pool *p, Job *j, char **reterr_text);
/* The name that programs know a refusal by: "QueueFull", ... */
const char *pool_refusal_code(int error);
/* 0 where a new job with such a payload could be taken now, or what pool_submit() would refuse it with; the text is made unless it is NULL. */
int pool_admits(const Pool *p, uint64_t payload_size, const char *session, char **reterr_text);
/* A job was not even submitted for that reason: counted, and told of, as a refusal. */
void pool_refused(Pool *p, int error);
/* How it is, in a word for those who watch over it. */
typedef enum PoolHealth {
        POOL_OK,
        POOL_IMPAIRED, /* "degraded": it works, with less than it should, or is held back by an operator */
        POOL_DOWN,     /* it can do nothing */
        _POOL_HEALTH_MAX,
} PoolHealth;
PoolHealth pool_health(const Pool *p);
const char *pool_health_to_string(PoolHealth h);

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

/* Forgets a session of this pool: its next job begins anew, in an exclusive pool with another worker. */
void pool_forget_session(Pool *p, Session *s);
/* SessionTable.unbound */
void pool_session_unbound(SessionTable *t, Session *s, Worker *w);
/* True where it has jobs for a free worker, and no dispatch is on its way. */
bool pool_stalled(const Pool *p);
/* Calls `f` for each job that may be dispatched, whomever it waits for. `f` may remove that job. */
void pool_foreach_queued(Pool *p, void (*f)(Job *j, void *userdata), void *userdata);

/* target within [Min, Max], else -ERANGE; -ESHUTDOWN where it closes. */
int pool_scale(Pool *p, unsigned target);
/* Drains it: jobs that run end, others wait. Or ends that, and whatever else kept it from starting workers. */
void pool_drain(Pool *p);
void pool_resume(Pool *p);
/* True where it is drained: by an operator, not because it closes. */
bool pool_held(const Pool *p);
/* Takes over a changed configuration: workers whose type has changed are replaced when idle. */
void pool_reconfigure(Pool *p, PoolConfig *config);
/* Finishes what it has, takes nothing more; pool_empty() tells when it can be freed. */
void pool_close(Pool *p);
/* While it closes: after `usec` what is not done is aborted, as by pool_abort(); recorded jobs that wait do so for a pool of its name. */
void pool_close_by(Pool *p, uint64_t usec);
/* The same because flowd stops: recorded jobs that do not run leave memory, those that run are not ended by pool_abort(). */
void pool_stop(Pool *p);
bool pool_empty(const Pool *p);
/* Stops everything now; queued jobs fail. */
void pool_abort(Pool *p, const char *why);
void pool_recycle(Pool *p, Worker *w);
Worker *pool_find_worker(Pool *p, unsigned slot);

/* A pool that closed, and was idle or not, is wanted again. */
void pool_reopen(Pool *p);

/* The last failure of a worker of that name, or of any (NULL); NULL where there was none. */
const PoolDeath *pool_last_death(const Pool *p, const char *worker);

const char *pool_state_to_string(PoolState s);
const char *pool_event_to_string(PoolEvent e);
const char *breaker_to_string(BreakerState b);
/* The table: what an event means in a state. *ret_bug where it cannot be. */
PoolState pool_state_next(PoolState s, PoolEvent e, bool *ret_bug);
/* Before pool_start(): an earlier run left the breaker like this. Where it was not closed, nothing is started for `left_usec` yet. */
void pool_breaker_resume(Pool *p, BreakerState state, uint64_t left_usec, const char *reason);

/* Counts its workers by state anew. */
void pool_recount(Pool *p);
/* What a worker of this pool is started from; `job` is the one that it is started for, or NULL. */
WorkerSpec pool_worker_spec(Pool *p, const Job *job);

/* State across execve(). */
int pool_serialize(Pool *p, struct StateWriter *sw, struct json_object *o);
int pool_deserialize(Pool *p, const struct StateReader *sr, const struct json_object *o);
/* Puts a job back where it was: at the end of the queue. */
void pool_requeue_restored(Pool *p, Job *j);
