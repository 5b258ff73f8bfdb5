/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Pools that were spawned at run time. One is what a NAME.pool file would say, without the file: its settings are read and checked as those of a
 * file are, and from then on it stands in the configuration like any other. A reload carries it over into the fresh configuration, a re-exec into
 * the new image, and the store into the next run, until it is closed. Without a store it lives as long as flowd, re-execs included.
 *
 * Files come first: a reload that brings a file of a spawned pool's name, or takes its worker type away, is refused; at a start, where nothing runs
 * that could be harmed, the file wins, and a pool without its worker type waits in the store.
 */

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/state.h"
#include "flowd/config-internal.h"
#include "flowd/persist.h"
#include "flowd/spawned.h"

#define SETTINGS_MAX 64U                  /* of one pool */
#define SETTINGS_SIZE_MAX (16U * 1024U)   /* bytes of all of them */
#define CLOSE_TIMEOUT_USEC (30 * USEC_PER_SEC) /* unless the caller says otherwise */
#define DEFAULT_MIN 1U
#define DEFAULT_MAX 10U
#define NAMES_TRIED 10000U

static const char *const pool_types[][2] = { /* names, and what they are */
        { "local", "local" },
        { "mahavishnu", "local" },
};

static const char *pool_type_find(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(pool_types); i++)
                if (streq(name, pool_types[i][0]))
                        return pool_types[i][1];
        return NULL;
}

static int complain(char **reterr_text, int error, const char *format, ...) _printf_(3, 4);
static int complain(char **reterr_text, int error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(reterr_text, format, ap) < 0)
                *reterr_text = NULL;
        va_end(ap);
        return error;
}

/* A name that no pool has: TYPE-1, TYPE-2, ... */
static int find_name(Manager *m, const char *type, char buf[NAME_LENGTH_MAX + 1]) {
        for (unsigned i = 1; i <= NAMES_TRIED; i++) {
                int n = snprintf(buf, NAME_LENGTH_MAX + 1, "%.*s-%u", (int) NAME_LENGTH_MAX - 8, type, i);

                if (n > 0 && name_valid(buf) && !manager_pool(m, buf))
                        return 0;
        }
        return -EEXIST;
}

static bool is_key(const char *s) {
        return *s && s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")] == 0;
}

/* The settings as a file would have them. */
static int settings_text(const PoolSpawn *spec, char **ret, char **reterr_text) {
        _cleanup_free_ char *text = NULL;
        bool cold = spec->tier && streq(spec->tier, "cold");
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);
        int r = 0;

        if (!f)
                return -ENOMEM;
        uint64_t min = spec->min_set ? spec->min : cold ? 0 : DEFAULT_MIN;
        fprintf(f, "[Pool]\nWorker=%s\n", spec->worker_type);
        if (spec->tier)
                fprintf(f, "Tier=%s\n", spec->tier);
        fprintf(f, "Min=%llu\nMax=%llu\n", (unsigned long long) min,
                (unsigned long long) (spec->max_set ? spec->max : MAX(min, (uint64_t) DEFAULT_MAX)));
        if (spec->settings) {
                unsigned n = 0;

                json_object_object_foreach(spec->settings, key, value) {
                        if (!json_object_is_type(value, json_type_string))
                                r = complain(reterr_text, -EINVAL, "%.100s=: the value of a setting is a text", key);
                        else if (!is_key(key)) /* a blank or "#" would make another one, or none, of it */
                                r = complain(reterr_text, -EINVAL, "'%.100s' is no key of a setting; flowd.pool(5) has them", key);
                        else if (strpbrk(json_object_get_string(value), "\n\\"))
                                r = complain(reterr_text, -EINVAL, "%.100s=: a setting is one line, without a backslash", key);
                        else if (streq(key, "Worker"))
                                r = complain(reterr_text, -EINVAL, "Worker=: the worker type is a parameter of its own");
                        else if (streq(key, "OnFailure") && !spec->is_admin) /* who may spawn pools may not yet run any command as their user */
                                r = complain(reterr_text, -EINVAL, "OnFailure=: only an administrator may say what is executed");
                        else if ((spec->tier && streq(key, "Tier")) || (spec->min_set && streq(key, "Min")) || (spec->max_set && streq(key, "Max")))
                                r = complain(reterr_text, -EINVAL, "%s= is given twice: as a parameter of its own and as a setting", key);
                        else if (++n > SETTINGS_MAX)
                                r = complain(reterr_text, -EINVAL, "more than %u settings", SETTINGS_MAX);
                        if (r < 0)
                                break;
                        fprintf(f, "%s=%s\n", key, json_object_get_string(value));
                }
        }
        if (fclose(f) != 0)
                return -ENOMEM;
        if (r == 0 && size > SETTINGS_SIZE_MAX)
                r = complain(reterr_text, -EINVAL, "the settings are longer than %u bytes", SETTINGS_SIZE_MAX);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(text);
        return 0;
}

