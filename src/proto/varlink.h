/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Varlink messages, both sides: text to structs over json-c, and back. Pure: no I/O. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "basic/macro.h"

#define VARLINK_DEPTH_MAX 32U      /* objects and arrays within each other, the message counted */
#define VARLINK_NAME_MAX 256U      /* bytes of a method's, interface's or error's full name, with its NUL */

#define VARLINK_ERROR_INTERFACE_NOT_FOUND "org.varlink.service.InterfaceNotFound"      /* interface */
#define VARLINK_ERROR_METHOD_NOT_FOUND "org.varlink.service.MethodNotFound"            /* method */
#define VARLINK_ERROR_METHOD_NOT_IMPLEMENTED "org.varlink.service.MethodNotImplemented" /* method */
#define VARLINK_ERROR_INVALID_PARAMETER "org.varlink.service.InvalidParameter"         /* parameter */
#define VARLINK_ERROR_PERMISSION_DENIED "org.varlink.service.PermissionDenied"
#define VARLINK_ERROR_EXPECTED_MORE "org.varlink.service.ExpectedMore"

static inline void json_object_putp(json_object **o) {
        if (*o)
                json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_object_putp)

/* Reads strict JSON: RFC 8259 in valid UTF-8, at most `depth_max` (JSON_DEPTH_MAX at most) levels deep. json-c alone is laxer.
 * Returns 0 with an object of the caller's (NULL for null), -EBADMSG, -E2BIG when nested too deeply, -ENOMEM. */
int json_parse(const char *text, size_t size, unsigned depth_max, json_object **ret);

typedef struct VarlinkCall {
        char *method;
        json_object *parameters; /* an object, empty where the message has none */
        bool more, oneway, upgrade;
} VarlinkCall;

void varlink_call_clear(VarlinkCall *c);
#define _cleanup_varlink_call_ _cleanup_(varlink_call_clear)

/* Reads a call; `size` is without the NUL that ends it on the wire.
 * Returns 0, -EBADMSG where it is not JSON, -E2BIG where it is nested too deeply, -EINVAL where it is JSON but no call, -ENOMEM.
 * After any error but -ENOMEM the peer is not speaking Varlink: there is nothing to answer, the connection is closed. */
int varlink_call_parse(const char *text, size_t size, VarlinkCall *ret);

typedef struct VarlinkReply {
        char *error;             /* NULL where it went well */
        json_object *parameters; /* an object, empty where the message has none */
        bool continues;
} VarlinkReply;

void varlink_reply_clear(VarlinkReply *r);
#define _cleanup_varlink_reply_ _cleanup_(varlink_reply_clear)

/* The same for a reply. */
int varlink_reply_parse(const char *text, size_t size, VarlinkReply *ret);

/* All three write a message for the wire: *ret is the caller's to free, and *ret_size counts the NUL that ends the message.
 * `parameters` stay the caller's; NULL is an empty object. Bytes that are no UTF-8 become U+FFFD, because what a worker wrote
 * into an error must not make a whole answer unreadable. Return 0, -EINVAL where parameters is no object or holds NaN or
 * infinity, -E2BIG where it is nested too deeply, -ENOMEM. */
int varlink_call_format(const char *method, json_object *parameters, bool more, bool oneway, char **ret, size_t *ret_size);
int varlink_reply_format(json_object *parameters, bool continues, char **ret, size_t *ret_size);
int varlink_error_format(const char *error, json_object *parameters, char **ret, size_t *ret_size);

/* "io.flowd.Run" is method "Run" of interface "io.flowd". The interface is copied into `interface`, which has room for `size`
 * bytes; *ret_method points into `name`.
 * Returns 0, -EINVAL where it is no such name, -ENOBUFS where the interface does not fit. */
int varlink_name_split(const char *name, char *interface, size_t size, const char **ret_method);
