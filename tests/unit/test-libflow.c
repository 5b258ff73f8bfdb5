/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libflow's worker side against a flowd that the test plays itself, over a socketpair: jobs, payloads, slots, cancellation, and
 * what it does with garbage and with an end at any byte. Everything runs in one thread, by non-blocking steps. test-libflow-
 * client.c has the other side.
 */

#include <fcntl.h>

#include "libflow/flow/worker.h"
#include "libflow-peer.h"

static int echo(FlowJob *job, void *userdata) {
        size_t size;
        const void *data = flow_job_data(job, &size);

        if (userdata)
                ++*(unsigned *) userdata;
        return flow_job_complete(job, flow_job_kind(job), data, size);
}

static FlowWorker *worker_on(int fd, FlowHandler handler, void *userdata, const FlowWorkerOptions *o) {
        FlowWorker *w = NULL;

        ck_assert_int_eq(flow_worker_new_fds(fd, fd, handler, userdata, o, &w), 0);
        return w;
}

/* Steps while the descriptor says that there is something to do. */
static int worker_steps(FlowWorker *w) {
        struct pollfd p = { .fd = flow_worker_fd(w), .events = POLLIN };
        int r = 1;

        for (unsigned i = 0; i < 10000 && r > 0 && poll(&p, 1, 0) > 0; i++)
                r = flow_worker_process(w);
        return r;
}

START_TEST(worker_handshake_and_end) {
        Peer p;
        FlowWorker *w = worker_on(peer_init(&p, true), echo, NULL, &(FlowWorkerOptions) { .slots = 7 });
        FlowFrame f = peer_expect(&p, FRAME_HELLO);
        FrameMeta m;
        uint32_t v;

        ck_assert_int_eq(frame_meta_decode(f.meta, f.h.meta, &m), 0);
        ck_assert(frame_meta_u32(&m, FRAME_META_SLOTS, &v) && v == 7);
        ck_assert(frame_meta_u32(&m, FRAME_META_VERSION, &v) && v == FRAME_VERSION);
        ck_assert(frame_meta_u32(&m, FRAME_META_FEATURES, &v) && v == FRAME_FEATURE_MEMFD);

        peer_bare(&p, FRAME_PING, 9, 0);
        ck_assert_int_eq(worker_steps(w), 1);
        f = peer_expect(&p, FRAME_PONG);
        ck_assert_uint_eq(f.h.job, 9);

        ck_assert_int_eq(shutdown(p.s.out, SHUT_WR), 0);
        ck_assert_int_eq(worker_steps(w), 0);
        flow_worker_free(w);
        libflow_stream_done(&p.s);
}
END_TEST

/* 0 bytes to several megabytes, inline and by memfd; what comes back is the same. */
START_TEST(worker_payloads) {
        static const size_t sizes[] = { 0, 1, 4096, 65535, 65536, FRAME_MEMFD_MIN - 1, FRAME_MEMFD_MIN, BIG };
        bool memfd = _i;
        unsigned calls = 0;
        Peer p;
        FlowWorker *w = worker_on(peer_init(&p, memfd), echo, &calls, NULL);

        (void) peer_expect(&p, FRAME_HELLO);
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_free_ uint8_t *data = pattern(sizes[i]);
                const uint8_t *got;
                FlowFrame f;

                peer_job(&p, i, NULL, FLOW_JSON, data, sizes[i]);
                for (;;) { /* both sides in turn, as the socket's buffer lets them */
                        (void) libflow_stream_flush(&p.s);
                        ck_assert_int_eq(worker_steps(w), 1);
                        (void) libflow_stream_recv(&p.s);
                        int r = libflow_stream_next(&p.s, &f);
                        ck_assert_int_ge(r, 0);
                        if (r > 0)
                                break;
                }
                ck_assert_int_eq(f.h.type, FRAME_RESULT);
                ck_assert_uint_eq(f.h.job, i);
                ck_assert_uint_eq(f.h.attempt, 1);
                ck_assert_uint_eq(frame_status(&f), FRAME_COMPLETED);
                ck_assert_uint_eq(f.payload_size, sizes[i]);
                ck_assert_int_eq(!!f.memfd, memfd && sizes[i] >= FRAME_MEMFD_MIN);
                got = f.payload;
                if (f.memfd)
                        ck_assert_int_eq(blob_data(f.memfd, &got), 0);
                if (sizes[i] > 0)
                        ck_assert_int_eq(memcmp(got, data, sizes[i]), 0);
                libflow_frame_done(&f);
        }
        ck_assert_uint_eq(calls, ELEMENTSOF(sizes));
        ck_assert_uint_eq(flow_worker_jobs(w), 0);
        flow_worker_free(w);
        libflow_stream_done(&p.s);
}
END_TEST

