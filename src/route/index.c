/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Pools by what they take. A pool with Methods= takes jobs of these methods only, unless it is named; one without takes any, but where some pool
 * declares a method, jobs of that method go to such pools. Exact names are found by hash; patterns are tried one after the other, once for each
 * method: what was found is remembered, for the last ROUTE_MEMO_MAX pairs of worker type and method. Everything is dropped when pools change.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "basic/str.h"
#include "route/index.h"
#include "route/heuristic.h"

struct RouteNamedSet {
        MapNode by_name;
        RouteSet set;
        char name[];
};

struct RouteGlob {
        const char *pattern; /* the pool configuration's */
        Pool *pool;
};

#define KEY_MAX (NAME_LENGTH_MAX + 1 + JOB_NAME_MAX + 1)

bool route_glob_match(const char *pattern, const char *s) {
        const char *star = NULL, *from = NULL;

        while (*s)
                if (*pattern == '*') {
                        star = pattern++;
                        from = s;
                } else if (*pattern == '?' || *pattern == *s) {
                        pattern++;
                        s++;
                } else if (star) { /* the last star takes one more */
                        pattern = star + 1;
                        s = ++from;
                } else
                        return false;
        pattern += strspn(pattern, "*");
        return *pattern == 0;
}

/* --- sets --- */

static void set_done(RouteSet *s) {
        for (int t = 0; t < _TIER_MAX; t++)
                free(s->pools[t]);
        *s = (RouteSet) {};
}

static bool set_has(const RouteSet *s, const Pool *p) {
        Tier t = p->config->tier;

        for (unsigned i = 0; i < s->n[t]; i++)
                if (s->pools[t][i] == p)
                        return true;
        return false;
}

static int set_add(RouteSet *s, Pool *p) {
        Tier t = p->config->tier;
        unsigned n = s->n[t];

        if ((n & (n - 1)) == 0) { /* doubles at each power of two */
                Pool **bigger = realloc(s->pools[t], MAX(n * 2, 1U) * sizeof(Pool *));

                if (!bigger)
                        return -ENOMEM;
                s->pools[t] = bigger;
        }
        s->pools[t][s->n[t]++] = p;
        return 0;
}

static int set_add_all(RouteSet *s, const RouteSet *from) {
        for (int t = 0; t < _TIER_MAX; t++)
                for (unsigned i = 0; i < from->n[t]; i++) {
                        int r = set_has(s, from->pools[t][i]) ? 0 : set_add(s, from->pools[t][i]);

                        if (r < 0)
                                return r;
                }
        return 0;
}

static int named_add(Map *m, const char *name, Pool *p) {
        RouteNamedSet *s = map_get_name(m, name, RouteNamedSet, by_name);

        if (!s) {
                size_t size = strlen(name) + 1;

                s = calloc(1, sizeof(RouteNamedSet) + size);
                if (!s)
                        return -ENOMEM;
                memcpy(s->name, name, size);
                if (map_add_name(m, &s->by_name, s->name) < 0) {
                        free(s);
                        return -ENOMEM;
                }
        }
        return set_has(&s->set, p) ? 0 : set_add(&s->set, p);
}

static void named_done(Map *m) {
        for (size_t b = 0; b < m->n_buckets; b++)
                while (m->buckets[b]) {
                        RouteNamedSet *s = CONTAINER_OF(m->buckets[b], RouteNamedSet, by_name);

                        map_remove(m, &s->by_name);
                        set_done(&s->set);
                        free(s);
                }
        map_done(m);
}

/* --- the index --- */

void route_index_init(RouteIndex *x, List *pools) {
        *x = (RouteIndex) { .pools = pools };
        map_init(&x->by_method, random_u64());
        map_init(&x->by_type, random_u64());
        map_init(&x->memo, random_u64());
        list_init(&x->memo_lru);
}

static void memo_free(RouteIndex *x, RouteMemo *m) {
        list_remove(&m->lru);
        map_remove(&x->memo, &m->by_key);
        x->n_memo--;
        if (m->own) {
                set_done(m->set);
                free(m->set);
        }
        free(m);
}

void route_index_forget(RouteIndex *x) {
        List *n;

        while ((n = list_first(&x->memo_lru)))
                memo_free(x, list_entry(n, RouteMemo, lru));
        named_done(&x->by_method);
        named_done(&x->by_type);
        set_done(&x->open);
        set_done(&x->all);
        free(x->globs);
        x->globs = NULL;
        x->n_globs = x->n_pools = 0;
        x->valid = false;
}

void route_index_done(RouteIndex *x) {
        route_index_forget(x);
        map_done(&x->memo);
}

static int glob_add(RouteIndex *x, const char *pattern, Pool *p) {
        if ((x->n_globs & (x->n_globs - 1)) == 0) {
                RouteGlob *bigger = realloc(x->globs, MAX(x->n_globs * 2, (size_t) 1) * sizeof(RouteGlob));

                if (!bigger)
                        return -ENOMEM;
                x->globs = bigger;
        }
        x->globs[x->n_globs++] = (RouteGlob) { pattern, p };
        return 0;
}

static int index_pool(RouteIndex *x, Pool *p) {
        char **methods = p->config->methods;
        bool open = !methods;
        int r = set_add(&x->all, p);

        if (r >= 0)
                r = named_add(&x->by_type, p->config->type->name, p);
        for (char **m = methods; r >= 0 && m && *m; m++) {
                open |= streq(*m, "*");
                r = route_is_glob(*m) ? glob_add(x, *m, p) : named_add(&x->by_method, *m, p);
        }
        return r >= 0 && open ? set_add(&x->open, p) : r;
}

