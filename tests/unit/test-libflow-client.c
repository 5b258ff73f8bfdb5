/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libflow's client side against a flowd that the test plays itself, over a socketpair: by non-blocking steps in one thread,
 * except where flow_run() must block, which has its flowd in another.
 */

#include <fcntl.h>
#include <pthread.h>

#include "libflow-peer.h"
#include "libflow/flow/client.h"

static FlowClient *client_on(int fd) {
        _cleanup_free_ char *why = NULL;
        FlowClient *c = NULL;

        ck_assert_int_eq(flow_client_open_fd(fd, &c, &why), 0);
        ck_assert_ptr_null(why);
        return c;
}

START_TEST(client_pipelined) {
        Peer p;
        FlowClient *c = client_on(peer_init(&p, true));
        const FlowEvent *e;
        uint64_t a, b;
        int mark;
        FlowFrame f;
        FrameMeta m;

        ck_assert_int_eq(flow_client_next(c, -1, &e), 0); /* nothing in flight: does not block */
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .pool = "hot", .data = "abc", .size = 3, .userdata = &mark,
                                                                .priority = -3, .timeout_usec = 5 }, &a), 0);
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .tier = "cold", .kind = FLOW_JSON, .worker_type = "sum", .strategy = "random",
                                                                .fallback = "warm hot", .weight = 7 }, &b), 0);
        ck_assert_uint_eq(flow_client_in_flight(c), 2);
        ck_assert_int_eq(flow_client_events(c), POLLIN | POLLOUT);
        ck_assert_int_eq(flow_client_process(c), 0);
        ck_assert_int_eq(flow_client_events(c), POLLIN);

        (void) peer_expect(&p, FRAME_HELLO);
        f = peer_expect(&p, FRAME_JOB);
        ck_assert_uint_eq(f.h.job, a);
        ck_assert_uint_eq(f.payload_size, 3);
        _cleanup_free_ char *pool = frame_text(&f, FRAME_META_POOL);
        ck_assert_str_eq(pool, "hot");
        ck_assert_int_eq(frame_meta_decode(f.meta, f.h.meta, &m), 0);
        ck_assert_ptr_null(m.items[FRAME_META_WORKER_TYPE].data);
        ck_assert_ptr_null(m.items[FRAME_META_WEIGHT].data);
        f = peer_expect(&p, FRAME_JOB);
        ck_assert_uint_eq(f.h.job, b);
        _cleanup_free_ char *type = frame_text(&f, FRAME_META_WORKER_TYPE), *strategy = frame_text(&f, FRAME_META_STRATEGY);
        _cleanup_free_ char *fallback = frame_text(&f, FRAME_META_FALLBACK);
        uint32_t weight = 0;
        ck_assert_str_eq(type, "sum");
        ck_assert_str_eq(strategy, "random");
        ck_assert_str_eq(fallback, "warm hot");
        ck_assert_int_eq(frame_meta_decode(f.meta, f.h.meta, &m), 0);
        ck_assert(frame_meta_u32(&m, FRAME_META_WEIGHT, &weight));
        ck_assert_uint_eq(weight, 7);

        peer_accept(&p, a, "jobidaaaaaaa");
        peer_result(&p, b, FRAME_REFUSED, "The queue is full", NULL, 0);
        peer_result(&p, b, FRAME_REFUSED, "twice: ignored", NULL, 0);
        peer_result(&p, a, FRAME_COMPLETED, NULL, "result", 6);
        peer_bare(&p, FRAME_PING, 3, 0);

        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_int_eq(e->type, FLOW_EVENT_ACCEPTED);
        ck_assert_uint_eq(e->id, a);
        ck_assert_ptr_eq(e->userdata, &mark);
        ck_assert_str_eq(e->job_id, "jobidaaaaaaa");
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_int_eq(e->type, FLOW_EVENT_RESULT);
        ck_assert_uint_eq(e->id, b);
        ck_assert_int_eq(e->result.status, FLOW_REFUSED);
        ck_assert_str_eq(e->result.error, "The queue is full");
        ck_assert_str_eq(e->result.code, "QueueFull");
        ck_assert_ptr_null(e->result.job_id);
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_uint_eq(e->id, a);
        ck_assert_int_eq(e->result.status, FLOW_COMPLETED);
        ck_assert_str_eq(e->result.job_id, "jobidaaaaaaa");
        ck_assert_str_eq(e->result.worker, "pool/0");
        ck_assert_uint_eq(e->result.attempts, 2);
        ck_assert_uint_eq(e->result.run_usec, 77);

        FlowResult kept;
        ck_assert_int_eq(flow_event_take_result(e, &kept), 0);
        ck_assert_int_eq(flow_client_next(c, -1, &e), 0);
        ck_assert_uint_eq(kept.size, 6);
        ck_assert_int_eq(memcmp(kept.data, "result", 6), 0);
        ck_assert_str_eq(kept.job_id, "jobidaaaaaaa");
        flow_result_clear(&kept);
        flow_result_clear(&kept);
        (void) peer_expect(&p, FRAME_PONG);
        ck_assert_int_eq(flow_client_cancel(c, a), -ENOENT);
        flow_client_close(c);
        libflow_stream_done(&p.s);
}
END_TEST

