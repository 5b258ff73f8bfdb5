/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The engine behind run, submit and wait: payloads in, jobs in flight, results out. */

#include "basic/list.h"
#include "flow/client.h"
#include "flowctl/flowctl.h"
#include "flowctl/progress.h"
#include "flowctl/source.h"
#include "proto/json-scan.h"

#define BATCH_JOBS_DEFAULT 512U
#define BATCH_JOBS_MAX 4096U                     /* what flowd allows on a connection by default */
#define BATCH_AHEAD 4U                           /* so many times the jobs in flight are results held for the sake of order */
#define BATCH_BYTES_MAX (64U * 1024U * 1024U)    /* of payloads and results held: above it no new job is begun */
#define BATCH_OUTPUT_SIZE (128U * 1024U)         /* output is written in pieces of about this size */
#define BATCH_BACKOFF_MIN_USEC 2000ULL           /* after a refusal because a queue is full, doubled up to */
#define BATCH_BACKOFF_MAX_USEC 500000ULL
#define BATCH_LIMIT_TRIES 20U                    /* refusals for another limit, with nothing in flight, until that is an error */
#define BATCH_NAP_MIN_JOBS 128U                  /* with fewer jobs in flight each answer is taken at once ... */
#define BATCH_NAP_STEP_USEC 50ULL
#define BATCH_NAP_MAX_USEC 2000ULL               /* ... with more, answers are left to gather for at most so long */
#define BATCH_CANCEL_USEC 5000000ULL             /* how long the end of cancelled jobs is waited for */

typedef enum BatchKind {
        BATCH_RUN,
        BATCH_SUBMIT,
        BATCH_WAIT,
} BatchKind;

/* A job under way, or one whose result waits for its turn. */
typedef struct Slot {
        List link;          /* free, or to be submitted again */
        uint64_t number;    /* of its record */
        uint64_t id;        /* on the connection, 0: not in flight */
        char *name;         /* its file or argument; owned */
        char *data;         /* the payload until the job is accepted or ended, then the result */
        size_t size, room;
        int fd;             /* a payload's memfd, or -1 */
        bool done;
        FlowStatus status;  /* these when done */
        FlowKind kind;
        char *error, *code; /* owned */
        char job_id[FLOW_JOB_ID_SIZE];
} Slot;

typedef struct Batch {
        Flowctl *c;
        FlowClient *client;
        BatchKind kind;
        Source source;
        FlowRequest request;      /* the pattern of all jobs */
        bool single;              /* one payload: the result is the whole output, and the exit status its verdict */
        bool ordered, json, tag, show_progress;
        bool indexed;             /* JSON tells records by an index from 0 */
        char separator;           /* behind each result */

        Slot *slots;
        size_t n_slots;
        List free, again;         /* again: refused for a full queue */
        Slot **order;             /* by number modulo n_slots, where ordered */
        uint64_t head;            /* the number whose result is printed next, where ordered */
        size_t bytes_held;
        size_t in_flight, jobs_max;
        double limit;             /* jobs in flight at present: falls when a queue is full, grows back */
        uint64_t again_usec;      /* CLOCK_MONOTONIC, no job is submitted again before */
        uint64_t backoff_usec;
        uint64_t nap_usec;        /* how long answers gather before they are taken */
        size_t taken;             /* answers since the last sleep */
        unsigned limit_tries;
        bool input_end, input_wait, stopping;
        int signal;               /* that ended it, or 0 */
        uint64_t stop_usec;       /* then the end is waited for until this */

        JsonBuffer out;
        Progress progress;
        int status;               /* the exit status so far */
} Batch;

/* How a record ended, for printing. */
typedef struct Outcome {
        uint64_t number;
        const char *name;
        const char *job_id;
        FlowStatus status;
        FlowKind kind;
        const void *data;
        size_t size;
        const char *error, *code;
        const FlowResult *result; /* more about it, or NULL */
        bool duplicate;           /* an earlier job with its key; keys are of single jobs only */
} Outcome;

/* Runs it to the end. Returns an exit status. The caller has filled in the first part; everything is freed. */
int batch_run(Batch *b);

/* outcome.c: results, as text or JSON, into b->out; failures to stderr. */
void outcome_print(Batch *b, const Outcome *o);
/* A line of a worker's log, or of progress, on stderr. */
void outcome_log(Batch *b, const char *label, const char *text, size_t size);
/* Writes what is in b->out. Returns 0 or -errno, told. */
int outcome_flush(Batch *b);
/* The label of a record in messages: "line 7", "FILE", "argument 3", a job's id. Written to `buf` where it is made. */
const char *outcome_label(const Batch *b, uint64_t number, const char *name, char *buf, size_t size);
/* The exit status that a job's end means. */
int outcome_status(FlowStatus status, const char *code);
