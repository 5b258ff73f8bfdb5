/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The tools that run jobs. This is the hot path: the payload is unescaped once, from the message into the job, and a result escaped once, from the job
 * into the answer; no tree is built of either. A result that is too large for an answer stays with flowd, as if the job had been submitted, and the
 * answer has its beginning and says how to get the rest.
 */

#include <errno.h>
#include <stdio.h>

#include "mcp/tools.h"
#include "pool/durable.h"

#define SECOND USEC_PER_SEC

/* --- jobs --- */

/* The payload out of a string of the message. Returns a blob, or NULL with *reterr_text (a constant). */
static Blob *payload_of(JsonSpan s, PayloadKind kind, const char **reterr_text) {
        Blob *b = blob_new(s.size - 2);
        JsonType type;
        size_t n;

        *reterr_text = "out of memory";
        if (!b)
                return NULL;
        if (json_unescape_into(s.p, s.size, (char *) b->data, &n) < 0) {
                *reterr_text = "it is no string";
                return blob_unref(b);
        }
        b->size = n;
        if (kind == PAYLOAD_JSON && json_check((const char *) b->data, n, JSON_DEPTH_MAX, &type) < 0) {
                *reterr_text = "it is no JSON text";
                return blob_unref(b);
        }
        if (kind == PAYLOAD_BYTES) {
                _cleanup_free_ void *bytes = NULL;
                int r = base64_decode((const char *) b->data, n, &bytes, &n);

                blob_unref(b);
                if (r < 0) {
                        *reterr_text = r == -ENOMEM ? "out of memory" : "it is no base64";
                        return NULL;
                }
                b = blob_new_copy(bytes, n);
        }
        return b;
}

static int set_text(const McpArguments *a, const char *name, char **ret) {
        return MIN(argument_text(a, name, ret), 0);
}

/* A job of these arguments and that payload. Returns NULL after having answered. */
static Job *make_job(const McpRequest *q, const McpArguments *a, JsonSpan prompt) {
        _cleanup_(job_unrefp) Job *j = job_new();
        _cleanup_free_ char *kind = NULL;
        const char *why = NULL;
        int k = PAYLOAD_TEXT;

        if (!j || set_text(a, "kind", &kind) < 0 || set_text(a, "method", &j->method) < 0 || set_text(a, "session", &j->session) < 0 ||
            set_text(a, "key", &j->key) < 0 || (q->meta.trace.p && q->meta.trace.size < JOB_TRACE_MAX && json_span_text(q->meta.trace, &j->trace) < 0)) {
                tool_no_memory(&q->reply);
                return NULL;
        }
        if (kind)
                k = payload_kind_from_string(kind);
        j->kind = (PayloadKind) k;
        j->payload = payload_of(prompt, j->kind, &why);
        if (!j->payload) {
                tool_failed(&q->reply, NULL, "InvalidArguments", "the payload is said to be %s, but %s", strempty(kind), why);
                return NULL;
        }
        j->payload_size = j->payload->size;
        j->timeout_usec = (uint64_t) argument_int(a, "timeout", 0) * SECOND;
        j->priority = (int32_t) argument_int(a, "priority", 0);
        j->uid = q->reply.client->peer.uid;
        return TAKE_PTR(j);
}

const char *run_refusal(const McpClient *c, size_t n, char *buf, size_t size) {
        const McpServer *s = c->server;

        if (s->stopping) {
                (void) snprintf(buf, size, "flowd is stopping");
                return "PoolUnavailable";
        }
        if (c->n_jobs + n <= s->limits.jobs_per_client)
                return NULL;
        (void) snprintf(buf, size, "%u jobs of this connection are in flight, and %zu more would be above JobsPerClient=%u", c->n_jobs, n,
                        s->limits.jobs_per_client);
        return "LimitReached";
}

/* Whether so many jobs more may be in flight. Returns false after having answered. */
static bool may_start(const McpRequest *q, size_t n) {
        char why[200];
        const char *code = run_refusal(q->reply.client, n, why, sizeof(why));

        if (code)
                tool_failed(&q->reply, NULL, code, "%s", why);
        return !code;
}

/* Where a call wants its jobs to go. The texts are its own. */
typedef struct Wishes {
        char *pool, *tier, *worker_type, *selector, *affinity;
        unsigned weight;
} Wishes;

static void wishes_done(Wishes *w) {
        free(w->pool);
        free(w->tier);
        free(w->worker_type);
        free(w->selector);
        free(w->affinity);
}
#define _cleanup_wishes_ _cleanup_(wishes_done)

