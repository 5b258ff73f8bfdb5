/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The progress of many jobs. The rate is smoothed over some seconds, so that the time left, which is made from it, does not jump.
 * The bar is drawn at most ten times a second: it costs nothing beside the jobs.
 */

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/str.h"
#include "flowctl/progress.h"
#include "flowctl/term.h"

#define RATE_SPAN_USEC 300000ULL
#define BAR_MAX 30

void progress_init(Progress *p, bool enabled) {
        uint64_t now = now_usec();

        *p = (Progress) { .enabled = enabled, .terminal = isatty(STDERR_FILENO), .started_usec = now, .rate_usec = now };
        p->next_usec = now + (p->terminal ? PROGRESS_SHORT_USEC : PROGRESS_LINE_USEC);
}

static void progress_rate(Progress *p, uint64_t now) {
        uint64_t span = now - p->rate_usec;

        if (span < RATE_SPAN_USEC)
                return;
        double rate = (double) (p->done - p->rate_done) * USEC_PER_SEC / (double) span;
        p->rate = p->rate > 0 ? 0.7 * p->rate + 0.3 * rate : rate;
        p->rate_usec = now;
        p->rate_done = p->done;
}

static int progress_text(const Progress *p, char *buf, size_t size) {
        char done[NUMBER_SIZE], total[NUMBER_SIZE], rate[NUMBER_SIZE], failed[NUMBER_SIZE], left[NUMBER_SIZE];
        int n = snprintf(buf, size, "%s", format_count(done, p->done));

        if (p->total > 0)
                n += snprintf(buf + n, size - (size_t) n, "/%s %3.0f%%", format_count(total, MAX(p->total, p->done)),
                              100.0 * (double) p->done / (double) MAX(p->total, p->done));
        if (p->rate > 0)
                n += snprintf(buf + n, size - (size_t) n, "  %s/s",
                              p->rate < 10 ? (snprintf(rate, sizeof(rate), "%.1f", p->rate), rate)
                                           : format_count(rate, (uint64_t) p->rate));
        if (p->failed > 0)
                n += snprintf(buf + n, size - (size_t) n, "  %s failed", format_count(failed, p->failed));
        if (p->total > p->done && p->rate > 0)
                n += snprintf(buf + n, size - (size_t) n, "  %s left",
                              format_span(left, (uint64_t) ((double) (p->total - p->done) / p->rate * USEC_PER_SEC)));
        if (p->note)
                n += snprintf(buf + n, size - (size_t) n, "  %s", p->note);
        return n;
}

static void progress_bar(Progress *p) {
        unsigned columns = term_columns(STDERR_FILENO);
        char text[256], line[512];
        int n = progress_text(p, text, sizeof(text)), used = 0;
        bool fancy = utf8_wanted();

        used += snprintf(line, sizeof(line), "\r");
        if (p->total > 0 && columns > (unsigned) n + 15) {
                unsigned width = MIN(columns - (unsigned) n - 5, (unsigned) BAR_MAX);
                unsigned full = (unsigned) ((double) width * (double) MIN(p->done, p->total) / (double) p->total);

                used += snprintf(line + used, sizeof(line) - (size_t) used, "[");
                for (unsigned i = 0; i < width; i++)
                        used += snprintf(line + used, sizeof(line) - (size_t) used, "%s",
                                         i >= full ? (fancy ? "·" : ".")
                                         : fancy   ? "█"
                                                   : "#");
                used += snprintf(line + used, sizeof(line) - (size_t) used, "] ");
        }
        used += snprintf(line + used, sizeof(line) - (size_t) used, "%.*s\033[K", (int) columns - 1, text);
        fwrite(line, 1, (size_t) used, stderr);
        fflush(stderr);
        p->drawn = true;
}

uint64_t progress_tick(Progress *p) {
        uint64_t now;

        if (!p->enabled)
                return USEC_INFINITY;
        now = now_usec();
        if (now < p->next_usec)
                return p->next_usec - now;
        progress_rate(p, now);
        if (p->terminal)
                progress_bar(p);
        else {
                char text[256];

                progress_text(p, text, sizeof(text));
                fprintf(stderr, "%s\n", text);
        }
        uint64_t span = p->terminal ? PROGRESS_BAR_USEC : PROGRESS_LINE_USEC;
        p->next_usec = now + span;
        return span;
}

void progress_clear(Progress *p) {
        if (!p->drawn)
                return;
        fputs("\r\033[K", stderr);
        fflush(stderr);
        p->drawn = false;
}

void progress_end(Progress *p, bool summary) {
        uint64_t span = now_usec() - p->started_usec;
        char done[NUMBER_SIZE], failed[NUMBER_SIZE], time[NUMBER_SIZE], rate[NUMBER_SIZE];

        progress_clear(p);
        if (!p->enabled || !summary || span < PROGRESS_SHORT_USEC)
                return;
        fprintf(stderr, "%s jobs in %s, %s/s, %s failed\n", format_count(done, p->done),
                format_span(time, MAX(span, (uint64_t) 1)),
                format_count(rate, (uint64_t) ((double) p->done * USEC_PER_SEC / (double) MAX(span, (uint64_t) 1))),
                format_count(failed, p->failed));
}