START_TEST(client_progress_cancel_detach_wait) {
        Peer p;
        FlowClient *c = client_on(peer_init(&p, true));
        uint8_t buf[128];
        FrameHeader h = { .type = FRAME_PROGRESS };
        const FlowEvent *e;
        uint64_t a, d, x;
        FrameWriter w;
        FlowFrame f;

        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .pool = "p" }, &a), 0);
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .pool = "p", .detached = true }, &d), 0);
        ck_assert_int_eq(flow_client_wait_job(c, "someotherjob", NULL, &x), 0);
        ck_assert_int_eq(flow_client_cancel(c, x), -ENOENT);
        ck_assert_int_eq(flow_client_wait_job(c, "", NULL, NULL), -EINVAL);
        ck_assert_int_eq(flow_client_cancel(c, a), 0);
        (void) peer_expect(&p, FRAME_HELLO);
        (void) peer_expect(&p, FRAME_JOB);
        f = peer_expect(&p, FRAME_JOB);
        ck_assert_uint_eq(f.h.job, d);
        f = peer_expect(&p, FRAME_WAIT);
        _cleanup_free_ char *id = frame_text(&f, FRAME_META_JOB_ID);
        ck_assert_str_eq(id, "someotherjob");
        f = peer_expect(&p, FRAME_CANCEL);
        ck_assert_uint_eq(f.h.job, a);

        h.job = a;
        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_u32(&w, FRAME_META_FRACTION, 250000);
        ck_assert_int_eq(libflow_stream_put(&p.s, &w, &h, "quarter", 7, NULL), 0);
        peer_accept(&p, d, "thedetached1");
        peer_result(&p, x, FRAME_COMPLETED, NULL, "kept", 4);
        peer_result(&p, a, FRAME_CANCELLED, "Cancelled by its client", NULL, 0);
        peer_flush(&p);

        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_int_eq(e->type, FLOW_EVENT_PROGRESS);
        ck_assert(e->fraction == 0.25);
        ck_assert_int_eq(memcmp(e->text, "quarter", e->text_size), 0);
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_int_eq(e->type, FLOW_EVENT_ACCEPTED);
        ck_assert_uint_eq(flow_client_in_flight(c), 2); /* the detached one is flowd's now */
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_uint_eq(e->id, x);
        ck_assert_str_eq(e->result.job_id, "someotherjob");
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_int_eq(e->result.status, FLOW_CANCELLED);
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 0);
        flow_client_close(c);
        libflow_stream_done(&p.s);
}
END_TEST

/* The numbers of a request as they are on the wire; -1 where the item is absent. */
typedef struct Wire {
        int durable;
        int64_t retries, retry_delay, not_before, offset, length;
} Wire;

static Wire wire_of(const FlowFrame *f) {
        uint64_t delay, before, offset, length;
        uint8_t durable;
        uint32_t retries;
        FrameMeta m;

        ck_assert_int_eq(frame_meta_decode(f->meta, f->h.meta, &m), 0);
        return (Wire) {
                .durable = frame_meta_u8(&m, FRAME_META_DURABLE, &durable) ? durable : -1,
                .retries = frame_meta_u32(&m, FRAME_META_RETRIES, &retries) ? (int64_t) retries : -1,
                .retry_delay = frame_meta_u64(&m, FRAME_META_RETRY_DELAY, &delay) ? (int64_t) delay : -1,
                .not_before = frame_meta_u64(&m, FRAME_META_NOT_BEFORE, &before) ? (int64_t) before : -1,
                .offset = frame_meta_u64(&m, FRAME_META_OFFSET, &offset) ? (int64_t) offset : -1,
                .length = frame_meta_u64(&m, FRAME_META_LENGTH, &length) ? (int64_t) length : -1,
        };
}

