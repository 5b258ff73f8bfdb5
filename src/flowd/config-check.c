/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What can only be said once a file and its drop-ins were read: defaults that follow from other values, users and groups, and
 * values that contradict each other. Users are looked up here and not when a worker is started, because the lookup can ask the
 * network and a start must not wait; a user that was changed meanwhile counts from the next reload.
 */

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flowd/config-internal.h"

#define ACCOUNT_BUFFER_MAX (1U << 20) /* bytes of one entry of the user or group database */
#define KNOWN_TYPES_TOLD 20U          /* names in a message */

#define loader_error(l, key, ...) config_loader_message((l), true, (key), __VA_ARGS__)
#define loader_warning(l, key, ...) config_loader_message((l), false, (key), __VA_ARGS__)

/* Finds a user by name or number. `buffer` holds the strings and is the caller's. Returns 0, -ESRCH, -EIO, -ENOMEM. */
static int user_find(const char *name, struct passwd *ret, char **buffer) {
        struct passwd *found = NULL;
        uint64_t number;

        for (size_t size = 4096; size <= ACCOUNT_BUFFER_MAX; size *= 4) {
                char *bigger = realloc(*buffer, size);
                if (!bigger)
                        return -ENOMEM;
                *buffer = bigger;
                int e = u64_parse(name, 0, UINT32_MAX - 1, &number) == 0
                                ? getpwuid_r((uid_t) number, ret, bigger, size, &found)
                                : getpwnam_r(name, ret, bigger, size, &found);
                if (found)
                        return 0;
                if (e == EINTR)
                        continue;
                if (e != ERANGE)
                        return e == 0 || e == ENOENT || e == ESRCH ? -ESRCH : -EIO;
        }
        return -EIO;
}

/* As above; a number needs no entry. */
static int group_find(const char *name, gid_t *ret) {
        _cleanup_free_ char *buffer = NULL;
        struct group g, *found = NULL;
        uint64_t number;

        if (u64_parse(name, 0, UINT32_MAX - 1, &number) == 0) {
                *ret = (gid_t) number;
                return 0;
        }
        for (size_t size = 4096; size <= ACCOUNT_BUFFER_MAX; size *= 4) {
                char *bigger = realloc(buffer, size);
                if (!bigger)
                        return -ENOMEM;
                buffer = bigger;
                int e = getgrnam_r(name, &g, buffer, size, &found);
                if (found) {
                        *ret = g.gr_gid;
                        return 0;
                }
                if (e != ERANGE && e != EINTR)
                        return e == 0 || e == ENOENT || e == ESRCH ? -ESRCH : -EIO;
        }
        return -EIO;
}

/* A threshold that is above the next one would leave nothing to the warm tier. */
static int check_route(ConfigLoader *l) {
        const RouteConfig *c = &l->config->route;
        const struct {
                const char *hot, *warm;
                uint64_t hot_max, warm_max;
        } pairs[] = {
                { "RouteHotMax", "RouteWarmMax", c->learn.hot_max_usec, c->learn.warm_max_usec },
                { "RouteHotPayloadMax", "RouteWarmPayloadMax", c->hot_payload_max, c->warm_payload_max },
                { "RouteHotWeightMax", "RouteWarmWeightMax", c->hot_weight_max, c->warm_weight_max },
        };

        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                if (pairs[i].hot_max <= pairs[i].warm_max)
                        continue;
                const ConfigSource *hot = config_loader_find(l, pairs[i].hot), *warm = config_loader_find(l, pairs[i].warm), *s = hot ? hot : warm;
                int r = loader_error(l, s->key, "%s=%s: %s= must not be above %s=%s%s", s->key, s->value, pairs[i].hot, pairs[i].warm,
                                     hot && warm ? ", which is " : "", hot && warm ? warm->value : "");
                if (r < 0)
                        return r;
        }
        return 0;
}

