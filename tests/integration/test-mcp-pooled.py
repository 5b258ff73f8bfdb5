#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""MCP servers that are workers, seen through flowd's own MCP socket: their lists, calls, deaths, and what stays apart."""

from flowtest import *
from flowtest_mcp import *

KEYS = {'StopTimeout': '500ms', 'CancelTimeout': '20s', 'Slots': 4}
POOL = {'Max': 1, 'RestartDelay': '10ms', 'RestartDelayMax': '50ms', 'BreakerCrashes': 90}
OWN = 12  # tools of the zoo


@contextlib.contextmanager
def instance(args='', pool_keys=None, conf=None, tier='hot', **keys):
    with Flowd(workers={'x': worker(zoo_mcp() + ' ' + args, 'mcp', **{**KEYS, **keys})}, pools={'x': pool('x', tier, **{**POOL, **(pool_keys or {})})},
               conf=conf) as f:
        yield f


def client(f, version=LATEST, **keys):
    return Mcp(f.runtime + '/mcp', version, **keys)


def pooled(m, prefix='x__', method='tools/list', key='tools', name='name'):
    return [t for t in m.listed(method, key) if t[name].startswith(prefix)]


def known(m, n=OWN, prefix='x__', **keys):
    """The pooled items, once there are so many."""
    wait_until(lambda: len(pooled(m, prefix, **keys)) == n, bound=30, what='%d items of %s' % (n, prefix))
    return pooled(m, prefix, **keys)


def text_of(r):
    check(not r.get('isError'), 'failed:', r)
    return r['content'][0]['text']


def failure(m, tool, /, **arguments):
    r = m.call(tool, **arguments)
    check(r.get('isError'), tool, 'did not fail:', r)
    return r['content'][0]['text']


def line_of(m, part):
    return next(l for l in reversed(m.lines) if part in l)


# --- lists ---

@test
def tools_are_listed_and_called():
    with instance() as f, client(f) as m:
        tools = known(m)
        check('x__echo' in [t['name'] for t in tools], tools)
        # byte for byte, but for the name
        check(b'{"title":"The echo tool","name":"x__echo","inputSchema":{"type":"object","$comment":1.00,"maximum":12345678901234567890},'
              b'"description":"Does echo.\\nOr not."}' in line_of(m, b'x__echo'), line_of(m, b'x__echo'))
        equal(text_of(m.call('x__echo', a=1)), '{"a": 1}')
        m.call('x__exotic')
        check('{"content":[],"z":1.50e+3,"a":[12345678901234567890, -0.0],"s":"\\u00e4ä \\u2028"}'.encode() in m.lines[-1], m.lines[-1])
        mcp_error(-32602, m.call, 'x__nonsense')
        mcp_error(-32602, m.call, 'echo')
        # arguments as they stand
        m.write('{"jsonrpc":"2.0","id":99,"method":"tools/call","params":{"name":"x__params","arguments":{"b":1.50, "a":[]}}}\n')
        p = json.loads(text_of(m.answer(99)))
        equal((p['name'], p['arguments']), ('params', {'b': 1.5, 'a': []}))


@test
def names_fit_clients():
    long = 'n' * 100
    with instance(args='--more=%s,%s' % (long, long + 'x')) as f, client(f) as m:
        names = [t['name'] for t in known(m, OWN + 2)]
        check(all(len(n) <= 64 and not set(n) - set('abcdefghijklmnopqrstuvwxyz_-0123456789.') for n in names), names)
        equal(len(set(names)), len(names))
        slash = [n for n in names if n.startswith('x__a_slash_')]
        equal(len(slash), 1, names)
        equal(json.loads(text_of(m.call(slash[0], v=1))), {'v': 1})
        longs = sorted(n for n in names if n.startswith('x__nnn'))
        equal(([len(n) for n in longs], len(longs)), ([64, 64], 2))
        equal(json.loads(text_of(m.call(longs[0], v=2))), {'v': 2})
        # stable: the same in another flowd
        with instance(args='--more=' + long) as g, client(g) as k:
            check(set(t['name'] for t in known(k, OWN + 1)) < set(names))


