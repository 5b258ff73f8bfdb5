/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an MCP server asks while it has a call in hand: a real server, the one of the integration tests' zoo, and a client that this program is.
 * Its tool "ask" asks, and its result is the answer that it got.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/str.h"
#include "unit.h"
#include "worker/mcp-catalog.h"
#include "worker/reaper.h"
#include "worker/worker.h"

#define BOUND_USEC (60 * USEC_PER_SEC)

typedef struct Fixture {
        Host host;
        Reaper reaper;
        Worker *w;
        bool ready, dead;
        Job *job;
        JobWatch watch;
        bool ended, answers, at_once;
        uint64_t question;
        char method[64], params[200], result[2000];
        FrameStatus status;
} Fixture;

static Fixture f;

static int answer(Job *j, uint64_t question, bool error, const char *text) {
        return worker_answer(j, question, error, text, strlen(text));
}

static void on_ready(Worker *w _unused_) {
        f.ready = true;
}

static void on_job_end(Worker *w _unused_, Job *j, JobResult *r) {
        const uint8_t *data = NULL;

        f.ended = true;
        f.status = r->status;
        if (r->data && blob_data(r->data, &data) >= 0)
                snprintf(f.result, sizeof(f.result), "%.*s", (int) blob_size(r->data), (const char *) data);
        j->state = JOB_COMPLETED;
        j->worker = NULL;
        job_result_done(r);
}

static void on_job(Worker *w _unused_, Job *j _unused_) {
        f.ended = true;
}

static void on_dead(Worker *w _unused_) {
        f.dead = true;
}

static const WorkerOps ops = { .ready = on_ready, .job_end = on_job_end, .job_lost = on_job, .job_released = on_job, .dead = on_dead };

static bool on_ask(JobWatch *w _unused_, Job *j, const JobQuestion *q) {
        f.question = q->id;
        snprintf(f.method, sizeof(f.method), "%s", q->method);
        snprintf(f.params, sizeof(f.params), "%.*s", (int) q->params_size, strempty(q->params));
        if (f.at_once)
                ck_assert_int_eq(answer(j, q->id, false, "{\"at\":\"once\"}"), 0);
        return f.answers;
}

static void on_reaped(Reaper *r _unused_) {
}

/* Runs the loop until the flag is set. */
static void run_until(const bool *flag) {
        uint64_t until = now_usec() + BOUND_USEC;

        while (!*flag) {
                ck_assert_msg(now_usec() < until && (!f.dead || flag == &f.dead), "nothing happens: %s", f.dead ? "the server is dead" : "it is silent");
                ck_assert_int_ge(sd_event_run(f.host.event, 100 * USEC_PER_MSEC), 0);
        }
}

static WorkerType *zoo_type(unsigned features, bool for_session) {
        const char *src = getenv("top_srcdir"), *python = getenv("PYTHON3");
        _cleanup_free_ char *path = str_printf("%s/tests/workers/zoo-mcp.py", src ? src : ".."), *script = realpath(path, NULL);
        WorkerType *t = worker_type_new("zoo");

        ck_assert(t && script);
        ck_assert_int_eq(strv_append(&t->exec, python && *python == '/' ? python : "/usr/bin/python3"), 0);
        ck_assert_int_eq(strv_append(&t->exec, script), 0);
        t->protocol = PROTOCOL_MCP;
        t->slots = 2;
        t->stop_timeout_usec = USEC_PER_SEC;
        t->mcp_features = features;
        t->for_session = for_session;
        return t;
}

static void start(unsigned features) {
        _cleanup_free_ char *why = NULL;
        sigset_t mask;

        f = (Fixture) { .host = { .json_max = 1U << 20, .stderr_rate = 100, .stderr_interval_usec = USEC_PER_SEC } };
        sigemptyset(&mask);
        sigaddset(&mask, SIGCHLD);
        ck_assert_int_eq(sigprocmask(SIG_BLOCK, &mask, NULL), 0);
        f.host.cgroup.fd = -1;
        f.host.directory = (char *) "/";
        snprintf(f.host.instance, sizeof(f.host.instance), "ask-%d", (int) getpid());
        list_init(&f.host.mcp_catalogs);
        map_init(&f.host.by_pid, 1);
        ck_assert_int_ge(sd_event_new(&f.host.event), 0);
        ck_assert_int_ge(hot_init(&f.host.hot, f.host.event, PRIORITY_IO), 0);
        ck_assert_int_ge(timer_queue_init(&f.host.timers, f.host.event, PRIORITY_TIMER), 0);
        ck_assert_int_ge(reaper_init(&f.reaper, &f.host, on_reaped), 0);
        WorkerType *t = zoo_type(features, features != 0);
        WorkerSpec spec = { .host = &f.host, .type = t, .ops = &ops, .pool_name = "zoo" };
        ck_assert_msg(worker_spawn(&spec, &f.w, &why) == 0, "%s", strna(why));
        worker_type_unref(t);
        run_until(&f.ready);
}

