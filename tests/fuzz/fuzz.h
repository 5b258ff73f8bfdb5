/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What every fuzzer has: the entry point that libFuzzer (or replay.c) calls, and a check that no -DNDEBUG takes away. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(x)                                                                         \
        do {                                                                             \
                if (!(x)) {                                                              \
                        fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #x); \
                        abort();                                                         \
                }                                                                        \
        } while (0)
