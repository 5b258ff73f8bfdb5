# SPDX-License-Identifier: LGPL-2.1-or-later
# client: the client side of the control socket.

noinst_LIBRARIES += libclient.a
libclient_a_SOURCES = \
	%D%/mcp-connection.c %D%/mcp-connection.h \
	%D%/runtime.c %D%/runtime.h \
	%D%/varlink-client.c %D%/varlink-client.h
