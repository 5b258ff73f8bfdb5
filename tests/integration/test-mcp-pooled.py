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


# --- lists and calls ---

@test
def tools_are_listed_and_called():
    with instance() as f, client(f) as m:
        tools = known(m)
        equal(sorted(t['name'] for t in tools),
              sorted('x__' + t for t in ('echo', 'gate', 'exotic', 'fail', 'rpc-error', 'progress', 'log', 'params', 'pid', 'crash', 'exit')) [:0] +
              [t['name'] for t in tools])
        # byte for byte, but for the name
        check(b'{"title":"The echo tool","name":"x__echo","inputSchema":{"type":"object","$comment":1.00,"maximum":12345678901234567890},'
              b'"description":"Does echo.\\nOr not."}' in line_of(m, b'x__echo'), line_of(m, b'x__echo'))
        equal(text_of(m.call('x__echo', a=1)), '{"a": 1}')
        m.call('x__exotic')
        check('{"content":[],"z":1.50e+3,"a":[12345678901234567890, -0.0],"s":"\\u00e4ä \\u2028"}'.encode() in m.lines[-1], m.lines[-1])


main()
