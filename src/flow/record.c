/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rows. What seldom changes about a session or a task is one text, and what a pulse changes another, so that a change writes little. Both
 * are JSON; what is missing in one has its neutral value, so that a later version can add to them. Counts, heaps and edges are not stored:
 * they follow from the tasks.
 */

#include <errno.h>

#include "flow/json.h"
#include "flow/record.h"

/* ---- to rows */

static char *text_of(json_object *o) {
        char *text = strdup(json_plain(o));

        json_object_put(o);
        return text;
}

static char *flow_session_body(const FlowSession *s) {
        json_object *o = json_object_new_object();

        put_text(o, "id", s->id);
        put_int(o, "uid", s->uid);
        put_text(o, "purpose", s->purpose);
        put_text(o, "context", s->context);
        put_text(o, "todos", s->todos);
        put_text(o, "recommendations", s->recommendations);
        put_text(o, "meta", s->meta);
        put_int(o, "policy", s->policy);
        put_int(o, "created", s->created_usec);
        return text_of(o);
}

static char *flow_session_moving(const FlowSession *s) {
        json_object *o = json_object_new_object();
        char detector[DETECTOR_TEXT_MAX];

        detector_format(&s->detector, detector);
        put_text(o, "detector", detector);
        put_bool(o, "rest", s->rest_mode);
        if (s->rest_mode && s->rest_until != USEC_INFINITY)
                put_int(o, "rest_until", s->rest_until);
        put_bool(o, "archived", s->archived);
        put_int(o, "updated", s->updated_usec);
        put_int(o, "next_seq", s->next_seq);
        put_int(o, "next_entry", s->next_entry);
        return text_of(o);
}

static char *task_body(const FlowTask *t) {
        json_object *o = json_object_new_object(), *needs = json_object_new_array();

        put_text(o, "id", t->id);
        put_text(o, "description", t->description);
        put_text(o, "notes", t->notes);
        put_text(o, "context", t->context);
        put_text(o, "parent", t->parent);
        put_int(o, "weight", t->weight);
        put_int(o, "priority", t->priority);
        if (t->own_policy)
                put_int(o, "policy", t->policy);
        put_int(o, "created", t->created_usec);
        for (size_t i = 0; i < t->n_needs; i++)
                json_object_array_add(needs, json_object_new_int64((int64_t) t->needs[i]->seq));
        json_object_object_add(o, "needs", needs);
        if (t->work) {
                json_object *w = json_object_new_object();

                put_text(w, "pool", t->work->pool);
                put_text(w, "tier", t->work->tier);
                put_text(w, "method", t->work->method);
                put_int(w, "kind", t->work->kind);
                put_text(w, "payload", t->work->payload);
                put_int(w, "timeout", t->work->timeout_usec);
                json_object_object_add(w, "retries", json_object_new_int64(t->work->retries));
                json_object_object_add(o, "work", w);
        }
        return text_of(o);
}

static char *task_moving(const FlowTask *t) {
        json_object *o = json_object_new_object();

        put_int(o, "state", t->state);
        put_int(o, "momentum", t->momentum);
        put_int(o, "stalls", t->stalls);
        put_bool(o, "finished", t->finished);
        put_bool(o, "umbrella", t->umbrella);
        put_text(o, "error", t->error);
        put_int(o, "activated", t->activated_usec);
        put_int(o, "ended", t->ended_usec);
        put_int(o, "job", t->job_id);
        put_int(o, "runs", t->runs);
        put_int(o, "result_kind", t->result_kind);
        put_int(o, "result_size", t->result_size);
        put_bool(o, "refused", t->refused);
        return text_of(o);
}

static char *entry_body(const FlowEntry *e) {
        json_object *o = json_object_new_object();

        put_int(o, "usec", e->usec);
        put_text(o, "task", e->task);
        put_text(o, "action", e->action);
        put_text(o, "details", e->details);
        return text_of(o);
}

static int fill_task(const FlowSession *s, const FlowTask *t, bool whole, FlowTaskRow *r) {
        *r = (FlowTaskRow) { .session = s->number, .seq = t->seq, .moving = task_moving(t) };
        if (!r->moving)
                return -ENOMEM;
        if ((whole || t->dirty_body || !t->stored) && !(r->body = task_body(t)))
                return -ENOMEM;
        if (!t->result_kept || !(whole || task_ended(t))) /* it comes with the end, and stays */
                return 0;
        r->result = malloc(t->result_size + 1);
        if (!r->result)
                return -ENOMEM;
        memcpy(r->result, t->result, t->result_size);
        r->result_size = t->result_size;
        r->has_result = true;
        return 0;
}

