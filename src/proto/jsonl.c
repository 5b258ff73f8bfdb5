/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * jsonl: the protocol for workers that somebody writes by hand in ten lines. The envelope is scanned, never built: a JSON payload
 * goes into the line as the text that it came as, a JSON result comes out as the text that the worker wrote, so numbers keep
 * their digits and members their order. Because people write these workers, every refusal says which member is wrong.
 *
 * One line is one message, so a JSON payload's own newlines become blanks on the way. U+2028 and U+2029, which may stand raw in
 * a JSON string, are escaped: to some line readers they end a line.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <syslog.h>

#include "basic/str.h"
#include "proto/json-scan.h"
#include "proto/jsonl.h"

#define APPEND_LITERAL(b, s) json_append(b, s, sizeof(s) - 1)

static int append_string_member(JsonBuffer *b, const char *name, size_t name_size, const char *value) {
        int r;

        if (!value)
                return 0;
        r = json_append(b, name, name_size);
        if (r < 0)
                return r;
        return json_escape_append(b, value, strlen(value));
}
#define APPEND_STRING_MEMBER(b, name, value) append_string_member(b, name, sizeof(name) - 1, value)

static int append_payload(JsonBuffer *b, const JsonlJob *job) {
        _cleanup_free_ char *text = NULL;
        JsonType type;
        int r;

        switch (job->kind) {
        case PAYLOAD_TEXT:
                return json_escape_append(b, job->payload, job->payload_size);
        case PAYLOAD_JSON:
                if (job->payload_size == 0)
                        return -EBADMSG;
                /* one level is the message's own, or it could not be read back */
                r = json_check(job->payload, job->payload_size, JSON_DEPTH_MAX - 1, &type);
                if (r < 0)
                        return r;
                return json_append_oneline(b, job->payload, job->payload_size);
        case PAYLOAD_BYTES:
                text = base64_encode(job->payload, job->payload_size);
                if (!text)
                        return -ENOMEM;
                r = APPEND_LITERAL(b, "{\"base64\":\"");
                if (r < 0)
                        return r;
                r = json_append(b, text, strlen(text));
                if (r < 0)
                        return r;
                return APPEND_LITERAL(b, "\"}");
        default:
                return -EBADMSG;
        }
}

/* Ends the line and hands it over. */
static int finish_line(JsonBuffer *b, char **ret, size_t *ret_size) {
        int r = json_append(b, "}\n", 3); /* with its NUL */

        if (r < 0)
                return r;
        *ret_size = b->size - 1;
        *ret = TAKE_PTR(b->data);
        return 0;
}

int jsonl_job_encode(const JsonlJob *job, char **ret, size_t *ret_size) {
        _cleanup_(json_buffer_clear) JsonBuffer b = {};
        char number[64];
        int r, n;

        /* the usual line in one piece: bytes grow by a third, text by little, JSON not at all */
        r = json_buffer_reserve(&b, 192 + job->payload_size + (job->kind == PAYLOAD_BYTES ? job->payload_size / 3 : 0));
        if (r < 0)
                return r;
        r = APPEND_STRING_MEMBER(&b, "{\"job\":", job->id);
        if (r < 0)
                return r;
        n = snprintf(number, sizeof(number), ",\"attempt\":%" PRIu32, job->attempt);
        r = json_append(&b, number, (size_t) n);
        if (r < 0)
                return r;
        r = APPEND_STRING_MEMBER(&b, ",\"method\":", job->method);
        if (r < 0)
                return r;
        r = APPEND_STRING_MEMBER(&b, ",\"session\":", job->session);
        if (r < 0)
                return r;
        if (job->deadline_usec != 0 && job->deadline_usec != USEC_INFINITY) {
                /* by integers: floating point would lose microseconds and ask the locale for its point */
                n = snprintf(number, sizeof(number), ",\"deadline\":%llu.%06llu", job->deadline_usec / USEC_PER_SEC,
                             job->deadline_usec % USEC_PER_SEC);
                while (number[n - 1] == '0')
                        n--;
                if (number[n - 1] == '.')
                        n--;
                r = json_append(&b, number, (size_t) n);
                if (r < 0)
                        return r;
        }
        r = APPEND_LITERAL(&b, ",\"payload\":");
        if (r < 0)
                return r;
        r = append_payload(&b, job);
        if (r < 0)
                return r;
        return finish_line(&b, ret, ret_size);
}

