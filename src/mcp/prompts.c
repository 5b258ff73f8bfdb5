/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Prompts: what a person picks to have a model look into a pool, or into a failure, or plan a session, with what flowd knows of it in the message. */

#include <errno.h>
#include <stdio.h>

#include "mcp/tools.h"

#define EVENTS_TOLD 20U /* of a pool */
#define ARGUMENT_MAX 4096U /* bytes of an argument, as it stands in the message */

typedef struct Prompt {
        const char *name, *title, *description, *argument, *argument_description, *question;
        void (*get)(McpRequest *q, const char *value);
} Prompt;

static void get_diagnose(McpRequest *q, const char *value);
static void get_explain(McpRequest *q, const char *value);
static void get_plan(McpRequest *q, const char *value);

static const Prompt prompts[] = { /* by name */
        { "diagnose_pool", "Diagnose a pool", "Finds out what ails a pool, from its state, its workers and what happened to it", "pool", "The pool's name",
          "Which pool?", get_diagnose },
        { "explain_failure", "Explain a failure", "Explains why a job failed, and what to do about it", "job", "The job's id", "Which job?", get_explain },
        { "plan_session", "Plan a session", "Makes a goal into a session: a graph of tasks that flowd runs, and that the model does and tells of", "goal",
          "What is to be reached", "What is to be reached?", get_plan },
};

void mcp_prompts_list(McpServer *s, McpLister *l) {
        (void) s;
        for (size_t i = 0; i < ELEMENTSOF(prompts); i++) {
                const Prompt *p = &prompts[i];

                if (!mcp_list_want(l, p->name))
                        continue;
                put_format(l->text, "{\"name\":\"%s\",\"description\":", p->name);
                put_text(l->text, p->description);
                if (l->reply->version >= MCP_2025_06_18) {
                        put_raw(l->text, ",\"title\":");
                        put_text(l->text, p->title);
                }
                put_format(l->text, ",\"arguments\":[{\"name\":\"%s\",\"description\":\"%s\",\"required\":true}]}", p->argument, p->argument_description);
        }
}

/* A message of the user's, and the facts as a resource beside it; they are taken over. */
static void answer(const McpReply *r, const char *description, const char *text, const char *uri, json_object *facts) {
        McpText t = {}, inner = {};
        bool comma = mcp_result_begin(r, &t, "complete");

        put_json(&inner, facts);
        json_object_put(facts);
        if (inner.error < 0)
                t.error = inner.error;
        put_raw(&t, comma ? ",\"description\":" : "\"description\":");
        put_text(&t, description);
        put_raw(&t, ",\"messages\":[{\"role\":\"user\",\"content\":{\"type\":\"text\",\"text\":");
        put_text(&t, text);
        put_raw(&t, "}},{\"role\":\"user\",\"content\":{\"type\":\"resource\",\"resource\":{\"uri\":");
        put_text(&t, uri);
        put_raw(&t, ",\"mimeType\":\"application/json\",\"text\":");
        put_string(&t, inner.b.data ? inner.b.data : "", inner.b.size);
        put_raw(&t, "}}}]");
        mcp_text_done(&inner);
        mcp_result_end(r, &t);
}

static json_object *events_of(const McpServer *s, const char *pool) {
        const EventHistory *h = s->events;
        json_object *a = json_object_new_array();
        unsigned first = h->at, n = 0;

        while (first != h->at - h->n && n < EVENTS_TOLD)
                n += streq_ptr(h->events[--first % EVENTS_KEPT].pool, pool);
        for (unsigned i = first; i != h->at; i++)
                if (streq_ptr(h->events[i % EVENTS_KEPT].pool, pool))
                        json_object_array_add(a, object_of_event(&h->events[i % EVENTS_KEPT]));
        return a;
}

