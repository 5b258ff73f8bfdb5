/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The tables of verbs and options, and the help that is made from them. What is not in these tables is not accepted, and what is
 * in them must be in the man page and in the completions: a test compares the three.
 */

#include <stdio.h>

#include "flowctl/flowctl.h"

#define B(x) OPTION_BIT(OPTION_##x)
#define O_DURABLE (B(DURABLE) | B(KEY) | B(RETRIES) | B(RETRY_DELAY) | B(DELAY))
#define O_ROUTE (B(WORKER_TYPE) | B(STRATEGY) | B(FALLBACK) | B(WEIGHT))
#define O_LIMITS (O_ROUTE | B(POOL) | B(TIER) | B(METHOD) | B(SESSION) | B(TIMEOUT) | B(DEADLINE) | B(PRIORITY) | B(QUEUE_TIMEOUT) | B(PAYLOAD) | O_DURABLE)
#define O_SOURCES (B(FILE) | B(LINES) | B(NULL) | B(EACH) | B(FILES) | B(FILES_FROM) | B(JOBS) | B(PROGRESS))

const Option options[_OPTION_MAX] = {
        [OPTION_HELP] = { "help", 'h', NULL, "Show this help, or that of the given verb" },
        [OPTION_VERSION] = { "version", 0, NULL, "Show the version" },
        [OPTION_RUNTIME] = { "runtime", 0, "DIR", "Ask the instance whose sockets are in DIR" },
        [OPTION_USER] = { "user", 0, NULL, "Ask the instance of the calling user" },
        [OPTION_SYSTEM] = { "system", 0, NULL, "Ask the instance of the system" },
        [OPTION_JSON] = { "json", 'J', NULL, "Print JSON" },
        [OPTION_NO_LEGEND] = { "no-legend", 0, NULL, "Print tables without headings and totals" },
        [OPTION_NO_PAGER] = { "no-pager", 0, NULL, "Use no pager (only logs has one, journalctl's)" },
        [OPTION_QUIET] = { "quiet", 'q', NULL, "Print no notices and no progress" },
        [OPTION_POOL] = { "pool", 'p', "POOL", "The pool that is meant" },
        [OPTION_WORKER] = { "worker", 'w', "WORKER", "The worker that is meant, as POOL/SLOT" },
        [OPTION_JOB] = { "job", 0, "JOB", "The job that is meant" },
        [OPTION_STATE] = { "state", 0, "STATE", "Only jobs that are queued, running, completed, failed, timeout, cancelled or dead" },
        [OPTION_LIMIT] = { "limit", 'n', "N", "At most N of them, the newest; for events 20 by default" },
        [OPTION_FOLLOW] = { "follow", 'f', NULL, "Go on as more comes, until interrupted" },
        [OPTION_SIGNAL] = { "signal", 's', "SIGNAL", "Send that signal, a name or a number, instead of TERM and then KILL" },
        [OPTION_INTERVAL] = { "interval", 'i', "SPAN", "Time between two snapshots, 1s by default" },
        [OPTION_COUNT] = { "count", 'c', "N", "End after N snapshots" },
        [OPTION_TIER] = { "tier", 't', "TIER", "Any pool of that tier: hot, warm, cold" },
        [OPTION_METHOD] = { "method", 'm', "METHOD", "What the worker is to do, where it can do several things" },
        [OPTION_SESSION] = { "session", 0, "SESSION", "The session that the job belongs to" },
        [OPTION_TIMEOUT] = { "timeout", 0, "SPAN", "Run time of one attempt, in place of JobTimeout=" },
        [OPTION_DEADLINE] = { "deadline", 0, "SPAN", "End the job, run or not, so long from now" },
        [OPTION_PRIORITY] = { "priority", 0, "N", "Place in the queue: higher goes first, 0 by default; of a task: high, medium, low" },
        [OPTION_QUEUE_TIMEOUT] = { "queue-timeout", 0, "SPAN", "Time in the queue, in place of the pool's QueueTimeout=" },
        [OPTION_PAYLOAD] = { "payload", 0, "KIND", "What the payload is: text (default), json, bytes" },
        [OPTION_PROGRESS] = { "progress", 0, NULL, "Show the job's progress on standard error" },
        [OPTION_FILE] = { "file", 0, "PATH", "The payload is the content of that file" },
        [OPTION_LINES] = { "lines", 'l', NULL, "One job for each line of the files, or of standard input" },
        [OPTION_NULL] = { "null", '0', NULL, "As --lines, but NUL stands between the records, also of the output" },
        [OPTION_EACH] = { "each", 0, NULL, "One job for each argument" },
        [OPTION_FILES] = { "files", 0, NULL, "One job for the content of each file" },
        [OPTION_FILES_FROM] = { "files-from", 0, "LIST",
                                "The same for the files named in LIST, one a line (-: standard input)" },
        [OPTION_UNORDERED] = { "unordered", 'u', NULL, "Print results as they come, not in the order of the input" },
        [OPTION_TAG] = { "tag", 0, NULL, "Begin each result with its line number, argument, file or job id, and a tab" },
        [OPTION_JOBS] = { "jobs", 'j', "N", "At most N jobs in flight, 512 by default" },
        [OPTION_DURABLE] = { "durable", 0, "[HOW]",
                             "What the job survives: yes, a power cut (default of submit); process, the end of flowd; no (default of run)" },
        [OPTION_KEY] = { "key", 0, "KEY", "The same key again, and it is the same durable job again, not a second one" },
        [OPTION_RETRIES] = { "retries", 0, "N", "Follow up to N failed attempts by another, in place of Retries=" },
        [OPTION_RETRY_DELAY] = { "retry-delay", 0, "SPAN", "The first delay between them, in place of RetryDelay=" },
        [OPTION_DELAY] = { "delay", 0, "SPAN", "Begin no attempt before so long from now" },
        [OPTION_SINCE] = { "since", 0, "TIME", "Only jobs accepted since then: a time, or a span before now" },
        [OPTION_OFFSET] = { "offset", 0, "N", "Only what follows the first N bytes" },
        [OPTION_LENGTH] = { "length", 0, "N", "At most N bytes" },
        [OPTION_ALL] = { "all", 0, NULL, "All of them, not only those that are named" },
        [OPTION_CLIENT] = { "client", 0, "CLIENT", "The MCP client: claude, claude-desktop, vscode, cursor, codex" },
        [OPTION_DRY_RUN] = { "dry-run", 0, NULL, "Change nothing, print what would be written" },
        [OPTION_WORKER_TYPE] = { "worker-type", 0, "TYPE", "Only workers of that type" },
        [OPTION_STRATEGY] = { "strategy", 0, "STRATEGY", "How the pool is chosen: least_loaded, round_robin, random, affinity" },
        [OPTION_FALLBACK] = { "fallback", 0, "TIERS", "The tiers that follow the chosen one: auto, none, or for instance 'warm cold'" },
        [OPTION_WEIGHT] = { "weight", 0, "N", "How heavy it is, from 1 to 10; a task 5 by default" },
        [OPTION_PAYLOAD_SIZE] = { "payload-size", 0, "SIZE", "A payload of so many bytes, as in 64K" },
        [OPTION_NAME] = { "name", 0, "NAME", "The pool's name, TYPE-1, TYPE-2, ... by default" },
        [OPTION_POOL_TYPE] = { "pool-type", 0, "TYPE", "What kind of pool: local (default; mahavishnu means the same)" },
        [OPTION_MIN] = { "min", 0, "N", "Workers that it keeps, 1 by default" },
        [OPTION_MAX] = { "max", 0, "N", "Workers that it may have, 10 by default" },
        [OPTION_BATCH] = { "batch", 0, "FILE", "One job for each line of FILE (-: standard input); results as JSON, by index" },
        [OPTION_ID] = { "id", 0, "ID", "The id of the new task; without it, it gets one" },
        [OPTION_NEEDS] = { "needs", 0, "ID,ID...", "What the task depends on" },
        [OPTION_ON_FAILURE] = { "on-failure", 0, "POLICY", "What becomes of tasks that depend on one that failed: fail, skip, continue" },
        [OPTION_FORCE] = { "force", 0, NULL, "Also where unfinished tasks have the same description" },
        [OPTION_MOMENTUM] = { "momentum", 0, "N", "How far the task is, from 0 to 100; 100 completes it" },
        [OPTION_BLOCKED] = { "blocked", 0, "WHY", "The task waits for something outside, and takes no room until it is woken" },
        [OPTION_FAILED] = { "failed", 0, "WHY", "The task has failed" },
        [OPTION_DOT] = { "dot", 0, NULL, "Print it for dot(1), of Graphviz" },
};

