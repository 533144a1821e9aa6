"""verify: read back what is stored.

Objects: by default size, mtime and mode against the index, and the hash where they don't
fit; ``fast`` reads every byte for XXH3-128, ``full`` for SHA-256. Trees: names, modes, and
that each file is its object's inode, else it is hashed. What is found bad is marked, so that
nobody is given it before it is repaired.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cas.digest import Digest, hash_path, xxh3_fd
from cas.files import discard
from cas.store import index, trees
from cas.store.index import Known
from cas.store.objects import read_listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cas.listing import Listing
    from cas.store.layout import Store

__all__ = ["Bad", "Level", "Verified", "verify"]

Level = Literal["stat", "fast", "full"]

THREADS = 2
TOGETHER = 64  # small objects that one thread takes at once


@dataclass(frozen=True, slots=True)
class Bad:
    """One thing that is not what its name says."""

    hash: Digest
    """Of the object, or of the tree's listing."""
    reason: str
    tree: bool
    """Whether it is a tree and not an object."""


@dataclass(slots=True)
class Verified:
    """What was read, and what was found."""

    objects: int = 0
    """Objects, listings too."""
    bytes: int = 0
    bad: list[Bad] = field(default_factory=list)
    trees: set[Digest] = field(default_factory=set)
    """The trees that hold something bad."""


def verify(
    store: Store,
    only: Iterable[Digest] | None = None,
    *,
    level: Level = "stat",
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Read back the trees *only* with their objects, or the whole store.

    *progress* is given (files, bytes) as they are done. Bad trees are marked.
    """
    chosen = sorted(set(only)) if only is not None else [digest for digest, _ in store.trees()]
    result = Verified()
    listings: dict[Digest, Listing] = {}
    wanted: set[Digest] | None = None if only is None else set(chosen)
    for digest in chosen:
        if (listing := read_listing(store, digest)) is not None:
            listings[digest] = listing
            if wanted is not None:
                wanted.update(entry.digest for entry in listing)
    here = {
        digest: entry.stat(follow_symlinks=False)
        for digest, entry in store.objects()
        if wanted is None or digest in wanted
    }
    _objects(store, here, level, result, progress)
    bad_objects = {bad.hash for bad in result.bad}
    for digest in chosen:
        if not os.path.isdir(store.tree(digest)):
            continue
        reason = _tree(store, digest, listings.get(digest), here)
        if reason:
            result.bad.append(Bad(digest, reason, tree=True))
        held = {entry.digest for entry in listings.get(digest, ())}
        if reason or held & bad_objects:
            result.trees.add(digest)
            trees.mark_bad(store, digest, reason or "an object in it is damaged")
        elif os.path.lexists(store.tree(digest) + ".bad") and store.readonly is None:
            discard(store.tree(digest) + ".bad")
    return result


def _objects(
    store: Store,
    here: dict[Digest, os.stat_result],
    level: Level,
    result: Verified,
    progress: Callable[[int, int], None] | None,
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    remembered = index.known(store, here)
    proved: dict[Digest, Known] = {}
    chunks: list[list[Digest]] = [[]]
    weight = 0
    for digest, status in here.items():
        chunks[-1].append(digest)
        weight += status.st_size
        if len(chunks[-1]) >= TOGETHER or weight > 8 << 20:
            chunks.append([])
            weight = 0

    def work(part: list[Digest]) -> list[tuple[Digest, str, Known | None]]:
        return [(d, *_object(store, d, here[d], remembered.get(d), level)) for d in part]

    with ThreadPoolExecutor(THREADS) as pool:
        for answers in pool.map(work, chunks):
            size = 0
            for digest, reason, now in answers:
                result.objects += 1
                size += here[digest].st_size
                if reason:
                    result.bad.append(Bad(digest, reason, tree=False))
                elif now:
                    proved[digest] = now
            result.bytes += size
            if progress:
                progress(len(answers), size)
    index.remember(store, proved)


def _object(
    store: Store, digest: Digest, status: os.stat_result, entry: Known | None, level: Level
) -> tuple[str, Known | None]:
    """Return (what is wrong with an object or ``""``, what to remember of it)."""
    path = store.object(digest)
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file", None
    if level == "stat" and entry and entry.fits(status) and not status.st_mode & 0o222:
        return "", None
    try:
        if level == "fast" and entry:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                xxh3, size = xxh3_fd(fd)
            finally:
                os.close(fd)
            if xxh3 == entry.xxh3:
                fits = Known(size, status.st_mtime_ns, status.st_ino, xxh3)
                return _mode(status), None if entry.fits(status) else fits
            return f"its bytes changed: expected xxh3 {entry.xxh3}, found {xxh3}", None
        sums = hash_path(path)
    except OSError as error:
        return f"it can't be read: {error.strerror}", None
    if sums.sha256 != digest:
        return f"its bytes changed: found sha256 {sums.sha256}", None
    return _mode(status), Known(sums.size, status.st_mtime_ns, status.st_ino, sums.xxh3)


def _mode(status: os.stat_result) -> str:
    mode = stat.S_IMODE(status.st_mode)
    return f"it can be written: mode {mode:04o}, expected 0444" if mode & 0o222 else ""


def _tree(
    store: Store, digest: Digest, listing: Listing | None, here: dict[Digest, os.stat_result]
) -> str:
    """Return what is wrong with a standing tree, or ``""``."""
    path = store.tree(digest)
    if listing is None:
        return "its listing is lost or damaged"
    found = trees.walk(path)
    expected = {entry.path: entry.digest for entry in listing}
    if missing := expected.keys() - found.keys():
        return f"{len(missing)} files are missing, as {min(missing)!r}"
    if extra := found.keys() - expected.keys():
        return f"{len(extra)} files are not its own, as {min(extra)!r}"
    for name in listing.directories():
        mode = stat.S_IMODE(os.stat(os.path.join(path, name)).st_mode)
        if mode & 0o222:
            return f"its directory {name or '.'!r} can be written: mode {mode:04o}, expected 0555"
    for name, wanted in expected.items():
        status = found[name]
        its = here.get(wanted)
        if its and (its.st_ino, its.st_dev) == (status.st_ino, status.st_dev):
            continue
        try:
            fd = os.open(os.path.join(path, name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            return f"{name!r} can't be read: {error.strerror}"
        os.close(fd)
        if hash_path(os.path.realpath(os.path.join(path, name))).sha256 != wanted:
            return f"{name!r} has other bytes than its object"
        if its is None:
            return f"the object of {name!r} is missing"
    return ""
