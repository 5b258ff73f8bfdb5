#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Results that are kept for equal jobs: a worker counts how often it really runs."""

import fcntl
import sqlite3

from flowtest import *

OK, USAGE = 0, 2

# A jsonl worker that writes a line for each job that it is given; "gate" ends when the file that its payload names is there.
COUNTER = '''
import json, os, sys, time
for line in sys.stdin:
    m = json.loads(line)
    if 'payload' not in m:
        continue
    method, payload = m.get('method') or '', m['payload']
    with open(os.environ['COUNT'], 'a') as out:
        out.write('%s %s\\n' % (method, json.dumps(payload)))
    answer = {'job': m['job']}
    if method == 'fail':
        answer['error'] = {'message': 'no: %s' % payload}
    elif method == 'fail-retry':
        answer['error'] = {'message': 'not now', 'retry': True}
    elif method == 'crash':
        os._exit(3)
    elif method == 'big':
        answer['result'] = 'abcdefgh' * int(payload)
    else:
        while method.startswith('gate') and not os.path.exists(payload):
            time.sleep(0.01)
        answer['result'] = payload
        if method == 'version':
            answer['result'] = os.environ['VERSION']
    print(json.dumps(answer), flush=True)
'''


def text(r):
    return r.stdout.decode()


def words(r):
    return r.stderr.decode()


class Counted(Flowd):
    """One pool, "p", of that worker; keys are the worker type's."""

    def __init__(self, conf=None, pool_keys=None, **keys):
        super().__init__(conf=conf, start=False)
        with open(self.dir + '/counter.py', 'w') as out:
            out.write(COUNTER)
        self.keys, self.pool_keys = {'Cacheable': '*', 'CancelTimeout': '50ms', **keys}, {'Min': 1, 'Max': 1, 'RestartDelay': '1ms', **(pool_keys or {})}
        self.write_type()
        self.write_pool('p', pool('w', **self.pool_keys))
        self.start()

    def write_type(self, **keys):
        self.keys.update(keys)
        version = self.keys.get('Version', '')
        self.write_worker('w', worker('%s %s/counter.py' % (sys.executable, self.dir), 'jsonl', **self.keys,
                                      Environment=['COUNT=%s/count' % self.dir, 'VERSION=%s' % version]))

    def runs(self, method=None):
        with contextlib.suppress(FileNotFoundError):
            with open(self.dir + '/count') as lines:
                return len([x for x in lines if method is None or x.split(' ')[0] == method])
        return 0

    def stats(self):
        return self.call('CacheStats')

    def kept(self, n=1):
        """Waits until so many results have been put."""
        wait_until(lambda: self.stats()['puts'] >= n, 20, '%d results to be kept; %s' % (n, self.stats()))


CACHE = [None, 'hit', 'stale', 'coalesced']


def ended(r, payload, how):
    equal(r.outcome, 'completed', r)
    equal(r.payload, payload)
    equal(CACHE[r.cache or 0], how)


def run(j, payload, how, method='echo', result=None, **keys):
    ended(j.run('p', payload, method, kind=TEXT, **keys), payload if result is None else result, how)


@test
def the_second_one_is_not_run():
    with Counted() as f, f.jobs() as j:
        run(j, b'x', None)
        for n in range(5):
            run(j, b'x', 'hit')
        equal(f.runs(), 1)
        run(j, b'y', None)
        run(j, b'x', None, method='other')
        r = j.run('p', b'"x"', 'echo', kind=JSON)
        equal(r.cache, None)
        f.kept(4)
        run(j, b'x', 'hit')
        equal(f.runs(), 4)
        # spelled otherwise, the same value
        completed(j.run('p', b'{"a":1,"b":[2.0]}', 'echo', kind=JSON), None)
        equal(j.run('p', b' { "b" : [2.0], "a":1 } ', 'echo', kind=JSON).cache, 1)
        s = f.stats()
        equal((s['hits'], s['misses'], s['coalesced']), (7, 5, 0))
        check(s['saved_bytes'] > 6, s)
        equal(json.loads(text(f.flowctl('cache', 'stats', '--json', check_status=OK)))['hits'], 7)
        contains(text(f.flowctl('cache', check_status=OK)), 'Results:', 'Hit rate: 58.3%')


@test
def only_what_is_cacheable():
    with Counted(Cacheable='thumb-* size') as f, f.jobs() as j:
        for method, n in (('thumb-small', 1), ('size', 1), ('sizes', 2), ('thumb', 2), (None, 2)):
            before = f.runs()
            for k in range(2):
                completed(j.run('p', b'x', method, kind=TEXT), b'x')
            equal(f.runs() - before, n, method)
        # what is larger than the loop may hash
        big = b'b' * (256 * KiB + 1)
        for k in range(2):
            run(j, big, None, method='size')


