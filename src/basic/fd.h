/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Descriptors: closing, memfds, sockets, passing over sockets. Everything is O_CLOEXEC. */

#include <sys/types.h>

#include "basic/macro.h"

/* Closes a descriptor unless it is negative; errno is kept. Returns -1, to be assigned. */
int fd_close(int fd);

static inline void fd_closep(int *fd) {
        *fd = fd_close(*fd);
}
#define _cleanup_close_ _cleanup_(fd_closep)

int fd_set_nonblock(int fd, bool b);
int fd_set_cloexec(int fd, bool b);

/* A connected pair of stream sockets; ret[0] is nonblocking (ours), ret[1] blocks (the worker's). Returns 0 or -errno. */
int fd_socketpair(int ret[2]);
/* The same with two pipes' ends: ret_ours nonblocking, ret_theirs blocking; `write_end` says which end is ours. */
int fd_pipe(bool write_end, int *ret_ours, int *ret_theirs);

/* A sealed memfd that holds `size` bytes of `data`. Returns the descriptor or -errno. */
int memfd_new_sealed(const char *name, const void *data, size_t size);
/* Seals a memfd against everything: F_SEAL_SEAL, SHRINK, GROW, WRITE. */
int memfd_seal(int fd);
/* Checks that `fd` is a memfd sealed against shrinking, growing and writing, of at most `max` bytes.
 * Returns 0 with its size, -EPERM where unsealed or no memfd, -EMSGSIZE where too large. */
int memfd_check(int fd, uint64_t max, uint64_t *ret_size);
/* Maps a memfd read-only; NULL for 0 bytes. Returns 0 or -errno. */
int memfd_map(int fd, size_t size, void **ret);

/* recvmsg() that also takes up to `max_fds` descriptors into `fds`; *ret_n_fds says how many came. Descriptors above the limit
 * are closed and the call fails with -E2BIG (MSG_CTRUNC). Returns bytes, 0 at the end of the stream, or -errno. */
ssize_t fd_recv(int fd, void *buf, size_t size, int *fds, size_t max_fds, size_t *ret_n_fds);
/* Sends bytes with at most one descriptor (-1: none). Returns bytes or -errno; never raises SIGPIPE. */
struct iovec;
ssize_t fd_send(int fd, const struct iovec *iov, size_t n_iov, int pass_fd);

/* A listening unix stream socket at `path` with `mode`, replacing a dead one (-EADDRINUSE where somebody answers there). */
int fd_listen_unix(const char *path, mode_t mode);
/* Connects to a unix stream socket; blocking. Returns the descriptor or -errno (-ENAMETOOLONG above 107 bytes). */
int fd_connect_unix(const char *path);

/* Writes all of `data` to a blocking descriptor. */
int fd_write_all(int fd, const void *data, size_t size);
/* Reads a small file whole, at most `max` bytes, NUL-terminated. */
int file_read(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size);
/* Writes `text` to an existing file (as cgroup attributes want it): one write. */
int file_write(int dir_fd, const char *path, const char *text);
/* Replaces a file atomically: written beside it, synced, renamed. */
int file_write_atomic(const char *path, const void *data, size_t size, mode_t mode);
/* Syncs a folder, so that what was made, renamed or removed in it is so after a power cut. */
int dir_sync(const char *path);
/* mkdir -p; existing folders are left as they are. */
int dir_make(const char *path, mode_t mode);
/* Number of open descriptors of this process, or -errno. */
int fd_count(void);
