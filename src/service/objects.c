/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The objects of the interface: pools, workers and jobs as every socket shows them. */

#include "service/objects.h"

#define STDERR_SHOWN 8192U

void object_add_text(json_object *o, const char *key, const char *v) {
        if (v)
                json_object_object_add(o, key, json_object_new_string(v));
}

void object_add_int(json_object *o, const char *key, uint64_t v) {
        json_object_object_add(o, key, json_object_new_int64((int64_t) MIN(v, (uint64_t) INT64_MAX)));
}

/* What is known of a failure; `whole`: all of it. */
static void add_death(json_object *o, const PoolDeath *d, bool whole) {
        char id[JOB_ID_TEXT_MAX];

        if (!d)
                return;
        object_add_text(o, "last_failure", d->how);
        object_add_text(o, "last_failure_cause", d->cause);
        object_add_int(o, "last_failure_usec", d->real_usec);
        if (*d->worker)
                object_add_text(o, "last_failure_worker", d->worker);
        if (d->job > 0)
                object_add_text(o, "last_failure_job", job_id_format(d->job, id));
        if (!whole)
                return;
        object_add_int(o, "last_failure_lived_usec", d->lived_usec);
        object_add_int(o, "last_failure_user_usec", d->end.user_usec);
        object_add_int(o, "last_failure_system_usec", d->end.system_usec);
        object_add_int(o, "last_failure_max_rss", d->end.max_rss);
        object_add_text(o, "last_failure_stderr", d->tail);
}

json_object *object_of_pool(const Pool *p) {
        json_object *o = json_object_new_object();
        unsigned busy = 0, ready = 0, slots = 0;

        LIST_FOREACH(l, (List *) &p->workers) {
                const Worker *w = list_entry(l, Worker, link);

                busy += w->n_running > 0;
                ready += w->state == WORKER_READY;
                slots += w->state == WORKER_READY || w->state == WORKER_BUSY ? w->n_slots : 0;
        }
        object_add_text(o, "name", p->name);
        object_add_text(o, "id", p->config->id);
        object_add_text(o, "worker_type", p->config->type->name);
        object_add_text(o, "protocol", protocol_to_string(p->config->type->protocol));
        object_add_text(o, "tier", tier_to_string(p->config->tier));
        object_add_text(o, "state", pool_state_to_string(p->state));
        object_add_text(o, "reason", p->reason);
        json_object_object_add(o, "closing", json_object_new_boolean(p->state == POOL_CLOSING));
        object_add_text(o, "health", pool_health_to_string(pool_health(p)));
        object_add_text(o, "breaker", breaker_to_string(p->breaker));
        object_add_int(o, "breaker_until_usec", p->breaker == BREAKER_OPEN ? p->breaker_until_real : 0);
        object_add_int(o, "breaker_opened", p->stats.breaker_opened);
        object_add_int(o, "breaker_probes", p->breaker == BREAKER_HALF_OPEN ? p->probes : 0);
        object_add_int(o, "min", p->config->min);
        object_add_int(o, "max", p->config->max);
        object_add_int(o, "target", MAX(p->target, p->config->min));
        object_add_int(o, "workers", p->n_workers);
        object_add_int(o, "ready", ready);
        object_add_int(o, "busy", busy);
        object_add_int(o, "slots", slots);
        object_add_int(o, "queued", p->n_queued + p->n_waiting);
        object_add_int(o, "queued_bytes", p->queued_bytes);
        object_add_int(o, "running", p->n_running);
        object_add_int(o, "completed", p->stats.completed);
        object_add_int(o, "failed", p->stats.failed);
        object_add_int(o, "timeout", p->stats.timeout);
        object_add_int(o, "cancelled", p->stats.cancelled);
        object_add_int(o, "refused", p->stats.refused);
        object_add_int(o, "spawned", p->stats.spawned);
        object_add_int(o, "crashes", p->stats.crashes);
        object_add_int(o, "restarts", p->stats.restarts);
        add_death(o, pool_last_death(p, NULL), false);
        object_add_int(o, "queue_max", p->config->queue_max);
        object_add_int(o, "wanted", p->scale_wanted);
        object_add_text(o, "wanted_for", scale_reason_to_string(p->scale_reason));
        object_add_text(o, "limited_by", p->limited[0] ? p->limited : NULL);
        json_object_object_add(o, "utilisation", json_object_new_double(scale_utilisation(&p->scale, slots, 1)));
        json_object_object_add(o, "arrival_rate", json_object_new_double(scale_rate(&p->scale, now_usec())));
        object_add_int(o, "memory_each", p->memory_each);
        object_add_int(o, "parked", p->n_parked);
        object_add_int(o, "affinity_hits", p->stats.affinity_hits);
        object_add_int(o, "affinity_misses", p->stats.affinity_misses);
        object_add_int(o, "affinity_fallbacks", p->stats.affinity_fallbacks);
        object_add_int(o, "latency_p50_usec", histogram_quantile(&p->stats.latency, 0.5));
        object_add_int(o, "latency_p99_usec", histogram_quantile(&p->stats.latency, 0.99));
        object_add_int(o, "run_p50_usec", histogram_quantile(&p->stats.run, 0.5));
        object_add_int(o, "run_p99_usec", histogram_quantile(&p->stats.run, 0.99));
        return o;
}

