/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The frame codec: the binary messages between flowd, its frame workers and its job clients. Pure: no I/O. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * On the wire, every integer little-endian:
 *
 *      offset  size  field
 *           0     4  body       bytes that follow the header: metadata, then payload
 *           4     4  meta       bytes of the body that are metadata (meta <= body)
 *           8     1  type       FrameType
 *           9     1  flags      FRAME_MEMFD: the payload is in a descriptor, see FRAME_META_SIZE
 *          10     1  fds        descriptors that came with the frame: 0 or 1
 *          11     1  reserved   0
 *          12     4  attempt    1 for the first; 0 where the frame is about no attempt
 *          16     8  job        the job's id; on a client's connection the id that the client chose
 *
 * Metadata is a sequence of items: tag (u16), length (u16), then that many bytes. Unknown tags are skipped; a tag stands once.
 */
#define FRAME_VERSION 1U
#define FRAME_HEADER_SIZE 24U
#define FRAME_META_MAX (64U * 1024U)           /* bytes of metadata in one frame */
#define FRAME_BODY_MAX (65U * 1024U * 1024U)   /* the largest body that anybody may announce: 64 MiB of payload and its metadata */
#define FRAME_MEMFD_MIN (128U * 1024U)         /* from this size on a payload travels by memfd, where that was negotiated */

typedef enum FrameType {
        FRAME_HELLO = 1,     /* both ways, first on every connection: VERSION, FEATURES, FRAME_MAX; from a worker SLOTS too, and that it is ready */
        FRAME_JOB = 2,       /* a job: to flowd from a client, to a worker from flowd */
        FRAME_ACCEPTED = 3,  /* to a client: its job was accepted (after the commit, when durable); JOB_ID */
        FRAME_PROGRESS = 4,  /* worker -> flowd -> client: FRACTION; the payload is a message, may be empty */
        FRAME_RESULT = 5,    /* the job's end: STATUS, KIND, ERROR, RETRY; the payload is the result */
        FRAME_LOG = 6,       /* worker -> flowd -> client: LEVEL; the payload is the text */
        FRAME_CANCEL = 7,    /* to a worker: stop this attempt, and answer with its RESULT; to flowd: cancel this job */
        FRAME_PING = 8,      /* either way: answer with PONG */
        FRAME_PONG = 9,      /* also unasked: the sender is alive */
        FRAME_WAIT = 10,     /* client -> flowd: send the RESULT of JOB_ID, under this frame's job, when there is one */
        FRAME_ERROR = 11,    /* flowd -> client: ERROR says what was wrong with the connection, which is then closed */
        _FRAME_TYPE_MAX,
} FrameType;

enum {
        FRAME_MEMFD = 1 << 0, /* the payload is the content of a sealed memfd, passed along; META_SIZE says how many bytes */
        _FRAME_FLAGS_ALL = FRAME_MEMFD,
};

enum {
        FRAME_FEATURE_MEMFD = 1 << 0, /* the sender takes payloads by memfd */
};

