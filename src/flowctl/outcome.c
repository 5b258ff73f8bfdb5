/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How the end of a job is told. One job: its result is the output, byte by byte, so that flowctl can stand in a pipeline. Many
 * jobs: one record of output for each, in which a result's own last newline counts as the record's. With --json each is an object
 * on a line of its own: text is a string, JSON stays what it is, and what is neither is {"base64":"..."}.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "flowctl/batch.h"

int outcome_status(FlowStatus status, const char *code) {
        switch (status) {
        case FLOW_COMPLETED:
                return STATUS_OK;
        case FLOW_TIMEOUT:
                return STATUS_TIMEOUT;
        case FLOW_CANCELLED:
                return STATUS_CANCELLED;
        case FLOW_REFUSED:
                if (streq_ptr(code, "NotPermitted"))
                        return STATUS_NOT_PERMITTED;
                return streq_ptr(code, "InvalidPayload") ? STATUS_FAILED : STATUS_REFUSED;
        default:
                return STATUS_FAILED;
        }
}

const char *outcome_label(const Batch *b, uint64_t number, const char *name, char *buf, size_t size) {
        if (name && b->source.kind != SOURCE_ARGUMENTS)
                return name;
        if (b->kind == BATCH_WAIT && name)
                return name;
        snprintf(buf, size, "%s %" PRIu64, b->source.kind == SOURCE_LINES ? "line" : "argument", number);
        return buf;
}

int outcome_flush(Batch *b) {
        int r;

        if (b->out.size == 0)
                return 0;
        if (b->progress.drawn && isatty(STDOUT_FILENO))
                progress_clear(&b->progress);
        r = fd_write_all(STDOUT_FILENO, b->out.data, b->out.size);
        b->out.size = 0;
        if (r < 0) {
                progress_clear(&b->progress);
                error_print("cannot write the results: %s", strerror(-r));
        }
        return r;
}

void outcome_log(Batch *b, const char *label, const char *text, size_t size) {
        while (size > 0 && text[size - 1] == '\n')
                size--;
        progress_clear(&b->progress);
        if (label)
                fprintf(stderr, "%s: ", label);
        fwrite(text, 1, size, stderr);
        fputc('\n', stderr);
}

static void put(Batch *b, const char *s, size_t size) {
        if (json_append(&b->out, s, size) < 0) {
                error_print("out of memory");
                exit(STATUS_FAILED);
        }
}

static void put_text(Batch *b, const char *s) {
        put(b, s, strlen(s));
}

static void put_number(Batch *b, uint64_t n) {
        char buf[24], *p = buf + sizeof(buf);

        do
                *--p = (char) ('0' + n % 10);
        while ((n /= 10) > 0);
        put(b, p, (size_t) (buf + sizeof(buf) - p));
}

/* A string; bytes that are no UTF-8 become an object, as anywhere else. */
static void put_string(Batch *b, const char *s, size_t size) {
        size_t before = b->out.size;
        int r = json_escape_append(&b->out, s, size);

        if (r == -EBADMSG) {
                _cleanup_free_ char *text = base64_encode(s, size);

                b->out.size = before;
                put_text(b, "{\"base64\":\"");
                put_text(b, strempty(text));
                put_text(b, "\"}");
        } else if (r < 0) {
                error_print("out of memory");
                exit(STATUS_FAILED);
        }
}

static void put_result(Batch *b, const Outcome *o) {
        JsonType type;

        if (o->kind == FLOW_JSON && json_check(o->data, o->size, JSON_DEPTH_MAX, &type) >= 0) {
                if (json_append_oneline(&b->out, o->data, o->size) < 0) {
                        error_print("out of memory");
                        exit(STATUS_FAILED);
                }
        } else if (o->kind == FLOW_TEXT)
                put_string(b, o->data, o->size);
        else {
                _cleanup_free_ char *text = base64_encode(o->data, o->size);

                put_text(b, "{\"base64\":\"");
                put_text(b, strempty(text));
                put_text(b, "\"}");
        }
}

static void put_member(Batch *b, const char *key, const char *value) {
        put_text(b, key);
        put_string(b, value, strlen(value));
}

