/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What flowctl's files share: exit statuses, options, verbs, and the context that a verb runs in. */

#include <json-c/json.h>

#include "basic/macro.h"
#include "client/varlink-client.h"

/* Scripts depend on these numbers: flowctl(1). */
enum {
        STATUS_OK = 0,
        STATUS_FAILED = 1,
        STATUS_USAGE = 2,
        STATUS_NO_DAEMON = 69,     /* sysexits.h: EX_UNAVAILABLE */
        STATUS_REFUSED = 75,       /* EX_TEMPFAIL */
        STATUS_NOT_PERMITTED = 77, /* EX_NOPERM */
        STATUS_TIMEOUT = 124,      /* as timeout(1) */
        STATUS_SIGNAL = 128,       /* plus the signal's number */
        STATUS_CANCELLED = 130,
};

/* Every option, and with it every member of Flowctl.options. The same name means the same in all verbs. */
typedef enum OptionId {
        OPTION_HELP,
        OPTION_VERSION,
        OPTION_RUNTIME,
        OPTION_USER,
        OPTION_SYSTEM,
        OPTION_JSON,
        OPTION_NO_LEGEND,
        OPTION_NO_PAGER,
        OPTION_QUIET,
        OPTION_POOL,
        OPTION_WORKER,
        OPTION_JOB,
        OPTION_STATE,
        OPTION_LIMIT,
        OPTION_FOLLOW,
        OPTION_SIGNAL,
        OPTION_INTERVAL,
        OPTION_COUNT,
        OPTION_TIER,
        OPTION_METHOD,
        OPTION_SESSION,
        OPTION_TIMEOUT,
        OPTION_DEADLINE,
        OPTION_PRIORITY,
        OPTION_QUEUE_TIMEOUT,
        OPTION_PAYLOAD,
        OPTION_PROGRESS,
        OPTION_FILE,
        OPTION_LINES,
        OPTION_NULL,
        OPTION_EACH,
        OPTION_FILES,
        OPTION_FILES_FROM,
        OPTION_UNORDERED,
        OPTION_TAG,
        OPTION_JOBS,
        OPTION_DURABLE,
        OPTION_KEY,
        OPTION_RETRIES,
        OPTION_RETRY_DELAY,
        OPTION_DELAY,
        OPTION_SINCE,
        OPTION_OFFSET,
        OPTION_LENGTH,
        OPTION_ALL,
        OPTION_CLIENT,
        OPTION_DRY_RUN,
        OPTION_WORKER_TYPE,
        OPTION_STRATEGY,
        OPTION_FALLBACK,
        OPTION_WEIGHT,
        OPTION_PAYLOAD_SIZE,
        OPTION_NAME,
        OPTION_POOL_TYPE,
        OPTION_MIN,
        OPTION_MAX,
        OPTION_BATCH,
        OPTION_ID,
        OPTION_NEEDS,
        OPTION_ON_FAILURE,
        OPTION_FORCE,
        OPTION_MOMENTUM,
        OPTION_BLOCKED,
        OPTION_FAILED,
        OPTION_DOT,
        _OPTION_MAX,
} OptionId;

typedef struct Flowctl Flowctl;

typedef struct Verb {
        const char *name;    /* "pool list" */
        const char *args;    /* "POOL [N]", "" */
        int min, max;        /* arguments behind the name; max -1: any number */
        uint64_t options;    /* a bit for each option that it takes besides the global ones */
        int (*run)(Flowctl *c, int argc, char **argv); /* returns an exit status, having told why it is not 0 */
        const char *summary; /* one line */
        const char *more;    /* further text for --help; may be NULL */
} Verb;

struct Flowctl {
        const Verb *verb;
        char *runtime;
        const char *options[_OPTION_MAX]; /* NULL: not given; "" where without an argument */
        VarlinkClient *client;            /* NULL until control_connect() */
};

static inline bool option(const Flowctl *c, OptionId id) {
        return c->options[id] != NULL;
}

/* main.c */
/* Prints "flowctl: ..." and a newline to stderr. */
void error_print(const char *format, ...) _printf_(1, 2);
/* The same about a misuse; adds where help is. Returns STATUS_USAGE. */
int usage_error(const Flowctl *c, const char *format, ...) _printf_(2, 3);

#define JOB_TEXT_MAX 255U /* bytes of a method, a session, a key: as flowd's own limit */

