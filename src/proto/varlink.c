/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Varlink: a call is {"method", "parameters", "more", "oneway", "upgrade"}, an answer {"parameters", "continues"} or {"error",
 * "parameters"}, each one JSON object that a NUL ends. Whoever holds the connection finds the NULs and limits the size; here a
 * message is a text with a length.
 *
 * Control is not a hot path, so json-c builds the tree. But json-c takes more than JSON (NaN, control characters in strings, half
 * surrogate pairs, anything behind a NUL), and what it took would go out again to peers that do not; so a text is checked by the
 * strict scanner first, which costs a tenth of the tree. On the way out the same check catches what json-c prints and
 * nobody reads.
 */

#include <errno.h>
#include <limits.h>

#include "basic/str.h"
#include "proto/json-scan.h"
#include "proto/varlink.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

int json_parse(const char *text, size_t size, unsigned depth_max, json_object **ret) {
        struct json_tokener *tokener;
        json_object *o;
        JsonType type;
        int r;

        r = json_check(text, size, depth_max, &type);
        if (r < 0)
                return r;
        if (size > INT_MAX)
                return -EBADMSG;
        if (type == JSON_NULL) {
                *ret = NULL; /* as json-c has it; its tokener would leave no way to tell that from an error */
                return 0;
        }
        tokener = json_tokener_new_ex(JSON_DEPTH_MAX + 2); /* it counts scalars as a level too */
        if (!tokener)
                return -ENOMEM;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        o = json_tokener_parse_ex(tokener, text, (int) size);
        if (!o && json_tokener_get_error(tokener) == json_tokener_continue)
                o = json_tokener_parse_ex(tokener, "", 1); /* a number outside of all brackets ends with its NUL only */
        r = o ? 0 : -EBADMSG;
        json_tokener_free(tokener);
        if (r < 0)
                return r;
        *ret = o;
        return 0;
}

void varlink_call_clear(VarlinkCall *c) {
        free(c->method);
        json_object_put(c->parameters);
        *c = (VarlinkCall) {};
}

void varlink_reply_clear(VarlinkReply *r) {
        free(r->error);
        json_object_put(r->parameters);
        *r = (VarlinkReply) {};
}

/* Member readers: 0, or -EINVAL for a wrong type; a missing member, or null, leaves *ret alone. */
static int read_bool(json_object *message, const char *name, bool *ret) {
        json_object *o = json_object_object_get(message, name);

        if (!o)
                return 0;
        if (!json_object_is_type(o, json_type_boolean))
                return -EINVAL;
        *ret = json_object_get_boolean(o);
        return 0;
}

static int read_name(json_object *message, const char *name, char **ret) {
        json_object *o = json_object_object_get(message, name);
        size_t size;

        if (!o)
                return 0;
        if (!json_object_is_type(o, json_type_string))
                return -EINVAL;
        size = (size_t) json_object_get_string_len(o);
        if (size == 0 || size >= VARLINK_NAME_MAX || strlen(json_object_get_string(o)) != size)
                return -EINVAL;
        *ret = strdup(json_object_get_string(o));
        return *ret ? 0 : -ENOMEM;
}

static int read_parameters(json_object *message, json_object **ret) {
        json_object *o = json_object_object_get(message, "parameters");

        if (o && !json_object_is_type(o, json_type_object))
                return -EINVAL;
        *ret = o ? json_object_get(o) : json_object_new_object();
        return *ret ? 0 : -ENOMEM;
}

static int read_message(const char *text, size_t size, json_object **ret) {
        _cleanup_json_ json_object *message = NULL;
        int r;

        r = json_parse(text, size, VARLINK_DEPTH_MAX, &message);
        if (r < 0)
                return r;
        if (!json_object_is_type(message, json_type_object))
                return -EINVAL;
        *ret = TAKE_PTR(message);
        return 0;
}

int varlink_call_parse(const char *text, size_t size, VarlinkCall *ret) {
        _cleanup_json_ json_object *message = NULL;
        _cleanup_varlink_call_ VarlinkCall c = {};
        int r;

        r = read_message(text, size, &message);
        if (r < 0)
                return r;
        r = read_name(message, "method", &c.method);
        if (r < 0)
                return r;
        if (!c.method)
                return -EINVAL;
        r = read_parameters(message, &c.parameters);
        if (r < 0)
                return r;
        r = read_bool(message, "more", &c.more);
        if (r < 0)
                return r;
        r = read_bool(message, "oneway", &c.oneway);
        if (r < 0)
                return r;
        r = read_bool(message, "upgrade", &c.upgrade);
        if (r < 0)
                return r;
        if (c.oneway && (c.more || c.upgrade))
                return -EINVAL; /* no answer, and several: it cannot mean both */

        *ret = c;
        c = (VarlinkCall) {}; /* it is the caller's now */
        return 0;
}

int varlink_reply_parse(const char *text, size_t size, VarlinkReply *ret) {
        _cleanup_json_ json_object *message = NULL;
        _cleanup_varlink_reply_ VarlinkReply reply = {};
        int r;

        r = read_message(text, size, &message);
        if (r < 0)
                return r;
        r = read_name(message, "error", &reply.error);
        if (r < 0)
                return r;
        r = read_parameters(message, &reply.parameters);
        if (r < 0)
                return r;
        r = read_bool(message, "continues", &reply.continues);
        if (r < 0)
                return r;
        if (reply.error && reply.continues)
                return -EINVAL; /* an error is the last answer */

        *ret = reply;
        reply = (VarlinkReply) {}; /* it is the caller's now */
        return 0;
}

