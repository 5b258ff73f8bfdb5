/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Subscriptions. A legacy client subscribes to a resource at a time, and hears of changed lists in any case; a modern one says all of that in a
 * request that stays open, and whose id stands in each notification. What has changed is found by looking (server.c).
 */

#include <errno.h>

#include "basic/state.h"
#include "mcp/internal.h"

static McpSubscription *subscription_find(McpClient *c, const McpListen *listen, const char *uri) {
        LIST_FOREACH(l, &c->subscriptions) {
                McpSubscription *s = list_entry(l, McpSubscription, link);

                if (s->listen == listen && streq(s->uri, uri))
                        return s;
        }
        return NULL;
}

static void subscription_free(McpClient *c, McpSubscription *s) {
        list_remove(&s->link);
        c->n_subscriptions--;
        free(s);
}

static int subscription_add(McpClient *c, McpListen *listen, const char *uri, uint64_t seen) {
        McpSubscription *s;

        if (subscription_find(c, listen, uri))
                return 0;
        if (c->n_subscriptions >= MCP_SUBSCRIPTIONS_MAX)
                return -ENOSPC;
        s = malloc(sizeof(McpSubscription) + strlen(uri) + 1);
        if (!s)
                return -ENOMEM;
        *s = (McpSubscription) { .listen = listen, .seen = seen };
        strcpy(s->uri, uri);
        list_append(&c->subscriptions, &s->link);
        c->n_subscriptions++;
        mcp_pooled_subscribed(c, uri);
        if (!c->server->watch.armed)
                timer_arm(&c->server->host->timers, &c->server->watch, now_usec());
        return 0;
}

/* --- legacy --- */

/* The URI that is meant; NULL after having answered. */
static char *wanted_uri(McpRequest *q) {
        char *uri = NULL;

        if (json_span_text(mcp_param(&q->params, MCP_PARAM_URI), &uri) < 0 || strlen(uri) >= MCP_URI_MAX) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "%s needs a uri of less than %u bytes", mcp_method_to_string(q->method), MCP_URI_MAX);
                free(uri);
                return NULL;
        }
        return uri;
}

void mcp_subscribe(McpRequest *q) {
        McpClient *c = q->reply.client;
        _cleanup_free_ char *uri = wanted_uri(q);
        uint64_t state;
        int r;

        if (!uri)
                return;
        state = mcp_level(&q->reply) < LEVEL_OBSERVE ? 0 : mcp_resource_state(c, uri);
        if (state == 0) {
                mcp_resource_gone(&q->reply, uri);
                return;
        }
        r = subscription_add(c, NULL, uri, state);
        if (r < 0)
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, r == -ENOSPC ? "a connection may have %u subscriptions" : "out of memory (limit %u)",
                          MCP_SUBSCRIPTIONS_MAX);
        else
                mcp_result(&q->reply, NULL);
}

void mcp_unsubscribe(McpRequest *q) {
        McpClient *c = q->reply.client;
        _cleanup_free_ char *uri = wanted_uri(q);
        McpSubscription *s;

        if (!uri)
                return;
        s = subscription_find(c, NULL, uri);
        if (s)
                subscription_free(c, s);
        mcp_result(&q->reply, NULL);
}

/* --- modern --- */

static bool listen_flag(JsonSpan notifications, const char *name) {
        JsonMember m;

        return json_find(notifications, name, &m) > 0 && m.type == JSON_BOOL && m.value[0] == 't';
}

static void put_listen_meta(McpText *t, const McpListen *listen) {
        put_format(t, "\"_meta\":{\"" MCP_META_SUBSCRIPTION "\":");
        put_raw(t, listen->id);
        put_raw(t, "}");
}

static McpListen *listen_new(McpClient *c, JsonSpan id) {
        McpListen *listen = new0(McpListen, 1);

        if (!listen || !(listen->id = memdup_text(id.p, id.size))) {
                free(listen);
                return NULL;
        }
        list_append(&c->listens, &listen->link);
        return listen;
}

static void listen_free(McpClient *c, McpListen *listen) {
        LIST_FOREACH_SAFE(l, n, &c->subscriptions) {
                McpSubscription *s = list_entry(l, McpSubscription, link);

                if (s->listen == listen)
                        subscription_free(c, s);
        }
        list_remove(&listen->link);
        free(listen->id);
        free(listen);
}

