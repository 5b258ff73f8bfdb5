/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What people read: a message, and the configuration as it was merged, with the values as they stand in the files. */

#include <errno.h>
#include <stdio.h>

#include "flowd/config-internal.h"

char *config_message_format(const ConfigMessage *m) {
        const char *kind = m->error ? "error" : "warning";

        if (!m->file)
                return str_printf("%s: %s", kind, m->text);
        if (m->line == 0)
                return str_printf("%s: %s: %s", m->file, kind, m->text);
        return str_printf("%s:%u: %s: %s", m->file, m->line, kind, m->text);
}

/* Prints one unit's values; its sources are neighbours, beginning somewhere. */
static void print_unit(FILE *f, const Config *c, const char *unit, const char *section) {
        size_t i = 0, n = 0;

        while (i < c->n_sources && !streq(c->sources[i].unit, unit))
                i++;
        if (ftell(f) > 0)
                fputc('\n', f);
        fprintf(f, "# %s\n", unit);
        for (; i < c->n_sources && streq(c->sources[i].unit, unit); i++) {
                const ConfigSource *s = c->sources + i;

                if (s->refused)
                        continue;
                if (n++ == 0)
                        fprintf(f, "[%s]\n", section);
                fprintf(f, "# %s:%u\n%s=%s\n", s->file, s->line, s->key, s->value);
        }
        if (n == 0)
                fputs("# nothing is set, so that the defaults are in force\n", f);
}

int config_print(const Config *c, const char *unit, char **ret) {
        _cleanup_free_ char *text = NULL;
        bool found = !unit;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return -ENOMEM;
        if (!unit || streq(unit, "flowd.conf")) {
                print_unit(f, c, "flowd.conf", config_table_flowd.section);
                found = true;
        }
        for (size_t i = 0; i < c->n_types; i++) {
                char name[NAME_LENGTH_MAX + sizeof ".worker"];

                snprintf(name, sizeof name, "%s.worker", c->types[i]->name);
                if (unit && !streq(unit, name))
                        continue;
                print_unit(f, c, name, config_table_worker.section);
                found = true;
        }
        for (size_t i = 0; i < c->n_pools; i++) {
                char name[NAME_LENGTH_MAX + sizeof ".pool"];

                snprintf(name, sizeof name, "%s.pool", c->pools[i]->name);
                if (unit && !streq(unit, name))
                        continue;
                print_unit(f, c, name, config_table_pool.section);
                found = true;
        }
        if (fclose(f) != 0)
                return -ENOMEM;
        if (!found)
                return -ENOENT;
        *ret = TAKE_PTR(text);
        return 0;
}

const char *config_flowd_key(size_t i) {
        return config_key_name(&config_table_flowd, i);
}

/* The next assignment to a key of flowd.conf that counts, from `*i` on; NULL: there is none. */
static const ConfigSource *flowd_source_next(const Config *c, const char *key, size_t *i) {
        while (*i < c->n_sources) {
                const ConfigSource *s = c->sources + (*i)++;

                if (!s->refused && streq(s->unit, "flowd.conf") && streq(s->key, key))
                        return s;
        }
        return NULL;
}

bool config_flowd_key_equal(const Config *a, const Config *b, const char *key) {
        size_t i = 0, k = 0;

        for (;;) {
                const ConfigSource *x = flowd_source_next(a, key, &i), *y = flowd_source_next(b, key, &k);

                if (!x || !y)
                        return x == y;
                if (!streq(x->value, y->value))
                        return false;
        }
}

int config_flowd_key_warning(Config *c, const char *key, const char *text) {
        size_t i = 0;
        const ConfigSource *s = flowd_source_next(c, key, &i);

        return config_warning(c, s ? s->file : "flowd.conf", s ? s->line : 0, "%s", text);
}
