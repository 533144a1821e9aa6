"""verify: read back what is stored.

Objects: by default size, mtime and mode against the index, and the hash where they don't
fit; ``fast`` reads every byte for XXH3-128, ``full`` for SHA-256. Trees: names, modes, and
that each file is its object's inode, else it is hashed; their sidecars; and the roots. What
is found bad is marked, so that nobody is given it before it is repaired, and the mark goes
only when every byte below it was proved again. Memory does not grow with the store.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from cas.crew import Helpers
from cas.digest import Digest
from cas.errors import StoreError
from cas.files import sync_all
from cas.store import index, roots
from cas.store.damage import mark_bad, unmark
from cas.store.reading import read_listing
from cas.store.reread import Level, compare_files, read_objects
from cas.store.sidecar import read_sidecar
from cas.store.whole import files_in, names_differ
from cas.warm import is_marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cas.listing import Listing
    from cas.store.index import Known
    from cas.store.layout import Store
    from cas.store.reread import Part

__all__ = ["Bad", "Level", "Verified", "verify"]

REMEMBERED = 4096  # objects that the index is told of at once


class Bad(NamedTuple):
    """One thing that is not what its name says."""

    hash: Digest
    """Of the object, or of the tree's listing; a root's id."""
    reason: str
    tree: bool
    """Whether it is a tree and not an object."""


class Verified:
    """What was read, and what was found."""

    def __init__(self) -> None:
        self.objects = 0
        """Objects, listings too."""
        self.bytes = 0
        self.bad: list[Bad] = []
        self.hint: str | None = None
        """What to do about what kept a repair from its work, where that can be said."""
        self.trees: set[Digest] = set()
        """The trees that hold something bad."""
        self.roots: list[str] = []
        """The ids of roots that can't be read."""


def verify(
    store: Store,
    only: Iterable[Digest] | None = None,
    *,
    level: Level = "stat",
    cold: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Read back the trees *only* with their objects, or the whole store.

    *progress* is given (files, bytes) as they are done. Bad trees are marked, those of other
    assets that hold a bad object too. *cold* drops cached pages first, so that the disk is
    read and not the memory.
    """
    chosen = sorted(set(only)) if only is not None else None
    result = Verified()
    with Helpers() as helpers:
        found = read_objects(
            store, chosen, level=level, doubtful=_marked(store, chosen), cold=cold, helpers=helpers
        )
        bad = _objects(store, found, result, progress)
        _trees(store, chosen, bad, result, helpers)
    if chosen is not None and bad:
        _mark_others(store, bad, {*chosen}, result)
    if chosen is None:
        _roots(store, result)
    return result


def _objects(
    store: Store,
    found: Iterable[Part],
    result: Verified,
    progress: Callable[[int, int], None] | None,
) -> set[Digest]:
    """Take up what was found in the objects, and remember it; return the bad ones."""
    bad: dict[Digest, str] = {}
    proved: dict[Digest, Known] = {}
    for part in found:
        result.objects += part.objects
        result.bytes += part.bytes
        bad.update(part.bad)
        proved.update(part.proved)
        if progress:
            progress(part.objects, part.bytes)
        if len(proved) >= REMEMBERED:
            index.remember(store, proved)
            proved.clear()
    index.remember(store, proved)
    index.forget(store, bad)
    result.bad += [Bad(digest, reason, tree=False) for digest, reason in sorted(bad.items())]
    return set(bad)


def _trees(
    store: Store,
    chosen: list[Digest] | None,
    bad: set[Digest],
    result: Verified,
    helpers: Helpers,
) -> None:
    for digest in _each_tree(store, chosen):
        listing = read_listing(store, digest)
        reason = _tree(store, digest, listing, helpers)
        if reason:
            result.bad.append(Bad(digest, reason, tree=True))
        elif read_sidecar(store, digest) is None and os.path.isdir(store.tree(digest)):
            # no mark for it: until it is written again the tree counts as local, and is whole
            result.bad.append(Bad(digest, "its sidecar is lost or damaged", tree=True))
            result.trees.add(digest)
        inner = bad and bad.intersection(entry.digest for entry in listing or ())
        if reason or inner:
            result.trees.add(digest)
            mark_bad(store, digest, reason or "an object in it is damaged")
        elif is_marked(store.tree(digest)):
            if store.readonly is None:
                # who mended it may have been stopped before its names were durable
                sync_all(_directories(store, digest, listing), on=store.root)
            unmark(store, digest)


def _each_tree(store: Store, chosen: list[Digest] | None) -> Iterator[Digest]:
    if chosen is None:
        yield from (digest for digest, _ in store.trees())
    else:
        yield from (digest for digest in chosen if os.path.isdir(store.tree(digest)))


def _directories(store: Store, digest: Digest, listing: Listing | None) -> list[str]:
    names = listing.directories() if listing else [""]
    return [os.path.join(store.tree(digest), name) for name in names]


def _marked(store: Store, chosen: list[Digest] | None) -> set[Digest]:
    """Return the objects of trees that are marked: an index does not vouch for them."""
    doubtful: set[Digest] = set()
    for digest in _each_tree(store, chosen):
        if is_marked(store.tree(digest)):
            doubtful.add(digest)
            doubtful.update(entry.digest for entry in read_listing(store, digest) or ())
    return doubtful


def _mark_others(store: Store, bad: set[Digest], chosen: set[Digest], result: Verified) -> None:
    for digest, _ in store.trees():
        if digest not in chosen:
            listing = read_listing(store, digest)
            if digest in bad or any(entry.digest in bad for entry in listing or ()):
                result.trees.add(digest)
                mark_bad(store, digest, "an object in it is damaged")


def _roots(store: Store, result: Verified) -> None:
    for root in roots.root_ids(store):
        try:
            roots.read_root(store, root)
        except StoreError as error:
            result.roots.append(root)
            result.bad.append(Bad(Digest(root), str(error), tree=False))


def _tree(store: Store, digest: Digest, listing: Listing | None, helpers: Helpers) -> str:
    """Return what is wrong with a standing tree, or ``""``."""
    path = store.tree(digest)
    if listing is None:
        return "its listing is lost or damaged"
    try:
        if why := names_differ(listing, {name for name, _ in files_in(path)}):
            return why
        for name in listing.directories():
            mode = stat.S_IMODE(os.stat(os.path.join(path, name)).st_mode)
            if mode & 0o222:
                return f"its directory {name or '.'!r} can be written: mode {mode:04o}, not 0555"
        return compare_files(store, digest, listing, helpers)
    except OSError as error:
        if not os.path.lexists(path):
            return ""  # gc was faster
        return f"it can't be read: {error.strerror} ({error.filename})"
