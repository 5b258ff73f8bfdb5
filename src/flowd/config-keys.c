/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The keys of flowd.conf, NAME.worker and NAME.pool: three tables, and a parser for each kind of value. A parser stores its value
 * in a field of the object, or gives a message that says what is allowed and leaves the field as it was. An empty value takes the
 * field back to its default, as in systemd's files; for lists that is the way to drop what another file put there.
 */

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/syslog.h>

#include "flowd/config-internal.h"
#include "worker/job.h" /* JOB_NAME_MAX */

typedef struct ConfigParse {
        ConfigLoader *loader;
        const ConfigKey *key;
        const ConfigSource *source;
} ConfigParse;

typedef enum KeyKind {
        KEY_PLAIN,  /* copied as it is in memory */
        KEY_STRING, /* an owned string */
        KEY_LIST,   /* owned strings */
        KEY_LIMIT,  /* Limit*=: an entry of two arrays */
} KeyKind;

struct ConfigKey {
        const char *name;
        KeyKind kind;
        int (*parse)(const ConfigParse *p, void *field, const char *value);
        size_t offset, size;
        uint64_t min, max; /* of numbers, sizes and spans; UINT64_MAX: infinity is allowed. Limit*=: min is the RLIMIT_* number */
};

static int refuse(const ConfigParse *p, const char *why, const char *allowed) {
        return config_error(p->loader->config, p->source->file, p->source->line, "%s=%.200s: %s; %s", p->source->key,
                            p->source->value, why, allowed);
}

static const char *why_number(int r) {
        return r == -ERANGE ? "out of range" : "not a number";
}

static int refuse_number(const ConfigParse *p, int r) {
        char allowed[100];

        snprintf(allowed, sizeof allowed, "a whole number from %" PRIu64 " to %" PRIu64 " is allowed", p->key->min, p->key->max);
        return refuse(p, why_number(r), allowed);
}

static int parse_unsigned(const ConfigParse *p, void *field, const char *value) {
        uint64_t v;
        int r = u64_parse(value, p->key->min, p->key->max, &v);

        if (r < 0)
                return refuse_number(p, r);
        *(unsigned *) field = (unsigned) v;
        return 0;
}

static int parse_u64(const ConfigParse *p, void *field, const char *value) {
        uint64_t v;
        int r = u64_parse(value, p->key->min, p->key->max, &v);

        if (r < 0)
                return refuse_number(p, r);
        *(uint64_t *) field = v;
        return 0;
}

/* A number, or "infinity". */
static int parse_count(const ConfigParse *p, void *field, const char *value) {
        char allowed[100];
        uint64_t v;

        if (streq(value, "infinity")) {
                *(uint64_t *) field = UINT64_MAX;
                return 0;
        }
        int r = u64_parse(value, p->key->min, p->key->max, &v);
        if (r < 0) {
                snprintf(allowed, sizeof allowed, "a whole number from %" PRIu64 " to %" PRIu64 ", or infinity, is allowed",
                         p->key->min, p->key->max);
                return refuse(p, why_number(r), allowed);
        }
        *(uint64_t *) field = v;
        return 0;
}

static int parse_size(const ConfigParse *p, void *field, const char *value) {
        char allowed[200], min[32], max[32];
        uint64_t v;
        int r = size_parse(value, &v);

        if (r < 0 || v < p->key->min || v > p->key->max) {
                snprintf(allowed, sizeof allowed, "a size from %s to %s is allowed, such as 64K, 512M or 1.5G",
                         size_format(min, sizeof min, p->key->min), size_format(max, sizeof max, p->key->max));
                return refuse(p, r == -EINVAL ? "not a size" : "out of range", allowed);
        }
        *(uint64_t *) field = v;
        return 0;
}

static int parse_span(const ConfigParse *p, void *field, const char *value) {
        char allowed[200], min[64], max[64];
        uint64_t v;
        int r = usec_parse(value, &v);

        /* 0 where the least is more: somebody may mean "off" by it, which must not end as "at once" */
        if (r < 0 || v < p->key->min || v > p->key->max) {
                snprintf(allowed, sizeof allowed, "a time span from %s to %s is allowed, such as 250ms, 30s or 5min",
                         usec_format(min, sizeof min, p->key->min), usec_format(max, sizeof max, p->key->max));
                return refuse(p, r == -EINVAL ? "not a time span" : "out of range", allowed);
        }
        *(uint64_t *) field = v;
        return 0;
}

/* 0 is off, otherwise as above. */
static int parse_interval(const ConfigParse *p, void *field, const char *value) {
        uint64_t v;

        if (usec_parse(value, &v) == 0 && v == 0) {
                *(uint64_t *) field = 0;
                return 0;
        }
        return parse_span(p, field, value);
}

static int parse_boolean(const ConfigParse *p, void *field, const char *value) {
        if (bool_parse(value, field) < 0)
                return refuse(p, "neither yes nor no", "yes, true, on, 1, no, false, off or 0 is allowed");
        return 0;
}

static int parse_protocol(const ConfigParse *p, void *field, const char *value) {
        int r = protocol_from_string(value);

        if (r < 0)
                return refuse(p, "no such protocol", "frame, jsonl, exec or mcp is allowed");
        *(Protocol *) field = (Protocol) r;
        return 0;
}

static int parse_output(const ConfigParse *p, void *field, const char *value) {
        int r = output_kind_from_string(value);

        if (r < 0)
                return refuse(p, "no such kind of output", "text, json or bytes is allowed");
        *(OutputKind *) field = (OutputKind) r;
        return 0;
}

