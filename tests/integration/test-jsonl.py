#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The jsonl protocol: what workers get, what they may say, and what happens when they say something else."""

from flowtest import *


LONG = int(20e6 * SLOW)  # of a job that must not time out: it begins while the worker, which says nothing, still starts


@contextlib.contextmanager
def jsonl(args='', pool_keys=None, conf=None, **keys):
    with Flowd(workers={'x': worker(zoo_jsonl() + ' ' + args, 'jsonl', **{'StopTimeout': '500ms', 'CancelTimeout': '300ms', **keys}),
                        'good': worker(zoo())},
               pools={'x': pool('x', **{'Max': 1, 'RestartDelay': '10ms', 'RestartDelayMax': '50ms', 'BreakerCrashes': 90,
                                        **(pool_keys or {})}),
                      'good': pool('good', Max=1)}, conf=conf) as f:
        f.events
        with Traffic(f, 'good'):
            yield f
        equal(f.status()['pid'], f.pid)
        equal(f.pool('good')['spawned'], 1)


def serves(f):
    with f.jobs() as j:  # whatever the type's JobTimeout= is: this is about whether it answers
        completed(j.run('x', 'again', timeout=LONG), b'again')


@test
def kinds_come_and_go_as_they_are():
    with jsonl() as f, f.jobs() as j:
        for text in ('', 'a', 'gr\u00fc\u00df \u2603 \U0001f600', 'quo"te \\ back\nline\ttab\x01\x1f\x7f', '\u2028', 'nul \0 inside'):
            r = completed(j.run('x', text, kind=TEXT), text.encode())
            equal(r.kind, TEXT)
        for v in (None, True, 0, -1.5, 12345678901234567890, [], {}, {'a': [1, {'b': None}]}, [1, 2, 3]):
            r = completed(j.run('x', json.dumps(v).encode(), kind=JSON))
            equal((r.kind, json.loads(r.payload)), (JSON, v))
        for data in (b'', b'\0', bytes(range(256)) * 5, b'plain'):
            r = completed(j.run('x', data, kind=BYTES), data)
            equal(r.kind, BYTES)
        # a JSON string is a JSON string when the worker says so
        r = completed(j.run('x', b'"s"', 'json', kind=JSON))
        equal((r.kind, json.loads(r.payload)), (JSON, 's'))


@test
def payloads_that_are_not_what_they_say():
    with jsonl() as f, f.jobs() as j:
        for data, kind in ((b'\xff', TEXT), (b'\xc0\xaf', TEXT), (b'\xed\xa0\x80', TEXT), (b'{', JSON), (b'', JSON), (b'1 2', JSON)):
            r = j.run('x', data, kind=kind)
            check(r.outcome in ('failed', 'refused'), 'payload %r of kind %d: %s' % (data, kind, r.outcome))
            check('utf-8' in r.error.lower() or 'json' in r.error.lower(), r.error)
        serves(f)
        equal(f.pool('x')['crashes'], 0)


@test
def what_a_job_carries():
    with jsonl() as f, f.jobs() as j:
        r = json.loads(completed(j.run('x', 'p', 'members')).payload)
        equal(r, ['attempt', 'job', 'method', 'payload'])
        deadline = time.time() + 60
        i = j.submit('x', 'p', 'whole', session='s9', deadline=int(deadline * 1e6))
        w = json.loads(completed(j.result(i)).payload)
        equal((w['job'], w['attempt'], w['method'], w['session'], w['payload']), (j.job_id(i), 1, 'whole', 's9', 'p'))
        check(abs(w['deadline'] - deadline) < 0.001, 'the deadline is %s, not %s' % (w['deadline'], deadline))


@test
def progress_logs_errors():
    with jsonl() as f, f.jobs() as j:
        i = j.submit('x', 'x', 'talk:4')
        completed(j.result(i))
        equal([p.fraction for p in j.progress[i]], [250000, 500000, 750000, 1000000])
        equal([(p.level, p.payload) for p in j.logs[i]], [(4, b'step %d' % n) for n in range(1, 5)])
        ended(j.run('x', 'x', 'fail'), 'failed', 'cannot do that')
        completed(j.run('x', 'x', 'print'))
        f.logged('hello from stderr')


@test
def ready_explicit():
    with jsonl('--ready', Ready='explicit') as f:
        f.wait_ready('x')
        serves(f)
    with jsonl('--start=mute', Ready='explicit', StartTimeout='300ms', pool_keys={'BreakerCrashes': 2, 'BreakerCooldown': '1h'}) as f:
        wait_until(lambda: f.pool('x')['state'] == 'degraded')


