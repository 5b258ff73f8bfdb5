#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions over MCP: the tools' answers and refusals, plans that run themselves under a client's eyes, resources, subscriptions, the prompt."""

import sqlite3

from flowtest import *
from flowtest_mcp import *

try:
    import jsonschema
except ImportError:
    jsonschema = None

TOOLS = ['add_task', 'add_tasks', 'cancel_task', 'complete_task', 'create_session', 'enter_rest_mode', 'flow_status', 'pulse', 'rebalance_flow',
         'session_archive', 'session_list', 'set_comprehensive_todos']
TREE = SRC / 'examples' / 'flow' / 'tree.py'


def instance(**conf):
    return Flowd(workers={'sh': worker('/bin/sh', 'exec')}, pools={'shell': pool('sh', 'cold', Max=4)}, conf=conf or None)


def client(f, version=LATEST, **keys):
    return Mcp(f.runtime + '/mcp', version, **keys)


def checked(m):
    """Makes m.call() hold arguments and results against the schemas of their tools; returns the names of the tools that were called."""
    tools, plain, seen = {t['name']: t for t in m.listed('tools/list', 'tools')}, m.call, set()

    def call(tool, /, meta=None, **arguments):
        r = plain(tool, meta, **arguments)
        if jsonschema:
            if not r.get('isError'):
                jsonschema.Draft202012Validator(tools[tool]['inputSchema']).validate(arguments)
            jsonschema.Draft202012Validator(tools[tool]['outputSchema']).validate(r['structuredContent'])
        equal(json.loads(r['content'][0]['text']), r['structuredContent'])
        seen.add(tool)
        return r
    m.call = call
    return seen


def refused(m, code, tool, *words, **arguments):
    r = m.failed(tool, **arguments)
    equal((r['status'], r['code']), ('failed', code), r)
    contains(r['error'], *words)


def states(m, session):
    return {t['id']: t['state'] for t in m.read('flow://sessions/' + session)['graph']}


def watched(m, session, bound=60):
    """Reads a session after each notification until all of its tasks have ended; returns how often, and what it is then."""
    uri, n = 'flow://sessions/' + session, 0
    while True:
        s = m.read(uri)
        if all(t['state'] in ('completed', 'failed', 'cancelled') for t in s['graph']):
            return n, s
        m.note('notifications/resources/updated', lambda p: p['uri'] == uri, bound)
        n += 1