@test
def prefix_allow_and_deny():
    keys = {'McpPrefix': 'short', 'McpAllow': 'e* p*', 'McpDeny': 'exi* params'}
    with instance(pool_keys=keys) as f, client(f) as m:
        names = [t['name'] for t in known(m, 4, 'short__')]
        equal(sorted(names), ['short__echo', 'short__exotic', 'short__pid', 'short__progress'])
        equal([p['name'] for p in pooled(m, 'short__', 'prompts/list', 'prompts')], ['short__p'])
        equal(pooled(m, 'zoo:', 'resources/list', 'resources', 'uri'), [])
        for denied in ('short__params', 'short__crash', 'x__echo'):
            mcp_error(-32602, m.call, denied)
        # other keys, without a restart of anything
        f.write_pool('x', pool('x', McpDeny='pid', **POOL))
        equal(f.flowctl('reload').returncode, 0)
        m.note('notifications/tools/list_changed')
        equal(len(known(m, OWN - 1)), OWN - 1)
        equal(text_of(m.call('x__echo')), '{}')
        mcp_error(-32602, m.call, 'x__pid')
        equal(f.pool('x')['spawned'], 1)


@test
def names_that_collide():
    with instance() as f, client(f) as m:
        known(m)
        f.write_pool('y', pool('x', McpPrefix='x', Max=1))
        r = f.flowctl('reload')
        check(r.returncode != 0, 'took two pools with one prefix')
        contains((r.stderr + r.stdout).decode(), 'y.pool', 'McpPrefix=x', 'x and y')
        equal(text_of(m.call('x__echo', v=1)), '{"v": 1}')
        f.write_pool('y', pool('x', McpPrefix='y', Max=1))
        equal(f.flowctl('reload').returncode, 0)
        known(m, OWN, 'y__')
    # what can be seen later only: a__b of pool x and b of pool x__a
    with Flowd(workers={'x': worker(zoo_mcp() + ' --more=a__echo', 'mcp', **KEYS), 'z': worker(zoo_mcp() + ' --more=other', 'mcp', **KEYS)},
               pools={'x': pool('x', **POOL), 'x__a': pool('z', **POOL)}) as f, client(f) as m:
        names = [t['name'] for t in known(m, 2 * OWN + 1)]
        equal(names.count('x__a__echo'), 1)
        f.logged('The tool echo of pool x__a is not offered', 'pool x offers one')
        wait_until(lambda: f.pool('x')['completed'] + f.pool('x__a')['completed'] == 0)
        equal(text_of(m.call('x__a__echo', v=1)), '{"v": 1}')
        equal((f.pool('x')['completed'], f.pool('x__a')['completed']), (1, 0))


@test
def lists_change():
    with instance(args='--more=change') as f, client(f) as m, client(f, MODERN) as n:
        known(m, OWN + 1)
        known(m, 1, method='prompts/list', key='prompts')
        m.notes.clear()
        id = n.send('subscriptions/listen', notifications={'toolsListChanged': True})
        n.note('notifications/subscriptions/acknowledged')
        m.call('x__change')
        m.note('notifications/tools/list_changed')
        equal(n.note('notifications/tools/list_changed')['_meta'][META + 'subscriptionId'], id)
        check('x__new-1' in [t['name'] for t in known(m, OWN + 2)])
        equal(text_of(m.call('x__new-1', v=1)), '{"v": 1}')
        check(not [x for x in m.notes if 'prompts' in x['method']], m.notes)


@test
def listing_starts_no_process():
    with instance(tier='warm', pool_keys={'Min': 0, 'IdleTimeout': '100ms'}) as f, client(f) as m:
        known(m)  # one was started once, and asked
        wait_until(lambda: f.pool('x')['workers'] == 0, bound=30)
        spawned = f.pool('x')['spawned']
        equal(spawned, 1)
        for method, key in (('tools/list', 'tools'), ('prompts/list', 'prompts'), ('resources/list', 'resources'),
                            ('resources/templates/list', 'resourceTemplates')):
            for _ in range(20):
                m.listed(method, key)
        equal((f.pool('x')['workers'], f.pool('x')['spawned']), (0, spawned))
        equal(text_of(m.call('x__echo', v=1)), '{"v": 1}')
        equal(f.pool('x')['spawned'], spawned + 1)


