/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Flow sessions as the store keeps them: rows, and changes of them. What is text in a row is the room's own; the store does not look into it. */

#include "basic/list.h"
#include "basic/macro.h"

/* NULL texts of a row that is written are left as they are in the store, where there is a row already. */
typedef struct FlowSessionRow {
        uint64_t number;
        uint64_t revision;     /* of the change that wrote it */
        char *body;            /* what seldom changes */
        char *moving;          /* what each change changes */
} FlowSessionRow;

typedef struct FlowTaskRow {
        uint64_t session, seq;
        char *body;
        char *moving;
        char *result;          /* bytes; see has_result */
        size_t result_size;
        bool has_result;       /* result is to be written, or was there */
} FlowTaskRow;

typedef struct FlowEntryRow {
        uint64_t session, number;
        char *body;
} FlowEntryRow;

/* What one transaction does to one session. */
typedef struct FlowChange {
        struct FlowChange *next; /* to another session, in the same transaction */
        FlowSessionRow session;
        uint64_t base;           /* the revision that it changes; 0: there is none, it is new */
        bool gone;               /* it is removed, with all that belongs to it */
        FlowTaskRow *tasks;
        size_t n_tasks;
        FlowEntryRow *entries;
        size_t n_entries;
        uint64_t entries_from;   /* those with a lower number go */
} FlowChange;

/* Frees the whole chain. Returns NULL. */
FlowChange *flow_change_free(FlowChange *c);
void flow_session_row_done(FlowSessionRow *r);
void flow_task_row_done(FlowTaskRow *r);

/* Who takes what is loaded: a session, its tasks and its entries in the order of their numbers, then the next session. They may take the
 * strings out of the rows. Each returns 0 or -errno, which ends the loading. `again`: begin anew, a damaged store was salvaged. */
typedef struct FlowSink {
        int (*session)(FlowSessionRow *r, void *userdata);
        int (*task)(FlowTaskRow *r, void *userdata);
        int (*entry)(FlowEntryRow *r, void *userdata);
        void (*again)(void *userdata);
} FlowSink;
