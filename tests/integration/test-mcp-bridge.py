#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""flowctl mcp: the bridge, what a restart of flowd looks like through it, and the verbs for people."""

import select

from flowtest import *
from flowtest_mcp import *


def instance(**keys):
    return Flowd(workers={'zoo': worker(zoo() + ' --slots=4')}, pools={'hot': pool('zoo', Max=2)}, conf={'Store': 'yes', **keys.pop('conf', {})}, **keys)


def bridge(f, version=LATEST, **keys):
    return Mcp([FLOWCTL, '--runtime=' + f.runtime, 'mcp'], version, **keys)


@contextlib.contextmanager
def never_started():
    f = instance(start=False)
    try:
        yield f
    finally:
        f.kill()


def killed(f):
    os.kill(f.pid, signal.SIGKILL)
    f.process.wait(20 * SLOW)


def stopped(f):
    f.process.send_signal(signal.SIGTERM)
    f.process.wait(20 * SLOW)


@test
def it_passes_on_what_is_said():
    with instance() as f:
        for v in LEGACY + [MODERN]:
            with bridge(f, v) as m:
                big = 'ü' * 150_000
                equal(json.loads(m.call('pool_execute', pool_id='hot', prompt=big)['content'][0]['text'])['output'] if v < '2025-06-18' else
                      m.tool('pool_execute', pool_id='hot', prompt=big)['output'], big)
                ids = [m.send('tools/call', name='pool_execute', arguments={'pool_id': 'hot', 'prompt': str(i)}) for i in range(200)]
                for i, id in enumerate(ids):
                    equal(json.loads(m.answer(id)['content'][0]['text'])['output'], str(i))


@test
def it_ends_with_its_client():
    with instance() as f:
        m = bridge(f)
        m.send('tools/call', name='pool_execute', arguments={'pool_id': 'hot', 'prompt': 'x', 'method': 'sleep:60000'})
        wait_until(lambda: f.pool('hot')['running'] == 1, 20, 'the job to run')
        t = time.monotonic()
        equal(m.close(), 0)
        check(time.monotonic() - t < 2 * SLOW, 'it took its time')
        wait_until(lambda: f.pool('hot')['running'] == 0, 20, 'the job to end')
        # and with its client's other end
        m = bridge(f)
        m.process.stdout.close()
        equal(m.process.wait(20 * SLOW), 0)
        m.process.stdin.close()


@test
def no_flowd_is_told():
    with instance(start=False) as f:
        m = bridge(f, handshake=False)
        e = mcp_error(-32603, m.request, 'initialize', protocolVersion=LATEST, capabilities={})
        contains(e.message, 'flowd is not running', f.runtime)
        f.start()  # and when it is there after all, it is used
        equal(m.request('initialize', protocolVersion=LATEST, capabilities={})['protocolVersion'], LATEST)
        equal(m.close(), 0)


@test
def a_restart_is_not_noticed():
    for end in (killed, stopped):
        with instance() as f:
            with bridge(f) as m:
                m.request('logging/setLevel', level='notice')
                for uri in ('flow://pools/hot', 'flow://events'):
                    m.request('resources/subscribe', uri=uri)
                m.request('resources/unsubscribe', uri='flow://events')
                end(f)
                early = m.send('tools/call', name='pool_execute', arguments={'pool_id': 'hot', 'prompt': 'early'})  # waits for the next one
                f.start()
                equal(m.answer(early)['structuredContent']['output'], 'early')
                for kind in ('tools', 'resources', 'prompts'):
                    m.note('notifications/%s/list_changed' % kind)
                equal(m.tool('pool_execute', pool_id='hot', prompt='after')['output'], 'after')
                m.note('notifications/resources/updated', lambda p: p['uri'] == 'flow://pools/hot')
                j = m.failed('pool_execute', pool_id='hot', prompt='x', method='fail')['job_id']
                m.note('notifications/message', lambda p: p['data'].get('job') == j)
                equal([n for n in m.notes if n.get('params', {}).get('uri') == 'flow://events'], [])
                equal(m.answers, {})  # nothing that was not asked for
                f.call('ListPools')


