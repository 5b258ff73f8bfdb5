/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One worker: a process, its state machine, its slots, and the adapter of the protocol that it speaks. */

#include "basic/outq.h"
#include "worker/frame-stream.h"
#include "worker/host.h"
#include "worker/job.h"
#include "worker/worker-type.h"

typedef enum WorkerState {
        WORKER_STARTING,  /* exec succeeded, the handshake is awaited */
        WORKER_READY,     /* no job in hand */
        WORKER_BUSY,      /* at least one job in hand */
        WORKER_DRAINING,  /* takes no new job, has some in hand */
        WORKER_STOPPING,  /* asked to exit, or dead with descendants that are not */
        WORKER_DEAD,      /* it and all its descendants are gone */
        _WORKER_STATE_MAX,
} WorkerState;

typedef enum WorkerEvent {
        WORKER_EV_READY,   /* the handshake is complete */
        WORKER_EV_BUSY,    /* the first job in hand */
        WORKER_EV_IDLE,    /* the last job in hand has ended */
        WORKER_EV_DRAIN,   /* finish what is in hand, then exit */
        WORKER_EV_STOP,    /* exit now */
        WORKER_EV_KILL,    /* SIGKILL now */
        WORKER_EV_TIMEOUT, /* the state's own time is over */
        WORKER_EV_BAD,     /* it broke the protocol, or hangs */
        WORKER_EV_EXIT,    /* the process has exited */
        WORKER_EV_GONE,    /* nothing of it is left */
        WORKER_EV_CLOSED,  /* its end of the socket is closed, the process may still run */
        _WORKER_EVENT_MAX,
} WorkerEvent;

typedef enum SlotState {
        SLOT_FREE,
        SLOT_RUNNING,
        SLOT_FENCED, /* the job was ended without it; its confirmation is awaited */
} SlotState;

/* Why a worker ended; what flowd decided itself comes before what its process then did. */
typedef enum WorkerCause {
        CAUSE_NONE,      /* nothing was decided: the process says it itself, by one of the next five */
        CAUSE_EXIT,
        CAUSE_PERMANENT, /* exit status 125 */
        CAUSE_SIGNAL,
        CAUSE_CORE,      /* the same, with a core dump */
        CAUSE_OOM,       /* killed for want of memory, as its cgroup's memory.events say */
        CAUSE_TIMEOUT,   /* of its job */
        CAUSE_CANCELLED, /* its job was cancelled, and it was the only way */
        CAUSE_HEARTBEAT, /* it was not heard any more */
        CAUSE_PROTOCOL,  /* it broke the protocol */
        CAUSE_START,     /* it was not ready within StartTimeout= */
        CAUSE_STOPPED,   /* by flowd or an operator: drained, recycled, stopped */
        _CAUSE_MAX,
} WorkerCause;

typedef struct Worker Worker;
struct McpCatalog;
struct StateWriter;
struct StateReader;
struct json_object;

typedef struct WorkerSlot {
        Worker *worker;
        SlotState state;
        Job *job;         /* a reference, while RUNNING */
        Job *held;        /* a reference, while FENCED: its next attempt waits for the end of this one */
        uint64_t request; /* mcp: the id of its request */
        uint64_t job_id;  /* also while FENCED */
        uint32_t attempt;
        bool soft_told;   /* RUNNING: it was asked to end, JobSoftTimeout= being over */
        Timer soft;       /* RUNNING: JobSoftTimeout= */
        bool timed_out;   /* FENCED: by a timeout, not by a cancellation */
        Timer timer;      /* RUNNING: the attempt's end; FENCED: CancelTimeout */
} WorkerSlot;

