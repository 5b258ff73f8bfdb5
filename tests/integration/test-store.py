#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What people see of the store: jobs that have ended, results in parts, retries by hand, dead jobs, keys, delays, backups."""

import re
import resource
import sqlite3

from flowtest import *

OK, BAD, USAGE, REFUSED = 0, 1, 2, 75
NO_JOB = 'aaaaaaaaaaaaa'


def house(conf=None, **keys):
    keys = {'Slots': 1, 'MaxCrashes': 1, 'StopTimeout': '300ms', **keys}
    pools = {name: pool('zoo', Min=1, Max=1, RestartDelay='1ms', RestartDelayMax='2ms', BreakerCrashes=0) for name in ('zoo', 'other')}
    return Flowd({'zoo': worker(zoo(), **keys)}, pools, conf=conf)


def text(r):
    return r.stdout.decode()


def words(r):
    return r.stderr.decode()


def submit(f, *args, **keys):
    return text(f.flowctl('submit', *(() if '-p' in args else ('-p', 'zoo')), *args, check_status=OK, **keys)).split()


def ended_as(f, id, state):
    wait_until(lambda: f.job(id)['state'] == state, what='job %s to be %s' % (id, state))
    return f.job(id)


def listed(f, *args, **keys):
    return [j['id'] for j in json.loads(text(f.flowctl('job', 'list', '--json', *args, check_status=OK, **keys)))['jobs']]


# --- jobs that have ended


@test
def submitted_jobs_are_durable_and_shown_when_they_have_ended():
    with house() as f:
        id, = submit(f, '-m', 'echo', '--session=s1', '--key=k1', '--retries=4', 'hello')
        equal(f.flowctl('wait', id, check_status=OK).stdout, b'hello')
        j = f.job(id)
        equal([j[k] for k in ('state', 'durable', 'stored', 'key', 'session', 'method', 'retries', 'attempts', 'result_size', 'size')],
              ['completed', 'yes', True, 'k1', 's1', 'echo', 4, 1, 5, 5])
        check(j['accepted_usec'] <= j['dispatched_usec'] <= j['finished_usec'], j)
        contains(text(f.flowctl('job', 'show', id, check_status=OK)), 'completed', 'yes, it survives a power cut', 'k1', 's1')
        f.stop()
        f.start()
        equal(f.job(id)['state'], 'completed')
        equal(f.flowctl('wait', id, check_status=OK).stdout, b'hello')
        refused('NoSuchJob', f.call, 'ShowJob', id=NO_JOB)
        equal(f.call('CancelJob', id=id), {'cancelled': False, 'state': 'completed'})
        equal(f.call('Wait', job=id)['result'], 'hello')


@test
def what_run_and_submit_are_asked_for():
    with house() as f:
        equal(f.flowctl('run', '-p', 'zoo', '-m', 'echo', 'x', check_status=OK).stdout, b'x')
        equal(listed(f, '--state=completed')[0:], [f.call('ListJobs')['jobs'][0]['id']])
        equal(f.call('ListJobs')['jobs'][0]['durable'], 'no')
        for how, durable in (('--durable', 'yes'), ('--durable=yes', 'yes'), ('--durable=process', 'process'), ('--durable=no', 'no')):
            for verb in ('run', 'submit'):
                f.flowctl(verb, '-p', 'zoo', '-m', 'echo', how, '%s %s' % (verb, how), check_status=OK)
                wait_until(lambda: f.call('ListJobs')['jobs'][0]['state'] == 'completed')
                equal(f.call('ListJobs')['jobs'][0]['durable'], durable, verb, how)
        contains(words(f.flowctl('submit', '--durable=maybe', 'x', check_status=USAGE)), 'yes, process or no')
        contains(words(f.flowctl('submit', '--each', '--key=k', 'x', 'y', check_status=USAGE)), 'one job')
        for args in (('submit', '--durable=no'), ('run',), ('run', '--durable=no')):
            contains(words(f.flowctl(*args, '--key=k', '-p', 'zoo', 'x', check_status=USAGE)), '--durable')
        for verb in ('Submit', 'Run'):
            equal(refused('InvalidParameter', f.call, verb, pool='zoo', payload='x', key='k', durable='no').parameters, {'parameter': 'key'})
        contains(words(f.flowctl('submit', '--retries=1001', 'x', check_status=USAGE)), '1000')
        contains(words(f.flowctl('submit', '--delay=soon', 'x', check_status=USAGE)), 'time span')