@test
def what_was_running_gets_an_error_and_what_was_read_is_read_again():
    with instance() as f, bridge(f) as m:
        g = f.gate()
        j = m.tool('job_submit', pool_id='hot', prompt=g.path, method='gate', durable='yes')['job_id']
        reading = m.send('tools/call', name='job_result', arguments={'job_id': j, 'wait': 600})
        running = m.send('tools/call', name='pool_execute', arguments={'pool_id': 'hot', 'prompt': 'x', 'method': 'sleep:60000'})
        wait_until(lambda: f.pool('hot')['running'] == 2, 20, 'the jobs to run')
        killed(f)
        contains(mcp_error(-32603, m.answer, running).message, 'may have been done')
        f.start()
        g.open()
        equal(m.answer(reading)['structuredContent']['data'], g.path)


@test
def listening_goes_on():
    for end in (killed, stopped):
        with instance() as f, bridge(f, MODERN) as m:
            id = m.send('subscriptions/listen', id='L', notifications={'resourceSubscriptions': ['flow://pools/hot']})
            m.note('notifications/subscriptions/acknowledged')
            end(f)
            f.start()
            m.tool('pool_execute', pool_id='hot', prompt='x')
            equal(m.note('notifications/resources/updated')['_meta'], {META + 'subscriptionId': 'L'})
            equal([n for n in m.notes if 'acknowledged' in n['method']], [])
            check(json.dumps(id) not in m.answers)


@test
def a_reexec_loses_nothing():
    with instance() as f, bridge(f) as m:
        g = f.gate()
        id = m.send('tools/call', name='pool_execute', arguments={'pool_id': 'hot', 'prompt': g.path, 'method': 'gate'})
        wait_until(lambda: f.pool('hot')['running'] == 1, 20, 'the job to run')
        f.flowctl('reexec', check_status=0)
        g.open()
        equal(m.answer(id)['structuredContent']['status'], 'completed')
        equal(len(m.notes), 0)


@test
def a_client_that_does_not_read_does_not_fill_memory():
    with instance() as f:
        m = bridge(f)
        os.set_blocking(m.out, False)
        data = (json.dumps(m.message('tools/list', {}, 5)) + '\n').encode() * 50
        sent = 0

        def blocked():
            nonlocal sent
            try:
                sent += os.write(m.out, data)
            except BlockingIOError:
                return not select.select([], [m.out], [], 0.3)[1]
            return False
        wait_until(blocked, 40, 'the bridge to stop reading')
        check(sent < 16 * MiB, sent)
        check(rss_of(m.process.pid) < 32 * MiB)
        m.process.stdout.close()
        m.process.wait(20 * SLOW)
        m.process.stdin.close()


# --- the verbs for people ---

@test
def list_call_read_prompt_doctor():
    with instance() as f:
        r = f.flowctl('mcp', 'list', '--json', check_status=0)
        check('pool_execute' in [t['name'] for t in json.loads(r.stdout)])
        contains(f.flowctl('mcp', 'list', 'resources', check_status=0).stdout, b'flow://pools/hot')
        contains(f.flowctl('mcp', 'list', 'templates', check_status=0).stdout, b'flow://jobs/{id}')
        f.flowctl('mcp', 'list', 'nonsense', check_status=2)
        r = f.flowctl('mcp', 'call', 'pool_execute', 'pool_id=hot', 'prompt=a=b', 'priority:=3', check_status=0)
        equal(json.loads(r.stdout)['output'], 'a=b')
        r = f.flowctl('mcp', 'call', 'pool_execute', '-', input=b'{"pool_id":"hot","prompt":"in"}', check_status=0)
        equal(json.loads(r.stdout)['output'], 'in')
        r = f.flowctl('mcp', 'call', 'pool_execute', '--progress', '{"pool_id":"hot","prompt":"x","method":"talk:3"}', check_status=0)
        contains(r.stderr, b'%')
        r = f.flowctl('mcp', 'call', 'pool_execute', 'pool_id=none', 'prompt=x', check_status=1)
        contains(r.stderr, b"no pool 'none'")
        contains(f.flowctl('mcp', 'call', 'none', check_status=1).stderr, b'no such tool')
        for bad in (['x'], ['=x'], ['a:={'], ['{']):
            f.flowctl('mcp', 'call', 'pool_list', *bad, check_status=2)
        equal(json.loads(f.flowctl('mcp', 'read', 'flow://pools/hot', check_status=0).stdout)['name'], 'hot')
        contains(f.flowctl('mcp', 'read', 'flow://nothing', check_status=1).stderr, b'no such resource')
        contains(f.flowctl('mcp', 'prompt', 'diagnose_pool', 'pool=hot', check_status=0).stdout, b"Diagnose the flowd pool 'hot'")
        contains(f.flowctl('mcp', 'doctor', check_status=0).stdout, b'healthy', b'tools')
    with never_started() as f:
        contains(f.flowctl('mcp', 'doctor', check_status=69).stderr, b'flowd is not running')


