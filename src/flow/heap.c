/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Pairing heaps. Linking is O(1), removing O(log n) over time; both cannot fail, since nothing is allocated. */

#include "flow/heap.h"

static bool before(const FlowHeapNode *a, const FlowHeapNode *b) {
        return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static FlowHeapNode *meld(FlowHeapNode *a, FlowHeapNode *b) {
        if (!a || !b)
                return a ? a : b;
        if (before(b, a)) {
                FlowHeapNode *t = a;
                a = b;
                b = t;
        }
        b->prev = a;
        b->next = a->child;
        if (a->child)
                a->child->prev = b;
        a->child = b;
        return a;
}

/* Melds a list of siblings in pairs, then the pairs from the last to the first. */
static FlowHeapNode *meld_siblings(FlowHeapNode *first) {
        FlowHeapNode *pairs = NULL, *root = NULL;

        while (first) {
                FlowHeapNode *a = first, *b = a->next;

                first = b ? b->next : NULL;
                a->next = a->prev = NULL;
                if (b)
                        b->next = b->prev = NULL;
                a = meld(a, b);
                a->next = pairs;
                pairs = a;
        }
        while (pairs) {
                FlowHeapNode *next = pairs->next;

                pairs->next = NULL;
                root = meld(root, pairs);
                pairs = next;
        }
        return root;
}

void flow_heap_add(FlowHeap *h, FlowHeapNode *n, uint64_t key, uint64_t order) {
        *n = (FlowHeapNode) { .key = key, .order = order, .in = true };
        h->root = meld(h->root, n);
}

void flow_heap_remove(FlowHeap *h, FlowHeapNode *n) {
        FlowHeapNode *sub;

        if (!n->in)
                return;
        sub = meld_siblings(n->child);
        n->child = NULL;
        if (n == h->root)
                h->root = sub;
        else {
                if (n->prev->child == n)
                        n->prev->child = n->next;
                else
                        n->prev->next = n->next;
                if (n->next)
                        n->next->prev = n->prev;
                h->root = meld(h->root, sub);
        }
        n->next = n->prev = NULL;
        n->in = false;
}