static int look_at_job(FlowJob *job, void *userdata _unused_) {
        size_t size;

        ck_assert_str_eq(flow_job_method(job), "look");
        ck_assert_str_eq(flow_job_session(job), "a-session");
        ck_assert_ptr_null(flow_job_key(job));
        ck_assert_ptr_null(flow_job_trace(job));
        ck_assert_str_eq(flow_job_id(job), "42");
        ck_assert_uint_eq(flow_job_attempt(job), 1);
        ck_assert_uint_eq(flow_job_deadline(job), 12345);
        ck_assert_int_eq(flow_job_kind(job), FLOW_TEXT);
        ck_assert_int_eq(memcmp(flow_job_data(job, &size), "hello", 5), 0);
        ck_assert_uint_eq(size, 5);
        ck_assert_int_eq(flow_job_progress(job, 0.5, "half\xff"), 0);
        ck_assert_int_eq(flow_job_log(job, FLOW_LOG_WARNING, "number %d", 7), 0);
        ck_assert_int_eq(flow_job_fail(job, "no luck", true), 0);
        ck_assert_int_eq(flow_job_complete(job, FLOW_TEXT, "x", 1), -EALREADY);
        return 0;
}

START_TEST(worker_accessors_and_reports) {
        Peer p;
        FlowWorker *w = worker_on(peer_init(&p, true), look_at_job, NULL, NULL);
        FrameMeta m;
        uint32_t fraction;
        uint8_t level, retry;
        FlowFrame f;

        (void) peer_expect(&p, FRAME_HELLO);
        peer_job(&p, 42, "look", FLOW_TEXT, "hello", 5);
        ck_assert_int_eq(worker_steps(w), 1);

        f = peer_expect(&p, FRAME_PROGRESS);
        ck_assert_int_eq(frame_meta_decode(f.meta, f.h.meta, &m), 0);
        ck_assert(frame_meta_u32(&m, FRAME_META_FRACTION, &fraction) && fraction == 500000);
        ck_assert_uint_eq(f.payload_size, 5);
        ck_assert_int_eq(memcmp(f.payload, "half?", 5), 0); /* what is no UTF-8 never leaves */
        f = peer_expect(&p, FRAME_LOG);
        ck_assert_int_eq(frame_meta_decode(f.meta, f.h.meta, &m), 0);
        ck_assert(frame_meta_u8(&m, FRAME_META_LEVEL, &level) && level == FLOW_LOG_WARNING);
        ck_assert_int_eq(memcmp(f.payload, "number 7", 8), 0);
        f = peer_expect(&p, FRAME_RESULT);
        ck_assert_uint_eq(frame_status(&f), FRAME_FAILED);
        _cleanup_free_ char *error = frame_text(&f, FRAME_META_ERROR);
        ck_assert_str_eq(error, "no luck");
        ck_assert_int_eq(frame_meta_decode(f.meta, f.h.meta, &m), 0);
        ck_assert(frame_meta_u8(&m, FRAME_META_RETRY, &retry) && retry == 1);
        flow_worker_free(w);
        libflow_stream_done(&p.s);
}
END_TEST

static int returns(FlowJob *job _unused_, void *userdata) {
        return *(int *) userdata;
}