const Verb verbs[] = {
        { "status", "", 0, 0, 0, verb_status, "Show how flowd and its pools are", NULL },
        { "top", "", 0, 0, B(INTERVAL) | B(COUNT), verb_top, "Watch the pools",
          "On a terminal it fills the screen; keys: q quits; n, r, p, l, u, b sort by name, rate, p99, running, queue and busy;\n"
          "v turns the order round, space pauses. Elsewhere, and with --json, it prints a snapshot at each interval." },
        { "run", "[PAYLOAD|-]", 0, -1, O_LIMITS | O_SOURCES | B(UNORDERED) | B(TAG), verb_run,
          "Run a job, or many, and print the results",
          "The payload is the argument, or standard input where it is \"-\" or missing. The result goes to standard\n"
          "output as it is, what the worker logs to standard error. Ctrl-C cancels.\n"
          "\n"
          "With --lines, --null, --each, --files or --files-from there are many jobs, and one line for the result\n"
          "of each, in the order of the input; a job that failed leaves an empty line and a message on standard\n"
          "error, and the exit status is 1." },
        { "submit", "[PAYLOAD|-]", 0, -1, O_LIMITS | O_SOURCES, verb_submit, "Submit a job, or many, and print their ids",
          "flowd keeps the job when flowctl ends, and its result, for 'flowctl wait'. The payload is as for run, with\n"
          "--lines, --null, --each, --files or --files-from there are many." },
        { "wait", "JOB...|-", 1, -1, B(UNORDERED) | B(TAG) | B(PROGRESS), verb_wait,
          "Wait for submitted jobs and print their results",
          "\"-\" reads the ids from standard input, one a line. Ctrl-C ends the waiting, not the jobs." },
        { "job list", "", 0, 0, B(POOL) | B(STATE) | B(METHOD) | B(SESSION) | B(SINCE) | B(LIMIT), verb_job_list,
          "List jobs, the newest first", NULL },
        { "job show", "JOB...", 1, -1, 0, verb_job_show, "Show all about a job", NULL },
        { "job cancel", "JOB...", 1, -1, 0, verb_job_cancel, "End a job", NULL },
        { "job retry", "JOB...", 1, -1, B(DELAY), verb_job_retry, "Queue a durable job that has ended once more", NULL },
        { "job result", "JOB", 1, 1, B(OFFSET) | B(LENGTH), verb_job_result, "Print the result of a job that has ended, or a part of it",
          "The exit status is the job's, as for wait." },
        { "dead list", "", 0, 0, B(POOL) | B(METHOD) | B(SESSION) | B(SINCE) | B(LIMIT), verb_dead_list,
          "List jobs that killed too many workers", NULL },
        { "dead show", "JOB...", 1, -1, 0, verb_dead_show, "Show all about one, and why it is dead", NULL },
        { "dead requeue", "JOB...|--all", 0, -1, B(ALL) | B(POOL) | B(METHOD) | B(DELAY), verb_dead_requeue,
          "Queue one once more, or all", "--pool= and --method= are about --all: only those." },
        { "dead purge", "JOB...|--all", 0, -1, B(ALL) | B(POOL) | B(METHOD), verb_dead_purge, "Remove one for good, or all",
          "--pool= and --method= are about --all: only those." },
        { "store stats", "", 0, 0, 0, verb_store_stats, "Show what is in the store, and how well it is", NULL },
        { "store check", "", 0, 0, 0, verb_store_check, "Read the store whole and check it; the exit status is 1 if it is damaged", NULL },
        { "store backup", "FILE", 1, 1, 0, verb_store_backup, "Have flowd write a copy of the store to a new file",
          "FILE is written by flowd and as its user, and must not exist yet. Jobs go on meanwhile." },
        { "store vacuum", "", 0, 0, 0, verb_store_vacuum, "Give what is free in the store back to the file system", NULL },
        { "store accept-loss", "", 0, 0, 0, verb_store_accept_loss, "Take durable jobs again after the store was damaged",
          "'flowctl store stats' says what was lost, as far as that is known." },
        { "cache stats", "", 0, 0, 0, verb_cache_stats, "Show what results that are kept for equal jobs take", NULL },
        { "cache list", "", 0, 0, B(METHOD) | B(LIMIT), verb_cache_list, "List them, those used last first", NULL },
        { "cache purge", "", 0, 0, B(ALL) | B(METHOD) | B(WORKER_TYPE), verb_cache_purge, "Forget those of a method or worker type, or all", NULL },
        { "flow list", "", 0, 0, B(ALL), verb_flow_list, "List sessions: plans of tasks", "With --all those that are archived, too." },
        { "flow create", "[SESSION [PURPOSE]]", 0, 2, B(ON_FAILURE), verb_flow_create, "Make a session", NULL },
        { "flow submit", "FILE|-", 1, 1, B(SESSION) | B(FORCE), verb_flow_submit, "Add a graph of tasks, all of it or nothing",
          "FILE is JSON: an array of tasks, or an object with the array as its \"tasks\"; see flow-sessions(7)." },
        { "flow add", "SESSION DESCRIPTION [PAYLOAD|-]", 2, 3, B(ID) | B(WEIGHT) | B(PRIORITY) | B(NEEDS) | B(ON_FAILURE) | B(FORCE) | B(POOL) | B(TIER) |
          B(METHOD) | B(PAYLOAD) | B(FILE) | B(TIMEOUT) | B(RETRIES), verb_flow_add, "Add a task",
          "With a payload, a pool, a tier or a method it is executable: flowd runs it as a job when its turn comes.\n"
          "${task.ID.result} in the payload stands for the result of a task that it depends on." },
        { "flow pulse", "SESSION ACTION [TASK]", 2, 3, B(MOMENTUM) | B(BLOCKED), verb_flow_pulse, "Say what was done, and how far a task is",
          "Of a task without --momentum= it grows by FlowPulseGain=." },
        { "flow complete", "SESSION TASK [NOTES]", 2, 3, B(FAILED), verb_flow_complete, "Complete a task, or say that it has failed", NULL },
        { "flow cancel", "SESSION TASK [REASON]", 2, 3, 0, verb_flow_cancel, "Cancel a task, and its job", NULL },
        { "flow depend", "SESSION TASK ON", 3, 3, 0, verb_flow_depend, "Let a task depend on another one, too", NULL },
        { "flow expand", "SESSION TASK", 2, 2, 0, verb_flow_expand, "Make four of a heavy task: plan, implement, test, document", NULL },
        { "flow status", "SESSION", 1, 1, B(FOLLOW) | B(INTERVAL), verb_flow_status, "Show what a session does",
          "With --follow it goes on until all tasks have ended; then the exit status is 1 if any has failed." },
        { "flow show", "SESSION [TASK]", 1, 2, B(ALL), verb_flow_show, "Show all about a session, or about a task",
          "With --all also payloads, contexts and results of all its tasks." },
        { "flow graph", "SESSION", 1, 1, B(DOT), verb_flow_graph, "Draw the tasks as a tree, or for dot(1)", NULL },
        { "flow explain", "SESSION", 1, 1, 0, verb_flow_explain, "Say why the flow state is what it is", NULL },
        { "flow todos", "SESSION [TODO...]", 1, -1, 0, verb_flow_todos, "Set the goals of a session, or print them", NULL },
        { "flow rest", "SESSION [DURATION]", 1, 2, 0, verb_flow_rest, "Let a session rest: what runs ends, nothing new begins",
          "DURATION is a time span (\"8 hours\", 30min), overnight (until 8 o'clock), extended (3 days) or infinity." },
        { "flow wake", "SESSION [TASK]", 1, 2, 0, verb_flow_wake, "End that, or wake a task that rests or is blocked", NULL },
        { "flow rebalance", "SESSION", 1, 1, 0, verb_flow_rebalance, "Balance a session now", NULL },
        { "flow merge", "SESSION FROM", 2, 2, 0, verb_flow_merge, "Move all of session FROM to another one", NULL },
        { "flow archive", "SESSION", 1, 1, 0, verb_flow_archive, "End a session: open tasks are cancelled", NULL },
        { "flow import", "FILE|- [SESSION]", 1, 2, 0, verb_flow_import, "Make a session of an exported one, or of the flow balancer's",
          NULL },
        { "flow export", "SESSION", 1, 1, 0, verb_flow_export, "Print a session as JSON", NULL },
        { "pool list", "[POOL...]", 0, -1, 0, verb_pool_list, "List pools", NULL },
        { "pool show", "POOL...", 1, -1, 0, verb_pool_show, "Show all about a pool", NULL },
        { "pool tools", "POOL", 1, 1, 0, verb_pool_tools, "List the tools of a pool of MCP servers", NULL },
        { "pool scale", "POOL N", 2, 2, 0, verb_pool_scale, "Set how many workers a pool keeps, from its Min= to its Max=", NULL },
        { "pool drain", "POOL...", 1, -1, 0, verb_pool_drain,
          "Start no more jobs in a pool; those running end, others wait", NULL },
        { "pool resume", "POOL...", 1, -1, 0, verb_pool_resume, "End that", NULL },
        { "mcp import", "FILE [DIR]", 1, 2, B(DRY_RUN), verb_mcp_import, "Make worker types and pools of a client's MCP servers",
          "FILE is the client's configuration (claude_desktop_config.json, .mcp.json, .vscode/mcp.json, ...), or \"-\".\n"
          "DIR is flowd's; without it, that of the instance that is meant. Nothing is overwritten." },
        { "route list", "", 0, 0, 0, verb_route_list, "List the methods that flowd knows the run time of", NULL },
        { "route explain", "[PAYLOAD]", 0, 1, O_ROUTE | B(POOL) | B(TIER) | B(METHOD) | B(SESSION) | B(PAYLOAD_SIZE), verb_route_explain,
          "Show where a job would go, and why",
          "Every step of the decision, every pool that may take the job, and where it goes when these cannot. Nothing is\n"
          "submitted. The exit status is 75 where no pool would take it." },
        { "pool spawn", "[KEY=VALUE...]", 0, -1, B(WORKER_TYPE) | B(NAME) | B(POOL_TYPE) | B(TIER) | B(MIN) | B(MAX), verb_pool_spawn,
          "Make a pool without a file; print its id and name",
          "It is kept across reload, reexec and restart until it is closed. KEY=VALUE are further settings, as in flowd.pool(5)." },
        { "pool execute", "POOL [PROMPT|-]", 1, 2, (O_LIMITS & ~(B(POOL) | B(TIER))) | B(BATCH) | B(JOBS) | B(UNORDERED) | B(PROGRESS), verb_pool_execute,
          "Run a job in a pool, or many, and print the results",
          "As run --pool=POOL. With --batch=FILE there is a job for each line of it, and for each a line with a JSON object,\n"
          "whose index (from 0) is the line's, in the order of the input." },
        { "pool route", "[PROMPT|-]", 0, 1, (O_LIMITS & ~B(POOL)) | B(PROGRESS), verb_pool_route,
          "Run a job wherever flowd thinks best, and print the result", "As run without --pool." },
        { "pool close", "POOL...", 1, -1, B(TIMEOUT), verb_pool_close, "Close a spawned pool: it finishes what it has, then it is gone",
          "After --timeout (30s by default) jobs that run are cancelled and those that wait fail; durable ones that had not\n"
          "begun are kept, and wait for a pool of that name. A pool from a file is closed by removing the file and reload." },
        { "pool close-all", "", 0, 0, B(TIMEOUT), verb_pool_close_all, "Close all spawned pools", NULL },
        { "pool health", "[POOL...]", 0, -1, 0, verb_pool_health, "Show whether pools are well; the exit status is 1 if one is not", NULL },
        { "pool monitor", "[POOL...]", 0, -1, B(INTERVAL) | B(COUNT) | B(FOLLOW), verb_pool_monitor, "Show what pools do, once or at each interval",
          "With --follow until interrupted, with --count so many times." },
        { "worker list", "[POOL]", 0, 1, B(POOL), verb_worker_list, "List workers", NULL },
        { "worker show", "WORKER...", 1, -1, 0, verb_worker_show,
          "Show all about a worker, with the end of its standard error", NULL },
        { "worker kill", "WORKER...", 1, -1, B(SIGNAL), verb_worker_kill, "Kill a worker; its jobs are tried again", NULL },
        { "worker recycle", "WORKER...", 1, -1, 0, verb_worker_recycle, "Replace a worker as soon as it is idle", NULL },
        { "session list", "", 0, 0, B(POOL), verb_session_list, "List sessions, and the workers that they are bound to", NULL },
        { "session show", "SESSION...", 1, -1, B(POOL), verb_session_show, "Show all about a session", NULL },
        { "session forget", "SESSION...", 1, -1, B(POOL), verb_session_forget, "Let a session's next job begin anew",
          "In a pool with SessionExclusive=yes its worker is stopped, and a new one takes its place." },
        { "events", "", 0, 0, B(POOL) | B(LIMIT) | B(FOLLOW), verb_events, "Show what happened last, or happens", NULL },
        { "logs", "", 0, 0, B(POOL) | B(WORKER) | B(JOB) | B(LIMIT) | B(FOLLOW), verb_logs,
          "Show the journal of flowd and its workers", NULL },
        { "config cat", "[UNIT]", 0, 1, 0, verb_config_cat, "Show the configuration in force, and where each value is from",
          "UNIT is flowd.conf, NAME.worker or NAME.pool." },
        { "config check", "[DIR]", 0, 1, 0, verb_config_check, "Check the configuration files, or those in DIR",
          "Without DIR these are the system's, with --user the user's; name the directory of a private instance." },
        { "mcp bridge", "", 0, 0, 0, verb_mcp_bridge, "Join an MCP client's standard input and output to flowd; 'mcp' alone is this",
          "MCP clients start it; it ends with its standard input. When flowd is restarted, the client need not be." },
        { "mcp install", "", 0, 0, B(CLIENT) | B(DRY_RUN), verb_mcp_install, "Put flowd into the configuration of an MCP client",
          "Its file is changed in that one place. --runtime=, --user and --system become part of what is put there." },
        { "mcp doctor", "", 0, 0, 0, verb_mcp_doctor, "Check that an MCP client would find everything in order", NULL },
        { "mcp list", "[tools|resources|templates|prompts]", 0, 1, 0, verb_mcp_list, "List what MCP clients are shown", NULL },
        { "mcp call", "TOOL [KEY=TEXT|KEY:=JSON...|JSON|-]", 1, -1, B(PROGRESS), verb_mcp_call, "Call a tool and print its structured result",
          "Arguments are given one by one, or as one JSON object, or that on standard input." },
        { "mcp read", "URI", 1, 1, 0, verb_mcp_read, "Print a resource, as flow://events", NULL },
        { "mcp prompt", "PROMPT [KEY=TEXT...]", 1, -1, 0, verb_mcp_prompt, "Print the messages of a prompt", NULL },
        { "reload", "", 0, 0, 0, verb_reload, "Read the configuration again; wait for the verdict", NULL },
        { "reexec", "", 0, 0, 0, verb_reexec, "Execute flowd's program anew, keeping workers, jobs and connections", NULL },
};
const size_t n_verbs = ELEMENTSOF(verbs);

