/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The worker's side: jobs come in, handlers run, results go out.
 *
 * Receiving and handling are apart. Whenever the connection is looked at, all that is there is read: PING is answered and
 * CANCEL is noted at once, and jobs wait in a list until the handler's turn comes. So a handler that takes long can look for
 * its cancellation (flow_job_cancelled()) while further jobs arrive behind it. Callbacks are only ever called from
 * flow_worker_process(), never from within another callback.
 *
 * A job's metadata and payload are not copied: the job refers to the buffer that they were read into. Job structs are used again.
 *
 * The descriptor that flow_worker_fd() returns is an epoll set. What it listens for follows the state: input unless it is at
 * its end, output while something waits, and input once more when all is done after the end, because that end is what makes it
 * readable then. flow_worker_run() does without it.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "libflow/worker-internal.h"

#define WORKER_READS_MAX 16    /* reads in one round, so that handlers and results get their turn */

/* --- jobs in hand --- */

static FlowJob *worker_job_new(FlowWorker *w, FlowFrame *f) {
        FlowJob *job = w->free_jobs;

        if (job)
                w->free_jobs = job->next_free;
        else if (!(job = malloc(sizeof(FlowJob))))
                return NULL;
        else
                w->n_structs++;
        *job = (FlowJob) {
                .worker = w,
                .id = f->h.job,
                .attempt = f->h.attempt,
                .meta = f->meta,
                .meta_size = f->h.meta,
                .payload = f->payload,
                .payload_size = f->payload_size,
                .input = blob_ref(w->stream.input),
                .memfd = TAKE_PTR(f->memfd),
                .kind = FLOW_BYTES,
        };
        list_append(&w->waiting, &job->link);
        w->n_jobs++;
        return job;
}

void libflow_worker_job_free(FlowJob *job) {
        FlowWorker *w = job->worker;

        list_remove(&job->link);
        job->memfd = blob_unref(job->memfd);
        job->input = blob_unref(job->input);
        free(TAKE_PTR(job->texts));
        w->n_jobs--;
        if (w->n_structs > w->slots) {
                w->n_structs--;
                free(job);
                return;
        }
        job->next_free = w->free_jobs;
        w->free_jobs = job;
}

static FlowJob *worker_find(List *l, uint64_t id, uint32_t attempt) {
        LIST_FOREACH(i, l) {
                FlowJob *job = list_entry(i, FlowJob, link);

                if (job->id == id && job->attempt == attempt)
                        return job;
        }
        return NULL;
}

/* --- receiving --- */

/* Fails, in one frame, a job that no handler will see. */
static int worker_refuse(FlowJob *job, FrameStatus status, const char *message) {
        int r = libflow_worker_put_result(job, status, FLOW_TEXT, NULL, 0, message, false);

        libflow_worker_job_free(job);
        return r;
}

static int worker_take_job(FlowWorker *w, FlowFrame *f) {
        FrameMeta meta;
        FlowJob *job;
        uint8_t kind;
        int r;

        if (w->n_jobs >= WORKER_JOBS_MAX)
                return -EPROTO;
        r = frame_meta_decode(f->meta, f->h.meta, &meta);
        if (r < 0)
                return r;
        job = worker_job_new(w, f);
        if (!job)
                return -ENOMEM;
        if (frame_meta_u8(&meta, FRAME_META_KIND, &kind) && kind < _PAYLOAD_KIND_MAX)
                job->kind = (FlowKind) kind;
        (void) frame_meta_u64(&meta, FRAME_META_DEADLINE, &job->deadline);
        if (job->memfd) {
                r = blob_data(job->memfd, &job->payload);
                if (r < 0)
                        return worker_refuse(job, FRAME_FAILED, "The worker cannot map the payload");
        }
        return 0;
}

