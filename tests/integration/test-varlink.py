#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The control interface is what its description says: each method is there, each answer has the members and types that are promised."""

import re

from flowtest import *

DESCRIPTION = (SRC / 'src' / 'control' / 'io.flowd.varlink').read_text()


def parse():
    """Types and methods of the description: {name: {member: type}}, {method: (in, out)}, [errors]."""
    text = re.sub(r'#.*', '', DESCRIPTION)

    def members(s):
        return {n.strip(): t.strip() for n, t in (m.split(':', 1) for m in s.split(',') if ':' in m)}
    types = {n: members(b) for n, b in re.findall(r'\btype (\w+) \(([^)]*)\)', text)}
    methods = {n: (members(i), members(o)) for n, i, o in re.findall(r'\bmethod (\w+)\s*\(([^)]*)\)\s*->\s*\(([^)]*)\)', text)}
    return types, methods, {n: members(b) for n, b in re.findall(r'\berror (\w+) \(([^)]*)\)', text)}


TYPES, METHODS, ERRORS = parse()


def conforms(v, form, where):
    if form.startswith('?'):
        if v is None:
            return
        form = form[1:]
    if form.startswith('[]'):
        check(isinstance(v, list), where, 'is no list')
        for x in v:
            conforms(x, form[2:], where)
    elif form in TYPES:
        matches(v, TYPES[form], where)
    else:
        kinds = {'string': str, 'int': int, 'bool': bool, 'float': (int, float), 'object': dict}
        check(isinstance(v, kinds[form]) and not (form in ('int', 'float') and isinstance(v, bool)), '%s is %r, not %s' % (where, v, form))


def matches(v, members, where):
    for name in v:
        check(name in members, '%s has %s, which is not in the description' % (where, name))
    for name, form in members.items():
        if name not in v:
            check(form.startswith('?'), '%s lacks %s' % (where, name))
        else:
            conforms(v[name], form, where + '.' + name)


def instance():
    return Flowd(workers={'w': worker(zoo()), 'x': worker('/bin/cat', 'exec')},
                 pools={'w': pool('w', Max=2), 'x': pool('x', 'cold', Max=1)})


@test
def the_description_is_the_file():
    with instance() as f:
        i = f.call('org.varlink.service.GetInfo')
        contains(i['interfaces'], 'io.flowd', 'org.varlink.service')
        check(all(i.get(k) for k in ('vendor', 'product', 'version', 'url')), i)
        equal(f.call('org.varlink.service.GetInterfaceDescription', interface='io.flowd')['description'].strip(), DESCRIPTION.strip())
        contains(f.call('org.varlink.service.GetInterfaceDescription', interface='org.varlink.service')['description'], 'GetInfo')
        for call, error in ((('org.varlink.service.GetInterfaceDescription', {'interface': 'no.such'}), 'InterfaceNotFound'),
                            (('no.such.Method', {}), 'InterfaceNotFound'), (('io.flowd.NoSuch', {}), 'MethodNotFound'),
                            (('io.flowd.ShowWorker', {}), 'InvalidParameter'), (('io.flowd.ShowWorker', {'id': 1}), 'InvalidParameter')):
            refused(error, f.call, call[0], **call[1])


