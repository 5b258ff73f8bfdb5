/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What flowd has learnt, and was told at run time, for its next run: kept in the store. */

#include "flowd/manager.h"

#define PERSIST_POOL "pool/" /* keys of spawned pools, by name */
#define PERSIST_ITEM "item/" /* keys of the items in the table of persist.c */

/* One thing that is kept as a whole. A new one: a line in the table of persist.c, and manager_touched() whenever it has changed. */
typedef struct PersistItem {
        const char *name;
        /* A new object; NULL where there is nothing to keep, or no memory. At most STORE_STATE_VALUE_MAX as text. */
        struct json_object *(*save)(Manager *m);
        /* What save() gave in an earlier run (then pools are there and pending), or in the image before. Anything may be missing, or not make sense
         * (any more). */
        void (*load)(Manager *m, const struct json_object *o);
        bool apart; /* the next image gets it in another way, and more of it */
} PersistItem;

/* `soon`: somebody expects it to be kept; otherwise it is at the next turn, at most PERSIST_USEC from now. */
void persist_touched(Manager *m, bool soon);
/* Hands all that has changed to the store, now. */
void persist_save(Manager *m);
/* Takes what an earlier run has kept. Returns 0 or -ENOMEM. */
int persist_load(Manager *m);
void persist_forget(Manager *m, const char *prefix, const char *name);
/* All items, for the next image, and back. */
struct json_object *persist_serialize(Manager *m);
void persist_deserialize(Manager *m, const struct json_object *all);
void persist_done(Manager *m);
