# SPDX-License-Identifier: LGPL-2.1-or-later
"""The crash test: submitters note down what they are told while flowd is killed, again and again; crash-check.py then looks for lies."""

import random

from flowtest import *
import flowtest

TORTURE = SRC / 'tests' / 'torture'
# Where a build with fault injection can be killed; a number of passings is chosen at random.
POINTS = ('accept', 'add', 'commit', 'committed', 'answer', 'answered', 'dispatch', 'dispatched', 'result', 'ended', 'told', 'attempt',
          'checkpoint', 'checkpointed', 'flow', 'flow-run', 'flow-ended')
RESTART_BOUND = 30


def has_faults():
    with open(FLOWD, 'rb') as program:
        return b'answer-early' in program.read()


class Submitter(threading.Thread):
    """Submits durable jobs, notes each that was accepted, and asks for the results of some. A lost connection is made anew."""

    def __init__(self, f, directory, n, seed):
        super().__init__(daemon=True)
        self.f, self.n, self.rnd = f, n, random.Random(seed * 1000 + n)
        self.told = open(os.path.join(directory, 'told.log'), 'a', buffering=1)
        self.count, self.stop, self.error = 0, threading.Event(), None
        self.payloads = {}

    def say(self, **m):
        self.told.write(json.dumps(m) + '\n')

    def session(self):
        with self.f.jobs(timeout=60) as j:
            while not self.stop.is_set():
                sent = {}
                for _ in range(self.rnd.choice((1, 1, 2, 8))):
                    self.count += 1
                    payload = '%d.%d:%d:%s' % (self.n, self.count, self.rnd.choice((0, 0, 0, 1, 3)),
                                               self.rnd.choice(('ok',) * 18 + ('fail', 'die')))
                    sent[j.submit('p', payload, durable=2, detached=1)] = payload
                for i, payload in sent.items():
                    j.until(lambda: i in j.accepted or i in j.results)
                    if i in j.accepted:
                        self.payloads[j.accepted[i]] = payload
                        self.say(accepted=j.accepted[i], payload=payload)
                if self.payloads and self.rnd.random() < 0.7:  # the newest, mostly, so that the queue stays short
                    jobs = list(self.payloads)
                    job = jobs[-1] if self.rnd.random() < 0.8 else self.rnd.choice(jobs)
                    i = j.wait(job)
                    r = j.result(i)
                    if r.code not in ('Stopping', 'StoreUnavailable'):
                        self.say(ended=job, status=r.outcome, result=r.payload.decode())
                j.accepted.clear(), j.results.clear(), j.order.clear()

    def run(self):
        while not self.stop.is_set():
            try:
                self.session()
            except (OSError, EOFError, Failure):
                self.stop.wait(0.01)  # flowd is away
            except BaseException as e:
                self.error = e
                return


class Planner(threading.Thread):
    """Submits small graphs, one a session, and notes those that were accepted, and those of which nobody knows."""

    def __init__(self, f, directory, n):
        super().__init__(daemon=True)
        self.f, self.n, self.count = f, n, 0
        self.told = open(os.path.join(directory, 'plans.log'), 'a', buffering=1)
        self.stop, self.error = threading.Event(), None

    def run(self):
        while not self.stop.is_set():
            self.count += 1
            name, payload = 'plan-%d-%d' % (self.n, self.count), lambda t, rest='': '%s%d.%d%s:0:ok' % (t, self.n, self.count, rest)
            graph = [{'id': t, 'description': '%s of %s' % (t, name), 'pool': 'p', 'payload': payload(t, rest), 'dependencies': needs}
                     for t, rest, needs in (('a', '', []), ('b', '', ['a']), ('c', '-${task.a.result}', ['a']),
                                            ('d', '-${task.b.result}-${task.c.result}', ['b', 'c']))]
            try:
                self.f.call('FlowSubmit', session=name, graph=graph)
                self.told.write(json.dumps({'plan': name, 'accepted': True}) + '\n')
            except ControlError:
                self.stop.wait(0.01)
            except (OSError, EOFError, Failure):
                self.told.write(json.dumps({'plan': name, 'accepted': False}) + '\n')
                self.stop.wait(0.01)
            except BaseException as e:
                self.error = e
                return
            self.stop.wait(0.02)


def kill(f, rnd):
    """Kills flowd, and in some rounds its guardian with it, so that nobody cleans up behind it."""
    pids = [f.pid] + ([f.process.pid] if rnd.random() < 0.3 else [])
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    f.process.wait(20 * SLOW)
    wait_until(lambda: not alive(f.pid), what='flowd to be gone')


def crash(kills, submitters=8, seed=None, fault=None):
    """Returns what crash-check.py says: (its exit status, its output)."""
    seed = seed or int(time.time())
    rnd = random.Random(seed)
    note('seed %d, %d kills%s' % (seed, kills, ', with fault points' if has_faults() else ''))
    with Flowd(start=False, clean=False) as f:
        os.mkdir(f.dir + '/locks')
        f.write_worker('w', worker('%s %s %s' % (sys.executable, TORTURE / 'crash-worker.py', f.dir), 'jsonl', Retries=3, RetryDelay='1ms', MaxCrashes=1000,
                                   StopTimeout='1s'))
        f.write_pool('p', pool('w', 'hot', Min=3, Max=3, RestartDelay='1ms', RestartDelayMax='10ms', BreakerCrashes=0, QueueMax=100000))
        f.write_conf({'FlowSessionsMax': 100000})
        threads = [Submitter(f, f.dir, n, seed) for n in range(submitters)] + [Planner(f, f.dir, n) for n in range(2)]
        for round in range(kills):
            f.env = {'FLOWD_FAULT': fault} if fault else {}
            if has_faults() and not fault and rnd.random() < 0.6:
                f.env = {'FLOWD_FAULT': '%s:kill:%d' % (rnd.choice(POINTS), rnd.choice((1, 1, 2, 5, 20, 100)))}
            try:
                f.start(RESTART_BOUND)
            except Failure:
                if not f.env or f.process.poll() is None:
                    raise
                continue  # the fault came before it was ready
            if round == 0:
                for t in threads:
                    t.start()
            with contextlib.suppress(subprocess.TimeoutExpired):
                f.process.wait(rnd.uniform(0.02, 0.3))  # the fault ends it, or we do
            kill(f, rnd)
        for t in threads:
            t.stop.set()
        f.env = {}
        f.start(RESTART_BOUND)
        for t in threads:
            t.join(60 * SLOW)
            check(not t.is_alive() and not t.error, 'a submitter failed: %r' % t.error)
        wait_until(lambda: all(s['completed'] == s['tasks'] for s in f.call('FlowList')['sessions']), 120, 'all plans to end')
        wait_until(lambda: f.status()['jobs_queued'] + f.status()['jobs_running'] == 0, 120, 'all jobs to end')
        f.stop()
        r = subprocess.run([sys.executable, str(TORTURE / 'crash-check.py'), f.dir, f.state + '/flowd.db'], stdout=subprocess.PIPE, text=True)
        for line in r.stdout.splitlines():
            note(line)
        if r.returncode and os.environ.get('CRASH_KEEP'):
            shutil.copytree(f.dir, os.environ['CRASH_KEEP'], dirs_exist_ok=True)
        return r.returncode, r.stdout
