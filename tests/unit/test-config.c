/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The keys of the configuration: defaults, what is allowed, what is refused and how that is told. */

#include "config-kit.h"

/* ------------------------------------------------------------------------------------------------------- defaults, all keys */

START_TEST(empty_directories) {
        load_clean();
        ck_assert_uint_eq(config->n_pools, 0);
        ck_assert_uint_eq(config->results_max, 64 << 20);
        ck_assert_uint_eq(config->connections_max, 1024);
        ck_assert_uint_eq(config->shutdown_timeout_usec, 30 * USEC_PER_SEC);
        ck_assert(config->store);
        ck_assert_uint_eq(config->store_compress_min, 512);
        ck_assert_uint_eq(config->store_compress_level, 3);
        ck_assert_uint_eq(config->store_max_age_usec, 30 * 86400 * USEC_PER_SEC);
        ck_assert_uint_eq(config->store_max_jobs, 1000000);
        ck_assert_uint_eq(config->store_max_bytes, 4ULL << 30);
        ck_assert_uint_eq(config->key_usec, 86400 * USEC_PER_SEC);
        ck_assert_uint_eq(config->cache_max_bytes, 256 << 20);
        ck_assert_int_eq(config->log_level, LOG_INFO);
        ck_assert_str_eq(config->admin_group, "flowd-admin");
        ck_assert_str_eq(config->default_user, "flowd-worker");
}
END_TEST

START_TEST(missing_directory) {
        _cleanup_free_ _unused_ char *old = dirs[0];

        dirs[0] = str_printf("%s/none", base);
        load();
        assert_error("none", 0, "No such file or directory");
        load_mode(RUN_USER);
        ck_assert_uint_eq(config->n_messages, 0);
}
END_TEST

START_TEST(flowd_keys) {
        put("a/flowd.conf", "[Flowd]\nResultsMax=1M\nResultsCountMax=5\nConnectionsMax=7\nConnectionsPerUser=3\nJobsPerClient=9\n"
            "JsonMax=1M\nClientBufferMax=2M\nInboundMax=3M\n"
            "MemoryBudget=1G\nSessionsMax=4\nClientRateLimit=5\nClientRateBurst=6\nSessionTTL=2min\nShutdownTimeout=1min 5s\nLogLevel=debug\nStderrRate=11\n"
            "StderrInterval=2s\nObserveGroup=0\nSubmitGroup=root\nAdminGroup=root\nDefaultUser=root\n");
        load_clean();
        ck_assert_uint_eq(config->results_max, 1 << 20);
        ck_assert_uint_eq(config->results_count_max, 5);
        ck_assert_uint_eq(config->connections_max, 7);
        ck_assert_uint_eq(config->connections_per_user, 3);
        ck_assert_uint_eq(config->jobs_per_client, 9);
        ck_assert_uint_eq(config->json_max, 1 << 20);
        ck_assert_uint_eq(config->client_buffer_max, 2 << 20);
        ck_assert_uint_eq(config->inbound_max, 3 << 20);
        ck_assert_uint_eq(config->shutdown_timeout_usec, 65 * USEC_PER_SEC);
        ck_assert_uint_eq(config->memory_budget, 1 << 30);
        ck_assert_uint_eq(config->sessions_max, 4);
        ck_assert_uint_eq(config->client_rate_limit, 5);
        ck_assert_uint_eq(config->client_rate_burst, 6);
        ck_assert_uint_eq(config->session_ttl_usec, 120 * USEC_PER_SEC);
        ck_assert_int_eq(config->log_level, LOG_DEBUG);
        ck_assert_uint_eq(config->stderr_rate, 11);
        ck_assert_uint_eq(config->stderr_interval_usec, 2 * USEC_PER_SEC);
        ck_assert_uint_eq(config->observe_gid, 0);
        ck_assert_uint_eq(config->submit_gid, 0);
        ck_assert_uint_eq(config->admin_gid, 0);
        ck_assert_str_eq(config->default_user, "root");
}
END_TEST

