"""Mend: a damaged tree becomes what its listing says, file by file, under its readers.

A file is put again by rename, so that who reads the tree sees the old file or the good one.
The mark of damage goes last.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from cas.digest import Digest, hash_path
from cas.files import discard, fsync_dir, replace, sync_all, temporary_name
from cas.store.damage import unmark
from cas.store.sidecar import Sidecar, read_sidecar
from cas.store.trees import build, link_object
from cas.store.whole import mtimes, walk

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from cas.listing import Listing
    from cas.store.layout import Store

__all__ = ["mend", "recover"]


def recover(store: Store, listing: Listing) -> set[Digest]:
    """Give objects that are gone their names again where the tree still has their bytes.

    A tree holds its objects by hard links: who deletes an object leaves the bytes there.
    Returns the digests that came back, durable.
    """
    tree = store.tree(listing.digest)
    back: set[Digest] = set()
    for path, wanted in listing:
        final = store.object(wanted)
        where = os.path.join(tree, path)
        try:
            if os.path.lexists(final) or hash_path(where).sha256 != wanted:
                continue
            store.make_dir(os.path.dirname(final))
            os.link(where, final)
        except OSError:
            continue  # what can't be linked back is fetched from its source
        back.add(wanted)
    names = [store.object(digest) for digest in back]
    sync_all({*names, *(os.path.dirname(name) for name in names)}, on=store.root)
    return back


def mend(
    store: Store, listing: Listing, renew: Container[Digest], origin: Mapping[str, Any]
) -> None:
    """Make a standing tree what its listing says.

    Files whose objects are in *renew*, that are missing, or that are neither their object's
    inode nor its bytes are put again; what is not its own is taken out. *origin* is what the
    sidecar says where the old one is lost.
    Raises Vanished if an object is not here.
    """
    digest = listing.digest
    tree = store.tree(digest)
    if not os.path.isdir(tree):
        build(store, listing, origin)
        return
    directories = [os.path.join(tree, name) if name else tree for name in listing.directories()]
    for directory in directories:
        if not stat.S_ISDIR(_mode(directory)):
            discard(directory)
            os.mkdir(directory, 0o755)
        os.chmod(directory, 0o755)
    sizes = []
    try:
        _take_out(tree, listing, {*directories})
        for path, wanted in listing:
            where = os.path.join(tree, path)
            if wanted in renew or not _is_object(store, where, wanted):
                _put_again(store, tree, where, path, wanted)
            sizes.append(os.stat(where).st_size)
    finally:
        for directory in reversed(directories):
            os.chmod(directory, 0o555)
    sync_all(directories, on=store.root)
    old = read_sidecar(store, digest)
    sidecar = Sidecar(
        origin=old.origin if old else origin,
        size=sum(sizes),
        sizes=tuple(sizes),
        directories=mtimes(tree, listing),
    )
    replace(tree + ".json", sidecar.data(digest), mode=0o444)
    unmark(store, digest)
    fsync_dir(os.path.dirname(tree))


def _take_out(tree: str, listing: Listing, directories: set[str]) -> None:
    for path in walk(tree).keys() - {entry.path for entry in listing}:
        where = os.path.join(tree, path)
        if os.path.dirname(where) in directories:
            discard(where)
            continue
        while os.path.dirname(where) not in directories:
            where = os.path.dirname(where)
        discard(where)  # a directory that is not its own, with all that is in it


def _put_again(store: Store, tree: str, where: str, path: str, wanted: Digest) -> None:
    work = os.path.join(os.path.dirname(tree), temporary_name())
    try:
        if link_object(store, wanted, work, path, single=True):
            sync_all([work], on=store.root)
        if stat.S_ISDIR(_mode(where)):
            discard(where)
        os.replace(work, where)
    finally:
        discard(work)


def _is_object(store: Store, where: str, wanted: Digest) -> bool:
    """Say whether a file is its object, or a read-only copy of it."""
    try:
        ours, its = os.stat(where), os.stat(store.object(wanted))
        if (ours.st_ino, ours.st_dev) == (its.st_ino, its.st_dev):
            return True
        if hash_path(where).sha256 != wanted:
            return False
        os.chmod(where, 0o444)
    except OSError:
        return False
    return True


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0
