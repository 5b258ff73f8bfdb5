/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Each method has a sketch of its run times: log-linear buckets whose counts fade, so that a quantile of it is one of the last some dozen runs. Fading
 * costs nothing: a new run simply weighs more than the one before, and the weights are scaled down now and then.
 *
 * The tier that a method belongs to changes when the quantile passes a threshold by the hysteresis, so that a method that lies on one does not go to and
 * fro. Names come from clients. Those that have run often enough are kept apart from those that have not, each in the order of their last run, so
 * that inventing names makes nothing forgotten that is known.
 */

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "basic/str.h"
#include "route/learn.h"

#define WEIGHT_MAX 1e6f

static unsigned bucket_of(uint64_t usec) {
        uint64_t v = usec / LEARN_UNIT_USEC;

        if (v < (1U << LEARN_SUB_BITS))
                return (unsigned) v;
        unsigned exp = 63U - (unsigned) __builtin_clzll(v);
        unsigned b = ((exp - LEARN_SUB_BITS + 1) << LEARN_SUB_BITS) + (unsigned) ((v >> (exp - LEARN_SUB_BITS)) & ((1U << LEARN_SUB_BITS) - 1));
        return MIN(b, LEARN_BUCKETS - 1);
}

/* Where a bucket begins, in µs. */
static uint64_t bucket_start(unsigned b) {
        unsigned exp = b >> LEARN_SUB_BITS, sub = b & ((1U << LEARN_SUB_BITS) - 1);

        if (exp == 0)
                return (uint64_t) sub * LEARN_UNIT_USEC;
        return (((uint64_t) (1U << LEARN_SUB_BITS) + sub) << (exp - 1)) * LEARN_UNIT_USEC;
}

uint64_t learn_quantile(const LearntMethod *m, unsigned percent) {
        float want = m->total * (float) percent / 100, seen = 0;

        if (m->total <= 0)
                return 0;
        for (unsigned b = 0; b < LEARN_BUCKETS; b++) {
                float n = m->counts[b];

                if (n > 0 && (seen + n >= want || b == LEARN_BUCKETS - 1)) {
                        uint64_t start = bucket_start(b), width = bucket_start(b + 1) - start;
                        float part = (want - seen) / n;

                        return start + (uint64_t) ((float) width * (part < 0 ? 0 : part > 1 ? 1 : part));
                }
                seen += n;
        }
        for (unsigned b = LEARN_BUCKETS; b > 0; b--) /* rounding: it lies in the last one */
                if (m->counts[b - 1] > 0)
                        return bucket_start(b);
        return 0;
}

int learn_tier(const LearnRules *rules, int from, uint64_t run_usec) {
        double run = (double) run_usec, slack = 1 + (double) rules->hysteresis / 100;
        const double max[] = { [TIER_HOT] = (double) rules->hot_max_usec, [TIER_WARM] = (double) rules->warm_max_usec };

        for (int t = TIER_HOT; t < TIER_COLD; t++) {
                double limit = max[t];

                if (from >= 0)
                        limit = from <= t ? limit * slack : limit / slack;
                if (run <= limit)
                        return t;
        }
        return TIER_COLD;
}

/* --- the methods --- */

void learn_init(Learn *l, const LearnRules *rules, uint64_t seed) {
        *l = (Learn) { .rules = *rules };
        map_init(&l->methods, seed);
        list_init(&l->known);
        list_init(&l->fresh);
}

static void forget(Learn *l, LearntMethod *m) {
        list_remove(&m->lru);
        map_remove(&l->methods, &m->by_name);
        if (m->known)
                l->n_known--;
        else
                l->n_fresh--;
        free(m);
}

void learn_done(Learn *l) {
        List *n;

        while ((n = list_first(&l->known)) || (n = list_first(&l->fresh)))
                forget(l, list_entry(n, LearntMethod, lru));
        map_done(&l->methods);
}

void learn_configure(Learn *l, const LearnRules *rules) {
        l->rules = *rules;
}

LearntMethod *learn_find(const Learn *l, const char *method) {
        return map_get_name(&l->methods, method, LearntMethod, by_name);
}

static void make_room(Learn *l) {
        while (l->n_known > LEARN_METHODS_MAX) {
                forget(l, list_entry(l->known.prev, LearntMethod, lru));
                l->forgotten++;
        }
        while (l->n_fresh > LEARN_NEW_MAX) {
                forget(l, list_entry(l->fresh.prev, LearntMethod, lru));
                l->forgotten++;
        }
}

static LearntMethod *method_new(Learn *l, const char *name) {
        size_t size = strlen(name) + 1;
        LearntMethod *m = calloc(1, sizeof(LearntMethod) + size);

        if (!m)
                return NULL;
        memcpy(m->name, name, size);
        m->tier = -1;
        m->weight = 1;
        if (map_add_name(&l->methods, &m->by_name, m->name) < 0) {
                free(m);
                return NULL;
        }
        list_prepend(&l->fresh, &m->lru);
        l->n_fresh++;
        return m;
}

/* To the front of those of its kind, which may have become another one. */
static void use(Learn *l, LearntMethod *m) {
        list_remove(&m->lru);
        if (!m->known && m->samples >= l->rules.after) {
                m->known = true;
                l->n_fresh--;
                l->n_known++;
        }
        list_prepend(m->known ? &l->known : &l->fresh, &m->lru);
        make_room(l);
}

