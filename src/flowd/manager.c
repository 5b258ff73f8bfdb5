/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The manager. READY=1 is sent when every hot pool is full, or has shown that it cannot be (then STATUS= says degraded), so that one broken
 * pool never keeps the others down. The watchdog is fed from the loop, and only while no pool has both a queue and an idle worker for a
 * whole interval. Stopping closes the pools: what they have in hand and in their queues gets ShutdownTimeout=, then everything is stopped.
 */

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>
#include <json-c/json.h>
#include <systemd/sd-daemon.h>

#include "basic/fd.h"
#include "flowd/manager.h"
#include "flowd/persist.h"
#include "pool/durable.h"
#include "worker/mcp-catalog.h"

#define TICK_USEC (1 * USEC_PER_SEC)
#define STORE_POLL_USEC (5 * USEC_PER_MSEC) /* at the very end */
#define LISTEN_RETRY_USEC (500 * USEC_PER_MSEC)
#define LISTEN_POLL_USEC 10000U
#define EXTEND_USEC (10 * USEC_PER_SEC) /* asked of systemd while draining, each tick */

static void on_changed(Defer *d);
static void on_tick(Timer *t);

void manager_notify(Manager *m, const char *format, ...) {
        char text[512];
        va_list ap;

        (void) m;
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        (void) sd_notify(0, text);
}

Pool *manager_pool(Manager *m, const char *name) {
        return map_get_name(&m->pools_by_name, name, Pool, by_name);
}

const char *manager_intern(Manager *m, const char *name) {
        LIST_FOREACH(l, &m->names) {
                PoolName *n = list_entry(l, PoolName, link);

                if (streq(n->name, name))
                        return n->name;
        }
        PoolName *n = malloc(sizeof(PoolName) + strlen(name) + 1);
        if (!n)
                return NULL;
        strcpy(n->name, name);
        list_append(&m->names, &n->link);
        return n->name;
}

static void pool_changed(Pool *p) {
        Manager *m = p->userdata;

        hot_defer(&m->host.hot, &m->changed);
}

static void on_pool_touched(Pool *p) {
        persist_touched(p->userdata, true);
}

static void on_pool_catalog(Pool *p, struct McpCatalog *c) {
        Manager *m = p->userdata;

        (void) c;
        mcp_server_catalog(&m->mcp);
        persist_touched(m, true);
}

static void on_pool_notify(Pool *p, Worker *w, const char *text, size_t size) {
        Manager *m = p->userdata;

        mcp_server_notify(&m->mcp, p, w, text, size);
}

int manager_add_pool(Manager *m, PoolConfig *config, Pool **ret) {
        const char *name = manager_intern(m, config->name);
        Pool *p;
        int r;

        if (!name)
                return -ENOMEM;
        r = pool_new(&m->host, &m->jobs, config, name, &p);
        if (r < 0)
                return r;
        p->sessions = &m->sessions;
        p->changed = pool_changed;
        p->touched = on_pool_touched;
        p->catalog = on_pool_catalog;
        p->notify = on_pool_notify;
        p->userdata = m;
        r = map_add_name(&m->pools_by_name, &p->by_name, name);
        if (r < 0) {
                pool_free(p);
                return r;
        }
        list_append(&m->pools, &p->link);
        route_pools_changed(&m->router);
        *ret = p;
        return 0;
}

static void remove_pool(Manager *m, Pool *p) {
        map_remove(&m->pools_by_name, &p->by_name);
        route_pools_changed(&m->router);
        pool_free(p);
}

void manager_start_pools(Manager *m) {
        LIST_FOREACH(l, &m->pools)
                pool_start(list_entry(l, Pool, link)); /* for one that has begun it means nothing */
}