@test
def each_tool_does_what_it_says():
    with instance() as f, client(f) as m:
        seen = checked(m)
        s = m.tool('create_session', sessionId='s', purpose='to be tried', context={'project': 'flowd'}, todos=['one'], on_failure='skip')['session']
        equal((s['id'], s['purpose'], s['state'], s['on_failure']), ('s', 'to be tried', 'warming', 'skip'))
        r = m.tool('add_task', sessionId='s', taskId='a', description='The first', context='a text', weight=3, priority='high', notes='n')
        equal((r['task']['id'], r['task']['weight'], r['task']['state'], r['activated'], r['warnings']), ('a', 3, 'active', ['a'], []))
        r = m.tool('add_task', sessionId='s', taskId='b', description='The second', dependencies=['a'])
        equal((r['task']['state'], r['activated'], r['task']['dependencies']), ('queued', [], ['a']))
        r = m.tool('pulse', sessionId='s', taskId='a', action='Worked on it', details='a lot', momentum=42.5)
        equal((r['task']['momentum'], r['task']['state']), (42.5, 'in-progress'))
        check('task' not in m.tool('pulse', sessionId='s', action='Looked around'))
        equal(m.tool('set_comprehensive_todos', sessionId='s', todos=['this', {'and': 'that'}])['activated'], [])
        r = m.tool('flow_status', sessionId='s')
        equal(([t['id'] for t in r['by_state']['in_progress']], [t['waits_for'] for t in r['by_state']['queued']]), (['a'], [['a']]))
        equal((r['id'], r['todos']), ('s', ['this', {'and': 'that'}]))
        check(r['why'] and r['load_text'])
        r = m.tool('enter_rest_mode', sessionId='s', duration='8 hours')
        check(r['session']['rest_mode'] and r['session']['rest_until_usec'] > time.time() * 1e6)
        r = m.tool('complete_task', sessionId='s', taskId='a', notes='well done')
        equal((r['task']['state'], r['waits'], r['activated']), ('completed', False, []))  # it rests
        f.call('FlowWake', session='s')
        m.tool('rebalance_flow', sessionId='s')
        equal(states(m, 's'), {'a': 'completed', 'b': 'active'})
        r = m.tool('cancel_task', sessionId='s', taskId='b', reason='not needed')
        equal(r['task']['state'], 'cancelled')
        r = m.tool('add_tasks', sessionId='s', tasks=[{'id': 'd', 'description': 'Fourth', 'dependencies': ['c']}, {'id': 'c', 'description': 'Third'}])
        equal((r['tasks'], r['activated']), (['d', 'c'], ['c']))
        r = m.tool('complete_task', sessionId='s', taskId='c', error='it cannot be done')
        equal((r['task']['state'], states(m, 's')['d']), ('failed', 'cancelled'))
        log = [(e['action'], e.get('details')) for e in m.read('flow://sessions/s')['log']]
        for entry in (('Worked on it', 'a lot'), ('Looked around', None), ('completed', 'well done'), ('cancelled', 'not needed')):
            check(entry in log, entry, log)
        equal([x['id'] for x in m.tool('session_list')['sessions']], ['s'])
        equal(m.tool('session_archive', sessionId='s')['session']['archived'], True)
        equal(m.tool('session_list')['sessions'], [])
        equal([x['state'] for x in m.tool('session_list', all=True)['sessions']], ['archived'])
        equal(sorted(seen), TOOLS)
        names = [t['name'] for t in m.listed('tools/list', 'tools')]
        check(set(TOOLS) <= set(names))


@test
def a_refusal_says_why():
    with instance() as f, client(f) as m:
        checked(m)
        m.tool('create_session', sessionId='s')
        m.tool('add_task', sessionId='s', taskId='a', description='The one')
        for tool, more in (('add_task', {'description': 'x'}), ('complete_task', {'taskId': 'a'}), ('cancel_task', {'taskId': 'a'}), ('flow_status', {}),
                           ('pulse', {}), ('set_comprehensive_todos', {'todos': []}), ('enter_rest_mode', {}), ('rebalance_flow', {}),
                           ('session_archive', {})):
            refused(m, 'NoSuchSession', tool, "'none'", sessionId='none', **more)
        for tool in ('complete_task', 'cancel_task', 'pulse'):
            refused(m, 'NoSuchTask', tool, "'none'", sessionId='s', taskId='none')
        refused(m, 'FlowRefused', 'create_session', 'already', sessionId='s')
        refused(m, 'FlowRefused', 'create_session', 'no id', sessionId='../x')
        refused(m, 'FlowRefused', 'enter_rest_mode', 'no duration', sessionId='s', duration='a while')
        refused(m, 'FlowRefused', 'add_task', 'task a of', 'force', sessionId='s', description='the ONE!')
        contains(m.tool('add_task', sessionId='s', description='the ONE!', force=True)['warnings'][0], 'task a of')
        refused(m, 'FlowRefused', 'add_task', 'time span', sessionId='s', description='x', pool='shell', timeout='soon')
        # a circle is printed, however long it is, and nothing of its graph is there
        ring = ['link-number-%03d' % n for n in range(200)]
        r = m.failed('add_tasks', sessionId='ring', tasks=[{'id': t, 'description': t, 'dependencies': [ring[n - 1]]} for n, t in enumerate(ring)])
        equal(r['code'], 'FlowRefused')
        contains(r['error'], 'circle', *(t for t in ring))
        refused(m, 'NoSuchSession', 'flow_status', "'ring'", sessionId='ring')
        r = m.failed('add_tasks', sessionId='s', tasks=[{'id': 'x', 'description': 'x', 'dependencies': ['nowhere']}])
        contains(r['error'], "'nowhere'")
        equal(len(states(m, 's')), 2)
        for tool, more in (('add_task', {'sessionId': 's'}), ('add_task', {'sessionId': 's', 'description': 'x', 'weight': 11}), ('pulse', {'momentum': 101}),
                           ('pulse', {'sessionId': 's', 'taskId': 'a', 'momentum': '5'}), ('add_tasks', {'tasks': {}}), ('flow_status', {'session': 's'})):
            refused(m, 'InvalidArguments', tool, **more)


