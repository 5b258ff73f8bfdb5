/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The tools about jobs that were submitted: those that live are in memory, and so are results that are not durable; the store knows the others. */

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "mcp/tools.h"

#define SEARCH_STORED_MAX 2000U           /* stored jobs that a search looks at, the newest */
#define SEARCH_TEXT_MAX (64U * 1024U)     /* bytes of a result that are searched */
#define SEARCH_TOTAL_MAX (2048U * 1024U)  /* bytes of all results, the newest first: the loop waits for it */
#define CONTENT_MAX 4096U                 /* bytes of a result that a search shows */
#define RESULT_DEFAULT (64 * 1024)

static const char *time_text(uint64_t usec, char buf[static 32]) {
        time_t t = (time_t) (usec / USEC_PER_SEC);
        struct tm tm;

        if (!gmtime_r(&t, &tm) || strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                buf[0] = 0;
        return buf;
}

static void add_time(json_object *o, const char *key, uint64_t usec) {
        char text[32];

        if (usec > 0)
                object_add_text(o, key, time_text(usec, text));
}

/* --- what a job is like --- */

/* Of a job's object as the other sockets have it, the members that tools show, under their names. */
static json_object *shown(json_object *o) {
        static const char *const names[][2] = {
                { "id", "job_id" },       { "pool", "pool_id" },         { "state", "status" },   { "method", "method" },
                { "session", "session" }, { "worker", "worker_id" },     { "attempts", "attempts" }, { "progress", "progress" },
                { "progress_message", "progress_message" }, { "result_size", "result_size" }, { "durable", "durable" },
                { "error", "error" },     { "code", "code" },
        };
        json_object *r = json_object_new_object(), *v;

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (json_object_object_get_ex(o, names[i][0], &v))
                        json_object_object_add(r, names[i][1], json_object_get(v));
        if (json_object_object_get_ex(o, "accepted_usec", &v))
                add_time(r, "accepted", json_object_get_uint64(v));
        if (json_object_object_get_ex(o, "finished_usec", &v))
                add_time(r, "finished", json_object_get_uint64(v));
        json_object_put(o);
        return r;
}

static json_object *shown_job(const McpServer *s, const Job *j) {
        return shown(object_of_job(s->router, j));
}

static json_object *shown_record(const McpServer *s, const JobRecord *r) {
        return shown(object_of_record(s->router, r));
}

static void answer_status(McpFetch *f) {
        tool_answer(&f->reply, shown_record(f->server, &f->found->record), false);
}

void tool_job_status(McpRequest *q, const McpArguments *a) {
        McpServer *s = q->reply.client->server;
        uint64_t id;

        if (argument_job(q, a, &id) < 0)
                return;
        Job *j = job_table_find(s->jobs, id);
        if (j)
                tool_answer(&q->reply, shown_job(s, j), false);
        else
                mcp_fetch_job(&q->reply, id, 0, false, false, NULL, answer_status);
}

static void answer_cancelled(const McpReply *r, uint64_t id, bool cancelled, JobState state) {
        json_object *o = json_object_new_object();
        char text[JOB_ID_TEXT_MAX];

        object_add_text(o, "job_id", job_id_format(id, text));
        json_object_object_add(o, "cancelled", json_object_new_boolean(cancelled));
        object_add_text(o, "status", job_state_to_string(state));
        tool_answer(r, o, false);
}

static void answer_ended(McpFetch *f) {
        answer_cancelled(&f->reply, f->job, false, f->found->record.state);
}

static void others_job(const McpReply *r, uint64_t id) {
        char text[JOB_ID_TEXT_MAX];

        tool_failed(r, NULL, "NotPermitted", "job %s is another user's; operators, the group '%s', may do that", job_id_format(id, text),
                    strna(auth_group(&r->client->server->auth, LEVEL_OPERATE)));
}

void tool_job_cancel(McpRequest *q, const McpArguments *a) {
        McpServer *s = q->reply.client->server;
        uint64_t id;

        if (argument_job(q, a, &id) < 0)
                return;
        Job *j = job_table_find(s->jobs, id);
        if (!j)
                mcp_fetch_job(&q->reply, id, 0, true, false, NULL, answer_ended);
        else if (!mcp_may_see(&q->reply, j->uid))
                others_job(&q->reply, id);
        else {
                job_ref(j);
                bool running = pool_cancel_job(s->jobs, j);
                answer_cancelled(&q->reply, id, running, j->ending ? job_state_of(j->ending->status) : j->state);
                job_unref(j);
        }
}

/* --- results --- */

static void answer_part(const McpReply *r, uint64_t id, JobState state, PayloadKind kind, Blob *result, const char *error, const char *code,
                        uint64_t offset, uint64_t length) {
        uint64_t size = blob_size(result), n;
        _cleanup_free_ char *text = NULL;
        const uint8_t *data = NULL;
        json_object *o;
        char id_text[JOB_ID_TEXT_MAX];

        offset = MIN(offset, size);
        n = MIN(MIN(length, size - offset), mcp_output_max(r->client->server));
        if (n > 0 && blob_data(result, &data) < 0) {
                tool_no_memory(r);
                return;
        }
        if (n > 0 && kind != PAYLOAD_BYTES && offset + n < size && utf8_cut(data + offset, (size_t) n, (size_t) n) > 0)
                n = utf8_cut(data + offset, (size_t) (size - offset), (size_t) n); /* ends between characters */
        bool base64 = n > 0 && (kind == PAYLOAD_BYTES || !utf8_valid(data + offset, (size_t) n));
        if (base64 && !(text = base64_encode(data + offset, (size_t) n))) {
                tool_no_memory(r);
                return;
        }
        o = json_object_new_object();
        object_add_text(o, "job_id", job_id_format(id, id_text));
        object_add_text(o, "status", job_state_to_string(state == JOB_DEAD ? JOB_FAILED : state));
        object_add_text(o, "kind", payload_kind_to_string(kind));
        object_add_int(o, "size", size);
        object_add_int(o, "offset", offset);
        object_add_text(o, "encoding", base64 ? "base64" : "utf-8");
        json_object_object_add(o, "data", base64 ? json_object_new_string(text) :
                                          json_object_new_string_len(n > 0 ? (const char *) data + offset : "", (int) n));
        json_object_object_add(o, "next_offset", offset + n < size ? json_object_new_int64((int64_t) (offset + n)) : NULL);
        object_add_text(o, "error", error);
        object_add_text(o, "code", code);
        tool_answer(r, o, false);
}

/* One that has not ended. */
static void answer_unfinished(const McpReply *r, const Job *j) {
        json_object *o = json_object_new_object();
        char id[JOB_ID_TEXT_MAX];

        object_add_text(o, "job_id", job_id_format(j->id, id));
        object_add_text(o, "status", job_state_to_string(j->state));
        object_add_int(o, "size", 0);
        tool_answer(r, o, false);
}

static void answer_stored(McpFetch *f) {
        const JobRecord *r = &f->found->record;

        if (r->state >= JOB_COMPLETED && !r->result && r->result_size > 0)
                tool_failed(&f->reply, NULL, "PayloadGone", "the result of the job is gone: it was damaged");
        else
                answer_part(&f->reply, r->id, r->state, r->result_kind, r->result, r->error, r->code, f->offset, f->length);
}

static void fetch_result(const McpReply *r, uint64_t id, uint64_t offset, uint64_t length) {
        McpServer *s = r->client->server;
        StoreRequest *request;
        McpFetch *f;
        char text[JOB_ID_TEXT_MAX];

        if (!s->jobs->store) {
                tool_failed(r, NULL, "NoSuchJob", "there is no result of job '%s'; results are kept for submitted jobs only", job_id_format(id, text));
                return;
        }
        f = mcp_fetch_new(r, STORE_OP_GET, false, answer_stored, &request);
        if (!f)
                return;
        f->job = id;
        f->owned = true;
        f->offset = offset;
        f->length = length;
        request->want = STORE_WANT_RESULT;
        mcp_fetch_start(request);
}

void tool_job_result(McpRequest *q, const McpArguments *a) {
        McpServer *s = q->reply.client->server;
        uint64_t id, offset = (uint64_t) argument_int(a, "offset", 0), length = (uint64_t) argument_int(a, "length", RESULT_DEFAULT);
        int64_t wait = argument_int(a, "wait", 0);
        McpCall *call;

        if (argument_job(q, a, &id) < 0)
                return;
        Job *j = job_table_find(s->jobs, id);
        if (!j || (job_ended(j) && !j->detached))
                fetch_result(&q->reply, id, offset, length);
        else if (!mcp_may_see(&q->reply, j->uid))
                others_job(&q->reply, id);
        else if (job_ended(j))
                answer_part(&q->reply, id, j->state, j->result_kind, j->result, j->error, j->code, offset, length);
        else if (wait == 0)
                answer_unfinished(&q->reply, j);
        else {
                call = mcp_call_new(q, MCP_CALL_RESULT, 1);
                if (!call) {
                        tool_no_memory(&q->reply);
                        return;
                }
                call->wait_until = now_usec() + (uint64_t) wait * USEC_PER_SEC;
                call->offset = offset;
                call->length = length;
                mcp_call_add(call, 0, j);
                mcp_call_start(call);
        }
}

/* The wait is over: the job has ended, or has not. */
void job_answer_result(McpCall *call) {
        const McpCallJob *cj = &call->jobs[0];
        const Job *j = cj->job;

        if (!j && cj->duplicate_of > 0)
                tool_failed(&call->reply, NULL, "Duplicate", "the job was none: another one has its key");
        else if (!j)
                tool_failed(&call->reply, NULL, cj->code, "%s", strempty(cj->refusal));
        else if (job_ended(j))
                answer_part(&call->reply, j->id, j->state, j->result_kind, j->result, j->error, j->code, call->offset, call->length);
        else
                answer_unfinished(&call->reply, j);
}

/* --- lists --- */

static bool matches(const Job *j, const StoreFilter *f) {
        return (f->state < 0 || (int) j->state == f->state) && (!f->pool || streq_ptr(f->pool, j->pool_name)) &&
               (!f->method || streq_ptr(f->method, j->method)) && (!f->session || streq_ptr(f->session, j->session)) &&
               (f->before_id == 0 || j->id < f->before_id);
}

typedef struct Listed {
        uint64_t id;
        size_t at;
        json_object *object;
} Listed;

static int newest_first(const void *a, const void *b) {
        const Listed *x = a, *y = b;

        return x->id != y->id ? (x->id > y->id ? -1 : 1) : x->at < y->at ? -1 : 1;
}

/* Both newest first, into one list without what is in both: memory was looked at first, and the store knows it better. */
static json_object *merge(json_object *kept, json_object *stored, size_t limit) {
        size_t n = json_object_array_length(kept), k = json_object_array_length(stored), count = 0;
        Listed *all = new0(Listed, n + k + 1);
        json_object *a = json_object_new_array(), *v;
        uint64_t last = 0;

        for (size_t i = 0; all && i < n + k; i++) {
                json_object *o = json_object_array_get_idx(i < k ? stored : kept, i < k ? i : i - k);

                if (json_object_object_get_ex(o, "job_id", &v))
                        (void) job_id_parse(json_object_get_string(v), &all[count].id);
                all[count].at = i;
                all[count++].object = o;
        }
        if (all)
                qsort(all, count, sizeof(*all), newest_first);
        for (size_t i = 0; i < count && json_object_array_length(a) < limit; i++) {
                if (all[i].id != last)
                        json_object_array_add(a, json_object_get(all[i].object));
                last = all[i].id;
        }
        free(all);
        return a;
}

static void answer_jobs(const McpReply *r, json_object *kept, json_object *stored, size_t limit) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "jobs", merge(kept, stored, limit));
        json_object_put(stored);
        tool_answer(r, o, false);
}

