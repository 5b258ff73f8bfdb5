/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The bridge's memory. A line from the client is looked at for what it is, because a restart of flowd must not be noticed; a line from flowd only
 * for the id at its beginning, where flowd writes it. Requests that ask or set something may be sent twice; a call of a tool may not, unless
 * the tool only reads: its job may have been done. A request to listen stays in flight for as long as the client lives, whatever flowd answers:
 * flowd ends it when it stops, and the client need not know.
 */

#include <errno.h>
#include <stdio.h>

#include "basic/str.h"
#include "flowctl/mcp-memory.h"
#include "proto/mcp.h"

typedef struct Flight {
        List link;
        char *line;   /* NULL: it may not be sent again */
        bool listen;
        bool waits;   /* was not sent yet */
        bool once;    /* may not be sent twice */
        char id[];    /* as it stands */
} Flight;

typedef struct Remembered {
        List link;
        char *line;   /* of a subscription */
        char text[];  /* its URI, or an id; as it stands */
} Remembered;

/* Tools that only read; flowd says so by their annotations, too. */
static const char *const reading_tools[] = {
        "job_list", "job_result", "job_status", "pool_health", "pool_list", "pool_monitor", "pool_search_memory",
};

static Flight *flight_free(McpMemory *m, Flight *f) {
        if (f->waits)
                m->kept -= strlen(f->line);
        m->n_flights--;
        list_remove(&f->link);
        free(f->line);
        free(f);
        return NULL;
}

static Remembered *remembered_free(Remembered *r) {
        list_remove(&r->link);
        free(r->line);
        free(r);
        return NULL;
}

static Remembered *remembered_add(List *l, JsonSpan text, const char *line, size_t size) {
        Remembered *r = calloc(1, sizeof(Remembered) + text.size + 1);

        if (!r || (line && !(r->line = memdup_text(line, size)))) {
                free(r);
                return NULL;
        }
        memcpy(r->text, text.p, text.size);
        list_append(l, &r->link);
        return r;
}

static Remembered *remembered_find(List *l, JsonSpan text) {
        LIST_FOREACH(i, l) {
                Remembered *r = list_entry(i, Remembered, link);

                if (mcp_id_equal((JsonSpan) { r->text, strlen(r->text) }, text))
                        return r;
        }
        return NULL;
}

void mcp_memory_init(McpMemory *m) {
        *m = (McpMemory) {};
        list_init(&m->subscriptions);
        list_init(&m->flights);
        list_init(&m->replayed);
}

void mcp_memory_done(McpMemory *m) {
        List *n;

        while ((n = list_first(&m->subscriptions)) || (n = list_first(&m->replayed)))
                remembered_free(list_entry(n, Remembered, link));
        while ((n = list_first(&m->flights)))
                flight_free(m, list_entry(n, Flight, link));
        free(m->initialize);
        free(m->initialized);
        free(m->level);
}

/* --- from the client --- */

static int keep(char **where, const char *line, size_t size) {
        char *copy = memdup_text(line, size);

        if (!copy)
                return -ENOMEM;
        free(*where);
        *where = copy;
        return 0;
}

static bool only_reads(const McpParams *p) {
        for (size_t i = 0; i < ELEMENTSOF(reading_tools); i++)
                if (json_span_is(mcp_param(p, MCP_PARAM_NAME), reading_tools[i]))
                        return true;
        return false;
}

static int subscribed(McpMemory *m, const McpParams *p, const char *line, size_t size, bool yes) {
        JsonSpan uri = mcp_param(p, MCP_PARAM_URI);
        Remembered *r = mcp_param_has(p, MCP_PARAM_URI, JSON_STRING) ? remembered_find(&m->subscriptions, uri) : NULL;

        if (r)
                remembered_free(r);
        if (!yes || !mcp_param_has(p, MCP_PARAM_URI, JSON_STRING))
                return 0;
        return remembered_add(&m->subscriptions, uri, line, size) ? 0 : -ENOMEM;
}

