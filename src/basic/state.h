/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The state that one process image hands to the next: a JSON document, byte strings beside it, and descriptors that stay open. */

#include <json-c/json.h> /* struct json_object */

#include "basic/blob.h"

#define STATE_SIZE_MAX (4ULL << 30) /* bytes of state that are taken over */

typedef struct StateWriter {
        int fd;            /* the memfd */
        uint64_t size;     /* bytes of byte strings written so far */
        int *passed;       /* descriptors whose CLOEXEC flag was cleared */
        size_t n_passed;
        int error;         /* the first failure; everything after it is void */
} StateWriter;

int state_writer_init(StateWriter *w);
/* Puts the flag back on all descriptors (the hand-over failed) and closes the memfd. */
void state_writer_done(StateWriter *w);
/* Adds a member; NULL strings and blobs are left out. */
void state_put_int(StateWriter *w, json_object *o, const char *key, int64_t v);
void state_put_text(StateWriter *w, json_object *o, const char *key, const char *text);
void state_put_bytes(StateWriter *w, json_object *o, const char *key, const void *data, size_t size);
void state_put_blob(StateWriter *w, json_object *o, const char *key, Blob *b); /* a memfd is passed on as a descriptor */
void state_put_fd(StateWriter *w, json_object *o, const char *key, int fd);    /* -1 is left out */
void state_put_object(StateWriter *w, json_object *o, const char *key, json_object *value); /* takes it over */
/* Ends the document, seals the memfd. Returns the memfd without CLOEXEC (still owned by the writer), or -errno. */
int state_writer_finish(StateWriter *w, json_object *root);

typedef struct StateReader {
        json_object *root;
        uint8_t *map;
        uint64_t size;     /* of the map */
} StateReader;

/* Takes over the memfd, which is closed. Returns 0 or -errno (-EBADMSG for what is no state). */
int state_reader_init(StateReader *s, int fd);
void state_reader_done(StateReader *s);
/* Each returns the member, or the neutral value (0, NULL, -1) where there is none. */
int64_t state_get_int(const json_object *o, const char *key);
const char *state_get_text(const json_object *o, const char *key);
bool state_get_bytes(const StateReader *s, const json_object *o, const char *key, const uint8_t **ret, size_t *ret_size);
Blob *state_get_blob(const StateReader *s, const json_object *o, const char *key);
int state_get_fd(const json_object *o, const char *key); /* with CLOEXEC set again */
json_object *state_get_object(const json_object *o, const char *key);
