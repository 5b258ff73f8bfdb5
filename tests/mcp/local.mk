# SPDX-License-Identifier: LGPL-2.1-or-later
# mcp: real MCP servers as workers. npm fetches what package-lock.json names, into the build tree: needs node, npm and the network.

EXTRA_DIST += \
	%D%/package.json \
	%D%/package-lock.json \
	%D%/servers.py

check-mcp: all
	@command -v npm >/dev/null || { echo 'make check-mcp needs npm, and node, on the PATH' >&2; exit 1; }
	@$(MKDIR_P) %D%
	@cp $(srcdir)/%D%/package.json $(srcdir)/%D%/package-lock.json %D%
	@cd %D% && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@export $(TEST_ENV); $(PYTHON3) $(srcdir)/%D%/servers.py
.PHONY: check-mcp
