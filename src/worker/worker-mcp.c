/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The mcp adapter: flowd is the one client of an MCP server, and multiplexes over it the calls of all who have jobs for it. So whatever names
 * a request is flowd's own and rewritten on the way: ids, progress tokens, the ids of cancellations.
 *
 * A server is a program that was written for one client that knows it well. Some print to stdout what belongs on stderr; that is logged and
 * borne up to a bound. A line that was meant as a message and is broken is another matter: an answer may have been in it, and the call that
 * it was for would wait for ever. Where that call is known it fails, else the worker has to go.
 *
 * A server never confirms a cancellation. Its late answer is taken for that; without one the rules of CancelTimeout= apply (worker.c).
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/state.h"
#include "worker/worker-mcp.h"

JsonSpan mcp_worker_id_span(uint64_t id, char buf[static 24]) {
        int n = snprintf(buf, 24, "%llu", (unsigned long long) id);

        return (JsonSpan) { buf, (size_t) n };
}

uint64_t mcp_worker_next_id(McpWorker *m, unsigned index) {
        return ++m->sequence << MCP_INDEX_BITS | index;
}

static int queue_line(Worker *w, JsonBuffer *b, int r) {
        if (r >= 0)
                r = outq_bytes(&w->out, b->data, b->size);
        json_buffer_clear(b);
        if (r >= 0)
                worker_flush_later(w);
        return r;
}

/* What flowd says of itself as a client: capabilities that a client behind it has. */
static int append_capabilities(const Worker *w, JsonBuffer *b) {
        static const struct {
                McpFeature feature;
                const char *text;
        } features[] = {
                { MCP_FEATURE_ROOTS, "\"roots\":{}" },
                { MCP_FEATURE_SAMPLING, "\"sampling\":{}" },
                { MCP_FEATURE_ELICITATION, "\"elicitation\":{}" },
        };
        bool first = true;
        int r = json_append(b, "{", 1);

        for (size_t i = 0; i < ELEMENTSOF(features) && r >= 0; i++)
                if (w->type->mcp_features & features[i].feature) {
                        r = first ? 0 : json_append(b, ",", 1);
                        if (r >= 0)
                                r = json_append(b, features[i].text, strlen(features[i].text));
                        first = false;
                }
        return r < 0 ? r : json_append(b, "}", 1);
}

/* The members of _meta that each modern request has. */
static int append_modern(const Worker *w, JsonBuffer *b) {
        static const char text[] = "{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\","
                                   "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"flowd\",\"version\":\"" PACKAGE_VERSION "\"},"
                                   "\"io.modelcontextprotocol/clientCapabilities\":";
        int r = json_append(b, text, sizeof(text) - 1);

        return r < 0 ? r : append_capabilities(w, b);
}

int mcp_worker_append_meta(const McpWorker *m, uint64_t id, JsonSpan meta, JsonBuffer *b) {
        bool first = m->version != MCP_REVISION_MODERN;
        char text[64];
        JsonMember member;
        JsonScan scan;
        int r, n;

        r = first ? json_append(b, "{", 1) : append_modern(m->worker, b);
        if (r >= 0 && id > 0) {
                n = snprintf(text, sizeof(text), "%s\"progressToken\":%llu", first ? "" : ",", (unsigned long long) id);
                r = json_append(b, text, (size_t) n);
                first = false;
        }
        if (r < 0 || !meta.p)
                return r < 0 ? r : json_append(b, "}", 1);
        json_scan_begin(&scan, meta.p, meta.size);
        while (r >= 0 && (r = json_scan_next(&scan, &member)) > 0) {
                if (json_member_is(&member, "progressToken") || json_member_is(&member, "io.modelcontextprotocol/protocolVersion") ||
                    json_member_is(&member, "io.modelcontextprotocol/clientInfo") || json_member_is(&member, "io.modelcontextprotocol/clientCapabilities"))
                        continue;
                r = first ? 0 : json_append(b, ",", 1);
                first = false;
                if (r >= 0)
                        r = json_append(b, member.key, member.key_size);
                if (r >= 0)
                        r = json_append(b, ":", 1);
                if (r >= 0)
                        r = json_append(b, member.value, member.value_size);
        }
        return r < 0 ? r : json_append(b, "}", 1);
}

