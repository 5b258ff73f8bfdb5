#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Re-exec: a new image takes over everything that lives; nobody is restarted, disconnected or asked again."""

from flowtest import *


def house(program=FLOWD, **conf):
    return Flowd(workers={'frame': worker(zoo(), Slots=1), 'slots': worker(zoo() + ' --slots=4', Slots=4),
                          'jsonl': worker(zoo_jsonl(), 'jsonl'), 'exec': worker(zoo_exec(), 'exec'),
                          'beat': worker(zoo(), HeartbeatInterval='%dms' % (800 * SLOW), StopTimeout='1s')},
                 pools={'frame': pool('frame', Min=2, Max=2), 'slots': pool('slots', Max=1), 'jsonl': pool('jsonl', Max=1),
                        'exec': pool('exec', 'cold', Max=2), 'warm': pool('frame', 'warm', Min=0, Max=2, IdleTimeout='1h'),
                        'beat': pool('beat', Max=1)}, conf=conf or None, program=program)


def identities(f, *pools):
    return [(w['id'], w['pid'], w['generation']) for w in f.workers() if not pools or w['pool'] in pools]


RESIDENT = ('frame', 'slots', 'jsonl', 'warm', 'beat')


@test
def keeps_workers_and_counters():
    with house() as f, f.jobs() as j:
        f.wait_ready('frame', 2)
        for p in ('frame', 'slots', 'jsonl', 'exec', 'warm'):
            completed(j.run(p, 'x', 'echo'), b'x')
        wait_until(lambda: not f.pids('exec'), what='the cold worker to go')
        before, b = identities(f, *RESIDENT), f.status()
        f.call('Reexec')
        a = f.status()
        equal(a['pid'], b['pid'])
        equal(identities(f, *RESIDENT), before)
        equal(a['reexecs'], b['reexecs'] + 1)
        for k in ('jobs_completed', 'jobs_failed', 'results_kept', 'started_usec'):
            equal(a[k], b[k], k)
        equal([(p['name'], p['completed'], p['spawned'], p['state']) for p in a['pools']],
              [(p['name'], p['completed'], p['spawned'], p['state']) for p in b['pools']])
        for p in ('frame', 'slots', 'jsonl', 'exec', 'warm'):  # over the connection from before
            completed(j.run(p, 'y', 'echo'), b'y')
        equal(identities(f, *RESIDENT), before)
        check(abs(a['fds'] - b['fds']) <= 3, 'descriptors: %d before, %d after' % (b['fds'], a['fds']))


@test
def jobs_running_and_queued():
    with house() as f, f.jobs(timeout=30) as j, f.jobs(memfd=False, timeout=30) as k, f.control() as run, f.control() as wait:
        f.wait_ready('frame', 2)
        gate = f.gate()
        running = [(c, c.submit(p, gate.path, 'gate'), gate.payload) for c, p in
                   ((j, 'frame'), (k, 'frame'), *[(j, 'slots')] * 4, (j, 'jsonl'), (k, 'exec'))]
        for c, i, _ in running:
            c.job_id(i)
        wait_until(lambda: f.status()['jobs_running'] == 8)
        queued = [(c, c.submit('frame', d, 'echo'), d) for c, d in
                  ((j, b'q1'), (k, b'q2'), (j, os.urandom(300 * KiB)), (k, os.urandom(300 * KiB)), (j, os.urandom(5 * MiB)))]
        queued += [(j, j.submit('jsonl', 'queued', 'echo'), b'queued')]
        for c, i, _ in queued:
            c.job_id(i)
        detached = j.submit('frame', b'detached', 'echo', detached=1)
        name = j.job_id(detached)
        run.send('Run', pool='frame', method='echo', payload='by control')
        wait.send('Wait', job=name)
        wait_until(lambda: f.pool('frame')['queued'] == 7)
        before = identities(f)
        f.call('Reexec')
        equal(identities(f), before)
        s = f.status()
        equal((s['jobs_running'], f.pool('frame')['queued']), (8, 7))
        gate.open()
        for c, i, d in running + queued:
            r = completed(c.result(i), d)
            equal(r.attempts, 1)
        equal(run.answer()['result'], 'by control')
        equal(base64.b64decode(wait.answer()['result']), b'detached')
        completed(k.result(k.wait(name)), b'detached')
        equal(identities(f, *RESIDENT), [b for b in before if b[0].split('/')[0] in RESIDENT])