@test
def a_key_finds_the_first_job():
    with house() as f:
        id, = submit(f, '-m', 'echo', '--key=night', 'first')
        r = f.flowctl('submit', '-p', 'zoo', '-m', 'echo', '--key=night', 'second', check_status=OK)
        equal(text(r).split(), [id])
        contains(words(r), id, 'not run a second time')
        equal(words(f.flowctl('submit', '-q', '-p', 'zoo', '--key=night', 'second', check_status=OK)), '')
        equal(json.loads(text(f.flowctl('submit', '--json', '-p', 'zoo', '--key=night', 'second', check_status=OK))), {'job': id, 'duplicate': True})
        equal(f.flowctl('wait', id, check_status=OK).stdout, b'first')
        equal(f.flowctl('run', '--durable', '-p', 'zoo', '-m', 'echo', '--key=night', 'third', check_status=OK).stdout, b'first')
        equal(f.call('Submit', pool='zoo', method='echo', payload='fourth', key='night'), {'job': id, 'duplicate': True})
        equal(f.call('Run', pool='zoo', method='echo', payload='fifth', key='night', durable='yes')['result'], 'first')
        other = f.call('Submit', pool='zoo', method='echo', payload='other', key='day')
        equal((other['duplicate'], other['job'] != id), (False, True))


@test
def a_delay_and_retries():
    with house() as f:
        start = time.time()
        equal(f.flowctl('run', '-p', 'zoo', '-m', 'echo', '--delay=400ms', 'x', check_status=OK).stdout, b'x')
        check(time.time() - start >= 0.4, 'it ran too early')
        id, = submit(f, '-m', 'echo', '--delay=1h', 'x')
        j = f.job(id)
        equal(j['state'], 'queued')
        check(abs(j['not_before_usec'] / 1e6 - time.time() - 3600) < 60 * SLOW, j)
        contains(text(f.flowctl('job', 'show', id, check_status=OK)), 'Not before')
        id, = submit(f, '-m', 'fail:1', '--retries=2', '--retry-delay=1ms', 'x')
        j = ended_as(f, id, 'failed')
        equal((j['attempts'], j['failures'], j['retries']), (3, 3, 2))
        id, = submit(f, '-m', 'fail:1', '--retries=0', 'x')
        equal(ended_as(f, id, 'failed')['attempts'], 1)


