/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* jsonl, both ways: a worker's line is read or refused with a reason; a payload, whatever it is, comes out of a line unharmed. */

#include <errno.h>
#include <json-c/json.h>

#include "basic/str.h"
#include "fuzz.h"
#include "proto/json-scan.h"
#include "proto/jsonl.h"
#include "proto/varlink.h"

static void check_message(const char *line, size_t size) {
        _cleanup_jsonl_message_ JsonlMessage m = {};
        const char *reason = NULL;
        JsonType type;
        int r;

        r = jsonl_message_decode(line, size, &m, &reason);
        if (r <= 0) {
                CHECK(r == 0 || r == -EBADMSG);
                CHECK((r < 0) == !!reason);
                CHECK(!m.data);
                return;
        }
        CHECK(m.type < _JSONL_TYPE_MAX && !reason);
        CHECK((m.type == JSONL_READY) == !m.job[0]);
        CHECK(utf8_valid(m.job, strlen(m.job)));
        CHECK(m.data || m.type == JSONL_READY || m.type == JSONL_PROGRESS);
        CHECK(m.fraction >= 0 && m.fraction <= 1 && m.level >= 0 && m.level <= 7);
        if (m.data) {
                CHECK(m.data[m.size] == 0);
                if (m.kind == PAYLOAD_TEXT)
                        CHECK(utf8_valid(m.data, m.size));
                if (m.kind == PAYLOAD_JSON)
                        CHECK(json_check(m.data, m.size, JSON_DEPTH_MAX, &type) == 0);
        }
}

static void check_payload(const JsonlJob *job, const JsonMember *m) {
        _cleanup_json_ json_object *a = NULL, *b = NULL;
        _cleanup_free_ char *text = NULL;
        _cleanup_free_ void *bytes = NULL;
        JsonMember inner;
        JsonScan scan;
        size_t n;

        switch (job->kind) {
        case PAYLOAD_TEXT:
                CHECK(json_unescape(m->value, m->value_size, &text, &n) == 0);
                CHECK(n == job->payload_size && memcmp(text, job->payload, n) == 0);
                break;
        case PAYLOAD_JSON:
                CHECK(json_parse(job->payload, job->payload_size, JSON_DEPTH_MAX, &a) == 0);
                CHECK(json_parse(m->value, m->value_size, JSON_DEPTH_MAX, &b) == 0);
                CHECK(json_object_equal(a, b));
                break;
        default:
                json_scan_begin(&scan, m->value, m->value_size);
                CHECK(json_scan_next(&scan, &inner) == 1 && json_member_is(&inner, "base64"));
                CHECK(json_unescape(inner.value, inner.value_size, &text, &n) == 0);
                CHECK(base64_decode(text, n, &bytes, &n) == 0);
                CHECK(n == job->payload_size && memcmp(bytes, job->payload, n) == 0);
        }
}

static void check_job(const JsonlJob *job) {
        _cleanup_free_ char *line = NULL;
        bool found = false;
        JsonMember m;
        JsonScan scan;
        size_t n;
        int r;

        r = jsonl_job_encode(job, &line, &n);
        if (r < 0) {
                CHECK(r == -EBADMSG || r == -E2BIG);
                CHECK(job->kind != PAYLOAD_BYTES);
                return;
        }
        CHECK(line[n] == 0 && line[n - 1] == '\n' && memchr(line, '\n', n) == line + n - 1 && !memchr(line, '\r', n));
        json_scan_begin(&scan, line, n);
        while ((r = json_scan_next(&scan, &m)) > 0)
                if (json_member_is(&m, "payload")) {
                        found = true;
                        check_payload(job, &m);
                }
        CHECK(r == 0 && found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        check_message((const char *) data, size);
        for (PayloadKind k = 0; k < _PAYLOAD_KIND_MAX; k++)
                check_job(&(JsonlJob) { .id = "abc", .attempt = 1, .method = "m", .kind = k,
                                        .payload = data, .payload_size = size });
        return 0;
}
