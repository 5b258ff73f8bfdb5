/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What pooled MCP servers offer, in flowd's own lists. The lists are made of the catalogs (worker/mcp-catalog.h) of all pools of Protocol=mcp, in
 * the order of the pools' names: a copy, because a catalog may be replaced at any time, and sorted, so that a name is found at once. They are
 * made anew at the end of a round in which something has changed; what is different then is told. No listing waits for a server or starts one.
 *
 * Of worker types whose servers have never been asked, one server is started some time after flowd, by a job that asks it for its tools; PROBES_MAX at
 * a time. Whatever becomes of it, that is tried once per definition; a server that is started for another reason is asked as well.
 */

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>

#include "mcp/tools.h"
#include "pool/pool.h"
#include "worker/mcp-catalog.h"

#define PROBES_MAX 2U                        /* worker types whose servers are asked at a time */
#define PROBE_USEC (60 * USEC_PER_SEC)       /* besides StartTimeout= */
#define PROBE_SESSION "flowd-catalog"
#define LEFT_OUT_TOLD 20U

typedef struct McpIndex {
        McpEntry *entries;  /* by key */
        size_t n, room;
        uint64_t hash;
} McpIndex;

typedef struct Probe {
        List link;
        JobWatch watch;
        McpServer *server;
        char *type;
        uint64_t fingerprint;
        Job *job;           /* a reference; NULL: it is over */
} Probe;

typedef struct McpPooled {
        McpIndex of[_MCP_KIND_MAX];
        PoolConfig **configs; /* references: what the lists were made of */
        size_t n_configs;
        uint64_t signature;
        uint64_t left_out;    /* a hash of what was told of */
        bool built;
        List probes;
        unsigned n_probing;
} McpPooled;

static const struct {
        McpList list;
        const char *key;
        bool named;     /* the key is a name, which gets a prefix */
} kinds[_MCP_KIND_MAX] = {
        [MCP_TOOLS] = { MCP_LIST_TOOLS, "name", true },
        [MCP_RESOURCES] = { MCP_LIST_RESOURCES, "uri", false },
        [MCP_TEMPLATES] = { MCP_LIST_TEMPLATES, "uriTemplate", false },
        [MCP_PROMPTS] = { MCP_LIST_PROMPTS, "name", true },
};

/* --- entries --- */

static void entry_done(McpEntry *e) {
        free(e->key);
        free(e->name);
        free(e->text);
}

static void index_done(McpIndex *x) {
        for (size_t i = 0; i < x->n; i++)
                entry_done(&x->entries[i]);
        free(x->entries);
        *x = (McpIndex) {};
}

static uint64_t hash_bytes(uint64_t h, const char *p, size_t size) {
        for (size_t i = 0; i < size; i++)
                h = (h ^ (uint8_t) p[i]) * 0x100000001b3ULL;
        return h;
}

/* What is not listed, and why. */
typedef struct LeftOut {
        char *lines[LEFT_OUT_TOLD];
        unsigned n;
        uint64_t hash;
} LeftOut;

static void leave_out(LeftOut *o, const char *pool, McpKind kind, const char *key, const char *why) {
        char *line = str_printf("The %s %.200s of pool %s is not offered to MCP clients: %s", mcp_list_noun(kinds[kind].list), key, pool, why);

        if (!line)
                return;
        o->hash += hash_bytes(1, line, strlen(line));
        if (o->n < LEFT_OUT_TOLD)
                o->lines[o->n++] = line;
        else
                free(line);
}

static void tell_left_out(McpServer *s, LeftOut *o) {
        for (unsigned i = 0; i < o->n; i++) {
                if (o->hash != s->pooled->left_out)
                        log_write(s->host->log, LOG_WARNING, "%s", o->lines[i]);
                free(o->lines[i]);
        }
        s->pooled->left_out = o->hash;
}

static bool allowed(const PoolConfig *c, const char *name, bool exact) {
        bool yes = !c->mcp_allow || !exact;

        for (char **p = c->mcp_allow; p && *p && !yes; p++)
                yes = fnmatch(*p, name, 0) == 0;
        for (char **p = c->mcp_deny; p && *p && yes; p++)
                yes = fnmatch(*p, name, 0) != 0;
        return yes;
}