/* What is kept of it. */
static char *definition_text(const PoolConfig *c) {
        json_object *o = json_object_new_object();
        char *text;

        json_object_object_add(o, "id", json_object_new_string(c->id));
        json_object_object_add(o, "pool_type", json_object_new_string(c->pool_type));
        json_object_object_add(o, "settings", json_object_new_string(c->settings));
        text = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
        return text;
}

/* Adds it to a configuration. */
static int add(Manager *m, Config *to, const char *name, const char *id, const char *pool_type, const char *settings, PoolConfig **ret,
               char **reterr_text) {
        PoolConfig *c;
        int r = config_add_pool(to, &m->paths, name, settings, &c, reterr_text);

        if (r < 0)
                return r;
        c->id = strdup(id);
        c->pool_type = strdup(pool_type);
        c->settings = strdup(settings);
        if (!c->id || !c->pool_type || !c->settings) {
                config_remove_pool(to, c);
                return -ENOMEM;
        }
        *ret = c;
        return 0;
}

static int check(Manager *m, const PoolSpawn *spec, const char **ret_pool_type, char **reterr_text) {
        if (m->stopping)
                return complain(reterr_text, -ESHUTDOWN, "flowd is stopping");
        *ret_pool_type = pool_type_find(spec->pool_type ? spec->pool_type : "local");
        if (!*ret_pool_type)
                return complain(reterr_text, -EINVAL, "pool type '%.100s' is not known; this flowd has: local (or mahavishnu)", spec->pool_type);
        if (!name_valid(spec->worker_type)) /* it becomes a line of settings */
                return complain(reterr_text, -EINVAL, "'%.100s' is no worker type; 'flowctl config cat' shows those that there are", spec->worker_type);
        if (spec->tier && tier_from_string(spec->tier) < 0)
                return complain(reterr_text, -EINVAL, "'%.100s' is no tier; hot, warm and cold are", spec->tier);
        if (spec->name && !name_valid(spec->name))
                return complain(reterr_text, -EINVAL, "'%.100s' is no name for a pool: letters, digits, \"_\", \"-\" and \".\" are allowed, not \".\" or \"-\" "
                                "first, and at most %u bytes", spec->name, NAME_LENGTH_MAX);
        if (spec->name && manager_pool(m, spec->name)) {
                const Pool *p = manager_pool(m, spec->name);

                return complain(reterr_text, -EEXIST, p->config->id ? "there is a pool '%s' already, %s; close it first, or choose another name" :
                                "there is a pool '%s' already, from a file (%s.pool); choose another name", spec->name,
                                p->state == POOL_CLOSING ? "which closes" : p->config->id ? p->config->id : spec->name);
        }
        return 0;
}

int spawned_new(Manager *m, const PoolSpawn *spec, StoreRequest *keep, Pool **ret, char **reterr_text) {
        char generated[NAME_LENGTH_MAX + 1], id[POOL_ID_MAX];
        const char *pool_type = NULL, *name = spec->name;
        _cleanup_free_ char *settings = NULL;
        PoolConfig *c;
        Pool *p;
        int r = check(m, spec, &pool_type, reterr_text);

        if (r >= 0 && !name) {
                r = find_name(m, spec->worker_type, generated);
                name = generated;
        }
        if (r >= 0)
                r = settings_text(spec, &settings, reterr_text);
        if (r < 0)
                return r;
        snprintf(id, sizeof(id), "%s_%016llx", pool_type, (unsigned long long) random_u64());
        r = add(m, m->config, name, id, pool_type, settings, &c, reterr_text);
        if (r == -ENOSPC)
                return complain(reterr_text, r, "there are as many pools as there can be; close some");
        if (r < 0)
                return r;
        if (keep) {
                keep->state_key = str_printf(PERSIST_POOL "%s", name);
                keep->state_value = definition_text(c);
        }
        r = keep && (!keep->state_key || !keep->state_value) ? -ENOMEM : manager_add_pool(m, c, &p);
        if (r < 0) {
                config_remove_pool(m->config, c);
                return r;
        }
        EventFields f = { .pool = p->name };
        event_send(&m->host, EVENT_POOL_SPAWNED, &f, "Pool %s (%s) was spawned by uid %u: workers of type %s, %u to %u", p->name, id, spec->uid,
                   c->type->name, c->min, c->max);
        pool_start(p);
        manager_adopt_waiting(m); /* recorded jobs may have waited for one of its name */
        *ret = p;
        return 0;
}

