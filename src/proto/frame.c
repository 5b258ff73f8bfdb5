/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Frames, to and from bytes. This is the hot path of every job, so nothing here allocates: metadata is indexed where it lies, and
 * a frame is written straight into the caller's buffer, its header last, when the sizes are known. The peer may be hostile: a
 * header is judged before anything is done with its sizes, and what one side cannot have meant (a descriptor without the flag, a
 * tag twice) is an error rather than a guess. What a newer peer may add, unknown tags, is skipped.
 *
 * Items are not aligned; every access goes through memcpy(), which compiles to a plain load.
 */

#include <endian.h>
#include <errno.h>

#include "basic/str.h"
#include "proto/frame.h"

#define ITEM_HEADER_SIZE 4U

enum {
        OFFSET_BODY = 0,
        OFFSET_META = 4,
        OFFSET_TYPE = 8,
        OFFSET_FLAGS = 9,
        OFFSET_FDS = 10,
        OFFSET_RESERVED = 11,
        OFFSET_ATTEMPT = 12,
        OFFSET_JOB = 16,
};

static uint16_t get_u16(const uint8_t *p) {
        uint16_t v;

        memcpy(&v, p, sizeof(v));
        return le16toh(v);
}

static uint32_t get_u32(const uint8_t *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return le32toh(v);
}

static uint64_t get_u64(const uint8_t *p) {
        uint64_t v;

        memcpy(&v, p, sizeof(v));
        return le64toh(v);
}

static void put_u16(uint8_t *p, uint16_t v) {
        v = htole16(v);
        memcpy(p, &v, sizeof(v));
}

static void put_u32(uint8_t *p, uint32_t v) {
        v = htole32(v);
        memcpy(p, &v, sizeof(v));
}

static void put_u64(uint8_t *p, uint64_t v) {
        v = htole64(v);
        memcpy(p, &v, sizeof(v));
}

void frame_header_encode(const FrameHeader *h, uint8_t *buf) {
        put_u32(buf + OFFSET_BODY, h->body);
        put_u32(buf + OFFSET_META, h->meta);
        buf[OFFSET_TYPE] = (uint8_t) h->type;
        buf[OFFSET_FLAGS] = h->flags;
        buf[OFFSET_FDS] = h->fds;
        buf[OFFSET_RESERVED] = 0;
        put_u32(buf + OFFSET_ATTEMPT, h->attempt);
        put_u64(buf + OFFSET_JOB, h->job);
}

ssize_t frame_header_decode(const uint8_t *buf, size_t size, size_t body_max, FrameHeader *ret) {
        if (size < FRAME_HEADER_SIZE)
                return 0;

        FrameHeader h = {
                .body = get_u32(buf + OFFSET_BODY),
                .meta = get_u32(buf + OFFSET_META),
                .type = (FrameType) buf[OFFSET_TYPE],
                .flags = buf[OFFSET_FLAGS],
                .fds = buf[OFFSET_FDS],
                .attempt = get_u32(buf + OFFSET_ATTEMPT),
                .job = get_u64(buf + OFFSET_JOB),
        };

        if (buf[OFFSET_TYPE] < FRAME_HELLO || buf[OFFSET_TYPE] >= _FRAME_TYPE_MAX)
                return -EBADMSG;
        if ((h.flags & ~_FRAME_FLAGS_ALL) || buf[OFFSET_RESERVED] != 0)
                return -EBADMSG;
        if (h.fds != (h.flags & FRAME_MEMFD ? 1 : 0))
                return -EBADMSG;
        if (h.meta > h.body || h.meta > FRAME_META_MAX)
                return -EBADMSG;
        /* a payload is either here or in the descriptor */
        if ((h.flags & FRAME_MEMFD) && h.body != h.meta)
                return -EBADMSG;
        if (h.body > body_max)
                return -EMSGSIZE;

        *ret = h;
        return FRAME_HEADER_SIZE;
}

int frame_meta_decode(const uint8_t *buf, size_t size, FrameMeta *ret) {
        uint64_t seen = 0;

        _Static_assert(_FRAME_META_MAX <= 64, "seen has a bit for each tag");

        /* judged first, indexed second: a failed call leaves *ret alone, without a copy of its kilobyte */
        for (size_t at = 0; at < size;) {
                if (size - at < ITEM_HEADER_SIZE)
                        return -EBADMSG;

                uint16_t tag = get_u16(buf + at), length = get_u16(buf + at + 2);

                at += ITEM_HEADER_SIZE;
                if (length > size - at)
                        return -EBADMSG;
                at += length;
                if (tag >= _FRAME_META_MAX)
                        continue;
                if (seen & (UINT64_C(1) << tag))
                        return -EBADMSG;
                seen |= UINT64_C(1) << tag;
        }

        memset(ret, 0, sizeof(*ret));
        for (size_t at = 0; at < size;) {
                uint16_t tag = get_u16(buf + at), length = get_u16(buf + at + 2);

                at += ITEM_HEADER_SIZE;
                if (tag < _FRAME_META_MAX)
                        ret->items[tag] = (FrameItem) { .data = buf + at, .size = length };
                at += length;
        }
        return 0;
}

static const uint8_t *meta_get(const FrameMeta *m, FrameTag tag, size_t size) {
        const FrameItem *i = &m->items[tag];

        return i->data && i->size == size ? i->data : NULL;
}

bool frame_meta_u8(const FrameMeta *m, FrameTag tag, uint8_t *ret) {
        const uint8_t *p = meta_get(m, tag, sizeof(*ret));

        if (!p)
                return false;
        *ret = *p;
        return true;
}

