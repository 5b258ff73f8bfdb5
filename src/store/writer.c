/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The writer. It takes all that is queued as one group: BEGIN, each request, COMMIT; then the loop hears of them. While it waits for the disk the
 * next group gathers, so a sync is shared by as many as there are. A group is synced when one of its requests asks for it, and with it all groups
 * before it, since they lie before it in the WAL.
 *
 * When the disk fails, requests are of two kinds. What was not promised yet (ADD, RETRY, PURGE, STATE_PUT) fails. What belongs to jobs that were
 * accepted (ATTEMPT, REQUEUE, END, and the SYNC behind them), or takes something back (STATE_DELETE), is kept, in its order, and tried again every
 * STORE_RETRY_USEC until the disk works.
 * Whether a commit that failed has not happened all the same is not known, so what is kept may be carried out twice: then it finds its own
 * work and is content.
 *
 * Damage is mended on the spot: the readers are shut out, the database is salvaged into a new one, and the group is carried out there.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "store/threads.h"

static int accept_loss(Db *db, Request *q) {
        return db_meta_set(db, "loss", "");
}

static int (*const operations[_STORE_OP_READ])(Db *db, Request *q) = {
        [STORE_OP_ADD] = job_add,
        [STORE_OP_ATTEMPT] = job_attempt,
        [STORE_OP_REQUEUE] = job_requeue,
        [STORE_OP_END] = db_job_end,
        [STORE_OP_RETRY] = job_retry,
        [STORE_OP_FLOW] = db_flow_change,
        [STORE_OP_PURGE] = job_purge,
        [STORE_OP_ACCEPT_LOSS] = accept_loss,
        [STORE_OP_STATE_PUT] = state_put,
        [STORE_OP_STATE_DELETE] = state_delete,
        [STORE_OP_CACHE_PUT] = cache_op_put,
        [STORE_OP_CACHE_TOUCH] = cache_op_touch,
        [STORE_OP_CACHE_PURGE] = cache_op_purge,
};

static bool is_kept(StoreOp op) {
        return op == STORE_OP_ATTEMPT || op == STORE_OP_REQUEUE || op == STORE_OP_END || op == STORE_OP_FLOW || op == STORE_OP_SYNC ||
                op == STORE_OP_STATE_DELETE; /* or what was closed would be there again */
}

/* ------------------------------------------------------------------------------------------------------------- health */

static void set_trouble(Store *s, StoreHealth h, const char *format, ...) _printf_(3, 4);
static void set_trouble(Store *s, StoreHealth h, const char *format, ...) {
        char text[STORE_TEXT_MAX];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (s->trouble != h || !streq(s->trouble_text, text))
                log_write(s->log, h == STORE_OK ? LOG_NOTICE : LOG_ERR, "Store: %s", text);
        s->trouble = h;
        memcpy(s->trouble_text, text, sizeof(text));
        s->retry_usec = now_usec() + (s->damaged ? STORE_SALVAGE_RETRY_USEC : STORE_RETRY_USEC);
}

/* Makes words of what the database said. */
static void explain(Store *s) {
        const char *what = s->db.text;

        switch (s->db.trouble) {
        case STORE_FULL:
                set_trouble(s, STORE_FULL, "there is no space left in %s (%s): free some. Until then no durable job is accepted, and the ends of those "
                            "that were are kept in memory", s->directory, what);
                break;
        case STORE_LOCKED:
                set_trouble(s, STORE_LOCKED, "%s is locked by another program, a sqlite3 shell perhaps (%s): end it", s->path, what);
                break;
        case STORE_READ_ONLY:
                set_trouble(s, STORE_READ_ONLY, "%s cannot be written (%s): check its owner and mode, those of its directory, and how that is mounted",
                            s->path, what);
                break;
        case STORE_NEWER:
                set_trouble(s, STORE_NEWER, "%s", what);
                break;
        default:
                set_trouble(s, STORE_FAILED, "%s cannot be used (%s): check the disk, and what the kernel says of it. It is tried again all the time",
                            s->path, what);
        }
}

