/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* route list, route explain: what flowd knows of methods, and where a job would go. */

#include <inttypes.h>

#include "basic/str.h"
#include "flowctl/term.h"

#define WEIGHT_MAX 10U /* as flowd's own limit */

static bool one_of(const char *s, const char *const *words, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (streq(s, words[i]))
                        return true;
        return false;
}

int route_options_check(const Flowctl *c, uint64_t *ret_weight) {
        static const char *const tiers[] = { "hot", "warm", "cold" };
        static const char *const strategies[] = { "least_loaded", "round_robin", "random", "affinity" };
        const char *tier = c->options[OPTION_TIER], *strategy = c->options[OPTION_STRATEGY], *fallback = c->options[OPTION_FALLBACK];

        if (tier && !one_of(tier, tiers, ELEMENTSOF(tiers)))
                return usage_error(c, "--tier=%s: this takes hot, warm or cold", tier);
        if (strategy && !one_of(strategy, strategies, ELEMENTSOF(strategies)))
                return usage_error(c, "--strategy=%s: this takes least_loaded, round_robin, random or affinity", strategy);
        if (fallback && !streq(fallback, "auto") && !streq(fallback, "none")) {
                _cleanup_(strv_freep) char **words = NULL;
                bool ok = str_split_quoted(fallback, &words) >= 0 && strv_length(words) > 0;

                for (char **w = words; ok && w && *w; w++)
                        ok = one_of(*w, tiers, ELEMENTSOF(tiers)) && !one_of(*w, (const char *const *) words, (size_t) (w - words));
                if (!ok)
                        return usage_error(c, "--fallback=%s: this takes auto, none, or some of hot, warm and cold in their order, as in 'warm cold'",
                                           fallback);
        }
        return option_number(c, OPTION_WEIGHT, 1, WEIGHT_MAX, ret_weight);
}

/* --- route list --- */

static Colour tier_colour(const char *tier) {
        return streq_ptr(tier, "hot") ? COLOUR_RED : streq_ptr(tier, "cold") ? COLOUR_BLUE : COLOUR_NORMAL;
}

int verb_route_list(Flowctl *c, int argc _unused_, char **argv _unused_) {
        static const TableColumn columns[] = {
                { "METHOD", 0.4, SCOLS_FL_WRAP }, { "TIER", 4, 0 },               { "RUNS", 6, SCOLS_FL_RIGHT },
                { "P50", 6, SCOLS_FL_RIGHT },      { "P90", 6, SCOLS_FL_RIGHT },   { "SINCE", 8, SCOLS_FL_RIGHT },
                { "CHANGES", 3, SCOLS_FL_RIGHT },
        };
        _cleanup_json_ json_object *reply = NULL;
        _cleanup_(table_done) Table t = {};
        char buf[NUMBER_SIZE];
        int r;

        r = control_call(c, "ListMethods", NULL, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(json_member(reply, "methods")); i++) {
                json_object *m = json_object_array_get_idx(json_member(reply, "methods"), i);
                const char *tier = json_text(m, "tier");

                table_row(&t);
                table_cell(&t, COLOUR_BOLD, json_text(m, "method"));
                table_cell(&t, tier_colour(tier), tier ? tier : "-");
                table_cell_count(&t, (uint64_t) json_int(m, "samples"));
                table_cell(&t, COLOUR_NORMAL, format_span(buf, (uint64_t) json_int(m, "p50_usec")));
                table_cell(&t, COLOUR_NORMAL, format_span(buf, (uint64_t) json_int(m, "p90_usec")));
                table_cell(&t, COLOUR_NORMAL, format_age(buf, (uint64_t) json_int(m, "since_usec")));
                table_cell_count(&t, (uint64_t) json_int(m, "changes"));
        }
        table_print(&t, c, "method");
        return STATUS_OK;
}

/* --- route explain --- */

static void add_text(json_object *o, const char *key, const char *v) {
        if (v)
                json_object_object_add(o, key, json_object_new_string(v));
}

static void print_steps(json_object *e, bool colours) {
        json_object *steps = json_member(e, "steps");

        for (size_t i = 0; i < json_length(steps); i++) {
                json_object *s = json_object_array_get_idx(steps, i);
                const char *tier = json_text(s, "tier");
                bool decides = json_object_get_boolean(json_member(s, "decides"));

                field_begin(colours, i == 0 ? "Steps" : "");
                printf("%-7s %s%s%s, %s%s\n", strna(json_text(s, "step")), colour(colours && decides, COLOUR_BOLD), tier ? tier : "nothing",
                       colour(colours && decides, COLOUR_NORMAL), strna(json_text(s, "text")), decides ? " - decides" : "");
        }
}

static void print_chosen(json_object *e, bool colours) {
        static const struct {
                const char *why, *text;
        } whys[] = {
                { "tier", "as the job says" }, { "pool", "that of the pool that the job names" },
                { "hint", "that of the pool that the job would rather go to" },
                { "default", "no step has decided" },
        };
        const char *why = strna(json_text(e, "why"));
        json_object *order = json_member(e, "order");
        const char *text = NULL;

        for (size_t i = 0; i < ELEMENTSOF(whys); i++)
                if (streq(whys[i].why, why))
                        text = whys[i].text;
        field_begin(colours, "Meant for");
        printf("%s, %s%s\n", strna(json_text(e, "chosen")), text ? text : "by the step ", text ? "" : why);
        if (json_text(e, "strategy"))
                field_print(colours, "Strategy", "%s%s%s", json_text(e, "strategy"), json_text(e, "affinity") ? ", affinity: " : "",
                            strempty(json_text(e, "affinity")));
        field_begin(colours, "Order");
        for (size_t i = 0; i < json_length(order); i++)
                printf("%s%s", i > 0 ? ", then " : "", strna(json_object_get_string(json_object_array_get_idx(order, i))));
        putchar('\n');
}