static const char *prefix_of(const PoolConfig *c) {
        return c->mcp_prefix ? c->mcp_prefix : c->name;
}

/* Returns 0 or -ENOMEM. */
static int add_entry(McpIndex *x, McpKind kind, const Pool *p, JsonSpan item, const JsonMember *m, const char *name) {
        char key[MCP_NAME_MAX + 1];
        McpEntry e = { .pool = p->name, .order = x->n };
        JsonBuffer b = {};
        size_t at = (size_t) (m->value - item.p);

        if (x->n == x->room) {
                size_t room = MAX(x->room * 2, (size_t) 64);
                McpEntry *bigger = realloc(x->entries, room * sizeof(*bigger));

                if (!bigger)
                        return -ENOMEM;
                x->entries = bigger;
                x->room = room;
        }
        mcp_pooled_name(prefix_of(p->config), name, key);
        e.name = strdup(name);
        e.key = strdup(kinds[kind].named ? key : name);
        int r = !e.name || !e.key ? -ENOMEM : 0;
        if (r == 0 && kinds[kind].named) {
                r = json_append(&b, item.p, at);
                if (r >= 0)
                        r = json_escape_append(&b, key, strlen(key));
                if (r >= 0)
                        r = json_append(&b, item.p + at + m->value_size, item.size - at - m->value_size);
        } else if (r == 0)
                r = json_append(&b, item.p, item.size);
        e.text = b.data;
        e.size = b.size;
        if (r < 0) {
                entry_done(&e);
                return -ENOMEM;
        }
        x->entries[x->n++] = e;
        return 0;
}

static int add_list(McpIndex *x, McpKind kind, const Pool *p, const McpItems *items, LeftOut *out) {
        JsonMember e, m;
        JsonScan scan;
        int r = 0;

        if (items->text.size == 0)
                return 0;
        json_scan_elements(&scan, items->text.data, items->text.size);
        while (r >= 0 && json_scan_next(&scan, &e) > 0) {
                JsonSpan item = { e.value, e.value_size };
                _cleanup_free_ char *name = NULL;

                if (json_find(item, kinds[kind].key, &m) <= 0 || json_span_text((JsonSpan) { m.value, m.value_size }, &name) < 0)
                        leave_out(out, p->name, kind, "without a name", "it has no name that could be read");
                else if (strlen(name) >= (kinds[kind].named ? JOB_NAME_MAX : MCP_URI_MAX))
                        leave_out(out, p->name, kind, name, "its name is too long");
                else if (!kinds[kind].named && strncmp(name, "flow://", 7) == 0)
                        leave_out(out, p->name, kind, name, "flow: is flowd's own scheme");
                else if (allowed(p->config, name, true))
                        r = add_entry(x, kind, p, item, &m, name);
        }
        return r;
}

static int by_key(const void *a, const void *b) {
        const McpEntry *x = a, *y = b;
        int r = strcmp(x->key, y->key);

        return r != 0 ? r : x->order < y->order ? -1 : x->order > y->order;
}

/* Sorts; of entries with one key the first one stays. */
static void index_finish(McpIndex *x, McpKind kind, LeftOut *out) {
        size_t n = 0;

        if (x->n > 0)
                qsort(x->entries, x->n, sizeof(*x->entries), by_key);
        x->hash = 0xcbf29ce484222325ULL;
        for (size_t i = 0; i < x->n; i++) {
                McpEntry *e = &x->entries[i];

                if (n > 0 && streq(x->entries[n - 1].key, e->key)) {
                        _cleanup_free_ char *why = str_printf("pool %s offers one that is called %s, too", x->entries[n - 1].pool, e->key);

                        leave_out(out, e->pool, kind, e->name, strempty(why));
                        entry_done(e);
                        continue;
                }
                x->hash = hash_bytes(hash_bytes(x->hash, e->text, e->size), e->pool, strlen(e->pool));
                x->entries[n++] = *e;
        }
        x->n = n;
}

/* --- all of them --- */

static McpCatalog *catalog_of(const Pool *p) {
        const WorkerType *t = p->config->type;

        return t->protocol == PROTOCOL_MCP ? mcp_catalog_find(&p->host->mcp_catalogs, t->name, worker_type_fingerprint(t)) : NULL;
}