static int parse_mcp_era(const ConfigParse *p, void *field, const char *value) {
        int r = mcp_era_from_string(value);

        if (r < 0)
                return refuse(p, "no such era", "legacy, modern or auto is allowed");
        *(McpEra *) field = (McpEra) r;
        return 0;
}

static int parse_sharing(const ConfigParse *p, void *field, const char *value) {
        if (!streq(value, "shared") && !streq(value, "session"))
                return refuse(p, "no such way to share a worker", "shared or session is allowed");
        *(bool *) field = streq(value, "session");
        return 0;
}

static int parse_client_features(const ConfigParse *p, void *field, const char *value) {
        _cleanup_(strv_freep) char **words = NULL;
        unsigned features = 0;
        int r = str_split_quoted(value, &words);

        if (r == -ENOMEM)
                return r;
        for (char **w = words; r >= 0 && w && *w; w++) {
                r = mcp_feature_from_string(*w);
                features |= r < 0 ? 0 : (unsigned) r;
        }
        if (r < 0)
                return refuse(p, "no such feature of a client", "roots, sampling and elicitation are allowed, with blanks between them");
        *(unsigned *) field = features;
        return 0;
}

static int parse_tier(const ConfigParse *p, void *field, const char *value) {
        int r = tier_from_string(value);

        if (r < 0)
                return refuse(p, "no such tier", "hot, warm or cold is allowed");
        *(Tier *) field = (Tier) r;
        return 0;
}

static int parse_affinity(const ConfigParse *p, void *field, const char *value) {
        int r = pool_affinity_from_string(value);

        if (r < 0)
                return refuse(p, "no such affinity", "none or soft is allowed; SessionExclusive=yes binds workers to sessions");
        *(PoolAffinity *) field = (PoolAffinity) r;
        return 0;
}

static int parse_ready(const ConfigParse *p, void *field, const char *value) {
        if (!streq(value, "explicit") && !streq(value, "auto"))
                return refuse(p, "no such way to be ready", "auto or explicit is allowed");
        *(bool *) field = streq(value, "explicit");
        return 0;
}

static int parse_log_level(const ConfigParse *p, void *field, const char *value) {
        static const struct {
                const char *name;
                int level;
        } levels[] = {
                { "emerg", LOG_EMERG }, { "alert", LOG_ALERT }, { "crit", LOG_CRIT }, { "err", LOG_ERR }, { "error", LOG_ERR },
                { "warning", LOG_WARNING }, { "notice", LOG_NOTICE }, { "info", LOG_INFO }, { "debug", LOG_DEBUG },
        };
        uint64_t v;

        if (u64_parse(value, LOG_EMERG, LOG_DEBUG, &v) == 0) {
                *(int *) field = (int) v;
                return 0;
        }
        for (size_t i = 0; i < ELEMENTSOF(levels); i++)
                if (streq(value, levels[i].name)) {
                        *(int *) field = levels[i].level;
                        return 0;
                }
        return refuse(p, "no such log level",
                      "emerg, alert, crit, err, warning, notice, info or debug is allowed, or a number from 0 to 7");
}

static int store_string(char **field, const char *value) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return 0;
}

/* What useradd(8) takes, and numbers. */
static bool account_name_valid(const char *s) {
        if (!*s || *s == '-' || strlen(s) > 64)
                return false;
        for (; *s; s++)
                if (!isalnum((unsigned char) *s) && !strchr("_-.$@", *s))
                        return false;
        return true;
}

static int parse_account(const ConfigParse *p, void *field, const char *value) {
        if (!account_name_valid(value))
                return refuse(p, "not a name", "the name of a user or group, or its number, is allowed");
        return store_string(field, value);
}

static int parse_path(const ConfigParse *p, void *field, const char *value) {
        _cleanup_free_ char *path = NULL;
        int r = config_expand(p->loader, p->source, value, &path);

        if (r < 0)
                return r == -EINVAL ? 0 : r;
        if (*path != '/')
                return refuse(p, "not an absolute path", "a path that begins with / or with a specifier is allowed");
        return store_string(field, path);
}

/* Splits as a shell would, and puts the specifiers in: behind the splitting, so that a path with a blank stays one word.
 * Returns 1, 0 with a message given, -ENOMEM. */
static int split(const ConfigParse *p, const char *value, char ***ret) {
        _cleanup_(strv_freep) char **words = NULL;
        int r = str_split_quoted(value, &words);

        if (r == -EINVAL) {
                r = refuse(p, "an open quote, or a backslash with something that it does not escape",
                           "words are allowed that blanks separate, with \"...\" or '...' around those that hold blanks, and "
                           "\\\\ for a backslash");
                return r;
        }
        if (r < 0)
                return r;
        for (char **w = words; w && *w; w++) {
                char *word;

                r = config_expand(p->loader, p->source, *w, &word);
                if (r < 0)
                        return r == -EINVAL ? 0 : r;
                free(*w);
                *w = word;
        }
        *ret = TAKE_PTR(words);
        return 1;
}

static int parse_exec(const ConfigParse *p, void *field, const char *value) {
        _cleanup_(strv_freep) char **words = NULL;
        char ***exec = field;
        int r = split(p, value, &words);

        if (r <= 0)
                return r;
        if (!words || *words[0] != '/')
                return refuse(p, "not an absolute path",
                              "the command begins with the whole path of a program, such as /usr/bin/python3");
        strv_free(*exec);
        *exec = TAKE_PTR(words);
        return 0;
}

/* Length of the name in "NAME=value" or "NAME"; 0 where it is none. */
static size_t variable_name_length(const char *s) {
        size_t n = 0;

        if (isdigit((unsigned char) *s))
                return 0;
        while (isalnum((unsigned char) s[n]) || s[n] == '_')
                n++;
        return n;
}

