# SPDX-License-Identifier: LGPL-2.1-or-later
# worker: one worker: spawn, protocol adapters, its state table, limits.

noinst_LIBRARIES += libworker.a
libworker_a_SOURCES = \
	%D%/cgroup.c %D%/cgroup.h \
	%D%/event.c %D%/event.h \
	%D%/frame-stream.c %D%/frame-stream.h \
	%D%/host.h \
	%D%/job.c %D%/job.h \
	%D%/leftovers.c \
	%D%/mcp-catalog.c %D%/mcp-catalog.h \
	%D%/reaper.c %D%/reaper.h \
	%D%/spawn.c %D%/spawn.h \
	%D%/worker-end.c \
	%D%/worker-environment.c \
	%D%/worker-exec.c \
	%D%/worker-frame.c \
	%D%/worker-jsonl.c \
	%D%/worker-soft.c \
	%D%/worker-lines.c \
	%D%/worker-mcp.c %D%/worker-mcp.h \
	%D%/worker-mcp-ask.c \
	%D%/worker-mcp-call.c \
	%D%/worker-mcp-lists.c \
	%D%/worker-state.c \
	%D%/worker-stderr.c \
	%D%/worker-type.c %D%/worker-type.h \
	%D%/worker.c %D%/worker.h
