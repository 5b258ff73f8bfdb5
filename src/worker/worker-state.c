/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Workers and jobs across execve(). The process stays the same, so pids, descriptors, parenthood and monotonic times stay true; what has to
 * be carried over is what lay in memory: half-received messages, unsent output, who has which job, and since when.
 */

#include <errno.h>

#include "basic/fd.h"
#include "basic/state.h"
#include "worker/worker.h"

#define ROUTE_NUMBERS 10U /* of a JobRoute, a byte each */

uint64_t worker_type_fingerprint(const WorkerType *t) {
        uint64_t h = 0xcbf29ce484222325ULL ^ t->protocol ^ (uint64_t) t->slots << 8 ^ (uint64_t) t->uid << 32 ^ (uint64_t) t->mcp_era << 40 ^
                     (uint64_t) t->mcp_features << 44 ^ (uint64_t) t->for_session << 48;
        char *const *const lists[] = { t->exec, t->environment, t->pass_environment };

        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                for (size_t k = 0; lists[i] && lists[i][k]; k++)
                        for (const char *p = lists[i][k];; p++) {
                                h = (h ^ (unsigned char) *p) * 0x100000001b3ULL;
                                if (!*p)
                                        break;
                        }
        return h >> 1; /* fits a JSON integer */
}

static json_object *serialize_slot(StateWriter *sw, const WorkerSlot *s) {
        json_object *o = json_object_new_object();

        state_put_int(sw, o, "state", s->state);
        state_put_int(sw, o, "job", (int64_t) s->job_id);
        state_put_int(sw, o, "attempt", s->attempt);
        state_put_int(sw, o, "held", s->held != NULL);
        state_put_int(sw, o, "timed_out", s->timed_out);
        state_put_int(sw, o, "soft_told", s->soft_told);
        if (s->soft.armed)
                state_put_int(sw, o, "soft_until", (int64_t) s->soft.node.key);
        if (s->request > 0)
                state_put_int(sw, o, "request", (int64_t) s->request);
        if (s->timer.armed)
                state_put_int(sw, o, "until", (int64_t) s->timer.node.key);
        return o;
}

static void serialize_stream(StateWriter *sw, const FrameStream *s, json_object *o) {
        json_object *fds = json_object_new_array();

        state_put_int(sw, o, "body_max", (int64_t) s->body_max);
        state_put_int(sw, o, "memfd_max", (int64_t) s->memfd_max);
        if (s->end > s->start)
                state_put_bytes(sw, o, "bytes", s->buf + s->start, s->end - s->start);
        for (size_t i = 0; i < s->n_fds; i++) {
                json_object *e = json_object_new_object();

                state_put_fd(sw, e, "fd", s->fds[i]);
                (void) json_object_array_add(fds, e);
        }
        state_put_object(sw, o, "fds", fds);
        if (s->large) {
                json_object *l = json_object_new_object();
                uint8_t header[FRAME_HEADER_SIZE];

                frame_header_encode(&s->large_header, header);
                state_put_bytes(sw, l, "header", header, sizeof(header));
                state_put_bytes(sw, l, "meta", s->large_meta, s->large_header.meta);
                state_put_bytes(sw, l, "got", s->large_blob->data, s->large_got);
                state_put_object(sw, o, "large", l);
        }
}

void frame_stream_serialize(const FrameStream *s, StateWriter *sw, json_object *o) {
        json_object *m = json_object_new_object();

        serialize_stream(sw, s, m);
        state_put_object(sw, o, "stream", m);
}

static int deserialize_large(FrameStream *s, const StateReader *sr, const json_object *l) {
        const uint8_t *header, *meta, *got;
        size_t n_header, n_meta, n_got;

        if (!state_get_bytes(sr, l, "header", &header, &n_header) || !state_get_bytes(sr, l, "meta", &meta, &n_meta) ||
            !state_get_bytes(sr, l, "got", &got, &n_got) ||
            frame_header_decode(header, n_header, FRAME_BODY_MAX, &s->large_header) <= 0 || n_meta != s->large_header.meta ||
            n_got > s->large_header.body - n_meta)
                return -EBADMSG;
        s->large_blob = blob_new(s->large_header.body - n_meta);
        s->large_meta = malloc(n_meta + 1);
        if (!s->large_blob || !s->large_meta)
                return -ENOMEM;
        memcpy(s->large_meta, meta, n_meta);
        memcpy(s->large_blob->data, got, n_got);
        s->large_got = n_got;
        s->large = true;
        return 0;
}

