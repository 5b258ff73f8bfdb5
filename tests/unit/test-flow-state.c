/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The detector of the flow state against written scenarios: a line of letters is what happens, the digits between them move the clock, and the state
 * that is expected stands behind each step.
 *
 *   p a pulse that gains 10 %     P one that gains 30 %     s one that gains 2 %      z one that gains nothing    b one that falls back
 *   c a completion                r rest mode on            w rest mode off           . only time passes
 */

#include <errno.h>
#include <stdio.h>

#include "flow/momentum.h"
#include "unit.h"

#define START 1000000000000ULL
#define MINUTE (60 * USEC_PER_SEC)

typedef struct Step {
        const char *events;
        unsigned minutes;     /* after each event */
        FlowState expected;   /* after the last of them */
} Step;

typedef struct Scenario {
        const char *name;
        unsigned load, momentum; /* of a capacity that is that of the state; the momentum of what is active */
        bool busy;
        unsigned changes;        /* of state, at most: no flapping */
        Step steps[10];
} Scenario;

static const Scenario scenarios[] = {
        { "a calm start", 10, 1500, false, 1, { { "p", 1, FLOW_WARMING }, { "p", 1, FLOW_WARMING }, { "p", 1, FLOW_WARMING }, { "pc", 1, FLOW_WARMING },
                                                { "p", 1, FLOW_FLOWING } } },
        { "steady work", 20, 4000, false, 1, { { "ppp", 1, FLOW_WARMING }, { "p", 1, FLOW_FLOWING }, { "pppppppppppppppp", 1, FLOW_FLOWING } } },
        { "a burst", 28, 4000, false, 2, { { "pppp", 1, FLOW_FLOWING }, { "ccc", 0, FLOW_FLOWING }, { "c", 0, FLOW_SURGING }, { "ccccc", 0, FLOW_SURGING } } },
        { "a burst that ebbs away", 28, 4000, false, 3, { { "ppppcccc", 0, FLOW_SURGING }, { "pp", 3, FLOW_SURGING }, { "pppp", 3, FLOW_FLOWING } } },
        { "completions without load", 5, 4000, false, 1, { { "ppppcccccc", 0, FLOW_FLOWING } } },
        { "a stall", 20, 4000, false, 2, { { "pppp", 1, FLOW_FLOWING }, { "zz", 1, FLOW_FLOWING }, { "z", 1, FLOW_WANING }, { "zzz", 1, FLOW_WANING } } },
        { "a stall that is overcome", 20, 4000, false, 3, { { "ppppzzzz", 1, FLOW_WANING }, { "p", 1, FLOW_WANING }, { "pp", 1, FLOW_FLOWING } } },
        { "setbacks are no gain", 20, 4000, false, 2, { { "pppp", 1, FLOW_FLOWING }, { "bbbb", 1, FLOW_WANING } } },
        { "gains that grow small", 20, 4000, false, 2, { { "PPPP", 1, FLOW_FLOWING }, { "ss", 1, FLOW_FLOWING }, { "sss", 1, FLOW_WANING } } },
        { "oscillation", 20, 4000, false, 1, { { "pppp", 1, FLOW_FLOWING }, { "zpzpzpzpzpzpzpzp", 1, FLOW_FLOWING }, { "zzpzzpzzpzzp", 1, FLOW_FLOWING } } },
        { "at the edge of a surge", 25, 4000, false, 2, { { "ppppcccc", 0, FLOW_SURGING }, { "pc", 4, FLOW_SURGING }, { "pc", 4, FLOW_SURGING },
                                                          { "pc", 4, FLOW_SURGING }, { "pc", 4, FLOW_SURGING } } },
        { "a lunch break", 20, 4000, false, 5, { { "pppp", 1, FLOW_FLOWING }, { ".", 8, FLOW_FLOWING }, { ".", 2, FLOW_WANING }, { ".", 18, FLOW_WANING },
                                                 { ".", 3, FLOW_RESTING }, { "p", 0, FLOW_WARMING }, { "pppp", 1, FLOW_FLOWING } } },
        { "nothing active, nobody there", 0, 0, false, 3, { { "cccc", 0, FLOW_FLOWING }, { ".", 20, FLOW_WARMING }, { ".", 11, FLOW_RESTING } } },
        { "a long job is no idleness", 20, 4000, true, 2, { { "pppp", 1, FLOW_FLOWING }, { ".", 9, FLOW_FLOWING }, { ".", 45, FLOW_WARMING },
                                                            { "c", 0, FLOW_WARMING } } },
        { "rest mode", 20, 4000, false, 3, { { "pppp", 1, FLOW_FLOWING }, { "r", 0, FLOW_RESTING }, { "pcpc", 1, FLOW_RESTING }, { ".", 300, FLOW_RESTING },
                                             { "w", 0, FLOW_WARMING }, { "pc", 1, FLOW_WARMING } } },
        { "narrow beginnings", 10, 500, false, 0, { { "pppppppppp", 1, FLOW_WARMING } } },
};

typedef struct Play {
        FlowDetector d;
        FlowSituation s;
        FlowThresholds t;
        uint64_t now;
        unsigned changes;
} Play;

