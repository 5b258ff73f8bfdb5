/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The last events, kept for those who ask late, on whichever socket. */

#include <json-c/json.h>

#include "worker/host.h"

#define EVENTS_KEPT 256U /* events that can be told of the past */

typedef struct KeptEvent {
        uint64_t time_usec;
        EventKind kind;
        char *message, *pool, *worker;
        uint64_t job;
} KeptEvent;

typedef struct EventHistory {
        KeptEvent events[EVENTS_KEPT];
        unsigned n;  /* that are kept */
        unsigned at; /* how many there ever were: the next one's place */
} EventHistory;

/* Keeps an event, if it is one to be told. Returns it, or NULL where the journal alone has it. It lives until EVENTS_KEPT others came. */
const KeptEvent *event_history_add(EventHistory *h, EventKind e, const EventFields *f, const char *message);
void event_history_done(EventHistory *h);
/* As a new JSON object. */
json_object *object_of_event(const KeptEvent *e);