int frame_stream_deserialize(FrameStream *s, const StateReader *sr, const json_object *o) {
        json_object *m = state_get_object(o, "stream"), *fds = state_get_object(m, "fds"), *l = state_get_object(m, "large");
        const uint8_t *bytes;
        size_t size;

        frame_stream_init(s, (size_t) state_get_int(m, "body_max"), (size_t) state_get_int(m, "memfd_max"));
        s->buf = malloc(FRAME_STREAM_BUFFER);
        if (!s->buf)
                return -ENOMEM;
        if (state_get_bytes(sr, m, "bytes", &bytes, &size)) {
                if (size > FRAME_STREAM_BUFFER)
                        return -EBADMSG;
                memcpy(s->buf, bytes, size);
                s->end = size;
        }
        for (size_t i = 0; fds && i < json_object_array_length(fds) && i < FRAME_STREAM_FDS; i++)
                s->fds[s->n_fds++] = state_get_fd(json_object_array_get_idx(fds, i), "fd");
        return l ? deserialize_large(s, sr, l) : 0;
}

/* What a running worker needs of the type that it was started from, should the new image have another one under that name. */
static void serialize_type(StateWriter *sw, json_object *o, const WorkerType *t) {
        json_object *m = json_object_new_object();

        state_put_int(sw, m, "protocol", t->protocol);
        state_put_int(sw, m, "output", t->output);
        state_put_int(sw, m, "ready_explicit", t->ready_explicit);
        state_put_int(sw, m, "mcp_era", t->mcp_era);
        state_put_int(sw, m, "mcp_features", t->mcp_features);
        state_put_int(sw, m, "for_session", t->for_session);
        state_put_int(sw, m, "slots", t->slots);
        state_put_int(sw, m, "start_timeout", (int64_t) t->start_timeout_usec);
        state_put_int(sw, m, "stop_timeout", (int64_t) t->stop_timeout_usec);
        state_put_int(sw, m, "job_timeout", (int64_t) t->job_timeout_usec);
        state_put_int(sw, m, "soft_timeout", (int64_t) t->soft_timeout_usec);
        state_put_int(sw, m, "cancel_timeout", (int64_t) t->cancel_timeout_usec);
        state_put_int(sw, m, "drain_timeout", (int64_t) t->drain_timeout_usec);
        state_put_int(sw, m, "heartbeat", (int64_t) t->heartbeat_usec);
        state_put_int(sw, m, "payload_max", (int64_t) t->payload_max);
        state_put_int(sw, m, "result_max", (int64_t) t->result_max);
        state_put_int(sw, m, "max_crashes", t->max_crashes);
        state_put_text(sw, m, "exec", t->exec ? t->exec[0] : "");
        state_put_object(sw, o, "type", m);
}

static WorkerType *deserialize_type(const char *name, const json_object *o) {
        _cleanup_(worker_type_unrefp) WorkerType *t = worker_type_new(name);
        const json_object *m = state_get_object(o, "type");

        if (!t || strv_append(&t->exec, strempty(state_get_text(m, "exec"))) < 0)
                return NULL;
        t->protocol = (Protocol) MIN((uint64_t) state_get_int(m, "protocol"), (uint64_t) _PROTOCOL_MAX - 1);
        t->output = (OutputKind) MIN((uint64_t) state_get_int(m, "output"), (uint64_t) _OUTPUT_MAX - 1);
        t->ready_explicit = state_get_int(m, "ready_explicit");
        t->mcp_era = (McpEra) MIN((uint64_t) state_get_int(m, "mcp_era"), (uint64_t) _MCP_ERA_MAX - 1);
        t->mcp_features = (unsigned) state_get_int(m, "mcp_features");
        t->for_session = state_get_int(m, "for_session");
        t->slots = (unsigned) MAX(MIN(state_get_int(m, "slots"), (int64_t) WORKER_SLOTS_MAX), (int64_t) 1);
        t->start_timeout_usec = (uint64_t) state_get_int(m, "start_timeout");
        t->stop_timeout_usec = (uint64_t) state_get_int(m, "stop_timeout");
        t->job_timeout_usec = (uint64_t) state_get_int(m, "job_timeout");
        t->soft_timeout_usec = state_get_object(m, "soft_timeout") ? (uint64_t) state_get_int(m, "soft_timeout") : USEC_INFINITY;
        t->cancel_timeout_usec = (uint64_t) state_get_int(m, "cancel_timeout");
        t->drain_timeout_usec = (uint64_t) state_get_int(m, "drain_timeout");
        t->heartbeat_usec = (uint64_t) state_get_int(m, "heartbeat");
        t->payload_max = (uint64_t) state_get_int(m, "payload_max");
        t->result_max = (uint64_t) state_get_int(m, "result_max");
        t->max_crashes = (unsigned) state_get_int(m, "max_crashes");
        return TAKE_PTR(t);
}

