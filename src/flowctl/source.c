/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Payloads are read only when there is room for a job, so memory does not grow with the input, and a pipe that is slow holds up
 * nothing: before a read that may block, the caller is sent to poll(). Small files are read into memory; large ones are copied
 * into a sealed memfd once, which is then passed on to the worker without anybody copying it again.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "flowctl/source.h"

#define READ_SIZE (256U * 1024U)
#define MEMFD_FROM (128U * 1024U) /* files from this size on become a memfd: as the protocol does it */

void source_init(Source *s, SourceKind kind, char separator, char **args, int n_args) {
        struct stat st;

        *s = (Source) { .kind = kind, .separator = separator, .args = args, .n_args = n_args, .fd = -1, .cancel_fd = -1 };
        for (int i = 0; kind == SOURCE_LINES && i < MAX(n_args, 1); i++) {
                bool standard = n_args == 0 || streq(args[i], "-");

                if ((standard ? fstat(STDIN_FILENO, &st) : stat(args[i], &st)) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
                        s->bytes_total = 0;
                        break;
                }
                s->bytes_total += (uint64_t) st.st_size;
        }
}

void source_done(Source *s) {
        if (s->fd > STDIN_FILENO)
                fd_close(s->fd);
        free(s->buf);
        free(s->file_buf);
        *s = (Source) { .fd = -1 };
}

uint64_t source_estimate(const Source *s) {
        switch (s->kind) {
        case SOURCE_ARGUMENTS:
        case SOURCE_FILES:
                return (uint64_t) s->n_args;
        default: {
                uint64_t used = s->bytes_read - (s->end - s->start);

                if (s->eof && s->fd < 0)
                        return s->n;
                return used > 0 && s->bytes_total > used ? (uint64_t) ((double) s->n * (double) s->bytes_total / (double) used)
                                                         : 0;
        }
        }
}

/* Reads, unless that is given up meanwhile. Returns bytes or -errno. */
static ssize_t source_read(const Source *s, int fd, void *buf, size_t size) {
        struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = s->cancel_fd, .events = POLLIN } };

        for (;;) {
                if (poll(p, ELEMENTSOF(p), -1) < 0 && errno != EINTR)
                        return -errno;
                if (p[1].revents)
                        return -ECANCELED;
                ssize_t n = read(fd, buf, size);
                if (n >= 0 || (errno != EINTR && errno != EAGAIN))
                        return n < 0 ? -errno : n;
        }
}

