/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Between acceptance and queue. A job whose method is cacheable joins a *flight*: all jobs under way that have one key. The first one is its
 * leader; the others, its followers, stand among the waiting jobs of their pools. A flight goes through these states:
 *
 *      searching   the store is asked; the leader waits like the others. A hit ends them all; a miss queues the leader, and so does no answer in time
 *      running     the leader is queued, runs, or is tried again
 *      done        the leader has ended in a way that counts for all: they end likewise, and so does whoever comes while the result is being kept
 *
 * A leader that ends in another way (cancelled, timed out, crashed, refused) leaves the flight running without a leader, and a follower takes its
 * place. Nothing of all that happens within the call that causes it: it is put off to the end of the round, because whoever ends a job may be
 * walking a list that others stand in, and because a job must not end before its submitter has been answered.
 *
 * A stale result is given at once, and the flight goes on with a job of flowd's own, which nobody waits for. Jobs that come meanwhile search for
 * themselves, in a flight that is not in the map, and find what is stale; where that has come to its end they join the renewal.
 *
 * A job that its pool has no room for is searched, too (it *probes*), where that does not mean to wait for another job. It is accepted, or refused,
 * when the store has answered.
 *
 * A cancellation, a deadline or the end of flowd takes a job out by pool_unqueue(), and so out of its flight.
 */

#include <errno.h>

#include "basic/state.h"
#include "pool/cached.h"
#include "pool/pool-internal.h"
#include "store/cache.h"
#include "worker/mcp-catalog.h"

#define TOUCH_USEC (1 * USEC_PER_SEC)

typedef enum FlightState {
        FLIGHT_SEARCHING,
        FLIGHT_RUNNING,
        FLIGHT_DONE,
} FlightState;

typedef struct Flight {
        MapNode by_key;        /* not in the map: one that searches while another is renewed, or that is over */
        List link;
        List unfinished_link;
        List followers;        /* by Job.flight_link */
        Job *leader;           /* NULL: one is to be found, or none is needed any more */
        JobTable *table;
        FlightState state;
        bool in_map;
        bool renewal;
        bool asking;           /* the store has a request of this flight */
        StoreRequest *search;  /* that one, where it is a search */
        Timer patience;        /* with it */
        bool unavailable;      /* its last leader left because its pool had failed */
        CacheKey key;
        char *method, *worker_type, *version;
        /* done */
        JobResult result;
} Flight;

static void on_finish(Defer *d);
static void on_touch(Timer *t);

void cached_init(JobTable *t) {
        Cached *c = &t->cached;

        c->table = t;
        map_init(&c->by_key, random_u64());
        list_init(&c->flights);
        list_init(&c->unfinished);
        c->finish.run = on_finish;
        c->touch.fire = on_touch;
}

const char *cached_word(FrameCache how, bool renewal) {
        static const char *const words[_FRAME_CACHE_MAX] = { [FRAME_CACHE_HIT] = "hit", [FRAME_CACHE_STALE] = "stale", [FRAME_CACHE_COALESCED] = "coalesced" };

        return renewal ? "renewal" : (unsigned) how < _FRAME_CACHE_MAX ? words[how] : NULL;
}

/* What an MCP server does is known to it alone: it must say so itself that a call only reads. */
static bool cacheable(const Pool *p, const char *method) {
        const WorkerType *t = p->config->type;
        McpCatalog *c;

        if (!worker_type_cacheable(t, method))
                return false;
        if (t->protocol != PROTOCOL_MCP)
                return true;
        c = method ? mcp_catalog_find(&p->host->mcp_catalogs, t->name, worker_type_fingerprint(t)) : NULL;
        if (!c || mcp_catalog_only_reads(c, method))
                return c;
        if (c->items[MCP_LIST_TOOLS].known && !c->effects_told) {
                c->effects_told = true;
                log_write(p->host->log, LOG_NOTICE, "Results of %s of worker type %s are not kept, though Cacheable= names it: the server does not say "
                          "readOnlyHint of this tool", method, t->name);
        }
        return false;
}

/* --- flights --- */

static void leave_map(Flight *f) {
        if (f->in_map)
                map_remove(&f->table->cached.by_key, &f->by_key);
        f->in_map = false;
}

static bool enter_map(Flight *f) {
        f->in_map = map_add(&f->table->cached.by_key, &f->by_key, (uint64_t) cache_id(&f->key)) >= 0;
        return f->in_map;
}