@test
def jobs_are_listed_newest_first():
    with house() as f, f.jobs(timeout=30) as j:
        f.wait_ready('frame', 2)
        slow = j.submit('frame', 'slow', 'sleep:400')
        ids = [j.submit(p, 'x', m, **({'detached': 1} if d else {}))
               for p, m, d in (('slots', 'sleep:60000', 0), ('jsonl', 'echo', 1), ('frame', 'echo', 0), ('jsonl', 'echo', 0), ('frame', 'echo', 1))]
        names = [j.job_id(i) for i in (slow, *ids)]
        completed(j.result(slow), b'slow')  # accepted first, ended last
        wait_until(lambda: f.status()['jobs_completed'] == 5)

        def listed():
            return [x['id'] for x in f.call('ListJobs')['jobs']]

        equal(listed(), names[::-1])
        f.call('Reexec')
        equal(listed(), names[::-1])
        names.append(j.job_id(j.submit('slots', 'y', 'sleep:60000')))
        equal(listed(), names[::-1])
        equal(f.call('ListJobs', limit=2)['jobs'][1]['id'], names[-2])


@test
def streams_stay_open():
    with house() as f, f.control() as watch:
        f.events
        watch.send('Watch', more=True, interval_usec=100000)
        equal(watch.answer()['status']['pid'], f.pid)
        with f.jobs() as j:
            ended(j.run('frame', b'', 'crash', timeout=10**7), 'failed')
        n = len(f.events.find('worker-crashed'))
        f.call('Reexec')
        f.events.wait('flowd-reexeced')
        for _ in range(5):
            equal(watch.answer()['status']['pid'], f.pid)
        with f.jobs() as j:
            ended(j.run('frame', b'', 'crash', timeout=10**7), 'failed')
        f.events.wait('worker-crashed', n + 1)
        equal(f.events.error, None)


@test
def a_payload_half_sent_and_half_received():
    with house() as f:
        f.wait_ready('frame', 2)
        with f.jobs(memfd=False, timeout=30) as j, f.jobs(memfd=False, timeout=30) as slow, f.control() as c:
            d = os.urandom(20 * MiB)
            whole = frame(JOB, d, job=77, pool='frame', method='echo', kind=BYTES)
            small = frame(JOB, b'small', job=78, pool='frame', method='echo', kind=BYTES)
            j.send(whole[:11 * MiB + 17])
            slow.send(small[:10])           # half a header
            c.s.sendall(b'{"method":"io.flowd.Sta')  # half a message
            time.sleep(0.2)
            f.call('Reexec')
            j.send(whole[11 * MiB + 17:])
            slow.send(small[10:])
            c.s.sendall(b'tus"}\0')
            equal(c.answer()['pid'], f.pid)
            completed(slow.result(78), b'small')
            completed(j.result(77), d)
            # a result that the client has only begun to read
            i = slow.submit('frame', d, 'echo')
            slow.until(lambda: len(slow.buf) > 100)
            f.call('Reexec')
            completed(slow.result(i), d)
            # and a worker that has got half of its payload, or sent half of its result
            for n in range(3):
                i = j.submit('exec', d, 'echo')
                j.job_id(i)
                time.sleep(0.02 * n)
                f.call('Reexec')
                completed(j.result(i), d)


@test
def a_large_message_on_control_half_sent():
    with house() as f, f.control() as c:
        text = 'x' * (3 * MiB)
        m = json.dumps({'method': 'io.flowd.Run', 'parameters': {'pool': 'frame', 'method': 'echo', 'payload': text}}).encode() + b'\0'
        c.s.sendall(m[:2 * MiB])
        time.sleep(0.1)
        f.call('Reexec')
        c.s.sendall(m[2 * MiB:])
        equal(len(c.answer()['result']), len(text))


@test
def timers_go_on():
    with house() as f, f.jobs(timeout=30) as j:
        f.wait_ready('frame', 2)
        start = time.monotonic()
        a = j.submit('frame', b'', 'sleep:0', timeout=3000000)
        b = j.submit('jsonl', 'x', 'sleep:0', deadline=int((time.time() + 3) * 1e6))
        e = j.submit('exec', 'x', 'hang', timeout=3000000)
        wait_until(lambda: f.status()['jobs_running'] == 3)
        f.call('Reexec')
        for i in (a, b, e):
            ended(j.result(i), 'timeout')
        check(2.7 < time.monotonic() - start < 15 * SLOW, 'timeouts after %.2f s' % (time.monotonic() - start))
        # heartbeats are expected from the new image, too
        pid = f.pids('beat')[0]
        os.kill(pid, signal.SIGSTOP)
        f.call('Reexec')
        wait_until(lambda: not alive(pid), what='the hung worker to be killed')


@test
def a_definition_that_changes_with_it():
    # a worker goes on as what it was started as, with all that it has in hand
    with Flowd(workers={'w': worker(zoo() + ' --slots=4', Slots=4)}, pools={'w': pool('w', 'hot', Min=1, Max=1)}) as f, f.jobs(timeout=30) as j:
        f.wait_ready('w')
        gate = f.gate()
        ids = [j.submit('w', gate.payload, 'gate') for _ in range(4)]
        wait_until(lambda: f.status()['jobs_running'] == 4)
        f.write_worker('w', worker(zoo() + ' --slots=4', Slots=1))
        f.call('Reexec')
        gate.open()
        for i in ids:
            equal(completed(j.result(i), gate.payload).attempts, 1)
        wait_until(lambda: [w['slots'] for w in f.workers('w')] == [1], what='a worker of the new definition')


