/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sessions as a person sees them. The objects are those of io.flowd's Flow methods. */

#include "flowctl/term.h"

void flow_print_list(const Flowctl *c, json_object *sessions);
/* `task`: it holds one task only, which is what is asked for. */
void flow_print_session(const Flowctl *c, json_object *session, bool task);
void flow_print_status(json_object *status);
void flow_print_explanation(json_object *explanation);
/* As a tree, or for dot(1). Returns an exit status. */
int flow_print_graph(json_object *session, bool dot);
/* The answer to a change: the task that it was about, what it has activated; `what` stands behind the session's name. */
void flow_print_change(json_object *reply, const char *what);

/* A status again and again: the screen drawn anew on a terminal, else a line for each task whose state has changed. */
typedef struct FlowFollow {
        json_object *seen; /* states by id */
} FlowFollow;

void flow_follow_print(FlowFollow *f, json_object *status);
void flow_follow_done(FlowFollow *f);
