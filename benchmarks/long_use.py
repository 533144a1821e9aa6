"""How cas stands after years: the same commands on stores of 1,000 to 1,000,000 objects.

``python -m benchmarks.long_use`` makes a store of each size on a fresh ext4 (objects of 48
random bytes, made and not downloaded, in trees of 1,000 that other projects need), and in
each a project with the same ten assets of 100 files. Then the commands take turns; one
table shows wall time, CPU seconds and peak memory, medians. What is asked about a project
has to be flat in the size of the store, what is asked about the store linear, with a memory
that does not hold the store.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from .hub import HubProcess
from .load import Load, describe_machine
from .measure import Contestant, NotDone, Run, take_turns
from .place import CAS, HOME, PYTHON, ROOT, Place, make_environment, make_files, open_place

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (1_000, 100_000, 1_000_000)
TREE = 1_000
"""files in one tree of the others"""
PROJECT = 10
"""trees that one of the others needs"""
ASSETS, FILES = 10, 100
"""of the project that is measured"""
NEW = "datasets/long/use"
RUNS = 3


def fill(root: str, count: int) -> None:
    """Put *count* objects into the store at *root*, in trees that other projects need."""
    from cas.listing import Listing
    from cas.store import Publisher, Staging, add_bytes, build, open_store, settle

    store = open_store(root)
    chance = random.Random(count)
    trees = []
    for _ in range(count // TREE):
        staging, publisher = Staging(store), Publisher(store)
        entries = [
            (
                f"{n // 100}/{n:04d}.dat",
                add_bytes(store, staging, chance.randbytes(48), publisher),
            )
            for n in range(TREE - 1)  # the listing is an object too
        ]
        publisher.flush()
        listing = Listing.of(entries)
        add_bytes(store, staging, listing.data(), publisher)
        publisher.flush()
        build(store, listing, {"hub": {"kind": "dataset", "repo": "a/b", "commit": "0" * 40}})
        trees.append(listing.digest)
    for start in range(0, len(trees), PROJECT):
        name = f"{start:032x}"
        settle(store, name, path=f"/gone/{name}", lock=None, trees=trees[start:][:PROJECT])


@dataclass(frozen=True)
class Long:
    """One store of one size, and the project that is measured on it."""

    place: Place
    size: int
    endpoint: str

    @property
    def project(self) -> Path:
        return self.place.root / "project"

    def env(self) -> dict[str, str]:
        return self.place.env(HF_ENDPOINT=self.endpoint, HF_HUB_DISABLE_XET="1")

    def cas(self, *words: str) -> str:
        return self.place.run(CAS, *words, cwd=self.project, HF_ENDPOINT=self.endpoint,
                              HF_HUB_DISABLE_XET="1")  # fmt: skip

    def make(self) -> None:
        """Make the project and its assets, then all the others' objects."""
        self.place.clear_caches()
        self.project.mkdir()
        self.cas("init")
        for number in range(ASSETS):
            source = self.place.root / f"data-{number}"
            make_files(source, FILES, 48)
            self.cas("add", str(source), "--name", f"datasets/{source.name}")
            shutil.rmtree(source)
        self.cas("add", f"dataset:{NEW.partition('/')[2]}", "--no-pull")
        for name in ("assets.lock", "pyproject.toml"):
            shutil.copy(self.project / name, self.place.scratch / name)
        self._forget_new()
        self.cas("gc", "--older-than", "0d", "--local-too")
        missing = self.size - self._count()
        argv = [PYTHON, "-m", "benchmarks.long_use", "--fill", str(self.place.store)]
        self.place.run(*argv, str(missing // TREE * TREE), cwd=ROOT)

    def _count(self) -> int:
        found: int = json.loads(self.cas("store", "--json"))["objects"]
        return found

    def _forget_new(self) -> None:
        """Unlock the asset that is pulled anew; its bytes are garbage then."""
        self.cas("rm", NEW)
        self.cas("pull")

    def commands(self) -> list[Contestant]:
        """Return what is measured, in the order in which one leads to the next."""
        return [
            self._one("cas pull, of a new asset", "pull", before=self._lock_new, says="downloaded"),
            self._one("cas pull, nothing to do", "pull", says="11 assets in place"),
            self._one("cas pull NAME, nothing to do", "pull", "data-3", says="1 asset in place"),
            self._one("cas status", "status", says="11 assets are as they are locked"),
            self._one("cas verify NAME", "verify", "data-3", says="101 objects"),
            self._one("cas verify NAME --full", "verify", "data-3", "--full", says="101 objects"),
            self._one("cas gc, of 101 objects", "gc", "--older-than", "0d", "--local-too",
                      before=self._forget_new, says="1 tree and 101 objects went"),
            self._one("cas store", "store", says=""),
            self._one("cas verify, of all", "verify", says=": 0 bad"),
        ]  # fmt: skip

    def _lock_new(self) -> None:
        for name in ("assets.lock", "pyproject.toml"):
            shutil.copy(self.place.scratch / name, self.project / name)
        if any((self.place.store / "staging").iterdir()):
            raise NotDone("something is left in staging")

    def _one(
        self, name: str, *words: str, says: str, before: Callable[[], None] = lambda: None
    ) -> Contestant:
        def check(run: Run) -> None:
            if says not in run.stderr + run.stdout:
                raise NotDone(f"{name}: it said {run.stdout!r} {run.stderr!r}")

        return Contestant(name=name, argv=[CAS, *words], env=self.env(), cwd=self.project,
                          before=before, check=check)  # fmt: skip


Figures = dict[str, dict[int, dict[str, float]]]


def measure(work: Path, sizes: tuple[int, ...], runs: int) -> tuple[Figures, str]:
    """Return command → objects → medians, and a line on the machine and its load."""
    found: Figures = {}
    with open_place(work, "long-use", small_files=True, size=16 << 30, inodes=1_500_000) as top:
        seed = top.root / "seed"
        make_files(seed / NEW, FILES, 48)
        with HubProcess(seed) as hub:
            every = []
            for size in sizes:
                folder = top.root / f"of-{size}"
                folder.mkdir()
                every.append(one := Long(Place(folder), size, hub.endpoint))
                one.make()
                print(f"{size:,} objects are there", file=sys.stderr, flush=True)
            load = Load()
            for one in every:
                commands = one.commands()
                taken = take_turns(commands, runs, top.scratch)
                for command, its in zip(commands, taken, strict=True):
                    found.setdefault(command.name, {})[one.size] = {
                        "wall": median(run.wall for run in its),
                        "cpu": median(run.cpu for run in its),
                        "peak": median(run.peak for run in its) / 1024,
                    }
        machine = describe_machine(top.root)
        said = load.report()
        note = (
            f"{machine['cpu']}, {machine['cores']} cores; {machine['system']}, "
            f"{top.note or machine['file_system']}; Python {machine['python']}; {runs} runs each; "
            f"load {said['before']} before and {said['after']} after, others kept "
            f"{said['others_cores']} of a core busy."
        )
    return found, note


def as_markdown(found: Figures) -> str:
    """Return the table: wall, CPU and peak memory of each command at each size."""
    sizes = sorted(next(iter(found.values())))
    lines = [
        "| wall, CPU, peak memory | " + " | ".join(f"{size:,} objects" for size in sizes) + " |",
        "| --- |" + " ---: |" * len(sizes),
    ]
    for name, by_size in found.items():
        cells = [
            f"{_time(one['wall'])}, {_time(one['cpu'])}, {one['peak']:.0f} MiB"
            for _, one in sorted(by_size.items())
        ]
        lines.append(f"| `{name.partition(',')[0]}`{''.join(name.partition(',')[1:])} | "
                     f"{' | '.join(cells)} |")  # fmt: skip
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_use", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of objects")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--work", type=Path, default=HOME / "work", help="where the data goes")
    parser.add_argument("--fill", nargs=2, metavar=("STORE", "COUNT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fill:
        fill(given.fill[0], int(given.fill[1]))
        return 0
    make_environment()
    sizes = tuple(sorted(int(size) for size in given.sizes.split(",")))
    try:
        found, note = measure(given.work.resolve(), sizes, given.runs)
    except NotDone as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{as_markdown(found)}\n\n{note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
