/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * flowd's own tools: the table, how a tool is called, and how it answers. A tool that fails says so in a result with isError, which a model can read;
 * only what is no call at all is an error of JSON-RPC. Which tools a client sees depends on its level.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "mcp/tools.h"

#define DAY (24 * 3600)

/* Parameters that several tools have. */
#define P_POOL(required_) { "pool_id", MCP_STRING, required_, 0, 0, NULL, NULL, "The pool's name, as pool_list tells it" }
#define P_PROMPT { "prompt", MCP_PAYLOAD, true, 0, 0, NULL, NULL, "The job's payload: what the worker gets" }
#define P_TIMEOUT                                                                                                           \
        { "timeout", MCP_INTEGER, false, 1, DAY, NULL, NULL,                                                                \
          "Seconds that one attempt may run, from its dispatch; then the work itself is ended. Default: what the worker type says" }
#define P_METHOD { "method", MCP_STRING, false, 0, 0, NULL, NULL, "What the worker is to do, where it can do several things" }
#define P_SESSION { "session", MCP_STRING, false, 0, 0, NULL, NULL, "The thread of work that the job belongs to" }
#define P_KIND                                                                                                              \
        { "kind", MCP_STRING, false, 0, 0, "\"text\"", "[\"text\",\"json\",\"bytes\"]",                                     \
          "What the payload is: text, a JSON text, or bytes in base64" }
#define P_PRIORITY { "priority", MCP_INTEGER, false, INT32_MIN, INT32_MAX, "0", NULL, "Place in the queue: higher goes first" }
#define P_TIER { "tier", MCP_STRING, false, 0, 0, NULL, "[\"hot\",\"warm\",\"cold\"]", "Only pools of this tier" }
#define P_WORKER_TYPE { "worker_type", MCP_STRING, false, 0, 0, NULL, NULL, "Only pools with workers of this type" }
#define P_WEIGHT { "weight", MCP_INTEGER, false, 1, ROUTE_WEIGHT_MAX, NULL, NULL, "How heavy the job is, where no tier is given" }
#define P_CLOSE_TIMEOUT { "timeout", MCP_INTEGER, false, 1, DAY, "30", NULL, "Seconds; then what runs is cancelled" }
#define P_JOB { "job_id", MCP_STRING, true, 0, 0, NULL, NULL, "The job's id" }

/* Pieces of schemas. */
#define STRING_OR_NULL "{\"type\":[\"string\",\"null\"]}"
#define COUNT "{\"type\":\"integer\",\"minimum\":0}"
#define FAILURE "\"error\":" STRING_OR_NULL ",\"code\":" STRING_OR_NULL
#define RESULT_PROPERTIES                                                                                                   \
        "\"pool_id\":" STRING_OR_NULL ",\"worker_id\":" STRING_OR_NULL ",\"job_id\":{\"type\":\"string\"},"                 \
        "\"status\":{\"enum\":[\"completed\",\"failed\",\"timeout\",\"cancelled\"]},\"output\":{\"type\":\"string\"},"      \
        "\"kind\":{\"enum\":[\"text\",\"json\",\"bytes\"]},\"size\":" COUNT ",\"truncated\":{\"type\":\"boolean\"},"        \
        "\"duration\":{\"type\":\"number\",\"minimum\":0},\"attempts\":" COUNT ",\"tier\":{\"type\":\"string\"},"      \
        "\"affinity\":{\"type\":\"string\"}," FAILURE
#define RESULT_SCHEMA "{\"type\":\"object\",\"properties\":{" RESULT_PROPERTIES "},\"required\":[\"status\"]}"
#define POOL_SCHEMA                                                                                                         \
        "{\"type\":\"object\",\"properties\":{\"pool_id\":{\"type\":\"string\"},\"pool_type\":{\"type\":\"string\"},"       \
        "\"tier\":{\"type\":\"string\"},"                                                                                   \
        "\"name\":{\"type\":\"string\"},\"status\":{\"type\":\"string\"},\"reason\":{\"type\":\"string\"},"                 \
        "\"workers\":" COUNT ",\"min_workers\":" COUNT ",\"max_workers\":" COUNT ",\"worker_type\":{\"type\":\"string\"},"  \
        "\"protocol\":{\"type\":\"string\"},\"queued\":" COUNT ",\"running\":" COUNT "},"                                   \
        "\"required\":[\"pool_id\",\"pool_type\",\"name\",\"status\",\"workers\",\"min_workers\",\"max_workers\"]}"
