# SPDX-License-Identifier: LGPL-2.1-or-later
"""The limits of workers, with a kernel that has all controllers: each test is a function of a Flowd in a virtual machine, where
nothing of flowd runs and /etc/flowd is empty."""

import contextlib
import json
import re

from cases import check, contains
from flowd import GATE

CASES = []

LIMIT = 48 << 20            # bytes: three times what a worker in Python needs
LITTLE, MUCH = "4", "200"   # MiB that a job takes: far below and far above
TASKS = 24
STOP_FILE = GATE + ".stop"
TRAFFIC_PERIOD = 0.1        # seconds between two jobs

# Further programs for the worker types.
PROGRAMS = {
    # exec; takes as many MiB as its input says, through a process of its own that it would survive
    "hog": """#!/bin/sh
python3 -c 'import sys; block = b"x" * (int(sys.stdin.readline()) << 20); print("had", len(block) >> 20)'
echo "its child exited with $?"
""",
    # jsonl; the same, itself
    "hog-jsonl": """#!/usr/bin/env python3
import json, sys
for line in sys.stdin:
    job = json.loads(line)
    block = b"x" * (int(job["payload"]) << 20)
    print(json.dumps({"job": job["job"], "result": "had %d" % (len(block) >> 20)}), flush=True)
""",
    # exec; forks as fast as it can, and so does each child, until somebody ends it
    "bomb": """#!/usr/bin/env python3
import os, time
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.1)
""",
    # exec; wants all of one processor
    "spinner": """#!/usr/bin/env python3
import os
os.sched_setaffinity(0, {0})
while True:
    pass
""",
}


def case(function):
    CASES.append(function)
    return function


@contextlib.contextmanager
def traffic(f):
    """Jobs for the pool echo, one after the other, for as long as this lasts. What it gives checks that the pool does jobs right
    now; at the end each job must have been done, by the workers that were there at the beginning."""
    f.m.run(["rm", "-f", STOP_FILE])
    before = f.ready_workers("echo")
    script = f"i=0; while [ ! -e {STOP_FILE} ]; do echo $i; i=$((i+1)); sleep {TRAFFIC_PERIOD}; done"
    command = f.m.start(["sh", "-c", f"({script}) | flowctl run --pool echo --lines --quiet -"])
    results = command.lines()
    seen = [next(results)]

    def goes_on():
        check(f.run("echo", "hello") == "hello", "the other pool does not answer")
        seen.append(next(results))
    try:
        yield goes_on
        goes_on()
    finally:
        f.m.run(["touch", STOP_FILE])
    seen += results
    check(command.returncode == 0, f"a job of the other pool was not done: {command.err}")
    check(seen == [str(i) for i in range(len(seen))], f"the other pool's results are {seen}")
    check(f.ready_workers("echo") == before, f"the other pool's workers were {before} and are {f.ready_workers('echo')}")


def group_of(f, pid):
    """The folder of the control group that a process is in."""
    return "/sys/fs/cgroup" + f.m.read(f"/proc/{pid}/cgroup").decode().rsplit("0::", 1)[1].strip()


def limits_of(f, pool, *files):
    """What the files of the control group of the pool's first worker have."""
    folder = group_of(f, f.workers()[f"{pool}/0"])
    return [f.m.read(f"{folder}/{name}").decode().strip() for name in files]


def fails(f, pool, payload, *words):
    """Runs a job that must fail with `words` in its error."""
    done = f.flowctl("run", "--pool", pool, payload, check=False)
    check(done.returncode == 1, f"exit status {done.returncode} instead of 1: {done.stdout}{done.stderr}")
    contains(done.stderr, *words)
    return done.stderr


@case
def all_controllers_are_there(f):
    """Each limit is written to its worker's control group, an unlimited worker has none, and nobody says that any is missing."""
    f.worker("limited", "echo", "frame", MemoryMax=LIMIT, MemorySwapMax=0, TasksMax=TASKS, CPUWeight=25)
    f.pool("limited", Tier="hot", Min=1, Max=1)
    f.echo_pool(1)
    since = f.m.now()
    f.start()
    files = ("memory.max", "memory.oom.group", "pids.max", "cpu.weight")
    found = limits_of(f, "limited", *files)
    check(found == [str(LIMIT), "1", str(TASKS), "25"], f"{files} are {found}")
    found = limits_of(f, "echo", *files)
    check(found == ["max", "0", "max", "100"], f"of a worker without limits, {files} are {found}")
    swap = [limits_of(f, name, "memory.swap.max") for name in ("limited", "echo")]
    check(swap == [["0"], ["max"]], f"memory.swap.max is {swap}")
    check(f.status()["limits"] == "cgroups", f"flowctl status says of the limits: {f.status()['limits']}")
    f.wait_event("flowd-started", since)
    check(not f.m.journal(since, "-u", "flowd.service", "FLOWD_EVENT=limits-unavailable"), "limits are said to be unavailable")