int config_check_flowd(ConfigLoader *l) {
        Config *c = l->config;
        const struct {
                const char *key, *name;
                gid_t *gid;
        } groups[] = {
                { "ObserveGroup", c->observe_group, &c->observe_gid },
                { "SubmitGroup", c->submit_group, &c->submit_gid },
                { "AdminGroup", c->admin_group, &c->admin_gid },
        };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(groups); i++) {
                r = group_find(groups[i].name, groups[i].gid);
                if (r == -ENOMEM)
                        return r;
                /* the default groups may be missing, as before systemd-sysusers ran; only root is served then */
                const ConfigSource *s = config_loader_find(l, groups[i].key);
                if (r < 0 && s) {
                        r = loader_warning(l, groups[i].key,
                                           "%s=%s: no such group; nobody has its rights until it is made and flowd reloaded",
                                           groups[i].key, groups[i].name);
                        if (r < 0)
                                return r;
                }
        }
        r = check_route(l);
        if (r < 0)
                return r;
        const FlowThresholds *t = &c->flow.limits;
        if (t->load_low >= t->load_high)
                return loader_error(l, config_loader_find(l, "FlowLoadLow") ? "FlowLoadLow" : "FlowLoadHigh", "FlowLoadLow=%u: is not below FlowLoadHigh=%u",
                                    t->load_low, t->load_high);
        if (t->band_draft > t->band_refine || t->band_refine > t->band_done)
                return loader_error(l, config_loader_find(l, "FlowBandRefinement") ? "FlowBandRefinement" : config_loader_find(l, "FlowBandDraft") ?
                                    "FlowBandDraft" : "FlowBandDone", "FlowBandDraft=%u, FlowBandRefinement=%u, FlowBandDone=%u: each must not be below the "
                                    "one before", t->band_draft, t->band_refine, t->band_done);
        if (c->connections_per_user > c->connections_max && config_loader_find(l, "ConnectionsPerUser"))
                return loader_warning(l, "ConnectionsPerUser", "ConnectionsPerUser=%u: is above ConnectionsMax=%u, which counts",
                                      c->connections_per_user, c->connections_max);
        return 0;
}

static int groups_find(const struct passwd *pw, gid_t **ret, size_t *ret_n) {
        _cleanup_free_ gid_t *groups = NULL;
        int n = 64;

        for (;;) {
                gid_t *bigger = realloc(groups, (size_t) n * sizeof(gid_t));
                int had = n;

                if (!bigger)
                        return -ENOMEM;
                groups = bigger;
                if (getgrouplist(pw->pw_name, pw->pw_gid, groups, &n) >= 0)
                        break;
                if (n <= had)
                        n = had * 2;
                if (n > CONFIG_GROUPS_MAX)
                        return -E2BIG;
        }
        *ret = TAKE_PTR(groups);
        *ret_n = (size_t) n;
        return 0;
}

static int identity_take(ConfigLoader *l, WorkerType *t, const struct passwd *pw) {
        _cleanup_free_ char *user = strdup(pw->pw_name), *home = strdup(strempty(pw->pw_dir));
        int r;

        if (!user || !home)
                return -ENOMEM;
        r = groups_find(pw, &t->groups, &t->n_groups);
        if (r == -E2BIG)
                return loader_error(l, "User", "User=%s: is in more than %d groups", pw->pw_name, CONFIG_GROUPS_MAX);
        if (r < 0)
                return r;
        free(t->user);
        t->user = TAKE_PTR(user);
        t->home = TAKE_PTR(home);
        t->uid = pw->pw_uid;
        t->gid = pw->pw_gid;
        return 0;
}

/* Turns User= or the instance's default into ids. */
static int check_identity(ConfigLoader *l, WorkerType *t) {
        _cleanup_free_ char *buffer = NULL;
        const char *name = t->user, *fallback = l->config->default_user;
        struct passwd pw;
        int r;

        if (!name && (l->paths->mode != RUN_SYSTEM || geteuid() != 0))
                return 0;
        r = user_find(name ? name : fallback, &pw, &buffer);
        if (r == -ENOMEM)
                return r;
        if (r < 0 && name)
                return loader_error(l, "User",
                                    r == -ESRCH ? "User=%s: no such user; the name or number of a user of this host is allowed"
                                                : "User=%s: the user database could not be read",
                                    name);
        if (r < 0) {
                if (l->default_user_told)
                        return 0;
                l->default_user_told = true;
                return loader_error(l, NULL,
                                    "the user %s that workers run as does not exist; run systemd-sysusers to make it, or name "
                                    "another with User= here or DefaultUser= in flowd.conf",
                                    fallback);
        }
        if (geteuid() != 0) {
                if (pw.pw_uid != geteuid())
                        return loader_error(l, "User",
                                            "User=%s: only root can run workers as another user; leave User= out, or start "
                                            "flowd as root",
                                            name);
                free(t->user); /* the same user: nothing to change */
                t->user = NULL;
                return 0;
        }
        return identity_take(l, t, &pw);
}

