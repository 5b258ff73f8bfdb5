/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between pool.c, which sees to workers, and pool-jobs.c, which sees to jobs. */

#include "pool/pool.h"

EventFields pool_fields(const Pool *p);
/* What happens to its state, by the table of lifecycle.c. */
void pool_event(Pool *p, PoolEvent e);
void pool_set_reason(Pool *p, const char *text);
/* It was ready, or has failed to be, once. */
void pool_settle(Pool *p);
/* Something that is kept for the next run of flowd has changed. */
void pool_touched(Pool *p);
/* The workers that it keeps however little there is to do. */
unsigned pool_floor(const Pool *p);
void pool_fail_queue(Pool *p, const char *code, const char *why);

/* deaths.c. `w` is NULL where none could be started. */
void pool_note_death(Pool *p, const Worker *w, const char *how);
struct json_object *pool_deaths_serialize(const Pool *p, struct StateWriter *sw);
void pool_deaths_deserialize(Pool *p, const struct json_object *a);

/* breaker.c. A worker that was ready for `lived` has crashed, or could not even be started; `of_pool`: the pool is to blame, not the job. */
void pool_crashed(Pool *p, uint64_t lived, const char *how, bool of_pool);
/* Opens and closes it when it is time. */
void pool_breaker_check(Pool *p, uint64_t now);
/* A worker has answered a job. */
void pool_breaker_probe(Pool *p, const Worker *w, FrameStatus status);
void pool_breaker_reset(Pool *p);
/* Jobs in the queue that need not wait: there is a slot for them, or will be as soon as a worker has started. */
uint64_t pool_room(const Pool *p);
void pool_dispatch_later(Pool *p);

/* Takes a job out of the queue, or out of those that wait. */
void pool_unqueue(Pool *p, Job *j);
/* Whether there is room for a job: 0, or what pool_submit() refuses it with. */
int pool_admit(Pool *p, const Job *j, char **reterr_text);
/* Ends a job that is in no queue and with no worker any more; the result is taken over. */
void pool_finish(Pool *p, Job *j, JobResult *r);
void pool_end_queued(Pool *p, Job *j, FrameStatus status, const char *code, const char *text);
/* It is aborted: recorded jobs of the queue, which flowd's end would leave to its next run, wait for a pool of its name. */
void pool_leave_queue(Pool *p);
/* The pool closes: jobs whose time has not come leave it. */
void pool_leave_waiting(Pool *p);
/* flowd stops: a recorded job leaves memory as it is. */
void pool_suspend_job(Pool *p, Job *j);
/* WorkerOps */
void pool_job_end(Worker *w, Job *j, JobResult *r);
void pool_job_released(Worker *w, Job *j);
void pool_job_lost(Worker *w, Job *j);
