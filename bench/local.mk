# SPDX-License-Identifier: LGPL-2.1-or-later
# bench: flowd beside what it can be compared with. "make check" builds the programs, so that they go on compiling; only "make bench" runs them.
# BENCH_FLAGS= is for bench/run: make bench BENCH_FLAGS=--quick

check_LIBRARIES += libbench.a
libbench_a_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
libbench_a_SOURCES = %D%/bench.c %D%/bench.h

bench_programs = \
	%D%/bench-broker \
	%D%/bench-cache \
	%D%/bench-codec \
	%D%/bench-durable \
	%D%/bench-flow \
	%D%/bench-jsonl-echo \
	%D%/bench-pingpong \
	%D%/bench-route \
	%D%/bench-spawn \
	%D%/bench-store

bench_ldadd = libbench.a libbasic.la

%C%_bench_broker_CPPFLAGS = $(libbench_a_CPPFLAGS)
%C%_bench_broker_SOURCES = %D%/broker.c
%C%_bench_broker_LDADD = libbench.a libproto.la libbasic.la -lm

%C%_bench_cache_CPPFLAGS = $(libbench_a_CPPFLAGS)
%C%_bench_cache_SOURCES = %D%/cache-bench.c
%C%_bench_cache_LDADD = libbench.a $(STORE_LIBS)

%C%_bench_codec_CPPFLAGS = $(libbench_a_CPPFLAGS)
%C%_bench_codec_SOURCES = %D%/codec-bench.c
%C%_bench_codec_LDADD = libbench.a $(STORE_LIBS)

%C%_bench_durable_CPPFLAGS = $(libbench_a_CPPFLAGS)
%C%_bench_durable_SOURCES = %D%/durable-bench.c
%C%_bench_durable_LDADD = libbench.a libflow-core.la libproto.la libbasic.la -lm

%C%_bench_flow_CPPFLAGS = $(libbench_a_CPPFLAGS)
%C%_bench_flow_SOURCES = %D%/flow-bench.c
%C%_bench_flow_LDADD = libbench.a libflow-core.la libproto.la libbasic.la -lm

%C%_bench_jsonl_echo_CPPFLAGS = $(libbench_a_CPPFLAGS)
%C%_bench_jsonl_echo_SOURCES = %D%/jsonl-echo.c
%C%_bench_jsonl_echo_LDADD = $(bench_ldadd)

%C%_bench_pingpong_CPPFLAGS = $(libbench_a_CPPFLAGS)
%C%_bench_pingpong_SOURCES = %D%/pingpong.c
%C%_bench_pingpong_LDADD = $(bench_ldadd)

%C%_bench_route_CPPFLAGS = $(libbench_a_CPPFLAGS)
%C%_bench_route_SOURCES = %D%/route-bench.c
%C%_bench_route_LDADD = libbench.a $(CORE_LIBS)

%C%_bench_spawn_CPPFLAGS = $(libbench_a_CPPFLAGS)
%C%_bench_spawn_SOURCES = %D%/spawn.c
%C%_bench_spawn_LDADD = $(bench_ldadd)

%C%_bench_store_CPPFLAGS = $(libbench_a_CPPFLAGS)
%C%_bench_store_SOURCES = %D%/store-bench.c
%C%_bench_store_LDADD = libbench.a $(STORE_LIBS)

%C%_bench_gearman_CPPFLAGS = $(libbench_a_CPPFLAGS) $(GEARMAN_CFLAGS)
%C%_bench_gearman_SOURCES = %D%/gearman.c
%C%_bench_gearman_LDADD = $(bench_ldadd) $(GEARMAN_LIBS)

%C%_bench_redis_CPPFLAGS = $(libbench_a_CPPFLAGS) $(HIREDIS_CFLAGS)
%C%_bench_redis_SOURCES = %D%/redis.c
%C%_bench_redis_LDADD = $(bench_ldadd) $(HIREDIS_LIBS)

if HAVE_GEARMAN
bench_programs += %D%/bench-gearman
endif
if HAVE_HIREDIS
bench_programs += %D%/bench-redis
endif

check_PROGRAMS += $(bench_programs)
EXTRA_DIST += %D%/documents %D%/kit.py %D%/run %D%/store_rows.py %D%/jsonl-echo.py

.PHONY: bench bench-documents bench-programs
bench-programs: $(bench_programs)
bench: all bench-programs
	$(PYTHON3) $(top_srcdir)/%D%/run --build=$(abs_top_builddir) $(BENCH_FLAGS)
# What the benchmark of compression needs: documents, from the network and the journal; without them that part is left out.
bench-documents:
	$(PYTHON3) $(top_srcdir)/%D%/documents --build=$(abs_top_builddir)
