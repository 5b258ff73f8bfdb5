#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""flowctl mcp import: a client's configuration of MCP servers becomes pools that work."""

from flowtest import *


def server(*args, **more):
    return {'command': sys.executable, 'args': [str(SRC / 'tests' / 'workers' / 'zoo-mcp.py'), *args], **more}


def client_file(f, servers, key='mcpServers', before=''):
    path = os.path.join(f.dir, 'client.json')
    pathlib.Path(path).write_text(before + json.dumps({key: servers}))
    return path


def imported(f, *args, status=0):
    return f.flowctl('mcp', 'import', *args, check_status=status)


@test
def what_a_client_has_works_here():
    with Flowd(ready=('running', 'degraded', 'starting')) as f:
        strange = 'a "b" \\c\n\t%L \'d\' \u00e4 $HOME ;#'
        path = client_file(f, {'zoo': server('--pages=2', env={'ZOO_KEY': strange, 'FLOWTEST_ID': f.id}),
                               'my other/zoo': server('--version=2025-03-26', env={'FLOWTEST_ID': f.id}, cwd=f.dir)}, before='// a comment\n')
        dry = imported(f, path, f.config, '--dry-run').stdout.decode()
        contains(dry, '# %s/workers/zoo.worker' % f.config, 'Protocol=mcp', '# %s/pools/my-other-zoo.pool' % f.config)
        equal(os.listdir(f.config + '/workers'), [])
        out = imported(f, path, f.config).stdout.decode()
        contains(out, 'Wrote %s/workers/zoo.worker' % f.config, 'flowctl reload')
        equal(os.stat(f.config + '/workers/zoo.worker').st_mode & 0o777, 0o600)
        f.call('Reload')
        for name in ('zoo', 'my-other-zoo'):
            wait_until(lambda: f.call('PoolTools', pool=name)['known'])
            r = f.flowctl('run', '--pool=' + name, '--method=echo', '--payload=json', '{"a":1}', check_status=0)
            equal(json.loads(r.stdout)['content'][0]['text'], '{"a": 1}')
        equal(f.call('PoolTools', pool='my-other-zoo')['protocol'], '2025-03-26')
        env = pathlib.Path('/proc/%d/environ' % f.pids('zoo')[0]).read_bytes().split(b'\0')
        check(('ZOO_KEY=' + strange).encode() in env, env)
        equal(os.readlink('/proc/%d/cwd' % f.pids('my-other-zoo')[0]), os.path.realpath(f.dir))
        r = imported(f, path, f.config, status=1)  # once more
        contains(r.stderr.decode(), 'is there already; nothing was written')


@test
def what_cannot_be_imported_is_told():
    with Flowd(ready=('running', 'degraded', 'starting')) as f:
        path = client_file(f, {'far': {'type': 'http', 'url': 'https://mcp.example/x'}, 'off': server(disabled=True), 'gone': {'command': 'no-such-program'},
                               'odd': server('${input:key}', env={'A-B': 'x', 'C': '${env:C}'}, cwd='relative')}, 'servers')
        out = json.loads(imported(f, path, f.config, '--dry-run', '--json').stdout)
        equal([os.path.basename(p) for p in out['files']], ['odd.worker', 'odd.pool'])
        notes = {}
        for n in out['notes']:
            notes[n['server']] = notes.get(n['server'], '') + n['message'] + '|'
        contains(notes['far'], 'https://mcp.example/x', 'standard input')
        contains(notes['off'], 'disabled')
        contains(notes['gone'], 'no-such-program')
        contains(notes['odd'], '${input:key}', 'A-B', 'C has a placeholder', 'relative')
        r = imported(f, client_file(f, {'a/b': server(), 'a b': server()}), f.config, status=1)
        contains(r.stderr.decode(), "two servers would be called 'a-b'")
        equal(os.listdir(f.config + '/workers'), [])
        for text in ('', '[]', '{"mcpServers": 7}', '{"mcpServers"'):
            bad = pathlib.Path(f.dir, 'bad.json')
            bad.write_text(text)
            contains(imported(f, str(bad), f.config, status=1).stderr.decode(), 'no configuration of MCP servers')
        contains(imported(f, client_file(f, {}), f.config, status=1).stderr.decode(), 'no server')
        contains(imported(f, path, status=2).stderr.decode(), 'FLOWD_CONFIG')
        # a name cannot write lines of its own
        path = client_file(f, {'x\n[Worker]\nUser=root': server()})
        text = imported(f, path, f.config, '--dry-run').stdout.decode()
        check('\nUser=' not in text and text.count('[Worker]\n') == 1, text)


main()
