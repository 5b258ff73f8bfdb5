#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Payloads of all sizes pass unchanged, both ways, through every protocol that can carry them; larger ones are refused clearly."""

import hashlib

from flowtest import *

SIZES = (0, 1, 23, 4095, 4096, 32 * KiB - 1, 32 * KiB, 64 * KiB, 96 * KiB, 127 * KiB, 128 * KiB - 1, 128 * KiB, 128 * KiB + 1,
         129 * KiB, MiB, 8 * MiB, 64 * MiB)
_block = os.urandom(MiB + 13)


def data_of(size):
    return (_block * (size // len(_block) + 1))[:size]


def text_of(size):
    return ('abc\u00e4\u20ac "\\\n' * (size // 8 + 1)).encode()[:size].decode(errors='ignore').ljust(size, '.').encode()[:size]


def through(f, pool_name, sizes, kind=BYTES, method='echo', data=data_of, **client):
    with f.jobs(timeout=60, **client) as j:
        for size in sizes:
            d = data(size)
            r = completed(j.run(pool_name, d, method, kind=kind))
            check(r.payload == d, '%d bytes came back as %d, sha256 %s, not %s' %
                  (size, len(r.payload), hashlib.sha256(r.payload).hexdigest()[:16], hashlib.sha256(d).hexdigest()[:16]))
            equal(r.kind, kind)


@test
def frame_with_memfd_on_both_sides():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}) as f:
        through(f, 'w', SIZES)
        equal(f.pool('w')['spawned'], 1)


@test
def frame_inline_clients():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}) as f:
        through(f, 'w', SIZES, memfd=False)


@test
def frame_inline_workers():
    with Flowd(workers={'w': worker(zoo() + ' --no-memfd'), 'v': worker(zoo())},
               pools={'w': pool('w', Max=1), 'v': pool('v', Max=1)}) as f:
        through(f, 'w', SIZES)
        through(f, 'w', SIZES[-6:], memfd=False)
        # memfd in, inline out
        through(f, 'v', SIZES[-6:], method='inline')


@test
def inline_above_the_size_where_a_memfd_is_usual():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}) as f, f.jobs(timeout=60) as j:
        for size in SIZES[-5:]:
            d = data_of(size)
            r = completed(j.result(j.submit('w', d, 'echo', inline=True)))
            check(r.payload == d)


@test
def memfd_below_the_size_where_it_is_usual():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}) as f, f.jobs() as j:
        for size in (0, 1, 5000):
            d = data_of(size)
            fd = sealed_memfd(d)
            j.send(frame(JOB, job=1000 + size, flags=FLAG_MEMFD, fds=1, pool='w', kind=BYTES, size=size), [fd])
            os.close(fd)
            completed(j.result(1000 + size), d)


@test
def exec_():
    with Flowd(workers={'w': worker('/bin/cat', 'exec')}, pools={'w': pool('w', 'cold', Max=2)}) as f:
        through(f, 'w', SIZES)
        through(f, 'w', (0, 1, 128 * KiB, 8 * MiB), memfd=False)


@test
def jsonl():
    with Flowd(workers={'w': worker(zoo_jsonl(), 'jsonl')}, pools={'w': pool('w', Max=1)}) as f:
        sizes = [s for s in SIZES if s <= MiB] + [4 * MiB]  # which the worker writes with escapes: almost JsonMax=
        through(f, 'w', sizes)
        through(f, 'w', sizes, kind=TEXT, data=text_of)
        with f.jobs(timeout=60) as j:
            v = {'list': list(range(200000)), 'text': 'x' * 100000}
            r = completed(j.run('w', json.dumps(v).encode(), kind=JSON))
            equal(r.kind, JSON)
            check(json.loads(r.payload) == v)


@test
def jsonl_above_JsonMax():
    with Flowd(workers={'w': worker(zoo_jsonl(), 'jsonl')}, pools={'w': pool('w', Max=1)}, conf={'JsonMax': '1M'}) as f:
        with f.jobs() as j:
            completed(j.run('w', 'x' * 1000000), b'x' * 1000000)
            for d, kind in (('x' * 1100000, TEXT), (b'x' * 2000000, BYTES), ('"' * 1200000, TEXT)):
                r = j.run('w', d, kind=kind)
                check(r.outcome in ('refused', 'failed'), r)
                contains(r.error, 'JsonMax')
            completed(j.run('w', 'after'), b'after')
            equal(f.pool('w')['crashes'], 0)


