# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tests: each a function of a Flowd in a booted container, where nothing of flowd runs and /etc/flowd is empty."""

import random

from guest import Failure

CASES = []


def case(function):
    CASES.append(function)
    return function


def check(condition, what):
    if not condition:
        raise Failure(what)


def contains(text, *words):
    for w in words:
        check(w in text, f"{w!r} is not in: {text}")


def refused(done, *words):
    """A command that was not permitted, with a message that has `words`."""
    check(done.returncode == 77, f"exit status {done.returncode} instead of 77: {done.stdout}{done.stderr}")
    contains(done.stderr, *words)


# ------------------------------------------------------------------------------------------------------------- starting

@case
def units_are_accepted(f):
    """systemd has nothing to say against the installed units, and sysusers has made the groups."""
    said = f.m.run(["systemd-analyze", "verify", "--man=no", *f.UNITS], check=False)
    check(said.returncode == 0 and said.stdout + said.stderr == "", f"systemd-analyze verify: {said.stdout}{said.stderr}")
    for group in ("flowd", "flowd-observe", "flowd-admin"):
        f.m.run(["getent", "group", group])
    groups = f.m.run(["id", "-Gn", "flowd-worker"]).stdout.split()
    check(groups == ["flowd-worker"], f"flowd-worker is in {groups}")


@case
def start_waits_for_hot_pools(f):
    """Active only when every hot pool is ready, the slow one included."""
    f.echo_pool()
    f.worker("gated", protocol="jsonl", Ready="explicit")
    f.pool("gated", Tier="hot", Min=1, Max=1)
    f.m.run(["systemctl", "start", "--no-block", "flowd.service"])
    f.m.wait(lambda: any("gated" in p.args for p in f.processes().values()), "the slow worker has been started")
    f.m.wait(lambda: sum(f.echo in p.args for p in f.processes().values()) == 2, "the other pool's workers have been started")
    check(f.state() == "activating", f"flowd is {f.state()} although a hot pool is not ready")
    check(f.status()["state"] == "starting", f"flowctl status says {f.status()['state']}")
    f.open_gate()
    f.m.wait(lambda: f.state() == "active", "flowd is active once its last hot pool is ready")
    check(f.status()["state"] == "running", f"flowctl status says {f.status()['state']}")
    check(f.run("gated", "x").strip() == "gated", "the slow worker does not answer")


@case
def start_with_a_broken_pool(f):
    """A hot pool that cannot start keeps nobody from becoming active, and STATUS= tells."""
    f.echo_pool()
    f.worker("broken", "/bin/false", "frame")
    f.pool("broken", Tier="hot", Min=1, Max=1)
    since = f.m.now()
    f.start()
    check(f.state() == "active", f"flowd is {f.state()}")
    contains(f.show("StatusText"), "degraded", "broken")
    check(f.run("echo", "hello") == "hello", "the healthy pool does not answer")
    f.wait_event("pool-degraded", since, "FLOWD_POOL=broken")