#define JOB_PROPERTIES                                                                                                      \
        "\"job_id\":{\"type\":\"string\"},\"pool_id\":{\"type\":\"string\"},\"status\":{\"type\":\"string\"},"              \
        "\"method\":{\"type\":\"string\"},\"session\":{\"type\":\"string\"},\"worker_id\":{\"type\":\"string\"},"           \
        "\"attempts\":" COUNT ",\"progress\":{\"type\":\"number\"},\"progress_message\":{\"type\":\"string\"},"             \
        "\"result_size\":" COUNT ",\"durable\":{\"type\":\"string\"},\"accepted\":{\"type\":\"string\"},"                   \
        "\"finished\":{\"type\":\"string\"}," FAILURE
#define JOB_SCHEMA "{\"type\":\"object\",\"properties\":{" JOB_PROPERTIES "},\"required\":[\"status\"]}"
#define POOLS_AND(more) "{\"type\":\"object\",\"properties\":{" more "\"pools\":{\"type\":\"array\",\"items\":" POOL_SCHEMA "}},\"required\":[\"pools\"]}"

const McpTool mcp_tools[] = {
        { "job_cancel", "Cancel a job", "Ends a job that is queued or runs. Without effect on one that has ended.", LEVEL_SUBMIT,
          TOOL_DESTRUCTIVE | TOOL_IDEMPOTENT, tool_job_cancel,
          "{\"type\":\"object\",\"properties\":{\"job_id\":{\"type\":\"string\"},\"cancelled\":{\"type\":\"boolean\"},"
          "\"status\":{\"type\":\"string\"}," FAILURE "},\"required\":[\"status\"]}",
          { P_JOB } },
        { "job_list", "List jobs", "Lists jobs, the newest first: those that wait and run, and those that have ended for as long as they are remembered.",
          LEVEL_OBSERVE, TOOL_READ_ONLY, tool_job_list,
          "{\"type\":\"object\",\"properties\":{\"jobs\":{\"type\":\"array\",\"items\":" JOB_SCHEMA "},\"status\":{\"type\":\"string\"}," FAILURE "}}",
          { P_POOL(false),
            { "status", MCP_STRING, false, 0, 0, NULL, "[\"queued\",\"running\",\"completed\",\"failed\",\"timeout\",\"cancelled\",\"dead\"]",
              "Only jobs in this state" },
            P_METHOD, P_SESSION,
            { "before", MCP_STRING, false, 0, 0, NULL, NULL, "Only jobs older than this one: the last id of the page before" },
            { "limit", MCP_INTEGER, false, 1, MCP_JOBS_MAX, "50", NULL, "At most so many" } } },
        { "job_result", "Fetch a job's result",
          "The result of a job that has ended, or a part of it by bytes: what is missing comes with another call, from next_offset on. "
          "With wait it waits for the end, for so many seconds at most; a job that has not ended then has no data.",
          LEVEL_SUBMIT, TOOL_READ_ONLY, tool_job_result,
          "{\"type\":\"object\",\"properties\":{\"job_id\":{\"type\":\"string\"},\"status\":{\"type\":\"string\"},\"kind\":{\"type\":\"string\"},"
          "\"size\":" COUNT ",\"offset\":" COUNT ",\"data\":{\"type\":\"string\"},\"encoding\":{\"enum\":[\"utf-8\",\"base64\"]},"
          "\"next_offset\":{\"type\":[\"integer\",\"null\"]}," FAILURE "},\"required\":[\"status\"]}",
          { P_JOB, { "offset", MCP_INTEGER, false, 0, INT64_C(1) << 50, "0", NULL, "The first byte that is wanted" },
            { "length", MCP_INTEGER, false, 1, MCP_OUTPUT_MAX, "65536", NULL, "At most so many bytes" },
            { "wait", MCP_INTEGER, false, 0, 3600, "0", NULL, "Seconds to wait for the job's end" } } },
        { "job_status", "Show a job", "How a job is getting on, or how it has ended.", LEVEL_OBSERVE, TOOL_READ_ONLY, tool_job_status, JOB_SCHEMA,
          { P_JOB } },
        { "job_submit", "Submit a job",
          "Gives a job to a pool and answers at once with its id. flowd keeps the job, and its result for job_result, whether or not the client stays.",
          LEVEL_SUBMIT, TOOL_OPEN_WORLD, tool_job_submit,
          "{\"type\":\"object\",\"properties\":{\"job_id\":{\"type\":\"string\"},\"pool_id\":{\"type\":\"string\"},\"status\":{\"type\":\"string\"},"
          "\"duplicate\":{\"type\":\"boolean\"}," FAILURE "},\"required\":[\"status\"]}",
          { P_PROMPT, P_POOL(false), P_TIER, P_WORKER_TYPE, P_WEIGHT, P_METHOD, P_SESSION, P_KIND, P_TIMEOUT, P_PRIORITY,
            { "durable", MCP_STRING, false, 0, 0, NULL, "[\"no\",\"process\",\"yes\"]",
              "What the job survives: yes, a power cut (the default where there is a store); process, the end of flowd" },
            { "key", MCP_STRING, false, 0, 0, NULL, NULL, "The same key again is the same durable job again, not a second one" },
            { "delay", MCP_INTEGER, false, 0, 365 * DAY, "0", NULL, "Seconds before which no attempt begins" },
            { "deadline", MCP_INTEGER, false, 1, 365 * DAY, NULL, NULL, "Seconds after which the job is ended, run or not" } } },
        { "pool_close", "Close a pool",
          "Closes a pool that was spawned: it takes nothing more, finishes what it has, for so many seconds at most, and then it is gone.", LEVEL_OPERATE,
          TOOL_DESTRUCTIVE | TOOL_IDEMPOTENT, tool_pool_close,
          "{\"type\":\"object\",\"properties\":{\"pool_id\":{\"type\":\"string\"},\"status\":{\"enum\":[\"closed\",\"failed\"]}," FAILURE "},"
          "\"required\":[\"status\"]}",
          { P_POOL(true), P_CLOSE_TIMEOUT } },
        { "pool_close_all", "Close all spawned pools", "Closes every pool that was spawned, likewise; pools from files stay.", LEVEL_OPERATE,
          TOOL_DESTRUCTIVE | TOOL_IDEMPOTENT, tool_pool_close_all,
          "{\"type\":\"object\",\"properties\":{\"pools_closed\":" COUNT ",\"status\":{\"enum\":[\"all_closed\",\"failed\"]}," FAILURE "},"
          "\"required\":[\"status\"]}",
          { P_CLOSE_TIMEOUT } },
        { "pool_execute", "Run a job in a pool", "Runs one job in the named pool, on a worker that is free, and answers with its result.", LEVEL_SUBMIT,
          TOOL_OPEN_WORLD, tool_pool_execute, RESULT_SCHEMA, { P_POOL(true), P_PROMPT, P_TIMEOUT, P_METHOD, P_SESSION, P_KIND, P_PRIORITY } },
        { "pool_execute_batch", "Run many jobs",
          "Runs a job for each of the prompts, as many at once as the pool can, and answers when all have ended. "
          "Results are keyed by the index of their prompt.",
          LEVEL_SUBMIT, TOOL_OPEN_WORLD, tool_pool_execute_batch,
          "{\"type\":\"object\",\"properties\":{\"pool_id\":" STRING_OR_NULL ",\"status\":{\"enum\":[\"completed\",\"failed\"]},"
          "\"completed\":" COUNT ",\"failed\":" COUNT ",\"results\":{\"type\":\"object\",\"additionalProperties\":" RESULT_SCHEMA "}," FAILURE "},"
          "\"required\":[\"status\"]}",
          { P_POOL(false), { "prompts", MCP_PAYLOADS, true, 0, 0, NULL, NULL, "The payloads, a job for each" }, P_TIER, P_WORKER_TYPE,
            P_WEIGHT, P_TIMEOUT, P_METHOD, P_SESSION, P_KIND, P_PRIORITY } },
        { "pool_health", "Health of all pools", "Whether the pools can do their work: healthy, degraded (some cannot) or unhealthy (none can).",
          LEVEL_OBSERVE, TOOL_READ_ONLY, tool_pool_health,
          POOLS_AND("\"status\":{\"enum\":[\"healthy\",\"degraded\",\"unhealthy\"]},\"pools_active\":" COUNT ","), {} },
        { "pool_list", "List pools", "Lists the pools, their state and their size.", LEVEL_OBSERVE, TOOL_READ_ONLY, tool_pool_list, POOLS_AND(""), {} },
        { "pool_monitor", "Watch pools", "The metrics of some pools, or of all: workers, jobs done and failed, times, memory.", LEVEL_OBSERVE, TOOL_READ_ONLY,
          tool_pool_monitor,
          "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\",\"properties\":{\"status\":{\"type\":\"string\"},\"memory_count\":" COUNT ","
          "\"error\":{\"type\":\"string\"},\"metrics\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"number\"}}},\"required\":[\"status\"]}}",
          { { "pool_ids", MCP_STRINGS, false, 0, 0, NULL, NULL, "The pools' names; all where this is absent" } } },
        { "pool_route_execute", "Run a job where there is room",
          "Runs one job in a pool that flowd chooses: of one tier, or of that which suits the job, and where that cannot be in the next one. "
          "With a session, or with pool_affinity, rather where that was before; affinity in the result says whether it was a hit, a miss or a fallback.",
          LEVEL_SUBMIT, TOOL_OPEN_WORLD, tool_pool_route_execute, RESULT_SCHEMA,
          { P_PROMPT,
            { "pool_selector", MCP_STRING, false, 0, 0, NULL, "[\"least_loaded\",\"round_robin\",\"random\",\"affinity\"]",
              "How the pool is chosen among those of a tier; by default as flowd.conf's RouteStrategy= says" },
            { "pool_affinity", MCP_STRING, false, 0, 0, NULL, NULL, "The pool that is preferred; for the selector affinity" }, P_TIMEOUT, P_TIER, P_WORKER_TYPE,
            P_WEIGHT, P_METHOD, P_SESSION, P_KIND, P_PRIORITY } },
        { "pool_scale", "Scale a pool",
          "Sets how many workers a pool keeps, within its minimum and maximum. Workers that are busy finish what they have.", LEVEL_OPERATE, TOOL_IDEMPOTENT,
          tool_pool_scale,
          "{\"type\":\"object\",\"properties\":{\"pool_id\":{\"type\":\"string\"},\"target_workers\":" COUNT ",\"actual_workers\":" COUNT ","
          "\"status\":{\"enum\":[\"scaled\",\"failed\"]}," FAILURE "},\"required\":[\"status\"]}",
          { P_POOL(true), { "target_workers", MCP_INTEGER, true, 0, POOL_WORKERS_MAX, NULL, NULL, "How many workers" } } },
        { "pool_search_memory", "Search what was done",
          "Searches the jobs that are remembered: their methods, sessions, errors and, as long as they are kept in memory, their results.", LEVEL_SUBMIT,
          TOOL_READ_ONLY, tool_pool_search_memory,
          "{\"type\":\"object\",\"properties\":{\"results\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"
          "\"content\":{\"type\":\"string\"},\"metadata\":{\"type\":\"object\",\"properties\":{\"pool_id\":{\"type\":\"string\"},"
          "\"pool_type\":{\"type\":\"string\"},\"worker_id\":" STRING_OR_NULL ",\"timestamp\":{\"type\":\"string\"},\"job_id\":{\"type\":\"string\"},"
          "\"status\":{\"type\":\"string\"}},\"required\":[\"pool_id\",\"job_id\",\"timestamp\"]}},\"required\":[\"content\",\"metadata\"]}},"
          "\"status\":{\"type\":\"string\"}," FAILURE "}}",
          { { "query", MCP_STRING, true, 0, 0, NULL, NULL, "A piece of text, in any case" },
            { "limit", MCP_INTEGER, false, 1, MCP_JOBS_MAX, "100", NULL, "At most so many" } } },
        { "pool_spawn", "Make a pool",
          "Makes a pool of workers of a type that is configured. It is kept across reload, re-exec and restart until it is closed.", LEVEL_OPERATE, 0,
          tool_pool_spawn,
          "{\"type\":\"object\",\"properties\":{\"pool_id\":{\"type\":\"string\"},\"pool_type\":{\"type\":\"string\"},\"name\":{\"type\":\"string\"},"
          "\"status\":{\"enum\":[\"created\",\"failed\"]},\"min_workers\":" COUNT ",\"max_workers\":" COUNT ",\"kept\":{\"type\":\"boolean\"},"
          "\"notice\":{\"type\":\"string\"}," FAILURE "},\"required\":[\"status\"]}",
          { { "pool_type", MCP_STRING, false, 0, 0, NULL, NULL, "What kind of pool: local (the default)" },
            { "name", MCP_STRING, false, 0, 0, NULL, NULL, "The pool's name; by default TYPE-1, TYPE-2, ..." },
            { "min_workers", MCP_INTEGER, false, 0, POOL_WORKERS_MAX, "1", NULL, "Workers that it keeps" },
            { "max_workers", MCP_INTEGER, false, 1, POOL_WORKERS_MAX, "10", NULL, "Workers that it may have" },
            { "worker_type", MCP_STRING, true, 0, 0, NULL, NULL, "The worker type: the name of a .worker file" }, P_TIER } },
};
const size_t mcp_n_tools = ELEMENTSOF(mcp_tools);

