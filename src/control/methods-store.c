/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The methods that are about what is stored: jobs that have ended, the store itself, the cache. Jobs that live, and those that were never
 * durable, are in memory and are asked for there first; a durable one that has ended is known to the store only.
 */

#include <errno.h>
#include <stdio.h>

#include "control/internal.h"
#include "pool/durable.h"
#include "store/cache.h"

#define JOBS_LISTED_DEFAULT 100
#define JOBS_LISTED_MAX ((int64_t) STORE_LIST_MAX)
#define PURGE_IDS_MAX STORE_LIST_MAX
#define CACHE_LISTED_DEFAULT 100

/* --- lists of jobs --- */

/* The newest jobs that match, of any number that is looked at. */
typedef struct Picked {
        const Job **jobs;
        size_t n, limit;
        uint64_t above; /* only ids above it can be among them */
} Picked;

static int newest_first(const void *a, const void *b) {
        const Job *x = *(const Job *const *) a, *y = *(const Job *const *) b;

        return x->id > y->id ? -1 : x->id < y->id;
}

static bool matches(const Job *j, const StoreFilter *f) {
        return (f->state < 0 || (int) j->state == f->state) && (!f->pool || streq_ptr(f->pool, j->pool_name)) &&
               (!f->method || streq_ptr(f->method, j->method)) && (!f->session || streq_ptr(f->session, j->session)) &&
               (f->before_id == 0 || j->id < f->before_id) && (f->since_usec == 0 || j->id >= job_id_at(f->since_usec));
}

static void cut_picked(Picked *p) {
        qsort(p->jobs, p->n, sizeof(*p->jobs), newest_first);
        if (p->n >= p->limit) {
                p->n = p->limit;
                p->above = p->jobs[p->limit - 1]->id;
        }
}

/* Lists are about in the order of ids, so from their ends on most of what is old is passed over at once. */
static void pick(Picked *p, const List *jobs, const StoreFilter *f) {
        for (const List *l = jobs->prev; l != jobs; l = l->prev) {
                const Job *j = list_entry(l, Job, table_link);

                if (j->id <= p->above || !matches(j, f))
                        continue;
                p->jobs[p->n++] = j;
                if (p->n == 2 * p->limit)
                        cut_picked(p);
        }
}

/* Those in memory, newest first. Returns an array, or NULL when out of memory. */
static json_object *list_memory(Server *s, const StoreFilter *f) {
        Picked p = { .jobs = new0(const Job *, 2 * (size_t) f->limit), .limit = f->limit };
        json_object *a;

        if (!p.jobs)
                return NULL;
        pick(&p, &s->jobs->live, f);
        pick(&p, &s->jobs->results, f);
        pick(&p, &s->jobs->ended, f);
        cut_picked(&p);
        a = json_object_new_array();
        for (size_t i = 0; i < p.n; i++)
                json_object_array_add(a, object_of_job(s->router, p.jobs[i]));
        free(p.jobs);
        return a;
}

static void reply_jobs(ControlClient *c, json_object *jobs) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "jobs", jobs);
        control_reply(c, o, false);
}

static uint64_t listed_id(json_object *jobs, size_t i) {
        json_object *o = json_object_array_get_idx(jobs, i), *v;
        uint64_t id = 0;

        if (o && json_object_object_get_ex(o, "id", &v))
                (void) job_id_parse(json_object_get_string(v), &id);
        return id;
}

/* Memory was looked at first: what has ended in between is in both, and the store knows it better. */
static void answer_list(ControlClient *c, StoreCall *call) {
        const StoreRequest *r = call->found;
        size_t n = r->error < 0 ? 0 : (size_t) r->n, n_listed = json_object_array_length(call->listed), i = 0, k = 0;
        json_object *a = json_object_new_array();

        while (json_object_array_length(a) < r->filter.limit && (i < n || k < n_listed)) {
                uint64_t stored = i < n ? r->records[i].id : 0, listed = k < n_listed ? listed_id(call->listed, k) : 0;

                if (listed > stored)
                        json_object_array_add(a, json_object_get(json_object_array_get_idx(call->listed, k++)));
                else {
                        json_object_array_add(a, object_of_record(c->server->router, &r->records[i++]));
                        k += listed == stored;
                }
        }
        reply_jobs(c, a);
}

