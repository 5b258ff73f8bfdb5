/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pool tools: what the MCP servers of a pool can be asked to do. */

#include "flowctl/term.h"

/* A cell has room for a line. */
static void first_line(Table *t, const char *text) {
        _cleanup_free_ char *line = text ? strndup(text, strcspn(text, "\r\n")) : NULL;

        table_cell(t, COLOUR_NORMAL, line);
}

int verb_pool_tools(Flowctl *c, int argc _unused_, char **argv) {
        static const TableColumn columns[] = { { "TOOL", 0.2, 0 }, { "TITLE", 0.2, SCOLS_FL_TRUNC }, { "DESCRIPTION", 0.6, SCOLS_FL_TRUNC } };
        _cleanup_json_ json_object *reply = NULL, *parameters = json_object_new_object();
        json_object *tools;
        Table t;
        int r;

        json_object_object_add(parameters, "pool", json_object_new_string(argv[0]));
        r = control_call(c, "PoolTools", TAKE_PTR(parameters), &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        if (!json_object_get_boolean(json_member(reply, "known"))) {
                const char *reason = json_text(reply, "reason");

                error_print("what the servers of pool '%s' offer is not known: %s.", argv[0],
                            reason ? reason : "none of them has started; 'flowctl pool scale' starts one, and so does a job");
                return STATUS_FAILED;
        }
        tools = json_member(reply, "tools");
        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(tools); i++) {
                json_object *tool = json_object_array_get_idx(tools, i);

                table_row(&t);
                table_cell(&t, COLOUR_BOLD, json_text(tool, "name"));
                first_line(&t, json_text(tool, "title"));
                first_line(&t, json_text(tool, "description"));
        }
        table_print(&t, c, "tool");
        table_done(&t);
        return STATUS_OK;
}