START_TEST(worker_returns_without_result) {
        static const struct { int r; uint8_t status; } cases[] = {
                { 0, FRAME_FAILED }, { -ENOENT, FRAME_FAILED }, { -EAGAIN, FRAME_FAILED }, { -ECANCELED, FRAME_CANCELLED },
        };
        int value = 0;
        Peer p;
        FlowWorker *w = worker_on(peer_init(&p, true), returns, &value, NULL);

        (void) peer_expect(&p, FRAME_HELLO);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                FlowFrame f;

                value = cases[i].r;
                peer_job(&p, i, NULL, FLOW_TEXT, NULL, 0);
                ck_assert_int_eq(worker_steps(w), 1);
                f = peer_expect(&p, FRAME_RESULT);
                ck_assert_uint_eq(f.h.job, i);
                ck_assert_uint_eq(frame_status(&f), cases[i].status);
        }
        flow_worker_free(w);
        libflow_stream_done(&p.s);
}
END_TEST

typedef struct Later {
        FlowJob *jobs[8];
        size_t n, n_cancelled;
} Later;

static int later(FlowJob *job, void *userdata) {
        Later *l = userdata;

        l->jobs[l->n++] = job;
        return FLOW_LATER;
}

static void later_cancelled(FlowJob *job, void *userdata) {
        Later *l = userdata;

        l->n_cancelled++;
        for (size_t i = 0; i < l->n; i++)
                if (l->jobs[i] == job)
                        l->jobs[i] = NULL;
        ck_assert_int_eq(flow_job_fail(job, "cancelled", false), 0);
}

START_TEST(worker_slots) {
        Later l = {};
        Peer p;
        FlowWorker *w = worker_on(peer_init(&p, true), later, &l, &(FlowWorkerOptions) { .slots = 4, .cancelled = later_cancelled });
        static const unsigned order[] = { 3, 0, 1 };
        FlowFrame f;
        size_t size;

        (void) peer_expect(&p, FRAME_HELLO);
        for (unsigned i = 0; i < 4; i++)
                peer_job(&p, 100 + i, NULL, FLOW_TEXT, &"abcd"[i], 1);
        ck_assert_int_eq(worker_steps(w), 1);
        ck_assert_uint_eq(l.n, 4);
        ck_assert_uint_eq(flow_worker_jobs(w), 4);
        ck_assert(peer_idle(&p));

        peer_bare(&p, FRAME_CANCEL, 102, 1);
        peer_bare(&p, FRAME_CANCEL, 102, 2);  /* another attempt */
        peer_bare(&p, FRAME_CANCEL, 9999, 1); /* a job that was answered long ago */
        ck_assert_int_eq(worker_steps(w), 1);
        ck_assert_uint_eq(l.n_cancelled, 1);
        f = peer_expect(&p, FRAME_RESULT);
        ck_assert_uint_eq(f.h.job, 102);

        /* the end of stdin comes while three are in hand: they are finished */
        ck_assert_int_eq(shutdown(p.s.out, SHUT_WR), 0);
        ck_assert_int_eq(worker_steps(w), 1);
        for (size_t i = 0; i < ELEMENTSOF(order); i++) {
                FlowJob *job = l.jobs[order[i]];

                ck_assert_int_eq(*(const char *) flow_job_data(job, &size), "abcd"[order[i]]);
                ck_assert_int_eq(flow_job_complete(job, FLOW_TEXT, flow_job_data(job, NULL), size), 0);
                f = peer_expect(&p, FRAME_RESULT);
                ck_assert_uint_eq(f.h.job, 100 + order[i]);
        }
        ck_assert_int_eq(worker_steps(w), 0);
        flow_worker_free(w);
        libflow_stream_done(&p.s);
}
END_TEST

