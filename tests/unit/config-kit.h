/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The directories that the tests of the configuration write files into: dirs[0] has the lowest priority. Messages are held to file, line and a piece
 * of their text. */

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syslog.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "flowd/config-internal.h"

static char base[] = "/tmp/flowd-test-config-XXXXXX";
static char *dirs[4];
static Config *config;

static inline void setup(void) {
        strcpy(base, "/tmp/flowd-test-config-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(base));
        for (size_t i = 0; i < 3; i++) {
                dirs[i] = str_printf("%s/%c", base, (char) ('a' + i));
                ck_assert_int_eq(mkdir(dirs[i], 0755), 0);
        }
        unsetenv("FLOWD_LIBEXEC");
        unsetenv("FLOWD_CONFIG");
        unsetenv("FLOWD_RUNTIME");
        unsetenv("FLOWD_STATE");
}

static inline int remove_entry(const char *path, const struct stat *st _unused_, int flag _unused_, struct FTW *ftw _unused_) {
        return remove(path);
}

static inline void teardown(void) {
        config = config_free(config);
        nftw(base, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        for (size_t i = 0; i < 3; i++) {
                free(dirs[i]);
                dirs[i] = NULL;
        }
}

/* Writes a file below `base`, such as "a/pools/x.pool", with the folders above it. */
static inline void put_bytes(const char *path, const void *data, size_t size) {
        _cleanup_free_ char *full = str_printf("%s/%s", base, path), *folder = strdup(full);
        _cleanup_close_ int fd = -1;

        *strrchr(folder, '/') = 0;
        ck_assert_int_ge(dir_make(folder, 0755), 0);
        fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_ge(fd_write_all(fd, data, size), 0);
}

static inline void put(const char *path, const char *text) {
        put_bytes(path, text, strlen(text));
}

static inline void put_link(const char *path, const char *target) {
        _cleanup_free_ char *full = str_printf("%s/%s", base, path), *folder = strdup(full);

        *strrchr(folder, '/') = 0;
        ck_assert_int_ge(dir_make(folder, 0755), 0);
        ck_assert_int_eq(symlink(target, full), 0);
}

static inline void load_mode(RunMode mode) {
        char runtime[] = "/run/x", state[] = "/var/x";
        ConfigPaths paths = { .mode = mode, .dirs = dirs, .runtime = runtime, .state = state };

        config = config_free(config);
        ck_assert_int_eq(config_load(&paths, &config), 0);
        for (size_t i = 0; i < config->n_messages; i++) {
                _cleanup_free_ char *s = config_message_format(config->messages + i);
                fprintf(stderr, "  %s\n", s);
        }
}

static inline void load(void) {
        load_mode(RUN_PRIVATE);
}

/* Loads what must be faultless. */
static inline void load_clean(void) {
        load();
        ck_assert_uint_eq(config->n_messages, 0);
        ck_assert_uint_eq(config->n_errors, 0);
}

static inline size_t told(bool error, const char *path, unsigned line, const char *piece) {
        _cleanup_free_ char *full = str_printf("%s/%s", base, path);
        size_t n = 0;

        for (size_t i = 0; i < config->n_messages; i++) {
                const ConfigMessage *m = config->messages + i;
                n += m->error == error && streq_ptr(m->file, full) && m->line == line && strstr(m->text, piece);
        }
        return n;
}

#define assert_error(path, line, piece) ck_assert_msg(told(true, (path), (line), (piece)) == 1, "no error: %s", (piece))
#define assert_warning(path, line, piece) ck_assert_msg(told(false, (path), (line), (piece)) == 1, "no warning: %s", (piece))

static inline const WorkerType *type(const char *name) {
        const WorkerType *t = config_find_type(config, name);

        ck_assert_ptr_nonnull(t);
        return t;
}

static inline const PoolConfig *pool(const char *name) {
        for (size_t i = 0; i < config->n_pools; i++)
                if (streq(config->pools[i]->name, name))
                        return config->pools[i];
        return NULL;
}

/* One worker type with these lines below Exec=, which is line 2. */
static inline void put_worker(const char *lines) {
        _cleanup_free_ char *text = str_printf("[Worker]\nExec=/bin/cat\n%s", lines);
        put("a/workers/w.worker", text);
}

static inline void put_pool(const char *lines) {
        _cleanup_free_ char *text = str_printf("[Pool]\nWorker=w\n%s", lines);
        put_worker("");
        put("a/pools/p.pool", text);
}

/* One line of a worker type, or pool, that must be refused as `message`; nothing else may be told. */
static inline void refused_worker(const char *line, const char *message) {
        put_worker(line);
        load();
        assert_error("a/workers/w.worker", 3, message);
        ck_assert_uint_eq(config->n_messages, 1);
}

static inline void refused_pool(const char *line, const char *message) {
        put_pool(line);
        load();
        assert_error("a/pools/p.pool", 3, message);
        ck_assert_uint_eq(config->n_messages, 1);
}

static inline void refused_flowd(const char *line, const char *message) {
        _cleanup_free_ char *text = str_printf("[Flowd]\n%s\n", line);

        put("a/flowd.conf", text);
        load();
        assert_error("a/flowd.conf", 2, message);
        ck_assert_uint_eq(config->n_messages, 1);
}
