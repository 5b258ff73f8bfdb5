# SPDX-License-Identifier: LGPL-2.1-or-later
# flow: sessions and their task graphs: momentum, balance, flow state, rest.

noinst_LIBRARIES += libflow-sessions.a
libflow_sessions_a_SOURCES = \
	%D%/balance.c \
	%D%/call-add.c \
	%D%/call.c %D%/call.h \
	%D%/flow.c %D%/flow.h \
	%D%/graph.c \
	%D%/internal.h \
	%D%/json.h \
	%D%/momentum.c %D%/momentum.h \
	%D%/plan.c %D%/plan.h \
	%D%/record.c %D%/record.h \
	%D%/run.c \
	%D%/session.c %D%/session.h \
	%D%/task.c %D%/task.h \
	%D%/transfer.c %D%/transfer.h \
	%D%/view.c %D%/view.h