static int until_cancelled(FlowJob *job, void *userdata) {
        Peer *p = userdata;

        ck_assert(!flow_job_cancelled(job));
        peer_bare(p, FRAME_PING, 5, 0);
        peer_job(p, 2, NULL, FLOW_TEXT, "waits", 5); /* behind this one */
        peer_bare(p, FRAME_CANCEL, 2, 1);            /* and is cancelled before its turn */
        peer_bare(p, FRAME_CANCEL, 1, 1);
        for (unsigned i = 0; i < 5000; i++) {
                if (flow_job_cancelled(job))
                        return -ECANCELED;
                flow_job_alive(job);
                (void) poll(NULL, 0, 1);
        }
        return flow_job_fail(job, "never cancelled", false);
}

START_TEST(worker_cancel_while_busy) {
        Peer p;
        FlowWorker *w = worker_on(peer_init(&p, true), until_cancelled, &p, NULL);
        FlowFrame f;

        (void) peer_expect(&p, FRAME_HELLO);
        peer_job(&p, 1, NULL, FLOW_TEXT, NULL, 0);
        ck_assert_int_eq(worker_steps(w), 1);
        (void) peer_expect(&p, FRAME_PONG);
        f = peer_expect(&p, FRAME_RESULT);
        ck_assert_uint_eq(f.h.job, 2);
        ck_assert_uint_eq(frame_status(&f), FRAME_CANCELLED);
        f = peer_expect(&p, FRAME_RESULT);
        ck_assert_uint_eq(f.h.job, 1);
        ck_assert_uint_eq(frame_status(&f), FRAME_CANCELLED);
        ck_assert_int_eq(worker_steps(w), 1);
        flow_worker_free(w);
        libflow_stream_done(&p.s);
}
END_TEST

/* A conversation, cut off after each of its bytes: the worker ends, cleanly only where no frame was cut. */
START_TEST(worker_end_at_every_byte) {
        uint8_t bytes[512];
        size_t total = 0, ends[4], n_ends = 0;
        unsigned calls = 0;
        Peer p;

        /* the conversation's bytes, by way of a peer that writes to a pair that nobody serves */
        int fd = peer_init(&p, false);
        peer_job(&p, 1, "m", FLOW_TEXT, "payload", 7);
        peer_bare(&p, FRAME_PING, 0, 0);
        ssize_t n = read(fd, bytes, sizeof(bytes));
        ck_assert_int_gt(n, 0);
        fd_close(fd);
        libflow_stream_done(&p.s);
        for (size_t at = 0; at < (size_t) n;) {
                FrameHeader h;
                ends[n_ends++] = at;
                ck_assert_int_gt(frame_header_decode(bytes + at, (size_t) n - at, FRAME_BODY_MAX, &h), 0);
                at += FRAME_HEADER_SIZE + h.body;
        }
        ends[n_ends++] = (size_t) n;

        for (total = 0; total <= (size_t) n; total++) {
                bool whole = false;
                int pair[2], r;

                ck_assert_int_eq(fd_socketpair(pair), 0);
                FlowWorker *w = worker_on(pair[1], echo, &calls, NULL);
                ck_assert_int_eq(fd_write_all(pair[0], bytes, total), 0);
                ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
                r = worker_steps(w);
                for (size_t i = 0; i < n_ends; i++)
                        whole |= ends[i] == total;
                ck_assert_int_eq(r, whole ? 0 : -ECONNRESET);
                flow_worker_free(w);
                fd_close(pair[0]);
        }
        ck_assert_uint_gt(calls, 0);
}
END_TEST

