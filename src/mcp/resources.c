/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * flowd's own resources: pools, workers, jobs and the last events, as JSON. Pools and events are listed; workers and jobs, of which there may be
 * many and which come and go, are templates. The result of a job is part of it for whoever may fetch it, as far as it is small.
 */

#include <errno.h>
#include <stdio.h>

#include "mcp/tools.h"
#include "pool/durable.h"

#define READ_TTL_MS 1000U
#define PREFIX_POOLS "flow://pools/"
#define PREFIX_WORKERS "flow://workers/"
#define PREFIX_JOBS "flow://jobs/"
#define URI_EVENTS "flow://events"

void mcp_resource_gone(const McpReply *r, const char *uri) {
        _cleanup_mcp_text_ McpText data = {};

        put_raw(&data, "{\"uri\":");
        put_text(&data, uri);
        put_raw(&data, "}");
        if (data.error >= 0)
                data.error = json_append(&data.b, "", 1);
        mcp_error(r, mcp_is_modern(r->version) ? JSONRPC_INVALID_PARAMS : MCP_RESOURCE_NOT_FOUND, data.error < 0 ? NULL : data.b.data,
                  "there is no such resource");
}

/* --- lists --- */

static void put_resource(McpLister *l, const char *key, const char *value, const char *name, const char *title, const char *description) {
        put_format(l->text, "{\"%s\":", key);
        put_text(l->text, value);
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

static int by_name(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

void mcp_resources_list(McpServer *s, McpLister *l) {
        size_t n = s->router->by_name->n, i = 0;
        const char **names = new0(const char *, n + 1);
        char uri[MCP_URI_MAX], title[MCP_URI_MAX];

        if (!names) {
                l->text->error = -ENOMEM;
                return;
        }
        if (mcp_list_want(l, URI_EVENTS))
                put_resource(l, "uri", URI_EVENTS, "events", "Events", "What happened last in flowd");
        LIST_FOREACH(k, s->router->pools)
                if (i < n)
                        names[i++] = list_entry(k, Pool, link)->name;
        qsort(names, i, sizeof(*names), by_name);
        for (size_t k = 0; k < i; k++) {
                (void) snprintf(uri, sizeof(uri), PREFIX_POOLS "%s", names[k]);
                (void) snprintf(title, sizeof(title), "Pool %s", names[k]);
                if (mcp_list_want(l, uri))
                        put_resource(l, "uri", uri, names[k], title, "A pool: its state, size, workers and counters");
        }
        free(names);
}

void mcp_templates_list(McpServer *s, McpLister *l) {
        static const char *const templates[][4] = {
                { PREFIX_JOBS "{id}", "job", "Job", "A job: how it is getting on or has ended, and its result where that is small" },
                { PREFIX_POOLS "{name}", "pool", "Pool", "A pool: its state, size, workers and counters" },
                { PREFIX_WORKERS "{id}", "worker", "Worker", "A worker, POOL/SLOT: its state, jobs, memory and the end of its standard error" },
        };

        (void) s;
        for (size_t i = 0; i < ELEMENTSOF(templates); i++)
                if (mcp_list_want(l, templates[i][0]))
                        put_resource(l, "uriTemplate", templates[i][0], templates[i][1], templates[i][2], templates[i][3]);
}

/* --- which one --- */

/* What follows the prefix, with %XX undone; NULL where the URI has another. Owned by the caller. */
static char *behind(const char *uri, const char *prefix) {
        size_t n = strlen(prefix);
        unsigned byte;
        char *name, *o;

        if (strncmp(uri, prefix, n) != 0 || !(name = strdup(uri + n)))
                return NULL;
        o = name;
        for (const char *p = name; *p; o++)
                if (*p == '%' && p[1] && p[2] && sscanf(p + 1, "%2x", &byte) == 1 && byte > 0) {
                        *o = (char) byte;
                        p += 3;
                } else
                        *o = *p++;
        *o = 0;
        return name;
}

static Pool *find_pool(const McpServer *s, const char *uri) {
        _cleanup_free_ char *name = behind(uri, PREFIX_POOLS);

        return name ? map_get_name(s->router->by_name, name, Pool, by_name) : NULL;
}

static Worker *find_worker(const McpServer *s, const char *uri) {
        _cleanup_free_ char *id = behind(uri, PREFIX_WORKERS);
        char *slash = id ? strrchr(id, '/') : NULL;
        uint64_t slot;

        if (!slash || u64_parse(slash + 1, 0, POOL_WORKERS_MAX, &slot) < 0)
                return NULL;
        *slash = 0;
        Pool *p = map_get_name(s->router->by_name, id, Pool, by_name);
        return p ? pool_find_worker(p, (unsigned) slot) : NULL;
}

static bool find_job_id(const char *uri, uint64_t *ret) {
        _cleanup_free_ char *id = behind(uri, PREFIX_JOBS);

        return id && job_id_parse(id, ret) >= 0;
}

/* --- reading --- */

/* Answers with an object, which is taken over. */
static void answer(const McpReply *r, const char *uri, json_object *o) {
        McpText t = {}, inner = {};
        bool comma = mcp_result_begin(r, &t, "complete");

        put_json(&inner, o);
        json_object_put(o);
        if (inner.error < 0)
                t.error = inner.error;
        put_raw(&t, comma ? ",\"contents\":[{\"uri\":" : "\"contents\":[{\"uri\":");
        put_text(&t, uri);
        put_raw(&t, ",\"mimeType\":\"application/json\",\"text\":");
        put_string(&t, inner.b.data ? inner.b.data : "", inner.b.size);
        put_raw(&t, "}]");
        mcp_text_done(&inner);
        mcp_put_cache(r, &t, READ_TTL_MS);
        mcp_result_end(r, &t);
}

void mcp_resource_answer(const McpReply *r, const char *uri, json_object *o) {
        answer(r, uri, o);
}

static json_object *events_object(const McpServer *s) {
        const EventHistory *h = s->events;
        json_object *o = json_object_new_object(), *a = json_object_new_array();

        for (unsigned i = h->at - h->n; i != h->at; i++)
                json_object_array_add(a, object_of_event(&h->events[i % EVENTS_KEPT]));
        json_object_object_add(o, "events", a);
        return o;
}

static json_object *pool_object(Pool *p) {
        json_object *o = object_of_pool(p), *a = json_object_new_array();

        LIST_FOREACH(l, &p->workers)
                json_object_array_add(a, object_of_worker(list_entry(l, Worker, link), false));
        json_object_object_add(o, "list_of_workers", a);
        return o;
}

static void add_result(const McpReply *r, json_object *o, uid_t uid, PayloadKind kind, Blob *result) {
        const uint8_t *data;

        if (!mcp_may_see(r, uid) || !result || result->size > MCP_OUTPUT_HEAD || kind == PAYLOAD_BYTES || blob_data(result, &data) < 0)
                return;
        json_object_object_add(o, "result", json_object_new_string_len((const char *) data, (int) result->size));
}

static void answer_job(McpFetch *f) {
        const JobRecord *r = &f->found->record;
        json_object *o = object_of_record(f->server->router, r);

        add_result(&f->reply, o, r->uid, r->result_kind, r->result);
        answer(&f->reply, f->text, o);
}

static void read_job(McpRequest *q, const char *uri, uint64_t id) {
        McpServer *s = q->reply.client->server;
        Job *j = job_table_find(s->jobs, id);
        json_object *o;

        if (!j) {
                mcp_fetch_job(&q->reply, id, STORE_WANT_RESULT, false, true, uri, answer_job);
                return;
        }
        o = object_of_job(s->router, j);
        add_result(&q->reply, o, j->uid, j->result_kind, j->result);
        answer(&q->reply, uri, o);
}

int mcp_resource_read(McpRequest *q, const char *uri) {
        McpServer *s = q->reply.client->server;
        Worker *w;
        Pool *p;
        uint64_t id;

        if (mcp_level(&q->reply) < LEVEL_OBSERVE)
                mcp_error(&q->reply, JSONRPC_INVALID_PARAMS, NULL, "reading needs membership of the group '%s'", strna(auth_group(&s->auth, LEVEL_OBSERVE)));
        else if (streq(uri, URI_EVENTS))
                answer(&q->reply, uri, events_object(s));
        else if ((p = find_pool(s, uri)))
                answer(&q->reply, uri, pool_object(p));
        else if ((w = find_worker(s, uri)))
                answer(&q->reply, uri, object_of_worker(w, true));
        else if (find_job_id(uri, &id))
                read_job(q, uri, id);
        else
                return 0;
        return 1;
}

/* --- how they change --- */

static uint64_t mix(uint64_t h, uint64_t v) {
        h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
        return h ^ h >> 29;
}

static uint64_t pool_hash(const Pool *p) {
        const PoolStats *st = &p->stats;
        const uint64_t values[] = { p->state, p->n_workers, p->n_usable, p->n_queued, p->n_waiting, p->n_running, p->target, p->config->min, p->config->max,
                                    st->completed, st->failed, st->timeout, st->cancelled, st->refused, st->spawned, st->crashes };
        uint64_t h = 1;

        for (size_t i = 0; i < ELEMENTSOF(values); i++)
                h = mix(h, values[i]);
        return h | 1;
}

uint64_t mcp_own_resource_state(McpClient *c, const char *uri) {
        const McpServer *s = c->server;
        const Worker *w;
        const Pool *p;
        uint64_t id;

        if (streq(uri, URI_EVENTS))
                return mix(1, s->events->at) | 1;
        if ((p = find_pool(s, uri)))
                return pool_hash(p);
        if ((w = find_worker(s, uri)))
                return mix(mix(mix(mix(1, w->state), w->generation), w->n_running), w->jobs_done) | 1;
        if (find_job_id(uri, &id)) {
                const Job *j = job_table_find(s->jobs, id);

                return j ? mix(mix(mix(1, j->state), j->progress), j->attempts) | 1 : 1; /* one that is stored changes no more */
        }
        return 0;
}
