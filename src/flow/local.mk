# SPDX-License-Identifier: LGPL-2.1-or-later
# flow: sessions and their task graphs: momentum, balance, flow state, rest.

noinst_LIBRARIES += libflow-sessions.a
libflow_sessions_a_SOURCES = \
	%D%/balance.c \
	%D%/graph.c \
	%D%/heap.c %D%/heap.h \
	%D%/momentum.c %D%/momentum.h \
	%D%/session.c %D%/session.h \
	%D%/task.c %D%/task.h
