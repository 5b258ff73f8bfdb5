#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions: their jobs go to the worker that had them before, unless that is busy for too long; and to no other in an exclusive pool."""

import random

from flowtest import *

HIT, MISS, FALLBACK = 1, 2, 3


def house(wkeys=None, conf=None, args='', **pkeys):
    return Flowd(workers={'w': worker(zoo() + ' ' + args, **{'CancelTimeout': '20s', 'StopTimeout': '1s', **(wkeys or {})})},
                 pools={'w': pool('w', **{'tier': 'hot', **pkeys})}, conf=conf)


def pid(j, session=None, **items):
    """The pid of the worker that a job of the session ran on, and what is said of that."""
    r = completed(j.run('w', b'', 'pid', session=session, **items))
    return int(r.payload), r.affinity


def waits(f, n, what='parked'):
    wait_until(lambda: f.pool('w')[what] == n, what='%d jobs to be %s' % (n, what))


def held_by(f, j, session):
    """The pid of the session's worker, which has a job of it until the gate is opened; the gate and that job."""
    mine, _ = pid(j, session)
    gate = f.gate()
    return mine, gate, j.submit('w', gate.payload, 'gate', session=session)


def behind(f, j, session, n):
    """As held_by(), and n jobs of the session that wait for the worker."""
    mine, gate, held = held_by(f, j, session)
    waiting = [j.submit('w', b'', 'pid', session=session) for _ in range(n)]
    waits(f, n)
    return mine, gate, held, waiting


@test
def a_session_stays_with_its_worker():
    with house(Min=4, Max=4) as f, f.jobs() as j:
        f.wait_ready('w', 4)
        first = {s: pid(j, s) for s in ('a', 'b', 'c', 'd')}
        equal(sorted(a for _, a in first.values()), [MISS] * 4)
        equal(len({p for p, _ in first.values()}), 4, 'workers of four sessions:')
        for _ in range(5):
            for s, (p, _) in first.items():
                equal(pid(j, s), (p, HIT))
        equal(pid(j)[1], None, 'affinity of a job without a session:')
        p = f.pool('w')
        equal((p['affinity_hits'], p['affinity_misses'], p['affinity_fallbacks']), (20, 4, 0))
        equal([w['sessions'] for w in f.workers('w')], [1] * 4)


@test
def what_is_told_of_it():
    with house(Min=2, Max=2) as f:
        f.wait_ready('w', 2)
        run = lambda *args: json.loads(f.flowctl('run', '--pool=w', '--method=echo', '--json', *args, 'x', check_status=0).stdout)
        equal([run('--session=s').get('affinity') for _ in range(2)], ['miss', 'hit'])
        equal(run().get('affinity'), None)
        equal(f.call('Run', pool='w', method='echo', payload='x', session='s')['affinity'], 'hit')
        id = f.call('Submit', pool='w', method='echo', payload='x', session='s', durable='no')['job']
        equal(f.call('Wait', job=id)['affinity'], 'hit')
        equal(f.job(id)['affinity'], 'hit')
        contains(f.flowctl('job', 'show', id, check_status=0).stdout.decode(), 'Affinity: hit')
        contains(f.flowctl('pool', 'show', 'w', check_status=0).stdout.decode(), '75.0% hits; 3 hits, 1 miss, 0 fallbacks')


@test
def a_busy_worker_is_waited_for():
    with house(Min=2, Max=2, AffinityWait='1h') as f, f.jobs() as j:
        f.wait_ready('w', 2)
        mine, gate, held, waiting = behind(f, j, 's', 3)
        other = int(completed(j.run('w', b'', 'pid')).payload)  # the other worker is free, and goes on
        check(other != mine)
        check(not any(i in j.results for i in waiting))
        gate.open()
        completed(j.result(held))
        for i in waiting:
            r = completed(j.result(i))
            equal((int(r.payload), r.affinity), (mine, HIT))


@test
def but_not_for_longer_than_AffinityWait():
    with house(Min=2, Max=2, AffinityWait='50ms') as f, f.jobs() as j:
        f.wait_ready('w', 2)
        mine, gate, held = held_by(f, j, 's')
        wait_until(lambda: f.pool('w')['running'] == 1)
        r = completed(j.run('w', b'', 'pid', session='s'))
        check(int(r.payload) != mine)
        equal(r.affinity, FALLBACK)
        check(r.wait_usec >= 50000, 'it waited for', r.wait_usec)
        gate.open()
        completed(j.result(held))
        equal(pid(j, 's'), (mine, HIT))  # it is still bound