int worker_serialize(Worker *w, StateWriter *sw, json_object *o) {
        _cleanup_free_ uint8_t *out = NULL;
        json_object *slots = json_object_new_array();
        size_t n_out;
        int r;

        r = outq_copy(&w->out, &out, &n_out);
        if (r < 0) {
                json_object_put(slots);
                return r;
        }
        state_put_int(sw, o, "slot", w->slot_number);
        state_put_int(sw, o, "fingerprint", (int64_t) worker_type_fingerprint(w->type));
        serialize_type(sw, o, w->type);
        state_put_int(sw, o, "single_job", w->single_job);
        state_put_int(sw, o, "generation", (int64_t) w->generation);
        state_put_int(sw, o, "pid", w->pid);
        state_put_int(sw, o, "last_pid", w->last_pid);
        state_put_int(sw, o, "state", w->state);
        state_put_int(sw, o, "stop_step", w->stop_step);
        state_put_int(sw, o, "stop_wanted", w->stop_wanted);
        state_put_int(sw, o, "recycle", w->recycle);
        state_put_int(sw, o, "input_ended", w->input_ended);
        state_put_int(sw, o, "failed_start", w->failed_start);
        state_put_int(sw, o, "exit_code", w->exit_code);
        state_put_int(sw, o, "exit_status", w->exit_status);
        state_put_int(sw, o, "oom", w->oom);
        state_put_int(sw, o, "cause", w->cause);
        state_put_int(sw, o, "died_with", (int64_t) w->died_with);
        state_put_int(sw, o, "user", (int64_t) w->user_usec);
        state_put_int(sw, o, "system", (int64_t) w->system_usec);
        state_put_int(sw, o, "max_rss", (int64_t) w->max_rss);
        state_put_int(sw, o, "gone_since", (int64_t) w->gone_since);
        state_put_int(sw, o, "started", (int64_t) w->started_usec);
        state_put_int(sw, o, "ready", (int64_t) w->ready_usec);
        state_put_int(sw, o, "idle", (int64_t) w->idle_usec);
        state_put_int(sw, o, "done", (int64_t) w->jobs_done);
        state_put_int(sw, o, "jobs_max", (int64_t) w->jobs_max);
        state_put_int(sw, o, "retire", (int64_t) w->retire_usec);
        state_put_int(sw, o, "features", w->peer_features);
        state_put_int(sw, o, "frame_max", w->peer_frame_max);
        state_put_text(sw, o, "reason", w->reason);
        state_put_text(sw, o, "cgroup", w->cgroup_name);
        state_put_fd(sw, o, "pidfd", w->pidfd);
        state_put_fd(sw, o, "io", w->io.fd);
        state_put_fd(sw, o, "in", w->in.fd);
        state_put_fd(sw, o, "err", w->err.fd);
        state_put_fd(sw, o, "cgroup_fd", w->cgroup_fd);
        if (w->timer.armed)
                state_put_int(sw, o, "until", (int64_t) w->timer.node.key);
        if (n_out > 0)
                state_put_bytes(sw, o, "out", out, n_out);
        if (w->type->protocol == PROTOCOL_FRAME)
                frame_stream_serialize(&w->stream, sw, o);
        else if (w->used > 0)
                state_put_bytes(sw, o, "buffer", w->buffer, w->used);
        _cleanup_free_ char *tail = worker_stderr_tail(w, STDERR_TAIL_SIZE);
        if (tail && *tail)
                state_put_text(sw, o, "tail", tail);
        if (w->line_used > 0)
                state_put_bytes(sw, o, "line", w->line, w->line_used);
        state_put_bytes(sw, o, "recent", w->recent, sizeof(w->recent));
        state_put_int(sw, o, "n_slots", w->n_slots);
        for (unsigned i = 0; i < w->n_slots; i++)
                if (w->slots[i].state != SLOT_FREE)
                        (void) json_object_array_add(slots, serialize_slot(sw, &w->slots[i]));
        state_put_object(sw, o, "slots", slots);
        if (w->protocol->serialize)
                w->protocol->serialize(w, sw, o);
        return sw->error;
}

