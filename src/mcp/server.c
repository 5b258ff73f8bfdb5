/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The socket. Anybody may connect; which tools a client is shown and may call is decided by its credentials, as for the other sockets. What is
 * subscribed to is looked at a few times a second as long as anything is, and told of when it has become different: so a busy pool costs its
 * subscribers some messages a second, not one a job.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/state.h"
#include "mcp/tools.h"

#define ACCEPT_MAX 32               /* connections per round */
#define ACCEPT_PAUSE_USEC 100000ULL /* after running out of descriptors */
#define REFUSED_TELL_USEC (10 * USEC_PER_SEC)
#define WATCH_USEC (200 * USEC_PER_MSEC)

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        McpServer *s = userdata;

        (void) source;
        (void) revents;
        for (unsigned i = 0; i < ACCEPT_MAX; i++) {
                int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (c < 0)
                        return 0; /* EAGAIN; or out of descriptors: the source is rate-limited and comes again */
                mcp_client_new(s, c);
        }
        return 0;
}

static int admit(McpServer *s, const Peer *p) {
        uint64_t now = now_usec();
        unsigned n = 0;

        LIST_FOREACH(l, &s->clients)
                n += list_entry(l, McpClient, link)->peer.uid == p->uid;
        if (s->n_clients < s->limits.connections_max && n < s->limits.connections_per_user)
                return 0;
        if (s->refused_told == 0 || now - s->refused_told > REFUSED_TELL_USEC) {
                s->refused_told = now;
                event_send(s->host, EVENT_REFUSED, NULL, "Refused an MCP connection of uid %u: %u connections, ConnectionsMax=%u, ConnectionsPerUser=%u",
                           p->uid, s->n_clients, s->limits.connections_max, s->limits.connections_per_user);
        }
        return -EUSERS;
}

void mcp_client_new(McpServer *s, int fd) {
        McpClient *c;
        Peer p;
        int r;

        if (auth_peer(&s->auth, fd, &p) < 0) {
                fd_close(fd);
                return;
        }
        r = admit(s, &p);
        c = mcp_client_alloc(s, fd);
        if (!c) {
                fd_close(fd);
                return;
        }
        c->peer = p;
        if (r < 0) {
                McpReply reply = { .client = c, .version = MCP_LATEST_LEGACY };

                mcp_error(&reply, JSONRPC_INTERNAL_ERROR, NULL, "too many connections: ConnectionsMax=%u, ConnectionsPerUser=%u",
                          s->limits.connections_max, s->limits.connections_per_user);
                c->closing = true;
        } else if (mcp_client_watch(c) < 0)
                mcp_client_free(c);
}

static void on_watch(Timer *t) {
        McpServer *s = CONTAINER_OF(t, McpServer, watch);

        mcp_subscriptions_look(s);
        timer_arm(&s->host->timers, t, now_usec() + WATCH_USEC);
        LIST_FOREACH(l, &s->clients)
                if (!list_empty(&list_entry(l, McpClient, link)->subscriptions))
                        return;
        timer_disarm(&s->host->timers, t);
}

/* What the lists of resources are made of. Sums, so that their order does not matter. */
static uint64_t hash_pools(const McpServer *s) {
        uint64_t sum = 0;

        LIST_FOREACH(l, s->router->pools) {
                uint64_t h = 0xcbf29ce484222325ULL;

                for (const char *p = list_entry(l, Pool, link)->name; *p; p++)
                        h = (h ^ (uint8_t) *p) * 0x100000001b3ULL;
                sum += h;
        }
        return sum;
}

static void on_changed(Defer *d) {
        McpServer *s = CONTAINER_OF(d, McpServer, changed);
        uint64_t h = hash_pools(s), sessions = s->flow ? flow_list_version(s->flow) : 0;

        if (h != s->pools_hash || sessions != s->sessions_seen) {
                s->pools_hash = h;
                s->sessions_seen = sessions;
                mcp_list_changed(s, MCP_RESOURCES);
        }
        mcp_pooled_refresh(s);
}

/* The secret outlives this run, as durable tasks do. */
static int load_secret(McpServer *s, const char *state_dir) {
        _cleanup_free_ char *path = str_printf("%s/mcp-secret", state_dir), *text = NULL;
        size_t size;
        int r;

        if (!path)
                return -ENOMEM;
        r = file_read(AT_FDCWD, path, sizeof(s->secret), &text, &size);
        if (r >= 0 && size == sizeof(s->secret)) {
                memcpy(s->secret, text, sizeof(s->secret));
                return 0;
        }
        s->secret[0] = random_u64();
        s->secret[1] = random_u64();
        return file_write_atomic(path, s->secret, sizeof(s->secret), 0600);
}