static Flight *flight_free(Flight *f) {
        if (!f)
                return NULL;
        assert(!f->leader && list_empty(&f->followers) && !f->asking);
        leave_map(f);
        list_remove(&f->link);
        list_remove(&f->unfinished_link);
        timer_disarm(&f->table->host->timers, &f->patience);
        job_result_done(&f->result);
        free(f->method);
        free(f->worker_type);
        free(f->version);
        free(f);
        return NULL;
}

static Flight *flight_new(JobTable *t, const WorkerType *type, const char *method, const CacheKey *key) {
        Flight *f = new0(Flight, 1);

        if (!f)
                return NULL;
        f->table = t;
        f->key = *key;
        list_init(&f->followers);
        list_init(&f->unfinished_link);
        list_append(&t->cached.flights, &f->link);
        f->worker_type = strdup(type->name);
        f->method = method ? strdup(method) : NULL;
        f->version = type->version ? strdup(type->version) : NULL;
        if (!f->worker_type || (method && !f->method) || (type->version && !f->version))
                return flight_free(f);
        return f;
}

static void finish_later(Flight *f) {
        Cached *c = &f->table->cached;

        if (!list_linked(&f->unfinished_link))
                list_append(&c->unfinished, &f->unfinished_link);
        hot_defer(&f->table->host->hot, &c->finish);
}

static void enter(Flight *f, Job *j) {
        j->flight = f;
        f->table->cached.n_probes += j->probing;
}

static void lead(Flight *f, Job *j) {
        if (!j->flight)
                enter(f, j);
        list_remove(&j->flight_link);
        j->leading = true;
        j->cache = 0;
        f->leader = j;
}

static void leave(Job *j) {
        Flight *f = j->flight;

        list_remove(&j->flight_link);
        if (j->leading)
                f->leader = NULL;
        f->table->cached.n_probes -= j->probing;
        j->leading = j->probing = false;
        j->flight = NULL;
}

/* The one that goes first among the followers. */
static Job *first_follower(Flight *f) {
        Job *best = NULL;

        LIST_FOREACH(l, &f->followers) {
                Job *j = list_entry(l, Job, flight_link);

                if (!best || j->priority > best->priority)
                        best = j;
        }
        return best;
}

/* A leader that stands in the queue goes where its most important follower would. */
static void raise_leader(Flight *f, int32_t priority) {
        Job *j = f->leader;
        Pool *p = j ? j->pool : NULL;

        if (!p || f->state != FLIGHT_RUNNING || j->priority >= priority)
                return;
        if (j->state != JOB_QUEUED || j->waiting) {
                j->priority = priority; /* for when it is tried again */
                return;
        }
        pool_unqueue(p, j);
        j->priority = priority;
        pool_requeue_restored(p, j);
}

static void follow(Flight *f, Job *j) {
        if (f->state == FLIGHT_SEARCHING && !f->leader) { /* all that the store was asked for have left */
                lead(f, j);
                return;
        }
        enter(f, j);
        j->leading = false;
        j->cache = f->state == FLIGHT_DONE ? FRAME_CACHE_HIT : FRAME_CACHE_COALESCED;
        list_append(&f->followers, &j->flight_link);
        raise_leader(f, j->priority);
        if (f->state == FLIGHT_DONE)
                finish_later(f);
}

/* Queues the leader, which stands among the waiting jobs of its pool. */
static void queue_leader(Flight *f) {
        Job *j = f->leader, *next = first_follower(f);
        Pool *p = j->pool;

        f->state = FLIGHT_RUNNING;
        if (next)
                j->priority = MAX(j->priority, next->priority);
        pool_unqueue(p, j);
        pool_requeue_restored(p, j);
}

/* --- ends --- */

static void touch(JobTable *t, const CacheKey *key) {
        Cached *c = &t->cached;

        if (c->n_touched == CACHED_TOUCHED_MAX)
                return;
        c->touched[c->n_touched++] = (uint64_t) cache_id(key);
        if (c->n_touched == CACHED_TOUCHED_MAX)
                on_touch(&c->touch);
        else if (!c->touch.armed)
                timer_arm(&t->host->timers, &c->touch, now_usec() + TOUCH_USEC);
}

static void touched(StoreRequest *r) {
        Cached *c = r->userdata;

        c->n_touches--;
        store_request_free(r);
}

