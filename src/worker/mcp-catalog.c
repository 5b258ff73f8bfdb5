/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Lists of tools, resources, templates and prompts. One server is asked for all that run the same definition of a worker type. What it
 * says is kept as text and never printed anew: schemas hold numbers and orders of members that a tree would lose.
 */

#include <errno.h>
#include <stdio.h>

#include "basic/str.h"
#include "worker/mcp-catalog.h"

static const char *const version_names[_MCP_REVISION_MAX] = {
        [MCP_REVISION_2024_11_05] = "2024-11-05",
        [MCP_REVISION_2025_03_26] = "2025-03-26",
        [MCP_REVISION_2025_06_18] = "2025-06-18",
        [MCP_REVISION_2025_11_25] = "2025-11-25",
        [MCP_REVISION_2026_07_28] = "2026-07-28",
};

const char *mcp_revision_to_string(McpRevision v) {
        return (unsigned) v < _MCP_REVISION_MAX ? version_names[v] : NULL;
}

int mcp_revision_from_string(const char *s) {
        for (int i = 0; i < _MCP_REVISION_MAX; i++)
                if (streq(s, version_names[i]))
                        return i;
        return -EINVAL;
}

static const struct {
        const char *method, *member, *noun;
} lists[_MCP_LIST_MAX] = {
        [MCP_LIST_TOOLS] = { "tools/list", "tools", "tool" },
        [MCP_LIST_RESOURCES] = { "resources/list", "resources", "resource" },
        [MCP_LIST_TEMPLATES] = { "resources/templates/list", "resourceTemplates", "resource template" },
        [MCP_LIST_PROMPTS] = { "prompts/list", "prompts", "prompt" },
};

const char *mcp_list_method(McpList l) {
        return lists[l].method;
}

const char *mcp_list_member(McpList l) {
        return lists[l].member;
}

const char *mcp_list_noun(McpList l) {
        return lists[l].noun;
}

McpCatalog *mcp_catalog_find(const List *catalogs, const char *type, uint64_t fingerprint) {
        LIST_FOREACH(l, (List *) catalogs) {
                McpCatalog *c = list_entry(l, McpCatalog, link);

                if (c->fingerprint == fingerprint && streq(c->type, type))
                        return c;
        }
        return NULL;
}

static McpCatalog *catalog_new(const char *type, uint64_t fingerprint) {
        McpCatalog *c = new0(McpCatalog, 1);

        if (!c)
                return NULL;
        list_init(&c->link);
        c->fingerprint = fingerprint;
        c->type = strdup(type);
        return c->type ? c : mcp_catalog_free(c);
}

McpCatalog *mcp_catalog_get(List *catalogs, const char *type, uint64_t fingerprint) {
        McpCatalog *c = mcp_catalog_find(catalogs, type, fingerprint);

        if (c)
                return c;
        c = catalog_new(type, fingerprint);
        if (c)
                list_append(catalogs, &c->link);
        return c;
}