START_TEST(worker_garbage) {
        Peer p;
        FlowWorker *w = worker_on(peer_init(&p, true), echo, NULL, NULL);

        ck_assert_int_eq(worker_steps(w), 1);
        ck_assert_int_eq(fd_write_all(p.s.out, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35), 0);
        ck_assert_int_lt(worker_steps(w), 0);
        ck_assert_int_lt(flow_worker_process(w), 0); /* for good */
        flow_worker_free(w);
        libflow_stream_done(&p.s);

        /* frames before HELLO; frames that nobody sends a worker; a memfd that did not come */
        int pair[2];
        ck_assert_int_eq(fd_socketpair(pair), 0);
        w = worker_on(pair[1], echo, NULL, NULL);
        ck_assert_int_eq(libflow_stream_init(&p.s, pair[0], pair[0]), 0);
        peer_bare(&p, FRAME_JOB, 1, 1);
        ck_assert_int_eq(worker_steps(w), -EPROTO);
        flow_worker_free(w);
        libflow_stream_done(&p.s);

        w = worker_on(peer_init(&p, true), echo, NULL, NULL);
        peer_bare(&p, FRAME_WAIT, 1, 1);
        ck_assert_int_eq(worker_steps(w), -EPROTO);
        flow_worker_free(w);
        libflow_stream_done(&p.s);

        uint8_t header[FRAME_HEADER_SIZE];
        frame_header_encode(&(FrameHeader) { .type = FRAME_JOB, .flags = FRAME_MEMFD, .fds = 1, .job = 1 }, header);
        w = worker_on(peer_init(&p, true), echo, NULL, NULL);
        ck_assert_int_eq(fd_write_all(p.s.out, header, sizeof(header)), 0);
        ck_assert_int_eq(worker_steps(w), -EBADMSG);
        flow_worker_free(w);
        libflow_stream_done(&p.s);
}
END_TEST

/* A worker over two pipes, as behind ssh: no memfd is offered, and large payloads pass. */
START_TEST(worker_pipes) {
        int to[2], from[2];
        FlowWorker *w = NULL;
        _cleanup_free_ uint8_t *data = pattern(BIG);
        FlowFrame f;
        FrameMeta m;
        uint32_t features;
        Peer p;
        int r;

        ck_assert_int_eq(pipe2(to, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(from, O_CLOEXEC), 0);
        ck_assert_int_eq(flow_worker_new_fds(to[0], from[1], echo, NULL, NULL, &w), 0);
        ck_assert_int_eq(libflow_stream_init(&p.s, from[0], to[1]), 0);
        peer_hello(&p, true);
        f = peer_expect(&p, FRAME_HELLO);
        ck_assert_int_eq(frame_meta_decode(f.meta, f.h.meta, &m), 0);
        ck_assert(frame_meta_u32(&m, FRAME_META_FEATURES, &features) && features == 0);
        peer_job(&p, 1, NULL, FLOW_BYTES, data, BIG);
        for (;;) {
                (void) libflow_stream_flush(&p.s);
                ck_assert_int_eq(worker_steps(w), 1);
                (void) libflow_stream_recv(&p.s);
                r = libflow_stream_next(&p.s, &f);
                ck_assert_int_ge(r, 0);
                if (r > 0)
                        break;
        }
        ck_assert_uint_eq(f.payload_size, BIG);
        ck_assert_int_eq(memcmp(f.payload, data, BIG), 0);
        p.s.out = fd_close(p.s.out);
        ck_assert_int_eq(worker_steps(w), 0);
        flow_worker_free(w);
        libflow_stream_done(&p.s);
}
END_TEST

START_TEST(worker_by_hand) {
        FlowWorker *w = NULL;
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        ck_assert_int_eq(flow_worker_new_fds(fd, fd, echo, NULL, NULL, &w), -ENOTSOCK);
        ck_assert_ptr_null(w);
}
END_TEST

int main(void) {
        Suite *s = suite_create("libflow: worker");
        TCase *w = tcase_create("worker");
        SRunner *runner;

        tcase_set_timeout(w, 60);
        tcase_add_test(w, worker_handshake_and_end);
        tcase_add_loop_test(w, worker_payloads, 0, 2);
        tcase_add_test(w, worker_accessors_and_reports);
        tcase_add_test(w, worker_returns_without_result);
        tcase_add_test(w, worker_slots);
        tcase_add_test(w, worker_cancel_while_busy);
        tcase_add_test(w, worker_end_at_every_byte);
        tcase_add_test(w, worker_garbage);
        tcase_add_test(w, worker_pipes);
        tcase_add_test(w, worker_by_hand);
        suite_add_tcase(s, w);

        runner = srunner_create(s);
        srunner_run_all(runner, CK_ENV);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed > 0;
}