def install(f, home, client, *more, status=0):
    env = {**f.environment(), 'HOME': home}
    env.pop('XDG_CONFIG_HOME', None)
    r = subprocess.run([FLOWCTL, 'mcp', 'install', '--client=' + client, *more], env=env, capture_output=True, timeout=60 * SLOW)
    equal(r.returncode, status, r.stderr)
    return r


@test
def install_changes_one_place_only():
    entry = {'command': os.path.realpath(FLOWCTL), 'args': ['mcp']}
    places = {'claude': ('.claude.json', 'mcpServers'), 'claude-desktop': ('.config/Claude/claude_desktop_config.json', 'mcpServers'),
              'vscode': ('.config/Code/User/mcp.json', 'servers'), 'cursor': ('.cursor/mcp.json', 'mcpServers')}
    with never_started() as f:
        for client, (path, key) in places.items():
            home = tempfile.mkdtemp(dir=f.dir)
            path = pathlib.Path(home) / path
            wanted = {'type': 'stdio', **entry} if client in ('claude', 'vscode') else entry
            r = install(f, home, client, '--dry-run')
            check(not path.exists())
            equal(json.loads(r.stdout), {key: {'flowd': wanted}})
            install(f, home, client)
            equal(json.loads(path.read_text()), {key: {'flowd': wanted}})
            before = path.read_text()
            install(f, home, client)
            equal(path.read_text(), before)  # again is no change
            # a file that is in use: all else stays as it is, byte for byte
            text = '{\n\t"big": 12345678901234567890123, "%s" : {\n\t\t"other": {"command":"x"}\n\t}, "z":1.50\n}' % key
            path.write_text(text)
            path.chmod(0o640)
            install(f, home, client, '--runtime=/some/where')
            now = path.read_text()
            equal(json.loads(now)[key]['flowd'], {**wanted, 'args': ['--runtime=/some/where', 'mcp']})
            equal(json.loads(now)[key]['other'], {'command': 'x'})
            start, end = text.split('{\n\t\t"other"')
            check(now.startswith(start) and now.rstrip('\n').endswith('"other"' + end), now)
            equal(path.stat().st_mode & 0o777, 0o640)
            path.write_text('{ // a comment\n}')
            r = install(f, home, client, status=1)
            contains(r.stderr, b'was not touched', b'"flowd"')
            equal(path.read_text(), '{ // a comment\n}')
        home = tempfile.mkdtemp(dir=f.dir)
        path = pathlib.Path(home) / '.codex' / 'config.toml'
        install(f, home, 'codex')
        section = '[mcp_servers.flowd]\ncommand = "%s"\nargs = ["mcp"]\n' % entry['command']
        equal(path.read_text(), section)
        path.write_text('model = "x"\n[mcp_servers.flowd]\ncommand = "old"\n[other]\na = 1\n')
        install(f, home, 'codex')
        equal(path.read_text(), 'model = "x"\n' + section + '[other]\na = 1\n')
        r = install(f, home, 'nonsense', status=2)
        contains(r.stderr, b'claude-desktop')


main()
