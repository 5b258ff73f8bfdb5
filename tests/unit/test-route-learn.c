/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is learnt of methods, and the tier that the heuristic makes of it, held against an oracle that knows how long each method takes. */

#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "basic/str.h"
#include "route/heuristic.h"
#include "unit.h"

static RouteConfig config;
static Learn learn;

static void begin(void) {
        route_config_init(&config);
        learn_init(&learn, &config.learn, 1);
}

static int add(const char *name, uint64_t usec) {
        LearnChange c;

        return learn_add(&learn, name, usec, false, 1, &c);
}

static int tier_of(const char *name) {
        const LearntMethod *m = learn_find(&learn, name);

        return m ? m->tier : -1;
}

/* --- quantiles --- */

START_TEST(quantiles) {
        uint64_t random = UNIT_SEED;

        begin();
        ck_assert_ptr_null(learn_find(&learn, "m"));
        for (unsigned i = 0; i < 1000; i++)
                add("m", 1000 * (1 + unit_random(&random) % 100)); /* 1 to 100 ms */
        const LearntMethod *m = learn_find(&learn, "m");
        for (unsigned p = 10; p < 100; p += 10) {
                uint64_t q = learn_quantile(m, p);

                /* some dozen runs, in buckets of 19 %: within 20 ms */
                ck_assert_msg(fabs((double) q - p * 1000.0) <= 20000, "p%u is %llu us", p, (unsigned long long) q);
        }
        ck_assert_uint_eq(m->samples, 1000);
        /* old ones fade: none of the first thousand is seen any more after a few hundred others */
        for (unsigned i = 0; i < 300; i++)
                add("m", 5 * USEC_PER_SEC);
        ck_assert_uint_ge(learn_quantile(m, 1), 4 * USEC_PER_SEC);
        ck_assert_uint_le(learn_quantile(m, 99), 6 * USEC_PER_SEC);
        learn_done(&learn);
}
END_TEST

START_TEST(extremes) {
        static const uint64_t usec[] = { 0, 1, 15, 16, 17, 1000, UINT32_MAX, 1ULL << 40, 1ULL << 50, UINT64_MAX };

        begin();
        for (size_t i = 0; i < ELEMENTSOF(usec); i++) {
                char name[16];

                snprintf(name, sizeof(name), "m%zu", i);
                for (unsigned n = 0; n < 30; n++)
                        add(name, usec[i]);
                uint64_t q = learn_quantile(learn_find(&learn, name), 75);
                if (usec[i] < 1ULL << 40) /* what is longer than twelve days is all the same */
                        ck_assert_msg((double) q >= (double) usec[i] * 0.8 - 16 && (double) q <= (double) usec[i] * 1.25 + 16, "%llu us became %llu us",
                                      (unsigned long long) usec[i], (unsigned long long) q);
                ck_assert_int_eq(tier_of(name), usec[i] <= config.learn.hot_max_usec ? TIER_HOT : TIER_COLD);
        }
        learn_done(&learn);
}
END_TEST

/* --- tiers --- */

START_TEST(thresholds_and_hysteresis) {
        begin();
        const LearnRules *r = &config.learn;
        ck_assert_int_eq(learn_tier(r, -1, 100000), TIER_HOT);
        ck_assert_int_eq(learn_tier(r, -1, 100001), TIER_WARM);
        ck_assert_int_eq(learn_tier(r, -1, 1000000), TIER_WARM);
        ck_assert_int_eq(learn_tier(r, -1, 1000001), TIER_COLD);
        /* beyond a threshold by a fifth */
        ck_assert_int_eq(learn_tier(r, TIER_HOT, 119000), TIER_HOT);
        ck_assert_int_eq(learn_tier(r, TIER_HOT, 121000), TIER_WARM);
        ck_assert_int_eq(learn_tier(r, TIER_WARM, 84000), TIER_WARM);
        ck_assert_int_eq(learn_tier(r, TIER_WARM, 83000), TIER_HOT);
        ck_assert_int_eq(learn_tier(r, TIER_WARM, 1190000), TIER_WARM);
        ck_assert_int_eq(learn_tier(r, TIER_WARM, 1210000), TIER_COLD);
        ck_assert_int_eq(learn_tier(r, TIER_COLD, 840000), TIER_COLD);
        ck_assert_int_eq(learn_tier(r, TIER_COLD, 830000), TIER_WARM);
        /* over both at once */
        ck_assert_int_eq(learn_tier(r, TIER_COLD, 1000), TIER_HOT);
        ck_assert_int_eq(learn_tier(r, TIER_HOT, 5000000), TIER_COLD);
        learn_done(&learn);
}
END_TEST

