/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The frame codec: what it refuses, what it skips, and that what it writes it reads. */

#include <errno.h>
#include <string.h>

#include "basic/macro.h"
#include "proto/frame.h"
#include "unit.h"

static FrameHeader header(void) {
        return (FrameHeader){
                .body = 300, .meta = 20, .type = FRAME_JOB, .attempt = 0x01020304, .job = UINT64_C(0x1122334455667788)
        };
}

START_TEST(header_layout) {
        static const uint8_t expected[FRAME_HEADER_SIZE] = {
                0x2c, 0x01, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 4, 3, 2, 1, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
        };
        uint8_t buf[FRAME_HEADER_SIZE];
        FrameHeader h = header(), back;

        frame_header_encode(&h, buf);
        ck_assert_mem_eq(buf, expected, sizeof(buf));
        ck_assert_int_eq(frame_header_decode(buf, sizeof(buf), 300, &back), FRAME_HEADER_SIZE);
        ck_assert(back.body == h.body && back.meta == h.meta && back.type == h.type && back.flags == 0 && back.fds == 0);
        ck_assert(back.attempt == h.attempt && back.job == h.job);
}
END_TEST

START_TEST(header_incomplete) {
        uint8_t buf[FRAME_HEADER_SIZE];
        FrameHeader h = header(), back = { .body = 77 };

        frame_header_encode(&h, buf);
        for (size_t n = 0; n < FRAME_HEADER_SIZE; n++)
                ck_assert_int_eq(frame_header_decode(buf, n, FRAME_BODY_MAX, &back), 0);
        ck_assert_uint_eq(back.body, 77);
}
END_TEST

static ssize_t decode_patched(size_t offset, uint8_t value) {
        uint8_t buf[FRAME_HEADER_SIZE];
        FrameHeader h = header(), back = { .body = 77 };

        frame_header_encode(&h, buf);
        buf[offset] = value;
        ssize_t n = frame_header_decode(buf, sizeof(buf), FRAME_BODY_MAX, &back);
        if (n <= 0)
                ck_assert_uint_eq(back.body, 77);
        return n;
}

START_TEST(header_refused) {
        FrameHeader h, back;
        uint8_t buf[FRAME_HEADER_SIZE];

        for (unsigned t = 0; t < 256; t++)
                ck_assert_int_eq(decode_patched(8, (uint8_t) t),
                                 t >= 1 && t < _FRAME_TYPE_MAX ? (int) FRAME_HEADER_SIZE : -EBADMSG);
        for (unsigned i = 1; i < 256; i++) {
                ck_assert_int_eq(decode_patched(9, (uint8_t) i), -EBADMSG);  /* flags: MEMFD too, for there is no descriptor */
                ck_assert_int_eq(decode_patched(10, (uint8_t) i), -EBADMSG); /* fds without the flag */
                ck_assert_int_eq(decode_patched(11, (uint8_t) i), -EBADMSG);
        }

        h = header();
        h.meta = h.body + 1;
        frame_header_encode(&h, buf);
        ck_assert_int_eq(frame_header_decode(buf, sizeof(buf), FRAME_BODY_MAX, &back), -EBADMSG);
        h.body = FRAME_META_MAX + 100;
        h.meta = FRAME_META_MAX;
        frame_header_encode(&h, buf);
        ck_assert_int_eq(frame_header_decode(buf, sizeof(buf), FRAME_BODY_MAX, &back), FRAME_HEADER_SIZE);
        h.meta++;
        frame_header_encode(&h, buf);
        ck_assert_int_eq(frame_header_decode(buf, sizeof(buf), FRAME_BODY_MAX, &back), -EBADMSG);

        h = header();
        frame_header_encode(&h, buf);
        ck_assert_int_eq(frame_header_decode(buf, sizeof(buf), h.body, &back), FRAME_HEADER_SIZE);
        ck_assert_int_eq(frame_header_decode(buf, sizeof(buf), h.body - 1, &back), -EMSGSIZE);
        h.body = UINT32_MAX;
        frame_header_encode(&h, buf);
        ck_assert_int_eq(frame_header_decode(buf, sizeof(buf), FRAME_BODY_MAX, &back), -EMSGSIZE);
}
END_TEST