@case
def bad_configuration_at_start(f):
    """Exit status 78, one attempt, and the journal names file and line. Once mended, it starts."""
    f.echo_pool()
    f.m.write("/etc/flowd/pools/echo.pool", "[Pool]\nWorker=echo\nTier=lukewarm\n")
    check(f.m.run(["systemctl", "start", "flowd.service"], check=False).returncode != 0, "started with a bad configuration")
    shown = f.m.show("flowd.service", "ActiveState", "Result", "ExecMainStatus", "NRestarts")
    check(shown == {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78", "NRestarts": "0"}, f"{shown}")
    f.wait_said("/etc/flowd/pools/echo.pool:3")
    f.pool("echo", Tier="hot")
    f.start()
    check(f.run("echo", "hello") == "hello", "no answer after the configuration was mended")


@case
def socket_activation(f):
    """The first client starts flowd, on whichever socket."""
    f.echo_pool()
    f.m.run(["systemctl", "start", "flowd.socket"])
    for socket in ("flowd.socket", "flowd-jobs.socket", "flowd-mcp.socket"):
        f.m.run(["systemctl", "is-active", socket])
    check(f.state() == "inactive", "flowd runs before anybody asked")
    check(f.run("echo", "hello") == "hello", "no answer")
    check(f.state() in ("active", "activating"), f"flowd is {f.state()}")
    first = f.main_pid()
    f.m.run(["systemctl", "stop", "flowd.service"])
    check(f.status()["pid"] not in (0, first), "the control socket did not start another flowd")
    f.m.run(["systemctl", "stop", "flowd.service"])
    contains(f.m.run(["flowctl", "mcp", "call", "pool_list"]).stdout, '"echo"')
    f.m.run(["systemctl", "stop", "flowd.service", "flowd.socket"])
    f.m.run(["systemctl", "is-active", "flowd-jobs.socket"], check=False)
    check(f.m.run(["sh", "-c", "ls /run/flowd"]).stdout == "", "sockets are left after their units were stopped")


# -------------------------------------------------------------------------------------------------------------- running

@case
def status_line(f):
    """systemctl status shows STATUS= and the workers' control groups."""
    f.echo_pool(3)
    f.start()
    text = f.m.run(["systemctl", "status", "flowd.service"]).stdout
    contains(text, "Status: \"", "active (running)", "flow-worker-echo")
    contains(f.show("StatusText"), "3")


@case
def workers_are_confined(f):
    """A user of their own without privileges, and a control group for each."""
    f.echo_pool()
    f.start()
    uid = int(f.m.run(["id", "-u", "flowd-worker"]).stdout)
    pids = f.workers()
    check(len(pids) == 2, f"workers: {pids}")
    found = f.processes()
    groups = set()
    for pid in pids.values():
        p = found[pid]
        check(p.uid == uid, f"a worker runs as {p.uid}")
        check(int(p.status["CapEff"], 16) == 0 and int(p.status["CapPrm"], 16) == 0, "a worker has capabilities")
        check(p.status["NoNewPrivs"].strip() == "1", "a worker can gain privileges")
        check("/system.slice/flowd.service/" in p.cgroup, f"a worker is in {p.cgroup}")
        check(f.m.path("/sys/fs/cgroup" + p.cgroup + "/cgroup.kill").exists(), "a worker's control group cannot be killed")
        groups.add(p.cgroup)
    groups.add(found[f.main_pid()].cgroup)
    check(len(groups) == 3, f"two workers and flowd share control groups: {groups}")
    # Limits are tested in tests/vm: where the controllers belong to the first version's hierarchy, a container has none.
    # A group goes with its worker.
    f.pool("echo", Tier="hot", Min=1, Max=1)
    f.m.run(["systemctl", "reload", "flowd.service"])
    f.m.wait(lambda: len(f.workers()) == 1, "the pool has shrunk")
    parent = f.m.path("/sys/fs/cgroup/system.slice/flowd.service")

    def left():
        return [p for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".")]
    f.m.wait(lambda: len(left()) == 2, "the control group of an ended worker is gone")


@case
def sandbox_drop_in(f):
    """Workers have no network until a drop-in gives them one."""
    f.exec_pool("caller")
    f.start()
    contains(f.run("caller", ""), "Address family not supported")
    drop_in = (f.m.docs / "drop-ins/network-workers.conf").read_text()
    f.m.write("/etc/systemd/system/flowd.service.d/network-workers.conf", drop_in)
    try:
        f.m.run(["systemctl", "daemon-reload"])
        f.m.run(["systemctl", "restart", "flowd.service"])
        contains(f.run("caller", ""), "Connection refused")
    finally:
        f.m.run(["rm", "-r", "/etc/systemd/system/flowd.service.d"])


@case
def permissions(f):
    """Who is in no group is refused, and told which one; the others get what their group gives."""
    f.echo_pool()
    f.start()
    refused(f.flowctl("status", user="nobody-special", check=False), "flowd-observe")
    refused(f.flowctl("run", "--pool", "echo", "x", user="nobody-special", check=False), "group", "flowd")
    f.flowctl("status", user="watcher")
    f.flowctl("worker", "list", user="watcher")
    refused(f.flowctl("run", "--pool", "echo", "x", user="watcher", check=False), "group", "flowd")
    refused(f.flowctl("pool", "drain", "echo", user="watcher", check=False), "group", "flowd")
    check(f.flowctl("run", "--pool", "echo", "hello", user="submitter").stdout == "hello", "a member of flowd is not served")
    f.flowctl("pool", "drain", "echo", user="submitter")
    f.flowctl("pool", "resume", "echo", user="submitter")
    refused(f.flowctl("reload", user="submitter", check=False), "flowd-admin")
    f.flowctl("reload", user="admin")
    # A worker is nobody either: it can neither ask flowd for anything nor signal it, nor read its state.
    refused(f.flowctl("status", user="flowd-worker", check=False), "flowd-observe")
    killed = f.m.run(["sh", "-c", f"kill -TERM {f.main_pid()}"], user="flowd-worker", check=False)
    contains(killed.stderr, "not permitted")
    listed = f.m.run(["ls", "/var/lib/flowd"], user="flowd-worker", check=False)
    check(listed.returncode != 0, "a worker can look into flowd's state")


# -------------------------------------------------------------------------------------------------------------- journal

@case
def journal_fields(f):
    """Events and workers' lines carry fields that say whose they are, and the catalog explains them."""
    f.echo_pool()
    f.exec_pool("talker")
    f.conf(LogLevel="debug")
    since = f.m.now()
    f.start()
    check(f.run("talker", "hello") == "hello", "the talker does not answer")
    events = f.wait_event("flowd-started", since)
    check(events[0]["SYSLOG_IDENTIFIER"] == "flowd" and events[0]["_PID"] == str(f.main_pid()), f"{events[0]}")
    for event in ("worker-started", "worker-ready"):
        def logged(event=event):
            return {e["OBJECT_PID"] for e in f.wait_event(event, since, "FLOWD_POOL=echo")}
        workers = {str(p) for p in f.ready_workers("echo").values()}
        f.m.wait(lambda: workers <= logged(), f"{event} of {workers} is in the journal")
        check(logged() == workers, f"{event} of {logged()} instead of {workers}")

    def lines():
        return [e for e in f.m.journal(since, "-u", "flowd.service", "FLOWD_POOL=talker")
                if e.get("MESSAGE") == "talker says hello"]
    line = f.m.wait(lines, "the worker's line is in the journal")[0]
    for field in ("FLOWD_WORKER", "FLOWD_GENERATION", "OBJECT_PID", "MESSAGE_ID", "PRIORITY"):
        check(field in line, f"{field} is missing in {line}")
    check(line["FLOWD_WORKER"].startswith("talker/"), f"FLOWD_WORKER is {line['FLOWD_WORKER']}")

    every = [e for e in f.m.journal(since, "-u", "flowd.service") if "FLOWD_EVENT" in e]
    for e in every:
        check(f.m.message_ids.get(e.get("MESSAGE_ID")) == e["FLOWD_EVENT"], f"the MESSAGE_ID does not fit: {e}")
    text = f.m.run(["journalctl", "-x", since, "-u", "flowd.service", "--output=short"]).stdout
    contains(text, "Subject: flowd is up", "Subject: The worker echo/", "flowctl config cat")
    contains(f.flowctl("logs", "--pool", "talker", "--no-pager").stdout, "talker says hello")


@case
def stalled_journal(f):
    """While journald stands still, jobs go on; afterwards it is known how much was dropped."""
    f.echo_pool()
    f.exec_pool("noisy")
    f.conf(StderrRate=1000000, LogLevel="debug")
    f.start()
    journald = int(f.m.show("systemd-journald.service", "MainPID")["MainPID"])
    since = f.m.now()
    f.m.kill("STOP", journald)
    try:
        for _ in range(4):
            check(f.run("noisy", "10000\n").strip() == "10000", "the noisy worker does not answer")
        lines = "".join(f"{i}\n" for i in range(2000))
        check(f.run_lines("echo", lines) == lines, "jobs get other results while journald stands still")
        victim = sorted(f.workers().values())[0]
        f.m.kill("KILL", victim)
        f.wait_replaced("echo", victim, 2)
        dropped = f.m.wait(lambda: f.status()["log_dropped"], "flowd counts what it drops")
    finally:
        f.m.kill("CONT", journald)
    check(dropped > 0, "nothing was dropped, so journald was not stalled")
    f.wait_event("log-dropped", since)


# ------------------------------------------------------------------------------------------------------------ reloading

@case
def reload_good(f):
    """What has not changed is not touched; what has, is."""
    f.echo_pool()
    f.worker("other", "echo", "frame")
    f.pool("other", Tier="hot", Min=1, Max=1)
    f.start()
    pid, before = f.main_pid(), f.workers()
    f.worker("other", "echo", "frame", Environment="CHANGED=1")
    f.worker("third", "echo", "frame")
    f.pool("third", Tier="hot", Min=1, Max=1)
    f.m.run(["systemctl", "reload", "flowd.service"])
    check(f.main_pid() == pid and f.state() == "active", "flowd is not the same any more")
    check(f.run("third", "hello") == "hello", "the new pool does not answer")
    f.m.wait(lambda: set(f.ready_workers("other").values()).isdisjoint(before.values()) and len(f.ready_workers("other")) == 1,
             "the worker whose definition has changed is replaced")
    now = f.workers()
    check({k: v for k, v in now.items() if k.startswith("echo/")} == {k: v for k, v in before.items() if k.startswith("echo/")},
          f"workers that have not changed were replaced: {before}, {now}")
    check(f.status()["reloads"] == 1, "the reload is not counted")


@case
def reload_bad(f):
    """Refused with file and line; nothing that runs has changed."""
    f.echo_pool()
    f.start()
    pid, before = f.main_pid(), f.workers()
    f.m.write("/etc/flowd/workers/echo.worker", f"[Worker]\nExec={f.echo}\nProtocol=frame\nStartTimeout=soon\n")
    since = f.m.now()
    check(f.m.run(["systemctl", "reload", "flowd.service"], check=False).returncode != 0, "a bad configuration was accepted")
    by_hand = f.flowctl("reload", check=False)
    check(by_hand.returncode == 1, f"flowctl reload exits with {by_hand.returncode}")
    contains(by_hand.stderr, "/etc/flowd/workers/echo.worker:4", "StartTimeout")
    check((f.state(), f.main_pid(), f.workers()) == ("active", pid, before), "a refused configuration has changed what runs")
    check(f.run("echo", "hello") == "hello", "no answer after a refused reload")
    events = f.wait_event("reload-refused", since)
    contains(events[0]["MESSAGE"], "echo.worker:4")
    f.worker("echo", "echo", "frame")
    f.m.run(["systemctl", "reload", "flowd.service"])
    check(f.workers() == before, "workers were replaced although their definition is as before")


@case
def reload_keeps_jobs(f):
    """A job that runs while its pool's definition changes ends as if nothing had happened."""
    f.exec_pool("patient", size=1)
    f.start()
    client = f.m.start(["flowctl", "run", "--pool", "patient", "still here"])
    f.m.wait(lambda: f.status()["jobs_running"] == 1, "the job runs")
    f.worker("patient", Environment="CHANGED=1")
    f.m.run(["systemctl", "reload", "flowd.service"])
    f.open_gate()
    status, out, err = f.m.finish(client)
    check((status, out.rstrip()) == (0, "still here"), f"{status}: {out}{err}")


@case
def reexec(f):
    """flowd executes itself: the same pid, workers, and a client that goes on waiting."""
    f.echo_pool()
    f.exec_pool("sleeper")
    f.drop_in("watchdog", WatchdogSec="3s")
    f.start()
    pid, before = f.main_pid(), f.workers()
    client = f.m.start(["flowctl", "run", "--pool", "sleeper", "6"])
    f.m.wait(lambda: f.status()["jobs_running"] == 1, "the job runs")
    f.flowctl("reexec")
    check(f.status()["reexecs"] == 1, "the re-execution is not counted")
    check((f.state(), f.main_pid()) == ("active", pid), "flowd is another process")
    after = {k: v for k, v in f.workers().items() if k.startswith("echo/")}
    check(after == {k: v for k, v in before.items() if k.startswith("echo/")}, f"workers were replaced: {before}, {after}")
    check(f.run("echo", "hello") == "hello", "no answer after the re-execution")
    status, out, err = f.m.finish(client)
    check((status, out) == (0, "slept 6\n"), f"{status}: {out}{err}")
    # That took longer than the watchdog waits, so the new image must have fed it.
    check((f.state(), f.show("NRestarts")) == ("active", "0"), "the watchdog bit")
    f.m.run(["systemctl", "reload", "flowd.service"])


@case
def restart(f):
    """systemctl restart and daemon-reload."""
    f.echo_pool()
    f.start()
    first, processes = f.main_pid(), f.processes()
    f.m.run(["systemctl", "daemon-reload"])
    check(f.main_pid() == first, "daemon-reload has restarted flowd")
    f.m.run(["systemctl", "restart", "flowd.service"])
    check(f.main_pid() != first and f.state() == "active", "not restarted")
    f.nothing_left_of(processes)
    check(f.run("echo", "hello") == "hello", "no answer after a restart")


# -------------------------------------------------------------------------------------------------------------- dying

@case
def worker_killed(f):
    """A worker that is killed is replaced, its job is tried again, its descendants die."""
    f.echo_pool()
    f.exec_pool("breeder", tier="cold")
    f.start()
    since, before = f.m.now(), f.workers()
    name, victim = sorted(before.items())[0]
    f.m.kill("KILL", victim)
    f.wait_replaced("echo", victim, 2)
    check(set(before.values()) - {victim} <= set(f.workers().values()), "the other worker was replaced too")
    events = f.wait_event("worker-crashed", since)
    check(events[0]["FLOWD_WORKER"] == name and events[0]["OBJECT_PID"] == str(victim), f"{events[0]}")
    contains(events[0]["MESSAGE"], "KILL")
    # The grandchild that ignores TERM and has a session of its own does not outlive its worker.
    check(f.run("breeder", "0\n").strip() == "bred", "the breeder does not answer")
    f.m.wait(lambda: not any("86401" in p.args for p in f.processes().values()), "the grandchild is gone with its worker")


@case
def chaos(f):
    """Workers of ten pools are killed and stopped at random under load: every job is answered once, no pool is left broken, no process behind."""
    f.worker("echo", "echo", "frame", HeartbeatInterval="300ms", MaxCrashes=1000, StopTimeout="1s")
    for n in range(10):
        f.pool(f"chaos{n}", "echo", Tier="hot", Min=2, Max=2, RestartDelay="10ms", RestartDelayMax="50ms", BreakerCrashes=0)
    f.start()
    lines = "".join(f"job {n}\n" for n in range(20000))
    clients = []
    for n in range(10):
        f.m.write(f"/tmp/chaos{n}", lines)
        clients.append(f.m.start(["sh", "-c", f"flowctl run --pool chaos{n} --jobs=4 --lines --quiet /tmp/chaos{n} >/tmp/chaos{n}.out"]))
    since, dice = f.m.now(), random.Random(1)
    for turn in range(30):
        for pid in dice.sample(sorted(f.workers().values()), 3):
            try:
                f.m.kill(("KILL", "STOP", "SEGV")[turn % 3], pid)
            except Failure:
                pass  # it has died of another turn
    for n, client in enumerate(clients):
        status, _, said = f.m.finish(client, timeout=120)
        out = f.m.run(["cat", f"/tmp/chaos{n}.out"]).stdout
        check(status == 0 and out == lines, f"status {status}; of {len(lines)} bytes came {len(out)}: {said}")
    causes = {e.get("FLOWD_CAUSE") for e in f.wait_event("worker-crashed", since)}
    check(causes and causes <= {"signal", "core", "heartbeat"}, f"causes: {causes}")
    f.m.wait(lambda: f.flowctl("pool", "health", check=False).returncode == 0, "all pools are well")
    f.m.wait(lambda: len(f.processes()) == 1 + 20, "there are flowd and its workers, and nobody else")


@case
def flowd_killed(f):
    """SIGKILL of flowd: systemd starts another, and nothing of the old one is left."""
    f.echo_pool()
    f.exec_pool("breeder", tier="warm")
    f.start()
    client = f.m.start(["flowctl", "run", "--pool", "breeder", "1000"])
    f.m.wait(lambda: any("86401" in p.args for p in f.processes().values()), "the grandchild runs")
    first, old = f.main_pid(), f.processes()
    f.m.kill("KILL", first)
    f.m.wait(lambda: f.main_pid() not in (0, first) and f.state() == "active", "systemd has started another flowd")
    f.nothing_left_of(old)
    check(f.m.finish(client)[0] != 0, "a client was told that its job is done")
    check(f.run("echo", "hello") == "hello", "the new flowd does not answer")
    check(f.show("NRestarts") == "1", f"{f.show('NRestarts')} restarts")


@case
def flowd_frozen(f):
    """A flowd that stands still misses its watchdog; systemd kills and restarts it, and nothing of the old one is left."""
    f.echo_pool()
    f.exec_pool("breeder", tier="warm")
    f.drop_in("watchdog", WatchdogSec="2s", TimeoutAbortSec="1s")
    f.start()
    client = f.m.start(["flowctl", "run", "--pool", "breeder", "1000"])
    f.m.wait(lambda: any("86401" in p.args for p in f.processes().values()), "the grandchild runs")
    first, old = f.main_pid(), f.processes()
    f.m.kill("STOP", first)
    f.m.wait(lambda: f.main_pid() not in (0, first) and f.state() == "active", "systemd has started another flowd")
    f.nothing_left_of(old)
    f.m.finish(client)
    check(f.run("echo", "hello") == "hello", "the new flowd does not answer")
    f.wait_said("Watchdog timeout")


@case
def watchdog_is_fed(f):
    """An idle flowd and a busy one keep a short watchdog quiet."""
    f.echo_pool()
    f.exec_pool("sleeper")
    f.drop_in("watchdog", WatchdogSec="2s")
    f.start()
    pid = f.main_pid()
    check(f.run("sleeper", "5\n").strip() == "slept 5", "no answer")
    check(f.main_pid() == pid and f.show("NRestarts") == "0", "the watchdog bit")


@case
def stop_leaves_nothing(f):
    """systemctl stop ends jobs, workers and what they have started, and does so in time."""
    f.echo_pool()
    f.exec_pool("breeder", tier="warm", StopTimeout="1s", CancelTimeout="1s")
    f.conf(ShutdownTimeout="1s")
    f.start()
    client = f.m.start(["flowctl", "run", "--pool", "breeder", "1000"])
    f.m.wait(lambda: any("86401" in p.args for p in f.processes().values()), "the grandchild runs")
    old = f.processes()
    since = f.m.now()
    f.m.run(["systemctl", "stop", "flowd.service"], timeout=20)
    f.nothing_left(old)
    shown = f.m.show("flowd.service", "ActiveState", "Result", "ExecMainStatus")
    check(shown == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}, f"{shown}")
    check(f.m.finish(client)[0] != 0, "a client was told that its job is done")
    said = f.wait_said("Deactivated successfully", since)
    check("Killing process" not in said, f"systemd had to kill what flowd left:\n{said}")