@test
def with_AffinityWait_0_not_at_all_and_with_none_nothing_is_bound():
    with house(Min=2, Max=2, AffinityWait='0') as f, f.jobs() as j:
        f.wait_ready('w', 2)
        mine, gate, held = held_by(f, j, 's')
        r = completed(j.run('w', b'', 'pid', session='s'))
        equal((int(r.payload) != mine, r.affinity), (True, FALLBACK))
        gate.open()
        completed(j.result(held))
        f.write_pool('w', pool('w', 'hot', Min=2, Max=2, Affinity='none'))
        f.call('Reload')
        equal(pid(j, 's')[1], None)
        equal([w['sessions'] for w in f.workers('w')], [0, 0])


@test
def a_flood_of_one_session_is_shared():
    with house(Min=4, Max=4, AffinityWait='10ms') as f, f.jobs() as j:
        f.wait_ready('w', 4)
        ids = [j.submit('w', b'', 'sleep:20', session='s') for _ in range(400)]
        kinds = collections.Counter(completed(j.result(i)).affinity for i in ids)
        equal(kinds[MISS], 1)
        check(kinds[FALLBACK] > 100 and kinds[HIT] > 5, kinds)
        p = f.pool('w')
        equal((p['queued'], p['parked'], p['running']), (0, 0, 0))


def traffic(f, j, names, workers, seconds, service_ms, load, seed=1):
    """Jobs of random sessions come at random, so that the workers are busy to `load`. Returns how many ended as hit, miss, fallback."""
    rng = random.Random(seed)
    rate = load * workers * 1000 / service_ms
    end = time.monotonic() + seconds
    due, ids = time.monotonic(), []
    while time.monotonic() < end:
        due += rng.expovariate(rate)
        while time.monotonic() < due:
            j.pump(max(0, due - time.monotonic()))
        ids.append(j.submit('w', b'', 'sleep:%d' % service_ms, session=rng.choice(names)))
    return collections.Counter(completed(j.result(i)).affinity for i in ids), seconds * rate


@test(bound=120)
def hits_of_200_sessions_on_16_workers_at_half_load():
    with house(Min=16, Max=16, AffinityWait='2s') as f, f.jobs() as j:
        f.wait_ready('w', 16)
        names = ['session-%d' % n for n in range(200)]
        for s in names:
            completed(j.run('w', b'', 'echo', session=s))
        per_worker = [w['sessions'] for w in f.workers('w')]
        equal((sum(per_worker), min(per_worker), max(per_worker)), (200, 12, 13), 'sessions of the workers:')
        kinds, _ = traffic(f, j, names, 16, 8, 20, 0.5)
        n = sum(kinds.values())
        check(n > 500, 'there were only', n)
        check(kinds[HIT] >= 0.999 * n, 'of', n, dict(kinds))


@test
def a_killed_worker_s_sessions_move_at_once():
    with house(Min=3, Max=3, AffinityWait='1h', RestartDelay='10ms') as f, f.jobs() as j:
        f.wait_ready('w', 3)
        mine, gate, held, waiting = behind(f, j, 's', 5)
        gate.open()  # for its second attempt
        os.kill(mine, signal.SIGKILL)
        got = [completed(j.result(i)) for i in waiting]  # an hour's AffinityWait= is not waited for
        completed(j.result(held))
        check(all(int(r.payload) != mine for r in got))
        kinds = [r.affinity for r in got] + [j.results[held].affinity]
        equal(kinds.count(MISS), 1, 'of', kinds)
        equal(kinds.count(FALLBACK), 0)


@test
def a_draining_worker_s_sessions_move_at_once():
    with house(Min=2, Max=2, AffinityWait='1h') as f, f.jobs() as j:
        f.wait_ready('w', 2)
        mine, gate, held, waiting = behind(f, j, 's', 3)
        slot = next(w['id'] for w in f.workers('w') if w['pid'] == mine)
        f.call('RecycleWorker', id=slot)  # it works on until its successor is ready, and takes no job then
        for i in waiting:
            check(int(completed(j.result(i)).payload) != mine)
        gate.open()
        equal(completed(j.result(held)).affinity, HIT)


@test
def cancelled_and_timed_out_while_they_wait_for_it():
    with house(Min=2, Max=2, AffinityWait='1h') as f, f.jobs() as j:
        f.wait_ready('w', 2)
        _, gate, held = held_by(f, j, 's')
        a, b, c, d = [j.submit('w', b'', 'pid', session='s', **k) for k in ({}, {'queue_timeout': 100000}, {}, {})]
        ended(j.result(b), 'timeout', code='QueueTimeout')
        waits(f, 3)
        j.cancel(a)
        ended(j.result(a), 'cancelled')
        waits(f, 2)
        gate.open()
        for i in (held, c, d):
            equal(completed(j.result(i)).affinity, HIT)