static int check_exec(ConfigLoader *l, const WorkerType *t) {
        const ConfigSource *s = config_loader_find(l, "Exec");
        struct stat st;

        if (!t->exec)
                return config_loader_refused(l, "Exec") ? 0 :
                        loader_error(l, NULL, "Exec= is missing; a command is expected, with its whole path");
        if (stat(t->exec[0], &st) < 0 && errno == ENOENT && strncmp(s->value, "%L/", 3) == 0)
                return loader_error(l, "Exec", "Exec=%.300s: %s: no such file; %%L is where flowd's own workers are installed. "
                                    "To have those of a build tree, start flowd with FLOWD_LIBEXEC=DIR in its environment", s->value, t->exec[0]);
        if (stat(t->exec[0], &st) < 0)
                return loader_error(l, "Exec", "Exec=%.300s: %s: %s", s->value, t->exec[0],
                                    errno == ENOENT ? "no such file; the whole path of a program is expected" : strerror(errno));
        if (!S_ISREG(st.st_mode))
                return loader_error(l, "Exec", "Exec=%.300s: %s: is not a file; the whole path of a program is expected",
                                    s->value, t->exec[0]);
        if (access(t->exec[0], X_OK) < 0)
                return loader_error(l, "Exec", "Exec=%.300s: %s: is not executable; chmod +x it, or put its interpreter first",
                                    s->value, t->exec[0]);
        return 0;
}

static int check_directory(ConfigLoader *l, WorkerType *t) {
        struct stat st;

        if (!t->working_directory) {
                t->working_directory = strdup(geteuid() == 0 ? "/" : l->paths->runtime);
                return t->working_directory ? 0 : -ENOMEM;
        }
        if (!config_loader_find(l, "WorkingDirectory") || (stat(t->working_directory, &st) == 0 && S_ISDIR(st.st_mode)))
                return 0;
        return loader_error(l, "WorkingDirectory", "WorkingDirectory=%s: no such directory", t->working_directory);
}

/* A hard limit above one's own needs CAP_SYS_RESOURCE, or no worker of the type will start. Only a warning: --check-config may
 * run with other limits than the service. */
static int check_limits(ConfigLoader *l, const WorkerType *t) {
        int r = 0;

        if (geteuid() == 0 && prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE, 0, 0, 0) > 0)
                return 0;
        for (size_t i = l->unit_start; r == 0 && i < l->config->n_sources; i++) {
                const ConfigSource *s = l->config->sources + i;
                int resource = config_key_limit(s->key);
                struct rlimit own;

                if (resource < 0 || s->refused || getrlimit((__rlimit_resource_t) resource, &own) < 0 ||
                    t->limit[resource].rlim_max <= own.rlim_max)
                        continue;
                r = config_warning(l->config, s->file, s->line, "%s=%s: is above the hard limit of flowd itself, %llu, and "
                                   "workers will not start; raise %s= in the unit that runs flowd", s->key, s->value,
                                   (unsigned long long) own.rlim_max, s->key);
        }
        return r;
}

/* The first delay of a backoff is above its last one, or the soft limit is not below the hard one. */
static int delays_error(ConfigLoader *l, const char *key, uint64_t usec, const char *key_max, uint64_t max_usec) {
        char a[64], b[64];

        return loader_error(l, config_loader_find(l, key) ? key : key_max, streq(key, "JobSoftTimeout") ? "%s=%s: is not below %s=%s" : "%s=%s: is above %s=%s",
                            key, usec_format(a, sizeof a, usec), key_max, usec_format(b, sizeof b, max_usec));
}

