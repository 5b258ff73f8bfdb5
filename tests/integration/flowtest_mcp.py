# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plain client of the MCP socket, or of a bridge to it, in both eras."""

import collections
import json
import os
import select
import socket
import subprocess
import time

from flowtest_kit import *

LEGACY = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25']
LATEST, MODERN = LEGACY[-1], '2026-07-28'
META = 'io.modelcontextprotocol/'


class McpError(Exception):
    def __init__(self, error):
        super().__init__('%s: %s' % (error.get('code'), error.get('message')))
        self.code, self.message, self.data = error['code'], error['message'], error.get('data')


class Mcp:
    """`where` is a socket's path, or the command line of a bridge. With `version` the handshake is done, for the modern era there is none."""

    def __init__(self, where, version=LATEST, timeout=30, capabilities=None, env=None, handshake=True):
        self.process = None
        if isinstance(where, list):
            self.process = subprocess.Popen(where, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
            self.out, self.in_ = self.process.stdin.fileno(), self.process.stdout.fileno()
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(where)
            self.out = self.in_ = self.socket.fileno()
        self.version, self.modern = version, version == MODERN
        self.timeout = timeout * SLOW
        self.capabilities = capabilities or {}
        self.buffer = b''
        self.lines = []           # every message, as it came
        self.answers = {}         # by id
        self.notes = collections.deque()
        self.orphans = []         # errors without an id
        self.batches = []
        self.next_id = 0
        self.hello = None
        if handshake and not self.modern:
            self.hello = self.request('initialize', protocolVersion=version, capabilities=self.capabilities,
                                      clientInfo={'name': 'test', 'version': '1'})
            self.notify('notifications/initialized')

    # messages

    def write(self, data):
        view = memoryview(data if isinstance(data, bytes) else data.encode())
        while view:
            view = view[os.write(self.out, view):]

    def meta(self, **more):
        m = {META + 'protocolVersion': MODERN, META + 'clientCapabilities': self.capabilities} if self.modern else {}
        return {**m, **more}

    def message(self, method, params, id=None, meta=None):
        m = {'jsonrpc': '2.0', 'method': method}
        if id is not None:
            m['id'] = id
        full = self.meta(**(meta or {})) if id is not None else (meta or {})
        if full:
            params = {**params, '_meta': full}
        if params:
            m['params'] = params
        return m

    def send(self, method, /, meta=None, id=None, **params):
        """Sends a request; returns its id."""
        if id is None:
            self.next_id += 1
            id = self.next_id
        self.write(json.dumps(self.message(method, params, id, meta)) + '\n')
        return id

    def notify(self, method, /, **params):
        self.write(json.dumps(self.message(method, params)) + '\n')

    def _line(self, line):
        self.lines.append(line)
        m = json.loads(line)
        if isinstance(m, list):
            self.batches.append(m)
        elif 'method' in m:
            self.notes.append(m)
        elif m.get('id') is None:
            self.orphans.append(m['error'])
        else:
            check(json.dumps(m['id']) not in self.answers, 'two answers to', m['id'])
            self.answers[json.dumps(m['id'])] = m

    def pump(self, wait=0.0):
        """Reads what is there, for at most `wait` seconds until there is something."""
        if not select.select([self.in_], [], [], wait)[0]:
            return
        data = os.read(self.in_, 1 << 20)
        if not data:
            raise EOFError('the connection was closed')
        self.buffer += data
        *lines, self.buffer = self.buffer.split(b'\n')
        for line in lines:
            self._line(line)

    def until(self, cond, what='a message', bound=None):
        end = time.monotonic() + (self.timeout if bound is None else bound * SLOW)
        while True:
            v = cond()
            if v:
                return v
            left = end - time.monotonic()
            if left <= 0:
                fail('waited in vain for', what)
            self.pump(min(left, 1))

    def answer(self, id):
        """The answer to a request: its result, or McpError."""
        m = self.until(lambda: self.answers.get(json.dumps(id)), 'the answer to %r' % (id,))
        del self.answers[json.dumps(id)]
        equal(m['jsonrpc'], '2.0')
        if 'error' in m:
            raise McpError(m['error'])
        return m['result']

    def request(self, method, /, meta=None, **params):
        return self.answer(self.send(method, meta=meta, **params))

    def note(self, method, cond=lambda p: True, bound=None):
        """The next notification of that name that matches; it is taken away."""
        def look():
            for n in self.notes:
                if n['method'] == method and cond(n.get('params', {})):
                    self.notes.remove(n)
                    return n
            return None
        return self.until(look, method, bound).get('params', {})

    # what tests do often

    def call(self, tool, /, meta=None, **arguments):
        """A tool's whole result."""
        return self.request('tools/call', meta=meta, name=tool, arguments=arguments)

    def tool(self, tool, /, **arguments):
        """Its structured content; fails when it is an error."""
        r = self.call(tool, **arguments)
        check(not r.get('isError'), tool, 'failed:', r)
        return r['structuredContent']

    def failed(self, tool, /, **arguments):
        r = self.call(tool, **arguments)
        check(r.get('isError'), tool, 'did not fail:', r)
        return r['structuredContent']

    def listed(self, method, key, page=None):
        """A whole list, all pages of it."""
        items, cursor = [], {}
        while True:
            r = self.request(method, **cursor)
            items += r[key]
            if page is not None:
                page.append(len(r[key]))
            if 'nextCursor' not in r:
                return items
            cursor = {'cursor': r['nextCursor']}

    def read(self, uri):
        c = self.request('resources/read', uri=uri)['contents']
        equal((len(c), c[0]['uri'], c[0]['mimeType']), (1, uri, 'application/json'))
        return json.loads(c[0]['text'])

    def close(self):
        if self.process:
            self.process.stdin.close()
            status = self.process.wait(self.timeout)
            self.process.stdout.close()
            return status
        self.socket.close()
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def mcp_error(code, fn, *args, **keys):
    """Calls fn, which must raise McpError with that code; returns the error."""
    try:
        r = fn(*args, **keys)
    except McpError as e:
        equal(e.code, code, e)
        return e
    fail('no error', code, 'but', r)


__all__ = [n for n in dir() if not n.startswith('_')]
