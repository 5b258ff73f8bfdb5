/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Executable tasks as jobs. An activated task becomes a durable job with a key of its own, made of its session, its number and its run: so a task that
 * was about to be submitted when flowd died is submitted again, and if the job was recorded after all, the answer is that job. A task is
 * therefore never done twice. Its progress is the task's momentum, its end the task's end; between the two the store may have the one and not
 * the other, and then the job's record decides.
 *
 * A job that no pool takes now blocks its task, which makes room for others, and is tried again after FLOW_RETRY_USEC.
 */

#include <errno.h>

#include "basic/fault.h"
#include "flow/internal.h"
#include "flow/plan.h"
#include "pool/durable.h"

#define PRIORITY_STEP 10

void run_free(FlowRun *r) {
        list_remove(&r->watch.link);
        list_remove(&r->link);
        if (r->task) {
                flow_session_running(r->task->session, r->task, false);
                r->task->run = NULL;
        }
        job_unref(r->job);
        free(r);
}

/* ---- payloads */

typedef struct Text {
        char *data;
        size_t size, room;
} Text;

static int append(Text *t, const char *s, size_t n) {
        if (t->size + n + 1 > t->room) {
                size_t room = MAX(t->room * 2, t->size + n + 1);
                char *data = realloc(t->data, room);

                if (!data)
                        return -ENOMEM;
                t->data = data;
                t->room = room;
        }
        if (n > 0)
                memcpy(t->data + t->size, s, n);
        t->size += n;
        t->data[t->size] = 0;
        return 0;
}

/* A dependency by the name that the payload has for it; in a merged session the name may have got that of its first session in front. */
static const FlowTask *find_need(const FlowTask *t, const char *id) {
        size_t l = strlen(id);

        for (size_t i = 0; i < t->n_needs; i++)
                if (streq(t->needs[i]->id, id))
                        return t->needs[i];
        for (size_t i = 0; i < t->n_needs; i++) {
                size_t k = strlen(t->needs[i]->id);

                if (k > l + 1 && t->needs[i]->id[k - l - 1] == '.' && streq(t->needs[i]->id + k - l, id))
                        return t->needs[i];
        }
        return NULL;
}