static int by_name(const void *a, const void *b) {
        return strcmp((*(Pool *const *) a)->name, (*(Pool *const *) b)->name);
}

/* The pools of MCP servers, by name; their number in *ret. NULL when out of memory. */
static Pool **mcp_pools(const McpServer *s, size_t *ret) {
        Pool **pools = new0(Pool *, s->router->by_name->n + 1);
        size_t n = 0;

        if (!pools)
                return NULL;
        LIST_FOREACH(l, s->router->pools) {
                Pool *p = list_entry(l, Pool, link);

                if (p->config->type->protocol == PROTOCOL_MCP && p->state != POOL_CLOSING && n < s->router->by_name->n)
                        pools[n++] = p;
        }
        qsort(pools, n, sizeof(*pools), by_name);
        *ret = n;
        return pools;
}

static uint64_t signature_of(Pool *const *pools, size_t n) {
        uint64_t h = 0xcbf29ce484222325ULL;

        for (size_t i = 0; i < n; i++) {
                const McpCatalog *c = catalog_of(pools[i]);
                uint64_t values[] = {
                        (uint64_t) (uintptr_t) pools[i]->name, (uint64_t) (uintptr_t) pools[i]->config, (uint64_t) (uintptr_t) c, c ? c->serial : 0, 0,
                };

                for (McpList l = 0; c && l < _MCP_LIST_MAX; l++)
                        values[4] = values[4] << 1 | (c->items[l].text.size > 0);
                h = hash_bytes(h, (const char *) values, sizeof(values));
        }
        return h;
}

static void drop_configs(McpPooled *x) {
        for (size_t i = 0; i < x->n_configs; i++)
                pool_config_unref(x->configs[i]);
        free(x->configs);
        x->configs = NULL;
        x->n_configs = 0;
}

/* Returns 0, or -ENOMEM with nothing changed. */
static int build(McpServer *s, Pool *const *pools, size_t n) {
        McpPooled *x = s->pooled;
        McpIndex fresh[_MCP_KIND_MAX] = {};
        PoolConfig **configs = new0(PoolConfig *, n + 1);
        bool changed[_MCP_KIND_MAX] = {};
        LeftOut out = { .hash = 1 };
        int r = configs ? 0 : -ENOMEM;

        for (McpKind k = 0; r >= 0 && k < _MCP_KIND_MAX; k++) {
                for (size_t i = 0; r >= 0 && i < n; i++) {
                        const McpCatalog *c = catalog_of(pools[i]);

                        if (c)
                                r = add_list(&fresh[k], k, pools[i], &c->items[kinds[k].list], &out);
                }
                index_finish(&fresh[k], k, &out);
        }
        if (r < 0) {
                for (McpKind k = 0; k < _MCP_KIND_MAX; k++)
                        index_done(&fresh[k]);
                free(configs);
                return r;
        }
        tell_left_out(s, &out);
        drop_configs(x);
        for (size_t i = 0; i < n; i++)
                configs[i] = pool_config_ref(pools[i]->config);
        x->configs = configs;
        x->n_configs = n;
        for (McpKind k = 0; k < _MCP_KIND_MAX; k++) {
                changed[k] = x->built && x->of[k].hash != fresh[k].hash;
                index_done(&x->of[k]);
                x->of[k] = fresh[k];
        }
        x->built = true;
        changed[MCP_RESOURCES] |= changed[MCP_TEMPLATES]; /* one notification for both */
        for (McpKind k = 0; k < _MCP_KIND_MAX; k++)
                if (changed[k] && k != MCP_TEMPLATES)
                        mcp_list_changed(s, k);
        return 0;
}

/* --- asking servers of which nothing is known --- */

static void probe_over(Probe *b) {
        list_remove(&b->watch.link);
        if (b->job)
                b->server->pooled->n_probing--;
        b->job = job_unref(b->job);
}