static int parse_environment(const ConfigParse *p, void *field, const char *value) {
        _cleanup_(strv_freep) char **words = NULL;
        char ***environment = field;
        int r = split(p, value, &words);

        if (r <= 0)
                return r;
        for (char **w = words; w && *w; w++) {
                size_t n = variable_name_length(*w);
                char **old = NULL;

                if (n == 0 || (*w)[n] != '=')
                        return refuse(p, "not an assignment",
                                      "words like NAME=value are allowed, in quotes where the value holds blanks");
                for (char **e = *environment; e && *e && !old; e++)
                        if (strncmp(*e, *w, n + 1) == 0)
                                old = e;
                r = old ? store_string(old, *w) : strv_append(environment, *w);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int parse_variable_names(const ConfigParse *p, void *field, const char *value) {
        _cleanup_(strv_freep) char **words = NULL;
        char ***names = field;
        int r = split(p, value, &words);

        if (r <= 0)
                return r;
        for (char **w = words; w && *w; w++) {
                size_t n = variable_name_length(*w);

                if (n == 0 || (*w)[n])
                        return refuse(p, "not a name of an environment variable",
                                      "names that blanks separate are allowed, such as LANG TZ");
                r = strv_append(names, *w);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int parse_scope(const ConfigParse *p, void *field, const char *value) {
        if (!streq(value, "shared") && !streq(value, "session"))
                return refuse(p, "no such scope", "shared or session is allowed");
        *(bool *) field = streq(value, "session");
        return 0;
}

static int parse_version(const ConfigParse *p, void *field, const char *value) {
        if (strlen(value) >= JOB_NAME_MAX)
                return refuse(p, "too long", "a text of at most 255 bytes is allowed");
        return store_string(field, value);
}

static int parse_prefix(const ConfigParse *p, void *field, const char *value) {
        if (!name_valid(value) || strlen(value) > MCP_PREFIX_MAX)
                return refuse(p, "not a prefix", "at most 32 letters, digits, \"_\", \"-\" and \".\" are allowed, not \".\" or \"-\" first");
        return store_string(field, value);
}

/* The name is kept as a source; config_check_pool() looks the type up. */
static int parse_worker(const ConfigParse *p, void *field _unused_, const char *value) {
        if (!name_valid(value))
                return refuse(p, "not a name", "letters, digits, \"_\", \"-\" and \".\" are allowed, not \".\" or \"-\" first");
        return 0;
}

/* --- routing --- */

static int parse_strategy(const ConfigParse *p, void *field, const char *value) {
        int s = route_strategy_from_string(value);

        if (s < 0)
                return refuse(p, "no such strategy", "least_loaded, round_robin, random or affinity is allowed");
        *(RouteStrategy *) field = (RouteStrategy) s;
        return 0;
}

static int parse_fallback(const ConfigParse *p, void *field, const char *value) {
        if (route_order_parse(value, field) < 0)
                return refuse(p, "not an order of tiers", "auto, none, or some of hot, warm and cold, each once, are allowed");
        return 0;
}

static int parse_steps(const ConfigParse *p, void *field, const char *value) {
        if (route_steps_parse(value, field) < 0)
                return refuse(p, "not a list of steps", "some of method, weight, learnt and size, each once, are allowed");
        return 0;
}

/* Words that may be patterns; `max` of them. Returns 1, 0 with a message given, -ENOMEM. */
static int add_methods(const ConfigParse *p, char ***field, const char *value, size_t max, bool tiers) {
        _cleanup_(strv_freep) char **words = NULL;
        int r = split(p, value, &words);

        for (char **w = words; r > 0 && w && *w; w++) {
                size_t n = strlen(*w);

                if (tiers && route_method_tier_parse(*w, &n) < 0)
                        return refuse(p, "not a method and its tier", "words like METHOD=hot are allowed, with warm and cold, and with * and ? in METHOD");
                if (n == 0)
                        return refuse(p, "not the name of a method", "names, or patterns with * and ?, that blanks separate are allowed");
                if (n >= JOB_NAME_MAX)
                        return refuse(p, "a name that is too long", "a method has at most 255 bytes");
                if (strv_length(*field) >= max)
                        return refuse(p, "too many methods", max == POOL_METHODS_MAX ? "256 are allowed" : "1024 are allowed");
                if (strv_append(field, *w) < 0)
                        return -ENOMEM;
        }
        return r;
}

static int parse_methods(const ConfigParse *p, void *field, const char *value) {
        return MIN(add_methods(p, field, value, POOL_METHODS_MAX, false), 0);
}

static int parse_method_tiers(const ConfigParse *p, void *field, const char *value) {
        return MIN(add_methods(p, field, value, ROUTE_METHOD_TIERS_MAX, true), 0);
}

static int limit_value(int resource, const char *s, rlim_t *ret) {
        uint64_t v;
        int r;

        if (streq(s, "infinity")) {
                *ret = RLIM_INFINITY;
                return 0;
        }
        switch (resource) {
        case RLIMIT_FSIZE:
        case RLIMIT_DATA:
        case RLIMIT_STACK:
        case RLIMIT_CORE:
        case RLIMIT_RSS:
        case RLIMIT_AS:
        case RLIMIT_MEMLOCK:
        case RLIMIT_MSGQUEUE:
                r = size_parse(s, &v);
                break;
        case RLIMIT_CPU: /* whole seconds; less than one must not become none */
                r = usec_parse(s, &v);
                if (r == 0)
                        v = v / USEC_PER_SEC + (v % USEC_PER_SEC > 0);
                break;
        case RLIMIT_RTTIME: /* microseconds, which is also what systemd takes a bare number for */
                r = u64_parse(s, 0, UINT64_MAX - 1, &v);
                if (r < 0)
                        r = usec_parse(s, &v);
                break;
        case RLIMIT_NICE: /* +19...-20 is a nice level, a bare number the kernel's 1...40 */
                if (*s == '+' || *s == '-') {
                        r = u64_parse(s + 1, 0, *s == '+' ? 19 : 20, &v);
                        if (r == 0)
                                v = *s == '+' ? 20 - v : 20 + v;
                } else
                        r = u64_parse(s, 0, 40, &v);
                break;
        case RLIMIT_RTPRIO:
                r = u64_parse(s, 0, 99, &v);
                break;
        default:
                r = u64_parse(s, 0, UINT64_MAX - 1, &v);
        }
        if (r < 0)
                return r;
        *ret = (rlim_t) v;
        return 0;
}

static const char *limit_allowed(int resource) {
        switch (resource) {
        case RLIMIT_CPU:
        case RLIMIT_RTTIME:
                return "a time span, SOFT:HARD or infinity is allowed, such as 30s or 1min:2min";
        case RLIMIT_NICE:
                return "a nice level from -20 to +19 with its sign, a number from 0 to 40, or SOFT:HARD is allowed";
        case RLIMIT_RTPRIO:
                return "a whole number from 0 to 99, SOFT:HARD or infinity is allowed";
        case RLIMIT_NOFILE:
        case RLIMIT_NPROC:
        case RLIMIT_LOCKS:
        case RLIMIT_SIGPENDING:
                return "a whole number, SOFT:HARD or infinity is allowed, such as 1024 or 1024:4096";
        default:
                return "a size, SOFT:HARD or infinity is allowed, such as 64M or 64M:1G";
        }
}

static int parse_limit(const ConfigParse *p, void *field, const char *value) {
        int resource = (int) p->key->min;
        _cleanup_free_ char *soft = strdup(value);
        WorkerType *t = field;
        struct rlimit l;

        if (!soft)
                return -ENOMEM;
        char *colon = strchr(soft, ':');
        if (colon)
                *colon = 0;
        int r = limit_value(resource, soft, &l.rlim_cur);
        if (r == 0 && colon)
                r = limit_value(resource, colon + 1, &l.rlim_max);
        else
                l.rlim_max = l.rlim_cur;
        if (r < 0)
                return refuse(p, r == -ERANGE ? "out of range" : "not a limit", limit_allowed(resource));
        if (l.rlim_cur > l.rlim_max)
                return refuse(p, "the soft limit is above the hard one", limit_allowed(resource));
        t->limit_set[resource] = true;
        t->limit[resource] = l;
        return 0;
}

#define FIELD(type, field) offsetof(type, field), sizeof(((type *) NULL)->field)
#define F(name, kind, parse, field, ...) { name, kind, parse, FIELD(Config, field), __VA_ARGS__ }
#define W(name, kind, parse, field, ...) { name, kind, parse, FIELD(WorkerType, field), __VA_ARGS__ }
#define P(name, kind, parse, field, ...) { name, kind, parse, FIELD(PoolConfig, field), __VA_ARGS__ }
#define L(name, resource) { name, KEY_LIMIT, parse_limit, 0, 0, resource, 0 }

#define MS USEC_PER_MSEC
#define SEC USEC_PER_SEC
#define HOUR (3600 * USEC_PER_SEC)
#define DAY (24 * HOUR)
#define K (1ULL << 10)
#define M (1ULL << 20)
#define T (1ULL << 40)

static const ConfigKey flowd_keys[] = {
        F("ResultsMax", KEY_PLAIN, parse_size, results_max, 0, T),
        F("ResultsCountMax", KEY_PLAIN, parse_unsigned, results_count_max, 0, 10000000),
        F("ConnectionsMax", KEY_PLAIN, parse_unsigned, connections_max, 1, 100000),
        F("ConnectionsPerUser", KEY_PLAIN, parse_unsigned, connections_per_user, 1, 100000),
        F("JobsPerClient", KEY_PLAIN, parse_unsigned, jobs_per_client, 1, 1000000),
        F("ClientRateLimit", KEY_PLAIN, parse_unsigned, client_rate_limit, 0, 1000000),
        F("ClientRateBurst", KEY_PLAIN, parse_unsigned, client_rate_burst, 0, 1000000),
        F("JsonMax", KEY_PLAIN, parse_size, json_max, 64 * K, 64 * M),
        F("ClientBufferMax", KEY_PLAIN, parse_size, client_buffer_max, M, T),
        F("InboundMax", KEY_PLAIN, parse_size, inbound_max, M, T),
        F("Store", KEY_PLAIN, parse_boolean, store, 0, 0),
        F("StoreCompressMin", KEY_PLAIN, parse_size, store_compress_min, 0, UINT64_MAX),
        F("StoreCompressLevel", KEY_PLAIN, parse_unsigned, store_compress_level, 1, 10),
        F("StoreMaxAge", KEY_PLAIN, parse_span, store_max_age_usec, SEC, USEC_INFINITY),
        F("StoreMaxJobs", KEY_PLAIN, parse_count, store_max_jobs, 0, 1000000000000ULL),
        F("StoreMaxBytes", KEY_PLAIN, parse_size, store_max_bytes, M, UINT64_MAX),
        F("KeyRetention", KEY_PLAIN, parse_span, key_usec, 0, USEC_INFINITY),
        F("CacheMaxBytes", KEY_PLAIN, parse_size, cache_max_bytes, 0, T),
        F("RouteStrategy", KEY_PLAIN, parse_strategy, route.strategy, 0, 0),
        F("RouteFallback", KEY_PLAIN, parse_fallback, route.fallback, 0, 0),
        F("RouteSteps", KEY_PLAIN, parse_steps, route.steps, 0, 0),
        F("RouteMethodTier", KEY_LIST, parse_method_tiers, route.method_tiers, 0, 0),
        F("RouteHotWeightMax", KEY_PLAIN, parse_unsigned, route.hot_weight_max, 0, ROUTE_WEIGHT_MAX),
        F("RouteWarmWeightMax", KEY_PLAIN, parse_unsigned, route.warm_weight_max, 0, ROUTE_WEIGHT_MAX),
        F("RouteHotMax", KEY_PLAIN, parse_span, route.learn.hot_max_usec, MS, DAY),
        F("RouteWarmMax", KEY_PLAIN, parse_span, route.learn.warm_max_usec, MS, DAY),
        F("RouteQuantile", KEY_PLAIN, parse_unsigned, route.learn.quantile, 1, 99),
        F("RouteHysteresis", KEY_PLAIN, parse_unsigned, route.learn.hysteresis, 0, 400),
        F("RouteLearnAfter", KEY_PLAIN, parse_unsigned, route.learn.after, 1, LEARN_AFTER_MAX),
        F("RouteHotPayloadMax", KEY_PLAIN, parse_size, route.hot_payload_max, 0, UINT64_MAX),
        F("RouteWarmPayloadMax", KEY_PLAIN, parse_size, route.warm_payload_max, 0, UINT64_MAX),
        F("MemoryBudget", KEY_PLAIN, parse_size, memory_budget, M, UINT64_MAX),
        F("SessionsMax", KEY_PLAIN, parse_unsigned, sessions_max, 1, 10000000),
        F("SessionTTL", KEY_PLAIN, parse_span, session_ttl_usec, SEC, USEC_INFINITY),
        F("FlowSessionsMax", KEY_PLAIN, parse_unsigned, flow.sessions_max, 1, 100000),
        F("FlowTasksMax", KEY_PLAIN, parse_unsigned, flow.tasks_max, 1, 1000000),
        F("FlowExpire", KEY_PLAIN, parse_span, flow.expire_usec, SEC, USEC_INFINITY),
        F("FlowCapacityWarming", KEY_PLAIN, parse_unsigned, flow.limits.capacity[FLOW_WARMING], FLOW_WEIGHT_MAX, 100000),
        F("FlowCapacityFlowing", KEY_PLAIN, parse_unsigned, flow.limits.capacity[FLOW_FLOWING], FLOW_WEIGHT_MAX, 100000),
        F("FlowCapacitySurging", KEY_PLAIN, parse_unsigned, flow.limits.capacity[FLOW_SURGING], FLOW_WEIGHT_MAX, 100000),
        F("FlowCapacityWaning", KEY_PLAIN, parse_unsigned, flow.limits.capacity[FLOW_WANING], FLOW_WEIGHT_MAX, 100000),
        F("FlowCapacityResting", KEY_PLAIN, parse_unsigned, flow.limits.capacity[FLOW_RESTING], FLOW_WEIGHT_MAX, 100000),
        F("FlowLoadHigh", KEY_PLAIN, parse_unsigned, flow.limits.load_high, 1, 100),
        F("FlowLoadLow", KEY_PLAIN, parse_unsigned, flow.limits.load_low, 0, 99),
        F("FlowStallPulses", KEY_PLAIN, parse_unsigned, flow.limits.stall_pulses, 1, 1000),
        F("FlowStartMomentum", KEY_PLAIN, parse_unsigned, flow.limits.momentum_start, 0, 90),
        F("FlowPulseGain", KEY_PLAIN, parse_unsigned, flow.limits.pulse_gain, 1, 100),
        F("FlowBandDraft", KEY_PLAIN, parse_unsigned, flow.limits.band_draft, 1, 100),
        F("FlowBandRefinement", KEY_PLAIN, parse_unsigned, flow.limits.band_refine, 1, 100),
        F("FlowBandDone", KEY_PLAIN, parse_unsigned, flow.limits.band_done, 1, 100),
        F("FlowWindow", KEY_PLAIN, parse_span, flow.limits.window_usec, SEC, DAY),
        F("FlowIdle", KEY_PLAIN, parse_span, flow.limits.idle_usec, SEC, 365 * DAY),
        F("FlowPulses", KEY_PLAIN, parse_unsigned, flow.limits.flow_pulses, 1, DETECTOR_PULSES),
        F("FlowMomentum", KEY_PLAIN, parse_unsigned, flow.limits.flow_momentum, 0, 100),
        F("FlowSurgeCompletions", KEY_PLAIN, parse_unsigned, flow.limits.surge_completions, 1, DETECTOR_COMPLETIONS),
        F("FlowSurgeLoad", KEY_PLAIN, parse_unsigned, flow.limits.surge_load, 0, 100),
        F("FlowWanePulses", KEY_PLAIN, parse_unsigned, flow.limits.wane_pulses, 1, DETECTOR_PULSES / 2),
        F("FlowConfirm", KEY_PLAIN, parse_unsigned, flow.limits.confirm, 1, 100),
        F("FlowExpandWeight", KEY_PLAIN, parse_unsigned, flow.limits.expand_weight, 0, FLOW_WEIGHT_MAX),
        F("ShutdownTimeout", KEY_PLAIN, parse_span, shutdown_timeout_usec, 0, DAY),
        F("LogLevel", KEY_PLAIN, parse_log_level, log_level, 0, 0),
        F("StderrRate", KEY_PLAIN, parse_unsigned, stderr_rate, 1, 1000000),
        F("StderrInterval", KEY_PLAIN, parse_span, stderr_interval_usec, MS, HOUR),
        F("OnFailure", KEY_LIST, parse_exec, on_failure, 0, 0),
        F("ObserveGroup", KEY_STRING, parse_account, observe_group, 0, 0),
        F("SubmitGroup", KEY_STRING, parse_account, submit_group, 0, 0),
        F("AdminGroup", KEY_STRING, parse_account, admin_group, 0, 0),
        F("DefaultUser", KEY_STRING, parse_account, default_user, 0, 0),
};

static const ConfigKey worker_keys[] = {
        W("Exec", KEY_LIST, parse_exec, exec, 0, 0),
        W("Protocol", KEY_PLAIN, parse_protocol, protocol, 0, 0),
        W("Output", KEY_PLAIN, parse_output, output, 0, 0),
        W("Ready", KEY_PLAIN, parse_ready, ready_explicit, 0, 0),
        W("McpEra", KEY_PLAIN, parse_mcp_era, mcp_era, 0, 0),
        W("Sharing", KEY_PLAIN, parse_sharing, for_session, 0, 0),
        W("ClientFeatures", KEY_PLAIN, parse_client_features, mcp_features, 0, 0),
        W("Slots", KEY_PLAIN, parse_unsigned, slots, 1, WORKER_SLOTS_MAX),
        W("StartTimeout", KEY_PLAIN, parse_span, start_timeout_usec, MS, USEC_INFINITY),
        W("StopTimeout", KEY_PLAIN, parse_span, stop_timeout_usec, 0, HOUR),
        W("JobTimeout", KEY_PLAIN, parse_span, job_timeout_usec, MS, USEC_INFINITY),
        W("JobSoftTimeout", KEY_PLAIN, parse_span, soft_timeout_usec, MS, USEC_INFINITY),
        W("CancelTimeout", KEY_PLAIN, parse_span, cancel_timeout_usec, 0, HOUR),
        W("DrainTimeout", KEY_PLAIN, parse_span, drain_timeout_usec, 0, DAY),
        W("HeartbeatInterval", KEY_PLAIN, parse_interval, heartbeat_usec, 10 * MS, HOUR),
        W("Environment", KEY_LIST, parse_environment, environment, 0, 0),
        W("PassEnvironment", KEY_LIST, parse_variable_names, pass_environment, 0, 0),
        W("WorkingDirectory", KEY_STRING, parse_path, working_directory, 0, 0),
        W("User", KEY_STRING, parse_account, user, 0, 0),
        W("PayloadMax", KEY_PLAIN, parse_size, payload_max, 1, 64 * M),
        W("ResultMax", KEY_PLAIN, parse_size, result_max, 1, 64 * M),
        W("MemoryMax", KEY_PLAIN, parse_size, memory_max, M, UINT64_MAX),
        W("MemorySwapMax", KEY_PLAIN, parse_size, memory_swap_max, 0, UINT64_MAX),
        W("TasksMax", KEY_PLAIN, parse_count, tasks_max, 1, 4194304),
        W("CPUWeight", KEY_PLAIN, parse_u64, cpu_weight, 1, 10000),
        W("MaxJobs", KEY_PLAIN, parse_u64, max_jobs, 0, 1000000000000ULL),
        W("MaxAge", KEY_PLAIN, parse_span, max_age_usec, SEC, USEC_INFINITY),
        W("MaxRSS", KEY_PLAIN, parse_size, max_rss, M, UINT64_MAX),
        W("MaxCrashes", KEY_PLAIN, parse_unsigned, max_crashes, 1, 1000),
        W("Retries", KEY_PLAIN, parse_unsigned, retries, 0, WORKER_RETRIES_MAX),
        W("RetryDelay", KEY_PLAIN, parse_span, retry_usec, 0, DAY),
        W("RetryDelayMax", KEY_PLAIN, parse_span, retry_max_usec, 0, DAY),
        W("Cacheable", KEY_LIST, parse_methods, cacheable, 0, 0),
        W("CacheTTL", KEY_PLAIN, parse_span, cache_ttl_usec, 0, USEC_INFINITY),
        W("CacheStale", KEY_PLAIN, parse_span, cache_stale_usec, 0, USEC_INFINITY),
        W("CacheNegativeTTL", KEY_PLAIN, parse_span, cache_negative_usec, 0, USEC_INFINITY),
        W("CacheScope", KEY_PLAIN, parse_scope, cache_session, 0, 0),
        W("CacheMax", KEY_PLAIN, parse_size, cache_max, 0, UINT64_MAX),
        W("Version", KEY_STRING, parse_version, version, 0, 0),
        L("LimitCPU", RLIMIT_CPU),
        L("LimitFSIZE", RLIMIT_FSIZE),
        L("LimitDATA", RLIMIT_DATA),
        L("LimitSTACK", RLIMIT_STACK),
        L("LimitCORE", RLIMIT_CORE),
        L("LimitRSS", RLIMIT_RSS),
        L("LimitNOFILE", RLIMIT_NOFILE),
        L("LimitAS", RLIMIT_AS),
        L("LimitNPROC", RLIMIT_NPROC),
        L("LimitMEMLOCK", RLIMIT_MEMLOCK),
        L("LimitLOCKS", RLIMIT_LOCKS),
        L("LimitSIGPENDING", RLIMIT_SIGPENDING),
        L("LimitMSGQUEUE", RLIMIT_MSGQUEUE),
        L("LimitNICE", RLIMIT_NICE),
        L("LimitRTPRIO", RLIMIT_RTPRIO),
        L("LimitRTTIME", RLIMIT_RTTIME),
};

static const ConfigKey pool_keys[] = {
        { "Worker", KEY_PLAIN, parse_worker, 0, 0, 0, 0 },
        P("Methods", KEY_LIST, parse_methods, methods, 0, 0),
        P("Tier", KEY_PLAIN, parse_tier, tier, 0, 0),
        P("Min", KEY_PLAIN, parse_unsigned, min, 0, POOL_WORKERS_MAX),
        P("Max", KEY_PLAIN, parse_unsigned, max, 1, POOL_WORKERS_MAX),
        P("IdleTimeout", KEY_PLAIN, parse_span, idle_timeout_usec, 0, USEC_INFINITY),
        P("QueueMax", KEY_PLAIN, parse_unsigned, queue_max, 0, 10000000),
        P("QueueBytesMax", KEY_PLAIN, parse_size, queue_bytes_max, 0, T),
        P("RestartDelay", KEY_PLAIN, parse_span, restart_usec, MS, HOUR),
        P("RestartDelayMax", KEY_PLAIN, parse_span, restart_max_usec, MS, DAY),
        P("HealthyAfter", KEY_PLAIN, parse_span, healthy_usec, MS, DAY),
        P("BreakerCrashes", KEY_PLAIN, parse_unsigned, breaker_crashes, 0, BREAKER_CRASHES_MAX),
        P("BreakerWindow", KEY_PLAIN, parse_span, breaker_window_usec, MS, DAY),
        P("BreakerCooldown", KEY_PLAIN, parse_span, breaker_cooldown_usec, MS, DAY),
        P("PriorityAging", KEY_PLAIN, parse_interval, priority_aging_usec, MS, POOL_AGING_MAX_USEC),
        P("QueueTimeout", KEY_PLAIN, parse_span, queue_timeout_usec, MS, USEC_INFINITY),
        P("ScaleUpAt", KEY_PLAIN, parse_unsigned, scale_up_at, 0, 100),
        P("ScaleDownAt", KEY_PLAIN, parse_unsigned, scale_down_at, 0, 100),
        P("ScaleCooldown", KEY_PLAIN, parse_span, scale_cooldown_usec, 0, DAY),
        P("SpawnRate", KEY_PLAIN, parse_unsigned, spawn_rate, 0, 100000),
        P("SpawnBurst", KEY_PLAIN, parse_unsigned, spawn_burst, 0, 100000),
        P("PreWarm", KEY_PLAIN, parse_boolean, prewarm, 0, 0),
        P("SlowStart", KEY_PLAIN, parse_span, slow_start_usec, 0, HOUR),
        P("RateLimit", KEY_PLAIN, parse_unsigned, rate_limit, 0, 1000000),
        P("RateBurst", KEY_PLAIN, parse_unsigned, rate_burst, 0, 1000000),
        P("Affinity", KEY_PLAIN, parse_affinity, affinity, 0, 0),
        P("AffinityWait", KEY_PLAIN, parse_span, affinity_wait_usec, 0, HOUR),
        P("SessionExclusive", KEY_PLAIN, parse_boolean, session_exclusive, 0, 0),
        P("McpPrefix", KEY_STRING, parse_prefix, mcp_prefix, 0, 0),
        P("McpAllow", KEY_LIST, parse_methods, mcp_allow, 0, 0),
        P("McpDeny", KEY_LIST, parse_methods, mcp_deny, 0, 0),
        P("OnFailure", KEY_LIST, parse_exec, on_failure, 0, 0),
        P("OnFailureTimeout", KEY_PLAIN, parse_span, on_failure_timeout_usec, MS, HOUR),
        P("BreakerProbes", KEY_PLAIN, parse_unsigned, breaker_probes, 1, BREAKER_PROBES_MAX),
};

const ConfigTable config_table_flowd = { "Flowd", flowd_keys, ELEMENTSOF(flowd_keys) };
const ConfigTable config_table_worker = { "Worker", worker_keys, ELEMENTSOF(worker_keys) };
const ConfigTable config_table_pool = { "Pool", pool_keys, ELEMENTSOF(pool_keys) };

static const ConfigKey *key_find(const ConfigTable *t, const char *name) {
        for (size_t i = 0; i < t->n_keys; i++)
                if (streq(t->keys[i].name, name))
                        return t->keys + i;
        return NULL;
}

const char *config_key_name(const ConfigTable *t, size_t i) {
        return i < t->n_keys ? t->keys[i].name : NULL;
}

int config_key_limit(const char *key) {
        const ConfigKey *k = key_find(&config_table_worker, key);

        return k && k->kind == KEY_LIMIT ? (int) k->min : -EINVAL;
}

/* Letters to insert, remove, replace or swap; above `max` it is just more. */
static unsigned distance(const char *a, const char *b, unsigned max) {
        unsigned rows[3][CONFIG_KEY_MAX + 1], *before = rows[0], *last = rows[1], *now = rows[2];
        size_t n = strlen(a), m = strlen(b);

        if (n > CONFIG_KEY_MAX || m > CONFIG_KEY_MAX)
                return max + 1;
        for (size_t k = 0; k <= m; k++) {
                before[k] = 0;
                last[k] = (unsigned) k;
        }
        for (size_t i = 1; i <= n; i++) {
                unsigned *free_row = before;

                now[0] = (unsigned) i;
                for (size_t k = 1; k <= m; k++) {
                        bool same = tolower((unsigned char) a[i - 1]) == tolower((unsigned char) b[k - 1]);
                        unsigned change = last[k - 1] + !same, gap = MIN(last[k], now[k - 1]) + 1, d = MIN(change, gap);

                        if (i > 1 && k > 1 && tolower((unsigned char) a[i - 1]) == tolower((unsigned char) b[k - 2]) &&
                            tolower((unsigned char) a[i - 2]) == tolower((unsigned char) b[k - 1]))
                                d = MIN(d, before[k - 2] + 1);
                        now[k] = d;
                }
                before = last;
                last = now;
                now = free_row;
        }
        return last[m];
}

static int unknown_key(ConfigLoader *l, const ConfigTable *t, const ConfigSource *s) {
        static const ConfigTable *const tables[] = { &config_table_flowd, &config_table_worker, &config_table_pool };
        size_t length = strlen(s->key);
        unsigned best = length > 8 ? 4 : length > 4 ? 3 : 2; /* not so far that anything looks like anything */
        const char *close = NULL;

        for (size_t i = 0; i < ELEMENTSOF(tables); i++)
                if (tables[i] != t && key_find(tables[i], s->key))
                        return config_warning(l->config, s->file, s->line, "%s=: is a key of [%s], not of [%s]; ignored", s->key,
                                              tables[i]->section, t->section);
        for (size_t i = 0; i < t->n_keys; i++) {
                unsigned d = distance(s->key, t->keys[i].name, best);
                if (d < best) {
                        best = d;
                        close = t->keys[i].name;
                }
        }
        if (close)
                return config_warning(l->config, s->file, s->line, "%s=: unknown key in [%s], ignored; did you mean %s=?", s->key,
                                      t->section, close);
        return config_warning(l->config, s->file, s->line, "%s=: unknown key in [%s], ignored", s->key, t->section);
}

static int key_reset(const ConfigKey *k, void *object, const void *defaults) {
        void *field = (char *) object + k->offset;
        const void *original = (const char *) defaults + k->offset;

        switch (k->kind) {
        case KEY_PLAIN:
                memcpy(field, original, k->size);
                return 0;
        case KEY_STRING: {
                const char *s = *(char *const *) original;

                free(*(char **) field);
                *(char **) field = NULL;
                return s ? store_string(field, s) : 0;
        }
        case KEY_LIST:
                strv_free(*(char ***) field);
                *(char ***) field = NULL;
                return 0;
        case KEY_LIMIT:
                ((WorkerType *) object)->limit_set[k->min] = false;
                return 0;
        }
        return 0;
}

/* Takes back what earlier assignments of the unit said about a key. */
static void sources_forget(ConfigLoader *l, const char *key) {
        Config *c = l->config;
        size_t n = l->unit_start;

        for (size_t i = l->unit_start; i < c->n_sources; i++)
                if (streq(c->sources[i].key, key))
                        config_source_done(c->sources + i);
                else
                        c->sources[n++] = c->sources[i];
        c->n_sources = n;
}

static int source_keep(ConfigLoader *l, ConfigSource *s) {
        Config *c = l->config;
        ConfigSource *bigger;

        s->unit = strdup(l->unit);
        if (!s->unit)
                return -ENOMEM;
        if ((c->n_sources & (c->n_sources - 1)) == 0) { /* doubles at each power of two; forgetting only leaves room */
                bigger = realloc(c->sources, MAX(c->n_sources * 2, (size_t) 16) * sizeof *bigger);
                if (!bigger)
                        return -ENOMEM;
                c->sources = bigger;
        }
        c->sources[c->n_sources++] = *s;
        *s = (ConfigSource) {};
        return 0;
}

int config_assign(ConfigLoader *l, const ConfigTable *t, void *object, const void *defaults, ConfigSource *s) {
        const ConfigKey *k = key_find(t, s->key);
        size_t n_errors = l->config->n_errors;
        int r;

        if (!k)
                return strncmp(s->key, "X-", 2) == 0 ? 0 : unknown_key(l, t, s);
        if (!*s->value) {
                sources_forget(l, s->key);
                return key_reset(k, object, defaults);
        }
        r = k->parse(&(ConfigParse) { .loader = l, .key = k, .source = s }, (char *) object + k->offset, s->value);
        if (r < 0)
                return r;
        s->refused = l->config->n_errors > n_errors;
        if (!s->refused && (k->kind != KEY_LIST || k->parse == parse_exec)) /* other lists add up */
                sources_forget(l, s->key);
        return source_keep(l, s);
}

int config_expand(ConfigLoader *l, const ConfigSource *s, const char *text, char **ret) {
        _cleanup_free_ char *out = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&out, &size);
        int bad = -1;

        if (!f)
                return -ENOMEM;
        for (const char *p = text; *p && bad < 0; p++) {
                const char *slash;

                if (*p != '%') {
                        fputc(*p, f);
                        continue;
                }
                switch (*++p) {
                case '%':
                        fputc('%', f);
                        break;
                case 'L':
                        fputs(l->libexec, f);
                        break;
                case 'C':
                        slash = strrchr(s->file, '/');
                        fprintf(f, "%.*s", slash ? (int) (slash - s->file) : 1, slash ? s->file : ".");
                        break;
                case 't':
                        fputs(l->paths->runtime, f);
                        break;
                case 'S':
                        fputs(l->paths->state, f);
                        break;
                default:
                        bad = (unsigned char) *p;
                        p -= !*p;
                }
        }
        if (fclose(f) != 0)
                return -ENOMEM;
        if (bad >= 0) {
                int r = config_error(l->config, s->file, s->line,
                                     "%s=%.200s: unknown specifier %%%c; %%L (the worker programs' directory), %%C (this file's "
                                     "directory), %%t (the runtime directory), %%S (the state directory) and %%%% are allowed",
                                     s->key, s->value, bad ? bad : ' ');
                return r < 0 ? r : -EINVAL;
        }
        *ret = TAKE_PTR(out);
        return 0;
}
