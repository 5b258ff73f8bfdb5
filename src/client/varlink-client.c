/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The client's half of Varlink: a call is a JSON object with a NUL behind it, and so is each reply. The connection is read into
 * one buffer that may hold the beginning of the next reply when a stream is fast; a caller that sleeps in poll() asks
 * varlink_client_pending() first.
 *
 * flowd may be re-executed between call and reply: the connection survives that, so the only sign is a longer wait.
 */

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "client/runtime.h"
#include "client/varlink-client.h"

#define READ_SIZE (64U * 1024U)

struct VarlinkClient {
        int fd;
        char *buf;
        size_t size;    /* room */
        size_t used;    /* bytes read and not consumed */
        size_t scanned; /* of them, so many hold no NUL */
};

int varlink_client_new(const char *runtime, VarlinkClient **ret) {
        _cleanup_(varlink_client_freep) VarlinkClient *c = new0(VarlinkClient, 1);

        if (!c)
                return -ENOMEM;
        c->fd = runtime_connect(runtime, "control");
        if (c->fd < 0)
                return c->fd;
        *ret = TAKE_PTR(c);
        return 0;
}

VarlinkClient *varlink_client_free(VarlinkClient *c) {
        if (!c)
                return NULL;
        fd_close(c->fd);
        free(c->buf);
        free(c);
        return NULL;
}

VarlinkError *varlink_error_free(VarlinkError *e) {
        if (!e)
                return NULL;
        free(e->name);
        free(e->message);
        json_object_put(e->parameters);
        free(e);
        return NULL;
}

const char *varlink_error_short_name(const VarlinkError *e) {
        const char *dot = strrchr(e->name, '.');

        return dot ? dot + 1 : e->name;
}

int varlink_client_fd(const VarlinkClient *c) {
        return c->fd;
}

bool varlink_client_pending(const VarlinkClient *c) {
        return c->used > 0 && memchr(c->buf, 0, c->used);
}

int varlink_client_send(VarlinkClient *c, const char *method, json_object *parameters, bool more) {
        _cleanup_json_ json_object *call = json_object_new_object();
        const char *text;
        size_t size;

        if (!parameters)
                parameters = json_object_new_object();
        if (!call || !parameters) {
                json_object_put(parameters);
                return -ENOMEM;
        }
        json_object_object_add(call, "method", json_object_new_string(method));
        json_object_object_add(call, "parameters", parameters);
        if (more)
                json_object_object_add(call, "more", json_object_new_boolean(true));
        text = json_object_to_json_string_length(call, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &size);
        if (!text)
                return -ENOMEM;
        for (size++; size > 0;) { /* its NUL goes with it */
                ssize_t n = send(c->fd, text, size, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EPIPE ? -ECONNRESET : -errno;
                text += n;
                size -= (size_t) n;
        }
        return 0;
}

/* Waits until bytes come, and reads them. */
static int client_fill(VarlinkClient *c, uint64_t until) {
        struct pollfd p = { .fd = c->fd, .events = POLLIN };
        int timeout = -1;

        if (c->used >= VARLINK_REPLY_MAX)
                return -EBADMSG;
        if (c->size - c->used < READ_SIZE) {
                size_t size = MAX(c->size * 2, (size_t) 2 * READ_SIZE);
                char *bigger = realloc(c->buf, size);

                if (!bigger)
                        return -ENOMEM;
                c->buf = bigger;
                c->size = size;
        }
        if (until != USEC_INFINITY) {
                uint64_t now = now_usec();

                if (now >= until)
                        return -ETIMEDOUT;
                timeout = (int) MIN((until - now + 999) / 1000, (uint64_t) INT32_MAX);
        }
        int r = poll(&p, 1, timeout);
        if (r < 0)
                return -errno;
        if (r == 0)
                return -ETIMEDOUT;
        ssize_t n = recv(c->fd, c->buf + c->used, c->size - c->used, 0);
        if (n < 0)
                return -errno;
        if (n == 0)
                return -ECONNRESET;
        c->used += (size_t) n;
        return 0;
}

static int error_new(const char *name, json_object *parameters, VarlinkError **ret) {
        _cleanup_(varlink_error_freep) VarlinkError *e = new0(VarlinkError, 1);
        json_object *message;

        if (!e)
                return -ENOMEM;
        e->name = strdup(name);
        e->parameters = parameters ? json_object_get(parameters) : json_object_new_object();
        if (!e->name || !e->parameters)
                return -ENOMEM;
        if (json_object_object_get_ex(e->parameters, "message", &message) && json_object_is_type(message, json_type_string)) {
                e->message = strdup(json_object_get_string(message));
                if (!e->message)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(e);
        return 0;
}

static int reply_parse(const char *text, size_t size, json_object **ret_reply, bool *ret_continues, VarlinkError **ret_error) {
        json_tokener *tokener = json_tokener_new_ex(VARLINK_DEPTH_MAX);
        _cleanup_json_ json_object *reply = NULL;
        json_object *parameters = NULL, *error, *continues;

        if (!tokener)
                return -ENOMEM;
        reply = json_tokener_parse_ex(tokener, text, (int) size);
        enum json_tokener_error e = json_tokener_get_error(tokener);
        json_tokener_free(tokener);
        if (e != json_tokener_success || !json_object_is_type(reply, json_type_object))
                return -EBADMSG;
        if (json_object_object_get_ex(reply, "parameters", &parameters) && parameters &&
            !json_object_is_type(parameters, json_type_object))
                return -EBADMSG;
        if (json_object_object_get_ex(reply, "error", &error) && error) {
                if (!json_object_is_type(error, json_type_string))
                        return -EBADMSG;
                return error_new(json_object_get_string(error), parameters, ret_error);
        }
        json_object *result = parameters ? json_object_get(parameters) : json_object_new_object();
        if (!result)
                return -ENOMEM;
        *ret_reply = result;
        if (ret_continues)
                *ret_continues = json_object_object_get_ex(reply, "continues", &continues) && json_object_get_boolean(continues);
        return 1;
}

int varlink_client_receive(VarlinkClient *c, uint64_t timeout_usec, json_object **ret_reply, bool *ret_continues,
                           VarlinkError **ret_error) {
        uint64_t until = timeout_usec == USEC_INFINITY ? USEC_INFINITY : now_usec() + timeout_usec;
        const char *end;
        int r;

        while (!(end = c->used > c->scanned ? memchr(c->buf + c->scanned, 0, c->used - c->scanned) : NULL)) {
                c->scanned = c->used;
                r = client_fill(c, until);
                if (r < 0)
                        return r;
        }
        size_t size = (size_t) (end - c->buf) + 1;
        r = reply_parse(c->buf, size, ret_reply, ret_continues, ret_error);
        c->used -= size;
        c->scanned = 0;
        memmove(c->buf, c->buf + size, c->used);
        return r;
}

int varlink_client_call(VarlinkClient *c, const char *method, json_object *parameters, uint64_t timeout_usec,
                        json_object **ret_reply, VarlinkError **ret_error) {
        int r = varlink_client_send(c, method, parameters, false);

        return r < 0 ? r : varlink_client_receive(c, timeout_usec, ret_reply, NULL, ret_error);
}
