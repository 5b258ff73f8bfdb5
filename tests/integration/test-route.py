#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Routing: methods, worker types, strategies, affinity; a tier for jobs that name none; fallback, and its end; that what is explained is what happens."""

from flowtest import *

SLEEP = "/bin/sh -c 'read t; exec sleep $t'"  # the payload says how long
# says which type it is of; "gate" waits for a file, and then the worker is not to be started again
TYPED = '''
import json, os, sys, time
for line in sys.stdin:
    m = json.loads(line)
    if m.get('method') == 'gate':
        while not os.path.exists(m['payload']):
            time.sleep(0.01)
        os._exit(125)
    if 'payload' in m:
        print(json.dumps({'job': m['job'], 'result': sys.argv[1]}), flush=True)
'''
DOWN = dict(RestartDelay='1ms', BreakerCrashes=2, BreakerCooldown='10min')


def tiers(conf=None, types=None, **pools):
    """Pools by name; workers of type "w", and of "down", which never start."""
    return Flowd(workers={'w': worker(zoo()), 'down': worker('/bin/false'), 'sleep': worker(SLEEP, 'exec'), **(types or {})}, pools=pools, conf=conf)


def went(r):
    """The pool that a job ran in."""
    return completed(r).worker.split('/')[0]


def is_down(f, *names):
    for name in names:
        wait_until(lambda: f.pool(name)['state'] == 'degraded', what='pool %s to be degraded' % name)


def counters(f):
    return {t.pop('tier'): t for t in f.status()['tiers']}


def explain(f, **keys):
    return f.call('ExplainRoute', **keys)


# who may take a job

@test
def methods_by_name_and_by_pattern():
    with tiers(any=pool('w', 'hot', Max=1), images=pool('w', 'warm', Max=1, Methods='img.* resize'),
               crops=pool('w', 'warm', Max=1, Methods=['img.crop', 'other'])) as f, f.jobs() as j:
        equal(went(j.run(None, b'x', 'img.flip')), 'images')
        equal(went(j.run(None, b'x', 'resize')), 'images')
        equal(went(j.run(None, b'x', 'other')), 'crops')
        equal({went(j.run(None, b'x', 'img.crop')) for _ in range(4)}, {'images', 'crops'})
        equal(went(j.run(None, b'x', 'unheard-of')), 'any')
        equal(went(j.run(None, b'x')), 'any')
        equal(went(j.run('crops', b'x', 'resize')), 'crops')  # a pool that is named is asked for nothing
        f.write_pool('any', pool('w', 'hot', Max=1, Methods='a'))
        f.call('Reload')
        r = ended(j.run(None, b'x', 'unheard-of'), 'refused', code='NoSuchPool')
        contains(r.error, 'unheard-of', 'Methods=')
        ended(j.run(None, b'x'), 'refused', 'Methods=', code='NoSuchPool')
        equal(went(j.run(None, b'x', 'a')), 'any')


@test
def worker_types():
    with tiers(types={'v': worker(zoo())}, a=pool('w', 'hot', Max=1), b=pool('v', 'cold', Max=1),
               c=pool('v', 'hot', Max=1, Methods='m')) as f, f.jobs() as j:
        equal(went(j.run(None, b'x', 'echo', worker_type='w')), 'a')
        equal(went(j.run(None, b'x', 'echo', worker_type='v')), 'b')
        equal(went(j.run(None, b'x', 'm', worker_type='v')), 'c')
        equal(went(j.run(None, b'x', 'm', worker_type='w')), 'a')  # which declares nothing, and takes all
        ended(j.run(None, b'x', worker_type='none'), 'refused', "'none'", code='NoSuchPool')
        ended(j.run('a', b'x', worker_type='v'), 'refused', 'of type w', code='NoSuchPool')
        ended(j.run(None, b'x', worker_type='v' * 64 + 'x'), 'refused', code='InvalidJob')
        equal(f.flowctl('run', '--worker-type=v', '--method=echo', 'x', '--json', check_status=0).stdout.count(b'"tier":"cold"'), 1)


