#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""MCP servers as workers: what they are told, what becomes of what they say, and that a bad one harms only its own calls."""

from flowtest import *

KEYS = {'StopTimeout': '500ms', 'CancelTimeout': '20s', 'Slots': 4}
POOL = {'Max': 1, 'RestartDelay': '10ms', 'RestartDelayMax': '50ms', 'BreakerCrashes': 90}


@contextlib.contextmanager
def mcp(args='', pool_keys=None, conf=None, tier='hot', **keys):
    with Flowd(workers={'x': worker(zoo_mcp() + ' ' + args, 'mcp', **{**KEYS, **keys}), 'good': worker(zoo())},
               pools={'x': pool('x', tier, **{**POOL, **(pool_keys or {})}), 'good': pool('good', Max=1)}, conf=conf) as f:
        f.events
        with Traffic(f, 'good'):
            yield f
        equal(f.status()['pid'], f.pid)
        equal(f.pool('good')['spawned'], 1)


def call(j, tool, wait=None, **arguments):
    return j.run('x', json.dumps(arguments).encode(), tool, kind=JSON, wait=wait)


def submit(j, tool, items=None, **arguments):
    return j.submit('x', json.dumps(arguments).encode(), tool, kind=JSON, **(items or {}))


def text_of(r):
    return json.loads(completed(r).payload)['content'][0]['text']


def serves(f):
    with f.jobs() as j:
        equal(text_of(call(j, 'echo', again=1)), '{"again": 1}')


def counts(j):
    return json.loads(text_of(call(j, 'counts')))


def tools(f):
    return f.call('PoolTools', pool='x')


def known(f, n=12):
    return wait_until(lambda: (lambda t: t if t['known'] and not t['asking'] and len(t['tools']) == n else None)(tools(f)), what='the list of %d tools' % n)


# --- calls ---

@test
def calls_of_tools_and_requests():
    with mcp() as f, f.jobs() as j:
        equal(text_of(call(j, 'echo', a=1)), '{"a": 1}')
        r = completed(call(j, 'exotic'))
        # byte for byte, though the answer has its id last and CR LF behind it
        equal((r.kind, r.payload), (JSON, '{"content":[],"z":1.50e+3,"a":[12345678901234567890, -0.0],"s":"\\u00e4ä \u2028"}'.encode()))
        equal(text_of(call(j, 'a/slash')), '{}')
        equal(text_of(j.run('x', '{"as": "text"}', 'echo')), '{"as": "text"}')
        equal(text_of(j.run('x', b'', 'echo')), '{}')
        equal(text_of(j.run('x', '{\n"name":\r\n"echo", "arguments": {"x": 1.50}}', 'tools/call')), '{"x": 1.5}')
        r = json.loads(completed(j.run('x', b'{"uri":"zoo://a"}', 'resources/read', kind=JSON)).payload)
        equal(json.loads(r['contents'][0]['text'])['uri'], 'zoo://a')
        equal(len(json.loads(completed(j.run('x', b'', 'tools/list')).payload)['tools']), 12)
        equal(f.pool('x')['crashes'], 0)


@test
def what_a_server_is_told():
    with mcp() as f, f.jobs() as j:
        p = json.loads(text_of(call(j, 'params', x=1)))
        equal((p['name'], p['arguments'], list(p['_meta'])), ('params', {'x': 1}, ['progressToken']))
        mine = {'name': 'params', 'arguments': {}, '_meta': {'progressToken': 'mine', 'other': [1.5]}, 'more': 2}
        p = json.loads(text_of(j.run('x', json.dumps(mine).encode(), 'tools/call', kind=JSON)))
        check(isinstance(p['_meta']['progressToken'], int), 'the token of a caller goes to the server:', p)
        equal((p['_meta']['other'], p['more']), ([1.5], 2))
        equal(counts(j)['initialized'], 1)


@test
def payloads_that_are_no_arguments():
    with mcp() as f, f.jobs() as j:
        for data, kind in ((b'[1]', JSON), (b'7', JSON), (b'\0\1', BYTES), (b'hello', TEXT), (b'"{}"', TEXT)):
            ended(j.run('x', data, 'echo', kind=kind), 'failed', '--payload=json', code='NotCarried')
        ended(j.run('x', b'{', 'echo', kind=JSON), 'failed')
        ended(j.run('x', b'{"_meta":1}', 'tools/call', kind=JSON), 'failed', code='NotCarried')
        ended(j.run('x', b'{}', kind=JSON), 'failed', 'no method', code='NotCarried')
        for method in ('notifications/cancelled', 'subscriptions/listen'):
            ended(j.run('x', b'{}', method, kind=JSON), 'failed', 'flowd', code='NotCarried')
        serves(f)
        equal(f.pool('x')['crashes'], 0)


