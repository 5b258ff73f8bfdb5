/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The loop's side of the store. Requests that are submitted in one round of the loop go to the writer together, at the end of it: the clients
 * that were answered after one commit submit their next jobs in one round, and these share the next commit. What is done comes back through a
 * list and an eventfd in the hot set.
 *
 * Three threads: the writer, which alone changes the database; a reader for what is quick; a reader for what reads everything, so that a backup
 * does not hold up a result. `lock` is held for moments and the loop takes it; `db_lock` is held across disk writes and the loop takes it in
 * store_load() and store_load_slice() only. Whoever takes both takes db_lock first.
 *
 * Whether jobs are accepted is decided here, from what the loop was told last, so that an answer never contradicts store_accepts().
 */

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "basic/fd.h"
#include "store/cache.h"
#include "store/threads.h"

StoreRequest *store_request_new(StoreOp op, StoreDone done, void *userdata) {
        Request *q = new0(Request, 1);

        if (!q)
                return NULL;
        list_init(&q->r.link);
        q->r.op = op;
        q->r.done = done;
        q->r.userdata = userdata;
        q->r.filter.state = -1;
        q->fd = -1;
        return &q->r;
}

int store_request_add_item(StoreRequest *r) {
        r->cache = new0(CacheItem, 1);
        if (!r->cache)
                return -ENOMEM;
        r->n_cache = 1;
        return 0;
}

bool store_tells_end(const StoreRequest *r) {
        if (r->op == STORE_OP_GET)
                return r->record.durability == DURABLE_YES && r->record.state >= JOB_COMPLETED;
        for (uint64_t i = 0; r->op == STORE_OP_LIST && i < r->n; i++)
                if (r->records[i].durability == DURABLE_YES && r->records[i].state >= JOB_COMPLETED)
                        return true;
        return false;
}

StoreRequest *store_request_free(StoreRequest *r) {
        if (!r)
                return NULL;
        job_record_done(&r->record);
        for (uint64_t i = 0; r->records && i < r->n; i++)
                job_record_done(&r->records[i]);
        free(r->records);
        free(r->filter.pool);
        free(r->filter.method);
        free(r->filter.session);
        flow_change_free(r->flow);
        free(r->ids);
        (void) cache_items_free(r->cache, r->n_cache);
        free(r->path);
        free(r->state_key);
        free(r->state_value);
        free(r->text);
        free(CONTAINER_OF(r, Request, r));
        return NULL;
}

void request_fail(Request *q, int error, const char *text) {
        q->r.error = error;
        if (text && *text) {
                free(q->r.text);
                q->r.text = strdup(text); /* without memory there is the number */
        }
}

void store_wake(Store *s) {
        uint64_t one = 1;

        (void) !write(s->event.fd, &one, sizeof(one)); /* full means that it is readable */
}

void store_post(Store *s, List *requests) {
        if (list_empty(requests))
                return;
        (void) pthread_mutex_lock(&s->lock);
        list_move_all(&s->done, requests);
        (void) pthread_mutex_unlock(&s->lock);
        store_wake(s);
}

/* Notes where the body is while the blob cannot change under us. */
static void capture(Request *q) {
        const JobRecord *j = &q->r.record;
        Blob *b = q->r.op == STORE_OP_END ? j->result : q->r.op == STORE_OP_CACHE_PUT && q->r.cache ? q->r.cache->body : j->payload;

        q->body = b || (q->r.op == STORE_OP_ADD && j->payload_size == 0);
        if (!b || b->size == 0)
                return;
        q->size = b->size;
        if (b->data == b->bytes)
                q->data = b->data;
        else
                q->fd = b->fd;
}

/* Sizes are those of the bodies, whatever the record says. */
static void capture_sizes(Request *q) {
        capture(q);
        if (!q->body)
                return;
        if (q->r.op == STORE_OP_END)
                q->r.record.result_size = q->size;
        else if (q->r.op == STORE_OP_ADD || q->r.op == STORE_OP_REQUEUE || q->r.op == STORE_OP_ATTEMPT)
                q->r.record.payload_size = q->size;
}

