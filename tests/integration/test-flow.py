#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Flow sessions: plans that run themselves, over restarts; what they refuse; what flowctl makes of them."""

import sqlite3

from flowtest import *

SHELL = {'sh': worker('/bin/sh', 'exec')}
COLD = {'sh': pool('sh', 'cold', Max=4)}


def shell(**conf):
    return Flowd(SHELL, COLD, conf=conf or None)


def task(id, payload=None, needs=(), **more):
    t = {'id': id, 'dependencies': list(needs), **more}
    if payload is not None:
        t.update(pool='sh', payload=payload)
    return t


def show(f, session):
    return f.call('FlowShow', session=session, all=True)['session']


def states(f, session):
    return {t['id']: t['state'] for t in show(f, session)['graph']}


def over(f, session):
    return all(s in ('completed', 'failed', 'cancelled') for s in states(f, session).values())


def results(f, session):
    return {t['id']: t.get('result') for t in show(f, session)['graph']}


def finished(f, session, bound=30):
    wait_until(lambda: over(f, session), bound, 'session %s to be over' % session)
    return states(f, session)


def refused(f, method, error, *words, **parameters):
    try:
        f.call(method, **parameters)
    except ControlError as e:
        equal(e.name, error)
        contains(e.message, *words)
        return
    fail('%s was not refused' % method)


def rows(f, sql):
    with contextlib.closing(sqlite3.connect('file:%s/flowd.db?mode=ro' % f.state, uri=True)) as db:
        return db.execute(sql).fetchall()


def killed_and_back(f):
    os.kill(f.pid, signal.SIGKILL)
    f.process.wait(20 * SLOW)
    f.start()


def comparable(s):
    """What must be the same before and after a restart."""
    s = json.loads(json.dumps(s))
    s.pop('updated_usec'), s.pop('revision')
    return s


def once(f, session):
    """Each executable task that has completed has one job, and that completed."""
    done = [t for t in show(f, session)['graph'] if t['executable'] and t['state'] == 'completed']
    jobs = rows(f, "SELECT key, state FROM jobs WHERE session = '%s'" % session)
    equal(len(set(k for k, _ in jobs)), len(jobs), 'jobs with keys of their own:')
    equal(sum(s == 2 for _, s in jobs), len(done), 'completed jobs:')


@test
def a_plan_runs_itself():
    with shell() as f:
        fan = ['part%d' % n for n in range(6)]
        tasks = [task('start', 'printf 7'),
                 *[task(p, 'echo $((${task.start.result} * %d))' % n, ['start']) for n, p in enumerate(fan)],
                 task('sum', 'echo $((%s))' % ' + '.join('${task.%s.result}' % p for p in fan), fan)]
        r = f.call('FlowSubmit', session='plan', graph=tasks[::-1])  # in whatever order
        equal(r['activated'], ['start'])
        equal(set(finished(f, 'plan').values()), {'completed'})
        equal(results(f, 'plan')['sum'].strip(), str(7 * sum(range(6))))
        once(f, 'plan')
        s = f.call('FlowStatus', session='plan')['status']
        equal((s['load'], s['momentum'], s['completed']), (0, 100.0, 8))


@test
def a_failing_branch_has_each_policy():
    with shell() as f:
        for policy, after in (('fail', 'failed'), ('skip', 'cancelled'), ('continue', 'completed')):
            f.call('FlowSubmit', force=True, graph={'session': policy, 'on_failure': policy, 'tasks': [
                task('bad', 'echo no >&2; exit 3'), task('after', 'echo "<${task.bad.result}>"', ['bad']), task('last', 'echo l', ['after']),
                task('other', 'echo o')]})
            equal(finished(f, policy), {'bad': 'failed', 'after': after, 'last': after, 'other': 'completed'})
            if policy == 'continue':
                equal(results(f, policy)['after'], '<>\n')
            errors = {t['id']: t.get('error') for t in show(f, policy)['graph']}
            contains(errors['bad'], '3')
        f.events  # the journal has it, too
        f.logged('flow-task-failed', 'Task bad of session fail has failed')


