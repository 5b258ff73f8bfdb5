/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The second floor: the smallest broker that does the work of one. A client connects to its unix socket; frames with a
 * fixed header go to whichever worker has a free slot, over a socketpair, and the answers go back. Jobs wait in one queue
 * while all slots are taken (--slots=0: they never do). There is no id, no state of a job, no limit, no deadline, no
 * error handling beyond giving up: what this costs, every broker must cost.
 *
 * With --worker=PROGRAM and a client's command after the options the same broker speaks just enough of flowd's frames for
 * one libflow client and libflow workers: HELLO is answered, everything else passed on as it is. The difference between
 * that and flowd is what flowd itself costs; the difference between the two brokers is libflow's share.
 *
 * One epoll loop: each ready descriptor is read once, all frames in hand are moved, and then each peer that has something
 * to be written is written to once.
 */

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/fd.h"
#include "bench/bench.h"
#include "proto/frame.h"

#define READ_SIZE (256U * 1024U)
#define EVENTS_MAX 64

typedef struct Buffer {
        uint8_t *data;
        size_t begin, end, size;
} Buffer;

typedef struct Peer {
        int fd;
        Buffer in, out;
        unsigned in_flight; /* of a worker */
        bool dirty;         /* in the list of those to be written to */
        bool waiting;       /* for EPOLLOUT */
} Peer;

typedef struct Broker {
        int epoll;
        Peer *peers; /* the workers, then the clients */
        unsigned n_peers, n_workers, slots;
        bool frames; /* flowd's */
        unsigned next; /* worker, taken in turn */
        unsigned *dirty;
        unsigned n_dirty;
        Buffer queue;
} Broker;

static uint8_t *buffer_reserve(Buffer *b, size_t n) {
        if (b->begin == b->end)
                b->begin = b->end = 0;
        if (b->size - b->end < n && b->begin > 0) {
                memmove(b->data, b->data + b->begin, b->end - b->begin);
                b->end -= b->begin;
                b->begin = 0;
        }
        if (b->size - b->end < n) {
                b->size = (b->end + n) * 2;
                b->data = realloc(b->data, b->size);
                if (!b->data)
                        bench_die("out of memory.");
        }
        return b->data + b->end;
}

static void buffer_push(Buffer *b, const void *data, size_t n) {
        memcpy(buffer_reserve(b, n), data, n);
        b->end += n;
}

/* The whole frame at the buffer's start; 0 when it is not all there. */
static size_t buffer_frame(const Buffer *b) {
        BenchHeader h;

        if (b->end - b->begin < sizeof(h))
                return 0;
        memcpy(&h, b->data + b->begin, sizeof(h));
        return b->end - b->begin < sizeof(h) + h.body ? 0 : sizeof(h) + h.body;
}

static void peer_push(Broker *b, unsigned i, const void *data, size_t n) {
        Peer *p = b->peers + i;

        buffer_push(&p->out, data, n);
        if (!p->dirty) {
                p->dirty = true;
                b->dirty[b->n_dirty++] = i;
        }
}

static void peer_watch(Broker *b, unsigned i, int op) {
        Peer *p = b->peers + i;
        struct epoll_event e = { .events = EPOLLIN | (p->waiting ? EPOLLOUT : 0), .data.u32 = i };

        if (epoll_ctl(b->epoll, op, p->fd, &e) < 0)
                bench_die("epoll_ctl: %m");
}

static void hello_send(Broker *b, unsigned to) {
        uint8_t buf[256];
        FrameHeader h = { .type = FRAME_HELLO };
        FrameWriter w;

        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_u32(&w, FRAME_META_VERSION, FRAME_VERSION);
        frame_put_u32(&w, FRAME_META_FEATURES, 0);
        frame_put_u32(&w, FRAME_META_FRAME_MAX, FRAME_BODY_MAX);
        peer_push(b, to, buf, (size_t) frame_writer_end(&w, &h, 0));
}

static void peer_add(Broker *b, int fd) {
        b->peers = realloc(b->peers, (b->n_peers + 1) * sizeof(Peer));
        b->dirty = realloc(b->dirty, (b->n_peers + 1) * sizeof(unsigned));
        if (!b->peers || !b->dirty)
                bench_die("out of memory.");
        b->peers[b->n_peers] = (Peer) { .fd = fd };
        peer_watch(b, b->n_peers++, EPOLL_CTL_ADD);
        if (b->frames)
                hello_send(b, b->n_peers - 1);
}