int mcp_worker_send_own(Worker *w, McpOwn own, const char *method, JsonSpan params) {
        McpWorker *m = w->mcp;
        _cleanup_(json_buffer_clear) JsonBuffer meta = {}, whole = {};
        JsonBuffer b = {};
        char buf[24];
        int r;

        m->own[own] = mcp_worker_next_id(m, WORKER_SLOTS_MAX + own);
        if (m->version == MCP_REVISION_MODERN) {
                r = mcp_worker_append_meta(m, 0, (JsonSpan) {}, &meta);
                if (r >= 0)
                        r = json_append_with(&whole, params, "_meta", (JsonSpan) { meta.data, meta.size });
                if (r < 0)
                        return r;
                params = (JsonSpan) { whole.data, whole.size };
        }
        r = jsonrpc_append_request(&b, mcp_worker_id_span(m->own[own], buf), method, params);
        return queue_line(w, &b, r);
}

static int send_initialize(Worker *w) {
        static const char begin[] = "{\"protocolVersion\":\"2025-11-25\",\"clientInfo\":{\"name\":\"flowd\",\"title\":\"flowd\",\"version\":\"" PACKAGE_VERSION
                                    "\"},\"capabilities\":";
        _cleanup_(json_buffer_clear) JsonBuffer params = {};
        int r = json_append(&params, begin, sizeof(begin) - 1);

        w->mcp->version = MCP_REVISION_LEGACY;
        if (r >= 0)
                r = append_capabilities(w, &params);
        if (r >= 0)
                r = json_append(&params, "}", 1);
        return r < 0 ? r : mcp_worker_send_own(w, MCP_OWN_INITIALIZE, "initialize", (JsonSpan) { params.data, params.size });
}

static int mcp_start(Worker *w) {
        McpWorker *m = new0(McpWorker, 1);

        if (!m)
                return -ENOMEM;
        m->worker = w;
        w->mcp = m;
        if (w->type->mcp_era == MCP_ERA_LEGACY)
                return send_initialize(w);
        m->version = MCP_REVISION_MODERN;
        return mcp_worker_send_own(w, MCP_OWN_DISCOVER, "server/discover", (JsonSpan) {});
}

/* --- the handshake's end --- */

static void refuse_start(Worker *w, const char *format, ...) _printf_(2, 3);
static void refuse_start(Worker *w, const char *format, ...) {
        _cleanup_free_ char *why = NULL;
        va_list ap;

        va_start(ap, format);
        int r = vasprintf(&why, format, ap);
        va_end(ap);
        if (r < 0)
                why = NULL;
        w->mcp->phase = MCP_REFUSED;
        w->failed_start = true;
        worker_set_reason(w, "%s", strna(why));
        worker_event(w, WORKER_EV_BAD);
}

static const char *own_method(McpOwn own) {
        return own == MCP_OWN_DISCOVER ? "server/discover" : "initialize";
}

static void refuse_error(Worker *w, McpOwn own, JsonSpan error) {
        _cleanup_free_ char *text = NULL;
        int64_t code = 0;

        if (jsonrpc_error_parse(error, &code, &text, NULL) < 0)
                refuse_start(w, "answered %s with an error that is none", own_method(own));
        else
                refuse_start(w, "answered %s with error %lld: %.1000s", own_method(own), (long long) code, text);
}

static JsonSpan find_object(JsonSpan object, const char *name) {
        JsonMember m;

        if (json_find(object, name, &m) <= 0 || m.type != JSON_OBJECT)
                return (JsonSpan) {};
        return (JsonSpan) { m.value, m.value_size };
}

