/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a worker finds in its environment: an allow-list of flowd's own, who it is, what its type says. Nothing else is passed on, so that
 * neither systemd's variables nor an administrator's secrets reach it. The worker's name, generation and instance are also how its orphans
 * are known where there are no cgroups.
 */

#include <errno.h>
#include <stdio.h>

#include "worker/worker.h"

static int env_add(char ***env, const char *name, const char *value) {
        _cleanup_free_ char *s = str_printf("%s=%s", name, value);

        return s ? strv_append(env, s) : -ENOMEM;
}

static int env_set_all(char ***env, char *const *assignments) {
        for (size_t i = 0; assignments && assignments[i]; i++) {
                size_t l = (size_t) (strchrnul(assignments[i], '=') - assignments[i]) + 1;
                char *copy = strdup(assignments[i]), **e = *env;

                if (!copy)
                        return -ENOMEM;
                while (*e && strncmp(*e, assignments[i], l) != 0)
                        e++;
                if (*e) {
                        free(*e);
                        *e = copy;
                        continue;
                }
                int r = strv_append(env, copy);
                free(copy);
                if (r < 0)
                        return r;
        }
        return 0;
}

int worker_environment(const Worker *w, const Job *job, char ***ret) {
        static const char *const passed[] = { "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR" };
        static const char *const passed_own[] = { "HOME", "USER", "LOGNAME", "SHELL" };
        _cleanup_(strv_freep) char **env = NULL;
        char number[24], id[JOB_ID_TEXT_MAX];
        const WorkerType *t = w->type;
        const char *v;
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(passed) && r >= 0; i++)
                if ((v = getenv(passed[i])))
                        r = env_add(&env, passed[i], v);
                else if (i == 0)
                        r = env_add(&env, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        if (t->uid == (uid_t) -1) {
                for (size_t i = 0; i < ELEMENTSOF(passed_own) && r >= 0; i++)
                        if ((v = getenv(passed_own[i])))
                                r = env_add(&env, passed_own[i], v);
        } else {
                if (r >= 0)
                        r = env_add(&env, "HOME", t->home ? t->home : "/");
                if (r >= 0)
                        r = env_add(&env, "USER", t->user);
                if (r >= 0)
                        r = env_add(&env, "LOGNAME", t->user);
        }
        snprintf(number, sizeof(number), "%llu", (unsigned long long) w->generation);
        const char *const own[][2] = {
                { "FLOWD_INSTANCE", w->host->instance },
                { "FLOWD_POOL", w->pool_name },
                { "FLOWD_WORKER", w->name },
                { "FLOWD_WORKER_TYPE", t->name },
                { "FLOWD_GENERATION", number },
                { "FLOWD_JOB", job ? job_id_format(job->id, id) : NULL },
                { "FLOWD_METHOD", job ? job->method : NULL },
                { "FLOWD_SESSION", job ? job->session : NULL },
        };
        for (size_t i = 0; i < ELEMENTSOF(own) && r >= 0; i++)
                if (own[i][1])
                        r = env_add(&env, own[i][0], own[i][1]);
        if (r >= 0 && job) {
                snprintf(number, sizeof(number), "%u", job->attempts + 1);
                r = env_add(&env, "FLOWD_ATTEMPT", number);
        }
        for (size_t i = 0; t->pass_environment && t->pass_environment[i] && r >= 0; i++)
                if ((v = getenv(t->pass_environment[i])))
                        r = env_add(&env, t->pass_environment[i], v);
        if (r >= 0)
                r = env_set_all(&env, t->environment);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(env);
        return 0;
}
