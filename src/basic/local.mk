# SPDX-License-Identifier: LGPL-2.1-or-later
# basic: words that every room uses. libbasic needs nothing but libc (libflow embeds it); libloop adds libsystemd and json-c.

noinst_LTLIBRARIES += libbasic.la
libbasic_la_LDFLAGS = $(COMMON_LDFLAGS)
libbasic_la_SOURCES = \
	%D%/blake2b.c %D%/blake2b.h \
	%D%/blob.c %D%/blob.h \
	%D%/fd.c %D%/fd.h \
	%D%/histogram.h \
	%D%/list.h \
	%D%/macro.h \
	%D%/map.c %D%/map.h \
	%D%/outq.c %D%/outq.h \
	%D%/str.c %D%/str.h

noinst_LIBRARIES += libloop.a
libloop_a_SOURCES = \
	%D%/fault.c %D%/fault.h \
	%D%/hot.c %D%/hot.h \
	%D%/log.c %D%/log.h \
	%D%/state.c %D%/state.h \
	%D%/timer.c %D%/timer.h