static void count(LearntMethod *m, uint64_t run_usec) {
        m->counts[bucket_of(run_usec)] += m->weight;
        m->total += m->weight;
        m->weight /= 1 - 1.0f / LEARN_MEMORY;
        if (m->weight < WEIGHT_MAX)
                return;
        m->total = 0;
        for (unsigned b = 0; b < LEARN_BUCKETS; b++) {
                m->counts[b] /= m->weight;
                if (m->counts[b] < 1e-6f) /* long ago */
                        m->counts[b] = 0;
                m->total += m->counts[b];
        }
        m->weight = 1;
}

int learn_add(Learn *l, const char *method, uint64_t run_usec, bool at_least, uint64_t now_real_usec, LearnChange *ret) {
        LearntMethod *m = learn_find(l, method);

        if (m && at_least && run_usec <= learn_quantile(m, l->rules.quantile))
                return 0; /* that it takes so long was known */
        if (!m && !(m = method_new(l, method)))
                return -ENOMEM;
        m->samples++;
        count(m, run_usec);
        use(l, m);
        if (m->samples < l->rules.after)
                return 0;
        uint64_t run = learn_quantile(m, l->rules.quantile);
        int from = m->tier, to = learn_tier(&l->rules, from, run);
        if (from == to)
                return 0;
        m->tier = to;
        m->since_usec = now_real_usec;
        m->changes += from >= 0;
        *ret = (LearnChange) { .method = m, .from = from, .to = to, .run_usec = run };
        return 1;
}

/* --- state --- */

static json_object *method_serialize(const LearntMethod *m) {
        json_object *o = json_object_new_object(), *counts = json_object_new_array();

        if (!o || !counts) {
                json_object_put(o);
                json_object_put(counts);
                return NULL;
        }
        json_object_object_add(o, "method", json_object_new_string(m->name));
        json_object_object_add(o, "samples", json_object_new_int64((int64_t) m->samples));
        json_object_object_add(o, "tier", json_object_new_int(m->tier));
        json_object_object_add(o, "since", json_object_new_int64((int64_t) m->since_usec));
        json_object_object_add(o, "changes", json_object_new_int64(m->changes));
        for (unsigned b = 0; b < LEARN_BUCKETS; b++) {
                int64_t millionths = (int64_t) (m->counts[b] / m->weight * 1e6f);

                if (millionths <= 0)
                        continue;
                json_object_array_add(counts, json_object_new_int((int) b)); /* bucket, count, bucket, count ... */
                json_object_array_add(counts, json_object_new_int64(millionths));
        }
        json_object_object_add(o, "counts", counts);
        return o;
}

struct json_object *learn_serialize(const Learn *l) {
        const List *const lists[] = { &l->known, &l->fresh };
        json_object *a = json_object_new_array();

        for (size_t i = 0; a && i < ELEMENTSOF(lists); i++)
                LIST_FOREACH(n, (List *) lists[i]) {
                        json_object *o = method_serialize(list_entry(n, LearntMethod, lru));

                        if (!o || json_object_array_add(a, o) < 0) {
                                json_object_put(o);
                                json_object_put(a);
                                return NULL;
                        }
                }
        return a;
}

struct json_object *learn_save(const Learn *l, size_t max) {
        json_object *a = json_object_new_array();
        size_t size = 2; /* the brackets */

        LIST_FOREACH(n, (List *) &l->known) {
                json_object *o = a ? method_serialize(list_entry(n, LearntMethod, lru)) : NULL;
                size_t length = 0;

                if (o)
                        (void) json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN, &length);
                size += length + 1;
                if (length == 0 || size > max) {
                        json_object_put(o);
                        break;
                }
                if (json_object_array_add(a, o) < 0) {
                        json_object_put(o);
                        break;
                }
        }
        return a;
}

static int64_t get_int(const json_object *o, const char *key) {
        json_object *v;

        return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}

static int method_deserialize(Learn *l, const json_object *o) {
        json_object *v, *counts;
        LearntMethod *m;

        if (!json_object_object_get_ex(o, "method", &v) || !json_object_is_type(v, json_type_string) ||
            !json_object_object_get_ex(o, "counts", &counts) || !json_object_is_type(counts, json_type_array))
                return 0;
        const char *name = json_object_get_string(v);
        if (learn_find(l, name))
                return 0;
        m = method_new(l, name);
        if (!m)
                return -ENOMEM;
        for (size_t i = 0; i + 1 < json_object_array_length(counts); i += 2) {
                int64_t b = json_object_get_int64(json_object_array_get_idx(counts, i));
                int64_t n = json_object_get_int64(json_object_array_get_idx(counts, i + 1));

                if (b < 0 || b >= LEARN_BUCKETS || n <= 0 || n > 1000000LL * LEARN_MEMORY)
                        continue;
                m->counts[b] = (float) n / 1e6f;
                m->total += m->counts[b];
        }
        int64_t tier = get_int(o, "tier");
        m->samples = m->total > 0 ? (uint64_t) MAX(get_int(o, "samples"), 0) : 0;
        m->tier = tier >= 0 && tier < _TIER_MAX && m->samples > 0 ? (int) tier : -1;
        m->since_usec = (uint64_t) MAX(get_int(o, "since"), 0);
        m->changes = (uint32_t) get_int(o, "changes");
        use(l, m);
        return 0;
}

int learn_deserialize(Learn *l, const struct json_object *array) {
        if (!json_object_is_type(array, json_type_array))
                return 0;
        for (size_t i = json_object_array_length(array); i > 0; i--) { /* the last used one comes last, and stands first */
                const json_object *o = json_object_array_get_idx(array, i - 1);
                int r = json_object_is_type(o, json_type_object) ? method_deserialize(l, o) : 0;

                if (r < 0)
                        return r;
        }
        return 0;
}
