#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The exec protocol: any command is a worker, whatever it does to its input, output and children."""

from flowtest import *


@contextlib.contextmanager
def commands(command=None, tier='cold', pool_keys=None, output=None, **keys):
    with Flowd(workers={'x': worker(command or zoo_exec(), 'exec', StopTimeout='500ms', CancelTimeout='300ms',
                                    **({'Output': output} if output else {}), **keys), 'good': worker(zoo())},
               pools={'x': pool('x', tier, **{'Max': 2, 'RestartDelay': '10ms', 'BreakerCrashes': 90, 'HealthyAfter': '200ms',
                                              'RestartDelayMax': '50ms', **(pool_keys or {})}),
                      'good': pool('good', Max=1)}) as f:
        with Traffic(f, 'good'):
            yield f
        equal(f.status()['pid'], f.pid)
        wait_until(lambda: not f.pids('x') or tier != 'cold', what='the cold workers to go')


@test
def a_stock_command():
    with commands('/bin/cat') as f, f.jobs() as j:
        completed(j.run('x', b'hello'), b'hello')
        equal(j.run('x', b'hello').kind, BYTES)
        equal(f.flowctl('run', '--pool=x', 'some text', check_status=0).stdout.rstrip(b'\n'), b'some text')
    with commands('/usr/bin/sha256sum', output='text') as f, f.jobs() as j:
        import hashlib
        r = completed(j.run('x', b'data'))
        equal((r.kind, r.payload.split()[0].decode()), (TEXT, hashlib.sha256(b'data').hexdigest()))


@test
def quoting_and_environment():
    with commands("/bin/sh -c 'printf %%s \"$A|$B|$FLOWD_POOL|$FLOWD_METHOD|$FLOWD_SESSION|$FLOWD_ATTEMPT|$FLOWD_JOB\"'",
                  output='text', Environment=['A=one "B=two words"']) as f, f.jobs() as j:
        i = j.submit('x', b'', 'm', session='s1')
        r = completed(j.result(i))
        equal(r.payload.decode(), 'one|two words|x|m|s1|1|' + j.job_id(i))


@test
def exit_statuses():
    with commands() as f, f.jobs() as j:
        for n in (1, 2, 42, 255):
            r = ended(j.run('x', b'', 'exit:%d' % n), 'failed', str(n), 'leaving with %d' % n)
            equal(r.attempts, 1, 'a failure is not a crash:')
        r = ended(j.run('x', b'', 'stderr:300'), 'failed', 'complaint 299')
        check(len(r.error) < 33 * KiB)
        p = f.pool('x')
        equal((p['failed'], p['completed']), (5, 0))
        check(p['state'] != 'degraded', 'jobs that fail open the breaker')


@test
def ends_by_a_signal():
    with commands(MaxCrashes=2) as f, f.jobs() as j:
        r = ended(j.run('x', b'', 'crash:11'), 'failed')
        check('SEGV' in r.error.upper() or '11' in r.error, r.error)


@test
def ignores_its_input():
    with commands() as f, f.jobs() as j:
        for size in (0, 10, 200 * KiB, 8 * MiB):
            completed(j.run('x', b'i' * size, 'ignore-input'), b'did not look')
        completed(j.run('x', b'i' * 8 * MiB, 'close-input:200'), b'did not look')


@test
def big_output():
    with commands() as f, f.jobs() as j:
        for n in (65536, 65537, 1000000, 20 * MiB):
            completed(j.run('x', b'', 'big:%d' % n), b'z' * n)


@test
def output_above_ResultMax():
    with commands(ResultMax='1M') as f, f.jobs() as j:
        completed(j.run('x', b'', 'big:%d' % MiB), b'z' * MiB)
        before = rss_of(f.pid)
        ended(j.run('x', b'', 'big:%d' % (MiB + 1)), 'failed', 'resultmax', code='ResultTooLarge')
        ended(j.run('x', b'', 'big:%d' % (300 * MiB)), 'failed', 'resultmax')
        check(rss_of(f.pid) - before < 8 * MiB)


@test
def output_that_never_ends():
    with commands('/usr/bin/yes', ResultMax='1M', JobTimeout='10s') as f, f.jobs() as j:
        ended(j.run('x', b''), 'failed', 'resultmax')
        wait_until(lambda: not f.pids('x'))