@test
def exits_are_noticed():
    with house() as f, f.jobs(timeout=30) as j:
        f.wait_ready('frame', 2)
        f.call('Reexec')
        pid = f.pids('jsonl')[0]
        os.kill(pid, signal.SIGKILL)
        completed(j.run('jsonl', 'x'), b'x')
        for _ in range(3):
            completed(j.run('frame', b'x', 'once'), b'x')
            f.call('Reexec')
        far = int(j.run('frame', b'', 'far-child').payload)
        f.call('Reexec')
        for w in f.workers('frame'):
            f.call('KillWorker', id=w['id'])
        wait_until(lambda: not alive(far), what='a descendant from before the re-exec to be killed')


@test
def settings_of_the_moment_are_kept():
    with house() as f, f.jobs() as j:
        f.call('DrainPool', pool='jsonl')
        f.call('ScalePool', pool='warm', target=2)
        f.wait_ready('warm', 2)
        i = j.submit('jsonl', 'waits', 'echo')
        j.job_id(i)
        f.call('Reexec')
        equal((f.pool('jsonl')['queued'], f.pool('jsonl')['state'], f.pool('warm')['target']), (1, 'stopped', 2))
        f.call('ResumePool', pool='jsonl')
        completed(j.result(i), b'waits')


@test
def a_breaker_stays_open():
    with Flowd(workers={'w': worker(zoo() + ' --start=exit'), 'good': worker(zoo())},
               pools={'w': pool('w', Max=1, RestartDelay='10ms', BreakerCrashes=3, BreakerCooldown='1h'), 'good': pool('good')}) as f:
        wait_until(lambda: f.pool('w')['state'] == 'degraded')
        n = f.pool('w')['spawned']
        f.call('Reexec')
        stays(lambda: f.pool('w')['state'] == 'degraded' and f.pool('w')['spawned'] == n, 0.4, 'the breaker was forgotten')


@test
def with_a_bad_configuration_on_disk():
    with house() as f, f.jobs() as j:
        f.wait_ready('frame', 2)
        before = identities(f, *RESIDENT)
        f.write('pools/frame.pool', '[Pool]\nWorker=frame\nTier=tepid\n')
        contains(refused('Busy', f.call, 'Reexec').message, 'frame.pool:3')
        equal(identities(f, *RESIDENT), before)
        completed(j.run('frame', b'x', 'echo'), b'x')
        equal(f.status()['pid'], f.pid)


@test
def one_that_fails_changes_nothing():
    folder = tempfile.mkdtemp(prefix='ft-exe-')
    try:
        program = shutil.copy(FLOWD, folder + '/flowd')
        with house(program) as f, f.jobs() as j:
            f.wait_ready('frame', 2)
            i = j.submit('frame', b'slow', 'sleep:500')
            j.job_id(i)
            before = identities(f)
            pathlib.Path(folder + '/new').write_text('no program\n')
            os.chmod(folder + '/new', 0o755)
            os.rename(folder + '/new', program)
            contains(refused('Busy', f.call, 'Reexec').message, 'the running image goes on')
            equal(identities(f), before)
            equal(f.status()['reexecs'], 0)
            equal(completed(j.result(i), b'slow').attempts, 1)
            os.kill(f.pids('jsonl')[0], signal.SIGKILL)
            completed(j.run('jsonl', 'x', 'echo'), b'x')
    finally:
        shutil.rmtree(folder)


@test(bound=90)
def several_in_a_row_under_load():
    with house() as f:
        f.wait_ready('frame', 2)
        f.events
        before = identities(f, *RESIDENT)
        fds = None
        with Traffic(f, 'frame', every=0), Traffic(f, 'frame', every=0), Traffic(f, 'slots', every=0), Traffic(f, 'jsonl', every=0), \
                Traffic(f, 'exec', every=0.01, worst=5), f.jobs(timeout=60) as j:
            big = [j.submit('frame', os.urandom(3 * MiB), 'echo', inline=n % 2 == 0) for n in range(6)]
            for n in range(12):
                f.flowctl('reexec', check_status=0) if n == 5 else f.call('Reexec')
                time.sleep(0.05)
                if n == 2:
                    fds = f.status()['fds']
            for i in big:
                completed(j.result(i))
        equal(identities(f, *RESIDENT), before)
        equal(f.status()['reexecs'], 12)
        equal((f.status()['jobs_failed'], f.status()['jobs_timeout']), (0, 0))
        check(f.status()['fds'] <= fds + 6, 'descriptors: %d, then %d' % (fds, f.status()['fds']))
        equal(f.events.error, None)


main()
