# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rows of the durable store: submits beside what a commit costs at the least, hot jobs beside them, a store with many jobs, the cache."""

import json
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

from kit import FlowdServer, Row, Skip

PAYLOAD = 200              # bytes of a job; too few to be compressed
SUBMITTERS = [1, 16, 64]
LOAD_SUBMITTERS = 64
PACE = 1000                # hot jobs a second
PACE_ROOM = 64             # of them may be under way, so that a job that is late makes none late that is due after it
HOT_SECONDS = 2.0          # 1 % of 1000 a second are to be some 20
HOT_SECONDS_QUICK = 0.5
LOAD_LEAD = 0.2            # seconds that the load is there before
FEW, MANY, MANY_QUICK = 1000, 1_000_000, 20_000
QUEUED = 10_000
LIST_LIMIT = 100
CALLS = 15                 # of one list in a turn
CALL_TIMEOUT = 30.0
START_TIMEOUT = 120.0
CACHE_SIZES = [1024, 4096, 65536]
METHODS, SESSIONS, FAILED = 100, 1000, 100  # as bench-store fills in


class StoreServer(FlowdServer):
    """A flowd with a hot pool that echoes, and a pool that has no time for anybody."""

    def __init__(self, bench, mode):
        super().__init__(bench, mode, bench.on_disk(), "StoreMaxJobs=10000000\nStoreMaxBytes=64G\n")
        self.worker("echo", f"Exec={bench.program('flow-worker-echo')}\nProtocol=frame")
        self.worker("busy", "Exec=/bin/sleep infinity\nProtocol=exec")
        self.pool("echo", "echo", "hot", 1)
        self.pool("busy", "busy", "cold", 1)

    def call(self, call, **parameters):
        """One call of the control socket. Returns (seconds until the answer was there, the answer)."""
        message = json.dumps({"method": f"io.flowd.{call}", "parameters": parameters}).encode() + b"\0"
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(CALL_TIMEOUT)
            s.connect(str(self.runtime / "control"))
            begin = time.monotonic()
            s.sendall(message)
            data = bytearray()
            while not data.endswith(b"\0"):
                part = s.recv(1 << 20)
                if not part:
                    raise Skip("flowd hung up on a call")
                data += part
            seconds = time.monotonic() - begin
        answer = json.loads(data[:-1])
        if "error" in answer:
            raise Skip(f"{call}: {answer['error']}")
        return seconds, answer["parameters"]


# ---------------------------------------------------------------------------------------------------- durable submits


def alone(bench, mode, what, window):
    """bench-store in a folder of its own."""
    folder = tempfile.mkdtemp(prefix="store-", dir=bench.on_disk())
    try:
        return bench.load(mode, "bench-store", f"--window={window}", f"--size={PAYLOAD}", what, folder)
    finally:
        shutil.rmtree(folder)


def verify(bench, server, ids):
    """flowd was killed: what it had answered must be in its store."""
    server.kill()
    bench.execute("unpinned", [bench.program("bench/bench-store"), f"--size={PAYLOAD}", "verify", server.state, ids])


def submits(bench, mode, durable, window):
    server = StoreServer(bench, mode)
    ids = server.dir / "ids"
    try:
        server.serve()
        result = bench.load(mode, "bench-durable", f"--socket={server.runtime}", "--pool=busy", f"--window={window}", f"--size={PAYLOAD}",
                            "yes" if durable else "no", ids)
        if durable:
            verify(bench, server, ids)
        return result
    finally:
        server.kill()  # a stop would wait for the busy worker
        shutil.rmtree(server.dir)


def submit_rows(bench):
    for n in SUBMITTERS:
        if bench.options.quick and n == 16:
            continue
        task = f"durable submits, {n} submitter{'s' * (n > 1)}"
        yield Row(task, "append 4 KiB, fdatasync", lambda mode: alone(bench, mode, "append", 1), floor=True)
        yield Row(task, "SQLite, a commit each", lambda mode: alone(bench, mode, "sqlite", 1))
        if n > 1:
            yield Row(task, f"SQLite, {n} in a commit", lambda mode, n=n: alone(bench, mode, "sqlite", n))
        yield Row(task, "flowd's store, no daemon", lambda mode, n=n: alone(bench, mode, "add", n))
        yield Row(task, "flowd, durable", lambda mode, n=n: submits(bench, mode, True, n), flowd=True)
        yield Row(task, "flowd, not durable", lambda mode, n=n: submits(bench, mode, False, n))


# ------------------------------------------------------------------------------------------ hot jobs beside durable ones


