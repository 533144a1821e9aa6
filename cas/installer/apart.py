"""Apart: what does not go into a shared store goes into the user's own, beside it.

That is what is gated or private, and what is made of it, unless ``[tool.cas] share`` names it;
and what can't be had in the shared store because another user spoilt a name there. What a
store that can be read has already is copied from there, hashed, and not fetched again.
"""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING

from cas.digest import open_to_read
from cas.errors import CasError
from cas.project.requests import shared_names
from cas.request import RecipeRequest
from cas.store import Publisher, announce, end, settle, shared_gc_mutex, usable

if TYPE_CHECKING:
    from cas.digest import Digest
    from cas.installer.bring import Bringer
    from cas.listing import Listing
    from cas.lockfile import Asset, Lockfile
    from cas.project import Project
    from cas.store import Staged, Store

__all__ = ["access_of", "borrow", "bring_apart", "goes_apart", "into_own", "is_apart", "store_for"]


def access_of(lock: Lockfile, asset: Asset) -> str | None:
    """Return ``gated`` or ``private`` where an asset is, or something that it is made of."""
    found = {asset.name: asset}
    todo = [asset]
    while todo:
        one = todo.pop()
        if one.access:
            return one.access
        if isinstance(one.request, RecipeRequest):
            inputs = (lock.assets.get(name) for name in one.request.inputs.values())
            new = [source for source in inputs if source and source.name not in found]
            found |= {source.name: source for source in new}
            todo += new
    return None


def is_apart(project: Project, name: str, access: str | None) -> bool:
    """Say whether an asset of that access goes into the user's own store."""
    if access is None or not project.store.shared:
        return False
    return name not in shared_names(project.requests_bytes())


def goes_apart(bringer: Bringer, asset: Asset) -> bool:
    """Say whether a bringer into the shared store has to bring an asset into another."""
    project = bringer.project
    if bringer.store is not project.store or not project.store.shared:
        return False
    return is_apart(project, asset.name, access_of(bringer.lock, asset))


def store_for(project: Project, lock: Lockfile, asset: Asset) -> Store:
    """Return the store that takes an asset, or what is made of it; raise StoreError."""
    if project.store.shared and is_apart(project, asset.name, access_of(lock, asset)):
        return project.stores.make_own()
    return project.store


def into_own(bringer: Bringer) -> Bringer:
    """Return a bringer into the user's own store; raise StoreError where there is none."""
    own = bringer.project.stores.make_own()
    other = copy.copy(bringer)
    other.enter(own)
    return other


def bring_apart(bringer: Bringer, asset: Asset) -> str:
    """Make the tree of *asset* stand in the user's own store, held there; return its path."""
    other = into_own(bringer)
    project, store = bringer.project, other.store
    root = project.root_id(draw=True) or ""
    with shared_gc_mutex(store):
        call = announce(store, root, path=project.root, trees=[asset.tree])
    try:
        path = other.bring(asset)
        trees = {asset.tree, *(one.tree for one in bringer.lock)}
        settle(store, root, path=project.root, lock=None, trees=trees, keep_experiments=True)
    finally:
        bringer.files += other.files
        bringer.bytes += other.bytes
        end(call)
    return path


def borrow(bringer: Bringer, listing: Listing) -> bool:
    """Copy what is missing of a tree from the other stores that can be read, hashed on the way.

    Returns whether all of it is in the bringer's store now.
    """
    store = bringer.store
    others = [other for other in bringer.project.stores.readable if other.root != store.root]
    if not others:
        return False
    wanted: dict[Digest, int | None] = {entry.digest: None for entry in listing}
    missing = wanted.keys() - usable(store, wanted)
    publisher = Publisher(store)
    came = set()
    for digest in sorted(missing):
        for other in others:
            if staged := _copied(bringer, other.object(digest), digest):
                publisher.add(staged)
                came.add(digest)
                break
    publisher.flush()
    return missing == came


def _copied(bringer: Bringer, path: str, digest: Digest) -> Staged | None:
    """Stage a copy of an object of another store; None where it is not there, or not right."""
    try:
        fd = open_to_read(path)
    except OSError:
        return None
    try:
        size = os.fstat(fd).st_size
        staged = bringer.staging.open(path, size=size, sha256=digest)
        try:
            if staged.offset:
                staged.restart()
            staged.copy_from(fd, size)
            staged.finish()
        except BaseException as error:
            staged.abandon(keep=False)
            if isinstance(error, CasError):
                return None
            raise
        return staged
    finally:
        os.close(fd)
