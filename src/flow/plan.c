/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Plans. A graph is validated whole: each task by itself, then ids, dependencies and the results that payloads ask for, then cycles, of which
 * the first is shown. Only then are tasks added, in topological order, so that none is ever added before what it depends on.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "flow/json.h"
#include "flow/plan.h"

#define REFERENCE "${task."
#define REFERENCE_END ".result}"
#define RETRIES_MAX 1000

static int refuse(int error, char **reterr, const char *format, ...) _printf_(3, 4);
static int refuse(int error, char **reterr, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(reterr, format, ap) < 0)
                *reterr = NULL;
        va_end(ap);
        return error;
}

char *plan_text(json_object *o) {
        return strdup(json_object_is_type(o, json_type_string) ? json_object_get_string(o) : json_plain(o));
}

bool plan_reference(const char *text, size_t size, size_t *at, size_t *ret_from, char ret_id[FLOW_ID_MAX + 1]) {
        while (*at < size) {
                const char *start = memmem(text + *at, size - *at, REFERENCE, strlen(REFERENCE));
                const char *id, *end;

                if (!start)
                        break;
                id = start + strlen(REFERENCE);
                end = memmem(id, size - (size_t) (id - text), REFERENCE_END, strlen(REFERENCE_END));
                if (!end)
                        break;
                *at = (size_t) (id - text);
                if (end == id || (size_t) (end - id) > FLOW_ID_MAX || memchr(id, '}', (size_t) (end - id)))
                        continue;
                memcpy(ret_id, id, (size_t) (end - id));
                ret_id[end - id] = 0;
                *ret_from = (size_t) (start - text);
                *at = (size_t) (end - text) + strlen(REFERENCE_END);
                return true;
        }
        *at = size;
        return false;
}

/* ---- one task */

