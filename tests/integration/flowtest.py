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
run by hand. FLOWTEST_SLOW=N multiplies every bound (valgrind, a loaded machine; 3 where flowd
has the address sanitizer). FLOWTEST_ONLY=word runs only the tests whose
name has the word; so do arguments. FLOWTEST_VERBOSE=1 shows what flowd wrote always.
"""

import array
import base64
import collections
import contextlib
import fcntl
import glob
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

# ---------------------------------------------------------------------------------------------------------------------
# where things are

HERE = pathlib.Path(__file__).resolve().parent
SRC = pathlib.Path(os.environ.get('top_srcdir') or HERE.parent.parent).resolve()


def _guess_build():
    if os.environ.get('top_builddir'):
        return pathlib.Path(os.environ['top_builddir']).resolve()
    candidates = [pathlib.Path.cwd(), SRC, *sorted(SRC.glob('build*'))]
    for c in candidates:
        if (c / 'flowd').exists():
            return c.resolve()
    return SRC


BUILD = _guess_build()
FLOWD = os.environ.get('FLOWD') or str(BUILD / 'flowd')
FLOWCTL = os.environ.get('FLOWCTL') or str(BUILD / 'flowctl')
LIBEXEC = os.environ.get('FLOWD_LIBEXEC') or str(BUILD)


def _sanitized():
    try:
        with open(FLOWD, 'rb') as program:
            return b'__asan_init' in program.read()
    except OSError:
        return False


SANITIZED = _sanitized()  # everything takes longer, and memory says nothing
SLOW = float(os.environ.get('FLOWTEST_SLOW') or (3 if SANITIZED else 1))
VERBOSE = bool(os.environ.get('FLOWTEST_VERBOSE'))

KiB, MiB = 1024, 1024 * 1024


# ---------------------------------------------------------------------------------------------------------------------
# the runner

class Failure(AssertionError):
    pass


class Skip(Exception):
    pass


class TimedOut(BaseException):  # not an Exception: nothing in a test may swallow it
    pass


_tests = []
_instances = []


def test(fn=None, *, bound=60):
    """Registers a test; `bound` is the most seconds that it may take."""
    if fn is None:
        return lambda fn: test(fn, bound=bound)
    _tests.append((fn.__name__.replace('_', ' '), fn, bound))
    return fn


def skip(why):
    raise Skip(why)


def fail(*words):
    raise Failure(' '.join(str(w) for w in words))


def check(cond, *words):
    if not cond:
        fail(*(words or ('condition is false',)))


def _short(v):
    s = repr(v)
    return s if len(s) <= 300 else '%s... (%d characters)' % (s[:300], len(s))


def equal(got, expected, *words):
    if got != expected:
        fail(*words, 'got %s, expected %s' % (_short(got), _short(expected)))


def contains(text, *parts):
    for p in parts:
        if p not in text:
            fail('%s is not in %s' % (_short(p), _short(text)))


def wait_until(cond, bound=10, what=None, interval=0.01):
    """Calls cond() until it returns something true, which is returned; fails after `bound` seconds."""
    end = time.monotonic() + bound * SLOW
    while True:
        v = cond()
        if v:
            return v
        if time.monotonic() > end:
            fail('waited %g s in vain for %s' % (bound * SLOW, what or getattr(cond, '__name__', 'a condition')))
        time.sleep(interval)


def stays(cond, seconds, what=None):
    """Fails if cond() becomes false within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        check(cond(), what or 'condition does not hold any more')
        time.sleep(0.02)


def note(*words):
    print('#', *words, flush=True)


def _on_alarm(signum, frame):
    raise TimedOut()