@test
def every_answer_is_as_described():
    with instance() as f, f.control() as c:
        seen = set()

        def call(method, /, **p):
            seen.add(method)
            r = c.call(method, **p)
            matches(r, METHODS[method][1], method)
            return r
        call('Run', pool='w', method='echo', payload='x')
        call('Run', pool='w', method='fail', payload='x')
        id = call('Submit', pool='w', method='echo', payload='x', session='s')['job']
        call('Wait', job=id)
        slow = call('Submit', pool='w', method='sleep:0', payload='x')['job']
        wait_until(lambda: f.job(slow)['state'] == 'running')
        call('Status')
        call('ListPools')
        call('ListPools', name='w')
        call('ListWorkers')
        call('ListWorkers', pool='w')
        w = call('ShowWorker', id=f.workers('w')[0]['id'])['worker']
        call('ListJobs')
        call('ShowJob', id=slow)
        call('ExplainRoute')
        call('ExplainRoute', tier='warm', worker_type='w', strategy='affinity', fallback='hot', weight=3, method='echo', session='s', payload_size=5)
        call('ExplainRoute', pool='w', payload_size=2**50)
        call('ListMethods')
        call('CancelJob', id=slow)
        call('ScalePool', pool='w', target=2)
        call('DrainPool', pool='w')
        call('ResumePool', pool='w')
        call('RecycleWorker', id=w['id'])
        call('SpawnPool', worker_type='w', name='spawned', tier='warm', pool_type='local', min=1, max=2, settings={'QueueMax': '5'})
        call('ListPools', name='spawned')
        call('ClosePool', pool='spawned', timeout_usec=1000000)
        call('SpawnPool', worker_type='w')
        call('CloseAllPools')
        call('ShowConfig')
        call('ShowConfig', unit='w.pool')
        wait_until(lambda: w['pid'] not in f.pids('w'), what='its replacement')
        call('Reload')
        call('Reexec')
        f.wait_ready('w')
        call('KillWorker', id=f.workers('w')[0]['id'])
        for method, p in (('Watch', {'interval_usec': 100000}), ('Events', {'pool': 'w'})):
            seen.add(method)
            with f.control() as s:
                s.send(method, more=True, **p)
                matches(s.answer(), METHODS[method][1], method)
                f.call('DrainPool', pool='w')
                f.call('ResumePool', pool='w')
                matches(s.answer(), METHODS[method][1], method)
        call('Run', pool='w', method='echo', payload='x', session='s', queue_timeout_usec=10**9)
        call('ListSessions', pool='w', session='s', uid=os.getuid(), limit=5)
        call('ForgetSession', session='s', pool='w', uid=os.getuid())
        call('Events')
        done = call('Submit', pool='w', method='echo', payload='x', durable='yes', key='k', retries=1, retry_delay_usec=1000, not_before_usec=1)['job']
        call('Submit', pool='w', payload='y', key='k')
        call('Wait', job=done)
        call('JobResult', job=done, offset=0, length=1)
        failed = call('Submit', pool='w', method='fail', payload='x')['job']
        wait_until(lambda: f.job(failed)['state'] == 'failed')
        call('ShowJob', id=failed)
        call('ListJobs', pool='w', state='failed', method='fail', since_usec=1, before='zzzzzzzzz', limit=5)
        call('JobResult', job=failed)
        call('RetryJob', id=failed, delay_usec=3600 * 10**6)
        call('CancelJob', id=failed)
        wait_until(lambda: f.job(failed)['state'] == 'cancelled')
        call('PurgeJobs', ids=[failed])
        f.write_worker('m', worker(zoo_mcp(), 'mcp'))
        f.write_pool('m', pool('m', Max=1))
        call('Reload')
        wait_until(lambda: call('PoolTools', pool='m')['known'])
        call('StoreStats')
        call('CheckStore')
        call('BackupStore', path=os.path.join(f.dir, 'copy'))
        call('VacuumStore')
        call('AcceptLoss')
        call('CacheStats')
        call('ListCache')
        call('PurgeCache', method='echo')
        call('FlowCreate', session='s', purpose='p')
        call('FlowAdd', session='s', task={'id': 'h', 'description': 'heavy', 'weight': 9, 'priority': 'high'})
        call('FlowSubmit', session='s', graph=[{'id': 'x', 'pool': 'w', 'method': 'echo', 'payload': 'p', 'retries': 1, 'timeout': '5s'},
                                               {'id': 'y', 'dependencies': ['x']}, {'id': 'z'}])
        wait_until(lambda: [t for t in call('FlowShow', session='s', task='x')['session']['graph'] if t['state'] == 'completed'])
        call('FlowShow', session='s', all=True)
        call('FlowExpand', session='s', task='h')
        call('FlowDepend', session='s', task='z', on='y')
        call('FlowPulse', session='s', task='y', action='a', momentum=50)
        call('FlowPulse', session='s', action='of all')
        call('FlowComplete', session='s', task='y', notes='n')
        call('FlowCancel', session='s', task='z')
        call('FlowTodos', session='s', todos=['t'])
        call('FlowRest', session='s', duration='1h')
        call('FlowWake', session='s')
        call('FlowRebalance', session='s')
        call('FlowStatus', session='s')
        call('FlowExplain', session='s')
        file = call('FlowExport', session='s')['file']
        call('FlowImport', session='copy', file=file)
        call('FlowMerge', session='s', **{'from': 'copy'})
        call('FlowArchive', session='s')
        call('FlowList', all=True)
        with f.control() as s:  # progress first, as continued answers
            got = list(s.stream('Run', pool='w', method='talk:3', payload='p'))
            for r in got:
                matches(r, METHODS['Run'][1], 'Run')
            equal([round(r['progress'], 3) for r in got[:-1] if r.get('progress') is not None][-3:], [0.333, 0.667, 1.0])
            equal((got[-1]['status'], got[-1]['result']), ('completed', 'p'))
        equal(sorted(set(METHODS) - seen), [], 'methods without a test:')


@test
def errors_are_as_described():
    with instance() as f:
        c = f.control()
        queued = c.call('Submit', pool='w', payload='x', not_before_usec=int((time.time() + 3600) * 1e6))['job']
        done = c.call('Submit', pool='w', method='echo', payload='x')['job']
        c.call('Wait', job=done)
        c.call('FlowCreate', session='s')
        for method, p in (('Run', {'pool': 'none', 'payload': 'x'}), ('FlowStatus', {'session': 'n'}), ('FlowAdd', {'session': 's', 'task': {}}),
                          ('FlowPulse', {'session': 's', 'task': 'n'}), ('ShowWorker', {'id': 'w/77'}), ('ShowJob', {'id': 'aaaaaaaaaaaaa'}),
                          ('SpawnPool', {'worker_type': 'w', 'name': 'w'}), ('SpawnPool', {'worker_type': 'none'}), ('ClosePool', {'pool': 'w'}),
                          ('ScalePool', {'pool': 'w', 'target': 1000}), ('JobResult', {'job': queued}), ('RetryJob', {'id': done}),
                          ('PoolTools', {'pool': 'w'}),
                          ('Run', {'tier': 'warm', 'fallback': 'none'}), ('BackupStore', {'path': '/no/such'}),
                          ('Submit', {'pool': 'w', 'payload': 'x', 'durable': 'yes'})):
            if method == 'Submit':
                f.stop()
                f.write_conf({'Store': 'no'})
                f.start()
                c = f.control()
            try:
                c.call(method, **p)
                fail(method, 'was not refused')
            except ControlError as e:
                check(e.name in ERRORS, e)
                matches(e.parameters, ERRORS[e.name], e.name)
                check(e.message, 'no message')


main()
