/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The store when something is wrong with the disk, with its file, or with who else has it: never a crash, never a wrong row, and well again by itself. */

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "basic/fd.h"
#include "store-kit.h"
#include "unit.h"

static Kit kit;

/* Overwrites a part of a file with what is nothing. */
static void scribble(const char *path, off_t at, size_t size, uint64_t seed) {
        _cleanup_free_ uint8_t *noise = malloc(size);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

        ck_assert_ptr_nonnull(noise);
        unit_random_bytes(&seed, noise, size);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(pwrite(fd, noise, size, at), (ssize_t) size);
}

static void file_whole(const char *path, uint8_t **ret, size_t *ret_size) {
        char *data;

        ck_assert_int_eq(file_read(AT_FDCWD, path, 64 << 20, &data, ret_size), 0);
        *ret = (uint8_t *) data;
}

static void file_put(const char *path, const void *data, size_t size) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fd_write_all(fd, data, size), 0);
}

static unsigned count_files(const Kit *k, const char *part) {
        DIR *d = opendir(k->directory);
        unsigned n = 0;

        ck_assert_ptr_nonnull(d);
        for (struct dirent *e; (e = readdir(d));)
                n += strstr(e->d_name, part) != NULL;
        closedir(d);
        return n;
}

static void sql(const Kit *k, const char *text) {
        sqlite3 *db;
        char *wrong = NULL;

        ck_assert_int_eq(sqlite3_open(k->path, &db), SQLITE_OK);
        ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &wrong) == SQLITE_OK, "%s", wrong);
        sqlite3_close(db);
}

/* Jobs 1 to n, with payloads in and out of their rows; every third is live. */
static void fill(Kit *k, unsigned n) {
        for (uint64_t id = 1; id <= n; id++) {
                kit_submit(k, kit_add(id, kit_noise(id, id % 2 ? 200 : 3000)));
                if (id % 3)
                        kit_submit(k, kit_end(id, JOB_FAILED, kit_noise(id + 1, id % 5 ? 100 : 2000)));
        }
        kit_until(k, store_pending(k->store) == 0);
        ck_assert_int_eq(k->last_error, 0);
}

/* Whatever is there must be right. Returns how many are. */
static unsigned verify_all(Kit *k, unsigned n) {
        unsigned found = 0;

        for (size_t i = 0; i < k->n_jobs; i++) {
                _cleanup_(blob_unrefp) Blob *b = kit_noise(k->jobs[i].id, k->jobs[i].id % 2 ? 200 : 3000);

                ck_assert_uint_eq(k->jobs[i].id % 3, 0);
                kit_same(k->jobs[i].payload, b);
        }
        for (uint64_t id = 1; id <= n; id++) {
                _cleanup_(blob_unrefp) Blob *payload = kit_noise(id, id % 2 ? 200 : 3000), *result = kit_noise(id + 1, id % 5 ? 100 : 2000);
                StoreRequest *r = kit_get(k, id, STORE_WANT_PAYLOAD | STORE_WANT_RESULT);

                if (r->error == -EBADMSG || r->error == -EIO) { /* it is found out now, and is mended meanwhile */
                        store_request_free(r);
                        r = kit_run(k, kit_request(STORE_OP_SYNC));
                        store_request_free(r);
                        r = kit_get(k, id, STORE_WANT_PAYLOAD | STORE_WANT_RESULT);
                }
                if (r->error == 0) {
                        found++;
                        ck_assert_str_eq(r->record.pool, "p");
                        if (r->record.payload)
                                kit_same(r->record.payload, payload);
                        if (r->record.result)
                                kit_same(r->record.result, result);
                } else
                        ck_assert_int_eq(r->error, -ENOENT);
                store_request_free(r);
        }
        return found;
}

static void accept_loss(Kit *k) {
        ck_assert_int_eq(kit_result(k, kit_request(STORE_OP_ACCEPT_LOSS)), 0);
        kit_until(k, store_health(k->store) == STORE_OK);
}

/* ------------------------------------------------------------------------------------------------ other people's files */