static void on_touch(Timer *timer) {
        Cached *c = CONTAINER_OF(timer, Cached, touch);
        StoreRequest *r;

        if (c->n_touches == CACHED_TOUCHES_MAX) { /* the disk hangs */
                timer_arm(&c->table->host->timers, timer, now_usec() + TOUCH_USEC);
                return;
        }
        timer_disarm(&c->table->host->timers, timer);
        r = c->table->store ? store_request_new(STORE_OP_CACHE_TOUCH, touched, c) : NULL;
        if (r && (r->ids = new0(uint64_t, c->n_touched + 1))) {
                memcpy(r->ids, c->touched, c->n_touched * sizeof(uint64_t));
                r->n_ids = c->n_touched;
                r->lazy = true;
                c->n_touches++;
                store_submit(c->table->store, r);
        } else
                store_request_free(r);
        c->n_touched = 0;
}

static void count(Cached *c, FrameCache how, uint64_t bytes) {
        uint64_t *const counters[_FRAME_CACHE_MAX] = {
                [FRAME_CACHE_HIT] = &c->stats.hits, [FRAME_CACHE_STALE] = &c->stats.stale, [FRAME_CACHE_COALESCED] = &c->stats.coalesced,
        };

        ++*counters[how];
        c->stats.saved_bytes += bytes;
}

/* Ends a job that waits, with a copy of the result. */
static void give(Job *j, const JobResult *from, FrameCache how, uint64_t raw_size) {
        Pool *p = j->pool;
        JobResult r = *from;

        count(&p->jobs->cached, how, raw_size);
        r.data = blob_ref(from->data);
        r.error = from->error ? strdup(from->error) : NULL;
        r.cache = how;
        bool probing = j->probing;
        leave(j);
        pool_unqueue(p, j);
        if (probing)
                job_accept(j);
        pool_finish(p, j, &r);
        pool_dispatch_later(p); /* one that closes may be empty now */
}

static void deliver(Flight *f) {
        Job *j;

        while ((j = list_first_entry(&f->followers, Job, flight_link))) {
                if (j->cache == FRAME_CACHE_HIT)
                        touch(f->table, &f->key);
                give(j, &f->result, j->cache, blob_size(f->result.data));
        }
}

static void on_finish(Defer *d) {
        Cached *c = CONTAINER_OF(d, Cached, finish);
        Flight *f;

        while ((f = list_first_entry(&c->unfinished, Flight, unfinished_link))) {
                list_remove(&f->unfinished_link);
                if (f->state == FLIGHT_DONE)
                        deliver(f);
                else if (f->state == FLIGHT_RUNNING && !f->leader) {
                        Job *j = first_follower(f);
                        bool unavailable = f->unavailable;

                        f->renewal = f->unavailable = false;
                        if (j) {
                                Pool *p = j->pool;

                                lead(f, j);
                                queue_leader(f);
                                if (unavailable && f->leader == j && !j->waiting)
                                        pool_fail_late(p, j);
                        }
                }
                if (!f->leader && list_empty(&f->followers) && !f->asking)
                        flight_free(f);
        }
}

bool cached_waits(const Job *j) {
        return j->flight && (!j->leading || j->flight->state == FLIGHT_SEARCHING);
}

void cached_unqueued(Job *j) {
        Flight *f = j->flight;
        Job *next;

        if (!cached_waits(j))
                return;
        bool leading = j->leading;
        leave(j);
        if (leading && (next = first_follower(f))) /* it searches in its place; without one the answer finds nobody */
                lead(f, next);
}

void cached_abandon(Job *j) {
        Flight *f = j->flight;

        if (!f)
                return;
        leave(j);
        finish_later(f);
}

void cached_moved(const Pool *to, Job *j) {
        Flight *f = j->flight;

        if (!f || streq_ptr(to->config->type->name, f->worker_type))
                return;
        f->unavailable = true; /* or it would not have been moved */
        cached_abandon(j);
}

/* --- results that are kept --- */

static void on_put(StoreRequest *r) {
        Flight *f = r->userdata;

        store_request_free(r);
        f->asking = false;
        leave_map(f);
        finish_later(f);
}

static uint64_t later(uint64_t usec, uint64_t span) {
        return usec > INT64_MAX - MIN(span, (uint64_t) INT64_MAX) ? INT64_MAX : usec + span;
}

