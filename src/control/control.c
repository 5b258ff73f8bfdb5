/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The control socket: Varlink, NUL-terminated JSON objects, one call at a time on a connection. While a call waits for something (a job's
 * end, events), what comes behind it stays in the buffer, which has a limit; a peer that does not read its answers is disconnected.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/state.h"
#include "control/internal.h"
#include "control/io.flowd.varlink.h"

#define READ_ROOM 16384U
#define ANSWERS_MAX (256U * 1024U) /* bytes of answers that wait before the next call is looked at */
#define OBSERVER_MAX (64U * 1024U)   /* bytes of a message from somebody who may not submit */
#define SERVICE_INTERFACE "org.varlink.service"
#define SERVICE_DESCRIPTION \
        "interface org.varlink.service\n" \
        "method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)\n" \
        "method GetInterfaceDescription(interface: string) -> (description: string)\n" \
        "error InterfaceNotFound (interface: string)\n" \
        "error MethodNotFound (method: string)\n" \
        "error MethodNotImplemented (method: string)\n" \
        "error InvalidParameter (parameter: string)\n" \
        "error PermissionDenied ()\n" \
        "error ExpectedMore ()\n"

static void client_free(ControlClient *c);

static void flush_later(ControlClient *c) {
        hot_defer(&c->server->host->hot, &c->flush);
}

/* --- answers --- */

static void send_text(ControlClient *c, int r, char *text, size_t size) {
        if (r < 0 || outq_bytes(&c->out, text, size) < 0)
                c->closing = true;
        free(text);
        flush_later(c);
}

void control_reply(ControlClient *c, json_object *parameters, bool continues) {
        char *text = NULL;
        size_t size = 0;

        if (!continues)
                control_pending_done(c);
        if (!c->oneway) {
                int r = varlink_reply_format(parameters, continues, &text, &size);

                send_text(c, r, text, size);
        }
        json_object_put(parameters);
}

void control_error(ControlClient *c, const char *error, json_object *parameters) {
        char *text = NULL;
        size_t size = 0;

        control_pending_done(c);
        if (!c->oneway) {
                int r = varlink_error_format(error, parameters, &text, &size);

                send_text(c, r, text, size);
        }
        json_object_put(parameters);
}

void control_fail(ControlClient *c, const char *name, json_object *parameters, const char *format, ...) {
        char full[VARLINK_NAME_MAX], text[1024];
        va_list ap;

        va_start(ap, format);
        int n = vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (n >= (int) sizeof(text)) /* the cut may have gone through a character */
                while (n = (int) strlen(text), n > 0 && !utf8_valid(text, (size_t) n))
                        text[n - 1] = 0;
        if (!parameters)
                parameters = json_object_new_object();
        json_object_object_add(parameters, "message", json_object_new_string(text));
        snprintf(full, sizeof(full), "io.flowd.%s", name);
        control_error(c, full, parameters);
}

void control_invalid(ControlClient *c, const char *parameter) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "parameter", json_object_new_string(parameter));
        control_error(c, VARLINK_ERROR_INVALID_PARAMETER, o);
}

static void others(ControlClient *c, const char *what) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "level", json_object_new_string("operate"));
        json_object_object_add(o, "group", json_object_new_string(auth_group(&c->server->auth, LEVEL_OPERATE)));
        control_fail(c, "NotPermitted", o, "the %s is another user's", what);
}

void control_others_job(ControlClient *c) {
        others(c, "job");
}

void control_others_session(ControlClient *c) {
        others(c, "session");
}

/* --- what a call waits for --- */

void control_pending_done(ControlClient *c) {
        list_remove(&c->watch.link);
        c->job = job_unref(c->job);
        if (c->call) { /* it goes on without us */
                c->call->client = NULL;
                c->call = NULL;
        }
        if (c->pending == PENDING_FLOW) { /* likewise */
                flow_call_abandon(&c->flow);
                flow_call_done(&c->flow);
        }
        timer_disarm(&c->server->host->timers, &c->timer);
        free(c->pool_filter);
        c->pool_filter = NULL;
        if (c->pending != PENDING_NONE) {
                c->pending = PENDING_NONE;
                flush_later(c); /* perhaps the next call is in the buffer already */
        }
}

