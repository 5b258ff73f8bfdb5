# SPDX-License-Identifier: LGPL-2.1-or-later
# docs: for people who read the source, and for those who installed it.

dist_doc_DATA = \
	NEWS \
	README.md \
	SECURITY.md \
	%D%/ARCHITECTURE.md \
	%D%/benchmarks.md \
	%D%/mcp-servers.md \
	%D%/mcp.md \
	%D%/flow.md \
	%D%/store.md