/* What the pool is told. */
typedef struct WorkerOps {
        bool own_job;                                          /* its job is none that was submitted: it has no event */
        void (*ready)(Worker *w);                              /* it can take jobs (also after each end of a job) */
        void (*job_end)(Worker *w, Job *j, JobResult *r);      /* the job is no longer the worker's; the result is the callee's */
        void (*job_lost)(Worker *w, Job *j);                   /* its attempt died with the worker, and is proven over */
        void (*job_released)(Worker *w, Job *j);               /* one that worker_hold() kept: its attempt is proven over */
        void (*unusable)(Worker *w);                           /* NULL, or it takes no jobs any more; what it has in hand may go on */
        void (*dead)(Worker *w);                               /* to be followed by worker_free() */
        /* of MCP servers; may be NULL */
        void (*catalog)(Worker *w, struct McpCatalog *c);      /* what it offers is known, or has changed */
        void (*notify)(Worker *w, const char *text, size_t size); /* a notification for all clients, as it stands: a resource has changed */
} WorkerOps;

typedef struct WorkerProtocol {
        int (*start)(Worker *w);                    /* the process runs; 1: it is ready at once */
        int (*assign)(Worker *w, WorkerSlot *s);    /* sends the job; -errno: the job cannot be sent (it is then failed) */
        int (*cancel)(Worker *w, WorkerSlot *s);    /* asks, a RUNNING one to end soon; 0 where the protocol cannot, and the worker must be stopped */
        int (*input)(Worker *w, size_t limit);      /* reads about `limit` bytes at the most. 0, -EAGAIN, -EPIPE at the end, -EBADMSG with w->reason */
        void (*exited)(Worker *w);                  /* the process has exited and was drained */
        void (*done)(Worker *w);                    /* frees what the adapter keeps */
        void (*serialize)(Worker *w, struct StateWriter *sw, struct json_object *o);            /* both NULL: it keeps nothing across execve() */
        int (*deserialize)(Worker *w, const struct StateReader *sr, const struct json_object *o);
} WorkerProtocol;

#define WORKER_RECENT_JOBS 64U
#define STDERR_TAIL_SIZE (32U * 1024U)

struct Worker {
        Host *host;
        WorkerType *type;
        const WorkerProtocol *protocol;
        const WorkerOps *ops;
        void *pool;
        const char *pool_name;  /* interned */

        char name[NAME_LENGTH_MAX + 16]; /* POOL/SLOT */
        unsigned slot_number;
        uint64_t generation;
        List link;              /* among the pool's workers */
        List free_link;         /* among those with a free slot */
        List sessions;          /* bound to it: Session.link of pool/session.h */
        unsigned n_sessions;
        struct JobQueue *parked;/* jobs that wait for just this one; the pool's, NULL where there never was one */
        List parked_link;       /* has such jobs, and a slot: among the pool's `resumed` */

        pid_t pid;              /* 0 when reaped */
        pid_t last_pid;
        int pidfd;
        MapNode by_pid;
        int cgroup_fd;
        char *cgroup_name;

        WorkerState state;
        Timer timer;            /* of the state */
        unsigned stop_step;     /* 0 asked, 1 TERM, 2 KILL */
        uint64_t gone_since;    /* when waiting for descendants began */
        bool stop_wanted;       /* flowd wanted it to end: its exit is no crash */
        bool recycle;           /* to be replaced: works on until its successor is ready */
        char *reason;           /* why it is being ended, or ended; for a person */

        HotFd io;               /* the socket, or the read end of stdout */
        HotFd in;               /* exec: the write end of stdin */
        HotFd err;              /* the read end of stderr */
        OutQueue out;
        Defer flush;
        bool input_ended;
        bool draining_end;      /* it has exited: what it had written is being read to the end */

        FrameStream stream;     /* frame */
        struct McpWorker *mcp;  /* mcp: what the adapter knows of its server */
        uint8_t *buffer;        /* jsonl, mcp: the line; exec: the output */
        size_t used, room, scanned;
        uint32_t peer_features;
        uint32_t peer_frame_max;
        Timer heartbeat;
        uint64_t heard_usec;
        uint64_t recent[WORKER_RECENT_JOBS]; /* jobs that it had: a second answer to one is dropped */
        unsigned recent_at;

