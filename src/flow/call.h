/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files that carry calls out share. */

#include "flow/internal.h"
#include "flow/json.h"

typedef struct Call {
        Flow *flow;
        const FlowCaller *who;
        json_object *args;
        FlowCall *call;
        FlowSession *session; /* of the verbs that have one */
        FlowTask *task;       /* likewise */
        uint64_t now;
} Call;

/* Ends the call as refused. Returns 0. */
int call_fail(Call *c, const char *error, const char *format, ...) _printf_(3, 4);
/* The same with a text that is taken over, and the error that goes with a -errno. */
int call_refused(Call *c, int r, char *why);
/* A member under the name of Varlink or that of the tools. NULL: absent. */
json_object *call_member(const Call *c, const char *name);
/* A text; *ret stays where it is absent. Returns false after having failed the call: it is of another type, or longer than `max`. */
bool call_text(Call *c, const char *name, size_t max, const char **ret);
/* Settles and stores; the call is answered then. Result: `o` (taken over) with what the session is like and what was activated. Returns 1. */
int call_changed(Call *c, json_object *o);

/* The verbs that are not in call.c itself; each returns what flow_call() does. */
int verb_create(Call *c);
int verb_add(Call *c);
int verb_submit(Call *c);
int verb_merge(Call *c);
int verb_import(Call *c);