void writer_publish(Store *s) {
        char limit[32], full[STORE_TEXT_MAX];
        const char *why = "";
        StoreHealth h = STORE_OK;

        if (s->trouble != STORE_OK) {
                h = s->trouble;
                why = s->trouble_text;
        } else if (s->db.over) {
                h = STORE_FULL;
                snprintf(full, sizeof(full), "StoreMaxBytes=%s is reached, and what fills it are jobs that have not ended: raise it, or wait for them",
                         size_format(limit, sizeof(limit), s->limits.max_bytes));
                why = full;
        } else if (s->loss[0]) {
                h = STORE_DAMAGED;
                why = s->loss;
        }
        (void) pthread_mutex_lock(&s->lock);
        bool news = h != s->health || !streq(why, s->why) || s->needs_load != (s->db.sql && !s->loaded);
        s->health = h;
        (void) snprintf(s->why, sizeof(s->why), "%s", why);
        s->opened = s->opened || s->db.sql;
        s->needs_load = s->db.sql && !s->loaded;
        s->shown = s->db.total;
        if (s->db.cache)
                (void) cache_known(s->db.cache, &s->shown_cache);
        s->low = s->db.low;
        s->last_id = MAX(s->last_id, s->db.last_id);
        (void) pthread_mutex_unlock(&s->lock);
        if (news)
                store_wake(s);
}

/* ------------------------------------------------------------------------------------------------------------ opening */

/* One flowd for a directory. */
static int lock_directory(Store *s) {
        _cleanup_free_ char *path = str_printf("%s/%s", s->directory, STORE_LOCK_FILE);
        _cleanup_close_ int fd = -1;
        char pid[24] = "";
        int r;

        if (s->lock_fd >= 0)
                return 0;
        if (!path)
                return db_fail_errno(&s->db, ENOMEM, "locking");
        r = dir_make(s->directory, 0700);
        if (r < 0)
                return db_fail_errno(&s->db, -r, "making the directory");
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0600);
        if (fd < 0)
                return db_fail_errno(&s->db, errno, "locking");
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                int error = errno;
                ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

                if (error != EWOULDBLOCK)
                        return db_fail_errno(&s->db, error, "locking");
                pid[MAX(n, 0)] = 0;
                pid[strcspn(pid, "\n")] = 0;
                set_trouble(s, STORE_LOCKED, "%s is in use by another flowd (PID %s): stop it, or give one of the two another state directory. "
                            "This one runs without a store until then", s->path, pid[0] ? pid : "unknown");
                return -EBUSY;
        }
        /* For the text above only: the lock does not need it. */
        snprintf(pid, sizeof(pid), "%ld\n", (long) getpid());
        if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, strlen(pid), 0) < 0)
                log_write(s->log, LOG_DEBUG, "Store: cannot write to %s", path);
        s->lock_fd = TAKE_FD(fd);
        return 0;
}

/* Our name is written before a worker has it; those of the last runs stay behind it. */
static int register_instance(Store *s) {
        _cleanup_free_ char *old = NULL, *others = NULL, *all = NULL;
        unsigned n = 1;
        char *save = NULL;
        int r;

        if (s->registered)
                return 0;
        r = db_meta_get(&s->db, "instance", &old);
        if (r < 0)
                return r;
        for (char *name = old ? strtok_r(old, " ", &save) : NULL; name && n < STORE_INSTANCES_MAX; name = strtok_r(NULL, " ", &save)) {
                if (s->instance && streq(name, s->instance))
                        continue;
                char *longer = others ? str_printf("%s %s", others, name) : strdup(name);
                free(others);
                others = longer;
                if (!others)
                        return db_fail(&s->db, SQLITE_NOMEM, "opening");
                n++;
        }
        if (s->instance) {
                all = others ? str_printf("%s %s", s->instance, others) : strdup(s->instance);
                if (!all)
                        return db_fail(&s->db, SQLITE_NOMEM, "opening");
                r = db_begin(&s->db, true);
                if (r >= 0)
                        r = db_meta_set(&s->db, "instance", all);
                if (r >= 0)
                        r = db_commit(&s->db);
                if (r < 0) {
                        db_rollback(&s->db);
                        return r;
                }
        }
        s->registered = true;
        (void) pthread_mutex_lock(&s->lock);
        s->last_instances = TAKE_PTR(others);
        (void) pthread_mutex_unlock(&s->lock);
        return 0;
}