#define HELP_COLUMN 30

/* Where an option is something else to a verb than to the others. The verb may be a family, "flow". */
static const struct {
        const char *verb;
        OptionId option;
        const char *help;
} own_help[] = {
        { "cache purge", OPTION_METHOD, "Only results of that method" },
        { "cache purge", OPTION_WORKER_TYPE, "Only results that workers of that type made" },
        { "cache purge", OPTION_ALL, "All results" },
        { "cache list", OPTION_METHOD, "Only results of that method" },
        { "cache list", OPTION_LIMIT, "At most N of them, those used last" },
        { "job list", OPTION_METHOD, "Only jobs of that method" },
        { "job list", OPTION_SESSION, "Only jobs of that session" },
        { "job list", OPTION_POOL, "Only jobs of that pool" },
        { "job list", OPTION_LIMIT, "At most N of them, the newest" },
        { "dead", OPTION_METHOD, "Only jobs of that method" },
        { "dead", OPTION_SESSION, "Only jobs of that session" },
        { "dead", OPTION_POOL, "Only jobs of that pool" },
        { "dead", OPTION_LIMIT, "At most N of them, the newest" },
        { "pool spawn", OPTION_TIER, "The pool's tier: hot, warm, cold" },
        { "pool spawn", OPTION_WORKER_TYPE, "What its workers are: the name of a .worker file" },
        { "pool close", OPTION_TIMEOUT, "How long what runs and waits may take, 30s by default" },
        { "pool close-all", OPTION_TIMEOUT, "How long what runs and waits may take, 30s by default" },
        { "session", OPTION_POOL, "Only sessions that are bound in that pool" },
        { "events", OPTION_POOL, "Only events of that pool" },
        { "events", OPTION_LIMIT, "At most N of them, the newest; 20 by default, with --follow none" },
        { "logs", OPTION_POOL, "Only lines about that pool" },
        { "logs", OPTION_WORKER, "Only lines of that worker, as POOL/SLOT" },
        { "logs", OPTION_JOB, "Only lines about that job" },
        { "logs", OPTION_LIMIT, "At most N lines, the newest" },
        { "flow submit", OPTION_SESSION, "The session that the tasks are added to" },
        { "flow list", OPTION_ALL, "Archived ones, too" },
        { "flow show", OPTION_ALL, "Payloads, contexts and results of all tasks, too" },
};