static void stop(void) {
        if (f.job) {
                list_remove(&f.watch.link);
                f.job = job_unref(f.job);
        }
        worker_stop(f.w, "the test is over");
        run_until(&f.dead);
        worker_free(f.w);
        mcp_catalogs_prune(&f.host.mcp_catalogs, NULL, NULL);
        reaper_done(&f.reaper);
        timer_queue_done(&f.host.timers);
        hot_done(&f.host.hot);
        map_done(&f.host.by_pid);
        sd_event_unref(f.host.event);
}

/* Calls "ask", which asks for `method`. */
static void call(const char *method) {
        _cleanup_free_ char *arguments = str_printf("{\"method\":\"%s\"}", method), *why = NULL;

        if (f.job) {
                list_remove(&f.watch.link);
                job_unref(f.job);
        }
        f.ended = false;
        f.question = 0;
        f.job = job_new();
        ck_assert_ptr_nonnull(f.job);
        f.job->id = random_u64() >> 1;
        f.job->kind = PAYLOAD_JSON;
        f.job->method = strdup("ask");
        f.job->payload = blob_new_copy(arguments, strlen(arguments));
        f.watch = (JobWatch) { .ask = on_ask };
        list_append(&f.job->watches, &f.watch.link);
        ck_assert_msg(worker_assign(f.w, f.job, &why) == 0, "%s", strna(why));
}

static void wait_question(void) {
        uint64_t until = now_usec() + BOUND_USEC;

        while (f.question == 0) {
                ck_assert_msg(now_usec() < until && !f.ended, "it does not ask: %s", f.result);
                ck_assert_int_ge(sd_event_run(f.host.event, 100 * USEC_PER_MSEC), 0);
        }
}

/* The server's result has its answer, JSON in a JSON string. */
#define assert_got(text) ck_assert_msg(strstr(f.result, text), "%s is not in %s", text, f.result)

START_TEST(asks_the_client_whose_call_it_is) {
        start(MCP_FEATURE_ELICITATION | MCP_FEATURE_ROOTS);
        f.answers = true;
        call("elicitation/create");
        wait_question();
        ck_assert_str_eq(f.method, "elicitation/create");
        ck_assert_str_eq(f.params, "{}");
        ck_assert(!f.ended);
        ck_assert_int_eq(answer(f.job, f.question, false, "[1]"), -EBADMSG);
        ck_assert_int_eq(answer(f.job, f.question + 1, false, "{}"), -ENOENT);
        ck_assert_int_eq(answer(f.job, 0, false, "{}"), -ENOENT);
        ck_assert_int_eq(answer(f.job, f.question, false, "{\"action\":\n\"accept\"}"), 0);
        ck_assert_int_eq(answer(f.job, f.question, false, "{}"), -ENOENT); /* once */
        run_until(&f.ended);
        assert_got("\\\"id\\\": \\\"q\\\", \\\"result\\\": {\\\"action\\\": \\\"accept\\\"}");
        ck_assert_int_eq(answer(f.job, f.question, false, "{}"), -ENOENT);

        call("roots/list");
        wait_question();
        ck_assert_int_eq(answer(f.job, f.question, true, "{\"code\":-1,\"message\":\"no\"}"), 0);
        run_until(&f.ended);
        assert_got("\\\"error\\\": {\\\"code\\\": -1, \\\"message\\\": \\\"no\\\"}");

        f.at_once = true;
        call("roots/list");
        run_until(&f.ended);
        assert_got("once");
        stop();
}
END_TEST

START_TEST(nobody_answers) {
        start(MCP_FEATURE_SAMPLING);
        call("sampling/createMessage"); /* its client does not */
        run_until(&f.ended);
        ck_assert_uint_gt(f.question, 0);
        assert_got("-32601");
        f.answers = true;
        call("roots/list"); /* not a feature of the type */
        run_until(&f.ended);
        ck_assert_uint_eq(f.question, 0);
        assert_got("-32601");
        stop();
}
END_TEST

START_TEST(a_shared_server_may_not_ask) {
        start(0);
        f.answers = true;
        call("elicitation/create");
        run_until(&f.ended);
        ck_assert_uint_eq(f.question, 0);
        assert_got("-32601");
        call("ping");
        run_until(&f.ended);
        assert_got("\\\"result\\\": {}");
        stop();
}
END_TEST

START_TEST(a_question_ends_with_its_call) {
        start(MCP_FEATURE_ELICITATION);
        f.answers = true;
        call("elicitation/create");
        wait_question();
        worker_end_job(f.w, f.job, FRAME_CANCELLED, "cancelled"); /* the server gets an error, and answers late */
        ck_assert(f.ended && f.status == FRAME_CANCELLED);
        ck_assert_int_eq(answer(f.job, f.question, false, "{}"), -ENOENT);
        f.ready = false;
        run_until(&f.ready); /* the slot is free */
        stop();
}
END_TEST

UNIT_MAIN("mcp-ask", asks_the_client_whose_call_it_is, nobody_answers, a_shared_server_may_not_ask, a_question_ends_with_its_call)
