#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pools that are spawned at run time: they outlive flowctl, reload, re-exec and restart until they are closed; closing finishes what they have."""

import threading

from flowtest import *


def house(conf=None, **types):
    """A configured pool beside which others are spawned."""
    return Flowd(workers={'w': worker(zoo()), 'bad': worker(zoo() + ' --start=exit'), **types}, pools={'configured': pool('w', Min=1, Max=2)}, conf=conf)


def names(f):
    return sorted(p['name'] for p in f.call('ListPools')['pools'])


def spawn(f, worker_type='w', **keys):
    return f.call('SpawnPool', worker_type=worker_type, **keys)


def killed_and_back(f):
    os.kill(f.pid, signal.SIGKILL)
    f.process.wait(20 * SLOW)
    f.start()


def restarted(f):
    f.stop()
    f.start()


@test
def scaled_and_drained_are_kept_when_that_is_answered():
    with house() as f:
        f.call('SpawnPool', worker_type='w', name='mine', min=1, max=3)
        f.call('SpawnPool', worker_type='w', name='other', min=1, max=3)
        equal(f.call('ScalePool', pool='mine', target=3)['target'], 3)
        killed_and_back(f)
        equal(f.pool('mine')['target'], 3)
        f.call('DrainPool', pool='other')
        killed_and_back(f)
        equal([f.pool(p)['state'] in ('draining', 'stopped') for p in ('mine', 'other')], [False, True])
        f.call('ResumePool', pool='other')
        killed_and_back(f)
        check(f.pool('other')['state'] not in ('draining', 'stopped'), f.pool('other'))


@test
def spawned_by_one_flowctl_and_seen_by_the_next():
    with house() as f:
        out = f.flowctl('pool', 'spawn', '--worker-type=w', '--name=mine', '--min=2', '--max=3', check_status=0).stdout.decode().split()
        check(out[0].startswith('local_') and out[1] == 'mine', out)
        f.wait_ready('mine', 2)
        p = f.pool('mine')
        equal((p['id'], p['min'], p['max'], p['worker_type'], p['health']), (out[0], 2, 3, 'w', 'ok'))
        contains(f.flowctl('pool', 'list', check_status=0).stdout.decode(), 'mine')
        equal(f.flowctl('pool', 'execute', 'mine', 'hello', '--method=echo', check_status=0).stdout, b'hello')
        equal(f.flowctl('pool', 'execute', out[0], 'by its id', '--method=echo', check_status=0).stdout, b'by its id')
        contains(f.flowctl('config', 'cat', 'mine.pool', check_status=0).stdout.decode(), 'Worker=w', 'Min=2', '(spawned)')
        f.flowctl('pool', 'close', 'mine', check_status=0)
        equal(names(f), ['configured'])
        refused('NoSuchPool', f.call, 'ClosePool', pool='mine')
        refused('NoSuchPool', f.call, 'ClosePool', pool=out[0])
        r = f.flowctl('pool', 'close', 'never-was')
        equal(r.returncode, 1)
        contains(r.stderr.decode(), 'never-was')


@test
def defaults_names_and_settings():
    with house() as f:
        a, b = spawn(f), spawn(f, pool_type='mahavishnu')
        equal((a['name'], b['name'], a['kept']), ('w-1', 'w-2', True))
        check(a['id'] != b['id'] and b['id'].startswith('local_'), a, b)
        equal((f.pool('w-1')['min'], f.pool('w-1')['max'], f.pool('w-1')['tier']), (1, 10, 'warm'))
        spawn(f, name='c', tier='cold', settings={'QueueMax': '7', 'IdleTimeout': '1min'})
        equal((f.pool('c')['min'], f.pool('c')['tier'], f.pool('c')['queue_max']), (0, 'cold', 7))
        spawn(f, name='many', min=11)
        equal((f.pool('many')['min'], f.pool('many')['max']), (11, 11))
        f.flowctl('pool', 'spawn', '--worker-type=w', '--name=set', 'QueueMax=3', 'BreakerProbes=2', check_status=0)
        equal(f.pool('set')['queue_max'], 3)