static int build(RouteIndex *x) {
        LIST_FOREACH(l, x->pools) {
                Pool *p = list_entry(l, Pool, link);
                int r = p->state == POOL_CLOSING ? 0 : index_pool(x, p);

                if (r < 0) {
                        route_index_forget(x);
                        return r;
                }
                x->n_pools++;
        }
        x->any.set = &x->open;
        x->valid = true;
        return 0;
}

/* The pools that declare the method: a set that is there, or, where patterns match, one that is made in `merged`. *ret is NULL where none does. */
static int find_declared(const RouteIndex *x, const char *method, RouteSet *merged, RouteSet **ret) {
        RouteNamedSet *named = method ? map_get_name(&x->by_method, method, RouteNamedSet, by_name) : NULL;
        bool globbed = false;
        int r = 0;

        for (size_t i = 0; method && i < x->n_globs && r >= 0; i++)
                if (route_glob_match(x->globs[i].pattern, method) && !set_has(merged, x->globs[i].pool)) {
                        r = set_add(merged, x->globs[i].pool);
                        globbed = true;
                }
        if (r >= 0 && globbed && named)
                r = set_add_all(merged, &named->set);
        *ret = globbed ? merged : named ? &named->set : NULL;
        return r;
}

static int set_add_common(RouteSet *s, const RouteSet *a, const RouteSet *b) {
        int r = 0;

        for (int t = 0; t < _TIER_MAX; t++)
                for (unsigned i = 0; r >= 0 && i < a->n[t]; i++)
                        if (set_has(b, a->pools[t][i]))
                                r = set_add(s, a->pools[t][i]);
        return r;
}

static bool set_empty(const RouteSet *s) {
        return s->n[TIER_HOT] + s->n[TIER_WARM] + s->n[TIER_COLD] == 0;
}

/* Pools that declare the method, or else those that take any; of the worker type. A set of its own only where none is there yet. */
static int find_set(RouteIndex *x, RouteMemo *m, const char *type, const char *method) {
        RouteNamedSet *typed = type ? map_get_name(&x->by_type, type, RouteNamedSet, by_name) : NULL;
        RouteSet merged = {}, *declared;
        int r = find_declared(x, method, &merged, &declared);

        if (r >= 0 && !type && declared != &merged) {
                m->set = declared ? declared : &x->open;
                return 0;
        }
        m->set = r >= 0 ? new0(RouteSet, 1) : NULL;
        if (!m->set) {
                set_done(&merged);
                return -ENOMEM;
        }
        m->own = true;
        if (!type) {
                *m->set = merged;
                return 0;
        }
        if (typed && declared)
                r = set_add_common(m->set, &typed->set, declared);
        if (r >= 0 && typed && set_empty(m->set))
                r = set_add_common(m->set, &typed->set, &x->open);
        set_done(&merged);
        return r;
}

/* An entry that names the method goes before patterns, and of these the first. */
static void find_table(const RouteIndex *x, RouteMemo *m, const char *method) {
        m->table_tier = -1;
        for (char **e = x->method_tiers; method && e && *e; e++) {
                char name[JOB_NAME_MAX];
                size_t n;
                int t = route_method_tier_parse(*e, &n);

                if (t < 0 || n >= sizeof(name))
                        continue;
                memcpy(name, *e, n);
                name[n] = 0;
                if (!streq(name, method) && (m->table_entry || !route_glob_match(name, method)))
                        continue;
                m->table_entry = *e;
                m->table_tier = t;
                if (streq(name, method))
                        return;
        }
}

static int memo_new(RouteIndex *x, const char *key, const char *type, const char *method, RouteMemo **ret) {
        size_t size = strlen(key) + 1;
        RouteMemo *m;
        int r;

        while (x->n_memo >= ROUTE_MEMO_MAX)
                memo_free(x, list_entry(x->memo_lru.prev, RouteMemo, lru));
        m = calloc(1, sizeof(RouteMemo) + size);
        if (!m)
                return -ENOMEM;
        m->key = (char *) (m + 1);
        memcpy(m->key, key, size);
        r = find_set(x, m, type, method);
        if (r >= 0)
                r = map_add_name(&x->memo, &m->by_key, m->key);
        if (r < 0) {
                if (m->own) {
                        set_done(m->set);
                        free(m->set);
                }
                free(m);
                return r;
        }
        find_table(x, m, method);
        list_prepend(&x->memo_lru, &m->lru);
        x->n_memo++;
        *ret = m;
        return 0;
}

int route_index_find(RouteIndex *x, const char *type, const char *method, const RouteMemo **ret) {
        char key[KEY_MAX];
        RouteMemo *m;
        int r;

        if (!x->valid) {
                r = build(x);
                if (r < 0)
                        return r;
        }
        if (!type && !method) {
                *ret = &x->any;
                return 0;
        }
        /* no name of a worker type has a newline in it; "=" stands before a method, so that an empty one is another key than none */
        snprintf(key, sizeof(key), "%s\n%s%s", strempty(type), method ? "=" : "", strempty(method));
        m = map_get_name(&x->memo, key, RouteMemo, by_key);
        if (m) {
                list_remove(&m->lru);
                list_prepend(&x->memo_lru, &m->lru);
        } else {
                r = memo_new(x, key, type, method, &m);
                if (r < 0)
                        return r;
        }
        *ret = m;
        return 0;
}
