/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The methods of io.flowd, in the order of the interface file. Each is answered by exactly one control_reply(), control_error() or control_fail(). */

#include <errno.h>
#include <stdio.h>

#include "control/internal.h"

#define JOBS_LISTED_DEFAULT 100
#define JOBS_LISTED_MAX 10000
#define STDERR_SHOWN 8192U
#define WATCH_INTERVAL_USEC (1 * USEC_PER_SEC)
#define WATCH_INTERVAL_MIN_USEC (100 * USEC_PER_MSEC)

static void add_text(json_object *o, const char *key, const char *v) {
        if (v)
                json_object_object_add(o, key, json_object_new_string(v));
}

static void add_int(json_object *o, const char *key, uint64_t v) {
        json_object_object_add(o, key, json_object_new_int64((int64_t) MIN(v, (uint64_t) INT64_MAX)));
}

/* --- parameters: absent and null are the same --- */

static bool get(json_object *p, const char *key, json_object **ret) {
        json_object *v;

        if (!json_object_object_get_ex(p, key, &v) || json_object_is_type(v, json_type_null))
                return false;
        *ret = v;
        return true;
}

/* Returns 1, 0 where absent, or -EINVAL after having answered. */
static int get_text(ControlClient *c, json_object *p, const char *key, const char **ret) {
        json_object *v;

        if (!get(p, key, &v))
                return 0;
        if (!json_object_is_type(v, json_type_string)) {
                control_invalid(c, key);
                return -EINVAL;
        }
        *ret = json_object_get_string(v);
        return 1;
}

static int get_int(ControlClient *c, json_object *p, const char *key, int64_t min, int64_t max, int64_t *ret) {
        json_object *v;

        if (!get(p, key, &v))
                return 0;
        int64_t n = json_object_get_int64(v);
        if (!json_object_is_type(v, json_type_int) || n < min || n > max) {
                control_invalid(c, key);
                return -EINVAL;
        }
        *ret = n;
        return 1;
}

static Pool *need_pool(ControlClient *c, json_object *p, const char *key) {
        const char *name = NULL;
        Pool *pool;
        int r = get_text(c, p, key, &name);

        if (r < 0)
                return NULL;
        if (r == 0) {
                control_invalid(c, key);
                return NULL;
        }
        pool = map_get_name(c->server->router->by_name, name, Pool, by_name);
        if (!pool) {
                json_object *o = json_object_new_object();

                add_text(o, "pool", name);
                control_fail(c, "NoSuchPool", o, "there is no pool '%s'; see 'flowctl pool list'", name);
        }
        return pool;
}

static Worker *need_worker(ControlClient *c, json_object *p) {
        const char *id = NULL, *slash;
        char name[NAME_LENGTH_MAX + 1];
        Worker *w = NULL;
        uint64_t slot;
        int r = get_text(c, p, "id", &id);

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

                add_text(o, "id", id);
                control_fail(c, "NoSuchWorker", o, "there is no worker '%s'; workers are named POOL/SLOT, see 'flowctl worker list'", id);
        }
        return w;
}

static Job *need_job(ControlClient *c, json_object *p, const char *key) {
        const char *text = NULL;
        uint64_t id;
        Job *j = NULL;
        int r = get_text(c, p, key, &text);

        if (r < 0)
                return NULL;
        if (r == 0) {
                control_invalid(c, key);
                return NULL;
        }
        if (job_id_parse(text, &id) >= 0)
                j = job_table_find(c->server->jobs, id);
        if (!j) {
                json_object *o = json_object_new_object();

                add_text(o, "id", text);
                control_fail(c, "NoSuchJob", o, "there is no job '%s'; what has ended is forgotten after a while, see 'flowctl job list'", text);
        }
        return j;
}

/* --- objects --- */

