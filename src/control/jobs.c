/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The jobs socket: frames in, frames out, the fast path for submitters. A client's job is found under the id that the client chose. ACCEPTED
 * for a job that lives no longer than its connection is not sent at once: it leaves with whatever follows, at the latest after a
 * millisecond, because most jobs are answered sooner and every write wakes the client.
 *
 * A client that does not read is first not read from any more (half of ClientBufferMax= waits for it), then disconnected. When a connection
 * ends, its jobs that are not detached are cancelled: nobody is left to hear of them.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fault.h"
#include "basic/fd.h"
#include "basic/state.h"
#include "control/job-wishes.h"
#include "control/server.h"
#include "pool/durable.h"

#define RESULT_META_ROOM (FRAME_HEADER_SIZE + 8192U)
#define ERROR_TEXT_MAX 4096U
#define LAZY_USEC 1000ULL
#define FULL_USEC 10000ULL
#define LOG_BACKLOG_MAX (1024U * 1024U) /* log lines and progress are dropped for a client that is so far behind */

/* What a WAIT wants of the result. */
typedef struct Part {
        bool wanted; /* else all of it */
        uint8_t accept; /* encodings of the whole, 1 << Encoding */
        uint64_t offset, length;
} Part;

typedef struct JobClient {
        Server *server;
        List link;
        HotFd io;
        FrameStream stream;
        OutQueue out;
        Defer flush;
        Timer lazy;
        Peer peer;
        Map by_id;
        List jobs;
        List fetches;
        unsigned n_jobs;
        uint32_t features, frame_max;
        bool greeted, closing;
} JobClient;

typedef struct ClientJob {
        JobWatch watch;
        MapNode by_id;
        List link;
        JobClient *client;
        uint64_t id;   /* the client's */
        Job *job;
        bool waiting;  /* by WAIT: the job is not this client's to lose */
        Part part;     /* likewise */
} ClientJob;

/* A WAIT for a job that has ended long ago: the store is asked. Outlives its client, until the store has answered. */
typedef struct ClientFetch {
        List link;
        JobClient *client; /* NULL: gone */
        Server *server;
        uint64_t id;
        Part part;
        Job *job;          /* what was found; on its way to the disk */
} ClientFetch;

static void client_free(JobClient *c);

static void client_job_free(ClientJob *cj) {
        JobClient *c = cj->client;

        list_remove(&cj->watch.link);
        list_remove(&cj->link);
        map_remove(&c->by_id, &cj->by_id);
        c->n_jobs--;
        job_unref(cj->job);
        free(cj);
}

static void flush_later(JobClient *c) {
        hot_defer(&c->server->host->hot, &c->flush);
}

/* --- out --- */

static void send_frame(JobClient *c, FrameWriter *fw, FrameHeader *h, Blob *payload) {
        size_t size = blob_size(payload);
        ssize_t n = frame_writer_end(fw, h, h->flags & FRAME_MEMFD ? 0 : size);

        if (n < 0) {
                outq_commit(&c->out, 0);
                c->closing = true;
                return;
        }
        outq_commit(&c->out, (size_t) n);
        if (size > 0 && outq_blob(&c->out, payload) < 0)
                c->closing = true; /* a frame without its payload: the connection is of no use */
}

static uint8_t *begin_frame(JobClient *c, FrameWriter *fw, size_t room) {
        uint8_t *p = outq_reserve(&c->out, room);

        if (!p) {
                c->closing = true;
                flush_later(c);
                return NULL;
        }
        frame_writer_begin(fw, p, room);
        return p;
}

