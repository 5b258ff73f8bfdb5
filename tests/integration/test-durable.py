#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Durable jobs: recorded before they are accepted, found again after flowd was killed, tried again, and told of when their end is recorded."""

import fcntl
import sqlite3

from flowtest import *

sys.path.append(str(SRC / 'tests' / 'torture'))

from crash import crash, has_faults


def rows(f, sql, *args):
    with contextlib.closing(sqlite3.connect('file:%s/flowd.db?mode=ro' % f.state, uri=True)) as db:
        return db.execute(sql, args).fetchall()


def durable(**keys):
    return Flowd({'zoo': worker(zoo(), **{'Slots': 1, **keys})}, {'zoo': pool('zoo', Min=1, Max=1, RestartDelay='1ms')})


def killed_and_back(f):
    os.kill(f.pid, signal.SIGKILL)
    f.process.wait(20 * SLOW)
    f.start()


@test
def its_result_is_kept_by_the_store():
    with durable() as f:
        with f.jobs() as j:
            for data in (b'', b'small', b'large' * 100000, os.urandom(300000)):
                id = j.job_id(j.submit('zoo', data, 'echo', durable=2, detached=1))
                completed(j.result(j.wait(id)), data)
                completed(j.result(j.wait(id)), data)  # and again: memory has forgotten it
            completed(j.run('zoo', b'waited for', 'echo', durable=2), b'waited for')
            completed(j.run('zoo', b'process', 'echo', durable=1), b'process')
        equal(rows(f, 'SELECT state, count(*) FROM jobs GROUP BY state'), [(2, 6)])
        f.stop()
        f.start()
        with f.jobs() as j:
            completed(j.result(j.wait(id)), data)


@test
def not_durable_never_touches_the_disk():
    with durable() as f:
        with f.jobs() as j:
            completed(j.run('zoo', b'x', 'echo'), b'x')
        equal(rows(f, 'SELECT count(*) FROM jobs'), [(0,)])


@test
def queued_and_running_ones_go_on_after_SIGKILL():
    with durable() as f:
        with f.jobs() as j:
            first = j.job_id(j.submit('zoo', b'first', 'hang', durable=2, detached=1))
            wait_until(lambda: f.pool('zoo')['running'] == 1)
            others = [j.job_id(j.submit('zoo', b'other %d' % n, 'echo', durable=1 + n % 2, detached=1)) for n in range(20)]
            lost = j.job_id(j.submit('zoo', b'lost', 'echo', detached=1))
        killed_and_back(f)
        with f.jobs() as j:
            wait_until(lambda: f.job(first)['state'] == 'running')
            equal(f.job(first)['attempts'], 2)
            f.call('CancelJob', id=first)
            ended(j.result(j.wait(first)), 'cancelled')
            for n, id in enumerate(others):
                completed(j.result(j.wait(id)), b'other %d' % n)
            equal(j.result(j.wait(lost)).code, 'NoSuchJob')


@test
def stopping_leaves_them_to_the_next_run():
    with durable(StopTimeout='300ms') as f:
        f.write_conf({'ShutdownTimeout': '300ms'})
        f.call('Reload')
        with f.jobs() as j:
            hangs = j.job_id(j.submit('zoo', b'h', 'hang', durable=2, detached=1))
            wait_until(lambda: f.pool('zoo')['running'] == 1)
            waits = j.job_id(j.submit('zoo', b'w', 'echo', durable=2, detached=1))
            f.stop()
        f.start()
        with f.jobs() as j:
            f.call('CancelJob', id=hangs)
            completed(j.result(j.wait(waits)), b'w')


@test
def failures_are_tried_again():
    with durable(Retries=2, RetryDelay='1ms', JobTimeout='300ms', CancelTimeout='300ms', StopTimeout='300ms') as f:
        e = f.events
        with f.jobs() as j:
            r = ended(j.run('zoo', b'x', 'fail:1', durable=2), 'failed')
            equal(r.attempts, 3)
            e.wait('job-retried', 2)
            equal(ended(j.run('zoo', b'x', 'fail:1', retries=0), 'failed').attempts, 1)
            equal(ended(j.run('zoo', b'x', 'fail', durable=2), 'failed').attempts, 1)  # it said that this is of no use
            # a timeout: the next attempt waits for the proof that the one before is over
            equal(ended(j.run('zoo', b'x', 'hang', durable=2), 'timeout').attempts, 3)


