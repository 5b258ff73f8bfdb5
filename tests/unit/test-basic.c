/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The words of src/basic: spans, sizes, command lines, UTF-8, base64, lists, maps, descriptors, blobs and output queues. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "basic/blob.h"
#include "basic/fd.h"
#include "basic/histogram.h"
#include "basic/list.h"
#include "basic/map.h"
#include "basic/outq.h"
#include "basic/str.h"
#include "unit.h"

START_TEST(usec_values) {
        static const struct {
                const char *text;
                uint64_t usec;
        } good[] = {
                { "0", 0 },
                { "30", 30 * USEC_PER_SEC },
                { "30s", 30 * USEC_PER_SEC },
                { " 30 s ", 30 * USEC_PER_SEC },
                { "5min 20s", 320 * USEC_PER_SEC },
                { "5min20s", 320 * USEC_PER_SEC },
                { "1h", 3600 * USEC_PER_SEC },
                { "2 hours", 7200 * USEC_PER_SEC },
                { "1d 1w", 8 * 86400 * USEC_PER_SEC },
                { "1m", 60 * USEC_PER_SEC },
                { "250ms", 250 * USEC_PER_MSEC },
                { "250msec", 250 * USEC_PER_MSEC },
                { "1.5s", 1500 * USEC_PER_MSEC },
                { ".5", 500 * USEC_PER_MSEC },
                { "7us", 7 },
                { "7µs", 7 },
                { "7usec", 7 },
                { "infinity", USEC_INFINITY },
                { " infinity ", USEC_INFINITY },
        };
        static const char *const bad[] = { "",     " ",   "s",       "-1",         "+1", "1x",   "1 minutess", "1s x",
                                           "0x10", "1e3", "infinit", "infinity s", ".",  "1,5s", "nan" };
        uint64_t v = 77;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ck_assert_msg(usec_parse(bad[i], &v) == -EINVAL, "%s", bad[i]);
        ck_assert_int_eq(usec_parse("99999999999999999999", &v), -ERANGE);
        ck_assert_int_eq(usec_parse("9999999999w", &v), -ERANGE);
        ck_assert_uint_eq(v, 77);
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                ck_assert_msg(usec_parse(good[i].text, &v) == 0, "%s", good[i].text);
                ck_assert_msg(v == good[i].usec, "%s", good[i].text);
        }
}
END_TEST

START_TEST(usec_round_trip) {
        uint64_t seed = UNIT_SEED, back;
        char buf[128];

        ck_assert_str_eq(usec_format(buf, sizeof(buf), 3720 * USEC_PER_SEC), "1h 2min");
        ck_assert_str_eq(usec_format(buf, sizeof(buf), 250 * USEC_PER_MSEC), "250ms");
        ck_assert_str_eq(usec_format(buf, sizeof(buf), USEC_INFINITY), "infinity");
        ck_assert_str_eq(usec_format(buf, sizeof(buf), 0), "0");
        for (unsigned i = 0; i < 50000; i++) {
                uint64_t v = unit_random(&seed) >> (1 + unit_random(&seed) % 63);

                if (v >= UINT64_C(9000000000000000000))
                        continue;
                ck_assert_int_eq(usec_parse(usec_format(buf, sizeof(buf), v), &back), 0);
                if (v < UINT64_C(1) << 50) /* 35 years; beyond, a long double may have no room for microseconds */
                        ck_assert_msg(back == v, "%s", buf);
                else
                        ck_assert_msg(back >= v - v / 1000000000 && back <= v + v / 1000000000, "%s", buf);
        }
        /* a short buffer is cut, never overrun */
        for (size_t n = 1; n < 20; n++) {
                memset(buf, 'x', sizeof(buf));
                usec_format(buf, n, 1234567890123);
                ck_assert_uint_lt(strlen(buf), n);
                ck_assert_int_eq(buf[n], 'x');
        }
}
END_TEST