/* Whether a worker of the type and the version that the key names has made it: its pool may have another type by now. */
static bool is_of_key(const Flight *f, const Worker *w) {
        return w && streq_ptr(w->type->name, f->worker_type) && streq_ptr(w->type->version, f->version);
}

static StoreRequest *put_request(const Flight *f, const WorkerType *t, const JobResult *r) {
        StoreRequest *q = store_request_new(STORE_OP_CACHE_PUT, on_put, (void *) f);
        bool failed = r->status != FRAME_COMPLETED;
        uint64_t now = realtime_usec();
        CacheItem *item;

        if (!q || store_request_add_item(q) < 0)
                return store_request_free(q);
        item = q->cache;
        item->key = f->key;
        item->method = strdup(strempty(f->method));
        item->worker_type = strdup(f->worker_type);
        item->code = r->code ? strdup(r->code) : NULL;
        item->kind = failed ? PAYLOAD_TEXT : r->kind;
        item->status = r->status;
        item->created_usec = now;
        item->expires_usec = later(now, failed ? t->cache_negative_usec : t->cache_ttl_usec);
        item->stale_until_usec = failed ? item->expires_usec : later(item->expires_usec, t->cache_stale_usec);
        item->body = failed ? blob_new_copy(strempty(r->error), strlen(strempty(r->error))) : r->data ? blob_ref(r->data) : blob_new(0);
        q->lazy = true;
        if (!item->method || !item->worker_type || (r->code && !item->code) || !item->body)
                return store_request_free(q);
        return q;
}

/* Whether there is a store that may have it, and answers. */
static bool searchable(const JobTable *t) {
        StoreHealth h = t->store ? store_health(t->store) : STORE_OFF;

        return t->cached.n_overdue == 0 && h != STORE_OFF && h != STORE_NEWER;
}

static bool keep(Flight *f, const Pool *p, const Worker *w, const JobResult *r) {
        const WorkerType *t = p->config->type;
        bool failed = r->status != FRAME_COMPLETED;
        StoreRequest *q;

        if (!searchable(f->table) || !is_of_key(f, w) || !cacheable(p, f->method) || blob_size(r->data) > t->cache_max)
                return false;
        /* what is stale is better than why it could not be made anew */
        if (failed ? t->cache_negative_usec == 0 || f->renewal : t->cache_ttl_usec == 0 && t->cache_stale_usec == 0)
                return false;
        q = put_request(f, t, r);
        if (!q)
                return false;
        store_submit(f->table->store, q);
        return true;
}

/* The worker's own word, which an equal job would get too: neither a failure of flowd's, nor one that may pass. */
static bool counts_for_all(const JobResult *r) {
        return r->status == FRAME_COMPLETED || (r->status == FRAME_FAILED && !r->dead && !r->retry && streq_ptr(r->code, "Failed"));
}

void cached_end(Pool *p, Job *j, const JobResult *r) {
        Flight *f = j->flight;

        if (!f)
                return;
        leave(j);
        finish_later(f);
        f->unavailable = streq_ptr(r->code, "PoolUnavailable");
        if (!counts_for_all(r))
                return;
        f->state = FLIGHT_DONE;
        f->result = (JobResult) {
                .status = r->status, .kind = r->kind, .data = blob_ref(r->data), .error = r->error ? strdup(r->error) : NULL, .code = r->code,
        };
        f->asking = !j->unkept && keep(f, p, j->worker, r);
        if (!f->asking) /* whoever comes now comes too late */
                leave_map(f);
}

void cached_purged(JobTable *t, const char *method, const char *worker_type) {
        LIST_FOREACH(l, &t->cached.flights) {
                Flight *f = list_entry(l, Flight, link);
                bool runs = f->state == FLIGHT_RUNNING && f->leader && f->leader->state == JOB_RUNNING;

                if ((method && !streq(strempty(f->method), method)) || (worker_type && !streq(f->worker_type, worker_type)) ||
                    (!runs && f->state != FLIGHT_DONE))
                        continue;
                if (runs)
                        f->leader->unkept = true;
                leave_map(f); /* equal jobs of later run for themselves */
        }
}

/* --- searching --- */

static void on_found(StoreRequest *r);
static void on_patience(Timer *t);

