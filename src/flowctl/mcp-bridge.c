/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * flowctl mcp: a client's stdio joined to flowd's MCP socket, so that any MCP client can use flowd. Bytes are passed on by lines, and no line is made
 * anew; what is looked at is in mcp-memory.c. When flowd goes away, the bridge waits for the next one and tells it what the client has told the
 * last one; the client sees an error for the calls that were running, and nothing else. Nothing but messages ever goes to standard output.
 *
 * The client decides when it is over: its end of standard input ends the bridge at once. Standard input and output may be shared with others, so
 * they are not made nonblocking: a pipe takes PIPE_BUF bytes without blocking when poll() says that it is writable, a socket is asked not to.
 */

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "client/runtime.h"
#include "flowctl/flowctl.h"
#include "flowctl/mcp-memory.h"

#define READ_ROOM 65536U
#define BACKLOG_MAX (1024U * 1024U)      /* bytes that wait for one side before the other is not read from any more */
#define LINE_MAX_BYTES (64U * 1024U * 1024U)
#define RETRY_MIN_USEC (50 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (1 * USEC_PER_SEC)
#define GRACE_USEC (20 * USEC_PER_SEC)   /* how long requests wait for a flowd that went away, before they are refused */

typedef struct Bridge {
        const char *runtime;
        int fd;                /* flowd, or -1 */
        bool out_is_socket;
        JsonBuffer from_client, from_server; /* lines that are not whole yet */
        JsonBuffer to_client, to_server;
        McpMemory memory;
        uint64_t lost_usec;    /* since when it is away; 0: it was never there */
        uint64_t retry_usec, next_try;
        bool told;             /* on stderr, that it is away */
} Bridge;

static void drop(JsonBuffer *b, size_t n) {
        if (n == 0)
                return;
        memmove(b->data, b->data + n, b->size - n);
        b->size -= n;
        if (b->size == 0)
                json_buffer_clear(b);
}

/* Reads once. Returns bytes, 0 at the end, -EAGAIN, -ENOMEM, -EMSGSIZE for an endless line, or -errno. */
static ssize_t take(int fd, JsonBuffer *b) {
        int r = json_buffer_reserve(b, READ_ROOM);
        ssize_t n;

        if (r < 0)
                return r;
        if (b->size > LINE_MAX_BYTES)
                return -EMSGSIZE;
        n = read(fd, b->data + b->size, b->room - b->size);
        if (n < 0)
                return errno == EINTR ? -EAGAIN : -errno;
        b->size += (size_t) n;
        return n;
}

/* --- flowd --- */

static char *away_text(const Bridge *b) {
        return str_printf("flowd is not running: nobody answers at %s/mcp. Start it with '%s'", b->runtime,
                          streq(b->runtime, RUNTIME_SYSTEM) ? "systemctl start flowd" :
                          runtime_is_user(b->runtime) ? "systemctl --user start flowd" : "flowd --config=DIR --runtime=DIR --state=DIR");
}

static int lost(Bridge *b) {
        b->fd = fd_close(b->fd);
        b->lost_usec = now_usec();
        b->retry_usec = RETRY_MIN_USEC;
        b->next_try = b->lost_usec + b->retry_usec;
        json_buffer_clear(&b->from_server);
        json_buffer_clear(&b->to_server); /* what is in it is in flight, and comes again */
        return mcp_memory_lost(&b->memory, &b->to_client);
}

/* Refuses what waits, when nobody is there and nobody is expected. */
static int refuse(Bridge *b) {
        _cleanup_free_ char *text = NULL;

        if (b->fd >= 0 || b->memory.n_flights == 0 || (b->lost_usec > 0 && now_usec() < b->lost_usec + GRACE_USEC))
                return 0;
        text = away_text(b);
        if (!text)
                return -ENOMEM;
        if (!b->told)
                error_print("%s.", text);
        b->told = true;
        return mcp_memory_refuse(&b->memory, &b->to_client, text);
}

static int try_connect(Bridge *b) {
        bool again = b->lost_usec > 0;
        int fd;

        if (b->fd >= 0 || now_usec() < b->next_try)
                return 0;
        fd = runtime_connect(b->runtime, "mcp");
        if (fd < 0) {
                b->retry_usec = MIN(MAX(b->retry_usec * 2, RETRY_MIN_USEC), RETRY_MAX_USEC);
                b->next_try = now_usec() + b->retry_usec;
                return 0;
        }
        (void) fd_set_nonblock(fd, true);
        b->fd = fd;
        b->told = false;
        return again ? mcp_memory_replay(&b->memory, &b->to_server, &b->to_client) : 0;
}

/* --- lines --- */

/* Whole lines from the client go to flowd, if it is there; and are remembered in any case. */
static int pass_to_server(Bridge *b) {
        size_t at = 0;

        for (char *end; at < b->from_client.size && (end = memchr(b->from_client.data + at, '\n', b->from_client.size - at));) {
                size_t size = (size_t) (end - (b->from_client.data + at)) + 1;
                size_t text = size - 1 - (size > 1 && end[-1] == '\r');
                int r = mcp_memory_sent(&b->memory, b->from_client.data + at, text, b->fd < 0);

                if (r >= 0 && b->fd >= 0)
                        r = json_append(&b->to_server, b->from_client.data + at, size);
                if (r < 0)
                        return r;
                at += size;
        }
        drop(&b->from_client, at);
        return 0;
}

