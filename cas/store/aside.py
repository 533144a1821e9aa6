"""Trees that gc takes their names, and can still give them back.

A tree is renamed before it is emptied, so that no partial tree has a final name. Between the
two gc looks again who needs it: a call names its trees before it looks for them, so it either
finds a tree gone, or is found by gc, whatever the mutex is worth (I9).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.files import discard, sync_all, temporary_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.digest import Digest
    from cas.store.layout import Store

__all__ = ["put_aside", "put_back", "remove"]


def put_aside(store: Store, digest: Digest) -> str | None:
    """Take a tree and its sidecar their final names; return what the tree is called now.

    Returns None if it is not there, or another user's and not ours to remove.
    """
    path = store.tree(digest)
    work = os.path.join(os.path.dirname(path), temporary_name())
    try:
        os.rename(path, work)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        os.rename(path + ".json", work + ".json")
    except OSError:
        pass  # it was lost before
    return work


def put_back(store: Store, aside: Mapping[Digest, str]) -> None:
    """Give trees that were put aside their names again; who made one anew keeps it."""
    for digest, work in aside.items():
        path = store.tree(digest)
        for end in (".json", ""):
            if not os.path.lexists(path + end):
                try:
                    os.rename(work + end, path + end)
                except OSError:
                    pass  # lost before, or made anew since the look
            discard(work + end)
    if aside:
        sync_all({os.path.dirname(work) for work in aside.values()}, on=store.root)


def remove(store: Store, aside: Mapping[Digest, str]) -> None:
    """Remove trees that were put aside, for good."""
    for digest, work in aside.items():
        discard(work + ".json")
        for end in (".used", ".bad"):
            discard(store.tree(digest) + end)
    if aside:  # no power cut may leave an emptied tree with its final name
        sync_all({os.path.dirname(work) for work in aside.values()}, on=store.root)
    for work in aside.values():
        discard(work)
