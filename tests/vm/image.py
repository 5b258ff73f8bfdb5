# SPDX-License-Identifier: LGPL-2.1-or-later
"""The disk that a virtual machine boots: Debian, its kernel, and flowd as "make install" leaves it.

The Debian tree is of this machine's own suite, because the programs were linked with its libraries. It is made by debootstrap
once and kept beside those of tests/system (roots.py). It has Debian's kernel for clouds, which has NVMe, ext4 and the serial
console built in, so it boots without an initramfs.

A copy of the tree gets the programs and the tests' own files, and mke2fs -d makes a file system of it: nothing is mounted. The
image is kept in the build tree, tests/vm/disk.img, beside a sum over all that went into it; it is made anew where that differs.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import time

import flowd
import roots
from guest import JOURNAL, TARGET, Unavailable
from stage import copy_into, find, staged

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = roots.PACKAGES + ("linux-image-cloud-amd64", "kmod", "python3")
DISK_SIZE = "1500M"         # sparse: a third of it is used
STEP_TIMEOUT = 300          # seconds, for each program that takes part
MACHINE_ID = "f10fdf10fdf10fdf10fdf10fdf10fdf1"
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/lib/dpkg/info", "boot")

AGENT = """[Unit]
Description=Runs commands for the tests
DefaultDependencies=no
After=basic.target dbus.socket systemd-modules-load.service

[Service]
ExecStart=/usr/lib/flowd-test/agent.py
KillMode=process
OOMScoreAdjust=-1000
TasksMax=infinity
"""

# What nobody here needs and an emulated machine takes long for. The devices are there without udev.
MASKED = ("systemd-udevd.service", "systemd-udevd-kernel.socket", "systemd-udevd-control.socket", "systemd-udev-trigger.service",
          "systemd-hwdb-update.service", "systemd-update-done.service", "systemd-journal-catalog-update.service", "ldconfig.service",
          "systemd-sysusers.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
          "fstrim.timer", "modprobe@.service", "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount",
          "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount",
          "systemd-binfmt.service", "systemd-pstore.service", "systemd-network-generator.service", "getty.target",
          "systemd-random-seed.service", "kmod-static-nodes.service", "systemd-update-utmp.service")
GENERATORS = "usr/lib/systemd/system-generators"    # each daemon-reload runs them all; none has anything to generate here


@dataclasses.dataclass(frozen=True)
class Image:
    disk: pathlib.Path
    kernel: pathlib.Path
    echo: str                   # where flow-worker-echo is in the guest

    def copy(self, path):
        """A disk of one's own, to be written to."""
        run(["cp", "--sparse=always", "--reflink=auto", str(self.disk), str(path)])


def run(argv):
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, timeout=STEP_TIMEOUT)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def sum_up(*parts):
    """A sum over files and folders: names, modes and contents; and over texts."""
    total = hashlib.sha256()
    for part in parts:
        if not isinstance(part, pathlib.Path):
            total.update(part.encode())
            continue
        for path in [part] if part.is_file() else sorted(part.rglob("*")):
            info = path.lstat()
            name = path.name if path == part else path.relative_to(part)
            total.update(f"\0{name}\0{info.st_mode:o}\0{info.st_size if path.is_file() else 0}\0".encode())
            if path.is_symlink():
                total.update(os.readlink(path).encode())
            elif path.is_file():
                total.update(path.read_bytes())
    return total.hexdigest()


class TreeWriter:
    """What flowd.Flowd.prepare() wants of a machine, for a tree that is no machine yet."""

    def __init__(self, root):
        self.root = root

    def write(self, path, text, mode=0o644):
        target = self.root / path.lstrip("/")
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def link(self, path, to):
        target = self.root / path.lstrip("/")
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(to)