def driven(f, m, subscribe):
    """examples/flow, on this project's own tree."""
    plan = json.loads(subprocess.run([sys.executable, str(TREE), str(SRC / 'src')], capture_output=True, check=True, timeout=60 * SLOW).stdout)
    r = m.tool('add_tasks', sessionId=plan['session'], purpose=plan['purpose'], tasks=plan['tasks'])
    equal((len(r['tasks']), r['activated']), (len(plan['tasks']), ['check']))
    subscribe('flow://sessions/tree')
    n, s = watched(m, 'tree')
    check(n > 0, 'it was seen to change')
    graph = {t['id']: t for t in s['graph']}
    equal({i: graph[i]['state'] for i in graph if i.startswith(('bad', 'after'))},
          {'bad-fail': 'failed', 'after-fail': 'failed', 'bad-skip': 'failed', 'after-skip': 'cancelled',
           'bad-continue': 'failed', 'after-continue': 'completed'})
    equal({t['state'] for i, t in graph.items() if not i.startswith(('bad', 'after'))}, {'completed'})
    lines = sum(int(t['result']) for i, t in graph.items() if i.startswith('count-'))
    check(lines > 1000)
    contains(graph['report']['result'], '%d lines' % lines)
    equal(m.read('flow://sessions/tree/tasks/lines')['result'], str(lines))
    equal(m.tool('flow_status', sessionId='tree')['load'], 0)


@test
def a_client_submits_a_plan_and_sees_it_run():
    with instance() as f, client(f) as m:
        checked(m)
        driven(f, m, lambda uri: m.request('resources/subscribe', uri=uri))


@test
def a_modern_client_does_so_too():
    with instance() as f, client(f, MODERN) as m:
        def listen(uri):
            m.send('subscriptions/listen', id=77, notifications={'resourceSubscriptions': [uri]})
            equal(m.note('notifications/subscriptions/acknowledged')['notifications']['resourceSubscriptions'], [uri])
        driven(f, m, listen)


@test
def what_was_answered_outlives_flowd():
    with instance() as f:
        gate = f.gate()
        with client(f) as m:
            m.tool('add_tasks', sessionId='s', tasks=[
                {'id': 'first', 'description': 'first', 'pool': 'shell', 'payload': 'while [ ! -e %s ]; do sleep 0.05; done; printf 7' % gate.path},
                {'id': 'second', 'description': 'second', 'pool': 'shell', 'payload': 'printf $((${task.first.result} * 6))', 'dependencies': ['first']}])
            m.tool('create_session', sessionId='other')
            wait_until(lambda: f.pids('shell'))
            os.kill(f.pid, signal.SIGKILL)
            f.process.wait(20 * SLOW)
        f.start()
        with client(f) as m:
            equal([x['id'] for x in m.tool('session_list')['sessions']], ['s', 'other'])
            m.request('resources/subscribe', uri='flow://sessions/s')
            gate.open()
            _, s = watched(m, 's')
            equal([t['result'] for t in s['graph']], ['7', '42'])
        with contextlib.closing(sqlite3.connect('file:%s/flowd.db?mode=ro' % f.state, uri=True)) as db:
            equal(db.execute("SELECT count(*) FROM jobs WHERE session = 's' AND state = 2").fetchone()[0], 2)