        char *tail;             /* the last STDERR_TAIL_SIZE bytes of stderr, a ring */
        size_t tail_start, tail_used;
        char *line;             /* an unfinished line of stderr */
        size_t line_used;
        uint64_t rate_since;
        unsigned rate_n, rate_dropped;
        Timer rate_timer;       /* tells of dropped lines */

        WorkerSlot *slots;
        unsigned n_slots, n_running, n_fenced;
        bool single_job;        /* for one job only: cold tier, exec */

        uint64_t started_usec, ready_usec, idle_usec, jobs_done;
        uint64_t jobs_max;      /* MaxJobs= and MaxAge=, varied, so that a pool's workers do not come due together; 0: never */
        uint64_t retire_usec;
        CgroupOom oom;          /* what it was killed for, if that was it */
        WorkerCause cause;      /* why flowd ended it */
        uint64_t died_with;     /* a job that it had in hand at its end, or 0 */
        uint64_t user_usec, system_usec, max_rss; /* what it had used by then */
        int exit_code;          /* a CLD_* code; 0 while it runs */
        int exit_status;
        bool poisoned;          /* it died of a job that had killed another worker before */
        bool failed_start;      /* it never became ready, or exited within a second */
};

typedef struct WorkerSpec {
        Host *host;
        WorkerType *type;
        const WorkerOps *ops;
        void *pool;
        const char *pool_name;
        unsigned slot_number;
        const char *label;      /* in place of the slot's number in its name, or NULL */
        bool single_job;
        const Job *job;         /* the job it is started for, or NULL: goes into its environment */
} WorkerSpec;

/* Starts a process. May call ops->ready() before it returns. Returns 0 or -errno with a reason for a person (owned by the caller). */
int worker_spawn(const WorkerSpec *spec, Worker **ret, char **reterr_reason);
/* For the two ways into life only: an object without a process. */
Worker *worker_alloc(const WorkerSpec *spec);
/* Only for a dead worker. */
Worker *worker_free(Worker *w);

/* A slot that can take a job. */
static inline bool worker_has_slot(const Worker *w) {
        return (w->state == WORKER_READY || w->state == WORKER_BUSY) && w->n_running + w->n_fenced < w->n_slots;
}

/* Hands a job to a free slot: the attempt is counted here. Returns 0, or -errno: the job is still the caller's, and cannot be carried by this protocol. */
int worker_assign(Worker *w, Job *j, char **reterr_reason);
/* Ends a running job here and now (with FRAME_CANCELLED or FRAME_TIMEOUT); the worker is told to stop working on it. */
void worker_end_job(Worker *w, Job *j, FrameStatus status, const char *text);
/* Keeps a job, one of whose attempts has ended without this worker, until that is proven over; then job_released() is called. Returns false
 * where there is no such attempt. */
bool worker_hold(Worker *w, Job *j);
/* Answers what the worker of a running job has asked (JobWatch.ask): `text` is a JSON object, the result, or a JSON-RPC error object.
 * Returns 0, -ENOENT where the question does not stand any more, -EBADMSG where the text is no object, -ENOMEM. */
int worker_answer(Job *j, uint64_t question, bool error, const char *text, size_t size);
/* Finishes what is in hand, then exits. `timeout_usec` from now it is stopped all the same (USEC_INFINITY: never). */
void worker_drain(Worker *w, uint64_t timeout_usec, const char *reason);
/* Exits now; jobs in hand are lost to it. */
void worker_stop(Worker *w, const char *reason);
/* For its process and all of its group. */
void worker_signal_group(Worker *w, int sig);
/* A signal for its process. Returns 0 or -errno. */
int worker_signal(Worker *w, int sig);

/* To be called for its process by whoever owns SIGCHLD, before it is reaped; it reaps. */
void worker_exited(Worker *w, int code, int status);
/* To be called after every reaped process: perhaps its last descendant is gone now. */
void worker_check_gone(Worker *w);

