/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The methods of io.flowd, in the order of the interface file. Each is answered by exactly one control_reply(), control_error() or control_fail(). */

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "control/internal.h"
#include "pool/durable.h"

#define WATCH_INTERVAL_USEC (1 * USEC_PER_SEC)
#define WATCH_INTERVAL_MIN_USEC (100 * USEC_PER_MSEC)

static Worker *need_worker(ControlClient *c, json_object *p) {
        const char *id = NULL, *slash;
        char name[NAME_LENGTH_MAX + 1];
        Worker *w = NULL;
        uint64_t slot;
        int r = parameter_text(c, p, "id", &id);

        if (r < 0)
                return NULL;
        if (r == 0) {
                control_invalid(c, "id");
                return NULL;
        }
        slash = strrchr(id, '/');
        if (slash && (size_t) (slash - id) < sizeof(name) && u64_parse(slash + 1, 0, POOL_WORKERS_MAX, &slot) >= 0) {
                memcpy(name, id, (size_t) (slash - id));
                name[slash - id] = 0;
                Pool *pool = map_get_name(c->server->router->by_name, name, Pool, by_name);
                if (pool)
                        w = pool_find_worker(pool, (unsigned) slot);
        }
        if (!w) {
                json_object *o = json_object_new_object();

                object_add_text(o, "id", id);
                control_fail(c, "NoSuchWorker", o, "there is no worker '%s'; workers are named POOL/SLOT, see 'flowctl worker list'", id);
        }
        return w;
}

/* --- methods --- */

static void method_status(ControlClient *c, json_object *p) {
        (void) p;
        control_reply(c, c->server->ops->status(c->server->userdata), false);
}

static void method_watch(ControlClient *c, json_object *p) {
        int64_t interval = WATCH_INTERVAL_USEC;

        if (parameter_int(c, p, "interval_usec", WATCH_INTERVAL_MIN_USEC, INT64_MAX / 2, &interval) >= 0)
                control_watch_start(c, (uint64_t) interval);
}

static void method_list_pools(ControlClient *c, json_object *p) {
        json_object *o, *a;
        const char *name = NULL;
        Pool *one = NULL;
        int r = parameter_text(c, p, "name", &name);

        if (r < 0 || (r > 0 && !(one = need_pool(c, p, "name"))))
                return;
        a = json_object_new_array();
        LIST_FOREACH(l, c->server->router->pools) {
                Pool *pool = list_entry(l, Pool, link);

                if (!one || one == pool)
                        json_object_array_add(a, object_of_pool(pool));
        }
        o = json_object_new_object();
        json_object_object_add(o, "pools", a);
        json_object_object_add(o, "tiers", route_tiers_object(c->server->router));
        control_reply(c, o, false);
}

static void method_list_workers(ControlClient *c, json_object *p) {
        json_object *o, *a;
        const char *name = NULL;
        Pool *one = NULL;
        int r = parameter_text(c, p, "pool", &name);

        if (r < 0 || (r > 0 && !(one = need_pool(c, p, "pool"))))
                return;
        a = json_object_new_array();
        LIST_FOREACH(l, c->server->router->pools) {
                Pool *pool = list_entry(l, Pool, link);

                if (one && one != pool)
                        continue;
                LIST_FOREACH(k, &pool->workers)
                        json_object_array_add(a, object_of_worker(list_entry(k, Worker, link), false));
        }
        o = json_object_new_object();
        json_object_object_add(o, "workers", a);
        control_reply(c, o, false);
}

static void method_show_worker(ControlClient *c, json_object *p) {
        Worker *w = need_worker(c, p);
        json_object *o;

        if (!w)
                return;
        o = json_object_new_object();
        json_object_object_add(o, "worker", object_of_worker(w, true));
        control_reply(c, o, false);
}