@test
def equal_ones_at_a_time_are_one_run():
    with Counted() as f, f.jobs() as j, f.jobs() as k:
        gate = f.gate()
        ids = [(c, c.submit('p', gate.payload, 'gate', kind=TEXT)) for c in (j, k) * 32]
        wait_until(lambda: f.pool('p')['queued'] == 63 and f.runs() == 1)
        gate.open()
        results = [c.result(i) for c, i in ids]
        equal(sorted(CACHE[r.cache or 0] or '' for r in results), [''] + ['coalesced'] * 63)
        for r in results:
            equal(r.payload, gate.payload)
        equal(f.runs(), 1)
        equal(f.stats()['coalesced'], 63)
        run(j, gate.payload, 'hit', method='gate')


@test
def a_follower_takes_the_place_of_a_leader_that_is_cancelled():
    with Counted() as f, f.jobs() as j, f.jobs() as k:
        gate = f.gate()
        first = j.submit('p', gate.payload, 'gate', kind=TEXT)
        wait_until(lambda: f.runs() == 1)
        second, third = (k.submit('p', gate.payload, 'gate', kind=TEXT) for _ in range(2))
        wait_until(lambda: f.pool('p')['queued'] == 2)
        j.cancel(first)
        equal(j.result(first).outcome, 'cancelled')
        wait_until(lambda: f.runs() == 2)
        equal(f.pool('p')['queued'], 1)
        gate.open()
        ended(k.result(second), gate.payload, None)
        ended(k.result(third), gate.payload, 'coalesced')
        equal(f.runs(), 2)


@test
def a_follower_has_its_own_cancellation_and_deadline():
    with Counted() as f, f.jobs() as j:
        gate = f.gate()
        first, second = (j.submit('p', gate.payload, 'gate', kind=TEXT) for _ in range(2))
        late = j.submit('p', gate.payload, 'gate', kind=TEXT, deadline=int((time.time() + 0.3) * 1e6))
        last = j.submit('p', gate.payload, 'gate', kind=TEXT)
        wait_until(lambda: f.runs() == 1 and f.pool('p')['queued'] >= 2)
        j.cancel(second)
        equal(j.result(second).outcome, 'cancelled')
        equal(j.result(late).outcome, 'timeout')
        gate.open()
        ended(j.result(first), gate.payload, None)
        ended(j.result(last), gate.payload, 'coalesced')
        equal(f.runs(), 1)


@test
def a_leader_that_times_out_or_crashes_is_followed():
    with Counted(MaxCrashes=1) as f, f.jobs() as j:
        gate = f.gate()
        first = j.submit('p', gate.payload, 'gate', kind=TEXT, timeout=300000)
        wait_until(lambda: f.runs() == 1)
        second = j.submit('p', gate.payload, 'gate', kind=TEXT)
        equal(j.result(first).outcome, 'timeout')
        wait_until(lambda: f.runs() == 2)
        os.kill(f.pids('p')[-1], signal.SIGKILL)
        r = j.result(second)
        equal((r.outcome, r.code), ('failed', 'Crashed'))
        third, fourth = (j.submit('p', gate.payload, 'gate', kind=TEXT) for _ in range(2))
        wait_until(lambda: f.runs() == 3)
        os.kill(f.wait_ready('p')[-1]['pid'], signal.SIGKILL)
        equal(j.result(third).code, 'Crashed')
        wait_until(lambda: f.runs() == 4)
        gate.open()
        ended(j.result(fourth), gate.payload, None)


@test
def stale_while_it_is_renewed():
    with Counted(CacheTTL='200ms', CacheStale='1h') as f, f.jobs() as j:
        run(j, b'x', None)
        f.kept()
        time_of = lambda: f.call('ListCache')['entries'][0]['expires_usec'] / 1e6
        first = time_of()
        wait_until(lambda: time.time() > first, 10)
        ids = [j.submit('p', b'x', 'echo', kind=TEXT) for _ in range(20)]
        for i in ids:
            r = j.result(i)
            check(CACHE[r.cache or 0] in ('stale', 'hit'), r)
            equal(r.payload, b'x')
        f.kept(2)
        s = f.stats()
        equal(f.runs(), 1 + s['renewals'])
        check(s['stale'] > 0 and time_of() > first, s)
        equal(s['misses'], 1)


@test
def a_renewal_is_one_job_of_flowds_own():
    with Counted(CacheTTL='100ms', CacheStale='1h') as f, f.jobs() as j:
        gate = f.gate()
        gate.open()
        run(j, gate.payload, None, method='gate')
        f.kept()
        os.unlink(gate.path)
        expires = f.call('ListCache')['entries'][0]['expires_usec'] / 1e6
        wait_until(lambda: time.time() > expires, 10)
        for n in range(10):
            run(j, gate.payload, 'stale', method='gate')
        wait_until(lambda: f.runs() == 2)
        own = [x for x in f.call('ListJobs')['jobs'] if x.get('cache') == 'renewal']
        equal(len(own), 1)
        equal((own[0]['durable'], own[0]['detached'], own[0]['state']), ('no', False, 'running'))
        equal((f.stats()['renewals'], f.runs()), (1, 2))
        gate.open()
        f.kept(2)
        equal(f.runs(), 2)


