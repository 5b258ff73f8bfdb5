/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which pools may take a job, and which of them gets it: real pools without workers. */

#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "route/route.h"
#include "unit.h"

static Host host;
static JobTable jobs;
static List pools;
static Map by_name;
static Router router;
static char names[1100][32];
static unsigned n_names;

static Pool *add_pool(const char *name, Tier tier, const char *type, const char *methods) {
        PoolConfig *c = pool_config_new(name);
        Pool *p;

        snprintf(names[n_names], sizeof(names[0]), "%s", name);
        c->type = worker_type_new(type);
        c->tier = tier;
        c->max = 2;
        if (methods)
                ck_assert_int_eq(str_split_quoted(methods, &c->methods), 0);
        ck_assert_int_eq(pool_new(&host, &jobs, c, names[n_names++], &p), 0);
        pool_config_unref(c);
        p->state = POOL_RUNNING;
        list_append(&pools, &p->link);
        ck_assert_int_eq(map_add_name(&by_name, &p->by_name, p->name), 0);
        route_pools_changed(&router);
        return p;
}

static void begin(void) {
        host = (Host) {};
        list_init(&pools);
        map_init(&by_name, 1);
        job_table_init(&jobs, &host);
        route_init(&router, &host, &jobs, &pools, &by_name);
        router.seed = UNIT_SEED;
        n_names = 0;
}

static void end(void) {
        List *n;

        route_done(&router);
        while ((n = list_first(&pools))) {
                Pool *p = list_entry(n, Pool, link);

                p->state = POOL_CLOSING;
                map_remove(&by_name, &p->by_name);
                pool_free(p);
        }
        map_done(&by_name);
        job_table_done(&jobs);
}

static const char *found(const char *type, const char *method) {
        static char text[256];
        const RouteMemo *m;

        ck_assert_int_eq(route_index_find(&router.index, type, method, &m), 0);
        text[0] = 0;
        for (int t = 0; t < _TIER_MAX; t++)
                for (unsigned i = 0; i < m->set->n[t]; i++)
                        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", text[0] ? " " : "", m->set->pools[t][i]->name);
        return text;
}

START_TEST(globs) {
        static const struct {
                const char *pattern, *s;
                bool match;
        } cases[] = {
                { "*", "", true }, { "*", "abc", true }, { "a*", "abc", true }, { "*c", "abc", true }, { "a*c", "abc", true }, { "a*c", "ac", true },
                { "a?c", "abc", true }, { "a?c", "ac", false }, { "abc", "abcd", false }, { "abcd", "abc", false }, { "*b", "abc", false },
                { "a**c", "abbc", true }, { "*a*b*", "xxaxxbxx", true }, { "*a*b*", "xxbxxaxx", false }, { "", "", true }, { "", "a", false },
                { "?", "", false }, { "img.*", "img.", true }, { "img.*", "img", false }, { "*.*.*", "a.b", false }, { "[a]", "a", false },
        };
        char name[256], pattern[] = "*a*a*a*a*a*a*a*a*a*a*a*b";

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                ck_assert_msg(route_glob_match(cases[i].pattern, cases[i].s) == cases[i].match, "'%s' and '%s'", cases[i].pattern, cases[i].s);
        memset(name, 'a', sizeof(name) - 1); /* where a matcher that tries everything would never end */
        name[sizeof(name) - 1] = 0;
        ck_assert(!route_glob_match(pattern, name));
}
END_TEST

