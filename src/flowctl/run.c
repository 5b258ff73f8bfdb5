/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* run, submit, wait: from the command line to a batch. */

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/str.h"
#include "flowctl/batch.h"

#define RETRIES_MAX 1000U /* as flowd's own limit */

/* Where the payloads are from. Fills in b->source, single, separator. Returns 0 or an exit status. */
static int source_choose(Batch *b, int argc, char **argv) {
        static const OptionId many[] = { OPTION_LINES, OPTION_EACH, OPTION_FILES, OPTION_FILES_FROM, OPTION_FILE };
        Flowctl *c = b->c;
        const char *first = NULL;

        if (option(c, OPTION_NULL) && !option(c, OPTION_FILES_FROM))
                c->options[OPTION_LINES] = "";
        for (size_t i = 0; i < ELEMENTSOF(many); i++) {
                if (!option(c, many[i]))
                        continue;
                if (first)
                        return usage_error(c, "--%s and --%s exclude each other", first, option_name(many[i]));
                first = option_name(many[i]);
        }
        b->separator = option(c, OPTION_NULL) ? 0 : '\n';
        if (option(c, OPTION_LINES))
                source_init(&b->source, SOURCE_LINES, b->separator, argv, argc);
        else if (option(c, OPTION_EACH))
                source_init(&b->source, SOURCE_ARGUMENTS, 0, argv, argc);
        else if (option(c, OPTION_FILES))
                source_init(&b->source, SOURCE_FILES, 0, argv, argc);
        else if (option(c, OPTION_FILES_FROM)) {
                if (argc > 0)
                        return usage_error(c, "--files-from=LIST takes the names from LIST, not from arguments");
                source_init(&b->source, SOURCE_FILES_FROM, b->separator, (char **) &c->options[OPTION_FILES_FROM], 1);
        } else
                b->single = true;
        if (b->single && argc > 1)
                return usage_error(c, "one payload is one argument: quote it, or say --each for one job for each argument");
        if (!b->single && argc == 0 && (option(c, OPTION_EACH) || option(c, OPTION_FILES)))
                return usage_error(c, "--%s needs arguments", option(c, OPTION_EACH) ? "each" : "files");
        return 0;
}

/* The one payload: an argument, --file=, or standard input. */
static int source_single(Batch *b, int argc, char **argv) {
        static char *standard[] = { (char *) "-" };
        Flowctl *c = b->c;

        if (option(c, OPTION_FILE) && argc > 0)
                return usage_error(c, "the payload is either an argument or --file=, not both");
        if (option(c, OPTION_FILE))
                source_init(&b->source, SOURCE_FILES, 0, (char **) &c->options[OPTION_FILE], 1);
        else if (argc > 0 && !streq(argv[0], "-"))
                source_init(&b->source, SOURCE_ARGUMENTS, 0, argv, 1);
        else if (argc > 0 || !isatty(STDIN_FILENO))
                source_init(&b->source, SOURCE_FILES, 0, standard, 1);
        else
                return usage_error(c, "there is no payload: give it as an argument, with --file=PATH, or on standard input "
                                      "('-' reads the terminal)");
        return 0;
}

static int priority_parse(const Flowctl *c, int *ret) {
        const char *s = c->options[OPTION_PRIORITY];
        uint64_t n;

        if (!s)
                return 0;
        if (u64_parse(s + (*s == '-' || *s == '+'), 0, 1000000, &n) < 0)
                return usage_error(c, "--priority=%s: this takes a whole number from -1000000 to 1000000", s);
        *ret = *s == '-' ? -(int) n : (int) n;
        return 0;
}

/* What a job survives, and how often and when it is tried. Returns 0 or an exit status. */
static int durable_choose(Batch *b) {
        FlowRequest *q = &b->request;
        Flowctl *c = b->c;
        const char *durable = c->options[OPTION_DURABLE];
        uint64_t retries = 0;
        int r;

        if (!durable)
                q->durable = b->kind == BATCH_SUBMIT ? 3 : 0; /* submit: where there is a store */
        else if (!*durable || streq(durable, "yes"))
                q->durable = 2;
        else if (streq(durable, "process"))
                q->durable = 1;
        else if (streq(durable, "no"))
                q->durable = 0;
        else
                return usage_error(c, "--durable=%s: this takes yes, process or no", durable);
        q->key = c->options[OPTION_KEY];
        if (q->key && !b->single)
                return usage_error(c, "--key=%s is of one job: many with one key would be one", q->key);
        if (q->key && q->durable == 0)
                return usage_error(c, "--key=%s is heeded for durable jobs only: give --durable too, or leave the key out", q->key);
        r = option_number(c, OPTION_RETRIES, 0, RETRIES_MAX, &retries);
        if (r > 0)
                return r;
        if (option(c, OPTION_RETRIES))
                q->retries = retries > 0 ? (int) retries : -1;
        r = option_usec(c, OPTION_RETRY_DELAY, &q->retry_delay_usec);
        if (r > 0)
                return r;
        r = option_usec(c, OPTION_DELAY, &q->not_before_usec);
        if (r > 0)
                return r;
        if (q->not_before_usec > 0)
                q->not_before_usec += realtime_usec();
        return 0;
}

