#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The MCP socket: both eras, flowd's own tools, resources, prompts, and what a client may not do."""

import re
import select
import threading

from flowtest import *
from flowtest_mcp import *

try:
    import jsonschema
except ImportError:
    jsonschema = None


def instance(**keys):
    conf = {'Store': 'no', **keys.pop('conf', {})}
    return Flowd(workers={'zoo': worker(zoo() + ' --slots=4'), 'cat': worker('/bin/cat', 'exec', Output='text')},
                 pools={'hot': pool('zoo', Max=2), 'cold': pool('cat', 'cold', Max=2)}, conf=conf, **keys)


def client(f, version=LATEST, **keys):
    return Mcp(f.runtime + '/mcp', version, **keys)


# --- handshakes, envelopes ---

@test
def each_version_is_spoken():
    with instance() as f:
        for v in LEGACY:
            with client(f, v) as m:
                equal(m.hello['protocolVersion'], v)
                equal(m.hello['serverInfo']['name'], 'flowd')
                check(m.hello['capabilities']['resources']['subscribe'])
                equal(m.request('ping'), {})
                r = m.call('pool_execute', pool_id='hot', prompt='hällo')
                equal('structuredContent' in r, v >= '2025-06-18')
                equal(json.loads(r['content'][0]['text'])['output'], 'hällo')
                tools = {t['name']: t for t in m.listed('tools/list', 'tools')}
                equal('annotations' in tools['pool_list'], v >= '2025-03-26')
                equal('outputSchema' in tools['pool_list'], v >= '2025-06-18')


@test
def an_unknown_version_gets_the_latest_legacy_one():
    with instance() as f, client(f, '1999-01-01') as m:
        equal(m.hello['protocolVersion'], LATEST)
        equal(m.request('initialize', protocolVersion='2025-06-18', capabilities={})['protocolVersion'], '2025-06-18')


@test
def the_modern_era_needs_no_handshake():
    with instance() as f, client(f, MODERN) as m:
        d = m.request('server/discover')
        equal(d['supportedVersions'], [MODERN])
        equal((d['resultType'], d['cacheScope'], type(d['ttlMs'])), ('complete', 'private', int))
        equal(d['_meta'][META + 'serverInfo']['name'], 'flowd')
        check(META + 'tasks' in d['capabilities']['extensions'])
        r = m.call('pool_execute', pool_id='hot', prompt='x')
        equal((r['resultType'], r['structuredContent']['output']), ('complete', 'x'))
        for method, key in (('tools/list', 'tools'), ('prompts/list', 'prompts'), ('resources/list', 'resources'),
                            ('resources/templates/list', 'resourceTemplates')):
            r = m.request(method)
            check(r[key] and r['ttlMs'] >= 0 and r['cacheScope'] == 'private' and r['resultType'] == 'complete')
        r = m.request('resources/read', uri='flow://events')
        check(r['ttlMs'] >= 0 and r['cacheScope'] == 'private')
        for gone in ('initialize', 'ping', 'logging/setLevel', 'resources/subscribe', 'resources/unsubscribe', 'tasks/list', 'nonsense'):
            mcp_error(-32601, m.request, gone)


@test
def the_eras_do_not_mix():
    with instance() as f, client(f) as m:
        mcp_error(-32602, m.request, 'server/discover')  # without its version
        e = mcp_error(-32022, m.request, 'tools/list', meta={META + 'protocolVersion': '1900-01-01', META + 'clientCapabilities': {}})
        equal(e.data, {'supported': [MODERN], 'requested': '1900-01-01'})
        mcp_error(-32602, m.request, 'tools/list', meta={META + 'protocolVersion': MODERN})  # no capabilities
        r = m.request('tools/list', meta={META + 'protocolVersion': MODERN, META + 'clientCapabilities': {}})
        equal(r['resultType'], 'complete')
        check('resultType' not in m.request('tools/list'))  # nothing of it is remembered
        e = mcp_error(-32602, m.request, 'resources/read', uri='flow://pools/none',
                      meta={META + 'protocolVersion': MODERN, META + 'clientCapabilities': {}})
        equal(mcp_error(-32002, m.request, 'resources/read', uri='flow://pools/none').data, {'uri': 'flow://pools/none'})


@test
def ids_come_back_as_they_were():
    with instance() as f, client(f) as m:
        for text in ('7', '-3', '12345678901234567890123', '1.5', '"a"', '"ü\\u00fc\\n"', '""'):
            m.write('{"jsonrpc":"2.0","method":"ping","id":%s}\r\n' % text)
            n = len(m.lines)
            m.until(lambda: len(m.lines) > n, 'an answer')
            check(b'"id":' + text.encode() + b',' in m.lines[-1], text, m.lines[-1])
        # one in flight is not taken twice
        g = f.gate()
        a = m.send('tools/call', id='x', name='pool_execute', arguments={'pool_id': 'hot', 'method': 'gate', 'prompt': g.path})
        m.write('{"jsonrpc":"2.0","method":"ping","id":"\\u0078"}\n')
        mcp_error(-32600, m.answer, 'x')
        g.open()
        equal(m.answer(a)['structuredContent']['status'], 'completed')


@test
def what_is_no_message_is_told_and_survived():
    with instance() as f, client(f) as m:
        m.write('\n  \r\nnonsense\n{"jsonrpc":"2.0"}\n[]\n{"jsonrpc":"2.0","method":"ping","id":null}\n{"jsonrpc":"1.0","method":"ping","id":9}\n')
        m.until(lambda: len(m.orphans) >= 4, 'errors')
        equal([e['code'] for e in m.orphans], [-32700, -32600, -32600, -32600])
        mcp_error(-32600, m.answer, 9)
        m.write('{"jsonrpc":"2.0","method":"ping","method":"ping","id":10}\n')  # whose id is the one that was meant?
        equal(m.until(lambda: m.orphans[4:], 'an error')[0]['code'], -32600)
        m.notify('notifications/unknown', x=1)
        m.notify('notifications/cancelled', requestId=4711)
        m.write('{"jsonrpc":"2.0","id":77,"result":{}}\n')  # an answer that nobody has asked for
        mcp_error(-32601, m.request, 'nonsense')
        mcp_error(-32601, m.request, 'notifications/initialized')
        equal(m.request('ping'), {})
    with instance() as f, client(f, '2025-06-18') as m:  # that version has no errors without an id
        m.write('nonsense\n')
        equal(m.request('ping'), {})
        equal(m.orphans, [])


