#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""flowd under this machine's own systemd, booted in a container over this machine's own root."""

import sys

import roots
import runner

sys.exit(runner.main("host", roots.host))
