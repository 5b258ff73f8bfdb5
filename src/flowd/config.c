/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Loading a configuration: which files make it up, as systemd finds its units. Of the files DIR/pools/NAME.pool the one in the
 * directory of the highest priority counts, whole; an empty file or a link to /dev/null there means that the pool does not exist.
 * Then come the drop-ins NAME.pool.d/CONF.conf of all directories in the order of their names; of equal names, again, the one of
 * the highest priority. What a file may say is in config-keys.c, what must fit together in config-check.c.
 *
 * Everything is read into a new Config. What goes wrong with a file's content is collected as messages and the loading goes on,
 * so that one run tells everything; the caller throws a Config with errors away and nothing has changed.
 */

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syslog.h>
#include <unistd.h>

#include "basic/str.h"
#include "flowd/config-internal.h"

/* A file that was found for a name; masked where the winner is empty. */
typedef struct UnitFile {
        char *name;
        char *path;
        bool masked;
} UnitFile;

typedef struct UnitFiles {
        UnitFile *files;
        size_t n;
} UnitFiles;

static void unit_files_done(UnitFiles *u) {
        for (size_t i = 0; i < u->n; i++) {
                free(u->files[i].name);
                free(u->files[i].path);
        }
        free(u->files);
        *u = (UnitFiles) {};
}

void config_source_done(ConfigSource *s) {
        free(s->unit);
        free(s->section);
        free(s->key);
        free(s->value);
        free(s->file);
        *s = (ConfigSource) {};
}

void config_sources_free(ConfigSource *s, size_t n) {
        for (size_t i = 0; i < n; i++)
                config_source_done(s + i);
        free(s);
}

static Config *config_new(void) {
        _cleanup_(config_freep) Config *c = new0(Config, 1);

        if (!c)
                return NULL;
        *c = (Config) {
                .results_max = 64ULL << 20,
                .results_count_max = 10000,
                .connections_max = 1024,
                .connections_per_user = 256,
                .jobs_per_client = 4096,
                .json_max = 8ULL << 20,
                .client_buffer_max = 128ULL << 20,
                .inbound_max = 512ULL << 20,
                .memory_budget = UINT64_MAX,
                .sessions_max = 100000,
                .session_ttl_usec = 30 * 60 * USEC_PER_SEC,
                .shutdown_timeout_usec = 30 * USEC_PER_SEC,
                .log_level = LOG_INFO,
                .stderr_rate = 1000,
                .stderr_interval_usec = 10 * USEC_PER_SEC,
                .store = true,
                .store_compress_min = 512,
                .store_compress_level = 3,
                .store_max_age_usec = 30 * 86400 * USEC_PER_SEC,
                .store_max_jobs = 1000000,
                .store_max_bytes = 4ULL << 30,
                .key_usec = 86400 * USEC_PER_SEC,
                .cache_max_bytes = 256ULL << 20,
                .observe_gid = (gid_t) -1,
                .submit_gid = (gid_t) -1,
                .admin_gid = (gid_t) -1,
        };
        route_config_init(&c->route);
        flow_config_default(&c->flow);
        c->observe_group = strdup("flowd-observe");
        c->submit_group = strdup("flowd");
        c->admin_group = strdup("flowd-admin");
        c->default_user = strdup("flowd-worker");
        if (!c->observe_group || !c->submit_group || !c->admin_group || !c->default_user)
                return NULL;
        return TAKE_PTR(c);
}

Config *config_free(Config *c) {
        if (!c)
                return NULL;
        free(c->observe_group);
        free(c->submit_group);
        free(c->admin_group);
        free(c->default_user);
        strv_free(c->route.method_tiers);
        strv_free(c->on_failure);
        for (size_t i = 0; i < c->n_pools; i++)
                pool_config_unref(c->pools[i]);
        free(c->pools);
        for (size_t i = 0; i < c->n_types; i++)
                worker_type_unref(c->types[i]);
        free(c->types);
        for (size_t i = 0; i < c->n_messages; i++) {
                free(c->messages[i].file);
                free(c->messages[i].text);
        }
        free(c->messages);
        config_sources_free(c->sources, c->n_sources);
        free(c);
        return NULL;
}

