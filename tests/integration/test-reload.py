#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reload: what is unchanged is not touched, what is changed is replaced without loss, and a bad configuration changes nothing."""

from flowtest import *


def two():
    return Flowd(workers={'a': worker(zoo()), 'b': worker(zoo()), 'x': worker('/bin/cat', 'exec')},
                 pools={'a': pool('a', Min=2, Max=2), 'b': pool('b', Min=1, Max=2), 'x': pool('x', 'cold', Max=2)})


@test
def nothing_changed():
    with two() as f:
        f.wait_ready('a', 2)
        before = f.pids()
        gate = f.gate()
        with f.jobs() as j:
            i = j.submit('a', gate.payload, 'gate')
            wait_until(lambda: f.pool('a')['running'] == 1)
            for _ in range(5):
                equal(f.call('Reload')['changed'], [])
            gate.open()
            equal(completed(j.result(i), gate.payload).attempts, 1)
        equal(f.pids(), before)
        equal(f.status()['reloads'], 5)


@test
def a_changed_type_replaces_its_workers_only():
    with two() as f, f.jobs() as j:
        f.wait_ready('a', 2)
        old, others = f.pids('a'), f.pids('b')
        f.write_worker('a', worker(zoo(), Environment='COLOUR=blue'))
        changed = f.call('Reload')['changed']
        check(any('a' in c for c in changed), changed)
        wait_until(lambda: len(f.pids('a')) == 2 and not set(f.pids('a')) & set(old), what='new workers')
        contains(completed(j.run('a', b'', 'env')).payload.decode(), 'COLOUR=blue')
        equal(f.pids('b'), others, 'workers of a pool that has not changed:')
        equal(f.pool('a')['crashes'], 0)
        equal(f.status()['pid'], f.pid)


@test
def a_busy_worker_finishes_its_job_first():
    with two() as f, f.jobs() as j:
        f.wait_ready('a', 2)
        gate = f.gate()
        i = j.submit('a', gate.payload, 'gate')
        wait_until(lambda: f.pool('a')['running'] == 1)
        busy = [w['pid'] for w in f.workers('a') if w['running']][0]
        f.write_worker('a', worker(zoo(), Environment='COLOUR=green'))
        f.call('Reload')
        wait_until(lambda: 'COLOUR=green' in completed(j.run('a', b'', 'env')).payload.decode(), what='a new worker to take jobs')
        check(alive(busy), 'a busy worker was replaced')
        gate.open()
        equal(completed(j.result(i), gate.payload).attempts, 1)
        wait_until(lambda: not alive(busy), what='the old worker to be replaced')


@test
def only_the_pool_changed():
    with two() as f, f.jobs() as j:
        f.wait_ready('a', 2)
        old = f.pids('a')
        f.write_pool('a', pool('a', Min=3, Max=4, QueueMax=2))
        f.call('Reload')
        f.wait_ready('a', 3)
        three = f.pids('a')
        check(set(old) <= set(three), 'workers whose type has not changed were replaced')
        equal((f.pool('a')['min'], f.pool('a')['max'], f.pool('a')['queue_max']), (3, 4, 2))
        f.write_pool('a', pool('a', Min=1, Max=1))
        f.call('Reload')
        wait_until(lambda: len(f.pids('a')) == 1)
        check(f.pids('a')[0] in three, 'a worker whose type has not changed was replaced')
        completed(j.run('a', b'x', 'echo'))


@test
def a_removed_pool_drains():
    with two() as f, f.jobs() as j:
        gate = f.gate()
        i = j.submit('b', gate.payload, 'gate')
        wait_until(lambda: f.pool('b')['running'] == 1)
        pids = f.pids('b')
        f.remove('pools/b.pool')
        f.call('Reload')
        ended(j.run('b', b'x'), 'refused')
        gate.open()
        equal(completed(j.result(i), gate.payload).attempts, 1)
        wait_until(lambda: not any(map(alive, pids)))
        wait_until(lambda: 'b' not in [p['name'] for p in f.call('ListPools')['pools']])
        ended(j.run('b', b'x'), 'refused', code='NoSuchPool')
        # and comes back
        f.write_pool('b', pool('b', Max=1))
        f.call('Reload')
        completed(j.run('b', b'x', 'echo'))


@test
def a_removed_pool_with_queued_jobs():
    with two() as f, f.jobs() as j:
        f.write_pool('b', pool('b', Max=1))
        f.call('Reload')
        gate = f.gate()
        first = j.submit('b', gate.payload, 'gate')
        wait_until(lambda: f.pool('b')['running'] == 1)
        queued = [j.submit('b', b'%d' % n, 'echo') for n in range(5)]
        [j.job_id(i) for i in queued]
        f.remove('pools/b.pool')
        f.call('Reload')
        gate.open()
        completed(j.result(first))
        for n, i in enumerate(queued):  # they were accepted
            completed(j.result(i), b'%d' % n)


@test
def a_new_pool():
    with two() as f, f.jobs() as j:
        before = f.pids()
        ended(j.run('n', b'x'), 'refused', code='NoSuchPool')
        f.write_worker('n', worker(zoo_jsonl(), 'jsonl'))
        f.write_pool('n', pool('n', Min=1, Max=1))
        f.call('Reload')
        completed(j.run('n', 'new'), b'new')
        check(set(before) <= set(f.pids()))