static void send_error(JobClient *c, const char *format, ...) _printf_(2, 3);
static void send_error(JobClient *c, const char *format, ...) {
        FrameHeader h = { .type = FRAME_ERROR };
        FrameWriter fw;
        char text[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (begin_frame(c, &fw, FRAME_HEADER_SIZE + sizeof(text) + 16)) {
                frame_put_text(&fw, FRAME_META_ERROR, text);
                send_frame(c, &fw, &h, NULL);
        }
        c->closing = true;
        flush_later(c);
}

static void put_error(FrameWriter *fw, const char *text) {
        char cut[ERROR_TEXT_MAX];

        if (!text)
                return;
        str_copy(cut, sizeof(cut), text);
        frame_put_text(fw, FRAME_META_ERROR, cut);
}

/* RESULT for a job that was never accepted; `later`: the same one may be, once its queue has moved on. */
static void send_refusal_later(JobClient *c, uint64_t id, const char *code, const char *text, bool later) {
        FrameHeader h = { .type = FRAME_RESULT, .job = id };
        FrameWriter fw;

        if (!begin_frame(c, &fw, RESULT_META_ROOM))
                return;
        frame_put_u8(&fw, FRAME_META_STATUS, FRAME_REFUSED);
        frame_put_text(&fw, FRAME_META_CODE, code);
        put_error(&fw, text);
        if (later)
                frame_put_u8(&fw, FRAME_META_RETRY, 1);
        send_frame(c, &fw, &h, NULL);
        flush_later(c);
}

static void send_refusal(JobClient *c, uint64_t id, const char *code, const char *text) {
        send_refusal_later(c, id, code, text, false);
}

static void send_accepted(JobClient *c, uint64_t id, uint64_t job, bool duplicate, bool at_once) {
        FrameHeader h = { .type = FRAME_ACCEPTED, .job = id };
        char text[JOB_ID_TEXT_MAX];
        FrameWriter fw;

        if (!begin_frame(c, &fw, FRAME_HEADER_SIZE + 64))
                return;
        frame_put_text(&fw, FRAME_META_JOB_ID, job_id_format(job, text));
        if (duplicate)
                frame_put_u8(&fw, FRAME_META_DUPLICATE, 1);
        send_frame(c, &fw, &h, NULL);
        if (at_once)
                flush_later(c);
        else if (!c->lazy.armed)
                timer_arm(&c->server->host->timers, &c->lazy, now_usec() + LAZY_USEC);
}

/* The wanted part of a result, as a blob of its own; the whole as it is. NULL when out of memory, or for nothing. */
static Blob *cut(Blob *b, const Part *part) {
        uint64_t size = blob_size(b), offset = MIN(part->offset, size), length = size - offset;
        const uint8_t *data;

        if (!b || !part->wanted || blob_data(b, &data) < 0)
                return blob_ref(b);
        if (part->length > 0)
                length = MIN(length, part->length);
        return blob_new_copy(data + offset, length);
}

static void send_result(JobClient *c, uint64_t id, Job *j, const Part *part) {
        FrameHeader h = { .type = FRAME_RESULT, .job = id, .attempt = j->attempts };
        _cleanup_(blob_unrefp) Blob *result = cut(j->result, part);
        size_t size = blob_size(result);
        bool memfd = size >= FRAME_MEMFD_MIN && (c->features & FRAME_FEATURE_MEMFD);
        bool too_large = !memfd && size + RESULT_META_ROOM > c->frame_max;
        uint8_t stack[RESULT_META_ROOM];
        char text[JOB_ID_TEXT_MAX];
        FrameWriter fw;

        if (memfd) {
                frame_writer_begin(&fw, stack, sizeof(stack));
                h.flags = FRAME_MEMFD;
                h.fds = 1;
                frame_put_u64(&fw, FRAME_META_SIZE, size);
        } else if (!begin_frame(c, &fw, RESULT_META_ROOM))
                return;
        frame_put_u8(&fw, FRAME_META_STATUS, (uint8_t) (too_large ? FRAME_FAILED : job_status(j)));
        frame_put_u8(&fw, FRAME_META_KIND, (uint8_t) j->result_kind);
        frame_put_text(&fw, FRAME_META_JOB_ID, job_id_format(j->id, text));
        if (too_large) {
                frame_put_text(&fw, FRAME_META_CODE, "ResultTooLarge");
                put_error(&fw, "the result is larger than the frames that this client takes");
        } else {
                frame_put_text(&fw, FRAME_META_CODE, j->code);
                put_error(&fw, j->error);
        }
        if (j->retry)
                frame_put_u8(&fw, FRAME_META_RETRY, 1);
        if (j->ran_on[0])
                frame_put_text(&fw, FRAME_META_WORKER, j->ran_on);
        if (j->route.routed)
                frame_put_text(&fw, FRAME_META_RAN_TIER, tier_to_string((Tier) j->route.tier));
        frame_put_u32(&fw, FRAME_META_ATTEMPTS, j->attempts);
        if (j->cache != 0)
                frame_put_u8(&fw, FRAME_META_CACHE, (uint8_t) j->cache);
        if (j->encoding != ENCODING_IDENTITY)
                frame_put_u8(&fw, FRAME_META_ENCODING, (uint8_t) j->encoding);
        if (j->affinity != FRAME_AFFINITY_NONE)
                frame_put_u8(&fw, FRAME_META_AFFINITY, (uint8_t) j->affinity);
        if (part->wanted)
                frame_put_u64(&fw, FRAME_META_SIZE_ALL, blob_size(j->result));
        frame_put_u64(&fw, FRAME_META_RUN_USEC, j->dispatched_usec ? j->finished_usec - j->dispatched_usec : 0);
        frame_put_u64(&fw, FRAME_META_WAIT_USEC, (j->dispatched_usec ? j->dispatched_usec : j->finished_usec) - j->accepted_usec);
        if (memfd) {
                ssize_t n = frame_writer_end(&fw, &h, 0);

                if (n < 0 || outq_bytes_memfd(&c->out, stack, (size_t) n, result) < 0)
                        c->closing = true;
        } else
                send_frame(c, &fw, &h, too_large ? NULL : result);
        flush_later(c);
}

static void send_note(JobClient *c, FrameType type, uint64_t id, FrameTag tag, uint32_t v, const char *text, size_t size) {
        FrameHeader h = { .type = type, .job = id };
        FrameWriter fw;

        if (c->out.bytes > LOG_BACKLOG_MAX)
                return;
        uint8_t *p = begin_frame(c, &fw, FRAME_HEADER_SIZE + 16 + size);
        if (!p)
                return;
        if (tag == FRAME_META_LEVEL)
                frame_put_u8(&fw, tag, (uint8_t) v);
        else
                frame_put_u32(&fw, tag, v);
        ssize_t n = frame_writer_end(&fw, &h, size);
        if (n < 0) {
                outq_commit(&c->out, 0);
                return;
        }
        memcpy(p + n, text, size);
        outq_commit(&c->out, (size_t) n + size);
        flush_later(c);
}

static void on_job_progress(JobWatch *w, Job *j, uint32_t millionths, const char *text, size_t size) {
        ClientJob *cj = CONTAINER_OF(w, ClientJob, watch);

        (void) j;
        send_note(cj->client, FRAME_PROGRESS, cj->id, FRAME_META_FRACTION, millionths, text, size);
}

static void on_job_log(JobWatch *w, Job *j, int level, const char *text, size_t size) {
        ClientJob *cj = CONTAINER_OF(w, ClientJob, watch);

        (void) j;
        send_note(cj->client, FRAME_LOG, cj->id, FRAME_META_LEVEL, (uint32_t) level, text, size);
}

static void on_job_end(JobWatch *w, Job *j) {
        ClientJob *cj = CONTAINER_OF(w, ClientJob, watch);

        send_result(cj->client, cj->id, j, &cj->part);
        client_job_free(cj);
}

static void on_job_accepted(JobWatch *w, Job *j) {
        ClientJob *cj = CONTAINER_OF(w, ClientJob, watch);

        if (cj->waiting)
                return;
        (void) fault_point("answer");
        send_accepted(cj->client, cj->id, j->id, false, j->detached);
        (void) fault_point("answered");
        if (j->detached)
                client_job_free(cj); /* its end is nobody's here */
}

static void start_wait(JobClient *c, uint64_t id, uint64_t job, const Part *part);

static void on_job_refused(JobWatch *w, Job *j, const JobRefusal *r) {
        ClientJob *cj = CONTAINER_OF(w, ClientJob, watch);
        JobClient *c = cj->client;
        uint64_t id = cj->id;
        bool waiting = cj->waiting;
        Part part = cj->part;

        client_job_free(cj);
        if (r->duplicate_of == 0)
                send_refusal(c, id, r->code, r->text);
        else if (waiting)
                start_wait(c, id, r->duplicate_of, &part);
        else {
                send_accepted(c, id, r->duplicate_of, true, j->detached);
                if (!j->detached)
                        start_wait(c, id, r->duplicate_of, &(Part) {});
        }
}

/* --- in --- */

static int add_client_job(JobClient *c, uint64_t id, Job *j, bool waiting) {
        ClientJob *cj = new0(ClientJob, 1);

        if (!cj)
                return -ENOMEM;
        if (map_add(&c->by_id, &cj->by_id, id) < 0) {
                free(cj);
                return -ENOMEM;
        }
        cj->client = c;
        cj->id = id;
        cj->waiting = waiting;
        cj->job = job_ref(j);
        cj->watch = (JobWatch) {
                .accepted = on_job_accepted, .refused = on_job_refused, .progress = on_job_progress, .log = on_job_log, .end = on_job_end,
        };
        list_append(&j->watches, &cj->watch.link);
        list_append(&c->jobs, &cj->link);
        c->n_jobs++;
        return 0;
}

static int take_text(const FrameMeta *m, FrameTag tag, char **ret) {
        char buf[JOB_NAME_MAX];
        int r = frame_meta_text(m, tag, buf, sizeof(buf));

        if (r <= 0)
                return r;
        *ret = strdup(buf);
        return *ret ? 0 : -ENOMEM;
}

static int fill_job(const Server *s, Job *j, Frame *f) {
        uint8_t kind = PAYLOAD_TEXT, detached = 0, durable = DURABLE_NO;
        uint32_t priority = 0;
        int r;

        if ((r = take_text(&f->meta, FRAME_META_METHOD, &j->method)) < 0 || (r = take_text(&f->meta, FRAME_META_SESSION, &j->session)) < 0 ||
            (r = take_text(&f->meta, FRAME_META_KEY, &j->key)) < 0 || (r = take_text(&f->meta, FRAME_META_TRACE, &j->trace)) < 0)
                return r;
        (void) frame_meta_u64(&f->meta, FRAME_META_DEADLINE, &j->deadline_usec);
        (void) frame_meta_u64(&f->meta, FRAME_META_TIMEOUT, &j->timeout_usec);
        (void) frame_meta_u32(&f->meta, FRAME_META_PRIORITY, &priority);
        (void) frame_meta_u8(&f->meta, FRAME_META_DETACHED, &detached);
        (void) frame_meta_u8(&f->meta, FRAME_META_DURABLE, &durable);
        (void) frame_meta_u8(&f->meta, FRAME_META_ACCEPT, &j->accept);
        (void) frame_meta_u64(&f->meta, FRAME_META_NOT_BEFORE, &j->not_before_usec);
        (void) frame_meta_u64(&f->meta, FRAME_META_RETRY_DELAY, &j->retry_usec);
        (void) frame_meta_u64(&f->meta, FRAME_META_QUEUE_TIMEOUT, &j->queue_timeout_usec);
        j->own_retries = frame_meta_u32(&f->meta, FRAME_META_RETRIES, &j->retries);
        j->priority = (int32_t) priority;
        j->detached = detached;
        bool unsaid = durable == FRAME_DURABLE_IF_POSSIBLE;
        if (unsaid)
                durable = durable_default(s->jobs);
        if (j->key && durable == DURABLE_NO && (unsaid || detached)) /* a job that its client waits for may have one for the worker */
                return -ENOKEY;
        if (durable >= _DURABLE_MAX || j->retries > WORKER_RETRIES_MAX)
                return -EBADMSG;
        j->durability = (Durability) durable;
        if (frame_meta_u8(&f->meta, FRAME_META_KIND, &kind) && kind >= _PAYLOAD_KIND_MAX)
                return -EBADMSG;
        j->kind = (PayloadKind) kind;
        j->payload_size = f->size;
        j->payload = frame_take_blob(f);
        if (!j->payload)
                return -ENOMEM;
        /* what is in a memfd is not looked at: it may be large, and its reader has to look anyway */
        if (j->kind != PAYLOAD_BYTES && j->payload->fd < 0 && !utf8_valid(j->payload->data, j->payload->size))
                return -EILSEQ;
        return 0;
}

static void on_job(JobClient *c, Frame *f) {
        Server *s = c->server;
        _cleanup_(job_unrefp) Job *j = NULL;
        _cleanup_free_ char *why = NULL;
        RouteRequest q = {};
        uint64_t id = f->header.job;
        char text[256];
        JobWishes wishes;
        int r;

        if (c->peer.level < LEVEL_SUBMIT) {
                snprintf(text, sizeof(text), "submitting needs membership of the group '%s'", auth_group(&s->auth, LEVEL_SUBMIT));
                server_refused(s, &c->peer, "a job", auth_group(&s->auth, LEVEL_SUBMIT));
                send_refusal(c, id, "NotPermitted", text);
                return;
        }
        if (map_find(&c->by_id, id)) {
                send_error(c, "the job id %llu is in use on this connection", (unsigned long long) id);
                return;
        }
        if (c->n_jobs >= s->limits.jobs_per_client) {
                snprintf(text, sizeof(text), "%u jobs of this connection are in flight, JobsPerClient=%u", c->n_jobs, s->limits.jobs_per_client);
                send_refusal(c, id, "LimitReached", text);
                return;
        }
        if (s->stopping) {
                send_refusal(c, id, "PoolUnavailable", "flowd is stopping");
                return;
        }
        if (!server_rate(s, &c->peer, &why)) {
                send_refusal(c, id, "RateLimited", why);
                return;
        }
        j = job_new();
        r = j ? fill_job(s, j, f) : -ENOMEM;
        if (r >= 0)
                r = job_wishes_read(&f->meta, &wishes, &q);
        if (r < 0) {
                send_refusal(c, id, r == -ENOMEM ? "LimitReached" : "InvalidJob", r == -ENOMEM ? "out of memory" :
                             r == -ENOKEY ? DURABLE_KEY_TEXT :
                             r == -EILSEQ ? "the payload is not valid UTF-8; submit it as bytes (flowctl: --payload=bytes)" :
                             "the job's metadata has a name that is too long or is not UTF-8, or a number out of range");
                return;
        }
        j->uid = c->peer.uid;
        r = route_submit(s->router, j, &q, &why);
        if (r < 0) {
                send_refusal_later(c, id, route_refusal_code(r), why, route_refusal_passes(r));
                return;
        }
        /* in builds for tests: the break of P1 that the crash test must notice */
        s->answer_early |= fault_point("answer-early") < 0;
        if (r == 0 || s->answer_early)
                send_accepted(c, id, j->id, false, j->detached);
        if (s->answer_early)
                (void) outq_flush(&c->out, c->io.fd, true); /* the store begins at the end of the round */
        if (((r > 0 && !s->answer_early) || !j->detached) && add_client_job(c, id, j, false) < 0) { /* r > 0: answered when it is recorded */
                pool_cancel(j->pool, j);
                send_error(c, "out of memory");
        }
}

/* --- WAIT --- */

static ClientFetch *fetch_free(ClientFetch *f) {
        if (f->client) {
                list_remove(&f->link);
                f->client->n_jobs--;
        }
        job_unref(f->job);
        free(f);
        return NULL;
}

static bool may_see(JobClient *c, uid_t uid) {
        return c->peer.level >= LEVEL_OPERATE || uid == c->peer.uid;
}

/* What was found is as durable as was promised. */
static void on_synced(StoreRequest *r) {
        ClientFetch *f = r->userdata;

        if (f->client && r->error < 0)
                send_refusal(f->client, f->id, "StoreUnavailable", r->text ? r->text : strerror(-r->error));
        else if (f->client)
                send_result(f->client, f->id, f->job, &f->part);
        store_request_free(r);
        fetch_free(f);
}

static void on_fetched(StoreRequest *r) {
        ClientFetch *f = r->userdata;
        Server *s = f->server;
        int error = r->error;
        bool unknown;

        if (error >= 0)
                error = durable_ended(&r->record, &f->job);
        if (f->client && error == -EAGAIN) { /* it was queued again meanwhile */
                JobClient *c = f->client;
                uint64_t id = f->id, job = r->id;
                Part part = f->part;

                store_request_free(r);
                fetch_free(f);
                start_wait(c, id, job, &part);
                return;
        }
        unknown = error == -ENOENT || (error < 0 && store_health(s->jobs->store) == STORE_OFF);
        if (f->client && error < 0)
                send_refusal(f->client, f->id, unknown ? "NoSuchJob" : "StoreUnavailable",
                             unknown ? "there is no such job; what has ended is kept for StoreMaxAge=, where it was durable" :
                             r->text ? r->text : strerror(-error));
        else if (f->client && !may_see(f->client, f->job->uid))
                send_refusal(f->client, f->id, "NotPermitted", "the job is another user's");
        else if (f->client && f->job->durability == DURABLE_YES) { /* a SYNC costs the writer nothing where all is on the disk */
                StoreRequest *sync = store_request_new(STORE_OP_SYNC, on_synced, f);

                if (sync) {
                        sync->sync = sync->impatient = true;
                        store_request_free(r);
                        store_submit(s->jobs->store, sync);
                        return;
                }
                send_error(f->client, "out of memory");
        } else if (f->client)
                send_result(f->client, f->id, f->job, &f->part);
        store_request_free(r);
        fetch_free(f);
}

static int start_fetch(JobClient *c, uint64_t id, uint64_t job, const Part *part) {
        ClientFetch *f;
        StoreRequest *r;

        if (!c->server->jobs->store)
                return -ENOENT;
        f = new0(ClientFetch, 1);
        r = f ? store_request_new(STORE_OP_GET, on_fetched, f) : NULL;
        if (!r) {
                free(f);
                return -ENOMEM;
        }
        *f = (ClientFetch) { .client = c, .server = c->server, .id = id, .part = *part };
        list_append(&c->fetches, &f->link);
        c->n_jobs++;
        r->id = job;
        r->want = STORE_WANT_RESULT | (part->wanted ? 0U : (unsigned) part->accept << STORE_WANT_ACCEPT_SHIFT);
        store_submit(c->server->jobs->store, r);
        return 0;
}

/* Sends the result of a job, once there is one: it is live, kept in memory, or known to the store. */
static void start_wait(JobClient *c, uint64_t id, uint64_t job, const Part *part) {
        Job *j = job_table_find(c->server->jobs, job);
        int r = 0;

        if (!j || (job_ended(j) && !j->detached)) {
                r = start_fetch(c, id, job, part);
                if (r == -ENOENT)
                        send_refusal(c, id, "NoSuchJob", "there is no such job; results are kept for submitted jobs only, in memory, up to ResultsMax=");
        } else if (!may_see(c, j->uid))
                send_refusal(c, id, "NotPermitted", "the job is another user's");
        else if (job_ended(j))
                send_result(c, id, j, part);
        else {
                r = add_client_job(c, id, j, true);
                if (r >= 0)
                        map_get(&c->by_id, id, ClientJob, by_id)->part = *part;
        }
        if (r == -ENOMEM)
                send_error(c, "out of memory");
}

static void on_wait(JobClient *c, Frame *f) {
        char text[JOB_ID_TEXT_MAX];
        Part part = {};
        uint64_t id;

        if (c->peer.level < LEVEL_SUBMIT) {
                char why[160];

                snprintf(why, sizeof(why), "waiting for a job needs membership of the group '%s'", auth_group(&c->server->auth, LEVEL_SUBMIT));
                send_refusal(c, f->header.job, "NotPermitted", why);
                return;
        }
        if (map_find(&c->by_id, f->header.job) || c->n_jobs >= c->server->limits.jobs_per_client) {
                send_refusal(c, f->header.job, "LimitReached", "the id is in use, or too much is in flight on this connection");
                return;
        }
        if (frame_meta_text(&f->meta, FRAME_META_JOB_ID, text, sizeof(text)) <= 0 || job_id_parse(text, &id) < 0) {
                send_refusal(c, f->header.job, "NoSuchJob", "that is no job id; 'flowctl submit' prints them");
                return;
        }
        (void) frame_meta_u8(&f->meta, FRAME_META_ACCEPT, &part.accept);
        part.wanted = frame_meta_u64(&f->meta, FRAME_META_OFFSET, &part.offset);
        part.wanted |= frame_meta_u64(&f->meta, FRAME_META_LENGTH, &part.length);
        start_wait(c, f->header.job, id, &part);
}

static void on_cancel(JobClient *c, Frame *f) {
        ClientJob *cj = map_get(&c->by_id, f->header.job, ClientJob, by_id);

        if (!cj) /* it has ended: the answer is on its way */
                return;
        if (cj->waiting) {
                send_refusal(c, cj->id, "Cancelled", "no longer waiting; the job goes on");
                client_job_free(cj);
        } else
                (void) pool_cancel_job(c->server->jobs, cj->job);
}

static void on_hello(JobClient *c, Frame *f) {
        FrameHeader h = { .type = FRAME_HELLO };
        uint32_t version = 0;
        FrameWriter fw;

        if (c->greeted || !frame_meta_u32(&f->meta, FRAME_META_VERSION, &version) || version != FRAME_VERSION) {
                send_error(c, c->greeted ? "a second HELLO" : "this flowd speaks version %u of the frame protocol", FRAME_VERSION);
                return;
        }
        c->greeted = true;
        c->frame_max = FRAME_BODY_MAX;
        (void) frame_meta_u32(&f->meta, FRAME_META_FEATURES, &c->features);
        (void) frame_meta_u32(&f->meta, FRAME_META_FRAME_MAX, &c->frame_max);
        if (!begin_frame(c, &fw, 128))
                return;
        frame_put_u32(&fw, FRAME_META_VERSION, FRAME_VERSION);
        frame_put_u32(&fw, FRAME_META_FEATURES, FRAME_FEATURE_MEMFD);
        frame_put_u32(&fw, FRAME_META_FRAME_MAX, FRAME_BODY_MAX);
        send_frame(c, &fw, &h, NULL);
        flush_later(c);
}

static void on_frame(JobClient *c, Frame *f) {
        if (!c->greeted && f->header.type != FRAME_HELLO) {
                send_error(c, "the first frame must be HELLO");
                return;
        }
        switch (f->header.type) {
        case FRAME_HELLO:
                on_hello(c, f);
                return;
        case FRAME_JOB:
                on_job(c, f);
                return;
        case FRAME_WAIT:
                on_wait(c, f);
                return;
        case FRAME_CANCEL:
                on_cancel(c, f);
                return;
        case FRAME_PING: {
                FrameHeader h = { .type = FRAME_PONG, .job = f->header.job };
                FrameWriter fw;

                if (begin_frame(c, &fw, FRAME_HEADER_SIZE)) {
                        send_frame(c, &fw, &h, NULL);
                        flush_later(c);
                }
                return;
        }
        case FRAME_PONG:
                return;
        default:
                send_error(c, "a %s frame is not a client's to send", strna(frame_type_to_string(f->header.type)));
        }
}

static void on_io(HotFd *h, uint32_t revents) {
        JobClient *c = CONTAINER_OF(h, JobClient, io);

        if (revents & EPOLLOUT)
                flush_later(c);
        if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) || c->closing)
                return;
        if (c->server->host->hold) { /* soon */
                (void) hot_watch(&c->server->host->hot, h, 0);
                return;
        }
        ssize_t n = frame_stream_receive(&c->stream, h->fd);
        if (n == -EAGAIN)
                return;
        if (n <= 0) {
                client_free(c);
                return;
        }
        while (!c->closing) {
                _cleanup_(frame_done) Frame f = {};
                int r = frame_stream_next(&c->stream, &f);

                if (r == 0)
                        return;
                if (r < 0) {
                        send_error(c, r == -EMSGSIZE ? "a frame above the limit of %u bytes" :
                                   r == -EPERM ? "a descriptor that is no sealed memfd (limit of a frame: %u)" :
                                   r == -EBUSY ? "too many large messages are being received at once (InboundMax=); try again (limit of a frame: %u)" :
                                   "this is no frame (limit of one: %u)", FRAME_BODY_MAX);
                        return;
                }
                on_frame(c, &f);
        }
}

