#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Crash windows, the breaker with its probes, and the exact cause of each death."""

import sqlite3

from flowtest import *


def one(args='', protocol='frame', exec_=None, worker_keys=None, tier='hot', start=True, **keys):
    keys = {'Min': 0 if tier == 'cold' else 1, 'Max': 1, 'RestartDelay': '5ms', 'RestartDelayMax': '5ms', **keys}
    if tier == 'cold':
        del keys['Min']
    return Flowd(workers={'w': worker((exec_ or zoo()) + ' ' + args, protocol, **(worker_keys or {})), 'good': worker(zoo())},
                 pools={'w': pool('w', tier, **keys), 'good': pool('good', Min=1, Max=1)}, start=start)


def failure(f, cause):
    return wait_until(lambda: f.pool('w').get('last_failure_cause') == cause and f.pool('w'), 15, 'a failure by ' + cause)


@test
def closed_open_half_open_and_closed_by_answers():
    with one(BreakerCrashes=3, BreakerCooldown='300ms', HealthyAfter='1h', BreakerProbes=2) as f, f.jobs() as j:
        e = f.events
        f.wait_ready('w')
        equal(f.pool('w')['breaker'], 'closed')
        for n in range(3):
            pid = wait_until(lambda: f.pids('w'))[0]
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: f.pool('w')['crashes'] == n + 1)
        p = f.pool('w')
        equal((p['breaker'], p['breaker_opened'], p['state'], p['health']), ('open', 1, 'degraded', 'down'))
        check(p['breaker_until_usec'] > time.time() * 1e6 - 5e6, p)
        equal(j.run('w', b'x', 'echo').code, 'PoolUnavailable')
        e.wait('breaker-half-open', pool='w')
        f.wait_ready('w')
        completed(j.run('w', b'1', 'echo'), b'1')
        equal((f.pool('w')['breaker'], f.pool('w')['breaker_probes'], f.pool('w')['state']), ('half-open', 1, 'degraded'))
        completed(j.run('w', b'2', 'echo'), b'2')
        e.wait('pool-recovered', pool='w')
        equal((f.pool('w')['breaker'], f.pool('w')['state'], f.pool('w')['health']), ('closed', 'running', 'ok'))
        equal(f.pool('w')['restarts'], 3)
        contains(f.flowctl('pool', 'show', 'w').stdout.decode(), 'Breaker: closed; opened 1 time', 'SIGKILL')


@test
def a_probe_that_crashes_opens_it_anew():
    with one('--start=exit --code=9', BreakerCrashes=2, BreakerCooldown='100ms') as f:
        e = f.events
        e.wait('breaker-open', 2, pool='w')
        check(f.pool('w')['breaker_opened'] >= 3, f.pool('w'))
        equal(len([x for x in f.call('Events', pool='w')['events'] if x['name'] == 'pool-degraded']), 1)


@test
def crashes_outside_of_the_window_do_not_count():
    with one(BreakerCrashes=2, BreakerWindow='50ms', BreakerCooldown='1h', HealthyAfter='50ms') as f:
        for n in range(4):
            f.wait_ready('w')
            wait_since(f.workers('w')[0]['started_usec'], 0.2)  # longer than the window, and than HealthyAfter=
            os.kill(f.pids('w')[0], signal.SIGKILL)
            wait_until(lambda: f.pool('w')['crashes'] == n + 1)
        f.wait_ready('w')
        equal(f.pool('w')['breaker'], 'closed')


@test
def a_pool_that_answers_nothing_is_degraded_whatever_the_window():
    with one(BreakerCrashes=3, BreakerWindow='1ms', BreakerCooldown='1h', worker_keys={'MaxCrashes': 2}) as f, f.jobs() as j:
        for n in range(3):  # one poison job among good ones is no matter
            equal(j.run('w', b'%d' % n, 'crash').code, 'Crashed')
            completed(j.run('w', b'x', 'echo'), b'x')
        p = f.pool('w')
        equal((p['crashes'], p['breaker'], p['health']), (6, 'closed', 'ok'))
        equal(j.run('w', b'a', 'crash').code, 'Crashed')
        equal(f.pool('w')['breaker'], 'closed')
        equal(j.run('w', b'b', 'crash').code, 'PoolUnavailable')
        p = f.pool('w')
        equal((p['crashes'], p['breaker'], p['health'], p['state']), (9, 'open', 'down', 'degraded'))
        contains(p['reason'], '3 workers crashed and no job was answered in between')


@test
def two_bad_of_many_do_not_close_it_by_having_lived():
    # a worker that had been there before is no probe while others are wanted
    with one(Min=2, Max=2, BreakerCrashes=3, BreakerCooldown='300ms', HealthyAfter='100ms') as f:
        f.wait_ready('w', 2)
        for w in f.workers('w'):
            wait_since(w['started_usec'], 0.2)  # longer than HealthyAfter=
        for n in range(3):
            w = wait_until(lambda: [x for x in f.workers('w') if x['slot'] == 1 and x['pid'] > 0 and x['state'] == 'ready'])[0]
            os.kill(w['pid'], signal.SIGKILL)
            wait_until(lambda: f.pool('w')['crashes'] == n + 1)
        equal(f.pool('w')['breaker'], 'open')
        equal(f.pool('w')['health'], 'degraded')
        with f.jobs() as j:  # by the one that is left
            completed(j.run('w', b'x', 'echo'), b'x')
        wait_until(lambda: f.pool('w')['breaker'] == 'closed' and len(f.pids('w')) == 2)
        e = [x for x in f.call('Events', pool='w')['events'] if x['name'] == 'pool-recovered']
        contains(e[0]['message'], 'w/1 has lived for 100ms')


