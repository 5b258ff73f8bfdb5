/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The zoo: a frame worker that misbehaves on demand. What it does at start is said by its arguments, what it does with a job by
 * the job's method, "VERB" or "VERB:NUMBER"; so one pool can meet every animal. It is written against the wire (src/proto/frame.h)
 * and not against libflow, which would not let it do most of this.
 *
 *      zoo [--slots=N] [--start=exit|mute|garbage|close|sleep] [--code=N] [--once=FILE] [--deaf] [--silent] [--no-memfd]
 *
 * --once=FILE: --start= happens only while FILE is not there; it is then created. --deaf reads nothing after its HELLO. --silent
 * sends no heartbeats. Jobs that take time (sleep, gate) are timed by poll(), so that several slots need no threads.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/frame.h"

#define SLOTS_MAX 256U
#define META_ROOM 4096U
#define LATE_USEC 300000ULL /* how long a late result waits after its cancellation */
#define GATE_USEC 10000ULL  /* how often is looked whether a gate is open */

typedef struct Task {
        bool used;
        bool deaf;          /* ignores its cancellation */
        bool late;          /* answers "completed" some time after its cancellation */
        bool cancelled;
        bool gate;          /* ends when the file that the payload names is there */
        uint64_t job, due;  /* due: µs, UINT64_MAX never */
        uint32_t attempt;
        uint8_t kind;
        uint8_t *payload;
        size_t size;
} Task;

static Task tasks[SLOTS_MAX];
static unsigned slots = 1, served;
static bool deaf, silent, no_memfd, flowd_memfd;
static uint64_t heartbeat;

static uint64_t now(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000ULL + (uint64_t) t.tv_nsec / 1000ULL;
}

static void die(const char *what) {
        fprintf(stderr, "zoo: %s: %s\n", what, strerror(errno));
        _exit(111);
}

