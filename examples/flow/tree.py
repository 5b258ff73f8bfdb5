#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints a plan for 'flowctl flow submit': what there is to know about the C files of a tree, folder by folder.

    tree.py [DIR] | flowctl flow submit - && flowctl flow status tree --follow

For each folder that has C files a task counts its lines and another one compresses them (fan-out); totals and a report wait for
all of them (fan-in). Three branches fail on purpose, one with each policy, so that it can be seen what becomes of those that
depend on them. The pool "shell" runs a payload as a script of /bin/sh: start flowd with --config=DIR
(or FLOWD_CONFIG=DIR) of this folder.
"""

import json
import pathlib
import shlex
import sys

FOLDERS_MAX = 10

top = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.').resolve()
folders = sorted({p.parent for p in top.rglob('*.[ch]') if not any(part.startswith(('.', 'build')) for part in p.relative_to(top).parts)},
                 key=lambda d: (-len(list(d.glob('*.[ch]'))), d))[:FOLDERS_MAX]
if not folders:
    sys.exit('tree.py: there are no C files in %s' % top)
names = {d: '-'.join(d.relative_to(top).parts) or 'top' for d in folders}
tasks = []


def task(id, description, payload, needs=(), **more):
    tasks.append({'id': id, 'description': description, 'pool': 'shell', 'payload': payload, 'dependencies': list(needs), **more})


def add(ids):
    """A script that adds results up."""
    return "awk '{ n += $1 } END { printf \"%%d\", n }' <<END\n%s\nEND\n" % '\n'.join('${task.%s.result}' % i for i in ids)


task('check', 'Is the tree there, and readable?', 'test -r %s && printf yes' % shlex.quote(str(top)), priority='high', weight=1)
for d in folders:
    files, name = 'cat %s/*.[ch]' % shlex.quote(str(d)), names[d]
    task('count-' + name, 'Count the lines of ' + name, files + ' | wc -l', ['check'], weight=2)
    task('compress-' + name, 'Compress ' + name, files + ' | gzip -c | wc -c', ['check'], weight=7)
counts, sizes = ['count-' + n for n in names.values()], ['compress-' + n for n in names.values()]
task('lines', 'Add the lines up', add(counts), counts, weight=4)
task('bytes', 'Add the compressed bytes up', add(sizes), sizes, weight=4)
for policy in ('fail', 'skip', 'continue'):
    task('bad-' + policy, 'Fails, and its policy is ' + policy, 'echo this branch fails >&2; exit 1', ['check'], on_failure=policy, weight=1)
    task('after-' + policy, 'Depends on a failed task with the policy ' + policy, 'printf ran', ['bad-' + policy], weight=1)
task('report', 'The report', 'echo "%d folders: ${task.lines.result} lines, ${task.bytes.result} bytes compressed"' % len(folders),
     ['lines', 'bytes', 'after-continue'], weight=1)

json.dump({'session': 'tree', 'purpose': 'What there is to know about ' + str(top), 'tasks': tasks}, sys.stdout, indent=1)
print()
