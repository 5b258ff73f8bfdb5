/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a pooled server asks its client (roots, a completion, an answer of its user) goes to the connection whose call the server has in hand, as
 * flowd's own request, and what that answers goes back. Only legacy clients that have declared the capability are asked: the modern era has no
 * requests of servers. A question ends with its call.
 */

#include <errno.h>
#include <stdio.h>

#include "basic/state.h"
#include "mcp/internal.h"
#include "worker/worker-type.h"
#include "worker/worker.h"

#define ASKS_MAX 64U /* of a connection */
#define ID_PREFIX "flowd-ask-"

static const struct {
        McpFeature feature;
        const char *capability, *method;
} askable[] = {
        { MCP_FEATURE_ROOTS, "roots", "roots/list" },
        { MCP_FEATURE_SAMPLING, "sampling", "sampling/createMessage" },
        { MCP_FEATURE_ELICITATION, "elicitation", "elicitation/create" },
};

unsigned mcp_features_of(JsonSpan capabilities) {
        unsigned features = 0;
        JsonMember m;

        for (size_t i = 0; i < ELEMENTSOF(askable); i++)
                if (json_find(capabilities, askable[i].capability, &m) > 0 && m.type == JSON_OBJECT)
                        features |= askable[i].feature;
        return features;
}

static McpAsk *ask_new(McpClient *c, uint64_t id, uint64_t job, uint64_t question) {
        McpAsk *a = new0(McpAsk, 1);

        if (!a)
                return NULL;
        *a = (McpAsk) { .id = id, .job = job, .question = question };
        list_append(&c->asks, &a->link);
        c->n_asks++;
        return a;
}

static void ask_free(McpClient *c, McpAsk *a) {
        list_remove(&a->link);
        c->n_asks--;
        free(a);
}

bool mcp_ask(McpCall *call, const Job *j, const JobQuestion *q) {
        McpClient *c = call->reply.client;
        McpText t = {};
        bool may = false;

        for (size_t i = 0; i < ELEMENTSOF(askable); i++)
                may |= c->features & askable[i].feature && streq(askable[i].method, q->method);
        if (!may || mcp_is_modern(call->reply.version) || c->closing || c->n_asks >= ASKS_MAX || !ask_new(c, ++c->asked, j->id, q->id))
                return false;
        put_format(&t, "{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"id\":\"" ID_PREFIX "%llu\"", q->method, (unsigned long long) c->asked);
        if (q->params) {
                put_raw(&t, ",\"params\":");
                put_span(&t, (JsonSpan) { q->params, q->params_size });
        }
        put_raw(&t, "}\n");
        if (t.error < 0)
                c->closing = true;
        else
                mcp_client_send(c, t.b.data, t.b.size);
        mcp_text_done(&t);
        mcp_client_flush(c);
        return true;
}

void mcp_ask_answered(McpClient *c, const JsonrpcMessage *m) {
        static const char nonsense[] = "{\"code\":-32603,\"message\":\"the client's answer is no object\"}";
        _cleanup_free_ char *id = NULL;
        uint64_t n;
        Job *j;

        if (!m->id.p || json_span_text(m->id, &id) < 0 || strncmp(id, ID_PREFIX, sizeof(ID_PREFIX) - 1) != 0 ||
            u64_parse(id + sizeof(ID_PREFIX) - 1, 1, UINT64_MAX, &n) < 0)
                return;
        LIST_FOREACH_SAFE(l, next, &c->asks) {
                McpAsk *a = list_entry(l, McpAsk, link);
                bool error = m->type == JSONRPC_ERROR;
                JsonSpan answer = error ? m->error : m->result;

                if (a->id != n)
                        continue;
                j = job_table_find(c->server->jobs, a->job);
                if (j && worker_answer(j, a->question, error, answer.p, answer.size) == -EBADMSG)
                        (void) worker_answer(j, a->question, true, nonsense, sizeof(nonsense) - 1);
                ask_free(c, a);
                return;
        }
}

void mcp_asks_drop(McpClient *c, uint64_t job) {
        LIST_FOREACH_SAFE(l, next, &c->asks) {
                McpAsk *a = list_entry(l, McpAsk, link);

                if (job > 0 && a->job != job)
                        continue;
                if (job > 0 && !c->closing) {
                        _cleanup_mcp_text_ McpText t = {};

                        put_format(&t, "{\"requestId\":\"" ID_PREFIX "%llu\",\"reason\":\"the call that this was about has ended\"}",
                                   (unsigned long long) a->id);
                        mcp_notify(c, "notifications/cancelled", &t);
                }
                ask_free(c, a);
        }
}

void mcp_asks_serialize(McpClient *c, StateWriter *sw, json_object *o) {
        json_object *all = json_object_new_array();

        state_put_int(sw, o, "features", c->features);
        state_put_int(sw, o, "asked", (int64_t) c->asked);
        LIST_FOREACH(l, &c->asks) {
                const McpAsk *a = list_entry(l, McpAsk, link);
                json_object *e = json_object_new_object();

                state_put_int(sw, e, "id", (int64_t) a->id);
                state_put_int(sw, e, "job", (int64_t) a->job);
                state_put_int(sw, e, "question", (int64_t) a->question);
                (void) json_object_array_add(all, e);
        }
        state_put_object(sw, o, "asks", all);
}

int mcp_asks_deserialize(McpClient *c, const json_object *o) {
        json_object *all = state_get_object(o, "asks");

        c->features = (unsigned) state_get_int(o, "features");
        c->asked = (uint64_t) state_get_int(o, "asked");
        for (size_t i = 0; all && i < json_object_array_length(all); i++) {
                json_object *e = json_object_array_get_idx(all, i);

                if (!ask_new(c, (uint64_t) state_get_int(e, "id"), (uint64_t) state_get_int(e, "job"), (uint64_t) state_get_int(e, "question")))
                        return -ENOMEM;
        }
        return 0;
}
