#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The worker of the crash test. Logs the beginning and the end of each attempt in one write each, which outlive any process, and holds a lock for
the job meanwhile: an attempt that finds it taken overlaps with another one, whatever flowd thinks. A payload is "NUMBER:MILLISECONDS:WHAT"."""

import fcntl
import hashlib
import json
import os
import signal
import sys
import time

directory = sys.argv[1]
log = os.open(os.path.join(directory, 'worker.log'), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def write(*words):
    os.write(log, (' '.join(str(w) for w in words) + '\n').encode())


for line in sys.stdin:
    m = json.loads(line)
    if 'job' not in m:
        continue
    job, attempt, payload = m['job'], m['attempt'], m['payload']
    number, milliseconds, what = payload.split(':')
    lock = os.open(os.path.join(directory, 'locks', job), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        write('OVERLAP', job, attempt)
    write('BEGIN', job, attempt, os.getpid())
    time.sleep(int(milliseconds) / 1000)  # the work
    if what == 'die' and attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    write('END', job, attempt)
    os.close(lock)
    if what == 'fail' and attempt == 1:
        answer = {'error': {'message': 'as it was told to', 'retry': True}}
    else:
        answer = {'result': hashlib.sha256(payload.encode()).hexdigest()}
    print(json.dumps({'job': job, **answer}), flush=True)