/* Makes a job of Submit()'s and Run()'s parameters. Returns NULL after having answered. */
static Job *make_job(ControlClient *c, json_object *p) {
        _cleanup_(job_unrefp) Job *j = job_new();
        const char *kind = NULL, *method = NULL, *session = NULL, *key = NULL;
        int64_t timeout = 0, deadline = 0, priority = 0, retries = 0, retry_delay = 0, not_before = 0, queue_timeout = 0;
        _cleanup_free_ void *bytes = NULL;
        json_object *v = NULL;
        size_t size = 0;
        int k = PAYLOAD_TEXT;

        if (parameter_text(c, p, "kind", &kind) < 0 ||
            parameter_text(c, p, "method", &method) < 0 || parameter_text(c, p, "session", &session) < 0 ||
            parameter_int(c, p, "timeout_usec", 1, INT64_MAX, &timeout) < 0 ||
            parameter_int(c, p, "deadline_usec", 1, INT64_MAX, &deadline) < 0 || parameter_int(c, p, "priority", INT32_MIN, INT32_MAX, &priority) < 0 ||
            parameter_text(c, p, "key", &key) < 0 || parameter_int(c, p, "retry_delay_usec", 1, INT64_MAX, &retry_delay) < 0 ||
            parameter_int(c, p, "not_before_usec", 1, INT64_MAX, &not_before) < 0 ||
            parameter_int(c, p, "queue_timeout_usec", 1, INT64_MAX, &queue_timeout) < 0)
                return NULL;
        int own_retries = parameter_int(c, p, "retries", 0, WORKER_RETRIES_MAX, &retries);
        if (own_retries < 0)
                return NULL;
        if (kind && (k = payload_kind_from_string(kind)) < 0) {
                control_invalid(c, "kind");
                return NULL;
        }
        const char *const names[][2] = { { "method", method }, { "session", session }, { "key", key } };
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (names[i][1] && strlen(names[i][1]) >= JOB_NAME_MAX) {
                        control_invalid(c, names[i][0]);
                        return NULL;
                }
        const char *text = "";
        if (parameter_get(p, "payload", &v)) {
                if (!json_object_is_type(v, json_type_string)) {
                        control_invalid(c, "payload");
                        return NULL;
                }
                text = json_object_get_string(v);
                size = (size_t) json_object_get_string_len(v);
        }
        if (k == PAYLOAD_BYTES && base64_decode(text, size, &bytes, &size) < 0) {
                control_invalid(c, "payload");
                return NULL;
        }
        json_object *check = NULL;
        if (k == PAYLOAD_JSON && json_parse(text, size, VARLINK_DEPTH_MAX, &check) < 0) {
                control_invalid(c, "payload");
                return NULL;
        }
        json_object_put(check);
        if (j) {
                j->kind = (PayloadKind) k;
                j->payload = blob_new_copy(bytes ? bytes : text, size);
                j->payload_size = size;
                j->method = method ? strdup(method) : NULL;
                j->session = session ? strdup(session) : NULL;
                j->key = key ? strdup(key) : NULL;
                j->own_retries = own_retries > 0;
                j->retries = (uint32_t) retries;
                j->retry_usec = (uint64_t) retry_delay;
                j->not_before_usec = (uint64_t) not_before;
                j->timeout_usec = (uint64_t) timeout;
                j->queue_timeout_usec = (uint64_t) queue_timeout;
                j->deadline_usec = (uint64_t) deadline;
                j->priority = (int32_t) priority;
                j->uid = c->peer.uid;
        }
        if (!j || !j->payload) {
                control_fail(c, "LimitReached", NULL, "out of memory");
                return NULL;
        }
        return TAKE_PTR(j);
}

