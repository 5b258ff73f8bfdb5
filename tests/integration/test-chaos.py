#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Some seconds of chaos, which make chaos has for as long as one likes (tests/torture/chaos.py)."""

from flowtest import *

sys.path.append(str(SRC / 'tests' / 'torture'))

from chaos import chaos


@test(bound=200)
def ten_seconds_of_chaos():
    chaos(10)


main()
