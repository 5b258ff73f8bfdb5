/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What workers and pools need of the daemon that they live in: loop, timers, log, cgroups, limits. */

#include "basic/hot.h"
#include "basic/log.h"
#include "basic/map.h"
#include "basic/timer.h"
#include "worker/cgroup.h"
#include "worker/event.h"

/* The order in which sd-event dispatches: what workers say, then their deaths, then timers, then new clients. */
enum {
        PRIORITY_IO = -20,
        PRIORITY_CHILD = -10,
        PRIORITY_TIMER = -5,
        PRIORITY_SIGNAL = 0,
        PRIORITY_ACCEPT = 10,
};

/* How a worker ended, for those who want it exactly. */
typedef struct WorkerEnd {
        const char *cause;      /* a word: "exit", "signal", "core", "oom", "timeout", ... */
        int code, status;       /* a CLD_* code, and what goes with it */
        uint64_t user_usec, system_usec; /* CPU time, with that of descendants that it has waited for */
        uint64_t max_rss;       /* bytes */
} WorkerEnd;

typedef struct EventFields {
        const char *pool;       /* all may be NULL, 0 */
        const char *worker;
        uint64_t generation;
        uint64_t job;
        const char *session;
        pid_t pid;              /* OBJECT_PID= */
        const WorkerEnd *end;   /* of a worker's death */
} EventFields;

typedef struct Host Host;
struct Host {
        sd_event *event;
        HotSet hot;
        TimerQueue timers;
        Log *log;
        CgroupRoot cgroup;
        Map by_pid;               /* Worker.by_pid: every process that was not reaped yet */
        uint64_t generation;      /* of the newest worker */
        char instance[24];        /* FLOWD_INSTANCE of every worker: told from other instances' workers in /proc */
        pid_t last_orphan;        /* so that one that takes its time to die is told of once */
        List mcp_catalogs;        /* McpCatalog.link: what MCP servers offer, by worker type */
        bool hold;                /* a re-exec waits for the store: no job is taken, none dispatched */
        char *directory;          /* where workers start, unless their type says otherwise */

        uint64_t memory_planned;  /* what all pools' workers are counted as, in bytes, and ... */
        uint64_t memory_budget;   /* ... MemoryBudget= */

        /* limits, from the configuration */
        uint64_t json_max;
        unsigned stderr_rate;
        uint64_t stderr_interval_usec;
        uint64_t inbound, inbound_max; /* bytes of large messages on their way, and their limit */

        /* every event also goes here; the message is only valid during the call */
        void (*tap)(Host *h, EventKind e, const EventFields *f, const char *message);
        void *userdata;           /* the manager */
};

/* Reports an event: to the log with its MESSAGE_ID and FLOWD_* fields, and to the tap. */
void event_send(Host *h, EventKind e, const EventFields *f, const char *format, ...) _printf_(4, 5);
/* A line of a worker's own output, which becomes the message. */
void event_output(Host *h, int level, const EventFields *f, const char *text, size_t size);
