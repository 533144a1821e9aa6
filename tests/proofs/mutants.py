"""Seeded faults: copies of cas with one thing wrong, each of which a harness must find.

A mutant is a text that stands once in one file, and what stands there instead. Where the
text is gone, cas has changed, and the mutant has to be written anew: that is an error here,
for a harness whose mutants do not apply proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import disks
from .alter import HASTE, NO_MUTEX, Change, alter
from .box import freeze
from .days import lived
from .order import missing_syncs
from .orders import ORDERS, forced, order_sweep
from .races import many_pulls, race
from .readers import read_through
from .scenarios import FIRST, SCENARIOS
from .sweep import corrupt_sweep, error_points, error_sweep, kill_points, kill_sweep, stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hubserver import Hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One seeded fault."""

    name: str
    file: str
    """Below cas/."""
    old: str
    new: str
    scenario: str = ""
    """A scenario, a forced order, or whether a race has mutexes."""
    harness: str
    """One of ``HARNESS``."""
    kinds: tuple[str, ...] = ()
    """The kinds of calls to strike; all, if none is named."""
    labels: tuple[str, ...] = ()
    """The errors to try."""
    swapped: bool = False
    """Of a forced order: the second command is stopped, not the first."""

    @property
    def change(self) -> Change:
        return self.file, self.old, self.new