/* A result as it stands in a payload: in a JSON payload a text is escaped, as it stands between quotes; other JSON stands as it is. */
static int append_result(Text *out, const FlowTask *on, PayloadKind kind, char **reterr) {
        if (!on->result_kept) {
                /* it failed, and the policy is to go on; or it is too large to be kept */
                if (on->state == TASK_COMPLETED && on->work && on->result_size > 0) {
                        *reterr = str_printf("the result of task %s has %zu bytes, more than the %u that can stand in a payload", on->id, on->result_size,
                                             FLOW_RESULT_MAX);
                        return -EMSGSIZE;
                }
                return 0;
        }
        if (kind != PAYLOAD_JSON || on->result_kind == PAYLOAD_JSON)
                return append(out, on->result, on->result_size);
        if (!utf8_valid(on->result, on->result_size)) {
                *reterr = str_printf("the result of task %s is no UTF-8 and cannot stand in JSON", on->id);
                return -EINVAL;
        }
        json_object *text = json_object_new_string_len(on->result, (int) on->result_size);
        const char *escaped = text ? json_object_to_json_string_ext(text, JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;
        int r = escaped ? append(out, escaped + 1, strlen(escaped) - 2) : -ENOMEM;
        json_object_put(text);
        return r;
}

static int make_payload(const FlowTask *t, Text *out, char **reterr) {
        const FlowWork *w = t->work;
        size_t at = 0, from, done = 0;
        char id[FLOW_ID_MAX + 1];
        int r = append(out, NULL, 0);

        while (r >= 0 && plan_reference(w->payload, w->payload_size, &at, &from, id)) {
                const FlowTask *on = find_need(t, id);

                r = append(out, w->payload + done, from - done);
                if (r >= 0 && on)
                        r = append_result(out, on, w->kind, reterr);
                done = on ? at : from; /* what is no dependency stays as it is written */
        }
        if (r >= 0)
                r = append(out, w->payload + done, w->payload_size - done);
        if (r >= 0 && out->size > FLOW_PAYLOAD_MAX) {
                *reterr = str_printf("with the results in it its payload has %zu bytes, more than %u", out->size, FLOW_PAYLOAD_MAX);
                r = -EMSGSIZE;
        }
        return r;
}

static Job *make_job(const FlowTask *t, const Text *payload) {
        static const int32_t priorities[_FLOW_PRIORITY_MAX] = { PRIORITY_STEP, 0, -PRIORITY_STEP };
        _cleanup_(job_unrefp) Job *j = job_new();
        const FlowWork *w = t->work;

        if (!j)
                return NULL;
        j->kind = w->kind;
        j->payload = blob_new_copy(payload->data, payload->size);
        j->payload_size = payload->size;
        j->method = w->method ? strdup(w->method) : NULL;
        j->session = strdup(t->session->id);
        j->key = str_printf("flow:%llu:%llu:%u:%llu", (unsigned long long) t->session->number, (unsigned long long) t->seq, t->runs,
                            (unsigned long long) t->created_usec);
        if (!j->payload || !j->session || !j->key || (w->method && !j->method))
                return NULL;
        j->timeout_usec = w->timeout_usec;
        j->own_retries = w->retries >= 0;
        j->retries = w->retries >= 0 ? (uint32_t) w->retries : 0;
        j->priority = priorities[t->priority];
        j->uid = t->session->uid;
        j->detached = true;
        j->durability = DURABLE_YES;
        return TAKE_PTR(j);
}

/* ---- ends */

static int keep_result(FlowTask *t, const Job *j) {
        const uint8_t *data;

        t->result_size = blob_size(j->result);
        t->result_kind = j->result_kind;
        if (j->result_dropped || t->result_size > FLOW_RESULT_MAX)
                return 0;
        t->result = malloc(t->result_size + 1);
        if (!t->result || (t->result_size > 0 && blob_data(j->result, &data) < 0)) {
                free(t->result);
                t->result = NULL;
                return -ENOMEM;
        }
        if (t->result_size > 0)
                memcpy(t->result, data, t->result_size);
        t->result[t->result_size] = 0;
        t->result_kept = true;
        return 0;
}

static void tell_failure(Flow *f, const FlowTask *t, const char *why) {
        EventFields fields = { .job = t->job_id, .session = t->session->id };

        event_send(f->host, EVENT_FLOW_FAILED, &fields, "Task %s of session %s has failed: %s", t->id, t->session->id, why);
}

static void fail(Flow *f, FlowTask *t, const char *why) {
        char *refusal = NULL;

        (void) flow_session_fail(t->session, t, why, realtime_usec(), &refusal);
        free(refusal);
        tell_failure(f, t, why);
}

/* The job has ended, now or in an earlier run of flowd. */
static void ended(Flow *f, FlowTask *t, const Job *j) {
        _cleanup_free_ char *why = NULL, *text = NULL;
        FlowSession *s = t->session;
        uint64_t now = realtime_usec();

        (void) fault_point("flow-ended");
        if (task_ended(t))
                return;
        if (j->state == JOB_COMPLETED) {
                if (keep_result(t, j) < 0)
                        log_write(f->host->log, LOG_ERR, "Session %s: out of memory, the result of task %s is not kept with it", s->id, t->id);
                (void) flow_session_complete(s, t, now, &why);
                (void) flow_session_log(s, t, "completed", j->ran_on[0] ? j->ran_on : NULL, now);
        } else if (j->state == JOB_CANCELLED) {
                (void) flow_session_cancel(s, t, "its job was cancelled", now, &why);
                (void) flow_session_log(s, t, "cancelled", "its job was cancelled", now);
        } else {
                text = str_printf("%s%s%s", j->state == JOB_FAILED ? "" : job_state_to_string(j->state), j->state == JOB_FAILED ? "" : ": ",
                                  j->error ? j->error : j->code ? j->code : "no reason was given");
                (void) flow_session_log(s, t, "failed", text, now);
                fail(f, t, strna(text));
        }
}

static void on_accepted(JobWatch *w, Job *j) {
        FlowRun *r = CONTAINER_OF(w, FlowRun, watch);

        if (!r->task)
                return;
        r->task->job_id = j->id;
        flow_session_touch(r->task->session, r->task, false);
        flow_changed(r->flow, r->task->session, NULL);
}

static void on_progress(JobWatch *w, Job *j, uint32_t millionths, const char *text, size_t size) {
        FlowRun *r = CONTAINER_OF(w, FlowRun, watch);

        (void) j;
        (void) text;
        (void) size;
        if (!r->task)
                return;
        flow_session_progress(r->task->session, r->task, millionths / 100, realtime_usec());
        flow_moved(r->flow, r->task->session);
}

static void on_end(JobWatch *w, Job *j) {
        FlowRun *r = CONTAINER_OF(w, FlowRun, watch);
        FlowTask *t = r->task;
        Flow *f = r->flow;

        if (!t) {
                run_free(r);
                return;
        }
        t->job_id = j->id;
        _cleanup_(job_unrefp) Job *held = job_ref(j);
        run_free(r);
        ended(f, t, held);
        flow_changed(f, t->session, NULL);
}

/* ---- beginnings */

/* It was not taken, for now. */
static void refuse(FlowTask *t, const char *why) {
        char *refusal = NULL;
        Kept *k = kept_of(t->session);

        (void) flow_session_block(t->session, t, why, realtime_usec(), &refusal);
        free(refusal);
        t->refused = true;
        k->n_refused++;
        if (k->retry_usec == 0)
                k->retry_usec = now_usec() + FLOW_RETRY_USEC;
        flow_session_touch(t->session, t, false);
}

static void attach(Flow *f, FlowTask *t, uint64_t id);

static void on_refused(JobWatch *w, Job *j, const JobRefusal *refusal) {
        FlowRun *r = CONTAINER_OF(w, FlowRun, watch);
        FlowTask *t = r->task;
        Flow *f = r->flow;

        (void) j;
        run_free(r);
        if (!t)
                return;
        if (refusal->duplicate_of > 0)
                attach(f, t, refusal->duplicate_of);
        else
                refuse(t, refusal->text ? refusal->text : refusal->code);
        flow_changed(f, t->session, NULL);
}

static FlowRun *run_new(Flow *f, FlowTask *t, Job *j) {
        FlowRun *r = new0(FlowRun, 1);

        if (!r)
                return NULL;
        r->watch = (JobWatch) { .accepted = on_accepted, .refused = on_refused, .progress = on_progress, .end = on_end };
        list_init(&r->watch.link);
        list_append(&f->runs, &r->link);
        r->flow = f;
        r->task = t;
        r->job = job_ref(j);
        t->run = r;
        flow_session_running(t->session, t, true);
        if (j)
                list_append(&j->watches, &r->watch.link);
        return r;
}

/* Only the store knows the job, if anybody does. */
static void on_found(StoreRequest *req) {
        FlowRun *r = req->userdata;
        FlowTask *t = r->task;
        Flow *f = r->flow;
        Job *live;
        int k;

        run_free(r);
        if (!t) {
                store_request_free(req);
                return;
        }
        _cleanup_(job_unrefp) Job *j = NULL;
        k = req->error >= 0 ? durable_ended(&req->record, &j) : req->error;
        if (k >= 0)
                ended(f, t, j);
        else if (k == -EAGAIN && (live = f->ops->find(f->userdata, t->job_id)))
                (void) run_new(f, t, live);
        else if (k == -ENOENT)
                fail(f, t, "its job is not known any more: it was removed from the store before its end was seen");
        else
                refuse(t, "its job cannot be looked up now");
        store_request_free(req);
        flow_changed(f, t->session, NULL);
}

static void look_up(Flow *f, FlowTask *t, uint64_t id) {
        FlowRun *r = run_new(f, t, NULL);
        StoreRequest *req = r ? store_request_new(STORE_OP_GET, on_found, r) : NULL;

        if (!req) {
                if (r)
                        run_free(r);
                refuse(t, "out of memory");
                return;
        }
        req->id = id;
        req->want = STORE_WANT_RESULT;
        store_submit(f->store, req);
}

/* Goes on with a job that the task has already. */
static void attach(Flow *f, FlowTask *t, uint64_t id) {
        Job *j = f->ops->find(f->userdata, id);

        t->job_id = id;
        flow_session_touch(t->session, t, false);
        if (!j || job_ended(j))
                look_up(f, t, id);
        else if (!run_new(f, t, j))
                refuse(t, "out of memory");
}

static void submit(Flow *f, FlowTask *t) {
        _cleanup_free_ char *why = NULL;
        _cleanup_(job_unrefp) Job *j = NULL;
        Text payload = {};
        FlowRun *run;
        int r;

        r = make_payload(t, &payload, &why);
        j = r >= 0 ? make_job(t, &payload) : NULL;
        free(payload.data);
        if (r == -EMSGSIZE || r == -EINVAL) {
                fail(f, t, strna(why));
                return;
        }
        run = j ? run_new(f, t, j) : NULL;
        if (!run) {
                refuse(t, "out of memory");
                return;
        }
        (void) fault_point("flow-run");
        r = f->ops->submit(f->userdata, j, t->work->pool, t->work->tier, &why);
        if (r >= 0)
                return;
        run_free(run);
        if (r == -EMSGSIZE)
                fail(f, t, strna(why));
        else
                refuse(t, why ? why : strerror(-r));
}

void run_fresh(Flow *f, FlowSession *s) {
        List *l;

        while (kept_of(s)->n_refused < FLOW_REFUSED_MAX && (l = list_first(&s->fresh))) {
                FlowTask *t = list_entry(l, FlowTask, fresh_link);

                list_remove(l);
                if (t->run || !task_loads(t))
                        continue;
                t->refused = false;
                if (t->job_id > 0)
                        attach(f, t, t->job_id);
                else
                        submit(f, t);
        }
}

void run_ended(Flow *f, FlowSession *s) {
        LIST_FOREACH(l, &s->dirty) {
                FlowTask *t = list_entry(l, FlowTask, dirty_link);
                FlowRun *r = t->run;

                if (!r || !task_ended(t))
                        continue;
                flow_session_running(s, t, false);
                t->run = NULL;
                r->task = NULL;
                if (!r->job) /* the store answers, and nobody listens */
                        continue;
                _cleanup_(job_unrefp) Job *j = job_ref(r->job);
                run_free(r);
                f->ops->cancel(f->userdata, j);
        }
}

/* Wakes at most `max` of those with numbers from..to. Returns how many they were. */
static unsigned wake_refused(FlowSession *s, uint64_t from, uint64_t to, unsigned max, uint64_t now) {
        unsigned n = 0;

        for (List *l = s->tasks.next; l != &s->tasks && n < max; l = l->next) {
                FlowTask *t = list_entry(l, FlowTask, link);
                char *why = NULL;

                if (t->seq < from || t->seq > to || !t->refused || t->state != TASK_BLOCKED)
                        continue;
                n++;
                kept_of(s)->retried_seq = t->seq;
                (void) flow_session_wake_task(s, t, now, &why);
                free(why);
        }
        return n;
}

void run_retry(FlowSession *s, uint64_t now) {
        Kept *k = kept_of(s);
        uint64_t last = k->retried_seq;
        unsigned n;

        k->n_refused = 0;
        n = wake_refused(s, last + 1, UINT64_MAX, FLOW_RETRIED_MAX, now);
        n += wake_refused(s, 0, last, FLOW_RETRIED_MAX - n, now);
        if (n == FLOW_RETRIED_MAX) /* there may be more of them */
                k->retry_usec = now_usec() + FLOW_RETRY_USEC;
}
