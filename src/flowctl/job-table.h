/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What "job" and "dead" have in common: asking for jobs, and showing one. */

#include "flowctl/term.h"

/* Asks for the jobs that --pool, --method, --session, --since and the given state stand for, page by page up to --limit= (not given:
 * flowd's own limit). Returns 0 with an object whose member "jobs" is an array, or an exit status, told. */
int jobs_fetch(Flowctl *c, const char *state, json_object **ret);
/* One page of them: at most `limit` (0: flowd's own), older than the job `before` (NULL: from the newest on). */
int jobs_fetch_page(Flowctl *c, const char *state, const char *before, uint64_t limit, json_object **ret);
int job_fetch(Flowctl *c, const char *id, json_object **ret_job);
/* Prints one; its error, which can have many lines, is told by its first one, or not at all. */
void job_print(json_object *j, bool colours, bool error);
/* The first line of a text, in a cell. */
void table_cell_line(Table *t, Colour colour, const char *text);
/* Queues one that has ended again. */
int job_retry(Flowctl *c, const char *id, uint64_t delay_usec);