static int copy(const char *s, char **ret) {
        if (!s)
                return 0;
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

static int parse_payload(json_object *o, FlowWork *w, char **reterr) {
        json_object *v = get_member(o, "payload");
        const char *kind = get_text(o, "kind");

        if (v && !json_object_is_type(v, json_type_string)) {
                w->kind = PAYLOAD_JSON;
                if (kind && !streq(kind, "json"))
                        return refuse(-EINVAL, reterr, "a payload that is no string is of kind json");
        } else if (kind) {
                int k = payload_kind_from_string(kind);

                if (k < 0 || k == PAYLOAD_BYTES)
                        return refuse(-EINVAL, reterr, "'%s' is no kind of payload for a task; text and json are", kind);
                w->kind = (PayloadKind) k;
        }
        w->payload = v ? plan_text(v) : strdup("");
        if (!w->payload)
                return refuse(-ENOMEM, reterr, "out of memory");
        w->payload_size = strlen(w->payload);
        if (v && json_object_is_type(v, json_type_string) && (size_t) json_object_get_string_len(v) != w->payload_size)
                return refuse(-EINVAL, reterr, "its payload has a NUL in it; text and JSON have none");
        if (w->payload_size > FLOW_PAYLOAD_MAX)
                return refuse(-EINVAL, reterr, "its payload is larger than %u bytes", FLOW_PAYLOAD_MAX);
        return 0;
}

static int parse_work(json_object *o, FlowWork **ret, char **reterr) {
        static const char *const members[] = { "pool", "tier", "method", "payload", "kind", "timeout", "timeout_usec", "retries" };
        json_object *timeout = get_member(o, "timeout");
        FlowWork *w;
        bool any = false;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                any |= get_member(o, members[i]) != NULL;
        if (!any || (get_member(o, "executable") && !get_bool(o, "executable")))
                return 0;
        *ret = w = new0(FlowWork, 1);
        if (!w || copy(get_text(o, "pool"), &w->pool) < 0 || copy(get_text(o, "tier"), &w->tier) < 0 || copy(get_text(o, "method"), &w->method) < 0)
                return refuse(-ENOMEM, reterr, "out of memory");
        if (w->method && strlen(w->method) >= 256)
                return refuse(-EINVAL, reterr, "its method is longer than 255 bytes");
        r = parse_payload(o, w, reterr);
        if (r < 0)
                return r;
        w->timeout_usec = (uint64_t) MAX(get_int(o, "timeout_usec"), 0);
        if (timeout && (usec_parse(json_object_get_string(timeout), &w->timeout_usec) < 0 || w->timeout_usec == 0))
                return refuse(-EINVAL, reterr, "'%s' is no time span for its timeout", json_object_get_string(timeout));
        w->retries = get_member(o, "retries") ? get_int(o, "retries") : -1;
        if (w->retries < -1 || w->retries > RETRIES_MAX)
                return refuse(-EINVAL, reterr, "its retries are from 0 to %d", RETRIES_MAX);
        return 0;
}

static int parse_needs(PlanTask *t, json_object *o, char **reterr) {
        static const char *const names[] = { "dependencies", "depends", "needs" };
        json_object *a = NULL;

        for (size_t i = 0; i < ELEMENTSOF(names) && !a; i++)
                a = get_member(o, names[i]);
        if (!a)
                return 0;
        if (!json_object_is_type(a, json_type_array))
                return refuse(-EINVAL, reterr, "its dependencies are no array of ids");
        if (get_length(a) > FLOW_NEEDS_MAX)
                return refuse(-EINVAL, reterr, "it depends on more than %u tasks", FLOW_NEEDS_MAX);
        t->needs = new0(const char *, get_length(a) + 1);
        if (!t->needs)
                return refuse(-ENOMEM, reterr, "out of memory");
        for (size_t i = 0; i < get_length(a); i++) {
                json_object *v = json_object_array_get_idx(a, i);

                if (!json_object_is_type(v, json_type_string))
                        return refuse(-EINVAL, reterr, "its dependencies are no array of ids");
                t->needs[t->n_needs++] = json_object_get_string(v);
        }
        return 0;
}

static int check_members(json_object *o, char **reterr) {
        static const char *const known[] = {
                "id", "description", "notes", "context", "weight", "priority", "on_failure", "dependencies", "depends", "needs", "executable", "pool",
                "tier", "method", "payload", "kind", "timeout", "timeout_usec", "retries",
        };
        json_object_object_foreach(o, key, v) {
                bool found = false;

                (void) v;
                for (size_t i = 0; i < ELEMENTSOF(known); i++)
                        found |= streq(known[i], key);
                if (!found)
                        return refuse(-EINVAL, reterr, "'%.80s' is no member of a task", key);
        }
        return 0;
}

static int parse_words(PlanTask *t, json_object *o, bool lenient, char **reterr) {
        const char *priority = get_text(o, "priority"), *policy = get_text(o, "on_failure");
        json_object *context = get_member(o, "context"), *weight = get_member(o, "weight");
        int k;

        if (!json_object_is_type(o, json_type_object))
                return refuse(-EINVAL, reterr, "it is no object");
        t->spec.id = get_text(o, "id");
        t->spec.description = get_text(o, "description");
        if (!t->spec.description && t->spec.id)
                t->spec.description = t->spec.id;
        if (!t->spec.description || !*t->spec.description)
                return refuse(-EINVAL, reterr, "it has no description");
        if (strlen(t->spec.description) > FLOW_TEXT_MAX)
                return refuse(-EINVAL, reterr, "its description is longer than %u bytes; the rest belongs into its context", FLOW_TEXT_MAX);
        if (t->spec.id && !name_valid(t->spec.id))
                return refuse(-EINVAL, reterr, "'%.80s' is no id: letters, digits, '_', '-' and '.', at most %u bytes", t->spec.id, FLOW_ID_MAX);
        t->spec.notes = get_text(o, "notes");
        if (t->spec.notes && strlen(t->spec.notes) > FLOW_CONTEXT_MAX)
                return refuse(-EINVAL, reterr, "its notes are longer than %u bytes", FLOW_CONTEXT_MAX);
        if (context) {
                t->context = strdup(json_plain(context));
                if (!t->context)
                        return refuse(-ENOMEM, reterr, "out of memory");
                if (strlen(t->context) > FLOW_CONTEXT_MAX)
                        return refuse(-EINVAL, reterr, "its context is longer than %u bytes", FLOW_CONTEXT_MAX);
                t->spec.context = t->context;
        }
        t->spec.weight = FLOW_WEIGHT_DEFAULT;
        if (weight) {
                int64_t w = json_object_get_int64(weight);

                if (!lenient && (!json_object_is_type(weight, json_type_int) || w < 1 || w > FLOW_WEIGHT_MAX))
                        return refuse(-EINVAL, reterr, "its weight is no whole number from 1 to %u", FLOW_WEIGHT_MAX);
                t->spec.weight = (unsigned) MIN(MAX(w, 1), (int64_t) FLOW_WEIGHT_MAX);
        }
        k = priority ? flow_priority_from_string(priority) : FLOW_MEDIUM;
        if (k < 0 && !lenient)
                return refuse(-EINVAL, reterr, "'%s' is no priority; high, medium and low are", priority);
        t->spec.priority = k < 0 ? FLOW_MEDIUM : (FlowPriority) k;
        k = policy ? flow_policy_from_string(policy) : 0;
        if (k < 0)
                return refuse(-EINVAL, reterr, "'%s' is no policy for on_failure; fail, skip and continue are", policy);
        t->spec.policy = (FlowPolicy) k;
        t->spec.own_policy = policy != NULL;
        return 0;
}

static int parse_task(PlanTask *t, json_object *o, bool lenient, char **reterr) {
        int r;

        t->object = json_object_get(o);
        r = parse_words(t, o, lenient, reterr);
        if (r >= 0 && !lenient)
                r = check_members(o, reterr);
        if (r >= 0)
                r = parse_needs(t, o, reterr);
        return r < 0 ? r : parse_work(o, &t->spec.work, reterr);
}

int plan_parse(Plan *p, json_object *o, bool lenient, char **reterr) {
        bool many = json_object_is_type(o, json_type_array);
        size_t n = many ? get_length(o) : 1;

        *p = (Plan) {};
        if (n == 0 && !lenient)
                return refuse(-EINVAL, reterr, "there are no tasks in it");
        if (n > FLOW_PLAN_MAX && !lenient)
                return refuse(-EINVAL, reterr, "a graph has at most %u tasks; add the others to its session afterwards", FLOW_PLAN_MAX);
        p->tasks = new0(PlanTask, n + 1);
        if (!p->tasks)
                return refuse(-ENOMEM, reterr, "out of memory");
        for (size_t i = 0; i < n; i++) {
                json_object *one = many ? json_object_array_get_idx(o, i) : o;
                _cleanup_free_ char *why = NULL;
                int r = parse_task(&p->tasks[p->n++], one, lenient, &why);

                if (r < 0 && !many) {
                        *reterr = TAKE_PTR(why);
                        return r;
                }
                if (r < 0) {
                        const char *id = json_object_is_type(one, json_type_object) ? get_text(one, "id") : NULL;

                        return refuse(r, reterr, "task %zu%s%.80s%s: %s", i + 1, id ? " (" : "", strempty(id), id ? ")" : "", strna(why));
                }
        }
        return 0;
}

void plan_done(Plan *p) {
        for (size_t i = 0; i < p->n; i++) {
                json_object_put(p->tasks[i].object);
                free(p->tasks[i].context);
                free(p->tasks[i].needs);
                flow_work_free(p->tasks[i].spec.work);
        }
        free(p->tasks);
        *p = (Plan) {};
}

/* ---- the whole */

typedef struct Name {
        MapNode node;
        size_t at;
} Name;

typedef struct Names {
        Map map;
        Name *names;
} Names;

static void names_done(Names *n) {
        map_done(&n->map);
        free(n->names);
}

static const char *name_of(const Plan *p, size_t i, char buf[32]) {
        if (p->tasks[i].spec.id)
                return p->tasks[i].spec.id;
        snprintf(buf, 32, "(task %zu)", i + 1);
        return buf;
}

/* Where an id is in the plan, or -1. */
static ssize_t where(const Names *n, const char *id) {
        Name *name = map_get_name(&n->map, id, Name, node);

        return name ? (ssize_t) name->at : -1;
}

static int collect_names(const Plan *p, const FlowSession *s, Names *n, char **reterr) {
        map_init(&n->map, random_u64());
        n->names = new0(Name, p->n + 1);
        if (!n->names)
                return refuse(-ENOMEM, reterr, "out of memory");
        for (size_t i = 0; i < p->n; i++) {
                const char *id = p->tasks[i].spec.id;

                if (!id)
                        continue;
                if (where(n, id) >= 0)
                        return refuse(-EEXIST, reterr, "tasks %zd and %zu both have the id %s", where(n, id) + 1, i + 1, id);
                if (s && flow_session_find(s, id))
                        return refuse(-EEXIST, reterr, "session %s has a task %s already", s->id, id);
                n->names[i].at = i;
                if (map_add_name(&n->map, &n->names[i].node, id) < 0)
                        return refuse(-ENOMEM, reterr, "out of memory");
        }
        return 0;
}

static int check_references(const Plan *p, size_t i, char **reterr) {
        const PlanTask *t = &p->tasks[i];
        char id[FLOW_ID_MAX + 1], name[32];
        size_t at = 0, from;

        while (t->spec.work && plan_reference(t->spec.work->payload, t->spec.work->payload_size, &at, &from, id)) {
                bool found = false;

                for (size_t k = 0; k < t->n_needs; k++)
                        found |= streq(t->needs[k], id);
                if (!found)
                        return refuse(-EINVAL, reterr, "task %s uses " REFERENCE "%s" REFERENCE_END ", but does not depend on %s", name_of(p, i, name), id, id);
        }
        return 0;
}

/* Tells the first cycle that there is. A walk in depth: mark 1 is on the way, 2 is done. */
static int check_cycles(Plan *p, const Names *names, char **reterr) {
        _cleanup_free_ size_t *way = new0(size_t, p->n + 1);
        size_t n = 0;

        if (!way)
                return refuse(-ENOMEM, reterr, "out of memory");
        for (size_t i = 0; i < p->n; i++) {
                if (p->tasks[i].mark == 0) {
                        p->tasks[i].mark = 1;
                        way[n++] = i;
                }
                while (n > 0) {
                        PlanTask *t = &p->tasks[way[n - 1]];

                        if (t->next == t->n_needs) {
                                t->mark = 2;
                                n--;
                                continue;
                        }
                        ssize_t k = where(names, t->needs[t->next++]);
                        if (k < 0 || p->tasks[k].mark == 2)
                                continue;
                        if (p->tasks[k].mark == 0) {
                                p->tasks[k].mark = 1;
                                way[n++] = (size_t) k;
                                continue;
                        }
                        size_t from = n;
                        while (way[from - 1] != (size_t) k)
                                from--;
                        char *path = strdup(p->tasks[k].spec.id);
                        for (; from < n && path; from++) {
                                char *longer = str_printf("%s -> %s", path, p->tasks[way[from]].spec.id);
                                free(path);
                                path = longer;
                        }
                        int r = refuse(-ELOOP, reterr, "the dependencies go in a circle: %s -> %s", strna(path), p->tasks[k].spec.id);
                        free(path);
                        return r;
                }
        }
        return 0;
}

int plan_check(Plan *p, const FlowSession *s, bool lenient, char **reterr) {
        _cleanup_(names_done) Names names = {};
        char name[32];
        int r;

        r = collect_names(p, s, &names, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < p->n; i++) {
                PlanTask *t = &p->tasks[i];
                size_t kept = 0;

                for (size_t k = 0; k < t->n_needs; k++) {
                        bool known = where(&names, t->needs[k]) >= 0 || (s && flow_session_find(s, t->needs[k]));

                        if (!known && !lenient)
                                return refuse(-ENOENT, reterr, "task %s depends on '%.80s', which is neither in the graph nor in the session",
                                              name_of(p, i, name), t->needs[k]);
                        if (known)
                                t->needs[kept++] = t->needs[k];
                }
                t->n_needs = kept;
                r = lenient ? 0 : check_references(p, i, reterr);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < p->n; i++)
                p->tasks[i].mark = 0, p->tasks[i].next = 0;
        return check_cycles(p, &names, reterr);
}

static int add_one(Plan *p, size_t i, FlowSession *s, const Names *names, uint64_t now, FlowTask **added, char **reterr) {
        PlanTask *t = &p->tasks[i];
        _cleanup_free_ FlowTask **needs = new0(FlowTask *, t->n_needs + 1);

        if (!needs)
                return refuse(-ENOMEM, reterr, "out of memory");
        for (size_t k = 0; k < t->n_needs; k++) {
                ssize_t at = where(names, t->needs[k]);

                needs[k] = at >= 0 ? added[at] : flow_session_find(s, t->needs[k]);
        }
        t->spec.needs = needs;
        t->spec.n_needs = t->n_needs;
        int r = flow_session_add(s, &t->spec, now, &added[i], reterr);
        t->spec.needs = NULL;
        t->spec.n_needs = 0;
        return r;
}

int plan_add(Plan *p, FlowSession *s, uint64_t now, FlowTask **ret_tasks, char **reterr) {
        _cleanup_free_ FlowTask **own = ret_tasks ? NULL : new0(FlowTask *, p->n + 1);
        _cleanup_free_ size_t *way = new0(size_t, p->n + 1);
        _cleanup_(names_done) Names names = {};
        FlowTask **added = ret_tasks ? ret_tasks : own;
        size_t n = 0;
        int r;

        if (!added || !way)
                return refuse(-ENOMEM, reterr, "out of memory");
        r = collect_names(p, s, &names, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < p->n; i++) {
                added[i] = NULL;
                p->tasks[i].next = 0;
        }
        for (size_t i = 0; i < p->n; i++) {
                if (!added[i])
                        way[n++] = i;
                while (n > 0) {
                        PlanTask *t = &p->tasks[way[n - 1]];

                        if (t->next < t->n_needs) {
                                ssize_t k = where(&names, t->needs[t->next++]);

                                if (k >= 0 && !added[k])
                                        way[n++] = (size_t) k;
                                continue;
                        }
                        n--;
                        if (added[way[n]])
                                continue;
                        r = add_one(p, way[n], s, &names, now, added, reterr);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}