static int pass_to_client(Bridge *b) {
        size_t at = 0;

        for (char *end; at < b->from_server.size && (end = memchr(b->from_server.data + at, '\n', b->from_server.size - at));) {
                size_t size = (size_t) (end - (b->from_server.data + at)) + 1;
                int r = 0;

                if (mcp_memory_received(&b->memory, b->from_server.data + at, size - 1))
                        r = json_append(&b->to_client, b->from_server.data + at, size);
                if (r < 0)
                        return r;
                at += size;
        }
        drop(&b->from_server, at);
        return 0;
}

/* --- bytes --- */

/* Returns 0, or -errno where the client is gone. */
static int write_client(Bridge *b) {
        ssize_t n;

        if (b->out_is_socket)
                n = send(STDOUT_FILENO, b->to_client.data, b->to_client.size, MSG_DONTWAIT | MSG_NOSIGNAL);
        else
                n = write(STDOUT_FILENO, b->to_client.data, MIN(b->to_client.size, (size_t) PIPE_BUF));
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        drop(&b->to_client, (size_t) n);
        return 0;
}

static int write_server(Bridge *b) {
        ssize_t n = send(b->fd, b->to_server.data, b->to_server.size, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN && errno != EINTR)
                return lost(b);
        if (n > 0)
                drop(&b->to_server, (size_t) n);
        return 0;
}

static int read_server(Bridge *b) {
        ssize_t n = take(b->fd, &b->from_server);

        if (n == -EAGAIN)
                return 0;
        if (n == -ENOMEM)
                return -ENOMEM;
        return n <= 0 ? lost(b) : pass_to_client(b);
}

/* How long poll() may wait, in ms. */
static int patience(const Bridge *b) {
        uint64_t now = now_usec(), next = b->next_try;

        if (b->fd >= 0)
                return -1;
        if (b->memory.n_flights > 0 && b->lost_usec > 0)
                next = MIN(next, b->lost_usec + GRACE_USEC);
        return next <= now ? 0 : (int) ((next - now) / USEC_PER_MSEC) + 1;
}

/* One turn. Returns 1, 0 when the client has ended it, or -errno. */
static int turn(Bridge *b) {
        enum { IN, OUT, SERVER, _N };
        struct pollfd p[_N] = {};
        ssize_t n;
        int r;

        r = try_connect(b);
        if (r >= 0)
                r = refuse(b);
        if (r < 0)
                return r;
        bool listen = b->to_client.size < BACKLOG_MAX, more = b->to_server.size < BACKLOG_MAX && b->memory.kept < BACKLOG_MAX;
        p[IN] = (struct pollfd) { .fd = listen && more ? STDIN_FILENO : -1, .events = POLLIN };
        /* without a reader there is no sense in going on, so its end is of interest also when there is nothing to say */
        p[OUT] = (struct pollfd) { .fd = STDOUT_FILENO, .events = b->to_client.size > 0 ? POLLOUT : 0 };
        p[SERVER] = (struct pollfd) { .fd = b->fd, .events = (short) ((listen ? POLLIN : 0) | (b->to_server.size > 0 ? POLLOUT : 0)) };
        if (poll(p, _N, patience(b)) < 0)
                return errno == EINTR ? 1 : -errno;
        if (p[OUT].revents & (POLLERR | POLLNVAL))
                return -EPIPE;
        if (p[SERVER].revents & POLLOUT)
                r = write_server(b);
        if (r >= 0 && b->fd >= 0 && p[SERVER].revents & (POLLIN | POLLHUP | POLLERR))
                r = read_server(b);
        if (r >= 0 && p[OUT].revents & POLLOUT && b->to_client.size > 0)
                r = write_client(b);
        if (r >= 0 && p[IN].revents & (POLLIN | POLLHUP | POLLERR)) {
                n = take(STDIN_FILENO, &b->from_client);
                if (n == 0)
                        return 0;
                if (n < 0 && n != -EAGAIN)
                        return (int) n;
                b->next_try = b->lost_usec > 0 ? b->next_try : 0; /* somebody asks: is it there now? */
                r = try_connect(b);
                if (r >= 0)
                        r = pass_to_server(b);
        }
        return r < 0 ? r : 1;
}

/* What is ready for the client is still given to it, where that does not take time. */
static void last_words(Bridge *b) {
        struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };

        while (b->to_client.size > 0 && poll(&p, 1, 0) > 0 && p.revents & POLLOUT)
                if (write_client(b) < 0)
                        return;
}

int verb_mcp_bridge(Flowctl *c, int argc, char **argv) {
        Bridge b = { .runtime = c->runtime, .fd = -1 };
        struct stat st;
        int r;

        (void) argc;
        (void) argv;
        (void) signal(SIGPIPE, SIG_IGN);
        mcp_memory_init(&b.memory);
        b.out_is_socket = fstat(STDOUT_FILENO, &st) >= 0 && S_ISSOCK(st.st_mode);
        while ((r = turn(&b)) > 0)
                ;
        if (r == 0)
                last_words(&b);
        else if (r != -EPIPE) /* that is how some clients end it */
                error_print(r == -EMSGSIZE ? "a message is longer than %u bytes" : "the bridge failed (messages may have %u bytes): %s", LINE_MAX_BYTES,
                            strerror(-r));
        fd_close(b.fd);
        json_buffer_clear(&b.from_client);
        json_buffer_clear(&b.from_server);
        json_buffer_clear(&b.to_client);
        json_buffer_clear(&b.to_server);
        mcp_memory_done(&b.memory);
        return r == 0 || r == -EPIPE ? STATUS_OK : STATUS_FAILED;
}