static void on_initialized(Worker *w, JsonSpan result) {
        _cleanup_free_ char *version = NULL;
        JsonBuffer b = {};
        JsonMember v;
        int r = json_find(result, "protocolVersion", &v);

        if (r <= 0 || json_span_text((JsonSpan) { v.value, v.value_size }, &version) < 0) {
                refuse_start(w, "answered initialize without a protocolVersion");
                return;
        }
        r = mcp_revision_from_string(version);
        if (r < 0 || r > MCP_REVISION_LEGACY) {
                refuse_start(w, "answered initialize with protocol version %.40s, which flowd does not speak; it speaks %s to %s%s", version,
                             mcp_revision_to_string(MCP_REVISION_2024_11_05), mcp_revision_to_string(MCP_REVISION_LEGACY),
                             r == MCP_REVISION_MODERN ? " there, and this one with McpEra=modern" : "");
                return;
        }
        w->mcp->version = (McpRevision) r;
        r = jsonrpc_append_request(&b, (JsonSpan) {}, "notifications/initialized", (JsonSpan) {});
        if (queue_line(w, &b, r) < 0) {
                refuse_start(w, "could not be told that it is initialized: out of memory");
                return;
        }
        w->mcp->phase = MCP_SERVING;
        mcp_worker_lists_begin(w, result, find_object(result, "capabilities"));
}

/* True where the server has the one modern version that flowd speaks. */
static bool speaks_modern(JsonSpan result) {
        JsonMember array, m;
        JsonScan scan;
        bool found = false;

        if (json_find(result, "supportedVersions", &array) <= 0)
                return false;
        json_scan_elements(&scan, array.value, array.value_size);
        while (json_scan_next(&scan, &m) > 0)
                found |= json_span_is((JsonSpan) { m.value, m.value_size }, mcp_revision_to_string(MCP_REVISION_MODERN));
        return found;
}

/* Asks to be told of changes; what it offers is known. */
static int send_listen(Worker *w, JsonSpan capabilities) {
        static const struct {
                const char *capability, *wish;
        } wishes[] = { { "tools", "toolsListChanged" }, { "prompts", "promptsListChanged" }, { "resources", "resourcesListChanged" } };
        char params[200] = "{\"notifications\":{", *p = params + strlen(params);
        bool any = false;

        for (size_t i = 0; i < ELEMENTSOF(wishes); i++)
                if (find_object(capabilities, wishes[i].capability).p) {
                        p += snprintf(p, sizeof(params) - (size_t) (p - params), "%s\"%s\":true", any ? "," : "", wishes[i].wish);
                        any = true;
                }
        (void) snprintf(p, sizeof(params) - (size_t) (p - params), "}}");
        return any ? mcp_worker_send_own(w, MCP_OWN_LISTEN, "subscriptions/listen", (JsonSpan) { params, strlen(params) }) : 0;
}

static void on_discovered(Worker *w, const JsonrpcMessage *msg) {
        bool automatic = w->type->mcp_era == MCP_ERA_AUTO;

        if (msg->type == JSONRPC_RESULT && speaks_modern(msg->result)) {
                JsonSpan capabilities = find_object(msg->result, "capabilities");

                w->mcp->phase = MCP_SERVING;
                (void) send_listen(w, capabilities); /* without it lists are renewed with their workers */
                mcp_worker_lists_begin(w, msg->result, capabilities);
        } else if (automatic) {
                if (send_initialize(w) < 0)
                        refuse_start(w, "could not be asked to initialize: out of memory");
        } else if (msg->type == JSONRPC_ERROR)
                refuse_error(w, MCP_OWN_DISCOVER, msg->error);
        else
                refuse_start(w, "answered server/discover without %s among its supportedVersions; try McpEra=legacy",
                             mcp_revision_to_string(MCP_REVISION_MODERN));
}

/* --- what it says --- */

