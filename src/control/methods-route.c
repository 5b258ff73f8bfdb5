/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Routing, seen from the control socket: where a job wants to go, and the methods that tell where it would, and why. */

#include <errno.h>

#include "control/internal.h"

int control_route_request(ControlClient *c, json_object *p, RouteRequest *ret) {
        RouteRequest q = {};
        const struct {
                const char *key;
                const char **to;
        } texts[] = {
                { "pool", &q.pool }, { "tier", &q.tier }, { "worker_type", &q.worker_type }, { "strategy", &q.strategy }, { "fallback", &q.fallback },
        };
        int64_t weight = 0;
        RouteOrder order;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (parameter_text(c, p, texts[i].key, texts[i].to) < 0)
                        return -EINVAL;
        if (parameter_int(c, p, "weight", 1, ROUTE_WEIGHT_MAX, &weight) < 0)
                return -EINVAL;
        const char *bad = q.tier && tier_from_string(q.tier) < 0 ? "tier" :
                          q.strategy && route_strategy_from_string(q.strategy) < 0 ? "strategy" :
                          q.fallback && route_order_parse(q.fallback, &order) < 0 ? "fallback" : NULL;
        if (bad) {
                control_invalid(c, bad);
                return -EINVAL;
        }
        q.weight = (unsigned) weight;
        *ret = q;
        return 0;
}

/* What a refusal answers that no pool was even asked about. */
static void no_route(ControlClient *c, const RouteRequest *q, int error, const char *why) {
        json_object *o = json_object_new_object();

        if (error == -ENOMEM)
                object_add_text(o, "limit", "memory");
        else
                object_add_text(o, "pool", strempty(q->pool));
        control_fail(c, route_refusal_code(error), o, "%s", strna(why));
}

void method_explain_route(ControlClient *c, json_object *p) {
        _cleanup_free_ char *why = NULL;
        int64_t payload_size = 0;
        json_object *o = NULL;
        RouteRequest q;

        if (control_route_request(c, p, &q) < 0 || parameter_text(c, p, "method", &q.method) < 0 || parameter_text(c, p, "session", &q.session) < 0 ||
            parameter_int(c, p, "payload_size", 0, INT64_MAX, &payload_size) < 0)
                return;
        if (q.method && strlen(q.method) >= JOB_NAME_MAX) {
                control_invalid(c, "method");
                return;
        }
        q.payload_size = (uint64_t) payload_size;
        q.uid = c->peer.uid;
        int r = route_explain(c->server->router, &q, &o, &why);
        if (r < 0)
                no_route(c, &q, r, why);
        else
                control_reply(c, o, false);
}

void method_list_methods(ControlClient *c, json_object *p) {
        json_object *o = json_object_new_object();

        (void) p;
        json_object_object_add(o, "methods", route_methods_object(c->server->router));
        control_reply(c, o, false);
}
