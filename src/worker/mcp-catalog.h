/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the MCP servers of a worker type offer: asked for once, kept as the server wrote it, so that a listing starts no process. */

#include "basic/list.h"
#include "proto/jsonrpc.h"
#include "worker/worker-type.h"

typedef enum McpRevision { /* oldest first */
        MCP_REVISION_2024_11_05,
        MCP_REVISION_2025_03_26,
        MCP_REVISION_2025_06_18,
        MCP_REVISION_2025_11_25,
        MCP_REVISION_2026_07_28, /* the one without a handshake: "modern" */
        _MCP_REVISION_MAX,
} McpRevision;

#define MCP_REVISION_LEGACY MCP_REVISION_2025_11_25
#define MCP_REVISION_MODERN MCP_REVISION_2026_07_28

typedef enum McpList {
        MCP_LIST_TOOLS,
        MCP_LIST_RESOURCES,
        MCP_LIST_TEMPLATES,
        MCP_LIST_PROMPTS,
        _MCP_LIST_MAX,
} McpList;

#define MCP_LISTS_ALL ((1U << _MCP_LIST_MAX) - 1)
#define MCP_PAGES_MAX 1000U /* of one list */

typedef struct McpItems {
        bool known;      /* the server has answered, or does not offer this kind at all */
        JsonBuffer text; /* an array of all pages' items, each as the server wrote it; nothing: never answered */
        unsigned n;
        char *error;     /* why it is not known, or could not be renewed; NULL: no reason */
} McpItems;

typedef struct McpCatalog {
        List link;             /* among the host's */
        char *type;            /* the worker type's name */
        uint64_t fingerprint;  /* and its definition: another one may offer something else */
        McpRevision version;
        JsonBuffer server;     /* the answer to initialize or server/discover: serverInfo, capabilities, instructions */
        McpItems items[_MCP_LIST_MAX];
        unsigned stale;        /* bits of McpList: changed since they were asked for */
        uint64_t serial;       /* grows with each change */
        uint64_t told;         /* the serial that was told of last */
        uint64_t asked_usec;   /* CLOCK_REALTIME, of the last answer */
        void *asker;           /* the Worker that is being asked now */
        char **readers;        /* the tools that say readOnlyHint */
        bool effects_told;     /* that one which does not is not cached */
} McpCatalog;

const char *mcp_revision_to_string(McpRevision v);
/* -EINVAL for a version that flowd does not speak. */
int mcp_revision_from_string(const char *s);
/* How a list is asked for ("tools/list"), in which member its items come ("tools"), and what one of them is called by a person ("tool"). */
const char *mcp_list_method(McpList l);
const char *mcp_list_member(McpList l);
const char *mcp_list_noun(McpList l);

/* The catalog of this definition of a worker type, or NULL. */
McpCatalog *mcp_catalog_find(const List *catalogs, const char *type, uint64_t fingerprint);
/* Finds it or makes an empty one; NULL when out of memory. */
McpCatalog *mcp_catalog_get(List *catalogs, const char *type, uint64_t fingerprint);
McpCatalog *mcp_catalog_free(McpCatalog *c);
/* All is known and nothing has changed since. */
bool mcp_catalog_fresh(const McpCatalog *c);
/* Whether a call of that method has no effect: a tool that says so, or a request of MCP that reads. */
bool mcp_catalog_only_reads(const McpCatalog *c, const char *method);
/* Takes over what the server has answered about itself. Returns 0 or -ENOMEM. */
int mcp_catalog_set_server(McpCatalog *c, McpRevision version, JsonSpan answer);
/* Replaces a list by what mcp_page_read() has gathered (taken over), or by an empty one where it is zero. Returns 0 or -ENOMEM. */
int mcp_catalog_set_items(McpCatalog *c, McpList l, JsonBuffer *text, unsigned n);
/* A list could not be had: the one that there is stays. The error is taken over. */
void mcp_catalog_set_error(McpCatalog *c, McpList l, char *error);
/* Drops those for which `keep` says false. */
void mcp_catalogs_prune(List *catalogs, bool (*keep)(const McpCatalog *c, void *userdata), void *userdata);

/* Reads one page of a list, the result of its request: appends the items to `text`, an array in the making that mcp_catalog_set_items() ends,
 * and counts them in `n`. `ret_cursor` (owned by the caller) is the next page's as it stands, a JSON string, or NULL.
 * Returns 0, -EBADMSG where it is no page, -EMSGSIZE where the list would be above `size_max`, -ENOMEM. */
int mcp_page_read(McpList l, JsonSpan result, size_t size_max, JsonBuffer *text, unsigned *n, char **ret_cursor);

/* As a piece of JSON, and back: across execve(), or onto the disk. Returns 0, -EBADMSG, -ENOMEM. */
int mcp_catalog_serialize(const McpCatalog *c, JsonBuffer *b);
int mcp_catalog_deserialize(JsonSpan text, McpCatalog **ret);