static void on_flush(Defer *d) {
        JobClient *c = CONTAINER_OF(d, JobClient, flush);
        Host *h = c->server->host;
        int r = outq_flush(&c->out, c->io.fd, true);

        timer_disarm(&h->timers, &c->lazy);
        bool full = r == -ETOOMANYREFS; /* too many descriptors under way for this user: later */
        if (full)
                r = 1;
        if (r < 0 || (c->closing && r == 0)) {
                client_free(c);
                return;
        }
        if (c->out.bytes + c->out.held > c->server->limits.client_buffer_max) {
                char a[16];

                event_send(h, EVENT_CLIENT_DROPPED, NULL, "Disconnected a jobs client (uid %u, pid %d) that does not read: %s wait for it",
                           c->peer.uid, (int) c->peer.pid, size_format(a, sizeof(a), c->out.bytes + c->out.held));
                client_free(c);
                return;
        }
        bool listen = !c->closing && !h->hold && c->out.bytes + c->out.held <= c->server->limits.client_buffer_max / 2;
        if (full)
                timer_arm(&h->timers, &c->lazy, now_usec() + FULL_USEC);
        (void) hot_watch(&h->hot, &c->io, (listen ? EPOLLIN : 0) | (r > 0 && !full ? EPOLLOUT : 0));
}

