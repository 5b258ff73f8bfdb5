/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Requests that the store answers. A client that goes away, or cancels, is detached from what it asked for. A re-exec waits until the store has
 * nothing in hand, and no request is begun meanwhile, so none is ever carried over. Whoever is told of the end of a durable job waits for a sync
 * first: that end could else be taken back by a power cut.
 */

#include <errno.h>

#include "mcp/tools.h"

void mcp_fetch_free(McpFetch *f) {
        list_remove(&f->link);
        if (f->counted) {
                f->counted->n_fetches--;
                mcp_client_flush(f->counted); /* perhaps its next line waits for that */
        }
        store_request_free(f->found);
        json_object_put(f->kept);
        free(f->id);
        free(f->text);
        f->server->n_fetches--;
        free(f);
}

void mcp_fetch_cancel(McpFetch *f) {
        mcp_reply_drop(&f->reply);
        f->reply.client = NULL;
        f->reply.batch = NULL;
        json_object_put(f->kept);
        f->kept = NULL;
}

void mcp_fetch_detach(McpFetch *f) {
        mcp_fetch_cancel(f);
        f->counted->n_fetches--;
        f->counted = NULL;
        list_remove(&f->link);
}

McpFetch *mcp_fetch_find(McpClient *c, JsonSpan id) {
        LIST_FOREACH(l, &c->fetches) {
                McpFetch *f = list_entry(l, McpFetch, link);

                if (f->reply.client && mcp_id_equal(f->reply.id, id))
                        return f;
        }
        return NULL;
}

static void failed(McpFetch *f) {
        const StoreRequest *r = f->found;
        const Store *s = f->server->jobs->store;
        bool unknown = f->job > 0 && (r->error == -ENOENT || store_health(s) == STORE_OFF);
        char id[JOB_ID_TEXT_MAX];

        if (f->resource && unknown)
                mcp_resource_gone(&f->reply, f->text);
        else if (f->resource)
                mcp_error(&f->reply, JSONRPC_INTERNAL_ERROR, NULL, "%s", r->text ? r->text : strerror(-r->error));
        else if (unknown)
                tool_failed(&f->reply, NULL, "NoSuchJob", "there is no job '%s'; what has ended is forgotten after a while, job_list names what is known",
                            job_id_format(f->job, id));
        else
                tool_failed(&f->reply, NULL, "StoreUnavailable", "%s", r->text ? r->text : strerror(-r->error));
}

static void finish(McpFetch *f) {
        char id[JOB_ID_TEXT_MAX];

        if (!f->reply.client)
                ;
        else if (f->found->error < 0 && !f->kept && !f->lenient)
                failed(f);
        else if (f->owned && !mcp_may_see(&f->reply, f->found->record.uid)) {
                if (f->resource)
                        mcp_error(&f->reply, JSONRPC_INVALID_PARAMS, NULL, "job %s is another user's", job_id_format(f->job, id));
                else
                        tool_failed(&f->reply, NULL, "NotPermitted", "job %s is another user's", job_id_format(f->job, id));
        } else
                f->answer(f);
        mcp_fetch_free(f);
}

static void on_synced(StoreRequest *r) {
        McpFetch *f = r->userdata;

        if (r->error < 0 && f->found->error >= 0 && f->found->op != STORE_OP_LIST) { /* a list is an overview, also in trouble */
                f->found->error = r->error;
                free(f->found->text);
                f->found->text = TAKE_PTR(r->text);
        }
        store_request_free(r);
        finish(f);
}

static void on_done(StoreRequest *r) {
        McpFetch *f = r->userdata;
        StoreRequest *sync;

        f->found = r;
        if (!f->reply.client || r->error < 0 || !store_tells_end(r)) {
                finish(f);
                return;
        }
        sync = store_request_new(STORE_OP_SYNC, on_synced, f);
        if (!sync) {
                r->error = -ENOMEM;
                finish(f);
                return;
        }
        sync->sync = sync->impatient = true;
        store_submit(f->server->jobs->store, sync);
}

static void no_memory(const McpReply *r, bool resource) {
        if (resource)
                mcp_error(r, JSONRPC_INTERNAL_ERROR, NULL, "out of memory");
        else
                tool_no_memory(r);
}

McpFetch *mcp_fetch_alloc(const McpReply *r, bool resource, void (*answer)(McpFetch *f)) {
        McpServer *s = r->client->server;
        McpFetch *f = new0(McpFetch, 1);
        char *id = f ? memdup_text(r->id.p, r->id.size) : NULL;

        if (!id) {
                free(f);
                no_memory(r, resource);
                return NULL;
        }
        *f = (McpFetch) { .server = s, .counted = r->client, .reply = *r, .id = id, .answer = answer, .resource = resource };
        f->reply.id.p = id;
        list_append(&r->client->fetches, &f->link);
        r->client->n_fetches++;
        s->n_fetches++;
        return f;
}

McpFetch *mcp_fetch_new(const McpReply *r, StoreOp op, bool resource, void (*answer)(McpFetch *f), StoreRequest **ret) {
        McpFetch *f = mcp_fetch_alloc(r, resource, answer);

        if (!f)
                return NULL;
        *ret = store_request_new(op, on_done, f);
        if (*ret)
                return f;
        no_memory(r, resource);
        mcp_fetch_free(f);
        return NULL;
}

void mcp_fetch_start(StoreRequest *r) {
        McpFetch *f = r->userdata;

        r->id = f->job;
        store_submit(f->server->jobs->store, r);
}

void mcp_fetch_abandon(StoreRequest *r) {
        McpFetch *f = r->userdata;

        r->error = -ENOMEM;
        f->found = r;
        if (f->resource)
                mcp_error(&f->reply, JSONRPC_INTERNAL_ERROR, NULL, "out of memory");
        else
                tool_no_memory(&f->reply);
        mcp_fetch_free(f);
}

void mcp_fetch_job(const McpReply *r, uint64_t job, unsigned want, bool owned, bool resource, const char *text, void (*answer)(McpFetch *f)) {
        McpServer *s = r->client->server;
        char id[JOB_ID_TEXT_MAX];
        StoreRequest *q;
        McpFetch *f;

        if (!s->jobs->store) {
                if (resource)
                        mcp_resource_gone(r, strempty(text));
                else
                        tool_failed(r, NULL, "NoSuchJob", "there is no job '%s'", job_id_format(job, id));
                return;
        }
        f = mcp_fetch_new(r, STORE_OP_GET, resource, answer, &q);
        if (!f)
                return;
        f->job = job;
        f->owned = owned;
        f->text = text ? strdup(text) : NULL;
        q->want = want;
        if (text && !f->text)
                mcp_fetch_abandon(q);
        else
                mcp_fetch_start(q);
}
