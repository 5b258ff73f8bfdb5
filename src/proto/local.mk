# SPDX-License-Identifier: LGPL-2.1-or-later
# proto: bytes <-> structs, no I/O. libproto is frames (libflow embeds it); libjson is whatever speaks JSON.

noinst_LTLIBRARIES += libproto.la
libproto_la_LDFLAGS = $(COMMON_LDFLAGS)
libproto_la_SOURCES = \
	%D%/frame.c %D%/frame.h

noinst_LIBRARIES += libjson.a
libjson_a_SOURCES = \
	%D%/json-canonical.c %D%/json-canonical.h \
	%D%/json-scan.c %D%/json-scan.h \
	%D%/jsonl.c %D%/jsonl.h \
	%D%/jsonrpc.c %D%/jsonrpc.h \
	%D%/mcp.c %D%/mcp.h \
	%D%/varlink.c %D%/varlink.h
