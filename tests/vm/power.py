# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harness itself: a disk survives a power cut with all that was synced, and only the disk does."""

from cases import check
from vm import Machine

FILES = 40      # acknowledged before the power is cut

# Writes and syncs one file after the other, with its folder, and says so.
WRITER = """
import os, sys
os.makedirs("/var/lib/flowd-test", exist_ok=True)
folder = os.open("/var/lib/flowd-test", os.O_DIRECTORY)
n = 0
while True:
    with open("/var/lib/flowd-test/%d" % n, "w") as f:
        f.write("synced %d" % n)
        f.flush()
        os.fsync(f.fileno())
    os.fsync(folder)
    print(n, flush=True)
    n += 1
"""


def power_cut_keeps_what_was_synced(f):
    """What the guest has acknowledged after fsync() is there after the same disk has been booted again; what lay in memory is not.
    The machine is one of its own, beside the idle one of the other tests."""
    path = f.m.dir / "power.img"
    with Machine("power", f.m.image, disk=path) as m:
        m.boot()
        m.write("/run/flowd-test/memory", "gone")
        first = m.boot_id
        acknowledged = []
        for line in m.stream(["python3", "-c", WRITER]):
            acknowledged.append(int(line))
            if len(acknowledged) == FILES:
                m.power_cut()       # lines that it had said by then still come
        check(acknowledged == list(range(len(acknowledged))) and len(acknowledged) >= FILES, f"it acknowledged {acknowledged}")
        m.boot()
        check(m.boot_id != first, "it was not booted again")
        check(m.run(["test", "-e", "/run/flowd-test/memory"], check=False).returncode == 1, "memory has survived a power cut")
        for n in acknowledged:
            text = m.read(f"/var/lib/flowd-test/{n}")
            check(text == b"synced %d" % n, f"file {n} of {len(acknowledged)} has {text!r}")
        m.run(["systemctl", "start", "flowd.service"])
        check(m.run(["systemctl", "is-active", "flowd.service"]).stdout.strip() == "active", "flowd does not start after a power cut")


CASES = [power_cut_keeps_what_was_synced]