START_TEST(sizes) {
        static const struct {
                const char *text;
                uint64_t size;
                const char *out;
        } good[] = {
                { "0", 0, "0B" },
                { "17", 17, "17B" },
                { "17B", 17, "17B" },
                { "1K", 1024, "1K" },
                { " 64 K ", 65536, "64K" },
                { "512M", 512ULL << 20, "512M" },
                { "1.5G", 3ULL << 29, "1.5G" },
                { "2T", 2ULL << 40, "2T" },
                { "1P", 1ULL << 50, "1P" },
                { "1E", 1ULL << 60, "1E" },
                { "infinity", UINT64_MAX, "infinity" },
        };
        static const char *const bad[] = { "", "K", "-1", "1KB", "1k", "1Q", "1 2", "1e3", "0x10", "infinityM" };
        uint64_t v = 77, seed = UNIT_SEED;
        char buf[32];

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ck_assert_msg(size_parse(bad[i], &v) == -EINVAL, "%s", bad[i]);
        ck_assert_int_eq(size_parse("99999999E", &v), -ERANGE);
        ck_assert_uint_eq(v, 77);
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                ck_assert_int_eq(size_parse(good[i].text, &v), 0);
                ck_assert_uint_eq(v, good[i].size);
                ck_assert_str_eq(size_format(buf, sizeof(buf), v), good[i].out);
        }
        for (unsigned i = 0; i < 20000; i++) { /* what is printed can be read, and is near */
                uint64_t x = unit_random(&seed) >> (2 + unit_random(&seed) % 62);

                ck_assert_int_eq(size_parse(size_format(buf, sizeof(buf), x), &v), 0);
                ck_assert_msg(v <= x + x / 18 && v >= x - x / 18, "%s", buf);
        }
}
END_TEST

START_TEST(numbers_and_names) {
        char longest[NAME_LENGTH_MAX + 2];
        uint64_t v = 77;
        bool b = false;

        ck_assert(u64_parse("18446744073709551615", 0, UINT64_MAX, &v) == 0 && v == UINT64_MAX);
        ck_assert_int_eq(u64_parse("18446744073709551616", 0, UINT64_MAX, &v), -ERANGE);
        ck_assert_int_eq(u64_parse("5", 6, 9, &v), -ERANGE);
        ck_assert_int_eq(u64_parse("10", 6, 9, &v), -ERANGE);
        ck_assert_int_eq(u64_parse("", 0, 9, &v), -EINVAL);
        ck_assert_int_eq(u64_parse(" 1", 0, 9, &v), -EINVAL);
        ck_assert_int_eq(u64_parse("-1", 0, 9, &v), -EINVAL);
        ck_assert_int_eq(u64_parse("1x", 0, 9, &v), -EINVAL);
        ck_assert_uint_eq(v, UINT64_MAX);

        ck_assert(bool_parse("Yes", &b) == 0 && b);
        ck_assert(bool_parse("off", &b) == 0 && !b);
        ck_assert_int_eq(bool_parse("", &b), -EINVAL);
        ck_assert_int_eq(bool_parse("2", &b), -EINVAL);

        ck_assert(name_valid("hot") && name_valid("a-b_c.d9") && name_valid("_x") && name_valid("9"));
        ck_assert(!name_valid("") && !name_valid(".x") && !name_valid("-x") && !name_valid("a/b") && !name_valid("a b") &&
                  !name_valid("größe"));
        memset(longest, 'a', sizeof(longest));
        longest[NAME_LENGTH_MAX + 1] = 0;
        ck_assert(!name_valid(longest));
        longest[NAME_LENGTH_MAX] = 0;
        ck_assert(name_valid(longest));
}
END_TEST