static void on_probe_end(JobWatch *w, Job *j) {
        Probe *b = CONTAINER_OF(w, Probe, watch);
        McpServer *s = b->server;

        Pool *p = j->pool_name ? map_get_name(s->router->by_name, j->pool_name, Pool, by_name) : NULL;
        Session *session = p && p->sessions ? session_find(p->sessions, p->name, j->uid, PROBE_SESSION) : NULL;

        probe_over(b);
        if (session)
                pool_forget_session(p, session);
        hot_defer(&s->host->hot, &s->changed); /* it is another one's turn */
}

static bool probed(const McpPooled *x, const WorkerType *t) {
        uint64_t fingerprint = worker_type_fingerprint(t);

        LIST_FOREACH(l, (List *) &x->probes) {
                const Probe *b = list_entry(l, Probe, link);

                if (b->fingerprint == fingerprint && streq(b->type, t->name))
                        return true;
        }
        return false;
}

static void probe(McpServer *s, Pool *p) {
        const WorkerType *t = p->config->type;
        RouteRequest request = { .pool = p->name, .method = mcp_list_method(MCP_LIST_TOOLS) };
        _cleanup_free_ char *why = NULL;
        Probe *b = new0(Probe, 1);
        Job *j = job_new();

        if (b)
                b->type = strdup(t->name);
        if (j) {
                j->method = strdup(request.method);
                j->session = p->config->session_exclusive ? strdup(PROBE_SESSION) : NULL;
                j->payload = blob_new_copy("{}", 2);
                j->payload_size = 2;
                j->kind = PAYLOAD_JSON;
                j->priority = INT32_MIN;
                j->deadline_usec = realtime_usec() + MIN(t->start_timeout_usec, 3600 * USEC_PER_SEC) + PROBE_USEC;
                request.session = j->session;
                request.payload_size = 2;
        }
        if (!b || !j || !b->type || !j->method || !j->payload) {
                free(b ? b->type : NULL);
                free(b);
                job_unref(j);
                return;
        }
        b->server = s;
        b->fingerprint = worker_type_fingerprint(t);
        b->watch.end = on_probe_end;
        list_append(&s->pooled->probes, &b->link);
        if (route_submit(s->router, j, &request, &why) < 0)
                log_write(s->host->log, LOG_NOTICE, "What the MCP servers of pool %s offer is not known, and they cannot be asked now: %s", p->name,
                          strempty(why));
        else if (!job_ended(j)) {
                b->job = job_ref(j);
                s->pooled->n_probing++;
                list_append(&j->watches, &b->watch.link);
        }
        job_unref(j);
}

/* A pool that is to have workers anyway will ask them without being told to. */
static bool wants_probe(const McpServer *s, const Pool *p) {
        const McpCatalog *c = catalog_of(p);

        if (p->state != POOL_RUNNING && p->state != POOL_INITIALIZING)
                return false;
        for (McpList l = 0; c && l < _MCP_LIST_MAX; l++)
                if (c->items[l].known)
                        return false;
        return (!c || !c->asker) && p->n_workers == 0 && p->config->min == 0 && !probed(s->pooled, p->config->type);
}

static void probe_free(Probe *b) {
        probe_over(b);
        list_remove(&b->link);
        free(b->type);
        free(b);
}

/* Definitions that are no pool's any more. */
static void prune_probes(McpPooled *x, Pool *const *pools, size_t n) {
        LIST_FOREACH_SAFE(l, next, &x->probes) {
                Probe *b = list_entry(l, Probe, link);
                bool used = b->job;

                for (size_t i = 0; i < n && !used; i++)
                        used = streq(pools[i]->config->type->name, b->type) && worker_type_fingerprint(pools[i]->config->type) == b->fingerprint;
                if (!used)
                        probe_free(b);
        }
}

void mcp_pooled_refresh(McpServer *s) {
        McpPooled *x = s->pooled;
        _cleanup_free_ Pool **pools = NULL;
        size_t n = 0;

        if (s->stopping || s->host->hold)
                return;
        pools = mcp_pools(s, &n);
        if (!pools)
                return;
        uint64_t signature = signature_of(pools, n);
        if (!x->built || signature != x->signature) {
                prune_probes(x, pools, n);
                if (build(s, pools, n) >= 0)
                        x->signature = signature;
        }
        for (size_t i = 0; i < n && x->n_probing < PROBES_MAX; i++)
                if (wants_probe(s, pools[i]))
                        probe(s, pools[i]);
}