static void outcome_print_json(Batch *b, const Outcome *o) {
        const char *separator = "{";

        if (!b->single && b->kind != BATCH_WAIT) {
                if (o->name && b->source.kind != SOURCE_ARGUMENTS)
                        put_member(b, "{\"file\":", o->name);
                else {
                        put_text(b, b->source.kind == SOURCE_LINES ? "{\"line\":" : "{\"argument\":");
                        put_number(b, o->number);
                }
                separator = ",";
        }
        if (o->job_id && *o->job_id) {
                put_text(b, separator);
                put_member(b, "\"job\":", o->job_id);
                separator = ",";
        }
        if (o->duplicate)
                put_text(b, ",\"duplicate\":true");
        if (b->kind != BATCH_SUBMIT || o->status != FLOW_COMPLETED) {
                put_text(b, separator);
                put_member(b, "\"status\":", strempty(flow_status_to_string(o->status)));
                if (o->status == FLOW_COMPLETED) {
                        put_text(b, ",\"result\":");
                        put_result(b, o);
                } else {
                        put_member(b, ",\"error\":", strempty(o->error));
                        if (o->code && *o->code)
                                put_member(b, ",\"code\":", o->code);
                }
        }
        if (b->single && o->result && o->result->worker)
                put_member(b, ",\"worker\":", o->result->worker);
        if (b->single && o->result && o->result->tier)
                put_member(b, ",\"tier\":", o->result->tier);
        if (b->single && o->result && o->result->attempts > 0) {
                put_text(b, ",\"attempts\":");
                put_number(b, o->result->attempts);
                put_text(b, ",\"wait_usec\":");
                put_number(b, o->result->wait_usec);
                put_text(b, ",\"run_usec\":");
                put_number(b, o->result->run_usec);
        }
        put_text(b, "}\n");
}

/* What follows "failed: " and the like. */
static const char *outcome_reason(const Outcome *o) {
        return o->error && *o->error ? o->error : "no reason was given";
}

static void print_failure(Batch *b, const Outcome *o) {
        char buf[64];

        if (b->signal && o->status == FLOW_CANCELLED && !b->single)
                return; /* as was asked */
        progress_clear(&b->progress);
        if (b->single) {
                static const char *const words[] = {
                        [FLOW_FAILED] = "the job failed",
                        [FLOW_TIMEOUT] = "the job took too long",
                        [FLOW_CANCELLED] = "the job was cancelled",
                        [FLOW_REFUSED] = "refused",
                };
                if (streq_ptr(o->code, "NoSuchJob") && o->job_id) /* "there is no such job" does not say which */
                        error_print("%s: %s: %s", o->job_id, words[o->status], outcome_reason(o));
                else
                        error_print("%s: %s", words[o->status], outcome_reason(o));
        } else
                fprintf(stderr, "%s: %s: %s\n", outcome_label(b, o->number, o->name, buf, sizeof(buf)),
                        strempty(flow_status_to_string(o->status)), outcome_reason(o));
        if (streq_ptr(o->code, "NotPermitted"))
                fprintf(stderr, "Add yourself to the group: sudo usermod -aG GROUP $USER, then log in again.\n");
}

static void put_tag(Batch *b, const Outcome *o) {
        if (o->name)
                put_text(b, o->name);
        else
                put_number(b, o->number);
        put(b, "\t", 1);
}

static void outcome_print_text(Batch *b, const Outcome *o) {
        const char *data = o->data;
        size_t size = o->size;

        if (o->status != FLOW_COMPLETED) {
                print_failure(b, o);
                if (!b->single && b->ordered &&
                    b->kind != BATCH_SUBMIT) { /* an empty record, so that the others keep their places */
                        if (b->tag)
                                put_tag(b, o);
                        put(b, &b->separator, 1);
                }
                return;
        }
        if (b->kind == BATCH_SUBMIT) {
                put_text(b, strempty(o->job_id));
                put(b, "\n", 1);
                return;
        }
        if (b->single) {
                put(b, data, size);
                if (isatty(STDOUT_FILENO) && size > 0 && data[size - 1] != '\n')
                        put(b, "\n", 1);
                return;
        }
        if (b->tag)
                put_tag(b, o);
        if (size > 0 && data[size - 1] == '\n' && b->separator == '\n')
                size--;
        JsonType type;
        if (o->kind == FLOW_JSON && b->separator == '\n' && memchr(data, '\n', size) &&
            json_check(data, size, JSON_DEPTH_MAX, &type) >= 0)
                (void) json_append_oneline(&b->out, data, size);
        else
                put(b, data, size);
        put(b, &b->separator, 1);
}

void outcome_print(Batch *b, const Outcome *o) {
        int status = outcome_status(o->status, o->code);

        b->progress.done++;
        if (status != STATUS_OK) {
                if (b->signal && o->status == FLOW_CANCELLED)
                        b->progress.done--;
                else
                        b->progress.failed++;
                if (b->single)
                        b->status = status;
                else if (b->status == STATUS_OK)
                        b->status = STATUS_FAILED;
        }
        if (b->json)
                outcome_print_json(b, o);
        else
                outcome_print_text(b, o);
}
