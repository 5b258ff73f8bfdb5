#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ill-behaved frame workers: flowd survives each of them, their job ends with the right error, and other pools notice nothing."""

from flowtest import *


@contextlib.contextmanager
def menagerie(args='', conf=None, pool_keys=None, tier='hot', **worker_keys):
    """A pool "zoo" of one worker and a pool "good" that has to serve all the time; flowd must be the same process at the end."""
    wkeys = {'StopTimeout': '500ms', 'CancelTimeout': '300ms', **worker_keys}
    pkeys = {'Max': 1, 'RestartDelay': '10ms', 'RestartDelayMax': '100ms', 'BreakerCrashes': 90, 'HealthyAfter': '200ms', **(pool_keys or {})}
    with Flowd(workers={'zoo': worker('%s %s' % (zoo(), args), **wkeys), 'good': worker(zoo())},
               pools={'zoo': pool('zoo', tier, **pkeys), 'good': pool('good', Min=1, Max=1)}, conf=conf) as f:
        f.events
        with Traffic(f, 'good'):
            yield f
        equal(f.status()['pid'], f.pid, 'pid of flowd:')
        check(alive(f.pid), 'flowd is gone')
        p = f.pool('good')
        equal((p['failed'], p['timeout'], p['crashes'], p['spawned'], p['state']), (0, 0, 0, 1, 'running'), 'the other pool:')


def serves(f, name='zoo', bound=10):
    """The pool is well again."""
    with f.jobs(timeout=bound) as j:  # whatever the type's JobTimeout= is: this is about whether it answers
        completed(j.run(name, b'again', 'echo', timeout=int(bound * SLOW * 1e6)), b'again')


def gone(*pids, bound=8):
    wait_until(lambda: not any(alive(p) for p in pids), bound,
               'the end of %s' % [(p, command_of(p)) for p in pids])


def told_off(f):
    """flowd has said something about an answer that nobody had asked for."""
    wait_until(lambda: f.events.find('job-fenced', pool='zoo') or f.events.find('worker-protocol', pool='zoo'),
               what='a word about an answer that nobody had asked for')


# at start

@test
def exits_at_start():
    with menagerie('--start=exit --code=7', pool_keys={'BreakerCrashes': 3, 'BreakerCooldown': '1h'}) as f:
        e = f.events
        wait_until(lambda: f.pool('zoo')['state'] == 'degraded', what='the pool to be degraded')
        p = f.pool('zoo')
        contains(p['reason'] or '', '7')
        check(p['crashes'] >= 3, 'crashes are not counted:', p)
        equal(f.status()['state'], 'degraded')
        f.logged('no, I will not start')  # its stderr
        with f.jobs() as j:
            r = ended(j.run('zoo', b'x'), 'refused', 'zoo', code='PoolUnavailable')
            contains(r.error, '7')
        refused('PoolUnavailable', f.call, 'Run', pool='zoo', payload='x')
        check(idle_cpu(f.pid) < 0.5, 'flowd is busy over a worker that cannot start')


@test
def exits_at_start_as_if_all_were_well():
    """Whether its end of the socket is seen to close before its exit or not: it has never been ready, so it has not started."""
    for command in ('%s --start=exit --code=0' % zoo(), "/bin/sh -c 'exec <&- >&-; sleep 0.1'"):
        with Flowd(workers={'zoo': worker(command)},
                   pools={'zoo': pool('zoo', Min=1, Max=1, BreakerCrashes=5, BreakerCooldown='1h', RestartDelay='10ms', RestartDelayMax='10ms')}) as f:
            f.events
            wait_until(lambda: f.pool('zoo')['state'] == 'degraded', what='the pool to be degraded')
            p = f.pool('zoo')
            equal((p['crashes'], p['spawned']), (5, 5), 'crashes and starts:')
            contains(p['reason'], 'exited with status 0')
            check('worker-start-failed' in f.log() and 'by itself' not in f.log(), 'it is said to have started:', f.log())


@test
def cannot_be_executed():
    with Flowd(workers={'bad': worker('/nonexistent/program'), 'good': worker(zoo())},
               pools={'bad': pool('bad', BreakerCrashes=2, RestartDelay='10ms'), 'good': pool('good', Max=1)},
               start=False) as f:
        f.spawn()
        # either the configuration is refused, naming the file and the line, or the pool is degraded and the other one works

        def answers():
            with contextlib.suppress(OSError):
                return f.status()
        wait_until(lambda: f.process.poll() is not None or answers(), what='flowd to end or to answer')
        if f.process.poll() is not None:
            equal(f.process.returncode, 78)
            contains(f.log(), 'bad.worker:2', '/nonexistent/program')
            f.clean = False
            return
        wait_until(lambda: f.pool('bad')['state'] == 'degraded')
        contains(f.pool('bad')['reason'], 'No such file')
        serves(f, 'good')


