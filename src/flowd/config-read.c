/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One configuration file becomes a list of assignments. libeconf reads it, but not as it stands: systemd's files and those that
 * libeconf was made for differ, and of what flowd needs, libeconf 0.5.1 loses this:
 *
 *   - a key given twice in a section keeps its first value only (Environment= has to append, an empty one to reset);
 *   - the same key in two sections shows up in the first of them only;
 *   - "#" and ";" start a comment anywhere in a line, inside quotes too;
 *   - the outermost quotes are taken off, so that `"a b" "c"` becomes `a b" "c`;
 *   - a backslash at the end continues nothing, but indentation does;
 *   - a line above 8 KiB is cut in two without a word, and lines are miscounted from there;
 *   - a word without "=" is a key; what follows a NUL byte is lost; a directory reads as an empty file.
 *
 * So the text is prepared: comments and blanks go, continuation lines are joined, each key gets its line number as a suffix that
 * no key can contain (so it is unique), and each value stands in one pair of quotes (which libeconf takes off again). Every line
 * stays on its line, so that libeconf's own complaints have the right number. After a syntax error that line is blanked and the
 * rest is read once more, so that a person is told of all of them at once.
 *
 * The prepared text is handed over as a memfd, because libeconf reads only what has a path. libeconf searches linearly, hence the
 * limit on the number of assignments.
 */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libeconf.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "flowd/config-internal.h"

#define KEY_MARK '\x1f'          /* between a key and its line number */
#define ECONF_COMMENT "\x01"     /* comments are gone already; this byte is refused in files */
#define BLANKS " \t"

typedef struct Prepared {
        Config *config;
        const char *path;
        char *text;              /* what libeconf will read */
        size_t size;
        FILE *stream;            /* writes `text` */
        size_t *line_start;      /* where each line begins in `text`; the first line is number 1 */
        size_t n_lines;
        size_t n_assignments;
} Prepared;

static void prepared_done(Prepared *p) {
        if (p->stream)
                fclose(p->stream);
        free(p->text);
        free(p->line_start);
}

static void econf_filep(econf_file **f) {
        if (*f)
                econf_freeFile(*f);
}

static void econf_arrayp(char ***v) {
        if (*v)
                econf_freeArray(*v);
}

static char *strip(char *s) {
        size_t l;

        s += strspn(s, BLANKS);
        l = strlen(s);
        while (l > 0 && strchr(BLANKS, s[l - 1]))
                s[--l] = 0;
        return s;
}

/* A backslash at the end continues the line, but an escaped one does not. */
static bool line_continues(const char *s) {
        bool escaped = false;

        for (; *s; s++)
                escaped = !escaped && *s == '\\';
        return escaped;
}

/* Writes one joined line, which began on line `number`. */
static int prepare_line(Prepared *p, char *line, unsigned number) {
        char *equals, *key, *value;

        line = strip(line);
        if (*line == '[') {
                if (strlen(line) > CONFIG_KEY_MAX)
                        return config_error(p->config, p->path, number, "the section header is longer than %u bytes",
                                            CONFIG_KEY_MAX);
                fputs(line, p->stream);
                return 0;
        }
        if (!*line)
                return 0;
        if (++p->n_assignments > CONFIG_ASSIGNMENTS_MAX) {
                if (p->n_assignments > CONFIG_ASSIGNMENTS_MAX + 1)
                        return 0;
                return config_error(p->config, p->path, number, "more than %u assignments in one file", CONFIG_ASSIGNMENTS_MAX);
        }
        equals = strchr(line, '=');
        if (!equals)
                return config_error(p->config, p->path, number, "%.100s: expected KEY=VALUE or [Section]", line);
        *equals = 0;
        key = strip(line);
        value = strip(equals + 1);
        if (!*key)
                return config_error(p->config, p->path, number, "=%.100s: there is no key before the \"=\"", value);
        if (strlen(key) > CONFIG_KEY_MAX)
                return config_error(p->config, p->path, number, "the key is longer than %u bytes", CONFIG_KEY_MAX);
        if (strlen(value) > CONFIG_VALUE_MAX)
                return config_error(p->config, p->path, number, "%s=: the value has %zu bytes, at most %u are allowed", key,
                                    strlen(value), CONFIG_VALUE_MAX);
        fprintf(p->stream, "%s%c%u=\"%s\"", key, KEY_MARK, number, value);
        return 0;
}