static void answer_list(McpFetch *f) {
        const StoreRequest *r = f->found;
        json_object *stored = json_object_new_array();

        for (uint64_t i = 0; r->error >= 0 && i < r->n; i++)
                json_object_array_add(stored, shown_record(f->server, &r->records[i]));
        answer_jobs(&f->reply, f->kept, stored, f->limit);
}

/* The newest of a table's list that match, as objects. Its end is the newest, about. */
static void pick(const McpServer *s, const List *jobs, const StoreFilter *f, json_object *into) {
        unsigned n = 0;

        for (const List *l = jobs->prev; l != jobs && n < 2 * f->limit; l = l->prev) {
                const Job *j = list_entry(l, Job, table_link);

                if (!matches(j, f))
                        continue;
                json_object_array_add(into, shown_job(s, j));
                n++;
        }
}

static int list_filter(McpRequest *q, const McpArguments *a, StoreFilter *f) {
        _cleanup_free_ char *state = NULL, *before = NULL;

        *f = (StoreFilter) { .state = -1, .limit = (unsigned) argument_int(a, "limit", 50) };
        if (argument_text(a, "pool_id", &f->pool) < 0 || argument_text(a, "method", &f->method) < 0 || argument_text(a, "session", &f->session) < 0 ||
            argument_text(a, "status", &state) < 0 || argument_text(a, "before", &before) < 0) {
                tool_no_memory(&q->reply);
                return -ENOMEM;
        }
        const Pool *p = f->pool ? pool_find(q->reply.client->server->router->by_name, q->reply.client->server->router->pools, f->pool) : NULL;
        if (p && !streq(p->name, f->pool)) { /* jobs have the name, not the id */
                free(f->pool);
                f->pool = strdup(p->name);
                if (!f->pool) {
                        tool_no_memory(&q->reply);
                        return -ENOMEM;
                }
        }
        if (state)
                f->state = job_state_from_string(state);
        if (before && job_id_parse(before, &f->before_id) < 0) {
                tool_failed(&q->reply, NULL, "NoSuchJob", "before: '%s' is no job's id", before);
                return -EINVAL;
        }
        return 0;
}