json_object *control_job_result(Job *j, bool *ret_too_large, uint64_t json_max) {
        json_object *o = json_object_new_object();
        char id[JOB_ID_TEXT_MAX];
        const uint8_t *data = NULL;

        *ret_too_large = blob_size(j->result) > json_max;
        json_object_object_add(o, "job", json_object_new_string(job_id_format(j->id, id)));
        json_object_object_add(o, "status", json_object_new_string(frame_status_to_string(job_status(j))));
        PayloadKind kind = j->result_kind;
        if (j->result && !*ret_too_large && blob_data(j->result, &data) >= 0) {
                if (j->result->fd >= 0 && !utf8_valid(data, j->result->size)) /* what came by memfd was not looked at before */
                        kind = PAYLOAD_BYTES;
                if (kind == PAYLOAD_BYTES) {
                        _cleanup_free_ char *text = base64_encode(data, j->result->size);

                        if (text)
                                json_object_object_add(o, "result", json_object_new_string(text));
                } else
                        json_object_object_add(o, "result", json_object_new_string_len((const char *) data, (int) j->result->size));
        }
        json_object_object_add(o, "kind", json_object_new_string(payload_kind_to_string(kind)));
        object_add_text(o, "cache", cached_word(j->cache, false));
        if (j->error)
                json_object_object_add(o, "error", json_object_new_string(j->error));
        if (j->code)
                json_object_object_add(o, "code", json_object_new_string(j->code));
        if (frame_affinity_to_string(j->affinity))
                json_object_object_add(o, "affinity", json_object_new_string(frame_affinity_to_string(j->affinity)));
        return o;
}

void control_job_answer(ControlClient *c, Job *j) {
        bool too_large;
        json_object *o = control_job_result(j, &too_large, c->server->limits.json_max);

        if (too_large) {
                json_object_put(o);
                o = json_object_new_object();
                json_object_object_add(o, "size", json_object_new_int64((int64_t) blob_size(j->result)));
                json_object_object_add(o, "max", json_object_new_int64((int64_t) c->server->limits.json_max));
                control_fail(c, "ResultTooLarge", o, "the result is above JsonMax=; fetch it through the jobs socket, as 'flowctl wait' does");
                return;
        }
        control_reply(c, o, false);
}

static void on_job_end(JobWatch *w, Job *j) {
        control_job_answer(CONTAINER_OF(w, ControlClient, watch), j);
}

void control_submitted(ControlClient *c, uint64_t job, bool duplicate) {
        json_object *o = json_object_new_object();
        char id[JOB_ID_TEXT_MAX];

        json_object_object_add(o, "job", json_object_new_string(job_id_format(job, id)));
        json_object_object_add(o, "duplicate", json_object_new_boolean(duplicate));
        control_reply(c, o, false);
}

static void on_job_accepted(JobWatch *w, Job *j) {
        ControlClient *c = CONTAINER_OF(w, ControlClient, watch);

        if (c->pending == PENDING_SUBMIT)
                control_submitted(c, j->id, false);
}

static void on_job_refused(JobWatch *w, Job *j, const JobRefusal *r) {
        ControlClient *c = CONTAINER_OF(w, ControlClient, watch);
        bool submit = c->pending == PENDING_SUBMIT;

        if (r->duplicate_of == 0) {
                json_object *o = json_object_new_object();

                if (streq(r->code, "StoreUnavailable"))
                        json_object_object_add(o, "health", json_object_new_string(store_health_to_string(store_health(c->server->jobs->store))));
                else if (streq(r->code, "QueueFull") || streq(r->code, "PoolUnavailable"))
                        object_add_text(o, "pool", strempty(j->pool_name));
                control_fail(c, streq(r->code, "Stopping") ? "PoolUnavailable" : r->code, o, "%s", r->text);
        } else if (submit)
                control_submitted(c, r->duplicate_of, true);
        else {
                c->job = job_unref(c->job);
                c->pending = PENDING_NONE;
                control_wait_start(c, r->duplicate_of);
        }
}

