/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Printing for people: colours, tables, numbers with units; and members of JSON objects. */

#include <json-c/json.h>
#include <libsmartcols/libsmartcols.h>
#include <stdio.h>

#include "flowctl/flowctl.h"

typedef enum Colour {
        COLOUR_NORMAL,
        COLOUR_BOLD,
        COLOUR_DIM,
        COLOUR_RED,
        COLOUR_GREEN,
        COLOUR_YELLOW,
        COLOUR_BLUE,
        _COLOUR_MAX,
} Colour;

/* True where colours may be written to that stream: a terminal that is not dumb, and no NO_COLOR. */
bool colours_wanted(FILE *f);
/* The sequence that switches to a colour; "" where `on` is false. */
const char *colour(bool on, Colour colour);
/* True where the terminal's characters are UTF-8. */
bool utf8_wanted(void);
/* Columns of the terminal, 80 where unknown. */
unsigned term_columns(int fd);

/* The colour in which the state of flowd, a pool, a worker or a job is shown. */
Colour state_colour(const char *state);

/* Numbers for tables. All of them write to `buf`, which has room for NUMBER_SIZE bytes, and return it. */
#define NUMBER_SIZE 48
/* Into `f` without control characters: \x0a instead of a newline, as tables have it. */
void text_put(FILE *f, const char *text);
char *format_count(char *buf, uint64_t n);      /* "9999", "12.3k", "1.2M" */
char *format_span(char *buf, uint64_t usec);    /* "850us", "1.24ms", "3.4s", "2min 3s", "3d 4h"; "-" for 0 */
char *format_age(char *buf, uint64_t since);    /* the span from a time of day to now; "-" for 0 */
char *format_bytes(char *buf, uint64_t n);      /* "512B", "1.5M" */
char *format_time(char *buf, uint64_t usec);    /* "Mon 2026-01-05 10:11:12 CET"; "-" for 0 */

/* Members; 0, NULL, 0.0 where there are none. */
int64_t json_int(json_object *o, const char *key);
const char *json_text(json_object *o, const char *key);
double json_float(json_object *o, const char *key);
json_object *json_member(json_object *o, const char *key);
/* The length of an array; 0 where it is none. */
size_t json_length(json_object *o);

/* Prints a JSON value and a newline: indented on a terminal where `pretty`, else on one line. Returns STATUS_OK. */
int json_print(json_object *o, bool pretty);

/* Tables. Running out of memory ends the program, which has nothing to lose. */
typedef struct Table {
        struct libscols_table *table;
        struct libscols_line *line; /* the current one */
        size_t column;              /* the next one */
        size_t n;                   /* lines */
        bool colours;
} Table;

typedef struct TableColumn {
        const char *name;
        double width; /* libsmartcols' hint: below 1 a share of the terminal, else characters */
        int flags;    /* SCOLS_FL_ */
} TableColumn;

void table_init(Table *t, const Flowctl *c, const TableColumn *columns, size_t n);
void table_done(Table *t);
void table_row(Table *t);
void table_cell(Table *t, Colour colour, const char *text);
void table_cell_count(Table *t, uint64_t n);
void table_cell_number(Table *t, int64_t n);
/* Prints it to stdout, and behind it, unless `what` is NULL or there is to be no legend, "N WHATs listed." */
void table_print(Table *t, const Flowctl *c, const char *what);

/* "     Name: " as `show` and `status` print; the text follows. */
void field_begin(bool colours, const char *name);
void field_print(bool colours, const char *name, const char *format, ...) _printf_(3, 4);
/* One that somebody else has chosen. */
void field_text(bool colours, const char *name, const char *text);