@test
def lists_have_memory_and_store_newest_first_and_no_job_twice():
    with house() as f:
        stored = submit(f, '-m', 'echo', '--each', *'abcdefgh')
        f.flowctl('wait', *stored, check_status=OK)
        memory = submit(f, '-m', 'echo', '--durable=no', '--each', *'ijkl')
        f.flowctl('wait', *memory, check_status=OK)
        waiting = submit(f, '-p', 'other', '-m', 'echo', '--delay=1h', '--each', *'mno') + submit(f, '--durable=no', '--delay=1h', 'p')
        both = sorted(stored + memory + waiting, reverse=True)
        equal(listed(f), both)
        for n in range(1, len(both) + 2):
            equal(listed(f, '-n', str(n)), both[:n])
        pages, before = [], None
        while True:
            page = [j['id'] for j in f.call('ListJobs', limit=5, **({'before': before} if before else {}))['jobs']]
            if not page:
                break
            pages += page
            before = page[-1]
        equal(pages, both)
        equal(listed(f, '--state=queued'), sorted(waiting, reverse=True))
        equal(listed(f, '--state=completed'), sorted(stored + memory, reverse=True))
        equal(listed(f, '--pool=other'), sorted(waiting[:3], reverse=True))
        equal(listed(f, '--method=echo', '--pool=zoo'), sorted(stored + memory, reverse=True))
        f.flowctl('job', 'cancel', *waiting, check_status=OK)
        equal(listed(f), both)
        equal(listed(f, '--state=cancelled'), sorted(waiting, reverse=True))
        f.flowctl('run', '-p', 'zoo', '-m', 'echo', '--session=mine', '--durable', 'x', check_status=OK)
        equal(len(listed(f, '--session=mine')), 1)
        equal(listed(f, '--session=theirs'), [])
        contains(text(f.flowctl('job', 'list', check_status=OK)), '17 jobs listed.')
        refused('InvalidParameter', f.call, 'ListJobs', state='asleep')
        refused('InvalidParameter', f.call, 'ListJobs', limit=10001)
        refused('NoSuchJob', f.call, 'ListJobs', before='%')


@test
def lists_that_are_longer_than_an_answer():
    with house() as f:
        ids = submit(f, '-m', 'echo', '--lines', input=b''.join(b'%d\n' % n for n in range(2100)))
        equal(len(set(ids)), 2100)
        wait_until(lambda: f.pool('zoo')['completed'] == 2100, 30)
        newest = sorted(ids, reverse=True)
        for n in (999, 1000, 1001, 2000, 2099, 2100, 5000):
            equal(listed(f, '-n', str(n)), newest[:n])
        equal(len(listed(f)), 100)


@test
def all_of_many_dead_jobs():
    with house() as f:
        with f.jobs() as j:
            ids = [j.job_id(j.submit('zoo', b'%d' % n, 'crash', durable=1, detached=1)) for n in range(510)]
        wait_until(lambda: f.call('StoreStats')['jobs_dead'] == len(ids), 50)
        f.call('DrainPool', pool='zoo')
        contains(text(f.flowctl('dead', 'requeue', '--all', check_status=OK)), '510 jobs queued again')
        equal(sorted(listed(f, '--state=queued', '-n', '1000')), sorted(ids))
        equal(f.call('StoreStats')['jobs_dead'], 0)


@test
def a_job_that_ends_while_it_is_listed_is_always_there():
    with house() as f, f.jobs() as j, f.control() as c:
        for n in range(60):
            id = j.job_id(j.submit('zoo', b'%d' % n, 'echo', durable=2, detached=1))
            for _ in range(4):
                equal([x['id'] for x in c.call('ListJobs', limit=3)['jobs']].count(id), 1)
                check(c.call('ShowJob', id=id)['job']['state'] in ('queued', 'running', 'completed'))
            completed(j.result(j.wait(id)), b'%d' % n)


@test
def since_is_a_span_or_a_time():
    with house() as f:
        id, = submit(f, '-m', 'echo', 'x')
        f.flowctl('wait', id, check_status=OK)
        now = int(f.job(id)['accepted_usec'] / 1e6)
        stamp = '%Y-%m-%d %H:%M:%S'
        for since, there in (('1h', True), ('@%d' % (now - 5), True), ('@%d' % (now + 60), False), ('yesterday', True),
                             (time.strftime(stamp, time.localtime(now - 60)), True), (time.strftime(stamp, time.localtime(now + 60)), False),
                             (time.strftime(stamp + ' UTC', time.gmtime(now - 60)), True), (time.strftime('%a ' + stamp, time.localtime(now - 60)), True),
                             (time.strftime('%Y-%m-%d %H:%M', time.localtime(now - 120)), True), (time.strftime('%Y-%m-%d', time.localtime(now - 86400)), True),
                             ('2026-11-25 10:00', now >= time.mktime((2026, 11, 25, 10, 0, 0, 0, 0, -1))), ('now', False)):
            equal(listed(f, '--since=' + since), [id] if there else [], since)
        if time.localtime(now).tm_mday == time.localtime().tm_mday:
            equal(listed(f, '--since=today'), [id])
        for since in ('rubbish', '2026-02-31', '2026-11-25 25:00', 'infinity', '@x', ''):
            contains(words(f.flowctl('job', 'list', '--since=' + since, check_status=USAGE)), 'this takes a time')
        equal(f.call('ListJobs', since_usec=int((now + 60) * 1e6))['jobs'], [])


