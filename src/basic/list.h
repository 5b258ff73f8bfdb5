/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Intrusive doubly linked lists: a node is a member of the struct that it links, and can unlink itself. */

#include "basic/macro.h"

typedef struct List {
        struct List *prev, *next;
} List;

#define LIST_INIT(l) { &(l), &(l) }

static inline void list_init(List *l) {
        l->prev = l->next = l;
}

static inline bool list_empty(const List *l) {
        return l->next == l;
}

/* True where the node, once initialised, stands in some list. */
static inline bool list_linked(const List *n) {
        return n->next && n->next != n;
}

static inline void list_insert_before(List *pos, List *n) {
        n->prev = pos->prev;
        n->next = pos;
        pos->prev->next = n;
        pos->prev = n;
}

static inline void list_append(List *l, List *n) {
        list_insert_before(l, n);
}

static inline void list_prepend(List *l, List *n) {
        list_insert_before(l->next, n);
}

/* Unlinks; the node is initialised again. A node that stands nowhere is left alone. */
static inline void list_remove(List *n) {
        if (!n->next)
                return;
        n->prev->next = n->next;
        n->next->prev = n->prev;
        list_init(n);
}

static inline List *list_first(const List *l) {
        return list_empty(l) ? NULL : l->next;
}

#define list_entry(ptr, type, member) CONTAINER_OF(ptr, type, member)
#define list_first_entry(l, type, member) ({ List *_n = list_first(l); _n ? list_entry(_n, type, member) : NULL; })
#define LIST_FOREACH(i, l) for (List *i = (l)->next; i != (l); i = i->next)
/* Stands the removal of the current node, and of no other. */
#define LIST_FOREACH_SAFE(i, n, l) for (List *i = (l)->next, *n = i->next; i != (l); i = n, n = i->next)
