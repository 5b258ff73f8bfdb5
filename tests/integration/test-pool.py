#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pools: queues and their limits, growing and shrinking, recycling, scaling and draining, cancelling, deadlines, kept results."""

from flowtest import *


def one(tier='hot', wkeys=None, conf=None, args='', **pkeys):
    return Flowd(workers={'w': worker(zoo() + ' ' + args, **{'CancelTimeout': '20s', 'StopTimeout': '1s', **(wkeys or {})})},
                 pools={'w': pool('w', tier, **pkeys)}, conf=conf)


def running(f, n, name='w'):
    wait_until(lambda: f.pool(name)['running'] == n, what='%d running jobs' % n)


# the queue

@test
def a_full_queue_refuses_at_once():
    with one(Max=1, QueueMax=3) as f, f.jobs() as j:
        first = j.submit('w', b'', 'sleep:0')
        running(f, 1)
        queued = [j.submit('w', b'', 'echo') for _ in range(3)]
        [j.job_id(i) for i in queued]
        r = ended(j.run('w', b'', 'echo'), 'refused', 'w', code='QueueFull')  # while the first job goes on
        contains(r.error, '3')
        e = refused('QueueFull', f.call, 'Run', pool='w', payload='x')
        equal(e.parameters['pool'], 'w')
        refused('QueueFull', f.call, 'Submit', pool='w', payload='x')
        equal(f.flowctl('run', '--pool=w', 'x').returncode, 75)
        p = f.pool('w')
        equal((p['queued'], p['running'], p['refused']), (3, 1, 4))
        j.cancel(first)
        for i in queued:
            completed(j.result(i))
        completed(j.run('w', b'x', 'echo'))


@test
def a_queue_s_bytes_are_bounded():
    with one(Max=1, QueueBytesMax='1M') as f, f.jobs() as j:
        first = j.submit('w', b'', 'sleep:0')
        running(f, 1)
        ids = [j.submit('w', bytes(300 * KiB), 'echo', inline=n == 1) for n in range(3)]
        [j.job_id(i) for i in ids]
        check(f.pool('w')['queued_bytes'] >= 900 * KiB)
        ended(j.run('w', bytes(300 * KiB), 'echo'), 'refused', code='QueueFull')
        small = j.submit('w', b'small', 'echo')
        j.job_id(small)
        j.cancel(first)
        for i in ids + [small]:
            completed(j.result(i))
        equal(f.pool('w')['queued_bytes'], 0)


@test
def no_queue_at_all():
    with one(Max=2, Min=2, QueueMax=0) as f, f.jobs() as j:
        f.wait_ready('w', 2)
        a, b = j.submit('w', b'', 'sleep:0'), j.submit('w', b'', 'sleep:0')
        running(f, 2)
        ended(j.run('w', b''), 'refused', code='QueueFull')
        j.cancel(a), j.cancel(b)


@test
def free_workers_do_not_count_as_a_queue():
    # four jobs in one write for four idle workers: none of them has to wait, so none is refused
    with one(Max=4, Min=4, QueueMax=1) as f, f.jobs() as j:
        f.wait_ready('w', 4)
        j.send(b''.join(frame(JOB, b'', job=n, pool='w', method='sleep:50', kind=BYTES) for n in range(100, 104)))
        for n in range(100, 104):
            completed(j.result(n))


@test
def no_such_pool():
    with one(Max=1) as f, f.jobs() as j:
        ended(j.run('nowhere', b'x'), 'refused', 'nowhere', code='NoSuchPool')
        refused('NoSuchPool', f.call, 'Run', pool='nowhere', payload='x')
        refused('NoSuchPool', f.call, 'DrainPool', pool='nowhere')
        refused('NoSuchWorker', f.call, 'ShowWorker', id='w/99')
        refused('NoSuchWorker', f.call, 'ShowWorker', id='../../etc')
        refused('NoSuchJob', f.call, 'ShowJob', id='aaaaaaaaaaaaa')
        refused('NoSuchJob', f.call, 'Wait', job='nonsense')


@test
def first_come_first_served_and_priorities():
    with one(Max=1) as f, f.jobs() as j:
        first = j.submit('w', b'', 'sleep:0')
        running(f, 1)
        ids = [j.submit('w', b'%d' % n, 'echo') for n in range(20)]
        [j.job_id(i) for i in ids]
        j.cancel(first)
        [j.result(i) for i in ids]
        equal([i for i in j.order if i != first], ids, 'order of the results:')


