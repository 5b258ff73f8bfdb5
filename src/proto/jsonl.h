/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The jsonl worker protocol: a job a line to the worker, a message a line from it. Pure: no I/O. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/macro.h"
#include "proto/frame.h"

/*
 * To the worker:       {"job":"ID","attempt":1,"method":"...","session":"...","deadline":UNIX_SECONDS,"payload":...}
 *                      {"cancel":"ID"}, with "reason":"soft-timeout" where a result is welcome still
 * From the worker:     {"ready":true}                                           only where the worker type says Ready=explicit
 *                      {"job":"ID","result":...}                                one of these two ends the job
 *                      {"job":"ID","error":{"message":"...","retry":false}}
 *                      {"job":"ID","progress":0.5,"message":"..."}              before it, as often as it likes
 *                      {"job":"ID","log":"...","level":"info"}
 *
 * A payload that is text is a string, one that is JSON is that value, bytes are {"base64":"..."}. A result that is a string is
 * text and any other is JSON, unless "kind" ("text", "json" or "bytes", then it is {"base64":"..."}) says otherwise.
 * method, session and deadline are left out where the job has none. Lines end with a newline, and hold no other line end.
 */
#define JSONL_JOB_ID_MAX 32U /* bytes of a job's id in a message, with its NUL */

typedef struct JsonlJob {
        const char *id;
        uint32_t attempt;
        const char *method;     /* NULL: none */
        const char *session;    /* NULL: none */
        uint64_t deadline_usec; /* since the epoch; 0 or USEC_INFINITY: none */
        PayloadKind kind;
        const void *payload;
        size_t payload_size;
} JsonlJob;

/* Both write a line that ends with its newline; `*ret` is the caller's to free, and NUL-terminated beyond `*ret_size`.
 * Return 0, -EBADMSG (a payload that is not the text or the JSON value that it is said to be, or a name in invalid UTF-8),
 * -E2BIG (JSON nested too deeply), -ENOMEM. */
int jsonl_job_encode(const JsonlJob *job, char **ret, size_t *ret_size);
int jsonl_cancel_encode(const char *id, const char *reason, char **ret, size_t *ret_size);

typedef enum JsonlType {
        JSONL_READY,
        JSONL_RESULT,
        JSONL_ERROR,
        JSONL_PROGRESS,
        JSONL_LOG,
        _JSONL_TYPE_MAX,
} JsonlType;

typedef struct JsonlMessage {
        JsonlType type;
        char job[JSONL_JOB_ID_MAX]; /* empty for READY */
        PayloadKind kind;           /* of a RESULT's data; text for all others */
        char *data;                 /* RESULT, ERROR's or PROGRESS' message (NULL: none), LOG's text; owned, a NUL behind it */
        size_t size;                /* bytes of data; text may hold NULs too */
        bool retry_said;            /* ERROR: "retry" stands there */
        bool retry;                 /* ERROR: the same job may succeed when tried again */
        double fraction;            /* PROGRESS: 0 to 1 */
        int level;                  /* LOG: a syslog level */
} JsonlMessage;

void jsonl_message_clear(JsonlMessage *m);
#define _cleanup_jsonl_message_ _cleanup_(jsonl_message_clear)

/* Reads one line of a worker, with or without its line end. Unknown members are ignored; a known one twice is an error.
 * Returns 1 with a message, 0 for a blank line, -EBADMSG with a reason for a person (a constant), -ENOMEM. */
int jsonl_message_decode(const char *line, size_t size, JsonlMessage *ret, const char **reterr_reason);
