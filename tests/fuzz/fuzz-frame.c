/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Frames: what decodes, encodes to the same bytes; metadata survives the writer; nothing reads beyond what it was given. */

#include <errno.h>

#include "basic/str.h"
#include "fuzz.h"
#include "proto/frame.h"

#define BODY_MAX (1U << 20)

static void check_readers(const FrameMeta *m) {
        for (FrameTag t = 0; t < _FRAME_META_MAX; t++) {
                char text[64];
                uint64_t u64;
                uint32_t u32;
                uint8_t u8;
                int r;

                CHECK(!frame_meta_u8(m, t, &u8) || m->items[t].size == 1);
                CHECK(!frame_meta_u32(m, t, &u32) || m->items[t].size == 4);
                CHECK(!frame_meta_u64(m, t, &u64) || m->items[t].size == 8);
                r = frame_meta_text(m, t, text, sizeof(text));
                if (r > 0)
                        CHECK(strlen(text) == m->items[t].size && utf8_valid(text, strlen(text)));
                else
                        CHECK((r == 0 && !m->items[t].data) || r == -EBADMSG || r == -ENOBUFS);
        }
}

/* Writes the items again, and reads what was written. */
static void check_writer(const FrameHeader *h, const FrameMeta *m, size_t payload) {
        static uint8_t buf[FRAME_HEADER_SIZE + FRAME_META_MAX];
        FrameHeader again, header = *h;
        FrameWriter w;
        FrameMeta copy;
        ssize_t n;

        frame_writer_begin(&w, buf, sizeof(buf));
        for (FrameTag t = 0; t < _FRAME_META_MAX; t++)
                if (m->items[t].data)
                        frame_put(&w, t, m->items[t].data, m->items[t].size);
        n = frame_writer_end(&w, &header, payload);
        CHECK(n >= (ssize_t) FRAME_HEADER_SIZE);
        CHECK(frame_header_decode(buf, (size_t) n, SIZE_MAX, &again) == FRAME_HEADER_SIZE);
        CHECK(again.type == h->type && again.job == h->job && again.attempt == h->attempt && again.flags == h->flags);
        CHECK(again.body - again.meta == payload && FRAME_HEADER_SIZE + again.meta == (size_t) n);
        CHECK(frame_meta_decode(buf + FRAME_HEADER_SIZE, again.meta, &copy) == 0);
        for (FrameTag t = 0; t < _FRAME_META_MAX; t++) {
                CHECK(!copy.items[t].data == !m->items[t].data && copy.items[t].size == m->items[t].size);
                CHECK(!copy.items[t].data || memcmp(copy.items[t].data, m->items[t].data, m->items[t].size) == 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint8_t buf[FRAME_HEADER_SIZE];
        FrameHeader h;
        FrameMeta m;
        ssize_t n;

        n = frame_header_decode(data, size, BODY_MAX, &h);
        CHECK(n == 0 || n == FRAME_HEADER_SIZE || n == -EBADMSG || n == -EMSGSIZE);
        CHECK((n == 0) == (size < FRAME_HEADER_SIZE));
        if (n <= 0)
                return 0;
        frame_header_encode(&h, buf);
        CHECK(memcmp(buf, data, FRAME_HEADER_SIZE) == 0);

        /* the header's `meta` is seldom what is there; take the rest, so that items are reached */
        size_t meta = MIN(size - FRAME_HEADER_SIZE, (size_t) FRAME_META_MAX);

        if (frame_meta_decode(data + FRAME_HEADER_SIZE, meta, &m) < 0)
                return 0;
        check_readers(&m);
        check_writer(&h, &m, h.flags & FRAME_MEMFD ? 0 : h.body - h.meta);
        return 0;
}
