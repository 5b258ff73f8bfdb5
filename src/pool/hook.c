/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The hook of a pool. The command is an exec worker like any other, with one job whose payload is what happened: so it is spawned, limited, reaped, timed
 * out and killed with all its descendants by what does that for workers, and runs as the user of the pool's workers. But it is in none of the pool's lists:
 * it takes no jobs, and its failure is an event and nothing else, so that no hook is ever run because of a hook.
 *
 * One at a time in a pool, and at most one in HOOK_INTERVAL_USEC: what happens meanwhile is counted, and told together.
 */

#include <errno.h>
#include <stdio.h>

#include "basic/state.h"
#include "pool/pool-internal.h"

#define HOOK_INTERVAL_USEC (1 * USEC_PER_SEC)
#define HOOK_HOLD_USEC (10 * USEC_PER_MSEC)
#define HOOK_OUTPUT_MAX (64U * 1024U)         /* bytes that it may write to stdout; they are not looked at */
#define HOOK_STOP_USEC (2 * USEC_PER_SEC)     /* from TERM to KILL */
#define HOOK_MESSAGE_MAX 2048U

static const char *const event_names[_HOOK_MAX] = {
        [HOOK_POOL_FAILED] = "pool-failed",
        [HOOK_BREAKER_OPEN] = "breaker-open",
        [HOOK_DEAD_JOB] = "dead-job",
        [HOOK_BREAKER_CLOSED] = "breaker-closed",
        [HOOK_CRASH] = "crash",
};

static void on_timer(Timer *t);

void hook_init(Hook *h) {
        h->timer.fire = on_timer;
}

static void call_done(HookCall *c) {
        free(c->message);
        *c = (HookCall) {};
}

void hook_done(Hook *h, Host *host) {
        assert(!h->worker);
        timer_disarm(&host->timers, &h->timer);
        for (size_t i = 0; i < _HOOK_MAX; i++)
                call_done(&h->pending[i]);
}

static void run_later(Pool *p) {
        if (!p->hook.worker)
                timer_arm(&p->host->timers, &p->hook.timer, MAX(p->hook.not_before, now_usec()));
}

void hook_tell(Pool *p, HookEvent e, const char *cause, const char *worker, uint64_t job, const char *message) {
        HookCall *c = &p->hook.pending[e];
        unsigned count = c->count;

        if (!p->config->on_failure || p->state == POOL_CLOSING)
                return;
        call_done(c);
        c->count = count + 1;
        c->job = job;
        str_copy(c->cause, sizeof(c->cause), strempty(cause));
        str_copy(c->worker, sizeof(c->worker), strempty(worker));
        c->message = strndup(strempty(message), utf8_cut(strempty(message), strlen(strempty(message)), HOOK_MESSAGE_MAX));
        run_later(p);
}

void hook_drop(Pool *p) {
        for (size_t i = 0; i < _HOOK_MAX; i++)
                call_done(&p->hook.pending[i]);
        timer_disarm(&p->host->timers, &p->hook.timer);
}

void hook_hurry(Pool *p, uint64_t usec) {
        Worker *w = p->hook.worker;
        uint64_t until = now_usec() + usec;

        if (w && w->n_running > 0 && (!w->slots[0].timer.armed || w->slots[0].timer.node.key > until))
                timer_arm(&p->host->timers, &w->slots[0].timer, until);
}

/* --- the command --- */

static void failed(Pool *p, const char *how) {
        EventFields f = pool_fields(p);

        event_send(p->host, EVENT_HOOK, &f, "OnFailure= of pool %s, run for %s, failed: %s", p->name, event_names[p->hook.event], how);
}

static void on_ready(Worker *w) {
        (void) w; /* its job is on the way */
}

static void on_job_end(Worker *w, Job *j, JobResult *r) {
        (void) j;
        if (r->status != FRAME_COMPLETED)
                failed(w->pool, r->error ? r->error : frame_status_to_string(r->status));
        job_result_done(r);
}

static void on_job_lost(Worker *w, Job *j) {
        char how[400];

        (void) j;
        failed(w->pool, worker_describe_exit(w, how, sizeof(how)));
}

static void on_job_released(Worker *w, Job *j) {
        (void) w;
        (void) j;
}

static void on_dead(Worker *w) {
        Pool *p = w->pool;

        p->hook.worker = NULL;
        worker_free(w);
        for (size_t i = 0; i < _HOOK_MAX; i++)
                if (p->hook.pending[i].count > 0)
                        run_later(p);
        pool_dispatch_later(p); /* perhaps it was all that kept the pool from being empty */
}

static const WorkerOps hook_ops = {
        .own_job = true,
        .ready = on_ready,
        .job_end = on_job_end,
        .job_lost = on_job_lost,
        .job_released = on_job_released,
        .dead = on_dead,
};

static int environment_add(char ***env, const char *name, const char *value) {
        _cleanup_free_ char *s = *value ? str_printf("%s=%s", name, value) : NULL;

        return s ? strv_append(env, s) : *value ? -ENOMEM : 0;
}