START_TEST(header_memfd) {
        FrameHeader h = { .body = 12, .meta = 12, .type = FRAME_RESULT, .flags = FRAME_MEMFD, .fds = 1 }, back;
        uint8_t buf[FRAME_HEADER_SIZE];

        frame_header_encode(&h, buf);
        ck_assert_int_eq(frame_header_decode(buf, sizeof(buf), FRAME_BODY_MAX, &back), FRAME_HEADER_SIZE);
        ck_assert(back.flags == FRAME_MEMFD && back.fds == 1);
        for (unsigned i = 0; i < 256; i++) {
                buf[10] = (uint8_t) i;
                ck_assert_int_eq(frame_header_decode(buf, sizeof(buf), FRAME_BODY_MAX, &back),
                                 i == 1 ? (int) FRAME_HEADER_SIZE : -EBADMSG);
        }
        h.body = 13; /* a payload both here and there */
        frame_header_encode(&h, buf);
        ck_assert_int_eq(frame_header_decode(buf, sizeof(buf), FRAME_BODY_MAX, &back), -EBADMSG);
}
END_TEST

START_TEST(meta_values) {
        uint8_t buf[512], u8 = 0;
        uint32_t u32 = 0;
        uint64_t u64 = 0;
        char text[16];
        FrameHeader h = { .type = FRAME_JOB, .job = 3 }, back;
        FrameWriter w;
        FrameMeta m;
        ssize_t n;

        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_u8(&w, FRAME_META_KIND, PAYLOAD_BYTES);
        frame_put_u32(&w, FRAME_META_SLOTS, 0xdeadbeef);
        frame_put_u64(&w, FRAME_META_DEADLINE, UINT64_MAX - 1);
        frame_put_text(&w, FRAME_META_POOL, "größe");
        frame_put_text(&w, FRAME_META_METHOD, NULL);
        frame_put_text(&w, FRAME_META_SESSION, "");
        n = frame_writer_end(&w, &h, 1000);
        ck_assert_int_gt(n, 0);
        ck_assert_uint_eq(h.meta + FRAME_HEADER_SIZE, (size_t) n);
        ck_assert_uint_eq(h.body, h.meta + 1000);
        ck_assert_int_eq(frame_header_decode(buf, (size_t) n, 2000, &back), FRAME_HEADER_SIZE);
        ck_assert_int_eq(frame_meta_decode(buf + FRAME_HEADER_SIZE, back.meta, &m), 0);

        ck_assert(frame_meta_u8(&m, FRAME_META_KIND, &u8) && u8 == PAYLOAD_BYTES);
        ck_assert(frame_meta_u32(&m, FRAME_META_SLOTS, &u32) && u32 == 0xdeadbeef);
        ck_assert(frame_meta_u64(&m, FRAME_META_DEADLINE, &u64) && u64 == UINT64_MAX - 1);
        ck_assert_int_eq(frame_meta_text(&m, FRAME_META_POOL, text, sizeof(text)), 1);
        ck_assert_str_eq(text, "größe");
        ck_assert_int_eq(frame_meta_text(&m, FRAME_META_SESSION, text, sizeof(text)), 1);
        ck_assert_str_eq(text, "");
        ck_assert_int_eq(frame_meta_text(&m, FRAME_META_METHOD, text, sizeof(text)), 0);

        /* absent, or of another size: untouched */
        ck_assert(!frame_meta_u8(&m, FRAME_META_SLOTS, &u8) && u8 == PAYLOAD_BYTES);
        ck_assert(!frame_meta_u32(&m, FRAME_META_DEADLINE, &u32) && u32 == 0xdeadbeef);
        ck_assert(!frame_meta_u64(&m, FRAME_META_KIND, &u64) && !frame_meta_u64(&m, FRAME_META_TIMEOUT, &u64));
}
END_TEST

