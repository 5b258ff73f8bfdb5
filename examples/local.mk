# SPDX-License-Identifier: LGPL-2.1-or-later
# Example workers and clients, installed as they stand here. The C ones are built for the test that runs them.

EXTRA_DIST += %D%/quickstart/run

samplesdir = $(docdir)
nobase_dist_samples_DATA = \
	%D%/c/submit.c \
	%D%/c/upper.c \
	%D%/config/pools/reverse-sh.pool \
	%D%/config/pools/sort-javascript.pool \
	%D%/config/pools/upper.pool \
	%D%/config/pools/words-mcp.pool \
	%D%/config/pools/words-python.pool \
	%D%/config/pools/words-sh.pool \
	%D%/config/workers/reverse-sh.worker \
	%D%/config/workers/sort-javascript.worker \
	%D%/config/workers/upper.worker \
	%D%/config/workers/words-mcp.worker \
	%D%/config/workers/words-python.worker \
	%D%/config/workers/words-sh.worker \
	%D%/flow/pools/shell.pool \
	%D%/flow/workers/shell.worker \
	%D%/systemd/flow-nightly.service \
	%D%/systemd/flow-nightly.timer
nobase_dist_samples_SCRIPTS = \
	%D%/flow/tree.py \
	%D%/javascript/worker.js \
	%D%/python/mcp.py \
	%D%/python/worker.py \
	%D%/sh/reverse.sh \
	%D%/sh/words.sh

check_PROGRAMS += examples/c/upper examples/c/submit
examples_c_upper_SOURCES = %D%/c/upper.c
examples_c_upper_LDADD = libflow.la
examples_c_upper_LDFLAGS = $(AM_LDFLAGS) -static
examples_c_submit_SOURCES = %D%/c/submit.c
examples_c_submit_LDADD = libflow.la
examples_c_submit_LDFLAGS = $(AM_LDFLAGS) -static
