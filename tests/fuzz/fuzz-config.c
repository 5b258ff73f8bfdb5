/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Configuration files: the bytes are read as one file, and its assignments are applied as those of each kind of file; then the
 * checks run and everything is printed. Whatever the bytes are: no crash, messages that are text, and values within their limits.
 */

#include "basic/str.h"
#include "flowd/config-internal.h"
#include "fuzz.h"

static const char path[] = "/fuzz/pools/x.pool";

static ConfigSource *source_copy(const ConfigSource *s) {
        static ConfigSource copy;

        copy = (ConfigSource) { .key = strdup(s->key), .value = strdup(s->value), .file = strdup(s->file), .line = s->line };
        CHECK(copy.key && copy.value && copy.file);
        return &copy;
}

static void apply(ConfigLoader *l, const ConfigTable *t, const char *unit, void *object, const void *defaults,
                  const ConfigSource *sources, size_t n) {
        l->unit = unit;
        l->unit_file = path;
        l->unit_start = l->config->n_sources;
        for (size_t i = 0; i < n; i++) {
                ConfigSource *s = source_copy(sources + i);

                CHECK(config_assign(l, t, object, defaults, s) == 0);
                config_source_done(s);
        }
}

static void check_messages(const Config *c) {
        CHECK(c->n_messages <= CONFIG_MESSAGES_MAX + 1);
        for (size_t i = 0; i < c->n_messages; i++) {
                const char *s = c->messages[i].text;

                CHECK(utf8_valid(s, strlen(s)));
                for (; *s; s++)
                        CHECK((unsigned char) *s >= ' ' && *s != 0x7f);
                char *formatted = config_message_format(c->messages + i);
                CHECK(formatted);
                free(formatted);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char nowhere[] = "/nowhere", runtime[] = "/run/x", state[] = "/var/x", *dirs[] = { nowhere, NULL }, *text = NULL;
        const ConfigPaths paths = { .mode = RUN_USER, .dirs = dirs, .runtime = runtime, .state = state };
        Config *c = NULL, *defaults = NULL;
        ConfigSource *sources = NULL;
        size_t n = 0;

        CHECK(config_load(&paths, &c) == 0 && config_load(&paths, &defaults) == 0);
        CHECK(config_read_buffer(c, path, (const char *) data, size, &sources, &n) == 0);
        CHECK(n <= CONFIG_ASSIGNMENTS_MAX);
        for (size_t i = 0; i < n; i++) {
                CHECK(sources[i].line > 0 && *sources[i].key && strlen(sources[i].value) <= CONFIG_VALUE_MAX);
                CHECK(i == 0 || sources[i - 1].line < sources[i].line);
        }

        WorkerType *t = worker_type_new("x"), *t0 = worker_type_new("x");
        PoolConfig *p = pool_config_new("x"), *p0 = pool_config_new("x");
        ConfigLoader l = { .config = c, .paths = &paths, .libexec = "/lib" };
        CHECK(t && t0 && p && p0);
        apply(&l, &config_table_flowd, "flowd.conf", c, defaults, sources, n);
        CHECK(c->json_max > 0 && c->connections_max > 0 && c->log_level >= 0 && c->log_level <= 7);
        apply(&l, &config_table_worker, "x.worker", t, t0, sources, n);
        CHECK(t->slots > 0 && t->slots <= WORKER_SLOTS_MAX && (!t->exec || *t->exec[0] == '/'));
        CHECK(!t->user || *t->user);
        free(TAKE_PTR(t->user)); /* the user database is not ours to fuzz */
        CHECK(config_check_worker(&l, t) == 0);
        apply(&l, &config_table_pool, "x.pool", p, p0, sources, n);
        CHECK(config_check_pool(&l, p) == 0);
        CHECK(p->max > 0 && p->max <= POOL_WORKERS_MAX && p->min <= POOL_WORKERS_MAX);
        check_messages(c);
        CHECK(config_print(c, NULL, &text) == 0);
        CHECK(utf8_valid(text, strlen(text)));

        free(text);
        config_sources_free(sources, n);
        worker_type_unref(t);
        worker_type_unref(t0);
        pool_config_unref(p);
        pool_config_unref(p0);
        config_free(c);
        config_free(defaults);
        return 0;
}
