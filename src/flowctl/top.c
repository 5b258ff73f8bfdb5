/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * top: the pools while they work. flowd sends its status at each interval (Watch); rates are the differences of two of them. On a
 * terminal the screen is drawn whole each time, into one buffer and with one write, in the alternate screen, which is left again
 * however the program ends: signals come from a descriptor, so there is no way out past the end of the loop but SIGKILL.
 */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "flowctl/term.h"

#define INTERVAL_DEFAULT_USEC USEC_PER_SEC
#define SCREEN_OPEN "\033[?1049h\033[?25l"
#define SCREEN_CLOSE "\033[?25h\033[?1049l"
#define POOLS_MAX 4096U

typedef struct PoolRow {
        json_object *pool; /* in the current status */
        const char *name;
        double rate;       /* jobs that ended, per second */
        uint64_t p50, p99;
        int64_t queued, busy, slots, failed;
} PoolRow;

typedef struct Top {
        Flowctl *c;
        json_object *status, *before; /* the newest, and the one before it */
        uint64_t usec, before_usec;   /* CLOCK_MONOTONIC, when they came */
        PoolRow *rows;
        size_t n_rows;
        char sort;                    /* its key */
        bool reverse, paused, quit;
        char *screen;                 /* what is written at once */
        size_t size;
        FILE *out;
        unsigned lines, columns;
        bool colours, fancy;
} Top;

/* --- rows --- */

static int64_t pool_ended(json_object *p) {
        return json_int(p, "completed") + json_int(p, "failed") + json_int(p, "timeout") + json_int(p, "cancelled");
}

static json_object *pool_find(json_object *status, const char *name) {
        json_object *pools = json_member(status, "pools");

        for (size_t i = 0; i < json_length(pools); i++) {
                json_object *p = json_object_array_get_idx(pools, i);

                if (streq(strempty(json_text(p, "name")), name))
                        return p;
        }
        return NULL;
}

static void top_rows(Top *t) {
        json_object *pools = json_member(t->status, "pools");
        double span = (double) (t->usec - t->before_usec) / USEC_PER_SEC;
        size_t n = MIN(json_length(pools), (size_t) POOLS_MAX);
        PoolRow *rows = realloc(t->rows, MAX(n, (size_t) 1) * sizeof(PoolRow));

        if (!rows)
                return;
        t->rows = rows;
        t->n_rows = n;
        for (size_t i = 0; i < n; i++) {
                json_object *p = json_object_array_get_idx(pools, i), *before;
                PoolRow *r = rows + i;

                *r = (PoolRow){
                        .pool = p,
                        .name = strempty(json_text(p, "name")),
                        .p50 = (uint64_t) json_int(p, "latency_p50_usec"),
                        .p99 = (uint64_t) json_int(p, "latency_p99_usec"),
                        .queued = json_int(p, "queued"),
                        .busy = json_int(p, "running"),
                        .slots = json_int(p, "slots"),
                        .failed = json_int(p, "failed") + json_int(p, "timeout"),
                };
                before = t->before ? pool_find(t->before, r->name) : NULL;
                if (before && span > 0)
                        r->rate = (double) MAX(pool_ended(p) - pool_ended(before), (int64_t) 0) / span;
        }
}

/* Numbers fall, names rise; `v` turns that round. */
static int row_compare(const void *a, const void *b, void *userdata) {
        const PoolRow *x = a, *y = b;
        const Top *t = userdata;
        double d = 0;

        switch (t->sort) {
        case 'r':
                d = y->rate - x->rate;
                break;
        case 'p':
                d = (double) y->p99 - (double) x->p99;
                break;
        case 'l':
                d = (double) (y->busy - x->busy);
                break;
        case 'u':
                d = (double) (y->queued - x->queued);
                break;
        case 'b':
                d = (y->slots > 0 ? (double) y->busy / (double) y->slots : 0) -
                    (x->slots > 0 ? (double) x->busy / (double) x->slots : 0);
                break;
        }
        int r = d > 0 ? 1 : d < 0 ? -1 : strcmp(x->name, y->name);
        return t->reverse ? -r : r;
}

