/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The command line. getopt_long() knows the options of all verbs at once, so that they may stand before and behind the verb;
 * whether the verb takes them is asked afterwards, when it is known. Misspelt words get the nearest right one with the refusal.
 */

#include <getopt.h>
#include <stdio.h>

#include "basic/str.h"
#include "flowctl/flowctl.h"

#define LONG_BASE 256 /* getopt's value for an option: this plus its OptionId */

const char *option_name(OptionId id) {
        return options[id].name;
}

int option_number(const Flowctl *c, OptionId id, uint64_t min, uint64_t max, uint64_t *ret) {
        if (!option(c, id))
                return 0;
        if (u64_parse(c->options[id], min, max, ret) < 0)
                return usage_error(c, "--%s=%s: this takes a whole number from %ju to %ju", option_name(id), c->options[id],
                                   (uintmax_t) min, (uintmax_t) max);
        return 0;
}

int option_text(const Flowctl *c, OptionId id, size_t max) {
        const char *text = c->options[id];

        if (!text)
                return 0;
        if (!*text)
                return usage_error(c, "--%s= is empty; leave it out, or say which", option_name(id));
        if (strlen(text) > max)
                return usage_error(c, "--%s= has %zu bytes, and may have %zu", option_name(id), strlen(text), max);
        if (!utf8_valid(text, strlen(text)))
                return usage_error(c, "--%s= is no UTF-8 text", option_name(id));
        return 0;
}

int option_usec(const Flowctl *c, OptionId id, uint64_t *ret) {
        uint64_t v;

        if (!option(c, id))
                return 0;
        if (usec_parse(c->options[id], &v) < 0 || v == 0 || v == USEC_INFINITY)
                return usage_error(c, "--%s=%s: this takes a time span such as 500ms, 30s or '5min 20s'", option_name(id),
                                   c->options[id]);
        *ret = v;
        return 0;
}

int option_time(const Flowctl *c, OptionId id, uint64_t *ret) {
        if (!option(c, id))
                return 0;
        if (when_parse(c->options[id], realtime_usec(), ret) < 0)
                return usage_error(c, "--%s=%s: this takes a time such as '2026-11-25 10:00', today, yesterday or @1795600000, or a span "
                                   "before now, such as 2h", option_name(id), c->options[id]);
        return 0;
}

static int unknown_option(const Flowctl *c, const char *word) {
        const char *names[_OPTION_MAX], *near;
        char name[64];

        if (strncmp(word, "--", 2) != 0)
                return usage_error(c, "unknown option %s (a payload that begins with '-' stands behind '--')", word);
        str_copy(name, sizeof(name), word + 2);
        name[strcspn(name, "=")] = 0;
        for (unsigned i = 0; i < _OPTION_MAX; i++)
                names[i] = options[i].name;
        near = name_nearest(name, names, _OPTION_MAX);
        if (near)
                return usage_error(c, "unknown option --%s; did you mean --%s?", name, near);
        return usage_error(c, "unknown option --%s", name);
}

/* A family without its second word: "pool" is "pool list"; "config" is ambiguous. */
static const char *const families[][2] = {
        { "job", "list" },    { "pool", "list" },   { "worker", "list" }, { "dead", "list" },
        { "store", "stats" }, { "cache", "stats" }, { "route", "list" }, { "session", "list" }, { "config", NULL },
        { "mcp", "bridge" }, { "flow", "list" },
};

/* The family whose name is misspelt, and with it the verb, where `next` is its second word. Returns false where none is near. */
static bool family_nearest(const char *first, const char *next, char *ret, size_t size) {
        const char *names[ELEMENTSOF(families)], *near;

        for (size_t i = 0; i < ELEMENTSOF(families); i++)
                names[i] = families[i][0];
        near = name_nearest(first, names, ELEMENTSOF(names));
        if (!near)
                return false;
        snprintf(ret, size, "%s %s", near, strempty(next));
        for (size_t i = 0; i < n_verbs; i++)
                if (streq(verbs[i].name, ret))
                        return true;
        str_copy(ret, size, near);
        return true;
}