int jsonl_cancel_encode(const char *id, const char *reason, char **ret, size_t *ret_size) {
        _cleanup_(json_buffer_clear) JsonBuffer b = {};
        int r;

        r = APPEND_STRING_MEMBER(&b, "{\"cancel\":", id);
        if (r >= 0 && reason)
                r = APPEND_STRING_MEMBER(&b, ",\"reason\":", reason);
        if (r < 0)
                return r;
        return finish_line(&b, ret, ret_size);
}

void jsonl_message_clear(JsonlMessage *m) {
        free(m->data);
        m->data = NULL;
        m->size = 0;
}

/* The members that mean something; the last five each make a message. */
typedef enum Field {
        FIELD_JOB,
        FIELD_KIND,
        FIELD_MESSAGE,
        FIELD_LEVEL,
        FIELD_READY,
        FIELD_RESULT,
        FIELD_ERROR,
        FIELD_PROGRESS,
        FIELD_LOG,
        _FIELD_MAX,
} Field;

static const struct {
        const char *name, *twice;
} fields[_FIELD_MAX] = {
        [FIELD_JOB] = { "job", "job stands twice" },
        [FIELD_KIND] = { "kind", "kind stands twice" },
        [FIELD_MESSAGE] = { "message", "message stands twice" },
        [FIELD_LEVEL] = { "level", "level stands twice" },
        [FIELD_READY] = { "ready", "ready stands twice" },
        [FIELD_RESULT] = { "result", "result stands twice" },
        [FIELD_ERROR] = { "error", "error stands twice" },
        [FIELD_PROGRESS] = { "progress", "progress stands twice" },
        [FIELD_LOG] = { "log", "log stands twice" },
};

/* A member's value; `raw` is NULL where it does not stand, and also where it is null, except for a result. */
typedef struct Value {
        const char *raw;
        size_t size;
        JsonType type;
} Value;

static int fail(const char **reterr_reason, const char *reason) {
        *reterr_reason = reason;
        return -EBADMSG;
}

static int read_fields(const char *line, size_t size, Value *values, const char **reterr_reason) {
        bool seen[_FIELD_MAX] = {};
        JsonMember m;
        JsonScan scan;
        int r;

        json_scan_begin(&scan, line, size);
        while ((r = json_scan_next(&scan, &m)) > 0) {
                for (Field f = 0; f < _FIELD_MAX; f++) {
                        if (!json_member_is(&m, fields[f].name))
                                continue;
                        if (seen[f])
                                return fail(reterr_reason, fields[f].twice);
                        seen[f] = true;
                        if (m.type != JSON_NULL || f == FIELD_RESULT)
                                values[f] = (Value) { .raw = m.value, .size = m.value_size, .type = m.type };
                        break;
                }
        }
        if (r == -E2BIG)
                return fail(reterr_reason, "the JSON is nested too deeply");
        if (r < 0)
                return fail(reterr_reason, "the line is not one JSON object");
        return 0;
}

/* Takes a string's content as the message's data. */
static int read_text(const Value *v, JsonlMessage *m, const char *wrong, const char **reterr_reason) {
        int r;

        if (v->type != JSON_STRING)
                return fail(reterr_reason, wrong);
        r = json_unescape(v->raw, v->size, &m->data, &m->size);
        return r == -EBADMSG ? fail(reterr_reason, wrong) : r;
}