static char *format_rate(char *buf, double rate) {
        if (rate >= 100)
                return format_count(buf, (uint64_t) rate);
        snprintf(buf, NUMBER_SIZE, rate > 0 ? "%.1f" : "%.0f", rate);
        return buf;
}

/* --- the screen --- */

static void screen_line(Top *t, unsigned *line, const char *format, ...) _printf_(3, 4);
static void screen_line(Top *t, unsigned *line, const char *format, ...) {
        va_list ap;

        if (*line >= t->lines)
                return;
        if ((*line)++ > 0)
                fputs("\r\n", t->out);
        va_start(ap, format);
        vfprintf(t->out, format, ap);
        va_end(ap);
        fputs("\033[0m\033[K", t->out);
}

/* "[████████····]", in `buf`, which holds four bytes a cell. */
static char *format_bar(const Top *t, char *buf, size_t size, double part, unsigned width) {
        unsigned full = (unsigned) (part * width + 0.5);
        size_t used = 0;

        buf[0] = 0;
        for (unsigned i = 0; i < width && used + 4 < size; i++)
                used += (size_t) snprintf(buf + used, size - used, "%s",
                                          i < full   ? (t->fancy ? "█" : "#")
                                          : t->fancy ? "·"
                                                     : ".");
        return buf;
}

static void screen_head(Top *t, unsigned *line) {
        static const char *const ended[] = { "jobs_completed", "jobs_failed", "jobs_timeout", "jobs_cancelled" };
        char age[NUMBER_SIZE], rss[NUMBER_SIZE], rate[NUMBER_SIZE], a[NUMBER_SIZE], b[NUMBER_SIZE], f[NUMBER_SIZE];
        const char *state = strna(json_text(t->status, "state"));
        double span = (double) (t->usec - t->before_usec) / USEC_PER_SEC, jobs = 0;

        for (size_t i = 0; i < ELEMENTSOF(ended) && t->before; i++)
                jobs += (double) (json_int(t->status, ended[i]) - json_int(t->before, ended[i]));
        screen_line(t, line, "%sflowd%s %s  %s%s%s  up %s  %s  %" PRId64 " client%s  %" PRId64 " descriptors%s",
                    colour(t->colours, COLOUR_BOLD), colour(t->colours, COLOUR_NORMAL), strna(json_text(t->status, "version")),
                    colour(t->colours, state_colour(state)), state, colour(t->colours, COLOUR_NORMAL),
                    format_age(age, (uint64_t) json_int(t->status, "started_usec")),
                    format_bytes(rss, (uint64_t) json_int(t->status, "rss")), json_int(t->status, "clients"),
                    json_int(t->status, "clients") == 1 ? "" : "s", json_int(t->status, "fds"), t->paused ? "  (paused)" : "");
        screen_line(t, line, "%s%s%s jobs/s  %s running  %s queued  %s completed  %s failed", colour(t->colours, COLOUR_BOLD),
                    format_rate(rate, t->before && span > 0 ? MAX(jobs, 0.0) / span : 0), colour(t->colours, COLOUR_NORMAL),
                    format_count(a, (uint64_t) json_int(t->status, "jobs_running")),
                    format_count(b, (uint64_t) json_int(t->status, "jobs_queued")),
                    format_count((char[NUMBER_SIZE]){}, (uint64_t) json_int(t->status, "jobs_completed")),
                    format_count(f, (uint64_t) (json_int(t->status, "jobs_failed") + json_int(t->status, "jobs_timeout"))));
        screen_line(t, line, "%s", "");
}

/* A heading, marked where the table is sorted by it; `letter` is the key's own letter in it. */
static void screen_heading(Top *t, const char *title, int width, char key) {
        bool here = t->sort == key;

        fprintf(t->out, "%s%*s%s ", here ? "\033[1;7m" : "\033[7m", width, title, "\033[0m\033[7m");
}

