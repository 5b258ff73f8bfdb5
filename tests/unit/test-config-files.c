/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The files of the configuration: their syntax, where they are looked up, how they are merged, printed and compared. */

#include "config-kit.h"

/* --------------------------------------------------------------------------------------------------------------------- syntax */

START_TEST(lists) {
        char *const *e;

        put_worker("Environment=A=1 \"B=x y\"\nEnvironment=C=3 'D=\"q\"'\nPassEnvironment=X\nPassEnvironment=Y Z\n");
        put("c/workers/w.worker.d/10.conf", "[Worker]\nEnvironment=A=9\nPassEnvironment=\nPassEnvironment=W\n");
        load_clean();
        e = type("w")->environment;
        ck_assert_uint_eq(strv_length(e), 4);
        ck_assert_str_eq(e[0], "A=9"); /* the later value, in the earlier one's place */
        ck_assert_str_eq(e[1], "B=x y");
        ck_assert_str_eq(e[3], "D=\"q\"");
        ck_assert_uint_eq(strv_length(type("w")->pass_environment), 1);
        ck_assert_str_eq(type("w")->pass_environment[0], "W");
        put("c/workers/w.worker.d/10.conf", "[Worker]\nEnvironment=\n");
        load_clean();
        ck_assert_uint_eq(strv_length(type("w")->environment), 0);
}
END_TEST