int config_check_worker(ConfigLoader *l, WorkerType *t) {
        const char *protocol = protocol_to_string(t->protocol);
        int r = check_exec(l, t);

        if (r == 0)
                r = check_limits(l, t);

        if (r == 0)
                r = check_identity(l, t);
        if (r == 0)
                r = check_directory(l, t);
        if (r == 0 && t->slots > 1 && t->protocol == PROTOCOL_EXEC)
                r = loader_error(l, "Slots",
                                 "Slots=%u: an exec worker has one job; Slots=1 is allowed, or Protocol=frame, jsonl or mcp",
                                 t->slots);
        if (r == 0 && t->ready_explicit && t->protocol != PROTOCOL_JSONL)
                r = loader_error(l, "Ready", "Ready=explicit: needs Protocol=jsonl, this is Protocol=%s%s", protocol,
                                 t->protocol == PROTOCOL_FRAME ? ", where a worker's HELLO says that it is ready" : "");
        if (r == 0 && t->heartbeat_usec > 0 && t->protocol != PROTOCOL_FRAME)
                r = loader_error(l, "HeartbeatInterval", "HeartbeatInterval=%s: needs Protocol=frame, this is Protocol=%s",
                                 config_loader_find(l, "HeartbeatInterval")->value, protocol);
        if (r == 0 && t->soft_timeout_usec != USEC_INFINITY && t->soft_timeout_usec >= t->job_timeout_usec)
                r = delays_error(l, "JobSoftTimeout", t->soft_timeout_usec, "JobTimeout", t->job_timeout_usec);
        if (r == 0 && t->mcp_era != MCP_ERA_LEGACY && t->protocol != PROTOCOL_MCP)
                r = loader_error(l, "McpEra", "McpEra=%s: needs Protocol=mcp, this is Protocol=%s", mcp_era_to_string(t->mcp_era), protocol);
        if (r == 0 && t->mcp_features != 0 && (t->protocol != PROTOCOL_MCP || !t->for_session))
                r = loader_error(l, "ClientFeatures", "ClientFeatures=%s: needs Protocol=mcp and Sharing=session, so that a server's question reaches the "
                                 "client whose call it is about", config_loader_find(l, "ClientFeatures")->value);
        if (r == 0 && t->protocol == PROTOCOL_MCP && !config_loader_find(l, "MaxCrashes"))
                t->max_crashes = 1; /* a call may have done something before its server died: another one is for somebody to decide */
        if (r == 0 && t->retry_usec > t->retry_max_usec)
                r = delays_error(l, "RetryDelay", t->retry_usec, "RetryDelayMax", t->retry_max_usec);
        if (r == 0 && t->protocol != PROTOCOL_EXEC && config_loader_find(l, "Output"))
                r = loader_warning(l, "Output",
                                   "Output=%s: has no effect with Protocol=%s, whose results say what they are; ignored",
                                   output_kind_to_string(t->output), protocol);
        return r;
}

static int unknown_type(ConfigLoader *l, const char *name) {
        const Config *c = l->config;
        _cleanup_free_ char *known = NULL;
        size_t size = 0;
        FILE *f;
        int r;

        if (c->n_types == 0)
                return loader_error(l, "Worker", "Worker=%s: no such worker type; there is none yet: write workers/%s.worker",
                                    name, name);
        f = open_memstream(&known, &size);
        if (!f)
                return -ENOMEM;
        for (size_t i = 0; i < c->n_types && i < KNOWN_TYPES_TOLD; i++)
                fprintf(f, "%s%s", i > 0 ? ", " : "", c->types[i]->name);
        if (c->n_types > KNOWN_TYPES_TOLD)
                fprintf(f, " and %zu more", c->n_types - KNOWN_TYPES_TOLD);
        r = fclose(f) == 0 ? 0 : -ENOMEM;
        if (r < 0)
                return r;
        return loader_error(l, "Worker", "Worker=%s: no such worker type; known are %s", name, known);
}

static int check_type(ConfigLoader *l, PoolConfig *p) {
        const ConfigSource *s = config_loader_find(l, "Worker");

        if (!s)
                return config_loader_refused(l, "Worker") ? 0 :
                        loader_error(l, NULL, "Worker= is missing; the name of a worker type is expected");
        p->type = config_find_type(l->config, s->value);
        if (!p->type)
                return unknown_type(l, s->value);
        worker_type_ref(p->type);
        return 0;
}

/* A hook is the pool's own, or flowd.conf's. */
static int check_hook(ConfigLoader *l, PoolConfig *p) {
        const ConfigSource *s = config_loader_find(l, "OnFailure");
        int r = 0;

        if (!p->on_failure && l->config->on_failure)
                r = strv_copy(l->config->on_failure, &p->on_failure);
        if (r < 0 || !p->on_failure || access(p->on_failure[0], X_OK) == 0)
                return r;
        return loader_error(l, s ? "OnFailure" : NULL, "OnFailure=%.300s: %s%s", p->on_failure[0], strerror(errno),
                            s ? "; the whole path of a program is expected" : "; it is flowd.conf's");
}

