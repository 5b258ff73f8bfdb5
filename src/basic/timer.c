/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The timer heap. A job with a deadline arms a timer and usually disarms it a millisecond later, so both must be cheap: a pairing
 * heap links in O(1). The sd-event source is moved only when the earliest timer becomes earlier; when it is disarmed, the source
 * fires once in vain and is set to what is then the earliest.
 */

#include <errno.h>

#include "basic/str.h"
#include "basic/timer.h"

static Timer *meld(Timer *a, Timer *b) {
        if (!a || !b)
                return a ? a : b;
        if (b->when < a->when) {
                Timer *t = a;
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
static Timer *meld_siblings(Timer *first) {
        Timer *pairs = NULL, *root = NULL;

        while (first) {
                Timer *a = first, *b = a->next;

                first = b ? b->next : NULL;
                a->next = a->prev = NULL;
                if (b)
                        b->next = b->prev = NULL;
                a = meld(a, b);
                a->next = pairs;
                pairs = a;
        }
        while (pairs) {
                Timer *next = pairs->next;

                pairs->next = NULL;
                root = meld(root, pairs);
                pairs = next;
        }
        return root;
}

static void heap_remove(TimerQueue *q, Timer *t) {
        Timer *sub = meld_siblings(t->child);

        t->child = NULL;
        if (t == q->root)
                q->root = sub;
        else {
                if (t->prev->child == t)
                        t->prev->child = t->next;
                else
                        t->prev->next = t->next;
                if (t->next)
                        t->next->prev = t->prev;
                q->root = meld(q->root, sub);
        }
        t->next = t->prev = NULL;
        t->armed = false;
}

static void source_set(TimerQueue *q) {
        if (!q->root || q->root->when >= q->source_when)
                return;
        q->source_when = q->root->when;
        (void) sd_event_source_set_time(q->source, q->root->when);
        (void) sd_event_source_set_enabled(q->source, SD_EVENT_ONESHOT);
}

static int on_time(sd_event_source *s, uint64_t usec, void *userdata) {
        TimerQueue *q = userdata;
        uint64_t now = now_usec();

        (void) s;
        (void) usec;
        while (q->root && q->root->when <= now) {
                Timer *t = q->root;

                heap_remove(q, t);
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
        q->root = NULL;
}

void timer_arm(TimerQueue *q, Timer *t, uint64_t when) {
        if (t->armed)
                heap_remove(q, t);
        if (when == USEC_INFINITY)
                return;
        t->when = when;
        t->armed = true;
        t->child = t->next = t->prev = NULL;
        q->root = meld(q->root, t);
        source_set(q);
}

void timer_disarm(TimerQueue *q, Timer *t) {
        if (t->armed)
                heap_remove(q, t);
}
