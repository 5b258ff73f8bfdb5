/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Calls that the store answers. The loop never touches the database: a call becomes a request, its client waits, and the completion answers. A
 * client that goes away is detached from its call; the request is carried out all the same. A re-exec waits until the store has nothing in
 * hand, and no call is begun meanwhile (may_call() of control.c), so none is ever carried over.
 *
 * The store records the end of a job before anybody is told, but leaves it to the next sync to get that to the disk where nobody was waiting.
 * So whoever is told of such an end later waits for a sync, in store_call_job() and after a list. While the store is in trouble there may be none for
 * long: then a job that may not be on the disk is refused, and a list is given as it is.
 */

#include <errno.h>

#include "control/internal.h"

static void call_free(StoreCall *call) {
        if (call->client)
                call->client->call = NULL;
        store_request_free(call->found);
        json_object_put(call->listed);
        free(call);
}

void control_no_such_job(ControlClient *c, const char *id) {
        json_object *o = json_object_new_object();

        object_add_text(o, "id", id);
        control_fail(c, "NoSuchJob", o, "there is no job '%s'; what has ended is forgotten after a while, see 'flowctl job list'", id);
}

void control_not_ended(ControlClient *c, uint64_t id) {
        json_object *o = json_object_new_object();
        char text[JOB_ID_TEXT_MAX];

        object_add_text(o, "id", job_id_format(id, text));
        control_fail(c, "NotEnded", o, "job %s has not ended; 'flowctl wait %s' waits for it, 'flowctl job cancel %s' ends it", text, text, text);
}

void control_payload_gone(ControlClient *c, uint64_t id) {
        json_object *o = json_object_new_object();
        char text[JOB_ID_TEXT_MAX];

        object_add_text(o, "id", job_id_format(id, text));
        control_fail(c, "PayloadGone", o, "the payload of job %s is gone: it is kept until a job completes. Submit it again", text);
}

static void unavailable(ControlClient *c, const char *why, int error) {
        Store *s = c->server->jobs->store;
        json_object *o = json_object_new_object();

        if (s && !why)
                why = store_why(s);
        object_add_text(o, "health", store_health_to_string(s ? store_health(s) : STORE_OFF));
        control_fail(c, "StoreUnavailable", o, "%s", why ? why : error == 0 ? "flowd has no store (Store=no)" : error == -EOPNOTSUPP ?
                     "the store cannot do that" : strerror(-error));
}

/* What has gone wrong, in the interface's words. */
static void failed(ControlClient *c, const StoreCall *call) {
        const StoreRequest *r = call->found;
        char id[JOB_ID_TEXT_MAX];

        if (r->error == -ENOMEM)
                control_fail(c, "LimitReached", NULL, "out of memory");
        else if (r->op == STORE_OP_BACKUP && store_health(c->server->jobs->store) != STORE_OFF)
                control_fail(c, "StoreFailed", NULL, r->error == -EEXIST ? "%s: there is such a file already; a copy is written to a new one only" :
                             "%s: cannot write a copy of the store: %s", r->path, r->text ? r->text : strerror(-r->error));
        else if (call->id > 0 && (r->error == -ENOENT || store_health(c->server->jobs->store) == STORE_OFF))
                control_no_such_job(c, job_id_format(call->id, id));
        else if (call->id > 0 && r->error == -EALREADY)
                control_not_ended(c, call->id);
        else if (call->id > 0 && r->error == -ENODATA)
                control_payload_gone(c, call->id);
        else
                unavailable(c, r->text, r->error);
}

/* With what was asked for in call->found. */
static void finish(StoreCall *call) {
        ControlClient *c = call->client;

        if (c) {
                c->call = NULL; /* it may start another one */
                call->client = NULL;
                if (call->found->error < 0 && !call->lenient)
                        failed(c, call);
                else if (call->owned && c->peer.level < LEVEL_OPERATE && call->found->record.uid != c->peer.uid)
                        control_others_job(c);
                else
                        call->answer(c, call);
        }
        call_free(call);
}

static void on_synced(StoreRequest *r) {
        StoreCall *call = r->userdata;

        if (r->error < 0 && call->found->error >= 0 && call->found->op != STORE_OP_LIST) { /* a list is an overview, also in trouble */
                call->found->error = r->error;
                free(call->found->text);
                call->found->text = TAKE_PTR(r->text);
        }
        store_request_free(r);
        finish(call);
}

static void on_done(StoreRequest *r) {
        StoreCall *call = r->userdata;
        Store *s = call->server->jobs->store;
        StoreRequest *sync;

        call->found = r;
        if (call->done)
                call->done(call);
        if (!call->client || r->error < 0 || !store_tells_end(r)) { /* where all is on the disk already, a SYNC costs the writer nothing */
                finish(call);
                return;
        }
        sync = store_request_new(STORE_OP_SYNC, on_synced, call);
        if (!sync) {
                r->error = -ENOMEM;
                finish(call);
                return;
        }
        sync->sync = sync->impatient = true;
        store_submit(s, sync);
}

StoreRequest *store_call_new(ControlClient *c, StoreOp op, void (*answer)(ControlClient *c, StoreCall *call)) {
        StoreCall *call;
        StoreRequest *r;

        if (!c->server->jobs->store) {
                unavailable(c, NULL, 0);
                return NULL;
        }
        call = new0(StoreCall, 1);
        r = call ? store_request_new(op, on_done, call) : NULL;
        if (!r) {
                free(call);
                control_fail(c, "LimitReached", NULL, "out of memory");
                return NULL;
        }
        *call = (StoreCall) { .client = c, .server = c->server, .answer = answer };
        c->call = call;
        c->pending = PENDING_STORE;
        return r;
}

void store_call_start(StoreRequest *r) {
        StoreCall *call = r->userdata;

        r->id = call->id;
        store_submit(call->server->jobs->store, r);
}

void store_call_abandon(ControlClient *c, StoreRequest *r) {
        StoreCall *call = r->userdata;

        call->found = r;
        call_free(call);
        control_fail(c, "LimitReached", NULL, "out of memory");
}

void store_call_drop(StoreRequest *r) {
        StoreCall *call = r->userdata;
        ControlClient *c = call->client;

        call->found = r;
        call_free(call);
        if (c)
                c->pending = PENDING_NONE;
}

void store_call_job(ControlClient *c, uint64_t id, unsigned want, bool owned, void (*answer)(ControlClient *c, StoreCall *call)) {
        StoreRequest *r = store_call_new(c, STORE_OP_GET, answer);

        if (!r)
                return;
        c->call->id = id;
        c->call->owned = owned;
        r->want = want;
        store_call_start(r);
}
