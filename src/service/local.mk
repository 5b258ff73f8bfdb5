# SPDX-License-Identifier: LGPL-2.1-or-later
# service: what the sockets have in common.

noinst_LIBRARIES += libservice.a
libservice_a_SOURCES = \
	%D%/auth.c %D%/auth.h \
	%D%/events.c %D%/events.h \
	%D%/objects.c %D%/objects.h \
	%D%/spawn.h