static void on_lazy(Timer *t) {
        flush_later(CONTAINER_OF(t, JobClient, lazy));
}

/* --- life --- */

static JobClient *client_alloc(Server *s, int fd) {
        JobClient *c = new0(JobClient, 1);

        if (!c)
                return NULL;
        c->server = s;
        c->io = (HotFd) { .fd = fd, .on_io = on_io };
        c->flush.run = on_flush;
        c->lazy.fire = on_lazy;
        outq_init(&c->out);
        map_init(&c->by_id, random_u64());
        list_init(&c->jobs);
        list_init(&c->fetches);
        list_append(&s->job_clients, &c->link);
        s->n_jobs++;
        return c;
}

static void client_free(JobClient *c) {
        Host *h = c->server->host;
        List *n;

        while ((n = list_first(&c->jobs))) {
                ClientJob *cj = list_entry(n, ClientJob, link);
                Job *j = job_ref(cj->job);
                bool cancel = !cj->waiting && !j->detached && !c->server->stopping;

                client_job_free(cj);
                if (cancel)
                        (void) pool_cancel_job(c->server->jobs, j);
                job_unref(j);
        }
        while ((n = list_first(&c->fetches))) {
                list_remove(n);
                list_entry(n, ClientFetch, link)->client = NULL;
        }
        timer_disarm(&h->timers, &c->lazy);
        hot_unwatch(&h->hot, &c->io);
        hot_undefer(&c->flush);
        list_remove(&c->link);
        c->server->n_jobs--;
        fd_close(c->io.fd);
        frame_stream_done(&c->stream);
        outq_done(&c->out);
        map_done(&c->by_id);
        free(c);
}