static int restore_buffers(Worker *w, const StateReader *sr, const json_object *o) {
        const char *tail = state_get_text(o, "tail");
        const uint8_t *p;
        size_t n;

        if (state_get_bytes(sr, o, "out", &p, &n) && outq_bytes(&w->out, p, n) < 0)
                return -ENOMEM;
        if (w->type->protocol == PROTOCOL_FRAME) {
                int r = frame_stream_deserialize(&w->stream, sr, o);

                if (r < 0)
                        return r;
        } else if (state_get_bytes(sr, o, "buffer", &p, &n)) {
                w->buffer = malloc(n + 4096);
                if (!w->buffer)
                        return -ENOMEM;
                memcpy(w->buffer, p, n);
                w->used = n;
                w->room = n + 4096;
                w->scanned = 0;
        }
        if (state_get_bytes(sr, o, "recent", &p, &n) && n == sizeof(w->recent))
                memcpy(w->recent, p, n);
        if (tail && (w->tail = malloc(STDERR_TAIL_SIZE))) {
                w->tail_used = MIN(strlen(tail), (size_t) STDERR_TAIL_SIZE);
                memcpy(w->tail, tail, w->tail_used);
        }
        if (state_get_bytes(sr, o, "line", &p, &n) && n <= 2048 && (w->line = malloc(2048))) {
                memcpy(w->line, p, n);
                w->line_used = n;
        }
        return 0;
}

static void restore_slots(Worker *w, const json_object *slots, Job *(*find_job)(void *, uint64_t), void *userdata) {
        for (size_t i = 0; slots && i < json_object_array_length(slots) && i < w->n_slots; i++) {
                json_object *e = json_object_array_get_idx(slots, i);
                WorkerSlot *s = &w->slots[i];

                s->job_id = (uint64_t) state_get_int(e, "job");
                s->attempt = (uint32_t) state_get_int(e, "attempt");
                s->timed_out = state_get_int(e, "timed_out");
                worker_soft_restore(s, state_get_int(e, "soft_told"), (uint64_t) state_get_int(e, "soft_until"));
                s->request = (uint64_t) state_get_int(e, "request");
                s->state = state_get_int(e, "state") == SLOT_RUNNING ? SLOT_RUNNING : SLOT_FENCED;
                if (s->state == SLOT_RUNNING) {
                        Job *j = find_job(userdata, s->job_id);

                        if (j) {
                                s->job = job_ref(j);
                                j->worker = w;
                                j->pool = w->pool;
                                j->pool_name = w->pool_name;
                                j->state = JOB_RUNNING;
                                w->n_running++;
                        } else
                                s->state = SLOT_FENCED; /* nobody knows the job any more: its answer will be dropped */
                }
                if (s->state == SLOT_FENCED)
                        w->n_fenced++;
                if (s->state == SLOT_FENCED && state_get_int(e, "held")) {
                        s->held = job_ref(find_job(userdata, s->job_id));
                        if (s->held)
                                s->held->recording = true; /* until the slot is free */
                }
                if (state_get_object(e, "until"))
                        timer_arm(&w->host->timers, &s->timer, (uint64_t) state_get_int(e, "until"));
        }
}