int spawned_close(Manager *m, Pool *p, uint64_t timeout_usec, char **reterr_text) {
        if (!p->config->id)
                return complain(reterr_text, -EPERM, "pool %s is from a file: remove %s.pool and 'flowctl reload', or 'flowctl pool drain %s'", p->name,
                                p->name, p->name);
        if (p->state == POOL_CLOSING) { /* asked again: only its end may come sooner */
                pool_close_by(p, timeout_usec);
                return 0;
        }
        EventFields f = { .pool = p->name };
        event_send(&m->host, EVENT_POOL_CLOSED, &f, "Pool %s (%s) closes: %u job%s and %u are queued", p->name, p->config->id, p->n_running,
                   p->n_running == 1 ? " runs" : "s run", p->n_queued + p->n_waiting);
        persist_forget(m, PERSIST_POOL, p->name);
        if (config_find_pool(m->config, p->name) == p->config)
                config_remove_pool(m->config, p->config); /* a reload must not bring it back; the pool has a reference of its own */
        pool_close(p);
        pool_close_by(p, timeout_usec == 0 ? CLOSE_TIMEOUT_USEC : timeout_usec);
        return 0;
}

/* --- reload --- */

/* The file that a pool of the configuration is from. */
static const char *file_of(const Config *c, const char *name, unsigned *ret_line) {
        for (size_t i = 0; i < c->n_sources; i++) {
                const ConfigSource *s = c->sources + i;
                size_t l = strlen(name);

                if (strncmp(s->unit, name, l) == 0 && streq(s->unit + l, ".pool")) {
                        *ret_line = s->line;
                        return s->file;
                }
        }
        *ret_line = 0;
        return NULL;
}

int spawned_carry(Manager *m, Config *fresh) {
        for (size_t i = 0; i < m->config->n_pools; i++) {
                const PoolConfig *old = m->config->pools[i];
                _cleanup_free_ char *why = NULL;
                PoolConfig *c;
                unsigned line;
                int r;

                if (!old->id)
                        continue;
                if (config_find_pool(fresh, old->name)) {
                        const char *file = file_of(fresh, old->name, &line);

                        r = config_error(fresh, file, line,
                                         "a pool '%s' was spawned at run time (%s): give the file another name, or 'flowctl pool close %s' first", old->name,
                                         old->id, old->name);
                        if (r < 0)
                                return r;
                        continue;
                }
                r = add(m, fresh, old->name, old->id, old->pool_type, old->settings, &c, &why);
                if (r == -EBADMSG)
                        r = config_error(fresh, NULL, 0,
                                         "pool %s, which was spawned at run time, could not go on: %s. Or close it first: 'flowctl pool close %s'", old->name,
                                         strna(why), old->name);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- the next run, and the next image --- */

static int revive(Manager *m, const char *name, json_object *o) {
        const char *id = state_get_text(o, "id"), *pool_type = state_get_text(o, "pool_type"), *settings = state_get_text(o, "settings");
        _cleanup_free_ char *why = NULL;
        PoolConfig *c, *other = config_find_pool(m->config, name);
        EventFields f = { .pool = name };
        int r;

        if (other && other->id)
                return 0; /* it came with the image before */
        if (other) {
                event_send(&m->host, EVENT_CONFIG, &f,
                           "Pool %s was spawned in an earlier run; now there is a file %s.pool, which counts: the spawned one is forgotten",
                           name, name);
                persist_forget(m, PERSIST_POOL, name);
                return 0;
        }
        if (!id || !pool_type || !settings || !name_valid(name))
                r = -EBADMSG;
        else
                r = add(m, m->config, name, id, pool_type, settings, &c, &why);
        if (r == -EBADMSG || r == -ENOSPC) {
                event_send(&m->host, EVENT_CONFIG, &f,
                           "Pool %s, spawned in an earlier run, cannot be started: %s. It is kept until a restart when that is mended", name,
                           why ? why : "what is kept of it makes no sense");
                return 0;
        }
        return r < 0 ? r : 1;
}

int spawned_load(Manager *m, const char *name, const char *text) {
        json_object *o = json_tokener_parse(text);
        int r = revive(m, name, o);
        Pool *p;

        json_object_put(o);
        if (r <= 0)
                return r;
        return manager_add_pool(m, config_find_pool(m->config, name), &p);
}

void spawned_serialize(Manager *m, StateWriter *sw, json_object *root) {
        json_object *a = json_object_new_array();

        for (size_t i = 0; i < m->config->n_pools; i++) {
                const PoolConfig *c = m->config->pools[i];

                if (!c->id)
                        continue;
                json_object *o = json_object_new_object();
                state_put_text(sw, o, "name", c->name);
                state_put_text(sw, o, "id", c->id);
                state_put_text(sw, o, "pool_type", c->pool_type);
                state_put_text(sw, o, "settings", c->settings);
                json_object_array_add(a, o);
        }
        state_put_object(sw, root, "spawned", a);
}

int spawned_deserialize(Manager *m, const StateReader *sr) {
        json_object *a = state_get_object(sr->root, "spawned");

        for (size_t i = 0; a && i < json_object_array_length(a); i++) {
                json_object *o = json_object_array_get_idx(a, i);
                const char *name = state_get_text(o, "name");
                int r = name ? revive(m, name, o) : 0;

                if (r < 0)
                        return r;
        }
        return 0;
}