/* Messages go to terminals, the journal and JSON: no control characters, and valid UTF-8, whatever a file or its name holds. */
static void text_clean(char *s) {
        while (*s) {
                size_t n = (unsigned char) *s >= 0xf0 ? 4 : (unsigned char) *s >= 0xe0 ? 3 : (unsigned char) *s >= 0x80 ? 2 : 1;

                if ((unsigned char) *s < ' ' || *s == 0x7f || strnlen(s, n) < n || !utf8_valid(s, n)) {
                        *s = '?';
                        n = 1;
                }
                s += n;
        }
}

int config_message(Config *c, bool error, const char *file, unsigned line, const char *format, ...) {
        _cleanup_free_ char *text = NULL, *name = NULL;
        char buffer[CONFIG_MESSAGE_MAX];
        ConfigMessage *bigger;
        va_list ap;

        c->n_errors += error;
        if (c->n_messages > CONFIG_MESSAGES_MAX)
                return 0;
        if (c->n_messages == CONFIG_MESSAGES_MAX) {
                snprintf(buffer, sizeof buffer, "more than %u messages; the rest is not told", CONFIG_MESSAGES_MAX);
                file = NULL;
                line = 0;
        } else {
                va_start(ap, format);
                vsnprintf(buffer, sizeof buffer, format, ap);
                va_end(ap);
        }
        text_clean(buffer);
        text = strdup(buffer);
        if (file) {
                name = strdup(file);
                if (name)
                        text_clean(name);
        }
        bigger = realloc(c->messages, (c->n_messages + 1) * sizeof *bigger);
        if (bigger)
                c->messages = bigger;
        if (!text || !bigger || (file && !name))
                return -ENOMEM;
        c->messages[c->n_messages++] = (ConfigMessage) {
                .error = error,
                .file = TAKE_PTR(name),
                .line = line,
                .text = TAKE_PTR(text),
        };
        return 0;
}

const ConfigSource *config_loader_find(const ConfigLoader *l, const char *key) {
        for (size_t i = l->config->n_sources; i > l->unit_start; i--)
                if (!l->config->sources[i - 1].refused && streq(l->config->sources[i - 1].key, key))
                        return l->config->sources + i - 1;
        return NULL;
}

bool config_loader_refused(const ConfigLoader *l, const char *key) {
        for (size_t i = l->config->n_sources; i > l->unit_start; i--)
                if (l->config->sources[i - 1].refused && streq(l->config->sources[i - 1].key, key))
                        return true;
        return false;
}

int config_loader_message(ConfigLoader *l, bool error, const char *key, const char *format, ...) {
        const ConfigSource *s = key ? config_loader_find(l, key) : NULL;
        char text[CONFIG_MESSAGE_MAX];
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        return config_message(l->config, error, s ? s->file : l->unit_file, s ? s->line : 0, "%s", text);
}

/* Looks at one directory entry. Returns 1 where it is a file or a mask, 0 where it is none (told), or -ENOMEM. */
static int unit_file_check(Config *c, const char *path, bool *ret_masked) {
        struct stat st;

        if (stat(path, &st) < 0) {
                if (errno == ENOENT)
                        return config_error(c, path, 0, "is a link to nothing; to mask a file, link it to /dev/null");
                return config_error(c, path, 0, "cannot be read: %s", strerror(errno));
        }
        if (S_ISREG(st.st_mode))
                *ret_masked = st.st_size == 0;
        else if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
                *ret_masked = true;
        else
                return config_warning(c, path, 0, "is %s, not a file; ignored",
                                      S_ISDIR(st.st_mode) ? "a directory" : "something else");
        return 1;
}

static int unit_files_put(UnitFiles *u, const char *name, char *path, bool masked) {
        for (size_t i = 0; i < u->n; i++)
                if (streq(u->files[i].name, name)) {
                        free(u->files[i].path);
                        u->files[i].path = path;
                        u->files[i].masked = masked;
                        return 0;
                }

        _cleanup_free_ char *copy = strdup(name);
        UnitFile *bigger = realloc(u->files, (u->n + 1) * sizeof *bigger);
        if (bigger)
                u->files = bigger;
        if (!copy || !bigger) {
                free(path);
                return -ENOMEM;
        }
        u->files[u->n++] = (UnitFile) { .name = TAKE_PTR(copy), .path = path, .masked = masked };
        return 0;
}