static void expect_words(const char *line, const char *const *words, size_t n) {
        _cleanup_(strv_freep) char **v = NULL;

        ck_assert_msg(str_split_quoted(line, &v) == 0, "%s", line);
        ck_assert_msg(strv_length(v) == n, "%s", line);
        for (size_t i = 0; i < n; i++)
                ck_assert_str_eq(v[i], words[i]);
}
#define EXPECT_WORDS(line, ...) \
        expect_words(line, (const char *const[]) { __VA_ARGS__ }, ELEMENTSOF(((const char *const[]) { __VA_ARGS__ })))

START_TEST(split_quoted) {
        static const char *const bad[] = { "\"a", "'a", "a\\", "\\q", "\\x1", "\\xg0", "\\x00", "\"a\\\"" };
        char **v = NULL;

        expect_words("", NULL, 0);
        expect_words(" \t\n", NULL, 0);
        EXPECT_WORDS("a", "a");
        EXPECT_WORDS("  /bin/sh -c  x ", "/bin/sh", "-c", "x");
        EXPECT_WORDS("\"a b\" 'c d' e\\sf", "a b", "c d", "e f");
        EXPECT_WORDS("a\"b c\"d'e f'", "ab cde f");
        EXPECT_WORDS("\"\" '' x", "", "", "x");
        EXPECT_WORDS("\"it's\" 'say \"hi\"'", "it's", "say \"hi\"");
        EXPECT_WORDS("\\n\\t\\\\\\\"\\'\\x41\\a\\b\\f\\r\\v", "\n\t\\\"'A\a\b\f\r\v");
        EXPECT_WORDS("größe \xff", "größe", "\xff");
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ck_assert_msg(str_split_quoted(bad[i], &v) == -EINVAL, "%s", bad[i]);
        ck_assert_ptr_null(v);
}
END_TEST

/* Any words, quoted one way or another, come back. */
START_TEST(split_round_trip) {
        static const char alphabet[] = "ab \t\"'\\\nx-é";
        uint64_t seed = UNIT_SEED;

        for (unsigned round = 0; round < 5000; round++) {
                _cleanup_(strv_freep) char **in = NULL, **out = NULL;
                char line[1024];
                size_t n = 0;

                for (unsigned w = unit_random(&seed) % 5; w > 0; w--) {
                        char word[16];
                        size_t l = unit_random(&seed) % 12;
                        bool quote = unit_random(&seed) >> 63 || l == 0;

                        for (size_t i = 0; i < l; i++)
                                word[i] = alphabet[(unit_random(&seed) >> 32) % (sizeof(alphabet) - 1)];
                        word[l] = 0;
                        ck_assert_int_eq(strv_append(&in, word), 0);
                        if (quote)
                                line[n++] = '"';
                        for (size_t i = 0; i < l; i++) {
                                char c = word[i];

                                if (c == '"' || c == '\\' || (!quote && (c == '\'' || c == ' ' || c == '\t' || c == '\n'))) {
                                        line[n++] = '\\';
                                        c = c == ' ' ? 's' : c == '\t' ? 't' : c == '\n' ? 'n' : c;
                                }
                                line[n++] = c;
                        }
                        if (quote)
                                line[n++] = '"';
                        line[n++] = ' ';
                }
                line[n] = 0;
                ck_assert_int_eq(str_split_quoted(line, &out), 0);
                ck_assert_msg(strv_equal(in, out), "%s", line);
        }
}
END_TEST

START_TEST(strv) {
        _cleanup_(strv_freep) char **a = NULL, **b = NULL, **c = (char **) 1;

        ck_assert_uint_eq(strv_length(NULL), 0);
        ck_assert(strv_equal(NULL, NULL));
        ck_assert_int_eq(strv_copy(NULL, &c), 0);
        ck_assert_ptr_null(c);
        ck_assert_int_eq(strv_append(&a, "x"), 0);
        ck_assert(!strv_equal(a, b));
        ck_assert_int_eq(strv_append(&a, ""), 0);
        ck_assert_int_eq(strv_copy(a, &b), 0);
        ck_assert(strv_equal(a, b) && strv_length(b) == 2 && a[0] != b[0]);
        ck_assert_int_eq(strv_append(&b, "y"), 0);
        ck_assert(!strv_equal(a, b));
        strv_free(NULL);
}
END_TEST

