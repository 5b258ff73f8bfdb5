/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tasks, an extension of the modern era: a call that takes long is answered with a task, which is a durable job, and the client asks for it whenever
 * it likes, over whichever connection, also after a restart of flowd. A task's id is the job's and a tag that only flowd can make; besides, a task
 * is its owner's only. No list of tasks has to be kept for that.
 */

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "mcp/tools.h"
#include "pool/durable.h"

#define POLL_MS 1000U
#define TASK_ID_MAX (JOB_ID_TEXT_MAX + 20U)

/* --- ids --- */

static inline uint64_t rotate(uint64_t v, unsigned n) {
        return v << n | v >> (64 - n);
}

static void sip_round(uint64_t v[static 4]) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
}

/* SipHash-2-4 of a number of eight bytes. */
static uint64_t tag_of(const McpServer *s, uint64_t id) {
        uint64_t v[4] = { s->secret[0] ^ 0x736f6d6570736575ULL, s->secret[1] ^ 0x646f72616e646f6dULL, s->secret[0] ^ 0x6c7967656e657261ULL,
                          s->secret[1] ^ 0x7465646279746573ULL };
        const uint64_t words[] = { id, 8ULL << 56 };

        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                v[3] ^= words[i];
                sip_round(v);
                sip_round(v);
                v[0] ^= words[i];
        }
        v[2] ^= 0xff;
        for (unsigned i = 0; i < 4; i++)
                sip_round(v);
        return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void task_id(const McpServer *s, uint64_t job, char buf[static TASK_ID_MAX]) {
        char text[JOB_ID_TEXT_MAX];

        (void) snprintf(buf, TASK_ID_MAX, "%s-%016llx", job_id_format(job, text), (unsigned long long) tag_of(s, job));
}

static bool has_tasks(const McpRequest *q) {
        JsonMember extensions, m;

        return mcp_is_modern(q->reply.version) && json_find(q->meta.capabilities, "extensions", &extensions) > 0 && extensions.type == JSON_OBJECT &&
               json_find((JsonSpan) { extensions.value, extensions.value_size }, MCP_EXTENSION_TASKS, &m) > 0 && m.type == JSON_OBJECT;
}

bool mcp_wants_task(const McpRequest *q) {
        const Store *s = q->reply.client->server->jobs->store;

        return s && has_tasks(q) && store_accepts(s, NULL);
}

static void unknown_task(const McpReply *r) {
        mcp_error(r, JSONRPC_INVALID_PARAMS, NULL, "there is no such task");
}

/* The job of the task that is asked for. Returns 0, or -EINVAL after having answered. */
static int find_task(McpRequest *q, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        char right[TASK_ID_MAX], id[TASK_ID_MAX];
        uint64_t job;

        if (!has_tasks(q)) {
                mcp_error(&q->reply, MCP_MISSING_CAPABILITY, "{\"requiredCapabilities\":{\"extensions\":{\"" MCP_EXTENSION_TASKS "\":{}}}}",
                          "this needs the capability " MCP_EXTENSION_TASKS);
                return -EINVAL;
        }
        if (json_span_text(mcp_param(&q->params, MCP_PARAM_TASK_ID), &text) >= 0 && strlen(text) < sizeof(id)) {
                strcpy(id, text);
                char *dash = strchr(id, '-');
                if (dash)
                        *dash = 0;
                if (dash && job_id_parse(id, &job) >= 0) {
                        task_id(q->reply.client->server, job, right);
                        if (streq(right, text)) {
                                *ret = job;
                                return 0;
                        }
                }
        }
        unknown_task(&q->reply);
        return -EINVAL;
}

/* --- what a task is like --- */

static void put_time(McpText *t, const char *key, uint64_t usec) {
        time_t s = (time_t) (usec / USEC_PER_SEC);
        char text[40];
        struct tm tm;

        if (gmtime_r(&s, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) > 0)
                put_format(t, ",\"%s\":\"%s.%03uZ\"", key, text, (unsigned) (usec / 1000 % 1000));
}