START_TEST(by_method_and_type) {
        begin();
        add_pool("any", TIER_HOT, "t", NULL);
        add_pool("images", TIER_WARM, "t", "img.* resize");
        add_pool("resizer", TIER_COLD, "u", "resize");
        add_pool("crop", TIER_HOT, "u", "img.crop img.c*");
        ck_assert_str_eq(found(NULL, NULL), "any");
        ck_assert_str_eq(found(NULL, "other"), "any");
        ck_assert_str_eq(found(NULL, ""), "any");
        ck_assert_str_eq(found(NULL, "resize"), "images resizer");
        ck_assert_str_eq(found(NULL, "img.crop"), "crop images");
        ck_assert_str_eq(found(NULL, "img.flip"), "images");
        ck_assert_str_eq(found("u", "resize"), "resizer");
        ck_assert_str_eq(found("t", "img.flip"), "images");
        ck_assert_str_eq(found("t", NULL), "any");
        ck_assert_str_eq(found("t", "other"), "any");
        ck_assert_str_eq(found("u", "other"), ""); /* both declare others */
        ck_assert_str_eq(found("none", NULL), "");
        /* "*" is a declaration, and jobs without a method are welcome too */
        add_pool("all", TIER_COLD, "u", "*");
        ck_assert_str_eq(found(NULL, NULL), "any all");
        ck_assert_str_eq(found(NULL, "other"), "all");
        ck_assert_str_eq(found("u", NULL), "all");
        end();
}
END_TEST

START_TEST(the_memo_is_bounded) {
        char name[32];

        begin();
        Pool *p = add_pool("any", TIER_HOT, "t", NULL);
        add_pool("globbed", TIER_HOT, "t", "x*");
        for (unsigned n = 0; n < 5000; n++) {
                snprintf(name, sizeof(name), "%c%u", n % 2 ? 'x' : 'y', n);
                ck_assert_str_eq(found(NULL, name), n % 2 ? "globbed" : "any");
                ck_assert_uint_le(router.index.n_memo, ROUTE_MEMO_MAX);
        }
        ck_assert_uint_eq(router.index.n_memo, ROUTE_MEMO_MAX);
        ck_assert_uint_eq(router.index.memo.n, ROUTE_MEMO_MAX);
        /* a pool that goes is in none of them any more */
        map_remove(&by_name, &p->by_name);
        list_remove(&p->link);
        p->state = POOL_CLOSING;
        route_pools_changed(&router);
        pool_free(p);
        ck_assert_uint_eq(router.index.n_memo, 0);
        ck_assert_str_eq(found(NULL, "y4998"), "");
        end();
}
END_TEST

START_TEST(table_of_methods) {
        RouteConfig c;
        const RouteMemo *m;

        begin();
        add_pool("any", TIER_HOT, "t", NULL);
        route_config_init(&c);
        ck_assert_int_eq(str_split_quoted("img.*=warm *=cold img.crop=hot", &c.method_tiers), 0);
        ck_assert_int_eq(route_configure(&router, &c), 0);
        strv_free(c.method_tiers);
        ck_assert_int_eq(route_index_find(&router.index, NULL, "img.crop", &m), 0);
        ck_assert_int_eq(m->table_tier, TIER_HOT); /* its own name goes before patterns */
        ck_assert_int_eq(route_index_find(&router.index, NULL, "img.flip", &m), 0);
        ck_assert_int_eq(m->table_tier, TIER_WARM); /* and of these the first */
        ck_assert_str_eq(m->table_entry, "img.*=warm");
        ck_assert_int_eq(route_index_find(&router.index, NULL, "x", &m), 0);
        ck_assert_int_eq(m->table_tier, TIER_COLD);
        end();
}
END_TEST

/* --- decisions --- */

static json_object *explain(const RouteRequest *q) {
        _cleanup_free_ char *why = NULL;
        json_object *o = NULL;

        ck_assert_msg(route_explain(&router, q, &o, &why) == 0, "%s", why);
        return o;
}

static const char *chosen(const RouteRequest *q) {
        static char name[64];
        json_object *o = explain(q), *v;

        snprintf(name, sizeof(name), "%s", json_object_object_get_ex(o, "pool", &v) ? json_object_get_string(v) : "none");
        json_object_put(o);
        return name;
}

/* Routing asks for no memory: neither for a pool that is named, nor for what was asked before. */
static unsigned allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size) {
        allocations++;
        return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size) {
        allocations++;
        return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size) {
        allocations++;
        return __real_realloc(p, size);
}