START_TEST(utf8) {
        static const struct {
                const char *text;
                bool valid;
        } cases[] = {
                { "", true },
                { "a", true },
                { "é", true },
                { "€", true },
                { "😀", true },
                { "\x7f", true },
                { "\xc2\x80", true },
                { "\xdf\xbf", true },
                { "\xe0\xa0\x80", true },
                { "\xed\x9f\xbf", true },
                { "\xee\x80\x80", true },
                { "\xef\xbf\xbf", true },
                { "\xf0\x90\x80\x80", true },
                { "\xf4\x8f\xbf\xbf", true },
                { "\x80", false },
                { "\xbf", false },
                { "\xc0\x80", false },
                { "\xc1\xbf", false },
                { "\xc2", false },
                { "\xc2\x41", false },
                { "\xe0\x9f\xbf", false },
                { "\xed\xa0\x80", false },
                { "\xed\xbf\xbf", false },
                { "\xe2\x82", false },
                { "\xf0\x8f\xbf\xbf", false },
                { "\xf4\x90\x80\x80", false },
                { "\xf5\x80\x80\x80", false },
                { "\xff", false },
                { "\xfe", false },
                { "\xf0\x9f\x98", false },
        };

        /* at each offset from the words that are looked at together, and at the very end of memory */
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (size_t before = 0; before < 20; before++) {
                        size_t l = strlen(cases[i].text), n = before + l;
                        _cleanup_free_ char *s = malloc(n ? n : 1), *t = malloc(n + 9);

                        memset(s, 'a', before);
                        memcpy(s + before, cases[i].text, l);
                        ck_assert_msg(utf8_valid(s, n) == cases[i].valid, "case %zu", i);
                        memcpy(t, s, n);
                        memset(t + n, 'z', 9);
                        ck_assert_msg(utf8_valid(t, n + 9) == cases[i].valid, "case %zu", i);
                }
        ck_assert(utf8_valid("a\0b", 3));
}
END_TEST

START_TEST(copy) {
        char buf[8];

        str_copy(buf, sizeof(buf), "short");
        ck_assert_str_eq(buf, "short");
        str_copy(buf, sizeof(buf), "exactly");
        ck_assert_str_eq(buf, "exactly");
        str_copy(buf, sizeof(buf), "exactly8");
        ck_assert_str_eq(buf, "exactly");
        str_copy(buf, sizeof(buf), "sixsix€"); /* cut before the character, not in it */
        ck_assert_str_eq(buf, "sixsix");
        str_copy(buf, 1, "x");
        ck_assert_str_eq(buf, "");
}
END_TEST

START_TEST(jitter) {
        ck_assert_uint_eq(usec_jitter(USEC_INFINITY, 10), USEC_INFINITY);
        ck_assert_uint_eq(usec_jitter(0, 10), 0);
        ck_assert_uint_eq(usec_jitter(1000, 0), 1000);
        for (unsigned i = 0; i < 1000; i++) {
                uint64_t v = usec_jitter(1000, 10);

                ck_assert(v >= 900 && v <= 1100);
        }
}
END_TEST

