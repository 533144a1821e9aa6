"""Known: what the lock, the other projects of the store, and the store itself say of trees.

A tree is known by this project's assets.lock first, then by those of the other projects that
share its store, then by its sidecar. What only records of experiments know is not here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cas import lockfile
from cas.digest import Digest
from cas.errors import CasError, StoreError
from cas.listing import tree_id
from cas.names import kind_of
from cas.project import Project
from cas.project.reading import root_id_of
from cas.store import read_root, read_sidecar, root_ids
from cas.warm import is_marked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cas.lockfile import Asset
    from cas.store import Store

__all__ = ["Known", "Tree", "asset_rows", "edge_rows", "neighbours"]

HEAD = 4096  # bytes of a sidecar: its origin stands there, before the sizes of the files


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What is known of one tree."""

    tree: str
    """``t1:<64 hex>``"""
    name: str | None = None
    """None: only the store knows it, and it did not come from the Hub."""
    repository: str | None = None
    commit: str | None = None
    files: int | None = None
    size: int | None = None
    """bytes in all"""
    locked: bool = False
    """whether this project's assets.lock pins it"""
    recipe: str | None = None
    """Derived assets: ``r1:<64 hex>``."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Derived assets: role → the tree that was read."""


class Known:
    """The trees that locks name, looked up once; sidecars are read where they are asked for."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.store: Store = project.store
        self.roots = neighbours(project)
        """The directories of all projects of the store, this one's first."""
        self.trees: dict[str, Tree] = {}
        self._made: dict[str, list[tuple[str, str]]] | None = None
        for number, root in enumerate(self.roots):
            for asset in _lock_of(project if number == 0 else Project(root), strict=number == 0):
                self.trees.setdefault(asset.tree_id, _of_lock(asset, locked=number == 0))

    def of(self, tree: str) -> Tree:
        """Return what is known of a tree."""
        found = self.trees.get(tree)
        if found is None:
            found = self.trees[tree] = _of_store(self.store, tree) or Tree(tree=tree)
        return found

    def made_of(self, tree: str) -> list[tuple[str, str]]:
        """Return (role, tree) of all that was built of a tree."""
        if self._made is None:
            made: dict[str, set[tuple[str, str]]] = {}
            for one in [*self.trees.values(), *_derived(self.store)]:
                for role, source in one.inputs.items():
                    made.setdefault(source, set()).add((role, one.tree))
            self._made = {source: sorted(rows) for source, rows in made.items()}
        return self._made.get(tree, [])

    def present(self, tree: str) -> bool:
        """Say whether a tree is in the store, with no damage known."""
        digest = Digest(tree.removeprefix("t1:"))
        tree = self.store.tree(digest)
        return os.path.isdir(tree) and not is_marked(tree)


def neighbours(project: Project) -> list[str]:
    """Return the directories of the projects that share the store, *project*'s own first."""
    found = [project.root]
    for root in root_ids(project.store):
        try:
            record = read_root(project.store, root)
        except StoreError:
            continue
        if record and record.path not in found and root_id_of(record.path) == root:
            found.append(record.path)
    return found


def asset_rows(project: Project) -> list[dict[str, Any]]:
    """Return one row a tree for the view ``assets``: the lock's, other projects', the store's.

    ``{name, kind, repository, commit, tree, files, size, locked, present}``; name and kind are
    null where only the store knows a tree that did not come from the Hub.
    """
    known = Known(project)
    for digest, _ in project.store.trees():
        known.of(tree_id(digest))
    return [
        {
            "name": one.name,
            "kind": kind_of(one.name) if one.name else None,
            "repository": one.repository,
            "commit": one.commit,
            "tree": one.tree,
            "files": one.files,
            "size": one.size,
            "locked": one.locked,
            "present": known.present(one.tree),
        }
        for one in known.trees.values()
    ]


def edge_rows(project: Project) -> list[dict[str, str]]:
    """Return one row an input of every derived asset for the view ``asset_edges``.

    ``{input_tree, output_tree, via}``; *via* is the recipe, ``r1:<64 hex>``. What experiments
    made of their inputs is in their records.
    """
    known = Known(project)
    found = {one.tree: one for one in [*_derived(project.store), *known.trees.values()]}
    return [
        {"input_tree": source, "output_tree": one.tree, "via": one.recipe or "recipe"}
        for one in found.values()
        for source in dict.fromkeys(one.inputs.values())
    ]


def _lock_of(project: Project, *, strict: bool) -> list[Asset]:
    """Return the assets of a lock; of another project's that can't be read, none."""
    try:
        return list(lockfile.parse(project.lock_bytes()))
    except CasError:
        if strict:
            raise
        return []


def _of_lock(asset: Asset, *, locked: bool) -> Tree:
    return Tree(
        tree=asset.tree_id,
        name=asset.name,
        repository=asset.repo,
        commit=asset.commit,
        files=asset.files,
        size=asset.size,
        locked=locked,
        recipe=asset.recipe,
        inputs={role: tree_id(tree) for role, tree in asset.inputs.items()},
    )


def _of_store(store: Store, tree: str) -> Tree | None:
    sidecar = read_sidecar(store, Digest(tree.removeprefix("t1:")))
    if sidecar is None:
        return None
    hub, inputs = sidecar.origin.get("hub"), sidecar.origin.get("inputs")
    name = repository = commit = None
    if isinstance(hub, dict) and all(isinstance(hub.get(k), str) for k in ("kind", "repo")):
        name, repository = f"{hub['kind']}s/{hub['repo']}", hub["repo"]
        commit = hub["commit"] if isinstance(hub.get("commit"), str) else None
    recipe = sidecar.origin.get("recipe")
    return Tree(
        tree=tree,
        name=name,
        repository=repository,
        commit=commit,
        files=len(sidecar.sizes),
        size=sidecar.size,
        recipe=recipe if isinstance(recipe, str) else None,
        inputs={str(k): str(v) for k, v in inputs.items()} if isinstance(inputs, dict) else {},
    )


def _derived(store: Store) -> Iterator[Tree]:
    """Yield the trees of the store that recipes made; of the others only the head is read."""
    for digest, _ in store.trees():
        try:
            fd = os.open(store.tree(digest) + ".json", os.O_RDONLY | os.O_CLOEXEC)
            try:
                head = os.read(fd, HEAD)
            finally:
                os.close(fd)
        except OSError:
            continue
        if b'"inputs":' in head and (found := _of_store(store, tree_id(digest))):
            yield found