START_TEST(no_memory_on_the_common_path) {
        static const RouteRequest common[] = {
                { .pool = "a" }, { .pool = "b", .session = "s" }, {}, { .tier = "warm" }, { .method = "m" }, { .method = "x1" }, { .worker_type = "t" },
                { .session = "s" }, { .strategy = "random" }, { .weight = 9 },
        };

        begin();
        add_pool("a", TIER_HOT, "t", NULL);
        add_pool("b", TIER_WARM, "t", NULL);
        add_pool("c", TIER_COLD, "t", "x* m");
        for (size_t i = 0; i < ELEMENTSOF(common); i++)
                for (unsigned round = 0; round < 2; round++) {
                        RouteAffinity affinity = ROUTE_AFFINITY_NONE;
                        RouteDecision d = {};
                        bool ok = true;
                        char *why;

                        allocations = 0; /* check's own macros make some, too */
                        int r = route_decide(&router, common + i, &d, NULL, NULL, &why);
                        if (r >= 0)
                                r = route_ensure_room(&router);
                        for (size_t k = 0; r >= 0 && !d.named && k < d.n_chain; k++)
                                ok = ok && route_choose_pool(&router, &d, common + i, d.chain[k], d.memo->set->turns + d.chain[k], &router.seed, &affinity);
                        unsigned n = allocations;
                        ck_assert_int_eq(r, 0);
                        ck_assert(ok);
                        ck_assert_msg(n == 0 || (round == 0 && !common[i].pool), "%zu: %u allocations", i, n);
                }
        end();
}
END_TEST

static void down(Pool *p) {
        p->state = POOL_FAILED;
}

START_TEST(fallback) {
        begin();
        Pool *hot = add_pool("hot", TIER_HOT, "t", NULL), *warm = add_pool("warm", TIER_WARM, "t", NULL), *cold = add_pool("cold", TIER_COLD, "t", NULL);
        ck_assert_str_eq(chosen(&(RouteRequest) {}), "hot");
        ck_assert_str_eq(chosen(&(RouteRequest) { .tier = "cold" }), "cold");
        down(cold);
        ck_assert_str_eq(chosen(&(RouteRequest) { .tier = "cold" }), "warm"); /* back up */
        ck_assert_str_eq(chosen(&(RouteRequest) { .tier = "cold", .fallback = "hot" }), "hot");
        ck_assert_str_eq(chosen(&(RouteRequest) { .tier = "cold", .fallback = "none" }), "none");
        warm->queued_bytes = warm->config->queue_bytes_max + 1; /* full */
        ck_assert_str_eq(chosen(&(RouteRequest) { .tier = "warm" }), "hot");
        hot->state = POOL_STOPPED;
        ck_assert_str_eq(chosen(&(RouteRequest) { .tier = "warm" }), "none");
        ck_assert_str_eq(chosen(&(RouteRequest) { .pool = "hot" }), "hot"); /* a job that names it waits there */
        ck_assert_str_eq(chosen(&(RouteRequest) { .pool = "cold" }), "none");
        warm->queued_bytes = 0;
        /* a wish, as opposed to a name */
        ck_assert_str_eq(chosen(&(RouteRequest) { .pool = "cold", .strategy = "affinity" }), "warm");
        ck_assert_str_eq(chosen(&(RouteRequest) { .pool = "nowhere", .strategy = "affinity" }), "warm");
        warm->queued_bytes = 0;
        end();
}
END_TEST

