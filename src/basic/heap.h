/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An intrusive pairing heap: the node with the least key first. Adding is O(1) and cannot fail, removing is O(log n) amortised. */

#include "basic/macro.h"

typedef struct HeapNode {
        struct HeapNode *child, *next, *prev; /* prev: the elder sibling, or the parent for the first child */
        uint64_t key;
} HeapNode;

typedef struct Heap {
        HeapNode *root; /* the least; of equal keys any one */
} Heap;

/* Adds a node that stands in no heap. */
void heap_add(Heap *h, HeapNode *n, uint64_t key);
/* Removes a node of this heap. */
void heap_remove(Heap *h, HeapNode *n);
