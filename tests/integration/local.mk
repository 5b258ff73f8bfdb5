# SPDX-License-Identifier: LGPL-2.1-or-later
# integration: a private flowd, for real, on this machine. A new test: its name below.

integration_tests += \
	%D%/test-examples.py \
	%D%/test-durable.py \
	%D%/test-exec.py \
	%D%/test-flow.py \
	%D%/test-flowctl.py \
	%D%/test-guardian.py \
	%D%/test-hostile.py \
	%D%/test-jsonl.py \
	%D%/test-many.py \
	%D%/test-payload.py \
	%D%/test-pool.py \
	%D%/test-reexec.py \
	%D%/test-reload.py \
	%D%/test-store.py \
	%D%/test-varlink.py \
	%D%/test-zoo.py

EXTRA_DIST += \
	$(integration_tests) \
	%D%/flowtest.py \
	%D%/flowtest_kit.py \
	%D%/flowtest_wire.py \
	%D%/soak
