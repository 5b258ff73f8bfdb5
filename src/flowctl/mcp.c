/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* mcp list, call, read, prompt, doctor: what an agent sees of flowd, for a person. */

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "client/mcp-connection.h"
#include "client/runtime.h"
#include "flowctl/term.h"

#define ARGUMENTS_MAX (8U * 1024U * 1024U) /* bytes of arguments from standard input */

static int failed(const Flowctl *c, int error, const char *text) {
        if (error == -EREMOTEIO) {
                error_print("%s", strna(text));
                return STATUS_FAILED;
        }
        if (error == -ECONNRESET || error == -EBADMSG || error == -EINTR || error == -ENOMEM)
                return control_failed(c, error);
        return control_connect_failed(c, "mcp", error);
}

static int open_connection(Flowctl *c, McpConnection **ret, json_object **ret_hello) {
        int r = mcp_connection_open(c->runtime, ret, ret_hello);

        return r < 0 ? failed(c, r, "flowd refused the handshake") : 0;
}

static void print_note(const char *method, json_object *params) {
        json_object *v;

        if (!streq(method, "notifications/progress"))
                return;
        fprintf(stderr, "%3.0f%%", json_float(params, "progress") / (json_float(params, "total") > 0 ? json_float(params, "total") : 1) * 100);
        if (json_object_object_get_ex(params, "message", &v))
                fprintf(stderr, " %s", json_object_get_string(v));
        fputc('\n', stderr);
}

static int call(Flowctl *c, McpConnection *m, const char *method, json_object *params, json_object **ret) {
        _cleanup_free_ char *why = NULL;
        int r = mcp_connection_call(m, method, params, option(c, OPTION_QUIET) ? NULL : print_note, ret, &why);

        return r < 0 ? failed(c, r, why) : 0;
}

/* --- arguments --- */

static char *read_stdin(void) {
        char *text = NULL;
        size_t size;
        int r = file_read(-1, "/dev/stdin", ARGUMENTS_MAX, &text, &size);

        if (r < 0) {
                error_print("cannot read the arguments from standard input: %s", strerror(-r));
                return NULL;
        }
        return text;
}

/* "KEY=TEXT" or "KEY:=JSON" into an object. Returns 0 or an exit status. */
static int add_argument(const Flowctl *c, json_object *o, const char *word, bool texts_only) {
        const char *equals = strchr(word, '=');
        bool json = equals && equals > word && equals[-1] == ':';
        _cleanup_free_ char *key = equals ? strndup(word, (size_t) (equals - word) - json) : NULL;
        json_object *v;

        if (!equals || !key || !*key)
                return usage_error(c, "'%s': an argument is KEY=TEXT%s", word, texts_only ? "" : " or KEY:=JSON");
        if (!json || texts_only)
                v = json_object_new_string(equals + 1);
        else {
                enum json_tokener_error error;

                v = json_tokener_parse_verbose(equals + 1, &error);
                if (error != json_tokener_success)
                        return usage_error(c, "'%s': behind ':=' stands a JSON value", word);
        }
        json_object_object_add(o, key, v);
        return 0;
}

/* All of them: one that begins with a brace, or "-" for standard input, is the whole object. */
static int read_arguments(const Flowctl *c, int argc, char **argv, bool texts_only, json_object **ret) {
        _cleanup_free_ char *text = NULL;
        json_object *o = NULL;
        int r = 0;

        if (argc == 1 && (argv[0][0] == '{' || streq(argv[0], "-"))) {
                text = streq(argv[0], "-") ? read_stdin() : strdup(argv[0]);
                if (!text)
                        return STATUS_FAILED;
                o = json_tokener_parse(text);
                if (!o || !json_object_is_type(o, json_type_object)) {
                        json_object_put(o);
                        return usage_error(c, "the arguments are no JSON object");
                }
                *ret = o;
                return 0;
        }
        o = json_object_new_object();
        for (int i = 0; r == 0 && i < argc; i++)
                r = add_argument(c, o, argv[i], texts_only);
        if (r > 0)
                json_object_put(o);
        else
                *ret = o;
        return r;
}

/* --- verbs --- */

static const struct {
        const char *what, *method, *key, *name;
} lists[] = {
        { "tools", "tools/list", "tools", "name" },
        { "resources", "resources/list", "resources", "uri" },
        { "templates", "resources/templates/list", "resourceTemplates", "uriTemplate" },
        { "prompts", "prompts/list", "prompts", "name" },
};

