/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * cgroups. Only a subtree that was handed to us is touched: systemd marks a delegated cgroup by an extended attribute, and without the mark
 * there are no worker cgroups, whatever root may be able to do. v2 wants processes in leaves only, so flowd moves to "supervisor" before
 * it enables controllers for its siblings; that must be done before READY=1, because systemd puts ExecReload= processes beside us.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "basic/fd.h"
#include "worker/cgroup.h"

#define CGROUP_FILE_MAX (64U * 1024U)
#define CGROUP_LEAF "supervisor"
#define CGROUP_MOVES_MAX 64 /* rounds of moving what else is in the cgroup, such as our log thread's siblings */

static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };

/* The path of our own v2 cgroup, as /proc/self/cgroup tells it. */
static int own_path(char **ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = file_read(AT_FDCWD, "/proc/self/cgroup", CGROUP_FILE_MAX, &text, NULL);
        if (r < 0)
                return r;
        for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (strncmp(line, "0::", 3) != 0)
                        continue;
                char *p = strdup(line + 3);
                if (!p)
                        return -ENOMEM;
                *ret = p;
                return 0;
        }
        return -ENOENT;
}

/* A user's manager sets no attributes. What it starts has a cgroup of its own, though, which belongs to the user; whoever is not what it
 * started, such as a flowd in a terminal, shares one with processes that must not be moved. */
static bool is_service_of_user(const char *path) {
        const char *e = secure_getenv("SYSTEMD_EXEC_PID");
        struct stat st;
        uint64_t pid;

        return geteuid() != 0 && e && u64_parse(e, 1, INT_MAX, &pid) >= 0 && (pid_t) pid == getpid() && stat(path, &st) == 0 &&
               st.st_uid == geteuid();
}

static bool is_delegated(const char *path) {
        char v[8];

        for (size_t i = 0; i < 2; i++) {
                ssize_t n = getxattr(path, i == 0 ? "trusted.delegate" : "user.delegate", v, sizeof(v));
                if (n == 1 && v[0] == '1')
                        return true;
        }
        return is_service_of_user(path);
}

/* Opens our delegated cgroup on whichever mount v2 is. */
static int open_own(char **ret_path) {
        _cleanup_free_ char *own = NULL;
        int r;

        r = own_path(&own);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(mounts); i++) {
                _cleanup_free_ char *path = str_printf("%s%s", mounts[i], own);
                _cleanup_free_ char *probe = str_printf("%s/cgroup.controllers", path);

                if (!path || !probe)
                        return -ENOMEM;
                if (access(probe, F_OK) < 0 || !is_delegated(path))
                        continue;
                int fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        return -errno;
                *ret_path = TAKE_PTR(path);
                return fd;
        }
        return -ENOENT;
}

static int enable_controllers(CgroupRoot *c) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = file_read(c->fd, "cgroup.controllers", CGROUP_FILE_MAX, &text, NULL);
        if (r < 0)
                return r;
        for (char *save, *name = strtok_r(text, " \n", &save); name; name = strtok_r(NULL, " \n", &save)) {
                bool *have = streq(name, "memory") ? &c->memory : streq(name, "pids") ? &c->pids : streq(name, "cpu") ? &c->cpu : NULL;
                char buf[32];

                if (!have)
                        continue;
                snprintf(buf, sizeof(buf), "+%s", name);
                *have = file_write(c->fd, "cgroup.subtree_control", buf) >= 0;
        }
        return 0;
}

/* Moves every process of the cgroup (ourselves, and perhaps an ExecStartPre= straggler) to the leaf. */
static int move_to_leaf(CgroupRoot *c) {
        if (mkdirat(c->fd, CGROUP_LEAF, 0755) < 0 && errno != EEXIST)
                return -errno;
        for (unsigned i = 0; i < CGROUP_MOVES_MAX; i++) {
                _cleanup_free_ char *text = NULL;
                int r = file_read(c->fd, "cgroup.procs", CGROUP_FILE_MAX, &text, NULL);

                if (r < 0)
                        return r;
                char *save, *pid = strtok_r(text, "\n", &save);
                if (!pid)
                        return 0;
                for (; pid; pid = strtok_r(NULL, "\n", &save)) {
                        r = file_write(c->fd, CGROUP_LEAF "/cgroup.procs", pid);
                        if (r < 0 && r != -ESRCH)
                                return r;
                }
        }
        return -EBUSY;
}