START_TEST(base64) {
        static const struct {
                const char *bytes, *text;
        } cases[] = { { "", "" },
                      { "f", "Zg==" },
                      { "fo", "Zm8=" },
                      { "foo", "Zm9v" },
                      { "foob", "Zm9vYg==" },
                      { "fooba", "Zm9vYmE=" },
                      { "foobar", "Zm9vYmFy" } };
        static const char *const bad[] = {
                "A", "AA", "AAA", "=", "====", "A===", "AA=A", "AAAA====", "AA==AAAA", "AAA\n", "AA-_", "AAA ", "\xff\xff\xff\xff"
        };
        uint64_t seed = UNIT_SEED;
        void *p = NULL;
        size_t n = 77;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ck_assert_msg(base64_decode(bad[i], strlen(bad[i]), &p, &n) == -EBADMSG, "%s", bad[i]);
        ck_assert(!p && n == 77);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *text = base64_encode(cases[i].bytes, strlen(cases[i].bytes));
                _cleanup_free_ void *back = NULL;

                ck_assert_str_eq(text, cases[i].text);
                ck_assert_int_eq(base64_decode(text, strlen(text), &back, &n), 0);
                ck_assert_str_eq(back, cases[i].bytes); /* a NUL stands behind it */
        }
        for (unsigned round = 0; round < 5000; round++) {
                _cleanup_free_ char *text = NULL;
                _cleanup_free_ void *back = NULL;
                uint8_t data[64];
                size_t l = unit_random(&seed) % sizeof(data);

                unit_random_bytes(&seed, data, l);
                text = base64_encode(data, l);
                ck_assert_int_eq(base64_decode(text, strlen(text), &back, &n), 0);
                ck_assert(n == l && memcmp(back, data, l) == 0);
        }
}
END_TEST

typedef struct Item {
        int value;
        List list;
        MapNode node;
        char name[16];
} Item;

START_TEST(lists) {
        Item a = { .value = 1 }, b = { .value = 2 }, c = { .value = 3 };
        List l = LIST_INIT(l);
        int sum = 0;

        ck_assert(list_empty(&l) && !list_first(&l) && !list_linked(&a.list));
        list_remove(&a.list); /* never initialised: left alone */
        list_append(&l, &b.list);
        list_append(&l, &c.list);
        list_prepend(&l, &a.list);
        ck_assert(list_linked(&a.list) && list_first_entry(&l, Item, list)->value == 1);
        LIST_FOREACH (i, &l)
                sum = sum * 10 + list_entry(i, Item, list)->value;
        ck_assert_int_eq(sum, 123);
        list_remove(&b.list);
        list_remove(&b.list);
        ck_assert(!list_linked(&b.list));
        LIST_FOREACH_SAFE (i, next, &l)
                list_remove(i);
        ck_assert(list_empty(&l));
        ck_assert_ptr_null(list_first_entry(&l, Item, list));
}
END_TEST

START_TEST(maps) {
        enum { N = 3000 };
        Item *items = new0(Item, N), stray = {};
        Map numbers, names;

        map_init(&numbers, 1);
        map_init(&names, 42);
        ck_assert_ptr_null(map_find(&numbers, 0));
        ck_assert_ptr_null(map_find_name(&names, "x"));
        for (int i = 0; i < N; i++) { /* numbers that share their low bits, and names */
                items[i].value = i;
                snprintf(items[i].name, sizeof(items[i].name), "name%d", i);
                ck_assert_int_eq(i % 2 ? map_add(&numbers, &items[i].node, (uint64_t) i << 32)
                                       : map_add_name(&names, &items[i].node, items[i].name),
                                 0);
        }
        ck_assert_uint_eq(numbers.n + names.n, N);
        for (int i = 0; i < N; i++) {
                Item *found = i % 2 ? map_get(&numbers, (uint64_t) i << 32, Item, node)
                                    : map_get_name(&names, items[i].name, Item, node);

                ck_assert_ptr_eq(found, &items[i]);
        }
        ck_assert_ptr_null(map_get(&numbers, 7, Item, node));
        for (int i = 0; i < N; i += 3)
                map_remove(i % 2 ? &numbers : &names, &items[i].node);
        for (int i = 0; i < N; i++) {
                Item *found = i % 2 ? map_get(&numbers, (uint64_t) i << 32, Item, node)
                                    : map_get_name(&names, items[i].name, Item, node);

                ck_assert_ptr_eq(found, i % 3 ? &items[i] : NULL);
        }
        map_remove(&names, &stray.node);
        map_done(&numbers);
        map_done(&names);
        free(items);
}
END_TEST