@test
def a_cold_pool_is_probed_by_its_jobs_one_at_a_time():
    with one(protocol='exec', exec_="/bin/sh -c 'kill -SEGV $$'", worker_keys={'MaxCrashes': 1}, tier='cold', Max=4,
             BreakerCrashes=2, BreakerCooldown='300ms', BreakerProbes=2) as f, f.jobs() as j:
        for _ in range(2):
            equal(j.run('w', b'x').code, 'Crashed')
        equal((f.pool('w')['breaker'], f.pool('w')['state']), ('open', 'degraded'))
        equal(j.run('w', b'x').code, 'PoolUnavailable')
        wait_until(lambda: f.pool('w')['breaker'] == 'half-open')
        equal(f.pool('w')['state'], 'running')
        equal(j.run('w', b'x').code, 'Crashed')
        equal(f.pool('w')['breaker'], 'open')
        gate = f.gate()
        f.write_worker('w', worker('/bin/sh -c \'read p; while [ ! -e "$p" ]; do sleep 0.02; done\'', 'exec'))
        f.call('Reload')  # it may be mended: tried at once
        equal(f.pool('w')['breaker'], 'closed')
        i = [j.submit('w', gate.payload + b'\n') for _ in range(6)]
        wait_until(lambda: f.pool('w')['running'] == 4)
        gate.open()
        for x in i:
            completed(j.result(x))


@test
def the_backoff_of_a_cold_pool_begins_anew_after_a_while_without_a_crash():
    with one(protocol='exec', exec_="/bin/sh -c 'read w; if [ $w = crash ]; then kill -SEGV $$; else sleep 0.3; fi'", worker_keys={'MaxCrashes': 1},
             tier='cold', BreakerCrashes=0, RestartDelay='100ms', RestartDelayMax='1h', HealthyAfter='100ms') as f, f.jobs() as j:
        for _ in range(8):  # the last time it would be 12 seconds
            equal(j.run('w', b'crash\n').code, 'Crashed')
            check(completed(j.run('w', b'ok\n')).wait_usec < 3e6 * SLOW, 'it waited too long')


@test
def an_open_breaker_is_open_after_SIGKILL_and_not_for_ever():
    with one('--start=exit --code=9', BreakerCrashes=2, BreakerCooldown='4s') as f:
        wait_until(lambda: f.pool('w')['breaker'] == 'open')
        with contextlib.closing(sqlite3.connect('file:%s/flowd.db?mode=ro' % f.state, uri=True)) as db:
            wait_until(lambda: '"open"' in ''.join(v for v, in db.execute("SELECT value FROM state WHERE key = 'item/pools'")), 3, 'it to be kept')
        os.kill(f.pid, signal.SIGKILL)
        f.process.wait(20 * SLOW)
        f.start()
        p = f.pool('w')
        equal((p['breaker'], p['spawned'], p['state']), ('open', 0, 'degraded'))
        wait_until(lambda: f.pool('w')['spawned'] >= 1, 15)


# jobs that were not in the queue when their pool failed

@test
def whose_delay_is_over_when_nothing_is_started_any_more():
    with one(worker_keys={'Retries': 3, 'RetryDelay': '2s', 'RetryDelayMax': '2s'}) as f, f.jobs() as j:
        f.wait_ready('w')
        ids = [j.submit('w', b'', 'fail:1') for _ in range(8)]
        wait_until(lambda: f.pool('w')['running'] == 0 and f.pool('w')['queued'] >= 4)
        j.submit('w', b'', 'exit:125')
        wait_until(lambda: f.pool('w')['state'] == 'failed')
        check(f.pool('w')['queued'] > 0, f.pool('w'))
        for i in ids:
            equal(j.result(i).outcome, 'failed')
        equal(f.pool('w')['queued'], 0)


@test
def whose_attempt_is_recorded_when_its_breaker_is_open():
    with one(BreakerCrashes=1, BreakerCooldown='10min', worker_keys={'MaxCrashes': 3}) as f, f.jobs() as j:
        f.write_pool('w2', pool('w', 'warm', Max=1))
        f.call('Reload')
        f.wait_ready('w')
        id = j.job_id(j.submit(None, b'', 'once', tier='hot', worker_type='w', durable=2, detached=1))
        equal(completed(j.result(j.wait(id))).worker, 'w2/0')
        equal((f.pool('w')['state'], f.pool('w')['queued']), ('degraded', 0))
        # one that can go nowhere else waits, as it was accepted for
        f.call('ResumePool', pool='w')
        f.wait_ready('w')
        id = j.job_id(j.submit('w', b'', 'once', durable=2, detached=1))
        wait_until(lambda: f.pool('w')['breaker'] == 'open')
        wait_until(lambda: f.pool('w')['queued'] == 1)
        f.call('ResumePool', pool='w')
        completed(j.result(j.wait(id)))