START_TEST(route_keys) {
        load_clean();
        const RouteConfig *r = &config->route;
        ck_assert_int_eq(r->strategy, ROUTE_LEAST_LOADED);
        ck_assert_int_eq(r->fallback.kind, ROUTE_ORDER_AUTO);
        ck_assert_uint_eq(r->steps.n, 4);
        ck_assert_ptr_null(r->method_tiers);
        ck_assert_uint_eq(r->hot_weight_max, 3);
        ck_assert_uint_eq(r->warm_weight_max, 6);
        ck_assert_uint_eq(r->learn.hot_max_usec, 100 * USEC_PER_MSEC);
        ck_assert_uint_eq(r->learn.warm_max_usec, USEC_PER_SEC);
        ck_assert_uint_eq(r->learn.quantile, 75);
        ck_assert_uint_eq(r->learn.hysteresis, 20);
        ck_assert_uint_eq(r->learn.after, 20);
        ck_assert_uint_eq(r->hot_payload_max, 64 << 10);
        ck_assert_uint_eq(r->warm_payload_max, 1 << 20);
        put("a/flowd.conf", "[Flowd]\nRouteStrategy=random\nRouteFallback=cold hot\nRouteSteps=size method\nRouteMethodTier=a=hot b*=cold\n"
            "RouteMethodTier=\"c d=warm\"\nRouteHotWeightMax=1\nRouteWarmWeightMax=9\nRouteHotMax=5ms\nRouteWarmMax=6ms\nRouteQuantile=90\n"
            "RouteHysteresis=0\nRouteLearnAfter=3\nRouteHotPayloadMax=0\nRouteWarmPayloadMax=infinity\n");
        load_clean();
        r = &config->route;
        ck_assert_int_eq(r->strategy, ROUTE_RANDOM);
        ck_assert_uint_eq(r->fallback.n, 2);
        ck_assert_uint_eq(r->fallback.tier[0], TIER_COLD);
        ck_assert_uint_eq(r->steps.n, 2);
        ck_assert_uint_eq(r->steps.step[0], ROUTE_STEP_SIZE);
        ck_assert_uint_eq(strv_length(r->method_tiers), 3);
        ck_assert_str_eq(r->method_tiers[2], "c d=warm");
        ck_assert_uint_eq(r->hot_weight_max, 1);
        ck_assert_uint_eq(r->warm_weight_max, 9);
        ck_assert_uint_eq(r->learn.hot_max_usec, 5000);
        ck_assert_uint_eq(r->learn.warm_max_usec, 6000);
        ck_assert_uint_eq(r->learn.quantile, 90);
        ck_assert_uint_eq(r->learn.hysteresis, 0);
        ck_assert_uint_eq(r->learn.after, 3);
        ck_assert_uint_eq(r->hot_payload_max, 0);
        ck_assert_uint_eq(r->warm_payload_max, UINT64_MAX);
        put("a/flowd.conf", "[Flowd]\nRouteFallback=cold\nRouteFallback=\nRouteMethodTier=a=hot\nRouteMethodTier=\nRouteSteps=size\nRouteSteps=\n");
        load_clean();
        ck_assert_int_eq(config->route.fallback.kind, ROUTE_ORDER_AUTO);
        ck_assert_ptr_null(config->route.method_tiers);
        ck_assert_uint_eq(config->route.steps.n, 4);
        refused_flowd("RouteStrategy=best", "RouteStrategy=best: no such strategy; least_loaded, round_robin, random or affinity is allowed");
        refused_flowd("RouteFallback=hot hot", "RouteFallback=hot hot: not an order of tiers; auto, none, or some of hot, warm and cold");
        refused_flowd("RouteSteps=luck", "RouteSteps=luck: not a list of steps; some of method, weight, learnt and size, each once, are allowed");
        refused_flowd("RouteMethodTier=a", "RouteMethodTier=a: not a method and its tier; words like METHOD=hot are allowed");
        refused_flowd("RouteMethodTier=a=tepid", "RouteMethodTier=a=tepid: not a method and its tier");
        refused_flowd("RouteQuantile=100", "RouteQuantile=100: out of range; a whole number from 1 to 99 is allowed");
        refused_flowd("RouteHotMax=2s", "RouteHotMax=2s: RouteHotMax= must not be above RouteWarmMax=");
        refused_flowd("RouteWarmPayloadMax=1K", "RouteWarmPayloadMax=1K: RouteHotPayloadMax= must not be above RouteWarmPayloadMax=");
        refused_flowd("RouteHotWeightMax=7", "RouteHotWeightMax=7: RouteHotWeightMax= must not be above RouteWarmWeightMax=");
}
END_TEST

START_TEST(methods_of_a_pool) {
        put_worker("Protocol=exec\n");
        put("a/pools/p.pool", "[Pool]\nWorker=w\nMethods=a img.*\nMethods='b c'\n");
        load_clean();
        ck_assert_uint_eq(strv_length(config->pools[0]->methods), 3);
        ck_assert_str_eq(config->pools[0]->methods[2], "b c");
        put("a/pools/p.pool", "[Pool]\nWorker=w\nMethods=a\nMethods=\n");
        load_clean();
        ck_assert_ptr_null(config->pools[0]->methods);
}
END_TEST

START_TEST(store_keys) {
        put("a/flowd.conf", "[Flowd]\nStore=no\nStoreCompressMin=1K\nStoreCompressLevel=10\nStoreMaxAge=infinity\nStoreMaxJobs=5\n"
            "StoreMaxBytes=1M\nKeyRetention=0\nCacheMaxBytes=0\n");
        load_clean();
        ck_assert(!config->store);
        ck_assert_uint_eq(config->store_compress_min, 1024);
        ck_assert_uint_eq(config->store_compress_level, 10);
        ck_assert_uint_eq(config->store_max_age_usec, USEC_INFINITY);
        ck_assert_uint_eq(config->store_max_jobs, 5);
        ck_assert_uint_eq(config->store_max_bytes, 1 << 20);
        ck_assert_uint_eq(config->key_usec, 0);
        ck_assert_uint_eq(config->cache_max_bytes, 0);
        put("a/flowd.conf", "[Flowd]\nStore=off\nStore=on\nStoreCompressMin=infinity\nStoreMaxJobs=infinity\nStoreMaxBytes=infinity\n");
        load_clean();
        ck_assert(config->store);
        ck_assert_uint_eq(config->store_compress_min, UINT64_MAX);
        ck_assert_uint_eq(config->store_max_jobs, UINT64_MAX);
        ck_assert_uint_eq(config->store_max_bytes, UINT64_MAX);
        put("a/flowd.conf", "[Flowd]\nStore=false\nStore=\n");
        load_clean();
        ck_assert(config->store);
        refused_flowd("Store=maybe", "Store=maybe: neither yes nor no; yes, true, on, 1, no, false, off or 0 is allowed");
        refused_flowd("StoreCompressLevel=0", "StoreCompressLevel=0: out of range; a whole number from 1 to 10 is allowed");
        refused_flowd("StoreMaxAge=0", "StoreMaxAge=0: out of range; a time span from 1s to infinity");
        refused_flowd("StoreMaxJobs=-1", "StoreMaxJobs=-1: not a number; a whole number from 0 to 1000000000000, or infinity, is allowed");
        refused_flowd("StoreMaxBytes=1K", "StoreMaxBytes=1K: out of range; a size from 1M to infinity");
        refused_flowd("KeyRetention=long", "KeyRetention=long: not a time span");
        refused_flowd("CacheMaxBytes=2T", "CacheMaxBytes=2T: out of range; a size from 0B to 1T");
}
END_TEST