static int read_job(const Value *v, char *ret, const char **reterr_reason) {
        _cleanup_free_ char *id = NULL;
        size_t size;
        int r;

        if (!v->raw)
                return fail(reterr_reason, "job is missing: say which job the message is about");
        if (v->type != JSON_STRING)
                return fail(reterr_reason, "job is not a string: send back the id that came with the job");
        r = json_unescape(v->raw, v->size, &id, &size);
        if (r == -ENOMEM)
                return r;
        if (r < 0 || size == 0 || size >= JSONL_JOB_ID_MAX || memchr(id, 0, size))
                return fail(reterr_reason, "job is not the id of a job");
        memcpy(ret, id, size + 1);
        return 0;
}

/* {"base64":"..."}: the string may have escapes of its own, some writers escape every slash. */
static int read_bytes(const Value *v, JsonlMessage *m, const char **reterr_reason) {
        static const char wrong[] = "result is not {\"base64\":\"...\"}, as its kind says";
        _cleanup_free_ char *text = NULL;
        JsonMember member;
        JsonScan scan;
        size_t size;
        void *data;
        int r;

        if (v->type != JSON_OBJECT)
                return fail(reterr_reason, wrong);
        json_scan_begin(&scan, v->raw, v->size);
        while ((r = json_scan_next(&scan, &member)) > 0) {
                if (!json_member_is(&member, "base64"))
                        continue;
                if (text || member.type != JSON_STRING)
                        return fail(reterr_reason, wrong);
                r = json_unescape(member.value, member.value_size, &text, &size);
                if (r < 0)
                        return r == -ENOMEM ? r : fail(reterr_reason, wrong);
        }
        if (r < 0 || !text)
                return fail(reterr_reason, wrong);
        r = base64_decode(text, size, &data, &m->size);
        if (r < 0)
                return r == -ENOMEM ? r : fail(reterr_reason, "result's base64 is not base64 with padding");
        m->data = data;
        return 0;
}

static int read_result(const Value *v, const Value *kind, JsonlMessage *m, const char **reterr_reason) {
        static const char *const literals[_PAYLOAD_KIND_MAX] = { "\"text\"", "\"json\"", "\"bytes\"" };

        m->type = JSONL_RESULT;
        m->kind = v->type == JSON_STRING ? PAYLOAD_TEXT : PAYLOAD_JSON;
        if (kind->raw) {
                for (m->kind = 0; m->kind < _PAYLOAD_KIND_MAX; m->kind++)
                        if (kind->size == strlen(literals[m->kind]) && memcmp(kind->raw, literals[m->kind], kind->size) == 0)
                                break;
                if (m->kind == _PAYLOAD_KIND_MAX)
                        return fail(reterr_reason, "kind is none of \"text\", \"json\" and \"bytes\"");
        }

        switch (m->kind) {
        case PAYLOAD_TEXT:
                return read_text(v, m, "result is not a string, as its kind says", reterr_reason);
        case PAYLOAD_BYTES:
                return read_bytes(v, m, reterr_reason);
        default:
                m->data = malloc(v->size + 1);
                if (!m->data)
                        return -ENOMEM;
                memcpy(m->data, v->raw, v->size);
                m->data[v->size] = 0;
                m->size = v->size;
                return 0;
        }
}

static int read_error(const Value *v, JsonlMessage *m, const char **reterr_reason) {
        bool retry_seen = false;
        Value message = {};
        JsonMember member;
        JsonScan scan;
        int r;

        m->type = JSONL_ERROR;
        if (v->type != JSON_OBJECT)
                return fail(reterr_reason, "error is not an object such as {\"message\":\"...\"}");
        json_scan_begin(&scan, v->raw, v->size);
        while ((r = json_scan_next(&scan, &member)) > 0) {
                if (json_member_is(&member, "message")) {
                        if (message.raw)
                                return fail(reterr_reason, "error's message stands twice");
                        message = (Value) { .raw = member.value, .size = member.value_size, .type = member.type };
                } else if (json_member_is(&member, "retry")) {
                        if (retry_seen)
                                return fail(reterr_reason, "error's retry stands twice");
                        if (member.type != JSON_BOOL && member.type != JSON_NULL)
                                return fail(reterr_reason, "error's retry is neither true nor false");
                        retry_seen = m->retry_said = true;
                        m->retry = member.value[0] == 't';
                }
        }
        if (r < 0 || !message.raw)
                return fail(reterr_reason, "error has no message");
        return read_text(&message, m, "error's message is not a string", reterr_reason);
}