static void assert_wire(Peer *p, FrameType type, Wire want) {
        FlowFrame f = peer_expect(p, type);
        Wire is = wire_of(&f);

        ck_assert_int_eq(is.durable, want.durable);
        ck_assert_int_eq(is.retries, want.retries);
        ck_assert_int_eq(is.retry_delay, want.retry_delay);
        ck_assert_int_eq(is.not_before, want.not_before);
        ck_assert_int_eq(is.offset, want.offset);
        ck_assert_int_eq(is.length, want.length);
}

START_TEST(client_durable_jobs) {
        Peer p;
        FlowClient *c = client_on(peer_init(&p, true));
        const FlowEvent *e;
        uint64_t a, whole, part;
        FrameHeader h = { .type = FRAME_ACCEPTED };
        uint8_t buf[128];
        FrameWriter w;

        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .key = "k", .durable = 2, .retries = 7, .retry_delay_usec = 11,
                                                                .not_before_usec = 13, .detached = true }, &a), 0);
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .durable = 3, .retries = -1 }, NULL), 0);
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) {}, NULL), 0);
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .durable = 4 }, NULL), -EINVAL);
        ck_assert_int_eq(flow_client_wait_job(c, "thefirst", NULL, &whole), 0);
        ck_assert_int_eq(flow_client_wait_part(c, "thefirst", 100, 20, NULL, &part), 0);
        ck_assert_int_eq(flow_client_process(c), 0);

        (void) peer_expect(&p, FRAME_HELLO);
        assert_wire(&p, FRAME_JOB, (Wire) { 2, 7, 11, 13, -1, -1 });
        assert_wire(&p, FRAME_JOB, (Wire) { 3, 0, -1, -1, -1, -1 });
        assert_wire(&p, FRAME_JOB, (Wire) { -1, -1, -1, -1, -1, -1 });
        assert_wire(&p, FRAME_WAIT, (Wire) { -1, -1, -1, -1, -1, -1 });
        assert_wire(&p, FRAME_WAIT, (Wire) { -1, -1, -1, -1, 100, 20 });

        h.job = a;
        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_text(&w, FRAME_META_JOB_ID, "thefirst");
        frame_put_u8(&w, FRAME_META_DUPLICATE, 1);
        ck_assert_int_eq(libflow_stream_put(&p.s, &w, &h, NULL, 0, NULL), 0);
        peer_result(&p, whole, FRAME_COMPLETED, NULL, "all of it", 9);
        h = (FrameHeader) { .type = FRAME_RESULT, .job = part };
        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_u8(&w, FRAME_META_STATUS, FRAME_COMPLETED);
        frame_put_u64(&w, FRAME_META_SIZE_ALL, 120);
        ck_assert_int_eq(libflow_stream_put(&p.s, &w, &h, "the end", 7, NULL), 0);
        peer_flush(&p);

        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_int_eq(e->type, FLOW_EVENT_ACCEPTED);
        ck_assert(e->duplicate);
        ck_assert_str_eq(e->job_id, "thefirst");
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_uint_eq(e->id, whole);
        ck_assert_uint_eq(e->result.size, 9);
        ck_assert_uint_eq(e->result.size_all, 9);
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_uint_eq(e->id, part);
        ck_assert_uint_eq(e->result.size, 7);
        ck_assert_uint_eq(e->result.size_all, 120);
        flow_client_close(c);
        libflow_stream_done(&p.s);
}
END_TEST

/* A flowd that answers each job with its payload, and each WAIT with a refusal; in a thread, until the connection closes. */
static void *fake_flowd(void *userdata) {
        Peer *p = userdata;
        FlowFrame f;
        int r;

        for (;;) {
                struct pollfd pfd = { .fd = p->s.in, .events = (short) (POLLIN | (outq_empty(&p->s.output) ? 0 : POLLOUT)) };

                if (poll(&pfd, 1, 20000) <= 0)
                        break;
                if (libflow_stream_flush(&p->s) < 0 || libflow_stream_recv(&p->s) < 0)
                        break;
                while ((r = libflow_stream_next(&p->s, &f)) > 0) {
                        const uint8_t *data = f.payload;

                        if (f.memfd && blob_data(f.memfd, &data) < 0)
                                abort();
                        if (f.h.type == FRAME_JOB) {
                                peer_accept(p, f.h.job, "abcdefghijkl");
                                peer_result(p, f.h.job, FRAME_COMPLETED, NULL, data, f.payload_size);
                        } else if (f.h.type == FRAME_WAIT)
                                peer_result(p, f.h.job, FRAME_REFUSED, "No such job", NULL, 0);
                        libflow_frame_done(&f);
                }
                if (r < 0 || p->s.eof)
                        break;
        }
        libflow_stream_done(&p->s);
        return NULL;
}