@test
def results_in_parts():
    with house(conf={'JsonMax': '64K'}) as f, f.jobs() as j:
        data = os.urandom(200000)
        id = j.job_id(j.submit('zoo', data, 'echo', durable=2, detached=1))
        kept = j.job_id(j.submit('zoo', data, 'echo', durable=0, detached=1))
        for i in (id, kept):
            completed(j.result(j.wait(i)), data)
            equal(f.flowctl('job', 'result', i, check_status=OK).stdout, data)
            for args, want in ((('--offset=100',), data[100:]), (('--length=7',), data[:7]), (('--offset=150000', '--length=40000'), data[150000:190000]),
                               (('--offset=199999', '--length=9'), data[-1:]), (('--offset=200000',), b''), (('--offset=999999999',), b'')):
                equal(f.flowctl('job', 'result', i, *args, check_status=OK).stdout, want)
            r = f.call('JobResult', job=i, offset=10, length=4)
            equal((r['status'], r['kind'], r['size'], r['offset'], base64.b64decode(r['data'])), ('completed', 'bytes', len(data), 10, data[10:14]))
            check(0 < len(f.call('JobResult', job=i)['data']) < 64 * KiB, 'a part above JsonMax=')
        contains(words(f.flowctl('job', 'result', '--length=0', id, check_status=USAGE)), '--length')
        failed, = submit(f, '-m', 'fail', 'x')
        ended_as(f, failed, 'failed')
        r = f.flowctl('job', 'result', failed, check_status=BAD)
        equal((r.stdout, 'the job failed' in words(r)), (b'', True))
        equal(json.loads(text(f.flowctl('job', 'result', '--json', failed, check_status=BAD)))['status'], 'failed')
        queued, = submit(f, '--delay=1h', 'x')
        refused('NotEnded', f.call, 'JobResult', job=queued)
        contains(words(f.flowctl('job', 'result', queued, check_status=BAD)), 'has not ended')
        refused('NoSuchJob', f.call, 'JobResult', job=NO_JOB)


# --- once more


@test
def retried_by_hand():
    with house() as f:
        id, = submit(f, '-m', 'fail:1', '-q', 'the payload')
        first = ended_as(f, id, 'failed')
        equal(first['attempts'], 1)
        contains(text(f.flowctl('job', 'retry', id, check_status=OK)), id, 'queued again')
        wait_until(lambda: f.job(id)['attempts'] == 2 and f.job(id)['state'] == 'failed')
        equal((f.job(id)['failures'], f.job(id)['size']), (1, 11))
        f.call('RetryJob', id=id, delay_usec=3600 * 10**6)
        j = f.job(id)
        equal((j['state'], j['attempts'], j['failures'], j['crashes']), ('queued', 2, 0, 0))
        refused('NotEnded', f.call, 'RetryJob', id=id)
        contains(words(f.flowctl('job', 'retry', id, check_status=BAD)), 'has not ended')
        f.stop()
        f.start()
        equal(f.job(id)['state'], 'queued')
        f.flowctl('job', 'cancel', id, check_status=OK)
        ended_as(f, id, 'cancelled')
        done, = submit(f, '-m', 'echo', 'x')
        f.flowctl('wait', done, check_status=OK)
        refused('PayloadGone', f.call, 'RetryJob', id=done)
        contains(words(f.flowctl('job', 'retry', done, check_status=BAD)), 'payload', 'gone')
        lost, = submit(f, '-m', 'fail', '--durable=no', 'x')
        ended_as(f, lost, 'failed')
        refused('PayloadGone', f.call, 'RetryJob', id=lost)
        refused('NoSuchJob', f.call, 'RetryJob', id=NO_JOB)