START_TEST(histogram) {
        Histogram *h = new0(Histogram, 1);
        uint64_t seed = UNIT_SEED;

        ck_assert_uint_eq(histogram_quantile(h, 0.5), 0);
        for (unsigned i = 0; i < 100000; i++) { /* a bucket's edge is at most an eighth above what is in it */
                uint64_t v = unit_random(&seed) >> (18 + unit_random(&seed) % 46);

                memset(h, 0, sizeof(*h));
                histogram_add(h, v);
                uint64_t q = histogram_quantile(h, 0.99);
                ck_assert_msg(q >= v && q <= v + v / 8, "%llu -> %llu", (unsigned long long) v, (unsigned long long) q);
        }
        memset(h, 0, sizeof(*h));
        for (uint64_t v = 1; v <= 1000; v++)
                histogram_add(h, v);
        ck_assert(histogram_quantile(h, 0.5) >= 500 && histogram_quantile(h, 0.5) <= 563);
        ck_assert(histogram_quantile(h, 0.99) >= 990 && histogram_quantile(h, 1) >= 1000);
        histogram_add(h, UINT64_MAX); /* beyond all buckets */
        free(h);
}
END_TEST

START_TEST(memfds) {
        uint64_t size = 77;
        void *p = NULL;
        int fd = memfd_new_sealed("test", "hello", 5), other = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING),
            null = open("/dev/null", O_RDWR | O_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ck_assert_int_eq(memfd_check(fd, 4, &size), -EMSGSIZE);
        ck_assert_int_eq(memfd_check(other, 4, &size), -EPERM); /* not sealed */
        ck_assert_int_eq(memfd_check(null, 4, &size), -EPERM);  /* no memfd */
        ck_assert_uint_eq(size, 77);
        ck_assert_int_eq(memfd_check(fd, 5, &size), 0);
        ck_assert_uint_eq(size, 5);
        ck_assert_int_eq(memfd_map(fd, 5, &p), 0);
        ck_assert_mem_eq(p, "hello", 5);
        ck_assert_int_eq(munmap(p, 5), 0);
        ck_assert_int_lt(pwrite(fd, "x", 1, 0), 0);
        ck_assert_int_lt(ftruncate(fd, 0), 0);
        ck_assert_int_eq(memfd_seal(other), 0);
        ck_assert_int_eq(memfd_check(other, 0, &size), 0);
        ck_assert_uint_eq(size, 0);
        ck_assert_int_eq(memfd_map(other, 0, &p), 0);
        ck_assert_ptr_null(p);
        fd_close(fd);
        fd_close(other);
        fd_close(null);
}
END_TEST

