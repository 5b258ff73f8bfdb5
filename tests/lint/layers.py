# SPDX-License-Identifier: LGPL-2.1-or-later
"""Includes point down the house only. The rooms and what each may see are the table below."""

import re

from lint import SRC, done, files, report, short

# From the cellar to the roof; rooms of one floor do not see each other.
FLOORS = [['basic'], ['proto'], ['store'], ['worker'], ['pool'], ['route'], ['flow', 'bus'], ['service'], ['mcp', 'control', 'monitor'], ['flowd']]

SEES = {}
below = set()
for floor in FLOORS:
    for room in floor:
        SEES[room] = below | {room}
    below |= set(floor)

# Beside the house: programs that talk to the daemon, and the public library.
SEES['libflow'] = {'basic', 'proto', 'libflow', 'flow'}
SEES['client'] = {'basic', 'proto', 'client', 'flow'}
for room in ('flowctl', 'gateway', 'workers'):
    SEES[room] = {'basic', 'proto', 'client', 'flow', room}
PUBLIC = {'flow/worker.h', 'flow/client.h', 'flow/types.h'}
GENERATED = {'control/io.flowd.varlink.h'}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')

wrong, missing, unknown = [], [], []
for path in files('src', suffixes={'.c', '.h'}):
    room = path.relative_to(SRC / 'src').parts[0]
    if room not in SEES:
        unknown.append('%s: the room "%s" has no floor: add it to tests/lint/layers.py' % (short(path), room))
        continue
    public = path.parent.name == 'flow' and room == 'libflow'
    for number, line in enumerate(path.read_text().splitlines(), 1):
        m = INCLUDE.match(line)
        if not m:
            continue
        quote, name = m.groups()
        where = '%s:%d: ' % (short(path), number)
        if public:
            if quote == '"' and name not in PUBLIC and not (path.parent / name).exists():
                wrong.append(where + 'an installed header includes "%s"' % name)
            continue
        if quote == '<':
            if name.split('/')[0] in SEES and (SRC / 'src' / name).exists():
                wrong.append(where + '<%s> is ours: write it with quotes' % name)
            continue
        if name.startswith('libflow/flow/'):
            name = name[len('libflow/'):]
        if name in PUBLIC:
            target = 'flow'
            if room not in ('libflow', 'client', 'flowctl', 'gateway', 'workers'):
                wrong.append(where + 'the daemon\'s side does not see libflow ("%s")' % name)
            continue
        target = name.split('/')[0]
        if '/' not in name:
            wrong.append(where + '"%s" must be written relative to src/, as in "%s/%s"' % (name, room, name))
        elif name not in GENERATED and not (SRC / 'src' / name).exists():
            missing.append(where + '"%s" does not exist' % name)
        elif target not in SEES[room]:
            wrong.append(where + '%s must not see %s ("%s"); it sees %s' % (room, target, name, ', '.join(sorted(SEES[room]))))

report('every room has its floor', unknown)
report('includes point the allowed way', wrong)
report('what is included exists', missing)

public = []
for path in files('examples', suffixes={'.c', '.h'}):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        m = INCLUDE.match(line)
        if m and (m.group(1) == '"' or m.group(2).startswith(('libflow/', 'basic/', 'proto/'))):
            public.append('%s:%d: an example includes installed headers only, not "%s"' % (short(path), number, m.group(2)))
report('examples use the public headers only', public)
done()