void manager_apply_limits(Manager *m) {
        const Config *c = m->config;

        m->host.json_max = c->json_max;
        m->host.stderr_rate = c->stderr_rate;
        m->host.stderr_interval_usec = c->stderr_interval_usec;
        m->host.inbound_max = c->inbound_max;
        m->host.memory_budget = c->memory_budget;
        m->server.sessions = &m->sessions;
        m->sessions.max = c->sessions_max;
        m->sessions.ttl_usec = c->session_ttl_usec;
        session_table_trim(&m->sessions);
        m->jobs.results_max = c->results_max;
        m->jobs.results_count_max = c->results_count_max;
        m->server.limits = (ServerLimits) {
                .connections_max = c->connections_max,
                .connections_per_user = c->connections_per_user,
                .jobs_per_client = c->jobs_per_client,
                .rate = c->client_rate_limit,
                .burst = c->client_rate_burst,
                .json_max = c->json_max,
                .client_buffer_max = c->client_buffer_max,
        };
        m->mcp.limits = (McpLimits) {
                .connections_max = c->connections_max,
                .connections_per_user = c->connections_per_user,
                .jobs_per_client = c->jobs_per_client,
                .json_max = c->json_max,
                .client_buffer_max = c->client_buffer_max,
        };
        m->server.auth = (AuthConfig) {
                .own_uid_is_admin = m->paths.mode != RUN_SYSTEM,
                .observe_gid = c->observe_gid,
                .submit_gid = c->submit_gid,
                .admin_gid = c->admin_gid,
                .observe_group = c->observe_group,
                .submit_group = c->submit_group,
                .admin_group = c->admin_group,
        };
        m->mcp.auth = m->server.auth;
        job_table_trim(&m->jobs);
        flow_configure(m->flow, &c->flow);
        manager_configure_store(m);
}

/* --- readiness, status, watchdog --- */

static bool is_broken(const Pool *p) {
        return p->state == POOL_DEGRADED || p->state == POOL_FAILED || (p->state == POOL_INITIALIZING && p->settled && p->config->tier == TIER_HOT);
}

const char *manager_state(const Manager *m) {
        bool degraded = m->config_error || (m->store && store_health(m->store) > STORE_OFF);

        if (m->stopping)
                return "stopping";
        if (!m->ready)
                return "starting";
        LIST_FOREACH(l, (List *) &m->pools) {
                degraded |= is_broken(list_entry(l, Pool, link));
        }
        return degraded ? "degraded" : "running";
}

void manager_summary(const Manager *m, char *buf, size_t size) {
        unsigned pools = 0, workers = 0, running = 0, queued = 0;
        char bad[128] = "";

        LIST_FOREACH(l, (List *) &m->pools) {
                const Pool *p = list_entry(l, Pool, link);

                pools++;
                workers += p->n_usable;
                running += p->n_running;
                queued += p->n_queued + p->n_waiting;
                if (is_broken(p) && strlen(bad) < sizeof(bad) / 2)
                        snprintf(bad + strlen(bad), sizeof(bad) - strlen(bad), "%s%s", bad[0] ? ", " : ": ", p->name);
        }
        StoreHealth health = m->store ? store_health(m->store) : STORE_OFF;

        snprintf(buf, size, "%s%s; %u pool%s, %u worker%s, %u job%s running, %u queued%s%s%s", manager_state(m), bad, pools, plural(pools),
                 workers, plural(workers), running, plural(running), queued,
                 m->config_error ? "; the last reload was refused" : "", health > STORE_OFF ? "; the store is " : "",
                 health > STORE_OFF ? store_health_to_string(health) : "");
}

static void tell_status(Manager *m) {
        char text[sizeof(m->status)];

        manager_summary(m, text, sizeof(text));
        if (streq(text, m->status))
                return;
        memcpy(m->status, text, sizeof(text));
        manager_notify(m, "STATUS=%s", text);
}

static void check_ready(Manager *m) {
        if (m->ready || m->stopping)
                return;
        LIST_FOREACH(l, &m->pools) {
                Pool *p = list_entry(l, Pool, link);

                if (p->config->tier == TIER_HOT && !p->settled)
                        return;
        }
        m->ready = true;
        event_send(&m->host, EVENT_STARTED, NULL, "flowd " PACKAGE_VERSION " is %s", manager_state(m));
        manager_notify(m, "READY=1");
}

