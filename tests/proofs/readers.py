"""Readers that open two files of one asset while its view is switched to and fro.

A reader asks ``cas.path`` once and opens both files below what it got: they are of one version,
whatever is pulled between the two. One that goes through the view each time mixes versions, and
is here to show that the harness would see it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .box import Box
from .sweep import Result, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hubserver import Hub

FREE = 2  # readers that run as fast as they can
_READER = """
import sys
from pathlib import Path
import cas
def ask(): return Path("assets/models/m") if sys.argv[1] == "view" else cas.path("models/m")
def first(): place = ask(); return place, (place / "a.txt").read_text()
def mixed(place, a): return a != (place / "b.txt").read_text()
if sys.argv[2] == "free":
    reads = bad = 0
    print("ready", flush=True)
    while not Path("over").exists():
        reads += 1
        bad += mixed(*first())
    print(reads, bad)
else:
    for line in sys.stdin:
        got = first(); print("between", flush=True)
        sys.stdin.readline(); print("mixed" if mixed(*got) else "one", flush=True)
"""


@dataclass(slots=True)
class Read(Result):
    """What readers saw; ``points`` are the times that two files were read."""

    naive: int = 0
    """Times that the reader through the view saw two versions, of as many rounds as there were."""


def read_through(hub: Hub, code: Path, rounds: int) -> Read:
    """Switch a view so many times between the two reads of a reader, and under others that run."""
    result = Read("readers")
    with tempfile.TemporaryDirectory(prefix="proof-readers-", dir=scratch()) as top:
        box = Box(Path(top), code, hub.endpoint)
        locks = _two_locks(box, hub)
        over = box.project / "over"
        with ExitStack() as stack:
            free = [stack.enter_context(_reader(box, "path", "free")) for _ in range(FREE)]
            careful, naive = (
                stack.enter_context(_reader(box, how, "step")) for how in ("path", "view")
            )
            for one in free:
                _answer(one)
            for n in range(rounds):
                for one in (careful, naive):
                    _tell(one)
                    _answer(one)
                _flip(box, locks[n % 2])
                for one in (careful, naive):
                    _tell(one)
                result.points += 1
                if _answer(careful) != "one":
                    result.violations.append(f"round {n}: cas.path gave two versions")
                result.naive += _answer(naive) == "mixed"
            over.touch()
            for one in free:
                out, told = one.communicate(timeout=120)
                if one.returncode:
                    result.violations.append(f"a reader: exit {one.returncode}: {told[-300:]}")
                    continue
                reads, bad = map(int, out.split())
                result.points += reads
                if bad:
                    result.violations.append(f"cas.path gave two versions {bad} times of {reads}")
        subprocess.run(["chmod", "-R", "u+w", top], check=True)
    return result


def _two_locks(box: Box, hub: Hub) -> tuple[bytes, bytes]:
    repo = hub.repo(f"team/readers-{os.urandom(4).hex()}")
    lock = box.root / "project/assets.lock"
    box.make()
    found = []
    for version in (b"1", b"2"):
        repo.commit({"a.txt": version, "b.txt": version})
        if found:
            box.must("lock", "--update-all")
        else:
            box.must("add", f"model:{repo.id}", "--name", "models/m")
        box.must("pull")
        found.append(lock.read_bytes())
    return found[0], found[1]


def _flip(box: Box, lock: bytes) -> None:
    new = box.project / "new.lock"
    new.write_bytes(lock)
    new.replace(box.project / "assets.lock")
    box.must("pull")


@contextmanager
def _reader(box: Box, how: str, pace: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _READER, how, pace], cwd=box.project, env=box.env(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