@test
def bad_words():
    with tiers(w=pool('w', 'hot', Max=1)) as f, f.jobs() as j:
        for bad in ({'tier': 'tepid'}, {'strategy': 'best'}, {'fallback': 'hot hot'}, {'weight': 11}):
            ended(j.run(None, b'x', **bad), 'refused', code='InvalidJob')
            name = next(iter(bad))
            for method in ('Run', 'Submit', 'ExplainRoute'):
                e = refused('InvalidParameter', f.call, method, **bad)
                equal(e.parameters['parameter'], name)
            r = f.flowctl('run', '--%s=%s' % (name, bad[name]), 'x')
            equal(r.returncode, 2)
            contains(r.stderr.decode(), '--' + name)


# strategies

@test
def strategies_per_job():
    with tiers(conf={'RouteStrategy': 'round_robin'}, **{n: pool('w', 'hot', Max=1) for n in 'abc'}) as f, f.jobs() as j:
        got = [went(j.run(None, b'x', 'echo')) for _ in range(9)]
        equal(got[:3] * 3, got)
        equal(sorted(got[:3]), ['a', 'b', 'c'])
        gate = f.gate()
        i = [j.submit('a', gate.payload, 'gate') for _ in range(20)] + [j.submit('b', gate.payload, 'gate')]
        [j.job_id(x) for x in i]
        equal({went(j.run(None, b'x', 'echo', strategy='least_loaded')) for _ in range(4)}, {'c'})
        # of two pools the one with less load: never the busiest. Jobs at b wait for the gate, so only where they went is asked
        got = [j.job_id(j.submit(None, b'x', 'echo', strategy='random')) for _ in range(10)]
        where = {f.job(x)['pool'] for x in got}
        check('a' not in where, 'the busiest pool was chosen:', where)
        gate.open()
        for x in i:
            completed(j.result(x))


@test
def a_pool_as_a_wish():
    with tiers(a=pool('w', 'warm', Max=1), b=pool('w', 'hot', Max=1), bad=pool('down', 'hot', **DOWN)) as f, f.jobs() as j:
        is_down(f, 'bad')
        equal(went(j.run('a', b'x', 'echo', strategy='affinity')), 'a')
        equal(went(j.run('bad', b'x', 'echo', strategy='affinity')), 'b')
        equal(went(j.run('gone', b'x', 'echo', strategy='affinity')), 'b')
        ended(j.run('bad', b'x', 'echo'), 'refused', code='PoolUnavailable')
        ended(j.run('gone', b'x', 'echo'), 'refused', code='NoSuchPool')
        equal(f.job(j.job_id(j.submit('bad', b'x', 'sleep:50', strategy='affinity')))['route']['affinity'], 'fallback')


@test
def sessions_stay_in_their_pool():
    with tiers(**{n: pool('w', 'hot', Max=1) for n in 'abcd'}) as f, f.jobs() as j:
        gate = f.gate()

        def route(**keys):
            i = j.submit(None, gate.payload, 'gate', detached=1, **keys)
            job = f.job(j.job_id(i))
            return job['pool'], job['route'].get('affinity')
        home, affinity = route(session='s')
        equal(affinity, 'miss')
        for _ in range(3):  # although it is the busiest one
            equal(route(session='s'), (home, 'hit'))
        check(route(session='s', strategy='least_loaded')[0] != home, 'its own strategy does not count')
        home = f.call('ListJobs', session='s', limit=1)['jobs'][0]['pool']  # where it was last
        equal(route(session='s'), (home, 'hit'))
        f.call('DrainPool', pool=home)
        other, affinity = route(session='s')
        check(other != home, 'a job went to a paused pool')
        equal(affinity, 'fallback')
        gate.open()
        f.call('ResumePool', pool=home)


# a tier for jobs that name none