@test
def garbage_harms_nobody():
    import random
    seed = random.Random(7)
    line = json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': 'tools/call', 'params': {'name': 'pool_execute', 'arguments': {
        'pool_id': 'hot', 'prompt': 'x', 'timeout': 5}, '_meta': {'progressToken': 1}}}).encode()
    with instance() as f, client(f) as good:
        fds = fds_of(f.pid)
        for n in range(150):
            s = socket.socket(socket.AF_UNIX)
            s.connect(f.runtime + '/mcp')
            if n % 3 == 0:
                data = seed.randbytes(seed.randrange(1, 3000))
            elif n % 3 == 1:  # a message with some bytes changed
                data = bytearray(line + b'\n')
                for _ in range(seed.randrange(1, 6)):
                    data[seed.randrange(len(data))] = seed.randrange(256)
            else:  # a part of one
                data = line[:seed.randrange(len(line))]
            with contextlib.suppress(OSError):
                s.sendall(bytes(data))
            if n % 2:
                s.close()
            else:
                s.shutdown(socket.SHUT_WR)
                s.settimeout(20 * SLOW)
                with contextlib.suppress(ConnectionResetError):
                    while s.recv(65536):
                        pass
                s.close()
        equal(good.tool('pool_execute', pool_id='hot', prompt='still here')['output'], 'still here')
        wait_until(lambda: fds_of(f.pid) <= fds + 1, 20, 'the connections to be closed')


@test
def too_long_a_line_is_passed_over():
    with instance(conf={'JsonMax': '128K'}) as f, client(f) as m:
        m.write('{"jsonrpc":"2.0","method":"ping","id":1,"params":{"x":"' + 'y' * 400_000 + '"}}\n')
        m.until(lambda: m.orphans, 'an error')
        contains(m.orphans[0]['message'], 'JsonMax=', '128K')
        equal(m.request('ping'), {})
        m.write(' ' * 200_000 + '\n')
        equal(m.request('ping'), {})
        equal(len(m.orphans), 2)


@test
def batches_in_the_one_version_that_has_them():
    with instance() as f:
        with client(f, '2025-03-26') as m:
            g = f.gate()
            m.write(json.dumps([m.message('ping', {}, 'a'), m.message('notifications/x', {}), m.message('nonsense', {}, 'b'),
                                m.message('tools/call', {'name': 'pool_execute', 'arguments': {'pool_id': 'hot', 'method': 'gate', 'prompt': g.path}}, 'c'),
                                m.message('initialize', {'protocolVersion': LATEST}, 'd'), 5]) + '\n')
            equal(m.request('ping'), {})  # is not held up by it
            equal(m.batches, [])
            g.open()
            m.until(lambda: m.batches, 'the batch')
            by_id = {r['id']: r for r in m.batches[0] if 'id' in r}
            equal(sorted(by_id), ['a', 'b', 'c', 'd'])
            equal((by_id['b']['error']['code'], by_id['d']['error']['code']), (-32601, -32600))
            equal(json.loads(by_id['c']['result']['content'][0]['text'])['status'], 'completed')
            m.write('[{"jsonrpc":"2.0","method":"notifications/x"}]\n')  # has no answer
            equal(m.request('ping'), {})
            equal(len(m.batches), 1)
            # what stays open would hold up the others
            meta = {META + 'protocolVersion': MODERN, META + 'clientCapabilities': {}}
            m.write(json.dumps([m.message('subscriptions/listen', {'notifications': {}, '_meta': meta}, 'l'), m.message('ping', {}, 'p')]) + '\n')
            m.until(lambda: len(m.batches) == 2, 'the batch')
            equal({r['id']: r.get('error', {}).get('code') for r in m.batches[1]}, {'l': -32600, 'p': None})
        with client(f, '2025-06-18') as m:
            m.write('[{"jsonrpc":"2.0","method":"ping","id":1000}]\n')
            equal(m.request('ping'), {})
            equal((m.batches, m.answers), ([], {}))


@test
def batches_that_wait_are_bounded():
    with instance(conf={'ClientBufferMax': '1M'}) as f, client(f, '2025-03-26') as m:
        g = f.gate()
        gate = m.message('tools/call', {'name': 'pool_execute', 'arguments': {'pool_id': 'hot', 'method': 'gate', 'prompt': g.path}}, 'g')
        reads = [m.message('resources/templates/list', {}, 'r%d' % i) for i in range(99)]
        try:
            for k in range(64):
                m.write(json.dumps([{**q, 'id': '%s-%d' % (q['id'], k)} for q in (gate, *reads)]) + '\n')
                m.pump()
            m.until(lambda: False, 'the end of the connection')
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass
        f.logged('wait for the rest of their batches')
        with client(f) as n:
            equal(n.request('ping'), {})


# --- tools ---

@test
def tools_are_described():
    if not jsonschema:
        skip('python3-jsonschema is not installed')
    with instance() as f, client(f) as m:
        tools = m.listed('tools/list', 'tools')
        names = [t['name'] for t in tools]
        flow = names.index('add_task')  # those of sessions stand behind the others
        equal((names[:flow], names[flow:]), (sorted(names[:flow]), sorted(names[flow:])))
        equal(tools, m.listed('tools/list', 'tools'))
        for t in tools:
            for key in ('inputSchema', 'outputSchema'):
                jsonschema.Draft202012Validator.check_schema(t[key])
                equal(t[key]['type'], 'object')
            check(len(t['description']) > 20 and len(t['name']) <= 40 and t['title'])
            equal(sorted(t['annotations']), ['destructiveHint', 'idempotentHint', 'openWorldHint', 'readOnlyHint', 'title'])
            for p in t['inputSchema']['properties'].values():
                check(p['description'])
                if 'default' in p:
                    jsonschema.validate(p['default'], p)


def validated(m, seen):
    """Makes m.call() hold each result against the schema of its tool."""
    schemas = {t['name']: t['outputSchema'] for t in m.listed('tools/list', 'tools')}
    plain = m.call

    def call(tool, /, meta=None, **arguments):
        r = plain(tool, meta, **arguments)
        jsonschema.Draft202012Validator(schemas[tool]).validate(r['structuredContent'])
        equal(json.loads(r['content'][0]['text']), r['structuredContent'])
        seen.add(tool)
        return r
    m.call = call
    return set(schemas)


