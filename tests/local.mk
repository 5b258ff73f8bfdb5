# SPDX-License-Identifier: LGPL-2.1-or-later
# make check and its relatives.

TESTS = $(lint_tests) $(fuzz_replays) $(integration_tests) $(system_tests)
if HAVE_CHECK
TESTS += $(unit_tests)
endif
TEST_EXTENSIONS = .sh .py
SH_LOG_COMPILER = $(BASH_SHELL)
PY_LOG_COMPILER = $(PYTHON3)
EXTRA_DIST += %D%/run-programs %D%/summary

# What a test finds in its environment; all paths are absolute.
TEST_ENV = \
	top_srcdir='$(abs_top_srcdir)' \
	top_builddir='$(abs_top_builddir)' \
	FLOWD='$(abs_top_builddir)/flowd' \
	FLOWCTL='$(abs_top_builddir)/flowctl' \
	FLOWD_LIBEXEC='$(abs_top_builddir)' \
	FLOWD_VERSION='$(VERSION)' \
	CC='$(CC)' \
	PYTHONDONTWRITEBYTECODE=1 \
	PYTHONPATH='$(abs_top_srcdir)/tests/integration' \
	ASAN_OPTIONS='detect_leaks=1:abort_on_error=1:strict_string_checks=1' \
	UBSAN_OPTIONS='print_stacktrace=1:halt_on_error=1'
AM_TESTS_ENVIRONMENT = export $(TEST_ENV); unset FLOWD_RUNTIME FLOWD_CONFIG FLOWD_STATE NOTIFY_SOCKET LISTEN_FDS;

# "N passed, N failed, N skipped" of the last make check: the cases of each program where it counts them, else the program.
check-summary:
	@$(BASH_SHELL) $(srcdir)/%D%/summary $(TEST_LOGS)

# The unit tests under valgrind, one process each so that it sees everything. Not test-store-trouble, whose hundreds of damaged databases take
# too long there: check-sanitizers has it.
check-valgrind: all
	+@$(MAKE) $(AM_MAKEFLAGS) $(check_LIBRARIES) $(unit_tests)
	@export $(TEST_ENV) CK_FORK=no CK_DEFAULT_TIMEOUT=0 CK_TIMEOUT_MULTIPLIER=20; \
	tests=; for t in $(unit_tests); do [ $$t = test-store-trouble ] || tests="$$tests $$t"; done; \
	$(BASH_SHELL) $(srcdir)/%D%/run-programs valgrind.log $(VALGRIND) --quiet --error-exitcode=99 --leak-check=full \
		--show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite --child-silent-after-fork=yes -- $$tests

# A second build tree under this one, with other switches of configure.
SUBBUILD = $(BASH_SHELL) $(srcdir)/%D%/subbuild '$(abs_top_srcdir)'
EXTRA_DIST += %D%/subbuild

# Units, corpora and integration tests with ASan and UBSan.
check-sanitizers:
	+@$(SUBBUILD) build-sanitizers --enable-sanitizers=address,undefined --disable-shared CFLAGS='-g -O1' $(SANITIZER_CONFIGURE)
	+@$(MAKE) -C build-sanitizers all
	+@$(MAKE) -C build-sanitizers check \
		TESTS="$(unit_tests) $(fuzz_replays) $(integration_tests)"

check-sanitizers-summary:
	@$(MAKE) -s --no-print-directory -C build-sanitizers check-summary \
		TEST_LOGS="$$(for t in $(unit_tests) $(fuzz_replays) $(integration_tests); do echo "$${t%.*}.log"; done | tr '\n' ' ')"

# Long, and only by hand: make soak SOAK_SECONDS=3600
SOAK_SECONDS = 600
soak: all
	@export $(TEST_ENV); $(PYTHON3) $(srcdir)/%D%/integration/soak $(SOAK_SECONDS)

# Ten pools of ten workers: make load LOAD_JOBS=100000
LOAD_JOBS = 100000
load: all
	@export $(TEST_ENV); $(PYTHON3) $(srcdir)/%D%/integration/load $(LOAD_JOBS)

clean-local: clean-subbuilds
clean-subbuilds:
	rm -rf build-sanitizers build-faults build-fuzz fuzz-found valgrind.log
.PHONY: check-summary check-valgrind check-sanitizers check-sanitizers-summary soak load clean-subbuilds
