/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mcp import: what a client of MCP servers has in its configuration becomes worker types and pools. Clients write the same three members
 * ("command", "args", "env") under one of two names. A server that is reached over the network is none that flowd could start, and values
 * with a client's placeholders mean nothing here: both are told, not guessed at. Nothing is overwritten, and nothing is written when one
 * of the files could not be.
 */

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "client/runtime.h"
#include "flowctl/term.h"

#define IMPORT_FILE_MAX (4U * 1024U * 1024U)
#define IMPORT_SLOTS 4U /* calls at a time: clients make several at once, and few servers like many */

typedef struct Import {
        const char *dir;
        json_object *written, *notes; /* of --json */
        json_object *units;           /* the names that are taken */
        bool json, dry;
        unsigned n;
} Import;

static void note(Import *i, const char *server, const char *format, ...) _printf_(3, 4);
static void note(Import *i, const char *server, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        json_object *o;
        va_list ap;

        va_start(ap, format);
        int r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0)
                return;
        if (!i->json) {
                error_print("%s: %s.", server, text);
                return;
        }
        o = json_object_new_object();
        json_object_object_add(o, "server", json_object_new_string(server));
        json_object_object_add(o, "message", json_object_new_string(text));
        json_object_array_add(i->notes, o);
}

/* --- words --- */

/* As Exec= and Environment= want it: quoted where need be, and no specifier. */
static void put_word(FILE *f, const char *s) {
        bool plain = *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%")] == 0;

        if (!plain)
                fputc('"', f);
        for (; *s; s++) {
                if (*s == '%')
                        fputs("%%", f);
                else if (*s == '"' || *s == '\\')
                        fprintf(f, "\\%c", *s);
                else if ((unsigned char) *s < 0x20 || *s == 0x7f)
                        fprintf(f, "\\x%02x", (unsigned char) *s);
                else
                        fputc(*s, f);
        }
        if (!plain)
                fputc('"', f);
}

/* The rest of a line. */
static void put_line(FILE *f, const char *s, bool value) {
        for (; *s; s++)
                if ((unsigned char) *s >= 0x20 && *s != 0x7f)
                        fputs(*s == '%' && value ? "%%" : (char[]) { *s, 0 }, f);
}

/* A server's name as a unit's. */
static char *unit_name(const char *name) {
        char *s = strndup(name, NAME_LENGTH_MAX);

        for (char *p = s; p && *p; p++)
                if (!isalnum((unsigned char) *p) && *p != '_' && *p != '-' && *p != '.')
                        *p = '-';
        if (s && (*s == '.' || *s == '-'))
                *s = '_';
        return s;
}

/* The whole path of a command, as a shell would find it; NULL where there is none. */
static char *find_program(const char *command) {
        const char *path = getenv("PATH");

        if (strchr(command, '/'))
                return *command == '/' && access(command, X_OK) == 0 ? strdup(command) : NULL;
        for (const char *p = path && *path ? path : "/usr/local/bin:/usr/bin:/bin"; *p;) {
                size_t n = strcspn(p, ":");
                char *whole = n > 0 && *p == '/' ? str_printf("%.*s/%s", (int) n, p, command) : NULL;

                if (whole && access(whole, X_OK) == 0)
                        return whole;
                free(whole);
                p += n + (p[n] == ':');
        }
        return NULL;
}

static bool has_placeholder(const char *s) {
        return strstr(s, "${") != NULL;
}

