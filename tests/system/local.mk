# SPDX-License-Identifier: LGPL-2.1-or-later
# system: flowd under a real systemd, booted in a container. See README.md.

system_tests += \
	%D%/units.py \
	%D%/boot-host.py \
	%D%/boot-trixie.py

EXTRA_DIST += \
	$(system_tests) \
	%D%/README.md \
	%D%/cases.py \
	%D%/flowd.py \
	%D%/guest.py \
	%D%/machine.py \
	%D%/processes.py \
	%D%/roots.py \
	%D%/runner.py \
	%D%/stage.py

CLEANFILES += .system-test.lock

# Boots are two at the most, however many jobs make runs: one of each.
check-system: all
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(system_tests)'
.PHONY: check-system
