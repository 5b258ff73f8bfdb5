#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many workers: growing and shrinking by load, ahead of it, and within rates and budgets; and how new workers begin."""

from flowtest import *


def house(conf=None, args='', wkeys=None, **pkeys):
    return Flowd(workers={'w': worker(zoo() + ' ' + args, **{'CancelTimeout': '20s', 'StopTimeout': '1s', **(wkeys or {})})},
                 pools={'w': pool('w', **{'tier': 'warm', **pkeys})}, conf=conf)


def workers(f, n, bound=15):
    wait_until(lambda: f.pool('w')['workers'] == n, bound, '%d workers' % n)


def starts(f):
    return f.pool('w')['spawned']


@test
def grows_with_the_queue_and_never_above_Max():
    with house(Max=4, IdleTimeout='200ms') as f, f.jobs() as j:
        gate = f.gate()
        ids = [j.submit('w', gate.payload, 'gate') for _ in range(10)]
        workers(f, 4)
        wait_until(lambda: f.pool('w')['running'] == 4)
        p = f.pool('w')
        equal((p['wanted'], p['workers'], p['queued']), (4, 4, 6))
        gate.open()
        for i in ids:
            completed(j.result(i))
        workers(f, 0)
        equal(starts(f), 4)
        e = [e['message'] for e in f.call('Events', limit=200)['events'] if e['name'] == 'pool-autoscaled']
        check(any('to 4' in m or 'jobs wait' in m for m in e), e)
        check(any('had nothing to do' in m for m in e), e)


@test
def ScaleUpAt_grows_before_anybody_waits():
    with house(tier='hot', Min=2, Max=5, ScaleUpAt=60, ScaleCooldown='100ms', args='--slots=2', wkeys={'Slots': 2}) as f, f.jobs() as j:
        f.wait_ready('w', 2)
        gate = f.gate()
        ids = [j.submit('w', gate.payload, 'gate') for _ in range(3)]  # of four slots
        wait_until(lambda: f.pool('w')['workers'] >= 3, 40, 'a third worker')
        p = f.pool('w')
        equal((p['queued'], p['running']), (0, 3))
        gate.open()
        for i in ids:
            completed(j.result(i))
        check(any('ScaleUpAt=' in e['message'] for e in f.call('Events', limit=200)['events'] if e['name'] == 'pool-autoscaled'))
        contains(f.flowctl('pool', 'show', 'w', check_status=0).stdout.decode(), 'Scaling: wants')


@test
def ScaleCooldown_keeps_what_was_started():
    with house(Max=3, IdleTimeout='50ms', ScaleCooldown='1500ms') as f, f.jobs() as j:
        begun = time.monotonic()
        ids = [j.submit('w', b'', 'sleep:300') for _ in range(3)]
        workers(f, 3)
        for i in ids:
            completed(j.result(i))
        workers(f, 0)
        check(time.monotonic() - begun >= 1.5, 'they were stopped after', time.monotonic() - begun)


@test
def PreWarm_keeps_a_worker_while_jobs_come():
    with house(Max=3, IdleTimeout='10ms', PreWarm='yes') as f, f.jobs() as j:
        for _ in range(8):
            completed(j.run('w', b'x', 'echo'))
            stays_until = time.monotonic() + 0.4
            while time.monotonic() < stays_until:
                j.pump(0.05)
        check(starts(f) <= 4, 'it was started', starts(f), 'times')  # without: at each job
        check(f.pool('w')['arrival_rate'] > 0.5)
        workers(f, 0, 30)  # and when none comes any more it goes


@test
def without_it_each_is_started_anew():
    with house(Max=3, IdleTimeout='10ms') as f, f.jobs() as j:
        for n in range(3):
            completed(j.run('w', b'x', 'echo'))
            workers(f, 0)
            equal(starts(f), n + 1)


@test
def SpawnRate_bounds_starts():
    with house(Max=8, SpawnRate=4, SpawnBurst=2) as f, f.jobs() as j:
        gate = f.gate()
        begun = time.monotonic()
        ids = [j.submit('w', gate.payload, 'gate') for _ in range(8)]
        wait_until(lambda: starts(f) >= 2)
        check(starts(f) <= 3 or SLOW > 1, starts(f))
        contains(wait_until(lambda: f.pool('w').get('limited_by'), what='a limit'), 'SpawnRate=4')
        workers(f, 8)
        check(time.monotonic() - begun >= 1.4, 'eight workers were there after', time.monotonic() - begun)
        wait_until(lambda: f.pool('w').get('limited_by') is None)
        gate.open()
        for i in ids:
            completed(j.result(i))


@test
def MemoryBudget_bounds_all_pools_together():
    keys = {'Max': 8, 'IdleTimeout': '100ms'}
    with Flowd(workers={'w': worker(zoo())}, conf={'MemoryBudget': '64M'},
               pools={'w': pool('w', 'warm', **keys), 'v': pool('w', 'warm', **keys), 'm': pool('w', 'hot', Min=2, Max=2)}) as f, f.jobs() as j:
        completed(j.run('w', b'', 'grow:20'))  # its process has 20 MiB from now on
        each = wait_until(lambda: f.pool('w')['memory_each'] if f.pool('w')['memory_each'] > 20 * MiB else None, what='it to be seen')
        gate = f.gate()
        ids = [j.submit('w', gate.payload, 'gate') for _ in range(6)]
        contains(wait_until(lambda: f.pool('w').get('limited_by'), what='the budget to be hit'), 'MemoryBudget=64M')
        n = f.pool('w')['workers']
        check(n * each <= 64 * MiB and n >= 1, n, each)
        f.logged('may not start it: MemoryBudget=64M')
        stays(lambda: sum(p['workers'] * p['memory_each'] for p in f.call('ListPools')['pools']) <= 64 * MiB, 1)
        gate.open()
        for i in ids:
            completed(j.result(i))
        f.write_conf({'MemoryBudget': '1M'})  # Min= workers are there whatever it says
        f.call('Reload')
        workers(f, 0)
        f.call('KillWorker', id='m/0', signal=9)
        wait_until(lambda: len([w for w in f.workers('m') if w['state'] == 'ready']) == 2, 20)


@test
def SlowStart_fills_a_new_worker_gradually():
    with house(tier='hot', Min=1, Max=1, SlowStart='2s', args='--slots=8', wkeys={'Slots': 8}) as f, f.jobs() as j:
        f.wait_ready('w')
        gate = f.gate()
        ids = [j.submit('w', gate.payload, 'gate') for _ in range(8)]
        seen = []

        def full():
            seen.append(f.pool('w')['running'])
            return seen[-1] == 8
        wait_until(full, 20, 'all slots to be used')
        equal(seen, sorted(seen))
        check(len(set(seen) - {8}) >= 2 or SLOW > 1, 'it had at once', set(seen))
        gate.open()
        for i in ids:
            completed(j.result(i))


@test
def SlowStart_ends_for_jobs_of_a_session_too():
    with house(tier='hot', Min=1, Max=1, SlowStart='1s', SessionExclusive='yes', args='--slots=4', wkeys={'Slots': 4}) as f, f.jobs() as j:
        f.wait_ready('w')
        gate = f.gate()
        ids = [j.submit('w', gate.payload, 'gate', session='s') for _ in range(4)]
        wait_until(lambda: f.pool('w')['running'] == 4, 20, 'all slots to be used')
        gate.open()
        for i in ids:
            completed(j.result(i))


main()
