/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The peer that the tests of libflow play: flowd's end of a socketpair. */

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "libflow/flow/types.h"
#include "libflow/stream.h"

#define BIG (3U * 1024U * 1024U + 17U)

typedef struct Peer {
        FlowStream s;
} Peer;

static inline void peer_flush(Peer *p) {
        while (libflow_stream_flush(&p->s) > 0) {
                struct pollfd pfd = { .fd = p->s.out, .events = POLLOUT };
                ck_assert_int_gt(poll(&pfd, 1, 10000), 0);
        }
}

static inline void peer_hello(Peer *p, bool memfd) {
        uint8_t buf[128];
        FrameHeader h = { .type = FRAME_HELLO };
        FrameWriter w;

        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_u32(&w, FRAME_META_VERSION, FRAME_VERSION);
        frame_put_u32(&w, FRAME_META_FEATURES, memfd ? FRAME_FEATURE_MEMFD : 0);
        frame_put_u32(&w, FRAME_META_FRAME_MAX, FRAME_BODY_MAX);
        frame_put_u64(&w, FRAME_META_HEARTBEAT, 1000000);
        ck_assert_int_eq(libflow_stream_put(&p->s, &w, &h, NULL, 0, NULL), 0);
        peer_flush(p);
}

/* Both ends: the peer's, and the one under test. */
static inline int peer_init(Peer *p, bool memfd) {
        int pair[2];

        ck_assert_int_eq(fd_socketpair(pair), 0);
        ck_assert_int_eq(libflow_stream_init(&p->s, pair[0], pair[0]), 0);
        p->s.peer_memfd = memfd;
        peer_hello(p, memfd);
        return pair[1];
}

/* Takes the next frame; fails the test when there is none within 10 s. The frame is valid until the next call. */
static inline FlowFrame peer_take(Peer *p) {
        FlowFrame f;
        int r;

        while ((r = libflow_stream_next(&p->s, &f)) == 0) {
                struct pollfd pfd = { .fd = p->s.in, .events = POLLIN };

                ck_assert_msg(!p->s.eof, "the other side hung up");
                ck_assert_int_gt(poll(&pfd, 1, 10000), 0);
                ck_assert_int_ge(libflow_stream_recv(&p->s), 0);
        }
        ck_assert_int_eq(r, 1);
        return f;
}

static inline FlowFrame peer_expect(Peer *p, FrameType type) {
        FlowFrame f = peer_take(p);

        ck_assert_str_eq(frame_type_to_string(f.h.type), frame_type_to_string(type));
        return f;
}

static inline bool peer_idle(Peer *p) {
        FlowFrame f;

        (void) libflow_stream_recv(&p->s);
        return libflow_stream_next(&p->s, &f) == 0;
}

static inline void peer_bare(Peer *p, FrameType type, uint64_t job, uint32_t attempt) {
        ck_assert_int_eq(libflow_stream_put_bare(&p->s, type, job, attempt), 0);
        peer_flush(p);
}

static inline void peer_job(Peer *p, uint64_t job, const char *method, FlowKind kind, const void *data, size_t size) {
        uint8_t buf[512];
        FrameHeader h = { .type = FRAME_JOB, .job = job, .attempt = 1 };
        FrameWriter w;

        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_text(&w, FRAME_META_METHOD, method);
        frame_put_text(&w, FRAME_META_SESSION, "a-session");
        frame_put_u64(&w, FRAME_META_DEADLINE, 12345);
        frame_put_u8(&w, FRAME_META_KIND, (uint8_t) kind);
        ck_assert_int_eq(libflow_stream_put_payload(&p->s, &w, &h, data, size), 0);
        (void) libflow_stream_flush(&p->s);
}

static inline void peer_result(Peer *p, uint64_t job, FrameStatus status, const char *error, const void *data, size_t size) {
        uint8_t buf[512];
        FrameHeader h = { .type = FRAME_RESULT, .job = job };
        FrameWriter w;

        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_u8(&w, FRAME_META_STATUS, (uint8_t) status);
        frame_put_u8(&w, FRAME_META_KIND, FLOW_BYTES);
        frame_put_text(&w, FRAME_META_ERROR, error);
        frame_put_text(&w, FRAME_META_CODE, error ? "QueueFull" : NULL);
        frame_put_text(&w, FRAME_META_WORKER, "pool/0");
        frame_put_u32(&w, FRAME_META_ATTEMPTS, 2);
        frame_put_u64(&w, FRAME_META_RUN_USEC, 77);
        ck_assert_int_eq(libflow_stream_put_payload(&p->s, &w, &h, data, size), 0);
}

static inline void peer_accept(Peer *p, uint64_t job, const char *id) {
        uint8_t buf[128];
        FrameHeader h = { .type = FRAME_ACCEPTED, .job = job };
        FrameWriter w;

        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_text(&w, FRAME_META_JOB_ID, id);
        ck_assert_int_eq(libflow_stream_put(&p->s, &w, &h, NULL, 0, NULL), 0);
}

static inline uint8_t frame_status(const FlowFrame *f) {
        FrameMeta m;
        uint8_t v = 255;

        ck_assert_int_eq(frame_meta_decode(f->meta, f->h.meta, &m), 0);
        ck_assert(frame_meta_u8(&m, FRAME_META_STATUS, &v));
        return v;
}

static inline char *frame_text(const FlowFrame *f, FrameTag tag) {
        char buf[16384];
        FrameMeta m;

        ck_assert_int_eq(frame_meta_decode(f->meta, f->h.meta, &m), 0);
        return frame_meta_text(&m, tag, buf, sizeof(buf)) > 0 ? strdup(buf) : strdup("");
}

static inline uint8_t *pattern(size_t size) {
        uint8_t *p = malloc(size);

        ck_assert_ptr_nonnull(p);
        for (size_t i = 0; i < size; i++)
                p[i] = (uint8_t) (i * 131 + (i >> 8));
        return p;
}
