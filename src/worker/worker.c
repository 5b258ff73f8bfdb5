/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One worker. Everything that happens to it is an event; what an event means in a state is a cell of the table below, and nothing else
 * changes `state`.
 *
 * The end has three parts. The process exits (SIGCHLD); what it had written is still in the socket and is read first, because a child's exit
 * can be dispatched before its last result. Then its descendants are killed: the cgroup where there is one, else the process group while
 * the zombie still pins its number, and orphans by their environment. Only when nothing is left is the worker dead, and only then may a job
 * that it held be tried again: two attempts never overlap.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/fault.h"
#include "basic/fd.h"
#include "worker/reaper.h"
#include "worker/spawn.h"
#include "worker/worker.h"

#define STOP_ASK_USEC (2 * USEC_PER_SEC)      /* from closing stdin to TERM, unless StopTimeout= is shorter */
#define KILL_AGAIN_USEC (1 * USEC_PER_SEC)
#define GONE_POLL_USEC (10 * USEC_PER_MSEC)   /* how often descendants that do not die are looked at */
#define GONE_TIMEOUT_USEC (10 * USEC_PER_SEC) /* then they are given up, with a loud word */
#define QUICK_EXIT_USEC (1 * USEC_PER_SEC)    /* an exit so soon is a failed start */
#define LIFE_JITTER 10U                       /* percent */
#define INPUT_ROUND_MAX (1024U * 1024U)      /* bytes that one worker may say in a round */

typedef enum Action {
        ACT_NONE,
        ACT_READY,    /* tell the pool */
        ACT_IDLE,     /* tell the pool, or recycle */
        ACT_AWAIT,    /* give it the time to exit by itself, so that its status is seen */
        ACT_ASK,      /* close its stdin */
        ACT_TERM,
        ACT_KILL,
        ACT_ESCALATE, /* the next of ask, TERM, KILL */
        ACT_EXITED,   /* kill what it left behind */
        ACT_BURY,     /* tell the pool */
        ACT_BUG,      /* cannot happen */
} Action;

typedef struct Cell {
        WorkerState next;
        Action action;
} Cell;

#define STAY(s) { WORKER_##s, ACT_NONE }
#define BUG(s) { WORKER_##s, ACT_BUG }
#define GO(s, a) { WORKER_##s, ACT_##a }

/* clang-format off */
static const Cell table[_WORKER_EVENT_MAX][_WORKER_STATE_MAX] = {
        /*                      STARTING              READY                 BUSY                  DRAINING              STOPPING                DEAD */
        [WORKER_EV_READY] =   { GO(READY, READY),     STAY(READY),          STAY(BUSY),           STAY(DRAINING),       STAY(STOPPING),         BUG(DEAD) },
        [WORKER_EV_BUSY] =    { BUG(STARTING),        STAY(BUSY),           STAY(BUSY),           BUG(DRAINING),        BUG(STOPPING),          BUG(DEAD) },
        [WORKER_EV_IDLE] =    { BUG(STARTING),        STAY(READY),          GO(READY, IDLE),      GO(STOPPING, ASK),    STAY(STOPPING),         STAY(DEAD) },
        [WORKER_EV_DRAIN] =   { GO(STOPPING, ASK),    GO(STOPPING, ASK),    STAY(DRAINING),       STAY(DRAINING),       STAY(STOPPING),         STAY(DEAD) },
        [WORKER_EV_STOP] =    { GO(STOPPING, ASK),    GO(STOPPING, ASK),    GO(STOPPING, TERM),   GO(STOPPING, TERM),   STAY(STOPPING),         STAY(DEAD) },
        [WORKER_EV_KILL] =    { GO(STOPPING, KILL),   GO(STOPPING, KILL),   GO(STOPPING, KILL),   GO(STOPPING, KILL),   GO(STOPPING, KILL),     STAY(DEAD) },
        [WORKER_EV_TIMEOUT] = { GO(STOPPING, TERM),   STAY(READY),          STAY(BUSY),           GO(STOPPING, TERM),   GO(STOPPING, ESCALATE), STAY(DEAD) },
        [WORKER_EV_BAD] =     { GO(STOPPING, TERM),   GO(STOPPING, TERM),   GO(STOPPING, TERM),   GO(STOPPING, TERM),   STAY(STOPPING),         STAY(DEAD) },
        [WORKER_EV_EXIT] =    { GO(STOPPING, EXITED), GO(STOPPING, EXITED), GO(STOPPING, EXITED), GO(STOPPING, EXITED), GO(STOPPING, EXITED),   BUG(DEAD) },
        [WORKER_EV_GONE] =    { BUG(STARTING),        BUG(READY),           BUG(BUSY),            BUG(DRAINING),        GO(DEAD, BURY),         BUG(DEAD) },
        [WORKER_EV_CLOSED] =  { GO(STOPPING, AWAIT),  GO(STOPPING, AWAIT),  GO(STOPPING, AWAIT),  GO(STOPPING, AWAIT),  STAY(STOPPING),         STAY(DEAD) },
};
/* clang-format on */

