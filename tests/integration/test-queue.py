#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The queue: priorities that age, users in turns, time that is over while a job waits, rates; and a re-exec amid all that."""

from flowtest import *


def house(conf=None, args='', wkeys=None, **pkeys):
    return Flowd(workers={'w': worker(zoo() + ' ' + args, **{'CancelTimeout': '20s', 'StopTimeout': '1s', **(wkeys or {})})},
                 pools={'w': pool('w', **{'tier': 'hot', 'Min': 1, 'Max': 1, **pkeys})}, conf=conf)


@contextlib.contextmanager
def busy(f, j):
    """The only worker has a job until the end of the block; what is submitted meanwhile waits."""
    gate = f.gate()
    held = j.submit('w', gate.payload, 'gate', priority=1000)
    wait_until(lambda: f.pool('w')['running'] == 1, what='the worker to be busy')
    yield
    gate.open()
    completed(j.result(held))


def queued(f, n):
    wait_until(lambda: f.pool('w')['queued'] == n, what='%d queued jobs' % n)


def order(j, ids):
    for i in ids:
        completed(j.result(i))
    return [i for i in j.order if i in ids]


@test
def a_higher_priority_goes_first():
    with house() as f, f.jobs() as j:
        with busy(f, j):
            ids = [j.submit('w', b'x', 'echo', priority=p) for p in (0, 5, -2 ** 31, 2 ** 31 - 1, 5, 0, -1, 1)]
            queued(f, 8)
        equal(order(j, ids), [ids[n] for n in (3, 1, 4, 7, 0, 5, 6, 2)])


@test
def waiting_counts_as_priority():
    with house(PriorityAging='100ms') as f, f.jobs() as j:
        with busy(f, j):
            old = j.submit('w', b'x', 'echo')
            queued(f, 1)
            soon = j.submit('w', b'x', 'echo', priority=1000)  # worth 100 s: it goes first
            queued(f, 2)
            wait_since(f.job(j.job_id(old))['accepted_usec'], 0.4)  # it has grown older than three steps are worth
            late = [j.submit('w', b'x', 'echo', priority=3) for _ in range(3)]
            queued(f, 5)
        equal(order(j, [old, soon, *late]), [soon, old, *late])


@test
def nothing_waits_for_ever():
    with house(PriorityAging='20ms') as f, f.jobs() as j, f.jobs() as other:
        with busy(f, j):
            low = j.submit('w', b'x', 'echo', priority=-5)
            queued(f, 1)
            for _ in range(50):
                other.submit('w', b'', 'sleep:5', priority=5)
        end = time.monotonic() + 30 * SLOW
        j.s.setblocking(False)
        while low not in j.results:
            check(time.monotonic() < end, 'it waits for ever')
            j.pump()
            other.submit('w', b'', 'sleep:5', priority=5)  # more than the worker can do
            other.pump(0.004)
        check(f.pool('w')['queued'] > 10)
        equal(completed(j.result(low)).outcome, 'completed')


@test
def without_aging_the_highest_goes_first_for_ever():
    with house(PriorityAging='0') as f, f.jobs() as j:
        with busy(f, j):
            low = j.submit('w', b'x', 'echo')
            queued(f, 1)
            wait_since(f.job(j.job_id(low))['accepted_usec'], 0.05)
            high = [j.submit('w', b'x', 'echo', priority=1) for _ in range(5)]
            queued(f, 6)
        equal(order(j, [low, *high]), [*high, low])


@test
def a_job_whose_worker_died_keeps_its_place():
    with house(RestartDelay='1ms') as f, f.jobs() as j:
        with busy(f, j):
            ids = [j.submit('w', b'x', 'once'), *[j.submit('w', b'x', 'echo') for _ in range(5)]]
            queued(f, 6)
        equal(order(j, ids), ids)


@test
def users_take_turns():
    if os.getuid() != 0:
        skip('needs root, to be several users')
    with house(conf={'SubmitGroup': 'root'}) as f, f.jobs() as j:
        with open(f.dir + '/order', 'w') as log:
            os.chmod(log.name, 0o666)
        os.chmod(f.runtime, 0o755)
        with busy(f, j):
            mine = [j.submit('w', b'x', 'echo') for _ in range(200)]
            queued(f, 200)
            child = subprocess.Popen([sys.executable, '-c', '''
import os, sys
sys.path.insert(0, %r)
from flowtest_wire import *
os.setgroups([0]); os.setgid(0); os.setuid(65534)
j = Jobs(%r)
ids = [j.submit('w', b'y', 'echo') for _ in range(5)]
for i in ids:
    r = j.result(i)
    print(r.outcome, r.wait_usec, flush=True)
''' % (str(HERE), f.jobs_path())], stdout=subprocess.PIPE, text=True)
            wait_until(lambda: f.pool('w')['queued'] == 205 or child.poll() is not None, what='another user to submit')
            equal(child.poll(), None)
            first = time.monotonic()
        out = child.communicate(timeout=30 * SLOW)[0].split('\n')
        equal([line.split()[0] for line in out if line], ['completed'] * 5)
        order(j, mine)
        jobs = f.call('ListJobs', pool='w', limit=1000)['jobs']
        ends = sorted((x['dispatched_usec'], x['uid']) for x in jobs if x['dispatched_usec'])[1:]
        places = [n for n, (_, uid) in enumerate(ends) if uid == 65534]
        equal(len(places), 5)
        check(places[-1] < 12, 'its jobs were the', places)


# time