@test
def dead_jobs_are_listed_shown_requeued_and_purged():
    with house() as f:
        ids = [submit(f, '-m', 'crash', 'poison %d' % n)[0] for n in range(3)] + submit(f, '-p', 'other', '-m', 'crash', 'poison 3')
        for id in ids:
            ended_as(f, id, 'dead')
        healthy, = submit(f, '-m', 'echo', 'x')
        f.flowctl('wait', healthy, check_status=OK)
        equal(sorted(j['id'] for j in json.loads(text(f.flowctl('dead', 'list', '--json', check_status=OK)))['jobs']), sorted(ids))
        contains(text(f.flowctl('dead', check_status=OK)), *ids, 'SIGKILL', '4 dead jobs listed.')
        contains(text(f.flowctl('dead', 'list', '--pool=other', check_status=OK)), ids[3], '1 dead job listed.')
        contains(text(f.flowctl('dead', 'show', ids[0], check_status=OK)), ids[0], 'dead', 'Its cause (Crashed):', 'SIGKILL', 'flowctl dead requeue ' + ids[0])
        contains(words(f.flowctl('dead', 'show', healthy, check_status=BAD)), 'completed, not dead')
        contains(words(f.flowctl('dead', 'requeue', healthy, check_status=BAD)), 'completed, not dead')
        f.flowctl('wait', ids[0], check_status=BAD)
        # its worker is mended
        f.call('DrainPool', pool='zoo')
        contains(text(f.flowctl('dead', 'requeue', ids[0], check_status=OK)), '1 job queued again')
        equal((f.job(ids[0])['state'], f.job(ids[0])['crashes']), ('queued', 0))
        contains(text(f.flowctl('dead', 'requeue', '--all', '--pool=zoo', '--delay=1h', check_status=OK)), '2 jobs queued again')
        equal(listed(f, '--state=dead'), [ids[3]])
        equal(sorted(listed(f, '--state=queued')), sorted(ids[:3]))
        contains(text(f.flowctl('dead', 'purge', ids[3], check_status=OK)), '1 job removed')
        refused('NoSuchJob', f.call, 'ShowJob', id=ids[3])
        f.flowctl('dead', 'purge', healthy, check_status=BAD)
        equal(f.job(healthy)['state'], 'completed')
        f.call('ResumePool', pool='zoo')
        equal(ended_as(f, ids[0], 'dead')['attempts'], 2)
        contains(text(f.flowctl('dead', 'purge', '--all', check_status=OK)), '1 job removed')
        contains(words(f.flowctl('dead', 'purge', check_status=USAGE)), '--all')
        contains(words(f.flowctl('dead', 'requeue', '--all', ids[0], check_status=USAGE)), '--all')
        contains(words(f.flowctl('dead', 'purge', '--pool=zoo', ids[0], check_status=USAGE)), '--pool')


@test
def jobs_are_purged_by_what_they_are():
    with house() as f:
        ids = submit(f, '-m', 'echo', '--each', *'abcd') + submit(f, '-p', 'other', '-m', 'echo', '--session=s', '--each', *'ef')
        f.flowctl('wait', *ids, check_status=OK)
        waiting, = submit(f, '-m', 'echo', '--delay=1h', 'x')
        equal(f.call('PurgeJobs', session='s'), {'purged': 2})
        equal(f.call('PurgeJobs', ids=ids[:2]), {'purged': 2})
        equal(f.call('PurgeJobs', ids=ids[:2]), {'purged': 0})
        equal(f.call('PurgeJobs', before_usec=f.job(ids[2])['accepted_usec'] - 1000), {'purged': 0})
        refused('InvalidParameter', f.call, 'PurgeJobs')
        refused('InvalidParameter', f.call, 'PurgeJobs', ids=ids, state='failed')
        refused('InvalidParameter', f.call, 'PurgeJobs', ids=[])
        refused('InvalidParameter', f.call, 'PurgeJobs', ids=[7])
        refused('NoSuchJob', f.call, 'PurgeJobs', ids=['%'])
        refused('InvalidParameter', f.call, 'PurgeJobs', state='queued')
        equal(f.call('PurgeJobs', state='completed', pool='zoo', method='echo'), {'purged': 2})
        equal(listed(f), [waiting])


