/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The tools about pools. */

#include <errno.h>

#include "mcp/tools.h"

static json_object *pool_row(const Pool *p) {
        json_object *o = json_object_new_object();

        object_add_text(o, "pool_id", tool_pool_id(p));
        object_add_text(o, "pool_type", "local");
        object_add_text(o, "tier", tier_to_string(p->config->tier));
        object_add_text(o, "name", p->name);
        object_add_text(o, "status", pool_state_to_string(p->state));
        object_add_text(o, "reason", p->reason);
        object_add_int(o, "workers", p->n_workers);
        object_add_int(o, "min_workers", p->config->min);
        object_add_int(o, "max_workers", p->config->max);
        object_add_text(o, "worker_type", p->config->type->name);
        object_add_text(o, "protocol", protocol_to_string(p->config->type->protocol));
        object_add_int(o, "queued", p->n_queued + p->n_waiting);
        object_add_int(o, "running", p->n_running);
        return o;
}

static json_object *pool_rows(const McpServer *s) {
        json_object *a = json_object_new_array();

        LIST_FOREACH(l, s->router->pools)
                json_object_array_add(a, pool_row(list_entry(l, Pool, link)));
        return a;
}

void tool_pool_list(McpRequest *q, const McpArguments *a) {
        json_object *o = json_object_new_object();

        (void) a;
        json_object_object_add(o, "pools", pool_rows(q->reply.client->server));
        tool_answer(&q->reply, o, false);
}

/* Can it do its work? One that is starting, or was paused on purpose, is not broken. */
static bool is_broken(const Pool *p) {
        return p->state == POOL_DEGRADED || p->state == POOL_FAILED;
}

void tool_pool_health(McpRequest *q, const McpArguments *a) {
        const McpServer *s = q->reply.client->server;
        json_object *o = json_object_new_object();
        unsigned n = 0, broken = 0, active = 0;

        (void) a;
        LIST_FOREACH(l, s->router->pools) {
                const Pool *p = list_entry(l, Pool, link);

                n++;
                broken += is_broken(p);
                active += p->state == POOL_RUNNING;
        }
        object_add_text(o, "status", broken == n ? "unhealthy" : broken > 0 ? "degraded" : "healthy"); /* without a pool nothing can be done */
        object_add_int(o, "pools_active", active);
        json_object_object_add(o, "pools", pool_rows(s));
        tool_answer(&q->reply, o, false);
}

/* --- metrics --- */

static unsigned remembered(const McpServer *s, const Pool *p) {
        const List *const lists[] = { &s->jobs->results, &s->jobs->ended };
        unsigned n = 0;

        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                LIST_FOREACH(l, lists[i])
                        n += list_entry(l, Job, table_link)->pool_name == p->name;
        return n;
}

static void add_double(json_object *o, const char *key, double v) {
        json_object_object_add(o, key, json_object_new_double(v));
}

static json_object *pool_metrics(const McpServer *s, Pool *p) {
        json_object *o = json_object_new_object(), *m = json_object_new_object();
        unsigned active = 0;
        uint64_t rss = 0;

        LIST_FOREACH(l, &p->workers) {
                const Worker *w = list_entry(l, Worker, link);

                active += w->n_running > 0;
                rss += worker_rss(w);
        }
        object_add_int(m, "active_workers", active);
        object_add_int(m, "total_workers", p->n_workers);
        object_add_int(m, "tasks_completed", p->stats.completed);
        object_add_int(m, "tasks_failed", p->stats.failed);
        object_add_int(m, "tasks_timeout", p->stats.timeout);
        object_add_int(m, "tasks_cancelled", p->stats.cancelled);
        object_add_int(m, "tasks_refused", p->stats.refused);
        object_add_int(m, "tasks_queued", p->n_queued + p->n_waiting);
        object_add_int(m, "tasks_running", p->n_running);
        add_double(m, "task_duration_p50", (double) histogram_quantile(&p->stats.run, 0.5) / 1e6);
        add_double(m, "task_duration_p99", (double) histogram_quantile(&p->stats.run, 0.99) / 1e6);
        add_double(m, "avg_task_duration", histogram_mean(&p->stats.run) / 1e6);
        add_double(m, "memory_usage_mb", (double) rss / (1024 * 1024));
        object_add_int(m, "crashes", p->stats.crashes);
        object_add_text(o, "status", pool_state_to_string(p->state));
        object_add_int(o, "memory_count", remembered(s, p));
        json_object_object_add(o, "metrics", m);
        return o;
}

void tool_pool_monitor(McpRequest *q, const McpArguments *a) {
        const McpServer *s = q->reply.client->server;
        JsonSpan ids = argument_span(a, "pool_ids");
        json_object *o = json_object_new_object();
        JsonMember e;
        JsonScan scan;

        if (!ids.p)
                LIST_FOREACH(l, s->router->pools) {
                        Pool *p = list_entry(l, Pool, link);

                        json_object_object_add(o, tool_pool_id(p), pool_metrics(s, p));
                }
        json_scan_elements(&scan, ids.p, ids.size);
        while (ids.p && json_scan_next(&scan, &e) > 0) {
                _cleanup_free_ char *name = NULL;

                if (json_span_text((JsonSpan) { e.value, e.value_size }, &name) < 0)
                        continue;
                if (json_object_object_get_ex(o, name, NULL)) /* looked at already, which costs something */
                        continue;
                Pool *p = pool_find(s->router->by_name, s->router->pools, name);
                json_object *v = p ? pool_metrics(s, p) : json_object_new_object();
                if (!p) {
                        object_add_text(v, "status", "unknown");
                        object_add_text(v, "error", "there is no such pool; pool_list names them");
                }
                json_object_object_add(o, name, v);
        }
        tool_answer(&q->reply, o, false);
}

/* --- size --- */

void tool_pool_scale(McpRequest *q, const McpArguments *a) {
        int64_t target = argument_int(a, "target_workers", 0);
        Pool *p = argument_pool(q, a, "pool_id");
        json_object *o;

        if (!p)
                return;
        o = json_object_new_object();
        object_add_text(o, "pool_id", tool_pool_id(p));
        object_add_int(o, "target_workers", (uint64_t) target);
        if (p->config->tier == TIER_COLD)
                tool_failed(&q->reply, o, "OutOfRange", "pool %s is cold: its workers are started for their jobs, up to %u", p->name, p->config->max);
        else if (pool_scale(p, (unsigned) target) < 0)
                tool_failed(&q->reply, o, "OutOfRange", "pool %s can have from %u to %u workers", p->name, p->config->min, p->config->max);
        else {
                object_add_int(o, "actual_workers", p->n_workers);
                object_add_text(o, "status", "scaled");
                tool_answer(&q->reply, o, false);
        }
}