static int unknown_verb(const char *first, const char *second, const char *next) {
        const char *names[128], *near, *tail;
        char word[128], family[128];
        size_t n = 0;

        if (streq(first, "help"))
                return usage_error(NULL, "unknown verb 'help'; did you mean '%s%s--help'?", strempty(next), next ? " " : "");
        snprintf(word, sizeof(word), "%s%s%s", first, second ? " " : "", strempty(second));
        for (size_t i = 0; i < n_verbs && n < ELEMENTSOF(names); i++)
                names[n++] = verbs[i].name;
        near = name_nearest(word, names, n);
        if (!near)
                near = name_nearest(first, names, n);
        for (size_t i = 0; i < n_verbs && !near; i++) { /* "list" for "pool list" and the others */
                tail = strchr(verbs[i].name, ' ');
                if (tail && streq(tail + 1, first))
                        near = verbs[i].name;
        }
        if (!near && !second && family_nearest(first, next, family, sizeof(family)))
                near = family;
        if (near)
                return usage_error(NULL, "unknown verb '%s'; did you mean '%s'?", word, near);
        return usage_error(NULL, "unknown verb '%s'", word);
}

/* Finds the verb in the arguments; *ret_used says how many of them it took. Returns -1, or an exit status. */
static int verb_find(Flowctl *c, char **args, int n, int *ret_used) {
        const char *second = NULL;
        char name[128];
        bool family = false;

        for (size_t i = 0; i < ELEMENTSOF(families); i++)
                if (streq(args[0], families[i][0])) {
                        family = true;
                        second = n > 1 ? args[1] : families[i][1];
                        if (!second && option(c, OPTION_HELP))
                                second = "cat";
                        if (!second)
                                return usage_error(NULL, "'%s' needs another word: 'config cat' or 'config check'", args[0]);
                }
        snprintf(name, sizeof(name), "%s%s%s", args[0], second ? " " : "", strempty(second));
        for (size_t i = 0; i < n_verbs; i++)
                if (streq(verbs[i].name, name)) {
                        c->verb = verbs + i;
                        *ret_used = MIN(family ? 2 : 1, n);
                        return -1;
                }
        return unknown_verb(args[0], second, n > 1 ? args[1] : NULL);
}

/* Does the verb take what was given? Returns -1, or an exit status. */
static int verb_check(const Flowctl *c, int n_args) {
        const Verb *v = c->verb;

        for (unsigned i = 0; i < _OPTION_MAX; i++)
                if (option(c, i) && !option_taken(v->options, i))
                        return usage_error(c, "'%s' has no option --%s", v->name, option_name(i));
        if (n_args < v->min)
                return usage_error(c, "'%s' needs %s: flowctl %s %s", v->name,
                                   v->min - n_args > 1 ? "more arguments" : "another argument", v->name, v->args);
        if (v->max >= 0 && n_args > v->max)
                return usage_error(c, "'%s' takes %s: flowctl %s%s%s", v->name, v->max == 0 ? "no arguments" : "fewer arguments",
                                   v->name, *v->args ? " " : "", v->args);
        return -1;
}

int options_parse(Flowctl *c, int argc, char **argv, char ***ret_args, int *ret_n) {
        struct option longs[_OPTION_MAX + 1] = {};
        char letters[2 * _OPTION_MAX + 2] = ":", *l = letters + 1;
        int o, r, used = 0;

        for (int i = 0; i < _OPTION_MAX; i++) {
                longs[i] =
                        (struct option){ options[i].name, !options[i].arg ? no_argument : options[i].arg[0] == '[' ? optional_argument :
                                         required_argument, NULL, LONG_BASE + i };
                if (options[i].letter) {
                        *l++ = options[i].letter;
                        if (options[i].arg)
                                *l++ = ':';
                }
        }
        while ((o = getopt_long(argc, argv, letters, longs, NULL)) >= 0) {
                if (o == ':')
                        return usage_error(c, "%s needs an argument", argv[optind - 1]);
                if (o == '?' && optopt >= LONG_BASE)
                        return usage_error(c, "--%s takes no argument", options[optopt - LONG_BASE].name);
                if (o == '?') {
                        char letter[] = { '-', (char) optopt, 0 };

                        return unknown_option(c, optopt ? letter : argv[optind - 1]);
                }
                for (int i = 0; i < _OPTION_MAX; i++)
                        if (o == LONG_BASE + i || (o < LONG_BASE && o == options[i].letter))
                                c->options[i] = optarg ? optarg : "";
        }
        if (option(c, OPTION_VERSION)) {
                printf("flowctl %s\n", PACKAGE_VERSION);
                return STATUS_OK;
        }
        if (optind == argc && option(c, OPTION_HELP)) {
                help_print(NULL);
                return STATUS_OK;
        }
        if (optind == argc)
                return usage_error(NULL, "what is to be done? For instance 'flowctl status'");
        r = verb_find(c, argv + optind, argc - optind, &used);
        if (r >= 0)
                return r;
        if (option(c, OPTION_HELP)) {
                help_print(c->verb);
                return STATUS_OK;
        }
        *ret_args = argv + optind + used;
        *ret_n = argc - optind - used;
        return verb_check(c, *ret_n);
}
