/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The hot descriptors: an epoll set of our own behind one sd-event source, and the work that is put off to the end of a round. */

#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include "basic/list.h"

typedef struct HotFd {
        int fd;
        uint32_t events; /* what is asked of epoll; 0 while not added */
        bool added;
        void (*on_io)(struct HotFd *h, uint32_t revents);
} HotFd;

/* Something to be done once, before the loop sleeps again. */
typedef struct Defer {
        List link;
        void (*run)(struct Defer *d);
} Defer;

#define HOT_BATCH 128

typedef struct HotSet {
        int epoll_fd;
        sd_event_source *source;
        sd_event_source *defer_source;
        sd_event_source *back_source; /* turns `source` on again when everybody else had their turn */
        uint64_t turn_usec;           /* since when the set goes first */
        List deferred;
        bool in_round;
        struct epoll_event *batch; /* HOT_BATCH of them */
        int n_batch, at;
        uint64_t rounds;           /* progress, as the watchdog sees it */
} HotSet;

int hot_init(HotSet *s, sd_event *event, int64_t priority);
void hot_done(HotSet *s);

/* Watches h->fd for `events` (EPOLLIN, EPOLLOUT; EPOLLERR and EPOLLHUP come always). Calls with the same events cost nothing. Returns 0 or -errno. */
int hot_watch(HotSet *s, HotFd *h, uint32_t events);
/* Stops watching; an event that was already collected for it is forgotten. The descriptor is not closed. */
void hot_unwatch(HotSet *s, HotFd *h);

/* Puts `d` on the list for the end of this round; once, however often it is called. */
void hot_defer(HotSet *s, Defer *d);
static inline void hot_undefer(Defer *d) {
        list_remove(&d->link);
}