/* A method whose run time lies on a threshold does not go to and fro. */
START_TEST(on_the_threshold) {
        uint64_t state = UNIT_SEED;

        begin();
        for (unsigned n = 0; n < 5000; n++)
                add("m", 85000 + unit_random(&state) % 20000); /* p75 is about 100 ms */
        ck_assert_uint_le(learn_find(&learn, "m")->changes, 1);
        learn_done(&learn);
}
END_TEST

START_TEST(told_once) {
        unsigned told = 0;
        LearnChange c;

        begin();
        for (unsigned n = 0; n < 200; n++) {
                int r = learn_add(&learn, "m", n < 100 ? 1000 : 2000000, false, n, &c);

                if (r == 0)
                        continue;
                ck_assert_int_eq(r, 1);
                if (told++ == 0) {
                        ck_assert_uint_eq(n + 1, config.learn.after);
                        ck_assert_int_eq(c.from, -1);
                        ck_assert_int_eq(c.to, TIER_HOT);
                } else {
                        ck_assert_int_eq(c.from, TIER_HOT);
                        ck_assert_int_eq(c.to, TIER_COLD);
                        ck_assert_uint_eq(c.method->since_usec, n);
                        ck_assert_uint_gt(c.run_usec, 1000000);
                }
        }
        ck_assert_uint_eq(told, 2);
        learn_done(&learn);
}
END_TEST

/* What was cut off took at least so long: it says something where that was not known. */
START_TEST(cut_off) {
        LearnChange c;

        begin();
        for (unsigned n = 0; n < 50; n++)
                (void) learn_add(&learn, "hangs", 5 * USEC_PER_SEC, true, 1, &c);
        ck_assert_uint_ge(learn_find(&learn, "hangs")->samples, 1);
        for (unsigned n = 0; n < 50; n++) {
                add("long", 3 * USEC_PER_SEC);
                (void) learn_add(&learn, "long", 1000, true, 1, &c); /* its client had a deadline */
        }
        ck_assert_uint_eq(learn_find(&learn, "long")->samples, 50);
        ck_assert_int_eq(tier_of("long"), TIER_COLD);
        learn_done(&learn);
}
END_TEST

/* --- bounds --- */

START_TEST(names_that_are_invented_push_nothing_out) {
        char name[32];

        begin();
        for (unsigned n = 0; n < 30; n++)
                add("known", 1000);
        for (unsigned n = 0; n < 100000; n++) {
                snprintf(name, sizeof(name), "invented-%u", n);
                add(name, 5000000);
        }
        ck_assert_uint_eq(learn.n_known, 1);
        ck_assert_uint_eq(learn.n_fresh, LEARN_NEW_MAX);
        ck_assert_uint_eq(learn.methods.n, 1 + LEARN_NEW_MAX);
        ck_assert_int_eq(tier_of("known"), TIER_HOT);
        /* the same with names that were used often enough */
        for (unsigned n = 0; n < 3 * LEARN_METHODS_MAX; n++)
                for (unsigned k = 0; k < config.learn.after; k++) {
                        snprintf(name, sizeof(name), "used-%u", n);
                        add(name, 1000);
                }
        ck_assert_uint_eq(learn.n_known, LEARN_METHODS_MAX);
        ck_assert_uint_le(learn.methods.n, LEARN_METHODS_MAX + LEARN_NEW_MAX);
        ck_assert_int_eq(tier_of("known"), -1); /* the one that was used longest ago */
        ck_assert_int_eq(tier_of(name), TIER_HOT);
        learn_done(&learn);
        ck_assert_uint_eq(learn.n_known + learn.n_fresh, 0);
}
END_TEST

