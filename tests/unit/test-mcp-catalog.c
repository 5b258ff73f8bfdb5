/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What MCP servers offer: pages become a list, byte for byte, and a catalog comes back as it was. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "unit.h"
#include "worker/mcp-catalog.h"

static JsonSpan span(const char *s) {
        return (JsonSpan) { s, strlen(s) };
}

static bool says(const JsonBuffer *b, const char *text) {
        return b->size == strlen(text) && memcmp(b->data, text, b->size) == 0;
}

START_TEST(versions) {
        for (McpRevision v = 0; v < _MCP_REVISION_MAX; v++)
                ck_assert_int_eq(mcp_revision_from_string(mcp_revision_to_string(v)), v);
        ck_assert_int_eq(mcp_revision_from_string("2025-11-24"), -EINVAL);
        ck_assert(!mcp_revision_to_string(_MCP_REVISION_MAX));
}
END_TEST

START_TEST(pages) {
        char *cursor = NULL;
        JsonBuffer b = {};
        unsigned n = 0;

        ck_assert_int_eq(mcp_page_read(MCP_LIST_TOOLS, span("{\"tools\":[ {\"name\":\"a\",\"x\":1.00} ,{\"name\":\"b\"}],\"nextCursor\":\"p\\n2\"}"), 1000,
                                       &b, &n, &cursor), 0);
        ck_assert_str_eq(cursor, "\"p\\n2\"");
        free(cursor);
        ck_assert_int_eq(mcp_page_read(MCP_LIST_TOOLS, span("{\"tools\":[]}"), 1000, &b, &n, &cursor), 0);
        ck_assert(!cursor);
        ck_assert_int_eq(mcp_page_read(MCP_LIST_TOOLS, span("{\"nextCursor\":null,\"tools\":[{}]}"), 1000, &b, &n, &cursor), 0);
        ck_assert(!cursor && n == 3);
        ck_assert(says(&b, "[{\"name\":\"a\",\"x\":1.00},{\"name\":\"b\"},{}"));
        json_buffer_clear(&b);
}
END_TEST

START_TEST(no_pages) {
        static const char *const bad[] = { "{}", "[]", "{\"tools\":{}}", "{\"tools\":[1]}", "{\"tools\":[],\"tools\":[]}", "{\"resources\":[]}",
                                           "{\"tools\":[{}", "{\"tools\":null}", "{\"tools\":[],\"nextCursor\":\"a\",\"nextCursor\":\"b\"}" };
        char *cursor = NULL;
        JsonBuffer b = {};
        unsigned n = 0;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ck_assert_int_eq(mcp_page_read(MCP_LIST_TOOLS, span(bad[i]), 1000, &b, &n, &cursor), -EBADMSG);
        ck_assert(!cursor);
        ck_assert_int_eq(mcp_page_read(MCP_LIST_TOOLS, span("{\"tools\":[{\"a\":\"123456789\"},{\"a\":\"123456789\"}]}"), 30, &b, &n, &cursor), -EMSGSIZE);
        json_buffer_clear(&b);
}
END_TEST

static void set(McpCatalog *c, McpList l, const char *page) {
        char *cursor = NULL;
        JsonBuffer b = {};
        unsigned n = 0;

        ck_assert_int_eq(mcp_page_read(l, span(page), 1000, &b, &n, &cursor), 0);
        ck_assert_int_eq(mcp_catalog_set_items(c, l, &b, n), 0);
        ck_assert(!b.data);
}

static McpCatalog *example(List *catalogs) {
        McpCatalog *c = mcp_catalog_get(catalogs, "a \"type\"", UINT64_MAX / 2);

        ck_assert_int_eq(mcp_catalog_set_server(c, MCP_REVISION_2025_06_18, span("{\"serverInfo\":{\"version\":1.00},\"x\":\"ä\"}")), 0);
        set(c, MCP_LIST_TOOLS, "{\"tools\":[{\"name\":\"a\",\"n\":1e2},{}]}");
        set(c, MCP_LIST_RESOURCES, "{\"resources\":[]}");
        mcp_catalog_set_error(c, MCP_LIST_PROMPTS, strdup("no"));
        c->stale = 1U << MCP_LIST_TOOLS;
        c->asked_usec = 12345;
        return c;
}

