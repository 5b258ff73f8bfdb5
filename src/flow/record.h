/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sessions to rows of the store, and back. */

#include "flow/session.h"
#include "store/flow-record.h"

/* What has changed since the last time, as one change; NULL where nothing has. `whole`: all there is, in place of whatever the store has. The session
 * counts as stored with it. Returns 0 or -ENOMEM, and then everything is as it was. */
int record_change(FlowSession *s, bool whole, FlowChange **ret);
/* That the session goes. */
int record_gone(const FlowSession *s, FlowChange **ret);

/* A session that is being loaded: rows in their order, then record_finish(). Each returns 0, -ENOMEM, or -EBADMSG for what cannot be ours. */
int record_session(const FlowSessionRow *r, const FlowThresholds *limits, FlowIndex *index, FlowSession **ret);
typedef struct RecordTasks {
        FlowTask **tasks;
        char **bodies; /* for the dependencies, which may be on later ones */
        size_t n, room;
} RecordTasks;
int record_task(RecordTasks *all, FlowTaskRow *r);
int record_entry(FlowSession *s, const FlowEntryRow *r);
/* Takes the tasks into the session. *ret_lost counts dependencies on tasks that are not there. */
int record_finish(FlowSession *s, RecordTasks *all, unsigned *ret_lost);
void record_tasks_done(RecordTasks *all);
