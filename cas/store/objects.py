"""Objects: made in staging, proved, synced, and only then named.

An object that has its name is complete, so readers take no mutex and two writers of one
object do no harm: who comes second keeps the first one's inode.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from cas.digest import CHUNK, Digest, Sums, hash_bytes, hash_path
from cas.errors import IntegrityError, ListingError, StoreError
from cas.files import discard, sync_all, temporary_name
from cas.listing import Listing
from cas.store import index
from cas.store.index import Known

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cas.store.layout import Store
    from cas.store.staging import Staged, Staging

__all__ = [
    "Publisher",
    "Vanished",
    "add_bytes",
    "add_file",
    "prove",
    "quarantine",
    "read_listing",
    "read_object",
    "usable",
]

BATCH_FILES = 1000
BATCH_BYTES = 1 << 30
SMALL = CHUNK  # bytes; up to here a file is read whole before anything is written
READ_ONLY = 0o444


class Vanished(StoreError):
    """An object or tree went while a call used it; the call starts again."""


class Publisher:
    """Gives staged files their names, in batches: write all, sync, link all, sync."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._staged: list[Staged] = []
        self._bytes = 0

    def add(self, staged: Staged) -> None:
        """Take a finished file; publish the batch if it has grown large."""
        self._staged.append(staged)
        self._bytes += staged.offset
        if len(self._staged) >= BATCH_FILES or self._bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Publish what was taken.

        Raises OSError where a sync failed: then nothing of the batch gets a name, and the
        bytes are given up, for a sync that is repeated proves nothing (I10).
        """
        batch, self._staged, self._bytes = self._staged, [], 0
        if not batch:
            return
        try:
            sync_all([staged.path for staged in batch], on=self._store.root)
        except OSError:
            for staged in batch:
                discard(staged.path)
            raise
        names: dict[Digest, Known] = {}
        directories = {self._store.place("objects")}
        for staged in batch:
            if staged.sums is None:
                raise StoreError(f"{staged.path} was not proved before it was to be published")
            inode = _name(self._store, staged, staged.sums)
            directories.add(os.path.dirname(self._store.object(staged.sums.sha256)))
            if inode == staged.inode:
                names[staged.sums.sha256] = Known(
                    staged.sums.size, staged.mtime_ns, staged.inode, staged.sums.xxh3
                )
        sync_all(directories, on=self._store.root)
        index.remember(self._store, names)

    def give_up(self) -> None:
        """Publish nothing more; what is complete stays in staging for the next run."""
        self._staged = []


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
    is copied and hashed in one pass where not. With *move* it becomes the object itself by a
    second link, and read-only; the caller removes the old name when all is done, so a stop
    in the middle loses nothing.
    Raises StoreError if it is no regular file or changes while it is read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags, dir_fd=dir_fd)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise StoreError(f"{path!r} is no regular file")
        staged = (
            _stage_small(staging, fd, path)
            if before.st_size <= SMALL and not move
            else _stage_large(staging, fd, path, before.st_size, dir_fd=dir_fd, move=move)
        )
        if staged.sums is None:
            raise StoreError(f"{path!r} was not proved")
        after = os.fstat(fd)
        if staged.sums.size != before.st_size or before.st_mtime_ns != after.st_mtime_ns:
            discard(staged.path)
            raise StoreError(f"{path!r} changed while it was read", hint="try again when it rests")
    finally:
        os.close(fd)
    if progress:
        progress(staged.sums.size)
    if store.has(staged.sums.sha256) and usable(store, {staged.sums.sha256: staged.sums.size}):
        discard(staged.path)
    else:
        publisher.add(staged)
    return staged.sums


def usable(store: Store, wanted: Mapping[Digest, int | None]) -> set[Digest]:
    """Return those of *wanted* (digest → size or None) that are here and may be reused.

    Size and mode are looked at; an object that the index does not know, or that is not as
    it was, is hashed. One that is not what its name says goes to quarantine.
    """
    here: dict[Digest, os.stat_result] = {}
    for digest, size in wanted.items():
        try:
            status = os.lstat(store.object(digest))
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode) or size not in (None, status.st_size):
            quarantine(store, digest)
            continue
        here[digest] = status
    remembered = index.known(store, here)
    good = set()
    proved: dict[Digest, Known] = {}
    for digest, status in here.items():
        entry = remembered.get(digest)
        if entry and entry.fits(status) and not status.st_mode & 0o222:
            good.add(digest)
        elif (now := prove(store, digest)) is not None:
            proved[digest] = now
            good.add(digest)
        else:
            quarantine(store, digest)
    index.remember(store, proved)
    return good


def prove(store: Store, digest: Digest) -> Known | None:
    """Hash the object; return what to remember of it, or None if its bytes are others."""
    path = store.object(digest)
    try:
        before = os.lstat(path)
        sums = hash_path(path)
        if sums.sha256 != digest:
            return None
        if before.st_mode & 0o222:
            try:
                os.chmod(path, READ_ONLY)
            except OSError:
                pass  # another user's: its bytes are right now, and verify looks again
    except OSError:
        return None
    return Known(sums.size, before.st_mtime_ns, before.st_ino, sums.xxh3)


def quarantine(store: Store, digest: Digest) -> None:
    """Take an object that failed a check out of the way, keeping its bytes to look at."""
    store.need_writable()
    target = store.place("quarantine", f"{digest}{temporary_name().replace('.cas-', '.')}")
    store.make_dir(store.place("quarantine"))
    try:
        os.rename(store.object(digest), target)
    except FileNotFoundError:
        return
    index.forget(store, [digest])


def read_object(store: Store, digest: Digest) -> bytes:
    """Return the bytes of a small object, proved; raise StoreError or IntegrityError."""
    try:
        with open(store.object(digest), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise Vanished(f"object {digest} is not in the store {store.root}") from None
    except OSError as error:
        raise StoreError(f"object {digest} can't be read: {error.strerror}") from None
    if hash_bytes(data) != digest:
        raise IntegrityError(
            f"object in {store.root}",
            expected=f"sha256 {digest}",
            actual=hash_bytes(data),
            hint="cas verify --full --repair",
        )
    return data


def read_listing(store: Store, digest: Digest) -> Listing | None:
    """Return the listing of a tree, or None if it is not here or can't be read as one."""
    try:
        return Listing.parse(read_object(store, digest))
    except (StoreError, IntegrityError, ListingError):
        return None


