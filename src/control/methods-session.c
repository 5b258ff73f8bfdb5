/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The methods about sessions, and the workers that they are bound to. */

#include <errno.h>

#include "control/internal.h"

static json_object *session_object(const Session *s) {
        json_object *o = json_object_new_object();
        uint64_t offset = realtime_usec() - now_usec();

        object_add_text(o, "session", s->name);
        object_add_text(o, "pool", s->pool);
        object_add_int(o, "uid", s->uid);
        if (s->worker)
                object_add_text(o, "worker", s->worker->name);
        object_add_int(o, "jobs", s->n_jobs);
        object_add_int(o, "created_usec", s->created_usec + offset);
        object_add_int(o, "used_usec", s->used_usec + offset);
        object_add_int(o, "hits", s->hits);
        object_add_int(o, "misses", s->misses);
        object_add_int(o, "fallbacks", s->fallbacks);
        return o;
}

typedef struct Wanted {
        const char *pool, *session; /* NULL: any */
        int64_t uid;                /* -1: any */
} Wanted;

static int wanted_get(ControlClient *c, json_object *p, Wanted *ret) {
        *ret = (Wanted) { .uid = -1 };
        if (parameter_text(c, p, "pool", &ret->pool) < 0 || parameter_text(c, p, "session", &ret->session) < 0 ||
            parameter_int(c, p, "uid", 0, UINT32_MAX, &ret->uid) < 0)
                return -EINVAL;
        if (ret->pool && !map_find_name(c->server->router->by_name, ret->pool)) {
                json_object *o = json_object_new_object();

                object_add_text(o, "pool", ret->pool);
                control_fail(c, "NoSuchPool", o, "there is no pool '%s'; see 'flowctl pool list'", ret->pool);
                return -ENOENT;
        }
        return 0;
}

static bool is_wanted(const Wanted *w, const Session *s) {
        return (!w->pool || streq(w->pool, s->pool)) && (!w->session || streq(w->session, s->name)) && (w->uid < 0 || w->uid == (int64_t) s->uid);
}

void method_list_sessions(ControlClient *c, json_object *p) {
        SessionTable *t = c->server->sessions;
        List *const lists[] = { &t->busy, &t->idle };
        int64_t limit = SESSIONS_LISTED, n = 0, all = 0;
        json_object *o, *a;
        Wanted w;

        if (wanted_get(c, p, &w) < 0 || parameter_int(c, p, "limit", 1, SESSIONS_LISTED, &limit) < 0)
                return;
        a = json_object_new_array();
        for (size_t i = 0; i < ELEMENTSOF(lists); i++) /* the last used first */
                for (List *l = lists[i]->prev; l != lists[i]; l = l->prev) {
                        const Session *s = list_entry(l, Session, use);

                        if (!is_wanted(&w, s))
                                continue;
                        all++;
                        if (n++ < limit)
                                json_object_array_add(a, session_object(s));
                }
        o = json_object_new_object();
        json_object_object_add(o, "sessions", a);
        object_add_int(o, "total", (uint64_t) all);
        control_reply(c, o, false);
}

void method_forget_session(ControlClient *c, json_object *p) {
        SessionTable *t = c->server->sessions;
        List *const lists[] = { &t->busy, &t->idle };
        uint64_t n = 0, others = 0;
        json_object *o;
        Wanted w;

        if (wanted_get(c, p, &w) < 0)
                return;
        if (!w.session) {
                control_invalid(c, "session");
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                LIST_FOREACH_SAFE(l, next, lists[i]) {
                        Session *s = list_entry(l, Session, use);
                        Pool *pool = is_wanted(&w, s) ? map_get_name(c->server->router->by_name, s->pool, Pool, by_name) : NULL;

                        if (!pool)
                                continue;
                        if (c->peer.level < LEVEL_OPERATE && s->uid != c->peer.uid) {
                                others++;
                                continue;
                        }
                        pool_forget_session(pool, s);
                        n++;
                }
        if (n == 0 && others > 0) {
                control_others_session(c);
                return;
        }
        o = json_object_new_object();
        object_add_int(o, "forgotten", n);
        control_reply(c, o, false);
}
