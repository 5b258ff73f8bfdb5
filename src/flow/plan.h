/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tasks out of JSON: one, or a graph that is checked as a whole before any of it is added. */

#include <json-c/json.h>

#include "flow/session.h"

#define FLOW_PLAN_MAX 10000U /* tasks of a graph that is submitted at once */

typedef struct PlanTask {
        FlowTaskSpec spec;   /* the strings belong to the JSON object */
        json_object *object; /* a reference */
        char *context;       /* what spec.context points to */
        const char **needs;  /* ids; the strings belong to the object */
        size_t n_needs;
        unsigned mark;
        size_t next;
} PlanTask;

typedef struct Plan {
        PlanTask *tasks;
        size_t n;
} Plan;

/* Reads one task, or an array of them. `lenient`, an import: unknown members, more than FLOW_PLAN_MAX, and dependencies on
 * what is not there are no error.
 * Returns 0, or -EINVAL, -ELOOP, -EEXIST, -ENOENT, -ENOMEM with a text for a person (the caller's). */
int plan_parse(Plan *p, json_object *o, bool lenient, char **reterr);
/* Checks ids, dependencies, cycles and ${task.ID.result} against the session that it is to be added to (NULL: a new one). */
int plan_check(Plan *p, const FlowSession *s, bool lenient, char **reterr);
/* Adds all of it, in an order in which dependencies come first. Behind plan_check() this fails for want of memory only. ret_tasks has p->n of
 * them, in the order of the plan; it may be NULL. */
int plan_add(Plan *p, FlowSession *s, uint64_t now, FlowTask **ret_tasks, char **reterr);
void plan_done(Plan *p);

/* ${task.ID.result} in a text: finds the next from *at on, and moves *at behind it. *ret_from is where it begins. Returns false at the end. */
bool plan_reference(const char *text, size_t size, size_t *at, size_t *ret_from, char ret_id[FLOW_ID_MAX + 1]);
/* A JSON value as text: a string's own, anything else printed. NULL when out of memory. */
char *plan_text(json_object *o);
