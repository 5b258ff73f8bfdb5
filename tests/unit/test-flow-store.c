/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sessions in the store. After random changes, at any point, what is loaded is the session that is in memory: the same to look at, and the
 * same in what it would do next. FLOW_SEED= repeats a run; the seed is printed.
 */

#include "flow/json.h"
#include "flow/record.h"
#include "flow/view.h"
#include "store-kit.h"
#include "unit.h"

#define START 1000000000000ULL
#define ROUNDS 3U
#define STEPS 150U
#define LOAD_EVERY 10U

typedef struct Loaded {
        FlowThresholds limits;
        FlowIndex index;
        RecordTasks tasks;
        FlowSession *sessions[16];
        size_t n;
        unsigned again;
} Loaded;

static void finish(Loaded *l) {
        unsigned lost;

        if (l->n == 0 || !l->sessions[l->n - 1])
                return;
        ck_assert_int_eq(record_finish(l->sessions[l->n - 1], &l->tasks, &lost), 0);
        ck_assert_uint_eq(lost, 0);
        record_tasks_done(&l->tasks);
}

static int on_session(FlowSessionRow *r, void *userdata) {
        Loaded *l = userdata;

        finish(l);
        ck_assert_uint_lt(l->n, ELEMENTSOF(l->sessions));
        ck_assert_int_eq(record_session(r, &l->limits, &l->index, &l->sessions[l->n]), 0);
        l->n++;
        return 0;
}

static int on_task(FlowTaskRow *r, void *userdata) {
        Loaded *l = userdata;

        ck_assert_int_eq(record_task(&l->tasks, r), 0);
        return 0;
}

static int on_entry(FlowEntryRow *r, void *userdata) {
        Loaded *l = userdata;

        ck_assert_int_eq(record_entry(l->sessions[l->n - 1], r), 0);
        return 0;
}

static void on_again(void *userdata) {
        Loaded *l = userdata;

        l->again++;
        record_tasks_done(&l->tasks);
        while (l->n > 0)
                flow_session_free(l->sessions[--l->n]);
}

static void load(Kit *k, Loaded *l) {
        static const FlowSink sink = { on_session, on_task, on_entry, on_again };

        *l = (Loaded) {};
        flow_thresholds_default(&l->limits);
        flow_index_init(&l->index);
        ck_assert_int_eq(store_load_flow(k->store, &sink, l), 1);
        finish(l);
}

static void unload(Loaded *l) {
        record_tasks_done(&l->tasks);
        while (l->n > 0)
                flow_session_free(l->sessions[--l->n]);
        flow_index_done(&l->index);
}

static void write_change(Kit *k, FlowChange *c, int expected) {
        StoreRequest *r = kit_request(STORE_OP_FLOW);

        r->flow = c;
        ck_assert_int_eq(kit_result(k, r), expected);
}

static void save(Kit *k, FlowSession *s, bool whole) {
        FlowChange *c;

        ck_assert_int_eq(record_change(s, whole, &c), 0);
        if (c)
                write_change(k, c, 0);
}

/* To look at, and in what it would do next. */
static void expect_same(FlowSession *a, FlowSession *b, uint64_t seed) {
        json_object *x = view_session_whole(a, true, true, FLOW_LOG_MAX), *y = view_session_whole(b, true, true, FLOW_LOG_MAX);
        char p[DETECTOR_TEXT_MAX], q[DETECTOR_TEXT_MAX];
        const FlowTask *t, *w;

        json_object_object_del(x, "revision");
        json_object_object_del(y, "revision");
        if (!json_object_equal(x, y)) {
                const char *u = json_plain(x), *v = json_plain(y);
                size_t i = 0;

                while (u[i] && u[i] == v[i])
                        i++;
                i = i > 200 ? i - 200 : 0;
                ck_abort_msg("seed %llu: %.400s IS NOT %.400s", (unsigned long long) seed, u + i, v + i);
        }
        json_object_put(x);
        json_object_put(y);
        for (List *l = a->tasks.next, *m = b->tasks.next; l != &a->tasks; l = l->next, m = m->next) {
                const FlowTask *o = list_entry(l, FlowTask, link), *loaded = list_entry(m, FlowTask, link);

                ck_assert_uint_eq(o->seq, loaded->seq);
                ck_assert_uint_eq(o->stalls, loaded->stalls);
                ck_assert(o->finished == loaded->finished && o->umbrella == loaded->umbrella);
                ck_assert(o->refused == loaded->refused && o->own_policy == loaded->own_policy);
                ck_assert_uint_eq(o->result_size, loaded->result_size);
                ck_assert_uint_eq(o->job_id, loaded->job_id);
        }
        detector_format(&a->detector, p);
        detector_format(&b->detector, q);
        ck_assert_str_eq(p, q);
        ck_assert_uint_eq(a->n_ready, b->n_ready);
        ck_assert_uint_eq(a->load, b->load);
        ck_assert_uint_eq(a->weighted, b->weighted);
        ck_assert_uint_eq(a->next_seq, b->next_seq);
        ck_assert_uint_eq(a->next_entry, b->next_entry);
        ck_assert_uint_eq(flow_session_next(a), flow_session_next(b));
        t = balance_pick(a), w = balance_pick(b);
        ck_assert_str_eq(t ? t->id : "", w ? w->id : "");
        t = balance_excess(a), w = balance_excess(b);
        ck_assert_str_eq(t ? t->id : "", w ? w->id : "");
}

