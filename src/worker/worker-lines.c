/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines from a worker, for the protocols that speak in lines. One may be as long as JsonMax=, and is scanned for its end only once. */

#include <errno.h>
#include <unistd.h>

#include "worker/worker.h"

#define LINE_ROOM_MIN (64U * 1024U)

/* Handles the whole lines in the buffer, and moves what is left to its front. */
static int take_lines(Worker *w, int (*on_line)(Worker *w, const char *line, size_t size)) {
        size_t start = 0;
        uint8_t *nl;

        while ((nl = memchr(w->buffer + w->scanned, '\n', w->used - w->scanned))) {
                int r = on_line(w, (char *) w->buffer + start, (size_t) (nl - w->buffer) - start);

                if (r < 0)
                        return r;
                start = w->scanned = (size_t) (nl - w->buffer) + 1;
        }
        memmove(w->buffer, w->buffer + start, w->used - start);
        w->used -= start;
        w->scanned = w->used;
        if (w->used == 0 && w->room > LINE_ROOM_MIN) { /* a long line's room is not kept */
                free(w->buffer);
                w->buffer = NULL;
                w->room = 0;
        }
        return 0;
}

/* Where only one job can be meant, it has ended: another attempt would say the same. */
static void line_too_long(Worker *w) {
        char span[16];

        worker_set_reason(w, "sent a line above JsonMax=%s", size_format(span, sizeof(span), w->host->json_max));
        for (unsigned i = 0; i < w->n_slots && w->n_running == 1; i++)
                if (w->slots[i].state == SLOT_RUNNING) {
                        JobResult r = { .status = FRAME_FAILED, .code = "ResultTooLarge", .final = true,
                                        .error = str_printf("the worker %s", strna(w->reason)) };

                        worker_slot_result(&w->slots[i], &r);
                        return;
                }
}

static int make_room(Worker *w) {
        size_t max = w->host->json_max + LINE_ROOM_MIN;
        uint8_t *p;

        if (w->room - w->used >= 4096)
                return 0;
        if (w->room >= max) {
                line_too_long(w);
                return -EMSGSIZE;
        }
        size_t room = MIN(MAX(w->room * 2, (size_t) LINE_ROOM_MIN), max);
        p = realloc(w->buffer, room);
        if (!p)
                return -ENOMEM;
        w->buffer = p;
        w->room = room;
        return 0;
}

int worker_read_lines(Worker *w, size_t limit, int (*on_line)(Worker *w, const char *line, size_t size)) {
        for (size_t total = 0; total < limit;) {
                ssize_t n;
                int r = make_room(w);

                if (r < 0)
                        return r;
                size_t room = w->room - w->used;
                do
                        n = read(w->io.fd, w->buffer + w->used, room);
                while (n < 0 && errno == EINTR);
                if (n == 0) {
                        if (w->used > 0 && w->n_running > 0)
                                worker_set_reason(w, "ended in the middle of a line");
                        return -EPIPE;
                }
                if (n < 0)
                        return -errno;
                w->used += (size_t) n;
                total += (size_t) n;
                w->heard_usec = now_usec();
                r = take_lines(w, on_line);
                if (r < 0)
                        return r;
        }
        return 0;
}
