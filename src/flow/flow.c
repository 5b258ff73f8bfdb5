/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The room. Sessions live in memory and in the store; memory is ahead of the store by what was asked for in this round of the loop. Each change of a
 * session is one request, and a request is one transaction's all or nothing; whoever asked for the change is answered when it is committed.
 * Changes are taken while the store takes durable jobs. What follows from jobs that were accepted (their ends) is always taken: the store keeps
 * it until its disk works again.
 *
 * A change that the store refuses as stale (the session was lost, or is older than we know, because of damage) is followed by the whole session.
 * Across a re-exec nothing is carried over: the store has everything, since a re-exec waits until it has nothing in hand.
 */

#include <errno.h>

#include "flow/internal.h"
#include "flow/json.h"
#include "flow/record.h"

#define PRUNE_MAX 16U /* archived sessions that are removed in one round of the loop */

static void on_flush(Defer *d);
static void on_time(Timer *t);
static void on_lazy(Timer *t);

/* ---- writing */

typedef struct FlowWrite {
        List link;
        Flow *flow;
        List calls;        /* to be answered */
        char *session;     /* its id */
} FlowWrite;

static void answer(List *calls, int error, const char *why) {
        List *l;

        while ((l = list_first(calls))) {
                FlowCall *c = list_entry(l, FlowCall, link);

                list_remove(l);
                if (error < 0) {
                        json_object_put(c->result);
                        c->result = NULL;
                        c->error = "StoreUnavailable";
                        c->message = str_printf("the change could not be stored: %s", why ? why : strerror(-error));
                }
                c->done(c);
        }
}

static void write_free(FlowWrite *w) {
        list_remove(&w->link);
        free(w->session);
        free(w);
}

static void on_written(StoreRequest *r) {
        FlowWrite *w = r->userdata;
        FlowSession *s = flow_find(w->flow, w->session);
        Flow *f = w->flow;
        int error = r->error;

        if (error == -ESTALE && s) { /* those who wait, wait for the whole */
                Kept *k = kept_of(s);
                List *l;

                k->whole = true;
                while ((l = list_first(&w->calls))) {
                        list_remove(l);
                        list_append(&k->calls, l);
                }
                if (!list_linked(&k->dirty_link))
                        list_append(&f->dirty, &k->dirty_link);
                hot_defer(&f->host->hot, &f->flush);
        } else {
                if (error < 0 && error != -ECANCELED)
                        log_write(f->host->log, LOG_ERR, "Session %s: a change could not be stored: %s", w->session, r->text ? r->text : strerror(-error));
                answer(&w->calls, error, r->text);
        }
        store_request_free(r);
        write_free(w);
}

/* `change` is taken over. `lazy`: nobody waits. */
static int submit_change(Flow *f, const char *session, FlowChange *change, List *calls, bool lazy) {
        FlowWrite *w = new0(FlowWrite, 1);
        StoreRequest *r = w ? store_request_new(STORE_OP_FLOW, on_written, w) : NULL;

        if (!r || !(w->session = strdup(session))) {
                flow_change_free(change);
                store_request_free(r);
                free(w);
                return -ENOMEM;
        }
        w->flow = f;
        list_init(&w->calls);
        list_append(&f->requests, &w->link);
        for (List *l; calls && (l = list_first(calls));) {
                list_remove(l);
                list_append(&w->calls, l);
        }
        r->flow = change;
        r->lazy = lazy;
        r->sync = !lazy;
        store_submit(f->store, r);
        return 0;
}

static int write_session(Flow *f, Kept *k) {
        FlowChange *change;
        int r;

        if (!f->store)
                return -EAGAIN;
        r = record_change(k->session, k->whole, &change);
        if (r < 0)
                return r;
        k->whole = false;
        if (change)
                change->next = TAKE_PTR(k->others);
        if (!change) { /* nothing has changed; but what was asked for before is perhaps not stored yet */
                if (list_empty(&k->calls))
                        return 0;
                flow_session_touch(k->session, NULL, false);
                return write_session(f, k);
        }
        r = submit_change(f, k->session->id, change, &k->calls, list_empty(&k->calls));
        if (r < 0)
                k->whole = true; /* the rows are lost: all of them are written next time */
        return r;
}

static void flush(Flow *f) {
        List *l;

        while ((l = list_first(&f->dirty))) {
                Kept *k = list_entry(l, Kept, dirty_link);

                list_remove(l);
                timer_disarm(&f->host->timers, &k->lazy);
                if (write_session(f, k) < 0) {
                        answer(&k->calls, -ENOMEM, f->store ? NULL : "flowd has no store now");
                        timer_arm(&f->host->timers, &k->lazy, now_usec() + FLOW_RETRY_USEC);
                }
                if (f->ops->changed)
                        f->ops->changed(f->userdata, k->session->id);
        }
}