# --- the store itself


@test
def statistics():
    with house() as f:
        ids = submit(f, '-m', 'echo', '--each', *[str(n) * 2000 for n in range(10)])
        f.flowctl('wait', *ids, check_status=OK)
        s = f.call('StoreStats')
        equal((s['health'], s['jobs_completed'], s['jobs_queued']), ('ok', 10, 0))
        check(s.get('why') is None and s['bytes'] > 0 and s['groups'] >= 1 and s['requests'] >= 20 and s['synced_groups'] >= 1, s)
        check(s['payload_bytes'] == 20000 and 0 < s['payload_stored'] < 5000, s)
        contains(text(f.flowctl('store', 'stats', check_status=OK)), 'Health: ok', '10 completed', 'to 1)', 'Commits')
        equal(text(f.flowctl('store', check_status=OK)).split('\n')[0], text(f.flowctl('store', 'stats', check_status=OK)).split('\n')[0])
        equal(json.loads(text(f.flowctl('store', 'stats', '--json', check_status=OK)))['health'], 'ok')
        equal(set(f.call('CacheStats').values()), {0})
        contains(text(f.flowctl('cache', check_status=OK)), 'Results: 0')
        contains(words(f.flowctl('cache', 'purge', check_status=USAGE)), '--all')


@test
def checked_copied_shrunk():
    with house() as f:
        ids = submit(f, '-m', 'echo', '--each', *[base64.b64encode(os.urandom(3000)).decode() for _ in range(40)])
        f.flowctl('wait', *ids, check_status=OK)
        equal(text(f.flowctl('store', 'check', check_status=OK)), 'ok\n')
        copy = os.path.join(f.dir, 'copy.db')
        contains(text(f.flowctl('store', 'backup', 'copy.db', cwd=f.dir, check_status=OK)), copy, 'bytes) written')
        with contextlib.closing(sqlite3.connect('file:%s?mode=ro' % copy, uri=True)) as db:
            equal(db.execute('SELECT count(*) FROM jobs').fetchall(), [(40,)])
            equal(db.execute('PRAGMA integrity_check').fetchall(), [('ok',)])
        contains(words(f.flowctl('store', 'backup', copy, check_status=BAD)), copy, 'already')
        contains(words(f.flowctl('store', 'backup', os.path.join(f.dir, 'no', 'such'), check_status=BAD)), 'No such file')
        refused('InvalidParameter', f.call, 'BackupStore', path='copy2.db')
        refused('InvalidParameter', f.call, 'BackupStore')
        refused('StoreFailed', f.call, 'BackupStore', path=copy)
        f.call('PurgeJobs', state='completed')
        contains(text(f.flowctl('store', 'vacuum', check_status=OK)), 'freed')
        equal(text(f.flowctl('store', 'accept-loss', check_status=OK)), 'Durable jobs are taken again.\n')
        # a copy is a store
        f.stop()
        for name in os.listdir(f.state):
            if name.startswith('flowd.db'):
                os.unlink(os.path.join(f.state, name))
        shutil.copy(copy, os.path.join(f.state, 'flowd.db'))
        f.start()
        equal(sorted(listed(f)), sorted(ids))


