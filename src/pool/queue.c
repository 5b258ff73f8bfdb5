/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The order of jobs. Each priority in use is a class; of the classes the one comes first whose oldest job has the least
 *
 *         queued_usec - priority * aging
 *
 * so that a job overtakes those that have waited up to `aging` longer for each step between their priorities, and nothing beyond: whatever
 * comes later with a priority p steps above waits behind a job that has waited p * aging longer. Nothing starves, and no timer has to lift
 * anybody. (The alternatives: moving jobs up from class to class takes a pass over the queue, and a weighted round over a few classes maps
 * a hundred priorities to the same.) Without aging the highest priority comes first, always.
 *
 * Within a class the users take turns, a job each, so that who has queued a million jobs delays others by one job at a time; whoever has
 * just come is last in the round. A user's jobs go by age. Since the class is ranked by its oldest job, whosever that is, its older jobs do
 * not fall behind another class while it is a younger one's turn.
 *
 * Everything is linked, so that adding cannot fail: a class or a share that there is no memory for is stood in for by the one that is part
 * of the queue. The order suffers then; no job does.
 */

#include "basic/str.h"
#include "pool/queue.h"

#define KEY_ZERO (UINT64_C(1) << 63) /* keys are signed, the heap's are not */

static void class_init(QueueClass *c, JobQueue *q, int32_t priority) {
        *c = (QueueClass) { .queue = q, .priority = priority };
        list_init(&c->link);
        list_init(&c->jobs);
        list_init(&c->shares);
}

static void share_init(QueueShare *s, QueueClass *c, uid_t uid) {
        *s = (QueueShare) { .class = c, .uid = uid };
        list_init(&s->link);
        list_init(&s->jobs);
}

void job_queue_init(JobQueue *q, uint64_t aging, uint64_t seed) {
        *q = (JobQueue) { .aging = aging };
        map_init(&q->classes, seed);
        map_init(&q->shares, seed);
        list_init(&q->used);
        class_init(&q->base, q, 0);
        share_init(&q->common, &q->base, 0);
}

void job_queue_done(JobQueue *q) {
        assert(q->n == 0);
        map_done(&q->classes);
        map_done(&q->shares);
}

static uint64_t class_key(const QueueClass *c) {
        const Job *oldest = list_entry(c->jobs.next, Job, class_link);
        uint64_t aging = c->queue->aging, step = aging > 0 ? aging : 1;

        return KEY_ZERO + (aging > 0 ? oldest->queued_usec : 0) - (uint64_t) c->priority * step;
}

/* After its oldest job has changed. */
static void class_rank(QueueClass *c) {
        JobQueue *q = c->queue;
        uint64_t key = class_key(c);

        if (list_linked(&c->link)) {
                if (c->node.key == key)
                        return;
                heap_remove(&q->order, &c->node);
        } else
                list_append(&q->used, &c->link);
        heap_add(&q->order, &c->node, key);
}

void job_queue_set_aging(JobQueue *q, uint64_t aging) {
        if (q->aging == aging)
                return;
        q->aging = aging;
        LIST_FOREACH(l, &q->used)
                class_rank(list_entry(l, QueueClass, link));
}

static QueueClass *class_get(JobQueue *q, int32_t priority) {
        QueueClass *c;

        if (priority == 0)
                return &q->base;
        c = map_get(&q->classes, (uint32_t) priority, QueueClass, by_priority);
        if (c)
                return c;
        c = new0(QueueClass, 1);
        if (!c)
                return &q->base;
        class_init(c, q, priority);
        if (map_add(&q->classes, &c->by_priority, (uint32_t) priority) < 0) {
                free(c);
                return &q->base;
        }
        return c;
}

static QueueShare *share_get(JobQueue *q, int32_t priority, uid_t uid) {
        uint64_t owner = (uint64_t) (uint32_t) priority << 32 | uid;
        QueueShare *s = map_get(&q->shares, owner, QueueShare, by_owner);

        if (s)
                return s;
        if (priority == 0 && (list_empty(&q->common.jobs) || q->common.uid == uid)) {
                q->common.uid = uid;
                return &q->common;
        }
        QueueClass *c = class_get(q, priority);
        s = new0(QueueShare, 1);
        if (s) {
                share_init(s, c, uid);
                if (map_add(&q->shares, &s->by_owner, owner) >= 0)
                        return s;
                free(s);
        }
        if (c != &q->base && list_empty(&c->jobs)) {
                map_remove(&q->classes, &c->by_priority);
                free(c);
        }
        return &q->common;
}