# sizes

@test
def a_warm_pool_grows_and_shrinks():
    with one('warm', Min=1, Max=4, IdleTimeout='400ms') as f, f.jobs() as j:
        f.wait_ready('w', 1)
        equal(len(f.pids('w')), 1)
        first = f.pids('w')[0]
        ids = [j.submit('w', b'', 'sleep:0') for _ in range(6)]
        running(f, 4)
        stays(lambda: len(f.pids('w')) == 4 and f.pool('w')['queued'] == 2, 0.3, 'more than Max= workers')
        # a busy one is never reaped, however long
        for i in ids[1:]:
            j.cancel(i)
        for i in ids[1:]:
            ended(j.result(i), 'cancelled')
        busy = [w['pid'] for w in f.workers('w') if w['running']]
        equal(len(busy), 1)
        wait_until(lambda: f.pids('w') == busy, 10, 'the pool to shrink to its busy worker')
        stays(lambda: f.pids('w') == busy, 0.8, 'a busy worker was reaped, or another one was started')
        j.cancel(ids[0])
        ended(j.result(ids[0]), 'cancelled')
        stays(lambda: f.pids('w') == busy, 0.8, 'the last worker was reaped in spite of Min=1')
        equal(f.pool('w')['crashes'], 0)
        check(first)


@test
def a_warm_pool_starts_from_nothing():
    with one('warm', Min=0, Max=3, IdleTimeout='200ms') as f, f.jobs() as j:
        equal(f.pids('w'), [])
        for _ in range(3):
            completed(j.run('w', b'x', 'echo'), b'x')
            wait_until(lambda: not f.pids('w'), what='the pool to be empty')
        # many at once, few workers
        for i in [j.submit('w', b'x', 'sleep:20') for _ in range(60)]:
            completed(j.result(i))
        equal(f.pool('w')['crashes'], 0)


@test
def cold_workers_are_one_for_each_job():
    with one('cold', Max=2) as f, f.jobs() as j:
        equal(f.pids('w'), [])
        pids = {completed(j.run('w', b'', 'pid')).payload for _ in range(5)}
        equal(len(pids), 5, 'processes for five jobs:')
        ids = [j.submit('w', b'', 'sleep:300') for _ in range(4)]
        most = 0
        while len([i for i in ids if i in j.results]) < 4:
            most = max(most, len(f.pids('w')))
            j.pump(0.02)
        check(1 <= most <= 2, '%d workers of a pool with Max=2' % most)
        wait_until(lambda: not f.pids('w'))
        equal((f.pool('w')['spawned'], f.pool('w')['crashes']), (9, 0))


@test
def cold_workers_that_end_slowly_count():
    lingering = "/bin/sh -c '%s; sleep 100'" % zoo()  # ends by TERM only
    with Flowd(workers={'w': worker(lingering, StopTimeout='150ms')}, pools={'w': pool('w', 'cold', Max=2)}) as f, f.jobs() as j:
        ids, most = [j.submit('w', b'x', 'echo') for _ in range(12)], 0
        while len(j.results) < len(ids):
            most = max(most, len(f.pids('w')))
            j.pump(0.01)
        for i in ids:
            completed(j.result(i), b'x')
        check(most <= 2, '%d workers of a pool with Max=2' % most)


@test
def scale():
    with one(Min=1, Max=6) as f, f.jobs() as j:
        f.wait_ready('w', 1)
        equal(f.call('ScalePool', pool='w', target=4)['target'], 4)
        f.wait_ready('w', 4)
        gate = f.gate()
        i = [j.submit('w', gate.payload, 'gate') for _ in range(4)]
        running(f, 4)
        f.call('ScalePool', pool='w', target=1)  # scaling down drains
        gate.open()
        for x in i:
            equal(completed(j.result(x)).attempts, 1)
        wait_until(lambda: len(f.pids('w')) == 1)
        e = refused('OutOfRange', f.call, 'ScalePool', pool='w', target=7)
        equal(e.parameters['max'], 6)
        refused('OutOfRange', f.call, 'ScalePool', pool='w', target=-1)
        completed(j.run('w', b'x', 'echo'))
        equal(f.pool('w')['crashes'], 0)