START_TEST(client_simple_forms) {
        Peer p;
        int fd = peer_init(&p, _i);
        pthread_t t;

        ck_assert_int_eq(pthread_create(&t, NULL, fake_flowd, &p), 0);
        FlowClient *c = client_on(fd);
        static const size_t sizes[] = { 0, 1, 65536, FRAME_MEMFD_MIN, BIG };
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_free_ uint8_t *data = pattern(sizes[i]);
                FlowResult result;

                ck_assert_int_eq(flow_run(c, &(FlowRequest) { .kind = FLOW_BYTES, .data = data, .size = sizes[i] }, &result), 0);
                ck_assert_int_eq(result.status, FLOW_COMPLETED);
                ck_assert_uint_eq(result.size, sizes[i]);
                ck_assert(sizes[i] == 0 || memcmp(result.data, data, sizes[i]) == 0);
                flow_result_clear(&result);
        }

        /* a job that was pipelined before is not lost by a simple one */
        const FlowEvent *e;
        FlowResult result;
        char job_id[FLOW_JOB_ID_SIZE];
        uint64_t id;
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .data = "first", .size = 5 }, &id), 0);
        ck_assert_int_eq(flow_run(c, &(FlowRequest) { .data = "second", .size = 6 }, &result), 0);
        ck_assert_int_eq(memcmp(result.data, "second", 6), 0);
        flow_result_clear(&result);
        ck_assert_int_eq(flow_client_process(c), 1);
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_int_eq(e->type, FLOW_EVENT_ACCEPTED);
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), 1);
        ck_assert_uint_eq(e->id, id);
        ck_assert_int_eq(flow_event_take_result(e, &result), 0);
        ck_assert_int_eq(memcmp(result.data, "first", 5), 0);
        flow_result_clear(&result);

        ck_assert_int_eq(flow_submit(c, &(FlowRequest) { .data = "x", .size = 1 }, job_id), 0);
        ck_assert_str_eq(job_id, "abcdefghijkl");
        ck_assert_int_eq(flow_wait(c, job_id, &result), 0);
        ck_assert_int_eq(result.status, FLOW_REFUSED);
        ck_assert_str_eq(result.error, "No such job");
        flow_result_clear(&result);
        ck_assert_int_eq(flow_run(c, &(FlowRequest) { .detached = true }, &result), -EINVAL);
        flow_client_close(c);
        pthread_join(t, NULL);
}
END_TEST

/* Far more than two socket buffers hold, in both directions, without a memfd: neither side may wait for the other for ever. */
START_TEST(client_no_deadlock) {
        enum { JOBS = 200, SIZE = 300 * 1024 };
        _cleanup_free_ uint8_t *data = pattern(SIZE);
        size_t sent = 0, done = 0;
        const FlowEvent *e;
        pthread_t t;
        Peer p;
        int fd = peer_init(&p, false), r;

        ck_assert_int_eq(pthread_create(&t, NULL, fake_flowd, &p), 0);
        FlowClient *c = client_on(fd);
        while (done < JOBS) {
                r = 0;
                while (sent < JOBS && (r = flow_client_submit(c, &(FlowRequest) { .kind = FLOW_BYTES, .data = data, .size = SIZE }, NULL)) == 0)
                        sent++;
                ck_assert(r == 0 || r == -EAGAIN);
                ck_assert_int_eq(flow_client_next(c, 10000000, &e), 1);
                if (e->type != FLOW_EVENT_RESULT)
                        continue;
                ck_assert_uint_eq(e->result.size, SIZE);
                ck_assert_int_eq(memcmp(e->result.data, data, SIZE), 0);
                done++;
        }
        flow_client_close(c);
        pthread_join(t, NULL);
}
END_TEST

