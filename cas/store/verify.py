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
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cas.digest import Digest, drop_cached, hash_fd, hash_path, open_to_read, xxh3_fd
from cas.errors import StoreError
from cas.files import sync_all
from cas.store import index, roots
from cas.store.damage import mark_bad, unmark
from cas.store.index import Known
from cas.store.reading import read_listing
from cas.store.sidecar import read_sidecar
from cas.store.whole import names_differ, walk
from cas.warm import is_marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor, Future

    from cas.listing import Listing
    from cas.store.layout import Store

__all__ = ["Bad", "Level", "Verified", "verify"]

Level = Literal["stat", "fast", "full"]

TOGETHER = 64  # small objects that one thread takes at once
TOGETHER_BYTES = 8 << 20
AHEAD = 16  # batches under way
LOOKED_UP = 4096  # objects that the index is asked for at once
MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Bad:
    """One thing that is not what its name says."""

    hash: Digest
    """Of the object, or of the tree's listing; a root's id."""
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
    hint: str | None = None
    """What to do about what kept a repair from its work, where that can be said."""
    trees: set[Digest] = field(default_factory=set)
    """The trees that hold something bad."""
    roots: list[str] = field(default_factory=list)
    """The ids of roots that can't be read."""


Checked = tuple[Digest, int, str, "Known | None"]


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
    doubtful = _marked(store, chosen)
    bad = _Objects(store, level, doubtful, result, progress, cold=cold).check(chosen)
    for digest in _each_tree(store, chosen):
        listing = read_listing(store, digest)
        reason = _tree(store, digest, listing)
        if reason:
            result.bad.append(Bad(digest, reason, tree=True))
        elif read_sidecar(store, digest) is None and os.path.isdir(store.tree(digest)):
            # no mark for it: until it is written again the tree counts as local, and is whole
            result.bad.append(Bad(digest, "its sidecar is lost or damaged", tree=True))
            result.trees.add(digest)
        inner = {entry.digest for entry in listing or ()} & bad
        if reason or inner:
            result.trees.add(digest)
            mark_bad(store, digest, reason or "an object in it is damaged")
        elif is_marked(store.tree(digest)):
            if store.readonly is None:
                # who mended it may have been stopped before its names were durable
                sync_all(_directories(store, digest, listing), on=store.root)
            unmark(store, digest)
    if chosen is not None and bad:
        _mark_others(store, bad, {*chosen}, result)
    if chosen is None:
        _roots(store, result)
    return result


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


