/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One server of each worker type is asked what it offers, list by list and page by page, once it is ready, and again when it says that a list
 * has changed; the catalog keeps the answers for all of them. It occupies no slot. A worker that is started for one job would be gone before
 * it had answered: it is asked first.
 */

#include <errno.h>
#include <stdio.h>

#include "worker/worker-mcp.h"

static void ask_next(Worker *w);

static McpCatalog *catalog_of(Worker *w, bool make) {
        uint64_t fingerprint = worker_type_fingerprint(w->type);

        return make ? mcp_catalog_get(&w->host->mcp_catalogs, w->type->name, fingerprint)
                    : mcp_catalog_find(&w->host->mcp_catalogs, w->type->name, fingerprint);
}

static void is_ready(Worker *w) {
        w->mcp->ready_after = false;
        if (w->state == WORKER_STARTING)
                worker_event(w, WORKER_EV_READY);
}

static const char *server_text(const McpCatalog *c, const char *name, char **ret) {
        JsonMember info, m;
        JsonSpan server = { c->server.data, c->server.size };

        if (c->version == MCP_REVISION_MODERN) {
                if (json_find(server, "_meta", &info) <= 0 ||
                    json_find((JsonSpan) { info.value, info.value_size }, "io.modelcontextprotocol/serverInfo", &info) <= 0)
                        return "";
        } else if (json_find(server, "serverInfo", &info) <= 0)
                return "";
        if (json_find((JsonSpan) { info.value, info.value_size }, name, &m) <= 0 || json_span_text((JsonSpan) { m.value, m.value_size }, ret) < 0)
                return "";
        return *ret;
}

static void tell(Worker *w, const McpCatalog *c) {
        _cleanup_free_ char *name = NULL, *version = NULL;
        EventFields f = worker_fields(w);
        unsigned n[_MCP_LIST_MAX];

        for (McpList l = 0; l < _MCP_LIST_MAX; l++)
                n[l] = c->items[l].n;
        event_send(w->host, EVENT_MCP_LISTS, &f, "%s (%.100s %.40s, MCP %s) offers %u tool%s, %u resource%s, %u resource template%s and %u prompt%s",
                   w->name, server_text(c, "name", &name), server_text(c, "version", &version), mcp_revision_to_string(c->version),
                   n[MCP_LIST_TOOLS], plural(n[MCP_LIST_TOOLS]), n[MCP_LIST_RESOURCES], plural(n[MCP_LIST_RESOURCES]), n[MCP_LIST_TEMPLATES],
                   plural(n[MCP_LIST_TEMPLATES]), n[MCP_LIST_PROMPTS], plural(n[MCP_LIST_PROMPTS]));
}

static void drop_text(McpWorker *m) {
        json_buffer_clear(&m->text);
        m->n = m->pages = 0;
}

/* This go is over: all lists have been asked for. */
static void finish(Worker *w, McpCatalog *c) {
        McpWorker *m = w->mcp;

        drop_text(m);
        timer_disarm(&w->host->timers, &m->timer);
        c->asker = NULL;
        c->asked_usec = realtime_usec();
        if (c->told != c->serial) { /* many say so without a reason */
                c->told = c->serial;
                tell(w, c);
                if (w->ops->catalog)
                        w->ops->catalog(w, c);
        }
        if (c->stale != 0)
                timer_arm(&w->host->timers, &m->timer, now_usec() + MCP_LIST_PAUSE_USEC);
        if (m->ready_after)
                is_ready(w);
}

/* What is asked for now could not be had. */
static void give_up(Worker *w, char *why) {
        McpWorker *m = w->mcp;
        McpCatalog *c = catalog_of(w, false);
        EventFields f = worker_fields(w);

        event_send(w->host, EVENT_MCP_LISTS_FAILED, &f, "%s does not say which %ss it offers: %s", w->name, mcp_list_noun(m->current), strna(why));
        m->own[MCP_OWN_LIST] = 0;
        drop_text(m);
        if (c)
                mcp_catalog_set_error(c, m->current, why);
        else
                free(why);
        ask_next(w);
}

static void ask_page(Worker *w, const char *cursor) {
        _cleanup_free_ char *params = cursor ? str_printf("{\"cursor\":%s}", cursor) : strdup("{}");
        McpWorker *m = w->mcp;

        if (!params || mcp_worker_send_own(w, MCP_OWN_LIST, mcp_list_method(m->current), (JsonSpan) { params, strlen(params) }) < 0) {
                give_up(w, strdup("out of memory"));
                return;
        }
        timer_arm(&w->host->timers, &m->timer, now_usec() + MCP_LIST_TIMEOUT_USEC);
}

static void ask_next(Worker *w) {
        McpWorker *m = w->mcp;
        McpCatalog *c = catalog_of(w, false);

        if (!c) { /* the type is not configured any more */
                m->todo = 0;
                if (m->ready_after)
                        is_ready(w);
                return;
        }
        while (m->todo != 0) {
                McpList l = (McpList) __builtin_ctz(m->todo);

                m->todo &= ~(1U << l);
                c->stale &= ~(1U << l);
                m->current = l;
                if (m->offers & 1U << l) {
                        ask_page(w, NULL);
                        return;
                }
                if (mcp_catalog_set_items(c, l, &m->text, 0) < 0)
                        mcp_catalog_set_error(c, l, strdup("out of memory"));
        }
        finish(w, c);
}