/* What StoreMaxBytes= refuses is new jobs; the ends of those that are there have some room above it. */
static int limit_pages(Store *s) {
        uint64_t pages = s->limits.max_bytes / STORE_PAGE_SIZE / 4 * 5 + STORE_PAGES_SPARE;
        char sql[64];

        snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %llu", (unsigned long long) MIN(pages, 4294967294ULL));
        return db_exec(&s->db, sql);
}

/* Opens a database that is whole, or says what is wrong in s->db. */
static int open_database(Store *s) {
        _cleanup_free_ char *loss = NULL;
        Tally total = s->db.total;
        int r;

        r = store_salvage_finish(&s->db, s->directory);
        if (r >= 0)
                r = db_open(&s->db, s->path, true);
        if (r < 0)
                return r;
        memset(total.jobs, 0, sizeof(total.jobs));
        s->db.total = total;
        r = db_survey(&s->db);
        if (r >= 0)
                r = dictionaries_load(&s->db);
        if (r >= 0)
                r = db_meta_get(&s->db, "loss", &loss);
        if (r >= 0)
                r = register_instance(s);
        if (r >= 0)
                r = limit_pages(s);
        if (r >= 0)
                r = cache_survey(&s->db);
        if (r >= 0)
                r = retention_due(&s->db, &s->limits);
        if (r < 0) {
                db_close(&s->db, s->db.trouble == STORE_DAMAGED);
                return r;
        }
        str_copy(s->loss, sizeof(s->loss), strempty(loss));
        return 0;
}

/* Salvages what s->damaged_text is about, and opens the new one. */
static int salvage(Store *s) {
        Salvage found;
        int r;

        s->damaged = true;
        log_write(s->log, LOG_CRIT, "Store: %s is damaged (%s): what can be read is copied into a new one", s->path, s->damaged_text);
        readers_exclude(s);
        db_close(&s->db, true);
        r = store_salvage(&s->db, s->directory, s->damaged_text, &found);
        if (r >= 0) {
                log_write(s->log, LOG_CRIT, "Store: %s", found.loss);
                s->damaged = false;
                r = open_database(s);
        }
        readers_admit(s);
        return r;
}

static void note_damage(Store *s) {
        s->damaged = true;
        str_copy(s->damaged_text, sizeof(s->damaged_text), s->db.text);
}

void writer_open(Store *s) {
        StoreHealth before = s->trouble;
        int r;

        if (s->config.off) {
                if (s->trouble != STORE_OFF) {
                        s->trouble = STORE_OFF;
                        str_copy(s->trouble_text, sizeof(s->trouble_text), "the store is off: set Store=yes to have one");
                }
                s->retry_usec = UINT64_MAX;
                writer_publish(s);
                return;
        }
        s->db.trouble = STORE_OK;
        r = lock_directory(s);
        if (r < 0 && s->db.trouble == STORE_OK) { /* told */
                writer_publish(s);
                return;
        }
        if (before == STORE_READ_ONLY) /* they read it as one that does not change */
                readers_exclude(s);
        if (r >= 0)
                r = s->damaged ? -EBADMSG : open_database(s);
        if (r < 0 && (s->damaged || s->db.trouble == STORE_DAMAGED)) {
                if (!s->damaged)
                        note_damage(s);
                r = salvage(s);
        }
        if (r >= 0) {
                s->trouble = STORE_OK;
                s->trouble_text[0] = 0;
                if (before != STORE_OK)
                        log_write(s->log, LOG_NOTICE, "Store: %s is open", s->path);
        } else {
                explain(s);
                if (s->trouble == STORE_NEWER) {
                        s->retry_usec = UINT64_MAX;
                        s->lock_fd = fd_close(s->lock_fd); /* for the one that knows it */
                }
        }
        writer_publish(s);
        if (before == STORE_READ_ONLY)
                readers_admit(s);
}

