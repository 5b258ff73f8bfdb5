/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* MCP for flowctl's own verbs. What an agent uses is the bridge; this is for a person who wants to see what an agent would. */

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "client/mcp-connection.h"
#include "client/runtime.h"
#include "proto/mcp.h"
#include "proto/varlink.h"

#define READ_ROOM 65536U

struct McpConnection {
        int fd;
        uint64_t last_id;
        JsonBuffer in;
        size_t used; /* bytes of `in` that were handed out */
};

McpConnection *mcp_connection_close(McpConnection *c) {
        if (!c)
                return NULL;
        fd_close(c->fd);
        json_buffer_clear(&c->in);
        free(c);
        return NULL;
}

/* The next line, without its end; it lives until the next call. */
static int receive(McpConnection *c, const char **ret, size_t *ret_size) {
        size_t scanned;

        if (c->used > 0)
                memmove(c->in.data, c->in.data + c->used, c->in.size - c->used);
        c->in.size -= c->used;
        c->used = scanned = 0;
        for (;;) {
                char *end = c->in.size > scanned ? memchr(c->in.data + scanned, '\n', c->in.size - scanned) : NULL;
                ssize_t n;
                int r;

                if (end) {
                        *ret = c->in.data;
                        *ret_size = (size_t) (end - c->in.data);
                        c->used = *ret_size + 1;
                        return 0;
                }
                scanned = c->in.size;
                if (c->in.size > MCP_CONNECTION_LINE_MAX)
                        return -EBADMSG;
                r = json_buffer_reserve(&c->in, READ_ROOM);
                if (r < 0)
                        return r;
                n = read(c->fd, c->in.data + c->in.size, c->in.room - c->in.size);
                if (n < 0 && errno == EINTR)
                        return -EINTR;
                if (n <= 0)
                        return n < 0 ? -errno : -ECONNRESET;
                c->in.size += (size_t) n;
        }
}

static int send_message(McpConnection *c, JsonSpan id, const char *method, json_object *params) {
        JsonBuffer b = {};
        const char *text = params ? json_object_to_json_string_ext(params, JSON_C_TO_STRING_PLAIN) : NULL;
        int r = jsonrpc_append_request(&b, id, method, (JsonSpan) { text, text ? strlen(text) : 0 });

        if (r >= 0)
                r = fd_write_all(c->fd, b.data, b.size);
        json_buffer_clear(&b);
        return r == -EPIPE ? -ECONNRESET : r;
}

/* Looks at one message. Returns 1 when it was the answer, with *ret_result and *ret_failed filled in, 0, or -errno. */
static int look(const char *line, size_t size, JsonSpan id, void (*note)(const char *, json_object *), json_object **ret, char **reterr_text) {
        _cleanup_free_ char *method = NULL;
        json_object *params = NULL;
        JsonrpcMessage m;
        const char *why;
        int64_t code;
        int r = jsonrpc_parse(line, size, &m, &why);

        if (r <= 0)
                return r == 0 ? 0 : -EBADMSG;
        if (m.type == JSONRPC_NOTIFICATION && note) {
                if (m.params.p && json_parse(m.params.p, m.params.size, JSON_DEPTH_MAX, &params) < 0)
                        return -EBADMSG;
                if (json_span_text(m.method, &method) >= 0)
                        note(method, params);
                json_object_put(params);
                return 0;
        }
        if (m.type == JSONRPC_ERROR && (!m.id.p || mcp_id_equal(m.id, id))) {
                r = jsonrpc_error_parse(m.error, &code, reterr_text, NULL);
                return r < 0 ? r : -EREMOTEIO;
        }
        if (m.type != JSONRPC_RESULT || !mcp_id_equal(m.id, id))
                return 0;
        r = json_parse(m.result.p, m.result.size, JSON_DEPTH_MAX, ret);
        return r < 0 ? r : 1;
}

int mcp_connection_call(McpConnection *c, const char *method, json_object *params, void (*note)(const char *, json_object *), json_object **ret,
                        char **reterr_text) {
        char id[24];
        const char *line = NULL;
        size_t size = 0;
        int r;

        (void) snprintf(id, sizeof(id), "%llu", (unsigned long long) ++c->last_id);
        r = send_message(c, (JsonSpan) { id, strlen(id) }, method, params);
        json_object_put(params);
        while (r >= 0) {
                r = receive(c, &line, &size);
                if (r >= 0)
                        r = look(line, size, (JsonSpan) { id, strlen(id) }, note, ret, reterr_text);
                if (r > 0)
                        return 0;
        }
        return r;
}

int mcp_connection_open(const char *runtime, McpConnection **ret, json_object **ret_hello) {
        _cleanup_(mcp_connection_closep) McpConnection *c = new0(McpConnection, 1);
        json_object *params, *info, *hello = NULL;
        _cleanup_free_ char *why = NULL;
        int r;

        if (!c)
                return -ENOMEM;
        c->fd = runtime_connect(runtime, "mcp");
        if (c->fd < 0)
                return c->fd;
        params = json_object_new_object();
        info = json_object_new_object();
        json_object_object_add(info, "name", json_object_new_string("flowctl"));
        json_object_object_add(info, "version", json_object_new_string(PACKAGE_VERSION));
        json_object_object_add(params, "protocolVersion", json_object_new_string(mcp_version_to_string(MCP_LATEST_LEGACY)));
        json_object_object_add(params, "capabilities", json_object_new_object());
        json_object_object_add(params, "clientInfo", info);
        r = mcp_connection_call(c, "initialize", params, NULL, &hello, &why);
        if (r >= 0)
                r = send_message(c, (JsonSpan) {}, "notifications/initialized", NULL);
        if (r < 0) {
                json_object_put(hello);
                return r;
        }
        if (ret_hello)
                *ret_hello = hello;
        else
                json_object_put(hello);
        *ret = TAKE_PTR(c);
        return 0;
}
