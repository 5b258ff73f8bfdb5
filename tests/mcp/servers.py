#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real MCP servers, unchanged, as pools: those of package.json, which MCP_MODULES says where to find (make check-mcp installs them)."""

from flowtest import *

MODULES = pathlib.Path(os.environ.get('MCP_MODULES', BUILD / 'tests' / 'mcp' / 'node_modules')) / '@modelcontextprotocol'
if not shutil.which('node') or not MODULES.is_dir():
    print('1..0 # SKIP there are no MCP servers: node is missing, or make check-mcp has not installed them')
    sys.exit(77)


def server(name, *args):
    return '%s %s %s' % (shutil.which('node'), MODULES / name / 'dist' / 'index.js', ' '.join(args))


@contextlib.contextmanager
def house(tier='hot', max=1, **keys):
    with tempfile.TemporaryDirectory(prefix='ft-mcp-') as d:
        os.chmod(d, 0o777)
        pathlib.Path(d, 'hello.txt').write_text('hello\nworld\n')
        keys = {'Slots': 8, **keys}
        with Flowd(workers={'everything': worker(server('server-everything', 'stdio'), 'mcp', **keys),
                            'filesystem': worker(server('server-filesystem', d), 'mcp', **keys),
                            'memory': worker(server('server-memory'), 'mcp', Environment='MEMORY_FILE_PATH=%s/memory.jsonl' % d, **keys)},
                   pools={p: pool(p, tier, Max=max, RestartDelay='10ms') for p in ('everything', 'filesystem', 'memory')}) as f:
            f.dir_of_files = d
            yield f


def call(j, pool_, tool, wait=60, **arguments):
    return j.run(pool_, json.dumps(arguments).encode(), tool, kind=JSON, wait=wait)


def text_of(r):
    return json.loads(completed(r).payload)['content'][0]['text']


def known(f, name):
    return wait_until(lambda: (lambda t: t if t['known'] else None)(f.call('PoolTools', pool=name)), 30, 'the tools of ' + name)


@test(bound=120)
def all_of_them_work():
    with house() as f, f.jobs(timeout=60) as j:
        equal(len(known(f, 'everything')['tools']), 13)
        check('read_text_file' in [t['name'] for t in known(f, 'filesystem')['tools']], known(f, 'filesystem'))
        check('read_graph' in [t['name'] for t in known(f, 'memory')['tools']], known(f, 'memory'))
        equal(text_of(call(j, 'everything', 'echo', message='hi')), 'Echo: hi')
        contains(text_of(call(j, 'everything', 'get-sum', a=2, b=3)), '5')
        equal(text_of(call(j, 'filesystem', 'read_text_file', path=f.dir_of_files + '/hello.txt')), 'hello\nworld\n')
        ended(call(j, 'filesystem', 'read_text_file', path='/etc/passwd'), 'failed', 'denied', code='ToolError')
        ended(call(j, 'everything', 'echo'), 'failed', 'message')
        ended(call(j, 'everything', 'nonsense'), 'failed', 'nonsense')
        r = json.loads(completed(j.run('everything', b'', 'resources/list')).payload)
        uri = r['resources'][0]['uri']
        equal(json.loads(completed(j.run('everything', json.dumps({'uri': uri}), 'resources/read')).payload)['contents'][0]['uri'], uri)
        prompts = json.loads(completed(j.run('everything', b'', 'prompts/list')).payload)['prompts']
        r = json.loads(completed(j.run('everything', json.dumps({'name': prompts[0]['name']}), 'prompts/get')).payload)
        check(r['messages'], r)


@test(bound=120)
def progress_of_a_long_operation():
    with house() as f, f.jobs(timeout=60) as j:
        i = j.submit('everything', b'{"duration":1,"steps":4}', 'trigger-long-running-operation', kind=JSON)
        completed(j.result(i, 60))
        equal([p.fraction for p in j.progress[i]], [250000, 500000, 750000, 1000000])


@test(bound=180)
def many_callers_of_one_server():
    with house() as f, f.jobs(timeout=120) as j, f.jobs(timeout=120) as k:
        known(f, 'everything')
        ids = [(c, c.submit('everything', json.dumps({'message': 'm%d' % n}), 'echo'), n) for n in range(500) for c in (j, k)]
        for c, i, n in ids:
            equal(text_of(c.result(i)), 'Echo: m%d' % n)
        # the memory server reads and writes one file: a process of its own, and what was written is there
        for n in range(20):
            completed(call(j, 'memory', 'create_entities', entities=[{'name': 'e%d' % n, 'entityType': 't', 'observations': ['o']}]))
        graph = json.loads(text_of(call(k, 'memory', 'read_graph')))
        equal(sorted(e['name'] for e in graph['entities']), sorted('e%d' % n for n in range(20)))
        equal([len(f.pids(p)) for p in ('everything', 'filesystem', 'memory')], [1, 1, 1])


@test(bound=120)
def killed_in_the_middle_of_a_call():
    with house() as f, f.jobs(timeout=60) as j:
        known(f, 'everything')
        i = j.submit('everything', b'{"duration":60,"steps":60}', 'trigger-long-running-operation', kind=JSON)
        j.until(lambda: j.progress[i] or i in j.results, 30, 'the first progress')
        os.kill(f.pids('everything')[0], signal.SIGKILL)
        ended(j.result(i), 'failed', 'SIGKILL', code='Crashed')
        equal(text_of(call(j, 'everything', 'echo', message='again')), 'Echo: again')


@test(bound=120)
def calls_go_on_through_a_reexec():
    with house() as f, f.jobs(timeout=60) as j:
        known(f, 'everything')
        before = f.pids('everything')
        i = j.submit('everything', b'{"duration":3,"steps":3}', 'trigger-long-running-operation', kind=JSON)
        j.until(lambda: j.progress[i] or i in j.results, 30, 'the first progress')
        f.call('Reexec')
        contains(text_of(j.result(i, 60)), 'completed')
        equal(f.pids('everything'), before)
        equal(len(f.call('PoolTools', pool='everything')['tools']), 13)


@test(bound=120)
def a_cold_pool():
    with house('cold', Slots=1) as f, f.jobs(timeout=60) as j:
        equal(text_of(call(j, 'everything', 'echo', message='cold')), 'Echo: cold')
        equal(len(known(f, 'everything')['tools']), 13)
        wait_until(lambda: not f.pids('everything'), 20)


@test(bound=120)
def as_a_client_has_them():
    with Flowd(ready=('running', 'degraded', 'starting')) as f, f.jobs(timeout=60) as j:
        path = os.path.join(f.dir, 'mcp.json')
        pathlib.Path(path).write_text(json.dumps({'mcpServers': {'everything': {
            'command': 'node', 'args': [str(MODULES / 'server-everything' / 'dist' / 'index.js'), 'stdio'], 'env': {'FLOWTEST_ID': f.id}}}}))
        f.flowctl('mcp', 'import', path, f.config, check_status=0)
        f.flowctl('reload', check_status=0)
        equal(text_of(call(j, 'everything', 'echo', message='hi')), 'Echo: hi')


main()
