/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Events. The fields are formatted on the stack: reporting allocates nothing but the message. */

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "worker/host.h"
#include "worker/job.h"

#define FIELD_ROOM 1024U
#define OUTPUT_LINE_MAX 2048U /* bytes of one line of a worker's output in the log */

static const struct {
        const char *name;
        int level;
        const char *message_id;
} events[_EVENT_MAX] = {
#define X(e, n, l, id) [e] = { n, l, id },
        EVENT_LIST(X)
#undef X
};

const char *event_name(EventKind e) {
        return events[e].name;
}

int event_level(EventKind e) {
        return events[e].level;
}

const char *event_message_id(EventKind e) {
        return events[e].message_id;
}

typedef struct FieldSet {
        LogField fields[LOG_FIELDS_MAX];
        size_t n, used;
        char room[FIELD_ROOM];
} FieldSet;

static void field_add(FieldSet *s, const char *format, ...) _printf_(2, 3);
static void field_add(FieldSet *s, const char *format, ...) {
        va_list ap;

        if (s->n == LOG_FIELDS_MAX)
                return;
        va_start(ap, format);
        int k = vsnprintf(s->room + s->used, FIELD_ROOM - s->used, format, ap);
        va_end(ap);
        if (k < 0 || (size_t) k >= FIELD_ROOM - s->used)
                return;
        s->fields[s->n++] = (LogField) { s->room + s->used, (size_t) k };
        s->used += (size_t) k;
}

static void fields_fill_end(FieldSet *s, const WorkerEnd *e) {
        field_add(s, "FLOWD_CAUSE=%s", e->cause);
        field_add(s, e->code == CLD_EXITED ? "FLOWD_EXIT_STATUS=%d" : "FLOWD_EXIT_SIGNAL=%d", e->status);
        field_add(s, "FLOWD_CPU_USER_USEC=%llu", (unsigned long long) e->user_usec);
        field_add(s, "FLOWD_CPU_SYSTEM_USEC=%llu", (unsigned long long) e->system_usec);
        field_add(s, "FLOWD_MAX_RSS=%llu", (unsigned long long) e->max_rss);
}

static void fields_fill(FieldSet *s, EventKind e, const EventFields *f) {
        char id[JOB_ID_TEXT_MAX];

        s->n = s->used = 0;
        field_add(s, "MESSAGE_ID=%s", events[e].message_id);
        field_add(s, "FLOWD_EVENT=%s", events[e].name);
        if (!f)
                return;
        if (f->pool)
                field_add(s, "FLOWD_POOL=%s", f->pool);
        if (f->worker)
                field_add(s, "FLOWD_WORKER=%s", f->worker);
        if (f->generation > 0)
                field_add(s, "FLOWD_GENERATION=%llu", (unsigned long long) f->generation);
        if (f->job > 0)
                field_add(s, "FLOWD_JOB=%s", job_id_format(f->job, id));
        if (f->session)
                field_add(s, "FLOWD_SESSION=%s", f->session);
        if (f->pid > 0)
                field_add(s, "OBJECT_PID=%d", (int) f->pid);
        if (f->end)
                fields_fill_end(s, f->end);
}

static void event_emit(Host *h, EventKind e, int level, const EventFields *f, const char *message) {
        FieldSet s;

        if (level <= log_max_level(h->log)) {
                fields_fill(&s, e, f);
                log_record(h->log, level, s.fields, s.n, message);
        }
        if (h->tap)
                h->tap(h, e, f, message);
}

void event_send(Host *h, EventKind e, const EventFields *f, const char *format, ...) {
        _cleanup_free_ char *message = NULL;
        va_list ap;

        if (events[e].level > log_max_level(h->log) && !h->tap)
                return;
        va_start(ap, format);
        int r = vasprintf(&message, format, ap);
        va_end(ap);
        if (r < 0) {
                message = NULL;
                return;
        }
        event_emit(h, e, events[e].level, f, message);
}

void event_output(Host *h, int level, const EventFields *f, const char *text, size_t size) {
        char line[OUTPUT_LINE_MAX];

        size = utf8_cut(text, size, sizeof(line) - 1);
        memcpy(line, text, size);
        line[size] = 0;
        event_emit(h, EVENT_WORKER_OUTPUT, level, f, line);
}
