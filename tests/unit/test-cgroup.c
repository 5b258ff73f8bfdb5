/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is read out of a control group, with a folder in place of one. */

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fd.h"
#include "unit.h"
#include "worker/cgroup.h"

static CgroupOom oom_of(const char *events) {
        char folder[] = "/tmp/flowd-test-cgroup-XXXXXX", path[sizeof(folder) + 16];

        ck_assert_ptr_nonnull(mkdtemp(folder));
        _cleanup_close_ int fd = open(folder, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        snprintf(path, sizeof(path), "%s/memory.events", folder);
        if (events)
                ck_assert_int_eq(file_write_atomic(path, events, strlen(events), 0600), 0);
        CgroupOom oom = cgroup_oom(fd);
        if (events)
                ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(rmdir(folder), 0);
        return oom;
}

START_TEST(why_it_was_killed) {
        ck_assert_int_eq(oom_of("low 0\nhigh 0\nmax 31\noom 1\noom_kill 2\noom_group_kill 1\n"), CGROUP_OOM_OWN);
        ck_assert_int_eq(oom_of("low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 0\n"), CGROUP_OOM_OUTER);
        /* at the limit, and enough could be reclaimed */
        ck_assert_int_eq(oom_of("low 0\nhigh 0\nmax 31\noom 0\noom_kill 0\noom_group_kill 0\n"), CGROUP_OOM_NONE);
        /* at the limit, and there was nobody to kill: the allocation failed */
        ck_assert_int_eq(oom_of("low 0\nhigh 0\nmax 31\noom 1\noom_kill 0\n"), CGROUP_OOM_NONE);
        ck_assert_int_eq(oom_of("oom_kill\n"), CGROUP_OOM_NONE);
        ck_assert_int_eq(oom_of("oom_kill many\n"), CGROUP_OOM_NONE);
        ck_assert_int_eq(oom_of(""), CGROUP_OOM_NONE);
}
END_TEST

START_TEST(no_memory_controller) {
        ck_assert_int_eq(oom_of(NULL), CGROUP_OOM_NONE);
        ck_assert_int_eq(cgroup_oom(-1), CGROUP_OOM_NONE);
}
END_TEST

UNIT_MAIN("cgroup", why_it_was_killed, no_memory_controller)
