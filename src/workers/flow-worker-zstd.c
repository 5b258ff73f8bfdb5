/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Compresses each payload with zstd and tells how well that went, as JSON:
 *
 *      {"bytes":5120,"compressed":1733,"ratio":2.954,"level":3,"crc32":2774289532}
 *
 * crc32 is that of the payload, as zlib's and Python's crc32() compute it, so that anybody can check that each byte arrived.
 * A job's method may say the level ("7"), or ask for the compressed bytes themselves ("compress", or "compress:7").
 */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <zstd.h>

#include "basic/str.h"
#include "flow/worker.h"

#define LEVEL_DEFAULT 3U
#define LEVEL_MAX 19U
#define CHUNK (1024U * 1024U) /* compressed at a time: between two, we look whether the job is cancelled */

typedef struct Zstd {
        unsigned level;
        ZSTD_CCtx *context;
        char *output; /* of output_size bytes; grows */
        size_t output_size;
        uint32_t crc[8][256];
} Zstd;

/* Tables for eight bytes at a time: crc[k][b] is the effect of byte b that k more bytes follow. */
static void crc32_init(uint32_t crc[8][256]) {
        for (uint32_t b = 0; b < 256; b++) {
                uint32_t v = b;

                for (unsigned i = 0; i < 8; i++)
                        v = v & 1 ? v >> 1 ^ 0xedb88320U : v >> 1;
                crc[0][b] = v;
        }
        for (uint32_t b = 0; b < 256; b++)
                for (unsigned k = 1; k < 8; k++)
                        crc[k][b] = crc[k - 1][b] >> 8 ^ crc[0][crc[k - 1][b] & 0xff];
}

static uint32_t crc32_of(const uint32_t crc[8][256], const uint8_t *p, size_t size) {
        uint32_t v = UINT32_MAX;

        for (; size >= 8; p += 8, size -= 8) {
                v ^= (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
                v = crc[7][v & 0xff] ^ crc[6][v >> 8 & 0xff] ^ crc[5][v >> 16 & 0xff] ^ crc[4][v >> 24] ^
                    crc[3][p[4]] ^ crc[2][p[5]] ^ crc[1][p[6]] ^ crc[0][p[7]];
        }
        for (; size > 0; p++, size--)
                v = v >> 8 ^ crc[0][(v ^ *p) & 0xff];
        return ~v;
}

/* Compresses in pieces. Returns 0, -ECANCELED, -ENOMEM, -EIO. */
static int compress(Zstd *z, FlowJob *job, unsigned level, const uint8_t *data, size_t size, size_t *ret_size) {
        size_t bound = ZSTD_compressBound(size), at = 0, left;
        ZSTD_outBuffer out;

        if (bound > z->output_size) {
                free(z->output);
                z->output = malloc(bound);
                z->output_size = z->output ? bound : 0;
                if (!z->output)
                        return -ENOMEM;
        }
        out = (ZSTD_outBuffer) { .dst = z->output, .size = z->output_size };
        ZSTD_CCtx_reset(z->context, ZSTD_reset_session_and_parameters);
        ZSTD_CCtx_setParameter(z->context, ZSTD_c_compressionLevel, (int) level);
        ZSTD_CCtx_setPledgedSrcSize(z->context, size);
        do {
                size_t n = MIN(size - at, (size_t) CHUNK);
                ZSTD_inBuffer in = { .src = data + at, .size = n };
                ZSTD_EndDirective how = at + n == size ? ZSTD_e_end : ZSTD_e_continue;

                if (at > 0 && flow_job_cancelled(job))
                        return -ECANCELED;
                do {
                        left = ZSTD_compressStream2(z->context, &out, &in, how);
                        if (ZSTD_isError(left) || (out.pos == out.size && (in.pos < in.size || left > 0)))
                                return -EIO;
                } while (in.pos < in.size || (how == ZSTD_e_end && left > 0));
                at += n;
        } while (at < size);
        *ret_size = out.pos;
        return 0;
}

/* Reads "", "7", "compress", "compress:7". */
static int method_parse(const char *method, unsigned *level, bool *ret_bytes) {
        const char *s = strempty(method);
        uint64_t n;

        *ret_bytes = strncmp(s, "compress", 8) == 0;
        if (*ret_bytes)
                s += s[8] == ':' ? 9 : 8;
        if (!*s)
                return 0;
        if (u64_parse(s, 1, LEVEL_MAX, &n) < 0)
                return -EINVAL;
        *level = (unsigned) n;
        return 0;
}

static int handle(FlowJob *job, void *userdata) {
        Zstd *z = userdata;
        unsigned level = z->level;
        size_t size, compressed;
        char json[256];
        bool bytes;
        int r;

        const void *data = flow_job_data(job, &size);
        if (method_parse(flow_job_method(job), &level, &bytes) < 0)
                return flow_job_fail(job, "The method is neither a level from 1 to 19 nor \"compress\" or \"compress:LEVEL\"", false);
        r = compress(z, job, level, data, size, &compressed);
        if (r == -EIO)
                return flow_job_fail(job, "zstd cannot compress this", false);
        if (r < 0)
                return r;
        if (bytes)
                return flow_job_complete(job, FLOW_BYTES, z->output, compressed);
        int n = snprintf(json, sizeof(json), "{\"bytes\":%zu,\"compressed\":%zu,\"ratio\":%.3f,\"level\":%u,\"crc32\":%u}",
                         size, compressed, (double) size / (double) compressed, level, crc32_of(z->crc, data, size));
        return flow_job_complete(job, FLOW_JSON, json, (size_t) n);
}

static int usage(FILE *to) {
        fputs("flow-worker-zstd [OPTION...]\n\n"
              "A worker for flowd that compresses each payload and answers with its sizes, ratio and CRC-32, as JSON.\n"
              "flowd starts it, from a worker type with Protocol=frame. A job's method may be a level, \"compress\" for the\n"
              "compressed bytes themselves, or \"compress:LEVEL\".\n\n"
              "     --level=N      compress so hard, 1 to 19 (3)\n"
              "  -h --help         show this\n", to);
        return to == stderr ? 2 : EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "level", required_argument, NULL, 'l' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        unsigned level = LEVEL_DEFAULT;
        uint64_t n;
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'l':
                        if (u64_parse(optarg, 1, LEVEL_MAX, &n) < 0)
                                return usage(stderr);
                        level = (unsigned) n;
                        break;
                case 'h':
                        return usage(stdout);
                default:
                        return usage(stderr);
                }
        if (optind < argc)
                return usage(stderr);

        Zstd *z = new0(Zstd, 1);
        if (!z || !(z->context = ZSTD_createCCtx())) {
                fputs("flow-worker-zstd: out of memory\n", stderr);
                free(z);
                return EXIT_FAILURE;
        }
        z->level = level;
        crc32_init(z->crc);
        int r = flow_worker_run(handle, z, NULL);
        ZSTD_freeCCtx(z->context);
        free(z->output);
        free(z);
        return r;
}
