#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The unit files, drop-ins and the catalog, as far as they can be tested without booting anything."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(os.environ.get("top_srcdir") or pathlib.Path(__file__).resolve().parents[2])
UNITS = SOURCE / "units"
FIELDS = {"MESSAGE", "OBJECT_PID", "FLOWD_POOL", "FLOWD_WORKER", "FLOWD_GENERATION", "FLOWD_JOB", "FLOWD_SESSION"}
THRESHOLD = 20  # tenths: "OK" in the words of systemd-analyze security

failures = 0
number = 0


def result(what, problem):
    global failures, number
    number += 1
    print(f"{'not ok' if problem else 'ok'} {number} - {what}")
    if problem:
        failures += 1
        print("\n".join(f"#   {line}" for line in str(problem).splitlines()))


def place(folder, into, bindir):
    """The units of a folder as make install would leave them, but for the programs' place."""
    into.mkdir()
    for path in sorted(folder.glob("*.service.in")) + sorted(folder.glob("*.socket")):
        text = path.read_text().replace("@bindir@", str(bindir)).replace("@docdir@", "/usr/share/doc/flowd")
        left = re.findall(r"@\w+@", text)
        result(f"{path.name} of {folder.name} has no unknown place holder", left)
        (into / path.name.removesuffix(".in")).write_text(text)


def analyze(*arguments):
    env = dict(os.environ, SYSTEMD_LOG_LEVEL="warning")
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, env=env, check=False)
    return done.returncode, done.stdout + done.stderr


def verify(what, folder, *arguments):
    status, text = analyze("verify", "--man=no", *arguments, *(str(p) for p in sorted(folder.iterdir()) if p.is_file()))
    result(what, text if status != 0 or text.strip() else None)


def check_units(work):
    bindir = work / "bin"
    bindir.mkdir()
    for name in ("flowd", "flowctl"):
        (bindir / name).write_text("#!/bin/sh\n")
        (bindir / name).chmod(0o755)
    place(UNITS, work / "system", bindir)
    place(UNITS / "user", work / "user", bindir)
    verify("systemd-analyze verify takes the units", work / "system")
    verify("systemd-analyze verify takes the user units", work / "user", "--user")
    status, text = analyze("security", "--offline=true", f"--threshold={THRESHOLD}", str(work / "system/flowd.service"))
    result(f"the exposure of flowd.service is at most {THRESHOLD / 10}", text if status != 0 else None)

    listed = re.findall(r"`(\S+\.conf)`", (UNITS / "drop-ins/README.md").read_text())
    files = sorted(p.name for p in (UNITS / "drop-ins").glob("*.conf"))
    result("the README of the drop-ins lists them all", None if sorted(set(listed)) == files else f"{listed} and {files}")
    for name in files:
        with_drop_in = work / f"with-{name}"
        shutil.copytree(work / "system", with_drop_in)
        (with_drop_in / "flowd.service.d").mkdir()
        shutil.copy(UNITS / "drop-ins" / name, with_drop_in / "flowd.service.d" / name)
        if name.startswith("systemd-"):  # for a newer systemd, perhaps, than that of this machine
            continue
        verify(f"systemd-analyze verify takes {name}", with_drop_in)


def check_catalog(work):
    header = (SOURCE / "src/worker/event.h").read_text()
    events = dict(re.findall(r'X\(EVENT_\w+,\s*"([^"]+)",\s*LOG_\w+,\s*"([0-9a-f]{32})"', header))
    text = (UNITS / "flowd.catalog").read_text()
    entries = {}
    for entry in re.split(r"^-- ", text, flags=re.MULTILINE)[1:]:
        name, _, body = entry.partition("\n")
        entries[name.strip()] = body
    result("every event has an entry in the catalog", [n for n, i in events.items() if i not in entries])
    result("every entry of the catalog belongs to an event", [i for i in entries if i not in events.values()])
    log = (SOURCE / "src/basic/log.c").read_text()
    named = re.search(r'FLOWD_EVENT=([\w-]+)"\n#define \w+ "MESSAGE_ID=(\w+)"', log)
    result("the log's own event is that of the list", None if named and events.get(named[1]) == named[2] else named)
    problems = []
    for i, body in entries.items():
        head, _, explanation = body.partition("\n\n")
        keys = [line.split(":")[0] for line in head.splitlines()]
        if keys != ["Subject", "Defined-By", "Support"] or len(explanation.split()) < 8:
            problems.append(f"{i}: {head}")
        fields = set(re.findall(r"@(\w+)@", body))
        unknown = fields - FIELDS
        problems += [f"{i}: @{f}@ is no field of an event" for f in unknown]
        problems += [f"{i}: longer than 80 columns: {line}" for line in body.splitlines() if len(line) > 80]
    result("the entries have a subject, an explanation, and fields that exist", "\n".join(problems))
    root = work / "root"
    (root / "usr/lib/systemd/catalog").mkdir(parents=True)
    (root / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(UNITS / "flowd.catalog", root / "usr/lib/systemd/catalog")
    done = subprocess.run(["journalctl", "--update-catalog", f"--root={root}"], capture_output=True, text=True, check=False)
    result("journalctl compiles the catalog", done.stderr if done.returncode != 0 or done.stderr.strip() else None)


def check_sysusers(work):
    root = work / "users"
    (root / "etc").mkdir(parents=True)
    done = subprocess.run(["systemd-sysusers", f"--root={root}", str(UNITS / "flowd.sysusers")],
                          capture_output=True, text=True, check=False)
    group = (root / "etc/group").read_text() if (root / "etc/group").exists() else ""
    names = {line.split(":")[0] for line in group.splitlines()}
    missing = {"flowd", "flowd-observe", "flowd-admin", "flowd-worker"} - names
    members = [line for line in group.splitlines() if line.rsplit(":", 1)[1]]
    result("systemd-sysusers makes the groups, and nobody is in them",
           f"{done.stderr}{missing}{members}" if done.returncode != 0 or missing or members else None)


def main():
    for tool in ("systemd-analyze", "journalctl", "systemd-sysusers"):
        if shutil.which(tool) is None:
            print(f"1..0 # SKIP {tool} is missing")
            return 77
    with tempfile.TemporaryDirectory(prefix="flowd-units-") as work:
        work = pathlib.Path(work)
        os.environ["XDG_RUNTIME_DIR"] = str(work)  # systemd-analyze --user wants one
        check_units(work)
        check_catalog(work)
        check_sysusers(work)
    print(f"1..{number}")
    return 1 if failures else 0


sys.exit(main())