@test
def who_goes_away_takes_nothing_back():
    with instance() as f:
        for n in range(20):
            with client(f) as m:
                m.send('tools/call', name='create_session', arguments={'sessionId': 'gone%d' % n})
                id = m.send('tools/call', name='create_session', arguments={'sessionId': 'cancelled%d' % n})
                m.notify('notifications/cancelled', requestId=id)
                if n % 2:
                    m.request('ping')  # it was read, and is on its way to the disk
        with client(f) as m:
            wait_until(lambda: {s['id'] for s in m.tool('session_list')['sessions']} >= {'%s%d' % (k, n) for k in ('gone', 'cancelled')
                                                                                         for n in range(1, 20, 2)})


@test
def sessions_of_others_are_looked_at_only():
    if os.getuid() != 0:
        skip('needs root, to be somebody else')
    import grp
    groups = [g.gr_name for g in grp.getgrall() if g.gr_gid != 0][:3]
    code = """
import os, sys
sys.path.insert(0, %r)
from flowtest_mcp import *
os.setgroups([int(sys.argv[1])]); os.setgid(65534); os.setuid(65534)
with Mcp(sys.argv[2]) as m:
    print(json.dumps([[t['name'] for t in m.listed('tools/list', 'tools')], m.call('pulse', sessionId='s', action='x')['structuredContent'],
                      m.tool('flow_status', sessionId='s')['id'], m.read('flow://sessions/s')]))
""" % str(SRC / 'tests' / 'integration')
    with instance(ObserveGroup=groups[0], SubmitGroup=groups[1], AdminGroup=groups[2]) as f, client(f) as m:
        m.tool('create_session', sessionId='s', context='a secret')
        m.tool('add_task', sessionId='s', taskId='t', description='mine', context='a secret', pool='shell', payload='printf secret')
        m.request('resources/subscribe', uri='flow://sessions/s')
        equal(watched(m, 's')[1]['graph'][0]['result'], 'secret')
        equal(m.read('flow://sessions/s')['context'], 'a secret')

        def ask(group):
            r = subprocess.run([sys.executable, '-c', code, str(grp.getgrnam(group).gr_gid), f.runtime + '/mcp'], capture_output=True, timeout=60 * SLOW)
            check(r.returncode == 0, r.stderr.decode())
            return json.loads(r.stdout)
        names, answer, id, s = ask(groups[0])
        t = s['graph'][0]
        equal((answer['code'], id, t['id']), ('NotPermitted', 's', 't'))
        contains(answer['error'], groups[1])
        check('flow_status' in names and 'pulse' not in names)
        check(not {'result', 'payload', 'context'} & set(t), t)
        check('secret' not in json.dumps(s))