static void on_timer(Timer *t) {
        McpWorker *m = CONTAINER_OF(t, McpWorker, timer);
        Worker *w = m->worker;
        McpCatalog *c = catalog_of(w, false);

        if (m->own[MCP_OWN_LIST] > 0) {
                char span[64];

                give_up(w, str_printf("no answer within %s", usec_format(span, sizeof(span), MCP_LIST_TIMEOUT_USEC)));
                return;
        }
        if (!c || c->asker || c->stale == 0 || w->state >= WORKER_DRAINING) {
                if (m->ready_after)
                        is_ready(w);
                return;
        }
        c->asker = w;
        m->todo = c->stale;
        ask_next(w);
}

void mcp_worker_lists_begin(Worker *w, JsonSpan answer, JsonSpan capabilities) {
        static const char *const capability[_MCP_LIST_MAX] = { "tools", "resources", "resources", "prompts" };
        McpWorker *m = w->mcp;
        McpCatalog *c = catalog_of(w, true);
        JsonMember member;

        m->timer.fire = on_timer;
        for (McpList l = 0; l < _MCP_LIST_MAX; l++)
                if (json_find(capabilities, capability[l], &member) > 0 && member.type == JSON_OBJECT)
                        m->offers |= 1U << l;
        if (!c || c->asker || mcp_catalog_fresh(c) || mcp_catalog_set_server(c, m->version, answer) < 0) {
                is_ready(w);
                return;
        }
        c->asker = w;
        for (McpList l = 0; l < _MCP_LIST_MAX; l++)
                if (!c->items[l].known || c->stale & 1U << l)
                        m->todo |= 1U << l;
        m->ready_after = w->single_job;
        if (!m->ready_after)
                is_ready(w);
        ask_next(w);
}

void mcp_worker_lists_answer(Worker *w, const JsonrpcMessage *msg) {
        _cleanup_free_ char *cursor = NULL, *text = NULL;
        McpWorker *m = w->mcp;
        McpCatalog *c = catalog_of(w, false);
        int64_t code = 0;
        int r;

        m->own[MCP_OWN_LIST] = 0;
        timer_disarm(&w->host->timers, &m->timer);
        if (!c) {
                drop_text(m);
                ask_next(w);
                return;
        }
        if (!msg) {
                give_up(w, strdup("its answer is no message"));
                return;
        }
        if (msg->type == JSONRPC_ERROR) {
                (void) jsonrpc_error_parse(msg->error, &code, &text, NULL);
                if (code != JSONRPC_METHOD_NOT_FOUND) { /* resources, but no templates: there are none */
                        give_up(w, str_printf("error %lld: %.1000s", (long long) code, strempty(text)));
                        return;
                }
        } else {
                r = mcp_page_read(m->current, msg->result, w->host->json_max, &m->text, &m->n, &cursor);
                if (r < 0 || (cursor && ++m->pages >= MCP_PAGES_MAX)) {
                        give_up(w, strdup(r == -EMSGSIZE ? "the list is above JsonMax=" :
                                          r == -EBADMSG  ? "its answer is no list" :
                                          r < 0          ? strerror(-r) :
                                                           "the list has too many pages"));
                        return;
                }
                if (cursor) {
                        ask_page(w, cursor);
                        return;
                }
        }
        if (mcp_catalog_set_items(c, m->current, &m->text, m->n) < 0)
                mcp_catalog_set_error(c, m->current, strdup("out of memory"));
        drop_text(m);
        ask_next(w);
}

void mcp_worker_lists_changed(Worker *w, McpList l) {
        McpWorker *m = w->mcp;
        McpCatalog *c = catalog_of(w, false);

        if (!c || w->state >= WORKER_DRAINING)
                return;
        c->stale |= 1U << l;
        if (!c->asker && !m->timer.armed) /* else whoever is being asked looks again at its end */
                timer_arm(&w->host->timers, &m->timer, now_usec() + MCP_LIST_PAUSE_USEC);
}

void mcp_worker_lists_resume(Worker *w) {
        McpCatalog *c = catalog_of(w, true);
        McpWorker *m = w->mcp;

        m->timer.fire = on_timer;
        for (McpList l = 0; c && l < _MCP_LIST_MAX; l++)
                if (!c->items[l].known)
                        c->stale |= 1U << l;
        if (m->ready_after || (c && c->stale != 0))
                timer_arm(&w->host->timers, &m->timer, now_usec());
}

void mcp_worker_lists_end(Worker *w) {
        McpWorker *m = w->mcp;

        timer_disarm(&w->host->timers, &m->timer);
        m->own[MCP_OWN_LIST] = 0;
        m->todo = 0;
        LIST_FOREACH(l, &w->host->mcp_catalogs) {
                McpCatalog *c = list_entry(l, McpCatalog, link);

                if (c->asker == w)
                        c->asker = NULL;
        }
}
