/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the sources of the client side share. */

#include "basic/list.h"
#include "libflow/flow/client.h"
#include "libflow/stream.h"

#define CLIENT_ERROR_MAX 512U
#define CLIENT_QUEUE_MAX (64U * 1024U * 1024U) /* bytes that may wait to be sent before flow_client_submit() says -EAGAIN */
#define CLIENT_QUEUE_MEMFDS_MAX 64U            /* and payloads in descriptors */
#define CLIENT_FLUSH_AT (64U * 1024U)          /* so many bytes waiting are sent without being asked for */
#define CLIENT_HANDSHAKE_USEC (30U * 1000000U)
#define CLIENT_HELD_USEC 5000U                  /* until sending is tried again where the kernel holds descriptors up */
#define CLIENT_TEXT_MAX (FRAME_META_MAX + 256U)

/* A job or a wait in flight. An id is a slot's number and how often that was used. */
typedef struct ClientSlot {
        uint64_t id; /* 0: free */
        void *userdata;
        bool wait, detached;
        uint32_t next_free;
        char job_id[FLOW_JOB_ID_SIZE];
} ClientSlot;

/* A frame that came while flow_run() waited for another. */
typedef struct ClientStash {
        List link;
        FlowFrame frame;
        uint8_t bytes[];
} ClientStash;

struct FlowClient {
        FlowStream stream;
        int failed;        /* the connection's error, for good */
        bool write_failed; /* nothing more can be sent; what was sent to us may still be read */
        bool held;         /* the kernel takes no more descriptors for now */
        char error[CLIENT_ERROR_MAX];

        ClientSlot *slots;
        uint32_t n_slots, first_free; /* first_free: a number + 1 */
        uint32_t generation;
        size_t in_flight;
        uint8_t accept;  /* encodings that WAITs accept */
        size_t n_memfds; /* queued since the output was empty last */

        List stash;
        ClientStash *stashed; /* the one that the current event points into */
        FlowFrame frame;      /* the current event's */
        FlowEvent event;
        size_t text_used;
        char text[CLIENT_TEXT_MAX];                        /* the event's strings, with their NULs */
        uint8_t scratch[FRAME_HEADER_SIZE + FRAME_META_MAX]; /* where frames are written */
};

/* Notes an error's text and returns `r`. */
int libflow_client_fail(FlowClient *c, int r, const char *format, ...) _printf_(3, 4);
/* The connection is of no use any more. */
int libflow_client_break(FlowClient *c, int r, const char *format, ...) _printf_(3, 4);

/* Sends what can be sent; an error is kept until everything that came was read. Returns 0 or 1 as libflow_stream_flush(). */
int libflow_client_flush(FlowClient *c);
/* Sends and receives once, waiting for at most `timeout_usec` (negative: for ever). Returns 1 when something came or was sent,
 * 0 when the time is over, -errno. */
int libflow_client_io(FlowClient *c, int64_t timeout_usec);
/* Takes frames from the stream until one is an event; those of jobs other than `only` (0: all are wanted) are kept for later.
 * Returns 1 with c->event, 0 when more must be read, -errno. */
int libflow_client_take(FlowClient *c, uint64_t only);
/* Drops what the last event points to. */
void libflow_client_release(FlowClient *c);
void libflow_client_stash_free(ClientStash *s);

ClientSlot *libflow_client_slot(const FlowClient *c, uint64_t id);
ClientSlot *libflow_client_slot_new(FlowClient *c, void *userdata); /* NULL when out of memory */
void libflow_client_slot_free(FlowClient *c, ClientSlot *s);
