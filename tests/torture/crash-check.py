#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""crash-check.py DIRECTORY DATABASE: proves P1 and P2 from what was seen outside of flowd, and shares no code with it.

told.log    what submitters were told, a JSON object a line: {"accepted": JOB, "payload": P} and {"ended": JOB, "status": S, "result": R}
worker.log  what workers did: BEGIN JOB ATTEMPT PID, END JOB ATTEMPT, OVERLAP JOB ATTEMPT
plans.log   graphs of four tasks, one a session: {"plan": SESSION, "accepted": BOOL}; false: nobody was told
DATABASE    flowd's, after everything has ended

P1: each accepted job has one row, which says that it has ended, as completed with the right result; nobody was told otherwise, nor twice
    differently. P2: no attempt began while another one of its job was under way, and no number was given twice.
Plans: each that was accepted is there, whole, and each of its tasks has completed with the right result by exactly one job; of the others all or nothing.
Prints what is wrong, a line each, and exits 1; else a line with what was looked at."""

import collections
import hashlib
import json
import os
import sqlite3
import sys

COMPLETED = 2
ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'


def number(job):
    n = 0
    for c in job:
        n = n * 32 + ALPHABET.index(c)
    return n


directory, database = sys.argv[1:]
wrong = []

payloads, told = {}, collections.defaultdict(set)
for line in open(os.path.join(directory, 'told.log')):
    m = json.loads(line)
    if 'accepted' in m:
        if payloads.setdefault(m['accepted'], m['payload']) != m['payload']:
            wrong.append('job %s was given to two payloads' % m['accepted'])
    else:
        told[m['ended']].add((m['status'], m['result']))

rows = {}
with sqlite3.connect('file:%s?mode=ro' % database, uri=True) as db:
    for verdict, in db.execute('PRAGMA integrity_check'):
        if verdict != 'ok':
            wrong.append('integrity_check: ' + verdict)
    for id, state, attempts, result in db.execute('SELECT id, state, attempts, result FROM jobs'):
        rows[id] = state, attempts, result

for job, payload in payloads.items():
    expected = hashlib.sha256(payload.encode()).hexdigest()
    state, attempts, result = rows.get(number(job), (None, None, None))
    if state is None:
        wrong.append('P1: job %s (%s) was accepted, and is not in the database' % (job, payload))
    elif state != COMPLETED:
        wrong.append('P1: job %s (%s) is in state %d' % (job, payload, state))
    elif result is None or bytes(result).decode() != expected:
        wrong.append('P1: job %s (%s) has a wrong result: %r' % (job, payload, result))
    for status, text in told.get(job, ()):
        if status != 'completed' or text != expected:
            wrong.append('P1: of job %s (%s) it was said that it %s with %r' % (job, payload, status, text))

begun, last = collections.defaultdict(list), {}
n_attempts = 0
for line in open(os.path.join(directory, 'worker.log')):
    what, job, attempt, *_ = line.split()
    attempt = int(attempt)
    if what == 'OVERLAP':
        wrong.append('P2: attempt %d of job %s began while another one was under way' % (attempt, job))
    elif what == 'BEGIN':
        n_attempts += 1
        if attempt in begun[job]:
            wrong.append('P2: attempt %d of job %s began twice' % (attempt, job))
        elif begun[job] and attempt < begun[job][-1]:
            wrong.append('P2: attempt %d of job %s began after attempt %d' % (attempt, job, begun[job][-1]))
        begun[job].append(attempt)

for job in payloads:
    if job not in begun and number(job) in rows and rows[number(job)][0] == COMPLETED:
        wrong.append('P1: job %s has completed, and no worker has seen it' % job)

plans, whole = {}, 0
if os.path.exists(os.path.join(directory, 'plans.log')):
    for line in open(os.path.join(directory, 'plans.log')):
        m = json.loads(line)
        plans[m['plan']] = m['accepted']
with sqlite3.connect('file:%s?mode=ro' % database, uri=True) as db:
    sessions = {json.loads(body)['id']: n for n, body in db.execute('SELECT number, body FROM flow_sessions')}
    tasks, jobs = collections.defaultdict(dict), collections.defaultdict(list)
    for n, body, moving, result in db.execute('SELECT session, body, moving, result FROM flow_tasks'):
        tasks[n][json.loads(body)['id']] = json.loads(moving)['state'], bytes(result).decode() if result is not None else None
    for session, key, state in db.execute("SELECT session, key, state FROM jobs WHERE key LIKE 'flow:%'"):
        jobs[session].append((key, state))


def digest(text):
    return hashlib.sha256((text + ':0:ok').encode()).hexdigest()


for plan, accepted in plans.items():
    if plan not in sessions:
        if accepted:
            wrong.append('plan %s was accepted, and is not in the database' % plan)
        continue
    whole += 1
    n = '.'.join(plan.split('-')[1:])
    a, b = digest('a' + n), digest('b' + n)
    c = digest('c%s-%s' % (n, a))
    expected = {'a': a, 'b': b, 'c': c, 'd': digest('d%s-%s-%s' % (n, b, c))}
    if tasks[sessions[plan]] != {t: (3, text) for t, text in expected.items()}:
        wrong.append('plan %s: %s' % (plan, tasks[sessions[plan]]))
    if len(jobs[plan]) != 4 or len({key for key, _ in jobs[plan]}) != 4 or any(state != COMPLETED for _, state in jobs[plan]):
        wrong.append('plan %s has the jobs %s' % (plan, jobs[plan]))
for plan in set(sessions) - set(plans):
    wrong.append('plan %s is there, and nobody has submitted it' % plan)

for line in wrong[:50]:
    print(line)
if wrong:
    print('%d things are wrong' % len(wrong))
    sys.exit(1)
print('%d jobs were accepted, %d were told of, %d attempts were made: each ended once, as it should; so did %d plans' %
      (len(payloads), len(told), n_attempts, whole))
