/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the MCP servers of a pool offer, from the catalog of their worker type: no process is started or asked for it. */

#include <stdio.h>

#include "control/internal.h"
#include "worker/mcp-catalog.h"

static char *member_text(JsonSpan object, const char *name) {
        char *text = NULL;
        JsonMember m;

        if (json_find(object, name, &m) > 0)
                (void) json_span_text((JsonSpan) { m.value, m.value_size }, &text);
        return text;
}

static void add_member(json_object *o, const char *key, JsonSpan object) {
        _cleanup_free_ char *text = member_text(object, key);

        object_add_text(o, key, text);
}

static json_object *tools_array(const McpItems *items) {
        json_object *a = json_object_new_array();
        JsonMember m;
        JsonScan scan;

        json_scan_elements(&scan, items->text.data, items->text.size);
        while (items->text.size > 0 && json_scan_next(&scan, &m) > 0) {
                json_object *o = json_object_new_object();
                JsonSpan tool = { m.value, m.value_size };

                add_member(o, "name", tool);
                add_member(o, "title", tool);
                add_member(o, "description", tool);
                json_object_object_add(o, "definition", json_object_new_string_len(m.value, (int) m.value_size));
                json_object_array_add(a, o);
        }
        return a;
}

void method_pool_tools(ControlClient *c, json_object *p) {
        Pool *pool = need_pool(c, p, "pool");
        const WorkerType *t = pool ? pool->config->type : NULL;
        McpCatalog *catalog;
        json_object *o;

        if (!pool)
                return;
        if (t->protocol != PROTOCOL_MCP) {
                o = json_object_new_object();
                object_add_text(o, "pool", pool->name);
                control_fail(c, "NotMcp", o, "pool %s is of Protocol=%s; tools are what MCP servers have", pool->name, protocol_to_string(t->protocol));
                return;
        }
        catalog = mcp_catalog_find(&c->server->host->mcp_catalogs, t->name, worker_type_fingerprint(t));
        const McpItems *tools = catalog ? &catalog->items[MCP_LIST_TOOLS] : NULL;
        o = json_object_new_object();
        json_object_object_add(o, "known", json_object_new_boolean(tools && tools->known));
        json_object_object_add(o, "asking", json_object_new_boolean(catalog && catalog->asker));
        if (tools)
                object_add_text(o, "reason", tools->error);
        if (catalog && catalog->server.size > 0)
                object_add_text(o, "protocol", mcp_revision_to_string(catalog->version));
        json_object_object_add(o, "tools", tools ? tools_array(tools) : json_object_new_array());
        control_reply(c, o, false);
}
