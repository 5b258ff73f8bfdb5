/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where payloads come from: an argument, standard input, a file; or the lines of files, many arguments, many files. */

#include "basic/macro.h"

#define SOURCE_PAYLOAD_MAX (64U * 1024U * 1024U) /* the largest payload that flowd takes */

typedef enum SourceKind {
        SOURCE_ARGUMENTS,  /* each argument is a payload */
        SOURCE_LINES,      /* each record of the files that the arguments name */
        SOURCE_FILES,      /* the content of each file that the arguments name */
        SOURCE_FILES_FROM, /* the content of each file whose name is a record of the file that the one argument names */
} SourceKind;

/* One payload; all that it points to is valid until the next call. */
typedef struct Record {
        uint64_t number;  /* from 1 */
        const char *name; /* the file; NULL where it is from none of its own */
        const char *data;
        size_t size;
        int fd;           /* a sealed memfd in place of data, or -1; the reader's, who takes it or closes it */
        int error;        /* -errno: this file could not be read, go on with the next; -ECANCELED: see cancel_fd */
} Record;

typedef struct Source {
        SourceKind kind;
        char separator;
        char **args;        /* "-" is standard input, where they are files */
        int n_args, at;
        int cancel_fd;      /* readable: give up, where a read would block; or -1 */
        int fd;             /* of the file whose records are being read, or -1 */
        const char *name;   /* its name, for messages */
        bool regular, eof;
        char *buf;
        size_t size, start, end, scanned;
        char *file_buf;     /* the content of a small file */
        uint64_t n;         /* records delivered */
        uint64_t bytes_total, bytes_read; /* of regular files, for an estimate; total 0: unknown */
} Source;

/* The arguments stay the caller's. For lines without arguments, standard input is read. */
void source_init(Source *s, SourceKind kind, char separator, char **args, int n_args);
void source_done(Source *s);

/* Returns 1 with a record; 0 at the end; -EAGAIN: poll s->fd for input first; -EMSGSIZE: a record above SOURCE_PAYLOAD_MAX;
 * another -errno: s->name cannot be read. */
int source_next(Source *s, Record *ret);

/* How many records there will be, about; 0 where nobody knows. */
uint64_t source_estimate(const Source *s);

/* Reads a whole file, "-" for standard input, into a record; what is large goes into a memfd. Returns 0 or -errno (-EMSGSIZE). */
int source_read_file(Source *s, const char *path, Record *ret);
