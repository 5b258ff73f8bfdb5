/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Parameters and _meta mean what json-c finds under their names; an array's elements are those that json-c finds; an id is equal to itself only. */

#include <errno.h>
#include <json-c/json.h>
#include <syslog.h>

#include "basic/str.h"
#include "fuzz.h"
#include "proto/mcp.h"
#include "proto/varlink.h"

static void check_params(json_object *whole, const char *text, size_t size) {
        static const char *const names[] = { [MCP_PARAM_NAME] = "name", [MCP_PARAM_URI] = "uri", [MCP_PARAM_CURSOR] = "cursor" };
        const char *why = NULL;
        json_object *v;
        McpParams p;
        McpMeta m;
        int r;

        r = mcp_params_parse((JsonSpan) { text, size }, &p);
        CHECK(r == 0 || r == -EBADMSG);
        if (r < 0)
                return;
        CHECK(json_object_is_type(whole, json_type_object));
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (names[i])
                        CHECK(json_object_object_get_ex(whole, names[i], &v) == (p.of[i].value != NULL));
        r = mcp_meta_parse(&p, &m, &why);
        CHECK(r == 0 ? m.log_level >= -1 && m.log_level <= LOG_DEBUG : r == -EBADMSG && why);
        if (r == 0 && m.progress.p) {
                CHECK(m.progress.size <= JSONRPC_ID_MAX && mcp_id_equal(m.progress, m.progress));
                CHECK(!m.version.p || mcp_id_equal(m.progress, m.version) == mcp_id_equal(m.version, m.progress));
        }
}

static void check_elements(json_object *whole, const char *text, size_t size) {
        bool array = json_object_is_type(whole, json_type_array);
        size_t n = 0;
        JsonMember m;
        JsonScan scan;
        int r;

        json_scan_elements(&scan, text, size);
        while ((r = json_scan_next(&scan, &m)) > 0) {
                _cleanup_json_ json_object *part = NULL;

                CHECK(!m.key && m.value >= text && m.value + m.value_size <= text + size);
                CHECK(json_parse(m.value, m.value_size, JSON_DEPTH_MAX, &part) == 0);
                if (array)
                        CHECK(json_object_equal(part, json_object_array_get_idx(whole, n)));
                n++;
        }
        CHECK((r == 0) == array || r == -E2BIG);
        CHECK(r != 0 || n == json_object_array_length(whole));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ json_object *whole = NULL;
        const char *text = (const char *) data;
        JsonSpan all = { text, size };

        (void) mcp_version_of(all);
        (void) mcp_level_of(all);
        (void) mcp_method_of(all, size & 1);
        if (json_parse(text, size, JSON_DEPTH_MAX, &whole) < 0) {
                McpParams p;

                CHECK(mcp_params_parse(all, &p) == -EBADMSG || size == 0);
                return 0;
        }
        check_params(whole, text, size);
        check_elements(whole, text, size);
        return 0;
}
