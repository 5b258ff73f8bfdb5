#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hostile clients and deaf workers: memory and descriptors stay bounded, and others are served meanwhile."""

import random

from flowtest import *

RSS_BOUND = 96 * MiB  # what all of this may cost at any time, above what flowd had before
BURST = 150


def connect(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(10 * SLOW)
    s.connect(path)
    return s


def push(s, data, seconds=1.0):
    """Sends what fits within some time; returns the bytes sent, and whether the peer has closed."""
    s.setblocking(False)
    sent, end = 0, time.monotonic() + seconds
    view = memoryview(data)
    while sent < len(view) and time.monotonic() < end:
        try:
            sent += s.send(view[sent:sent + MiB])
        except BlockingIOError:
            select.select([], [s], [], 0.05)
        except (BrokenPipeError, ConnectionResetError):
            return sent, True
    return sent, False


def closed(s, bound=10):
    """Waits until flowd has closed the connection; returns what it said before."""
    s.setblocking(True)
    s.settimeout(bound * SLOW)
    said = b''
    try:
        while True:
            d = s.recv(65536)
            if not d:
                return said
            said += d
    except (ConnectionResetError, BrokenPipeError):
        return said
    except socket.timeout:
        fail('flowd keeps a connection that it should have closed; it said %s' % said[:200])


@contextlib.contextmanager
def besieged(conf=None, worst=1.0, **wkeys):
    with Flowd(workers={'w': worker(zoo(), **wkeys), 'good': worker(zoo())},
               pools={'w': pool('w', Max=1), 'good': pool('good', Max=1)},
               conf={'ConnectionsPerUser': 1000, **(conf or {})}) as f:
        with f.jobs() as j:
            for _ in range(50):
                completed(j.run('good', b'warm', 'echo'))
        f.status()
        before, fds = rss_of(f.pid), fds_of(f.pid)
        t = Traffic(f, 'good', worst=worst)
        most = [before]
        stop = threading.Event()

        def watch():
            while not stop.wait(0.02):
                with contextlib.suppress(OSError):
                    most[0] = max(most[0], rss_of(f.pid))
        w = threading.Thread(target=watch, daemon=True)
        w.start()
        yield f
        stop.set()
        w.join()
        t.done()
        check(most[0] - before < RSS_BOUND, 'flowd grew by %d MiB' % ((most[0] - before) // MiB))
        wait_until(lambda: fds_of(f.pid) <= fds + 2, 10, 'descriptors to go back to %d' % fds)
        equal(f.status()['pid'], f.pid)


@test
def random_bytes():
    with besieged() as f:
        rnd = random.Random(4711)
        for path in (f.control_path(), f.jobs_path()):
            open_ = []
            for n in range(BURST):
                s = connect(path)
                push(s, rnd.randbytes(rnd.choice((1, 7, 24, 100, 5000, 100000))), 0.2)
                open_.append(s)
            for s in open_:
                s.close()
        # each of these is an error at once, so the connection is closed at once
        for path, data in ((f.jobs_path(), b'\xff' * 24), (f.jobs_path(), b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
                           (f.control_path(), b'\xff\xfe\0'), (f.control_path(), b'GET / HTTP/1.1\r\n\r\n\0')):
            s = connect(path)
            push(s, data)
            closed(s)
            s.close()


@test
def half_messages():
    with besieged() as f:
        open_ = []
        for n in range(BURST):
            c = connect(f.control_path())
            push(c, b'{"method":"io.flowd.Status","parameters":{"x":"' + b'y' * (n * 50))
            open_.append(c)
            j = connect(f.jobs_path())
            push(j, frame(HELLO, version=1, features=1, frame_max=MiB)[:n % 24 + 1])
            open_.append(j)
        equal(f.status()['pid'], f.pid)
        for s in open_:
            s.close()


@test
def deep_and_odd_JSON():
    with besieged() as f:
        def ask(m):
            with f.control() as c:
                try:  # it may have heard enough before all of it was sent
                    c.s.sendall(m + b'\0')
                    return c.recv()
                except (EOFError, ConnectionResetError, BrokenPipeError):
                    return None
        for m in (b'[' * 1000000, b'{"a":' * 300000, b'{"method":"io.flowd.Status","parameters":' + b'[' * 5000 + b']' * 5000 + b'}',
                  b'{"method":"io.flowd.Run","parameters":{"pool":"w","kind":"json","payload":"' + b'[' * 100000 + b'"}}',
                  b'', b'null', b'[]', b'"x"', b'{}', b'{"method":1}', b'{"method":"io.flowd.Status","parameters":[]}',
                  b'{"method":"x"}', b'{"method":"io.flowd.Nonsense"}', b'{"method":"org.example.Nothing"}',
                  b'{"method":"io.flowd.ShowWorker"}', b'{"method":"io.flowd.ShowWorker","parameters":{"id":7}}',
                  b'{"method":"io.flowd.ScalePool","parameters":{"pool":"w","target":1e300}}',
                  b'{"method":"io.flowd.ScalePool","parameters":{"pool":"w","target":"many"}}',
                  b'{"method":"io.flowd.ListJobs","parameters":{"limit":-1}}',
                  b'{"method":"io.flowd.Watch","more":true,"parameters":{"interval_usec":-5}}',
                  b'{"method":"io.flowd.KillWorker","parameters":{"id":"w/0","signal":4096}}',
                  b'{"method":"io.flowd.Run","parameters":{"pool":"w","payload":"\xff\xfe"}}',
                  b'{"method":"io.flowd.Run","parameters":{"pool":"w","payload":"x","timeout_usec":-1}}',
                  b'{"method":"io.flowd.Run","parameters":{"pool":"' + b'p' * 100000 + b'","payload":"x"}}'):
            r = ask(m)
            check(r is None or 'error' in r, 'no error for %s: %s' % (m[:80], r))
        equal(f.pool('w')['spawned'], 1)


@test
def unknown_members_and_oneway():
    with besieged() as f:
        with f.control() as c:
            c.s.sendall(b'{"method":"io.flowd.Status","parameters":{},"oneway":true}\0{"method":"io.flowd.Status","colour":"red"}\0')
            equal(c.answer()['pid'], f.pid)
            equal(c.call('ListPools', name='w')['pools'][0]['name'], 'w')  # and not an answer to the call that wanted none
        # many calls at once are answered in their order
        with f.control() as c:
            for n in range(300):
                c.send('ListPools', name='w' if n % 2 else 'good')
            for n in range(300):
                equal(c.answer()['pools'][0]['name'], 'w' if n % 2 else 'good')


@test
def huge_messages():
    with besieged(conf={'JsonMax': '1M', 'InboundMax': '48M'}) as f:
        data = b'{"method":"' + b'x' * (4 * MiB)
        for n in range(20):
            s = connect(f.control_path())
            sent, gone = push(s, data, 5)
            said = closed(s)
            check(sent < 3 * MiB, 'flowd took %d bytes of one message' % sent)
            s.close()
        # inline frames that announce a lot, many at a time, none of them ever whole
        open_ = []
        for n in range(40):
            s = connect(f.jobs_path())
            push(s, frame(HELLO, version=1, features=0, frame_max=MiB))
            push(s, HEADER.pack(60 * MiB, 0, JOB, 0, 0, 0, 0, 1) + bytes(3 * MiB), 0.3)
            open_.append(s)
        with f.jobs() as j:
            completed(j.run('w', b'x', 'echo'))
        for s in open_:
            s.close()


@test
def announced_sizes_cost_nothing():
    with besieged() as f:
        before = rss_of(f.pid)
        open_ = []
        for n in range(100):
            s = connect(f.jobs_path())
            push(s, frame(HELLO, version=1, features=0, frame_max=MiB) + HEADER.pack(60 * MiB, 0, JOB, 0, 0, 0, 0, 1))
            open_.append(s)
        f.status()
        check(rss_of(f.pid) - before < 40 * MiB, '100 headers cost %d MiB' % ((rss_of(f.pid) - before) // MiB))
        for s in open_:
            s.close()


@test
def bad_descriptors():
    with besieged() as f:
        def job(fds, **keys):
            with f.jobs() as j:
                size = keys.pop('size', 10)
                keys = {'flags': FLAG_MEMFD, 'fds': 1, **keys}
                j.send(frame(JOB, job=5, pool='w', method='echo', kind=BYTES, size=size, **keys), fds)
                j.until(lambda: j.eof or j.results)
                return j.results.get(5)
        r, w = os.pipe()
        unsealed = os.memfd_create('x', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(unsealed, b'0123456789')
        short = sealed_memfd(b'012')
        with tempfile.TemporaryFile() as plain:
            plain.write(b'0123456789')
            plain.flush()
            for fds in ([r], [unsealed], [short], [plain.fileno()], [os.open('/dev/zero', os.O_RDONLY | os.O_CLOEXEC)]):
                x = job(fds)
                check(x is None or x.outcome == 'refused', 'descriptor was taken: %s' % x)
        # too many of them, and ones that belong to nothing
        many = [os.dup(r) for _ in range(100)]
        s = connect(f.jobs_path())
        socket.send_fds(s, [frame(HELLO, version=1, features=1, frame_max=MiB)], many)
        for _ in range(20):
            with contextlib.suppress(OSError):
                socket.send_fds(s, [frame(PING)], many[:20])
        s.close()
        s = connect(f.control_path())
        for _ in range(20):
            with contextlib.suppress(OSError):
                socket.send_fds(s, [b'{"method":"io.flowd.Status"}\0'], many[:50])
        s.close()
        # no descriptor at all: others wait for nothing
        with f.jobs() as j:
            j.send(frame(JOB, job=5, pool='w', flags=FLAG_MEMFD, fds=1, size=10, kind=BYTES) + frame(PING))
            with contextlib.suppress(Failure):
                j.until(lambda: j.eof, timeout=1)
        for fd in (r, w, unsealed, short, *many):
            os.close(fd)


@test
def frames_that_make_no_sense():
    with besieged() as f:
        hello = frame(HELLO, version=1, features=1, frame_max=MiB)
        cases = [
            frame(PING), frame(JOB, b'x', job=1, pool='w'),              # before HELLO
            hello + frame(HELLO, version=1),                            # twice
            frame(HELLO, version=99),
            hello + HEADER.pack(4, 8, JOB, 0, 0, 0, 0, 1) + bytes(8),   # metadata longer than the body
            hello + HEADER.pack(8, 8, JOB, 0, 0, 0, 0, 1) + b'\x11\0\xff\xff' + bytes(4),  # an item that is cut short
            hello + HEADER.pack(70000, 70000, JOB, 0, 0, 0, 0, 1) + bytes(70000),
            hello + HEADER.pack(0, 0, 77, 0, 0, 0, 0, 1),
            hello + HEADER.pack(0, 0, JOB, 0x80, 0, 0, 0, 1),
            hello + frame(RESULT, job=1, status=0), hello + frame(ACCEPTED, job=1), hello + frame(LOG, b'x', job=1),
            hello + frame(PROGRESS, job=1, fraction=5), hello + frame(WAIT, job=1), hello + frame(WAIT, job=1, job_id='../..'),
            hello + frame(CANCEL, job=99), hello + frame(JOB, job=1, pool=b'\xff'), hello + frame(JOB, job=1, pool='x' * 60000),
            hello + frame(JOB, job=1, pool='w', tier='tepid'), hello + frame(JOB, job=1, pool='w', timeout=0, deadline=0, priority=-2**31),
        ]
        for n, data in enumerate(cases):
            s = connect(f.jobs_path())
            push(s, data)
            time.sleep(0.01)
            s.close()
        for n, data in enumerate(cases[:9]):  # these are errors of the connection
            s = connect(f.jobs_path())
            push(s, data)
            check(closed(s, 5) or n < 2, 'case %d: closed without a word' % n)
            s.close()
        equal(f.pool('w')['crashes'], 0)
        with f.jobs() as j:
            completed(j.run('w', b'x', 'echo'))


@test
def never_reading_control():
    with besieged(conf={'ClientBufferMax': '4M'}) as f:
        open_ = []
        for n in range(30):
            s = connect(f.control_path())
            call = b'{"method":"io.flowd.Status"}\0{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"io.flowd"}}\0'
            push(s, call * 3000, 0.15)
            open_.append(s)
        for n in range(10):
            s = connect(f.control_path())
            push(s, b'{"method":"io.flowd.Watch","more":true,"parameters":{"interval_usec":1000}}\0', 0.1)
            open_.append(s)
            s = connect(f.control_path())
            push(s, b'{"method":"io.flowd.Events","more":true}\0', 0.1)
            open_.append(s)
        time.sleep(0.5)
        equal(f.status()['pid'], f.pid)
        for s in open_:
            s.close()


@test
def never_reading_jobs():
    with besieged(conf={'ClientBufferMax': '8M'}) as f:
        f.events
        open_ = []
        job = frame(JOB, b'', job=0, pool='w', method='big:100000', kind=BYTES)
        for n in range(8):
            s = connect(f.jobs_path())
            push(s, frame(HELLO, version=1, features=0, frame_max=65 * MiB))
            push(s, b''.join(job[:16] + struct.pack('<Q', n) + job[24:] for n in range(1, 400)), 0.5)
            open_.append(s)
        f.events.wait('client-dropped', 4, bound=20)
        with f.jobs() as j:
            completed(j.run('w', b'x', 'echo', wait=20))
        for s in open_:
            s.close()


@test
def a_client_that_reads_slowly_but_does():
    with besieged() as f:
        with f.jobs(memfd=False, timeout=30) as j:
            ids = [j.submit('w', b'', 'big:500000') for _ in range(20)]
            while len(j.results) < 20:
                j.s.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    j.buf += j.s.recv(300000)
                while j._parse():
                    pass
                time.sleep(0.003)
            for i in ids:
                equal(len(completed(j.results[i]).payload), 500000)


@test
def limits_of_connections():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}, conf={'ConnectionsPerUser': 20, 'ConnectionsMax': 30}) as f:
        with f.jobs() as keep:
            for path, hello in ((f.control_path(), b'{"method":"io.flowd.Status"}\0'),
                                (f.jobs_path(), frame(HELLO, version=1, features=0, frame_max=MiB))):
                open_, refused_ = [], []
                for n in range(60):
                    try:
                        s = connect(path)
                    except (ConnectionRefusedError, BlockingIOError):
                        continue
                    push(s, hello)
                    s.settimeout(5 * SLOW)
                    try:
                        d = s.recv(65536)
                    except ConnectionResetError:
                        d = b''
                    if not d or b'ConnectionsMax' in d:
                        refused_.append(d)
                        s.close()
                    else:
                        open_.append(s)
                check(15 <= len(open_) <= 20, '%d connections are open' % len(open_))
                check(refused_ and all(b'ConnectionsMax' in d for d in refused_), 'a refusal without a word: %s' % refused_[:1])
                completed(keep.run('w', b'x', 'echo'))
                for s in open_:
                    s.close()
                # and all of it is given back
                wait_until(lambda: _can(path, hello), 5, 'new connections to be taken')


def _can(path, hello):
    s = connect(path)
    try:
        push(s, hello)
        s.settimeout(5 * SLOW)
        return b'ConnectionsMax' not in s.recv(65536)
    except ConnectionResetError:
        return False
    finally:
        s.close()


@test
def clients_that_come_and_go():
    with besieged() as f:
        for n in range(400):
            s = connect(f.jobs_path() if n % 2 else f.control_path())
            if n % 2:
                push(s, frame(HELLO, version=1, features=1, frame_max=MiB) + frame(JOB, b'x', job=1, pool='w', method='echo', kind=BYTES))
            else:
                push(s, b'{"method":"io.flowd.Run","parameters":{"pool":"w","payload":"x","method":"echo"}}\0')
            s.close()
        wait_until(lambda: f.status()['jobs_running'] + f.status()['jobs_queued'] <= 1)
        with f.jobs() as j:
            completed(j.run('w', b'x', 'echo'))


# P8: nobody makes flowd wait

@test
def a_deaf_worker_with_large_payloads():
    with Flowd(workers={'deaf': worker(zoo() + ' --deaf --no-memfd', StopTimeout='300ms', CancelTimeout='300ms'), 'good': worker(zoo()),
                        'sleeper': worker('/bin/sleep 1000', 'exec', StopTimeout='300ms', CancelTimeout='300ms')},
               pools={'deaf': pool('deaf', Min=2, Max=2), 'good': pool('good', Max=1), 'sleeper': pool('sleeper', 'cold', Max=2)}) as f:
        f.wait_ready('deaf', 2)
        with Traffic(f, 'good', worst=0.7), f.jobs(timeout=30) as j:
            ids = [j.submit(p, bytes(40 * MiB), 'echo') for p in ('deaf', 'sleeper', 'deaf', 'sleeper')]
            [j.job_id(i) for i in ids]
            wait_until(lambda: f.pool('deaf')['running'] == 2)
            check(idle_cpu(f.pid, 0.4) < 0.5, 'flowd is busy over a worker that does not read')
            for i in ids:
                j.cancel(i)
            for i in ids:
                ended(j.result(i), 'cancelled')
            for p in ('deaf', 'sleeper'):
                ended(j.run(p, bytes(40 * MiB), 'echo', timeout=500000), 'timeout')


@test
def a_deaf_client_does_not_hold_up_a_worker():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}) as f:
        s = connect(f.jobs_path())
        push(s, frame(HELLO, version=1, features=0, frame_max=65 * MiB))
        push(s, frame(JOB, b'', job=1, pool='w', method='big:%d' % (20 * MiB), kind=BYTES))
        with f.jobs() as j:
            for _ in range(50):
                completed(j.run('w', b'x', 'echo'), b'x')
        equal(f.pool('w')['completed'], 51)
        s.close()


main()
