/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The two sockets that flowd answers on: control (Varlink) and jobs (frames). */

#include "flow/flow.h"
#include "route/route.h"
#include "service/auth.h"
#include "service/events.h"
#include "service/spawn.h"

typedef struct Server Server;
struct json_object;
struct StateWriter;
struct StateReader;

/* What the sockets need of the manager. */
typedef struct ServerOps {
        /* The whole of Status(), as a new JSON object. */
        struct json_object *(*status)(void *userdata);
        /* Reloads: returns 0 with the pools and settings that changed and warnings, -EBADMSG with the errors (arrays of strings, new), or -errno. */
        int (*reload)(void *userdata, struct json_object **ret_changed, struct json_object **ret_settings, struct json_object **ret_messages);
        /* Asks for a re-exec at the end of the round. Returns 0 or -errno with a text. */
        int (*reexec)(void *userdata, char **reterr_text);
        /* Takes over a stored job that is queued again. Returns 0 or -ENOMEM. */
        int (*retried)(void *userdata, JobRecord *r);
        /* The configuration as text; -ENOENT for an unknown unit. */
        void (*keep)(void *userdata); /* hands what is kept for the next run of flowd to the store, now */
        int (*show_config)(void *userdata, const char *unit, char **ret);
        /* Spawns a pool. `keep`, a STORE_OP_STATE_PUT or NULL where there is no store, is filled in, and the caller's to submit: when it is done the pool
         * outlives a restart. Returns 0, -EEXIST (the name), -EINVAL, -EBADMSG (what is asked for cannot be), -ENOSPC, -ESHUTDOWN, -ENOMEM, with a text. */
        int (*spawn_pool)(void *userdata, const PoolSpawn *spec, StoreRequest *keep, Pool **ret, char **reterr_text);
        /* Closes a spawned pool: it takes nothing more, finishes what it has, at the latest after timeout_usec (0: a default) it is aborted. Its end is
         * told by server_pool_gone(). Again for one that closes: sooner. Returns 0, or -EPERM with a text for one that is from a file. */
        int (*close_pool)(void *userdata, Pool *p, uint64_t timeout_usec, char **reterr_text);
} ServerOps;

typedef struct ServerLimits {
        unsigned connections_max;      /* of each socket */
        unsigned connections_per_user; /* of each socket */
        unsigned jobs_per_client;
        unsigned rate, burst;          /* of one user: jobs a second, and at once; 0: no limit */
        uint64_t json_max;
        uint64_t client_buffer_max;
} ServerLimits;

struct Server {
        Host *host;
        JobTable *jobs;
        Router *router;
        SessionTable *sessions;
        Flow *flow;                    /* sessions */
        AuthConfig auth;
        ServerLimits limits;
        const ServerOps *ops;
        void *userdata;

        int control_fd, jobs_fd;
        sd_event_source *control_source, *jobs_source;
        List control_clients, job_clients;
        unsigned n_control, n_jobs;
        uint64_t refused_told;

        BucketTable rates;             /* ClientRateLimit= */
        const EventHistory *events;    /* the manager's */
        bool stopping;                 /* no new jobs are taken */
        bool answer_early;             /* a fault was injected: durable jobs are answered before they are recorded */
};

int server_init(Server *s, Host *h, JobTable *t, Router *r, const ServerOps *ops, void *userdata);
void server_done(Server *s);
/* Takes over two listening sockets. */
int server_listen(Server *s, int control_fd, int jobs_fd);
/* To be called for every event that is kept. */
void server_event(Server *s, const KeptEvent *e);
/* Pools are gone: answers those who wait for that. */
void server_pool_gone(Server *s);
/* Answers those who wait for a re-exec: it has happened, or `failed` says why it has not. */
void server_reexeced(Server *s, const char *failed);

int server_serialize(Server *s, struct StateWriter *sw, struct json_object *o);
int server_deserialize(Server *s, const struct StateReader *sr, const struct json_object *o);

/* --- inside the room --- */

/* Checks the connection limits for a peer and tells of a refusal. Returns 0 or -EUSERS. */
int server_admit(Server *s, const Peer *p, bool control, unsigned n_of_user);
/* May the peer submit a job now? Else a text for a person, owned by the caller, says when. */
bool server_rate(Server *s, const Peer *p, char **reterr_text);
/* Tells the journal that a peer lacks a group; now and then, not each time. */
void server_refused(Server *s, const Peer *p, const char *what, const char *group);
void control_client_new(Server *s, int fd);
void job_client_new(Server *s, int fd);
void control_clients_done(Server *s);
void job_clients_done(Server *s);
/* True while a descriptor waits for a client: it cannot be handed over to another image. */
bool job_clients_passing(Server *s);
/* Reads from them again, after Host.hold. */
void job_clients_resume(Server *s);
void control_clients_event(Server *s, const KeptEvent *e);
int control_clients_serialize(Server *s, struct StateWriter *sw, struct json_object *array);
int control_client_deserialize(Server *s, const struct StateReader *sr, const struct json_object *o);
int job_clients_serialize(Server *s, struct StateWriter *sw, struct json_object *array);
int job_client_deserialize(Server *s, const struct StateReader *sr, const struct json_object *o);