int mcp_server_init(McpServer *s, Host *h, JobTable *t, Router *r, const EventHistory *events, const char *state_dir) {
        int k;

        *s = (McpServer) { .host = h, .jobs = t, .router = r, .events = events, .fd = -1 };
        s->watch.fire = on_watch;
        s->changed.run = on_changed;
        list_init(&s->clients);
        mcp_pooled_init(s);
        if (!s->pooled)
                return -ENOMEM;
        k = load_secret(s, state_dir);
        if (k < 0) /* tasks are then known to this run only */
                log_write(h->log, LOG_WARNING, "Cannot keep the secret of MCP tasks in %s: %s", state_dir, strerror(-k));
        return k == -ENOMEM ? k : 0;
}

int mcp_server_listen(McpServer *s, int fd) {
        int r;

        s->fd = fd;
        s->pools_hash = hash_pools(s);
        r = fd_set_nonblock(fd, true);
        if (r < 0)
                return r;
        r = sd_event_add_io(s->host->event, &s->source, fd, EPOLLIN, on_accept, s);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(s->source, "mcp");
        (void) sd_event_source_set_ratelimit(s->source, ACCEPT_PAUSE_USEC, 200);
        return sd_event_source_set_priority(s->source, PRIORITY_ACCEPT);
}

void mcp_server_done(McpServer *s) {
        List *n;

        s->stopping = true;
        while ((n = list_first(&s->clients))) {
                McpClient *c = list_entry(n, McpClient, link);

                mcp_subscriptions_done(c, true);
                (void) outq_flush(&c->out, c->io.fd, true);
                mcp_client_free(c);
        }
        mcp_pooled_done(s);
        timer_disarm(&s->host->timers, &s->watch);
        hot_undefer(&s->changed);
        s->source = sd_event_source_disable_unref(s->source);
        s->fd = fd_close(s->fd);
}

void mcp_server_event(McpServer *s, const KeptEvent *e) {
        int level = event_level(e->kind);

        hot_defer(&s->host->hot, &s->changed);
        LIST_FOREACH(l, &s->clients) {
                McpClient *c = list_entry(l, McpClient, link);

                if (c->log_level < level || c->peer.level < LEVEL_OBSERVE || c->closing)
                        continue;
                _cleanup_mcp_text_ McpText t = {};
                json_object *o = object_of_event(e);

                put_format(&t, "{\"level\":\"%s\",\"logger\":\"flowd\",\"data\":", mcp_level_to_string(level));
                put_json(&t, o);
                put_raw(&t, "}");
                json_object_put(o);
                mcp_notify(c, "notifications/message", &t);
        }
}

void mcp_server_stop(McpServer *s) {
        s->stopping = true;
        mcp_pooled_stop(s);
}

void mcp_server_catalog(McpServer *s) {
        hot_defer(&s->host->hot, &s->changed);
}

void mcp_server_pool_gone(McpServer *s) {
        LIST_FOREACH(l, &s->clients)
                pool_closed(list_entry(l, McpClient, link));
}

void mcp_server_session_changed(McpServer *s, const char *session) {
        if (s->fd < 0) /* not yet, or no more */
                return;
        hot_defer(&s->host->hot, &s->changed);
        if (s->watch.armed)
                mcp_flow_subscriptions_mark(s, session);
}

void mcp_server_resume(McpServer *s) {
        hot_defer(&s->host->hot, &s->changed); /* which was put off meanwhile */
        LIST_FOREACH(l, &s->clients)
                mcp_client_flush(list_entry(l, McpClient, link));
}

int mcp_server_serialize(McpServer *s, StateWriter *sw, json_object *o) {
        json_object *a = json_object_new_array();
        int r = s->n_fetches > 0 ? -EBUSY : 0; /* the store has answered by then: it is waited for */

        state_put_fd(sw, o, "fd", s->fd);
        LIST_FOREACH(l, &s->clients) {
                json_object *e = json_object_new_object();

                (void) json_object_array_add(a, e);
                if (r >= 0)
                        r = mcp_client_serialize(list_entry(l, McpClient, link), sw, e);
        }
        state_put_object(sw, o, "clients", a);
        return r < 0 ? r : sw->error;
}

int mcp_server_deserialize(McpServer *s, const StateReader *sr, const json_object *o) {
        json_object *a = state_get_object(o, "clients");
        int r;

        r = mcp_server_listen(s, state_get_fd(o, "fd"));
        for (size_t i = 0; r >= 0 && a && i < json_object_array_length(a); i++)
                r = mcp_client_deserialize(s, sr, json_object_array_get_idx(a, i));
        if (r >= 0)
                timer_arm(&s->host->timers, &s->watch, now_usec());
        return r;
}
