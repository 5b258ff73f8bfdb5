/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Methods about sessions. What they mean is in the flow room; here a call becomes one of its, and its end an answer. */

#include "control/internal.h"

static void answer(ControlClient *c) {
        FlowCall *call = &c->flow;

        if (!call->error) {
                json_object *result = TAKE_PTR(call->result);

                flow_call_done(call);
                control_reply(c, result, false);
                return;
        }
        json_object *o = json_object_new_object();
        if (streq(call->error, "StoreUnavailable"))
                object_add_text(o, "health", store_health_to_string(c->server->jobs->store ? store_health(c->server->jobs->store) : STORE_OFF));
        else if (streq(call->error, "LimitReached"))
                object_add_text(o, "limit", "flow");
        else if (streq(call->error, "NotPermitted")) {
                object_add_text(o, "level", "operate");
                object_add_text(o, "group", auth_group(&c->server->auth, LEVEL_OPERATE));
        }
        _cleanup_free_ char *message = TAKE_PTR(call->message);
        const char *error = call->error;
        flow_call_done(call);
        control_fail(c, error, o, "%s", message ? message : "out of memory");
}

static void on_done(FlowCall *call) {
        answer(call->userdata);
}

static void run(ControlClient *c, json_object *p, FlowVerb v) {
        FlowCaller who = { .uid = c->peer.uid, .operator_ = c->peer.level >= LEVEL_OPERATE };

        c->flow = (FlowCall) { .done = on_done, .userdata = c };
        if (flow_call(c->server->flow, v, &who, p, &c->flow) > 0)
                c->pending = PENDING_FLOW;
        else
                answer(c);
}

#define METHOD_FLOW(name, verb)                                   \
        void name(ControlClient *c, json_object *p) {             \
                run(c, p, verb);                                  \
        }

METHOD_FLOW(method_flow_create, VERB_CREATE)
METHOD_FLOW(method_flow_add, VERB_ADD)
METHOD_FLOW(method_flow_submit, VERB_SUBMIT)
METHOD_FLOW(method_flow_complete, VERB_COMPLETE)
METHOD_FLOW(method_flow_pulse, VERB_PULSE)
METHOD_FLOW(method_flow_todos, VERB_TODOS)
METHOD_FLOW(method_flow_rest, VERB_REST)
METHOD_FLOW(method_flow_wake, VERB_WAKE)
METHOD_FLOW(method_flow_rebalance, VERB_REBALANCE)
METHOD_FLOW(method_flow_expand, VERB_EXPAND)
METHOD_FLOW(method_flow_cancel, VERB_CANCEL)
METHOD_FLOW(method_flow_depend, VERB_DEPEND)
METHOD_FLOW(method_flow_archive, VERB_ARCHIVE)
METHOD_FLOW(method_flow_merge, VERB_MERGE)
METHOD_FLOW(method_flow_import, VERB_IMPORT)
METHOD_FLOW(method_flow_status, VERB_STATUS)
METHOD_FLOW(method_flow_list, VERB_LIST)
METHOD_FLOW(method_flow_show, VERB_SHOW)
METHOD_FLOW(method_flow_explain, VERB_EXPLAIN)
METHOD_FLOW(method_flow_export, VERB_EXPORT)
