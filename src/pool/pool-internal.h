/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between pool.c, which sees to workers, pool-jobs.c, which sees to jobs, and dispatch.c, which brings them together. */

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
/* A job that came to the queue of a pool that has failed meanwhile goes elsewhere, or ends, like those that stood in it then. */
void pool_fail_late(Pool *p, Job *j);
/* Jobs that came to the queue of a failed pool after that: their delay was over, they were being recorded, or waited for another one's result. */
void pool_check_late(Pool *p);

/* deaths.c. `w` is NULL where none could be started. */
void pool_note_death(Pool *p, const Worker *w, const char *how);
struct json_object *pool_deaths_serialize(const Pool *p, struct StateWriter *sw);
void pool_deaths_deserialize(Pool *p, const struct json_object *a);

/* breaker.c. A worker that was ready for `lived` has crashed, or could not even be started; `of_pool`: the pool is to blame, not the job. */
void pool_crashed(Pool *p, uint64_t lived, const char *how, bool with_job, bool poisoned);
/* Opens and closes it when it is time. */
void pool_breaker_check(Pool *p, uint64_t now);
/* A worker has answered a job. */
void pool_breaker_probe(Pool *p, const Worker *w, FrameStatus status);
void pool_breaker_reset(Pool *p);
/* Jobs in the queue that need not wait: there is a slot for them, or will be as soon as a worker has started. */
uint64_t pool_room(const Pool *p);
void pool_dispatch_later(Pool *p);

/* pool.c */
bool pool_may_spawn(const Pool *p, uint64_t now);
/* Starts a worker; `job` is the one that it is for, or NULL. NULL where that failed. */
Worker *pool_spawn(Pool *p, const Job *job);
/* Looks at the size, and arms the timer of the next look. */
void pool_check(Pool *p);

/* size.c */
/* Starts workers: as many as are wanted, and may be started. */
void pool_grow(Pool *p, uint64_t now);
/* Stops idle workers that are not wanted, or not any more. Returns when to look again. */
uint64_t pool_shrink(Pool *p, uint64_t now);
/* True where another worker may be started now, as far as rates and memory go; it then counts. */
bool pool_admit_spawn(Pool *p, uint64_t now);
/* True where there is memory for one worker more. */
bool pool_memory_left(const Pool *p);
/* After n_workers has changed. */
void pool_count_memory(Pool *p);
/* How large has it become? */
void pool_sample_memory(Pool *p, Worker *w);
/* A slot that it may use: it is not too young for that. */
bool pool_has_room(const Pool *p, const Worker *w);

/* dispatch.c */
bool pool_single_job(const Pool *p);
bool pool_exclusive(const Pool *p);
void pool_on_dispatch(Defer *d);
/* WorkerOps.unusable: its sessions and the jobs that wait for it go elsewhere. */
void pool_worker_unusable(Worker *w);
/* A worker has a slot: it may have been waited for. */
void pool_worker_resumed(Pool *p, Worker *w);
/* Frees the worker's own queue, which is empty. */
void pool_forget_parked(Worker *w);
/* A job that waits for its session's worker goes back to its place in the queue. */
void pool_unpark(Pool *p, Job *j);
/* The job does not run on its session's worker any more, nor wait for it. */
void pool_leave_session(Pool *p, Job *j);
void pool_unwait_session(Pool *p, Session *s);
/* All sessions of the pool; jobs that wait for a worker go back to the queue. */
void pool_forget_sessions(Pool *p);
/* Nobody has used it: it can be bound to a session. */
bool pool_worker_fresh(const Worker *w);

/* Sets the timer of a queued or waiting job to what comes first: its deadline, the end of its patience, its time. */
void pool_arm_job(Pool *p, Job *j);
/* Takes a job out of the queue, or out of those that wait. */
void pool_unqueue(Pool *p, Job *j);
/* Ends a job that is in no queue and with no worker any more; the result is taken over. */
void pool_finish(Pool *p, Job *j, JobResult *r);
void pool_end_queued(Pool *p, Job *j, FrameStatus status, const char *code, const char *text);
/* It is aborted: recorded jobs of the queue, which flowd's end would leave to its next run, wait for a pool of its name. */
void pool_leave_queue(Pool *p);
/* The pool closes: jobs whose time has not come leave it. `followers`: recorded ones that wait for an equal job, too; its time is over. */
void pool_leave_waiting(Pool *p, bool followers);
/* flowd stops: a recorded job leaves memory as it is. */
void pool_suspend_job(Pool *p, Job *j);
/* WorkerOps */
void pool_job_end(Worker *w, Job *j, JobResult *r);
void pool_job_released(Worker *w, Job *j);
void pool_job_lost(Worker *w, Job *j);
