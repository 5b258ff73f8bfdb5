# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the integration tests share: a private flowd, a client of each of its sockets, and a tiny TAP runner.

A test file looks like this:

    from flowtest import *

    @test
    def echo_answers():
        with Flowd(workers={'echo': worker(zoo())}, pools={'echo': {'Worker': 'echo', 'Tier': 'hot'}}) as f:
            with f.jobs() as j:
                equal(j.run('echo', b'hello').payload, b'hello')

    main()

Each test is bounded (SIGALRM), each Flowd is stopped at the end of its `with` and it is then checked that its exit status was 0 and
that no process of it is left. When a test fails, what flowd wrote to stderr is shown.

Environment: FLOWD, FLOWCTL (the programs), FLOWD_LIBEXEC (shipped workers), top_srcdir, top_builddir; all are guessed when a test is
run by hand. FLOWTEST_SLOW=N multiplies every bound (valgrind, a loaded machine; 3 where flowd has the address sanitizer).
FLOWTEST_ONLY=word runs only the tests whose name has the word; so do arguments. FLOWTEST_VERBOSE=1 shows what flowd wrote always.

In three files: flowtest_kit has the runner and what /proc says, flowtest_wire the clients of the sockets, this one flowd and the zoo.
"""

import base64
import collections
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from flowtest_kit import *
from flowtest_kit import _instances
from flowtest_wire import *

# ---------------------------------------------------------------------------------------------------------------------
# the zoo

_compiled = {}


def _compile(name, *sources):
    """For runs by hand: builds a C worker of tests/workers into a directory that goes away with us."""
    if 'dir' not in _compiled:
        import atexit
        _compiled['dir'] = tempfile.mkdtemp(prefix='ft-zoo-')
        atexit.register(shutil.rmtree, _compiled['dir'], True)
    out = os.path.join(_compiled['dir'], name)
    if not os.path.exists(out):
        subprocess.run([os.environ.get('CC', 'cc').split()[0], '-std=gnu11', '-D_GNU_SOURCE', '-O1', '-g', '-Wall', '-Wextra',
                        '-I%s' % (SRC / 'src'), '-o', out, *[str(SRC / s) for s in sources], '-lm'], check=True)
    return out


def zoo():
    """The path of the frame worker that misbehaves on demand (tests/workers/zoo.c)."""
    built = BUILD / 'tests' / 'workers' / 'zoo'
    if built.exists():
        return str(built)
    return _compile('zoo', 'tests/workers/zoo.c', 'src/proto/frame.c', 'src/basic/str.c')


def zoo_jsonl():
    return '%s %s' % (sys.executable, SRC / 'tests' / 'workers' / 'zoo-jsonl.py')


def zoo_mcp():
    return '%s %s' % (sys.executable, SRC / 'tests' / 'workers' / 'zoo-mcp.py')


def zoo_exec():
    return '%s %s' % (sys.executable, SRC / 'tests' / 'workers' / 'zoo-exec.py')


def worker(exec_, protocol='frame', **keys):
    """A worker type: worker('/bin/cat', 'exec', JobTimeout='5s'); a list of values is an assignment each."""
    return {'Exec': exec_, 'Protocol': protocol, **keys}


def pool(worker_, tier='hot', **keys):
    return {'Worker': worker_, 'Tier': tier, **keys}


def _unit(section, v):
    if isinstance(v, str):
        return v
    lines = ['[%s]' % section]
    for k, x in v.items():
        for one in x if isinstance(x, (list, tuple)) else [x]:
            lines.append('%s=%s' % (k, one))
    return '\n'.join(lines) + '\n'


class Gate:
    """What a job of the method "gate" waits for: it has `payload`, which is also its result, and ends once open() was called."""

    def __init__(self, path):
        self.path, self.payload = path, path.encode()

    def open(self):
        pathlib.Path(self.path).touch()


# ---------------------------------------------------------------------------------------------------------------------
# flowd

class Flowd:
    """A private instance. `workers` and `pools` are by name, each a dict of keys or a file's text; `conf` is the section [Flowd]."""

    def __init__(self, workers=None, pools=None, conf=None, start=True, args=(), env=None, ready=('running', 'degraded'),
                 stop_bound=15, clean=True, program=FLOWD):
        self.dir = tempfile.mkdtemp(prefix='ft-', dir='/tmp')  # short: a socket's path has room for 107 bytes
        self.id = os.path.basename(self.dir)
        self.marker = b'FLOWTEST_ID=' + self.id.encode()
        self.config, self.runtime, self.state = (os.path.join(self.dir, d) for d in 'crs')
        self.log_path = os.path.join(self.dir, 'log')
        for d in (self.config, self.config + '/workers', self.config + '/pools', self.runtime, self.state):
            os.mkdir(d, 0o755)
        os.chmod(self.dir, 0o755)
        self.program = program
        self.process = None
        self.clean = clean          # whether exit 0 and an empty process table are demanded at the end
        self.stop_bound = stop_bound
        self.args, self.env, self.ready = list(args), dict(env or {}), ready
        self._events = None
        self._gates = 0
        if conf is not None:
            self.write_conf(conf)
        for name, v in (workers or {}).items():
            self.write_worker(name, v)
        for name, v in (pools or {}).items():
            self.write_pool(name, v)
        if start:
            try:
                self.start()
            except BaseException:
                self.show_log()
                self.kill()
                raise

    # files

    def write(self, path, text):
        p = os.path.join(self.config, path)
        os.makedirs(os.path.dirname(p), exist_ok=True)
        with open(p + '.new', 'w') as out:
            out.write(text)
        os.rename(p + '.new', p)
        return p

    def remove(self, path):
        os.unlink(os.path.join(self.config, path))

    def write_conf(self, v):
        return self.write('flowd.conf', _unit('Flowd', v))

    def write_worker(self, name, v):
        if not isinstance(v, str):
            v = dict(v)
            e = v.get('Environment', [])
            v['Environment'] = [*([e] if isinstance(e, str) else e), self.marker.decode()]
        return self.write('workers/%s.worker' % name, _unit('Worker', v))

    def write_pool(self, name, v):
        return self.write('pools/%s.pool' % name, _unit('Pool', v))

    # the process

    def command(self, *more):
        return [self.program, '--config=' + self.config, '--runtime=' + self.runtime, '--state=' + self.state, *self.args, *more]

    def environment(self):
        e = {k: v for k, v in os.environ.items() if not k.startswith(('FLOWD', 'LISTEN_', 'NOTIFY_'))}
        e['FLOWTEST_ID'] = self.id
        e['FLOWD_LIBEXEC'] = LIBEXEC
        e.update(self.env)
        return e

    def spawn(self):
        """Starts the process without waiting for it to be ready."""
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(),
                                            start_new_session=True)
        if self not in _instances:  # else it is started again
            _instances.append(self)

    def start(self, bound=20):
        self.spawn()

        def is_ready():
            if self.process.poll() is not None:
                fail('flowd ended with status %d instead of becoming ready' % self.process.returncode)
            try:
                with self.control(timeout=bound * SLOW) as c:
                    s = c.call('Status')
            except (OSError, EOFError):
                return None
            return s if s['state'] in self.ready else None
        s = wait_until(is_ready, bound, 'flowd to become %s' % ' or '.join(self.ready))
        self.pid = s['pid']
        return s

    def control_path(self):
        return os.path.join(self.runtime, 'control')

    def jobs_path(self):
        return os.path.join(self.runtime, 'jobs')

    def control(self, timeout=20):
        return Control(self.control_path(), timeout)

    def jobs(self, **keys):
        return Jobs(self.jobs_path(), **keys)

    def call(self, method, /, **parameters):
        """One call over a connection of its own."""
        with self.control() as c:
            return c.call(method, **parameters)

    def status(self):
        return self.call('Status')

    def pool(self, name):
        for p in self.call('ListPools')['pools']:
            if p['name'] == name:
                return p
        fail('there is no pool', name)

    def workers(self, pool=None):
        return self.call('ListWorkers', **({'pool': pool} if pool else {}))['workers']

    def worker(self, id):
        return self.call('ShowWorker', id=id)['worker']

    def pids(self, pool=None):
        return sorted(w['pid'] for w in self.workers(pool) if w['pid'] > 0)

    def job(self, id):
        return self.call('ShowJob', id=id)['job']

    def wait_ready(self, pool, n=1, bound=15):
        return wait_until(lambda: [w for w in self.workers(pool) if w['state'] in ('ready', 'busy')][n - 1:],
                          bound, '%d ready workers of %s' % (n, pool))

    def gate(self):
        """A new Gate, for jobs that must run until a test has seen what it wants to see."""
        self._gates += 1
        return Gate('%s/gate-%d' % (self.dir, self._gates))

    def flowctl(self, *args, input=None, timeout=60, check_status=None, **keys):
        """Runs flowctl against this instance; returns the CompletedProcess with bytes."""
        r = subprocess.run([FLOWCTL, '--runtime=' + self.runtime, *args], input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=timeout * SLOW, env=self.environment(),
                           **({} if input is not None else {'stdin': subprocess.DEVNULL}), **keys)
        if check_status is not None and r.returncode != check_status:
            fail('flowctl %s: status %d, expected %d; stderr: %s' %
                 (' '.join(args), r.returncode, check_status, r.stderr.decode(errors='replace')))
        return r

    # what it said

    def log(self):
        with open(self.log_path, 'rb') as log:
            return log.read().decode(errors='replace')

    def logged(self, *parts, bound=10):
        """Waits until all of that is in the log: it is written by another thread of flowd, and what workers say comes through pipes."""
        wait_until(lambda: all(p in self.log() for p in parts), bound, 'the log to say %s' % ', '.join(repr(p) for p in parts))

    def show_log(self, most=60):
        lines = self.log().rstrip('\n').split('\n')
        if len(lines) > most:
            print('#   (%d earlier lines of flowd left out)' % (len(lines) - most))
        for line in lines[-most:]:
            print('#   flowd: ' + line[:400], flush=True)

    @property
    def events(self):
        """The events since this was first asked for."""
        if not self._events:
            self._events = Events(self)
        return self._events

    # the end

    def left_over(self):
        return [p for p in marked(self.marker) if p != os.getpid()]

    def stop(self, status=0, bound=None):
        """SIGTERM; then the exit status must be as expected and no process of this instance may be left."""
        bound = (bound or self.stop_bound) * SLOW
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            got = self.process.wait(bound)
        except subprocess.TimeoutExpired:
            fail('flowd did not stop within %g s after SIGTERM' % bound)
        equal(got, status, 'exit status of flowd:')
        wait_until(lambda: not self.left_over(), 5, 'the last process to go; left: %s' %
                   [(p, command_of(p)) for p in self.left_over()])
        self.check_log()

    def check_log(self):
        for line in self.log().split('\n'):
            if any(w in line for w in ('AddressSanitizer', 'LeakSanitizer', 'runtime error:', 'Assertion')):
                fail('flowd said:', line)

    def kill(self):
        """The end without questions: kills whatever is left and removes the directory."""
        if self._events:
            self._events.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for _ in range(100):
            left = self.left_over()
            if not left:
                break
            for p in left:  # ours for sure: they carry the marker
                with contextlib.suppress(OSError):
                    os.kill(p, signal.SIGKILL)
            time.sleep(0.02)
        with contextlib.suppress(ValueError):
            _instances.remove(self)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        signal.setitimer(signal.ITIMER_REAL, 0 if kind else signal.getitimer(signal.ITIMER_REAL)[0])
        try:
            if kind is None and self.clean:
                self.stop()
        except BaseException:
            kind = True
            raise
        finally:
            if VERBOSE or (kind is not None and kind is not Skip):
                self.show_log()
            self.kill()


