/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is known of a job, as the store keeps it: words and numbers that stand on disk, so none of them is ever given another meaning. */

#include <sys/types.h>

#include "basic/blob.h"
#include "proto/frame.h"
#include "store/codec.h"

typedef enum JobState {
        JOB_QUEUED = 0,
        JOB_RUNNING = 1,
        JOB_COMPLETED = 2, /* this and all that follow are ends */
        JOB_FAILED = 3,
        JOB_TIMEOUT = 4,
        JOB_CANCELLED = 5,
        JOB_DEAD = 6,      /* it killed MaxCrashes= workers: kept for somebody to look at */
        _JOB_STATE_MAX,
} JobState;

typedef enum Durability { /* FRAME_META_DURABLE */
        DURABLE_NO = 0,      /* never touches the disk */
        DURABLE_PROCESS = 1, /* survives flowd */
        DURABLE_YES = 2,     /* survives a power cut */
        _DURABLE_MAX,
} Durability;

/* Times are µs of CLOCK_REALTIME, 0 where something has not happened or was not asked for. */
typedef struct JobRecord {
        uint64_t id;
        JobState state;
        Durability durability;
        uid_t uid;
        char *pool;
        char *method, *session, *key, *trace; /* NULL where unset */
        PayloadKind kind;
        uint64_t payload_size;
        int32_t priority;
        uint32_t attempts;      /* dispatches that may have happened: the next one has a higher number */
        uint32_t crashes;       /* workers that died of it, since it was accepted or retried by hand */
        uint32_t failures;      /* attempts that ended as failed or timeout, likewise */
        uint32_t retries;       /* how many of those are followed by another attempt */
        uint64_t retry_usec;    /* the first delay of the backoff between them; 0: the worker type's */
        uint64_t accepted_usec, not_before_usec, deadline_usec, timeout_usec, dispatched_usec, finished_usec;
        char *worker;           /* POOL/SLOT of the last attempt */
        PayloadKind result_kind;
        uint64_t result_size;
        char *code, *error;     /* of the end, or of the last attempt that failed */
        Encoding result_encoding; /* of `result`, where it may come in another */
        bool retry;             /* its worker said that the same job may succeed when tried again */
        FrameCache cache;       /* how it was answered without being run, else 0 */
        Blob *payload, *result; /* only where they were asked for */
} JobRecord;

/* Frees what it owns, and zeroes it. */
void job_record_done(JobRecord *r);

const char *job_state_to_string(JobState s);
int job_state_from_string(const char *s); /* -EINVAL */
const char *durability_to_string(Durability d); /* "no", "process", "yes" */
int durability_from_string(const char *s); /* -EINVAL */

/* Ids as text: lowercase base32, no look-alikes. They grow with time: milliseconds since 2024 above JOB_ID_SEQUENCE_BITS bits. */
#define JOB_ID_TEXT_MAX 16U         /* bytes of an id as text, NUL included */
#define JOB_ID_EPOCH_USEC 1704067200000000ULL
#define JOB_ID_SEQUENCE_BITS 16
char *job_id_format(uint64_t id, char buf[JOB_ID_TEXT_MAX]);
int job_id_parse(const char *s, uint64_t *ret);
/* The smallest id that a job accepted at that time can have. */
uint64_t job_id_at(uint64_t realtime_usec);