/* An encoded result can only be given where nobody but its submitter, who takes it, will ever look at it. */
static unsigned accepts(const Job *j) {
        return j->detached || j->durability != DURABLE_NO ? 0 : j->accept;
}

static bool takes(const Job *j, Encoding e) {
        bool alone = !list_empty(&j->watches) && j->watches.next->next == &j->watches;

        return e == ENCODING_IDENTITY || (alone && accepts(j) & 1U << e);
}

static int search(Flight *f, unsigned accept) {
        StoreRequest *r = store_request_new(STORE_OP_CACHE_GET, on_found, f);

        if (!r || store_request_add_item(r) < 0) {
                store_request_free(r);
                return -ENOMEM;
        }
        r->cache->key = f->key;
        r->cache->accept = accept;
        f->state = FLIGHT_SEARCHING;
        f->asking = true;
        f->search = r;
        f->patience.fire = on_patience;
        timer_arm(&f->table->host->timers, &f->patience, now_usec() + CACHED_SEARCH_USEC);
        store_submit(f->table->store, r);
        return 0;
}

/* Nobody renews it yet, and somebody should. */
static bool may_renew(const Flight *f, const Pool *p) {
        return (f->in_map || !map_find(&f->table->cached.by_key, (uint64_t) cache_id(&f->key))) && p->state != POOL_CLOSING && !p->stopping &&
               cacheable(p, f->method) && streq_ptr(p->config->type->version, f->version);
}

/* A job like that one, of flowd's own: not durable, behind all others, and nobody hears of its end. */
static Job *renewal_new(const Job *of) {
        Job *j = job_new();

        if (!j)
                return NULL;
        j->method = of->method ? strdup(of->method) : NULL;
        j->session = of->session ? strdup(of->session) : NULL;
        if ((of->method && !j->method) || (of->session && !j->session))
                return job_unref(j);
        j->payload = blob_ref(of->payload);
        j->payload_size = of->payload_size;
        j->kind = of->kind;
        j->timeout_usec = of->timeout_usec;
        j->priority = INT32_MIN;
        j->uid = of->uid; /* whose session it is */
        j->searched = j->renewal = true;
        return j;
}

/* The flight goes on with it as its leader; or it is not renewed this time. */
static void renew(Flight *f, Pool *p, Job *j) {
        _cleanup_free_ char *why = NULL;

        if (!f->in_map && !enter_map(f))
                return;
        f->state = FLIGHT_RUNNING;
        f->renewal = true;
        lead(f, j);
        if (pool_submit(p, j, &why) < 0)
                leave(j);
        else
                f->table->cached.stats.renewals++;
}

/* Those who can take what was found end with it. */
static void give_found(Flight *f, const CacheItem *item) {
        bool failed = item->status != FRAME_COMPLETED;
        FrameCache how = item->freshness == CACHE_STALE ? FRAME_CACHE_STALE : FRAME_CACHE_HIT;
        _cleanup_free_ char *error = NULL;
        JobResult r = { .status = item->status, .kind = item->kind, .encoding = item->encoding };
        const uint8_t *text = NULL;
        List all = LIST_INIT(all);
        List *l;

        if (failed && blob_data(item->body, &text) >= 0)
                error = memdup_text(text, blob_size(item->body));
        if (failed) {
                r.error = error;
                r.code = job_known_code(item->code) ? job_known_code(item->code) : "Failed";
        } else
                r.data = item->body;
        while ((l = list_first(&f->followers))) {
                list_remove(l);
                list_append(&all, l);
        }
        if (f->leader)
                list_prepend(&all, &f->leader->flight_link);
        while ((l = list_first(&all))) {
                Job *j = list_entry(l, Job, flight_link);

                list_remove(l);
                if (takes(j, item->encoding)) {
                        touch(f->table, &f->key);
                        give(j, &r, how, failed ? 0 : item->raw_size);
                } else if (!j->leading)
                        list_append(&f->followers, l);
        }
}

static void found(Flight *f, const CacheItem *item) {
        _cleanup_(job_unrefp) Job *renewal = NULL;
        Job *like = f->leader;
        Pool *p = like->pool;

        if (item->freshness == CACHE_STALE && may_renew(f, p))
                renewal = renewal_new(like);
        give_found(f, item);
        if (!f->leader && !list_empty(&f->followers))
                lead(f, first_follower(f));
        if (f->leader) { /* somebody needs it in plain bytes */
                if (search(f, 0) < 0)
                        queue_leader(f);
                return;
        }
        f->state = FLIGHT_RUNNING;
        if (renewal)
                renew(f, p, renewal);
        if (!f->leader)
                finish_later(f);
}