static void expect_untouched(Kit *k, StoreHealth health, const char *words) {
        uint8_t *before, *after;
        size_t n, m;
        const char *why = NULL;

        file_whole(k->path, &before, &n);
        kit_open(k);
        ck_assert_int_eq(store_health(k->store), health);
        ck_assert_uint_eq(k->n_jobs, 0);
        ck_assert(!store_accepts(k->store, &why));
        ck_assert_msg(strstr(why, words) && strstr(why, k->path), "%s", why);
        StoreRequest *r = kit_run(k, kit_add(1, kit_blob(1, 1)));
        ck_assert_int_eq(r->error, -EPROTO);
        ck_assert_str_eq(r->text, why);
        store_request_free(r);
        ck_assert_int_eq(kit_result(k, kit_end(1, JOB_COMPLETED, NULL)), -EPROTO);
        r = kit_get(k, 1, 0);
        ck_assert_int_eq(r->error, -EPROTO);
        store_request_free(r);
        StoreStats stats;
        kit_stats(k, &stats);
        ck_assert_int_eq(stats.health, health);
        kit_close(k);
        file_whole(k->path, &after, &m);
        ck_assert_uint_eq(n, m);
        ck_assert_int_eq(memcmp(before, after, n), 0);
        ck_assert_uint_eq(count_files(k, STORE_FILE), 1); /* no WAL beside it */
        free(before);
        free(after);
}

START_TEST(test_newer) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        fill(k, 10);
        kit_close(k);
        sql(k, "PRAGMA journal_mode = DELETE; PRAGMA user_version = 99");
        expect_untouched(k, STORE_NEWER, "newer flowd (schema 99");
        kit_done(k);
}
END_TEST

START_TEST(test_foreign) {
        Kit *k = &kit;

        kit_init(k);
        sql(k, "CREATE TABLE t (a); PRAGMA application_id = 4711");
        expect_untouched(k, STORE_NEWER, "another program");
        ck_assert_int_eq(unlink(k->path), 0);
        sql(k, "CREATE TABLE t (a)"); /* one that does not say whose it is */
        kit_open(k);
        ck_assert_int_eq(store_health(k->store), STORE_NEWER);
        kit_close(k);
        ck_assert_int_eq(unlink(k->path), 0);
        file_put(k->path, "", 0); /* nobody's */
        kit_open_well(k);
        kit_done(k);
}
END_TEST

START_TEST(test_locked_by_flowd) {
        static Kit other;
        Kit *k = &kit;
        const char *why = NULL;
        char pid[32];

        kit_init(k);
        kit_open_well(k);
        fill(k, 3);
        kit_init(&other);
        other.config.directory = k->directory;
        kit_open(&other);
        ck_assert_int_eq(store_health(other.store), STORE_LOCKED);
        ck_assert(!store_accepts(other.store, &why));
        snprintf(pid, sizeof(pid), "(PID %ld)", (long) getpid());
        ck_assert_msg(strstr(why, pid), "%s", why);
        ck_assert_int_eq(kit_result(&other, kit_add(9, kit_blob(9, 1))), -EBUSY);
        ck_assert_uint_eq(other.n_jobs, 0);
        /* It goes on when the first one is gone, with the jobs that it left. */
        kit_close(k);
        kit_until(&other, store_health(other.store) == STORE_OK);
        kit_until(&other, other.n_jobs == 1);
        ck_assert(store_accepts(other.store, NULL));
        ck_assert_int_eq(kit_result(&other, kit_add(9, kit_blob(9, 1))), 0);
        kit_done(&other);
        kit_done(k);
}
END_TEST

START_TEST(test_locked_by_a_shell) {
        Kit *k = &kit;
        sqlite3 *db;

        kit_init(k);
        kit_open_well(k);
        kit_add_job(k, 1);
        kit_add_job(k, 2);
        ck_assert_int_eq(sqlite3_open(k->path, &db), SQLITE_OK);
        ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        k->done = 0;
        kit_submit(k, kit_end(1, JOB_COMPLETED, NULL));
        kit_submit(k, kit_add(3, kit_blob(3, 1)));
        kit_until(k, k->done == 1); /* the ADD */
        ck_assert_int_eq(k->last_error, -EBUSY);
        kit_until(k, store_health(k->store) == STORE_LOCKED);
        ck_assert_uint_eq(k->done, 1);
        ck_assert_int_eq(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        kit_until(k, store_health(k->store) == STORE_OK);
        kit_until(k, k->done == 2);
        ck_assert_int_eq(k->last_error, 0);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 1);
        ck_assert_uint_eq(k->jobs[0].id, 2);
        kit_done(k);
}
END_TEST

