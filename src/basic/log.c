/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The log thread. A write to the journal blocks when journald is stopped or its socket is full, and so does one to a pipe on stderr that
 * nobody reads; the event loop can wait for neither. Producers copy a record into a ring under a mutex that is held only for the copy;
 * the thread takes one record out, unlocks, and writes. When the ring is full the record is dropped and counted, and the thread says so
 * with its next free breath. At the end the thread gets a bounded time; if it is still stuck in a write, it is left behind.
 *
 * A record in the ring: u32 size of the rest, u32 level, then fields as u32 length + bytes; the first is the message.
 */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION /* it would be this file's */
#include <systemd/sd-journal.h>

#include "basic/fd.h"
#include "basic/log.h"
#include "basic/str.h"

#define LOG_RECORD_MAX (64U * 1024U)

/* EVENT_LOG_DROPPED, which is of a higher floor: a test compares the two. */
#define DROPPED_EVENT "FLOWD_EVENT=log-dropped"
#define DROPPED_MESSAGE_ID "MESSAGE_ID=16f6cb0931764e8a91c049718d2bcf4d"

struct Log {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t more, written;
        LogTarget target;
        int max_level;
        bool stop, idle;
        size_t start, used;  /* of the ring */
        uint64_t dropped, dropped_told;
        uint8_t scratch[LOG_RECORD_MAX];
        uint8_t ring[LOG_RING_SIZE];
};

static void ring_put(Log *l, const void *data, size_t size) {
        size_t at = (l->start + l->used) % LOG_RING_SIZE, first = MIN(size, LOG_RING_SIZE - at);

        memcpy(l->ring + at, data, first);
        memcpy(l->ring, (const uint8_t *) data + first, size - first);
        l->used += size;
}

static void ring_take(Log *l, void *data, size_t size) {
        size_t first = MIN(size, LOG_RING_SIZE - l->start);

        memcpy(data, l->ring + l->start, first);
        memcpy((uint8_t *) data + first, l->ring, size - first);
        l->start = (l->start + size) % LOG_RING_SIZE;
        l->used -= size;
}

/* Splits a record into its fields; `text` is overwritten by nothing. Returns the number of fields. */
static size_t record_parse(uint8_t *record, size_t size, int *ret_level, struct iovec *iov, size_t max) {
        size_t n = 0, at = sizeof(uint32_t);
        uint32_t v;

        memcpy(&v, record, sizeof(v));
        *ret_level = (int) v;
        while (at < size && n < max) {
                memcpy(&v, record + at, sizeof(v));
                iov[n++] = (struct iovec) { record + at + sizeof(v), v };
                at += sizeof(v) + v;
        }
        return n;
}

static void write_journal(int level, struct iovec *fields, size_t n) {
        struct iovec iov[LOG_FIELDS_MAX + 3];
        char priority[] = "PRIORITY=0";

        priority[sizeof(priority) - 2] = (char) ('0' + level);
        memcpy(iov, fields, n * sizeof(*iov));
        iov[n++] = (struct iovec) { priority, sizeof(priority) - 1 };
        iov[n++] = (struct iovec) { (char *) "SYSLOG_IDENTIFIER=flowd", strlen("SYSLOG_IDENTIFIER=flowd") };
        (void) sd_journal_sendv(iov, (int) n);
}

static void write_stderr(int level, struct iovec *fields, size_t n) {
        _cleanup_free_ char *line = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&line, &size);

        if (!f)
                return;
        size_t skip = strlen("MESSAGE=");
        fprintf(f, "%-7s %.*s", log_level_to_string(level), (int) (fields[0].iov_len - skip), (char *) fields[0].iov_base + skip);
        for (size_t i = 1; i < n; i++)
                if (fields[i].iov_len > 6 && memcmp(fields[i].iov_base, "FLOWD_", 6) == 0)
                        fprintf(f, "%s%.*s", i == 1 ? "  " : " ", (int) fields[i].iov_len - 6, (char *) fields[i].iov_base + 6);
        fputc('\n', f);
        if (fclose(f) == 0)
                (void) fd_write_all(STDERR_FILENO, line, size);
}

static void write_record(Log *l, uint8_t *record, size_t size) {
        struct iovec iov[LOG_FIELDS_MAX + 3];
        int level;
        size_t n = record_parse(record, size, &level, iov, LOG_FIELDS_MAX + 1);

        if (n == 0)
                return;
        if (l->target == LOG_TARGET_JOURNAL)
                write_journal(level, iov, n);
        else
                write_stderr(level, iov, n);
}

static void tell_dropped(Log *l, uint64_t n) {
        char text[160];

        snprintf(text, sizeof(text), "MESSAGE=%llu log records were dropped: the journal was not keeping up", (unsigned long long) n);
        struct iovec iov[LOG_FIELDS_MAX] = {
                { text, strlen(text) },
                { (char *) DROPPED_EVENT, strlen(DROPPED_EVENT) },
                { (char *) DROPPED_MESSAGE_ID, strlen(DROPPED_MESSAGE_ID) },
        };
        if (l->target == LOG_TARGET_JOURNAL)
                write_journal(LOG_WARNING, iov, 3);
        else
                write_stderr(LOG_WARNING, iov, 3);
}