@test
def a_tier_takes_it_once():
    with Flowd({'zoo': worker(zoo())}, {n: pool('zoo', t, Max=1) for n, t in (('h', 'hot'), ('w', 'warm'))}) as f:
        with f.jobs() as j:
            for n in range(20):
                completed(j.run(None, b'%d' % n, 'echo', durable=2), b'%d' % n)
        equal(rows(f, "SELECT pool, count(*) FROM jobs GROUP BY pool"), [('h', 20)])


@test
def retried_by_hand_only_when_its_last_attempt_is_over():
    with Flowd({'zoo': worker(zoo(), CancelTimeout='700ms', StopTimeout='300ms')}, {'zoo': pool('zoo', Min=2, Max=2, RestartDelay='1ms')}) as f:
        with f.jobs() as j:
            id = j.job_id(j.submit('zoo', b'x', 'stubborn', durable=2, detached=1))
            wait_until(lambda: f.job(id)['state'] == 'running')
            first = f.job(id)['worker']
            pid = f.worker(first)['pid']
            f.call('CancelJob', id=id)
            ended(j.result(j.wait(id)), 'cancelled')
            f.call('RetryJob', id=id)
            wait_until(lambda: f.job(id)['state'] == 'running', what='the second attempt')
            check(not alive(pid), 'the second attempt began while the first one was not over')
            f.call('CancelJob', id=id)


@test
def a_timed_out_attempt_is_over_before_the_next():
    for durability in (0, 2):
        with Flowd({'zoo': worker(zoo(), CancelTimeout='700ms', StopTimeout='300ms')}, {'zoo': pool('zoo', Min=2, Max=2, RestartDelay='1ms')}) as f:
            with f.jobs() as j:
                i = j.submit('zoo', b'x', 'stubborn', durable=durability, timeout=10**6, retries=1, retry_delay=1)
                id = j.job_id(i)
                wait_until(lambda: f.job(id)['state'] == 'running')
                pid = f.worker(f.job(id)['worker'])['pid']
                wait_until(lambda: f.job(id)['attempts'] == 2, what='the second attempt')
                check(not alive(pid), 'the second attempt began while the first one was not over')
                j.cancel(i)
                ended(j.result(i), 'cancelled')


@test
def stops_with_a_job_that_waits_for_its_time():
    with durable() as f:
        f.write_conf({'ShutdownTimeout': '300ms'})
        f.call('Reload')
        with f.jobs() as j:
            i = j.submit('zoo', b'x', 'echo', not_before=int(time.time() * 1e6) + 3600 * 10**6)
            j.job_id(i)
            f.stop()


@test
def a_poison_job_is_dead():
    with durable(MaxCrashes=2) as f:
        with f.jobs() as j:
            r = ended(j.run('zoo', b'x', 'crash', durable=2), 'failed', code='Crashed')
            equal(rows(f, 'SELECT state, crashes FROM jobs'), [(6, 2)])
            contains(rows(f, 'SELECT error FROM jobs')[0][0], 'SIGKILL')
            completed(j.run('zoo', b'x', 'echo'), b'x')


@test
def delayed():
    with durable() as f:
        with f.jobs() as j:
            soon = int(time.time() * 1e6) + 400000
            i = j.submit('zoo', b'x', 'echo', durable=2, not_before=soon)
            completed(j.result(i), b'x')
            check(time.time() * 1e6 >= soon, 'it ran too early')
            late = j.job_id(j.submit('zoo', b'x', 'echo', durable=2, detached=1, not_before=soon + 3600 * 10**6))
            equal(f.job(late)['state'], 'queued')
            killed_and_back(f)
        with f.jobs() as j:
            equal(f.job(late)['state'], 'queued')
            equal(f.call('CancelJob', id=late)['cancelled'], True)
            ended(j.result(j.wait(late)), 'cancelled')


