# SPDX-License-Identifier: LGPL-2.1-or-later
"""Chaos: workers of ten pools are killed, stopped, hung, slowed and sent into crash loops at random, under load.

Seven pools are harmed, three are not. What is demanded: each job ends exactly once, as it may, with its own answer and the right cause; flowd's
books are those of the clients; the pools that are left alone lose nothing and keep their latency; breakers open and close again; no process
is left. chaos(seconds, seed) runs it; make chaos CHAOS_SECONDS=, and for some seconds tests/integration/test-chaos.py.
"""

import collections
import random
import re
import threading

from flowtest import *

POOLS, HARMED, WORKERS = 10, 7, 3
TYPE = {'HeartbeatInterval': '200ms', 'JobTimeout': '2s', 'CancelTimeout': '200ms', 'StopTimeout': '200ms', 'MaxCrashes': 3}
POOL = {'Min': WORKERS, 'Max': WORKERS, 'RestartDelay': '10ms', 'RestartDelayMax': '50ms', 'HealthyAfter': '500ms',
        'BreakerCrashes': 8, 'BreakerWindow': '5s', 'BreakerCooldown': '500ms', 'BreakerProbes': 5}
P99_FACTOR = 2       # of the calm ones, in chaos against before
P99_FLOOR = 0.020    # seconds: below it a latency says more of the machine than of flowd

# What may become of a job, by its method: outcome, and the code of a failure.
MAY = {
    'echo': {('completed', None), ('failed', 'Crashed'), ('failed', 'PoolUnavailable'), ('refused', 'PoolUnavailable'), ('timeout', 'Timeout')},
    'hang': {('timeout', 'Timeout'), ('failed', 'Crashed'), ('failed', 'PoolUnavailable'), ('refused', 'PoolUnavailable')},
    'crash': {('failed', 'Crashed'), ('failed', 'PoolUnavailable'), ('refused', 'PoolUnavailable'), ('timeout', 'Timeout')},
}
MAY['sleep:300'] = MAY['sleep:2'] = MAY['echo']


class Client(threading.Thread):
    """Gives jobs to one pool, some in flight, and keeps books."""

    def __init__(self, f, pool, window, extra):
        super().__init__(daemon=True)
        self.f, self.pool, self.window, self.extra = f, pool, window, extra
        self.wrong, self.ended, self.latency = [], collections.Counter(), []
        self.submitted = 0
        self.stop = threading.Event()

    def run(self):
        try:
            self.work()
        except BaseException as e:
            self.wrong.append('the client ended: %r' % e)

    def work(self):
        flying = {}
        with self.f.jobs(timeout=120) as j:
            while not self.stop.is_set() or flying:
                while len(flying) < self.window and not self.stop.is_set():
                    self.submitted += 1
                    method = self.extra.popleft() if self.extra else 'sleep:2'
                    text = b'%d' % self.submitted
                    flying[j.submit(self.pool, text, method)] = (method, text, time.monotonic())
                if not flying:
                    break
                i = next(iter(flying))
                r = j.result(i)
                method, text, start = flying.pop(i)
                self.end(method, text, r, time.monotonic() - start)
                j.accepted.pop(i, None)
                if j.results.pop(i, None) is None and i in j.results:
                    self.wrong.append('two ends for job %d' % i)
                if r.outcome == 'refused':
                    self.stop.wait(0.02)
                else:
                    self.stop.wait(0.002)

    def end(self, method, text, r, took):
        code = r.code or None
        self.ended[r.outcome] += 1
        if (r.outcome, code) not in MAY[method]:
            self.wrong.append('%s ended as %s %s: %s' % (method, r.outcome, code, r.error))
        elif r.outcome == 'completed' and r.payload != text:
            self.wrong.append('%s was answered by %r' % (text, r.payload))
        elif code == 'Crashed' and not re.search('cause: (signal|heartbeat|core|timeout)', r.error):
            self.wrong.append('a wrong cause: %s' % r.error)
        self.latency.append(took)


