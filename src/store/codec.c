/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Compression of what is stored. zstd at a low level costs less than the disk does, and a dictionary makes it worth while for the
 * small documents that jobs mostly are: alone, a document of 1 KiB is too short to refer back to itself.
 *
 * A frame carries its content size, which is checked before anything is allocated, and a checksum, because SQLite has none of its own:
 * a page that rotted is found here. It carries no dictionary id: the row that holds it says that, and four bytes are some percent
 * of a small document; the checksum also catches a wrong dictionary.
 *
 * Contexts are made when there is none idle, and a few are kept: making one costs more than compressing a small document.
 */

#include <errno.h>
#include <zstd_errors.h>

#include "basic/str.h"
#include "store/codec-internal.h"

#define ZSTD_BLOCK_RAW_MAX (128U << 10) /* bytes that one block stands for */
#define ZSTD_BLOCK_MIN 4U               /* and the least that it takes */
#define GZIP_RATIO_MAX 1032U            /* deflate cannot do better */
#define GZIP_SIZE_MIN 18U               /* header and trailer */
#define GZIP_WINDOW (MAX_WBITS + 16)    /* zlib: with gzip's header */
#define GZIP_MEMORY 8

static const char *const encoding_names[_ENCODING_MAX] = {
        [ENCODING_IDENTITY] = "identity",
        [ENCODING_ZSTD] = "zstd",
        [ENCODING_GZIP] = "gzip",
};

const char *encoding_to_string(Encoding e) {
        return (unsigned) e < _ENCODING_MAX ? encoding_names[e] : NULL;
}

int encoding_from_string(const char *s) {
        for (int e = 0; e < _ENCODING_MAX; e++)
                if (streq(s, encoding_names[e]))
                        return e;
        return -EINVAL;
}

static Context *context_free(Context *x) {
        if (!x)
                return NULL;
        ZSTD_freeCCtx(x->c);
        ZSTD_freeDCtx(x->d);
        if (x->has_deflate)
                (void) deflateEnd(&x->deflate);
        if (x->has_inflate)
                (void) inflateEnd(&x->inflate);
        free(x);
        return NULL;
}

/* An idle context or a new one; NULL when out of memory. */
static Context *context_take(Codec *c) {
        Context *x;

        pthread_mutex_lock(&c->mutex);
        x = list_first_entry(&c->contexts, Context, link);
        if (x) {
                list_remove(&x->link);
                c->n_contexts--;
        }
        pthread_mutex_unlock(&c->mutex);
        return x ? x : new0(Context, 1);
}

static void context_give(Codec *c, Context *x) {
        if (!x)
                return;
        if (x->c && ZSTD_sizeof_CCtx(x->c) > CODEC_CONTEXT_BYTES_KEPT) {
                context_free(x);
                return;
        }
        if (x->c)
                (void) ZSTD_CCtx_reset(x->c, ZSTD_reset_session_and_parameters); /* it may outlive the dictionary */
        pthread_mutex_lock(&c->mutex);
        if (c->n_contexts < CODEC_CONTEXTS_KEPT) {
                list_prepend(&c->contexts, &x->link);
                c->n_contexts++;
                x = NULL;
        }
        pthread_mutex_unlock(&c->mutex);
        context_free(x);
}

void codec_set_level(Codec *c, int level) {
        atomic_store(&c->level, MIN(MAX(level, CODEC_LEVEL_MIN), CODEC_LEVEL_MAX));
}

int codec_new(int level, Codec **ret) {
        Codec *c = new0(Codec, 1);

        if (!c)
                return -ENOMEM;
        if (pthread_mutex_init(&c->mutex, NULL) != 0) {
                free(c);
                return -ENOMEM;
        }
        if (pthread_cond_init(&c->due, NULL) != 0) {
                pthread_mutex_destroy(&c->mutex);
                free(c);
                return -ENOMEM;
        }
        codec_set_level(c, level);
        list_init(&c->contexts);
        list_init(&c->methods);
        map_init(&c->dictionaries, 0);
        map_init(&c->by_name, random_u64());
        *ret = c;
        return 0;
}