/* Takes the files DIR/NAME + suffix, whose names are cut before the suffix where `cut`; what is in `u` already is replaced. */
static int unit_files_scan(Config *c, const char *dir, const char *suffix, bool cut, size_t max, UnitFiles *u) {
        DIR *d = opendir(dir);
        struct dirent *e;
        int r = 0;

        if (!d)
                return errno == ENOENT ? 0 : config_error(c, dir, 0, "cannot be read: %s", strerror(errno));
        while (r >= 0 && (errno = 0, e = readdir(d))) {
                _cleanup_free_ char *name = NULL, *path = NULL;
                size_t l = strlen(e->d_name), k = strlen(suffix);
                bool masked;

                /* hidden files, and with other endings what editors and package managers leave: "~", ".swp", ".dpkg-new" */
                if (*e->d_name == '.' || l <= k || !streq(e->d_name + l - k, suffix))
                        continue;
                name = strndup(e->d_name, cut ? l - k : l);
                path = str_printf("%s/%s", dir, e->d_name);
                if (!name || !path) {
                        r = -ENOMEM;
                        break;
                }
                if (cut && !name_valid(name)) {
                        r = config_warning(c, path, 0,
                                           "ignored: a name has letters, digits, \"_\", \"-\" and \".\", not \".\" or \"-\" "
                                           "first, and at most %u bytes",
                                           NAME_LENGTH_MAX);
                        continue;
                }
                r = unit_file_check(c, path, &masked);
                if (r <= 0)
                        continue;
                r = unit_files_put(u, name, TAKE_PTR(path), masked);
                if (r == 0 && u->n > max) {
                        r = config_error(c, dir, 0, "more than %zu files *%s", max, suffix);
                        break;
                }
        }
        if (r >= 0 && !e && errno > 0)
                r = config_error(c, dir, 0, "cannot be read: %s", strerror(errno));
        closedir(d);
        return r < 0 ? r : 0;
}

static int unit_file_compare(const void *a, const void *b) {
        return strcmp(((const UnitFile *) a)->name, ((const UnitFile *) b)->name);
}

/* `folder` is "/workers", "/pools", "" for flowd.conf. */
static int unit_files_find(ConfigLoader *l, const char *folder, const char *suffix, bool cut, size_t max, UnitFiles *ret) {
        _cleanup_(unit_files_done) UnitFiles u = {};

        for (char **dir = l->paths->dirs; dir && *dir; dir++) {
                _cleanup_free_ char *path = str_printf("%s%s", *dir, folder);
                int r = path ? unit_files_scan(l->config, path, suffix, cut, max, &u) : -ENOMEM;

                if (r < 0)
                        return r;
        }
        if (u.n > 0)
                qsort(u.files, u.n, sizeof *u.files, unit_file_compare);
        *ret = u;
        u = (UnitFiles) {};
        return 0;
}

static int section_check(ConfigLoader *l, const ConfigTable *t, const ConfigSource *s, const char *told) {
        if (!s->section)
                return config_error(l->config, s->file, s->line, "%s=: stands before any section; [%s] is expected above it",
                                    s->key, t->section);
        if (streq(s->section, t->section))
                return 1;
        if (strncmp(s->section, "X-", 2) == 0 || streq_ptr(told, s->section))
                return 0;
        return config_warning(l->config, s->file, s->line, "[%s]: unknown section, ignored; [%s] is read here", s->section,
                              t->section);
}

/* A file is gone through more than once; a person reads its messages from top to bottom. */
static void messages_sort(Config *c, size_t first) {
        for (size_t i = first + 1; i < c->n_messages; i++)
                for (size_t k = i; k > first && c->messages[k].line < c->messages[k - 1].line &&
                                   streq_ptr(c->messages[k].file, c->messages[k - 1].file);
                     k--) {
                        ConfigMessage m = c->messages[k];

                        c->messages[k] = c->messages[k - 1];
                        c->messages[k - 1] = m;
                }
}