@test
def output_kinds():
    with commands(output='text') as f, f.jobs() as j:
        r = completed(j.run('x', 'grüß dich'), 'grüß dich'.encode())
        equal(r.kind, TEXT)
        ended(j.run('x', b'', 'bad-utf8'), 'failed', 'utf-8')
    with commands(output='json') as f, f.jobs() as j:
        r = completed(j.run('x', b' {"a": [1, 2.5, "x"]}\n'))
        equal((r.kind, json.loads(r.payload)), (JSON, {'a': [1, 2.5, 'x']}))
        ended(j.run('x', b'{"a":'), 'failed', 'json')
        ended(j.run('x', b'{} {}'), 'failed', 'json')
        ended(j.run('x', b''), 'failed', 'json')
    with commands(output='bytes') as f, f.jobs() as j:
        r = completed(j.run('x', b'', 'bad-utf8'), b'\xff\xfe')
        equal(r.kind, BYTES)


@test
def hangs_and_is_ended():
    with commands(JobTimeout='1s') as f, f.jobs() as j:
        for verb in ('hang', 'stubborn'):
            i = j.submit('x', b'', verb)
            pids = wait_until(lambda: f.pids('x'))
            ended(j.result(i), 'timeout', '1s')
            wait_until(lambda: not any(map(alive, pids)))


@test
def is_cancelled():
    with commands() as f, f.jobs() as j:
        for verb in ('hang', 'stubborn'):
            i = j.submit('x', b'', verb)
            wait_until(lambda: f.pool('x')['running'] == 1)
            pids = f.pids('x')
            j.cancel(i)
            ended(j.result(i), 'cancelled')
            wait_until(lambda: not any(map(alive, pids)))


@test
def its_worker_is_killed_by_an_operator():
    # how it exits is flowd's doing, not the command's word on its job: the job is tried again
    for method, how in (('term:3', ()), ('term:0', ()), ('term-default', ()), ('term:0', ('-s', 'KILL'))):
        with commands() as f, f.jobs() as j:
            f.events
            i = j.submit('x', b'', method)
            wait_until(lambda: any('waits for TERM' in f.worker(w['id'])['stderr'] for w in f.workers('x')), what='the command to wait')
            (w,) = f.workers('x')
            f.flowctl('worker', 'kill', *how, w['id'], check_status=0)
            equal(completed(j.result(i), b'again').attempts, 2, method)
            wait_until(lambda: not f.pids('x'), what='the end of the second worker')
            equal(f.pool('x')['crashes'], 1 if how else 0, 'crashes after worker kill %s:' % ' '.join(how))
            f.events.wait('worker-killed', worker=w['id'])
            contains(f.flowctl('events', '--limit=50', check_status=0).stdout.decode(), 'worker-killed', w['id'],
                     'SIGKILL' if how else 'SIGTERM', 'uid %d' % os.getuid())


@test
def a_child_that_keeps_its_output_open():
    with commands() as f, f.jobs() as j:
        # the command is over when it has exited; what it left behind is killed, and cannot hold up the job
        for verb in ('child', 'far-child'):
            r = completed(j.run('x', b'', verb))
            pid = int(r.payload)
            wait_until(lambda: not alive(pid), what='the descendant to be killed')


@test
def closes_its_output_early():
    with commands() as f, f.jobs() as j:
        completed(j.run('x', b'', 'close-early:300'), b'early')


@test
def a_shell_with_a_pipeline():
    with commands("/bin/sh -c 'tr a-z A-Z | rev; sleep 0.05 &'", output='text') as f, f.jobs() as j:
        completed(j.run('x', b'abc\n'), b'CBA\n')


@test
def stdin_is_a_pipe():
    # a socket would break /dev/stdin
    with commands("/bin/sh -c 'cat /dev/stdin'") as f, f.jobs() as j:
        completed(j.run('x', b'through /dev/stdin'), b'through /dev/stdin')


@test
def cannot_be_executed_when_its_job_comes():
    path = tempfile.mktemp(prefix='ft-cmd-')
    pathlib.Path(path).write_text('#!/bin/sh\ncat\n')
    os.chmod(path, 0o755)
    try:
        with commands(path, pool_keys={'BreakerCrashes': 3, 'BreakerCooldown': '500ms'}) as f, f.jobs() as j:
            completed(j.run('x', b'1'), b'1')
            os.unlink(path)
            r = j.run('x', b'2', wait=15)
            check(r.outcome in ('failed', 'refused'), r)
            contains(r.error.lower(), 'no such file')
            pathlib.Path(path).write_text('#!/bin/sh\ncat\n')
            os.chmod(path, 0o755)
            wait_until(lambda: j.run('x', b'3').outcome == 'completed', 10, 'the pool to recover', interval=0.2)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