START_TEST(state_comes_back) {
        uint64_t q[3];

        begin();
        for (unsigned n = 0; n < 500; n++) {
                add("a", 1000 + n);
                add("b", 300000 + n * 100);
                if (n < 5)
                        add("new", 10000);
        }
        for (unsigned i = 0; i < 3; i++)
                q[i] = learn_quantile(learn_find(&learn, i == 0 ? "a" : i == 1 ? "b" : "new"), 75);
        json_object *o = learn_serialize(&learn);
        ck_assert_ptr_nonnull(o);
        learn_done(&learn);

        begin();
        ck_assert_int_eq(learn_deserialize(&learn, o), 0);
        json_object_put(o);
        ck_assert_uint_eq(learn.n_known, 2);
        ck_assert_uint_eq(learn.n_fresh, 1);
        ck_assert_int_eq(tier_of("a"), TIER_HOT);
        ck_assert_int_eq(tier_of("b"), TIER_WARM);
        ck_assert_int_eq(tier_of("new"), -1);
        ck_assert_uint_eq(learn_find(&learn, "b")->samples, 500);
        for (unsigned i = 0; i < 3; i++) {
                uint64_t now = learn_quantile(learn_find(&learn, i == 0 ? "a" : i == 1 ? "b" : "new"), 75);

                ck_assert_msg(fabs((double) now - (double) q[i]) <= (double) q[i] / 100 + 1, "%llu became %llu", (unsigned long long) q[i],
                              (unsigned long long) now);
        }
        /* and goes on: as quick to change as before */
        for (unsigned n = 0; n < 60; n++)
                add("a", 5000000);
        ck_assert_int_eq(tier_of("a"), TIER_COLD);
        learn_done(&learn);
}
END_TEST

/* For the store, which takes texts of a limited length: the methods that were used last. */
START_TEST(saved_within_bounds) {
        char name[256];

        begin();
        for (unsigned n = 0; n < 300; n++) {
                memset(name, 'x', sizeof(name) - 1);
                snprintf(name + 200, sizeof(name) - 200, "%u", n);
                for (unsigned k = 0; k < config.learn.after; k++)
                        add(name, 1000 << (k % 20));
        }
        add("fresh", 1);
        json_object *all = learn_save(&learn, SIZE_MAX), *some = learn_save(&learn, 20000);
        ck_assert_uint_eq(json_object_array_length(all), 300);
        ck_assert_uint_lt(json_object_array_length(some), 60);
        ck_assert_uint_gt(json_object_array_length(some), 20);
        ck_assert_uint_le(strlen(json_object_to_json_string_ext(some, JSON_C_TO_STRING_PLAIN)), 20000);
        learn_done(&learn);
        begin();
        ck_assert_int_eq(learn_deserialize(&learn, some), 0);
        ck_assert_uint_eq(learn.n_known, json_object_array_length(some));
        ck_assert_ptr_nonnull(learn_find(&learn, name));
        learn_done(&learn);
        json_object_put(all);
        json_object_put(some);
}
END_TEST

START_TEST(state_that_is_none) {
        static const char *const texts[] = {
                "{}", "[]", "[1,2]", "[{}]", "[{\"method\":1,\"counts\":[]}]", "[{\"method\":\"m\"}]", "[{\"method\":\"m\",\"counts\":[1]}]",
                "[{\"method\":\"m\",\"counts\":[-1,5,9999,5,3,-5,3,99999999999999]}]",
                "[{\"method\":\"m\",\"counts\":[\"a\",\"b\"],\"tier\":77,\"samples\":-4}]",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                json_object *o = json_tokener_parse(texts[i]);

                begin();
                ck_assert_ptr_nonnull(o);
                ck_assert_int_eq(learn_deserialize(&learn, o), 0);
                ck_assert_int_eq(tier_of("m"), -1);
                for (unsigned n = 0; n < 30; n++)
                        add("m", 1000);
                ck_assert_int_eq(tier_of("m"), TIER_HOT);
                learn_done(&learn);
                json_object_put(o);
        }
}
END_TEST

/* --- the heuristic against the oracle --- */

#define METHODS 24
#define RUNS 200 /* of each method, until the heuristic has to be right */

typedef struct Simulated {
        char name[16];
        double median; /* µs */
        Tier tier;     /* the oracle's: short ones hot, medium ones warm, long ones cold */
} Simulated;

static double uniform(uint64_t *state) {
        return (double) (unit_random(state) >> 11) * 0x1p-53;
}

/* Log-normal, with one run in fifty ten times as long. */
static uint64_t run_time(uint64_t *state, double median) {
        double u = uniform(state), v = uniform(state), normal = sqrt(-2 * log(u > 0 ? u : 1e-18)) * cos(2 * M_PI * v);

        return (uint64_t) (median * exp(0.4 * normal) * (unit_random(state) % 50 == 0 ? 10 : 1));
}

static void make_methods(uint64_t *state, Simulated *m) {
        static const struct {
                double min, max;
        } bands[_TIER_MAX] = { [TIER_HOT] = { 10e3, 50e3 }, [TIER_WARM] = { 100e3, 500e3 }, [TIER_COLD] = { 1e6, 3e6 } };

        for (unsigned i = 0; i < METHODS; i++) {
                m[i].tier = (Tier) (i % _TIER_MAX);
                m[i].median = bands[m[i].tier].min + uniform(state) * (bands[m[i].tier].max - bands[m[i].tier].min);
                snprintf(m[i].name, sizeof(m[i].name), "method-%u", i);
        }
}

