/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between pool.c, which sees to workers, and pool-jobs.c, which sees to jobs. */

#include "pool/pool.h"

EventFields pool_fields(const Pool *p);
/* Jobs in the queue that need not wait: there is a slot for them, or will be as soon as a worker has started. */
uint64_t pool_room(const Pool *p);
void pool_dispatch_later(Pool *p);

/* Takes a job out of the queue, or out of those that wait. */
void pool_unqueue(Pool *p, Job *j);
/* Ends a job that is in no queue and with no worker any more; the result is taken over. */
void pool_finish(Pool *p, Job *j, JobResult *r);
void pool_end_queued(Pool *p, Job *j, FrameStatus status, const char *code, const char *text);
/* The pool closes: jobs whose time has not come leave it. */
void pool_leave_waiting(Pool *p);
/* flowd stops: a recorded job leaves memory as it is. */
void pool_suspend_job(Pool *p, Job *j);
/* WorkerOps */
void pool_job_end(Worker *w, Job *j, JobResult *r);
void pool_job_released(Worker *w, Job *j);
void pool_job_lost(Worker *w, Job *j);