CHAIN = """
import os, glob, time
me = os.environ
if me['FLOWD_ATTEMPT'] == '1':  # a chain of descendants, each in a session of its own; then it dies
    r, w = os.pipe()
    for i in range(200):
        if os.fork():
            if i == 0:
                os.read(r, 1)
                os.kill(os.getpid(), 9)
            time.sleep(1000)
        os.setsid()
    os.write(w, b'x')
    time.sleep(1000)
left = 0
for path in glob.glob('/proc/[0-9]*/environ'):
    try:
        e = dict(v.split('=', 1) for v in open(path).read().split(chr(0)) if '=' in v)
    except OSError:
        continue
    left += e.get('FLOWD_INSTANCE') == me['FLOWD_INSTANCE'] and e.get('FLOWD_GENERATION') != me['FLOWD_GENERATION']
print(left)
"""


@test
def attempts_never_overlap():
    # each descendant becomes an orphan only when the one above it is dead: the next attempt waits for the last
    with tempfile.TemporaryDirectory(prefix='ft-chain-') as folder:
        pathlib.Path(folder, 'chain.py').write_text(CHAIN)
        with Flowd(workers={'x': worker('%s %s/chain.py' % (sys.executable, folder), 'exec')}, pools={'x': pool('x', 'cold', Max=4)}) as f:
            with f.jobs() as j:
                equal(completed(j.run('x', b''), b'0\n').attempts, 2)


@test
def prespawned_in_a_hot_pool():
    # a worker waits for its job with its stdin open: it is started beforehand, and is still good for one job
    with commands('/bin/cat', tier='hot', pool_keys={'Min': 2, 'Max': 2}) as f, f.jobs() as j:
        f.wait_ready('x', 2)
        for n in range(20):
            completed(j.run('x', b'%d' % n), b'%d' % n)
        wait_until(lambda: f.pool('x')['ready'] >= 2, what='the successors')
        check(f.pool('x')['spawned'] >= 22)
        equal(f.pool('x')['crashes'], 0, 'an exec worker that has done its job is no crash:')


@test
def asked_to_end_at_JobSoftTimeout():
    ready = "echo begun >&2; while :; do sleep 0.02; done"
    for what, outcome, part in (("trap 'echo partial; exit 0' TERM; " + ready, 'completed', b'partial'),      # what it has by then
                                ("trap 'echo no time >&2; exit 3' TERM; " + ready, 'timeout', b''),
                                (ready, 'timeout', b'')):                                                      # dies of it
        with commands('/bin/sh -c "%s"' % what.replace('"', '\\"'), JobSoftTimeout='500ms', JobTimeout='60s') as f, f.jobs() as j:
            r = j.run('x', b'')
            equal((r.outcome, r.attempts), (outcome, 1))
            if outcome == 'completed':
                equal(r.payload.strip(), part)
            else:
                contains(r.error, 'JobSoftTimeout=500ms')
            equal((f.pool('x')['crashes'], f.pool('x')['timeout']), (0, outcome == 'timeout'))


@test
def asked_to_end_in_vain_at_JobSoftTimeout():
    with commands('/bin/sh -c "trap \'\' TERM; while :; do sleep 0.02; done"', JobSoftTimeout='200ms', JobTimeout='600ms') as f, f.jobs() as j:
        r = j.run('x', b'')
        equal(r.outcome, 'timeout')
        contains(r.error, 'no result within 600ms')


@test
def many_jobs_at_a_time():
    with commands('/bin/cat', pool_keys={'Max': 4}) as f, f.jobs() as j:
        data = {j.submit('x', b'job %d' % n): b'job %d' % n for n in range(200)}
        most = 0
        while len(j.results) < 200:
            j.pump(0.05)
            most = max(most, f.pool('x')['workers'])
        for i, d in data.items():
            completed(j.results[i], d)
        check(most <= 4, '%d workers of 4' % most)


main()