static void refused(ControlClient *c, int r, const RouteRequest *q, const Job *j, const char *why) {
        const char *pool = q->pool;
        json_object *o = json_object_new_object();

        if (r == -EHOSTDOWN || r == -EHOSTUNREACH) {
                json_object *attempts = j->route.attempts ? json_tokener_parse(j->route.attempts) : NULL;

                json_object_object_add(o, "attempts", attempts ? attempts : json_object_new_array());
        } else if (r == -EMSGSIZE) {
                Pool *p = pool ? map_get_name(c->server->router->by_name, pool, Pool, by_name) : NULL;

                object_add_int(o, "size", j->payload_size);
                object_add_int(o, "max", p ? p->config->type->payload_max : 0);
        } else if (r == -ENOMEM)
                object_add_text(o, "limit", "memory");
        else if (r == -EROFS)
                object_add_text(o, "health", store_health_to_string(c->server->jobs->store ? store_health(c->server->jobs->store) : STORE_OFF));
        else
                object_add_text(o, "pool", strempty(pool));
        control_fail(c, route_refusal_code(r), o, "%s", strna(why));
}

/* Returns a job that was accepted (*ret_recorded), or will be when it is recorded; NULL after having answered. */
static Job *submit(ControlClient *c, json_object *p, bool detached, bool *ret_recorded) {
        const char *durable = NULL;
        RouteRequest q = {};
        _cleanup_(job_unrefp) Job *j = NULL;
        _cleanup_free_ char *why = NULL;
        int r;

        if (c->server->stopping) {
                control_fail(c, "PoolUnavailable", NULL, "flowd is stopping");
                return NULL;
        }
        if (!server_rate(c->server, &c->peer, &why)) {
                control_fail(c, "RateLimited", NULL, "%s", strna(why));
                return NULL;
        }
        if (control_route_request(c, p, &q) < 0)
                return NULL;
        j = make_job(c, p);
        if (!j)
                return NULL;
        j->detached = detached;
        if (parameter_text(c, p, "durable", &durable) < 0)
                return NULL;
        if (durable)
                r = durability_from_string(durable);
        else
                r = detached ? durable_default(c->server->jobs) : DURABLE_NO;
        if (r < 0) {
                control_invalid(c, "durable");
                return NULL;
        }
        j->durability = (Durability) r;
        if (j->key && j->durability == DURABLE_NO) {
                control_invalid(c, "key");
                return NULL;
        }
        r = route_submit(c->server->router, j, &q, &why);
        if (r < 0) {
                refused(c, r, &q, j, why);
                return NULL;
        }
        *ret_recorded = r == 0;
        return TAKE_PTR(j);
}

static void method_submit(ControlClient *c, json_object *p) {
        bool recorded = false;
        _cleanup_(job_unrefp) Job *j = submit(c, p, true, &recorded);

        if (!j)
                return;
        if (recorded)
                control_submitted(c, j->id, false);
        else
                control_job_start(c, j, PENDING_SUBMIT);
}

static void method_run(ControlClient *c, json_object *p) {
        bool recorded = false;
        _cleanup_(job_unrefp) Job *j = submit(c, p, false, &recorded);

        if (j)
                control_job_start(c, j, PENDING_RUN);
}

static void method_wait(ControlClient *c, json_object *p) {
        uint64_t id;

        if (parameter_job(c, p, "job", &id) >= 0)
                control_wait_start(c, id);
}

static void cancelled(ControlClient *c, bool cancelled, JobState state) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "cancelled", json_object_new_boolean(cancelled));
        object_add_text(o, "state", job_state_to_string(state));
        control_reply(c, o, false);
}

/* It has ended, and only the store knows it. */
static void answer_ended(ControlClient *c, StoreCall *call) {
        cancelled(c, false, call->found->record.state);
}

static void method_cancel_job(ControlClient *c, json_object *p) {
        uint64_t id;
        Job *j;

        if (parameter_job(c, p, "id", &id) < 0)
                return;
        j = job_table_find(c->server->jobs, id);
        if (!j) {
                store_call_job(c, id, 0, true, answer_ended);
                return;
        }
        if (c->peer.level < LEVEL_OPERATE && j->uid != c->peer.uid) {
                control_others_job(c);
                return;
        }
        job_ref(j);
        bool running = pool_cancel_job(c->server->jobs, j);
        cancelled(c, running, j->ending ? job_state_of(j->ending->status) : j->state);
        job_unref(j);
}