# causes

@test
def killed_by_a_signal():
    with one() as f, f.jobs() as j:
        f.wait_ready('w')
        i = j.submit('w', b'', 'hang')
        job = j.job_id(i)
        wait_until(lambda: f.pool('w')['running'] == 1)
        w = f.workers('w')[0]
        os.kill(w['pid'], signal.SIGKILL)
        p = failure(f, 'signal')
        equal((p['last_failure_worker'], p['last_failure_job']), ('w/0', job))
        contains(p['last_failure'], 'SIGKILL')
        f.wait_ready('w')
        d = f.worker('w/0')
        equal((d['last_failure_cause'], d['last_failure_job']), ('signal', job))
        check(d['last_failure_max_rss'] > 100000 and d['last_failure_lived_usec'] > 0, d)
        contains(f.flowctl('worker', 'show', 'w/0').stdout.decode(), 'Last failure: was killed by SIGKILL (signal)', 'with job ' + job)
        f.logged('CAUSE=signal', 'EXIT_SIGNAL=9')
        j.cancel(i)


@test
def exits_of_its_own_with_its_last_words():
    with one(worker_keys={'MaxCrashes': 1}) as f, f.jobs() as j:
        f.wait_ready('w')
        r = j.run('w', b'', 'exit:3')
        equal(r.code, 'Crashed')
        contains(r.error, 'cause: exit', 'CPU time', 'memory')
        failure(f, 'exit')


@test
def dumps_core():
    with one(worker_keys={'LimitCORE': 'infinity', 'WorkingDirectory': '/tmp'}) as f:
        with open('/proc/sys/kernel/core_pattern') as pattern:
            if pattern.read(1) != '|' and not os.access('/tmp', os.W_OK):
                skip('cores cannot be dumped here')
        f.wait_ready('w')
        os.kill(f.pids('w')[0], signal.SIGABRT)
        p = wait_until(lambda: f.pool('w').get('last_failure') and f.pool('w'))
        equal(p['last_failure_cause'], 'core' if 'core dumped' in p['last_failure'] else 'signal')


@test
def its_heartbeat_stops():
    with one('--silent', worker_keys={'HeartbeatInterval': '50ms'}) as f:
        failure(f, 'heartbeat')


@test
def breaks_the_protocol():
    with one() as f, f.jobs() as j:
        f.wait_ready('w')
        i = j.submit('w', b'', 'garbage')
        failure(f, 'protocol')
        j.cancel(i)


@test
def is_not_ready_in_time():
    with one('--start=mute', worker_keys={'StartTimeout': '200ms'}, BreakerCrashes=2, BreakerCooldown='1h') as f:
        failure(f, 'start-timeout')


@test
def cannot_be_executed():
    with one() as f:
        f.write_worker('x', worker('/bin/true', User='nobody') if os.geteuid() == 0 else worker('/bin/true'))
        path = f.dir + '/vanishes'
        with open(path, 'w') as out:
            out.write('#!/no/interpreter\n')
        os.chmod(path, 0o755)
        f.write_worker('w', worker(path))
        f.call('Reload')
        failure(f, 'start')


@test
def what_flowd_ended_is_no_failure():
    with one(worker_keys={'JobTimeout': '200ms', 'CancelTimeout': '100ms', 'StopTimeout': '100ms'}, start=False) as f:
        f.write_conf({'LogLevel': 'debug'})
        f.start()
        f.wait_ready('w')
        j = f.jobs()
        equal(j.run('w', b'', 'stubborn').outcome, 'timeout')
        f.logged('CAUSE=timeout')
        equal(f.pool('w').get('last_failure'), None)
        f.wait_ready('w')
        f.call('KillWorker', id='w/0')
        f.logged('CAUSE=stopped')
        equal((f.pool('w')['crashes'], f.pool('w')['restarts']), (0, 0))


@test
def the_last_failures_are_known_after_a_reexec():
    with one() as f:
        f.wait_ready('w')
        os.kill(f.pids('w')[0], signal.SIGKILL)
        failure(f, 'signal')
        f.wait_ready('w')
        before = f.worker('w/0')
        f.call('Reexec')
        after = f.worker('w/0')
        equal({k: v for k, v in after.items() if k.startswith('last_')}, {k: v for k, v in before.items() if k.startswith('last_')})


@test
def the_end_of_the_cool_down_is_known_after_a_reexec():
    with one('--start=exit --code=9', BreakerCrashes=2, BreakerCooldown='1h') as f:
        until = wait_until(lambda: f.pool('w')['breaker'] == 'open' and f.pool('w')['breaker_until_usec'])
        f.call('Reexec')
        check(abs(f.pool('w')['breaker_until_usec'] - until) < 1e6, f.pool('w'), until)


main()