/* options.c: what is written on the command line, from the same tables that --help shows */
/* Parses argv into `c` and *ret_args, *ret_n (the arguments behind the verb). Returns -1 to go on, else an exit status. */
int options_parse(Flowctl *c, int argc, char **argv, char ***ret_args, int *ret_n);
/* An option's argument as a number within limits, or as a time span; `*ret` stays where the option was not given. 0, or
 * STATUS_USAGE, told. */
int option_number(const Flowctl *c, OptionId id, uint64_t min, uint64_t max, uint64_t *ret);
int option_usec(const Flowctl *c, OptionId id, uint64_t *ret);
/* Likewise a time of day, or a span before now: µs since the epoch. */
int option_time(const Flowctl *c, OptionId id, uint64_t *ret);
/* Whether it is a text of at most `max` bytes, and not empty. 0, or STATUS_USAGE, told. */
int option_text(const Flowctl *c, OptionId id, size_t max);
/* "pool", for messages. */
const char *option_name(OptionId id);

/* help.c */
extern const Verb verbs[];
extern const size_t n_verbs;
typedef struct Option {
        const char *name;
        char letter;     /* 0: none */
        const char *arg; /* NULL: takes none; "[ARG]": may have one */
        const char *help;
} Option;
extern const Option options[_OPTION_MAX];
/* A bit for each option but those that every verb takes, which come first. */
#define OPTION_BIT(i) (1ULL << ((i) - OPTION_QUIET - 1))
_Static_assert(_OPTION_MAX - OPTION_QUIET - 1 <= 64, "Verb.options has no room for more");
/* Whether verbs with these bits take it. */
static inline bool option_taken(uint64_t bits, unsigned i) {
        return i <= OPTION_QUIET || (bits & OPTION_BIT(i));
}
void help_print(const Verb *verb); /* NULL: all of them */
/* Of `n` names, the one nearest to `word`, or NULL where none is near. */
const char *name_nearest(const char *word, const char *const *names, size_t n);

/* when.c */
/* A time as systemd writes it: "2026-11-25 10:00[:00]", "2026-11-25", "10:00", "today", "yesterday", "now", "@SECONDS", with the day of
 * the week before it or UTC behind it; or a span, so long before `now`. All µs since the epoch. Returns 0 or -EINVAL. */
int when_parse(const char *s, uint64_t now, uint64_t *ret);

/* route.c */
/* --tier=, --strategy=, --fallback= and --weight=, as far as they can be checked here. 0, or STATUS_USAGE, told. */
int route_options_check(const Flowctl *c, uint64_t *ret_weight);

/* control.c: talking to the control socket, in words */
/* Connects where that was not done yet. Returns 0 or an exit status, told. */
int control_connect(Flowctl *c);
/* Tells why the socket of that name could not be reached. Returns an exit status. */
int control_connect_failed(const Flowctl *c, const char *socket, int error);
/* Calls io.flowd.METHOD; takes over `parameters`. Returns 0 with the reply (ret_reply may be NULL), or an exit status, told. */
int control_call(Flowctl *c, const char *method, json_object *parameters, json_object **ret_reply);
/* The next reply of a stream begun by varlink_client_send(). Returns -1 with a reply, or an exit status: 0 at its end or upon a
 * signal. */
int control_next(Flowctl *c, json_object **ret_reply, bool *ret_continues);
/* Tells of an error reply, or of a failure. Return the exit status. */
int control_error(const Flowctl *c, const VarlinkError *e);
int control_failed(const Flowctl *c, int error);