static void on_changed(Defer *d) {
        Manager *m = CONTAINER_OF(d, Manager, changed);
        bool gone = false;

        LIST_FOREACH_SAFE(l, n, &m->pools) {
                Pool *p = list_entry(l, Pool, link);

                if (p->state == POOL_CLOSING && pool_empty(p)) {
                        remove_pool(m, p);
                        gone = true;
                }
        }
        if (gone) {
                server_pool_gone(&m->server);
                mcp_server_pool_gone(&m->mcp);
        }
        if (m->stopping && list_empty(&m->pools) && (!m->store || store_pending(m->store) == 0 || now_usec() >= m->stop_until)) {
                (void) sd_event_exit(m->host.event, 0);
                return;
        }
        if (m->stopping && list_empty(&m->pools))
                timer_arm(&m->host.timers, &m->tick, now_usec() + STORE_POLL_USEC);
        check_ready(m);
        tell_status(m);
}

/* A pool with work, a free worker and no dispatch on its way: the dispatcher stands still. */
static bool is_stuck(Manager *m) {
        LIST_FOREACH(l, &m->pools) {
                if (pool_stalled(list_entry(l, Pool, link)))
                        return true;
        }
        return false;
}

static void on_tick(Timer *t) {
        Manager *m = CONTAINER_OF(t, Manager, tick);
        uint64_t now = now_usec(), next = now + TICK_USEC;

        if (m->watchdog_usec > 0) {
                next = MIN(next, now + m->watchdog_usec / 3);
                if (!is_stuck(m) && now - m->watchdog_last >= m->watchdog_usec / 4) {
                        m->watchdog_last = now;
                        manager_notify(m, "WATCHDOG=1");
                }
        }
        if (m->stopping) {
                manager_notify(m, "EXTEND_TIMEOUT_USEC=%llu", (unsigned long long) EXTEND_USEC);
                if (now >= m->stop_until && !m->aborted) {
                        m->aborted = true;
                        LIST_FOREACH(l, &m->pools)
                                pool_abort(list_entry(l, Pool, link), "flowd is stopping");
                }
        }
        if (m->router.unsaved) {
                m->router.unsaved = false;
                persist_touched(m, false);
        }
        if (m->stopping && list_empty(&m->pools)) /* the store has something to write yet */
                next = MIN(next, now + STORE_POLL_USEC);
        durable_check_aside(&m->jobs);
        (void) session_table_expire(&m->sessions, now);
        hot_defer(&m->host.hot, &m->changed);
        timer_arm(&m->host.timers, &m->tick, next);
}

/* --- stopping --- */

static void manager_stop(Manager *m, bool at_once) {
        if (!m->stopping) {
                persist_save(m);
                m->stopping = m->server.stopping = true;
                mcp_server_stop(&m->mcp);
                flow_stop(m->flow);
                m->stop_until = now_usec() + m->config->shutdown_timeout_usec;
                manager_notify(m, "STOPPING=1");
                event_send(&m->host, EVENT_STOPPING, NULL, "flowd is stopping");
                LIST_FOREACH(l, &m->pools)
                        pool_stop(list_entry(l, Pool, link));
        } else
                at_once = true; /* asked twice */
        if (at_once)
                m->stop_until = 0;
        timer_arm(&m->host.timers, &m->tick, now_usec());
        hot_defer(&m->host.hot, &m->changed);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Manager *m = userdata;
        json_object *changed = NULL, *settings = NULL, *messages = NULL;

        (void) s;
        if (si->ssi_signo != SIGHUP) {
                manager_stop(m, si->ssi_signo == SIGQUIT);
                return 0;
        }
        m->reloads += manager_reload(m, &changed, &settings, &messages) >= 0;
        json_object_put(changed);
        json_object_put(settings);
        json_object_put(messages);
        return 0;
}

static int watch_signals(Manager *m) {
        static const int wanted[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };

        for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
                int r = sd_event_add_signal(m->host.event, &m->signals[i], wanted[i], on_signal, m);

                if (r < 0)
                        return r;
                (void) sd_event_source_set_priority(m->signals[i], PRIORITY_SIGNAL);
        }
        return 0;
}

/* --- starting --- */

static void tap(Host *h, EventKind e, const EventFields *f, const char *message) {
        Manager *m = h->userdata;

        const KeptEvent *k = event_history_add(&m->events, e, f, message);

        if (!k)
                return;
        server_event(&m->server, k);
        mcp_server_event(&m->mcp, k);
}

