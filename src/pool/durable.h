/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between the jobs in memory and the store: what is recorded when, and what waits for it. */

#include "pool/pool.h"

/* Why a job is refused that has a key and is not durable. */
#define DURABLE_KEY_TEXT "a key is heeded for durable jobs only: submit it with --durable, which needs a store (Store=yes), or without the key"

/* For a job that outlives its submitter, who did not say: it survives, unless there is no store (Store=no). A store in trouble refuses it. */
Durability durable_default(const JobTable *t);
/* Has an accepted job recorded; pool_recorded() goes on with it, or it is refused. Returns 0, -EROFS with a text (owned by the caller)
 * where the store takes none, or -ENOMEM. */
int durable_add(JobTable *t, Job *j, char **reterr_text);
/* Has its next attempt recorded before it may begin; then pool_recorded(). `cause` may be NULL. */
int durable_requeue(Pool *p, Job *j, const char *code, const char *cause);
/* Has its end recorded, then tells it. The result is taken over; the job is with no pool and no worker any more. */
void durable_end(JobTable *t, Job *j, JobResult *r);
/* Its pool is not configured (any more): it waits for one of that name, in JobTable.aside, with no pool. */
void durable_set_aside(JobTable *t, Job *j);
/* Ends those set aside whose deadline has passed. */
void durable_check_aside(JobTable *t);
/* A job that has ended, from the store's records; it is in no table. Takes over what is in the record. Returns 0, -EAGAIN where it has not
 * ended, or -ENOMEM. */
int durable_ended(JobRecord *r, Job **ret);
/* A job from the store's records, as it was before flowd ended. Takes over what is in the record. Returns 0 or -ENOMEM. */
int durable_restore(JobTable *t, JobRecord *r, Job **ret);
