# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which processes there are, out of a /proc: that of a container from outside, or a machine's own."""

import contextlib
import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Process:
    pid: int
    uid: int
    state: str          # R, S, T, Z ...
    cgroup: str         # below the container's root
    args: str           # empty for a kernel thread, and for a zombie
    started: int        # in clock ticks: with the pid it tells one process from all others
    status: dict        # /proc/PID/status


def read_processes(proc):
    """{pid: Process} of the folder `proc`, by the pids that it shows."""
    result = {}
    for folder in pathlib.Path(proc).iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
            group = (folder / "cgroup").read_text().rsplit("0::", 1)[1].strip()
            args = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            started = (folder / "stat").read_text().rsplit(")", 1)[1].split()[19]
            result[int(folder.name)] = Process(int(folder.name), int(status["Uid"].split()[0]), status["State"].split()[0],
                                               group.split("/payload", 1)[-1], args, int(started), status)
    return result