static void put_all(const void *data, size_t size) {
        const uint8_t *p = data;

        while (size > 0) {
                ssize_t n = write(STDOUT_FILENO, p, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        die("write");
                p += n;
                size -= (size_t) n;
        }
}

static void put_memfd(const void *head, size_t size, int fd) {
        union {
                struct cmsghdr h;
                char room[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct iovec iov = { .iov_base = (void *) head, .iov_len = size };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));

        ssize_t n = sendmsg(STDOUT_FILENO, &m, 0);

        if (n < 0)
                die("sendmsg");
        put_all((const uint8_t *) head + n, size - (size_t) n);
}

static int make_memfd(const void *data, size_t size) {
        int fd = memfd_create("zoo", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0)
                die("memfd_create");
        for (size_t at = 0; at < size;) {
                ssize_t n = write(fd, (const uint8_t *) data + at, size - at);

                if (n < 0)
                        die("write to memfd");
                at += (size_t) n;
        }
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                die("F_ADD_SEALS");
        return fd;
}

static void put_simple(FrameType type) {
        uint8_t buf[META_ROOM];
        FrameWriter w;
        FrameHeader h = { .type = type };

        frame_writer_begin(&w, buf, sizeof(buf));
        if (type == FRAME_HELLO) {
                frame_put_u32(&w, FRAME_META_VERSION, FRAME_VERSION);
                frame_put_u32(&w, FRAME_META_FEATURES, no_memfd ? 0 : FRAME_FEATURE_MEMFD);
                frame_put_u32(&w, FRAME_META_FRAME_MAX, FRAME_BODY_MAX);
                frame_put_u32(&w, FRAME_META_SLOTS, slots);
        }
        put_all(buf, (size_t) frame_writer_end(&w, &h, 0));
}

/* `cut`: bytes of the frame that are sent, the rest stays away; 0 for all. */
static void put_result(uint64_t job, uint32_t attempt, FrameStatus status, uint8_t kind, const char *error, bool retry,
                       const void *payload, size_t size, bool as_memfd, size_t cut) {
        uint8_t buf[META_ROOM];
        FrameWriter w;
        FrameHeader h = { .type = FRAME_RESULT, .attempt = attempt, .job = job };

        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_u8(&w, FRAME_META_STATUS, (uint8_t) status);
        frame_put_u8(&w, FRAME_META_KIND, kind);
        frame_put_text(&w, FRAME_META_ERROR, error);
        if (retry)
                frame_put_u8(&w, FRAME_META_RETRY, 1);
        if (as_memfd) {
                h.flags = FRAME_MEMFD;
                h.fds = 1;
                frame_put_u64(&w, FRAME_META_SIZE, size);

                ssize_t n = frame_writer_end(&w, &h, 0);
                int fd = make_memfd(payload, size);

                put_memfd(buf, (size_t) n, fd);
                close(fd);
                return;
        }

        size_t n = (size_t) frame_writer_end(&w, &h, size);

        if (cut == 0 && size > 0 && size <= sizeof(buf) - n) { /* one write: a descendant may be writing, too */
                memcpy(buf + n, payload, size);
                put_all(buf, n + size);
                return;
        }
        put_all(buf, cut > 0 && cut < n ? cut : n);
        if (cut == 0)
                put_all(payload, size);
        else if (cut > n)
                put_all(payload, cut - n < size ? cut - n : size);
}

static void put_text(FrameType type, uint64_t job, uint32_t attempt, const char *text, uint32_t number) {
        uint8_t buf[META_ROOM];
        FrameWriter w;
        FrameHeader h = { .type = type, .attempt = attempt, .job = job };

        frame_writer_begin(&w, buf, sizeof(buf));
        if (type == FRAME_PROGRESS)
                frame_put_u32(&w, FRAME_META_FRACTION, number);
        else
                frame_put_u8(&w, FRAME_META_LEVEL, (uint8_t) number);
        put_all(buf, (size_t) frame_writer_end(&w, &h, strlen(text)));
        put_all(text, strlen(text));
}

static bool large(size_t size) {
        return !no_memfd && flowd_memfd && size >= FRAME_MEMFD_MIN;
}

static void answer(Task *t, FrameStatus status, const void *payload, size_t size) {
        put_result(t->job, t->attempt, status, t->kind, status == FRAME_COMPLETED ? NULL : "zoo: not done", false, payload, size,
                   large(size), 0);
}

static void answer_text(Task *t, const char *text) {
        put_result(t->job, t->attempt, FRAME_COMPLETED, PAYLOAD_TEXT, NULL, false, text, strlen(text), false, 0);
}

static void task_end(Task *t) {
        free(t->payload);
        *t = (Task) { 0 };
        served++;
}

/* A descendant that only a supervisor can end; with `flood` it writes good frames for ever. Returns its pid. */
static pid_t grandchild(bool far, bool flood) {
        int p[2];
        pid_t pid;

        if (pipe2(p, O_CLOEXEC) < 0)
                die("pipe2");
        pid = fork();
        if (pid < 0)
                die("fork");
        if (pid == 0) {
                if (far) {
                        setsid();
                        pid = fork();
                        if (pid != 0)
                                _exit(0);
                        setsid();
                }
                signal(SIGTERM, SIG_IGN);
                signal(SIGHUP, SIG_IGN);
                signal(SIGINT, SIG_IGN);
                pid = getpid();
                if (write(p[1], &pid, sizeof(pid)) != sizeof(pid))
                        _exit(1);
                for (int fd = 0; fd < 64; fd++)
                        if (fd != STDIN_FILENO && fd != STDOUT_FILENO && fd != STDERR_FILENO) /* it keeps the stdio, as real ones do */
                                close(fd);
                while (flood)
                        put_simple(FRAME_PONG);
                for (;;)
                        pause();
        }
        close(p[1]);
        if (read(p[0], &pid, sizeof(pid)) != sizeof(pid))
                die("read");
        close(p[0]);
        return pid;
}

static void environment(Task *t) {
        size_t size = 0, at = 0;
        char *text;

        for (char **e = environ; *e; e++)
                size += strlen(*e) + 1;
        text = malloc(size + 1);
        if (!text)
                die("malloc");
        for (char **e = environ; *e; e++)
                at += (size_t) sprintf(text + at, "%s\n", *e);
        answer_text(t, text);
        free(text);
}

static void never(void) {
        for (;;)
                pause();
}

static void ignore_signals(void) {
        signal(SIGTERM, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
}

/* Animals that end or stop the worker. Returns true where the verb is one of them. */
static bool run_fatal(Task *t, const char *verb, uint64_t n) {
        if (!strcmp(verb, "exit")) /* no answer */
                _exit((int) n);
        if (!strcmp(verb, "crash")) {
                signal(SIGABRT, SIG_DFL);
                fprintf(stderr, "zoo: about to crash\n");
                raise(n ? (int) n : SIGKILL);
        }
        if (!strcmp(verb, "once")) { /* the first attempt kills its worker, the next one does the job */
                if (t->attempt <= 1)
                        raise(SIGKILL);
                answer(t, FRAME_COMPLETED, t->payload, t->size);
                task_end(t);
                return true;
        }
        if (!strcmp(verb, "midframe") || (!strcmp(verb, "midframe-once") && t->attempt <= 1)) {
                put_result(t->job, t->attempt, FRAME_COMPLETED, t->kind, NULL, false, t->payload, t->size, false, n ? n : 30);
                _exit(0);
        }
        if (!strcmp(verb, "midframe-once")) {
                answer(t, FRAME_COMPLETED, t->payload, t->size);
                task_end(t);
                return true;
        }
        if (!strcmp(verb, "answer-exit")) { /* the result is still in the socket when the exit is seen */
                answer(t, FRAME_COMPLETED, t->payload, t->size);
                _exit((int) n);
        }
        if (!strcmp(verb, "hang"))
                never();
        if (!strcmp(verb, "stubborn")) {
                ignore_signals();
                never();
        }
        if (!strcmp(verb, "close")) { /* 0: both, 1: stdin only, 2: stdout only; n is the same for a socket until shutdown() */
                if (n != 2)
                        close(STDIN_FILENO);
                if (n != 1)
                        close(STDOUT_FILENO);
                never();
        }
        if (!strcmp(verb, "half-close")) {
                shutdown(STDOUT_FILENO, SHUT_WR);
                never();
        }
        if (!strcmp(verb, "hang-family")) { /* hangs, and so do its descendants; their pids are in a file named by the payload */
                char path[256] = { 0 };

                memcpy(path, t->payload, t->size < sizeof(path) - 1 ? t->size : sizeof(path) - 1);

                FILE *f = fopen(path, "we");

                if (!f)
                        die(path);
                fprintf(f, "%d %d %d\n", (int) grandchild(false, false), (int) grandchild(true, false), (int) getpid());
                fclose(f);
                ignore_signals();
                never();
        }
        return false;
}

/* Animals that send what they must not. */
static bool run_liar(Task *t, const char *verb, uint64_t n) {
        if (!strcmp(verb, "garbage")) {
                uint8_t junk[4096];

                for (size_t i = 0; i < sizeof(junk); i++)
                        junk[i] = (uint8_t) (i * 131 + 77);
                put_all(junk, n ? n : sizeof(junk));
                never();
        }
        if (!strcmp(verb, "oversized")) { /* announces more than anybody may */
                FrameHeader h = { .type = FRAME_RESULT, .attempt = t->attempt, .job = t->job, .body = n ? (uint32_t) n : 0xfffffff0U };
                uint8_t buf[FRAME_HEADER_SIZE];

                frame_header_encode(&h, buf);
                put_all(buf, sizeof(buf));
                never();
        }
        if (!strcmp(verb, "other-job")) { /* first another's job, then, if anybody still listens, its own */
                put_result(t->job + 1000003, t->attempt, FRAME_COMPLETED, t->kind, NULL, false, "stolen", 6, false, 0);
                answer(t, FRAME_COMPLETED, t->payload, t->size);
        } else if (!strcmp(verb, "other-attempt")) { /* n: the attempt that is told, relative to the right one; 0 is one before */
                put_result(t->job, n ? t->attempt + (uint32_t) n : t->attempt - 1, FRAME_COMPLETED, t->kind, NULL, false, "late", 4, false, 0);
                answer(t, FRAME_COMPLETED, t->payload, t->size);
        } else if (!strcmp(verb, "twice")) {
                answer(t, FRAME_COMPLETED, t->payload, t->size);
                put_result(t->job, t->attempt, FRAME_COMPLETED, t->kind, NULL, false, "twice", 5, false, 0);
        } else if (!strcmp(verb, "bad-text"))
                put_result(t->job, t->attempt, FRAME_COMPLETED, PAYLOAD_TEXT, NULL, false, "\xff\xfe broken", 9, false, 0);
        else if (!strcmp(verb, "unsealed")) {
                no_memfd = false;
                put_result(t->job, t->attempt, FRAME_COMPLETED, t->kind, NULL, false, t->payload, t->size, true, 0);
        } else
                return false;
        task_end(t);
        return true;
}

/* Takes the task on and ends it, unless it takes time. */
static void task_run(Task *t, const char *method) {
        char verb[64] = { 0 };
        const char *colon = strchr(method, ':');
        uint64_t n = colon ? strtoull(colon + 1, NULL, 10) : 0;

        memcpy(verb, method, colon ? (size_t) (colon - method) : strlen(method));
        if (run_fatal(t, verb, n) || run_liar(t, verb, n))
                return;

        t->due = 0;
        if (!strcmp(verb, "sleep") || !strcmp(verb, "sleep-deaf") || !strcmp(verb, "sleep-late")) {
                t->due = n == 0 ? UINT64_MAX : now() + n * 1000;
                t->deaf = strcmp(verb, "sleep-deaf") == 0;
                t->late = strcmp(verb, "sleep-late") == 0;
                return;
        }
        if (!strcmp(verb, "gate")) {
                t->due = UINT64_MAX;
                t->gate = true;
                return;
        }
        if (!strcmp(verb, "block")) /* sleeps without hearing anything, heartbeats included */
                usleep((useconds_t) (n * 1000));
        else if (!strcmp(verb, "inline")) {
                put_result(t->job, t->attempt, FRAME_COMPLETED, t->kind, NULL, false, t->payload, t->size, false, 0);
                task_end(t);
                return;
        } else if (!strcmp(verb, "big")) {
                uint8_t *p = calloc(1, n ? n : 1);

                if (!p)
                        die("calloc");
                answer(t, FRAME_COMPLETED, p, n);
                free(p);
                task_end(t);
                return;
        } else if (!strcmp(verb, "pid") || !strcmp(verb, "child") || !strcmp(verb, "far-child") || !strcmp(verb, "far-flood")) {
                char text[64];

                snprintf(text, sizeof(text), "%d", verb[0] == 'p' ? (int) getpid() : (int) grandchild(verb[0] == 'f', !strcmp(verb, "far-flood")));
                answer_text(t, text);
                task_end(t);
                return;
        } else if (!strcmp(verb, "env")) {
                environment(t);
                task_end(t);
                return;
        } else if (!strcmp(verb, "fail")) {
                put_result(t->job, t->attempt, FRAME_FAILED, PAYLOAD_TEXT, "zoo: cannot do that", n > 0, NULL, 0, false, 0);
                task_end(t);
                return;
        } else if (!strcmp(verb, "flood")) { /* n lines on stderr, then the answer */
                for (uint64_t i = 0; i < n; i++)
                        fprintf(stderr, "zoo: line %llu of a flood that nobody wants to read in full\n", (unsigned long long) i);
        } else if (!strcmp(verb, "flood-line")) { /* one line of n bytes, without its end */
                char piece[4096]; /* stderr has no buffer of its own */

                memset(piece, 'x', sizeof(piece));
                for (size_t k; n > 0; n -= k) {
                        k = n < sizeof(piece) ? n : sizeof(piece);
                        fwrite(piece, 1, k, stderr);
                }
        } else if (!strcmp(verb, "talk")) {
                for (uint64_t i = 1; i <= n; i++) {
                        char text[64];

                        snprintf(text, sizeof(text), "step %llu", (unsigned long long) i);
                        put_text(FRAME_PROGRESS, t->job, t->attempt, text, (uint32_t) (i * 1000000 / n));
                        put_text(FRAME_LOG, t->job, t->attempt, text, 6);
                }
        } else if (!strcmp(verb, "grow")) { /* keeps n MiB for good */
                static uint8_t *volatile kept; /* so that it is no leak */

                kept = malloc(n << 20);
                if (!kept)
                        die("malloc");
                memset((void *) kept, 1, n << 20);
        } else if (!strcmp(verb, "last")) { /* answers, then ends as somebody who has finished */
                answer(t, FRAME_COMPLETED, t->payload, t->size);
                exit((int) n);
        } else if (!strcmp(verb, "quiet"))
                silent = true;
        answer(t, FRAME_COMPLETED, t->payload, t->size);
        task_end(t);
}

/* Reads what a frame says. A descriptor that came with earlier bytes is found in `fd`. */
static void on_frame(const FrameHeader *h, const uint8_t *body, int fd) {
        FrameMeta meta;

        if (frame_meta_decode(body, h->meta, &meta) < 0) {
                errno = EBADMSG;
                die("metadata");
        }
        switch (h->type) {
        case FRAME_HELLO: {
                uint32_t features = 0;

                frame_meta_u32(&meta, FRAME_META_FEATURES, &features);
                frame_meta_u64(&meta, FRAME_META_HEARTBEAT, &heartbeat);
                flowd_memfd = features & FRAME_FEATURE_MEMFD;
                return;
        }
        case FRAME_PING:
                if (!silent)
                        put_simple(FRAME_PONG);
                return;
        case FRAME_CANCEL:
                for (unsigned i = 0; i < SLOTS_MAX; i++) {
                        Task *t = &tasks[i];

                        if (!t->used || t->job != h->job || t->attempt != h->attempt || t->deaf)
                                continue;
                        if (t->late) {
                                t->cancelled = true;
                                t->due = now() + LATE_USEC;
                                continue;
                        }
                        answer(t, FRAME_CANCELLED, NULL, 0);
                        task_end(t);
                }
                return;
        case FRAME_JOB:
                for (unsigned i = 0; i < SLOTS_MAX; i++) {
                        Task *t = &tasks[i];
                        char method[64] = "";
                        uint64_t size = h->body - h->meta;

                        if (t->used)
                                continue;
                        *t = (Task) { .used = true, .job = h->job, .attempt = h->attempt, .kind = PAYLOAD_BYTES };
                        frame_meta_u8(&meta, FRAME_META_KIND, &t->kind);
                        frame_meta_text(&meta, FRAME_META_METHOD, method, sizeof(method));
                        if (h->flags & FRAME_MEMFD)
                                frame_meta_u64(&meta, FRAME_META_SIZE, &size);
                        t->size = size;
                        t->payload = malloc(size + 1);
                        if (!t->payload)
                                die("malloc");
                        t->payload[size] = 0;
                        if (!(h->flags & FRAME_MEMFD))
                                memcpy(t->payload, body + h->meta, size);
                        else
                                for (size_t at = 0; at < size;) {
                                        ssize_t r = pread(fd, t->payload + at, size - at, (off_t) at);

                                        if (r <= 0)
                                                die("pread");
                                        at += (size_t) r;
                                }
                        task_run(t, method);
                        return;
                }
                errno = EOVERFLOW;
                die("more jobs than slots");
                break;
        default:
                return;
        }
}

static uint8_t *in;
static size_t in_size, in_used;
static int in_fds[64];
static size_t n_in_fds;

/* Returns false at the end of the input. */
static bool receive(void) {
        union {
                struct cmsghdr h;
                char room[CMSG_SPACE(sizeof(int) * 32)];
        } control;

        if (in_size - in_used < 65536) {
                in_size = in_size * 2 + 131072;
                in = realloc(in, in_size);
                if (!in)
                        die("realloc");
        }

        struct iovec iov = { .iov_base = in + in_used, .iov_len = in_size - in_used };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(STDIN_FILENO, &m, MSG_CMSG_CLOEXEC);

        if (n < 0 && errno == EINTR)
                return true;
        if (n <= 0)
                return false;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                        size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                        memcpy(in_fds + n_in_fds, CMSG_DATA(c), k * sizeof(int));
                        n_in_fds += k;
                }
        in_used += (size_t) n;

        size_t at = 0;
        FrameHeader h;

        for (;;) {
                ssize_t k = frame_header_decode(in + at, in_used - at, FRAME_BODY_MAX, &h);

                if (k < 0) {
                        errno = (int) -k;
                        die("header");
                }
                if (k == 0 || in_used - at - FRAME_HEADER_SIZE < h.body)
                        break;

                int fd = -1;

                if (h.fds) {
                        if (n_in_fds == 0) {
                                errno = EBADF;
                                die("descriptor");
                        }
                        fd = in_fds[0];
                        memmove(in_fds, in_fds + 1, --n_in_fds * sizeof(int));
                }
                on_frame(&h, in + at + FRAME_HEADER_SIZE, fd);
                if (fd >= 0)
                        close(fd);
                at += FRAME_HEADER_SIZE + h.body;
        }
        memmove(in, in + at, in_used - at);
        in_used -= at;
        return true;
}

static void start(const char *how, int code, const char *once) {
        if (once) {
                int fd = open(once, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

                if (fd < 0)
                        return;
                close(fd);
        }
        if (!how)
                return;
        if (!strcmp(how, "exit")) {
                fprintf(stderr, "zoo: no, I will not start\n");
                _exit(code);
        }
        if (!strcmp(how, "mute"))
                never();
        if (!strcmp(how, "mute-stubborn")) {
                ignore_signals();
                never();
        }
        if (!strcmp(how, "garbage")) {
                put_all("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38);
                never();
        }
        if (!strcmp(how, "close")) {
                close(STDIN_FILENO);
                close(STDOUT_FILENO);
                never();
        }
        if (!strcmp(how, "sleep"))
                usleep((useconds_t) code * 1000);
        if (!strcmp(how, "brief")) { /* ready, and then it ends at once */
                put_simple(FRAME_HELLO);
                _exit(code);
        }
        if (!strcmp(how, "stubborn"))
                ignore_signals();
}

int main(int argc, char **argv) {
        const char *how = NULL, *once = NULL;
        int code = 1;

        for (int i = 1; i < argc; i++) {
                if (!strncmp(argv[i], "--slots=", 8))
                        slots = (unsigned) atoi(argv[i] + 8);
                else if (!strncmp(argv[i], "--start=", 8))
                        how = argv[i] + 8;
                else if (!strncmp(argv[i], "--code=", 7))
                        code = atoi(argv[i] + 7);
                else if (!strncmp(argv[i], "--once=", 7))
                        once = argv[i] + 7;
                else if (!strcmp(argv[i], "--deaf"))
                        deaf = true;
                else if (!strcmp(argv[i], "--silent"))
                        silent = true;
                else if (!strcmp(argv[i], "--no-memfd"))
                        no_memfd = true;
                else {
                        fprintf(stderr, "zoo: what is %s?\n", argv[i]);
                        return 2;
                }
        }
        start(how, code, once);
        put_simple(FRAME_HELLO);
        if (deaf)
                never();

        for (uint64_t beat = now();;) {
                uint64_t t = now(), next = heartbeat && !silent ? beat + heartbeat / 3 : UINT64_MAX;

                if (next <= t) {
                        put_simple(FRAME_PONG);
                        beat = t;
                        continue;
                }
                for (unsigned i = 0; i < SLOTS_MAX; i++) {
                        if (!tasks[i].used)
                                continue;
                        if (tasks[i].due <= t || (tasks[i].gate && access((const char *) tasks[i].payload, F_OK) == 0)) {
                                answer(&tasks[i], FRAME_COMPLETED, tasks[i].payload, tasks[i].size);
                                task_end(&tasks[i]);
                        } else if (tasks[i].gate && t + GATE_USEC < next)
                                next = t + GATE_USEC;
                        else if (tasks[i].due < next)
                                next = tasks[i].due;
                }

                struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
                uint64_t wait_ms = next == UINT64_MAX ? 3600000 : next <= t ? 0 : (next - t + 999) / 1000;

                if (poll(&p, 1, (int) wait_ms) > 0 && !receive()) {
                        bool busy = false; /* the end of the input: jobs in hand are finished, unless they would never be */

                        for (unsigned i = 0; i < SLOTS_MAX; i++)
                                busy = busy || (tasks[i].used && tasks[i].due != UINT64_MAX);
                        if (!busy)
                                return 0;
                        usleep(10000);
                }
        }
}