@test
def PayloadMax():
    with Flowd(workers={'w': worker(zoo(), PayloadMax='1M'), 'x': worker('/bin/cat', 'exec', PayloadMax='1M')},
               pools={'w': pool('w', Max=1), 'x': pool('x', 'cold', Max=1)}) as f:
        for memfd in (True, False):
            with f.jobs(memfd=memfd) as j:
                for p in ('w', 'x'):
                    completed(j.run(p, data_of(MiB)), data_of(MiB))
                    for size in (MiB + 1, 8 * MiB):
                        r = ended(j.run(p, data_of(size)), 'refused', 'payloadmax', code='PayloadTooLarge')
                        contains(r.error, '1M')
                    completed(j.run(p, b'after'), b'after')
        e = refused('PayloadTooLarge', f.call, 'Run', pool='w', payload='x' * (MiB + 1))
        equal((e.parameters['size'], e.parameters['max']), (MiB + 1, MiB))


@test
def above_what_anybody_may_send():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}) as f:
        with f.jobs() as j, f.jobs() as other:
            fd = sealed_memfd(bytes(65 * MiB))
            j.send(frame(JOB, job=1, flags=FLAG_MEMFD, fds=1, pool='w', kind=BYTES, size=65 * MiB), [fd])
            os.close(fd)
            j.until(lambda: 1 in j.results or j.eof)
            if 1 in j.results:
                ended(j.results[1], 'refused', code='PayloadTooLarge')
            else:
                check(j.error, 'the connection was closed without a word')
            completed(other.run('w', b'x'), b'x')
        with f.jobs() as j:  # a header that announces too much; nothing of it follows
            j.send(HEADER.pack(70 * MiB, 0, JOB, 0, 0, 0, 0, 1))
            j.until(lambda: j.eof)
            check(j.error, 'the connection was closed without a word')


@test
def kinds():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}) as f, f.jobs() as j:
        for kind, d in ((TEXT, 'gr\u00fc\u00df'.encode()), (JSON, b'{"a":[1]}'), (BYTES, b'\xff\x00')):
            equal(completed(j.run('w', d, kind=kind), d).kind, kind)
        for d in (b'\xff', b'ab\xc3', text_of(1000) + b'\xe2\x82', 200 * KiB * b'a' + b'\xf8'):
            r = j.result(j.submit('w', d, kind=TEXT, inline=True))
            ended(r, 'refused', 'UTF-8', code='InvalidJob')
        d = 200 * KiB * b'a' + b'\xf8'
        completed(j.run('w', d, kind=TEXT), d)  # nobody looks into a memfd on its way
        j.send(frame(JOB, b'x', job=999, pool='w', kind=9))
        j.until(lambda: 999 in j.results or j.eof)
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Max=1)}) as f, f.control() as c:
        for kind, p in (('text', 'gr\u00fc\u00df\0 "'), ('json', '{"a":[1,null]}'), ('bytes', base64.b64encode(b'\xff\0x').decode())):
            r = c.call('Run', pool='w', method='echo', payload=p, kind=kind)
            equal((r['status'], r['kind'], r['result']), ('completed', kind, p))
        for kind, p in (('bytes', '!!!'), ('poetry', 'x'), ('json', '{"a":')):
            try:
                r = c.call('Run', pool='w', payload=p, kind=kind)
                check(r['status'] == 'failed', 'payload %s of kind %s: %s' % (p, kind, r))
            except ControlError as e:
                check(e.name in ('InvalidParameter', 'BadPayload', 'InvalidPayload'), e)


@test
def flowctl_carries_them_too():
    with Flowd(workers={'w': worker(zoo()), 'x': worker('/bin/cat', 'exec')},
               pools={'w': pool('w', Max=1), 'x': pool('x', 'cold', Max=1)}) as f:
        for p in ('w', 'x'):
            for size in (0, 1, 128 * KiB, 8 * MiB, 64 * MiB):
                d = data_of(size)
                r = f.flowctl('run', '--pool=' + p, '--payload=bytes', '-', input=d, check_status=0)
                check(r.stdout == d, '%d bytes through %s came back as %d' % (size, p, len(r.stdout)))
        r = f.flowctl('run', '--pool=w', '-', input=b'\xff\xfe')
        equal(r.returncode, 2)
        contains(r.stderr.decode(), '--payload=bytes')


@test
def many_large_ones_at_a_time():
    with Flowd(workers={'w': worker(zoo())}, pools={'w': pool('w', Min=2, Max=2)}) as f, f.jobs(timeout=60) as j:
        d = [data_of(200 * KiB + 7 * n) for n in range(100)]
        ids = [j.submit('w', x, 'echo' if n % 2 else 'inline', inline=n % 3 == 0) for n, x in enumerate(d)]
        for i, x in zip(ids, d):
            completed(j.result(i), x)
        check(fds_of(f.pid) < 80, '%d descriptors are open' % fds_of(f.pid))


main()
