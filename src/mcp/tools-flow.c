/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The tools about sessions. What they do is done in the flow room: a tool is one of its verbs, its arguments are handed over as they are, and what changes
 * a session is answered when that is on the disk. A client that goes away meanwhile takes nothing back.
 */

#include <errno.h>

#include "mcp/tools.h"

static void tool_flow(McpRequest *q, const McpArguments *a);

/* Parameters that several tools have. */
#define P_SESSION_ID(required_) { "sessionId", MCP_STRING, required_, 0, 0, NULL, NULL, "The session's id, as session_list tells it" }
#define P_TASK_ID(required_) { "taskId", MCP_STRING, required_, 0, 0, NULL, NULL, "The task's id in its session" }
#define P_FORCE { "force", MCP_BOOLEAN, false, 0, 0, "false", NULL, "Though an unfinished task has the same description" }
#define P_CONTEXT(what) { "context", MCP_VALUE, false, 0, 0, NULL, NULL, what }
#define P_PURPOSE { "purpose", MCP_PAYLOAD, false, 0, 0, NULL, NULL, "What the session is for, in a sentence" }
#define P_TODOS(required_) { "todos", MCP_ARRAY, required_, 0, 0, NULL, NULL, "The goals above the tasks: texts, or objects of any shape" }
#define POLICIES "[\"fail\",\"skip\",\"continue\"]"
#define P_ON_FAILURE(what) { "on_failure", MCP_STRING, false, 0, 0, NULL, POLICIES, what }

/* Pieces of schemas. */
#define COUNT "{\"type\":\"integer\",\"minimum\":0}"
#define STRING "{\"type\":\"string\"}"
#define STRINGS "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"
#define PERCENT "{\"type\":\"number\",\"minimum\":0,\"maximum\":100}"
#define BOOLEAN "{\"type\":\"boolean\"}"
#define FAILURE "\"status\":{\"enum\":[\"failed\"]},\"error\":" STRING ",\"code\":" STRING
#define TASK_STATES "[\"queued\",\"active\",\"in-progress\",\"completed\",\"resting\",\"failed\",\"cancelled\",\"blocked\"]"
#define SESSION_PROPERTIES                                                                                                          \
        "\"id\":" STRING ",\"purpose\":" STRING ",\"state\":{\"enum\":[\"warming\",\"flowing\",\"surging\",\"waning\",\"resting\","  \
        "\"archived\"]},\"momentum\":" PERCENT ",\"load\":" COUNT ",\"capacity\":" COUNT ",\"tasks\":" COUNT ",\"queued\":" COUNT     \
        ",\"active\":" COUNT ",\"in_progress\":" COUNT ",\"completed\":" COUNT ",\"resting\":" COUNT ",\"failed\":" COUNT            \
        ",\"cancelled\":" COUNT ",\"blocked\":" COUNT ",\"rest_mode\":" BOOLEAN ",\"archived\":" BOOLEAN
#define SESSION_SCHEMA                                                                                                              \
        "{\"type\":\"object\",\"properties\":{" SESSION_PROPERTIES "},"                                                            \
        "\"required\":[\"id\",\"state\",\"momentum\",\"load\",\"capacity\",\"tasks\",\"archived\"]}"
#define TASK_SCHEMA                                                                                                                 \
        "{\"type\":\"object\",\"properties\":{\"id\":" STRING ",\"description\":" STRING ",\"state\":{\"enum\":" TASK_STATES "},"    \
        "\"momentum\":" PERCENT ",\"weight\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":10},\"dependencies\":" STRINGS           \
        ",\"executable\":" BOOLEAN ",\"error\":" STRING "},\"required\":[\"id\",\"description\",\"state\",\"momentum\",\"weight\"]}"
/* A result, or a failure: then it has neither. */
#define CHANGED(more)                                                                                                               \
        "{\"type\":\"object\",\"properties\":{\"session\":" SESSION_SCHEMA ",\"activated\":" STRINGS "," more FAILURE "},"          \
        "\"anyOf\":[{\"required\":[\"session\",\"activated\"]},{\"required\":[\"status\",\"error\",\"code\"]}]}"
