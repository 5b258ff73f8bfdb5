/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Completion: the names of pools, workers, the newest jobs and sessions, for the arguments of prompts and of resource templates. */

#include <stdio.h>

#include "mcp/internal.h"

#define VALUES_MAX 100U /* the protocol's limit */

typedef struct Values {
        const char *prefix;
        json_object *array;
        unsigned total;
} Values;

static void add(Values *v, const char *value) {
        if (strncmp(value, v->prefix, strlen(v->prefix)) != 0)
                return;
        if (v->total++ < VALUES_MAX)
                json_object_array_add(v->array, json_object_new_string(value));
}

static void add_sessions(const McpServer *s, Values *v) {
        List *first = flow_session_list(s->flow);

        LIST_FOREACH(l, first) {
                const FlowSession *session = list_entry(l, FlowSession, link);

                if (!session->archived)
                        add(v, session->id);
        }
}

static void add_pools(const McpServer *s, Values *v) {
        LIST_FOREACH(l, s->router->pools)
                add(v, list_entry(l, Pool, link)->name);
}

static void add_workers(const McpServer *s, Values *v) {
        LIST_FOREACH(l, s->router->pools)
                LIST_FOREACH(k, &list_entry(l, Pool, link)->workers)
                        add(v, list_entry(k, Worker, link)->name);
}

static void add_jobs(const McpServer *s, Values *v) {
        const List *const lists[] = { &s->jobs->live, &s->jobs->results, &s->jobs->ended };
        char id[JOB_ID_TEXT_MAX];

        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                for (const List *l = lists[i]->prev; l != lists[i]; l = l->prev)
                        add(v, job_id_format(list_entry(l, Job, table_link)->id, id));
}

static const struct {
        const char *type, *key, *name, *argument;
        void (*values)(const McpServer *s, Values *v);
} arguments[] = {
        { "ref/prompt", "name", "diagnose_pool", "pool", add_pools },
        { "ref/prompt", "name", "explain_failure", "job", add_jobs },
        { "ref/resource", "uri", "flow://pools/{name}", "name", add_pools },
        { "ref/resource", "uri", "flow://workers/{id}", "id", add_workers },
        { "ref/resource", "uri", "flow://jobs/{id}", "id", add_jobs },
        { "ref/resource", "uri", "flow://sessions/{id}", "id", add_sessions },
        { "ref/resource", "uri", "flow://sessions/{id}/tasks/{task}", "id", add_sessions },
};

/* A member that is a string; without a text where it is not there, or is something else. */
static JsonSpan string_of(JsonSpan object, const char *name) {
        JsonMember m;

        return json_find(object, name, &m) > 0 && m.type == JSON_STRING ? (JsonSpan) { m.value, m.value_size } : (JsonSpan) {};
}

void mcp_complete(McpRequest *q) {
        const McpServer *s = q->reply.client->server;
        JsonSpan ref = mcp_param(&q->params, MCP_PARAM_REF), argument = mcp_param(&q->params, MCP_PARAM_ARGUMENT);
        _cleanup_free_ char *prefix = NULL;
        json_object *o, *completion;
        Values v = {};

        if (!mcp_param_has(&q->params, MCP_PARAM_REF, JSON_OBJECT) || !mcp_param_has(&q->params, MCP_PARAM_ARGUMENT, JSON_OBJECT) ||
            json_span_text(string_of(argument, "value"), &prefix) < 0) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "completion/complete needs a ref and an argument with name and value");
                return;
        }
        if (mcp_pooled_complete(q) > 0)
                return;
        v.prefix = prefix;
        v.array = json_object_new_array();
        for (size_t i = 0; i < ELEMENTSOF(arguments); i++)
                if (mcp_level(&q->reply) >= LEVEL_OBSERVE && json_span_is(string_of(ref, "type"), arguments[i].type) &&
                    json_span_is(string_of(ref, arguments[i].key), arguments[i].name) && json_span_is(string_of(argument, "name"), arguments[i].argument))
                        arguments[i].values(s, &v);
        o = json_object_new_object();
        completion = json_object_new_object();
        json_object_object_add(completion, "values", v.array);
        object_add_int(completion, "total", v.total);
        json_object_object_add(completion, "hasMore", json_object_new_boolean(v.total > VALUES_MAX));
        json_object_object_add(o, "completion", completion);
        mcp_result(&q->reply, o);
}
