"""Damage: what is not what its name says goes to quarantine, and the trees that hold it are marked.

A tree that is marked is given to nobody until it is mended.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from cas.digest import Digest, open_to_read
from cas.errors import StoreError
from cas.files import discard, replace, temporary_name
from cas.store import index
from cas.store.reading import read_listing
from cas.warm import is_marked, make_cache_dir, private_mark

if TYPE_CHECKING:
    from cas.store.layout import Store

__all__ = ["Spoiled", "mark_bad", "quarantine", "unmark"]


class Spoiled(StoreError):
    """A name in a shared store is taken by what is not it, and is not ours to take away.

    What it should be can be had all the same, in another store.
    """


def quarantine(store: Store, digest: Digest, seen: os.stat_result | None = None) -> None:
    """Take an object that failed a check out of the way, keeping its bytes to look at.

    *seen* is what was checked: a good object that came in its place meanwhile is put back.
    The trees that link it are marked, for their bytes are the same. Raises Spoiled where it is
    another user's of a shared store, and so stays.
    """
    store.need_writable()
    store.make_dir(store.place("quarantine"))
    target = store.place("quarantine", f"{digest}{temporary_name().replace('.cas-', '.')}")
    index.forget(store, [digest])
    try:
        os.rename(store.object(digest), target)
    except FileNotFoundError:
        return
    except PermissionError:
        if not store.shared:
            raise
        if spoiled := _spoiled(store, digest):
            raise spoiled from None
        return
    moved = os.lstat(target)
    if seen and (seen.st_dev, seen.st_ino) != (moved.st_dev, moved.st_ino):
        try:
            os.link(target, store.object(digest))
        except OSError as error:
            if error.errno != errno.EEXIST:
                os.rename(target, store.object(digest))
        discard(target)
        return
    for tree, _ in store.trees():
        if not is_marked(store.tree(tree)) and _names_it(store, tree, digest):
            mark_bad(store, tree, f"its object {digest} is damaged")


def _spoiled(store: Store, digest: Digest) -> Spoiled | None:
    """Mark the trees that link a bad object of another user's, and return the error for it.

    None where it went meanwhile.
    """
    from cas.store.trust import user_name

    path = store.object(digest)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    for tree, _ in store.trees():
        for name, its in read_listing(store, tree) or ():
            try:
                linked = its == digest and os.path.samestat(
                    os.stat(f"{store.tree(tree)}/{name}"), status
                )
            except OSError:
                continue
            if linked:
                mark_bad(store, tree, f"its object {digest} is damaged")
    return Spoiled(
        f"{path} is damaged: user {user_name(status.st_uid)} put it there, who alone can remove it",
        hint="he, or the administrator of the store: cas verify --full --repair",
    )


def mark_bad(store: Store, digest: Digest, reason: str) -> None:
    """Mark that damage was found in a tree; ``standing`` refuses it until it is repaired.

    Where the store, or the tree, is another user's, the mark is in this user's cache, and for
    him alone: its owner could not take it away.
    """
    text = reason.encode() + b"\n"
    try:
        if store.readonly is None and not store.is_foreign(os.lstat(store.tree(digest))):
            replace(store.tree(digest) + ".bad", text, mode=0o644)
            return
    except OSError:
        pass
    try:
        make_cache_dir("bad")
        replace(private_mark(store.tree(digest)), text)
    except OSError:
        pass  # who asks is told all the same


def unmark(store: Store, digest: Digest) -> None:
    """Take the marks from a tree that was found good, or was mended."""
    tree = store.tree(digest)
    if store.readonly is None:
        discard(tree + ".bad")
    discard(private_mark(tree))


def _names_it(store: Store, tree: Digest, digest: Digest) -> bool:
    try:
        fd = open_to_read(store.object(tree))
    except OSError:
        return False
    with open(fd, "rb") as file:
        return f"\n{digest}  ".encode() in file.read()
