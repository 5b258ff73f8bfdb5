# SPDX-License-Identifier: LGPL-2.1-or-later
"""A booted systemd in a container, to run commands in.

The container's root is an overlay over a directory that stays untouched (this machine's own root, or a Debian tree), so that
whatever a test writes is gone afterwards. systemd-nspawn boots it; it needs neither a network nor systemd on this machine.
Commands are run by nsenter, which puts them into all namespaces of the container's init: they are not a part of any unit.

Every wait has a bound and ends when what is awaited happens.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from guest import COMMAND_TIMEOUT, JOURNAL, POLL_INTERVAL, TARGET, Failure, Guest, Unavailable, check_status
from processes import read_processes

BOOT_TIMEOUT = 60       # seconds, until the container's init says that it is up


def find_cgroup2():
    """Where this machine has the unified control group hierarchy mounted."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        if right.split()[0] == "cgroup2":
            return pathlib.Path(left.split()[4])
    raise Unavailable("no cgroup2 hierarchy is mounted on this machine")


def check_possible():
    """Raises Unavailable with a reason where no container can be booted."""
    if os.geteuid() != 0:
        raise Unavailable("only root can boot a container")
    for tool, package in (("systemd-nspawn", "systemd-container"), ("nsenter", "util-linux"), ("mount", "mount")):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is missing (Debian has it in the package {package})")
    if not os.access(find_cgroup2(), os.W_OK):
        raise Unavailable(f"{find_cgroup2()} is not writable")