/* Reads a filter, whose strings are the parameters' own. Returns 0, or -EINVAL after having answered. */
static int read_filter(ControlClient *c, json_object *p, StoreFilter *f) {
        const char *pool = NULL, *state = NULL, *method = NULL, *session = NULL;

        *f = (StoreFilter) { .state = -1 };
        if (parameter_text(c, p, "pool", &pool) < 0 || parameter_text(c, p, "state", &state) < 0 || parameter_text(c, p, "method", &method) < 0 ||
            parameter_text(c, p, "session", &session) < 0)
                return -EINVAL;
        if (state && (f->state = job_state_from_string(state)) < 0) {
                control_invalid(c, "state");
                return -EINVAL;
        }
        f->pool = (char *) pool;
        f->method = (char *) method;
        f->session = (char *) session;
        return 0;
}

/* Copies a filter into a request. Returns 0, or -ENOMEM after having answered. */
static int put_filter(ControlClient *c, StoreRequest *r, const StoreFilter *f) {
        r->filter = *f;
        r->filter.pool = f->pool ? strdup(f->pool) : NULL;
        r->filter.method = f->method ? strdup(f->method) : NULL;
        r->filter.session = f->session ? strdup(f->session) : NULL;
        if ((f->pool && !r->filter.pool) || (f->method && !r->filter.method) || (f->session && !r->filter.session)) {
                store_call_abandon(c, r);
                return -ENOMEM;
        }
        return 0;
}

void method_list_jobs(ControlClient *c, json_object *p) {
        int64_t limit = JOBS_LISTED_DEFAULT, since = 0;
        StoreFilter f;
        StoreRequest *r;
        json_object *a;

        if (read_filter(c, p, &f) < 0 || parameter_int(c, p, "since_usec", 0, INT64_MAX, &since) < 0 ||
            parameter_int(c, p, "limit", 1, JOBS_LISTED_MAX, &limit) < 0 ||
            (parameter_get(p, "before", &a) && parameter_job(c, p, "before", &f.before_id) < 0))
                return;
        f.since_usec = (uint64_t) since;
        f.limit = (unsigned) limit;
        a = list_memory(c->server, &f);
        if (!a) {
                control_fail(c, "LimitReached", NULL, "out of memory");
                return;
        }
        Store *s = c->server->jobs->store;
        if (!s || store_health(s) == STORE_OFF || (f.state >= 0 && f.state < JOB_COMPLETED)) { /* all that live are in memory */
                reply_jobs(c, a);
                return;
        }
        r = store_call_new(c, STORE_OP_LIST, answer_list);
        if (!r || put_filter(c, r, &f) < 0) {
                json_object_put(a);
                return;
        }
        c->call->listed = a;
        c->call->lenient = f.state < 0; /* whoever asks for everything gets what there is, also when the store is out of order */
        store_call_start(r);
}

static void answer_show(ControlClient *c, StoreCall *call) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "job", object_of_record(c->server->router, &call->found->record));
        control_reply(c, o, false);
}

void method_show_job(ControlClient *c, json_object *p) {
        json_object *o;
        uint64_t id;
        Job *j;

        if (parameter_job(c, p, "id", &id) < 0)
                return;
        j = job_table_find(c->server->jobs, id);
        if (!j) {
                store_call_job(c, id, 0, false, answer_show);
                return;
        }
        o = json_object_new_object();
        json_object_object_add(o, "job", object_of_job(c->server->router, j));
        control_reply(c, o, false);
}

/* --- results --- */