START_TEST(flow_keys) {
        FlowThresholds published, *t;

        flow_thresholds_default(&published);
        put("a/flowd.conf", "[Flowd]\n");
        load_clean();
        ck_assert_mem_eq(&config->flow.limits, &published, sizeof(published));
        ck_assert_uint_eq(config->flow.sessions_max, 1000);
        put("a/flowd.conf", "[Flowd]\nFlowSessionsMax=5\nFlowTasksMax=6\nFlowExpire=2d\nFlowCapacityWarming=11\nFlowCapacityFlowing=12\n"
            "FlowCapacitySurging=13\nFlowCapacityWaning=14\nFlowCapacityResting=15\nFlowLoadHigh=70\nFlowLoadLow=20\nFlowStallPulses=4\n"
            "FlowStartMomentum=5\nFlowPulseGain=6\nFlowBandDraft=7\nFlowBandRefinement=8\nFlowBandDone=9\nFlowWindow=1min\nFlowIdle=2min\n"
            "FlowPulses=5\nFlowMomentum=30\nFlowSurgeCompletions=7\nFlowSurgeLoad=40\nFlowWanePulses=8\nFlowConfirm=3\nFlowExpandWeight=9\n");
        load_clean();
        t = &config->flow.limits;
        ck_assert_uint_eq(config->flow.sessions_max, 5);
        ck_assert_uint_eq(config->flow.tasks_max, 6);
        ck_assert_uint_eq(config->flow.expire_usec, 2 * 86400 * USEC_PER_SEC);
        ck_assert_uint_eq(t->capacity[FLOW_WARMING], 11);
        ck_assert_uint_eq(t->capacity[FLOW_FLOWING], 12);
        ck_assert_uint_eq(t->capacity[FLOW_SURGING], 13);
        ck_assert_uint_eq(t->capacity[FLOW_WANING], 14);
        ck_assert_uint_eq(t->capacity[FLOW_RESTING], 15);
        ck_assert_uint_eq(t->load_high, 70);
        ck_assert_uint_eq(t->load_low, 20);
        ck_assert_uint_eq(t->stall_pulses, 4);
        ck_assert_uint_eq(t->momentum_start, 5);
        ck_assert_uint_eq(t->pulse_gain, 6);
        ck_assert_uint_eq(t->band_draft, 7);
        ck_assert_uint_eq(t->band_refine, 8);
        ck_assert_uint_eq(t->band_done, 9);
        ck_assert_uint_eq(t->window_usec, 60 * USEC_PER_SEC);
        ck_assert_uint_eq(t->idle_usec, 120 * USEC_PER_SEC);
        ck_assert_uint_eq(t->flow_pulses, 5);
        ck_assert_uint_eq(t->flow_momentum, 30);
        ck_assert_uint_eq(t->surge_completions, 7);
        ck_assert_uint_eq(t->surge_load, 40);
        ck_assert_uint_eq(t->wane_pulses, 8);
        ck_assert_uint_eq(t->confirm, 3);
        ck_assert_uint_eq(t->expand_weight, 9);
        refused_flowd("FlowCapacityResting=9", "FlowCapacityResting=9: out of range; a whole number from 10 to 100000 is allowed");
        refused_flowd("FlowLoadLow=85", "FlowLoadLow=85: is not below FlowLoadHigh=80");
        refused_flowd("FlowBandRefinement=95", "each must not be below the one before");
        refused_flowd("FlowWanePulses=17", "FlowWanePulses=17: out of range; a whole number from 1 to 16 is allowed");
}
END_TEST

START_TEST(flowd_refused) {
        refused_flowd("ResultsMax=x", "ResultsMax=x: not a size; a size from 0B to 1T is allowed");
        refused_flowd("JsonMax=1", "JsonMax=1: out of range; a size from 64K to 64M");
        refused_flowd("ConnectionsMax=0", "ConnectionsMax=0: out of range; a whole number from 1 to 100000 is allowed");
        refused_flowd("ConnectionsMax=-1", "ConnectionsMax=-1: not a number");
        refused_flowd("ShutdownTimeout=infinity", "ShutdownTimeout=infinity: out of range; a time span from 0 to 1d");
        refused_flowd("LogLevel=loud", "LogLevel=loud: no such log level; emerg, alert");
        refused_flowd("AdminGroup=a b", "AdminGroup=a b: not a name");
        put("a/flowd.conf", "[Flowd]\nAdminGroup=no-such-group\nLogLevel=3\nConnectionsMax=5\nConnectionsPerUser=6\n");
        load();
        assert_warning("a/flowd.conf", 2, "AdminGroup=no-such-group: no such group");
        assert_warning("a/flowd.conf", 5, "is above ConnectionsMax=5");
        ck_assert_uint_eq(config->admin_gid, (gid_t) -1);
        ck_assert_int_eq(config->log_level, LOG_ERR);
        ck_assert_uint_eq(config->n_errors, 0);
}
END_TEST

START_TEST(worker_defaults) {
        put_worker("");
        load_clean();
        const WorkerType *t = type("w");
        ck_assert_uint_eq(strv_length(t->exec), 1);
        ck_assert_str_eq(t->exec[0], "/bin/cat");
        ck_assert_int_eq(t->protocol, PROTOCOL_FRAME);
        ck_assert_int_eq(t->output, OUTPUT_BYTES);
        ck_assert_uint_eq(t->slots, 1);
        ck_assert_uint_eq(t->start_timeout_usec, 30 * USEC_PER_SEC);
        ck_assert_uint_eq(t->job_timeout_usec, USEC_INFINITY);
        ck_assert_uint_eq(t->heartbeat_usec, 0);
        ck_assert_uint_eq(t->payload_max, 64 << 20);
        ck_assert_uint_eq(t->memory_max, UINT64_MAX);
        ck_assert_uint_eq(t->memory_swap_max, UINT64_MAX);
        ck_assert_uint_eq(t->cpu_weight, 0);
        ck_assert_uint_eq(t->max_crashes, 3);
        ck_assert_uint_eq(t->retries, 0);
        ck_assert_uint_eq(t->retry_usec, 1 * USEC_PER_SEC);
        ck_assert_uint_eq(t->retry_max_usec, 600 * USEC_PER_SEC);
        ck_assert_ptr_null(t->cacheable);
        ck_assert(!worker_type_cacheable(t, NULL) && !worker_type_cacheable(t, "m"));
        ck_assert_ptr_null(t->version);
        ck_assert_uint_eq(t->cache_ttl_usec, 3600 * USEC_PER_SEC);
        ck_assert_uint_eq(t->cache_stale_usec, 0);
        ck_assert_uint_eq(t->cache_negative_usec, 0);
        ck_assert_uint_eq(t->cache_max, UINT64_MAX);
        ck_assert(!t->cache_session);
        ck_assert_uint_eq(t->uid, (uid_t) -1);
        ck_assert_ptr_null(t->user);
        ck_assert_str_eq(t->working_directory, geteuid() == 0 ? "/" : "/run/x");
}
END_TEST