START_TEST(meta_text) {
        static const uint8_t nul[] = { 17, 0, 3, 0, 'a', 0, 'b' }, bad[] = { 17, 0, 2, 0, 0xc3, 0x28 },
                             ok[] = { 17, 0, 3, 0, 'a', 'b', 'c' };
        char text[4] = "x";
        FrameMeta m;

        ck_assert_int_eq(frame_meta_decode(nul, sizeof(nul), &m), 0);
        ck_assert_int_eq(frame_meta_text(&m, FRAME_META_POOL, text, sizeof(text)), -EBADMSG);
        ck_assert_int_eq(frame_meta_decode(bad, sizeof(bad), &m), 0);
        ck_assert_int_eq(frame_meta_text(&m, FRAME_META_POOL, text, sizeof(text)), -EBADMSG);
        ck_assert_int_eq(frame_meta_decode(ok, sizeof(ok), &m), 0);
        ck_assert_int_eq(frame_meta_text(&m, FRAME_META_POOL, text, 3), -ENOBUFS);
        ck_assert_str_eq(text, "x");
        ck_assert_int_eq(frame_meta_text(&m, FRAME_META_POOL, text, 4), 1);
        ck_assert_str_eq(text, "abc");
}
END_TEST

START_TEST(meta_refused) {
        static const uint8_t twice[] = { 16, 0, 1, 0, 'a', 16, 0, 1, 0, 'b' }, empty_twice[] = { 16, 0, 0, 0, 16, 0, 0, 0 },
                             unknown[] = { 64, 0, 2, 0, 'x', 'y', 255, 255, 0, 0, 64, 0, 0, 0, 16, 0, 1, 0, 'm' };
        uint64_t seed = UNIT_SEED;
        FrameMeta m = { .items[5].size = 99 };

        ck_assert_int_eq(frame_meta_decode(twice, sizeof(twice), &m), -EBADMSG);
        ck_assert_int_eq(frame_meta_decode(empty_twice, sizeof(empty_twice), &m), -EBADMSG);
        for (size_t n = 1; n < 5; n++)
                ck_assert_int_eq(frame_meta_decode(twice, n, &m), -EBADMSG);
        ck_assert_uint_eq(m.items[5].size, 99); /* a failed call leaves it alone */
        ck_assert_int_eq(frame_meta_decode(unknown, sizeof(unknown), &m), 0);
        ck_assert(m.items[FRAME_META_METHOD].size == 1 && !m.items[5].data && m.items[5].size == 0);
        ck_assert_int_eq(frame_meta_decode(NULL, 0, &m), 0);
        ck_assert(!m.items[FRAME_META_METHOD].data);

        for (unsigned i = 0; i < 20000; i++) {
                uint8_t noise[40];
                size_t n = unit_random(&seed) % sizeof(noise);

                unit_random_bytes(&seed, noise, n);
                for (size_t k = 1; k < n; k += 2)
                        noise[k] &= 1; /* so that lengths are small enough to be taken now and then */
                int r = frame_meta_decode(noise, n, &m);
                ck_assert(r == 0 || r == -EBADMSG);
                for (size_t t = 0; r == 0 && t < _FRAME_META_MAX; t++)
                        if (m.items[t].data)
                                ck_assert(m.items[t].data >= noise && m.items[t].data + m.items[t].size <= noise + n);
        }
}
END_TEST

START_TEST(writer_round_trip) {
        static uint8_t buf[FRAME_HEADER_SIZE + FRAME_META_MAX];
        uint64_t seed = UNIT_SEED;

        for (unsigned round = 0; round < 2000; round++) {
                uint8_t values[_FRAME_META_MAX][64];
                uint64_t present = unit_random(&seed) & unit_random(&seed);
                size_t sizes[_FRAME_META_MAX], payload = unit_random(&seed) % 5000;
                FrameHeader h = { .type = 1 + unit_random(&seed) % (_FRAME_TYPE_MAX - 1),
                                  .attempt = (uint32_t) unit_random(&seed),
                                  .job = unit_random(&seed) },
                            back;
                FrameWriter w;
                FrameMeta m;

                frame_writer_begin(&w, buf, sizeof(buf));
                for (FrameTag t = 0; t < _FRAME_META_MAX; t++) {
                        if (!(present >> t & 1))
                                continue;
                        sizes[t] = unit_random(&seed) % sizeof(values[t]);
                        unit_random_bytes(&seed, values[t], sizes[t]);
                        frame_put(&w, t, values[t], sizes[t]);
                }
                ssize_t n = frame_writer_end(&w, &h, payload);
                ck_assert_int_gt(n, 0);
                ck_assert_int_eq(frame_header_decode(buf, (size_t) n, SIZE_MAX, &back), FRAME_HEADER_SIZE);
                ck_assert(back.type == h.type && back.job == h.job && back.attempt == h.attempt &&
                          back.body == back.meta + payload);
                ck_assert_int_eq(frame_meta_decode(buf + FRAME_HEADER_SIZE, back.meta, &m), 0);
                for (size_t t = 0; t < _FRAME_META_MAX; t++) {
                        ck_assert(!!m.items[t].data == (present >> t & 1));
                        if (m.items[t].data) {
                                ck_assert_uint_eq(m.items[t].size, sizes[t]);
                                ck_assert(memcmp(m.items[t].data, values[t], sizes[t]) == 0);
                        }
                }
                /* cut anywhere but between items, it is refused */
                for (size_t cut = 0; cut < back.meta && round < 20; cut++) {
                        bool between = frame_meta_decode(buf + FRAME_HEADER_SIZE, cut, &m) == 0;
                        size_t at = 0;

                        while (at < cut)
                                at += 4 + (buf[FRAME_HEADER_SIZE + at + 2] | buf[FRAME_HEADER_SIZE + at + 3] << 8);
                        ck_assert_int_eq(between, at == cut);
                }
        }
}
END_TEST