static bool is_cache_write(StoreOp op) {
        return op == STORE_OP_CACHE_PUT || op == STORE_OP_CACHE_TOUCH || op == STORE_OP_CACHE_PURGE;
}

static void on_flush(Defer *d) {
        Store *s = CONTAINER_OF(d, Store, flush);
        bool writes = false, reads[_READER_MAX] = {};
        List *n;

        (void) pthread_mutex_lock(&s->lock);
        while ((n = list_first(&s->fresh))) {
                Request *q = request_of(n);

                list_remove(n);
                if (is_cache_write(q->r.op)) {
                        list_append(&s->cache_queue, n);
                        writes = true;
                } else if (q->r.op < _STORE_OP_READ) {
                        list_append(&s->queue, n);
                        s->eager += !q->r.lazy;
                        writes = true;
                } else {
                        int which = q->r.op == STORE_OP_CHECK || q->r.op == STORE_OP_BACKUP ? READER_SLOW :
                                    q->r.op == STORE_OP_CACHE_GET ? READER_CACHE : READER_QUICK;

                        list_append(&s->readers[which].queue, n);
                        reads[which] = true;
                }
        }
        if (writes)
                (void) pthread_cond_signal(&s->more);
        for (int i = 0; i < _READER_MAX; i++)
                if (reads[i])
                        (void) pthread_cond_signal(&s->readers[i].more);
        (void) pthread_mutex_unlock(&s->lock);
}

void store_submit(Store *s, StoreRequest *r) {
        Request *q = CONTAINER_OF(r, Request, r);
        const char *why;

        capture_sizes(q);
        r->queued_usec = now_usec();
        s->pending++;
        if ((r->op == STORE_OP_ADD || r->op == STORE_OP_RETRY) && !store_accepts(s, &why)) {
                request_fail(q, s->told_health == STORE_OK ? -EAGAIN : store_health_errno(s->told_health), why);
                list_append(&s->ready, &r->link);
                store_wake(s);
                return;
        }
        if (r->op == STORE_OP_CACHE_PUT) {
                if (s->cache_puts >= STORE_CACHE_PUTS_MAX || s->cache_put_bytes + q->size > STORE_CACHE_PUTS_BYTES) { /* the writer does not keep up */
                        q->refused = true;
                        request_fail(q, -EAGAIN, NULL);
                        list_append(&s->ready, &r->link);
                        store_wake(s);
                        return;
                }
                s->cache_puts++;
                s->cache_put_bytes += q->size;
        }
        if (r->op == STORE_OP_ADD)
                s->highest = MAX(s->highest, r->record.id);
        list_append(&s->fresh, &r->link);
        hot_defer(s->hot, &s->flush);
}

/* Takes what has changed over from the threads. */
static void catch_up(Store *s) {

        (void) pthread_mutex_lock(&s->lock);
        list_move_all(&s->ready, &s->done);
        s->unsaid |= s->health != s->told_health || !streq(s->why, s->told_why) || (s->needs_load && !s->told_needs_load);
        s->told_health = s->health;
        memcpy(s->told_why, s->why, sizeof(s->told_why));
        s->told_needs_load = s->needs_load;
        (void) pthread_mutex_unlock(&s->lock);
}

static void tell(Store *s, unsigned budget) {
        List *n;

        for (; budget > 0 && (n = list_first(&s->ready)); budget--) {
                Request *q = request_of(n);

                list_remove(n);
                s->pending--;
                if (q->r.op == STORE_OP_CACHE_PUT && !q->refused) {
                        s->cache_puts--;
                        s->cache_put_bytes -= q->size;
                }
                q->r.done(&q->r);
        }
}

