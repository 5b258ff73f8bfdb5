/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One loop for one job and for millions: read payloads while there is room for jobs, submit them in batches, take what happens to
 * them, print.
 *
 * Nothing grows with the input. A slot is a job in flight, or one whose result waits because those before it are not there yet;
 * the number of slots is fixed, their buffers are used again, and above BATCH_BYTES_MAX of payloads and results no new job is
 * begun. The job at the head of the order is always in flight or waiting to be submitted again, so the window always moves on.
 *
 * A full queue is not an error but flow control: the refused job keeps its slot and its payload, the number of jobs in flight is
 * taken back to what flowd had room for, and grows again slowly. A connection that ends takes its jobs with it: flowd cancels
 * them.
 *
 * SIGINT and SIGTERM are read from a descriptor. The first one cancels what is in flight and waits for the last results, the
 * second one leaves.
 */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "client/runtime.h"
#include "flowctl/batch.h"

#define SLOT_KEEP_MAX (64U * 1024U) /* a slot's buffer larger than this is freed with it */

/* --- slots --- */

static int slot_room(Slot *s, size_t size) {
        if (s->room >= size && s->data)
                return 0;
        size_t room = MAX(size + size / 4, (size_t) 256);
        char *bigger = malloc(room);

        if (!bigger)
                return -ENOMEM;
        free(s->data);
        s->data = bigger;
        s->room = room;
        return 0;
}

static void slot_drop_content(Batch *b, Slot *s) {
        b->bytes_held -= s->size;
        s->size = 0;
        s->fd = fd_close(s->fd);
        if (s->room > SLOT_KEEP_MAX) {
                free(s->data);
                s->data = NULL;
                s->room = 0;
        }
}

static int slot_put(Batch *b, Slot *s, const void *data, size_t size) {
        slot_drop_content(b, s);
        int r = slot_room(s, size);
        if (r < 0)
                return r;
        if (size > 0)
                memcpy(s->data, data, size);
        s->size = size;
        b->bytes_held += size;
        return 0;
}

static void slot_free(Batch *b, Slot *s) {
        slot_drop_content(b, s);
        free(s->name);
        free(s->error);
        free(s->code);
        s->name = s->error = s->code = NULL;
        s->id = 0;
        s->done = false;
        s->job_id[0] = 0;
        list_prepend(&b->free, &s->link); /* the one used last is the one in the cache */
}

static int slots_new(Batch *b) {
        b->n_slots = b->jobs_max * (b->ordered ? BATCH_AHEAD : 1);
        b->slots = new0(Slot, b->n_slots);
        b->order = new0(Slot *, b->n_slots);
        list_init(&b->free);
        list_init(&b->again);
        if (!b->slots || !b->order)
                return -ENOMEM;
        for (size_t i = b->n_slots; i > 0; i--) {
                b->slots[i - 1].fd = -1;
                list_prepend(&b->free, &b->slots[i - 1].link);
        }
        return 0;
}

static void batch_done(Batch *b) {
        for (size_t i = 0; b->slots && i < b->n_slots; i++) {
                Slot *s = b->slots + i;

                fd_close(s->fd);
                free(s->name);
                free(s->data);
                free(s->error);
                free(s->code);
        }
        free(b->slots);
        free(b->order);
        json_buffer_clear(&b->out);
        source_done(&b->source);
        flow_client_close(b->client);
}

static int out_of_memory(Batch *b) {
        progress_clear(&b->progress);
        error_print("out of memory");
        b->status = STATUS_FAILED;
        return -ENOMEM;
}

/* --- results, in order where that is asked --- */

static void print_slot(Batch *b, Slot *s) {
        outcome_print(b, &(Outcome) {
                .number = s->number, .name = s->name, .job_id = s->job_id, .status = s->status, .kind = s->kind,
                .data = strempty(s->data), .size = s->size, .error = s->error, .code = s->code,
        });
        slot_free(b, s);
}

/* Prints the results that have waited for the one before them. */
static void print_ready(Batch *b) {
        Slot *s;

        while ((s = b->order[b->head % b->n_slots]) && s->done) {
                b->order[b->head % b->n_slots] = NULL;
                b->head++;
                print_slot(b, s);
        }
}