START_TEST(passing) {
        int before = fd_count(), pair[2], fds[2] = { -1, -1 }, extra[3];
        struct iovec iov = { .iov_base = (void *) "abc", .iov_len = 3 };
        size_t n_fds = 77;
        char buf[16];

        ck_assert_int_eq(fd_socketpair(pair), 0);
        ck_assert(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
        ck_assert(!(fcntl(pair[1], F_GETFL) & O_NONBLOCK));
        ck_assert_int_eq(fd_recv(pair[0], buf, sizeof(buf), fds, 2, &n_fds), -EAGAIN);

        ck_assert_int_eq(fd_send(pair[1], &iov, 1, -1), 3);
        ck_assert_int_eq(fd_recv(pair[0], buf, sizeof(buf), fds, 2, &n_fds), 3);
        ck_assert_uint_eq(n_fds, 0);

        int memfd = memfd_new_sealed("test", "hello", 5);
        ck_assert_int_eq(fd_send(pair[1], &iov, 1, memfd), 3);
        ck_assert_int_eq(fd_recv(pair[0], buf, sizeof(buf), fds, 2, &n_fds), 3);
        ck_assert_uint_eq(n_fds, 1);
        ck_assert(fds[0] >= 0 && fds[0] != memfd && (fcntl(fds[0], F_GETFD) & FD_CLOEXEC));
        ck_assert_int_eq(pread(fds[0], buf, 5, 0), 5);
        ck_assert_mem_eq(buf, "hello", 5);
        fd_close(fds[0]);

        /* more than there is room for: all of them are closed */
        ck_assert_int_eq(fd_send(pair[1], &iov, 1, memfd), 3);
        ck_assert_int_eq(fd_recv(pair[0], buf, sizeof(buf), NULL, 0, &n_fds), -E2BIG);
        union {
                char bytes[CMSG_SPACE(sizeof(extra))];
                struct cmsghdr align;
        } control = {};
        struct msghdr mh = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)
        };
        struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(extra));
        extra[0] = extra[1] = extra[2] = memfd;
        memcpy(CMSG_DATA(c), extra, sizeof(extra));
        ck_assert_int_eq(sendmsg(pair[1], &mh, 0), 3);
        ck_assert_int_eq(fd_recv(pair[0], buf, sizeof(buf), fds, 2, &n_fds), -E2BIG);
        fd_close(memfd);

        fd_close(pair[1]);
        ck_assert_int_eq(fd_recv(pair[0], buf, sizeof(buf), fds, 2, &n_fds), 0);
        ck_assert_int_eq(fd_send(pair[0], &iov, 1, -1), -EPIPE); /* and no SIGPIPE */
        fd_close(pair[0]);
        ck_assert_int_eq(fd_count(), before);
}
END_TEST

