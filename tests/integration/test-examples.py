#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each example runs, under a private flowd with the configuration that stands beside it; so do the quickstart's workers."""

import collections
import hashlib
import json
import re
import shutil
import subprocess
import zlib

from flowtest import *

TEXT_IN = 'one two  two\nthree three three\nzwölf\tÄpfel "quoted" \\ back\n'


def example_program(name):
    """examples/c/NAME, as make built it, or built here."""
    built = BUILD / 'examples' / 'c' / name
    if built.exists():
        return str(built)
    libs = ['src/libflow/%s.c' % s for s in ('client', 'client-open', 'client-submit', 'stream', 'worker', 'worker-job')]
    basic = ['src/basic/%s.c' % s for s in ('blob', 'fd', 'outq', 'str')]
    out = '/tmp/%s-%d' % (name, os.getpid())
    subprocess.run([os.environ.get('CC', 'cc').split()[0], '-std=gnu11', '-D_GNU_SOURCE', '-I%s' % (SRC / 'src'), '-I%s' % (SRC / 'src/libflow'),
                    '-o', out, *[str(SRC / s) for s in (['examples/c/%s.c' % name, 'src/proto/frame.c'] + libs + basic)], '-lm'], check=True)
    return out


class Examples(Flowd):
    """A private flowd over a copy of a folder of configuration and what it refers to."""

    def __init__(self, folder, config, needs=()):
        super().__init__(start=False)
        top = os.path.join(self.dir, folder.name)
        shutil.copytree(folder, top)
        self.config = os.path.join(top, config) if config else top
        if folder.name == 'examples':
            shutil.copy(example_program('upper'), os.path.join(top, 'c', 'upper'))
        for name in os.listdir(os.path.join(self.config, 'workers')):
            if name.endswith('.worker'):  # how the harness knows whose processes they are
                self.write('workers/%s.d/marker.conf' % name, '[Worker]\nEnvironment=%s\n' % self.marker.decode())
        try:
            self.start()
        except BaseException:
            self.show_log()
            self.kill()
            raise


def examples():
    return Examples(SRC / 'examples', 'config')


def completed_text(r):
    equal(completed(r).kind, TEXT, 'kind of the result:')
    return r.payload.decode()


@test
def c_worker_and_c_client():
    with examples() as f, f.jobs() as j:
        equal(completed_text(j.run('upper', 'hello, world')), 'HELLO, WORLD')
        big = b'abc xyz\n' * (1 * MiB)
        equal(completed(j.run('upper', big)).payload == big.upper(), True)
        submit = example_program('submit')
        env = dict(f.environment(), FLOWD_RUNTIME=f.runtime)
        r = subprocess.run([submit, 'upper', 'from c'], env=env, capture_output=True, text=True, timeout=30 * SLOW)
        equal((r.returncode, r.stdout, r.stderr), (0, 'FROM C\n', ''))
        r = subprocess.run([submit, 'nowhere', 'x'], env=env, capture_output=True, text=True, timeout=30 * SLOW)
        equal(r.returncode, 1)
        contains(r.stderr, 'refused', 'nowhere')
        r = subprocess.run([submit, 'upper', 'x'], env=dict(env, FLOWD_RUNTIME=f.dir + '/none'), capture_output=True, text=True,
                           timeout=30 * SLOW)
        equal(r.returncode, 69)
        contains(r.stderr, f.dir + '/none/jobs')


@test
def shell_exec_worker():
    with examples() as f, f.jobs() as j:
        equal(completed_text(j.run('words-sh', TEXT_IN)).strip(), str(len(TEXT_IN.split())))
        equal(completed_text(j.run('words-sh', 'a b', 'count')).strip(), '2')
        ended(j.run('words-sh', 'a', 'nonsense'), 'failed', 'no such method: nonsense')


@test
def shell_jsonl_worker():
    if not shutil.which('jq'):
        skip('jq is not there')
    with examples() as f, f.jobs() as j:
        for text in (TEXT_IN, '', ' blanks at both ends \n', '\\', "it's"):
            equal(completed_text(j.run('reverse-sh', text)), text[::-1])


@test
def python_worker():
    with examples() as f, f.jobs() as j:
        r = completed(j.run('words-python', TEXT_IN))
        equal(r.kind, JSON)
        equal(json.loads(r.payload), dict(collections.Counter(TEXT_IN.lower().split())))