static const char *const state_names[_WORKER_STATE_MAX] = {
        [WORKER_STARTING] = "starting",
        [WORKER_READY] = "ready",
        [WORKER_BUSY] = "busy",
        [WORKER_DRAINING] = "draining",
        [WORKER_STOPPING] = "stopping",
        [WORKER_DEAD] = "dead",
};

const char *worker_state_to_string(WorkerState s) {
        return state_names[s];
}

EventFields worker_fields(const Worker *w) {
        return (EventFields) {
                .pool = w->pool_name,
                .worker = w->name,
                .generation = w->generation,
                .pid = w->last_pid,
        };
}

void worker_set_reason(Worker *w, const char *format, ...) {
        va_list ap;
        char *s;

        if (w->reason) /* the first cause is the cause */
                return;
        va_start(ap, format);
        int r = vasprintf(&s, format, ap);
        va_end(ap);
        if (r >= 0)
                w->reason = s;
}

int worker_signal(Worker *w, int sig) {
        if (w->pid == 0 || w->exit_code != 0)
                return -ESRCH;
        return syscall(SYS_pidfd_send_signal, w->pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

/* To the process and everything in its group; the process is not reaped yet, so the number is still its own. */
void worker_signal_group(Worker *w, int sig) {
        if (w->pid == 0)
                return;
        if (kill(-w->pid, sig) < 0 && errno != ESRCH)
                (void) worker_signal(w, sig);
}

static void kill_all(Worker *w) {
        if (w->cgroup_fd >= 0)
                (void) cgroup_kill(w->cgroup_fd);
        worker_signal_group(w, SIGKILL);
}

static void arm(Worker *w, uint64_t usec) {
        timer_arm(&w->host->timers, &w->timer, usec_after(usec));
}

void worker_close_input(Worker *w) {
        if (w->in.fd >= 0) {
                hot_unwatch(&w->host->hot, &w->in);
                w->in.fd = fd_close(w->in.fd);
        }
}

static void do_stop_step(Worker *w) {
        switch (w->stop_step) {
        case 0:
                if (w->in.fd >= 0)
                        worker_close_input(w);
                else if (w->type->protocol == PROTOCOL_EXEC || shutdown(w->io.fd, SHUT_WR) < 0)
                        (void) worker_signal(w, SIGTERM);
                arm(w, MIN(w->type->stop_timeout_usec, (uint64_t) STOP_ASK_USEC));
                return;
        case 1:
                worker_signal_group(w, SIGTERM);
                worker_signal_group(w, SIGCONT); /* a stopped process would not see it */
                arm(w, w->type->stop_timeout_usec);
                return;
        default:
                kill_all(w);
                arm(w, KILL_AGAIN_USEC);
        }
}

static void arm_heartbeat(Worker *w) {
        w->heard_usec = now_usec();
        if (w->type->heartbeat_usec > 0 && w->type->protocol == PROTOCOL_FRAME)
                timer_arm(&w->host->timers, &w->heartbeat, w->heard_usec + w->type->heartbeat_usec);
}

/* The attempt in a fenced slot is over: another one may begin. */
static void release(WorkerSlot *s) {
        Job *j = TAKE_PTR(s->held);

        if (!j)
                return;
        s->worker->ops->job_released(s->worker, j);
        job_unref(j);
}

static void bury_slots(Worker *w) {
        for (unsigned i = 0; i < w->n_slots; i++) {
                WorkerSlot *s = &w->slots[i];
                Job *j = s->job;

                timer_disarm(&w->host->timers, &s->timer);
                worker_soft_disarm(s);
                if (s->state == SLOT_FENCED) {
                        w->n_fenced--;
                        release(s);
                }
                if (s->state == SLOT_RUNNING) {
                        w->n_running--;
                        s->job = NULL;
                        s->state = SLOT_FREE;
                        w->ops->job_lost(w, j);
                        job_unref(j);
                }
                s->state = SLOT_FREE;
        }
}

static void act(Worker *w, Action a) {
        switch (a) {
        case ACT_NONE:
                return;
        case ACT_READY:
                w->ready_usec = w->idle_usec = now_usec();
                timer_disarm(&w->host->timers, &w->timer);
                arm_heartbeat(w);
                w->ops->ready(w);
                return;
        case ACT_IDLE:
                w->idle_usec = now_usec();
                w->ops->ready(w);
                return;
        case ACT_AWAIT:
                w->stop_step = 0;
                arm(w, MIN(w->type->stop_timeout_usec, (uint64_t) STOP_ASK_USEC));
                return;
        case ACT_ASK:
        case ACT_TERM:
        case ACT_KILL:
                w->stop_step = a == ACT_ASK ? 0 : a == ACT_TERM ? 1 : 2;
                do_stop_step(w);
                return;
        case ACT_ESCALATE:
                if (w->exit_code != 0) { /* it is gone, a descendant is not */
                        worker_check_gone(w);
                        return;
                }
                w->stop_step = MIN(w->stop_step + 1, 2U);
                do_stop_step(w);
                return;
        case ACT_EXITED:
                w->gone_since = now_usec();
                return;
        case ACT_BURY:
                timer_disarm(&w->host->timers, &w->timer);
                bury_slots(w);
                w->ops->dead(w);
                return;
        case ACT_BUG:
                log_write(w->host->log, LOG_ERR, "Internal error: %s met an event that cannot be in state %s", w->name, state_names[w->state]);
        }
}

void worker_event(Worker *w, WorkerEvent e) {
        const Cell *c = &table[e][w->state];
        const WorkerState was = w->state;

        w->state = c->next;
        if (w->state >= WORKER_DRAINING && was < WORKER_DRAINING) {
                list_remove(&w->free_link);
                if (w->ops->unusable)
                        w->ops->unusable(w);
        }
        act(w, c->action);
}

static void on_timer(Timer *t) {
        Worker *w = CONTAINER_OF(t, Worker, timer);
        EventFields f = worker_fields(w);
        char span[64];

        if (w->state == WORKER_STARTING) {
                worker_set_reason(w, "did not %s within StartTimeout=%s", w->type->protocol == PROTOCOL_MCP ? "end its MCP handshake" : "say that it is ready",
                                  usec_format(span, sizeof(span), w->type->start_timeout_usec));
                w->failed_start = true;
                worker_set_cause(w, CAUSE_START);
        } else if (w->state == WORKER_DRAINING)
                event_send(w->host, EVENT_WORKER_HUNG, &f, "%s did not finish its jobs within DrainTimeout=%s, stopping it", w->name,
                           usec_format(span, sizeof(span), w->type->drain_timeout_usec));
        else if (w->state == WORKER_STOPPING && w->exit_code == 0 && w->stop_step == 0 && !w->stop_wanted) {
                worker_set_reason(w, "closed its stdout and went on running");
                worker_set_cause(w, CAUSE_PROTOCOL);
        }
        worker_event(w, WORKER_EV_TIMEOUT);
}

static void on_heartbeat(Timer *t) {
        Worker *w = CONTAINER_OF(t, Worker, heartbeat);
        EventFields f = worker_fields(w);
        uint8_t *p, span[64];
        FrameWriter fw;

        if (w->state >= WORKER_STOPPING)
                return;
        if (now_usec() - w->heard_usec > 3 * w->type->heartbeat_usec) {
                worker_set_reason(w, "was not heard for three times HeartbeatInterval=%s", usec_format((char *) span, sizeof(span), w->type->heartbeat_usec));
                event_send(w->host, EVENT_WORKER_HUNG, &f, "%s %s, stopping it", w->name, strna(w->reason));
                worker_set_cause(w, CAUSE_HEARTBEAT);
                worker_event(w, WORKER_EV_BAD);
                return;
        }
        p = outq_reserve(&w->out, FRAME_HEADER_SIZE);
        if (p) {
                FrameHeader h = { .type = FRAME_PING };

                frame_writer_begin(&fw, p, FRAME_HEADER_SIZE);
                outq_commit(&w->out, (size_t) frame_writer_end(&fw, &h, 0));
                worker_flush_later(w);
        }
        timer_arm(&w->host->timers, &w->heartbeat, now_usec() + w->type->heartbeat_usec);
}

/* --- input and output --- */

static void input_bad(Worker *w, int r) {
        EventFields f = worker_fields(w);
        uint64_t job = 0;

        for (unsigned i = 0; i < w->n_slots; i++)
                if (w->slots[i].state == SLOT_RUNNING)
                        job = w->slots[i].job_id;
        f.job = job;
        if (r == -EBADMSG) {
                _cleanup_free_ char *why = TAKE_PTR(w->reason);

                worker_set_reason(w, "broke the protocol: it %s", why ? why : strerror(-r));
        } else
                worker_set_reason(w, "cannot be read from: %s", strerror(-r));
        event_send(w->host, EVENT_WORKER_PROTOCOL, &f, "%s %s, stopping it", w->name, w->reason);
        hot_unwatch(&w->host->hot, &w->io); /* nothing that it says counts any more */
        w->input_ended = true;
        worker_set_cause(w, CAUSE_PROTOCOL);
        worker_event(w, WORKER_EV_BAD);
}

static void handle_input(Worker *w, size_t limit) {
        if (w->input_ended)
                return;
        int r = w->protocol->input(w, limit);
        if (r == -EAGAIN || r == 0)
                return;
        if (r == -EPIPE || r == -ECONNRESET) {
                hot_unwatch(&w->host->hot, &w->io);
                w->input_ended = true;
                if (w->exit_code == 0 && w->type->protocol != PROTOCOL_EXEC)
                        worker_event(w, WORKER_EV_CLOSED); /* it exits, or it is of no use any more */
                return;
        }
        input_bad(w, r);
}

static void on_io(HotFd *h, uint32_t revents) {
        Worker *w = CONTAINER_OF(h, Worker, io);

        if (revents & EPOLLOUT)
                worker_flush_later(w);
        if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR))
                handle_input(w, INPUT_ROUND_MAX);
}

