# SPDX-License-Identifier: LGPL-2.1-or-later
"""flowd as a service of a booted container: its configuration, its units, its workers."""

import json
import re

from guest import Failure

GATE = "/run/flowd-test/gate"

# People, by systemd-sysusers, which runs at boot after flowd's own groups are there or together with them.
PEOPLE = """u nobody-special - "in no group of flowd's" /home/nobody-special
u watcher - "may look" /
u submitter - "may submit" /
u admin - "may do all" /
m watcher flowd-observe
m submitter flowd
m admin flowd-admin
"""

# Programs that the tests' worker types execute.
PROGRAMS = {
    # jsonl; says that it is ready when somebody opens the gate
    "gated": """#!/bin/sh
read -r _ <@GATE@
echo '{"ready":true}'
while read -r line; do
        job=${line#*'"job":"'}; job=${job%%'"'*}
        echo '{"job":"'"$job"'","result":"gated"}'
done
""".replace("@GATE@", GATE),
    # exec; says something on stderr and gives its input back
    "talker": """#!/bin/sh
echo "talker says hello" >&2
cat
""",
    # exec; as many lines on stderr as its input says
    "noisy": """#!/bin/bash
read -r n
for ((i = 0; i < n; i++)); do echo "noise $i, which would fill a journal that nobody empties" >&2; done
echo "$n"
""",
    # exec; gives its input back when somebody opens the gate
    "patient": """#!/bin/sh
read -r _ <@GATE@
cat
""".replace("@GATE@", GATE),
    # exec; runs for as many seconds as its input says
    "sleeper": """#!/bin/sh
read -r n
sleep "$n"
echo "slept $n"
""",
    # exec; leaves a process behind that has a session of its own, ignores TERM and holds none of the pipes
    "breeder": """#!/bin/bash
read -r n
(trap '' TERM HUP; exec setsid sleep 86401 </dev/null >/dev/null 2>&1) &
sleep "$n"
echo bred
""",
    # exec; whether it may open an internet socket: nobody listens, so the best answer is a refusal
    "caller": """#!/bin/bash
(: </dev/tcp/127.0.0.1/9) 2>&1 | sed 's/.*: //'
exit 0
""",
}


def section(name, **values):
    return f"[{name}]\n" + "".join(f"{k}={v}\n" for k, v in values.items())