McpCatalog *mcp_catalog_free(McpCatalog *c) {
        if (!c)
                return NULL;
        list_remove(&c->link);
        for (McpList l = 0; l < _MCP_LIST_MAX; l++) {
                json_buffer_clear(&c->items[l].text);
                free(c->items[l].error);
        }
        json_buffer_clear(&c->server);
        strv_free(c->readers);
        free(c->type);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(McpCatalog *, mcp_catalog_free);

void mcp_catalogs_prune(List *catalogs, bool (*keep)(const McpCatalog *c, void *userdata), void *userdata) {
        LIST_FOREACH_SAFE(l, next, catalogs) {
                McpCatalog *c = list_entry(l, McpCatalog, link);

                if (!keep || !keep(c, userdata))
                        mcp_catalog_free(c);
        }
}

bool mcp_catalog_fresh(const McpCatalog *c) {
        for (McpList l = 0; l < _MCP_LIST_MAX; l++)
                if (!c->items[l].known)
                        return false;
        return c->stale == 0;
}

int mcp_catalog_set_server(McpCatalog *c, McpRevision version, JsonSpan answer) {
        JsonBuffer b = {};

        if (json_append(&b, answer.p, answer.size) < 0)
                return -ENOMEM;
        json_buffer_clear(&c->server);
        c->server = b;
        c->version = version;
        return 0;
}

/* Which tools only read, of a list that is whole. What cannot be kept for want of memory counts as having an effect. */
static void find_readers(McpCatalog *c) {
        const McpItems *tools = &c->items[MCP_LIST_TOOLS];
        JsonMember e, m;
        JsonScan scan;

        strv_free(c->readers);
        c->readers = NULL;
        json_scan_elements(&scan, tools->text.data, tools->text.size);
        while (json_scan_next(&scan, &e) > 0) {
                JsonSpan tool = { e.value, e.value_size };
                _cleanup_free_ char *name = NULL;

                if (json_find(tool, "annotations", &m) > 0 && m.type == JSON_OBJECT &&
                    json_find((JsonSpan) { m.value, m.value_size }, "readOnlyHint", &m) > 0 && m.type == JSON_BOOL && m.value[0] == 't' &&
                    json_find(tool, "name", &m) > 0 && json_span_text((JsonSpan) { m.value, m.value_size }, &name) >= 0)
                        (void) strv_append(&c->readers, name);
        }
}

bool mcp_catalog_only_reads(const McpCatalog *c, const char *method) {
        static const char *const requests[] = { "resources/read", "prompts/get", "completion/complete" };

        for (size_t i = 0; i < ELEMENTSOF(requests); i++)
                if (streq(method, requests[i]))
                        return true;
        for (char **r = c->readers; r && *r; r++)
                if (streq(*r, method))
                        return true;
        return false;
}

int mcp_catalog_set_items(McpCatalog *c, McpList l, JsonBuffer *text, unsigned n) {
        McpItems *items = &c->items[l];
        JsonBuffer b = *text;

        *text = (JsonBuffer) {};
        if ((b.size == 0 && json_append(&b, "[", 1) < 0) || json_append(&b, "]", 1) < 0) {
                json_buffer_clear(&b);
                return -ENOMEM;
        }
        if (b.size != items->text.size || memcmp(b.data, items->text.data, b.size) != 0)
                c->serial++;
        json_buffer_clear(&items->text);
        free(items->error);
        *items = (McpItems) { .known = true, .text = b, .n = n };
        if (l == MCP_LIST_TOOLS)
                find_readers(c);
        return 0;
}

void mcp_catalog_set_error(McpCatalog *c, McpList l, char *error) {
        free(c->items[l].error);
        c->items[l].error = error;
        c->items[l].known = false;
}

/* --- pages --- */

int mcp_page_read(McpList l, JsonSpan result, size_t size_max, JsonBuffer *text, unsigned *n, char **ret_cursor) {
        _cleanup_free_ char *cursor = NULL;
        JsonMember array, next, m;
        JsonScan scan;
        int r;

        r = json_find(result, lists[l].member, &array);
        if (r <= 0)
                return r < 0 && r != -E2BIG ? r : -EBADMSG;
        r = json_find(result, "nextCursor", &next);
        if (r < 0)
                return -EBADMSG;
        if (r > 0 && next.type == JSON_STRING) {
                cursor = memdup_text(next.value, next.value_size);
                if (!cursor)
                        return -ENOMEM;
        }
        json_scan_elements(&scan, array.value, array.value_size);
        while ((r = json_scan_next(&scan, &m)) > 0) {
                if (m.type != JSON_OBJECT)
                        return -EBADMSG;
                if (text->size + m.value_size + 2 > size_max)
                        return -EMSGSIZE;
                if (json_append(text, text->size == 0 ? "[" : ",", 1) < 0 || json_append(text, m.value, m.value_size) < 0)
                        return -ENOMEM;
                (*n)++;
        }
        if (r < 0)
                return -EBADMSG;
        *ret_cursor = TAKE_PTR(cursor);
        return 0;
}

/* --- state --- */

static int append_text(JsonBuffer *b, const char *s) {
        return json_append(b, s, strlen(s));
}

int mcp_catalog_serialize(const McpCatalog *c, JsonBuffer *b) {
        char numbers[160];
        int r;

        snprintf(numbers, sizeof(numbers), ",\"fingerprint\":%llu,\"version\":\"%s\",\"stale\":%u,\"serial\":%llu,\"asked\":%llu",
                 (unsigned long long) c->fingerprint, mcp_revision_to_string(c->version), c->stale, (unsigned long long) c->serial,
                 (unsigned long long) c->asked_usec);
        r = append_text(b, "{\"type\":");
        if (r >= 0)
                r = json_escape_append(b, c->type, strlen(c->type));
        if (r >= 0)
                r = append_text(b, numbers);
        if (r >= 0 && c->server.size > 0) {
                r = append_text(b, ",\"server\":");
                if (r >= 0)
                        r = json_append(b, c->server.data, c->server.size);
        }
        for (McpList l = 0; r >= 0 && l < _MCP_LIST_MAX; l++) {
                if (!c->items[l].known)
                        continue;
                r = append_text(b, ",\"");
                if (r >= 0)
                        r = append_text(b, lists[l].member);
                if (r >= 0)
                        r = append_text(b, "\":");
                if (r >= 0)
                        r = json_append(b, c->items[l].text.data, c->items[l].text.size);
        }
        return r < 0 ? r : append_text(b, "}");
}

static int get_number(JsonSpan text, const char *name, uint64_t *ret) {
        JsonMember m;
        int r = json_find(text, name, &m);

        return r > 0 ? json_span_u64((JsonSpan) { m.value, m.value_size }, ret) : -EBADMSG;
}

/* A list, where it stands there: its items are read as if they were a page. */
static int get_items(JsonSpan text, McpCatalog *c, McpList l) {
        _cleanup_(json_buffer_clear) JsonBuffer b = {};
        _cleanup_free_ char *cursor = NULL;
        unsigned n = 0;
        JsonMember m;
        int r;

        r = json_find(text, lists[l].member, &m);
        if (r <= 0)
                return r;
        r = mcp_page_read(l, text, SIZE_MAX, &b, &n, &cursor);
        return r < 0 ? r : mcp_catalog_set_items(c, l, &b, n);
}

int mcp_catalog_deserialize(JsonSpan text, McpCatalog **ret) {
        _cleanup_(mcp_catalog_freep) McpCatalog *c = NULL;
        _cleanup_free_ char *type = NULL, *version = NULL;
        uint64_t fingerprint, stale, serial;
        JsonMember m;
        int r, v;

        r = json_find(text, "type", &m);
        if (r <= 0 || json_span_text((JsonSpan) { m.value, m.value_size }, &type) < 0)
                return -EBADMSG;
        r = json_find(text, "version", &m);
        if (r <= 0 || json_span_text((JsonSpan) { m.value, m.value_size }, &version) < 0)
                return -EBADMSG;
        v = mcp_revision_from_string(version);
        if (v < 0 || get_number(text, "fingerprint", &fingerprint) < 0 || get_number(text, "stale", &stale) < 0 ||
            get_number(text, "serial", &serial) < 0)
                return -EBADMSG;
        c = catalog_new(type, fingerprint);
        if (!c)
                return -ENOMEM;
        if (get_number(text, "asked", &c->asked_usec) < 0)
                return -EBADMSG;
        r = json_find(text, "server", &m);
        if (r > 0)
                r = mcp_catalog_set_server(c, (McpRevision) v, (JsonSpan) { m.value, m.value_size });
        for (McpList l = 0; r >= 0 && l < _MCP_LIST_MAX; l++)
                r = get_items(text, c, l);
        if (r < 0)
                return r == -ENOMEM ? r : -EBADMSG;
        c->version = (McpRevision) v;
        c->stale = (unsigned) stale & MCP_LISTS_ALL;
        c->serial = c->told = serial;
        *ret = TAKE_PTR(c);
        return 0;
}