@test
def failures_are_kept_where_that_is_asked_for():
    with Counted(CacheNegativeTTL='1h', MaxCrashes=1) as f, f.jobs() as j:
        for n in range(3):
            r = j.run('p', b'x', 'fail', kind=TEXT)
            equal((r.outcome, r.error, r.code), ('failed', 'no: x', 'Failed'))
            equal(CACHE[r.cache or 0], 'hit' if n else None)
        equal(f.runs(), 1)
        for method in ('fail-retry', 'crash'):
            for n in range(2):
                r = j.run('p', b'x', method, kind=TEXT)
                equal((r.outcome, r.cache), ('failed', None))
        equal(f.runs(), 5)
        gate = f.gate()
        for n in range(2):
            r = j.run('p', gate.payload, 'gate', kind=TEXT, timeout=100000)
            equal((r.outcome, r.cache), ('timeout', None))
    with Counted() as f, f.jobs() as j:
        for n in range(2):
            equal(j.run('p', b'x', 'fail', kind=TEXT).cache, None)
        equal(f.runs(), 2)


@test
def of_one_session_where_that_is_the_scope():
    with Counted(CacheScope='session') as f, f.jobs() as j:
        for session, how in (('a', None), ('a', 'hit'), ('b', None), (None, None), ('b', 'hit'), (None, 'hit')):
            run(j, b'x', how, session=session)
    with Counted() as f, f.jobs() as j:
        for session, how in (('a', None), ('b', 'hit'), (None, 'hit')):
            run(j, b'x', how, session=session)


@test
def a_session_is_its_users():
    if os.getuid() != 0:
        skip('needs root, to be several users')
    with Counted(conf={'SubmitGroup': 'root'}, CacheScope='session', CacheTTL='300ms', CacheStale='1h') as f, f.jobs() as j:
        for session in ('a', None):
            run(j, b'x', None, session=session)
        f.kept(2)
        os.chmod(f.dir, 0o755)
        os.chmod(f.runtime, 0o755)
        other = '''
import os, sys
sys.path.insert(0, %r)
from flowtest_wire import *
os.setgroups([0]); os.setgid(0); os.setuid(65534)
j = Jobs(%r)
for session in ('a', None):
    print(j.run('p', b'x', 'echo', kind=TEXT, session=session).cache or 0)
''' % (str(HERE), f.jobs_path())

        def the_other():
            return [int(x) for x in subprocess.run([sys.executable, '-c', other], stdout=subprocess.PIPE, check=True, timeout=30 * SLOW).stdout.split()]
        equal(the_other(), [0, 0])
        f.kept(4)
        equal(f.runs(), 4)
        entries = f.call('ListCache')['entries']
        equal(len(entries), 4)
        wait_until(lambda: time.time() * 1e6 > max(e['expires_usec'] for e in entries), 10)
        # what is made anew is kept for that user
        equal(the_other(), [2, 2])
        f.kept(6)
        equal(len(f.call('ListCache')['entries']), 4)


@test
def a_reload_applies():
    with Counted(Version=1) as f, f.jobs() as j:
        run(j, b'x', None, method='version', result=b'1')
        f.kept()
        pids = f.pids()
        # what is about the cache alone replaces no worker
        f.write_type(CacheTTL='2h', CacheMax='1K')
        f.flowctl('reload', check_status=OK)
        equal(f.pids(), pids)
        run(j, b'x', 'hit', method='version', result=b'1')
        for n in range(2):
            run(j, b'1000', None, method='big', result=b'abcdefgh' * 1000)
        f.write_type(Version=2)
        f.flowctl('reload', check_status=OK)
        run(j, b'x', None, method='version', result=b'2')
        run(j, b'x', 'hit', method='version', result=b'2')
        f.write_type(Version=1)
        f.flowctl('reload', check_status=OK)
        run(j, b'x', 'hit', method='version', result=b'1')
        f.write_type(Cacheable='nothing')
        f.flowctl('reload', check_status=OK)
        run(j, b'x', None, method='version', result=b'1')


@test
def it_is_listed_and_purged():
    with Counted() as f, f.jobs() as j:
        for method in ('a', 'b', 'b'):
            run(j, method.encode() + os.urandom(4).hex().encode(), None, method=method)
        f.kept(3)
        equal(len(f.call('ListCache')['entries']), 3)
        e = f.call('ListCache', method='a')['entries']
        equal([(x['method'], x['worker_type'], x['status'], x['size']) for x in e], [('a', 'w', 'completed', 9)])
        contains(text(f.flowctl('cache', 'list', '--method=b', check_status=OK)), '2 results')
        contains(words(f.flowctl('cache', 'purge', check_status=USAGE)), '--all')
        equal(f.call('PurgeCache', method='b'), {'purged': 2})
        equal(f.call('PurgeCache', worker_type='nobody'), {'purged': 0})
        equal(text(f.flowctl('cache', 'purge', '--all', check_status=OK)), '1 result forgotten.\n')
        equal(f.stats()['entries'], 0)
        run(j, b'x', None)
        equal(f.call('PurgeCache', method='echo'), {'purged': 1})
        run(j, b'x', None)