void tool_job_list(McpRequest *q, const McpArguments *a) {
        McpServer *s = q->reply.client->server;
        StoreRequest *r;
        StoreFilter f;
        json_object *kept;
        McpFetch *fetch;

        if (list_filter(q, a, &f) < 0)
                goto out;
        kept = json_object_new_array();
        pick(s, &s->jobs->live, &f, kept);
        pick(s, &s->jobs->results, &f, kept);
        pick(s, &s->jobs->ended, &f, kept);
        if (!s->jobs->store || store_health(s->jobs->store) == STORE_OFF || (f.state >= 0 && f.state < JOB_COMPLETED)) { /* all that live are in memory */
                answer_jobs(&q->reply, kept, json_object_new_array(), f.limit);
                json_object_put(kept);
                goto out;
        }
        fetch = mcp_fetch_new(&q->reply, STORE_OP_LIST, false, answer_list, &r);
        if (fetch) {
                fetch->kept = kept;
                fetch->limit = f.limit;
                r->filter = f;
                f = (StoreFilter) {};
                mcp_fetch_start(r);
        } else
                json_object_put(kept);
out:
        free(f.pool);
        free(f.method);
        free(f.session);
}

/* --- search --- */

static bool has(const char *text, const char *what) {
        return text && strcasestr(text, what);
}

