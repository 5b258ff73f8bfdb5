# SPDX-License-Identifier: LGPL-2.1-or-later
# Fuzzers: each defines LLVMFuzzerTestOneInput(). Without --enable-fuzzing, replay.c is their main() and runs the corpus.
# A new one: its name in fuzzers, its _SOURCES and _LDADD lines, and inputs under corpus/NAME/.

fuzzers = \
	%D%/fuzz-codec \
	%D%/fuzz-config \
	%D%/fuzz-frame \
	%D%/fuzz-json-canonical \
	%D%/fuzz-json-scan \
	%D%/fuzz-jsonl \
	%D%/fuzz-jsonrpc \
	%D%/fuzz-mcp \
	%D%/fuzz-varlink

%C%_fuzz_codec_SOURCES = %D%/fuzz-codec.c %D%/fuzz.h
%C%_fuzz_config_SOURCES = %D%/fuzz-config.c %D%/fuzz.h
%C%_fuzz_frame_SOURCES = %D%/fuzz-frame.c %D%/fuzz.h
%C%_fuzz_json_canonical_SOURCES = %D%/fuzz-json-canonical.c %D%/fuzz.h
%C%_fuzz_json_scan_SOURCES = %D%/fuzz-json-scan.c %D%/fuzz.h
%C%_fuzz_jsonl_SOURCES = %D%/fuzz-jsonl.c %D%/fuzz.h
%C%_fuzz_jsonrpc_SOURCES = %D%/fuzz-jsonrpc.c %D%/fuzz.h
%C%_fuzz_mcp_SOURCES = %D%/fuzz-mcp.c %D%/fuzz.h
%C%_fuzz_varlink_SOURCES = %D%/fuzz-varlink.c %D%/fuzz.h

%C%_fuzz_codec_LDADD = $(FUZZ_MAIN) $(STORE_LIBS)
%C%_fuzz_config_LDADD = $(FUZZ_MAIN) $(CORE_LIBS)
%C%_fuzz_frame_LDADD = $(FUZZ_MAIN) $(PROTO_LIBS)
%C%_fuzz_json_canonical_LDADD = $(FUZZ_MAIN) $(PROTO_LIBS)
%C%_fuzz_json_scan_LDADD = $(FUZZ_MAIN) $(PROTO_LIBS)
%C%_fuzz_jsonl_LDADD = $(FUZZ_MAIN) $(PROTO_LIBS)
%C%_fuzz_jsonrpc_LDADD = $(FUZZ_MAIN) $(PROTO_LIBS)
%C%_fuzz_mcp_LDADD = $(FUZZ_MAIN) $(PROTO_LIBS)
%C%_fuzz_varlink_LDADD = $(FUZZ_MAIN) $(PROTO_LIBS)

check_PROGRAMS += $(fuzzers)
EXTRA_DIST += %D%/corpus %D%/run-smoke

if ENABLE_FUZZING
FUZZ_MAIN = $(FUZZ_LDFLAGS)
EXTRA_DIST += %D%/replay.c
else
FUZZ_MAIN = libreplay.a
check_LIBRARIES += libreplay.a
libreplay_a_SOURCES = %D%/replay.c %D%/fuzz.h
fuzz_replays += $(fuzzers)
endif

# Some seconds of each fuzzer, in a build of its own: make fuzz-smoke FUZZ_SECONDS=60
FUZZ_SECONDS = 15
fuzz-smoke:
	+$(SUBBUILD) build-fuzz CC=$(CLANG) --enable-fuzzing --enable-sanitizers=address,undefined
	+$(MAKE) -C build-fuzz $(BUILT_SOURCES) && $(MAKE) -C build-fuzz $(fuzzers)
	$(BASH_SHELL) $(srcdir)/%D%/run-smoke $(FUZZ_SECONDS) $(addprefix build-fuzz/,$(fuzzers))
.PHONY: fuzz-smoke
