"""Seeded faults: copies of cas with one thing wrong, each of which a harness must find.

A mutant is a text that stands once in one file, and what stands there instead. Where the
text is gone, cas has changed, and the mutant has to be written anew: that is an error here,
for a harness whose mutants do not apply proves nothing.
"""

from __future__ import annotations

import compileall
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import disks
from .box import freeze
from .order import missing_syncs
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
    scenario: str
    harness: str
    """``order``, ``kill``, ``errno``, ``corrupt`` or ``power``."""
    kinds: tuple[str, ...] = ()
    """The kinds of calls to strike; all, if none is named."""
    labels: tuple[str, ...] = ()
    """The errors to try."""


_NO_SYNC = {
    "file": "files/sync.py",
    "old": "def _fsync(fd: int) -> None:\n",
    "new": "def _fsync(fd: int) -> None:\n    return\n",
}
MUTANTS = (
    Mutant(name="staged files and names are not synced", **_NO_SYNC,
           scenario="add", harness="order"),
    Mutant(name="staged files and names are not synced (cut)", **_NO_SYNC,
           scenario="add", harness="power"),
    Mutant(name="the lock is not synced", file="files/write.py",
           old="        os.fsync(fd)\n", new="        pass\n",
           scenario="add", harness="order"),
    Mutant(name="the view moves before its tree's name is durable", file="store/trees.py",
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
    Mutant(name="gc empties a tree under its final name", file="store/trees.py",
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
           new="        from dataclasses import replace as _as\n"
               "        sums = self._hash(b\"\").sums()\n"
               "        sums = _as(sums, sha256=self._sha256 or sums.sha256)\n",
           scenario="pull", harness="corrupt"),
)  # fmt: skip


HARNESS = {
    "order": "order of syncs",
    "kill": "kill",
    "errno": "errno",
    "corrupt": "corrupt bytes",
    "power": "power cut",
}
"""How each harness is called in the table."""


class DoesNotApply(AssertionError):
    """The text that a mutant replaces is not there any more."""


def mutate(mutant: Mutant, package: Path) -> str:
    """Return the text of the mutant's file in *package*, with the fault; raise DoesNotApply."""
    place = package / mutant.file
    text = place.read_text() if place.exists() else ""
    if text.count(mutant.old) != 1:
        raise DoesNotApply(
            f"{mutant.name!r}: expected the text once in cas/{mutant.file}, "
            f"found it {text.count(mutant.old)} times: {mutant.old!r}"
        )
    return text.replace(mutant.old, mutant.new)


def seed(mutant: Mutant, target: Path) -> Path:
    """Make a copy of cas with the fault in it; raise DoesNotApply."""
    code = freeze(target)
    place = code / "cas" / mutant.file
    place.write_text(mutate(mutant, code / "cas"))
    compileall.compile_dir(code / "cas", quiet=2, force=True)
    return code


def is_caught(mutant: Mutant, hub: Hub, target: Path) -> list[str]:
    """Return the violations that the mutant's harness finds first; empty: it was not caught."""
    code = seed(mutant, target)
    if mutant.harness == "power":
        return disks.cuts("ext4", hub, code, [(mutant.scenario, 0.0)]).violations
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


def words(name: str) -> str:
    """Return a mutant's name as a test's id."""
    return re.sub(r"\W+", "-", name)