/* A record has ended. `o` has what the slot has not: it is printed at once where it is its turn, else kept. */
static int slot_end(Batch *b, Slot *s, Outcome *o) {
        if (!b->ordered || s->number == b->head) {
                o->number = s->number;
                o->name = s->name;
                outcome_print(b, o);
                if (b->ordered) {
                        b->order[b->head % b->n_slots] = NULL;
                        b->head++;
                }
                slot_free(b, s);
                if (b->ordered)
                        print_ready(b);
                return 0;
        }
        s->done = true;
        s->status = o->status;
        s->kind = o->kind;
        if (o->job_id)
                str_copy(s->job_id, sizeof(s->job_id), o->job_id);
        if (o->error && !(s->error = strdup(o->error)))
                return out_of_memory(b);
        if (o->code && !(s->code = strdup(o->code)))
                return out_of_memory(b);
        return slot_put(b, s, o->data, o->size) < 0 ? out_of_memory(b) : 0;
}

static int slot_fail(Batch *b, Slot *s, FlowStatus status, const char *error, const char *code) {
        return slot_end(b, s, &(Outcome) { .status = status, .kind = FLOW_TEXT, .data = "", .error = error, .code = code });
}

/* --- submitting --- */

_Static_assert(JSON_DEPTH_MAX == 64, "what payload_fault() says");

/* What is wrong with the payload as the kind that it is said to be? NULL: nothing. */
static const char *payload_fault(const Batch *b, const Record *record) {
        const char *data = strempty(record->data), *fault = NULL;
        void *map = NULL;
        JsonType type;

        if (b->kind == BATCH_WAIT || b->request.kind == FLOW_BYTES)
                return NULL;
        if (record->fd >= 0) {
                if (memfd_map(record->fd, record->size, &map) < 0)
                        return "its memory cannot be mapped";
                data = map;
        }
        if (b->request.kind == FLOW_TEXT && !utf8_valid(data, record->size))
                fault = "the payload is no UTF-8 text; --payload=bytes takes anything";
        else if (b->request.kind == FLOW_JSON) {
                int r = json_check(data, record->size, JSON_DEPTH_MAX, &type);

                if (r == -E2BIG)
                        fault = "the payload is JSON nested more than 64 deep; --payload=text passes it as it is";
                else if (r < 0)
                        fault = "the payload is not one JSON value, as --payload=json says; the default is text";
        }
        if (map)
                munmap(map, record->size);
        return fault;
}

static const char *record_fault(const Batch *b, const Record *record) {
        if (record->error == -EMSGSIZE)
                return "the payload is larger than 64M";
        if (record->error < 0)
                return strerror(-record->error);
        return payload_fault(b, record);
}

/* Gives a job, or a wait, to libflow. Returns 0, -EAGAIN, or -errno. */
static int slot_submit(Batch *b, Slot *s) {
        FlowRequest q = b->request;
        int r;

        if (b->kind == BATCH_WAIT)
                r = flow_client_wait_job(b->client, s->name, s, &s->id);
        else {
                /* It may have been read before, by a submission that was refused. */
                if (s->fd >= 0 && lseek(s->fd, 0, SEEK_SET) < 0)
                        return -errno;
                q.userdata = s;
                q.from_fd = s->fd >= 0;
                q.fd = s->fd;
                q.data = s->data;
                q.size = s->fd >= 0 ? 0 : s->size;
                r = flow_client_submit(b->client, &q, &s->id);
        }
        if (r >= 0) {
                b->in_flight++;
                return 0;
        }
        s->id = 0;
        if (r == -EMSGSIZE)
                return slot_fail(b, s, FLOW_REFUSED, flow_client_error(b->client), "PayloadTooLarge");
        if (r == -EINVAL)
                return slot_fail(b, s, FLOW_REFUSED, flow_client_error(b->client), "InvalidPayload");
        return r;
}

/* The next record becomes a slot. Returns 1, 0 where there is none now, -errno. */
static int record_take(Batch *b, Slot **ret) {
        Slot *s = list_first_entry(&b->free, Slot, link);
        Record record;
        int r;

        r = source_next(&b->source, &record);
        if (r == -EAGAIN) {
                b->input_wait = true;
                return 0;
        }
        if (r < 0) {
                progress_clear(&b->progress);
                error_print("cannot read %s: %s", strna(b->source.name),
                            r == -EMSGSIZE ? "a line is longer than 64M" : strerror(-r));
                b->status = STATUS_FAILED;
                b->input_end = true;
                return 0;
        }
        if (r == 0) {
                b->input_end = true;
                return 0;
        }
        const char *fault = record_fault(b, &record);
        if (record.error == -ECANCELED)
                return 0; /* the signal is seen before the next sleep */
        if (fault && b->single) {
                error_print("%s%s%s", strempty(record.name), record.name ? ": " : "", fault);
                b->status = record.error < 0 ? STATUS_FAILED : STATUS_USAGE;
                b->input_end = true;
                fd_close(record.fd);
                return 0;
        }
        list_remove(&s->link);
        s->number = record.number;
        s->fd = record.fd;
        if (b->ordered)
                b->order[s->number % b->n_slots] = s;
        const char *name = record.name;
        if (b->kind == BATCH_WAIT || (b->tag && b->source.kind == SOURCE_ARGUMENTS))
                name = record.data;
        if (name && !(s->name = strdup(name)))
                return out_of_memory(b);
        *ret = NULL;
        if (fault) {
                r = slot_fail(b, s, FLOW_FAILED, fault, "InvalidPayload");
                return r < 0 ? r : 1;
        }
        if (s->fd >= 0) {
                s->size = record.size;
                b->bytes_held += s->size;
        } else if (b->kind != BATCH_WAIT && slot_put(b, s, record.data, record.size) < 0)
                return out_of_memory(b);
        *ret = s;
        return 1;
}