@test
def what_runs_while_it_is_purged_is_not_kept():
    with Counted(pool_keys={'Max': 2, 'Min': 2}) as f, f.jobs() as j:
        gates = [f.gate() for _ in range(2)]
        old = [j.submit('p', g.payload, 'gate', kind=TEXT) for g in gates]
        wait_until(lambda: f.pool('p')['running'] == 2)
        equal(f.call('PurgeCache', worker_type='nobody'), {'purged': 0})
        gates[0].open()
        completed(j.result(old[0]), gates[0].payload)
        f.kept(1)
        equal(f.call('PurgeCache', method='gate'), {'purged': 1})
        f.call('Reexec')
        later = j.submit('p', gates[1].payload, 'gate', kind=TEXT)  # not told what began before
        wait_until(lambda: f.pool('p')['running'] == 2)
        gates[1].open()
        completed(j.result(old[1]), gates[1].payload)
        completed(j.result(later), gates[1].payload)
        equal(f.runs('gate'), 3)
        f.kept(1)
        run(j, gates[1].payload, 'hit', method='gate')
        # and nothing at all, where nothing came later
        gate = f.gate()
        old = j.submit('p', gate.payload, 'gate', kind=TEXT)
        wait_until(lambda: f.pool('p')['running'] == 1)
        equal(f.call('PurgeCache'), {'purged': 1})
        gate.open()
        completed(j.result(old), gate.payload)
        run(j, gate.payload, None, method='gate')
        equal(f.runs('gate'), 5)


