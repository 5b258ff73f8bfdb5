# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests need of a booted system, whether it is a container (machine.py) or a virtual machine (tests/vm/vm.py)."""

import json
import os
import time

COMMAND_TIMEOUT = 60    # seconds, for one command in the guest
SLOW = float(os.environ.get("FLOWTEST_SLOW") or 1)  # a factor for all bounds
POLL_INTERVAL = 0.02    # where the kernel and systemd have no event to wait for

TARGET = """[Unit]
Description=What the system tests need
Requires=basic.target dbus.socket
After=basic.target dbus.socket
AllowIsolate=yes
"""

# One journal, in memory, that drops nothing: what is missing in it was not sent.
JOURNAL = "[Journal]\nStorage=volatile\nRateLimitBurst=0\n"


class Unavailable(Exception):
    """The tests cannot run here, and the text says why."""


class Failure(AssertionError):
    """A test's expectation was not met."""


class Guest:
    """A booted system; who derives from it has run(argv, check=True, user=None, stdin=None, timeout=, env=None), which gives
    back the ended command with its output as text, write(path, text, mode=) and processes()."""

    slow = SLOW

    @staticmethod
    def environment():
        return {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin", "HOME": "/root", "LANG": "C.UTF-8",
                "PAGER": "cat", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}

    def wait(self, condition, what, timeout=20):
        """Polls until `condition()` is true and returns its value; `what` names it in the failure."""
        timeout *= self.slow
        bound = time.monotonic() + timeout
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > bound:
                raise Failure(f"not within {timeout} s: {what}")
            time.sleep(POLL_INTERVAL)

    def show(self, unit, *properties):
        """A dictionary of a unit's properties, as systemctl show has them."""
        text = self.run(["systemctl", "show", unit, *(f"--property={p}" for p in properties)]).stdout
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def journal(self, *arguments):
        """Journal entries as dictionaries, oldest first."""
        text = self.run(["journalctl", "--output=json", "--no-pager", "--quiet", *arguments]).stdout
        return [json.loads(line) for line in text.splitlines()]

    @staticmethod
    def now():
        """The journalctl option that shows what is logged from now on. (Not --after-cursor=: before systemd 254 it skips an
        entry when the one at the cursor does not match.)"""
        return f"--since=@{time.time():.6f}"

    def unit_processes(self, unit):
        """Those of processes() that are in the control group of a unit or below, zombies left out."""
        return {pid: p for pid, p in self.processes().items() if f"/{unit}" in p.cgroup and p.state != "Z"}

    def kill(self, sig, pid):
        self.run(["sh", "-c", f"kill -{sig} {pid}"])


def check_status(argv, done):
    """Raises Failure where an ended command has another exit status than 0."""
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, argv))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done