@test
def without_a_store():
    with house(conf={'Store': 'no'}) as f:
        id, = submit(f, '-m', 'echo', 'x')
        equal(f.flowctl('wait', id, check_status=OK).stdout, b'x')
        equal(f.job(id)['durable'], 'no')
        contains(words(f.flowctl('submit', '--key=k', '-p', 'zoo', 'x', check_status=REFUSED)), 'Store=yes', 'without the key')
        refused('InvalidParameter', f.call, 'Submit', pool='zoo', payload='x', key='k')
        r = f.flowctl('submit', '--durable', '-p', 'zoo', 'x', check_status=REFUSED)
        contains(words(r), 'Store=yes')
        refused('StoreUnavailable', f.call, 'Submit', pool='zoo', payload='x', durable='yes')
        equal(listed(f), [id])
        equal(f.call('StoreStats')['health'], 'off')
        contains(text(f.flowctl('store', 'stats', check_status=OK)), 'off')
        refused('NoSuchJob', f.call, 'ShowJob', id=NO_JOB)
        refused('NoSuchJob', f.call, 'RetryJob', id=NO_JOB)
        refused('NoSuchJob', f.call, 'Wait', job=NO_JOB)
        for method, p in (('CheckStore', {}), ('VacuumStore', {}), ('BackupStore', {'path': f.dir + '/b'}), ('PurgeJobs', {'state': 'dead'})):
            refused('StoreUnavailable', f.call, method, **p)
        contains(words(f.flowctl('store', 'check', check_status=REFUSED)), 'Store=yes')
        with f.jobs() as j:  # the worker's to see
            completed(j.run('zoo', b'x', 'echo', key='k'), b'x')
            ended(j.run('zoo', b'x', 'echo', key='k', detached=1), 'refused', 'without the key', code='InvalidJob')


