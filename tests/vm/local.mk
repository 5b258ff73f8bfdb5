# SPDX-License-Identifier: LGPL-2.1-or-later
# vm: flowd in a virtual machine. See README.md. Not a part of make check: it takes minutes, and qemu.

vm_tests = %D%/check.py

EXTRA_DIST += \
	$(vm_tests) \
	%D%/README.md \
	%D%/agent.py \
	%D%/durable.py \
	%D%/image.py \
	%D%/limits.py \
	%D%/power.py \
	%D%/vm.py

CLEANFILES += %D%/.lock %D%/disk.img %D%/disk.part %D%/disk.sum %D%/vmlinuz

check-vm: all
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(vm_tests)'

# Power cuts amid durable submits: make power-cut POWER_CUTS=20
POWER_CUTS = 5
power-cut: all
	@export $(TEST_ENV); $(PYTHON3) $(srcdir)/%D%/durable.py $(POWER_CUTS)

clean-local: clean-vm
clean-vm:
	rm -rf %D%/root %D%/run %D%/stage %D%/check.log %D%/check.trs
.PHONY: check-vm clean-vm power-cut
