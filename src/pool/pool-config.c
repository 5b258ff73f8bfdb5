/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * As with worker types, a pool's configuration is never changed: a reload makes a new one, and the pool swaps its reference.
 * Min= and Max= have defaults that depend on the tier and on the machine; the loader puts them in once the whole file is read,
 * here they only start from what an empty file would say.
 */

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "pool/pool-config.h"

unsigned pool_default_max(unsigned min) {
        cpu_set_t set;
        long n;

        /* what this process may run on, not what the machine has: containers and CPUAffinity= narrow it */
        if (sched_getaffinity(0, sizeof set, &set) == 0)
                n = CPU_COUNT(&set);
        else
                n = sysconf(_SC_NPROCESSORS_ONLN);
        n = MAX(n, 1L);
        n = MIN(n, (long) POOL_WORKERS_MAX);
        return MAX(min, (unsigned) n);
}

PoolConfig *pool_config_new(const char *name) {
        _cleanup_(pool_config_unrefp) PoolConfig *c = new0(PoolConfig, 1);

        if (!c)
                return NULL;
        *c = (PoolConfig) {
                .n_ref = 1,
                .tier = TIER_WARM,
                .max = pool_default_max(0),
                .idle_timeout_usec = 5 * 60 * USEC_PER_SEC,
                .queue_max = 10000,
                .queue_bytes_max = 256ULL << 20,
                .restart_usec = 100 * USEC_PER_MSEC,
                .restart_max_usec = 30 * USEC_PER_SEC,
                .healthy_usec = 10 * USEC_PER_SEC,
                .breaker_crashes = 5,
                .breaker_window_usec = 30 * USEC_PER_SEC,
                .breaker_cooldown_usec = 30 * USEC_PER_SEC,
                .priority_aging_usec = 30 * USEC_PER_SEC,
                .queue_timeout_usec = USEC_INFINITY,
                .affinity = POOL_AFFINITY_SOFT,
                .affinity_wait_usec = 50 * USEC_PER_MSEC,
                .breaker_probes = 3,
                .on_failure_timeout_usec = 30 * USEC_PER_SEC,
        };
        c->name = strdup(name);
        if (!c->name)
                return NULL;
        return TAKE_PTR(c);
}

PoolConfig *pool_config_ref(PoolConfig *c) {
        c->n_ref++;
        return c;
}

PoolConfig *pool_config_unref(PoolConfig *c) {
        if (!c || --c->n_ref > 0)
                return NULL;
        free(c->name);
        strv_free(c->methods);
        free(c->id);
        free(c->pool_type);
        free(c->settings);
        worker_type_unref(c->type);
        free(c->mcp_prefix);
        strv_free(c->mcp_allow);
        strv_free(c->mcp_deny);
        strv_free(c->on_failure);
        free(c);
        return NULL;
}

bool pool_config_equal(const PoolConfig *a, const PoolConfig *b) {
        return streq_ptr(a->name, b->name) && streq_ptr(a->type ? a->type->name : NULL, b->type ? b->type->name : NULL) &&
               a->tier == b->tier && a->min == b->min && a->max == b->max && a->idle_timeout_usec == b->idle_timeout_usec &&
               a->queue_max == b->queue_max && a->queue_bytes_max == b->queue_bytes_max &&
               a->restart_usec == b->restart_usec && a->restart_max_usec == b->restart_max_usec &&
               a->healthy_usec == b->healthy_usec && a->breaker_crashes == b->breaker_crashes &&
               a->breaker_window_usec == b->breaker_window_usec && a->breaker_cooldown_usec == b->breaker_cooldown_usec &&
               a->priority_aging_usec == b->priority_aging_usec && a->queue_timeout_usec == b->queue_timeout_usec &&
               a->rate_limit == b->rate_limit && a->rate_burst == b->rate_burst &&
               a->scale_up_at == b->scale_up_at && a->scale_down_at == b->scale_down_at && a->scale_cooldown_usec == b->scale_cooldown_usec &&
               a->spawn_rate == b->spawn_rate && a->spawn_burst == b->spawn_burst && a->prewarm == b->prewarm &&
               a->slow_start_usec == b->slow_start_usec && a->affinity == b->affinity &&
               a->affinity_wait_usec == b->affinity_wait_usec && a->session_exclusive == b->session_exclusive &&
               a->breaker_probes == b->breaker_probes && strv_equal(a->on_failure, b->on_failure) &&
               a->on_failure_timeout_usec == b->on_failure_timeout_usec && strv_equal(a->methods, b->methods) &&
               streq_ptr(a->mcp_prefix, b->mcp_prefix) && strv_equal(a->mcp_allow, b->mcp_allow) && strv_equal(a->mcp_deny, b->mcp_deny);
}

static const char *const tier_names[_TIER_MAX] = {
        [TIER_HOT] = "hot",
        [TIER_WARM] = "warm",
        [TIER_COLD] = "cold",
};

const char *tier_to_string(Tier t) {
        return (unsigned) t < _TIER_MAX ? tier_names[t] : NULL;
}

int tier_from_string(const char *s) {
        for (int i = 0; i < _TIER_MAX; i++)
                if (streq(s, tier_names[i]))
                        return i;
        return -EINVAL;
}

static const char *const affinity_names[_POOL_AFFINITY_MAX] = {
        [POOL_AFFINITY_NONE] = "none",
        [POOL_AFFINITY_SOFT] = "soft",
};

const char *pool_affinity_to_string(PoolAffinity a) {
        return (unsigned) a < _POOL_AFFINITY_MAX ? affinity_names[a] : NULL;
}

int pool_affinity_from_string(const char *s) {
        for (int i = 0; i < _POOL_AFFINITY_MAX; i++)
                if (streq(s, affinity_names[i]))
                        return i;
        return -EINVAL;
}
