# SPDX-License-Identifier: LGPL-2.1-or-later
# route: which pool and worker.

noinst_LIBRARIES += libroute.a
libroute_a_SOURCES = \
	%D%/route.c %D%/route.h
