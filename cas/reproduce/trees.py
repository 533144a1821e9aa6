"""Trees: those that a record names, brought into the store from wherever they can be had.

The record's own lock says how each was had: the commit of the Hub, the recipe and its inputs.
Without it the project's lock may know the tree, else the record's commit will do.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cas import lockfile
from cas.digest import Digest, is_digest
from cas.errors import CasError, Offline, StoreError
from cas.installer import Bringer
from cas.installer.kept import bring_kept
from cas.installer.remotes import bring_tree
from cas.listing import parse_tree_id
from cas.lockfile import Asset, Lockfile
from cas.names import check_name, kind_of
from cas.request import HubRequest
from cas.store import (
    Vanished,
    announce,
    end,
    note_use,
    read_object,
    shared_gc_mutex,
    standing,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cas.progress import Progress
    from cas.project import Project

__all__ = ["Had", "bring_trees", "lock_of", "read_kept"]

TRIES = 5  # of a tree whose objects vanish under it


@dataclass(slots=True, kw_only=True)
class Had:
    """One tree that an experiment names, and whether it could be had."""

    name: str
    role: str
    tree: str
    state: str
    """``here``, ``fetched`` or ``gone``"""
    target: str | None = None
    """Where it lies in the store; of a single-file asset its file."""
    path: str | None = None
    """The view that was made of it."""
    error: CasError | None = None
    """Why it is gone."""

    def json(self) -> dict[str, Any]:
        """Return it as ``cas checkout --json`` says it."""
        return {"name": self.name, "tree": self.tree, "state": self.state, "path": self.path}


def bring_trees(
    project: Project,
    shown: Mapping[str, Any],
    *,
    outputs: bool,
    offline: bool,
    progress: Progress,
) -> list[Had]:
    """Bring the trees of an experiment (``experiments.show``), and what it kept, into the store.

    What can't be had is ``gone``, with its error. *outputs*: also what the experiment made.
    """
    _bring_kept(project, shown["run"], offline=offline, progress=progress)
    own = lock_of(project, shown)
    locks = [lock for lock in (own, project.read_lock()) if lock is not None]
    uses = {
        (use["name"], use["tree"]): use
        for use in shown["assets"]
        if outputs or use["role"] != "output"
    }
    found = []
    with _announced(project, [tree for _, tree in uses]):
        for use in uses.values():
            had = Had(name=use["name"], role=use["role"], tree=use["tree"], state="here")
            try:
                digest = parse_tree_id(use["tree"])
                asset, lock = _asset(use, digest, locks)
                _bring(project, had, digest, asset, lock, offline=offline, progress=progress)
            except (CasError, ValueError) as error:
                had.state = "gone"
                had.error = error if isinstance(error, CasError) else StoreError(str(error))
            found.append(had)
    return found


def _bring_kept(
    project: Project, run: Mapping[str, Any], *, offline: bool, progress: Progress
) -> None:
    """Bring the lock, the changes and the packages of a run; what no remote has is left out."""
    store = project.store
    named = {str(run[key]) for key in ("lock", "git_diff", "packages") if is_digest(run[key])}
    missing = {Digest(digest) for digest in named if not store.has(Digest(digest))}
    if missing and not store.readonly:
        bringer = Bringer(project, Lockfile(), progress=progress, offline=offline, jobs=8)
        bring_kept(bringer, missing)


def lock_of(project: Project, shown: Mapping[str, Any]) -> Lockfile | None:
    """Return the lock that an experiment had, or None if it is gone or can't be read."""
    data = read_kept(project, shown["run"]["lock"])
    try:
        return lockfile.parse(data) if data else None
    except CasError:
        return None


def read_kept(project: Project, digest: str | None) -> bytes | None:
    """Return an object that a record names, or None if there is none, or it is gone."""
    if not is_digest(digest):
        return None
    try:
        return read_object(project.store, Digest(str(digest)))
    except CasError:
        return None


def _bring(
    project: Project,
    had: Had,
    digest: Digest,
    asset: Asset | None,
    lock: Lockfile,
    *,
    offline: bool,
    progress: Progress,
) -> None:
    found = project.stores.where(digest)
    if found is None:
        _, why = standing(project.store, digest)
        project.store.need_writable()
        for attempt in range(TRIES):
            bringer = Bringer(project, lock, progress=progress, offline=offline, jobs=8)
            try:
                if asset is not None:
                    bringer.bring(asset)
                elif not bring_tree(bringer, digest, had.name):
                    raise StoreError(f"{had.name!r}: {why}, and no source is known to have it")
                break
            except Vanished:
                if attempt == TRIES - 1:
                    raise
        had.state = "fetched"
        found = project.stores.where(digest)
    store = found[0] if found else project.store
    note_use(store, digest, time.time())
    tree = store.tree(digest)
    file = asset.file if asset else _only_file(project, had.name, digest)
    had.target = os.path.join(tree, file) if file else tree


def _only_file(project: Project, name: str, digest: Digest) -> str | None:
    """Return the file of a tree that no lock knows, where it has one that ends as its name does.

    That is what a run has put into the store as one file, ``best.pt`` as ``models/exp_002.pt``.
    """
    listing = project.stores.listing(digest)
    if listing is None or len(listing) != 1:
        return None
    (path, _) = listing.entries[0]
    ending = os.path.splitext(name)[1]
    return path if "/" not in path and ending == os.path.splitext(path)[1] != "" else None


def _asset(
    use: Mapping[str, Any], digest: Digest, locks: list[Lockfile]
) -> tuple[Asset | None, Lockfile]:
    """Return what says how a tree can be had, and the lock that it is of."""
    for lock in locks:
        fits = [asset for asset in lock if asset.tree == digest]
        if fits:
            return next((a for a in fits if a.name == use["name"]), fits[0]), lock
    kind, repo = kind_of(use["name"]), use["name"].partition("/")[2]
    if not use["commit"] or kind not in ("datasets", "models", "spaces"):
        return None, Lockfile()
    check_name(use["name"])
    request = HubRequest(kind=kind.removesuffix("s"), repo=repo)
    asset = Asset(
        name=use["name"], request=request, tree=digest, files=0, size=0, repo=repo,
        commit=use["commit"],
    )  # fmt: skip
    return asset, Lockfile()


@contextmanager
def _announced(project: Project, trees: list[str]) -> Iterator[None]:
    """Let gc know of the trees while they are brought."""
    store = project.store
    digests = [Digest(t.removeprefix("t1:")) for t in trees if is_digest(t.removeprefix("t1:"))]
    if store.readonly or not digests:
        yield
        return
    root = project.root_id(draw=True) or ""
    with shared_gc_mutex(store):
        call = announce(store, root, path=project.root, trees=digests)
    try:
        yield
    finally:
        end(call)


def worst(found: list[Had]) -> CasError | None:
    """Return one error for all that is gone, Offline only where all of it is for that."""
    errors = [had.error for had in found if had.error]
    if not errors:
        return None
    kind = Offline if all(isinstance(error, Offline) for error in errors) else CasError
    if len(errors) == 1:
        return errors[0]
    lines = "".join(f"\n  {error}" for error in errors)
    return kind(f"{len(errors)} of {len(found)} trees can't be had:{lines}",
                hint=next((error.hint for error in errors if error.hint), None))  # fmt: skip