static void on_job_progress(JobWatch *w, Job *j, uint32_t millionths, const char *text, size_t size) {
        ControlClient *c = CONTAINER_OF(w, ControlClient, watch);
        char id[JOB_ID_TEXT_MAX];

        if (!c->more || c->pending != PENDING_RUN || c->out.bytes > c->server->limits.json_max)
                return;
        json_object *o = json_object_new_object();
        json_object_object_add(o, "job", json_object_new_string(job_id_format(j->id, id)));
        json_object_object_add(o, "progress", json_object_new_double(millionths / 1e6));
        if (size > 0)
                json_object_object_add(o, "message", json_object_new_string_len(text, (int) size));
        control_reply(c, o, true);
}

void control_job_start(ControlClient *c, Job *j, Pending pending) {
        c->job = job_ref(j);
        c->pending = pending;
        c->watch = (JobWatch) { .accepted = on_job_accepted, .refused = on_job_refused, .progress = on_job_progress, .end = on_job_end };
        list_append(&j->watches, &c->watch.link);
}

static bool event_wanted(const ControlClient *c, const KeptEvent *e) {
        return e->message && (!c->pool_filter || streq_ptr(c->pool_filter, e->pool));
}

static json_object *events_reply(json_object *events) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "events", events);
        return o;
}

void control_events_start(ControlClient *c, const char *pool, unsigned limit) {
        json_object *a = json_object_new_array();
        const EventHistory *h = c->server->events;
        unsigned n = MIN(limit, h->n);

        c->pool_filter = pool ? strdup(pool) : NULL;
        c->pending = PENDING_EVENTS;
        for (unsigned i = h->at - n; i != h->at; i++) {
                const KeptEvent *e = &h->events[i % EVENTS_KEPT];

                if (event_wanted(c, e))
                        json_object_array_add(a, object_of_event(e));
        }
        control_reply(c, events_reply(a), c->more);
}

void control_clients_event(Server *s, const KeptEvent *e) {
        LIST_FOREACH(l, &s->control_clients) {
                ControlClient *c = list_entry(l, ControlClient, link);

                if (c->pending != PENDING_EVENTS || !c->more || c->closing || !event_wanted(c, e))
                        continue;
                json_object *a = json_object_new_array();
                json_object_array_add(a, object_of_event(e));
                control_reply(c, events_reply(a), true);
        }
}

static void watch_answer(ControlClient *c) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "status", c->server->ops->status(c->server->userdata));
        if (c->more) {
                control_reply(c, o, true);
                timer_arm(&c->server->host->timers, &c->timer, now_usec() + c->interval);
        } else
                control_reply(c, o, false);
}

static void on_timer(Timer *t) {
        ControlClient *c = CONTAINER_OF(t, ControlClient, timer);

        if (c->pending == PENDING_WATCH)
                watch_answer(c);
        else
                flush_later(c);
}

void control_watch_start(ControlClient *c, uint64_t interval) {
        c->pending = PENDING_WATCH;
        c->interval = interval;
        watch_answer(c);
}

void server_reexeced(Server *s, const char *failed) {
        LIST_FOREACH(l, &s->control_clients) {
                ControlClient *c = list_entry(l, ControlClient, link);

                flush_later(c); /* calls may have been held up */
                if (c->pending != PENDING_REEXEC)
                        continue;
                if (failed)
                        control_fail(c, "Busy", NULL, "the re-exec failed, the running image goes on: %s", failed);
                else
                        control_reply(c, NULL, false);
        }
}

/* --- calls --- */

