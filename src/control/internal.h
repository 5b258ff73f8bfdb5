/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The Varlink side: a connection, the call that it is waiting for, and the methods. */

#include "control/server.h"
#include "proto/varlink.h"

typedef enum Pending {
        PENDING_NONE,
        PENDING_RUN,     /* answered at the job's end */
        PENDING_WAIT,
        PENDING_EVENTS,  /* until the peer goes away */
        PENDING_WATCH,
        PENDING_REEXEC,
} Pending;

typedef struct ControlClient {
        Server *server;
        List link;
        HotFd io;
        OutQueue out;
        Defer flush;
        Peer peer;
        char *buffer;       /* what was received and is not handled yet */
        size_t used, room, scanned;
        bool closing;

        Pending pending;    /* one call at a time, as Varlink wants it */
        bool more, oneway;  /* of the call in hand */
        Job *job;           /* RUN, WAIT: a reference */
        JobWatch watch;
        Timer timer;        /* WATCH */
        uint64_t interval;
        char *pool_filter;  /* EVENTS */
} ControlClient;

typedef struct Method {
        const char *name;
        void (*call)(ControlClient *c, json_object *parameters);
        AuthLevel level;
} Method;

/* The methods of io.flowd, ended by a NULL name. */
extern const Method control_methods[];

/* Answers the call in hand; `parameters` are taken over, NULL is an empty object. */
void control_reply(ControlClient *c, json_object *parameters, bool continues);
void control_error(ControlClient *c, const char *error, json_object *parameters);
/* An error of io.flowd whose parameters are a few of its own (taken over, may be NULL) and a message. */
void control_fail(ControlClient *c, const char *name, json_object *parameters, const char *format, ...) _printf_(4, 5);
void control_invalid(ControlClient *c, const char *parameter);
void control_events_start(ControlClient *c, const char *pool, unsigned limit);
void control_watch_start(ControlClient *c, uint64_t interval);
void control_pending_done(ControlClient *c);
void control_job_start(ControlClient *c, Job *j, Pending pending);
json_object *control_job_result(Job *j, bool *ret_too_large, uint64_t json_max);
/* Objects of the interface. */
json_object *control_pool_object(const Pool *p);
