/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A job, as its handler sees it: what it says, how it ends, what is told meanwhile.
 *
 * A job that ends within its handler is only marked, and freed when the handler has returned, so that a handler may look at the
 * payload after it. One that ends later is freed at once. Texts of the metadata become C strings when one is asked for first:
 * most workers never do.
 */

#include <errno.h>
#include <stdio.h>

#include "basic/str.h"
#include "libflow/worker-internal.h"

enum {
        TEXT_ID,
        TEXT_METHOD,
        TEXT_SESSION,
        TEXT_KEY,
        TEXT_TRACE,
        _TEXT_MAX,
};

static const FrameTag text_tags[_TEXT_MAX] = {
        [TEXT_ID] = FRAME_META_JOB_ID,
        [TEXT_METHOD] = FRAME_META_METHOD,
        [TEXT_SESSION] = FRAME_META_SESSION,
        [TEXT_KEY] = FRAME_META_KEY,
        [TEXT_TRACE] = FRAME_META_TRACE,
};

#define ID_NUMBER_ROOM 24U /* for a job's number in place of its id */

static const char *job_text(const FlowJob *job, unsigned which) {
        FlowJob *j = (FlowJob *) job; /* a cache, no more */
        FrameMeta meta;

        if (!j->texts) {
                size_t room = ID_NUMBER_ROOM, used = 0;

                if (frame_meta_decode(j->meta, j->meta_size, &meta) < 0)
                        return NULL;
                for (unsigned i = 0; i < _TEXT_MAX; i++)
                        room += meta.items[text_tags[i]].size + 1U;
                j->texts = malloc(room);
                if (!j->texts)
                        return NULL;
                for (unsigned i = 0; i < _TEXT_MAX; i++) {
                        char *p = j->texts + used;

                        if (frame_meta_text(&meta, text_tags[i], p, room - used) > 0)
                                j->text[i] = p;
                        else if (i == TEXT_ID) {
                                (void) snprintf(p, room - used, "%llu", (unsigned long long) j->id);
                                j->text[i] = p;
                        } else
                                continue;
                        used += strlen(p) + 1;
                }
        }
        return j->text[which];
}

const char *flow_job_id(const FlowJob *job) {
        return strempty(job_text(job, TEXT_ID));
}

const char *flow_job_method(const FlowJob *job) {
        return job_text(job, TEXT_METHOD);
}

const char *flow_job_session(const FlowJob *job) {
        return job_text(job, TEXT_SESSION);
}

const char *flow_job_key(const FlowJob *job) {
        return job_text(job, TEXT_KEY);
}

const char *flow_job_trace(const FlowJob *job) {
        return job_text(job, TEXT_TRACE);
}

unsigned flow_job_attempt(const FlowJob *job) {
        return job->attempt;
}

uint64_t flow_job_deadline(const FlowJob *job) {
        return job->deadline;
}

FlowKind flow_job_kind(const FlowJob *job) {
        return job->kind;
}

const void *flow_job_data(const FlowJob *job, size_t *ret_size) {
        if (ret_size)
                *ret_size = job->payload_size;
        return job->payload ? (const void *) job->payload : "";
}

FlowWorker *flow_job_worker(const FlowJob *job) {
        return job->worker;
}

void flow_job_set_userdata(FlowJob *job, void *userdata) {
        job->userdata = userdata;
}

void *flow_job_userdata(const FlowJob *job) {
        return job->userdata;
}

/* Texts for people must be UTF-8 on the wire; what a program puts into them need not be. */
static size_t text_clean(char *text) {
        size_t size = strlen(text);

        if (!utf8_valid(text, size))
                for (char *p = text; *p; p++)
                        if ((unsigned char) *p >= 0x80)
                                *p = '?';
        return size;
}

/* --- the end --- */

int libflow_worker_put_result(FlowJob *job, FrameStatus status, FlowKind kind, const void *data, size_t size, const char *error, bool retry) {
        FlowWorker *w = job->worker;
        FrameHeader h = { .type = FRAME_RESULT, .job = job->id, .attempt = job->attempt };
        char text[WORKER_ERROR_MAX];
        FrameWriter writer;

        frame_writer_begin(&writer, w->scratch, sizeof(w->scratch));
        frame_put_u8(&writer, FRAME_META_STATUS, (uint8_t) status);
        frame_put_u8(&writer, FRAME_META_KIND, (uint8_t) kind);
        if (error) {
                str_copy(text, sizeof(text), error);
                (void) text_clean(text);
                frame_put_text(&writer, FRAME_META_ERROR, text);
        }
        if (retry)
                frame_put_u8(&writer, FRAME_META_RETRY, 1);
        if (job->memfd && w->stream.peer_memfd && data == job->payload && size == job->payload_size)
                return libflow_stream_put(&w->stream, &writer, &h, NULL, 0, job->memfd);
        return libflow_stream_put_payload(&w->stream, &writer, &h, data, size);
}