/* Applies assignments, and frees them. */
static int sources_apply(ConfigLoader *l, const ConfigTable *t, ConfigSource *sources, size_t n, void *object, const void *defaults) {
        const char *told = NULL;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++) {
                r = section_check(l, t, sources + i, told);
                if (r > 0)
                        r = config_assign(l, t, object, defaults, sources + i);
                else if (r == 0 && sources[i].section)
                        told = sources[i].section;
        }
        config_sources_free(sources, n);
        return r < 0 ? r : 0;
}

static int file_apply(ConfigLoader *l, const ConfigTable *t, const char *path, void *object, const void *defaults) {
        ConfigSource *sources = NULL;
        size_t n = 0, n_messages = l->config->n_messages;
        int r = config_read(l->config, path, &sources, &n);

        if (r >= 0)
                r = sources_apply(l, t, sources, n, object, defaults);
        messages_sort(l->config, n_messages);
        return r;
}

/* Reads a unit's file, where it has one, and its drop-ins. `unit` and `path` live as long as the loading of this unit. */
static int unit_load(ConfigLoader *l, const ConfigTable *t, const char *folder, const char *unit, const char *path, void *object,
                     const void *defaults) {
        _cleanup_(unit_files_done) UnitFiles dropins = {};
        _cleanup_free_ char *dropin_folder = str_printf("%s/%s.d", folder, unit);
        int r;

        if (!dropin_folder)
                return -ENOMEM;
        l->unit = unit;
        l->unit_file = path;
        l->unit_start = l->config->n_sources;
        if (path) {
                r = file_apply(l, t, path, object, defaults);
                if (r < 0)
                        return r;
        }
        r = unit_files_find(l, dropin_folder, ".conf", false, CONFIG_DROPINS_MAX, &dropins);
        for (size_t i = 0; r == 0 && i < dropins.n; i++)
                if (!dropins.files[i].masked)
                        r = file_apply(l, t, dropins.files[i].path, object, defaults);
        return r;
}

static int load_flowd(ConfigLoader *l) {
        _cleanup_(config_freep) Config *defaults = config_new();
        _cleanup_free_ char *path = NULL;
        int r;

        if (!defaults)
                return -ENOMEM;
        for (char **dir = l->paths->dirs; dir && *dir; dir++) {
                _cleanup_free_ char *candidate = str_printf("%s/flowd.conf", *dir);
                bool masked;

                if (!candidate)
                        return -ENOMEM;
                if (access(candidate, F_OK) < 0 && errno == ENOENT)
                        continue;
                r = unit_file_check(l->config, candidate, &masked);
                if (r < 0)
                        return r;
                if (r > 0) {
                        free(path);
                        path = masked ? NULL : TAKE_PTR(candidate);
                }
        }
        r = unit_load(l, &config_table_flowd, "", "flowd.conf", path, l->config, defaults);
        return r < 0 ? r : config_check_flowd(l);
}

static int load_worker(ConfigLoader *l, const UnitFile *f) {
        _cleanup_(worker_type_unrefp) WorkerType *t = worker_type_new(f->name), *defaults = worker_type_new(f->name);
        _cleanup_free_ char *unit = str_printf("%s.worker", f->name);
        int r;

        if (!t || !defaults || !unit)
                return -ENOMEM;
        r = unit_load(l, &config_table_worker, "/workers", unit, f->path, t, defaults);
        if (r == 0)
                r = config_check_worker(l, t);
        if (r < 0)
                return r;
        l->config->types[l->config->n_types++] = TAKE_PTR(t);
        return 0;
}

static int load_pool(ConfigLoader *l, const UnitFile *f) {
        _cleanup_(pool_config_unrefp) PoolConfig *p = pool_config_new(f->name), *defaults = pool_config_new(f->name);
        _cleanup_free_ char *unit = str_printf("%s.pool", f->name);
        int r;

        if (!p || !defaults || !unit)
                return -ENOMEM;
        r = unit_load(l, &config_table_pool, "/pools", unit, f->path, p, defaults);
        if (r == 0)
                r = config_check_pool(l, p);
        if (r < 0)
                return r;
        l->config->pools[l->config->n_pools++] = TAKE_PTR(p);
        return 0;
}