static void on_reaped(Reaper *r) {
        Manager *m = r->host->userdata;

        LIST_FOREACH(l, &m->pools) {
                Pool *p = list_entry(l, Pool, link);

                LIST_FOREACH_SAFE(k, n, &p->workers)
                        worker_check_gone(list_entry(k, Worker, link));
                if (p->hook.worker)
                        worker_check_gone(p->hook.worker);
        }
        if (m->host.cgroup.fd < 0)
                (void) orphans_kill(&m->host, NULL);
}

static const char *const socket_names[] = { "control", "jobs", "mcp" };

/* A flowd that was killed may have left a child on its way to execve(), which has the sockets for some moments more. */
static int listen_at(const char *path) {
        uint64_t until = now_usec() + LISTEN_RETRY_USEC;
        int fd;

        while ((fd = fd_listen_unix(path, 0666)) == -EADDRINUSE && now_usec() < until)
                (void) usleep(LISTEN_POLL_USEC);
        return fd;
}

/* The listening sockets: systemd's, or our own in the runtime directory. */
static int open_sockets(Manager *m, int *ret_control, int *ret_jobs, int *ret_mcp) {
        int *const fds[] = { ret_control, ret_jobs, ret_mcp };
        _cleanup_(strv_freep) char **given = NULL;
        int n = sd_listen_fds_with_names(1, &given), r;

        *ret_control = *ret_jobs = *ret_mcp = -1;
        for (int i = 0; i < n; i++)
                for (size_t k = 0; k < ELEMENTSOF(socket_names); k++)
                        if (streq(given[i], socket_names[k]) && *fds[k] < 0 && sd_is_socket_unix(SD_LISTEN_FDS_START + i, SOCK_STREAM, 1, NULL, 0) > 0)
                                *fds[k] = SD_LISTEN_FDS_START + i;
        r = dir_make(m->paths.runtime, 0755);
        if (r < 0) {
                fprintf(stderr, "flowd: cannot make the runtime directory %s: %s\n", m->paths.runtime, strerror(-r));
                return r;
        }
        for (size_t k = 0; k < ELEMENTSOF(socket_names); k++) {
                _cleanup_free_ char *path = str_printf("%s/%s", m->paths.runtime, socket_names[k]);

                if (!path)
                        return -ENOMEM;
                if (*fds[k] < 0) {
                        *fds[k] = listen_at(path);
                        m->own_sockets |= *fds[k] >= 0 ? 1U << k : 0;
                }
                if (*fds[k] < 0) {
                        fprintf(stderr, *fds[k] == -EADDRINUSE ? "flowd: another flowd answers at %s already\n" : "flowd: cannot listen at %s: %s\n", path,
                                strerror(-*fds[k]));
                        return *fds[k];
                }
        }
        return 0;
}

static void print_messages(Manager *m, bool to_log) {
        for (size_t i = 0; i < m->config->n_messages; i++) {
                _cleanup_free_ char *text = config_message_format(&m->config->messages[i]);

                if (to_log)
                        event_send(&m->host, EVENT_CONFIG, NULL, "%s", strna(text));
                else
                        fprintf(stderr, "%s\n", strna(text));
        }
}

static void raise_limits(void) {
        struct rlimit l;

        if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
                l.rlim_cur = l.rlim_max;
                (void) setrlimit(RLIMIT_NOFILE, &l);
        }
}

static void tell_limits(Manager *m) {
        bool wanted = false;

        for (size_t i = 0; i < m->config->n_types; i++) {
                const WorkerType *t = m->config->types[i];

                wanted |= t->memory_max != UINT64_MAX || t->memory_swap_max != UINT64_MAX || t->tasks_max != UINT64_MAX || t->cpu_weight > 0;
        }
        if (!wanted)
                return;
        if (m->host.cgroup.fd < 0)
                event_send(&m->host, EVENT_LIMITS, NULL,
                           "No cgroup was delegated to flowd: MemoryMax=, MemorySwapMax=, TasksMax= and CPUWeight= have no effect here (under systemd: "
                           "Delegate=yes)");
        else if (!m->host.cgroup.memory || !m->host.cgroup.pids || !m->host.cgroup.cpu)
                event_send(&m->host, EVENT_LIMITS, NULL,
                           "Controllers are missing in flowd's cgroup (memory: %s, pids: %s, cpu: %s): the limits that need them have no effect",
                           m->host.cgroup.memory ? "yes" : "no", m->host.cgroup.pids ? "yes" : "no", m->host.cgroup.cpu ? "yes" : "no");
}