static void get_diagnose(McpRequest *q, const char *value) {
        const McpServer *s = q->reply.client->server;
        Pool *p = map_get_name(s->router->by_name, value, Pool, by_name);
        _cleanup_free_ char *text = NULL, *uri = NULL;
        json_object *facts, *workers;

        if (!p) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "there is no pool '%s'", value);
                return;
        }
        text = str_printf("Diagnose the flowd pool '%s'. It is %s%s%s. Below are its state, its workers with the ends of their standard error, and the last "
                          "events about it. Say whether it can do its work; if it cannot, or only badly, say what is wrong, what the evidence is, "
                          "and what to do, the least first: scaling it, its worker type's limits, the worker program itself. "
                          "Times ending in _usec are microseconds.",
                          p->name, pool_state_to_string(p->state), p->reason ? ": " : "", strempty(p->reason));
        uri = str_printf("flow://pools/%s", p->name);
        facts = json_object_new_object();
        workers = json_object_new_array();
        json_object_object_add(facts, "pool", object_of_pool(p));
        LIST_FOREACH(l, &p->workers)
                json_object_array_add(workers, object_of_worker(list_entry(l, Worker, link), true));
        json_object_object_add(facts, "workers", workers);
        json_object_object_add(facts, "events", events_of(s, p->name));
        answer(&q->reply, "What ails a pool", strempty(text), strempty(uri), facts);
}

static void explain(const McpReply *r, const McpServer *s, uint64_t id, JobState state, const char *pool, json_object *job) {
        _cleanup_free_ char *text = NULL, *uri = NULL;
        json_object *facts = json_object_new_object();
        Pool *p = pool ? map_get_name(s->router->by_name, pool, Pool, by_name) : NULL;
        char name[JOB_ID_TEXT_MAX];

        text = str_printf("Explain the flowd job %s, which is %s. Below are the job%s. Say in plain words what happened and why, what is certain "
                          "and what is likely, and what to do next: try again, change the payload, its timeout, the pool or the worker program. "
                          "Times ending in _usec are microseconds.",
                          job_id_format(id, name), job_state_to_string(state), p ? ", its pool, and the last events about the pool" : "");
        uri = str_printf("flow://jobs/%s", name);
        json_object_object_add(facts, "job", job);
        if (p) {
                json_object_object_add(facts, "pool", object_of_pool(p));
                json_object_object_add(facts, "events", events_of(s, p->name));
        }
        answer(r, "Why a job failed", strempty(text), strempty(uri), facts);
}

static void answer_explain(McpFetch *f) {
        const JobRecord *r = &f->found->record;

        explain(&f->reply, f->server, r->id, r->state, r->pool, object_of_record(f->server->router, r));
}

static void get_explain(McpRequest *q, const char *value) {
        const McpServer *s = q->reply.client->server;
        _cleanup_free_ char *uri = str_printf("flow://jobs/%s", value);
        uint64_t id;

        if (job_id_parse(value, &id) < 0) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "'%s' is no job's id", value);
                return;
        }
        const Job *j = job_table_find(q->reply.client->server->jobs, id);
        if (j)
                explain(&q->reply, s, id, j->state, j->pool_name, object_of_job(s->router, j));
        else
                mcp_fetch_job(&q->reply, id, 0, false, true, strempty(uri), answer_explain);
}

/* What tasks can be run on, and what is under way already. */
static void get_plan(McpRequest *q, const char *value) {
        const McpServer *s = q->reply.client->server;
        json_object *facts = mcp_flow_look(&q->reply, VERB_LIST, NULL, NULL, false), *pools = json_object_new_array();
        _cleanup_free_ char *text = NULL;

        text = str_printf("Plan this goal as a flowd session: %s\n\n"
                          "Below are the pools that can run tasks, with their worker types and methods, and the sessions that there are. First look "
                          "whether one of them has that goal already. Then break the goal down into tasks, each with one result that can be checked, and "
                          "submit the whole graph with one call of add_tasks: for each task an id, a description, dependencies (only true ones: what does "
                          "not depend on each other runs at the same time), a weight from 1 to 10, and, where a pool can do it, pool or method with a payload; "
                          "${task.ID.result} in a payload is the result of a dependency. Tasks without a pool are yours: do those that are active, "
                          "pulse with their momentum as you go on, and complete_task at their end. Choose on_failure for each branch: fail, skip or "
                          "continue. Subscribe to flow://sessions/ID or ask flow_status to see how it gets on, follow its recommendations, and archive the "
                          "session with session_archive when the goal is reached. Show me the graph before you submit it.",
                          value);
        if (!facts)
                facts = json_object_new_object();
        LIST_FOREACH(l, s->router->pools)
                json_object_array_add(pools, object_of_pool(list_entry(l, Pool, link)));
        json_object_object_add(facts, "pools", pools);
        answer(&q->reply, "A goal as a graph of tasks", strempty(text), "flow://sessions", facts);
}

