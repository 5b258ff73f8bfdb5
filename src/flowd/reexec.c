/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Re-exec: a new image of flowd in the same process, as systemd does it. Same pid, so all children stay ours; every descriptor stays open;
 * what lay in memory goes through a sealed memfd. Until execve() succeeds nothing is given up: if anything fails the old image goes on.
 * The configuration is reloaded before, so that the new image finds the same pools; a bad one refuses the re-exec.
 */

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/state.h"
#include "flowd/manager.h"
#include "flowd/persist.h"
#include "flowd/spawned.h"
#include "pool/durable.h"
#include "worker/mcp-catalog.h"

#define RETRY_USEC (5 * USEC_PER_MSEC)   /* a memfd is on its way to somebody: wait until it has left */
#define GIVE_UP_USEC (10 * USEC_PER_SEC)
#define HOOK_HURRY_USEC (5 * USEC_PER_SEC) /* hooks are not handed over: what a running one gets, and no other is begun */

static void serialize_jobs(Manager *m, StateWriter *sw, json_object *root) {
        List *const lists[] = { &m->jobs.live, &m->jobs.ended, &m->jobs.results };
        json_object *a = json_object_new_array();

        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                LIST_FOREACH(l, lists[i]) {
                        json_object *o = json_object_new_object();

                        job_serialize(list_entry(l, Job, table_link), sw, o);
                        json_object_array_add(a, o);
                }
        state_put_object(sw, root, "jobs", a);
        state_put_int(sw, root, "last_id", (int64_t) m->jobs.last_id);
        state_put_int(sw, root, "refused", (int64_t) m->jobs.refused);
        cached_serialize(&m->jobs, sw, root);
        json_object *totals = json_object_new_array();
        for (size_t i = 0; i < _JOB_STATE_MAX; i++)
                json_object_array_add(totals, json_object_new_int64((int64_t) m->jobs.totals[i]));
        state_put_object(sw, root, "totals", totals);
}

static void put_id(Job *j, void *userdata) {
        json_object_array_add(userdata, json_object_new_int64((int64_t) j->id));
}

static int serialize_pools(Manager *m, StateWriter *sw, json_object *root) {
        json_object *a = json_object_new_array();
        int r = 0;

        LIST_FOREACH(l, &m->pools) {
                Pool *p = list_entry(l, Pool, link);
                json_object *o = json_object_new_object(), *queue = json_object_new_array();

                r = pool_serialize(p, sw, o);
                pool_foreach_queued(p, put_id, queue);
                LIST_FOREACH(k, &p->waiting)
                        put_id(list_entry(k, Job, queue_link), queue);
                state_put_object(sw, o, "queue", queue);
                json_object_array_add(a, o);
                if (r < 0)
                        break;
        }
        state_put_object(sw, root, "pools", a);
        return r;
}

static int serialize_catalogs(Manager *m, StateWriter *sw, json_object *root) {
        json_object *a = json_object_new_array();
        int r = 0;

        LIST_FOREACH(l, &m->host.mcp_catalogs) {
                _cleanup_(json_buffer_clear) JsonBuffer b = {};
                json_object *o = json_object_new_object();

                r = mcp_catalog_serialize(list_entry(l, McpCatalog, link), &b);
                if (r >= 0)
                        state_put_bytes(sw, o, "catalog", b.data, b.size);
                json_object_array_add(a, o);
                if (r < 0)
                        break;
        }
        state_put_object(sw, root, "mcp_catalogs", a);
        return r;
}

