/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Intrusive hash maps: a node is a member of the struct that it finds; keys are 64-bit numbers or strings owned by that struct. */

#include "basic/macro.h"

typedef struct MapNode {
        struct MapNode *next;
        uint64_t hash;    /* the key itself for numbers, its hash for strings */
        const char *name; /* NULL for numbers */
} MapNode;

typedef struct Map {
        MapNode **buckets;
        size_t n_buckets; /* a power of two, or 0 */
        size_t n;
        uint64_t seed;    /* so that nobody can choose names that collide */
} Map;

void map_init(Map *m, uint64_t seed);
/* Frees the buckets; the nodes belong to their structs. */
void map_done(Map *m);

/* Adds under a number or a name; the key must not be there yet. Returns 0 or -ENOMEM. */
int map_add(Map *m, MapNode *n, uint64_t key);
int map_add_name(Map *m, MapNode *n, const char *name);
/* Removes a node; one that is in no map (zeroed) is left alone. */
void map_remove(Map *m, MapNode *n);

MapNode *map_find(const Map *m, uint64_t key);
MapNode *map_find_name(const Map *m, const char *name);

#define map_get(m, key, type, member) ({ MapNode *_m = map_find((m), (key)); _m ? CONTAINER_OF(_m, type, member) : NULL; })
#define map_get_name(m, key, type, member) ({ MapNode *_m = map_find_name((m), (key)); _m ? CONTAINER_OF(_m, type, member) : NULL; })
