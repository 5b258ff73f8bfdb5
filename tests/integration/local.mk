# SPDX-License-Identifier: LGPL-2.1-or-later
# integration: a private flowd, for real, on this machine. A new test: its name below.

integration_tests += \
	%D%/test-cache.py \
	%D%/test-examples.py \
	%D%/test-breaker.py \
	%D%/test-chaos.py \
	%D%/test-durable.py \
	%D%/test-exec.py \
	%D%/test-flow.py \
	%D%/test-flowctl.py \
	%D%/test-guardian.py \
	%D%/test-hostile.py \
	%D%/test-hooks.py \
	%D%/test-jsonl.py \
	%D%/test-lifecycle.py \
	%D%/test-many.py \
	%D%/test-mcp-import.py \
	%D%/test-mcp-pooled.py \
	%D%/test-mcp-worker.py \
	%D%/test-mcp-bridge.py \
	%D%/test-mcp-sdk.py \
	%D%/test-mcp-flow.py \
	%D%/test-mcp.py \
	%D%/test-payload.py \
	%D%/test-pool.py \
	%D%/test-queue.py \
	%D%/test-reexec.py \
	%D%/test-reload.py \
	%D%/test-route.py \
	%D%/test-scale.py \
	%D%/test-session.py \
	%D%/test-spawn.py \
	%D%/test-store.py \
	%D%/test-varlink.py \
	%D%/test-zoo.py

EXTRA_DIST += \
	$(integration_tests) \
	%D%/flowtest.py \
	%D%/flowtest_kit.py \
	%D%/flowtest_mcp.py \
	%D%/flowtest_wire.py \
	%D%/load \
	%D%/soak