@test
def drain_and_resume():
    with one(Min=2, Max=2) as f, f.jobs() as j:
        f.wait_ready('w', 2)
        gate = f.gate()
        i = j.submit('w', gate.payload, 'gate')
        running(f, 1)
        f.call('DrainPool', pool='w')
        k = j.submit('w', b'b', 'echo')
        j.job_id(k)
        gate.open()
        completed(j.result(i), gate.payload)
        stays(lambda: f.pool('w')['queued'] == 1 and not j.pump(0), 0.3, 'a drained pool gave out a job')
        check(k not in j.results)
        wait_until(lambda: f.pool('w')['state'] == 'stopped')
        f.call('ResumePool', pool='w')
        completed(j.result(k), b'b')


# recycling

@test
def recycled_by_MaxJobs():
    with one(Min=2, Max=2, wkeys={'MaxJobs': 5}) as f, f.jobs() as j:
        f.events
        f.wait_ready('w', 2)
        jobs = {}
        for n in range(60):
            pid = int(completed(j.run('w', b'', 'pid')).payload)
            jobs[pid] = jobs.get(pid, 0) + 1
            check(f.pool('w')['ready'] + f.pool('w')['busy'] >= 1, 'recycling left the pool without a worker')
            if jobs[pid] > 5:  # with its jitter that is enough; else it would work on until its successor is ready
                wait_until(lambda: pid not in f.pids('w'), what='a worker to be replaced after %d jobs' % jobs[pid])
        f.events.wait('worker-recycled', 3, pool='w')
        check(len(jobs) >= 5, '%d processes' % len(jobs))
        early = [n for pid, n in jobs.items() if n < 5 and pid not in f.pids('w')]
        check(not early, 'workers were replaced after %s jobs' % early)
        equal(f.pool('w')['crashes'], 0)


@test
def recycled_by_MaxJobs_when_there_is_one():
    # the replacement comes first, so that the pool is never empty, even above Max=
    with one(Min=1, Max=1, wkeys={'MaxJobs': 1}, args='--start=sleep --code=150') as f, f.jobs() as j:
        f.wait_ready('w')
        for _ in range(6):
            equal(completed(j.run('w', b'x', 'echo'), b'x').attempts, 1)
        equal(f.pool('w')['crashes'], 0)


@test
def recycled_by_MaxAge_but_never_when_busy():
    with one(Min=1, Max=1, wkeys={'MaxAge': '1s'}) as f, f.jobs() as j:
        f.wait_ready('w')
        first = f.pids('w')[0]
        r = completed(j.run('w', b'x', 'sleep:2500'), b'x')
        equal(r.attempts, 1)
        wait_until(lambda: f.pids('w') and first not in f.pids('w'), what='the old worker to be replaced')
        f.wait_ready('w')
        equal(f.pool('w')['crashes'], 0)


@test
def recycled_by_MaxRSS():
    with one(Min=1, Max=1, wkeys={'MaxRSS': '30M'}) as f, f.jobs() as j:
        f.wait_ready('w')
        first = f.pids('w')[0]
        completed(j.run('w', b'x', 'echo'))
        stays(lambda: f.pids('w') == [first], 0.5)
        completed(j.run('w', b'x', 'grow:60'))
        wait_until(lambda: f.pids('w') and first not in f.pids('w'), 20, 'the fat worker to be replaced')
        completed(j.run('w', b'x', 'echo'))
        equal(f.pool('w')['crashes'], 0)


@test
def recycled_by_hand():
    with one(Min=2, Max=2) as f, f.jobs() as j:
        f.wait_ready('w', 2)
        gate = f.gate()
        i = j.submit('w', gate.payload, 'gate')
        running(f, 1)
        w = [w for w in f.workers('w') if w['running']][0]
        f.call('RecycleWorker', id=w['id'])
        stays(lambda: alive(w['pid']), 0.3, 'a busy worker was recycled')
        gate.open()
        equal(completed(j.result(i), gate.payload).attempts, 1)
        wait_until(lambda: not alive(w['pid']))
        f.wait_ready('w', 2)
        equal(f.pool('w')['crashes'], 0)


