/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The client's beginning and end: finding the socket, connecting, HELLO both ways. Whatever fails here is told with what to do
 * about it. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "libflow/client-internal.h"

#define SYSTEM_RUNTIME "/run/flowd"

static void error_set(char **ret_error, const char *format, ...) _printf_(2, 3);

static void error_set(char **ret_error, const char *format, ...) {
        va_list ap;
        char *p;

        if (!ret_error)
                return;
        va_start(ap, format);
        *ret_error = vasprintf(&p, format, ap) < 0 ? NULL : p;
        va_end(ap);
}

/* The runtime directory's jobs socket; NULL when out of memory. */
static char *client_socket_path(const char *runtime) {
        struct stat st;

        if (!runtime || !*runtime)
                runtime = secure_getenv("FLOWD_RUNTIME");
        if (runtime && *runtime)
                return str_printf("%s/jobs", runtime);
        if (geteuid() == 0 || stat(SYSTEM_RUNTIME "/jobs", &st) >= 0)
                return strdup(SYSTEM_RUNTIME "/jobs");
        runtime = secure_getenv("XDG_RUNTIME_DIR");
        if (runtime && *runtime)
                return str_printf("%s/flowd/jobs", runtime);
        return str_printf("/run/user/%u/flowd/jobs", (unsigned) geteuid());
}

static int client_handshake(FlowClient *c) {
        uint64_t until = now_usec() + CLIENT_HANDSHAKE_USEC;
        int r;

        r = libflow_stream_put_hello(&c->stream, 0);
        if (r < 0)
                return libflow_client_break(c, r, "Cannot greet flowd: %s", strerror(-r));
        for (;;) {
                r = libflow_client_take(c, 0);
                if (r < 0)
                        return r;
                if (c->stream.hello)
                        return 0;
                uint64_t now = now_usec();
                if (now >= until)
                        return libflow_client_break(c, -ETIMEDOUT, "flowd does not answer: no greeting within %u seconds. "
                                                 "See what it is doing: systemctl status flowd, or journalctl -u flowd",
                                                 (unsigned) (CLIENT_HANDSHAKE_USEC / USEC_PER_SEC));
                r = libflow_client_io(c, (int64_t) (until - now));
                if (r < 0 && r != -EINTR)
                        return r;
        }
}

int flow_client_open_fd(int fd, FlowClient **ret, char **ret_error) {
        FlowClient *c = new0(FlowClient, 1);
        int r;

        if (!c) {
                fd_close(fd);
                error_set(ret_error, "Out of memory");
                return -ENOMEM;
        }
        list_init(&c->stash);
        r = libflow_stream_init(&c->stream, fd, fd);
        if (r < 0) {
                free(c);
                error_set(ret_error, "Not a descriptor to talk to flowd over: %s", strerror(-r));
                return r;
        }
        r = client_handshake(c);
        if (r < 0) {
                error_set(ret_error, "%s", flow_client_error(c));
                flow_client_close(c);
                return r;
        }
        *ret = c;
        return 0;
}

int flow_client_open(const char *runtime, FlowClient **ret, char **ret_error) {
        _cleanup_free_ char *path = client_socket_path(runtime);
        int fd;

        if (!path) {
                error_set(ret_error, "Out of memory");
                return -ENOMEM;
        }
        fd = fd_connect_unix(path);
        switch (fd) {
        case -ENOENT:
        case -ENOTDIR:
                error_set(ret_error, "No flowd at %s: there is no such socket. Start it (systemctl start flowd), "
                          "or name another runtime directory ($FLOWD_RUNTIME)", path);
                return fd;
        case -ECONNREFUSED:
                error_set(ret_error, "No flowd at %s: the socket is there, but nobody listens on it. Start flowd (systemctl start flowd)", path);
                return fd;
        case -EACCES:
        case -EPERM:
                error_set(ret_error, "No permission to connect to %s, or to enter its directory", path);
                return fd;
        case -ENAMETOOLONG:
                error_set(ret_error, "%s is too long for a socket's path: 107 bytes are allowed. Use a shorter runtime directory", path);
                return fd;
        }
        if (fd < 0) {
                error_set(ret_error, "Cannot connect to flowd at %s: %s", path, strerror(-fd));
                return fd;
        }
        return flow_client_open_fd(fd, ret, ret_error);
}

FlowClient *flow_client_close(FlowClient *c) {
        List *n;

        if (!c)
                return NULL;
        libflow_client_release(c);
        while ((n = list_first(&c->stash)))
                libflow_client_stash_free(list_entry(n, ClientStash, link));
        libflow_stream_done(&c->stream);
        free(c->slots);
        free(c);
        return NULL;
}