/* `verb` NULL: what it is to most of them. */
static const char *option_help(const Verb *verb, OptionId id) {
        for (size_t i = 0; verb && i < ELEMENTSOF(own_help); i++) {
                size_t n = strlen(own_help[i].verb);

                if (own_help[i].option == id && strncmp(verb->name, own_help[i].verb, n) == 0 && (!verb->name[n] || verb->name[n] == ' '))
                        return own_help[i].help;
        }
        return options[id].help;
}

static void print_option(const Verb *verb, OptionId id) {
        const Option *o = options + id;
        const char *help = option_help(verb, id);
        char text[80];
        const char *arg = strempty(o->arg), *bracket = *arg == '[' ? "[" : "";
        int n = snprintf(text, sizeof(text), "  %c%c --%s%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ', o->name, bracket,
                         o->arg ? "=" : "", arg + strlen(bracket));

        if (n >= HELP_COLUMN)
                printf("%s\n%*s%s\n", text, HELP_COLUMN, "", help);
        else
                printf("%-*s%s\n", HELP_COLUMN, text, help);
}

static void print_options(const char *title, const Verb *verb, uint64_t set) {
        printf("\n%s:\n", title);
        for (unsigned i = OPTION_QUIET + 1; i < _OPTION_MAX; i++)
                if (option_taken(set, i))
                        print_option(verb, i);
}