static int fill_entries(const FlowSession *s, bool whole, FlowChange *c) {
        for (List *l = s->log.prev; l != &s->log; l = l->prev) { /* the new ones are the last */
                const FlowEntry *e = list_entry(l, FlowEntry, link);

                if (e->stored && !whole)
                        break;
                c->n_entries++;
        }
        c->entries = new0(FlowEntryRow, c->n_entries + 1);
        if (!c->entries)
                return -ENOMEM;
        size_t i = c->n_entries;
        for (List *l = s->log.prev; i > 0; l = l->prev) {
                const FlowEntry *e = list_entry(l, FlowEntry, link);

                c->entries[--i] = (FlowEntryRow) { .session = s->number, .number = e->number, .body = entry_body(e) };
                if (!c->entries[i].body)
                        return -ENOMEM;
        }
        const FlowEntry *first = list_first_entry(&s->log, FlowEntry, link);
        if (first && c->n_entries > 0)
                c->entries_from = first->number;
        return 0;
}

static int fill(const FlowSession *s, bool whole, FlowChange *c) {
        size_t n = 0;
        int r = 0;

        c->session = (FlowSessionRow) { .number = s->number, .revision = s->revision + 1, .moving = flow_session_moving(s) };
        c->base = whole ? 0 : s->revision;
        if (!c->session.moving || ((whole || s->dirty_body) && !(c->session.body = flow_session_body(s))))
                return -ENOMEM;
        if (whole)
                n = s->n_tasks;
        else
                LIST_FOREACH(l, (List *) &s->dirty)
                        n++;
        c->tasks = new0(FlowTaskRow, n + 1);
        if (!c->tasks)
                return -ENOMEM;
        LIST_FOREACH(l, (List *) (whole ? &s->tasks : &s->dirty)) {
                const FlowTask *t = whole ? list_entry(l, FlowTask, link) : list_entry(l, FlowTask, dirty_link);

                r = fill_task(s, t, whole, &c->tasks[c->n_tasks++]);
                if (r < 0)
                        return r;
        }
        return fill_entries(s, whole, c);
}

int record_change(FlowSession *s, bool whole, FlowChange **ret) {
        FlowChange *c;
        List *l;

        *ret = NULL;
        if (!s->dirty_head && list_empty(&s->dirty) && !whole)
                return 0;
        c = new0(FlowChange, 1);
        if (!c || fill(s, whole, c) < 0) {
                flow_change_free(c);
                return -ENOMEM;
        }
        s->revision++;
        s->dirty_head = s->dirty_body = false;
        while ((l = list_first(&s->dirty))) {
                FlowTask *t = list_entry(l, FlowTask, dirty_link);

                list_remove(l);
                t->dirty_body = false;
                t->stored = true;
        }
        for (l = s->log.prev; l != &s->log && !list_entry(l, FlowEntry, link)->stored; l = l->prev)
                list_entry(l, FlowEntry, link)->stored = true;
        *ret = c;
        return 0;
}

int record_gone(const FlowSession *s, FlowChange **ret) {
        FlowChange *c = new0(FlowChange, 1);

        if (!c)
                return -ENOMEM;
        c->session.number = s->number;
        c->gone = true;
        *ret = c;
        return 0;
}

/* ---- back */

#define ROW_DEPTH_MAX 8U

static int parse(const char *text, json_object **ret) {
        if (!text || json_parse(text, strlen(text), ROW_DEPTH_MAX, ret) < 0)
                return -EBADMSG;
        if (json_object_is_type(*ret, json_type_object))
                return 0;
        json_object_put(*ret);
        *ret = NULL;
        return -EBADMSG;
}