/* A line that is of no use. Returns 0, or -EBADMSG where there are too many of them. */
static int noise(Worker *w, const char *what, const char *line, size_t size) {
        if (++w->mcp->noise > MCP_NOISE_MAX) {
                worker_set_reason(w, "wrote %u lines in a row that %s; does something in it print to stdout?", MCP_NOISE_MAX, what);
                return -EBADMSG;
        }
        worker_stderr_add(w, line, size); /* why it will end is often said on the wrong channel */
        worker_log_line(w, NULL, LOG_WARNING, line, size);
        return 0;
}

static int bad_answer(WorkerSlot *s, const char *why) {
        JobResult r = { .status = FRAME_FAILED, .code = "RpcError", .final = true, .error = str_printf("the server's answer is no message: %s", why) };

        worker_slot_result(s, &r);
        return 0;
}

/* The slot of a request that waits for its answer, or NULL. */
static WorkerSlot *find_request(Worker *w, JsonSpan id) {
        uint64_t n;

        if (json_span_u64(id, &n) < 0)
                return NULL;
        unsigned index = n & MCP_INDEX_MASK;
        return index < w->n_slots && w->slots[index].state != SLOT_FREE && w->slots[index].request == n ? &w->slots[index] : NULL;
}

/* What was meant as a message, and is broken: the call that it was for fails, where that is known or there is only one. */
static int broken(Worker *w, JsonSpan id, const char *why, const char *line, size_t size) {
        WorkerSlot *slot = find_request(w, id);
        const uint64_t *own = w->mcp->own;
        bool handshake = own[MCP_OWN_DISCOVER] > 0 || own[MCP_OWN_INITIALIZE] > 0;

        if (slot)
                return bad_answer(slot, why);
        if (w->n_running + w->n_fenced + (own[MCP_OWN_LIST] > 0) + handshake == 0)
                return noise(w, "are no messages", line, size);
        if (w->n_fenced == 0 && !handshake) {
                if (w->n_running == 0) {
                        mcp_worker_lists_answer(w, NULL);
                        return 0;
                }
                for (unsigned i = 0; i < w->n_slots && w->n_running == 1 && own[MCP_OWN_LIST] == 0; i++)
                        if (w->slots[i].state == SLOT_RUNNING)
                                return bad_answer(&w->slots[i], why);
        }
        worker_set_reason(w, "sent a line that is no message: %s", why);
        return -EBADMSG;
}

static int on_answer(Worker *w, const JsonrpcMessage *msg, const char *line, size_t size) {
        McpWorker *m = w->mcp;
        WorkerSlot *s = find_request(w, msg->id);
        uint64_t id;

        if (s) {
                m->noise = 0;
                mcp_worker_call_end(s, msg);
                return 0;
        }
        if (json_span_u64(msg->id, &id) < 0 || id >> MCP_INDEX_BITS > m->sequence || id >> MCP_INDEX_BITS == 0)
                return noise(w, "answer no request of flowd's", line, size);
        unsigned index = id & MCP_INDEX_MASK;
        if (index < WORKER_SLOTS_MAX || index >= WORKER_SLOTS_MAX + _MCP_OWN_MAX || m->own[index - WORKER_SLOTS_MAX] != id)
                return noise(w, "answer a request that has ended", line, size);
        McpOwn own = (McpOwn) (index - WORKER_SLOTS_MAX);
        m->own[own] = 0;
        m->noise = 0;
        switch (own) {
        case MCP_OWN_DISCOVER:
                on_discovered(w, msg);
                return 0;
        case MCP_OWN_INITIALIZE:
                if (msg->type == JSONRPC_ERROR)
                        refuse_error(w, own, msg->error);
                else
                        on_initialized(w, msg->result);
                return 0;
        case MCP_OWN_LIST:
                mcp_worker_lists_answer(w, msg);
                return 0;
        default:
                return 0; /* it will not tell of changes any more */
        }
}