START_TEST(client_payload_from_fd) {
        _cleanup_free_ uint8_t *data = pattern(BIG);
        FILE *file = tmpfile();
        pthread_t t;
        Peer p;
        int fd = peer_init(&p, _i), pipes[2];
        FlowResult result;

        ck_assert_int_eq(pthread_create(&t, NULL, fake_flowd, &p), 0);
        FlowClient *c = client_on(fd);

        ck_assert_uint_eq(fwrite(data, 1, BIG, file), BIG);
        ck_assert_int_eq(fflush(file), 0);
        ck_assert_int_eq(lseek(fileno(file), 5, SEEK_SET), 5);
        ck_assert_int_eq(flow_run(c, &(FlowRequest) { .kind = FLOW_BYTES, .from_fd = true, .fd = fileno(file) }, &result), 0);
        ck_assert_uint_eq(result.size, BIG - 5);
        ck_assert_int_eq(memcmp(result.data, data + 5, BIG - 5), 0);
        flow_result_clear(&result);
        fclose(file);

        int sealed = memfd_new_sealed("test", data, BIG);
        ck_assert_int_eq(lseek(sealed, 0, SEEK_SET), 0);
        ck_assert_int_eq(flow_run(c, &(FlowRequest) { .kind = FLOW_BYTES, .from_fd = true, .fd = sealed }, &result), 0);
        ck_assert_uint_eq(result.size, BIG);
        ck_assert_int_eq(memcmp(result.data, data, BIG), 0);
        flow_result_clear(&result);
        fd_close(sealed);

        ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
        ck_assert_int_eq(fd_write_all(pipes[1], "piped", 5), 0);
        fd_close(pipes[1]);
        ck_assert_int_eq(flow_run(c, &(FlowRequest) { .from_fd = true, .fd = pipes[0] }, &result), 0);
        ck_assert_uint_eq(result.size, 5);
        flow_result_clear(&result);
        ck_assert_int_lt(flow_client_submit(c, &(FlowRequest) { .from_fd = true, .fd = pipes[1] }, NULL), 0); /* closed */
        fd_close(pipes[0]);
        flow_client_close(c);
        pthread_join(t, NULL);
}
END_TEST

START_TEST(client_refuses_nonsense) {
        Peer p;
        FlowClient *c = client_on(peer_init(&p, false));
        _cleanup_free_ char *text = malloc(40001);

        memset(text, 'x', 40000);
        text[40000] = 0;
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .method = text, .session = text }, NULL), -EMSGSIZE);
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .data = text, .size = FRAME_BODY_MAX + 1 }, NULL), -EMSGSIZE);
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .kind = (FlowKind) 9 }, NULL), -EINVAL);
        ck_assert_uint_eq(flow_client_in_flight(c), 0);
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .method = text }, NULL), 0); /* and goes on */
        flow_client_close(c);
        libflow_stream_done(&p.s);
}
END_TEST

/* A conversation from flowd, cut off after each byte: the client gets the events whose frames are whole, then an error, and
 * never hangs. */
START_TEST(client_end_at_every_byte) {
        uint8_t bytes[1024];
        ssize_t n;
        Peer p;

        /* its bytes; the first slot of a new client always has the same id */
        int fd = peer_init(&p, false);
        FlowClient *c = client_on(fd);
        uint64_t id;
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .data = "x", .size = 1 }, &id), 0);
        flow_client_close(c);
        libflow_stream_done(&p.s);
        fd = peer_init(&p, false);
        peer_accept(&p, id, "abcdefghijkl");
        peer_result(&p, id, FRAME_COMPLETED, NULL, "result", 6);
        peer_flush(&p);
        n = read(fd, bytes, sizeof(bytes));
        ck_assert_int_gt(n, 0);
        fd_close(fd);
        libflow_stream_done(&p.s);

        FrameHeader h;
        ck_assert_int_gt(frame_header_decode(bytes, (size_t) n, FRAME_BODY_MAX, &h), 0);
        size_t hello = FRAME_HEADER_SIZE + h.body;

        for (size_t total = 0; total <= (size_t) n; total++) {
                _cleanup_free_ char *why = NULL;
                FlowResult result;
                int pair[2], r;

                ck_assert_int_eq(fd_socketpair(pair), 0);
                ck_assert_int_eq(fd_write_all(pair[0], bytes, MIN(total, hello)), 0);
                if (total < hello)
                        ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
                r = flow_client_open_fd(pair[1], &c, &why);
                if (total < hello) {
                        ck_assert_int_eq(r, -ECONNRESET);
                        ck_assert_ptr_nonnull(why);
                        fd_close(pair[0]);
                        continue;
                }
                ck_assert_int_eq(r, 0);
                ck_assert_int_eq(fd_write_all(pair[0], bytes + hello, total - hello), 0);
                ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
                r = flow_run(c, &(FlowRequest) { .data = "x", .size = 1 }, &result);
                if (total < (size_t) n) {
                        ck_assert_int_eq(r, -ECONNRESET);
                        ck_assert_ptr_nonnull(strstr(flow_client_error(c), "without an answer: 1"));
                        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .data = "x" }, NULL), -ECONNRESET);
                } else {
                        ck_assert_int_eq(r, 0);
                        flow_result_clear(&result);
                }
                flow_client_close(c);
                fd_close(pair[0]);
        }
}
END_TEST