@test
def each_tool_answers_as_its_schema_says():
    if not jsonschema:
        skip('python3-jsonschema is not installed')
    seen = set()
    with instance(conf={'Store': 'yes'}) as f, client(f) as m:
        names = validated(m, seen)
        rows = m.tool('pool_list')['pools']
        equal([r['pool_id'] for r in rows], ['cold', 'hot'])
        equal(set(rows[0]) >= {'pool_id', 'pool_type', 'name', 'status', 'workers', 'min_workers', 'max_workers'}, True)
        r = m.tool('pool_execute', pool_id='hot', prompt='text', timeout=30)
        equal((r['pool_id'], r['status'], r['output'], r['error']), ('hot', 'completed', 'text', None))
        check(r['worker_id'].startswith('hot/') and r['duration'] >= 0)
        equal(m.tool('pool_execute', pool_id='hot', prompt='AAEC/w==', kind='bytes')['output'], 'AAEC/w==')
        r = m.tool('pool_execute', pool_id='hot', prompt='{"a":[1,2.50]}', kind='json')
        equal((r['kind'], r['output']), ('json', '{"a":[1,2.50]}'))
        equal(m.failed('pool_execute', pool_id='hot', prompt='x', method='fail')['status'], 'failed')
        equal(m.failed('pool_execute', pool_id='hot', prompt='x', method='sleep:60000', timeout=1)['status'], 'timeout')
        equal(m.failed('pool_execute', pool_id='none', prompt='x')['code'], 'NoSuchPool')
        equal(m.tool('pool_route_execute', prompt='x', tier='hot')['pool_id'], 'hot')
        r = m.call('pool_execute_batch', pool_id='hot', prompts=['p%d' % i for i in range(50)])['structuredContent']
        equal({k: v['output'] for k, v in r['results'].items()}, {str(i): 'p%d' % i for i in range(50)})
        equal((r['completed'], r['failed'], r['status']), (50, 0, 'completed'))
        equal(m.failed('pool_execute_batch', pool_id='none', prompts=['a'])['results']['0']['code'], 'NoSuchPool')
        mon = m.tool('pool_monitor')
        equal(sorted(mon), ['cold', 'hot'])
        check(mon['hot']['metrics']['tasks_completed'] >= 54 and mon['hot']['metrics']['tasks_failed'] == 1, mon)
        check(mon['hot']['metrics']['memory_usage_mb'] > 0 and mon['hot']['metrics']['avg_task_duration'] > 0)
        equal(m.tool('pool_monitor', pool_ids=['cold', 'none'])['none']['status'], 'unknown')
        equal(m.tool('pool_scale', pool_id='hot', target_workers=2)['status'], 'scaled')
        for pool_id, n in (('hot', 99), ('cold', 1), ('none', 1)):
            equal(m.failed('pool_scale', pool_id=pool_id, target_workers=n)['status'], 'failed')
        h = m.tool('pool_health')
        equal((h['status'], len(h['pools'])), ('healthy', 2))
        j = m.tool('job_submit', prompt='kept ü', pool_id='hot', session='needle', key='k1')
        equal(m.tool('job_submit', prompt='kept ü', pool_id='hot', session='needle', key='k1'),
              {'job_id': j['job_id'], 'status': 'duplicate', 'duplicate': True})
        r = m.tool('job_result', job_id=j['job_id'], wait=20)
        equal((r['status'], r['data'], r['size'], r['next_offset'], r['encoding']), ('completed', 'kept ü', 7, None, 'utf-8'))
        r = m.tool('job_result', job_id=j['job_id'], length=6)
        equal((r['data'], r['next_offset']), ('kept ', 5))  # not within a character
        r = m.tool('job_result', job_id=j['job_id'], offset=6)
        equal((r['encoding'], base64.b64decode(r['data'])), ('base64', 'ü'.encode()[1:]))
        equal(m.tool('job_status', job_id=j['job_id'])['session'], 'needle')
        equal(m.failed('job_status', job_id='!')['code'], 'NoSuchJob')
        equal(m.failed('job_status', job_id='0000000000001')['code'], 'NoSuchJob')
        equal(m.tool('job_list', session='needle')['jobs'][0]['job_id'], j['job_id'])
        equal(m.tool('job_list', status='failed', pool_id='hot')['jobs'][0]['status'], 'failed')
        found = m.tool('pool_search_memory', query='NEEDLE')['results']
        equal([x['metadata']['job_id'] for x in found], [j['job_id']])
        equal(found[0]['metadata']['pool_type'], 'local')
        equal(m.tool('pool_search_memory', query='in no job at all')['results'], [])
        equal(m.tool('job_cancel', job_id=j['job_id'])['cancelled'], False)
        p = m.tool('pool_spawn', worker_type='zoo', name='more', min_workers=1, max_workers=2)
        equal((p['status'], p['name'], p['min_workers'], p['max_workers'], p['kept']), ('created', 'more', 1, 2, True))
        equal(m.tool('pool_close', pool_id=p['pool_id']), {'pool_id': p['pool_id'], 'status': 'closed'})
        equal(m.tool('pool_close_all'), {'pools_closed': 0, 'status': 'all_closed'})
        g = f.gate()
        j = m.tool('job_submit', prompt=g.path, method='gate', pool_id='hot')
        equal(m.tool('job_result', job_id=j['job_id'])['size'], 0)
        equal(m.tool('job_cancel', job_id=j['job_id']), {'job_id': j['job_id'], 'cancelled': True, 'status': 'cancelled'})
        equal({n for n in names if n.startswith(('pool_', 'job_'))} - seen, set())  # test-mcp-flow.py has the others


@test
def routes():
    with Flowd(workers={'zoo': worker(zoo()), 'cat': worker('/bin/cat', 'exec', Output='text')},
               pools={'a': pool('zoo', Max=1), 'b': pool('zoo', Max=1), 'c': pool('cat', 'cold', Max=1)}) as f, client(f) as m:
        def where(**keys):
            return m.tool('pool_route_execute', prompt='x', **keys)
        equal({where(pool_selector='round_robin', tier='hot')['pool_id'] for _ in range(4)}, {'a', 'b'})
        equal({where(pool_affinity='b')['pool_id'] for _ in range(4)}, {'b'})
        r = where(pool_affinity='b', pool_selector='affinity')
        equal((r['pool_id'], r['affinity'], r['tier']), ('b', 'hit', 'hot'))
        equal(where(pool_affinity='none', pool_selector='affinity', tier='hot')['affinity'], 'fallback')
        first = where(session='s', pool_selector='affinity', tier='hot')
        equal({where(session='s', pool_selector='affinity', tier='hot')['pool_id'] for _ in range(4)}, {first['pool_id']})
        equal(where(worker_type='cat')['pool_id'], 'c')
        equal(m.failed('pool_route_execute', prompt='x', pool_affinity='a', pool_selector='random')['code'], 'InvalidArguments')
        equal(m.failed('pool_route_execute', prompt='x', worker_type='none')['status'], 'failed')
        equal(m.tool('pool_execute_batch', prompts=['x'] * 8, tier='hot')['completed'], 8)


