/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The store when it is killed, or its commits fail, at the points of fault injection. Without them there is nothing to test. */

#include <signal.h>
#include <sys/wait.h>

#include "basic/fault.h"
#include "basic/fd.h"
#include "store-kit.h"
#include "unit.h"

#ifdef FLOWD_FAULTS

static Kit kit;

static void arm(const char *spec) {
        char *why = NULL;

        ck_assert_msg(fault_arm(spec, &why) == 0, "%s", strempty(why));
}

static void expect_refused(const char *spec, const char *words) {
        char *why = NULL;

        ck_assert_int_eq(fault_arm(spec, &why), -EINVAL);
        ck_assert_msg(why && strstr(why, words), "%s", strempty(why));
        free(why);
}

START_TEST(test_arm) {
        expect_refused("nowhere:kill", "there is no point \"nowhere\"; there are accept, add, commit");
        expect_refused("commit", "\"commit\" has no action");
        expect_refused("commit:die", "\"die\" is no action");
        expect_refused("commit:error:0", "\"0\" is no passing");
        expect_refused("commit:error:x", "\"x\" is no passing");
        expect_refused("commit:error,", "has no action");
        arm(NULL);
        ck_assert_int_eq(fault_point("commit"), 0);
        arm("commit:error:3,add:error");
        ck_assert_int_eq(fault_point("add"), -EIO);
        ck_assert_int_eq(fault_point("add"), 0); /* once */
        ck_assert_int_eq(fault_point("commit"), 0);
        ck_assert_int_eq(fault_point("commit"), 0);
        ck_assert_int_eq(fault_point("commit"), -EIO);
        ck_assert_int_eq(fault_point("commit"), 0);
}
END_TEST

/* The commit has failed: what was not promised is refused, what was is done all the same. */
START_TEST(test_commit_fails) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        kit_add_job(k, 1);
        arm("commit:error");
        kit_submit(k, kit_end(1, JOB_COMPLETED, kit_blob(1, 3000)));
        StoreRequest *r = kit_run(k, kit_add(2, kit_blob(2, 10)));
        ck_assert_int_eq(r->error, -EIO);
        ck_assert_ptr_nonnull(strstr(strempty(r->text), "injected"));
        store_request_free(r);
        kit_until(k, k->done == 1);
        ck_assert_int_eq(k->last_error, 0);
        kit_until(k, store_health(k->store) == STORE_OK);
        ck_assert_uint_gt(k->changes, 0);
        kit_add_job(k, 3);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 1);
        ck_assert_uint_eq(k->jobs[0].id, 3);
        kit_done(k);
}
END_TEST

/* It has not failed, and was said to have: what is carried out again finds its own work. */
START_TEST(test_commit_seems_to_fail) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        kit_add_job(k, 1);
        kit_add_job(k, 4);
        arm("committed:error");
        kit_submit(k, kit_end(1, JOB_COMPLETED, kit_blob(1, 3000)));
        StoreRequest *r = kit_request(STORE_OP_ATTEMPT);
        r->record = (JobRecord) { .id = 4, .attempts = 2 };
        kit_submit(k, r);
        ck_assert_int_eq(kit_result(k, kit_add(2, kit_blob(2, 10))), -EIO);
        kit_until(k, k->done == 2);
        ck_assert_int_eq(k->last_error, 0);
        kit_until(k, store_health(k->store) == STORE_OK);
        r = kit_get(k, 1, STORE_WANT_RESULT);
        ck_assert_int_eq(r->record.state, JOB_COMPLETED);
        ck_assert_uint_eq(blob_size(r->record.result), 3000);
        store_request_free(r);
        StoreStats stats;
        kit_stats(k, &stats);
        ck_assert_uint_eq(stats.jobs[JOB_COMPLETED], 1);
        kit_done(k);
}
END_TEST

START_TEST(test_one_add_fails) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        arm("add:error:2");
        kit_submit(k, kit_add(1, kit_blob(1, 10)));
        kit_submit(k, kit_add(2, kit_blob(2, 10)));
        kit_submit(k, kit_add(3, kit_blob(3, 10)));
        kit_until(k, k->done == 3);
        kit_reopen(k);
        ck_assert_uint_eq(k->n_jobs, 2);
        ck_assert_uint_eq(k->jobs[1].id, 3);
        kit_done(k);
}
END_TEST

