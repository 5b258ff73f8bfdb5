/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Compression of what is stored: payloads, results, cache bodies. Zstandard with dictionaries learnt from the documents themselves, gzip for those who ask. */

#include "basic/macro.h"
#include "proto/frame.h"

/* They stand on disk and on the wire (FRAME_META_ENCODING): none is ever given another meaning. */
typedef enum Encoding {
        ENCODING_IDENTITY = 0,
        ENCODING_ZSTD = 1,
        ENCODING_GZIP = 2,
        _ENCODING_MAX,
} Encoding;

#define STORE_GAIN_MIN 10U      /* percent that compression must save */
#define STORE_GAIN_BYTES_MIN 16U /* and bytes */

#define CODEC_LEVEL_MIN 1
/* Above it zstd's optimal parser begins: many times slower, and in zstd 1.5.0 to 1.5.4 it could, very rarely, write wrong data. */
#define CODEC_LEVEL_MAX 10
#define CODEC_GZIP_LEVEL 6
#define CODEC_RAW_MAX FRAME_BODY_MAX           /* what is larger is never compressed */
#define CODEC_TRANSCODE_MIN 4096U              /* bytes that are worth another encoding than they are stored in */
#define CODEC_CONTEXTS_KEPT 4U                 /* contexts that wait for the next caller */
#define CODEC_CONTEXT_BYTES_KEPT (8U << 20)    /* one that grew above it is not kept */

#define CODEC_METHOD_LENGTH_MAX 128U           /* a longer method gets no dictionary */
#define CODEC_METHODS_MAX 64U                  /* methods for which samples are collected; the one not seen for longest gives way */
#define CODEC_SAMPLE_MIN 64U                   /* bytes of a document that is worth learning from */
#define CODEC_SAMPLE_MAX (4U << 10)            /* of a larger one its beginning is learnt: that is where a dictionary helps */
#define CODEC_SAMPLES_MAX 1024U                /* per method */
#define CODEC_SAMPLES_MIN 128U                 /* enough to train */
#define CODEC_SAMPLES_BYTES_MAX (512U << 10)   /* per method */
#define CODEC_SAMPLES_BYTES_MIN (128U << 10)   /* enough to train, unless there are CODEC_SAMPLES_MAX already */
#define CODEC_SAMPLES_TOTAL_MAX (16U << 20)    /* bytes of all methods; beyond, the samples of the one not seen for longest are dropped */
#define CODEC_HELD_OUT 4U                      /* one in so many samples is not learnt from: it judges */
#define CODEC_DICTIONARY_MIN 1024U             /* bytes of a dictionary */
#define CODEC_DICTIONARY_MAX (32U << 10)
#define CODEC_DICTIONARY_SHARE 4U              /* and at most one part in so many of what it is learnt from */
#define CODEC_DICTIONARY_GAIN_MIN 10U          /* percent that it must save on held-out samples, against what is in use */
#define CODEC_DICTIONARIES_MAX 256U            /* when there are as many, nothing is trained */
#define CODEC_DOCUMENT_MAX (64U << 10)         /* bytes of a document up to which a dictionary is used; at this size it still saves a tenth */
#define CODEC_RETRAIN_AFTER 8192U              /* documents until a method is learnt anew; twice as many each time */
#define CODEC_RETRAIN_DOUBLINGS 16U

/* One Codec serves all threads at once. What is shared: a mutex over its lists, held for look-ups and for the copy of a sample, never
 * while anything is compressed, decompressed or trained (but for the first use of a dictionary, which prepares it: some 0.2 ms);
 * contexts, of which each call takes one for itself; dictionaries, which do not change and are counted (atomically).
 * Only codec_free(), codec_set_trained() and codec_start_trainer() want the caller to be alone. */
typedef struct Codec Codec;

/* A dictionary has been trained, and is good. It is not in use yet: its owner stores it under an id above 0 and above those before it,
 * and calls codec_add_dictionary() once that is committed, so that nothing ever refers to a dictionary that a power cut took away.
 * Called in the thread that trains, with nothing locked; method and body are the codec's. */
typedef void (*CodecTrained)(const char *method, const void *body, size_t size, void *userdata);

