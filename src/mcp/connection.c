/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A connection: lines in, lines out. A line above JsonMax= is passed over and told of; the connection goes on behind it. A client that does not read
 * is not read from any more when half of ClientBufferMax= waits for it, and disconnected at all of it, or of what waits within batches. While a
 * re-exec waits for what is under way, lines stay in the buffer, which the next image takes over.
 */

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/state.h"
#include "mcp/internal.h"

#define READ_ROOM 65536U
#define ANSWERS_MAX (256U * 1024U)  /* bytes of answers that wait before the next line is looked at */
#define OBSERVER_MAX (64U * 1024U)  /* bytes of a message from somebody who may not submit */
#define LINES_ROUND_MAX 256U        /* lines of one client before everybody else's turn */

void mcp_client_flush(McpClient *c) {
        hot_defer(&c->server->host->hot, &c->flush);
}

void mcp_client_send(McpClient *c, const char *text, size_t size) {
        if (outq_bytes(&c->out, text, size) < 0)
                c->closing = true;
}

static uint64_t line_max(const McpClient *c) {
        return c->peer.level < LEVEL_SUBMIT ? MIN((uint64_t) OBSERVER_MAX, c->server->limits.json_max) : c->server->limits.json_max;
}

static bool may_handle(const McpClient *c) {
        return !c->closing && !c->server->host->hold && c->out.bytes <= ANSWERS_MAX && c->n_fetches < MCP_FETCHES_MAX;
}

static void too_long(McpClient *c) {
        char text[160], size[16];

        (void) snprintf(text, sizeof(text), "the message is longer than %s (JsonMax=) and was not read; the connection goes on",
                        size_format(size, sizeof(size), line_max(c)));
        mcp_not_a_message(c, JSONRPC_INVALID_REQUEST, text);
}

/* Drops what was handled from the front of the buffer. */
static void consume(McpClient *c, size_t n) {
        memmove(c->buffer, c->buffer + n, c->used - n);
        c->used -= n;
        c->scanned -= MIN(c->scanned, n);
        if (c->used == 0) {
                free(c->buffer);
                c->buffer = NULL;
                c->room = c->scanned = 0;
        }
}

/* Handles the whole lines in the buffer, as long as there is room for their answers, and not too many of them are still to come from the store. */
static void handle_buffer(McpClient *c) {
        size_t start = 0;

        for (unsigned n = 0; n < LINES_ROUND_MAX && may_handle(c); n++) {
                char *end = c->used > c->scanned ? memchr(c->buffer + c->scanned, '\n', c->used - c->scanned) : NULL;

                if (!end) {
                        c->scanned = c->used;
                        break;
                }
                size_t size = (size_t) (end - (c->buffer + start)), at = start;
                start = c->scanned = (size_t) (end - c->buffer) + 1;
                if (c->skipping) { /* this is the end of it */
                        c->skipping = false;
                        too_long(c);
                } else if (size > line_max(c))
                        too_long(c);
                else
                        mcp_handle_line(c, c->buffer + at, size);
        }
        if (start > 0)
                consume(c, start);
        if (c->used > line_max(c) && c->scanned == c->used) { /* a line without an end that is too long already */
                c->skipping = true;
                consume(c, c->used);
        }
}

static void on_io(HotFd *h, uint32_t revents) {
        McpClient *c = CONTAINER_OF(h, McpClient, io);

        if (revents & EPOLLOUT)
                mcp_client_flush(c);
        if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) || c->closing)
                return;
        if (c->room - c->used < READ_ROOM / 2) {
                size_t room = MAX(c->room * 2, (size_t) READ_ROOM);
                char *p = realloc(c->buffer, room);

                if (!p) {
                        mcp_client_free(c);
                        return;
                }
                c->buffer = p;
                c->room = room;
        }
        ssize_t n = read(h->fd, c->buffer + c->used, c->room - c->used);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                mcp_client_free(c);
                return;
        }
        c->used += (size_t) n;
        handle_buffer(c);
        mcp_client_flush(c);
}