static int worker_take_cancel(FlowWorker *w, const FlowFrame *f) {
        FlowJob *job = worker_find(&w->waiting, f->h.job, f->h.attempt);

        if (job)
                return worker_refuse(job, FRAME_CANCELLED, NULL);
        job = worker_find(&w->running, f->h.job, f->h.attempt);
        if (job && !job->done) {
                job->cancelled = true;
                w->cancellations = true;
        }
        return 0; /* an unknown one was answered already: its RESULT and this CANCEL met on their way */
}

static int worker_take_frame(FlowWorker *w, FlowFrame *f) {
        if (!w->stream.hello && f->h.type != FRAME_HELLO)
                return -EPROTO;

        switch (f->h.type) {

        case FRAME_HELLO:
                return w->stream.hello ? -EPROTO : libflow_stream_take_hello(&w->stream, f);
        case FRAME_JOB:
                return worker_take_job(w, f);
        case FRAME_CANCEL:
                return worker_take_cancel(w, f);
        case FRAME_PING:
                if (w->stream.output.bytes > WORKER_REPORTS_MAX) /* flowd does not read, and hears enough once it does */
                        return 0;
                return libflow_stream_put_bare(&w->stream, FRAME_PONG, f->h.job, 0);
        case FRAME_PONG:
                return 0;
        default:
                return -EPROTO;
        }
}

/* Reads all that is there; handlers are not called. Returns 0 or -errno. */
int libflow_worker_receive(FlowWorker *w) {
        FlowFrame f;
        int r;

        for (unsigned i = 0; i < WORKER_READS_MAX; i++) {
                size_t room;

                r = libflow_stream_recv(&w->stream);
                if (r < 0)
                        return r;
                room = w->stream.input->size - w->stream.end;
                while ((r = libflow_stream_next(&w->stream, &f)) > 0) {
                        r = worker_take_frame(w, &f);
                        libflow_frame_done(&f);
                        if (r < 0)
                                return r;
                }
                if (r < 0)
                        return r;
                if (w->stream.eof) /* in the middle of a frame something went wrong */
                        return w->stream.end > w->stream.start ? -ECONNRESET : 0;
                if (room > 0) /* that was all */
                        return 0;
        }
        return 0;
}

/* --- handling --- */

static int worker_handle(FlowWorker *w, FlowJob *job) {
        int r;

        list_remove(&job->link);
        list_append(&w->running, &job->link);
        w->current = job;
        r = w->handler(job, w->userdata);
        w->current = NULL;

        if (job->done) {
                libflow_worker_job_free(job);
                return 0;
        }
        if (r == FLOW_LATER) {
                job->later = true;
                return 0;
        }
        if (r == -ECANCELED)
                return worker_refuse(job, FRAME_CANCELLED, NULL);
        const char *message = r < 0 ? strerror(-r) : "The worker's handler returned without a result";
        r = libflow_worker_put_result(job, FRAME_FAILED, FLOW_TEXT, NULL, 0, message, r == -EAGAIN);
        libflow_worker_job_free(job);
        return r;
}

/* Tells the program of cancelled jobs that it took for later. A callback may end any job, so each round begins anew. */
static void worker_tell_cancelled(FlowWorker *w) {
        FlowJob *found;

        if (!w->cancellations)
                return;
        w->cancellations = false;
        do {
                found = NULL;
                LIST_FOREACH(i, &w->running) {
                        FlowJob *job = list_entry(i, FlowJob, link);

                        if (job->cancelled && job->later && !job->told) {
                                found = job;
                                break;
                        }
                }
                if (found) {
                        found->told = true;
                        if (w->on_cancelled)
                                w->on_cancelled(found, w->userdata);
                }
        } while (found);
}

int libflow_worker_flush(FlowWorker *w) {
        int r = libflow_stream_flush(&w->stream);

        if (r >= 0)
                w->last_sent = now_usec();
        else if (w->error >= 0)
                w->error = r;
        return r;
}

static bool worker_finished(const FlowWorker *w) {
        return w->stream.eof && w->n_jobs == 0 && outq_empty(&w->stream.output);
}

