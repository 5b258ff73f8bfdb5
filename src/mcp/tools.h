/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* flowd's own tools: their tables, their arguments, their answers. */

#include "mcp/internal.h"

#define MCP_TOOL_PARAMS_MAX 20U
#define MCP_LIST_ARGUMENT_MAX 1000U     /* elements of an argument that is a list */
#define MCP_OUTPUT_MAX (1024U * 1024U)  /* bytes of a result in an answer; the rest is for job_result */
#define MCP_OUTPUT_HEAD (64U * 1024U)   /* bytes of one above that, so that there is something to look at */
#define MCP_TEXT_COPY_MAX (2U * 1024U * 1024U) /* bytes of structured content, escapes counted, that are there as text, too */
#define MCP_JOBS_MAX 500                /* jobs of a list */

typedef enum McpType {
        MCP_STRING,   /* a name: at most JOB_NAME_MAX bytes, no NUL */
        MCP_PAYLOAD,  /* a string of any length */
        MCP_INTEGER,
        MCP_BOOLEAN,
        MCP_STRINGS,  /* a list of names */
        MCP_PAYLOADS, /* a list of strings of any length */
        MCP_NUMBER,   /* from min to max, whole or not */
        MCP_ARRAY,    /* a list; what is in it is checked by whom it is for */
        MCP_VALUE,    /* anything, likewise */
        _MCP_TYPE_MAX,
} McpType;

typedef struct McpParameter {
        const char *name;
        McpType type;
        bool required;
        int64_t min, max;      /* INTEGER, NUMBER */
        const char *fallback;  /* the default, as JSON; NULL: none */
        const char *choice;    /* STRING: a JSON array of what is allowed; ARRAY: the schema of its elements; NULL: anything */
        const char *description;
} McpParameter;

/* A tool's arguments, by the order of its parameters; the spans are the request's. */
typedef struct McpArguments {
        const struct McpTool *tool;
        JsonMember of[MCP_TOOL_PARAMS_MAX];
} McpArguments;

enum { /* annotations */
        TOOL_READ_ONLY = 1 << 0,
        TOOL_DESTRUCTIVE = 1 << 1,
        TOOL_IDEMPOTENT = 1 << 2,
        TOOL_OPEN_WORLD = 1 << 3, /* what workers do may touch anything */
};

typedef struct McpTool {
        const char *name, *title, *description;
        AuthLevel level;
        unsigned annotations;
        void (*call)(McpRequest *q, const McpArguments *a);
        const char *output;    /* the schema of its structured content */
        McpParameter parameters[MCP_TOOL_PARAMS_MAX]; /* ended by a NULL name */
} McpTool;

/* Sorted by name. */
extern const McpTool mcp_tools[];
extern const size_t mcp_n_tools;

/* arguments.c */
/* Checks and takes apart. Returns 0, or -EINVAL with a text for a person, owned by the caller (NULL when out of memory). */
int mcp_arguments_parse(const McpTool *t, JsonSpan arguments, McpArguments *ret, char **reterr_text);
void mcp_put_input_schema(McpText *t, const McpTool *tool);
JsonSpan argument_span(const McpArguments *a, const char *name);
/* A string; *ret is the caller's. Returns 1, 0 where it is not there, -ENOMEM. */
int argument_text(const McpArguments *a, const char *name, char **ret);
int64_t argument_int(const McpArguments *a, const char *name, int64_t fallback);
bool argument_bool(const McpArguments *a, const char *name);

/* Bytes of a result in an answer, so that it stays below JsonMax= whatever they are: as text it is there twice, with escapes. */
static inline uint64_t mcp_output_max(const McpServer *s) {
        return MIN((uint64_t) MCP_OUTPUT_MAX, s->limits.json_max / 8);
}

/* tools.c */
/* The members of a tool's result, around structured content that is a whole object; `link` (may be NULL) is a job that has more. */
void tool_put_content(McpText *t, McpVersion v, const McpText *structured, const char *link, bool failed);
void mcp_tools_list(McpServer *s, McpLister *l);
int mcp_tool_call(McpRequest *q, JsonSpan name);
/* The same of any table that is sorted by name. */
void tools_list(const McpTool *tools, size_t n, McpLister *l);
int tools_call(const McpTool *tools, size_t n, McpRequest *q, JsonSpan name);
/* Answers with structured content, which is taken over, and the same as text. */
void tool_answer(const McpReply *r, json_object *structured, bool failed);
/* With {..., "status": "failed", "error": TEXT}, to which `more` (taken over, may be NULL) is added. */
void tool_failed(const McpReply *r, json_object *more, const char *code, const char *format, ...) _printf_(4, 5);
void tool_no_memory(const McpReply *r);
/* Answers unless the text is a job's id. */
int argument_job(const McpRequest *q, const McpArguments *a, uint64_t *ret);
/* What clients know it by: the id of a spawned pool, the name of one from a file. Either is taken, and the name always is. */
const char *tool_pool_id(const Pool *p);
Pool *argument_pool(const McpRequest *q, const McpArguments *a, const char *name);

/* tools-run.c */
void tool_pool_execute(McpRequest *q, const McpArguments *a);
void tool_pool_execute_batch(McpRequest *q, const McpArguments *a);
void tool_pool_route_execute(McpRequest *q, const McpArguments *a);
void tool_job_submit(McpRequest *q, const McpArguments *a);
/* Why so many jobs more may not be in flight: a code, and a text for a person; NULL where they may. */
const char *run_refusal(const McpClient *c, size_t n, char *buf, size_t size);
/* What the calls of these say at their end. */
void run_answer_execute(McpCall *call);
void run_answer_batch(McpCall *call);
void run_answer_submit(McpCall *call);
void run_answer_task(McpCall *call);
/* What tools/call would have answered, without the envelope, as an object. Of too large a result it has the beginning. */
void run_put_answer(McpText *t, McpVersion v, Job *j, uint64_t max);

/* tools-job.c */
void tool_job_status(McpRequest *q, const McpArguments *a);
void tool_job_result(McpRequest *q, const McpArguments *a);
void tool_job_cancel(McpRequest *q, const McpArguments *a);
void tool_job_list(McpRequest *q, const McpArguments *a);
void tool_pool_search_memory(McpRequest *q, const McpArguments *a);
void job_answer_result(McpCall *call);

/* tools-pool.c */
void tool_pool_list(McpRequest *q, const McpArguments *a);
void tool_pool_monitor(McpRequest *q, const McpArguments *a);
void tool_pool_scale(McpRequest *q, const McpArguments *a);
void tool_pool_health(McpRequest *q, const McpArguments *a);

/* tools-spawn.c */
void tool_pool_spawn(McpRequest *q, const McpArguments *a);
void tool_pool_close(McpRequest *q, const McpArguments *a);
void tool_pool_close_all(McpRequest *q, const McpArguments *a);
void pool_answer_closed(McpCall *call);
/* Answers the calls that wait for pools which are gone. */
void pool_closed(McpClient *c);