/* --- lists --- */

static void put_annotations(McpText *t, const McpTool *tool) {
        put_raw(t, ",\"annotations\":{\"title\":");
        put_text(t, tool->title);
        put_format(t, ",\"readOnlyHint\":%s,\"destructiveHint\":%s,\"idempotentHint\":%s,\"openWorldHint\":%s}",
                   tool->annotations & TOOL_READ_ONLY ? "true" : "false", tool->annotations & TOOL_DESTRUCTIVE ? "true" : "false",
                   tool->annotations & (TOOL_IDEMPOTENT | TOOL_READ_ONLY) ? "true" : "false", tool->annotations & TOOL_OPEN_WORLD ? "true" : "false");
}

void tools_list(const McpTool *tools, size_t n, McpLister *l) {
        McpVersion v = l->reply->version;

        for (size_t i = 0; i < n; i++) {
                const McpTool *tool = &tools[i];

                if (mcp_level(l->reply) < tool->level || !mcp_list_want(l, tool->name))
                        continue;
                put_format(l->text, "{\"name\":\"%s\",\"description\":", tool->name);
                put_text(l->text, tool->description);
                put_raw(l->text, ",\"inputSchema\":");
                mcp_put_input_schema(l->text, tool);
                if (v >= MCP_2025_03_26)
                        put_annotations(l->text, tool);
                if (v >= MCP_2025_06_18) {
                        put_raw(l->text, ",\"title\":");
                        put_text(l->text, tool->title);
                        put_raw(l->text, ",\"outputSchema\":");
                        put_raw(l->text, tool->output);
                }
                put_raw(l->text, "}");
        }
}