@test
def steps():
    with tiers(conf={'RouteMethodTier': ['rep*=cold', 'report=warm'], 'RouteWarmPayloadMax': '100K', 'RouteHotPayloadMax': '1K'},
               hot=pool('w', 'hot', Max=1), warm=pool('w', 'warm', Max=1), cold=pool('w', 'cold', Max=1)) as f, f.jobs() as j:
        equal(went(j.run(None, b'x', 'report', weight=1)), 'warm')
        equal(went(j.run(None, b'x', 'repeat', weight=1)), 'cold')
        for weight, name in ((1, 'hot'), (3, 'hot'), (4, 'warm'), (6, 'warm'), (7, 'cold'), (10, 'cold')):
            equal(went(j.run(None, b'x' * 200000, 'other', weight=weight)), name)
        for size, name in ((1, 'hot'), (1024, 'hot'), (1025, 'warm'), (102400, 'warm'), (102401, 'cold')):
            equal(went(j.run(None, b'x' * size, 'other')), name)
        e = explain(f, method='other', payload_size=2000)
        equal((e['why'], e['chosen'], [s['step'] for s in e['steps']]), ('size', 'warm', ['method', 'weight', 'learnt', 'size']))
        f.write_conf({'RouteSteps': 'weight'})
        f.call('Reload')
        equal(went(j.run(None, b'x' * 200000, 'report')), 'hot')  # no step has anything to say
        equal(explain(f)['why'], 'default')
        f.write_conf({'RouteSteps': 'weight luck'})
        refused('InvalidConfig', f.call, 'Reload')


def learn(f, j, method, seconds, n):
    """Runs of a method, many at a time, in a pool of their own: they need not take as long as they take."""
    for i in [j.submit('school', b'%g' % seconds, method) for _ in range(n)]:
        completed(j.result(i))


@test(bound=180)
def run_times_are_learnt_and_learnt_again():
    conf = {'RouteLearnAfter': 10, 'RouteHotMax': '400ms', 'RouteWarmMax': '30s'}
    with tiers(conf=conf, hot=pool('sleep', 'hot', Min=1, Max=2), warm=pool('sleep', 'warm', Max=2), cold=pool('sleep', 'cold', Max=2),
               school=pool('sleep', 'cold', Max=16, Methods='none')) as f, f.jobs(timeout=60) as j:
        f.events
        learn(f, j, 'quick', 0.0, 12)
        learn(f, j, 'slow', 0.8, 12)
        equal(went(j.run(None, b'0', 'quick')), 'hot')
        equal(went(j.run(None, b'0.1', 'slow')), 'warm')
        equal(explain(f, method='slow')['why'], 'learnt')
        m = {x['method']: x for x in f.call('ListMethods')['methods']}
        equal((m['quick']['tier'], m['slow']['tier'], m['slow']['changes']), ('hot', 'warm', 0))
        check(m['slow']['p50_usec'] >= 500000 and m['slow']['p90_usec'] >= m['slow']['p50_usec'], m)
        equal(f.events.find('method-moved'), [])
        # the two change places
        learn(f, j, 'quick', 0.8, 60)
        learn(f, j, 'slow', 0.0, 100)
        equal(went(j.run(None, b'0', 'quick')), 'warm')
        equal(went(j.run(None, b'0', 'slow')), 'hot')
        for method, parts in (('quick', 'tier warm, not hot'), ('slow', 'tier hot, not warm')):
            f.logged('Method %s now belongs to %s' % (method, parts))
        f.events.wait('method-moved', 2)
        # a new image knows it too
        before = {x['method']: x for x in f.call('ListMethods')['methods']}
        count = counters(f)
        f.call('Reexec')
        after = {x['method']: x for x in f.call('ListMethods')['methods']}
        for name in ('quick', 'slow'):
            equal([after[name][k] for k in ('tier', 'samples', 'since_usec', 'changes')],
                  [before[name][k] for k in ('tier', 'samples', 'since_usec', 'changes')])
        equal(counters(f), count)
        text = f.flowctl('route', 'list', check_status=0).stdout.decode()
        contains(text, 'quick', 'slow', '2 methods listed')


