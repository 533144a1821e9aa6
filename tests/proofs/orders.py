"""Forced orders: one command is stopped before one of its calls, another runs to its end.

Then the first goes on. Both have to end in 0, whichever came first at that call, and no view
may break, not even while the first is stopped. Where the second has to wait for a mutex of the
first, the first goes on at once: that point is counted as waited.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import shim
from .box import Box
from .days import pass_days
from .oracle import look
from .scenarios import FIRST, LOCAL, OTHER, SECOND
from .sweep import CHANGES, Result, scratch
from .views import uncollected, wrong_store, wrong_views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hubserver import Hub

PATIENCE = 60.0  # seconds; a command that neither ends nor waits for a mutex by then hangs
LOOKS = 0.01  # seconds between two looks at a process
GC = ("gc", "--older-than", "0d", "--local-too")


@dataclass(frozen=True, slots=True)
class Beside(Box):
    """Another project on the same store, by the same user."""

    @property
    def project(self) -> Path:
        return self.root / "beside"


@dataclass(frozen=True, slots=True)
class Part:
    """What one of the two does."""

    words: tuple[str, ...]
    pulls: bool = True
    """Whether its project's views are as locked when it has ended in 0."""


@dataclass(frozen=True, slots=True)
class Order:
    """Two commands, the first in one project and the second in another."""

    name: str
    one: Part
    two: Part
    prepare: Callable[[Box, Beside, Hub, str], None]
    mutexes: bool = True
    """Else every mutex is a no-op, and 20 days have passed since anything was used (I9)."""


@dataclass(slots=True)
class Orders(Result):
    """What a sweep found."""

    waited: int = 0
    """Points at which the second command waited until the first went on."""


@dataclass(frozen=True, slots=True)
class Forced:
    """An order that is ready: who is stopped, who runs meanwhile, and where it can be stopped."""

    order: Order
    boxes: tuple[Box, Box]
    swapped: bool
    points: tuple[shim.Fault, ...]

    @property
    def first(self) -> tuple[Box, Part]:
        return (self.boxes[1], self.order.two) if self.swapped else (self.boxes[0], self.order.one)

    @property
    def second(self) -> tuple[Box, Part]:
        return (self.boxes[0], self.order.one) if self.swapped else (self.boxes[1], self.order.two)


def _locks(box: Box, hub: Hub, repo: str, files: dict[str, bytes], name: str, *to: Box) -> None:
    """Let projects lock a repository that nobody has pulled into their store."""
    hub.repo(repo).commit(files, "one")
    colleague = Box(box.top / "colleague", box.code, box.endpoint)
    colleague.make()
    colleague.must("add", f"model:{repo}", "--name", name)
    for one in to:
        for file in ("assets.lock", "pyproject.toml"):
            shutil.copy(colleague.project / file, one.project / file)
    subprocess.run(["chmod", "-R", "u+w", colleague.top], check=True)
    shutil.rmtree(colleague.top)


def _garbage(box: Box, hub: Hub, repo: str, files: dict[str, bytes]) -> None:
    hub.repo(repo).commit(files, "one")
    box.must("add", f"model:{repo}", "--name", "models/gone")
    box.must("rm", "models/gone")


def _held(box: Box, hub: Hub, repo: str) -> None:
    hub.repo(repo).commit(FIRST, "one")
    box.must("add", f"model:{repo}", "--name", "models/m")


def _cold(box: Box, beside: Beside, hub: Hub, name: str) -> None:
    _held(box, hub, name)
    _garbage(box, hub, f"{name}-g", OTHER)
    files = {"data.bin": OTHER["data.bin"], "more.txt": b"more\n"}
    _locks(box, hub, f"{name}-c", files, "models/cold", beside)


def _wanted(box: Box, beside: Beside, hub: Hub, name: str) -> None:
    _held(box, hub, name)
    _garbage(box, hub, f"{name}-g", OTHER)
    _locks(box, hub, f"{name}-c", OTHER, "models/cold", beside)


def _both(box: Box, beside: Beside, hub: Hub, name: str) -> None:
    _locks(box, hub, name, OTHER, "models/cold", box, beside)


def _moved(box: Box, beside: Beside, hub: Hub, name: str) -> None:
    _wanted(box, beside, hub, name)
    beside.must("pull")
    _garbage(box, hub, f"{name}-h", SECOND)
    hub.repo(f"{name}-c").commit(SECOND, "two")


def _corpus(box: Box, beside: Beside, hub: Hub, name: str) -> None:
    _held(box, hub, name)
    _garbage(box, hub, f"{name}-g", LOCAL)
    for path, data in LOCAL.items():
        place = beside.project / "corpus" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def _corpora(box: Box, beside: Beside, hub: Hub, name: str) -> None:
    _corpus(box, beside, hub, name)
    shutil.copytree(beside.project / "corpus", box.project / "corpus")


def _shared(box: Box, beside: Beside, hub: Hub, name: str) -> None:
    _held(box, hub, name)
    beside.must("add", f"model:{name}", "--name", "models/m")