#define OF_TASK "\"task\":" TASK_SCHEMA ","
#define WARNINGS "\"warnings\":" STRINGS ","
#define TASKS_OF(state) "\"" state "\":{\"type\":\"array\",\"items\":" TASK_SCHEMA "}"
#define NEW_TASK                                                                                                                    \
        "{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"string\",\"description\":\"Its name in the graph\"},"              \
        "\"description\":{\"type\":\"string\"},\"dependencies\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},"               \
        "\"description\":\"Ids of tasks of this graph, or of its session\"},"                                                      \
        "\"weight\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":10},"                                                    \
        "\"priority\":{\"enum\":[\"high\",\"medium\",\"low\"]},\"context\":{},\"notes\":{\"type\":\"string\"},"                     \
        "\"on_failure\":{\"enum\":" POLICIES "},\"pool\":{\"type\":\"string\"},\"tier\":{\"enum\":[\"hot\",\"warm\",\"cold\"]},"      \
        "\"method\":{\"type\":\"string\"},"                                                                                       \
        "\"payload\":{\"description\":\"A text, or JSON; ${task.ID.result} stands for the result of a dependency\"},"            \
        "\"kind\":{\"enum\":[\"text\",\"json\"]},\"timeout\":{\"type\":\"string\"},\"retries\":{\"type\":\"integer\",\"minimum\":0}},"           \
        "\"required\":[\"description\"]}"