OTHER_USER = 61234  # who is nobody in particular, and needs no account


def as_user(f, group, calls):
    """Makes control calls, as (method, parameters), as another user in that group; returns what each answered, or the error's name."""
    r, w = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([group])
            os.setgid(group)
            os.setuid(OTHER_USER)
            out = []
            with f.control() as c:
                for method, p in calls:
                    try:
                        out.append(c.call(method, **p))
                    except ControlError as e:
                        out.append(e.name)
            os.write(w, json.dumps(out).encode())
        finally:
            os._exit(0)
    os.close(w)
    with open(r) as answers:
        out = json.loads(answers.read())
    os.waitpid(child, 0)
    return out


class Events:
    """The Events stream of an instance, collected by a thread.

    It comes over a connection of its own: what a test did or was told over another one says nothing about how far the stream is.
    find() asks flowd for its last event and lets the stream catch up with it; wait() is for what flowd has yet to say.
    """

    def __init__(self, f):
        self.list, self.error, self.f = [], None, f
        self.c = f.control()
        self.c.send('Events', more=True, limit=1)
        self.before = self.c.answer()['events']  # which also says that from here on none is missed
        self.c.s.settimeout(None)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            while True:
                m = self.c.recv()
                if 'error' in m:
                    self.error = m
                    return
                self.list.extend(m.get('parameters', {}).get('events', []))
        except (OSError, EOFError, ValueError) as e:
            self.error = e

    def sync(self):
        """Returns when all that flowd has reported until now is in the list."""
        last = self.f.call('Events', limit=1)['events']
        wait_until(lambda: self._is_open() and (last == self.before or all(e in self.list for e in last)), 10,
                   'the stream of events to catch up with %s' % last)

    def find(self, name, **members):
        """The events of that name that flowd has reported until now."""
        self.sync()
        return self._arrived(name, members)

    def wait(self, name, n=1, bound=10, **members):
        """Waits for the nth such event; returns the first."""
        wait_until(lambda: len(self._arrived(name, members)) >= n or not self._is_open(), bound,
                   'event %s %s; there were %s' % (name, members, sorted({e['name'] for e in self.list})))
        return self._arrived(name, members)[0]

    def _arrived(self, name, members):
        return [e for e in list(self.list) if e['name'] == name and all(e.get(k) == v for k, v in members.items())]

    def _is_open(self):
        check(self.error is None, 'the stream of events has ended:', self.error)
        return True

    def close(self):
        with contextlib.suppress(OSError):
            self.c.s.shutdown(socket.SHUT_RDWR)
        self.thread.join(2)
        self.c.close()