@test
def exits_at_start():
    with jsonl('--start=exit --code=3', pool_keys={'BreakerCrashes': 2, 'BreakerCooldown': '1h'}) as f:
        wait_until(lambda: f.pool('x')['state'] == 'degraded')
        contains(f.pool('x')['reason'], '3')


@test
def lines_that_are_no_messages():
    with jsonl(MaxCrashes=1) as f, f.jobs() as j:
        for verb in ('garbage', 'binary', 'bad-utf8', 'bad-base64', 'deep:100000'):
            r = ended(j.run('x', 'x', verb, wait=15), 'failed')
            check(r.error, 'no reason is given for', verb)
        f.events.wait('worker-protocol', pool='x')
        serves(f)


@test
def half_a_line():
    with jsonl(MaxCrashes=1) as f, f.jobs() as j:
        ended(j.run('x', 'some payload', 'midline'), 'failed')
        r = j.run('x', 'whole but unended', 'no-newline')
        check(r.outcome in ('failed', 'completed'))
        if r.outcome == 'completed':
            equal(r.payload, b'whole but unended')
        serves(f)


@test
def a_line_that_never_ends():
    with jsonl(MaxCrashes=1, conf={'JsonMax': '1M'}) as f, f.jobs() as j:
        before = rss_of(f.pid)
        ended(j.run('x', 'x', 'endless'), 'failed', 'jsonmax')
        check(rss_of(f.pid) - before < 20 * MiB)
        serves(f)


@test
def results_around_the_limits():
    with jsonl(ResultMax='100K') as f, f.jobs() as j:
        completed(j.run('x', 'x', 'big:%d' % (100 * KiB)), b'y' * (100 * KiB))
        ended(j.run('x', 'x', 'big:%d' % (100 * KiB + 1)), 'failed', 'resultmax', code='ResultTooLarge')
        serves(f)


@test
def another_jobs_id_and_two_results():
    with jsonl(MaxCrashes=1) as f, f.jobs() as j:
        for verb in ('other-job', 'twice', 'bad-kind'):
            r = j.run('x', 'mine', verb)
            if r.outcome == 'completed':
                equal(r.payload, b'mine')
            else:
                check(r.error)
        wait_until(lambda: f.events.find('job-fenced') or f.events.find('worker-protocol'), what='a word about it')
        serves(f)


@test(bound=90)
def exits_with_its_result_in_the_socket():
    with jsonl(pool_keys={'Min': 2, 'Max': 2, 'RestartDelay': '1ms', 'RestartDelayMax': '1ms', 'BreakerWindow': '1ms'}) as f:
        with f.jobs() as j:
            for n in range(16):
                data = '%04d' % n + 'r' * (0, 10, 3000, 300000)[n % 4]
                equal(completed(j.run('x', data, 'answer-exit:%d' % (n % 2)), data.encode()).attempts, 1)
                # else the next job may be given to one that is about to end, and is rightly tried again
                wait_until(lambda: f.pool('x')['spawned'] > n + 2, what='its end to be noticed')


@test
def hangs_and_crashes():
    with jsonl(MaxCrashes=1, JobTimeout='500ms') as f, f.jobs() as j:
        ended(j.run('x', 'x', 'hang'), 'timeout')
        ended(j.run('x', 'x', 'stubborn'), 'timeout')
        ended(j.run('x', 'x', 'crash', timeout=LONG), 'failed')
        ended(j.run('x', 'x', 'exit:5', timeout=LONG), 'failed', '5')
        serves(f)


@test
def is_cancelled():
    with jsonl(CancelTimeout='20s') as f, f.jobs() as j:
        serves(f)
        pid = f.pids('x')[0]
        i = j.submit('x', 'x', 'sleep:0')
        wait_until(lambda: f.pool('x')['running'] == 1)
        j.cancel(i)
        ended(j.result(i), 'cancelled')
        serves(f)
        equal(f.pids('x')[0], pid, 'a worker that confirms its cancellation is kept:')


@test
def several_slots():
    with jsonl(Slots=4) as f, f.jobs() as j:
        f.wait_ready('x')
        gate = f.gate()
        ids = [j.submit('x', gate.path, 'gate') for _ in range(4)]
        [j.job_id(i) for i in ids]
        wait_until(lambda: f.pool('x')['running'] == 4)
        gate.open()
        for i in ids:
            completed(j.result(i), gate.payload)


main()
