/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the configuration's source files share among themselves: reading one file, the tables of keys, the loader's state. */

#include "flowd/config.h"

#define CONFIG_FILE_MAX (1U << 20)       /* bytes of one file */
#define CONFIG_VALUE_MAX 8000U           /* bytes of one value, after its continuation lines were joined; see config-read.c */
#define CONFIG_KEY_MAX 100U              /* bytes of a key's or section's name */
#define CONFIG_ASSIGNMENTS_MAX 4096U     /* in one file */
#define CONFIG_SYNTAX_ERRORS_MAX 20U     /* told of one file */
#define CONFIG_DROPINS_MAX 256U          /* of one unit */
#define CONFIG_UNITS_MAX 4096U           /* worker types, and pools */
#define CONFIG_MESSAGES_MAX 1000U        /* kept; all are counted */
#define CONFIG_MESSAGE_MAX 1000U         /* bytes of one message */
#define CONFIG_GROUPS_MAX 65536          /* groups of a user, as the kernel's NGROUPS_MAX */

/* An assignment in some file. */
typedef struct ConfigSource {
        char *unit;    /* "flowd.conf", "NAME.worker", "NAME.pool" */
        char *section;
        char *key;
        char *value;   /* as written, lines joined */
        char *file;
        unsigned line;
        bool refused;  /* with a message; the value in force is another one */
} ConfigSource;

void config_source_done(ConfigSource *s);
void config_sources_free(ConfigSource *s, size_t n);

/* Adds a message; control characters become "?". Returns 0 or -ENOMEM. */
int config_message(Config *c, bool error, const char *file, unsigned line, const char *format, ...) _printf_(5, 6);
#define config_error(c, file, line, ...) config_message((c), true, (file), (line), __VA_ARGS__)
#define config_warning(c, file, line, ...) config_message((c), false, (file), (line), __VA_ARGS__)

/* Reads one file's assignments in their order; `unit` is left NULL in them, `section` is NULL before the first header. What is
 * wrong with the syntax becomes messages. Returns 0, -ENOMEM, or -errno where the memfd that libeconf reads cannot be made. */
int config_read(Config *c, const char *path, ConfigSource **ret, size_t *ret_n);
/* The same over bytes at hand; `path` is for messages. */
int config_read_buffer(Config *c, const char *path, const char *data, size_t size, ConfigSource **ret, size_t *ret_n);

typedef struct ConfigKey ConfigKey;

typedef struct ConfigLoader {
        Config *config;
        const ConfigPaths *paths;
        const char *libexec;     /* %L */
        const char *unit;        /* being loaded */
        const char *unit_file;   /* its main file, NULL where there is none */
        size_t unit_start;       /* its first source */
        bool default_user_told;  /* that it does not exist: once is enough */
} ConfigLoader;

/* The last good assignment to a key in the unit that is being loaded; NULL where there is none, or an empty one came later. */
const ConfigSource *config_loader_find(const ConfigLoader *l, const char *key);
/* True where a bad one was told already, so that it need not be missed as well. */
bool config_loader_refused(const ConfigLoader *l, const char *key);
/* An error about a key of that unit: at its line where it was set, otherwise about the unit's file. */
int config_loader_message(ConfigLoader *l, bool error, const char *key, const char *format, ...) _printf_(4, 5);

/* One kind of file: its section, its keys, and an object that holds the defaults. */
typedef struct ConfigTable {
        const char *section;
        const ConfigKey *keys;
        size_t n_keys;
} ConfigTable;

extern const ConfigTable config_table_flowd, config_table_worker, config_table_pool;

/* Applies an assignment to `object`, whose untouched twin is `defaults`. Adds the source, or takes back what an empty value
 * resets. Returns 0 (also where the value was refused with a message) or -ENOMEM. Takes what is in `s` over. */
int config_assign(ConfigLoader *l, const ConfigTable *t, void *object, const void *defaults, ConfigSource *s);
/* The names of a table's keys, one after the other; NULL behind the last one. */
const char *config_key_name(const ConfigTable *t, size_t i);
/* The RLIMIT_* number of a Limit*= key, or -EINVAL. */
int config_key_limit(const char *key);
/* Puts the specifiers in. Returns 0, -EINVAL with the message already given, -ENOMEM. */
int config_expand(ConfigLoader *l, const ConfigSource *s, const char *text, char **ret);

/* What is known only when a unit was read whole: defaults that depend on others, users, contradictions. */
int config_check_flowd(ConfigLoader *l);
int config_check_worker(ConfigLoader *l, WorkerType *t);
int config_check_pool(ConfigLoader *l, PoolConfig *p);
/* The one among the first `n` pools whose tools would have the same names as that pool's, or NULL. */
const PoolConfig *config_same_prefix(const Config *c, const PoolConfig *p, size_t n);
/* Of all pools: no two have the same McpPrefix=. */
int config_check_prefixes(Config *c);

WorkerType *config_find_type(const Config *c, const char *name);
