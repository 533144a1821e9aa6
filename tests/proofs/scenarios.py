"""The commands that are proved, each with the state that it starts from.

States are tiny, a handful of small files and one of 300 KB, so that a point costs a second.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .box import Box

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hubserver import Hub, Repo

SMALL = {
    "README.md": b"# a model\n",
    "config.json": b'{"size": 1}\n',
    "empty.txt": b"",
    "nested/deep/vocab.txt": b"a\nb\n",
}
FIRST = SMALL | {"weights.bin": random.Random(1).randbytes(300_000)}
SECOND = {
    "config.json": b'{"size": 2}\n',
    "nested/new.txt": b"new\n",
    "weights.bin": random.Random(2).randbytes(40_000),
}
OTHER = {"config.json": b'{"other": 1}\n', "data.bin": random.Random(3).randbytes(20_000)}
LOCAL = {
    "a.txt": b"one\n",
    "sub/b.txt": b"two\n",
    "sub/big.dat": random.Random(4).randbytes(50_000),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One command."""

    name: str
    words: tuple[str, ...]
    prepare: Callable[[Box, Hub, str], None]
    """Makes the state in an empty box; is given the Hub and a repository's name of its own."""
    again: tuple[int, ...] = (0,)
    """How the same command may end when it had done its work already."""
    thin: int = 1
    """One point in so many is struck, for a command of many equal steps."""


def _repo(hub: Hub, name: str, files: dict[str, bytes] = FIRST) -> Repo:
    repo = hub.repo(name)
    repo.commit(files, "one")
    return repo


def _pull_cold(box: Box, hub: Hub, name: str) -> None:
    _repo(hub, name)
    box.must("add", f"model:{name}", "--name", "models/m", "--no-pull")
    for path in (box.store, box.root / "home/cache", box.project / "assets/.cas"):
        subprocess.run(["rm", "-rf", path], check=True)


def _pull_moved(box: Box, hub: Hub, name: str) -> None:
    repo = _repo(hub, name)
    box.must("add", f"model:{name}", "--name", "models/m")
    repo.commit(SECOND, "two")
    colleague = Box(box.top / "colleague", box.code, box.endpoint)
    colleague.make()
    for file in ("assets.lock", "pyproject.toml"):
        shutil.copy(box.project / file, colleague.project / file)
    colleague.must("lock", "--update", "models/m")
    shutil.copy(colleague.project / "assets.lock", box.project / "assets.lock")
    subprocess.run(["rm", "-rf", colleague.top], check=True)


def _lock_update(box: Box, hub: Hub, name: str) -> None:
    repo = _repo(hub, name)
    box.must("add", f"model:{name}", "--name", "models/m")
    repo.commit(SECOND, "two")


def _write(box: Box, where: str, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        place = box.project / where / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def _corpus(box: Box, hub: Hub, name: str) -> None:
    _write(box, "corpus", LOCAL)


def _many(box: Box, hub: Hub, name: str) -> None:
    _write(box, "many", {f"{n % 7}/{n}.txt": b"%d\n" % n for n in range(60)})


def _two(box: Box, hub: Hub, name: str) -> None:
    _repo(hub, name)
    _repo(hub, name + "-other", OTHER)
    box.must("add", f"model:{name}", "--name", "models/m")
    box.must("add", f"model:{name}-other", "--name", "models/other")


def _garbage(box: Box, hub: Hub, name: str) -> None:
    _two(box, hub, name)
    box.must("rm", "models/other")


def _damaged(box: Box, hub: Hub, name: str) -> None:
    _repo(hub, name)
    box.must("add", f"model:{name}", "--name", "models/m")
    for path in (box.store / "objects").rglob("*"):
        if path.is_file() and path.stat().st_size == len(FIRST["weights.bin"]):
            path.chmod(0o644)
            with open(path, "r+b") as file:
                file.seek(1000)
                file.write(b"\0damage\0")
            path.chmod(0o444)
            os.utime(path, (1, 1))


def _mine(box: Box, hub: Hub, name: str) -> None:
    _write(box, "assets/datasets/mine", LOCAL)


def _one(box: Box, hub: Hub, name: str) -> None:
    _repo(hub, name)
    box.must("add", f"model:{name}", "--name", "models/m")


def _edited(box: Box, hub: Hub, name: str) -> None:
    _one(box, hub, name)
    box.must("edit", "models/m")
    (box.project / "assets/models/m/config.json").write_bytes(b'{"mine": true}\n')


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("pull", ("pull",), _pull_cold),
        Scenario("pull-moved", ("pull",), _pull_moved),
        Scenario("lock-update", ("lock", "--update", "models/m"), _lock_update),
        Scenario("add", ("add", "./corpus", "--name", "datasets/corpus"), _corpus),
        # above 50 files a batch is synced in whole
        Scenario("add-many", ("add", "./many", "--name", "datasets/many"), _many, thin=10),
        Scenario("add-move", ("add", "./corpus", "--name", "datasets/corpus", "--move"), _corpus,
                 again=(0, 2)),
        Scenario("gc", ("gc", "--older-than", "0d"), _garbage),
        Scenario("repair", ("verify", "--full", "--repair"), _damaged),
        Scenario("rm", ("rm", "models/other"), _two, again=(0, 1)),
        Scenario("adopt", ("adopt", "--no-hub"), _mine),
        Scenario("edit", ("edit", "models/m"), _one, again=(0, 1)),
        Scenario("take-edit", ("add", "assets/models/m", "--name", "models/m"), _edited,
                 again=(0, 1, 2)),
    )
}  # fmt: skip
"""By name. ``again``: what was moved in, or is removed, is not there a second time."""


def prepare(scenario: Scenario, box: Box, hub: Hub) -> None:
    """Make the box, bring it into the state, and save it."""
    box.make()
    scenario.prepare(box, hub, f"team/{scenario.name}-{os.urandom(4).hex()}")
    box.save()