/* As another user, since root may write everywhere. */
START_TEST(test_read_only) {
        Kit *k = &kit;
        const char *why = NULL;
        bool root = geteuid() == 0;

        kit_init(k);
        kit_open_well(k);
        fill(k, 4);
        kit_close(k);
        if (root) {
                ck_assert_int_eq(chown(k->directory, 65534, 65534), 0);
                ck_assert_int_eq(chown(k->path, 65534, 65534), 0);
                ck_assert_int_eq(setegid(65534), 0);
                ck_assert_int_eq(seteuid(65534), 0);
        }
        ck_assert_int_eq(chmod(k->path, 0400), 0);
        ck_assert_int_eq(chmod(k->directory, 0500), 0);
        kit_open(k);
        ck_assert_int_eq(store_health(k->store), STORE_READ_ONLY);
        ck_assert(!store_accepts(k->store, &why));
        ck_assert_msg(strstr(why, k->path), "%s", why);
        ck_assert_uint_eq(k->n_jobs, 0); /* what could not be ended is not begun */
        /* What has ended can be read, although there is no WAL and none can be made. */
        for (uint64_t id = 1; id <= 2; id++) {
                _cleanup_(blob_unrefp) Blob *result = kit_noise(id + 1, 100);
                StoreRequest *r = kit_get(k, id, STORE_WANT_RESULT);

                ck_assert_msg(r->error == 0, "%s", strempty(r->text));
                ck_assert_int_eq(r->record.state, JOB_FAILED);
                kit_same(r->record.result, result);
                store_request_free(r);
        }
        ck_assert_int_eq(kit_result(k, kit_add(9, kit_blob(9, 1))), -EROFS);
        /* By itself, when it can. */
        ck_assert_int_eq(chmod(k->directory, 0700), 0);
        ck_assert_int_eq(chmod(k->path, 0600), 0);
        if (root) { /* the lock file is root's */
                char lock[128];

                ck_assert_int_eq(seteuid(0), 0);
                ck_assert_int_lt(snprintf(lock, sizeof(lock), "%.60s/flowd.lock", k->directory), (int) sizeof(lock));
                ck_assert_int_eq(chown(lock, 65534, 65534), 0);
                ck_assert_int_eq(seteuid(65534), 0);
        }
        kit_until(k, store_health(k->store) == STORE_OK && k->n_jobs == 1);
        ck_assert_int_eq(kit_result(k, kit_add(9, kit_blob(9, 1))), 0);
        StoreRequest *written = kit_get(k, 9, STORE_WANT_PAYLOAD); /* and readers see what is written from then on */
        ck_assert_int_eq(written->error, 0);
        store_request_free(written);
        kit_close(k);
        if (root) {
                ck_assert_int_eq(seteuid(0), 0);
                ck_assert_int_eq(setegid(0), 0);
        }
        kit_done(k);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------------- space */

/* Adds until it is refused; ends are kept meanwhile, and all comes true when there is room. */
static void fill_the_disk(Kit *k, void (*make_room)(Kit *k)) {
        uint64_t id = 0, accepted = 0;
        int r = 0;
        const char *why;

        /* on a busy machine the first refusal may be over before we hear of it: the WAL was copied, and there is some room again */
        while (id < 4000 && (accepted == id || store_health(k->store) != STORE_FULL)) {
                id++;
                r = kit_result(k, kit_add(id, kit_noise(id, 6000)));
                accepted += r == 0;
        }
        ck_assert_msg(r == -ENOSPC, "%d: %s", r, strempty(store_why(k->store)));
        ck_assert_uint_gt(accepted, 20);
        ck_assert_int_eq(store_health(k->store), STORE_FULL);
        ck_assert(!store_accepts(k->store, &why));
        ck_assert_msg(strstr(why, "no space left"), "%s", why);

        /* In their order: an attempt, its failure, the end. */
        k->done = 0;
        for (uint64_t i = 1; i <= 10; i++) {
                StoreRequest *q = kit_request(STORE_OP_REQUEUE);
                q->record = (JobRecord) { .id = i, .attempts = 1, .failures = 1, .code = strdup("Exit") };
                kit_submit(k, q);
                q = kit_request(STORE_OP_ATTEMPT);
                q->record = (JobRecord) { .id = i, .attempts = 2, .failures = 1 };
                kit_submit(k, q);
                q = kit_end(i, JOB_COMPLETED, kit_noise(i, 60000));
                q->record.attempts = 2;
                kit_submit(k, q);
        }
        StoreRequest *get = kit_get(k, 11, STORE_WANT_PAYLOAD); /* what is there can be read */
        ck_assert_int_eq(get->error, 0);
        store_request_free(get);
        make_room(k);
        kit_until(k, k->done == 30);
        ck_assert_int_eq(k->last_error, 0);
        kit_until(k, store_health(k->store) == STORE_OK);
        ck_assert_int_eq(kit_result(k, kit_add(id + 1, kit_noise(id, 6000))), 0);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, accepted + 1 - 10);
        for (uint64_t i = 1; i <= 10; i++) {
                _cleanup_(blob_unrefp) Blob *b = kit_noise(i, 60000);

                get = kit_get(k, i, STORE_WANT_RESULT);
                ck_assert_int_eq(get->record.state, JOB_COMPLETED);
                ck_assert_uint_eq(get->record.attempts, 2);
                kit_same(get->record.result, b);
                store_request_free(get);
        }
}