static void answer_wait(ControlClient *c, StoreCall *call) {
        Job *live = job_table_find(c->server->jobs, call->id);
        _cleanup_(job_unrefp) Job *j = NULL;
        int r;

        if (live) { /* queued again meanwhile */
                control_wait_start(c, call->id);
                return;
        }
        r = durable_ended(&call->found->record, &j);
        if (r >= 0)
                control_job_answer(c, j);
        else if (r == -EAGAIN)
                control_fail(c, "Busy", NULL, "the job is being queued again; ask once more");
        else
                control_fail(c, "LimitReached", NULL, "out of memory");
}

void control_wait_start(ControlClient *c, uint64_t job) {
        Job *j = job_table_find(c->server->jobs, job);

        if (!j || (job_ended(j) && !j->detached))
                store_call_job(c, job, STORE_WANT_RESULT, true, answer_wait);
        else if (c->peer.level < LEVEL_OPERATE && j->uid != c->peer.uid)
                control_others_job(c);
        else if (job_ended(j))
                control_job_answer(c, j);
        else
                control_job_start(c, j, PENDING_WAIT);
}

/* What is said of a result in a message with room for so much of it; base64 makes four bytes of three. */
static uint64_t part_max(const Server *s) {
        return s->limits.json_max / 16 * 9;
}

static void reply_part(ControlClient *c, const StoreCall *asked, json_object *o, Blob *result, const char *error, const char *code) {
        uint64_t size = blob_size(result), offset = MIN(asked->offset, size), length = MIN(asked->length, size - offset);
        _cleanup_free_ char *text = NULL;
        const uint8_t *data = NULL;

        length = MIN(length, part_max(c->server));
        if (length > 0 && blob_data(result, &data) < 0)
                data = NULL;
        text = data ? base64_encode(data + offset, (size_t) length) : NULL;
        if (length > 0 && !text) {
                json_object_put(o);
                control_fail(c, "LimitReached", NULL, "out of memory");
                return;
        }
        object_add_int(o, "size", size);
        object_add_int(o, "offset", offset);
        object_add_text(o, "data", strempty(text));
        object_add_text(o, "error", error);
        object_add_text(o, "code", code);
        control_reply(c, o, false);
}

static json_object *result_object(uint64_t id, JobState state, PayloadKind kind) {
        json_object *o = json_object_new_object();
        char text[JOB_ID_TEXT_MAX];

        object_add_text(o, "job", job_id_format(id, text));
        object_add_text(o, "status", job_state_to_string(state == JOB_DEAD ? JOB_FAILED : state));
        object_add_text(o, "kind", payload_kind_to_string(kind));
        return o;
}

static void answer_result(ControlClient *c, StoreCall *call) {
        const JobRecord *r = &call->found->record;

        if (r->state < JOB_COMPLETED)
                control_not_ended(c, r->id);
        else if (!r->result && r->result_size > 0) {
                json_object *o = json_object_new_object();
                char id[JOB_ID_TEXT_MAX];

                object_add_text(o, "id", job_id_format(r->id, id));
                control_fail(c, "PayloadGone", o, "the result of job %s is gone: it was damaged", id);
        } else
                reply_part(c, call, result_object(r->id, r->state, r->result_kind), r->result, r->error, r->code);
}

void method_job_result(ControlClient *c, json_object *p) {
        int64_t offset = 0, length = INT64_MAX;
        StoreRequest *r;
        uint64_t id;
        Job *j;

        if (parameter_int(c, p, "offset", 0, INT64_MAX, &offset) < 0 || parameter_int(c, p, "length", 0, INT64_MAX, &length) < 0 ||
            parameter_job(c, p, "job", &id) < 0)
                return;
        j = job_table_find(c->server->jobs, id);
        if (j && c->peer.level < LEVEL_OPERATE && j->uid != c->peer.uid)
                control_others_job(c);
        else if (j && !job_ended(j))
                control_not_ended(c, id);
        else if (j && j->detached) {
                StoreCall asked = { .offset = (uint64_t) offset, .length = (uint64_t) length };

                reply_part(c, &asked, result_object(id, j->state, j->result_kind), j->result, j->error, j->code);
        } else {
                r = store_call_new(c, STORE_OP_GET, answer_result);
                if (!r)
                        return;
                r->want = STORE_WANT_RESULT;
                c->call->id = id;
                c->call->owned = true;
                c->call->offset = (uint64_t) offset;
                c->call->length = (uint64_t) length;
                store_call_start(r);
        }
}

