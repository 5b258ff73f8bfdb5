/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Many timers behind one sd-event source: an intrusive pairing heap, so that arming cannot fail and costs no system call. */

#include <systemd/sd-event.h>

#include "basic/heap.h"

typedef struct Timer {
        HeapNode node; /* its key: CLOCK_MONOTONIC, µs */
        bool armed;
        void (*fire)(struct Timer *t);
} Timer;

typedef struct TimerQueue {
        Heap heap;
        sd_event_source *source;
        uint64_t source_when;
} TimerQueue;

#define TIMER_ACCURACY_USEC 1000ULL

int timer_queue_init(TimerQueue *q, sd_event *event, int64_t priority);
void timer_queue_done(TimerQueue *q);

/* Arms, or moves, a timer to an absolute time; USEC_INFINITY disarms it. */
void timer_arm(TimerQueue *q, Timer *t, uint64_t when);
void timer_disarm(TimerQueue *q, Timer *t);