int writer_trouble(Store *s) {
        int r;

        if (s->db.trouble == STORE_DAMAGED) {
                note_damage(s);
                r = salvage(s);
                if (r >= 0)
                        return 0;
        }
        r = store_health_errno(s->db.trouble);
        explain(s);
        writer_publish(s);
        return r;
}

void writer_apply_limits(Store *s, const StoreConfig *c) {
        s->limits = *c;
        s->db.compress_min = c->compress_min;
        s->db.key_usec = c->key_usec;
        s->db.cache_bytes = c->cache_bytes;
        s->db.max_bytes = c->max_bytes;
        s->cache_usec = 0;
        codec_set_level(s->codec, c->compress_level);
        s->retention_usec = 0;
        if (s->db.sql && limit_pages(s) < 0)
                (void) writer_trouble(s);
}

/* What is written into a file that has no name is lost with us. */
static int rescue(Store *s) {
        int r;

        log_write(s->log, LOG_ERR, "Store: %s was removed or replaced while in use: it is written down again. To begin anew, stop flowd first", s->path);
        readers_exclude(s);
        r = store_rescue(&s->db, s->directory);
        if (r >= 0)
                r = open_database(s);
        readers_admit(s);
        return r;
}

/* ------------------------------------------------------------------------------------------------------------- groups */

/* Carries all of them out in one transaction. Returns 0, or -errno with s->db.trouble set: then nothing has happened, or so it is said. */
static int try_group(Store *s, List *requests) {
        bool sync = false, writes = false, wrote = false;
        Db *db = &s->db;
        unsigned n = 0;
        int r = 0, due = 0;

        db->trouble = STORE_OK;
        LIST_FOREACH(l, requests) {
                Request *q = request_of(l);

                sync |= q->r.sync || q->r.op == STORE_OP_SYNC;
                writes |= q->r.op != STORE_OP_SYNC;
                n++;
        }
        if (writes && db_moved(db)) {
                r = rescue(s);
                if (r < 0)
                        return r;
        }
        if (writes) {
                int before = sqlite3_total_changes(db->sql);

                r = db_begin(db, sync);
                for (List *l = requests->next; r >= 0 && l != requests; l = l->next) {
                        Request *q = request_of(l);

                        q->r.error = 0;
                        if (q->r.op == STORE_OP_SYNC)
                                continue;
                        q->r.error = operations[q->r.op] ? operations[q->r.op](db, q) : -EOPNOTSUPP;
                        if (db->trouble != STORE_OK)
                                r = q->r.error;
                }
                wrote = sqlite3_total_changes(db->sql) != before;
                if (r >= 0 && wrote) /* within the transaction, where it takes no lock of its own */
                        r = due = retention_due(db, &s->limits);
                if (r >= 0) {
                        r = db_commit(db);
                        if (r < 0)
                                LIST_FOREACH(l, requests)
                                        request_of(l)->repeated = true;
                }
                if (r < 0) {
                        if (db->sql)
                                db_rollback(db);
                        return r;
                }
        }
        if (sync && !wrote && s->synced < s->group) {
                r = db_sync(db);
                if (r < 0)
                        return r;
        }
        s->retention_more |= due > 0;
        (void) pthread_mutex_lock(&s->lock);
        s->groups += writes;
        s->group += wrote;
        if (sync) {
                s->synced_groups++;
                s->synced = s->group;
        }
        s->requests += n;
        (void) pthread_mutex_unlock(&s->lock);
        return 0;
}