/* Finds what no text file of ours may contain. Returns 1 where the line is good, 0 with a message, -ENOMEM. */
static int line_check(Prepared *p, const char *line, size_t length, unsigned number) {
        if (memchr(line, 0, length))
                return config_error(p->config, p->path, number, "a NUL byte; the file is no text");
        if (!utf8_valid(line, length))
                return config_error(p->config, p->path, number, "invalid UTF-8");
        for (size_t i = 0; i < length; i++)
                if ((unsigned char) line[i] < ' ' && line[i] != '\t')
                        return config_error(p->config, p->path, number, "control character 0x%02x; the file is no text",
                                            (unsigned char) line[i]);
        return 1;
}

/* The lines that are being joined; `text` has room for the whole file. */
typedef struct Joined {
        char *text;
        size_t size;
        unsigned first; /* the line that it begins on */
        bool continued; /* the next line belongs to it */
} Joined;

static void joined_done(Joined *j) {
        free(j->text);
}

/* Takes the file's next line, without its newline. A joined line is written where it ends, before that line's newline. */
static int prepare_physical(Prepared *p, Joined *j, const char *line, size_t length, unsigned number, bool last) {
        bool comment;
        int r = 0;

        while (length > 0 && strchr(BLANKS, *line)) {
                line++;
                length--;
        }
        comment = length > 0 && strchr("#;", *line);
        if (!comment) {
                if (!j->continued) {
                        j->first = number;
                        j->size = 0;
                }
                memcpy(j->text + j->size, line, length);
                j->text[j->size + length] = 0;
                j->continued = line_continues(j->text + j->size);
                j->size += length;
                if (j->continued)
                        j->text[j->size - 1] = ' ';
        }
        fflush(p->stream);
        p->line_start[number] = p->size;
        if ((!comment && !j->continued) || (last && j->continued)) {
                r = prepare_line(p, j->text, j->first);
                j->continued = false;
        }
        fputc('\n', p->stream);
        return r;
}

static int prepare(Prepared *p, const char *data, size_t size) {
        _cleanup_(joined_done) Joined j = { .text = malloc(size + 1) };
        size_t lines = 1, bad = 0;
        unsigned number = 0;
        const char *end = data + size;
        int r;

        for (const char *s = data; s < end; s++)
                lines += *s == '\n';
        p->line_start = new0(size_t, lines + 1);
        p->stream = open_memstream(&p->text, &p->size);
        if (!j.text || !p->line_start || !p->stream)
                return -ENOMEM;
        if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) /* a byte order mark, which some editors put there */
                data += 3;

        for (const char *next; data < end; data = next) {
                const char *nl = memchr(data, '\n', (size_t) (end - data));
                size_t length = (size_t) ((nl ? nl : end) - data);

                next = nl ? nl + 1 : end;
                number++;
                if (length > 0 && data[length - 1] == '\r')
                        length--;
                r = bad < CONFIG_SYNTAX_ERRORS_MAX ? line_check(p, data, length, number) : 0;
                if (r < 0)
                        return r;
                bad += r == 0;
                r = prepare_physical(p, &j, data, r > 0 ? length : 0, number, next == end);
                if (r < 0)
                        return r;
        }
        if (fflush(p->stream) != 0)
                return -ENOMEM;
        p->n_lines = number;
        return 0;
}

static const char *syntax_text(econf_err e) {
        switch (e) {
        case ECONF_MISSING_BRACKET:
                return "the section header has no closing bracket; expected, for instance, [Pool]";
        case ECONF_EMPTY_SECTION_NAME:
                return "the section has no name; expected, for instance, [Pool]";
        case ECONF_TEXT_AFTER_SECTION:
                return "text behind the section header; expected the header alone on its line";
        case ECONF_MISSING_DELIMITER:
                return "expected KEY=VALUE or [Section]";
        default:
                return econf_errString(e);
        }
}

/* Has libeconf read the prepared text, blanking the lines that it refuses. *ret stays NULL where nothing could be read. */
static int parse(Prepared *p, econf_file **ret) {
        _cleanup_close_ int fd = memfd_create("flowd-config", MFD_CLOEXEC);
        char path[sizeof("/proc/self/fd/") + 11];

        if (fd < 0)
                return -errno;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        for (unsigned i = 0; i <= CONFIG_SYNTAX_ERRORS_MAX; i++) {
                _cleanup_(econf_filep) econf_file *f = NULL;
                _cleanup_free_ char *name = NULL;
                uint64_t line = 0;
                int r;

                if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
                        return -errno;
                r = fd_write_all(fd, p->text, p->size);
                if (r < 0)
                        return r;
                econf_err e = econf_readFile(&f, path, "=", ECONF_COMMENT);
                if (e == ECONF_SUCCESS) {
                        *ret = TAKE_PTR(f);
                        return 0;
                }
                if (e == ECONF_NOMEM)
                        return -ENOMEM;
                econf_errLocation(&name, &line);
                if (e == ECONF_NOFILE || line == 0 || line > p->n_lines)
                        return config_error(p->config, p->path, (unsigned) line, "cannot be parsed: %s", econf_errString(e));
                r = config_error(p->config, p->path, (unsigned) line, "%s", syntax_text(e));
                if (r < 0)
                        return r;
                for (size_t k = p->line_start[line]; k < p->size && p->text[k] != '\n'; k++)
                        p->text[k] = ' ';
        }
        return 0;
}