static const char *text_of(json_object *server, const char *key) {
        json_object *v = json_member(server, key);

        return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

static bool variable_name(const char *s) {
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

        return n > 0 && s[n] == 0 && !isdigit((unsigned char) *s);
}

/* --- one server --- */

static void put_exec(FILE *f, Import *i, const char *name, const char *program, json_object *args) {
        fputs("Exec=", f);
        put_word(f, program);
        for (size_t k = 0; k < json_length(args); k++) {
                const char *word = json_object_get_string(json_object_array_get_idx(args, k));

                if (has_placeholder(strempty(word)))
                        note(i, name, "the argument %s has a placeholder that only its client fills in; put the value in", word);
                fputc(' ', f);
                put_word(f, strempty(word));
        }
        fputc('\n', f);
}

static void put_environment(FILE *f, Import *i, const char *name, json_object *env) {
        json_object_object_foreach(env, key, value) {
                _cleanup_free_ char *word = NULL;

                if (!variable_name(key)) {
                        note(i, name, "the variable '%s' is left out: it has no name that a program could read", key);
                        continue;
                }
                word = str_printf("%s=%s", key, strempty(json_object_get_string(value)));
                if (!word)
                        continue;
                if (has_placeholder(word))
                        note(i, name, "%s has a placeholder that only its client fills in; put the value in", key);
                fputs("Environment=", f);
                put_word(f, word);
                fputc('\n', f);
        }
}

static char *worker_text(Import *i, const char *name, const char *program, json_object *server) {
        json_object *env = json_member(server, "env"), *args = json_member(server, "args");
        const char *cwd = text_of(server, "cwd");
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return NULL;
        fputs("# An MCP server, from a client's configuration: ", f);
        put_line(f, name, false);
        fputs("\n[Worker]\n", f);
        put_exec(f, i, name, program, args);
        fprintf(f, "Protocol=mcp\n\n# calls at a time, in one process\nSlots=%u\n", IMPORT_SLOTS);
        if (cwd && *cwd == '/' && !has_placeholder(cwd)) {
                fputs("WorkingDirectory=", f);
                put_line(f, cwd, true);
                fputc('\n', f);
        } else if (cwd)
                note(i, name, "the directory %s is left out: WorkingDirectory= takes an absolute path", cwd);
        if (json_object_is_type(env, json_type_object))
                put_environment(f, i, name, env);
        if (ferror(f) | fclose(f)) {
                free(text);
                return NULL;
        }
        return text;
}

static char *pool_text(const char *unit) {
        return str_printf("[Pool]\nWorker=%s\n\n# always ready; warm with Min=0 would start it at its first call\nTier=hot\nMin=1\n"
                          "# one process: many servers keep what they know in memory, or in a file that is theirs alone\nMax=1\n", unit);
}

/* --- files --- */

static int exists(const char *path) {
        if (access(path, F_OK) == 0) {
                error_print("%s is there already; nothing was written.", path);
                return STATUS_FAILED;
        }
        return STATUS_OK;
}

static int emit(Import *i, const char *path, const char *text, mode_t mode) {
        if (i->dry && !i->json)
                printf("%s# %s\n%s", i->n > 0 ? "\n" : "", path, text);
        if (!i->dry) {
                int r = file_write_atomic(path, text, strlen(text), mode);

                if (r < 0) {
                        error_print("cannot write %s: %s", path, strerror(-r));
                        return STATUS_FAILED;
                }
                if (!i->json)
                        printf("Wrote %s\n", path);
        }
        json_object_array_add(i->written, json_object_new_string(path));
        i->n++;
        return STATUS_OK;
}

/* One server: first pass looks (write false), second pass writes. Returns an exit status. */
static int import_server(Import *i, const char *name, json_object *server, bool write) {
        _cleanup_free_ char *unit = unit_name(name), *program = NULL, *worker = NULL, *pool = NULL, *worker_path = NULL, *pool_path = NULL;
        const char *command = text_of(server, "command"), *url = text_of(server, "url");
        bool secret = json_object_is_type(json_member(server, "env"), json_type_object);
        Import quiet = { .json = true, .notes = json_object_new_array() };
        int r;

        program = command ? find_program(command) : NULL;
        if (json_object_get_boolean(json_member(server, "disabled")) || !program) {
                json_object_put(quiet.notes);
                if (!write)
                        return STATUS_OK;
                if (program || !(command || url))
                        note(i, name, "is left out: it is %s", program ? "disabled" : "no server with a command");
                else if (!command)
                        note(i, name, "is left out: it is at %s, and flowd starts servers that speak over standard input and output; "
                                      "a program such as mcp-remote can stand between", url);
                else
                        note(i, name, "is left out: there is no program %s here", command);
                return STATUS_OK;
        }
        worker = worker_text(write ? i : &quiet, name, program, server);
        json_object_put(quiet.notes);
        pool = unit ? pool_text(unit) : NULL;
        worker_path = str_printf("%s/workers/%s.worker", i->dir, strempty(unit));
        pool_path = str_printf("%s/pools/%s.pool", i->dir, strempty(unit));
        if (!worker || !pool || !worker_path || !pool_path) {
                error_print("out of memory");
                return STATUS_FAILED;
        }
        if (!write) {
                if (json_member(i->units, unit)) {
                        error_print("two servers would be called '%s'; nothing was written.", unit);
                        return STATUS_FAILED;
                }
                json_object_object_add(i->units, unit, json_object_new_boolean(true));
                if (i->dry)
                        return STATUS_OK;
                r = exists(worker_path);
                return r != STATUS_OK ? r : exists(pool_path);
        }
        r = emit(i, worker_path, worker, secret ? 0600 : 0644); /* keys are in the environment */
        return r != STATUS_OK ? r : emit(i, pool_path, pool, 0644);
}

static int import_all(Import *i, json_object *servers) {
        int r = STATUS_OK;

        for (int pass = 0; pass < 2; pass++) {
                if (pass == 1 && !i->dry) {
                        _cleanup_free_ char *workers = str_printf("%s/workers", i->dir), *pools = str_printf("%s/pools", i->dir);

                        if (!workers || !pools || (mkdir(i->dir, 0755) < 0 && errno != EEXIST) || (mkdir(workers, 0755) < 0 && errno != EEXIST) ||
                            (mkdir(pools, 0755) < 0 && errno != EEXIST)) {
                                error_print("cannot make the directories in %s: %s", i->dir, strerror(errno));
                                return errno == EACCES || errno == EPERM ? STATUS_NOT_PERMITTED : STATUS_FAILED;
                        }
                }
                json_object_object_foreach(servers, name, server) {
                        r = import_server(i, name, server, pass == 1);
                        if (r != STATUS_OK)
                                return r;
                }
        }
        return r;
}

/* --- where from, where to --- */

static int read_servers(const char *file, json_object **ret_root, json_object **ret_servers) {
        _cleanup_json_ json_object *root = NULL;
        _cleanup_free_ char *text = NULL;
        json_object *servers;
        size_t size;
        int r;

        r = file_read(-1, streq(file, "-") ? "/dev/stdin" : file, IMPORT_FILE_MAX, &text, &size);
        if (r < 0) {
                error_print("cannot read %s: %s", file, strerror(-r));
                return STATUS_FAILED;
        }
        root = json_tokener_parse(text); /* with the comments that some clients allow */
        servers = json_member(root, "mcpServers");
        if (!servers)
                servers = json_member(root, "servers");
        if (!servers)
                servers = json_member(json_member(root, "mcp"), "servers");
        if (!json_object_is_type(servers, json_type_object)) {
                error_print("%s is no configuration of MCP servers: %s", file,
                            root ? "it has neither \"mcpServers\" nor \"servers\"." : "it is not JSON.");
                return STATUS_FAILED;
        }
        *ret_servers = servers;
        *ret_root = TAKE_PTR(root);
        return STATUS_OK;
}

/* The configuration directory of the instance that is meant; NULL where that cannot be known. */
static char *config_directory(const Flowctl *c) {
        const char *config = getenv("FLOWD_CONFIG"), *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

        if (config && *config)
                return strdup(config);
        if (runtime_is_user(c->runtime))
                return xdg && *xdg == '/' ? str_printf("%s/flowd", xdg) : home ? str_printf("%s/.config/flowd", home) : NULL;
        return option(c, OPTION_RUNTIME) ? NULL : strdup(SYSCONFDIR "/flowd");
}

int verb_mcp_import(Flowctl *c, int argc, char **argv) {
        _cleanup_json_ json_object *root = NULL, *report = json_object_new_object(), *units = json_object_new_object();
        _cleanup_free_ char *dir = argc > 1 ? strdup(argv[1]) : config_directory(c);
        Import i = { .dir = dir, .json = option(c, OPTION_JSON), .dry = option(c, OPTION_DRY_RUN), .written = json_object_new_array(),
                     .notes = json_object_new_array(), .units = units };
        json_object *servers;
        int r;

        json_object_object_add(report, "files", i.written);
        json_object_object_add(report, "notes", i.notes);
        if (!dir)
                return usage_error(c, "where is that instance's configuration? Say 'flowctl mcp import FILE DIR', or set FLOWD_CONFIG");
        r = read_servers(argv[0], &root, &servers);
        if (r == STATUS_OK)
                r = import_all(&i, servers);
        if (r != STATUS_OK)
                return r;
        if (i.json)
                return json_print(report, true);
        if (i.n == 0)
                error_print("there was no server to import.");
        else if (!i.dry && !option(c, OPTION_QUIET))
                printf("'flowctl reload' starts them, 'flowctl pool tools' shows what they can do.\n");
        return i.n > 0 ? STATUS_OK : STATUS_FAILED;
}