@test
def those_used_last_stay():
    with Counted(conf={'CacheMaxBytes': '64K', 'StoreCompressMin': 'infinity'}) as f, f.jobs() as j:
        run(j, b'0', None, method='echo')
        f.kept()
        for n in range(40):
            run(j, b'3%02d' % n, None, method='big', result=b'abcdefgh' * (300 + n))
            f.kept(2 + n)
            if n % 8 == 0:
                run(j, b'0', 'hit')
                wait_until(lambda: f.call('ListCache', method='echo')['entries'][0]['hits'] > n // 8, 10)
        s = f.stats()
        check(s['evicted'] >= 15, s)
        check(s['bytes'] + 256 * s['entries'] <= 64 * KiB, s)
        run(j, b'0', 'hit')
        # a sixteenth of it is the most that one may take
        before = f.runs('big')
        wait_until(lambda: j.run('p', b'1000', 'big', kind=TEXT).cache is None and f.runs('big') > before + 1, 10)


@test
def it_is_there_after_a_restart():
    with Counted() as f:
        with f.jobs() as j:
            run(j, b'x', None)
            f.kept()
        f.stop()
        f.start()
        with f.jobs() as j:
            run(j, b'x', 'hit')
        equal(f.runs(), 1)
        os.kill(f.pid, signal.SIGKILL)
        f.process.wait(20 * SLOW)
        f.start()
        with f.jobs() as j:
            run(j, b'x', 'hit')


@test
def followers_survive_a_reexec():
    with Counted() as f, f.jobs() as j:
        gate = f.gate()
        ids = [j.submit('p', gate.payload, 'gate', kind=TEXT) for _ in range(5)]
        wait_until(lambda: f.runs() == 1 and f.pool('p')['queued'] == 4)
        f.flowctl('reexec', check_status=OK)
        equal(f.pool('p')['queued'], 4)
        late = j.submit('p', gate.payload, 'gate', kind=TEXT)
        wait_until(lambda: f.pool('p')['queued'] == 5)
        gate.open()
        results = [j.result(i) for i in [*ids, late]]
        equal([CACHE[r.cache or 0] for r in results], [None] + ['coalesced'] * 5)
        equal(f.runs(), 1)
        run(j, gate.payload, 'hit', method='gate')
        f.flowctl('reexec', check_status=OK)
        run(j, gate.payload, 'hit', method='gate')
        s = f.stats()
        equal((s['hits'], s['coalesced'], s['misses']), (2, 5, 1))


@test
def without_a_store_equal_ones_are_one_run():
    with Counted(conf={'Store': 'no'}) as f, f.jobs() as j:
        gate = f.gate()
        ids = [j.submit('p', gate.payload, 'gate', kind=TEXT) for _ in range(8)]
        wait_until(lambda: f.runs() == 1 and f.pool('p')['queued'] == 7)
        gate.open()
        equal([CACHE[j.result(i).cache or 0] for i in ids], [None] + ['coalesced'] * 7)
        run(j, gate.payload, None, method='gate')
        equal(f.runs(), 2)
        equal(f.stats()['coalesced'], 7)


@test
def durable_ones_are_recorded_all_the_same():
    with Counted() as f, f.jobs() as j:
        gate = f.gate()
        ids = [j.submit('p', gate.payload, 'gate', kind=TEXT, durable=2) for _ in range(4)]
        wait_until(lambda: f.runs() == 1)
        gate.open()
        equal([CACHE[j.result(i).cache or 0] for i in ids], [None] + ['coalesced'] * 3)
        run(j, gate.payload, 'hit', method='gate', durable=2)
        with contextlib.closing(sqlite3.connect('file:%s/flowd.db?mode=ro' % f.state, uri=True)) as db:
            equal(db.execute('SELECT state, cache, attempts > 0 FROM jobs ORDER BY id').fetchall(), [(2, 0, 1)] + [(2, 3, 0)] * 3 + [(2, 1, 0)])
        equal(f.runs(), 1)
        id = j.job_id(j.submit('p', gate.payload, 'gate', kind=TEXT, durable=2, detached=1))
        ended(j.result(j.wait(id)), gate.payload, 'hit')
        equal(f.job(id)['cache'], 'hit')


@test
def flowctl_says_so_with_json():
    with Counted() as f:
        for how in (None, 'hit'):
            r = json.loads(text(f.flowctl('run', '--json', '--pool=p', '--method=echo', input=b'x', check_status=OK)))
            equal(r.get('cache'), how)
        equal(text(f.flowctl('run', '--pool=p', '--method=echo', input=b'x', check_status=OK)), 'x')
        equal(f.call('Run', pool='p', method='echo', payload='x')['cache'], 'hit')


@test
def in_an_encoding_that_the_client_takes():
    import gzip
    with Counted() as f, f.jobs() as j:
        whole = b'abcdefgh' * 5000
        run(j, b'5000', None, method='big', result=whole, accept=7)
        f.kept()
        wait_until(lambda: f.status() and store_idle(f))
        r = j.run('p', b'5000', 'big', kind=TEXT, accept=1 << 1)
        equal((r.cache, r.encoding, r.payload[:4]), (1, 1, b'\x28\xb5\x2f\xfd'))
        check(len(r.payload) < 1000, r)
        r = j.run('p', b'5000', 'big', kind=TEXT, accept=1 << 2)
        equal((r.cache, r.encoding, gzip.decompress(r.payload)), (1, 2, whole))
        # who takes none, and who may be asked for by others, gets bytes
        run(j, b'5000', 'hit', method='big', result=whole)
        # all that come in one read are one search, and each has what it takes
        takes = (2, 0, 4, 2, 6)
        j.send(b''.join(frame(JOB, b'5000', job=1000 + n, pool='p', method='big', kind=TEXT, accept=a) for n, a in enumerate(takes)))
        got = [j.result(1000 + n) for n in range(len(takes))]
        equal([(r.outcome, r.cache, r.encoding) for r in got], [('completed', 1, e) for e in (1, None, None, 1, 1)])
        equal((got[1].payload, got[2].payload), (whole, whole))
        run(j, b'5000', 'hit', method='big', result=whole, accept=2, durable=2)
        stored = j.job_id(j.submit('p', b'5000', 'big', kind=TEXT, accept=2, durable=1, detached=1))
        ended(j.result(j.wait(stored)), whole, 'hit')
        id = j.job_id(j.submit('p', b'5000', 'big', kind=TEXT, accept=2, detached=1))
        ended(j.result(j.wait(id)), whole, 'hit')
        for accept, encoding in ((1 << 1, 1), (1 << 2, 2), (0, None)):
            j.send(frame(WAIT, job=2000 + accept, job_id=stored, accept=accept))
            r = j.result(2000 + accept)
            equal((r.outcome, r.encoding), ('completed', encoding))
            check(r.payload == whole or (encoding and len(r.payload) < 1000), r)
            if encoding == 2:
                equal(gzip.decompress(r.payload), whole)
        j.send(frame(WAIT, job=3000, job_id=stored, accept=6, offset=39992))
        equal((j.result(3000).encoding, j.result(3000).payload), (None, b'abcdefgh'))
        equal(f.call('Wait', job=stored)['result'].encode(), whole)
        equal(f.call('Run', pool='p', method='big', payload='5000')['result'].encode(), whole)


def store_idle(f):
    return f.call('StoreStats')['pending'] <= 1


@test
def a_pool_that_is_paused_gives_what_is_there():
    with Counted() as f, f.jobs() as j:
        run(j, b'x', None)
        f.kept()
        f.flowctl('pool', 'drain', 'p', check_status=OK)
        run(j, b'x', 'hit')
        other = j.submit('p', b'y', 'echo', kind=TEXT)
        wait_until(lambda: f.pool('p')['queued'] == 1)
        f.flowctl('pool', 'resume', 'p', check_status=OK)
        ended(j.result(other), b'y', None)


@test
def a_full_or_broken_pool_gives_what_is_there():
    with Counted(pool_keys={'QueueMax': 1}) as f, f.jobs() as j:
        run(j, b'x', None)
        f.kept()
        gates = f.gate(), f.gate()
        held = [j.submit('p', g.payload, 'gate', kind=TEXT) for g in gates]
        wait_until(lambda: f.runs('gate') == 1 and f.pool('p')['queued'] == 1)
        run(j, b'x', 'hit')
        before = f.pool('p')['refused']
        r = j.run('p', b'y', 'echo', kind=TEXT)
        equal((r.outcome, r.code), ('refused', 'QueueFull'))
        contains(r.error, 'QueueMax=1')
        # what could only wait for another is refused at once
        r = j.run('p', gates[0].payload, 'gate', kind=TEXT)
        equal((r.outcome, r.code), ('refused', 'QueueFull'))
        equal(f.pool('p')['refused'] - before, 2)
        equal(f.call('Run', pool='p', method='echo', payload='x')['cache'], 'hit')
        equal(refused('QueueFull', f.call, 'Run', pool='p', method='echo', payload='y').parameters['pool'], 'p')
        id = j.job_id(j.submit('p', b'x', 'echo', kind=TEXT, detached=1))
        ended(j.result(j.wait(id)), b'x', 'hit')
        check(refused('QueueFull', f.call, 'Submit', pool='p', method='echo', payload='y', durable='no'))
        equal(f.pool('p')['queued'], 1)
        for g, i in zip(gates, held):
            g.open()
            ended(j.result(i), g.payload, None)
    with Counted(pool_keys={'BreakerCrashes': 1, 'BreakerCooldown': '1h'}, MaxCrashes=1) as f, f.jobs() as j:
        run(j, b'x', None)
        f.kept()
        equal(j.run('p', b'x', 'crash', kind=TEXT).code, 'Crashed')
        wait_until(lambda: f.pool('p')['state'] == 'degraded')
        run(j, b'x', 'hit')
        r = j.run('p', b'y', 'echo', kind=TEXT)
        equal((r.outcome, r.code), ('refused', 'PoolUnavailable'))


@test
def a_renewal_needs_room():
    with Counted(CacheTTL='100ms', CacheStale='1h', pool_keys={'QueueMax': 1}) as f, f.jobs() as j:
        for n in range(3):
            run(j, b'%d' % n, None)
        f.kept(3)
        end = max(e['expires_usec'] for e in f.call('ListCache')['entries'])
        wait_until(lambda: time.time() * 1e6 > end, 10)
        for again in range(2):
            gates = f.gate(), f.gate()
            before = f.runs('gate')
            held = [j.submit('p', gates[0].payload, 'gate', kind=TEXT)]
            wait_until(lambda: f.runs('gate') == before + 1)
            held.append(j.submit('p', gates[1].payload, 'gate', kind=TEXT))
            wait_until(lambda: f.pool('p')['queued'] == 1)
            for n in range(3):
                run(j, b'%d' % n, 'stale')
            equal((f.pool('p')['queued'], f.stats()['renewals']), (1, 0))
            for g, i in zip(gates, held):
                g.open()
                ended(j.result(i), g.payload, None)
        run(j, b'0', 'stale')
        wait_until(lambda: f.runs('echo') == 4)
        equal(f.stats()['renewals'], 1)


OTHER = '''
import json, sys
for line in sys.stdin:
    m = json.loads(line)
    if 'payload' in m:
        print(json.dumps({'job': m['job'], 'result': 'other'}), flush=True)
'''


@test
def hits_start_no_workers():
    with Counted(pool_keys={'Tier': 'warm', 'Min': 0, 'Max': 4, 'PreWarm': 'yes'}) as f, f.jobs() as j:
        gate = f.gate()
        first = j.submit('p', gate.payload, 'gate', kind=TEXT)
        wait_until(lambda: f.runs() == 1)
        begun = time.monotonic()
        while time.monotonic() < begun + 0.5: # so long each takes, as far as the pool knows
            j.pump(0.05)
        gate.open()
        ended(j.result(first), gate.payload, None)
        f.kept()
        for n in range(200):
            run(j, gate.payload, 'hit', method='gate')
        equal(len(f.workers('p')), 1)


@test
def a_pool_that_closes_in_time_leaves_no_durable_follower():
    with Counted() as f, f.jobs() as j:
        f.call('SpawnPool', name='s', worker_type='w', min=1, max=1)
        gate = f.gate()
        ids = [j.submit('s', gate.payload, 'gate', kind=TEXT, durable=2, detached=1) for _ in range(3)]
        ids = [j.job_id(i) for i in ids]
        wait_until(lambda: f.runs() == 1 and f.pool('s')['queued'] == 2)
        f.call('ClosePool', pool='s', timeout_usec=100000)
        wait_until(lambda: [p['name'] for p in f.call('ListPools')['pools']] == ['p'], 20)
        equal(f.runs(), 1)
        # as for any other that was recorded, a pool of its name goes on with them
        wait_until(lambda: sorted(f.job(i)['state'] for i in ids) == ['cancelled', 'queued', 'queued'])
        gate.open()
        f.call('SpawnPool', name='s', worker_type='w', min=1, max=1)
        for i in ids:
            r = j.result(j.wait(i))
            check(r.outcome in ('completed', 'cancelled'), r)


@test
def jobs_run_while_the_store_does_not_answer():
    with Counted() as f, f.jobs() as j:
        run(j, b'x', None)
        f.kept()
        found = [os.path.join(folder, name) for folder, _, names in os.walk(f.dir) for name in names if name == 'flowd.db-shm']
        equal(len(found), 1)
        with open(found[0], 'r+b') as shm:
            fcntl.lockf(shm, fcntl.LOCK_EX, 5, 123)  # the marks of SQLite's readers: each search takes 10 s, and fails
            begun = time.monotonic()
            for n in range(20):
                run(j, b'%d' % n, None)
            took = time.monotonic() - begun
        check(took < 8 * SLOW, 'it took', took)
        wait_until(lambda: (j.run('p', b'x', 'echo', kind=TEXT).cache or 0) == 1, 30)


@test
def what_another_type_answers_is_another_answer():
    with Counted(pool_keys={'Tier': 'hot', 'BreakerCrashes': 1, 'BreakerCooldown': '1h'}, MaxCrashes=2) as f, f.jobs() as j:
        with open(f.dir + '/other.py', 'w') as out:
            out.write(OTHER)
        f.write_worker('o', worker('%s %s/other.py' % (sys.executable, f.dir), 'jsonl', Cacheable='*'))
        f.write_pool('q', pool('o', 'warm'))
        f.flowctl('reload', check_status=OK)
        gate = f.gate()
        first = j.submit('p', gate.payload, 'gate', kind=TEXT, retries=0)
        wait_until(lambda: f.runs() == 1)
        moves = j.submit(None, b'x', 'echo', kind=TEXT, tier='hot', fallback='warm')
        stays = j.submit('p', b'x', 'echo', kind=TEXT)
        wait_until(lambda: f.pool('p')['queued'] == 2)
        os.kill(f.wait_ready('p')[-1]['pid'], signal.SIGKILL)
        ended(j.result(moves), b'other', None)
        equal(j.result(stays).code, 'PoolUnavailable')
        equal(j.result(first).code, 'PoolUnavailable')
        wait_until(lambda: store_idle(f))
        equal(f.call('ListCache')['entries'], [])
        f.flowctl('pool', 'resume', 'p', check_status=OK)
        run(j, b'x', None)


@test
def followers_fail_with_their_pool():
    with Counted(pool_keys={'BreakerCrashes': 1, 'BreakerCooldown': '1h'}, MaxCrashes=1) as f, f.jobs() as j:
        gate = f.gate()
        first = j.submit('p', gate.payload, 'gate', kind=TEXT)
        wait_until(lambda: f.runs() == 1)
        ids = [j.submit('p', b'x', 'echo', kind=TEXT) for _ in range(5)]
        wait_until(lambda: f.pool('p')['queued'] == 5)
        os.kill(f.wait_ready('p')[-1]['pid'], signal.SIGKILL)
        equal(j.result(first).code, 'Crashed')
        for i in ids:
            equal(j.result(i).code, 'PoolUnavailable')
        equal(f.pool('p')['queued'], 0)


@test
def a_pool_that_is_removed_finishes_its_followers():
    with Counted() as f, f.jobs() as j:
        f.write_worker('z', worker(zoo()))
        f.write_pool('z', pool('z'))
        f.flowctl('reload', check_status=OK)
        gate = f.gate()
        ids = [j.submit('p', gate.payload, 'gate', kind=TEXT) for _ in range(3)]
        wait_until(lambda: f.runs() == 1 and f.pool('p')['queued'] == 2)
        f.remove('pools/p.pool')
        f.flowctl('reload', check_status=OK)
        j.cancel(ids[0])
        equal(j.result(ids[0]).outcome, 'cancelled')
        wait_until(lambda: f.runs() == 2)
        gate.open()
        ended(j.result(ids[1]), gate.payload, None)
        ended(j.result(ids[2]), gate.payload, 'coalesced')
        wait_until(lambda: [p['name'] for p in f.call('ListPools')['pools']] == ['z'])


@test
def durable_followers_survive_SIGKILL():
    with Counted() as f:
        gate = f.gate()
        with f.jobs() as j:
            ids = [j.job_id(j.submit('p', gate.payload, 'gate', kind=TEXT, durable=2, detached=1)) for _ in range(4)]
        wait_until(lambda: f.runs() == 1)
        os.kill(f.pid, signal.SIGKILL)
        f.process.wait(20 * SLOW)
        f.start()
        wait_until(lambda: f.runs() == 2)
        gate.open()
        with f.jobs() as j:
            equal(sorted(CACHE[j.result(j.wait(id)).cache or 0] or '' for id in ids), [''] + ['coalesced'] * 3)
        equal(f.runs(), 2)


@test
def the_most_important_follower_says_when():
    with Counted() as f, f.jobs() as j:
        gate = f.gate()
        first = j.submit('p', gate.payload, 'gate', kind=TEXT)
        wait_until(lambda: f.runs() == 1)
        low, other, high = (j.submit('p', b, 'echo', kind=TEXT, priority=n) for b, n in ((b'x', -5), (b'y', 0), (b'x', 5)))
        wait_until(lambda: f.pool('p')['queued'] == 3)
        gate.open()
        ended(j.result(first), gate.payload, None)
        ended(j.result(low), b'x', None)
        ended(j.result(high), b'x', 'coalesced')
        ended(j.result(other), b'y', None)
        equal([i for i in j.order if i in (low, other)], [low, other])


@test
def a_store_that_is_full_stops_nothing():
    with Counted(conf={'StoreMaxBytes': '1M'}) as f, f.jobs() as j:
        run(j, b'x', None)
        f.kept()
        f.write_worker('z', worker(zoo()))
        f.write_pool('z', pool('z', QueueMax=1000))
        f.flowctl('reload', check_status=OK)
        f.flowctl('pool', 'drain', 'z', check_status=OK)
        held = []
        while f.call('StoreStats')['health'] == 'ok' and len(held) < 200:
            held.append(j.submit('z', os.urandom(30000), 'echo', durable=1, detached=1))
            j.until(lambda: held[-1] in j.accepted or held[-1] in j.results)
        equal(f.call('StoreStats')['health'], 'full')
        before = f.stats()['puts']
        for n in range(3):
            completed(j.run('p', b'y', 'echo', kind=TEXT), b'y')
        completed(j.run('p', b'x', 'echo', kind=TEXT), b'x')
        gate = f.gate()
        ids = [j.submit('p', gate.payload, 'gate', kind=TEXT) for _ in range(3)]
        wait_until(lambda: f.runs('gate') == 1 and f.pool('p')['queued'] == 2)
        gate.open()
        equal([CACHE[j.result(i).cache or 0] for i in ids], [None, 'coalesced', 'coalesced'])
        equal(f.stats()['puts'], before)
        for i in held:
            if i in j.accepted:
                f.call('CancelJob', id=j.accepted[i])


@test
def all_at_once():
    """Equal jobs of many clients, stale results, cancellations, deadlines, crashes, purges and re-execs: each job has one end, and the right one."""
    import random
    rnd = random.Random(7)
    with Counted(CacheTTL='30ms', CacheStale='60ms', CacheNegativeTTL='20ms', MaxCrashes=1,
                 pool_keys={'Max': 2, 'BreakerCrashes': 0, 'RestartDelayMax': '5ms'}) as f:
        clients = [f.jobs() for _ in range(4)]
        ends = collections.Counter()
        for n in range(12):
            pending = []
            for _ in range(60):
                j = rnd.choice(clients)
                method = rnd.choice(['echo'] * 8 + ['fail', 'crash'])
                keys = {'durable': rnd.choice([0, 0, 1]), 'priority': rnd.randrange(-2, 3), 'accept': rnd.choice([0, 2, 6])}
                if rnd.random() < 0.1:
                    keys['deadline'] = int((time.time() + rnd.random() * 0.05) * 1e6)
                payload = b'%d' % rnd.randrange(6)
                pending.append((j, j.submit('p', payload, method, kind=TEXT, **keys), method, payload))
                if rnd.random() < 0.1:
                    j.cancel(pending[-1][1])
            if n % 3 == 0:
                f.call('PurgeCache')
            if n % 4 == 3:
                f.flowctl('reexec', check_status=OK)
            for j, id, method, payload in pending:
                r = j.result(id, 60)
                ends[(r.outcome, CACHE[r.cache or 0])] += 1
                if r.outcome == 'completed':
                    equal((method, r.payload), ('echo', payload))
                elif r.outcome == 'failed':
                    check((method, r.code) in (('fail', 'Failed'), ('crash', 'Crashed')), method, r)
                else:
                    check(r.outcome in ('cancelled', 'timeout'), r)
        note(', '.join('%s %s: %d' % (*k, n) for k, n in sorted(ends.items(), key=str)))
        check(ends[('completed', 'hit')] > 0 and ends[('completed', 'coalesced')] > 0, ends)
        wait_until(lambda: f.pool('p')['queued'] + f.pool('p')['running'] == 0, 20)
        for j in clients:
            j.close()


main()
