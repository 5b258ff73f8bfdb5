/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cache stats, list, purge: results that are kept for equal jobs. */

#include <inttypes.h>

#include "basic/str.h"
#include "flowctl/term.h"

#define LISTED_MAX 10000U /* as flowd's own limit */

static void print_kept(json_object *s, bool colours) {
        uint64_t raw = (uint64_t) json_int(s, "raw_bytes"), bytes = (uint64_t) json_int(s, "bytes");
        char a[NUMBER_SIZE], b[NUMBER_SIZE];

        field_print(colours, "Results", "%s, of %s", format_count(a, (uint64_t) json_int(s, "entries")), format_bytes(b, raw));
        field_begin(colours, "Stored as");
        printf("%s", format_bytes(a, bytes));
        if (bytes > 0)
                printf(" (%.1f to 1)", (double) raw / (double) bytes);
        putchar('\n');
        field_print(colours, "Kept", "%s since flowd was started; %s gave way to others", format_count(a, (uint64_t) json_int(s, "puts")),
                    format_count(b, (uint64_t) json_int(s, "evicted")));
}

/* What jobs had of it. */
static void print_given(json_object *s, bool colours) {
        uint64_t hits = (uint64_t) json_int(s, "hits"), stale = (uint64_t) json_int(s, "stale"), misses = (uint64_t) json_int(s, "misses");
        uint64_t coalesced = (uint64_t) json_int(s, "coalesced"), renewals = (uint64_t) json_int(s, "renewals");
        char a[NUMBER_SIZE], b[NUMBER_SIZE], c[NUMBER_SIZE];

        field_print(colours, "Jobs", "%s hit%s, %s stale, %s miss%s", format_count(a, hits), plural(hits), format_count(b, stale), format_count(c, misses),
                    misses == 1 ? "" : "es");
        if (hits + stale + misses > 0)
                field_print(colours, "Hit rate", "%.1f%%", 100.0 * (double) (hits + stale) / (double) (hits + stale + misses));
        field_print(colours, "Coalesced", "%s job%s with equal ones under way", format_count(a, coalesced), plural(coalesced));
        field_print(colours, "Renewed", "%s stale result%s", format_count(a, renewals), plural(renewals));
        field_print(colours, "Saved", "%s of results that no worker had to make", format_bytes(a, (uint64_t) json_int(s, "saved_bytes")));
}

int verb_cache_stats(Flowctl *c, int argc _unused_, char **argv _unused_) {
        bool colours = colours_wanted(stdout);
        _cleanup_json_ json_object *s = NULL;
        int r;

        r = control_call(c, "CacheStats", NULL, &s);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(s, true);
        print_kept(s, colours);
        print_given(s, colours);
        return STATUS_OK;
}

int verb_cache_list(Flowctl *c, int argc _unused_, char **argv _unused_) {
        static const TableColumn columns[] = {
                { "WORKER TYPE", 0.2, SCOLS_FL_WRAP }, { "METHOD", 0.2, SCOLS_FL_WRAP }, { "SIZE", 5, SCOLS_FL_RIGHT },
                { "STORED", 6, SCOLS_FL_RIGHT },        { "HITS", 5, SCOLS_FL_RIGHT },     { "MADE", 8, SCOLS_FL_RIGHT },
                { "USED", 8, SCOLS_FL_RIGHT },
        };
        _cleanup_json_ json_object *reply = NULL;
        json_object *parameters = json_object_new_object(), *entries;
        _cleanup_(table_done) Table t = {};
        char buf[NUMBER_SIZE];
        uint64_t limit = 0;
        int r;

        r = option_number(c, OPTION_LIMIT, 1, LISTED_MAX, &limit);
        if (r > 0) {
                json_object_put(parameters);
                return r;
        }
        if (option(c, OPTION_METHOD))
                json_object_object_add(parameters, "method", json_object_new_string(c->options[OPTION_METHOD]));
        if (limit > 0)
                json_object_object_add(parameters, "limit", json_object_new_int64((int64_t) limit));
        r = control_call(c, "ListCache", parameters, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        entries = json_member(reply, "entries");
        table_init(&t, c, columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(entries); i++) {
                json_object *e = json_object_array_get_idx(entries, i);

                table_row(&t);
                table_cell(&t, COLOUR_NORMAL, json_text(e, "worker_type"));
                table_cell(&t, COLOUR_BOLD, json_text(e, "method"));
                table_cell(&t, COLOUR_NORMAL, format_bytes(buf, (uint64_t) json_int(e, "size")));
                table_cell(&t, COLOUR_NORMAL, format_bytes(buf, (uint64_t) json_int(e, "stored_size")));
                table_cell_count(&t, (uint64_t) json_int(e, "hits"));
                table_cell(&t, COLOUR_NORMAL, format_age(buf, (uint64_t) json_int(e, "created_usec")));
                table_cell(&t, COLOUR_NORMAL, format_age(buf, (uint64_t) json_int(e, "used_usec")));
        }
        table_print(&t, c, "result");
        return STATUS_OK;
}

int verb_cache_purge(Flowctl *c, int argc _unused_, char **argv _unused_) {
        _cleanup_json_ json_object *reply = NULL;
        json_object *parameters;
        bool filtered = option(c, OPTION_METHOD) || option(c, OPTION_WORKER_TYPE);
        int r;

        if (option(c, OPTION_ALL) == filtered)
                return usage_error(c, filtered ? "--all stands alone" : "which results? Say --method=, --worker-type= or --all");
        parameters = json_object_new_object();
        if (option(c, OPTION_METHOD))
                json_object_object_add(parameters, "method", json_object_new_string(c->options[OPTION_METHOD]));
        if (option(c, OPTION_WORKER_TYPE))
                json_object_object_add(parameters, "worker_type", json_object_new_string(c->options[OPTION_WORKER_TYPE]));
        r = control_call(c, "PurgeCache", parameters, &reply);
        if (r > 0)
                return r;
        if (option(c, OPTION_JSON))
                return json_print(reply, true);
        if (!option(c, OPTION_QUIET))
                printf("%" PRId64 " result%s forgotten.\n", json_int(reply, "purged"), plural((uint64_t) json_int(reply, "purged")));
        return STATUS_OK;
}
