/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mcp install: flowd's entry in the configuration of an MCP client. A configuration is somebody's own: only the entry's own text is put in, or
 * replaced, and everything else stays byte for byte. What cannot be read as what it should be is not touched.
 */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "flowctl/flowctl.h"
#include "proto/jsonrpc.h"

#define FILE_MAX (64U * 1024U * 1024U)
#define TOML_HEADER "[mcp_servers.flowd]"

typedef struct Client {
        const char *name, *title;
        const char *path;    /* below $HOME, or $XDG_CONFIG_HOME where `xdg` */
        bool xdg;
        const char *key;     /* of the object that has the servers; NULL: TOML */
        const char *type;    /* a member that the client wants, besides */
        const char *after;   /* what to do then */
} Client;

static const Client clients[] = {
        { "claude", "Claude Code", ".claude.json", false, "mcpServers", "stdio", "start a new session" },
        { "claude-desktop", "Claude Desktop", "Claude/claude_desktop_config.json", true, "mcpServers", NULL, "restart it" },
        { "vscode", "VS Code", "Code/User/mcp.json", true, "servers", "stdio", "start the server from the command palette: 'MCP: List Servers'" },
        { "cursor", "Cursor", ".cursor/mcp.json", false, "mcpServers", NULL, "restart it" },
        { "codex", "Codex", ".codex/config.toml", false, NULL, NULL, "start a new session" },
};

static char *client_path(const Client *k) {
        const char *home = getenv("HOME"), *config = getenv("XDG_CONFIG_HOME");

        if (k->xdg && config && *config == '/')
                return str_printf("%s/%s", config, k->path);
        return home && *home == '/' ? str_printf("%s/%s%s", home, k->xdg ? ".config/" : "", k->path) : NULL;
}

/* This very program, so that the entry needs no $PATH. */
static int own_path(char *buf, size_t size) {
        ssize_t n = readlink("/proc/self/exe", buf, size - 1);

        if (n < 0)
                return -errno;
        buf[n] = 0;
        return 0;
}

/* ["--runtime=DIR","mcp"] */
static int put_arguments(const Flowctl *c, JsonBuffer *b) {
        _cleanup_free_ char *runtime = option(c, OPTION_RUNTIME) ? str_printf("--runtime=%s", c->runtime) : NULL;
        const char *which = runtime ? runtime : option(c, OPTION_USER) ? "--user" : option(c, OPTION_SYSTEM) ? "--system" : NULL;
        int r = json_append(b, "[", 1);

        if (r >= 0 && which)
                r = json_escape_append(b, which, strlen(which));
        if (r >= 0)
                r = json_append(b, which ? ", \"mcp\"]" : "\"mcp\"]", which ? 8 : 6);
        return r;
}

static int put(JsonBuffer *b, const char *s) {
        return json_append(b, s, strlen(s));
}

/* The entry's value: in TOML the lines below its header. */
static int put_entry(const Flowctl *c, const Client *k, JsonBuffer *b) {
        char exe[4096];
        int r = own_path(exe, sizeof(exe));

        if (r >= 0)
                r = put(b, k->key ? "{ " : TOML_HEADER "\ncommand = ");
        if (r >= 0 && k->type) {
                r = put(b, "\"type\": \"");
                if (r >= 0)
                        r = put(b, k->type);
                if (r >= 0)
                        r = put(b, "\", ");
        }
        if (r >= 0 && k->key)
                r = put(b, "\"command\": ");
        if (r >= 0)
                r = json_escape_append(b, exe, strlen(exe));
        if (r >= 0)
                r = put(b, k->key ? ", \"args\": " : "\nargs = ");
        if (r >= 0)
                r = put_arguments(c, b);
        return r < 0 ? r : put(b, k->key ? " }" : "\n");
}

/* `text` with what stands from `at` on, `n` bytes of it, replaced. */
static int replaced(JsonBuffer *b, const char *text, size_t size, size_t at, size_t n, const char *by, size_t by_size) {
        int r = json_append(b, text, at);

        if (r >= 0)
                r = json_append(b, by, by_size);
        return r < 0 ? r : json_append(b, text + at + n, size - at - n);
}

/* Puts `value` under `name` into the object that begins at `object`, in place of an old one or as its first member. */
static int put_member(JsonBuffer *b, const char *text, size_t size, JsonSpan object, const char *name, const char *value, size_t value_size,
                      const char *indent) {
        JsonBuffer member = {};
        JsonMember m, first;
        JsonScan scan;
        int r = json_find(object, name, &m), any;

        if (r < 0)
                return r;
        if (r > 0)
                return replaced(b, text, size, (size_t) (m.value - text), m.value_size, value, value_size);
        json_scan_begin(&scan, object.p, object.size);
        any = json_scan_next(&scan, &first);
        if (any < 0)
                return any;
        r = put(&member, "\n");
        if (r >= 0)
                r = put(&member, indent);
        if (r >= 0)
                r = json_escape_append(&member, name, strlen(name));
        if (r >= 0)
                r = put(&member, ": ");
        if (r >= 0)
                r = json_append(&member, value, value_size);
        if (r >= 0)
                r = put(&member, any ? "," : "\n");
        if (r >= 0 && !any)
                r = json_append(&member, indent, strlen(indent) - 2);
        if (r >= 0)
                r = replaced(b, text, size, (size_t) (object.p - text) + 1, 0, member.data, member.size);
        json_buffer_clear(&member);
        return r;
}