/* Removes the archived session that has not changed for the longest time. */
static bool drop_oldest(Flow *f) {
        FlowSession *oldest = NULL;

        LIST_FOREACH(l, &f->sessions) {
                FlowSession *s = list_entry(l, FlowSession, link);

                if (s->archived && s->n_running == 0 && (!oldest || s->updated_usec < oldest->updated_usec))
                        oldest = s;
        }
        if (oldest)
                flow_drop(f, oldest);
        return oldest != NULL;
}

/* Of those that are archived no more are kept than there may be others. Where the limit was lowered they are many, and go little by little. */
static void prune(Flow *f) {
        for (unsigned n = 0; n < PRUNE_MAX && f->n_archived > f->config.sessions_max && flow_accepts(f, NULL); n++)
                if (!drop_oldest(f))
                        break;
}

static void on_flush(Defer *d) {
        Flow *f = CONTAINER_OF(d, Flow, flush);

        flush(f);
        prune(f);
}

static void make_dirty(Flow *f, Kept *k) {
        if (!list_linked(&k->dirty_link))
                list_append(&f->dirty, &k->dirty_link);
        hot_defer(&f->host->hot, &f->flush);
}

static void on_lazy(Timer *t) {
        Kept *k = CONTAINER_OF(t, Kept, lazy);

        make_dirty(k->flow, k);
}

/* ---- time */

/* When it is archived, or removed, for not having changed. */
static uint64_t expiry(const Flow *f, const FlowSession *s) {
        return s->n_running > 0 || f->config.expire_usec > USEC_INFINITY - s->updated_usec ? USEC_INFINITY : s->updated_usec + f->config.expire_usec;
}

static void arm(Flow *f, Kept *k) {
        uint64_t now = realtime_usec(), next = flow_session_next(k->session), end = expiry(f, k->session);

        if (end <= now && !flow_accepts(f, NULL)) /* it is due, and cannot be stored now */
                end = now + FLOW_RETRY_USEC;
        next = MIN(next, end);
        if (next != USEC_INFINITY)
                next = now_usec() + (next > now ? next - now : 0);
        if (k->retry_usec > 0)
                next = MIN(next, k->retry_usec);
        timer_arm(&f->host->timers, &k->timer, next);
}

void flow_changed(Flow *f, FlowSession *s, FlowCall *call) {
        Kept *k = kept_of(s);

        flow_session_settle(s, realtime_usec());
        /* A job that cannot be submitted makes room, so there may be more to dispatch. */
        for (;;) {
                run_ended(f, s);
                if (list_empty(&s->fresh) || f->stopping || k->n_refused >= FLOW_REFUSED_MAX)
                        break;
                run_fresh(f, s);
                flow_session_settle(s, realtime_usec());
        }
        if (call)
                list_append(&k->calls, &call->link);
        make_dirty(f, k);
        arm(f, k);
}

void flow_moved(Flow *f, FlowSession *s) {
        Kept *k = kept_of(s);

        if (!k->lazy.armed && !list_linked(&k->dirty_link))
                timer_arm(&f->host->timers, &k->lazy, now_usec() + FLOW_LAZY_USEC);
}

static void on_time(Timer *t) {
        Kept *k = CONTAINER_OF(t, Kept, timer);
        FlowSession *s = k->session;
        Flow *f = k->flow;
        uint64_t now = realtime_usec();

        if (k->retry_usec > 0 && now_usec() >= k->retry_usec) {
                k->retry_usec = 0;
                run_retry(s, now);
        }
        if (now >= expiry(f, s) && flow_accepts(f, NULL)) {
                if (s->archived) {
                        flow_drop(f, s);
                        return;
                }
                flow_session_archive(s, now);
                f->n_archived++;
        }
        flow_changed(f, s, NULL);
}

/* ---- the sessions */

FlowSession *flow_find(const Flow *f, const char *id) {
        return map_get_name(&f->by_id, id, FlowSession, by_id);
}

unsigned flow_sessions(const Flow *f) {
        return f->n_sessions - f->n_archived;
}

List *flow_session_list(Flow *f) {
        return &f->sessions;
}

uint64_t flow_list_version(const Flow *f) {
        /* the first only grows; while it stands, the second only falls; while that stands, the third only grows */
        return (f->last_number * UINT64_C(0x100000001b3) + f->n_sessions) * UINT64_C(0x100000001b3) + f->n_archived;
}