@test
def failures():
    with mcp() as f, f.jobs() as j:
        r = ended(call(j, 'fail'), 'failed', 'zoo: cannot do that', code='ToolError')
        equal(json.loads(r.payload)['why'], [1.5])
        ended(call(j, 'fail-mute'), 'failed', 'gave no reason', code='ToolError')
        r = ended(call(j, 'rpc-error'), 'failed', 'error -32000: zoo: no', code='RpcError')
        equal(json.loads(r.payload), {'code': -32000, 'message': 'zoo: no', 'data': {'hint': 'never'}})
        ended(call(j, 'nonsense'), 'failed', '-32602', 'nonsense', code='RpcError')
        # tried again where that may help
        r = j.run('x', b'', 'fail', retries=2, retry_delay=1000)
        equal((r.outcome, r.attempts), ('failed', 3))
        r = j.run('x', b'', 'nonsense', retries=2, retry_delay=1000)
        equal((r.outcome, r.attempts), ('failed', 1))
        serves(f)


@test
def many_callers_at_once():
    with mcp() as f, f.jobs() as j, f.jobs() as k:
        f.wait_ready('x')
        gates = [f.gate() for _ in range(4)]
        ids = [(c, submit(c, 'gate', path=g.path), g) for c, g in zip((j, k, j, k), gates)]
        wait_until(lambda: f.pool('x')['running'] == 4)
        queued = submit(j, 'echo', last=True)
        for c, i, g in reversed(ids):  # answered in another order than asked
            g.open()
            equal(text_of(c.result(i)), g.path)
        equal(text_of(j.result(queued)), '{"last": true}')
        equal(len(f.pids('x')), 1)


@test
def progress_and_logs():
    with mcp(Slots=1) as f, f.jobs() as j:
        i = submit(j, 'progress', n=4)
        completed(j.result(i))
        equal([(p.fraction, p.payload) for p in j.progress[i]], [(250000 * n, b'step %d' % n) for n in range(1, 5)])
        i = submit(j, 'progress-open')
        completed(j.result(i))
        equal([p.payload for p in j.progress[i]], [b'17.5'])
        i = submit(j, 'log')
        completed(j.result(i))
        equal([(p.level, p.payload) for p in j.logs[i]], [(3, b'zoo: something is wrong'), (7, b'{"n": 1.5}')])
        f.logged('zoo: something is wrong')


@test
def its_requests_are_answered():
    with mcp() as f, f.jobs() as j:
        equal(json.loads(text_of(call(j, 'ask', method='ping'))), {'jsonrpc': '2.0', 'id': 'q', 'result': {}})
        for method in ('sampling/createMessage', 'roots/list', 'elicitation/create', 'nonsense'):
            equal(json.loads(text_of(call(j, 'ask', method=method)))['error']['code'], -32601)


# --- cancelling ---

@test
def a_late_answer_confirms_a_cancellation():
    with mcp(CancelTimeout='60s', Slots=1) as f, f.jobs() as j:
        serves(f)
        pid = f.pids('x')
        i = submit(j, 'gate', late=True)
        wait_until(lambda: f.pool('x')['running'] == 1)
        j.cancel(i)
        ended(j.result(i), 'cancelled')
        f.events.wait('job-fenced', pool='x')
        serves(f)
        equal(f.pids('x'), pid)
        c = counts(j)['cancelled']
        equal(len(c), 1)
        check(isinstance(c[0]['requestId'], int) and c[0]['reason'], 'what the server was told:', c)


@test
def without_one_the_worker_goes_when_its_other_calls_have_ended():
    with mcp(CancelTimeout='200ms', DrainTimeout='60s', Slots=2) as f, f.jobs() as j:
        gate = f.gate()
        i, other = submit(j, 'gate', deaf=True), submit(j, 'gate', path=gate.path)
        wait_until(lambda: f.pool('x')['running'] == 2)
        pid = f.pids('x')[0]
        j.cancel(i)
        ended(j.result(i), 'cancelled')
        f.events.wait('worker-hung', pool='x')
        serves(f)  # by another
        check(alive(pid), 'a worker with a call in hand was ended')
        gate.open()
        equal(text_of(j.result(other)), gate.path)
        wait_until(lambda: not alive(pid), what='the worker to go')
        equal(f.pool('x')['crashes'], 0)


