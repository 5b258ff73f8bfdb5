# SPDX-License-Identifier: LGPL-2.1-or-later
# flowd: main, manager, configuration: wires the rest together.

noinst_LIBRARIES += libflowd-core.a
libflowd_core_a_CPPFLAGS = $(AM_CPPFLAGS) $(ECONF_CFLAGS)
libflowd_core_a_SOURCES = \
	%D%/config-check.c \
	%D%/config-internal.h \
	%D%/config-keys.c \
	%D%/config-paths.c \
	%D%/config-print.c \
	%D%/config-read.c \
	%D%/config.c %D%/config.h \
	%D%/guardian.c \
	%D%/manager.c %D%/manager.h \
	%D%/persist.c %D%/persist.h \
	%D%/recover.c \
	%D%/reexec.c \
	%D%/reload.c \
	%D%/spawned.c %D%/spawned.h \
	%D%/status.c

bin_PROGRAMS += flowd
flowd_SOURCES = %D%/main.c
flowd_LDADD = $(CORE_LIBS)