@test
def a_restart_keeps_the_lists():
    with instance(args='--more=change', tier='warm', pool_keys={'Min': 0, 'IdleTimeout': '100ms'}) as f:
        with client(f) as m:
            tools = known(m, OWN + 1)
        f.stop()
        f.write_pool('x', pool('x', 'warm', Min=0, **POOL))
        f.start()
        with client(f) as m:
            equal(known(m, OWN + 1), tools)
            check(b'"$comment":1.00,"maximum":12345678901234567890' in line_of(m, b'x__echo'))
            equal(f.pool('x')['spawned'], 0)
            # who starts anyway is asked again
            text_of(m.call('x__change'))
            known(m, OWN + 2)


@test
def an_unknown_server_is_asked_once():
    with instance(args='--start=exit', tier='warm', pool_keys={'Min': 0, 'BreakerCrashes': 2, 'BreakerCooldown': '1h'}) as f, client(f) as m:
        wait_until(lambda: f.pool('x')['state'] == 'degraded', bound=30)
        equal(pooled(m), [])
        check('pool_list' in [t['name'] for t in m.listed('tools/list', 'tools')])


@test
def many_unknown_servers():
    types = {'t%d' % i: worker(zoo_mcp() + ' --more=only%d' % i, 'mcp', **KEYS) for i in range(5)}
    with Flowd(workers=types, pools={t: pool(t, 'warm', Min=0, Max=1) for t in types}) as f, client(f) as m:
        wait_until(lambda: len([t for t in m.listed('tools/list', 'tools') if '__only' in t['name']]) == 5, bound=60)
        equal(sum(f.pool(t)['spawned'] for t in types), 5)


# --- calls ---

@test
def errors_pass():
    with instance() as f, client(f) as m, client(f, MODERN) as n:
        known(m)
        for c in (m, n):
            r = c.call('x__fail')
            equal((r['isError'], r['why'], r['content'][0]['text']), (True, [1.5], 'zoo: cannot do that'))
            e = mcp_error(-32000, c.call, 'x__rpc-error')
            equal((e.message, e.data), ('zoo: no', {'hint': 'never'}))
        r = n.call('x__echo', v=1)
        equal((r['resultType'], r['_meta'][META + 'serverInfo']['name']), ('complete', 'flowd'))
        check('resultType' not in m.call('x__echo'))


@test
def progress_and_cancelling():
    with instance() as f, client(f) as m:
        known(m)
        r = m.call('x__progress', meta={'progressToken': 'tok'}, n=4)
        equal(text_of(r), 'done')
        notes = [n['params'] for n in m.notes if n['method'] == 'notifications/progress']
        equal([(n['progressToken'], n['message']) for n in notes], [('tok', 'step %d' % i) for i in range(1, 5)])
        equal([n['progress'] for n in notes], sorted(set(n['progress'] for n in notes)))
        id = m.send('tools/call', name='x__gate', arguments={'path': '/nowhere', 'late': True})
        wait_until(lambda: f.pool('x')['running'] == 1)
        m.notify('notifications/cancelled', requestId=id, reason='enough')
        wait_until(lambda: len(json.loads(text_of(f_call(f, 'counts')))['cancelled']) == 1)
        check(json.dumps(id) not in m.answers)
        equal(text_of(m.call('x__echo', v=1)), '{"v": 1}')
        equal(f.pool('x')['crashes'], 0)


def f_call(f, tool):
    with f.jobs() as j:
        r = j.run('x', b'{}', tool, kind=JSON)
        return json.loads(completed(r).payload)


@test
def a_server_dies():
    with instance() as f, client(f) as m, client(f, MODERN) as n:
        known(m)
        waiting = [(c, c.send('tools/call', name='x__gate', arguments={'path': '/nowhere'})) for c in (m, n)]
        wait_until(lambda: f.pool('x')['running'] == 2)
        contains(failure(m, 'x__crash'), 'Crashed', 'SIGKILL', 'zoo: about to crash')
        for c, id in waiting:
            r = c.answer(id)
            equal(r['isError'], True)
            contains(r['content'][0]['text'], 'Crashed', 'zoo: about to crash')
            check('structuredContent' not in r)
        for c in (m, n):  # the same connections, another server
            equal(text_of(c.call('x__echo', v=1)), '{"v": 1}')
        equal(f.pool('x')['crashes'], 1)
        m.request('resources/read', uri='zoo://a')