/* Who may not submit shall not fill InboundMax= with messages that will be refused. */
static void limit_body(JobClient *c) {
        if (c->peer.level < LEVEL_SUBMIT)
                c->stream.body_max = FRAME_META_MAX;
}

static unsigned connections_of(Server *s, uid_t uid) {
        unsigned n = 0;

        LIST_FOREACH(l, &s->job_clients)
                n += list_entry(l, JobClient, link)->peer.uid == uid;
        return n;
}

void job_client_new(Server *s, int fd) {
        JobClient *c;
        Peer p;

        if (auth_peer(&s->auth, fd, &p) < 0 || !(c = client_alloc(s, fd))) {
                fd_close(fd);
                return;
        }
        frame_stream_init(&c->stream, FRAME_BODY_MAX, FRAME_BODY_MAX);
        c->stream.inbound = &s->host->inbound;
        c->stream.inbound_max = s->host->inbound_max;
        c->peer = p;
        limit_body(c);
        s->n_jobs--; /* admitted or not is decided without it */
        int r = server_admit(s, &p, false, connections_of(s, p.uid) - 1);
        s->n_jobs++;
        if (r < 0)
                send_error(c, "too many connections: ConnectionsMax=%u, ConnectionsPerUser=%u", s->limits.connections_max, s->limits.connections_per_user);
        else if (hot_watch(&s->host->hot, &c->io, EPOLLIN) < 0)
                client_free(c);
}

