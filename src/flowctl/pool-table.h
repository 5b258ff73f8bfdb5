/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pools as a table: for status and pool list. */

#include <json-c/json.h>

#include "flowctl/flowctl.h"

/* Prints an array of pools; `what` as in table_print(). */
void pool_table_print(const Flowctl *c, json_object *pools, const char *what);
/* Asks for the named pools, or for all of them, where none is named; the reply is one object with all of them. 0, or an exit status, told. */
int pools_get(Flowctl *c, int argc, char **argv, json_object **ret);
/* Returns 0 where there is such a pool, else the exit status after having told. */
int pool_check(Flowctl *c, const char *name);
/* Says of those that are not well why. */
void pool_reasons_print(json_object *pools, bool colours);