static void on_event(HotFd *h, uint32_t revents) {
        Store *s = CONTAINER_OF(h, Store, event);
        uint64_t n;

        (void) revents;
        (void) !read(h->fd, &n, sizeof(n)); /* before the lists are looked at, so that no wake-up is lost */
        catch_up(s);
        if (s->unsaid) {
                s->unsaid = false;
                if (s->changed)
                        s->changed(s, s->userdata);
        }
        tell(s, STORE_DONE_BUDGET);
        if (!list_empty(&s->ready))
                store_wake(s);
}

bool store_accepts(const Store *s, const char **ret_why) {
        if (s->told_health == STORE_OK && !s->told_needs_load)
                return true;
        if (ret_why)
                *ret_why = s->told_health == STORE_OK ? "the jobs of the run before are being loaded" : s->told_why;
        return false;
}

StoreHealth store_health(const Store *s) {
        return s->told_health;
}

const char *store_why(const Store *s) {
        return s->told_why[0] ? s->told_why : NULL;
}

bool store_needs_load(const Store *s) {
        return s->told_needs_load;
}

unsigned store_pending(const Store *s) {
        return s->pending;
}

bool store_synced(const Store *cs, uint64_t group) {
        Store *s = (Store *) cs;

        (void) pthread_mutex_lock(&s->lock);
        bool synced = s->synced >= group;
        (void) pthread_mutex_unlock(&s->lock);
        return synced;
}

uint64_t store_last_id(const Store *cs) {
        Store *s = (Store *) cs;

        (void) pthread_mutex_lock(&s->lock);
        uint64_t id = MAX(s->last_id, s->highest);
        (void) pthread_mutex_unlock(&s->lock);
        return id;
}

const char *store_last_instances(const Store *cs) {
        Store *s = (Store *) cs;

        (void) pthread_mutex_lock(&s->lock);
        const char *names = s->last_instances;
        (void) pthread_mutex_unlock(&s->lock);
        return names; /* set once, when the database is first opened */
}

void store_configure(Store *s, const StoreConfig *c) {
        (void) pthread_mutex_lock(&s->lock);
        bool off = s->config.off;
        s->config = *c;
        s->config.off = off;
        s->config.directory = s->config.instance = NULL; /* the caller's, and not ours to keep */
        s->reconfigured = true;
        (void) pthread_cond_signal(&s->more);
        (void) pthread_mutex_unlock(&s->lock);
}

/* Loads what can be loaded now. Returns below 0 only for what `job` returned, 1 where there is more. */
static int load(Store *s, unsigned max, int (*job)(JobRecord *r, void *userdata), void *userdata) {
        _cleanup_free_ uint64_t *lost = NULL;
        size_t n_lost = 0;
        bool more;
        int r;

        for (;;) {
                s->db.trouble = STORE_OK;
                r = job_load(&s->db, &s->load_last, max, job, userdata, &lost, &n_lost);
                if (r >= 0)
                        break;
                if (s->db.trouble == STORE_OK)
                        return r;
                if (writer_trouble(s) < 0)
                        return 0; /* it is tried again, and store_needs_load() stays */
        }
        more = r > 0;
        if (n_lost > 0) {
                r = db_begin(&s->db, true);
                for (size_t i = 0; i < n_lost && r >= 0; i++)
                        r = job_lost(&s->db, lost[i]);
                if (r >= 0)
                        r = db_commit(&s->db);
                if (r < 0) {
                        db_rollback(&s->db);
                        s->load_last = MIN(s->load_last, lost[0] - 1);
                        (void) writer_trouble(s);
                        return 0;
                }
                log_write(s->log, LOG_ERR, "The payloads of %zu stored jobs were damaged: they have ended as failed, with code PayloadDamaged", n_lost);
        }
        s->loaded = !more;
        return more;
}