@test
def times_out():
    with mcp(CancelTimeout='100ms', JobTimeout='500ms', Slots=1) as f, f.jobs() as j:
        ended(call(j, 'gate'), 'timeout')
        ended(call(j, 'hang'), 'timeout')
        with f.jobs() as k:
            completed(k.run('x', b'', 'echo', timeout=int(20e6 * SLOW)))


# --- starting ---

@test
def versions_of_the_handshake():
    for version in ('2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'):
        with mcp('--version=' + version) as f:
            serves(f)
            equal(known(f)['protocol'], version)


@test
def starts_that_fail():
    quick = {'BreakerCrashes': 1, 'BreakerCooldown': '1h'}
    for args, parts in (('--start=exit', ['exited with status 3']),
                        ('--start=error', ['answered initialize with error -32000: zoo: there is no key in ZOO_KEY']),
                        ('--start=garbage', ['no message']),
                        ('--version=1999-01-01', ['protocol version 1999-01-01', '2024-11-05 to 2025-11-25']),
                        ('--era=modern', ['answered initialize with error -32602'])):
        with mcp(args, quick) as f:
            wait_until(lambda: f.pool('x')['state'] == 'degraded')
            contains(f.pool('x')['reason'], *parts)
            f.logged('x/0 failed to start: it ', *parts)
    with mcp('--start=mute', quick, StartTimeout='300ms') as f:
        wait_until(lambda: f.pool('x')['state'] == 'degraded')
        contains(f.pool('x')['reason'], 'did not end its MCP handshake within StartTimeout=300ms')


@test
def talkative_starts():
    for how in ('noisy', 'early'):
        with mcp('--start=' + how) as f:
            serves(f)
            known(f)


@test
def the_modern_era():
    for era in ('modern', 'auto'):
        with mcp('--era=modern', McpEra=era) as f, f.jobs() as j:
            r = json.loads(completed(call(j, 'echo', a=1)).payload)
            equal((r['resultType'], r['content'][0]['text']), ('complete', '{"a": 1}'))
            equal(known(f)['protocol'], '2026-07-28')
            meta = json.loads(text_of(call(j, 'params')))['_meta']
            equal(meta['io.modelcontextprotocol/protocolVersion'], '2026-07-28')
            equal(meta['io.modelcontextprotocol/clientCapabilities'], {})
            mine = {'uri': 'zoo://a', '_meta': {'io.modelcontextprotocol/protocolVersion': '1900-01-01', 'x': 1}}
            r = json.loads(completed(j.run('x', json.dumps(mine), 'resources/read')).payload)
            meta = json.loads(r['contents'][0]['text'])['_meta']
            equal((meta['io.modelcontextprotocol/protocolVersion'], meta['x']), ('2026-07-28', 1))
            completed(call(j, 'change'))  # it listens for that
            known(f, 13)
            equal(f.pool('x')['crashes'], 0)
    with mcp('--era=legacy', McpEra='auto') as f:  # answers the probe with an error
        serves(f)
        equal(known(f)['protocol'], '2025-11-25')
    with mcp('--era=legacy', {'BreakerCrashes': 1, 'BreakerCooldown': '1h'}, McpEra='modern') as f:
        wait_until(lambda: f.pool('x')['state'] == 'degraded')
        contains(f.pool('x')['reason'], 'answered server/discover with error -32601')


# --- what it offers ---

@test
def its_lists_are_asked_for_once():
    with mcp('--pages=5', {'Min': 2, 'Max': 2}) as f, f.jobs() as j:
        t = known(f)['tools']
        equal((t[0]['name'], t[0]['title']), ('echo', 'The echo tool'))
        contains(t[0]['definition'], '"$comment":1.00,"maximum":12345678901234567890')
        f.logged('zoo 1.2, MCP 2025-11-25', '12 tools, 2 resources, 0 resource templates and 1 prompt')
        f.wait_ready('x', 2)
        for w in f.workers('x'):  # its successor has nothing to ask
            f.call('KillWorker', id=w['id'])
        wait_until(lambda: f.pool('x')['spawned'] == 4 and f.wait_ready('x', 2))
        for _ in range(4):
            equal(counts(j)['lists'], {})
        out = f.flowctl('pool', 'tools', 'x', check_status=0).stdout.decode()
        contains(out, 'echo', 'The echo tool', 'Does echo.', '12 tools listed')
        check('Or not' not in out, 'a description of several lines breaks the table:', out)
        out = json.loads(f.flowctl('pool', 'tools', 'x', '--json', check_status=0).stdout)
        equal(json.loads(out['tools'][0]['definition'])['name'], 'echo')
        r = f.flowctl('pool', 'tools', 'good', check_status=1)
        contains(r.stderr.decode(), 'Protocol=frame')