/* There is nothing for it: it is refused, or queued where there is room by now. */
static void probe_failed(Job *j) {
        _cleanup_free_ char *why = NULL;
        Pool *p = j->pool;
        int r;

        leave(j);
        pool_unqueue(p, j);
        r = pool_admits(p, j->payload_size, j->session, &why);
        if (r < 0) {
                pool_refused(p, r);
                p->jobs->refused++;
                j->pool = NULL;
                job_ref(j);
                job_table_forget(p->jobs, j);
                job_refuse(j, &(JobRefusal) { .code = pool_refusal_code(r), .text = strna(why) });
                job_unref(j);
                pool_dispatch_later(p);
                return;
        }
        pool_requeue_restored(p, j);
        job_accept(j);
}

static void end_probes(Flight *f) {
        LIST_FOREACH_SAFE(l, n, &f->followers) {
                Job *j = list_entry(l, Job, flight_link);

                if (j->probing)
                        probe_failed(j);
        }
        if (!f->leader->probing)
                return;
        probe_failed(f->leader);
        Job *next = first_follower(f);
        if (next)
                lead(f, next);
}

static void missed(Flight *f) {
        Flight *other = f->in_map ? NULL : map_get(&f->table->cached.by_key, (uint64_t) cache_id(&f->key), Flight, by_key);
        Job *j;

        f->table->cached.stats.misses++;
        end_probes(f);
        if (!f->leader) {
                flight_free(f);
                return;
        }
        if (!f->in_map && !other)
                (void) enter_map(f);
        if (!other || memcmp(&other->key, &f->key, sizeof(CacheKey)) != 0) {
                queue_leader(f);
                return;
        }
        /* it is being renewed, or was a moment ago */
        if (f->leader) {
                j = f->leader;
                leave(j);
                follow(other, j);
        }
        while ((j = list_first_entry(&f->followers, Job, flight_link))) {
                leave(j);
                follow(other, j);
        }
        finish_later(f);
}

static void on_found(StoreRequest *r) {
        Flight *f = r->userdata;

        f->asking = false;
        f->search = NULL;
        timer_disarm(&f->table->host->timers, &f->patience);
        if (!f->leader) /* all have left meanwhile */
                flight_free(f);
        else if (r->error >= 0)
                found(f, r->cache);
        else /* not there, or it cannot be read now: which is no reason not to run the job */
                missed(f);
        store_request_free(r);
}

/* What was waited for in vain. */
static void on_found_late(StoreRequest *r) {
        Cached *c = r->userdata;

        c->n_overdue--;
        store_request_free(r);
}

/* A disk that hangs, or a salvage: jobs run meanwhile, and none is searched until there is an answer again. */
static void on_patience(Timer *timer) {
        Flight *f = CONTAINER_OF(timer, Flight, patience);
        StoreRequest *r = TAKE_PTR(f->search);

        timer_disarm(&f->table->host->timers, timer);
        r->userdata = &f->table->cached;
        r->done = on_found_late;
        f->table->cached.n_overdue++;
        f->asking = false;
        if (f->leader)
                missed(f);
        else
                flight_free(f);
}

/* The key of a job, where it has one. */
static int key_of(const WorkerType *t, Job *j, CacheKey *ret) {
        _cleanup_free_ char *session = NULL;
        const uint8_t *data = NULL;
        int r;

        if (j->payload_size > CACHE_ARGUMENTS_MAX)
                return -E2BIG;
        if (!j->payload)
                return -ENODATA;
        r = blob_data(j->payload, &data);
        if (r < 0)
                return r;
        if (t->cache_session) { /* a session is its user's, and what is in none is nobody else's either */
                session = j->session ? str_printf("%u/%s", (unsigned) j->uid, j->session) : str_printf("%u", (unsigned) j->uid);
                if (!session)
                        return -ENOMEM;
        }
        return cache_key(t->name, t->version, j->method, session, j->kind, data, j->payload_size, ret);
}