@test
def QueueTimeout_of_a_pool_and_of_a_job():
    with house(QueueTimeout='300ms') as f, f.jobs() as j:
        with busy(f, j):
            a = j.submit('w', b'x', 'echo')
            b = j.submit('w', b'x', 'echo', queue_timeout=50000)
            c = j.submit('w', b'x', 'echo', queue_timeout=3600 * 10**6)
            contains(ended(j.result(b), 'timeout', code='QueueTimeout').error, '50ms', 'QueueTimeout=')
            ended(j.result(a), 'timeout', code='QueueTimeout')
            r = f.flowctl('run', '--pool=w', '--method=echo', '--queue-timeout=20ms', 'x')
            equal(r.returncode, 124)
            contains(r.stderr.decode(), 'QueueTimeout=')
            refused_ = json.loads(f.flowctl('run', '--pool=w', '--queue-timeout=20ms', '--json', 'x').stdout)
            equal((refused_['status'], refused_['code']), ('timeout', 'QueueTimeout'))
            equal(f.call('Run', pool='w', payload='x', queue_timeout_usec=1000)['code'], 'QueueTimeout')
        completed(j.result(c))
        # what it ran for is another clock
        completed(j.run('w', b'', 'sleep:600'))
        ended(j.run('w', b'', 'sleep:0', timeout=100000), 'timeout', code='Timeout')


@test
def the_deadline_counts_both():
    with house() as f, f.jobs() as j:
        with busy(f, j):
            a = j.submit('w', b'x', 'echo', deadline=int(time.time() * 1e6) + 100000, queue_timeout=3600 * 10**6)
            ended(j.result(a), 'timeout', code='Timeout')
        ended(j.run('w', b'', 'sleep:0', deadline=int(time.time() * 1e6) + 100000), 'timeout', code='Timeout')


@test
def cancelled_in_every_state():
    with house(AffinityWait='1h', Min=2, Max=2) as f, f.jobs() as j:
        f.wait_ready('w', 2)
        completed(j.run('w', b'', 'echo', session='s'))
        running = j.submit('w', b'', 'sleep:0', session='s')
        wait_until(lambda: f.pool('w')['running'] == 1)
        parked = j.submit('w', b'', 'echo', session='s')
        wait_until(lambda: f.pool('w')['parked'] == 1)
        other = j.submit('w', b'', 'sleep:0')
        wait_until(lambda: f.pool('w')['running'] == 2)
        waiting = j.submit('w', b'', 'echo')
        queued(f, 2)
        delayed = j.submit('w', b'', 'echo', not_before=int(time.time() * 1e6) + 3600 * 10**6)
        queued(f, 3)
        for i in (delayed, waiting, parked, running, other):
            j.cancel(i)
            ended(j.result(i), 'cancelled')
        p = f.pool('w')
        equal((p['queued'], p['parked'], p['running'], p['queued_bytes']), (0, 0, 0, 0))
        completed(j.run('w', b'', 'echo', session='s'))


@test
def a_reexec_keeps_order_and_clocks():
    with house(PriorityAging='1h') as f, f.jobs() as j:
        with busy(f, j):
            ids = [j.submit('w', b'x', 'echo', priority=p) for p in (0, 2, 1, 2, 0)]
            timed = j.submit('w', b'x', 'echo', queue_timeout=1500000, priority=-1)
            queued(f, 6)
            f.flowctl('reexec', check_status=0)
            begun = time.monotonic()
            ended(j.result(timed), 'timeout', code='QueueTimeout')
            check(time.monotonic() - begun < 1.5 * SLOW, 'its time began anew')
            queued(f, 5)
        equal(order(j, ids), [ids[n] for n in (1, 3, 2, 0, 4)])


# rates

@test
def RateLimit_of_a_pool():
    with house(RateLimit=1, RateBurst=3) as f, f.jobs() as j:
        results = [j.result(j.submit('w', b'x', 'echo')) for _ in range(6)]
        equal([r.outcome for r in results][:3], ['completed'] * 3)
        late = [r for r in results if r.outcome == 'refused']
        check(len(late) >= 2 or SLOW > 1, late)
        for r in late:
            equal(r.code, 'RateLimited')
            contains(r.error, 'RateLimit=1', 'come again in')
        if late:
            equal(f.pool('w')['refused'], len(late))
        wait_until(lambda: f.flowctl('run', '--pool=w', '--method=echo', 'x').returncode == 75, what='exit status 75', interval=0)
        f.write_pool('w', pool('w', 'hot', Min=1, Max=1, RateLimit=0))
        f.call('Reload')
        for _ in range(20):
            completed(j.run('w', b'x', 'echo'))


@test
def many_lines_keep_to_it():
    with house(RateLimit=200, RateBurst=10) as f:
        begun = time.monotonic()
        out = f.flowctl('run', '--pool=w', '--method=echo', '--lines', input=b''.join(b'%d\n' % n for n in range(200)), check_status=0).stdout
        equal(out, b''.join(b'%d\n' % n for n in range(200)))
        check(time.monotonic() - begun >= 0.9, 'it took', time.monotonic() - begun)


@test
def ClientRateLimit_of_a_user():
    with house(conf={'ClientRateLimit': 1, 'ClientRateBurst': 2}) as f, f.jobs() as a, f.jobs() as b:
        def over():
            return [r for r in (x.run('w', b'x', 'echo') for x in (a, b, a, b)) if r.outcome == 'refused']
        r = wait_until(over, what='a refusal', interval=0)[0]  # by both connections together
        equal(r.code, 'RateLimited')
        contains(r.error, 'ClientRateLimit=1', 'come again in')

        def control():
            try:
                f.call('Run', pool='w', payload='x')
            except ControlError as e:
                return e
        contains(wait_until(control, what='a refusal', interval=0).name, 'RateLimited')


main()