/* Returns 0, or -errno after having answered. A tool lacks most of the parameters. */
static int read_wishes(const McpRequest *q, const McpArguments *a, Wishes *ret) {
        if (set_text(a, "pool_id", &ret->pool) < 0 || set_text(a, "tier", &ret->tier) < 0 || set_text(a, "worker_type", &ret->worker_type) < 0 ||
            set_text(a, "pool_selector", &ret->selector) < 0 || set_text(a, "pool_affinity", &ret->affinity) < 0) {
                tool_no_memory(&q->reply);
                return -ENOMEM;
        }
        if (ret->affinity && ret->selector && !streq(ret->selector, "affinity")) {
                tool_failed(&q->reply, NULL, "InvalidArguments", "pool_affinity is for the pool_selector 'affinity', not for '%s'", ret->selector);
                return -EINVAL;
        }
        ret->weight = (unsigned) argument_int(a, "weight", 0);
        return 0;
}

static int submit(const McpRequest *q, const Wishes *w, Job *j, char **reterr_text) {
        RouteRequest request = {
                .pool = w->affinity ? w->affinity : w->pool,
                .tier = w->tier,
                .worker_type = w->worker_type,
                .strategy = w->affinity ? "affinity" : w->selector,
                .weight = w->weight,
                .method = j->method,
                .session = j->session,
                .payload_size = j->payload_size,
        };

        return route_submit(q->reply.client->server->router, j, &request, reterr_text);
}

static void refused(const McpRequest *q, const Wishes *w, int error, const char *why) {
        json_object *o = json_object_new_object();

        object_add_text(o, "pool_id", w->pool);
        tool_failed(&q->reply, o, route_refusal_code(error), "%s", strempty(why));
}

/* Runs one job; its call answers. */
static void execute(McpRequest *q, const McpArguments *a) {
        _cleanup_wishes_ Wishes w = {};
        _cleanup_(job_unrefp) Job *j = NULL;
        _cleanup_free_ char *why = NULL;
        bool task = mcp_wants_task(q);
        McpCall *call;
        int r;

        if (!may_start(q, 1) || read_wishes(q, a, &w) < 0)
                return;
        j = make_job(q, a, argument_span(a, "prompt"));
        if (!j)
                return;
        if (task) {
                j->detached = true;
                j->durability = DURABLE_YES;
        }
        call = mcp_call_new(q, task ? MCP_CALL_TASK : MCP_CALL_EXECUTE, 1);
        if (!call) {
                tool_no_memory(&q->reply);
                return;
        }
        r = submit(q, &w, j, &why);
        if (r < 0) {
                mcp_call_free(call);
                refused(q, &w, r, why);
                return;
        }
        mcp_call_add(call, 0, j);
        mcp_call_start(call);
}

void tool_pool_execute(McpRequest *q, const McpArguments *a) {
        execute(q, a);
}

void tool_pool_route_execute(McpRequest *q, const McpArguments *a) {
        execute(q, a);
}

static void batch_add(const McpRequest *q, McpCall *call, unsigned i, Job *j, const Wishes *w) {
        McpCallJob *cj = &call->jobs[i];
        int r = submit(q, w, j, &cj->refusal);

        if (r < 0)
                cj->code = route_refusal_code(r);
        else
                mcp_call_add(call, i, j);
}

/* All payloads are looked at before the first job is given away: a bad one is a bad call. */
static Job **make_jobs(const McpRequest *q, const McpArguments *a, JsonSpan prompts, unsigned n) {
        Job **jobs = new0(Job *, n);
        JsonMember e;
        JsonScan scan;
        unsigned i = 0;

        if (!jobs) {
                tool_no_memory(&q->reply);
                return NULL;
        }
        json_scan_elements(&scan, prompts.p, prompts.size);
        while (json_scan_next(&scan, &e) > 0) {
                jobs[i] = make_job(q, a, (JsonSpan) { e.value, e.value_size });
                if (!jobs[i])
                        break;
                i++;
        }
        if (i == n)
                return jobs;
        while (i > 0)
                job_unref(jobs[--i]);
        free(jobs);
        return NULL;
}

