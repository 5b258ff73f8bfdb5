/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A worker type is read once and never changed: a reload makes new ones, and a worker goes on with the one that it was started
 * with for as long as it lives. References are counted without atomics, because only the main thread touches them.
 */

#include <errno.h>
#include <fnmatch.h>

#include "worker/worker-type.h"

WorkerType *worker_type_new(const char *name) {
        _cleanup_(worker_type_unrefp) WorkerType *t = new0(WorkerType, 1);

        if (!t)
                return NULL;
        *t = (WorkerType) {
                .n_ref = 1,
                .protocol = PROTOCOL_FRAME,
                .output = OUTPUT_BYTES,
                .slots = 1,
                .start_timeout_usec = 30 * USEC_PER_SEC,
                .stop_timeout_usec = 10 * USEC_PER_SEC,
                .job_timeout_usec = USEC_INFINITY,
                .soft_timeout_usec = USEC_INFINITY,
                .cancel_timeout_usec = 5 * USEC_PER_SEC,
                .drain_timeout_usec = 30 * USEC_PER_SEC,
                .uid = (uid_t) -1,
                .gid = (gid_t) -1,
                .payload_max = 64ULL << 20,
                .result_max = 64ULL << 20,
                .memory_max = UINT64_MAX,
                .memory_swap_max = UINT64_MAX,
                .tasks_max = UINT64_MAX,
                .max_age_usec = USEC_INFINITY,
                .max_rss = UINT64_MAX,
                .max_crashes = 3,
                .retry_usec = 1 * USEC_PER_SEC,
                .retry_max_usec = 600 * USEC_PER_SEC,
                .cache_ttl_usec = 3600 * USEC_PER_SEC,
                .cache_max = UINT64_MAX,
        };
        t->name = strdup(name);
        if (!t->name)
                return NULL;
        return TAKE_PTR(t);
}

WorkerType *worker_type_ref(WorkerType *t) {
        t->n_ref++;
        return t;
}

WorkerType *worker_type_unref(WorkerType *t) {
        if (!t || --t->n_ref > 0)
                return NULL;
        free(t->name);
        strv_free(t->exec);
        strv_free(t->environment);
        strv_free(t->pass_environment);
        free(t->working_directory);
        free(t->user);
        free(t->groups);
        free(t->home);
        strv_free(t->cacheable);
        free(t->version);
        free(t);
        return NULL;
}

static bool limits_equal(const WorkerType *a, const WorkerType *b) {
        for (size_t i = 0; i < WORKER_RLIMITS; i++) {
                if (a->limit_set[i] != b->limit_set[i])
                        return false;
                if (a->limit_set[i] &&
                    (a->limit[i].rlim_cur != b->limit[i].rlim_cur || a->limit[i].rlim_max != b->limit[i].rlim_max))
                        return false;
        }
        return true;
}

static bool identity_equal(const WorkerType *a, const WorkerType *b) {
        return streq_ptr(a->user, b->user) && a->uid == b->uid && a->gid == b->gid && streq_ptr(a->home, b->home) &&
               a->n_groups == b->n_groups &&
               (a->n_groups == 0 || memcmp(a->groups, b->groups, a->n_groups * sizeof(gid_t)) == 0);
}

bool worker_type_equal(const WorkerType *a, const WorkerType *b) {
        return streq_ptr(a->name, b->name) && strv_equal(a->exec, b->exec) && a->protocol == b->protocol &&
               a->output == b->output && a->ready_explicit == b->ready_explicit && a->mcp_era == b->mcp_era &&
               a->mcp_features == b->mcp_features && a->for_session == b->for_session && a->slots == b->slots &&
               a->start_timeout_usec == b->start_timeout_usec && a->stop_timeout_usec == b->stop_timeout_usec &&
               a->job_timeout_usec == b->job_timeout_usec && a->soft_timeout_usec == b->soft_timeout_usec && a->cancel_timeout_usec == b->cancel_timeout_usec &&
               a->drain_timeout_usec == b->drain_timeout_usec && a->heartbeat_usec == b->heartbeat_usec &&
               strv_equal(a->environment, b->environment) && strv_equal(a->pass_environment, b->pass_environment) &&
               streq_ptr(a->working_directory, b->working_directory) && identity_equal(a, b) && limits_equal(a, b) &&
               a->payload_max == b->payload_max && a->result_max == b->result_max && a->memory_max == b->memory_max &&
               a->memory_swap_max == b->memory_swap_max && a->tasks_max == b->tasks_max && a->cpu_weight == b->cpu_weight && a->max_jobs == b->max_jobs &&
               a->max_age_usec == b->max_age_usec && a->max_rss == b->max_rss && a->max_crashes == b->max_crashes &&
               a->retries == b->retries && a->retry_usec == b->retry_usec && a->retry_max_usec == b->retry_max_usec &&
               streq_ptr(a->version, b->version);
}

bool worker_type_caches_equally(const WorkerType *a, const WorkerType *b) {
        return strv_equal(a->cacheable, b->cacheable) && a->cache_ttl_usec == b->cache_ttl_usec && a->cache_stale_usec == b->cache_stale_usec &&
               a->cache_negative_usec == b->cache_negative_usec && a->cache_max == b->cache_max && a->cache_session == b->cache_session;
}

bool worker_type_cacheable(const WorkerType *t, const char *method) {
        for (char **c = t->cacheable; c && *c; c++)
                if (streq(*c, "*") || (method && fnmatch(*c, method, 0) == 0))
                        return true;
        return false;
}

static const char *const protocol_names[_PROTOCOL_MAX] = {
        [PROTOCOL_FRAME] = "frame",
        [PROTOCOL_JSONL] = "jsonl",
        [PROTOCOL_EXEC] = "exec",
        [PROTOCOL_MCP] = "mcp",
};

const char *protocol_to_string(Protocol p) {
        return (unsigned) p < _PROTOCOL_MAX ? protocol_names[p] : NULL;
}

int protocol_from_string(const char *s) {
        for (int i = 0; i < _PROTOCOL_MAX; i++)
                if (streq(s, protocol_names[i]))
                        return i;
        return -EINVAL;
}

static const char *const output_names[_OUTPUT_MAX] = {
        [OUTPUT_TEXT] = "text",
        [OUTPUT_JSON] = "json",
        [OUTPUT_BYTES] = "bytes",
};

const char *output_kind_to_string(OutputKind k) {
        return (unsigned) k < _OUTPUT_MAX ? output_names[k] : NULL;
}

int output_kind_from_string(const char *s) {
        for (int i = 0; i < _OUTPUT_MAX; i++)
                if (streq(s, output_names[i]))
                        return i;
        return -EINVAL;
}

static const char *const era_names[_MCP_ERA_MAX] = {
        [MCP_ERA_LEGACY] = "legacy",
        [MCP_ERA_MODERN] = "modern",
        [MCP_ERA_AUTO] = "auto",
};

const char *mcp_era_to_string(McpEra e) {
        return (unsigned) e < _MCP_ERA_MAX ? era_names[e] : NULL;
}

int mcp_era_from_string(const char *s) {
        for (int i = 0; i < _MCP_ERA_MAX; i++)
                if (streq(s, era_names[i]))
                        return i;
        return -EINVAL;
}

int mcp_feature_from_string(const char *s) {
        static const char *const names[] = { "roots", "sampling", "elicitation" };

        for (unsigned i = 0; i < ELEMENTSOF(names); i++)
                if (streq(s, names[i]))
                        return 1 << i;
        return -EINVAL;
}