@case
def stop_finishes_jobs(f):
    """A running job may finish within ShutdownTimeout=, and its client gets the result."""
    f.exec_pool("patient")
    f.conf(ShutdownTimeout="60s")
    f.start()
    since = f.m.now()
    client = f.m.start(["flowctl", "run", "--pool", "patient", "done"])
    f.m.wait(lambda: f.status()["jobs_running"] == 1, "the job runs")
    f.m.run(["systemctl", "stop", "--no-block", "flowd.service"])
    f.wait_event("flowd-stopping", since)
    check(f.state() == "deactivating", f"flowd is {f.state()} although a job runs")
    f.open_gate()
    status, out, err = f.m.finish(client)
    check((status, out.rstrip()) == (0, "done"), f"{status}: {out}{err}")
    f.m.wait(lambda: f.state() == "inactive", "flowd has stopped")


# --------------------------------------------------------------------------------------------------------- other ways in

@case
def user_instance(f):
    """flowd --user under a user's own manager."""
    uid = f.m.run(["id", "-u", "nobody-special"]).stdout.strip()
    if f.m.run(["systemctl", "start", f"user@{uid}.service"], check=False).returncode != 0:
        return "no user manager can be started in the container"
    home = "/home/nobody-special"
    env = {"XDG_RUNTIME_DIR": f"/run/user/{uid}", "HOME": home}

    def run(*argv, **kwargs):
        return f.m.run(argv, user="nobody-special", env=env, **kwargs)
    try:
        f.m.write(f"{home}/.config/flowd/workers/echo.worker", f"[Worker]\nExec={f.echo}\nProtocol=frame\n")
        f.m.write(f"{home}/.config/flowd/pools/echo.pool", "[Pool]\nWorker=echo\nTier=hot\nMin=1\nMax=1\n")
        run("systemctl", "--user", "start", "flowd.service")
        check(run("flowctl", "--user", "run", "--pool", "echo", "hello").stdout == "hello", "no answer")
        run("systemctl", "--user", "reload", "flowd.service")
        workers = [p for p in f.m.processes().values() if f.echo in p.args]
        check(len(workers) == 1 and workers[0].uid == int(uid), f"workers: {workers}")
        check(f.m.path(f"{home}/.local/state/flowd").is_dir(), "there is no state directory")
        check("/flowd.service/" in workers[0].cgroup, f"the worker shares a control group: {workers[0].cgroup}")
        run("systemctl", "--user", "stop", "flowd.service", "flowd.socket")
        check(not [p for p in f.m.processes().values() if f.echo in p.args], "the worker is left")
    finally:
        f.m.run(["systemctl", "stop", f"user@{uid}.service"], check=False)
    return None