/* A level outside of the limits above is taken as the nearest. Returns 0 or -ENOMEM. */
int codec_new(int level, Codec **ret);
Codec *codec_free(Codec *c);
DEFINE_CLEANUP(Codec *, codec_free);

/* Another level, from the next call on; dictionaries that are in use keep the one that they were prepared for. */
void codec_set_level(Codec *c, int level);

/* Compresses with the method's dictionary, if there is one; the method may be NULL. Where nothing is gained *ret_encoding is ENCODING_IDENTITY,
 * *ret is NULL and *ret_size is `size`: the caller stores what it has. Else *ret is the caller's to free. *ret_dictionary is 0 without dictionary.
 * Returns 0, or -ENOMEM. */
int codec_compress(Codec *c, const char *method, const void *data, size_t size, Encoding *ret_encoding, uint64_t *ret_dictionary,
                   void **ret, size_t *ret_size);

/* Gives the raw_size bytes back that were encoded as `data`; *ret is the caller's to free, and never NULL.
 * Nothing is allocated before raw_size agrees with what the encoded data says of itself, and is possible for its size.
 * Returns 0; -EBADMSG where the data is damaged, is not of that encoding and size, or the dictionary is unknown; -ENOMEM. */
int codec_decompress(Codec *c, Encoding e, uint64_t dictionary, const void *data, size_t size, size_t raw_size, void **ret);
/* The same two steps apart, for a caller that has a place for the bytes: check, then room for raw_size bytes, then this. */
int codec_check(Encoding e, const void *data, size_t size, size_t raw_size);
int codec_decompress_into(Codec *c, Encoding e, uint64_t dictionary, const void *data, size_t size, void *buf, size_t raw_size);

/* Another encoding of the same bytes, never with a dictionary: for the wire. Where the data already is that, *ret is NULL and *ret_size is `size`.
 * `to` is what comes out even where it is larger than the raw bytes. Returns as codec_decompress(). */
int codec_transcode(Codec *c, Encoding from, uint64_t dictionary, const void *data, size_t size, size_t raw_size, Encoding to,
                    void **ret, size_t *ret_size);

/* The same for a client that takes the encodings `accept` (1 << Encoding each): compressed bytes as they are (*ret is NULL), or anew where that is worth it.
 * Returns 1, or 0 where it is to have plain ones; or as codec_transcode(). */
int codec_transcode_accepted(Codec *c, unsigned accept, Encoding from, uint64_t dictionary, const void *data, size_t size, size_t raw_size,
                             Encoding *ret_encoding, void **ret, size_t *ret_size);

const char *encoding_to_string(Encoding e);   /* "identity", "zstd", "gzip"; NULL where unknown */
int encoding_from_string(const char *s);      /* -EINVAL */

/* To whom new dictionaries are given. Without it no samples are kept. */
void codec_set_trained(Codec *c, CodecTrained trained, void *userdata);
/* Starts the thread that trains whenever there are enough samples; codec_free() ends it, and waits for a training that is under way.
 * A training takes 0.03 to 0.1 s of one CPU, a hundred commits' time, so it is not for the thread that commits. Its priority is like any
 * other's: a thread of the idle class that holds a mutex can keep it from the others for as long as the machine is busy.
 * Returns 0, -ENOMEM, -EAGAIN. */
int codec_start_trainer(Codec *c);
/* A document that is stored: some are kept to learn from (the limits above). Costs a copy at most; a lack of memory is no error here. */
void codec_sample(Codec *c, const char *method, const void *data, size_t size);
/* Trains one method for which there are enough samples, and hands the dictionary over where it is worth it: what the thread does, for
 * those that have none. One caller at a time. Returns 1 when it has trained, with whatever outcome, 0 when nothing was due, -ENOMEM. */
int codec_train_one(Codec *c);
/* A stored dictionary, copied. The method's one with the highest id is used to compress, all to decompress.
 * Returns 0, -EBADMSG where it is none that zstd takes, -EEXIST for an id that is there already, -ENOMEM. */
int codec_add_dictionary(Codec *c, uint64_t id, const char *method, const void *body, size_t size);
bool codec_has_dictionary(Codec *c, uint64_t id);
/* How many there are. */
size_t codec_dictionaries(Codec *c);