/* Is there something in the buffer that may be handled now? */
static bool lines_left(const McpClient *c) {
        return c->used > c->scanned && may_handle(c);
}

static void on_flush(Defer *d) {
        McpClient *c = CONTAINER_OF(d, McpClient, flush);
        McpServer *s = c->server;
        Host *h = s->host;
        int r;

        r = outq_flush(&c->out, c->io.fd, true);
        if (r < 0 || (c->closing && r == 0)) {
                mcp_client_free(c);
                return;
        }
        if (c->out.bytes > s->limits.client_buffer_max) {
                char a[16];

                event_send(h, EVENT_CLIENT_DROPPED, NULL, "Disconnected an MCP client (uid %u, pid %d) that does not read: %s wait for it", c->peer.uid,
                           (int) c->peer.pid, size_format(a, sizeof(a), c->out.bytes));
                mcp_client_free(c);
                return;
        }
        if (lines_left(c))
                timer_arm(&h->timers, &c->timer, now_usec()); /* after everybody else's turn */
        /* lines that may not be handled yet are left in the socket, but for a buffer of them */
        bool listen = !c->closing && c->out.bytes <= s->limits.client_buffer_max / 2 && (may_handle(c) || c->used < READ_ROOM);
        (void) hot_watch(&h->hot, &c->io, (listen ? EPOLLIN : 0) | (r > 0 ? EPOLLOUT : 0));
}

static void on_timer(Timer *t) {
        McpClient *c = CONTAINER_OF(t, McpClient, timer);

        handle_buffer(c);
        mcp_client_flush(c);
}

/* --- life --- */

McpClient *mcp_client_alloc(McpServer *s, int fd) {
        McpClient *c = new0(McpClient, 1);

        if (!c)
                return NULL;
        c->server = s;
        c->io = (HotFd) { .fd = fd, .on_io = on_io };
        c->flush.run = on_flush;
        c->timer.fire = on_timer;
        c->version = c->log_level = -1;
        outq_init(&c->out);
        list_init(&c->calls);
        list_init(&c->fetches);
        list_init(&c->batches);
        list_init(&c->listens);
        list_init(&c->subscriptions);
        list_init(&c->asks);
        c->asked = random_u64() >> 16; /* a bridge's client may answer what an earlier flowd asked: that is no answer to a question of this one */
        (void) snprintf(c->session, sizeof(c->session), "mcp-%016llx", (unsigned long long) random_u64());
        list_append(&s->clients, &c->link);
        s->n_clients++;
        return c;
}

void mcp_client_free(McpClient *c) {
        McpServer *s = c->server;
        List *n;

        while ((n = list_first(&c->calls))) {
                McpCall *call = list_entry(n, McpCall, link);

                if (s->stopping) /* jobs are ended, or left to the next run, by their pools */
                        mcp_call_free(call);
                else
                        mcp_call_cancel(call);
        }
        while ((n = list_first(&c->fetches)))
                mcp_fetch_detach(list_entry(n, McpFetch, link));
        mcp_subscriptions_done(c, false);
        mcp_asks_drop(c, 0);
        mcp_pooled_forget(c);
        while ((n = list_first(&c->batches)))
                mcp_batch_free(list_entry(n, McpBatch, link));
        timer_disarm(&s->host->timers, &c->timer);
        hot_unwatch(&s->host->hot, &c->io);
        hot_undefer(&c->flush);
        list_remove(&c->link);
        s->n_clients--;
        fd_close(c->io.fd);
        outq_done(&c->out);
        free(c->buffer);
        free(c);
}

int mcp_client_watch(McpClient *c) {
        return hot_watch(&c->server->host->hot, &c->io, EPOLLIN);
}

/* --- across execve() --- */