static int serialize(Manager *m, StateWriter *sw, json_object *root) {
        json_object *server = json_object_new_object(), *mcp = json_object_new_object();
        int r;

        state_put_text(sw, root, "version", PACKAGE_VERSION);
        state_put_text(sw, root, "instance", m->host.instance);
        state_put_int(sw, root, "generation", (int64_t) m->host.generation);
        state_put_int(sw, root, "started", (int64_t) m->started_usec);
        state_put_int(sw, root, "reloads", m->reloads);
        state_put_int(sw, root, "reexecs", m->reexecs);
        state_put_int(sw, root, "ready", m->ready);
        state_put_int(sw, root, "own_sockets", m->own_sockets);
        if (m->host.cgroup.fd >= 0)
                state_put_text(sw, root, "cgroup", m->host.cgroup.path);
        spawned_serialize(m, sw, root);
        state_put_object(sw, root, "kept", persist_serialize(m));
        serialize_jobs(m, sw, root);
        r = serialize_pools(m, sw, root);
        if (r >= 0)
                r = serialize_catalogs(m, sw, root);
        if (r >= 0)
                r = server_serialize(&m->server, sw, server);
        if (r >= 0)
                r = mcp_server_serialize(&m->mcp, sw, mcp);
        state_put_object(sw, root, "server", server);
        state_put_object(sw, root, "mcp", mcp);
        state_put_object(sw, root, "route", route_state_serialize(&m->router));
        return r < 0 ? r : state_writer_finish(sw, root);
}

/* A descriptor on its way to somebody cannot be handed over; it will have left soon. */
static bool any_passing(Manager *m) {
        LIST_FOREACH(l, &m->pools) {
                Pool *p = list_entry(l, Pool, link);

                LIST_FOREACH(k, &p->workers)
                        if (list_entry(k, Worker, link)->out.held > 0)
                                return true;
                if (p->hook.worker)
                        return true;
        }
        return job_clients_passing(&m->server) || (m->store && store_pending(m->store) > 0) || flow_pending(m->flow);
}

/* Returns only when it failed. */
static int reexec(Manager *m) {
        json_object *root = json_object_new_object();
        StateWriter sw;
        char number[16];
        int r;

        r = state_writer_init(&sw);
        if (r < 0) {
                json_object_put(root);
                return r;
        }
        r = serialize(m, &sw, root);
        json_object_put(root);
        if (r >= 0) {
                snprintf(number, sizeof(number), "%d", r);
                r = setenv(STATE_FD_ENV, number, 1) < 0 ? -errno : 0;
        }
        if (r >= 0) {
                log_flush(m->host.log);
                manager_notify(m, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long) now_usec());
                (void) execv(m->exe, m->argv);
                r = -errno;
                manager_notify(m, "READY=1");
        }
        (void) unsetenv(STATE_FD_ENV);
        state_writer_done(&sw);
        return r;
}

static bool any_closing(const Manager *m) {
        LIST_FOREACH(l, (List *) &m->pools)
                if (list_entry(l, Pool, link)->state == POOL_CLOSING)
                        return true;
        return false;
}

static void on_reexec(Timer *t) {
        Manager *m = CONTAINER_OF(t, Manager, reexec_timer);
        uint64_t now = now_usec();
        int r;

        if (!m->reexec_wanted)
                return;
        /* while it waited, a signal may have asked for the end, or a reload for other pools: the new image would know of neither */
        r = m->stopping ? -ESHUTDOWN : any_closing(m) || any_passing(m) ? -EBUSY : reexec(m);
        if (r == -EBUSY && now < m->reexec_until) {
                timer_arm(&m->host.timers, t, now + RETRY_USEC);
                return;
        }
        m->reexec_wanted = false;
        m->host.hold = false;
        job_clients_resume(&m->server);
        mcp_server_resume(&m->mcp);
        LIST_FOREACH(l, &m->pools)
                pool_resume_dispatch(list_entry(l, Pool, link));
        event_send(&m->host, EVENT_RELOAD_REFUSED, NULL, "The re-exec failed, the running image goes on: %s", strerror(-r));
        server_reexeced(&m->server, strerror(-r));
}

