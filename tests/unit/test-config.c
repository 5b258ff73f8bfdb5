/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The configuration: each test writes files into directories of its own and loads them. dirs[0] has the lowest priority. Messages
 * are held to file, line and a piece of their text.
 */

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syslog.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "flowd/config-internal.h"

static char base[] = "/tmp/flowd-test-config-XXXXXX";
static char *dirs[4];
static Config *config;

static void setup(void) {
        strcpy(base, "/tmp/flowd-test-config-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(base));
        for (size_t i = 0; i < 3; i++) {
                dirs[i] = str_printf("%s/%c", base, (char) ('a' + i));
                ck_assert_int_eq(mkdir(dirs[i], 0755), 0);
        }
        unsetenv("FLOWD_LIBEXEC");
        unsetenv("FLOWD_CONFIG");
        unsetenv("FLOWD_RUNTIME");
        unsetenv("FLOWD_STATE");
}

static int remove_entry(const char *path, const struct stat *st _unused_, int flag _unused_, struct FTW *ftw _unused_) {
        return remove(path);
}

static void teardown(void) {
        config = config_free(config);
        nftw(base, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        for (size_t i = 0; i < 3; i++) {
                free(dirs[i]);
                dirs[i] = NULL;
        }
}

/* Writes a file below `base`, such as "a/pools/x.pool", with the folders above it. */
static void put_bytes(const char *path, const void *data, size_t size) {
        _cleanup_free_ char *full = str_printf("%s/%s", base, path), *folder = strdup(full);
        _cleanup_close_ int fd = -1;

        *strrchr(folder, '/') = 0;
        ck_assert_int_ge(dir_make(folder, 0755), 0);
        fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_ge(fd_write_all(fd, data, size), 0);
}

static void put(const char *path, const char *text) {
        put_bytes(path, text, strlen(text));
}

static void put_link(const char *path, const char *target) {
        _cleanup_free_ char *full = str_printf("%s/%s", base, path), *folder = strdup(full);

        *strrchr(folder, '/') = 0;
        ck_assert_int_ge(dir_make(folder, 0755), 0);
        ck_assert_int_eq(symlink(target, full), 0);
}

static void load_mode(RunMode mode) {
        char runtime[] = "/run/x", state[] = "/var/x";
        ConfigPaths paths = { .mode = mode, .dirs = dirs, .runtime = runtime, .state = state };

        config = config_free(config);
        ck_assert_int_eq(config_load(&paths, &config), 0);
        for (size_t i = 0; i < config->n_messages; i++) {
                _cleanup_free_ char *s = config_message_format(config->messages + i);
                fprintf(stderr, "  %s\n", s);
        }
}

static void load(void) {
        load_mode(RUN_PRIVATE);
}

/* Loads what must be faultless. */
static void load_clean(void) {
        load();
        ck_assert_uint_eq(config->n_messages, 0);
        ck_assert_uint_eq(config->n_errors, 0);
}

static size_t told(bool error, const char *path, unsigned line, const char *piece) {
        _cleanup_free_ char *full = str_printf("%s/%s", base, path);
        size_t n = 0;

        for (size_t i = 0; i < config->n_messages; i++) {
                const ConfigMessage *m = config->messages + i;
                n += m->error == error && streq_ptr(m->file, full) && m->line == line && strstr(m->text, piece);
        }
        return n;
}

#define assert_error(path, line, piece) ck_assert_msg(told(true, (path), (line), (piece)) == 1, "no error: %s", (piece))
#define assert_warning(path, line, piece) ck_assert_msg(told(false, (path), (line), (piece)) == 1, "no warning: %s", (piece))

static const WorkerType *type(const char *name) {
        const WorkerType *t = config_find_type(config, name);

        ck_assert_ptr_nonnull(t);
        return t;
}

static const PoolConfig *pool(const char *name) {
        for (size_t i = 0; i < config->n_pools; i++)
                if (streq(config->pools[i]->name, name))
                        return config->pools[i];
        return NULL;
}

/* One worker type with these lines below Exec=, which is line 2. */
static void put_worker(const char *lines) {
        _cleanup_free_ char *text = str_printf("[Worker]\nExec=/bin/cat\n%s", lines);
        put("a/workers/w.worker", text);
}

static void put_pool(const char *lines) {
        _cleanup_free_ char *text = str_printf("[Pool]\nWorker=w\n%s", lines);
        put_worker("");
        put("a/pools/p.pool", text);
}

/* One line of a worker type, or pool, that must be refused as `message`; nothing else may be told. */
static void refused_worker(const char *line, const char *message) {
        put_worker(line);
        load();
        assert_error("a/workers/w.worker", 3, message);
        ck_assert_uint_eq(config->n_messages, 1);
}

static void refused_pool(const char *line, const char *message) {
        put_pool(line);
        load();
        assert_error("a/pools/p.pool", 3, message);
        ck_assert_uint_eq(config->n_messages, 1);
}

static void refused_flowd(const char *line, const char *message) {
        _cleanup_free_ char *text = str_printf("[Flowd]\n%s\n", line);

        put("a/flowd.conf", text);
        load();
        assert_error("a/flowd.conf", 2, message);
        ck_assert_uint_eq(config->n_messages, 1);
}

/* ------------------------------------------------------------------------------------------------------- defaults, all keys */

START_TEST(empty_directories) {
        load_clean();
        ck_assert_uint_eq(config->n_pools, 0);
        ck_assert_uint_eq(config->results_max, 64 << 20);
        ck_assert_uint_eq(config->connections_max, 1024);
        ck_assert_uint_eq(config->shutdown_timeout_usec, 30 * USEC_PER_SEC);
        ck_assert_int_eq(config->log_level, LOG_INFO);
        ck_assert_str_eq(config->admin_group, "flowd-admin");
        ck_assert_str_eq(config->default_user, "flowd-worker");
}
END_TEST

START_TEST(missing_directory) {
        _cleanup_free_ _unused_ char *old = dirs[0];

        dirs[0] = str_printf("%s/none", base);
        load();
        assert_error("none", 0, "No such file or directory");
        load_mode(RUN_USER);
        ck_assert_uint_eq(config->n_messages, 0);
}
END_TEST

START_TEST(flowd_keys) {
        put("a/flowd.conf", "[Flowd]\nResultsMax=1M\nResultsCountMax=5\nConnectionsMax=7\nConnectionsPerUser=3\nJobsPerClient=9\n"
            "JsonMax=1M\nClientBufferMax=2M\nInboundMax=3M\nShutdownTimeout=1min 5s\nLogLevel=debug\nStderrRate=11\n"
            "StderrInterval=2s\nObserveGroup=0\nSubmitGroup=root\nAdminGroup=root\nDefaultUser=root\n");
        load_clean();
        ck_assert_uint_eq(config->results_max, 1 << 20);
        ck_assert_uint_eq(config->results_count_max, 5);
        ck_assert_uint_eq(config->connections_max, 7);
        ck_assert_uint_eq(config->connections_per_user, 3);
        ck_assert_uint_eq(config->jobs_per_client, 9);
        ck_assert_uint_eq(config->json_max, 1 << 20);
        ck_assert_uint_eq(config->client_buffer_max, 2 << 20);
        ck_assert_uint_eq(config->inbound_max, 3 << 20);
        ck_assert_uint_eq(config->shutdown_timeout_usec, 65 * USEC_PER_SEC);
        ck_assert_int_eq(config->log_level, LOG_DEBUG);
        ck_assert_uint_eq(config->stderr_rate, 11);
        ck_assert_uint_eq(config->stderr_interval_usec, 2 * USEC_PER_SEC);
        ck_assert_uint_eq(config->observe_gid, 0);
        ck_assert_uint_eq(config->submit_gid, 0);
        ck_assert_uint_eq(config->admin_gid, 0);
        ck_assert_str_eq(config->default_user, "root");
}
END_TEST

START_TEST(flowd_refused) {
        refused_flowd("ResultsMax=x", "ResultsMax=x: not a size; a size from 0B to 1T is allowed");
        refused_flowd("JsonMax=1", "JsonMax=1: out of range; a size from 64K to 64M");
        refused_flowd("ConnectionsMax=0", "ConnectionsMax=0: out of range; a whole number from 1 to 100000 is allowed");
        refused_flowd("ConnectionsMax=-1", "ConnectionsMax=-1: not a number");
        refused_flowd("ShutdownTimeout=infinity", "ShutdownTimeout=infinity: out of range; a time span from 0 to 1d");
        refused_flowd("LogLevel=loud", "LogLevel=loud: no such log level; emerg, alert");
        refused_flowd("AdminGroup=a b", "AdminGroup=a b: not a name");
        put("a/flowd.conf", "[Flowd]\nAdminGroup=no-such-group\nLogLevel=3\nConnectionsMax=5\nConnectionsPerUser=6\n");
        load();
        assert_warning("a/flowd.conf", 2, "AdminGroup=no-such-group: no such group");
        assert_warning("a/flowd.conf", 5, "is above ConnectionsMax=5");
        ck_assert_uint_eq(config->admin_gid, (gid_t) -1);
        ck_assert_int_eq(config->log_level, LOG_ERR);
        ck_assert_uint_eq(config->n_errors, 0);
}
END_TEST

START_TEST(worker_defaults) {
        put_worker("");
        load_clean();
        const WorkerType *t = type("w");
        ck_assert_uint_eq(strv_length(t->exec), 1);
        ck_assert_str_eq(t->exec[0], "/bin/cat");
        ck_assert_int_eq(t->protocol, PROTOCOL_FRAME);
        ck_assert_int_eq(t->output, OUTPUT_BYTES);
        ck_assert_uint_eq(t->slots, 1);
        ck_assert_uint_eq(t->start_timeout_usec, 30 * USEC_PER_SEC);
        ck_assert_uint_eq(t->job_timeout_usec, USEC_INFINITY);
        ck_assert_uint_eq(t->heartbeat_usec, 0);
        ck_assert_uint_eq(t->payload_max, 64 << 20);
        ck_assert_uint_eq(t->memory_max, UINT64_MAX);
        ck_assert_uint_eq(t->cpu_weight, 0);
        ck_assert_uint_eq(t->max_crashes, 3);
        ck_assert_uint_eq(t->uid, (uid_t) -1);
        ck_assert_ptr_null(t->user);
        ck_assert_str_eq(t->working_directory, geteuid() == 0 ? "/" : "/run/x");
}
END_TEST

START_TEST(worker_keys) {
        put_worker(
                "Protocol=jsonl\nReady=explicit\nSlots=4\nStartTimeout=1s\nStopTimeout=2s\nJobTimeout=3s\nCancelTimeout=4s\n"
                "DrainTimeout=5s\nEnvironment=A=1\nPassEnvironment=LANG TZ\nWorkingDirectory=/tmp\nPayloadMax=1M\nResultMax=2M\n"
                "MemoryMax=512M\nTasksMax=12\nCPUWeight=50\nMaxJobs=100\nMaxAge=1h\nMaxRSS=1G\nMaxCrashes=7\n");
        load_clean();
        const WorkerType *t = type("w");
        ck_assert_int_eq(t->protocol, PROTOCOL_JSONL);
        ck_assert(t->ready_explicit);
        ck_assert_uint_eq(t->slots, 4);
        ck_assert_uint_eq(t->start_timeout_usec, 1 * USEC_PER_SEC);
        ck_assert_uint_eq(t->stop_timeout_usec, 2 * USEC_PER_SEC);
        ck_assert_uint_eq(t->job_timeout_usec, 3 * USEC_PER_SEC);
        ck_assert_uint_eq(t->cancel_timeout_usec, 4 * USEC_PER_SEC);
        ck_assert_uint_eq(t->drain_timeout_usec, 5 * USEC_PER_SEC);
        ck_assert_str_eq(t->environment[0], "A=1");
        ck_assert_str_eq(t->pass_environment[1], "TZ");
        ck_assert_str_eq(t->working_directory, "/tmp");
        ck_assert_uint_eq(t->payload_max, 1 << 20);
        ck_assert_uint_eq(t->result_max, 2 << 20);
        ck_assert_uint_eq(t->memory_max, 512 << 20);
        ck_assert_uint_eq(t->tasks_max, 12);
        ck_assert_uint_eq(t->cpu_weight, 50);
        ck_assert_uint_eq(t->max_jobs, 100);
        ck_assert_uint_eq(t->max_age_usec, 3600 * USEC_PER_SEC);
        ck_assert_uint_eq(t->max_rss, 1 << 30);
        ck_assert_uint_eq(t->max_crashes, 7);
        put_worker("Protocol=exec\nOutput=json\n");
        load_clean();
        ck_assert_int_eq(type("w")->output, OUTPUT_JSON);
        put_worker("HeartbeatInterval=5s\nTasksMax=infinity\nMemoryMax=infinity\nReady=auto\n");
        load_clean();
        ck_assert_uint_eq(type("w")->heartbeat_usec, 5 * USEC_PER_SEC);
        put_worker("HeartbeatInterval=0\n");
        load_clean();
}
END_TEST

START_TEST(worker_refused) {
        refused_worker("Protocol=http", "Protocol=http: no such protocol; frame, jsonl or exec is allowed");
        refused_worker("Output=xml", "Output=xml: no such kind of output; text, json or bytes is allowed");
        refused_worker("Ready=maybe", "Ready=maybe: no such way to be ready; auto or explicit is allowed");
        refused_worker("Slots=0", "Slots=0: out of range; a whole number from 1 to 1024 is allowed");
        refused_worker("Slots=4.5", "Slots=4.5: not a number");
        refused_worker("Slots=99999999999999999999999", "out of range");
        refused_worker("StartTimeout=0", "StartTimeout=0: out of range; a time span from 1ms to infinity");
        refused_worker("StartTimeout=soon", "StartTimeout=soon: not a time span");
        refused_worker("StartTimeout=-1s", "StartTimeout=-1s: not a time span");
        refused_worker("HeartbeatInterval=1ms", "HeartbeatInterval=1ms: out of range");
        refused_worker("PayloadMax=65M", "PayloadMax=65M: out of range; a size from 1B to 64M");
        refused_worker("MemoryMax=10", "MemoryMax=10: out of range; a size from 1M to infinity");
        refused_worker("TasksMax=0", "TasksMax=0: out of range; a whole number from 1 to 4194304, or infinity, is allowed");
        refused_worker("CPUWeight=10001", "CPUWeight=10001: out of range; a whole number from 1 to 10000 is allowed");
        refused_worker("MaxCrashes=0", "MaxCrashes=0: out of range");
        refused_worker("Environment=A", "Environment=A: not an assignment");
        refused_worker("Environment=1A=2", "not an assignment");
        refused_worker("Environment=\"A=1", "an open quote");
        refused_worker("Environment=A=\\q", "a backslash with something that it does not escape");
        refused_worker("PassEnvironment=A=1", "not a name of an environment variable");
        refused_worker("WorkingDirectory=tmp", "WorkingDirectory=tmp: not an absolute path");
        refused_worker("WorkingDirectory=/no/such", "WorkingDirectory=/no/such: no such directory");
        refused_worker("WorkingDirectory=/bin/cat", "no such directory");
        refused_worker("User=no such", "not a name");
        refused_worker("User=no-such-user", "User=no-such-user: no such user");
        refused_worker("LimitNOFILE=x", "LimitNOFILE=x: not a limit; a whole number, SOFT:HARD or infinity");
        refused_worker("LimitNOFILE=5:4", "LimitNOFILE=5:4: the soft limit is above the hard one");
        refused_worker("LimitAS=1Q", "LimitAS=1Q: not a limit; a size, SOFT:HARD");
        refused_worker("LimitCPU=:", "LimitCPU=:: not a limit; a time span");
        refused_worker("LimitNICE=+20", "LimitNICE=+20: out of range; a nice level");
        refused_worker("LimitRTPRIO=100", "LimitRTPRIO=100: out of range");
}
END_TEST

START_TEST(limits) {
        const WorkerType *t;

        put_worker("LimitCPU=90500ms\nLimitFSIZE=1M\nLimitDATA=2M\nLimitSTACK=8M:infinity\nLimitCORE=0\nLimitRSS=1G\nLimitNOFILE="
                   "1024:4096\n"
                   "LimitAS=infinity\nLimitNPROC=10\nLimitMEMLOCK=64K\nLimitLOCKS=5\nLimitSIGPENDING=6\nLimitMSGQUEUE=1K\n"
                   "LimitNICE=+5\nLimitRTPRIO=9\nLimitRTTIME=1ms\n");
        load(); /* there may be warnings that these are above what this process may have itself */
        ck_assert_uint_eq(config->n_errors, 0);
        t = type("w");
        for (size_t i = 0; i < WORKER_RLIMITS; i++)
                ck_assert_msg(t->limit_set[i], "limit %zu is not set", i);
        ck_assert_uint_eq(t->limit[RLIMIT_CPU].rlim_cur, 91);
        ck_assert_uint_eq(t->limit[RLIMIT_FSIZE].rlim_max, 1 << 20);
        ck_assert_uint_eq(t->limit[RLIMIT_STACK].rlim_cur, 8 << 20);
        ck_assert_uint_eq(t->limit[RLIMIT_STACK].rlim_max, RLIM_INFINITY);
        ck_assert_uint_eq(t->limit[RLIMIT_CORE].rlim_cur, 0);
        ck_assert_uint_eq(t->limit[RLIMIT_NOFILE].rlim_cur, 1024);
        ck_assert_uint_eq(t->limit[RLIMIT_NOFILE].rlim_max, 4096);
        ck_assert_uint_eq(t->limit[RLIMIT_AS].rlim_cur, RLIM_INFINITY);
        ck_assert_uint_eq(t->limit[RLIMIT_NICE].rlim_cur, 15);
        ck_assert_uint_eq(t->limit[RLIMIT_RTTIME].rlim_cur, 1000);
        put_worker("LimitNICE=-5\nLimitRTTIME=500\nLimitNOFILE=9\nLimitNOFILE=\n");
        load();
        ck_assert_uint_eq(config->n_errors, 0);
        ck_assert_uint_eq(type("w")->limit[RLIMIT_NICE].rlim_cur, 25);
        ck_assert_uint_eq(type("w")->limit[RLIMIT_RTTIME].rlim_cur, 500);
        ck_assert(!type("w")->limit_set[RLIMIT_NOFILE]);
}
END_TEST

START_TEST(limits_of_our_own) {
        const struct rlimit low = { .rlim_cur = 50, .rlim_max = 50 };

        if (geteuid() == 0)
                return; /* root may */
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        put_worker("LimitNOFILE=50\n");
        load_clean();
        put_worker("LimitNOFILE=9:51\n");
        load();
        assert_warning("a/workers/w.worker", 3, "LimitNOFILE=9:51: is above the hard limit of flowd itself, 50");
        ck_assert_uint_eq(config->n_messages, 1);
}
END_TEST

START_TEST(pool_defaults) {
        put_pool("");
        load_clean();
        const PoolConfig *p = pool("p");
        ck_assert_ptr_eq(p->type, type("w"));
        ck_assert_int_eq(p->tier, TIER_WARM);
        ck_assert_uint_eq(p->min, 0);
        ck_assert_uint_eq(p->max, pool_default_max(0));
        ck_assert_uint_ge(p->max, 1);
        ck_assert_uint_eq(p->idle_timeout_usec, 300 * USEC_PER_SEC);
        ck_assert_uint_eq(p->queue_max, 10000);
        ck_assert_uint_eq(p->queue_bytes_max, 256 << 20);
        ck_assert_uint_eq(p->breaker_crashes, 5);
        put_pool("Tier=hot\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->min, 1);
        put_pool("Tier=hot\nMin=500\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 500);
}
END_TEST

START_TEST(pool_keys) {
        put_pool("Tier=hot\nMin=2\nMax=9\nIdleTimeout=infinity\nQueueMax=0\nQueueBytesMax=1M\nRestartDelay=1s\nRestartDelayMax="
                 "2s\n"
                 "HealthyAfter=3s\nBreakerCrashes=4\nBreakerWindow=5s\nBreakerCooldown=6s\n");
        load_clean();
        const PoolConfig *p = pool("p");
        ck_assert_int_eq(p->tier, TIER_HOT);
        ck_assert_uint_eq(p->min, 2);
        ck_assert_uint_eq(p->max, 9);
        ck_assert_uint_eq(p->idle_timeout_usec, USEC_INFINITY);
        ck_assert_uint_eq(p->queue_max, 0);
        ck_assert_uint_eq(p->queue_bytes_max, 1 << 20);
        ck_assert_uint_eq(p->restart_usec, 1 * USEC_PER_SEC);
        ck_assert_uint_eq(p->restart_max_usec, 2 * USEC_PER_SEC);
        ck_assert_uint_eq(p->healthy_usec, 3 * USEC_PER_SEC);
        ck_assert_uint_eq(p->breaker_crashes, 4);
        ck_assert_uint_eq(p->breaker_window_usec, 5 * USEC_PER_SEC);
        ck_assert_uint_eq(p->breaker_cooldown_usec, 6 * USEC_PER_SEC);
}
END_TEST

START_TEST(pool_refused) {
        refused_pool("Min=abc", "Min=abc: not a number; a whole number from 0 to 10000 is allowed");
        refused_pool("Max=0", "Max=0: out of range; a whole number from 1 to 10000 is allowed");
        refused_pool("Tier=tepid", "Tier=tepid: no such tier; hot, warm or cold is allowed");
        refused_pool("QueueBytesMax=infinity", "QueueBytesMax=infinity: out of range");
        refused_pool("Worker=../w", "Worker=../w: not a name");
        refused_pool("Worker=v", "Worker=v: no such worker type; known are w");
        refused_pool("Min=5\nMax=4", "Min=5: is above Max=4");
        refused_pool("Min=1\nTier=cold", "Min=1: a cold pool starts its workers per job");
        refused_pool("RestartDelay=1min", "RestartDelay=1min: is above RestartDelayMax=30s");
        put_pool("Tier=hot\nMin=0\n");
        load();
        assert_warning("a/pools/p.pool", 4, "Min=0: a hot pool without a resident worker");
        put("a/pools/p.pool", "[Pool]\n");
        load();
        assert_error("a/pools/p.pool", 0, "Worker= is missing");
        put("a/pools/p.pool", "[Pool]\nWorker=w\nWorker=\n");
        load();
        assert_error("a/pools/p.pool", 0, "Worker= is missing");
}
END_TEST

START_TEST(no_types) {
        put("a/pools/p.pool", "[Pool]\nWorker=w\n");
        load();
        assert_error("a/pools/p.pool", 2, "there is none yet: write workers/w.worker");
}
END_TEST

START_TEST(worker_contradictions) {
        refused_worker("Slots=2\nProtocol=exec", "Slots=2: an exec worker has one job");
        refused_worker("Ready=explicit\nProtocol=exec", "Ready=explicit: needs Protocol=jsonl, this is Protocol=exec");
        refused_worker("Ready=explicit", "this is Protocol=frame, where a worker's HELLO");
        refused_worker("HeartbeatInterval=1s\nProtocol=jsonl", "HeartbeatInterval=1s: needs Protocol=frame");
        put_worker("Output=text\nProtocol=jsonl\n");
        load();
        assert_warning("a/workers/w.worker", 3, "Output=text: has no effect with Protocol=jsonl");
        ck_assert_uint_eq(config->n_errors, 0);
}
END_TEST

/* --------------------------------------------------------------------------------------------------------------- Exec=, User= */

START_TEST(exec) {
        put("a/workers/w.worker", "[Worker]\n");
        load();
        assert_error("a/workers/w.worker", 0, "Exec= is missing");
        put("a/workers/w.worker", "[Worker]\nExec=cat -u\n");
        load();
        assert_error("a/workers/w.worker", 2, "Exec=cat -u: not an absolute path");
        ck_assert_uint_eq(config->n_messages, 1);
        put("a/workers/w.worker", "[Worker]\n\nExec=/no/such -x\n");
        load();
        assert_error("a/workers/w.worker", 3, "/no/such: no such file");
        put("a/workers/w.worker", "[Worker]\nExec=/tmp\n");
        load();
        assert_error("a/workers/w.worker", 2, "/tmp: is not a file");
        put("a/workers/w.worker", "[Worker]\nExec=%C/w.worker\n");
        load();
        assert_error("a/workers/w.worker", 2, "is not executable");
        put("a/workers/w.worker", "[Worker]\nExec=/bin/sh -c 'echo \"a b\" # c; d' \"\" x\\ty \\x41 a\"b c\"d\n");
        load_clean();
        char *const *e = type("w")->exec;
        ck_assert_uint_eq(strv_length(e), 7);
        ck_assert_str_eq(e[2], "echo \"a b\" # c; d");
        ck_assert_str_eq(e[3], "");
        ck_assert_str_eq(e[4], "x\ty");
        ck_assert_str_eq(e[5], "A");
        ck_assert_str_eq(e[6], "ab cd");
        /* the last one counts, also from a drop-in */
        put("b/workers/w.worker.d/x.conf", "[Worker]\nExec=/bin/echo hi\n");
        load_clean();
        ck_assert_str_eq(type("w")->exec[0], "/bin/echo");
        ck_assert_uint_eq(strv_length(type("w")->exec), 2);
}
END_TEST

START_TEST(specifiers) {
        _cleanup_free_ char *want = NULL, *tool = str_printf("%s/lib exec/tool", base);

        put("lib exec/tool", "#!/bin/sh\n");
        ck_assert_int_eq(chmod(tool, 0755), 0);
        want = str_printf("%s/lib exec", base);
        setenv("FLOWD_LIBEXEC", want, 1);
        put("a/workers/w.worker", "[Worker]\nExec=%L/tool %C %t %S 100%% \"%t x\"\nWorkingDirectory=%C\nEnvironment=D=%C\n");
        put("b/workers/w.worker.d/e.conf", "[Worker]\nEnvironment=E=%C\n");
        load_clean();
        const WorkerType *t = type("w");
        ck_assert_str_eq(t->exec[0], tool);
        ck_assert_str_eq(t->exec[2], "/run/x");
        ck_assert_str_eq(t->exec[3], "/var/x");
        ck_assert_str_eq(t->exec[4], "100%");
        ck_assert_str_eq(t->exec[5], "/run/x x");
        free(want);
        want = str_printf("D=%s/a/workers", base);
        ck_assert_str_eq(t->environment[0], want);
        ck_assert_str_eq(t->exec[1], want + 2);
        ck_assert_str_eq(t->working_directory, want + 2);
        free(want);
        want = str_printf("E=%s/b/workers/w.worker.d", base);
        ck_assert_str_eq(t->environment[1], want);
        unsetenv("FLOWD_LIBEXEC");
        refused_worker("Environment=A=%n", "Environment=A=%n: unknown specifier %n; %L (");
        refused_worker("Environment=A=%", "unknown specifier %");
        refused_worker("WorkingDirectory=%x", "unknown specifier %x");
}
END_TEST

START_TEST(user) {
        if (geteuid() != 0) {
                refused_worker("User=root", "User=root: only root can run workers as another user");
                _cleanup_free_ char *line = str_printf("User=%u\n", geteuid());
                put_worker(line);
                load_clean();
                ck_assert_uint_eq(type("w")->uid, (uid_t) -1);
                return;
        }
        put_worker("User=daemon\n");
        load_clean();
        const WorkerType *t = type("w");
        struct passwd *pw = getpwnam("daemon");
        ck_assert_uint_eq(t->uid, pw->pw_uid);
        ck_assert_uint_eq(t->gid, pw->pw_gid);
        ck_assert_str_eq(t->user, "daemon");
        ck_assert_str_eq(t->home, pw->pw_dir);
        ck_assert_uint_ge(t->n_groups, 1);
        put_worker("User=1\n");
        load_clean();
        ck_assert_str_eq(type("w")->user, "daemon");
        /* the default's turn, in the system's instance only; told once */
        put_worker("");
        put("a/workers/v.worker", "[Worker]\nExec=/bin/cat\n");
        put("a/flowd.conf", "[Flowd]\nDefaultUser=no-such-user\n");
        load_clean();
        load_mode(RUN_SYSTEM);
        assert_error("a/workers/v.worker", 0, "the user no-such-user that workers run as does not exist; run systemd-sysusers");
        ck_assert_uint_eq(config->n_errors, 1);
        put("a/flowd.conf", "[Flowd]\nDefaultUser=daemon\n");
        load_mode(RUN_SYSTEM);
        ck_assert_uint_eq(config->n_messages, 0);
        ck_assert_str_eq(type("v")->user, "daemon");
}
END_TEST

/* --------------------------------------------------------------------------------------------------------------------- syntax */

START_TEST(lists) {
        char *const *e;

        put_worker("Environment=A=1 \"B=x y\"\nEnvironment=C=3 'D=\"q\"'\nPassEnvironment=X\nPassEnvironment=Y Z\n");
        put("c/workers/w.worker.d/10.conf", "[Worker]\nEnvironment=A=9\nPassEnvironment=\nPassEnvironment=W\n");
        load_clean();
        e = type("w")->environment;
        ck_assert_uint_eq(strv_length(e), 4);
        ck_assert_str_eq(e[0], "A=9"); /* the later value, in the earlier one's place */
        ck_assert_str_eq(e[1], "B=x y");
        ck_assert_str_eq(e[3], "D=\"q\"");
        ck_assert_uint_eq(strv_length(type("w")->pass_environment), 1);
        ck_assert_str_eq(type("w")->pass_environment[0], "W");
        put("c/workers/w.worker.d/10.conf", "[Worker]\nEnvironment=\n");
        load_clean();
        ck_assert_uint_eq(strv_length(type("w")->environment), 0);
}
END_TEST

START_TEST(resets) {
        put_worker("Slots=5\nStartTimeout=1s\nWorkingDirectory=/tmp\nProtocol=jsonl\nReady=explicit\n"
                   "Slots=\nStartTimeout=\nWorkingDirectory=\nProtocol=\nReady= \n");
        load_clean();
        const WorkerType *t = type("w");
        ck_assert_uint_eq(t->slots, 1);
        ck_assert_uint_eq(t->start_timeout_usec, 30 * USEC_PER_SEC);
        ck_assert_str_ne(t->working_directory, "/tmp");
        ck_assert_int_eq(t->protocol, PROTOCOL_FRAME);
        ck_assert(!t->ready_explicit);
        put("a/flowd.conf", "[Flowd]\nAdminGroup=root\nAdminGroup=\nLogLevel=debug\nLogLevel=\n");
        load_clean();
        ck_assert_str_eq(config->admin_group, "flowd-admin");
        ck_assert_int_eq(config->log_level, LOG_INFO);
        put_pool("Max=7\nMax=\nTier=hot\nTier=\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, pool_default_max(0));
        ck_assert_int_eq(pool("p")->tier, TIER_WARM);
}
END_TEST

START_TEST(comments_and_continuation) {
        put("a/workers/w.worker",
            "# comment\n; comment\n\n   [Worker]  \n  Exec = /bin/echo a \\\n   b\\\n# between\n; too\n  c ; no comment # here\n"
            "\tEnvironment=A=\\\n\n  Slots\t=\t3  \nStopTimeout=1\\\n");
        put("a/pools/p.pool", "[Pool]\nWorker=\\\nw\nMin=\\\nx\n");
        load();
        assert_error("a/pools/p.pool", 4, "Min=x: not a number");
        ck_assert_uint_eq(config->n_messages, 1);
        char *const *e = type("w")->exec;
        ck_assert_uint_eq(strv_length(e), 9);
        ck_assert_str_eq(e[1], "a");
        ck_assert_str_eq(e[2], "b");
        ck_assert_str_eq(e[3], "c");
        ck_assert_str_eq(e[4], ";");
        ck_assert_str_eq(e[7], "#");
        ck_assert_uint_eq(type("w")->slots, 3);
        ck_assert_str_eq(type("w")->environment[0], "A=");
        ck_assert_uint_eq(type("w")->stop_timeout_usec, USEC_PER_SEC);
        /* ends in a comment behind a continued line; an escaped backslash continues nothing */
        put("a/pools/p.pool", "[Pool]\nWorker=w\nMax=5 \\\n# the end");
        put_worker("Environment=A=\\\\\nSlots=2\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 5);
        ck_assert_str_eq(type("w")->environment[0], "A=\\");
        ck_assert_uint_eq(type("w")->slots, 2);
}
END_TEST

START_TEST(sections_merge) {
        put("a/workers/w.worker", "[Worker]\nSlots=1\n[X-Note]\nSlots=5\n[Worker]\nExec=/bin/cat\nX-Owner=me\nSlots=2\n");
        load_clean();
        ck_assert_uint_eq(type("w")->slots, 2);
}
END_TEST

START_TEST(crlf_and_bom) {
        put("a/workers/w.worker", "\xef\xbb\xbf[Worker]\r\nExec=/bin/echo a \\\r\nb\r\nSlots=2\r\n");
        load_clean();
        ck_assert_str_eq(type("w")->exec[2], "b");
        ck_assert_uint_eq(type("w")->slots, 2);
}
END_TEST

START_TEST(syntax_errors) {
        put("a/workers/w.worker",
            "Early=1\n[Worker\nx\n=5\n[]\n[Worker] x\n[Worker]\nExec=/bin/cat\nSlots 5\n[Worker]\nSlots=\x01\nSlots=\xff\n");
        load();
        assert_error("a/workers/w.worker", 1, "Early=: stands before any section; [Worker] is expected above it");
        assert_error("a/workers/w.worker", 2, "no closing bracket");
        assert_error("a/workers/w.worker", 3, "x: expected KEY=VALUE or [Section]");
        assert_error("a/workers/w.worker", 4, "=5: there is no key");
        assert_error("a/workers/w.worker", 5, "the section has no name");
        assert_error("a/workers/w.worker", 6, "text behind the section header");
        assert_error("a/workers/w.worker", 9, "Slots 5: expected KEY=VALUE");
        assert_error("a/workers/w.worker", 11, "control character 0x01");
        assert_error("a/workers/w.worker", 12, "invalid UTF-8");
        ck_assert_uint_eq(config->n_messages, 9);
        for (size_t i = 1; i < config->n_messages; i++)
                ck_assert_uint_le(config->messages[i - 1].line, config->messages[i].line);
        ck_assert_str_eq(type("w")->exec[0], "/bin/cat");
        put_bytes("a/workers/w.worker", "[Worker]\nExec=/bin/cat\0x\nSlots=1\n", 33);
        load();
        assert_error("a/workers/w.worker", 2, "a NUL byte");
}
END_TEST

START_TEST(unknown) {
        put_worker("Enviroment=A=1\nStartTimout=1s\nSlot=3\nTier=hot\nColour=red\nslots=2\n[Pool]\nA=1\nB=2\n");
        load();
        ck_assert_uint_eq(config->n_errors, 0);
        assert_warning("a/workers/w.worker", 3, "Enviroment=: unknown key in [Worker], ignored; did you mean Environment=?");
        assert_warning("a/workers/w.worker", 4, "did you mean StartTimeout=?");
        assert_warning("a/workers/w.worker", 5, "did you mean Slots=?");
        assert_warning("a/workers/w.worker", 6, "Tier=: is a key of [Pool], not of [Worker]");
        assert_warning("a/workers/w.worker", 7, "Colour=: unknown key in [Worker], ignored");
        assert_warning("a/workers/w.worker", 8, "did you mean Slots=?");
        assert_warning("a/workers/w.worker", 10, "[Pool]: unknown section, ignored; [Worker] is read here");
        ck_assert_uint_eq(config->n_messages, 7);
        ck_assert_ptr_null(strstr(config->messages[4].text, "mean"));
        ck_assert_uint_eq(type("w")->slots, 1);
}
END_TEST

START_TEST(bounds) {
        _cleanup_free_ char *big = malloc(CONFIG_FILE_MAX + 100), *text = NULL;
        size_t n;

        memset(big, 'x', CONFIG_FILE_MAX + 99);
        big[CONFIG_VALUE_MAX - 2] = 0;
        text = str_printf("Environment=A=%s\n", big); /* exactly the limit */
        put_worker(text);
        load_clean();
        ck_assert_uint_eq(strlen(type("w")->environment[0]), CONFIG_VALUE_MAX);
        free(text);
        text = str_printf("Environment=A=%sx\nSlots=2\n", big);
        refused_worker(text, "Environment=: the value has 8001 bytes, at most 8000 are allowed");
        ck_assert_uint_eq(type("w")->slots, 2);

        big[CONFIG_VALUE_MAX - 2] = 'x';
        big[CONFIG_FILE_MAX + 1] = 0;
        put("a/workers/w.worker", big);
        load();
        assert_error("a/workers/w.worker", 0, "is larger than 1048576 bytes");

        /* lines without end of every kind: it must come to an end itself, with a bounded number of messages */
        n = 0;
        for (unsigned i = 0; n + 20 < CONFIG_FILE_MAX; i++)
                n += (size_t) sprintf(big + n, "%s", i % 3 == 0 ? "[\n" : i % 3 == 1 ? "a=1\n" : "b\n");
        put("a/workers/w.worker", big);
        load();
        ck_assert_uint_gt(config->n_errors, 0);
        ck_assert_uint_le(config->n_messages, CONFIG_MESSAGES_MAX + 1);

        /* one line, continued through the whole file */
        n = (size_t) sprintf(big, "[Worker]\nExec=");
        while (n + 20 < CONFIG_FILE_MAX)
                n += (size_t) sprintf(big + n, "x\\\n");
        put("a/workers/w.worker", big);
        load();
        assert_error("a/workers/w.worker", 2, "at most 8000 are allowed");

        memset(big, '[', 1000);
        big[1000] = 0;
        put("a/workers/w.worker", big);
        load();
        assert_error("a/workers/w.worker", 1, "the section header is longer than 100 bytes");
}
END_TEST

START_TEST(too_many_units) {
        put_worker("");
        for (unsigned i = 0; i <= CONFIG_UNITS_MAX; i++) {
                _cleanup_free_ char *path = str_printf("a/pools/p%u.pool", i);
                put(path, "[Pool]\nWorker=w\n");
        }
        load();
        assert_error("a/pools", 0, "more than 4096 files *.pool");
        ck_assert_uint_le(config->n_pools, CONFIG_UNITS_MAX);
}
END_TEST

/* --------------------------------------------------------------------------------------------------------------------- lookup */

START_TEST(precedence) {
        put_worker("");
        put("a/pools/p.pool", "[Pool]\nWorker=w\nMax=3\nQueueMax=5\n");
        put("b/pools/p.pool", "[Pool]\nWorker=w\nMax=4\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 4);
        ck_assert_uint_eq(pool("p")->queue_max, 10000); /* the file counts whole */
        put("c/pools/p.pool", "[Pool]\nWorker=w\nMax=5\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 5);
        put("a/flowd.conf", "[Flowd]\nJsonMax=1M\nStderrRate=5\n");
        put("c/flowd.conf", "[Flowd]\nJsonMax=2M\n");
        load_clean();
        ck_assert_uint_eq(config->json_max, 2 << 20);
        ck_assert_uint_eq(config->stderr_rate, 1000);
}
END_TEST

START_TEST(masking) {
        put_worker("");
        put("a/pools/p.pool", "[Pool]\nWorker=w\n");
        put("a/pools/q.pool", "[Pool]\nWorker=w\n");
        put("a/pools/p.pool.d/x.conf", "[Pool]\nMax=2\n");
        put("b/pools/p.pool", "");
        put_link("c/pools/q.pool", "/dev/null");
        load_clean();
        ck_assert_uint_eq(config->n_pools, 0);
        put("c/pools/p.pool", "[Pool]\nWorker=w\n"); /* above the mask */
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 2);
        /* drop-ins are masked one by one */
        put_link("c/pools/p.pool.d/x.conf", "/dev/null");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, pool_default_max(0));
        put("a/flowd.conf", "[Flowd]\nJsonMax=1M\n");
        put_link("b/flowd.conf", "/dev/null");
        load_clean();
        ck_assert_uint_eq(config->json_max, 8 << 20);
        /* a masked type is none */
        put_link("b/workers/w.worker", "/dev/null");
        load();
        assert_error("c/pools/p.pool", 2, "no such worker type");
}
END_TEST

START_TEST(dropins) {
        put_pool("Max=1\n");
        put("a/pools/p.pool.d/50-x.conf", "[Pool]\nMax=5\nQueueMax=50\n");
        put("c/pools/p.pool.d/10-y.conf", "[Pool]\nMax=6\nIdleTimeout=1s\n");
        put("a/flowd.conf.d/a.conf", "[Flowd]\nJsonMax=1M\n"); /* needs no flowd.conf */
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 5); /* by name, not by directory */
        ck_assert_uint_eq(pool("p")->idle_timeout_usec, USEC_PER_SEC);
        ck_assert_uint_eq(config->json_max, 1 << 20);
        put("b/pools/p.pool.d/50-x.conf", "[Pool]\nMax=7\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 7);
        ck_assert_uint_eq(pool("p")->queue_max, 10000); /* the lower file of that name is gone */
        put("b/pools/p.pool.d/60.conf", "[Pool]\nMin=99\n");
        load();
        assert_error("b/pools/p.pool.d/60.conf", 2, "Min=99: is above Max=7");
        put("b/pools/p.pool.d/60.conf", "[Pool]\nMax=x\n");
        load();
        assert_error("b/pools/p.pool.d/60.conf", 2, "Max=x: not a number");
}
END_TEST

START_TEST(dropins_alone) {
        put_worker("");
        put("b/pools/lost.pool.d/x.conf", "[Pool]\nWorker=w\n");
        load();
        ck_assert_uint_eq(config->n_pools, 0);
        assert_warning("b/pools/lost.pool.d", 0, "there is no lost.pool");
        ck_assert_uint_eq(config->n_errors, 0);
}
END_TEST

START_TEST(names) {
        put_worker("");
        put("a/pools/.hidden.pool", "junk");
        put("a/pools/p.pool~", "junk");
        put("a/pools/p.pool.dpkg-new", "junk");
        put("a/pools/.pool", "junk");
        put("a/pools/README", "junk");
        load_clean();
        put("a/pools/two words.pool", "junk");
        put("a/pools/-x.pool", "junk");
        put("a/pools/evil\033[31m.pool", "junk");
        load();
        ck_assert_uint_eq(config->n_pools, 0);
        ck_assert_uint_eq(config->n_errors, 0);
        ck_assert_uint_eq(config->n_messages, 3);
        assert_warning("a/pools/two words.pool", 0, "ignored: a name has letters");
        assert_warning("a/pools/evil?[31m.pool", 0, "ignored");
}
END_TEST

START_TEST(odd_files) {
        _cleanup_free_ char *fifo = str_printf("%s/a/pools/f.pool", base), *secret = str_printf("%s/a/pools/s.pool", base);

        put_worker("");
        put("a/pools/d.pool/x", "");
        put("a/workers/w.worker.d/x.conf/y", "");
        put_link("a/pools/l.pool", "nowhere");
        ck_assert_int_eq(mkfifo(fifo, 0644), 0);
        load();
        ck_assert_uint_eq(config->n_messages, 4);
        assert_warning("a/pools/d.pool", 0, "is a directory, not a file; ignored");
        assert_warning("a/workers/w.worker.d/x.conf", 0, "is a directory");
        assert_warning("a/pools/f.pool", 0, "is something else, not a file");
        assert_error("a/pools/l.pool", 0, "is a link to nothing");
        if (geteuid() == 0)
                return;
        put("a/pools/s.pool", "[Pool]\nWorker=w\n");
        ck_assert_int_eq(chmod(secret, 0), 0);
        load();
        assert_error("a/pools/s.pool", 0, "cannot be read: Permission denied");
}
END_TEST

START_TEST(directory_is_file) {
        put("a/pools", "x");
        load();
        assert_error("a/pools", 0, "cannot be read: Not a directory");
}
END_TEST

/* --------------------------------------------------------------------------------------------------- printing and comparing */

START_TEST(printing) {
        _cleanup_free_ char *text = NULL, *want = NULL;

        put("a/workers/w.worker", "[Worker]\nExec=/bin/echo %%x \\\n \"a b\"\nEnvironment=A=1\nSlots=1\nStopTimeout=1s\n");
        put("b/workers/w.worker.d/o.conf", "[Worker]\nEnvironment=B=2\nSlots=2\nStopTimeout=\n");
        put("a/pools/p.pool", "[Pool]\nWorker=w\n");
        load_clean();
        ck_assert_int_eq(config_print(config, "w.worker", &text), 0);
        want = str_printf("# w.worker\n[Worker]\n# %1$s/a/workers/w.worker:2\nExec=/bin/echo %%%%x  \"a b\"\n"
                          "# %1$s/a/workers/w.worker:4\nEnvironment=A=1\n# %1$s/b/workers/w.worker.d/o.conf:2\nEnvironment=B=2\n"
                          "# %1$s/b/workers/w.worker.d/o.conf:3\nSlots=2\n", base);
        ck_assert_str_eq(text, want);
        free(TAKE_PTR(text));
        free(want);
        ck_assert_int_eq(config_print(config, NULL, &text), 0);
        ck_assert_ptr_nonnull(strstr(text, "# flowd.conf\n# nothing is set"));
        want = str_printf("\n# p.pool\n[Pool]\n# %s/a/pools/p.pool:2\nWorker=w\n", base);
        ck_assert_ptr_nonnull(strstr(text, want));
        ck_assert_int_eq(config_print(config, "x.pool", &text), -ENOENT);
        ck_assert_int_eq(config_print(config, "p", &text), -ENOENT);
}
END_TEST

START_TEST(message_format) {
        ConfigMessage m = { .error = true, .file = (char *) "/x/a.pool", .line = 7, .text = (char *) "Min=abc: not a number" };
        _cleanup_free_ char *a = config_message_format(&m), *b = NULL, *c = NULL;

        ck_assert_str_eq(a, "/x/a.pool:7: error: Min=abc: not a number");
        m.line = 0;
        m.error = false;
        b = config_message_format(&m);
        ck_assert_str_eq(b, "/x/a.pool: warning: Min=abc: not a number");
        m.file = NULL;
        c = config_message_format(&m);
        ck_assert_str_eq(c, "warning: Min=abc: not a number");
}
END_TEST

/* Each line makes another type, or pool, of it. */
START_TEST(equality) {
        static const char *const worker_lines[] = {
                "Exec=/bin/cat -u", "Protocol=jsonl", "Protocol=exec\nOutput=text", "Protocol=jsonl\nReady=explicit", "Slots=2",
                "StartTimeout=1s", "StopTimeout=1s", "JobTimeout=1s", "CancelTimeout=1s", "DrainTimeout=1s",
                "HeartbeatInterval=1s", "Environment=A=1", "PassEnvironment=A", "WorkingDirectory=/tmp", "LimitNOFILE=9",
                "LimitNOFILE=9:10", "PayloadMax=1M", "ResultMax=1M", "MemoryMax=1G", "TasksMax=5", "CPUWeight=5", "MaxJobs=5",
                "MaxAge=1h", "MaxRSS=1G", "MaxCrashes=5",
        }, *const pool_lines[] = {
                "Tier=hot", "Min=1", "Max=77", "IdleTimeout=1s", "QueueMax=1", "QueueBytesMax=1M", "RestartDelay=1s",
                "RestartDelayMax=1s", "HealthyAfter=1s", "BreakerCrashes=1", "BreakerWindow=1s", "BreakerCooldown=1s",
        };
        _cleanup_(config_freep) Config *first = NULL;

        put_pool("");
        load_clean();
        first = TAKE_PTR(config);
        load_clean();
        ck_assert(worker_type_equal(type("w"), first->types[0]));
        ck_assert(pool_config_equal(pool("p"), first->pools[0]));
        for (size_t i = 0; i < ELEMENTSOF(worker_lines); i++) {
                put_worker(worker_lines[i]);
                load_clean();
                ck_assert_msg(!worker_type_equal(type("w"), first->types[0]), "%s", worker_lines[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(pool_lines); i++) {
                put_pool(pool_lines[i]);
                load_clean();
                ck_assert_msg(!pool_config_equal(pool("p"), first->pools[0]), "%s", pool_lines[i]);
        }
        if (geteuid() == 0) {
                put_worker("User=daemon");
                load_clean();
                ck_assert(!worker_type_equal(type("w"), first->types[0]));
        }
}
END_TEST

/* ---------------------------------------------------------------------------------------------------------------------- paths */

START_TEST(paths_private) {
        _cleanup_(config_paths_done) ConfigPaths p = {};
        _cleanup_free_ char *cwd = getcwd(NULL, 0), *want = str_printf("%s/conf/x", streq(cwd, "/") ? "" : cwd);

        ck_assert_int_eq(config_paths_init(&p, RUN_PRIVATE, "/c", NULL, "/s"), -EINVAL);
        ck_assert_str_eq(config_paths_missing(NULL, NULL, NULL), "--config=");
        ck_assert_str_eq(config_paths_missing("/c", NULL, "/s"), "--runtime=");
        ck_assert_str_eq(config_paths_missing("/c", "/r", ""), "--state=");
        ck_assert_ptr_null(config_paths_missing("/c", "/r", "/s"));
        setenv("FLOWD_RUNTIME", "/from/environment", 1);
        ck_assert_int_eq(config_paths_init(&p, RUN_PRIVATE, "./conf/x/", NULL, "/s//"), 0);
        ck_assert_uint_eq(strv_length(p.dirs), 1);
        ck_assert_str_eq(p.dirs[0], want);
        ck_assert_str_eq(p.runtime, "/from/environment");
        ck_assert_str_eq(p.state, "/s");
        config_paths_done(&p);
        ck_assert_int_eq(config_paths_init(&p, RUN_PRIVATE, "/c", "/argument", "/s"), 0);
        ck_assert_str_eq(p.runtime, "/argument");
        ck_assert_int_eq(config_paths_init(&p, RUN_PRIVATE, "/c",
                                           "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                           "aaaaaaaaaaaaaaaaaaaa",
                                           "/s"),
                         -ENAMETOOLONG);
}
END_TEST

START_TEST(paths_system_and_user) {
        _cleanup_(config_paths_done) ConfigPaths p = {}, u = {}, v = {};

        ck_assert_int_eq(config_paths_init(&p, RUN_SYSTEM, NULL, NULL, NULL), 0);
        ck_assert_uint_eq(strv_length(p.dirs), 3);
        ck_assert_str_eq(p.dirs[0], PKGLIBDIR);
        ck_assert_str_eq(p.dirs[1], SYSCONFDIR "/flowd");
        ck_assert_str_eq(p.dirs[2], RUNSTATEDIR "/flowd");
        ck_assert_str_eq(p.runtime, RUNSTATEDIR "/flowd");
        setenv("HOME", "/home/x", 1);
        setenv("XDG_RUNTIME_DIR", "/run/user/5", 1);
        setenv("XDG_STATE_HOME", "relative is no value", 1);
        unsetenv("XDG_CONFIG_HOME");
        ck_assert_int_eq(config_paths_init(&u, RUN_USER, NULL, NULL, NULL), 0);
        ck_assert_uint_eq(strv_length(u.dirs), 4);
        ck_assert_str_eq(u.dirs[0], PKGLIBDIR "/user");
        ck_assert_str_eq(u.dirs[1], SYSCONFDIR "/flowd/user");
        ck_assert_str_eq(u.dirs[2], "/home/x/.config/flowd");
        ck_assert_str_eq(u.dirs[3], "/run/user/5/flowd/config");
        ck_assert_str_eq(u.runtime, "/run/user/5/flowd");
        ck_assert_str_eq(u.state, "/home/x/.local/state/flowd");
        unsetenv("XDG_RUNTIME_DIR");
        setenv("XDG_CONFIG_HOME", "/xdg", 1);
        ck_assert_int_eq(config_paths_init(&v, RUN_USER, NULL, NULL, "/elsewhere"), 0);
        ck_assert_int_eq(strncmp(v.runtime, "/run/user/", 10), 0);
        ck_assert_str_eq(v.dirs[2], "/xdg/flowd");
        ck_assert_str_eq(v.state, "/elsewhere");
}
END_TEST

int main(void) {
        Suite *s = suite_create("config");
        TCase *c = tcase_create("config");

        tcase_add_checked_fixture(c, setup, teardown);
        tcase_set_timeout(c, 60);
        tcase_add_test(c, empty_directories);
        tcase_add_test(c, missing_directory);
        tcase_add_test(c, flowd_keys);
        tcase_add_test(c, flowd_refused);
        tcase_add_test(c, worker_defaults);
        tcase_add_test(c, worker_keys);
        tcase_add_test(c, worker_refused);
        tcase_add_test(c, limits);
        tcase_add_test(c, limits_of_our_own);
        tcase_add_test(c, pool_defaults);
        tcase_add_test(c, pool_keys);
        tcase_add_test(c, pool_refused);
        tcase_add_test(c, no_types);
        tcase_add_test(c, worker_contradictions);
        tcase_add_test(c, exec);
        tcase_add_test(c, specifiers);
        tcase_add_test(c, user);
        tcase_add_test(c, lists);
        tcase_add_test(c, resets);
        tcase_add_test(c, comments_and_continuation);
        tcase_add_test(c, sections_merge);
        tcase_add_test(c, crlf_and_bom);
        tcase_add_test(c, syntax_errors);
        tcase_add_test(c, unknown);
        tcase_add_test(c, bounds);
        tcase_add_test(c, too_many_units);
        tcase_add_test(c, precedence);
        tcase_add_test(c, masking);
        tcase_add_test(c, dropins);
        tcase_add_test(c, dropins_alone);
        tcase_add_test(c, names);
        tcase_add_test(c, odd_files);
        tcase_add_test(c, directory_is_file);
        tcase_add_test(c, printing);
        tcase_add_test(c, message_format);
        tcase_add_test(c, equality);
        tcase_add_test(c, paths_private);
        tcase_add_test(c, paths_system_and_user);
        suite_add_tcase(s, c);

        SRunner *r = srunner_create(s);
        srunner_run_all(r, CK_NORMAL);
        int failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed > 0;
}
