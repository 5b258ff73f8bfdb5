/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sd-event spends an epoll_wait() for each source that it dispatches, and dispatches one source at a time. With a few thousand jobs a
 * second on each of a few dozen descriptors that is the larger half of the work, so those descriptors live in an epoll set of their own:
 * sd-event sees it as one descriptor, and a round handles up to HOT_BATCH of them with a single epoll_wait().
 *
 * A handler may free any other object of the same batch. hot_unwatch() therefore also wipes the rest of the batch.
 *
 * sd-event always dispatches the source of the highest priority, so peers that never stop talking would keep everything else (exits, timers,
 * SIGTERM, new clients) waiting for ever. Every HOT_TURN_USEC the set therefore goes to the back: it is off until nothing else is pending.
 *
 * What handlers put off (flushing output, dispatching queues) runs at the end of the round, so that many small messages leave in one write.
 * Put off outside a round (from a timer, say), it runs from a defer source before the loop sleeps.
 */

#include <errno.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/hot.h"
#include "basic/str.h"

#define HOT_TURN_USEC (10 * USEC_PER_MSEC)
#define HOT_BACK_PRIORITY 1000 /* behind everything */

static void run_deferred(HotSet *s) {
        List *n;

        while ((n = list_first(&s->deferred))) {
                Defer *d = list_entry(n, Defer, link);

                list_remove(&d->link);
                d->run(d);
        }
}

static int on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        HotSet *s = userdata;

        (void) source;
        (void) revents;
        s->n_batch = epoll_wait(fd, s->batch, HOT_BATCH, 0);
        if (s->n_batch < 0)
                return errno == EINTR ? 0 : -errno;
        s->in_round = true;
        for (s->at = 0; s->at < s->n_batch; s->at++) {
                HotFd *h = s->batch[s->at].data.ptr;

                if (h)
                        h->on_io(h, s->batch[s->at].events);
        }
        s->n_batch = s->at = 0;
        run_deferred(s);
        s->in_round = false;
        s->rounds++;
        if (now_usec() - s->turn_usec >= HOT_TURN_USEC) {
                (void) sd_event_source_set_enabled(s->source, SD_EVENT_OFF);
                (void) sd_event_source_set_enabled(s->back_source, SD_EVENT_ONESHOT);
        }
        return 0;
}

static int on_back(sd_event_source *source, void *userdata) {
        HotSet *s = userdata;

        (void) source;
        s->turn_usec = now_usec();
        return sd_event_source_set_enabled(s->source, SD_EVENT_ON);
}

static int on_defer(sd_event_source *source, void *userdata) {
        HotSet *s = userdata;

        (void) source;
        s->in_round = true;
        run_deferred(s);
        s->in_round = false;
        return 0;
}

int hot_init(HotSet *s, sd_event *event, int64_t priority) {
        int r;

        *s = (HotSet) { .epoll_fd = -1 };
        list_init(&s->deferred);
        s->batch = new0(struct epoll_event, HOT_BATCH);
        if (!s->batch)
                return -ENOMEM;
        s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (s->epoll_fd < 0)
                return -errno;
        r = sd_event_add_io(event, &s->source, s->epoll_fd, EPOLLIN, on_ready, s);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(s->source, "hot");
        r = sd_event_source_set_priority(s->source, priority);
        if (r < 0)
                return r;
        r = sd_event_add_defer(event, &s->defer_source, on_defer, s);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(s->defer_source, "deferred");
        r = sd_event_source_set_priority(s->defer_source, priority);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(s->defer_source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_add_defer(event, &s->back_source, on_back, s);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(s->back_source, "others' turn");
        r = sd_event_source_set_priority(s->back_source, HOT_BACK_PRIORITY);
        return r < 0 ? r : sd_event_source_set_enabled(s->back_source, SD_EVENT_OFF);
}

void hot_done(HotSet *s) {
        s->source = sd_event_source_disable_unref(s->source);
        s->defer_source = sd_event_source_disable_unref(s->defer_source);
        s->back_source = sd_event_source_disable_unref(s->back_source);
        s->epoll_fd = fd_close(s->epoll_fd);
        free(s->batch);
        s->batch = NULL;
}

int hot_watch(HotSet *s, HotFd *h, uint32_t events) {
        struct epoll_event ev = { .events = events, .data.ptr = h };

        if (h->added && h->events == events)
                return 0;
        if (epoll_ctl(s->epoll_fd, h->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, h->fd, &ev) < 0)
                return -errno;
        h->added = true;
        h->events = events;
        return 0;
}

void hot_unwatch(HotSet *s, HotFd *h) {
        if (!h->added)
                return;
        (void) epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, h->fd, NULL); /* can fail only for a descriptor that is not there */
        h->added = false;
        h->events = 0;
        for (int i = s->at; i < s->n_batch; i++)
                if (s->batch[i].data.ptr == h)
                        s->batch[i].data.ptr = NULL;
}

void hot_defer(HotSet *s, Defer *d) {
        if (list_linked(&d->link))
                return;
        list_append(&s->deferred, &d->link);
        if (!s->in_round)
                (void) sd_event_source_set_enabled(s->defer_source, SD_EVENT_ONESHOT);
}