class Harm:
    """What is done to workers, and what their deaths may be told as."""

    def __init__(self, f, rng, clients):
        self.f, self.rng, self.clients = f, rng, clients
        self.done = collections.Counter()
        self.killed, self.stopped = set(), set()  # generations
        self.burst = None, 0

    def signal(self, sig, book, pool):
        w = [w for w in self.f.workers(pool) if w['pid'] > 0 and w['state'] in ('ready', 'busy')]
        if w:
            w = self.rng.choice(w)
            book.add(w['generation'])
            with contextlib.suppress(ProcessLookupError):
                os.kill(w['pid'], sig)

    def once(self):
        pool = 'p%d' % self.rng.randrange(HARMED)
        kind = self.rng.choice(('kill', 'kill', 'stop', 'hang', 'slow', 'crash', 'burst'))
        if self.burst[1] > time.monotonic():
            pool, kind = self.burst[0], 'kill'
        elif kind == 'burst':
            self.burst = pool, time.monotonic() + 0.7
        self.done[kind] += 1
        if kind == 'kill':
            self.signal(signal.SIGKILL, self.killed, pool)
        elif kind == 'stop':
            self.signal(signal.SIGSTOP, self.stopped, pool)
        elif kind != 'burst':
            self.clients[pool].extra.append({'hang': 'hang', 'slow': 'sleep:300', 'crash': 'crash'}[kind])

    def check_causes(self):
        """Each crash in the log against what was done to that worker."""
        seen = 0
        for line in self.f.log().splitlines():
            m = re.search(r'EVENT=worker-crashed .*GENERATION=(\d+).*CAUSE=(\S+)', line)
            if not m:
                continue
            seen += 1
            generation, cause = int(m.group(1)), m.group(2)
            if generation in self.stopped and generation not in self.killed:
                check(cause in ('heartbeat', 'signal', 'timeout'), 'a stopped worker died of', line)
            elif generation in self.killed and generation not in self.stopped:
                check(cause in ('signal', 'timeout', 'heartbeat'), 'a killed worker died of', line)
            check(cause in ('signal', 'heartbeat', 'timeout'), 'nobody did that:', line)
        return seen


def p99(latencies):
    s = sorted(latencies)
    return s[int(len(s) * 0.99)] if s else 0


def settle(f):
    """After the harm: all pools are as they should be, breakers are closed."""
    def well():
        return all(p['breaker'] == 'closed' and p['state'] == 'running' and p['ready'] + p['busy'] >= WORKERS for p in f.call('ListPools')['pools'])
    wait_until(well, 60, 'all pools to recover: %s' % [(p['name'], p['state'], p['breaker']) for p in f.call('ListPools')['pools']], interval=0.1)


def check_books(f, clients):
    for p in f.call('ListPools')['pools']:
        c = clients[p['name']]
        check(not c.wrong, p['name'], len(c.wrong), 'jobs went wrong:', c.wrong[:3])
        equal(sum(c.ended.values()), c.submitted, p['name'], 'jobs without an end:')
        equal((p['completed'], p['failed'], p['timeout'], p['cancelled'], p['refused']),
              tuple(c.ended[k] for k in ('completed', 'failed', 'timeout', 'cancelled', 'refused')), p['name'], 'books differ:')
        equal((p['queued'], p['running']), (0, 0), p['name'])


def chaos(seconds, seed=None):
    seed = seed if seed is not None else int(time.time())
    rng = random.Random(seed)
    note('seed %d' % seed)
    with Flowd(workers={'w': worker(zoo(), **TYPE)}, pools={'p%d' % n: pool('w', **POOL) for n in range(POOLS)}) as f:
        for n in range(POOLS):
            f.wait_ready('p%d' % n, WORKERS)
        clients = {'p%d' % n: Client(f, 'p%d' % n, 2, collections.deque()) for n in range(POOLS)}
        for c in clients.values():
            c.start()
        calm = ['p%d' % n for n in range(HARMED, POOLS)]
        harm = Harm(f, rng, clients)
        time.sleep(max(seconds * 0.25, 2))  # the load itself is what is wanted
        before = [x for c in calm for x in clients[c].latency]
        for c in calm:
            clients[c].latency = []
        end = time.monotonic() + seconds * 0.75
        while time.monotonic() < end:
            harm.once()
            time.sleep(rng.uniform(0.01, 0.08))
        during = [x for c in calm for x in clients[c].latency]
        for w in f.workers():  # a worker that is stopped and idle has its heartbeat; this is for those that are not due yet
            if w['pid'] > 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(w['pid'], signal.SIGCONT)
        for c in clients.values():
            c.extra.clear()
        settle(f)
        for c in clients.values():
            c.stop.set()
        for c in clients.values():
            c.join(120 * SLOW)
            check(not c.is_alive(), c.pool, 'has jobs without an end')
        check_books(f, clients)
        opened = {p['name']: p['breaker_opened'] for p in f.call('ListPools')['pools']}
        for name in calm:
            p = f.pool(name)
            equal((p['crashes'], p['spawned'], opened[name]), (0, WORKERS, 0), 'a pool that was left alone:')
            equal(dict(clients[name].ended), {'completed': clients[name].submitted})
        check(harm.done['burst'] == 0 or any(opened.values()), 'no breaker opened in', harm.done)
        deaths = harm.check_causes()
        check(deaths > 0, 'nobody died')
        a, b = p99(before), p99(during)
        note('%d jobs, %d deaths, %s; breakers opened %s; p99 of the calm %.1f ms, in chaos %.1f ms' % (
            sum(c.submitted for c in clients.values()), deaths, dict(harm.done), [n for n in opened.values() if n], a * 1e3, b * 1e3))
        check(b <= max(P99_FACTOR * a, P99_FLOOR * SLOW), 'p99 of the pools that were left alone went from %.1f to %.1f ms' % (a * 1e3, b * 1e3))