@test
def resources_and_what_is_told_of_them():
    with instance() as f, client(f) as m:
        uris = lambda: [r['uri'] for r in m.listed('resources/list', 'resources') if 'sessions' in r['uri']]
        equal(uris(), ['flow://sessions'])
        mcp_error(-32002, m.request, 'resources/subscribe', uri='flow://sessions/b')
        m.request('resources/subscribe', uri='flow://sessions')
        m.tool('create_session', sessionId='b', purpose='The second')
        m.note('notifications/resources/list_changed')
        m.note('notifications/resources/updated', lambda p: p['uri'] == 'flow://sessions')
        m.tool('create_session', sessionId='a')
        m.note('notifications/resources/list_changed')
        equal(uris(), ['flow://sessions', 'flow://sessions/a', 'flow://sessions/b'])
        equal([s['id'] for s in m.read('flow://sessions')['sessions']], ['b', 'a'])
        r = m.request('completion/complete', ref={'type': 'ref/resource', 'uri': 'flow://sessions/{id}'}, argument={'name': 'id', 'value': 'a'})
        equal(r['completion']['values'], ['a'])
        m.tool('add_task', sessionId='b', taskId='t', description='x', context={'k': 1})
        m.request('resources/subscribe', uri='flow://sessions/b')
        m.request('resources/subscribe', uri='flow://sessions/b/tasks/t')
        m.tool('pulse', sessionId='b', taskId='t', momentum=50)
        m.note('notifications/resources/updated', lambda p: p['uri'] == 'flow://sessions/b')
        m.note('notifications/resources/updated', lambda p: p['uri'] == 'flow://sessions/b/tasks/t')
        t = m.read('flow://sessions/b/tasks/t')
        equal((t['momentum'], t['context']), (50, {'k': 1}))
        m.tool('pulse', sessionId='a', action='x')  # is nothing of b's
        m.note('notifications/resources/updated', lambda p: p['uri'] == 'flow://sessions')
        m.request('resources/unsubscribe', uri='flow://sessions')
        check(not [n for n in m.notes if n.get('params', {}).get('uri', '').startswith('flow://sessions/b')], m.notes)
        f.call('Reexec')
        m.tool('pulse', sessionId='b', taskId='t', momentum=60)  # the subscription is still there
        m.note('notifications/resources/updated', lambda p: p['uri'] == 'flow://sessions/b/tasks/t')
        m.tool('session_archive', sessionId='a')
        m.note('notifications/resources/list_changed')
        wait_until(lambda: uris() == ['flow://sessions', 'flow://sessions/b'])
        for uri in ('flow://sessions/none', 'flow://sessions/', 'flow://sessions/b/', 'flow://sessions/b/tasks/', 'flow://sessions/b/tasks/none',
                    'flow://sessions/b/x', 'flow://sessions/' + 'x' * 200, 'flow://sessionsx'):
            mcp_error(-32002, m.request, 'resources/read', uri=uri)


@test
def a_large_session_is_read_without_its_results():
    with instance(JsonMax='256K') as f, client(f) as m:
        m.tool('add_tasks', sessionId='big', tasks=[{'id': 't%d' % n, 'description': 'number %d' % n, 'pool': 'shell',
                                                     'payload': "head -c 30000 /dev/zero | tr '\\0' x"} for n in range(4)])
        wait_until(lambda: m.tool('flow_status', sessionId='big')['completed'] == 4, 60)
        s = m.read('flow://sessions/big')
        equal((s['truncated'], len(s['graph']), [t.get('result') for t in s['graph']]), (True, 4, [None] * 4))
        equal(m.read('flow://sessions/big/tasks/t0')['result'], 'x' * 30000)
        m.tool('add_tasks', sessionId='many', tasks=[{'id': 't%d' % n, 'description': 'the task with the number %d' % n} for n in range(400)])
        s = m.read('flow://sessions/many')
        check(s['truncated'] and 'graph' not in s and s['by_state'], list(s))


@test
def without_a_store_nothing_is_changed():
    with instance(Store='no') as f, client(f) as m:
        checked(m)
        refused(m, 'StoreUnavailable', 'create_session', sessionId='s')
        equal(m.tool('session_list')['sessions'], [])


@test
def the_prompt():
    with instance() as f:
        with client(f) as m:
            m.tool('create_session', sessionId='s', purpose='is there already')
            goal = 'Count the lines of ' + 'x' * 1000
            r = m.request('prompts/get', name='plan_session', arguments={'goal': goal})
            contains(r['messages'][0]['content']['text'], goal, 'add_tasks', '${task.ID.result}')
            facts = json.loads(r['messages'][1]['content']['resource']['text'])
            equal(([p['name'] for p in facts['pools']], [s['purpose'] for s in facts['sessions']]), (['shell'], ['is there already']))
            mcp_error(-32602, m.request, 'prompts/get', name='plan_session', arguments={})
        with client(f, MODERN, capabilities={'elicitation': {}}) as m:
            r = m.request('prompts/get', name='plan_session', arguments={})
            ask = r['inputRequests']['goal']['params']
            equal((r['resultType'], ask['message'], list(ask['requestedSchema']['properties'])), ('input_required', 'What is to be reached?', ['goal']))


main()