@test
def several_slots_are_several_hits():
    with house(Min=2, Max=2, AffinityWait='1h', args='--slots=4', wkeys={'Slots': 4}) as f, f.jobs() as j:
        f.wait_ready('w', 2)
        mine, _ = pid(j, 's')
        gate = f.gate()
        held = [j.submit('w', gate.payload, 'gate', session='s') for _ in range(3)]
        equal(pid(j, 's'), (mine, HIT))
        held += [j.submit('w', gate.payload, 'gate', session='s') for _ in range(2)]
        waits(f, 1)
        gate.open()
        for i in held:
            equal(completed(j.result(i)).affinity, HIT)


# how long it is remembered

@test
def SessionsMax_forgets_the_longest_unused():
    with house(Min=1, Max=1, conf={'SessionsMax': 3}) as f, f.jobs() as j:
        f.wait_ready('w')
        equal([pid(j, s)[1] for s in 'abcadaccbb'], [MISS, MISS, MISS, HIT, MISS, HIT, HIT, HIT, MISS, HIT])
        equal(f.workers('w')[0]['sessions'], 3)


@test
def SessionTTL_forgets_the_unused():
    with house(Min=1, Max=1, conf={'SessionTTL': '1s'}) as f, f.jobs() as j:
        f.wait_ready('w')
        equal([pid(j, 's')[1] for _ in range(2)], [MISS, HIT])
        wait_until(lambda: f.workers('w')[0]['sessions'] == 0, what='the session to be forgotten')
        equal(pid(j, 's')[1], MISS)


@test
def it_survives_a_reload_and_a_reexec():
    with house(Min=3, Max=3, AffinityWait='1h') as f, f.jobs() as j:
        f.wait_ready('w', 3)
        first = {s: pid(j, s)[0] for s in 'abcde'}
        _, gate, held, waiting = behind(f, j, 'a', 3)
        f.write_pool('v', pool('w', 'warm'))
        f.call('Reload')
        f.flowctl('reexec', check_status=0)
        waits(f, 3)  # those that waited wait again
        for s in 'bcde':
            if first[s] != first['a']:
                equal(pid(j, s), (first[s], HIT))
        gate.open()
        equal(completed(j.result(held)).affinity, HIT)
        for i in waiting:
            r = completed(j.result(i))
            equal((int(r.payload), r.affinity), (first['a'], HIT))
        for s in 'abcde':
            equal(pid(j, s), (first[s], HIT))


@test
def list_show_and_forget():
    with house(Min=2, Max=2, AffinityWait='1h') as f, f.jobs() as j:
        f.wait_ready('w', 2)
        pid(j, 'a'), pid(j, 'a'), pid(j, 'b')
        equal([s['session'] for s in f.call('ListSessions')['sessions']], ['b', 'a'])
        a = f.call('ListSessions', session='a', pool='w')['sessions'][0]
        equal((a['hits'], a['misses'], a['fallbacks'], a['jobs'], a['uid']), (1, 1, 0, 0, os.getuid()))
        contains(f.flowctl('session', 'list', '--no-legend', check_status=0).stdout.decode(), 'a ', 'w/0', 'w/1')
        contains(f.flowctl('session', 'show', 'a', check_status=0).stdout.decode(), 'session of pool w', '1 hit, 1 miss, 0 fallbacks')
        equal(json.loads(f.flowctl('session', 'list', '--json', check_status=0).stdout)['total'], 2)
        _, gate, held, waiting = behind(f, j, 'a', 3)
        f.flowctl('session', 'forget', 'a', check_status=0)
        for i in waiting:  # nothing keeps them any more
            check(completed(j.result(i)).worker != a['worker'])
        equal(sorted(j.results[i].affinity for i in waiting), [HIT, HIT, MISS])
        gate.open()
        completed(j.result(held))
        equal(f.flowctl('session', 'forget', 'nobody').returncode, 1)
        refused('NoSuchPool', f.call, 'ListSessions', pool='none')


# exclusive

@test
def a_forgotten_exclusive_session_gets_another_worker():
    with house(Min=1, Max=1, SessionExclusive='yes') as f, f.jobs() as j:
        f.wait_ready('w')
        first, how = pid(j, 's')
        equal((how, pid(j, 's')), (MISS, (first, HIT)))
        f.call('ForgetSession', session='s')
        second, how = pid(j, 's')
        equal(how, MISS)
        check(second != first)
        late = j.submit('w', b'', 'pid', session='t')
        waits(f, 1)
        f.call('ForgetSession', session='s')  # the one that waits gets a worker in place of its own
        third = completed(j.result(late))
        equal((third.affinity, int(third.payload) in (first, second)), (MISS, False))