/* What a group that was committed means: who is done, who goes on. */
static void finish_group(Store *s, List *requests) {
        List done = LIST_INIT(done);
        List *l;

        while ((l = list_first(requests))) {
                Request *q = request_of(l);

                list_remove(l);
                q->r.group = s->group;
                s->puts += q->r.op == STORE_OP_CACHE_PUT && q->r.error >= 0;
                if ((q->r.op == STORE_OP_PURGE || q->r.op == STORE_OP_CACHE_PURGE) && q->r.error >= 0) {
                        bool more = q->r.error > 0;

                        q->r.n = q->n;
                        q->committed_at = q->at;
                        q->r.error = 0;
                        if (more) {
                                list_append(&s->slow, l);
                                continue;
                        }
                }
                if (q->r.op == STORE_OP_ACCEPT_LOSS && q->r.error >= 0)
                        s->loss[0] = 0;
                if (q->r.op == STORE_OP_ADD && q->r.error == -ENOSPC)
                        request_fail(q, -ENOSPC, "the store is full: StoreMaxBytes= is reached, and what fills it are jobs that have not ended");
                list_append(&done, l);
        }
        writer_publish(s);
        store_post(s, &done);
}

/* What cannot be done now: kept, or refused with the reason. */
static void put_off(Store *s, List *requests) {
        List done = LIST_INIT(done);
        List *l;

        while ((l = list_first(requests))) {
                Request *q = request_of(l);

                list_remove(l);
                if (q->r.impatient && s->synced >= s->group) {
                        q->r.error = 0;
                        list_append(&done, l);
                } else if (is_kept(q->r.op) && !q->r.impatient && (s->loaded || s->load_last > 0))
                        list_append(&s->kept, l);
                else {
                        request_fail(q, store_health_errno(s->trouble), s->trouble_text);
                        list_append(&done, l);
                }
        }
        store_post(s, &done);
}

/* Returns 0 when the requests are done or put off. */
static int run_group(Store *s, List *requests) {
        int r;

        if (list_empty(requests))
                return 0;
        for (unsigned again = 0;; again++) {
                r = try_group(s, requests);
                if (r >= 0) {
                        finish_group(s, requests);
                        return 0;
                }
                if (s->db.trouble == STORE_DAMAGED && again > 1) { /* twice in a row: it is no help */
                        s->db.trouble = STORE_FAILED;
                        explain(s);
                        writer_publish(s);
                        return r;
                }
                r = writer_trouble(s);
                if (r < 0)
                        return r;
        }
}

/* While it does not work: what frees space, or is nobody's loss when it fails, is tried all the same. */
static void run_in_trouble(Store *s, List *requests) {
        List others = LIST_INIT(others);

        if (s->db.sql)
                LIST_FOREACH_SAFE(l, next, requests) {
                        StoreOp op = request_of(l)->r.op;

                        if (op == STORE_OP_PURGE || op == STORE_OP_ACCEPT_LOSS) {
                                list_remove(l);
                                list_append(&others, l);
                        }
                }
        put_off(s, requests);
        if (!list_empty(&others) && run_group(s, &others) < 0)
                put_off(s, &others);
}

/* Whether something of a size can be written, and stays written. */
static int probe(Store *s) {
        char sql[96];
        int r;

        s->db.trouble = STORE_OK;
        r = db_checkpoint(&s->db, true); /* gives the space of the WAL back; after a failed sync it also brings to the disk what is in doubt */
        if (r >= 0)
                r = db_begin(&s->db, true);
        snprintf(sql, sizeof(sql), "INSERT OR REPLACE INTO meta (name, value) VALUES ('probe', hex(zeroblob(%u)))", STORE_PROBE_BYTES / 2);
        if (r >= 0)
                r = db_exec(&s->db, sql);
        if (r >= 0)
                r = db_commit(&s->db);
        if (r >= 0)
                r = db_begin(&s->db, false);
        if (r >= 0)
                r = db_exec(&s->db, "DELETE FROM meta WHERE name = 'probe'");
        if (r >= 0)
                r = db_commit(&s->db);
        if (r < 0)
                db_rollback(&s->db);
        return r;
}

