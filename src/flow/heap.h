/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Intrusive pairing heaps: a node is a member of the struct that it orders. The smallest key comes first; equal keys by their order. */

#include "basic/macro.h"

typedef struct FlowHeapNode {
        struct FlowHeapNode *child, *next, *prev; /* prev: the elder sibling, or the parent for the first child */
        uint64_t key, order;
        bool in;
} FlowHeapNode;

typedef struct FlowHeap {
        FlowHeapNode *root;
} FlowHeap;

/* Adds a node that is in no heap. */
void flow_heap_add(FlowHeap *h, FlowHeapNode *n, uint64_t key, uint64_t order);
/* Removes a node; one that is in none is left alone. */
void flow_heap_remove(FlowHeap *h, FlowHeapNode *n);
