# SPDX-License-Identifier: LGPL-2.1-or-later
"""The interface file and the code's table of methods name the same methods, with the same level of authorisation."""

import re

from lint import SRC, done, report, skip

LEVELS = ('observe', 'submit', 'operate', 'admin')

described = {}
comment = ''
for line in (SRC / 'src/control/io.flowd.varlink').read_text().splitlines():
    if line.startswith('#'):
        comment += ' ' + line
        continue
    m = re.match(r'method (\w+)', line)
    if m:
        level = re.search(r'\((%s)\b' % '|'.join(LEVELS), comment)
        described[m.group(1)] = level.group(1) if level else None
    comment = ''
report('every method states its level', ['%s: its comment has none of (%s)' % (m, '), ('.join(LEVELS))
                                         for m, level in described.items() if not level])

# An entry of the table looks like { "Name", handler, LEVEL_OBSERVE, ... } or METHOD(Name, ...).
coded = {}
for path in sorted((SRC / 'src/control').glob('*.c')):
    for m in re.finditer(r'(?:\{\s*(?:\.name\s*=\s*)?"(?:io\.flowd\.)?([A-Z]\w+)"\s*,|\bMETHOD\((\w+),)([^}\n]*)', path.read_text()):
        name = m.group(1) or m.group(2)
        level = re.search(r'_(%s)\b' % '|'.join(LEVELS).upper(), m.group(3))
        coded[name] = level.group(1).lower() if level else None
if not coded:
    skip('the interface and the code have the same methods', 'there is no table of methods in src/control')
else:
    ours = {n: level for n, level in coded.items() if n not in ('GetInfo', 'GetInterfaceDescription')}
    report('every method described is in the code', sorted(set(described) - set(ours)))
    report('every method in the code is described', sorted(set(ours) - set(described)))
    report('levels are the same', ['%s: the interface says %s, the code %s' % (n, described[n], level) for n, level in ours.items()
                                   if level and n in described and described[n] != level])
done()