static int on_request(Worker *w, const JsonrpcMessage *msg) {
        McpWorker *m = w->mcp;
        JsonBuffer b = {};
        int r;

        m->unread = outq_empty(&w->out) ? 0 : m->unread + 1;
        if (m->unread > MCP_UNREAD_MAX) {
                worker_set_reason(w, "asked %u times and does not read the answers", MCP_UNREAD_MAX);
                return -EBADMSG;
        }
        if (json_span_is(msg->method, "ping") && m->version != MCP_REVISION_MODERN)
                r = jsonrpc_append_result(&b, msg->id, JSON_SPAN("{}"));
        else
                r = mcp_worker_ask(w, msg, &b);
        return b.size > 0 ? queue_line(w, &b, r) : r;
}

static void on_notification(Worker *w, const JsonrpcMessage *msg, const char *line, size_t size) {
        if (json_span_is(msg->method, "notifications/progress")) {
                mcp_worker_call_progress(w, msg->params);
                return;
        }
        if (json_span_is(msg->method, "notifications/message")) {
                mcp_worker_log(w, msg->params);
                return;
        }
        if (json_span_is(msg->method, "notifications/cancelled")) {
                mcp_worker_ask_cancelled(w, msg->params);
                return;
        }
        if (w->mcp->phase != MCP_SERVING)
                return; /* some tell of changes before they have been asked anything */
        if (json_span_is(msg->method, "notifications/tools/list_changed"))
                mcp_worker_lists_changed(w, MCP_LIST_TOOLS);
        else if (json_span_is(msg->method, "notifications/prompts/list_changed"))
                mcp_worker_lists_changed(w, MCP_LIST_PROMPTS);
        else if (json_span_is(msg->method, "notifications/resources/list_changed")) {
                mcp_worker_lists_changed(w, MCP_LIST_RESOURCES);
                mcp_worker_lists_changed(w, MCP_LIST_TEMPLATES);
        } else if (json_span_is(msg->method, "notifications/resources/updated") && w->ops->notify)
                w->ops->notify(w, line, size);
}

static int on_message(Worker *w, const char *line, size_t size);

/* Several in an array: legal in 2025-03-26. */
static int on_batch(Worker *w, const char *line, size_t size) {
        JsonMember item;
        JsonScan scan;
        int r;

        json_scan_elements(&scan, line, size);
        while ((r = json_scan_next(&scan, &item)) > 0) {
                r = item.type == JSON_OBJECT ? on_message(w, item.value, item.value_size) : noise(w, "are no messages", item.value, item.value_size);
                if (r < 0)
                        return r;
        }
        return r;
}

static int on_message(Worker *w, const char *line, size_t size) {
        const char *why = NULL;
        JsonrpcMessage msg = {};
        JsonType type;
        int r;

        r = jsonrpc_parse(line, size, &msg, &why);
        if (r == 0 || w->mcp->phase == MCP_REFUSED)
                return 0;
        if (r < 0) {
                if (!memmem(line, size, "\"jsonrpc\"", 9))
                        return noise(w, "are no messages", line, size);
                if (r == -EINVAL && json_check(line, size, JSON_DEPTH_MAX, &type) == 0 && type == JSON_ARRAY)
                        return on_batch(w, line, size);
                return broken(w, msg.id, why, line, size);
        }
        switch (msg.type) {
        case JSONRPC_RESULT:
        case JSONRPC_ERROR:
                return on_answer(w, &msg, line, size);
        case JSONRPC_REQUEST:
                return on_request(w, &msg);
        default:
                on_notification(w, &msg, line, size);
                return 0;
        }
}

static int mcp_input(Worker *w, size_t limit) {
        return worker_read_lines(w, limit, on_message);
}

/* --- what it is told --- */

static int mcp_assign(Worker *w, WorkerSlot *s) {
        JsonBuffer b = {};
        uint64_t id = mcp_worker_next_id(w->mcp, (unsigned) (s - w->slots));
        int r;

        if (blob_size(s->job->payload) > w->host->json_max)
                return -EMSGSIZE;
        r = mcp_worker_call_encode(w->mcp, s->job, id, &b);
        if (r >= 0 && b.size > w->host->json_max)
                r = -EMSGSIZE;
        s->request = id;
        return queue_line(w, &b, r);
}

