/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Points in time, as people and systemd write them. What flowctl prints itself ("Wed 2026-11-25 10:00:00 CET") is understood too, so
 * that a time can be copied from one command to the next; of time zones only UTC and the local one, which is all that is printed.
 */

#include <errno.h>
#include <strings.h>
#include <time.h>

#include "basic/str.h"
#include "flowctl/flowctl.h"

static const char *skip(const char *s) {
        return s + strspn(s, " \t");
}

/* What may stand behind a time: nothing, UTC, or a name of the local zone. */
static bool zone_parse(const char *s, bool *ret_utc) {
        s = skip(s);
        tzset();
        *ret_utc = streq(s, "UTC") || streq(s, "Z");
        return !*s || *ret_utc || streq(s, tzname[0]) || streq(s, tzname[1]);
}

/* Passes over "Wed " and the like. */
static const char *weekday_skip(const char *s) {
        struct tm tm = {};
        const char *end = strptime(s, "%a", &tm);

        return end && (*end == ' ' || *end == ',') ? skip(end + 1) : s;
}

static int tm_to_usec(struct tm *tm, bool utc, uint64_t *ret) {
        struct tm asked = *tm;

        tm->tm_isdst = -1;
        time_t t = utc ? timegm(tm) : mktime(tm);
        if (t < 0 || tm->tm_mday != asked.tm_mday || tm->tm_mon != asked.tm_mon) /* the 31st of a month of 30 days */
                return -EINVAL;
        *ret = (uint64_t) t * USEC_PER_SEC;
        return 0;
}

static int date_parse(const char *s, uint64_t now, uint64_t *ret) {
        static const char *const formats[] = {
                "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%H:%M:%S", "%H:%M",
        };
        time_t t = (time_t) (now / USEC_PER_SEC);
        struct tm today;
        bool utc;

        s = weekday_skip(s);
        if (!localtime_r(&t, &today))
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(formats); i++) {
                struct tm tm = { .tm_year = today.tm_year, .tm_mon = today.tm_mon, .tm_mday = today.tm_mday };
                const char *end = strptime(s, formats[i], &tm);

                if (end && zone_parse(end, &utc))
                        return tm_to_usec(&tm, utc, ret);
        }
        return -EINVAL;
}

int when_parse(const char *s, uint64_t now, uint64_t *ret) {
        static const char *const days[] = { "today", "yesterday" };
        time_t t = (time_t) (now / USEC_PER_SEC);
        struct tm tm;
        uint64_t v;

        s = skip(s);
        if (streq(s, "now")) {
                *ret = now;
                return 0;
        }
        for (int i = 0; i < (int) ELEMENTSOF(days); i++)
                if (streq(s, days[i])) {
                        if (!localtime_r(&t, &tm))
                                return -EINVAL;
                        tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
                        tm.tm_mday -= i; /* mktime() knows what the 0th is */
                        tm.tm_isdst = -1;
                        t = mktime(&tm);
                        if (t < 0)
                                return -EINVAL;
                        *ret = (uint64_t) t * USEC_PER_SEC;
                        return 0;
                }
        if (*s == '@') {
                if (u64_parse(s + 1, 0, UINT64_MAX / USEC_PER_SEC, &v) < 0)
                        return -EINVAL;
                *ret = v * USEC_PER_SEC;
                return 0;
        }
        if (usec_parse(s, &v) >= 0) {
                if (v == USEC_INFINITY)
                        return -EINVAL;
                *ret = now > v ? now - v : 0;
                return 0;
        }
        return date_parse(s, now, ret);
}