START_TEST(worker_keys) {
        put_worker(
                "Protocol=jsonl\nReady=explicit\nSlots=4\nStartTimeout=1s\nStopTimeout=2s\nJobTimeout=3s\nJobSoftTimeout=2500ms\nCancelTimeout=4s\n"
                "DrainTimeout=5s\nEnvironment=A=1\nPassEnvironment=LANG TZ\nWorkingDirectory=/tmp\nPayloadMax=1M\nResultMax=2M\n"
                "MemoryMax=512M\nMemorySwapMax=0\nTasksMax=12\nCPUWeight=50\nMaxJobs=100\nMaxAge=1h\nMaxRSS=1G\nMaxCrashes=7\n");
        load_clean();
        const WorkerType *t = type("w");
        ck_assert_int_eq(t->protocol, PROTOCOL_JSONL);
        ck_assert(t->ready_explicit);
        ck_assert_uint_eq(t->slots, 4);
        ck_assert_uint_eq(t->start_timeout_usec, 1 * USEC_PER_SEC);
        ck_assert_uint_eq(t->stop_timeout_usec, 2 * USEC_PER_SEC);
        ck_assert_uint_eq(t->job_timeout_usec, 3 * USEC_PER_SEC);
        ck_assert_uint_eq(t->cancel_timeout_usec, 4 * USEC_PER_SEC);
        ck_assert_uint_eq(t->soft_timeout_usec, 2500 * USEC_PER_MSEC);
        ck_assert_uint_eq(t->drain_timeout_usec, 5 * USEC_PER_SEC);
        ck_assert_str_eq(t->environment[0], "A=1");
        ck_assert_str_eq(t->pass_environment[1], "TZ");
        ck_assert_str_eq(t->working_directory, "/tmp");
        ck_assert_uint_eq(t->payload_max, 1 << 20);
        ck_assert_uint_eq(t->result_max, 2 << 20);
        ck_assert_uint_eq(t->memory_max, 512 << 20);
        ck_assert_uint_eq(t->memory_swap_max, 0);
        ck_assert_uint_eq(t->tasks_max, 12);
        ck_assert_uint_eq(t->cpu_weight, 50);
        ck_assert_uint_eq(t->max_jobs, 100);
        ck_assert_uint_eq(t->max_age_usec, 3600 * USEC_PER_SEC);
        ck_assert_uint_eq(t->max_rss, 1 << 30);
        ck_assert_uint_eq(t->max_crashes, 7);
        put_worker("Protocol=exec\nOutput=json\n");
        load_clean();
        ck_assert_int_eq(type("w")->output, OUTPUT_JSON);
        put_worker("HeartbeatInterval=5s\nTasksMax=infinity\nMemoryMax=infinity\nReady=auto\n");
        load_clean();
        ck_assert_uint_eq(type("w")->heartbeat_usec, 5 * USEC_PER_SEC);
        put_worker("HeartbeatInterval=0\n");
        load_clean();
}
END_TEST

START_TEST(worker_retries_and_cache) {
        put_worker("Retries=5\nRetryDelay=2s\nRetryDelayMax=1h\nCacheable=thumbnail size\nCacheable=\"two words\"\nVersion=2.1 beta\n");
        load_clean();
        const WorkerType *t = type("w");
        ck_assert_uint_eq(t->retries, 5);
        ck_assert_uint_eq(t->retry_usec, 2 * USEC_PER_SEC);
        ck_assert_uint_eq(t->retry_max_usec, 3600 * USEC_PER_SEC);
        ck_assert_uint_eq(strv_length(t->cacheable), 3);
        ck_assert(worker_type_cacheable(t, "size") && worker_type_cacheable(t, "two words"));
        ck_assert(!worker_type_cacheable(t, "siz") && !worker_type_cacheable(t, NULL));
        ck_assert_str_eq(t->version, "2.1 beta");
        _cleanup_(worker_type_unrefp) WorkerType *before = worker_type_ref((WorkerType *) t);
        load_clean();
        ck_assert(worker_type_equal(before, type("w")));
        put_worker("Retries=5\nRetryDelay=2s\nRetryDelayMax=1h\nCacheable=thumbnail size\nCacheable=\"two words\"\nVersion=2.2\n");
        load_clean();
        ck_assert(!worker_type_equal(before, type("w")));
        put_worker("RetryDelay=0\nCacheable=a\nCacheable=\nCacheable=*\nVersion=1\nVersion=\n");
        load_clean();
        t = type("w");
        ck_assert_uint_eq(t->retry_usec, 0);
        ck_assert_uint_eq(strv_length(t->cacheable), 1);
        ck_assert(worker_type_cacheable(t, NULL) && worker_type_cacheable(t, "b"));
        ck_assert_ptr_null(t->version);
        refused_worker("Retries=1001", "Retries=1001: out of range; a whole number from 0 to 1000 is allowed");
        refused_worker("RetryDelay=11min", "RetryDelay=11min: is above RetryDelayMax=10min");
        refused_worker("RetryDelayMax=500ms", "RetryDelay=1s: is above RetryDelayMax=500ms");
        put_worker("Cacheable=thumb-* [ab]?\nCacheTTL=1d\nCacheStale=infinity\nCacheNegativeTTL=1min\nCacheScope=session\nCacheMax=1M\n");
        load_clean();
        t = type("w");
        ck_assert(worker_type_cacheable(t, "thumb-") && worker_type_cacheable(t, "thumb-x") && worker_type_cacheable(t, "b1"));
        ck_assert(!worker_type_cacheable(t, "thumb") && !worker_type_cacheable(t, "c1") && !worker_type_cacheable(t, NULL));
        ck_assert_uint_eq(t->cache_ttl_usec, 86400 * USEC_PER_SEC);
        ck_assert_uint_eq(t->cache_stale_usec, USEC_INFINITY);
        ck_assert_uint_eq(t->cache_negative_usec, 60 * USEC_PER_SEC);
        ck_assert_uint_eq(t->cache_max, 1 << 20);
        ck_assert(t->cache_session);
        _cleanup_(worker_type_unrefp) WorkerType *cached = worker_type_ref((WorkerType *) t);
        load_clean();
        ck_assert(worker_type_caches_equally(cached, type("w")));
        put_worker("Cacheable=thumb-* [ab]?\nCacheTTL=2d\nCacheStale=infinity\nCacheNegativeTTL=1min\nCacheScope=shared\nCacheMax=1M\n");
        load_clean();
        ck_assert(worker_type_equal(cached, type("w")));
        ck_assert(!worker_type_caches_equally(cached, type("w")));
        refused_worker("CacheScope=user", "CacheScope=user: no such scope; shared or session is allowed");
        refused_worker("CacheTTL=long", "CacheTTL=long: not a time span");
        refused_worker("CacheMax=-1", "CacheMax=-1: not a size");
        refused_worker("Cacheable=\"\"", "Cacheable=\"\": not the name of a method");
        refused_worker("Cacheable='a", "an open quote");
        char line[300] = "Version=";
        memset(line + 8, 'v', 256);
        refused_worker(line, "too long; a text of at most 255 bytes is allowed");
}
END_TEST

