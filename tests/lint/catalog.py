# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every event has a catalog entry, and every catalog entry an event."""

import re

from lint import SRC, done, report, short

events = {}
twice = []
for name, id in re.findall(r'X\(\w+,\s*"([a-z-]+)",\s*LOG_\w+,\s*"([0-9a-f]*)"\)', (SRC / 'src/worker/event.h').read_text()):
    if not re.fullmatch('[0-9a-f]{32}', id):
        twice.append('%s: "%s" is no 128-bit id' % (name, id))
    if id in events:
        twice.append('%s and %s have one id' % (name, events[id]))
    events[id] = name
report('events have ids of their own', twice or ([] if events else ['no event was found in src/worker/event.h']))

entries, faults = {}, []
for path in sorted((SRC / 'units').glob('*.catalog*')):
    ids = []
    for block in re.split(r'^(?=-- )', path.read_text(), flags=re.M)[1:]:
        head, _, body = block.partition('\n')
        id = head[3:].split()[0]
        ids.append(id)
        entries.setdefault(id, short(path))
        if 'Subject:' not in body.split('\n\n')[0]:
            faults.append('%s: entry %s has no Subject:' % (short(path), id))
        if len(body.split('\n\n', 1)) < 2 or not body.split('\n\n', 1)[1].strip():
            faults.append('%s: entry %s says nothing' % (short(path), id))
    faults += ['%s: %s is there more than once' % (short(path), i) for i in set(ids) if ids.count(i) > 1]
report('entries are whole', faults)
report('every event has a catalog entry', ['%s (%s) has none' % (n, i) for i, n in events.items() if i not in entries])
report('every catalog entry has an event', ['%s: %s is of no event' % (f, i) for i, f in entries.items() if i not in events])
done()