json_object *control_pool_object(const Pool *p) {
        json_object *o = json_object_new_object();
        unsigned busy = 0, ready = 0, slots = 0;

        LIST_FOREACH(l, (List *) &p->workers) {
                const Worker *w = list_entry(l, Worker, link);

                busy += w->n_running > 0;
                ready += w->state == WORKER_READY;
                slots += w->state == WORKER_READY || w->state == WORKER_BUSY ? w->n_slots : 0;
        }
        add_text(o, "name", p->name);
        add_text(o, "worker_type", p->config->type->name);
        add_text(o, "protocol", protocol_to_string(p->config->type->protocol));
        add_text(o, "tier", tier_to_string(p->config->tier));
        add_text(o, "state", pool_state_to_string(p->state));
        add_text(o, "reason", p->reason);
        add_int(o, "min", p->config->min);
        add_int(o, "max", p->config->max);
        add_int(o, "target", MAX(p->target, p->config->min));
        add_int(o, "workers", p->n_workers);
        add_int(o, "ready", ready);
        add_int(o, "busy", busy);
        add_int(o, "slots", slots);
        add_int(o, "queued", p->n_queued);
        add_int(o, "queued_bytes", p->queued_bytes);
        add_int(o, "running", p->n_running);
        add_int(o, "completed", p->stats.completed);
        add_int(o, "failed", p->stats.failed);
        add_int(o, "timeout", p->stats.timeout);
        add_int(o, "cancelled", p->stats.cancelled);
        add_int(o, "refused", p->stats.refused);
        add_int(o, "spawned", p->stats.spawned);
        add_int(o, "crashes", p->stats.crashes);
        add_int(o, "queue_max", p->config->queue_max);
        add_int(o, "latency_p50_usec", histogram_quantile(&p->stats.latency, 0.5));
        add_int(o, "latency_p99_usec", histogram_quantile(&p->stats.latency, 0.99));
        add_int(o, "run_p50_usec", histogram_quantile(&p->stats.run, 0.5));
        add_int(o, "run_p99_usec", histogram_quantile(&p->stats.run, 0.99));
        return o;
}

static json_object *worker_object(const Worker *w, bool whole) {
        json_object *o = json_object_new_object(), *jobs = json_object_new_array();
        const Pool *p = w->pool;
        char id[JOB_ID_TEXT_MAX];

        add_text(o, "id", w->name);
        add_text(o, "pool", w->pool_name);
        add_int(o, "slot", w->slot_number);
        add_int(o, "generation", w->generation);
        add_int(o, "pid", (uint64_t) w->pid);
        add_text(o, "state", worker_state_to_string(w->state));
        add_int(o, "slots", w->n_slots);
        add_int(o, "running", w->n_running);
        for (unsigned i = 0; i < w->n_slots; i++)
                if (w->slots[i].state == SLOT_RUNNING)
                        json_object_array_add(jobs, json_object_new_string(job_id_format(w->slots[i].job_id, id)));
        json_object_object_add(o, "jobs", jobs);
        add_int(o, "done", w->jobs_done);
        add_int(o, "started_usec", realtime_usec() - (now_usec() - w->started_usec));
        add_int(o, "rss", worker_rss(w));
        size_t l = strlen(w->name);
        if (strncmp(p->last_exit, w->name, l) == 0 && p->last_exit[l] == ' ') /* of the worker that had this slot before */
                add_text(o, "last_exit", p->last_exit);
        if (whole) {
                _cleanup_free_ char *tail = worker_stderr_tail(w, STDERR_SHOWN);

                add_text(o, "stderr", tail);
        }
        return o;
}

static json_object *job_object(const Job *j) {
        json_object *o = json_object_new_object();
        uint64_t offset = j->accepted_real_usec - j->accepted_usec;
        char id[JOB_ID_TEXT_MAX];

        add_text(o, "id", job_id_format(j->id, id));
        add_text(o, "pool", strempty(j->pool_name));
        add_text(o, "state", job_state_to_string(j->state));
        add_text(o, "method", j->method);
        add_text(o, "session", j->session);
        add_text(o, "kind", payload_kind_to_string(j->kind));
        add_int(o, "size", j->payload_size);
        add_int(o, "attempts", j->attempts);
        add_int(o, "crashes", j->crashes);
        if (j->ran_on[0])
                add_text(o, "worker", j->ran_on);
        json_object_object_add(o, "detached", json_object_new_boolean(j->detached));
        add_int(o, "uid", j->uid);
        add_int(o, "accepted_usec", j->accepted_real_usec);
        add_int(o, "dispatched_usec", j->dispatched_usec ? j->dispatched_usec + offset : 0);
        add_int(o, "finished_usec", j->finished_usec ? j->finished_usec + offset : 0);
        add_int(o, "deadline_usec", j->deadline_usec);
        json_object_object_add(o, "progress", json_object_new_double(j->progress / 1e6));
        add_text(o, "progress_message", j->progress_text);
        add_int(o, "result_size", blob_size(j->result));
        add_text(o, "error", j->error);
        add_text(o, "code", j->code);
        return o;
}