static int sent_request(McpMemory *m, const JsonrpcMessage *msg, const char *line, size_t size, bool alone, bool away) {
        McpMethod method = mcp_method_of(msg->method, false);
        McpParams p;
        Flight *f;
        int r = 0;

        if (method == _MCP_METHOD_MAX)
                method = mcp_method_of(msg->method, true);
        if (mcp_params_parse(msg->params, &p) < 0)
                p = (McpParams) {};
        f = calloc(1, sizeof(Flight) + msg->id.size + 1);
        if (!f)
                return -ENOMEM;
        memcpy(f->id, msg->id.p, msg->id.size);
        list_append(&m->flights, &f->link);
        m->n_flights++;
        f->listen = method == MCP_LISTEN;
        /* of a batch none is sent again: its answers would come in no batch */
        f->once = size > MCP_REPLAY_MAX || !alone || (method == MCP_TOOLS_CALL && !only_reads(&p));
        if ((away || !f->once) && !(f->line = memdup_text(line, size)))
                return -ENOMEM;
        f->waits = away;
        m->kept += away ? size : 0;
        if (method == MCP_INITIALIZE)
                r = keep(&m->initialize, line, size);
        else if (method == MCP_SET_LEVEL)
                r = keep(&m->level, line, size);
        else if (method == MCP_RESOURCES_SUBSCRIBE || method == MCP_RESOURCES_UNSUBSCRIBE)
                r = subscribed(m, &p, line, size, method == MCP_RESOURCES_SUBSCRIBE);
        return r;
}

static Flight *flight_find(McpMemory *m, JsonSpan id) {
        LIST_FOREACH(l, &m->flights) {
                Flight *f = list_entry(l, Flight, link);

                if (mcp_id_equal((JsonSpan) { f->id, strlen(f->id) }, id))
                        return f;
        }
        return NULL;
}

static int sent_notification(McpMemory *m, const JsonrpcMessage *msg, const char *line, size_t size) {
        McpMethod method = mcp_method_of(msg->method, false);
        McpParams p;
        Flight *f;

        if (method == MCP_INITIALIZED)
                return keep(&m->initialized, line, size);
        if (method == MCP_CANCELLED && mcp_params_parse(msg->params, &p) >= 0 && (f = flight_find(m, mcp_param(&p, MCP_PARAM_REQUEST_ID))))
                flight_free(m, f); /* flowd does not answer it any more */
        return 0;
}

static int sent_message(McpMemory *m, const char *line, size_t size, bool alone, bool away) {
        JsonrpcMessage msg;
        const char *why;
        int r = 0;

        if (jsonrpc_parse(line, size, &msg, &why) <= 0)
                return 0; /* flowd will say what is wrong with it */
        if (msg.type == JSONRPC_REQUEST)
                r = sent_request(m, &msg, line, size, alone, away);
        else if (msg.type == JSONRPC_NOTIFICATION)
                r = sent_notification(m, &msg, line, size);
        return r;
}

int mcp_memory_sent(McpMemory *m, const char *line, size_t size, bool away) {
        JsonMember e;
        JsonScan scan;
        int r = 0;

        if (size == 0 || line[0] != '[')
                return sent_message(m, line, size, true, away);
        json_scan_elements(&scan, line, size);
        while (r >= 0 && json_scan_next(&scan, &e) > 0)
                r = sent_message(m, e.value, e.value_size, false, away);
        return r;
}

/* --- from flowd --- */

/* Is what has that id the client's to know? */
static bool answered(McpMemory *m, JsonSpan id, bool error) {
        Remembered *r = remembered_find(&m->replayed, id);
        Flight *f;

        if (r) {
                remembered_free(r);
                return false;
        }
        f = flight_find(m, id);
        if (f && f->listen && !error)
                return false; /* it stops; the next one is asked again */
        if (f)
                flight_free(m, f);
        return true;
}