/* The verbs, by family. */
int verb_status(Flowctl *c, int argc, char **argv);
int verb_top(Flowctl *c, int argc, char **argv);
int verb_pool_list(Flowctl *c, int argc, char **argv);
int verb_pool_show(Flowctl *c, int argc, char **argv);
int verb_pool_tools(Flowctl *c, int argc, char **argv);
int verb_pool_scale(Flowctl *c, int argc, char **argv);
int verb_pool_drain(Flowctl *c, int argc, char **argv);
int verb_pool_resume(Flowctl *c, int argc, char **argv);
int verb_pool_spawn(Flowctl *c, int argc, char **argv);
int verb_pool_execute(Flowctl *c, int argc, char **argv);
int verb_pool_route(Flowctl *c, int argc, char **argv);
int verb_pool_close(Flowctl *c, int argc, char **argv);
int verb_pool_close_all(Flowctl *c, int argc, char **argv);
int verb_pool_health(Flowctl *c, int argc, char **argv);
int verb_pool_monitor(Flowctl *c, int argc, char **argv);
int verb_mcp_import(Flowctl *c, int argc, char **argv);
int verb_worker_list(Flowctl *c, int argc, char **argv);
int verb_worker_show(Flowctl *c, int argc, char **argv);
int verb_worker_kill(Flowctl *c, int argc, char **argv);
int verb_worker_recycle(Flowctl *c, int argc, char **argv);
int verb_session_list(Flowctl *c, int argc, char **argv);
int verb_session_show(Flowctl *c, int argc, char **argv);
int verb_session_forget(Flowctl *c, int argc, char **argv);
int verb_job_list(Flowctl *c, int argc, char **argv);
int verb_job_show(Flowctl *c, int argc, char **argv);
int verb_job_cancel(Flowctl *c, int argc, char **argv);
int verb_job_retry(Flowctl *c, int argc, char **argv);
int verb_job_result(Flowctl *c, int argc, char **argv);
int verb_dead_list(Flowctl *c, int argc, char **argv);
int verb_dead_show(Flowctl *c, int argc, char **argv);
int verb_dead_requeue(Flowctl *c, int argc, char **argv);
int verb_dead_purge(Flowctl *c, int argc, char **argv);
int verb_store_stats(Flowctl *c, int argc, char **argv);
int verb_store_check(Flowctl *c, int argc, char **argv);
int verb_store_backup(Flowctl *c, int argc, char **argv);
int verb_store_vacuum(Flowctl *c, int argc, char **argv);
int verb_store_accept_loss(Flowctl *c, int argc, char **argv);
int verb_cache_stats(Flowctl *c, int argc, char **argv);
int verb_cache_list(Flowctl *c, int argc, char **argv);
int verb_cache_purge(Flowctl *c, int argc, char **argv);
int verb_flow_create(Flowctl *c, int argc, char **argv);
int verb_flow_add(Flowctl *c, int argc, char **argv);
int verb_flow_submit(Flowctl *c, int argc, char **argv);
int verb_flow_complete(Flowctl *c, int argc, char **argv);
int verb_flow_pulse(Flowctl *c, int argc, char **argv);
int verb_flow_status(Flowctl *c, int argc, char **argv);
int verb_flow_todos(Flowctl *c, int argc, char **argv);
int verb_flow_rest(Flowctl *c, int argc, char **argv);
int verb_flow_wake(Flowctl *c, int argc, char **argv);
int verb_flow_rebalance(Flowctl *c, int argc, char **argv);
int verb_flow_expand(Flowctl *c, int argc, char **argv);
int verb_flow_cancel(Flowctl *c, int argc, char **argv);
int verb_flow_depend(Flowctl *c, int argc, char **argv);
int verb_flow_list(Flowctl *c, int argc, char **argv);
int verb_flow_show(Flowctl *c, int argc, char **argv);
int verb_flow_graph(Flowctl *c, int argc, char **argv);
int verb_flow_explain(Flowctl *c, int argc, char **argv);
int verb_flow_archive(Flowctl *c, int argc, char **argv);
int verb_flow_merge(Flowctl *c, int argc, char **argv);
int verb_flow_import(Flowctl *c, int argc, char **argv);
int verb_flow_export(Flowctl *c, int argc, char **argv);
int verb_run(Flowctl *c, int argc, char **argv);
int verb_submit(Flowctl *c, int argc, char **argv);
int verb_wait(Flowctl *c, int argc, char **argv);
int verb_route_list(Flowctl *c, int argc, char **argv);
int verb_route_explain(Flowctl *c, int argc, char **argv);
int verb_events(Flowctl *c, int argc, char **argv);
int verb_logs(Flowctl *c, int argc, char **argv);
int verb_config_cat(Flowctl *c, int argc, char **argv);
int verb_config_check(Flowctl *c, int argc, char **argv);
int verb_mcp_bridge(Flowctl *c, int argc, char **argv);
int verb_mcp_doctor(Flowctl *c, int argc, char **argv);
int verb_mcp_list(Flowctl *c, int argc, char **argv);
int verb_mcp_call(Flowctl *c, int argc, char **argv);
int verb_mcp_read(Flowctl *c, int argc, char **argv);
int verb_mcp_prompt(Flowctl *c, int argc, char **argv);
int verb_mcp_install(Flowctl *c, int argc, char **argv);
int verb_reload(Flowctl *c, int argc, char **argv);
int verb_reexec(Flowctl *c, int argc, char **argv);