/* What to wait for on stream.in and stream.out; poll() and epoll name these bits alike. */
static void worker_wanted(const FlowWorker *w, uint32_t ret[2]) {
        /* what cannot wait although nothing new comes: a descriptor that can be written to is as good as a wake-up */
        bool urgent = w->error < 0 || w->cancellations || !list_empty(&w->waiting);
        uint32_t in = !w->stream.eof || worker_finished(w) ? EPOLLIN : 0;
        uint32_t out = !outq_empty(&w->stream.output) || urgent ? EPOLLOUT : 0;
        bool same = w->stream.in == w->stream.out;

        ret[0] = same ? in | out : in;
        ret[1] = same ? 0 : out;
}

/* Keeps the epoll set as the state wants it. */
int libflow_worker_listen(FlowWorker *w) {
        int fds[2] = { w->stream.in, w->stream.out };
        uint32_t wanted[2];

        if (w->epoll_fd < 0)
                return 0;
        worker_wanted(w, wanted);
        for (size_t i = 0; i < 2; i++) {
                struct epoll_event e = { .events = wanted[i] };
                int op = !wanted[i] ? EPOLL_CTL_DEL : w->listening[i] ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

                if (wanted[i] == w->listening[i])
                        continue;
                if (epoll_ctl(w->epoll_fd, op, fds[i], &e) < 0)
                        return -errno;
                w->listening[i] = wanted[i];
        }
        return 0;
}

static int worker_round(FlowWorker *w) {
        FlowJob *job;
        int r;

        if (w->error < 0)
                return w->error;
        r = libflow_worker_receive(w);
        if (r < 0 && w->n_jobs == 0)
                return r;
        w->error = r; /* jobs in hand are still handled: their results may get through */
        while ((job = list_first_entry(&w->waiting, FlowJob, link))) {
                if (!w->batch && libflow_worker_flush(w) < 0) /* a result must not wait for the next job's end */
                        return w->error;
                r = worker_handle(w, job);
                if (r < 0)
                        return r;
        }
        worker_tell_cancelled(w);
        if (libflow_worker_flush(w) < 0)
                return w->error;
        return w->error < 0 ? w->error : !worker_finished(w);
}

int flow_worker_process(FlowWorker *w) {
        int r = worker_round(w), k;

        if (r < 0) {
                if (w->error >= 0)
                        w->error = r;
                return r;
        }
        k = libflow_worker_listen(w);
        return k < 0 ? k : r;
}

int flow_worker_fd(const FlowWorker *w) {
        return w->epoll_fd;
}

size_t flow_worker_jobs(const FlowWorker *w) {
        return w->n_jobs;
}

/* --- beginning and end --- */

int flow_worker_new_fds(int in, int out, FlowHandler handler, void *userdata, const FlowWorkerOptions *options, FlowWorker **ret) {
        FlowWorkerOptions o = options ? *options : (FlowWorkerOptions) {};
        FlowWorker *w = new0(FlowWorker, 1);
        int r;

        if (!w) {
                fd_close(in);
                if (out != in)
                        fd_close(out);
                return -ENOMEM;
        }
        w->handler = handler;
        w->userdata = userdata;
        w->on_cancelled = o.cancelled;
        w->slots = o.slots > 0 ? MIN(o.slots, WORKER_JOBS_MAX) : 1;
        w->batch = o.batch;
        list_init(&w->waiting);
        list_init(&w->running);
        w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        r = w->epoll_fd < 0 ? -errno : 0;

        int k = libflow_stream_init(&w->stream, in, out);
        if (r >= 0)
                r = k;
        if (r >= 0)
                r = libflow_stream_put_hello(&w->stream, w->slots);
        if (r >= 0)
                r = libflow_worker_listen(w);
        if (r < 0) {
                flow_worker_free(w);
                return r == -EPERM ? -ENOTSOCK : r; /* what epoll says of a file */
        }
        (void) signal(SIGPIPE, SIG_IGN);
        (void) libflow_worker_flush(w); /* if flowd is gone already, the first round will say so */
        *ret = w;
        return 0;
}