json_object *object_of_worker(const Worker *w, bool whole) {
        json_object *o = json_object_new_object(), *jobs = json_object_new_array();
        const Pool *p = w->pool;
        char id[JOB_ID_TEXT_MAX];

        object_add_text(o, "id", w->name);
        object_add_text(o, "pool", w->pool_name);
        object_add_int(o, "slot", w->slot_number);
        object_add_int(o, "generation", w->generation);
        object_add_int(o, "pid", (uint64_t) w->pid);
        object_add_text(o, "state", worker_state_to_string(w->state));
        object_add_int(o, "slots", w->n_slots);
        object_add_int(o, "running", w->n_running);
        object_add_int(o, "sessions", w->n_sessions);
        for (unsigned i = 0; i < w->n_slots; i++)
                if (w->slots[i].state == SLOT_RUNNING)
                        json_object_array_add(jobs, json_object_new_string(job_id_format(w->slots[i].job_id, id)));
        json_object_object_add(o, "jobs", jobs);
        object_add_int(o, "done", w->jobs_done);
        object_add_int(o, "started_usec", realtime_usec() - (now_usec() - w->started_usec));
        object_add_int(o, "rss", worker_rss(w));
        size_t l = strlen(w->name);
        if (strncmp(p->last_exit, w->name, l) == 0 && p->last_exit[l] == ' ') /* of the worker that had this slot before */
                object_add_text(o, "last_exit", p->last_exit);
        if (whole) {
                add_death(o, pool_last_death(p, w->name), true);

                _cleanup_free_ char *tail = worker_stderr_tail(w, STDERR_SHOWN);

                object_add_text(o, "stderr", tail);
        }
        return o;
}

/* How often a job that failed is tried again: as it says itself, or else its worker type. */
static uint64_t retries(const Router *router, const char *pool, bool own, uint32_t n) {
        const Pool *p = own || !pool ? NULL : map_get_name(router->by_name, pool, Pool, by_name);

        return own ? n : p ? p->config->type->retries : 0;
}

json_object *object_of_job(const Router *router, const Job *j) {
        json_object *o = json_object_new_object();
        uint64_t offset = j->accepted_real_usec - j->accepted_usec;
        char id[JOB_ID_TEXT_MAX];

        object_add_text(o, "id", job_id_format(j->id, id));
        object_add_text(o, "pool", strempty(j->pool_name));
        object_add_text(o, "state", job_state_to_string(j->state));
        object_add_text(o, "method", j->method);
        object_add_text(o, "session", j->session);
        object_add_text(o, "affinity", frame_affinity_to_string(j->affinity));
        object_add_text(o, "kind", payload_kind_to_string(j->kind));
        object_add_int(o, "size", j->payload_size);
        object_add_int(o, "attempts", j->attempts);
        object_add_int(o, "crashes", j->crashes);
        if (j->ran_on[0])
                object_add_text(o, "worker", j->ran_on);
        json_object_object_add(o, "detached", json_object_new_boolean(j->detached));
        object_add_int(o, "uid", j->uid);
        object_add_int(o, "accepted_usec", j->accepted_real_usec);
        object_add_int(o, "dispatched_usec", j->dispatched_usec ? j->dispatched_usec + offset : 0);
        object_add_int(o, "finished_usec", j->finished_usec ? j->finished_usec + offset : 0);
        object_add_int(o, "deadline_usec", j->deadline_usec);
        json_object_object_add(o, "progress", json_object_new_double(j->progress / 1e6));
        object_add_text(o, "progress_message", j->progress_text);
        object_add_int(o, "result_size", blob_size(j->result));
        object_add_text(o, "error", j->error);
        object_add_text(o, "code", j->code);
        object_add_text(o, "durable", durability_to_string(j->durability));
        object_add_text(o, "key", j->key);
        object_add_int(o, "retries", retries(router, j->pool_name, j->own_retries, j->retries));
        object_add_int(o, "failures", j->failures);
        object_add_int(o, "not_before_usec", j->not_before_usec);
        object_add_text(o, "cache", cached_word(job_ended(j) ? j->cache : 0, j->renewal));
        json_object_object_add(o, "stored", json_object_new_boolean(j->stored));
        if (j->route.routed)
                json_object_object_add(o, "route", route_job_object(j));
        return o;
}

json_object *object_of_record(const Router *router, const JobRecord *r) {
        json_object *o = json_object_new_object();
        char id[JOB_ID_TEXT_MAX];

        object_add_text(o, "id", job_id_format(r->id, id));
        object_add_text(o, "pool", r->pool);
        object_add_text(o, "state", job_state_to_string(r->state));
        object_add_text(o, "method", r->method);
        object_add_text(o, "session", r->session);
        object_add_text(o, "kind", payload_kind_to_string(r->kind));
        object_add_int(o, "size", r->payload_size);
        object_add_int(o, "attempts", r->attempts);
        object_add_int(o, "crashes", r->crashes);
        object_add_text(o, "worker", r->worker);
        json_object_object_add(o, "detached", json_object_new_boolean(true)); /* its result is kept, however it was submitted */
        object_add_int(o, "uid", r->uid);
        object_add_int(o, "accepted_usec", r->accepted_usec);
        object_add_int(o, "dispatched_usec", r->dispatched_usec);
        object_add_int(o, "finished_usec", r->finished_usec);
        object_add_int(o, "deadline_usec", r->deadline_usec);
        json_object_object_add(o, "progress", json_object_new_double(r->state == JOB_COMPLETED));
        object_add_int(o, "result_size", r->result_size);
        object_add_text(o, "error", r->error);
        object_add_text(o, "code", r->code);
        object_add_text(o, "durable", durability_to_string(r->durability));
        object_add_text(o, "key", r->key);
        object_add_int(o, "retries", retries(router, r->pool, r->retries != UINT32_MAX, r->retries));
        object_add_int(o, "failures", r->failures);
        object_add_int(o, "not_before_usec", r->not_before_usec);
        object_add_text(o, "cache", cached_word(r->cache, false));
        json_object_object_add(o, "stored", json_object_new_boolean(true));
        return o;
}
