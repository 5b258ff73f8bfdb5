/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Descriptors. Two traps live here. A stream socket may hand over a message's descriptors together with bytes that were sent
 * before it, so whoever reads keeps a queue of descriptors and lets the frame header say how many it owns. And a listening
 * socket's path outlives its owner: it is taken over only when nobody answers on it.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "basic/fd.h"

#define LISTEN_BACKLOG 512
#define RECV_FDS_MAX 64

int fd_close(int fd) {
        if (fd >= 0) {
                int saved = errno;

                (void) close(fd); /* on Linux the descriptor is gone, whatever close() says */
                errno = saved;
        }
        return -1;
}

static int fd_set_flag(int fd, int get, int set, int flag, bool b) {
        int flags = fcntl(fd, get);

        if (flags < 0)
                return -errno;
        int wanted = b ? flags | flag : flags & ~flag;
        if (wanted == flags)
                return 0;
        return fcntl(fd, set, wanted) < 0 ? -errno : 0;
}

int fd_set_nonblock(int fd, bool b) {
        return fd_set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, b);
}

int fd_set_cloexec(int fd, bool b) {
        return fd_set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, b);
}

int fd_socketpair(int ret[2]) {
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        r = fd_set_nonblock(pair[0], true);
        if (r < 0) {
                fd_close(pair[0]);
                fd_close(pair[1]);
                return r;
        }
        ret[0] = pair[0];
        ret[1] = pair[1];
        return 0;
}

int fd_pipe(bool write_end, int *ret_ours, int *ret_theirs) {
        int p[2], r;

        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        r = fd_set_nonblock(p[write_end], true);
        if (r < 0) {
                fd_close(p[0]);
                fd_close(p[1]);
                return r;
        }
        *ret_ours = p[write_end];
        *ret_theirs = p[!write_end];
        return 0;
}

int memfd_seal(int fd) {
        return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0 ? -errno : 0;
}

int memfd_new_sealed(const char *name, const void *data, size_t size) {
        _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return -errno;
        r = fd_write_all(fd, data, size);
        if (r < 0)
                return r;
        r = memfd_seal(fd);
        if (r < 0)
                return r;
        return TAKE_FD(fd);
}

int memfd_check(int fd, uint64_t max, uint64_t *ret_size) {
        int need = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
        struct stat st;

        int seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0 || (seals & need) != need)
                return -EPERM;
        if (fstat(fd, &st) < 0)
                return -errno;
        if ((uint64_t) st.st_size > max)
                return -EMSGSIZE;
        *ret_size = (uint64_t) st.st_size;
        return 0;
}

int memfd_map(int fd, size_t size, void **ret) {
        void *p = NULL;

        if (size > 0) {
                p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
                if (p == MAP_FAILED)
                        return -errno;
        }
        *ret = p;
        return 0;
}

ssize_t fd_recv(int fd, void *buf, size_t size, int *fds, size_t max_fds, size_t *ret_n_fds) {
        union {
                char buf[CMSG_SPACE(sizeof(int) * RECV_FDS_MAX)];
                struct cmsghdr align;
        } control;
        struct iovec iov = { .iov_base = buf, .iov_len = size };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf) };
        size_t n_fds = 0;
        bool excess = false;
        ssize_t n;

        n = recvmsg(fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n < 0)
                return -errno;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < k; i++) {
                        int f;

                        memcpy(&f, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (n_fds < max_fds)
                                fds[n_fds++] = f;
                        else {
                                fd_close(f);
                                excess = true;
                        }
                }
        }
        if (excess || (mh.msg_flags & MSG_CTRUNC)) {
                while (n_fds > 0)
                        fd_close(fds[--n_fds]);
                return -E2BIG;
        }
        *ret_n_fds = n_fds;
        return n;
}