int flow_keep(Flow *f, FlowSession *s) {
        Kept *k = new0(Kept, 1);

        if (!k || map_add_name(&f->by_id, &s->by_id, s->id) < 0) {
                free(k);
                flow_session_free(s);
                return -ENOMEM;
        }
        if (s->number == 0) {
                s->number = ++f->last_number;
                k->whole = true;
        }
        k->flow = f;
        k->session = s;
        k->timer.fire = on_time;
        k->lazy.fire = on_lazy;
        list_init(&k->dirty_link);
        list_init(&k->calls);
        s->userdata = k;
        list_append(&f->sessions, &s->link);
        f->n_sessions++;
        f->n_archived += s->archived;
        return 0;
}

/* Out of memory, not out of the store. */
static void forget(Flow *f, FlowSession *s) {
        Kept *k = kept_of(s);

        LIST_FOREACH_SAFE(l, n, &f->runs) {
                FlowRun *r = list_entry(l, FlowRun, link);

                if (!r->task || r->task->session != s)
                        continue;
                if (r->job)
                        run_free(r);
                else { /* the store answers yet */
                        r->task->run = NULL;
                        r->task = NULL;
                }
        }
        answer(&k->calls, -ECANCELED, NULL);
        timer_disarm(&f->host->timers, &k->timer);
        timer_disarm(&f->host->timers, &k->lazy);
        list_remove(&k->dirty_link);
        map_remove(&f->by_id, &s->by_id);
        list_remove(&s->link);
        f->n_sessions--;
        f->n_archived -= s->archived;
        flow_change_free(k->others);
        free(k);
        flow_session_free(s);
}

int flow_merged(Flow *f, FlowSession *into, FlowSession *from) {
        FlowChange *gone;

        if (record_gone(from, &gone) < 0)
                return -ENOMEM;
        gone->next = kept_of(into)->others;
        kept_of(into)->others = gone;
        kept_of(into)->retry_usec = MAX(kept_of(into)->retry_usec, kept_of(from)->retry_usec);
        if (f->ops->changed)
                f->ops->changed(f->userdata, from->id);
        forget(f, from);
        return 0;
}

void flow_drop(Flow *f, FlowSession *s) {
        FlowChange *change;

        if (record_gone(s, &change) < 0 || submit_change(f, s->id, change, NULL, true) < 0)
                log_write(f->host->log, LOG_ERR, "Session %s: out of memory, it comes back when flowd is restarted", s->id);
        if (f->ops->changed)
                f->ops->changed(f->userdata, s->id);
        forget(f, s);
}

bool flow_accepts(const Flow *f, const char **ret_why) {
        const char *why = NULL;

        if (f->stopping)
                why = "flowd is stopping";
        else if (!f->store)
                why = "sessions need the store: set Store=yes";
        else if (!store_accepts(f->store, &why))
                ;
        else if (!f->loaded)
                why = "the sessions of the run before could not be loaded yet";
        if (why && ret_why)
                *ret_why = why;
        return !why;
}

/* ---- loading */

typedef struct Loading {
        Flow *flow;
        FlowSession *session; /* whose rows are being read */
        RecordTasks tasks;
        List sessions;        /* that are read */
        uint64_t last_number;
        unsigned bad, lost;
} Loading;

static void finish_session(Loading *l) {
        unsigned lost = 0;

        if (!l->session)
                return;
        if (record_finish(l->session, &l->tasks, &lost) < 0) {
                l->bad++;
                l->session = flow_session_free(l->session);
        } else
                list_append(&l->sessions, &l->session->link);
        l->session = NULL;
        l->lost += lost;
        record_tasks_done(&l->tasks);
}

static int on_session(FlowSessionRow *r, void *userdata) {
        Loading *l = userdata;
        int k;

        finish_session(l);
        l->last_number = MAX(l->last_number, r->number);
        k = record_session(r, &l->flow->config.limits, &l->flow->index, &l->session);
        if (k == -EBADMSG) { /* what cannot be ours is left where it is */
                l->bad++;
                return 0;
        }
        return k;
}

static int on_task(FlowTaskRow *r, void *userdata) {
        Loading *l = userdata;
        int k = l->session ? record_task(&l->tasks, r) : 0;

        l->lost += k == -EBADMSG;
        return k == -EBADMSG ? 0 : k;
}

static int on_entry(FlowEntryRow *r, void *userdata) {
        Loading *l = userdata;
        int k = l->session ? record_entry(l->session, r) : 0;

        return k == -EBADMSG ? 0 : k;
}

static void on_again(void *userdata) {
        Loading *l = userdata;
        List *n;

        l->session = flow_session_free(l->session);
        record_tasks_done(&l->tasks);
        while ((n = list_first(&l->sessions))) {
                list_remove(n);
                flow_session_free(list_entry(n, FlowSession, link));
        }
        l->bad = l->lost = 0;
}

