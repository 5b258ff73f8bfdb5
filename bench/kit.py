# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the rows of the benchmark share: servers, one row, and a flowd of one's own."""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_TIMEOUT = 30.0  # seconds that a server gets until it answers
STOP_TIMEOUT = 10.0   # and until it has ended


class Skip(Exception):
    """This contender cannot run here; the text says why."""


def die(text):
    sys.exit(f"bench/run: {text}")


def size_text(n):
    return f"{n >> 20} MiB" if n >= 1 << 20 else f"{n >> 10} KiB" if n >= 1 << 10 else f"{n} B"


class Server:
    """A process that we started, in a directory of its own; stopped by its pid."""

    def __init__(self, bench, mode, name, where=None):
        self.bench, self.mode = bench, mode
        self.dir = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=where or bench.tmp))
        self.process = None

    def start(self, argv, ready, env=None):
        self.log = self.dir / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.bench.pin(self.mode, argv), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.dir, env=env, start_new_session=True)
        end = time.monotonic() + START_TIMEOUT
        while not ready():
            if self.process.poll() is not None:
                raise Skip(f"{argv[0]} did not start: {self.tail()}")
            if time.monotonic() > end:
                self.stop()
                raise Skip(f"{argv[0]} did not answer within {START_TIMEOUT:.0f} s: {self.tail()}")
            time.sleep(0.02)

    def tail(self):
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self):
        if not self.process or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def answers(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        try:
            s.connect(address)
        except OSError:
            return False
    return True


def need(name):
    path = shutil.which(name, path=os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin")
    if not path:
        raise Skip(f"{name} is not installed")
    return path


class FlowdServer(Server):
    """A private instance; its readiness comes as systemd would get it. Workers and pools are made before serve()."""

    def __init__(self, bench, mode, where=None, settings=""):
        super().__init__(bench, mode, "flowd", where)
        self.config, self.runtime, self.state = self.dir / "config", self.dir / "run", self.dir / "state"
        (self.config / "workers").mkdir(parents=True)
        (self.config / "pools").mkdir()
        (self.config / "flowd.conf").write_text(f"[Flowd]\nLogLevel=warning\n{settings}")

    def serve(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        (self.dir / "notify").unlink(missing_ok=True)
        notify.bind(str(self.dir / "notify"))

        def ready():
            try:
                return b"READY=1" in notify.recv(4096).splitlines()
            except BlockingIOError:
                return False

        with notify:
            self.start([self.bench.program("flowd"), f"--config={self.config}", f"--runtime={self.runtime}", f"--state={self.state}"], ready,
                       env={**os.environ, "NOTIFY_SOCKET": str(self.dir / "notify")})

    def kill(self):
        """As a crash would: what it had promised must be there. Returns when its database is free."""
        if not self.process or self.process.poll() is not None:
            return
        self.process.kill()
        self.process.wait()
        end = time.monotonic() + STOP_TIMEOUT
        with open(self.state / "flowd.lock", "rb") as f:  # the process that holds it is another one, and dies with the first
            while True:
                try:
                    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise Skip("flowd was killed and is still there") from None
                    time.sleep(0.01)

    def worker(self, name, text):
        (self.config / "workers" / f"{name}.worker").write_text(f"[Worker]\n{text}\n")

    def pool(self, name, worker, tier, n):
        minimum = f"Min={n}\n" if tier == "hot" else ""
        (self.config / "pools" / f"{name}.pool").write_text(
            f"[Pool]\nWorker={worker}\nTier={tier}\n{minimum}Max={n}\nQueueMax=10000000\nQueueBytesMax=4G\n")


class Row:
    """One contender at one task. `run(mode)` returns {"rate", "p50", "p99"}, times in microseconds, or what the columns of
    its table are. Compression is of one thread, and runs in the first mode only; where `mode` is set the row runs in that one."""

    def __init__(self, task, contender, run, floor=False, flowd=False, table="jobs", mode=None):
        self.task, self.contender, self.run = task, contender, run
        self.floor, self.flowd, self.table, self.mode = floor, flowd, table, mode
        self.results = {}