/* --- methods --- */

static void method_status(ControlClient *c, json_object *p) {
        (void) p;
        control_reply(c, c->server->ops->status(c->server->userdata), false);
}

static void method_watch(ControlClient *c, json_object *p) {
        int64_t interval = WATCH_INTERVAL_USEC;

        if (get_int(c, p, "interval_usec", WATCH_INTERVAL_MIN_USEC, INT64_MAX / 2, &interval) >= 0)
                control_watch_start(c, (uint64_t) interval);
}

static void method_list_pools(ControlClient *c, json_object *p) {
        json_object *o, *a;
        const char *name = NULL;
        Pool *one = NULL;
        int r = get_text(c, p, "name", &name);

        if (r < 0 || (r > 0 && !(one = need_pool(c, p, "name"))))
                return;
        a = json_object_new_array();
        LIST_FOREACH(l, c->server->router->pools) {
                Pool *pool = list_entry(l, Pool, link);

                if (!one || one == pool)
                        json_object_array_add(a, control_pool_object(pool));
        }
        o = json_object_new_object();
        json_object_object_add(o, "pools", a);
        control_reply(c, o, false);
}

static void method_list_workers(ControlClient *c, json_object *p) {
        json_object *o, *a;
        const char *name = NULL;
        Pool *one = NULL;
        int r = get_text(c, p, "pool", &name);

        if (r < 0 || (r > 0 && !(one = need_pool(c, p, "pool"))))
                return;
        a = json_object_new_array();
        LIST_FOREACH(l, c->server->router->pools) {
                Pool *pool = list_entry(l, Pool, link);

                if (one && one != pool)
                        continue;
                LIST_FOREACH(k, &pool->workers)
                        json_object_array_add(a, worker_object(list_entry(k, Worker, link), false));
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
        json_object_object_add(o, "worker", worker_object(w, true));
        control_reply(c, o, false);
}

static void list_jobs(List *jobs, const char *pool, int state, int64_t limit, json_object *a) {
        for (List *l = jobs->prev; l != jobs && (int64_t) json_object_array_length(a) < limit; l = l->prev) {
                Job *j = list_entry(l, Job, table_link);

                if ((pool && !streq_ptr(pool, j->pool_name)) || (state >= 0 && (int) j->state != state))
                        continue;
                json_object_array_add(a, job_object(j));
        }
}

static void method_list_jobs(ControlClient *c, json_object *p) {
        const char *pool = NULL, *state = NULL;
        int64_t limit = JOBS_LISTED_DEFAULT;
        json_object *o, *a;
        int s = -1;

        if (get_text(c, p, "pool", &pool) < 0 || get_text(c, p, "state", &state) < 0 || get_int(c, p, "limit", 1, JOBS_LISTED_MAX, &limit) < 0)
                return;
        if (state && (s = job_state_from_string(state)) < 0) {
                control_invalid(c, "state");
                return;
        }
        a = json_object_new_array();
        list_jobs(&c->server->jobs->live, pool, s, limit, a);
        list_jobs(&c->server->jobs->results, pool, s, limit, a);
        list_jobs(&c->server->jobs->ended, pool, s, limit, a);
        o = json_object_new_object();
        json_object_object_add(o, "jobs", a);
        control_reply(c, o, false);
}

static void method_show_job(ControlClient *c, json_object *p) {
        Job *j = need_job(c, p, "id");
        json_object *o;

        if (!j)
                return;
        o = json_object_new_object();
        json_object_object_add(o, "job", job_object(j));
        control_reply(c, o, false);
}

/* Makes a job of Submit()'s and Run()'s parameters. Returns NULL after having answered. */
static Job *make_job(ControlClient *c, json_object *p, const char **ret_pool, const char **ret_tier) {
        _cleanup_(job_unrefp) Job *j = job_new();
        const char *kind = NULL, *method = NULL, *session = NULL;
        int64_t timeout = 0, deadline = 0, priority = 0;
        _cleanup_free_ void *bytes = NULL;
        json_object *v = NULL;
        size_t size = 0;
        int k = PAYLOAD_TEXT;

        if (get_text(c, p, "pool", ret_pool) < 0 || get_text(c, p, "tier", ret_tier) < 0 || get_text(c, p, "kind", &kind) < 0 ||
            get_text(c, p, "method", &method) < 0 || get_text(c, p, "session", &session) < 0 || get_int(c, p, "timeout_usec", 1, INT64_MAX, &timeout) < 0 ||
            get_int(c, p, "deadline_usec", 1, INT64_MAX, &deadline) < 0 || get_int(c, p, "priority", INT32_MIN, INT32_MAX, &priority) < 0)
                return NULL;
        if (kind && (k = payload_kind_from_string(kind)) < 0) {
                control_invalid(c, "kind");
                return NULL;
        }
        if ((method && strlen(method) >= JOB_NAME_MAX) || (session && strlen(session) >= JOB_NAME_MAX)) {
                control_invalid(c, method && strlen(method) >= JOB_NAME_MAX ? "method" : "session");
                return NULL;
        }
        const char *text = "";
        if (get(p, "payload", &v)) {
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
                j->timeout_usec = (uint64_t) timeout;
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

static void refused(ControlClient *c, int r, const char *pool, const Job *j, const char *why) {
        json_object *o = json_object_new_object();

        if (r == -EMSGSIZE) {
                Pool *p = pool ? map_get_name(c->server->router->by_name, pool, Pool, by_name) : NULL;

                add_int(o, "size", j->payload_size);
                add_int(o, "max", p ? p->config->type->payload_max : 0);
        } else if (r == -ENOMEM)
                add_text(o, "limit", "memory");
        else
                add_text(o, "pool", strempty(pool));
        control_fail(c, pool_refusal_code(r), o, "%s", strna(why));
}

static Job *submit(ControlClient *c, json_object *p, bool detached) {
        const char *pool = NULL, *tier = NULL;
        _cleanup_(job_unrefp) Job *j = NULL;
        _cleanup_free_ char *why = NULL;
        int r;

        if (c->server->stopping) {
                control_fail(c, "PoolUnavailable", NULL, "flowd is stopping");
                return NULL;
        }
        j = make_job(c, p, &pool, &tier);
        if (!j)
                return NULL;
        j->detached = detached;
        r = route_submit(c->server->router, j, pool, tier, &why);
        if (r < 0) {
                refused(c, r, pool, j, why);
                return NULL;
        }
        return TAKE_PTR(j);
}

static void method_submit(ControlClient *c, json_object *p) {
        _cleanup_(job_unrefp) Job *j = submit(c, p, true);
        char id[JOB_ID_TEXT_MAX];

        if (!j)
                return;
        json_object *o = json_object_new_object();
        add_text(o, "job", job_id_format(j->id, id));
        control_reply(c, o, false);
}

static void method_run(ControlClient *c, json_object *p) {
        _cleanup_(job_unrefp) Job *j = submit(c, p, false);

        if (j)
                control_job_start(c, j, PENDING_RUN);
}

static void method_wait(ControlClient *c, json_object *p) {
        Job *j = need_job(c, p, "job");
        bool too_large;

        if (!j)
                return;
        if (c->peer.level < LEVEL_OPERATE && j->uid != c->peer.uid) {
                json_object *o = json_object_new_object();

                add_text(o, "level", "operate");
                add_text(o, "group", auth_group(&c->server->auth, LEVEL_OPERATE));
                control_fail(c, "NotPermitted", o, "the job is another user's");
                return;
        }
        if (!job_ended(j)) {
                control_job_start(c, j, PENDING_WAIT);
                return;
        }
        json_object *o = control_job_result(j, &too_large, c->server->limits.json_max);
        if (!too_large) {
                control_reply(c, o, false);
                return;
        }
        json_object_put(o);
        o = json_object_new_object();
        add_int(o, "size", blob_size(j->result));
        add_int(o, "max", c->server->limits.json_max);
        control_fail(c, "ResultTooLarge", o, "the result is above JsonMax=; fetch it through the jobs socket, as 'flowctl wait' does");
}

static void method_cancel_job(ControlClient *c, json_object *p) {
        Job *j = need_job(c, p, "id");

        if (!j)
                return;
        if (c->peer.level < LEVEL_OPERATE && j->uid != c->peer.uid) {
                json_object *o = json_object_new_object();

                add_text(o, "level", "operate");
                add_text(o, "group", auth_group(&c->server->auth, LEVEL_OPERATE));
                control_fail(c, "NotPermitted", o, "the job is another user's");
                return;
        }
        bool running = !job_ended(j) && j->pool;
        json_object *o = json_object_new_object();
        job_ref(j);
        if (running)
                pool_cancel(j->pool, j);
        json_object_object_add(o, "cancelled", json_object_new_boolean(running));
        add_text(o, "state", job_state_to_string(j->state));
        job_unref(j);
        control_reply(c, o, false);
}

static void method_scale_pool(ControlClient *c, json_object *p) {
        Pool *pool = need_pool(c, p, "pool");
        int64_t target = 0;
        json_object *o;

        if (!pool)
                return;
        int r = get_int(c, p, "target", INT64_MIN, INT64_MAX, &target);
        if (r <= 0) {
                if (r == 0)
                        control_invalid(c, "target");
                return;
        }
        o = json_object_new_object();
        if (pool->config->tier == TIER_COLD) {
                add_text(o, "parameter", "pool");
                add_int(o, "min", 0);
                add_int(o, "max", 0);
                control_fail(c, "OutOfRange", o, "pool %s is cold: its workers are started for their jobs, up to Max=%u", pool->name, pool->config->max);
                return;
        }
        if (target < 0 || target > POOL_WORKERS_MAX || pool_scale(pool, (unsigned) target) < 0) {
                add_text(o, "parameter", "target");
                add_int(o, "min", pool->config->min);
                add_int(o, "max", pool->config->max);
                control_fail(c, "OutOfRange", o, "pool %s can have from Min=%u to Max=%u workers", pool->name, pool->config->min, pool->config->max);
                return;
        }
        add_int(o, "target", (uint64_t) target);
        control_reply(c, o, false);
}

static void method_drain_pool(ControlClient *c, json_object *p) {
        Pool *pool = need_pool(c, p, "pool");

        if (!pool)
                return;
        pool_pause(pool);
        control_reply(c, NULL, false);
}

static void method_resume_pool(ControlClient *c, json_object *p) {
        Pool *pool = need_pool(c, p, "pool");

        if (!pool)
                return;
        pool_resume(pool);
        control_reply(c, NULL, false);
}

static void method_kill_worker(ControlClient *c, json_object *p) {
        Worker *w = need_worker(c, p);
        int64_t sig = 0;

        if (!w)
                return;
        int r = get_int(c, p, "signal", 1, 64, &sig);
        if (r < 0)
                return;
        if (r == 0)
                worker_stop(w, "was stopped by an operator");
        else if ((r = worker_signal(w, (int) sig)) < 0) {
                control_fail(c, "Busy", NULL, "cannot signal %s: %s", w->name, strerror(-r));
                return;
        }
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

        if (get_text(c, p, "pool", &pool) >= 0 && get_int(c, p, "limit", 0, EVENTS_KEPT, &limit) >= 0)
                control_events_start(c, pool, (unsigned) limit);
}

static void method_show_config(ControlClient *c, json_object *p) {
        _cleanup_free_ char *text = NULL;
        const char *unit = NULL;
        json_object *o;
        int r;

        if (get_text(c, p, "unit", &unit) < 0)
                return;
        r = c->server->ops->show_config(c->server->userdata, unit, &text);
        if (r < 0) {
                control_invalid(c, "unit");
                return;
        }
        o = json_object_new_object();
        add_text(o, "text", text);
        control_reply(c, o, false);
}

static void method_reload(ControlClient *c, json_object *p) {
        json_object *changed = NULL, *messages = NULL, *o;
        int r;

        (void) p;
        r = c->server->ops->reload(c->server->userdata, &changed, &messages);
        if (r < 0 && r != -EBADMSG) {
                json_object_put(changed);
                json_object_put(messages);
                control_fail(c, "Busy", NULL, "cannot reload: %s", strerror(-r));
                return;
        }
        o = json_object_new_object();
        if (r < 0) {
                json_object_put(changed);
                json_object_object_add(o, "messages", messages);
                control_error(c, "io.flowd.InvalidConfig", o);
                return;
        }
        json_object_object_add(o, "changed", changed);
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
        { "ScalePool", method_scale_pool, LEVEL_OPERATE },
        { "DrainPool", method_drain_pool, LEVEL_OPERATE },
        { "ResumePool", method_resume_pool, LEVEL_OPERATE },
        { "KillWorker", method_kill_worker, LEVEL_OPERATE },
        { "RecycleWorker", method_recycle_worker, LEVEL_OPERATE },
        { "Events", method_events, LEVEL_OBSERVE },
        { "ShowConfig", method_show_config, LEVEL_OBSERVE },
        { "Reload", method_reload, LEVEL_ADMIN },
        { "Reexec", method_reexec, LEVEL_ADMIN },
        {},
};
