/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON-RPC 2.0 as MCP speaks it, one message: its members as spans of its own text, and builders. Pure: no I/O. */

#include <sys/types.h>

#include "basic/macro.h"
#include "proto/json-scan.h"

#define JSONRPC_ID_MAX 256U /* bytes of an id as it stands, quotes and escapes included */

enum {
        JSONRPC_PARSE_ERROR = -32700,
        JSONRPC_INVALID_REQUEST = -32600,
        JSONRPC_METHOD_NOT_FOUND = -32601,
        JSONRPC_INVALID_PARAMS = -32602,
        JSONRPC_INTERNAL_ERROR = -32603,
};

/* A piece of a JSON text as it stands there. `p` is NULL where there is none. */
typedef struct JsonSpan {
        const char *p;
        size_t size;
} JsonSpan;

/* A span of a string constant. */
#define JSON_SPAN(s) ((JsonSpan) { (s), sizeof(s) - 1 })

typedef enum JsonrpcType {
        JSONRPC_REQUEST,      /* method, id, perhaps params */
        JSONRPC_NOTIFICATION, /* method, perhaps params */
        JSONRPC_RESULT,       /* id, result */
        JSONRPC_ERROR,        /* error; no id where it answers what had none that could be read */
        _JSONRPC_TYPE_MAX,
} JsonrpcType;

/* All spans point into the text that was parsed. */
typedef struct JsonrpcMessage {
        JsonrpcType type;
        JsonSpan id;      /* a string with its quotes, or a number: to be given back as it is */
        JsonSpan method;  /* with its quotes: json_span_is() */
        JsonSpan params;  /* an object */
        JsonSpan result;  /* any value; MCP says an object */
        JsonSpan error;   /* an object: jsonrpc_error_parse() */
} JsonrpcMessage;

/* Reads one message, with or without its line end. Unknown members are ignored; a known one twice is an error, because the next reader might
 * take the other one. Returns 1 with a message, 0 for a blank line, or with a reason for a person (a constant):
 * -EBADMSG (no JSON: JSONRPC_PARSE_ERROR), -E2BIG (nested too deeply),
 * -EINVAL (JSON, but no message: JSONRPC_INVALID_REQUEST; ret->id is set where it has one that can be answered, nothing else is). */
int jsonrpc_parse(const char *text, size_t size, JsonrpcMessage *ret, const char **reterr_reason);

/* True where the span is a string that says `s`, in whatever way it was escaped. `s` has no backslash. */
bool json_span_is(JsonSpan span, const char *s);
/* The member of an object. Returns 1, 0 where it has none of this name, -EBADMSG where the text is no object or has the member twice, -E2BIG. */
int json_find(JsonSpan object, const char *name, JsonMember *ret);
/* A string's content; *ret is the caller's. Returns 0, -EBADMSG where it is no string or holds a NUL, -ENOMEM. */
int json_span_text(JsonSpan span, char **ret);
/* A whole number that fits. Returns 0 or -EBADMSG. */
int json_span_u64(JsonSpan span, uint64_t *ret);

/* What an error object says; the message is the caller's, without one it is empty. `ret_data` may be NULL. Returns 0, -EBADMSG, -ENOMEM. */
int jsonrpc_error_parse(JsonSpan error, int64_t *ret_code, char **ret_message, JsonSpan *ret_data);

/* --- builders: each appends one message and its newline; a span that is put into it may have been written on several lines ---
 * Return 0, -EBADMSG for text in invalid UTF-8, -ENOMEM; after an error the buffer is as it was. */

/* `id` without a text makes a notification. `params` may have none, too. */
int jsonrpc_append_request(JsonBuffer *b, JsonSpan id, const char *method, JsonSpan params);
int jsonrpc_append_result(JsonBuffer *b, JsonSpan id, JsonSpan result);
/* `id` without a text answers with none: only where the protocol's version allows that. `data` may have none. */
int jsonrpc_append_error(JsonBuffer *b, JsonSpan id, int64_t code, const char *message, JsonSpan data);

/* Appends an object in which the member `name` is `value`: in the place of the one that it has, or as its last one. `object` may have no text:
 * an empty one. Not a message: no newline. Returns 0, -EBADMSG where `object` is none, -E2BIG, -ENOMEM. */
int json_append_with(JsonBuffer *b, JsonSpan object, const char *name, JsonSpan value);
