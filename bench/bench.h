/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What every load generator of the bench shares: its options, the clock, the checked payload, samples, the report. */

#include "basic/macro.h"

#define BENCH_WINDOW_MAX 4096U
#define BENCH_TAG_SIZE sizeof(uint64_t) /* every payload begins with a tag of its own, and is at least so long */

typedef struct Bench {
        /* options */
        unsigned window;    /* jobs outstanding at a time */
        unsigned workers;
        unsigned slots;     /* jobs that one worker holds at a time; 0: no limit */
        size_t size;        /* bytes of payload */
        double warmup;      /* seconds, not counted */
        double seconds;     /* measured */
        const char *socket; /* unix socket of the server */
        const char *pool;
        const char *worker; /* a program, in place of the built-in echo */
        unsigned port;      /* on loopback */
        uint64_t jobs, queued; /* to fill a store with */
        bool durable;
        double rate;        /* jobs a second that are submitted, at the most; 0: as the window has room */
        char **rest;        /* what follows the options */

        /* the run */
        uint64_t begin, end; /* ns; what ends in between is counted */
        uint64_t sequence;
        uint8_t *pattern;   /* `size` bytes that every payload consists of, after its tag */
        uint64_t *started;  /* by slot of the window, ns */
        uint64_t *tags;     /* by slot: the tag of the job in it; 0: free */
        unsigned *idle;     /* slots that are free */
        unsigned n_idle;
        uint32_t *samples;  /* ns */
        size_t n_samples, n_allocated;
} Bench;

/* Ends the program with words. */
_noreturn_ void bench_die(const char *format, ...) _printf_(1, 2);

/* Parses --window= and the others; exits on a bad one. Allocates, and fills the pattern. */
void bench_init(Bench *b, int argc, char *argv[]);
uint64_t bench_now(void);
/* Starts the clock: warm-up first. */
void bench_start(Bench *b);

static inline bool bench_running(const Bench *b, uint64_t now) {
        return now < b->end;
}

static inline bool bench_can_submit(const Bench *b) {
        return b->n_idle > 0;
}

static inline unsigned bench_outstanding(const Bench *b) {
        return b->window - b->n_idle;
}

/* Takes a free slot of the window, writes the payload of a new job into `buf`, and returns its tag. */
uint64_t bench_submit(Bench *b, uint8_t *buf, uint64_t now);
/* An answer has come: checks that it is the whole payload of a job that was outstanding, and records how long it took. */
void bench_complete(Bench *b, const void *data, size_t size, uint64_t now);
/* Records one job's time, where it ended in the measured part. */
void bench_sample(Bench *b, uint64_t started, uint64_t now);
/* Prints the run as one JSON object. */
void bench_report(Bench *b);

/* A child that dies with its parent. Returns as fork() does, without failing. */
int bench_fork(void);
/* A connected pair of blocking stream sockets. */
void bench_socketpair(int ret[2]);

/* The header that the floor programs put before a payload: as large as flowd's. */
typedef struct BenchHeader {
        uint32_t body;   /* bytes that follow */
        uint32_t worker;
        uint32_t client; /* the broker's to fill in */
        uint32_t spare;
        uint64_t job;
} BenchHeader;

/* Keeps the window full over a stream socket whose far end gives every frame back, until time is up. */
void bench_load(Bench *b, int fd);
/* The worker: gives all bytes back, until the end of the stream. */
_noreturn_ void bench_echo(int fd);
