"""Power cuts: a loop-mounted file system that stops at once, and what is there afterwards.

The shutdown is the ioctl that ``xfs_io -x -c shutdown`` makes, without flushing the journal:
what had not reached the disk is gone. Waiting 8 s before it lets the kernel commit names
whose bytes were never synced, which is what leaves files of 0 bytes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .box import Box
from .oracle import differences, look, problems
from .scenarios import SCENARIOS, prepare
from .sweep import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hubserver import Hub

SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
SIZES = {"ext4": 96 << 20, "xfs": 320 << 20}  # bytes; xfs takes no less than 300 MB
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}
ACKNOWLEDGED = ("pull", "pull-moved", "lock-update", "add", "edit", "take-edit", "adopt", "rm")
WAITS = (0.0, 8.0)
AT_ONCE = 4  # disks; most of a cut is waiting


def why_not(kind: str = "ext4") -> str:
    """Return why no disk can be cut here, or ``""``."""
    if os.geteuid():
        return "only root can mount"
    if not shutil.which(MAKE[kind][0]):
        return f"{MAKE[kind][0]} is not installed"
    try:
        with disk(kind):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no loop device can be mounted: {error}"


class Disk:
    """A file system of its own."""

    def __init__(self, image: Path, mount: Path) -> None:
        self.image, self.mount = image, mount

    def attach(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.mount], check=True,
                       capture_output=True)  # fmt: skip

    def detach(self) -> None:
        for _ in range(50):
            done = subprocess.run(["umount", self.mount], capture_output=True)
            if done.returncode == 0:
                return
            time.sleep(0.1)
        subprocess.run(["umount", "-l", self.mount], check=True)

    def cut(self) -> None:
        """Stop the file system where it is, and mount what the disk has."""
        fd = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)
        self.detach()
        self.attach()

    def settle(self) -> None:
        """Write down all there is: what happens from now on is at risk."""
        subprocess.run(["sync", "-f", self.mount], check=True)


@contextmanager
def disk(kind: str) -> Iterator[Disk]:
    """Make and mount a file system; its image goes afterwards."""
    top = Path(tempfile.mkdtemp(prefix=f"proof-{kind}-"))
    made = Disk(top / "image", top / "mnt")
    made.mount.mkdir()
    try:
        with open(made.image, "wb") as file:
            file.truncate(SIZES[kind])
        subprocess.run([*MAKE[kind], made.image], check=True, capture_output=True)
        made.attach()
        try:
            yield made
        finally:
            made.detach()
    finally:
        shutil.rmtree(top, ignore_errors=True)


def cut_once(kind: str, hub: Hub, code: Path, name: str, wait: float) -> list[str]:
    """Run a scenario's command to exit 0, cut the power, and return what is not as it was."""
    scenario = SCENARIOS[name]
    with disk(kind) as made, tempfile.TemporaryDirectory(prefix="proof-home-") as home:
        box = Box(made.mount, code, hub.endpoint, Path(home))
        prepare(scenario, box, hub)
        before = look(box)
        made.settle()
        box.must(*scenario.words)
        after = look(box)
        time.sleep(wait)
        made.cut()
        now = look(box)
        found = problems(box, before, now, after) + differences(now, after, objects=True)
        done = box.cas("verify", "--full")
        if done.code:
            found.append(f"verify: exit {done.code}: {done.err.strip()[-300:]}{done.out[-300:]}")
        return [f"{kind} cas {' '.join(scenario.words)} +{wait:g} s: {one}" for one in found]


def cuts(kind: str, hub: Hub, code: Path, which: list[tuple[str, float]]) -> Result:
    """Cut the power after each of *which* (scenario, seconds to wait)."""
    result = Result("power cut")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for found in pool.map(lambda one: cut_once(kind, hub, code, *one), which):
            result.points += 1
            result.violations += found
    return result
