/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager: owns everything that a running flowd consists of, and wires it together. */

#include "control/server.h"
#include "flowd/config.h"
#include "mcp/mcp.h"
#include "pool/pool.h"
#include "route/route.h"
#include "worker/reaper.h"

#define EXIT_CONFIG 78           /* EX_CONFIG: RestartPreventExitStatus= */
#define STATE_FD_ENV "FLOWD_STATE_FD" /* how a new image finds its state */
#define PERSIST_ITEMS_MAX 16U

typedef struct PoolName {
        List link;
        char name[];
} PoolName;

typedef struct Manager {
        Host host;
        Store *store;            /* NULL until it is opened */
        JobTable jobs;
        SessionTable sessions;
        Router router;
        Flow *flow;              /* sessions */
        Server server;
        McpServer mcp;
        EventHistory events;
        Reaper reaper;

        ConfigPaths paths;
        Config *config;
        List pools;              /* Pool.link */
        Map pools_by_name;
        List names;              /* every pool name ever used: events and jobs point to them */

        char **argv;             /* for the next image */
        char *exe;
        uint64_t started_usec;   /* CLOCK_REALTIME */
        unsigned reloads, reexecs;
        char *config_error;      /* why the last reload was refused */
        bool ready;              /* READY=1 was sent */
        bool stopping, aborted;
        uint64_t stop_until;
        bool reexec_wanted;
        uint64_t reexec_until;

        Timer persist_timer;     /* persist.c */
        uint64_t persist_usec;   /* when it wrote last */
        char *persisted[PERSIST_ITEMS_MAX]; /* what it wrote */

        Defer changed;           /* a pool changed its state */
        Timer load_timer;        /* the next slice of the jobs of an earlier run, where the store was opened late */
        unsigned n_loaded, n_waiting; /* of those so far */
        Timer tick;              /* watchdog, STATUS=, shutdown */
        Timer reexec_timer;
        uint64_t watchdog_usec;
        uint64_t watchdog_last;
        char status[256];        /* the last STATUS= */
        unsigned own_sockets;    /* a bit for each that was bound by us, not by systemd: removed at the end */
        sd_event_source *signals[5];
} Manager;

/* Starts everything but the loop: `state_fd` >= 0 takes over from an earlier image. Returns 0, -EBADMSG after printing configuration errors, or -errno. */
int manager_init(Manager *m, const ConfigPaths *paths, LogTarget target, int log_level, char **argv, int state_fd);
int manager_run(Manager *m);
void manager_done(Manager *m);

/* --- inside the room --- */

Pool *manager_pool(Manager *m, const char *name);
int manager_add_pool(Manager *m, PoolConfig *config, Pool **ret);
/* Starts those that have not begun. */
void manager_start_pools(Manager *m);
void manager_apply_limits(Manager *m);
const char *manager_intern(Manager *m, const char *name);
/* Opens the store and takes the jobs of an earlier run, once their workers are gone; `resumed`: there is none, this image goes on with its own. */
int manager_open_store(Manager *m, bool resumed);
/* Takes over a job that was queued again by hand. */
int manager_retried(Manager *m, JobRecord *r);
/* Gives jobs that wait for a pool of that name to it. */
void manager_adopt_waiting(Manager *m);
void manager_configure_store(Manager *m);
int manager_reload(Manager *m, struct json_object **ret_changed, struct json_object **ret_settings, struct json_object **ret_messages);
int manager_reexec_request(Manager *m, char **reterr_text);
int manager_restore(Manager *m, int state_fd);
void manager_notify(Manager *m, const char *format, ...) _printf_(2, 3);
struct json_object *manager_status(Manager *m);
const char *manager_state(const Manager *m);
void manager_summary(const Manager *m, char *buf, size_t size);
extern const ServerOps manager_server_ops;
extern const McpOps manager_mcp_ops;

/* Runs the rest of the program in a child, whose descendants it kills when the child ends. Returns in the child with 0, in the parent with
 * *ret_status set to the exit status and 1, or -errno. */
int guardian_start(int *ret_status);