/* A whole list, all pages of it. */
static int fetch_list(Flowctl *c, McpConnection *m, size_t which, json_object **ret) {
        json_object *all = json_object_new_array(), *page = NULL;
        _cleanup_free_ char *cursor = NULL;
        int r;

        do {
                json_object *params = json_object_new_object(), *items;

                if (cursor)
                        json_object_object_add(params, "cursor", json_object_new_string(cursor));
                page = NULL;
                r = call(c, m, lists[which].method, params, &page);
                items = page ? json_member(page, lists[which].key) : NULL;
                for (size_t i = 0; i < json_length(items); i++)
                        json_object_array_add(all, json_object_get(json_object_array_get_idx(items, i)));
                free(cursor);
                cursor = page && json_text(page, "nextCursor") ? strdup(json_text(page, "nextCursor")) : NULL;
                json_object_put(page);
        } while (r == 0 && cursor);
        if (r > 0)
                json_object_put(all);
        else
                *ret = all;
        return r;
}

int verb_mcp_list(Flowctl *c, int argc, char **argv) {
        static const TableColumn columns[] = { { "NAME", 0.3, 0 }, { "DESCRIPTION", 0.7, SCOLS_FL_TRUNC } };
        _cleanup_(mcp_connection_closep) McpConnection *m = NULL;
        json_object *items = NULL;
        size_t which = 0;
        Table t;
        int r;

        while (argc > 0 && which < ELEMENTSOF(lists) && !streq(argv[0], lists[which].what))
                which++;
        if (which == ELEMENTSOF(lists))
                return usage_error(c, "'%s': this lists tools, resources, templates or prompts", argv[0]);
        r = open_connection(c, &m, NULL);
        if (r == 0)
                r = fetch_list(c, m, which, &items);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                r = json_print(items, true);
        else {
                table_init(&t, c, columns, ELEMENTSOF(columns));
                for (size_t i = 0; i < json_length(items); i++) {
                        json_object *o = json_object_array_get_idx(items, i);

                        table_row(&t);
                        table_cell(&t, COLOUR_BOLD, json_text(o, lists[which].name));
                        table_cell(&t, COLOUR_NORMAL, strempty(json_text(o, "description")));
                }
                table_print(&t, c, NULL);
                table_done(&t);
        }
        json_object_put(items);
        return r;
}

static json_object *named(const char *key, const char *name, json_object *arguments) {
        json_object *params = json_object_new_object();

        json_object_object_add(params, key, json_object_new_string(name));
        if (arguments)
                json_object_object_add(params, "arguments", arguments);
        return params;
}

/* The texts of a result's content, as they are. */
static void print_content(json_object *result) {
        json_object *content = json_member(result, "content");

        for (size_t i = 0; i < json_length(content); i++) {
                json_object *o = json_object_array_get_idx(content, i);
                const char *text = json_text(o, "text"), *uri = json_text(o, "uri");

                puts(text ? text : uri ? uri : strna(json_text(o, "type")));
        }
}

int verb_mcp_call(Flowctl *c, int argc, char **argv) {
        _cleanup_(mcp_connection_closep) McpConnection *m = NULL;
        json_object *arguments = NULL, *params, *meta, *result = NULL, *v;
        int r;

        r = read_arguments(c, argc - 1, argv + 1, false, &arguments);
        if (r > 0)
                return r;
        r = open_connection(c, &m, NULL);
        if (r > 0) {
                json_object_put(arguments);
                return r;
        }
        params = named("name", argv[0], arguments);
        if (option(c, OPTION_PROGRESS)) {
                meta = json_object_new_object();
                json_object_object_add(meta, "progressToken", json_object_new_int(1));
                json_object_object_add(params, "_meta", meta);
        }
        r = call(c, m, "tools/call", params, &result);
        if (r > 0)
                return r;
        v = json_member(result, "structuredContent");
        bool bad = json_object_get_boolean(json_member(result, "isError"));
        if (option(c, OPTION_JSON))
                (void) json_print(result, true);
        else if (v)
                (void) json_print(v, true);
        else
                print_content(result);
        if (bad && v && json_text(v, "error"))
                error_print("%s failed: %s", argv[0], json_text(v, "error"));
        json_object_put(result);
        return bad ? STATUS_FAILED : STATUS_OK;
}