static void tell_kill(ControlClient *c, const Worker *w, int sig) {
        EventFields f = worker_fields(w);
        const char *name = sigabbrev_np(sig);

        event_send(c->server->host, EVENT_WORKER_KILLED, &f, "Sending %s%s to %s, as uid %u, pid %d asks for", name ? "SIG" : "a real-time signal",
                   strempty(name), w->name, c->peer.uid, (int) c->peer.pid);
}

static void method_kill_worker(ControlClient *c, json_object *p) {
        Worker *w = need_worker(c, p);
        int64_t sig = 0;

        if (!w)
                return;
        int r = parameter_int(c, p, "signal", 1, 64, &sig);
        if (r < 0)
                return;
        if (r == 0) {
                tell_kill(c, w, SIGTERM);
                worker_stop(w, "was stopped by an operator");
        } else if ((r = worker_signal(w, (int) sig)) < 0) {
                control_fail(c, "Busy", NULL, "cannot signal %s: %s", w->name, strerror(-r));
                return;
        } else
                tell_kill(c, w, (int) sig);
        control_reply(c, NULL, false);
}

static void method_recycle_worker(ControlClient *c, json_object *p) {
        Worker *w = need_worker(c, p);

        if (!w)
                return;
        pool_recycle(w->pool, w);
        control_reply(c, NULL, false);
}

static void method_events(ControlClient *c, json_object *p) {
        const char *pool = NULL;
        int64_t limit = c->more ? 0 : EVENTS_KEPT;

        if (parameter_text(c, p, "pool", &pool) >= 0 && parameter_int(c, p, "limit", 0, EVENTS_KEPT, &limit) >= 0)
                control_events_start(c, pool, (unsigned) limit);
}

static void method_show_config(ControlClient *c, json_object *p) {
        _cleanup_free_ char *text = NULL;
        const char *unit = NULL;
        json_object *o;
        int r;

        if (parameter_text(c, p, "unit", &unit) < 0)
                return;
        r = c->server->ops->show_config(c->server->userdata, unit, &text);
        if (r < 0) {
                control_invalid(c, "unit");
                return;
        }
        o = json_object_new_object();
        object_add_text(o, "text", text);
        control_reply(c, o, false);
}

static void method_reload(ControlClient *c, json_object *p) {
        json_object *changed = NULL, *settings = NULL, *messages = NULL, *o;
        int r;

        (void) p;
        r = c->server->ops->reload(c->server->userdata, &changed, &settings, &messages);
        if (r < 0 && r != -EBADMSG) {
                json_object_put(changed);
                json_object_put(settings);
                json_object_put(messages);
                control_fail(c, "Busy", NULL, "cannot reload: %s", strerror(-r));
                return;
        }
        o = json_object_new_object();
        if (r < 0) {
                json_object_put(changed);
                json_object_put(settings);
                json_object_object_add(o, "messages", messages);
                control_error(c, "io.flowd.InvalidConfig", o);
                return;
        }
        json_object_object_add(o, "changed", changed);
        json_object_object_add(o, "settings", settings);
        json_object_object_add(o, "warnings", messages);
        control_reply(c, o, false);
}

static void method_reexec(ControlClient *c, json_object *p) {
        _cleanup_free_ char *why = NULL;
        int r;

        (void) p;
        r = c->server->ops->reexec(c->server->userdata, &why);
        if (r < 0)
                control_fail(c, "Busy", NULL, "%s", why ? why : strerror(-r));
        else
                c->pending = PENDING_REEXEC;
}

