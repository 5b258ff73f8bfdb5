/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A tool's arguments: the table of its parameters makes the schema that clients see, and is what their arguments are checked by, so that the two
 * cannot differ. Nothing is copied: an argument stays where it stands in the message until its tool wants it.
 */

#include <errno.h>
#include <stdio.h>

#include "mcp/tools.h"

static size_t n_parameters(const McpTool *t) {
        size_t n = 0;

        while (n < MCP_TOOL_PARAMS_MAX && t->parameters[n].name)
                n++;
        return n;
}

static int index_of(const McpTool *t, const char *name) {
        for (size_t i = 0; i < n_parameters(t); i++)
                if (streq(t->parameters[i].name, name))
                        return (int) i;
        return -1;
}

/* --- checking --- */

static bool whole_number(const JsonMember *m, int64_t *ret) {
        double v;

        if (m->type != JSON_NUMBER || json_number(m->value, m->value_size, &v) < 0 || v < -9e15 || v > 9e15 || v != (double) (int64_t) v)
                return false;
        *ret = (int64_t) v;
        return true;
}

/* A string that goes into names: short, and without a NUL. */
static bool name_fits(const JsonMember *m) {
        return m->type == JSON_STRING && m->value_size < JOB_NAME_MAX + 2 && !memmem(m->value, m->value_size, "\\u0000", 6);
}

static bool in_choice(const JsonMember *m, const char *choice) {
        JsonMember e;
        JsonScan scan;

        json_scan_elements(&scan, choice, strlen(choice));
        while (json_scan_next(&scan, &e) > 0)
                if (mcp_id_equal((JsonSpan) { e.value, e.value_size }, (JsonSpan) { m->value, m->value_size }))
                        return true;
        return false;
}

static char *check_list(const McpParameter *p, const JsonMember *m) {
        unsigned n = 0;
        JsonMember e;
        JsonScan scan;

        json_scan_elements(&scan, m->value, m->value_size);
        while (json_scan_next(&scan, &e) > 0) {
                if (e.type != JSON_STRING || (p->type == MCP_STRINGS && !name_fits(&e)))
                        return str_printf("%s: element %u is no %sstring", p->name, n, e.type == JSON_STRING ? "short " : "");
                if (++n > MCP_LIST_ARGUMENT_MAX)
                        return str_printf("%s: more than %u elements", p->name, MCP_LIST_ARGUMENT_MAX);
        }
        return NULL;
}

/* What is wrong with an argument, owned by the caller; NULL where nothing is. *ret_bad says whether there is something. */
static char *check(const McpParameter *p, const JsonMember *m, bool *ret_bad) {
        int64_t v;
        double number;
        char *why = NULL;

        *ret_bad = true;
        switch (p->type) {
        case MCP_STRING:
                if (m->type != JSON_STRING)
                        return str_printf("%s must be a string", p->name);
                if (!name_fits(m))
                        return str_printf("%s must be at most %u bytes long, without a NUL", p->name, JOB_NAME_MAX - 1);
                if (p->choice && !in_choice(m, p->choice))
                        return str_printf("%s must be one of %s", p->name, p->choice);
                break;
        case MCP_PAYLOAD:
                if (m->type != JSON_STRING)
                        return str_printf("%s must be a string", p->name);
                break;
        case MCP_INTEGER:
                if (!whole_number(m, &v) || v < p->min || v > p->max)
                        return str_printf("%s must be a whole number from %lld to %lld", p->name, (long long) p->min, (long long) p->max);
                break;
        case MCP_BOOLEAN:
                if (m->type != JSON_BOOL)
                        return str_printf("%s must be true or false", p->name);
                break;
        case MCP_NUMBER:
                if (m->type != JSON_NUMBER || json_number(m->value, m->value_size, &number) < 0 || !(number >= (double) p->min && number <= (double) p->max))
                        return str_printf("%s must be a number from %lld to %lld", p->name, (long long) p->min, (long long) p->max);
                break;
        case MCP_ARRAY:
                if (m->type != JSON_ARRAY)
                        return str_printf("%s must be an array", p->name);
                break;
        case MCP_VALUE:
                break;
        default:
                if (m->type != JSON_ARRAY)
                        return str_printf("%s must be an array of strings", p->name);
                why = check_list(p, m);
                if (why)
                        return why;
        }
        *ret_bad = false;
        return NULL;
}