void job_clients_resume(Server *s) {
        LIST_FOREACH(l, &s->job_clients)
                flush_later(list_entry(l, JobClient, link));
}

bool job_clients_passing(Server *s) {
        LIST_FOREACH(l, &s->job_clients)
                if (list_entry(l, JobClient, link)->out.held > 0)
                        return true;
        return false;
}

void job_clients_done(Server *s) {
        List *n;

        while ((n = list_first(&s->job_clients))) {
                JobClient *c = list_entry(n, JobClient, link);

                (void) outq_flush(&c->out, c->io.fd, true);
                client_free(c);
        }
}

/* --- across execve() --- */

int job_clients_serialize(Server *s, StateWriter *sw, json_object *array) {
        LIST_FOREACH(l, &s->job_clients) {
                JobClient *c = list_entry(l, JobClient, link);
                json_object *o = json_object_new_object(), *jobs = json_object_new_array();
                _cleanup_free_ uint8_t *out = NULL;
                size_t n_out;

                (void) json_object_array_add(array, o);
                int r = outq_copy(&c->out, &out, &n_out);
                if (r < 0) {
                        json_object_put(jobs);
                        return r;
                }
                state_put_fd(sw, o, "fd", c->io.fd);
                state_put_int(sw, o, "features", c->features);
                state_put_int(sw, o, "frame_max", c->frame_max);
                state_put_int(sw, o, "greeted", c->greeted);
                state_put_int(sw, o, "closing", c->closing);
                if (n_out > 0)
                        state_put_bytes(sw, o, "out", out, n_out);
                frame_stream_serialize(&c->stream, sw, o);
                LIST_FOREACH(k, &c->jobs) {
                        ClientJob *cj = list_entry(k, ClientJob, link);
                        json_object *e = json_object_new_object();

                        state_put_int(sw, e, "id", (int64_t) cj->id);
                        state_put_int(sw, e, "job", (int64_t) cj->job->id);
                        state_put_int(sw, e, "waiting", cj->waiting);
                        state_put_int(sw, e, "part", cj->part.wanted);
                        state_put_int(sw, e, "offset", (int64_t) cj->part.offset);
                        state_put_int(sw, e, "length", (int64_t) cj->part.length);
                        (void) json_object_array_add(jobs, e);
                }
                state_put_object(sw, o, "jobs", jobs);
        }
        return sw->error;
}

