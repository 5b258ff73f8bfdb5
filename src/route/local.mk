# SPDX-License-Identifier: LGPL-2.1-or-later
# route: which pool and worker.

noinst_LIBRARIES += libroute.a
libroute_a_SOURCES = \
	%D%/choose.c %D%/choose.h \
	%D%/explain.c \
	%D%/heuristic.c %D%/heuristic.h \
	%D%/index.c %D%/index.h \
	%D%/learn.c %D%/learn.h \
	%D%/reroute.c \
	%D%/route.c %D%/route.h \
	%D%/session.c %D%/session.h \
	%D%/state.c
