/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a NAME.pool file says. Immutable once loaded, shared by reference. */

#include "worker/worker-type.h"

typedef enum Tier {
        TIER_HOT,
        TIER_WARM,
        TIER_COLD,
        _TIER_MAX,
} Tier;

typedef enum PoolAffinity {
        POOL_AFFINITY_NONE,
        POOL_AFFINITY_SOFT,
        _POOL_AFFINITY_MAX,
} PoolAffinity;

typedef struct PoolConfig {
        unsigned n_ref;

        char *name;
        char *id;                    /* of a pool that was spawned at run time, and its pool type; NULL for one from a file */
        char *pool_type;
        char *settings;              /* and what a file would say */
        WorkerType *type;            /* Worker=: a reference */
        Tier tier;                   /* Tier=hot|warm|cold, default warm */
        unsigned min;                /* Min=: default 1 for hot, 0 for warm; always 0 for cold */
        unsigned max;                /* Max=: default MAX(min, CPUs) */
        uint64_t idle_timeout_usec;  /* IdleTimeout=5min: a worker above Min that has been idle so long is stopped */
        unsigned queue_max;          /* QueueMax=10000 jobs */
        uint64_t queue_bytes_max;    /* QueueBytesMax=256M of payload */
        uint64_t restart_usec;       /* RestartDelay=100ms, doubled up to */
        uint64_t restart_max_usec;   /* RestartDelayMax=30s */
        uint64_t healthy_usec;       /* HealthyAfter=10s: a worker that lived so long resets the delay */
        unsigned breaker_crashes;    /* BreakerCrashes=5 (0: never) in ... */
        uint64_t breaker_window_usec;/* BreakerWindow=30s ... make the pool degraded ... */
        uint64_t breaker_cooldown_usec; /* BreakerCooldown=30s ... for so long */
        char **methods;              /* Methods=: names and patterns of what it takes; NULL: any */
        uint64_t priority_aging_usec;/* PriorityAging=30s: waiting so long counts as one step of priority; 0: it never does */
        uint64_t queue_timeout_usec; /* QueueTimeout=infinity: a job that has waited so long in the queue ends as timeout */
        unsigned rate_limit;         /* RateLimit=0: jobs a second that are taken; 0: no limit */
        unsigned rate_burst;         /* RateBurst=: at once; 0: as many as RateLimit= */
        unsigned scale_up_at;        /* ScaleUpAt=0 percent of the slots in use: grow before jobs have to wait; 0: off */
        unsigned scale_down_at;      /* ScaleDownAt=0 percent: do not shrink so that the rest is busier; 0: off */
        uint64_t scale_cooldown_usec;/* ScaleCooldown=0: time between two changes of size for such reasons */
        unsigned spawn_rate;         /* SpawnRate=0: workers that are started in a second; 0: no limit */
        unsigned spawn_burst;        /* SpawnBurst=: at once; 0: as many as SpawnRate= */
        bool prewarm;                /* PreWarm=no: keep workers for the jobs that are expected */
        uint64_t slow_start_usec;    /* SlowStart=0: until a new worker takes as many jobs as it has slots */
        PoolAffinity affinity;       /* Affinity=soft: a session's jobs go to the worker that had them before */
        uint64_t affinity_wait_usec; /* AffinityWait=50ms: how long they wait for it while others are free */
        bool session_exclusive;      /* SessionExclusive=no: a worker serves one session only */
        unsigned breaker_probes;     /* BreakerProbes=3: jobs that a probe must answer to close it before HealthyAfter= */
        char *mcp_prefix;            /* McpPrefix=: of the names of what its MCP servers offer; NULL: the pool's name */
        char **mcp_allow;            /* McpAllow=: patterns of what is offered to MCP clients; NULL: all */
        char **mcp_deny;             /* McpDeny=: and of what is not */
        char **on_failure;           /* OnFailure=: a command, NULL for none; or flowd.conf's */
        uint64_t on_failure_timeout_usec; /* OnFailureTimeout=30s */
} PoolConfig;

#define POOL_AGING_MAX_USEC (3600 * USEC_PER_SEC) /* so that priority times aging is a time */
#define POOL_WORKERS_MAX 10000U
#define POOL_ID_MAX 32U /* bytes, with the final NUL */
#define BREAKER_CRASHES_MAX 100U
#define POOL_METHODS_MAX 256U
#define MCP_PREFIX_MAX 32U /* bytes */
#define BREAKER_PROBES_MAX 1000U

PoolConfig *pool_config_new(const char *name);
PoolConfig *pool_config_ref(PoolConfig *c);
PoolConfig *pool_config_unref(PoolConfig *c);
DEFINE_CLEANUP(PoolConfig *, pool_config_unref);
bool pool_config_equal(const PoolConfig *a, const PoolConfig *b); /* the worker types are compared apart */

/* Max= where a file does not say: the CPUs that this process may use, at least `min`. */
unsigned pool_default_max(unsigned min);

const char *pool_affinity_to_string(PoolAffinity a);
int pool_affinity_from_string(const char *s); /* -EINVAL */
const char *tier_to_string(Tier t);
int tier_from_string(const char *s); /* -EINVAL */