@test
def killed_half_way_it_finishes_each_task_once():
    with shell() as f:
        gate = f.gate()
        tasks = []
        for n in range(8):
            tasks += [task('a%d' % n, 'echo a%d' % n), task('b%d' % n, 'while [ ! -e %s ]; do sleep 0.05; done; echo b%d' % (gate.path, n), ['a%d' % n]),
                      task('c%d' % n, 'printf "%%s" "${task.b%d.result}"' % n, ['b%d' % n])]
        tasks.append(task('all', 'echo "%s"' % ''.join('${task.c%d.result}' % n for n in range(8)), ['c%d' % n for n in range(8)]))
        f.call('FlowSubmit', session='long', graph=tasks)
        for _ in range(3):
            wait_until(lambda: [t for t in show(f, 'long')['graph'] if t['state'] in ('active', 'in-progress')])
            killed_and_back(f)
        # and a worker
        wait_until(lambda: f.pids('sh'))
        os.kill(f.pids('sh')[0], signal.SIGKILL)
        gate.open()
        equal(set(finished(f, 'long', 60).values()), {'completed'})
        equal(results(f, 'long')['all'].split(), ['b%d' % n for n in range(8)])
        once(f, 'long')


@test
def a_restart_gives_the_same_session():
    with shell() as f:
        f.call('FlowCreate', session='s', purpose='to be the same', context={'a': [1, 'x']}, todos=['one', 'two'], on_failure='skip')
        for n in range(20):
            f.call('FlowAdd', session='s', task={'id': 't%d' % n, 'description': 'number %d' % n, 'weight': 1 + n % 10, 'notes': 'n',
                                               'priority': ('high', 'low')[n % 2], 'dependencies': ['t%d' % (n // 3)] if n > 3 else []})
        for n in range(3):
            f.call('FlowPulse', session='s', task='t0', action='moves', momentum=20 + 10 * n)
        f.call('FlowPulse', session='s', task='t1', action='asks', blocked='an answer is missing')
        f.call('FlowComplete', session='s', task='t2', notes='done')
        f.call('FlowComplete', session='s', task='t6')  # before what it depends on
        f.call('FlowComplete', session='s', task='t3', error='it cannot be done')
        f.call('FlowDepend', session='s', task='t5', on='t0')
        f.call('FlowRest', session='s', duration='8 hours')
        before = comparable(show(f, 's'))
        equal(before['state'], 'resting')
        for how in ('kill', 'stop', 'reexec'):
            if how == 'kill':
                killed_and_back(f)
            elif how == 'stop':
                f.stop()
                f.start()
            else:
                f.call('Reexec')
            equal(comparable(show(f, 's')), before, 'after %s:' % how)
        f.call('FlowWake', session='s')
        equal(f.call('FlowStatus', session='s')['status']['rest_mode'], False)


@test
def reexec_does_not_disturb_what_runs():
    with shell() as f:
        gate = f.gate()
        f.call('FlowSubmit', session='s', graph=[task('x', 'while [ ! -e %s ]; do sleep 0.05; done; echo x' % gate.path),
                                               task('y', 'echo "${task.x.result}y"', ['x'])])
        wait_until(lambda: f.pids('sh'))
        pids = f.pids('sh')
        for _ in range(2):
            f.call('Reexec')
        equal(f.pids('sh'), pids)
        gate.open()
        finished(f, 's')
        equal(results(f, 's')['y'], 'x\ny\n')
        once(f, 's')


@test
def progress_is_momentum():
    code = ("import json\n" "job = json.loads(input())['job']\n" "print(json.dumps({'job': job, 'progress': 0.5}), flush=True)\n" "input()\n")
    with Flowd(start=False) as f:
        with open(f.dir + '/half.py', 'w') as out:
            out.write(code)
        f.write_worker('half', worker('%s %s/half.py' % (sys.executable, f.dir), 'jsonl', CancelTimeout='100ms', StopTimeout='100ms'))
        f.write_pool('half', pool('half', Min=1, Max=1, RestartDelay='1ms'))
        f.start()
        f.call('FlowSubmit', session='s', graph=[{'id': 'x', 'pool': 'half', 'payload': 'x'}])
        wait_until(lambda: show(f, 's')['graph'][0]['state'] == 'in-progress')
        t = show(f, 's')['graph'][0]
        check(10 < t['momentum'] < 100, t['momentum'])
        wait_until(lambda: rows(f, "SELECT json_extract(moving, '$.momentum') FROM flow_tasks")[0][0] == round(t['momentum'] * 100))
        f.call('FlowCancel', session='s', task='x')
        wait_until(lambda: f.job(t['job'])['state'] == 'cancelled')
        equal(states(f, 's'), {'x': 'cancelled'})


@test
def a_rest_lets_jobs_finish_and_ends_by_itself():
    with shell() as f:
        gate = f.gate()
        f.call('FlowSubmit', session='s', graph=[task('x', 'while [ ! -e %s ]; do sleep 0.05; done' % gate.path), task('y', 'echo y', ['x'])])
        wait_until(lambda: f.pids('sh'))
        f.call('FlowRest', session='s', duration='2s')
        gate.open()
        wait_until(lambda: states(f, 's')['x'] == 'completed')
        s = f.call('FlowStatus', session='s')['status']
        if s['rest_mode']:  # a slow machine may be past it
            equal(states(f, 's')['y'], 'queued')
        finished(f, 's')
        refused(f, 'FlowRest', 'FlowRefused', 'no duration', session='s', duration='a while')


@test
def what_is_wrong_is_refused_whole():
    with shell() as f:
        f.call('FlowCreate', session='s')
        bad = lambda *words, error='FlowRefused', **more: refused(f, 'FlowSubmit', error, *words, session='s', **more)
        bad('circle: a -> c -> b -> a', graph=[task('a', needs=['c']), task('b', needs=['a']), task('c', needs=['b'])])
        bad("'nowhere'", error='NoSuchTask', graph=[task('a'), task('b', needs=['nowhere'])])
        bad('both have the id a', graph=[task('a'), task('a')])
        bad('does not depend on a', graph=[task('a'), task('b', '${task.a.result}')])
        bad("'wieght'", graph=[task('a', wieght=3)])
        bad('a NUL', graph=[task('a', 'x\0y')])
        bad('1 to 10', graph=[task('a', weight=11)])
        bad('task 2 (b)', 'on_failure', graph=[task('a'), task('b', on_failure='panic')])
        equal(states(f, 's'), {})
        f.call('FlowAdd', session='s', task={'id': 'one', 'description': 'Mend the parser'})
        refused(f, 'FlowAdd', 'FlowRefused', 'task one of session s', 'force', session=f.call('FlowCreate', session='o')['session']['id'],
                task={'description': 'mend the PARSER.'})
        r = f.call('FlowAdd', session='o', force=True, task={'id': 'two', 'description': 'mend the PARSER.'})
        contains(r['warnings'][0], 'task one of session s')
        f.call('FlowAdd', session='s', task={'id': 'next', 'dependencies': ['one']})
        refused(f, 'FlowDepend', 'FlowRefused', 'one -> next -> one', session='s', task='one', on='next')
        refused(f, 'FlowStatus', 'NoSuchSession', 'nobody', session='nobody')
        refused(f, 'FlowPulse', 'NoSuchTask', "'x'", session='s', task='x')
        refused(f, 'FlowCreate', 'FlowRefused', 'already', session='s')


@test
def a_pool_that_is_missing_blocks_and_is_waited_for():
    with shell() as f:
        f.call('FlowSubmit', session='s', graph=[{'id': 'x', 'pool': 'later', 'payload': 'echo x'}, task('y', 'echo y')])
        wait_until(lambda: states(f, 's') == {'x': 'blocked', 'y': 'completed'})
        contains(show(f, 's')['graph'][0]['error'], 'later')
        killed_and_back(f)
        f.write_pool('later', pool('sh', 'cold'))
        f.call('Reload')
        equal(finished(f, 's'), {'x': 'completed', 'y': 'completed'})  # without being asked
        once(f, 's')


@test
def many_that_no_pool_takes_do_not_keep_the_others_back():
    with shell() as f:
        lost = [task('lost%d' % n, 'true') | {'pool': 'later'} for n in range(100)]
        f.call('FlowSubmit', session='s', graph=lost + [task('x', 'echo x')])
        for _ in range(3):  # each is a time to try again
            f.call('Reload')
        wait_until(lambda: states(f, 's')['x'] == 'completed', 8)  # before time itself has brought many tries
        f.write_pool('later', pool('sh', 'cold', Max=4))
        for _ in range(4):
            f.call('Reload')
        wait_until(lambda: over(f, 's'), 40)


@test
def limits_are_held():
    with shell(FlowSessionsMax=2, FlowTasksMax=3, FlowCapacityWarming=10, FlowExpandWeight=9) as f:
        f.call('FlowCreate', session='a')
        f.call('FlowCreate', session='b')
        refused(f, 'FlowCreate', 'LimitReached', 'FlowSessionsMax=2', session='c')
        f.call('FlowArchive', session='b')
        f.call('FlowCreate', session='c')
        refused(f, 'FlowSubmit', 'LimitReached', 'FlowTasksMax=3', session='a', graph=[task('t%d' % n) for n in range(4)])
        r = f.call('FlowSubmit', session='a', graph=[task('t%d' % n, weight=6) for n in range(3)])
        equal(r['activated'], ['t0'])
        f.write_conf({'FlowTasksMax': 100, 'FlowExpandWeight': 9})
        f.call('Reload')
        wait_until(lambda: list(states(f, 'a').values()) == ['active'] * 3)
        f.call('FlowAdd', session='a', task={'id': 'heavy', 'weight': 9})
        check('heavy.implement' in states(f, 'a'))
        f.call('FlowSubmit', session='c', graph=[task('h%d' % n, weight=9) for n in range(98)])  # no room to expand any
        equal(len(states(f, 'c')), 98)


@test
def without_a_store_there_are_no_sessions():
    with shell(Store='no') as f:
        refused(f, 'FlowCreate', 'StoreUnavailable', 'Store=', session='a')
        equal(f.call('FlowList')['sessions'], [])


OLD = {
    'sessionId': 'session-2025', 'created': '2025-09-01T10:00:00.250Z', 'status': 'flowing',
    'context': {'project': 'p', 'repository': 'r', 'branch': 'b', 'objective': 'to be taken over'},
    'comprehensive_todos': ['one', 'two'],
    'tasks': [
        {'id': 'task-1725184800000-ab12c', 'description': 'first', 'context': 'words', 'weight': 3, 'dependencies': [], 'state': 'completed',
         'momentum': 100, 'priority': 'high', 'notes': 'done well'},
        {'id': 'task-1725184800001-ab12d', 'description': 'second', 'context': '', 'weight': 8, 'dependencies': ['task-1725184800000-ab12c'],
         'state': 'in-progress', 'momentum': 42.5, 'priority': 'medium', 'notes': ''},
        {'id': 'task-1725184800002-ab12e', 'description': 'third', 'weight': 5, 'dependencies': ['task-1725184800001-ab12d', 'task-gone'],
         'state': 'queued', 'momentum': 0, 'priority': 'low'},
        {'id': 'task-1725184800003-ab12f', 'description': 'fourth', 'weight': 5, 'dependencies': [], 'state': 'resting', 'momentum': 30, 'priority': 'low'}],
    'workLog': [{'timestamp': '2025-09-01T10:01:00Z', 'action': 'began', 'details': 'with care'}],
    'momentum': {'overall': 55, 'notes': 'x'}, 'recommendations': {'nextSession': ['go on'], 'pauseSignals': ['tired']},
    'meta': {'sessionType': 'long', 'userStatus': 'away'},
}


@test
def sessions_of_the_flow_balancer_are_imported():
    with shell() as f:
        r = f.call('FlowImport', file=OLD)
        contains(' '.join(r['warnings']), 'ab12e', 'not in the file')
        s = show(f, 'session-2025')
        equal(s['purpose'], 'to be taken over')
        equal([(t['id'][-5:], t['state'], t['momentum'], t['weight'], t['priority']) for t in s['graph']],
              [('ab12c', 'completed', 100.0, 3, 'high'), ('ab12d', 'in-progress', 42.5, 8, 'medium'), ('ab12e', 'queued', 0.0, 5, 'low'),
               ('ab12f', 'resting', 30.0, 5, 'low')])
        equal(s['created_usec'], 1756720800250000)
        equal((s['log'][0]['action'], s['log'][0]['details']), ('began', 'with care'))
        contains(' '.join(f.call('FlowStatus', session='session-2025')['status']['recommendations']), 'go on')
        out = f.call('FlowExport', session='session-2025')['file']
        for key in ('sessionId', 'created', 'context', 'comprehensive_todos', 'recommendations', 'meta'):
            equal(out[key], OLD[key])
        # what was exported is the same when it is imported
        refused(f, 'FlowImport', 'FlowRefused', 'already', file=out)
        f.call('FlowImport', file=out, session='again')
        again = f.call('FlowExport', session='again')['file']
        equal([{k: t.get(k) for k in ('id', 'description', 'state', 'momentum', 'dependencies', 'notes', 'context')} for t in again['tasks']],
              [{k: t.get(k) for k in ('id', 'description', 'state', 'momentum', 'dependencies', 'notes', 'context')} for t in out['tasks']])
        killed_and_back(f)
        equal(comparable(show(f, 'session-2025')), comparable(s))
        bad = dict(OLD, sessionId='bad', tasks=[dict(OLD['tasks'][0], dependencies=[OLD['tasks'][1]['id']]), OLD['tasks'][1]])
        refused(f, 'FlowImport', 'FlowRefused', 'circle', file=bad)
        refused(f, 'FlowStatus', 'NoSuchSession', session='bad')


@test
def sessions_are_merged_in_one_step():
    with shell() as f:
        f.call('FlowSubmit', session='a', graph=[task('x', 'echo ax'), task('m')])
        wait_until(lambda: states(f, 'a')['x'] == 'completed')
        f.call('FlowSubmit', session='b', force=True, graph=[task('x', 'echo bx'), task('wait'), task('y', 'echo "${task.x.result}"', ['x', 'wait'])])
        wait_until(lambda: states(f, 'b')['x'] == 'completed')
        f.call('FlowMerge', session='a', **{'from': 'b'})
        refused(f, 'FlowShow', 'NoSuchSession', session='b')
        equal(sorted(states(f, 'a')), ['b.x', 'm', 'wait', 'x', 'y'])
        killed_and_back(f)
        refused(f, 'FlowShow', 'NoSuchSession', session='b')
        f.call('FlowComplete', session='a', task='wait')
        wait_until(lambda: states(f, 'a')['y'] == 'completed')
        equal(results(f, 'a')['y'], 'bx\n\n')
        equal(rows(f, 'SELECT count(*) FROM flow_sessions')[0], (1,))


@test
def what_is_archived_does_not_change():
    with shell() as f:
        f.call('FlowCreate', session='s')
        f.call('FlowArchive', session='s')
        refused(f, 'FlowTodos', 'FlowRefused', 'archived', session='s', todos=['x'])


@test
def an_archived_session_is_imported_with_nothing_open():
    with shell() as f:
        f.call('FlowImport', file=dict(OLD, status='archived'))
        s = show(f, 'session-2025')
        equal((s['state'], {t['state'] for t in s['graph']}), ('archived', {'completed', 'cancelled'}))
        f.call('FlowCreate', session='new')
        f.call('FlowAdd', session='new', task={'description': 'third'})  # is no duplicate of what is over


@test
def a_session_of_the_largest_size_is_imported_again():
    with shell() as f:
        for part in range(2):
            f.call('FlowSubmit', session='s', graph=[{'id': 't%d-%d' % (part, n)} for n in range(6000)])
        file = f.call('FlowExport', session='s')['file']
        f.call('FlowImport', file=file, session='again')
        equal(f.call('FlowStatus', session='again')['status']['tasks'], 12000)


@test
def a_cycle_over_merged_tasks_is_found():
    with shell() as f:
        for n in range(8):  # searches there were in either session
            a, b = 'a%d' % n, 'b%d' % n
            f.call('FlowSubmit', session=a, graph=[task('x'), task('y', needs=['x']), task('z')], force=True)
            f.call('FlowDepend', session=a, task='z', on='y')
            f.call('FlowSubmit', session=b, graph=[task('t%d' % k) for k in range(n + 1)], force=True)
            f.call('FlowMerge', session=b, **{'from': a})
            refused(f, 'FlowDepend', 'FlowRefused', 'x -> y -> x', session=b, task='x', on='y')


@test
def the_example_survives_what_is_killed_half_way():
    example = SRC / 'examples' / 'flow'
    with Flowd(start=False) as f:
        for kind in ('worker', 'pool'):  # as they stand in the examples, but with somebody to recognise their processes by
            text = (example / (kind + 's') / ('shell.' + kind)).read_text()
            f.write('%ss/shell.%s' % (kind, kind), text + ('Environment=%s\n' % f.marker.decode() if kind == 'worker' else ''))
        f.start()
        plan = subprocess.run([sys.executable, str(example / 'tree.py'), str(SRC / 'src')], stdout=subprocess.PIPE, check=True).stdout
        n = len(json.loads(plan)['tasks'])
        check(25 <= n <= 40, n)
        f.flowctl('flow', 'submit', '-', '--quiet', input=plan, check_status=0)
        completed = lambda: sum(s == 'completed' for s in states(f, 'tree').values())
        wait_until(lambda: completed() >= 3)
        pids = f.pids('shell')
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[0], signal.SIGKILL)
        wait_until(lambda: completed() >= 6)
        killed_and_back(f)
        check(len(states(f, 'tree')) == n)
        out = f.flowctl('flow', 'status', 'tree', '--follow', '--interval=50ms', check_status=1).stdout.decode()  # some have failed
        contains(out, 'report', 'bad-skip')
        after = states(f, 'tree')
        equal({k: v for k, v in after.items() if v != 'completed'},
              {'bad-fail': 'failed', 'bad-skip': 'failed', 'bad-continue': 'failed', 'after-fail': 'failed', 'after-skip': 'cancelled'})
        once(f, 'tree')
        # what it counted is what is there
        counted = 0
        for t in show(f, 'tree')['graph']:
            if t['id'].startswith('count-'):
                folder = t['payload'].split()[1].rpartition('/')[0]
                expected = sum(p.read_bytes().count(b'\n') for p in pathlib.Path(folder).glob('*.[ch]'))
                equal(int(t['result']), expected, folder)
                counted += expected
        contains(results(f, 'tree')['report'], '%d lines' % counted)


def sql(f, *statements):
    with contextlib.closing(sqlite3.connect(f.state + '/flowd.db', timeout=10)) as db, db:
        for s in statements:
            db.execute(s)


@test
def rows_that_were_lost_are_written_anew():
    with shell() as f:
        f.call('FlowSubmit', session='s', graph=[task('x', 'echo x'), task('y', needs=['x']), task('z')])
        wait_until(lambda: states(f, 's')['y'] == 'active')
        sql(f, 'DELETE FROM flow_sessions', 'DELETE FROM flow_tasks', 'DELETE FROM flow_log')
        f.call('FlowPulse', session='s', task='z', action='goes on')  # which is answered when all of it is there again
        before = comparable(show(f, 's'))
        killed_and_back(f)
        equal(comparable(show(f, 's')), before)


@test
def a_damaged_store_keeps_what_can_be_read():
    with shell() as f:
        f.call('FlowSubmit', session='s', graph=[task('x', 'echo x'), task('y', needs=['x'])])
        wait_until(lambda: states(f, 's')['y'] == 'active')
        before = comparable(show(f, 's'))
        f.stop()
        sql(f, 'DROP TABLE keys')
        f.start()
        equal(f.status()['state'], 'degraded')
        equal(comparable(show(f, 's')), before)
        refused(f, 'FlowPulse', 'StoreUnavailable', 'accept-loss', session='s', task='y')
        f.call('AcceptLoss')
        wait_until(lambda: f.status()['state'] == 'running')
        f.call('FlowComplete', session='s', task='y')
        killed_and_back(f)
        equal(states(f, 's'), {'x': 'completed', 'y': 'completed'})


@test
def old_sessions_expire():
    with shell(FlowExpire='1s') as f:
        begun = time.monotonic()
        f.call('FlowCreate', session='a')
        wait_until(lambda: f.call('FlowList')['sessions'] == [])
        check(time.monotonic() - begun >= 1, 'it was archived after', time.monotonic() - begun)
        wait_until(lambda: f.call('FlowList', all=True)['sessions'] == [])
        wait_until(lambda: rows(f, 'SELECT count(*) FROM flow_sessions') == [(0,)])


@test
def archived_sessions_are_not_kept_without_end():
    with shell(FlowSessionsMax=2) as f:
        for n in range(6):
            f.call('FlowSubmit', session='s%d' % n, graph=[task('x', 'sleep 100' if n % 2 else None)])
            f.call('FlowArchive', session='s%d' % n)
        f.call('FlowCreate', session='open')
        wait_until(lambda: {s['id'] for s in f.call('FlowList', all=True)['sessions']} == {'s4', 's5', 'open'})
        wait_until(lambda: rows(f, 'SELECT count(*) FROM flow_sessions') == [(3,)])
        killed_and_back(f)
        equal({s['id'] for s in f.call('FlowList', all=True)['sessions']}, {'s4', 's5', 'open'})


@test
def without_an_expiry_none_does():
    with shell(FlowExpire='infinity') as f:
        f.call('FlowCreate', session='a')
        f.call('FlowRest', session='a', duration='10ms')  # so that its time comes
        wait_until(lambda: not show(f, 'a')['rest_mode'])
        equal(show(f, 'a')['archived'], False)


def cpu_seconds(pid):
    with open('/proc/%d/stat' % pid) as stat:
        fields = stat.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


@test
def what_cannot_expire_now_is_not_tried_all_the_time():
    with shell() as f:
        f.call('FlowCreate', session='a')
        f.stop()
        sql(f, 'DROP TABLE keys')
        f.write_conf({'FlowExpire': '1s'})
        f.start()
        equal(f.status()['state'], 'degraded')
        wait_until(lambda: time.time() * 1e6 > show(f, 'a')['updated_usec'] + 1e6)
        spent, until = cpu_seconds(f.pid), time.monotonic() + 2
        wait_until(lambda: time.monotonic() > until, interval=0.5)
        check(cpu_seconds(f.pid) - spent < 0.3, 'flowd is busy while it has nothing to do')
        equal(show(f, 'a')['archived'], False)
        f.call('AcceptLoss')
        wait_until(lambda: f.call('FlowList', all=True)['sessions'] == [], 30)


@test
def flowctl_has_a_verb_for_everything():
    with shell() as f:
        ctl = lambda *args, status=0, **keys: f.flowctl('flow', *args, check_status=status, **keys).stdout.decode()
        contains(ctl('create', 's', 'to be seen', '--on-failure=skip'), 'Session s is created')
        contains(ctl('add', 's', 'a heavy one', '--id=h', '--weight=9', '--priority=high'), 'h', 'a heavy one', 'Activated: h.')
        ctl('add', 's', 'after it', '--id=e', '--needs=h', '--pool=sh', 'echo $((6 * 7))')
        contains(ctl('pulse', 's', 'has begun', 'h', '--momentum=40'), 'in-progress')
        contains(ctl('expand', 's', 'h'), 'h')
        contains(ctl('graph', 's'), 'h.plan', 'h.document', 'e')
        contains(ctl('graph', 's', '--dot'), 'digraph "s"', '"h.plan" -> "h.implement";')
        ctl('todos', 's', 'first', 'second')
        contains(ctl('todos', 's'), ' 1. first', ' 2. second')
        contains(ctl('rest', 's', 'overnight'), 'rests: resting')
        contains(ctl('wake', 's'), 'is awake')
        contains(ctl('rebalance', 's'), 'is balanced')
        contains(ctl('explain', 's'), 'The reason:', 'FlowWindow=10min')
        for part in ('plan', 'implement', 'test', 'document'):
            ctl('complete', 's', 'h.' + part, 'well done')
        contains(ctl('status', 's', '--follow', '--interval=50ms'), 'e ', 'completed')
        equal(json.loads(ctl('show', 's', 'e', '--json'))['graph'][0]['result'], '42\n')
        contains(ctl('show', 's'), 'to be seen', 'Work log:', 'well done')
        contains(ctl('list'), 'SESSION', 's', 'to be seen')
        file = ctl('export', 's')
        contains(ctl('import', '-', 'copy', input=file.encode()), 'copy is imported')
        ctl('submit', '-', '--session=g', input=b'[{"id": "x"}, {"id": "y", "dependencies": ["x"]}]')
        contains(f.flowctl('flow', 'depend', 'g', 'x', 'y', check_status=1).stderr.decode(), 'x -> y -> x')
        ctl('pulse', 'g', 'asks', 'x', '--blocked=no answer')
        contains(ctl('status', 'g'), 'no answer')
        contains(ctl('wake', 'g', 'x'), 'Activated: x.')
        ctl('cancel', 'g', 'x', 'not needed')
        ctl('add', 'g', 'fails', '--id=f')
        ctl('complete', 'g', 'f', '--failed=cannot')
        ctl('status', 'g', '--follow', status=1)
        ctl('merge', 's', 'g')
        ctl('archive', 'copy')
        check('copy' not in ctl('list') and 'copy' in ctl('list', '--all'))
        contains(f.flowctl('flow', 'status', 'nobody', check_status=1).stderr.decode(), "no session 'nobody'")
        f.flowctl('flow', 'add', 's', 'x', '--priority=3', check_status=2)


main()