static int environment(const Pool *p, const HookCall *c, char ***env) {
        char id[JOB_ID_TEXT_MAX] = "", count[16];

        if (c->job > 0)
                job_id_format(c->job, id);
        snprintf(count, sizeof(count), "%u", c->count);
        const char *const all[][2] = {
                { "FLOWD_EVENT", event_names[p->hook.event] }, { "FLOWD_CAUSE", c->cause },    { "FLOWD_WORKER", c->worker },
                { "FLOWD_JOB", id },                           { "FLOWD_COUNT", count },       { "FLOWD_MESSAGE", strempty(c->message) },
        };
        for (size_t i = 0; i < ELEMENTSOF(all); i++) {
                int r = environment_add(env, all[i][0], all[i][1]);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* The command as a worker type, with the user and the limits of the pool's own. */
static int type_new(const Pool *p, const HookCall *c, WorkerType **ret) {
        const WorkerType *of = p->config->type;
        _cleanup_(worker_type_unrefp) WorkerType *t = worker_type_new(of->name);
        int r;

        if (!t)
                return -ENOMEM;
        t->protocol = PROTOCOL_EXEC;
        t->job_timeout_usec = p->config->on_failure_timeout_usec;
        t->stop_timeout_usec = HOOK_STOP_USEC;
        t->result_max = HOOK_OUTPUT_MAX;
        t->uid = of->uid;
        t->gid = of->gid;
        t->n_groups = of->n_groups;
        t->groups = of->n_groups > 0 ? malloc(of->n_groups * sizeof(gid_t)) : NULL;
        if (t->groups)
                memcpy(t->groups, of->groups, of->n_groups * sizeof(gid_t));
        t->user = of->user ? strdup(of->user) : NULL;
        t->home = of->home ? strdup(of->home) : NULL;
        t->working_directory = of->working_directory ? strdup(of->working_directory) : NULL;
        t->memory_max = of->memory_max;
        t->memory_swap_max = of->memory_swap_max;
        t->tasks_max = of->tasks_max;
        t->cpu_weight = of->cpu_weight;
        memcpy(t->limit_set, of->limit_set, sizeof(t->limit_set));
        memcpy(t->limit, of->limit, sizeof(t->limit));
        if ((of->n_groups > 0 && !t->groups) || (of->user && !t->user) || (of->home && !t->home) || (of->working_directory && !t->working_directory))
                return -ENOMEM;
        r = strv_copy(p->config->on_failure, &t->exec);
        if (r >= 0)
                r = environment(p, c, &t->environment);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

static Job *job_of(const HookCall *c) {
        Job *j = job_new();

        if (!j)
                return NULL;
        j->id = c->job; /* what it says is about that job */
        j->kind = PAYLOAD_TEXT;
        j->payload = blob_new_copy(strempty(c->message), strlen(strempty(c->message)));
        if (!j->payload)
                return job_unref(j);
        j->payload_size = j->payload->size;
        return j;
}

static int run(Pool *p, const HookCall *c, char **reterr_why) {
        _cleanup_(worker_type_unrefp) WorkerType *t = NULL;
        _cleanup_(job_unrefp) Job *j = job_of(c);
        Worker *w;
        int r;

        if (!j)
                return -ENOMEM;
        r = type_new(p, c, &t);
        if (r < 0)
                return r;
        WorkerSpec spec = { .host = p->host, .type = t, .ops = &hook_ops, .pool = p, .pool_name = p->name, .label = "hook", .single_job = true };
        r = worker_spawn(&spec, &w, reterr_why);
        if (r < 0)
                return r;
        p->hook.worker = w;
        r = worker_assign(w, j, reterr_why);
        if (r < 0)
                worker_stop(w, "could not be given what it was run for");
        return r;
}

static void on_timer(Timer *t) {
        Pool *p = CONTAINER_OF(CONTAINER_OF(t, Hook, timer), Pool, hook);
        _cleanup_free_ char *why = NULL;
        HookCall *c = p->hook.pending;
        int r;

        if (p->host->hold) { /* a re-exec is under way: the next image runs it */
                timer_arm(&p->host->timers, t, now_usec() + HOOK_HOLD_USEC);
                return;
        }
        while (c < p->hook.pending + _HOOK_MAX && c->count == 0)
                c++;
        if (c == p->hook.pending + _HOOK_MAX || p->hook.worker || !p->config->on_failure)
                return;
        p->hook.event = (HookEvent) (c - p->hook.pending);
        p->hook.not_before = now_usec() + HOOK_INTERVAL_USEC;
        r = run(p, c, &why);
        call_done(c);
        if (r < 0) {
                failed(p, why ? why : strerror(-r));
                run_later(p);
        }
}

/* --- across execve() --- */

json_object *hook_serialize(const Hook *h, StateWriter *sw) {
        json_object *a = json_object_new_array();

        for (size_t i = 0; i < _HOOK_MAX; i++) {
                const HookCall *c = &h->pending[i];
                json_object *o = json_object_new_object();

                state_put_int(sw, o, "count", c->count);
                state_put_text(sw, o, "cause", c->cause);
                state_put_text(sw, o, "worker", c->worker);
                state_put_int(sw, o, "job", (int64_t) c->job);
                state_put_text(sw, o, "message", c->message);
                json_object_array_add(a, o);
        }
        return a;
}

void hook_deserialize(Pool *p, const json_object *a) {
        for (size_t i = 0; a && i < json_object_array_length(a) && i < _HOOK_MAX; i++) {
                json_object *o = json_object_array_get_idx(a, i);
                unsigned count = (unsigned) state_get_int(o, "count");

                if (count == 0)
                        continue;
                hook_tell(p, (HookEvent) i, state_get_text(o, "cause"), state_get_text(o, "worker"), (uint64_t) state_get_int(o, "job"),
                          state_get_text(o, "message"));
                p->hook.pending[i].count = count;
        }
}
