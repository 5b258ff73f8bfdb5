/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The configuration: flowd.conf, workers/NAME.worker and pools/NAME.pool, each with drop-ins, merged and checked. */

#include "flow/flow.h"
#include "route/heuristic.h"

typedef enum RunMode {
        RUN_SYSTEM,  /* root, under systemd or not: /etc/flowd, /run/flowd, /var/lib/flowd */
        RUN_USER,    /* --user: the XDG directories */
        RUN_PRIVATE, /* --config= --runtime= --state=: anywhere */
} RunMode;

/* One line that a person reads about a file. */
typedef struct ConfigMessage {
        bool error;    /* else a warning */
        char *file;    /* NULL where it is about no file */
        unsigned line; /* 0 where it is about no line */
        char *text;    /* what is wrong and what is allowed */
} ConfigMessage;

typedef struct Config {
        /* [Flowd] */
        uint64_t results_max;          /* ResultsMax=64M of kept results */
        unsigned results_count_max;    /* ResultsCountMax=10000 */
        unsigned connections_max;      /* ConnectionsMax=1024, control and jobs each */
        unsigned connections_per_user; /* ConnectionsPerUser=256 */
        unsigned jobs_per_client;      /* JobsPerClient=4096 in flight on one connection */
        unsigned client_rate_limit;    /* ClientRateLimit=0 jobs a second of one user; 0: no limit */
        unsigned client_rate_burst;    /* ClientRateBurst= at once; 0: as many as ClientRateLimit= */
        uint64_t json_max;             /* JsonMax=8M: one JSON message */
        uint64_t client_buffer_max;    /* ClientBufferMax=128M: what a client leaves unread before it is disconnected */
        uint64_t inbound_max;          /* InboundMax=512M: messages being received, all clients together */
        uint64_t memory_budget;        /* MemoryBudget=infinity of all workers' memory, above which none beyond Min= is started */
        unsigned sessions_max;         /* SessionsMax=100000 that are bound to a worker */
        uint64_t session_ttl_usec;     /* SessionTTL=30min: how long one that has no job stays bound */
        uint64_t shutdown_timeout_usec;/* ShutdownTimeout=30s: what running jobs get when flowd stops */
        int log_level;                 /* LogLevel=info: a syslog level, by name or number */
        unsigned stderr_rate;          /* StderrRate=1000: lines a worker may log ... */
        uint64_t stderr_interval_usec; /* StderrInterval=10s: ... in so long; the rest is counted */
        bool store;                    /* Store=yes */
        uint64_t store_compress_min;   /* StoreCompressMin=512: payloads and results from this size on are compressed */
        unsigned store_compress_level; /* StoreCompressLevel=3 of zstd */
        uint64_t store_max_age_usec;   /* StoreMaxAge=30d: how long ended jobs are kept */
        uint64_t store_max_jobs;       /* StoreMaxJobs=1000000 ended ones */
        FlowConfig flow;               /* Flow*=: thresholds and limits of sessions */
        uint64_t store_max_bytes;      /* StoreMaxBytes=4G of the database file */
        uint64_t key_usec;             /* KeyRetention=1d: how long after its end a job's key still finds it */
        uint64_t cache_max_bytes;      /* CacheMaxBytes=256M */
        RouteConfig route;             /* Route...= */
        char *observe_group;           /* ObserveGroup=flowd-observe */
        char *submit_group;            /* SubmitGroup=flowd */
        char *admin_group;             /* AdminGroup=flowd-admin */
        gid_t observe_gid, submit_gid, admin_gid; /* resolved at load; (gid_t) -1 where the group does not exist */
        char **on_failure;             /* OnFailure=: the hook of pools that have none */
        char *default_user;            /* DefaultUser=flowd-worker, used in system mode */

        WorkerType **types;
        size_t n_types;
        PoolConfig **pools;            /* by name */
        size_t n_pools;

        ConfigMessage *messages;
        size_t n_messages;
        size_t n_errors;

        struct ConfigSource *sources;  /* for config_print(): every assignment with its file and line */
        size_t n_sources;
} Config;

typedef struct ConfigPaths {
        RunMode mode;
        char **dirs;       /* the configuration directories, lowest priority first */
        char *runtime;     /* sockets */
        char *state;       /* what is kept */
} ConfigPaths;

/* The directories of a mode. System: PREFIX/lib/flowd, /etc/flowd, /run/flowd; user: PREFIX/lib/flowd/user,
 * /etc/flowd/user, XDG_CONFIG_HOME/flowd, XDG_RUNTIME_DIR/flowd/config;
 * private: exactly the given ones. Arguments override the environment (FLOWD_CONFIG, FLOWD_RUNTIME, FLOWD_STATE), which overrides
 * the mode. */
/* A relative path is made absolute. Returns 0, -EINVAL where a private instance lacks one of the three (config_paths_missing()
 * names it), -ENAMETOOLONG where sockets in the runtime directory could not be bound, -ENOENT without a home, -ENOMEM. */
int config_paths_init(ConfigPaths *ret, RunMode mode, const char *config, const char *runtime, const char *state);
/* The option that is missing for a private instance, "--runtime=" for instance; NULL where all three are known. */
const char *config_paths_missing(const char *config, const char *runtime, const char *state);
void config_paths_done(ConfigPaths *p);

/* Loads everything, going on after errors so that all of them are told. Returns 0 with `*ret` even when ret->n_errors > 0
 * (the caller must then not use the pools), or -errno for trouble that is about no file's content (ENOMEM, EIO). */
int config_load(const ConfigPaths *paths, Config **ret);
Config *config_free(Config *c);
DEFINE_CLEANUP(Config *, config_free);

#define POOL_SPAWNED_FILE "(spawned)" /* where config_print() says that its values are from */
/* A pool out of settings that stand in no file, checked as if they did; worker types are those of `c`, where it is added (config_remove_pool() takes
 * it out). Returns 0, -EBADMSG with the errors as a text, -ENOSPC where there are as many pools as can be, -ENOMEM. */
int config_add_pool(Config *c, const ConfigPaths *paths, const char *name, const char *settings, PoolConfig **ret, char **reterr_text);
void config_remove_pool(Config *c, PoolConfig *p);
PoolConfig *config_find_pool(const Config *c, const char *name);

/* The keys of flowd.conf, one after the other; NULL behind the last one. And whether both set one alike. */
const char *config_flowd_key(size_t i);
bool config_flowd_key_equal(const Config *a, const Config *b, const char *key);
/* A warning about a key of flowd.conf, at the line where it is set. Returns 0 or -ENOMEM. */
int config_flowd_key_warning(Config *c, const char *key, const char *text);

/* "file:line: error: text" */
char *config_message_format(const ConfigMessage *m);
/* The merged configuration with a comment before each value that says where it is from; `unit` NULL (all), "flowd.conf",
 * "NAME.worker", "NAME.pool". Returns 0, -ENOENT for an unknown unit, -ENOMEM. */
int config_print(const Config *c, const char *unit, char **ret);