_NO_SYNC = {
    "file": "files/sync.py",
    "old": "def _fsync(fd: int) -> None:\n",
    "new": "def _fsync(fd: int) -> None:\n    return\n",
}
_NO_PARTIALS = {
    "file": "store/litter.py",
    "old": '            elif room == "staging":\n',
    "new": '            elif room == "staging" and not name.startswith(".cas-"):\n'
    '                going = True\n            elif room == "staging":\n',
}
MUTANTS = (
    Mutant(name="staged files and names are not synced", **_NO_SYNC,
           scenario="add", harness="order"),
    Mutant(name="staged files and names are not synced (cut)", **_NO_SYNC,
           scenario="add", harness="power"),
    Mutant(name="staged files and names are not synced (cut amid)", **_NO_SYNC,
           scenario="add", harness="amid"),
    Mutant(name="the lock is not synced (cut amid)", file="files/write.py",
           old="        os.fsync(fd)\n", new="        pass\n",
           scenario="lock-update", harness="amid"),
    Mutant(name="the lock is not synced", file="files/write.py",
           old="        os.fsync(fd)\n", new="        pass\n",
           scenario="add", harness="order"),
    Mutant(name="the view moves before its tree's name is durable", file="store/durable.py",
           old="    sync_all([*parents, store.root], on=store.root)\n",
           new="    return\n",
           scenario="pull", harness="order"),
    Mutant(name="an object is written in place", file="store/objects.py",
           old="            os.link(staged.path, final)\n",
           new="            import shutil\n"
               "            shutil.copyfile(staged.path, final)\n"
               "            os.chmod(final, 0o444)\n",
           scenario="add", harness="kill", kinds=("copy", "chmod")),
    Mutant(name="a tree is built under its final name", file="store/trees.py",
           old="            os.rename(work, final)\n",
           new="            import shutil\n"
               "            shutil.copytree(work, final, copy_function=os.link)\n",
           scenario="add", harness="kill", kinds=("link", "chmod")),
    Mutant(name="the view is made before the bytes are there", file="installer/pull.py",
           old="        stand: list[tuple[Asset, str]] = []\n",
           new="        stand: list[tuple[Asset, str]] = []\n"
               "        link_views(project, [(a, store.tree(a.tree)) for a in wanted], Linked())\n",
           scenario="pull", harness="kill", kinds=("rename", "link")),
    Mutant(name="the lock is written before the tree is made", file="resolver/add.py",
           old="        if options.pull:\n            found = project.tree_of(new)\n",
           new="        change_lock(project, [new])\n"
               "        if options.pull:\n            found = project.tree_of(new)\n",
           scenario="adopt", harness="kill", kinds=("rename", "chmod")),
    Mutant(name="the lock is written in place", file="files/write.py",
           old="        _write(temporary, data, mode)\n        os.replace(temporary, path)\n",
           new="        _write(temporary, data, mode)\n        open(path, 'wb').close()\n"
               "        os.replace(temporary, path)\n",
           scenario="add", harness="kill", kinds=("rename",)),
    Mutant(name="gc empties a tree under its final name", file="store/aside.py",
           old="        os.rename(path, work)\n    except (FileNotFoundError, PermissionError):",
           new="        work = path\n    except (FileNotFoundError, PermissionError):",
           scenario="gc", harness="kill", kinds=("unlink", "rmdir", "chmod")),
    Mutant(name="adopt takes the files away before they are locked", file="resolver/add.py",
           old="        with one_writer(project):\n"
               "            change_requests(project, {new.name: new.request})\n",
           new="        if options.pull and own_view:\n            _swap(project, new, path)\n"
               "        with one_writer(project):\n"
               "            change_requests(project, {new.name: new.request})\n",
           scenario="adopt", harness="kill", kinds=("unlink", "rmdir", "rename")),
    Mutant(name="what the dead left is not swept", file="files/names.py",
           old="        if lives is False or (lives is None and old):\n",
           new="        if lives is None and old:\n",
           scenario="add", harness="kill", kinds=("rename", "fsync")),
    Mutant(name="a failed sync is forgiven", file="files/sync.py",
           old="            raise\n\n\ndef _syncfs",
           new="            pass\n\n\ndef _syncfs",
           scenario="add", harness="errno", kinds=("fsync",), labels=("EIO once",)),
    Mutant(name="a short write is taken for a whole one", file="files/write.py",
           old="            view = view[os.write(fd, view) :]\n",
           new="            view = view[:0] if os.write(fd, view) else view\n",
           scenario="add", harness="errno", kinds=("write",), labels=("short once",)),
    Mutant(name="an object is named by what was asked for, not by its hash",
           file="store/staging.py",
           old="        sums = self._hash(b\"\").sums()\n",
           new="        sums = self._hash(b\"\").sums()\n"
               "        sums = sums._replace(sha256=self._sha256 or sums.sha256)\n",
           scenario="pull", harness="corrupt"),
    Mutant(name="a pull does not say which trees it is about to use", file="installer/pull.py",
           old="call = announce(store, root, path=project.root, trees=_needed(lock, wanted))",
           new="call = announce(store, root, path=project.root, trees=())",
           scenario="gc and a pull of what it collects", swapped=True, harness="orders"),
    Mutant(name="a pull ends before its root names the trees", file="installer/pull.py",
           old="        settle()\n    finally:\n        if call:\n            end(call)\n",
           new="    finally:\n        if call:\n            end(call)\n    settle()\n",
           scenario="gc and a pull of what it collects", swapped=True, harness="orders"),
    Mutant(name="gc takes the partials of the living", file="store/litter.py",
           old="dead = writer_is_dead(name) and status.st_mtime <= young",
           new="dead = True",
           scenario="gc and a cold pull", swapped=True, kinds=("link", "fsync"),
           harness="orders"),
    Mutant(name="a tree is put in place without a look who was first", file="store/trees.py",
           old="            _put(work, final)\n",
           new="            discard(final)\n            os.rename(work, final)\n",
           scenario="two pulls", kinds=("rename",), harness="orders"),
    Mutant(name="gc does not look again before it empties a tree", file="store/gc.py",
           old="            back &= self._mark_named()\n", new="            back.clear()\n",
           scenario="gc and a pull of what it collects, no mutex", harness="orders"),
    Mutant(name="gc takes a listing and does not look who needs it", file="store/gc.py",
           old="                    trees.keep_listing(self.store, listing)\n",
           new="                    pass\n",
           scenario="gc and a pull of what it collects, no mutex", kinds=("unlink",),
           harness="orders"),
    Mutant(name="an object that went while it was looked at is an error",
           file="store/objects.py",
           old="            if not gone:\n                raise\n",
           new="            raise\n",
           scenario="gc and add, no mutex", swapped=True, kinds=("read",), harness="orders"),
    Mutant(name="gc takes the partials of the living (race)", **_NO_PARTIALS,
           scenario="mutexes", harness="races"),
    Mutant(name="gc takes the partials of the living (race without mutexes)", **_NO_PARTIALS,
           scenario="no mutexes", harness="races"),
    Mutant(name="a pull that is asked for a new tree leaves the view (race)",
           file="installer/link.py",
           old="        if lies.target == target and lies.state == \"link\":\n",
           new="        if lies.state == \"link\":\n",
           scenario="mutexes", harness="races"),
    Mutant(name="path() gives the view", file="project/core.py",
           old="                return row.target\n",
           new="                return os.path.join(self.root, row.view)\n", harness="readers"),
    Mutant(name="everyone downloads at the same time", file="store/turn.py",
           old="turn.enter_context(hold(place, wait=False))",
           new="turn.enter_context(hold(f'{place}{os.getpid()}', wait=False))",
           harness="pulls"),
    Mutant(name="the grace period is ignored", file="store/gc.py",
           old="self.young = now.timestamp() - older_than.total_seconds()",
           new="self.young = now.timestamp()", harness="days"),
    Mutant(name="past generations are kept for a week", file="store/gc.py",
           old="if self.now - ended < self.older_than:",
           new="if self.now - ended < self.older_than / 2:", harness="days"),
    Mutant(name="one past generation is kept", file="store/roots.py",
           old="[:GENERATIONS]", new="[:1]", harness="days"),
)  # fmt: skip


