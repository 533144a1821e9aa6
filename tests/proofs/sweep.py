"""Sweeps: one fault a run, at one call after another, and what must hold after each."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .box import Box
from .oracle import Seen, differences, look, problems
from .order import missing_syncs
from .scenarios import Scenario, prepare
from .shim import Call, Done, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.hubserver import Hub

CHANGES = (
    "create", "open", "write", "pwrite", "rename", "link", "symlink", "unlink", "mkdir", "rmdir",
    "chmod", "utime", "fsync", "fdatasync", "syncfs", "truncate", "copy", "clone", "allocate",
)  # fmt: skip
_SPACE = ("create", "write", "pwrite", "rename", "link", "symlink", "mkdir", "fsync", "fdatasync",
          "syncfs", "truncate", "copy", "allocate")  # fmt: skip
_READONLY = ("create", "open", "rename", "link", "symlink", "unlink", "mkdir", "rmdir", "chmod",
             "utime", "truncate")  # fmt: skip
ERRORS: tuple[tuple[str, str, tuple[str, ...], bool], ...] = (
    # errno, where it can be answered, whether the disk stays so
    ("ENOSPC", "once", _SPACE, False),
    ("ENOSPC", "from there on", _SPACE, True),
    ("EDQUOT", "once", _SPACE, False),
    ("EIO", "once", CHANGES, False),
    ("EROFS", "from there on", _READONLY, True),
    ("EMFILE", "once", ("create", "open", "read"), False),
    ("EINTR", "once", ("create", "open", "write", "pwrite", "fsync", "fdatasync"), False),
    ("short", "once", ("write", "pwrite", "copy"), False),
)
WITH_REMEDY = ("ENOSPC", "EDQUOT", "EROFS", "EMFILE")
MUST_SUCCEED = ("EINTR", "short")


@dataclass(slots=True)
class Result:
    """What a sweep found."""

    harness: str
    points: int = 0
    missed: int = 0
    """Points that the command did not come to that time: threads take turns as they like."""
    violations: list[str] = field(default_factory=list)
    late: int = 0
    """Points after which the same command and gc left something that the next pull and gc took."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A scenario that is ready to be struck."""

    scenario: Scenario
    box: Box
    before: Seen
    after: Seen
    """How the command leaves it undisturbed."""
    settled: Seen
    """… and a gc after it."""
    pulled: Seen
    """… and a pull and a gc after that."""
    calls: tuple[Call, ...]

    def command(self, fault: Fault | None = None) -> Done:
        return self.box.cas(*self.scenario.words, fault=fault)


@contextmanager
def stage(scenario: Scenario, hub: Hub, code: Path) -> Iterator[Stage]:
    """Prepare a scenario, run it undisturbed, and trace it."""
    top = Path(tempfile.mkdtemp(prefix=f"proof-{scenario.name}-", dir=scratch()))
    try:
        box = Box(top, code, hub.endpoint)
        prepare(scenario, box, hub)
        before = look(box)
        done = box.cas(*scenario.words, trace=True)
        assert done.code == 0, f"{scenario.name}: exit {done.code}\n{done.err}"
        after = look(box)
        box.must("gc", "--older-than", "0d")
        settled = look(box)
        box.must("pull")
        box.must("gc", "--older-than", "0d")
        yield Stage(scenario, box, before, after, settled, look(box), done.calls)
    finally:
        subprocess.run(["chmod", "-R", "u+w", top], stderr=subprocess.DEVNULL)
        shutil.rmtree(top, ignore_errors=True)


def scratch() -> str | None:
    """Return where boxes are made: in memory where that can be, for a sync costs nothing there."""
    memory = "/dev/shm"
    return os.environ.get("PROOF_SCRATCH") or (memory if os.access(memory, os.W_OK) else None)


def kill_points(at: Stage) -> list[Fault]:
    """Return a kill before each call that changes something."""
    points = [Fault(call.kind, call.n, "kill") for call in at.calls if call.kind in CHANGES]
    return spread(points, at.scenario.thin)


def error_points(at: Stage) -> list[tuple[str, Fault]]:
    """Return each error at each call that can answer it."""
    found = []
    for name, when, kinds, stays in ERRORS:
        do = "short" if name == "short" else str(getattr(errno, name))
        for call in at.calls:
            if call.kind in kinds and call.error == 0:
                fault = Fault(call.kind, call.n, do, kinds if stays else ())
                found.append((f"{name} {when}", fault))
    return spread(found, at.scenario.thin)


def spread(points: list, share: int, offset: int = 0) -> list:
    """Return every *share*-th point, from *offset* on."""
    return points[offset % max(share, 1) :: max(share, 1)]


def kill_sweep(at: Stage, points: list[Fault], *, first: bool = False) -> Result:
    """Kill the command before each of *points*; check, run it again, and check.

    With *first* it ends at the first violation.
    """
    result = Result("kill")
    for fault in points:
        if first and result.violations:
            break
        at.box.restore()
        done = at.command(fault)
        if done.code != -9:
            result.missed += 1
            if done.code:
                result.violations.append(_told(at, fault, done, f"exit {done.code} and no kill"))
            continue
        result.points += 1
        found = problems(at.box, at.before, look(at.box), at.after)
        found += _again(at, result)
        result.violations += [_told(at, fault, done, one) for one in found]
    return result