static void screen_row(Top *t, unsigned *line, const PoolRow *r, unsigned name_width, unsigned bar_width) {
        char rate[NUMBER_SIZE], p50[NUMBER_SIZE], p99[NUMBER_SIZE], queued[NUMBER_SIZE], failed[NUMBER_SIZE], slots[NUMBER_SIZE],
                bar[256];
        const char *state = strna(json_text(r->pool, "state"));
        double part = r->slots > 0 ? MIN((double) r->busy / (double) r->slots, 1.0) : 0;
        Colour c = part > 0.9 ? COLOUR_RED : part > 0.6 ? COLOUR_YELLOW : COLOUR_GREEN;

        snprintf(slots, sizeof(slots), "%" PRId64 "/%" PRId64, r->busy, r->slots);
        screen_line(t, line, "%s%-*.*s%s %-4s %s%-9.9s%s %7s %7s %7s %6s %6s %7s %s%s%s", colour(t->colours, COLOUR_BOLD),
                    (int) name_width, (int) name_width, r->name, colour(t->colours, COLOUR_NORMAL),
                    strempty(json_text(r->pool, "tier")), colour(t->colours, state_colour(state)), state,
                    colour(t->colours, COLOUR_NORMAL), format_rate(rate, r->rate), format_span(p50, r->p50),
                    format_span(p99, r->p99), format_count(queued, (uint64_t) r->queued),
                    format_count(failed, (uint64_t) r->failed), slots, colour(t->colours, c),
                    format_bar(t, bar, sizeof(bar), part, bar_width), colour(t->colours, COLOUR_NORMAL));
}

#define FIXED_COLUMNS (5 + 10 + 8 + 8 + 8 + 7 + 7 + 8 + 1) /* all but the name and the bar, with their blanks */

static void top_draw(Top *t) {
        struct winsize ws;
        unsigned line = 0, name_width = 8, bar_width;
        bool size = ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0;

        t->columns = size ? ws.ws_col : 80;
        t->lines = size ? ws.ws_row : 24;
        for (size_t i = 0; i < t->n_rows; i++)
                name_width = MAX(name_width, (unsigned) strlen(t->rows[i].name));
        unsigned space = t->columns > FIXED_COLUMNS ? t->columns - FIXED_COLUMNS : 0;
        name_width = MIN(name_width, MAX(space * 2 / 3, 8U));
        bar_width = space > name_width ? MIN(space - name_width, 40U) : 0;

        rewind(t->out);
        fputs("\033[H\033[?7l", t->out);
        screen_head(t, &line);
        if (t->rows)
                qsort_r(t->rows, t->n_rows, sizeof(PoolRow), row_compare, t);
        if (line < t->lines) {
                line++;
                fputs("\r\n\033[7m", t->out);
                screen_heading(t, "POOL", -(int) name_width, 'n');
                fprintf(t->out, "%-4s %-9s ", "TIER", "STATE");
                screen_heading(t, "JOBS/S", 7, 'r');
                fprintf(t->out, "%7s ", "P50");
                screen_heading(t, "P99", 7, 'p');
                screen_heading(t, "QUEUED", 6, 'u');
                fprintf(t->out, "%6s ", "FAILED");
                screen_heading(t, "RUNNING", 7, 'l');
                screen_heading(t, "BUSY", -(int) bar_width, 'b');
                fputs("\033[0m\033[K", t->out);
        }
        for (size_t i = 0; i < t->n_rows && line + 1 < t->lines; i++)
                screen_row(t, &line, t->rows + i, name_width, bar_width);
        for (size_t i = 0; i < t->n_rows && line + 2 < t->lines; i++) {
                const char *reason = json_text(t->rows[i].pool, "reason");

                if (reason && *reason)
                        screen_line(t, &line, "%s%s%s: %s", colour(t->colours, COLOUR_RED), t->rows[i].name,
                                    colour(t->colours, COLOUR_NORMAL), reason);
        }
        while (line + 1 < t->lines)
                screen_line(t, &line, "%s", "");
        screen_line(t, &line, "%sq quit  sort: n name  r rate  p p99  u queued  l running  b busy   v reverse  space pause%s",
                    colour(t->colours, COLOUR_DIM), colour(t->colours, COLOUR_NORMAL));
        fputs("\033[J\033[?7h", t->out);
        fflush(t->out);
        (void) fd_write_all(STDOUT_FILENO, t->screen, (size_t) ftello(t->out));
}