/* Reaps its zombie, and takes down what it has used. */
void worker_reap(Worker *w);
/* How it ended, or is ending: "killed by SIGKILL", "exited with status 3", ... `buf` is returned. */
char *worker_describe_exit(const Worker *w, char *buf, size_t size);
/* The cause in a word, when it has exited. */
WorkerCause worker_cause(const Worker *w);
const char *worker_cause_to_string(WorkerCause c);
WorkerEnd worker_end(const Worker *w);
/* The tail of its stderr as text, at most `max` bytes from the end, without a final newline; owned by the caller. */
char *worker_stderr_tail(const Worker *w, size_t max);
uint64_t worker_rss(const Worker *w); /* bytes; 0 where unknown */
const char *worker_state_to_string(WorkerState s);

/* State across execve(). */
int worker_serialize(Worker *w, struct StateWriter *sw, struct json_object *o);
/* `find_job` gives the job of an id, or NULL. The pool's callbacks are not called. */
int worker_deserialize(const WorkerSpec *spec, const struct StateReader *sr, const struct json_object *o,
                       Job *(*find_job)(void *userdata, uint64_t id), void *userdata, Worker **ret);

/* --- for the protocol adapters --- */

extern const WorkerProtocol worker_protocol_frame, worker_protocol_jsonl, worker_protocol_exec, worker_protocol_mcp;

void worker_event(Worker *w, WorkerEvent e);
WorkerSlot *worker_find_slot(Worker *w, uint64_t job_id, uint32_t attempt); /* NULL where no slot has this attempt */
/* A result for no slot. Returns 0 where it is about a job that the worker had not long ago: it is late, or a second one, and is dropped;
 * -EBADMSG where the worker never had the job. */
int worker_stray_result(Worker *w, uint64_t job_id, uint32_t attempt);
/* The worker has ended an attempt: the slot is free again. The result is taken over. */
void worker_slot_result(WorkerSlot *s, JobResult *r);
void worker_flush_later(Worker *w);
void worker_set_reason(Worker *w, const char *format, ...) _printf_(2, 3);
/* The first cause is the cause, here too. */
void worker_set_cause(Worker *w, WorkerCause c);
EventFields worker_fields(const Worker *w);
/* Stops watching and closes its input: it can hear us no more. */
void worker_close_input(Worker *w);
/* What a worker was started from, in one number that fits a JSON integer: a worker of another one is replaced. */
uint64_t worker_type_fingerprint(const WorkerType *t);
/* The environment of its process; `job` is the one that it is started for, or NULL. Returns 0 with a new array, or -ENOMEM. */
int worker_environment(const Worker *w, const Job *job, char ***ret);
/* worker-soft.c: JobSoftTimeout= of a job that was assigned at `now` and has until `until`. */
void worker_soft_arm(WorkerSlot *s, uint64_t now, uint64_t until);
void worker_soft_disarm(WorkerSlot *s);
/* An answer after that: what is no result is a timeout. */
void worker_soft_result(WorkerSlot *s, JobResult *r);
void worker_soft_restore(WorkerSlot *s, bool told, uint64_t until);
/* Reads at most about `limit` bytes from w->io and hands on each whole line, without its line end. As WorkerProtocol.input(). */
int worker_read_lines(Worker *w, size_t limit, int (*on_line)(Worker *w, const char *line, size_t size));
/* stderr */
void worker_stderr_io(HotFd *h, uint32_t revents);
void worker_stderr_drain(Worker *w);
/* Something that was said elsewhere and belongs there: into the tail. */
void worker_stderr_add(Worker *w, const char *line, size_t size);
/* The job that what a worker says can only be about, or NULL. */
Job *worker_only_job(Worker *w);
void worker_stderr_tell_dropped(Timer *t);
void worker_log_line(Worker *w, Job *j, int level, const char *text, size_t size);