@test
def what_cannot_be_is_refused_and_leaves_nothing_behind():
    with house() as f:
        before = f.status()['fds'], len(f.left_over())
        contains(refused('PoolExists', spawn, f, name='configured').message, 'from a file')
        contains(refused('InvalidPool', spawn, f, 'nothing').message, 'no such worker type')
        contains(refused('InvalidPool', spawn, f, pool_type='kubernetes').message, 'kubernetes', 'local')
        contains(refused('InvalidPool', spawn, f, tier='tepid').message, 'tepid')
        contains(refused('InvalidPool', spawn, f, name='../x').message, 'no name')
        contains(refused('InvalidPool', spawn, f, min=5, max=3).message, 'Min=5', 'Max=3')
        contains(refused('InvalidPool', spawn, f, settings={'QueueMax': 'x'}).message, 'QueueMax')
        contains(refused('InvalidPool', spawn, f, settings={'QueueMaxx': '1'}).message, 'QueueMaxx', 'unknown key')
        refused('InvalidPool', spawn, f, settings={'QueueMax': '1\nWorker=bad'})
        refused('InvalidPool', spawn, f, settings={'QueueMax=1\nMax': '1'})
        refused('InvalidParameter', f.call, 'SpawnPool')
        refused('InvalidParameter', spawn, f, min=10001)
        contains(refused('NotSpawned', f.call, 'ClosePool', pool='configured').message, 'configured.pool', 'drain')
        equal(names(f), ['configured'])
        wait_until(lambda: len(f.left_over()) == before[1])
        equal(f.status()['fds'], before[0])
        r = f.flowctl('pool', 'spawn')
        equal(r.returncode, 2)
        contains(r.stderr.decode(), '--worker-type')
        for setting in ({'Max': '9'}, {'Min': '1'}, {'Tier': 'hot'}):
            contains(refused('InvalidPool', spawn, f, min=1, max=3, tier='hot', settings=setting).message, 'given twice')
        for args, words in ((['w'], "'w' is no setting, which is KEY=VALUE; for the worker type say --worker-type=w"),
                            (['--worker-type=w', 'words'], "'words' is no setting"), (['--worker-type=w', '--max=3', 'Max=9'], 'Max= is given twice'),
                            (['--worker-type=w', 'Max=3', 'Max=9'], 'Max= is given twice'), (['--worker-type=w', 'Max=foo'], 'Max=foo'),
                            (['--worker-type=w', '--min=x'], '--min=x: this takes'), (['--worker-type=w', '--min=5', '--max=3'], 'Min=5'),
                            (['--worker-type=none'], 'no such worker type')):
            r = f.flowctl('pool', 'spawn', *args)
            equal((r.returncode, r.stdout), (2, b''), args)
            contains(r.stderr.decode(), words)
        equal(names(f), ['configured'])


@test
def kept_across_reload_reexec_restart_and_SIGKILL():
    with house() as f:
        id = spawn(f, name='mine', min=2, max=4, settings={'QueueMax': '9'})['id']
        for way in (lambda: f.call('Reload'), lambda: f.call('Reexec'), lambda: restarted(f), lambda: killed_and_back(f), lambda: f.call('Reexec')):
            way()
            f.wait_ready('mine', 2)
            p = f.pool('mine')
            equal((p['id'], p['min'], p['max'], p['queue_max']), (id, 2, 4, 9))
            with f.jobs() as j:
                completed(j.run('mine', b'x', 'echo'), b'x')
        f.call('ClosePool', pool='mine')
        for way in (lambda: f.call('Reload'), lambda: f.call('Reexec'), lambda: restarted(f)):
            way()
            equal(names(f), ['configured'])


@test
def workers_go_on_through_reload_and_reexec():
    with house() as f:
        spawn(f, name='mine', min=2)
        f.wait_ready('mine', 2)
        pids = f.pids('mine')
        f.call('Reload')
        f.call('Reexec')
        equal(f.pids('mine'), pids)


@test
def without_a_store_it_says_what_that_means():
    with house(conf={'Store': 'no'}) as f:
        r = spawn(f, name='mine')
        equal(r['kept'], False)
        contains(r['notice'], 'no store', 'reexec')
        f.call('Reload')
        f.call('Reexec')
        equal(names(f), ['configured', 'mine'])
        contains(f.flowctl('pool', 'spawn', '--worker-type=w', check_status=0).stderr.decode(), 'there is no store')
        restarted(f)
        equal(names(f), ['configured'])