int store_load_slice(Store *s, unsigned max, int (*job)(JobRecord *r, void *userdata), void *userdata) {
        int r = 0;

        (void) pthread_mutex_lock(&s->db_lock);
        if (s->db.sql && !s->loaded)
                r = load(s, max, job, userdata);
        writer_publish(s);
        (void) pthread_mutex_unlock(&s->db_lock);
        catch_up(s);
        if (s->unsaid) /* the loop says it, as always */
                store_wake(s);
        return r;
}

int store_load_state(Store *s, int (*entry)(const char *key, const char *value, void *userdata), void *userdata) {
        int r = 0;

        (void) pthread_mutex_lock(&s->db_lock);
        if (s->db.sql) {
                s->db.trouble = STORE_OK;
                r = state_each(&s->db, entry, userdata);
                if (r < 0 && s->db.trouble != STORE_OK) {
                        (void) writer_trouble(s);
                        writer_publish(s);
                }
        }
        (void) pthread_mutex_unlock(&s->db_lock);
        return r;
}

int store_load(Store *s, int (*job)(JobRecord *r, void *userdata), void *userdata) {
        return store_load_slice(s, UINT_MAX, job, userdata);
}

int store_load_flow(Store *s, const FlowSink *sink, void *userdata) {
        int r = 0;

        (void) pthread_mutex_lock(&s->db_lock);
        while (s->db.sql && s->loaded) {
                s->db.trouble = STORE_OK;
                r = db_flow_load(&s->db, sink, userdata);
                if (r >= 0 || s->db.trouble == STORE_OK) {
                        r = r < 0 ? r : 1;
                        break;
                }
                sink->again(userdata);
                r = 0;
                if (writer_trouble(s) < 0) /* it does not work now; what is there stays where it is */
                        break;
        }
        (void) pthread_mutex_unlock(&s->db_lock);
        return r;
}

static int init_cond(pthread_cond_t *c) {
        pthread_condattr_t attr;
        int r;

        r = pthread_condattr_init(&attr);
        if (r != 0)
                return -r;
        (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        r = pthread_cond_init(c, &attr);
        (void) pthread_condattr_destroy(&attr);
        return -r;
}

/* Whatever fails in here leaves something that store_close() can free. */
static int init(Store *s, const StoreConfig *c) {
        int r;

        s->directory = strdup(c->directory);
        s->path = str_printf("%s/%s", c->directory, STORE_FILE);
        s->instance = c->instance ? strdup(c->instance) : NULL;
        if (!s->directory || !s->path || (c->instance && !s->instance))
                return -ENOMEM;
        r = codec_new(c->compress_level, &s->codec);
        if (r < 0)
                return r;
        s->db.codec = s->codec;
        codec_set_trained(s->codec, writer_learn, s);
        s->config = s->limits = *c;
        s->config.directory = s->limits.directory = s->config.instance = s->limits.instance = NULL;
        s->event.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->event.fd < 0)
                return -errno;
        return hot_watch(s->hot, &s->event, EPOLLIN);
}

static int start(Store *s) {
        sigset_t all, saved;
        int r;

        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &saved);
        r = pthread_create(&s->writer, NULL, writer_thread, s);
        s->writer_runs = r == 0;
        for (int i = 0; i < _READER_MAX && r == 0; i++) {
                r = pthread_create(&s->readers[i].thread, NULL, reader_thread, &s->readers[i]);
                s->readers_run[i] = r == 0;
        }
        if (r == 0)
                r = -codec_start_trainer(s->codec);
        (void) pthread_sigmask(SIG_SETMASK, &saved, NULL);
        return -r;
}

