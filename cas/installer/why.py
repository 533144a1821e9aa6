"""why: what a hash is, and who refers to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cas.digest import Digest, is_digest
from cas.errors import StoreError, UnknownAsset, UsageError
from cas.lockfile import Lockfile
from cas.store import read_listing, read_root, read_sidecar, root_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cas.project import Project
    from cas.store import Store

__all__ = ["why"]

SHORTEST = 6  # hexadecimal digits


def why(project: Project | None, store: Store, word: str) -> dict[str, Any]:
    """Return what a hash is, and who refers to it, as ``cas why --json`` says it.

    *word* is a name, or at least six digits of an object, listing, tree or commit; also of
    one that only experiments know any more. Raises UnknownAsset, UsageError.
    """
    lock = project.read_lock() if project else Lockfile()
    digits = word.removeprefix("t1:").lower()
    hexadecimal = bool(digits) and not digits.strip("0123456789abcdef")
    try:
        return _Told(project, store, lock).of({lock.find(word).tree}, "tree")
    except UnknownAsset:
        if not hexadecimal:
            raise
    if len(digits) < SHORTEST:
        raise UsageError(f"{word!r}: expected at least {SHORTEST} hexadecimal digits, or a name")
    told = _Told(project, store, lock)
    commits = {commit for commit in told.commits() if commit.startswith(digits)}
    trees = {digest for digest in told.trees() if digest.startswith(digits)}
    objects = set(_objects_named(store, digits))
    every = commits | trees | objects
    if not every:
        raise UnknownAsset(f"no object, tree or commit {word!r} here", hint="cas list")
    if len(every) > 1:
        raise UnknownAsset(f"{word!r} fits {len(every)} hashes: {', '.join(sorted(every)[:4])}")
    if commits:
        return told.of(told.commits()[commits.pop()], "commit") | {"hash": every.pop()}
    digest = Digest(every.pop())
    if digest in trees:
        return told.of({digest}, "tree")
    return told.of({digest}, "object")


class _Told:
    """Everything that refers to trees: the lock, experiments, roots, sidecars."""

    def __init__(self, project: Project | None, store: Store, lock: Lockfile) -> None:
        self.store = store
        self.lock = lock
        self.used = list(_used(project)) if project else []

    def trees(self) -> set[Digest]:
        """Return every tree that is known by anybody."""
        known = {digest for digest, _ in self.store.trees()}
        return known | {a.tree for a in self.lock} | {tree for _, _, tree, _ in self.used}

    def commits(self) -> dict[str, set[Digest]]:
        """Return commit → the trees that it was pinned with."""
        found: dict[str, set[Digest]] = {}
        for asset in self.lock:
            if asset.commit:
                found.setdefault(asset.commit, set()).add(asset.tree)
        for _, _, tree, commit in self.used:
            if commit:
                found.setdefault(commit, set()).add(tree)
        for digest, _ in self.store.trees():
            sidecar = read_sidecar(self.store, digest)
            hub = sidecar.origin.get("hub") if sidecar else None
            if isinstance(hub, dict) and isinstance(hub.get("commit"), str):
                found.setdefault(hub["commit"], set()).add(digest)
        return found

    def of(self, digests: set[Digest], kind: str) -> dict[str, Any]:
        """Return who refers to some trees, or to an object and the trees that hold it."""
        trees = set(digests)
        if kind == "object":
            for tree in self.trees():
                listing = read_listing(self.store, tree)
                if listing and any(entry.digest in digests for entry in listing):
                    trees.add(tree)
        names = {a.name for a in self.lock if a.tree in trees}
        names |= {name for _, name, tree, _ in self.used if tree in trees}
        return {
            "hash": min(digests),
            "kind": kind,
            "assets": sorted(names),
            "projects": sorted(set(self._projects(trees))),
            "experiments": sorted({e for e, _, tree, _ in self.used if tree in trees}),
        }

    def _projects(self, trees: set[Digest]) -> Iterator[str]:
        for root in root_ids(self.store):
            try:
                record = read_root(self.store, root)
            except StoreError:
                continue
            if record and trees & {*record.trees, *record.experiments}:
                yield record.path


def _used(project: Project) -> Iterator[tuple[str, str, Digest, str | None]]:
    """Yield (experiment, asset, tree, commit) of every use in every record."""
    if not os.path.isdir(project.experiments):
        return
    from pathlib import Path

    from cas.experiments import list_records

    for record in list_records(Path(project.experiments), every=True):
        for used in record["assets"]:
            tree = str(used["tree"]).removeprefix("t1:")
            if is_digest(tree):
                yield str(record["name"]), str(used["name"]), Digest(tree), used.get("commit")


def _objects_named(store: Store, digits: str) -> list[Digest]:
    try:
        names = os.listdir(store.place("objects", digits[:2]))
    except OSError:
        return []
    return [
        Digest(digits[:2] + name)
        for name in names
        if name.startswith(digits[2:]) and is_digest(digits[:2] + name)
    ]
