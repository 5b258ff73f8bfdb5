/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The last events, in a ring. What is only for debugging, and what workers print, is in the journal and not here. */

#include "service/events.h"
#include "service/objects.h"

#define EVENT_MESSAGE_MAX 4096U /* bytes of a kept event's message: it may quote a worker */

static void kept_event_done(KeptEvent *e) {
        free(e->message);
        free(e->pool);
        free(e->worker);
        *e = (KeptEvent) {};
}

const KeptEvent *event_history_add(EventHistory *h, EventKind e, const EventFields *f, const char *message) {
        KeptEvent *k;

        if (event_level(e) > LOG_INFO || e == EVENT_WORKER_OUTPUT)
                return NULL;
        k = &h->events[h->at++ % EVENTS_KEPT];
        kept_event_done(k);
        k->time_usec = realtime_usec();
        k->kind = e;
        k->message = strndup(message, utf8_cut(message, strlen(message), EVENT_MESSAGE_MAX));
        k->pool = f && f->pool ? strdup(f->pool) : NULL;
        k->worker = f && f->worker ? strdup(f->worker) : NULL;
        k->job = f ? f->job : 0;
        h->n = MIN(h->n + 1, EVENTS_KEPT);
        return k;
}

void event_history_done(EventHistory *h) {
        for (unsigned i = 0; i < EVENTS_KEPT; i++)
                kept_event_done(&h->events[i]);
}

json_object *object_of_event(const KeptEvent *e) {
        json_object *o = json_object_new_object();
        char id[JOB_ID_TEXT_MAX];

        object_add_int(o, "time_usec", e->time_usec);
        object_add_text(o, "name", event_name(e->kind));
        json_object_object_add(o, "level", json_object_new_int(event_level(e->kind)));
        object_add_text(o, "message", strempty(e->message));
        object_add_text(o, "pool", e->pool);
        object_add_text(o, "worker", e->worker);
        if (e->job > 0)
                object_add_text(o, "job", job_id_format(e->job, id));
        return o;
}
