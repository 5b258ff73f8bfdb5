#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The life of a pool under load: scaled, drained, recycled, closed, and nothing is lost, done twice or interrupted."""

import random

from flowtest import *


class Load:
    """Submits jobs to a pool from a thread, at most `window` in flight; each is "sleep" for some ms, and its answer is its own text.

    exact() ends it: every job that was accepted must have completed with its own answer in its first attempt.
    """

    def __init__(self, f, pool, window=40, worst_ms=20, durable=None):
        self.f, self.pool, self.window, self.worst_ms, self.durable = f, pool, window, worst_ms, durable
        self.wrong, self.n, self.refused = [], 0, 0
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        rng = random.Random(1)
        try:
            with self.f.jobs(timeout=60) as j:
                flying = {}
                while not self._stop.is_set() or flying:
                    while len(flying) < self.window and not self._stop.is_set():
                        self.n += 1
                        text = b'%d' % self.n
                        flying[j.submit(self.pool, text, 'sleep:%d' % rng.randint(1, self.worst_ms), durable=self.durable)] = text
                    i = next(iter(flying))
                    r = j.result(i)
                    text = flying.pop(i)
                    if r.code == 'PoolUnavailable' and r.attempts in (None, 0):
                        self.refused += 1
                    elif r.outcome != 'completed' or r.payload != text or r.attempts != 1:
                        self.wrong.append(repr(r))
                    for d in (j.results, j.accepted):
                        d.pop(i, None)
        except BaseException as e:
            self.wrong.append(repr(e))

    def running(self, n):
        wait_until(lambda: self.n >= n or self.wrong, 30, '%d jobs' % n)

    def exact(self, refused=0):
        self._stop.set()
        self.thread.join(60 * SLOW)
        check(not self.thread.is_alive(), 'jobs got no answer')
        check(not self.wrong, len(self.wrong), 'of', self.n, 'jobs went wrong:', self.wrong[:3])
        if refused is not None:
            equal(self.refused, refused)
        return self.n


def ten(worker_keys=None, **keys):
    return Flowd(workers={'w': worker(zoo(), **(worker_keys or {}))}, pools={'w': pool('w', **{'Min': 2, 'Max': 10, **keys})})


def ended(f, n):
    """flowd's own books: what it has taken is what has completed."""
    p = f.pool('w')
    equal((p['completed'], p['failed'], p['timeout'], p['cancelled'], p['crashes']), (n, 0, 0, 0, 0))


@test
def scaled_up_and_down_under_load():
    with ten() as f:
        f.wait_ready('w', 2)
        load = Load(f, 'w')
        for target in (10, 2, 7, 3, 10, 2):
            load.running(load.n + 60)
            f.call('ScalePool', pool='w', target=target)
            wait_until(lambda: f.pool('w')['state'] == 'running', 20, 'the pool to be scaled')
        n = load.exact()
        ended(f, n)
        wait_until(lambda: len(f.pids('w')) == 2, 20, 'the workers that are too many to go')


@test
def scaling_is_seen_and_is_never_a_trap():
    with ten() as f, f.jobs() as j:
        f.wait_ready('w', 2)
        f.call('ScalePool', pool='w', target=4)
        f.wait_ready('w', 4)
        wait_until(lambda: f.pool('w')['state'] == 'running')
        gate = f.gate()
        i = [j.submit('w', gate.payload, 'gate') for _ in range(4)]
        wait_until(lambda: f.pool('w')['running'] == 4)
        f.call('ScalePool', pool='w', target=2)
        equal(f.pool('w')['state'], 'scaling')
        stays(lambda: f.pool('w')['state'] == 'scaling' and f.pool('w')['running'] == 4, 0.3, 'a busy worker was stopped')
        equal(f.pool('w')['health'], 'ok')
        gate.open()
        for x in i:
            equal(completed(j.result(x)).attempts, 1)
        wait_until(lambda: f.pool('w')['state'] == 'running' and len(f.pids('w')) == 2)
        refused('OutOfRange', f.call, 'ScalePool', pool='w', target=11)
        equal(f.pool('w')['state'], 'running')
        f.call('ScalePool', pool='w', target=10)  # and one that is overtaken
        f.call('ScalePool', pool='w', target=2)
        wait_until(lambda: f.pool('w')['state'] == 'running' and len(f.pids('w')) == 2)