static const McpTool flow_tools[] = {
        { "add_task", "Add a task",
          "Adds a task to a session. It is activated when what it depends on is done and there is room. With pool, tier or method flowd runs it "
          "as a job; without, it is manual: pulse tells how it gets on, complete_task ends it.",
          LEVEL_SUBMIT, TOOL_OPEN_WORLD, tool_flow, CHANGED(OF_TASK WARNINGS),
          { P_SESSION_ID(true), P_TASK_ID(false), { "description", MCP_PAYLOAD, true, 0, 0, NULL, NULL, "What is to be done, in a sentence" },
            P_CONTEXT("What is to be known for it: a text, or JSON"),
            { "weight", MCP_INTEGER, false, 1, FLOW_WEIGHT_MAX, "5", NULL, "How heavy it is: 1 to 3 light, 4 to 6 medium, from 7 heavy" },
            { "dependencies", MCP_STRINGS, false, 0, 0, NULL, NULL, "Ids of the tasks that must be done first" },
            { "priority", MCP_STRING, false, 0, 0, "\"medium\"", "[\"high\",\"medium\",\"low\"]", "Which goes first among those that are ready" },
            { "notes", MCP_PAYLOAD, false, 0, 0, NULL, NULL, "Anything else" },
            P_ON_FAILURE("What becomes of the tasks that depend on it where it fails; by default as the session says"),
            { "pool", MCP_STRING, false, 0, 0, NULL, NULL, "The pool that runs it, as pool_list tells it" },
            { "tier", MCP_STRING, false, 0, 0, NULL, "[\"hot\",\"warm\",\"cold\"]", "Only pools of this tier run it" },
            { "method", MCP_STRING, false, 0, 0, NULL, NULL, "What the worker is to do" },
            { "payload", MCP_VALUE, false, 0, 0, NULL, NULL, "What the worker gets; ${task.ID.result} stands for the result of a dependency" },
            { "kind", MCP_STRING, false, 0, 0, NULL, "[\"text\",\"json\"]", "What the payload is" },
            { "timeout", MCP_STRING, false, 0, 0, NULL, NULL, "How long one attempt may run: \"30s\", \"5min\"" },
            { "retries", MCP_INTEGER, false, 0, 1000, NULL, NULL, "Attempts after the first" }, P_FORCE } },
        { "add_tasks", "Add a graph of tasks",
          "Adds a whole graph of tasks, all or nothing; the session is made where there is none of that id. Tasks with pool, tier or method are run by "
          "flowd, each once, when their dependencies are done; flow_status and the resource flow://sessions/ID show how it gets on.",
          LEVEL_SUBMIT, TOOL_OPEN_WORLD, tool_flow, CHANGED("\"tasks\":" STRINGS "," WARNINGS),
          { P_SESSION_ID(false), { "tasks", MCP_ARRAY, true, 0, 0, NULL, NEW_TASK, "The tasks, in any order" }, P_PURPOSE,
            P_CONTEXT("What is to be known for a new session: a text, or JSON"), P_TODOS(false),
            P_ON_FAILURE("Of a new session: what becomes of tasks that depend on one that fails; fail is the default"), P_FORCE } },
        { "cancel_task", "Cancel a task", "Ends a task that has not ended; its job is cancelled, too.", LEVEL_SUBMIT, TOOL_DESTRUCTIVE, tool_flow,
          CHANGED(OF_TASK), { P_SESSION_ID(true), P_TASK_ID(true), { "reason", MCP_PAYLOAD, false, 0, 0, NULL, NULL, "Why, for the work log" } } },
        { "complete_task", "Complete a task",
          "Ends a manual task, well or with an error. What depends on it is activated. With open dependencies it waits for them.", LEVEL_SUBMIT, 0, tool_flow,
          CHANGED(OF_TASK "\"waits\":" BOOLEAN ","),
          { P_SESSION_ID(true), P_TASK_ID(true), { "notes", MCP_PAYLOAD, false, 0, 0, NULL, NULL, "What came of it, for the work log" },
            { "error", MCP_PAYLOAD, false, 0, 0, NULL, NULL, "It has failed, and why" } } },
        { "create_session", "Make a session", "Makes a session: a graph of tasks that is balanced, and outlives flowd.", LEVEL_SUBMIT, 0, tool_flow,
          CHANGED(""),
          { { "sessionId", MCP_STRING, false, 0, 0, NULL, NULL, "Its id; one is made where this is absent" }, P_PURPOSE,
            P_CONTEXT("What is to be known for it: a text, or JSON (project, repository, branch, objective)"), P_TODOS(false),
            P_ON_FAILURE("What becomes of tasks that depend on one that fails; fail is the default") } },
        { "enter_rest_mode", "Rest", "Nothing new is activated for so long; what runs goes on. Work that is asked for waits until then.", LEVEL_SUBMIT,
          TOOL_IDEMPOTENT, tool_flow, CHANGED(""),
          { P_SESSION_ID(true), { "duration", MCP_STRING, false, 0, 0, "\"infinity\"", NULL,
                                  "\"8 hours\", \"30min\", \"overnight\", \"extended\" (three days), or \"infinity\": until it is woken" } } },
        { "flow_status", "Show a session", "How a session gets on: its tasks by state, load and capacity, the flow state and why, and what to do next.",
          LEVEL_OBSERVE, TOOL_READ_ONLY, tool_flow,
          "{\"type\":\"object\",\"properties\":{" SESSION_PROPERTIES ",\"load_text\":" STRING ",\"why\":" STRING ",\"recommendations\":{\"type\":\"array\"},"
          "\"by_state\":{\"type\":\"object\",\"properties\":{" TASKS_OF("queued") "," TASKS_OF("active") "," TASKS_OF("in_progress") ","
          TASKS_OF("completed") "," TASKS_OF("resting") "," TASKS_OF("failed") "," TASKS_OF("cancelled") "," TASKS_OF("blocked") "}}," FAILURE "},"
          "\"anyOf\":[{\"required\":[\"id\",\"state\",\"by_state\",\"recommendations\"]},{\"required\":[\"status\",\"error\",\"code\"]}]}",
          { P_SESSION_ID(true) } },
        { "pulse", "Tell of progress",
          "Adds to the work log of a session and, of a task, moves its momentum: to what is given, or by a step. 100 completes it.", LEVEL_SUBMIT, 0, tool_flow,
          CHANGED(OF_TASK),
          { P_SESSION_ID(true), { "action", MCP_PAYLOAD, false, 0, 0, NULL, NULL, "What was done" }, P_TASK_ID(false),
            { "details", MCP_PAYLOAD, false, 0, 0, NULL, NULL, "More about it" },
            { "momentum", MCP_NUMBER, false, 0, 100, NULL, NULL, "How far the task is, in percent" },
            { "blocked", MCP_PAYLOAD, false, 0, 0, NULL, NULL, "The task waits for something outside, and for what" } } },
        { "rebalance_flow", "Balance a session", "Chooses anew which tasks are active. Every change does that, so there is seldom need.", LEVEL_SUBMIT,
          TOOL_IDEMPOTENT, tool_flow, CHANGED(""), { P_SESSION_ID(true) } },
        { "session_archive", "Archive a session", "Ends a session: its open tasks are cancelled, and it is kept for a while to be looked at.", LEVEL_SUBMIT,
          TOOL_DESTRUCTIVE | TOOL_IDEMPOTENT, tool_flow, CHANGED(""), { P_SESSION_ID(true) } },
        { "session_list", "List sessions", "Lists the sessions: their states, loads and counts of tasks.", LEVEL_OBSERVE, TOOL_READ_ONLY, tool_flow,
          "{\"type\":\"object\",\"properties\":{\"sessions\":{\"type\":\"array\",\"items\":" SESSION_SCHEMA "}," FAILURE "},"
          "\"anyOf\":[{\"required\":[\"sessions\"]},{\"required\":[\"status\",\"error\",\"code\"]}]}",
          { { "all", MCP_BOOLEAN, false, 0, 0, "false", NULL, "Archived ones, too" } } },
        { "set_comprehensive_todos", "Set the goals", "Sets the goals of a session, above its tasks; those that there were are replaced.", LEVEL_SUBMIT,
          TOOL_IDEMPOTENT, tool_flow, CHANGED(""), { P_SESSION_ID(true), P_TODOS(true) } },
};

/* --- calls --- */

static FlowVerb verb_of(const McpTool *t) {
        FlowVerb v = 0;

        while (v < _VERB_MAX && !streq_ptr(flow_verb_tool(v), t->name))
                v++;
        return v;
}

