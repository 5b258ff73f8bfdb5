# SPDX-License-Identifier: LGPL-2.1-or-later
"""Of flowtest: where the programs are, the TAP runner, assertions and bounded waits, what /proc says about processes."""

import contextlib
import os
import pathlib
import signal
import sys
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


def wait_since(usec, seconds):
    """Returns when `seconds` have passed since a time that flowd has told, in microseconds since 1970."""
    wait_until(lambda: time.time() * 1e6 >= usec + seconds * 1e6, seconds + 10, '%g s to pass' % seconds)


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


__all__ = [n for n in dir() if not n.startswith('_')]
