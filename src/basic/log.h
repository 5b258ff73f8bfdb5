/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Logging that never blocks: records go through a bounded ring to a thread that writes them to the journal or to stderr. */

#include <syslog.h>

#include "basic/macro.h"

typedef enum LogTarget {
        LOG_TARGET_STDERR,
        LOG_TARGET_JOURNAL,
} LogTarget;

#define LOG_RING_SIZE (1024U * 1024U) /* bytes of records that may wait */
#define LOG_FIELDS_MAX 20U
#define LOG_FLUSH_USEC 2000000ULL     /* how long log_free() waits for a stalled reader */

typedef struct Log Log;

/* One field, "NAME=value"; not NUL-terminated on the way. */
typedef struct LogField {
        const char *text;
        size_t size;
} LogField;

/* Starts the thread, with all signals blocked. Returns 0 or -errno. */
int log_new(LogTarget target, int max_level, Log **ret);
/* Writes what waits, for at most LOG_FLUSH_USEC, and stops the thread. */
Log *log_free(Log *l);
DEFINE_CLEANUP(Log *, log_free);

void log_set_max_level(Log *l, int level);
int log_max_level(const Log *l);

/* Queues a record: MESSAGE= and PRIORITY= are made from the arguments, `fields` are sent as they are. Dropped and counted when the ring is full. */
void log_record(Log *l, int level, const LogField *fields, size_t n_fields, const char *message);
/* The same without fields. A NULL log writes nothing. */
void log_write(Log *l, int level, const char *format, ...) _printf_(3, 4);

/* Records dropped since the start. */
uint64_t log_dropped(Log *l);
/* Waits until everything queued is written, at most LOG_FLUSH_USEC. */
void log_flush(Log *l);

const char *log_level_to_string(int level); /* "info" */
int log_level_from_string(const char *s);   /* a name or a number; -EINVAL */
