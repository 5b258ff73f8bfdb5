/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where tools, resources and prompts come from. Providers are asked in the order of their table, and their lists stand one behind the other, each
 * in the order of its keys. A cursor says which provider, and behind which key the next page begins: it stays good however the lists change.
 */

#include <errno.h>
#include <stdio.h>

#include "mcp/internal.h"

#define CURSOR_MAX (MCP_URI_MAX + 32U)
#define LIST_TTL_MS 5000U

static const McpProvider *const providers[] = { &mcp_own_provider, &mcp_flow_provider, &mcp_pooled_provider };

static const char *const list_names[_MCP_KIND_MAX] = {
        [MCP_TOOLS] = "tools",
        [MCP_RESOURCES] = "resources",
        [MCP_TEMPLATES] = "resourceTemplates",
        [MCP_PROMPTS] = "prompts",
};

bool mcp_list_want(McpLister *l, const char *key) {
        if (l->full || (l->after && strcmp(key, l->after) <= 0))
                return false;
        if (l->n == MCP_PAGE) {
                l->full = true;
                return false;
        }
        if (l->n > 0)
                put_raw(l->text, ",");
        l->n++;
        str_copy(l->last, sizeof(l->last), key);
        return true;
}

/* "KIND PROVIDER KEY", in base64. */
static char *cursor_format(McpKind kind, size_t provider, const char *key) {
        char text[CURSOR_MAX];
        int n = snprintf(text, sizeof(text), "%u %zu %s", kind, provider, key);

        return base64_encode(text, MIN((size_t) n, sizeof(text) - 1));
}

/* Returns 0, -EINVAL, -ENOMEM; the key is the caller's. */
static int cursor_parse(JsonSpan span, McpKind kind, size_t *ret_provider, char **ret_key) {
        _cleanup_free_ char *text = NULL, *key = NULL;
        _cleanup_free_ void *bytes = NULL;
        unsigned k, provider;
        size_t size;
        int at = 0, r;

        r = json_span_text(span, &text);
        if (r >= 0)
                r = base64_decode(text, strlen(text), &bytes, &size);
        if (r < 0)
                return r == -ENOMEM ? r : -EINVAL;
        key = memdup_text(bytes, size);
        if (!key)
                return -ENOMEM;
        if (sscanf(key, "%u %u %n", &k, &provider, &at) != 2 || at == 0 || k != kind || provider >= ELEMENTSOF(providers) || strlen(key) != size)
                return -EINVAL;
        memmove(key, key + at, size - (size_t) at + 1);
        *ret_provider = provider;
        *ret_key = TAKE_PTR(key);
        return 0;
}

void mcp_list(McpRequest *q, McpKind kind) {
        _cleanup_free_ char *after = NULL, *next = NULL;
        McpText t = {};
        McpLister l = { .reply = &q->reply, .text = &t };
        size_t first = 0, i;
        bool comma;
        int r = 0;

        if (q->params.of[MCP_PARAM_CURSOR].value)
                r = cursor_parse(mcp_param(&q->params, MCP_PARAM_CURSOR), kind, &first, &after);
        if (r < 0) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "this is no cursor of this list");
                return;
        }
        comma = mcp_result_begin(&q->reply, &t, "complete");
        put_format(&t, "%s\"%s\":[", comma ? "," : "", list_names[kind]);
        for (i = first; i < ELEMENTSOF(providers) && !l.full; i++) {
                l.after = i == first ? after : NULL;
                l.last[0] = 0; /* the keys of one provider say nothing about those of the next one */
                if (mcp_level(&q->reply) >= LEVEL_OBSERVE && providers[i]->list[kind])
                        providers[i]->list[kind](q->reply.client->server, &l);
        }
        put_raw(&t, "]");
        if (l.full) {
                next = cursor_format(kind, i - 1, l.last);
                put_raw(&t, ",\"nextCursor\":");
                put_text(&t, strempty(next));
        }
        mcp_put_cache(&q->reply, &t, LIST_TTL_MS);
        mcp_result_end(&q->reply, &t);
}

void mcp_call_tool(McpRequest *q) {
        JsonSpan name = mcp_param(&q->params, MCP_PARAM_NAME);
        int r = 0;

        if (!mcp_param_has(&q->params, MCP_PARAM_NAME, JSON_STRING)) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "tools/call needs a name");
                return;
        }
        if (q->params.of[MCP_PARAM_ARGUMENTS].value && !mcp_param_has(&q->params, MCP_PARAM_ARGUMENTS, JSON_OBJECT)) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "arguments must be an object");
                return;
        }
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(providers); i++)
                if (providers[i]->call)
                        r = providers[i]->call(q, name);
        if (r == 0)
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "there is no such tool; tools/list names them");
}

void mcp_read_resource(McpRequest *q) {
        _cleanup_free_ char *uri = NULL;
        int r = 0;

        if (json_span_text(mcp_param(&q->params, MCP_PARAM_URI), &uri) < 0 || strlen(uri) >= MCP_URI_MAX) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "resources/read needs a uri of less than %u bytes", MCP_URI_MAX);
                return;
        }
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(providers); i++)
                if (providers[i]->read)
                        r = providers[i]->read(q, uri);
        if (r == 0)
                mcp_resource_gone(&q->reply, uri);
}

void mcp_get_prompt(McpRequest *q) {
        JsonSpan name = mcp_param(&q->params, MCP_PARAM_NAME);
        int r = 0;

        for (size_t i = 0; r == 0 && mcp_param_has(&q->params, MCP_PARAM_NAME, JSON_STRING) && i < ELEMENTSOF(providers); i++)
                if (providers[i]->get)
                        r = providers[i]->get(q, name);
        if (r == 0)
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "there is no such prompt; prompts/list names them");
}

uint64_t mcp_resource_state(McpClient *c, const char *uri) {
        uint64_t v = 0;

        for (size_t i = 0; v == 0 && i < ELEMENTSOF(providers); i++)
                if (providers[i]->state)
                        v = providers[i]->state(c, uri);
        return v;
}