@test
def pools_are_spawned_and_closed():
    with instance() as f, client(f) as m:
        p = m.tool('pool_spawn', worker_type='zoo')
        equal((p['min_workers'], p['max_workers'], p['kept']), (1, 10, False))
        m.note('notifications/resources/list_changed')
        equal(m.tool('pool_execute', pool_id=p['pool_id'], prompt='by id')['output'], 'by id')
        equal(m.tool('pool_execute', pool_id=p['name'], prompt='by name')['output'], 'by name')
        row = [x for x in m.tool('pool_list')['pools'] if x['name'] == p['name']][0]
        equal((row['pool_id'], row['pool_type'], row['tier']), (p['pool_id'], p['pool_type'], 'warm'))
        both = m.tool('pool_monitor', pool_ids=[p['pool_id'], p['name'], p['pool_id']])
        equal({k: v['metrics']['tasks_completed'] for k, v in both.items()}, {p['pool_id']: 2, p['name']: 2})
        check(p['pool_id'] in m.tool('pool_monitor'))
        equal(m.tool('pool_scale', pool_id=p['name'], target_workers=2)['pool_id'], p['pool_id'])
        equal(len(m.tool('job_list', pool_id=p['pool_id'])['jobs']), 2)
        for bad, code in (({'worker_type': 'none'}, 'InvalidPool'), ({'worker_type': 'zoo', 'name': p['name']}, 'PoolExists'),
                          ({'worker_type': 'zoo', 'min_workers': 5, 'max_workers': 2}, 'InvalidPool'),
                          ({'worker_type': 'zoo', 'pool_type': 'x'}, 'InvalidPool')):
            equal(m.failed('pool_spawn', **bad)['code'], code)
        equal(m.failed('pool_close', pool_id='hot')['code'], 'NotSpawned')
        equal(m.failed('pool_close', pool_id='none')['code'], 'NoSuchPool')
        # it is closed when it is gone, not before
        g = f.gate()
        run = m.send('tools/call', name='pool_execute', arguments={'pool_id': p['pool_id'], 'prompt': g.path, 'method': 'gate'})
        wait_until(lambda: f.pool(p['name'])['running'] == 1, 20, 'the job to run')
        close = m.send('tools/call', name='pool_close', arguments={'pool_id': p['pool_id']})
        wait_until(lambda: f.pool(p['name'])['state'] == 'draining', 20, 'it to close')
        check(json.dumps(close) not in m.answers)
        g.open()
        equal(m.answer(run)['structuredContent']['status'], 'completed')
        equal(m.answer(close)['structuredContent'], {'pool_id': p['pool_id'], 'status': 'closed'})
        equal([x['name'] for x in f.call('ListPools')['pools']], ['cold', 'hot'])
        for name in ('a', 'b', 'c'):
            m.tool('pool_spawn', worker_type='zoo', name=name)
        equal(m.tool('pool_close_all'), {'pools_closed': 3, 'status': 'all_closed'})


@test
def who_can_be_asked_is_asked_before_all_is_closed():
    with instance() as f, client(f, MODERN, capabilities={'elicitation': {}}) as m:
        m.tool('pool_spawn', worker_type='zoo', name='a')
        r = m.call('pool_close_all')
        equal((r['resultType'], r['inputRequests']['confirm']['method']), ('input_required', 'elicitation/create'))

        def answered(**answer):
            return m.request('tools/call', name='pool_close_all', arguments={}, inputResponses={'confirm': answer})
        for answer in ({'action': 'decline'}, {'action': 'accept', 'content': {'confirm': False}}, {'action': 'accept', 'content': {}}):
            r = answered(**answer)
            equal((r['isError'], r['structuredContent']['code']), (True, 'Cancelled'))
        equal(answered(action='accept', content={'confirm': True})['structuredContent'], {'pools_closed': 1, 'status': 'all_closed'})


@test
def what_jobs_keep_in_memory_can_be_searched():
    with instance() as f, client(f) as m:
        j = m.tool('job_submit', prompt='a haystack with a Needle in it', pool_id='hot')
        m.tool('job_result', job_id=j['job_id'], wait=20)
        r = m.tool('pool_search_memory', query='needle')['results']
        equal([(x['content'], x['metadata']['job_id']) for x in r], [('a haystack with a Needle in it', j['job_id'])])


@test
def arguments_are_checked():
    bad = [('pool_execute', {'prompt': 'x'}, 'pool_id is missing'), ('pool_execute', {'pool_id': 5, 'prompt': 'x'}, 'pool_id must be a string'),
           ('pool_execute', {'pool_id': 'hot', 'prompt': 'x', 'timeout': 0}, 'whole number'),
           ('pool_execute', {'pool_id': 'hot', 'prompt': 'x', 'timeout': 1.5}, 'whole number'),
           ('pool_execute', {'pool_id': 'hot', 'prompt': 'x', 'kind': 'xml'}, 'one of'),
           ('pool_execute', {'pool_id': 'hot', 'prompt': '{', 'kind': 'json'}, 'JSON'),
           ('pool_execute', {'pool_id': 'hot', 'prompt': '*', 'kind': 'bytes'}, 'base64'),
           ('pool_execute', {'pool_id': 'hot', 'prompt': 'x', 'promt': 'x'}, 'no argument'),
           ('pool_execute', {'pool_id': 'h' * 300, 'prompt': 'x'}, 'at most 255'),
           ('pool_execute_batch', {'prompts': 'x'}, 'array of strings'), ('pool_execute_batch', {'prompts': ['x', 5]}, 'element 1'),
           ('pool_execute_batch', {'prompts': []}, 'empty'), ('pool_execute_batch', {'prompts': ['x'] * 1001}, '1000')]
    with instance() as f:
        with client(f) as m:
            for tool, arguments, part in bad:
                contains(m.failed(tool, **arguments)['error'], part)
            mcp_error(-32602, m.request, 'tools/call', name='none', arguments={})
            mcp_error(-32602, m.request, 'tools/call', name='pool_list', arguments=[])
            mcp_error(-32602, m.request, 'tools/call', arguments={})
            equal(m.tool('pool_execute', pool_id='hot', prompt='a\0b')['output'], 'a\0b')
        with client(f, '2025-06-18') as m:
            mcp_error(-32602, m.call, 'pool_execute', prompt='x')