/* --- arguments, asked for where they are missing --- */

static bool find_text(JsonSpan object, const char *name, char **ret) {
        JsonMember m;

        return object.p && json_find(object, name, &m) > 0 && m.type == JSON_STRING && m.value_size <= ARGUMENT_MAX &&
               json_span_text((JsonSpan) { m.value, m.value_size }, ret) >= 0;
}

static JsonSpan find_object(JsonSpan object, const char *name) {
        JsonMember m;

        return object.p && json_find(object, name, &m) > 0 && m.type == JSON_OBJECT ? (JsonSpan) { m.value, m.value_size } : (JsonSpan) {};
}

/* Returns 1 where the person in front of a modern client can be asked for it, and was not yet; else 0, with it or, where there is none, NULL. */
static int find_argument(const McpRequest *q, const Prompt *p, char **ret) {
        JsonSpan responses = mcp_param(&q->params, MCP_PARAM_INPUT_RESPONSES), response;

        if (find_text(mcp_param(&q->params, MCP_PARAM_ARGUMENTS), p->argument, ret))
                return 0;
        response = find_object(mcp_param_has(&q->params, MCP_PARAM_INPUT_RESPONSES, JSON_OBJECT) ? responses : (JsonSpan) {}, p->argument);
        if (response.p) {
                (void) find_text(find_object(response, "content"), p->argument, ret);
                return 0;
        }
        return mcp_is_modern(q->reply.version) && find_object(q->meta.capabilities, "elicitation").p;
}

/* What is asked for is a name that the person is shown a list of, or an id. Nothing has to be remembered for the answer: it comes with the request. */
static void ask(McpRequest *q, const Prompt *p) {
        const McpServer *s = q->reply.client->server;
        bool pools = streq(p->argument, "pool"), first = true;
        McpText t = {};

        (void) mcp_result_begin(&q->reply, &t, "input_required");
        put_format(&t, ",\"inputRequests\":{\"%s\":{\"method\":\"elicitation/create\",\"params\":{\"mode\":\"form\",\"message\":", p->argument);
        put_text(&t, p->question);
        put_format(&t, ",\"requestedSchema\":{\"type\":\"object\",\"properties\":{\"%s\":{\"type\":\"string\",\"description\":", p->argument);
        put_text(&t, p->argument_description);
        if (pools && !list_empty(s->router->pools)) {
                put_raw(&t, ",\"enum\":[");
                LIST_FOREACH(l, s->router->pools) {
                        put_raw(&t, first ? "" : ",");
                        put_text(&t, list_entry(l, Pool, link)->name);
                        first = false;
                }
                put_raw(&t, "]");
        }
        put_format(&t, "}},\"required\":[\"%s\"]}}}}", p->argument);
        mcp_result_end(&q->reply, &t);
}

int mcp_prompt_get(McpRequest *q, JsonSpan name) {
        _cleanup_free_ char *value = NULL;
        const Prompt *p = NULL;

        for (size_t i = 0; !p && i < ELEMENTSOF(prompts); i++)
                if (json_span_is(name, prompts[i].name))
                        p = &prompts[i];
        if (!p)
                return 0;
        if (mcp_level(&q->reply) < LEVEL_OBSERVE)
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "%s needs membership of the group '%s'", p->name,
                          strna(auth_group(&q->reply.client->server->auth, LEVEL_OBSERVE)));
        else if (find_argument(q, p, &value) > 0)
                ask(q, p);
        else if (!value)
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "%s needs the argument '%s', a string", p->name, p->argument);
        else
                p->get(q, value);
        return 1;
}
