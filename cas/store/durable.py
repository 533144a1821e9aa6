"""Durable: the names of trees that stand, synced before anything leads to them."""

from __future__ import annotations

import os

from cas.files import sync_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cas.digest import Digest
    from cas.store.layout import Store

__all__ = ["make_durable"]


def make_durable(store: Store, digests: Iterable[Digest] | None = None) -> None:
    """Sync the names of trees that stand: whoever made them may have been stopped before that.

    Call it before a view is pointed at a tree that was found (I3). Without *digests*, sync
    the names of all objects and trees.
    """
    if store.readonly:
        return
    if digests is None:
        rooms = [store.place(room) for room in ("objects", "trees")]
        parents = {entry.path for room in rooms for entry in os.scandir(room) if entry.is_dir()}
        parents |= set(rooms)
    else:
        inside = [digest for digest in digests if os.path.isdir(store.tree(digest))]
        if not inside:  # they stand in other stores
            return
        parents = {os.path.dirname(store.tree(digest)) for digest in inside}
        parents.add(store.place("trees"))
    sync_all([*parents, store.root], on=store.root)
