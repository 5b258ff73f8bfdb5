#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""flowctl: its verbs, what it prints, its exit statuses.

The first half runs it against a stand-in for flowd, which can give the answers that a healthy flowd gives rarely: a full queue, a
lost connection, a refusal, nonsense. The second half runs it against flowd.
"""

import pty
import re
import termios

from flowtest import *

OK, BAD, USAGE, NO_DAEMON, REFUSED_STATUS, NOT_PERMITTED, TIMED_OUT, INTERRUPTED = 0, 1, 2, 69, 75, 77, 124, 130


# ---------------------------------------------------------------------------------------------------------------------
# a stand-in for flowd

class Stand:
    """Listens at control and jobs. `control` maps a method's name to a function of its parameters that returns the reply's
    parameters, a list of them (a stream), or an ('ErrorName', parameters). `job` is a function of a Frame that returns the bytes
    to answer."""

    def __init__(self, control=None, job=None):
        self.runtime = tempfile.mkdtemp(prefix='ft-stand-')
        self.control, self.job = {} if control is None else control, job
        self.calls, self.frames, self.most = [], [], 0
        self.closed = threading.Event()
        self.sockets = []
        for name, serve in (('control', self._control), ('jobs', self._jobs)):
            s = socket.socket(socket.AF_UNIX)
            s.bind(os.path.join(self.runtime, name))
            s.listen(16)
            self.sockets.append(s)
            threading.Thread(target=self._accept, args=(s, serve), daemon=True).start()

    def _accept(self, s, serve):
        while True:
            try:
                c, _ = s.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(c, serve), daemon=True).start()

    def _serve(self, c, serve):
        with c, contextlib.suppress(OSError):
            self.sockets.append(c)
            serve(c)

    def _control(self, c):
        buf = b''
        while True:
            while b'\0' not in buf:
                more = c.recv(65536)
                if not more:
                    return
                buf += more
            text, _, buf = buf.partition(b'\0')
            call = json.loads(text)
            name = call['method'].rpartition('.')[2]
            self.calls.append((name, call.get('parameters', {}), call.get('more', False)))
            r = self.control[name](call.get('parameters', {}))
            if isinstance(r, tuple):
                replies = [{'error': r[0] if '.' in r[0] else 'io.flowd.' + r[0], 'parameters': r[1]}]
            elif isinstance(r, list):
                replies = [{'parameters': p, 'continues': i + 1 < len(r)} for i, p in enumerate(r)]
            elif isinstance(r, bytes):
                c.sendall(r)
                continue
            else:
                replies = [{'parameters': r}]
            for reply in replies:
                c.sendall(json.dumps(reply).encode() + b'\0')

    def _jobs(self, c):
        buf = bytearray()
        c.sendall(frame(HELLO, version=1, features=0, frame_max=65 * MiB))
        while True:
            more = c.recv(1 << 20)
            if not more:
                self.closed.set()
                return
            buf += more
            frames, at = [], 0
            while len(buf) - at >= HEADER.size:
                body, msize, type_, _, _, _, attempt, job = HEADER.unpack_from(buf, at)
                if len(buf) - at < HEADER.size + body:
                    break
                start = at + HEADER.size
                items = parse_meta(bytes(buf[start:start + msize]))
                frames.append(Frame(type_, job, attempt, items, bytes(buf[start + msize:start + body]), False))
                at = start + body
            del buf[:at]
            out = b''
            for f in frames:
                self.frames.append(f)
                if f.type != HELLO:
                    out += self.job(f) or b''
            c.sendall(out)

    def flowctl(self, *args, input=None, env=None, status=None):
        r = subprocess.run([FLOWCTL, '--runtime=' + self.runtime, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=50 * SLOW, env={**os.environ, **(env or {})},
                           **({'input': input} if input is not None else {'stdin': subprocess.DEVNULL}))
        if status is not None and r.returncode != status:
            fail('flowctl %s: status %d, expected %d; stderr: %s' %
                 (' '.join(args), r.returncode, status, r.stderr.decode(errors='replace')))
        return r

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        shutil.rmtree(self.runtime, ignore_errors=True)


def accepted(f):
    return frame(ACCEPTED, job=f.job, job_id='job%08d' % (f.job & 0xffffff))


def result(f, payload=b'', status=COMPLETED, kind=TEXT, **items):
    return frame(RESULT, payload, job=f.job, attempt=1, status=status, kind=kind, **items)


def echo(f):
    return accepted(f) + result(f, f.payload, kind=f.items.get('kind', BYTES))


def refusal(f, code, error='because'):
    return result(f, status=REFUSED, code=code, error=error)


POOL = dict(name='p', worker_type='t', protocol='frame', tier='hot', state='running', reason=None, min=1, max=4, target=2,
            workers=2, ready=1, busy=1, slots=2, queued=3, queued_bytes=4096, running=1, completed=1234567, failed=2, timeout=1,
            cancelled=0, refused=0, spawned=2, crashes=0, queue_max=100,
            latency_p50_usec=850, latency_p99_usec=12345, run_p50_usec=800,
            run_p99_usec=12000)
STATUS_REPLY = dict(version='9.9', pid=4711, state='degraded', summary='degraded: broken; 2 pools', mode='private', runtime='/x',
                    state_dir='/y', started_usec=int(time.time() * 1e6) - 3600 * 10**6, reloads=0, reexecs=0, config_error=None,
                    limits='', rss=12 * MiB, fds=30, clients=1, jobs_queued=3, jobs_running=1, jobs_completed=5, jobs_failed=0,
                    jobs_timeout=0, jobs_cancelled=0, jobs_refused=0,
                    results_kept=0, results_bytes=0, results_max=64 * MiB, log_dropped=0,
                    pools=[POOL, {**POOL, 'name': 'broken', 'state': 'degraded', 'reason': 'its workers crash at start'}])


# ---------------------------------------------------------------------------------------------------------------------
# the command line

def plain(*args, env=None):
    return subprocess.run([FLOWCTL, *args], capture_output=True, stdin=subprocess.DEVNULL, timeout=20 * SLOW,
                          env={**os.environ, **(env or {})}, text=True)


@test
def misuse_is_told_with_the_nearest_word():
    for args, words in ((['statsu'], "did you mean 'status'"), (['run', '--lnies'], 'did you mean --lines'),
                        (['list'], "did you mean 'job list'"), (['pool', 'lst'], "did you mean 'pool list'"),
                        (['chache', 'stats'], "did you mean 'cache stats'"), (['chache', 'x'], "did you mean 'cache'?"),
                        (['sesion', 'list'], "did you mean 'session list'"), (['wroker'], "did you mean 'worker'"),
                        (['help'], "did you mean '--help'"), (['help', 'run'], "did you mean 'run --help'"),
                        (['top', '--pool=x'], "'top' has no option --pool"),
                        (['run', '--json=x', 'a'], '--json takes no argument'),
                        (['pool', 'show'], "'pool show' needs another argument"), (['run', '--timeout=0', 'a'], '--timeout=0'),
                        (['run', '--jobs=0', 'a'], '--jobs=0: this takes a whole number'),
                        (['run', '--tier=lukewarm', 'a'], 'hot, warm or cold'),
                        (['run', '--payload=xml', 'a'], 'text, json or bytes'), (['run', 'a', 'b'], '--each'),
                        (['run', '--lines', '--each', 'a'], 'exclude each other'), ([], 'flowctl status'),
                        (['run', '--pool'], '--pool needs an argument'), (['config'], "'config cat'"),
                        (['job', 'list', '--state=odd'], 'queued'), (['config', 'cat', 'words'], 'words.pool or words.worker'),
                        (['submit', '--key=' + 300 * 'k', 'x'], '--key= has 300 bytes, and may have 255'),
                        (['run', '--session=' + 128 * 'é', 'x'], '--session= has 256 bytes, and may have 255'),
                        (['run', '--session=', 'x'], '--session= is empty'), (['submit', '-m', '', 'x'], '--method= is empty'),
                        (['submit', '--key=', 'x'], '--key= is empty'), (['route', 'explain', '--session='], '--session= is empty'),
                        (['flow', 'add', 's', 'd', 'x', '-m', 256 * 'm'], '--method= has 256 bytes'),
                        (['reexec', 'x'], 'takes no arguments: flowctl reexec\n'),
                        (['worker', 'kill', 'p/0', '--signal=NONE'], "a signal's name")):
        r = plain(*args)
        equal(r.returncode, USAGE, args)
        contains(r.stderr, words)
        equal(r.stdout, '')


@test
def help_names_every_verb_and_each_has_its_own():
    r = plain('--help')
    equal(r.returncode, OK)
    verbs = re.findall(r'^  ((?:job|pool|worker|config) [a-z]+|[a-z]+) ', r.stdout.split('\nVerbs:\n')[1].split('\n\n')[0], re.M)
    check(len(verbs) > 20, verbs)
    for v in verbs:
        r = plain(*v.split(), '--help')
        equal(r.returncode, OK, v)
        contains(r.stdout, 'flowctl [OPTIONS...] ' + v, '--runtime=DIR')
    for v, words in (('cache purge', 'Only results of that method'), ('pool spawn', "The pool's tier"), ('run', 'Any pool of that tier'),
                     ('pool close', 'How long what runs and waits may take'), ('session list', 'Only sessions'), ('dead purge', 'Only jobs of that pool'),
                     ('run', 'Run time of one attempt')):
        contains(plain(*v.split(), '--help').stdout, words)
    check('What the worker is to do' not in plain('cache', 'purge', '--help').stdout, 'the help of another verb')


@test
def without_flowd_it_says_what_to_do():
    with tempfile.TemporaryDirectory() as d:
        for args in ('status', 'run x', 'pool list', 'submit x', 'wait x', 'top', 'events', 'reload', 'logs'):
            args = args.split()
            r = plain('--runtime=' + d, *args)
            equal(r.returncode, NO_DAEMON, args)
            contains(r.stderr, d)
        for xdg, folder in ((d, d + '/flowd'), ('', '/run/user/%d/flowd' % os.getuid()), ('relative', '/run/user/%d/flowd' % os.getuid())):
            r = plain('--user', 'job', 'list', env={'XDG_RUNTIME_DIR': xdg})  # as flowd --user finds it
            equal(r.returncode, NO_DAEMON, xdg)
            contains(r.stderr, folder + '/control', 'systemctl --user start flowd')
        r = plain('status', env={'FLOWD_RUNTIME': d + '/not/there'})
        equal(r.returncode, NO_DAEMON)
        contains(r.stderr, 'not running here: no socket at %s/not/there/control' % d, '--runtime=DIR or FLOWD_RUNTIME')
        s = socket.socket(socket.AF_UNIX)
        s.bind(d + '/control')
        s.close()
        contains(plain('--runtime=' + d, 'status').stderr, 'nobody answers at ' + d)


@test
def the_runtime_directory_may_be_deep():
    with tempfile.TemporaryDirectory() as d:
        deep = os.path.join(d, 'a' * 100, 'b' * 100)
        os.makedirs(deep)
        s = socket.socket(socket.AF_UNIX)
        here = os.getcwd()
        os.chdir(deep)
        s.bind('control')
        os.chdir(here)
        s.listen(1)

        def answer():
            c, _ = s.accept()
            c.recv(1000)
            c.sendall(json.dumps({'parameters': STATUS_REPLY}).encode() + b'\0')
            c.recv(1000)

        threading.Thread(target=answer, daemon=True).start()
        r = plain('--runtime=' + deep + '//', 'status', '--json')
        equal(r.returncode, OK, r.stderr)
        equal(json.loads(r.stdout)['pid'], 4711)
        s.close()


# ---------------------------------------------------------------------------------------------------------------------
# the control socket

@test
def status_and_tables():
    def pools(p):
        return {'pools': [x for x in STATUS_REPLY['pools'] if p.get('name') in (None, x['name'])]}

    with Stand({'Status': lambda p: STATUS_REPLY, 'ListPools': pools}) as s:
        out = s.flowctl('status', status=OK).stdout.decode()
        contains(out, 'State: degraded: broken; 2 pools\n', '4711', '1.2M', '12.3ms', '850us', 'broken: its workers crash at start')
        check('\033' not in out, 'colours where there is no terminal')
        equal(json.loads(s.flowctl('status', '--json', status=OK).stdout), STATUS_REPLY)
        equal(len(s.flowctl('pool', 'list', '--no-legend', status=OK).stdout.splitlines()), 2)
        contains(s.flowctl('pool', 'list', status=OK).stdout.decode(), '2 pools listed.')
        contains(s.flowctl('pool', status=OK).stdout.decode(), '2 pools listed.')
        contains(s.flowctl('pool', 'show', 'broken', 'p', status=OK).stdout.decode(), 'crash at start', 'at most 100')
        contains(s.flowctl('pool', 'show', 'other', status=BAD).stderr.decode(), "no pool 'other'")


@test
def names_stay_whole_on_a_narrow_terminal():
    name = 'a-rather-long-name-of-a-pool'
    with Stand({'ListPools': lambda p: {'pools': [{**POOL, 'name': name}]}}) as s:
        main, terminal = pty.openpty()
        with contextlib.closing(os.fdopen(main, 'rb', buffering=0)) as out:
            termios.tcsetwinsize(terminal, (24, 40))
            p = subprocess.Popen([FLOWCTL, '--runtime=' + s.runtime, 'pool', 'list'], stdin=subprocess.DEVNULL, stdout=terminal,
                                 env={**os.environ, 'TERM': 'dumb'})
            equal(p.wait(20 * SLOW), OK)
            os.close(terminal)
            contains(out.read(65536).decode(), name)


@test
def one_is_not_many():
    session = dict(session='s', pool='p', worker='p/0', hits=1, misses=2, fallbacks=1, jobs=1)
    with Stand({'ListCache': lambda p: {'entries': [{'worker_type': 'w', 'method': 'm'}] * p.get('limit', 4)},
                'CacheStats': lambda p: dict(hits=1, misses=1, coalesced=1, renewals=2),
                'ListSessions': lambda p: {'sessions': [session], 'total': 1}}) as s:
        contains(s.flowctl('cache', 'list', '-n1', status=OK).stdout.decode(), '\n1 result listed.')
        contains(s.flowctl('cache', 'list', status=OK).stdout.decode(), '\n4 results listed.')
        contains(s.flowctl('cache', 'stats', status=OK).stdout.decode(), ' 1 hit, 0 stale, 1 miss\n', ' 1 job with', ' 2 stale results\n')
        contains(s.flowctl('session', 'show', 's', status=OK).stdout.decode(), '1 hit, 2 misses, 1 fallback\n', '1 that runs or waits\n')
        session['session'] = 'a\nb\x1b'
        contains(s.flowctl('session', 'show', 's', status=OK).stdout.decode(), ' a\\x0ab\\x1b - a session of pool p\n')
        contains(s.flowctl('session', 'list', status=OK).stdout.decode(), 'a\\x0ab\\x1b ')
    with house() as f:
        wait_until(lambda: f.pool('zoo')['ready'] == 2, 30, 'workers')
        f.flowctl('pool', 'scale', 'zoo', '3', check_status=OK)
        f.flowctl('pool', 'drain', 'cat', check_status=OK)
        wait_until(lambda: all(w in text(f.flowctl('events', check_status=OK)) for w in (
            'Pool zoo is ready with 2 workers', 'Pool zoo is scaled to 3 workers', "Pool cat is stopped: nothing runs, 0 jobs wait for 'flowctl")), 30)


@test
def errors_become_sentences_and_statuses():
    errors = {
        'pool drain p': ('DrainPool', ('NoSuchPool', {'pool': 'p', 'message': 'There is no pool p'}), BAD, 'There is no pool p'),
        'pool scale p 99': ('ScalePool', ('OutOfRange', {'message': 'at most 4', 'min': 0, 'max': 4}), USAGE, 'at most 4'),
        'worker kill p/0': ('KillWorker', ('NotPermitted', {'level': 'operate', 'group': 'flowd', 'message': 'needs operate'}),
                            NOT_PERMITTED, 'sudo usermod -aG flowd $USER'),
        'reload': ('Reload', ('InvalidConfig', {'messages': ['/e/a.pool:3: error: no']}), BAD, '/e/a.pool:3: error: no'),
        'job cancel x': ('CancelJob', ('NoSuchJob', {'id': 'x', 'message': 'no job x'}), BAD, 'no job x'),
        'config cat': ('ShowConfig', ('org.varlink.service.MethodNotFound', {'method': 'x'}), BAD, 'another version'),
        'job list': ('ListJobs', ('LimitReached', {'limit': 'Odd', 'message': 'too many'}), REFUSED_STATUS, 'too many'),
        'worker list': ('ListWorkers', b'nonsense\0', BAD, 'speaks no Varlink'),
    }
    for args, (method, reply, status, words) in errors.items():
        with Stand({method: lambda p, reply=reply: reply}) as s:
            r = s.flowctl(*args.split(), status=status)
            contains(r.stderr.decode(), words)
            equal(r.stdout, b'')


@test
def verbs_send_what_they_mean():
    answer = {'target': 3, 'changed': ['pools/a.pool'], 'warnings': ['f:1: warning: odd'], 'text': 'x=1', 'jobs': [{'id': 'a', 'state': 'failed'}]}
    with Stand(collections.defaultdict(lambda: lambda p: answer)) as s:
        for verb, most in (('events', 256), ('cache list', 10000)):
            s.flowctl(*verb.split(), '-n', str(most), status=OK)
            r = s.flowctl(*verb.split(), '-n', str(most + 1), status=USAGE)
            contains(r.stderr.decode(), '--limit=%d: this takes a whole number from 1 to %d\n' % (most + 1, most))
        for args, *call in (('pool scale p 3', 'ScalePool', {'pool': 'p', 'target': 3}, False),
                            ('worker kill p/1 -s sigusr1', 'KillWorker', {'id': 'p/1', 'signal': int(signal.SIGUSR1)}, False),
                            ('worker kill p/1', 'KillWorker', {'id': 'p/1'}, False),
                            ('worker recycle p/1', 'RecycleWorker', {'id': 'p/1'}, False),
                            ('job list --pool=p --state=failed -n 5', 'ListJobs',
                             {'pool': 'p', 'state': 'failed', 'limit': 5}, False),
                            ('config cat a.pool', 'ShowConfig', {'unit': 'a.pool'}, False),
                            ('reload', 'Reload', {}, False),
                            ('events -f -p p', 'Events', {'pool': 'p'}, True),
                            ('top --interval=250ms --count=1', 'Watch', {'interval_usec': 250000}, True)):
            s.flowctl(*args.split(), status=OK)
            equal(s.calls[-1], tuple(call))


@test
def top_prints_snapshots_where_there_is_no_terminal():
    second = {**STATUS_REPLY, 'pools': [{**POOL, 'completed': POOL['completed'] + 1000}]}
    with Stand({'Watch': lambda p: [{'status': STATUS_REPLY}, {'status': second}, {'status': second}]}) as s:
        out = s.flowctl('top', '--count=2', '--json', status=OK).stdout
        equal([json.loads(l) for l in out.splitlines()], [STATUS_REPLY, second])
        contains(s.flowctl('top', status=OK).stdout.decode(), 'JOBS/S', '12.3ms')


# ---------------------------------------------------------------------------------------------------------------------
# jobs

@test
def one_job_is_a_filter():
    with Stand(job=echo) as s:
        for payload in (b'', b'x', b'two\nlines\n', 'ü'.encode(), b'y' * 300000):
            equal(s.flowctl('run', '-', input=payload, status=OK).stdout, payload)
            equal(s.flowctl('run', input=payload, status=OK).stdout, payload)
        equal(s.flowctl('run', 'argument', status=OK).stdout, b'argument')
        equal(s.flowctl('run', '--', '--lines', status=OK).stdout, b'--lines')
        r = s.flowctl('run', '-', input=b'\xff', status=USAGE)
        contains(r.stderr.decode(), '--payload=bytes')
        equal(s.flowctl('run', '--payload=bytes', '-', input=b'\xff\0', status=OK).stdout, b'\xff\0')
        contains(s.flowctl('run', '--payload=json', '{', status=USAGE).stderr.decode(), 'not one JSON value')
        deep = '[' * 64 + ']' * 64
        equal(s.flowctl('run', '--payload=json', deep, status=OK).stdout, deep.encode())
        contains(s.flowctl('run', '--payload=json', '[%s]' % deep, status=USAGE).stderr.decode(), 'nested more than 64 deep')
        equal(json.loads(s.flowctl('run', '--json', '--payload=json', '{"a":\n1}', status=OK).stdout)['result'], {'a': 1})
        equal(json.loads(s.flowctl('run', '--json', '--payload=bytes', 'é', status=OK).stdout)['result'], {'base64': 'w6k='})
        with tempfile.NamedTemporaryFile() as t:
            t.write(b'content')
            t.flush()
            equal(s.flowctl('run', '--file=' + t.name, status=OK).stdout, b'content')
        contains(s.flowctl('run', '--file=/not/there', status=BAD).stderr.decode(), '/not/there: No such file')


@test
def a_job_says_what_was_asked():
    with Stand(job=echo) as s:
        s.flowctl('run', '-p', 'pool', '-t', 'warm', '-m', 'meth', '--session=ses', '--timeout=1.5s', '--priority=-3',
                  '--deadline=1min', 'x', status=OK)
        f = [f for f in s.frames if f.type == JOB][0]
        equal((f.pool, f.tier, f.method, f.session, f.timeout, f.priority), ('pool', 'warm', 'meth', 'ses', 1500000, -3))
        check(abs(f.deadline / 1e6 - time.time() - 60) < 30, 'the deadline')
        equal((f.kind, f.items.get('detached')), (TEXT, None))


@test
def the_end_of_a_job_is_the_exit_status():
    ends = {b'failed': (result, dict(status=FAILED, error='bad luck'), BAD, 'bad luck'),
            b'timeout': (result, dict(status=TIMEOUT, error='too slow'), TIMED_OUT, 'too slow'),
            b'cancelled': (result, dict(status=CANCELLED, error='by somebody'), INTERRUPTED, 'by somebody'),
            b'full': (refusal, dict(code='QueueFull', error='the queue is full'), REFUSED_STATUS, 'the queue is full'),
            b'nopool': (refusal, dict(code='NoSuchPool', error='there is no pool x'), REFUSED_STATUS, 'no pool x'),
            b'notyou': (refusal, dict(code='NotPermitted', error='group flowd'), NOT_PERMITTED, 'group flowd')}

    def job(f):
        make, items, _, _ = ends[f.payload]
        return (b'' if make is refusal else accepted(f)) + make(f, **items)

    with Stand(job=job) as s:
        for payload, (_, _, status, words) in ends.items():
            r = s.flowctl('run', payload.decode(), status=status)
            contains(r.stderr.decode(), words)
            equal(r.stdout, b'')
            o = json.loads(s.flowctl('run', '--json', payload.decode(), status=status).stdout)
            contains(o['error'], words)


@test
def logs_and_progress_go_to_standard_error():
    def job(f):
        return (accepted(f) + frame(LOG, b'hello from the worker\n', job=f.job, level=6) +
                frame(PROGRESS, b'half', job=f.job, fraction=500000) + result(f, b'done'))

    with Stand(job=job) as s:
        r = s.flowctl('run', 'x', status=OK)
        equal((r.stdout, r.stderr), (b'done', b'hello from the worker\n'))
        r = s.flowctl('run', '--progress', 'x', status=OK)
        contains(r.stderr.decode(), ' 50% half')
        r = s.flowctl('run', '--each', 'x', status=OK)
        equal((r.stdout, r.stderr), (b'done\n', b'argument 1: hello from the worker\n'))


@test
def lines_keep_their_order_whatever_comes_first():
    """Answers come backwards, in groups of 50; and one in a hundred fails."""
    group = []

    def job(f):
        group.append(f)
        if len(group) < 50:
            return accepted(f)
        out = accepted(f)
        for g in reversed(group):
            n = int(g.payload)
            out += result(g, status=FAILED, error='seven') if n % 100 == 7 else result(g, b'r%d\n' % n)
        group.clear()
        return out

    lines = b''.join(b'%d\n' % n for n in range(1000))
    expected = [b'' if n % 100 == 7 else b'r%d' % n for n in range(1000)]
    with Stand(job=job) as s:
        r = s.flowctl('run', '--lines', input=lines, status=BAD)
        equal(r.stdout.split(b'\n')[:-1], expected)
        contains(r.stderr.decode(), 'line 8: failed: seven', 'line 908: failed: seven')
        r = s.flowctl('run', '--lines', '--unordered', '--jobs=100', input=lines, status=BAD)
        equal(sorted(r.stdout.splitlines()), sorted(e for e in expected if e))
        check(r.stdout.splitlines()[0] != b'r0', 'this is in order')
        r = s.flowctl('run', '--lines', '--json', input=lines, status=BAD)
        for n, line in enumerate(r.stdout.splitlines()):
            o = json.loads(line)
            equal(o['line'], n + 1)
            if n % 100 == 7:
                equal((o['status'], o['error']), ('failed', 'seven'))
            else:
                equal((o['status'], o['result']), ('completed', 'r%d\n' % n))
        r = s.flowctl('run', '--null', '--tag', input=lines.replace(b'\n', b'\0'), status=BAD)
        equal(r.stdout.split(b'\0')[9], b'10\tr9\n')


@test
def records_are_taken_as_they_are():
    with Stand(job=echo) as s:
        equal(s.flowctl('run', '--lines', input=b'', status=OK).stdout, b'')
        equal(s.flowctl('run', '--lines', input=b'\n\nx', status=OK).stdout, b'\n\nx\n')
        equal(s.flowctl('run', '-0', input=b'a\nb\0c', status=OK).stdout, b'a\nb\0c\0')
        r = s.flowctl('run', '--lines', input=b'a\n\xff\nb\n', status=BAD)
        equal(r.stdout, b'a\n\nb\n')
        contains(r.stderr.decode(), 'line 2: failed: ', '--payload=bytes')
        equal(s.flowctl('run', '--each', 'a', 'b c', '', status=OK).stdout, b'a\nb c\n\n')
        with tempfile.TemporaryDirectory() as d:
            names = []
            for i, content in enumerate((b'one', b'two\n', b'3' * 400000)):
                names.append('%s/%d' % (d, i))
                pathlib.Path(names[-1]).write_bytes(content)
            r = s.flowctl('run', '--files', names[0], d + '/none', names[1], names[2], status=BAD)
            equal(r.stdout, b'one\n\ntwo\n' + b'3' * 400000 + b'\n')
            contains(r.stderr.decode(), d + '/none: failed: No such file')
            r = s.flowctl('run', '--json', '--files-from=-', input='\n'.join(names).encode(), status=OK)
            equal([json.loads(l)['file'] for l in r.stdout.splitlines()], names)
            equal(s.flowctl('run', '--lines', names[0], names[1], status=OK).stdout, b'one\ntwo\n')


@test
def a_full_queue_is_flow_control():
    """Ten places; jobs are answered only when the queue is full or flowctl falls silent. All must come through, each once."""
    queue, seen, refused_ = [], [], []

    def job(f):
        if len(queue) >= 10:
            refused_.append(f)
            out = refusal(f, 'QueueFull', 'full')
            for g in queue[:3]:
                out += result(g, g.payload)
            del queue[:3]
            return out
        seen.append(f.payload)
        queue.append(f)
        out = accepted(f)
        if int(f.payload) >= 290 or len(seen) > 290:
            out += b''.join(result(g, g.payload) for g in queue)
            queue.clear()
        return out

    with Stand(job=job) as s:
        r = s.flowctl('run', '--lines', input=b''.join(b'%d\n' % n for n in range(300)), status=OK)
        equal(r.stdout, b''.join(b'%d\n' % n for n in range(300)))
        equal(sorted(seen), sorted(b'%d' % n for n in range(300)))
        check(refused_, 'nothing was refused')


@test
def refusals_that_hold_for_all_end_it_early():
    for code, status in (('NoSuchPool', REFUSED_STATUS), ('NotPermitted', NOT_PERMITTED)):
        with Stand(job=lambda f, code=code: refusal(f, code, 'no')) as s:
            r = s.flowctl('run', '--lines', '--jobs=20', input=b'x\n' * 100000, status=status)
            check(len(s.frames) < 1000, 'it went on')
            equal(r.stderr.decode().count('refused'), 1)


@test
def a_lost_connection_is_told():
    n = []

    def job(f):
        n.append(f)
        if len(n) == 10:
            raise OSError
        return echo(f)

    with Stand(job=job) as s:
        r = s.flowctl('run', '--lines', '--jobs=1', input=b'x\n' * 100, status=NO_DAEMON)
        equal(r.stdout, b'x\n' * 9)
        contains(r.stderr.decode(), 'closed the connection', '9 jobs had ended before')
    for last, words in ((2, '1 job was accepted before.'), (4, '3 jobs were accepted before.')):
        n = []

        def take(f):
            n.append(f)
            if len(n) == last:
                raise OSError
            return frame(ACCEPTED, job=f.job, job_id='id%d' % len(n))

        with Stand(job=take) as s:
            r = s.flowctl('submit', '--lines', '--jobs=1', input=b'x\n' * 100, status=NO_DAEMON)
            equal(len(r.stdout.splitlines()), last - 1)
            contains(r.stderr.decode(), words)


@test
def submit_and_wait():
    kept = {}

    def job(f):
        if f.type == WAIT:
            return result(f, kept[f.job_id]) if f.job_id in kept else refusal(f, 'NoSuchJob', 'no job ' + f.job_id)
        equal(f.detached, 1)
        id = 'id%d' % len(kept)
        kept[id] = f.payload
        return frame(ACCEPTED, job=f.job, job_id=id)

    with Stand(job=job) as s:
        equal(s.flowctl('submit', 'a', status=OK).stdout, b'id0\n')
        equal(s.flowctl('submit', '--each', 'b', 'c', status=OK).stdout, b'id1\nid2\n')
        equal(json.loads(s.flowctl('submit', '--json', 'd', status=OK).stdout), {'job': 'id3'})
        equal(s.flowctl('wait', 'id0', status=OK).stdout, b'a')
        equal(s.flowctl('wait', 'id2', 'id1', status=OK).stdout, b'c\nb\n')
        equal(s.flowctl('wait', '-', input=b'id1\nid3\n', status=OK).stdout, b'b\nd\n')
        contains(s.flowctl('wait', 'nope', status=REFUSED_STATUS).stderr.decode(), 'nope: refused: no job nope')
        contains(s.flowctl('wait', 'id1', 'nope', status=BAD).stderr.decode(), 'nope: refused: no job nope')


@test
def ctrl_c_cancels():
    cancelled, jobs = [], threading.Event()

    def job(f):
        if f.type == CANCEL:
            cancelled.append(f.job)
            return result(f, status=CANCELLED, error='cancelled')
        jobs.set()
        return accepted(f)

    for args, n in ((['run', 'x'], 1), (['run', '--each', 'a', 'b', 'c'], 3)):
        cancelled.clear()
        jobs.clear()
        with Stand(job=job) as s:
            p = subprocess.Popen([FLOWCTL, '--runtime=' + s.runtime, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
            check(jobs.wait(20 * SLOW), 'no job came')
            wait_until(lambda: len([f for f in s.frames if f.type == JOB]) == n, what='all jobs')
            p.send_signal(signal.SIGINT)
            p.communicate(timeout=20 * SLOW)
            equal(p.returncode, INTERRUPTED)
            equal(len(cancelled), n)


@test
def ctrl_c_also_ends_the_reading_of_a_payload():
    with Stand(job=echo) as s:
        p = subprocess.Popen([FLOWCTL, '--runtime=' + s.runtime, 'run', '-'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        wait_until(lambda: s.frames, what='its HELLO')
        p.send_signal(signal.SIGINT)
        equal(p.wait(20 * SLOW), INTERRUPTED)
        p.communicate()


@test
def slow_input_holds_up_no_result():
    with Stand(job=echo) as s:
        p = subprocess.Popen([FLOWCTL, '--runtime=' + s.runtime, 'run', '--lines'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             bufsize=0)
        for line in (b'one\n', b'two\n'):
            p.stdin.write(line)
            equal(p.stdout.readline(), line)
        p.stdin.close()
        equal(p.wait(20 * SLOW), OK)
        p.stdout.close()


# ---------------------------------------------------------------------------------------------------------------------
# terminals

class Terminal:
    """flowctl on a terminal of its own; `text` collects what it writes there."""

    def __init__(self, *args, env=None, **keys):
        try:
            self.master, slave = pty.openpty()
        except OSError as e:
            skip('no terminal can be made here: %s' % e)
        termios.tcsetwinsize(slave, (24, 100))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.text = b''
        self.p = subprocess.Popen([FLOWCTL, *args], **{**dict(stdin=slave, stdout=slave, stderr=slave), **keys},
                                  start_new_session=True,
                                  env={**os.environ, 'TERM': 'xterm', 'LC_ALL': 'C.UTF-8', 'NO_COLOR': '', **(env or {})})

    def read(self, timeout=0.05):
        if select.select([self.master], [], [], timeout)[0]:
            with contextlib.suppress(OSError):
                self.text += os.read(self.master, 65536)

    def until(self, word):
        wait_until(lambda: (self.read(), word in self.text)[1], 20, '%r on the terminal' % word)

    def write(self, data):
        os.write(self.master, data)

    def wait(self):
        wait_until(lambda: (self.read(), self.p.poll() is not None)[1], 20, 'its end')
        while select.select([self.master], [], [], 0)[0]:
            self.read()
        return self.p.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()
        os.close(self.master)
        os.close(self.slave)


class Endless(Stand):
    """A Watch that goes on: a status each 20 ms."""

    def _control(self, c):
        c.recv(65536)
        while True:
            c.sendall(json.dumps({'parameters': {'status': STATUS_REPLY}, 'continues': True}).encode() + b'\0')
            if self.closed.wait(0.02):
                return


@test
def top_leaves_the_terminal_as_it_was():
    for end in ('q', signal.SIGTERM, signal.SIGHUP, 'Ctrl-C'):
        with Endless() as s, Terminal('--runtime=' + s.runtime, 'top') as t:
            t.until(b'JOBS/S')
            t.until(b'broken')
            check(termios.tcgetattr(t.slave)[3] & termios.ICANON == 0, 'the terminal is not in raw mode')
            t.write(b'\033[Ar')
            if end == 'q':
                t.write(b'q')
            elif end == 'Ctrl-C':
                t.p.send_signal(signal.SIGINT)
            else:
                t.p.send_signal(end)
            status = t.wait()
            equal(status, OK if end in ('q', 'Ctrl-C') else 128 + end)
            check(t.text.rstrip().endswith(b'\033[?1049l'), 'the alternate screen is not left')
            equal(termios.tcgetattr(t.slave), t.before)
            s.closed.set()


@test
def colours_only_where_they_are_wanted():
    with Stand({'Status': lambda p: STATUS_REPLY}) as s:
        for env, wanted in (({}, True), ({'NO_COLOR': '1'}, False), ({'TERM': 'dumb'}, False)):
            with Terminal('--runtime=' + s.runtime, 'status', env=env) as t:
                equal(t.wait(), OK)
                equal(b'\033[31m' in t.text, wanted, env)
                contains(t.text.decode(), '●')


@test
def a_bar_on_the_terminal_and_results_in_the_file():
    def job(f):
        time.sleep(0.005)
        return echo(f)

    with Stand(job=job) as s, tempfile.TemporaryFile() as out, tempfile.NamedTemporaryFile() as lines:
        lines.write(b'x\n' * 200)
        lines.flush()
        with Terminal('--runtime=' + s.runtime, 'run', '--lines', '-j', '8', lines.name, stdout=out) as t:
            equal(t.wait(), OK)
            contains(t.text.decode(), '/200', '/s', ' left', '200 jobs in ')
        out.seek(0)
        equal(out.read(), b'x\n' * 200)
        with Terminal('--runtime=' + s.runtime, 'run', '--quiet', '--lines', lines.name, stdout=out) as t:
            equal((t.wait(), t.text), (OK, b''))


# ---------------------------------------------------------------------------------------------------------------------
# with flowd

def house(**keys):
    """A hot frame pool, and a cold pool of an ordinary command."""
    return Flowd(workers={'zoo': worker(zoo()), 'cat': worker('/bin/cat', 'exec', Output='text'),
                          'false': worker("/bin/sh -c 'echo why >&2; exit 3'", 'exec')},
                 pools={'zoo': pool('zoo', Min=2, Max=4), 'cat': pool('cat', 'cold'), 'false': pool('false', 'cold')}, **keys)


def background(f, *args):
    return subprocess.Popen([FLOWCTL, '--runtime=' + f.runtime, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def text(r):
    return r.stdout.decode()


@test
def with_flowd_jobs_run_and_their_end_is_the_status():
    with house() as f:
        equal(f.flowctl('run', '-p', 'zoo', 'hello', check_status=OK).stdout, b'hello')
        id = text(f.flowctl('submit', '-p', 'zoo', '--session=a\nb', 'hello', check_status=OK)).strip()
        contains(text(f.flowctl('job', 'show', id, check_status=OK)), ' Session: a\\x0ab\n')
        equal(f.flowctl('run', '-p', 'zoo', '--session=' + 255 * 's', '--durable', '--key=' + 255 * 'k', 'hello', check_status=OK).stdout, b'hello')
        equal(f.flowctl('run', '-p', 'cat', input=b'a\nb\n', check_status=OK).stdout, b'a\nb\n')
        equal(f.flowctl('run', '-p', 'cat', '--each', 'a', 'b', check_status=OK).stdout, b'a\nb\n')
        big = os.urandom(3 * MiB)
        equal(f.flowctl('run', '-p', 'zoo', '--payload=bytes', '-', input=big, check_status=OK).stdout, big)
        contains(f.flowctl('run', '-p', 'false', 'x', check_status=BAD).stderr.decode(), 'why')
        contains(f.flowctl('run', '-p', 'zoo', '-m', 'fail', 'x', check_status=BAD).stderr.decode(), 'the job failed')
        f.flowctl('run', '-p', 'zoo', '-m', 'sleep:20000', '--timeout=200ms', 'x', check_status=TIMED_OUT)
        contains(f.flowctl('run', '-p', 'nothing', 'x', check_status=REFUSED_STATUS).stderr.decode(), 'nothing')
        o = json.loads(f.flowctl('run', '--json', '-p', 'zoo', 'x', check_status=OK).stdout)
        equal((o['status'], o['result'], o['attempts'], o['worker'].split('/')[0]), ('completed', 'x', 1, 'zoo'))
        r = f.flowctl('run', '-p', 'zoo', '-m', 'talk:3', '--progress', 'x', check_status=OK)
        contains(r.stderr.decode(), '%')


@test
def with_flowd_ctrl_c_cancels_the_job():
    with house() as f:
        p = background(f, 'run', '-p', 'zoo', '-m', 'sleep:60000', 'x')
        wait_until(lambda: f.pool('zoo')['running'] == 1, what='the job to run')
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=20 * SLOW)
        equal(p.returncode, INTERRUPTED, err)
        wait_until(lambda: f.pool('zoo')['running'] == 0, what='the job to end')
        equal(f.pool('zoo')['cancelled'], 1)


@test
def with_flowd_submit_wait_list_show_cancel():
    with house() as f:
        ids = text(f.flowctl('submit', '-p', 'zoo', '--each', 'a', 'b', 'c', check_status=OK)).split()
        equal(len(ids), 3)
        equal(f.flowctl('wait', *ids, check_status=OK).stdout, b'a\nb\nc\n')
        equal(f.flowctl('wait', ids[1], check_status=OK).stdout, b'b')
        contains(f.flowctl('wait', 'aaaaaaaaaaaaa', check_status=REFUSED_STATUS).stderr.decode(), 'aaaaaaaaaaaaa: refused')
        contains(f.flowctl('wait', ids[0], 'nonsense', check_status=BAD).stderr.decode(), 'nonsense: refused')
        slow = text(f.flowctl('submit', '-p', 'zoo', '-m', 'sleep:60000', 'x', check_status=OK)).strip()
        wait_until(lambda: f.pool('zoo')['running'] == 1)
        contains(text(f.flowctl('job', 'list', '--state=running', check_status=OK)), slow, 'zoo/')
        contains(text(f.flowctl('job', 'show', slow, check_status=OK)), slow, 'running', 'sleep:60000')
        equal(json.loads(text(f.flowctl('job', 'show', '--json', slow, check_status=OK)))['job']['id'], slow)
        contains(text(f.flowctl('job', 'cancel', slow, check_status=OK)), 'cancelled')
        f.flowctl('wait', slow, check_status=INTERRUPTED)
        f.flowctl('job', 'show', 'aaaaaaaaaaaaa', check_status=BAD)
        contains(text(f.flowctl('job', 'list', '--limit=1', check_status=OK)), '1 job listed.')
        contains(f.flowctl('job', 'list', '-p', 'nope', check_status=BAD).stderr.decode(), "no pool 'nope'")
        contains(text(f.flowctl('job', 'list', '-p', 'zoo', '--state=failed', check_status=OK)), '0 jobs listed.')


@test
def with_flowd_pools_and_workers_are_operated():
    with house() as f:
        contains(text(f.flowctl('status', check_status=OK)), 'running', 'zoo', 'private', f.runtime)
        contains(text(f.flowctl('pool', 'list', check_status=OK)), '3 pools listed.')
        contains(text(f.flowctl('pool', 'list', 'zoo', check_status=OK)), '1 pool listed.')
        contains(text(f.flowctl('pool', 'show', 'zoo', check_status=OK)), 'hot workers of type zoo (frame)')
        f.flowctl('pool', 'scale', 'zoo', '3', check_status=OK)
        f.wait_ready('zoo', 3)
        contains(f.flowctl('pool', 'scale', 'zoo', '99', check_status=USAGE).stderr.decode(), '4')
        f.flowctl('pool', 'drain', 'zoo', check_status=OK)
        p = background(f, 'run', '-p', 'zoo', 'x')
        wait_until(lambda: f.pool('zoo')['queued'] == 1, what='the job to wait')
        f.flowctl('pool', 'resume', 'zoo', check_status=OK)
        equal(p.communicate(timeout=20 * SLOW)[0], b'x')
        first = f.worker('zoo/0')
        contains(text(f.flowctl('worker', 'list', 'zoo', check_status=OK)), 'zoo/0', str(first['pid']), 'workers listed.')
        contains(text(f.flowctl('worker', 'show', 'zoo/0', check_status=OK)), str(first['pid']))
        f.flowctl('worker', 'kill', '-s', 'KILL', 'zoo/0', check_status=OK)
        wait_until(lambda: not alive(first['pid']), what='its end')
        f.wait_ready('zoo', 3)
        f.flowctl('worker', 'recycle', 'zoo/1', check_status=OK)
        f.flowctl('worker', 'show', 'zoo/77', check_status=BAD)
        f.flowctl('pool', 'drain', 'nothing', check_status=BAD)


@test
def with_flowd_events_and_logs():
    with house() as f:
        p = background(f, 'events', '--follow')
        seen = []
        t = threading.Thread(target=lambda: seen.extend(iter(p.stdout.readline, b'')))
        t.start()

        def resumed():
            """Again and again: nobody knows when the stream begins."""
            f.flowctl('pool', 'drain', 'zoo', check_status=OK)
            f.flowctl('pool', 'resume', 'zoo', check_status=OK)
            return b'pool-resumed' in b''.join(seen)

        wait_until(resumed, what='the event')
        p.send_signal(signal.SIGINT)
        p.wait(20 * SLOW)
        t.join()
        contains(f.flowctl('logs', check_status=BAD).stderr.decode(), f.log_path)


@test
def with_flowd_configuration():
    with house() as f:
        contains(text(f.flowctl('config', 'cat', check_status=OK)), 'zoo.pool:', 'Worker=zoo')
        f.flowctl('events', '-n', '256', check_status=OK)
        f.flowctl('cache', 'list', '-n', '10000', check_status=OK)
        contains(text(f.flowctl('config', 'cat', 'zoo.pool', check_status=OK)), 'Max=4')
        contains(f.flowctl('config', 'cat', 'odd.pool', check_status=USAGE).stderr.decode(), 'no unit')
        f.flowctl('config', 'check', f.config, check_status=OK)
        contains(text(f.flowctl('reload', check_status=OK)), 'Nothing has changed')
        f.write('flowd.conf', '[Flowd]\nSessionTTL=7min\nRouteMethodTier=a=hot\n')
        equal(text(f.flowctl('reload', check_status=OK)), 'Changed: flowd.conf: RouteMethodTier= SessionTTL=\n')
        f.write('flowd.conf', '[Flowd]\nStore=no\n')
        for changed in ('Changed: flowd.conf: Store= RouteMethodTier= SessionTTL=\n', 'Nothing has changed.\n'):
            r = f.flowctl('reload', check_status=OK)
            contains(r.stderr.decode(), 'flowd.conf:2: warning: Store= is read at start; restart flowd')
            equal(sorted(text(r).split()), sorted(changed.split()))
        f.remove('flowd.conf')
        r = f.flowctl('reload', check_status=OK)
        equal((text(r), r.stderr), ('Changed: flowd.conf: Store=\n', b''))
        f.write('pools/zoo.pool', '[Pool]\nWorker=zoo\nTier=tepid\n')
        r = f.flowctl('config', 'check', f.config, check_status=BAD)
        contains((r.stdout + r.stderr).decode(), 'zoo.pool:3')
        contains(f.flowctl('reload', check_status=BAD).stderr.decode(), 'zoo.pool:3', 'nothing was changed')
        f.write_pool('zoo', pool('zoo', Min=2, Max=4))
        f.flowctl('reload', check_status=OK)


@test
def with_flowd_reexec_waits_for_the_new_image():
    with house() as f:
        before = f.status()
        contains(text(f.flowctl('reexec', check_status=OK)), str(before['pid']))
        equal((f.status()['pid'], f.status()['reexecs']), (before['pid'], before['reexecs'] + 1))
        equal(f.status()['reloads'], 0, 'a re-exec looks at the configuration, but is no reload:')
        f.flowctl('reload', check_status=OK)
        contains(text(f.flowctl('status', check_status=OK)), 'reloaded 1 time, re-executed 1 time')
        equal(f.flowctl('run', '-p', 'zoo', 'x', check_status=OK).stdout, b'x')


@test
def with_flowd_a_small_queue_takes_many_lines():
    with Flowd(workers={'zoo': worker(zoo())}, pools={'zoo': pool('zoo', Min=1, Max=1, QueueMax=5)}) as f:
        lines = b''.join(b'line %d\n' % n for n in range(5000))
        equal(f.flowctl('run', '-p', 'zoo', '--lines', '--jobs=500', input=lines, check_status=OK).stdout, lines)


main()