class Flowd:
    """`f = Flowd(machine, echo)`; `echo` is the installed path of flow-worker-echo."""

    UNITS = ("flowd.socket", "flowd-jobs.socket", "flowd-mcp.socket", "flowd.service")

    def __init__(self, machine, echo):
        self.m = machine
        self.echo = echo

    @staticmethod
    def prepare(machine):
        """What must be in the container before it boots."""
        machine.write("/usr/lib/sysusers.d/flowd-test.conf", PEOPLE)
        machine.write("/usr/lib/tmpfiles.d/flowd-test.conf", f"d /run/flowd-test 0755 root root -\n"
                      f"p+ {GATE} 0666 root root -\n"
                      "d /home/nobody-special 0755 nobody-special nobody-special -\n")
        for name, text in PROGRAMS.items():
            machine.write(f"/usr/lib/flowd-test/{name}", text, 0o755)

    # -------------------------------------------------------------------------------------------- configuration

    def worker(self, name, program=None, protocol="exec", **values):
        if program == "echo":
            exe = self.echo
        else:
            exe = program if program and program.startswith("/") else f"/usr/lib/flowd-test/{program or name}"
        self.m.write(f"/etc/flowd/workers/{name}.worker", section("Worker", Exec=exe, Protocol=protocol, **values))

    def pool(self, name, worker=None, **values):
        self.m.write(f"/etc/flowd/pools/{name}.pool", section("Pool", Worker=worker or name, **values))

    def echo_pool(self, size=2, **values):
        """The pool that most tests have: hot, of workers that speak frames."""
        self.worker("echo", "echo", "frame", **values)
        self.pool("echo", Tier="hot", Min=size, Max=size)

    def exec_pool(self, name, tier="cold", size=2, **values):
        self.worker(name, **values)
        self.pool(name, Tier=tier, Max=size)

    def conf(self, **values):
        self.m.write("/etc/flowd/flowd.conf", section("Flowd", **values))

    def drop_in(self, name, **values):
        """A drop-in for flowd.service, in force at its next start."""
        self.m.write(f"/run/systemd/system/flowd.service.d/{name}.conf", section("Service", **values))
        self.m.run(["systemctl", "daemon-reload"])

    # ------------------------------------------------------------------------------------------------- the unit

    def start(self):
        self.m.run(["systemctl", "start", "flowd.service"])

    def state(self):
        return self.show("ActiveState")

    def show(self, name):
        return self.m.show("flowd.service", name)[name]

    def main_pid(self):
        return int(self.show("MainPID"))

    def processes(self):
        """All processes of the service, the daemon included."""
        return self.m.unit_processes("flowd.service")

    def workers(self):
        """{POOL/SLOT: pid} of the workers that have a process."""
        reply = json.loads(self.flowctl("worker", "list", "--json").stdout)
        return {w["id"]: w["pid"] for w in reply["workers"] if w["pid"] > 0}

    def ready_workers(self, pool):
        reply = json.loads(self.flowctl("worker", "list", pool, "--json").stdout)
        return {w["id"]: w["pid"] for w in reply["workers"] if w["state"] in ("ready", "busy")}

    def open_gate(self):
        """Lets go on who waits at the gate; waits itself until somebody is there."""
        self.m.run(["sh", "-c", f"echo go >{GATE}"])

    def status(self):
        return json.loads(self.flowctl("status", "--json").stdout)

    def flowctl(self, *arguments, **kwargs):
        return self.m.run(["flowctl", *arguments], **kwargs)

    def wait_said(self, word, *options):
        """Waits until the unit's journal has the word: journald takes it out of a socket in its own time. Returns the whole text."""
        def said():
            text = self.m.run(["journalctl", "-u", "flowd.service", "-o", "cat", *options]).stdout
            return text if word in text else None
        return self.m.wait(said, f"the journal says {word!r}")

    def wait_event(self, name, since, *matches):
        """Waits until the event is in the journal since `since` (of machine.now()), and returns its entries."""
        matches = (since, "-u", "flowd.service", f"FLOWD_EVENT={name}", *matches)
        return self.m.wait(lambda: self.m.journal(*matches), f"{name} is logged")

    def wait_replaced(self, pool, pid, size):
        """Waits until a pool has `size` ready workers again, none of which is `pid`."""
        def replaced():
            ready = self.ready_workers(pool).values()
            return len(ready) == size and pid not in ready
        self.m.wait(replaced, f"a worker of {pool} is replaced")

    def run(self, pool, payload, **kwargs):
        """Runs a job and returns its result."""
        return self.flowctl("run", "--pool", pool, "-", stdin=payload, **kwargs).stdout

    def run_lines(self, pool, lines):
        return self.flowctl("run", "--pool", pool, "--lines", "--quiet", "-", stdin=lines).stdout

    def reset(self):
        """Stops everything, forgets every configuration, and fails if a process is left."""
        self.m.run(["systemctl", "kill", "--signal=CONT", "flowd.service"], check=False)
        self.m.run(["systemctl", "stop", *self.UNITS], check=False)
        self.m.run(["sh", "-c", "rm -rf /etc/flowd /run/flowd/pools /run/flowd/workers /run/systemd/system/flowd.service.d"])
        self.m.run(["systemctl", "daemon-reload"])
        self.m.run(["systemctl", "reset-failed", *self.UNITS], check=False)
        self.nothing_left()

    def nothing_left_of(self, before):
        """None of `before` (of processes()) is there any more."""
        def left():
            now = self.m.processes()
            return [p for pid, p in before.items() if pid in now and now[pid].started == p.started and now[pid].state != "Z"]
        self._wait_none(left)

    def nothing_left(self, before=None):
        """No process of the service is there, none of its workers' user, and none of `before`."""
        uid = int(self.m.run(["id", "-u", "flowd-worker"]).stdout)

        def left():
            return [p for p in self.m.processes().values() if p.state != "Z" and ("/flowd.service" in p.cgroup or p.uid == uid)]
        self._wait_none(left)
        self.nothing_left_of(before or {})

    def _wait_none(self, left):
        try:
            self.m.wait(lambda: not left(), "no process of flowd is left", 10)
        except Failure as e:
            raise Failure(f"{e}; there are {[(p.pid, p.uid, p.cgroup, p.args) for p in left()]}") from e


def parse_ids(header):
    """{MESSAGE_ID: event name} from src/worker/event.h."""
    return {i: name for name, i in re.findall(r'X\(EVENT_\w+,\s*"([^"]+)",\s*LOG_\w+,\s*"([0-9a-f]{32})"', header)}