START_TEST(sessions_stay) {
        begin();
        for (unsigned i = 0; i < 6; i++) {
                char name[16];

                snprintf(name, sizeof(name), "w%u", i);
                add_pool(name, i < 3 ? TIER_WARM : TIER_COLD, "t", NULL);
        }
        route_session_note(&router.sessions, 0, "s", TIER_WARM, "w1");
        route_session_note(&router.sessions, 0, "s", TIER_COLD, "w5");
        Pool *w1 = map_get_name(&by_name, "w1", Pool, by_name);
        w1->n_running = 2; /* the busiest one: but the session was there */
        ck_assert_str_eq(chosen(&(RouteRequest) { .session = "s", .tier = "warm" }), "w1");
        ck_assert_str_eq(chosen(&(RouteRequest) { .session = "s", .tier = "cold" }), "w5"); /* a home in each tier */
        ck_assert_str_eq(chosen(&(RouteRequest) { .session = "s", .tier = "warm", .strategy = "least_loaded" }), "w0"); /* its own word counts */
        ck_assert_str_eq(chosen(&(RouteRequest) { .session = "s", .tier = "warm", .uid = 1 }), "w0"); /* that is somebody else's */
        /* across execve() */
        json_object *state = route_state_serialize(&router);
        ck_assert_ptr_nonnull(state);
        route_sessions_done(&router.sessions);
        route_sessions_init(&router.sessions, 1);
        ck_assert_int_eq(route_state_deserialize(&router, state), 0);
        ck_assert_str_eq(chosen(&(RouteRequest) { .session = "s", .tier = "warm" }), "w1");
        ck_assert_str_eq(chosen(&(RouteRequest) { .session = "s", .tier = "cold" }), "w5");
        json_object_put(state);
        down(w1);
        ck_assert_str_eq(chosen(&(RouteRequest) { .session = "s", .tier = "warm" }), "w0");
        w1->state = POOL_RUNNING;
        w1->n_running = 0;
        /* they are bounded, and the last used ones are kept */
        for (unsigned n = 0; n < ROUTE_SESSIONS_MAX; n++) {
                char name[16];

                snprintf(name, sizeof(name), "s%u", n);
                route_session_note(&router.sessions, 0, name, TIER_WARM, "w2");
        }
        ck_assert_uint_eq(router.sessions.n, ROUTE_SESSIONS_MAX);
        ck_assert_uint_eq(router.sessions.by_key.n, ROUTE_SESSIONS_MAX);
        ck_assert_ptr_null(route_session_pool(&router.sessions, 0, "s", TIER_WARM));
        ck_assert_str_eq(route_session_pool(&router.sessions, 0, "s0", TIER_WARM), "w2");
        end();
}
END_TEST

/* Asking changes nothing: the same question has the same answer, for every strategy. */
START_TEST(explaining_changes_nothing) {
        begin();
        for (unsigned i = 0; i < 5; i++) {
                char name[16];

                snprintf(name, sizeof(name), "p%u", i);
                add_pool(name, TIER_HOT, "t", NULL);
        }
        for (int s = 0; s < _ROUTE_STRATEGY_MAX; s++) {
                RouteRequest q = { .strategy = route_strategy_to_string((RouteStrategy) s), .session = "x" };
                char first[64];

                snprintf(first, sizeof(first), "%s", chosen(&q));
                for (unsigned n = 0; n < 10; n++)
                        ck_assert_str_eq(chosen(&q), first);
        }
        ck_assert_uint_eq(router.tiers[TIER_HOT].routed, 0);
        ck_assert_uint_eq(router.sessions.n, 0);
        end();
}
END_TEST

START_TEST(refused_words) {
        static const RouteRequest bad[] = {
                { .tier = "tepid" }, { .strategy = "best" }, { .fallback = "hot hot" }, { .weight = 11 }, { .pool = "none" }, { .worker_type = "none" },
                { .pool = "p", .worker_type = "none" },
                { .worker_type = "a-name-that-is-longer-than-any-worker-type-is-allowed-to-be-in-this-house-or-any" },
        };

        begin();
        add_pool("p", TIER_HOT, "t", NULL);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_free_ char *why = NULL;
                json_object *o = NULL;
                int r = route_explain(&router, bad + i, &o, &why);

                ck_assert_msg(r == (i < 4 ? -EINVAL : -ENOENT), "%zu: %d", i, r);
                ck_assert_ptr_nonnull(why);
        }
        end();
}
END_TEST

UNIT_MAIN("route-index", no_memory_on_the_common_path, globs, by_method_and_type, the_memo_is_bounded, table_of_methods, fallback, sessions_stay,
          explaining_changes_nothing, refused_words)