def main():
    wanted = sys.argv[1:] or os.environ.get('FLOWTEST_ONLY', '').split()
    tests = [t for t in _tests if not wanted or any(w.replace('_', ' ') in t[0] for w in wanted)]
    bad = 0
    for program in (FLOWD,):
        if not os.access(program, os.X_OK):
            print('1..0 # SKIP %s is not there; build first, or set FLOWD= and top_builddir=' % program)
            sys.exit(77)
    print('1..%d' % len(tests), flush=True)
    signal.signal(signal.SIGALRM, _on_alarm)
    for n, (name, fn, bound) in enumerate(tests, 1):
        start = time.monotonic()
        why = None
        try:
            signal.setitimer(signal.ITIMER_REAL, bound * SLOW)
            fn()
        except Skip as e:
            print('ok %d - %s # SKIP %s' % (n, name, e), flush=True)
            continue
        except TimedOut:
            why = 'took longer than %g s\n%s' % (bound * SLOW, traceback.format_exc())
        except BaseException:  # noqa: a KeyboardInterrupt ends the run, cleanly
            why = traceback.format_exc()
            if isinstance(sys.exc_info()[1], KeyboardInterrupt):
                bound = None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for i in list(_instances):
            i.kill()
            why = why or 'a flowd was left running'
        print('%s %d - %s # %.2f s' % ('not ok' if why else 'ok', n, name, time.monotonic() - start), flush=True)
        if why:
            bad += 1
            for line in why.rstrip().split('\n'):
                print('#   ' + line, flush=True)
        if bound is None:
            break
    sys.exit(1 if bad else 0)


# ---------------------------------------------------------------------------------------------------------------------
# processes

def alive(pid):
    """Whether the process is there and not a zombie."""
    try:
        with open('/proc/%d/stat' % pid, 'rb') as s:
            return s.read().rpartition(b')')[2].split()[0] not in (b'Z', b'X')
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid):
    with open('/proc/%d/stat' % pid, 'rb') as s:
        return int(s.read().rpartition(b')')[2].split()[1])


def children_of(pid):
    r = []
    for d in os.listdir('/proc'):
        if d.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if parent_of(int(d)) == pid and alive(int(d)):
                    r.append(int(d))
    return r


def rss_of(pid):
    """Resident bytes that are the process's own: what is shared with memfds and files does not count; 0 where it means nothing."""
    if SANITIZED:
        return 0
    with open('/proc/%d/status' % pid) as s:
        for line in s:
            if line.startswith('RssAnon:'):
                return int(line.split()[1]) * KiB
    return 0


def fds_of(pid):
    return len(os.listdir('/proc/%d/fd' % pid))


def cpu_of(pid):
    """Seconds of CPU time that the process has used."""
    with open('/proc/%d/stat' % pid, 'rb') as s:
        w = s.read().rpartition(b')')[2].split()
    return (int(w[11]) + int(w[12])) / os.sysconf('SC_CLK_TCK')


def idle_cpu(pid, seconds=0.5):
    """The share of one CPU that a process uses over some time: a busy loop shows here."""
    a, t = cpu_of(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_of(pid) - a) / (time.monotonic() - t)


def marked(marker):
    """The pids whose environment carries the marker."""
    r = []
    for d in os.listdir('/proc'):
        if not d.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open('/proc/%s/environ' % d, 'rb') as e:
                if marker in e.read() and alive(int(d)):
                    r.append(int(d))
    return r


def command_of(pid):
    try:
        with open('/proc/%d/cmdline' % pid, 'rb') as c:
            return c.read().replace(b'\0', b' ').decode(errors='replace').strip()
    except OSError:
        return '?'


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


# ---------------------------------------------------------------------------------------------------------------------
# flowd

