/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The least that a jsonl worker in C can do: it gives the text of a job's "payload" back as the result without parsing it.
 * It knows that flowd writes "job" first and "payload" last, which a real worker must not. One read and one write for
 * all lines that are there.
 */

#include <stdio.h>
#include <unistd.h>

#include "basic/fd.h"
#include "bench/bench.h"

#define BUFFER_SIZE (4U * 1024U * 1024U)
#define ANSWER_EXTRA 64U /* more bytes in an answer than in its job, at most */

static size_t answer(char *out, const char *line, size_t n) {
        static const char job[] = "\"job\":\"", payload[] = "\"payload\":";
        const char *id = memmem(line, n, job, sizeof(job) - 1), *value = memmem(line, n, payload, sizeof(payload) - 1);

        if (!id || !value)
                return 0; /* a cancellation */
        id += sizeof(job) - 1;
        value += sizeof(payload) - 1;
        const char *id_end = memchr(id, '"', (size_t) (line + n - id));
        if (!id_end)
                return 0;
        return (size_t) sprintf(out, "{\"job\":\"%.*s\",\"result\":%.*s\n", (int) (id_end - id), id,
                                (int) (line + n - value), value);
}

int main(void) {
        _cleanup_free_ char *in = malloc(BUFFER_SIZE), *out = malloc(2 * BUFFER_SIZE);
        size_t used = 0;

        if (!in || !out)
                bench_die("out of memory.");
        for (;;) {
                ssize_t k = read(STDIN_FILENO, in + used, BUFFER_SIZE - used);
                if (k <= 0)
                        return k == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
                used += (size_t) k;

                size_t begin = 0, n_out = 0;
                for (char *nl; (nl = memchr(in + begin, '\n', used - begin)); begin = (size_t) (nl - in) + 1) {
                        if (n_out + (size_t) (nl - in) - begin + ANSWER_EXTRA > 2 * BUFFER_SIZE)
                                bench_die("a job is too large for this worker.");
                        n_out += answer(out + n_out, in + begin, (size_t) (nl - in) - begin);
                }
                if (n_out > 0 && fd_write_all(STDOUT_FILENO, out, n_out) < 0)
                        return EXIT_FAILURE;
                memmove(in, in + begin, used - begin);
                used -= begin;
        }
}
