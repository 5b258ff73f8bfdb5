/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where an instance's files are. The system's instance has the usual three directories; a user's has its counterparts in the XDG
 * directories; a private one has exactly what it was given, and nothing of its own can leak into another.
 */

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include "basic/str.h"
#include "flowd/config-internal.h"

#define LONGEST_SOCKET "/control"

static const char *given(const char *argument, const char *variable) {
        const char *e;

        if (argument && *argument)
                return argument;
        e = secure_getenv(variable);
        return e && *e ? e : NULL;
}

const char *config_paths_missing(const char *config, const char *runtime, const char *state) {
        if (!given(config, "FLOWD_CONFIG"))
                return "--config=";
        if (!given(runtime, "FLOWD_RUNTIME"))
                return "--runtime=";
        if (!given(state, "FLOWD_STATE"))
                return "--state=";
        return NULL;
}

/* Made absolute, because workers run elsewhere; without its last slashes. Symbolic links stay: people read these. */
static int path_absolute(const char *path, char **ret) {
        _cleanup_free_ char *cwd = NULL, *s = NULL;

        if (*path == '/')
                s = strdup(path);
        else {
                cwd = getcwd(NULL, 0);
                if (!cwd)
                        return -errno;
                while (strncmp(path, "./", 2) == 0)
                        for (path += 2; *path == '/'; path++)
                                ;
                if (streq(path, ".") || !*path)
                        s = strdup(cwd);
                else
                        s = str_printf("%s/%s", streq(cwd, "/") ? "" : cwd, path);
        }
        if (!s)
                return -ENOMEM;
        for (size_t l = strlen(s); l > 1 && s[l - 1] == '/'; l--)
                s[l - 1] = 0;
        *ret = TAKE_PTR(s);
        return 0;
}

static int home_directory(char **ret) {
        const char *e = secure_getenv("HOME");
        char buffer[16384];
        struct passwd pw, *found = NULL;

        if (e && *e == '/')
                *ret = strdup(e);
        else if (getpwuid_r(getuid(), &pw, buffer, sizeof buffer, &found) == 0 && found)
                *ret = strdup(found->pw_dir);
        else
                return -ENOENT;
        return *ret ? 0 : -ENOMEM;
}

/* $variable, which counts only where it is absolute, otherwise ~/fallback; with "/flowd" behind. */
static int xdg_directory(const char *variable, const char *fallback, char **ret) {
        _cleanup_free_ char *home = NULL;
        const char *e = secure_getenv(variable);
        int r;

        if (e && *e == '/')
                *ret = str_printf("%s/flowd", e);
        else {
                r = home_directory(&home);
                if (r < 0)
                        return r;
                *ret = str_printf("%s/%s/flowd", home, fallback);
        }
        return *ret ? 0 : -ENOMEM;
}

static int runtime_directory(char **ret) {
        const char *e = secure_getenv("XDG_RUNTIME_DIR");

        *ret = e && *e == '/' ? str_printf("%s/flowd", e) : str_printf("/run/user/%u/flowd", getuid());
        return *ret ? 0 : -ENOMEM;
}

static int defaults_system(ConfigPaths *p) {
        int r = strv_append(&p->dirs, PKGLIBDIR);

        if (r == 0)
                r = strv_append(&p->dirs, SYSCONFDIR "/flowd");
        if (r == 0)
                r = strv_append(&p->dirs, RUNSTATEDIR "/flowd");
        if (r < 0)
                return r;
        p->runtime = strdup(RUNSTATEDIR "/flowd");
        p->state = strdup(LOCALSTATEDIR "/lib/flowd");
        return p->runtime && p->state ? 0 : -ENOMEM;
}

static int defaults_user(ConfigPaths *p) {
        _cleanup_free_ char *config = NULL, *volatile_config = NULL;
        int r = runtime_directory(&p->runtime);

        if (r == 0)
                r = xdg_directory("XDG_STATE_HOME", ".local/state", &p->state);
        if (r == 0)
                r = xdg_directory("XDG_CONFIG_HOME", ".config", &config);
        if (r < 0)
                return r;
        volatile_config = str_printf("%s/config", p->runtime);
        if (!volatile_config)
                return -ENOMEM;
        r = strv_append(&p->dirs, PKGLIBDIR "/user");
        if (r == 0)
                r = strv_append(&p->dirs, SYSCONFDIR "/flowd/user");
        if (r == 0)
                r = strv_append(&p->dirs, config);
        if (r == 0)
                r = strv_append(&p->dirs, volatile_config);
        return r;
}

static int path_override(const char *argument, const char *variable, char **path) {
        const char *s = given(argument, variable);
        char *absolute = NULL;
        int r;

        if (!s)
                return 0;
        r = path_absolute(s, &absolute);
        if (r < 0)
                return r;
        free(*path);
        *path = absolute;
        return 0;
}

int config_paths_init(ConfigPaths *ret, RunMode mode, const char *config, const char *runtime, const char *state) {
        _cleanup_(config_paths_done) ConfigPaths p = { .mode = mode };
        _cleanup_free_ char *dir = NULL;
        int r = 0;

        if (mode == RUN_PRIVATE && config_paths_missing(config, runtime, state))
                return -EINVAL;
        if (mode == RUN_SYSTEM)
                r = defaults_system(&p);
        else if (mode == RUN_USER)
                r = defaults_user(&p);
        if (r == 0)
                r = path_override(runtime, "FLOWD_RUNTIME", &p.runtime);
        if (r == 0)
                r = path_override(state, "FLOWD_STATE", &p.state);
        if (r == 0)
                r = path_override(config, "FLOWD_CONFIG", &dir);
        if (r < 0)
                return r;
        if (dir) {
                strv_free(p.dirs);
                p.dirs = NULL;
                r = strv_append(&p.dirs, dir);
                if (r < 0)
                        return r;
        }
        if (strlen(p.runtime) + strlen(LONGEST_SOCKET) >= sizeof(((struct sockaddr_un *) NULL)->sun_path))
                return -ENAMETOOLONG;
        *ret = p;
        p = (ConfigPaths) {};
        return 0;
}

void config_paths_done(ConfigPaths *p) {
        strv_free(p->dirs);
        free(p->runtime);
        free(p->state);
        *p = (ConfigPaths) {};
}