/* In bytes that need not end. */
static bool has_in(const uint8_t *data, size_t size, const char *what) {
        size_t n = strlen(what);

        for (size_t i = 0; i + n <= size; i++)
                if (strncasecmp((const char *) data + i, what, n) == 0)
                        return true;
        return false;
}

static json_object *found(const McpServer *s, uint64_t id, const char *pool, const char *worker, JobState state, const char *method, const char *session,
                          const char *error, uint64_t when, uint64_t duration, const char *content, size_t size) {
        const Pool *p = pool ? map_get_name(s->router->by_name, pool, Pool, by_name) : NULL;
        json_object *o = json_object_new_object(), *m = json_object_new_object();
        char text[JOB_ID_TEXT_MAX];

        object_add_text(m, "job_id", job_id_format(id, text));
        object_add_text(m, "type", "pool_worker_execution");
        object_add_text(m, "pool_id", strempty(pool));
        if (p)
                object_add_text(m, "pool_type", "local");
        json_object_object_add(m, "worker_id", worker && *worker ? json_object_new_string(worker) : NULL);
        object_add_text(m, "status", job_state_to_string(state));
        object_add_text(m, "method", method);
        object_add_text(m, "session", session);
        object_add_text(m, "error", error);
        json_object_object_add(m, "duration_seconds", json_object_new_double((double) duration / 1e6));
        add_time(m, "timestamp", when);
        json_object_object_add(o, "content", json_object_new_string_len(content, (int) utf8_cut(content, size, CONTENT_MAX)));
        json_object_object_add(o, "metadata", m);
        json_object_object_add(o, "job_id", json_object_new_string(text)); /* to sort by */
        return o;
}