/* --- queueing again, and taking away --- */

static void answer_nothing(ControlClient *c, StoreCall *call) {
        (void) call;
        control_reply(c, NULL, false);
}

static void on_retried(StoreCall *call) {
        Server *s = call->server;

        if (call->found->error >= 0 && !s->stopping) /* else it is the next run's */
                call->found->error = s->ops->retried(s->userdata, &call->found->record);
}

static void retry(ControlClient *c, uint64_t id, uint64_t not_before) {
        StoreRequest *r = store_call_new(c, STORE_OP_RETRY, answer_nothing);

        if (!r)
                return;
        r->record.not_before_usec = not_before;
        r->sync = true;
        c->call->id = id;
        c->call->done = on_retried;
        store_call_start(r);
}

/* It is the peer's own. */
static void answer_may_retry(ControlClient *c, StoreCall *call) {
        retry(c, call->id, call->offset);
}

void method_retry_job(ControlClient *c, json_object *p) {
        int64_t delay = 0;
        uint64_t id;
        Job *j;

        if (parameter_int(c, p, "delay_usec", 0, INT64_MAX / 2, &delay) < 0 || parameter_job(c, p, "id", &id) < 0)
                return;
        uint64_t not_before = delay > 0 ? realtime_usec() + (uint64_t) delay : 0;
        j = job_table_find(c->server->jobs, id);
        if (j && c->peer.level < LEVEL_OPERATE && j->uid != c->peer.uid)
                control_others_job(c);
        else if (j && !job_ended(j))
                control_not_ended(c, id);
        else if (j)
                control_payload_gone(c, id);
        else if (c->peer.level >= LEVEL_OPERATE)
                retry(c, id, not_before);
        else {
                store_call_job(c, id, 0, true, answer_may_retry);
                if (c->call)
                        c->call->offset = not_before;
        }
}

static void answer_purged(ControlClient *c, StoreCall *call) {
        json_object *o = json_object_new_object();

        object_add_int(o, "purged", call->found->n);
        control_reply(c, o, false);
}

/* Returns 0, or -EINVAL after having answered. */
static int read_ids(ControlClient *c, json_object *array, uint64_t **ret, size_t *ret_n) {
        size_t n = json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
        _cleanup_free_ uint64_t *ids = NULL;

        if (n == 0 || n > PURGE_IDS_MAX) {
                control_invalid(c, "ids");
                return -EINVAL;
        }
        ids = new0(uint64_t, n);
        for (size_t i = 0; ids && i < n; i++) {
                json_object *v = json_object_array_get_idx(array, i);

                if (!json_object_is_type(v, json_type_string)) {
                        control_invalid(c, "ids");
                        return -EINVAL;
                }
                if (job_id_parse(json_object_get_string(v), &ids[i]) < 0) {
                        control_no_such_job(c, json_object_get_string(v));
                        return -EINVAL;
                }
        }
        if (!ids) {
                control_fail(c, "LimitReached", NULL, "out of memory");
                return -EINVAL;
        }
        *ret = TAKE_PTR(ids);
        *ret_n = n;
        return 0;
}

void method_purge_jobs(ControlClient *c, json_object *p) {
        _cleanup_free_ uint64_t *ids = NULL;
        int64_t before = 0;
        json_object *array;
        StoreFilter f;
        StoreRequest *r;
        size_t n = 0;

        if (read_filter(c, p, &f) < 0 || parameter_int(c, p, "before_usec", 1, INT64_MAX, &before) < 0)
                return;
        if (f.state >= 0 && f.state < JOB_COMPLETED) {
                control_invalid(c, "state");
                return;
        }
        bool filtered = f.state >= 0 || f.pool || f.method || f.session || before > 0, named = parameter_get(p, "ids", &array);
        if (filtered == named) { /* neither: a slip of the caller's must not empty the store */
                control_invalid(c, "ids");
                return;
        }
        if (named && read_ids(c, array, &ids, &n) < 0)
                return;
        f.before_id = before > 0 ? job_id_at((uint64_t) before) : 0;
        r = store_call_new(c, STORE_OP_PURGE, answer_purged);
        if (!r || put_filter(c, r, &f) < 0)
                return;
        r->ids = TAKE_PTR(ids);
        r->n_ids = n;
        store_call_start(r);
}