@test
def resources_prompts_and_completions():
    with Flowd(workers={'x': worker(zoo_mcp(), 'mcp', **KEYS), 'y': worker(zoo_mcp() + ' --uris=y://top', 'mcp', **KEYS)},
               pools={'x': pool('x', **POOL), 'y': pool('y', **POOL)}) as f, client(f) as m, client(f, MODERN) as n:
        known(m, OWN)
        known(m, OWN, 'y__')
        equal([r['uri'] for r in pooled(m, 'zoo:', 'resources/list', 'resources', 'uri')], ['zoo://a', 'zoo://b'])
        equal([r['uriTemplate'] for r in pooled(m, 'y:', 'resources/templates/list', 'resourceTemplates', 'uriTemplate')], ['y://top/{id}'])
        for uri, p in (('zoo://a', 'x'), ('y://top', 'y'), ('y://top/7', 'y')):
            before = f.pool(p)['completed']
            for c in (m, n):
                r = c.request('resources/read', uri=uri)
                equal(json.loads(r['contents'][0]['text'])['uri'], uri)
                equal('ttlMs' in r and r['cacheScope'] == 'private', c is n)
            equal(f.pool(p)['completed'], before + 2)
        for c, code in ((m, -32002), (n, -32602)):
            for uri in ('y://top/7/8', 'y://top/', 'zoo://c', 'other://x'):
                mcp_error(code, c.request, 'resources/read', uri=uri)
        r = m.request('prompts/get', name='x__p', arguments={'q': 'v'})
        p = json.loads(r['messages'][0]['content']['text'])
        equal((p['name'], p['arguments']), ('p', {'q': 'v'}))
        r = m.request('completion/complete', ref={'type': 'ref/prompt', 'name': 'x__p'}, argument={'name': 'q', 'value': 'v'},
                      context={'arguments': {'z': '1'}})
        p = json.loads(r['completion']['values'][0])
        equal((p['ref'], p['argument'], p['context']), ({'type': 'ref/prompt', 'name': 'p'}, {'name': 'q', 'value': 'v'}, {'arguments': {'z': '1'}}))
        r = m.request('completion/complete', ref={'type': 'ref/resource', 'uri': 'y://top/{id}'}, argument={'name': 'id', 'value': '7'})
        equal(json.loads(r['completion']['values'][0])['ref']['uri'], 'y://top/{id}')


@test
def changes_of_resources_reach_who_asked():
    with instance(args='--uris=y://top --more=touch') as f, client(f) as m, client(f) as n:
        known(m, OWN + 1)
        m.request('resources/subscribe', uri='y://top')
        wait_until(lambda: json.loads(text_of(f_call(f, 'counts')))['subscribed'] == ['y://top'])
        m.call('x__touch', uri='y://top')
        equal(m.note('notifications/resources/updated'), {'uri': 'y://top'})
        n.request('ping')
        check(not [x for x in n.notes if 'updated' in x['method']], n.notes)
        # another process is told again, and the client that it may have missed something
        failure(m, 'x__crash')
        m.note('notifications/resources/updated')
        wait_until(lambda: 'y://top' in json.loads(text_of(f_call(f, 'counts')))['subscribed'], bound=30)
        mcp_error(-32002, m.request, 'resources/subscribe', uri='other://x')


@test
def no_page_ends_between_two_kinds_of_resources():
    with instance(args='--uris=a://top') as f, client(f) as m:
        known(m)
        m.tool('create_session', sessionId='s00')
        own = [r for r in m.listed('resources/list', 'resources') if r['uri'].startswith('flow://')]
        for i in range(1, 51 - len(own)):
            m.tool('create_session', sessionId='s%02d' % i)
        pages = []
        uris = [r['uri'] for r in m.listed('resources/list', 'resources', pages)]
        equal(pages, [50, 1])
        equal(uris[50], 'a://top')


# --- what stays apart ---

SESSION = {'Sharing': 'session', 'ClientFeatures': 'roots sampling elicitation'}


