/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What codec.c and codec-dictionary.c know of each other. */

#include <pthread.h>
#include <stdatomic.h>
#include <zlib.h>
#include <zstd.h>

#include "basic/list.h"
#include "basic/map.h"
#include "store/codec.h"

/* Never changes once it can be found, but for the two prepared forms, which are made at the first use under the codec's mutex, and then stay. */
typedef struct Dictionary {
        atomic_uint n_ref;
        MapNode by_id;
        ZSTD_CDict *cdict;
        ZSTD_DDict *ddict;
        size_t size;
        uint8_t body[];
} Dictionary;

/* A method that has samples or a dictionary. */
typedef struct Method {
        MapNode by_name;
        List link;           /* in Codec.methods, the one seen last first */
        Dictionary *current; /* a reference */
        uint64_t current_id;
        uint64_t seen, next; /* documents; samples are kept from the `next`th on */
        unsigned trained;
        bool training;
        uint8_t *samples;    /* one behind the other */
        size_t *sizes;       /* room for CODEC_SAMPLES_MAX, as long as there are samples */
        size_t n, bytes, room;
        char name[];
} Method;

/* What one call needs for itself. */
typedef struct Context {
        List link;
        ZSTD_CCtx *c;
        ZSTD_DCtx *d;
        z_stream deflate, inflate;
        bool has_deflate, has_inflate;
} Context;

struct Codec {
        atomic_int level;
        pthread_mutex_t mutex;
        List contexts; /* idle ones */
        size_t n_contexts;
        Map dictionaries; /* by id; each is a reference */
        Map by_name;
        List methods;
        size_t n_methods, n_current; /* all, and those that have a dictionary */
        size_t sample_room;           /* bytes that all samples take */
        CodecTrained trained;
        void *userdata;
        pthread_t trainer;
        pthread_cond_t due; /* with the mutex: there is something to train, or an end to it */
        bool has_trainer, stopping;
};

/* A reference to a dictionary, prepared for its use, or NULL. Returns 0, -EBADMSG for an unknown id, -ENOMEM. */
int dictionary_for_method(Codec *c, const char *method, Dictionary **ret);
int dictionary_for_id(Codec *c, uint64_t id, Dictionary **ret);
Dictionary *dictionary_unref(Dictionary *d);
DEFINE_CLEANUP(Dictionary *, dictionary_unref);

/* Ends the trainer. */
void codec_dictionaries_stop(Codec *c);
void codec_dictionaries_done(Codec *c);

/* zstd into a buffer of `room` bytes: checksum, content size, no dictionary id. Returns 1, 0 where it does not fit, -ENOMEM, -EIO. */
int zstd_compress(ZSTD_CCtx *context, int level, const ZSTD_CDict *dictionary, const void *data, size_t size, void *buf, size_t room,
                  size_t *ret_size);
