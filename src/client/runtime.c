/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The way from "which flowd?" to a connected socket. There are three kinds of instance (system, user, private), and all of them
 * differ only in the directory where the sockets are. A private one may live anywhere, also deeper than the 107 bytes that a
 * socket's address holds: then its directory is opened first, and the address goes through /proc/self/fd.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "client/runtime.h"

static bool socket_exists(const char *runtime) {
        _cleanup_free_ char *path = runtime_path(runtime, "control");

        return path && access(path, F_OK) == 0;
}

static int runtime_user(char **ret) {
        const char *env = getenv("XDG_RUNTIME_DIR");

        *ret = env && *env == '/' ? str_printf("%s/flowd", env) : str_printf("/run/user/%u/flowd", (unsigned) getuid()); /* as flowd --user */
        return *ret ? 0 : -ENOMEM;
}

int runtime_find(const char *dir, InstanceKind kind, char **ret) {
        _cleanup_free_ char *path = NULL;
        const char *env = getenv("FLOWD_RUNTIME");

        if (!dir && kind == INSTANCE_USER) {
                int r = runtime_user(&path);
                if (r < 0)
                        return r;
        }
        if (!dir && kind == INSTANCE_ANY && env && *env)
                dir = env;
        if (!dir && kind == INSTANCE_ANY && geteuid() != 0 && !socket_exists(RUNTIME_SYSTEM) && runtime_user(&path) == 0 &&
            !socket_exists(path)) {
                free(path);
                path = NULL;
        }
        if (!path)
                path = strdup(dir ? dir : RUNTIME_SYSTEM);
        if (!path)
                return -ENOMEM;
        for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
                path[n - 1] = 0;
        *ret = TAKE_PTR(path);
        return 0;
}

bool runtime_is_user(const char *runtime) {
        _cleanup_free_ char *path = NULL;

        return runtime_find(NULL, INSTANCE_USER, &path) == 0 && streq(runtime, path);
}

char *runtime_path(const char *runtime, const char *socket) {
        return str_printf("%s/%s", runtime, socket);
}

int runtime_connect(const char *runtime, const char *socket) {
        _cleanup_free_ char *path = runtime_path(runtime, socket);
        _cleanup_close_ int dir_fd = -1;
        char shorter[64];
        int r;

        if (!path)
                return -ENOMEM;
        r = fd_connect_unix(path);
        if (r != -ENAMETOOLONG)
                return r;
        dir_fd = open(runtime, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return -errno;
        snprintf(shorter, sizeof(shorter), "/proc/self/fd/%d/%s", dir_fd, socket);
        return fd_connect_unix(shorter);
}