@test
def a_large_result_comes_by_parts():
    big = 'äb' * 1_000_000
    with instance() as f, client(f) as m:
        r = m.call('pool_execute', pool_id='hot', prompt=big)
        s = r['structuredContent']
        check(s['truncated'] and s['size'] == 3_000_000 and big.startswith(s['output']) and len(s['output']) > 10_000)
        equal([c['type'] for c in r['content']], ['text', 'resource_link'])
        equal(r['content'][1]['uri'], 'flow://jobs/' + s['job_id'])
        data, at = '', 0
        while at is not None:
            part = m.tool('job_result', job_id=s['job_id'], offset=at, length=700_001)
            data, at = data + part['data'], part['next_offset']
        equal(data == big, True)
        # a batch has its results only up to that, too
        r = m.tool('pool_execute_batch', pool_id='hot', prompts=['x' * 700_000] * 3)['results']
        equal([r[i]['truncated'] for i in '012'].count(True), 2)
        for i in '012':
            part = m.call('job_result', job_id=r[i]['job_id'], offset=699_999)
            equal(part['structuredContent'].get('data') == 'x', r[i]['truncated'])


def peak(f):
    """The most memory that flowd has had, in MiB."""
    return int(re.search(r'VmHWM:\s*(\d+)', pathlib.Path('/proc/%d/status' % f.pid).read_text()).group(1)) / 1024


@test
def many_questions_to_the_store_wait_their_turn():
    with instance(conf={'Store': 'yes'}) as f, client(f) as m:
        ids = [m.tool('job_submit', pool_id='hot', prompt='x' * 4000, durable='no')['job_id'] for _ in range(500)]
        for id in ids:
            m.tool('job_result', job_id=id, wait=30, length=1)
        before = peak(f)
        asked = [m.message('tools/call', {'name': 'pool_search_memory', 'arguments': {'query': 'x', 'limit': 1}}, 'q%d' % i) for i in range(300)]
        m.write(''.join(json.dumps(q) + '\n' for q in asked))
        for q in asked:
            equal(len(m.answer(q['id'])['structuredContent']['results']), 1)
        # each of them has what memory knows in hand while the store looks
        check(peak(f) - before < (700 if SANITIZED else 200), 'from %d MiB to %d' % (before, peak(f)))
        # one that was cancelled makes room, too
        for i in range(200):
            m.send('tools/call', id='c%d' % i, **{'name': 'pool_search_memory', 'arguments': {'query': 'x'}})
            m.notify('notifications/cancelled', requestId='c%d' % i)
        equal(m.request('ping'), {})


@test
def progress_only_for_who_asks():
    with instance() as f:
        for v in (LATEST, MODERN):
            with client(f, v) as m:
                m.call('pool_execute', pool_id='hot', prompt='x', method='talk:4')
                equal([n for n in m.notes if n['method'] == 'notifications/progress'], [])
                m.call('pool_execute', {'progressToken': 'tök"en'}, pool_id='hot', prompt='x', method='talk:4')
                p = [n['params'] for n in m.notes if n['method'] == 'notifications/progress']
                check(len(p) >= 3 and all(x['progressToken'] == 'tök"en' and x['total'] == 1 for x in p), p)
                values = [x['progress'] for x in p]
                equal(values, sorted(set(values)))
        with client(f) as m:
            m.call('pool_execute_batch', {'progressToken': 7}, pool_id='hot', prompts=['x'] * 20)
            p = [n['params'] for n in m.notes if n['method'] == 'notifications/progress']
            equal([x['progress'] for x in p], list(range(1, 20)))
            equal({(x['total'], x['progressToken']) for x in p}, {(20, 7)})


@test
def logging_only_from_its_level_on():
    with instance() as f:
        with client(f) as m:
            m.call('pool_execute', pool_id='hot', prompt='x', method='talk:2')
            equal(len(m.notes), 0)
            mcp_error(-32602, m.request, 'logging/setLevel', level='loud')
            equal(m.request('logging/setLevel', level='debug'), {})
            m.call('pool_execute', pool_id='hot', prompt='x', method='talk:2')
            p = m.note('notifications/message', lambda p: p['logger'].startswith('hot/'))
            check(p['level'] in ('info', 'warning', 'debug', 'notice'), p)
            m.call('pool_scale', pool_id='hot', target_workers=2)
            equal(m.note('notifications/message', lambda p: p['logger'] == 'flowd')['data']['pool'], 'hot')
        with client(f, MODERN) as m:
            m.call('pool_execute', pool_id='hot', prompt='x', method='talk:2')
            equal(len(m.notes), 0)
            m.call('pool_execute', {META + 'logLevel': 'debug'}, pool_id='hot', prompt='x', method='talk:2')
            check([n for n in m.notes if n['method'] == 'notifications/message'])
            mcp_error(-32602, m.call, 'pool_list', {META + 'logLevel': 'loud'})


@test
def a_cancelled_call_ends_its_job_unanswered():
    with instance() as f:
        for v in (LATEST, MODERN):
            with client(f, v) as m:
                id = m.send('tools/call', name='pool_execute', arguments={'pool_id': 'hot', 'prompt': 'x', 'method': 'sleep:60000'})
                wait_until(lambda: f.pool('hot')['running'] == 1, 20, 'the job to run')
                m.notify('notifications/cancelled', requestId=id, reason='test')
                wait_until(lambda: f.pool('hot')['running'] == 0, 20, 'the job to end')
                m.call('pool_list')
                check(json.dumps(id) not in m.answers)
                many = m.send('tools/call', name='pool_execute_batch', arguments={'pool_id': 'hot', 'prompts': ['x'] * 20, 'method': 'sleep:60000'})
                wait_until(lambda: f.pool('hot')['running'] > 0, 20, 'jobs to run')
                m.notify('notifications/cancelled', requestId=many)
                wait_until(lambda: f.pool('hot')['running'] + f.pool('hot')['queued'] == 0, 20, 'the jobs to end')
                check(json.dumps(many) not in m.answers)


@test
def a_client_that_leaves_takes_its_jobs_along():
    with instance() as f:
        m = client(f)
        m.send('tools/call', name='pool_execute', arguments={'pool_id': 'hot', 'prompt': 'x', 'method': 'sleep:60000'})
        j = m.tool('job_submit', pool_id='hot', prompt='x', method='sleep:60000')
        wait_until(lambda: f.pool('hot')['running'] == 2, 20, 'the jobs to run')
        m.close()
        wait_until(lambda: f.pool('hot')['running'] == 1, 20, 'one of them to end')
        equal(f.job(j['job_id'])['state'], 'running')  # what was submitted stays
        f.call('CancelJob', id=j['job_id'])


# --- resources, prompts, completion ---