static void larger_disk(Kit *k) {
        ck_assert_int_eq(mount("tmpfs", k->directory, "tmpfs", MS_REMOUNT, "size=64m"), 0);
}

START_TEST(test_disk_full) {
        Kit *k = &kit;

        kit_init(k);
        if (unshare(CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", k->directory, "tmpfs", 0, "size=2m,mode=0700") < 0) {
                fprintf(stderr, "test_disk_full: no small disk can be mounted here (%s): test_file_limit stands for it\n", strerror(errno));
                kit_done(k);
                return;
        }
        kit_open_well(k);
        fill_the_disk(k, larger_disk);
        kit_close(k);
        ck_assert_int_eq(umount2(k->directory, MNT_DETACH), 0);
        kit_done(k);
}
END_TEST

static void limit_files(rlim_t size) {
        struct rlimit limit = { .rlim_cur = size, .rlim_max = RLIM_INFINITY };

        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void larger_files(Kit *k) {
        (void) k;
        limit_files(RLIM_INFINITY);
}

START_TEST(test_file_limit) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
        limit_files(1 << 20);
        fill_the_disk(k, larger_files);
        kit_done(k);
}
END_TEST

/* Closed while it is full: what was kept is told to be void, and what was promised is there at the next start. */
START_TEST(test_closed_while_full) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        kit_add_job(k, 1);
        ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
        limit_files(4096);
        k->done = 0;
        kit_submit(k, kit_end(1, JOB_COMPLETED, kit_noise(1, 100000)));
        kit_until(k, store_health(k->store) == STORE_FULL);
        ck_assert_uint_eq(k->done, 0);
        kit_close(k);
        ck_assert_uint_eq(k->done, 1);
        ck_assert_int_eq(k->last_error, -ECANCELED);
        limit_files(RLIM_INFINITY);
        kit_open_well(k);
        ck_assert_uint_eq(k->n_jobs, 1);
        kit_done(k);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------------ damage */

START_TEST(test_no_database) {
        Kit *k = &kit;
        char garbage[8192];
        uint64_t seed = 1;

        kit_init(k);
        unit_random_bytes(&seed, garbage, sizeof(garbage));
        file_put(k->path, garbage, sizeof(garbage));
        kit_open(k);
        ck_assert_int_eq(store_health(k->store), STORE_DAMAGED);
        ck_assert_msg(strstr(store_why(k->store), " 0 jobs were salvaged") && strstr(store_why(k->store), "accept-loss"), "%s", store_why(k->store));
        ck_assert_int_eq(kit_result(k, kit_add(1, kit_noise(1, 10))), -EBADMSG);
        kit_close(k);
        ck_assert_uint_eq(count_files(k, ".corrupt-"), 1);
        ck_assert_uint_eq(count_files(k, ".new"), 0);

        /* It is said until somebody has taken note, and no job is taken until then. */
        kit_open(k);
        ck_assert_int_eq(store_health(k->store), STORE_DAMAGED);
        ck_assert(!store_accepts(k->store, NULL));
        ck_assert_uint_eq(k->n_jobs, 0);
        accept_loss(k);
        ck_assert(store_accepts(k->store, NULL));
        kit_add_job(k, 1);
        kit_reopen(k);
        ck_assert_int_eq(kit_result(k, kit_request(STORE_OP_ACCEPT_LOSS)), 0); /* there is none */
        kit_done(k);
}
END_TEST

START_TEST(test_damaged_pages) {
        const unsigned n = 600;
        Kit *k = &kit;
        struct stat st;
        unsigned found;

        kit_init(k);
        kit_open_well(k);
        fill(k, n);
        kit_close(k);
        ck_assert_int_eq(stat(k->path, &st), 0);
        scribble(k->path, st.st_size / 2 / 4096 * 4096, 8 * 4096, 5);
        kit_open(k);
        found = verify_all(k, n);
        StoreRequest *r = kit_run(k, kit_request(STORE_OP_CHECK)); /* where nothing has met it yet */
        store_request_free(r);
        kit_until(k, store_health(k->store) == STORE_DAMAGED);
        ck_assert_uint_gt(found, n * 8 / 10);
        ck_assert_uint_eq(verify_all(k, n), found);
        r = kit_run(k, kit_request(STORE_OP_CHECK));
        ck_assert_str_eq(r->text, "ok");
        store_request_free(r);
        ck_assert_uint_eq(store_last_id(k->store), n);
        ck_assert_uint_eq(count_files(k, ".corrupt-"), 3); /* with its WAL */
        accept_loss(k);
        kit_add_job(k, n + 1);
        kit_reopen(k);
        kit_done(k);
}
END_TEST

/* Under a store that runs, with jobs that the loop still has. */
START_TEST(test_damage_while_it_runs) {
        const unsigned n = 3000;
        Kit *k = &kit;
        struct stat st;

        kit_init(k);
        kit_open_well(k);
        fill(k, n);
        kit_reopen(k); /* the WAL is in the file */
        ck_assert_uint_eq(k->n_jobs, n / 3);
        ck_assert_int_eq(stat(k->path, &st), 0);
        for (off_t at = 200 * 4096; at + 4096 < st.st_size; at += 60 * 4096)
                scribble(k->path, at, 4096, (uint64_t) at);
        k->done = 0;
        unsigned submitted = 0;
        for (size_t i = 0; i < k->n_jobs; i++, submitted++) {
                StoreRequest *r = kit_end(k->jobs[i].id, JOB_COMPLETED, kit_noise(k->jobs[i].id + 1, k->jobs[i].id % 5 ? 100 : 2000));

                r->record.pool = strdup("p");
                r->record.uid = 1000;
                kit_submit(k, r);
        }
        StoreRequest *check = kit_run(k, kit_request(STORE_OP_CHECK));
        store_request_free(check);
        kit_until(k, store_pending(k->store) == 0);
        kit_until(k, store_health(k->store) == STORE_DAMAGED);
        ck_assert_uint_eq(k->done, submitted);
        ck_assert_int_eq(k->last_error, 0);
        /* Each end was recorded, whether its row had been lost or not. */
        for (uint64_t id = 3; id <= n; id += 3) {
                StoreRequest *r = kit_get(k, id, STORE_WANT_RESULT);

                ck_assert_int_eq(r->error, 0);
                ck_assert_int_eq(r->record.state, JOB_COMPLETED);
                store_request_free(r);
        }
        kit_close(k);
        kit_open(k);
        ck_assert_uint_eq(k->n_jobs, 0);
        kit_done(k);
}
END_TEST

/* The page is well, and what it holds is not: only the sum can tell. */
START_TEST(test_damaged_payload) {
        Kit *k = &kit;
        _cleanup_(blob_unrefp) Blob *b = kit_noise(1, 3000);
        uint8_t *file, *hit;
        size_t n;

        kit_init(k);
        kit_open_well(k);
        ck_assert_int_eq(kit_result(k, kit_add(1, kit_noise(1, 3000))), 0);
        ck_assert_int_eq(kit_result(k, kit_add(2, kit_noise(2, 3000))), 0);
        ck_assert_int_eq(kit_result(k, kit_add(3, kit_noise(3, 100))), 0);
        kit_end_job(k, 3, JOB_FAILED);
        kit_close(k);
        file_whole(k->path, &file, &n);
        hit = memmem(file, n, b->data + 1000, 100);
        ck_assert_ptr_nonnull(hit);
        hit[50] ^= 4;
        file_put(k->path, file, n);
        free(file);
        kit_open(k);
        ck_assert_int_eq(store_health(k->store), STORE_DAMAGED);
        ck_assert_uint_eq(k->n_jobs, 1);
        ck_assert_uint_eq(k->jobs[0].id, 2);
        StoreRequest *r = kit_get(k, 1, STORE_WANT_PAYLOAD);
        ck_assert_int_eq(r->error, 0);
        ck_assert_int_eq(r->record.state, JOB_FAILED); /* one recorded end */
        ck_assert_str_eq(r->record.code, "PayloadDamaged");
        ck_assert_ptr_null(r->record.payload);
        store_request_free(r);
        accept_loss(k);
        r = kit_request(STORE_OP_RETRY);
        r->id = 1;
        ck_assert_int_eq(kit_result(k, r), -ENODATA);
        kit_done(k);
}
END_TEST

/* Copies what is on the disk, as a power cut would leave it. */
static void snapshot(Kit *k, uint8_t **file, size_t *n, uint8_t **wal, size_t *m) {
        char name[112];

        file_whole(k->path, file, n);
        snprintf(name, sizeof(name), "%.96s-wal", k->path);
        file_whole(name, wal, m);
}

START_TEST(test_damaged_wal) {
        Kit *k = &kit;
        uint8_t *file, *wal;
        size_t n, m;
        char name[112];
        uint64_t seed = 3;
        unsigned last = 0;

        kit_init(k);
        kit_open_well(k);
        for (uint64_t id = 1; id <= 30; id++)
                ck_assert_int_eq(kit_result(k, kit_add(id, kit_noise(id, 3000))), 0);
        snapshot(k, &file, &n, &wal, &m);
        kit_close(k);
        snprintf(name, sizeof(name), "%.96s-wal", k->path);
        for (size_t size = 0; size <= m; size += 4099) {
                file_put(k->path, file, n);
                file_put(name, wal, size);
                kit_open_well(k);
                ck_assert_uint_ge(k->n_jobs, last); /* more of it, more of them, none without those before */
                last = (unsigned) k->n_jobs;
                for (size_t i = 0; i < k->n_jobs; i++)
                        ck_assert_uint_eq(k->jobs[i].id, i + 1);
                kit_close(k);
        }
        ck_assert_uint_ge(last, 29);
        for (int i = 0; i < 40; i++) {
                _cleanup_free_ uint8_t *copy = malloc(m);
                size_t at = unit_random(&seed) % (m - 64);

                ck_assert_ptr_nonnull(copy);
                memcpy(copy, wal, m);
                unit_random_bytes(&seed, copy + at, 64);
                file_put(k->path, file, n);
                file_put(name, copy, m);
                kit_open_well(k);
                for (size_t j = 0; j < k->n_jobs; j++)
                        ck_assert_uint_eq(k->jobs[j].id, j + 1);
                kit_close(k);
        }
        free(file);
        free(wal);
        kit_done(k);
}
END_TEST

/* Anything anywhere. */
START_TEST(test_damage_at_random) {
        const unsigned n = 120;
        Kit *k = &kit;
        uint8_t *file;
        size_t size;
        uint64_t seed = UNIT_SEED;

        kit_init(k);
        kit_open_well(k);
        fill(k, n);
        kit_close(k);
        file_whole(k->path, &file, &size);
        for (int i = 0; i < 100; i++) {
                unsigned places = 1 + unit_random(&seed) % 8;
                size_t cut = i % 10 == 9 ? unit_random(&seed) % size : size;

                file_put(k->path, file, cut);
                for (unsigned p = 0; p < places && cut > 5000; p++)
                        scribble(k->path, (off_t) (100 + unit_random(&seed) % (cut - 5000)), 1 + unit_random(&seed) % (i % 2 ? 16 : 4096), unit_random(&seed));
                kit_open(k);
                ck_assert_msg(store_health(k->store) == STORE_OK || store_health(k->store) == STORE_DAMAGED, "%s", store_why(k->store));
                (void) verify_all(k, n);
                if (store_health(k->store) == STORE_DAMAGED)
                        accept_loss(k);
                ck_assert_int_eq(kit_result(k, kit_add(1000, kit_noise(1000, 5000))), 0);
                kit_end_job(k, 1000, JOB_COMPLETED);
                kit_close(k);
                kit_open(k);
                (void) verify_all(k, n);
                kit_close(k);
        }
        free(file);
        kit_done(k);
}
END_TEST

/* Somebody tidies up under us. */
START_TEST(test_removed_while_it_runs) {
        Kit *k = &kit;
        uint8_t *file;
        size_t n;

        kit_init(k);
        kit_open_well(k);
        fill(k, 30);
        ck_assert_int_eq(unlink(k->path), 0);
        kit_add_job(k, 100);
        StoreRequest *r = kit_get(k, 3, STORE_WANT_PAYLOAD);
        ck_assert_int_eq(r->error, 0);
        store_request_free(r);
        ck_assert_int_eq(access(k->path, F_OK), 0);
        kit_end_job(k, 3, JOB_COMPLETED);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 10);
        /* Replaced by an old copy of it. */
        file_whole(k->path, &file, &n);
        kit_end_job(k, 6, JOB_COMPLETED);
        ck_assert_int_eq(unlink(k->path), 0);
        file_put(k->path, file, n);
        free(file);
        kit_end_job(k, 9, JOB_COMPLETED);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 8);
        ck_assert_uint_ge(count_files(k, ".corrupt-"), 2);
        kit_done(k);
}
END_TEST