/* Drop-ins for a unit that nobody has: most likely a name was misspelt. */
static int dropins_check(ConfigLoader *l, const char *folder, const char *suffix, const UnitFiles *units) {
        _cleanup_free_ char *pattern = str_printf("%s.d", suffix);
        int r = 0;

        if (!pattern)
                return -ENOMEM;
        for (char **dir = l->paths->dirs; r >= 0 && dir && *dir; dir++) {
                _cleanup_free_ char *path = str_printf("%s%s", *dir, folder);
                struct dirent *e;
                DIR *d;

                if (!path)
                        return -ENOMEM;
                d = opendir(path);
                while (d && r >= 0 && (e = readdir(d))) {
                        size_t length = strlen(e->d_name), k = strlen(pattern);
                        bool known = false;

                        if (*e->d_name == '.' || length <= k || !streq(e->d_name + length - k, pattern))
                                continue;
                        for (size_t i = 0; i < units->n && !known; i++)
                                known = strlen(units->files[i].name) == length - k &&
                                        strncmp(units->files[i].name, e->d_name, length - k) == 0;
                        if (!known) {
                                _cleanup_free_ char *full = str_printf("%s/%s", path, e->d_name);

                                r = full ? config_warning(l->config, full, 0,
                                                          "there is no %.*s, so these drop-ins change nothing",
                                                          (int) (length - 2), e->d_name)
                                         : -ENOMEM;
                        }
                }
                if (d)
                        closedir(d);
        }
        return r < 0 ? r : 0;
}

static int load_units(ConfigLoader *l, const char *folder, const char *suffix, int (*load)(ConfigLoader *l, const UnitFile *f)) {
        _cleanup_(unit_files_done) UnitFiles units = {};
        int r = unit_files_find(l, folder, suffix, true, CONFIG_UNITS_MAX, &units);

        for (size_t i = 0; r == 0 && i < units.n && i < CONFIG_UNITS_MAX; i++)
                if (!units.files[i].masked)
                        r = load(l, units.files + i);
        if (r < 0)
                return r;
        return dropins_check(l, folder, suffix, &units);
}

static ConfigLoader loader_of(Config *c, const ConfigPaths *paths) {
        const char *libexec = secure_getenv("FLOWD_LIBEXEC");

        return (ConfigLoader) { .config = c, .paths = paths, .libexec = libexec && *libexec == '/' ? libexec : PKGLIBEXECDIR };
}