static FlowTask *any(FlowSession *s, uint64_t *random) {
        char id[32];

        snprintf(id, sizeof(id), "t%u", 1 + (unsigned) (unit_random(random) % (s->n_tasks + 1)));
        return flow_session_find(s, id);
}

static void random_add(FlowSession *s, uint64_t *random, uint64_t now) {
        FlowTask *needs[3], *t;
        FlowTaskSpec spec = {
                .description = "a \"task\"\n", .weight = 1 + (unsigned) (unit_random(random) % 10), .priority = (FlowPriority) (unit_random(random) % 3),
                .policy = (FlowPolicy) (unit_random(random) % 3), .own_policy = unit_random(random) % 2 > 0, .needs = needs,
                .notes = unit_random(random) % 2 ? "notes" : NULL, .context = unit_random(random) % 2 ? "{\"a\": [1, 2]}" : NULL,
        };
        char *why = NULL;

        for (unsigned n = (unsigned) (unit_random(random) % 4); n > 0; n--)
                if ((t = any(s, random)))
                        needs[spec.n_needs++] = t;
        if (unit_random(random) % 3 == 0) {
                spec.work = new0(FlowWork, 1);
                spec.work->payload = strdup("${task.t1.result}");
                spec.work->payload_size = strlen(spec.work->payload);
                spec.work->retries = -1;
        }
        ck_assert_msg(flow_session_add(s, &spec, now, &t, &why) == 0, "%s", why);
}

static void random_step(FlowSession *s, uint64_t *random, uint64_t now) {
        FlowTask *t = any(s, random), *on = any(s, random);
        char *why = NULL;

        if (!t || !on || unit_random(random) % 3 == 0) {
                random_add(s, random, now);
                return;
        }
        switch (unit_random(random) % 9) {
        case 0: (void) flow_session_pulse(s, t, -1, now, &why); break;
        case 1: (void) flow_session_pulse(s, t, 3000, now, &why); break;
        case 2:
                if (flow_session_complete(s, t, now, &why) == 0 && t->work) {
                        t->result = strdup("a result");
                        t->result_size = strlen(t->result);
                        t->result_kept = true;
                }
                break;
        case 3: (void) flow_session_fail(s, t, "it broke", now, &why); break;
        case 4: (void) flow_session_depend(s, t, on, now, &why); break;
        case 5: flow_session_progress(s, t, (unsigned) (unit_random(random) % 10000), now); break;
        case 6: (void) flow_session_block(s, t, "asks", now, &why); break;
        case 7: (void) flow_session_wake_task(s, t, now, &why); break;
        default:
                if (s->rest_mode)
                        flow_session_wake(s, now);
                else
                        flow_session_rest(s, unit_random(random) % 2 ? USEC_INFINITY : now + 100 * USEC_PER_SEC, now);
        }
        (void) flow_session_log(s, t, "did something", unit_random(random) % 2 ? "of interest" : NULL, now);
        free(why);
}