def publish_now(store: Store, staged: Iterable[Staged]) -> None:
    """Publish some finished files at once."""
    publisher = Publisher(store)
    for one in staged:
        publisher.add(one)
    publisher.flush()


def _name(store: Store, staged: Staged, sums: Sums) -> int:
    """Give a staged file its name; return the inode that has it now."""
    final = store.object(sums.sha256)
    store.make_dir(os.path.dirname(final))
    for _ in range(3):
        try:
            os.link(staged.path, final)
        except FileExistsError:
            status = os.lstat(final)
            if stat.S_ISREG(status.st_mode) and status.st_size == sums.size:
                discard(staged.path)
                return status.st_ino
            quarantine(store, sums.sha256)
            continue
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            os.rename(staged.path, final)  # a file system without hard links
            return staged.inode
        os.unlink(staged.path)
        return staged.inode
    raise StoreError(f"object {sums.sha256} can't be named: {final} comes back")


def _stage_small(staging: Staging, fd: int, path: str) -> Staged:
    staged = staging.open(path)
    try:
        while data := os.read(fd, SMALL + 1):
            staged.write(data)
    except BaseException:
        staged.abandon(keep=False)
        raise
    staged.finish()
    return staged


def _stage_large(
    staging: Staging,
    fd: int,
    path: str,
    size: int,
    *,
    dir_fd: int | None,
    move: bool,
) -> Staged:
    shared = (
        staging.link(path, dir_fd=dir_fd) if move else None if dir_fd else staging.reflink(path)
    )
    if shared is not None:
        shared.finish()
        return shared
    staged = staging.open(path, size=size)
    try:
        while data := os.read(fd, CHUNK):
            staged.write(data)
    except BaseException:
        staged.abandon(keep=False)
        raise
    staged.finish()
    return staged
