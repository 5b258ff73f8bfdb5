/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * State across execve(). JSON, because an older or newer image must be able to skip what it does not know, and a person must be able to
 * read it; byte strings lie in the memfd before the document, each member says where. Descriptors keep their numbers: the flag that would
 * close them is cleared just before the exec, and set again by whoever takes them over, or by state_writer_done() when there is no exec.
 *
 * The memfd: byte strings, the document, then a trailer with the document's offset and a magic number.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/state.h"

#define STATE_MAGIC 0x31657461746c6f66ULL
#define STATE_DEPTH_MAX 32

typedef struct Trailer {
        uint64_t document, length, magic;
} Trailer;

int state_writer_init(StateWriter *w) {
        int fd = memfd_create("flowd-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0)
                return -errno;
        *w = (StateWriter) { .fd = fd };
        return 0;
}

void state_writer_done(StateWriter *w) {
        for (size_t i = 0; i < w->n_passed; i++)
                (void) fd_set_cloexec(w->passed[i], true);
        free(w->passed);
        w->passed = NULL;
        w->n_passed = 0;
        w->fd = fd_close(w->fd);
}

static void state_fail(StateWriter *w, int error) {
        if (w->error == 0)
                w->error = error;
}

static void state_add(StateWriter *w, json_object *o, const char *key, json_object *value) {
        if (!value || json_object_object_add(o, key, value) < 0)
                state_fail(w, -ENOMEM);
}

void state_put_int(StateWriter *w, json_object *o, const char *key, int64_t v) {
        state_add(w, o, key, json_object_new_int64(v));
}

void state_put_text(StateWriter *w, json_object *o, const char *key, const char *text) {
        if (text)
                state_add(w, o, key, json_object_new_string(text));
}

void state_put_object(StateWriter *w, json_object *o, const char *key, json_object *value) {
        state_add(w, o, key, value);
}

void state_put_bytes(StateWriter *w, json_object *o, const char *key, const void *data, size_t size) {
        json_object *span = json_object_new_array_ext(2);
        int r;

        if (!span) {
                state_fail(w, -ENOMEM);
                return;
        }
        r = fd_write_all(w->fd, data, size);
        if (r < 0)
                state_fail(w, r);
        (void) json_object_array_add(span, json_object_new_int64((int64_t) w->size));
        (void) json_object_array_add(span, json_object_new_int64((int64_t) size));
        w->size += size;
        state_add(w, o, key, span);
}

void state_put_fd(StateWriter *w, json_object *o, const char *key, int fd) {
        int *bigger, r;

        if (fd < 0)
                return;
        bigger = realloc(w->passed, (w->n_passed + 1) * sizeof(int));
        if (!bigger) {
                state_fail(w, -ENOMEM);
                return;
        }
        w->passed = bigger;
        r = fd_set_cloexec(fd, false);
        if (r < 0) {
                state_fail(w, r);
                return;
        }
        w->passed[w->n_passed++] = fd;
        state_put_int(w, o, key, fd);
}

void state_put_blob(StateWriter *w, json_object *o, const char *key, Blob *b) {
        if (!b)
                return;
        if (b->fd >= 0) {
                state_put_fd(w, o, key, b->fd);
                return;
        }
        state_put_bytes(w, o, key, b->data, b->size);
}

int state_writer_finish(StateWriter *w, json_object *root) {
        size_t length;
        const char *text = json_object_to_json_string_length(root, JSON_C_TO_STRING_PLAIN, &length);
        Trailer t = { .document = w->size, .length = length, .magic = STATE_MAGIC };
        int r;

        if (!text)
                state_fail(w, -ENOMEM);
        else if (length > INT32_MAX || w->size + length + sizeof(t) > STATE_SIZE_MAX)
                state_fail(w, -EFBIG); /* the reader would refuse it, and nobody is left then */
        if (w->error < 0)
                return w->error;
        r = fd_write_all(w->fd, text, length);
        if (r >= 0)
                r = fd_write_all(w->fd, &t, sizeof(t));
        if (r >= 0)
                r = memfd_seal(w->fd);
        if (r >= 0)
                r = fd_set_cloexec(w->fd, false);
        return r < 0 ? r : w->fd;
}

int state_reader_init(StateReader *s, int fd) {
        _cleanup_close_ int owned = fd;
        uint64_t size;
        Trailer t;
        void *p;
        int r;

        r = memfd_check(owned, STATE_SIZE_MAX, &size);
        if (r < 0)
                return r;
        if (size < sizeof(t))
                return -EBADMSG;
        r = memfd_map(owned, size, &p);
        if (r < 0)
                return r;
        *s = (StateReader) { .map = p, .size = size };
        memcpy(&t, s->map + size - sizeof(t), sizeof(t));
        if (t.magic != STATE_MAGIC || t.document > size || t.length > size - t.document || t.length > INT32_MAX)
                goto bad;
        json_tokener *tok = json_tokener_new_ex(STATE_DEPTH_MAX);
        if (tok) {
                s->root = json_tokener_parse_ex(tok, (const char *) s->map + t.document, (int) t.length);
                json_tokener_free(tok);
        }
        if (json_object_is_type(s->root, json_type_object))
                return 0;
bad:
        state_reader_done(s);
        return -EBADMSG;
}

void state_reader_done(StateReader *s) {
        json_object_put(s->root);
        if (s->map)
                (void) munmap(s->map, s->size);
        *s = (StateReader) {};
}

json_object *state_get_object(const json_object *o, const char *key) {
        json_object *v;

        return o && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

int64_t state_get_int(const json_object *o, const char *key) {
        return json_object_get_int64(state_get_object(o, key));
}

const char *state_get_text(const json_object *o, const char *key) {
        json_object *v = state_get_object(o, key);

        return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

bool state_get_bytes(const StateReader *s, const json_object *o, const char *key, const uint8_t **ret, size_t *ret_size) {
        json_object *v = state_get_object(o, key);

        if (!json_object_is_type(v, json_type_array) || json_object_array_length(v) != 2)
                return false;
        uint64_t at = json_object_get_uint64(json_object_array_get_idx(v, 0)), size = json_object_get_uint64(json_object_array_get_idx(v, 1));
        if (at > s->size || size > s->size - at)
                return false;
        *ret = s->map + at;
        *ret_size = size;
        return true;
}

int state_get_fd(const json_object *o, const char *key) {
        json_object *v = state_get_object(o, key);

        if (!json_object_is_type(v, json_type_int))
                return -1;
        int fd = json_object_get_int(v);
        return fd_set_cloexec(fd, true) < 0 ? -1 : fd;
}

Blob *state_get_blob(const StateReader *s, const json_object *o, const char *key) {
        const uint8_t *data;
        size_t size;
        struct stat st;

        if (state_get_bytes(s, o, key, &data, &size))
                return blob_new_copy(data, size);
        int fd = state_get_fd(o, key);
        if (fd < 0 || fstat(fd, &st) < 0)
                return NULL;
        return blob_new_memfd(fd, (size_t) st.st_size);
}