bool cached_begin(Pool *p, Job *j) {
        const WorkerType *t = p->config->type;
        JobTable *table = p->jobs;
        Flight *f, *other;
        CacheKey key;

        if (j->flight || j->searched || !cacheable(p, j->method))
                return false;
        j->searched = true;
        j->leading = false;
        if (key_of(t, j, &key) < 0)
                return false;
        other = map_get(&table->cached.by_key, (uint64_t) cache_id(&key), Flight, by_key);
        if (other && memcmp(&other->key, &key, sizeof(key)) != 0) /* half of the key is another's */
                return false;
        if (other && !(other->renewal && other->state == FLIGHT_RUNNING && searchable(table))) {
                follow(other, j);
                return true;
        }
        f = flight_new(table, t, j->method, &key);
        if (!f || (!other && !enter_map(f))) {
                flight_free(f);
                return false;
        }
        lead(f, j);
        f->renewal = j->renewal; /* from the image before */
        if (searchable(table) && !j->renewal && search(f, accepts(j)) >= 0)
                return true;
        f->state = FLIGHT_RUNNING;
        return false;
}

bool cached_may_probe(Pool *p, Job *j, int error) {
        const WorkerType *t = p->config->type;
        Flight *other;
        CacheKey key;

        if ((error != -EXFULL && error != -ENOTCONN) || p->state == POOL_CLOSING || p->stopping || j->durability != DURABLE_NO || j->not_before_usec > 0 ||
            j->renewal || /* which has been searched */
            p->jobs->cached.n_probes >= CACHED_PROBES_MAX || !searchable(p->jobs) || !cacheable(p, j->method) || key_of(t, j, &key) < 0)
                return false;
        other = map_get(&p->jobs->cached.by_key, (uint64_t) cache_id(&key), Flight, by_key);
        return !other || (memcmp(&other->key, &key, sizeof(key)) == 0 && (other->state != FLIGHT_RUNNING || other->renewal));
}

bool cached_probes(Job *j) {
        if (!j->flight) /* there was no memory to search it: the pool has one job too many */
                j->probing = false;
        return j->probing;
}

void cached_resume(Pool *p, Worker *w, Job *j) {
        Flight *f;
        CacheKey key;

        if (!j->leading || j->flight)
                return;
        j->leading = false;
        j->searched = true;
        if (w->type != p->config->type || key_of(w->type, j, &key) < 0 || map_find(&p->jobs->cached.by_key, (uint64_t) cache_id(&key)))
                return;
        f = flight_new(p->jobs, w->type, j->method, &key);
        if (!f || !enter_map(f)) {
                flight_free(f);
                return;
        }
        f->state = FLIGHT_RUNNING;
        f->renewal = j->renewal;
        lead(f, j);
}

void cached_serialize(const JobTable *t, StateWriter *sw, json_object *o) {
        const CachedStats *s = &t->cached.stats;

        state_put_int(sw, o, "cache_hits", (int64_t) s->hits);
        state_put_int(sw, o, "cache_stale", (int64_t) s->stale);
        state_put_int(sw, o, "cache_misses", (int64_t) s->misses);
        state_put_int(sw, o, "cache_coalesced", (int64_t) s->coalesced);
        state_put_int(sw, o, "cache_saved_bytes", (int64_t) s->saved_bytes);
        state_put_int(sw, o, "cache_renewals", (int64_t) s->renewals);
}

void cached_deserialize(JobTable *t, const json_object *o) {
        t->cached.stats = (CachedStats) {
                .hits = (uint64_t) state_get_int(o, "cache_hits"),
                .stale = (uint64_t) state_get_int(o, "cache_stale"),
                .misses = (uint64_t) state_get_int(o, "cache_misses"),
                .coalesced = (uint64_t) state_get_int(o, "cache_coalesced"),
                .saved_bytes = (uint64_t) state_get_int(o, "cache_saved_bytes"),
                .renewals = (uint64_t) state_get_int(o, "cache_renewals"),
        };
}

void cached_done(JobTable *t) {
        Cached *c = &t->cached;
        List *l;

        hot_undefer(&c->finish);
        timer_disarm(&t->host->timers, &c->touch);
        while ((l = list_first(&c->flights))) {
                Flight *f = list_entry(l, Flight, link);
                Job *j;

                while ((j = list_first_entry(&f->followers, Job, flight_link)))
                        leave(j);
                if (f->leader)
                        leave(f->leader);
                f->asking = false; /* the store is closed by now */
                flight_free(f);
        }
        map_done(&c->by_key);
}