void mcp_pooled_stop(McpServer *s) {
        LIST_FOREACH(l, &s->pooled->probes) {
                Probe *b = list_entry(l, Probe, link);
                Job *j = job_ref(b->job);

                probe_over(b);
                if (j)
                        (void) pool_cancel_job(s->jobs, j);
                job_unref(j);
        }
}

void mcp_pooled_init(McpServer *s) {
        s->pooled = new0(McpPooled, 1);
        if (s->pooled)
                list_init(&s->pooled->probes);
}

void mcp_pooled_done(McpServer *s) {
        McpPooled *x = s->pooled;
        List *n;

        if (!x)
                return;
        while ((n = list_first(&x->probes)))
                probe_free(list_entry(n, Probe, link));
        for (McpKind k = 0; k < _MCP_KIND_MAX; k++)
                index_done(&x->of[k]);
        drop_configs(x);
        free(x);
        s->pooled = NULL;
}

/* --- what others look up --- */

static int key_compare(const void *key, const void *element) {
        return strcmp(key, ((const McpEntry *) element)->key);
}

static const McpEntry *find(const McpServer *s, McpKind kind, const char *key) {
        const McpIndex *x = &s->pooled->of[kind];

        return x->n > 0 ? bsearch(key, x->entries, x->n, sizeof(*x->entries), key_compare) : NULL;
}

const McpEntry *mcp_pooled_find(const McpServer *s, McpKind kind, JsonSpan key) {
        _cleanup_free_ char *text = NULL;

        return json_span_text(key, &text) >= 0 ? find(s, kind, text) : NULL;
}

const char *mcp_pooled_owner(const McpServer *s, const char *uri) {
        const McpIndex *x = &s->pooled->of[MCP_TEMPLATES];
        const McpEntry *e = find(s, MCP_RESOURCES, uri);

        if (e)
                return e->pool;
        for (size_t i = 0; i < x->n; i++) {
                const Pool *p = map_get_name(s->router->by_name, x->entries[i].pool, Pool, by_name);

                if (p && allowed(p->config, uri, false) && mcp_template_matches(x->entries[i].key, uri))
                        return x->entries[i].pool;
        }
        return NULL;
}

static void list_kind(McpServer *s, McpLister *l, McpKind kind) {
        const McpIndex *x = &s->pooled->of[kind];

        if (l->reply->client->peer.level < LEVEL_SUBMIT)
                return;
        for (size_t i = 0; i < x->n && !l->full; i++)
                if (mcp_list_want(l, x->entries[i].key))
                        put_span(l->text, (JsonSpan) { x->entries[i].text, x->entries[i].size });
}

static void list_tools(McpServer *s, McpLister *l) {
        list_kind(s, l, MCP_TOOLS);
}

static void list_resources(McpServer *s, McpLister *l) {
        list_kind(s, l, MCP_RESOURCES);
}

static void list_templates(McpServer *s, McpLister *l) {
        list_kind(s, l, MCP_TEMPLATES);
}

static void list_prompts(McpServer *s, McpLister *l) {
        list_kind(s, l, MCP_PROMPTS);
}

/* Servers tell of changes by themselves (mcp_server_notify()); but another process may know of others. */
static uint64_t state(McpClient *c, const char *uri) {
        const McpServer *s = c->server;
        const char *owner = c->peer.level >= LEVEL_SUBMIT ? mcp_pooled_owner(s, uri) : NULL;
        const Pool *p = owner ? map_get_name(s->router->by_name, owner, Pool, by_name) : NULL;

        if (!p)
                return 0;
        if (!p->config->session_exclusive || !p->sessions)
                return 1 + p->stats.spawned;
        const Session *session = session_find(p->sessions, p->name, c->peer.uid, c->session);
        return 1 + (session && session->worker ? session->worker->generation : 0);
}

const McpProvider mcp_pooled_provider = {
        .name = "pooled",
        .list = { [MCP_TOOLS] = list_tools, [MCP_RESOURCES] = list_resources, [MCP_TEMPLATES] = list_templates, [MCP_PROMPTS] = list_prompts },
        .call = mcp_pooled_call,
        .read = mcp_pooled_read,
        .get = mcp_pooled_get,
        .state = state,
};
