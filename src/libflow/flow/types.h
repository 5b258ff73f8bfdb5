/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What flow/worker.h and flow/client.h have in common: kinds of payload, how a job ended, levels of a log line. */

#ifdef __cplusplus
extern "C" {
#endif

/* What a payload or a result is. It is said, never guessed. The numbers are those of the wire, here and below. */
typedef enum FlowKind {
        FLOW_TEXT = 0,  /* valid UTF-8 */
        FLOW_JSON = 1,  /* one JSON value */
        FLOW_BYTES = 2, /* anything */
} FlowKind;

/* How a job ended. */
typedef enum FlowStatus {
        FLOW_COMPLETED = 0,
        FLOW_FAILED = 1,
        FLOW_TIMEOUT = 2,
        FLOW_CANCELLED = 3,
        FLOW_REFUSED = 4, /* it was never accepted */
} FlowStatus;

/* How the bytes of a result are encoded. */
typedef enum FlowEncoding {
        FLOW_ENCODING_NONE = 0,
        FLOW_ENCODING_ZSTD = 1, /* one frame of Zstandard, without a dictionary, which says how many bytes it holds */
        FLOW_ENCODING_GZIP = 2,
} FlowEncoding;

/* How a job was answered without being run. */
typedef enum FlowCache {
        FLOW_CACHE_NONE = 0,
        FLOW_CACHE_HIT = 1,       /* from the cache */
        FLOW_CACHE_STALE = 2,     /* from it, though past its time: it is being renewed */
        FLOW_CACHE_COALESCED = 3, /* with the result of an equal job that was under way */
} FlowCache;

/* Levels of a log line: syslog's numbers, for those who do not include <syslog.h>. */
enum {
        FLOW_LOG_ERROR = 3,
        FLOW_LOG_WARNING = 4,
        FLOW_LOG_NOTICE = 5,
        FLOW_LOG_INFO = 6,
        FLOW_LOG_DEBUG = 7,
};

#ifdef __cplusplus
}
#endif
