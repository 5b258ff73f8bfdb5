# SPDX-License-Identifier: LGPL-2.1-or-later
# Unit tests: libcheck programs, one per module. A new one: a name in unit_tests and its _SOURCES line below.

UNIT_LIBS = $(CORE_LIBS) $(CLIENT_LIBS) $(CHECK_LIBS)

if HAVE_CHECK
check_PROGRAMS += $(unit_tests)
endif

unit_tests += test-config
test_config_SOURCES = %D%/test-config.c %D%/config-kit.h
test_config_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_config_LDADD = $(UNIT_LIBS)

unit_tests += test-config-files
test_config_files_SOURCES = %D%/test-config-files.c %D%/config-kit.h
test_config_files_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_config_files_LDADD = $(UNIT_LIBS)

unit_tests += test-libflow
test_libflow_SOURCES = %D%/test-libflow.c %D%/libflow-peer.h
test_libflow_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_libflow_LDADD = $(UNIT_LIBS)

unit_tests += test-libflow-client
test_libflow_client_SOURCES = %D%/test-libflow-client.c %D%/libflow-peer.h
test_libflow_client_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_libflow_client_LDADD = $(UNIT_LIBS)

EXTRA_DIST += %D%/unit.h

unit_tests += test-basic
test_basic_SOURCES = %D%/test-basic.c
test_basic_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_basic_LDADD = $(BASIC_LIBS) $(CHECK_LIBS) -lm

unit_tests += test-frame
test_frame_SOURCES = %D%/test-frame.c
test_frame_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_frame_LDADD = $(PROTO_LIBS) $(CHECK_LIBS)

unit_tests += test-json-scan
test_json_scan_SOURCES = %D%/test-json-scan.c
test_json_scan_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_json_scan_LDADD = $(PROTO_LIBS) $(CHECK_LIBS)

unit_tests += test-json-canonical
test_json_canonical_SOURCES = %D%/test-json-canonical.c
test_json_canonical_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_json_canonical_LDADD = $(PROTO_LIBS) $(CHECK_LIBS)

unit_tests += test-jsonl
test_jsonl_SOURCES = %D%/test-jsonl.c
test_jsonl_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_jsonl_LDADD = $(PROTO_LIBS) $(CHECK_LIBS)

unit_tests += test-jsonrpc
test_jsonrpc_SOURCES = %D%/test-jsonrpc.c
test_jsonrpc_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_jsonrpc_LDADD = $(PROTO_LIBS) $(CHECK_LIBS)

unit_tests += test-mcp
test_mcp_SOURCES = %D%/test-mcp.c
test_mcp_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_mcp_LDADD = $(PROTO_LIBS) $(CHECK_LIBS)

unit_tests += test-varlink
test_varlink_SOURCES = %D%/test-varlink.c
test_varlink_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_varlink_LDADD = $(PROTO_LIBS) $(CHECK_LIBS)

unit_tests += test-cgroup
test_cgroup_SOURCES = %D%/test-cgroup.c
test_cgroup_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_cgroup_LDADD = $(UNIT_LIBS)

unit_tests += test-frame-stream
test_frame_stream_SOURCES = %D%/test-frame-stream.c
test_frame_stream_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_frame_stream_LDADD = $(UNIT_LIBS)

unit_tests += test-mcp-ask
test_mcp_ask_SOURCES = %D%/test-mcp-ask.c
test_mcp_ask_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_mcp_ask_LDADD = $(UNIT_LIBS)

unit_tests += test-mcp-pooled
test_mcp_pooled_SOURCES = %D%/test-mcp-pooled.c
test_mcp_pooled_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_mcp_pooled_LDADD = $(UNIT_LIBS)

unit_tests += test-mcp-catalog
test_mcp_catalog_SOURCES = %D%/test-mcp-catalog.c
test_mcp_catalog_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_mcp_catalog_LDADD = $(UNIT_LIBS)

unit_tests += test-store
test_store_SOURCES = %D%/test-store.c %D%/store-kit.h
test_store_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_store_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

unit_tests += test-store-trouble
test_store_trouble_SOURCES = %D%/test-store-trouble.c %D%/store-kit.h
test_store_trouble_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_store_trouble_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

unit_tests += test-codec
test_codec_SOURCES = %D%/test-codec.c
test_codec_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_codec_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

unit_tests += test-store-fault
test_store_fault_SOURCES = %D%/test-store-fault.c %D%/store-kit.h
test_store_fault_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_store_fault_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

unit_tests += test-cache
test_cache_SOURCES = %D%/test-cache.c
test_cache_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_cache_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

unit_tests += test-store-cache
test_store_cache_SOURCES = %D%/test-store-cache.c %D%/store-kit.h
test_store_cache_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_store_cache_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

unit_tests += test-store-schema
test_store_schema_SOURCES = %D%/test-store-schema.c %D%/store-kit.h
test_store_schema_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_store_schema_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

unit_tests += test-route-choose
test_route_choose_SOURCES = %D%/test-route-choose.c
test_route_choose_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_route_choose_LDADD = $(UNIT_LIBS)

unit_tests += test-route-index
test_route_index_SOURCES = %D%/test-route-index.c
test_route_index_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_route_index_LDADD = $(UNIT_LIBS)
test_route_index_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc

unit_tests += test-route-learn
test_route_learn_SOURCES = %D%/test-route-learn.c
test_route_learn_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_route_learn_LDADD = $(UNIT_LIBS)

unit_tests += test-queue
test_queue_SOURCES = %D%/test-queue.c
test_queue_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_queue_LDADD = $(UNIT_LIBS)

unit_tests += test-session
test_session_SOURCES = %D%/test-session.c
test_session_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_session_LDADD = $(UNIT_LIBS)

unit_tests += test-bucket
test_bucket_SOURCES = %D%/test-bucket.c
test_bucket_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_bucket_LDADD = $(UNIT_LIBS)

unit_tests += test-scale
test_scale_SOURCES = %D%/test-scale.c
test_scale_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_scale_LDADD = $(UNIT_LIBS)

unit_tests += test-simulation
test_simulation_SOURCES = %D%/test-simulation.c
test_simulation_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_simulation_LDADD = $(UNIT_LIBS)

unit_tests += test-pool-state
test_pool_state_SOURCES = %D%/test-pool-state.c
test_pool_state_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_pool_state_LDADD = $(UNIT_LIBS)

unit_tests += test-store-kept
test_store_kept_SOURCES = %D%/test-store-kept.c %D%/store-kit.h
test_store_kept_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_store_kept_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

unit_tests += test-flow-core
test_flow_core_SOURCES = %D%/test-flow-core.c
test_flow_core_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_flow_core_LDADD = $(UNIT_LIBS)

unit_tests += test-flow-state
test_flow_state_SOURCES = %D%/test-flow-state.c
test_flow_state_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_flow_state_LDADD = $(UNIT_LIBS)

unit_tests += test-flow-store
test_flow_store_SOURCES = %D%/test-flow-store.c %D%/store-kit.h
test_flow_store_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_flow_store_LDADD = $(UNIT_LIBS)