/* Fills in the pattern of the jobs. Returns 0 or an exit status. */
static int request_choose(Batch *b) {
        static const OptionId texts[] = { OPTION_METHOD, OPTION_SESSION, OPTION_KEY };
        FlowRequest *q = &b->request;
        Flowctl *c = b->c;
        const char *kind = c->options[OPTION_PAYLOAD];
        uint64_t weight = 0;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                r = option_text(c, texts[i], JOB_TEXT_MAX);
                if (r > 0)
                        return r;
        }
        q->pool = c->options[OPTION_POOL];
        q->tier = c->options[OPTION_TIER];
        q->method = c->options[OPTION_METHOD];
        q->session = c->options[OPTION_SESSION];
        q->worker_type = c->options[OPTION_WORKER_TYPE];
        q->strategy = c->options[OPTION_STRATEGY];
        q->fallback = c->options[OPTION_FALLBACK];
        r = route_options_check(c, &weight);
        if (r > 0)
                return r;
        q->weight = (unsigned) weight;
        if (!kind || streq(kind, "text"))
                q->kind = FLOW_TEXT;
        else if (streq(kind, "json"))
                q->kind = FLOW_JSON;
        else if (streq(kind, "bytes"))
                q->kind = FLOW_BYTES;
        else
                return usage_error(c, "--payload=%s: this takes text, json or bytes", kind);
        r = option_usec(c, OPTION_TIMEOUT, &q->timeout_usec);
        if (r > 0)
                return r;
        r = option_usec(c, OPTION_QUEUE_TIMEOUT, &q->queue_timeout_usec);
        if (r > 0)
                return r;
        r = option_usec(c, OPTION_DEADLINE, &q->deadline_usec);
        if (r > 0)
                return r;
        if (q->deadline_usec > 0)
                q->deadline_usec += realtime_usec();
        r = durable_choose(b);
        if (r > 0)
                return r;
        return priority_parse(c, &q->priority);
}

static int batch_options(Batch *b) {
        Flowctl *c = b->c;
        uint64_t jobs = BATCH_JOBS_DEFAULT;
        int r;

        r = option_number(c, OPTION_JOBS, 1, BATCH_JOBS_MAX, &jobs);
        if (r > 0)
                return r;
        b->jobs_max = b->single ? 1 : (size_t) jobs;
        b->ordered = !option(c, OPTION_UNORDERED);
        b->json = option(c, OPTION_JSON);
        b->indexed = option(c, OPTION_BATCH);
        b->tag = option(c, OPTION_TAG) && !b->single;
        b->show_progress = option(c, OPTION_PROGRESS);
        return 0;
}

static int jobs_run(Flowctl *c, BatchKind kind, int argc, char **argv) {
        Batch b = { .c = c, .kind = kind, .source = { .fd = -1 } };
        int r;

        r = source_choose(&b, argc, argv);
        if (r == 0 && b.single)
                r = source_single(&b, argc, argv);
        if (r == 0)
                r = request_choose(&b);
        if (r == 0)
                r = batch_options(&b);
        if (r > 0) {
                source_done(&b.source);
                return r;
        }
        b.request.detached = kind == BATCH_SUBMIT;
        return batch_run(&b);
}

int verb_run(Flowctl *c, int argc, char **argv) {
        return jobs_run(c, BATCH_RUN, argc, argv);
}

int verb_pool_execute(Flowctl *c, int argc, char **argv) {
        char *file = (char *) c->options[OPTION_BATCH];

        c->options[OPTION_POOL] = argv[0];
        if (!file)
                return jobs_run(c, BATCH_RUN, argc - 1, argv + 1);
        if (argc > 1)
                return usage_error(c, "the prompts are either those of --batch=FILE or the argument, not both");
        c->options[OPTION_LINES] = c->options[OPTION_JSON] = "";
        return jobs_run(c, BATCH_RUN, 1, &file);
}

int verb_pool_route(Flowctl *c, int argc, char **argv) {
        return jobs_run(c, BATCH_RUN, argc, argv);
}

int verb_submit(Flowctl *c, int argc, char **argv) {
        int r = jobs_run(c, BATCH_SUBMIT, argc, argv);

        if (r == STATUS_OK && isatty(STDERR_FILENO) && !option(c, OPTION_QUIET))
                fprintf(stderr, "'flowctl wait JOB' prints a result.\n");
        return r;
}

int verb_wait(Flowctl *c, int argc, char **argv) {
        Batch b = { .c = c, .kind = BATCH_WAIT, .source = { .fd = -1 }, .separator = '\n' };
        bool list = argc == 1 && streq(argv[0], "-");

        for (int i = 0; i < argc && !list; i++)
                if (streq(argv[i], "-"))
                        return usage_error(c, "'-' stands alone: all ids come from standard input then");
        b.single = argc == 1 && !list;
        source_init(&b.source, list ? SOURCE_LINES : SOURCE_ARGUMENTS, '\n', argv, argc);
        int r = batch_options(&b);
        if (r > 0)
                return r;
        if (!b.single)
                b.jobs_max = BATCH_JOBS_DEFAULT;
        return batch_run(&b);
}