@test
def never_says_ready():
    with menagerie('--start=mute', StartTimeout='300ms', pool_keys={'BreakerCrashes': 2, 'BreakerCooldown': '1h'}) as f:
        wait_until(lambda: f.pool('zoo')['state'] == 'degraded', what='the pool to be degraded')
        contains(f.pool('zoo')['reason'].lower(), '300ms')
        check(f.pool('zoo')['ready'] == 0)
        wait_until(lambda: not f.pids('zoo'), what='the last worker that is not ready to be ended')


@test
def never_says_ready_and_ignores_TERM():
    with menagerie('--start=mute-stubborn', StartTimeout='200ms', StopTimeout='200ms',
                   pool_keys={'BreakerCrashes': 2, 'BreakerCooldown': '1h'}) as f:
        wait_until(lambda: f.pool('zoo')['state'] == 'degraded', what='the pool to be degraded')
        wait_until(lambda: not f.pids('zoo'), what='the last worker to be killed')


@test
def sends_garbage_at_start():
    with menagerie('--start=garbage', pool_keys={'BreakerCrashes': 2, 'BreakerCooldown': '1h'}) as f:
        wait_until(lambda: f.pool('zoo')['state'] == 'degraded', what='the pool to be degraded')
        wait_until(lambda: not f.pids('zoo'), what='the last worker to be ended')
        f.logged('EVENT=worker-protocol')


@test
def closes_its_descriptors_at_start():
    with menagerie('--start=close', StartTimeout='500ms', pool_keys={'BreakerCrashes': 2, 'BreakerCooldown': '1h'}) as f:
        wait_until(lambda: f.pool('zoo')['state'] == 'degraded', what='the pool to be degraded')
        wait_until(lambda: not f.pids('zoo'), what='the last worker to be ended')


@test
def starts_after_some_failures():
    once = tempfile.mktemp(prefix='ft-once-')
    try:
        with menagerie('--start=exit --once=%s' % once) as f:
            f.wait_ready('zoo')
            serves(f)
            equal((f.pool('zoo')['state'], f.pool('zoo')['spawned']), ('running', 2))
    finally:
        os.unlink(once)


@test
def exit_status_125_is_not_restarted():
    with menagerie('--start=exit --code=125') as f:
        wait_until(lambda: f.pool('zoo')['state'] == 'failed', what='the pool to have failed')
        equal(f.status()['state'], 'degraded')
        n = f.pool('zoo')['spawned']
        stays(lambda: f.pool('zoo')['spawned'] == n, 0.7, 'a worker that said "do not restart" was restarted')
        contains(f.pool('zoo')['reason'], '125')
        with f.jobs() as j:
            ended(j.run('zoo', b'x'), 'refused', code='PoolUnavailable')
        check(f.pool('zoo')['queued'] == 0)
        # somebody who has repaired it says so
        f.write_worker('zoo', worker(zoo()))
        f.call('Reload')
        serves(f)


@test
def exit_status_125_while_running():
    with menagerie(pool_keys={'Min': 2, 'Max': 2}) as f:
        with f.jobs() as j:
            completed(j.run('zoo', b'bye', 'last:125'), b'bye')
            f.events.wait('worker-permanent', pool='zoo')
            stays(lambda: f.pool('zoo')['spawned'] == 2, 0.5, 'a worker that said "do not restart" was restarted')
            serves(f)  # the other one still works


@test
def jobs_that_wait_for_a_worker_that_says_125():
    with menagerie('--start=sleep --code=500') as f:
        f.wait_ready('zoo')
        gate = f.gate()
        with f.jobs() as j:
            first = j.submit('zoo', gate.payload, 'gate')
            second = j.submit('zoo', b'', 'exit:125')
            third = j.submit('zoo', b'', 'echo')
            j.job_id(third)
            gate.open()
            completed(j.result(first))
            for i in (second, third):  # nobody waits for ever
                ended(j.result(i), 'failed')