START_TEST(what_is_loaded_is_what_was_there) {
        const char *given = getenv("FLOW_SEED");
        uint64_t base = given ? strtoull(given, NULL, 0) : UNIT_SEED ^ now_usec();
        Kit k;

        printf("FLOW_SEED=%llu\n", (unsigned long long) base);
        fflush(stdout);
        for (unsigned round = 0; round < ROUNDS; round++) {
                uint64_t random = (base + round * 0x9e3779b97f4a7c15ULL) | 1, now = START;
                FlowThresholds limits;
                FlowIndex index;
                FlowSession *s;

                kit_init(&k);
                kit_open(&k);
                flow_thresholds_default(&limits);
                flow_index_init(&index);
                ck_assert_int_eq(flow_session_new("s", 1000, &limits, &index, now, &s), 0);
                s->number = 7;
                save(&k, s, true);
                for (unsigned i = 0; i < STEPS; i++) {
                        Loaded l;

                        now += unit_random(&random) % (30 * USEC_PER_SEC);
                        random_step(s, &random, now);
                        flow_session_settle(s, now);
                        save(&k, s, unit_random(&random) % 40 == 0);
                        if (i % LOAD_EVERY > 0)
                                continue;
                        load(&k, &l);
                        ck_assert_uint_eq(l.n, 1);
                        ck_assert_uint_eq(l.sessions[0]->revision, s->revision);
                        expect_same(s, l.sessions[0], base);
                        /* and it goes on the same way */
                        flow_session_settle(l.sessions[0], now + USEC_PER_SEC);
                        flow_session_settle(s, now + USEC_PER_SEC);
                        expect_same(s, l.sessions[0], base);
                        save(&k, s, false);
                        unload(&l);
                }
                flow_session_free(s);
                flow_index_done(&index);
                kit_done(&k);
        }
}
END_TEST

static void make(FlowSession **ret, uint64_t number, const char *id, FlowThresholds *limits, FlowIndex *index) {
        ck_assert_int_eq(flow_session_new(id, 1000, limits, index, START, ret), 0);
        (*ret)->number = number;
}

START_TEST(a_change_is_of_the_revision_that_it_names) {
        FlowThresholds limits;
        FlowIndex index;
        FlowSession *s, *other;
        FlowChange *c, *gone;
        Loaded l;
        Kit k;

        kit_init(&k);
        kit_open(&k);
        flow_thresholds_default(&limits);
        flow_index_init(&index);
        make(&s, 1, "s", &limits, &index);
        make(&other, 2, "other", &limits, &index);
        save(&k, s, true);
        save(&k, other, true);
        ck_assert_int_eq(flow_session_log(s, NULL, "one", NULL, START), 0);
        ck_assert_int_eq(record_change(s, false, &c), 0);
        c->base += 5;
        write_change(&k, c, -ESTALE); /* nothing of it has happened */
        load(&k, &l);
        ck_assert_uint_eq(l.n, 2);
        ck_assert_uint_eq(l.sessions[0]->n_log, 0);
        unload(&l);
        save(&k, s, true); /* the whole is what helps */
        load(&k, &l);
        expect_same(s, l.sessions[0], 0);
        unload(&l);
        /* of two sessions: both or none */
        ck_assert_int_eq(flow_session_log(s, NULL, "two", NULL, START), 0);
        ck_assert_int_eq(record_change(s, false, &c), 0);
        ck_assert_int_eq(record_gone(other, &gone), 0);
        c->base += 5;
        gone->next = c;
        write_change(&k, gone, -ESTALE);
        load(&k, &l);
        ck_assert_uint_eq(l.n, 2);
        unload(&l);
        ck_assert_int_eq(flow_session_log(s, NULL, "three", NULL, START), 0);
        ck_assert_int_eq(record_change(s, true, &c), 0);
        ck_assert_int_eq(record_gone(other, &c->next), 0);
        write_change(&k, c, 0);
        load(&k, &l);
        ck_assert_uint_eq(l.n, 1);
        ck_assert_uint_eq(l.sessions[0]->n_log, 3);
        unload(&l);
        flow_session_free(s);
        flow_session_free(other);
        flow_index_done(&index);
        kit_done(&k);
}
END_TEST