START_TEST(writer_overflow) {
        static uint8_t big[2 * FRAME_META_MAX];
        static char text[70000];
        FrameHeader h = { .type = FRAME_JOB };
        uint8_t buf[FRAME_HEADER_SIZE + 8];
        FrameWriter w;

        frame_writer_begin(&w, buf, sizeof(buf));
        frame_put_u32(&w, FRAME_META_SLOTS, 1);
        ck_assert_int_eq(frame_writer_end(&w, &h, 0), sizeof(buf)); /* it just fits */
        frame_put_u8(&w, FRAME_META_KIND, 1);
        ck_assert(w.overflow);
        ck_assert_uint_eq(w.used, sizeof(buf));
        frame_put(&w, FRAME_META_KEY, NULL, 0);
        ck_assert_int_eq(frame_writer_end(&w, &h, 0), -ENOBUFS); /* and it stays so */

        frame_writer_begin(&w, buf, FRAME_HEADER_SIZE - 1);
        ck_assert_int_eq(frame_writer_end(&w, &h, 0), -ENOBUFS);

        frame_writer_begin(&w, big, sizeof(big));
        frame_put(&w, FRAME_META_KEY, big, UINT16_MAX + 1);
        ck_assert(w.overflow);
        frame_writer_begin(&w, big, sizeof(big));
        frame_put(&w, FRAME_META_KEY, text, FRAME_META_MAX - 4);
        ck_assert(!w.overflow); /* FRAME_META_MAX, which the reader just takes */
        frame_put(&w, FRAME_META_POOL, NULL, 0);
        ck_assert(w.overflow);

        frame_writer_begin(&w, big, sizeof(big));
        ck_assert_int_eq(frame_writer_end(&w, &h, UINT32_MAX), FRAME_HEADER_SIZE);
        ck_assert_int_eq(frame_writer_end(&w, &h, (size_t) UINT32_MAX + 1), -ENOBUFS);
}
END_TEST

START_TEST(names) {
        for (int t = -1; t < 40; t++)
                ck_assert(!!frame_type_to_string((FrameType) t) == (t >= 1 && t < _FRAME_TYPE_MAX));
        for (int s = -1; s < 40; s++)
                ck_assert(!!frame_status_to_string((FrameStatus) s) == (s >= 0 && s < _FRAME_STATUS_MAX));
        for (int k = -1; k < 40; k++) {
                const char *name = payload_kind_to_string((PayloadKind) k);

                ck_assert(!!name == (k >= 0 && k < _PAYLOAD_KIND_MAX));
                if (name)
                        ck_assert_int_eq(payload_kind_from_string(name), k);
        }
        ck_assert_str_eq(frame_type_to_string(FRAME_JOB), "JOB");
        ck_assert_str_eq(frame_status_to_string(FRAME_COMPLETED), "completed");
        ck_assert_int_eq(payload_kind_from_string("Text"), -EINVAL);
        ck_assert_int_eq(payload_kind_from_string(""), -EINVAL);
}
END_TEST

UNIT_MAIN("frame", header_layout, header_incomplete, header_refused, header_memfd, meta_values, meta_text, meta_refused,
          writer_round_trip, writer_overflow, names)