static void service_call(ControlClient *c, const char *method, json_object *parameters) {
        json_object *o = json_object_new_object(), *a, *v;

        if (streq(method, "GetInfo")) {
                json_object_object_add(o, "vendor", json_object_new_string("The flowd authors"));
                json_object_object_add(o, "product", json_object_new_string("flowd"));
                json_object_object_add(o, "version", json_object_new_string(PACKAGE_VERSION));
                json_object_object_add(o, "url", json_object_new_string("man:flowd(8)"));
                a = json_object_new_array();
                json_object_array_add(a, json_object_new_string(SERVICE_INTERFACE));
                json_object_array_add(a, json_object_new_string("io.flowd"));
                json_object_object_add(o, "interfaces", a);
                control_reply(c, o, false);
                return;
        }
        if (!streq(method, "GetInterfaceDescription")) {
                json_object_object_add(o, "method", json_object_new_string(method));
                control_error(c, VARLINK_ERROR_METHOD_NOT_FOUND, o);
                return;
        }
        if (!json_object_object_get_ex(parameters, "interface", &v) || !json_object_is_type(v, json_type_string)) {
                json_object_put(o);
                control_invalid(c, "interface");
                return;
        }
        const char *name = json_object_get_string(v);
        if (streq(name, "io.flowd") || streq(name, SERVICE_INTERFACE)) {
                json_object_object_add(o, "description", json_object_new_string(streq(name, "io.flowd") ? IO_FLOWD_VARLINK : SERVICE_DESCRIPTION));
                control_reply(c, o, false);
        } else {
                json_object_object_add(o, "interface", json_object_new_string(name));
                control_error(c, VARLINK_ERROR_INTERFACE_NOT_FOUND, o);
        }
}

static void not_permitted(ControlClient *c, const Method *m) {
        json_object *o = json_object_new_object();
        const char *group = auth_group(&c->server->auth, m->level);

        server_refused(c->server, &c->peer, m->name, group);
        json_object_object_add(o, "level", json_object_new_string(auth_level_to_string(m->level)));
        json_object_object_add(o, "group", json_object_new_string(group));
        control_fail(c, "NotPermitted", o, "%s needs membership of the group '%s'", m->name, group);
}

static void handle_call(ControlClient *c, VarlinkCall *call) {
        char interface[VARLINK_NAME_MAX];
        const char *method;
        json_object *o;

        c->more = call->more;
        c->oneway = call->oneway;
        if (varlink_name_split(call->method, interface, sizeof(interface), &method) < 0) {
                control_invalid(c, "method");
                return;
        }
        if (streq(interface, SERVICE_INTERFACE)) {
                service_call(c, method, call->parameters);
                return;
        }
        if (!streq(interface, "io.flowd")) {
                o = json_object_new_object();
                json_object_object_add(o, "interface", json_object_new_string(interface));
                control_error(c, VARLINK_ERROR_INTERFACE_NOT_FOUND, o);
                return;
        }
        for (const Method *m = control_methods; m->name; m++) {
                if (!streq(m->name, method))
                        continue;
                if (c->peer.level < m->level)
                        not_permitted(c, m);
                else
                        m->call(c, call->parameters);
                return;
        }
        o = json_object_new_object();
        json_object_object_add(o, "method", json_object_new_string(call->method));
        control_error(c, VARLINK_ERROR_METHOD_NOT_FOUND, o);
}

/* While a re-exec waits for what is under way, nothing new is begun: it would never find an end. The calls are left to the next image. */
static bool may_call(const ControlClient *c) {
        return c->pending == PENDING_NONE && !c->closing && !c->server->host->hold;
}

/* Handles the whole messages in the buffer, until one has to wait. */
static void handle_buffer(ControlClient *c) {
        size_t start = 0;

        while (may_call(c) && c->out.bytes <= ANSWERS_MAX) {
                char *end = memchr(c->buffer + c->scanned, 0, c->used - c->scanned);
                _cleanup_varlink_call_ VarlinkCall call = {};

                if (!end) {
                        c->scanned = c->used;
                        break;
                }
                size_t size = (size_t) (end - (c->buffer + start));
                int r = varlink_call_parse(c->buffer + start, size, &call);
                start = c->scanned = (size_t) (end - c->buffer) + 1;
                if (r < 0) {
                        json_object *o = json_object_new_object();

                        json_object_object_add(o, "limit", json_object_new_string(r == -E2BIG ? "depth" : "syntax"));
                        c->oneway = false;
                        control_fail(c, "LimitReached", o, r == -E2BIG ? "the message is nested deeper than %u levels" :
                                     "the message is no Varlink call; %u levels of JSON are allowed", VARLINK_DEPTH_MAX);
                        c->closing = true;
                        break;
                }
                handle_call(c, &call);
        }
        if (start > 0) {
                memmove(c->buffer, c->buffer + start, c->used - start);
                c->used -= start;
                c->scanned -= start;
        }
        if (c->used == 0) {
                free(c->buffer);
                c->buffer = NULL;
                c->room = c->scanned = 0;
        }
}

