/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a person reads. Tables are libsmartcols', which cuts the columns that may be cut when a terminal is too narrow, and cuts
 * nothing when the output is no terminal. Numbers lose digits where nobody reads them: who wants them all asks for JSON.
 */

#include <langinfo.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "basic/str.h"
#include "flowctl/term.h"

bool colours_wanted(FILE *f) {
        const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

        return isatty(fileno(f)) && !(no && *no) && term && !streq(term, "dumb");
}

const char *colour(bool on, Colour c) {
        static const char *const sequences[_COLOUR_MAX] = {
                [COLOUR_NORMAL] = "\033[0m", [COLOUR_BOLD] = "\033[1m",    [COLOUR_DIM] = "\033[2m",   [COLOUR_RED] = "\033[31m",
                [COLOUR_GREEN] = "\033[32m", [COLOUR_YELLOW] = "\033[33m", [COLOUR_BLUE] = "\033[34m",
        };

        return on ? sequences[c] : "";
}

bool utf8_wanted(void) {
        return streq(nl_langinfo(CODESET), "UTF-8");
}

unsigned term_columns(int fd) {
        struct winsize ws;

        return ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0 ? ws.ws_col : 80;
}

Colour state_colour(const char *state) {
        static const struct {
                const char *state;
                Colour colour;
        } colours[] = {
                { "running", COLOUR_GREEN },    { "ready", COLOUR_GREEN },      { "completed", COLOUR_GREEN },
                { "busy", COLOUR_GREEN },       { "active", COLOUR_GREEN },     { "degraded", COLOUR_RED },
                { "failed", COLOUR_RED },       { "timeout", COLOUR_RED },      { "broken", COLOUR_RED },
                { "dead", COLOUR_RED },         { "starting", COLOUR_YELLOW },  { "initializing", COLOUR_YELLOW }, { "pending", COLOUR_YELLOW },
                { "scaling", COLOUR_YELLOW },   { "stopped", COLOUR_YELLOW },   { "draining", COLOUR_YELLOW },
                { "drained", COLOUR_YELLOW },   { "stopping", COLOUR_YELLOW },  { "queued", COLOUR_YELLOW },
                { "cancelled", COLOUR_YELLOW }, { "reloading", COLOUR_YELLOW }, { "recovering", COLOUR_YELLOW },
        };

        for (size_t i = 0; state && i < ELEMENTSOF(colours); i++)
                if (streq(state, colours[i].state))
                        return colours[i].colour;
        return COLOUR_NORMAL;
}

char *format_count(char *buf, uint64_t n) {
        static const char suffixes[] = "kMGTPE";
        double v = (double) n;
        int i = -1;

        if (n < 10000) {
                snprintf(buf, NUMBER_SIZE, "%ju", (uintmax_t) n);
                return buf;
        }
        while (v >= 1000 && i < 5) {
                v /= 1000;
                i++;
        }
        snprintf(buf, NUMBER_SIZE, v < 100 ? "%.1f%c" : "%.0f%c", v, suffixes[i]);
        return buf;
}

char *format_span(char *buf, uint64_t usec) {
        const uint64_t s = usec / USEC_PER_SEC;

        if (usec == 0)
                str_copy(buf, NUMBER_SIZE, "-");
        else if (usec < 1000)
                snprintf(buf, NUMBER_SIZE, "%juus", (uintmax_t) usec);
        else if (s == 0)
                snprintf(buf, NUMBER_SIZE, usec < 10000 ? "%.2fms" : usec < 100000 ? "%.1fms" : "%.0fms", (double) usec / 1000);
        else if (s < 60)
                snprintf(buf, NUMBER_SIZE, s < 10 ? "%.2fs" : "%.1fs", (double) usec / USEC_PER_SEC);
        else if (s < 3600)
                snprintf(buf, NUMBER_SIZE, "%jumin %jus", (uintmax_t) s / 60, (uintmax_t) s % 60);
        else if (s < 86400)
                snprintf(buf, NUMBER_SIZE, "%juh %jumin", (uintmax_t) s / 3600, (uintmax_t) s / 60 % 60);
        else
                snprintf(buf, NUMBER_SIZE, "%jud %juh", (uintmax_t) s / 86400, (uintmax_t) s / 3600 % 24);
        return buf;
}

char *format_age(char *buf, uint64_t since) {
        uint64_t now = realtime_usec();

        if (since == 0)
                return format_span(buf, 0);
        return format_span(buf, now > since ? now - since : 1);
}