static void put_task(const McpServer *s, McpText *t, const Job *j, const char *status, bool comma) {
        uint64_t offset = j->accepted_real_usec - j->accepted_usec;
        uint64_t updated = j->finished_usec ? j->finished_usec + offset : j->dispatched_usec ? j->dispatched_usec + offset : j->accepted_real_usec;
        char id[TASK_ID_MAX];

        task_id(s, j->id, id);
        put_format(t, "%s\"taskId\":\"%s\",\"status\":\"%s\",\"ttlMs\":null,\"pollIntervalMs\":%u", comma ? "," : "", id, status, POLL_MS);
        put_time(t, "createdAt", j->accepted_real_usec);
        put_time(t, "lastUpdatedAt", updated);
        if (j->progress_text && !job_ended(j)) {
                put_raw(t, ",\"statusMessage\":");
                put_text(t, j->progress_text);
        }
}

void mcp_task_created(const McpReply *r, const Job *j) {
        McpText t = {};
        bool comma = mcp_result_begin(r, &t, "task");

        put_task(r->client->server, &t, j, "working", comma);
        mcp_result_end(r, &t);
}

static void answer_task(const McpReply *r, Job *j) {
        const char *status = !job_ended(j) ? "working" : j->state == JOB_CANCELLED ? "cancelled" : "completed"; /* with an error in it, perhaps */
        McpText t = {};
        bool comma = mcp_result_begin(r, &t, "complete");

        put_task(r->client->server, &t, j, status, comma);
        if (streq(status, "completed")) {
                put_raw(&t, ",\"result\":");
                run_put_answer(&t, r->version, j, mcp_output_max(r->client->server));
        }
        mcp_result_end(r, &t);
}

static void answer_stored(McpFetch *f) {
        _cleanup_(job_unrefp) Job *j = NULL;
        const McpServer *s = f->server;
        JobRecord *r = &f->found->record;
        const Pool *p = r->pool ? map_get_name(s->router->by_name, r->pool, Pool, by_name) : NULL;
        int k;

        if (!mcp_may_see(&f->reply, r->uid)) {
                unknown_task(&f->reply);
                return;
        }
        k = durable_ended(r, &j);
        if (k < 0) {
                mcp_error(&f->reply, JSONRPC_INTERNAL_ERROR, NULL, k == -EAGAIN ? "the job is being queued again; ask once more" : "out of memory");
                return;
        }
        if (p)
                j->pool_name = p->name;
        answer_task(&f->reply, j);
}

void mcp_tasks_get(McpRequest *q) {
        McpServer *s = q->reply.client->server;
        uint64_t id;

        if (find_task(q, &id) < 0)
                return;
        Job *j = job_table_find(s->jobs, id);
        if (!j)
                mcp_fetch_job(&q->reply, id, STORE_WANT_RESULT, false, true, "task", answer_stored);
        else if (mcp_may_see(&q->reply, j->uid))
                answer_task(&q->reply, j);
        else
                unknown_task(&q->reply);
}

/* flowd's tasks never wait for input, so there is nothing that this could answer. */
void mcp_tasks_update(McpRequest *q) {
        uint64_t id;

        if (find_task(q, &id) >= 0)
                mcp_result(&q->reply, NULL);
}

void mcp_tasks_cancel(McpRequest *q) {
        McpServer *s = q->reply.client->server;
        uint64_t id;

        if (find_task(q, &id) < 0)
                return;
        Job *j = job_table_find(s->jobs, id);
        if (j && !mcp_may_see(&q->reply, j->uid)) {
                unknown_task(&q->reply);
                return;
        }
        if (j) {
                job_ref(j);
                (void) pool_cancel_job(s->jobs, j);
                job_unref(j);
        }
        mcp_result(&q->reply, NULL); /* one that has ended stays as it is */
}