static void print_pools(const Flowctl *c, json_object *e) {
        static const TableColumn columns[] = {
                { "TIER", 4, 0 }, { "POOL", 0.2, 0 }, { "STATE", 8, 0 }, { "JOBS", 5, SCOLS_FL_RIGHT }, { "AT A TIME", 5, SCOLS_FL_RIGHT },
                { "LOAD", 6, SCOLS_FL_RIGHT }, { "", 0.4, SCOLS_FL_TRUNC },
        };
        json_object *tiers = json_member(e, "tiers");
        _cleanup_(table_done) Table t = {};
        char buf[NUMBER_SIZE];

        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(tiers); i++) {
                json_object *tier = json_object_array_get_idx(tiers, i), *pools = json_member(tier, "pools");

                for (size_t k = 0; k < json_length(pools); k++) {
                        json_object *p = json_object_array_get_idx(pools, k);
                        bool chosen = json_object_get_boolean(json_member(p, "chosen"));
                        const char *state = strna(json_text(p, "state")), *reason = json_text(p, "reason");

                        table_row(&t);
                        table_cell(&t, COLOUR_NORMAL, json_text(tier, "tier"));
                        table_cell(&t, COLOUR_BOLD, json_text(p, "pool"));
                        table_cell(&t, state_colour(state), state);
                        table_cell_count(&t, (uint64_t) json_int(p, "work"));
                        table_cell_count(&t, (uint64_t) json_int(p, "capacity"));
                        snprintf(buf, sizeof(buf), "%.2f", json_float(p, "load"));
                        table_cell(&t, COLOUR_NORMAL, buf);
                        table_cell(&t, chosen ? COLOUR_GREEN : COLOUR_YELLOW, chosen ? "is chosen" : strempty(reason));
                }
        }
        putchar('\n');
        table_print(&t, c, NULL);
        for (size_t i = 0; i < json_length(tiers); i++) {
                json_object *tier = json_object_array_get_idx(tiers, i);

                if (json_int(tier, "not_listed") > 0)
                        printf("%" PRId64 " more pools of tier %s are not listed.\n", json_int(tier, "not_listed"), strna(json_text(tier, "tier")));
        }
}

int verb_route_explain(Flowctl *c, int argc, char **argv) {
        static const struct {
                OptionId option;
                const char *key;
        } texts[] = {
                { OPTION_POOL, "pool" },         { OPTION_TIER, "tier" },     { OPTION_WORKER_TYPE, "worker_type" }, { OPTION_STRATEGY, "strategy" },
                { OPTION_FALLBACK, "fallback" }, { OPTION_METHOD, "method" }, { OPTION_SESSION, "session" },
        };
        _cleanup_json_ json_object *e = NULL, *parameters = json_object_new_object();
        uint64_t weight = 0, size = argc > 0 ? strlen(argv[0]) : 0;
        bool colours = colours_wanted(stdout);
        int r;

        if (option(c, OPTION_PAYLOAD_SIZE) && argc > 0)
                return usage_error(c, "the payload's size is either that of the argument or --payload-size=, not both");
        if (option(c, OPTION_PAYLOAD_SIZE) && (size_parse(c->options[OPTION_PAYLOAD_SIZE], &size) < 0 || size > INT64_MAX))
                return usage_error(c, "--payload-size=%s: this takes a size such as 512, 64K or 1.5M", c->options[OPTION_PAYLOAD_SIZE]);
        r = route_options_check(c, &weight);
        if (r == 0)
                r = option_text(c, OPTION_METHOD, JOB_TEXT_MAX);
        if (r == 0)
                r = option_text(c, OPTION_SESSION, JOB_TEXT_MAX);
        if (r > 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                add_text(parameters, texts[i].key, c->options[texts[i].option]);
        json_object_object_add(parameters, "payload_size", json_object_new_int64((int64_t) size));
        if (weight > 0)
                json_object_object_add(parameters, "weight", json_object_new_int64((int64_t) weight));
        r = control_call(c, "ExplainRoute", TAKE_PTR(parameters), &e);
        if (r > 0)
                return r;
        const char *pool = json_text(e, "pool"), *refusal = json_text(e, "refusal");
        if (option(c, OPTION_JSON)) {
                json_print(e, true);
                return pool ? STATUS_OK : STATUS_REFUSED;
        }
        if (pool)
                printf("The job would go to pool %s%s%s of tier %s.\n", colour(colours, COLOUR_BOLD), pool, colour(colours, COLOUR_NORMAL),
                       strna(json_text(e, "tier")));
        else
                printf("The job would be refused: %s.\n", strna(refusal));
        print_chosen(e, colours);
        print_steps(e, colours);
        print_pools(c, e);
        return pool ? STATUS_OK : STATUS_REFUSED;
}
