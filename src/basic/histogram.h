/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Latency histograms: log-linear buckets, 12 % wide, from 1 µs to days; adding is one increment. */

#include "basic/macro.h"

#define HISTOGRAM_SUB_BITS 3U
#define HISTOGRAM_BUCKETS (48U << HISTOGRAM_SUB_BITS)

typedef struct Histogram {
        uint64_t n, max;
        uint32_t counts[HISTOGRAM_BUCKETS];
} Histogram;

static inline unsigned histogram_bucket(uint64_t v) {
        if (v < (1U << HISTOGRAM_SUB_BITS))
                return (unsigned) v;
        unsigned exp = 63U - (unsigned) __builtin_clzll(v);
        unsigned b = ((exp - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS) + (unsigned) ((v >> (exp - HISTOGRAM_SUB_BITS)) & ((1U << HISTOGRAM_SUB_BITS) - 1));
        return b < HISTOGRAM_BUCKETS ? b : HISTOGRAM_BUCKETS - 1;
}

static inline void histogram_add(Histogram *h, uint64_t v) {
        h->counts[histogram_bucket(v)]++;
        h->n++;
        if (v > h->max)
                h->max = v;
}

/* The upper edge of the bucket where the quantile lies, or the largest value if that is less; 0 for an empty histogram. */
static inline uint64_t histogram_quantile(const Histogram *h, double q) {
        uint64_t want = (uint64_t) (q * (double) h->n), seen = 0;

        if (h->n == 0)
                return 0;
        for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
                seen += h->counts[b];
                if (seen > want || seen == h->n) {
                        unsigned exp = b >> HISTOGRAM_SUB_BITS, sub = b & ((1U << HISTOGRAM_SUB_BITS) - 1);

                        if (exp == 0)
                                return sub;
                        uint64_t edge = (((uint64_t) (1U << HISTOGRAM_SUB_BITS) + sub + 1) << (exp - 1)) - 1;
                        return edge < h->max ? edge : h->max;
                }
        }
        return 0;
}

/* The mean, to the width of a bucket; 0 for an empty histogram. */
static inline double histogram_mean(const Histogram *h) {
        double sum = 0;

        for (unsigned b = 0; h->n > 0 && b < HISTOGRAM_BUCKETS; b++) {
                unsigned exp = b >> HISTOGRAM_SUB_BITS, sub = b & ((1U << HISTOGRAM_SUB_BITS) - 1);

                if (h->counts[b] > 0) /* the middle of the bucket */
                        sum += h->counts[b] * (exp == 0 ? sub : ((double) ((1U << HISTOGRAM_SUB_BITS) + sub) + 0.5) * (double) (UINT64_C(1) << (exp - 1)));
        }
        return h->n > 0 ? sum / (double) h->n : 0;
}
