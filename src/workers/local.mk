# SPDX-License-Identifier: LGPL-2.1-or-later
# workers: worker programs that ship.

pkglibexec_PROGRAMS += flow-worker-echo flow-worker-zstd
flow_worker_echo_SOURCES = %D%/flow-worker-echo.c
flow_worker_echo_LDADD = libflow-core.la libproto.la libbasic.la -lm
flow_worker_zstd_SOURCES = %D%/flow-worker-zstd.c
flow_worker_zstd_CFLAGS = $(AM_CFLAGS) $(ZSTD_CFLAGS)
flow_worker_zstd_LDADD = libflow-core.la libproto.la libbasic.la $(ZSTD_LIBS) -lm