@test
def sessions_have_servers_of_their_own():
    with instance(tier='warm', pool_keys={'Min': 0, 'Max': 4}, **SESSION) as f, client(f) as m, client(f) as n:
        known(m)
        pids = {c: {text_of(c.call('x__pid')) for _ in range(5)} for c in (m, n)}
        equal([len(p) for p in pids.values()], [1, 1])
        check(pids[m] != pids[n], 'two connections share a server:', pids)
        with client(f) as k:
            third = text_of(k.call('x__pid'))
            check({third} not in pids.values())
        wait_until(lambda: not alive(int(third)), bound=30, what='the end of a server whose client has gone')
        equal(text_of(m.call('x__pid')), min(pids[m]))
        # without a session there is no server
        with f.jobs() as j:
            ended(j.run('x', b'{}', 'pid', kind=JSON), 'refused')


@test
def questions_go_to_whose_call_it_is():
    caps = {'sampling': {}, 'roots': {}}
    with instance(args='--more=ask', tier='warm', pool_keys={'Min': 0, 'Max': 4}, **SESSION) as f, client(f, capabilities=caps) as m, \
            client(f, capabilities=caps) as n, client(f) as mute, client(f, MODERN, capabilities=caps) as modern:
        known(m, OWN + 1)
        ids = {c: c.send('tools/call', name='x__ask', arguments={'method': 'sampling/createMessage'}) for c in (m, n)}
        questions = {c: c.until(lambda: [x for x in c.notes if x['method'] == 'sampling/createMessage'], 'a question') for c in (m, n)}
        for c in (m, n):
            equal([len(questions[c]), questions[c][0]['params']], [1, {}])
        for c, word in ((n, 'from n'), (m, 'from m')):
            c.write(json.dumps({'jsonrpc': '2.0', 'id': questions[c][0]['id'], 'result': {'word': word}}) + '\n')
        for c, word in ((m, 'from m'), (n, 'from n')):
            equal(json.loads(text_of(c.answer(ids[c])))['result'], {'word': word})
        # an error, and what is no answer
        for answer, code in (({'error': {'code': -1, 'message': 'no'}}, -1), ({'result': 7}, -32603)):
            id = m.send('tools/call', name='x__ask', arguments={'method': 'roots/list'})
            q = m.until(lambda: [x for x in m.notes if x['method'] == 'roots/list'], 'a question')[0]
            m.notes.remove(q)
            m.write(json.dumps({'jsonrpc': '2.0', 'id': q['id'], **answer}) + '\n')
            equal(json.loads(text_of(m.answer(id)))['error']['code'], code)
        # who cannot be asked is not
        for c, method in ((mute, 'sampling/createMessage'), (modern, 'sampling/createMessage'), (m, 'elicitation/create'), (m, 'nonsense')):
            equal(json.loads(text_of(c.call('x__ask', method=method)))['error']['code'], -32601)
            check(not [x for x in c.notes if x['method'] == method])
        # nor for ever
        m.notes.clear()
        id = m.send('tools/call', name='x__ask', arguments={'method': 'roots/list'})
        q = m.until(lambda: [x for x in m.notes if x['method'] == 'roots/list'], 'a question')[0]
        m.notify('notifications/cancelled', requestId=id)
        equal(m.note('notifications/cancelled')['requestId'], q['id'])
        for c in (m, n):
            equal(text_of(c.call('x__echo', v=1)), '{"v": 1}')


@test
def an_answer_to_an_earlier_flowd_is_none():
    with instance(args='--more=ask', tier='warm', pool_keys={'Min': 0, 'Max': 2}, **SESSION) as f, \
            Mcp([FLOWCTL, '--runtime=' + f.runtime, 'mcp'], capabilities={'roots': {}}) as m:
        known(m, OWN + 1)
        asked = []
        for _ in range(2):
            id = m.send('tools/call', name='x__ask', arguments={'method': 'roots/list'})
            q = m.until(lambda: [x for x in m.notes if x['method'] == 'roots/list'], 'a question')[0]
            m.notes.remove(q)
            asked.append(q['id'])
            if len(asked) == 1:
                m.notify('notifications/cancelled', requestId=id)  # so that nobody waits for it
                m.note('notifications/cancelled')
                f.stop()
                f.start()
                known(m, OWN + 1)
        for q, word in zip(asked, ('old', 'new')):
            m.write(json.dumps({'jsonrpc': '2.0', 'id': q, 'result': {'word': word}}) + '\n')
        equal(json.loads(text_of(m.answer(id)))['result'], {'word': 'new'})


