/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The main() of a fuzzer that is not linked with libFuzzer: it runs the files and folders that it is given, or else its corpus in
 * the source tree ($top_srcdir/tests/fuzz/corpus/NAME for the program fuzz-NAME). This way every build replays what fuzzing once
 * found. Each input is also cut at every byte where that is cheap: what comes off a stream may end anywhere.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd.h"
#include "basic/str.h"
#include "fuzz.h"

#define INPUT_MAX (16U * 1024U * 1024U)
#define CUT_MAX 512U /* inputs up to this size are also run cut short */

static void run_bytes(const char *data, size_t size) {
        /* a copy of exactly that size, so that AddressSanitizer and valgrind see a read beyond it */
        uint8_t *copy = malloc(size > 0 ? size : 1);

        CHECK(copy);
        memcpy(copy, data, size);
        (void) LLVMFuzzerTestOneInput(copy, size);
        free(copy);
}

static int run_path(const char *path, unsigned *n);

static int run_folder(const char *path, unsigned *n) {
        struct dirent **entries;
        int r = 0, count = scandir(path, &entries, NULL, alphasort);

        if (count < 0)
                return -errno;
        for (int i = 0; i < count; i++) {
                if (r >= 0 && entries[i]->d_name[0] != '.') {
                        _cleanup_free_ char *p = str_printf("%s/%s", path, entries[i]->d_name);

                        r = p ? run_path(p, n) : -ENOMEM;
                }
                free(entries[i]);
        }
        free(entries);
        return r;
}

static int run_path(const char *path, unsigned *n) {
        _cleanup_free_ char *data = NULL;
        struct stat st;
        size_t size;
        int r;

        if (stat(path, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return run_folder(path, n);
        r = file_read(AT_FDCWD, path, INPUT_MAX, &data, &size);
        if (r < 0)
                return r;
        for (size_t cut = size <= CUT_MAX ? 0 : size; cut <= size; cut++)
                run_bytes(data, cut);
        (*n)++;
        return 0;
}

int main(int argc, char *argv[]) {
        _cleanup_free_ char *corpus = NULL;
        unsigned n = 0;
        int r = 0;

        if (argc > 1)
                for (int i = 1; i < argc && r >= 0; i++) {
                        r = run_path(argv[i], &n);
                        if (r < 0)
                                fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
                }
        else {
                const char *top = getenv("top_srcdir"), *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];

                if (strncmp(name, "fuzz-", 5) != 0)
                        name = "fuzz-unknown";
                corpus = str_printf("%s/tests/fuzz/corpus/%s", top ? top : ".", name + 5);
                r = corpus ? run_path(corpus, &n) : -ENOMEM;
                if (r < 0)
                        fprintf(stderr, "%s: %s\n", strna(corpus), strerror(-r));
        }
        if (r >= 0 && n == 0) {
                fprintf(stderr, "No input was found to replay.\n");
                r = -ENOENT;
        }
        printf("%u inputs replayed\n", n);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