@test
def crash_loop_opens_the_breaker_and_recovers():
    flag = tempfile.mktemp(prefix='ft-flag-')
    sh = "/bin/sh -c 'if [ -e %s ]; then exec %s; else exit 3; fi'" % (flag, zoo())
    try:
        with Flowd(workers={'w': worker(sh), 'good': worker(zoo())},
                   pools={'w': pool('w', Max=1, RestartDelay='10ms', BreakerCrashes=4, BreakerWindow='10s', BreakerCooldown='700ms',
                            HealthyAfter='200ms'),
                          'good': pool('good', Max=1)}) as f:
            f.events
            with Traffic(f, 'good'):
                # probed again, one worker, after each cool-down
                wait_until(lambda: f.pool('w')['spawned'] >= 6, what='two probes')
                e = [e for e in f.call('Events', pool='w')['events'] if e['name'] in ('worker-start-failed', 'worker-crashed', 'pool-degraded')]
                names = [x['name'] for x in e]
                equal(names.index('pool-degraded'), 4, 'crashes until the breaker opened, of %s:' % names)
                times = [x['time_usec'] for x in e if x['name'] != 'pool-degraded'][3:]
                check(all(b - a >= 500000 for a, b in zip(times, times[1:])), 'more than one probe in a cool-down:', times)
                pathlib.Path(flag).touch()
                f.events.wait('pool-recovered', pool='w')
                serves(f, 'w')
                equal(f.status()['state'], 'running')
    finally:
        with contextlib.suppress(OSError):
            os.unlink(flag)


# with a job in hand

@test
def hangs():
    with menagerie(JobTimeout='400ms') as f:
        with f.jobs() as j:
            pid = f.wait_ready('zoo')[0]['pid']
            start = time.monotonic()
            r = ended(j.run('zoo', b'x', 'hang'), 'timeout', '400ms')
            check(0.35 <= time.monotonic() - start < 10 * SLOW, 'timeout after %.2f s' % (time.monotonic() - start))
            equal(r.attempts, 1)
            gone(pid)
            f.events.wait('job-timeout', pool='zoo')
            serves(f)
            equal(f.pool('zoo')['timeout'], 1)
            equal(f.status()['jobs_timeout'], 1)
            # a client may say how long, too
            ended(j.run('zoo', b'x', 'hang', timeout=200000), 'timeout', '200ms')
            serves(f)


@test
def jobs_that_time_out_do_not_open_the_breaker():
    # flowd ended these workers itself; one user's slow jobs must not take the pool from the others
    with menagerie(JobTimeout='150ms', CancelTimeout='50ms', pool_keys={'BreakerCrashes': 3, 'BreakerCooldown': '1h'}) as f, f.jobs() as j:
        for _ in range(6):
            ended(j.run('zoo', b'x', 'hang'), 'timeout')
        serves(f)
        equal(f.pool('zoo')['state'], 'running')


@test
def asked_to_end_at_JobSoftTimeout():
    with menagerie(JobSoftTimeout='200ms', JobTimeout='1h') as f, f.jobs() as j:
        r = j.run('zoo', b'', 'sleep')  # it answers a cancellation
        equal((r.outcome, r.attempts), ('timeout', 1))
        contains(r.error, 'JobSoftTimeout=200ms')
        f.logged('EVENT=job-overdue')
        pid = f.pids('zoo')
        completed(j.run('zoo', b'x', 'sleep:50'), b'x')
        completed(j.run('zoo', b'y', 'sleep-deaf:600'), b'y')  # it goes on, and its answer counts
        f.call('Reexec')
        i = j.submit('zoo', b'', 'sleep')
        wait_until(lambda: f.pool('zoo')['running'] == 1)
        f.call('Reexec')
        equal(j.result(i).outcome, 'timeout')
        equal(f.pids('zoo'), pid)


@test
def hangs_with_a_family():
    names = tempfile.mktemp(prefix='ft-pids-')
    try:
        pathlib.Path(names).touch()
        with menagerie() as f:
            with f.jobs() as j:
                i = j.submit('zoo', names, 'hang-family')
                wait_until(lambda: pathlib.Path(names).read_text().endswith('\n'), what='the family')
                pids = [int(w) for w in pathlib.Path(names).read_text().split()]
                equal(len(pids), 3)
                j.cancel(i)
                ended(j.result(i), 'cancelled')
                gone(*pids)
                serves(f)
    finally:
        os.unlink(names)


@test
def ignores_TERM():
    with menagerie(JobTimeout='300ms', StopTimeout='300ms') as f:
        pid = f.wait_ready('zoo')[0]['pid']
        with f.jobs() as j:
            ended(j.run('zoo', b'x', 'stubborn'), 'timeout')
            gone(pid)
            serves(f)
            # and when it is asked to go for another reason
            i = j.submit('zoo', b'x', 'stubborn', timeout=3600 * 10**6)
            wait_until(lambda: f.pool('zoo')['running'] == 1)
            pid = f.pids('zoo')[0]
            j.cancel(i)
            ended(j.result(i), 'cancelled')
            gone(pid)
            serves(f)