/* Adds what there is of the URIs; the rest is not honoured. */
static void listen_to(McpClient *c, McpListen *listen, JsonSpan uris, McpText *honoured) {
        JsonMember e;
        JsonScan scan;
        bool first = true;

        put_raw(honoured, ",\"resourceSubscriptions\":[");
        json_scan_elements(&scan, uris.p, uris.size);
        while (json_scan_next(&scan, &e) > 0) {
                _cleanup_free_ char *uri = NULL;

                if (e.type != JSON_STRING || json_span_text((JsonSpan) { e.value, e.value_size }, &uri) < 0 || strlen(uri) >= MCP_URI_MAX)
                        continue;
                uint64_t state = c->peer.level < LEVEL_OBSERVE ? 0 : mcp_resource_state(c, uri);
                if (state == 0 || subscription_add(c, listen, uri, state) < 0)
                        continue;
                put_raw(honoured, first ? "" : ",");
                put_text(honoured, uri);
                first = false;
        }
        put_raw(honoured, "]");
}

void mcp_listen(McpRequest *q) {
        McpClient *c = q->reply.client;
        JsonSpan wanted = mcp_param(&q->params, MCP_PARAM_NOTIFICATIONS);
        _cleanup_mcp_text_ McpText t = {};
        JsonMember m;
        McpListen *listen;
        unsigned n = 0;

        LIST_FOREACH(l, &c->listens)
                n++;
        if (!mcp_param_has(&q->params, MCP_PARAM_NOTIFICATIONS, JSON_OBJECT) || n >= MCP_SUBSCRIPTIONS_MAX) {
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, n >= MCP_SUBSCRIPTIONS_MAX ? "too much is listened to" :
                          "subscriptions/listen needs notifications, an object");
                return;
        }
        listen = listen_new(c, q->reply.id);
        if (!listen) {
                mcp_error(&q->reply, JSONRPC_INTERNAL_ERROR, NULL, "out of memory");
                return;
        }
        listen->tools = listen_flag(wanted, "toolsListChanged");
        listen->prompts = listen_flag(wanted, "promptsListChanged");
        listen->resources = listen_flag(wanted, "resourcesListChanged");
        put_raw(&t, "{");
        put_listen_meta(&t, listen);
        put_format(&t, ",\"notifications\":{\"toolsListChanged\":%s,\"promptsListChanged\":%s,\"resourcesListChanged\":%s", listen->tools ? "true" : "false",
                   listen->prompts ? "true" : "false", listen->resources ? "true" : "false");
        if (json_find(wanted, "resourceSubscriptions", &m) > 0 && m.type == JSON_ARRAY)
                listen_to(c, listen, (JsonSpan) { m.value, m.value_size }, &t);
        put_raw(&t, "}}");
        mcp_notify(c, "notifications/subscriptions/acknowledged", &t);
}

bool mcp_unlisten(McpClient *c, JsonSpan id) {
        LIST_FOREACH(l, &c->listens) {
                McpListen *listen = list_entry(l, McpListen, link);

                if (listen->id && mcp_id_equal(id, (JsonSpan) { listen->id, strlen(listen->id) })) {
                        listen_free(c, listen);
                        return true;
                }
        }
        return false;
}

void mcp_subscriptions_done(McpClient *c, bool answer) {
        List *n;

        while ((n = list_first(&c->listens))) {
                McpListen *listen = list_entry(n, McpListen, link);
                McpReply r = { .client = c, .id = { listen->id, strlen(listen->id) }, .version = MCP_2026_07_28 };

                if (answer)
                        mcp_result(&r, NULL);
                listen_free(c, listen);
        }
        while ((n = list_first(&c->subscriptions)))
                subscription_free(c, list_entry(n, McpSubscription, link));
}

/* --- what has changed --- */

static void tell_updated(McpClient *c, const McpSubscription *sub) {
        _cleanup_mcp_text_ McpText t = {};

        put_raw(&t, "{");
        if (sub->listen) {
                put_listen_meta(&t, sub->listen);
                put_raw(&t, ",");
        }
        put_raw(&t, "\"uri\":");
        put_text(&t, sub->uri);
        put_raw(&t, "}");
        mcp_notify(c, "notifications/resources/updated", &t);
}

void mcp_resource_updated(McpServer *s, const char *uri, bool (*concerns)(const McpClient *c, void *userdata), void *userdata) {
        LIST_FOREACH(l, &s->clients) {
                McpClient *c = list_entry(l, McpClient, link);

                LIST_FOREACH(k, &c->subscriptions) {
                        const McpSubscription *sub = list_entry(k, McpSubscription, link);

                        if (!c->closing && streq(sub->uri, uri) && concerns(c, userdata))
                                tell_updated(c, sub);
                }
        }
}

