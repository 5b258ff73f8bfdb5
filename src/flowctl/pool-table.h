/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pools as a table: for status and pool list. */

#include <json-c/json.h>

#include "flowctl/flowctl.h"
#include "flowctl/term.h"

/* Columns that each table of pools has, and their cells in a row. */
#define POOL_WORK_COLUMNS \
        { "STATE", 12, 0 }, { "WORKERS", 7, SCOLS_FL_RIGHT }, { "BUSY", 4, SCOLS_FL_RIGHT }, { "QUEUED", 6, SCOLS_FL_RIGHT }, \
        { "COMPLETED", 5, SCOLS_FL_RIGHT }, { "FAILED", 6, SCOLS_FL_RIGHT }
#define POOL_LATENCY_COLUMNS { "P50", 6, SCOLS_FL_RIGHT }, { "P99", 6, SCOLS_FL_RIGHT }
void pool_table_work(Table *t, json_object *p);
void pool_table_latency(Table *t, json_object *p);
/* Prints an array of pools; `what` as in table_print(). */
void pool_table_print(const Flowctl *c, json_object *pools, const char *what);
/* Asks for the named pools, or for all of them, where none is named; the reply is one object with all of them. 0, or an exit status, told. */
int pools_get(Flowctl *c, int argc, char **argv, json_object **ret);
/* Returns 0 where there is such a pool, else the exit status after having told. */
int pool_check(Flowctl *c, const char *name);
/* Says of those that are not well why. */
void pool_reasons_print(json_object *pools, bool colours);
