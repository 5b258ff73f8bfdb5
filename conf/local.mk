# SPDX-License-Identifier: LGPL-2.1-or-later
# Configuration. flowd.conf is all comments, so that it can stand in the vendor's directory; the examples are for copying.

vendorconf_DATA = %D%/flowd.conf
confexamplesdir = $(docdir)/conf
confexamples_DATA = \
	%D%/examples/echo.pool \
	%D%/examples/echo.worker \
	%D%/examples/everything.pool \
	%D%/examples/everything.worker \
	%D%/examples/file.pool \
	%D%/examples/file.worker \
	%D%/examples/jq.pool \
	%D%/examples/jq.worker \
	%D%/examples/sha256.pool \
	%D%/examples/sha256.worker \
	%D%/examples/xz.pool \
	%D%/examples/xz.worker \
	%D%/examples/zstd.pool \
	%D%/examples/zstd.worker

EXTRA_DIST += $(vendorconf_DATA) $(confexamples_DATA) \
	%D%/quickstart/facts.py \
	%D%/quickstart/flowd.conf \
	%D%/quickstart/pools/cold.pool \
	%D%/quickstart/pools/file.pool \
	%D%/quickstart/pools/hot.pool \
	%D%/quickstart/pools/warm.pool \
	%D%/quickstart/pools/xz.pool \
	%D%/quickstart/workers/facts.worker \
	%D%/quickstart/workers/file.worker \
	%D%/quickstart/workers/sha256.worker \
	%D%/quickstart/workers/xz.worker \
	%D%/quickstart/workers/zstd.worker