class Traffic:
    """A second pool that must go on serving: submits small jobs from a thread, measures how long each takes.

    None may take more than `worst` seconds, and as many hops as a job has between processes times what this machine lets a
    process wait for the CPU at its worst, which the thread measures by its own pauses.
    """

    HOPS = 4

    def __init__(self, f, pool, every=0.005, worst=1.0):
        self.f, self.pool_name, self.every, self.worst, self.lag = f, pool, every, worst, 0.0
        self.latency, self.failures, self._stop = [], [], threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            with self.f.jobs() as j:
                n = 0
                while not self._stop.is_set():
                    n += 1
                    start = time.monotonic()
                    r = j.run(self.pool_name, b'%d' % n, 'echo')
                    self.latency.append(time.monotonic() - start)
                    if r.outcome != 'completed' or r.payload != b'%d' % n:
                        self.failures.append(repr(r))
                    j.results.clear()
                    j.accepted.clear()
                    j.order.clear()
                    start = time.monotonic()
                    self._stop.wait(self.every)
                    self.lag = max(self.lag, time.monotonic() - start - self.every)
        except BaseException as e:  # shown by done()
            if not self._stop.is_set():
                self.failures.append(repr(e))

    def done(self, least=1):
        """Ends it; all jobs must have completed, in time."""
        wait_until(lambda: len(self.latency) >= least or self.failures, 10, 'the other pool to do %d jobs' % least)
        self._stop.set()
        self.thread.join(20 * SLOW)
        check(not self.failures, 'the other pool suffered:', self.failures[:3])
        check(max(self.latency) <= self.worst * SLOW + self.HOPS * self.lag,
              'the other pool had a job of %.3f s; a process waited up to %.3f s' % (max(self.latency), self.lag))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.done()
        else:
            self._stop.set()


__all__ = [n for n in dir() if not n.startswith('_')]