def hot(bench, mode, load, *options):
    """Hot jobs that are not durable, while LOAD_SUBMITTERS submit others: load is "yes" (durable), "no", or None."""
    seconds = HOT_SECONDS_QUICK if bench.options.quick else HOT_SECONDS
    server = StoreServer(bench, mode)
    ids = server.dir / "ids"
    other = None
    try:
        server.serve()
        if load:
            argv = [bench.program("bench/bench-durable"), f"--socket={server.runtime}", "--pool=busy", f"--window={LOAD_SUBMITTERS}",
                    f"--size={PAYLOAD}", f"--warmup={LOAD_LEAD}", f"--seconds={seconds * 1.2}", load, ids]
            other = subprocess.Popen(bench.pin("pinned" if bench.taskset else mode, argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, start_new_session=True)
            time.sleep(LOAD_LEAD)
        out = bench.execute(mode, [bench.program("bench/bench-flow"), f"--socket={server.runtime}", "--pool=echo", f"--size={PAYLOAD}",
                                   f"--warmup={seconds / 10}", f"--seconds={seconds}", *options])
        result = json.loads(out)
        if other:
            said, wrong = other.communicate(timeout=CALL_TIMEOUT)
            if other.returncode != 0:
                raise Skip(wrong.decode(errors="replace").strip())
            result["load"] = json.loads(said)["rate"]
        if load == "yes":
            verify(bench, server, ids)
        return result
    finally:
        if other and other.poll() is None:
            other.kill()
            other.wait()
        server.kill()  # a stop would wait for the busy worker
        shutil.rmtree(server.dir)


def hot_rows(bench):
    for task, options in ((f"hot jobs, {PACE:,} a second", [f"--rate={PACE}", f"--window={PACE_ROOM}"]), ("hot jobs, one after another", ["--window=1"])):
        for contender, load in (("flowd, alone", None), (f"flowd, beside {LOAD_SUBMITTERS} submitters, not durable", "no"),
                                (f"flowd, beside {LOAD_SUBMITTERS} submitters, durable", "yes")):
            yield Row(task, contender, lambda mode, load=load, options=options: hot(bench, mode, load, *options), floor=load is None, table="hot",
                      mode="unpinned")


# ------------------------------------------------------------------------------------------------------------ many jobs


class Stores:
    """Two instances, one with few stored jobs and one with many; made when the first row asks."""

    def __init__(self, bench):
        self.bench, self.servers = bench, {}
        self.many = MANY_QUICK if bench.options.quick else MANY

    def get(self, jobs, queued=0, running=True):
        key = jobs, queued
        if key not in self.servers:
            server = StoreServer(self.bench, "unpinned")
            out = self.bench.execute("unpinned", [self.bench.program("bench/bench-store"), f"--jobs={jobs}", f"--queued={queued}", f"--size={PAYLOAD}",
                                                  "fill", server.state], timeout=START_TIMEOUT)
            server.filled = json.loads(out)
            self.servers[key] = self.bench.servers[key] = server
        server = self.servers[key]
        if running and (not server.process or server.process.poll() is not None):
            server.serve()
        return server

    def both(self, measure):
        """Few, many, many, few: what the one leaves to be written is not always the other's burden."""
        sizes = [FEW, self.many, self.many, FEW]
        results = [measure(self.get(n), n) for n in sizes]
        return {"few": statistics.mean(results[::3]), "many": statistics.mean(results[1:3])}


def list_jobs(server, jobs, name):
    """The median of some calls; every answer is looked at."""
    first, step = server.filled["begin_usec"], server.filled["step_usec"]
    wanted, limit, right = {  # the limit is what the smaller store has of them
        "the newest": ({}, LIST_LIMIT, lambda j: True),
        "state=failed": ({"state": "failed"}, FEW // FAILED, lambda j: j["state"] == "failed"),
        "pool": ({"pool": "echo"}, LIST_LIMIT, lambda j: j["pool"] == "echo"),
        "method": ({"method": "m7"}, FEW // METHODS, lambda j: j["method"] == "m7"),
        "session": ({"session": "s7"}, FEW // SESSIONS, lambda j: j["session"] == "s7"),
        "since": ({"since_usec": first + (jobs - LIST_LIMIT) * step}, LIST_LIMIT, lambda j: True),
        "state and since": ({"state": "failed", "since_usec": first + (jobs - FEW // 2) * step}, FEW // FAILED // 2, lambda j: j["state"] == "failed"),
    }[name]
    times = []
    for _ in range(CALLS):
        seconds, answer = server.call("ListJobs", limit=limit, **wanted)
        found = answer["jobs"]
        if len(found) != limit or not all(right(j) for j in found):
            raise Skip(f"the list by {name} has {len(found)} jobs in place of {limit}, or wrong ones")
        times.append(seconds)
    return statistics.median(times) * 1e3


def finish(bench, server, window):
    result = bench.load("unpinned", "bench-flow", f"--socket={server.runtime}", "--pool=echo", f"--window={window}", f"--size={PAYLOAD}", "--durable")
    return result["rate"]


def start(stores, jobs, queued):
    """From the exec to READY=1, in milliseconds; what has not ended must be there."""
    server = stores.get(jobs, queued, running=False)
    server.stop()
    begin = time.monotonic()
    server.serve()
    seconds = time.monotonic() - begin
    if queued and (n := len(server.call("ListJobs", state="queued", limit=queued)[1]["jobs"])) != queued:
        raise Skip(f"of {queued} queued jobs {n} are there after the start")
    return seconds * 1e3


def many_rows(bench):
    stores = Stores(bench)
    task = f"{FEW:,} and {stores.many:,} stored jobs"
    lists = ["the newest", "state=failed", "pool", "method", "session", "since", "state and since"]
    for name in lists:
        yield Row(task, f"flowd: list, {name}, ms", lambda mode, name=name: stores.both(lambda s, n: list_jobs(s, n, name)), table="many", mode="unpinned")
    for window in (1, 64):
        yield Row(task, f"flowd: durable submit and finish, {window} at a time, jobs/s", table="many", mode="unpinned",
                  run=lambda mode, window=window: stores.both(lambda s, n: finish(bench, s, window)))
    yield Row(task, "flowd: start, ms", table="many", mode="unpinned",
              run=lambda mode: {"few": start(stores, FEW, 0), "many": start(stores, stores.many, 0)})
    yield Row(task, f"flowd: start, none and {QUEUED:,} queued, ms", table="many", mode="unpinned",
              run=lambda mode: {"few": start(stores, FEW, 0), "many": start(stores, 0, QUEUED)})


# ------------------------------------------------------------------------------------------------------------ the cache


def cache(bench, size):
    try:
        program = bench.program("bench/bench-cache")
    except Skip:
        raise Skip("absent") from None
    result = json.loads(bench.execute("unpinned", [program, f"--size={size}", f"--seconds={bench.options.seconds}", f"--directory={bench.on_disk()}"]))
    return {f"{what}_{p}": result[what][p] for what in ("put", "hit", "miss") for p in ("p50", "p99")}


def cache_rows(bench):
    for size in CACHE_SIZES:
        yield Row("cache, results of a size", f"{size >> 10} KiB", lambda mode, size=size: cache(bench, size), table="cache", mode="unpinned")


# -------------------------------------------------------------------------------------------------------------- results

TABLES = ("hot", "many", "cache")
HEADS = {
    "hot": ["", "jobs/s", "load jobs/s", "p50 µs", "p99 µs", "p99 from to", "p50 of alone", "p99 of alone"],
    "many": ["", "few", "many", "many of few", "from to"],
    "cache": ["", "put p50 µs", "put p99", "hit p50", "hit p99", "miss p50", "miss p99"],
}


def rows(bench):
    return [*submit_rows(bench), *hot_rows(bench), *many_rows(bench), *cache_rows(bench)]


def summarize_row(row, results, floor):
    medians = {k: statistics.median(r[k] for r in results) for k in results[0]}
    if row.table == "hot":
        medians["p99_min"], medians["p99_max"] = min(r["p99"] for r in results), max(r["p99"] for r in results)
        if floor and len(floor) == len(results):
            for p in ("p50", "p99"):
                medians[f"{p}_of_alone"] = statistics.median(a[p] / b[p] for a, b in zip(results, floor))
    if row.table == "many":
        ratios = [r["many"] / r["few"] for r in results]
        medians.update(ratio=statistics.median(ratios), ratio_min=min(ratios), ratio_max=max(ratios))
    return {"contender": row.contender, **medians}


def summarize(all_rows):
    out = []
    for table in TABLES:
        for task in dict.fromkeys(r.task for r in all_rows if r.table == table):
            group = [(r, results) for r in all_rows if r.table == table and r.task == task for results in r.results.values()]
            floor = next((results for r, results in group if r.floor), None)
            if group:
                out.append({"table": table, "task": task, "rows": [summarize_row(r, results, floor) for r, results in group]})
    return out


def figure(v):
    if v is None:
        return ""
    return f"{v:,.0f}" if v >= 100 else f"{v:.1f}" if v >= 10 else f"{v:.2f}"


def cells(table, r):
    if table == "hot":
        return [r["contender"], figure(r["rate"]), figure(r.get("load")), figure(r["p50"]), figure(r["p99"]),
                f"{figure(r['p99_min'])} to {figure(r['p99_max'])}", *(figure(r.get(k)) for k in ("p50_of_alone", "p99_of_alone"))]
    if table == "many":
        return [r["contender"], figure(r["few"]), figure(r["many"]), figure(r["ratio"]), f"{figure(r['ratio_min'])} to {figure(r['ratio_max'])}"]
    return [r["contender"], *(figure(r[f"{what}_{p}"]) for what in ("put", "hit", "miss") for p in ("p50", "p99"))]


def tables(summary):
    """(title, rows of cells)"""
    for t in summary:
        yield t["task"], [HEADS[t["table"]], *(cells(t["table"], r) for r in t["rows"])]
