/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A job: one unit of work that was accepted. Shared by whoever holds a reference; changed by its pool and its worker only. */

#include <sys/types.h>

#include "basic/blob.h"
#include "basic/list.h"
#include "basic/map.h"
#include "basic/str.h"
#include "basic/timer.h"
#include "store/codec.h"
#include "store/record.h"

#define JOB_NAME_MAX 256U       /* bytes of a method, session or key, NUL included */
#define JOB_TRACE_MAX 128U
#define JOB_ERROR_TEXT_MAX 4096U    /* bytes of an error, and of a progress message, that are kept */

typedef struct Job Job;

/* Why a job that had to be recorded first was not accepted after all. */
typedef struct JobRefusal {
        uint64_t duplicate_of; /* the job that has its key already, else 0 */
        const char *code, *text;
} JobRefusal;

/* What an MCP server asks the client whose call is in hand. */
typedef struct JobQuestion {
        uint64_t id;        /* for worker_answer() */
        const char *method; /* "elicitation/create", ... */
        const char *params; /* a JSON object as the server wrote it; NULL: none */
        size_t params_size;
} JobQuestion;

/* Somebody who wants to know about a job. The callbacks may free the watch; any of them may be NULL but `end`. */
typedef struct JobWatch {
        List link;
        void (*accepted)(struct JobWatch *w, Job *j); /* of a durable job only: it is recorded */
        void (*refused)(struct JobWatch *w, Job *j, const JobRefusal *r); /* likewise; in place of the end, and as that */
        void (*progress)(struct JobWatch *w, Job *j, uint32_t millionths, const char *text, size_t size);
        void (*log)(struct JobWatch *w, Job *j, int level, const char *text, size_t size);
        bool (*ask)(struct JobWatch *w, Job *j, const JobQuestion *q); /* true: it will be answered, by worker_answer() */
        void (*end)(struct JobWatch *w, Job *j); /* the watch is unlinked when this is called */
} JobWatch;

/* How an attempt ended; `data` and `error` are taken over by job_end(). */
typedef struct JobResult {
        FrameStatus status;
        PayloadKind kind;
        Blob *data;
        char *error;
        const char *code;
        bool retry;    /* its worker said that the same job may succeed when tried again */
        bool final;    /* another attempt would end no better */
        bool dead;     /* it has killed as many workers as it may */
        Encoding encoding;
        FrameCache cache; /* it was not run */
} JobResult;

/* How a job came to its pool; what the numbers mean is known to src/route. */
typedef struct JobRoute {
        bool routed;
        uint8_t tier, chosen;    /* where it went, and what it was meant for */
        uint8_t why, strategy, affinity;
        bool typed;              /* it wants workers of the type that it has */
        uint8_t n_chain, chain[3]; /* the tiers that it may go to, in their order */
        char *attempts;          /* JSON: the pools that could not take it; NULL where the first could */
} JobRoute;

struct Job {
        unsigned n_ref;
        uint64_t id;
        MapNode by_id;
        List table_link;         /* among all, oldest first */
        JobState state;

        void *pool;              /* its Pool while it is queued or running */
        const char *pool_name;   /* interned: lives as long as flowd */
        void *worker;            /* its Worker while it is running */
        List queue_link;         /* in its pool's queue, or among its waiting jobs */
        List class_link;         /* likewise, and its share of the queue: pool/queue.h */
        void *share;
        Timer timer;             /* queued: the deadline; delayed: not_before_usec */
        List watches;