static void restore_fields(Worker *w, const json_object *o) {
        w->generation = (uint64_t) state_get_int(o, "generation");
        w->pid = (pid_t) state_get_int(o, "pid");
        w->last_pid = (pid_t) state_get_int(o, "last_pid");
        w->state = (WorkerState) MIN((uint64_t) state_get_int(o, "state"), (uint64_t) WORKER_STOPPING);
        w->stop_step = (unsigned) state_get_int(o, "stop_step");
        w->stop_wanted = state_get_int(o, "stop_wanted");
        w->recycle = state_get_int(o, "recycle");
        w->input_ended = state_get_int(o, "input_ended");
        w->failed_start = state_get_int(o, "failed_start");
        w->exit_code = (int) state_get_int(o, "exit_code");
        w->exit_status = (int) state_get_int(o, "exit_status");
        w->oom = (CgroupOom) MIN((uint64_t) state_get_int(o, "oom"), (uint64_t) CGROUP_OOM_OUTER);
        w->cause = (WorkerCause) MIN((uint64_t) state_get_int(o, "cause"), (uint64_t) _CAUSE_MAX - 1);
        w->died_with = (uint64_t) state_get_int(o, "died_with");
        w->user_usec = (uint64_t) state_get_int(o, "user");
        w->system_usec = (uint64_t) state_get_int(o, "system");
        w->max_rss = (uint64_t) state_get_int(o, "max_rss");
        w->gone_since = (uint64_t) state_get_int(o, "gone_since");
        w->started_usec = (uint64_t) state_get_int(o, "started");
        w->ready_usec = (uint64_t) state_get_int(o, "ready");
        w->idle_usec = (uint64_t) state_get_int(o, "idle");
        w->jobs_done = (uint64_t) state_get_int(o, "done");
        w->jobs_max = (uint64_t) state_get_int(o, "jobs_max");
        w->retire_usec = (uint64_t) state_get_int(o, "retire");
        w->peer_features = (uint32_t) state_get_int(o, "features");
        w->peer_frame_max = (uint32_t) state_get_int(o, "frame_max");
        w->pidfd = state_get_fd(o, "pidfd");
        w->io.fd = state_get_fd(o, "io");
        w->in.fd = state_get_fd(o, "in");
        w->err.fd = state_get_fd(o, "err");
        w->cgroup_fd = state_get_fd(o, "cgroup_fd");
        if (state_get_text(o, "reason"))
                w->reason = strdup(state_get_text(o, "reason"));
        if (state_get_text(o, "cgroup"))
                w->cgroup_name = strdup(state_get_text(o, "cgroup"));
}

int worker_deserialize(const WorkerSpec *spec, const StateReader *sr, const json_object *o, Job *(*find_job)(void *userdata, uint64_t id),
                       void *userdata, Worker **ret) {
        _cleanup_(worker_type_unrefp) WorkerType *was = NULL;
        WorkerSpec s = *spec;
        Host *h = spec->host;
        Worker *w;
        int r;

        if ((uint64_t) state_get_int(o, "fingerprint") != worker_type_fingerprint(spec->type)) {
                was = deserialize_type(spec->type->name, o); /* it goes on as what it was, and is replaced */
                if (!was)
                        return -ENOMEM;
                s.type = was;
        }
        s.slot_number = (unsigned) state_get_int(o, "slot");
        s.single_job = state_get_int(o, "single_job");
        w = worker_alloc(&s);
        if (!w)
                return -ENOMEM;
        /* it may have been started with more slots than its type has now */
        unsigned n = (unsigned) state_get_int(o, "n_slots");
        if (n > 0 && n <= w->n_slots)
                w->n_slots = n;
        restore_fields(w, o);
        w->recycle |= was != NULL;
        r = restore_buffers(w, sr, o);
        if (r >= 0 && w->exit_code == 0 && w->pid > 0)
                r = map_add(&h->by_pid, &w->by_pid, (uint64_t) w->pid);
        if (r >= 0 && !w->input_ended && w->io.fd >= 0)
                r = hot_watch(&h->hot, &w->io, EPOLLIN);
        if (r >= 0 && w->err.fd >= 0)
                r = hot_watch(&h->hot, &w->err, EPOLLIN);
        if (r < 0) {
                worker_free(w);
                return r;
        }
        restore_slots(w, state_get_object(o, "slots"), find_job, userdata);
        if (w->protocol->deserialize) {
                r = w->protocol->deserialize(w, sr, o);
                if (r < 0) {
                        worker_free(w);
                        return r;
                }
        }
        if (state_get_object(o, "until"))
                timer_arm(&h->timers, &w->timer, (uint64_t) state_get_int(o, "until"));
        if (w->type->heartbeat_usec > 0 && w->type->protocol == PROTOCOL_FRAME && w->state != WORKER_STARTING)
                timer_arm(&h->timers, &w->heartbeat, now_usec() + w->type->heartbeat_usec);
        if (!outq_empty(&w->out) || (w->type->protocol == PROTOCOL_EXEC && w->in.fd >= 0 && w->n_running > 0))
                worker_flush_later(w);
        *ret = w;
        return 0;
}

/* --- jobs --- */