START_TEST(files) {
        char folder[] = "/tmp/flowd-test-basic-XXXXXX";
        _cleanup_free_ char *deep = NULL, *path = NULL, *text = NULL, *sock = NULL;
        size_t n = 77;
        struct stat st;

        ck_assert_ptr_nonnull(mkdtemp(folder));
        deep = str_printf("%s/a/b/c", folder);
        ck_assert_int_eq(dir_make(deep, 0700), 0);
        ck_assert_int_eq(dir_make(deep, 0700), 0);
        path = str_printf("%s/file", deep);
        ck_assert_int_eq(file_read(AT_FDCWD, path, 100, &text, &n), -ENOENT);
        ck_assert_int_eq(file_write_atomic(path, "hello", 5, 0640), 0);
        ck_assert_int_eq(file_write_atomic(path, "hello again", 11, 0640), 0);
        ck_assert(stat(path, &st) == 0 && (st.st_mode & 0777) == 0640);
        ck_assert_int_eq(file_read(AT_FDCWD, path, 10, &text, &n), -EFBIG);
        ck_assert(!text && n == 77);
        ck_assert_int_eq(file_read(AT_FDCWD, path, 11, &text, &n), 0);
        ck_assert_str_eq(text, "hello again");
        ck_assert_uint_eq(n, 11);

        /* a socket: ours while somebody listens, taken over when nobody does */
        sock = str_printf("%s/sock", deep);
        int first = fd_listen_unix(sock, 0600);
        ck_assert_int_ge(first, 0);
        ck_assert(stat(sock, &st) == 0 && (st.st_mode & 0777) == 0600);
        ck_assert_int_eq(fd_listen_unix(sock, 0600), -EADDRINUSE);
        int client = fd_connect_unix(sock);
        ck_assert_int_ge(client, 0);
        fd_close(client);
        fd_close(first);
        ck_assert_int_eq(fd_connect_unix(sock), -ECONNREFUSED);
        int second = fd_listen_unix(sock, 0666);
        ck_assert_int_ge(second, 0);
        fd_close(second);
        ck_assert_int_eq(unlink(sock), 0);
        ck_assert_int_eq(unlink(path), 0);

        for (char *p = deep + strlen(deep); p > deep + strlen(folder);) {
                ck_assert_int_eq(rmdir(deep), 0);
                while (*p != '/')
                        p--;
                *p = 0;
        }
        ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

START_TEST(blobs) {
        int before = fd_count();
        const uint8_t *data = NULL;
        Blob *b = blob_new_copy("hello", 5), *m;
        uint64_t size;

        ck_assert(blob_ref(b) == b && blob_size(b) == 5 && blob_size(NULL) == 0);
        ck_assert_int_eq(blob_data(b, &data), 0);
        ck_assert_mem_eq(data, "hello", 5);
        int fd = blob_memfd(b);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(blob_memfd(b), fd);
        ck_assert_int_eq(memfd_check(fd, 5, &size), 0);
        m = blob_new_memfd(fcntl(fd, F_DUPFD_CLOEXEC, 3), 5);
        blob_unref(b);
        ck_assert_ptr_null(blob_unref(b));
        ck_assert_int_eq(blob_data(m, &data), 0);
        ck_assert_mem_eq(data, "hello", 5);
        blob_unref(m);
        ck_assert_ptr_null(blob_unref(NULL));
        ck_assert_int_eq(fd_count(), before);
}
END_TEST

/* Bytes and blobs of all sizes come out in order, through a socket that is full most of the time. */
START_TEST(output_queue) {
        enum { TOTAL = 3000000 };
        uint8_t *sent = malloc(TOTAL), *got = malloc(TOTAL);
        uint64_t seed = UNIT_SEED;
        size_t n_sent = 0, n_got = 0, n_fds;
        int pair[2];
        OutQueue q;

        ck_assert_int_eq(fd_socketpair(pair), 0);
        outq_init(&q);
        ck_assert(outq_empty(&q) && outq_flush(&q, pair[0], true) == 0);
        unit_random_bytes(&seed, sent, TOTAL);
        while (n_got < TOTAL) {
                size_t n = unit_random(&seed) % (unit_random(&seed) % 4 == 0 ? 200000 : 200);

                n = MIN(n, TOTAL - n_sent);
                if (unit_random(&seed) % 2) {
                        Blob *b = blob_new_copy(sent + n_sent, n);

                        ck_assert_int_eq(outq_blob(&q, b), 0);
                        blob_unref(b);
                } else
                        ck_assert_int_eq(outq_bytes(&q, sent + n_sent, n), 0);
                n_sent += n;
                ck_assert_uint_le(q.bytes, n_sent - n_got);
                int r = outq_flush(&q, pair[0], true);
                ck_assert(r == 0 || r == 1);
                ck_assert_int_eq(r == 0, outq_empty(&q));
                for (unsigned reads = r == 1 ? 4 : n_sent == TOTAL ? 1 : 0; reads > 0 && n_got < n_sent; reads--) {
                        ssize_t k = fd_recv(pair[1], got + n_got, TOTAL - n_got, NULL, 0, &n_fds);

                        if (k == -EAGAIN)
                                break;
                        ck_assert_int_gt(k, 0);
                        n_got += (size_t) k;
                }
        }
        ck_assert(outq_empty(&q) && q.bytes == 0 && memcmp(sent, got, TOTAL) == 0);

        /* what is dropped is freed, descriptors too */
        int before = fd_count();
        Blob *b = blob_new_copy("hello", 5);
        ck_assert_int_eq(outq_bytes_memfd(&q, "head", 4, b), 0);
        blob_unref(b);
        outq_done(&q);
        ck_assert_int_eq(fd_count(), before);
        fd_close(pair[0]);
        fd_close(pair[1]);
        free(sent);
        free(got);
}
END_TEST

UNIT_MAIN("basic", usec_values, usec_round_trip, sizes, numbers_and_names, split_quoted, split_round_trip, strv, utf8, copy,
          jitter, base64, lists, maps, histogram, memfds, passing, files, blobs, output_queue)
