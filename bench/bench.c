/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The measuring half of every load generator. A run is bounded by time: a warm-up that is not counted, then the measured
 * part. The window is kept full: each answer is followed at once by a new job, except where a peer's library only knows
 * batches. Each payload starts with a tag that names the job's place in the window, and the whole answer is compared with
 * what was sent, so a server that loses, doubles or mixes up jobs ends the run with words rather than with good figures.
 *
 * bench_load() is the client of the two floors. It makes the fewest system calls that a client can: with one job
 * outstanding one send and one recv, with more one send for all jobs that one recv has made room for.
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

#define NS_PER_SEC 1000000000ULL
#define ECHO_BUFFER (256U * 1024U)

void bench_die(const char *format, ...) {
        va_list ap;

        fprintf(stderr, "%s: ", program_invocation_short_name);
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fputc('\n', stderr);
        _exit(EXIT_FAILURE);
}

uint64_t bench_now(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * NS_PER_SEC + (uint64_t) ts.tv_nsec;
}

static bool option_number(const char *arg, const char *name, double *ret) {
        size_t n = strlen(name);
        char *end;

        if (strncmp(arg, name, n) != 0)
                return false;
        *ret = strtod(arg + n, &end);
        if (end == arg + n || *end != 0 || *ret < 0)
                bench_die("%s: a number is wanted.", arg);
        return true;
}

void bench_init(Bench *b, int argc, char *argv[]) {
        double v;

        *b = (Bench) { .window = 1, .workers = 1, .slots = 1, .size = 64, .warmup = 0.1, .seconds = 0.5 };
        int i;
        for (i = 1; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
                if (streq(argv[i], "--")) {
                        i++;
                        break;
                }
                if (option_number(argv[i], "--window=", &v))
                        b->window = (unsigned) v;
                else if (option_number(argv[i], "--workers=", &v))
                        b->workers = (unsigned) v;
                else if (option_number(argv[i], "--slots=", &v))
                        b->slots = (unsigned) v;
                else if (option_number(argv[i], "--size=", &v))
                        b->size = (size_t) v;
                else if (option_number(argv[i], "--warmup=", &v))
                        b->warmup = v;
                else if (option_number(argv[i], "--seconds=", &v))
                        b->seconds = v;
                else if (option_number(argv[i], "--port=", &v))
                        b->port = (unsigned) v;
                else if (option_number(argv[i], "--jobs=", &v))
                        b->jobs = (uint64_t) v;
                else if (option_number(argv[i], "--queued=", &v))
                        b->queued = (uint64_t) v;
                else if (option_number(argv[i], "--rate=", &v))
                        b->rate = v;
                else if (streq(argv[i], "--durable"))
                        b->durable = true;
                else if (strncmp(argv[i], "--socket=", 9) == 0)
                        b->socket = argv[i] + 9;
                else if (strncmp(argv[i], "--pool=", 7) == 0)
                        b->pool = argv[i] + 7;
                else if (strncmp(argv[i], "--worker=", 9) == 0)
                        b->worker = argv[i] + 9;
                else
                        bench_die("unknown option %s.", argv[i]);
        }
        b->rest = argv + i;
        if (b->window < 1 || b->window > BENCH_WINDOW_MAX)
                bench_die("--window= must be 1 to %u.", BENCH_WINDOW_MAX);
        if (b->workers < 1 || b->workers > 64)
                bench_die("--workers= must be 1 to 64.");
        if (b->size < BENCH_TAG_SIZE)
                bench_die("--size= must be at least %zu.", BENCH_TAG_SIZE);

        b->n_allocated = 1U << 16;
        b->pattern = malloc(b->size);
        b->started = new0(uint64_t, b->window);
        b->tags = new0(uint64_t, b->window);
        b->idle = new0(unsigned, b->window);
        b->samples = new0(uint32_t, b->n_allocated);
        if (!b->pattern || !b->started || !b->tags || !b->idle || !b->samples)
                bench_die("out of memory.");
        for (size_t k = 0; k < b->size; k++) /* letters, so that it is valid text in every protocol */
                b->pattern[k] = (uint8_t) ('a' + (k * 7 + k / 26) % 26);
        for (unsigned k = 0; k < b->window; k++)
                b->idle[b->n_idle++] = b->window - 1 - k;
        signal(SIGPIPE, SIG_IGN);
}

void bench_start(Bench *b) {
        b->begin = bench_now() + (uint64_t) (b->warmup * (double) NS_PER_SEC);
        b->end = b->begin + (uint64_t) (b->seconds * (double) NS_PER_SEC);
}

/* A tag is eight characters, so that a payload is text: three for the place in the window, five for the sequence. */
static uint64_t tag_make(unsigned slot, uint64_t sequence) {
        uint8_t c[BENCH_TAG_SIZE];
        uint64_t tag;

        for (unsigned i = 0; i < 3; i++, slot >>= 4)
                c[i] = (uint8_t) ('A' + (slot & 15));
        for (unsigned i = 3; i < BENCH_TAG_SIZE; i++, sequence >>= 4)
                c[i] = (uint8_t) ('A' + (sequence & 15));
        memcpy(&tag, c, sizeof(tag));
        return tag;
}

static unsigned tag_slot(uint64_t tag) {
        uint8_t c[BENCH_TAG_SIZE];

        memcpy(c, &tag, sizeof(tag));
        return (unsigned) (c[0] - 'A') | (unsigned) (c[1] - 'A') << 4 | (unsigned) (c[2] - 'A') << 8;
}

uint64_t bench_submit(Bench *b, uint8_t *buf, uint64_t now) {
        unsigned slot = b->idle[--b->n_idle];
        uint64_t tag = tag_make(slot, b->sequence++);

        b->started[slot] = now;
        b->tags[slot] = tag;
        memcpy(buf, &tag, BENCH_TAG_SIZE);
        memcpy(buf + BENCH_TAG_SIZE, b->pattern + BENCH_TAG_SIZE, b->size - BENCH_TAG_SIZE);
        return tag;
}

