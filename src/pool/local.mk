# SPDX-License-Identifier: LGPL-2.1-or-later
# pool: many workers.

noinst_LIBRARIES += libpool.a
libpool_a_SOURCES = \
	%D%/breaker.c \
	%D%/deaths.c \
	%D%/cached.c %D%/cached.h \
	%D%/bucket.c %D%/bucket.h \
	%D%/dispatch.c \
	%D%/durable.c %D%/durable.h \
	%D%/hook.c %D%/hook.h \
	%D%/job-table.c %D%/job-table.h \
	%D%/lifecycle.c \
	%D%/pool-config.c %D%/pool-config.h \
	%D%/pool-internal.h \
	%D%/pool-jobs.c \
	%D%/pool-state.c \
	%D%/pool.c %D%/pool.h \
	%D%/queue.c %D%/queue.h \
	%D%/scale.c %D%/scale.h \
	%D%/session.c %D%/session.h \
	%D%/size.c