bool frame_meta_u32(const FrameMeta *m, FrameTag tag, uint32_t *ret) {
        const uint8_t *p = meta_get(m, tag, sizeof(*ret));

        if (!p)
                return false;
        *ret = get_u32(p);
        return true;
}

bool frame_meta_u64(const FrameMeta *m, FrameTag tag, uint64_t *ret) {
        const uint8_t *p = meta_get(m, tag, sizeof(*ret));

        if (!p)
                return false;
        *ret = get_u64(p);
        return true;
}

int frame_meta_text(const FrameMeta *m, FrameTag tag, char *buf, size_t size) {
        const FrameItem *i = &m->items[tag];

        if (!i->data)
                return 0;
        if (memchr(i->data, 0, i->size) || !utf8_valid(i->data, i->size))
                return -EBADMSG;
        if (i->size >= size)
                return -ENOBUFS;
        memcpy(buf, i->data, i->size);
        buf[i->size] = 0;
        return 1;
}

void frame_writer_begin(FrameWriter *w, uint8_t *buf, size_t size) {
        *w = (FrameWriter) {
                .buf = buf,
                .size = size,
                .used = FRAME_HEADER_SIZE,
                .overflow = size < FRAME_HEADER_SIZE,
        };
}

void frame_put(FrameWriter *w, FrameTag tag, const void *data, size_t size) {
        if (w->overflow)
                return;
        if (size > UINT16_MAX || w->size - w->used < ITEM_HEADER_SIZE + size ||
            w->used - FRAME_HEADER_SIZE + ITEM_HEADER_SIZE + size > FRAME_META_MAX) {
                w->overflow = true;
                return;
        }
        put_u16(w->buf + w->used, (uint16_t) tag);
        put_u16(w->buf + w->used + 2, (uint16_t) size);
        if (size > 0)
                memcpy(w->buf + w->used + ITEM_HEADER_SIZE, data, size);
        w->used += ITEM_HEADER_SIZE + size;
}

void frame_put_u8(FrameWriter *w, FrameTag tag, uint8_t v) {
        frame_put(w, tag, &v, sizeof(v));
}

void frame_put_u32(FrameWriter *w, FrameTag tag, uint32_t v) {
        v = htole32(v);
        frame_put(w, tag, &v, sizeof(v));
}

void frame_put_u64(FrameWriter *w, FrameTag tag, uint64_t v) {
        v = htole64(v);
        frame_put(w, tag, &v, sizeof(v));
}

void frame_put_text(FrameWriter *w, FrameTag tag, const char *text) {
        if (!text)
                return;

        size_t size = strnlen(text, (size_t) UINT16_MAX + 1);

        if (size > UINT16_MAX) {
                size = UINT16_MAX;
                while (size > 0 && ((uint8_t) text[size] & 0xc0) == 0x80) /* not inside a character */
                        size--;
        }
        frame_put(w, tag, text, size);
}

ssize_t frame_writer_end(FrameWriter *w, FrameHeader *h, size_t payload) {
        if (w->overflow)
                return -ENOBUFS;

        size_t meta = w->used - FRAME_HEADER_SIZE;

        if (payload > UINT32_MAX - meta)
                return -ENOBUFS;
        h->meta = (uint32_t) meta;
        h->body = (uint32_t) (meta + payload);
        frame_header_encode(h, w->buf);
        return (ssize_t) w->used;
}

const char *frame_type_to_string(FrameType t) {
        static const char *const names[_FRAME_TYPE_MAX] = {
                [FRAME_HELLO] = "HELLO",
                [FRAME_JOB] = "JOB",
                [FRAME_ACCEPTED] = "ACCEPTED",
                [FRAME_PROGRESS] = "PROGRESS",
                [FRAME_RESULT] = "RESULT",
                [FRAME_LOG] = "LOG",
                [FRAME_CANCEL] = "CANCEL",
                [FRAME_PING] = "PING",
                [FRAME_PONG] = "PONG",
                [FRAME_WAIT] = "WAIT",
                [FRAME_ERROR] = "ERROR",
        };

        return (size_t) t < ELEMENTSOF(names) ? names[t] : NULL;
}

const char *frame_status_to_string(FrameStatus s) {
        static const char *const names[_FRAME_STATUS_MAX] = {
                [FRAME_COMPLETED] = "completed",
                [FRAME_FAILED] = "failed",
                [FRAME_TIMEOUT] = "timeout",
                [FRAME_CANCELLED] = "cancelled",
                [FRAME_REFUSED] = "refused",
        };

        return (size_t) s < ELEMENTSOF(names) ? names[s] : NULL;
}

const char *frame_affinity_to_string(FrameAffinity a) {
        static const char *const names[_FRAME_AFFINITY_MAX] = { NULL, "hit", "miss", "fallback" };

        return (unsigned) a < _FRAME_AFFINITY_MAX ? names[a] : NULL;
}

static const char *const kinds[_PAYLOAD_KIND_MAX] = {
        [PAYLOAD_TEXT] = "text",
        [PAYLOAD_JSON] = "json",
        [PAYLOAD_BYTES] = "bytes",
};

const char *payload_kind_to_string(PayloadKind k) {
        return (size_t) k < ELEMENTSOF(kinds) ? kinds[k] : NULL;
}

int payload_kind_from_string(const char *s) {
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (streq(s, kinds[i]))
                        return (int) i;
        return -EINVAL;
}