START_TEST(client_garbage) {
        _cleanup_free_ char *why = NULL;
        FlowClient *c = NULL;
        uint8_t buf[128];
        const FlowEvent *e;
        FrameWriter w;
        int pair[2];
        Peer p;

        ck_assert_int_eq(fd_socketpair(pair), 0);
        ck_assert_int_eq(fd_write_all(pair[0], "220 smtp.example.org ESMTP Postfix\r\n", 36), 0);
        ck_assert_int_eq(flow_client_open_fd(pair[1], &c, &why), -EPROTO);
        ck_assert_ptr_nonnull(why);
        fd_close(pair[0]);

        /* a RESULT whose status does not exist */
        c = client_on(peer_init(&p, true));
        FrameHeader h = { .type = FRAME_RESULT };
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .data = "x", .size = 1 }, &h.job), 0);
        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_u8(&w, FRAME_META_STATUS, 99);
        ck_assert_int_eq(libflow_stream_put(&p.s, &w, &h, NULL, 0, NULL), 0);
        peer_flush(&p);
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), -EPROTO);
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), -EPROTO); /* for good */
        flow_client_close(c);
        libflow_stream_done(&p.s);

        /* flowd says why it hangs up, and hangs up while we write */
        c = client_on(peer_init(&p, true));
        h = (FrameHeader) { .type = FRAME_ERROR };
        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_text(&w, FRAME_META_ERROR, "too many connections");
        ck_assert_int_eq(libflow_stream_put(&p.s, &w, &h, NULL, 0, NULL), 0);
        peer_flush(&p);
        libflow_stream_done(&p.s);
        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .data = "x", .size = 1 }, NULL), 0);
        ck_assert_int_eq(flow_client_next(c, 1000000, &e), -ECONNABORTED);
        ck_assert_ptr_nonnull(strstr(flow_client_error(c), "too many connections"));
        flow_client_close(c);
}
END_TEST

START_TEST(client_timeout) {
        Peer p;
        FlowClient *c = client_on(peer_init(&p, true));
        const FlowEvent *e;
        uint64_t before;

        ck_assert_int_eq(flow_client_submit(c, &(FlowRequest) { .data = "x", .size = 1 }, NULL), 0);
        ck_assert_int_eq(flow_client_next(c, 0, &e), 0);
        before = now_usec();
        ck_assert_int_eq(flow_client_next(c, 20000, &e), 0);
        ck_assert_uint_ge(now_usec() - before, 20000);
        flow_client_close(c);
        libflow_stream_done(&p.s);
}
END_TEST

START_TEST(client_no_daemon) {
        _cleanup_free_ char *why = NULL;
        FlowClient *c = NULL;

        ck_assert_int_eq(flow_client_open("/nonexistent/runtime", &c, &why), -ENOENT);
        ck_assert_ptr_nonnull(strstr(why, "/nonexistent/runtime/jobs"));
        ck_assert_ptr_null(c);
        ck_assert_int_eq(flow_client_open("/nonexistent/runtime", &c, NULL), -ENOENT);
        ck_assert_ptr_null(flow_client_close(NULL));
}
END_TEST

int main(void) {
        Suite *s = suite_create("libflow: client");
        TCase *c = tcase_create("client");
        SRunner *runner;

        tcase_set_timeout(c, 60);
        tcase_add_test(c, client_pipelined);
        tcase_add_test(c, client_progress_cancel_detach_wait);
        tcase_add_test(c, client_durable_jobs);
        tcase_add_loop_test(c, client_simple_forms, 0, 2);
        tcase_add_test(c, client_no_deadlock);
        tcase_add_loop_test(c, client_payload_from_fd, 0, 2);
        tcase_add_test(c, client_refuses_nonsense);
        tcase_add_test(c, client_end_at_every_byte);
        tcase_add_test(c, client_garbage);
        tcase_add_test(c, client_timeout);
        tcase_add_test(c, client_no_daemon);
        suite_add_tcase(s, c);

        runner = srunner_create(s);
        srunner_run_all(runner, CK_ENV);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed > 0;
}