static void peer_flush(Broker *b, unsigned i) {
        Peer *p = b->peers + i;
        bool waiting;

        p->dirty = false;
        ssize_t n = send(p->fd, p->out.data + p->out.begin, p->out.end - p->out.begin, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
                bench_die("send: %m");
        p->out.begin += n > 0 ? (size_t) n : 0;
        waiting = p->out.begin < p->out.end;
        if (waiting != p->waiting) {
                p->waiting = waiting;
                peer_watch(b, i, EPOLL_CTL_MOD);
        }
}

/* The next worker with a free slot, or -1. */
static int worker_pick(Broker *b) {
        for (unsigned k = 0; k < b->n_workers; k++) {
                unsigned i = b->next;

                b->next = b->next + 1 < b->n_workers ? b->next + 1 : 0;
                if (b->slots == 0 || b->peers[i].in_flight < b->slots)
                        return (int) i;
        }
        return -1;
}

static void worker_give(Broker *b, unsigned i, const uint8_t *frame, size_t n) {
        b->peers[i].in_flight++;
        peer_push(b, i, frame, n);
}

/* Where the frame must go, when it came from a worker; marks its way back, when from a client. */
static unsigned frame_client(Broker *b, unsigned from, uint8_t *frame) {
        BenchHeader h;

        if (b->frames) /* whose header has no room for it: one client */
                return b->n_workers;
        memcpy(&h, frame, sizeof(h));
        if (from < b->n_workers)
                return h.client;
        h.client = from;
        memcpy(frame, &h, sizeof(h));
        return from;
}

static void frame_move(Broker *b, unsigned from, uint8_t *frame, size_t n) {
        unsigned client;

        if (b->frames && frame[8] == FRAME_HELLO)
                return;
        client = frame_client(b, from, frame);
        if (from >= b->n_workers) {
                int w = worker_pick(b);
                if (w >= 0)
                        worker_give(b, (unsigned) w, frame, n);
                else
                        buffer_push(&b->queue, frame, n);
                return;
        }

        b->peers[from].in_flight--;
        peer_push(b, client, frame, n);
        size_t next = buffer_frame(&b->queue);
        if (next > 0) {
                worker_give(b, from, b->queue.data + b->queue.begin, next);
                b->queue.begin += next;
        }
}

/* Returns false at the end of the stream. */
static bool peer_read(Broker *b, unsigned i) {
        Buffer *in = &b->peers[i].in;
        uint8_t *room = buffer_reserve(in, READ_SIZE);

        ssize_t n = recv(b->peers[i].fd, room, in->size - in->end, MSG_DONTWAIT);
        if (n <= 0)
                return n < 0 && errno == EAGAIN;
        in->end += (size_t) n;
        for (size_t k; (k = buffer_frame(in)) > 0; in->begin += k)
                frame_move(b, i, in->data + in->begin, k);
        return true;
}

_noreturn_ static void broker_run(const Bench *bench, int listener, const int *workers) {
        Broker b = { .n_workers = bench->workers, .slots = bench->slots, .frames = bench->worker };
        struct epoll_event events[EVENTS_MAX], e = { .events = EPOLLIN, .data.u32 = UINT32_MAX };

        b.epoll = epoll_create1(EPOLL_CLOEXEC);
        if (b.epoll < 0 || epoll_ctl(b.epoll, EPOLL_CTL_ADD, listener, &e) < 0)
                bench_die("epoll: %m");
        for (unsigned i = 0; i < b.n_workers; i++)
                peer_add(&b, workers[i]);
        for (;;) {
                int n = epoll_wait(b.epoll, events, EVENTS_MAX, -1);
                if (n < 0)
                        bench_die("epoll_wait: %m");
                for (int k = 0; k < n; k++) {
                        unsigned i = events[k].data.u32;

                        if (i == UINT32_MAX) {
                                int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                                if (fd < 0)
                                        bench_die("accept: %m");
                                peer_add(&b, fd);
                                continue;
                        }
                        if ((events[k].events & EPOLLOUT) && !b.peers[i].dirty) {
                                b.peers[i].dirty = true;
                                b.dirty[b.n_dirty++] = i;
                        }
                        if ((events[k].events & ~EPOLLOUT) && !peer_read(&b, i))
                                _exit(EXIT_SUCCESS); /* the one client has gone, or a worker: the run is over */
                }
                for (unsigned k = 0; k < b.n_dirty; k++)
                        peer_flush(&b, b.dirty[k]);
                b.n_dirty = 0;
        }
}

_noreturn_ static void worker_run(const Bench *b, int fd) {
        if (!b->worker)
                bench_echo(fd);
        if (dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
                bench_die("dup2: %m");
        execl(b->worker, b->worker, (char *) NULL);
        bench_die("%s: %m", b->worker);
}

int main(int argc, char *argv[]) {
        _cleanup_free_ int *workers = NULL;
        Bench b;

        bench_init(&b, argc, argv);
        if (!b.socket)
                bench_die("--socket= is needed: where the broker listens.");
        int listener = fd_listen_unix(b.socket, 0600);
        if (listener < 0)
                bench_die("%s: %s", b.socket, strerror(-listener));
        /* The broker's children are its workers, as with any broker; the client is its parent only to make one program of it. */
        workers = new0(int, b.workers);
        if (!workers)
                bench_die("out of memory.");
        if (bench_fork() == 0) {
                for (unsigned i = 0; i < b.workers; i++) {
                        int pair[2];

                        bench_socketpair(pair);
                        if (bench_fork() == 0) {
                                close(pair[0]);
                                for (unsigned k = 0; k < i; k++)
                                        close(workers[k]);
                                worker_run(&b, pair[1]);
                        }
                        close(pair[1]);
                        workers[i] = pair[0];
                }
                broker_run(&b, listener, workers);
        }
        close(listener);
        if (b.worker) {
                if (!b.rest[0])
                        bench_die("a client's command is wanted.");
                execv(b.rest[0], b.rest);
                bench_die("%s: %m", b.rest[0]);
        }
        int fd = fd_connect_unix(b.socket);
        if (fd < 0)
                bench_die("cannot reach the broker: %s", strerror(-fd));
        bench_load(&b, fd);
        bench_report(&b);
        return EXIT_SUCCESS;
}
