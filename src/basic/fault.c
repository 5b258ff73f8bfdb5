/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fault points. A promise such as "across SIGKILL at any instruction" is tested by dying exactly where it hurts most, so those places have
 * names. The counters are the one mutable static of the house, because a point stands where nothing else can be passed along; they are
 * atomic, as the store's threads pass points too. Without FLOWD_FAULTS this file is empty, and a point is the constant 0.
 */

#include "basic/fault.h"

#ifdef FLOWD_FAULTS

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "basic/str.h"

enum { FAULT_NONE, FAULT_KILL, FAULT_ERROR };

/* In the order of a job's life. */
static struct {
        const char *name;
        _Atomic int action;
        _Atomic unsigned left; /* passings until it happens; 0: never, or over */
} points[] = {
        { "accept" },       /* the job is taken, before it is queued for the store */
        { "add" },          /* the writer, before the INSERT */
        { "commit" },       /* before COMMIT */
        { "committed" },    /* after COMMIT, before anybody hears of it */
        { "answer-early" }, /* with error: the client is answered before the commit, which breaks the promise on purpose */
        { "answer" },       /* before ACCEPTED is queued */
        { "answered" },     /* after it */
        { "attempt" },      /* before the record of a second or later attempt is queued */
        { "dispatch" },     /* before the job is sent to its worker */
        { "dispatched" },   /* after it */
        { "result" },       /* the answer was read, the end is not recorded yet */
        { "ended" },        /* the end is committed, before anybody is told */
        { "told" },         /* after it */
        { "flow" },         /* the writer, before a change of a session */
        { "flow-run" },     /* a task is active, its job is not submitted yet */
        { "flow-ended" },   /* its job has ended, the task not yet */
        { "checkpoint" },   /* before the WAL is copied into the database */
        { "checkpointed" }, /* after it */
};

static ssize_t point_find(const char *name, size_t length) {
        for (size_t i = 0; i < ELEMENTSOF(points); i++)
                if (strlen(points[i].name) == length && memcmp(points[i].name, name, length) == 0)
                        return (ssize_t) i;
        return -1;
}

static char *points_list(void) {
        char *list = NULL;

        for (size_t i = 0; i < ELEMENTSOF(points); i++) {
                char *longer = str_printf("%s%s%s", strempty(list), list ? ", " : "", points[i].name);

                free(list);
                list = longer;
                if (!list)
                        return NULL;
        }
        return list;
}

/* One POINT:ACTION[:N]. Returns a text where it is wrong. */
static char *arm_one(const char *item, size_t length) {
        _cleanup_free_ char *copy = strndup(item, length), *known = NULL;
        uint64_t n = 1;
        char *action, *count;

        if (!copy)
                return NULL;
        action = strchr(copy, ':');
        if (!action)
                return str_printf(FAULT_ENVIRONMENT ": \"%s\" has no action; expected POINT:kill or POINT:error, and :N for the Nth passing", copy);
        *action++ = 0;
        count = strchr(action, ':');
        if (count)
                *count++ = 0;
        ssize_t i = point_find(copy, strlen(copy));
        if (i < 0) {
                known = points_list();
                return str_printf(FAULT_ENVIRONMENT ": there is no point \"%s\"; there are %s", copy, strempty(known));
        }
        if (!streq(action, "kill") && !streq(action, "error"))
                return str_printf(FAULT_ENVIRONMENT ": \"%s\" is no action; expected kill or error", action);
        if (count && u64_parse(count, 1, FAULT_PASSING_MAX, &n) < 0)
                return str_printf(FAULT_ENVIRONMENT ": \"%s\" is no passing to count to; expected 1 to %u", count, FAULT_PASSING_MAX);
        points[i].action = streq(action, "kill") ? FAULT_KILL : FAULT_ERROR;
        points[i].left = (unsigned) n;
        copy[0] = 0;
        return TAKE_PTR(copy); /* empty: all is well */
}

int fault_arm(const char *spec, char **ret_why) {
        for (size_t i = 0; i < ELEMENTSOF(points); i++)
                points[i].left = 0;
        for (const char *p = spec; p && *spec; p = *p ? p + 1 : NULL) { /* nothing behind a comma is an item too, and a bad one */
                size_t length = strcspn(p, ",");
                _cleanup_free_ char *wrong = arm_one(p, length);

                if (!wrong || *wrong) {
                        for (size_t i = 0; i < ELEMENTSOF(points); i++)
                                points[i].left = 0;
                        *ret_why = TAKE_PTR(wrong);
                        return -EINVAL;
                }
                p += length;
        }
        return 0;
}

int fault_point(const char *name) {
        ssize_t i = point_find(name, strlen(name));

        assert(i >= 0);
        unsigned left = atomic_load(&points[i].left);
        do
                if (left == 0)
                        return 0;
        while (!atomic_compare_exchange_weak(&points[i].left, &left, left - 1));
        if (left > 1)
                return 0;
        if (points[i].action == FAULT_KILL) {
                (void) kill(getpid(), SIGKILL);
                for (;;)
                        (void) pause(); /* another thread of ours may be the one that notices first */
        }
        return -EIO;
}

#endif
