#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A jsonl worker that misbehaves on demand: what it does is said by a job's method, VERB or VERB:NUMBER.

zoo-jsonl.py [--ready] [--start=exit|mute] [--code=N]     --ready says {"ready":true}, as a type with Ready=explicit demands
"""

import json
import os
import select
import signal
import sys
import time

out = sys.stdout.buffer


def say(m):
    out.write(json.dumps(m).encode() + b'\n')
    out.flush()


def raw(b):
    out.write(b)
    out.flush()


def never():
    while True:
        signal.pause()


def on_job(j, pending):
    id, method = j['job'], j.get('method') or 'echo'
    verb, _, n = method.partition(':')
    n = int(n or 0)
    payload = j['payload']
    echo = {'job': id, 'result': payload}
    if isinstance(payload, dict) and set(payload) == {'base64'}:
        echo['kind'] = 'bytes'
    elif isinstance(payload, str) and verb == 'json':
        echo['kind'] = 'json'
    if verb == 'sleep':
        pending[id] = (time.monotonic() + n / 1000 if n else None, echo, None)
    elif verb == 'gate':  # ends when the file that the payload names is there
        pending[id] = (None, echo, payload)
    elif verb == 'members':
        say({'job': id, 'result': sorted(j), 'kind': 'json'})
    elif verb == 'whole':
        say({'job': id, 'result': j})
    elif verb == 'fail':
        say({'job': id, 'error': {'message': 'zoo: cannot do that', 'retry': n > 0}})
    elif verb == 'talk':
        for i in range(n):
            say({'job': id, 'progress': (i + 1) / n, 'message': 'step %d' % (i + 1)})
            say({'job': id, 'log': 'step %d' % (i + 1), 'level': 'warning'})
        say(echo)
    elif verb == 'garbage':
        raw(b'this is not JSON\n')
        never()
    elif verb == 'binary':
        raw(bytes(range(256)) * 16 + b'\n')
        never()
    elif verb == 'midline':
        raw(json.dumps(echo).encode()[:n or 12])
        os._exit(0)
    elif verb == 'no-newline':  # a whole message, but the line has no end
        raw(json.dumps(echo).encode())
        os._exit(0)
    elif verb == 'endless':  # a line that never ends
        try:
            while True:
                raw(b'x' * 65536)
        except OSError:
            os._exit(9)
    elif verb == 'other-job':
        say({'job': 'aaaaaaaaaaa7', 'result': 'stolen'})
        say(echo)
    elif verb == 'twice':
        say(echo)
        say({'job': id, 'result': 'twice'})
    elif verb == 'bad-kind':
        say({'job': id, 'result': 'x', 'kind': 'poetry'})
        say(echo)
    elif verb == 'bad-base64':
        say({'job': id, 'result': {'base64': '!!!'}, 'kind': 'bytes'})
    elif verb == 'bad-utf8':
        raw(b'{"job":"%s","result":"\xff\xfe"}\n' % id.encode())
    elif verb == 'deep':
        raw(b'{"job":"%s","result":%s%s}\n' % (id.encode(), b'[' * n, b']' * n))
    elif verb == 'big':
        say({'job': id, 'result': 'y' * n})
    elif verb == 'exit':
        os._exit(n)
    elif verb == 'answer-exit':
        say(echo)
        os._exit(n)
    elif verb == 'crash':
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == 'hang':
        never()
    elif verb == 'stubborn':
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        never()
    elif verb == 'pid':
        say({'job': id, 'result': str(os.getpid())})
    elif verb == 'print':
        print('zoo: hello from stderr', file=sys.stderr, flush=True)
        say(echo)
    else:
        say(echo)


def main():
    code, start, ready = 1, None, False
    for a in sys.argv[1:]:
        if a.startswith('--code='):
            code = int(a[7:])
        elif a.startswith('--start='):
            start = a[8:]
        elif a == '--ready':
            ready = True
    if start == 'exit':
        print('zoo: no, I will not start', file=sys.stderr, flush=True)
        os._exit(code)
    if start == 'mute':
        never()
    if ready:
        say({'ready': True})

    pending, buf = {}, b''
    while True:
        due = [t for t, _, _ in pending.values() if t is not None]
        due += [time.monotonic() + 0.01 for _, _, gate in pending.values() if gate]
        wait = max(0, min(due) - time.monotonic()) if due else None
        if select.select([0], [], [], wait)[0]:
            data = os.read(0, 1 << 20)
            if not data:
                if not due:
                    return
                time.sleep(0.01)
            buf += data
            while b'\n' in buf:
                line, _, buf = buf.partition(b'\n')
                m = json.loads(line)
                if 'cancel' in m:
                    if pending.pop(m['cancel'], None):
                        say({'job': m['cancel'], 'error': {'message': 'cancelled'}})
                else:
                    on_job(m, pending)
        for id, (t, echo, gate) in list(pending.items()):
            if (t is not None and t <= time.monotonic()) or (gate and os.path.exists(gate)):
                del pending[id]
                say(echo)


main()
