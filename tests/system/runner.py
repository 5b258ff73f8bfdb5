# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the tests in a booted container and tells how they went, as TAP does."""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

from cases import CASES
from flowd import Flowd, parse_ids
from guest import Failure, Unavailable
from machine import Machine, check_possible
from stage import build_dir, check_build, copy_into, find, staged

SKIPPED = 77


def show(text):
    for line in text.rstrip().splitlines():
        print(f"#   {line}")


def show_state(f):
    """What a person wants to know about a failure."""
    for argv in (["systemctl", "status", "--lines=0", "flowd.service"],
                 ["journalctl", "-b", "--lines=60", "-o", "short-monotonic"]):
        done = f.m.run(argv, check=False)
        show(f"$ {' '.join(argv)}\n{done.stdout}{done.stderr}")


def run_case(number, function, f):
    start = time.monotonic()
    try:
        skipped = function(f)
        f.reset()
    except Exception as e:  # whatever it is, the next test gets its turn
        print(f"not ok {number} - {function.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
        show(str(e) if isinstance(e, Failure) else traceback.format_exc())
        show_state(f)
        try:
            f.reset()
        except Failure as e2:
            show(f"and afterwards: {e2}")
        return False
    note = f" # SKIP {skipped}" if skipped else ""
    print(f"ok {number} - {function.__name__} ({time.monotonic() - start:.1f} s){note}", flush=True)
    return True


def run_cases(cases, words, f, start):
    """Runs those whose name contains one of `words` (all where there are none). Returns 0, or 1 where one has failed."""
    wanted = [c for c in cases if not words or any(word in c.__name__ for word in words)]
    print(f"1..{len(wanted)}", flush=True)
    failed = [c.__name__ for number, c in enumerate(wanted, 1) if not run_case(number, c, f)]
    print(f"# {len(wanted) - len(failed)} of {len(wanted)} passed in {time.monotonic() - start:.1f} s")
    return 1 if failed else 0


def run_all(name, root, arguments):
    build = build_dir()
    check_build(build)
    check_possible()
    lower = root()
    start = time.monotonic()
    source = pathlib.Path(os.environ.get("top_srcdir") or pathlib.Path(__file__).parents[2])
    with Machine(name, lower) as m, tempfile.TemporaryDirectory(prefix="flowd-stage-") as folder:
        with staged(build, pathlib.Path(folder) / "root") as stage:
            copy_into(stage, m.root)
            f = Flowd(m, find(stage, "flow-worker-echo"))
            m.docs = m.root / find(stage, "network-workers.conf").lstrip("/")
        m.docs = m.docs.parents[1]
        m.message_ids = parse_ids((source / "src/worker/event.h").read_text())
        f.prepare(m)
        m.boot()
        m.run(["journalctl", "--update-catalog"])
        m.run(["ldconfig"])
        version = m.run(["systemctl", "--version"]).stdout.splitlines()[0]
        print(f"# {version}, up after {time.monotonic() - start:.1f} s", flush=True)
        status = run_cases(CASES, arguments.case, f, start)
        if arguments.shell:
            subprocess.run(m.command(["bash", "-i"]), env=m.environment(), check=False)
    return status


def main(name, root):
    parser = argparse.ArgumentParser(description="Tests flowd under a real systemd in a container.")
    parser.add_argument("case", nargs="*", help="run only the tests whose name contains one of these")
    parser.add_argument("--shell", action="store_true", help="afterwards, open a shell in the container")
    arguments = parser.parse_args()
    try:
        return run_all(name, root, arguments)
    except Unavailable as e:
        print(f"1..0 # SKIP {e}")
        return SKIPPED


if __name__ == "__main__":
    sys.exit("this is a part of tests/system; run boot-host.py or boot-trixie.py")
