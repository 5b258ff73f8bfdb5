#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Power cuts amid durable submits: durable.py [CUTS]. Each round boots the same disk, submits jobs as fast as flowd takes them, and cuts the
power when a random number has been acknowledged. At the end every acknowledged job must be there, once, with the right result. See README.md."""

import os
import pathlib
import random
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "system")]

CUTS = 5
LINES = 100000              # more than a round gets through
LEAST, MOST = 20, 1500      # acknowledged jobs after which the power is cut
CLIENTS = 3                 # submitters at a time
WAIT_TIMEOUT = 600          # seconds, for all jobs to end


def submit_until_dark(m, rnd, round_number):
    """Returns {id: payload} of what was acknowledged before the power was cut."""
    acknowledged = {}
    cut = rnd.randint(LEAST, MOST)
    clients = []
    for n in range(CLIENTS):
        payloads = [f"round {round_number} client {n} line {i}" for i in range(LINES // CLIENTS)]
        command = ["flowctl", "submit", "--durable", "--pool=echo", "--lines", "--quiet", "-"]
        clients.append((payloads, m.start(command, stdin="\n".join(payloads) + "\n").lines()))
    ids = [[] for _ in clients]
    for n, (_, lines) in enumerate(clients):    # the first until the cut; the others have said what they had to by then
        for line in lines:
            ids[n].append(line)
            if n == 0 and len(ids[0]) == cut:
                m.power_cut()
    for (payloads, _), got in zip(clients, ids):
        acknowledged.update(zip(got, payloads))     # in the order of the input
    return acknowledged


def run(cuts):
    import image
    import limits
    from cases import check
    from flowd import Flowd
    from stage import build_dir, check_build
    from vm import Machine, check_possible

    build = build_dir()
    check_build(build)
    check_possible()
    made = image.build(build, limits.PROGRAMS)
    seed = int(os.environ.get("POWER_SEED") or time.time())
    rnd = random.Random(seed)
    acknowledged = {}
    print(f"# seed {seed}, {cuts} power cuts", flush=True)
    with Machine("durable", made, disk=made.disk.parent / "run" / f"durable-{os.getpid()}.img") as m:
        try:
            for n in range(cuts + 1):
                m.boot()
                f = Flowd(m, made.echo)
                if n == 0:
                    f.echo_pool()
                    f.conf(JobsPerClient=4096)
                    m.run(["sync"])
                f.start()
                if n < cuts:
                    fresh = submit_until_dark(m, rnd, n)
                    acknowledged.update(fresh)
                    print(f"# cut {n + 1}: {len(fresh)} jobs were acknowledged", flush=True)
            # text in, text out; an id that is not known makes it fail
            results = f.flowctl("wait", "-", stdin="\n".join(acknowledged) + "\n", timeout=WAIT_TIMEOUT).stdout.splitlines()
            check(results == list(acknowledged.values()), f"of {len(acknowledged)} jobs {len(results)} have results, or not the right ones")
            check("ok" in f.flowctl("store", "check").stdout, "the database is damaged")
            stats = f.flowctl("store", "stats").stdout
        finally:
            m.power_cut()
            m.disk.unlink(missing_ok=True)
    print("# " + stats.replace("\n", "\n# "))
    print(f"ok - after {cuts} power cuts all {len(acknowledged)} acknowledged jobs are there, each with its result", flush=True)
    return 0


def main():
    from guest import Unavailable
    from runner import SKIPPED

    try:
        return run(int(sys.argv[1]) if len(sys.argv) > 1 else CUTS)
    except Unavailable as e:
        print(f"1..0 # SKIP {e}")
        return SKIPPED


sys.exit(main())