/* --- the store itself --- */

static void call_simple(ControlClient *c, StoreOp op, void (*answer)(ControlClient *c, StoreCall *call)) {
        StoreRequest *r = store_call_new(c, op, answer);

        if (r)
                store_call_start(r);
}

static void answer_stats(ControlClient *c, StoreCall *call) {
        const StoreStats *st = &call->found->stats;
        Store *s = c->server->jobs->store;
        json_object *o = json_object_new_object();

        object_add_text(o, "health", store_health_to_string(store_health(s)));
        object_add_text(o, "why", store_why(s));
        object_add_int(o, "bytes", st->bytes);
        object_add_int(o, "wal_bytes", st->wal_bytes);
        object_add_int(o, "free_bytes", st->free_bytes);
        for (int i = 0; i < _JOB_STATE_MAX; i++) {
                char key[32];

                snprintf(key, sizeof(key), "jobs_%s", job_state_to_string((JobState) i));
                object_add_int(o, key, st->jobs[i]);
        }
        object_add_int(o, "payload_bytes", st->payload_bytes);
        object_add_int(o, "payload_stored", st->payload_stored);
        object_add_int(o, "result_bytes", st->result_bytes);
        object_add_int(o, "result_stored", st->result_stored);
        object_add_int(o, "groups", st->groups);
        object_add_int(o, "synced_groups", st->synced_groups);
        object_add_int(o, "requests", st->requests);
        object_add_int(o, "pending", store_pending(s));
        object_add_int(o, "dictionaries", st->dictionaries);
        object_add_int(o, "cache_entries", st->cache_entries);
        object_add_int(o, "cache_bytes", st->cache_bytes);
        object_add_int(o, "cache_raw_bytes", st->cache_raw_bytes);
        object_add_int(o, "cache_puts", st->cache_puts);
        object_add_int(o, "cache_evicted", st->cache_evicted);
        control_reply(c, o, false);
}

static void call_stats(ControlClient *c, void (*answer)(ControlClient *c, StoreCall *call)) {
        StoreRequest *r = store_call_new(c, STORE_OP_STATS, answer);

        if (!r)
                return;
        c->call->lenient = true; /* how it is, is known in any case */
        store_call_start(r);
}

void method_store_stats(ControlClient *c, json_object *p) {
        (void) p;
        call_stats(c, answer_stats);
}

static void answer_check(ControlClient *c, StoreCall *call) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "ok", json_object_new_boolean(streq_ptr(call->found->text, "ok")));
        object_add_text(o, "text", strempty(call->found->text));
        control_reply(c, o, false);
}

void method_check_store(ControlClient *c, json_object *p) {
        (void) p;
        call_simple(c, STORE_OP_CHECK, answer_check);
}

static void answer_backup(ControlClient *c, StoreCall *call) {
        json_object *o = json_object_new_object();

        object_add_int(o, "bytes", call->found->n);
        control_reply(c, o, false);
}

void method_backup_store(ControlClient *c, json_object *p) {
        const char *path = NULL;
        StoreRequest *r;
        int k = parameter_text(c, p, "path", &path);

        if (k < 0)
                return;
        if (k == 0 || *path != '/') {
                control_invalid(c, "path");
                return;
        }
        r = store_call_new(c, STORE_OP_BACKUP, answer_backup);
        if (!r)
                return;
        r->path = strdup(path);
        if (r->path)
                store_call_start(r);
        else
                store_call_abandon(c, r);
}

static void answer_vacuum(ControlClient *c, StoreCall *call) {
        json_object *o = json_object_new_object();

        object_add_int(o, "freed", call->found->n);
        control_reply(c, o, false);
}

