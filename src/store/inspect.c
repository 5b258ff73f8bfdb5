/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Readings of the whole database: whether it is sound, and a copy of it. They take long, so they have a thread of their own. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "store/internal.h"

#define CHECK_LINES_MAX 10 /* of what is wrong */

static int prepare(Db *db, const char *sql, sqlite3_stmt **ret) {
        int code = sqlite3_prepare_v2(db->sql, sql, -1, ret, NULL);

        return code == SQLITE_OK ? 0 : db_fail(db, code, sql);
}

/* What SQLite knows: pages, cells, indexes, types. */
static int check_pages(Db *db, sqlite3_str *text) {
        sqlite3_stmt *st = NULL;
        char sql[64];
        int r, code;

        snprintf(sql, sizeof(sql), "PRAGMA integrity_check(%d)", CHECK_LINES_MAX);
        r = prepare(db, sql, &st);
        if (r < 0)
                return r;
        while ((code = sqlite3_step(st)) == SQLITE_ROW) {
                const char *line = (const char *) sqlite3_column_text(st, 0);

                if (!line || !streq(line, "ok"))
                        sqlite3_str_appendf(text, "%s%s", sqlite3_str_length(text) > 0 ? "\n" : "", strempty(line));
        }
        r = code == SQLITE_DONE ? 0 : db_fail(db, code, "checking");
        (void) sqlite3_finalize(st);
        return r;
}

/* What only we know: that rows can be ours, and that payloads and results are what was stored. */
static int check_bodies(Db *db, sqlite3_str *text) {
        sqlite3_stmt *st = NULL;
        unsigned lines = 0;
        int r, code;

        r = prepare(db, "SELECT " ROW_COLUMNS ", " PAYLOAD_COLUMNS ", " RESULT_COLUMNS " FROM jobs NOT INDEXED", &st);
        if (r < 0)
                return r;
        while ((code = sqlite3_step(st)) == SQLITE_ROW && lines < CHECK_LINES_MAX) {
                _cleanup_(job_record_done) JobRecord j = {};

                r = row_read_whole(db, st, STORE_WANT_PAYLOAD | STORE_WANT_RESULT, &j);
                if (r < 0 && db->trouble == STORE_DAMAGED) {
                        sqlite3_str_appendf(text, "%s%s", sqlite3_str_length(text) > 0 ? "\n" : "", db->text);
                        lines++;
                        r = 0;
                } else if (r < 0)
                        break;
        }
        if (r >= 0 && code != SQLITE_DONE && code != SQLITE_ROW)
                r = db_fail(db, code, "checking");
        (void) sqlite3_finalize(st);
        return r;
}

int db_check(Db *db, char **ret) {
        sqlite3_str *text = sqlite3_str_new(db->sql);
        int r;

        r = check_pages(db, text);
        if (r >= 0 && sqlite3_str_length(text) == 0)
                r = check_bodies(db, text);
        if (r == -EBADMSG) {
                sqlite3_str_appendf(text, "%s%s", sqlite3_str_length(text) > 0 ? "\n" : "", db->text);
                r = 0;
        }
        bool sound = sqlite3_str_length(text) == 0;
        char *words = sqlite3_str_finish(text), *copy = sound ? strdup("ok") : words ? strdup(words) : NULL;
        if (r >= 0 && !copy)
                r = -ENOMEM;
        if (r >= 0 && !sound)
                (void) db_damaged(db, "%.400s", copy);
        sqlite3_free(words);
        if (r < 0) {
                free(copy);
                return r;
        }
        *ret = copy;
        return 0;
}

static int copy_into(Db *db, const char *path) {
        sqlite3_stmt *st = NULL;
        int r;

        r = prepare(db, "VACUUM INTO ?1", &st);
        if (r < 0)
                return r;
        (void) sqlite3_bind_text(st, 1, path, -1, SQLITE_STATIC);
        r = db_run(db, st, "copying");
        (void) sqlite3_finalize(st);
        return r;
}

static int sync_parent(const char *path) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *parent = strndup(path, slash == path ? 1 : (size_t) (slash - path));

        return parent ? dir_sync(parent) : -ENOMEM;
}

int db_backup(Db *db, const char *path, uint64_t *ret_bytes) {
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        if (!path || path[0] != '/')
                return -EINVAL;
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600); /* VACUUM INTO takes an empty file */
        if (fd < 0)
                return -errno;
        r = copy_into(db, path);
        if (r >= 0 && (fsync(fd) < 0 || fstat(fd, &st) < 0))
                r = -errno;
        if (r >= 0)
                r = sync_parent(path);
        if (r < 0) {
                (void) unlink(path);
                return r;
        }
        *ret_bytes = (uint64_t) st.st_size;
        return 0;
}
