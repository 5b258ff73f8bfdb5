/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The events that flowd reports: each has a name, a level and a MESSAGE_ID with an entry in units/flowd.catalog. */

/*        enum                  name                   level         MESSAGE_ID */
#define EVENT_LIST(X)                                                                                      \
        X(EVENT_STARTED,        "flowd-started",       LOG_INFO,     "082bdec077e64d5ba8f42c3ace5521d4")   \
        X(EVENT_STOPPING,       "flowd-stopping",      LOG_INFO,     "0d2dbe746bd14d6eb01cd966fa6bbbed")   \
        X(EVENT_RELOADED,       "flowd-reloaded",      LOG_INFO,     "5299c39e23f74417b17d7b1c4ba691f2")   \
        X(EVENT_RELOAD_REFUSED, "reload-refused",      LOG_ERR,      "d98cca3b21af489587e9528a942b41bb")   \
        X(EVENT_REEXECED,       "flowd-reexeced",      LOG_INFO,     "b7ea5039ecd44891ac4c5a2702a47f7e")   \
        X(EVENT_LIMITS,         "limits-unavailable",  LOG_NOTICE,   "abfd961e7a93432eac2bcbd7b54eb82e")   \
        X(EVENT_CONFIG,         "config-message",      LOG_WARNING,  "5cd17e3fc9e14a71b3085d40946922e9")   \
        X(EVENT_POOL_READY,     "pool-ready",          LOG_INFO,     "728ac73001ba4123825e671064ee2092")   \
        X(EVENT_POOL_DEGRADED,  "pool-degraded",       LOG_ERR,      "9c7bcdab252a44f7a99a95944504862d")   \
        X(EVENT_POOL_RECOVERED, "pool-recovered",      LOG_NOTICE,   "4144358d0bca4600891cf28597a7662b")   \
        X(EVENT_POOL_FULL,      "pool-saturated",      LOG_WARNING,  "217fff26a95947cbbeeec846f5fa8e65")   \
        X(EVENT_POOL_SCALED,    "pool-scaled",         LOG_INFO,     "74fe2bbc5e754e119d2708c5a9de21b6")   \
        X(EVENT_POOL_AUTOSCALED,"pool-autoscaled",     LOG_INFO,     "dfd55ccd14cd473dbc3e501b1b7b603d")   \
        X(EVENT_POOL_LIMITED,   "pool-limited",        LOG_NOTICE,   "bc0d27ce31274d8d87a1c9b53822bf9d")   \
        X(EVENT_POOL_DRAINED,   "pool-drained",        LOG_NOTICE,   "9c4f583a11264a0db02473daa35f91cc")   \
        X(EVENT_POOL_STOPPED,   "pool-stopped",        LOG_INFO,     "90ff17532cee4793beefde2d4a6ac354")   \
        X(EVENT_BREAKER_HALF_OPEN, "breaker-half-open", LOG_NOTICE,  "af9a48dbfde34cc2a53f43a5032b05db")   \
        X(EVENT_BREAKER_OPEN,   "breaker-open",        LOG_WARNING,  "716415f5eab44565b619ff3771079f45")   \
        X(EVENT_POOL_SPAWNED,   "pool-spawned",        LOG_NOTICE,   "48e0c5258d9d4a47840d2a0097ee8c64")   \
        X(EVENT_POOL_CLOSED,    "pool-closed",         LOG_NOTICE,   "0f42042aa7e64809b157782bce37301e")   \
        X(EVENT_HOOK,           "hook-failed",         LOG_WARNING,  "2fa3a6aacbb54932b592cadbe102ba2f")   \
        X(EVENT_POOL_RESUMED,   "pool-resumed",        LOG_NOTICE,   "c954e397e8a7407db0352d9f19882fb4")   \
        X(EVENT_WORKER_STARTED, "worker-started",      LOG_DEBUG,    "e9be7d14eb65400aa430343062ee7218")   \
        X(EVENT_WORKER_READY,   "worker-ready",        LOG_DEBUG,    "b505228a18c14881a888b72fc21426a5")   \
        X(EVENT_WORKER_EXITED,  "worker-exited",       LOG_DEBUG,    "83ef9482f99c48d882f8e84e2d686887")   \
        X(EVENT_WORKER_KILLED,  "worker-killed",       LOG_NOTICE,   "a548ce759b3d44f5a96f2f3ce504e47c")   \
        X(EVENT_WORKER_CRASHED, "worker-crashed",      LOG_WARNING,  "1c6b72e4b8664a52b1a5ff66ae8b13f5")   \
        X(EVENT_WORKER_FAILED,  "worker-start-failed", LOG_ERR,      "9c95738ae195454fa616cf6ef19e5fcd")   \
        X(EVENT_WORKER_HUNG,    "worker-hung",         LOG_WARNING,  "510d933af59d4035badeb4d84a869bba")   \
        X(EVENT_WORKER_PROTOCOL,"worker-protocol",     LOG_WARNING,  "336ab207d5344c568395d4968447a044")   \
        X(EVENT_WORKER_RECYCLED,"worker-recycled",     LOG_INFO,     "ce7303fcb74f4c44b95db104a868bbb4")   \
        X(EVENT_WORKER_PERMANENT,"worker-permanent",   LOG_ERR,      "7c3302817ac64172a43729e4210eb534")   \
        X(EVENT_MCP_LISTS,      "mcp-lists",           LOG_INFO,     "0fd7d58ad14b47ffa2356dd9b264047c")   \
        X(EVENT_MCP_LISTS_FAILED,"mcp-lists-failed",   LOG_WARNING,  "21fb7bf5319144648b832f450a0a6eb8")   \
        X(EVENT_WORKER_OUTPUT,  "worker-output",       LOG_INFO,     "da4e0d661b4e41109eb23f2c1b4acebb")   \
        X(EVENT_ORPHAN_KILLED,  "orphan-killed",       LOG_NOTICE,   "d3948204cbb04723b630457e62594fa5")   \
        X(EVENT_OUTPUT_DROPPED, "output-dropped",      LOG_WARNING,  "42a5af8eee5143359045532b899c5917")   \
        X(EVENT_JOB_FAILED,     "job-failed",          LOG_NOTICE,   "1188c360ac1e4260be3b8fb25f70826c")   \
        X(EVENT_JOB_TIMEOUT,    "job-timeout",         LOG_NOTICE,   "bc4fff0a40444e7b8145145ee8b838e4")   \
        X(EVENT_JOB_OVERDUE,    "job-overdue",         LOG_INFO,     "b02ef55833bb4615b67603e83d3e304e")   \
        X(EVENT_JOB_REQUEUED,   "job-requeued",        LOG_NOTICE,   "d807250a2adc4b94af4f78844971f6f1")   \
        X(EVENT_JOB_RETRIED,    "job-retried",         LOG_NOTICE,   "f8f74985d56247c7b1e1d4df5822c11a")   \
        X(EVENT_METHOD_MOVED,   "method-moved",        LOG_NOTICE,   "757caae8305a469fa1ebf8da0f72ef33")   \
        X(EVENT_JOB_RECOVERED,  "jobs-recovered",      LOG_NOTICE,   "b75c211bd8164613a115039826478e2a")   \
        X(EVENT_STORE,          "store-state",         LOG_WARNING,  "4f1e82aaf3c14e26af0ccc68575e8f73")   \
        X(EVENT_JOB_DEAD,       "job-dead",            LOG_ERR,      "4609db1e3d884bc9bb364c1432b947cf")   \
        X(EVENT_JOB_FENCED,     "job-fenced",          LOG_NOTICE,   "6c514c406d594095b34841fb2ba132de")   \
        X(EVENT_FLOW_FAILED,    "flow-task-failed",    LOG_WARNING,  "2514acb3ea494345bec22c21de793140")   \
        X(EVENT_RESULT_DROPPED, "result-dropped",      LOG_WARNING,  "9c809dfc503a402189da31f5bff7a6f8")   \
        X(EVENT_CLIENT_DROPPED, "client-dropped",      LOG_WARNING,  "c9757c2330f347afb8ea8c7f44d5c8ab")   \
        X(EVENT_REFUSED,        "request-refused",     LOG_NOTICE,   "fc05cec4f47745b2ad1b1432c6c8a268")   \
        X(EVENT_LOG_DROPPED,    "log-dropped",         LOG_WARNING,  "16f6cb0931764e8a91c049718d2bcf4d")

typedef enum EventKind {
#define X(e, name, level, id) e,
        EVENT_LIST(X)
#undef X
        _EVENT_MAX,
} EventKind;

const char *event_name(EventKind e);
int event_level(EventKind e);
const char *event_message_id(EventKind e);