@test
def what_ended_is_told_while_the_store_is_full():
    with house() as f:
        flowd = f.dir + '/flowd'
        with open(flowd, 'w') as out:
            out.write('#!/bin/sh\ntrap "" XFSZ\nexec %s "$@"\n' % f.program)
        os.chmod(flowd, 0o755)
        f.stop()
        f.program = flowd
        f.start()
        ids = submit(f, '-m', 'echo', '--each', *'abc')
        f.flowctl('wait', *ids, check_status=OK)
        soft, hard = resource.prlimit(f.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(f.pid, resource.RLIMIT_FSIZE, (8192, hard))
        f.flowctl('submit', '-p', 'zoo', '--payload=bytes', input=b'x' * 300000, check_status=REFUSED)
        equal(f.call('StoreStats')['health'], 'full')
        equal(sorted(listed(f, timeout=20)), sorted(ids))
        equal(f.job(ids[0])['state'], 'completed')
        equal(f.flowctl('wait', ids[0], check_status=OK).stdout, b'a')
        resource.prlimit(f.pid, resource.RLIMIT_FSIZE, (soft, hard))
        wait_until(lambda: f.call('StoreStats')['health'] == 'ok', 30)
        equal(sorted(listed(f)), sorted(ids))


# --- calls that nobody waits for any more


@test
def a_client_that_leaves_meanwhile():
    with house() as f:
        ids = submit(f, '-m', 'fail', '--each', *[str(n) for n in range(30)])
        for id in ids:
            ended_as(f, id, 'failed')
        f.call('DrainPool', pool='zoo')
        for n, id in enumerate(ids):
            with f.control() as c:
                c.send('RetryJob', oneway=bool(n % 2), id=id)
                for method, p in (('ListJobs', {}), ('JobResult', {'job': id}), ('CheckStore', {}), ('Wait', {'job': id})):
                    c.send(method, **p)
        wait_until(lambda: f.call('StoreStats')['pending'] <= 1, what='the store to have done it all')
        wait_until(lambda: f.status()['clients'] == 1, what='the clients to be gone')
        # each was done, or nothing of it: a connection that is closed early may not have been read
        states = {f.job(id)['state'] for id in ids}
        check(states <= {'queued', 'failed'}, states)
        equal(f.call('StoreStats')['jobs_queued'], len(listed(f, '--state=queued')))


@test
def calls_go_on_across_a_reexec():
    with house() as f:
        ids = submit(f, '-m', 'echo', '--each', *[str(n) for n in range(50)])
        f.flowctl('wait', *ids, check_status=OK)
        errors, answers, stop = [], [], threading.Event()

        def ask(method, p):
            try:
                with f.control() as c:
                    while not stop.is_set():
                        answers.append(c.call(method, **p))
            except BaseException as e:
                errors.append(repr(e))
        threads = [threading.Thread(target=ask, args=a) for a in (('ListJobs', {}), ('ShowJob', {'id': ids[0]}), ('JobResult', {'job': ids[1]}),
                                                                  ('StoreStats', {}), ('Wait', {'job': ids[2]}))]
        for t in threads:
            t.start()
        for n in range(5):
            seen = len(answers)
            wait_until(lambda: len(answers) > seen + 20 or errors, what='answers')
            f.call('Reexec')
            equal(f.status()['reexecs'], n + 1)
        stop.set()
        for t in threads:
            t.join(20 * SLOW)
        equal(errors, [])
        equal(sorted(listed(f)), sorted(ids))


# --- who may


@test
def what_others_may():
    if os.geteuid() != 0:
        skip('needs root, to be two users')
    f = house(conf={'ObserveGroup': '61001', 'SubmitGroup': '61002'})
    with f:
        id, = submit(f, '-m', 'fail', 'root\'s')
        ended_as(f, id, 'failed')

        def verdicts(group):
            return [x if isinstance(x, str) else 'ok' for x in as_user(f, group, every)]
        every = [('ListJobs', {}), ('ShowJob', {'id': id}), ('StoreStats', {}), ('CacheStats', {}), ('JobResult', {'job': id}), ('Wait', {'job': id}),
                 ('RetryJob', {'id': id}), ('PurgeJobs', {'ids': [NO_JOB]}), ('CheckStore', {}), ('BackupStore', {'path': '/x'}), ('VacuumStore', {}),
                 ('AcceptLoss', {})]
        equal(verdicts(61001), ['ok'] * 4 + ['NotPermitted'] * 8)
        equal(verdicts(61003), ['NotPermitted'] * 12)
        # members of SubmitGroup= may operate: their own jobs, and those of others
        own = as_user(f, 61002, [('Submit', {'pool': 'zoo', 'method': 'fail', 'payload': 'x'})])[0]['job']
        ended_as(f, own, 'failed')
        equal(f.job(own)['uid'], OTHER_USER)
        equal(verdicts(61002), ['ok'] * 8 + ['NotPermitted'] * 4)


# --- the timer that is shipped


@test
def the_example_for_systemd_submits_once():
    unit = (SRC / 'examples' / 'systemd' / 'flow-nightly.service').read_text()
    command = re.search(r"^ExecStart=/bin/sh -c '(.*)'$", unit, re.M).group(1).replace('%%', '%').replace('$$', '$')
    contains(command, '--key=')
    with Flowd({'words': worker(zoo())}, {'words': pool('words', Min=1, Max=1)}) as f:
        env = dict(f.environment(), FLOWD_RUNTIME=f.runtime, PATH='%s:%s' % (os.path.dirname(FLOWCTL), os.environ['PATH']))
        ids = [subprocess.run(['/bin/sh', '-c', command], env=env, capture_output=True, text=True, timeout=60 * SLOW, check=True).stdout for _ in range(2)]
        day = time.strftime('%F')
        j = f.job(ids[0].strip())
        equal((j['pool'], j['retries'], j['durable']), ('words', 5, 'yes'))
        if j['key'] == 'nightly-' + day:  # else it was midnight in between
            equal(ids[0], ids[1])


main()