START_TEST(freshness) {
        List catalogs = LIST_INIT(catalogs);
        McpCatalog *c = example(&catalogs);
        uint64_t serial;

        ck_assert(!mcp_catalog_fresh(c));
        set(c, MCP_LIST_TEMPLATES, "{\"resourceTemplates\":[]}");
        set(c, MCP_LIST_PROMPTS, "{\"prompts\":[]}");
        ck_assert(!c->items[MCP_LIST_PROMPTS].error);
        ck_assert(!mcp_catalog_fresh(c));
        c->stale = 0;
        ck_assert(mcp_catalog_fresh(c));
        serial = c->serial;
        set(c, MCP_LIST_PROMPTS, "{ \"prompts\": [ ] }");
        ck_assert_uint_eq(c->serial, serial); /* the same again */
        set(c, MCP_LIST_PROMPTS, "{\"prompts\":[{}]}");
        ck_assert_uint_gt(c->serial, serial);
        mcp_catalog_set_error(c, MCP_LIST_PROMPTS, strdup("not today"));
        ck_assert(!mcp_catalog_fresh(c));
        ck_assert(says(&c->items[MCP_LIST_PROMPTS].text, "[{}]")); /* better than nothing */
        mcp_catalogs_prune(&catalogs, NULL, NULL);
        ck_assert(list_empty(&catalogs));
}
END_TEST

static bool is_type(const McpCatalog *c, void *userdata) {
        return strcmp(c->type, userdata) == 0;
}

START_TEST(by_definition) {
        List catalogs = LIST_INIT(catalogs);
        McpCatalog *a = mcp_catalog_get(&catalogs, "a", 1), *b = mcp_catalog_get(&catalogs, "b", 1);
        char name[] = "b";

        ck_assert(a != b);
        ck_assert_ptr_eq(mcp_catalog_get(&catalogs, "a", 1), a);
        ck_assert_ptr_null(mcp_catalog_find(&catalogs, "a", 2));
        ck_assert_ptr_ne(mcp_catalog_get(&catalogs, "a", 2), a);
        mcp_catalogs_prune(&catalogs, is_type, name);
        ck_assert_ptr_null(mcp_catalog_find(&catalogs, "a", 1));
        ck_assert_ptr_eq(mcp_catalog_find(&catalogs, "b", 1), b);
        mcp_catalogs_prune(&catalogs, NULL, NULL);
}
END_TEST

START_TEST(there_and_back) {
        List catalogs = LIST_INIT(catalogs);
        McpCatalog *c = example(&catalogs), *d = NULL;
        JsonBuffer b = {};

        ck_assert_int_eq(mcp_catalog_serialize(c, &b), 0);
        ck_assert_int_eq(mcp_catalog_deserialize((JsonSpan) { b.data, b.size }, &d), 0);
        ck_assert_str_eq(d->type, c->type);
        ck_assert(d->fingerprint == c->fingerprint && d->version == c->version && d->stale == c->stale && d->serial == c->serial &&
                  d->asked_usec == c->asked_usec);
        ck_assert(says(&d->server, "{\"serverInfo\":{\"version\":1.00},\"x\":\"ä\"}"));
        ck_assert(d->items[MCP_LIST_TOOLS].known && d->items[MCP_LIST_TOOLS].n == 2 && says(&d->items[MCP_LIST_TOOLS].text, "[{\"name\":\"a\",\"n\":1e2},{}]"));
        ck_assert(d->items[MCP_LIST_RESOURCES].known && says(&d->items[MCP_LIST_RESOURCES].text, "[]"));
        ck_assert(!d->items[MCP_LIST_PROMPTS].known && !d->items[MCP_LIST_TEMPLATES].known);
        mcp_catalog_free(d);

        for (size_t n = 0; n < b.size; n++) { /* half of it is none */
                _cleanup_free_ char *part = malloc(n + 1);

                memcpy(part, b.data, n);
                ck_assert_int_eq(mcp_catalog_deserialize((JsonSpan) { part, n }, &d), -EBADMSG);
        }
        static const char *const bad[] = { "\"version\":\"1999-01-01\"", "\"version\":\"2025-11-25\",\"tools\":[1]", "\"version\":7" };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                char text[200];

                snprintf(text, sizeof(text), "{\"type\":\"a\",\"fingerprint\":1,\"stale\":0,\"serial\":0,\"asked\":0,%s}", bad[i]);
                ck_assert_int_eq(mcp_catalog_deserialize(span(text), &d), -EBADMSG);
        }
        json_buffer_clear(&b);
        mcp_catalogs_prune(&catalogs, NULL, NULL);
}
END_TEST

UNIT_MAIN("mcp-catalog", versions, pages, no_pages, freshness, by_definition, there_and_back)