def furnish(root, stage, programs):
    """Puts flowd and what the tests need into the tree `root`."""
    copy_into(stage, root)
    tree = TreeWriter(root)
    flowd.Flowd.prepare(tree)
    for name, text in programs.items():
        tree.write(f"/usr/lib/flowd-test/{name}", text, 0o755)
    tree.write("/usr/lib/flowd-test/agent.py", (HERE / "agent.py").read_text(), 0o755)
    tree.write("/usr/lib/flowd-test/processes.py", (pathlib.Path(flowd.__file__).parent / "processes.py").read_text())
    tree.write("/etc/systemd/system/flowd-test.target", TARGET)
    tree.write("/etc/systemd/system/flowd-test-agent.service", AGENT)
    tree.link("/etc/systemd/system/flowd-test.target.wants/flowd-test-agent.service", "../flowd-test-agent.service")
    for unit in MASKED:
        tree.link(f"/etc/systemd/system/{unit}", "/dev/null")
    for generator in (root / GENERATORS).iterdir():
        tree.link(f"/etc/systemd/system-generators/{generator.name}", "/dev/null")
    tree.write("/etc/systemd/journald.conf.d/flowd-test.conf", JOURNAL)
    tree.write("/etc/modules-load.d/flowd-test.conf", "virtio_pci\nvirtio_console\n")
    tree.write("/etc/hostname", "flowd-test\n")
    tree.write("/etc/machine-id", f"{MACHINE_ID}\n")
    # What would be done at the first boot is done here, where it is fast.
    run(["chroot", str(root), "ldconfig"])
    run(["chroot", str(root), "systemd-sysusers"])
    run(["chroot", str(root), "journalctl", "--update-catalog"])


def find_kernel(tree):
    kernels = sorted((tree / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise Unavailable(f"there is no kernel in {tree}/boot: delete {tree} to have it made anew")
    return kernels[-1]


def make(tree, stage, programs, disk):
    """Writes the file system `disk`."""
    making = disk.parent / "root"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o755)
    try:
        excluded = " ".join(f"--exclude=./{path}/*" for path in LEFT_OUT)
        run(["sh", "-ec", f"tar -C '{tree}' {excluded} -cf - . | tar -C '{making}' -xpf - --numeric-owner"])
        furnish(making, stage, programs)
        part = disk.with_suffix(".part")
        part.unlink(missing_ok=True)
        run(["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-L", "flowd-test", "-d", str(making),
             str(part), DISK_SIZE])
        part.rename(disk)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def build(build_dir, programs):
    """The image for the programs of a build tree, made now where it is not there or not of today. `programs` are further ones,
    {name: text}, for /usr/lib/flowd-test. The Debian tree takes some minutes, once; the image some seconds."""
    start = time.monotonic()
    tree = roots.debian(roots.own_suite(), f"{roots.own_suite()}-vm", PACKAGES)
    folder = build_dir / "tests/vm"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(open(folder / ".lock", "w", encoding="ascii"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        stage = stack.enter_context(staged(build_dir, folder / "stage"))
        image = Image(folder / "disk.img", folder / "vmlinuz", find(stage, "flow-worker-echo"))
        parts = [stage, HERE / "agent.py", HERE / "image.py", tree / roots.STAMP, find_kernel(tree).name]
        parts += [pathlib.Path(module.__file__) for module in (flowd, roots)]
        parts += [pathlib.Path(flowd.__file__).parent / "processes.py", TARGET, JOURNAL, repr(sorted(programs.items()))]
        total, stamp = sum_up(*parts), folder / "disk.sum"
        if not image.disk.exists() or not image.kernel.exists() or not stamp.exists() or stamp.read_text() != total:
            stamp.unlink(missing_ok=True)
            make(tree, stage, programs, image.disk)
            shutil.copyfile(find_kernel(tree), image.kernel)
            stamp.write_text(total)
            print(f"# the image was made in {time.monotonic() - start:.1f} s", flush=True)
        else:
            print(f"# the image is that of before ({time.monotonic() - start:.1f} s)", flush=True)
    return image
