/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From a job to a tier: hot for what is short, warm for what takes a while, cold for what is long enough that a start of its own does not matter.
 * Steps are asked in the configured order and the first that says something decides. What the operator and the submitter have said comes
 * before what was learnt, and that before the size of the payload, which only guesses.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/str.h"
#include "route/heuristic.h"

static const char *const step_names[_ROUTE_STEP_MAX + 1] = {
        [ROUTE_STEP_METHOD] = "method",
        [ROUTE_STEP_WEIGHT] = "weight",
        [ROUTE_STEP_LEARNT] = "learnt",
        [ROUTE_STEP_SIZE] = "size",
        [_ROUTE_STEP_MAX] = "default",
};

const char *route_step_to_string(RouteStep s) {
        return (unsigned) s <= _ROUTE_STEP_MAX ? step_names[s] : NULL;
}

int route_step_from_string(const char *s) {
        for (int i = 0; i < _ROUTE_STEP_MAX; i++)
                if (streq(s, step_names[i]))
                        return i;
        return -EINVAL;
}

void route_config_init(RouteConfig *c) {
        *c = (RouteConfig) {
                .strategy = ROUTE_LEAST_LOADED,
                .fallback = { .kind = ROUTE_ORDER_AUTO },
                .steps = { .n = _ROUTE_STEP_MAX, .step = { ROUTE_STEP_METHOD, ROUTE_STEP_WEIGHT, ROUTE_STEP_LEARNT, ROUTE_STEP_SIZE } },
                .learn = {
                        .quantile = 75,
                        .hysteresis = 20,
                        .after = 20,
                        .hot_max_usec = 100 * USEC_PER_MSEC,
                        .warm_max_usec = 1 * USEC_PER_SEC,
                },
                .hot_payload_max = 64U << 10,
                .warm_payload_max = 1U << 20,
                .hot_weight_max = 3,
                .warm_weight_max = 6,
        };
}

/* --- the steps: each returns a tier or -1, and says why in `text` unless that is NULL --- */

static void say(char *text, const char *format, ...) _printf_(2, 3);
static void say(char *text, const char *format, ...) {
        va_list ap;

        if (!text)
                return;
        va_start(ap, format);
        (void) vsnprintf(text, ROUTE_STEP_TEXT_MAX, format, ap);
        va_end(ap);
}

static int ask_method(const RouteConfig *c _unused_, const RouteQuestion *q, char *text) {
        if (!q->method)
                say(text, "the job names no method");
        else if (!q->table_entry)
                say(text, "no entry of RouteMethodTier= is about method '%.64s'", q->method);
        else
                say(text, "RouteMethodTier=%.120s", q->table_entry);
        return q->method && q->table_entry ? q->table_tier : -1;
}

static int ask_weight(const RouteConfig *c, const RouteQuestion *q, char *text) {
        if (q->weight == 0) {
                say(text, "the job says no weight");
                return -1;
        }
        if (q->weight <= c->hot_weight_max) {
                say(text, "weight %u, RouteHotWeightMax=%u", q->weight, c->hot_weight_max);
                return TIER_HOT;
        }
        say(text, "weight %u, RouteHotWeightMax=%u, RouteWarmWeightMax=%u", q->weight, c->hot_weight_max, c->warm_weight_max);
        return q->weight <= c->warm_weight_max ? TIER_WARM : TIER_COLD;
}

static int ask_learnt(const RouteConfig *c, const RouteQuestion *q, char *text) {
        char run[64], hot[64], warm[64];

        if (!q->method || !q->learnt) {
                say(text, q->method ? "method '%.64s' has not run yet" : "the job names no method%.0s", strempty(q->method));
                return -1;
        }
        if (q->learnt->tier < 0) {
                say(text, "method '%.64s' has run %llu times, RouteLearnAfter=%u", q->method, (unsigned long long) q->learnt->samples, c->learn.after);
                return -1;
        }
        if (text)
                say(text, "%u%% of the runs of method '%.64s' took up to %s: %s since then (RouteHotMax=%s, RouteWarmMax=%s, RouteHysteresis=%u)",
                    c->learn.quantile, q->method, usec_format(run, sizeof(run), learn_quantile(q->learnt, c->learn.quantile)),
                    tier_to_string((Tier) q->learnt->tier), usec_format(hot, sizeof(hot), c->learn.hot_max_usec),
                    usec_format(warm, sizeof(warm), c->learn.warm_max_usec), c->learn.hysteresis);
        return q->learnt->tier;
}