# fallback

@test
def from_a_tier_that_is_down():
    with tiers(hot=pool('down', 'hot', **DOWN), warm=pool('w', 'warm', Max=1), cold=pool('w', 'cold', Max=1)) as f, f.jobs() as j:
        is_down(f, 'hot')
        r = completed(j.run(None, b'x', 'echo'))
        equal((r.worker, r.ran_tier), ('warm/0', 'warm'))
        equal(went(j.run(None, b'x', 'echo', tier='hot')), 'warm')
        equal(went(j.run(None, b'x', 'echo', tier='hot', fallback='cold warm')), 'cold')
        ended(j.run(None, b'x', 'echo', tier='hot', fallback='none'), 'refused', 'hot', 'degraded', code='AllTiersFailed')
        id = j.job_id(j.submit(None, b'x', 'sleep:0', tier='hot'))
        route = f.job(id)['route']
        equal((route['tier'], route['chosen'], route['why'], route['strategy']), ('warm', 'hot', 'tier', 'least_loaded'))
        equal([(a['tier'], a['pool'], a['code']) for a in route['attempts']], [('hot', 'hot', 'PoolUnavailable')])
        contains(route['attempts'][0]['reason'], 'degraded')
        contains(f.flowctl('job', 'show', id, check_status=0).stdout.decode(), 'hot, but went to warm, by tier', 'hot: pool hot is degraded')
        c = counters(f)
        equal(c['hot'], {'routed': 0, 'fallback_from': 4, 'fallback_to': 0, 'refused': 1})
        equal(c['warm'], {'routed': 3, 'fallback_from': 0, 'fallback_to': 3, 'refused': 0})
        equal(c['cold'], {'routed': 1, 'fallback_from': 0, 'fallback_to': 1, 'refused': 0})
        equal(f.call('ListPools')['tiers'], f.status()['tiers'])
        contains(f.flowctl('status', check_status=0).stdout.decode(), '4 of tier hot went elsewhere, 1 nowhere')
        f.call('CancelJob', id=id)


@test
def in_the_configured_order_and_back_up():
    with tiers(conf={'RouteFallback': 'auto'}, hot=pool('w', 'hot', Max=1), warm=pool('w', 'warm', Max=1), cold=pool('w', 'cold', Max=1)) as f, \
            f.jobs() as j:
        f.call('DrainPool', pool='cold')
        equal(went(j.run(None, b'x', 'echo', tier='cold')), 'warm')
        f.call('DrainPool', pool='warm')
        equal(went(j.run(None, b'x', 'echo', tier='cold')), 'hot')
        equal(went(j.run(None, b'x', 'echo', tier='warm')), 'hot')
        f.write_conf({'RouteFallback': 'none'})
        f.call('Reload')
        ended(j.run(None, b'x', 'echo', tier='warm'), 'refused', 'warm', 'stopped', code='AllTiersFailed')
        f.remove('pools/cold.pool')
        f.call('Reload')
        wait_until(lambda: len(f.call('ListPools')['pools']) == 2)
        ended(j.run(None, b'x', 'echo', weight=9), 'refused', 'no pool of tier cold', code='AllTiersFailed')
        f.write_pool('cold', pool('w', 'cold', Max=1))
        f.call('Reload')
        f.call('DrainPool', pool='cold')
        f.write_conf({'RouteFallback': 'cold'})
        f.call('Reload')
        ended(j.run(None, b'x', 'echo', tier='warm'), 'refused', 'warm: ', 'cold: ', code='AllTiersFailed')
        equal(went(j.run(None, b'x', 'echo')), 'hot')