const Method control_methods[] = {
        { "Status", method_status, LEVEL_OBSERVE },
        { "Watch", method_watch, LEVEL_OBSERVE },
        { "ListPools", method_list_pools, LEVEL_OBSERVE },
        { "ListWorkers", method_list_workers, LEVEL_OBSERVE },
        { "ShowWorker", method_show_worker, LEVEL_OBSERVE },
        { "ListJobs", method_list_jobs, LEVEL_OBSERVE },
        { "ShowJob", method_show_job, LEVEL_OBSERVE },
        { "Submit", method_submit, LEVEL_SUBMIT },
        { "Run", method_run, LEVEL_SUBMIT },
        { "Wait", method_wait, LEVEL_SUBMIT },
        { "CancelJob", method_cancel_job, LEVEL_SUBMIT },
        { "RetryJob", method_retry_job, LEVEL_SUBMIT },
        { "JobResult", method_job_result, LEVEL_SUBMIT },
        { "PurgeJobs", method_purge_jobs, LEVEL_OPERATE },
        { "StoreStats", method_store_stats, LEVEL_OBSERVE },
        { "CheckStore", method_check_store, LEVEL_ADMIN },
        { "BackupStore", method_backup_store, LEVEL_ADMIN },
        { "VacuumStore", method_vacuum_store, LEVEL_ADMIN },
        { "AcceptLoss", method_accept_loss, LEVEL_ADMIN },
        { "CacheStats", method_cache_stats, LEVEL_OBSERVE },
        { "ListCache", method_list_cache, LEVEL_OBSERVE },
        { "PurgeCache", method_purge_cache, LEVEL_OPERATE },
        { "PoolTools", method_pool_tools, LEVEL_OBSERVE },
        { "ExplainRoute", method_explain_route, LEVEL_OBSERVE },
        { "ListMethods", method_list_methods, LEVEL_OBSERVE },
        { "ListSessions", method_list_sessions, LEVEL_OBSERVE },
        { "ForgetSession", method_forget_session, LEVEL_SUBMIT },
        { "ScalePool", method_scale_pool, LEVEL_OPERATE },
        { "DrainPool", method_drain_pool, LEVEL_OPERATE },
        { "ResumePool", method_resume_pool, LEVEL_OPERATE },
        { "SpawnPool", method_spawn_pool, LEVEL_OPERATE },
        { "ClosePool", method_close_pool, LEVEL_OPERATE },
        { "CloseAllPools", method_close_all_pools, LEVEL_OPERATE },
        { "KillWorker", method_kill_worker, LEVEL_OPERATE },
        { "RecycleWorker", method_recycle_worker, LEVEL_OPERATE },
        { "FlowCreate", method_flow_create, LEVEL_SUBMIT },
        { "FlowAdd", method_flow_add, LEVEL_SUBMIT },
        { "FlowSubmit", method_flow_submit, LEVEL_SUBMIT },
        { "FlowComplete", method_flow_complete, LEVEL_SUBMIT },
        { "FlowPulse", method_flow_pulse, LEVEL_SUBMIT },
        { "FlowTodos", method_flow_todos, LEVEL_SUBMIT },
        { "FlowRest", method_flow_rest, LEVEL_SUBMIT },
        { "FlowWake", method_flow_wake, LEVEL_SUBMIT },
        { "FlowRebalance", method_flow_rebalance, LEVEL_SUBMIT },
        { "FlowExpand", method_flow_expand, LEVEL_SUBMIT },
        { "FlowCancel", method_flow_cancel, LEVEL_SUBMIT },
        { "FlowDepend", method_flow_depend, LEVEL_SUBMIT },
        { "FlowArchive", method_flow_archive, LEVEL_SUBMIT },
        { "FlowMerge", method_flow_merge, LEVEL_SUBMIT },
        { "FlowImport", method_flow_import, LEVEL_SUBMIT },
        { "FlowStatus", method_flow_status, LEVEL_OBSERVE },
        { "FlowList", method_flow_list, LEVEL_OBSERVE },
        { "FlowShow", method_flow_show, LEVEL_OBSERVE },
        { "FlowExplain", method_flow_explain, LEVEL_OBSERVE },
        { "FlowExport", method_flow_export, LEVEL_OBSERVE },
        { "Events", method_events, LEVEL_OBSERVE },
        { "ShowConfig", method_show_config, LEVEL_OBSERVE },
        { "Reload", method_reload, LEVEL_ADMIN },
        { "Reexec", method_reexec, LEVEL_ADMIN },
        {},
};
