/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sessions as resources: the list, each session with its tasks and their results, and single tasks. That one has changed is not found by looking, as for
 * pools: the flow room says it, and the next look at what is subscribed to tells of it, so a busy session costs some messages a second.
 */

#include <stdio.h>

#include "mcp/tools.h"

#define URI_SESSIONS "flow://sessions"
#define PREFIX_SESSIONS URI_SESSIONS "/"
#define INFIX_TASKS "/tasks/"

/* Ids of sessions and tasks have no character that a URI would have to escape. */
typedef struct Place {
        char session[FLOW_ID_MAX + 1];
        const char *task; /* in the URI; NULL: the session */
} Place;

/* What a URI means; false where it is none of a session. */
static bool place_parse(const char *uri, Place *ret) {
        size_t n = strlen(PREFIX_SESSIONS);
        const char *end;

        if (strncmp(uri, PREFIX_SESSIONS, n) != 0)
                return false;
        uri += n;
        end = strchrnul(uri, '/');
        if (end == uri || (size_t) (end - uri) > FLOW_ID_MAX || (*end && strncmp(end, INFIX_TASKS, strlen(INFIX_TASKS)) != 0))
                return false;
        memcpy(ret->session, uri, (size_t) (end - uri));
        ret->session[end - uri] = 0;
        ret->task = *end ? end + strlen(INFIX_TASKS) : NULL;
        return true;
}

/* --- lists --- */

static void put_entry(McpLister *l, const char *key, const char *uri, const char *name, const char *title, const char *description) {
        if (!mcp_list_want(l, uri))
                return;
        put_format(l->text, "{\"%s\":", key);
        put_text(l->text, uri);
        put_raw(l->text, ",\"name\":");
        put_text(l->text, name);
        if (l->reply->version >= MCP_2025_06_18) {
                put_raw(l->text, ",\"title\":");
                put_text(l->text, title);
        }
        put_raw(l->text, ",\"description\":");
        put_text(l->text, description);
        put_raw(l->text, ",\"mimeType\":\"application/json\"}");
}

static const char *text_of(json_object *o, const char *key) {
        json_object *v;

        return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : NULL;
}

static int by_id(const void *a, const void *b) {
        json_object *const *x = a, *const *y = b;

        return strcmp(strempty(text_of(*x, "id")), strempty(text_of(*y, "id")));
}

void mcp_flow_resources_list(McpServer *s, McpLister *l) {
        json_object *o = mcp_flow_look(l->reply, VERB_LIST, NULL, NULL, false), *a;
        char uri[MCP_URI_MAX], title[MCP_URI_MAX];

        (void) s;
        put_entry(l, "uri", URI_SESSIONS, "sessions", "Sessions", "All flow sessions that are not archived: states, loads and counts of tasks");
        if (!o || !json_object_object_get_ex(o, "sessions", &a)) {
                json_object_put(o);
                return;
        }
        json_object_array_sort(a, by_id);
        for (size_t i = 0; i < json_object_array_length(a) && !l->full; i++) {
                json_object *one = json_object_array_get_idx(a, i);
                const char *id = strempty(text_of(one, "id")), *purpose = text_of(one, "purpose");

                (void) snprintf(uri, sizeof(uri), PREFIX_SESSIONS "%s", id);
                (void) snprintf(title, sizeof(title), "Session %s", id);
                put_entry(l, "uri", uri, id, title, purpose ? purpose : "A flow session: its tasks, their results, its work log");
        }
        json_object_put(o);
}

void mcp_flow_templates_list(McpServer *s, McpLister *l) {
        (void) s;
        put_entry(l, "uriTemplate", PREFIX_SESSIONS "{id}", "session", "Session",
                  "A flow session: its tasks, those of one's own with payloads and results, and the end of its work log");
        put_entry(l, "uriTemplate", PREFIX_SESSIONS "{id}" INFIX_TASKS "{task}", "task", "Task", "A task of a session, likewise");
}

/* --- reading --- */

/* A member of a result instead of the whole; takes it over. */
static json_object *member(json_object *o, const char *key) {
        json_object *v;

        v = o && json_object_object_get_ex(o, key, &v) ? json_object_get(v) : NULL;
        json_object_put(o);
        return v;
}

static bool fits(const McpServer *s, json_object *o) {
        size_t size;

        /* as text it stands in the answer with its quotes escaped, and those within results twice */
        return json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &size) && size <= s->limits.json_max / 4;
}

/* The session with all of its tasks; without results where that is too large, and then without all but some tasks of each state. */
static json_object *session_object(const McpReply *r, const char *id) {
        json_object *o = member(mcp_flow_look(r, VERB_SHOW, id, NULL, true), "session");

        if (!o || fits(r->client->server, o))
                return o;
        json_object_put(o);
        o = member(mcp_flow_look(r, VERB_SHOW, id, NULL, false), "session");
        if (o && !fits(r->client->server, o)) {
                json_object_put(o);
                o = member(mcp_flow_look(r, VERB_STATUS, id, NULL, false), "status");
        }
        if (o)
                json_object_object_add(o, "truncated", json_object_new_boolean(true));
        return o;
}

static json_object *task_object(const McpReply *r, const char *session, const char *task) {
        json_object *a = member(member(mcp_flow_look(r, VERB_SHOW, session, task, true), "session"), "graph"), *o;

        o = a ? json_object_get(json_object_array_get_idx(a, 0)) : NULL;
        json_object_put(a);
        return o;
}

int mcp_flow_resource_read(McpRequest *q, const char *uri) {
        McpServer *s = q->reply.client->server;
        json_object *o;
        Place p;

        if (!streq(uri, URI_SESSIONS) && !place_parse(uri, &p))
                return 0;
        if (mcp_level(&q->reply) < LEVEL_OBSERVE) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "reading needs membership of the group '%s'", strna(auth_group(&s->auth, LEVEL_OBSERVE)));
                return 1;
        }
        if (streq(uri, URI_SESSIONS))
                o = mcp_flow_look(&q->reply, VERB_LIST, NULL, NULL, false);
        else if (p.task)
                o = task_object(&q->reply, p.session, p.task);
        else
                o = session_object(&q->reply, p.session);
        if (!o)
                return 0;
        mcp_resource_answer(&q->reply, uri, o);
        return 1;
}

/* --- how they change --- */

uint64_t mcp_flow_resource_state(McpClient *c, const char *uri) {
        const FlowSession *session;
        Place p;

        if (streq(uri, URI_SESSIONS))
                return 1;
        session = place_parse(uri, &p) ? flow_find(c->server->flow, p.session) : NULL;
        return session && (!p.task || flow_session_find(session, p.task)) ? 1 : 0;
}

void mcp_flow_subscriptions_mark(McpServer *s, const char *session) {
        Place p;

        LIST_FOREACH(l, &s->clients)
                LIST_FOREACH(k, &list_entry(l, McpClient, link)->subscriptions) {
                        McpSubscription *sub = list_entry(k, McpSubscription, link);

                        if (streq(sub->uri, URI_SESSIONS) || (place_parse(sub->uri, &p) && streq(p.session, session)))
                                sub->seen = UINT64_MAX; /* what no state is */
                }
}