@test
def all_tiers_failed():
    with tiers(hot=pool('down', 'hot', **DOWN), warm=pool('w', 'warm', Max=1), cold=pool('w', 'cold', Max=1, QueueMax=0)) as f, f.jobs() as j:
        is_down(f, 'hot')
        f.call('DrainPool', pool='warm')
        gate = f.gate()
        i = j.submit('cold', gate.payload, 'gate')
        wait_until(lambda: f.pool('cold')['running'] == 1)
        r = ended(j.run(None, b'x', 'echo'), 'refused', code='AllTiersFailed')
        contains(r.error, 'no tier can take the job: hot: pool hot is degraded', '; warm: pool warm is stopped', '; cold: the queue of pool cold is full')
        check(r.error.index('hot:') < r.error.index('warm:') < r.error.index('cold:'))
        equal(r.retry, 1)  # one of them was only full
        for method in ('Run', 'Submit'):
            e = refused('AllTiersFailed', f.call, method, payload='x')
            equal([(a['tier'], a['pool'], a['code']) for a in e.parameters['attempts']],
                  [('hot', 'hot', 'PoolUnavailable'), ('warm', 'warm', 'PoolUnavailable'), ('cold', 'cold', 'QueueFull')])
        for verb in ('run', 'submit'):
            r = f.flowctl(verb, 'x')
            equal(r.returncode, 75)
            contains(r.stderr.decode(), 'hot:', 'warm:', 'cold:')
        equal(f.flowctl('route', 'explain').returncode, 75)
        refusals = f.status()['jobs_refused']
        ended(j.run(None, b'x', 'echo'), 'refused')
        equal(f.status()['jobs_refused'], refusals + 1, 'refused jobs:')  # however many pools were asked
        equal(counters(f)['hot']['refused'], 6)
        f.logged('Pool cold is saturated')
        gate.open()
        completed(j.result(i))


@test
def a_payload_that_is_too_large_for_some():
    with tiers(types={'small': worker(zoo(), PayloadMax='1K')}, hot=pool('small', 'hot', Max=1), warm=pool('w', 'warm', Max=1),
               cold=pool('small', 'cold', Max=1)) as f, f.jobs() as j:
        equal(went(j.run(None, b'x' * 2000, 'echo')), 'warm')
        f.remove('pools/warm.pool')
        f.call('Reload')
        wait_until(lambda: len(f.call('ListPools')['pools']) == 2)
        ended(j.run(None, b'x' * 2000, 'echo'), 'refused', 'PayloadMax=1K', code='PayloadTooLarge')


@test
def many_jobs_wait_for_room():
    with tiers(hot=pool('w', 'hot', Max=1, QueueMax=2), warm=pool('w', 'warm', Max=1, QueueMax=2)) as f:
        n = 300
        r = f.flowctl('run', '--lines', '--method=echo', input=b''.join(b'%d\n' % i for i in range(n)), check_status=0)
        equal(r.stdout, b''.join(b'%d\n' % i for i in range(n)))
        c = counters(f)
        equal(c['hot']['routed'] + c['warm']['routed'], n)


@test
def a_durable_job_is_submitted_once():
    with tiers(hot=pool('down', 'hot', **DOWN), warm=pool('w', 'warm', Max=1), cold=pool('w', 'cold', Max=1)) as f, f.jobs() as j:
        is_down(f, 'hot')
        ids = [j.job_id(j.submit(None, b'%d' % n, 'echo', durable=2, detached=1)) for n in range(5)]
        ids += [f.call('Submit', method='echo', payload=str(n), durable='yes')['job'] for n in range(5)]
        for n, id in enumerate(ids):
            completed(j.result(j.wait(id)), b'%d' % (n % 5))
        jobs = f.call('ListJobs')['jobs']
        equal(sorted(x['id'] for x in jobs), sorted(ids))
        equal({x['pool'] for x in jobs}, {'warm'})
        equal({x['attempts'] for x in jobs}, {1})
        equal(sum(p['completed'] for p in f.call('ListPools')['pools']), 10)