void mcp_tools_list(McpServer *s, McpLister *l) {
        (void) s;
        tools_list(mcp_tools, mcp_n_tools, l);
}

/* --- calls --- */

static void not_permitted(const McpReply *r, const McpTool *t) {
        const char *group = auth_group(&r->client->server->auth, t->level);

        tool_failed(r, NULL, "NotPermitted", "%s needs membership of the group '%s'", t->name, strna(group));
}

int tools_call(const McpTool *tools, size_t n, McpRequest *q, JsonSpan name) {
        _cleanup_free_ char *why = NULL;
        const McpTool *t = NULL;
        McpArguments a;

        for (size_t i = 0; !t && i < n; i++)
                if (json_span_is(name, tools[i].name))
                        t = &tools[i];
        if (!t)
                return 0;
        if (mcp_level(&q->reply) < t->level)
                not_permitted(&q->reply, t);
        else if (mcp_arguments_parse(t, mcp_param(&q->params, MCP_PARAM_ARGUMENTS), &a, &why) >= 0)
                t->call(q, &a);
        else if (q->reply.version >= MCP_2025_11_25) /* so that a model can mend its call */
                tool_failed(&q->reply, NULL, "InvalidArguments", "%s: %s", t->name, why ? why : "out of memory");
        else
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "%s: %s", t->name, why ? why : "out of memory");
        return 1;
}