int mcp_arguments_parse(const McpTool *t, JsonSpan arguments, McpArguments *ret, char **reterr_text) {
        JsonMember m;
        JsonScan scan;
        bool bad;

        *ret = (McpArguments) { .tool = t };
        json_scan_begin(&scan, arguments.p ? arguments.p : "{}", arguments.p ? arguments.size : 2);
        while (json_scan_next(&scan, &m) > 0) {
                size_t i = 0, n = n_parameters(t);

                while (i < n && !json_member_is(&m, t->parameters[i].name))
                        i++;
                if (i == n || ret->of[i].value) {
                        *reterr_text = str_printf("%.*s %s", (int) MIN(m.key_size, (size_t) 80), m.key,
                                                  i == n ? "is no argument of this tool" : "stands there twice");
                        return -EINVAL;
                }
                if (m.type == JSON_NULL && !t->parameters[i].required) /* some clients send all that they know of */
                        continue;
                *reterr_text = check(&t->parameters[i], &m, &bad);
                if (bad)
                        return -EINVAL;
                ret->of[i] = m;
        }
        for (size_t i = 0; i < n_parameters(t); i++)
                if (t->parameters[i].required && !ret->of[i].value) {
                        *reterr_text = str_printf("%s is missing", t->parameters[i].name);
                        return -EINVAL;
                }
        return 0;
}

/* --- reading --- */

JsonSpan argument_span(const McpArguments *a, const char *name) {
        int i = index_of(a->tool, name);

        return i < 0 ? (JsonSpan) {} : (JsonSpan) { a->of[i].value, a->of[i].value_size };
}

int argument_text(const McpArguments *a, const char *name, char **ret) {
        JsonSpan s = argument_span(a, name);
        size_t n;
        int r;

        if (!s.p)
                return 0;
        r = json_unescape(s.p, s.size, ret, &n);
        return r < 0 ? r : 1;
}

int64_t argument_int(const McpArguments *a, const char *name, int64_t fallback) {
        int i = index_of(a->tool, name);
        int64_t v;

        return i >= 0 && a->of[i].value && whole_number(&a->of[i], &v) ? v : fallback;
}

bool argument_bool(const McpArguments *a, const char *name) {
        JsonSpan s = argument_span(a, name);

        return s.p && s.p[0] == 't';
}

/* --- the schema --- */

static void put_type(McpText *t, const McpParameter *p) {
        switch (p->type) {
        case MCP_STRING:
                if (p->choice) {
                        put_raw(t, "\"type\":\"string\",\"enum\":");
                        put_raw(t, p->choice);
                } else
                        put_format(t, "\"type\":\"string\",\"maxLength\":%u", JOB_NAME_MAX - 1);
                break;
        case MCP_PAYLOAD:
                put_raw(t, "\"type\":\"string\"");
                break;
        case MCP_INTEGER:
                put_format(t, "\"type\":\"integer\",\"minimum\":%lld,\"maximum\":%lld", (long long) p->min, (long long) p->max);
                break;
        case MCP_BOOLEAN:
                put_raw(t, "\"type\":\"boolean\"");
                break;
        case MCP_NUMBER:
                put_format(t, "\"type\":\"number\",\"minimum\":%lld,\"maximum\":%lld", (long long) p->min, (long long) p->max);
                break;
        case MCP_ARRAY:
                put_raw(t, "\"type\":\"array\",\"items\":");
                put_raw(t, p->choice ? p->choice : "{}");
                break;
        case MCP_VALUE:
                put_raw(t, "\"type\":[\"string\",\"object\",\"array\",\"number\",\"boolean\"]");
                break;
        default:
                put_format(t, "\"type\":\"array\",\"maxItems\":%u,\"items\":{\"type\":\"string\"}", MCP_LIST_ARGUMENT_MAX);
        }
        if (p->fallback) {
                put_raw(t, ",\"default\":");
                put_raw(t, p->fallback);
        }
}

void mcp_put_input_schema(McpText *t, const McpTool *tool) {
        size_t n = n_parameters(tool);
        bool first = true;

        put_raw(t, "{\"type\":\"object\",\"properties\":{");
        for (size_t i = 0; i < n; i++) {
                const McpParameter *p = &tool->parameters[i];

                put_format(t, "%s\"%s\":{", i > 0 ? "," : "", p->name);
                put_type(t, p);
                put_raw(t, ",\"description\":");
                put_text(t, p->description);
                put_raw(t, "}");
        }
        put_raw(t, "}");
        for (size_t i = 0; i < n; i++)
                if (tool->parameters[i].required) {
                        put_raw(t, first ? ",\"required\":[" : ",");
                        put_text(t, tool->parameters[i].name);
                        first = false;
                }
        put_raw(t, first ? ",\"additionalProperties\":false}" : "],\"additionalProperties\":false}");
}
