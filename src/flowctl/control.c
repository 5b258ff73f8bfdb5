/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls on the control socket, and what to tell a person when they do not work: what is wrong, where, and what to do next. */

#include <errno.h>
#include <stdio.h>

#include "basic/str.h"
#include "client/runtime.h"
#include "flowctl/flowctl.h"

int control_connect_failed(const Flowctl *c, const char *socket, int error) {
        if (error == -ENOENT || error == -ECONNREFUSED || error == -ENOTDIR) {
                error_print("flowd is not running here: %s at %s/%s.", error == -ECONNREFUSED ? "nobody answers" : "no socket",
                            c->runtime, socket);
                if (streq(c->runtime, RUNTIME_SYSTEM))
                        fputs("Start it with 'systemctl start flowd', ask your own with --user, ", stderr);
                else if (runtime_is_user(c->runtime))
                        fputs("Start it with 'systemctl --user start flowd', ask the system's with --system, ", stderr);
                else
                        fprintf(stderr, "Start it with 'flowd --config=DIR --runtime=%s --state=DIR', ", c->runtime);
                fputs("or name a private instance with --runtime=DIR or FLOWD_RUNTIME.\n", stderr);
                return STATUS_NO_DAEMON;
        }
        if (error == -EACCES || error == -EPERM) {
                error_print("no permission to connect to %s/%s.", c->runtime, socket);
                fprintf(stderr,
                        "Its owner decides who may; for the system's flowd this is group 'flowd': add yourself to it with\n"
                        "'sudo usermod -aG flowd $USER', then log in again.\n");
                return STATUS_NOT_PERMITTED;
        }
        error_print("cannot connect to %s/%s: %s", c->runtime, socket, strerror(-error));
        return STATUS_NO_DAEMON;
}

int control_connect(Flowctl *c) {
        if (c->client)
                return 0;
        int r = varlink_client_new(c->runtime, &c->client);
        return r < 0 ? control_connect_failed(c, "control", r) : 0;
}

int control_failed(const Flowctl *c, int error) {
        switch (error) {
        case -ECONNRESET:
                error_print("flowd at %s closed the connection: is it being stopped, or does it refuse this client? "
                            "See 'flowctl logs'.", c->runtime);
                return STATUS_NO_DAEMON;
        case -ETIMEDOUT:
                error_print("flowd at %s does not answer. See 'systemctl status flowd'.", c->runtime);
                return STATUS_NO_DAEMON;
        case -EBADMSG:
                error_print("what answers at %s/control speaks no Varlink.", c->runtime);
                return STATUS_FAILED;
        case -EINTR:
                return STATUS_CANCELLED;
        default:
                error_print("the connection to flowd at %s failed: %s", c->runtime, strerror(-error));
                return STATUS_FAILED;
        }
}

static const char *parameter_text(const VarlinkError *e, const char *key) {
        json_object *o;

        return json_object_object_get_ex(e->parameters, key, &o) && json_object_is_type(o, json_type_string)
                       ? json_object_get_string(o)
                       : NULL;
}

static int error_not_permitted(const VarlinkError *e) {
        const char *group = parameter_text(e, "group");

        error_print("%s", e->message ? e->message : "not permitted");
        if (group && *group)
                fprintf(stderr, "Add yourself to group '%s': sudo usermod -aG %s $USER, then log in again.\n", group, group);
        return STATUS_NOT_PERMITTED;
}

static int error_invalid_config(const VarlinkError *e) {
        json_object *messages;
        size_t n = 0;

        if (json_object_object_get_ex(e->parameters, "messages", &messages) && json_object_is_type(messages, json_type_array))
                n = json_object_array_length(messages);
        for (size_t i = 0; i < n; i++)
                fprintf(stderr, "%s\n", strempty(json_object_get_string(json_object_array_get_idx(messages, i))));
        error_print("the configuration has errors; nothing was changed.");
        return STATUS_FAILED;
}

int control_error(const Flowctl *c, const VarlinkError *e) {
        static const char *const refused[] = { "QueueFull", "RateLimited", "PoolUnavailable", "AllTiersFailed", "StoreUnavailable", "LimitReached", "Busy" };
        static const char *const interface[] = { "MethodNotFound", "MethodNotImplemented", "InterfaceNotFound" };
        const char *name = varlink_error_short_name(e);

        if (streq(name, "NotPermitted") || streq(name, "PermissionDenied"))
                return error_not_permitted(e);
        if (streq(name, "InvalidConfig"))
                return error_invalid_config(e);
        for (size_t i = 0; i < ELEMENTSOF(interface); i++)
                if (streq(name, interface[i])) {
                        error_print("flowd at %s does not know '%s': it is of another version than this flowctl.", c->runtime,
                                    c->verb->name);
                        return STATUS_FAILED;
                }
        if (streq(name, "InvalidParameter")) {
                if (streq_ptr(parameter_text(e, "parameter"), "unit"))
                        error_print("there is no unit of that name; 'flowctl config cat' shows all of them.");
                else
                        error_print("flowd does not take this for '%s'.", strna(parameter_text(e, "parameter")));
                return STATUS_USAGE;
        }
        error_print("%s", e->message ? e->message : e->name);
        for (size_t i = 0; i < ELEMENTSOF(refused); i++)
                if (streq(name, refused[i]))
                        return STATUS_REFUSED;
        return streq(name, "OutOfRange") || streq(name, "InvalidPool") ? STATUS_USAGE : STATUS_FAILED;
}

int control_call(Flowctl *c, const char *method, json_object *parameters, json_object **ret_reply) {
        _cleanup_(varlink_error_freep) VarlinkError *e = NULL;
        _cleanup_json_ json_object *reply = NULL, *owned = parameters;
        char name[64];
        int r;

        r = control_connect(c);
        if (r > 0)
                return r;
        snprintf(name, sizeof(name), "io.flowd.%s", method);
        r = varlink_client_call(c->client, name, TAKE_PTR(owned), USEC_INFINITY, &reply, &e);
        if (r < 0)
                return control_failed(c, r);
        if (r == 0)
                return control_error(c, e);
        if (ret_reply)
                *ret_reply = TAKE_PTR(reply);
        return 0;
}

int control_next(Flowctl *c, json_object **ret_reply, bool *ret_continues) {
        _cleanup_(varlink_error_freep) VarlinkError *e = NULL;
        int r = varlink_client_receive(c->client, USEC_INFINITY, ret_reply, ret_continues, &e);

        if (r < 0)
                return control_failed(c, r);
        return r == 0 ? control_error(c, e) : -1;
}
