/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls across execve(). */

#include <errno.h>

#include "basic/state.h"
#include "mcp/tools.h"

int mcp_call_serialize(McpCall *call, StateWriter *sw, json_object *o) {
        json_object *jobs = json_object_new_array();
        _cleanup_free_ char *id = memdup_text(call->reply.id.p, call->reply.id.size);

        if (call->kind == MCP_CALL_CLOSE) {
                json_object_put(jobs);
                return -EBUSY;
        }
        state_put_int(sw, o, "kind", call->kind);
        state_put_text(sw, o, "id", id);
        state_put_int(sw, o, "version", call->reply.version);
        state_put_int(sw, o, "batch", call->reply.batch ? (int64_t) call->reply.batch->number + 1 : 0);
        state_put_text(sw, o, "progress", call->progress);
        state_put_int(sw, o, "log_level", call->log_level);
        state_put_int(sw, o, "told", (int64_t) (call->told * 1e9));
        state_put_int(sw, o, "until", (int64_t) call->wait_until);
        state_put_int(sw, o, "offset", (int64_t) call->offset);
        state_put_int(sw, o, "length", (int64_t) call->length);
        for (unsigned i = 0; i < call->n_jobs; i++) {
                const McpCallJob *cj = &call->jobs[i];
                json_object *e = json_object_new_object();

                state_put_int(sw, e, "job", cj->job ? (int64_t) cj->job->id : 0);
                if (cj->job && job_ended(cj->job)) { /* its row may be gone before the others have ended */
                        json_object *ended = json_object_new_object();

                        job_serialize(cj->job, sw, ended);
                        state_put_object(sw, e, "ended", ended);
                        state_put_blob(sw, e, "result", cj->result);
                }
                state_put_text(sw, e, "refusal", cj->refusal);
                state_put_text(sw, e, "code", cj->code);
                state_put_int(sw, e, "duplicate", (int64_t) cj->duplicate_of);
                (void) json_object_array_add(jobs, e);
        }
        state_put_object(sw, o, "jobs", jobs);
        return id ? sw->error : -ENOMEM;
}

static int restore_ended(McpCall *call, unsigned i, const StateReader *sr, const json_object *e, const json_object *ended) {
        _cleanup_(job_unrefp) Job *j = NULL;
        const char *pool = state_get_text(ended, "pool");
        int r = job_deserialize(sr, ended, &j);

        if (r < 0)
                return r;
        const Pool *p = pool ? map_get_name(call->reply.client->server->router->by_name, pool, Pool, by_name) : NULL;
        j->pool_name = p ? p->name : "";
        call->jobs[i].result = state_get_blob(sr, e, "result");
        call->held += blob_size(call->jobs[i].result);
        mcp_call_add(call, i, j);
        return 0;
}

static int restore_job(McpCall *call, unsigned i, const StateReader *sr, const json_object *e) {
        McpClient *c = call->reply.client;
        McpCallJob *cj = &call->jobs[i];
        const json_object *ended = state_get_object(e, "ended");

        if (ended)
                return restore_ended(call, i, sr, e, ended);
        Job *j = job_table_find(c->server->jobs, (uint64_t) state_get_int(e, "job"));
        const char *refusal = state_get_text(e, "refusal"), *code = state_get_text(e, "code");

        cj->duplicate_of = (uint64_t) state_get_int(e, "duplicate");
        cj->refusal = refusal ? strdup(refusal) : NULL;
        cj->code = code ? job_known_code(code) : NULL;
        if (j)
                mcp_call_add(call, i, j);
        else if (!refusal && cj->duplicate_of == 0) {
                cj->refusal = strdup("the job was lost in a re-exec");
                cj->code = "Crashed";
        }
        return 0;
}

int mcp_call_deserialize(McpClient *c, const StateReader *sr, const json_object *o) {
        json_object *jobs = state_get_object(o, "jobs");
        const char *id = state_get_text(o, "id"), *progress = state_get_text(o, "progress");
        size_t n = jobs ? json_object_array_length(jobs) : 0;
        int64_t kind = state_get_int(o, "kind"), version = state_get_int(o, "version"), batch = state_get_int(o, "batch");
        McpRequest q = { .reply = { .client = c }, .meta.log_level = (int) state_get_int(o, "log_level") };
        McpCall *call;

        if (!id || n == 0 || n > UINT16_MAX || kind < 0 || kind >= _MCP_CALL_KIND_MAX || version < 0 || version >= _MCP_VERSION_MAX)
                return -EBADMSG;
        q.reply.id = (JsonSpan) { id, strlen(id) };
        q.reply.version = (McpVersion) version;
        if (progress)
                q.meta.progress = (JsonSpan) { progress, strlen(progress) };
        LIST_FOREACH(l, &c->batches) {
                McpBatch *b = list_entry(l, McpBatch, link);

                if (batch > 0 && b->number == (unsigned) batch - 1) {
                        q.reply.batch = b;
                        b->pending++;
                }
        }
        call = mcp_call_new(&q, (McpCallKind) kind, (unsigned) n);
        if (!call)
                return -ENOMEM;
        call->told = (double) state_get_int(o, "told") / 1e9;
        call->wait_until = (uint64_t) state_get_int(o, "until");
        call->offset = (uint64_t) state_get_int(o, "offset");
        call->length = (uint64_t) state_get_int(o, "length");
        for (unsigned i = 0; i < n; i++) {
                int r = restore_job(call, i, sr, json_object_array_get_idx(jobs, i));

                if (r < 0)
                        return r;
        }
        mcp_call_start(call);
        return 0;
}