static int ask_size(const RouteConfig *c, const RouteQuestion *q, char *text) {
        char size[16], hot[16], warm[16];

        if (text)
                say(text, "%s of payload, RouteHotPayloadMax=%s, RouteWarmPayloadMax=%s", size_format(size, sizeof(size), q->payload_size),
                    size_format(hot, sizeof(hot), c->hot_payload_max), size_format(warm, sizeof(warm), c->warm_payload_max));
        return q->payload_size <= c->hot_payload_max ? TIER_HOT : q->payload_size <= c->warm_payload_max ? TIER_WARM : TIER_COLD;
}

Tier route_heuristic(const RouteConfig *c, const RouteQuestion *q, RouteStep *ret_step, RouteAnswer *ret, size_t *ret_n) {
        static int (*const ask[_ROUTE_STEP_MAX])(const RouteConfig *c, const RouteQuestion *q, char *text) = {
                [ROUTE_STEP_METHOD] = ask_method,
                [ROUTE_STEP_WEIGHT] = ask_weight,
                [ROUTE_STEP_LEARNT] = ask_learnt,
                [ROUTE_STEP_SIZE] = ask_size,
        };
        RouteStep decided = _ROUTE_STEP_MAX;
        Tier tier = TIER_HOT;

        for (size_t i = 0; i < c->steps.n; i++) {
                RouteStep s = (RouteStep) c->steps.step[i];
                int t = ask[s](c, q, ret ? ret[i].text : NULL);

                if (ret) {
                        ret[i].step = s;
                        ret[i].tier = t;
                }
                if (t >= 0 && decided == _ROUTE_STEP_MAX) {
                        decided = s;
                        tier = (Tier) t;
                        if (!ret)
                                break;
                }
        }
        if (ret)
                *ret_n = c->steps.n;
        *ret_step = decided;
        return tier;
}

/* --- the order of tiers --- */

static bool has_tier(const Tier *tiers, size_t n, Tier t) {
        for (size_t i = 0; i < n; i++)
                if (tiers[i] == t)
                        return true;
        return false;
}

size_t route_order_chain(const RouteOrder *o, Tier chosen, Tier ret[_TIER_MAX]) {
        size_t n = 0;

        ret[n++] = chosen;
        if (o->kind == ROUTE_ORDER_LIST) {
                for (size_t i = 0; i < o->n; i++)
                        if (!has_tier(ret, n, (Tier) o->tier[i]))
                                ret[n++] = (Tier) o->tier[i];
                return n;
        }
        for (int t = (int) chosen + 1; t < _TIER_MAX; t++)
                ret[n++] = (Tier) t;
        for (int t = (int) chosen - 1; t >= TIER_HOT; t--)
                ret[n++] = (Tier) t;
        return n;
}

/* The next word of `*s`, copied; false at the end. A word that is too long is cut, and then none that is known. */
static bool next_word(const char **s, char *word, size_t size) {
        size_t n;

        *s += strspn(*s, " \t");
        n = strcspn(*s, " \t");
        if (n == 0)
                return false;
        snprintf(word, size, "%.*s", (int) MIN(n, size), *s);
        *s += n;
        return true;
}

int route_order_parse(const char *s, RouteOrder *ret) {
        RouteOrder o = { .kind = ROUTE_ORDER_LIST };
        Tier seen[_TIER_MAX];
        char word[16];

        if (streq(s, "none") || streq(s, "auto")) {
                *ret = (RouteOrder) { .kind = streq(s, "auto") ? ROUTE_ORDER_AUTO : ROUTE_ORDER_LIST };
                return 0;
        }
        while (next_word(&s, word, sizeof(word))) {
                int t = tier_from_string(word);

                if (t < 0 || has_tier(seen, o.n, (Tier) t))
                        return -EINVAL;
                seen[o.n] = (Tier) t;
                o.tier[o.n++] = (uint8_t) t;
        }
        if (o.n == 0)
                return -EINVAL;
        *ret = o;
        return 0;
}

int route_steps_parse(const char *s, RouteSteps *ret) {
        RouteSteps steps = {};
        char word[16];

        while (next_word(&s, word, sizeof(word))) {
                int k = route_step_from_string(word);

                for (size_t i = 0; k >= 0 && i < steps.n; i++)
                        if (steps.step[i] == k)
                                k = -EINVAL;
                if (k < 0)
                        return k;
                steps.step[steps.n++] = (uint8_t) k;
        }
        if (steps.n == 0)
                return -EINVAL;
        *ret = steps;
        return 0;
}

int route_method_tier_parse(const char *entry, size_t *ret_length) {
        const char *sign = strrchr(entry, '=');
        int t;

        if (!sign || sign == entry)
                return -EINVAL;
        t = tier_from_string(sign + 1);
        if (t < 0)
                return t;
        *ret_length = (size_t) (sign - entry);
        return t;
}