/* One call: what the heuristic says before it, then its run. Sizes say nothing about run times here. */
static bool call(uint64_t *state, const Simulated *m, uint64_t *clock) {
        RouteQuestion q = { .method = m->name, .payload_size = 1ULL << (unit_random(state) % 24), .learnt = learn_find(&learn, m->name) };
        uint64_t run = run_time(state, m->median);
        RouteStep step;
        LearnChange c;
        Tier t = route_heuristic(&config, &q, &step, NULL, NULL);

        *clock += run;
        ck_assert_int_ge(learn_add(&learn, m->name, run, false, *clock, &c), 0);
        return t == m->tier;
}

static double accuracy(uint64_t *state, const Simulated *m, unsigned calls, uint64_t *clock) {
        unsigned right = 0;

        for (unsigned n = 0; n < calls; n++)
                for (unsigned i = 0; i < METHODS; i++)
                        right += call(state, m + i, clock);
        return right / (double) (calls * METHODS);
}

START_TEST(right_after_200_calls_and_again_100_after_a_change) {
        const char *given = getenv("ROUTE_SEED");
        uint64_t state = given ? strtoull(given, NULL, 0) : UNIT_SEED, clock = 0;
        double worst = 1;

        printf("seed %#llx (ROUTE_SEED= takes another)\n", (unsigned long long) state);
        for (unsigned round = 0; round < 20; round++) {
                Simulated m[METHODS];

                begin();
                make_methods(&state, m);
                double at_first = accuracy(&state, m, config.learn.after, &clock);
                (void) accuracy(&state, m, RUNS - config.learn.after, &clock);
                double then = accuracy(&state, m, 100, &clock);
                ck_assert_msg(then > 0.95, "round %u: %.1f%% are right", round, then * 100);
                worst = then < worst ? then : worst;

                /* two methods change places: one of each of two tiers */
                unsigned a = round % METHODS, b = (a + 1 + round % 2) % METHODS;
                Simulated swap = m[a];
                m[a].median = m[b].median;
                m[a].tier = m[b].tier;
                m[b].median = swap.median;
                m[b].tier = swap.tier;
                for (unsigned n = 0; n < 100; n++) {
                        (void) call(&state, m + a, &clock);
                        (void) call(&state, m + b, &clock);
                }
                ck_assert_int_eq(tier_of(m[a].name), m[a].tier);
                ck_assert_int_eq(tier_of(m[b].name), m[b].tier);
                double after = accuracy(&state, m, 100, &clock);
                ck_assert_msg(after > 0.95, "round %u: %.1f%% are right after the change", round, after * 100);
                if (round == 0)
                        printf("right: %.1f%% of the first %u calls, %.1f%% after %u, %.1f%% after a change\n", at_first * 100, config.learn.after,
                               then * 100, RUNS, after * 100);
                learn_done(&learn);
        }
        printf("the worst of 20 rounds: %.2f%%\n", worst * 100);
}
END_TEST

/* --- steps --- */

static Tier ask(const RouteQuestion *q, RouteStep want) {
        RouteStep step;
        RouteAnswer answers[_ROUTE_STEP_MAX];
        size_t n = 0;
        Tier t = route_heuristic(&config, q, &step, NULL, NULL);

        ck_assert_int_eq(step, want);
        ck_assert_int_eq(route_heuristic(&config, q, &step, answers, &n), t); /* explained or not, it is the same */
        ck_assert_int_eq(step, want);
        ck_assert_uint_eq(n, config.steps.n);
        for (size_t i = 0; i < n; i++) {
                ck_assert_str_ne(answers[i].text, "");
                if (answers[i].tier >= 0) { /* the first that says something decides */
                        ck_assert_int_eq(answers[i].step, want);
                        ck_assert_int_eq(answers[i].tier, t);
                        break;
                }
        }
        return t;
}