@test
def a_file_of_its_name_is_refused_by_reload_and_wins_at_a_restart():
    with house() as f:
        spawn(f, name='mine', min=1)
        f.wait_ready('mine')
        pids = f.pids('mine')
        f.write_pool('mine', pool('w', Min=3, Max=3))
        e = refused('InvalidConfig', f.call, 'Reload')
        contains(' '.join(e.parameters['messages']), 'mine.pool:', 'spawned at run time', 'flowctl pool close mine')
        equal(f.pids('mine'), pids)
        restarted(f)
        f.wait_ready('mine', 3)
        equal(f.pool('mine').get('id'), None)
        f.logged('there is a file mine.pool')
        f.remove('pools/mine.pool')
        f.call('Reload')
        restarted(f)
        equal(names(f), ['configured'])


@test
def its_worker_type_cannot_be_taken_away():
    with house() as f:
        f.write_worker('other', worker(zoo()))
        f.call('Reload')
        spawn(f, 'other', name='mine')
        f.remove('workers/other.worker')
        e = refused('InvalidConfig', f.call, 'Reload')
        contains(' '.join(e.parameters['messages']), 'mine', 'no such worker type', 'flowctl pool close mine')
        f.stop()
        f.start()
        equal(names(f), ['configured'])
        f.logged('Pool mine, spawned in an earlier run, cannot be started')
        f.write_worker('other', worker(zoo()))  # it was kept
        restarted(f)
        f.wait_ready('mine')


@test
def a_changed_worker_type_reaches_it():
    with house() as f:
        spawn(f, name='mine')
        f.wait_ready('mine')
        before = f.pids('mine')
        f.write_worker('w', worker(zoo(), Environment=['NEW=1']))
        equal(sorted(f.call('Reload')['changed']), ['configured', 'mine'])
        wait_until(lambda: f.pids('mine') and not set(f.pids('mine')) & set(before))


@test
def recorded_jobs_survive_the_restart_with_their_pool():
    with house() as f:
        spawn(f, name='mine', min=1, max=1)
        with f.jobs() as j:
            gate = f.gate()
            first = j.job_id(j.submit('mine', gate.payload, 'gate', durable=2, detached=1))
            wait_until(lambda: f.pool('mine')['running'] == 1)
            others = [j.job_id(j.submit('mine', b'%d' % n, 'echo', durable=2, detached=1)) for n in range(20)]
        killed_and_back(f)
        gate.open()
        with f.jobs() as j:
            completed(j.result(j.wait(first)), gate.payload)
            for n, id in enumerate(others):
                completed(j.result(j.wait(id)), b'%d' % n)


@test
def closing_finishes_what_it_has_and_takes_nothing_more():
    with house() as f, f.jobs() as j:
        spawn(f, name='mine', min=1, max=1)
        gate = f.gate()
        running = j.submit('mine', gate.payload, 'gate')
        wait_until(lambda: f.pool('mine')['running'] == 1)
        queued = [j.submit('mine', b'%d' % n, 'echo') for n in range(50)]
        j.job_id(queued[-1])
        with f.control() as c:
            c.send('ClosePool', pool='mine', timeout_usec=3600 * 1000000)
            wait_until(lambda: f.pool('mine')['state'] == 'draining')
            check(f.pool('mine')['closing'] and f.pool('mine')['health'] == 'down')
            equal(j.run('mine', b'late', 'echo').code, 'PoolUnavailable')
            contains(refused('PoolExists', spawn, f, name='mine').message, 'which closes')
            refused('PoolUnavailable', f.call, 'ScalePool', pool='mine', target=5)
            refused('Busy', f.call, 'Reexec')
            gate.open()
            c.answer()  # only when it is gone
            equal(names(f), ['configured'])
        completed(j.result(running), gate.payload)
        for n, i in enumerate(queued):
            equal(completed(j.result(i), b'%d' % n).attempts, 1)
        equal(spawn(f, name='mine')['name'], 'mine')


@test
def closing_has_a_deadline():
    with house() as f, f.jobs() as j:
        spawn(f, name='mine', min=1, max=1)
        running = j.submit('mine', b'', 'hang')
        wait_until(lambda: f.pool('mine')['running'] == 1)
        queued = j.submit('mine', b'x', 'echo')
        j.job_id(queued)
        kept = j.job_id(j.submit('mine', b'kept', 'echo', durable=2, detached=1))
        f.flowctl('pool', 'close', 'mine', '--timeout=300ms', check_status=0)
        r = j.result(running)
        equal(r.outcome, 'cancelled')
        contains(r.error, 'pool was closed')
        equal(j.result(queued).code, 'PoolUnavailable')
        equal(f.job(kept)['state'], 'queued')  # it was recorded, and waits for a pool of that name
        equal(names(f), ['configured'])
        spawn(f, name='mine')
        completed(j.result(j.wait(kept)), b'kept')