static int read_progress(const Value *v, const Value *message, JsonlMessage *m, const char **reterr_reason) {
        m->type = JSONL_PROGRESS;
        if (v->type != JSON_NUMBER || json_number(v->raw, v->size, &m->fraction) < 0 || !(m->fraction >= 0 && m->fraction <= 1))
                return fail(reterr_reason, "progress is not a number from 0 to 1");
        if (!message->raw)
                return 0;
        return read_text(message, m, "message is not a string", reterr_reason);
}

static int read_log(const Value *v, const Value *level, JsonlMessage *m, const char **reterr_reason) {
        static const struct {
                const char *name;
                int level;
        } levels[] = {
                { "\"info\"", LOG_INFO },
                { "\"debug\"", LOG_DEBUG },
                { "\"notice\"", LOG_NOTICE },
                { "\"warning\"", LOG_WARNING },
                { "\"error\"", LOG_ERR },
                { "\"err\"", LOG_ERR },
                { "\"crit\"", LOG_CRIT },
                { "\"alert\"", LOG_ALERT },
                { "\"emerg\"", LOG_EMERG },
        };

        m->type = JSONL_LOG;
        m->level = LOG_INFO;
        if (level->raw) {
                size_t i;

                for (i = 0; i < ELEMENTSOF(levels); i++)
                        if (level->size == strlen(levels[i].name) && memcmp(level->raw, levels[i].name, level->size) == 0)
                                break;
                if (i == ELEMENTSOF(levels))
                        return fail(reterr_reason, "level is none of emerg, alert, crit, error, warning, notice, info and debug");
                m->level = levels[i].level;
        }
        return read_text(v, m, "log is not a string", reterr_reason);
}

int jsonl_message_decode(const char *line, size_t size, JsonlMessage *ret, const char **reterr_reason) {
        _cleanup_jsonl_message_ JsonlMessage m = {};
        Value values[_FIELD_MAX] = {};
        Field found = _FIELD_MAX;
        size_t i = 0;
        int r;

        while (i < size && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r' || line[i] == '\n'))
                i++;
        if (i == size)
                return 0;

        r = read_fields(line, size, values, reterr_reason);
        if (r < 0)
                return r;
        for (Field f = FIELD_READY; f < _FIELD_MAX; f++) {
                if (!values[f].raw)
                        continue;
                if (found == FIELD_RESULT && values[found].type == JSON_NULL)
                        found = _FIELD_MAX; /* "result":null beside an error says nothing */
                if (found != _FIELD_MAX)
                        return fail(reterr_reason, "a message has only one of ready, result, error, progress and log");
                found = f;
        }
        if (found == _FIELD_MAX)
                return fail(reterr_reason, "a message needs one of ready, result, error, progress and log");

        if (found == FIELD_READY) {
                if (values[found].type != JSON_BOOL || values[found].raw[0] != 't')
                        return fail(reterr_reason, "ready is not true");
                m.type = JSONL_READY;
                *ret = m;
                return 1;
        }
        r = read_job(&values[FIELD_JOB], m.job, reterr_reason);
        if (r < 0)
                return r;
        if (found == FIELD_RESULT)
                r = read_result(&values[found], &values[FIELD_KIND], &m, reterr_reason);
        else if (found == FIELD_ERROR)
                r = read_error(&values[found], &m, reterr_reason);
        else if (found == FIELD_PROGRESS)
                r = read_progress(&values[found], &values[FIELD_MESSAGE], &m, reterr_reason);
        else
                r = read_log(&values[found], &values[FIELD_LEVEL], &m, reterr_reason);
        if (r < 0)
                return r;

        *ret = m;
        m.data = NULL; /* it is the caller's now */
        return 1;
}