START_TEST(the_first_step_that_says_something_decides) {
        LearntMethod *m;

        begin();
        for (unsigned n = 0; n < 30; n++)
                add("m", 300000);
        m = learn_find(&learn, "m");
        RouteQuestion q = { .method = "m", .payload_size = 5 << 20, .weight = 1, .table_entry = "m=cold", .table_tier = TIER_COLD, .learnt = m };
        ck_assert_int_eq(ask(&q, ROUTE_STEP_METHOD), TIER_COLD);
        q.table_entry = NULL;
        ck_assert_int_eq(ask(&q, ROUTE_STEP_WEIGHT), TIER_HOT);
        q.weight = 4;
        ck_assert_int_eq(ask(&q, ROUTE_STEP_WEIGHT), TIER_WARM);
        q.weight = 7;
        ck_assert_int_eq(ask(&q, ROUTE_STEP_WEIGHT), TIER_COLD);
        q.weight = 0;
        ck_assert_int_eq(ask(&q, ROUTE_STEP_LEARNT), TIER_WARM);
        q.learnt = NULL;
        ck_assert_int_eq(ask(&q, ROUTE_STEP_SIZE), TIER_COLD);
        q.payload_size = 100 << 10;
        ck_assert_int_eq(ask(&q, ROUTE_STEP_SIZE), TIER_WARM);
        q.payload_size = 64 << 10;
        ck_assert_int_eq(ask(&q, ROUTE_STEP_SIZE), TIER_HOT);
        /* another order, and steps left out */
        q = (RouteQuestion) { .method = "m", .payload_size = 5 << 20, .weight = 1, .learnt = m };
        ck_assert_int_eq(route_steps_parse("size weight", &config.steps), 0);
        ck_assert_int_eq(ask(&q, ROUTE_STEP_SIZE), TIER_COLD);
        ck_assert_int_eq(route_steps_parse(" method ", &config.steps), 0);
        ck_assert_int_eq(ask(&q, _ROUTE_STEP_MAX), TIER_HOT);
        learn_done(&learn);
}
END_TEST

START_TEST(words) {
        RouteSteps s = { .n = 77 };
        RouteOrder o = { .n = 77 };
        size_t n;

        ck_assert_int_eq(route_steps_parse("", &s), -EINVAL);
        ck_assert_int_eq(route_steps_parse("size size", &s), -EINVAL);
        ck_assert_int_eq(route_steps_parse("size, weight", &s), -EINVAL);
        ck_assert_int_eq(route_steps_parse("a-word-that-is-longer-than-any-step", &s), -EINVAL);
        ck_assert_uint_eq(s.n, 77);
        ck_assert_int_eq(route_order_parse("", &o), -EINVAL);
        ck_assert_int_eq(route_order_parse("hot hot", &o), -EINVAL);
        ck_assert_int_eq(route_order_parse("hot none", &o), -EINVAL);
        ck_assert_uint_eq(o.n, 77);
        ck_assert_int_eq(route_method_tier_parse("a=b=cold", &n), TIER_COLD);
        ck_assert_uint_eq(n, 3);
        ck_assert_int_eq(route_method_tier_parse("=cold", &n), -EINVAL);
        ck_assert_int_eq(route_method_tier_parse("a=lukewarm", &n), -EINVAL);
        ck_assert_int_eq(route_method_tier_parse("a", &n), -EINVAL);
}
END_TEST

static void assert_chain(const char *order, Tier chosen, const char *want) {
        char got[64] = "";
        Tier chain[_TIER_MAX];
        RouteOrder o;

        ck_assert_int_eq(route_order_parse(order, &o), 0);
        size_t n = route_order_chain(&o, chosen, chain);
        for (size_t i = 0; i < n; i++)
                snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i > 0 ? " " : "", tier_to_string(chain[i]));
        ck_assert_str_eq(got, want);
}

/* Also from cold back up. */
START_TEST(order_of_the_tiers) {
        assert_chain("auto", TIER_HOT, "hot warm cold");
        assert_chain("auto", TIER_WARM, "warm cold hot");
        assert_chain("auto", TIER_COLD, "cold warm hot");
        assert_chain("none", TIER_WARM, "warm");
        assert_chain("warm hot", TIER_COLD, "cold warm hot");
        assert_chain("warm hot", TIER_WARM, "warm hot");
        assert_chain("hot", TIER_HOT, "hot");
        assert_chain("cold hot warm", TIER_HOT, "hot cold warm");
}
END_TEST

UNIT_MAIN("route-learn", quantiles, extremes, thresholds_and_hysteresis, on_the_threshold, told_once, cut_off,
          names_that_are_invented_push_nothing_out, state_comes_back, saved_within_bounds, state_that_is_none,
          right_after_200_calls_and_again_100_after_a_change, the_first_step_that_says_something_decides, words, order_of_the_tiers)