static int job_end(FlowJob *job, FrameStatus status, FlowKind kind, const void *data, size_t size, const char *error, bool retry) {
        FlowWorker *w = job->worker;
        int r;

        if (job->done)
                return -EALREADY;
        if ((unsigned) kind >= _PAYLOAD_KIND_MAX)
                return -EINVAL;
        r = libflow_worker_put_result(job, status, kind, data, size, error, retry);
        if (r < 0)
                return r;
        job->done = true;
        if (w->current == job)
                return 0; /* the round sends it, and frees the job */
        libflow_worker_job_free(job);
        if (w->current) /* within the handler of another: the round goes on */
                return 0;
        if (!w->batch)
                (void) libflow_worker_flush(w); /* its error is the next round's to tell */
        (void) libflow_worker_listen(w);
        return 0;
}

int flow_job_complete(FlowJob *job, FlowKind kind, const void *data, size_t size) {
        return job_end(job, FRAME_COMPLETED, kind, data, size, NULL, false);
}

int flow_job_fail(FlowJob *job, const char *message, bool retry) {
        return job_end(job, FRAME_FAILED, FLOW_TEXT, NULL, 0, message ? message : "The worker gave no reason", retry);
}

/* --- meanwhile --- */

/* Queues a report and sends what can be sent. */
static int job_report(FlowJob *job, FrameWriter *writer, FrameType type, const char *text, size_t size) {
        FlowWorker *w = job->worker;
        FrameHeader h = { .type = type, .job = job->id, .attempt = job->attempt };
        int r;

        if (job->done)
                return -EALREADY;
        if (w->error < 0)
                return w->error;
        if (w->stream.output.bytes > WORKER_REPORTS_MAX) {
                r = libflow_worker_flush(w);
                if (r < 0)
                        return r;
                if (w->stream.output.bytes > WORKER_REPORTS_MAX)
                        return -EAGAIN;
        }
        r = libflow_stream_put(&w->stream, writer, &h, text, size, NULL);
        if (r < 0)
                return r;
        r = libflow_worker_flush(w);
        if (!w->current)
                (void) libflow_worker_listen(w);
        return r < 0 ? r : 0;
}

int flow_job_progress(FlowJob *job, double fraction, const char *message) {
        char text[WORKER_LOG_MAX];
        FrameWriter writer;
        int r;

        str_copy(text, sizeof(text), strempty(message));

        frame_writer_begin(&writer, job->worker->scratch, sizeof(job->worker->scratch));
        if (fraction >= 0) /* false for NaN too */
                frame_put_u32(&writer, FRAME_META_FRACTION, fraction < 1 ? (uint32_t) (fraction * 1e6) : 1000000U);
        r = job_report(job, &writer, FRAME_PROGRESS, text, text_clean(text));
        return r == -EAGAIN ? 0 : r;
}

int flow_job_logv(FlowJob *job, int level, const char *format, va_list ap) {
        char text[WORKER_LOG_MAX];
        FrameWriter writer;

        if (vsnprintf(text, sizeof(text), format, ap) < 0)
                return -EINVAL;
        frame_writer_begin(&writer, job->worker->scratch, sizeof(job->worker->scratch));
        frame_put_u8(&writer, FRAME_META_LEVEL, (uint8_t) (level & 7));
        return job_report(job, &writer, FRAME_LOG, text, text_clean(text));
}

int flow_job_log(FlowJob *job, int level, const char *format, ...) {
        va_list ap;
        int r;

        va_start(ap, format);
        r = flow_job_logv(job, level, format, ap);
        va_end(ap);
        return r;
}

void flow_job_alive(FlowJob *job) {
        FlowWorker *w = job->worker;
        uint64_t every = MIN(w->stream.heartbeat_usec / 4, (uint64_t) WORKER_ALIVE_USEC);

        if (w->stream.heartbeat_usec == 0 || w->error < 0 || now_usec() < w->last_sent + every)
                return;
        if (outq_empty(&w->stream.output) && libflow_stream_put_bare(&w->stream, FRAME_PONG, 0, 0) < 0)
                return;
        (void) libflow_worker_flush(w);
        if (!w->current)
                (void) libflow_worker_listen(w);
}

bool flow_job_cancelled(FlowJob *job) {
        FlowWorker *w = job->worker;
        uint64_t now = now_usec();

        if (job->cancelled || w->error < 0)
                return true;
        if (now < w->last_look + WORKER_LOOK_USEC)
                return false;
        w->last_look = now;
        int r = libflow_worker_receive(w);
        if (r < 0 && w->error >= 0)
                w->error = r;
        if (!outq_empty(&w->stream.output))
                (void) libflow_worker_flush(w);
        flow_job_alive(job);
        if (!w->current)
                (void) libflow_worker_listen(w);
        return job->cancelled || w->error < 0;
}