@test
def resources():
    with instance() as f, client(f) as m:
        uris = [r['uri'] for r in m.listed('resources/list', 'resources')]
        equal(uris, ['flow://events', 'flow://pools/cold', 'flow://pools/hot', 'flow://sessions'])
        equal([t['uriTemplate'] for t in m.listed('resources/templates/list', 'resourceTemplates')],
              ['flow://jobs/{id}', 'flow://pools/{name}', 'flow://workers/{id}', 'flow://sessions/{id}', 'flow://sessions/{id}/tasks/{task}'])
        equal(m.read('flow://pools/hot')['name'], 'hot')
        check(m.read('flow://events')['events'])
        equal(m.read('flow://workers/hot/0')['id'], 'hot/0')
        equal(m.read('flow://workers/hot%2F0')['id'], 'hot/0')
        j = m.tool('job_submit', prompt='result', pool_id='hot')['job_id']
        m.tool('job_result', job_id=j, wait=20)
        r = m.read('flow://jobs/' + j)
        equal((r['state'], r['result']), ('completed', 'result'))
        for uri in ('flow://pools/none', 'flow://workers/hot/99', 'flow://workers/hot', 'flow://jobs/!', 'flow://jobs/0000000000001', 'http://x/', ''):
            mcp_error(-32002, m.request, 'resources/read', uri=uri)
        mcp_error(-32602, m.request, 'resources/read')
        mcp_error(-32602, m.request, 'resources/read', uri='x' * 5000)


@test
def pages_are_stable_whatever_comes_in_between():
    names = ['p%03d' % i for i in range(120)]
    with Flowd(workers={'cat': worker('/bin/cat', 'exec')}, pools={n: pool('cat', 'cold', Max=1) for n in names}) as f, client(f) as m:
        sizes = []
        uris = [r['uri'] for r in m.listed('resources/list', 'resources', sizes)]
        equal(uris, ['flow://events'] + ['flow://pools/' + n for n in names] + ['flow://sessions'])
        equal(sizes, [50, 50, 22])
        first = m.request('resources/list')
        f.write_pool('p000a', pool('cat', 'cold', Max=1))
        f.remove('pools/p010.pool')
        f.call('Reload')
        m.note('notifications/resources/list_changed')
        second = m.request('resources/list', cursor=first['nextCursor'])
        equal(second['resources'][0]['uri'], 'flow://pools/p049')
        for bad in ('nonsense', '', 'MSA5IHg=', first['nextCursor'] + '=', 5):
            mcp_error(-32602, m.request, 'resources/list', cursor=bad)
        mcp_error(-32602, m.request, 'tools/list', cursor=first['nextCursor'])


@test
def subscriptions_of_the_legacy_era():
    with instance() as f, client(f) as m, client(f) as other:
        for uri in ('flow://pools/hot', 'flow://events', 'flow://workers/hot/0'):
            equal(m.request('resources/subscribe', uri=uri), {})
        mcp_error(-32002, m.request, 'resources/subscribe', uri='flow://pools/none')
        other.tool('pool_execute', pool_id='hot', prompt='x')
        for uri in ('flow://pools/hot', 'flow://workers/hot/0'):
            m.note('notifications/resources/updated', lambda p: p['uri'] == uri)
        other.tool('pool_scale', pool_id='hot', target_workers=2)
        m.note('notifications/resources/updated', lambda p: p['uri'] == 'flow://events')
        g = f.gate()
        j = other.tool('job_submit', pool_id='hot', method='gate', prompt=g.path)['job_id']
        m.request('resources/subscribe', uri='flow://jobs/' + j)
        g.open()
        m.note('notifications/resources/updated', lambda p: p['uri'] == 'flow://jobs/' + j)
        equal(m.request('resources/unsubscribe', uri='flow://pools/hot'), {})
        m.request('resources/subscribe', uri='flow://pools/cold')
        m.notes.clear()
        other.tool('pool_execute', pool_id='hot', prompt='x')
        other.tool('pool_execute', pool_id='cold', prompt='x')
        m.note('notifications/resources/updated', lambda p: p['uri'] == 'flow://pools/cold')
        equal([n for n in m.notes if n['params'].get('uri') == 'flow://pools/hot'], [])
        for i in range(300):  # the limit has a name
            try:
                m.request('resources/subscribe', uri='flow://jobs/%013d' % i)
            except McpError as e:
                contains(e.message, '256')
                break
        else:
            fail('300 subscriptions')


@test
def subscriptions_of_the_modern_era():
    with instance() as f, client(f, MODERN) as m:
        id = m.send('subscriptions/listen', id='listen-1', notifications={'resourcesListChanged': True, 'toolsListChanged': False,
                                                                          'resourceSubscriptions': ['flow://pools/hot', 'flow://pools/none']})
        p = m.note('notifications/subscriptions/acknowledged')
        equal(p['_meta'], {META + 'subscriptionId': 'listen-1'})
        equal((p['notifications']['resourcesListChanged'], p['notifications']['toolsListChanged']), (True, False))
        equal(p['notifications']['resourceSubscriptions'], ['flow://pools/hot'])
        m.tool('pool_execute', pool_id='hot', prompt='x')
        p = m.note('notifications/resources/updated')
        equal((p['uri'], p['_meta']), ('flow://pools/hot', {META + 'subscriptionId': 'listen-1'}))
        f.write_pool('more', pool('cat', 'cold', Max=1))
        f.call('Reload')
        equal(m.note('notifications/resources/list_changed')['_meta'], {META + 'subscriptionId': 'listen-1'})
        m.notify('notifications/cancelled', requestId=id)
        m.tool('pool_execute', pool_id='hot', prompt='x')
        with client(f) as other:  # who has heard of it, it is told
            other.request('resources/subscribe', uri='flow://pools/hot')
            other.tool('pool_execute', pool_id='hot', prompt='x')
            other.note('notifications/resources/updated')
        m.call('pool_list')
        equal([n for n in m.notes if n['method'] == 'notifications/resources/updated'], [])
        mcp_error(-32602, m.request, 'subscriptions/listen')
        m.send('subscriptions/listen', id=88, notifications={})
        m.note('notifications/subscriptions/acknowledged')
        f.process.send_signal(signal.SIGTERM)
        equal(m.answer(88)['resultType'], 'complete')  # flowd's good-bye


@test
def prompts():
    with instance(conf={'Store': 'yes'}) as f, client(f) as m:
        equal([p['name'] for p in m.listed('prompts/list', 'prompts')], ['diagnose_pool', 'explain_failure', 'plan_session'])
        r = m.request('prompts/get', name='diagnose_pool', arguments={'pool': 'hot'})
        equal([(x['role'], x['content']['type']) for x in r['messages']], [('user', 'text'), ('user', 'resource')])
        contains(r['messages'][0]['content']['text'], "'hot'")
        equal(json.loads(r['messages'][1]['content']['resource']['text'])['pool']['name'], 'hot')
        for durable in ('no', 'yes'):
            j = m.tool('job_submit', pool_id='hot', prompt='x', method='fail', durable=durable)['job_id']
            m.call('job_result', job_id=j, wait=20)
            r = m.request('prompts/get', name='explain_failure', arguments={'job': j})
            contains(r['messages'][0]['content']['text'], j, 'failed')
        for name, arguments in (('none', {}), ('diagnose_pool', {}), ('diagnose_pool', {'pool': 5}), ('diagnose_pool', {'pool': 'none'}),
                                ('explain_failure', {'job': '!'})):
            mcp_error(-32602, m.request, 'prompts/get', name=name, arguments=arguments)