static void print_global_options(const char *title) {
        printf("\n%s:\n", title);
        for (unsigned i = 0; i <= OPTION_QUIET; i++)
                print_option(NULL, i);
}

static void help_print_all(void) {
        const uint64_t jobs = O_LIMITS | O_SOURCES | B(UNORDERED) | B(TAG);

        printf("flowctl [OPTIONS...] VERB ...\n"
               "\n"
               "Give jobs to flowd, see what its worker pools do, and operate them.\n"
               "\n"
               "Verbs:\n");
        for (size_t i = 0; i < n_verbs; i++) {
                char text[80];

                snprintf(text, sizeof(text), "  %s %s", verbs[i].name, verbs[i].args);
                printf("%-*s%s\n", HELP_COLUMN, text, verbs[i].summary);
        }
        print_global_options("Options");
        print_options("Options of run, submit and wait", NULL, jobs);
        print_options("Options of other verbs", NULL, ~jobs);
        printf("\nExit status: 0 done, 1 failed, 2 misused, 69 no flowd, 75 refused, 77 not permitted, 124 timeout,\n"
               "130 cancelled. "
               "See flowctl(1), and 'flowctl VERB --help'.\n");
}

void help_print(const Verb *verb) {
        if (!verb) {
                help_print_all();
                return;
        }
        printf("flowctl [OPTIONS...] %s %s\n\n%s.\n", verb->name, verb->args, verb->summary);
        if (verb->more)
                printf("\n%s\n", verb->more);
        if (verb->options)
                print_options("Options", verb, verb->options);
        print_global_options("Options of all verbs");
        printf("\nSee flowctl(1).\n");
}