Codec *codec_free(Codec *c) {
        Context *x;

        if (!c)
                return NULL;
        codec_dictionaries_stop(c);
        while ((x = list_first_entry(&c->contexts, Context, link))) {
                list_remove(&x->link);
                context_free(x);
        }
        codec_dictionaries_done(c);
        pthread_cond_destroy(&c->due);
        pthread_mutex_destroy(&c->mutex);
        free(c);
        return NULL;
}

int zstd_compress(ZSTD_CCtx *context, int level, const ZSTD_CDict *dictionary, const void *data, size_t size, void *buf, size_t room,
                  size_t *ret_size) {
        size_t n;

        /* cannot fail: the context is between two frames, and the values are in range */
        (void) ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
        (void) ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
        (void) ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
        (void) ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1);
        (void) ZSTD_CCtx_setParameter(context, ZSTD_c_dictIDFlag, 0);
        (void) ZSTD_CCtx_refCDict(context, dictionary);
        n = ZSTD_compress2(context, buf, room, data, size);
        if (ZSTD_isError(n))
                switch (ZSTD_getErrorCode(n)) {
                case ZSTD_error_dstSize_tooSmall:
                        return 0;
                case ZSTD_error_memory_allocation:
                        return -ENOMEM;
                default:
                        return -EIO;
                }
        *ret_size = n;
        return 1;
}

/* zstd with a context of the codec's. Returns as zstd_compress(). */
static int codec_zstd(Codec *c, const ZSTD_CDict *dictionary, const void *data, size_t size, void *buf, size_t room, size_t *ret_size) {
        Context *x = context_take(c);
        int r = -ENOMEM;

        if (x && !x->c)
                x->c = ZSTD_createCCtx();
        if (x && x->c)
                r = zstd_compress(x->c, atomic_load(&c->level), dictionary, data, size, buf, room, ret_size);
        context_give(c, x);
        return r;
}

/* Gives back what a buffer has too much. */
static void *shrink(void *buf, size_t size) {
        void *p = realloc(buf, MAX(size, (size_t) 1));

        return p ? p : buf;
}

int codec_compress(Codec *c, const char *method, const void *data, size_t size, Encoding *ret_encoding, uint64_t *ret_dictionary,
                   void **ret, size_t *ret_size) {
        _cleanup_(dictionary_unrefp) Dictionary *d = NULL;
        _cleanup_free_ void *buf = NULL;
        size_t gain = MAX(size / 100 * STORE_GAIN_MIN + size % 100 * STORE_GAIN_MIN / 100, (size_t) STORE_GAIN_BYTES_MIN), n = 0;
        int r = 0;

        if (size > gain && size <= CODEC_RAW_MAX) {
                if (method && size <= CODEC_DOCUMENT_MAX) {
                        r = dictionary_for_method(c, method, &d);
                        if (r < 0)
                                return r;
                }
                /* what does not fit into this is not worth it, and zstd stops there */
                buf = malloc(size - gain);
                if (!buf)
                        return -ENOMEM;
                r = codec_zstd(c, d ? d->cdict : NULL, data, size, buf, size - gain, &n);
                if (r < 0)
                        return r;
        }
        *ret_encoding = r > 0 ? ENCODING_ZSTD : ENCODING_IDENTITY;
        *ret_dictionary = r > 0 && d ? d->by_id.hash : 0;
        *ret_size = r > 0 ? n : size;
        *ret = r > 0 ? shrink(TAKE_PTR(buf), n) : NULL;
        return 0;
}