/* Submits what there is room for. Returns 0 or -errno. */
static int batch_feed(Batch *b) {
        int r;

        b->input_wait = false;
        while (!b->stopping && (double) b->in_flight < b->limit) {
                Slot *s = list_first_entry(&b->again, Slot, link);
                bool again = s;

                if (again && b->again_usec > 0 && now_usec() < b->again_usec)
                        break;
                if (!again) {
                        if (b->input_end || list_empty(&b->free) || b->bytes_held >= BATCH_BYTES_MAX)
                                break;
                        r = record_take(b, &s);
                        if (r <= 0)
                                return r;
                        if (!s)
                                continue;
                } else
                        list_remove(&s->link);
                r = slot_submit(b, s);
                if (r == -EAGAIN || r == -ETOOMANYREFS) {
                        list_prepend(&b->again, &s->link);
                        break;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- what happens to jobs --- */

/* A refusal: is it one to try again later? Returns true where it was dealt with. */
static bool slot_refused(Batch *b, Slot *s, const FlowResult *result) {
        const char *code = result->code;
        bool full = streq_ptr(code, "QueueFull") || streq_ptr(code, "RateLimited") || (result->retry && streq_ptr(code, "AllTiersFailed"));
        bool limit = streq_ptr(code, "LimitReached");

        if (b->single || b->stopping || (!full && !limit))
                return false;
        if (limit && b->in_flight == 0 && ++b->limit_tries > BATCH_LIMIT_TRIES)
                return false;
        s->id = 0;
        list_append(&b->again, &s->link);
        b->limit = MAX((double) b->in_flight, 1.0);
        b->backoff_usec = b->in_flight > 0 ? BATCH_BACKOFF_MIN_USEC
                                           : MIN(MAX(b->backoff_usec * 2, BATCH_BACKOFF_MIN_USEC), BATCH_BACKOFF_MAX_USEC);
        b->again_usec = now_usec() + usec_jitter(b->backoff_usec, 20);
        b->progress.note = "(waits for room in the queue)";
        return true;
}

/* Refusals that every other job would get too end it all. */
static void batch_refused(Batch *b, const char *code) {
        static const char *const all[] = { "NoSuchPool", "NotPermitted", "StoreUnavailable" };

        for (size_t i = 0; i < ELEMENTSOF(all) && !b->single && b->kind != BATCH_WAIT; i++)
                if (streq_ptr(code, all[i])) {
                        b->status = outcome_status(FLOW_REFUSED, code);
                        b->stopping = b->input_end = true;
                        b->stop_usec = now_usec() + BATCH_CANCEL_USEC;
                }
}

static void batch_grow(Batch *b) {
        b->limit = MIN(b->limit + 1.0 / 16, (double) b->jobs_max);
        b->again_usec = 0;
        b->backoff_usec = 0;
        b->limit_tries = 0;
        if (list_empty(&b->again))
                b->progress.note = NULL;
}

static int on_result(Batch *b, Slot *s, const FlowEvent *e) {
        const FlowResult *result = &e->result;
        int r;

        b->in_flight--;
        s->id = 0;
        if (result->status == FLOW_REFUSED) {
                if (slot_refused(b, s, result))
                        return 0;
                if (b->stopping && b->status > STATUS_FAILED && !b->signal) { /* the same refusal again says nothing new */
                        slot_free(b, s);
                        return 0;
                }
        } else
                batch_grow(b);
        r = slot_end(b, s, &(Outcome) {
                .job_id = b->kind == BATCH_WAIT ? s->name : result->job_id, .status = result->status, .kind = result->kind,
                .data = result->data, .size = result->size, .error = result->error, .code = result->code, .result = result,
        });
        if (result->status == FLOW_REFUSED)
                batch_refused(b, result->code);
        return r;
}

static int on_accepted(Batch *b, Slot *s, const FlowEvent *e) {
        if (e->duplicate && !option(b->c, OPTION_QUIET)) {
                progress_clear(&b->progress);
                error_print("job %s has that key already; it is not run a second time.", e->job_id);
        }
        if (b->kind != BATCH_SUBMIT) {
                slot_drop_content(b, s);
                return 0;
        }
        b->in_flight--;
        batch_grow(b);
        return slot_end(b, s, &(Outcome) { .job_id = e->job_id, .status = FLOW_COMPLETED, .data = "", .duplicate = e->duplicate });
}

static void on_progress(Batch *b, const FlowEvent *e) {
        if (!b->single || !b->show_progress)
                return;
        bool terminal = isatty(STDERR_FILENO);

        if (e->fraction >= 0)
                fprintf(stderr, "%s%3.0f%% %.*s%s", terminal ? "\r" : "", e->fraction * 100, (int) e->text_size, e->text,
                        terminal ? "\033[K" : "\n");
        else
                fprintf(stderr, "%s%.*s%s", terminal ? "\r" : "", (int) e->text_size, e->text, terminal ? "\033[K" : "\n");
        b->progress.drawn = terminal;
        fflush(stderr);
}

static int batch_event(Batch *b, const FlowEvent *e) {
        Slot *s = e->userdata;
        char buf[64];

        switch (e->type) {
        case FLOW_EVENT_ACCEPTED:
                return on_accepted(b, s, e);
        case FLOW_EVENT_RESULT:
                return on_result(b, s, e);
        case FLOW_EVENT_LOG:
                outcome_log(b, b->single ? NULL : outcome_label(b, s->number, s->name, buf, sizeof(buf)), e->text, e->text_size);
                return 0;
        case FLOW_EVENT_PROGRESS:
                on_progress(b, e);
                return 0;
        default:
                return 0;
        }
}

/* Takes everything that has come. Returns how much that was, or -errno. */
static int batch_take(Batch *b) {
        const FlowEvent *e;
        int r, n = 0;

        while ((r = flow_client_next(b->client, 0, &e)) > 0) {
                r = batch_event(b, e);
                if (r < 0)
                        return r;
                if (b->out.size >= BATCH_OUTPUT_SIZE && outcome_flush(b) < 0) {
                        b->status = STATUS_FAILED;
                        return -EIO;
                }
                n++;
        }
        b->taken += (size_t) n;
        return r < 0 ? r : n;
}

/* --- the loop --- */

/* Stops: cancels what is in flight, where it is ours, and gives up what is not. */
static void batch_stop(Batch *b, int signal) {
        if (b->signal) { /* again: at once */
                b->stop_usec = 1;
                return;
        }
        b->signal = signal;
        b->stopping = b->input_end = true;
        b->stop_usec = b->kind == BATCH_WAIT ? 1 : now_usec() + BATCH_CANCEL_USEC;
        for (size_t i = 0; i < b->n_slots && b->kind == BATCH_RUN; i++)
                if (b->slots[i].id != 0)
                        (void) flow_client_cancel(b->client, b->slots[i].id);
        if (b->in_flight > 0 && !option(b->c, OPTION_QUIET) && b->kind == BATCH_RUN && !b->single) {
                progress_clear(&b->progress);
                fprintf(stderr, "Cancelling %zu jobs; once more to leave at once.\n", b->in_flight);
        }
}

static bool batch_ended(const Batch *b) {
        if (b->stopping && (b->in_flight == 0 || now_usec() >= b->stop_usec))
                return true;
        return b->input_end && b->in_flight == 0 && list_empty(&b->again);
}

/* How long poll() may sleep. */
static int batch_timeout(Batch *b) {
        uint64_t usec = USEC_INFINITY, now = now_usec();

        b->progress.total = source_estimate(&b->source);
        if (!b->single)
                usec = progress_tick(&b->progress);
        if (!list_empty(&b->again) && b->again_usec > 0)
                usec = MIN(usec, b->again_usec > now ? b->again_usec - now : 0);
        if (b->stopping)
                usec = MIN(usec, b->stop_usec > now ? b->stop_usec - now : 0);
        return usec == USEC_INFINITY ? -1 : (int) MIN((usec + 999) / 1000, (uint64_t) 60000);
}

/* Many answers are better taken together: each time that we wake costs flowd and us more than a job does. The nap is adjusted until
 * about a quarter of the window comes at once; the rest keeps the workers busy meanwhile. */
static void batch_nap(Batch *b) {
        size_t wanted = b->in_flight / 4;

        if (b->in_flight < BATCH_NAP_MIN_JOBS || b->stopping)
                b->nap_usec = 0;
        else if (b->taken < wanted / 2)
                b->nap_usec = MIN(b->nap_usec + BATCH_NAP_STEP_USEC, BATCH_NAP_MAX_USEC);
        else if (b->taken > wanted)
                b->nap_usec /= 2;
        b->taken = 0;
        if (b->nap_usec > 0)
                usleep((useconds_t) b->nap_usec);
}

/* Looks for signals, and, unless there is more to do at once, waits for something to happen. */
static int batch_sleep(Batch *b, int signal_fd, bool busy) {
        struct pollfd p[3] = {
                { .fd = flow_client_fd(b->client), .events = flow_client_events(b->client) },
                { .fd = signal_fd, .events = POLLIN },
                { .fd = b->input_wait ? b->source.fd : -1, .events = POLLIN },
        };
        struct signalfd_siginfo si;

        if (!busy && outcome_flush(b) < 0) {
                b->status = STATUS_FAILED;
                return -EIO;
        }
        int timeout = batch_timeout(b);
        if (!busy)
                batch_nap(b);
        if (poll(p, ELEMENTSOF(p), busy ? 0 : timeout) < 0)
                return errno == EINTR ? 0 : -errno;
        if (p[1].revents && read(signal_fd, &si, sizeof(si)) == sizeof(si))
                batch_stop(b, (int) si.ssi_signo);
        return 0;
}

static int batch_loop(Batch *b, int signal_fd) {
        int r;

        for (;;) {
                r = batch_feed(b);
                if (r < 0)
                        return r;
                r = batch_take(b);
                if (r == -ECONNRESET && b->in_flight == 0 && batch_feed(b) >= 0 && batch_ended(b))
                        return 0; /* flowd stopped, but answered everything before */
                if (r < 0)
                        return r;
                if (batch_ended(b))
                        return 0;
                r = batch_sleep(b, signal_fd, r > 0); /* what was taken has perhaps made room for more */
                if (r < 0)
                        return r;
        }
}

static int batch_connect(Batch *b) {
        _cleanup_free_ char *error = NULL;
        int r;

        r = runtime_connect(b->c->runtime, "jobs");
        if (r < 0)
                return control_connect_failed(b->c, "jobs", r);
        r = flow_client_open_fd(r, &b->client, &error);
        if (r >= 0)
                return 0;
        error_print("%s", error ? error : strerror(-r));
        return r == -EACCES || r == -EPERM ? STATUS_NOT_PERMITTED : r == -EPROTO ? STATUS_FAILED : STATUS_NO_DAEMON;
}

/* What the end of the connection takes nothing away from. */
static void tell_before(const Batch *b) {
        bool submit = b->kind == BATCH_SUBMIT;
        uint64_t n = submit ? b->progress.done - b->progress.failed : b->progress.done;

        fprintf(stderr, "%" PRIu64 " job%s %s before.\n", n, plural(n), !submit ? "had ended" : n == 1 ? "was accepted" : "were accepted");
}

static void batch_lost(Batch *b, int error) {
        progress_clear(&b->progress);
        if (b->status > STATUS_FAILED || error == -EIO || error == -ENOMEM)
                return; /* told */
        error_print("%s", flow_client_error(b->client));
        if (!b->single)
                tell_before(b);
        b->status = STATUS_NO_DAEMON;
}

int batch_run(Batch *b) {
        _cleanup_close_ int signal_fd = -1;
        sigset_t signals;
        int r;

        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGHUP);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        b->source.cancel_fd = signal_fd;
        b->limit = (double) b->jobs_max;
        b->head = 1;
        r = batch_connect(b);
        if (r > 0)
                b->status = r;
        else if (signal_fd < 0 || slots_new(b) < 0)
                (void) out_of_memory(b);
        else {
                bool bar = !b->single && !option(b->c, OPTION_QUIET) && (isatty(STDERR_FILENO) || b->show_progress);

                progress_init(&b->progress, bar);
                r = batch_loop(b, signal_fd);
                if (r < 0)
                        batch_lost(b, r);
                if (outcome_flush(b) < 0)
                        b->status = STATUS_FAILED;
                progress_end(&b->progress, b->kind != BATCH_SUBMIT);
        }
        r = b->signal ? STATUS_SIGNAL + b->signal : b->status;
        batch_done(b);
        return r;
}
