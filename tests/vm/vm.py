# SPDX-License-Identifier: LGPL-2.1-or-later
"""A virtual machine that runs the image of image.py in qemu, to run commands in and to cut the power of.

    with Machine("name", image) as m:                       # a disk that forgets
        m.boot()
        m.run(["systemctl", "start", "flowd.service"])

    with Machine("name", image, disk=path) as m:            # a disk that stays: made from the image where it is not there yet
        m.boot()
        for line in m.stream(["some-program"]):             # each line as it comes
            acknowledged.append(line)
            if enough:
                m.power_cut()                               # ends the loop, after what the guest had already said
        m.boot()                                            # the same disk again
        m.read("/var/lib/something")

Commands go to an agent in the guest (agent.py) over a virtio serial port, and their output comes back over it, whole lines or
not, as soon as it is written. A thread reads it, so what the guest has said before a power cut is known here afterwards: qemu has
put it into a socket, which outlives qemu.

What survives a power cut. The power is cut by SIGKILL for qemu. Whatever the guest had in its own memory is gone then: pages that
were written but not synced, ext4's running transaction. The disk is an NVMe device whose image is a plain file, opened with
cache=writethrough: qemu writes into the file and syncs it before it tells the guest that a write, or a flush, is complete. So what
the guest knows to be on the disk, and with it what any program's fsync() has returned for, is in the file whenever qemu dies, and
even if this machine died with it. The guest takes the device for one with a volatile cache and sends its flushes, as on a real
disk. (With cache=writeback the file would have it as well, but only because the page cache outlives a process; cache=unsafe
ignores flushes; directsync needs O_DIRECT, which not every file system has, for nothing that a test could see.)

What is not simulated: a disk that loses or reorders writes which it has completed but not flushed. A program that syncs too little
is found out by what stayed in the guest's memory, not by the disk. A write that was under way may be there, not there, or there
in part, as on a real disk.

KVM is used where it works, else qemu emulates, ten times slower: every bound is TCG_FACTOR times as long then.
Every wait has a bound.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from guest import COMMAND_TIMEOUT, SLOW, Failure, Guest, Unavailable, check_status
from processes import Process

QEMU = "qemu-system-x86_64"
PACKAGES = {QEMU: "qemu-system-x86", "mke2fs": "e2fsprogs", "debootstrap": "debootstrap", "make": "make"}
BOOT_TIMEOUT = 60           # seconds, as all times here before they are multiplied by the factors
TCG_FACTOR = 4
STOP_TIMEOUT = 10           # for qemu to die of SIGKILL
TCG_CPU = "Nehalem"         # as old as Debian admits: what a newer one has is slow to emulate
CPUS = 2
MEMORY = "1G"
CONSOLE_TAIL = 40           # lines of the console in a failure
RECEIVE_SIZE = 256 * 1024

KERNEL_COMMAND_LINE = ("root=/dev/nvme0n1 rw console=ttyS0 quiet loglevel=5 panic=-1 mitigations=off systemd.show_status=no "
                       "systemd.firstboot=off systemd.unit=flowd-test.target")


def has_kvm():
    """A machine that is a virtual one itself may have the device without a processor that can do it."""
    flags = set(pathlib.Path("/proc/cpuinfo").read_text().split())
    return bool(flags & {"vmx", "svm"}) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def check_possible():
    """Raises Unavailable with a reason where no virtual machine can be made."""
    if os.uname().machine != "x86_64":
        raise Unavailable(f"the virtual machine is an x86_64, this machine is none: {os.uname().machine}")
    if os.geteuid() != 0:
        raise Unavailable("only root can make the file system of a virtual machine")
    missing = [package for tool, package in PACKAGES.items() if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"apt-get install {' '.join(missing)}: missing here")


class Command:
    """A command in the guest: lines() while it runs, wait() for all of it."""

    def __init__(self, machine, number, argv):
        self.machine = machine
        self.number = number
        self.argv = [str(a) for a in argv]
        self.messages = queue.SimpleQueue()     # from the thread that reads; None where the machine is gone
        self.out = self.err = ""
        self.returncode = None
        self.ended = False

    def _next(self, bound):
        """Takes one message into out, err or returncode. Returns False where no other will come."""
        if self.ended:
            return False
        try:
            message = self.messages.get(timeout=max(0, bound - time.monotonic()))
        except queue.Empty:
            self.kill(signal.SIGKILL)
            raise Failure(f"{' '.join(self.argv)}: nothing is heard of it in time; so far:\n{self.out}{self.err}") from None
        if message is None or "exit" in message:
            self.ended = True
            self.returncode = message["exit"] if message else None
            self.machine.forget(self.number)
            return False
        self.out += message.get("out", "")
        self.err += message.get("err", "")
        return True

    def lines(self, timeout=COMMAND_TIMEOUT):
        """The lines of its output as they come, without their ends; what a power cut has cut off of the last is left out. Ends
        with the command (then returncode is its status) or with the machine (then that is None). Fails where nothing comes
        for `timeout` seconds."""
        timeout *= self.machine.slow
        while True:
            *whole, self.out = self.out.split("\n")
            yield from whole
            if not self._next(time.monotonic() + timeout):
                break
        if self.out and self.returncode is not None:
            yield self.out

    def wait(self, timeout=COMMAND_TIMEOUT):
        """Waits for its end, and fails where the machine has gone before."""
        bound = time.monotonic() + timeout * self.machine.slow
        while self._next(bound):
            pass
        if self.returncode is None:
            raise Failure(f"{' '.join(self.argv)}: the machine is gone\n{self.machine.console()}")
        return subprocess.CompletedProcess(self.argv, self.returncode, self.out, self.err)

    def kill(self, sig):
        self.machine.send({"id": self.number, "kill": int(sig)})


class Machine(Guest):
    """See above. `image` is what image.py's build() returns."""

    def __init__(self, name, image, disk=None):
        self.name = name
        self.image = image
        self.disk = pathlib.Path(disk) if disk else None
        self.slow = SLOW * (1 if has_kvm() else TCG_FACTOR)
        self.dir = None
        self.qemu = None
        self.socket = None
        self.reader = None
        self.ready = None           # a queue that gets something when the agent is there, or qemu has ended
        self.boot_id = None         # the guest's, for as long as it runs
        self.lock = threading.Lock()
        self.commands = {}
        self.number = 0
        self.boots = 0

    def __enter__(self):
        run = self.image.disk.parent / "run"
        run.mkdir(exist_ok=True)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=run))
        if self.disk and not self.disk.exists():
            self.image.copy(self.disk)
        return self

    def __exit__(self, *_):
        self.power_cut()
        shutil.rmtree(self.dir, ignore_errors=True)

    # ------------------------------------------------------------------------------------------------ power

    def _command_line(self, channel):
        drive = f"file={self.disk},cache=writethrough" if self.disk else f"file={self.image.disk},snapshot=on,cache=unsafe"
        return [QEMU, "-machine", "q35", "-accel", "kvm" if has_kvm() else "tcg,thread=multi", "-cpu", "host" if has_kvm() else TCG_CPU,
                "-smp", str(CPUS), "-m", MEMORY, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-kernel", str(self.image.kernel), "-append", KERNEL_COMMAND_LINE,
                "-drive", f"if=none,id=disk,format=raw,{drive}", "-device", "nvme,drive=disk,serial=flowd",
                "-serial", f"file:{self.dir}/console",
                "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={channel}",
                "-device", "virtserialport,chardev=agent,name=flowd"]

    def boot(self):
        """Switches it on, and returns when its agent answers: basic.target is reached then."""
        if self.qemu is not None:
            raise RuntimeError("it runs already")

        def die_with_parent():
            # Whatever happens to the test, its machine does not outlive it.
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)

        start = time.monotonic()
        self.socket, theirs = socket.socketpair()
        self.ready = queue.SimpleQueue()
        with theirs, open(self.dir / "qemu", "wb") as said:
            self.qemu = subprocess.Popen(self._command_line(theirs.fileno()), pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                                         stdout=said, stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
                                         env=dict(os.environ, TMPDIR=str(self.dir)))
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        with contextlib.suppress(queue.Empty):
            self.ready.get(timeout=BOOT_TIMEOUT * self.slow)
        if self.boot_id is None:
            raise Failure(f"the machine does not boot:\n{self.console()}")
        self.boots += 1
        print(f"# {self.name}: boot {self.boots} took {time.monotonic() - start:.1f} s", flush=True)

    def power_cut(self):
        """Ends it, now. What the guest had said by then is still in the streams of its commands."""
        if self.qemu is None:
            return
        self.qemu.kill()
        self.qemu.wait(STOP_TIMEOUT * self.slow)
        self.reader.join(STOP_TIMEOUT * self.slow)
        if self.reader.is_alive():
            raise RuntimeError("qemu is dead, but its socket is not")
        self.socket.close()
        self.qemu = None

    def console(self):
        """The last lines that the kernel wrote to its console, and what qemu said."""
        text = ""
        for name in ("console", "qemu"):
            with contextlib.suppress(OSError):
                text += "".join(f"{line}\n" for line in (self.dir / name).read_text(errors="replace").splitlines()[-CONSOLE_TAIL:])
        return text

    # ---------------------------------------------------------------------------------------------- channel

    def _read(self):
        """The thread: hands out what the agent says until qemu is gone."""
        received = b""
        while True:
            try:
                data = self.socket.recv(RECEIVE_SIZE)
            except ConnectionError:
                data = b""
            if not data:
                break
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "ready" in message:
                    self.boot_id = message["ready"]
                    self.ready.put(True)
                    continue
                with self.lock:
                    command = self.commands.get(message["id"])
                if command:
                    command.messages.put(message)
        with self.lock:
            self.boot_id = None
            for command in self.commands.values():
                command.messages.put(None)
            self.commands.clear()
        self.ready.put(False)

    def send(self, message):
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            self.socket.sendall((json.dumps(message) + "\n").encode())

    def forget(self, number):
        with self.lock:
            self.commands.pop(number, None)

    # --------------------------------------------------------------------------------------------- commands

    def _request(self, what, request):
        with self.lock:
            if self.boot_id is None:
                raise Failure(f"{' '.join(what)}: the machine does not run\n{self.console()}")
            self.number += 1
            command = self.commands[self.number] = Command(self, self.number, what)
        self.send({"id": command.number, **request})
        return command

    def start(self, argv, user=None, stdin=None, env=None):
        """Starts a command and returns it as a Command. `stdin` is text."""
        argv = [str(a) for a in argv]
        whole = argv if user is None else ["runuser", "--user", user, "--"] + argv
        return self._request(argv, {"argv": whole, "env": {**self.environment(), **(env or {})}, "stdin": stdin})

    @staticmethod
    def finish(command, timeout=20):
        """Waits for the end of a command that start() has started: (exit status, output, errors)."""
        done = command.wait(timeout)
        return done.returncode, done.stdout, done.stderr

    def stream(self, argv, timeout=COMMAND_TIMEOUT, **kwargs):
        """The lines of a command's output, as they come: see Command.lines()."""
        return self.start(argv, **kwargs).lines(timeout)

    def run(self, argv, check=True, user=None, stdin=None, timeout=COMMAND_TIMEOUT, env=None):
        """Runs a command and returns it with its output as text. Fails where it exits with another status than 0 (unless
        check=False) or runs longer than `timeout` seconds."""
        done = self.start(argv, user, stdin, env).wait(timeout)
        return check_status(argv, done) if check else done

    def read(self, path):
        """What a file of the guest has, as bytes."""
        return self.run(["cat", path]).stdout.encode(errors="surrogateescape")

    def write(self, path, text, mode=0o644):
        """Writes a file of the guest. It is not synced."""
        path = pathlib.PurePosixPath(path)
        script = 'mkdir -p "$2" && rm -f "$1" && cat >"$1" && chmod "$3" "$1"'
        self.run(["sh", "-c", script, "sh", path, path.parent, f"{mode:o}"], stdin=text)

    def processes(self):
        """{pid: Process}; kernel threads are among them and have no arguments."""
        listed = json.loads(self._request(["processes"], {"processes": True}).wait().stdout)
        return {p["pid"]: Process(**p) for p in listed}

    def now(self):
        """As Guest.now(), by the guest's clock."""
        return f"--since=@{self.run(['date', '+%s.%6N']).stdout.strip()}"
