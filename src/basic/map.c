/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Hash maps with chains. They double when full and never shrink; adding to one that cannot grow works, more slowly. */

#include <errno.h>

#include "basic/map.h"

#define MAP_BUCKETS_MIN 16U

static uint64_t mix(uint64_t v) {
        v ^= v >> 33;
        v *= 0xff51afd7ed558ccdULL;
        v ^= v >> 33;
        return v;
}

static uint64_t hash_name(const Map *m, const char *s) {
        uint64_t h = m->seed ^ 0xcbf29ce484222325ULL;

        for (; *s; s++)
                h = (h ^ (unsigned char) *s) * 0x100000001b3ULL;
        return mix(h ^ m->seed);
}

static size_t bucket_of(const Map *m, uint64_t hash) {
        return mix(hash ^ m->seed) & (m->n_buckets - 1);
}

void map_init(Map *m, uint64_t seed) {
        *m = (Map) { .seed = seed };
}

void map_done(Map *m) {
        free(m->buckets);
        m->buckets = NULL;
        m->n_buckets = m->n = 0;
}

static int map_grow(Map *m) {
        size_t n_old = m->n_buckets;
        MapNode **old = m->buckets, **fresh;

        fresh = new0(MapNode *, MAX(n_old * 2, (size_t) MAP_BUCKETS_MIN));
        if (!fresh)
                return -ENOMEM;
        m->buckets = fresh;
        m->n_buckets = MAX(n_old * 2, (size_t) MAP_BUCKETS_MIN);
        for (size_t i = 0; i < n_old; i++)
                for (MapNode *n = old[i], *next; n; n = next) {
                        next = n->next;
                        size_t b = bucket_of(m, n->hash);
                        n->next = m->buckets[b];
                        m->buckets[b] = n;
                }
        free(old);
        return 0;
}

static int map_link(Map *m, MapNode *n, uint64_t hash, const char *name) {
        if (m->n >= m->n_buckets && map_grow(m) < 0 && m->n_buckets == 0)
                return -ENOMEM;
        size_t b = bucket_of(m, hash);
        *n = (MapNode) { .next = m->buckets[b], .hash = hash, .name = name };
        m->buckets[b] = n;
        m->n++;
        return 0;
}

int map_add(Map *m, MapNode *n, uint64_t key) {
        return map_link(m, n, key, NULL);
}

int map_add_name(Map *m, MapNode *n, const char *name) {
        return map_link(m, n, hash_name(m, name), name);
}

void map_remove(Map *m, MapNode *n) {
        if (m->n_buckets == 0)
                return;
        for (MapNode **p = &m->buckets[bucket_of(m, n->hash)]; *p; p = &(*p)->next)
                if (*p == n) {
                        *p = n->next;
                        *n = (MapNode) {};
                        m->n--;
                        return;
                }
}

MapNode *map_find(const Map *m, uint64_t key) {
        if (m->n_buckets == 0)
                return NULL;
        for (MapNode *n = m->buckets[bucket_of(m, key)]; n; n = n->next)
                if (n->hash == key && !n->name)
                        return n;
        return NULL;
}

MapNode *map_find_name(const Map *m, const char *name) {
        uint64_t h;

        if (m->n_buckets == 0)
                return NULL;
        h = hash_name(m, name);
        for (MapNode *n = m->buckets[bucket_of(m, h)]; n; n = n->next)
                if (n->hash == h && n->name && streq(n->name, name))
                        return n;
        return NULL;
}