static void on_io(HotFd *h, uint32_t revents) {
        ControlClient *c = CONTAINER_OF(h, ControlClient, io);
        /* who may only look has nothing long to say, and a long message takes time to parse */
        uint64_t max = c->peer.level < LEVEL_SUBMIT ? OBSERVER_MAX : c->server->limits.json_max + READ_ROOM;

        if (revents & EPOLLOUT)
                flush_later(c);
        if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) || c->closing)
                return;
        if (c->room - c->used < READ_ROOM / 2) {
                size_t room = MIN(MAX(c->room * 2, (size_t) READ_ROOM), (size_t) max);
                char *p = room > c->used ? realloc(c->buffer, room) : NULL;

                if (!p) {
                        json_object *o = json_object_new_object();

                        json_object_object_add(o, "limit", json_object_new_string("JsonMax"));
                        c->oneway = false;
                        control_fail(c, "LimitReached", o, "the message is above JsonMax=; send a large payload through the jobs socket");
                        c->closing = true;
                        return;
                }
                c->buffer = p;
                c->room = room;
        }
        ssize_t n = read(h->fd, c->buffer + c->used, c->room - c->used);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                client_free(c);
                return;
        }
        c->used += (size_t) n;
        handle_buffer(c);
}

static void on_flush(Defer *d) {
        ControlClient *c = CONTAINER_OF(d, ControlClient, flush);
        Host *h = c->server->host;
        int r;

        if (may_call(c) && c->used > 0)
                handle_buffer(c);
        r = outq_flush(&c->out, c->io.fd, true);
        if (r < 0 || (c->closing && r == 0)) {
                client_free(c);
                return;
        }
        if (c->out.bytes > c->server->limits.client_buffer_max) {
                event_send(h, EVENT_CLIENT_DROPPED, NULL, "Disconnected a control client (uid %u, pid %d) that does not read", c->peer.uid, (int) c->peer.pid);
                client_free(c);
                return;
        }
        if (r == 0 && may_call(c) && c->used > c->scanned)
                timer_arm(&h->timers, &c->timer, now_usec()); /* calls are left in the buffer: after everybody else's turn */
        /* while a call waits, only the end of the connection is of interest, and no more than a buffer of what follows is taken */
        bool listen = !c->closing && c->out.bytes <= c->server->limits.json_max &&
                      ((may_call(c) && c->out.bytes <= ANSWERS_MAX) || c->used < READ_ROOM);
        (void) hot_watch(&h->hot, &c->io, (listen ? EPOLLIN : 0) | (r > 0 ? EPOLLOUT : 0));
}

/* --- life --- */

static ControlClient *client_alloc(Server *s, int fd) {
        ControlClient *c = new0(ControlClient, 1);

        if (!c)
                return NULL;
        c->server = s;
        c->io = (HotFd) { .fd = fd, .on_io = on_io };
        c->flush.run = on_flush;
        c->timer.fire = on_timer;
        outq_init(&c->out);
        list_append(&s->control_clients, &c->link);
        s->n_control++;
        return c;
}

static void client_free(ControlClient *c) {
        Host *h = c->server->host;
        Job *lost = c->pending == PENDING_RUN && c->job && !c->server->stopping ? job_ref(c->job) : NULL;

        control_pending_done(c);
        if (lost) /* run, not submit: nobody is left to hear of it */
                (void) pool_cancel_job(c->server->jobs, lost);
        job_unref(lost);
        hot_unwatch(&h->hot, &c->io);
        hot_undefer(&c->flush);
        list_remove(&c->link);
        c->server->n_control--;
        fd_close(c->io.fd);
        outq_done(&c->out);
        free(c->buffer);
        free(c);
}