int config_check_pool(ConfigLoader *l, PoolConfig *p) {
        bool min_set = config_loader_find(l, "Min"), max_set = config_loader_find(l, "Max");
        int r = check_type(l, p);

        if (!min_set)
                p->min = p->tier == TIER_HOT ? 1 : 0;
        if (!max_set)
                p->max = pool_default_max(p->min);
        if (r == 0 && p->tier == TIER_COLD && p->min > 0) {
                r = loader_error(l, "Min", "Min=%u: a cold pool starts its workers per job; Min=0 is allowed, or Tier=warm",
                                 p->min);
                p->min = 0;
        }
        if (p->type && p->type->for_session && p->tier != TIER_COLD)
                p->session_exclusive = true;
        if (r == 0 && p->tier == TIER_HOT && p->min == 0)
                r = loader_warning(l, "Min", "Min=0: a hot pool without a resident worker is a warm one; Tier=warm would say so");
        if (r == 0 && p->min > p->max)
                r = loader_error(l, min_set ? "Min" : "Max", "Min=%u: is above Max=%u", p->min, p->max);
        if (r == 0 && p->scale_up_at > 0 && p->scale_down_at >= p->scale_up_at)
                r = loader_error(l, "ScaleDownAt", "ScaleDownAt=%u: is not below ScaleUpAt=%u", p->scale_down_at, p->scale_up_at);
        if (r == 0 && p->prewarm && p->tier != TIER_WARM)
                r = loader_error(l, "PreWarm", "PreWarm=yes: a %s pool starts its workers %s; Tier=warm is allowed, or PreWarm=no",
                                 tier_to_string(p->tier), p->tier == TIER_HOT ? "ahead anyway" : "for their jobs");
        if (r == 0 && p->session_exclusive && (p->tier == TIER_COLD || (p->type && p->type->protocol == PROTOCOL_EXEC))) {
                r = loader_error(l, "SessionExclusive", "SessionExclusive=yes: a worker of this pool serves one job only; a hot or warm pool of "
                                 "another protocol than exec is allowed");
                p->session_exclusive = false;
        }
        for (size_t i = 0; r == 0 && p->type && p->type->protocol != PROTOCOL_MCP && i < 3; i++) {
                static const char *const keys[] = { "McpPrefix", "McpAllow", "McpDeny" };

                if (config_loader_find(l, keys[i]))
                        r = loader_error(l, keys[i], "%s=%s: needs a worker type of Protocol=mcp, and %s is of Protocol=%s", keys[i],
                                         config_loader_find(l, keys[i])->value, p->type->name, protocol_to_string(p->type->protocol));
        }
        if (r == 0 && p->restart_usec > p->restart_max_usec)
                r = delays_error(l, "RestartDelay", p->restart_usec, "RestartDelayMax", p->restart_max_usec);
        return r == 0 ? check_hook(l, p) : r;
}

static const char *mcp_prefix(const PoolConfig *p) {
        return p->mcp_prefix ? p->mcp_prefix : p->name;
}

const PoolConfig *config_same_prefix(const Config *c, const PoolConfig *p, size_t n) {
        if (!p->type || p->type->protocol != PROTOCOL_MCP)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                const PoolConfig *o = c->pools[i];

                if (o->type && o->type->protocol == PROTOCOL_MCP && streq(mcp_prefix(o), mcp_prefix(p)))
                        return o;
        }
        return NULL;
}

int config_check_prefixes(Config *c) {
        for (size_t i = 0; i < c->n_pools; i++) {
                const PoolConfig *b = c->pools[i], *a = config_same_prefix(c, b, i);
                _cleanup_free_ char *unit = a ? str_printf("%s.pool", b->mcp_prefix ? b->name : a->name) : NULL;
                const ConfigSource *s = NULL;
                int r;

                if (!a)
                        continue;
                if (!unit)
                        return -ENOMEM;
                for (size_t n = 0; n < c->n_sources; n++)
                        if (streq(c->sources[n].unit, unit) && streq(c->sources[n].key, "McpPrefix"))
                                s = &c->sources[n];
                r = config_error(c, s ? s->file : NULL, s ? s->line : 0, "McpPrefix=%s: the tools of the pools %s and %s would have the same names; "
                                 "another prefix for one of them is allowed", mcp_prefix(b), a->name, b->name);
                if (r < 0)
                        return r;
        }
        return 0;
}
