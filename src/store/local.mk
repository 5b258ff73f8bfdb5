# SPDX-License-Identifier: LGPL-2.1-or-later
# store: SQLite, and only here: schema, writer and reader threads, jobs, retention, salvage.

noinst_LIBRARIES += libstore.a
libstore_a_SOURCES = \
	%D%/body.c \
	%D%/codec-dictionary.c \
	%D%/codec-internal.h \
	%D%/cache-ops.c \
	%D%/cache.c %D%/cache.h \
	%D%/codec.c %D%/codec.h \
	%D%/db.c \
	%D%/dictionary.c \
	%D%/flow.c %D%/flow-record.h \
	%D%/inspect.c \
	%D%/internal.h \
	%D%/jobs.c \
	%D%/kept.c \
	%D%/read.c \
	%D%/reader.c \
	%D%/record.c %D%/record.h \
	%D%/retention.c \
	%D%/salvage.c \
	%D%/schema.c \
	%D%/store.c %D%/store.h \
	%D%/threads.h \
	%D%/writer.c