static void *log_thread(void *userdata) {
        Log *l = userdata;

        (void) pthread_mutex_lock(&l->lock);
        for (;;) {
                while (l->used == 0 && !l->stop) {
                        l->idle = true;
                        (void) pthread_cond_broadcast(&l->written);
                        (void) pthread_cond_wait(&l->more, &l->lock);
                }
                l->idle = false;
                if (l->used == 0)
                        break;
                uint32_t size;
                ring_take(l, &size, sizeof(size));
                ring_take(l, l->scratch, size);
                uint64_t dropped = l->dropped - l->dropped_told;
                l->dropped_told = l->dropped;
                (void) pthread_mutex_unlock(&l->lock);
                if (dropped > 0)
                        tell_dropped(l, dropped);
                write_record(l, l->scratch, size);
                (void) pthread_mutex_lock(&l->lock);
        }
        l->idle = true;
        (void) pthread_cond_broadcast(&l->written);
        (void) pthread_mutex_unlock(&l->lock);
        return NULL;
}

int log_new(LogTarget target, int max_level, Log **ret) {
        Log *l = new0(Log, 1);
        sigset_t all, saved;
        int r;

        if (!l)
                return -ENOMEM;
        l->target = target;
        l->max_level = max_level;
        pthread_condattr_t attr;
        (void) pthread_condattr_init(&attr);
        (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        (void) pthread_mutex_init(&l->lock, NULL);
        (void) pthread_cond_init(&l->more, NULL);
        (void) pthread_cond_init(&l->written, &attr);
        (void) pthread_condattr_destroy(&attr);

        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &saved);
        r = -pthread_create(&l->thread, NULL, log_thread, l);
        (void) pthread_sigmask(SIG_SETMASK, &saved, NULL);
        if (r < 0) {
                free(l);
                return r;
        }
        *ret = l;
        return 0;
}

/* Waits, with the lock held, until nothing is queued or being written. Returns false when the time is over. */
static bool log_wait_idle(Log *l) {
        uint64_t until = now_usec() + LOG_FLUSH_USEC;
        struct timespec ts = { .tv_sec = (time_t) (until / USEC_PER_SEC), .tv_nsec = (long) (until % USEC_PER_SEC) * 1000 };

        while (l->used > 0 || !l->idle)
                if (pthread_cond_timedwait(&l->written, &l->lock, &ts) != 0)
                        return false;
        return true;
}

void log_flush(Log *l) {
        if (!l)
                return;
        (void) pthread_mutex_lock(&l->lock);
        (void) log_wait_idle(l);
        (void) pthread_mutex_unlock(&l->lock);
}

Log *log_free(Log *l) {
        if (!l)
                return NULL;
        (void) pthread_mutex_lock(&l->lock);
        l->stop = true;
        (void) pthread_cond_signal(&l->more);
        bool done = log_wait_idle(l);
        (void) pthread_mutex_unlock(&l->lock);
        if (!done) { /* stuck in a write for good: the thread keeps its memory, the process is about to end */
                (void) pthread_detach(l->thread);
                return NULL;
        }
        (void) pthread_join(l->thread, NULL);
        (void) pthread_cond_destroy(&l->more);
        (void) pthread_cond_destroy(&l->written);
        (void) pthread_mutex_destroy(&l->lock);
        free(l);
        return NULL;
}

void log_set_max_level(Log *l, int level) {
        l->max_level = level;
}

int log_max_level(const Log *l) {
        return l ? l->max_level : -1;
}

static void put_field(Log *l, const char *prefix, const char *text, size_t size) {
        size_t p = strlen(prefix);
        uint32_t v = (uint32_t) (p + size);

        ring_put(l, &v, sizeof(v));
        ring_put(l, prefix, p);
        ring_put(l, text, size);
}

void log_record(Log *l, int level, const LogField *fields, size_t n_fields, const char *message) {
        size_t length = MIN(strlen(message), (size_t) LOG_RECORD_MAX / 2), size;
        uint32_t v = (uint32_t) level;

        if (!l || level > l->max_level)
                return;
        n_fields = MIN(n_fields, (size_t) LOG_FIELDS_MAX);
        size = sizeof(uint32_t) * 2 + strlen("MESSAGE=") + length;
        for (size_t i = 0; i < n_fields; i++)
                size += sizeof(uint32_t) + fields[i].size;

        (void) pthread_mutex_lock(&l->lock);
        if (size > LOG_RECORD_MAX || LOG_RING_SIZE - l->used < size + sizeof(uint32_t))
                l->dropped++;
        else {
                uint32_t s = (uint32_t) size;

                ring_put(l, &s, sizeof(s));
                ring_put(l, &v, sizeof(v));
                put_field(l, "MESSAGE=", message, length);
                for (size_t i = 0; i < n_fields; i++)
                        put_field(l, "", fields[i].text, fields[i].size);
                if (l->idle) {
                        l->idle = false;
                        (void) pthread_cond_signal(&l->more);
                }
        }
        (void) pthread_mutex_unlock(&l->lock);
}

void log_write(Log *l, int level, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;

        if (!l || level > l->max_level)
                return;
        va_start(ap, format);
        int r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0) {
                text = NULL;
                return;
        }
        log_record(l, level, NULL, 0, text);
}

uint64_t log_dropped(Log *l) {
        if (!l)
                return 0;
        (void) pthread_mutex_lock(&l->lock);
        uint64_t n = l->dropped;
        (void) pthread_mutex_unlock(&l->lock);
        return n;
}

static const char *const level_names[] = { "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug" };

const char *log_level_to_string(int level) {
        return level >= 0 && level < (int) ELEMENTSOF(level_names) ? level_names[level] : "unknown";
}

int log_level_from_string(const char *s) {
        for (size_t i = 0; i < ELEMENTSOF(level_names); i++)
                if (strcasecmp(s, level_names[i]) == 0)
                        return (int) i;
        if (strcasecmp(s, "error") == 0)
                return LOG_ERR;
        if (strcasecmp(s, "warn") == 0)
                return LOG_WARNING;
        if (s[0] >= '0' && s[0] <= '7' && !s[1])
                return s[0] - '0';
        return -EINVAL;
}