int mcp_tool_call(McpRequest *q, JsonSpan name) {
        return tools_call(mcp_tools, mcp_n_tools, q, name);
}

/* --- answers --- */

void tool_put_content(McpText *t, McpVersion v, const McpText *structured, const char *link, bool failed) {
        bool both = v >= MCP_2025_06_18;

        if (structured->error < 0)
                t->error = structured->error;
        put_raw(t, "\"content\":[{\"type\":\"text\",\"text\":");
        if (both && structured->b.size > MCP_TEXT_COPY_MAX)
                put_text(t, "The result is in the structured content.");
        else
                put_string(t, structured->b.data ? structured->b.data : "", structured->b.size);
        put_raw(t, "}");
        if (link && both) {
                put_raw(t, ",{\"type\":\"resource_link\",\"name\":\"the whole result\",\"description\":\"job_result fetches it by parts\",");
                put_format(t, "\"uri\":\"flow://jobs/%s\"}", link);
        }
        put_raw(t, "]");
        if (both && structured->b.data) {
                put_raw(t, ",\"structuredContent\":");
                put_span(t, (JsonSpan) { structured->b.data, structured->b.size });
        }
        put_raw(t, failed ? ",\"isError\":true" : ",\"isError\":false");
}

void tool_answer(const McpReply *r, json_object *structured, bool failed) {
        McpText t = {}, inner = {};

        put_json(&inner, structured);
        json_object_put(structured);
        if (mcp_result_begin(r, &t, "complete"))
                put_raw(&t, ",");
        tool_put_content(&t, r->version, &inner, NULL, failed);
        mcp_text_done(&inner);
        mcp_result_end(r, &t);
}

