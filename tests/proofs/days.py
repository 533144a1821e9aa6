"""Days pass: all times of a store that lies still are moved back.

Two projects live with it: each day they pull, update or give up what they have, and gc runs
with its 14 days. What has to be there in the evening is worked out beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .box import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_NS = 86_400 * 10**9


def pass_days(store: Path, days: int) -> None:
    """Make everything in *store* so many days older; no command may run meanwhile."""
    back = days * DAY_NS

    def sidecar(table: dict[str, Any]) -> None:
        table["directories"] = {name: at - back for name, at in table["directories"].items()}

    def root(table: dict[str, Any]) -> None:
        for row, key in ((table, "last_seen"), *((g, "ended") for g in table["generations"])):
            at = datetime.fromisoformat(row[key]) - timedelta(days=days)
            row[key] = at.isoformat(timespec="seconds")

    for path in (store / "trees").glob("*/*.json"):
        _reseal(path, sidecar)  # a tree is known by its directories' times, which move too
    for path in (store / "roots").glob("*/root.json"):
        _reseal(path, root)
    for directory, _, files in os.walk(store, topdown=False):
        for path in (*(os.path.join(directory, name) for name in files), directory):
            status = os.stat(path, follow_symlinks=False)
            times = (status.st_atime_ns - back, status.st_mtime_ns - back)
            if not os.path.islink(path) and (status.st_nlink == 1 or not _in_tree(store, path)):
                os.utime(path, ns=times)


def _in_tree(store: Path, path: str) -> bool:
    """Say whether it is a tree's file, whose times are those of its object."""
    return path.startswith(f"{store}/trees/") and not os.path.isdir(path)


def _reseal(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    status = path.stat()
    table = json.loads(path.read_bytes())
    del table["sha256"]
    change(table)
    body = json.dumps(table, separators=(",", ":")).removesuffix("}").encode() + b","
    path.chmod(0o644)
    path.write_bytes(b'%s"sha256":"%s"}\n' % (body, hashlib.sha256(body).hexdigest().encode()))
    path.chmod(status.st_mode & 0o777)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


GRACE = 14  # days
ROOTS = ("a" * 32, "b" * 32)
KEPT = 3  # generations


def lived(code: Path, seed: int, days: int = 24) -> list[str]:
    """Let days pass over a store of the package in *code*; return what gc did wrong, if it did."""
    env = os.environ | {"PYTHONPATH": f"{code}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.proofs.days", str(seed), str(days)],
        env=env, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    return done.stdout.splitlines() + ([done.stderr[-500:]] if done.returncode else [])


class _Model:
    """What has to be in the store, day by day: what is pinned, was so of late, or was used."""

    def __init__(self) -> None:
        self.used: dict[str, int] = {}
        """Tree → the day of its last use or publication."""
        self.pins: dict[str, frozenset[str]] = {}
        self.past: dict[str, list[tuple[int, frozenset[str]]]] = {root: [] for root in ROOTS}

    def pin(self, root: str, trees: frozenset[str], day: int) -> None:
        old = self.pins.get(root)
        if old is not None and old != trees:
            others = [(ended, was) for ended, was in self.past[root] if was not in (old, trees)]
            self.past[root] = [(day, old), *others][:KEPT]
        self.pins[root] = trees

    def live(self, day: int) -> set[str]:
        found = {tree for tree, used in self.used.items() if day - used < GRACE}
        for root in ROOTS:
            found |= self.pins.get(root, frozenset())
            for ended, was in self.past[root]:
                if day - ended < GRACE:
                    found |= was
        return found


def _live(seed: int, days: int, top: Path) -> list[str]:
    from datetime import UTC

    from cas import store as S
    from tests.stores import add, collect, pins, whole

    rand, model, found = random.Random(seed), _Model(), []
    store = S.open_store(top / "store")
    held = {"root_of": lambda path: path, "project_holds": lambda path: (set(), set())}
    files = {k: {"own": b"%d" % k, "shared": b"%d" % (k // 2)} for k in range(8)}
    made: dict[int, str] = {}
    standing: set[str] = set()
    for day in range(days):
        for root in ROOTS:
            if rand.random() < 0.3:  # an update, or an rm
                chosen = rand.sample(range(8), rand.randrange(3))
                made |= {k: add(store, files[k]) for k in chosen}
                trees = frozenset(made[k] for k in chosen)
                model.used |= dict.fromkeys(trees - standing, day)
                model.pin(root, trees, day)
                standing |= trees
            for tree in model.pins.get(root, ()):  # a pull
                S.note_use(store, tree, time.time())
                model.used[tree] = day
            pins(store, root, model.pins.get(root, ()), path=root)
        if rand.random() < 0.3:  # one that is brought and given up on the same day
            tree = add(store, files[rand.randrange(8)])
            model.used |= {} if tree in standing else {tree: day}
            standing.add(tree)
        for tree in sorted(standing):
            if rand.random() < 0.05:  # path()
                S.note_use(store, tree, time.time())
                model.used[tree] = day
        model.used = {tree: used for tree, used in model.used.items() if tree in standing}
        ahead = rand.randrange(1, 20)
        told = collect(store, dry_run=True, now=datetime.now(UTC) + timedelta(days=ahead), **held)
        if told.trees != len(standing - model.live(day + ahead)):
            found.append(f"seed {seed}, day {day}: {told.trees} trees would go in {ahead} days")
        collect(store, **held)
        standing &= model.live(day)
        now = {digest for digest, _ in store.trees()}
        if now != standing:
            found.append(f"seed {seed}, day {day}: has {sorted(t[:8] for t in now - standing)}, "
                         f"lacks {sorted(t[:8] for t in standing - now)}")  # fmt: skip
        found += [f"seed {seed}, day {day}: {bad}" for bad in whole(store)]
        pass_days(Path(store.root), 1)
    collect(store, older_than=timedelta(0), **held)
    kept = model.pins.get(ROOTS[0], frozenset()) | model.pins.get(ROOTS[1], frozenset())
    if {digest for digest, _ in store.trees()} != kept:
        found.append(f"seed {seed}: a gc without grace keeps what nothing holds")
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="proof-days-") as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        for line in _live(int(sys.argv[1]), int(sys.argv[2]), Path(scratch)):
            print(line)