_PULL = Part(("pull",))
_GC_14_DAYS = Part(("gc", "--local-too"))
_ADD = Part(("add", "./corpus", "--name", "datasets/corpus"))
ORDERS = {
    one.name: one
    for one in (
        Order("gc and a cold pull", Part(GC), _PULL, _cold),
        Order("gc and a pull of what it collects", Part(GC), _PULL, _wanted),
        Order("two pulls", _PULL, _PULL, _both),
        Order("gc and lock --update", Part(GC), Part(("lock", "--update-all"), pulls=False),
              _moved),
        Order("gc and add", Part(GC), _ADD, _corpus),
        Order("two adds", _ADD, _ADD, _corpora),
        Order("rm and gc", Part(("rm", "models/m")), Part(GC), _shared),
        Order("gc and a cold pull, no mutex", _GC_14_DAYS, _PULL, _cold, mutexes=False),
        Order("gc and a pull of what it collects, no mutex", _GC_14_DAYS, _PULL, _wanted,
              mutexes=False),
        Order("gc and add, no mutex", _GC_14_DAYS, _ADD, _corpus, mutexes=False),
        Order("two pulls, no mutex", _PULL, _PULL, _both, mutexes=False),
        Order("two adds, no mutex", _ADD, _ADD, _corpora, mutexes=False),
    )
}  # fmt: skip


@contextmanager
def forced(order: Order, hub: Hub, code: Path, *, swapped: bool = False) -> Iterator[Forced]:
    """Prepare an order, run the one that will be stopped undisturbed, and trace it."""
    top = Path(tempfile.mkdtemp(prefix="proof-order-", dir=scratch()))
    try:
        boxes = (Box(top, code, hub.endpoint), Beside(top, code, hub.endpoint))
        for box in boxes:
            box.make()
        order.prepare(*boxes, hub, f"team/order-{os.urandom(4).hex()}")
        if not order.mutexes:
            pass_days(boxes[0].store, 20)
        boxes[0].save()
        at = Forced(order, boxes, swapped, ())
        box, part = at.first
        done = box.cas(*part.words, trace=True)
        assert done.code == 0, f"{order.name}: exit {done.code}\n{done.err}"
        home = f"{box.root}/home/"  # the index and the warm lock are hints
        steps = [c for c in done.calls if c.kind in STEPS and not c.path.startswith(home)]
        points = [shim.Fault(c.kind, c.n, "stop") for c in steps]
        yield Forced(order, boxes, swapped, tuple(points))
    finally:
        subprocess.run(["chmod", "-R", "u+w", top], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(top, ignore_errors=True)


STEPS = (*CHANGES, "read")
"""The calls to stop before: those that change a file, and those that open one to look."""


def order_sweep(at: Forced, points: list[shim.Fault], *, first: bool = False) -> Orders:
    """Stop one command before each of *points*, let the other run, and check.

    With *first* it ends at the first violation.
    """
    result = Orders("forced orders")
    for fault in points:
        if first and result.violations:
            break
        at.boxes[0].restore()
        found = _force(at, fault, result)
        words = " ".join(at.first[1].words)
        told = f"cas {words} [stop before {fault.kind}#{fault.n}], meanwhile cas "
        result.violations += [f"{told}{' '.join(at.second[1].words)}: {one}" for one in found]
    return result


def _force(at: Forced, fault: shim.Fault, result: Orders) -> list[str]:
    (box, part), (other, meanwhile) = at.first, at.second
    argv, env = [sys.executable, "-m", "cas"], box.env()
    with shim.started(
        [*argv, *part.words], env=env, cwd=box.project, root=box.root, fault=fault
    ) as one:
        if not _is_stopped(one):
            result.missed += 1
            code, told = one.returncode, one.communicate()[1]
            return [f"exit {code} and no stop: {told.strip()[-300:]}"] if code else []
        result.points += 1
        two = shim.popen([*argv, *meanwhile.words], env, other.project)
        found = []
        try:
            if _ends(two):
                found += _ended(two, "the other")
                if at.order.mutexes:  # else gc may have put its tree aside, to look and put it back
                    found += _views(other, meanwhile)
            else:
                result.waited += 1
            os.kill(one.pid, signal.SIGCONT)
            found += _ended(one, "the stopped one") + _ended(two, "the other")
        finally:
            if two.poll() is None:
                two.kill()
            two.communicate()
    found += _views(box, part) + _views(other, meanwhile) + wrong_store(look(box))
    return list(dict.fromkeys(found + _settled(at)))


def _settled(at: Forced) -> list[str]:
    """Pull in both projects, and collect: nothing is broken, and nothing is left."""
    found = []
    for box in at.boxes:
        for words in (("pull",), GC) if box is at.boxes[-1] else (("pull",),):
            done = box.cas(*words)
            if done.code:
                found.append(f"then {words[0]}: exit {done.code}: {done.err.strip()[-300:]}")
    projects = [box.project for box in at.boxes]
    found += [wrong for project in projects for wrong in wrong_views(project)]
    return found + uncollected(at.boxes[0], projects, mutexes=at.order.mutexes)


def _is_stopped(process: subprocess.Popen[str]) -> bool:
    """Wait until it is stopped, or has ended."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        if _state(process.pid) == "T":
            return True
        time.sleep(LOOKS)
    return False


def _ends(process: subprocess.Popen[str]) -> bool:
    """Wait until it has ended, or waits for a mutex."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            return True
        if _waits(process.pid):
            return False
        time.sleep(LOOKS)
    return False


def _waits(pid: int) -> bool:
    """Say whether a process is blocked at a flock."""
    lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return any(line.split()[1] == "->" and line.split()[5] == str(pid) for line in lines)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2][:1]
    except OSError:
        return ""


def _ended(process: subprocess.Popen[str], which: str) -> list[str]:
    try:
        _, told = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return [f"{which} hangs"]
    if process.returncode or "Traceback" in told:
        return [f"{which}: exit {process.returncode}: {told.strip()[-300:]}"]
    return []


def _views(box: Box, part: Part) -> list[str]:
    return wrong_views(box.project) if part.pulls else []
