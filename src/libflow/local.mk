# SPDX-License-Identifier: LGPL-2.1-or-later
# libflow: the public library. libflow-core is its code, compiled once; programs of this tree link that.

noinst_LTLIBRARIES += libflow-core.la
libflow_core_la_LDFLAGS = $(COMMON_LDFLAGS)
libflow_core_la_SOURCES = \
	%D%/client-internal.h %D%/client-open.c %D%/client-submit.c %D%/client.c \
	%D%/stream.c %D%/stream.h \
	%D%/worker-internal.h %D%/worker-job.c %D%/worker.c

dist_flowinclude_HEADERS = \
	%D%/flow/client.h \
	%D%/flow/types.h \
	%D%/flow/worker.h

lib_LTLIBRARIES += libflow.la
libflow_la_SOURCES =
libflow_parts = libflow-core.la libproto.la libbasic.la
libflow_la_LIBADD = $(libflow_parts) -lm
libflow_la_LDFLAGS = $(COMMON_LDFLAGS) -version-info 0:0:0 -export-symbols %D%/libflow.sym -no-undefined -Wl,--no-undefined
libflow_la_DEPENDENCIES = $(libflow_parts) %D%/libflow.sym

# What the installed headers declare is what the shared library exports; what its sources share among themselves is not.
CLEANFILES += %D%/libflow.sym
%D%/libflow.sym: $(dist_flowinclude_HEADERS)
	$(AM_V_GEN)$(MKDIR_P) $(@D) && $(SED) -n 's/.*\(\<flow_[a-z0-9_]*\) *(.*/\1/p' $^ | sort -u >$@.tmp && mv -f $@.tmp $@

pkgconfig_DATA = %D%/libflow.pc
EXTRA_DIST += %D%/libflow.pc.in
CLEANFILES += %D%/libflow.pc
%D%/libflow.pc: %D%/libflow.pc.in Makefile
	$(SUBST_RECIPE)