@test
def a_changed_list_is_asked_for_anew():
    with mcp() as f, f.jobs() as j:
        known(f)
        start = time.monotonic()
        for _ in range(40):
            completed(call(j, 'change', n=500))
        t = known(f, 52)['tools']
        equal((t[12]['name'], t[-1]['name']), ('new-0', 'new-39'))
        most = 3 + (time.monotonic() - start)  # once a second
        check(counts(j)['lists']['tools/list'] <= most, 'how often it was asked:', counts(j))
        equal(counts(j)['lists']['prompts/list'], 1)


@test
def a_listing_starts_no_process():
    with mcp('--start=mute', tier='warm', pool_keys={'Min': 0}) as f:
        t = tools(f)
        equal((t['known'], t['tools']), (False, []))
        r = f.flowctl('pool', 'tools', 'x', check_status=1)
        contains(r.stderr.decode(), 'none of them has started')
    with mcp(tier='warm', pool_keys={'Min': 0, 'IdleTimeout': '100ms'}) as f, f.jobs() as j:
        known(f)  # one was started for that
        wait_until(lambda: f.pids('x') == [], bound=30)
        f.flowctl('pool', 'tools', 'x', check_status=0)
        equal((f.pids('x'), f.pool('x')['spawned']), ([], 1))
        serves(f)
    with mcp(tier='cold', Slots=1) as f, f.jobs() as j:  # lives for one job, and is asked before it
        known(f)
        wait_until(lambda: f.pool('x')['completed'] == 1)
        equal(json.loads(text_of(call(j, 'counts')))['lists'], {})


@test
def lists_that_cannot_be_had():
    for how, reason in (('error', 'error -32000: zoo: no list today'), ('garbage', 'no message'), ('loop', 'too many pages'), ('huge', 'JsonMax=')):
        with mcp('--lists=' + how, conf={'JsonMax': '1M'}) as f, f.jobs() as j:
            t = wait_until(lambda: tools(f).get('reason'), what='a reason')
            contains(t, reason)
            f.logged('does not say which tools it offers: ', 'does not say which prompts it offers: ', 'EVENT=mcp-lists-failed')
            contains(f.flowctl('pool', 'tools', 'x', check_status=1).stderr.decode(), reason)
            serves(f)
            equal(f.pool('x')['crashes'], 0)
    with mcp('--lists=mute') as f:
        serves(f)
        equal(tools(f)['known'], False)


@test
def another_definition_has_another_catalog():
    with mcp() as f:
        known(f)
        f.write_worker('x', worker(zoo_mcp() + ' --lists=error', 'mcp', **KEYS))
        f.call('Reload')
        wait_until(lambda: tools(f).get('reason'))
        equal((tools(f)['known'], tools(f)['tools']), (False, []))


# --- misbehaving ---

@test
def prints_to_stdout():
    with mcp() as f, f.jobs() as j:
        equal(text_of(call(j, 'print', n=50)), 'done')
        f.logged('zoo: line 49 of what is no message', '"a log line in JSON"')
        contains(f.call('ShowWorker', id='x/0')['worker']['stderr'], 'zoo: line 49')
        for tool in ('strange-ids', 'twice', 'batch'):
            completed(call(j, tool))
        f.logged('in a batch')
        serves(f)
        equal(f.pool('x')['crashes'], 0)


@test
def answers_to_earlier_calls():
    with mcp(Slots=1) as f, f.jobs() as j:
        known(f)
        for _ in range(3):
            completed(call(j, 'echo'))
        equal(text_of(call(j, 'replay')), 'mine')
        serves(f)
        equal(f.pool('x')['crashes'], 0)


@test
def floods_stdout():
    with mcp() as f, f.jobs() as j:
        before = rss_of(f.pid)
        ended(call(j, 'flood', wait=30), 'failed', '10000 lines', code='Crashed')
        check(rss_of(f.pid) - before < 20 * MiB)
        serves(f)


@test
def asks_without_reading():
    with mcp() as f, f.jobs() as j:
        before = rss_of(f.pid)
        ended(call(j, 'ask-flood', wait=30), 'failed', 'does not read the answers', code='Crashed')
        check(rss_of(f.pid) - before < 20 * MiB)
        serves(f)


