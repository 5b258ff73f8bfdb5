# SPDX-License-Identifier: LGPL-2.1-or-later
"""The root file systems to boot: this machine's own, and Debian trees that debootstrap makes once and a cache keeps."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile

from guest import Unavailable

PACKAGES = ("systemd", "systemd-sysv", "dbus", "libpam-systemd",
            "libeconf0", "libjson-c5", "libsmartcols1", "libsqlite3-0", "libsystemd0", "libzstd1", "zlib1g")
MIRROR = "http://deb.debian.org/debian"
BOOTSTRAP_TIMEOUT = 600
STAMP = "etc/flowd-test-root"   # says which packages a cached tree was made with


def cache_dir():
    base = os.environ.get("FLOWD_TEST_CACHE")
    if base:
        return pathlib.Path(base)
    home = os.environ.get("XDG_CACHE_HOME")
    return pathlib.Path(home) / "flowd-tests" if home else pathlib.Path("/var/cache/flowd-tests")


def mirror():
    """The mirror that this machine gets its packages from, as its first Debian source says it."""
    if os.environ.get("FLOWD_TEST_MIRROR"):
        return os.environ["FLOWD_TEST_MIRROR"]
    for path in (pathlib.Path("/etc/apt/sources.list.d/debian.sources"), pathlib.Path("/etc/apt/sources.list")):
        with contextlib.suppress(OSError):
            for line in path.read_text().splitlines():
                words = [w for w in line.split() if not w.startswith("[")]
                if words and words[0] in ("URIs:", "deb") and len(words) > 1 and words[1].rstrip("/").endswith("/debian"):
                    return words[1]
    return MIRROR


def host():
    """This machine's own root. Only what is on the root file system itself is in the container."""
    if os.path.ismount("/usr"):
        raise Unavailable("/usr is a file system of its own, so the root alone cannot be booted")
    return pathlib.Path("/")


def own_suite():
    """The suite of this machine's own Debian, whose libraries the build is linked with."""
    try:
        text = pathlib.Path("/etc/os-release").read_text()
    except OSError as e:
        raise Unavailable(f"cannot tell what this machine runs: {e}") from e
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if fields.get("ID", "").strip('"') != "debian" or "VERSION_CODENAME" not in fields:
        raise Unavailable("this machine is no Debian, so what is built here may not run in one")
    return fields["VERSION_CODENAME"].strip('"')


def debian(suite, name=None, packages=PACKAGES):
    """A Debian tree of `suite`, from the cache or made now (a minute, and the network). A tree with other packages than PACKAGES
    has another name than its suite."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / f".{name or suite}.lock", "w", encoding="ascii")
    except OSError as e:
        raise Unavailable(f"cannot write to the cache: {e} (FLOWD_TEST_CACHE=DIR names another)") from e
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tree = folder / (name or suite)
        stamp = " ".join(packages) + "\n"
        with contextlib.suppress(OSError):
            if (tree / STAMP).read_text() == stamp:
                return tree
        if shutil.which("debootstrap") is None:
            raise Unavailable("debootstrap is missing")
        making = pathlib.Path(tempfile.mkdtemp(prefix=f".{suite}-", dir=folder))
        making.chmod(0o755)
        try:
            _bootstrap(suite, making, packages)
            (making / STAMP).write_text(stamp)
            shutil.rmtree(tree, ignore_errors=True)
            making.rename(tree)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return tree


def _bootstrap(suite, tree, packages):
    argv = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(tree), mirror()]
    print(f"# making a tree of Debian {suite}: {' '.join(argv)}", flush=True)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, timeout=BOOTSTRAP_TIMEOUT)
    except subprocess.TimeoutExpired as e:
        raise Unavailable(f"debootstrap of {suite} has not ended after {BOOTSTRAP_TIMEOUT} s") from e
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
        raise Unavailable(f"debootstrap of {suite} fails (is there a network?):\n{last}")
    shutil.rmtree(tree / "var/cache/apt", ignore_errors=True)
    shutil.rmtree(tree / "var/lib/apt/lists", ignore_errors=True)
