# SPDX-License-Identifier: LGPL-2.1-or-later
# control: the io.flowd Varlink service.

noinst_LIBRARIES += libcontrol.a
libcontrol_a_SOURCES = \
	%D%/control.c \
	%D%/internal.h \
	%D%/job-wishes.c %D%/job-wishes.h \
	%D%/jobs.c \
	%D%/methods-mcp.c \
	%D%/methods-route.c \
	%D%/methods-session.c \
	%D%/methods-pool.c \
	%D%/methods-flow.c \
	%D%/methods-store.c \
	%D%/methods.c \
	%D%/parameters.c \
	%D%/server.c %D%/server.h \
	%D%/store-call.c

# The interface as a C string, comments included: what org.varlink.service.GetInterfaceDescription answers.
EXTRA_DIST += %D%/io.flowd.varlink
BUILT_SOURCES += %D%/io.flowd.varlink.h
CLEANFILES += %D%/io.flowd.varlink.h
%D%/io.flowd.varlink.h: %D%/io.flowd.varlink
	$(AM_V_GEN)$(MKDIR_P) $(@D) && { \
		echo '/* Generated from io.flowd.varlink. */'; \
		echo '#define IO_FLOWD_VARLINK \'; \
		$(SED) -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/        "/' -e 's/$$/\\n" \\/' $<; \
		echo '        ""'; } >$@.tmp && mv -f $@.tmp $@