@test
def close_all():
    with house() as f:
        for n in range(5):
            spawn(f)
        spawn(f, 'bad', name='broken', settings={'RestartDelay': '10ms', 'BreakerCrashes': '2', 'BreakerCooldown': '1h'})
        wait_until(lambda: f.pool('broken')['state'] == 'degraded')
        contains(f.flowctl('pool', 'close-all', check_status=0).stdout.decode(), '6 pools were closed')
        equal(names(f), ['configured'])
        equal(f.call('CloseAllPools')['closed'], 0)


@test
def a_pool_whose_workers_cannot_start_leaks_none():
    with house(none=worker('/bin/false', protocol='jsonl')) as f:
        f.wait_ready('configured')
        processes, fds = len(f.left_over()), f.status()['fds']
        for n in range(3):
            for kind in ('bad', 'none'):
                spawn(f, kind, name='x', min=5, settings={'RestartDelay': '1ms', 'RestartDelayMax': '1ms', 'BreakerCrashes': '5', 'BreakerCooldown': '1h'})
                wait_until(lambda: f.pool('x')['state'] == 'degraded')
                wait_until(lambda: f.pool('x')['health'] == 'down') # its last worker may be on its way out
                f.call('ClosePool', pool='x')
        wait_until(lambda: len(f.left_over()) == processes, 10, 'the processes to be as many as before')
        wait_until(lambda: f.status()['fds'] == fds, 10, 'the descriptors to be as many as before')


@test
def batches_answer_by_index_however_few_the_workers():
    with house() as f:
        spawn(f, name='three', min=3, max=3)
        lines = ['task %d' % n for n in range(100)]
        r = f.flowctl('pool', 'execute', 'three', '--batch=-', '--method=echo', input='\n'.join(lines).encode(), check_status=0)
        got = [json.loads(x) for x in r.stdout.splitlines()]
        equal([(x['index'], x['result']) for x in got], list(enumerate(lines)))
        r = f.flowctl('pool', 'execute', 'three', '--batch=-', '--method=fail', input=b'a\nb\n')
        equal((r.returncode, [json.loads(x)['status'] for x in r.stdout.splitlines()]), (1, ['failed', 'failed']))
        equal(f.flowctl('pool', 'execute', 'three', 'x', '--batch=-', input=b'').returncode, 2)


@test
def a_batch_is_shared_by_all_workers():
    with house() as f:
        spawn(f, name='ten', min=10, max=10)
        f.wait_ready('ten', 10)
        gate = f.gate()
        with f.jobs() as j:
            i = [j.submit('ten', gate.payload, 'gate') for _ in range(10)]
            wait_until(lambda: f.pool('ten')['busy'] == 10)
            gate.open()
            equal(len({completed(j.result(x)).worker for x in i}), 10)


@test
def route_and_health_and_monitor():
    with house() as f:
        f.wait_ready('configured')
        equal(f.flowctl('pool', 'route', 'anywhere', '--method=echo', check_status=0).stdout, b'anywhere')
        equal(f.flowctl('pool', 'health', check_status=0).returncode, 0)
        spawn(f, 'bad', name='broken', settings={'RestartDelay': '10ms', 'BreakerCrashes': '2', 'BreakerCooldown': '1h'})
        wait_until(lambda: f.pool('broken')['state'] == 'degraded')
        r = f.flowctl('pool', 'health')
        equal(r.returncode, 1)
        contains(r.stdout.decode(), 'broken', 'down', 'open', 'ok')
        h = json.loads(f.flowctl('pool', 'health', '--json').stdout)
        equal((h['health'], {p['name']: (p['health'], p['breaker']) for p in h['pools']}),
              ('down', {'broken': ('down', 'open'), 'configured': ('ok', 'closed')}))
        equal(f.flowctl('pool', 'health', 'configured').returncode, 0)
        f.call('DrainPool', pool='configured')
        equal(json.loads(f.flowctl('pool', 'health', 'configured', '--json').stdout)['health'], 'degraded')
        out = f.flowctl('pool', 'monitor', '--json', '--count=2', '--interval=100ms', 'configured', check_status=0).stdout.splitlines()
        equal([[p['name'] for p in json.loads(x)['pools']] for x in out], [['configured']] * 2)
        contains(f.flowctl('pool', 'monitor', check_status=0).stdout.decode(), 'RESTARTS', 'broken')
        equal(f.flowctl('pool', 'monitor', 'none').returncode, 1)


