/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sessions and tasks as JSON, for people and programs; and the words about them. */

#include <json-c/json.h>

#include "flow/session.h"

/* Each returns a new object. `whole`: with context, payload and result. */
json_object *view_task(const FlowTask *t, bool whole);
/* What a list shows of a session. */
json_object *view_session(const FlowSession *s);
/* The same with context (where it is one's `own`), todos, all its tasks (`whole`: with all of each), and the last `entries` of the work log. */
json_object *view_session_whole(const FlowSession *s, bool own, bool whole, size_t entries);
/* Completed, active, queued tasks; load and capacity; flow state and why; recommendations. */
json_object *view_status(const FlowSession *s, uint64_t now);
/* Why the flow state is what it is: the figures, the verdict, the thresholds. */
json_object *view_explain(const FlowSession *s, uint64_t now);
json_object *view_entry(const FlowEntry *e);
/* A JSON text as a value; NULL where there is none. */
json_object *view_value(const char *text);