@test
def a_prompt_asks_for_what_is_missing():
    with instance() as f:
        with client(f, MODERN, capabilities={'elicitation': {}}) as m:
            r = m.request('prompts/get', name='diagnose_pool')
            equal(r['resultType'], 'input_required')
            asked = r['inputRequests']['pool']
            equal((asked['method'], asked['params']['requestedSchema']['properties']['pool']['enum']), ('elicitation/create', ['cold', 'hot']))
            r = m.request('prompts/get', name='diagnose_pool', inputResponses={'pool': {'action': 'accept', 'content': {'pool': 'hot'}}})
            equal(r['resultType'], 'complete')
            contains(r['messages'][0]['content']['text'], "'hot'")
            for answer in ({'action': 'decline'}, {'action': 'accept', 'content': {'pool': 'none'}}, {'action': 'accept', 'content': {}}):
                mcp_error(-32602, m.request, 'prompts/get', name='diagnose_pool', inputResponses={'pool': answer})
        with client(f, MODERN) as m:  # nobody can be asked
            mcp_error(-32602, m.request, 'prompts/get', name='diagnose_pool')


@test
def completion():
    with instance() as f, client(f) as m:
        def values(ref, name, value):
            return m.request('completion/complete', ref=ref, argument={'name': name, 'value': value})['completion']
        prompt = {'type': 'ref/prompt', 'name': 'diagnose_pool'}
        equal(values(prompt, 'pool', 'h'), {'values': ['hot'], 'total': 1, 'hasMore': False})
        equal(values(prompt, 'other', '')['values'], [])
        equal(values({'type': 'ref/resource', 'uri': 'flow://workers/{id}'}, 'id', 'hot/')['values'], ['hot/0'])
        j = m.tool('job_submit', pool_id='hot', prompt='x')['job_id']
        equal(values({'type': 'ref/resource', 'uri': 'flow://jobs/{id}'}, 'id', j[:5])['values'], [j])
        mcp_error(-32602, m.request, 'completion/complete', ref=prompt)


# --- tasks ---

TASKS = {'extensions': {META + 'tasks': {}}}


@test
def what_takes_long_becomes_a_task():
    with instance(conf={'Store': 'yes'}) as f:
        with client(f, MODERN, capabilities=TASKS) as m:
            r = m.call('pool_execute', pool_id='hot', prompt='short')
            equal((r['resultType'], r['structuredContent']['output']), ('complete', 'short'))
            g = f.gate()
            t = m.call('pool_execute', pool_id='hot', prompt=g.path, method='gate')
            equal((t['resultType'], t['status']), ('task', 'working'))
            check(t['createdAt'].endswith('Z') and t['pollIntervalMs'] > 0)
            equal(m.request('tasks/get', taskId=t['taskId'])['status'], 'working')
            equal(m.request('tasks/update', taskId=t['taskId'], inputResponses={})['resultType'], 'complete')
        os.kill(f.pid, signal.SIGKILL)
        f.process.wait(30 * SLOW)
        f.start()
        g.open()
        with client(f, MODERN, capabilities=TASKS) as m:  # over another connection, of another flowd
            def ended():
                r = m.request('tasks/get', taskId=t['taskId'])
                return r if r['status'] != 'working' else None
            r = wait_until(ended, 30, 'the task to end', interval=0.1)
            equal((r['resultType'], r['status'], r['result']['structuredContent']['output']), ('complete', 'completed', g.path))
            for bad in (t['taskId'][:-1] + ('0' if t['taskId'][-1] != '0' else '1'), t['taskId'].split('-')[0], '', 5):
                mcp_error(-32602, m.request, 'tasks/get', taskId=bad)
            t = m.call('pool_execute', pool_id='hot', prompt='x', method='sleep:60000')
            m.request('tasks/cancel', taskId=t['taskId'])
            equal(wait_until(ended, 30, 'the task to end', interval=0.1)['status'], 'cancelled')
            t = m.call('pool_execute', pool_id='hot', prompt='x', method='sleep:60000', timeout=4)
            r = wait_until(ended, 30, 'the task to end', interval=0.1)
            equal((r['status'], r['result']['isError'], r['result']['structuredContent']['status']), ('completed', True, 'timeout'))
        with client(f, MODERN) as m:
            e = mcp_error(-32021, m.request, 'tasks/get', taskId=t['taskId'])
            equal(e.data, {'requiredCapabilities': TASKS})


# --- limits ---

@test
def a_slow_reader_is_disconnected():
    with instance(conf={'ClientBufferMax': '1M'}) as f:
        m = client(f)
        before = rss_of(f.pid)
        for _ in range(8):
            m.send('tools/call', name='pool_execute', arguments={'pool_id': 'hot', 'prompt': 'x' * 400_000, 'method': 'sleep:300'})
        f.logged('Disconnected an MCP client', 'does not read', bound=30)
        check(len(m.buffer) == 0)
        check(rss_of(f.pid) < before + 32 * MiB)
        with client(f) as other:
            equal(other.request('ping'), {})
        m.close()
        # one that sends without end and reads nothing is not read from any more, long before that
        m = client(f)
        m.socket.setblocking(False)
        sent = 0
        data = (json.dumps(m.message('tools/list', {}, 5)) + '\n').encode()

        def blocked():
            nonlocal sent
            try:
                sent += m.socket.send(data * 100)
            except BlockingIOError:
                return select.select([], [m.socket], [], 0.5) == ([], [], [])
            return False
        wait_until(blocked, 30, 'flowd to stop reading')
        check(sent < 4 * MiB, sent)
        equal(f.status()['clients'] >= 1, True)
        m.close()


@test
def limits_of_connections_and_jobs():
    with instance(conf={'ConnectionsMax': 4, 'JobsPerClient': 3}) as f:
        clients = [client(f) for _ in range(4)]
        m = client(f, handshake=False)
        m.until(lambda: m.orphans, 'a refusal')
        contains(m.orphans[0]['message'], 'ConnectionsMax=4')
        m.close()
        m = clients[0]
        g = f.gate()
        ids = [m.send('tools/call', name='pool_execute', arguments={'pool_id': 'hot', 'prompt': g.path, 'method': 'gate'}) for _ in range(3)]
        contains(m.failed('pool_execute', pool_id='hot', prompt='x')['error'], 'JobsPerClient=3')
        contains(m.failed('pool_execute_batch', pool_id='hot', prompts=['x'])['error'], 'JobsPerClient=3')
        g.open()
        for id in ids:
            equal(m.answer(id)['structuredContent']['status'], 'completed')
        for c in clients:
            c.close()