@test
def a_drop_in():
    with two() as f:
        f.wait_ready('a', 2)
        f.write('pools/a.pool.d/10-more.conf', '[Pool]\nMin=3\nMax=3\n')
        f.call('Reload')
        f.wait_ready('a', 3)
        text = f.call('ShowConfig', unit='a.pool')['text']
        contains(text, '10-more.conf', 'Max=3')


BAD = [
    ('workers/a.worker', '[Worker]\nExec=/bin/cat\nProtocol=smoke-signals\n', 'a.worker:3', 'smoke-signals'),
    ('workers/a.worker', '[Worker]\nProtocol=frame\n', 'a.worker', 'Exec'),
    ('workers/a.worker', '[Worker]\nExec=/bin/cat\nStartTimeout=soon\n', 'a.worker:3', 'soon'),
    ('workers/a.worker', '[Worker]\nExec=cat "x\n', 'a.worker:2', 'Exec'),
    ('pools/b.pool', '[Pool]\nWorker=missing\n', 'b.pool:2', 'missing'),
    ('pools/b.pool', '[Pool]\nWorker=b\n\nMin=5\nMax=2\n', 'b.pool', 'Min'),
    ('pools/b.pool', '[Pool]\nWorker=b\nTier=tepid\n', 'b.pool:3', 'tepid'),
    ('pools/new.pool', '[Pool]\nTier=hot\n', 'new.pool', 'Worker'),
    ('flowd.conf', '[Flowd]\nResultsMax=much\n', 'flowd.conf:2', 'much'),
    ('pools/b.pool', 'no section\x01\n[[[\n', 'b.pool', ''),
]


@test
def a_bad_configuration_changes_nothing():
    with two() as f, f.jobs() as j:
        f.wait_ready('a', 2)
        before = [(w['id'], w['pid'], w['generation']) for w in f.workers()]
        i = j.submit('a', b'x', 'sleep:0')
        wait_until(lambda: f.pool('a')['running'] == 1)
        for path, text, where, what in BAD:
            p = os.path.join(f.config, path)
            good = pathlib.Path(p).read_text() if os.path.exists(p) else None
            f.write('workers/also-new.worker', '[Worker]\nExec=/bin/cat\nProtocol=exec\n')  # good, and still not taken
            f.write('pools/also-new.pool', '[Pool]\nWorker=also-new\nTier=cold\n')
            f.write(path, text)
            e = refused('InvalidConfig', f.call, 'Reload')
            said = '\n'.join(e.parameters['messages'])
            contains(said, where, what)
            check('also-new' not in [p['name'] for p in f.call('ListPools')['pools']], 'half of a bad configuration was taken')
            equal([(w['id'], w['pid'], w['generation']) for w in f.workers()], before, 'workers after %s:' % where)
            check(f.status().get('config_error'), 'Status does not say that the last reload was refused')
            if good is None:
                f.remove(path)
            else:
                f.write(path, good)
            f.remove('workers/also-new.worker')
            f.remove('pools/also-new.pool')
        completed(j.run('a', b'still', 'echo'), b'still')
        equal(f.call('Reload')['changed'], [])
        check(not f.status().get('config_error'))
        j.cancel(i)
        ended(j.result(i), 'cancelled')


@test
def a_bad_configuration_at_start():
    with two() as f:
        pass
    for path, text, where, what in BAD[:3]:
        f = Flowd(workers={'a': worker('/bin/cat', 'exec')}, pools={'a': pool('a', 'cold')}, start=False, clean=False)
        try:
            f.write(path, text)
            f.spawn()
            equal(f.process.wait(10 * SLOW), 78, 'exit status:')
            contains(f.log(), where, what)
            r = subprocess.run(f.command('--check-config'), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=f.environment(),
                               timeout=10 * SLOW)
            equal(r.returncode, 1)
            contains(r.stdout.decode(), where, what)
        finally:
            f.kill()


@test
def unknown_keys_are_warnings():
    with two() as f:
        f.write('pools/a.pool', '[Pool]\nWorker=a\nTier=hot\nMin=2\nMax=2\nColour=red\n')
        w = f.call('Reload')['warnings']
        check(any('a.pool:6' in x and 'Colour' in x for x in w), w)


@test
def by_signal_and_by_flowctl():
    with two() as f:
        f.write_pool('a', pool('a', Min=1, Max=1))
        f.flowctl('reload', check_status=0)
        wait_until(lambda: len(f.pids('a')) == 1)
        f.write('pools/a.pool', '[Pool]\nWorker=a\nTier=tepid\n')
        r = f.flowctl('reload')
        check(r.returncode != 0)
        contains(r.stderr.decode(), 'a.pool:3', 'tepid')
        f.write_pool('a', pool('a', Min=2, Max=2))
        os.kill(f.process.pid, signal.SIGHUP)  # the guardian passes it on
        f.wait_ready('a', 2)


@test
def under_load():
    with two() as f:
        f.wait_ready('a', 2)
        with Traffic(f, 'a', every=0), Traffic(f, 'b', every=0):
            for n in range(8):
                f.write_worker('a', worker(zoo(), Environment='ROUND=%d' % n))
                f.call('Reload')
                wait_until(lambda: f.pool('a')['ready'] + f.pool('a')['busy'] >= 1)
                time.sleep(0.05)
        equal(f.pool('b')['spawned'], 1)
        equal(f.pool('a')['crashes'] + f.pool('a')['failed'], 0)


main()
