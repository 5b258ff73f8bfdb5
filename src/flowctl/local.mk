# SPDX-License-Identifier: LGPL-2.1-or-later
# flowctl: one file per family of verbs.

bin_PROGRAMS += flowctl
flowctl_CFLAGS = $(AM_CFLAGS) $(SMARTCOLS_CFLAGS)
flowctl_LDADD = $(CLIENT_LIBS) $(SMARTCOLS_LIBS)
flowctl_SOURCES = \
	%D%/batch.c %D%/batch.h \
	%D%/cache.c \
	%D%/config.c \
	%D%/control.c \
	%D%/dead.c \
	%D%/events.c \
	%D%/flow-view.c %D%/flow-view.h \
	%D%/flow.c \
	%D%/flowctl.h \
	%D%/help.c \
	%D%/job.c %D%/job-table.h \
	%D%/main.c \
	%D%/mcp-import.c \
	%D%/mcp-bridge.c \
	%D%/mcp-install.c \
	%D%/mcp-memory.c %D%/mcp-memory.h \
	%D%/mcp.c \
	%D%/options.c \
	%D%/outcome.c \
	%D%/pool-life.c \
	%D%/pool-tools.c \
	%D%/pool.c %D%/pool-table.h \
	%D%/progress.c %D%/progress.h \
	%D%/route.c \
	%D%/run.c \
	%D%/session.c \
	%D%/source.c %D%/source.h \
	%D%/status.c \
	%D%/store.c \
	%D%/term.c %D%/term.h \
	%D%/top.c \
	%D%/when.c \
	%D%/worker.c
