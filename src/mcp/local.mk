# SPDX-License-Identifier: LGPL-2.1-or-later
# mcp: the MCP server.

noinst_LIBRARIES += libmcp.a
libmcp_a_SOURCES = \
	%D%/arguments.c \
	%D%/call.c %D%/call-state.c \
	%D%/complete.c \
	%D%/connection.c \
	%D%/internal.h \
	%D%/pooled.c %D%/pooled-ask.c %D%/pooled-call.c %D%/pooled-names.c \
	%D%/prompts.c \
	%D%/provider.c \
	%D%/reply.c \
	%D%/resources.c \
	%D%/resources-flow.c \
	%D%/server.c %D%/mcp.h \
	%D%/session.c \
	%D%/store-call.c \
	%D%/subscriptions.c \
	%D%/tasks.c \
	%D%/tools.c %D%/tools.h \
	%D%/tools-flow.c \
	%D%/tools-job.c \
	%D%/tools-pool.c \
	%D%/tools-run.c \
	%D%/tools-spawn.c