void bench_sample(Bench *b, uint64_t started, uint64_t now) {
        if (now < b->begin || now > b->end)
                return;
        if (b->n_samples == b->n_allocated) {
                uint32_t *s = realloc(b->samples, b->n_allocated * 2 * sizeof(*s));
                if (!s)
                        bench_die("out of memory.");
                b->samples = s;
                b->n_allocated *= 2;
        }
        b->samples[b->n_samples++] = (uint32_t) MIN(now - started, (uint64_t) UINT32_MAX);
}

void bench_complete(Bench *b, const void *data, size_t size, uint64_t now) {
        const uint8_t *p = data;
        uint64_t tag;

        if (size != b->size)
                bench_die("an answer has %zu bytes instead of %zu.", size, b->size);
        memcpy(&tag, p, BENCH_TAG_SIZE);
        unsigned slot = tag_slot(tag);
        if (slot >= b->window || b->tags[slot] != tag)
                bench_die("an answer belongs to no job that is outstanding: lost, doubled or damaged.");
        if (memcmp(p + BENCH_TAG_SIZE, b->pattern + BENCH_TAG_SIZE, size - BENCH_TAG_SIZE) != 0)
                bench_die("an answer's payload is not the one that was sent.");
        b->tags[slot] = 0;
        b->idle[b->n_idle++] = slot;
        bench_sample(b, b->started[slot], now);
}

static int compare_u32(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return x < y ? -1 : x > y;
}

void bench_report(Bench *b) {
        if (b->n_samples == 0)
                bench_die("no job ended within %.3g s.", b->seconds);
        qsort(b->samples, b->n_samples, sizeof(*b->samples), compare_u32);
        printf("{\"jobs\":%zu,\"rate\":%.1f,\"p50\":%.2f,\"p99\":%.2f}\n", b->n_samples, (double) b->n_samples / b->seconds,
               (double) b->samples[b->n_samples / 2] / 1e3, (double) b->samples[b->n_samples * 99 / 100] / 1e3);
        if (fflush(stdout) != 0)
                bench_die("cannot write the report.");
}

int bench_fork(void) {
        pid_t parent = getpid(), pid;

        pid = fork();
        if (pid < 0)
                bench_die("fork: %m");
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(EXIT_FAILURE);
        }
        return pid;
}

void bench_socketpair(int ret[2]) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret) < 0)
                bench_die("socketpair: %m");
}

void bench_echo(int fd) {
        uint8_t *buf = malloc(ECHO_BUFFER);

        if (!buf)
                bench_die("out of memory.");
        for (;;) {
                ssize_t n = recv(fd, buf, ECHO_BUFFER, 0);
                if (n <= 0)
                        _exit(n == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
                for (ssize_t done = 0; done < n;) {
                        ssize_t k = send(fd, buf + done, (size_t) (n - done), MSG_NOSIGNAL);
                        if (k < 0)
                                _exit(EXIT_FAILURE);
                        done += k;
                }
        }
}

/* Takes whole frames out of `in`; returns the bytes that were used. */
static size_t load_take(Bench *b, const uint8_t *in, size_t n, uint64_t now) {
        size_t used = 0;

        while (n - used >= sizeof(BenchHeader)) {
                BenchHeader h;

                memcpy(&h, in + used, sizeof(h));
                if (h.body != b->size)
                        bench_die("a frame announces %u bytes instead of %zu.", h.body, b->size);
                if (n - used < sizeof(h) + h.body)
                        break;
                bench_complete(b, in + used + sizeof(h), h.body, now);
                used += sizeof(h) + h.body;
        }
        return used;
}

void bench_load(Bench *b, int fd) {
        size_t frame = sizeof(BenchHeader) + b->size, out_size = frame * b->window, in_size = out_size + frame;
        size_t out_begin = 0, out_end = 0, in_end = 0;
        uint8_t *out = malloc(out_size), *in = malloc(in_size);

        if (!out || !in)
                bench_die("out of memory.");
        bench_start(b);
        for (uint64_t now = bench_now(); bench_running(b, now) || bench_outstanding(b) > 0;) {
                if (out_begin == out_end)
                        out_begin = out_end = 0;
                while (bench_running(b, now) && bench_can_submit(b) && out_size - out_end >= frame) {
                        BenchHeader h = { .body = (uint32_t) b->size };

                        h.job = bench_submit(b, out + out_end + sizeof(h), now);
                        memcpy(out + out_end, &h, sizeof(h));
                        out_end += frame;
                }
                if (out_begin < out_end) {
                        ssize_t n = send(fd, out + out_begin, out_end - out_begin, MSG_DONTWAIT | MSG_NOSIGNAL);
                        if (n < 0 && errno != EAGAIN)
                                bench_die("send: %m");
                        out_begin += n > 0 ? (size_t) n : 0;
                }
                if (out_begin < out_end) {
                        struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };

                        if (poll(&p, 1, -1) < 0)
                                bench_die("poll: %m");
                        if (!(p.revents & ~POLLOUT))
                                continue;
                }
                if (bench_outstanding(b) == 0) {
                        now = bench_now();
                        continue;
                }
                ssize_t n = recv(fd, in + in_end, in_size - in_end, 0);
                if (n <= 0)
                        bench_die("the server has gone: %s", n == 0 ? "end of stream" : strerror(errno));
                in_end += (size_t) n;
                now = bench_now();
                size_t used = load_take(b, in, in_end, now);
                memmove(in, in + used, in_end - used);
                in_end -= used;
        }
        free(out);
        free(in);
}