@test
def queued_jobs_of_a_pool_that_fails_go_on_elsewhere():
    flag = tempfile.mktemp(prefix='ft-flag-')
    sh = "/bin/sh -c 'if [ -e %s ]; then exit 3; else exec %s; fi'" % (flag, zoo())
    try:
        with tiers(types={'v': worker(sh)}, hot=pool('v', 'hot', Max=1, RestartDelay='1ms', BreakerCrashes=2, BreakerCooldown='10min'),
                   warm=pool('w', 'warm', Max=1), cold=pool('w', 'cold', Max=1, Methods='none')) as f, f.jobs() as j:
            f.events
            gate = f.gate()
            running = j.submit(None, gate.payload, 'gate', tier='hot')
            wait_until(lambda: f.pool('hot')['running'] == 1)
            queued = [j.submit(None, b'%d' % n, 'echo', tier='hot') for n in range(5)]
            durable = [j.job_id(j.submit(None, gate.payload, 'gate', tier='hot', durable=2, detached=1)) for n in range(3)]
            named = j.submit('hot', b'x', 'echo')
            typed = j.submit(None, b'x', 'echo', tier='hot', worker_type='v')
            alone = j.submit(None, b'x', 'echo', tier='hot', fallback='none')
            wait_until(lambda: f.pool('hot')['queued'] == 11)
            pathlib.Path(flag).touch()
            os.kill(f.pids('hot')[0], signal.SIGKILL)
            for i in (named, typed, alone):
                ended(j.result(i), 'failed', code='PoolUnavailable')
            f.events.wait('job-requeued', pool='hot')
            f.logged('went to other pools')
            wait_until(lambda: f.pool('warm')['running'] == 1 and f.pool('warm')['queued'] == 8)
            job = f.job(durable[0])
            equal((job['pool'], job['route']['tier'], job['route']['chosen']), ('warm', 'warm', 'hot'))
            equal([(a['tier'], a['pool'], a['code']) for a in job['route']['attempts']], [('hot', 'hot', 'PoolUnavailable')])
            equal(counters(f)['warm'], {'routed': 9, 'fallback_from': 0, 'fallback_to': 9, 'refused': 0})
            # another image knows where they are
            f.call('Reexec')
            equal(f.job(durable[0])['pool'], 'warm')
            j.cancel(running)
            ended(j.result(running), 'cancelled')
            for n, i in enumerate(queued):
                equal(completed(j.result(i), b'%d' % n).worker, 'warm/0')
            gate.open()
            for id in durable:
                equal(completed(j.result(j.wait(id))).worker, 'warm/0')
            equal([(x['state'], x['attempts']) for x in f.call('ListJobs', method='gate', state='completed')['jobs']], [('completed', 1)] * 3)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(flag)


@test
def who_waits_for_a_result_of_one_worker_type_does_not_get_that_of_another():
    with tempfile.TemporaryDirectory(prefix='ft-types-') as d:
        path = d + '/typed.py'
        with open(path, 'w') as out:
            out.write(TYPED)
        typed = lambda name: worker('%s %s %s' % (sys.executable, path, name), 'jsonl', Cacheable='who')
        with tiers(types={'a': typed('a'), 'b': typed('b')}, hot=pool('a', 'hot', Max=1, RestartDelay='1ms'),
                   warm=pool('b', 'warm', Max=1)) as f, f.jobs() as j:
            f.wait_ready('hot')
            gate = f.gate()
            j.submit('hot', json.dumps(gate.path), 'gate', kind=JSON)
            wait_until(lambda: f.pool('hot')['running'] == 1)
            first = j.submit(None, b'"x"', 'who', kind=JSON, tier='hot')
            wait_until(lambda: f.pool('hot')['queued'] == 1)
            second = j.submit('hot', b'"x"', 'who', kind=JSON)
            wait_until(lambda: f.pool('hot')['queued'] == 2)
            gate.open()  # and it exits with 125
            equal(completed(j.result(first)).payload, b'b')
            ended(j.result(second), 'failed', code='PoolUnavailable')
            f.call('ResumePool', pool='hot')
            f.wait_ready('hot')
            equal(completed(j.run('hot', b'"x"', 'who', kind=JSON)).payload, b'a')