int job_client_deserialize(Server *s, const StateReader *sr, const json_object *o) {
        json_object *jobs = state_get_object(o, "jobs");
        JobClient *c = client_alloc(s, state_get_fd(o, "fd"));
        const uint8_t *out;
        size_t n_out;
        int r;

        if (!c)
                return -ENOMEM;
        r = auth_peer(&s->auth, c->io.fd, &c->peer);
        if (r >= 0)
                r = frame_stream_deserialize(&c->stream, sr, o);
        if (r < 0)
                return r;
        limit_body(c);
        c->stream.inbound = &s->host->inbound;
        c->stream.inbound_max = s->host->inbound_max;
        if (c->stream.large)
                s->host->inbound += c->stream.large_blob->size;
        c->features = (uint32_t) state_get_int(o, "features");
        c->frame_max = (uint32_t) state_get_int(o, "frame_max");
        c->greeted = state_get_int(o, "greeted");
        c->closing = state_get_int(o, "closing");
        if (state_get_bytes(sr, o, "out", &out, &n_out) && outq_bytes(&c->out, out, n_out) < 0)
                return -ENOMEM;
        for (size_t i = 0; jobs && i < json_object_array_length(jobs); i++) {
                json_object *e = json_object_array_get_idx(jobs, i);
                Job *j = job_table_find(s->jobs, (uint64_t) state_get_int(e, "job"));

                if (j && !job_ended(j))
                        r = add_client_job(c, (uint64_t) state_get_int(e, "id"), j, state_get_int(e, "waiting"));
                if (j && !job_ended(j) && r >= 0)
                        map_get(&c->by_id, (uint64_t) state_get_int(e, "id"), ClientJob, by_id)->part = (Part) {
                                .wanted = state_get_int(e, "part"),
                                .offset = (uint64_t) state_get_int(e, "offset"),
                                .length = (uint64_t) state_get_int(e, "length"),
                        };
                if (r < 0)
                        return r;
        }
        flush_later(c);
        return hot_watch(&s->host->hot, &c->io, EPOLLIN);
}
