# SPDX-License-Identifier: LGPL-2.1-or-later
# mcp-sdk: the official SDKs as clients; tests/integration/test-mcp-sdk.py has npm fetch what package-lock.json names.

EXTRA_DIST += \
	%D%/client.mjs %D%/pooled.mjs \
	%D%/package.json \
	%D%/package-lock.json