void mcp_subscriptions_look(McpServer *s) {
        LIST_FOREACH(l, &s->clients) {
                McpClient *c = list_entry(l, McpClient, link);

                LIST_FOREACH(k, &c->subscriptions) {
                        McpSubscription *sub = list_entry(k, McpSubscription, link);
                        uint64_t now = mcp_resource_state(c, sub->uri);

                        if (now == sub->seen || c->closing)
                                continue;
                        sub->seen = now;
                        tell_updated(c, sub);
                        mcp_pooled_subscribed(c, sub->uri); /* of a pooled server: it is another process now */
                }
        }
}

static void tell_list(McpClient *c, const McpListen *listen, const char *method) {
        _cleanup_mcp_text_ McpText t = {};

        if (!listen) {
                mcp_notify(c, method, NULL);
                return;
        }
        put_raw(&t, "{");
        put_listen_meta(&t, listen);
        put_raw(&t, "}");
        mcp_notify(c, method, &t);
}

void mcp_list_changed(McpServer *s, McpKind kind) {
        static const char *const methods[_MCP_KIND_MAX] = {
                [MCP_TOOLS] = "notifications/tools/list_changed",
                [MCP_RESOURCES] = "notifications/resources/list_changed",
                [MCP_TEMPLATES] = "notifications/resources/list_changed",
                [MCP_PROMPTS] = "notifications/prompts/list_changed",
        };

        LIST_FOREACH(l, &s->clients) {
                McpClient *c = list_entry(l, McpClient, link);

                if (c->version >= 0)
                        tell_list(c, NULL, methods[kind]);
                LIST_FOREACH(k, &c->listens) {
                        const McpListen *listen = list_entry(k, McpListen, link);

                        if (kind == MCP_TOOLS ? listen->tools : kind == MCP_PROMPTS ? listen->prompts : listen->resources)
                                tell_list(c, listen, methods[kind]);
                }
        }
}

/* --- across execve() --- */

static void put_uris(McpClient *c, StateWriter *sw, json_object *o, const McpListen *listen) {
        json_object *a = json_object_new_array();

        LIST_FOREACH(l, &c->subscriptions) {
                McpSubscription *s = list_entry(l, McpSubscription, link);

                if (s->listen == listen)
                        json_object_array_add(a, json_object_new_string(s->uri));
        }
        state_put_object(sw, o, "uris", a);
}

void mcp_subscriptions_serialize(McpClient *c, StateWriter *sw, json_object *o) {
        json_object *a = json_object_new_array();

        put_uris(c, sw, o, NULL);
        LIST_FOREACH(l, &c->listens) {
                McpListen *listen = list_entry(l, McpListen, link);
                json_object *e = json_object_new_object();

                state_put_text(sw, e, "id", listen->id);
                state_put_int(sw, e, "tools", listen->tools);
                state_put_int(sw, e, "prompts", listen->prompts);
                state_put_int(sw, e, "resources", listen->resources);
                put_uris(c, sw, e, listen);
                json_object_array_add(a, e);
        }
        state_put_object(sw, o, "listens", a);
}

static int get_uris(McpClient *c, const json_object *o, McpListen *listen) {
        json_object *a = state_get_object(o, "uris");

        for (size_t i = 0; a && i < json_object_array_length(a); i++) {
                const char *uri = json_object_get_string(json_object_array_get_idx(a, i));
                int r = uri ? subscription_add(c, listen, uri, 0) : 0; /* what has changed meanwhile is told */

                if (r < 0)
                        return r;
        }
        return 0;
}

int mcp_subscriptions_deserialize(McpClient *c, const json_object *o) {
        json_object *a = state_get_object(o, "listens");
        int r = get_uris(c, o, NULL);

        for (size_t i = 0; r >= 0 && a && i < json_object_array_length(a); i++) {
                json_object *e = json_object_array_get_idx(a, i);
                const char *id = state_get_text(e, "id");
                McpListen *listen = id ? listen_new(c, (JsonSpan) { id, strlen(id) }) : NULL;

                if (!listen)
                        return id ? -ENOMEM : -EBADMSG;
                listen->tools = state_get_int(e, "tools");
                listen->prompts = state_get_int(e, "prompts");
                listen->resources = state_get_int(e, "resources");
                r = get_uris(c, e, listen);
        }
        return r;
}
