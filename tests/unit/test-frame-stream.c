/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Receiving frames: whatever the reads cut the stream into, the same frames come out, with their metadata, payloads and descriptors. */

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "basic/fd.h"
#include "worker/frame-stream.h"

#define N_SIZES 9

static const size_t sizes[N_SIZES] = { 0, 1, 100, FRAME_STREAM_DIRECT - 1, FRAME_STREAM_DIRECT, 40000, 90000, 300000, 7 };

/* All frames one after the other; the payload of frame i is filled with the byte i + 1. */
static size_t compose(uint8_t *buf, size_t room) {
        size_t n = 0;

        for (size_t i = 0; i < N_SIZES; i++) {
                FrameHeader h = { .type = FRAME_JOB, .job = i + 1, .attempt = 1 };
                FrameWriter w;
                char method[32];

                snprintf(method, sizeof(method), "method-%zu", i);
                frame_writer_begin(&w, buf + n, room - n);
                frame_put_text(&w, FRAME_META_METHOD, method);
                ssize_t k = frame_writer_end(&w, &h, sizes[i]);
                ck_assert_int_gt(k, 0);
                memset(buf + n + k, (int) i + 1, sizes[i]);
                n += (size_t) k + sizes[i];
        }
        return n;
}

static void check_frame(Frame *f, size_t i) {
        _cleanup_(blob_unrefp) Blob *b = NULL;
        char method[32], expected[32];

        snprintf(expected, sizeof(expected), "method-%zu", i);
        ck_assert_uint_eq(f->header.job, i + 1);
        ck_assert_int_eq(frame_meta_text(&f->meta, FRAME_META_METHOD, method, sizeof(method)), 1);
        ck_assert_str_eq(method, expected);
        ck_assert_uint_eq(f->size, sizes[i]);
        b = frame_take_blob(f);
        ck_assert_ptr_nonnull(b);
        /* all the same: the first is right, and each equals the next */
        ck_assert(sizes[i] == 0 || (b->data[0] == (uint8_t) (i + 1) && memcmp(b->data, b->data + 1, sizes[i] - 1) == 0));
}

