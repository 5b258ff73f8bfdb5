/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Jobs in the order in which they are to be dispatched: by priority with aging, fair between users. Pure: the time is passed in. */

#include "basic/heap.h"
#include "worker/job.h"

typedef struct JobQueue JobQueue;
typedef struct QueueClass QueueClass;

/* The jobs of one user in one class, oldest first. */
typedef struct QueueShare {
        MapNode by_owner;
        List link;        /* among the class's shares that have jobs: the first is the next one's turn */
        List jobs;        /* Job.queue_link */
        QueueClass *class;
        uid_t uid;
} QueueShare;

/* The jobs of one priority. */
struct QueueClass {
        JobQueue *queue;
        MapNode by_priority;
        HeapNode node;
        List link;        /* among all classes that have jobs */
        List jobs;        /* Job.class_link: oldest first */
        List shares;
        int32_t priority;
};

struct JobQueue {
        Map classes, shares;
        Heap order;       /* classes that have jobs: the next one first */
        List used;        /* the same classes */
        uint64_t aging;
        unsigned n;
        QueueClass base;  /* priority 0, and whatever there is no memory for a class of its own for */
        QueueShare common; /* of a user in that class; likewise */
};

/* `aging`: waiting so long counts as much as one step of priority, µs; 0: waiting never does. `seed` is a random number. */
void job_queue_init(JobQueue *q, uint64_t aging, uint64_t seed);
/* Only when it is empty. */
void job_queue_done(JobQueue *q);
void job_queue_set_aging(JobQueue *q, uint64_t aging);

/* Adds a job by its priority, uid and queued_usec (CLOCK_MONOTONIC): behind those of its class that are as old or older. Cannot fail. O(log
 * n) for one that is the youngest or about the oldest of its class, which all are but by accident. */
void job_queue_add(JobQueue *q, Job *j);
/* The one to be dispatched next, or NULL. It stays. */
Job *job_queue_first(const JobQueue *q);
/* The order of the first one: what is less comes first. Only of a queue that is not empty. */
uint64_t job_queue_key(const JobQueue *q);
/* The job's user has had a turn: others of its class are next. To be called for what job_queue_first() gave, before it is removed. */
void job_queue_turn(Job *j);
/* Removes a job from the queue that it stands in. */
void job_queue_remove(Job *j);
/* Moves all jobs, in their order. */
void job_queue_move(JobQueue *to, JobQueue *from);
/* Calls `f` for each job, the oldest of a class first; it may remove that job. */
void job_queue_foreach(JobQueue *q, void (*f)(Job *j, void *userdata), void *userdata);

static inline bool job_queue_empty(const JobQueue *q) {
        return q->n == 0;
}