int manager_reexec_request(Manager *m, char **reterr_text) {
        json_object *changed = NULL, *settings = NULL, *messages = NULL;
        int r;

        if (m->stopping || m->reexec_wanted) {
                *reterr_text = strdup(m->stopping ? "flowd is stopping" : "a re-exec is under way");
                return -EBUSY;
        }
        if (!m->exe || access(m->exe, X_OK) < 0) {
                *reterr_text = str_printf("there is no program to execute at %s", strna(m->exe));
                return -ENOENT;
        }
        r = manager_reload(m, &changed, &settings, &messages);
        if (r == -EBADMSG)
                *reterr_text = str_printf("the configuration has errors, so the new image could not start: %s", strna(m->config_error));
        json_object_put(changed);
        json_object_put(settings);
        json_object_put(messages);
        if (r < 0)
                return r;
        LIST_FOREACH(l, &m->pools)
                if (list_entry(l, Pool, link)->state == POOL_CLOSING) {
                        *reterr_text = str_printf("pool %s is closing; try again when it has finished", list_entry(l, Pool, link)->name);
                        return -EBUSY;
                }
        LIST_FOREACH(l, &m->pools)
                hook_hurry(list_entry(l, Pool, link), HOOK_HURRY_USEC);
        flow_flush(m->flow);
        m->reexec_wanted = true;
        m->host.hold = true;
        m->reexec_until = now_usec() + GIVE_UP_USEC;
        m->reexec_timer.fire = on_reexec;
        timer_arm(&m->host.timers, &m->reexec_timer, now_usec());
        return 0;
}

/* --- the other side --- */

static int restore_jobs(Manager *m, const StateReader *sr) {
        json_object *a = state_get_object(sr->root, "jobs"), *totals = state_get_object(sr->root, "totals");

        for (size_t i = 0; a && i < json_object_array_length(a); i++) {
                json_object *o = json_object_array_get_idx(a, i);
                _cleanup_(job_unrefp) Job *j = NULL;
                const char *pool = state_get_text(o, "pool");
                int r = job_deserialize(sr, o, &j);

                if (r < 0)
                        return r;
                Pool *p = pool ? manager_pool(m, pool) : NULL;
                j->pool_name = p ? p->name : pool && j->stored ? manager_intern(m, pool) : "";
                if (!j->pool_name)
                        return -ENOMEM;
                r = job_table_restore(&m->jobs, j);
                if (r < 0)
                        return r;
                if (job_ended(j))
                        job_table_end(&m->jobs, j);
        }
        for (size_t i = 0; totals && i < json_object_array_length(totals) && i < _JOB_STATE_MAX; i++)
                m->jobs.totals[i] = json_object_get_uint64(json_object_array_get_idx(totals, i));
        m->jobs.last_id = MAX(m->jobs.last_id, (uint64_t) state_get_int(sr->root, "last_id"));
        m->jobs.refused = (uint64_t) state_get_int(sr->root, "refused");
        cached_deserialize(&m->jobs, sr->root);
        return 0;
}

static int restore_pools(Manager *m, const StateReader *sr) {
        json_object *a = state_get_object(sr->root, "pools");

        for (size_t i = 0; a && i < json_object_array_length(a); i++) {
                json_object *o = json_object_array_get_idx(a, i), *queue = state_get_object(o, "queue");
                const char *name = state_get_text(o, "name");
                Pool *p = name ? manager_pool(m, name) : NULL;
                int r;

                if (!p) {
                        log_write(m->host.log, LOG_ERR, "Pool %s vanished from the configuration during the re-exec", strna(name));
                        continue;
                }
                r = pool_deserialize(p, sr, o);
                if (r < 0)
                        return r;
                for (size_t k = 0; queue && k < json_object_array_length(queue); k++) {
                        Job *j = job_table_find(&m->jobs, json_object_get_uint64(json_object_array_get_idx(queue, k)));

                        if (j && !job_ended(j))
                                pool_requeue_restored(p, j);
                }
        }
        return 0;
}