@test
def exclusive_sessions_never_mix():
    with house(Min=1, Max=4, SessionExclusive='yes', conf={'SessionTTL': '1s'}) as f, f.jobs() as j:
        f.wait_ready('w')
        rng = random.Random(3)
        ids = []
        for _ in range(300):
            s = 's%d' % rng.randrange(8)
            ids.append((s, j.submit('w', b'', 'pid', session=s)))
        owners = collections.defaultdict(set)
        for s, i in ids:
            owners[int(completed(j.result(i, timeout=50)).payload)].add(s)
        check(len(owners) >= 8, owners)
        for p, sessions in owners.items():
            equal(len(sessions), 1, 'worker %d served %s:' % (p, sessions))
        check(f.pool('w')['workers'] <= 8)


@test
def an_exclusive_pool_wants_a_session():
    with house(Min=1, Max=1, SessionExclusive='yes') as f, f.jobs() as j:
        f.wait_ready('w')
        ended(j.run('w', b'', 'pid'), 'refused', code='SessionRequired')
        equal(refused('SessionRequired', f.call, 'Run', pool='w', payload='x').parameters['pool'], 'w')
        equal(pid(j, 's')[1], MISS)


@test
def Max_bounds_exclusive_sessions():
    with house(Min=0, Max=2, tier='warm', SessionExclusive='yes', QueueTimeout='1500ms', conf={'SessionTTL': '1h'}) as f, f.jobs() as j:
        a, b = pid(j, 'a')[0], pid(j, 'b')[0]
        late = j.submit('w', b'', 'pid', session='c')
        for _ in range(5):  # which does not keep the others waiting
            equal((pid(j, 'a'), pid(j, 'b')), ((a, HIT), (b, HIT)))
        ended(j.result(late), 'timeout', code='QueueTimeout')
        os.kill(a, signal.SIGKILL)
        c, how = pid(j, 'c')
        equal(how, MISS)
        check(c not in (a, b))


@test
def exclusive_jobs_that_wait_can_be_cancelled_and_the_pool_shrinks_again():
    with house(Min=0, Max=3, tier='warm', SessionExclusive='yes', IdleTimeout='50ms', conf={'SessionTTL': '1s'}) as f, f.jobs() as j:
        gate = f.gate()
        held = [j.submit('w', gate.payload, 'gate', session=s) for s in 'abc']
        wait_until(lambda: f.pool('w')['running'] == 3, what='three sessions to be at work')
        waiting = [j.submit('w', b'', 'pid', session=s) for s in 'defde']
        waits(f, 5)
        check(f.call('ListSessions', session='d')['sessions'][0].get('worker') is None)
        contains(f.flowctl('session', 'show', 'd', check_status=0).stdout.decode(), 'it waits for one')
        f.flowctl('reexec', check_status=0)
        waits(f, 5)
        for i in waiting:
            j.cancel(i)
            ended(j.result(i), 'cancelled')
        equal((f.pool('w')['parked'], f.pool('w')['queued']), (0, 0))
        gate.open()
        for i in held:
            completed(j.result(i))
        wait_until(lambda: f.pool('w')['workers'] == 0, 20, 'the workers to be stopped, their sessions being over')
        equal(f.call('ListSessions')['total'], 0)
        equal(f.pool('w')['wanted'], 0)


@test
def exclusive_becomes_soft_and_back():
    with house(Min=2, Max=2, SessionExclusive='yes') as f, f.jobs() as j:
        f.wait_ready('w', 2)
        gate = f.gate()
        held = [j.submit('w', gate.payload, 'gate', session=s) for s in 'ab']
        wait_until(lambda: f.pool('w')['running'] == 2)
        waiting = [j.submit('w', b'', 'pid', session=s) for s in 'cdc']
        waits(f, 3)
        f.write_pool('w', pool('w', 'hot', Min=2, Max=2))
        f.call('Reload')
        waits(f, 0)
        gate.open()
        for i in held + waiting:
            completed(j.result(i))
        completed(j.run('w', b'', 'echo'))
        f.write_pool('w', pool('w', 'hot', Min=2, Max=2, SessionExclusive='yes'))
        f.call('Reload')
        fresh, how = pid(j, 'c')
        equal(how, MISS)
        check(fresh not in {int(j.results[i].payload) for i in waiting}, 'a used worker was given to a session')


main()