/* --- sessions --- */

static int flow_submit(void *userdata, Job *j, const char *pool, const char *tier, char **reterr_text) {
        Manager *m = userdata;

        return route_submit(&m->router, j, &(RouteRequest) { .pool = pool, .tier = tier }, reterr_text);
}

static void flow_cancel(void *userdata, Job *j) {
        Manager *m = userdata;

        (void) pool_cancel_job(&m->jobs, j);
}

static Job *flow_find_job(void *userdata, uint64_t id) {
        Manager *m = userdata;

        return job_table_find(&m->jobs, id);
}

static void session_changed(void *userdata, const char *session) {
        Manager *m = userdata;

        mcp_server_session_changed(&m->mcp, session);
}

static const FlowOps flow_ops = { .submit = flow_submit, .cancel = flow_cancel, .find = flow_find_job, .changed = session_changed };

static int init_loop(Manager *m) {
        Host *h = &m->host;
        sigset_t mask;
        int r;

        (void) sigfillset(&mask); /* nothing but sd-event takes signals */
        (void) sigdelset(&mask, SIGSEGV);
        (void) sigdelset(&mask, SIGABRT);
        (void) sigdelset(&mask, SIGBUS);
        (void) sigdelset(&mask, SIGFPE);
        (void) sigdelset(&mask, SIGILL);
        (void) sigprocmask(SIG_SETMASK, &mask, NULL);
        (void) signal(SIGPIPE, SIG_IGN);

        r = sd_event_new(&h->event);
        if (r >= 0)
                r = hot_init(&h->hot, h->event, PRIORITY_IO);
        if (r >= 0)
                r = timer_queue_init(&h->timers, h->event, PRIORITY_TIMER);
        if (r >= 0)
                r = reaper_init(&m->reaper, h, on_reaped);
        if (r >= 0)
                r = watch_signals(m);
        map_init(&h->by_pid, random_u64());
        snprintf(h->instance, sizeof(h->instance), "%016llx", (unsigned long long) random_u64());
        h->userdata = m;
        return r;
}

static int start_fresh(Manager *m) {
        int control, jobs, mcp, r;

        r = cgroup_root_init(&m->host.cgroup);
        if (r < 0)
                log_write(m->host.log, LOG_WARNING, "The delegated cgroup cannot be used: %s; workers get no cgroups", strerror(-r));
        r = open_sockets(m, &control, &jobs, &mcp);
        if (r >= 0)
                r = server_listen(&m->server, control, jobs);
        if (r >= 0)
                r = mcp_server_listen(&m->mcp, mcp);
        for (size_t i = 0; r >= 0 && i < m->config->n_pools; i++) {
                Pool *p;

                r = manager_add_pool(m, m->config->pools[i], &p);
        }
        if (r >= 0)
                r = manager_open_store(m, false);
        if (r >= 0)
                manager_start_pools(m);
        if (r >= 0)
                tell_limits(m);
        return r;
}