@test
def fifty_clients_hear_only_what_is_theirs():
    errors = []

    def one(f, k):
        try:
            with client(f, (LEGACY + [MODERN])[k % 5]) as m:
                ids = {m.send('tools/call', meta={'progressToken': 'c%d-%d' % (k, i)}, id='same-%d' % i, name='pool_execute',
                              arguments={'pool_id': 'hot', 'prompt': 'c%d-%d' % (k, i), 'method': 'talk:2'}): 'c%d-%d' % (k, i) for i in range(20)}
                for id, text in ids.items():
                    equal(json.loads(m.answer(id)['content'][0]['text'])['output'], text)
                for n in m.notes:
                    check(n['params']['progressToken'].startswith('c%d-' % k), 'a note of somebody else', n)
        except BaseException as e:
            errors.append((k, repr(e)))
    with instance() as f:
        threads = [threading.Thread(target=one, args=(f, k)) for k in range(50)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    equal(errors, [])


@test
def levels_decide_what_is_shown_and_allowed():
    if os.getuid() != 0:
        skip('needs root, to be somebody else')
    import grp
    groups = [g.gr_name for g in grp.getgrall() if g.gr_gid != 0][:3]
    with instance(conf={'ObserveGroup': groups[0], 'SubmitGroup': groups[1], 'AdminGroup': groups[2]}) as f:
        code = """
import os, sys
sys.path.insert(0, %r)
from flowtest_mcp import *
gid = int(sys.argv[1])
os.setgroups([gid] if gid else []); os.setgid(65534); os.setuid(65534)
with Mcp(sys.argv[2]) as m:
    names = [t['name'] for t in m.listed('tools/list', 'tools')]
    def code(tool, **a):
        r = m.call(tool, **a)
        return r['structuredContent'].get('code') if r.get('isError') else None
    def read():
        try:
            m.read('flow://pools/hot'); return True
        except McpError: return False
    print(json.dumps([names, code('pool_list'), code('pool_execute', pool_id='hot', prompt='x'), code('pool_scale', pool_id='hot', target_workers=2), read(),
                      m.hello['instructions'], m.call('pool_list')['content'][0]['text']]))
""" % str(SRC / 'tests' / 'integration')

        def ask(group):
            gid = grp.getgrnam(group).gr_gid if group else 0
            r = subprocess.run([sys.executable, '-c', code, str(gid), f.runtime + '/mcp'], capture_output=True, timeout=60 * SLOW)
            check(r.returncode == 0, r.stderr.decode())
            return json.loads(r.stdout)
        names, a, b, c, read, text, answer = ask(None)
        equal((names, a, b, c, read), ([], 'NotPermitted', 'NotPermitted', 'NotPermitted', False))
        contains(text, groups[0])
        contains(answer, groups[0])
        names, a, b, c, read, *_ = ask(groups[0])
        equal((a, b, c, read), (None, 'NotPermitted', 'NotPermitted', True))
        check('pool_list' in names and 'pool_execute' not in names)
        names, a, b, c, read, *_ = ask(groups[1])
        equal((a, b, c, read), (None, None, None, True))
        check('pool_scale' in names)


# --- re-exec ---

@test
def a_reexec_loses_nothing():
    with instance(conf={'Store': 'yes'}) as f, client(f) as m, client(f, MODERN) as n, client(f, '2025-03-26') as b:
        g = f.gate()
        m.request('logging/setLevel', level='notice')
        m.request('resources/subscribe', uri='flow://pools/hot')
        n.send('subscriptions/listen', id='L', notifications={'resourceSubscriptions': ['flow://pools/hot']})
        n.note('notifications/subscriptions/acknowledged')
        gate = {'pool_id': 'hot', 'prompt': g.path, 'method': 'gate'}
        run = m.send('tools/call', name='pool_execute', arguments=gate)
        many = n.send('tools/call', meta={'progressToken': 1}, name='pool_execute_batch',
                      arguments={'pool_id': 'hot', 'prompts': [g.path] * 3, 'method': 'gate'})
        j = n.tool('job_submit', **gate)['job_id']
        waiting = n.send('tools/call', name='job_result', arguments={'job_id': j, 'wait': 60})
        b.write(json.dumps([b.message('ping', {}, 'p'), b.message('tools/call', {'name': 'pool_execute', 'arguments': gate}, 'q')]) + '\n')
        wait_until(lambda: f.pool('hot')['running'] + f.pool('hot')['queued'] == 6, 20, 'the jobs')
        half = json.dumps(m.message('ping', {}, 'half'))
        m.write(half[:20])
        f.call('Reexec')
        m.write(half[20:] + '\n')
        equal(m.answer('half'), {})
        g.open()
        equal(m.answer(run)['structuredContent']['status'], 'completed')
        equal(n.answer(many)['structuredContent']['completed'], 3)
        equal(n.answer(waiting)['structuredContent']['data'], g.path)
        b.until(lambda: b.batches, 'the batch')
        equal(sorted(r['id'] for r in b.batches[0]), ['p', 'q'])
        m.note('notifications/resources/updated')
        equal(n.note('notifications/resources/updated')['_meta'], {META + 'subscriptionId': 'L'})
        equal(m.tool('pool_execute', pool_id='hot', prompt='after')['output'], 'after')
        f.write_conf('[Flowd]\nStore=yes\n')
        m.tool('pool_scale', pool_id='hot', target_workers=2)
        j = m.failed('pool_execute', pool_id='hot', prompt='x', method='fail')['job_id']
        m.note('notifications/message', lambda p: p['data'].get('job') == j)  # the level is remembered


@test
def results_that_wait_for_others_survive_a_reexec():
    with instance() as f, client(f) as m:
        g = f.gate()
        f.gate()
        id = m.send('tools/call', name='pool_execute_batch', arguments={'pool_id': 'hot', 'prompts': [g.path, __file__], 'method': 'gate'})
        wait_until(lambda: f.pool('hot')['completed'] == 1 and f.pool('hot')['running'] == 1, 20, 'the second to end')
        f.call('Reexec')
        g.open()
        r = m.answer(id)['structuredContent']['results']
        equal((r['0']['output'], r['1']['output']), (g.path, __file__))


main()