@test
def ignores_TERM_when_flowd_stops():
    with menagerie('--start=stubborn', StopTimeout='300ms', conf={'ShutdownTimeout': '500ms'}) as f:
        with f.jobs() as j:
            j.job_id(j.submit('zoo', b'x', 'hang'))
            wait_until(lambda: f.pool('zoo')['running'] == 1)
    # the end of the with demands exit status 0 and that nobody is left


@test
def dies_with_a_job():
    with menagerie(MaxCrashes=2) as f:
        with f.jobs() as j:
            r = ended(j.run('zoo', b'x', 'crash'), 'failed', 'kill')
            equal(r.attempts, 2)
            f.events.wait('job-dead', pool='zoo')
            f.events.wait('worker-crashed', 2, pool='zoo')
            equal(len(f.events.find('job-requeued', pool='zoo')), 1, 'job-requeued events:')
            serves(f)
            p = f.pool('zoo')
            equal((p['crashes'], p['failed']), (2, 1))
            # the exit status is told where there is one
            contains(ended(j.run('zoo', b'x', 'exit:42'), 'failed').error, '42')
            # its last words are in the log
            ended(j.run('zoo', b'x', 'crash:6'), 'failed', 'abrt')
            f.logged('about to crash')


@test
def job_is_requeued_to_another_worker():
    with menagerie(pool_keys={'Min': 2, 'Max': 2}) as f:
        f.wait_ready('zoo', 2)
        with f.jobs() as j:
            r = completed(j.run('zoo', b'poison once', 'once'), b'poison once')
            equal(r.attempts, 2)
            f.events.wait('job-requeued', pool='zoo')


@test
def dies_midframe():
    with menagerie(MaxCrashes=1) as f:
        with f.jobs() as j:
            for cut in (1, 23, 24, 25, 40):
                r = ended(j.run('zoo', b'p' * 5000, 'midframe:%d' % cut), 'failed')
                check(r.error, 'no reason is given')
                equal(r.attempts, 1)
                equal(r.payload, b'', 'half a result came through:')
            serves(f)
            # large frames are received another way
            ended(j.run('zoo', b'p' * (4 * MiB), 'midframe:3000000'), 'failed')
            serves(f)


@test
def dies_midframe_and_the_job_is_done_by_another():
    with menagerie() as f:
        with f.jobs() as j:
            r = completed(j.run('zoo', b'q' * 9000, 'midframe-once:4000'), b'q' * 9000)
            equal(r.attempts, 2)


@test(bound=120)
def exits_with_its_result_still_in_the_socket():
    with menagerie(pool_keys={'Min': 2, 'Max': 2, 'RestartDelay': '1ms', 'RestartDelayMax': '1ms', 'BreakerCrashes': 0, 'BreakerWindow': '1ms'}) as f:
        with f.jobs() as j:
            for n in range(100):
                size = (0, 10, 3000, 100 * KiB, 300 * KiB)[n % 5]
                data = b'%04d' % n + b'r' * size
                r = completed(j.run('zoo', data, 'answer-exit:%d' % (n % 2 * 9)), data)
                equal(r.attempts, 1, 'attempts of job %d:' % n)
                # else the next job may be given to one that is about to end, and is rightly tried again
                wait_until(lambda: f.pool('zoo')['spawned'] > n + 2, what='its end to be noticed')
        equal(f.pool('zoo')['completed'], 100)
        equal(len(f.events.find('job-requeued')), 0)


@test
def sends_garbage():
    with menagerie(MaxCrashes=1) as f:
        with f.jobs() as j:
            for n in (0, 24, 1000):  # one byte would be the start of a header, for ever: a hang, not garbage
                pid = f.wait_ready('zoo')[0]['pid']
                ended(j.run('zoo', b'x', 'garbage:%d' % n), 'failed', 'no frame')
                gone(pid)
            f.events.wait('worker-protocol', pool='zoo')
            serves(f)


@test
def an_oversized_frame():
    with menagerie(MaxCrashes=1) as f:
        before = rss_of(f.pid)
        with f.jobs() as j:
            for n in (0, 0x7fffffff, 66 * MiB):
                pid = f.wait_ready('zoo')[0]['pid']
                ended(j.run('zoo', b'x', 'oversized:%d' % n), 'failed')
                gone(pid)
            serves(f)
        check(rss_of(f.pid) - before < 20 * MiB, 'the announced size was believed: %d MiB more' % ((rss_of(f.pid) - before) / MiB))


