/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Compression of documents, one by one, as the store does it: how much smaller, and how fast there and back.
 *
 *      bench-codec --method=gzip|zstd|dictionary [--seconds=N] [--level=N] [--learn=FILE] FILE
 *
 * A NUL ends each document of a file (bench/documents makes such files). "dictionary" learns one from the documents of --learn=
 * through the codec's own sampling, with all of its limits and its judgement. Every document's way there and back is checked once.
 */

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "bench/bench.h"
#include "store/codec.h"

#define FILE_MAX_BYTES (256U << 20)
#define METHOD "document"
#define TURN_SECONDS_DEFAULT 0.3

typedef struct Document {
        const char *data;
        size_t size;
        void *stored; /* NULL: as it is */
        size_t stored_size;
        Encoding encoding;
        uint64_t dictionary;
} Document;

typedef struct Run {
        Codec *codec;
        bool gzip;
        bool has_dictionary;
        char *text;
        Document *documents;
        size_t n, raw, stored;
} Run;

/* Splits a file at its NULs. */
static void load(const char *path, char **ret_text, Document **ret, size_t *ret_n) {
        size_t size, n = 0;
        int r = file_read(AT_FDCWD, path, FILE_MAX_BYTES, ret_text, &size);

        if (r < 0)
                bench_die("%s: %s (make bench-documents fetches them)", path, strerror(-r));
        for (size_t i = 0; i < size; i++)
                n += (*ret_text)[i] == 0;
        if (n == 0)
                bench_die("%s has no documents", path);
        Document *d = new0(Document, n);
        if (!d)
                bench_die("out of memory");
        const char *p = *ret_text;
        for (size_t i = 0; i < n; i++) {
                d[i] = (Document) { .data = p, .size = strlen(p) };
                p += d[i].size + 1;
        }
        *ret = d;
        *ret_n = n;
}

static void on_trained(const char *method, const void *body, size_t size, void *userdata) {
        Run *run = userdata;

        if (codec_add_dictionary(run->codec, 1, method, body, size) < 0)
                bench_die("the codec does not take its own dictionary");
        run->has_dictionary = true;
}

/* Learns from the documents of a file. */
static void learn(Run *run, const char *path) {
        _cleanup_free_ char *text = NULL;
        _cleanup_free_ Document *documents = NULL;
        size_t n;

        load(path, &text, &documents, &n);
        codec_set_trained(run->codec, on_trained, run);
        for (size_t i = 0; i < n; i++)
                codec_sample(run->codec, METHOD, documents[i].data, documents[i].size);
        if (codec_train_one(run->codec) != 1 || !run->has_dictionary)
                bench_die("%s: no dictionary that pays can be learnt from it", path);
}

/* One document there; what it is stored as replaces what it was stored as. */
static void compress(Run *run, Document *d) {
        int r;

        free(d->stored);
        d->stored = NULL;
        if (run->gzip) {
                d->encoding = ENCODING_GZIP;
                r = codec_transcode(run->codec, ENCODING_IDENTITY, 0, d->data, d->size, d->size, ENCODING_GZIP, &d->stored, &d->stored_size);
        } else
                r = codec_compress(run->codec, METHOD, d->data, d->size, &d->encoding, &d->dictionary, &d->stored, &d->stored_size);
        if (r < 0)
                bench_die("compression fails: %s", strerror(-r));
}

static void *decompress(Run *run, const Document *d) {
        void *p;
        int r = codec_decompress(run->codec, d->encoding, d->dictionary, d->stored ? d->stored : d->data, d->stored_size, d->size, &p);

        if (r < 0)
                bench_die("decompression fails: %s", strerror(-r));
        return p;
}

static void check_all(Run *run) {
        for (size_t i = 0; i < run->n; i++) {
                Document *d = &run->documents[i];

                compress(run, d);
                _cleanup_free_ void *p = decompress(run, d);
                if (memcmp(p, d->data, d->size) != 0)
                        bench_die("document %zu does not come back as it was", i);
                run->raw += d->size;
                run->stored += d->stored_size;
        }
}

/* Seconds that one pass over all documents takes, from as many whole passes as fit into the time. */
static double measure(Run *run, bool back, double seconds) {
        uint64_t begin = bench_now(), now, passes = 0;

        do {
                for (size_t i = 0; i < run->n; i++)
                        if (back)
                                free(decompress(run, &run->documents[i]));
                        else
                                compress(run, &run->documents[i]);
                passes++;
                now = bench_now();
        } while ((double) (now - begin) < seconds * 1e9);
        return (double) (now - begin) / 1e9 / (double) passes;
}

static void report(const Run *run, double there, double back) {
        double mega = (double) run->raw / 1e6;

        printf("{\"documents\":%zu,\"bytes\":%zu,\"stored\":%zu,\"ratio\":%.4f,\"compress\":%.2f,\"decompress\":%.2f,"
               "\"compress_usec\":%.3f,\"decompress_usec\":%.3f}\n",
               run->n, run->raw, run->stored, (double) run->raw / (double) run->stored, mega / there, mega / back,
               there * 1e6 / (double) run->n, back * 1e6 / (double) run->n);
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "method", required_argument, NULL, 'm' },
                { "seconds", required_argument, NULL, 's' },
                { "level", required_argument, NULL, 'l' },
                { "learn", required_argument, NULL, 'L' },
                {},
        };
        const char *method = "zstd", *learn_path = NULL;
        double seconds = TURN_SECONDS_DEFAULT;
        uint64_t level = 3;
        Run run = {};
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'm':
                        method = optarg;
                        break;
                case 's':
                        seconds = strtod(optarg, NULL);
                        break;
                case 'l':
                        if (u64_parse(optarg, CODEC_LEVEL_MIN, CODEC_LEVEL_MAX, &level) < 0)
                                bench_die("--level= is a number from %d to %d", CODEC_LEVEL_MIN, CODEC_LEVEL_MAX);
                        break;
                case 'L':
                        learn_path = optarg;
                        break;
                default:
                        return 2;
                }
        run.gzip = streq(method, "gzip");
        bool dictionary = streq(method, "dictionary");
        if (optind + 1 != argc || (!run.gzip && !dictionary && !streq(method, "zstd")) || dictionary != !!learn_path || seconds <= 0)
                bench_die("usage: bench-codec --method=gzip|zstd|dictionary [--seconds=N] [--level=N] [--learn=FILE] FILE");
        if (codec_new((int) level, &run.codec) < 0)
                bench_die("out of memory");
        if (learn_path)
                learn(&run, learn_path);
        load(argv[optind], &run.text, &run.documents, &run.n);
        check_all(&run); /* and a warm-up */
        double there = measure(&run, false, seconds);
        report(&run, there, measure(&run, true, seconds));
        for (size_t i = 0; i < run.n; i++)
                free(run.documents[i].stored);
        free(run.documents);
        free(run.text);
        codec_free(run.codec);
        return 0;
}
