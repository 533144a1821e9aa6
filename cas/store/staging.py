"""Staging: bytes on their way in, hashed as they are written.

A staged file is named by the key of what it will be (its SHA-256, or ``git-<sha1>`` where
only that is known, ``new`` where nothing is), so that a killed download goes on in the next
run: a partial whose writer is provably dead on this host is taken over, any other is copied
as far as it got. What a partial holds is hashed again; nothing is believed because of its
name.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
from typing import TYPE_CHECKING

from cas.digest import CHUNK, Digest, Hasher, Sums, git_blob_hasher, open_to_read
from cas.errors import IntegrityError, StoreError
from cas.files import (
    copy_file,
    copy_range,
    discard,
    host,
    named,
    reflink_fd,
    start_writeback,
    writer_is_dead,
)

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterable

    from cas.store.layout import Store

__all__ = ["Staged", "Staging"]

THREADED_FROM = 16 << 20  # bytes of a download; below it a second thread costs more than it gives
WRITEBACK = 32 << 20  # bytes between two requests to begin writing
READ_ONLY = 0o444  # whatever the umask
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
UNKNOWN = "new"  # the key of what nothing is known of: nobody can go on with it


class Staging:
    """The staging directory as one call sees it: what earlier runs left is looked up once."""

    def __init__(self, store: Store) -> None:
        store.need_writable()
        store.make_dir(store.place("staging"))
        self._room = store.place("staging")
        self._ours = f"{host()}-{os.getpid()}-{os.urandom(6).hex()}"
        self._count = itertools.count()
        self._partials: dict[str, list[str]] = {}
        for name in os.listdir(self._room):
            key, dot, rest = name.partition(".")
            if key == UNKNOWN and writer_is_dead(name):
                discard(f"{self._room}/{name}")
            elif dot and rest and key:
                self._partials.setdefault(key, []).append(name)

    def open(
        self,
        what: str,
        *,
        size: int | None = None,
        sha256: Digest | None = None,
        git_sha1: str | None = None,
    ) -> Staged:
        """Return a staged file for *what* (named in errors), with what an earlier run left."""
        key = sha256 or (f"git-{git_sha1}" if git_sha1 else UNKNOWN)
        path = self._path(key)
        partial = None if key == UNKNOWN else self._take(key, path)
        return Staged(path, what, size=size, sha256=sha256, git_sha1=git_sha1, partial=partial)

    def held(self, keys: Iterable[str]) -> int:
        """Return the bytes on disk of what dead processes left of *keys*, to be gone on with."""
        held = 0
        for name in (name for key in keys for name in self._partials.get(key, ())):
            if writer_is_dead(name):
                try:
                    held += os.lstat(f"{self._room}/{name}").st_blocks * 512
                except OSError:
                    continue
        return held

    def link(self, path: str, *, dir_fd: int | None = None) -> Staged | None:
        """Return the file at *path* itself as a staged one, read-only from now on.

        None where it can't be linked here: another file system, or another user's file.
        """
        target = self._path(UNKNOWN)
        try:
            os.link(path, target, src_dir_fd=dir_fd, follow_symlinks=False)
            os.chmod(target, READ_ONLY)
            fd = open_to_read(target)
        except OSError:
            discard(target)
            return None
        return self._held(target, path, fd)

    def reflink(self, fd: int, what: str) -> Staged | None:
        """Return a staged file that shares the blocks of the open file; None where it can't."""
        target = self._path(UNKNOWN)
        try:
            if not reflink_fd(fd, target):
                return None
            shared = open_to_read(target)
        except OSError:
            discard(target)
            return None
        return self._held(target, what, shared)

    def _path(self, key: str) -> str:
        return f"{self._room}/{key}.{self._ours}{next(self._count):x}"

    def _held(self, path: str, what: str, fd: int) -> Staged:
        try:
            return Staged(path, what, size=None, sha256=None, git_sha1=None, partial=fd)
        except BaseException:
            os.close(fd)
            discard(path)
            raise

    def _take(self, key: str, path: str) -> int | None:
        """Bring the longest partial of *key* to *path*; return an open fd of it, or None.

        The others that dead processes left of it are of no use any more.
        """
        found = []
        for name in self._partials.pop(key, []):
            partial = f"{self._room}/{name}"
            try:
                found.append((os.lstat(partial).st_size, name, partial))
            except OSError:
                continue
        taken = None
        for size, name, partial in sorted(found, reverse=True):
            if size and taken is None:
                taken = self._take_over(name, partial, path)
            if writer_is_dead(name):
                discard(partial)
        return taken

    def _take_over(self, name: str, partial: str, path: str) -> int | None:
        try:
            status = os.lstat(partial)
            if writer_is_dead(name) and (stat.S_ISREG(status.st_mode), status.st_uid) == (
                True, os.geteuid(),
            ):  # fmt: skip
                os.rename(partial, path)  # of two that want it one gets it
                os.chmod(path, 0o600)
            else:  # it is written to, or another user could write to it
                copy_file(partial, path, follow=False)
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            discard(path)
            return None


