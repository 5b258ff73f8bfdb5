#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs commands in a virtual machine, for vm.py outside it. This file is installed there and started by systemd.

Both sides write one JSON object a line on a virtio serial port. Bytes are text with surrogateescape, so that nothing is lost.

    to the agent    {"id":1,"argv":[...],"env":{...},"stdin":"..."}     starts a command; "stdin" may be missing
                    {"id":1,"kill":9}                                   signals it and its children
    {"id":1,"processes":true}                           lists all processes, as if that were a command
    from it         {"ready":BOOT_ID}                                   once
                    {"id":1,"out":"..."} {"id":1,"err":"..."}           as it comes
                    {"id":1,"exit":0}                                   when it has exited and both streams have ended; last
"""

import dataclasses
import json
import os
import pathlib
import selectors
import subprocess
import tempfile
import time

from processes import read_processes

PORT_NAME = "flowd"
PORT_TIMEOUT = 60           # seconds, until the driver has made the port
POLL_INTERVAL = 0.02
CHUNK = 32 * 1024
CANNOT_START = 127          # the exit status of a command that cannot be executed, as a shell has it

selector = selectors.DefaultSelector()
port = -1


def open_port():
    """Nobody here waits for udev: the driver names its ports in /sys."""
    bound = time.monotonic() + PORT_TIMEOUT
    while time.monotonic() < bound:
        for name in pathlib.Path("/sys/class/virtio-ports").glob("*/name"):
            if name.read_text().strip() == PORT_NAME:
                return os.open(f"/dev/{name.parent.name}", os.O_RDWR | os.O_CLOEXEC)
        time.sleep(POLL_INTERVAL)
    raise SystemExit(f"there is no virtio port {PORT_NAME}")


def send(message):
    data = (json.dumps(message) + "\n").encode()
    while data:
        data = data[os.write(port, data):]


class Command:
    def __init__(self, request):
        self.id = request["id"]
        stdin = subprocess.DEVNULL
        if request.get("stdin"):
            stdin = tempfile.TemporaryFile()
            stdin.write(request["stdin"].encode(errors="surrogateescape"))
            stdin.seek(0)
        self.process = subprocess.Popen(request["argv"], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
                                        env=request["env"], start_new_session=True)
        self.pidfd = os.pidfd_open(self.process.pid)
        self.left = 3
        selector.register(self.process.stdout, selectors.EVENT_READ, lambda: self.on_output("out", self.process.stdout))
        selector.register(self.process.stderr, selectors.EVENT_READ, lambda: self.on_output("err", self.process.stderr))
        selector.register(self.pidfd, selectors.EVENT_READ, self.on_exit)

    def on_output(self, key, stream):
        data = os.read(stream.fileno(), CHUNK)
        if data:
            send({"id": self.id, key: data.decode(errors="surrogateescape")})
            return
        selector.unregister(stream)
        stream.close()
        self.ended()

    def on_exit(self):
        self.process.wait()
        selector.unregister(self.pidfd)
        os.close(self.pidfd)
        self.ended()

    def ended(self):
        self.left -= 1
        if self.left == 0:
            commands.pop(self.id)
            send({"id": self.id, "exit": self.process.returncode})

    def kill(self, sig):
        if self.process.returncode is None:
            os.killpg(self.process.pid, sig)


commands = {}
received = bytearray()


def on_request(request):
    if "kill" in request:
        if request["id"] in commands:
            commands[request["id"]].kill(request["kill"])
        return
    if "processes" in request:
        send({"id": request["id"], "out": json.dumps([dataclasses.asdict(p) for p in read_processes("/proc").values()])})
        send({"id": request["id"], "exit": 0})
        return
    try:
        commands[request["id"]] = Command(request)
    except OSError as e:
        send({"id": request["id"], "err": f"{request['argv'][0]}: {e.strerror}\n"})
        send({"id": request["id"], "exit": CANNOT_START})


def on_port():
    data = os.read(port, CHUNK)
    if not data:
        raise SystemExit("nobody is at the other end of the port")
    received.extend(data)
    *lines, rest = received.split(b"\n")
    received[:] = rest
    for line in lines:
        on_request(json.loads(line))


def main():
    global port
    port = open_port()
    selector.register(port, selectors.EVENT_READ, on_port)
    send({"ready": pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()})
    while True:
        for key, _ in selector.select():
            key.data()


main()