static int retain(Store *s) {
        int r, more, due;

        r = db_begin(&s->db, false);
        if (r < 0)
                return r;
        more = retention_slice(&s->db, &s->limits);
        if (more < 0)
                return more;
        due = retention_due(&s->db, &s->limits);
        if (due < 0)
                return due;
        r = db_commit(&s->db);
        return r < 0 ? r : more | due;
}

static void retry(Store *s) {
        if (s->db.sql && s->trouble == STORE_FULL && retain(s) < 0) /* it may be what fills the file */
                db_rollback(&s->db);
        if (!s->db.sql) {
                writer_open(s);
                if (!s->db.sql)
                        return;
        } else if (probe(s) < 0 && writer_trouble(s) < 0)
                return;
        if (run_group(s, &s->kept) < 0) /* they stay where they are */
                return;
        if (s->trouble != STORE_OK)
                log_write(s->log, LOG_NOTICE, "Store: %s works again", s->path);
        s->trouble = STORE_OK;
        s->trouble_text[0] = 0;
        writer_publish(s);
}

/* -------------------------------------------------------------------------------------------------------- maintenance */

static bool failed(Store *s, int r) {
        if (r >= 0)
                return false;
        if (s->db.sql)
                db_rollback(&s->db);
        (void) writer_trouble(s);
        return true;
}

/* One slice of what goes on for long. */
static void run_slow(Store *s) {
        List one = LIST_INIT(one);
        List *l = list_first(&s->slow);
        Request *q;
        int r;

        if (!l)
                return;
        q = request_of(l);
        list_remove(l);
        list_append(&one, l);
        if (s->trouble != STORE_OK) {
                put_off(s, &one);
                return;
        }
        if (q->r.op != STORE_OP_VACUUM) {
                if (run_group(s, &one) < 0)
                        put_off(s, &one);
                return;
        }
        s->db.trouble = STORE_OK;
        r = vacuum_slice(&s->db, true, &q->r.n);
        if (r == 0)
                r = db_checkpoint(&s->db, true);
        if (r > 0) {
                list_remove(l);
                list_append(&s->slow, l);
        } else if (failed(s, r))
                put_off(s, &one);
        else
                store_post(s, &one);
}

Learnt *learnt_free(Learnt *l) {
        list_remove(&l->link);
        free(l->label);
        free(l);
        return NULL;
}

void writer_learn(const char *label, const void *body, size_t size, void *userdata) {
        Store *s = userdata;
        Learnt *l = malloc(sizeof(Learnt) + size);

        if (!l || !(l->label = strdup(label))) { /* another one will be learnt */
                free(l);
                return;
        }
        list_init(&l->link);
        l->size = size;
        memcpy(l->body, body, size);
        (void) pthread_mutex_lock(&s->lock);
        list_append(&s->learnt, &l->link);
        (void) pthread_cond_signal(&s->more);
        (void) pthread_mutex_unlock(&s->lock);
}

static int store_learnt(Store *s) {
        Learnt *l;
        int r = 0;

        s->db.trouble = STORE_OK;
        while (r >= 0 && (l = list_first_entry(&s->to_store, Learnt, link))) {
                r = dictionary_store(&s->db, l->label, l->body, l->size);
                if (r >= 0)
                        learnt_free(l);
        }
        return r;
}

/* A slice of what the cache need not hold any more. */
static int trim_cache(Store *s) {
        int r, more;

        s->db.trouble = STORE_OK;
        r = db_begin(&s->db, false);
        if (r < 0)
                return r;
        more = cache_retain(&s->db, false);
        if (more < 0)
                return more;
        r = db_commit(&s->db);
        return r < 0 ? r : more;
}

