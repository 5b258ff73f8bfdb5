/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Frames over a descriptor or two: the buffers, the descriptors that come along, and HELLO. Both sides of libflow stand on it. */

#include "basic/blob.h"
#include "basic/outq.h"
#include "proto/frame.h"

#define FLOW_STREAM_FDS_MAX 16U                 /* descriptors that may have come ahead of their frames */
#define FLOW_STREAM_MEMFD_SIZE_MAX UINT32_MAX   /* the largest memfd that is taken; what is too much for a job is flowd's to say */

typedef struct FlowStream {
        int in, out;           /* nonblocking and owned; one and the same for a socket */
        bool in_socket, out_socket;
        bool memfd;            /* descriptors can pass here at all */
        bool eof;              /* nothing more will be read */

        Blob *input;           /* read into; whoever keeps a frame's bytes refers to it, and then it is not reused */
        size_t start, end;     /* what was read and not taken yet */
        size_t need;           /* bytes of the frame that begins at start, where that is known */
        int fds[FLOW_STREAM_FDS_MAX];
        size_t n_fds;

        OutQueue output;
        bool hello;            /* the peer's was taken: */
        bool peer_memfd;       /* it takes payloads by memfd, and so do we */
        size_t peer_frame_max; /* the largest body that it takes */
        uint64_t heartbeat_usec;
} FlowStream;

/* A frame that lies in the stream's input, until the next libflow_stream_recv(), or as long as somebody refers to
 * stream->input. */
typedef struct FlowFrame {
        FrameHeader h;
        const uint8_t *meta;    /* h.meta bytes */
        const uint8_t *payload; /* NULL with memfd */
        size_t payload_size;
        Blob *memfd;            /* a reference: the receiver's, see libflow_frame_done() */
} FlowFrame;

static inline void libflow_frame_done(FlowFrame *f) {
        f->memfd = blob_unref(f->memfd);
}

/* Takes over two connected descriptors, or one twice, and makes them nonblocking. On failure they are closed. */
int libflow_stream_init(FlowStream *s, int in, int out);
void libflow_stream_done(FlowStream *s);

/* Reads once, without blocking. Returns 1 when something came, 0 when nothing is there or at the end (s->eof), -errno. */
int libflow_stream_recv(FlowStream *s);
/* Takes the next frame from what was read. Returns 1 with it, 0 when more must be read, -EBADMSG or -EMSGSIZE for what is no
 * frame. */
int libflow_stream_next(FlowStream *s, FlowFrame *ret);
/* Queues a frame whose metadata stand in `w`, with a payload in memory or in a memfd (then data and size are not looked at).
 * It is queued whole or not at all. Returns 0, -ENOBUFS, -EMSGSIZE, -ENOMEM. */
int libflow_stream_put(FlowStream *s, FrameWriter *w, FrameHeader *h, const void *data, size_t size, Blob *memfd);
/* The same, choosing memfd for a payload that is large enough, where both sides can. */
int libflow_stream_put_payload(FlowStream *s, FrameWriter *w, FrameHeader *h, const void *data, size_t size);
/* Queues a frame that is no more than a header. */
int libflow_stream_put_bare(FlowStream *s, FrameType type, uint64_t job, uint32_t attempt);
/* Writes what is queued. Returns 0 when all is out, 1 when the peer must read first, -errno. */
int libflow_stream_flush(FlowStream *s);

int libflow_stream_put_hello(FlowStream *s, unsigned slots); /* slots 0: not a worker's */
/* Takes the peer's HELLO. Returns 0, -EBADMSG, -EPROTONOSUPPORT for a version that we do not speak. */
int libflow_stream_take_hello(FlowStream *s, const FlowFrame *f);