typedef enum FrameTag {
        FRAME_META_VERSION = 1,   /* u32 */
        FRAME_META_FEATURES = 2,  /* u32 */
        FRAME_META_FRAME_MAX = 3, /* u32: the largest body that the sender takes */
        FRAME_META_SLOTS = 4,     /* u32: jobs that the worker takes at a time */
        FRAME_META_HEARTBEAT = 5, /* u64 µs: in flowd's HELLO to a worker, how often it must be heard */
        FRAME_META_SIZE = 6,      /* u64: bytes of payload in the memfd */

        FRAME_META_METHOD = 16,   /* text, and so are the next four */
        FRAME_META_POOL = 17,
        FRAME_META_TIER = 18,     /* "hot", "warm", "cold" */
        FRAME_META_SESSION = 19,
        FRAME_META_KEY = 20,
        FRAME_META_DEADLINE = 21, /* u64 µs since the epoch */
        FRAME_META_TIMEOUT = 22,  /* u64 µs: run time of one attempt; a client's, in place of JobTimeout= */
        FRAME_META_PRIORITY = 23, /* i32 */
        FRAME_META_KIND = 24,     /* u8: PayloadKind */
        FRAME_META_DURABLE = 25,  /* u8: 0 no, 1 survives flowd, 2 survives power loss, 3: 2, or 0 where there is no store */
        FRAME_META_TRACE = 26,    /* text: W3C traceparent */
        FRAME_META_DETACHED = 27, /* u8: 1: the job outlives the client's connection, and its result is kept for WAIT */
        FRAME_META_JOB_ID = 28,   /* text: flowd's own id of the job */
        FRAME_META_NOT_BEFORE = 29, /* u64 µs since the epoch: no attempt begins earlier */
        FRAME_META_RETRIES = 30,  /* u32: how many failed attempts are followed by another one; in place of Retries= */
        FRAME_META_RETRY_DELAY = 31, /* u64 µs: the first delay of the backoff between them; in place of RetryDelay= */

        FRAME_META_STATUS = 32,   /* u8: FrameStatus */
        FRAME_META_ERROR = 33,    /* text: what went wrong, for a person */
        FRAME_META_RETRY = 34,    /* u8: 1: the same job may succeed when tried again */
        FRAME_META_FRACTION = 35, /* u32: millionths done */
        FRAME_META_LEVEL = 36,    /* u8: a syslog level */
        FRAME_META_CODE = 37,     /* text: a name for the error that programs can test, such as "QueueFull" */
        FRAME_META_WORKER = 38,   /* text: POOL/SLOT that ran the last attempt */
        FRAME_META_RUN_USEC = 39, /* u64 µs: run time of the last attempt */
        FRAME_META_WAIT_USEC = 40,/* u64 µs: time from acceptance to the last attempt's dispatch */
        FRAME_META_ATTEMPTS = 41, /* u32 */
        FRAME_META_DUPLICATE = 42,/* u8: 1: in ACCEPTED, the key was given before, and JOB_ID is the job that it was given with */
        FRAME_META_OFFSET = 43,   /* u64: in WAIT, where the wanted part of the result begins ... */
        FRAME_META_LENGTH = 44,   /* u64: ... and how many bytes it has; 0, or absent: all that follow */
        FRAME_META_SIZE_ALL = 45, /* u64: in RESULT, bytes of the whole result, of which the payload is the part that was asked for */
        FRAME_META_ACCEPT = 46,   /* u8: in JOB and WAIT, encodings that the client takes a result in, a bit (1 << encoding) for each */
        FRAME_META_ENCODING = 47, /* u8: in RESULT, the one that the payload is in */
        FRAME_META_CACHE = 48,    /* u8: in RESULT, where it is from the cache: FrameCache */
        FRAME_META_WORKER_TYPE = 52, /* text: in JOB, and so are the next four: only pools whose workers are of that type */
        FRAME_META_STRATEGY = 53, /* text: "least_loaded", "round_robin", "random", "affinity" */
        FRAME_META_WEIGHT = 54,   /* u32: 1 is light, 10 heavy */
        FRAME_META_FALLBACK = 55, /* text: "auto", "none", or the tiers that follow the chosen one */
        FRAME_META_RAN_TIER = 56, /* text: in RESULT, the tier that the job went to */
        FRAME_META_AFFINITY = 58, /* u8: in RESULT, of a job with a session: FrameAffinity */
        FRAME_META_QUEUE_TIMEOUT = 59, /* u64 µs: how long the job may wait in the queue; in place of QueueTimeout= */
        _FRAME_META_MAX = 64,
} FrameTag;

typedef enum FrameStatus {
        FRAME_COMPLETED = 0,
        FRAME_FAILED = 1,
        FRAME_TIMEOUT = 2,
        FRAME_CANCELLED = 3,
        FRAME_REFUSED = 4, /* never accepted: CODE and ERROR say why */
        _FRAME_STATUS_MAX,
} FrameStatus;

/* Whether the last attempt ran on the worker that the job's session is bound to. */
typedef enum FrameAffinity {
        FRAME_AFFINITY_NONE = 0,     /* there is no session, or the pool does not heed it */
        FRAME_AFFINITY_HIT = 1,
        FRAME_AFFINITY_MISS = 2,     /* the session was bound to none: it is to this one now */
        FRAME_AFFINITY_FALLBACK = 3, /* that worker was busy for longer than the job may wait */
        _FRAME_AFFINITY_MAX,
} FrameAffinity;

#define FRAME_DURABLE_IF_POSSIBLE 3U /* FRAME_META_DURABLE */