@test
def what_an_operator_has_set_and_the_breaker_outlive_a_restart():
    with house() as f:
        f.call('ScalePool', pool='configured', target=2)
        spawn(f, name='held', min=1)
        spawn(f, 'bad', name='broken', settings={'RestartDelay': '10ms', 'BreakerCrashes': '2', 'BreakerCooldown': '1h'})
        f.wait_ready('held')
        f.call('DrainPool', pool='held')
        wait_until(lambda: f.pool('broken')['breaker'] == 'open')
        until = f.pool('broken')['breaker_until_usec']
        restarted(f)
        f.wait_ready('configured', 2)
        equal(f.pool('configured')['target'], 2)
        wait_until(lambda: f.pool('held')['state'] == 'stopped')
        p = f.pool('broken')
        equal((p['breaker'], p['state'], p['spawned']), ('open', 'degraded', 0))
        check(abs(p['breaker_until_usec'] - until) < 5000000, p['breaker_until_usec'], until)
        contains(p['reason'], 'crashed')
        f.call('ResumePool', pool='broken')  # and what an operator says counts at once
        wait_until(lambda: f.pool('broken')['spawned'] >= 2)
        f.call('ResumePool', pool='held')
        restarted(f)
        wait_until(lambda: f.pool('held')['state'] == 'running')


@test
def a_recorded_job_that_did_not_name_the_pool_goes_on_elsewhere_when_it_closes():
    with house() as f, f.jobs() as j:
        f.call('DrainPool', pool='configured')
        spawn(f, name='mine', min=1, max=1)
        f.wait_ready('mine')
        gate = f.gate()
        j.submit('mine', gate.payload, 'gate')
        id = j.job_id(j.submit(None, b'x', 'echo', durable=2, detached=1))
        wait_until(lambda: f.pool('mine')['queued'] == 1)
        f.call('ResumePool', pool='configured')
        f.call('ClosePool', pool='mine', timeout_usec=100000)
        equal(completed(j.result(j.wait(id)), b'x').worker.split('/')[0], 'configured')


@test
def who_may_spawn_may_not_execute_what_they_like():
    if os.geteuid() != 0:
        skip('needs root, to be two users')
    with house(conf={'SubmitGroup': '61002'}) as f:
        bad = ({'OnFailure': '/bin/touch %s/run' % f.dir}, {' OnFailure': '/bin/true'}, {'OnFailure ': '/bin/true'}, {'#': 'x'}, {'': 'x'},
               {'Max\nOnFailure': '/bin/true'}, {'QueueMax': '1\nOnFailure=/bin/true'})
        out = as_user(f, 61002, [('SpawnPool', {'worker_type': 'w', 'name': 's%d' % n, 'settings': settings})
                                 for n, settings in enumerate(({'QueueMax': '7'},) + bad)])
        equal(out[0]['name'], 's0')
        equal([x.split('.')[-1] for x in out[1:]], ['InvalidPool'] * len(bad))
        equal(spawn(f, name='by-root', settings={'OnFailure': '/bin/true'})['name'], 'by-root')
        equal(names(f), ['by-root', 'configured', 's0'])


@test
def many_spawned_and_closed_under_load():
    with house() as f, Traffic(f, 'configured'):
        wrong = []

        def one(k):
            try:
                for n in range(5):
                    name = 'p%d-%d' % (k, n)
                    spawn(f, name=name, min=1, max=2)
                    with f.jobs() as j:
                        i = [j.submit(name, b'%d' % x, 'echo') for x in range(50)]
                        j.job_id(i[-1])
                        f.call('ClosePool', pool=name)
                        for x, y in enumerate(i):
                            completed(j.result(y), b'%d' % x)
            except BaseException as e:
                wrong.append(e)
        threads = [threading.Thread(target=one, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check(not wrong, wrong)
        equal(names(f), ['configured'])


main()
