/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pools that were spawned at run time: made, kept, closed. */

#include "flowd/manager.h"

/* The ends of ServerOps; server.h says what they do. */
int spawned_new(Manager *m, const PoolSpawn *spec, StoreRequest *keep, Pool **ret, char **reterr_text);
int spawned_close(Manager *m, Pool *p, uint64_t timeout_usec, char **reterr_text);

/* Puts the spawned pools into a fresh configuration, as far as that leaves them their names and their types; otherwise it has errors then. */
int spawned_carry(Manager *m, Config *fresh);
/* Takes one that an earlier run has kept into the configuration, and starts to be of the manager's pools. A `text` of which no pool can be made (any
 * more) is told of, and no failure. Returns 0 or -ENOMEM. */
int spawned_load(Manager *m, const char *name, const char *text);

/* State across execve(), before the pools are made. */
void spawned_serialize(Manager *m, struct StateWriter *sw, struct json_object *root);
int spawned_deserialize(Manager *m, const struct StateReader *sr);
