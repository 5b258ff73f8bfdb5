/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Jobs that need not be run: their result is in the cache, or an equal job is under way. */

#include "basic/hot.h"
#include "basic/map.h"
#include "basic/timer.h"
#include "worker/job.h"

struct JobTable;
struct Pool;
struct Worker;

#define CACHED_SEARCH_USEC (1 * USEC_PER_SEC) /* so long a job waits for the store's answer */
#define CACHED_PROBES_MAX 64U   /* jobs that are searched though their pool has no room for them */
#define CACHED_TOUCHED_MAX 256U /* results that were used, until the store is told ... */
#define CACHED_TOUCHES_MAX 64U  /* ... which it is so often at the same time; what is used meanwhile is not noted */

typedef struct CachedStats { /* since the start */
        uint64_t hits, stale, misses, coalesced; /* jobs */
        uint64_t saved_bytes;                    /* of results that no worker had to make */
        uint64_t renewals;                       /* jobs of flowd's own */
} CachedStats;

/* A member of the job table. */
typedef struct Cached {
        struct JobTable *table;
        Map by_key;       /* flights, by cache_id() of their key */
        List flights;     /* all */
        List unfinished;  /* those with something to do at the end of the round */
        Defer finish;
        Timer touch;
        uint64_t touched[CACHED_TOUCHED_MAX];
        unsigned n_touched;
        unsigned n_touches;
        unsigned n_probes;
        unsigned n_overdue; /* searches that nobody waits for any more, without an answer yet */
        CachedStats stats;
} Cached;

void cached_init(struct JobTable *t);
void cached_done(struct JobTable *t);

/* Called for a job that is about to be queued. True: it is to stand among its pool's waiting jobs until its result is there, or it comes back to be
 * queued after all. Never ends the job at once. */
bool cached_begin(struct Pool *p, Job *j);
/* A job that its pool refuses with `error`: whether it is searched all the same. Then Job.probing is to be set before cached_begin(), and it is accepted
 * where the search finds something; else it is refused, unless there is room by then. */
bool cached_may_probe(struct Pool *p, Job *j, int error);
/* Whether it still is neither accepted nor refused; else, and also where it could not be searched, it is an accepted job like any other. */
bool cached_probes(Job *j);
/* Whether it waits for that: it has a place in its pool, also in one that closes. */
bool cached_waits(const Job *j);
/* It was taken out of its pool's queue, or out of those that wait, for whatever reason. */
void cached_unqueued(Job *j);
/* It ends: jobs that wait for it end likewise, or one of them takes its place. The result stays the caller's. */
void cached_end(struct Pool *p, Job *j, const JobResult *r);
/* It goes to that pool, because its own has failed. Where its workers will be of another type, it is not equal any more to those who wait for it. */
void cached_moved(const struct Pool *to, Job *j);
/* It leaves its pool without an end. */
void cached_abandon(Job *j);
/* Results of that method and worker type, where these are set, are being purged: what runs now is neither kept nor joined any more. */
void cached_purged(struct JobTable *t, const char *method, const char *worker_type);
/* It is with a worker, and others waited for it in the image before. */
void cached_resume(struct Pool *p, struct Worker *w, Job *j);

/* What was counted, across execve(). */
struct StateWriter;
struct StateReader;
void cached_serialize(const struct JobTable *t, struct StateWriter *sw, struct json_object *o);
void cached_deserialize(struct JobTable *t, const struct json_object *o);

/* "hit", "stale", "coalesced"; "renewal" for a job of flowd's own; else NULL. */
const char *cached_word(FrameCache how, bool renewal);