START_TEST(mcp_servers) {
        put_worker("Protocol=mcp\n");
        put("a/pools/p.pool", "[Pool]\nWorker=w\nTier=cold\n");
        load_clean();
        const WorkerType *t = type("w");
        ck_assert(t->protocol == PROTOCOL_MCP && t->mcp_era == MCP_ERA_LEGACY && t->mcp_features == 0 && !t->for_session);
        ck_assert_uint_eq(t->max_crashes, 1); /* other protocols: 3 */
        put_worker("Protocol=mcp\nMcpEra=auto\nMaxCrashes=2\nSlots=9\nSharing=session\nClientFeatures=roots elicitation\n");
        load_clean();
        t = type("w");
        ck_assert(t->mcp_era == MCP_ERA_AUTO && t->for_session && t->mcp_features == (MCP_FEATURE_ROOTS | MCP_FEATURE_ELICITATION));
        ck_assert(t->max_crashes == 2 && t->slots == 9);
        put("a/pools/p.pool", "[Pool]\nWorker=w\nMcpPrefix=s\nMcpAllow=a* b\nMcpAllow=c\nMcpDeny=*x\n");
        load_clean();
        const PoolConfig *p = pool("p");
        ck_assert(p->session_exclusive); /* that is what Sharing=session means where a process has more than one job */
        ck_assert_str_eq(p->mcp_prefix, "s");
        ck_assert(strv_length(p->mcp_allow) == 3 && strv_length(p->mcp_deny) == 1);
        put("a/pools/q.pool", "[Pool]\nWorker=w\nMcpPrefix=p\n");
        load_clean();
        put("a/pools/q.pool", "[Pool]\nWorker=w\nMcpPrefix=s\n");
        load();
        assert_error("a/pools/q.pool", 3, "McpPrefix=s: the tools of the pools p and q would have the same names");
        put("a/pools/q.pool", "[Pool]\nWorker=w\nMcpPrefix=a b\n");
        load();
        assert_error("a/pools/q.pool", 3, "McpPrefix=a b: not a prefix");
        put_worker("");
        put("a/pools/q.pool", "[Pool]\nWorker=w\nMcpDeny=x\n");
        put("a/pools/p.pool", "[Pool]\nWorker=w\n");
        load();
        assert_error("a/pools/q.pool", 3, "McpDeny=x: needs a worker type of Protocol=mcp, and w is of Protocol=frame");
}
END_TEST

START_TEST(worker_refused) {
        refused_worker("Protocol=http", "Protocol=http: no such protocol; frame, jsonl, exec or mcp is allowed");
        refused_worker("Output=xml", "Output=xml: no such kind of output; text, json or bytes is allowed");
        refused_worker("Ready=maybe", "Ready=maybe: no such way to be ready; auto or explicit is allowed");
        refused_worker("McpEra=old", "McpEra=old: no such era; legacy, modern or auto is allowed");
        refused_worker("McpEra=auto", "McpEra=auto: needs Protocol=mcp, this is Protocol=frame");
        refused_worker("Sharing=some", "Sharing=some: no such way to share a worker; shared or session is allowed");
        refused_worker("ClientFeatures=roots prompts\nSharing=session\nProtocol=mcp",
                       "no such feature of a client; roots, sampling and elicitation are allowed");
        refused_worker("ClientFeatures=roots\nProtocol=mcp", "ClientFeatures=roots: needs Protocol=mcp and Sharing=session");
        refused_worker("ClientFeatures=roots\nSharing=session", "ClientFeatures=roots: needs Protocol=mcp and Sharing=session");
        refused_worker("Slots=0", "Slots=0: out of range; a whole number from 1 to 1024 is allowed");
        refused_worker("Slots=4.5", "Slots=4.5: not a number");
        refused_worker("Slots=99999999999999999999999", "out of range");
        refused_worker("StartTimeout=0", "StartTimeout=0: out of range; a time span from 1ms to infinity");
        refused_worker("StartTimeout=soon", "StartTimeout=soon: not a time span");
        refused_worker("StartTimeout=-1s", "StartTimeout=-1s: not a time span");
        refused_worker("HeartbeatInterval=1ms", "HeartbeatInterval=1ms: out of range");
        refused_worker("PayloadMax=65M", "PayloadMax=65M: out of range; a size from 1B to 64M");
        refused_worker("MemoryMax=10", "MemoryMax=10: out of range; a size from 1M to infinity");
        refused_worker("TasksMax=0", "TasksMax=0: out of range; a whole number from 1 to 4194304, or infinity, is allowed");
        refused_worker("CPUWeight=10001", "CPUWeight=10001: out of range; a whole number from 1 to 10000 is allowed");
        refused_worker("MaxCrashes=0", "MaxCrashes=0: out of range");
        refused_worker("Environment=A", "Environment=A: not an assignment");
        refused_worker("Environment=1A=2", "not an assignment");
        refused_worker("Environment=\"A=1", "an open quote");
        refused_worker("Environment=A=\\q", "a backslash with something that it does not escape");
        refused_worker("PassEnvironment=A=1", "not a name of an environment variable");
        refused_worker("WorkingDirectory=tmp", "WorkingDirectory=tmp: not an absolute path");
        refused_worker("WorkingDirectory=/no/such", "WorkingDirectory=/no/such: no such directory");
        refused_worker("WorkingDirectory=/bin/cat", "no such directory");
        refused_worker("User=no such", "not a name");
        refused_worker("User=no-such-user", "User=no-such-user: no such user");
        refused_worker("LimitNOFILE=x", "LimitNOFILE=x: not a limit; a whole number, SOFT:HARD or infinity");
        refused_worker("LimitNOFILE=5:4", "LimitNOFILE=5:4: the soft limit is above the hard one");
        refused_worker("LimitAS=1Q", "LimitAS=1Q: not a limit; a size, SOFT:HARD");
        refused_worker("LimitCPU=:", "LimitCPU=:: not a limit; a time span");
        refused_worker("LimitNICE=+20", "LimitNICE=+20: out of range; a nice level");
        refused_worker("LimitRTPRIO=100", "LimitRTPRIO=100: out of range");
}
END_TEST