/* Moves what `fd` holds, after `used` bytes of `buf`, into a sealed memfd. */
static int spill(const Source *s, int fd, const char *buf, size_t used, Record *ret) {
        _cleanup_close_ int memfd = memfd_create("flowctl-payload", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        _cleanup_free_ char *chunk = malloc(READ_SIZE);
        size_t total = used;
        int r;

        if (memfd < 0)
                return -errno;
        if (!chunk)
                return -ENOMEM;
        r = fd_write_all(memfd, buf, used);
        if (r < 0)
                return r;
        for (;;) {
                ssize_t n = source_read(s, fd, chunk, READ_SIZE);

                if (n < 0)
                        return (int) n;
                if (n == 0)
                        break;
                total += (size_t) n;
                if (total > SOURCE_PAYLOAD_MAX)
                        return -EMSGSIZE;
                r = fd_write_all(memfd, chunk, (size_t) n);
                if (r < 0)
                        return r;
        }
        r = memfd_seal(memfd);
        if (r < 0)
                return r;
        if (lseek(memfd, 0, SEEK_SET) < 0)
                return -errno;
        ret->fd = TAKE_FD(memfd);
        ret->size = total;
        return 0;
}

int source_read_file(Source *s, const char *path, Record *ret) {
        _cleanup_close_ int opened = -1;
        bool standard = streq(path, "-");
        int fd = STDIN_FILENO;
        size_t used = 0;

        if (!s->file_buf && !(s->file_buf = malloc(MEMFD_FROM)))
                return -ENOMEM;
        if (!standard) {
                fd = opened = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
                if (fd < 0)
                        return -errno;
        }
        while (used < MEMFD_FROM) {
                ssize_t n = source_read(s, fd, s->file_buf + used, MEMFD_FROM - used);

                if (n < 0)
                        return (int) n;
                if (n == 0) {
                        ret->data = s->file_buf;
                        ret->size = used;
                        ret->fd = -1;
                        return 0;
                }
                used += (size_t) n;
        }
        return spill(s, fd, s->file_buf, used, ret);
}

/* Opens the next file of records. Returns 1, 0 when there is none, -errno. */
static int source_open_next(Source *s) {
        struct stat st;
        int n = s->n_args == 0 && s->kind == SOURCE_LINES ? 1 : s->n_args;

        if (s->fd > STDIN_FILENO)
                fd_close(s->fd);
        s->fd = -1;
        if (s->at >= n)
                return 0;
        s->name = s->n_args == 0 ? "-" : s->args[s->at];
        s->at++;
        if (streq(s->name, "-")) {
                s->name = "standard input";
                s->fd = STDIN_FILENO;
        } else {
                s->fd = open(s->name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
                if (s->fd < 0)
                        return -errno;
        }
        s->regular = fstat(s->fd, &st) == 0 && S_ISREG(st.st_mode);
        s->eof = false;
        return 1;
}

/* Reads more of the current file. Returns 0, -EAGAIN, -errno; sets s->eof at its end. */
static int source_fill(Source *s) {
        struct pollfd p = { .fd = s->fd, .events = POLLIN };

        if (!s->regular && poll(&p, 1, 0) == 0)
                return -EAGAIN;
        if (s->start > 0 && (s->start == s->end || s->size - s->end < READ_SIZE)) {
                memmove(s->buf, s->buf + s->start, s->end - s->start);
                s->scanned -= s->start;
                s->end -= s->start;
                s->start = 0;
        }
        if (s->end - s->start > SOURCE_PAYLOAD_MAX)
                return -EMSGSIZE;
        if (s->size - s->end < READ_SIZE) {
                size_t size = MAX(s->size * 2, (size_t) 2 * READ_SIZE);
                char *bigger = realloc(s->buf, size);

                if (!bigger)
                        return -ENOMEM;
                s->buf = bigger;
                s->size = size;
        }
        ssize_t n = read(s->fd, s->buf + s->end, READ_SIZE);
        if (n < 0)
                return errno == EINTR ? -EAGAIN : -errno;
        if (n == 0)
                s->eof = true;
        s->end += (size_t) n;
        s->bytes_read += (uint64_t) n;
        return 0;
}

/* The next record of the files, NUL-terminated in place where a separator stood. Returns as source_next(). */
static int source_record(Source *s, char **ret, size_t *ret_size) {
        int r;

        for (;;) {
                char *end = s->end > s->scanned ? memchr(s->buf + s->scanned, s->separator, s->end - s->scanned) : NULL;

                if (!end && s->fd >= 0 && s->eof && s->end > s->start) { /* the last one lacks its separator */
                        s->end++;                                          /* there is room: the last read left some */
                        end = s->buf + s->end - 1;
                        s->bytes_read++;
                }
                if (end) {
                        *end = 0;
                        *ret = s->buf + s->start;
                        *ret_size = (size_t) (end - *ret);
                        s->start = s->scanned = (size_t) (end - s->buf) + 1;
                        return *ret_size > SOURCE_PAYLOAD_MAX ? -EMSGSIZE : 1;
                }
                s->scanned = s->end;
                if (s->fd < 0 || s->eof)
                        r = source_open_next(s);
                else
                        r = source_fill(s) ?: 1;
                if (r <= 0)
                        return r;
        }
}

static int source_file(Source *s, const char *path, Record *ret) {
        ret->name = path;
        ret->error = source_read_file(s, path, ret);
        return 1;
}

int source_next(Source *s, Record *ret) {
        Record record = { .fd = -1, .number = s->n + 1 };
        char *text = NULL;
        size_t size;
        int r = 1;

        switch (s->kind) {

        case SOURCE_ARGUMENTS:
        case SOURCE_FILES:
                if (s->at >= s->n_args)
                        return 0;
                text = s->args[s->at++];
                if (s->kind == SOURCE_FILES)
                        r = source_file(s, text, &record);
                else {
                        record.data = text;
                        record.size = strlen(text);
                }
                break;

        case SOURCE_LINES:
        case SOURCE_FILES_FROM:
                r = source_record(s, &text, &size);
                if (r <= 0)
                        return r;
                if (s->kind == SOURCE_FILES_FROM && size == 0)
                        return source_next(s, ret); /* an empty line in a list of names names nothing */
                if (s->kind == SOURCE_FILES_FROM)
                        r = source_file(s, text, &record);
                else {
                        record.data = text;
                        record.size = size;
                }
                break;
        }
        s->n++;
        *ret = record;
        return r;
}
