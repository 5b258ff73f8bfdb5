#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""No worker, and no descendant of one, outlives flowd, however flowd ends."""

from flowtest import *


@contextlib.contextmanager
def family():
    """Workers of all kinds, with descendants near and far that ignore TERM."""
    with Flowd(workers={'w': worker(zoo(), StopTimeout='300ms'), 'x': worker(zoo_exec(), 'exec', StopTimeout='300ms'),
                        's': worker(zoo() + ' --start=stubborn', StopTimeout='300ms'), 'l': worker(zoo_jsonl(), 'jsonl')},
               pools={'w': pool('w', Min=2, Max=2), 'x': pool('x', 'cold', Max=4), 's': pool('s', Max=1), 'l': pool('l', Max=1)},
               conf={'ShutdownTimeout': '1s'}, clean=False) as f:
        f.wait_ready('w', 2)
        j = f.jobs()
        for _ in range(4):
            for verb in ('child', 'far-child'):
                completed(j.run('w', b'', verb))
        [j.job_id(j.submit('x', b'', verb)) for verb in ('stubborn', 'hang')]
        [j.job_id(j.submit('s', b'', 'hang'))]
        wait_until(lambda: f.pool('x')['running'] == 2 and f.pool('s')['running'] == 1)
        wait_until(lambda: len(f.left_over()) >= 2 + 2 + 8 + 2 + 1 + 1, what='all processes of the family')
        yield f
        j.close()


def all_gone(f, bound=10):
    f.process.wait(bound * SLOW)
    wait_until(lambda: not f.left_over(), bound, 'the end of %s' % [(p, command_of(p)) for p in f.left_over()])


@test
def the_daemon_is_the_guardian_s_child():
    with family() as f:
        check(f.pid != f.process.pid, 'there is no guardian')
        equal(parent_of(f.pid), f.process.pid)
        f.stop()


@test
def SIGKILL_of_the_daemon():
    with family() as f:
        os.kill(f.pid, signal.SIGKILL)
        all_gone(f)
        check(f.process.returncode != 0, 'a killed daemon is no success')


@test
def SIGKILL_of_the_guardian():
    with family() as f:
        os.kill(f.process.pid, signal.SIGKILL)
        all_gone(f)


@test
def SIGKILL_of_both():
    # nothing is left to kill the descendants in sessions of their own; but the workers themselves have PDEATHSIG
    with family() as f:
        workers = f.pids()
        os.kill(f.process.pid, signal.SIGSTOP)
        os.kill(f.pid, signal.SIGKILL)
        os.kill(f.process.pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(p) for p in workers), what='the end of the workers')


@test
def SIGKILL_of_the_daemon_after_a_reexec():
    with family() as f:
        f.call('Reexec')
        os.kill(f.pid, signal.SIGKILL)
        all_gone(f)


@test
def SIGTERM_and_SIGINT():
    for s in (signal.SIGTERM, signal.SIGINT):
        with family() as f:
            os.kill(f.process.pid, s)
            all_gone(f)
            equal(f.process.returncode, 0)
            check(not os.path.exists(f.control_path()), 'the control socket was left behind')
            check(not os.path.exists(f.jobs_path()), 'the jobs socket was left behind')


@test
def SIGTERM_to_the_daemon_itself():
    with family() as f:
        os.kill(f.pid, signal.SIGTERM)
        all_gone(f)
        equal(f.process.returncode, 0)


@test
def running_jobs_may_finish_at_the_end():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}, conf={'ShutdownTimeout': '10s'}) as f, f.jobs() as j:
        gate = f.gate()
        f.events
        i = j.submit('w', gate.payload, 'gate')
        k = j.submit('w', b'queued', 'echo')
        j.job_id(i), j.job_id(k)
        wait_until(lambda: f.pool('w')['running'] == 1)
        f.process.send_signal(signal.SIGTERM)
        f.events.wait('flowd-stopping')
        gate.open()
        completed(j.result(i), gate.payload)
        j.until(lambda: k in j.results or j.eof)
        if k in j.results:
            check(j.results[k].outcome in ('completed', 'cancelled', 'failed'), j.results[k])


@test
def a_second_instance_is_refused():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}) as f:
        r = subprocess.run(f.command(), env=f.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=20 * SLOW)
        check(r.returncode not in (0, -9), 'status %d' % r.returncode)
        contains(r.stdout.decode(), f.runtime)
        equal(f.status()['pid'], f.pid)
        with f.jobs() as j:
            completed(j.run('w', b'x', 'echo'))


@test
def sockets_of_a_killed_instance_are_no_obstacle():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}) as f:
        os.kill(f.process.pid, signal.SIGKILL)
        all_gone(f)
        with contextlib.suppress(ValueError):
            import flowtest
            flowtest._instances.remove(f)
        f.start()
        with f.jobs() as j:
            completed(j.run('w', b'x', 'echo'))


@test
def readiness_is_told():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    d = tempfile.mkdtemp(prefix='ft-n-')
    try:
        s.bind(d + '/n')
        s.settimeout(15 * SLOW)
        with Flowd(workers={'w': worker(zoo() + ' --start=sleep --code=300')}, pools={'w': pool('w', Max=1)},
                   env={'NOTIFY_SOCKET': d + '/n'}) as f:
            said = ''
            while 'READY=1' not in said:
                said += s.recv(4096).decode() + '\n'
            equal(f.pool('w')['ready'], 1, 'ready workers when READY=1 came:')
            with f.jobs() as j:
                e = j.run('w', b'', 'env').payload.decode()
                check('NOTIFY_SOCKET' not in e)
    finally:
        s.close()
        shutil.rmtree(d)


main()
