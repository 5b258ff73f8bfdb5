/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Calls that wait for jobs. A call holds a watch on each of its jobs; when the last of them has ended (or, for a submission, is recorded) the call
 * answers by what kind it is. As long as it waits, a client that gave a progress token is told how the job gets on, and every HEARTBEAT_USEC that it
 * still lives, so that its timeout for the call begins anew. A cancelled call is not answered, and ends its jobs.
 */

#include <errno.h>
#include <stdio.h>

#include "mcp/tools.h"
#include "pool/pool.h"

#define HEARTBEAT_USEC (10 * USEC_PER_SEC)
#define TASK_AFTER_USEC (2 * USEC_PER_SEC) /* what takes longer becomes a task, where the client knows them */
#define HEARTBEAT_STEP 1e-6               /* progress must grow, though there is none */
#define NOTES_BACKLOG_MAX (1024U * 1024U) /* progress and log lines are dropped for a client that is so far behind */

static const struct {
        bool ends;   /* waits for the end of its jobs, and they are nobody else's */
        void (*answer)(McpCall *call);
} kinds[_MCP_CALL_KIND_MAX] = {
        [MCP_CALL_EXECUTE] = { true, run_answer_execute },
        [MCP_CALL_BATCH] = { true, run_answer_batch },
        [MCP_CALL_SUBMIT] = { false, run_answer_submit },
        [MCP_CALL_TASK] = { true, run_answer_task },
        [MCP_CALL_CLOSE] = { false, pool_answer_closed },
        [MCP_CALL_RESULT] = { false, job_answer_result },
        [MCP_CALL_TOOL] = { true, mcp_pooled_answer },
        [MCP_CALL_READ] = { true, mcp_pooled_answer },
        [MCP_CALL_REQUEST] = { true, mcp_pooled_answer },
};

void mcp_call_free(McpCall *call) {
        Host *h = call->reply.client->server->host;

        for (unsigned i = 0; i < call->n_jobs; i++) {
                McpCallJob *cj = &call->jobs[i];

                list_remove(&cj->watch.link);
                if (cj->job) {
                        if (kinds[call->kind].ends) /* else another call of this client's may go on, and its questions with it */
                                mcp_asks_drop(call->reply.client, cj->job->id);
                        call->reply.client->n_jobs--;
                }
                cj->job = job_unref(cj->job);
                blob_unref(cj->result);
                free(cj->refusal);
        }
        timer_disarm(&h->timers, &call->timer);
        list_remove(&call->link);
        free((char *) call->reply.id.p);
        free(call->progress);
        free(call->pool);
        free(call);
}

void mcp_call_done(McpCall *call) {
        kinds[call->kind].answer(call);
        mcp_call_free(call);
}

void mcp_call_cancel(McpCall *call) {
        JobTable *t = call->reply.client->server->jobs;
        bool own = kinds[call->kind].ends;

        for (unsigned i = 0; i < call->n_jobs; i++) {
                McpCallJob *cj = &call->jobs[i];
                Job *j = job_ref(cj->job);

                list_remove(&cj->watch.link);
                if (own && j)
                        (void) pool_cancel_job(t, j);
                job_unref(j);
        }
        mcp_reply_drop(&call->reply);
        mcp_call_free(call);
}

McpCall *mcp_call_find(McpClient *c, JsonSpan id) {
        LIST_FOREACH(l, &c->calls) {
                McpCall *call = list_entry(l, McpCall, link);

                if (mcp_id_equal(call->reply.id, id))
                        return call;
        }
        return NULL;
}

/* --- what is told meanwhile --- */

static void tell_progress(McpCall *call, double progress, double total, const char *text, size_t size) {
        McpClient *c = call->reply.client;
        _cleanup_mcp_text_ McpText t = {};

        if (!call->progress || c->closing || c->out.bytes > NOTES_BACKLOG_MAX || progress <= call->told)
                return;
        call->told = progress;
        put_format(&t, "{\"progressToken\":%s,\"progress\":%.9g,\"total\":%.9g", call->progress, progress, total);
        if (size > 0 && (mcp_is_modern(call->reply.version) || call->reply.version >= MCP_2025_03_26)) {
                put_raw(&t, ",\"message\":");
                put_string(&t, text, size);
        }
        put_raw(&t, "}");
        mcp_notify(c, "notifications/progress", &t);
}

static void on_progress(JobWatch *w, Job *j, uint32_t millionths, const char *text, size_t size) {
        McpCall *call = CONTAINER_OF(w, McpCallJob, watch)->call;

        (void) j;
        if (call->kind == MCP_CALL_BATCH) /* that one counts jobs */
                return;
        /* how much of it is done may be unknown, and then there is still what it says */
        tell_progress(call, size > 0 && call->kind >= MCP_CALL_TOOL ? MAX(millionths / 1e6, call->told + HEARTBEAT_STEP) : millionths / 1e6, 1, text, size);
}

static void on_log(JobWatch *w, Job *j, int level, const char *text, size_t size) {
        McpCall *call = CONTAINER_OF(w, McpCallJob, watch)->call;
        McpClient *c = call->reply.client;
        int wanted = mcp_is_modern(call->reply.version) ? call->log_level : c->log_level;
        _cleanup_mcp_text_ McpText t = {};

        if (wanted < level || c->closing || c->out.bytes > NOTES_BACKLOG_MAX)
                return;
        put_format(&t, "{\"level\":\"%s\",\"logger\":", mcp_level_to_string(level));
        put_text(&t, j->ran_on[0] ? j->ran_on : j->pool_name);
        put_raw(&t, ",\"data\":");
        put_string(&t, text, size);
        put_raw(&t, "}");
        mcp_notify(c, "notifications/message", &t);
}

