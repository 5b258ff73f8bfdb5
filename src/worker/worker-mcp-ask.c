/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an MCP server asks its client. flowd itself answers pings only; the rest is a question for the client whose call is in hand, because
 * the server cannot say for which of its calls it asks. So only a server that serves one session at a time (Sharing=session) is told that it
 * may ask, and only for what its type names (ClientFeatures=). A question ends with its call: the server gets an error if nobody has answered.
 */

#include <errno.h>
#include <stdio.h>

#include "basic/state.h"
#include "worker/worker-mcp.h"

static const struct {
        McpFeature feature;
        const char *method;
} askable[] = {
        { MCP_FEATURE_ROOTS, "roots/list" },
        { MCP_FEATURE_SAMPLING, "sampling/createMessage" },
        { MCP_FEATURE_ELICITATION, "elicitation/create" },
};

/* The job of this session that was dispatched last. */
static Job *job_in_hand(Worker *w) {
        Job *last = NULL;

        for (unsigned i = 0; i < w->n_slots; i++) {
                Job *j = w->slots[i].state == SLOT_RUNNING ? w->slots[i].job : NULL;

                if (j && (!last || j->dispatched_usec >= last->dispatched_usec))
                        last = j;
        }
        return last;
}

static McpQuestion *find_question(McpWorker *m, uint64_t id) {
        for (unsigned i = 0; i < MCP_QUESTIONS_MAX; i++)
                if (m->questions[i].id == id)
                        return &m->questions[i];
        return NULL;
}

static void drop_question(McpQuestion *q) {
        free(q->request);
        *q = (McpQuestion) {};
}

static JsonSpan text_span(const char *s) {
        return (JsonSpan) { s, strlen(s) };
}

int mcp_worker_ask(Worker *w, const JsonrpcMessage *msg, JsonBuffer *b) {
        static const char nobody[] = "flowd has no client for this server whose call is in hand";
        McpWorker *m = w->mcp;
        McpQuestion *q = find_question(m, 0);
        const char *method = NULL;
        Job *j = job_in_hand(w);

        for (size_t i = 0; i < ELEMENTSOF(askable); i++)
                if (w->type->mcp_features & askable[i].feature && json_span_is(msg->method, askable[i].method))
                        method = askable[i].method;
        if (!method)
                return jsonrpc_append_error(b, msg->id, JSONRPC_METHOD_NOT_FOUND, "flowd has told this server of no such capability", (JsonSpan) {});
        if (!j)
                return jsonrpc_append_error(b, msg->id, JSONRPC_INTERNAL_ERROR, nobody, (JsonSpan) {});
        if (!q)
                return jsonrpc_append_error(b, msg->id, JSONRPC_INTERNAL_ERROR, "too many questions wait for their answers", (JsonSpan) {});
        q->request = memdup_text(msg->id.p, msg->id.size);
        if (!q->request)
                return -ENOMEM;
        q->id = ++m->question;
        q->job = j->id;
        JobQuestion ask = { .id = q->id, .method = method, .params = msg->params.p, .params_size = msg->params.size };
        if (job_ask(j, &ask)) /* may have been answered already */
                return 0;
        drop_question(q);
        return jsonrpc_append_error(b, msg->id, JSONRPC_METHOD_NOT_FOUND, "the client of this call answers no questions", (JsonSpan) {});
}

int worker_answer(Job *j, uint64_t question, bool error, const char *text, size_t size) {
        Worker *w = j->state == JOB_RUNNING ? j->worker : NULL;
        McpQuestion *q = w && w->mcp && question > 0 ? find_question(w->mcp, question) : NULL;
        _cleanup_(json_buffer_clear) JsonBuffer b = {};
        _cleanup_free_ char *message = NULL;
        JsonSpan data = {};
        JsonType type;
        int64_t code;
        int r;

        if (!q || q->job != j->id)
                return -ENOENT;
        r = json_check(text, size, JSON_DEPTH_MAX - 1, &type);
        if (r < 0 || type != JSON_OBJECT)
                return -EBADMSG;
        if (error) {
                r = jsonrpc_error_parse((JsonSpan) { text, size }, &code, &message, &data);
                if (r >= 0)
                        r = jsonrpc_append_error(&b, text_span(q->request), code, message, data);
        } else
                r = jsonrpc_append_result(&b, text_span(q->request), (JsonSpan) { text, size });
        if (r >= 0)
                r = outq_bytes(&w->out, b.data, b.size);
        if (r < 0)
                return r;
        drop_question(q);
        worker_flush_later(w);
        return 0;
}

void mcp_worker_ask_cancelled(Worker *w, JsonSpan params) {
        JsonMember id;

        if (json_find(params, "requestId", &id) <= 0)
                return;
        for (unsigned i = 0; i < MCP_QUESTIONS_MAX; i++) {
                McpQuestion *q = &w->mcp->questions[i];

                if (q->id > 0 && strlen(q->request) == id.value_size && memcmp(q->request, id.value, id.value_size) == 0)
                        drop_question(q);
        }
}

void mcp_worker_ask_end(Worker *w, uint64_t job) {
        for (unsigned i = 0; i < MCP_QUESTIONS_MAX; i++) {
                McpQuestion *q = &w->mcp->questions[i];
                _cleanup_(json_buffer_clear) JsonBuffer b = {};

                if (q->id == 0 || (job > 0 && q->job != job))
                        continue;
                if (job > 0 &&
                    jsonrpc_append_error(&b, text_span(q->request), JSONRPC_INTERNAL_ERROR, "the call that this was about has ended", (JsonSpan) {}) >= 0 &&
                    outq_bytes(&w->out, b.data, b.size) >= 0)
                        worker_flush_later(w);
                drop_question(q);
        }
}

void mcp_worker_ask_serialize(const McpWorker *m, struct StateWriter *sw, json_object *o) {
        json_object *a = json_object_new_array();

        state_put_int(sw, o, "question", (int64_t) m->question);
        for (unsigned i = 0; i < MCP_QUESTIONS_MAX; i++) {
                json_object *e;

                if (m->questions[i].id == 0)
                        continue;
                e = json_object_new_object();
                state_put_int(sw, e, "id", (int64_t) m->questions[i].id);
                state_put_int(sw, e, "job", (int64_t) m->questions[i].job);
                state_put_text(sw, e, "request", m->questions[i].request);
                (void) json_object_array_add(a, e);
        }
        state_put_object(sw, o, "questions", a);
}

int mcp_worker_ask_deserialize(McpWorker *m, const json_object *o) {
        json_object *a = state_get_object(o, "questions");

        m->question = (uint64_t) state_get_int(o, "question");
        for (size_t i = 0; a && i < json_object_array_length(a) && i < MCP_QUESTIONS_MAX; i++) {
                json_object *e = json_object_array_get_idx(a, i);

                m->questions[i].request = strdup(strempty(state_get_text(e, "request")));
                if (!m->questions[i].request)
                        return -ENOMEM;
                m->questions[i].id = (uint64_t) state_get_int(e, "id");
                m->questions[i].job = (uint64_t) state_get_int(e, "job");
        }
        return 0;
}