@test
def a_question_outlives_a_look_at_its_job():
    with instance(args='--more=ask', tier='warm', pool_keys={'Min': 0, 'Max': 2}, **SESSION) as f, client(f, capabilities={'roots': {}}) as m:
        known(m, OWN + 1)
        id = m.send('tools/call', name='x__ask', arguments={'method': 'roots/list'})
        q = m.until(lambda: [x for x in m.notes if x['method'] == 'roots/list'], 'a question')[0]
        job = m.tool('job_list', method='ask')['jobs'][0]['job_id']
        look = m.send('tools/call', name='job_result', arguments={'job_id': job, 'wait': 60})
        m.notify('notifications/cancelled', requestId=look)
        equal(m.request('ping'), {})
        check(not [x for x in m.notes if x['method'] == 'notifications/cancelled'], m.notes)
        m.write(json.dumps({'jsonrpc': '2.0', 'id': q['id'], 'result': {'roots': []}}) + '\n')
        equal(json.loads(text_of(m.answer(id)))['result'], {'roots': []})


@test
def a_shared_server_asks_nobody():
    with instance(args='--more=ask') as f, client(f, capabilities={'sampling': {}}) as m:
        known(m, OWN + 1)
        equal(json.loads(text_of(m.call('x__ask', method='sampling/createMessage')))['error']['code'], -32601)
        check(not [x for x in m.notes if x['method'] == 'sampling/createMessage'])


@test
def a_question_through_the_bridge():
    with instance(args='--more=ask', tier='warm', pool_keys={'Min': 0, 'Max': 2}, **SESSION) as f, \
            Mcp([FLOWCTL, '--runtime=' + f.runtime, 'mcp'], capabilities={'elicitation': {}}, env=f.environment()) as m:
        known(m, OWN + 1)
        id = m.send('tools/call', name='x__ask', arguments={'method': 'elicitation/create'})
        q = m.until(lambda: [x for x in m.notes if x['method'] == 'elicitation/create'], 'a question')[0]
        m.write(json.dumps({'jsonrpc': '2.0', 'id': q['id'], 'result': {'action': 'decline'}}) + '\n')
        equal(json.loads(text_of(m.answer(id)))['result'], {'action': 'decline'})


# --- the rest ---

@test
def only_what_reads_is_cached():
    with instance(args='--more=reader,writer', Cacheable='reader writer read-not', Version='1') as f, client(f) as m, client(f) as n:
        known(m, OWN + 2)
        first = text_of(m.call('x__reader', a=1))
        wait_until(lambda: text_of(n.call('x__reader', a=1)) == first)
        ran = f.pool('x')['completed']
        equal([text_of(c.call('x__reader', a=1)) for c in (m, n)], [first, first])
        check(text_of(m.call('x__reader', a=2)) != first)
        for _ in range(3):
            equal(text_of(m.call('x__writer', a=1)), '{"a": 1}')
        f.logged('Results of writer of worker type x are not kept', 'readOnlyHint')
        equal(f.log().count('Results of writer'), 1)
        check(f.pool('x')['completed'] >= ran)


@test
def a_reexec_keeps_connections_and_calls():
    with instance(args='--more=ask', tier='warm', pool_keys={'Min': 0, 'Max': 3}, **SESSION) as f, client(f, capabilities={'sampling': {}}) as m:
        known(m, OWN + 1)
        pid = text_of(m.call('x__pid'))
        g = f.gate()
        id = m.send('tools/call', name='x__gate', arguments={'path': g.path})
        asked = m.send('tools/call', name='x__ask', arguments={'method': 'sampling/createMessage'})
        q = m.until(lambda: [x for x in m.notes if x['method'] == 'sampling/createMessage'], 'a question')[0]
        equal(f.flowctl('reexec').returncode, 0)
        m.write(json.dumps({'jsonrpc': '2.0', 'id': q['id'], 'result': {'word': 'w'}}) + '\n')
        equal(json.loads(text_of(m.answer(asked)))['result'], {'word': 'w'})
        g.open()
        equal(text_of(m.answer(id)), g.path)
        known(m, OWN + 1)
        equal(text_of(m.call('x__pid')), pid)


main()
