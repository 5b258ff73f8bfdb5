# SPDX-License-Identifier: LGPL-2.1-or-later
# Lint: what a compiler does not see.

lint_tests += \
	%D%/catalog.py \
	%D%/layers.py \
	%D%/man.sh \
	%D%/options.py \
	%D%/shellcheck.sh \
	%D%/sources.py \
	%D%/style.py \
	%D%/units.sh \
	%D%/varlink.py

EXTRA_DIST += $(lint_tests) %D%/lint.py
