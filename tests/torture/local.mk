# SPDX-License-Identifier: LGPL-2.1-or-later
# torture: flowd is killed, again and again, and what it said is held against what it did.

EXTRA_DIST += \
	%D%/chaos \
	%D%/chaos.py \
	%D%/crash \
	%D%/crash.py \
	%D%/crash-check.py \
	%D%/crash-worker.py

CRASH_KILLS = 500

# A build tree of its own, with fault injection.
crash:
	+@$(SUBBUILD) build-faults --enable-fault-injection
	+@$(MAKE) -C build-faults all
	@+$(MAKE) -C build-faults crash-here CRASH_KILLS=$(CRASH_KILLS)
crash-here:
	@export $(TEST_ENV); $(PYTHON3) $(srcdir)/%D%/crash $(CRASH_KILLS)
.PHONY: crash crash-here

CHAOS_SECONDS = 120
chaos: all
	@export $(TEST_ENV); $(PYTHON3) $(srcdir)/%D%/chaos $(CHAOS_SECONDS)
.PHONY: chaos