@test
def announces_a_large_result_and_hangs():
    with menagerie(JobTimeout='400ms', ResultMax='64M') as f:
        before = rss_of(f.pid)
        with f.jobs() as j:
            ended(j.run('zoo', b'x', 'oversized:%d' % (60 * MiB)), 'timeout')
        check(rss_of(f.pid) - before < 80 * MiB)
        serves(f)


@test
def a_result_above_ResultMax():
    with menagerie('--no-memfd', ResultMax='64K') as f:
        with f.jobs() as j:
            completed(j.run('zoo', b'', 'big:65536'), bytes(65536))
            for n in (65537, 300 * KiB, 5 * MiB):
                r = ended(j.run('zoo', b'', 'big:%d' % n), 'failed', 'resultmax')
                equal(r.code, 'ResultTooLarge')
                equal(r.attempts, 1, 'a result that is too large is no reason to try again:')
            serves(f)


@test
def a_memfd_result_above_ResultMax():
    with menagerie(ResultMax='1M') as f:
        with f.jobs() as j:
            completed(j.run('zoo', b'', 'big:1048576'), bytes(MiB))
            ended(j.run('zoo', b'', 'big:1048577'), 'failed', 'resultmax', code='ResultTooLarge')
            serves(f)


@test
def an_unsealed_or_lying_descriptor():
    with menagerie(MaxCrashes=1) as f:
        with f.jobs() as j:
            # sealed in truth, but small: flowd may take it or not, and must say so
            r = j.run('zoo', b'small', 'unsealed')
            check(r.outcome in ('completed', 'failed'))
            if r.outcome == 'completed':
                equal(r.payload, b'small')
            serves(f)


@test
def another_jobs_id():
    with menagerie(MaxCrashes=1) as f:
        with f.jobs() as j, f.jobs() as other:
            o = other.submit('good', b'mine', 'sleep:300')
            r = j.run('zoo', b'x', 'other-job')
            if r.outcome == 'completed':  # dropped as a result of nobody's
                equal(r.payload, b'x')
            else:
                ended(r, 'failed', 'that it was not given')
            told_off(f)
            completed(other.result(o), b'mine')
            serves(f)


@test
def a_result_of_another_attempt():
    with menagerie(MaxCrashes=1) as f:
        with f.jobs() as j:
            for n in (0, 1, 7):
                r = j.run('zoo', b'right', 'other-attempt:%d' % n)
                if r.outcome == 'completed':
                    equal(r.payload, b'right')
                else:
                    ended(r, 'failed', 'that it was not given')
            told_off(f)
            serves(f)


@test
def two_results_for_one_job():
    with menagerie(MaxCrashes=1) as f:
        with f.jobs() as j:
            for n in range(5):
                completed(j.run('zoo', b'first', 'twice'), b'first')
            j.ping()
            check(len(j.results) == 5)
            told_off(f)
            serves(f)


@test
def text_that_is_not_UTF8():
    with menagerie(MaxCrashes=1) as f:
        with f.jobs() as j:
            r = j.run('zoo', b'x', 'bad-text')  # refused, or passed on for what it is
            check(r.outcome == 'failed' or (r.outcome, r.kind) == ('completed', BYTES), r)
            serves(f)