@test
def killed_by_hand():
    with one(Min=1, Max=1) as f, f.jobs() as j:
        f.wait_ready('w')
        w = f.workers('w')[0]
        gate = f.gate()
        i = j.submit('w', gate.payload, 'gate')
        running(f, 1)
        f.call('KillWorker', id=w['id'], signal=int(signal.SIGKILL))
        wait_until(lambda: not alive(w['pid']))
        gate.open()
        r = completed(j.result(i), gate.payload)
        equal(r.attempts, 2)
        check(f.workers('w')[0]['generation'] > w['generation'])
        w = f.workers('w')[0]
        f.call('KillWorker', id=w['id'])
        wait_until(lambda: not alive(w['pid']))
        f.wait_ready('w')


# deadlines, cancelling, clients that leave

@test
def a_deadline_passes_in_the_queue():
    with one(Max=1) as f, f.jobs() as j:
        first = j.submit('w', b'', 'sleep:0')
        running(f, 1)
        start = time.monotonic()
        r = ended(j.run('w', b'', 'echo', deadline=int((time.time() + 0.4) * 1e6)), 'timeout', 'deadline')
        check(0.3 < time.monotonic() - start < 10 * SLOW)
        equal(r.attempts or 0, 0)
        equal(f.pool('w')['queued'], 0)
        check(first not in j.results)
        r = j.run('w', b'', 'echo', deadline=int((time.time() - 10) * 1e6))
        check(r.outcome in ('timeout', 'refused'), r)
        j.cancel(first)


@test
def a_deadline_passes_while_it_runs():
    with one(Max=1) as f, f.jobs() as j:
        f.wait_ready('w')
        ended(j.run('w', b'', 'sleep:0', deadline=int((time.time() + 0.4) * 1e6)), 'timeout', 'deadline')
        completed(j.run('w', b'x', 'echo'))


@test
def cancel_in_the_queue_and_while_running():
    with one(Max=1) as f, f.jobs() as j:
        first, second = j.submit('w', b'', 'sleep:0'), j.submit('w', b'', 'echo')
        running(f, 1)
        j.job_id(second)
        j.cancel(second)
        ended(j.result(second), 'cancelled')
        third = j.submit('w', b'', 'echo')
        f.call('CancelJob', id=j.job_id(third))
        ended(j.result(third), 'cancelled')
        f.call('CancelJob', id=j.job_id(first))
        ended(j.result(first), 'cancelled')
        j.cancel(first)     # again: nothing happens
        j.cancel(424242)    # never heard of
        j.ping()
        refused('NoSuchJob', f.call, 'CancelJob', id='aaaaaaaaaaaaa')
        equal(f.pool('w')['cancelled'], 3)
        completed(j.run('w', b'x', 'echo'))


@test
def a_client_that_leaves_cancels_its_jobs():
    with one(Max=1) as f, f.jobs() as keep:
        j = f.jobs()
        a, b = j.submit('w', b'', 'sleep:0'), j.submit('w', b'', 'sleep:0')
        d = j.submit('w', b'kept', 'echo', detached=1)
        j.job_id(a), j.job_id(b)
        did = j.job_id(d)
        running(f, 1)
        j.close()
        completed(keep.run('w', b'next', 'echo'), b'next')
        wait_until(lambda: f.pool('w')['cancelled'] == 2)
        completed(keep.result(keep.wait(did)), b'kept')
        # and so does a caller of Run
        with f.control() as c:
            c.send('Run', pool='w', method='sleep:0', payload='x')
            running(f, 1)
        running(f, 0)


@test
def detached_jobs_and_their_results():
    with one(Max=1) as f:
        with f.jobs() as j:
            ids = [j.submit('w', b'%d' % n, 'echo', detached=1) for n in range(5)]
            names = [j.job_id(i) for i in ids]
            slow = j.job_id(j.submit('w', b'slow', 'sleep:400', detached=1))
            j.ping()
            check(not j.results, 'a detached job got its RESULT unasked')
        with f.jobs() as j:
            for n, name in enumerate(names):
                completed(j.result(j.wait(name)), b'%d' % n)
            completed(j.result(j.wait(slow)), b'slow')  # waits until it is done
            completed(j.result(j.wait(slow)), b'slow')  # and again
            r = j.result(j.wait('aaaaaaaaaaaaa'))
            ended(r, 'refused', code='NoSuchJob')
        with f.control() as c:
            id = c.call('Submit', pool='w', method='echo', payload='by control', durable='no')['job']
            check(11 <= len(id) <= 13 and id == id.lower(), id)
            equal(c.call('Wait', job=id)['result'], 'by control')
            equal(f.job(id)['state'], 'completed')
            id = c.call('Submit', pool='w', method='fail', payload='x', durable='no')['job']
            w = c.call('Wait', job=id)
            equal(w['status'], 'failed')
            contains(w['error'], 'cannot do that')
        with f.jobs() as j:  # across the sockets
            ended(j.result(j.wait(id)), 'failed')
        check(f.status()['results_kept'] >= 8)


