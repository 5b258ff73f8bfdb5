/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The receiving side of a frame connection: bytes and descriptors from a nonblocking socket, whole frames out. */

#include "basic/blob.h"
#include "proto/frame.h"

#define FRAME_STREAM_BUFFER (96U * 1024U) /* holds the largest header and metadata, and stays under malloc's mmap threshold */
#define FRAME_STREAM_DIRECT (32U * 1024U) /* from this payload size on bytes are received into the blob itself */
#define FRAME_STREAM_FDS 32U              /* descriptors that may wait for their frames */

/* A received frame. Pointers into the stream's buffer hold until the next call on the stream. */
typedef struct Frame {
        FrameHeader header;
        FrameMeta meta;
        const uint8_t *payload; /* inline and small; else NULL */
        size_t size;            /* of the payload, wherever it is */
        Blob *blob;             /* large, or a memfd: the caller takes it over (TAKE_PTR) or frame_done() drops it */
} Frame;

typedef struct FrameStream {
        uint8_t *buf;
        size_t start, end;
        int fds[FRAME_STREAM_FDS];
        size_t n_fds;
        size_t body_max;       /* the largest body that is taken */
        size_t memfd_max;      /* the largest memfd that is taken */
        bool socket;           /* false for pipes: no descriptors */
        /* a large frame on its way */
        bool large;
        FrameHeader large_header;
        uint8_t *large_meta;
        Blob *large_blob;
        size_t large_got;
        uint64_t *inbound;     /* where the bytes of large frames on their way are counted, for all streams together, or NULL ... */
        uint64_t inbound_max;  /* ... and their limit */
} FrameStream;

void frame_stream_init(FrameStream *s, size_t body_max, size_t memfd_max);
void frame_stream_done(FrameStream *s);

/* Receives once. Returns bytes (> 0), 0 at the end of the stream, -EAGAIN when there is nothing, -E2BIG for too many descriptors, -errno. */
ssize_t frame_stream_receive(FrameStream *s, int fd);
/* Takes the next whole frame. Returns 1, 0 when more bytes are needed, -EBADMSG, -EMSGSIZE, -EPERM (an unsealed memfd), -EBUSY (inbound_max), -ENOMEM. */
int frame_stream_next(FrameStream *s, Frame *ret);
void frame_done(Frame *f);

/* True in the middle of a frame. */
static inline bool frame_stream_partial(const FrameStream *s) {
        return s->large || s->end > s->start;
}

/* The payload as a blob of the caller's own. NULL when out of memory. */
Blob *frame_take_blob(Frame *f);

/* State across execve(). */
struct StateWriter;
struct StateReader;
struct json_object;
void frame_stream_serialize(const FrameStream *s, struct StateWriter *sw, struct json_object *o);
int frame_stream_deserialize(FrameStream *s, const struct StateReader *sr, const struct json_object *o);