@test
def floods_stderr():
    with menagerie(conf={'StderrRate': 100, 'StderrInterval': '2s'}) as f:
        start = time.monotonic()
        with f.jobs() as j:
            completed(j.run('zoo', b'x', 'flood:1000'), b'x', )
            before = rss_of(f.pid)
            completed(j.run('zoo', b'x', 'flood:300000', wait=40), b'x')
            check(rss_of(f.pid) - before < 8 * MiB, 'the flood is kept: %d KiB more' % ((rss_of(f.pid) - before) // KiB))
        # all of what it said has been read when its last line is in the tail, and more than some of it has been dropped
        id = f.workers('zoo')[0]['id']
        wait_until(lambda: 'line 299999 of a flood' in f.worker(id)['stderr'], what='the last line of the flood')
        f.events.wait('output-dropped', pool='zoo')
        f.logged('StderrRate=100')
        lines, most = f.log().count('of a flood'), 100 * ((time.monotonic() - start) / 2 + 2)
        check(50 <= lines <= most, '%d lines of the flood are in the log, which may be %d' % (lines, most))
        w = f.worker(id)
        check(len(w['stderr']) <= 40 * KiB, 'the tail has %d bytes' % len(w['stderr']))


@test
def a_line_of_stderr_that_never_ends():
    with menagerie() as f:
        with f.jobs() as j:
            before = rss_of(f.pid)
            completed(j.run('zoo', b'x', 'flood-line:20000000', wait=40), b'x')
            check(rss_of(f.pid) - before < 8 * MiB, 'the line is kept')
            serves(f)


@test
def a_grandchild_in_the_same_group():
    with menagerie() as f:
        with f.jobs() as j:
            pid = int(j.run('zoo', b'', 'child').payload)
            own = f.pids('zoo')[0]
            check(alive(pid))
            f.call('KillWorker', id=f.workers('zoo')[0]['id'])
            gone(own, pid)
            serves(f)


@test
def a_grandchild_in_a_session_of_its_own():
    with menagerie() as f:
        with f.jobs() as j:
            pid = int(j.run('zoo', b'', 'far-child').payload)
            check(alive(pid))
            f.call('KillWorker', id=f.workers('zoo')[0]['id'], signal=9)
            gone(pid)
            f.events.wait('orphan-killed')
            serves(f)
            # a worker that ends by itself takes its family with it, too
            pid = int(j.run('zoo', b'', 'far-child').payload)
            near = int(j.run('zoo', b'', 'child').payload)
            completed(j.run('zoo', b'', 'last:0'))
            gone(pid, near)
            # and so does one that crashes
            pid = int(j.run('zoo', b'', 'far-child').payload)
            near = int(j.run('zoo', b'', 'child').payload)
            ended(j.run('zoo', b'', 'crash'), 'failed')
            gone(pid, near)
            # the last one is left to the end of flowd
            j.run('zoo', b'', 'far-child')
            j.run('zoo', b'', 'child')


@test
def a_grandchild_that_never_stops_writing():
    # it has its worker's stdout, sends good frames for ever, and is not in its group: flowd must not read until it stops
    with menagerie() as f:
        with f.jobs() as j:
            pid = int(completed(j.run('zoo', b'', 'far-flood')).payload)
            os.kill(f.pids('zoo')[0], signal.SIGKILL)
            gone(pid)
            serves(f)


@test
def closes_its_descriptors_with_a_job():
    with menagerie(MaxCrashes=1) as f:
        with f.jobs() as j:
            for n in (0, 1, 2):
                pid = f.wait_ready('zoo')[0]['pid']
                if n == 1:  # it can still answer, as far as anybody knows
                    ended(j.run('zoo', b'x', 'close:1', timeout=300000), 'timeout')
                else:
                    r = j.run('zoo', b'x', 'close:%d' % n, timeout=600000)
                    check(r.outcome in ('failed', 'timeout'))
                gone(pid)
            pid = f.wait_ready('zoo')[0]['pid']
            ended(j.run('zoo', b'x', 'half-close', timeout=int(10e6 * SLOW)), 'failed')
            gone(pid)
            serves(f)
        check(idle_cpu(f.pid) < 0.5, 'flowd is busy over a closed descriptor')


@test
def a_result_after_its_cancellation():
    with menagerie('--slots=2', Slots=2, CancelTimeout='20s') as f:
        f.wait_ready('zoo')
        gate = f.gate()
        with f.jobs() as j:
            a = j.submit('zoo', b'a', 'sleep-late:0')
            b = j.submit('zoo', gate.payload, 'gate')
            j.job_id(a), j.job_id(b)
            wait_until(lambda: f.pool('zoo')['running'] == 2)
            pid = f.pids('zoo')[0]
            j.cancel(a)
            ended(j.result(a), 'cancelled')
            f.events.wait('job-fenced', pool='zoo')
            gate.open()
            completed(j.result(b), gate.payload)
            equal(f.pids('zoo')[0], pid, 'the worker confirmed its cancellation, and still was replaced:')
            serves(f)


@test
def a_fenced_attempts_late_result():
    # it answers after CancelTimeout=, when its job has long been over for everybody else
    with menagerie('--slots=2', Slots=2, CancelTimeout='100ms', DrainTimeout='20s') as f:
        f.wait_ready('zoo')
        gate = f.gate()
        with f.jobs() as j:
            a = j.submit('zoo', b'a', 'sleep-late:0', timeout=200000)
            b = j.submit('zoo', gate.payload, 'gate')
            ended(j.result(a), 'timeout')
            f.events.wait('job-fenced', pool='zoo')
            gate.open()
            equal(completed(j.result(b), gate.payload).attempts, 1)
            j.ping()
            serves(f)
        p = f.pool('zoo')
        equal((p['timeout'], p['failed'], p['completed']), (1, 0, 2))


# slots

@test
def four_slots():
    with menagerie('--slots=4', Slots=4, CancelTimeout='20s') as f:
        f.wait_ready('zoo')
        gate = f.gate()
        with f.jobs() as j:
            ids = [j.submit('zoo', b'%d' % n, 'sleep:0') for n in range(6)]
            for i in ids:
                j.job_id(i)
            wait_until(lambda: f.pool('zoo')['running'] == 4, what='four running jobs')
            stays(lambda: f.pool('zoo')['running'] == 4 and f.pool('zoo')['queued'] == 2, 0.3, 'the slots are not four')
            w = f.workers('zoo')
            equal((len(w), w[0]['slots'], w[0]['running'], len(w[0]['jobs'])), (1, 4, 4, 4))
            # one cancelled: the others stay, the next one moves up
            j.cancel(ids[1])
            ended(j.result(ids[1]), 'cancelled')
            wait_until(lambda: f.pool('zoo')['queued'] == 1)
            equal(f.pool('zoo')['running'], 4)
            equal(set(j.results), {ids[1]})
            for i in ids:
                j.cancel(i)
            for i in ids:
                ended(j.result(i), 'cancelled')
            equal(f.pids('zoo')[0], w[0]['pid'])
            # four that go on until each of them has been seen
            ids = [j.submit('zoo', gate.payload, 'gate') for _ in range(4)]
            wait_until(lambda: f.pool('zoo')['running'] == 4, what='four jobs at a time')
            gate.open()
            for i in ids:
                completed(j.result(i), gate.payload)


@test
def a_slot_that_ignores_its_cancellation():
    with menagerie('--slots=4', Slots=4, CancelTimeout='200ms', DrainTimeout='20s') as f:
        f.wait_ready('zoo')
        with f.jobs() as j:
            bad = j.submit('zoo', b'bad', 'sleep-deaf:0')
            gate = f.gate()
            good = [j.submit('zoo', gate.payload, 'gate') for _ in range(2)]
            j.job_id(bad), [j.job_id(g) for g in good]
            wait_until(lambda: f.pool('zoo')['running'] == 3)
            pid = f.pids('zoo')[0]
            j.cancel(bad)
            ended(j.result(bad), 'cancelled')
            f.events.wait('worker-hung', pool='zoo')  # after CancelTimeout=
            # new jobs go to another worker; those in hand are finished by the old one
            r = completed(j.run('zoo', b'', 'pid', wait=10))
            check(int(r.payload) != pid, 'a job was given to a worker that does not answer its cancellation')
            gate.open()
            for g in good:
                equal(completed(j.result(g), gate.payload).attempts, 1)
            gone(pid)
            serves(f)


@test
def a_slot_that_ignores_its_cancellation_until_DrainTimeout():
    with menagerie('--slots=4', Slots=4, CancelTimeout='200ms', DrainTimeout='300ms') as f:
        f.wait_ready('zoo')
        with f.jobs() as j:
            bad = j.submit('zoo', b'bad', 'sleep-deaf:0')
            gate = f.gate()
            good = j.submit('zoo', gate.payload, 'gate')
            j.job_id(bad), j.job_id(good)
            wait_until(lambda: f.pool('zoo')['running'] == 2)
            pid = f.pids('zoo')[0]
            j.cancel(bad)
            ended(j.result(bad), 'cancelled')
            f.events.wait('job-requeued', pool='zoo')
            gate.open()
            r = completed(j.result(good), gate.payload)  # requeued, and not counted as a crash
            equal(r.attempts, 2)
            check(not alive(pid))
            equal(len(f.events.find('job-dead')), 0)


@test
def more_slots_dies_with_all_jobs():
    with menagerie('--slots=4', Slots=4, MaxCrashes=3) as f:
        f.wait_ready('zoo')
        with f.jobs() as j:
            gate = f.gate()
            ids = [j.submit('zoo', gate.payload, 'gate') for _ in range(3)]
            for i in ids:
                j.job_id(i)
            wait_until(lambda: f.pool('zoo')['running'] == 3)
            k = j.submit('zoo', b'k', 'once')  # kills the worker the first time
            f.events.wait('job-requeued', 4, pool='zoo')
            gate.open()
            for i in ids:
                equal(completed(j.result(i), gate.payload).attempts, 2)
            completed(j.result(k), b'k')


# heartbeats: a worker may go unheard for three intervals, which is as long as a loaded machine may keep it from running

BEAT = 400 * SLOW
HEARTBEATS = {'HeartbeatInterval': '%dms' % BEAT}


@test
def misses_its_heartbeats():
    with menagerie(MaxCrashes=2, **HEARTBEATS) as f:
        f.wait_ready('zoo')
        with f.jobs() as j:
            # busy, but heard: more than several intervals are no matter
            completed(j.run('zoo', b'beating', 'sleep:%d' % (5 * BEAT)), b'beating')
            equal(f.pool('zoo')['crashes'], 0)
            pid = f.pids('zoo')[0]
            r = ended(j.run('zoo', b'x', 'hang'), 'failed', 'heartbeat')
            equal(r.attempts, 2)
            f.events.wait('worker-hung', 2, pool='zoo')
            gone(pid)
            serves(f)


@test
def heartbeats_begin_when_it_is_ready():
    with menagerie('--start=sleep --code=%d' % (5 * BEAT), **HEARTBEATS) as f:
        f.wait_ready('zoo')
        equal((f.pool('zoo')['spawned'], f.pool('zoo')['crashes']), (1, 0))


@test
def misses_its_heartbeats_when_idle():
    with menagerie(**HEARTBEATS) as f:
        f.wait_ready('zoo')
        pid = f.pids('zoo')[0]
        os.kill(pid, signal.SIGSTOP)
        f.events.wait('worker-hung', pool='zoo')
        gone(pid)
        serves(f)


@test
def hung_worker_s_job_is_done_by_another():
    with menagerie(pool_keys={'Min': 2, 'Max': 2}, **HEARTBEATS) as f:
        f.wait_ready('zoo', 2)
        gate = f.gate()
        with f.jobs() as j:
            i = j.submit('zoo', gate.payload, 'gate')
            wait_until(lambda: f.pool('zoo')['running'] == 1)
            pid = [w['pid'] for w in f.workers('zoo') if w['running']][0]
            os.kill(pid, signal.SIGSTOP)
            f.events.wait('job-requeued', pool='zoo')
            gate.open()
            equal(completed(j.result(i), gate.payload).attempts, 2)
            gone(pid)


# the rest of what a worker may say

@test
def progress_logs_and_errors_reach_the_client():
    with menagerie() as f:
        with f.jobs() as j:
            i = j.submit('zoo', b'x', 'talk:4')
            r = completed(j.result(i), b'x')
            equal([p.fraction for p in j.progress[i]], [250000, 500000, 750000, 1000000])
            equal([p.payload for p in j.progress[i]], [b'step %d' % n for n in range(1, 5)])
            equal([(p.level, p.payload) for p in j.logs[i]], [(6, b'step %d' % n) for n in range(1, 5)])
            equal(r.worker, 'zoo/0')
            check(r.run_usec < 20 * 10**6 and r.wait_usec < 20 * 10**6)
            r = ended(j.run('zoo', b'x', 'fail'), 'failed', 'cannot do that')
            equal((r.attempts, r.retry or 0), (1, 0))
            r = ended(j.run('zoo', b'x', 'fail:1'), 'failed', 'cannot do that')


@test
def the_environment_is_clean():
    with menagerie() as f:
        with f.jobs() as j:
            e = dict(line.split('=', 1) for line in j.run('zoo', b'', 'env').payload.decode().splitlines())
            equal((e['FLOWD_POOL'], e['FLOWD_WORKER'], e['FLOWD_WORKER_TYPE']), ('zoo', 'zoo/0', 'zoo'))
            check(e['FLOWD_GENERATION'].isdigit())
            for name in ('NOTIFY_SOCKET', 'LISTEN_FDS', 'LISTEN_PID', 'WATCHDOG_USEC', 'FLOWD_JOB', 'top_builddir'):
                check(name not in e, name, 'is in the environment of a worker')
            pid = int(j.run('zoo', b'', 'pid').payload)
            fds = {int(n): os.readlink('/proc/%d/fd/%s' % (pid, n)) for n in os.listdir('/proc/%d/fd' % pid)}
            equal(sorted(fds), [0, 1, 2], 'descriptors of a worker: %s' % fds)
            contains(fds[0], 'socket:')
            equal(fds[0], fds[1])
            contains(fds[2], 'pipe:')
            equal(os.getsid(pid), pid, 'session of a worker:')
            with open('/proc/%d/status' % pid) as s:
                status = s.read()
            contains(status, 'SigBlk:\t0000000000000000', 'SigIgn:\t0000000000000000')


main()