static void search_job(const McpReply *r, const Job *j, const char *query, size_t *budget, json_object *into) {
        const uint8_t *data = NULL;
        bool text = j->result && j->result_kind != PAYLOAD_BYTES && blob_data(j->result, &data) >= 0;
        size_t size = text ? j->result->size : 0, searched = MIN(MIN(size, (size_t) SEARCH_TEXT_MAX), *budget);

        *budget -= searched;
        if (!mcp_may_see(r, j->uid) || !(has(j->method, query) || has(j->session, query) || has(j->error, query) || has(j->progress_text, query) ||
                                         (text && has_in(data, searched, query))))
                return;
        json_object_array_add(into, found(r->client->server, j->id, j->pool_name, j->ran_on, j->state, j->method, j->session, j->error,
                                          j->accepted_real_usec, j->finished_usec && j->dispatched_usec ? j->finished_usec - j->dispatched_usec : 0,
                                          text ? (const char *) data : strempty(j->error), text ? size : strlen(strempty(j->error))));
}

static void answer_found(const McpReply *r, json_object *kept, json_object *stored, size_t limit) {
        json_object *o = json_object_new_object(), *all = merge(kept, stored, limit);

        for (size_t i = 0; i < json_object_array_length(all); i++)
                json_object_object_del(json_object_array_get_idx(all, i), "job_id");
        json_object_object_add(o, "results", all);
        json_object_put(stored);
        tool_answer(r, o, false);
}

static void answer_search(McpFetch *f) {
        const StoreRequest *r = f->found;
        json_object *stored = json_object_new_array();

        for (uint64_t i = 0; r->error >= 0 && i < r->n; i++) {
                const JobRecord *k = &r->records[i];

                if (mcp_may_see(&f->reply, k->uid) && (has(k->method, f->text) || has(k->session, f->text) || has(k->error, f->text)))
                        json_object_array_add(stored, found(f->server, k->id, k->pool, k->worker, k->state, k->method, k->session, k->error, k->accepted_usec,
                                                            k->finished_usec && k->dispatched_usec ? k->finished_usec - k->dispatched_usec : 0,
                                                            strempty(k->error), strlen(strempty(k->error))));
        }
        answer_found(&f->reply, f->kept, stored, f->limit);
}

void tool_pool_search_memory(McpRequest *q, const McpArguments *a) {
        McpServer *s = q->reply.client->server;
        const List *const lists[] = { &s->jobs->live, &s->jobs->results, &s->jobs->ended };
        _cleanup_free_ char *query = NULL;
        unsigned limit = (unsigned) argument_int(a, "limit", 100);
        size_t budget = SEARCH_TOTAL_MAX;
        json_object *kept;
        StoreRequest *r;
        McpFetch *f;

        if (argument_text(a, "query", &query) < 0) {
                tool_no_memory(&q->reply);
                return;
        }
        kept = json_object_new_array();
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                for (const List *l = lists[i]->prev; l != lists[i] && json_object_array_length(kept) < 2 * MCP_JOBS_MAX; l = l->prev)
                        search_job(&q->reply, list_entry(l, Job, table_link), query, &budget, kept);
        if (!s->jobs->store || store_health(s->jobs->store) == STORE_OFF) {
                answer_found(&q->reply, kept, json_object_new_array(), limit);
                json_object_put(kept);
                return;
        }
        f = mcp_fetch_new(&q->reply, STORE_OP_LIST, false, answer_search, &r);
        if (!f) {
                json_object_put(kept);
                return;
        }
        f->kept = kept;
        f->limit = limit;
        f->text = TAKE_PTR(query);
        r->filter.limit = SEARCH_STORED_MAX;
        mcp_fetch_start(r);
}