void control_client_new(Server *s, int fd) {
        unsigned n = 0;
        ControlClient *c;
        Peer p;

        if (auth_peer(&s->auth, fd, &p) < 0) {
                fd_close(fd);
                return;
        }
        LIST_FOREACH(l, &s->control_clients)
                n += list_entry(l, ControlClient, link)->peer.uid == p.uid;
        int r = server_admit(s, &p, true, n);
        c = client_alloc(s, fd);
        if (!c) {
                fd_close(fd);
                return;
        }
        c->peer = p;
        if (r < 0) {
                json_object *o = json_object_new_object();

                json_object_object_add(o, "limit", json_object_new_string("connections"));
                control_fail(c, "LimitReached", o, "too many connections: ConnectionsMax=%u, ConnectionsPerUser=%u", s->limits.connections_max,
                             s->limits.connections_per_user);
                c->closing = true;
        } else if (hot_watch(&s->host->hot, &c->io, EPOLLIN) < 0)
                client_free(c);
}

void control_clients_done(Server *s) {
        List *n;

        while ((n = list_first(&s->control_clients))) {
                ControlClient *c = list_entry(n, ControlClient, link);

                (void) outq_flush(&c->out, c->io.fd, true);
                client_free(c);
        }
}

/* --- across execve() --- */

int control_clients_serialize(Server *s, StateWriter *sw, json_object *array) {
        LIST_FOREACH(l, &s->control_clients) {
                ControlClient *c = list_entry(l, ControlClient, link);
                json_object *o = json_object_new_object();
                _cleanup_free_ uint8_t *out = NULL;
                size_t n_out;

                (void) json_object_array_add(array, o);
                int r = outq_copy(&c->out, &out, &n_out);
                if (r < 0)
                        return r;
                state_put_fd(sw, o, "fd", c->io.fd);
                state_put_int(sw, o, "pending", c->pending);
                state_put_int(sw, o, "more", c->more);
                state_put_int(sw, o, "oneway", c->oneway);
                state_put_int(sw, o, "closing", c->closing);
                state_put_int(sw, o, "interval", (int64_t) c->interval);
                state_put_text(sw, o, "filter", c->pool_filter);
                if (c->job)
                        state_put_int(sw, o, "job", (int64_t) c->job->id);
                if (c->used > 0)
                        state_put_bytes(sw, o, "buffer", c->buffer, c->used);
                if (n_out > 0)
                        state_put_bytes(sw, o, "out", out, n_out);
        }
        return sw->error;
}

static void restore_pending(ControlClient *c, const json_object *o) {
        Pending pending = (Pending) state_get_int(o, "pending");
        Job *j = job_table_find(c->server->jobs, (uint64_t) state_get_int(o, "job"));
        const char *filter = state_get_text(o, "filter");

        switch (pending) {
        case PENDING_RUN:
        case PENDING_SUBMIT:
        case PENDING_WAIT:
                if (j && !job_ended(j))
                        control_job_start(c, j, pending);
                return;
        case PENDING_EVENTS:
                c->pool_filter = filter ? strdup(filter) : NULL;
                c->pending = pending;
                return;
        case PENDING_WATCH:
                c->interval = (uint64_t) state_get_int(o, "interval");
                c->pending = pending;
                timer_arm(&c->server->host->timers, &c->timer, now_usec() + c->interval);
                return;
        case PENDING_REEXEC:
                c->pending = pending;
                return;
        default:
                return;
        }
}

int control_client_deserialize(Server *s, const StateReader *sr, const json_object *o) {
        ControlClient *c = client_alloc(s, state_get_fd(o, "fd"));
        const uint8_t *p;
        size_t n;
        int r;

        if (!c)
                return -ENOMEM;
        r = auth_peer(&s->auth, c->io.fd, &c->peer);
        if (r < 0)
                return r;
        c->more = state_get_int(o, "more");
        c->oneway = state_get_int(o, "oneway");
        c->closing = state_get_int(o, "closing");
        if (state_get_bytes(sr, o, "out", &p, &n) && outq_bytes(&c->out, p, n) < 0)
                return -ENOMEM;
        if (state_get_bytes(sr, o, "buffer", &p, &n)) {
                c->buffer = malloc(n + READ_ROOM);
                if (!c->buffer)
                        return -ENOMEM;
                memcpy(c->buffer, p, n);
                c->used = n;
                c->room = n + READ_ROOM;
        }
        restore_pending(c, o);
        flush_later(c);
        return hot_watch(&s->host->hot, &c->io, EPOLLIN);
}
