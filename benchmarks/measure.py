"""Contestants that take turns, and what each run took."""

from __future__ import annotations

import mmap
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Role = Literal["cas", "peer", "floor", "also"]

METER = Path(__file__).with_name("meter.py")


class NotDone(Exception):
    """A run did not do the work that it was timed for."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of one contestant took."""

    wall: float
    """seconds"""
    cpu: float
    """seconds, user and system, of the process and of all it waited for"""
    peak: int
    """kB; resident pages of the largest process"""
    stdout: str
    stderr: str
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way of doing a row's work."""

    name: str
    argv: list[str]
    role: Role = "peer"
    """A floor is no rival: what no program of its kind can be faster than. ``also`` is cas
    again, doing something else; a row has one ``cas``, which all others are compared with."""
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path
    watched: bool = False
    """Whether the memory of all its processes together is looked at, which takes CPU beside it."""
    before: Callable[[], None] = lambda: None
    """Sets the scene, untimed; the disks are synced afterwards."""
    check: Callable[[Run], dict[str, float] | None]
    """Proves that the work was done, raising NotDone; may return further figures."""


def measure(one: Contestant, scratch: Path, memory: int = 0) -> Run:
    """Run a contestant once; raise NotDone if it fails or its work is not there.

    *memory*: bytes of free memory that are touched before. A virtual machine may have given
    what was free for some seconds back to its host, and then every first touch of a page
    takes ten times as long, for whoever comes first.
    """
    one.before()
    os.sync()  # or the first sync of a run pays for what was written before it
    if memory:
        populate = getattr(mmap, "MAP_POPULATE", 0)
        mmap.mmap(-1, memory, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | populate).close()
    out, err = scratch / "stdout", scratch / "stderr"
    how = "watched" if one.watched else "alone"
    meter = [sys.executable, "-I", "-S", str(METER), how, str(out), str(err), *one.argv]
    said = subprocess.Popen(
        meter,
        env=dict(one.env),
        cwd=one.cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        figures, errors = said.communicate()
    except BaseException:
        os.killpg(said.pid, signal.SIGKILL)  # what is measured too, or it keeps its disk busy
        said.wait()
        raise
    if said.returncode:
        raise NotDone(f"{one.name}: could not be started: {errors.decode()[-400:]}")
    wall, user, system, peak, tree, code = figures.split()
    run = Run(
        wall=float(wall),
        cpu=float(user) + float(system),
        peak=int(peak),
        stdout=out.read_text(errors="replace"),
        stderr=err.read_text(errors="replace"),
    )
    if int(code):
        tail = f"{run.stdout}\n{run.stderr}"[-1200:]
        raise NotDone(f"{one.name}: exit code {int(code)}\n{tail}")
    if one.watched:
        run.extra["anonymous and shared MiB, all processes"] = int(tree) / 1024
    try:
        run.extra.update(one.check(run) or {})
    except (OSError, ValueError, IndexError) as error:
        raise NotDone(f"{one.name}: its work is not there: {error!r}") from error
    return run


def take_turns(
    contestants: list[Contestant], runs: int, scratch: Path, memory: int = 0
) -> list[list[Run]]:
    """Run them A B C, A B C …, after one round that isn't counted; return each one's runs."""
    taken: list[list[Run]] = [[] for _ in contestants]
    # the first round reads files and touches memory for the first time; a trial has none
    warm_up = 1 if runs > 1 else 0
    for turn in range(-warm_up, runs):
        for one, its in zip(contestants, taken, strict=True):
            run = measure(one, scratch, memory)
            if turn >= 0:
                its.append(run)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return taken


def summarise(one: Contestant, runs: list[Run]) -> dict[str, Any]:
    """Return the medians of a contestant's runs, and every sample."""
    walls, cpus = [run.wall for run in runs], [run.cpu for run in runs]
    extra = {
        key: statistics.median(run.extra[key] for run in runs) for key in (runs[0].extra or {})
    }
    return {
        "name": one.name,
        "role": one.role,
        "runs": len(runs),
        "wall": statistics.median(walls),
        "wall_least": min(walls),
        "wall_most": max(walls),
        "cpu": statistics.median(cpus),
        "peak_kb": round(statistics.median(run.peak for run in runs)),
        "extra": extra,
        "samples": {"wall": walls, "cpu": cpus},
    }