START_TEST(a_long_work_log_is_cut_at_its_beginning) {
        FlowThresholds limits;
        FlowIndex index;
        FlowSession *s;
        Loaded l;
        Kit k;

        kit_init(&k);
        kit_open(&k);
        flow_thresholds_default(&limits);
        flow_index_init(&index);
        make(&s, 1, "s", &limits, &index);
        save(&k, s, true);
        for (unsigned i = 0; i < FLOW_LOG_MAX + 300; i++) {
                ck_assert_int_eq(flow_session_log(s, NULL, "something", NULL, START + i), 0);
                if (i % 70 == 0)
                        save(&k, s, false);
        }
        save(&k, s, false);
        load(&k, &l);
        ck_assert_uint_eq(l.sessions[0]->n_log, FLOW_LOG_MAX);
        expect_same(s, l.sessions[0], 0);
        unload(&l);
        flow_session_free(s);
        flow_index_done(&index);
        kit_done(&k);
}
END_TEST

START_TEST(sessions_survive_a_salvage) {
        FlowThresholds limits;
        FlowIndex index;
        FlowSession *s;
        uint64_t random = UNIT_SEED;
        FlowChange *c;
        Loaded l;
        Kit k;

        kit_init(&k);
        kit_open(&k);
        flow_thresholds_default(&limits);
        flow_index_init(&index);
        make(&s, 3, "s", &limits, &index);
        for (unsigned i = 0; i < 200; i++)
                random_step(s, &random, START + i);
        save(&k, s, true);
        kit_close(&k);
        kit_sql(k.path, "DROP TABLE keys");
        kit_open(&k);
        ck_assert_int_eq(store_health(k.store), STORE_DAMAGED);
        load(&k, &l);
        ck_assert_uint_eq(l.n, 1);
        expect_same(s, l.sessions[0], 0);
        /* One that was loaded from it is of its revision; one that was in memory all the time is not, and is written whole. */
        ck_assert_int_eq(flow_session_log(l.sessions[0], NULL, "loaded", NULL, START), 0);
        save(&k, l.sessions[0], false);
        unload(&l);
        ck_assert_int_eq(flow_session_log(s, NULL, "in memory", NULL, START), 0);
        ck_assert_int_eq(record_change(s, false, &c), 0);
        write_change(&k, c, -ESTALE);
        save(&k, s, true);
        load(&k, &l);
        expect_same(s, l.sessions[0], 0);
        unload(&l);
        flow_session_free(s);
        flow_index_done(&index);
        kit_done(&k);
}
END_TEST

START_TEST(rows_that_cannot_be_are_refused) {
        static const char *const tasks[][2] = {
                { "", "{}" }, { "[]", "{}" }, { "{}", "{}" }, { "{\"id\":\"a\",\"description\":\"b\",\"weight\":11}", "{}" },
                { "{\"id\":\"a b\",\"description\":\"b\",\"weight\":1}", "{}" }, { "{\"id\":\"a\",\"description\":\"b\",\"weight\":1}", "{\"state\":8}" },
                { "{\"id\":\"a\",\"description\":\"b\",\"weight\":1}", "{\"momentum\":10001}" },
                { "{\"id\":\"a\",\"description\":\"b\",\"weight\":1,\"work\":{}}", "{}" },
        };
        FlowThresholds limits;
        FlowIndex index;
        FlowSession *s;

        flow_thresholds_default(&limits);
        flow_index_init(&index);
        for (size_t i = 0; i < ELEMENTSOF(tasks); i++) {
                RecordTasks all = {};
                FlowTaskRow r = { .session = 1, .seq = 1, .body = strdup(tasks[i][0]), .moving = strdup(tasks[i][1]) };

                ck_assert_msg(record_task(&all, &r) == -EBADMSG, "%s", tasks[i][0]);
                flow_task_row_done(&r);
                record_tasks_done(&all);
        }
        FlowSessionRow bad[] = {
                { 1, 1, (char *) "{\"id\":\"a\"}", (char *) "{}" }, { 1, 1, (char *) "{\"id\":\"\"}", (char *) "{\"detector\":\"0 1 1 0 0\"}" },
                { 1, 1, (char *) "{\"id\":\"a\",\"policy\":3}", (char *) "{\"detector\":\"0 1 1 0 0\"}" },
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ck_assert_int_eq(record_session(&bad[i], &limits, &index, &s), -EBADMSG);
        flow_index_done(&index);
}
END_TEST

UNIT_MAIN("flow-store", what_is_loaded_is_what_was_there, a_change_is_of_the_revision_that_it_names, a_long_work_log_is_cut_at_its_beginning,
          sessions_survive_a_salvage, rows_that_cannot_be_are_refused)
