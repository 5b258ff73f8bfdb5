/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where an instance of flowd has its sockets, and how to reach them. */

#include "basic/macro.h"

#define RUNTIME_SYSTEM "/run/flowd"

typedef enum InstanceKind {
        INSTANCE_ANY, /* $FLOWD_RUNTIME, else the system's where it is there or the caller is root, else the user's where that is
                         there */
        INSTANCE_SYSTEM, /* /run/flowd */
        INSTANCE_USER,   /* $XDG_RUNTIME_DIR/flowd, or without that variable /run/user/UID/flowd */
} InstanceKind;

/* The runtime directory: `dir` where given, else as `kind` says; without trailing slashes. Owned by the caller.
 * Returns 0 or -ENOMEM. */
int runtime_find(const char *dir, InstanceKind kind, char **ret);

/* Is this the calling user's? */
bool runtime_is_user(const char *runtime);

/* The path of `socket` ("control", "jobs") in the runtime directory. Owned by the caller, NULL when out of memory. */
char *runtime_path(const char *runtime, const char *socket);

/* Connects to that socket, blocking, also where the path is too long for a socket's address.
 * Returns a descriptor, -ENOENT or -ECONNREFUSED where nobody answers, -EACCES, or another -errno. */
int runtime_connect(const char *runtime, const char *socket);