START_TEST(resets) {
        put_worker("Slots=5\nStartTimeout=1s\nWorkingDirectory=/tmp\nProtocol=jsonl\nReady=explicit\n"
                   "Slots=\nStartTimeout=\nWorkingDirectory=\nProtocol=\nReady= \n");
        load_clean();
        const WorkerType *t = type("w");
        ck_assert_uint_eq(t->slots, 1);
        ck_assert_uint_eq(t->start_timeout_usec, 30 * USEC_PER_SEC);
        ck_assert_str_ne(t->working_directory, "/tmp");
        ck_assert_int_eq(t->protocol, PROTOCOL_FRAME);
        ck_assert(!t->ready_explicit);
        put("a/flowd.conf", "[Flowd]\nAdminGroup=root\nAdminGroup=\nLogLevel=debug\nLogLevel=\n");
        load_clean();
        ck_assert_str_eq(config->admin_group, "flowd-admin");
        ck_assert_int_eq(config->log_level, LOG_INFO);
        put_pool("Max=7\nMax=\nTier=hot\nTier=\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, pool_default_max(0));
        ck_assert_int_eq(pool("p")->tier, TIER_WARM);
}
END_TEST

START_TEST(comments_and_continuation) {
        put("a/workers/w.worker",
            "# comment\n; comment\n\n   [Worker]  \n  Exec = /bin/echo a \\\n   b\\\n# between\n; too\n  c ; no comment # here\n"
            "\tEnvironment=A=\\\n\n  Slots\t=\t3  \nStopTimeout=1\\\n");
        put("a/pools/p.pool", "[Pool]\nWorker=\\\nw\nMin=\\\nx\n");
        load();
        assert_error("a/pools/p.pool", 4, "Min=x: not a number");
        ck_assert_uint_eq(config->n_messages, 1);
        char *const *e = type("w")->exec;
        ck_assert_uint_eq(strv_length(e), 9);
        ck_assert_str_eq(e[1], "a");
        ck_assert_str_eq(e[2], "b");
        ck_assert_str_eq(e[3], "c");
        ck_assert_str_eq(e[4], ";");
        ck_assert_str_eq(e[7], "#");
        ck_assert_uint_eq(type("w")->slots, 3);
        ck_assert_str_eq(type("w")->environment[0], "A=");
        ck_assert_uint_eq(type("w")->stop_timeout_usec, USEC_PER_SEC);
        /* ends in a comment behind a continued line; an escaped backslash continues nothing */
        put("a/pools/p.pool", "[Pool]\nWorker=w\nMax=5 \\\n# the end");
        put_worker("Environment=A=\\\\\nSlots=2\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 5);
        ck_assert_str_eq(type("w")->environment[0], "A=\\");
        ck_assert_uint_eq(type("w")->slots, 2);
}
END_TEST

START_TEST(sections_merge) {
        put("a/workers/w.worker", "[Worker]\nSlots=1\n[X-Note]\nSlots=5\n[Worker]\nExec=/bin/cat\nX-Owner=me\nSlots=2\n");
        load_clean();
        ck_assert_uint_eq(type("w")->slots, 2);
}
END_TEST

START_TEST(crlf_and_bom) {
        put("a/workers/w.worker", "\xef\xbb\xbf[Worker]\r\nExec=/bin/echo a \\\r\nb\r\nSlots=2\r\n");
        load_clean();
        ck_assert_str_eq(type("w")->exec[2], "b");
        ck_assert_uint_eq(type("w")->slots, 2);
}
END_TEST

START_TEST(syntax_errors) {
        put("a/workers/w.worker",
            "Early=1\n[Worker\nx\n=5\n[]\n[Worker] x\n[Worker]\nExec=/bin/cat\nSlots 5\n[Worker]\nSlots=\x01\nSlots=\xff\n");
        load();
        assert_error("a/workers/w.worker", 1, "Early=: stands before any section; [Worker] is expected above it");
        assert_error("a/workers/w.worker", 2, "no closing bracket");
        assert_error("a/workers/w.worker", 3, "x: expected KEY=VALUE or [Section]");
        assert_error("a/workers/w.worker", 4, "=5: there is no key");
        assert_error("a/workers/w.worker", 5, "the section has no name");
        assert_error("a/workers/w.worker", 6, "text behind the section header");
        assert_error("a/workers/w.worker", 9, "Slots 5: expected KEY=VALUE");
        assert_error("a/workers/w.worker", 11, "control character 0x01");
        assert_error("a/workers/w.worker", 12, "invalid UTF-8");
        ck_assert_uint_eq(config->n_messages, 9);
        for (size_t i = 1; i < config->n_messages; i++)
                ck_assert_uint_le(config->messages[i - 1].line, config->messages[i].line);
        ck_assert_str_eq(type("w")->exec[0], "/bin/cat");
        put_bytes("a/workers/w.worker", "[Worker]\nExec=/bin/cat\0x\nSlots=1\n", 33);
        load();
        assert_error("a/workers/w.worker", 2, "a NUL byte");
}
END_TEST

START_TEST(unknown) {
        put_worker("Enviroment=A=1\nStartTimout=1s\nSlot=3\nTier=hot\nColour=red\nslots=2\n[Pool]\nA=1\nB=2\n");
        load();
        ck_assert_uint_eq(config->n_errors, 0);
        assert_warning("a/workers/w.worker", 3, "Enviroment=: unknown key in [Worker], ignored; did you mean Environment=?");
        assert_warning("a/workers/w.worker", 4, "did you mean StartTimeout=?");
        assert_warning("a/workers/w.worker", 5, "did you mean Slots=?");
        assert_warning("a/workers/w.worker", 6, "Tier=: is a key of [Pool], not of [Worker]");
        assert_warning("a/workers/w.worker", 7, "Colour=: unknown key in [Worker], ignored");
        assert_warning("a/workers/w.worker", 8, "did you mean Slots=?");
        assert_warning("a/workers/w.worker", 10, "[Pool]: unknown section, ignored; [Worker] is read here");
        ck_assert_uint_eq(config->n_messages, 7);
        ck_assert_ptr_null(strstr(config->messages[4].text, "mean"));
        ck_assert_uint_eq(type("w")->slots, 1);
}
END_TEST

START_TEST(bounds) {
        _cleanup_free_ char *big = malloc(CONFIG_FILE_MAX + 100), *text = NULL;
        size_t n;

        memset(big, 'x', CONFIG_FILE_MAX + 99);
        big[CONFIG_VALUE_MAX - 2] = 0;
        text = str_printf("Environment=A=%s\n", big); /* exactly the limit */
        put_worker(text);
        load_clean();
        ck_assert_uint_eq(strlen(type("w")->environment[0]), CONFIG_VALUE_MAX);
        free(text);
        text = str_printf("Environment=A=%sx\nSlots=2\n", big);
        refused_worker(text, "Environment=: the value has 8001 bytes, at most 8000 are allowed");
        ck_assert_uint_eq(type("w")->slots, 2);

        big[CONFIG_VALUE_MAX - 2] = 'x';
        big[CONFIG_FILE_MAX + 1] = 0;
        put("a/workers/w.worker", big);
        load();
        assert_error("a/workers/w.worker", 0, "is larger than 1048576 bytes");

        /* lines without end of every kind: it must come to an end itself, with a bounded number of messages */
        n = 0;
        for (unsigned i = 0; n + 20 < CONFIG_FILE_MAX; i++)
                n += (size_t) sprintf(big + n, "%s", i % 3 == 0 ? "[\n" : i % 3 == 1 ? "a=1\n" : "b\n");
        put("a/workers/w.worker", big);
        load();
        ck_assert_uint_gt(config->n_errors, 0);
        ck_assert_uint_le(config->n_messages, CONFIG_MESSAGES_MAX + 1);

        /* one line, continued through the whole file */
        n = (size_t) sprintf(big, "[Worker]\nExec=");
        while (n + 20 < CONFIG_FILE_MAX)
                n += (size_t) sprintf(big + n, "x\\\n");
        put("a/workers/w.worker", big);
        load();
        assert_error("a/workers/w.worker", 2, "at most 8000 are allowed");

        memset(big, '[', 1000);
        big[1000] = 0;
        put("a/workers/w.worker", big);
        load();
        assert_error("a/workers/w.worker", 1, "the section header is longer than 100 bytes");
}
END_TEST

START_TEST(too_many_units) {
        put_worker("");
        for (unsigned i = 0; i <= CONFIG_UNITS_MAX; i++) {
                _cleanup_free_ char *path = str_printf("a/pools/p%u.pool", i);
                put(path, "[Pool]\nWorker=w\n");
        }
        load();
        assert_error("a/pools", 0, "more than 4096 files *.pool");
        ck_assert_uint_le(config->n_pools, CONFIG_UNITS_MAX);
}
END_TEST

/* --------------------------------------------------------------------------------------------------------------------- lookup */

START_TEST(precedence) {
        put_worker("");
        put("a/pools/p.pool", "[Pool]\nWorker=w\nMax=3\nQueueMax=5\n");
        put("b/pools/p.pool", "[Pool]\nWorker=w\nMax=4\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 4);
        ck_assert_uint_eq(pool("p")->queue_max, 10000); /* the file counts whole */
        put("c/pools/p.pool", "[Pool]\nWorker=w\nMax=5\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 5);
        put("a/flowd.conf", "[Flowd]\nJsonMax=1M\nStderrRate=5\n");
        put("c/flowd.conf", "[Flowd]\nJsonMax=2M\n");
        load_clean();
        ck_assert_uint_eq(config->json_max, 2 << 20);
        ck_assert_uint_eq(config->stderr_rate, 1000);
}
END_TEST

START_TEST(masking) {
        put_worker("");
        put("a/pools/p.pool", "[Pool]\nWorker=w\n");
        put("a/pools/q.pool", "[Pool]\nWorker=w\n");
        put("a/pools/p.pool.d/x.conf", "[Pool]\nMax=2\n");
        put("b/pools/p.pool", "");
        put_link("c/pools/q.pool", "/dev/null");
        load_clean();
        ck_assert_uint_eq(config->n_pools, 0);
        put("c/pools/p.pool", "[Pool]\nWorker=w\n"); /* above the mask */
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 2);
        /* drop-ins are masked one by one */
        put_link("c/pools/p.pool.d/x.conf", "/dev/null");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, pool_default_max(0));
        put("a/flowd.conf", "[Flowd]\nJsonMax=1M\n");
        put_link("b/flowd.conf", "/dev/null");
        load_clean();
        ck_assert_uint_eq(config->json_max, 8 << 20);
        /* a masked type is none */
        put_link("b/workers/w.worker", "/dev/null");
        load();
        assert_error("c/pools/p.pool", 2, "no such worker type");
}
END_TEST

START_TEST(dropins) {
        put_pool("Max=1\n");
        put("a/pools/p.pool.d/50-x.conf", "[Pool]\nMax=5\nQueueMax=50\n");
        put("c/pools/p.pool.d/10-y.conf", "[Pool]\nMax=6\nIdleTimeout=1s\n");
        put("a/flowd.conf.d/a.conf", "[Flowd]\nJsonMax=1M\n"); /* needs no flowd.conf */
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 5); /* by name, not by directory */
        ck_assert_uint_eq(pool("p")->idle_timeout_usec, USEC_PER_SEC);
        ck_assert_uint_eq(config->json_max, 1 << 20);
        put("b/pools/p.pool.d/50-x.conf", "[Pool]\nMax=7\n");
        load_clean();
        ck_assert_uint_eq(pool("p")->max, 7);
        ck_assert_uint_eq(pool("p")->queue_max, 10000); /* the lower file of that name is gone */
        put("b/pools/p.pool.d/60.conf", "[Pool]\nMin=99\n");
        load();
        assert_error("b/pools/p.pool.d/60.conf", 2, "Min=99: is above Max=7");
        put("b/pools/p.pool.d/60.conf", "[Pool]\nMax=x\n");
        load();
        assert_error("b/pools/p.pool.d/60.conf", 2, "Max=x: not a number");
}
END_TEST

START_TEST(dropins_alone) {
        put_worker("");
        put("b/pools/lost.pool.d/x.conf", "[Pool]\nWorker=w\n");
        load();
        ck_assert_uint_eq(config->n_pools, 0);
        assert_warning("b/pools/lost.pool.d", 0, "there is no lost.pool");
        ck_assert_uint_eq(config->n_errors, 0);
}
END_TEST

START_TEST(names) {
        put_worker("");
        put("a/pools/.hidden.pool", "junk");
        put("a/pools/p.pool~", "junk");
        put("a/pools/p.pool.dpkg-new", "junk");
        put("a/pools/.pool", "junk");
        put("a/pools/README", "junk");
        load_clean();
        put("a/pools/two words.pool", "junk");
        put("a/pools/-x.pool", "junk");
        put("a/pools/evil\033[31m.pool", "junk");
        load();
        ck_assert_uint_eq(config->n_pools, 0);
        ck_assert_uint_eq(config->n_errors, 0);
        ck_assert_uint_eq(config->n_messages, 3);
        assert_warning("a/pools/two words.pool", 0, "ignored: a name has letters");
        assert_warning("a/pools/evil?[31m.pool", 0, "ignored");
}
END_TEST

START_TEST(odd_files) {
        _cleanup_free_ char *fifo = str_printf("%s/a/pools/f.pool", base), *secret = str_printf("%s/a/pools/s.pool", base);

        put_worker("");
        put("a/pools/d.pool/x", "");
        put("a/workers/w.worker.d/x.conf/y", "");
        put_link("a/pools/l.pool", "nowhere");
        ck_assert_int_eq(mkfifo(fifo, 0644), 0);
        load();
        ck_assert_uint_eq(config->n_messages, 4);
        assert_warning("a/pools/d.pool", 0, "is a directory, not a file; ignored");
        assert_warning("a/workers/w.worker.d/x.conf", 0, "is a directory");
        assert_warning("a/pools/f.pool", 0, "is something else, not a file");
        assert_error("a/pools/l.pool", 0, "is a link to nothing");
        if (geteuid() == 0)
                return;
        put("a/pools/s.pool", "[Pool]\nWorker=w\n");
        ck_assert_int_eq(chmod(secret, 0), 0);
        load();
        assert_error("a/pools/s.pool", 0, "cannot be read: Permission denied");
}
END_TEST

START_TEST(directory_is_file) {
        put("a/pools", "x");
        load();
        assert_error("a/pools", 0, "cannot be read: Not a directory");
}
END_TEST

/* --------------------------------------------------------------------------------------------------- printing and comparing */

START_TEST(printing) {
        _cleanup_free_ char *text = NULL, *want = NULL;

        put("a/workers/w.worker", "[Worker]\nExec=/bin/echo %%x \\\n \"a b\"\nEnvironment=A=1\nSlots=1\nStopTimeout=1s\n");
        put("b/workers/w.worker.d/o.conf", "[Worker]\nEnvironment=B=2\nSlots=2\nStopTimeout=\n");
        put("a/pools/p.pool", "[Pool]\nWorker=w\n");
        load_clean();
        ck_assert_int_eq(config_print(config, "w.worker", &text), 0);
        want = str_printf("# w.worker\n[Worker]\n# %1$s/a/workers/w.worker:2\nExec=/bin/echo %%%%x  \"a b\"\n"
                          "# %1$s/a/workers/w.worker:4\nEnvironment=A=1\n# %1$s/b/workers/w.worker.d/o.conf:2\nEnvironment=B=2\n"
                          "# %1$s/b/workers/w.worker.d/o.conf:3\nSlots=2\n", base);
        ck_assert_str_eq(text, want);
        free(TAKE_PTR(text));
        free(want);
        ck_assert_int_eq(config_print(config, NULL, &text), 0);
        ck_assert_ptr_nonnull(strstr(text, "# flowd.conf\n# nothing is set"));
        want = str_printf("\n# p.pool\n[Pool]\n# %s/a/pools/p.pool:2\nWorker=w\n", base);
        ck_assert_ptr_nonnull(strstr(text, want));
        ck_assert_int_eq(config_print(config, "x.pool", &text), -ENOENT);
        ck_assert_int_eq(config_print(config, "p", &text), -ENOENT);
}
END_TEST

START_TEST(message_format) {
        ConfigMessage m = { .error = true, .file = (char *) "/x/a.pool", .line = 7, .text = (char *) "Min=abc: not a number" };
        _cleanup_free_ char *a = config_message_format(&m), *b = NULL, *c = NULL;

        ck_assert_str_eq(a, "/x/a.pool:7: error: Min=abc: not a number");
        m.line = 0;
        m.error = false;
        b = config_message_format(&m);
        ck_assert_str_eq(b, "/x/a.pool: warning: Min=abc: not a number");
        m.file = NULL;
        c = config_message_format(&m);
        ck_assert_str_eq(c, "warning: Min=abc: not a number");
}
END_TEST

/* Each line makes another type, or pool, of it. */
START_TEST(equality) {
        static const char *const worker_lines[] = {
                "Exec=/bin/cat -u", "Protocol=jsonl", "Protocol=exec\nOutput=text", "Protocol=jsonl\nReady=explicit", "Slots=2",
                "StartTimeout=1s", "StopTimeout=1s", "JobTimeout=1s", "CancelTimeout=1s", "DrainTimeout=1s",
                "HeartbeatInterval=1s", "Environment=A=1", "PassEnvironment=A", "WorkingDirectory=/tmp", "LimitNOFILE=9",
                "LimitNOFILE=9:10", "PayloadMax=1M", "ResultMax=1M", "MemoryMax=1G", "MemorySwapMax=0", "TasksMax=5", "CPUWeight=5", "MaxJobs=5",
                "MaxAge=1h", "MaxRSS=1G", "MaxCrashes=5",
        }, *const pool_lines[] = {
                "Tier=hot", "Min=1", "Max=77", "IdleTimeout=1s", "QueueMax=1", "QueueBytesMax=1M", "RestartDelay=1s",
                "RestartDelayMax=1s", "HealthyAfter=1s", "BreakerCrashes=1", "BreakerWindow=1s", "BreakerCooldown=1s",
        };
        _cleanup_(config_freep) Config *first = NULL;

        put_pool("");
        load_clean();
        first = TAKE_PTR(config);
        load_clean();
        ck_assert(worker_type_equal(type("w"), first->types[0]));
        ck_assert(pool_config_equal(pool("p"), first->pools[0]));
        for (size_t i = 0; i < ELEMENTSOF(worker_lines); i++) {
                put_worker(worker_lines[i]);
                load_clean();
                ck_assert_msg(!worker_type_equal(type("w"), first->types[0]), "%s", worker_lines[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(pool_lines); i++) {
                put_pool(pool_lines[i]);
                load_clean();
                ck_assert_msg(!pool_config_equal(pool("p"), first->pools[0]), "%s", pool_lines[i]);
        }
        if (geteuid() == 0) {
                put_worker("User=daemon");
                load_clean();
                ck_assert(!worker_type_equal(type("w"), first->types[0]));
        }
}
END_TEST

/* ---------------------------------------------------------------------------------------------------------------------- paths */

START_TEST(paths_private) {
        _cleanup_(config_paths_done) ConfigPaths p = {};
        _cleanup_free_ char *cwd = getcwd(NULL, 0), *want = str_printf("%s/conf/x", streq(cwd, "/") ? "" : cwd);

        ck_assert_int_eq(config_paths_init(&p, RUN_PRIVATE, "/c", NULL, "/s"), -EINVAL);
        ck_assert_str_eq(config_paths_missing(NULL, NULL, NULL), "--config=");
        ck_assert_str_eq(config_paths_missing("/c", NULL, "/s"), "--runtime=");
        ck_assert_str_eq(config_paths_missing("/c", "/r", ""), "--state=");
        ck_assert_ptr_null(config_paths_missing("/c", "/r", "/s"));
        setenv("FLOWD_RUNTIME", "/from/environment", 1);
        ck_assert_int_eq(config_paths_init(&p, RUN_PRIVATE, "./conf/x/", NULL, "/s//"), 0);
        ck_assert_uint_eq(strv_length(p.dirs), 1);
        ck_assert_str_eq(p.dirs[0], want);
        ck_assert_str_eq(p.runtime, "/from/environment");
        ck_assert_str_eq(p.state, "/s");
        config_paths_done(&p);
        ck_assert_int_eq(config_paths_init(&p, RUN_PRIVATE, "/c", "/argument", "/s"), 0);
        ck_assert_str_eq(p.runtime, "/argument");
        ck_assert_int_eq(config_paths_init(&p, RUN_PRIVATE, "/c",
                                           "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                           "aaaaaaaaaaaaaaaaaaaa",
                                           "/s"),
                         -ENAMETOOLONG);
}
END_TEST

START_TEST(paths_system_and_user) {
        _cleanup_(config_paths_done) ConfigPaths p = {}, u = {}, v = {};

        ck_assert_int_eq(config_paths_init(&p, RUN_SYSTEM, NULL, NULL, NULL), 0);
        ck_assert_uint_eq(strv_length(p.dirs), 3);
        ck_assert_str_eq(p.dirs[0], PKGLIBDIR);
        ck_assert_str_eq(p.dirs[1], SYSCONFDIR "/flowd");
        ck_assert_str_eq(p.dirs[2], RUNSTATEDIR "/flowd");
        ck_assert_str_eq(p.runtime, RUNSTATEDIR "/flowd");
        setenv("HOME", "/home/x", 1);
        setenv("XDG_RUNTIME_DIR", "/run/user/5", 1);
        setenv("XDG_STATE_HOME", "relative is no value", 1);
        unsetenv("XDG_CONFIG_HOME");
        ck_assert_int_eq(config_paths_init(&u, RUN_USER, NULL, NULL, NULL), 0);
        ck_assert_uint_eq(strv_length(u.dirs), 4);
        ck_assert_str_eq(u.dirs[0], PKGLIBDIR "/user");
        ck_assert_str_eq(u.dirs[1], SYSCONFDIR "/flowd/user");
        ck_assert_str_eq(u.dirs[2], "/home/x/.config/flowd");
        ck_assert_str_eq(u.dirs[3], "/run/user/5/flowd/config");
        ck_assert_str_eq(u.runtime, "/run/user/5/flowd");
        ck_assert_str_eq(u.state, "/home/x/.local/state/flowd");
        unsetenv("XDG_RUNTIME_DIR");
        setenv("XDG_CONFIG_HOME", "/xdg", 1);
        ck_assert_int_eq(config_paths_init(&v, RUN_USER, NULL, NULL, "/elsewhere"), 0);
        ck_assert_int_eq(strncmp(v.runtime, "/run/user/", 10), 0);
        ck_assert_str_eq(v.dirs[2], "/xdg/flowd");
        ck_assert_str_eq(v.state, "/elsewhere");
}
END_TEST

int main(void) {
        Suite *s = suite_create("config-files");
        TCase *c = tcase_create("config");

        tcase_add_checked_fixture(c, setup, teardown);
        tcase_set_timeout(c, 60);
        tcase_add_test(c, lists);
        tcase_add_test(c, resets);
        tcase_add_test(c, comments_and_continuation);
        tcase_add_test(c, sections_merge);
        tcase_add_test(c, crlf_and_bom);
        tcase_add_test(c, syntax_errors);
        tcase_add_test(c, unknown);
        tcase_add_test(c, bounds);
        tcase_add_test(c, too_many_units);
        tcase_add_test(c, precedence);
        tcase_add_test(c, masking);
        tcase_add_test(c, dropins);
        tcase_add_test(c, dropins_alone);
        tcase_add_test(c, names);
        tcase_add_test(c, odd_files);
        tcase_add_test(c, directory_is_file);
        tcase_add_test(c, printing);
        tcase_add_test(c, message_format);
        tcase_add_test(c, equality);
        tcase_add_test(c, paths_private);
        tcase_add_test(c, paths_system_and_user);
        suite_add_tcase(s, c);

        SRunner *r = srunner_create(s);
        srunner_run_all(r, CK_NORMAL);
        int failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed > 0;
}