/* Replaces what is no UTF-8. Only strings can hold such bytes, so the text stays the JSON that it was. */
static int append_utf8(JsonBuffer *b, const char *s, size_t size) {
        const char *end = s + size;
        int r;

        while (s < end) {
                const char *p = s;
                size_t n = 0;

                /* the longest valid run: ASCII, then one character at a time */
                while (p < end) {
                        if (!(*p & 0x80)) {
                                p++;
                                continue;
                        }
                        for (n = 2; n <= 4 && n <= (size_t) (end - p); n++)
                                if (utf8_valid(p, n))
                                        break;
                        if (n > 4 || n > (size_t) (end - p))
                                break;
                        p += n;
                }
                r = json_append(b, s, (size_t) (p - s));
                if (r < 0)
                        return r;
                if (p < end) {
                        r = json_append(b, REPLACEMENT, strlen(REPLACEMENT));
                        if (r < 0)
                                return r;
                        p++;
                }
                s = p;
        }
        return 0;
}

static int append_parameters(JsonBuffer *b, json_object *parameters) {
        const char *text = "{}";
        size_t size = 2;
        int r;

        if (parameters) {
                if (!json_object_is_type(parameters, json_type_object))
                        return -EINVAL;
                text = json_object_to_json_string_length(parameters, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE,
                                                         &size);
                if (!text)
                        return -ENOMEM;
        }
        r = json_append(b, "\"parameters\":", strlen("\"parameters\":"));
        if (r < 0)
                return r;
        return utf8_valid(text, size) ? json_append(b, text, size) : append_utf8(b, text, size);
}

/* Closes the message with `tail`, checks it, and hands it over. */
static int finish_message(JsonBuffer *b, const char *tail, char **ret, size_t *ret_size) {
        JsonType type;
        int r;

        r = json_append(b, tail, strlen(tail) + 1);
        if (r < 0)
                return r;
        r = json_check(b->data, b->size - 1, VARLINK_DEPTH_MAX, &type);
        if (r < 0)
                return r == -EBADMSG ? -EINVAL : r;
        *ret_size = b->size;
        *ret = TAKE_PTR(b->data);
        return 0;
}

static int format_message(const char *head, const char *name, json_object *parameters, const char *tail, char **ret,
                          size_t *ret_size) {
        _cleanup_(json_buffer_clear) JsonBuffer b = {};
        int r;

        r = json_append(&b, head, strlen(head));
        if (r < 0)
                return r;
        if (name) {
                r = json_escape_append(&b, name, strlen(name));
                if (r < 0)
                        return r == -EBADMSG ? -EINVAL : r;
                r = json_append(&b, ",", 1);
                if (r < 0)
                        return r;
        }
        r = append_parameters(&b, parameters);
        if (r < 0)
                return r;
        return finish_message(&b, tail, ret, ret_size);
}

int varlink_call_format(const char *method, json_object *parameters, bool more, bool oneway, char **ret, size_t *ret_size) {
        if (more && oneway)
                return -EINVAL;

        const char *tail = more ? ",\"more\":true}" : oneway ? ",\"oneway\":true}" : "}";

        return format_message("{\"method\":", method, parameters, tail, ret, ret_size);
}

int varlink_reply_format(json_object *parameters, bool continues, char **ret, size_t *ret_size) {
        return format_message("{", NULL, parameters, continues ? ",\"continues\":true}" : "}", ret, ret_size);
}

int varlink_error_format(const char *error, json_object *parameters, char **ret, size_t *ret_size) {
        return format_message("{\"error\":", error, parameters, "}", ret, ret_size);
}

static bool is_letter(char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_alnum(char c) {
        return is_letter(c) || (c >= '0' && c <= '9');
}

/* A reversed domain name of at least two labels, the first beginning with a letter; a dash stands inside a label only. */
static bool interface_valid(const char *s, size_t size) {
        bool dot = false;

        if (size == 0 || !is_letter(s[0]) || !is_alnum(s[size - 1]))
                return false;
        for (size_t i = 1; i < size; i++) {
                if (s[i] == '.') {
                        if (!is_alnum(s[i - 1]) || !is_alnum(s[i + 1]))
                                return false;
                        dot = true;
                } else if (!is_alnum(s[i]) && s[i] != '-')
                        return false;
        }
        return dot;
}

int varlink_name_split(const char *name, char *interface, size_t size, const char **ret_method) {
        const char *dot = strrchr(name, '.');
        size_t length;

        if (!dot)
                return -EINVAL;
        length = (size_t) (dot - name);
        if (!interface_valid(name, length) || dot[1] < 'A' || dot[1] > 'Z')
                return -EINVAL;
        for (const char *p = dot + 2; *p; p++)
                if (!is_alnum(*p))
                        return -EINVAL;
        if (length >= size)
                return -ENOBUFS;
        memcpy(interface, name, length);
        interface[length] = 0;
        *ret_method = dot + 1;
        return 0;
}
