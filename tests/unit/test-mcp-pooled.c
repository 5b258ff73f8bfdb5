/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What pooled MCP servers offer: the names that clients see, and which URIs a template may have made. */

#include <string.h>

#include "mcp/internal.h"
#include "unit.h"

static const char *name_of(const char *prefix, const char *name, char *buf) {
        mcp_pooled_name(prefix, name, buf);
        ck_assert_uint_le(strlen(buf), MCP_NAME_MAX);
        return buf;
}

START_TEST(names) {
        char a[MCP_NAME_MAX + 1], b[MCP_NAME_MAX + 1], text[300], prefix[65];

        ck_assert_str_eq(name_of("p", "echo", a), "p__echo");
        ck_assert_str_eq(name_of("p.q", "a-b_c.d", a), "p.q__a-b_c.d");
        /* what differs stays different, and the same from run to run */
        ck_assert_str_eq(name_of("p", "a/b", a), "p__a_b_f17d6b65");
        ck_assert_str_ne(a, name_of("p", "a_b", b));
        ck_assert_str_ne(a, name_of("p", "a b", b));
        memset(text, 'n', sizeof(text));
        memset(prefix, 'p', sizeof(prefix));
        prefix[64] = 0;
        for (size_t n = 1; n < sizeof(text) - 1; n++) {
                text[n] = 0;
                name_of("pool", text, a);
                if (n + 6 <= MCP_NAME_MAX)
                        ck_assert_uint_eq(strlen(a), n + 6);
                else
                        ck_assert_uint_eq(strlen(a), MCP_NAME_MAX);
                name_of(prefix, text, b);
                ck_assert_uint_eq(strlen(b), MCP_NAME_MAX);
                text[n] = 'n';
                text[n + 1] = 0;
                ck_assert_str_ne(a, name_of("pool", text, b));
                text[n + 1] = 'n';
        }
}
END_TEST

START_TEST(templates) {
        static const struct {
                const char *template, *uri;
                bool matches;
        } cases[] = {
                { "a://b", "a://b", true },           { "a://b", "a://bc", false },         { "a://{x}", "a://1", true },
                { "a://{x}", "a://", false },         { "a://{x}", "a://1/2", false },      { "a://{+x}", "a://1/2", true },
                { "a://{x}/c", "a://1/c", true },     { "a://{x}/c", "a://1/d", false },    { "a://{x}{?q}", "a://1", true },
                { "a://{x}{?q}", "a://1?q=2", true }, { "a://{x}", "a://1?q=2", false },    { "a://{x}/{y}", "a://1/2", true },
                { "a://{x", "a://{x", true },         { "{+x}{+x}{+x}{+x}{+x}", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                ck_assert_msg(mcp_template_matches(cases[i].template, cases[i].uri) == cases[i].matches, "%s %s", cases[i].template, cases[i].uri);
}
END_TEST

/* The loop waits for it, whatever a server wrote and a client asks for. */
START_TEST(templates_take_no_time) {
        char uri[1000];

        memset(uri, 'a', sizeof(uri) - 1);
        uri[sizeof(uri) - 1] = 0;
        ck_assert(!mcp_template_matches("{+a}{+b}{+c}{+d}!", uri));
        ck_assert(!mcp_template_matches("{+a}a{+b}a{+c}a{+d}!", uri));
        ck_assert(mcp_template_matches("{+a}", uri));
}
END_TEST

UNIT_MAIN("mcp-pooled", names, templates, templates_take_no_time)
