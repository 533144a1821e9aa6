"""Intake: bytes and local files become objects, and what is here already is not written again."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cas.digest import CHUNK, Digest, Sums, hash_bytes, hash_fd, open_to_read, sums_of
from cas.errors import StoreError
from cas.files import named
from cas.store.objects import usable

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.store.layout import Store
    from cas.store.objects import Publisher
    from cas.store.staging import Staged, Staging

__all__ = ["add_bytes", "add_file"]

SMALL = CHUNK  # bytes; up to here a file is read whole before anything is written


def add_bytes(store: Store, staging: Staging, data: bytes, publisher: Publisher) -> Digest:
    """Put *data* into the store as an object, and return its digest."""
    digest = hash_bytes(data)
    if digest not in usable(store, {digest: len(data)}):
        staged = staging.open("an object", size=len(data), sha256=digest)
        if staged.offset:
            staged.restart()
        staged.write(data)
        staged.finish()
        publisher.add(staged)
    return digest


def add_file(
    store: Store,
    staging: Staging,
    publisher: Publisher,
    path: str,
    *,
    dir_fd: int | None = None,
    move: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Sums:
    """Put the file at *path* into the store, and return its sums.

    A small one is read whole; a large one shares its blocks where the file system can, and
    is copied by one thread and hashed by another where not. With *move* it becomes the
    object itself by a second link, and read-only; the caller removes the old name when all
    is done, so a stop in the middle loses nothing. One that has more names than one is not
    moved but copied: who holds another name could still change it.

    Raises:
        StoreError: it is no regular file, or changes while it is read.
        OSError: of the file itself where its ``filename`` is *path*, else of the store.
    """
    fd = open_to_read(path, dir_fd=dir_fd)
    try:
        with named(path):
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise StoreError(f"{path!r} is no regular file")
            if before.st_size <= SMALL and not move:
                sums, staged = _take_small(store, staging, fd, path, before)
            else:
                sums, staged = _take_large(store, staging, fd, path, before, dir_fd, move=move)
    finally:
        os.close(fd)
    if staged:
        publisher.add(staged)
    if progress:
        progress(sums.size)
    return sums


Taken = tuple[Sums, "Staged | None"]


def _take_small(
    store: Store, staging: Staging, fd: int, path: str, before: os.stat_result
) -> Taken:
    """Read a small file whole; stage it unless its object is here."""
    data = b""
    while len(data) < before.st_size and (more := os.read(fd, before.st_size - len(data))):
        data += more
    _check_rested(fd, path, before, len(data))
    sums = sums_of(data)
    if _is_here(store, sums):
        return sums, None
    staged = staging.open(path)
    try:
        staged.put(data, sums)
    except BaseException:
        staged.abandon(keep=False)
        raise
    return sums, staged


def _take_large(
    store: Store,
    staging: Staging,
    fd: int,
    path: str,
    before: os.stat_result,
    dir_fd: int | None,
    *,
    move: bool,
) -> Taken:
    """Link, share or copy a large file, and hash it; stage it unless its object is here."""
    staged = None
    if move and before.st_nlink > 1:  # maybe moved in already, by a call that was stopped
        sums = hash_fd(fd)
        _check_rested(fd, path, before, sums.size)
        if _is_here(store, sums):
            return sums, None
    elif move:
        staged = staging.link(path, dir_fd=dir_fd)
    linked = staged is not None
    staged = staged or staging.reflink(fd, path) or staging.open(path)
    try:
        if not staged.offset:
            staged.copy_from(fd, before.st_size)
        _check_rested(fd, path, before, staged.offset)
        if linked and os.fstat(staged.fd).st_ino != before.st_ino:
            raise _changed(path)
        sums = staged.finish()
        if not _is_here(store, sums):
            return sums, staged
        staged.abandon(keep=False)
    except BaseException:
        staged.abandon(keep=False)
        if linked:
            os.fchmod(fd, stat.S_IMODE(before.st_mode))
        raise
    return sums, None


def _is_here(store: Store, sums: Sums) -> bool:
    return store.has(sums.sha256) and bool(usable(store, {sums.sha256: sums.size}))


def _check_rested(fd: int, path: str, before: os.stat_result, size: int) -> None:
    after = os.fstat(fd)
    if (size, before.st_size, before.st_mtime_ns) != (
        before.st_size, after.st_size, after.st_mtime_ns,
    ):  # fmt: skip
        raise _changed(path)


def _changed(path: str) -> StoreError:
    return StoreError(f"{path!r} changed while it was read", hint="try again when it rests")