/* -EBADMSG where the file is not what it should be. */
static int edit_json(const Client *k, const char *text, size_t size, const JsonBuffer *entry, JsonBuffer *ret) {
        JsonSpan whole = { text, size };
        JsonMember servers;
        JsonBuffer inner = {};
        JsonType type;
        int r;

        while (whole.size > 0 && strchr(" \t\r\n", *whole.p)) {
                whole.p++;
                whole.size--;
        }
        r = json_check(text, size, JSON_DEPTH_MAX, &type);
        if (r < 0 || type != JSON_OBJECT)
                return -EBADMSG;
        r = json_find(whole, k->key, &servers);
        if (r < 0 || (r > 0 && servers.type != JSON_OBJECT))
                return -EBADMSG;
        if (r > 0)
                return put_member(ret, text, size, (JsonSpan) { servers.value, servers.value_size }, "flowd", entry->data, entry->size, "    ");
        r = put(&inner, "{\n    \"flowd\": ");
        if (r >= 0)
                r = json_append(&inner, entry->data, entry->size);
        if (r >= 0)
                r = put(&inner, "\n  }");
        if (r >= 0)
                r = put_member(ret, text, size, whole, k->key, inner.data, inner.size, "  ");
        json_buffer_clear(&inner);
        return r;
}

/* The section is replaced up to the next header, or put behind everything. */
static int edit_toml(const char *text, size_t size, const JsonBuffer *entry, JsonBuffer *ret) {
        const char *at = memmem(text, size, TOML_HEADER, sizeof(TOML_HEADER) - 1), *end = text + size, *next;
        int r;

        if (at && (at == text || at[-1] == '\n')) {
                for (next = at + 1; next < end && !(next[-1] == '\n' && *next == '['); next++)
                        ;
                return replaced(ret, text, size, (size_t) (at - text), (size_t) (next - at), entry->data, entry->size);
        }
        r = json_append(ret, text, size);
        if (r >= 0 && size > 0)
                r = put(ret, text[size - 1] == '\n' ? "\n" : "\n\n");
        return r < 0 ? r : json_append(ret, entry->data, entry->size);
}

/* Replaces the file that the path leads to; a new one is for its owner only. */
static int write_file(const char *path, const JsonBuffer *b) {
        _cleanup_free_ char *real = realpath(path, NULL), *copy = strdup(path);
        mode_t mode = 0600;
        struct stat st;
        int r = 0;

        if (!copy)
                return -ENOMEM;
        if (!real)
                r = dir_make(dirname(copy), 0700);
        else if (stat(real, &st) >= 0)
                mode = st.st_mode & 07777;
        return r < 0 ? r : file_write_atomic(real ? real : path, b->data, b->size, mode);
}

static int install(const Flowctl *c, const Client *k) {
        _cleanup_free_ char *path = client_path(k), *text = NULL;
        JsonBuffer entry = {}, fresh = {};
        size_t size = 0;
        int r;

        if (!path) {
                error_print("HOME is not set, so there is no telling where %s keeps its configuration.", k->title);
                return STATUS_FAILED;
        }
        r = put_entry(c, k, &entry);
        if (r >= 0)
                r = file_read(AT_FDCWD, path, FILE_MAX, &text, &size);
        if (r == -ENOENT || (r >= 0 && size == strspn(text, " \t\r\n"))) {
                free(text);
                text = strdup(k->key ? "{}" : "");
                size = text ? strlen(text) : 0;
                r = text ? 0 : -ENOMEM;
        }
        if (r >= 0)
                r = k->key ? edit_json(k, text, size, &entry, &fresh) : edit_toml(text, size, &entry, &fresh);
        if (r >= 0 && fresh.size > 0 && fresh.data[fresh.size - 1] != '\n')
                r = put(&fresh, "\n");
        if (r >= 0 && option(c, OPTION_DRY_RUN)) {
                if (!option(c, OPTION_QUIET))
                        fprintf(stderr, "%s would be:\n", path);
                (void) fwrite(fresh.data, 1, fresh.size, stdout);
        } else if (r >= 0) {
                r = write_file(path, &fresh);
                if (r >= 0 && !option(c, OPTION_QUIET))
                        printf("%s can use flowd now: %s was changed. In %s, %s.\n", k->title, path, k->title, k->after);
        }
        if (r == -EBADMSG) {
                error_print("%s is not the JSON that was expected (comments, perhaps), and was not touched.", path);
                fprintf(stderr, "Put this into its \"%s\" by hand:\n  \"flowd\": %.*s\n", k->key, (int) entry.size, entry.data);
        } else if (r < 0)
                error_print("%s: %s", path, strerror(-r));
        json_buffer_clear(&entry);
        json_buffer_clear(&fresh);
        return r < 0 ? STATUS_FAILED : STATUS_OK;
}

int verb_mcp_install(Flowctl *c, int argc, char **argv) {
        const char *name = c->options[OPTION_CLIENT];

        (void) argc;
        (void) argv;
        for (size_t i = 0; name && i < ELEMENTSOF(clients); i++)
                if (streq(clients[i].name, name))
                        return install(c, &clients[i]);
        return usage_error(c, "%s%s: --client= is one of claude, claude-desktop, vscode, cursor, codex", name ? "--client=" : "which client",
                           strempty(name));
}
