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
from cas.project.access import access_of, is_apart
from cas.store import Publisher, announce, end, settle, shared_gc_mutex, usable

if TYPE_CHECKING:
    from cas.digest import Digest
    from cas.installer.bring import Bringer
    from cas.listing import Listing
    from cas.lockfile import Asset
    from cas.store import Staged

__all__ = ["borrow", "bring_apart", "goes_apart", "into_own"]


def goes_apart(bringer: Bringer, asset: Asset) -> bool:
    """Say whether a bringer into the shared store has to bring an asset into another."""
    project = bringer.project
    if bringer.store is not project.store or not project.store.shared:
        return False
    return is_apart(project, asset.name, access_of(bringer.lock, asset))


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