static bool on_ask(JobWatch *w, Job *j, const JobQuestion *q) {
        McpCall *call = CONTAINER_OF(w, McpCallJob, watch)->call;

        return kinds[call->kind].ends && mcp_ask(call, j, q);
}

/* When something is to be said, or to be done, next. */
static void arm(McpCall *call) {
        uint64_t when = call->progress ? now_usec() + HEARTBEAT_USEC : USEC_INFINITY;

        if (call->wait_until > 0)
                when = MIN(when, call->wait_until);
        timer_arm(&call->reply.client->server->host->timers, &call->timer, when);
}

static void on_timer(Timer *t) {
        McpCall *call = CONTAINER_OF(t, McpCall, timer);
        const Job *j = call->n_jobs > 0 ? call->jobs[0].job : NULL;
        char text[160];

        if (call->wait_until > 0 && now_usec() >= call->wait_until) {
                mcp_call_done(call); /* it says how far the job is */
                return;
        }
        (void) snprintf(text, sizeof(text), "%s%s, for %llu s", j ? job_state_to_string(j->state) : "waiting", call->n_jobs > 1 ? " and others" : "",
                        (unsigned long long) (j ? (now_usec() - j->accepted_usec) / USEC_PER_SEC : 0));
        tell_progress(call, MAX(call->told, 0) + HEARTBEAT_STEP, call->kind == MCP_CALL_BATCH ? call->n_jobs : 1, text, strlen(text));
        arm(call);
}

/* --- ends --- */

static void one_done(McpCall *call) {
        if (--call->n_pending == 0) {
                mcp_call_done(call);
                return;
        }
        if (call->kind == MCP_CALL_BATCH)
                tell_progress(call, MAX(call->n_jobs - call->n_pending, call->told + HEARTBEAT_STEP), call->n_jobs, NULL, 0);
}

/* Of a batch the results wait for each other. What is too much of them stays with flowd, as that of a submitted job. */
static void keep(McpCallJob *cj, Job *j) {
        McpCall *call = cj->call;
        uint64_t max = mcp_output_max(call->reply.client->server);
        const uint8_t *data;

        if (blob_size(j->result) == 0)
                return;
        if (call->held + j->result->size <= max)
                cj->result = blob_ref(j->result);
        else {
                j->detached = true;
                if (blob_data(j->result, &data) >= 0)
                        cj->result = blob_new_copy(data, MIN(j->result->size, (size_t) (max - call->held)));
        }
        call->held += blob_size(cj->result);
}

static void on_end(JobWatch *w, Job *j) {
        McpCallJob *cj = CONTAINER_OF(w, McpCallJob, watch);

        if (cj->call->kind == MCP_CALL_BATCH)
                keep(cj, j);
        one_done(cj->call);
}

static void on_accepted(JobWatch *w, Job *j) {
        McpCallJob *cj = CONTAINER_OF(w, McpCallJob, watch);

        (void) j;
        if (cj->call->kind == MCP_CALL_TASK) { /* it is on the disk: it may become a task from now on */
                cj->call->wait_until = now_usec() + TASK_AFTER_USEC;
                arm(cj->call);
        } else if (cj->call->kind == MCP_CALL_SUBMIT) {
                list_remove(&w->link); /* its end is nobody's here */
                one_done(cj->call);
        }
}

static void on_refused(JobWatch *w, Job *j, const JobRefusal *r) {
        McpCallJob *cj = CONTAINER_OF(w, McpCallJob, watch);

        (void) j;
        cj->duplicate_of = r->duplicate_of;
        cj->code = r->code;
        cj->refusal = strdup(strempty(r->text));
        cj->call->reply.client->n_jobs--;
        cj->job = job_unref(cj->job);
        one_done(cj->call);
}

/* --- beginnings --- */

static McpCall *call_alloc(McpClient *c, McpCallKind kind, unsigned n) {
        McpCall *call = calloc(1, sizeof(McpCall) + n * sizeof(McpCallJob));

        if (!call)
                return NULL;
        call->kind = kind;
        call->n_jobs = n;
        call->log_level = -1;
        call->told = -1;
        call->timer.fire = on_timer;
        call->reply.client = c;
        for (unsigned i = 0; i < n; i++) {
                call->jobs[i].call = call;
                call->jobs[i].watch = (JobWatch) {
                        .accepted = on_accepted, .refused = on_refused, .progress = on_progress, .log = on_log, .ask = on_ask,
                        .end = on_end,
                };
        }
        list_append(&c->calls, &call->link);
        return call;
}

McpCall *mcp_call_new(const McpRequest *q, McpCallKind kind, unsigned n) {
        McpCall *call = call_alloc(q->reply.client, kind, n);
        char *id;

        if (!call)
                return NULL;
        id = memdup_text(q->reply.id.p, q->reply.id.size);
        if (q->meta.progress.p)
                call->progress = memdup_text(q->meta.progress.p, q->meta.progress.size);
        if (!id || (q->meta.progress.p && !call->progress)) {
                free(id);
                mcp_call_free(call);
                return NULL;
        }
        call->reply = q->reply;
        call->reply.id.p = id;
        call->log_level = q->meta.log_level;
        return call;
}

void mcp_call_add(McpCall *call, unsigned i, Job *j) {
        McpCallJob *cj = &call->jobs[i];

        cj->job = job_ref(j);
        call->reply.client->n_jobs++;
        if (job_ended(j))
                return;
        call->n_pending++;
        list_append(&j->watches, &cj->watch.link);
}

void mcp_call_start(McpCall *call) {
        if (call->n_pending == 0)
                mcp_call_done(call);
        else
                arm(call);
}
