"""Reread: objects and the files of trees, read back and compared with what they should be.

Small ones are read one after the other, in parts that this thread and processes share:
threads would wait for each other. Large objects are read by threads beside it, one each.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple

from cas.crew import cores
from cas.digest import Digest, drop_cached, hash_fd, hash_path, open_to_read, xxh3_fd
from cas.store import index
from cas.store.index import Known
from cas.store.reading import read_listing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from cas.crew import Helpers
    from cas.listing import Listing
    from cas.store.layout import Store

__all__ = ["Level", "Part", "compare_files", "read_objects"]

Level = Literal["stat", "fast", "full"]

TOGETHER = 512  # objects, or files, that are one part: about 5 ms
LARGE = 1 << 20  # bytes; a larger object is read by a thread of its own
AHEAD = 16  # large objects under way
MOST_THREADS = 8
STRANGE = "it is no regular file"


class Part(NamedTuple):
    """What was found in some objects."""

    objects: int
    bytes: int
    bad: list[tuple[Digest, str]]
    """Those that are not what their names say, and why."""
    proved: dict[Digest, Known]
    """What is to be remembered."""
    large: list[tuple[Digest, Known | None]]
    """Those that were left to others, and what is remembered of them."""


def read_objects(
    store: Store,
    chosen: Sequence[Digest] | None,
    *,
    level: Level,
    doubtful: set[Digest],
    cold: bool,
    helpers: Helpers,
) -> Iterator[Part]:
    """Read all objects, or those of the trees *chosen*, the *doubtful* ones in full."""
    from concurrent.futures import ThreadPoolExecutor

    here = _here(store, chosen)
    parts = iter(lambda: list(islice(here, TOGETHER)), [])
    tasks = ((store, part, level, doubtful.intersection(part), cold) for part in parts)
    waiting: deque[Future[Part]] = deque()
    with ThreadPoolExecutor(min(MOST_THREADS, cores())) as threads:
        try:
            for part in helpers.run(_read_part, tasks):
                yield part
                for digest, entry in part.large:
                    if len(waiting) >= AHEAD:
                        yield waiting.popleft().result()
                    its: Level = "full" if digest in doubtful else level
                    waiting.append(
                        threads.submit(_read_known, store, [(digest, entry, its)], cold, None)
                    )
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _here(store: Store, chosen: Sequence[Digest] | None) -> Iterator[Digest]:
    if chosen is None:
        yield from (digest for digest, _ in store.objects())
        return
    wanted = set(chosen)
    for digest in chosen:
        wanted.update(entry.digest for entry in read_listing(store, digest) or ())
    yield from sorted(wanted)


def _read_part(
    store: Store,
    digests: Sequence[Digest],
    level: Level,
    doubtful: set[Digest],
    cold: bool,  # noqa: FBT001 - a task's
) -> Part:
    remembered = index.known(store, digests)
    known = [(d, remembered.get(d), "full" if d in doubtful else level) for d in digests]
    return _read_known(store, known, cold, LARGE)


def _read_known(
    store: Store,
    known: Sequence[tuple[Digest, Known | None, Level]],
    cold: bool,  # noqa: FBT001
    most: int | None,
) -> Part:
    """Read objects, but leave those of more than *most* bytes."""
    objects = size = 0
    bad: list[tuple[Digest, str]] = []
    proved: dict[Digest, Known] = {}
    large: list[tuple[Digest, Known | None]] = []
    for digest, entry, level in known:
        try:
            found = _read(store, digest, entry, level, cold=cold, most=most)
        except FileNotFoundError:
            continue  # gc, or a repair, was faster; or it is missed in its tree
        if found is None:
            large.append((digest, entry))
            continue
        objects += 1
        size += found[0]
        if found[1]:
            bad.append((digest, found[1]))
        elif found[2]:
            proved[digest] = found[2]
    return Part(objects, size, bad, proved, large)


def _read(
    store: Store,
    digest: Digest,
    entry: Known | None,
    level: Level,
    *,
    cold: bool,
    most: int | None,
) -> tuple[int, str, Known | None] | None:
    """Return (bytes, what is wrong with an object or ``""``, what to remember of it).

    None if it has more than *most* bytes and would have to be read.
    """
    path = store.object(digest)
    if level == "stat":
        status = os.lstat(path)
        if entry and entry.fits(status) and stat.S_ISREG(status.st_mode):
            return status.st_size, _mode(status), None
    try:
        fd = open_to_read(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        status = os.lstat(path)
        why = f"it can't be read: {error.strerror}" if stat.S_ISREG(status.st_mode) else STRANGE
        return status.st_size, why, None
    size = 0
    try:
        status = os.fstat(fd)
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            return size, STRANGE, None
        if most is not None and size > most:
            return None
        if cold:
            drop_cached(fd)
        if level == "fast" and entry:
            xxh3, found = xxh3_fd(fd)
            if xxh3 == entry.xxh3:
                fits = Known(found, status.st_mtime_ns, status.st_ino, xxh3)
                return size, _mode(status), None if entry.fits(status) else fits
            os.lseek(fd, 0, os.SEEK_SET)  # the index is a hint: it may be what is wrong
        sums = hash_fd(fd)
    except OSError as error:
        return size, f"it can't be read: {error.strerror}", None
    finally:
        os.close(fd)
    if sums.sha256 != digest:
        return size, f"its bytes changed: found sha256 {sums.sha256}", None
    now = Known(sums.size, status.st_mtime_ns, status.st_ino, sums.xxh3)
    return size, _mode(status), None if now == entry else now


def _mode(status: os.stat_result) -> str:
    mode = stat.S_IMODE(status.st_mode)
    return f"it can be written: mode {mode:04o}, expected 0444" if mode & 0o222 else ""


def compare_files(store: Store, tree: Digest, listing: Listing, helpers: Helpers) -> str:
    """Return which file of a tree is not its object, nor has its bytes, or ``""``."""
    entries = iter(listing)
    parts = iter(lambda: [tuple(entry) for entry in islice(entries, TOGETHER)], [])
    path = store.tree(tree)
    wrong = filter(None, helpers.run(_compare_part, ((store, path, part) for part in parts)))
    first = min(wrong, default=None)
    return f"{first[0]!r} {first[1]}" if first else ""


def _compare_part(
    store: Store, tree: str, files: Sequence[tuple[str, Digest]]
) -> tuple[str, str] | None:
    for name, wanted in files:
        if why := _compare(store, f"{tree}/{name}", wanted):
            return name, why
    return None


def _compare(store: Store, path: str, wanted: Digest) -> str:
    try:
        status = os.stat(path)
    except OSError:  # a link that leads nowhere
        status = os.lstat(path)
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