/* What is not for anybody who waits. `idle`: nobody does. Returns when there is more to do, CLOCK_MONOTONIC. */
static uint64_t maintain(Store *s, bool idle) {
        uint64_t now = now_usec(), soon = s->busy_usec + STORE_IDLE_USEC;
        int r;

        if (!s->db.sql || s->trouble != STORE_OK || !s->loaded)
                return UINT64_MAX;
        if (!list_empty(&s->to_store) && failed(s, store_learnt(s)))
                return UINT64_MAX;
        db_extend_wal(&s->db);
        if (s->db.wal_pages > (idle ? STORE_WAL_PAGES : STORE_WAL_PAGES_BUSY)) {
                unsigned before = s->db.wal_pages;

                if (failed(s, db_checkpoint(&s->db, false)))
                        return UINT64_MAX;
                if (s->db.wal_pages == before) /* a reader holds on to it: later */
                        return now + STORE_RETRY_USEC;
        }
        if (s->retention_more || (idle && now >= s->retention_usec)) {
                r = retain(s);
                if (failed(s, r))
                        return UINT64_MAX;
                s->retention_more = r > 0;
                if (!s->retention_more) {
                        s->retention_usec = now + STORE_RETENTION_USEC;
                        s->db.aged = 0;
                        s->vacuum_more = true;
                }
                writer_publish(s);
        }
        if (idle && now >= s->cache_usec) {
                r = trim_cache(s);
                if (failed(s, r))
                        return UINT64_MAX;
                if (r == 0)
                        s->cache_usec = now + STORE_RETENTION_USEC;
        }
        if (s->vacuum_more && idle) {
                r = vacuum_slice(&s->db, false, NULL);
                if (failed(s, r))
                        return UINT64_MAX;
                s->vacuum_more = r > 0;
        }
        if (s->retention_more || s->vacuum_more || s->cache_usec <= now || s->db.wal_pages > STORE_WAL_PAGES)
                return idle ? now : soon;
        return MAX(MIN(s->retention_usec, s->cache_usec), soon);
}

/* -------------------------------------------------------------------------------------------------------- the thread */

static struct timespec timespec_of(uint64_t usec) {
        return (struct timespec) { .tv_sec = (time_t) (usec / USEC_PER_SEC), .tv_nsec = (long) (usec % USEC_PER_SEC) * 1000 };
}

/* Waits until there is a group, or until `until`; lazy requests wait a little for company. With `lock`. */
static void wait_for_work(Store *s, uint64_t until) {
        while (!s->stop && !s->reconfigured && !s->suspect && s->eager == 0 && list_empty(&s->learnt)) {
                uint64_t when = until;

                if (!list_empty(&s->cache_queue))
                        when = MIN(when, request_of(s->cache_queue.next)->r.queued_usec + STORE_LAZY_USEC);
                if (!list_empty(&s->queue))
                        when = MIN(when, request_of(s->queue.next)->r.queued_usec + STORE_LAZY_USEC);
                if (when == UINT64_MAX) {
                        (void) pthread_cond_wait(&s->more, &s->lock);
                        continue;
                }
                if (when <= now_usec())
                        return;
                struct timespec ts = timespec_of(when);
                (void) pthread_cond_timedwait(&s->more, &s->lock, &ts);
        }
}

static void take_group(Store *s, List *group) {
        size_t bytes = 0;
        unsigned n = 0;
        List *l;

        while ((l = list_first(&s->queue)) && n++ < STORE_GROUP_MAX && bytes < STORE_GROUP_BYTES) {
                Request *q = request_of(l);

                list_remove(l);
                s->eager -= !q->r.lazy;
                bytes += q->size;
                list_append(q->r.op == STORE_OP_VACUUM ? &s->slow : group, l);
        }
}