class Staged:
    """One file being written. ``finish`` proves it; then ``objects.Publisher`` names it.

    ``offset``, ``write`` and ``restart`` are what the Hub's reader needs of a sink. Bytes go
    to their offset and not to where the last call stopped, so that a write that failed half
    way can be repeated.
    """

    __slots__ = (
        "_blob", "_fd", "_flushed", "_git_sha1", "_hasher", "_sha256", "_size", "_taken", "_what",
        "inode", "mtime_ns", "offset", "path", "sums",
    )  # fmt: skip

    _hasher: Hasher | None
    _blob: hashlib._Hash | None

    def __init__(
        self,
        path: str,
        what: str,
        *,
        size: int | None,
        sha256: Digest | None,
        git_sha1: str | None,
        partial: int | None = None,
    ) -> None:
        self.path = path
        self.offset = 0
        """bytes held"""
        self.sums: Sums | None = None
        self._what = what
        self._size = size
        self._sha256 = sha256
        self._git_sha1 = git_sha1
        self._flushed = 0
        self._taken = partial is not None
        self._fd = -1 if partial is None else partial
        self._start()
        if partial is not None:
            self._hold()
            self._read_back()
        elif not (sha256 or git_sha1):
            self._create(whole=True)  # nobody can go on with it

    def expect(self, size: int) -> None:
        """Learn the size of a file of which nothing was written yet."""
        self._size = size

    def write(self, data: bytes) -> None:
        """Append *data*; raise IntegrityError when there is more than the size allows."""
        end = self.offset + len(data)
        if self._size is not None and end > self._size:
            raise IntegrityError(
                self._what, expected=f"{self._size} bytes", actual=f"at least {end}"
            )
        if self._fd < 0:
            self._create(whole=end == self._size)
        self._put(data, self.offset)
        self._hash(data)
        self._advance(end)

    def _create(self, *, whole: bool) -> None:
        """Make the file: held where others may want to go on with it, final where not."""
        self._fd = os.open(self.path, _NEW, READ_ONLY if whole else 0o600)
        if not whole:
            self._hold()

    def _hold(self) -> None:
        if self._sha256 or self._git_sha1:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass  # it tells others that the writer lives; nothing rests on it

    def _put(self, data: bytes | memoryview, at: int) -> None:
        with named(self.path):
            while (count := os.pwrite(self._fd, data, at)) < len(data):
                at += count
                data = memoryview(data)[count:]

    def put(self, data: bytes, sums: Sums) -> None:
        """Write the whole of a new file, whose sums are known, and finish."""
        self._put(data, 0)
        self.offset = len(data)
        self._seal(sums)

    def copy_from(self, source: int, size: int) -> None:
        """Take *size* bytes of another open file: copied by this thread, hashed by another.

        What is hashed is read back from the copy, so the sums are those of what was written.
        """
        if self._fd < 0:
            self._create(whole=False)
        self._hashing(threaded=size > CHUNK)
        while self.offset < size:
            with named(self.path):
                count = copy_range(source, self._fd, self.offset, min(CHUNK, size - self.offset))
                if not count:
                    break
                end = self.offset + count
                while self.offset < end:
                    if not self._read(end - self.offset):
                        raise StoreError(f"{self.path} became shorter while it was written")
            self._advance(end)

    def restart(self) -> None:
        """Forget all that was written."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
        self._stop_hashing()
        self.offset = self._flushed = 0
        self._start()

    def finish(self) -> Sums:
        """Prove what was written, make it read-only, and return its sums.

        It stays open until it is synced by the descriptor that wrote it. Raises
        IntegrityError, and forgets the bytes, if they are not what was to come.
        """
        sums = self._hash(b"").sums()
        if self._fd < 0:  # it is empty
            self._create(whole=True)
        try:
            if self._size is not None and sums.size != self._size:
                raise IntegrityError(
                    self._what, expected=f"{self._size} bytes", actual=f"{sums.size}"
                )
            if self._sha256 is not None and sums.sha256 != self._sha256:
                raise IntegrityError(
                    self._what, expected=f"sha256 {self._sha256}", actual=sums.sha256
                )
            if self._blob is not None and self._blob.hexdigest() != self._git_sha1:
                raise IntegrityError(
                    self._what, expected=f"git sha1 {self._git_sha1}", actual=self._blob.hexdigest()
                )
            self._seal(sums)
        except (IntegrityError, StoreError):
            self.abandon(keep=False)
            raise
        return sums

    def _seal(self, sums: Sums) -> None:
        status = os.fstat(self._fd)
        if status.st_size != sums.size:
            raise StoreError(
                f"{self._what}: {sums.size} bytes were written, and the file system holds "
                f"{status.st_size} ({self.path})"
            )
        if self._taken:  # its bytes may be older than gc's grace; they are published now
            with named(self.path):
                os.utime(self._fd)
            status = os.fstat(self._fd)
        if stat.S_IMODE(status.st_mode) != READ_ONLY:
            with named(self.path):
                os.fchmod(self._fd, READ_ONLY)
        self.inode, self.mtime_ns = status.st_ino, status.st_mtime_ns
        self.sums = sums
        self._hasher = self._blob = None  # thousands wait to be published, 2 KB each

    @property
    def fd(self) -> int:
        """The descriptor that wrote it, -1 when it was closed."""
        return self._fd

    def close(self) -> None:
        """Close it; its bytes stay."""
        self._stop_hashing()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def abandon(self, *, keep: bool = True) -> None:
        """Stop writing; what there is stays for the next run if *keep*, and can be told by key."""
        self.close()
        if not keep or not self.offset or not (self._sha256 or self._git_sha1):
            discard(self.path)

    def _start(self) -> None:
        self._hasher = None
        self._blob = None
        if self._git_sha1 is not None and self._size is not None:
            self._blob = git_blob_hasher(self._size)

    def _hashing(self, *, threaded: bool) -> Hasher:
        if self._hasher is None:
            self._hasher = Hasher(threaded=threaded)
        return self._hasher

    def _hash(self, data: bytes | memoryview) -> Hasher:
        hasher = self._hashing(threaded=(self._size or 0) >= THREADED_FROM)
        if self._blob is not None:
            self._blob.update(data)
        hasher.update(data)
        return hasher

    def _stop_hashing(self) -> None:
        if self._hasher is not None:
            self._hasher.close()

    def _advance(self, end: int) -> None:
        self.offset = end
        if end - self._flushed >= WRITEBACK:
            start_writeback(self._fd, self._flushed, end - self._flushed)
            self._flushed = end

    def _read_back(self) -> None:
        self._hashing(threaded=max(os.fstat(self._fd).st_size, self._size or 0) > CHUNK)
        while self._read(CHUNK):
            pass
        if self._size is not None and self.offset > self._size:
            self.restart()

    def _read(self, limit: int) -> int:
        """Hash up to *limit* bytes of the file at the offset, and go on behind them."""
        part = self._hashing(threaded=False).buffer()[:limit]
        count = os.preadv(self._fd, [part], self.offset)
        self._hash(part[:count])
        self.offset += count
        return count