static int serialize_batches(McpClient *c, StateWriter *sw, json_object *o) {
        json_object *a = json_object_new_array();
        unsigned n = 0;

        LIST_FOREACH(l, &c->batches) {
                McpBatch *b = list_entry(l, McpBatch, link);
                json_object *e = json_object_new_object();

                b->number = n++;
                state_put_bytes(sw, e, "out", b->out.data, b->out.size);
                (void) json_object_array_add(a, e);
        }
        state_put_object(sw, o, "batches", a);
        return sw->error;
}

int mcp_client_serialize(McpClient *c, StateWriter *sw, json_object *o) {
        json_object *calls = json_object_new_array();
        _cleanup_free_ uint8_t *out = NULL;
        size_t n_out;
        int r;

        r = outq_copy(&c->out, &out, &n_out);
        if (r < 0) {
                json_object_put(calls);
                return r;
        }
        state_put_fd(sw, o, "fd", c->io.fd);
        state_put_int(sw, o, "version", c->version);
        state_put_int(sw, o, "log_level", c->log_level);
        state_put_text(sw, o, "session", c->session);
        mcp_asks_serialize(c, sw, o);
        state_put_int(sw, o, "skipping", c->skipping);
        state_put_int(sw, o, "closing", c->closing);
        if (c->used > 0)
                state_put_bytes(sw, o, "buffer", c->buffer, c->used);
        if (n_out > 0)
                state_put_bytes(sw, o, "out", out, n_out);
        mcp_subscriptions_serialize(c, sw, o);
        r = serialize_batches(c, sw, o);
        LIST_FOREACH(l, &c->calls) {
                json_object *e = json_object_new_object();

                (void) json_object_array_add(calls, e);
                if (r >= 0)
                        r = mcp_call_serialize(list_entry(l, McpCall, link), sw, e);
        }
        state_put_object(sw, o, "calls", calls);
        return r < 0 ? r : sw->error;
}

static int deserialize_batches(McpClient *c, const StateReader *sr, const json_object *o) {
        json_object *a = state_get_object(o, "batches");
        const uint8_t *p;
        size_t n;

        for (size_t i = 0; a && i < json_object_array_length(a); i++) {
                McpBatch *b = new0(McpBatch, 1);

                if (!b)
                        return -ENOMEM;
                b->client = c;
                b->number = (unsigned) i;
                list_append(&c->batches, &b->link);
                if (!state_get_bytes(sr, json_object_array_get_idx(a, i), "out", &p, &n))
                        continue;
                if (json_append(&b->out, (const char *) p, n) < 0)
                        return -ENOMEM;
                b->size = n;
                c->batched += n;
        }
        return 0;
}

int mcp_client_deserialize(McpServer *s, const StateReader *sr, const json_object *o) {
        json_object *calls = state_get_object(o, "calls");
        McpClient *c = mcp_client_alloc(s, state_get_fd(o, "fd"));
        const uint8_t *p;
        size_t n;
        int r;

        if (!c)
                return -ENOMEM;
        r = auth_peer(&s->auth, c->io.fd, &c->peer);
        if (r < 0)
                return r;
        c->version = (int) state_get_int(o, "version");
        c->log_level = (int) state_get_int(o, "log_level");
        if (state_get_text(o, "session"))
                str_copy(c->session, sizeof(c->session), state_get_text(o, "session"));
        r = mcp_asks_deserialize(c, o);
        if (r < 0)
                return r;
        c->skipping = state_get_int(o, "skipping");
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
        r = deserialize_batches(c, sr, o);
        if (r >= 0)
                r = mcp_subscriptions_deserialize(c, o);
        for (size_t i = 0; r >= 0 && calls && i < json_object_array_length(calls); i++)
                r = mcp_call_deserialize(c, sr, json_object_array_get_idx(calls, i));
        if (r < 0)
                return r;
        LIST_FOREACH_SAFE(l, next, &c->batches)
                mcp_batch_end(list_entry(l, McpBatch, link));
        if (c->used > 0)
                timer_arm(&s->host->timers, &c->timer, now_usec());
        mcp_client_flush(c);
        return mcp_client_watch(c);
}