void tool_pool_execute_batch(McpRequest *q, const McpArguments *a) {
        JsonSpan prompts = argument_span(a, "prompts");
        _cleanup_wishes_ Wishes w = {};
        unsigned n = 0;
        JsonMember e;
        JsonScan scan;
        McpCall *call;
        Job **jobs;

        json_scan_elements(&scan, prompts.p, prompts.size);
        while (json_scan_next(&scan, &e) > 0)
                n++;
        if (read_wishes(q, a, &w) < 0)
                return;
        if (n == 0) {
                tool_failed(&q->reply, NULL, "InvalidArguments", "prompts is empty: there is nothing to run");
                return;
        }
        if (!may_start(q, n))
                return;
        jobs = make_jobs(q, a, prompts, n);
        if (!jobs)
                return;
        call = mcp_call_new(q, MCP_CALL_BATCH, n);
        for (unsigned i = 0; i < n; i++) {
                if (call)
                        batch_add(q, call, i, jobs[i], &w);
                job_unref(jobs[i]);
        }
        free(jobs);
        if (call)
                mcp_call_start(call);
        else
                tool_no_memory(&q->reply);
}

void tool_job_submit(McpRequest *q, const McpArguments *a) {
        McpServer *s = q->reply.client->server;
        _cleanup_(job_unrefp) Job *j = NULL;
        _cleanup_free_ char *why = NULL, *durable = NULL;
        _cleanup_wishes_ Wishes w = {};
        int64_t delay = argument_int(a, "delay", 0), deadline = argument_int(a, "deadline", 0);
        McpCall *call;
        int r;

        if (!may_start(q, 1) || read_wishes(q, a, &w) < 0)
                return;
        j = make_job(q, a, argument_span(a, "prompt"));
        if (!j)
                return;
        if (set_text(a, "durable", &durable) < 0) {
                tool_no_memory(&q->reply);
                return;
        }
        j->detached = true;
        j->durability = durable ? (Durability) durability_from_string(durable) : durable_default(s->jobs);
        if (j->key && j->durability == DURABLE_NO) {
                tool_failed(&q->reply, NULL, "InvalidArguments", DURABLE_KEY_TEXT);
                return;
        }
        j->not_before_usec = delay > 0 ? realtime_usec() + (uint64_t) delay * SECOND : 0;
        j->deadline_usec = deadline > 0 ? realtime_usec() + (uint64_t) deadline * SECOND : 0;
        call = mcp_call_new(q, MCP_CALL_SUBMIT, 1);
        if (!call) {
                tool_no_memory(&q->reply);
                return;
        }
        r = submit(q, &w, j, &why);
        if (r < 0) {
                mcp_call_free(call);
                refused(q, &w, r, why);
                return;
        }
        mcp_call_add(call, 0, j);
        if (r == 0) { /* accepted: its end is nobody's here */
                list_remove(&call->jobs[0].watch.link);
                call->n_pending = 0;
        }
        mcp_call_start(call);
}

/* --- answers --- */

static void put_member_text(McpText *t, const char *key, const char *v) {
        put_format(t, ",\"%s\":", key);
        if (v)
                put_text(t, v);
        else
                put_raw(t, "null");
}

/* Output as a string, as much of it as there is room for; text is not cut within a character. */
static bool put_output(McpText *t, PayloadKind kind, Blob *result, uint64_t size, uint64_t room) {
        const uint8_t *data = NULL;
        size_t n = blob_size(result);

        if (n > 0 && blob_data(result, &data) < 0)
                t->error = -EIO;
        if (n > room)
                n = kind == PAYLOAD_BYTES ? (size_t) room : utf8_cut(data, n, (size_t) room);
        if (kind != PAYLOAD_BYTES && n > 0 && data && !utf8_valid(data, n)) /* what came by memfd was not looked at before */
                kind = PAYLOAD_BYTES;
        put_format(t, ",\"kind\":\"%s\",\"size\":%llu,\"truncated\":%s,\"output\":", payload_kind_to_string(kind), (unsigned long long) size,
                   n < size ? "true" : "false");
        if (kind == PAYLOAD_BYTES && n > 0 && data) {
                _cleanup_free_ char *text = base64_encode(data, n);

                if (!text)
                        t->error = -ENOMEM;
                put_text(t, strempty(text));
        } else
                put_string(t, (const char *) data, data ? n : 0);
        return n < size;
}

static bool put_job(McpText *t, Job *j, Blob *result, uint64_t size, uint64_t room) {
        uint64_t began = j->dispatched_usec ? j->dispatched_usec : j->finished_usec;
        char id[JOB_ID_TEXT_MAX];
        bool cut;

        put_format(t, "\"status\":\"%s\",\"job_id\":\"%s\",\"attempts\":%u,\"duration\":%.6f", frame_status_to_string(job_status(j)), job_id_format(j->id, id),
                   j->attempts, (double) (j->finished_usec - began) / 1e6);
        put_member_text(t, "pool_id", strempty(j->pool_name));
        put_member_text(t, "worker_id", j->ran_on[0] ? j->ran_on : NULL);
        put_member_text(t, "error", j->error);
        put_member_text(t, "code", j->code);
        if (j->route.routed) {
                put_member_text(t, "tier", tier_to_string((Tier) j->route.tier));
                if (j->route.affinity != ROUTE_AFFINITY_NONE)
                        put_member_text(t, "affinity", route_affinity_to_string((RouteAffinity) j->route.affinity));
        }
        cut = put_output(t, j->result_kind, result, size, room);
        return cut;
}