START_TEST(limits) {
        const WorkerType *t;

        put_worker("LimitCPU=90500ms\nLimitFSIZE=1M\nLimitDATA=2M\nLimitSTACK=8M:infinity\nLimitCORE=0\nLimitRSS=1G\nLimitNOFILE="
                   "1024:4096\n"
                   "LimitAS=infinity\nLimitNPROC=10\nLimitMEMLOCK=64K\nLimitLOCKS=5\nLimitSIGPENDING=6\nLimitMSGQUEUE=1K\n"
                   "LimitNICE=+5\nLimitRTPRIO=9\nLimitRTTIME=1ms\n");
        load(); /* there may be warnings that these are above what this process may have itself */
        ck_assert_uint_eq(config->n_errors, 0);
        t = type("w");
        for (size_t i = 0; i < WORKER_RLIMITS; i++)
                ck_assert_msg(t->limit_set[i], "limit %zu is not set", i);
        ck_assert_uint_eq(t->limit[RLIMIT_CPU].rlim_cur, 91);
        ck_assert_uint_eq(t->limit[RLIMIT_FSIZE].rlim_max, 1 << 20);
        ck_assert_uint_eq(t->limit[RLIMIT_STACK].rlim_cur, 8 << 20);
        ck_assert_uint_eq(t->limit[RLIMIT_STACK].rlim_max, RLIM_INFINITY);
        ck_assert_uint_eq(t->limit[RLIMIT_CORE].rlim_cur, 0);
        ck_assert_uint_eq(t->limit[RLIMIT_NOFILE].rlim_cur, 1024);
        ck_assert_uint_eq(t->limit[RLIMIT_NOFILE].rlim_max, 4096);
        ck_assert_uint_eq(t->limit[RLIMIT_AS].rlim_cur, RLIM_INFINITY);
        ck_assert_uint_eq(t->limit[RLIMIT_NICE].rlim_cur, 15);
        ck_assert_uint_eq(t->limit[RLIMIT_RTTIME].rlim_cur, 1000);
        put_worker("LimitNICE=-5\nLimitRTTIME=500\nLimitNOFILE=9\nLimitNOFILE=\n");
        load();
        ck_assert_uint_eq(config->n_errors, 0);
        ck_assert_uint_eq(type("w")->limit[RLIMIT_NICE].rlim_cur, 25);
        ck_assert_uint_eq(type("w")->limit[RLIMIT_RTTIME].rlim_cur, 500);
        ck_assert(!type("w")->limit_set[RLIMIT_NOFILE]);
}
END_TEST

START_TEST(limits_of_our_own) {
        const struct rlimit low = { .rlim_cur = 50, .rlim_max = 50 };

        if (geteuid() == 0)
                return; /* root may */
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        put_worker("LimitNOFILE=50\n");
        load_clean();
        put_worker("LimitNOFILE=9:51\n");
        load();
        assert_warning("a/workers/w.worker", 3, "LimitNOFILE=9:51: is above the hard limit of flowd itself, 50");
        ck_assert_uint_eq(config->n_messages, 1);
}
END_TEST