FlowWorker *flow_worker_free(FlowWorker *w) {
        FlowJob *job;

        if (!w)
                return NULL;
        while ((job = list_first_entry(&w->waiting, FlowJob, link)) || (job = list_first_entry(&w->running, FlowJob, link)))
                libflow_worker_job_free(job);
        while ((job = w->free_jobs)) {
                w->free_jobs = job->next_free;
                free(job);
        }
        libflow_stream_done(&w->stream);
        fd_close(w->epoll_fd);
        free(w);
        return NULL;
}

static bool fd_can_carry(int fd, struct stat *ret) {
        return fstat(fd, ret) >= 0 && (S_ISSOCK(ret->st_mode) || S_ISFIFO(ret->st_mode));
}

/* Moves the connection away from 0 and 1, where a stray read or print would break it. */
static int stdio_take(int *ret_in, int *ret_out) {
        _cleanup_close_ int in = -1, out = -1, null = -1;
        struct stat a, b;

        if (!fd_can_carry(STDIN_FILENO, &a) || !fd_can_carry(STDOUT_FILENO, &b))
                return -ENOTSOCK;
        in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
        if (in < 0)
                return -errno;
        bool same = S_ISSOCK(a.st_mode) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
        if (!same) {
                out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
                if (out < 0)
                        return -errno;
        }
        null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (null < 0)
                return -errno;
        if (dup2(null, STDIN_FILENO) < 0)
                return -errno;
        if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0 && dup2(null, STDOUT_FILENO) < 0)
                return -errno;
        *ret_in = in;
        *ret_out = same ? in : out;
        in = out = -1;
        return 0;
}

int flow_worker_new(FlowHandler handler, void *userdata, const FlowWorkerOptions *options, FlowWorker **ret) {
        int in, out, r;

        r = stdio_take(&in, &out);
        return r < 0 ? r : flow_worker_new_fds(in, out, handler, userdata, options, ret);
}

static int worker_run_error(int r) {
        const char *why = r == -EBADMSG || r == -EPROTO || r == -EMSGSIZE ? "what came on stdin is no frame that flowd sends a worker" :
                          r == -ECONNRESET || r == -EPIPE ? "flowd went away" : strerror(-r);

        fprintf(stderr, "%s: the connection to flowd is broken: %s\n", program_invocation_short_name, why);
        return EXIT_FAILURE;
}

/* Waits without the epoll set, which costs more than it is worth where nobody else looks at it. */
static int worker_wait(const FlowWorker *w) {
        uint32_t wanted[2];

        worker_wanted(w, wanted);
        struct pollfd p[2] = {
                { .fd = wanted[0] ? w->stream.in : -1, .events = (short) wanted[0] },
                { .fd = wanted[1] ? w->stream.out : -1, .events = (short) wanted[1] },
        };
        return poll(p, ELEMENTSOF(p), -1) < 0 && errno != EINTR ? -errno : 0;
}

int flow_worker_run(FlowHandler handler, void *userdata, const FlowWorkerOptions *options) {
        FlowWorker *w;
        int r;

        r = flow_worker_new(handler, userdata, options, &w);
        if (r == -ENOTSOCK) {
                fprintf(stderr, "%s: stdin and stdout are no sockets: this is a worker that flowd starts, from a worker type with Protocol=frame. "
                        "See flowd.worker(5)\n", program_invocation_short_name);
                return EXIT_FAILURE;
        }
        if (r < 0)
                return worker_run_error(r);
        w->epoll_fd = fd_close(w->epoll_fd);
        while ((r = flow_worker_process(w)) > 0) {
                r = worker_wait(w);
                if (r < 0)
                        break;
        }
        flow_worker_free(w);
        return r < 0 ? worker_run_error(r) : EXIT_SUCCESS;
}