/* Feeds `data` in pieces of `piece` bytes and takes every frame as soon as it is whole. */
static void feed(const uint8_t *data, size_t size, size_t piece) {
        uint64_t inbound = 0;
        FrameStream s;
        size_t next = 0;
        int pair[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        frame_stream_init(&s, FRAME_BODY_MAX, FRAME_BODY_MAX);
        s.inbound = &inbound;
        s.inbound_max = UINT64_MAX;
        for (size_t at = 0; at < size;) {
                size_t n = MIN(piece, size - at);

                ck_assert_int_eq(fd_write_all(pair[1], data + at, n), 0);
                at += n;
                for (;;) {
                        ssize_t k = frame_stream_receive(&s, pair[0]);
                        int r;

                        if (k == -EAGAIN)
                                break;
                        ck_assert_int_gt(k, 0);
                        for (;;) {
                                _cleanup_(frame_done) Frame f = {};

                                r = frame_stream_next(&s, &f);
                                ck_assert_int_ge(r, 0);
                                if (r == 0)
                                        break;
                                check_frame(&f, next++);
                        }
                }
        }
        ck_assert_uint_eq(next, N_SIZES);
        ck_assert(!frame_stream_partial(&s));
        ck_assert_uint_eq(inbound, 0);
        frame_stream_done(&s);
        fd_close(pair[0]);
        fd_close(pair[1]);
}

START_TEST(any_pieces) {
        static const size_t pieces[] = { 1021, 4096, 20000, 33000, 60000, 98304, 150000 };
        size_t room = 1024 * 1024;
        _cleanup_free_ uint8_t *buf = malloc(room);
        size_t size = compose(buf, room);

        for (size_t i = 0; i < ELEMENTSOF(pieces); i++)
                feed(buf, size, pieces[i]);
}
END_TEST

/* A payload above the direct limit that lies whole in the buffer, with another frame behind it. */
START_TEST(two_in_one_read) {
        _cleanup_free_ uint8_t *buf = malloc(128 * 1024);
        FrameStream s;
        FrameWriter w;
        size_t n = 0;
        int pair[2];

        for (unsigned i = 0; i < 2; i++) {
                FrameHeader h = { .type = FRAME_JOB, .job = i + 1 };

                frame_writer_begin(&w, buf + n, 1024);
                frame_put_u8(&w, FRAME_META_KIND, PAYLOAD_BYTES);
                n += (size_t) frame_writer_end(&w, &h, i == 0 ? 40000 : 3);
                memset(buf + n, 'x', 40000);
                n += i == 0 ? 40000 : 3;
        }
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        frame_stream_init(&s, FRAME_BODY_MAX, FRAME_BODY_MAX);
        ck_assert_int_eq(fd_write_all(pair[1], buf, n), 0);
        ck_assert_int_eq(frame_stream_receive(&s, pair[0]), (int) n);
        for (unsigned i = 0; i < 2; i++) {
                _cleanup_(frame_done) Frame f = {};

                ck_assert_int_eq(frame_stream_next(&s, &f), 1);
                ck_assert_uint_eq(f.header.job, i + 1);
                ck_assert_uint_eq(f.size, i == 0 ? 40000 : 3);
        }
        frame_stream_done(&s);
        fd_close(pair[0]);
        fd_close(pair[1]);
}
END_TEST

START_TEST(descriptors) {
        uint8_t buf[256];
        int pair[2], fds[3];
        FrameStream s;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        frame_stream_init(&s, FRAME_BODY_MAX, 1000);
        for (unsigned i = 0; i < 3; i++) { /* the second is not sealed, the third is too large */
                FrameHeader h = { .type = FRAME_RESULT, .job = i + 1, .flags = FRAME_MEMFD, .fds = 1 };
                size_t size = i == 2 ? 2000 : 10;
                char text[2000] = "0123456789";
                FrameWriter w;

                fds[i] = i == 1 ? memfd_create("unsealed", MFD_CLOEXEC) : memfd_new_sealed("sealed", text, size);
                ck_assert_int_ge(fds[i], 0);
                frame_writer_begin(&w, buf, sizeof(buf));
                frame_put_u64(&w, FRAME_META_SIZE, size);
                struct iovec iov = { buf, (size_t) frame_writer_end(&w, &h, 0) };
                ck_assert_int_eq(fd_send(pair[1], &iov, 1, fds[i]), (int) iov.iov_len);
                fd_close(fds[i]);
        }
        static const int expected[] = { 1, -EPERM, -EMSGSIZE };
        for (unsigned i = 0; i < 3; i++) {
                _cleanup_(frame_done) Frame f = {};
                const uint8_t *data;

                ck_assert_int_gt(frame_stream_receive(&s, pair[0]), 0);
                ck_assert_int_eq(frame_stream_next(&s, &f), expected[i]);
                if (i > 0) {
                        frame_stream_done(&s); /* after an error a stream is of no use */
                        frame_stream_init(&s, FRAME_BODY_MAX, 1000);
                        continue;
                }
                ck_assert_int_eq(blob_data(f.blob, &data), 0);
                ck_assert_mem_eq(data, "0123456789", 10);
        }
        frame_stream_done(&s);
        fd_close(pair[0]);
        fd_close(pair[1]);
}
END_TEST

START_TEST(inbound_limit) {
        uint8_t buf[FRAME_HEADER_SIZE + 4];
        FrameHeader h = { .type = FRAME_JOB, .job = 1, .body = 1 << 20 };
        uint64_t inbound = 0;
        FrameStream s;
        Frame f;
        int pair[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        frame_stream_init(&s, FRAME_BODY_MAX, FRAME_BODY_MAX);
        s.inbound = &inbound;
        s.inbound_max = 1000000;
        frame_header_encode(&h, buf);
        ck_assert_int_eq(fd_write_all(pair[1], buf, FRAME_HEADER_SIZE), 0);
        ck_assert_int_eq(frame_stream_receive(&s, pair[0]), FRAME_HEADER_SIZE);
        ck_assert_int_eq(frame_stream_next(&s, &f), -EBUSY);
        ck_assert_uint_eq(inbound, 0);
        frame_stream_done(&s);
        fd_close(pair[0]);
        fd_close(pair[1]);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("frame-stream");
        TCase *c = tcase_create("frame-stream");

        tcase_set_timeout(c, 60);
        tcase_add_test(c, any_pieces);
        tcase_add_test(c, two_in_one_read);
        tcase_add_test(c, descriptors);
        tcase_add_test(c, inbound_limit);
        suite_add_tcase(suite, c);
        SRunner *r = srunner_create(suite);
        srunner_run_all(r, CK_ENV);
        int failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed > 0;
}