int manager_init(Manager *m, const ConfigPaths *paths, LogTarget target, int log_level, char **argv, int state_fd) {
        char exe[4096];
        int r;

        *m = (Manager) { .paths = *paths, .argv = argv, .started_usec = realtime_usec() };
        m->host.cgroup.fd = m->host.hot.epoll_fd = -1; /* manager_done() comes after every failure */
        list_init(&m->pools);
        list_init(&m->names);
        list_init(&m->host.mcp_catalogs);
        m->changed.run = on_changed;
        m->tick.fire = on_tick;
        map_init(&m->pools_by_name, random_u64());
        ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
        m->exe = n > 0 ? strndup(exe, (size_t) n) : NULL;

        r = config_load(&m->paths, &m->config);
        if (r < 0) {
                fprintf(stderr, "flowd: cannot load the configuration: %s\n", strerror(-r));
                return r;
        }
        if (m->config->n_errors > 0) {
                print_messages(m, false);
                return -EBADMSG;
        }
        raise_limits();
        r = dir_make(m->paths.state, 0700);
        if (r < 0) {
                fprintf(stderr, "flowd: cannot make the state directory %s: %s\n", m->paths.state, strerror(-r));
                return r;
        }
        m->host.directory = strdup(m->paths.mode == RUN_SYSTEM ? "/" : m->paths.runtime);
        r = log_new(target, log_level >= 0 ? log_level : m->config->log_level, &m->host.log);
        if (r >= 0)
                r = init_loop(m);
        if (r < 0)
                return r;
        print_messages(m, true);
        job_table_init(&m->jobs, &m->host);
        session_table_init(&m->sessions, random_u64());
        m->sessions.unbound = pool_session_unbound;
        route_init(&m->router, &m->host, &m->jobs, &m->pools, &m->pools_by_name);
        r = server_init(&m->server, &m->host, &m->jobs, &m->router, &manager_server_ops, m);
        m->server.events = &m->events;
        if (r >= 0)
                r = mcp_server_init(&m->mcp, &m->host, &m->jobs, &m->router, &m->events, m->paths.state);
        m->mcp.ops = &manager_mcp_ops;
        m->mcp.userdata = m;
        if (r < 0)
                return r;
        r = route_configure(&m->router, &m->config->route);
        if (r < 0)
                return r;
        r = flow_new(&m->host, &m->config->flow, &flow_ops, m, &m->flow);
        if (r < 0)
                return r;
        m->server.flow = m->mcp.flow = m->flow;
        manager_apply_limits(m);
        m->host.tap = tap;
        (void) sd_watchdog_enabled(0, &m->watchdog_usec);
        timer_arm(&m->host.timers, &m->tick, now_usec());
        return state_fd >= 0 ? manager_restore(m, state_fd) : start_fresh(m);
}

int manager_run(Manager *m) {
        return sd_event_loop(m->host.event);
}

static void remove_sockets(Manager *m) {
        for (size_t k = 0; k < ELEMENTSOF(socket_names); k++) {
                if (!(m->own_sockets & 1U << k))
                        continue;
                _cleanup_free_ char *path = str_printf("%s/%s", m->paths.runtime, socket_names[k]);

                if (path)
                        (void) unlink(path);
        }
}

void manager_done(Manager *m) {
        List *n;

        remove_sockets(m);

        m->host.tap = NULL;
        if (m->flow)
                flow_stop(m->flow);
        m->store = store_close(m->store);
        LIST_FOREACH(l, &m->pools)
                if (!pool_empty(list_entry(l, Pool, link))) {
                        log_free(m->host.log); /* a failure with workers and jobs in hand: they end with this process */
                        return;
                }
        if (m->server.host)
                server_done(&m->server);
        if (m->mcp.host)
                mcp_server_done(&m->mcp);
        m->flow = flow_free(m->flow);
        LIST_FOREACH_SAFE(l, next, &m->pools)
                remove_pool(m, list_entry(l, Pool, link));
        if (m->router.pools)
                route_done(&m->router);
        if (m->jobs.host) {
                job_table_done(&m->jobs);
                session_table_done(&m->sessions);
        }
        mcp_catalogs_prune(&m->host.mcp_catalogs, NULL, NULL);
        map_done(&m->pools_by_name);
        map_done(&m->host.by_pid);
        while ((n = m->names.next) && n != &m->names) {
                list_remove(n);
                free(list_entry(n, PoolName, link));
        }
        reaper_done(&m->reaper);
        for (size_t i = 0; i < ELEMENTSOF(m->signals); i++)
                m->signals[i] = sd_event_source_disable_unref(m->signals[i]);
        timer_queue_done(&m->host.timers);
        hot_done(&m->host.hot);
        m->host.event = sd_event_unref(m->host.event);
        cgroup_root_done(&m->host.cgroup);
        config_free(m->config);
        persist_done(m);
        event_history_done(&m->events);
        free(m->config_error);
        free(m->host.directory);
        free(m->exe);
        log_free(m->host.log);
}
