/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the sources of the worker's side share. */

#include "basic/list.h"
#include "libflow/flow/worker.h"
#include "libflow/stream.h"

#define WORKER_JOBS_MAX 1024U                /* jobs in hand; flowd never sends more */
#define WORKER_ERROR_MAX 8192U               /* bytes of an error's text */
#define WORKER_LOG_MAX 8192U                 /* bytes of a log line */
#define WORKER_REPORTS_MAX (1024U * 1024U)   /* while so many bytes wait for flowd, progress and logs are dropped */
#define WORKER_LOOK_USEC 1000U               /* flow_job_cancelled() looks at the connection no oftener than this */
#define WORKER_ALIVE_USEC 1000000U           /* flow_job_alive() speaks no oftener than this, unless the heartbeat is shorter */

struct FlowJob {
        List link; /* FlowWorker.waiting or .running */
        FlowWorker *worker;
        FlowJob *next_free;
        uint64_t id;
        uint32_t attempt;
        FlowKind kind;
        uint64_t deadline;
        Blob *input;        /* keeps what the next two point to */
        const uint8_t *meta;
        uint32_t meta_size;
        const uint8_t *payload;
        size_t payload_size;
        Blob *memfd;        /* where the payload is in one */
        bool later, cancelled, told, done;
        char *texts;        /* made when one is asked for first: id, method, session, key, trace, each with a NUL */
        const char *text[5];
        void *userdata;
};

struct FlowWorker {
        FlowStream stream;
        int error;          /* the connection's, for good */
        int epoll_fd;
        uint32_t listening[2]; /* what the epoll set has for stream.in and stream.out */
        FlowHandler handler;
        FlowCancelled on_cancelled;
        void *userdata;
        unsigned slots;
        bool batch;
        bool cancellations; /* some job in `running` was cancelled since callbacks were called last */
        List waiting;       /* came, and no handler has seen them */
        List running;
        FlowJob *current;   /* whose handler is being called */
        size_t n_jobs;
        FlowJob *free_jobs;
        size_t n_structs;
        uint64_t last_sent, last_look;
        uint8_t scratch[FRAME_HEADER_SIZE + WORKER_ERROR_MAX + 128];
};

int libflow_worker_receive(FlowWorker *w);
int libflow_worker_flush(FlowWorker *w);
int libflow_worker_listen(FlowWorker *w);
void libflow_worker_job_free(FlowJob *job);
/* Queues a RESULT. Returns 0, -EMSGSIZE, -ENOMEM. */
int libflow_worker_put_result(FlowJob *job, FrameStatus status, FlowKind kind, const void *data, size_t size, const char *error, bool retry);