def resumed_sweep(at: Stage, points: list[Fault]) -> Result:
    """Kill the command, run it to its end, and read both traces as one.

    Who comes second finds names that nobody synced: its exit 0 has to vouch for them too.
    """
    result = Result("order of syncs, resumed")
    for fault in points:
        at.box.restore()
        killed = at.box.cas(*at.scenario.words, fault=fault, trace=True)
        again = at.box.cas(*at.scenario.words, trace=True)
        if killed.code != -9:
            result.missed += 1
            continue
        result.points += 1
        if again.code == 0:
            _, found = missing_syncs(at.box, killed.calls + again.calls)
            last = Done(-9, "", "", killed.calls[-1:])
            result.violations += [_told(at, fault, last, f"again: {one}") for one in found]
    return result


def error_sweep(at: Stage, points: list[tuple[str, Fault]], *, first: bool = False) -> Result:
    """Let each of *points* fail; check how the command ended, run it again, and check."""
    result = Result("errno")
    for label, fault in points:
        if first and result.violations:
            break
        at.box.restore()
        done = at.command(fault)
        if not done.calls:
            result.missed += 1
            if done.code:
                result.violations.append(_told(at, fault, done, f"exit {done.code} and no error"))
            continue
        result.points += 1
        now = look(at.box)
        found = problems(at.box, at.before, now, at.after)
        found += _ending(at, label, done, now)
        found += _again(at, result)
        result.violations += [f"{label}: {_told(at, fault, done, one)}" for one in found]
    return result


def corrupt_sweep(at: Stage, hub: Hub, files: Iterable[str]) -> Result:
    """Let the Hub send each of *files* with a bit flipped: nothing of it enters."""
    result = Result("corrupt bytes")
    for path in files:
        at.box.restore()
        fault = hub.fault("corrupt", path=path, times=None)
        done = at.command()
        hub.clear_faults()
        assert fault.hits, path
        result.points += 1
        found = problems(at.box, at.before, look(at.box), at.after)
        if done.code != 1 or "Traceback" in done.err:
            found.append(f"exit {done.code}")
        found += _again(at, result)
        words = " ".join(at.scenario.words)
        result.violations += [f"cas {words} [{path} corrupt] {one}" for one in found]
    return result


def _ending(at: Stage, label: str, done: Done, now: Seen) -> list[str]:
    found = []
    if "Traceback" in done.err or "Exception ignored" in done.err:
        found.append("a traceback")
    if done.code == 0:
        found += [f"exit 0, and {one}" for one in differences(now, at.after)]
        found += _synced_badly(at, done)
    elif label.startswith(MUST_SUCCEED):
        found.append(f"exit {done.code}, and it had to go on")
    elif done.code != 1:
        found.append(f"exit {done.code} instead of 1")
    else:
        errors = [line for line in done.err.splitlines() if line.startswith("cas: error:")]
        if len(errors) != 1:
            found.append(f"{len(errors)} errors were told")
        elif not _names_a_path(errors[0] + done.err.partition(errors[0])[2]):
            found.append("the error names no path")
        if label.startswith(WITH_REMEDY) and "cas: hint:" not in done.err:
            found.append("the error says no remedy")
    return found


def _names_a_path(text: str) -> bool:
    return "/" in text or "assets.lock" in text or "pyproject.toml" in text


def _synced_badly(at: Stage, done: Done) -> list[str]:
    """Exit 0 after a sync that failed: what was to be synced must not be in place (I10)."""
    found = []
    for call in done.calls:
        if call.kind not in ("fsync", "fdatasync", "syncfs") or call.error == errno.EINTR:
            continue
        path = Path(call.path)
        if at.box.root / "home" in path.parents:
            continue
        kept = path.is_dir() or any(
            place.lstat().st_ino == call.inode
            for top in (at.box.store, at.box.project)
            for place in top.rglob("*")
        )
        if kept:
            found.append(f"I10: exit 0, and the sync of {path} had failed")
    return found


def _again(at: Stage, result: Result) -> list[str]:
    """Run the command again and then gc: it converges, and nothing is left lying about.

    What no command came to sweep, or a root still holds, has to go by the next pull and gc.
    """
    done = at.command()
    now = look(at.box)
    found = []
    if done.code not in at.scenario.again or "Traceback" in done.err:
        found.append(f"again: exit {done.code}: {done.err.strip()[-300:]}")
    found += [f"again: {one}" for one in problems(at.box, at.before, now, at.after)]
    found += [f"again: {one}" for one in differences(now, at.after)]
    found += _must(at, "gc", "--older-than", "0d")
    now = look(at.box)
    if now.left or differences(now, at.settled, objects=True):
        result.late += 1
        found += _must(at, "pull") + _must(at, "gc", "--older-than", "0d")
        now = look(at.box)
        found += [f"gc: {one}" for one in differences(now, at.pulled, objects=True)]
        found += [f"left: {one}" for one in now.left]
    return list(dict.fromkeys(found))


def _must(at: Stage, *words: str) -> list[str]:
    done = at.box.cas(*words)
    return [f"{words[0]}: exit {done.code}: {done.err.strip()[-300:]}"] if done.code else []


def _told(at: Stage, fault: Fault, done: Done, what: str) -> str:
    call = next(iter(done.calls), None)
    where = str(call).replace(str(at.box.root), "") if call else f"{fault.kind}#{fault.n}"
    words = " ".join(at.scenario.words)
    return f"cas {words} [{where}] {what}" + (f" | {done.err.strip()[-200:]}" if done.err else "")
