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

typedef struct PoolConfig {
        unsigned n_ref;

        char *name;
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
} PoolConfig;

#define POOL_WORKERS_MAX 10000U
#define BREAKER_CRASHES_MAX 100U
#define POOL_METHODS_MAX 256U

PoolConfig *pool_config_new(const char *name);
PoolConfig *pool_config_ref(PoolConfig *c);
PoolConfig *pool_config_unref(PoolConfig *c);
DEFINE_CLEANUP(PoolConfig *, pool_config_unref);
bool pool_config_equal(const PoolConfig *a, const PoolConfig *b); /* the worker types are compared apart */

/* Max= where a file does not say: the CPUs that this process may use, at least `min`. */
unsigned pool_default_max(unsigned min);

const char *tier_to_string(Tier t);
int tier_from_string(const char *s); /* -EINVAL */