/* The arguments as an object; NULL when out of memory, or where json-c cannot read what our own scanner could: it is nested too deeply. */
static json_object *arguments_object(const McpArguments *a) {
        json_object *o = json_object_new_object();
        struct json_tokener *tok = json_tokener_new();

        for (size_t i = 0; o && tok && i < MCP_TOOL_PARAMS_MAX && a->tool->parameters[i].name; i++) {
                json_object *v;

                if (!a->of[i].value)
                        continue;
                json_tokener_reset(tok);
                v = json_tokener_parse_ex(tok, a->of[i].value, (int) a->of[i].value_size);
                if (json_tokener_get_error(tok) == json_tokener_continue) /* a number may go on */
                        v = json_tokener_parse_ex(tok, " ", 1);
                if (json_tokener_get_error(tok) != json_tokener_success) {
                        json_object_put(o);
                        o = NULL;
                } else
                        json_object_object_add(o, a->tool->parameters[i].name, v);
        }
        if (tok)
                json_tokener_free(tok);
        return o;
}

/* A failure has no bounds as tool_failed() has: a circle of dependencies is as long as it is. */
static void answer_failure(const McpReply *r, const FlowCall *c) {
        _cleanup_free_ char *text = NULL;
        json_object *o = json_object_new_object();

        if (streq(c->error, "NotPermitted"))
                text = str_printf("%s; only that user, and operators, the group '%s', may do that", strempty(c->message),
                                  strna(auth_group(&r->client->server->auth, LEVEL_OPERATE)));
        object_add_text(o, "status", "failed");
        object_add_text(o, "error", text ? text : c->message ? c->message : "out of memory");
        object_add_text(o, "code", c->error);
        tool_answer(r, o, true);
}

static void answer(const McpReply *r, FlowCall *c) {
        json_object *status;

        if (c->error)
                answer_failure(r, c);
        else if (json_object_object_get_ex(c->result, "status", &status)) /* that of a session, which is the whole answer */
                tool_answer(r, json_object_get(status), false);
        else
                tool_answer(r, TAKE_PTR(c->result), false);
        flow_call_done(c);
}

static void answer_fetch(McpFetch *f) {
        answer(&f->reply, &f->flow);
}

static void on_done(FlowCall *c) {
        McpFetch *f = c->userdata;

        if (f->reply.client)
                f->answer(f);
        else
                flow_call_done(c);
        mcp_fetch_free(f);
}

static FlowCaller caller_of(const McpReply *r) {
        return (FlowCaller) { .uid = r->client->peer.uid, .operator_ = mcp_level(r) >= LEVEL_OPERATE };
}

static void tool_flow(McpRequest *q, const McpArguments *a) {
        McpServer *s = q->reply.client->server;
        json_object *args = arguments_object(a);
        FlowCaller who = caller_of(&q->reply);
        McpFetch *f;

        if (!args) {
                tool_failed(&q->reply, NULL, "InvalidArguments", "%s: the arguments are nested too deeply, or there is no memory for them", a->tool->name);
                return;
        }
        f = mcp_fetch_alloc(&q->reply, false, answer_fetch);
        if (f) {
                f->flow = (FlowCall) { .done = on_done, .userdata = f };
                if (flow_call(s->flow, verb_of(a->tool), &who, args, &f->flow) == 0)
                        on_done(&f->flow);
        }
        json_object_put(args);
}

json_object *mcp_flow_look(const McpReply *r, FlowVerb verb, const char *session, const char *task, bool all) {
        json_object *args = json_object_new_object(), *result;
        FlowCaller who = caller_of(r);
        FlowCall c = {};

        if (session)
                object_add_text(args, "session", session);
        if (task)
                object_add_text(args, "task", task);
        json_object_object_add(args, "all", json_object_new_boolean(all));
        (void) flow_call(r->client->server->flow, verb, &who, args, &c); /* what only looks is done at once */
        json_object_put(args);
        result = c.error ? NULL : TAKE_PTR(c.result);
        flow_call_done(&c);
        return result;
}

/* --- the provider --- */

static void list_tools(McpServer *s, McpLister *l) {
        (void) s;
        tools_list(flow_tools, ELEMENTSOF(flow_tools), l);
}

static int call_tool(McpRequest *q, JsonSpan name) {
        return tools_call(flow_tools, ELEMENTSOF(flow_tools), q, name);
}

const McpProvider mcp_flow_provider = {
        .name = "sessions",
        .list = { [MCP_TOOLS] = list_tools, [MCP_RESOURCES] = mcp_flow_resources_list, [MCP_TEMPLATES] = mcp_flow_templates_list },
        .call = call_tool,
        .read = mcp_flow_resource_read,
        .state = mcp_flow_resource_state,
};