class Machine(Guest):
    """A container: `with Machine("host", "/") as m: m.run(["systemctl", "status"])`."""

    def __init__(self, name, lower):
        self.name = name
        self.lower = pathlib.Path(lower)
        self.dir = None         # ours, a tmpfs
        self.root = None        # the container's /, before it boots
        self.cgroup = None
        self.nspawn = None
        self.leader = None      # the pid of the container's init

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.callback(self.destroy)
            self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"flowd-{self.name}-"))
            self._mount(["-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(self.dir)])
            for d in ("upper", "work", "root"):
                (self.dir / d).mkdir(mode=0o755)
            self.root = self.dir / "root"
            self._mount(["-t", "overlay", "-o",
                         f"lowerdir={self.lower},upperdir={self.dir}/upper,workdir={self.dir}/work", "overlay", str(self.root)])
            if not (self.root / "usr/lib/systemd/systemd").exists() and not (self.root / "lib/systemd/systemd").exists():
                raise Unavailable(f"there is no systemd in {self.lower}")
            self.write("/etc/systemd/system/flowd-test.target", TARGET)
            self.write("/etc/systemd/journald.conf.d/flowd-test.conf", JOURNAL)
            self.write("/etc/hostname", "flowd-test\n")
            stack.pop_all()
        return self

    def __exit__(self, *_):
        self.destroy()

    @staticmethod
    def _mount(arguments):
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"cannot mount: {done.stderr.strip()}")

    def write(self, path, text, mode=0o644):
        """Writes a file of the container, before or after it has booted."""
        base = pathlib.Path(f"/proc/{self.leader}/root") if self.leader else self.root
        target = base / path.lstrip("/")
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def path(self, path):
        """A path of the booted container as this machine sees it."""
        return pathlib.Path(f"/proc/{self.leader}/root") / path.lstrip("/")

    def boot(self):
        """Boots and returns when the container's init has reached its target."""
        # nspawn puts its payload into a subgroup of the group that it was started in. A group of its own for each
        # container keeps two of them apart.
        self.cgroup = find_cgroup2() / f"{self.dir.name}"
        try:
            self.cgroup.mkdir()
        except OSError as e:
            raise Unavailable(f"cannot make a control group: {e}") from e
        group = str(self.cgroup / "cgroup.procs")

        def enter():
            # Whatever happens to the test, its container does not outlive it.
            ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
            with open(group, "w", encoding="ascii") as f:
                f.write("0")

        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as ready:
            ready.bind(str(self.dir / "notify"))
            ready.settimeout(0.5)
            env = dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1", NOTIFY_SOCKET=str(self.dir / "notify"))
            with open(self.dir / "console", "wb") as console:
                self.nspawn = subprocess.Popen(
                    ["systemd-nspawn", "--directory", str(self.root), "--boot", "--register=no", "--keep-unit", "--console=pipe",
                     "--machine", f"flowd-{self.name}-{os.getpid()}", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
                     "--notify-ready=yes", "--private-network", "systemd.unit=flowd-test.target", "systemd.firstboot=off"],
                    stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, env=env, preexec_fn=enter)
            bound = time.monotonic() + BOOT_TIMEOUT * self.slow
            fields = {}
            while "READY" not in fields:
                try:
                    fields.update(line.split("=", 1) for line in ready.recv(65536).decode().splitlines() if "=" in line)
                except TimeoutError:
                    pass
                if "READY" in fields:
                    break
                if self.nspawn.poll() is not None or time.monotonic() > bound:
                    raise Unavailable(f"the container does not boot:\n{self.console()}")
        self.leader = self._find_leader(fields)
        self.wait(lambda: self.run(["systemctl", "is-active", "flowd-test.target"], check=False).returncode == 0,
                  "flowd-test.target is reached", BOOT_TIMEOUT)

    def _find_leader(self, fields):
        if "X_NSPAWN_LEADER_PID" in fields:
            return int(fields["X_NSPAWN_LEADER_PID"])
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        for pid in children:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            if any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in status.splitlines()):
                return int(pid)
        raise Unavailable("cannot tell which process is the container's init")

    def console(self):
        with contextlib.suppress(OSError):
            return (self.dir / "console").read_text(errors="replace")
        return ""

    def command(self, argv, user=None):
        """The command line that runs `argv` in the container."""
        prefix = ["nsenter", "--target", str(self.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                  "--root", "--wd"]
        if user is not None:
            prefix += ["runuser", "--user", user, "--"]
        return prefix + [str(a) for a in argv]

    def run(self, argv, check=True, user=None, stdin=None, timeout=COMMAND_TIMEOUT, env=None):
        """Runs a command in the container and returns it with its output as text. Fails where it exits with another status
        than 0 (unless check=False) or runs longer than `timeout` seconds."""
        timeout *= self.slow
        try:
            done = subprocess.run(self.command(argv, user), capture_output=True, text=True, errors="replace", check=False,
                                  timeout=timeout, env={**self.environment(), **(env or {})}, input=stdin or "")
        except subprocess.TimeoutExpired as e:
            raise Failure(f"{' '.join(map(str, argv))}: still running after {timeout} s") from e
        return check_status(argv, done) if check else done

    def start(self, argv, user=None, **kwargs):
        """Starts a command in the container, with pipes for its output."""
        return subprocess.Popen(self.command(argv, user), stdin=kwargs.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=self.environment(), **kwargs)

    def finish(self, process, timeout=20):
        """Waits for the end of a command that start() has started: (exit status, output, errors)."""
        try:
            out, err = process.communicate(timeout=timeout * self.slow)
        except subprocess.TimeoutExpired as e:
            process.kill()
            raise Failure(f"{' '.join(process.args)}: still running after {timeout * self.slow} s: {process.communicate()}") from e
        return process.returncode, out, err

    def processes(self):
        """{pid: Process} of the container, by its own pids; kernel threads are not among them."""
        return read_processes(self.path("/proc"))

    def destroy(self):
        if self.nspawn is not None and self.nspawn.poll() is None:
            if self.leader is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.leader, signal.SIGRTMIN + 14)  # systemd: power off at once
            try:
                self.nspawn.wait(5)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()
        self.leader = None
        if self.cgroup is not None and self.cgroup.exists():
            with contextlib.suppress(OSError):
                (self.cgroup / "cgroup.kill").write_text("1")
            bound = time.monotonic() + 5
            while "populated 1" in (self.cgroup / "cgroup.events").read_text() and time.monotonic() < bound:
                time.sleep(POLL_INTERVAL)
            for folder, _, _ in os.walk(self.cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        if self.dir is not None:
            for mount in (self.root, self.dir):
                if mount is not None:
                    subprocess.run(["umount", "--lazy", str(mount)], stderr=subprocess.DEVNULL, check=False)
            with contextlib.suppress(OSError):
                self.dir.rmdir()
            self.dir = None
