# SPDX-License-Identifier: LGPL-2.1-or-later
"""flowd as "make install" leaves it, in a folder of its own, to be copied into containers."""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import subprocess

from guest import Unavailable

INSTALL_TIMEOUT = 300
PREFIXES = ("/usr", "/usr/local")


def build_dir():
    return pathlib.Path(os.environ.get("top_builddir") or os.getcwd()).resolve()


def check_build(build):
    """Raises Unavailable where the build tree is none that can be tested in a container."""
    if not (build / "config.status").exists():
        raise Unavailable(f"{build} is no configured build tree (top_builddir=DIR names one)")
    prefix = re.search(r'^S\["prefix"\]="(.*)"$', (build / "config.status").read_text(), re.MULTILINE)
    if prefix and prefix[1] not in PREFIXES:
        raise Unavailable(f"the build's prefix is {prefix[1]}, where systemd looks for no units: configure --prefix=/usr")
    config = build / "config.h"
    if config.exists() and "#define FLOWD_SANITIZED 1" in config.read_text():
        raise Unavailable("the build has sanitizers, whose memory maps the sandbox of flowd.service does not admit")


@contextlib.contextmanager
def staged(build, into):
    """Installs the build tree `build` into the folder `into`, which is emptied first. Two at a time wait for each other."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "DESTDIR")}
    with open(build / ".system-test.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(into, ignore_errors=True)
        # The catalog has one place only, whatever the prefix is.
        argv = ["make", "-s", "-C", str(build), "install", f"DESTDIR={into}", "catalogdir=/usr/lib/systemd/catalog"]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, env=env,
                              timeout=INSTALL_TIMEOUT)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} fails:\n{done.stdout}{done.stderr}")
    try:
        yield into
    finally:
        shutil.rmtree(into, ignore_errors=True)


def copy_into(stage, root):
    """Copies an installed tree over a container's root. A folder that is a link there (lib -> usr/lib) stays one."""
    for folder, _, files in os.walk(stage):
        target = root / pathlib.Path(folder).relative_to(stage)
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in files:
            to = target / name
            to.unlink(missing_ok=True)
            shutil.copy2(pathlib.Path(folder) / name, to, follow_symlinks=False)
            if not to.is_symlink():
                os.chown(to, 0, 0)


def find(stage, name):
    """The path, as the container will see it, of an installed file."""
    for path in stage.rglob(name):
        return "/" + str(path.relative_to(stage))
    raise RuntimeError(f"make install has installed no {name}")