# explaining

@test
def what_is_explained_is_what_happens():
    pools = {n: pool('w', t, Max=m) for n, t, m in (('h1', 'hot', 1), ('h2', 'hot', 2), ('m1', 'warm', 1), ('m2', 'warm', 3), ('c1', 'cold', 2))}
    with tiers(hx=pool('down', 'hot', **DOWN), img=pool('w', 'warm', Max=1, Methods='img.*'), **pools) as f, f.jobs() as j:
        is_down(f, 'hx')
        gate = f.gate()
        held = [j.submit(p, gate.payload, 'gate') for p in ('h1', 'm2', 'm2', 'c1')]
        [j.job_id(i) for i in held]
        wait_until(lambda: f.status()['jobs_running'] == 4)
        asked = [{}, {'tier': 'warm'}, {'tier': 'cold'}, {'method': 'img.x'}, {'method': 'img.x', 'tier': 'hot'}, {'weight': 5}, {'session': 's'},
                 {'session': 's', 'tier': 'warm'}, {'pool': 'm1'}, {'pool': 'hx', 'strategy': 'affinity'}, {'worker_type': 'w', 'tier': 'cold'},
                 {'tier': 'hot', 'fallback': 'cold'}]
        for s in ('least_loaded', 'round_robin', 'random', 'affinity'):
            for keys in asked:
                keys = {'strategy': s, **keys} if 'pool' not in keys else keys
                for _ in range(3):
                    e = explain(f, payload_size=len(gate.payload), **keys)
                    equal(explain(f, payload_size=len(gate.payload), **keys)['pool'], e['pool'], 'asked again:')
                    id = j.job_id(j.submit(keys.get('pool'), gate.payload, keys.get('method', 'gate'), detached=1,
                                           **{k: v for k, v in keys.items() if k not in ('pool', 'method')}))
                    job = f.call('ListJobs', limit=1)['jobs'][0]
                    equal((job['id'], job['pool']), (id, e['pool']), 'for %s:' % keys)
        e = explain(f, tier='hot')
        hot = {p['pool']: p for p in e['tiers'][0]['pools']}
        equal((hot['hx']['usable'], hot['hx']['state']), (False, 'degraded'))
        contains(hot['hx']['reason'], 'degraded')
        equal([p['pool'] for p in e['tiers'][0]['pools'] if p['chosen']], [e['pool']])
        check(all(p['load'] == p['work'] / p['capacity'] for t in e['tiers'] for p in t['pools']))
        text = f.flowctl('route', 'explain', '--tier=hot', 'abc', check_status=0).stdout.decode()
        contains(text, 'The job would go to pool %s of tier hot' % e['pool'], 'hot, then warm, then cold', '3B of payload', 'is chosen', 'hx')
        equal(json.loads(f.flowctl('route', 'explain', '--json', '--tier=hot', '--payload-size=64K', check_status=0).stdout)['pool'], e['pool'])
        gate.open()
        for i in held:
            completed(j.result(i))


@test
def a_reexec_keeps_what_a_job_says_of_its_route():
    with tiers(hot=pool('down', 'hot', **DOWN), warm=pool('w', 'warm', Max=1)) as f, f.jobs() as j:
        is_down(f, 'hot')
        gate = f.gate()
        id = j.job_id(j.submit(None, gate.payload, 'gate', session='s', detached=1))
        before = f.job(id)['route']
        equal((before['tier'], before['chosen'], before['affinity'], len(before['attempts'])), ('warm', 'hot', 'miss', 1))
        f.call('Reexec')
        equal(f.job(id)['route'], before)
        e = explain(f, session='s')
        equal((e['affinity'], e['pool']), ('hit', 'warm'))
        gate.open()
        completed(j.result(j.wait(id)))


main()