/* Only what can be read: what is missing is asked for anew. */
static void restore_catalogs(Manager *m, const StateReader *sr) {
        json_object *a = state_get_object(sr->root, "mcp_catalogs");

        for (size_t i = 0; a && i < json_object_array_length(a); i++) {
                McpCatalog *c;
                const uint8_t *p;
                size_t n;

                if (state_get_bytes(sr, json_object_array_get_idx(a, i), "catalog", &p, &n) &&
                    mcp_catalog_deserialize((JsonSpan) { (const char *) p, n }, &c) >= 0)
                        list_append(&m->host.mcp_catalogs, &c->link);
        }
}

static int restore(Manager *m, const StateReader *sr) {
        const char *cgroup = state_get_text(sr->root, "cgroup"), *instance = state_get_text(sr->root, "instance");
        int r;

        if (instance)
                str_copy(m->host.instance, sizeof(m->host.instance), instance);
        m->host.generation = (uint64_t) state_get_int(sr->root, "generation");
        m->started_usec = (uint64_t) state_get_int(sr->root, "started");
        m->reloads = (unsigned) state_get_int(sr->root, "reloads");
        m->reexecs = (unsigned) state_get_int(sr->root, "reexecs") + 1;
        m->ready = state_get_int(sr->root, "ready");
        m->own_sockets = (unsigned) state_get_int(sr->root, "own_sockets");
        if (cgroup) {
                r = cgroup_root_resume(&m->host.cgroup, cgroup);
                if (r < 0)
                        return r;
        }
        r = spawned_deserialize(m, sr);
        for (size_t i = 0; r >= 0 && i < m->config->n_pools; i++) {
                Pool *p;

                r = manager_add_pool(m, m->config->pools[i], &p);
        }
        if (r < 0)
                return r;
        restore_catalogs(m, sr);
        r = route_state_deserialize(&m->router, state_get_object(sr->root, "route"));
        if (r >= 0)
                r = restore_jobs(m, sr);
        if (r >= 0)
                r = restore_pools(m, sr);
        if (r >= 0)
                r = server_deserialize(&m->server, sr, state_get_object(sr->root, "server"));
        if (r >= 0)
                persist_deserialize(m, state_get_object(sr->root, "kept"));
        if (r >= 0)
                r = mcp_server_deserialize(&m->mcp, sr, state_get_object(sr->root, "mcp"));
        return r;
}

/* A job that is with no pool any more, because the configuration has changed in the very moment, has an end too. */
static void fail_lost(Manager *m) {
        LIST_FOREACH_SAFE(l, n, &m->jobs.live) {
                Job *j = list_entry(l, Job, table_link);
                JobResult r = { .status = FRAME_FAILED, .code = "PoolUnavailable" };

                if (j->pool)
                        continue;
                if (j->stored) {
                        durable_set_aside(&m->jobs, j);
                        continue;
                }
                r.error = strdup("its pool vanished from the configuration during a re-exec");
                job_ref(j);
                job_end(j, &r);
                job_table_end(&m->jobs, j);
                job_unref(j);
        }
}

int manager_restore(Manager *m, int state_fd) {
        StateReader sr = {};
        int r;

        r = state_reader_init(&sr, state_fd);
        if (r >= 0)
                r = restore(m, &sr);
        state_reader_done(&sr);
        if (r >= 0)
                r = manager_open_store(m, true);
        if (r < 0) {
                fprintf(stderr, "flowd: cannot take over the state of the image before: %s\n", strerror(-r));
                return r;
        }
        fail_lost(m);
        LIST_FOREACH(l, &m->pools)
                pool_start(list_entry(l, Pool, link));
        event_send(&m->host, EVENT_REEXECED, NULL, "flowd " PACKAGE_VERSION " took over from the image before");
        if (m->ready)
                manager_notify(m, "READY=1");
        server_reexeced(&m->server, NULL);
        reaper_run(&m->reaper); /* whoever exited during the exec */
        return 0;
}
