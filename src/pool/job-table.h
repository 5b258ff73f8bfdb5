/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All jobs that flowd knows: the live ones, and those that have ended for as long as the limits allow. */

#include "store/store.h"
#include "worker/host.h"
#include "worker/job.h"

#define JOB_HISTORY_MAX 1000U /* ended jobs that are remembered without their result */

typedef struct JobTable {
        Host *host;
        Store *store;            /* NULL: nothing is durable */
        Map by_id;
        List live;               /* oldest first */
        List aside;              /* by queue_link: recorded jobs that wait for a pool of their pool's name to be configured */
        List ended;              /* without a result; oldest end first: the next to be forgotten */
        List results;            /* detached ones, which have a result to be fetched; likewise */
        uint64_t last_id;
        unsigned n_live, n_ended, n_results;
        uint64_t results_bytes;
        uint64_t results_max;    /* ResultsMax= */
        unsigned results_count_max;
        uint64_t totals[_JOB_STATE_MAX]; /* ended, by state, since the start */
        uint64_t refused;
        uint64_t dropped, dropped_told_usec; /* results that had to make room */
        /* A worker has answered an attempt, or its time was over; NULL: nobody wants to know. */
        void (*attempt_ended)(struct JobTable *t, const Job *j, FrameStatus status, uint64_t run_usec);
        /* The pool of a queued job can do nothing for it. True where it is with another one now; NULL: there is none. */
        bool (*stranded)(struct JobTable *t, Job *j);
        void *userdata;
} JobTable;

void job_table_init(JobTable *t, Host *h);
void job_table_done(JobTable *t);

/* Gives the job its id and takes a reference. Returns 0 or -ENOMEM. */
int job_table_add(JobTable *t, Job *j);
/* The same for one that has its id already, from an earlier process image. */
int job_table_restore(JobTable *t, Job *j);
/* To be called when a job has ended: it moves to the history, its result is kept when it is a detached one's; one that is stored is
 * forgotten, for the store knows it. */
void job_table_end(JobTable *t, Job *j);
/* A job that was never accepted after all. */
void job_table_forget(JobTable *t, Job *j);
/* Forgets what is above the limits. */
void job_table_trim(JobTable *t);
Job *job_table_find(JobTable *t, uint64_t id);
