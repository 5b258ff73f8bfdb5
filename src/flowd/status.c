/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon as a whole, as Status() of io.flowd tells it, and the manager as the sockets see it. */

#include <errno.h>
#include <unistd.h>

#include "basic/fd.h"
#include "flowd/manager.h"
#include "flowd/persist.h"
#include "flowd/spawned.h"
#include "service/objects.h"

static uint64_t own_rss(void) {
        Worker self = { .pid = getpid() };

        return worker_rss(&self);
}

static void add_int(json_object *o, const char *key, uint64_t v) {
        json_object_object_add(o, key, json_object_new_int64((int64_t) v));
}

static void add_text(json_object *o, const char *key, const char *v) {
        json_object_object_add(o, key, json_object_new_string(v));
}

static const char *limits_text(const Manager *m) {
        const CgroupRoot *c = &m->host.cgroup;

        if (c->fd < 0)
                return "no cgroups";
        return c->memory && c->pids && c->cpu ? "cgroups" : "cgroups, some controllers are missing";
}

json_object *manager_status(Manager *m) {
        static const char *const modes[] = { [RUN_SYSTEM] = "system", [RUN_USER] = "user", [RUN_PRIVATE] = "private" };
        json_object *o = json_object_new_object(), *pools = json_object_new_array();
        unsigned queued = 0, running = 0;
        char summary[256];

        LIST_FOREACH(l, &m->pools) {
                Pool *p = list_entry(l, Pool, link);

                queued += p->n_queued + p->n_waiting;
                running += p->n_running;
                json_object_array_add(pools, object_of_pool(p));
        }
        manager_summary(m, summary, sizeof(summary));
        add_text(o, "version", PACKAGE_VERSION);
        add_int(o, "pid", (uint64_t) getpid());
        add_text(o, "state", manager_state(m));
        add_text(o, "summary", summary);
        add_text(o, "mode", modes[m->paths.mode]);
        add_text(o, "runtime", m->paths.runtime);
        add_text(o, "state_dir", m->paths.state);
        add_int(o, "started_usec", m->started_usec);
        add_int(o, "reloads", m->reloads);
        add_int(o, "reexecs", m->reexecs);
        if (m->config_error)
                add_text(o, "config_error", m->config_error);
        add_text(o, "limits", limits_text(m));
        add_int(o, "rss", own_rss());
        add_int(o, "fds", (uint64_t) MAX(fd_count(), 0));
        add_int(o, "clients", m->server.n_control + m->server.n_jobs + m->mcp.n_clients);
        add_int(o, "jobs_queued", queued);
        add_int(o, "jobs_running", running);
        add_int(o, "jobs_completed", m->jobs.totals[JOB_COMPLETED]);
        add_int(o, "jobs_failed", m->jobs.totals[JOB_FAILED]);
        add_int(o, "jobs_timeout", m->jobs.totals[JOB_TIMEOUT]);
        add_int(o, "jobs_cancelled", m->jobs.totals[JOB_CANCELLED]);
        add_int(o, "jobs_refused", m->jobs.refused);
        add_int(o, "results_kept", m->jobs.n_results);
        add_int(o, "results_bytes", m->jobs.results_bytes);
        add_int(o, "results_max", m->jobs.results_max);
        add_int(o, "log_dropped", log_dropped(m->host.log));
        json_object_object_add(o, "pools", pools);
        json_object_object_add(o, "tiers", route_tiers_object(&m->router));
        return o;
}

static json_object *op_status(void *userdata) {
        return manager_status(userdata);
}

static int op_reload(void *userdata, json_object **ret_changed, json_object **ret_settings, json_object **ret_messages) {
        Manager *m = userdata;
        int r = manager_reload(m, ret_changed, ret_settings, ret_messages);

        m->reloads += r >= 0;
        return r;
}

static int op_reexec(void *userdata, char **reterr_text) {
        return manager_reexec_request(userdata, reterr_text);
}

static void op_keep(void *userdata) {
        persist_save(userdata);
}

static int op_show_config(void *userdata, const char *unit, char **ret) {
        Manager *m = userdata;

        return config_print(m->config, unit, ret);
}

static int op_retried(void *userdata, JobRecord *r) {
        return manager_retried(userdata, r);
}

static int op_spawn_pool(void *userdata, const PoolSpawn *spec, StoreRequest *keep, Pool **ret, char **reterr_text) {
        return spawned_new(userdata, spec, keep, ret, reterr_text);
}

static int op_close_pool(void *userdata, Pool *p, uint64_t timeout_usec, char **reterr_text) {
        return spawned_close(userdata, p, timeout_usec, reterr_text);
}

const McpOps manager_mcp_ops = {
        .spawn_pool = op_spawn_pool,
        .close_pool = op_close_pool,
};

const ServerOps manager_server_ops = {
        .status = op_status,
        .reload = op_reload,
        .reexec = op_reexec,
        .retried = op_retried,
        .keep = op_keep,
        .show_config = op_show_config,
        .spawn_pool = op_spawn_pool,
        .close_pool = op_close_pool,
};
