# SPDX-License-Identifier: LGPL-2.1-or-later
# workers: the zoo of ill-behaved workers; the integration tests run it.

EXTRA_DIST += \
	%D%/zoo-exec.py \
	%D%/zoo-jsonl.py \
	%D%/zoo-mcp.py

check_PROGRAMS += %D%/zoo
%C%_zoo_SOURCES = %D%/zoo.c
%C%_zoo_LDADD = libproto.la libbasic.la -lm