class Flowd:
    """A private instance. `workers` and `pools` are by name, each a dict of keys or a file's text; `conf` is the section [Flowd]."""

    def __init__(self, workers=None, pools=None, conf=None, start=True, args=(), env=None, ready=('running', 'degraded'),
                 stop_bound=15, clean=True):
        self.dir = tempfile.mkdtemp(prefix='ft-', dir='/tmp')  # short: a socket's path has room for 107 bytes
        self.id = os.path.basename(self.dir)
        self.marker = b'FLOWTEST_ID=' + self.id.encode()
        self.config, self.runtime, self.state = (os.path.join(self.dir, d) for d in 'crs')
        self.log_path = os.path.join(self.dir, 'log')
        for d in (self.config, self.config + '/workers', self.config + '/pools', self.runtime, self.state):
            os.mkdir(d, 0o755)
        os.chmod(self.dir, 0o755)
        self.process = None
        self.clean = clean          # whether exit 0 and an empty process table are demanded at the end
        self.stop_bound = stop_bound
        self.args, self.env, self.ready = list(args), dict(env or {}), ready
        self._events = None
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
        return [FLOWD, '--config=' + self.config, '--runtime=' + self.runtime, '--state=' + self.state, *self.args, *more]

    def environment(self):
        e = {k: v for k, v in os.environ.items() if not k.startswith(('FLOWD', 'LISTEN_', 'NOTIFY_'))}
        e['FLOWTEST_ID'] = self.id
        e.update(self.env)
        return e

    def spawn(self):
        """Starts the process without waiting for it to be ready."""
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(),
                                            start_new_session=True)
        _instances.append(self)

    def start(self, bound=20):
        self.spawn()

        def is_ready():
            if self.process.poll() is not None:
                fail('flowd ended with status %d instead of becoming ready' % self.process.returncode)
            try:
                with self.control(timeout=bound * SLOW) as c:
                    s = c.call('Status')
            except OSError:
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

    def call(self, method, **parameters):
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


class Events:
    """The Events stream of an instance, collected by a thread."""

    def __init__(self, f):
        self.list, self.error, self.closed = [], None, False
        self.c = f.control(timeout=None)
        self.c.send('Events', more=True)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            while True:
                m = self.c.recv()
                if 'error' in m:
                    self.error = m
                    return
                self.list.append(m.get('parameters', {}))
        except (OSError, EOFError, ValueError) as e:
            self.error = e

    def find(self, name, **members):
        return [e for e in list(self.list) if e['name'] == name and all(e.get(k) == v for k, v in members.items())]

    def wait(self, name, n=1, bound=10, **members):
        wait_until(lambda: len(self.find(name, **members)) >= n, bound,
                   'event %s %s; there were %s' % (name, members, sorted({e['name'] for e in self.list})))
        return self.find(name, **members)[0]

    def close(self):
        with contextlib.suppress(OSError):
            self.c.s.shutdown(socket.SHUT_RDWR)
        self.thread.join(2)
        self.c.close()


# ---------------------------------------------------------------------------------------------------------------------
# Varlink

class ControlError(Exception):
    def __init__(self, name, parameters):
        super().__init__('%s %s' % (name, json.dumps(parameters)))
        self.name, self.parameters = name.rpartition('.')[2], parameters
        self.message = parameters.get('message', '')


class Control:
    """A Varlink connection. call() takes a method's name without io.flowd., or a whole one."""

    def __init__(self, path, timeout=20):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.s.settimeout(timeout and timeout * SLOW)
        try:
            self.s.connect(path)
        except OSError:
            self.s.close()
            raise
        self.buf = bytearray()

    def send(self, method, more=False, oneway=False, **parameters):
        m = {'method': method if '.' in method else 'io.flowd.' + method, 'parameters': parameters}
        if more:
            m['more'] = True
        if oneway:
            m['oneway'] = True
        self.s.sendall(json.dumps(m).encode() + b'\0')

    def recv(self):
        """The next message, as it is; EOFError where flowd has closed the connection."""
        at = 0
        while True:
            end = self.buf.find(b'\0', at)
            if end >= 0:
                m = bytes(self.buf[:end])
                del self.buf[:end + 1]
                return json.loads(m)
            at = len(self.buf)
            data = self.s.recv(256 * KiB)
            if not data:
                raise EOFError('flowd closed the control connection')
            self.buf += data

    def answer(self):
        m = self.recv()
        if 'error' in m:
            raise ControlError(m['error'], m.get('parameters') or {})
        return m.get('parameters') or {}

    def call(self, method, **parameters):
        self.send(method, **parameters)
        return self.answer()

    def stream(self, method, **parameters):
        """Yields each answer of a call with "more"."""
        self.send(method, more=True, **parameters)
        while True:
            m = self.recv()
            if 'error' in m:
                raise ControlError(m['error'], m.get('parameters') or {})
            yield m.get('parameters') or {}
            if not m.get('continues'):
                return

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def refused(error, fn, *args, **keys):
    """fn must raise the ControlError of that name, which is returned."""
    try:
        fn(*args, **keys)
    except ControlError as e:
        equal(e.name, error)
        return e
    fail('%s was expected, and nothing was refused' % error)


