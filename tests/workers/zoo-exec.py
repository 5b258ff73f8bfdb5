#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An exec worker that does what FLOWD_METHOD says, VERB or VERB:NUMBER; without a method it gives its input back.

Most exec tests use a shell; this is for what a shell cannot do portably.
"""

import os
import signal
import sys
import time

# a worker that was started before its job came has no FLOWD_METHOD: then the payload's first line is the method
verb, _, n = (os.environ.get('FLOWD_METHOD') or 'echo').partition(':')
n = int(n or 0)
out = sys.stdout.buffer

if verb == 'exit':
    print('zoo: leaving with %d' % n, file=sys.stderr)
    sys.exit(n)
elif verb == 'crash':
    os.kill(os.getpid(), n or signal.SIGKILL)
elif verb == 'ignore-input':
    out.write(b'did not look')
elif verb == 'close-input':
    os.close(0)
    time.sleep(n / 1000)
    os.write(1, b'did not look')
elif verb == 'hang':
    while True:
        signal.pause()
elif verb == 'stubborn':
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()
elif verb in ('term', 'term-default'):  # the first attempt leaves with the number when TERM comes, or by it; the next one only answers
    if verb == 'term':
        signal.signal(signal.SIGTERM, lambda *_: os._exit(n))
    if os.environ['FLOWD_ATTEMPT'] == '1':
        print('zoo: waits for TERM', file=sys.stderr, flush=True)
        while True:
            signal.pause()
    out.write(b'again')
elif verb == 'sleep':
    time.sleep(n / 1000)
    out.write(b'slept')
elif verb == 'gate':  # ends when the file that its input names is there
    gate = sys.stdin.read()
    while not os.path.exists(gate):
        time.sleep(0.01)
    os.write(1, gate.encode())
elif verb == 'big':
    for _ in range(n >> 16):
        out.write(b'z' * 65536)
    out.write(b'z' * (n & 65535))
elif verb == 'bad-utf8':
    out.write(b'\xff\xfe')
elif verb == 'stderr':
    for i in range(n):
        print('zoo: complaint %d' % i, file=sys.stderr)
    sys.exit(4)
elif verb == 'child':  # the child keeps stdout open; the worker itself is done
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    os.write(1, b'%d' % pid)
    os._exit(0)
elif verb == 'far-child':  # in a session of its own
    r, w = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid:
            os.write(w, b'%d' % pid)
            os._exit(0)
        os.close(1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    os.write(1, os.read(r, 32))
    os._exit(0)
elif verb == 'env':
    for k, v in sorted(os.environ.items()):
        out.write(('%s=%s\n' % (k, v)).encode())
elif verb == 'close-early':  # closes its output long before it exits
    os.write(1, b'early')
    os.close(1)
    time.sleep(n / 1000)
    os._exit(0)
else:
    while True:
        data = os.read(0, 1 << 20)
        if not data:
            break
        out.write(data)