HARNESS = {
    "order": "order of syncs",
    "kill": "kill",
    "errno": "errno",
    "corrupt": "corrupt bytes",
    "power": "power cut",
    "orders": "forced orders",
    "races": "race",
    "readers": "readers",
    "pulls": "many pulls",
    "days": "days of gc",
    "amid": "power cut amid",
}
"""How each harness is called in the table."""


def is_caught(mutant: Mutant, hub: Hub, target: Path) -> list[str]:
    """Return the violations that the mutant's harness finds first; empty: it was not caught."""
    code = alter(freeze(target), [mutant.change])
    if mutant.harness in RACES:
        return RACES[mutant.harness](mutant, hub, code)
    if mutant.harness == "power":
        return disks.cuts("ext4", hub, code, [(mutant.scenario, 0.0)]).violations
    if mutant.harness == "amid":
        # xfs: ext4 writes a file's bytes by itself where a rename replaces another
        return disks.cuts_amid(
            "xfs", hub, code, mutant.scenario, calls=12, moments=4, first=True
        ).violations
    with stage(SCENARIOS[mutant.scenario], hub, code) as at:
        if mutant.harness == "order":
            return missing_syncs(at.box, at.calls)[1]
        if mutant.harness == "corrupt":
            return corrupt_sweep(at, hub, [name for name in FIRST if FIRST[name]]).violations
        if mutant.harness == "kill":
            points = [p for p in kill_points(at) if p.kind in (mutant.kinds or (p.kind,))]
            return kill_sweep(at, points, first=True).violations
        errors = [
            (label, fault)
            for label, fault in error_points(at)
            if label in mutant.labels and fault.kind in mutant.kinds
        ]
        return error_sweep(at, errors, first=True).violations


def _forced(mutant: Mutant, hub: Hub, code: Path) -> list[str]:
    order = ORDERS[mutant.scenario]
    alter(code, HASTE if order.mutexes else (*HASTE, *NO_MUTEX))
    with forced(order, hub, code, swapped=mutant.swapped) as at:
        points = [p for p in at.points if p.kind in (mutant.kinds or (p.kind,))]
        return order_sweep(at, points, first=True).violations


def _raced(mutant: Mutant, hub: Hub, code: Path) -> list[str]:
    mutexes = mutant.scenario == "mutexes"
    alter(code, HASTE if mutexes else (*HASTE, *NO_MUTEX))
    return race(hub, code, MOST_SECONDS, 1, mutexes=mutexes, first=True).violations


MOST_SECONDS = 120.0  # of a race that finds nothing
RACES: dict[str, Callable[[Mutant, Hub, Path], list[str]]] = {
    "orders": _forced,
    "races": _raced,
    "readers": lambda mutant, hub, code: read_through(hub, code, 6).violations,
    "pulls": lambda mutant, hub, code: many_pulls(hub, code, 6).violations,
    "days": lambda mutant, hub, code: [one for n in range(4) for one in lived(code, n)],
}
"""How a harness of races looks for a mutant."""


def words(name: str) -> str:
    """Return a mutant's name as a test's id."""
    return re.sub(r"\W+", "-", name)
