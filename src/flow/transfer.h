/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whole sessions to and from JSON files: our own, and the session-ID.json of the flow balancer that came before. */

#include <json-c/json.h>

#include "flow/session.h"

/* All of a session, in a form that both read. */
json_object *transfer_export(const FlowSession *s);
/* Fills a new session, with every task in its state. What an active executable task was doing elsewhere is not known here: it is queued again.
 * *ret_warnings is a new array of texts. Returns 0, or -EINVAL, -ELOOP, -EEXIST, -ENOMEM with a text; then the session is to be freed. */
int transfer_import(FlowSession *s, json_object *o, uint64_t now, json_object *warnings, char **reterr);
/* The session's id as the file has it; NULL where it has none. */
const char *transfer_id(json_object *o);
/* Moves all that `from` has into `to`: tasks (`prefix` before their ids where they are taken), work log. Nothing of `from` may run. Returns 0,
 * -EBUSY, -EINVAL, -ENOMEM with a text, and then both are as they were. */
int transfer_merge(FlowSession *to, FlowSession *from, uint64_t now, char **reterr);