ssize_t fd_send(int fd, const struct iovec *iov, size_t n_iov, int pass_fd) {
        union {
                char buf[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control;
        struct msghdr mh = { .msg_iov = (struct iovec *) iov, .msg_iovlen = n_iov };

        if (pass_fd >= 0) {
                memset(&control, 0, sizeof(control));
                mh.msg_control = control.buf;
                mh.msg_controllen = sizeof(control.buf);
                struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
        }
        ssize_t n = sendmsg(fd, &mh, MSG_NOSIGNAL);
        return n < 0 ? -errno : n;
}

static int unix_address(const char *path, struct sockaddr_un *ret) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        if (strlen(path) >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        strcpy(sa.sun_path, path);
        *ret = sa;
        return 0;
}

int fd_connect_unix(const char *path) {
        _cleanup_close_ int fd = -1;
        struct sockaddr_un sa;
        int r;

        r = unix_address(path, &sa);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        while (connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                if (errno != EINTR)
                        return -errno;
        return TAKE_FD(fd);
}

int fd_listen_unix(const char *path, mode_t mode) {
        _cleanup_close_ int fd = -1;
        struct sockaddr_un sa;
        int r;

        r = unix_address(path, &sa);
        if (r < 0)
                return r;

        _cleanup_close_ int other = fd_connect_unix(path);
        if (other >= 0 || other == -EAGAIN)
                return -EADDRINUSE;
        if (other == -ECONNREFUSED && unlink(path) < 0 && errno != ENOENT)
                return -errno;

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        mode_t saved = umask(0777 & ~mode);
        r = bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 ? -errno : 0;
        umask(saved);
        if (r < 0)
                return r;
        if (listen(fd, LISTEN_BACKLOG) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int fd_write_all(int fd, const void *data, size_t size) {
        const char *p = data;

        while (size > 0) {
                ssize_t n = write(fd, p, size);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                p += n;
                size -= (size_t) n;
        }
        return 0;
}

int file_read(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        _cleanup_free_ char *buf = NULL;
        size_t size = 0, room = 0;

        if (fd < 0)
                return -errno;
        for (;;) {
                if (room - size < 2) {
                        size_t want = MIN(MAX(room * 2, (size_t) 4096), max + 2);
                        if (want <= room)
                                return -EFBIG;
                        char *p = realloc(buf, want);
                        if (!p)
                                return -ENOMEM;
                        buf = p;
                        room = want;
                }
                ssize_t n = read(fd, buf + size, room - size - 1);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        break;
                size += (size_t) n;
                if (size > max)
                        return -EFBIG;
        }
        buf[size] = 0;
        *ret = TAKE_PTR(buf);
        if (ret_size)
                *ret_size = size;
        return 0;
}

int file_write(int dir_fd, const char *path, const char *text) {
        _cleanup_close_ int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

        if (fd < 0)
                return -errno;
        ssize_t n = write(fd, text, strlen(text));
        return n < 0 ? -errno : (size_t) n == strlen(text) ? 0 : -EIO;
}

int file_write_atomic(const char *path, const void *data, size_t size, mode_t mode) {
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *temp = NULL;
        int r;

        if (asprintf(&temp, "%s.XXXXXX", path) < 0) {
                temp = NULL;
                return -ENOMEM;
        }
        fd = mkostemp(temp, O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = fd_write_all(fd, data, size);
        if (r >= 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0 || rename(temp, path) < 0))
                r = -errno;
        if (r < 0)
                (void) unlink(temp);
        return r;
}

int dir_sync(const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

int dir_make(const char *path, mode_t mode) {
        _cleanup_free_ char *p = strdup(path);

        if (!p)
                return -ENOMEM;
        for (char *s = p + 1; *s; s++) {
                if (*s != '/')
                        continue;
                *s = 0;
                if (mkdir(p, mode) < 0 && errno != EEXIST)
                        return -errno;
                *s = '/';
        }
        if (mkdir(p, mode) < 0 && errno != EEXIST)
                return -errno;
        return 0;
}

int fd_count(void) {
        DIR *d = opendir("/proc/self/fd");
        int n = -3; /* ".", "..", and the descriptor of the folder itself */

        if (!d)
                return -errno;
        while (readdir(d))
                n++;
        closedir(d);
        return n;
}