        char *method, *session, *key, *trace; /* NULL where unset */
        Blob *payload;           /* dropped when the job has ended */
        size_t payload_size;
        PayloadKind kind;
        uint64_t deadline_usec;  /* CLOCK_REALTIME, 0: none */
        uint64_t timeout_usec;   /* of one attempt; 0: the type's */
        int32_t priority;        /* higher goes first */
        uint32_t attempts, crashes;
        uint32_t failures;       /* attempts that ended as failed or timeout */
        uint32_t retries;        /* how many of these are followed by another, where `own_retries` */
        uint64_t retry_usec;     /* the first delay of their backoff; 0: the type's */
        uint64_t not_before_usec; /* CLOCK_REALTIME */
        bool own_retries;
        bool detached;
        struct Flight *flight;   /* pool/cached.c: equal jobs under way, of which this is the leader or a follower */
        List flight_link;
        bool leading;
        bool unkept;             /* what it runs for was purged meanwhile: its result is not kept */
        bool searched;           /* the cache was asked, or need not be */
        bool probing;            /* there was no room for it, but its result may be in the cache: it is not accepted yet */
        bool renewal;            /* flowd's own, in place of a stale result */
        uint8_t accept;          /* encodings that its submitter takes the result in, 1 << Encoding */
        Durability durability;
        bool stored;             /* the store has it, and its end will be recorded before it is told */
        bool recording;          /* the store is being asked: it is not dispatched meanwhile */
        bool cancel_wanted;      /* meanwhile */
        bool waiting;            /* stands among its pool's waiting jobs */
        bool again;              /* keeps its age, and so its place in the queue */
        bool parked;             /* waits for its session's worker */
        bool elsewhere;          /* has waited for it in vain */
        FrameAffinity affinity;  /* of the last attempt */
        void *bound;             /* its Session, while it waits for the worker of that, or runs on it */
        uint64_t queued_usec;    /* CLOCK_MONOTONIC: its age in the queue counts from here */
        uint64_t queue_timeout_usec; /* how long it may stand there; 0: the pool's QueueTimeout= */
        uint64_t queue_until;    /* CLOCK_MONOTONIC, likewise: when that is over */
        uint64_t park_until;     /* CLOCK_MONOTONIC: when it goes elsewhere */
        JobResult *ending;       /* its end, while that is being recorded */
        uid_t uid;
        JobRoute route;

        uint64_t accepted_usec, dispatched_usec, finished_usec; /* CLOCK_MONOTONIC */
        uint64_t accepted_real_usec;
        uint32_t progress;       /* millionths */
        char *progress_text;
        char ran_on[NAME_LENGTH_MAX + 16]; /* the worker of the last attempt */

        /* the end */
        PayloadKind result_kind;
        Encoding encoding;       /* of the result */
        FrameCache cache;        /* how it was answered without being run, else 0 */
        Blob *result;            /* NULL: nothing, or not kept */
        bool result_dropped;
        char *error;
        const char *code;        /* a constant */
        bool retry;
};

void job_result_done(JobResult *r);

Job *job_new(void);
Job *job_ref(Job *j);
Job *job_unref(Job *j);
DEFINE_CLEANUP(Job *, job_unref);

/* Tells the watches; progress is remembered. */
void job_progress(Job *j, uint32_t millionths, const char *text, size_t size);
void job_log(Job *j, int level, const char *text, size_t size);
/* Asks the watches, until one says that it will answer. Returns false where none does. */
bool job_ask(Job *j, const JobQuestion *q);
/* Records the end and tells the watches. The result is emptied. Only for a job that is queued or running. */
void job_end(Job *j, JobResult *r);

/* It was not accepted: tells the watches. */
void job_refuse(Job *j, const JobRefusal *r);
/* It was: likewise. */
void job_accept(Job *j);

static inline bool job_ended(const Job *j) {
        return j->state >= JOB_COMPLETED;
}

FrameStatus job_status(const Job *j); /* of one that has ended */
JobState job_state_of(FrameStatus s);
/* State across execve(). A job's watches are not part of it. */
struct StateWriter;
struct StateReader;
struct json_object;
/* The constant of a code, or NULL where there is none. */
const char *job_known_code(const char *s);
void job_serialize(Job *j, struct StateWriter *sw, struct json_object *o);
/* Returns a job with one reference, or -ENOMEM, -EBADMSG. `pool_name` is left unset; its name is in "pool". */
int job_deserialize(const struct StateReader *sr, const struct json_object *o, Job **ret);