bool mcp_memory_received(McpMemory *m, const char *line, size_t size) {
        static const char head[] = "{\"jsonrpc\":\"2.0\",\"id\":", ack[] = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\"";
        JsonMember e, id;
        JsonScan scan;

        if (size > 0 && line[0] == '[') {
                json_scan_elements(&scan, line, size);
                while (json_scan_next(&scan, &e) > 0)
                        if (json_find((JsonSpan) { e.value, e.value_size }, "id", &id) > 0)
                                (void) answered(m, (JsonSpan) { id.value, id.value_size }, false);
                return true;
        }
        if (m->n_swallow > 0 && size > sizeof(ack) && memcmp(line, ack, sizeof(ack) - 1) == 0) {
                m->n_swallow--;
                return false;
        }
        if (size < sizeof(head) || memcmp(line, head, sizeof(head) - 1) != 0)
                return true;
        const char *p = line + sizeof(head) - 1, *end = line + size, *q = p;
        if (*q == '"') /* the quote that ends it has no backslash before it */
                for (q++; q < end && *q != '"'; q++)
                        q += *q == '\\';
        while (q < end && *q != ',')
                q++;
        if (q >= end)
                return true;
        return answered(m, (JsonSpan) { p, (size_t) (q - p) }, (size_t) (end - q) > 8 && memcmp(q, ",\"error\"", 8) == 0);
}

/* --- lost and found --- */

static int refuse(McpMemory *m, Flight *f, JsonBuffer *to_client, const char *text) {
        int r = jsonrpc_append_error(to_client, (JsonSpan) { f->id, strlen(f->id) }, JSONRPC_INTERNAL_ERROR, text, (JsonSpan) {});

        flight_free(m, f);
        return r;
}

int mcp_memory_lost(McpMemory *m, JsonBuffer *to_client) {
        List *n;
        int r = 0;

        while ((n = list_first(&m->replayed)))
                remembered_free(list_entry(n, Remembered, link));
        m->n_swallow = 0;
        LIST_FOREACH_SAFE(l, next, &m->flights) {
                Flight *f = list_entry(l, Flight, link);

                if (!f->line && r >= 0)
                        r = refuse(m, f, to_client, "flowd went away during this call: it may have been done, or not; look before you repeat it");
        }
        return r;
}

int mcp_memory_refuse(McpMemory *m, JsonBuffer *to_client, const char *text) {
        int r = 0;

        LIST_FOREACH_SAFE(l, next, &m->flights) {
                Flight *f = list_entry(l, Flight, link);

                if (r >= 0 && !f->listen)
                        r = refuse(m, f, to_client, text);
        }
        return r;
}

static int put_line(JsonBuffer *b, const char *line) {
        int r = json_append(b, line, strlen(line));

        return r < 0 ? r : json_append(b, "\n", 1);
}

/* A request whose answer is not passed on, unless the client waits for that very one. */
static int put_again(McpMemory *m, JsonBuffer *b, const char *line) {
        JsonrpcMessage msg;
        const char *why;

        if (!line || jsonrpc_parse(line, strlen(line), &msg, &why) <= 0 || msg.type != JSONRPC_REQUEST)
                return 0;
        if (flight_find(m, msg.id)) /* it comes with those in flight */
                return 0;
        if (!remembered_add(&m->replayed, msg.id, NULL, 0))
                return -ENOMEM;
        return put_line(b, line);
}

int mcp_memory_replay(McpMemory *m, JsonBuffer *to_server, JsonBuffer *to_client) {
        static const char *const lists[] = { "tools", "resources", "prompts" };
        bool again = m->initialize && m->initialized;
        int r = put_again(m, to_server, m->initialize);

        if (r >= 0 && again)
                r = put_line(to_server, m->initialized);
        if (r >= 0)
                r = put_again(m, to_server, m->level);
        LIST_FOREACH(l, &m->subscriptions)
                if (r >= 0)
                        r = put_again(m, to_server, list_entry(l, Remembered, link)->line);
        LIST_FOREACH(l, &m->flights) {
                Flight *f = list_entry(l, Flight, link);

                m->n_swallow += f->listen && !f->waits;
                if (r >= 0 && f->line)
                        r = put_line(to_server, f->line);
                if (f->waits)
                        m->kept -= strlen(f->line);
                f->waits = false;
                if (f->once) {
                        free(f->line);
                        f->line = NULL;
                }
        }
        for (size_t i = 0; r >= 0 && again && i < ELEMENTSOF(lists); i++) {
                char method[64];

                (void) snprintf(method, sizeof(method), "notifications/%s/list_changed", lists[i]);
                r = jsonrpc_append_request(to_client, (JsonSpan) {}, method, (JsonSpan) {});
        }
        return r;
}
