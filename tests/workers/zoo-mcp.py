#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An MCP server that misbehaves on demand: what it does is said by the tool that is called.

zoo-mcp.py [--era=legacy|modern] [--start=HOW] [--version=V] [--pages=N] [--lists=HOW] [--more=TOOL,...] [--uris=A,...]

--start=exit, mute, error, garbage, early (tells of changes before it is asked), noisy (prints before it is asked)
--version=V       answers initialize with it
--pages=N         so many tools a page
--more=TOOLS      more of them; those whose name begins with "read" say readOnlyHint, those with "writ" that they are not
--uris=PREFIX     it offers other resources, which can be subscribed to, and a template
--lists=mute, error, garbage, loop (a page is always followed by another), huge (a list that never fits)
"""

import json
import os
import select
import signal
import sys
import time

MODERN = '2026-07-28'
META = 'io.modelcontextprotocol/'
out = sys.stdout.buffer
options = {'era': 'legacy', 'start': '', 'version': None, 'pages': 0, 'lists': '', 'more': '', 'uris': ''}
pending, cancelled, asked, listening, answered = {}, [], {}, [], []
counts = {}
extra = []
subscribed = []
initialized = 0


def raw(b):
    out.write(b)
    out.flush()


def say(m):
    raw(json.dumps({'jsonrpc': '2.0', **m}).encode() + b'\n')


def result(id, **r):
    if options['era'] == 'modern':
        r = {'resultType': 'complete', **r}
    say({'id': id, 'result': r})


def text(id, s, **more):
    result(id, content=[{'type': 'text', 'text': s}], **more)


def error(id, code, message, **more):
    say({'id': id, 'error': {'code': code, 'message': message, **more}})


def notify(method, **params):
    if listening:
        params['_meta'] = {META + 'subscriptionId': listening[0]}
    say({'method': method, 'params': params})


def never():
    while True:
        signal.pause()


TOOLS = ['echo', 'gate', 'exotic', 'fail', 'rpc-error', 'progress', 'log', 'params', 'pid', 'a/slash', 'crash', 'exit']
ANNOTATIONS = {'read': b',"annotations":{"readOnlyHint":true}', 'writ': b',"annotations":{"readOnlyHint":false}'}


def tools():
    # numbers and an order of members that a tree would lose
    return [b'{"title":"The %(t)s tool","name":"%(t)s","inputSchema":{"type":"object","$comment":1.00,"maximum":12345678901234567890},'
            b'"description":"Does %(t)s.\\nOr not."%(a)s}' % {b't': t.encode(), b'a': ANNOTATIONS.get(t[:4], b'')}
            for t in TOOLS + extra]


def on_list(id, method, params):
    member = {'tools/list': 'tools', 'resources/list': 'resources', 'resources/templates/list': 'resourceTemplates', 'prompts/list': 'prompts'}[method]
    counts[method] = counts.get(method, 0) + 1
    if options['lists'] == 'mute':
        return
    if options['lists'] == 'error':
        return error(id, -32000, 'zoo: no list today')
    if options['lists'] == 'garbage':
        return raw(b'{"jsonrpc":"2.0","id":%d,"result":{"%s":[{]}}\n' % (id, member.encode()))
    items = {'tools': tools(), 'resources': [b'{"uri":"zoo://a","name":"a"}', b'{"uri":"zoo://b","name":"b"}'],
             'prompts': [b'{"name":"p"}']}.get(member)
    if options['uris'] and member == 'resources':
        items = [b'{"uri":"%s","name":"one"}' % options['uris'].encode()]
    if options['uris'] and member == 'resourceTemplates':
        items = [b'{"uriTemplate":"%s/{id}","name":"some"}' % options['uris'].encode()]
    if items is None:
        return error(id, -32601, 'Method not found')
    if options['lists'] == 'huge':
        items = [b'{"name":"x","description":"%s"}' % (b'y' * 200000)]
    start, more = int(params.get('cursor') or 0), b''
    n = options['pages'] or len(items)
    if start + n < len(items) or options['lists'] in ('loop', 'huge'):
        more = b',"nextCursor":"%d"' % (start + n if options['lists'] == '' else 0)
    page = items[start:start + n] if options['lists'] != 'loop' else []
    kind = b'"resultType":"complete","ttlMs":0,"cacheScope":"public",' if options['era'] == 'modern' else b''
    raw(b'{"jsonrpc":"2.0","id":%d,"result":{%s"%s":[%s]%s}}\n' % (id, kind, member.encode(), b', '.join(page), more))


def on_call(id, params):
    tool, a, meta = params['name'], params.get('arguments') or {}, params.get('_meta') or {}
    n, token = int(a.get('n', 0)), meta.get('progressToken')
    if tool == 'gate':  # ends when the file is there; "late" answers a cancellation, "deaf" does not hear it
        pending[id] = a
    elif tool == 'exotic':
        raw(b'{"jsonrpc":"2.0","result": {"content":[],"z":1.50e+3,"a":[12345678901234567890, -0.0],"s":"\\u00e4\xc3\xa4 \xe2\x80\xa8"} ,"id":%d}\r\n' % id)
    elif tool == 'fail':
        text(id, 'zoo: cannot do that', isError=True, why=[1.5])
    elif tool == 'fail-mute':
        result(id, content=[], isError=True)
    elif tool == 'rpc-error':
        error(id, n or -32000, 'zoo: no', data={'hint': 'never'})
    elif tool == 'progress':
        for i in range(n):
            notify('notifications/progress', progressToken=token, progress=i + 1, total=n, message='step %d' % (i + 1))
        notify('notifications/progress', progressToken=987654321, progress=1, total=1)
        text(id, 'done')
    elif tool == 'progress-open':  # of how much is not known
        notify('notifications/progress', progressToken=token, progress=17.5)
        text(id, 'done')
    elif tool == 'log':
        notify('notifications/message', level='error', logger='zoo', data='something is wrong')
        notify('notifications/message', level='debug', data={'n': 1.50})
        text(id, 'done')
    elif tool == 'params':
        text(id, json.dumps(params))
    elif tool == 'pid':
        text(id, str(os.getpid()))
    elif tool == 'ask':
        asked['q'] = id
        say({'id': 'q', 'method': a['method'], 'params': {}})
    elif tool == 'ask-flood':
        while True:
            say({'id': 1, 'method': 'ping'})
    elif tool == 'replay':  # once more the answers to all calls before it, then its own
        for old in answered:
            text(old, 'stolen')
        text(id, 'mine')
    elif tool == 'twice':
        text(id, 'once')
        text(id, 'twice')
    elif tool == 'strange-ids':
        for i in ('"a"', '7', '99999999999999999999', '2049999999', '1.5', '-1'):
            raw(b'{"jsonrpc":"2.0","id":%s,"result":{}}\n' % i.encode())
        text(id, 'done')
    elif tool == 'print':
        for i in range(n or 1):
            raw(b'zoo: line %d of what is no message\n' % i)
        raw(b'{"level":30,"msg":"a log line in JSON"}\n\n')
        text(id, 'done')
    elif tool == 'flood':
        while True:
            raw(b'zoo: nothing but noise\n' * 1000)
    elif tool == 'broken':
        raw(b'{"jsonrpc":"2.0","id":%d,"result":{"a":\n' % id)
    elif tool == 'both':
        raw(b'{"jsonrpc":"2.0","id":%d,"result":{},"error":{"code":1,"message":"x"}}\n' % id)
    elif tool == 'null-id':
        raw(b'{"jsonrpc":"2.0","id":null,"result":{}}\n')
    elif tool == 'bad-utf8':
        raw(b'{"jsonrpc":"2.0","id":%d,"result":{"a":"\xff"}}\n' % id)
    elif tool == 'deep':
        raw(b'{"jsonrpc":"2.0","id":%d,"result":{"a":%s%s}}\n' % (id, b'[' * n, b']' * n))
    elif tool == 'batch':
        raw(b'[{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"in a batch"}},'
            b'{"jsonrpc":"2.0","id":%d,"result":{"content":[]}}]\n' % id)
    elif tool == 'big':
        text(id, 'y' * n)
    elif tool == 'endless':
        try:
            while True:
                raw(b'x' * 65536)
        except OSError:
            os._exit(9)
    elif tool == 'half':
        raw(b'{"jsonrpc":"2.0","id":%d,"res' % id)
        os._exit(0)
    elif tool == 'crash':
        print('zoo: about to crash', file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif tool == 'exit':
        os._exit(n)
    elif tool == 'answer-exit':
        text(id, 'done')
        os._exit(n)
    elif tool == 'change':
        extra.append('new-%d' % len(extra))
        for _ in range(n or 1):
            notify('notifications/tools/list_changed')
        text(id, 'done')
    elif tool == 'counts':
        text(id, json.dumps({'lists': counts, 'subscribed': subscribed, 'cancelled': cancelled, 'initialized': initialized}))
    elif tool == 'hang':
        never()
    elif tool == 'touch':
        notify('notifications/resources/updated', uri=a['uri'])
        text(id, str(os.getpid()))
    elif tool.startswith('read'):
        counts[tool] = counts.get(tool, 0) + 1
        text(id, str(counts[tool]))
    elif tool in TOOLS or tool in extra:
        text(id, json.dumps(a))
    else:
        error(id, -32602, 'Unknown tool: ' + tool)
    answered.append(id)


def on_request(id, method, params):
    if options['era'] == 'modern':
        meta = params.get('_meta') or {}
        if method != 'server/discover' and (meta.get(META + 'protocolVersion') != MODERN or META + 'clientCapabilities' not in meta):
            return error(id, -32602, 'zoo: _meta is not what %s wants' % MODERN)
        if method in ('initialize', 'ping'):
            return error(id, -32601, 'Method not found')
        if method == 'subscriptions/listen':
            listening.append(id)
            return notify('notifications/subscriptions/acknowledged', notifications=params['notifications'])
        if method == 'server/discover':
            return result(id, supportedVersions=[MODERN], capabilities={'tools': {'listChanged': True}, 'prompts': {}}, ttlMs=0, cacheScope='public',
                          _meta={META + 'serverInfo': {'name': 'zoo', 'version': '1.2'}})
    if method == 'initialize':
        if options['start'] == 'error':
            return error(id, -32000, 'zoo: there is no key in ZOO_KEY')
        if options['start'] == 'garbage':
            return raw(b'{"jsonrpc":"2.0","id":%d,"result":\n' % id)
        resources = {'subscribe': True} if options['uris'] else {}
        result(id, protocolVersion=options['version'] or params['protocolVersion'], serverInfo={'name': 'zoo', 'version': '1.2'},
               capabilities={'tools': {'listChanged': True}, 'resources': resources, 'prompts': {}, 'logging': {}}, instructions='Be kind.')
    elif method == 'ping':
        result(id)
    elif method.endswith('/list'):
        on_list(id, method, params)
    elif method == 'tools/call':
        on_call(id, params)
    elif method == 'resources/read':
        result(id, contents=[{'uri': params['uri'], 'text': json.dumps(params)}])
    elif method == 'prompts/get':
        result(id, messages=[{'role': 'user', 'content': {'type': 'text', 'text': json.dumps(params)}}])
    elif method == 'completion/complete':
        result(id, completion={'values': [json.dumps(params)]})
    elif method == 'resources/subscribe':
        subscribed.append(params['uri'])
        result(id)
    else:
        error(id, -32601, 'Method not found')


def on_message(m):
    global initialized
    if m.get('method') and 'id' in m:
        on_request(m['id'], m['method'], m.get('params') or {})
    elif m.get('method') == 'notifications/initialized':
        initialized += 1
    elif m.get('method') == 'notifications/cancelled':
        cancelled.append(m['params'])
        a = pending.get(m['params']['requestId'])
        if a is None or a.get('deaf'):
            return
        del pending[m['params']['requestId']]
        if a.get('late'):
            text(m['params']['requestId'], 'too late')
    elif 'id' in m and m['id'] in asked:
        text(asked.pop(m['id']), json.dumps(m))


def main():
    for a in sys.argv[1:]:
        name, _, value = a[2:].partition('=')
        options[name] = int(value) if name == 'pages' else value
    extra.extend(options['more'].split(',') if options['more'] else [])
    if options['start'] == 'exit':
        print('zoo: no, I will not start', file=sys.stderr, flush=True)
        os._exit(3)
    if options['start'] == 'mute':
        never()
    if options['start'] == 'noisy':
        raw(b'Zoo MCP server running on stdio\n')
    if options['start'] == 'early':
        notify('notifications/tools/list_changed')
    buf = b''
    while True:
        if select.select([0], [], [], 0.01 if pending else None)[0]:
            data = os.read(0, 1 << 20)
            if not data:
                return
            buf += data
            while b'\n' in buf:
                line, _, buf = buf.partition(b'\n')
                on_message(json.loads(line))
        for id, a in list(pending.items()):
            if a.get('path') and os.path.exists(a['path']):
                del pending[id]
                text(id, a['path'])


main()
