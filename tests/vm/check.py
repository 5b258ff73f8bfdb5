#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests flowd in a virtual machine, with what a container does not have: memory limits, and power cuts. See README.md."""

import argparse
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "system")]


def run_all(words):
    import image
    import limits
    import power
    from flowd import Flowd
    from runner import run_cases
    from stage import build_dir, check_build
    from vm import Machine, check_possible

    start = time.monotonic()
    build = build_dir()
    check_build(build)
    check_possible()
    made = image.build(build, limits.PROGRAMS)
    with Machine("vm", made) as m:
        m.boot()
        print(f"# {m.run(['systemctl', '--version']).stdout.splitlines()[0]}, Linux {m.run(['uname', '-r']).stdout.strip()}")
        return run_cases(limits.CASES + power.CASES, words, Flowd(m, made.echo), start)


def main():
    from guest import Unavailable
    from runner import SKIPPED

    parser = argparse.ArgumentParser(description="Tests flowd in a virtual machine.")
    parser.add_argument("case", nargs="*", help="run only the tests whose name contains one of these")
    arguments = parser.parse_args()
    try:
        return run_all(arguments.case)
    except Unavailable as e:
        print(f"1..0 # SKIP {e}")
        return SKIPPED


sys.exit(main())