static int mcp_cancel(Worker *w, WorkerSlot *s) {
        JsonBuffer b = {};
        char params[120];

        mcp_worker_ask_end(w, s->job_id);
        snprintf(params, sizeof(params), "{\"requestId\":%llu,\"reason\":\"nobody waits for it any more\"}", (unsigned long long) s->request);
        int r = jsonrpc_append_request(&b, (JsonSpan) {}, "notifications/cancelled", (JsonSpan) { params, strlen(params) });
        return queue_line(w, &b, r) < 0 ? 0 : 1;
}

static void mcp_exited(Worker *w) {
        mcp_worker_lists_end(w);
        mcp_worker_ask_end(w, 0);
}

static void mcp_done(Worker *w) {
        if (!w->mcp)
                return;
        mcp_exited(w);
        json_buffer_clear(&w->mcp->text);
        free(w->mcp);
        w->mcp = NULL;
}

/* --- across execve() --- */

static void mcp_serialize(Worker *w, struct StateWriter *sw, json_object *o) {
        const McpWorker *m = w->mcp;
        json_object *e = json_object_new_object();

        state_put_int(sw, e, "phase", m->phase);
        state_put_text(sw, e, "version", mcp_revision_to_string(m->version));
        state_put_int(sw, e, "sequence", (int64_t) m->sequence);
        state_put_int(sw, e, "noise", m->noise);
        state_put_int(sw, e, "offers", m->offers);
        state_put_int(sw, e, "ready_after", m->ready_after);
        state_put_int(sw, e, "discover", (int64_t) m->own[MCP_OWN_DISCOVER]);
        state_put_int(sw, e, "initialize", (int64_t) m->own[MCP_OWN_INITIALIZE]);
        state_put_int(sw, e, "listen", (int64_t) m->own[MCP_OWN_LISTEN]);
        mcp_worker_ask_serialize(m, sw, e);
        state_put_object(sw, o, "mcp", e);
}

/* A list that was being asked for is asked for anew: its answer is then one to a request that has ended. */
static int mcp_deserialize(Worker *w, const struct StateReader *sr, const json_object *o) {
        const json_object *e = state_get_object(o, "mcp");
        McpWorker *m = new0(McpWorker, 1);
        int v;

        (void) sr;
        if (!m)
                return -ENOMEM;
        m->worker = w;
        w->mcp = m;
        v = mcp_revision_from_string(strempty(state_get_text(e, "version")));
        if (v < 0)
                return -EBADMSG;
        m->version = (McpRevision) v;
        m->phase = (McpPhase) MIN((uint64_t) state_get_int(e, "phase"), (uint64_t) MCP_REFUSED);
        m->sequence = (uint64_t) state_get_int(e, "sequence");
        m->noise = (unsigned) state_get_int(e, "noise");
        m->offers = (unsigned) state_get_int(e, "offers") & MCP_LISTS_ALL;
        m->ready_after = state_get_int(e, "ready_after");
        m->own[MCP_OWN_DISCOVER] = (uint64_t) state_get_int(e, "discover");
        m->own[MCP_OWN_INITIALIZE] = (uint64_t) state_get_int(e, "initialize");
        m->own[MCP_OWN_LISTEN] = (uint64_t) state_get_int(e, "listen");
        if (m->phase == MCP_SERVING)
                mcp_worker_lists_resume(w);
        return mcp_worker_ask_deserialize(m, e);
}

const WorkerProtocol worker_protocol_mcp = {
        .start = mcp_start,
        .assign = mcp_assign,
        .cancel = mcp_cancel,
        .input = mcp_input,
        .exited = mcp_exited,
        .done = mcp_done,
        .serialize = mcp_serialize,
        .deserialize = mcp_deserialize,
};