@test
def kept_results_are_bounded():
    with one(Max=1, conf={'ResultsMax': '1M', 'ResultsCountMax': 50}) as f, f.jobs() as j:
        names = [j.job_id(j.submit('w', b'%d' % n, 'echo', detached=1)) for n in range(120)]
        completed(j.result(j.wait(names[-1])), b'119')
        s = f.status()
        check(s['results_kept'] <= 50, '%d results are kept' % s['results_kept'])
        ended(j.result(j.wait(names[0])), 'refused', code='NoSuchJob')
        names = [j.job_id(j.submit('w', bytes([n]) * (200 * KiB), 'echo', detached=1)) for n in range(12)]
        completed(j.result(j.wait(names[-1])), b'\x0b' * (200 * KiB))
        s = f.status()
        check(s['results_bytes'] <= MiB, '%d bytes of results are kept' % s['results_bytes'])
        equal(s['results_max'], MiB)
        # one alone above the limit: its waiter gets it, or is told that it was dropped; nobody waits for ever
        i = j.job_id(j.submit('w', bytes(3 * MiB), 'echo', detached=1))
        r = j.result(j.wait(i))
        check(r.outcome in ('completed', 'refused', 'failed'))


@test
def jobs_of_one_connection_are_bounded():
    with one(Max=1, conf={'JobsPerClient': 10}) as f, f.jobs() as j:
        ids = [j.submit('w', b'', 'sleep:0') for _ in range(10)]
        [j.job_id(i) for i in ids]
        ended(j.run('w', b''), 'refused', code='LimitReached')
        for i in ids:
            j.cancel(i)
        for i in ids:
            ended(j.result(i), 'cancelled')
        completed(j.run('w', b'x', 'echo'))


@test
def one_id_twice():
    with one(Max=1) as f, f.jobs() as j:
        i = j.submit('w', b'', 'sleep:300')
        j.job_id(i)
        j.send(frame(JOB, b'', job=i, pool='w', method='echo'))
        j.until(lambda: j.eof or i in j.results)
        check(j.eof and j.error or i in j.results, 'two jobs of one id in flight')
        with f.jobs() as k:
            completed(k.run('w', b'x', 'echo'))


@test
def by_tier():
    with Flowd(workers={'w': worker(zoo())},
               pools={'h': pool('w', 'hot', Max=1), 'm': pool('w', 'warm', Max=1), 'c': pool('w', 'cold', Max=1)}) as f, f.jobs() as j:
        for tier, name in (('hot', 'h'), ('warm', 'm'), ('cold', 'c')):
            equal(completed(j.run(None, b'x', 'echo', tier=tier)).worker.split('/')[0], name)
        completed(j.run(None, b'x', 'echo'))  # no pool and no tier: flowd finds one


@test
def counters_and_listings():
    with one(Min=1, Max=2) as f, f.jobs() as j, f.control() as c:
        for _ in range(3):
            completed(j.run('w', b'x', 'echo'))
        ended(j.run('w', b'x', 'fail'), 'failed')
        i = j.submit('w', b'abc', 'sleep:0', session='s')
        id = j.job_id(i)
        running(f, 1)
        job = f.job(id)
        equal((job['pool'], job['state'], job['size'], job['session'], job['attempts'], job['detached'], job['uid']),
              ('w', 'running', 3, 's', 1, False, os.getuid()))
        equal([x['id'] for x in c.call('ListJobs', state='running')['jobs']], [id])
        check(len(c.call('ListJobs', limit=2)['jobs']) <= 2)
        equal(c.call('ListJobs', pool='w', state='queued')['jobs'], [])
        p = f.pool('w')
        equal((p['completed'], p['failed'], p['running'], p['queued']), (3, 1, 1, 0))
        s = f.status()
        equal((s['jobs_completed'], s['jobs_failed'], s['jobs_running']), (3, 1, 1))
        check(s['rss'] > 0 and s['fds'] > 5 and s['clients'] >= 2)
        j.cancel(i)
        ended(j.result(i), 'cancelled')


main()
