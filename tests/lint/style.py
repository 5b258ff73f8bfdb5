# SPDX-License-Identifier: LGPL-2.1-or-later
"""What no compiler says: tabs, trailing blanks, long lines, licence lines, long files, the first words of headers and sources."""

import re

from lint import done, files, report, short

COLUMNS = 160
LINES = 1000
FOLDERS = ('src', 'tests', 'examples', 'bench')

tabs, blanks, wide, licences, long_files, essays, ends, raw = [], [], [], [], [], [], [], []
for path in files():
    rel = short(path)
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        continue
    lines = text.splitlines()
    code = path.suffix in ('.c', '.h', '.py', '.sh', '.js') or text.startswith('#!')
    if code and rel.startswith(FOLDERS) or rel in ('quickstart', '.ci/run'):
        head = '\n'.join(lines[:3])
        if 'SPDX-License-Identifier: LGPL-2.1-or-later' not in head:
            licences.append('%s: no SPDX line among the first three' % rel)
        table = False  # between these two lines the columns of a table are more than its width
        for n, line in enumerate(lines, 1):
            if line.strip() in ('/* clang-format off */', '/* clang-format on */'):
                table = 'off' in line
            if '\t' in line and not re.search(r'\.(mk|am)$', rel):
                tabs.append('%s:%d: a tab' % (rel, n))
            if line != line.rstrip():
                blanks.append('%s:%d: blanks at the end' % (rel, n))
            if path.suffix == '.c' and re.match(r'\s+_cleanup_[^=]*;', line):
                raw.append('%s:%d: an early return cleans up what was never initialised' % (rel, n))
            if len(line) > COLUMNS and not table:
                wide.append('%s:%d: %d columns, more than %d' % (rel, n, len(line), COLUMNS))
        if len(lines) > LINES:
            long_files.append('%s: %d lines, more than %d' % (rel, len(lines), LINES))
        if text and not text.endswith('\n'):
            ends.append('%s: no newline at the end' % rel)
    if path.suffix == '.h' and rel.startswith('src/'):
        if '#pragma once' not in text:
            essays.append('%s: no #pragma once' % rel)
        if not re.search(r'^/\*', '\n'.join(lines[1:6]), re.M):
            essays.append('%s: the header does not say what it is' % rel)
    if path.suffix == '.c' and rel.startswith('src/') and not re.search(r'^/\*', '\n'.join(lines[1:4]), re.M):
        essays.append('%s: the source does not begin by saying what it is' % rel)

report('no tabs', tabs)
report('no blanks at the end of lines', blanks)
report('no line is wider than %d columns' % COLUMNS, wide)
report('every source has its SPDX line', licences)
report('no file is longer than %d lines' % LINES, long_files)
report('files end with a newline', ends)
report('what is cleaned up is initialised where it is declared', raw)
report('headers and sources say what they are', essays)
done()