static void top_key(Top *t, char key) {
        switch (key) {
        case 'q':
        case 'Q':
        case 3: /* Ctrl-C and Ctrl-D, as bytes, should the terminal send them so */
        case 4:
                t->quit = true;
                return;
        case ' ':
                t->paused = !t->paused;
                break;
        case 'v':
                t->reverse = !t->reverse;
                break;
        case 'n':
        case 'r':
        case 'p':
        case 'u':
        case 'l':
        case 'b':
                t->sort = key;
                break;
        default:
                return;
        }
        if (t->status)
                top_draw(t);
}

/* Keys as they stand in the buffer; escape sequences (arrows and the like) are skipped whole. */
static void top_keys(Top *t, const char *s, size_t n) {
        for (size_t i = 0; i < n && !t->quit; i++) {
                if (s[i] == '\033') {
                        if (i + 1 < n && (s[i + 1] == '[' || s[i + 1] == 'O'))
                                for (i += 2; i < n && !(s[i] >= '@' && s[i] <= '~'); i++)
                                        ;
                        continue;
                }
                top_key(t, s[i]);
        }
}

/* --- the stream --- */

/* Takes a new status over. */
static void top_take(Top *t, json_object *reply) {
        json_object *status = json_member(reply, "status");

        if (t->paused)
                return;
        json_object_put(t->before);
        t->before = t->status;
        t->before_usec = t->usec;
        t->status = json_object_get(status ? status : reply);
        t->usec = now_usec();
        top_rows(t);
}

static int top_watch(Top *t, uint64_t interval_usec) {
        json_object *parameters;
        int r;

        r = control_connect(t->c);
        if (r > 0)
                return r;
        parameters = json_object_new_object();
        json_object_object_add(parameters, "interval_usec", json_object_new_int64((int64_t) interval_usec));
        r = varlink_client_send(t->c->client, "io.flowd.Watch", parameters, true);
        return r < 0 ? control_failed(t->c, r) : 0;
}

/* Without a terminal: a table, or a JSON object, at each interval. */
static void top_snapshot(Top *t) {
        static const TableColumn columns[] = {
                { "POOL", 0.2, 0 },             { "TIER", 4, 0 },               { "STATE", 8, 0 },
                { "JOBS/S", 8, SCOLS_FL_RIGHT }, { "P50", 7, SCOLS_FL_RIGHT },   { "P99", 7, SCOLS_FL_RIGHT },
                { "QUEUED", 7, SCOLS_FL_RIGHT }, { "RUNNING", 7, SCOLS_FL_RIGHT }, { "FAILED", 7, SCOLS_FL_RIGHT },
        };
        _cleanup_(table_done) Table table = {};
        char buf[NUMBER_SIZE];

        if (option(t->c, OPTION_JSON)) {
                json_print(t->status, false);
                fflush(stdout);
                return;
        }
        table_init(&table, t->c, columns, ELEMENTSOF(columns));
        qsort_r(t->rows, t->n_rows, sizeof(PoolRow), row_compare, t);
        for (size_t i = 0; i < t->n_rows; i++) {
                const PoolRow *r = t->rows + i;

                table_row(&table);
                table_cell(&table, COLOUR_NORMAL, r->name);
                table_cell(&table, COLOUR_NORMAL, json_text(r->pool, "tier"));
                table_cell(&table, COLOUR_NORMAL, json_text(r->pool, "state"));
                table_cell(&table, COLOUR_NORMAL, t->before ? format_rate(buf, r->rate) : NULL);
                table_cell(&table, COLOUR_NORMAL, format_span(buf, r->p50));
                table_cell(&table, COLOUR_NORMAL, format_span(buf, r->p99));
                table_cell_count(&table, (uint64_t) r->queued);
                table_cell_count(&table, (uint64_t) r->busy);
                table_cell_count(&table, (uint64_t) r->failed);
        }
        table_print(&table, t->c, NULL);
        putchar('\n');
        fflush(stdout);
}

static int top_plain(Top *t, uint64_t count) {
        bool continues = true;

        for (uint64_t n = 0; continues && (count == 0 || n < count); n++) {
                _cleanup_json_ json_object *reply = NULL;
                int r = control_next(t->c, &reply, &continues);

                if (r >= 0)
                        return r;
                top_take(t, reply);
                top_snapshot(t);
        }
        return STATUS_OK;
}

