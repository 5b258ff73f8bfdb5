/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pools, workers and jobs as JSON objects, the same on every socket. Each is new, and the caller's. */

#include <json-c/json.h>

#include "route/route.h"

/* NULL is left out; what JSON has no number for is cut. */
void object_add_text(json_object *o, const char *key, const char *v);
void object_add_int(json_object *o, const char *key, uint64_t v);
json_object *object_of_pool(const Pool *p);
/* `whole`: with the end of its stderr. */
json_object *object_of_worker(const Worker *w, bool whole);
json_object *object_of_job(const Router *router, const Job *j);
json_object *object_of_record(const Router *router, const JobRecord *r);