void job_serialize(Job *j, StateWriter *sw, json_object *o) {
        state_put_int(sw, o, "id", (int64_t) j->id);
        state_put_int(sw, o, "state", j->state);
        state_put_text(sw, o, "pool", j->pool_name);
        state_put_text(sw, o, "method", j->method);
        state_put_text(sw, o, "session", j->session);
        state_put_text(sw, o, "key", j->key);
        state_put_text(sw, o, "trace", j->trace);
        if (j->route.routed) {
                const uint8_t numbers[ROUTE_NUMBERS] = {
                        j->route.tier, j->route.chosen, j->route.why, j->route.strategy, j->route.affinity, j->route.typed, j->route.n_chain,
                        j->route.chain[0], j->route.chain[1], j->route.chain[2],
                };

                state_put_bytes(sw, o, "route", numbers, sizeof(numbers));
                state_put_text(sw, o, "route_attempts", j->route.attempts);
        }
        state_put_blob(sw, o, "payload", j->payload);
        state_put_int(sw, o, "payload_size", (int64_t) j->payload_size);
        state_put_int(sw, o, "kind", j->kind);
        state_put_int(sw, o, "deadline", (int64_t) j->deadline_usec);
        state_put_int(sw, o, "timeout", (int64_t) j->timeout_usec);
        state_put_int(sw, o, "priority", j->priority);
        state_put_int(sw, o, "attempts", j->attempts);
        state_put_int(sw, o, "crashes", j->crashes);
        state_put_int(sw, o, "detached", j->detached);
        state_put_int(sw, o, "uid", j->uid);
        state_put_int(sw, o, "accepted", (int64_t) j->accepted_usec);
        state_put_int(sw, o, "accepted_real", (int64_t) j->accepted_real_usec);
        state_put_int(sw, o, "dispatched", (int64_t) j->dispatched_usec);
        state_put_int(sw, o, "finished", (int64_t) j->finished_usec);
        state_put_int(sw, o, "progress", j->progress);
        state_put_text(sw, o, "progress_text", j->progress_text);
        state_put_text(sw, o, "ran_on", j->ran_on);
        state_put_int(sw, o, "result_kind", j->result_kind);
        state_put_int(sw, o, "cache", j->cache);
        state_put_int(sw, o, "accept", j->accept);
        state_put_int(sw, o, "leading", j->leading && !j->unkept); /* else nobody comes to it there either */
        state_put_int(sw, o, "renewal", j->renewal);
        state_put_blob(sw, o, "result", j->result);
        state_put_text(sw, o, "error", j->error);
        state_put_text(sw, o, "code", j->code);
        state_put_int(sw, o, "retry", j->retry);
        state_put_int(sw, o, "failures", j->failures);
        state_put_int(sw, o, "own_retries", j->own_retries);
        state_put_int(sw, o, "retries", j->retries);
        state_put_int(sw, o, "retry_usec", (int64_t) j->retry_usec);
        state_put_int(sw, o, "not_before", (int64_t) j->not_before_usec);
        state_put_int(sw, o, "durability", j->durability);
        state_put_int(sw, o, "stored", j->stored);
        state_put_int(sw, o, "cancel_wanted", j->cancel_wanted);
        state_put_int(sw, o, "affinity", j->affinity);
        state_put_int(sw, o, "queue_timeout", (int64_t) j->queue_timeout_usec);
        if (j->state == JOB_QUEUED && !j->waiting) {
                state_put_int(sw, o, "queued", (int64_t) j->queued_usec);
                state_put_int(sw, o, "queue_until", (int64_t) j->queue_until);
        }
}

/* The codes are constants of this image. */
const char *job_known_code(const char *s) {
        static const char *const codes[] = { "Failed",         "Timeout",    "Cancelled",       "Refused",        "Crashed",
                                             "ResultTooLarge", "NotCarried", "PoolUnavailable", "PayloadTooLarge", "PayloadDamaged",
                                             "QueueTimeout",   "LimitReached", "SessionRequired", "ToolError", "RpcError" };

        for (size_t i = 0; s && i < ELEMENTSOF(codes); i++)
                if (streq(codes[i], s))
                        return codes[i];
        return NULL;
}

static int get_text(const json_object *o, const char *key, char **ret) {
        const char *s = state_get_text(o, key);

        if (s && !(*ret = strdup(s)))
                return -ENOMEM;
        return 0;
}