static int take_session(Flow *f, FlowSession *s) {
        int r;

        list_remove(&s->link);
        if (flow_find(f, s->id)) {
                flow_session_free(s);
                return -EBADMSG;
        }
        r = flow_keep(f, s);
        if (r < 0)
                return r;
        LIST_FOREACH(l, &s->tasks) { /* what is active has a job, or was about to have one */
                FlowTask *t = list_entry(l, FlowTask, link);

                if (t->work && task_loads(t))
                        list_append(&s->fresh, &t->fresh_link);
                if (t->refused && t->state == TASK_BLOCKED)
                        kept_of(s)->retry_usec = now_usec() + FLOW_RETRY_USEC;
                if (!task_ended(t)) /* a dependency may have ended in a commit that was the last one before a damage */
                        flow_session_begin(s, t, realtime_usec());
        }
        flow_changed(f, s, NULL);
        return 0;
}

/* Damage may have taken rows that nobody would write again. */
static void rewrite(Flow *f) {
        bool damaged = store_health(f->store) == STORE_DAMAGED;

        if (damaged && !f->rewritten)
                LIST_FOREACH(l, &f->sessions) {
                        Kept *k = kept_of(list_entry(l, FlowSession, link));

                        k->whole = true;
                        make_dirty(f, k);
                }
        f->rewritten = damaged;
}

int flow_load(Flow *f, Store *store) {
        static const FlowSink sink = { on_session, on_task, on_entry, on_again };
        Loading l = { .flow = f };
        List *n;
        int r;

        f->store = store;
        if (!store)
                return 0;
        if (f->loaded) {
                rewrite(f);
                return 0;
        }
        list_init(&l.sessions);
        r = store_load_flow(store, &sink, &l);
        if (r <= 0) {
                on_again(&l);
                return r;
        }
        r = 0;
        finish_session(&l);
        f->loaded = true;
        f->last_number = l.last_number;
        while ((n = list_first(&l.sessions)) && r >= 0) {
                r = take_session(f, list_entry(n, FlowSession, link));
                if (r == -EBADMSG) {
                        l.bad++;
                        r = 0;
                }
        }
        if (l.bad + l.lost > 0)
                log_write(f->host->log, LOG_ERR, "%u stored sessions, and %u tasks or dependencies of others, cannot be read and are left out", l.bad, l.lost);
        on_again(&l);
        return r;
}

/* ---- the room as a whole */

void flow_config_default(FlowConfig *c) {
        *c = (FlowConfig) { .sessions_max = 1000, .tasks_max = 20000, .expire_usec = 30 * 86400 * USEC_PER_SEC };
        flow_thresholds_default(&c->limits);
}

int flow_new(Host *host, const FlowConfig *config, const FlowOps *ops, void *userdata, Flow **ret) {
        Flow *f = new0(Flow, 1);

        if (!f)
                return -ENOMEM;
        f->host = host;
        f->ops = ops;
        f->userdata = userdata;
        f->config = *config;
        f->flush.run = on_flush;
        list_init(&f->flush.link);
        list_init(&f->sessions);
        list_init(&f->dirty);
        list_init(&f->requests);
        list_init(&f->runs);
        map_init(&f->by_id, random_u64());
        flow_index_init(&f->index);
        *ret = f;
        return 0;
}

void flow_configure(Flow *f, const FlowConfig *config) {
        f->config = *config;
        LIST_FOREACH(l, &f->sessions) {
                FlowSession *s = list_entry(l, FlowSession, link);

                if (kept_of(s)->retry_usec > 0) { /* the pool that was missing may be there now */
                        kept_of(s)->retry_usec = 0;
                        run_retry(s, realtime_usec());
                }
                flow_changed(f, s, NULL);
        }
}

void flow_flush(Flow *f) {
        LIST_FOREACH(l, &f->sessions) { /* progress does not wait any longer */
                Kept *k = kept_of(list_entry(l, FlowSession, link));

                if (k->lazy.armed)
                        make_dirty(f, k);
        }
        flush(f);
}

bool flow_pending(const Flow *f) {
        return !list_empty(&f->dirty);
}

void flow_stop(Flow *f) {
        f->stopping = true;
        flow_flush(f);
}

Flow *flow_free(Flow *f) {
        List *l;

        if (!f)
                return NULL;
        while ((l = list_first(&f->requests))) { /* their completions come no more */
                FlowWrite *w = list_entry(l, FlowWrite, link);

                answer(&w->calls, -ECANCELED, NULL);
                write_free(w);
        }
        hot_undefer(&f->flush);
        while ((l = list_first(&f->sessions)))
                forget(f, list_entry(l, FlowSession, link));
        while ((l = list_first(&f->runs)))
                run_free(list_entry(l, FlowRun, link));
        map_done(&f->by_id);
        flow_index_done(&f->index);
        free(f);
        return NULL;
}