static int source_compare(const void *a, const void *b) {
        const ConfigSource *x = a, *y = b;

        return x->line < y->line ? -1 : x->line > y->line;
}

/* Takes one section's values; NULL is what stands before the first header. */
static int collect_section(Prepared *p, econf_file *f, const char *section, ConfigSource *sources, size_t *n) {
        _cleanup_(econf_arrayp) char **keys = NULL;
        size_t n_keys = 0;
        econf_err e = econf_getKeys(f, section, &n_keys, &keys);

        if (e != ECONF_SUCCESS)
                return e == ECONF_NOMEM ? -ENOMEM : 0; /* no keys */
        for (size_t i = 0; i < n_keys && *n < p->n_assignments; i++) {
                _cleanup_free_ char *value = NULL;
                const char *mark = strrchr(keys[i], KEY_MARK);
                ConfigSource *s = sources + *n;

                if (!mark)
                        continue;
                e = econf_getStringValue(f, section, keys[i], &value);
                if (e != ECONF_SUCCESS && e != ECONF_KEY_HAS_NULL_VALUE)
                        return e == ECONF_NOMEM ? -ENOMEM : -EIO;
                s->line = (unsigned) strtoul(mark + 1, NULL, 10);
                s->key = strndup(keys[i], (size_t) (mark - keys[i]));
                s->value = strdup(strempty(value));
                s->file = strdup(p->path);
                if (section)
                        s->section = strdup(section);
                (*n)++;
                if (!s->key || !s->value || !s->file || (section && !s->section))
                        return -ENOMEM;
        }
        return 0;
}

int config_read_buffer(Config *c, const char *path, const char *data, size_t size, ConfigSource **ret, size_t *ret_n) {
        _cleanup_(prepared_done) Prepared p = { .config = c, .path = path };
        _cleanup_(econf_filep) econf_file *f = NULL;
        _cleanup_(econf_arrayp) char **groups = NULL;
        size_t n = 0, n_groups = 0;
        int r;

        r = prepare(&p, data, size);
        if (r < 0)
                return r;
        r = parse(&p, &f);
        if (r < 0)
                return r;

        ConfigSource *sources = new0(ConfigSource, p.n_assignments + 1);
        if (!sources)
                return -ENOMEM;
        if (f) {
                econf_err e = econf_getGroups(f, &n_groups, &groups);
                r = e == ECONF_NOMEM ? -ENOMEM : collect_section(&p, f, NULL, sources, &n);
                for (size_t i = 0; e == ECONF_SUCCESS && r == 0 && i < n_groups; i++) {
                        bool seen = false;

                        for (size_t k = 0; k < i && !seen; k++) /* a section that is taken up again is listed twice */
                                seen = streq(groups[i], groups[k]);
                        if (!seen)
                                r = collect_section(&p, f, groups[i], sources, &n);
                }
        }
        if (r < 0) {
                config_sources_free(sources, n);
                return r;
        }
        qsort(sources, n, sizeof *sources, source_compare);
        *ret = sources;
        *ret_n = n;
        return 0;
}

int config_read(Config *c, const char *path, ConfigSource **ret, size_t *ret_n) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        _cleanup_free_ char *data = NULL;
        size_t size = 0;
        struct stat st;

        *ret = NULL;
        *ret_n = 0;
        if (fd < 0 || fstat(fd, &st) < 0)
                return config_error(c, path, 0, "cannot be read: %s", strerror(errno));
        if (!S_ISREG(st.st_mode))
                return config_error(c, path, 0, "is not a regular file");
        data = malloc(CONFIG_FILE_MAX + 1);
        if (!data)
                return -ENOMEM;
        for (;;) {
                ssize_t k = read(fd, data + size, CONFIG_FILE_MAX + 1 - size);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return config_error(c, path, 0, "cannot be read: %s", strerror(errno));
                if (k == 0)
                        break;
                size += (size_t) k;
                if (size > CONFIG_FILE_MAX)
                        return config_error(c, path, 0, "is larger than %u bytes", CONFIG_FILE_MAX);
        }
        return config_read_buffer(c, path, data, size, ret, ret_n);
}