@test
def a_key_is_given_once():
    with durable() as f:
        with f.jobs() as j:
            first = j.job_id(j.submit('zoo', b'1', 'echo', key='k', durable=2, detached=1))
            completed(j.result(j.wait(first)), b'1')
            equal(j.job_id(j.submit('zoo', b'2', 'echo', key='k', durable=2, detached=1)), first)
            completed(j.run('zoo', b'3', 'echo', key='k', durable=2), b'1')
            killed_and_back(f)
        with f.jobs() as j:
            completed(j.run('zoo', b'4', 'echo', key='k', durable=2), b'1')
            equal(rows(f, 'SELECT count(*) FROM jobs'), [(1,)])
            completed(j.run('zoo', b'5', 'echo', key='other', durable=2), b'5')


@test
def reexec_under_durable_load():
    with durable() as f:
        stop, done, wrong = threading.Event(), [], []

        def load():
            with f.jobs() as j:
                while not stop.is_set():
                    batch = {j.submit('zoo', b'%d' % n, 'echo', durable=2): b'%d' % n for n in range(20)}
                    for i, data in batch.items():
                        r = j.result(i)
                        (done if r.outcome == 'completed' and r.payload == data else wrong).append(r)
                    j.results.clear(), j.accepted.clear(), j.order.clear()
        t = threading.Thread(target=load, daemon=True)
        t.start()
        for _ in range(5):
            n = len(done)
            f.call('Reexec')
            wait_until(lambda: len(done) > n + 40 or wrong)
        stop.set()
        t.join(20 * SLOW)
        equal(wrong, [])
        wait_until(lambda: rows(f, 'SELECT count(*) FROM jobs WHERE state = 2') == [(len(done),)])


@test
def a_job_of_a_pool_that_is_gone_waits_for_it():
    with durable() as f:
        f.write_pool('other', pool('zoo', Min=1, Max=1))
        f.call('Reload')
        f.call('DrainPool', pool='other')
        with f.jobs() as j:
            id = j.job_id(j.submit('other', b'x', 'echo', durable=2, detached=1))
        os.kill(f.pid, signal.SIGKILL)
        f.process.wait(20 * SLOW)
        f.remove('pools/other.pool')
        f.start()
        equal(f.job(id)['state'], 'queued')
        f.write_pool('other', pool('zoo', Min=1, Max=1))
        f.call('Reload')
        with f.jobs() as j:
            completed(j.result(j.wait(id)), b'x')


@test
def a_removed_pool_is_not_kept_by_jobs_of_later():
    with durable() as f:
        f.write_pool('other', pool('zoo', Min=1, Max=1))
        f.call('Reload')
        later = int(time.time() * 1e6) + 3600 * 10**6
        with f.jobs() as j:
            kept = j.job_id(j.submit('other', b'x', 'echo', durable=2, detached=1, not_before=later))
            over = j.job_id(j.submit('other', b'x', 'echo', durable=2, detached=1, not_before=later, deadline=int(time.time() * 1e6) + 10**6))
            i = j.submit('other', b'x', 'echo', not_before=later)
            j.job_id(i)
            f.remove('pools/other.pool')
            f.call('Reload')
            ended(j.result(i), 'failed', code='PoolUnavailable')
            wait_until(lambda: all(p['name'] != 'other' for p in f.call('ListPools')['pools']), what='the pool to be gone')
            ended(j.result(j.wait(over)), 'timeout', 'configured')
            equal(f.job(kept)['state'], 'queued')
            f.call('Reexec')
            equal(f.job(kept)['state'], 'queued')
            f.write_pool('other', pool('zoo', Min=1, Max=1))
            f.call('Reload')
            equal(f.job(kept)['state'], 'queued')
            f.call('CancelJob', id=kept)
            ended(j.result(j.wait(kept)), 'cancelled')


