# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every source file is named in its folder's local.mk, or else it is neither built nor in the tarball."""

import re

from lint import SRC, done, files, report, short

absent = []
code = files('src', 'tests', 'bench', 'examples', suffixes={'.c', '.h', '.py', '.sh', '.js'})
data = [p for p in files('man', 'units', 'conf', 'completions', 'examples', 'docs') if p.name != 'local.mk' and p not in code]
for path in code + data:
    parts = path.relative_to(SRC).parts
    # the nearest folder upwards that has a fragment
    folder = path.parent
    while not (folder / 'local.mk').exists() and folder != SRC:
        folder = folder.parent
    fragment = folder / ('local.mk' if folder != SRC else 'Makefile.am')
    text = fragment.read_text()
    inside = str(path.relative_to(folder))
    words = set(re.findall(r'[\w./+%-]+', text))
    # the file itself, or a folder of EXTRA_DIST that it lies in
    names = ['%D%/' + inside, inside] + ['%D%/' + '/'.join(inside.split('/')[:n]) for n in range(1, len(inside.split('/')))]
    if not words & set(names):
        absent.append('%s is not named in %s' % (short(path), short(fragment)))
report('every source file is in a local.mk', absent)

gone = []
for fragment in files('.', suffixes={'.mk'}):
    for name in re.findall(r'%D%/([\w./+-]+\.(?:c|h|py|sh|in|service|socket|conf|worker|pool))(?![\w.])', fragment.read_text()):
        p = fragment.parent / name
        if not p.exists() and not p.with_name(p.name + '.in').exists() and not name.endswith('.varlink.h'):
            gone.append('%s names %s, which does not exist' % (short(fragment), name))
report('what a local.mk names exists', gone)
done()