class _Objects:
    """Checks objects in a few threads, in batches, some ahead of what is told."""

    def __init__(
        self,
        store: Store,
        level: Level,
        doubtful: set[Digest],
        result: Verified,
        progress: Callable[[int, int], None] | None,
        *,
        cold: bool,
    ) -> None:
        self.store = store
        self.level: Level = level
        self.doubtful = doubtful
        self.result = result
        self.progress = progress
        self.cold = cold
        self.bad: set[Digest] = set()
        self.waiting: deque[Future[list[Checked]]] = deque()
        self.proved: dict[Digest, Known] = {}

    def check(self, chosen: list[Digest] | None) -> set[Digest]:
        """Check all objects, or those of the trees *chosen*; return the bad ones."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 2)) as pool:
            part: list[tuple[Digest, os.stat_result]] = []
            for found in self._here(chosen):
                part.append(found)
                if len(part) >= LOOKED_UP:
                    self._submit(pool, part)
                    part = []
            self._submit(pool, part)
            while self.waiting:
                self._take()
        self._remember()
        index.forget(self.store, self.bad)
        return self.bad

    def _here(self, chosen: list[Digest] | None) -> Iterator[tuple[Digest, os.stat_result]]:
        if chosen is None:
            for digest, entry in self.store.objects():
                try:
                    yield digest, entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
            return
        wanted = set(chosen)
        for digest in chosen:
            wanted.update(entry.digest for entry in read_listing(self.store, digest) or ())
        for digest in sorted(wanted):
            try:
                yield digest, os.lstat(self.store.object(digest))
            except OSError:
                continue

    def _submit(self, pool: Executor, part: list[tuple[Digest, os.stat_result]]) -> None:
        remembered = index.known(self.store, (digest for digest, _ in part))
        batch: list[tuple[Digest, os.stat_result, Known | None]] = []
        weight = 0
        for digest, status in part:
            batch.append((digest, status, remembered.get(digest)))
            weight += status.st_size
            if len(batch) >= TOGETHER or weight > TOGETHER_BYTES:
                self._start(pool, batch)
                batch, weight = [], 0
        if batch:
            self._start(pool, batch)

    def _start(
        self, pool: Executor, batch: list[tuple[Digest, os.stat_result, Known | None]]
    ) -> None:
        while len(self.waiting) >= AHEAD:
            self._take()
        self.waiting.append(pool.submit(self._work, batch))

    def _work(self, batch: list[tuple[Digest, os.stat_result, Known | None]]) -> list[Checked]:
        answers = []
        for digest, status, entry in batch:
            level: Level = "full" if digest in self.doubtful else self.level
            try:
                reason, now = _object(self.store, digest, status, entry, level, cold=self.cold)
            except FileNotFoundError:
                continue  # gc, or a repair, was faster
            answers.append((digest, status.st_size, reason, now))
        return answers

    def _take(self) -> None:
        size = 0
        answers = self.waiting.popleft().result()
        for digest, its, reason, now in answers:
            size += its
            if reason:
                self.bad.add(digest)
                self.result.bad.append(Bad(digest, reason, tree=False))
            elif now:
                self.proved[digest] = now
        self.result.objects += len(answers)
        self.result.bytes += size
        if self.progress:
            self.progress(len(answers), size)
        if len(self.proved) >= LOOKED_UP:
            self._remember()

    def _remember(self) -> None:
        proved, self.proved = self.proved, {}
        index.remember(self.store, proved)


def _object(
    store: Store,
    digest: Digest,
    status: os.stat_result,
    entry: Known | None,
    level: Level,
    *,
    cold: bool,
) -> tuple[str, Known | None]:
    """Return (what is wrong with an object or ``""``, what to remember of it)."""
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file", None
    if level == "stat" and entry and entry.fits(status):
        return _mode(status), None
    try:
        fd = open_to_read(store.object(digest))
    except FileNotFoundError:
        raise
    except OSError as error:
        return f"it can't be read: {error.strerror}", None
    try:
        if cold:
            drop_cached(fd)
        if level == "fast" and entry:
            xxh3, size = xxh3_fd(fd)
            if xxh3 == entry.xxh3:
                fits = Known(size, status.st_mtime_ns, status.st_ino, xxh3)
                return _mode(status), None if entry.fits(status) else fits
            os.lseek(fd, 0, os.SEEK_SET)  # the index is a hint: it may be what is wrong
        sums = hash_fd(fd)
    except OSError as error:
        return f"it can't be read: {error.strerror}", None
    finally:
        os.close(fd)
    if sums.sha256 != digest:
        return f"its bytes changed: found sha256 {sums.sha256}", None
    now = Known(sums.size, status.st_mtime_ns, status.st_ino, sums.xxh3)
    return _mode(status), None if now == entry else now


def _mode(status: os.stat_result) -> str:
    mode = stat.S_IMODE(status.st_mode)
    return f"it can be written: mode {mode:04o}, expected 0444" if mode & 0o222 else ""


def _tree(store: Store, digest: Digest, listing: Listing | None) -> str:
    """Return what is wrong with a standing tree, or ``""``."""
    path = store.tree(digest)
    if listing is None:
        return "its listing is lost or damaged"
    try:
        found = walk(path)
        if why := names_differ(listing, found):
            return why
        for name in listing.directories():
            mode = stat.S_IMODE(os.stat(os.path.join(path, name)).st_mode)
            if mode & 0o222:
                return f"its directory {name or '.'!r} can be written: mode {mode:04o}, not 0555"
        for name, wanted in listing:
            if why := _file(store, f"{path}/{name}", found[name], wanted):
                return f"{name!r} {why}"
    except OSError as error:
        if not os.path.lexists(path):
            return ""  # gc was faster
        return f"it can't be read: {error.strerror} ({error.filename})"
    return ""


def _file(store: Store, path: str, status: os.stat_result, wanted: Digest) -> str:
    try:
        its = os.lstat(store.object(wanted))
    except FileNotFoundError:
        its = None
    if its and (its.st_ino, its.st_dev) == (status.st_ino, status.st_dev):
        return ""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return "is no regular file, and no link to its object"
    if hash_path(path).sha256 != wanted:
        return "has other bytes than its object"
    if its is None:
        return "has no object"
    mode = stat.S_IMODE(status.st_mode)
    return f"can be written: mode {mode:04o}, expected 0444" if mode & 0o222 else ""