/* Levenshtein's distance, with a row of memory. Words are short: what is longer than the row is far from everything. */
static size_t name_distance(const char *a, const char *b) {
        size_t row[64], n = strlen(b);

        if (n >= ELEMENTSOF(row))
                return SIZE_MAX;
        for (size_t j = 0; j <= n; j++)
                row[j] = j;
        for (size_t i = 0; a[i]; i++) {
                size_t diagonal = row[0];

                row[0] = i + 1;
                for (size_t j = 0; j < n; j++) {
                        size_t replace = diagonal + (a[i] != b[j]);

                        diagonal = row[j + 1];
                        row[j + 1] = MIN(replace, MIN(row[j], row[j + 1]) + 1);
                }
        }
        return row[n];
}

const char *name_nearest(const char *word, const char *const *names, size_t n) {
        const char *best = NULL;
        size_t best_distance = strlen(word) / 3 + 2; /* nearer than this, or nothing is suggested */

        for (size_t i = 0; i < n; i++) {
                size_t d = name_distance(word, names[i]);

                if (strlen(word) >= 3 && strncmp(names[i], word, strlen(word)) == 0)
                        d = MIN(d, (size_t) 1);
                if (d < best_distance) {
                        best_distance = d;
                        best = names[i];
                }
        }
        return best;
}