static void on_in(HotFd *h, uint32_t revents) {
        Worker *w = CONTAINER_OF(h, Worker, in);

        if (revents & (EPOLLERR | EPOLLHUP) && !(revents & EPOLLOUT)) { /* it does not want the rest: no error for a command */
                outq_done(&w->out);
                worker_close_input(w);
                return;
        }
        worker_flush_later(w);
}

static void on_flush(Defer *d) {
        Worker *w = CONTAINER_OF(d, Worker, flush);
        bool pipe = w->type->protocol == PROTOCOL_EXEC;
        HotFd *h = pipe ? &w->in : &w->io;
        int r;

        if (h->fd < 0 || outq_empty(&w->out))
                return;
        r = outq_flush(&w->out, h->fd, !pipe);
        if (r < 0) { /* gone, or deaf: its exit or the end of its output tells the rest */
                outq_done(&w->out);
                if (pipe)
                        worker_close_input(w);
                else if (r != -EPIPE && r != -ECONNRESET) {
                        worker_set_reason(w, "cannot be written to: %s", strerror(-r));
                        worker_set_cause(w, CAUSE_PROTOCOL);
                        worker_event(w, WORKER_EV_BAD);
                }
                return;
        }
        if (pipe) {
                if (r == 0)
                        worker_close_input(w); /* the payload is complete: EOF */
                else
                        (void) hot_watch(&w->host->hot, h, EPOLLOUT);
                return;
        }
        if (!w->input_ended)
                (void) hot_watch(&w->host->hot, h, r > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void worker_flush_later(Worker *w) {
        hot_defer(&w->host->hot, &w->flush);
}

/* --- slots --- */

WorkerSlot *worker_find_slot(Worker *w, uint64_t job_id, uint32_t attempt) {
        for (unsigned i = 0; i < w->n_slots; i++) {
                WorkerSlot *s = &w->slots[i];

                if (s->state != SLOT_FREE && s->job_id == job_id && (attempt == 0 || s->attempt == attempt))
                        return s;
        }
        return NULL;
}

/* After a slot became free: perhaps the last one in hand. */
static bool only_wedged(const Worker *w);
static void slot_freed(Worker *w) {
        if (w->state == WORKER_DRAINING && only_wedged(w)) {
                worker_event(w, WORKER_EV_BAD);
                return;
        }
        if (w->n_running + w->n_fenced == 0 && (w->state == WORKER_BUSY || w->state == WORKER_DRAINING))
                worker_event(w, WORKER_EV_IDLE);
        else if (w->state == WORKER_BUSY)
                w->ops->ready(w);
}

void worker_slot_result(WorkerSlot *s, JobResult *r) {
        Worker *w = s->worker;
        Job *j = TAKE_PTR(s->job);
        bool fenced = s->state == SLOT_FENCED;

        (void) fault_point("result");
        timer_disarm(&w->host->timers, &s->timer);
        worker_soft_disarm(s);
        if (!fenced)
                worker_soft_result(s, r);
        s->state = SLOT_FREE;
        if (fenced) {
                EventFields f = worker_fields(w);

                f.job = s->job_id;
                w->n_fenced--;
                event_send(w->host, EVENT_JOB_FENCED, &f, "%s answered attempt %u of a job that had ended without it; the answer is dropped",
                           w->name, s->attempt);
                job_result_done(r);
                release(s);
        } else {
                w->n_running--;
                w->jobs_done++;
                w->ops->job_end(w, j, r);
                job_unref(j);
        }
        slot_freed(w);
}

int worker_stray_result(Worker *w, uint64_t job_id, uint32_t attempt) {
        EventFields f = worker_fields(w);

        f.job = job_id;
        for (unsigned i = 0; i < WORKER_RECENT_JOBS && job_id > 0; i++)
                if (w->recent[i] == job_id) {
                        event_send(w->host, EVENT_JOB_FENCED, &f, "%s answered attempt %u of a job that it has not in hand; the answer is dropped",
                                   w->name, attempt);
                        return 0;
                }
        worker_set_reason(w, "sent a result for a job that it was not given");
        return -EBADMSG;
}

static void on_slot_timer(Timer *t) {
        WorkerSlot *s = CONTAINER_OF(t, WorkerSlot, timer);
        Worker *w = s->worker;
        EventFields f = worker_fields(w);
        char span[64], text[160];

        f.job = s->job_id;
        if (s->state == SLOT_RUNNING) {
                Job *j = s->job;
                bool deadline = j->deadline_usec > 0 && realtime_usec() >= j->deadline_usec;
                uint64_t ran = now_usec() - j->dispatched_usec;

                snprintf(text, sizeof(text), deadline ? "the job's deadline passed after %s of work" : "no result within %s",
                         usec_format(span, sizeof(span), deadline || j->timeout_usec == 0 ? (deadline ? ran : w->type->job_timeout_usec) : j->timeout_usec));
                if (!w->ops->own_job)
                        event_send(w->host, EVENT_JOB_TIMEOUT, &f, "A job on %s timed out: %s", w->name, text);
                worker_end_job(w, j, FRAME_TIMEOUT, text);
                return;
        }
        /* FENCED: it was asked to cancel, and has not confirmed */
        worker_set_reason(w, "did not confirm a cancellation within CancelTimeout=%s", usec_format(span, sizeof(span), w->type->cancel_timeout_usec));
        event_send(w->host, EVENT_WORKER_HUNG, &f, "%s %s", w->name, w->reason);
        w->stop_wanted = true; /* the job's fault, not a crash of the pool's */
        worker_set_cause(w, s->timed_out ? CAUSE_TIMEOUT : CAUSE_CANCELLED);
        if (w->n_running == 0)
                worker_event(w, WORKER_EV_BAD);
        else {
                worker_drain(w, w->type->drain_timeout_usec, NULL);
        }
}

/* With several slots: what is still wedged when the other jobs have ended is not waited for. */
static bool only_wedged(const Worker *w) {
        for (unsigned i = 0; i < w->n_slots; i++)
                if (w->slots[i].state == SLOT_RUNNING || (w->slots[i].state == SLOT_FENCED && w->slots[i].timer.armed))
                        return false;
        return w->n_fenced > 0;
}

int worker_assign(Worker *w, Job *j, char **reterr_reason) {
        WorkerSlot *s = NULL;
        uint64_t now = now_usec(), timeout, until;
        int r;

        for (unsigned i = 0; i < w->n_slots && !s; i++)
                if (w->slots[i].state == SLOT_FREE)
                        s = &w->slots[i];
        assert(s && worker_has_slot(w));

        s->job_id = w->recent[w->recent_at++ % WORKER_RECENT_JOBS] = j->id;
        s->attempt = j->attempts + 1;
        s->job = j;
        r = w->protocol->assign(w, s);
        if (r < 0) {
                s->job = NULL;
                *reterr_reason = str_printf("the %s protocol cannot carry this payload: %s", protocol_to_string(w->type->protocol),
                                            r == -E2BIG      ? "its JSON is nested too deeply" :
                                            r == -EBADMSG    ? "it is not what its kind says" :
                                            r == -EMSGSIZE   ? "it is above JsonMax=" :
                                            r == -ENODATA    ? "the job has no method, which says what to call; name a tool, or a request such as tools/list" :
                                            r == -EINVAL     ? "a call takes a JSON object; say --payload=json and give it one" :
                                            r == -EOPNOTSUPP ? "its method is one that only flowd itself may send" :
                                                               strerror(-r));
                return r;
        }
        job_ref(j);
        j->attempts++;
        j->state = JOB_RUNNING;
        j->worker = w;
        j->dispatched_usec = now;
        memcpy(j->ran_on, w->name, sizeof(j->ran_on));
        s->state = SLOT_RUNNING;
        w->n_running++;

        timeout = j->timeout_usec > 0 ? j->timeout_usec : w->type->job_timeout_usec;
        until = timeout >= USEC_INFINITY - now ? USEC_INFINITY : now + timeout;
        if (j->deadline_usec > 0) {
                uint64_t real = realtime_usec();

                until = MIN(until, j->deadline_usec > real ? now + (j->deadline_usec - real) : now);
        }
        timer_arm(&w->host->timers, &s->timer, until);
        worker_soft_arm(s, now, until);
        worker_flush_later(w);
        if (w->state == WORKER_READY)
                worker_event(w, WORKER_EV_BUSY);
        return 0;
}

void worker_end_job(Worker *w, Job *j, FrameStatus status, const char *text) {
        WorkerSlot *s = worker_find_slot(w, j->id, 0);
        JobResult r = { .status = status, .error = text ? strdup(text) : NULL };
        Job *owned;

        if (!s || s->state != SLOT_RUNNING) {
                job_result_done(&r);
                return;
        }
        owned = TAKE_PTR(s->job);
        s->state = SLOT_FENCED;
        s->timed_out = status == FRAME_TIMEOUT;
        w->n_running--;
        w->n_fenced++;
        timer_disarm(&w->host->timers, &s->timer);
        worker_soft_disarm(s);
        w->ops->job_end(w, owned, &r);
        job_unref(owned);

        if (w->state >= WORKER_STOPPING)
                return;
        if (w->protocol->cancel(w, s) > 0) {
                timer_arm(&w->host->timers, &s->timer, usec_after(w->type->cancel_timeout_usec));
                worker_flush_later(w);
                return;
        }
        w->stop_wanted = true;
        worker_set_reason(w, status == FRAME_TIMEOUT ? "its job timed out" : "its job was cancelled");
        worker_set_cause(w, status == FRAME_TIMEOUT ? CAUSE_TIMEOUT : CAUSE_CANCELLED);
        worker_event(w, WORKER_EV_STOP);
}

bool worker_hold(Worker *w, Job *j) {
        WorkerSlot *s = worker_find_slot(w, j->id, 0);

        if (!s || s->state != SLOT_FENCED || s->held)
                return false;
        s->held = job_ref(j);
        return true;
}

void worker_drain(Worker *w, uint64_t timeout_usec, const char *reason) {
        if (w->state >= WORKER_DRAINING)
                return;
        w->stop_wanted = true;
        bool busy = w->state == WORKER_BUSY;
        if (reason && !busy) /* a busy one ends its jobs first, and they must not be told that this is why they failed */
                worker_set_reason(w, "%s", reason);
        worker_set_cause(w, CAUSE_STOPPED);
        worker_event(w, WORKER_EV_DRAIN);
        if (busy)
                arm(w, timeout_usec);
}

void worker_stop(Worker *w, const char *reason) {
        if (w->state >= WORKER_STOPPING)
                return;
        w->stop_wanted = true;
        worker_set_reason(w, "%s", reason);
        worker_set_cause(w, CAUSE_STOPPED);
        worker_event(w, WORKER_EV_STOP);
}

/* --- the end --- */

static void drain_everything(Worker *w) {
        int queued = 0;

        w->draining_end = true;
        /* only what is there now: a descendant that holds the other end could write for ever */
        if (!w->input_ended && w->io.fd >= 0 && ioctl(w->io.fd, FIONREAD, &queued) == 0 && queued > 0)
                handle_input(w, (size_t) queued);
        worker_stderr_drain(w);
        worker_stderr_tell_dropped(&w->rate_timer);
}

void worker_exited(Worker *w, int code, int status) {
        bool never_ready = w->ready_usec == 0; /* not by its state: the end of its output may have been seen before its exit */
        bool said_ready = !never_ready && (w->type->protocol == PROTOCOL_FRAME || w->type->protocol == PROTOCOL_MCP || w->type->ready_explicit);

        kill_all(w); /* while its zombie pins the number of its group */
        drain_everything(w);
        w->exit_code = code;
        w->exit_status = status;
        w->oom = cgroup_oom(w->cgroup_fd);
        for (unsigned i = 0; i < w->n_slots && w->died_with == 0; i++)
                if (w->slots[i].state != SLOT_FREE)
                        w->died_with = w->slots[i].job_id;
        worker_reap(w);
        map_remove(&w->host->by_pid, &w->by_pid);
        bool quick = now_usec() - w->started_usec < QUICK_EXIT_USEC && w->jobs_done == 0 && w->n_running == 0 && w->n_fenced == 0;
        if (!w->stop_wanted && (never_ready || (quick && !said_ready)))
                w->failed_start = true;
        worker_close_input(w);
        hot_unwatch(&w->host->hot, &w->io);
        hot_undefer(&w->flush);
        w->input_ended = true;
        timer_disarm(&w->host->timers, &w->heartbeat);
        worker_event(w, WORKER_EV_EXIT);
        w->protocol->exited(w);
        worker_check_gone(w);
}

static unsigned remaining(Worker *w) {
        if (w->cgroup_fd >= 0) {
                int r = cgroup_populated(w->cgroup_fd);

                if (r > 0)
                        (void) cgroup_kill(w->cgroup_fd);
                return r > 0 || (r < 0 && r != -ENOENT && r != -ENODEV); /* what cannot be seen is not proven */
        }
        unsigned n = orphans_kill(w->host, w);
        if (n == 0 && w->pid > 0 && kill(-w->pid, 0) == 0)
                n = 1;
        return n;
}

void worker_check_gone(Worker *w) {
        if (w->exit_code == 0 || w->state == WORKER_DEAD)
                return;
        if (remaining(w) > 0) {
                if (now_usec() - w->gone_since < GONE_TIMEOUT_USEC) {
                        timer_arm(&w->host->timers, &w->timer, now_usec() + GONE_POLL_USEC);
                        return;
                }
                EventFields f = worker_fields(w);
                event_send(w->host, EVENT_ORPHAN_KILLED, &f, "A descendant of %s cannot be killed (in the kernel, for %s); going on without proof of its end",
                           w->name, "more than 10s");
        }
        w->pid = 0;
        worker_event(w, WORKER_EV_GONE);
}

uint64_t worker_rss(const Worker *w) {
        _cleanup_free_ char *text = NULL;
        char path[40];
        unsigned long long total, resident;

        if (w->pid == 0 || w->exit_code != 0)
                return 0;
        snprintf(path, sizeof(path), "/proc/%d/statm", (int) w->pid);
        if (file_read(-1, path, 4096, &text, NULL) < 0 || sscanf(text, "%llu %llu", &total, &resident) != 2)
                return 0;
        return resident * (uint64_t) sysconf(_SC_PAGESIZE);
}

Worker *worker_free(Worker *w) {
        if (!w)
                return NULL;
        Host *h = w->host;

        timer_disarm(&h->timers, &w->timer);
        timer_disarm(&h->timers, &w->heartbeat);
        timer_disarm(&h->timers, &w->rate_timer);
        for (unsigned i = 0; i < w->n_slots; i++) {
                timer_disarm(&h->timers, &w->slots[i].timer);
                worker_soft_disarm(&w->slots[i]);
        }
        hot_unwatch(&h->hot, &w->io);
        hot_unwatch(&h->hot, &w->in);
        hot_unwatch(&h->hot, &w->err);
        hot_undefer(&w->flush);
        list_remove(&w->link);
        list_remove(&w->free_link);
        list_remove(&w->parked_link);
        if (w->by_pid.hash != 0)
                map_remove(&h->by_pid, &w->by_pid);
        w->protocol->done(w);
        outq_done(&w->out);
        frame_stream_done(&w->stream);
        free(w->buffer);
        fd_close(w->io.fd);
        fd_close(w->in.fd);
        fd_close(w->err.fd);
        fd_close(w->pidfd);
        w->cgroup_fd = fd_close(w->cgroup_fd);
        if (w->cgroup_name)
                (void) cgroup_worker_remove(&h->cgroup, w->cgroup_name);
        free(w->cgroup_name);
        free(w->reason);
        free(w->tail);
        free(w->line);
        free(w->slots);
        worker_type_unref(w->type);
        free(w);
        return NULL;
}

/* --- the beginning --- */

static const WorkerProtocol *const protocols[_PROTOCOL_MAX] = {
        [PROTOCOL_FRAME] = &worker_protocol_frame,
        [PROTOCOL_JSONL] = &worker_protocol_jsonl,
        [PROTOCOL_EXEC] = &worker_protocol_exec,
        [PROTOCOL_MCP] = &worker_protocol_mcp,
};

Worker *worker_alloc(const WorkerSpec *spec) {
        Worker *w = new0(Worker, 1);

        if (!w)
                return NULL;
        w->n_slots = spec->single_job ? 1 : spec->type->slots;
        w->slots = new0(WorkerSlot, w->n_slots);
        if (!w->slots) {
                free(w);
                return NULL;
        }
        for (unsigned i = 0; i < w->n_slots; i++) {
                w->slots[i].worker = w;
                w->slots[i].timer.fire = on_slot_timer;
        }
        w->host = spec->host;
        w->type = worker_type_ref(spec->type);
        w->protocol = protocols[spec->type->protocol];
        w->ops = spec->ops;
        w->pool = spec->pool;
        w->pool_name = spec->pool_name;
        w->slot_number = spec->slot_number;
        w->single_job = spec->single_job;
        if (spec->label)
                snprintf(w->name, sizeof(w->name), "%s/%s", spec->pool_name, spec->label);
        else
                snprintf(w->name, sizeof(w->name), "%s/%u", spec->pool_name, spec->slot_number);
        list_init(&w->link);
        list_init(&w->free_link);
        list_init(&w->sessions);
        list_init(&w->parked_link);
        outq_init(&w->out);
        w->io = (HotFd) { .fd = -1, .on_io = on_io };
        w->in = (HotFd) { .fd = -1, .on_io = on_in };
        w->err = (HotFd) { .fd = -1, .on_io = worker_stderr_io };
        w->pidfd = w->cgroup_fd = -1;
        w->timer.fire = on_timer;
        w->heartbeat.fire = on_heartbeat;
        w->rate_timer.fire = worker_stderr_tell_dropped;
        w->flush.run = on_flush;
        w->heard_usec = w->started_usec = now_usec();
        return w;
}

static int open_stdio(Worker *w, int theirs[3]) {
        int r;

        r = fd_pipe(false, &w->err.fd, &theirs[2]);
        if (r < 0)
                return r;
        if (w->type->protocol == PROTOCOL_EXEC) {
                r = fd_pipe(true, &w->in.fd, &theirs[0]);
                if (r >= 0)
                        r = fd_pipe(false, &w->io.fd, &theirs[1]);
                return r;
        }
        int pair[2];
        r = fd_socketpair(pair);
        if (r < 0)
                return r;
        w->io.fd = pair[0];
        theirs[0] = pair[1];
        theirs[1] = -1;
        return 0;
}

static int join_cgroup(Worker *w, int *ret_procs) {
        if (w->host->cgroup.fd < 0)
                return 0;
        w->cgroup_name = str_printf("worker-%s-%u-%llu", w->pool_name, w->slot_number, (unsigned long long) w->generation);
        if (!w->cgroup_name)
                return -ENOMEM;
        w->cgroup_fd = cgroup_worker_new(&w->host->cgroup, w->cgroup_name, w->type);
        if (w->cgroup_fd < 0)
                return w->cgroup_fd;
        *ret_procs = openat(w->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        return *ret_procs < 0 ? -errno : 0;
}

static int start_process(Worker *w, const Job *job, char **reterr_reason) {
        _cleanup_(strv_freep) char **env = NULL;
        _cleanup_close_ int procs = -1;
        const char *step = "prepare";
        int theirs[3] = { -1, -1, -1 }, r;

        r = open_stdio(w, theirs);
        if (r >= 0)
                r = worker_environment(w, job, &env);
        if (r >= 0) {
                r = join_cgroup(w, &procs);
                if (r < 0)
                        step = "make its cgroup";
        }
        if (r >= 0) {
                SpawnSpec spec = {
                        .type = w->type,
                        .environment = env,
                        .directory = w->type->working_directory ? w->type->working_directory : w->host->directory,
                        .stdio = { theirs[0], theirs[1] < 0 ? theirs[0] : theirs[1], theirs[2] },
                        .cgroup_procs = procs,
                };
                r = spawn_process(&spec, &w->pid, &w->pidfd, &step);
        }
        for (int i = 0; i < 3; i++)
                fd_close(theirs[i]);
        if (r < 0)
                *reterr_reason = str_printf("cannot start %s: %s: %s", w->type->exec[0], step, strerror(-r));
        return r;
}

int worker_spawn(const WorkerSpec *spec, Worker **ret, char **reterr_reason) {
        Host *h = spec->host;
        Worker *w = worker_alloc(spec);
        int r;

        if (!w)
                return -ENOMEM;
        w->generation = ++h->generation;
        if (spec->type->max_age_usec != USEC_INFINITY)
                w->retire_usec = w->started_usec + usec_jitter(spec->type->max_age_usec, LIFE_JITTER);
        if (spec->type->max_jobs > 0)
                w->jobs_max = MAX(usec_jitter(spec->type->max_jobs, LIFE_JITTER), (uint64_t) 1);
        if (spec->single_job)
                w->jobs_max = 1;
        r = start_process(w, spec->job, reterr_reason);
        if (r < 0) {
                worker_free(w);
                return r;
        }
        w->last_pid = w->pid;
        r = map_add(&h->by_pid, &w->by_pid, (uint64_t) w->pid);
        if (r >= 0)
                r = hot_watch(&h->hot, &w->io, EPOLLIN);
        if (r >= 0)
                r = hot_watch(&h->hot, &w->err, EPOLLIN);
        if (r >= 0)
                r = w->protocol->start(w);
        if (r < 0) {
                siginfo_t si;

                kill_all(w);
                while (waitid(P_PID, (id_t) w->pid, &si, WEXITED) < 0 && errno == EINTR)
                        ;
                worker_free(w);
                return r;
        }
        *ret = w;
        EventFields f = worker_fields(w);
        event_send(h, EVENT_WORKER_STARTED, &f, "Started %s as pid %d", w->name, (int) w->pid);
        arm(w, w->type->start_timeout_usec);
        if (r > 0)
                worker_event(w, WORKER_EV_READY);
        return 0;
}
