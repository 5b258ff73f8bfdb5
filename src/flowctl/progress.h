/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A line on standard error that says how far many jobs are: a bar on a terminal, else now and then a line. */

#include "basic/macro.h"

#define PROGRESS_BAR_USEC 100000ULL   /* between two drawings of the bar */
#define PROGRESS_SHORT_USEC 300000ULL /* what is over so soon needs no bar and no summary */
#define PROGRESS_LINE_USEC 2000000ULL /* between two lines where there is no terminal */

typedef struct Progress {
        bool enabled, terminal, drawn;
        uint64_t started_usec, next_usec; /* CLOCK_MONOTONIC */
        uint64_t rate_usec, rate_done;    /* where the current rate is measured from */
        double rate;                      /* jobs per second, smoothed */
        uint64_t done, failed, total;     /* kept up to date by the caller; total 0: unknown */
        const char *note;                 /* stands behind it; may be NULL */
} Progress;

/* `enabled`: whether anything is shown at all. */
void progress_init(Progress *p, bool enabled);
/* Draws where it is time; returns the µs until it is time again, USEC_INFINITY where nothing is shown. */
uint64_t progress_tick(Progress *p);
/* Takes the bar off the terminal, so that something else can be written; the next tick draws it again. */
void progress_clear(Progress *p);
/* Clears, and says in one line how it was where `summary`. */
void progress_end(Progress *p, bool summary);