@test
def jobs_of_a_store_that_opens_late_are_loaded_while_others_go_on():
    with durable() as f:
        n = 700  # some slices
        later = int(time.time() * 1e6) + 3600 * 10**6
        with f.jobs() as j:
            ids = [j.job_id(i) for i in [j.submit('zoo', b'x%d' % i, 'echo', durable=2, detached=1, not_before=later) for i in range(n)]]
        f.stop()
        with open(os.path.join(f.state, 'flowd.lock'), 'rb') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            f.start()
            with f.jobs() as j:
                completed(j.run('zoo', b'y', 'echo'), b'y')
                ended(j.run('zoo', b'x', 'echo', durable=2), 'refused', 'in use', code='StoreUnavailable')
        wait_until(lambda: len(f.call('ListJobs', state='queued', limit=n + 1)['jobs']) == n, what='all jobs to be loaded')
        equal({x['id'] for x in f.call('ListJobs', state='queued', limit=n + 1)['jobs']}, set(ids))
        with f.jobs() as j:
            completed(j.run('zoo', b'z', 'echo', durable=2), b'z')
            f.call('CancelJob', id=ids[-1])
            ended(j.result(j.wait(ids[-1])), 'cancelled')


@test
def without_a_store_durable_jobs_are_refused():
    with Flowd({'zoo': worker(zoo())}, {'zoo': pool('zoo')}, conf={'Store': 'no'}) as f:
        with f.jobs() as j:
            r = ended(j.run('zoo', b'x', 'echo', durable=2), 'refused', '--durable=no', code='StoreUnavailable')
            completed(j.run('zoo', b'x', 'echo'), b'x')


@test
def a_damaged_store_takes_none_until_the_loss_is_accepted():
    with durable() as f:
        with f.jobs() as j:
            kept = j.job_id(j.submit('zoo', b'kept', 'echo', durable=2, detached=1))
            completed(j.result(j.wait(kept)), b'kept')
        f.stop()
        with open(f.state + '/flowd.db', 'r+b') as db:  # a header that is no database's
            db.write(b'\xff' * 100)
        f.start()
        equal(f.status()['state'], 'degraded')
        r = f.flowctl('submit', '--durable', '-p', 'zoo', 'x', check_status=75)
        contains(r.stderr.decode(), 'accept-loss')
        # nor one that did not ask to be lost
        r = f.flowctl('submit', '-p', 'zoo', 'x', check_status=75)
        contains(r.stderr.decode(), 'accept-loss', '--durable=no')
        contains(refused('StoreUnavailable', f.call, 'Submit', pool='zoo', payload='x').parameters['message'], '--durable=no')
        with f.jobs() as j:
            ended(j.run('zoo', b'x', 'echo', durable=3, detached=1), 'refused', '--durable=no', code='StoreUnavailable')
        f.flowctl('submit', '--durable=no', '-p', 'zoo', '-m', 'echo', 'x', check_status=0)
        equal(f.flowctl('run', '-p', 'zoo', '-m', 'echo', 'still served', check_status=0).stdout.strip(), b'still served')
        f.flowctl('store', 'accept-loss', check_status=0)
        f.flowctl('submit', '--durable', '-p', 'zoo', '-m', 'echo', 'x', check_status=0)


def lose_rows(f):
    with contextlib.closing(sqlite3.connect(f.state + '/flowd.db', timeout=10)) as db, db:
        db.execute('DELETE FROM jobs')


@test
def a_row_that_was_lost_is_written_anew():
    with durable(RetryDelay='1ms', CancelTimeout='300ms', StopTimeout='300ms') as f:
        with f.jobs() as j:
            for method, outcome, attempts in (('sleep:500', 'completed', 1), ('stubborn', 'timeout', 2)):
                i = j.submit('zoo', b'x', method, durable=2, timeout=10**6, retries=attempts - 1)
                id = j.job_id(i)
                wait_until(lambda: f.job(id)['state'] == 'running')
                lose_rows(f)
                equal(ended(j.result(i), outcome).attempts, attempts)
                equal(rows(f, 'SELECT state, pool, attempts FROM jobs'), [({'completed': 2, 'timeout': 4}[outcome], 'zoo', attempts)])


@test(bound=240)
def killed_again_and_again():
    status, text = crash(15, submitters=4)
    equal(status, 0, text)


@test(bound=120)
def answers_before_the_commit_would_be_noticed():
    if not has_faults():
        skip('flowd is built without --enable-fault-injection; "make crash" has it')
    status, text = crash(10, submitters=4, fault='answer-early:error,commit:kill:4')
    equal(status, 1, 'the deliberate break was not found')
    contains(text, 'P1')


main()