/* A salvage that was cut off, at each of its steps. */
START_TEST(test_salvage_cut_off) {
        Kit *k = &kit;
        _cleanup_free_ char *salvaged = NULL, *new = NULL, *wal = NULL;
        uint8_t *file;
        size_t n;

        kit_init(k);
        salvaged = str_printf("%s.salvaged", k->path);
        new = str_printf("%s.new", k->path);
        wal = str_printf("%s-wal", k->path);
        kit_open_well(k);
        kit_add_job(k, 1);
        kit_close(k);
        file_whole(k->path, &file, &n);

        /* Before it was whole: it never was. */
        file_put(new, "half of it", 10);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 1);
        kit_close(k);
        ck_assert_int_lt(access(new, F_OK), 0);
        /* When it was whole. */
        file_put(salvaged, file, n);
        file_put(k->path, "damaged, as it was said", 23);
        file_put(wal, "and its WAL", 11);
        kit_open_well(k);
        ck_assert_uint_eq(k->n_jobs, 1);
        kit_close(k);
        ck_assert_uint_eq(count_files(k, ".corrupt-"), 2);
        ck_assert_int_lt(access(salvaged, F_OK), 0);
        /* When the old one was moved already. */
        file_put(salvaged, file, n);
        ck_assert_int_eq(unlink(k->path), 0);
        kit_open_well(k);
        ck_assert_uint_eq(k->n_jobs, 1);
        kit_close(k);
        /* A WAL without its database is not played into the next one. */
        ck_assert_int_eq(unlink(k->path), 0);
        file_put(wal, "a WAL", 5);
        kit_open_well(k);
        ck_assert_uint_eq(k->n_jobs, 0);
        free(file);
        kit_done(k);
}
END_TEST

UNIT_MAIN("store-trouble", test_newer, test_foreign, test_locked_by_flowd, test_locked_by_a_shell, test_read_only, test_disk_full, test_file_limit,
          test_closed_while_full, test_no_database, test_damaged_pages, test_damage_while_it_runs, test_damaged_payload, test_damaged_wal,
          test_damage_at_random, test_removed_while_it_runs, test_salvage_cut_off)
