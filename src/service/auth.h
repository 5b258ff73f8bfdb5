/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may do what: decided by the credentials of the peer of a socket. */

#include <sys/types.h>

#include "basic/macro.h"

typedef enum AuthLevel {
        LEVEL_NONE,
        LEVEL_OBSERVE,
        LEVEL_SUBMIT,
        LEVEL_OPERATE,
        LEVEL_ADMIN,
} AuthLevel;

typedef struct AuthConfig {
        bool own_uid_is_admin;  /* user and private instances */
        gid_t observe_gid, submit_gid, admin_gid; /* (gid_t) -1: the group does not exist */
        const char *observe_group, *submit_group, *admin_group;
} AuthConfig;

typedef struct Peer {
        pid_t pid;
        uid_t uid;
        gid_t gid;
        AuthLevel level;
} Peer;

/* Reads SO_PEERCRED and SO_PEERGROUPS. Returns 0 or -errno. */
int auth_peer(const AuthConfig *c, int fd, Peer *ret);
const char *auth_level_to_string(AuthLevel l);
/* The group whose members have the level. */
const char *auth_group(const AuthConfig *c, AuthLevel l);
