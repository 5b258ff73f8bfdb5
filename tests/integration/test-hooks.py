#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""OnFailure=: a command is told what went wrong; it is bounded, never storms, and its own failure is an event and no more."""

from flowtest import *

SCRIPT = '''#!/bin/sh
{ echo "EVENT=$FLOWD_EVENT POOL=$FLOWD_POOL CAUSE=$FLOWD_CAUSE WORKER=$FLOWD_WORKER JOB=$FLOWD_JOB COUNT=$FLOWD_COUNT"; cat; echo; } >>"$(dirname "$0")/told"
'''


class Hooked(Flowd):
    """A pool with a hook; told() is what that was told so far, a dict for each call."""

    def __init__(self, args='', script=SCRIPT, tier='hot', worker_keys=None, conf=False, start=True, **keys):
        super().__init__(workers={'w': worker(zoo() + ' ' + args, **(worker_keys or {})), 'good': worker(zoo())}, start=False)
        self.hook = self.dir + '/hook'
        with open(self.hook, 'w') as out:
            out.write(script.replace('\n', '\nexport %s\n' % self.marker.decode(), 1))  # what it starts is looked for, too
        os.chmod(self.hook, 0o755)
        keys = {'Min': 1, 'Max': 1, 'RestartDelay': '10ms', 'RestartDelayMax': '10ms', **keys}
        if conf:
            self.write_conf({'OnFailure': self.hook})
        else:
            keys['OnFailure'] = self.hook
        self.write_pool('w', pool('w', tier, **keys))
        self.write_pool('good', pool('good'))
        if start:
            self.start()

    def told(self):
        try:
            with open(self.dir + '/told') as file:
                lines = [l for l in file if l.startswith('EVENT=')]
        except OSError:
            return []
        return [dict(x.split('=', 1) for x in l.split()) for l in lines]

    def wait_told(self, event, bound=15):
        return wait_until(lambda: [t for t in self.told() if t['EVENT'] == event], bound, 'the hook to be told of ' + event)


@test
def told_of_a_crash_and_of_a_dead_job():
    with Hooked(worker_keys={'MaxCrashes': 1}, BreakerCrashes=0) as f, f.jobs() as j:
        f.wait_ready('w')
        r = j.run('w', b'', 'crash')
        equal(r.code, 'Crashed')
        d = f.wait_told('dead-job')[0]
        equal((d['POOL'], d['CAUSE'], d['WORKER'], d['COUNT']), ('w', 'signal', 'w/0', '1'))
        equal(d['JOB'], r.job_id)
        c = f.wait_told('crash')[0]
        equal((c['CAUSE'], c['JOB']), ('signal', d['JOB']))


@test
def told_of_the_breaker_and_of_its_end():
    # only its first start fails
    with Hooked(start=False) as f:
        f.write_worker('w', worker('%s --start=exit --code=7 --once=%s/started' % (zoo(), f.dir)))
        f.write_pool('w', pool('w', Min=1, Max=1, BreakerCrashes=1, BreakerCooldown='200ms', HealthyAfter='200ms', OnFailure=f.hook))
        f.start()
        o = f.wait_told('breaker-open')[0]
        equal((o['CAUSE'], o['WORKER'], o['COUNT']), ('exit', 'w/0', '1'))
        f.wait_told('breaker-closed')
        equal((f.pool('w')['breaker'], f.pool('w')['breaker_opened']), ('closed', 1))


@test
def told_of_a_failed_pool():
    with Hooked('--start=exit --code=125') as f:
        wait_until(lambda: f.pool('w')['state'] == 'failed')
        t = f.wait_told('pool-failed')[0]
        equal((t['CAUSE'], t['WORKER']), ('permanent', 'w/0'))


@test
def flowd_conf_has_one_for_all_pools():
    with Hooked('--start=exit --code=125', conf=True) as f:
        f.wait_told('pool-failed')


@test
def a_crash_loop_is_no_storm():
    with Hooked('--start=exit --code=7', tier='warm', RestartDelay='1ms', RestartDelayMax='1ms', BreakerCrashes=0) as f, Traffic(f, 'good') as t:
        start = time.monotonic()
        wait_until(lambda: f.pool('w')['crashes'] >= 100 and len(f.told()) >= 3, 30)
        told = f.told()
        check(len(told) <= time.monotonic() - start + 2, '%d calls' % len(told))
        check(max(int(x['COUNT']) for x in told) > 1, 'nothing was told together')
        t.done()


@test
def one_that_hangs_is_ended_with_its_family():
    script = '#!/bin/sh\nsleep 1000 & sleep 1000\n'
    with Hooked('--start=exit --code=125', script, OnFailureTimeout='1s') as f, f.jobs() as j:
        wait_until(lambda: [p for p in f.left_over() if 'sleep' in str(command_of(p))], 10, 'the hook to run')
        f.logged('OnFailure= of pool w, run for pool-failed, failed: no result within 1s', bound=20)
        equal([x['message'] for x in f.call('Events')['events'] if x['name'] == 'job-timeout'], [])  # it is no job of anybody's
        wait_until(lambda: not [p for p in f.left_over() if 'sleep' in str(command_of(p))], 20, 'what the hook had started to go')
        completed(j.run('good', b'x', 'echo'), b'x')


@test
def its_failure_is_an_event_and_no_more():
    with Hooked('--start=exit --code=125', '#!/bin/sh\necho went wrong >&2\nexit 3\n') as f:
        f.logged('OnFailure= of pool w, run for pool-failed, failed:', 'exited with status 3', 'went wrong')
        equal(f.pool('w')['crashes'], 0)
        equal(f.pool('good')['health'], 'ok')


@test
def it_ends_with_flowd():
    with Hooked('--start=exit --code=125', '#!/bin/sh\ntrap "" TERM\nsleep 1000\n', OnFailureTimeout='1h') as f:
        wait_until(lambda: [p for p in f.left_over() if 'sleep' in str(command_of(p))], 10, 'the hook to run')
        start = time.monotonic()
        f.stop()
        check(time.monotonic() - start < 15 * SLOW, 'it was waited for')


@test
def it_goes_on_after_a_reexec():
    with Hooked(BreakerCrashes=0) as f, f.jobs() as j:
        f.wait_ready('w')
        f.call('Reexec')
        f.wait_ready('w')
        os.kill(f.pids('w')[0], signal.SIGABRT)
        f.wait_told('crash')
        equal(j.run('w', b'x', 'echo').outcome, 'completed')


@test
def what_it_was_not_told_yet_it_is_told_after_a_reexec():
    with Hooked(BreakerCrashes=0) as f:
        for n in range(3):
            os.kill(wait_until(lambda: f.pids('w'))[0], signal.SIGKILL)
            wait_until(lambda: f.pool('w')['crashes'] == n + 1)
            f.wait_told('crash')  # of the first; the others are told a second later
        f.call('Reexec')
        wait_until(lambda: sum(int(t['COUNT']) for t in f.told()) == 3, 15, 'all three to be told')


@test
def a_hook_that_cannot_be_is_refused():
    with Hooked() as f:
        for value, says in (('/no/such/program', 'OnFailure=/no/such/program: No such file'), ('relative', 'not an absolute path')):
            f.write_pool('w', pool('w', OnFailure=value))
            e = refused('InvalidConfig', f.call, 'Reload')
            contains(' '.join(e.parameters['messages']), 'w.pool', says)
        f.remove('pools/w.pool')
        f.write_conf({'OnFailure': '/no/such/program'})
        e = refused('InvalidConfig', f.call, 'Reload')
        contains(' '.join(e.parameters['messages']), 'flowd.conf')


main()