static uint32_t read_le32(const uint8_t *p) {
        return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

int codec_check(Encoding e, const void *data, size_t size, size_t raw_size) {
        switch (e) {
        case ENCODING_IDENTITY:
                return size == raw_size ? 0 : -EBADMSG;
        case ENCODING_ZSTD:
                if (raw_size > CODEC_RAW_MAX || size > CODEC_RAW_MAX || raw_size / ZSTD_BLOCK_RAW_MAX > size / ZSTD_BLOCK_MIN)
                        return -EBADMSG;
                /* unknown and invalid are the two largest numbers; the second test finds a cut frame, and whatever follows it */
                if (ZSTD_getFrameContentSize(data, size) != raw_size || ZSTD_findFrameCompressedSize(data, size) != size)
                        return -EBADMSG;
                return 0;
        case ENCODING_GZIP:
                if (raw_size > CODEC_RAW_MAX || size > CODEC_RAW_MAX || size < GZIP_SIZE_MIN || raw_size / GZIP_RATIO_MAX > size)
                        return -EBADMSG;
                return read_le32((const uint8_t *) data + size - 4) == raw_size ? 0 : -EBADMSG;
        default:
                return -EBADMSG;
        }
}

static int zstd_decompress(Context *x, const Dictionary *d, const void *data, size_t size, void *buf, size_t raw_size) {
        size_t n;

        if (!x->d)
                x->d = ZSTD_createDCtx();
        if (!x->d)
                return -ENOMEM;
        if (d)
                n = ZSTD_decompress_usingDDict(x->d, buf, raw_size, data, size, d->ddict);
        else
                n = ZSTD_decompressDCtx(x->d, buf, raw_size, data, size);
        if (ZSTD_isError(n))
                return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
        return n == raw_size ? 0 : -EBADMSG;
}

static int gzip_decompress(Context *x, const void *data, size_t size, void *buf, size_t raw_size) {
        uint8_t nothing;
        int r;

        if (!x->has_inflate) {
                if (inflateInit2(&x->inflate, GZIP_WINDOW) != Z_OK)
                        return -ENOMEM;
                x->has_inflate = true;
        } else
                (void) inflateReset(&x->inflate);
        x->inflate.next_in = (Bytef *) (uintptr_t) data;
        x->inflate.avail_in = (uInt) size;
        x->inflate.next_out = raw_size > 0 ? buf : &nothing; /* zlib takes no NULL */
        x->inflate.avail_out = (uInt) raw_size;
        r = inflate(&x->inflate, Z_FINISH);
        if (r == Z_MEM_ERROR)
                return -ENOMEM;
        return r == Z_STREAM_END && x->inflate.avail_in == 0 && x->inflate.avail_out == 0 ? 0 : -EBADMSG;
}

int codec_decompress_into(Codec *c, Encoding e, uint64_t dictionary, const void *data, size_t size, void *buf, size_t raw_size) {
        _cleanup_(dictionary_unrefp) Dictionary *d = NULL;
        Context *x;
        int r;

        r = codec_check(e, data, size, raw_size);
        if (r < 0)
                return r;
        if (dictionary != 0) {
                if (e != ENCODING_ZSTD)
                        return -EBADMSG;
                r = dictionary_for_id(c, dictionary, &d);
                if (r < 0)
                        return r;
        }
        if (e == ENCODING_IDENTITY) {
                if (size > 0)
                        memcpy(buf, data, size);
                return 0;
        }
        x = context_take(c);
        if (!x)
                return -ENOMEM;
        r = e == ENCODING_ZSTD ? zstd_decompress(x, d, data, size, buf, raw_size) : gzip_decompress(x, data, size, buf, raw_size);
        context_give(c, x);
        return r;
}

int codec_decompress(Codec *c, Encoding e, uint64_t dictionary, const void *data, size_t size, size_t raw_size, void **ret) {
        _cleanup_free_ void *buf = NULL;
        int r;

        r = codec_check(e, data, size, raw_size);
        if (r < 0)
                return r;
        buf = malloc(MAX(raw_size, (size_t) 1));
        if (!buf)
                return -ENOMEM;
        r = codec_decompress_into(c, e, dictionary, data, size, buf, raw_size);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(buf);
        return 0;
}

static int gzip_compress(Context *x, const void *data, size_t size, void **ret, size_t *ret_size) {
        _cleanup_free_ void *buf = NULL;
        uint8_t nothing = 0;
        size_t room;

        if (!x->has_deflate) {
                if (deflateInit2(&x->deflate, CODEC_GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
                        return -ENOMEM;
                x->has_deflate = true;
        } else
                (void) deflateReset(&x->deflate);
        room = deflateBound(&x->deflate, size);
        buf = malloc(room);
        if (!buf)
                return -ENOMEM;
        x->deflate.next_in = size > 0 ? (Bytef *) (uintptr_t) data : &nothing;
        x->deflate.avail_in = (uInt) size;
        x->deflate.next_out = buf;
        x->deflate.avail_out = (uInt) room;
        if (deflate(&x->deflate, Z_FINISH) != Z_STREAM_END)
                return -EIO;
        *ret_size = room - x->deflate.avail_out;
        *ret = shrink(TAKE_PTR(buf), *ret_size);
        return 0;
}

/* Raw bytes into an encoding. Returns 0, -ENOMEM, -EIO. */
static int encode(Codec *c, Encoding to, const void *data, size_t size, void **ret, size_t *ret_size) {
        _cleanup_free_ void *buf = NULL;
        int r;

        if (to == ENCODING_GZIP) {
                Context *x = context_take(c);

                r = x ? gzip_compress(x, data, size, ret, ret_size) : -ENOMEM;
                context_give(c, x);
                return r;
        }
        size_t room = ZSTD_compressBound(size);
        buf = malloc(room);
        if (!buf)
                return -ENOMEM;
        r = codec_zstd(c, NULL, data, size, buf, room, ret_size);
        if (r <= 0)
                return r < 0 ? r : -EIO;
        *ret = shrink(TAKE_PTR(buf), *ret_size);
        return 0;
}

int codec_transcode(Codec *c, Encoding from, uint64_t dictionary, const void *data, size_t size, size_t raw_size, Encoding to,
                    void **ret, size_t *ret_size) {
        _cleanup_free_ void *raw = NULL;
        int r;

        if ((unsigned) to >= _ENCODING_MAX || raw_size > CODEC_RAW_MAX)
                return -EBADMSG;
        if (from == to && dictionary == 0) {
                r = codec_check(from, data, size, raw_size);
                if (r < 0)
                        return r;
                *ret_size = size;
                *ret = NULL;
                return 0;
        }
        if (from == ENCODING_IDENTITY) {
                r = codec_check(from, data, size, raw_size);
                if (r < 0)
                        return r;
                if (dictionary != 0)
                        return -EBADMSG;
                return encode(c, to, data, size, ret, ret_size);
        }
        r = codec_decompress(c, from, dictionary, data, size, raw_size, &raw);
        if (r < 0)
                return r;
        if (to != ENCODING_IDENTITY)
                return encode(c, to, raw, raw_size, ret, ret_size);
        *ret_size = raw_size;
        *ret = TAKE_PTR(raw);
        return 0;
}

int codec_transcode_accepted(Codec *c, unsigned accept, Encoding from, uint64_t dictionary, const void *data, size_t size, size_t raw_size,
                             Encoding *ret_encoding, void **ret, size_t *ret_size) {
        Encoding to = from;

        if (from == ENCODING_IDENTITY) /* as it was not worth compressing for the disk */
                return 0;
        if (dictionary != 0 || !(accept & 1U << from)) {
                if (raw_size < CODEC_TRANSCODE_MIN)
                        return 0;
                to = accept & 1U << ENCODING_ZSTD ? ENCODING_ZSTD : accept & 1U << ENCODING_GZIP ? ENCODING_GZIP : ENCODING_IDENTITY;
        }
        if (to == ENCODING_IDENTITY)
                return 0;
        int r = codec_transcode(c, from, dictionary, data, size, raw_size, to, ret, ret_size);
        if (r < 0)
                return r;
        *ret_encoding = to;
        return 1;
}