char *format_bytes(char *buf, uint64_t n) {
        return size_format(buf, NUMBER_SIZE, n);
}

char *format_time(char *buf, uint64_t usec) {
        time_t t = (time_t) (usec / USEC_PER_SEC);
        struct tm tm;

        if (usec == 0 || !localtime_r(&t, &tm) || strftime(buf, NUMBER_SIZE, "%a %F %T %Z", &tm) == 0)
                str_copy(buf, NUMBER_SIZE, "-");
        return buf;
}

void text_put(FILE *f, const char *text) {
        for (const char *p = text; *p; p++)
                if ((unsigned char) *p < ' ' || *p == 0x7f)
                        fprintf(f, "\\x%02x", (unsigned) (unsigned char) *p);
                else
                        putc(*p, f);
}

json_object *json_member(json_object *o, const char *key) {
        json_object *v;

        return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

int64_t json_int(json_object *o, const char *key) {
        return json_object_get_int64(json_member(o, key));
}

const char *json_text(json_object *o, const char *key) {
        json_object *v = json_member(o, key);

        return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

double json_float(json_object *o, const char *key) {
        return json_object_get_double(json_member(o, key));
}

size_t json_length(json_object *o) {
        return json_object_is_type(o, json_type_array) ? json_object_array_length(o) : 0;
}

int json_print(json_object *o, bool pretty) {
        int flags = JSON_C_TO_STRING_NOSLASHESCAPE;

        flags |= pretty && isatty(STDOUT_FILENO) ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : JSON_C_TO_STRING_PLAIN;
        puts(json_object_to_json_string_ext(o, flags));
        return STATUS_OK;
}

static void table_check(bool ok) {
        if (!ok) {
                error_print("out of memory");
                exit(STATUS_FAILED);
        }
}

void table_init(Table *t, const Flowctl *c, const TableColumn *columns, size_t n) {
        *t = (Table) { .table = scols_new_table(), .colours = colours_wanted(stdout) };
        table_check(t->table);
        scols_table_enable_noheadings(t->table, option(c, OPTION_NO_LEGEND));
        scols_table_enable_colors(t->table, t->colours);
        for (size_t i = 0; i < n; i++) {
                struct libscols_column *column =
                        scols_table_new_column(t->table, columns[i].name, columns[i].width, columns[i].flags);

                table_check(column);
                if (t->colours)
                        scols_cell_set_color(scols_column_get_header(column), "\033[4m");
        }
}

void table_done(Table *t) {
        scols_unref_table(t->table);
        *t = (Table) {};
}

void table_row(Table *t) {
        t->line = scols_table_new_line(t->table, NULL);
        t->column = 0;
        t->n++;
        table_check(t->line);
}

void table_cell(Table *t, Colour c, const char *text) {
        size_t column = t->column++;

        table_check(scols_line_set_data(t->line, column, text && *text ? text : "-") == 0);
        if (c != COLOUR_NORMAL && t->colours)
                scols_cell_set_color(scols_line_get_cell(t->line, column), colour(true, c));
}

void table_cell_count(Table *t, uint64_t n) {
        char buf[NUMBER_SIZE];

        table_cell(t, COLOUR_NORMAL, format_count(buf, n));
}

void table_cell_number(Table *t, int64_t n) {
        char buf[NUMBER_SIZE];

        snprintf(buf, sizeof(buf), "%jd", (intmax_t) n);
        table_cell(t, COLOUR_NORMAL, buf);
}

void table_print(Table *t, const Flowctl *c, const char *what) {
        if (t->n > 0)
                scols_print_table(t->table);
        if (what && !option(c, OPTION_NO_LEGEND) && !option(c, OPTION_QUIET))
                printf("%s%zu %s%s listed.\n", t->n > 0 ? "\n" : "", t->n, what, plural(t->n));
}

void field_begin(bool colours, const char *name) {
        printf("%s%12s:%s ", colour(colours, COLOUR_BOLD), name, colour(colours, COLOUR_NORMAL));
}

void field_print(bool colours, const char *name, const char *format, ...) {
        va_list ap;

        field_begin(colours, name);
        va_start(ap, format);
        vprintf(format, ap);
        va_end(ap);
        putchar('\n');
}

void field_text(bool colours, const char *name, const char *text) {
        field_begin(colours, name);
        text_put(stdout, text);
        putchar('\n');
}