@test
def broken_answers():
    with mcp() as f, f.jobs() as j:
        known(f)
        for tool in ('broken', 'both', 'bad-utf8', 'null-id'):  # only this call can be meant
            ended(call(j, tool), 'failed', 'no message', code='RpcError')
        ended(call(j, 'deep', n=1000), 'failed', 'nested', code='RpcError')
        equal(f.pool('x')['crashes'], 0)
        gate = f.gate()
        i = submit(j, 'gate', path=gate.path)
        wait_until(lambda: f.pool('x')['running'] == 1)
        ended(call(j, 'both'), 'failed', code='RpcError')  # says for whom it is
        equal(f.pool('x')['crashes'], 0)
        ended(call(j, 'broken'), 'failed', 'no message', code='Crashed')
        ended(j.result(i), 'failed', code='Crashed')
        serves(f)


@test
def lines_that_are_too_long():
    with mcp(conf={'JsonMax': '1M'}) as f, f.jobs() as j:
        known(f)
        before = rss_of(f.pid)
        ended(call(j, 'endless', wait=30), 'failed', 'jsonmax')
        check(rss_of(f.pid) - before < 20 * MiB)
        serves(f)
    with mcp(ResultMax='100K') as f, f.jobs() as j:
        ended(call(j, 'big', n=100 * KiB), 'failed', 'resultmax', code='ResultTooLarge')
        equal(len(text_of(call(j, 'big', n=90 * KiB))), 90 * KiB)
        ended(j.run('x', json.dumps({'a': 'x' * (9 * MiB)}).encode(), 'echo', kind=JSON), 'failed', 'jsonmax', code='PayloadTooLarge')
        serves(f)


# --- crashes ---

@test
def killed_in_the_middle_of_a_call():
    with mcp() as f, f.jobs() as j:
        r = ended(call(j, 'crash'), 'failed', 'SIGKILL', 'zoo: about to crash', code='Crashed')
        equal(r.attempts, 1)
        serves(f)
        gate = f.gate()
        i = submit(j, 'gate', path=gate.path)
        wait_until(lambda: f.pool('x')['running'] == 1)
        start = time.monotonic()
        os.kill(f.pids('x')[0], signal.SIGKILL)
        ended(j.result(i), 'failed', 'SIGKILL', code='Crashed')
        check(time.monotonic() - start < 5 * SLOW, 'a call waits for a dead server')
        serves(f)
        ended(call(j, 'half'), 'failed', 'middle of a line', code='Crashed')
        serves(f)
    with mcp(MaxCrashes=3) as f, f.jobs() as j:  # for calls that may be made twice
        gate = f.gate()
        i = submit(j, 'gate', path=gate.path)
        wait_until(lambda: f.pool('x')['running'] == 1)
        os.kill(f.pids('x')[0], signal.SIGKILL)
        gate.open()
        r = j.result(i)
        equal((text_of(r), r.attempts), (gate.path, 2))


@test
def answers_and_exits():
    with mcp(pool_keys={'RestartDelay': '1ms', 'RestartDelayMax': '1ms'}) as f, f.jobs() as j:
        for n in range(4):
            equal(text_of(call(j, 'answer-exit', n=n % 2)), 'done')
            wait_until(lambda: f.pool('x')['spawned'] > n + 1)
        serves(f)


# --- re-exec and reload ---

@test
def a_reexec_in_the_middle_of_calls():
    with mcp(Slots=3) as f, f.jobs() as j:
        t = known(f)
        gates = [f.gate() for _ in range(2)]
        ids = [submit(j, 'gate', path=g.path) for g in gates]
        late = f.gate()
        cancelled = submit(j, 'gate', deaf=True, path=late.path)
        wait_until(lambda: f.pool('x')['running'] == 3)
        j.cancel(cancelled)
        ended(j.result(cancelled), 'cancelled')
        before = f.pids('x')
        for _ in range(2):
            f.call('Reexec')
            equal(f.pids('x'), before)
            equal(tools(f), t)
        late.open()
        f.events.wait('job-fenced', pool='x')
        for i, g in zip(ids, gates):
            g.open()
            equal(text_of(j.result(i)), g.path)
        c = counts(j)
        equal((c['initialized'], c['lists']['tools/list']), (1, 1))
        for _ in range(20):  # no number is used twice
            equal(text_of(call(j, 'replay')), 'mine')
        completed(call(j, 'change'))
        known(f, 13)
        equal(f.pids('x'), before)


@test
def a_reexec_in_the_middle_of_the_handshake():
    with mcp('--start=mute', StartTimeout='2s', pool_keys={'BreakerCrashes': 1, 'BreakerCooldown': '1h'}) as f:
        wait_until(lambda: f.pids('x'))
        f.call('Reexec')
        wait_until(lambda: f.pool('x')['state'] == 'degraded')
    with mcp('--lists=mute') as f:
        serves(f)
        f.call('Reexec')
        serves(f)


main()
