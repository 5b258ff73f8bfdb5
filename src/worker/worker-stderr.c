/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a worker writes to stderr: each line goes to the log with the worker's fields, and to the caller of the job that it can only be
 * about. The last 32 KiB stay at hand for errors. A worker that floods gets StderrRate= lines per StderrInterval=; the rest is counted.
 */

#include <errno.h>
#include <unistd.h>

#include "basic/fd.h"
#include "worker/worker.h"

#define LINE_MAX_BYTES 2048U
#define ROUND_MAX (256U * 1024U)

static void tail_add(Worker *w, const char *data, size_t size) {
        if (!w->tail) {
                w->tail = malloc(STDERR_TAIL_SIZE);
                if (!w->tail)
                        return;
        }
        for (size_t i = 0; i < size;) {
                size_t at = (w->tail_start + w->tail_used) % STDERR_TAIL_SIZE, n = MIN(size - i, (size_t) STDERR_TAIL_SIZE - at);

                memcpy(w->tail + at, data + i, n);
                i += n;
                w->tail_used += n;
                if (w->tail_used > STDERR_TAIL_SIZE) {
                        w->tail_start = (w->tail_start + w->tail_used - STDERR_TAIL_SIZE) % STDERR_TAIL_SIZE;
                        w->tail_used = STDERR_TAIL_SIZE;
                }
        }
}

char *worker_stderr_tail(const Worker *w, size_t max) {
        size_t n = MIN(w->tail_used, max), skip = w->tail_used - n;
        char *s = malloc(n + 1);

        if (!s)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                s[i] = w->tail[(w->tail_start + skip + i) % STDERR_TAIL_SIZE];
                if (s[i] == 0)
                        s[i] = ' ';
        }
        size_t lead = 0; /* the cut may have gone through a character */
        while (skip > 0 && lead < n && lead < 3 && ((unsigned char) s[lead] & 0xc0) == 0x80)
                lead++;
        memmove(s, s + lead, n -= lead);
        while (n > 0 && (s[n - 1] == '\n' || s[n - 1] == '\r'))
                n--;
        s[n] = 0;
        if (!utf8_valid(s, n))
                for (size_t i = 0; i < n; i++)
                        if ((unsigned char) s[i] >= 0x80)
                                s[i] = '?';
        return s;
}

void worker_stderr_tell_dropped(Timer *t) {
        Worker *w = CONTAINER_OF(t, Worker, rate_timer);
        EventFields f = worker_fields(w);

        if (w->rate_dropped > 0)
                event_send(w->host, EVENT_OUTPUT_DROPPED, &f, "%u lines that %s logged were dropped (StderrRate=%u)", w->rate_dropped, w->name,
                           w->host->stderr_rate);
        w->rate_dropped = 0;
}

/* Counts a line against the limit. Returns false when it is one too many. */
static bool rate_allow(Worker *w) {
        Host *h = w->host;
        uint64_t now = now_usec();

        if (now - w->rate_since >= h->stderr_interval_usec) {
                worker_stderr_tell_dropped(&w->rate_timer);
                w->rate_since = now;
                w->rate_n = 0;
        }
        if (h->stderr_rate > 0 && w->rate_n >= h->stderr_rate) {
                if (w->rate_dropped++ == 0 && h->stderr_interval_usec != USEC_INFINITY)
                        timer_arm(&h->timers, &w->rate_timer, w->rate_since + h->stderr_interval_usec);
                return false;
        }
        w->rate_n++;
        return true;
}

void worker_log_line(Worker *w, Job *j, int level, const char *text, size_t size) {
        EventFields f = worker_fields(w);

        if (!rate_allow(w))
                return;
        if (j) {
                f.job = j->id;
                f.session = j->session;
        }
        size = utf8_cut(text, size, LINE_MAX_BYTES);
        if (utf8_valid(text, size)) {
                event_output(w->host, level, &f, text, size);
                if (j)
                        job_log(j, level, text, size);
                return;
        }
        char clean[LINE_MAX_BYTES];
        for (size_t i = 0; i < size; i++)
                clean[i] = (unsigned char) text[i] >= 0x80 ? '?' : text[i];
        event_output(w->host, level, &f, clean, size);
        if (j)
                job_log(j, level, clean, size);
}

/* A line can only be about a job where there is only one in hand. */
Job *worker_only_job(Worker *w) {
        return w->n_slots == 1 && w->slots[0].state == SLOT_RUNNING ? w->slots[0].job : NULL;
}

static void feed(Worker *w, const char *data, size_t size) {
        tail_add(w, data, size);
        while (size > 0) {
                const char *nl = memchr(data, '\n', size);
                size_t n = nl ? (size_t) (nl - data) : size, room;

                if (!w->line && !(w->line = malloc(LINE_MAX_BYTES)))
                        return;
                room = MIN(n, LINE_MAX_BYTES - w->line_used);
                memcpy(w->line + w->line_used, data, room);
                w->line_used += room;
                if (nl || w->line_used == LINE_MAX_BYTES) {
                        worker_log_line(w, worker_only_job(w), LOG_INFO, w->line, w->line_used);
                        w->line_used = 0;
                }
                if (!nl && room == n)
                        return;
                n = nl ? n + 1 : room;
                data += n;
                size -= n;
        }
}

void worker_stderr_add(Worker *w, const char *line, size_t size) {
        tail_add(w, line, MIN(size, (size_t) LINE_MAX_BYTES));
        tail_add(w, "\n", 1);
}

static void read_some(Worker *w, size_t max) {
        char buf[16 * 1024];

        for (size_t total = 0; total < max && w->err.fd >= 0;) {
                ssize_t n = read(w->err.fd, buf, sizeof(buf));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n <= 0) {
                        hot_unwatch(&w->host->hot, &w->err);
                        w->err.fd = fd_close(w->err.fd);
                        return;
                }
                feed(w, buf, (size_t) n);
                total += (size_t) n;
                if ((size_t) n < sizeof(buf))
                        return;
        }
}

void worker_stderr_io(HotFd *h, uint32_t revents) {
        (void) revents;
        read_some(CONTAINER_OF(h, Worker, err), sizeof(char[16 * 1024]));
}

void worker_stderr_drain(Worker *w) {
        read_some(w, ROUND_MAX);
        if (w->line_used > 0) {
                worker_log_line(w, worker_only_job(w), LOG_INFO, w->line, w->line_used);
                w->line_used = 0;
        }
}