void method_vacuum_store(ControlClient *c, json_object *p) {
        (void) p;
        call_simple(c, STORE_OP_VACUUM, answer_vacuum);
}

void method_accept_loss(ControlClient *c, json_object *p) {
        (void) p;
        call_simple(c, STORE_OP_ACCEPT_LOSS, answer_nothing);
}

/* --- the cache --- */

static void answer_cache_stats(ControlClient *c, StoreCall *call) {
        const CachedStats *jobs = &c->server->jobs->cached.stats;
        const StoreStats *st = &call->found->stats;
        json_object *o = json_object_new_object();

        object_add_int(o, "entries", st->cache_entries);
        object_add_int(o, "bytes", st->cache_bytes);
        object_add_int(o, "raw_bytes", st->cache_raw_bytes);
        object_add_int(o, "hits", jobs->hits);
        object_add_int(o, "stale", jobs->stale);
        object_add_int(o, "misses", jobs->misses);
        object_add_int(o, "coalesced", jobs->coalesced);
        object_add_int(o, "renewals", jobs->renewals);
        object_add_int(o, "saved_bytes", jobs->saved_bytes);
        object_add_int(o, "puts", st->cache_puts);
        object_add_int(o, "evicted", st->cache_evicted);
        control_reply(c, o, false);
}

void method_cache_stats(ControlClient *c, json_object *p) {
        (void) p;
        call_stats(c, answer_cache_stats);
}

static void on_cache_listed(StoreCall *call) {
        const StoreRequest *r = call->found;

        if (r->error < 0 || !call->client)
                return;
        call->listed = json_object_new_array();
        for (size_t i = 0; i < r->n_cache; i++) {
                const CacheItem *item = &r->cache[i];
                json_object *o = json_object_new_object();

                object_add_text(o, "worker_type", strempty(item->worker_type));
                object_add_text(o, "method", item->method);
                object_add_text(o, "kind", payload_kind_to_string(item->kind));
                object_add_text(o, "status", frame_status_to_string(item->status));
                object_add_int(o, "size", item->raw_size);
                object_add_int(o, "stored_size", item->stored_size);
                object_add_int(o, "hits", item->hits);
                object_add_int(o, "created_usec", item->created_usec);
                object_add_int(o, "expires_usec", item->expires_usec);
                object_add_int(o, "used_usec", item->last_access_usec);
                json_object_array_add(call->listed, o);
        }
}

static StoreRequest *cache_call(ControlClient *c, StoreOp op, json_object *p, void (*answer)(ControlClient *c, StoreCall *call)) {
        const char *method = NULL, *type = NULL;
        StoreRequest *r;

        if (parameter_text(c, p, "method", &method) < 0 || parameter_text(c, p, "worker_type", &type) < 0)
                return NULL;
        r = store_call_new(c, op, answer);
        if (!r)
                return NULL;
        if (store_request_add_item(r) >= 0 && (!method || (r->cache->method = strdup(method))) && (!type || (r->cache->worker_type = strdup(type))))
                return r;
        store_call_abandon(c, r);
        return NULL;
}

static void answer_cache_list(ControlClient *c, StoreCall *call) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "entries", TAKE_PTR(call->listed));
        control_reply(c, o, false);
}

void method_list_cache(ControlClient *c, json_object *p) {
        int64_t limit = CACHE_LISTED_DEFAULT;
        StoreRequest *r;

        if (parameter_int(c, p, "limit", 1, STORE_LIST_MAX, &limit) < 0)
                return;
        r = cache_call(c, STORE_OP_CACHE_LIST, p, answer_cache_list);
        if (!r)
                return;
        r->filter.limit = (unsigned) limit;
        c->call->done = on_cache_listed;
        store_call_start(r);
}

void method_purge_cache(ControlClient *c, json_object *p) {
        StoreRequest *r = cache_call(c, STORE_OP_CACHE_PURGE, p, answer_purged);

        if (!r)
                return;
        cached_purged(c->server->jobs, r->cache->method, r->cache->worker_type);
        store_call_start(r);
}
