#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A hundred thousand jobs through flowctl run --lines on a hot pool, each answer checked; flowd is no larger at the end."""

from flowtest import *

JOBS = int(os.environ.get('FLOWTEST_JOBS') or (100000 if SLOW <= 1 else 20000))
RSS_TOLERANCE = 2 * MiB  # of private memory, after a warm-up of a tenth of the jobs


@test(bound=150)
def a_hundred_thousand_lines():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Min=2, Max=2)}) as f:
        f.wait_ready('w', 2)
        before = f.pids('w')

        def run(n, first=0):
            lines = ''.join('line %d of %d\n' % (i, n) for i in range(first, first + n)).encode()
            start = time.monotonic()
            r = f.flowctl('run', '--pool=w', '--lines', '-', input=lines, timeout=120, check_status=0)
            took = time.monotonic() - start
            if r.stdout != lines:
                got, want = r.stdout.split(b'\n'), lines.split(b'\n')
                equal(len(got), len(want), 'lines:')
                wrong = next(i for i in range(len(want)) if got[i] != want[i])
                fail('line %d is %r, expected %r' % (wrong, got[wrong], want[wrong]))
            return took

        run(JOBS // 10)
        wait_until(lambda: f.status()['clients'] <= 1)
        f.status()
        rss, fds = rss_of(f.pid), fds_of(f.pid)
        took = run(JOBS)
        note('%d jobs in %.2f s: %.0f jobs/s' % (JOBS, took, JOBS / took))
        wait_until(lambda: fds_of(f.pid) <= fds, 5, 'descriptors to go back to %d' % fds)
        wait_until(lambda: rss_of(f.pid) <= rss + RSS_TOLERANCE, 5,
                   'memory to go back to %d KiB; it is %d KiB' % (rss // KiB, rss_of(f.pid) // KiB))
        note('private memory %d KiB before, %d KiB after; descriptors %d, %d' % (rss // KiB, rss_of(f.pid) // KiB, fds, fds_of(f.pid)))
        equal(f.pids('w'), before)
        p = f.pool('w')
        equal((p['completed'], p['failed'], p['crashes']), (JOBS + JOBS // 10, 0, 0))


@test(bound=60)
def unordered_and_json():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Min=2, Max=2)}) as f:
        lines = ['job %d' % n for n in range(2000)]
        r = f.flowctl('run', '--pool=w', '--lines', '--unordered', '-', input='\n'.join(lines).encode() + b'\n', check_status=0)
        equal(sorted(r.stdout.decode().splitlines()), sorted(lines))
        r = f.flowctl('run', '--pool=w', '--lines', '--json', '-', input='\n'.join(lines).encode() + b'\n', check_status=0)
        got = [json.loads(x) for x in r.stdout.decode().splitlines()]
        equal([(g['line'], g['status'], g['result']) for g in got], [(n + 1, 'completed', x) for n, x in enumerate(lines)])


@test(bound=60)
def a_worker_is_killed_during_it():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Min=2, Max=2, RestartDelay='10ms', BreakerCrashes=90)}) as f:
        f.wait_ready('w', 2)
        lines = ''.join('line %d\n' % i for i in range(5000)).encode()
        out = []
        t = threading.Thread(target=lambda: out.append(f.flowctl('run', '--pool=w', '--lines', '--method=sleep:1', '-', input=lines)))
        t.start()
        for n in range(5):
            wait_until(lambda: f.pool('w')['completed'] >= 200 * n, 20, 'more of the lines')
            busy = wait_until(lambda: [w['pid'] for w in f.workers('w') if w['running']], 10, 'a busy worker')
            with contextlib.suppress(ProcessLookupError):
                os.kill(busy[0], signal.SIGKILL)
            wait_until(lambda: f.pool('w')['crashes'] > n, 10, 'its end to be noticed')
        t.join(50 * SLOW)
        check(out, 'flowctl has not come to its end')
        equal(out[0].returncode, 0, out[0].stderr.decode())
        check(out[0].stdout == lines, 'an answer was lost')
        equal(f.pool('w')['crashes'], 5)


main()