/* Waits for a status, a key or a signal, and acts on it. Returns -1 to go on, else an exit status. */
static int top_step(Top *t, int signal_fd, uint64_t *count) {
        struct pollfd p[3] = { { varlink_client_fd(t->c->client), POLLIN, 0 },
                               { STDIN_FILENO, POLLIN, 0 },
                               { signal_fd, POLLIN, 0 } };
        struct signalfd_siginfo si;
        char keys[64];

        if (poll(p, ELEMENTSOF(p), varlink_client_pending(t->c->client) ? 0 : -1) < 0)
                return errno == EINTR ? -1 : STATUS_FAILED;
        if (p[2].revents && read(signal_fd, &si, sizeof(si)) == sizeof(si)) {
                if (si.ssi_signo != SIGWINCH)
                        return si.ssi_signo == SIGINT ? STATUS_OK : STATUS_SIGNAL + (int) si.ssi_signo;
                if (t->status)
                        top_draw(t);
        }
        if (p[1].revents) {
                ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

                if (n <= 0)
                        return STATUS_OK; /* the terminal is gone */
                top_keys(t, keys, (size_t) n);
        }
        if (p[0].revents || varlink_client_pending(t->c->client)) {
                _cleanup_json_ json_object *reply = NULL;
                bool continues;
                int r = control_next(t->c, &reply, &continues);

                if (r >= 0)
                        return r;
                top_take(t, reply);
                if (!t->paused)
                        top_draw(t);
                if (!continues || (*count > 0 && --*count == 0))
                        return STATUS_OK;
        }
        return t->quit ? STATUS_OK : -1;
}

static int top_screen(Top *t, uint64_t count) {
        _cleanup_close_ int signal_fd = -1;
        struct termios saved, raw;
        sigset_t signals;
        int r;

        sigemptyset(&signals);
        for (size_t i = 0; i < 5; i++)
                sigaddset(&signals, (const int[]) { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH }[i]);
        sigaddset(&signals, SIGTSTP); /* a stopped program would leave the terminal raw: Ctrl-Z does nothing here */
        sigprocmask(SIG_BLOCK, &signals, NULL);
        sigdelset(&signals, SIGTSTP);
        signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        t->out = open_memstream(&t->screen, &t->size);
        if (signal_fd < 0 || !t->out || tcgetattr(STDIN_FILENO, &saved) < 0) {
                error_print("cannot use the terminal: %s", strerror(errno));
                return STATUS_FAILED;
        }
        raw = saved;
        raw.c_lflag &= ~(tcflag_t) (ICANON | ECHO);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
        (void) fd_write_all(STDOUT_FILENO, SCREEN_OPEN, strlen(SCREEN_OPEN));
        /* Messages would be lost on the alternate screen: they are held back until it is left. */
        char *messages = NULL;
        size_t messages_size = 0;
        FILE *terminal = stderr, *held = open_memstream(&messages, &messages_size);
        if (held)
                stderr = held;
        while ((r = top_step(t, signal_fd, &count)) < 0)
                ;
        (void) fd_write_all(STDOUT_FILENO, SCREEN_CLOSE, strlen(SCREEN_CLOSE));
        tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
        stderr = terminal;
        if (held)
                fclose(held);
        if (messages)
                fputs(messages, stderr);
        free(messages);
        return r;
}

int verb_top(Flowctl *c, int argc _unused_, char **argv _unused_) {
        Top t = { .c = c, .sort = 'n', .colours = colours_wanted(stdout), .fancy = utf8_wanted() };
        uint64_t interval = INTERVAL_DEFAULT_USEC, count = 0;
        int r;

        r = option_usec(c, OPTION_INTERVAL, &interval);
        if (r == 0)
                r = option_number(c, OPTION_COUNT, 1, INT32_MAX, &count);
        if (r == 0)
                r = top_watch(&t, interval);
        if (r > 0)
                return r;
        if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !option(c, OPTION_JSON))
                r = top_screen(&t, count);
        else
                r = top_plain(&t, count);
        json_object_put(t.status);
        json_object_put(t.before);
        free(t.rows);
        if (t.out)
                fclose(t.out);
        free(t.screen);
        return r;
}