# ---------------------------------------------------------------------------------------------------------------------
# frames

HEADER = struct.Struct('<IIBBBBIQ')
HELLO, JOB, ACCEPTED, PROGRESS, RESULT, LOG, CANCEL, PING, PONG, WAIT, ERROR = range(1, 12)
FLAG_MEMFD = 1
FEATURE_MEMFD = 1
MEMFD_MIN = 128 * KiB
TEXT, JSON, BYTES = range(3)
COMPLETED, FAILED, TIMEOUT, CANCELLED, REFUSED = range(5)
STATUS = ['completed', 'failed', 'timeout', 'cancelled', 'refused']

_TAGS = {
    'version': (1, 'I'), 'features': (2, 'I'), 'frame_max': (3, 'I'), 'slots': (4, 'I'), 'heartbeat': (5, 'Q'), 'size': (6, 'Q'),
    'method': (16, 's'), 'pool': (17, 's'), 'tier': (18, 's'), 'session': (19, 's'), 'key': (20, 's'), 'deadline': (21, 'Q'),
    'timeout': (22, 'Q'), 'priority': (23, 'i'), 'kind': (24, 'B'), 'durable': (25, 'B'), 'trace': (26, 's'), 'detached': (27, 'B'),
    'job_id': (28, 's'), 'status': (32, 'B'), 'error': (33, 's'), 'retry': (34, 'B'), 'fraction': (35, 'I'), 'level': (36, 'B'),
    'code': (37, 's'), 'worker': (38, 's'), 'run_usec': (39, 'Q'), 'wait_usec': (40, 'Q'), 'attempts': (41, 'I'),
}
_NAMES = {tag: (name, form) for name, (tag, form) in _TAGS.items()}


def meta(**items):
    out = bytearray()
    for name, v in items.items():
        if v is None:
            continue
        tag, form = _TAGS[name]
        b = (v if isinstance(v, bytes) else v.encode()) if form == 's' else struct.pack('<' + form, v)
        out += struct.pack('<HH', tag, len(b)) + b
    return bytes(out)


def frame(type_, payload=b'', job=0, attempt=0, flags=0, fds=0, **items):
    """The bytes of one frame."""
    m = meta(**items)
    return HEADER.pack(len(m) + len(payload), len(m), type_, flags, fds, 0, attempt, job) + m + payload


def parse_meta(b):
    r, at = {}, 0
    while at < len(b):
        tag, size = struct.unpack_from('<HH', b, at)
        at += 4
        v = bytes(b[at:at + size])
        at += size
        name, form = _NAMES.get(tag, (tag, 'x'))
        r[name] = v.decode() if form == 's' else v if form == 'x' else struct.unpack('<' + form, v)[0]
    return r


