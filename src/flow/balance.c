/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The balance: which tasks are active. What may be active is counted in weight, up to the capacity of the flow state. Ready tasks stand in heaps by
 * priority and weight, the oldest first, so that the next one is found by looking at no more than 30 of them, whatever the session's size; active
 * manual tasks stand in a heap by momentum, so that the one to go back is at hand.
 *
 * Order: priority; then, above load_high, light before middle before heavy, below load_low the other way round; then age. A task that does
 * not fit lets a lighter one pass: it comes as soon as there is room. What runs as a job is never sent back, and in rest nothing is.
 */

#include "flow/session.h"

#define SEQ_BITS 48U
#define SEQ_MAX ((UINT64_C(1) << SEQ_BITS) - 1)

unsigned flow_session_capacity(const FlowSession *s) {
        return s->limits->capacity[s->detector.state];
}

static FlowTask *task_of(HeapNode *n) {
        return n ? CONTAINER_OF(n, FlowTask, node) : NULL;
}

/* The oldest ready task of weights from..to that is not heavier than `room`. */
static FlowTask *oldest(const FlowSession *s, FlowPriority p, unsigned from, unsigned to, unsigned room) {
        FlowTask *best = NULL;

        for (unsigned w = from; w <= MIN(to, room); w++) {
                FlowTask *t = task_of(s->ready[p][w].root);

                if (t && (!best || t->seq < best->seq))
                        best = t;
        }
        return best;
}

FlowTask *balance_pick(const FlowSession *s) {
        static const unsigned bands[_FLOW_BAND_MAX][2] = { { 1, 3 }, { 4, 6 }, { 7, FLOW_WEIGHT_MAX } };
        unsigned capacity = flow_session_capacity(s);
        bool light = s->load * 100 > capacity * s->limits->load_high, heavy = s->load * 100 < capacity * s->limits->load_low;

        if (s->rest_mode || s->archived || s->load >= capacity || s->n_ready == 0)
                return NULL;
        for (FlowPriority p = 0; p < _FLOW_PRIORITY_MAX; p++) {
                FlowTask *t = NULL;

                for (int i = 0; i < _FLOW_BAND_MAX && !t && (light || heavy); i++) {
                        const unsigned *b = bands[light ? i : _FLOW_BAND_MAX - 1 - i];

                        t = oldest(s, p, b[0], b[1], capacity - s->load);
                }
                if (!light && !heavy)
                        t = oldest(s, p, 1, FLOW_WEIGHT_MAX, capacity - s->load);
                if (t)
                        return t;
        }
        return NULL;
}

FlowTask *balance_excess(const FlowSession *s) {
        return s->detector.state == FLOW_RESTING || s->load <= flow_session_capacity(s) ? NULL : task_of(s->movable.root);
}

void flow_session_balance(FlowSession *s, uint64_t now) {
        FlowTask *t;

        while ((t = balance_excess(s)))
                flow_session_event(s, t, TASK_EVENT_REQUEUE, now);
        while ((t = balance_pick(s)))
                flow_session_event(s, t, TASK_EVENT_ACTIVATE, now);
}

/* The lowest momentum first; of two with the same one the younger goes. */
static uint64_t movable_key(const FlowTask *t) {
        return (uint64_t) t->momentum << SEQ_BITS | (SEQ_MAX - MIN(t->seq, SEQ_MAX));
}

void balance_insert(FlowSession *s, FlowTask *t) {
        if (t->state == TASK_QUEUED && t->n_unmet == 0) {
                heap_add(&s->ready[t->priority][t->weight], &t->node, t->seq);
                s->n_ready++;
        } else if (task_loads(t)) {
                s->load += t->weight;
                s->active_momentum += t->momentum;
                if (!t->work)
                        heap_add(&s->movable, &t->node, movable_key(t));
        }
}

void balance_remove(FlowSession *s, FlowTask *t) {
        if (t->state == TASK_QUEUED && t->n_unmet == 0) {
                heap_remove(&s->ready[t->priority][t->weight], &t->node);
                s->n_ready--;
        } else if (task_loads(t)) {
                s->load -= t->weight;
                s->active_momentum -= t->momentum;
                if (!t->work)
                        heap_remove(&s->movable, &t->node);
        }
}
