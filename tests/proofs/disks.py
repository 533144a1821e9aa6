"""Power cuts: a loop-mounted file system that stops at once, and what is there afterwards.

The shutdown is the ioctl that ``xfs_io -x -c shutdown`` makes, without flushing the journal:
what had not reached the disk is gone. Waiting 8 s before it lets the kernel commit names
whose bytes were never synced, which is what leaves files of 0 bytes.

In the middle of a command the disk is cut in two ways: before one of its calls (it is killed
there, and the disk stopped, so the point can be repeated), and at a moment under the running
command, which then has to end in an error.
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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .box import Box
from .oracle import differences, look, problems
from .scenarios import SCENARIOS, Scenario, prepare
from .shim import Done, Fault
from .sweep import CHANGES, Result, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hubserver import Hub

    from .oracle import Seen

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

    def stop(self) -> None:
        """Stop the file system where it is: from now on every call to it fails."""
        fd = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def cut(self) -> None:
        """Stop the file system, and mount what the disk has."""
        self.stop()
        self.detach()
        self.attach()

    def save(self) -> None:
        """Remember the disk as it is."""
        self.detach()
        self._copy(self.image, self.image.with_name("saved"))
        self.attach()

    def restore(self) -> None:
        """Put the disk back as it was saved."""
        self.detach()
        self._copy(self.image.with_name("saved"), self.image)
        self.attach()

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        subprocess.run(["cp", "--sparse=always", source, target], check=True)

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


@dataclass(frozen=True, slots=True)
class Cut:
    """A scenario on a disk of its own, ready to be cut in the middle of its command."""

    scenario: Scenario
    box: Box
    disk: Disk
    before: Seen
    after: Seen
    """How the command leaves it undisturbed."""
    points: list[Fault]
    """A stop before each call that changes something."""
    seconds: float
    """that the command takes"""

    def before_call(self, fault: Fault, wait: float) -> list[str] | None:
        """Cut *wait* seconds after the command came to a call; None if it did not come there."""
        self.disk.restore()
        done = self.box.cas(*self.scenario.words, fault=fault)
        if done.code != -9:
            return None
        time.sleep(wait)
        self.disk.cut()
        return self._told(f"{fault.kind}#{fault.n} +{wait:g} s", self._check(done))

    def at_moment(self, share: float) -> list[str]:
        """Cut under the running command, at that share of the time that it takes."""
        self.disk.restore()
        with ThreadPoolExecutor(1) as beside:
            # else Python itself looks for its modules in the project, and fails to
            apart = ("env", "PYTHONSAFEPATH=1")
            running = beside.submit(self.box.cas, *self.scenario.words, under=apart)
            time.sleep(share * self.seconds)
            self.disk.stop()
            done = running.result()
        self.disk.detach()
        self.disk.attach()
        found = self._check(done)
        if "Traceback" in done.err:
            found.append(f"the command under the cut: {done.err.strip()[-300:]}")
        return self._told(f"at {share:.0%}", found)

    def _check(self, done: Done) -> list[str]:
        """Look at what the disk has; run the command again, cut once more, and look again."""
        box, now = self.box, look(self.box)
        found = problems(box, self.before, now, self.after)
        if done.code == 0:  # it had ended before the cut
            found += differences(now, self.after, objects=True)
        again = box.cas(*self.scenario.words)
        if again.code not in self.scenario.again or "Traceback" in again.err:
            found.append(f"again: exit {again.code}: {again.err.strip()[-300:]}")
        self.disk.cut()
        now = look(box)
        found += [f"again: {one}" for one in problems(box, self.before, now, self.after)]
        found += [f"again: {one}" for one in differences(now, self.after)]
        whole = box.cas("verify", "--full")
        if whole.code:
            found.append(f"verify: exit {whole.code}: {whole.err.strip()[-300:]}{whole.out[-300:]}")
        return list(dict.fromkeys(found))

    def _told(self, where: str, found: list[str]) -> list[str]:
        return [f"cas {' '.join(self.scenario.words)} [cut {where}] {one}" for one in found]


@contextmanager
def cut_stage(kind: str, hub: Hub, code: Path, name: str) -> Iterator[Cut]:
    """Prepare a scenario on a disk, and run it undisturbed."""
    scenario = SCENARIOS[name]
    with disk(kind) as made:
        box = Box(made.mount, code, hub.endpoint)
        prepare(scenario, box, hub)
        before = look(box)
        made.save()
        began = time.monotonic()
        box.must(*scenario.words)
        seconds = time.monotonic() - began
        after = look(box)
        made.restore()
        calls = box.cas(*scenario.words, trace=True).calls
        points = [Fault(call.kind, call.n, "kill") for call in calls if call.kind in CHANGES]
        yield Cut(scenario, box, made, before, after, points, seconds)


def cuts_amid(
    kind: str, hub: Hub, code: Path, name: str, *, calls: int, moments: int, first: bool = False
) -> Result:
    """Cut before *calls* spread calls of a command, and at *moments* spread moments.

    Every second one is cut 6 s later, when the kernel has written names by itself. Each
    point is cut again after the same command ended in 0. With *first* it ends at the first
    violation.
    """
    result = Result("power cut amid")
    with cut_stage(kind, hub, code, name) as at:
        chosen = spread(at.points, max(1, len(at.points) // calls), offset=len(name))[:calls]
        for number, fault in enumerate(chosen):
            if first and result.violations:
                return result
            found = at.before_call(fault, 6.0 * (number % 2))
            if found is None:
                result.missed += 1
                continue
            result.points += 2
            result.violations += found
        for number in range(moments):
            result.violations += at.at_moment((number + 0.5) / moments)
            result.points += 2
    return result


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