int verb_mcp_read(Flowctl *c, int argc, char **argv) {
        _cleanup_(mcp_connection_closep) McpConnection *m = NULL;
        json_object *result = NULL, *contents;
        int r;

        (void) argc;
        r = open_connection(c, &m, NULL);
        if (r == 0)
                r = call(c, m, "resources/read", named("uri", argv[0], NULL), &result);
        if (r > 0)
                return r;
        contents = json_member(result, "contents");
        if (option(c, OPTION_JSON))
                (void) json_print(result, true);
        for (size_t i = 0; !option(c, OPTION_JSON) && i < json_length(contents); i++) {
                json_object *o = json_object_array_get_idx(contents, i), *v = NULL;
                const char *text = json_text(o, "text");

                if (text && streq(strempty(json_text(o, "mimeType")), "application/json"))
                        v = json_tokener_parse(text);
                if (v)
                        (void) json_print(v, true);
                else
                        puts(strempty(text ? text : json_text(o, "blob")));
                json_object_put(v);
        }
        json_object_put(result);
        return STATUS_OK;
}

int verb_mcp_prompt(Flowctl *c, int argc, char **argv) {
        _cleanup_(mcp_connection_closep) McpConnection *m = NULL;
        json_object *arguments = NULL, *result = NULL, *messages;
        int r;

        r = read_arguments(c, argc - 1, argv + 1, true, &arguments);
        if (r > 0)
                return r;
        r = open_connection(c, &m, NULL);
        if (r > 0) {
                json_object_put(arguments);
                return r;
        }
        r = call(c, m, "prompts/get", named("name", argv[0], arguments), &result);
        if (r > 0)
                return r;
        messages = json_member(result, "messages");
        if (option(c, OPTION_JSON))
                (void) json_print(result, true);
        for (size_t i = 0; !option(c, OPTION_JSON) && i < json_length(messages); i++) {
                json_object *content = json_member(json_object_array_get_idx(messages, i), "content");
                json_object *resource = json_member(content, "resource");

                puts(strempty(json_text(resource ? resource : content, "text")));
        }
        json_object_put(result);
        return STATUS_OK;
}

/* --- doctor --- */

static void verdict(bool good, const char *what, const char *text) {
        bool colours = colours_wanted(stdout);

        printf("%s%s%s %s: %s\n", colour(colours, good ? COLOUR_GREEN : COLOUR_RED), utf8_wanted() ? (good ? "✓" : "✗") : (good ? "ok" : "BAD"),
               colour(colours, COLOUR_NORMAL), what, text);
}

static int count(Flowctl *c, McpConnection *m, size_t which, char *text, size_t size) {
        json_object *items = NULL;
        int r = fetch_list(c, m, which, &items);

        (void) snprintf(text, size, "%zu %s", json_length(items), lists[which].what);
        json_object_put(items);
        return r;
}

int verb_mcp_doctor(Flowctl *c, int argc, char **argv) {
        _cleanup_(mcp_connection_closep) McpConnection *m = NULL;
        _cleanup_free_ char *path = runtime_path(c->runtime, "mcp");
        json_object *hello = NULL, *health = NULL;
        char text[256];
        struct stat st;
        int r;

        (void) argc;
        (void) argv;
        bool there = path && stat(path, &st) >= 0 && S_ISSOCK(st.st_mode);
        verdict(there, "socket", strna(path));
        r = open_connection(c, &m, &hello);
        if (r > 0) {
                verdict(false, "connection", "nobody speaks MCP there");
                return r;
        }
        (void) snprintf(text, sizeof(text), "%s %s speaks MCP %s", strna(json_text(json_member(hello, "serverInfo"), "name")),
                        strna(json_text(json_member(hello, "serverInfo"), "version")), strna(json_text(hello, "protocolVersion")));
        verdict(true, "connection", text);
        json_object_put(hello);
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(lists); i++) {
                r = count(c, m, i, text, sizeof(text));
                bool some = r == 0 && strncmp(text, "0 ", 2) != 0;
                verdict(some, "list", some ? text : "nothing is shown to you: join the group that flowd(8) names");
                if (!some)
                        return r > 0 ? r : STATUS_NOT_PERMITTED;
        }
        r = call(c, m, "tools/call", named("name", "pool_health", json_object_new_object()), &health);
        if (r > 0)
                return r;
        const char *state = strna(json_text(json_member(health, "structuredContent"), "status"));
        bool healthy = streq(state, "healthy");
        verdict(healthy, "pools", healthy ? "healthy" : state);
        json_object_put(health);
        return healthy ? STATUS_OK : STATUS_FAILED;
}