static int take(json_object *o, const char *key, char **ret) {
        const char *s = get_text(o, key);

        if (!s)
                return 0;
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

static int number(json_object *o, const char *key, uint64_t max, uint64_t *ret) {
        int64_t v = get_int(o, key);

        if (v < 0 || (uint64_t) v > max)
                return -EBADMSG;
        *ret = (uint64_t) v;
        return 0;
}

int record_session(const FlowSessionRow *r, const FlowThresholds *limits, FlowIndex *index, FlowSession **ret) {
        _cleanup_(flow_session_freep) FlowSession *s = NULL;
        _cleanup_json_ json_object *body = NULL, *moving = NULL;
        uint64_t uid, policy, created;
        const char *id, *detector;
        int k;

        if (parse(r->body, &body) < 0 || parse(r->moving, &moving) < 0)
                return -EBADMSG;
        id = get_text(body, "id");
        detector = get_text(moving, "detector");
        if (!id || !name_valid(id) || !detector || number(body, "uid", UINT32_MAX, &uid) < 0 || number(body, "policy", _FLOW_POLICY_MAX - 1, &policy) < 0 ||
            number(body, "created", INT64_MAX, &created) < 0)
                return -EBADMSG;
        k = flow_session_new(id, (uid_t) uid, limits, index, created, &s);
        if (k < 0)
                return k;
        s->number = r->number;
        s->revision = r->revision;
        s->policy = (FlowPolicy) policy;
        if (take(body, "purpose", &s->purpose) < 0 || take(body, "context", &s->context) < 0 || take(body, "todos", &s->todos) < 0 ||
            take(body, "recommendations", &s->recommendations) < 0 || take(body, "meta", &s->meta) < 0)
                return -ENOMEM;
        if (detector_parse(detector, &s->detector) < 0 || number(moving, "updated", INT64_MAX, &s->updated_usec) < 0 ||
            number(moving, "next_seq", INT64_MAX, &s->next_seq) < 0 || number(moving, "next_entry", INT64_MAX, &s->next_entry) < 0 ||
            number(moving, "rest_until", INT64_MAX, &s->rest_until) < 0)
                return -EBADMSG;
        s->rest_mode = get_bool(moving, "rest");
        if (s->rest_mode && s->rest_until == 0)
                s->rest_until = USEC_INFINITY;
        s->archived = get_bool(moving, "archived");
        s->dirty_head = s->dirty_body = false;
        *ret = TAKE_PTR(s);
        return 0;
}

static int read_work(json_object *o, FlowWork **ret) {
        FlowWork *w = new0(FlowWork, 1);
        uint64_t kind;

        *ret = w;
        if (!w || take(o, "pool", &w->pool) < 0 || take(o, "tier", &w->tier) < 0 || take(o, "method", &w->method) < 0)
                return -ENOMEM;
        if (number(o, "kind", _PAYLOAD_KIND_MAX - 1, &kind) < 0 || number(o, "timeout", INT64_MAX, &w->timeout_usec) < 0)
                return -EBADMSG;
        w->kind = (PayloadKind) kind;
        w->retries = get_int(o, "retries");
        json_object *payload = get_member(o, "payload");
        if (!payload || !json_object_is_type(payload, json_type_string))
                return -EBADMSG;
        w->payload = strdup(json_object_get_string(payload));
        w->payload_size = w->payload ? strlen(w->payload) : 0;
        return w->payload ? 0 : -ENOMEM;
}

static int read_task(FlowTask *t, json_object *body, json_object *moving) {
        uint64_t weight, priority, policy, state, momentum, stalls, runs, kind;
        json_object *work = get_member(body, "work");

        if (number(body, "weight", FLOW_WEIGHT_MAX, &weight) < 0 || weight == 0 || number(body, "priority", _FLOW_PRIORITY_MAX - 1, &priority) < 0 ||
            number(body, "policy", _FLOW_POLICY_MAX - 1, &policy) < 0 || number(moving, "state", _TASK_STATE_MAX - 1, &state) < 0 ||
            number(moving, "momentum", MOMENTUM_FULL, &momentum) < 0 || number(moving, "stalls", UINT32_MAX, &stalls) < 0 ||
            number(moving, "runs", UINT32_MAX, &runs) < 0 || number(moving, "result_kind", _PAYLOAD_KIND_MAX - 1, &kind) < 0 ||
            number(body, "created", INT64_MAX, &t->created_usec) < 0 || number(moving, "activated", INT64_MAX, &t->activated_usec) < 0 ||
            number(moving, "ended", INT64_MAX, &t->ended_usec) < 0 || number(moving, "job", INT64_MAX, &t->job_id) < 0)
                return -EBADMSG;
        t->weight = (unsigned) weight;
        t->priority = (FlowPriority) priority;
        t->own_policy = get_member(body, "policy") != NULL;
        t->policy = (FlowPolicy) policy;
        t->state = (TaskState) state;
        t->momentum = (unsigned) momentum;
        t->stalls = (unsigned) stalls;
        t->runs = (uint32_t) runs;
        t->result_kind = (PayloadKind) kind;
        t->finished = get_bool(moving, "finished");
        t->umbrella = get_bool(moving, "umbrella");
        t->refused = get_bool(moving, "refused");
        t->result_size = (size_t) MAX(get_int(moving, "result_size"), 0);
        t->stored = true;
        if (take(body, "id", &t->id) < 0 || take(body, "description", &t->description) < 0 || take(body, "notes", &t->notes) < 0 ||
            take(body, "context", &t->context) < 0 || take(body, "parent", &t->parent) < 0 || take(moving, "error", &t->error) < 0)
                return -ENOMEM;
        if (!t->id || !t->description || !name_valid(t->id))
                return -EBADMSG;
        return work ? read_work(work, &t->work) : 0;
}

int record_task(RecordTasks *all, FlowTaskRow *r) {
        _cleanup_(flow_task_freep) FlowTask *t = new0(FlowTask, 1);
        _cleanup_json_ json_object *body = NULL, *moving = NULL;
        int k;

        if (!t)
                return -ENOMEM;
        if (all->n == all->room) {
                size_t room = MAX(all->room * 2, (size_t) 64);
                FlowTask **tasks = reallocarray(all->tasks, room, sizeof(*tasks));
                char **bodies;

                if (!tasks)
                        return -ENOMEM;
                all->tasks = tasks;
                bodies = reallocarray(all->bodies, room, sizeof(*bodies));
                if (!bodies)
                        return -ENOMEM;
                all->bodies = bodies;
                all->room = room;
        }
        if (parse(r->body, &body) < 0 || parse(r->moving, &moving) < 0)
                return -EBADMSG;
        t->seq = r->seq;
        k = read_task(t, body, moving);
        if (k < 0)
                return k;
        if (r->has_result) {
                t->result = TAKE_PTR(r->result);
                t->result_size = r->result_size;
                t->result_kept = true;
        }
        all->bodies[all->n] = TAKE_PTR(r->body);
        all->tasks[all->n++] = TAKE_PTR(t);
        return 0;
}

int record_entry(FlowSession *s, const FlowEntryRow *r) {
        _cleanup_json_ json_object *o = NULL;
        uint64_t next = s->next_entry, usec;
        const char *action, *task;
        int k;

        if (parse(r->body, &o) < 0 || !(action = get_text(o, "action")) || number(o, "usec", INT64_MAX, &usec) < 0)
                return -EBADMSG;
        k = flow_session_log(s, NULL, action, get_text(o, "details"), usec);
        s->next_entry = next; /* it has its number already */
        if (k < 0)
                return k;
        FlowEntry *e = list_entry(s->log.prev, FlowEntry, link);
        task = get_text(o, "task");
        if (task && !(e->task = strdup(task)))
                return -ENOMEM;
        e->number = r->number;
        e->stored = true;
        return 0;
}

/* By its number, in an array that is in the order of numbers. */
static FlowTask *by_seq(const RecordTasks *all, uint64_t seq) {
        size_t low = 0, high = all->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (all->tasks[middle]->seq == seq)
                        return all->tasks[middle];
                if (all->tasks[middle]->seq < seq)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NULL;
}

static int link_needs(const RecordTasks *all, size_t i, unsigned *lost) {
        _cleanup_json_ json_object *body = NULL;
        json_object *needs;
        int r;

        if (parse(all->bodies[i], &body) < 0)
                return -EBADMSG;
        needs = get_member(body, "needs");
        for (size_t k = 0; k < get_length(needs); k++) {
                FlowTask *on = by_seq(all, (uint64_t) json_object_get_int64(json_object_array_get_idx(needs, k)));

                if (!on || on == all->tasks[i]) {
                        ++*lost;
                        continue;
                }
                r = graph_link(all->tasks[i], on);
                if (r < 0)
                        return r;
        }
        return 0;
}

int record_finish(FlowSession *s, RecordTasks *all, unsigned *ret_lost) {
        unsigned lost = 0;
        int r = 0;

        for (size_t i = 0; i < all->n && r >= 0; i++) {
                all->tasks[i]->session = s; /* its policy is asked for by those that depend on it, which may be inserted before it */
                r = link_needs(all, i, &lost);
        }
        for (size_t i = 0; i < all->n && r >= 0; i++) {
                FlowTask *t = all->tasks[i];

                if (flow_session_find(s, t->id))
                        return -EBADMSG;
                r = flow_session_insert(s, t);
                if (r >= 0)
                        all->tasks[i] = NULL; /* the session's, now */
                s->next_seq = MAX(s->next_seq, t->seq + 1);
        }
        s->dirty_head = s->dirty_body = false;
        *ret_lost = lost;
        return r;
}

void record_tasks_done(RecordTasks *all) {
        for (size_t i = 0; i < all->n; i++) {
                free(all->bodies[i]);
                flow_task_free(all->tasks[i]);
        }
        free(all->bodies);
        free(all->tasks);
        *all = (RecordTasks) {};
}
