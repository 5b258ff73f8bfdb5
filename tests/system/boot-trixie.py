#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""flowd under systemd 257, that of Debian 13, booted in a container."""

import sys

import roots
import runner

sys.exit(runner.main("trixie", lambda: roots.debian("trixie")))
