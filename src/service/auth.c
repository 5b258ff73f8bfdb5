/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Authorisation. SO_PEERGROUPS gives the groups that the peer really had when it connected: no name service, no race with /proc. */

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/auth.h"

#define PEER_GROUPS_MAX 65536 /* the kernel's own limit */

static AuthLevel group_level(const AuthConfig *c, gid_t g) {
        if (g == (gid_t) -1)
                return LEVEL_NONE;
        if (g == c->admin_gid)
                return LEVEL_ADMIN;
        if (g == c->submit_gid)
                return LEVEL_OPERATE;
        if (g == c->observe_gid)
                return LEVEL_OBSERVE;
        return LEVEL_NONE;
}

int auth_peer(const AuthConfig *c, int fd, Peer *ret) {
        struct ucred cred;
        socklen_t size = sizeof(cred);
        _cleanup_free_ gid_t *groups = NULL;
        Peer p;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
                return -errno;
        p = (Peer) { .pid = cred.pid, .uid = cred.uid, .gid = cred.gid, .level = group_level(c, cred.gid) };
        if (cred.uid == 0 || (c->own_uid_is_admin && cred.uid == getuid()))
                p.level = LEVEL_ADMIN;
        size = 0;
        if (p.level < LEVEL_ADMIN && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) < 0 && errno == ERANGE && size <= PEER_GROUPS_MAX * sizeof(gid_t)) {
                groups = malloc(size);
                if (!groups)
                        return -ENOMEM;
                if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
                        return -errno;
                for (size_t i = 0; i < size / sizeof(gid_t); i++)
                        p.level = MAX(p.level, group_level(c, groups[i]));
        }
        *ret = p;
        return 0;
}

const char *auth_level_to_string(AuthLevel l) {
        static const char *const names[] = { "none", "observe", "submit", "operate", "admin" };

        return names[l];
}

const char *auth_group(const AuthConfig *c, AuthLevel l) {
        return l >= LEVEL_ADMIN ? c->admin_group : l >= LEVEL_SUBMIT ? c->submit_group : c->observe_group;
}
