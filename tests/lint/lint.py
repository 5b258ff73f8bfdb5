# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the lint tests share: the tree, and a report in TAP."""

import os
import pathlib
import sys

SRC = pathlib.Path(os.environ.get('top_srcdir') or pathlib.Path(__file__).resolve().parents[2]).resolve()
BUILD = pathlib.Path(os.environ.get('top_builddir') or os.getcwd()).resolve()

# Generated, foreign, or bytes on purpose.
NOT_OURS = {'.git', 'autom4te.cache', 'build-aux', 'm4', 'corpus', '__pycache__'}

SHOWN = 30
_results = []


def files(*folders, suffixes=None):
    """The files of the source tree under these folders, without what is generated and without build trees."""
    r = []
    for folder in folders or ['.']:
        for root, dirs, names in os.walk(SRC / folder):
            dirs[:] = sorted(d for d in dirs if d not in NOT_OURS and not (pathlib.Path(root) / d / 'config.status').exists())
            for n in sorted(names):
                p = pathlib.Path(root) / n
                if (suffixes is None or p.suffix in suffixes) and not p.is_symlink():
                    r.append(p)
    return r


def short(path):
    try:
        return str(path.relative_to(SRC))
    except ValueError:
        return str(path)


def report(name, faults):
    """One test: it passes when there are no faults."""
    _results.append(not faults)
    print('%s %d - %s' % ('not ok' if faults else 'ok', len(_results), name))
    for f in faults[:SHOWN]:
        print('#   ' + f)
    if len(faults) > SHOWN:
        print('#   and %d more' % (len(faults) - SHOWN))


def skip(name, why):
    _results.append(True)
    print('ok %d - %s # SKIP %s' % (len(_results), name, why))


def done():
    print('1..%d' % len(_results))
    sys.exit(0 if all(_results) else 1)