@case
def varlinkctl(f):
    """systemd's own tool can list and call what flowd offers."""
    if f.m.run(["sh", "-c", "command -v varlinkctl"], check=False).returncode != 0:
        return "this systemd has no varlinkctl"
    f.echo_pool()
    f.start()
    socket = "/run/flowd/control"

    def ask(verb, *arguments, **kwargs):
        return f.m.run(["varlinkctl", *verb.split(), socket, *arguments], **kwargs)

    contains(ask("info").stdout, "io.flowd", "org.varlink.service")
    contains(ask("list-interfaces").stdout, "io.flowd")
    contains(ask("introspect", "io.flowd").stdout, "interface io.flowd", "method Status", "error NoSuchPool")
    contains(ask("call", "io.flowd.Status", "{}").stdout, '"running"')
    for verb in ("call", "call --more"):
        contains(ask(verb, "io.flowd.Run", '{"pool":"echo","payload":"hello"}').stdout, '"hello"')
    bad = ask("call", "io.flowd.ShowJob", '{"id":"nosuchjobhere"}', check=False)
    check(bad.returncode != 0, "an error is no error")
    contains(bad.stderr, "io.flowd.NoSuchJob")
    bad = ask("call", "io.flowd.Run", '{"pool":"nosuchpool","payload":"x"}', check=False)
    contains(bad.stderr, "io.flowd.NoSuchPool")
    return None