@case
def memory_of_a_resident_worker(f):
    """A worker that needs more than MemoryMax= is killed; job, event and 'worker show' say why; the pool goes on, as do others."""
    f.echo_pool(1)
    f.worker("hog-jsonl", protocol="jsonl", MemoryMax=LIMIT, MaxCrashes=1)
    f.pool("hog-jsonl", Tier="hot", Min=1, Max=1)
    f.start()
    check(f.run("hog-jsonl", LITTLE) == f"had {LITTLE}", "a job within the limit is not done")
    pid, victim, since = f.main_pid(), f.workers()["hog-jsonl/0"], f.m.now()
    with traffic(f) as goes_on:
        why = "was killed by SIGKILL (out of memory: MemoryMax=)"
        fails(f, "hog-jsonl", MUCH, f"its worker hog-jsonl/0 {why}", "MaxCrashes=1")
        goes_on()
        crashed = f.wait_event("worker-crashed", since, "FLOWD_POOL=hog-jsonl")
        check(crashed[0]["MESSAGE"] == f"hog-jsonl/0 {why}" and crashed[0]["OBJECT_PID"] == str(victim), f"{crashed[0]}")
        contains(f.wait_event("job-dead", since, "FLOWD_POOL=hog-jsonl")[0]["MESSAGE"], why)
        f.wait_replaced("hog-jsonl", victim, 1)
        shown = json.loads(f.flowctl("worker", "show", "hog-jsonl/0", "--json").stdout)["worker"]
        check(shown["last_exit"] == f"hog-jsonl/0 {why}", f"worker show says: {shown}")
        contains(f.flowctl("worker", "show", "hog-jsonl/0").stdout, f"Last exit: hog-jsonl/0 {why}")
        check(f.run("hog-jsonl", LITTLE) == f"had {LITTLE}", "the replacement does not answer")
    check(f.main_pid() == pid and f.state() == "active", "flowd is not the same any more")


@case
def memory_of_a_command(f):
    """The whole group goes, not the one process that asked for too much: the command cannot succeed without its child."""
    f.echo_pool(1)
    f.exec_pool("hog", size=1, MemoryMax=LIMIT, MaxCrashes=2)
    f.start()
    contains(f.run("hog", f"{LITTLE}\n"), f"had {LITTLE}", "its child exited with 0")
    since = f.m.now()
    with traffic(f):
        said = fails(f, "hog", MUCH, "was killed by SIGKILL (out of memory: MemoryMax=)", "attempt 2, 2 crashes")
        check("exited with" not in said, f"a part of the worker has survived: {said}")
        check(len(f.wait_event("job-requeued", since, "FLOWD_POOL=hog")) == 1, "it was not tried again")
    contains(f.run("hog", f"{LITTLE}\n"), f"had {LITTLE}")


@case
def memory_too_little_to_start(f):
    """A limit that not even the start of the program fits into is that pool's trouble alone."""
    f.echo_pool(1)
    f.worker("hog-jsonl", protocol="jsonl", Ready="explicit", MemoryMax="1M")
    f.pool("hog-jsonl", Tier="hot", Min=1, Max=1, RestartDelay="100ms", RestartDelayMax="200ms", BreakerCrashes=5)
    since = f.m.now()
    f.start()
    pid = f.main_pid()
    with traffic(f) as goes_on:
        contains(f.wait_event("worker-start-failed", since, "FLOWD_POOL=hog-jsonl")[0]["MESSAGE"], "MemoryMax=")
        f.wait_event("pool-degraded", since, "FLOWD_POOL=hog-jsonl")
        goes_on()
    check(f.main_pid() == pid and f.state() == "active", "flowd is not the same any more")


@case
def memory_of_the_whole_service(f):
    """A worker that dies of the service's limit is not said to have died of its own, which it does not have."""
    f.echo_pool(1)
    f.worker("hog-jsonl", protocol="jsonl", MaxCrashes=1)
    f.pool("hog-jsonl", Tier="hot", Min=1, Max=1)
    f.drop_in("memory", MemoryMax="128M", MemorySwapMax=0)
    f.start()
    pid, since = f.main_pid(), f.m.now()
    with traffic(f):
        said = fails(f, "hog-jsonl", MUCH, "was killed by SIGKILL (out of memory: the limit of the service")
        check("MemoryMax=" not in said, f"the worker type has no MemoryMax=: {said}")
        f.wait_event("worker-crashed", since, "FLOWD_POOL=hog-jsonl")
    check(f.main_pid() == pid and f.state() == "active", "flowd is not the same any more")
    check(f.run("hog-jsonl", LITTLE) == f"had {LITTLE}", "the replacement does not answer")