typedef enum FrameCache {
        FRAME_CACHE_HIT = 1,       /* it is recorded with the job, too */
        FRAME_CACHE_STALE = 2,     /* past its time, and better than none */
        FRAME_CACHE_COALESCED = 3, /* of an equal job that was under way */
        _FRAME_CACHE_MAX,
} FrameCache;

typedef enum PayloadKind {
        PAYLOAD_TEXT = 0, /* valid UTF-8 */
        PAYLOAD_JSON = 1, /* one JSON value */
        PAYLOAD_BYTES = 2,
        _PAYLOAD_KIND_MAX,
} PayloadKind;

typedef struct FrameHeader {
        uint32_t body;
        uint32_t meta;
        FrameType type;
        uint8_t flags;
        uint8_t fds;
        uint32_t attempt;
        uint64_t job;
} FrameHeader;

/* One item of metadata; `data` points into the frame's bytes and is not NUL-terminated. */
typedef struct FrameItem {
        const uint8_t *data; /* NULL where the tag does not stand */
        uint16_t size;
} FrameItem;

/* Metadata by tag: meta.items[FRAME_META_POOL]. */
typedef struct FrameMeta {
        FrameItem items[_FRAME_META_MAX];
} FrameMeta;

/* Writes a header into `buf`, which has room for FRAME_HEADER_SIZE bytes. */
void frame_header_encode(const FrameHeader *h, uint8_t *buf);

/* Reads the header at `buf`, of which `size` bytes are there.
 * Returns FRAME_HEADER_SIZE, 0 when more bytes are needed, -EBADMSG for an impossible header, -EMSGSIZE when the body is above `body_max`. */
ssize_t frame_header_decode(const uint8_t *buf, size_t size, size_t body_max, FrameHeader *ret);

/* Indexes `size` bytes of metadata; unknown tags are skipped. Returns 0, or -EBADMSG when an item is cut short or a tag stands twice. */
int frame_meta_decode(const uint8_t *buf, size_t size, FrameMeta *ret);

/* Readers: return false where the item is absent or of another size; `*ret` is then untouched. */
bool frame_meta_u8(const FrameMeta *m, FrameTag tag, uint8_t *ret);
bool frame_meta_u32(const FrameMeta *m, FrameTag tag, uint32_t *ret);
bool frame_meta_u64(const FrameMeta *m, FrameTag tag, uint64_t *ret);
/* Copies a text item into `buf` of `size` bytes, NUL-terminated.
 * Returns 1, 0 where absent, -EBADMSG for an embedded NUL or invalid UTF-8, -ENOBUFS where it does not fit. */
int frame_meta_text(const FrameMeta *m, FrameTag tag, char *buf, size_t size);

/* A writer over a caller's buffer. Overflow is sticky: test once, at the end. */
typedef struct FrameWriter {
        uint8_t *buf;
        size_t size;  /* room */
        size_t used;  /* header included */
        bool overflow;
} FrameWriter;

/* Starts a frame in `buf`; the header is filled in by frame_writer_end(). */
void frame_writer_begin(FrameWriter *w, uint8_t *buf, size_t size);
void frame_put(FrameWriter *w, FrameTag tag, const void *data, size_t size);
void frame_put_u8(FrameWriter *w, FrameTag tag, uint8_t v);
void frame_put_u32(FrameWriter *w, FrameTag tag, uint32_t v);
void frame_put_u64(FrameWriter *w, FrameTag tag, uint64_t v);
void frame_put_text(FrameWriter *w, FrameTag tag, const char *text); /* NULL: nothing is written; cut at 65535 bytes */
/* Ends the metadata. `payload` bytes will follow it on the wire (0 with FRAME_MEMFD in h->flags).
 * h->body and h->meta are computed. Returns the bytes in buf, or -ENOBUFS. */
ssize_t frame_writer_end(FrameWriter *w, FrameHeader *h, size_t payload);

const char *frame_type_to_string(FrameType t);     /* "JOB"; NULL where unknown */
const char *frame_status_to_string(FrameStatus s); /* "completed"; NULL where unknown */
const char *frame_affinity_to_string(FrameAffinity a); /* "hit"; NULL for none, and where unknown */
const char *payload_kind_to_string(PayloadKind k); /* "text" */
int payload_kind_from_string(const char *s);       /* -EINVAL where unknown */
