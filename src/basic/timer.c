/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The timer heap. A job with a deadline arms a timer and usually disarms it a millisecond later, so both must be cheap: a pairing
 * heap links in O(1). The sd-event source is moved only when the earliest timer becomes earlier; when it is disarmed, the source
 * fires once in vain and is set to what is then the earliest.
 */

#include <errno.h>

#include "basic/str.h"
#include "basic/timer.h"

static Timer *first(const TimerQueue *q) {
        return q->heap.root ? CONTAINER_OF(q->heap.root, Timer, node) : NULL;
}

static void take_out(TimerQueue *q, Timer *t) {
        heap_remove(&q->heap, &t->node);
        t->armed = false;
}

static void source_set(TimerQueue *q) {
        const HeapNode *n = q->heap.root;

        if (!n || n->key >= q->source_when)
                return;
        q->source_when = n->key;
        (void) sd_event_source_set_time(q->source, n->key);
        (void) sd_event_source_set_enabled(q->source, SD_EVENT_ONESHOT);
}

static int on_time(sd_event_source *s, uint64_t usec, void *userdata) {
        TimerQueue *q = userdata;
        uint64_t now = now_usec();

        (void) s;
        (void) usec;
        for (Timer *t; (t = first(q)) && t->node.key <= now;) {
                take_out(q, t);
                t->fire(t);
        }
        q->source_when = USEC_INFINITY;
        source_set(q);
        return 0;
}

int timer_queue_init(TimerQueue *q, sd_event *event, int64_t priority) {
        int r;

        *q = (TimerQueue) { .source_when = USEC_INFINITY };
        r = sd_event_add_time(event, &q->source, CLOCK_MONOTONIC, USEC_INFINITY, TIMER_ACCURACY_USEC, on_time, q);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(q->source, "timers");
        return sd_event_source_set_priority(q->source, priority);
}

void timer_queue_done(TimerQueue *q) {
        q->source = sd_event_source_disable_unref(q->source);
        q->heap.root = NULL;
}

void timer_arm(TimerQueue *q, Timer *t, uint64_t when) {
        if (t->armed)
                take_out(q, t);
        if (when == USEC_INFINITY)
                return;
        t->armed = true;
        heap_add(&q->heap, &t->node, when);
        source_set(q);
}

void timer_disarm(TimerQueue *q, Timer *t) {
        if (t->armed)
                take_out(q, t);
}