static void answer_text(const McpReply *r, const McpText *inner, const char *link, bool failed) {
        McpText t = {};

        if (mcp_result_begin(r, &t, "complete"))
                put_raw(&t, ",");
        tool_put_content(&t, r->version, inner, link, failed);
        mcp_result_end(r, &t);
}

/* One job's structured content. Returns whether some of the result was left out. */
static bool put_result(McpText *t, Job *j, uint64_t max) {
        uint64_t size = blob_size(j->result);
        bool cut;

        put_raw(t, "{");
        cut = put_job(t, j, j->result, size, size > max ? MIN(max, (uint64_t) MCP_OUTPUT_HEAD) : max);
        put_raw(t, "}");
        return cut;
}

void run_put_answer(McpText *t, McpVersion v, Job *j, uint64_t max) {
        _cleanup_mcp_text_ McpText inner = {};
        char id[JOB_ID_TEXT_MAX];
        bool cut = put_result(&inner, j, max);

        put_raw(t, "{");
        tool_put_content(t, v, &inner, cut ? job_id_format(j->id, id) : NULL, j->state != JOB_COMPLETED);
        put_raw(t, "}");
}

static void answer_refusal(const McpReply *r, const McpCallJob *cj) {
        if (cj->duplicate_of > 0)
                tool_failed(r, NULL, "Duplicate", "another job has that key");
        else
                tool_failed(r, NULL, cj->code, "%s", strempty(cj->refusal));
}

void run_answer_execute(McpCall *call) {
        _cleanup_mcp_text_ McpText t = {};
        Job *j = call->jobs[0].job;
        char id[JOB_ID_TEXT_MAX];
        bool cut;

        if (!j) {
                answer_refusal(&call->reply, &call->jobs[0]);
                return;
        }
        cut = put_result(&t, j, mcp_output_max(call->reply.client->server));
        if (cut)
                j->detached = true; /* so that it is kept: job_result has it */
        answer_text(&call->reply, &t, cut ? job_id_format(j->id, id) : NULL, j->state != JOB_COMPLETED);
}

void run_answer_batch(McpCall *call) {
        _cleanup_mcp_text_ McpText t = {};
        unsigned completed = 0, failed;

        put_raw(&t, "{\"results\":{");
        for (unsigned i = 0; i < call->n_jobs; i++) {
                McpCallJob *cj = &call->jobs[i];

                put_format(&t, "%s\"%u\":{", i > 0 ? "," : "", i);
                if (cj->job) {
                        uint64_t size = MAX(blob_size(cj->job->result), blob_size(cj->result));

                        (void) put_job(&t, cj->job, cj->result, size, size);
                        completed += cj->job->state == JOB_COMPLETED;
                } else {
                        put_raw(&t, "\"status\":\"failed\"");
                        put_member_text(&t, "error", strempty(cj->refusal));
                        put_member_text(&t, "code", cj->code);
                }
                put_raw(&t, "}");
        }
        failed = call->n_jobs - completed;
        put_format(&t, "},\"completed\":%u,\"failed\":%u,\"status\":\"%s\"}", completed, failed, failed > 0 ? "failed" : "completed");
        answer_text(&call->reply, &t, NULL, completed == 0);
}

void run_answer_submit(McpCall *call) {
        const McpCallJob *cj = &call->jobs[0];
        json_object *o;
        char id[JOB_ID_TEXT_MAX];

        if (!cj->job && cj->duplicate_of == 0) {
                answer_refusal(&call->reply, cj);
                return;
        }
        o = json_object_new_object();
        object_add_text(o, "job_id", job_id_format(cj->job ? cj->job->id : cj->duplicate_of, id));
        if (cj->job)
                object_add_text(o, "pool_id", cj->job->pool_name);
        object_add_text(o, "status", cj->job ? job_state_to_string(cj->job->state) : "duplicate");
        json_object_object_add(o, "duplicate", json_object_new_boolean(!cj->job));
        tool_answer(&call->reply, o, false);
}

void run_answer_task(McpCall *call) {
        const Job *j = call->jobs[0].job;

        if (j && !job_ended(j))
                mcp_task_created(&call->reply, j);
        else
                run_answer_execute(call);
}