@case
def memory_after_a_reexec(f):
    """A worker keeps its limit across a re-exec, its end is understood, and its successor has the limit too."""
    f.worker("hog-jsonl", protocol="jsonl", MemoryMax=LIMIT, MaxCrashes=1)
    f.pool("hog-jsonl", Tier="hot", Min=1, Max=1)
    f.start()
    victim, since = f.workers()["hog-jsonl/0"], f.m.now()
    f.flowctl("reexec")
    check(f.workers()["hog-jsonl/0"] == victim, "the worker did not stay")
    check(f.status()["limits"] == "cgroups", f"flowctl status says of the limits: {f.status()['limits']}")
    fails(f, "hog-jsonl", MUCH, "out of memory: MemoryMax=")
    f.wait_replaced("hog-jsonl", victim, 1)
    check(limits_of(f, "hog-jsonl", "memory.max") == [str(LIMIT)], "the successor has no limit")
    check(not f.m.journal(since, "-u", "flowd.service", "FLOWD_EVENT=limits-unavailable"), "limits are said to be unavailable")


@case
def tasks_of_a_fork_bomb(f):
    """A worker that forks without end gets TasksMax= processes, slows nobody else down, and is gone with its job."""
    f.echo_pool(1)
    f.exec_pool("bomb", size=1, TasksMax=TASKS, StopTimeout="1s", CancelTimeout="1s")
    f.start()
    pid = f.main_pid()
    with traffic(f) as goes_on:
        client = f.m.start(["flowctl", "run", "--pool", "bomb", "x"])
        f.m.wait(lambda: "bomb/0" in f.workers(), "the bomb has been started")
        folder = group_of(f, f.workers()["bomb/0"])

        def refused():
            found = re.search(r"^max (\d+)$", f.m.read(f"{folder}/pids.events").decode(), re.MULTILINE)
            return int(found[1]) > 0
        f.m.wait(refused, "the kernel refuses to fork")
        for _ in range(3):
            count = int(f.m.read(f"{folder}/pids.current"))
            check(0 < count <= TASKS, f"there are {count} tasks, TasksMax={TASKS}")
            goes_on()
        job = json.loads(f.flowctl("job", "list", "--json").stdout)["jobs"]
        running = [j["id"] for j in job if j["pool"] == "bomb"]
        check(len(running) == 1, f"jobs of the bomb: {running}")
        f.flowctl("job", "cancel", running[0])
        check(f.m.finish(client)[0] == 130, "the client was not told that its job was cancelled")
        f.m.wait(lambda: not any("/bomb" in p.args for p in f.processes().values()), "all that it has forked is gone")
        f.m.wait(lambda: f.m.run(["test", "-e", folder], check=False).returncode != 0, "and so is its control group")
    check(f.main_pid() == pid and f.state() == "active", "flowd is not the same any more")


@case
def weights_share_a_processor(f):
    """Of two workers that both want all of one processor, the one with ten times the CPUWeight= gets most of it."""
    for name, weight in (("heavy", 1000), ("light", 100)):
        f.worker(name, "spinner", CPUWeight=weight, StopTimeout="1s")
        f.pool(name, Tier="cold", Max=1)
    f.conf(ShutdownTimeout="1s")
    f.start()
    clients = [f.m.start(["flowctl", "run", "--pool", name, "x"]) for name in ("heavy", "light")]
    f.m.wait(lambda: len(f.workers()) == 2, "both run")
    folders = {w.split("/")[0]: group_of(f, pid) for w, pid in f.workers().items()}

    def used(name):
        return int(re.search(r"^usage_usec (\d+)$", f.m.read(f"{folders[name]}/cpu.stat").decode(), re.MULTILINE)[1])
    start = {name: used(name) for name in folders}
    f.m.wait(lambda: used("heavy") - start["heavy"] > 2_000_000, "the heavy one has had two seconds")
    got = {name: used(name) - start[name] for name in folders}
    check(got["light"] * 3 < got["heavy"], f"of CPUWeight=1000 and 100, in microseconds: {got}")
    f.m.run(["systemctl", "stop", "flowd.service"])
    for c in clients:
        f.m.finish(c)