def sealed_memfd(payload):
    fd = os.memfd_create('flowtest', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(payload)
    while view:
        view = view[os.write(fd, view):]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


class Frame:
    """A frame that was received; the items of its metadata are attributes, None where absent."""

    def __init__(self, type_, job, attempt, items, payload, memfd):
        self.type, self.job, self.attempt, self.items, self.payload, self.memfd = type_, job, attempt, items, payload, memfd

    def __getattr__(self, name):
        if name in _TAGS:
            return self.items.get(name)
        raise AttributeError(name)

    @property
    def outcome(self):
        return STATUS[self.status]

    def __repr__(self):
        return 'Frame(type=%d job=%d %r %d bytes)' % (self.type, self.job, self.items, len(self.payload))


class Jobs:
    """A client of the jobs socket. submit() returns the client's id of a job; result(id) waits for its end."""

    def __init__(self, path, memfd=True, timeout=20, hello=True, frame_max=65 * MiB):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.timeout = timeout * SLOW
        self.s.settimeout(self.timeout)
        try:
            self.s.connect(path)
        except OSError:
            self.s.close()
            raise
        self.memfd = memfd
        self.next = 1
        self.buf, self.fds = bytearray(), collections.deque()
        self.accepted, self.results = {}, {}
        self.progress, self.logs = collections.defaultdict(list), collections.defaultdict(list)
        self.order = []           # ids in the order in which their results came
        self.hello, self.error, self.eof, self.pongs = None, None, False, 0
        self.s.setblocking(False)
        if hello:
            self.send(frame(HELLO, version=1, features=FEATURE_MEMFD if memfd else 0, frame_max=frame_max))
            self.until(lambda: self.hello or self.eof, what="flowd's HELLO")

    # bytes

    def _read(self):
        try:
            data, anc, flags, _ = self.s.recvmsg(1 * MiB, socket.CMSG_SPACE(64 * 4), socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionResetError:
            self.eof = True
            return
        for level, kind, b in anc:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                a = array.array('i')
                a.frombytes(b[:len(b) - len(b) % a.itemsize])
                self.fds.extend(a)
        check(not flags & socket.MSG_CTRUNC, 'descriptors were cut off')
        if not data:
            self.eof = True
        self.buf += data
        while self._parse():
            pass

    def _parse(self):
        if len(self.buf) < HEADER.size:
            return False
        body, msize, type_, flags, nfds, _, attempt, job = HEADER.unpack_from(self.buf)
        if len(self.buf) < HEADER.size + body:
            return False
        items = parse_meta(memoryview(self.buf)[HEADER.size:HEADER.size + msize])
        payload = bytes(memoryview(self.buf)[HEADER.size + msize:HEADER.size + body])
        del self.buf[:HEADER.size + body]
        if flags & FLAG_MEMFD:
            check(self.memfd, 'a memfd came that was not negotiated')
            fd = self.fds.popleft()
            try:
                size = os.fstat(fd).st_size
                equal(size, items['size'], 'size of a memfd:')
                seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
                need = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
                equal(seals & need, need, 'seals of a memfd:')
                payload = _pread_all(fd, size)
            finally:
                os.close(fd)
        self._frame(Frame(type_, job, attempt, items, payload, bool(flags & FLAG_MEMFD)))
        return True

    def _frame(self, f):
        if f.type == HELLO:
            self.hello = f
        elif f.type == ACCEPTED:
            self.accepted[f.job] = f.job_id
        elif f.type == PROGRESS:
            self.progress[f.job].append(f)
        elif f.type == LOG:
            self.logs[f.job].append(f)
        elif f.type == RESULT:
            check(f.job not in self.results, 'a second RESULT for job', f.job)
            self.results[f.job] = f
            self.order.append(f.job)
        elif f.type == PING:
            self.send(frame(PONG, job=f.job))
        elif f.type == PONG:
            self.pongs += 1
        elif f.type == ERROR:
            self.error = f
        else:
            fail('an unexpected frame', f)

    def send(self, data, fds=()):
        """Sends everything, reading meanwhile, so that neither side waits for the other for ever."""
        view, end = memoryview(data), time.monotonic() + self.timeout
        while view:
            left = end - time.monotonic()
            if left <= 0:
                fail('flowd did not read a frame within %g s' % self.timeout)
            r, w, _ = select.select([] if self.eof else [self.s], [self.s], [], left)
            if r:
                self._read()
            if w:
                try:
                    n = socket.send_fds(self.s, [view[:4 * MiB]], list(fds)) if fds else self.s.send(view[:4 * MiB])
                except BlockingIOError:
                    continue
                fds = ()
                view = view[n:]

    def pump(self, timeout=0.0):
        """Reads what is there, waiting for something at most `timeout` seconds."""
        if not self.eof and select.select([self.s], [], [], timeout)[0]:
            self._read()

    def until(self, cond, timeout=None, what='a frame'):
        limit = self.timeout if timeout is None else timeout * SLOW
        end = time.monotonic() + limit
        while not cond():
            left = end - time.monotonic()
            if left <= 0:
                fail('waited %g s in vain for %s' % (limit, what))
            if self.eof:
                fail('flowd closed the jobs connection while we waited for %s%s' %
                     (what, ': ' + str(self.error.items.get('error')) if self.error else ''))
            self.pump(left)

    # jobs

    def submit(self, pool=None, payload=b'', method=None, kind=BYTES, inline=False, **items):
        id, self.next = self.next, self.next + 1
        if isinstance(payload, str):
            payload, kind = payload.encode(), TEXT if kind == BYTES else kind
        if self.memfd and not inline and len(payload) >= MEMFD_MIN:
            fd = sealed_memfd(payload)
            try:
                self.send(frame(JOB, job=id, flags=FLAG_MEMFD, fds=1, pool=pool, method=method, kind=kind, size=len(payload), **items),
                          [fd])
            finally:
                os.close(fd)
        else:
            self.send(frame(JOB, payload, job=id, pool=pool, method=method, kind=kind, **items))
        return id

    def job_id(self, id, timeout=None):
        """flowd's id of a job, once it is accepted (a refused one fails the test)."""
        self.until(lambda: id in self.accepted or id in self.results, timeout, 'ACCEPTED of job %d' % id)
        if id not in self.accepted:
            fail('job was refused:', self.results[id])
        return self.accepted[id]

    def result(self, id, timeout=None):
        self.until(lambda: id in self.results, timeout, 'the RESULT of job %d' % id)
        return self.results[id]

    def run(self, pool=None, payload=b'', method=None, kind=BYTES, wait=None, **items):
        return self.result(self.submit(pool, payload, method, kind, **items), wait)

    def cancel(self, id):
        self.send(frame(CANCEL, job=id))

    def wait(self, job_id):
        """Asks for the result of a detached job; returns the id under which it will come."""
        id, self.next = self.next, self.next + 1
        self.send(frame(WAIT, job=id, job_id=job_id))
        return id

    def ping(self, timeout=None):
        n = self.pongs
        self.send(frame(PING))
        self.until(lambda: self.pongs > n, timeout, 'PONG')

    def close(self):
        self.s.close()
        while self.fds:
            os.close(self.fds.popleft())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _pread_all(fd, size):
    parts, at = [], 0
    while at < size:
        b = os.pread(fd, min(16 * MiB, size - at), at)
        check(b, 'a memfd is shorter than it says')
        parts.append(b)
        at += len(b)
    return b''.join(parts)


def completed(r, payload=None):
    """The job must have completed, with that payload if one is given; returns the result."""
    if r.outcome != 'completed':
        fail('the job is %s: %s %s' % (r.outcome, r.code, r.error))
    if payload is not None and r.payload != payload:
        fail('result differs: %d bytes, expected %d: %s' % (len(r.payload), len(payload), _short(r.payload[:200])))
    return r


def ended(r, outcome, *parts, code=None):
    """The job must have ended like that, with the parts in its error; returns the result."""
    equal(r.outcome, outcome, 'outcome (code %s, error %s):' % (r.code, r.error))
    for p in parts:
        contains((r.error or '').lower(), p.lower())
    if code:
        equal(r.code, code, 'code:')
    return r


class Traffic:
    """A second pool that must go on serving: submits small jobs from a thread, measures how long each takes."""

    def __init__(self, f, pool, every=0.005):
        self.f, self.pool_name, self.every = f, pool, every
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
                    self._stop.wait(self.every)
        except BaseException as e:  # shown by done()
            if not self._stop.is_set():
                self.failures.append(repr(e))

    def done(self, worst=1.0, least=1):
        """Ends it; all jobs must have completed, none in more than `worst` seconds."""
        self._stop.set()
        self.thread.join(20 * SLOW)
        check(not self.failures, 'the other pool suffered:', self.failures[:3])
        check(len(self.latency) >= least, 'the other pool did only %d jobs' % len(self.latency))
        check(max(self.latency) <= worst * SLOW, 'the other pool had a job of %.3f s' % max(self.latency))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.done()
        else:
            self._stop.set()


__all__ = [n for n in dir() if not n.startswith('_')]