int store_open(const StoreConfig *c, HotSet *hot, Log *log, void (*changed)(Store *s, void *userdata), void *userdata, Store **ret) {
        _cleanup_(store_closep) Store *s = new0(Store, 1);
        int r;

        if (!s)
                return -ENOMEM;
        s->hot = hot;
        s->log = log;
        s->changed = changed;
        s->userdata = userdata;
        s->event = (HotFd) { .fd = -1, .on_io = on_event };
        s->flush.run = on_flush;
        s->lock_fd = -1;
        list_init(&s->flush.link);
        list_init(&s->fresh);
        list_init(&s->ready);
        list_init(&s->queue);
        list_init(&s->cache_queue);
        list_init(&s->done);
        list_init(&s->kept);
        list_init(&s->slow);
        list_init(&s->learnt);
        list_init(&s->to_store);
        (void) pthread_mutex_init(&s->lock, NULL);
        (void) pthread_mutex_init(&s->db_lock, NULL);
        r = init_cond(&s->more);
        if (r >= 0)
                r = init_cond(&s->open_door);
        for (int i = 0; i < _READER_MAX; i++) {
                Reader *reader = &s->readers[i];

                reader->store = s;
                list_init(&reader->queue);
                (void) pthread_mutex_init(&reader->busy, NULL);
                if (r >= 0)
                        r = init_cond(&reader->more);
        }
        if (r >= 0)
                r = init(s, c);
        if (r < 0)
                return r;
        for (int i = 0; i < _READER_MAX; i++)
                s->readers[i].db.codec = s->codec;
        (void) pthread_mutex_lock(&s->db_lock);
        writer_apply_limits(s, &s->limits);
        writer_open(s);
        (void) pthread_mutex_unlock(&s->db_lock);
        catch_up(s);
        s->unsaid = false; /* the caller looks */
        r = start(s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

static void cancel_all(Store *s, List *l) {
        LIST_FOREACH(n, l)
                request_fail(request_of(n), -ECANCELED, NULL);
        list_move_all(&s->ready, l);
}

Store *store_close(Store *s) {
        List *l;

        if (!s)
                return NULL;
        hot_undefer(&s->flush);
        on_flush(&s->flush);
        (void) pthread_mutex_lock(&s->lock);
        s->stop = true;
        (void) pthread_cond_signal(&s->more);
        (void) pthread_cond_broadcast(&s->open_door);
        for (int i = 0; i < _READER_MAX; i++) {
                (void) pthread_cond_signal(&s->readers[i].more);
                if (s->readers[i].handle)
                        sqlite3_interrupt(s->readers[i].handle);
        }
        (void) pthread_mutex_unlock(&s->lock);
        for (int i = 0; i < _READER_MAX; i++)
                if (s->readers_run[i])
                        (void) pthread_join(s->readers[i].thread, NULL);
        if (s->writer_runs)
                (void) pthread_join(s->writer, NULL);

        for (int i = 0; i < _READER_MAX; i++) {
                cancel_all(s, &s->readers[i].queue);
                db_close(&s->readers[i].db, true);
        }
        db_close(&s->db, s->damaged);
        catch_up(s);
        cancel_all(s, &s->queue);
        cancel_all(s, &s->cache_queue);
        cancel_all(s, &s->kept);
        cancel_all(s, &s->slow);
        do { /* whoever hears of an end may submit once more */
                tell(s, UINT32_MAX);
                cancel_all(s, &s->fresh);
        } while (!list_empty(&s->ready));
        hot_undefer(&s->flush);
        if (s->event.fd >= 0)
                hot_unwatch(s->hot, &s->event);
        fd_close(s->event.fd);
        fd_close(s->lock_fd);
        codec_free(s->codec);
        list_move_all(&s->to_store, &s->learnt);
        while ((l = list_first(&s->to_store)))
                learnt_free(list_entry(l, Learnt, link));
        for (int i = 0; i < _READER_MAX; i++) {
                (void) pthread_mutex_destroy(&s->readers[i].busy);
                (void) pthread_cond_destroy(&s->readers[i].more);
        }
        (void) pthread_cond_destroy(&s->more);
        (void) pthread_cond_destroy(&s->open_door);
        (void) pthread_mutex_destroy(&s->lock);
        (void) pthread_mutex_destroy(&s->db_lock);
        free(s->last_instances);
        free(s->directory);
        free(s->path);
        free(s->instance);
        free(s);
        return NULL;
}
