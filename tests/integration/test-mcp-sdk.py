#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The official SDKs, of both eras, through the bridge. npm fetches them into the build tree; MCP_SDK says where they are already."""

from flowtest import *

SDK = SRC / 'tests' / 'mcp-sdk'


def packages():
    """The folder that has the SDKs in node_modules, once fetched; or why there is none."""
    if os.environ.get('MCP_SDK'):
        return os.environ['MCP_SDK'], None
    if not shutil.which('node') or not shutil.which('npm'):
        return None, 'node and npm are not installed'
    into = BUILD / 'tests' / 'mcp-sdk' / 'packages'
    stamp = into / 'lock'
    lock = (SDK / 'package-lock.json').read_text()
    if not (stamp.exists() and stamp.read_text() == lock):
        shutil.rmtree(into, True)
        into.mkdir(parents=True)
        for name in ('package.json', 'package-lock.json'):
            shutil.copy(SDK / name, into)
        try:
            r = subprocess.run(['npm', 'ci', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'], cwd=into, capture_output=True,
                               stdin=subprocess.DEVNULL, timeout=150)
        except subprocess.TimeoutExpired:
            return None, 'npm did not fetch the SDKs within 150 s'
        if r.returncode != 0:
            return None, 'npm cannot fetch the SDKs: %s' % r.stderr.decode(errors='replace').strip().replace('\n', '; ')[:200]
        stamp.write_text(lock)
    return str(into), None


WHERE, WHY = packages()


def run(era):
    if WHY:
        skip(WHY)
    with Flowd(workers={'zoo': worker(zoo() + ' --slots=4')}, pools={'hot': pool('zoo', Max=2)}) as f:
        r = subprocess.run(['node', str(SDK / 'client.mjs'), era, FLOWCTL, '--runtime=' + f.runtime, 'mcp'], capture_output=True, timeout=100 * SLOW,
                           env={**f.environment(), 'MCP_SDK': WHERE}, stdin=subprocess.DEVNULL)
        check(r.returncode == 0, r.stderr.decode(errors='replace')[-2000:])
        s = json.loads(r.stdout)
        note(s)
        equal(s['server'], 'flowd')
        check(set(s['capabilities']) >= {'tools', 'resources', 'prompts', 'completions', 'logging'})
        check(set(s['tools']) >= {'pool_list', 'pool_execute', 'pool_execute_batch', 'job_submit'})
        equal((s['pools'], s['output'], s['progress'], s['many'], s['batch'], s['later']), (['hot'], 'hällo', True, True, 2, 'later'))
        equal((s['failed'], s['unknown']), ([True, 'failed'], -32602))
        equal((s['resources'], s['templates'], s['read']), (['flow://events', 'flow://pools/hot', 'flow://sessions'], 5, 'hot'))
        equal((s['prompts'], s['messages'], s['completion']), (['diagnose_pool', 'explain_failure', 'plan_session'], 2, ['hot']))
        equal((s['cancelled'], s['errors']), ('cancelled', []))
        wait_until(lambda: f.pool('hot')['running'] == 0, 20, 'the cancelled job to end')


@test(bound=120)
def the_legacy_one():
    run('legacy')


@test(bound=120)
def the_modern_one():
    run('modern')


@test(bound=120)
def the_modern_one_finds_out_by_itself():
    run('auto')


def pooled(era):
    if WHY:
        skip(WHY)
    server = os.path.join(WHERE, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js')
    exec_ = '%s %s stdio' % (shutil.which('node'), server)
    with Flowd(workers={'e': worker(exec_, 'mcp', Slots=8)}, pools={'everything': pool('e', 'warm', Min=0, Max=1)}) as f:
        r = subprocess.run(['node', str(SDK / 'pooled.mjs'), era, FLOWCTL, '--runtime=' + f.runtime, 'mcp'], capture_output=True, timeout=100 * SLOW,
                           env={**f.environment(), 'MCP_SDK': WHERE}, stdin=subprocess.DEVNULL)
        check(r.returncode == 0, r.stderr.decode(errors='replace')[-2000:])
        s = json.loads(r.stdout)
        note(s)
        check(set(s['tools']) >= {'everything__echo', 'everything__get-sum'}, s['tools'])
        contains(s['echo'], 'hällo')
        contains(s['sum'], '5')
        check(s['structured'] and s['progress'] and s['wrong'] and s['many'] and s['read'], s)
        check(s['resources'] > 0 and s['templates'] > 0 and s['prompt'] > 0 and 'everything__simple-prompt' in s['prompts'], s)
        # the second SDK hears of an answer before the progress that stood before it
        errors = [e for e in s['errors'] if 'progress notification for an unknown token' not in e]
        equal((errors, f.pool('everything')['crashes'], f.pool('everything')['spawned']), ([], 0, 1))


@test(bound=120)
def a_pooled_server_and_the_legacy_one():
    pooled('legacy')


@test(bound=120)
def a_pooled_server_and_the_modern_one():
    pooled('modern')


main()