@test
def scaling_with_workers_that_do_not_start_ends_as_degraded():
    flag = tempfile.mktemp(prefix='ft-flag-')
    sh = "/bin/sh -c 'if [ -e %s ]; then exit 3; else exec %s; fi'" % (flag, zoo())
    try:
        with Flowd(workers={'w': worker(sh)}, pools={'w': pool('w', Min=1, Max=5, RestartDelay='5ms', RestartDelayMax='5ms', BreakerCrashes=3,
                                                             BreakerCooldown='1h')}) as f, f.jobs() as j:
            f.wait_ready('w')
            pathlib.Path(flag).touch()
            f.call('ScalePool', pool='w', target=5)
            wait_until(lambda: f.pool('w')['state'] == 'degraded')
            completed(j.run('w', b'x', 'echo'), b'x')
            equal(len(f.pids('w')), 1)
            os.unlink(flag)
            f.call('ResumePool', pool='w')
            f.wait_ready('w', 5)
            wait_until(lambda: f.pool('w')['state'] == 'running')
    finally:
        with contextlib.suppress(OSError):
            os.unlink(flag)


@test
def drained_and_resumed_under_load():
    with ten(Min=4) as f:
        f.wait_ready('w', 4)
        load = Load(f, 'w')
        for _ in range(5):
            load.running(load.n + 50)
            f.call('DrainPool', pool='w')
            p = wait_until(lambda: f.pool('w')['state'] == 'stopped' and f.pool('w'))
            equal(p['running'], 0)
            check(p['queued'] > 0, 'nothing waited')
            f.call('ResumePool', pool='w')
        ended(f, load.exact())


@test
def recycled_under_load():
    with ten({'MaxJobs': 20}, Min=4, Max=4) as f:
        f.wait_ready('w', 4)
        load = Load(f, 'w')
        e = f.events
        seen = 0
        while len([x for x in f.call('Events')['events'] if x['name'] == 'worker-recycled']) < 8 and seen < 2000 and not load.wrong:
            seen += 1
            p = f.pool('w')
            check(p['ready'] + p['busy'] >= 3, 'recycling took more than one worker at a time')
            check(p['workers'] <= 4 + 2, p['workers'], 'workers')
        e.wait('worker-recycled', 8, bound=30, pool='w')
        ended(f, load.exact())


@test
def recycled_by_hand_and_by_age_under_load():
    with ten({'MaxAge': '1s'}, Min=4, Max=4) as f:
        f.wait_ready('w', 4)
        load = Load(f, 'w')
        for n in range(8):
            load.running(load.n + 30)
            with contextlib.suppress(ControlError):  # it may just be gone
                f.call('RecycleWorker', id='w/%d' % (n % 4))
        f.events.wait('worker-recycled', 4, bound=30, pool='w')
        ended(f, load.exact())


@test
def closed_under_load():
    with ten() as f:
        f.call('SpawnPool', worker_type='w', name='mine', min=3, max=6)
        load = Load(f, 'mine')
        load.running(200)
        f.call('ClosePool', pool='mine', timeout_usec=3600 * 10**6)
        load._stop.set()
        load.thread.join(60 * SLOW)
        # what was taken was done; what came later was refused, not lost
        bad = [w for w in load.wrong if 'NoSuchPool' not in w and 'PoolUnavailable' not in w]
        check(not bad, bad[:3])


@test
def removed_from_the_configuration_under_load():
    with ten() as f:
        f.write_pool('b', pool('w', Min=3, Max=3))
        f.call('Reload')
        load = Load(f, 'b')
        load.running(200)
        f.remove('pools/b.pool')
        f.call('Reload')
        load._stop.set()
        load.thread.join(60 * SLOW)
        bad = [w for w in load.wrong if 'NoSuchPool' not in w and 'PoolUnavailable' not in w]
        check(not bad, bad[:3])
        wait_until(lambda: [p['name'] for p in f.call('ListPools')['pools']] == ['w'])


@test
def all_of_it_at_once_with_reload_and_reexec():
    with ten({'MaxJobs': 50}, Min=3, Max=8) as f:
        f.wait_ready('w', 3)
        load = Load(f, 'w')
        for n in range(4):
            load.running(load.n + 40)
            f.call('ScalePool', pool='w', target=3 + n)
            f.call('DrainPool', pool='w')
            f.call('Reload')
            f.call('ResumePool', pool='w')
            f.call('Reexec')
        ended(f, load.exact())


main()