static void judge(Play *p, bool event) {
        p->s.capacity = p->t.capacity[p->d.state];
        p->changes += detector_judge(&p->d, &p->s, &p->t, event, p->now);
}

static void play(Play *p, char what, unsigned minutes) {
        switch (what) {
        case 'p': detector_pulse(&p->d, 1000, p->now); break;
        case 'P': detector_pulse(&p->d, 3000, p->now); break;
        case 's': detector_pulse(&p->d, 200, p->now); break;
        case 'z': detector_pulse(&p->d, 0, p->now); break;
        case 'b': detector_pulse(&p->d, -500, p->now); break;
        case 'c': detector_complete(&p->d, p->now); break;
        case 'r': p->s.rest_mode = true; break;
        case 'w':
                p->s.rest_mode = false;
                detector_touch(&p->d, p->now);
                break;
        default: ck_assert_int_eq(what, '.');
        }
        if (what != '.')
                judge(p, !strchr("rw", what));
        for (; minutes > 0; minutes--) { /* a clock that ticks does not decide otherwise than one that sleeps */
                p->now += MINUTE;
                judge(p, false);
        }
}

START_TEST(scenarios_end_where_they_should) {
        for (size_t i = 0; i < ELEMENTSOF(scenarios); i++) {
                const Scenario *sc = &scenarios[i];
                Play p = { .s = { .load = sc->load, .momentum = sc->momentum, .busy = sc->busy, .open = 5 }, .now = START };

                flow_thresholds_default(&p.t);
                detector_init(&p.d, p.now);
                for (const Step *step = sc->steps; step->events; step++) {
                        for (const char *e = step->events; *e; e++) {
                                char text[DETECTOR_TEXT_MAX];

                                play(&p, *e, step->minutes);
                                /* what the store keeps is all that matters */
                                detector_format(&p.d, text);
                                ck_assert_int_eq(detector_parse(text, &p.d), 0);
                        }
                        FlowFigures f;
                        detector_look(&p.d, &p.s, &p.t, p.now, &f);
                        ck_assert_msg(p.d.state == step->expected, "%s, step %zu: %s, expected %s (%s)", sc->name, (size_t) (step - sc->steps) + 1,
                                      flow_state_to_string(p.d.state), flow_state_to_string(step->expected), f.why);
                        ck_assert_uint_gt(strlen(f.why), 0);
                }
                ck_assert_msg(p.changes <= sc->changes, "%s: %u changes of state, at most %u expected", sc->name, p.changes, sc->changes);
        }
}
END_TEST

/* Whatever happens, a state that was reached by events lasts for more than one of them. */
START_TEST(no_state_lasts_for_one_event_only) {
        uint64_t random = UNIT_SEED;

        for (unsigned round = 0; round < 300; round++) {
                Play p = { .s = { .load = (unsigned) (unit_random(&random) % 40), .momentum = 3000, .open = 5 }, .now = START };
                unsigned last = 0;

                flow_thresholds_default(&p.t);
                detector_init(&p.d, p.now);
                for (unsigned i = 0; i < 200; i++) {
                        unsigned before = p.changes;

                        play(&p, "pPszbc"[unit_random(&random) % 6], 0);
                        p.now += unit_random(&random) % MINUTE;
                        if (p.changes == before)
                                continue;
                        ck_assert_uint_ge(i + 1, last + p.t.confirm);
                        last = i + 1;
                }
        }
}
END_TEST

START_TEST(time_is_told_in_advance) {
        Play p = { .s = { .load = 10, .momentum = 3000, .open = 2 }, .now = START };

        flow_thresholds_default(&p.t);
        detector_init(&p.d, p.now);
        play(&p, 'p', 0);
        for (FlowState expected[] = { FLOW_WANING, FLOW_RESTING }, *e = expected; e < expected + 2; e++) {
                uint64_t next = detector_next(&p.d, &p.s, &p.t);

                ck_assert_uint_gt(next, p.now);
                p.now = next - 1;
                judge(&p, false);
                ck_assert_int_ne(p.d.state, *e);
                p.now = next;
                judge(&p, false);
                ck_assert_int_eq(p.d.state, *e);
        }
        ck_assert_uint_eq(detector_next(&p.d, &p.s, &p.t), USEC_INFINITY);
}
END_TEST

START_TEST(garbage_is_no_detector) {
        static const char *const bad[] = { "", "1", "9 1 1 0 0", "-1 1 1 0 0", "0 1 1 7 0", "0 1 1 0 0 x5", "0 1 1 0 0 p5", "0 1 1 0 0 c" };
        FlowDetector d;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ck_assert_msg(detector_parse(bad[i], &d) == -EBADMSG, "'%s'", bad[i]);
        ck_assert_int_eq(detector_parse("1 5 6 2 1 p5 -100 c6", &d), 0);
        ck_assert_int_eq(d.state, FLOW_FLOWING);
        ck_assert_uint_eq(d.n_pulses, 1);
        ck_assert_uint_eq(d.n_completions, 1);
}
END_TEST

UNIT_MAIN("flow-state", scenarios_end_where_they_should, no_state_lasts_for_one_event_only, time_is_told_in_advance, garbage_is_no_detector)
