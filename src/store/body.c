/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Payloads and results. A small one stands in its job's row; a larger one in `bodies`, so that a change of the row's state does not write it
 * again. Beside it stand how it is encoded, how many bytes it takes, and a CRC-32 of those bytes and of the columns that say what they are
 * (which job's, how large, of what kind): a bit that the disk has turned, or a body that strayed to another job, is damage and never a result.
 *
 * The loop counts a blob's references without locks, so nothing here touches one that the loop knows: where its bytes are was noted when the
 * request was queued, and a memfd is mapped once more.
 */

#include <errno.h>
#include <sys/mman.h>
#include <zlib.h>

#include "basic/fd.h"
#include "store/internal.h"

enum { COLUMN_ENCODING, COLUMN_DICTIONARY, COLUMN_STORED, COLUMN_SUM, COLUMN_BODY };

void body_done(Body *b) {
        if (b->map)
                (void) munmap(b->map, b->map_size);
        free(b->own);
        *b = (Body) {};
}

static uint64_t raw_size(const JobRecord *job, BodyPart part) {
        return part == BODY_PAYLOAD ? job->payload_size : job->result_size;
}

static uint32_t sum_text(uint32_t sum, const char *text) {
        return (uint32_t) crc32_z(sum, (const uint8_t *) strempty(text), strlen(strempty(text)) + 1);
}

static uint32_t body_sum(const JobRecord *job, BodyPart part, const void *data, size_t size) {
        uint64_t head[4] = {
                job->id, raw_size(job, part), (uint64_t) job->uid << 8 | (part == BODY_PAYLOAD ? job->kind : job->result_kind), part,
        };
        uint8_t bytes[sizeof(head)];
        uint32_t sum;

        for (size_t i = 0; i < sizeof(bytes); i++) /* the same on every machine */
                bytes[i] = (uint8_t) (head[i / 8] >> (i % 8 * 8));
        sum = (uint32_t) crc32_z(0, bytes, sizeof(bytes));
        if (part == BODY_PAYLOAD) {
                sum = sum_text(sum, job->pool);
                sum = sum_text(sum, job->method);
        }
        return size > 0 ? (uint32_t) crc32_z(sum, data, size) : sum;
}

int body_encode(Db *db, const Request *q, const JobRecord *job, BodyPart part, Body *ret) {
        Body b = { .there = q->body, .data = q->data, .size = q->size };
        char buf[DICTIONARY_LABEL_MAX];
        const char *label;
        size_t stored;
        int r;

        if (!b.there) {
                *ret = b;
                return 0;
        }
        if (b.size > STORE_BODY_MAX)
                return -EFBIG;
        if (q->fd >= 0) {
                r = memfd_map(q->fd, q->size, &b.map);
                if (r < 0)
                        return r;
                b.data = b.map;
                b.map_size = q->size;
        }
        if (b.size > 0 && b.size >= db->compress_min) {
                label = dictionary_label(job->method, part, buf);
                if (label)
                        codec_sample(db->codec, label, b.data, b.size);
                r = codec_compress(db->codec, label, b.data, b.size, &b.encoding, &b.dictionary, &b.own, &stored);
                if (r >= 0 && b.dictionary > 0 && !dictionary_known(db, b.dictionary)) { /* learnt for a database that was replaced */
                        free(b.own);
                        b.own = NULL;
                        r = codec_compress(db->codec, NULL, b.data, b.size, &b.encoding, &b.dictionary, &b.own, &stored);
                }
                if (r < 0) {
                        body_done(&b);
                        return r;
                }
                if (b.own) {
                        b.data = b.own;
                        b.size = stored;
                }
        }
        b.sum = body_sum(job, part, b.data, b.size);
        if (part == BODY_PAYLOAD) {
                db->change.payload_bytes += q->size;
                db->change.payload_stored += b.size;
        } else {
                db->change.result_bytes += q->size;
                db->change.result_stored += b.size;
        }
        *ret = b;
        return 0;
}

static bool is_inline(const Body *b) {
        return b->size <= STORE_INLINE_MAX;
}

int body_bind(sqlite3_stmt *st, int column, const Body *b) {
        int code;

        if (!b->there) {
                for (int i = 0; i < BODY_COLUMNS; i++)
                        (void) sqlite3_bind_null(st, column + i);
                return SQLITE_OK;
        }
        (void) sqlite3_bind_int(st, column + COLUMN_ENCODING, (int) b->encoding);
        (void) sqlite3_bind_int64(st, column + COLUMN_DICTIONARY, (int64_t) b->dictionary);
        (void) sqlite3_bind_int64(st, column + COLUMN_STORED, (int64_t) b->size);
        (void) sqlite3_bind_int64(st, column + COLUMN_SUM, b->sum);
        if (!is_inline(b))
                code = sqlite3_bind_null(st, column + COLUMN_BODY);
        else if (b->size == 0)
                code = sqlite3_bind_zeroblob(st, column + COLUMN_BODY, 0);
        else
                code = sqlite3_bind_blob64(st, column + COLUMN_BODY, b->data, b->size, SQLITE_STATIC);
        return code;
}

int body_store(Db *db, uint64_t id, BodyPart part, const Body *b) {
        sqlite3_stmt *st;
        int code;

        if (!b->there || is_inline(b))
                return 0;
        st = db_statement(db, STATEMENT_BODY_ADD);
        (void) sqlite3_bind_int64(st, 1, body_id(id, part));
        code = sqlite3_bind_blob64(st, 2, b->data, b->size, SQLITE_STATIC);
        if (code != SQLITE_OK)
                return db_fail(db, code, "writing a body");
        return db_run(db, st, "writing a body");
}

int body_delete(Db *db, uint64_t id, BodyPart part) {
        sqlite3_stmt *st = db_statement(db, STATEMENT_BODY_DELETE);

        (void) sqlite3_bind_int64(st, 1, body_id(id, part));
        return db_run(db, st, "deleting a body");
}

bool body_valid(sqlite3_stmt *st, int column, const JobRecord *job, BodyPart part, const void *data, size_t size) {
        int64_t encoding = sqlite3_column_int64(st, column + COLUMN_ENCODING);

        return encoding >= 0 && encoding < _ENCODING_MAX && (data || size == 0) && (uint64_t) sqlite3_column_int64(st, column + COLUMN_STORED) == size &&
                (encoding != ENCODING_IDENTITY || size == raw_size(job, part)) &&
                sqlite3_column_int64(st, column + COLUMN_SUM) == (int64_t) body_sum(job, part, data, size);
}

/* The bytes that were stored became those that were given. */
static int decode(Db *db, sqlite3_stmt *st, int column, const JobRecord *job, BodyPart part, unsigned accept, const void *data, size_t size,
                  Encoding *ret_encoding, Blob **ret) {
        char id[JOB_ID_TEXT_MAX];
        _cleanup_free_ void *raw = NULL;
        Encoding e = (Encoding) sqlite3_column_int(st, column + COLUMN_ENCODING);
        uint64_t dictionary = (uint64_t) sqlite3_column_int64(st, column + COLUMN_DICTIONARY);
        size_t wanted = (size_t) raw_size(job, part), encoded = size;
        Encoding to = ENCODING_IDENTITY;
        int r = 0;

        if (!body_valid(st, column, job, part, data, size))
                r = -EBADMSG;
        else if (dictionary > 0 && !codec_has_dictionary(db->codec, dictionary))
                return 0; /* its dictionary was lost to damage, and it with that: no further salvage would help */
        else if (e != ENCODING_IDENTITY) {
                r = codec_transcode_accepted(db->codec, accept, e, dictionary, data, size, wanted, &to, &raw, &encoded);
                if (r == 0)
                        r = codec_decompress(db->codec, e, dictionary, data, size, wanted, &raw);
        }
        if (r == -EBADMSG)
                return db_damaged(db, "the %s of job %s is not what was stored", part == BODY_PAYLOAD ? "payload" : "result", job_id_format(job->id, id));
        if (r < 0)
                return r;
        *ret_encoding = to;
        *ret = blob_new_copy(raw ? raw : data, to == ENCODING_IDENTITY ? wanted : encoded);
        return *ret ? 0 : -ENOMEM;
}

int body_read(Db *db, sqlite3_stmt *st, int column, const JobRecord *job, BodyPart part, Blob **ret) {
        Encoding e;

        return body_read_accepted(db, st, column, job, part, 0, &e, ret);
}

int body_read_accepted(Db *db, sqlite3_stmt *st, int column, const JobRecord *job, BodyPart part, unsigned accept, Encoding *ret_encoding, Blob **ret) {
        sqlite3_stmt *body;
        char id[JOB_ID_TEXT_MAX];
        int r, code;

        *ret = NULL;
        if (sqlite3_column_type(st, column + COLUMN_ENCODING) == SQLITE_NULL)
                return 0;
        if (sqlite3_column_type(st, column + COLUMN_BODY) != SQLITE_NULL) {
                const void *data = sqlite3_column_blob(st, column + COLUMN_BODY);

                return decode(db, st, column, job, part, accept, data, (size_t) sqlite3_column_bytes(st, column + COLUMN_BODY), ret_encoding, ret);
        }
        body = db_statement(db, STATEMENT_BODY_GET);
        (void) sqlite3_bind_int64(body, 1, body_id(job->id, part));
        code = sqlite3_step(body);
        if (code == SQLITE_ROW) {
                const void *data = sqlite3_column_blob(body, 0);

                if (!data) /* none is empty, so there was no memory for it */
                        r = -ENOMEM;
                else
                        r = decode(db, st, column, job, part, accept, data, (size_t) sqlite3_column_bytes(body, 0), ret_encoding, ret);
        } else if (code == SQLITE_DONE)
                r = db_damaged(db, "the %s of job %s is missing", part == BODY_PAYLOAD ? "payload" : "result", job_id_format(job->id, id));
        else
                r = db_fail(db, code, "reading a body");
        (void) sqlite3_reset(body);
        return r;
}