int config_load(const ConfigPaths *paths, Config **ret) {
        _cleanup_(config_freep) Config *c = config_new();
        ConfigLoader l = loader_of(c, paths);
        int r = 0;

        if (!c)
                return -ENOMEM;
        c->types = new0(WorkerType *, CONFIG_UNITS_MAX);
        c->pools = new0(PoolConfig *, CONFIG_UNITS_MAX);
        if (!c->types || !c->pools)
                return -ENOMEM;
        if (paths->mode == RUN_PRIVATE && access(paths->dirs[0], F_OK) < 0)
                r = config_error(c, paths->dirs[0], 0, "the configuration directory cannot be used: %s", strerror(errno));
        if (r == 0)
                r = load_flowd(&l);
        if (r == 0)
                r = load_units(&l, "/workers", ".worker", load_worker);
        if (r == 0)
                r = load_units(&l, "/pools", ".pool", load_pool);
        if (r == 0)
                r = config_check_prefixes(c);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

static int type_compare(const void *key, const void *element) {
        return strcmp(key, (*(WorkerType *const *) element)->name);
}

WorkerType *config_find_type(const Config *c, const char *name) {
        WorkerType **t = c->n_types > 0 ? bsearch(name, c->types, c->n_types, sizeof *c->types, type_compare) : NULL;

        return t ? *t : NULL;
}

PoolConfig *config_find_pool(const Config *c, const char *name) {
        for (size_t i = 0; i < c->n_pools; i++)
                if (streq(c->pools[i]->name, name))
                        return c->pools[i];
        return NULL;
}

/* The errors among the messages, in one text. */
static char *errors_text(const Config *c) {
        char *text = NULL;

        for (size_t i = 0; i < c->n_messages; i++) {
                if (!c->messages[i].error)
                        continue;
                char *longer = str_printf("%s%s%s", strempty(text), text ? "; " : "", c->messages[i].text);

                free(text);
                text = longer;
        }
        return text;
}

static int pool_make(ConfigLoader *l, const char *settings, PoolConfig *p, const PoolConfig *defaults) {
        ConfigSource *sources = NULL;
        size_t n = 0;
        int r;

        r = config_read_buffer(l->config, POOL_SPAWNED_FILE, settings, strlen(settings), &sources, &n);
        if (r >= 0)
                r = sources_apply(l, &config_table_pool, sources, n, p, defaults);
        return r < 0 ? r : config_check_pool(l, p);
}

/* What was set goes from one to the other, for config_print(). */
static int sources_move(Config *to, Config *from) {
        size_t n = to->n_sources + from->n_sources, room = 16;

        while (room < n)
                room *= 2; /* as source_keep() has it */
        ConfigSource *bigger = realloc(to->sources, room * sizeof *bigger);
        if (!bigger)
                return -ENOMEM;
        to->sources = bigger;
        memcpy(to->sources + to->n_sources, from->sources, from->n_sources * sizeof *bigger);
        to->n_sources = n;
        from->n_sources = 0;
        return 0;
}

int config_add_pool(Config *c, const ConfigPaths *paths, const char *name, const char *settings, PoolConfig **ret, char **reterr_text) {
        _cleanup_(pool_config_unrefp) PoolConfig *p = pool_config_new(name), *defaults = pool_config_new(name);
        _cleanup_(config_freep) Config *scratch = config_new(); /* for what is said and set, which counts only if all is well */
        _cleanup_free_ char *unit = str_printf("%s.pool", name);
        int r;

        if (!p || !defaults || !scratch || !unit)
                return -ENOMEM;
        if (c->n_pools >= CONFIG_UNITS_MAX)
                return -ENOSPC;
        scratch->types = c->types; /* lent */
        scratch->n_types = c->n_types;
        scratch->on_failure = c->on_failure;
        ConfigLoader l = loader_of(scratch, paths);
        l.unit = unit;
        l.unit_file = POOL_SPAWNED_FILE;
        r = pool_make(&l, settings, p, defaults);
        scratch->types = NULL;
        scratch->on_failure = NULL;
        scratch->n_types = 0;
        if (r < 0)
                return r;
        for (size_t i = 0; i < scratch->n_messages; i++) /* in a file a key that is unknown may be of another version: here it is a mistake */
                scratch->messages[i].error |= strstr(scratch->messages[i].text, "unknown key") != NULL;
        *reterr_text = errors_text(scratch);
        if (*reterr_text)
                return -EBADMSG;
        const PoolConfig *other = config_same_prefix(c, p, c->n_pools);
        if (other) {
                *reterr_text = str_printf("the tools of pool %s have the same prefix; McpPrefix= with another one is needed", other->name);
                return *reterr_text ? -EBADMSG : -ENOMEM;
        }
        r = sources_move(c, scratch);
        if (r < 0)
                return r;
        *ret = c->pools[c->n_pools++] = TAKE_PTR(p);
        return 0;
}

static void sources_remove(Config *c, const char *pool) {
        size_t n = 0, l = strlen(pool);

        for (size_t i = 0; i < c->n_sources; i++)
                if (strncmp(c->sources[i].unit, pool, l) == 0 && streq(c->sources[i].unit + l, ".pool"))
                        config_source_done(c->sources + i);
                else
                        c->sources[n++] = c->sources[i];
        c->n_sources = n;
}

void config_remove_pool(Config *c, PoolConfig *p) {
        sources_remove(c, p->name);
        for (size_t i = 0; i < c->n_pools; i++)
                if (c->pools[i] == p) {
                        memmove(c->pools + i, c->pools + i + 1, (c->n_pools - i - 1) * sizeof(*c->pools));
                        c->n_pools--;
                        pool_config_unref(p);
                        return;
                }
}