/* By age: mostly behind all others; what has been here before goes to about the front. Returns the link to stand before. */
static List *place_in_class(QueueClass *c, const Job *j) {
        List *at = &c->jobs;

        if (list_empty(at) || list_entry(at->prev, Job, class_link)->queued_usec <= j->queued_usec)
                return at;
        for (at = at->next; list_entry(at, Job, class_link)->queued_usec <= j->queued_usec; at = at->next)
                ;
        return at;
}

static List *place_in_share(QueueShare *s, const Job *j) {
        List *at = &s->jobs;

        if (list_empty(at) || list_entry(at->prev, Job, queue_link)->queued_usec <= j->queued_usec)
                return at;
        for (at = at->next; list_entry(at, Job, queue_link)->queued_usec <= j->queued_usec; at = at->next)
                ;
        return at;
}

void job_queue_add(JobQueue *q, Job *j) {
        QueueShare *s = share_get(q, j->priority, j->uid);
        QueueClass *c = s->class;

        list_insert_before(place_in_class(c, j), &j->class_link);
        list_insert_before(place_in_share(s, j), &j->queue_link);
        j->share = s;
        if (!list_linked(&s->link))
                list_append(&c->shares, &s->link);
        q->n++;
        if (c->jobs.next == &j->class_link)
                class_rank(c);
}

Job *job_queue_first(const JobQueue *q) {
        if (q->n == 0)
                return NULL;
        const QueueClass *c = CONTAINER_OF(q->order.root, QueueClass, node);
        const QueueShare *s = list_entry(c->shares.next, QueueShare, link);

        return list_entry(s->jobs.next, Job, queue_link);
}

uint64_t job_queue_key(const JobQueue *q) {
        return q->order.root->key;
}

void job_queue_turn(Job *j) {
        QueueShare *s = j->share;

        if (s->link.next == s->link.prev) /* alone */
                return;
        list_remove(&s->link);
        list_append(&s->class->shares, &s->link);
}

static void class_left(QueueClass *c, bool oldest) {
        JobQueue *q = c->queue;

        if (!list_empty(&c->jobs)) {
                if (oldest)
                        class_rank(c);
                return;
        }
        heap_remove(&q->order, &c->node);
        list_remove(&c->link);
        if (c != &q->base) {
                map_remove(&q->classes, &c->by_priority);
                free(c);
        }
}

void job_queue_remove(Job *j) {
        QueueShare *s = j->share;
        QueueClass *c = s->class;
        JobQueue *q = c->queue;
        bool oldest = c->jobs.next == &j->class_link;

        list_remove(&j->class_link);
        list_remove(&j->queue_link);
        j->share = NULL;
        q->n--;
        if (list_empty(&s->jobs)) {
                list_remove(&s->link);
                if (s != &q->common) {
                        map_remove(&q->shares, &s->by_owner);
                        free(s);
                }
        }
        class_left(c, oldest);
}

void job_queue_move(JobQueue *to, JobQueue *from) {
        List *n;

        /* the youngest first, so that none has to walk past those that went before it */
        while ((n = list_first(&from->used))) {
                Job *j = list_entry(list_entry(n, QueueClass, link)->jobs.prev, Job, class_link);

                job_queue_remove(j);
                job_queue_add(to, j);
        }
}

void job_queue_foreach(JobQueue *q, void (*f)(Job *j, void *userdata), void *userdata) {
        LIST_FOREACH_SAFE(l, n, &q->used) {
                const List *head = &list_entry(l, QueueClass, link)->jobs;

                /* with its last job the class may be gone, and the head with it */
                for (List *k = head->next, *next; k != head; k = next) {
                        next = k->next;
                        f(list_entry(k, Job, class_link), userdata);
                }
        }
}