static void route_restore(const StateReader *sr, const json_object *o, JobRoute *ret) {
        const uint8_t *n;
        size_t size;

        if (!state_get_bytes(sr, o, "route", &n, &size) || size != ROUTE_NUMBERS || n[6] > ELEMENTSOF(ret->chain))
                return;
        ret->routed = true;
        ret->tier = n[0];
        ret->chosen = n[1];
        ret->why = n[2];
        ret->strategy = n[3];
        ret->affinity = n[4];
        ret->typed = n[5];
        ret->n_chain = n[6];
        memcpy(ret->chain, n + 7, sizeof(ret->chain));
}

int job_deserialize(const StateReader *sr, const json_object *o, Job **ret) {
        _cleanup_(job_unrefp) Job *j = job_new();

        if (!j)
                return -ENOMEM;
        j->id = (uint64_t) state_get_int(o, "id");
        j->state = (JobState) state_get_int(o, "state");
        if (j->id == 0 || (unsigned) j->state >= _JOB_STATE_MAX)
                return -EBADMSG;
        if (get_text(o, "method", &j->method) < 0 || get_text(o, "session", &j->session) < 0 || get_text(o, "key", &j->key) < 0 ||
            get_text(o, "trace", &j->trace) < 0 || get_text(o, "route_attempts", &j->route.attempts) < 0 ||
            get_text(o, "progress_text", &j->progress_text) < 0 || get_text(o, "error", &j->error) < 0)
                return -ENOMEM;
        j->payload = state_get_blob(sr, o, "payload");
        if (!j->payload && state_get_object(o, "payload"))
                return -ENOMEM;
        j->payload_size = (size_t) state_get_int(o, "payload_size");
        j->kind = (PayloadKind) state_get_int(o, "kind");
        j->deadline_usec = (uint64_t) state_get_int(o, "deadline");
        j->timeout_usec = (uint64_t) state_get_int(o, "timeout");
        j->priority = (int32_t) state_get_int(o, "priority");
        j->attempts = (uint32_t) state_get_int(o, "attempts");
        j->crashes = (uint32_t) state_get_int(o, "crashes");
        j->detached = state_get_int(o, "detached");
        j->uid = (uid_t) state_get_int(o, "uid");
        j->accepted_usec = (uint64_t) state_get_int(o, "accepted");
        j->accepted_real_usec = (uint64_t) state_get_int(o, "accepted_real");
        j->dispatched_usec = (uint64_t) state_get_int(o, "dispatched");
        j->finished_usec = (uint64_t) state_get_int(o, "finished");
        j->progress = (uint32_t) state_get_int(o, "progress");
        str_copy(j->ran_on, sizeof(j->ran_on), strempty(state_get_text(o, "ran_on")));
        j->result_kind = (PayloadKind) state_get_int(o, "result_kind");
        j->result = state_get_blob(sr, o, "result");
        if (job_ended(j))
                j->cache = (FrameCache) MIN((uint64_t) state_get_int(o, "cache"), (uint64_t) _FRAME_CACHE_MAX - 1);
        j->accept = (uint8_t) state_get_int(o, "accept");
        j->leading = state_get_int(o, "leading");
        j->renewal = state_get_int(o, "renewal");
        j->code = job_known_code(state_get_text(o, "code"));
        j->retry = state_get_int(o, "retry");
        j->failures = (uint32_t) state_get_int(o, "failures");
        j->own_retries = state_get_int(o, "own_retries");
        j->retries = (uint32_t) state_get_int(o, "retries");
        j->retry_usec = (uint64_t) state_get_int(o, "retry_usec");
        j->not_before_usec = (uint64_t) state_get_int(o, "not_before");
        j->durability = (Durability) MIN((uint64_t) state_get_int(o, "durability"), (uint64_t) _DURABLE_MAX - 1);
        j->stored = state_get_int(o, "stored");
        route_restore(sr, o, &j->route);
        j->cancel_wanted = state_get_int(o, "cancel_wanted");
        j->affinity = (FrameAffinity) MIN((uint64_t) state_get_int(o, "affinity"), (uint64_t) _FRAME_AFFINITY_MAX - 1);
        j->queue_timeout_usec = (uint64_t) state_get_int(o, "queue_timeout");
        j->queued_usec = (uint64_t) state_get_int(o, "queued");
        j->queue_until = (uint64_t) state_get_int(o, "queue_until");
        *ret = TAKE_PTR(j);
        return 0;
}