START_TEST(pool_defaults) {
        put_pool("");
        load_clean();
        const PoolConfig *p = pool("p");
        ck_assert_ptr_eq(p->type, type("w"));
        ck_assert_int_eq(p->tier, TIER_WARM);
        ck_assert_uint_eq(p->min, 0);
        ck_assert_uint_eq(p->max, pool_default_max(0));
        ck_assert_uint_ge(p->max, 1);
        ck_assert_uint_eq(p->idle_timeout_usec, 300 * USEC_PER_SEC);
        ck_assert_uint_eq(p->queue_max, 10000);
        ck_assert_uint_eq(p->queue_bytes_max, 256 << 20);
        ck_assert_uint_eq(p->breaker_crashes, 5);
        put_pool("Tier=hot\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->min, 1);
        put_pool("Tier=hot\nMin=500\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 500);
}
END_TEST

START_TEST(pool_keys) {
        put_pool("Tier=hot\nMin=2\nMax=9\nIdleTimeout=infinity\nQueueMax=0\nQueueBytesMax=1M\nRestartDelay=1s\nRestartDelayMax="
                 "2s\n"
                 "HealthyAfter=3s\nBreakerCrashes=4\nBreakerWindow=5s\nBreakerCooldown=6s\nBreakerProbes=7\nPriorityAging=7s\n"
                 "ScaleUpAt=80\nScaleDownAt=40\nScaleCooldown=12s\nSpawnRate=13\nSpawnBurst=14\nSlowStart=15s\n"
                 "QueueTimeout=8s\nRateLimit=10\nRateBurst=11\nAffinity=none\nAffinityWait=9ms\nSessionExclusive=yes\n");
        load_clean();
        const PoolConfig *p = pool("p");
        ck_assert_int_eq(p->tier, TIER_HOT);
        ck_assert_uint_eq(p->min, 2);
        ck_assert_uint_eq(p->max, 9);
        ck_assert_uint_eq(p->idle_timeout_usec, USEC_INFINITY);
        ck_assert_uint_eq(p->queue_max, 0);
        ck_assert_uint_eq(p->queue_bytes_max, 1 << 20);
        ck_assert_uint_eq(p->restart_usec, 1 * USEC_PER_SEC);
        ck_assert_uint_eq(p->restart_max_usec, 2 * USEC_PER_SEC);
        ck_assert_uint_eq(p->healthy_usec, 3 * USEC_PER_SEC);
        ck_assert_uint_eq(p->breaker_crashes, 4);
        ck_assert_uint_eq(p->breaker_window_usec, 5 * USEC_PER_SEC);
        ck_assert_uint_eq(p->breaker_cooldown_usec, 6 * USEC_PER_SEC);
        ck_assert_uint_eq(p->breaker_probes, 7);
        ck_assert_uint_eq(p->priority_aging_usec, 7 * USEC_PER_SEC);
        ck_assert_uint_eq(p->queue_timeout_usec, 8 * USEC_PER_SEC);
        ck_assert_uint_eq(p->scale_up_at, 80);
        ck_assert_uint_eq(p->scale_down_at, 40);
        ck_assert_uint_eq(p->scale_cooldown_usec, 12 * USEC_PER_SEC);
        ck_assert_uint_eq(p->spawn_rate, 13);
        ck_assert_uint_eq(p->spawn_burst, 14);
        ck_assert_uint_eq(p->slow_start_usec, 15 * USEC_PER_SEC);
        ck_assert_uint_eq(p->rate_limit, 10);
        ck_assert_uint_eq(p->rate_burst, 11);
        ck_assert_int_eq(p->affinity, POOL_AFFINITY_NONE);
        ck_assert_uint_eq(p->affinity_wait_usec, 9 * USEC_PER_MSEC);
        ck_assert(p->session_exclusive);
        put_pool("PreWarm=yes\nPriorityAging=0\nQueueTimeout=infinity\nAffinity=soft\nAffinityWait=0\n");
        load_clean();
        p = pool("p");
        ck_assert(p->prewarm);
        ck_assert_uint_eq(p->priority_aging_usec, 0);
        ck_assert_uint_eq(p->queue_timeout_usec, USEC_INFINITY);
        ck_assert_int_eq(p->affinity, POOL_AFFINITY_SOFT);
        ck_assert_uint_eq(p->affinity_wait_usec, 0);
        ck_assert(!p->session_exclusive);
}
END_TEST

START_TEST(pool_refused) {
        refused_pool("Min=abc", "Min=abc: not a number; a whole number from 0 to 10000 is allowed");
        refused_pool("Max=0", "Max=0: out of range; a whole number from 1 to 10000 is allowed");
        refused_pool("Tier=tepid", "Tier=tepid: no such tier; hot, warm or cold is allowed");
        refused_pool("QueueBytesMax=infinity", "QueueBytesMax=infinity: out of range");
        refused_pool("Worker=../w", "Worker=../w: not a name");
        refused_pool("Worker=v", "Worker=v: no such worker type; known are w");
        refused_pool("Min=5\nMax=4", "Min=5: is above Max=4");
        refused_pool("Min=1\nTier=cold", "Min=1: a cold pool starts its workers per job");
        refused_pool("ScaleUpAt=101", "ScaleUpAt=101: out of range; a whole number from 0 to 100");
        refused_pool("ScaleDownAt=50\nScaleUpAt=50", "ScaleDownAt=50: is not below ScaleUpAt=50");
        refused_pool("PreWarm=yes\nTier=hot\nMin=1", "PreWarm=yes: a hot pool starts its workers ahead anyway");
        refused_pool("PriorityAging=2h", "PriorityAging=2h: out of range; a time span from 1ms to 1h");
        refused_pool("Affinity=hard", "Affinity=hard: no such affinity; none or soft is allowed");
        refused_pool("SessionExclusive=yes\nTier=cold", "SessionExclusive=yes: a worker of this pool serves one job only");
        refused_pool("RestartDelay=1min", "RestartDelay=1min: is above RestartDelayMax=30s");
        put_pool("Tier=hot\nMin=0\n");
        load();
        assert_warning("a/pools/p.pool", 4, "Min=0: a hot pool without a resident worker");
        put("a/pools/p.pool", "[Pool]\n");
        load();
        assert_error("a/pools/p.pool", 0, "Worker= is missing");
        put("a/pools/p.pool", "[Pool]\nWorker=w\nWorker=\n");
        load();
        assert_error("a/pools/p.pool", 0, "Worker= is missing");
}
END_TEST

START_TEST(no_types) {
        put("a/pools/p.pool", "[Pool]\nWorker=w\n");
        load();
        assert_error("a/pools/p.pool", 2, "there is none yet: write workers/w.worker");
}
END_TEST

START_TEST(worker_contradictions) {
        refused_worker("Slots=2\nProtocol=exec", "Slots=2: an exec worker has one job");
        refused_worker("Ready=explicit\nProtocol=exec", "Ready=explicit: needs Protocol=jsonl, this is Protocol=exec");
        refused_worker("Ready=explicit", "this is Protocol=frame, where a worker's HELLO");
        refused_worker("HeartbeatInterval=1s\nProtocol=jsonl", "HeartbeatInterval=1s: needs Protocol=frame");
        put_worker("Output=text\nProtocol=jsonl\n");
        load();
        assert_warning("a/workers/w.worker", 3, "Output=text: has no effect with Protocol=jsonl");
        ck_assert_uint_eq(config->n_errors, 0);
}
END_TEST

/* --------------------------------------------------------------------------------------------------------------- Exec=, User= */

START_TEST(exec) {
        put("a/workers/w.worker", "[Worker]\n");
        load();
        assert_error("a/workers/w.worker", 0, "Exec= is missing");
        put("a/workers/w.worker", "[Worker]\nExec=cat -u\n");
        load();
        assert_error("a/workers/w.worker", 2, "Exec=cat -u: not an absolute path");
        ck_assert_uint_eq(config->n_messages, 1);
        put("a/workers/w.worker", "[Worker]\n\nExec=/no/such -x\n");
        load();
        assert_error("a/workers/w.worker", 3, "/no/such: no such file");
        put("a/workers/w.worker", "[Worker]\nExec=/tmp\n");
        load();
        assert_error("a/workers/w.worker", 2, "/tmp: is not a file");
        put("a/workers/w.worker", "[Worker]\nExec=%C/w.worker\n");
        load();
        assert_error("a/workers/w.worker", 2, "is not executable");
        put("a/workers/w.worker", "[Worker]\nExec=/bin/sh -c 'echo \"a b\" # c; d' \"\" x\\ty \\x41 a\"b c\"d\n");
        load_clean();
        char *const *e = type("w")->exec;
        ck_assert_uint_eq(strv_length(e), 7);
        ck_assert_str_eq(e[2], "echo \"a b\" # c; d");
        ck_assert_str_eq(e[3], "");
        ck_assert_str_eq(e[4], "x\ty");
        ck_assert_str_eq(e[5], "A");
        ck_assert_str_eq(e[6], "ab cd");
        /* the last one counts, also from a drop-in */
        put("b/workers/w.worker.d/x.conf", "[Worker]\nExec=/bin/echo hi\n");
        load_clean();
        ck_assert_str_eq(type("w")->exec[0], "/bin/echo");
        ck_assert_uint_eq(strv_length(type("w")->exec), 2);
}
END_TEST

START_TEST(specifiers) {
        _cleanup_free_ char *want = NULL, *tool = str_printf("%s/lib exec/tool", base);

        put("lib exec/tool", "#!/bin/sh\n");
        ck_assert_int_eq(chmod(tool, 0755), 0);
        want = str_printf("%s/lib exec", base);
        setenv("FLOWD_LIBEXEC", want, 1);
        put("a/workers/w.worker", "[Worker]\nExec=%L/tool %C %t %S 100%% \"%t x\"\nWorkingDirectory=%C\nEnvironment=D=%C\n");
        put("b/workers/w.worker.d/e.conf", "[Worker]\nEnvironment=E=%C\n");
        load_clean();
        const WorkerType *t = type("w");
        ck_assert_str_eq(t->exec[0], tool);
        ck_assert_str_eq(t->exec[2], "/run/x");
        ck_assert_str_eq(t->exec[3], "/var/x");
        ck_assert_str_eq(t->exec[4], "100%");
        ck_assert_str_eq(t->exec[5], "/run/x x");
        free(want);
        want = str_printf("D=%s/a/workers", base);
        ck_assert_str_eq(t->environment[0], want);
        ck_assert_str_eq(t->exec[1], want + 2);
        ck_assert_str_eq(t->working_directory, want + 2);
        free(want);
        want = str_printf("E=%s/b/workers/w.worker.d", base);
        ck_assert_str_eq(t->environment[1], want);
        unsetenv("FLOWD_LIBEXEC");
        refused_worker("Exec=%L/no-such-tool",
                       "no such file; %L is where flowd's own workers are installed. To have those of a build tree, start flowd with FLOWD_LIBEXEC=DIR");
        refused_worker("Environment=A=%n", "Environment=A=%n: unknown specifier %n; %L (");
        refused_worker("Environment=A=%", "unknown specifier %");
        refused_worker("WorkingDirectory=%x", "unknown specifier %x");
}
END_TEST

START_TEST(user) {
        if (geteuid() != 0) {
                refused_worker("User=root", "User=root: only root can run workers as another user");
                _cleanup_free_ char *line = str_printf("User=%u\n", geteuid());
                put_worker(line);
                load_clean();
                ck_assert_uint_eq(type("w")->uid, (uid_t) -1);
                return;
        }
        put_worker("User=daemon\n");
        load_clean();
        const WorkerType *t = type("w");
        struct passwd *pw = getpwnam("daemon");
        ck_assert_uint_eq(t->uid, pw->pw_uid);
        ck_assert_uint_eq(t->gid, pw->pw_gid);
        ck_assert_str_eq(t->user, "daemon");
        ck_assert_str_eq(t->home, pw->pw_dir);
        ck_assert_uint_ge(t->n_groups, 1);
        put_worker("User=1\n");
        load_clean();
        ck_assert_str_eq(type("w")->user, "daemon");
        /* the default's turn, in the system's instance only; told once */
        put_worker("");
        put("a/workers/v.worker", "[Worker]\nExec=/bin/cat\n");
        put("a/flowd.conf", "[Flowd]\nDefaultUser=no-such-user\n");
        load_clean();
        load_mode(RUN_SYSTEM);
        assert_error("a/workers/v.worker", 0, "the user no-such-user that workers run as does not exist; run systemd-sysusers");
        ck_assert_uint_eq(config->n_errors, 1);
        put("a/flowd.conf", "[Flowd]\nDefaultUser=daemon\n");
        load_mode(RUN_SYSTEM);
        ck_assert_uint_eq(config->n_messages, 0);
        ck_assert_str_eq(type("v")->user, "daemon");
}
END_TEST

int main(void) {
        Suite *s = suite_create("config");
        TCase *c = tcase_create("config");

        tcase_add_checked_fixture(c, setup, teardown);
        tcase_set_timeout(c, 60);
        tcase_add_test(c, empty_directories);
        tcase_add_test(c, missing_directory);
        tcase_add_test(c, flowd_keys);
        tcase_add_test(c, store_keys);
        tcase_add_test(c, route_keys);
        tcase_add_test(c, methods_of_a_pool);
        tcase_add_test(c, flow_keys);
        tcase_add_test(c, flowd_refused);
        tcase_add_test(c, worker_defaults);
        tcase_add_test(c, worker_keys);
        tcase_add_test(c, worker_retries_and_cache);
        tcase_add_test(c, mcp_servers);
        tcase_add_test(c, worker_refused);
        tcase_add_test(c, limits);
        tcase_add_test(c, limits_of_our_own);
        tcase_add_test(c, pool_defaults);
        tcase_add_test(c, pool_keys);
        tcase_add_test(c, pool_refused);
        tcase_add_test(c, no_types);
        tcase_add_test(c, worker_contradictions);
        tcase_add_test(c, exec);
        tcase_add_test(c, specifiers);
        tcase_add_test(c, user);
        suite_add_tcase(s, c);

        SRunner *r = srunner_create(s);
        srunner_run_all(r, CK_NORMAL);
        int failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed > 0;
}
