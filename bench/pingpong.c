/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The first floor: two processes and a socketpair between them, no broker at all. What a round trip through the kernel
 * costs here; nothing that moves jobs between processes over sockets can be faster.
 */

#include <unistd.h>

#include "bench/bench.h"

int main(int argc, char *argv[]) {
        Bench b;
        int pair[2];

        bench_init(&b, argc, argv);
        bench_socketpair(pair);
        if (bench_fork() == 0) {
                close(pair[0]);
                bench_echo(pair[1]);
        }
        close(pair[1]);
        bench_load(&b, pair[0]);
        bench_report(&b);
        return EXIT_SUCCESS;
}