START_TEST(test_checkpoint_fails) {
        Kit *k = &kit;

        kit_init(k);
        kit_open_well(k);
        arm("checkpoint:error,checkpointed:error:2");
        for (uint64_t id = 1; id <= 1500; id++)
                ck_assert_int_ge(kit_result(k, kit_add(id, kit_noise(id, 4000))), -EIO);
        kit_until(k, k->changes > 0);
        kit_until(k, store_health(k->store) == STORE_OK);
        kit_add_job(k, 2000);
        kit_reopen(k);
        ck_assert_uint_gt(k->n_jobs, 500);
        kit_done(k);
}
END_TEST

/* The child says on its pipe which jobs were answered: 1 added, 2 ended. */
static int answers;

static void on_answer(StoreRequest *r) {
        uint64_t word = r->record.id << 2 | (r->op == STORE_OP_END ? 2 : 1);

        if (r->error < 0 || write(answers, &word, sizeof(word)) != sizeof(word))
                _exit(3);
        store_request_free(r);
}

static _noreturn_ void live_until_killed(Kit *k, const char *spec) {
        k->event = sd_event_unref(k->event); /* the parent's */
        if (sd_event_new(&k->event) < 0 || hot_init(&k->hot, k->event, 0) < 0)
                _exit(4);
        kit_open(k);
        arm(spec);
        for (uint64_t id = store_last_id(k->store) + 1;; id++) {
                StoreRequest *r = kit_add(id, kit_noise(id, 2500));

                r->done = on_answer;
                store_submit(k->store, r);
                while (store_pending(k->store) > id % 5)
                        (void) sd_event_run(k->event, 1000);
                if (id % 2) {
                        r = kit_end(id, JOB_COMPLETED, kit_noise(id, 1500));
                        r->done = on_answer;
                        store_submit(k->store, r);
                }
        }
}

START_TEST(test_killed) {
        static const char *const specs[] = {
                "commit:kill:30", "committed:kill:30", "add:kill:77", "checkpoint:kill:2", "checkpointed:kill:1", "commit:kill:1", "committed:kill:501",
        };
        Kit *k = &kit;

        kit_init(k);
        for (size_t i = 0; i < ELEMENTSOF(specs); i++) {
                static unsigned char state[1 << 20];
                uint64_t word;
                int pair[2], status;

                ck_assert_int_eq(pipe(pair), 0);
                pid_t pid = fork();
                if (pid == 0) {
                        close(pair[0]);
                        answers = pair[1];
                        live_until_killed(k, specs[i]);
                }
                ck_assert_int_gt(pid, 0);
                close(pair[1]);
                uint64_t highest = 0;
                while (read(pair[0], &word, sizeof(word)) == sizeof(word)) {
                        ck_assert_uint_lt(word >> 2, sizeof(state));
                        state[word >> 2] |= (unsigned char) (word & 3);
                        highest = MAX(highest, word >> 2);
                }
                close(pair[0]);
                ck_assert_int_eq(waitpid(pid, &status, 0), pid);
                ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: status %#x", specs[i], (unsigned) status);

                /* All that was answered is so. */
                kit_open_well(k);
                for (uint64_t id = 1; id <= highest; id++) {
                        StoreRequest *r = kit_get(k, id, STORE_WANT_RESULT | STORE_WANT_PAYLOAD);

                        if (state[id] & 1)
                                ck_assert_int_eq(r->error, 0);
                        if (state[id] & 2) {
                                _cleanup_(blob_unrefp) Blob *b = kit_noise(id, 1500);

                                ck_assert_int_eq(r->record.state, JOB_COMPLETED);
                                kit_same(r->record.result, b);
                        }
                        store_request_free(r);
                }
                ck_assert_uint_ge(store_last_id(k->store), highest);
                StoreRequest *r = kit_run(k, kit_request(STORE_OP_CHECK));
                ck_assert_str_eq(r->text, "ok");
                store_request_free(r);
                kit_close(k);
        }
        kit_done(k);
}
END_TEST

UNIT_MAIN("store-fault", test_arm, test_commit_fails, test_commit_seems_to_fail, test_one_add_fails, test_checkpoint_fails, test_killed)

#else

int main(void) {
        puts("1..0 # SKIP built without --enable-fault-injection");
        return 77;
}

#endif