void tool_failed(const McpReply *r, json_object *more, const char *code, const char *format, ...) {
        json_object *o = more ? more : json_object_new_object();
        char text[1024];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        object_add_text(o, "status", "failed");
        object_add_text(o, "error", text);
        object_add_text(o, "code", code);
        tool_answer(r, o, true);
}

void tool_no_memory(const McpReply *r) {
        tool_failed(r, NULL, "LimitReached", "out of memory");
}

int argument_job(const McpRequest *q, const McpArguments *a, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;

        if (argument_text(a, "job_id", &text) < 0)
                tool_no_memory(&q->reply);
        else if (job_id_parse(strempty(text), ret) >= 0)
                return 0;
        else
                tool_failed(&q->reply, NULL, "NoSuchJob", "'%s' is no job's id; job_submit and job_list tell them", strempty(text));
        return -EINVAL;
}

const char *tool_pool_id(const Pool *p) {
        return p->config->id ? p->config->id : p->name;
}

Pool *argument_pool(const McpRequest *q, const McpArguments *a, const char *name) {
        _cleanup_free_ char *text = NULL;
        Pool *p;

        if (argument_text(a, name, &text) < 0) {
                tool_no_memory(&q->reply);
                return NULL;
        }
        p = pool_find(q->reply.client->server->router->by_name, q->reply.client->server->router->pools, strempty(text));
        if (!p) {
                json_object *o = json_object_new_object();

                object_add_text(o, "pool_id", strempty(text));
                tool_failed(&q->reply, o, "NoSuchPool", "there is no pool '%s'; pool_list names them", strempty(text));
        }
        return p;
}

const McpProvider mcp_own_provider = {
        .name = "flowd",
        .list = { [MCP_TOOLS] = mcp_tools_list, [MCP_RESOURCES] = mcp_resources_list, [MCP_TEMPLATES] = mcp_templates_list, [MCP_PROMPTS] = mcp_prompts_list },
        .call = mcp_tool_call,
        .read = mcp_resource_read,
        .get = mcp_prompt_get,
        .state = mcp_own_resource_state,
};