@test
def mcp_server():
    with examples() as f, f.jobs() as j:
        r = json.loads(completed(j.run('words-mcp', json.dumps({'text': TEXT_IN}).encode(), 'count', kind=JSON)).payload)
        equal(r['content'][0]['text'], str(len(TEXT_IN.split())))
        ended(j.run('words-mcp', b'{}', 'count', kind=JSON), 'failed', "'text' is missing")
        ended(j.run('words-mcp', b'{}', 'nonsense', kind=JSON), 'failed', 'no such thing')
        equal([t['name'] for t in wait_until(lambda: f.call('PoolTools', pool='words-mcp')['tools'])], ['count'])


@test
def javascript_worker():
    if not shutil.which('node'):
        skip('node is not there')
    with examples() as f, f.jobs() as j:
        equal(completed_text(j.run('sort-javascript', 'b\nc\na')), 'a\nb\nc')
        ended(j.run('sort-javascript', b'\xff\xfe'), 'failed', 'no text')
        equal(completed_text(j.run('sort-javascript', 'and\non')), 'and\non')


def quickstart_sources():
    return [SRC / 'src/proto/frame.h', SRC / 'src/basic/fd.c', SRC / 'conf/quickstart/facts.py', SRC / 'examples/sh/words.sh', SRC / 'configure.ac']


@test
def quickstart_workers():
    with Examples(SRC / 'conf' / 'quickstart', '') as f, f.jobs() as j:
        languages = {}
        for path in quickstart_sources():
            data = path.read_bytes()
            r = json.loads(completed(j.run('hot', data)).payload)
            equal((r['bytes'], r['crc32']), (len(data), zlib.crc32(data)))
            equal(r['ratio'], round(len(data) / r['compressed'], 3))
            for submitted in (data, data.decode()):  # as bytes, and as text
                r = json.loads(completed(j.run('warm', submitted)).payload)
                equal((r['bytes'], r['crc32'], r['lines']), (len(data), zlib.crc32(data), len(data.splitlines())))
                equal(r['blank'] + r['comments'] + r['code'], r['lines'])
            languages[path.name] = r['language']
            equal(completed_text(j.run('cold', data)).split()[0], hashlib.sha256(data).hexdigest())
        equal(languages, {'frame.h': 'c', 'fd.c': 'c', 'facts.py': 'python', 'words.sh': 'shell', 'configure.ac': 'm4'})


@test
def facts_of_odd_files():
    with Examples(SRC / 'conf' / 'quickstart', '') as f, f.jobs() as j:
        for data in (b'', b'\n', b'\0' * 1000, bytes(range(256)) * 40, b'x' * (2 * MiB), b'\xff\xfeutf-16?'):
            r = json.loads(completed(j.run('warm', data)).payload)
            equal((r['bytes'], r['crc32']), (len(data), zlib.crc32(data)))
        r = json.loads(completed(j.run('warm', b'/* a\n b */\n#include <x.h>\n#define Y 1\nstatic int f(void)\n{\n\n} // TODO\n')).payload)
        equal((r['lines'], r['comments'], r['blank'], r['functions'], r['includes'], r['todo']), (8, 2, 1, ['f'], ['x.h'], 1))


@test
def zstd_methods():
    zstd = shutil.which('zstd')
    data = TEXT_IN.encode() * 5000
    with Examples(SRC / 'conf' / 'quickstart', '') as f, f.jobs() as j:
        levels = [json.loads(completed(j.run('hot', data, m)).payload) for m in (None, '1', '19')]
        equal([r['level'] for r in levels], [3, 1, 19])
        r = completed(j.run('hot', data, 'compress:5'))
        equal(r.kind, BYTES)
        if zstd:
            equal(subprocess.run([zstd, '-dc'], input=r.payload, capture_output=True, check=True).stdout == data, True)
        ended(j.run('hot', data, 'compress:99'), 'failed', 'from 1 to 19')
        equal(json.loads(completed(j.run('hot', b'')).payload)['bytes'], 0)


@test
def examples_are_short():
    for path, most in (('c/upper.c', 30), ('c/submit.c', 30), ('python/worker.py', 15), ('python/mcp.py', 31), ('javascript/worker.js', 15)):
        lines = len((SRC / 'examples' / path).read_text().splitlines())
        check(lines < most, '%s has %d lines, fewer than %d are promised' % (path, lines, most))
    check(not re.search(r'[^\x00-\x7f]', (SRC / 'examples/c/upper.c').read_text()))


main()