int cgroup_root_init(CgroupRoot *ret) {
        CgroupRoot c = { .fd = -1 };
        int r;

        *ret = c;
        c.fd = open_own(&c.path);
        if (c.fd == -ENOENT)
                return 0;
        if (c.fd < 0)
                return c.fd;
        r = move_to_leaf(&c);
        if (r >= 0)
                r = enable_controllers(&c);
        if (r < 0) {
                cgroup_root_done(&c);
                return r;
        }
        *ret = c;
        return 1;
}

int cgroup_root_resume(CgroupRoot *ret, const char *path) {
        CgroupRoot c = { .path = strdup(path) };

        if (!c.path)
                return -ENOMEM;
        c.fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        if (c.fd < 0) {
                free(c.path);
                return -errno;
        }
        (void) enable_controllers(&c);
        *ret = c;
        return 0;
}

void cgroup_root_done(CgroupRoot *c) {
        c->fd = fd_close(c->fd);
        free(c->path);
        c->path = NULL;
}

static int write_limit(int fd, const char *file, uint64_t v) {
        char buf[32];

        snprintf(buf, sizeof(buf), "%llu", (unsigned long long) v);
        return file_write(fd, file, buf);
}

int cgroup_worker_new(const CgroupRoot *c, const char *name, const WorkerType *type) {
        _cleanup_close_ int fd = -1;
        int r = 0;

        if (mkdirat(c->fd, name, 0755) < 0 && errno != EEXIST)
                return -errno;
        fd = openat(c->fd, name, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (c->memory && type->memory_max != UINT64_MAX) {
                r = write_limit(fd, "memory.max", type->memory_max);
                if (r >= 0)
                        r = file_write(fd, "memory.oom.group", "1");
        }
        if (r >= 0 && c->memory && type->memory_swap_max != UINT64_MAX) {
                r = write_limit(fd, "memory.swap.max", type->memory_swap_max);
                if (r == -ENOENT) /* a kernel without swap: there is nothing to limit */
                        r = 0;
        }
        if (r >= 0 && c->pids && type->tasks_max != UINT64_MAX)
                r = write_limit(fd, "pids.max", type->tasks_max);
        if (r >= 0 && c->cpu && type->cpu_weight > 0)
                r = write_limit(fd, "cpu.weight", type->cpu_weight);
        return r < 0 ? r : TAKE_FD(fd);
}

int cgroup_kill(int fd) {
        return file_write(fd, "cgroup.kill", "1");
}

static int read_counter(int fd, const char *file, const char *key, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = file_read(fd, file, CGROUP_FILE_MAX, &text, NULL);
        if (r < 0)
                return r;
        for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                size_t l = strlen(key);
                if (strncmp(line, key, l) == 0 && line[l] == ' ')
                        return u64_parse(line + l + 1, 0, UINT64_MAX, ret);
        }
        return -ENOENT;
}

int cgroup_populated(int fd) {
        uint64_t v;
        int r = read_counter(fd, "cgroup.events", "populated", &v);

        return r < 0 ? r : v > 0;
}

int cgroup_worker_remove(const CgroupRoot *c, const char *name) {
        return unlinkat(c->fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

CgroupOom cgroup_oom(int fd) {
        uint64_t kills, limits;

        /* the kernel counts a kill where the victim was, and "oom" where the limit is that was hit */
        if (fd < 0 || read_counter(fd, "memory.events", "oom_kill", &kills) < 0 || kills == 0)
                return CGROUP_OOM_NONE;
        return read_counter(fd, "memory.events", "oom", &limits) >= 0 && limits > 0 ? CGROUP_OOM_OWN : CGROUP_OOM_OUTER;
}
