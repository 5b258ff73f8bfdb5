/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A blocking Varlink client: one call at a time on one connection, with streamed replies. */

#include <json-c/json.h>

#include "basic/macro.h"

#define VARLINK_REPLY_MAX (64U * 1024U * 1024U) /* bytes of one reply */
#define VARLINK_DEPTH_MAX 64                    /* levels of one reply */

typedef struct VarlinkClient VarlinkClient;

/* An error reply. */
typedef struct VarlinkError {
        char *name;              /* "io.flowd.NoSuchPool" */
        char *message;           /* the parameter "message", for a person; NULL where there is none */
        json_object *parameters; /* never NULL */
} VarlinkError;

static inline void json_object_putp(json_object **o) {
        if (*o)
                json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_object_putp)

/* Connects to an instance's control socket. Returns 0, or what runtime_connect() returns. */
int varlink_client_new(const char *runtime, VarlinkClient **ret);
VarlinkClient *varlink_client_free(VarlinkClient *c);
DEFINE_CLEANUP(VarlinkClient *, varlink_client_free);

VarlinkError *varlink_error_free(VarlinkError *e);
DEFINE_CLEANUP(VarlinkError *, varlink_error_free);
/* The part of an error's name behind the interface: "NoSuchPool". */
const char *varlink_error_short_name(const VarlinkError *e);

/* Sends a call; `parameters` are taken over, NULL stands for none. With `more`, several replies may come. Returns 0 or -errno. */
int varlink_client_send(VarlinkClient *c, const char *method, json_object *parameters, bool more);

/* Waits for the next reply, at most `timeout_usec` (USEC_INFINITY: as long as it takes). Returns
 *      1: *ret_reply has its parameters (owned by the caller), and *ret_continues (may be NULL) whether another reply will
 * follow; 0: *ret_error has the error (owned by the caller); -ETIMEDOUT, -EINTR (a signal came), -ECONNRESET (flowd closed the
 * connection), -EBADMSG (what came is no Varlink), or another -errno. */
int varlink_client_receive(VarlinkClient *c, uint64_t timeout_usec, json_object **ret_reply, bool *ret_continues,
                           VarlinkError **ret_error);

/* A call and its only reply: returns as varlink_client_receive() does. */
int varlink_client_call(VarlinkClient *c, const char *method, json_object *parameters, uint64_t timeout_usec,
                        json_object **ret_reply, VarlinkError **ret_error);

/* The descriptor, for poll(); and whether a whole reply was read already, so that poll() would not tell of it. */
int varlink_client_fd(const VarlinkClient *c);
bool varlink_client_pending(const VarlinkClient *c);