/* Writes to the cache, where nobody waits for the writer, or they have waited for long. */
static void take_cache_group(Store *s, bool busy, List *group) {
        List *l = list_first(&s->cache_queue);
        size_t bytes = 0;
        unsigned n = 0;

        if (l && busy && !s->stop && now_usec() < request_of(l)->r.queued_usec + STORE_CACHE_PATIENCE_USEC)
                return;
        while ((l = list_first(&s->cache_queue)) && n++ < STORE_CACHE_GROUP_MAX && bytes < STORE_CACHE_GROUP_BYTES) {
                Request *q = request_of(l);

                list_remove(l);
                bytes += q->size;
                list_append(group, l);
        }
}

/* They are nobody's loss: what a full disk refuses to the cache is no trouble of the store's, until a job needs the disk. */
static void run_cache_group(Store *s, List *group) {
        if (list_empty(group))
                return;
        if (s->trouble == STORE_OK) {
                if (try_group(s, group) >= 0) {
                        finish_group(s, group);
                        return;
                }
                if (s->db.trouble == STORE_FULL && s->db.sql) {
                        LIST_FOREACH(l, group)
                                request_fail(request_of(l), -ENOSPC, s->db.text);
                        if (db_checkpoint(&s->db, true) < 0) /* gives back what the WAL has taken */
                                (void) writer_trouble(s);
                        store_post(s, group);
                        return;
                }
                (void) writer_trouble(s);
        }
        LIST_FOREACH(l, group)
                request_fail(request_of(l), s->trouble == STORE_OK ? -EAGAIN : store_health_errno(s->trouble), s->trouble_text);
        store_post(s, group);
}

static void work(Store *s, List *group) {
        if (!list_empty(group))
                s->busy_usec = now_usec();
        if (s->damaged && s->db.sql) /* a reader has seen it */
                (void) writer_trouble(s);
        if (s->trouble != STORE_OK && now_usec() >= s->retry_usec)
                retry(s);
        if (s->trouble != STORE_OK)
                run_in_trouble(s, group);
        else if (run_group(s, group) < 0) {
                s->retry_usec = s->damaged ? s->retry_usec : 0; /* once without those that were refused, at once */
                put_off(s, group);
        }
        run_slow(s);
}

static uint64_t earliest(Store *s, uint64_t maintenance) {
        if (!list_empty(&s->slow))
                return 0;
        return s->trouble != STORE_OK ? s->retry_usec : maintenance;
}

void *writer_thread(void *userdata) {
        Store *s = userdata;
        uint64_t until = 0;

        (void) pthread_mutex_lock(&s->lock);
        for (;;) {
                List group = LIST_INIT(group), cache = LIST_INIT(cache);
                StoreConfig config;

                wait_for_work(s, until);
                take_group(s, &group);
                take_cache_group(s, !list_empty(&group), &cache);
                bool reconfigured = s->reconfigured, suspect = s->suspect, idle = list_empty(&group) && list_empty(&cache);
                bool last = s->stop && list_empty(&s->queue) && list_empty(&s->cache_queue);
                config = s->config;
                list_move_all(&s->to_store, &s->learnt);
                s->reconfigured = s->suspect = false;
                (void) pthread_mutex_unlock(&s->lock);

                (void) pthread_mutex_lock(&s->db_lock);
                if (reconfigured)
                        writer_apply_limits(s, &config);
                if (suspect) {
                        (void) db_damaged(&s->db, "%s", s->suspect_text);
                        s->damaged = s->damaged || s->db.sql;
                }
                if (last && s->trouble != STORE_OK)
                        s->retry_usec = s->retry_usec == UINT64_MAX ? UINT64_MAX : 0; /* a last time */
                work(s, &group);
                run_cache_group(s, &cache);
                until = earliest(s, maintain(s, idle && now_usec() >= s->busy_usec + STORE_IDLE_USEC));
                (void) pthread_mutex_unlock(&s->db_lock);

                (void) pthread_mutex_lock(&s->lock);
                if (last)
                        break;
        }
        (void) pthread_mutex_unlock(&s->lock);
        return NULL;
}
