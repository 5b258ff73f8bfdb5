/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A worker type: what a NAME.worker file says. Immutable once loaded, shared by reference. */

#include <sys/resource.h>
#include <sys/types.h>

#include "basic/str.h"

typedef enum Protocol {
        PROTOCOL_FRAME,
        PROTOCOL_JSONL,
        PROTOCOL_EXEC,
        PROTOCOL_MCP,
        _PROTOCOL_MAX,
} Protocol;

typedef enum OutputKind { /* what an exec worker's output is; the values are PayloadKind's */
        OUTPUT_TEXT,
        OUTPUT_JSON,
        OUTPUT_BYTES,
        _OUTPUT_MAX,
} OutputKind;

typedef enum McpEra { /* how an MCP server is spoken to */
        MCP_ERA_LEGACY, /* initialize */
        MCP_ERA_MODERN, /* 2026-07-28: no handshake */
        MCP_ERA_AUTO,   /* the second where it knows it; but some servers end when they are asked before initialize */
        _MCP_ERA_MAX,
} McpEra;

typedef enum McpFeature { /* what an MCP server may ask its client for */
        MCP_FEATURE_ROOTS = 1 << 0,
        MCP_FEATURE_SAMPLING = 1 << 1,
        MCP_FEATURE_ELICITATION = 1 << 2,
} McpFeature;

#define WORKER_RLIMITS RLIM_NLIMITS

typedef struct WorkerType {
        unsigned n_ref;

        char *name;
        char **exec;                  /* Exec=; exec[0] is an absolute path */
        Protocol protocol;            /* Protocol= */
        OutputKind output;            /* Output=, exec only */
        bool ready_explicit;          /* Ready=explicit, jsonl only */
        McpEra mcp_era;               /* McpEra=, mcp only */
        unsigned mcp_features;        /* ClientFeatures=, mcp with Sharing=session only: bits of McpFeature */
        bool for_session;             /* Sharing=session: a process serves one session, and none before or after it */
        unsigned slots;               /* Slots=, default 1, max WORKER_SLOTS_MAX */

        uint64_t start_timeout_usec;  /* StartTimeout=30s */
        uint64_t stop_timeout_usec;   /* StopTimeout=10s: from TERM to KILL */
        uint64_t job_timeout_usec;    /* JobTimeout=infinity: one attempt's run time */
        uint64_t soft_timeout_usec;   /* JobSoftTimeout=infinity: after so long it is asked to end */
        uint64_t cancel_timeout_usec; /* CancelTimeout=5s: from cancel to TERM */
        uint64_t drain_timeout_usec;  /* DrainTimeout=30s */
        uint64_t heartbeat_usec;      /* HeartbeatInterval=0 (off), frame only */

        char **environment;           /* Environment=, "NAME=value" */
        char **pass_environment;      /* PassEnvironment=: names passed on from flowd, besides the allow-list */
        char *working_directory;      /* WorkingDirectory=, default "/" as root and the runtime directory otherwise */
        char *user;                   /* User= or DefaultUser=, its name; NULL: no change of user */
        uid_t uid;                    /* resolved at load; (uid_t) -1: no change of user */
        gid_t gid;
        gid_t *groups;
        size_t n_groups;
        char *home;

        bool limit_set[WORKER_RLIMITS];
        struct rlimit limit[WORKER_RLIMITS]; /* LimitNOFILE= and so on; by RLIMIT_* number */

        uint64_t payload_max;         /* PayloadMax=64M */
        uint64_t result_max;          /* ResultMax=64M */
        uint64_t memory_max;          /* MemoryMax=infinity (UINT64_MAX), cgroup */
        uint64_t memory_swap_max;     /* MemorySwapMax=infinity, cgroup */
        uint64_t tasks_max;           /* TasksMax=infinity, cgroup */
        uint64_t cpu_weight;          /* CPUWeight=0 (unset), cgroup */

        uint64_t max_jobs;            /* MaxJobs=0 (never): recycled after so many jobs */
        uint64_t max_age_usec;        /* MaxAge=infinity */
        uint64_t max_rss;             /* MaxRSS=infinity: recycled when idle and above */
        unsigned max_crashes;         /* MaxCrashes=3: a job that killed so many workers is dead */

        unsigned retries;             /* Retries=0: how many failed attempts of a job are followed by another one */
        uint64_t retry_usec;          /* RetryDelay=1s: the first delay of the backoff between them */
        uint64_t retry_max_usec;      /* RetryDelayMax=10min */
        char **cacheable;             /* Cacheable=: methods whose results may be given to equal jobs; see worker_type_cacheable() */
        uint64_t cache_ttl_usec;      /* CacheTTL=1h: how long they are */
        uint64_t cache_stale_usec;    /* CacheStale=0: and for so long behind that, while a new one is made */
        uint64_t cache_negative_usec; /* CacheNegativeTTL=0: how long failures are */
        uint64_t cache_max;           /* CacheMax=infinity: no larger ones are kept */
        bool cache_session;           /* CacheScope=session: only to jobs of the same session */
        char *version;                /* Version=: results of another one are not given; NULL: none */
} WorkerType;

#define WORKER_SLOTS_MAX 1024U
#define WORKER_RETRIES_MAX 1000U /* of a type, and of a job that says its own */

WorkerType *worker_type_new(const char *name); /* with the defaults above; NULL when out of memory */
WorkerType *worker_type_ref(WorkerType *t);
WorkerType *worker_type_unref(WorkerType *t);
DEFINE_CLEANUP(WorkerType *, worker_type_unref);
/* True where a running worker of one may go on as a worker of the other. */
bool worker_type_equal(const WorkerType *a, const WorkerType *b);
/* Whether they say the same of results that are kept, which no worker need know of. */
bool worker_type_caches_equally(const WorkerType *a, const WorkerType *b);
/* Whether results of that method (NULL: of a job without one) may be given to equal jobs. */
bool worker_type_cacheable(const WorkerType *t, const char *method);

const char *protocol_to_string(Protocol p);
int protocol_from_string(const char *s); /* -EINVAL */
const char *output_kind_to_string(OutputKind k);
int output_kind_from_string(const char *s); /* -EINVAL */
const char *mcp_era_to_string(McpEra e);
int mcp_era_from_string(const char *s); /* -EINVAL */
int mcp_feature_from_string(const char *s); /* a McpFeature, or -EINVAL */
